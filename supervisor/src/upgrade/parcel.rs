//! The state on its way: a sealed file in memory, and the numbers under which the fds lie.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::stat::fstat;
use nix::unistd::{Pid, execve};

use super::{Origin, origin};
use crate::state::{Fds, Flaw, HEAD, Passed, Row, Rows, VERSION};
use crate::sys::{self, errno_text};

/// The variable by which the executed binary learns the number of the parcel's fd. It takes it out of its environment.
const VARIABLE: &str = "SEGUE_STATE";

/// In the variable each attempt to take the state over that has failed adds a nought in front of the number, which means the same
/// number still. With so many of them there is no further attempt.
const ATTEMPTS: &[u8] = b"00000";

/// How long to wait before the next attempt: fds and memory of the whole system may be there again by then.
const PAUSE: Duration = Duration::from_millis(200);

/// Nobody changes a state that is on its way.
const SEALS: SealFlag = SealFlag::F_SEAL_SEAL
    .union(SealFlag::F_SEAL_SHRINK)
    .union(SealFlag::F_SEAL_GROW)
    .union(SealFlag::F_SEAL_WRITE);

/// A state that was handed over.
#[derive(Debug)]
pub(crate) struct Saved {
    /// The version of the segue that wrote it.
    pub(crate) by: String,
    /// How that one was started.
    pub(crate) origin: Origin,
    /// All rows.
    pub(crate) rows: Vec<u8>,
    /// The fds by their names, all of them duplicates.
    pub(crate) fds: Fds,
    /// Those that they are duplicates of.
    pub(crate) left: Left,
}

/// The numbers under which the fds of a state were left open. They stay open over an exec until the state was taken over: a process that
/// fails in that, because the kernel is short of something, can begin anew.
#[derive(Debug, Default)]
pub(crate) struct Left {
    numbers: Vec<RawFd>,
}

impl Left {
    /// A duplicate of the fd with this number; or that itself where there is no room for both, and nobody begins anew.
    fn duplicate(&mut self, number: RawFd) -> Result<OwnedFd, Errno> {
        match sys::duplicate_fd(number) {
            Err(Errno::EMFILE) => sys::take_fd(number),
            duplicate => {
                self.numbers.push(number);
                duplicate
            }
        }
    }

    /// The state was taken over, and nobody needs them any more.
    pub(crate) fn close(self) {
        self.numbers.into_iter().for_each(sys::close_left);
    }
}

/// Writes the state of this process, and behind its rows what the executed binary needs to find the rest.
pub(super) fn write(origin: &Origin, fds: &Passed<'_>, state: &[u8]) -> Result<File, String> {
    let failed = |cause: String| format!("state: {cause}");
    let mut rows = Rows::default();
    origin.save(&mut rows);
    for (name, fd) in fds {
        let what = fstat(fd).map_err(|errno| failed(format!("{name}: {}", errno_text(errno))))?;
        rows.begin("fd")
            .text("name", name)
            .text("number", &fd.as_raw_fd().to_string())
            .number("device", what.st_dev)
            .number("inode", what.st_ino);
    }
    let text = [state, rows.finish().as_slice()].concat();
    sealed(&text).map_err(failed)
}

/// A sealed file in memory with this text.
pub(crate) fn sealed(text: &[u8]) -> Result<File, String> {
    let failed = |call: &str, cause: String| format!("{call}: {cause}");
    let mut file =
        sys::memory_file(c"segue-state").map_err(|errno| failed("memfd_create", errno_text(errno)))?;
    file.write_all(text)
        .map_err(|error| failed("write", errno_text(error)))?;
    let sealed = fcntl(&file, FcntlArg::F_ADD_SEALS(SEALS));
    sealed.map_err(|errno| failed("fcntl", errno_text(errno)))?;
    Ok(file)
}

/// The variable for the parcel with this number.
pub(super) fn variable(number: &OsStr) -> CString {
    // A name and a number: there is no NUL in it.
    CString::new([VARIABLE.as_bytes(), b"=", number.as_bytes()].concat()).unwrap_or_default()
}

/// What stands in the variable, which is taken out of the environment: to be called first of all.
pub(crate) fn was_handed_over() -> Option<OsString> {
    sys::take_variable(VARIABLE)
}

/// The state with this number could not be taken over: this process executes its binary again, to which everything is handed over as
/// it was to this one. Returns if that has been tried often enough, or if it cannot be done.
pub(crate) fn begin_anew(number: &OsStr) {
    let mut again = OsString::from("0");
    again.push(number);
    if again.as_bytes().starts_with(ATTEMPTS) {
        return;
    }
    std::thread::sleep(PAUSE);
    let mut environment = sys::environment();
    environment.push(variable(&again));
    // The caller ends if it fails, and has told why.
    let _ = execve(c"/proc/self/exe", &origin::own_argv(), &environment);
}

/// Takes over what `writer` has handed to this process under the number of the parcel's fd.
///
/// # Errors
/// It is no state, not meant for us, not whole, or of a kind that this version does not know.
pub(crate) fn receive(number: &OsString, writer: Pid) -> Result<Saved, Flaw> {
    let number = std::str::from_utf8(number.as_bytes()).ok();
    let number: Option<RawFd> = number.and_then(|number| number.parse().ok());
    let mut left = Left::default();
    let file = left.duplicate(number.ok_or_else(|| Flaw::new("its fd is no number"))?);
    let file = file.map_err(|errno| Flaw::new(format_args!("its fd: {}", errno_text(errno))))?;
    let rows = contents(File::from(file))?;
    let all = Row::all(&rows)?;
    let first = all.first().filter(|row| row.kind() == HEAD);
    let first = first.ok_or_else(|| Flaw::new("it does not begin as one"))?;
    let version = first.number("version")?;
    if version != VERSION {
        return Err(Flaw::new(format_args!(
            "it is of version {version}, and only version {VERSION} is understood"
        )));
    }
    if first.text("pid")? != writer.to_string() {
        return Err(Flaw::new("it is that of another process"));
    }
    let (by, origin) = (first.text("by")?, Origin::restore(&all)?);
    let mut fds = Fds::default();
    for row in all.iter().filter(|row| row.kind() == "fd") {
        fds.put(row.text("name")?, take(*row, &mut left)?);
    }
    drop(all);
    Ok(Saved {
        by,
        origin,
        rows,
        fds,
        left,
    })
}

pub(super) fn contents(mut file: File) -> Result<Vec<u8>, Flaw> {
    let unreadable = |cause: String| Flaw::new(format_args!("cannot be read: {cause}"));
    // Anything but a file in memory has no seals: EINVAL.
    let seals = fcntl(file.as_fd(), FcntlArg::F_GET_SEALS).map_err(|errno| unreadable(errno_text(errno)))?;
    if !SealFlag::from_bits_retain(seals).contains(SEALS) {
        return Err(Flaw::new("it is not sealed"));
    }
    let mut rows = Vec::new();
    file.rewind()
        .and_then(|()| file.read_to_end(&mut rows))
        .map_err(|error| unreadable(errno_text(error)))?;
    Ok(rows)
}

/// The fd of a row, if it is the one that was meant.
fn take(row: Row<'_>, left: &mut Left) -> Result<OwnedFd, Flaw> {
    let name = row.text("name")?;
    let flaw = |errno: Errno| Flaw::new(format_args!("fd {name}: {}", errno_text(errno)));
    let fd = left.duplicate(row.parsed("number")?).map_err(flaw)?;
    let what = fstat(&fd).map_err(flaw)?;
    if (what.st_dev, what.st_ino) == (row.number("device")?, row.number("inode")?) {
        Ok(fd)
    } else {
        Err(Flaw::new(format_args!("fd {name}: it is another file by now")))
    }
}
