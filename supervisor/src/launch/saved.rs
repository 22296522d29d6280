//! Birth records, launches under way and the environment that the supervisor inherited, as they are left to the next supervisor.
//!
//! A row `record` has the open files of its record beside it, `binary-NUMBER` and `cwd-NUMBER`. Where those did not come along
//! they are looked for at their paths and among the processes that still run them, and taken only if they are the same files.

use super::binary::{Binary, Content, FileId, Known, id_of};
use super::environment::Environment;
use super::files::{NamedFile, Watched};
use super::journal::{self, JournalStreams};
use super::program::{InheritedEnvironment, Program, open_directory};
use super::{BirthRecord, OwnPid, ReportSocket};
use crate::activation::Protocol;
use crate::state::{
    Fds, Field, Fields as _, FixedRows, Flaw, Row, Rows, Whole as _, by_text, fields, whole, words,
    written_as,
};
use crate::sys::Limits;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::rc::Rc;

/// The kind of the row of a birth record.
pub(crate) const RECORD: &str = "record";

/// The kind of the row of the environment that a supervisor was born with.
pub(crate) const INHERITED_ENVIRONMENT: &str = "inherited-environment";

/// The kind of the row of a launch of which more is to be heard.
pub(crate) const REPORT: &str = "report";

impl BirthRecord {
    /// Writes its row, under the number by which the caller knows it, the same each time.
    pub(crate) fn save(&self, number: u64, rows: &mut Rows) {
        rows.fixed(&self.saved, |rows| self.save_anew(number, rows));
    }

    fn save_anew(&self, number: u64, rows: &mut Rows) {
        let program = &self.program;
        number.write("number", rows.begin(RECORD));
        SavedFiles {
            binary: program.binary.path().to_owned(),
            file: program.binary.real_path().to_owned(),
            device: program.binary.id().0,
            inode: program.binary.id().1,
            cwd: program.cwd_path.clone(),
            cwd_device: program.cwd_id.0,
            cwd_inode: program.cwd_id.1,
        }
        .save_fields(rows);
        self.own_pid.write("own-pid", rows);
        program.save_fields(rows);
        program.environment.save_fields(rows);
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

    /// Reads a row. Files that are not among the fds are looked for: `processes` may run this record. Which of our streams are the
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
        let files = SavedFiles::of_row(*row)?;
        let cwd = files.find_cwd(number, fds, processes)?;
        let binary = files.find_binary(number, fds, cwd.as_fd(), processes)?;
        let mut program = Program {
            command: OsString::new(),
            argv: Vec::new(),
            binary,
            content: None,
            files: Vec::new(),
            cwd_id: (files.cwd_device, files.cwd_inode),
            cwd_path: path_of(cwd.as_fd()),
            cwd,
            environment: restore_environment(*row, inherited_environment)?,
            user: None,
            group: None,
            umask: None,
            stderr: None,
            limits: inherited_environment.limits.clone(),
            oom_score: None,
            journal: inherited_environment.journal,
            last_signal: None,
            protocol: Protocol::Systemd,
        };
        program.restore_fields(*row)?;
        let command = program.argv.first().ok_or_else(|| row.lacks("arguments"))?;
        program.command = OsString::from_vec(command.as_bytes().to_vec());
        Ok(BirthRecord {
            program,
            own_pid: Field::read("own-pid", *row)?,
            saved: FixedRows::default(),
        })
    }
}

/// The open files of a record, by what they are looked for.
#[derive(Debug)]
struct SavedFiles {
    binary: PathBuf,
    /// Where the file itself was.
    file: PathBuf,
    device: u64,
    inode: u64,
    cwd: PathBuf,
    cwd_device: u64,
    cwd_inode: u64,
}

whole!(SavedFiles {
    "binary" binary;
    "file" file;
    "device" device;
    "inode" inode;
    "cwd" cwd;
    "cwd-device" cwd_device;
    "cwd-inode" cwd_inode;
});

fields!(Program {
    "arguments" argv;
    "content" content;
    "files" files;
    "user" user;
    "group" group;
    "umask" umask;
    "stderr" stderr;
    "limits" limits;
    "oom-score-adj" oom_score;
    "last-signal" last_signal;
    "protocol" protocol;
});

whole!(Environment {
    "environment" variables;
    "configured" configured;
    "templates" templates or Vec::<OsString>::new();
});

fields!(InheritedEnvironment {
    "environment" variables;
    "limits" limits;
    "oom-score-adj" oom_score;
});

words!(Protocol {
    "server-starter" ServerStarter;
    "einhorn" Einhorn;
    "nginx" Nginx;
    "php-fpm" PhpFpm;
} or Systemd);
words!(OwnPid { "set" Set; "left-out" LeftOut; });
by_text!(Limits, Signal);
// No more than 0o777.
written_as!(Mode as u32: |mode| mode.bits(), |bits| Mode::from_bits_truncate(bits & 0o777););

/// `SIZE CHANGED`.
impl Field for Content {
    fn write(&self, key: &str, rows: &mut Rows) {
        rows.text(key, &content_text(*self));
    }

    fn read_if_any(key: &str, row: Row<'_>) -> Result<Option<Self>, Flaw> {
        let Some(text) = row.text_if_any(key)? else {
            return Ok(None);
        };
        content(&text).map(Some).ok_or_else(|| row.lacks(key))
    }
}

/// A file is three strings: its name, how it is watched, and its numbers.
impl Field for Vec<NamedFile> {
    fn write(&self, key: &str, rows: &mut Rows) {
        let mut strings: Vec<Vec<u8>> = Vec::new();
        for file in self {
            let (device, inode) = file.id;
            strings.push(file.name.as_bytes().to_vec());
            strings.push(watched_word(file.watched).into());
            strings.push(format!("{device} {inode} {}", content_text(file.content)).into());
        }
        joined(strings.iter().map(Vec::as_slice)).write(key, rows);
    }

    fn read_if_any(key: &str, row: Row<'_>) -> Result<Option<Self>, Flaw> {
        let Some(bytes) = row.bytes_if_any(key)? else {
            return Ok(None);
        };
        let files = split(&bytes).chunks(3).map(named_file).collect();
        Option::map(files, Some).ok_or_else(|| row.lacks(key))
    }

    fn absent() -> Option<Self> {
        Some(Vec::new())
    }
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
        content: content(numbers.next()?)?,
    })
}

fn content_text(content: Content) -> String {
    format!("{} {}", content.size, content.changed)
}

fn content(text: &str) -> Option<Content> {
    let (size, changed) = text.split_once(' ')?;
    Some(Content {
        size: size.parse().ok()?,
        changed: changed.parse().ok()?,
    })
}

fn watched_word(watched: Watched) -> &'static str {
    match watched {
        Watched::Code => "code",
        Watched::Other => "other",
    }
}

fn binary_name(number: u64) -> String {
    format!("binary-{number}")
}

fn cwd_name(number: u64) -> String {
    format!("cwd-{number}")
}

impl SavedFiles {
    fn find_cwd(&self, number: u64, fds: &mut Fds, processes: &[Pid]) -> Result<OwnedFd, Flaw> {
        let wanted: FileId = (self.cwd_device, self.cwd_inode);
        let of_processes = processes.iter().map(|pid| format!("/proc/{pid}/cwd").into());
        let paths = std::iter::once(self.cwd.clone()).chain(of_processes);
        let found = paths.filter_map(|path: PathBuf| open_directory(&path).ok());
        let given = fds.take(&cwd_name(number)).into_iter();
        let same = |fd: &OwnedFd| id_of(fd.as_fd()) == Some(wanted);
        given.chain(found).find(same).ok_or_else(|| {
            Flaw::new(format_args!(
                "the working directory {:?} of generation {number} is gone",
                self.cwd
            ))
        })
    }

    fn find_binary(
        &self,
        number: u64,
        fds: &mut Fds,
        cwd: BorrowedFd<'_>,
        processes: &[Pid],
    ) -> Result<Binary, Flaw> {
        let known = Known {
            path: self.binary.clone(),
            real_path: self.file.clone(),
            id: (self.device, self.inode),
        };
        Binary::find_again(known, fds.take(&binary_name(number)), cwd, processes).ok_or_else(|| {
            Flaw::new(format_args!(
                "the binary {:?} of generation {number} (inode {}) was removed or replaced, and no living process executes it",
                self.file, self.inode
            ))
        })
    }
}

/// Where an open directory lies now.
pub(super) fn path_of(fd: BorrowedFd<'_>) -> PathBuf {
    std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap_or_default()
}

/// The stream to the journal that it names is ours of today.
fn restore_environment(
    row: Row<'_>,
    inherited_environment: &InheritedEnvironment,
) -> Result<Environment, Flaw> {
    let mut environment = Environment::of_row(row)?;
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
        self.save_fields(rows.begin(INHERITED_ENVIRONMENT));
    }

    /// Reads the row.
    ///
    /// # Errors
    /// A field is missing or cannot be read.
    pub(crate) fn restore(row: &Row<'_>) -> Result<InheritedEnvironment, Flaw> {
        let mut saved = InheritedEnvironment {
            variables: Vec::new(),
            limits: Field::read("limits", *row)?,
            oom_score: None,
            journal: None,
            started_in: None,
        };
        saved.restore_fields(*row)?;
        let mut variables = saved.variables.iter();
        let stream = variables.find(|(key, _)| key == journal::VARIABLE);
        saved.journal = JournalStreams::of_this_process(stream.map(|(_, value)| value.as_os_str()));
        Ok(saved)
    }
}

impl ReportSocket {
    /// Writes what has come so far, for the worker that the caller calls so. Its fd is [`ReportSocket::as_fd`], under the name
    /// that [`ReportSocket::name`] gives.
    pub(crate) fn save(&self, worker: &str, rows: &mut Rows) {
        rows.begin(REPORT).text("worker", worker);
        self.received.write("received", rows);
    }

    /// The name of the fd.
    pub(crate) fn name(worker: &str) -> String {
        format!("report-{worker}")
    }

    /// Reads the row. `None` if the fd is not among them: nothing more will be heard, for its writer finds nobody.
    ///
    /// # Errors
    /// A field is missing or cannot be read.
    pub(crate) fn restore(row: &Row<'_>, fds: &mut Fds) -> Result<Option<ReportSocket>, Flaw> {
        let received = Field::read("received", *row)?;
        let fd = fds.take(&Self::name(&row.text("worker")?));
        Ok(fd.map(|fd| ReportSocket {
            fd: Rc::new(fd),
            received,
        }))
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

impl Field for Vec<CString> {
    fn write(&self, key: &str, rows: &mut Rows) {
        joined(self.iter().map(|word| word.as_bytes())).write(key, rows);
    }

    fn read_if_any(key: &str, row: Row<'_>) -> Result<Option<Self>, Flaw> {
        let Some(bytes) = row.bytes_if_any(key)? else {
            return Ok(None);
        };
        // There is no NUL left in them.
        let words = split(&bytes)
            .into_iter()
            .map(|word| CString::new(word.into_vec()));
        words
            .collect::<Result<_, _>>()
            .map(Some)
            .map_err(|_| row.lacks(key))
    }
}

impl Field for Vec<OsString> {
    fn write(&self, key: &str, rows: &mut Rows) {
        joined(self.iter().map(|word| word.as_bytes())).write(key, rows);
    }

    fn read_if_any(key: &str, row: Row<'_>) -> Result<Option<Self>, Flaw> {
        Ok(row.bytes_if_any(key)?.map(|bytes| split(&bytes)))
    }

    fn absent() -> Option<Self> {
        Some(Vec::new())
    }
}

/// `NAME=VALUE`, each with a NUL after it.
impl Field for Vec<(OsString, OsString)> {
    fn write(&self, key: &str, rows: &mut Rows) {
        joined_variables(self.iter().map(|(name, value)| (name, value))).write(key, rows);
    }

    fn read_if_any(key: &str, row: Row<'_>) -> Result<Option<Self>, Flaw> {
        Ok(row
            .bytes_if_any(key)?
            .map(|bytes| split_variables(&bytes).collect()))
    }

    fn absent() -> Option<Self> {
        Some(Vec::new())
    }
}

/// The same.
impl Field for BTreeMap<OsString, OsString> {
    fn write(&self, key: &str, rows: &mut Rows) {
        joined_variables(self.iter()).write(key, rows);
    }

    fn read_if_any(key: &str, row: Row<'_>) -> Result<Option<Self>, Flaw> {
        Ok(row
            .bytes_if_any(key)?
            .map(|bytes| split_variables(&bytes).collect()))
    }

    fn absent() -> Option<Self> {
        Some(Self::new())
    }
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
