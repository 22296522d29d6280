//! Who has a port or a path that is busy: the question that everybody asks next, answered from /proc if it tells.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::unistd::Pid;

use super::local::SocketKind;
use crate::sys;

/// State of a listening TCP socket in `/proc/net/tcp`.
const TCP_LISTENING: &str = "0A";
/// State of a bound UDP socket that is not connected in `/proc/net/udp`.
const UDP_BOUND: &str = "07";

/// `nginx, pid 4711`, if the process can be seen from here. It reads all of /proc/PID/fd, so it is only for the start.
pub(super) fn of_port(kind: SocketKind, address: SocketAddr) -> Option<String> {
    let (tables, state) = match kind {
        SocketKind::Tcp => (["/proc/net/tcp", "/proc/net/tcp6"], TCP_LISTENING),
        SocketKind::Udp => (["/proc/net/udp", "/proc/net/udp6"], UDP_BOUND),
        SocketKind::Unix | SocketKind::UnixDatagram | SocketKind::UnixSeqpacket => return None,
    };
    tables
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .find_map(|table| {
            table
                .lines()
                .find_map(|line| inode_at(line, state, address.port()))
        })
        .and_then(of_inode)
}

/// The same for the path of a Unix socket.
pub(super) fn of_path(path: &Path) -> Option<String> {
    let table = fs::read("/proc/net/unix").ok()?;
    let rows = table.split(|byte| *byte == b'\n');
    // What waits in its queue has the path, too, and no inode yet.
    let mut inodes = rows.filter_map(|row| inode_of_path(row, path));
    inodes.find_map(of_inode)
}

/// The inode of a row of `/proc/net/unix` with this path (proc_pid_net(5): number, references, protocol, flags, type, state, inode,
/// path).
fn inode_of_path(row: &[u8], path: &Path) -> Option<u64> {
    let before = row
        .strip_suffix(path.as_os_str().as_bytes())?
        .strip_suffix(b" ")?;
    let columns: Vec<&str> = std::str::from_utf8(before).ok()?.split_whitespace().collect();
    match columns[..] {
        [_, _, _, _, _, _, inode] => inode.parse().ok(),
        _ => None,
    }
}

/// The inode of a row (proc_net_tcp.txt of the kernel: slot, local, remote, state, ..., the tenth column).
fn inode_at(row: &str, state: &str, port: u16) -> Option<u64> {
    let columns: Vec<&str> = row.split_whitespace().collect();
    let (_, local_port) = columns.get(1)?.rsplit_once(':')?;
    let matching = u16::from_str_radix(local_port, 16) == Ok(port) && columns.get(3) == Some(&state);
    matching.then(|| columns.get(9)?.parse().ok())?
}

/// The same for a socket.
pub(super) fn of_inode(inode: u64) -> Option<String> {
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let name = process.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let sockets = sys::open_sockets(pid).ok();
        if sockets.is_some_and(|sockets| sockets.iter().any(|(open, _)| *open == inode)) {
            let command = sys::command_of(Pid::from_raw(pid)).unwrap_or_default();
            return Some(format!("{command}, pid {pid}"));
        }
    }
    None
}
