//! The tables of sockets in /proc/PID/net, proc_net_tcp.txt of the kernel and net/unix/af_unix.c. Each costs
//! milliseconds, however short it is: they are read only where something is wrong.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nix::unistd::Pid;

/// State of a listening TCP socket, and of a bound UDP socket without a peer.
const LISTENS: &str = "0A";
const BOUND: &str = "07";

/// States in which a connection is not over for whoever has accepted it: ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT.
const OPEN: [&str; 4] = ["01", "04", "05", "08"];

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

/// Whether one of these sockets is a connection of the port (or of the path) at which `listener` listens, in the network
/// namespace of this process. All sockets are named by their inodes.
pub(crate) fn has_connection(listener: u64, sockets: &[u64]) -> bool {
    if sockets.is_empty() {
        return false;
    }
    let text = |table: &str| {
        let bytes = fs::read(format!("/proc/self/net/{table}")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let tables = [text("tcp"), text("tcp6")];
    let rows = |state: &'static str| {
        let lines = tables.iter().flat_map(|table| table.lines());
        lines.filter_map(move |line| internet(line, state))
    };
    let port = rows(LISTENS)
        .find(|(_, inode)| *inode == listener)
        .map(|(address, _)| address.port());
    if let Some(port) = port {
        let of_port = OPEN
            .iter()
            .flat_map(|state| rows(state))
            .filter(|(address, _)| address.port() == port);
        return of_port.into_iter().any(|(_, inode)| sockets.contains(&inode));
    }
    let unix = text("unix");
    let mut all = unix.lines().filter_map(any_unix);
    let Some((path, ..)) = all.find(|(_, inode, listens)| *inode == listener && *listens) else {
        return false;
    };
    // Accepted sockets bear the path of their listener.
    let mut rows = unix.lines().filter_map(any_unix);
    rows.any(|(other, inode, listens)| other == path && !listens && sockets.contains(&inode))
}

/// Whether one of these sockets, named by inode, is in no table of this process's network namespace. So is a connection that its client
/// has reset: who has accepted it may still work on the answer. (So is a socket of another namespace or of a rare family, too.)
pub(crate) fn is_any_unlisted(sockets: &[u64]) -> bool {
    /// The table, and the column of the inode, counted from 0.
    const TABLES: [(&str, usize); 13] = [
        ("tcp", 9),
        ("tcp6", 9),
        ("udp", 9),
        ("udp6", 9),
        ("udplite", 9),
        ("udplite6", 9),
        ("icmp", 9),
        ("icmp6", 9),
        ("raw", 9),
        ("raw6", 9),
        ("netlink", 9),
        ("packet", 8),
        ("unix", 6),
    ];
    let mut unlisted: BTreeSet<u64> = sockets.iter().copied().collect();
    for (table, column) in TABLES {
        let bytes = fs::read(format!("/proc/self/net/{table}")).unwrap_or_default();
        for row in String::from_utf8_lossy(&bytes).lines() {
            let inode = row.split_ascii_whitespace().nth(column);
            if let Some(inode) = inode.and_then(|inode| inode.parse().ok()) {
                unlisted.remove(&inode);
            }
        }
    }
    !unlisted.is_empty()
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

/// Path and inode of a Unix socket that listens.
pub(super) fn unix(row: &str) -> Option<(&str, u64)> {
    let (path, inode, listens) = any_unix(row)?;
    listens.then_some((path, inode))
}

/// Path and inode of a Unix socket, and whether it listens: `Num RefCount Protocol Flags Type St Inode Path`; abstract names
/// begin with `@`, and a path may hold spaces.
fn any_unix(row: &str) -> Option<(&str, u64, bool)> {
    let mut rest = row;
    let mut fields = [""; 7];
    for field in &mut fields {
        rest = rest.trim_start_matches(' ');
        (*field, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    }
    let flags = u64::from_str_radix(fields[3], 16).ok()?;
    let inode = fields[6].parse().ok()?;
    (!rest.is_empty()).then_some((rest, inode, flags & ACCEPTS != 0))
}
