//! The tables of sockets in /proc/PID/net, proc_net_tcp.txt of the kernel and net/unix/af_unix.c. Each costs
//! milliseconds, however short it is: they are read only where something is wrong.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nix::unistd::Pid;

/// State of a listening TCP socket, and of a bound UDP socket without a peer.
const LISTENS: &str = "0A";
const BOUND: &str = "07";

/// unix_seq_show: `__SO_ACCEPTCON`, the socket listens.
const ACCEPTS: u64 = 1 << 16;

/// Where these sockets listen, in the words of `--listen`, each address once: those that are in the network namespace
/// of this process.
pub(crate) fn listening_addresses(pid: Pid, inodes: &[u64]) -> Vec<String> {
    let text = |table: &str| {
        let bytes = fs::read(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let mut addresses = Vec::new();
    for (table, state, prefix) in [
        ("tcp", LISTENS, ""),
        ("tcp6", LISTENS, ""),
        ("udp", BOUND, "udp:"),
        ("udp6", BOUND, "udp:"),
    ] {
        let text = text(table);
        let rows = text.lines().filter_map(|line| internet(line, state));
        let ours = rows.filter(|(_, inode)| inodes.contains(inode));
        addresses.extend(ours.map(|(address, _)| format!("{prefix}{address}")));
    }
    let text = text("unix");
    let rows = text.lines().filter_map(unix);
    let ours = rows.filter(|(_, inode)| inodes.contains(inode));
    addresses.extend(ours.map(|(path, _)| format!("unix:{}", path.escape_debug())));
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// Local address and inode of a row in this state: slot, local, remote, state, ..., the tenth column.
pub(super) fn internet(row: &str, state: &str) -> Option<(SocketAddr, u64)> {
    let mut columns = row.split_ascii_whitespace().skip(1);
    let (address, port) = columns.next()?.split_once(':')?;
    (columns.nth(1)? == state).then_some(())?;
    let inode = columns.nth(5)?.parse().ok()?;
    let port = u16::from_str_radix(port, 16).ok()?;
    Some((SocketAddr::new(ip(address)?, port), inode))
}

/// Words of 32 bits, each in the order of this machine.
fn ip(hexadecimal: &str) -> Option<IpAddr> {
    let word = |nth: usize| {
        let digits = hexadecimal.get(nth * 8..nth * 8 + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    if hexadecimal.len() == 8 {
        return Some(Ipv4Addr::from(word(0)?).into());
    }
    let bytes: Vec<u8> = [word(0)?, word(1)?, word(2)?, word(3)?].concat();
    let bytes: [u8; 16] = bytes.try_into().ok()?;
    Some(Ipv6Addr::from(bytes).into())
}

/// Path and inode of a Unix socket that listens: `Num RefCount Protocol Flags Type St Inode Path`; abstract names begin with
/// `@`, and a path may hold spaces.
pub(super) fn unix(row: &str) -> Option<(&str, u64)> {
    let mut rest = row;
    let mut fields = [""; 7];
    for field in &mut fields {
        rest = rest.trim_start_matches(' ');
        (*field, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    }
    let flags = u64::from_str_radix(fields[3], 16).ok()?;
    let listens = flags & ACCEPTS != 0 && !rest.is_empty();
    listens.then(|| Some((rest, fields[6].parse().ok()?)))?
}
