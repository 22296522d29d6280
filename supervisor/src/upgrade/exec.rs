//! The execution of the next binary.

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt as _;

use nix::fcntl::AtFlags;
use nix::unistd::{execve, execveat};

use crate::launch::Binary;

/// By path while the path leads to the file that was checked, so that it is found where one looks for it (`ps`,
/// /proc/PID/exe); by fd otherwise, so that it is what was checked.
pub(super) fn execute(
    binary: &Binary,
    argv: &[CString],
    environment: &[CString],
) -> Result<Infallible, String> {
    const THE_FD_ITSELF: &CStr = c"";
    let path = CString::new(binary.path().as_os_str().as_bytes()).unwrap_or_default();
    let outcome = if binary.is_at_its_path() {
        execve(&path, argv, environment)
    } else {
        execveat(
            binary.as_fd(),
            THE_FD_ITSELF,
            argv,
            environment,
            AtFlags::AT_EMPTY_PATH,
        )
    };
    outcome.map_err(|errno| format!("exec {}: {}", binary.path().display(), binary.explain(errno)))
}
