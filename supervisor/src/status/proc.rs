//! Open and waiting connections, counted from /proc. What may not be seen becomes null, never a number that
//! is too low.
//!
//! Sources: the kernel's own search for TCP sockets (sock_diag(7)) or, for another network namespace than our own,
//! proc_net_tcp.txt of the kernel (`/proc/PID/net/tcp`), whose every row costs, also those of connections that are over;
//! net/unix/af_unix.c (`unix_seq_show`), proc_pid_fd(5).

use std::collections::{HashMap, HashSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::ControlFlow;

use nix::errno::Errno;

use crate::protocol::Status;
use crate::sys::diag::{self, States};
use crate::sys::{ProcessRow, open_sockets, process_rows};

/// TCP states in the `st` column (include/net/tcp_states.h) in which a connection has been accepted and is
/// not over for the worker: ESTABLISHED, FIN_WAIT1, FIN_WAIT2 (the worker has said its last word and reads
/// on), CLOSE_WAIT (the client has said its last word and waits for the answer).
const OPEN: [&str; 4] = ["01", "04", "05", "08"];
const LISTEN: &str = "0A";

/// unix_seq_show: `__SO_ACCEPTCON`, the socket listens.
const ACCEPTS: u64 = 1 << 16;

/// Fills `queued` and `connections` of a status whose pids are those of our own pid namespace.
pub(super) fn fill(status: &mut Status) {
    let inodes = status
        .listeners
        .iter()
        .filter_map(|listener| listener.inode)
        .collect();
    // Listeners, and what they accept, belong to the network namespace of the supervisor that opened them.
    let tables = Tables::read(status.pid, &inodes);
    for listener in &mut status.listeners {
        listener.queued = listener
            .inode
            .and_then(|inode| tables.queued.get(&inode).copied());
    }
    let known = |inode: &u64| tables.queued.contains_key(inode) || tables.connectionless.contains(inode);
    // If one listener cannot be found, its connections cannot either, and a count without them would be a
    // lie.
    if !status
        .listeners
        .iter()
        .all(|listener| listener.inode.as_ref().is_some_and(known))
    {
        return;
    }
    let Ok(processes) = process_rows() else { return };
    let families = Families::of(&processes);
    for worker in status
        .generations
        .iter_mut()
        .flat_map(|generation| &mut generation.workers)
    {
        worker.connections = count(worker.pid, &families, &tables.connections);
    }
}

/// The connections among the open files of a worker's whole tree. `None` if one of its processes may not be
/// looked into.
fn count(worker: i32, families: &Families<'_>, connections: &HashSet<u64>) -> Option<u64> {
    let mut open = HashSet::new();
    for pid in families.tree(worker) {
        match open_sockets(pid) {
            Ok(sockets) => {
                let inodes = sockets.into_iter().map(|(inode, _)| inode);
                open.extend(inodes.filter(|inode| connections.contains(inode)));
            }
            // It has ended meanwhile.
            Err(error) if matches!(error.raw_os_error(), Some(nix::libc::ENOENT | nix::libc::ESRCH)) => {}
            Err(_) => return None,
        }
    }
    u64::try_from(open.len()).ok()
}

/// All processes, and who is whose child.
struct Families<'a> {
    processes: &'a [ProcessRow],
    children: HashMap<i32, Vec<i32>>,
}

impl<'a> Families<'a> {
    fn of(processes: &'a [ProcessRow]) -> Self {
        let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
        for row in processes {
            let siblings = children.entry(row.parent.as_raw()).or_default();
            siblings.push(row.pid.as_raw());
        }
        Self { processes, children }
    }

    /// A worker's process group and all descendants of its members, which may have left the group (setsid).
    fn tree(&self, worker: i32) -> HashSet<i32> {
        let member = |row: &&ProcessRow| row.pid.as_raw() == worker || row.group.as_raw() == worker;
        let members = self.processes.iter().filter(member);
        let mut next: Vec<i32> = members.map(|row| row.pid.as_raw()).collect();
        let mut tree = HashSet::new();
        while let Some(pid) = next.pop() {
            if tree.insert(pid) {
                next.extend(self.children.get(&pid).into_iter().flatten());
            }
        }
        tree
    }
}

/// What the tables of one network namespace say about the listeners.
#[derive(Debug, Default)]
struct Tables {
    /// Waiting connections by listener.
    queued: HashMap<u64, u64>,
    /// Listeners of datagrams, which have no connections.
    connectionless: HashSet<u64>,
    /// Sockets that were accepted from the listeners.
    connections: HashSet<u64>,
}

impl Tables {
    /// A table that cannot be read is one without our listeners.
    fn read(pid: i32, listeners: &HashSet<u64>) -> Self {
        let text = |table: &str| fs::read(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        let mut tables = Self::default();
        if !is_of_our_network(pid) || tables.search(listeners).is_err() {
            for table in ["tcp", "tcp6"] {
                tables.tcp(&String::from_utf8_lossy(&text(table)), listeners);
            }
        }
        for table in ["udp", "udp6"] {
            tables.udp(&String::from_utf8_lossy(&text(table)), listeners);
        }
        tables.unix(&String::from_utf8_lossy(&text("unix")), listeners);
        tables
    }

    /// # Errors
    /// The kernel does not search.
    fn search(&mut self, listeners: &HashSet<u64>) -> Result<(), Errno> {
        let mut addresses = HashSet::new();
        diag::search(States::LISTEN, 0, usize::MAX, |found| {
            if listeners.contains(&found.inode) {
                self.queued.insert(found.inode, found.queued.into());
                addresses.insert(found.local);
            }
            ControlFlow::Continue(())
        })?;
        let ports: HashSet<u16> = addresses.iter().map(SocketAddr::port).collect();
        for port in ports {
            diag::search(States::OPEN, port, usize::MAX, |found| {
                let any: IpAddr = if found.local.is_ipv4() {
                    Ipv4Addr::UNSPECIFIED.into()
                } else {
                    Ipv6Addr::UNSPECIFIED.into()
                };
                // A connection to a wildcard listener has the address that the client chose.
                if addresses.contains(&found.local) || addresses.contains(&SocketAddr::new(any, port)) {
                    self.connections.insert(found.inode);
                }
                ControlFlow::Continue(())
            })?;
        }
        Ok(())
    }

    fn tcp(&mut self, text: &str, listeners: &HashSet<u64>) {
        let mut addresses = HashSet::new();
        for row in text.lines().filter_map(TcpRow::parse) {
            if row.state == LISTEN && listeners.contains(&row.inode) {
                self.queued.insert(row.inode, row.receive_queue);
                addresses.insert(row.local);
            }
        }
        let ours = |row: &TcpRow<'_>| {
            // A connection to a wildcard listener has the address that the client chose.
            let wildcard = if row.local.0.len() == WILDCARD_V4.len() {
                WILDCARD_V4
            } else {
                WILDCARD_V6
            };
            OPEN.contains(&row.state)
                && (addresses.contains(&row.local) || addresses.contains(&(wildcard, row.local.1)))
        };
        self.connections.extend(
            text.lines()
                .filter_map(TcpRow::parse)
                .filter(ours)
                .map(|row| row.inode),
        );
    }

    fn udp(&mut self, text: &str, listeners: &HashSet<u64>) {
        let rows = text.lines().filter_map(TcpRow::parse);
        self.connectionless.extend(
            rows.map(|row| row.inode)
                .filter(|inode| listeners.contains(inode)),
        );
    }

    fn unix(&mut self, text: &str, listeners: &HashSet<u64>) {
        let mut paths = HashMap::new();
        for row in text
            .lines()
            .filter_map(UnixRow::parse)
            .filter(|row| listeners.contains(&row.inode))
        {
            if row.flags & ACCEPTS == 0 {
                self.connectionless.insert(row.inode);
            } else {
                self.queued.insert(row.inode, 0);
                paths.insert(row.path, row.inode);
            }
        }
        for row in text
            .lines()
            .filter_map(UnixRow::parse)
            .filter(|row| row.flags & ACCEPTS == 0)
        {
            // Accepted sockets bear the path of their listener; those that still wait have no inode yet.
            match (paths.get(row.path), row.inode) {
                (None, _) => {}
                (Some(listener), 0) => *self.queued.entry(*listener).or_default() += 1,
                (Some(_), inode) => drop(self.connections.insert(inode)),
            }
        }
    }
}

/// Whether a process is in the network namespace of this one, as far as may be seen.
fn is_of_our_network(pid: i32) -> bool {
    let network = |of: &str| fs::read_link(format!("/proc/{of}/ns/net")).ok();
    let own = network("self");
    own.is_some() && own == network(&pid.to_string())
}

const WILDCARD_V4: &str = "00000000";
const WILDCARD_V6: &str = "00000000000000000000000000000000";

/// `sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode ...`, the same
/// for UDP.
struct TcpRow<'a> {
    /// Address and port in hexadecimal.
    local: (&'a str, &'a str),
    state: &'a str,
    /// Bytes that wait; for a listener, connections.
    receive_queue: u64,
    inode: u64,
}

impl<'a> TcpRow<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let local = fields.next()?.split_once(':')?;
        let state = fields.nth(1)?;
        let (_, receive_queue) = fields.next()?.split_once(':')?;
        let receive_queue = u64::from_str_radix(receive_queue, 16).ok()?;
        let inode = fields.nth(4)?.parse().ok()?;
        Some(Self {
            local,
            state,
            receive_queue,
            inode,
        })
    }
}

/// `Num RefCount Protocol Flags Type St Inode Path`; abstract names begin with `@`.
struct UnixRow<'a> {
    flags: u64,
    inode: u64,
    path: &'a str,
}

impl<'a> UnixRow<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        // The path may hold spaces, and so is what is left after seven columns; the inode is padded.
        let mut rest = line;
        let mut fields = [""; 7];
        for field in &mut fields {
            rest = rest.trim_start_matches(' ');
            (*field, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        }
        let flags = u64::from_str_radix(fields[3], 16).ok()?;
        (!rest.is_empty()).then_some(Self {
            flags,
            inode: fields[6].parse().ok()?,
            path: rest,
        })
    }
}

#[cfg(test)]
mod tests;
