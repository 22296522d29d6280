//! Our own sockets, counted.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::process::Command;

use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use super::*;
use crate::protocol::{Binary, Generation, Listener, Probation, Role, SCHEMA, State, Worker, WorkerState};

fn inode(socket: &impl AsFd) -> u64 {
    let target = fs::read_link(format!("/proc/self/fd/{}", socket.as_fd().as_raw_fd())).expect("link");
    let text = target.to_str().expect("text");
    text.strip_prefix("socket:[")
        .and_then(|text| text.strip_suffix(']'))
        .expect("socket")
        .parse()
        .expect("inode")
}

fn own_pid() -> i32 {
    i32::try_from(std::process::id()).expect("pid")
}

/// A status whose only worker is this process.
fn status(inodes: &[Option<u64>]) -> Status {
    let listener = |inode: &Option<u64>| Listener {
        name: "x".into(),
        address: "x".into(),
        backlog: None,
        queued: None,
        trouble: None,
        inode: *inode,
        slot: None,
        generation: None,
    };
    let worker = |pid| Worker {
        pid,
        state: WorkerState::Serving,
        since: String::new(),
        connections: None,
        limit_ms: None,
        status: None,
    };
    Status {
        schema: SCHEMA,
        name: "app".into(),
        pid: own_pid(),
        since: String::new(),
        version: String::new(),
        state: State::Serving,
        generation: Some(1),
        listeners: inodes.iter().map(listener).collect(),
        generations: vec![Generation {
            generation: 1,
            role: Role::Incumbent,
            since: String::new(),
            probation: Probation::Passed,
            workers: vec![worker(own_pid())],
            strays: 0,
            binary: Binary {
                path: String::new(),
                inode: 1,
                sha256: None,
            },
            replaced: None,
        }],
        last_reload: None,
        last_crash: None,
        restarts: 0,
        rollbacks: 0,
        oom_kills: 0,
    }
}

/// What is counted: waiting by listener, open in this process.
fn counted(listeners: &[u64]) -> (Vec<Option<u64>>, Option<u64>) {
    let mut status = status(&listeners.iter().copied().map(Some).collect::<Vec<_>>());
    fill(&mut status);
    let queued = status.listeners.iter().map(|listener| listener.queued).collect();
    (queued, status.generations[0].workers[0].connections)
}

#[test]
fn tcp_connections_are_counted_where_they_are() {
    for address in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"] {
        let Ok(listener) = TcpListener::bind(address) else {
            continue;
        };
        let port = listener.local_addr().expect("address").port();
        let host = if address.starts_with('[') {
            "::1"
        } else {
            "127.0.0.1"
        };
        let clients: Vec<_> = (0..5)
            .map(|_| TcpStream::connect((host, port)).expect("connect"))
            .collect();
        let accepted: Vec<_> = (0..3).map(|_| listener.accept().expect("accept").0).collect();
        assert_eq!(
            counted(&[inode(&listener)]),
            (vec![Some(2)], Some(3)),
            "{address}"
        );
        // A client that has said its last word still waits for the answer.
        clients[0]
            .shutdown(std::net::Shutdown::Write)
            .expect("half-closed");
        assert_eq!(counted(&[inode(&listener)]).1, Some(3), "{address}");
        drop(accepted);
        assert_eq!(
            counted(&[inode(&listener)]),
            (vec![Some(2)], Some(0)),
            "{address}"
        );
    }
}

#[test]
fn a_dual_stack_listener_counts_both_families() {
    let Ok(listener) = TcpListener::bind("[::]:0") else {
        return;
    };
    let port = listener.local_addr().expect("address").port();
    let Ok(_client) = TcpStream::connect(("127.0.0.1", port)) else {
        return;
    };
    let _accepted = listener.accept().expect("accept");
    assert_eq!(counted(&[inode(&listener)]), (vec![Some(0)], Some(1)));
}

#[test]
fn unix_connections_are_counted_with_and_without_a_path() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("with  spaces");
    let name = format!("segue-test-{}", std::process::id());
    let addresses = [
        SocketAddr::from_pathname(&path).expect("address"),
        SocketAddr::from_abstract_name(&name).expect("address"),
    ];
    for address in addresses {
        let listener = UnixListener::bind_addr(&address).expect("bind");
        let _clients: Vec<_> = (0..4)
            .map(|_| UnixStream::connect_addr(&address).expect("connect"))
            .collect();
        let accepted = listener.accept().expect("accept");
        assert_eq!(
            counted(&[inode(&listener)]),
            (vec![Some(3)], Some(1)),
            "{address:?}"
        );
        drop(accepted);
        assert_eq!(
            counted(&[inode(&listener)]),
            (vec![Some(3)], Some(0)),
            "{address:?}"
        );
    }
}

#[test]
fn datagram_sockets_have_no_connections_and_no_queue() {
    let directory = tempfile::tempdir().expect("directory");
    let udp = UdpSocket::bind("127.0.0.1:0").expect("udp");
    let unix = UnixDatagram::bind(directory.path().join("d")).expect("datagram");
    assert_eq!(counted(&[inode(&udp), inode(&unix)]), (vec![None, None], Some(0)));
}

#[test]
fn a_child_that_has_ended_and_waits_to_be_reaped_has_no_connections() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listener");
    let mut child = Command::new("true").spawn().expect("child");
    let pid = Pid::from_raw(child.id().cast_signed());
    waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).expect("ended");
    // Root alone is shown that it has no files: for anybody else this is what matters.
    assert_eq!(counted(&[inode(&listener)]), (vec![Some(0)], Some(0)));
    child.wait().expect("reaped");
}

#[test]
fn what_cannot_be_seen_is_null() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listener");
    // One listener that is not in the tables makes every count a lie.
    assert_eq!(
        counted(&[inode(&listener), u64::MAX]),
        (vec![Some(0), None], None)
    );
    let mut unknown = status(&[None]);
    fill(&mut unknown);
    assert_eq!(unknown.generations[0].workers[0].connections, None);
    let no_connections = HashSet::new();
    let rows = process_rows().expect("rows");
    let gone = count(i32::MAX, &Families::of(&rows), &no_connections);
    assert_eq!(gone, Some(0), "a worker that is gone has none");
}

#[test]
fn a_tree_is_a_group_with_all_descendants() {
    let row = |pid, parent, group| {
        let pid_of = nix::unistd::Pid::from_raw;
        ProcessRow {
            pid: pid_of(pid),
            parent: pid_of(parent),
            group: pid_of(group),
            session: pid_of(group),
            began: 1,
            zombie: false,
            sleeps: true,
        }
    };
    let rows = [
        row(1, 0, 1),
        row(10, 1, 10),
        row(11, 10, 10),
        // Left the group.
        row(12, 11, 12),
        row(13, 12, 12),
        // Orphaned within the group.
        row(14, 1, 10),
        row(20, 1, 20),
    ];
    let mut pids: Vec<i32> = Families::of(&rows).tree(10).into_iter().collect();
    pids.sort_unstable();
    assert_eq!(pids, [10, 11, 12, 13, 14]);
}

#[test]
fn rows_that_are_none_are_passed_over() {
    for line in [
        "",
        "  sl  local_address rem_address   st tx_queue rx_queue",
        "a b c d e f g h i j k",
        "   0: 0100007F:1F90",
    ] {
        assert!(TcpRow::parse(line).is_none(), "{line}");
        assert!(UnixRow::parse(line).is_none(), "{line}");
    }
}

#[test]
fn the_kernels_search_and_its_table_tell_the_same() {
    for address in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"] {
        let Ok(listener) = TcpListener::bind(address) else {
            continue;
        };
        let at = (
            if address.starts_with('[') {
                "localhost"
            } else {
                "127.0.0.1"
            },
            listener.local_addr().expect("address").port(),
        );
        let Ok(_accepted_client) = TcpStream::connect(at) else {
            continue;
        };
        let (accepted, _) = listener.accept().expect("client");
        let _queued = TcpStream::connect(at).expect("client");
        let wanted = HashSet::from([inode(&listener)]);
        let (mut searched, mut read) = (Tables::default(), Tables::default());
        searched.search(&wanted).expect("sock_diag");
        for table in ["tcp", "tcp6"] {
            let text = fs::read(format!("/proc/self/net/{table}")).expect("table");
            read.tcp(&String::from_utf8_lossy(&text), &wanted);
        }
        assert_eq!(
            searched.queued,
            HashMap::from([(inode(&listener), 1)]),
            "{address}"
        );
        assert_eq!(searched.queued, read.queued, "{address}");
        assert_eq!(searched.connections, read.connections, "{address}");
        assert!(searched.connections.contains(&inode(&accepted)), "{address}");
    }
}
