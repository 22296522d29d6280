//! Who has a port that is busy: the question that everybody asks next, answered from /proc if it tells.

use std::fs;
use std::net::SocketAddr;

use super::local::Kind;
use crate::sys;

/// State of a listening TCP socket in `/proc/net/tcp`.
const TCP_LISTENING: &str = "0A";
/// State of a bound UDP socket that is not connected in `/proc/net/udp`.
const UDP_BOUND: &str = "07";

/// `nginx, pid 4711`, if the process can be seen from here. It reads all of /proc/PID/fd, so it is only for the start.
pub(super) fn of_port(kind: Kind, address: SocketAddr) -> Option<String> {
    let (tables, state) = match kind {
        Kind::Tcp => (["/proc/net/tcp", "/proc/net/tcp6"], TCP_LISTENING),
        Kind::Udp => (["/proc/net/udp", "/proc/net/udp6"], UDP_BOUND),
        Kind::Unix | Kind::UnixDatagram | Kind::UnixSeqpacket => return None,
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

/// The inode of a row (proc_net_tcp.txt of the kernel: slot, local, remote, state, ..., the tenth column).
fn inode_at(row: &str, state: &str, port: u16) -> Option<u64> {
    let columns: Vec<&str> = row.split_whitespace().collect();
    let (_, local_port) = columns.get(1)?.rsplit_once(':')?;
    let matching = u16::from_str_radix(local_port, 16) == Ok(port) && columns.get(3) == Some(&state);
    matching.then(|| columns.get(9)?.parse().ok())?
}

fn of_inode(inode: u64) -> Option<String> {
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let name = process.file_name();
        let Some(pid) = name
            .to_str()
            .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        else {
            continue;
        };
        let sockets = pid.parse().ok().and_then(|pid| sys::open_sockets(pid).ok());
        if sockets.is_some_and(|sockets| sockets.iter().any(|(open, _)| *open == inode)) {
            let command = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{}, pid {pid}", command.trim_end().escape_debug()));
        }
    }
    None
}
