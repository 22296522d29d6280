//! Real Unix sockets and a real epoll set; time is the only thing that is made up.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use super::harness::Server;
use super::room::{CROWDED_ASK_TIME, FOLLOWERS_MAX, RESERVE};
use super::*;
use crate::place::{Surroundings, choose};
use crate::protocol::{Change as WorkersChange, News, NewsKind, State, Until};
use crate::state::{Custody, Fds, Guard, Passed, Restored, Rows};

const RELOAD: Request = Request::Reload {
    until: Until::Takeover,
};

fn directory() -> tempfile::TempDir {
    tempfile::Builder::new()
        .prefix("s")
        .tempdir()
        .expect("temporary directory")
}

fn place(directory: &tempfile::TempDir) -> Place {
    let around = Surroundings::from_environment(|_| None, nix::unistd::geteuid().as_raw());
    choose("app", Some(&directory.path().join("app")), &around).expect("a place")
}

fn connect(server: &Server) -> UnixStream {
    UnixStream::connect(server.control.place().control()).expect("connect")
}

fn ask(server: &Server, line: &[u8]) -> UnixStream {
    let mut stream = connect(server);
    stream.write_all(line).expect("write");
    stream
}

fn done(message: &str) -> Reply {
    Reply::Done {
        message: message.to_owned(),
        serving: None,
        duration_ms: None,
        verdict: None,
    }
}

/// Everything that the server says until it closes.
fn answers(stream: UnixStream) -> Vec<Reply> {
    let lines = BufReader::new(stream).lines().map(|line| line.expect("line"));
    lines
        .map(|line| Reply::parse(line.as_bytes()).expect("reply"))
        .collect()
}

fn refusal(stream: UnixStream) -> String {
    match answers(stream).as_slice() {
        [Reply::Refused { message }] => message.clone(),
        other => panic!("one refusal expected, not {other:?}"),
    }
}

#[test]
fn a_request_is_heard_and_answered_with_progress_and_an_end() {
    let directory = directory();
    let mut server = Server::open(directory.path(), "app");
    let client = ask(&server, &RELOAD.to_line());
    let asked = server.requests(1);
    let (id, now) = (asked[0].0, server.now());
    assert_eq!(asked, [(id, RELOAD)]);
    let ours = Peer {
        pid: i32::try_from(std::process::id()).expect("pid"),
        uid: nix::unistd::geteuid().as_raw(),
    };
    assert_eq!(server.control.peer(id), Some(ours));
    let progress = Reply::Progress {
        message: "generation 2 is starting".into(),
    };
    server.control.reply(id, &progress, now);
    server.control.reply(id, &done("reload ok"), now);
    server.control.reply(id, &done("never said"), now);
    server.perform_changes();
    assert_eq!(answers(client), [progress, done("reload ok")]);
    assert_eq!(server.control.client_fd(id).map(|_| ()), None);
    assert_eq!(server.control.next_deadline(), None);
}

#[test]
fn the_socket_is_private_and_goes_with_its_owner() {
    let directory = directory();
    let place = place(&directory);
    let control = Control::open(&place, None, StalePolicy::Removed).expect("control socket");
    assert_eq!(
        fs::metadata(place.control()).expect("metadata").mode() & 0o7777,
        0o600
    );
    let error = Control::open(&place, None, StalePolicy::Removed)
        .expect_err("taken")
        .to_string();
    assert_eq!(
        error,
        format!(
            "instance app is already running (pid {}): reload it with segue reload, or start another beside it with --name",
            std::process::id()
        )
    );
    drop(control);
    assert_eq!(
        fs::read_dir(directory.path()).expect("directory").count(),
        0,
        "nothing is left"
    );
}

#[test]
fn the_socket_is_private_before_its_mode_is_set_by_path() {
    let directory = directory();
    let path = directory.path().join("early");
    let socket = nix::sys::socket::socket(
        nix::sys::socket::AddressFamily::Unix,
        nix::sys::socket::SockType::Stream,
        nix::sys::socket::SockFlag::SOCK_CLOEXEC,
        None,
    )
    .expect("socket");
    let file = socket::bind(&socket, &path, Guard::armed()).expect("bind");
    assert_eq!(fs::metadata(&path).expect("metadata").mode() & 0o7777, 0o600);
    drop(file);
    assert!(!path.exists());
}

#[test]
fn a_group_can_be_let_in() {
    let directory = directory();
    let place = place(&directory);
    let gid = nix::unistd::getegid();
    let control =
        Control::open(&place, Some(&gid.to_string()), StalePolicy::Removed).expect("control socket");
    let found = fs::metadata(place.control()).expect("metadata");
    assert_eq!((found.mode() & 0o7777, found.gid()), (0o660, gid.as_raw()));
    drop(control);
    let error = Control::open(&place, Some("no such\ngroup"), StalePolicy::Removed)
        .expect_err("no group")
        .to_string();
    assert_eq!(error, "control group no such\\ngroup: there is no such group");
}

#[test]
fn a_group_can_walk_to_the_instance_that_segue_placed() {
    let directory = directory();
    let around = Surroundings::below(directory.path());
    let place = choose("app", None, &around).expect("a place");
    let gid = nix::unistd::getegid();
    let _control =
        Control::open(&place, Some(&gid.to_string()), StalePolicy::Removed).expect("control socket");
    let mode = |path: &Path| fs::metadata(path).expect("metadata").mode() & 0o7777;
    let mut modes = place.control().ancestors().map(mode);
    assert_eq!((modes.next(), modes.next()), (Some(0o660), Some(0o710)));
    assert!(
        modes.next().is_some_and(|mode| mode & 0o011 == 0o011),
        "the base can be walked through"
    );
}

#[test]
fn strangers_are_told_from_friends() {
    let (ours, _theirs) = UnixStream::pair().expect("pair");
    let stranger = Peer { pid: 1, uid: 54_321 };
    let allowed = |gid: Option<u32>| Allowed::new(gid.map(nix::unistd::Gid::from_raw));
    assert!(!allowed(None).admits(stranger, ours.as_fd()));
    assert!(allowed(None).admits(Peer { pid: 1, uid: 0 }, ours.as_fd()));
    assert!(allowed(None).admits(
        Peer {
            pid: 1,
            uid: nix::unistd::geteuid().as_raw()
        },
        ours.as_fd()
    ));
    // The peer of our own socket pair has our groups.
    assert!(allowed(Some(nix::unistd::getegid().as_raw())).admits(stranger, ours.as_fd()));
    assert!(!allowed(Some(54_321)).admits(stranger, ours.as_fd()));
}

#[test]
fn what_a_dead_supervisor_left_is_replaced_and_what_others_put_there_is_not() {
    let directory = directory();
    let place = place(&directory);
    drop(UnixListener::bind(place.control()).expect("left behind"));
    drop(Control::open(&place, None, StalePolicy::Removed).expect("the stale socket is replaced"));

    let alive = UnixListener::bind(place.control()).expect("somebody else's");
    let error = Control::open(&place, None, StalePolicy::Removed)
        .expect_err("answers")
        .to_string();
    assert!(
        error.starts_with("instance app is already running (pid "),
        "{error}"
    );
    drop(alive);

    fs::remove_file(place.control()).expect("removed");
    fs::write(place.control(), "a text").expect("file");
    let error = Control::open(&place, None, StalePolicy::Removed)
        .expect_err("a file")
        .to_string();
    assert!(
        error.ends_with("app: something that is no socket lies there"),
        "{error}"
    );
    assert_eq!(
        fs::read_to_string(place.control()).expect("still there"),
        "a text"
    );
}

#[test]
fn a_path_that_became_someone_elses_is_left_alone() {
    let directory = directory();
    let place = place(&directory);
    let control = Control::open(&place, None, StalePolicy::Removed).expect("control socket");
    fs::remove_file(place.control()).expect("removed");
    let _other = UnixListener::bind(place.control()).expect("another");
    drop(control);
    assert!(place.control().exists());
}

#[test]
fn permission_denied_is_said_in_one_line() {
    if nix::unistd::geteuid().is_root() {
        return; // Root may write everywhere.
    }
    let directory = directory();
    let place = place(&directory);
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o500)).expect("mode");
    let error = Control::open(&place, None, StalePolicy::Removed)
        .expect_err("read-only")
        .to_string();
    assert!(error.ends_with(": permission denied"), "{error}");
}

#[test]
fn garbage_gets_one_refusal_each() {
    let directory = directory();
    let mut server = Server::open(directory.path(), "app");
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..3_000 {
        let mut line = crate::protocol::tests::garbage(&mut random);
        line.retain(|byte| *byte != b'\n');
        line.push(b'\n');
        let client = ask(&server, &line);
        let heard = server.turns();
        if heard.is_empty() {
            let message = refusal(client);
            assert!(message.starts_with("request not understood: "), "{message}");
        } else {
            assert_eq!(Request::parse(&line), Ok(heard[0].1));
        }
    }
    assert!(server.turns().is_empty());
    assert!(server.control.clients.is_empty());
}

#[test]
fn a_line_without_end_is_refused() {
    let directory = directory();
    let mut server = Server::open(directory.path(), "app");
    let client = ask(&server, &vec![b'x'; REQUEST_LIMIT + 1]);
    server.turns();
    assert_eq!(refusal(client), "request not understood: longer than 4096 bytes");
    let long = format!("{{\"request\":\"status\"{}}}\n", " ".repeat(REQUEST_LIMIT));
    let client = ask(&server, long.as_bytes());
    server.turns();
    assert_eq!(refusal(client), "request not understood: longer than 4096 bytes");
}

const REQUEST_LIMIT: usize = crate::protocol::REQUEST_MAX;

#[test]
fn a_request_may_come_in_pieces_and_end_with_the_connection() {
    let directory = directory();
    let mut server = Server::open(directory.path(), "app");
    let mut client = connect(&server);
    for byte in b"{\"request\":\"status\"" {
        client.write_all(&[*byte]).expect("write");
        assert!(server.turns().is_empty());
    }
    client.write_all(b"}").expect("write");
    client.shutdown(Shutdown::Write).expect("half-closed");
    let asked = server.requests(1);
    assert_eq!(asked[0].1, Request::Status {});
    // A half-closed client still listens, and does not make the loop spin.
    let before = server
        .epoll
        .wait(&mut [nix::sys::epoll::EpollEvent::empty()], 0u8);
    assert_eq!(before, Ok(0));
    let now = server.now();
    server.control.reply(asked[0].0, &done("ok"), now);
    server.perform_changes();
    assert_eq!(answers(client), [done("ok")]);
}

#[test]
fn what_follows_the_request_is_ignored() {
    let directory = directory();
    let mut server = Server::open(directory.path(), "app");
    let mut line = RELOAD.to_line();
    line.extend_from_slice(&Request::Stop {}.to_line());
    let mut client = ask(&server, &line);
    let asked = server.requests(1);
    assert_eq!(asked[0].1, RELOAD);
    client.write_all(&vec![b'y'; 100_000]).expect("write");
    assert!(server.turns().is_empty());
    let now = server.now();
    server.control.reply(asked[0].0, &done("ok"), now);
    server.perform_changes();
    assert_eq!(answers(client), [done("ok")]);
}

#[test]
fn a_client_that_goes_away_cancels_nothing_and_leaves_nothing() {
    let directory = directory();
    let mut server = Server::open(directory.path(), "app");
    let client = ask(&server, &RELOAD.to_line());
    let asked = server.requests(1);
    drop(client);
    assert!(server.turns().is_empty());
    assert!(server.control.clients.is_empty() && server.control.watched.is_empty());
    let now = server.now();
    server.control.reply(asked[0].0, &done("nobody hears"), now);
    // One that half-closed first goes as well.
    let client = ask(&server, &RELOAD.to_line());
    client.shutdown(Shutdown::Write).expect("half-closed");
    server.requests(1);
    server.turns();
    assert_eq!(server.control.clients.len(), 1);
    drop(client);
    server.turns();
    assert!(server.control.clients.is_empty());
}

#[test]
fn who_does_not_ask_in_time_is_refused() {
    let directory = directory();
    let mut server = Server::open(directory.path(), "app");
    let client = ask(&server, b"{\"request\":");
    server.turns();
    let deadline = server.control.next_deadline().expect("a deadline");
    assert!(deadline <= server.now() + ASK_TIME);
    server.ahead = ASK_TIME;
    server.turn(Duration::ZERO);
    assert_eq!(refusal(client), "no request within 2 s");
    assert_eq!(server.control.next_deadline(), None);
}

#[test]
fn waiting_clients_never_keep_status_and_stop_out() {
    let directory = directory();
    let mut server = Server::open(directory.path(), "app");
    let waiting: Vec<_> = (0..TICKETS_MAX)
        .map(|_| ask(&server, &RELOAD.to_line()))
        .collect();
    let tickets = server.requests(TICKETS_MAX);

    let change = WorkersChange::Add(1);
    for request in [RELOAD, Request::Workers { change }] {
        let client = ask(&server, &request.to_line());
        assert!(server.turns().is_empty());
        assert_eq!(refusal(client), "256 clients wait already; try again later");
    }
    for request in [Request::Status {}, Request::Stop {}] {
        let client = ask(&server, &request.to_line());
        let asked = server.requests(1);
        assert_eq!(asked[0].1, request);
        let now = server.now();
        server.control.reply(asked[0].0, &done("ok"), now);
        server.perform_changes();
        assert_eq!(answers(client), [done("ok")]);
    }
    let now = server.now();
    for (id, _) in &tickets {
        server.control.reply(*id, &done("reload ok"), now);
    }
    server.perform_changes();
    for client in waiting {
        assert_eq!(answers(client), [done("reload ok")]);
    }
    assert!(server.control.clients.is_empty());
}

#[test]
fn mute_clients_fill_the_reserve_and_are_gone_in_time() {
    let directory = directory();
    let mut server = Server::open(directory.path(), "app");
    let mute: Vec<_> = (0..RESERVE).map(|_| connect(&server)).collect();
    let client = ask(&server, &Request::Status {}.to_line());
    assert!(server.turns().is_empty());
    assert_eq!(
        server.control.clients.len(),
        RESERVE,
        "nobody else is accepted, and the loop does not spin"
    );
    // While others wait they have less time than alone.
    server.ahead = CROWDED_ASK_TIME;
    server.turn(Duration::ZERO);
    let asked = server.requests(1);
    assert_eq!(asked[0].1, Request::Status {});
    assert_eq!(
        mute.into_iter().map(refusal).collect::<Vec<_>>(),
        ["no request within 250 ms, and others wait"; RESERVE]
    );
    drop(client);
}

/// Anything that happens.
fn event(worker: u16) -> Reply {
    Reply::Event(Box::new(News {
        event: NewsKind::WorkerReady,
        at: "2026-11-30T12:00:00.000Z".into(),
        generation: Some(1),
        worker: Some(worker),
        other: None,
        cause: None,
        reason: None,
        state: State::Serving,
    }))
}

#[test]
fn a_follower_hears_all_that_happens_for_as_long_as_it_reads() {
    const EVENTS: &[u8] = b"{\"request\":\"events\"}\n";
    let directory = directory();
    let mut server = Server::open(directory.path(), "app");
    assert!(!server.control.has_followers());
    let mute = ask(&server, EVENTS);
    let (id, request) = server.requests(1)[0];
    assert_eq!(request, Request::Events {});
    assert!(server.control.has_followers());
    let now = server.now();
    let mut told = 0;
    while server.control.has_followers() {
        server.control.publish(&event(told), now);
        told += 1;
        assert!(told < 60_000, "it is never left behind");
    }
    let held = server.control.clients.get(&id).unwrap().unread();
    assert!(held < 80 * 1024, "{held} bytes are held for it");
    server.perform_changes();
    assert_eq!(server.control.next_deadline(), Some(now + READ_TIME));
    let reader = std::thread::spawn(move || answers(mute));
    while !server.control.clients.is_empty() {
        server.turn(Duration::from_millis(100));
    }
    let heard = reader.join().expect("reader");
    let (last, events) = heard.split_last().expect("replies");
    let Reply::Refused { message } = last else {
        panic!("{last:?} is no refusal")
    };
    assert!(message.ends_with("bytes of events were not read: the rest is not sent"));
    let expected: Vec<Reply> = (0..told - 1).map(event).collect();
    assert_eq!(events, expected, "all up to there, without a gap");

    let followers: Vec<_> = (0..=FOLLOWERS_MAX).map(|_| ask(&server, EVENTS)).collect();
    server.requests(FOLLOWERS_MAX);
    let refused = followers.into_iter().next_back().expect("the last one");
    assert_eq!(refusal(refused), "16 clients wait already; try again later");
}

#[test]
fn a_client_that_does_not_read_is_bounded_and_dropped() {
    let directory = directory();
    let mut server = Server::open(directory.path(), "app");
    let slow = ask(&server, &RELOAD.to_line());
    let (id, _) = server.requests(1)[0];
    let now = server.now();
    let progress = Reply::Progress {
        message: "x".repeat(1000),
    };
    for _ in 0..10_000 {
        server.control.reply(id, &progress, now);
    }
    let unread = server.control.clients.get(&id).unwrap().interest();
    assert!(unread.write);
    assert!(
        server.control.next_deadline().is_none(),
        "a ticket waits as long as it takes"
    );
    server.control.reply(id, &done("the end"), now);
    server.perform_changes();
    assert_eq!(server.control.next_deadline(), Some(now + READ_TIME));

    let reader = std::thread::spawn(move || answers(slow));
    while !server.control.clients.is_empty() {
        server.turn(Duration::from_millis(100));
    }
    let heard = reader.join().expect("reader");
    assert!(
        heard.len() < 2_000,
        "progress beyond the bound is dropped: {}",
        heard.len()
    );
    assert_eq!(heard.last(), Some(&done("the end")), "the final answer never is");

    let slow = ask(&server, &RELOAD.to_line());
    let (id, _) = server.requests(1)[0];
    let now = server.now();
    server.control.reply(id, &done(&"y".repeat(1_000_000)), now);
    server.ahead = READ_TIME + Duration::from_secs(1);
    server.turn(Duration::ZERO);
    assert!(server.control.clients.is_empty());
    let mut rest = Vec::new();
    (&slow)
        .read_to_end(&mut rest)
        .expect("what fitted into the socket");
    assert!(!rest.is_empty() && rest.len() < 1_000_000);
}

#[test]
fn a_storm_of_clients_is_served_in_full() {
    let directory = directory();
    let mut server = Server::open(directory.path(), "app");
    let path = server.control.place().control().to_owned();
    let storm = std::thread::spawn(move || {
        let clients: Vec<_> = (0..1_000)
            .map(|_| {
                let mut stream = UnixStream::connect(&path).expect("connect");
                stream.write_all(&Request::Status {}.to_line()).expect("write");
                stream
            })
            .collect();
        clients
            .into_iter()
            .map(|client| answers(client).len())
            .sum::<usize>()
    });
    while !storm.is_finished() {
        for (id, _) in server.turn(Duration::from_millis(20)) {
            let now = server.now();
            server.control.reply(id, &done("ok"), now);
        }
    }
    assert_eq!(storm.join().expect("storm"), 1_000);
}

/// Out of fds: the loop must neither spin nor forget whom it has not accepted.
#[test]
fn a_pause_after_a_failed_accept_ends() {
    let directory = directory();
    let mut server = Server::open(directory.path(), "app");
    let now = server.now();
    server.control.paused_until = Some(now + OUT_OF_FDS_PAUSE);
    let _client = ask(&server, &Request::Status {}.to_line());
    assert!(server.turns().is_empty());
    assert_eq!(server.control.next_deadline(), Some(now + OUT_OF_FDS_PAUSE));
    server.ahead = OUT_OF_FDS_PAUSE;
    assert_eq!(server.requests(1)[0].1, Request::Status {});
    assert!(server.control.paused_until.is_none());
}

/// The fds of a control room under their names, as another process would have them after an exec.
fn copies(control: &Control) -> Fds {
    let mut passed = Passed::new();
    control.pass_on(&mut passed);
    let mut fds = Fds::default();
    for (name, fd) in passed {
        fds.put(name, fd.try_clone_to_owned().expect("a copy"));
    }
    fds
}

fn state(control: &Control) -> Vec<u8> {
    let mut rows = Rows::default();
    control.save(&mut rows);
    rows.finish()
}

#[test]
fn socket_claim_and_clients_are_passed_on() {
    let directory = directory();
    let mut server = Server::open_bystander(directory.path(), "app");
    let waiting = ask(&server, RELOAD.to_line().as_slice());
    let (ticket, _) = server.requests(1)[0];
    let mut halfway = ask(&server, b"{\"request\":\"rel");
    let piping = ask(&server, b"{\"request\":\"stop\"}\n");
    piping.shutdown(Shutdown::Write).expect("half closed");
    let (stop, _) = server.requests(1)[0];
    server.turns();
    // More than the socket takes, so that some is left.
    while state(&server.control)
        .windows(7)
        .all(|window| window != b"output=")
    {
        let message = "x".repeat(4000);
        server
            .control
            .reply(ticket, &Reply::Progress { message }, Instant::now());
    }
    let before = state(&server.control);
    let text = before.clone();
    let rows = Row::all(&text).expect("rows");
    let mut fds = copies(&server.control);

    drop(server);
    let custody = Custody::new();
    let restored = Control::restore(&rows, &mut fds, &custody).expect("restored");
    let restored = Restored::new(restored, custody).take_charge();
    assert_eq!(fds.names().count(), 0, "nothing is left over");
    assert_eq!(state(&restored), before);

    let mut server = Server::new(restored);
    let place = server.control.place().clone();
    let error = Control::open(&place, None, StalePolicy::Removed).expect_err("locked");
    assert!(
        error.to_string().starts_with("instance app is already running"),
        "{error}"
    );
    let asked = ask(&server, b"{\"request\":\"status\"}\n");
    halfway.write_all(b"oad\"}\n").expect("the rest");
    let mut requests = server.requests(2);
    requests.sort_by_key(|(id, _)| *id);
    let [(later, RELOAD), (status, Request::Status {})] = requests[..] else {
        panic!("{requests:?}")
    };
    let all = [waiting, halfway, piping, asked];
    let readers = all.map(|stream| std::thread::spawn(move || answers(stream)));
    for (id, message) in [(ticket, "1"), (later, "2"), (stop, "3"), (status, "4")] {
        server.control.reply(id, &done(message), Instant::now());
    }
    while readers.iter().any(|reader| !reader.is_finished()) {
        server.turn(Duration::from_millis(10));
    }
    for (reader, message) in readers.into_iter().zip(["1", "2", "3", "4"]) {
        let answers = reader.join().expect("read");
        assert_eq!(answers.last(), Some(&done(message)));
        let progress = answers[..answers.len() - 1].iter();
        assert!(progress.into_iter().all(|reply| !reply.is_final()), "{answers:?}");
    }
    drop(server);
    assert!(!place.control().exists() && !place.notify_directory().exists());
    drop(place.claim(StalePolicy::Removed).expect("free again"));
}

/// What the check of an upgrade does: it looks, and goes away.
#[test]
fn a_bystander_takes_nothing_away() {
    let directory = directory();
    let mut server = Server::open(directory.path(), "app");
    let client = ask(&server, RELOAD.to_line().as_slice());
    let (id, _) = server.requests(1)[0];
    let text = state(&server.control);
    let rows = Row::all(&text).expect("rows");
    let place = server.control.place().clone();
    let notify = place.notify_socket(1, 0, 0);
    fs::write(&notify, "").expect("a socket in the place of one");

    for missing in ["", "lock", "control", "client-1"] {
        let mut fds = copies(&server.control);
        fds.take(missing);
        let custody = Custody::new();
        let restored = Control::restore(&rows, &mut fds, &custody);
        assert_eq!(
            restored.is_ok(),
            missing.is_empty(),
            "without {missing}: {restored:?}"
        );
        drop(restored.map(|control| Restored::new(control, custody)));
        assert!(place.control().exists() && notify.exists());
        assert!(place.claim(StalePolicy::Removed).is_err(), "still locked");
    }
    server.control.reply(id, &done("yes"), Instant::now());
    server.turns();
    assert_eq!(answers(client), [done("yes")]);
}

/// Leaves everything behind, as SIGKILL does, but for the fds. It was never in charge.
fn kill(control: Control) {
    let mut passed = Passed::new();
    control.pass_on(&mut passed);
    let numbers: Vec<i32> = passed.iter().map(|(_, fd)| fd.as_raw_fd()).collect();
    let closed = control.listener.as_raw_fd();
    drop(passed);
    drop(control);
    // What was not closed with it holds the locks.
    for number in numbers.into_iter().filter(|number| *number != closed) {
        nix::unistd::close(number).expect("closed");
    }
}

#[test]
fn what_is_adopted_stays() {
    let directory = directory();
    let place = place(&directory);
    let never = Custody::new();
    let first = Control::open(&place, None, StalePolicy::Adopted(&never)).expect("control socket");
    let notify = place.notify_socket(1, 0, 0);
    drop(std::os::unix::net::UnixDatagram::bind(&notify).expect("a notify socket"));
    kill(first);
    let custody = Custody::new();
    let second = Control::open(&place, None, StalePolicy::Adopted(&custody)).expect("taken over");
    assert!(notify.exists());
    let second = Restored::new(second, custody).take_charge();
    drop(second);
    assert!(!notify.exists() && !place.control().exists());
}
