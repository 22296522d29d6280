//! On real sockets and real processes, and on lines that a kernel has written.

use std::collections::BTreeSet;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::select::{FdSet, select};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use super::process::{File, input_in_set};
use super::syscall::Call;
use super::*;

fn inode(fd: impl std::os::fd::AsFd) -> u64 {
    nix::sys::stat::fstat(fd).unwrap().st_ino
}

fn see(pid: Pid, inode: u64) -> Sight {
    let mut sight = Sight::of([inode]);
    sight.look_at(pid);
    sight
}

/// Look until it is so; a process needs its time to come to its call.
#[track_caller]
fn comes_to(pid: Pid, inode: u64, wanted: Hold) {
    let until = Instant::now() + Duration::from_secs(20);
    while see(pid, inode).hold(inode) != wanted {
        assert!(Instant::now() < until, "{:?}", see(pid, inode));
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A thread of this process that waits; it ends when a client comes.
fn waits<T: Send + 'static>(wait: impl FnOnce() -> T + Send + 'static) -> JoinHandle<()> {
    std::thread::spawn(move || drop(wait()))
}

#[test]
fn a_listener_is_absent_held_and_awaited_in_an_epoll_set() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let number = inode(&listener);
    assert_eq!(see(Pid::this(), number).hold(number), Hold::Held);
    let set = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
    // Registered for output alone it is not waited for.
    set.add(&listener, EpollEvent::new(EpollFlags::EPOLLOUT, 0))
        .unwrap();
    assert_eq!(see(Pid::this(), number).hold(number), Hold::Held);
    set.modify(&listener, &mut EpollEvent::new(EpollFlags::EPOLLIN, 0))
        .unwrap();
    assert_eq!(see(Pid::this(), number).hold(number), Hold::Awaited);
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let sight = see(Pid::this(), number);
    assert_eq!(sight.hold(inode(&other)), Hold::Absent, "it was not asked for");
    assert!(sight.others().contains(&inode(&other)));
    drop(listener);
    assert_eq!(see(Pid::this(), number).hold(number), Hold::Absent);
}

#[test]
fn a_thread_blocked_in_accept_waits() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (number, address) = (inode(&listener), listener.local_addr().unwrap());
    let thread = waits(move || listener.accept());
    comes_to(Pid::this(), number, Hold::Awaited);
    TcpStream::connect(address).unwrap();
    thread.join().unwrap();
    assert_eq!(see(Pid::this(), number).hold(number), Hold::Absent);
}

#[test]
fn a_thread_blocked_in_poll_or_select_waits_on_what_it_asked_for_alone() {
    let poll_in = |fd: &TcpListener| {
        poll(
            &mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)],
            PollTimeout::NONE,
        )
    };
    let select_in = |fd: &TcpListener| {
        let mut set = FdSet::new();
        set.insert(fd.as_fd());
        select(None, Some(&mut set), None, None, None)
    };
    for wait in [poll_in, select_in] {
        let [waited_on, idle] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let (number, address) = (inode(&waited_on), waited_on.local_addr().unwrap());
        let thread = waits(move || wait(&waited_on));
        comes_to(Pid::this(), number, Hold::Awaited);
        // Threads of other tests come and go while they are looked at, so that one look may see a call that is over.
        comes_to(Pid::this(), inode(&idle), Hold::Held);
        TcpStream::connect(address).unwrap();
        thread.join().unwrap();
    }
}

#[test]
fn a_process_that_only_inherited_a_listener_holds_it_stopped_or_not_until_it_has_ended() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let number = inode(&listener);
    let mut child = Command::new("sleep")
        .arg("1000")
        .stdin(Stdio::from(OwnedFd::from(listener.try_clone().unwrap())))
        .spawn()
        .unwrap();
    let pid = Pid::from_raw(child.id().cast_signed());
    comes_to(pid, number, Hold::Held);
    kill(pid, Signal::SIGSTOP).unwrap();
    assert_eq!(see(pid, number).hold(number), Hold::Held);
    child.kill().unwrap();
    waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).unwrap();
    let gone = |sight: Sight| (sight.hold(number), sight.blind());
    assert_eq!(gone(see(pid, number)), (Hold::Absent, None), "a zombie");
    child.wait().unwrap();
    assert_eq!(gone(see(pid, number)), (Hold::Absent, None));
}

#[test]
fn what_may_not_be_looked_into_is_named() {
    if !nix::unistd::geteuid().is_root() {
        // Nobody's processes but our own are there for certain: PID 1 is root's.
        let sight = see(Pid::from_raw(1), 1);
        assert_eq!(sight.blind(), Some((Pid::from_raw(1), Blind::NotShown)));
    }
}

#[test]
fn where_a_process_listens_is_told_in_the_words_of_listen() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp6 = TcpListener::bind("[::1]:0");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a b");
    let unix = UnixListener::bind(&path).unwrap();
    let mut inodes = vec![inode(&tcp), inode(&unix)];
    let mut expected = vec![
        tcp.local_addr().unwrap().to_string(),
        format!("unix:{}", path.display()),
    ];
    if let Ok(tcp6) = &tcp6 {
        inodes.push(inode(tcp6));
        expected.push(tcp6.local_addr().unwrap().to_string());
    }
    expected.sort_unstable();
    assert_eq!(listening_addresses(Pid::this(), &inodes), expected);
    assert_eq!(listening_addresses(Pid::this(), &[]), [""; 0]);
}

#[test]
fn links_name_the_kind_of_a_file() {
    for (link, file) in [
        ("socket:[4711]", File::Socket(4711)),
        ("anon_inode:[eventpoll]", File::Epoll),
        ("anon_inode:[io_uring]", File::Ring),
        ("socket:[]", File::Other),
        ("/tmp/socket:[1]", File::Other),
        ("pipe:[4711]", File::Other),
    ] {
        assert_eq!(File::parse(link.as_bytes()), file, "{link}");
    }
}

#[test]
fn only_entries_that_wait_for_input_count() {
    for (line, waits_on) in [
        (
            "tfd:        5 events:       19 data:                5  pos:0 ino:1f2e sdev:8",
            Some(0x1f2e),
        ),
        (
            "tfd:        5 events: 80000001 data:                5  pos:0 ino:1f2e sdev:8",
            Some(0x1f2e),
        ),
        (
            "tfd:        5 events: 40000000 data:                5  pos:0 ino:1f2e sdev:8",
            None,
        ),
        (
            "tfd:        5 events:        4 data:                5  pos:0 ino:1f2e sdev:8",
            None,
        ),
        // Before Linux 4.13 the inode was not told.
        ("tfd:        5 events:       19 data:                5", None),
        ("pos:\t0", None),
    ] {
        assert_eq!(input_in_set(line), waits_on, "{line}");
    }
}

#[test]
fn calls_are_read_with_the_arguments_that_say_for_what_they_wait() {
    let line = |number: libc::c_long| format!("{number} 0x3 0x7ffe10 0x0 0x80000 0x0 0x0 0x7ffe00 0x7f00\n");
    assert_eq!(Call::parse(&line(libc::SYS_accept4)), Some(Call::Accept(3)));
    assert_eq!(Call::parse(&line(libc::SYS_accept)), Some(Call::Accept(3)));
    assert_eq!(
        Call::parse(&line(libc::SYS_ppoll)),
        Some(Call::Poll {
            at: 3,
            count: 0x7ffe10
        })
    );
    let select = Call::Select {
        at: 0x7ffe10,
        below: 3,
    };
    assert_eq!(Call::parse(&line(libc::SYS_pselect6)), Some(select));
    assert_eq!(Call::parse(&line(libc::SYS_restart_syscall)), Some(Call::Again));
    assert_eq!(Call::parse(&line(libc::SYS_futex)), None);
    for line in ["running\n", "-1 0x7ffe00 0x7f00\n", "", "43\n"] {
        assert_eq!(Call::parse(line), None, "{line:?}");
    }
}

#[test]
fn a_connection_that_was_reset_is_in_no_table_and_every_other_socket_is() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    let (unix, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let all = [inode(&listener), inode(&accepted), inode(&unix), inode(&udp)];
    assert!(!is_any_unlisted(&all));
    let at_once = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    nix::sys::socket::setsockopt(&client, nix::sys::socket::sockopt::Linger, &at_once).unwrap();
    drop(client);
    // A child that another test forks at this moment has the client until its exec.
    let until = Instant::now() + Duration::from_secs(20);
    while !is_any_unlisted(&[inode(&accepted)]) {
        assert!(Instant::now() < until, "it is in a table still");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_connection_of_the_listener_is_seen_by_search_and_by_table() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    let (number, sockets) = (inode(&listener), |of: u64| BTreeSet::from([of]));
    let (its, others) = (sockets(inode(&accepted)), sockets(inode(&client)));
    for (of, answer) in [(&its, Connection::Seen), (&others, Connection::Absent)] {
        assert_eq!(tables::by_search(number, of, usize::MAX), Some(Some(answer)));
        assert_eq!(tables::by_table(number, of, usize::MAX), Some(answer));
        assert_eq!(connection(number, &Vec::from_iter(of.iter().copied())), answer);
    }
    // One that waits to be accepted is nobody's.
    let _waits = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    assert_eq!(accepted_connections(number), Some(its.clone()));
    // Not a listener, or not of TCP.
    assert_eq!(tables::by_search(inode(&client), &its, usize::MAX), Some(None));
    assert_eq!(tables::by_table(inode(&client), &its, usize::MAX), None);
    // Too many to look through.
    assert_eq!(
        tables::by_search(number, &others, 0),
        Some(Some(Connection::Unknown))
    );
    assert_ne!(tables::by_table(number, &others, 0), Some(Connection::Seen));
}

#[test]
fn a_process_with_more_open_files_than_are_looked_through_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let many = "import os,resource,sys,time\nm=resource.getrlimit(resource.RLIMIT_NOFILE)[1]\n\
                resource.setrlimit(resource.RLIMIT_NOFILE,(m,m))\n\
                [os.dup(0) for _ in range(int(sys.argv[1]))]\nprint('open',flush=True)\ntime.sleep(1000)";
    let Ok(mut child) = Command::new("python3")
        .args(["-c", many, &process::MOST_FILES.to_string()])
        .stdin(Stdio::from(OwnedFd::from(listener.try_clone().unwrap())))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
    else {
        return;
    };
    let mut said = String::new();
    let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut stdout, &mut said).unwrap();
    let pid = Pid::from_raw(child.id().cast_signed());
    let sight = see(pid, inode(&listener));
    let seen = (sight.hold(inode(&listener)), sight.blind());
    child.kill().unwrap();
    child.wait().unwrap();
    // Where so many are not permitted there is nothing to see.
    if said == "open\n" {
        assert_eq!(seen, (Hold::Held, Some((pid, Blind::Crowded))));
    }
}

#[test]
fn rows_of_the_tables_are_read_and_others_passed_over() {
    let row =
        "   0: 0100007F:1F41 00000000:0000 0A 00000000:00000003 00:00000000 00000000  1000        0 4711 1 0";
    let found = tables::internet(row, "0A").map(|(address, inode)| (address.to_string(), inode));
    assert_eq!(found, Some(("127.0.0.1:8001".to_owned(), 4711)));
    assert_eq!(tables::internet(row, "07"), None);
    assert_eq!(
        tables::internet("  sl  local_address rem_address   st", "0A"),
        None
    );
    let row = "0000000000000000: 00000002 00000000 00010000 0001 01  4712 /run/a b";
    assert_eq!(tables::unix(row), Some(("/run/a b", 4712)));
    assert_eq!(tables::unix(&row.replace("00010000", "00000000")), None);
}
