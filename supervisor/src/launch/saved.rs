//! Birth records, launches under way and the environment that the supervisor inherited, as they are left to the next supervisor.
//!
//! A row `record` has the open files of its record beside it, `binary-NUMBER` and `cwd-NUMBER`. Where those did not come along
//! they are looked for at their paths and among the processes that still run them, and taken only if they are the same files.

use super::binary::{Binary, FileId, Known, id_of};
use super::environment::Environment;
use super::files::{Content, NamedFile, Watched};
use super::journal::{self, JournalStreams};
use super::program::{InheritedEnvironment, Program, open_directory};
use super::{BirthRecord, OwnPid, ReportPipe};
use crate::state::{Fds, Flaw, Row, Rows};
use nix::sys::stat::Mode;
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// The kind of the row of a birth record.
pub(crate) const RECORD: &str = "record";

/// The kind of the row of what we were born with.
pub(crate) const HERITAGE: &str = "heritage";

/// The kind of the row of a launch of which more is to be heard.
pub(crate) const REPORT: &str = "report";

impl BirthRecord {
    /// Writes its row, under the number by which the caller knows it.
    pub(crate) fn save(&self, number: u64, rows: &mut Rows) {
        let program = &self.program;
        let binary = &program.binary;
        rows.begin(RECORD)
            .number("number", number)
            .bytes(
                "arguments",
                &joined(program.argv.iter().map(|word| word.as_bytes())),
            )
            .os("binary", binary.path().as_os_str())
            .os("file", binary.real_path().as_os_str())
            .number("device", binary.id().0)
            .number("inode", binary.id().1)
            .os("cwd", path_of(program.cwd()).as_os_str())
            .number("cwd-device", program.cwd_id.0)
            .number("cwd-inode", program.cwd_id.1)
            .text("limits", &program.limits.to_string())
            .text("own-pid", own_pid_word(self.own_pid));
        save_files(program, rows);
        save_environment(&program.environment, rows);
        if let Some(user) = &program.user {
            rows.text("user", user);
        }
        if let Some(group) = &program.group {
            rows.text("group", group);
        }
        if let Some(signal) = program.last_signal {
            rows.text("last-signal", signal.as_str());
        }
        save_oom_score(program.oom_score, rows);
        if let Some(path) = &program.stderr {
            rows.os("stderr", path.as_os_str());
        }
        if let Some(mask) = program.umask {
            rows.number("umask", mask.bits().into());
        }
    }

    /// Its open files, under the names by which [`BirthRecord::restore`] looks for them.
    pub(crate) fn fds(&self, number: u64) -> [(String, BorrowedFd<'_>); 2] {
        [
            (binary_name(number), self.program.binary.as_fd()),
            (cwd_name(number), self.program.cwd()),
        ]
    }

    /// The names of these.
    pub(crate) fn fd_names(number: u64) -> [String; 2] {
        [binary_name(number), cwd_name(number)]
    }

    /// Reads a row. Files that are not in the bag are looked for: `processes` may run this record. Which of our streams are the
    /// journal is a matter of this process, and so of what it inherited.
    ///
    /// # Errors
    /// A field is missing or cannot be read; the binary or the working directory is nowhere any more.
    pub(crate) fn restore(
        row: &Row<'_>,
        fds: &mut Fds,
        processes: &[Pid],
        inherited_environment: &InheritedEnvironment,
    ) -> Result<BirthRecord, Flaw> {
        let number = row.number("number")?;
        let cwd_id = (row.number("cwd-device")?, row.number("cwd-inode")?);
        let cwd = restore_cwd(row, cwd_id, number, fds, processes)?;
        let binary = restore_binary(row, number, fds, cwd.as_fd(), processes)?;
        let arguments = split(&row.bytes("arguments")?);
        let command = arguments.first().cloned();
        let argv = arguments
            .into_iter()
            .map(|word| CString::new(word.into_vec()))
            .collect();
        let (Some(command), Ok(argv)) = (command, argv) else {
            return Err(Flaw::new(format_args!("record {number} has no usable arguments")));
        };
        let mask = row.number_if_any("umask")?;
        let program = Program {
            command,
            argv,
            binary,
            content: row
                .text_if_any("content")?
                .map(|text| content(&text))
                .transpose()?,
            files: restore_files(row)?,
            cwd,
            cwd_id,
            environment: restore_environment(row, inherited_environment)?,
            user: row.text_if_any("user")?,
            group: row.text_if_any("group")?,
            // No more than 0o777.
            umask: mask.map(|mask| Mode::from_bits_truncate((mask & 0o777) as libc::mode_t)),
            stderr: row
                .bytes_if_any("stderr")?
                .map(|path| OsString::from_vec(path).into()),
            limits: row.parsed("limits")?,
            oom_score: restore_oom_score(row)?,
            journal: inherited_environment.journal,
            last_signal: match row.text_if_any("last-signal")? {
                Some(_) => Some(row.parsed("last-signal")?),
                None => None,
            },
        };
        Ok(BirthRecord {
            program,
            own_pid: own_pid(&row.text("own-pid")?)
                .ok_or_else(|| Flaw::new(format_args!("record {number} has no usable own-pid")))?,
        })
    }
}

/// A file is three strings: its name, how it is watched, and its numbers.
fn save_files(program: &Program, rows: &mut Rows) {
    if let Some(content) = program.content {
        rows.text("content", &content_text(content));
    }
    let mut strings: Vec<Vec<u8>> = Vec::new();
    for file in &program.files {
        let (device, inode) = file.id;
        strings.push(file.name.as_bytes().to_vec());
        strings.push(watched_word(file.watched).into());
        strings.push(format!("{device} {inode} {}", content_text(file.content)).into());
    }
    if !strings.is_empty() {
        rows.bytes("files", &joined(strings.iter().map(Vec::as_slice)));
    }
}

fn restore_files(row: &Row<'_>) -> Result<Vec<NamedFile>, Flaw> {
    let strings = split(&row.bytes_if_any("files")?.unwrap_or_default());
    let files = strings.chunks(3).map(named_file);
    files
        .collect::<Option<_>>()
        .ok_or_else(|| Flaw::new("a record names files that make no sense"))
}

fn named_file(strings: &[OsString]) -> Option<NamedFile> {
    let [name, watched, numbers] = strings else {
        return None;
    };
    let mut numbers = numbers.to_str()?.splitn(3, ' ');
    let id = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
    Some(NamedFile {
        name: name.clone(),
        watched: [Watched::Code, Watched::Other]
            .into_iter()
            .find(|known| watched_word(*known) == watched)?,
        id,
        content: content(numbers.next()?).ok()?,
    })
}

fn content_text(content: Content) -> String {
    format!("{} {}", content.size, content.changed)
}

fn content(text: &str) -> Result<Content, Flaw> {
    let parsed = text.split_once(' ').and_then(|(size, changed)| {
        let (size, changed) = (size.parse().ok()?, changed.parse().ok()?);
        Some(Content { size, changed })
    });
    parsed.ok_or_else(|| Flaw::new("a record has a file of no size"))
}

fn watched_word(watched: Watched) -> &'static str {
    match watched {
        Watched::Code => "code",
        Watched::Other => "other",
    }
}

fn save_oom_score(score: Option<i16>, rows: &mut Rows) {
    if let Some(score) = score {
        rows.text("oom-score-adj", &score.to_string());
    }
}

fn restore_oom_score(row: &Row<'_>) -> Result<Option<i16>, Flaw> {
    match row.text_if_any("oom-score-adj")? {
        Some(_) => row.parsed("oom-score-adj").map(Some),
        None => Ok(None),
    }
}

fn binary_name(number: u64) -> String {
    format!("binary-{number}")
}

fn cwd_name(number: u64) -> String {
    format!("cwd-{number}")
}

fn restore_cwd(
    row: &Row<'_>,
    wanted: FileId,
    number: u64,
    fds: &mut Fds,
    processes: &[Pid],
) -> Result<OwnedFd, Flaw> {
    let path = PathBuf::from(row.os("cwd")?);
    let of_processes = processes.iter().map(|pid| format!("/proc/{pid}/cwd").into());
    let paths = std::iter::once(path.clone()).chain(of_processes);
    let found = paths.filter_map(|path: PathBuf| open_directory(&path).ok());
    let given = fds.take(&cwd_name(number)).into_iter();
    let same = |fd: &OwnedFd| id_of(fd.as_fd()) == Some(wanted);
    given.chain(found).find(same).ok_or_else(|| {
        Flaw::new(format_args!(
            "the working directory {path:?} of generation {number} is gone"
        ))
    })
}

fn restore_binary(
    row: &Row<'_>,
    number: u64,
    fds: &mut Fds,
    cwd: BorrowedFd<'_>,
    processes: &[Pid],
) -> Result<Binary, Flaw> {
    let known = Known {
        path: row.os("binary")?.into(),
        real_path: row.os("file")?.into(),
        id: (row.number("device")?, row.number("inode")?),
    };
    let lost = Flaw::new(format_args!(
        "the binary {:?} of generation {number} (inode {}) was removed or replaced, and no living process executes it",
        known.real_path, known.id.1
    ));
    Binary::find_again(known, fds.take(&binary_name(number)), cwd, processes).ok_or(lost)
}

/// Where an open directory lies now.
pub(super) fn path_of(fd: BorrowedFd<'_>) -> PathBuf {
    std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap_or_default()
}

fn own_pid_word(own_pid: OwnPid) -> &'static str {
    match own_pid {
        OwnPid::Set => "set",
        OwnPid::LeftOut => "left-out",
    }
}

fn own_pid(word: &str) -> Option<OwnPid> {
    [OwnPid::Set, OwnPid::LeftOut]
        .into_iter()
        .find(|own_pid| own_pid_word(*own_pid) == word)
}

fn save_environment(environment: &Environment, rows: &mut Rows) {
    rows.bytes("environment", &joined_variables(environment.variables.iter()));
    let configured = environment.configured.iter().map(|key| key.as_bytes());
    rows.bytes("configured", &joined(configured));
}

/// The stream to the journal that it names is ours of today.
fn restore_environment(
    row: &Row<'_>,
    inherited_environment: &InheritedEnvironment,
) -> Result<Environment, Flaw> {
    let mut environment = Environment {
        variables: BTreeMap::from_iter(split_variables(&row.bytes("environment")?)),
        configured: split(&row.bytes("configured")?),
    };
    match inherited_environment.journal_stream() {
        Some(stream) => environment.set_unless_configured(journal::VARIABLE, stream),
        None if environment.configured.iter().any(|key| key == journal::VARIABLE) => {}
        None => drop(environment.variables.remove(OsStr::new(journal::VARIABLE))),
    }
    Ok(environment)
}

impl InheritedEnvironment {
    /// Writes what we were born with, for the same process after an upgrade in place: by then our limits are those that we
    /// have raised for ourselves.
    pub(crate) fn save(&self, rows: &mut Rows) {
        let environment = self.variables.iter().map(|(key, value)| (key, value));
        rows.begin(HERITAGE)
            .bytes("environment", &joined_variables(environment))
            .text("limits", &self.limits.to_string());
        save_oom_score(self.oom_score, rows);
    }

    /// Reads the row.
    ///
    /// # Errors
    /// A field is missing or cannot be read.
    pub(crate) fn restore(row: &Row<'_>) -> Result<InheritedEnvironment, Flaw> {
        let environment: Vec<_> = split_variables(&row.bytes("environment")?).collect();
        let stream = environment.iter().find(|(key, _)| key == journal::VARIABLE);
        Ok(InheritedEnvironment {
            started_in: None,
            journal: JournalStreams::of_this_process(stream.map(|(_, value)| value.as_os_str())),
            limits: row.parsed("limits")?,
            oom_score: restore_oom_score(row)?,
            variables: environment,
        })
    }
}

impl ReportPipe {
    /// Writes what has come so far, for the worker that the caller calls so. Its fd is [`ReportPipe::as_fd`], under the name
    /// that [`ReportPipe::name`] gives.
    pub(crate) fn save(&self, worker: &str, rows: &mut Rows) {
        rows.begin(REPORT)
            .text("worker", worker)
            .bytes("received", &self.received);
    }

    /// The name of the fd.
    pub(crate) fn name(worker: &str) -> String {
        format!("report-{worker}")
    }

    /// Reads the row. `None` if the fd is not in the bag: nothing more will be heard, for whoever writes to it finds nobody.
    ///
    /// # Errors
    /// A field is missing or cannot be read.
    pub(crate) fn restore(row: &Row<'_>, fds: &mut Fds) -> Result<Option<ReportPipe>, Flaw> {
        let received = row.bytes("received")?;
        let fd = fds.take(&Self::name(&row.text("worker")?));
        Ok(fd.map(|fd| ReportPipe { fd, received }))
    }
}

/// Strings without a NUL, each with one after it.
fn joined<'a>(strings: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut text = Vec::new();
    for string in strings {
        text.extend_from_slice(string);
        text.push(0);
    }
    text
}

fn split(text: &[u8]) -> Vec<OsString> {
    let Some(text) = text.strip_suffix(&[0]) else {
        return Vec::new();
    };
    text.split(|byte| *byte == 0)
        .map(|string| OsString::from_vec(string.to_vec()))
        .collect()
}

fn joined_variables<'a>(variables: impl Iterator<Item = (&'a OsString, &'a OsString)>) -> Vec<u8> {
    let mut text = Vec::new();
    for (key, value) in variables {
        text.extend_from_slice(key.as_bytes());
        text.push(b'=');
        text.extend_from_slice(value.as_bytes());
        text.push(0);
    }
    text
}

fn split_variables(text: &[u8]) -> impl Iterator<Item = (OsString, OsString)> {
    split(text).into_iter().filter_map(|entry| {
        let entry = entry.as_bytes();
        let end = entry.iter().position(|byte| *byte == b'=')?;
        let part = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        Some((part(&entry[..end]), part(&entry[end + 1..])))
    })
}
