//! An app that `segue deploy` or deploy.sh has put in place and that runs under a supervisor as `srv/current/app`, and deploys to
//! it, made as a user makes them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::binaries::Binary;
use crate::executable;
use crate::proc;
use crate::process::{Finished, Process};
use crate::program::Program;
use crate::segue::{Segue, Setup};
use crate::version;

/// The script under test.
pub const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy.sh");

/// What deploys: the same tests hold for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// `segue deploy`.
    Segue,
    /// `deploy.sh`.
    Script,
}

impl Tool {
    /// What `SEGUE_TEST_DEPLOY` names, `segue` or `script`; `segue` if it is not there.
    ///
    /// # Panics
    /// When it names something else.
    #[must_use]
    pub fn of_this_run() -> Self {
        match std::env::var("SEGUE_TEST_DEPLOY").as_deref() {
            Ok("segue") | Err(_) => Self::Segue,
            Ok("script") => Self::Script,
            Ok(other) => panic!("SEGUE_TEST_DEPLOY={other}: expected segue or script"),
        }
    }
}

/// An app with its releases, and the supervisor that runs it.
pub struct Deployed {
    /// The supervisor.
    pub segue: Segue,
}

impl Deployed {
    /// Deploys an app whose `/ping` says `old` before its service is started, and then starts the service.
    ///
    /// # Panics
    /// When that fails.
    #[must_use]
    #[track_caller]
    pub fn start<I: IntoIterator<Item = &'static str>>(flags: I) -> Self {
        let setup = Setup::new(Program::new("./srv/current/app")).flags(flags);
        Self::start_setup(setup)
    }

    /// The same with a setup of one's own, whose command is `./srv/current/app`.
    ///
    /// # Panics
    /// When that fails.
    #[must_use]
    #[track_caller]
    pub fn start_setup(setup: Setup) -> Self {
        let directory = setup.path(".");
        write_program(&setup.path("app"), "good message=old");
        let first = finish(&mut command(
            &directory,
            &setup.path("control"),
            &["--no-reload", "app"],
        ));
        assert_eq!(first.code, Some(0), "{first:?}");
        Self { segue: setup.start() }
    }

    /// A path beside the root, where commands start.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.segue.path(name)
    }

    /// A path in the root.
    #[must_use]
    pub fn root(&self, name: &str) -> PathBuf {
        self.path("srv").join(name)
    }

    /// Writes the program `app` that the next deploy takes: a fixture with its vice.
    ///
    /// # Panics
    /// When it cannot be written.
    #[track_caller]
    pub fn write(&self, fixture: &str) {
        write_program(&self.path("app"), fixture);
    }

    /// The same program, which first says `it begins` on stderr and then waits for [`Self::let_go`]: reading a pipe that
    /// nobody writes to waits without a sleep.
    ///
    /// # Panics
    /// When it cannot be written.
    #[track_caller]
    pub fn write_held(&self, fixture: &str) {
        self.write(fixture);
        let (app, go) = (self.path("app"), self.path("go"));
        nix::unistd::mkfifo(&go, nix::sys::stat::Mode::S_IRWXU)
            .unwrap_or_else(|errno| panic!("{}: {errno}", go.display()));
        let text = std::fs::read_to_string(&app).unwrap_or_else(|error| panic!("{}: {error}", app.display()));
        let waits = format!("#!/bin/sh\necho it begins >&2\nread -r _ <'{}'\n", go.display());
        executable::write(&app, text.replacen("#!/bin/sh\n", &waits, 1).as_bytes());
    }

    /// Lets the program of [`Self::write_held`] go on, and waits until it runs and reads that.
    ///
    /// # Panics
    /// When the pipe is gone.
    #[track_caller]
    pub fn let_go(&self) {
        let go = self.path("go");
        std::fs::write(&go, "go\n").unwrap_or_else(|error| panic!("{}: {error}", go.display()));
    }

    /// A deploy with these arguments, not yet started; `--root`, `--name` and `--control` are given already.
    #[must_use]
    pub fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        command(&self.path("."), self.segue.control(), args)
    }

    /// The same by the script, whatever this run is of.
    #[must_use]
    pub fn script<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = bare(&self.path("."), Tool::Script);
        add_target(&mut command, self.segue.control()).args(args);
        command
    }

    /// The same, and the name of the app is not given.
    #[must_use]
    pub fn command_without_name<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = bare(&self.path("."), Tool::of_this_run());
        command
            .args(["--root", "srv", "--control"])
            .arg(self.segue.control());
        command.args(args);
        command
    }

    /// The same to its end.
    ///
    /// # Panics
    /// When it does not end.
    #[track_caller]
    pub fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Finished {
        finish(&mut self.command(args))
    }

    /// Writes a program and deploys it.
    ///
    /// # Panics
    /// When it does not end.
    #[track_caller]
    pub fn deploy(&self, fixture: &str) -> Finished {
        self.write(fixture);
        self.run(&["app"])
    }

    /// What `/ping` says.
    ///
    /// # Panics
    /// When nobody answers.
    #[must_use]
    #[track_caller]
    pub fn message(&self) -> String {
        version::of(&self.segue.target()).unwrap_or_else(|loss| panic!("ping: {loss:?}"))
    }

    /// Waits until this version answers: right after a deploy the one before may do so once more.
    ///
    /// # Panics
    /// When it does not in time.
    #[track_caller]
    pub fn wait_for_message(&self, wanted: &str) {
        version::wait_for(&self.segue.target(), wanted);
    }

    /// Waits until every older generation is gone; then this version answers, and no other.
    ///
    /// # Panics
    /// When it is not so.
    #[track_caller]
    pub fn assert_serves_alone(&self, wanted: &str) {
        version::assert_only(&self.segue, wanted);
    }

    /// The release that `current` leads to.
    ///
    /// # Panics
    /// When `current` is no symlink to a release.
    #[must_use]
    #[track_caller]
    pub fn current(&self) -> String {
        let link =
            std::fs::read_link(self.root("current")).unwrap_or_else(|error| panic!("current: {error}"));
        let release = link
            .strip_prefix("releases")
            .unwrap_or_else(|error| panic!("{}: {error}", link.display()));
        release.display().to_string()
    }

    /// The releases, the oldest first.
    #[must_use]
    pub fn releases(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.root("releases"))
            .into_iter()
            .flatten()
            .flatten();
        let mut names: Vec<_> = entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// `current` leads to a release whose program has the digest that its name promises; it is the app that serves.
    ///
    /// # Panics
    /// When that is not so.
    #[track_caller]
    pub fn assert_consistent(&self) {
        self.assert_current_is_complete();
        let program = std::fs::read_to_string(self.root("current/app")).unwrap_or_default();
        // The version before may answer once more.
        let end = std::time::Instant::now() + crate::patience();
        loop {
            let message = self.message();
            if program.contains(&format!("message={message}\n")) {
                return;
            }
            assert!(
                std::time::Instant::now() < end,
                "{message} serves, current leads to {program}"
            );
            std::thread::sleep(crate::LOOK);
        }
    }

    /// `current` leads to a release whose program has the digest that its name promises.
    ///
    /// # Panics
    /// When that is not so.
    #[track_caller]
    pub fn assert_current_is_complete(&self) {
        let program = self.root("releases").join(self.current()).join("app");
        let sha = finish(Command::new("sha256sum").arg(&program)).stdout;
        let short = sha.get(..8).unwrap_or_default();
        assert!(
            !short.is_empty() && self.current().ends_with(short),
            "{}: {sha}",
            program.display()
        );
        let mode = std::fs::metadata(&program).map(|found| found.permissions().mode() & 0o777);
        assert_eq!(mode.ok(), Some(0o755));
    }

    /// Nothing half made, no journal, no temporary link: what a good deploy leaves.
    ///
    /// # Panics
    /// When there is more.
    #[track_caller]
    pub fn assert_tidy(&self) {
        self.assert_tidy_but_for(&[]);
    }

    /// The same, with these names besides.
    ///
    /// # Panics
    /// When there is more, or less.
    #[track_caller]
    pub fn assert_tidy_but_for(&self, more: &[&str]) {
        let mut names: Vec<_> = std::fs::read_dir(self.root(""))
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        let mut expected = [&[".lock", "current", "releases"], more].concat();
        expected.sort_unstable();
        assert_eq!(names, expected);
        let hidden: Vec<_> = self
            .releases()
            .into_iter()
            .filter(|name| name.starts_with('.'))
            .collect();
        assert!(hidden.is_empty(), "{hidden:?}");
    }

    /// Stops the supervisor; nothing is left, of the deploys neither.
    #[track_caller]
    pub fn stop(self) {
        self.segue.stop();
    }
}

/// Writes a shell script that becomes a fixture: what is deployed can then be told from what was deployed before.
///
/// # Panics
/// When it cannot be written.
#[track_caller]
pub fn write_program(path: &Path, fixture: &str) {
    let text = format!(
        "#!/bin/sh\nexec '{}' {fixture}\n",
        Binary::Fixture.path().display()
    );
    executable::write(path, text.as_bytes());
}

/// A deploy in a directory that has the root `srv` in it. Its descendants carry the mark of that directory, so that a
/// [`Segue`] that stops there finds what it left.
#[must_use]
pub fn command<S: AsRef<OsStr>>(directory: &Path, control: &Path, args: &[S]) -> Command {
    let mut command = bare(directory, Tool::of_this_run());
    add_target(&mut command, control).args(args);
    command
}

fn add_target<'a>(command: &'a mut Command, control: &Path) -> &'a mut Command {
    command
        .args(["--name", "app", "--root", "srv", "--control"])
        .arg(control)
}

/// The same without any arguments.
fn bare(directory: &Path, tool: Tool) -> Command {
    let mut command = Command::new("env");
    command.arg("--default-signal=HUP,INT,TERM,PIPE");
    match tool {
        Tool::Segue => command.arg(Binary::Segue.path()).arg("deploy"),
        Tool::Script => command.arg(SCRIPT),
    };
    command.current_dir(directory).stdin(std::process::Stdio::null());
    command
        .env("SEGUE", Binary::Segue.path())
        .env_remove("DEPLOY_SSH");
    command.env(proc::MARK, directory.components().collect::<PathBuf>());
    command
}

#[track_caller]
fn finish(command: &mut Command) -> Finished {
    Process::start(command).finish()
}

/// Every file below a directory, with what tells one tree from another: kind, mode, link or content, time of change.
#[must_use]
pub fn tree(directory: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(path) = waiting.pop() {
        let Ok(status) = path.symlink_metadata() else {
            continue;
        };
        let inside = if status.is_dir() {
            waiting.extend(
                std::fs::read_dir(&path)
                    .into_iter()
                    .flatten()
                    .flatten()
                    .map(|entry| entry.path()),
            );
            String::new()
        } else if status.is_symlink() {
            std::fs::read_link(&path)
                .unwrap_or_default()
                .display()
                .to_string()
        } else {
            String::from_utf8_lossy(&std::fs::read(&path).unwrap_or_default()).into_owned()
        };
        let changed = status.modified().ok();
        found.insert(
            path,
            format!("{:o} {changed:?} {inside}", status.permissions().mode()),
        );
    }
    found
}
