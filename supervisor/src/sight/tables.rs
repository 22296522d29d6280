//! Tables of sockets: the kernel's own search for TCP ([`diag`]), and where that is forbidden the tables in /proc/PID/net,
//! proc_net_tcp.txt of the kernel and net/unix/af_unix.c. They are looked at only where something is wrong, and never
//! longer than for [`MANY`] rows: the loop waits for it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::ControlFlow;

use nix::unistd::Pid;

use crate::sys::diag::{self, Reach, States};

/// State of a listening TCP socket, and of a bound UDP socket without a peer.
const LISTENS: &str = "0A";
const BOUND: &str = "07";

/// States in which a connection is not over for the process that accepted it: ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT.
const OPEN: [&str; 4] = ["01", "04", "05", "08"];

/// unix_seq_show: `__SO_ACCEPTCON`, the socket listens.
const ACCEPTS: u64 = 1 << 16;

/// So many sockets are looked through at most: in a table of /proc the kernel needs some 2 µs for each.
pub(super) const MANY: usize = 20_000;

/// Whether there is a connection of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connection {
    /// There is.
    Seen,
    /// There is none.
    Absent,
    /// There are more sockets than were looked through.
    Unknown,
}

impl From<Reach> for Connection {
    fn from(reach: Reach) -> Self {
        match reach {
            Reach::Enough => Self::Seen,
            Reach::All => Self::Absent,
            Reach::Cut => Self::Unknown,
        }
    }
}

/// Show each row of a table, until `visit` has seen enough, or the rows that are left have been looked at. A table that
/// cannot be read has none.
fn each_row(path: &str, left: &mut usize, mut visit: impl FnMut(&str) -> ControlFlow<()>) -> Reach {
    let Ok(file) = File::open(path) else {
        return Reach::All;
    };
    let mut table = BufReader::with_capacity(64 * 1024, file);
    let mut row = Vec::new();
    loop {
        row.clear();
        if !matches!(table.read_until(b'\n', &mut row), Ok(length) if length > 0) {
            return Reach::All;
        }
        if visit(String::from_utf8_lossy(&row).trim_end_matches('\n')).is_break() {
            return Reach::Enough;
        }
        match left.checked_sub(1) {
            Some(less) => *left = less,
            None => return Reach::Cut,
        }
    }
}

/// Where these sockets listen, in the words of `--listen`, each address once: those that are in the network namespace
/// of this process.
pub(crate) fn listening_addresses(pid: Pid, inodes: &[u64]) -> Vec<String> {
    let mut addresses = Vec::new();
    for table in ["tcp", "tcp6"] {
        let mut is_head = true;
        each_row(&format!("/proc/{pid}/net/{table}"), &mut MANY.clone(), |row| {
            match internet(row, LISTENS) {
                Some((address, inode)) if inodes.contains(&inode) => addresses.push(address.to_string()),
                Some(_) => {}
                // Those that listen come first.
                None if !is_head => return ControlFlow::Break(()),
                None => {}
            }
            is_head = false;
            ControlFlow::Continue(())
        });
    }
    for table in ["udp", "udp6"] {
        each_row(&format!("/proc/{pid}/net/{table}"), &mut MANY.clone(), |row| {
            let bound = internet(row, BOUND).filter(|(_, inode)| inodes.contains(inode));
            addresses.extend(bound.map(|(address, _)| format!("udp:{address}")));
            ControlFlow::Continue(())
        });
    }
    each_row(&format!("/proc/{pid}/net/unix"), &mut MANY.clone(), |row| {
        let ours = unix(row).filter(|(_, inode)| inodes.contains(inode));
        addresses.extend(ours.map(|(path, _)| format!("unix:{}", path.escape_debug())));
        ControlFlow::Continue(())
    });
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// Whether one of these sockets is a connection of the port (or of the path) at which `listener` listens, in the network
/// namespace of this process. All sockets are named by their inodes.
pub(crate) fn connection(listener: u64, sockets: &[u64]) -> Connection {
    let sockets: BTreeSet<u64> = sockets.iter().copied().collect();
    if sockets.is_empty() {
        return Connection::Absent;
    }
    let answer = by_search(listener, &sockets, MANY).unwrap_or_else(|| by_table(listener, &sockets, MANY));
    answer.unwrap_or_else(|| unix_connection(listener, &sockets, MANY))
}

/// Every connection of the port at which a TCP listener listens that was accepted, by inode. `None` where the kernel does not search,
/// and where there are more sockets than are looked through.
pub(crate) fn accepted_connections(listener: u64) -> Option<BTreeSet<u64>> {
    let mut accepted = BTreeSet::new();
    let searched = search_port(listener, MANY, |inode| {
        // One that waits to be accepted has no inode yet.
        accepted.extend((inode != 0).then_some(inode));
        ControlFlow::Continue(())
    });
    (searched?? == Connection::Absent).then_some(accepted)
}

/// The kernel's answer; `None` in it if the listener is no TCP socket. `None` if it gives none.
pub(super) fn by_search(listener: u64, sockets: &BTreeSet<u64>, limit: usize) -> Option<Option<Connection>> {
    search_port(listener, limit, |inode| match sockets.contains(&inode) {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    })
}

/// The same for any question about a connection.
fn search_port(
    listener: u64,
    limit: usize,
    mut visit: impl FnMut(u64) -> ControlFlow<()>,
) -> Option<Option<Connection>> {
    let mut port = None;
    let found = diag::search(States::LISTEN, 0, limit, |found| {
        if found.inode != listener {
            return ControlFlow::Continue(());
        }
        port = Some(found.local.port());
        ControlFlow::Break(())
    });
    match (found.ok()?, port) {
        (Reach::Cut, _) => return Some(Some(Connection::Unknown)),
        (Reach::All | Reach::Enough, None) => return Some(None),
        (Reach::All | Reach::Enough, Some(_)) => {}
    }
    let search = diag::search(States::OPEN, port?, limit, |found| visit(found.inode));
    Some(Some(search.ok()?.into()))
}

/// The answer of /proc; `None` if the listener is no TCP socket.
pub(super) fn by_table(listener: u64, sockets: &BTreeSet<u64>, limit: usize) -> Option<Connection> {
    let tables = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];
    let mut port = None;
    for table in tables {
        each_row(table, &mut limit.clone(), |row| match internet(row, LISTENS) {
            Some((address, inode)) if inode == listener => {
                port = Some(address.port());
                ControlFlow::Break(())
            }
            Some(_) | None => ControlFlow::Continue(()),
        });
    }
    let port = port?;
    let mut left = limit;
    for table in tables {
        let reach = each_row(table, &mut left, |row| {
            let open = OPEN.iter().find_map(|state| internet(row, state));
            match open {
                Some((address, inode)) if address.port() == port && sockets.contains(&inode) => {
                    ControlFlow::Break(())
                }
                Some(_) | None => ControlFlow::Continue(()),
            }
        });
        if reach != Reach::All {
            return Some(reach.into());
        }
    }
    Some(Connection::Absent)
}

fn unix_connection(listener: u64, sockets: &BTreeSet<u64>, limit: usize) -> Connection {
    const TABLE: &str = "/proc/self/net/unix";
    let mut path = None;
    let reach = each_row(TABLE, &mut limit.clone(), |row| match any_unix(row) {
        Some((found, inode, true)) if inode == listener => {
            path = Some(found.to_owned());
            ControlFlow::Break(())
        }
        Some(_) | None => ControlFlow::Continue(()),
    });
    let Some(path) = path else {
        return match reach {
            Reach::Cut => Connection::Unknown,
            Reach::All | Reach::Enough => Connection::Absent,
        };
    };
    // Accepted sockets bear the path of their listener.
    let reach = each_row(TABLE, &mut limit.clone(), |row| match any_unix(row) {
        Some((other, inode, false)) if other == path && sockets.contains(&inode) => ControlFlow::Break(()),
        Some(_) | None => ControlFlow::Continue(()),
    });
    reach.into()
}

/// Whether one of these sockets, named by inode, is in no table of this process's network namespace, or at least not among
/// the first of it. So is a connection that its client has reset: who has accepted it may still work on the answer. (So is
/// a socket of another namespace or of a rare family, too.)
pub(crate) fn is_any_unlisted(sockets: &[u64]) -> bool {
    /// The table, and the column of the inode, counted from 0.
    const TABLES: [(&str, usize); 11] = [
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
    const TCP: [(&str, usize); 2] = [("tcp", 9), ("tcp6", 9)];
    let mut unlisted: BTreeSet<u64> = sockets.iter().copied().collect();
    let searched = diag::search(States::HELD, 0, MANY, |found| {
        unlisted.remove(&found.inode);
        ControlFlow::Continue(())
    });
    let tcp = if searched.is_ok() { &[][..] } else { &TCP[..] };
    for (table, column) in tcp.iter().chain(&TABLES) {
        each_row(&format!("/proc/self/net/{table}"), &mut MANY.clone(), |row| {
            let inode = row.split_ascii_whitespace().nth(*column);
            if let Some(inode) = inode.and_then(|inode| inode.parse().ok()) {
                unlisted.remove(&inode);
            }
            ControlFlow::Continue(())
        });
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
