//! The part of a birth record that says what to execute and as what.

use super::LaunchError;
use super::binary::{Binary, Content, FileId};
use super::environment::Environment;
use super::files::{self, NamedFile, Watched};
use super::journal::{self, JournalStreams};
use super::saved;
use super::spawn::OwnPid;
use super::started_in::StartedIn;
use crate::activation::{self, Known, Protocol};
use crate::sys::{self, Limits, errno_text};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, fstat, stat};
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What is asked for, in the words of the configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// The program and its arguments.
    pub(crate) command: &'a [OsString],
    /// The working directory; the supervisor's own if there is none.
    pub(crate) chdir: Option<&'a Path>,
    /// Variables to set on top of the inherited ones.
    pub(crate) env: &'a [(OsString, OsString)],
    /// The user to become, by name or number; looked up in the child.
    pub(crate) user: Option<&'a str>,
    /// The group to become, by name or number; looked up in the child.
    pub(crate) group: Option<&'a str>,
    /// The umask; the supervisor's own if there is none.
    pub(crate) umask: Option<u32>,
    /// The file that is the app's standard error; the supervisor's own if there is none.
    pub(crate) stderr: Option<&'a Path>,
    /// The app's oom_score_adj; `None`: the supervisor's own, if it is not below 0.
    pub(crate) oom_score: Option<i16>,
    /// Whether `LISTEN_PID` is set.
    pub(crate) own_pid: OwnPid,
    /// By which variables it learns of its listeners.
    pub(crate) protocol: Protocol,
    /// Those of `env` in whose values placeholders count.
    pub(crate) templates: &'a [OsString],
    /// Its listeners; `None` where they are not known.
    pub(crate) listeners: Option<&'a [Known]>,
    /// What the kernel sends it when the supervisor dies, if anything.
    pub(crate) last_signal: Option<Signal>,
}

/// What the supervisor itself was started with and its apps get, too. Captured once, first thing in `main`,
/// before the supervisor changes any of it for its own use.
#[derive(Clone, Debug)]
pub(crate) struct InheritedEnvironment {
    /// The whole environment.
    pub(crate) variables: Vec<(OsString, OsString)>,
    /// The resource limits.
    pub(crate) limits: Limits,
    /// Our oom_score_adj; none without /proc.
    pub(super) oom_score: Option<i16>,
    /// Which of stdout and stderr are a stream to the journal.
    pub(super) journal: Option<JournalStreams>,
    /// Where the supervisor was started.
    pub(super) started_in: Option<StartedIn>,
}

impl InheritedEnvironment {
    /// The variable that names the stream, if it does.
    pub(super) fn journal_stream(&self) -> Option<&OsStr> {
        self.journal?;
        let mut variables = self.variables.iter();
        variables
            .find(|(key, _)| key == journal::VARIABLE)
            .map(|(_, value)| value.as_os_str())
    }

    /// A line about the directory that an app without `--chdir` is started in, if the path by which the supervisor got there leads
    /// to another one by now.
    pub(crate) fn directory_left_behind(&self) -> Option<String> {
        let started = self.started_in.as_ref()?;
        let now = started.has_moved_to()?;
        let here = std::fs::read_link("/proc/self/cwd").unwrap_or_else(|_| PathBuf::from("."));
        let by = started.path().display();
        Some(format!(
            "the app is started in {}, as segue was; {by} leads to {} now (--chdir {by} follows it)",
            here.display(),
            now.display()
        ))
    }

    /// That of this process now.
    pub(crate) fn of_this_process() -> InheritedEnvironment {
        InheritedEnvironment {
            variables: std::env::vars_os().collect(),
            limits: Limits::current(),
            oom_score: sys::own_oom_score(),
            started_in: StartedIn::of_this_process(),
            journal: JournalStreams::of_this_process(std::env::var_os(journal::VARIABLE).as_deref()),
        }
    }
}

/// A command made definite: names looked up, files opened. Whatever happens to the paths later, it stays the same.
/// (User and group stay names until the child looks them up.)
#[derive(Debug)]
pub(super) struct Program {
    pub(super) command: OsString,
    pub(super) argv: Vec<CString>,
    pub(super) binary: Binary,
    /// What was in the binary then, if that could be told: it is held open, and may still be written to.
    pub(super) content: Option<Content>,
    /// The files that the arguments name.
    pub(super) files: Vec<NamedFile>,
    pub(super) cwd: OwnedFd,
    /// Which directory that is: found out once, so that no failure later makes another of it in a state.
    pub(super) cwd_id: FileId,
    /// Where it lay then, for a supervisor that has to open it again.
    pub(super) cwd_path: PathBuf,
    pub(super) environment: Environment,
    pub(super) user: Option<String>,
    pub(super) group: Option<String>,
    pub(super) umask: Option<Mode>,
    /// Absolute, so that it does not depend on the working directory of the app.
    pub(super) stderr: Option<PathBuf>,
    pub(super) limits: Limits,
    pub(super) oom_score: Option<i16>,
    pub(super) journal: Option<JournalStreams>,
    pub(super) last_signal: Option<Signal>,
    pub(super) protocol: Protocol,
}

impl Program {
    /// Opens the working directory and the binary (relative to it), and computes the environment.
    ///
    /// # Errors
    /// One line each: `chdir ...`, `exec ...`, `environment variable ...`.
    pub(super) fn resolve(
        wanted: &Wanted<'_>,
        inherited_environment: &InheritedEnvironment,
    ) -> Result<Program, LaunchError> {
        let command = wanted
            .command
            .first()
            .ok_or_else(|| LaunchError::new("no command given".to_owned()))?;
        let (cwd, cwd_id) = open_cwd(wanted.chdir.unwrap_or(Path::new(".")))?;
        let cwd_path = saved::path_of(cwd.as_fd());
        let mut inherited = inherited_environment.variables.clone();
        if inherited_environment.journal.is_none() {
            inherited.retain(|(key, _)| key != journal::VARIABLE);
        }
        let mut environment = Environment::compute(&inherited, wanted.env, wanted.templates);
        // Without --chdir nobody is told who did not know before.
        if wanted.chdir.is_some() || environment.get("PWD").is_some() {
            environment.set_directory(physical(&cwd_path, cwd_id));
        }
        environment.to_exec()?;
        if let Some(known) = wanted.listeners {
            let mut problems =
                activation::problems(wanted.command, wanted.env, wanted.templates, known).into_iter();
            problems.next().map_or(Ok(()), |why| Err(LaunchError::new(why)))?;
        }
        let binary = Binary::find(command, cwd.as_fd(), environment.get("PATH"))?;
        let words = wanted.command.iter();
        let argv: Vec<_> = words.map(|word| argument(word)).collect::<Result<_, _>>()?;
        Ok(Program {
            command: command.clone(),
            files: files::named(&argv, cwd.as_fd()),
            content: binary.content(),
            argv,
            binary,
            cwd,
            cwd_id,
            cwd_path,
            environment,
            user: wanted.user.map(str::to_owned),
            group: wanted.group.map(str::to_owned),
            umask: wanted.umask.map(Mode::from_bits_truncate),
            stderr: wanted.stderr.map(absolute).transpose()?,
            limits: inherited_environment.limits.clone(),
            // What is below 0 was meant for the supervisor: it is small, and everything depends on it.
            oom_score: wanted
                .oom_score
                .or(inherited_environment.oom_score.map(|score| score.max(0))),
            journal: inherited_environment.journal,
            last_signal: wanted.last_signal,
            protocol: wanted.protocol,
        })
    }

    /// The names of the files that a further start would find replaced: those that the arguments name, and the binary where it
    /// was written to in place.
    pub(super) fn replaced(&self) -> Vec<String> {
        let now = Content::of_open(self.binary.as_fd());
        let rewritten = self.content.is_some() && now.is_some() && now != self.content;
        let binary = rewritten.then(|| self.command.display().to_string());
        let others = files::replaced(&self.files, self.cwd.as_fd());
        binary.into_iter().chain(others).collect()
    }

    /// Forget those that have been made anew since they were noted, but for code: the app makes them itself when it starts.
    pub(super) fn forget_own_files(&mut self) {
        let cwd = self.cwd.as_fd();
        self.files
            .retain(|file| file.watched == Watched::Code || file.is_the_same(cwd));
    }

    /// The command as it was given, for messages.
    pub(super) fn command(&self) -> &OsStr {
        &self.command
    }

    pub(super) fn argv(&self) -> &[CString] {
        &self.argv
    }

    pub(super) fn binary(&self) -> &Binary {
        &self.binary
    }

    pub(super) fn cwd(&self) -> BorrowedFd<'_> {
        self.cwd.as_fd()
    }

    pub(super) fn environment(&self) -> &Environment {
        &self.environment
    }

    pub(super) fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    pub(super) fn group(&self) -> Option<&str> {
        self.group.as_deref()
    }

    /// `None`: the supervisor's own.
    pub(super) fn umask(&self) -> Option<Mode> {
        self.umask
    }

    /// `None`: it stays what it is.
    pub(super) fn stderr(&self) -> Option<&Path> {
        self.stderr.as_deref()
    }

    /// What of stdout and stderr goes to the journal.
    pub(super) fn journal(&self) -> Option<JournalStreams> {
        self.journal
    }

    /// `None`: it is not to be touched.
    pub(super) fn oom_score(&self) -> Option<i16> {
        self.oom_score
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// By which variables it learns of its listeners.
    pub(super) fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Whether a word or a variable has a `{runtime}`.
    pub(super) fn has_runtime(&self) -> bool {
        let mut words = self.argv.iter().skip(1);
        words.any(|word| activation::has_runtime(OsStr::from_bytes(word.as_bytes())))
            || self.environment.has_runtime()
    }

    /// What it is sent when the supervisor dies.
    pub(super) fn last_signal(&self) -> Option<Signal> {
        self.last_signal
    }
}

/// Relative to where segue was started, as all paths of the settings are.
fn absolute(path: &Path) -> Result<PathBuf, LaunchError> {
    std::path::absolute(path)
        .map_err(|error| LaunchError::new(format!("stderr {}: {}", path.display(), errno_text(error))))
}

fn open_cwd(path: &Path) -> Result<(OwnedFd, FileId), LaunchError> {
    let opened = open_directory(path).and_then(|cwd| {
        let is = fstat(&cwd)?;
        Ok((cwd, (is.st_dev, is.st_ino)))
    });
    opened.map_err(|errno| LaunchError::new(format!("chdir {}: {}", path.display(), errno_text(errno))))
}

/// The path of an open directory, every symlink followed; `None` if it has none any more, or nobody knows.
fn physical(path: &Path, id: FileId) -> Option<PathBuf> {
    let bytes = path.as_os_str().as_bytes();
    // That of a directory that was removed, or lies outside of our root, may read like another's (d_path, fs/d_path.c).
    if bytes.starts_with(b"/") && !bytes.ends_with(b" (deleted)") {
        return Some(path.to_owned());
    }
    let is = stat(path).ok()?;
    ((is.st_dev, is.st_ino) == id).then(|| path.to_owned())
}

/// A directory as a mere place: that needs no permission to read it.
pub(super) fn open_directory(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(path, flags, Mode::empty())
}

pub(super) fn argument(word: &OsStr) -> Result<CString, LaunchError> {
    CString::new(word.as_bytes())
        .map_err(|_| LaunchError::new(format!("argument {:?}: contains a NUL byte", word.display())))
}
