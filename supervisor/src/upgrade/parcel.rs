//! The state on its way: a sealed file in memory, and the numbers under which the fds lie.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::stat::fstat;
use nix::unistd::Pid;

use super::Origin;
use crate::state::{Fds, Flaw, HEAD, Passed, Row, Rows, VERSION};
use crate::sys::{self, errno_text};

/// The variable by which the executed binary learns the number of the parcel's fd. It takes it out of its environment.
const VARIABLE: &str = "SEGUE_STATE";

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
    /// The fds by their names.
    pub(crate) fds: Fds,
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
    let mut file = sys::memory_file(c"segue-state").map_err(errno_text)?;
    file.write_all(text).map_err(errno_text)?;
    fcntl(&file, FcntlArg::F_ADD_SEALS(SEALS)).map_err(errno_text)?;
    Ok(file)
}

/// The variable for the parcel.
pub(super) fn variable(parcel: BorrowedFd<'_>) -> CString {
    let text = format!("{VARIABLE}={}", parcel.as_raw_fd());
    // A name and a number: there is no NUL in it.
    CString::new(text).unwrap_or_default()
}

/// What stands in the variable, which is taken out of the environment: to be called first of all.
pub(crate) fn was_handed_over() -> Option<OsString> {
    sys::take_variable(VARIABLE)
}

/// Takes over what `writer` has handed to this process under the number of the parcel's fd.
///
/// # Errors
/// It is no state, not meant for us, not whole, or of a kind that this version does not know.
pub(crate) fn receive(number: &OsString, writer: Pid) -> Result<Saved, Flaw> {
    let number = std::str::from_utf8(number.as_bytes()).ok();
    let number: Option<RawFd> = number.and_then(|number| number.parse().ok());
    let file = sys::take_fd(number.ok_or_else(|| Flaw::new("its fd is no number"))?);
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
        fds.put(row.text("name")?, take(*row)?);
    }
    drop(all);
    Ok(Saved {
        by,
        origin,
        rows,
        fds,
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
fn take(row: Row<'_>) -> Result<std::os::fd::OwnedFd, Flaw> {
    let name = row.text("name")?;
    let flaw = |errno: Errno| Flaw::new(format_args!("fd {name}: {}", errno_text(errno)));
    let fd = sys::take_fd(row.parsed("number")?).map_err(flaw)?;
    let what = fstat(&fd).map_err(flaw)?;
    if (what.st_dev, what.st_ino) == (row.number("device")?, row.number("inode")?) {
        Ok(fd)
    } else {
        Err(Flaw::new(format_args!("fd {name}: it is another file by now")))
    }
}
