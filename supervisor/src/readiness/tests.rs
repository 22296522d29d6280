//! The parser by tables and by random messages, the socket by real datagrams.

use super::message::{LONGEST, Malformed, Message, read};
use super::*;
use crate::state::Guard;
use crate::sys::alone::alone;
use crate::trials::cases;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::unistd::{Uid, setresuid};
use std::io::IoSlice;
use std::os::fd::RawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

fn words(text: &str) -> Vec<Word> {
    read(text.as_bytes(), 0).unwrap().words
}

#[test]
fn each_word_is_understood_and_all_else_is_skipped() {
    let minute = Duration::from_secs(60);
    for (text, expected) in [
        ("READY=1", vec![Word::Ready]),
        ("READY=1\n\0", vec![Word::Ready]),
        ("STOPPING=1\nREADY=1", vec![Word::Stopping]),
        ("RELOADING=1\nMONOTONIC_USEC=7\nREADY=1", vec![Word::Ready]),
        ("RELOADING=1\nMONOTONIC_USEC=7", vec![Word::Reloading]),
        (
            "READY=1\nSTATUS=warm",
            vec![Word::Status("warm".into()), Word::Ready],
        ),
        ("STATUS=one\nSTATUS=two", vec![Word::Status("one".into())]),
        ("STATUS=", vec![Word::Status(String::new())]),
        ("STATUS=a=b", vec![Word::Status("a=b".into())]),
        ("ERRNO=2", vec![Word::Errno(2)]),
        ("EXTEND_TIMEOUT_USEC=60000000", vec![Word::ExtendTimeout(minute)]),
        ("WATCHDOG=1", vec![Word::Watchdog]),
        ("WATCHDOG=trigger", vec![Word::WatchdogTrigger]),
    ] {
        assert_eq!(words(text), expected, "{text:?}");
    }
    for text in [
        "READY=0",
        "READY=",
        "ready=1",
        " READY=1",
        "READY=1 ",
        "READY",
        "\n",
        "=",
        "MAINPID=1",
        "FDSTORE=1\nFDNAME=x",
        "ERRNO=0",
        "ERRNO=4096",
        "ERRNO=-1",
        "ERRNO=+1",
        "ERRNO=",
        "WATCHDOG=0",
        "WATCHDOG_USEC=1",
        "EXTEND_TIMEOUT_USEC=0",
        "EXTEND_TIMEOUT_USEC=18446744073709551615",
        "EXTEND_TIMEOUT_USEC=18446744073709551616",
        "EXTEND_TIMEOUT_USEC= 1",
        "NOTIFYACCESS=all",
    ] {
        assert_eq!(words(text), [], "{text:?}");
    }
}

#[test]
fn what_is_not_text_is_refused_as_a_whole_or_as_a_status() {
    assert_eq!(read(b"", 0), Err(Malformed::NotText));
    assert_eq!(read(b"\0", 0), Err(Malformed::NotText));
    assert_eq!(read(b"READY=1\0\0", 0), Err(Malformed::NotText));
    assert_eq!(read(b"READY\0=1", 0), Err(Malformed::NotText));
    let expected = Message {
        words: vec![Word::Ready],
        status_was_not_text: true,
    };
    assert_eq!(read(b"STATUS=\xff\nREADY=1", 0), Ok(expected));
}

#[test]
fn a_barrier_stands_alone_with_one_fd() {
    assert_eq!(read(b"BARRIER=1", 1), Ok(Message::default()));
    assert_eq!(read(b"BARRIER=1\n", 1), Ok(Message::default()));
    for (text, fds) in [("BARRIER=1", 0), ("BARRIER=1", 2), ("BARRIER=1\nREADY=1", 1)] {
        assert_eq!(
            read(text.as_bytes(), fds),
            Err(Malformed::BadBarrier),
            "{text:?} with {fds} fds"
        );
    }
}

#[test]
fn a_status_is_one_short_line_that_does_nothing_to_a_terminal() {
    assert_eq!(
        words("STATUS=a\x1b[2J\tb\r\u{202e}"),
        [Word::Status("a\\u{1b}[2J\\tb\\r\\u{202e}".into())]
    );
    let [Word::Status(text)] = &words(&format!("STATUS={}", "ü".repeat(1000)))[..] else {
        panic!("a status")
    };
    assert!(text.len() <= 512 && text.starts_with('ü') && text.ends_with('…'));
}

#[test]
fn random_messages_do_no_harm() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..cases(1_000_000) {
        let bytes = random_message(&mut random);
        let Ok(message) = read(&bytes, random.usize(..3)) else {
            continue;
        };
        assert!(message.words.len() <= 5, "{bytes:?}");
        for word in message.words {
            if let Word::Status(text) = word {
                assert!(text.len() <= 512 && !text.contains(char::is_control), "{bytes:?}");
            }
        }
    }
}

/// Lines that are nearly right, with bytes put in, taken out and changed.
fn random_message(random: &mut fastrand::Rng) -> Vec<u8> {
    const PIECES: [&[u8]; 20] = [
        b"READY=1",
        b"STOPPING=1",
        b"RELOADING=1",
        b"STATUS=",
        b"STATUS=warming \xf0\x9f\x94\xa5",
        b"ERRNO=",
        b"ERRNO=13",
        b"WATCHDOG=",
        b"WATCHDOG=1",
        b"WATCHDOG=trigger",
        b"EXTEND_TIMEOUT_USEC=",
        b"BARRIER=1",
        b"MAINPID=1",
        b"FDSTORE=1",
        b"99999999999999999999",
        b"\n",
        b"\n",
        b"\0",
        b"\xff\xfe",
        b"=",
    ];
    let mut bytes = Vec::new();
    for _ in 0..random.usize(..8) {
        bytes.extend_from_slice(PIECES[random.usize(..PIECES.len())]);
        if random.bool() {
            bytes.push(b'\n');
        }
    }
    for _ in 0..random.usize(..3) {
        let place = random.usize(..=bytes.len());
        match random.u8(..3) {
            0 => bytes.insert(place, random.u8(..)),
            1 if place < bytes.len() => drop(bytes.remove(place)),
            _ if place < bytes.len() => bytes[place] = random.u8(..),
            _ => {}
        }
    }
    bytes
}

fn bound() -> (tempfile::TempDir, NotifySocket) {
    let directory = tempfile::tempdir().unwrap();
    let socket = NotifySocket::bind(&directory.path().join("1"), Guard::armed()).unwrap();
    (directory, socket)
}

fn say(socket: &NotifySocket, bytes: &[u8], fds: &[RawFd]) {
    let sender = UnixDatagram::unbound().unwrap();
    sender.connect(socket.path()).unwrap();
    let rights = [ControlMessage::ScmRights(fds)];
    let control = if fds.is_empty() { &[][..] } else { &rights[..] };
    sendmsg::<()>(
        sender.as_raw_fd(),
        &[IoSlice::new(bytes)],
        control,
        MsgFlags::empty(),
        None,
    )
    .unwrap();
}

/// Reads and consumes, as a turn of the loop does.
fn turn(socket: &mut NotifySocket, allowed_uid: Option<u32>) -> Vec<Word> {
    let words = socket.receive(&Believed::only(allowed_uid));
    socket.consume_recorded();
    words
}

fn open_mode() -> u32 {
    if Uid::current().is_root() { 0o666 } else { 0o600 }
}

fn own_uid() -> Option<u32> {
    Some(Uid::current().as_raw())
}

#[test]
fn everybody_may_write_to_the_socket_of_root_alone_and_its_path_goes_with_it() {
    let (directory, socket) = bound();
    let path = socket.path().to_owned();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, open_mode());
    assert_eq!(path.metadata().unwrap().uid(), Uid::current().as_raw());
    let taken = NotifySocket::bind(&path, Guard::armed()).unwrap_err().to_string();
    assert_eq!(
        taken,
        format!("notify socket {}: address already in use", path.display())
    );
    drop(socket);
    assert!(!path.exists());
    let long = directory.path().join("x".repeat(120));
    let error = NotifySocket::bind(&long, Guard::armed()).unwrap_err().to_string();
    assert!(error.ends_with(": the path is longer than 107 bytes"), "{error}");
}

#[test]
fn messages_come_in_order_and_bad_ones_are_counted() {
    let (_directory, mut socket) = bound();
    let mut words = Vec::new();
    let longest = [b"READY=1\n".as_slice(), &vec![b'x'; LONGEST - 8]].concat();
    let too_long = [longest.as_slice(), b"x"].concat();
    let far_too_long = vec![b'x'; 60_000];
    for message in [
        &b"STATUS=one"[..],
        b"",
        b"READY\0=1",
        b"STATUS=\xff",
        &longest,
        &too_long,
        &far_too_long,
        b"STOPPING=1",
    ] {
        say(&socket, message, &[]);
        words.extend(turn(&mut socket, own_uid()));
    }
    assert_eq!(words, [Word::Status("one".into()), Word::Ready, Word::Stopping]);
    assert_eq!(
        socket.ignored(),
        Ignored {
            forged: 0,
            ended: 0,
            oversized: 2,
            malformed: 3,
            bad_barrier: 0,
            bad_ack: 0,
        }
    );
    assert_eq!(socket.ignored().total(), 5);
}

#[test]
fn a_turn_is_bounded_and_the_rest_comes_in_the_next() {
    let (_directory, mut socket) = bound();
    let sender = UnixDatagram::unbound().unwrap();
    sender.connect(socket.path()).unwrap();
    sender.set_nonblocking(true).unwrap();
    let mut sent = 0;
    while sent < 2 * MESSAGES_A_TURN && sender.send(b"WATCHDOG=1").is_ok() {
        sent += 1;
    }
    let mut received = Vec::new();
    while let words = socket.receive(&Believed::only(own_uid()))
        && !words.is_empty()
    {
        assert!(words.len() <= MESSAGES_A_TURN);
        received.extend(words);
    }
    assert_eq!(received.len(), sent);
}

#[test]
fn a_barrier_is_lifted_when_all_before_it_has_been_read() {
    let (_directory, mut socket) = bound();
    let (wait, barrier) = nix::unistd::pipe().unwrap();
    say(&socket, b"READY=1", &[]);
    say(&socket, b"BARRIER=1", &[barrier.as_raw_fd()]);
    drop(barrier);
    assert_eq!(turn(&mut socket, own_uid()), [Word::Ready]);
    assert_eq!(turn(&mut socket, own_uid()), []);
    let end = nix::unistd::read(&wait, &mut [0]);
    assert_eq!(end, Ok(0), "the other end of the pipe is closed everywhere");
    assert_eq!(socket.ignored().total(), 0);
}

#[test]
fn no_fd_is_kept_whatever_comes() {
    alone("readiness::tests::no_fd_is_kept_whatever_comes", || {
        let (_directory, mut socket) = bound();
        let null = std::fs::File::open("/dev/null").unwrap();
        let before = open_fds();
        let mut random = fastrand::Rng::with_seed(7);
        for round in 0..20_000 {
            let bytes = random_message(&mut random);
            let fds = vec![null.as_raw_fd(); if round % 100 == 0 { 253 } else { random.usize(..4) }];
            say(&socket, &bytes, &fds);
            let allowed = if random.bool() { own_uid() } else { None };
            let _ = turn(&mut socket, allowed);
            let _ = turn(&mut socket, allowed);
        }
        assert_eq!(open_fds(), before);
        let fds = vec![null.as_raw_fd(); 253];
        say(&socket, b"READY=1\nFDSTORE=1", &fds);
        assert_eq!(
            socket.receive(&Believed::only(own_uid())),
            [Word::Ready],
            "the most that a message can carry is no reason"
        );
    });
}

#[test]
fn a_full_table_of_fds_costs_a_barrier_and_no_other_word() {
    alone(
        "readiness::tests::a_full_table_of_fds_costs_a_barrier_and_no_other_word",
        || {
            let (_directory, mut socket) = bound();
            let null = std::fs::File::open("/dev/null").unwrap();
            say(&socket, b"READY=1", &[null.as_raw_fd(); 8]);
            say(&socket, b"BARRIER=1", &[null.as_raw_fd()]);
            let mut all = Vec::new();
            while let Ok(file) = null.try_clone() {
                all.push(file);
            }
            assert_eq!(socket.receive(&Believed::only(own_uid())), [Word::Ready]);
            socket.consume_recorded();
            assert_eq!(socket.receive(&Believed::only(own_uid())), []);
            assert_eq!(socket.ignored().total(), 1);
            assert_eq!(socket.ignored().oversized, 1);
            all.pop();
            all.push(null.try_clone().unwrap());
        },
    );
}

#[test]
fn another_uid_is_not_believed() {
    alone("readiness::tests::another_uid_is_not_believed", || {
        let (directory, mut socket) = bound();
        if !Uid::current().is_root() {
            say(&socket, b"READY=1", &[]);
            assert_eq!(socket.receive(&Believed::only(None)), []);
            assert_eq!(socket.ignored().forged, 1);
            return;
        }
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        std::fs::set_permissions(socket.path(), std::fs::Permissions::from_mode(0o666)).unwrap();
        let nobody = Uid::from_raw(65534);
        for _ in 0..2 {
            let child = sys::fork(|_| {
                setresuid(nobody, nobody, nobody).unwrap();
                say(&socket, b"READY=1", &[]);
                0
            })
            .unwrap();
            nix::sys::wait::waitpid(child, None).unwrap();
            if socket.ignored().total() == 0 {
                assert_eq!(socket.receive(&Believed::only(Some(1))), []);
                assert_eq!(socket.receive(&Believed::only(None)), []);
                assert_eq!(socket.ignored().ended, 1);
            }
        }
        assert_eq!(socket.receive(&Believed::only(Some(65534))), [Word::Ready]);
    });
}

/// Forks a process of another uid that says READY=1 and lives until it is killed.
fn speaker(socket: &NotifySocket, uid: Uid) -> Pid {
    let (read, write) = nix::unistd::pipe().unwrap();
    let child = sys::fork(|_| {
        setresuid(uid, uid, uid).unwrap();
        say(socket, b"READY=1", &[]);
        nix::unistd::write(&write, b".").unwrap();
        loop {
            std::thread::park();
        }
    });
    nix::unistd::read(&read, &mut [0]).unwrap();
    child.unwrap()
}

#[test]
fn an_errno_of_another_process_than_the_main_one_is_not_the_apps() {
    let (_directory, mut socket) = bound();
    let heard = |socket: &mut NotifySocket, main: i32| {
        say(socket, b"STATUS=down\nERRNO=2", &[]);
        let believed = Believed::only(own_uid()).with_main(Some(Pid::from_raw(main)));
        let words = socket.receive(&believed);
        socket.consume_recorded();
        words
    };
    let own = Pid::this().as_raw();
    let all = [Word::Status("down".to_owned()), Word::Errno(2)];
    assert_eq!(heard(&mut socket, own), all);
    assert_eq!(heard(&mut socket, own + 1), all[..1]);
    // Below a wrapper the app is who says READY=1.
    say(&socket, b"READY=1", &[]);
    assert_eq!(turn(&mut socket, own_uid()), [Word::Ready]);
    assert_eq!(heard(&mut socket, own + 1), all);
}

#[test]
fn a_descendant_of_another_uid_is_believed_while_it_lives() {
    alone(
        "readiness::tests::a_descendant_of_another_uid_is_believed_while_it_lives",
        || {
            if !Uid::current().is_root() {
                return;
            }
            let (directory, mut socket) = bound();
            std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
            let end = |pid| {
                nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
                nix::sys::wait::waitpid(pid, None).unwrap();
            };
            let nobody = Uid::from_raw(65534);
            let pid = speaker(&socket, nobody);
            let is_it = |asked: Pid| asked == pid;
            // Before the launch has told who the app is, nobody speaks for it.
            assert_eq!(socket.receive(&Believed::new(None, &is_it)), []);
            end(pid);
            let pid = speaker(&socket, nobody);
            let is_it = |asked: Pid| asked == pid;
            assert_eq!(socket.receive(&Believed::new(Some(1), &is_it)), [Word::Ready]);
            socket.consume_recorded();
            end(pid);
            let forged = socket.ignored().forged;
            let pid = speaker(&socket, nobody);
            end(pid);
            assert_eq!(
                socket.receive(&Believed::new(Some(1), &|_| true)),
                [],
                "it is dead"
            );
            let pid = speaker(&socket, nobody);
            assert_eq!(
                socket.receive(&Believed::new(Some(1), &|_| false)),
                [],
                "it is a stranger"
            );
            end(pid);
            assert_eq!((socket.ignored().forged, socket.ignored().ended), (forged + 1, 1));
        },
    );
}

fn open_fds() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn a_word_on_which_everything_turns_stays_in_the_queue_until_it_is_recorded() {
    let (_directory, mut socket) = bound();
    let (wait, barrier) =
        nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC | nix::fcntl::OFlag::O_NONBLOCK).unwrap();
    say(&socket, b"STATUS=warm", &[]);
    say(&socket, b"STATUS=\xff\nREADY=1", &[]);
    say(&socket, b"BARRIER=1", &[barrier.as_raw_fd()]);
    say(&socket, b"WATCHDOG=trigger", &[]);
    drop(barrier);
    assert_eq!(
        socket.receive(&Believed::only(own_uid())),
        [Word::Status("warm".into()), Word::Ready]
    );
    assert_eq!(
        socket.receive(&Believed::only(own_uid())),
        [],
        "told once, and nothing behind it"
    );
    assert_eq!(socket.ignored().malformed, 1);

    // Another supervisor, which has the socket and not what this one knew.
    let (state, mut fds) = left(&socket);
    let mut next = restored(&state, &mut fds, None).unwrap();
    assert_eq!(next.receive(&Believed::only(own_uid())), [Word::Ready]);
    assert_eq!(
        nix::unistd::read(&wait, &mut [0]),
        Err(Errno::EAGAIN),
        "the barrier stands"
    );
    next.consume_recorded();
    assert_eq!(next.receive(&Believed::only(own_uid())), [Word::WatchdogTrigger]);
    assert_eq!(nix::unistd::read(&wait, &mut [0]), Ok(0));
    next.consume_recorded();

    // Said again, both change nothing and hold nothing up; the next supervisor knows that, too.
    let (state, mut fds) = left(&next);
    let mut next = restored(&state, &mut fds, None).unwrap();
    say(&next, b"READY=1", &[]);
    say(&next, b"WATCHDOG=1", &[]);
    assert_eq!(
        next.receive(&Believed::only(own_uid())),
        [Word::Ready, Word::Watchdog]
    );
    assert_eq!(next.receive(&Believed::only(own_uid())), []);
}

#[test]
fn of_a_process_that_has_ended_everything_is_read_at_once() {
    let (_directory, mut socket) = bound();
    say(&socket, b"READY=1", &[]);
    say(&socket, b"WATCHDOG=trigger", &[]);
    say(&socket, b"STATUS=bye", &[]);
    assert_eq!(socket.receive(&Believed::only(own_uid())), [Word::Ready]);
    let rest = [Word::WatchdogTrigger, Word::Status("bye".into())];
    assert_eq!(
        socket.receive_last(&Believed::only(own_uid())),
        rest,
        "what was returned is not told again"
    );
    assert_eq!(socket.receive_last(&Believed::only(own_uid())), []);
}

/// What the next supervisor gets.
fn left(socket: &NotifySocket) -> (Vec<u8>, crate::state::Fds) {
    let mut rows = crate::state::Rows::default();
    socket.save("3.0.1", &mut rows);
    let mut fds = crate::state::Fds::default();
    fds.put(
        NotifySocket::name("3.0.1"),
        socket.as_fd().try_clone_to_owned().unwrap(),
    );
    (rows.finish(), fds)
}

fn restored(
    state: &[u8],
    fds: &mut crate::state::Fds,
    uid: Option<u32>,
) -> Result<NotifySocket, crate::state::Flaw> {
    NotifySocket::restore(
        crate::state::Row::all(state).unwrap()[0],
        fds,
        uid,
        Guard::armed(),
    )
}

#[test]
fn a_socket_that_is_lost_is_bound_anew_in_the_place_of_the_old_one() {
    let (_directory, mut socket) = bound();
    say(&socket, b"", &[]);
    turn(&mut socket, own_uid());
    let (state, mut fds) = left(&socket);
    let path = socket.path().to_owned();
    let with_fd = restored(&state, &mut fds, None).unwrap();
    assert_eq!(
        (with_fd.ignored(), with_fd.path()),
        (socket.ignored(), path.as_path())
    );
    // As kill -9 leaves it: closed, and the path still there.
    std::mem::forget((socket, with_fd));
    let uid = if Uid::current().is_root() {
        65534
    } else {
        Uid::current().as_raw()
    };
    let mut anew = restored(&state, &mut crate::state::Fds::default(), Some(uid)).unwrap();
    let metadata = path.metadata().unwrap();
    assert_eq!(
        (metadata.permissions().mode() & 0o777, metadata.uid()),
        (open_mode(), uid)
    );
    assert_eq!(anew.ignored().malformed, 1);
    say(&anew, b"READY=1", &[]);
    assert_eq!(anew.receive(&Believed::only(own_uid())), [Word::Ready]);
    drop(anew);
}
