//! Commands against real control sockets, some of them with a server that misbehaves.

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use super::connection::Connection;
use super::*;
use crate::control::harness::Server;
use crate::control::{ClientId, Control};
use crate::place::{Place, StalePolicy, choose};
use crate::protocol::{
    CauseCode, Generation, LastWords, Outcome, Probation, Role, SCHEMA, State, Status, Worker, WorkerState,
};

fn directory() -> tempfile::TempDir {
    tempfile::Builder::new()
        .prefix("s")
        .tempdir()
        .expect("temporary directory")
}

fn around(root: &Path) -> Surroundings {
    Surroundings::below(root)
}

fn place(root: &Path, name: &str) -> Place {
    choose(name, None, &around(root)).expect("a place")
}

/// A supervisor in a thread that answers every request with what `script` gives for it, until it is dropped.
struct Supervisor {
    stop: std::sync::Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Supervisor {
    fn start(place: &Place, script: impl Fn(Request) -> Vec<Reply> + Send + 'static) -> Self {
        let mut server =
            Server::new(Control::open(place, None, StalePolicy::Removed).expect("control socket"));
        let stop = std::sync::Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let asked: Vec<(ClientId, Request)> = server.turn(Duration::from_millis(10));
                for (id, request) in asked {
                    for reply in script(request) {
                        let now = server.now();
                        server.control.reply(id, &reply, now);
                    }
                }
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("supervisor thread");
        }
    }
}

fn status_of(name: &str, workers: Vec<Worker>) -> Reply {
    let time = "2026-11-22T10:00:00.000Z".to_owned();
    Reply::Status(Box::new(Status {
        schema: SCHEMA,
        name: name.into(),
        pid: i32::try_from(std::process::id()).expect("pid"),
        since: time.clone(),
        version: "0.1.0".into(),
        state: State::Serving,
        generation: Some(1),
        listeners: Vec::new(),
        generations: vec![Generation {
            generation: 1,
            role: Role::Incumbent,
            since: time,
            probation: Probation::Passed,
            workers,
            strays: 0,
            binary: crate::protocol::Binary {
                path: "/app".into(),
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
    }))
}

fn serving() -> Worker {
    let since = "2026-11-22T10:00:00.000Z".to_owned();
    Worker {
        pid: 1,
        state: WorkerState::Serving,
        since,
        connections: None,
        limit_ms: None,
        status: None,
    }
}

/// The codes of generation 2, which fails for a cause or serves.
fn verdict(cause: Option<CauseCode>) -> Verdict {
    let (outcome, probation) = match cause {
        Some(_) => (Outcome::Failed, Probation::NotReached),
        None => (Outcome::Ok, Probation::Running),
    };
    Verdict {
        outcome,
        probation,
        generation: Some(2),
        cause,
        reason: cause.map(|_| "exited with status 3".to_owned()),
        words: LastWords::default(),
    }
}

/// Runs a command; gives its exit, its stdout and its stderr.
fn run(
    around: &Surroundings,
    command: impl FnOnce(&mut Client<'_>) -> Result<Exit, Failure>,
) -> (Exit, String, String) {
    run_as(Form::Words, around, command)
}

fn run_as(
    form: Form,
    around: &Surroundings,
    command: impl FnOnce(&mut Client<'_>) -> Result<Exit, Failure>,
) -> (Exit, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut client = Client {
        out: Box::new(&mut out),
        err: Box::new(&mut err),
        around: around.clone(),
        form,
        detail: Detail::LastLines,
        gauge: None,
    };
    let exit = client.run(command);
    drop(client);
    (
        exit,
        String::from_utf8(out).expect("text"),
        String::from_utf8(err).expect("text"),
    )
}

fn reload_of(
    around: &Surroundings,
    target: &Target,
    until: Until,
    timeout: Option<Duration>,
) -> (Exit, String, String) {
    run(around, |client| {
        client.ask(target, Request::Reload { until }, timeout)
    })
}

fn at(path: &Path) -> Target {
    Target {
        name: None,
        control: Some(path.to_owned()),
    }
}

fn who() -> Serving {
    Serving {
        generation: 8,
        pids: vec![123],
    }
}

#[test]
fn a_reload_that_succeeds_says_so_in_one_line() {
    let directory = directory();
    let place = place(directory.path(), "app");
    let _supervisor = Supervisor::start(&place, |request| {
        assert_eq!(
            request,
            Request::Reload {
                until: Until::Takeover
            }
        );
        vec![Reply::reload_ok(
            who(),
            Duration::from_millis(41),
            "",
            verdict(None),
        )]
    });
    let (exit, out, err) = reload_of(
        &around(directory.path()),
        &Target::default(),
        Until::Takeover,
        None,
    );
    assert_eq!((exit, err.as_str()), (Exit::Done, ""));
    assert_eq!(out, "reload ok: generation 8 serves (pid 123) after 41 ms\n");
}

#[test]
fn progress_goes_to_stderr_and_is_harmless() {
    let directory = directory();
    let place = place(directory.path(), "app");
    let _supervisor = Supervisor::start(&place, |_| {
        vec![
            Reply::Progress {
                message: "generation 7 drains: 3 connections, 29 s left".into(),
            },
            Reply::Progress {
                message: "\u{1b}[2J\nreload ok".into(),
            },
            Reply::reload_ok(who(), Duration::from_secs(12), "", verdict(None)),
        ]
    });
    let (exit, out, err) = reload_of(
        &around(directory.path()),
        &Target::default(),
        Until::Drained,
        None,
    );
    assert_eq!(exit, Exit::Done);
    assert_eq!(out, "reload ok: generation 8 serves (pid 123) after 12.0 s\n");
    assert_eq!(
        err,
        "generation 7 drains: 3 connections, 29 s left\n\\u{1b}[2J\\nreload ok\n"
    );
}

#[test]
fn a_failure_says_why_and_who_serves() {
    let directory = directory();
    let place = place(directory.path(), "app");
    let supervisor = Supervisor::start(&place, |_| {
        vec![Reply::reload_failed(
            "exec ./app: permission denied",
            Some(who()),
            verdict(Some(CauseCode::NotPrepared)),
        )]
    });
    let around = around(directory.path());
    let ended = reload_of(&around, &Target::default(), Until::Takeover, None);
    let text = "segue: reload failed: exec ./app: permission denied; generation 8 serves (pid 123)\n";
    assert_eq!(ended, (Exit::Failed, String::new(), text.to_owned()));
    drop(supervisor);

    let _supervisor = Supervisor::start(&place, |_| {
        vec![Reply::reload_failed(
            "stopping",
            None,
            verdict(Some(CauseCode::Stopping)),
        )]
    });
    let ended = reload_of(&around, &at(place.control()), Until::Takeover, None);
    assert_eq!(
        ended,
        (
            Exit::Failed,
            String::new(),
            "segue: reload failed: stopping; nobody serves\n".to_owned()
        )
    );
}

#[test]
fn after_a_rollback_nobody_serves_only_until_the_last_good_is_ready() {
    for (outcome, who) in [
        (Outcome::RolledBack, "until the last good is ready"),
        // There is none: the same is started again.
        (Outcome::Failed, "until it is ready"),
    ] {
        let directory = directory();
        let place = place(directory.path(), "app");
        let _supervisor = Supervisor::start(&place, move |_| {
            let verdict = Verdict {
                outcome,
                probation: Probation::NotPassed,
                ..verdict(Some(CauseCode::Exited))
            };
            vec![Reply::Failed {
                message: "reload rolled back: generation 2: exited".into(),
                serving: None,
                verdict: Some(verdict),
            }]
        });
        let around = around(directory.path());
        let (exit, _, err) = reload_of(&around, &at(place.control()), Until::Takeover, None);
        assert_eq!(exit, Exit::Failed);
        assert_eq!(
            err,
            format!("segue: reload rolled back: generation 2: exited; nobody serves {who}\n")
        );
    }
}

#[test]
fn a_refusal_is_a_failure() {
    let directory = directory();
    let place = place(directory.path(), "app");
    let _supervisor = Supervisor::start(&place, |_| {
        vec![Reply::Refused {
            message: "stopping".into(),
        }]
    });
    let around = around(directory.path());
    let (exit, _, err) = run(&around, |client| {
        client.ask(
            &Target::default(),
            Request::Workers {
                change: Change::Set(2),
            },
            None,
        )
    });
    assert_eq!((exit, err.as_str()), (Exit::Failed, "segue: refused: stopping\n"));
}

#[test]
fn a_timeout_ends_the_wait_and_not_the_reload() {
    let directory = directory();
    let place = place(directory.path(), "app");
    let _supervisor = Supervisor::start(&place, |_| Vec::new());
    let timeout = Some(Duration::from_millis(50));
    let (exit, _, err) = reload_of(
        &around(directory.path()),
        &Target::default(),
        Until::Settled,
        timeout,
    );
    assert_eq!(
        (exit, err.as_str()),
        (
            Exit::TimedOut,
            "segue: no outcome within 50 ms; the reload goes on, and segue status tells how it ends\n"
        )
    );
}

#[test]
fn a_supervisor_that_dies_meanwhile_is_said_to() {
    let directory = directory();
    let path = directory.path().join("ctl");
    let listener = UnixListener::bind(&path).expect("listener");
    let dying = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("client");
        io::Read::read(&mut stream, &mut [0; 100]).expect("request");
    });
    let (exit, _, err) = reload_of(&around(directory.path()), &at(&path), Until::Takeover, None);
    let text = format!(
        "segue: the supervisor (pid {}) went away before the reload had an outcome; ask `segue status` who serves\n",
        std::process::id()
    );
    assert_eq!((exit, err), (Exit::Failed, text));
    dying.join().expect("thread");
}

#[test]
fn something_else_that_answers_does_no_harm() {
    let directory = directory();
    let path = directory.path().join("ctl");
    let listener = UnixListener::bind(&path).expect("listener");
    let other = thread::spawn(move || {
        for answer in [
            "HTTP/1.1 400 Bad\u{1b}[2J Request\r\n",
            "{\"reply\":\"status\"}\n",
            "{\"reply\":\"later\"}\n",
        ] {
            let (mut stream, _) = listener.accept().expect("client");
            stream.write_all(answer.as_bytes()).expect("answer");
        }
    });
    for _ in 0..3 {
        let (exit, _, err) = reload_of(&around(directory.path()), &at(&path), Until::Takeover, None);
        assert_eq!(exit, Exit::Failed);
        assert!(err.starts_with("segue: reply not understood: "), "{err}");
        assert_eq!(err.matches(|c: char| c.is_control()).count(), 1, "{err:?}");
    }
    other.join().expect("thread");
}

/// A socket of which nobody is left. What another test forks in this instant has a copy of the listener until it executes.
fn leave_behind(path: impl AsRef<Path>) {
    let path = path.as_ref();
    drop(UnixListener::bind(path).expect("left behind"));
    let end = clock::now() + Duration::from_secs(60);
    while UnixStream::connect(path).is_ok() {
        assert!(clock::now() < end, "somebody still has {}", path.display());
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn no_supervisor_answers_where_there_is_none() {
    let directory = directory();
    let around = around(directory.path());
    let (exit, _, err) = reload_of(
        &around,
        &at(&directory.path().join("none")),
        Until::Takeover,
        None,
    );
    assert_eq!(exit, Exit::NoSupervisor);
    assert!(err.ends_with("/none: no such file or directory\n"), "{err}");

    let (exit, _, err) = reload_of(
        &around,
        &Target {
            name: Some("nöne".into()),
            control: None,
        },
        Until::Takeover,
        None,
    );
    assert_eq!(exit, Exit::NoSupervisor);
    assert!(
        err.starts_with("segue: no supervisor named \"nöne\" answers (looked in "),
        "{err}"
    );

    // What a killed supervisor has left is nobody.
    let place = place(directory.path(), "dead");
    leave_behind(place.control());
    let (exit, _, err) = reload_of(&around, &at(place.control()), Until::Takeover, None);
    assert_eq!(exit, Exit::NoSupervisor);
    assert!(err.ends_with("/control: connection refused\n"), "{err}");
    let target = Target {
        name: Some("dead".into()),
        control: None,
    };
    let (exit, _, err) = reload_of(&around, &target, Until::Takeover, None);
    assert_eq!((exit, err.lines().count()), (Exit::NoSupervisor, 1), "{err}");
    assert!(!err.contains("was killed"), "it has ended by itself: {err}");

    // One that was killed leaves its state as well, here and beside a control socket of any name.
    std::fs::write(&place.state_files()[0], "").expect("left behind");
    for (target, whose) in [
        (target, "\"dead\""),
        (at(place.control()), "the supervisor there"),
        (Target::default(), "\"dead\""),
    ] {
        let (exit, _, err) = reload_of(&around, &target, Until::Takeover, None);
        assert_eq!(exit, Exit::NoSupervisor);
        assert!(
            err.ends_with(&format!(
                "; {whose} was killed, and its app may still be serving: start segue run again as before to adopt it\n"
            )),
            "{err}"
        );
    }
    let given = directory.path().join("given");
    leave_behind(&given);
    std::fs::write(directory.path().join("given.state-a"), "").expect("left behind");
    let (_, _, err) = reload_of(&around, &at(&given), Until::Takeover, None);
    assert!(err.contains("; the supervisor there was killed"), "{err}");
    let other = Target {
        name: Some("other".into()),
        control: None,
    };
    let (_, _, err) = reload_of(&around, &other, Until::Takeover, None);
    assert!(!err.contains("was killed"), "{err}");
}

#[test]
fn several_instances_are_listed_and_one_can_be_named() {
    let directory = directory();
    let around = around(directory.path());
    let script = |name: &'static str| {
        move |request| match request {
            Request::Status {} => vec![status_of(name, vec![serving()])],
            Request::Reload { .. }
            | Request::Stop {}
            | Request::Workers { .. }
            | Request::Events {}
            | Request::Upgrade {} => {
                vec![Reply::Done {
                    message: format!("this is {name}"),
                    serving: None,
                    duration_ms: None,
                    verdict: None,
                }]
            }
        }
    };
    let (one, two) = (place(directory.path(), "one"), place(directory.path(), "two"));
    let _one = Supervisor::start(&one, script("one"));
    // Its directory has another name.
    let _two = Supervisor::start(&two, script("zwei"));
    let (exit, out, err) = reload_of(&around, &Target::default(), Until::Takeover, None);
    assert_eq!((exit, out.as_str()), (Exit::Usage, ""));
    assert!(
        err.starts_with("segue: several instances run; say which by its name, as in segue status NAME, or with --control:\n"),
        "{err}"
    );
    for (name, place) in [("one", &one), ("zwei", &two)] {
        let row = format!(
            "  {name:<20} pid {:<8} {}\n",
            std::process::id(),
            place.control().display()
        );
        assert!(err.contains(&row), "{err}");
        let target = Target {
            name: Some(name.into()),
            control: None,
        };
        let (exit, out, _) = reload_of(&around, &target, Until::Takeover, None);
        assert_eq!((exit, out), (Exit::Done, format!("this is {name}\n")));
    }
    let target = Target {
        name: Some("drei".into()),
        control: None,
    };
    let (exit, _, err) = reload_of(&around, &target, Until::Takeover, None);
    assert_eq!(exit, Exit::NoSupervisor);
    assert!(
        err.contains("named \"drei\" answers (running: ") && err.contains("zwei"),
        "{err}"
    );
}

/// A gauge that takes longer to draw than there is time, while the outcome comes.
struct SlowGauge<'a> {
    until: Instant,
    drawn: &'a AtomicBool,
    is_over: std::sync::mpsc::Receiver<()>,
}

impl Gauge for SlowGauge<'_> {
    fn draw(&mut self, _: Seen) {
        self.drawn.store(true, Ordering::Relaxed);
        self.is_over.recv().expect("the outcome");
        thread::sleep(self.until.saturating_duration_since(clock::now()));
    }

    fn clear(&mut self) {}
}

#[test]
fn an_outcome_that_came_in_time_is_told_although_the_gauge_was_drawn_past_the_deadline() {
    let directory = directory();
    let path = directory.path().join("control");
    let listener = UnixListener::bind(&path).expect("listener");
    let (tell, is_over) = std::sync::mpsc::channel();
    let supervisor = thread::spawn(move || {
        let asked = |stream: &mut UnixStream| io::Read::read(stream, &mut [0; 100]).expect("request");
        let (mut reload, _) = listener.accept().expect("reload");
        asked(&mut reload);
        let (mut status, _) = listener.accept().expect("status");
        asked(&mut status);
        let line = status_of("app", vec![serving()]).to_line();
        status.write_all(&line).expect("status");
        let done = Reply::Done {
            message: "reload ok".into(),
            serving: None,
            duration_ms: None,
            verdict: None,
        };
        reload.write_all(&done.to_line()).expect("outcome");
        let _ = tell.send(());
        reload
    });
    // So long that the first look comes before it on any machine.
    let timeout = Duration::from_secs(3);
    let drawn = AtomicBool::new(false);
    let gauge = SlowGauge {
        until: clock::now() + timeout + Duration::from_millis(100),
        drawn: &drawn,
        is_over,
    };
    let mut out = Vec::new();
    let mut client = Client {
        out: Box::new(&mut out),
        around: around(directory.path()),
        gauge: Some(Box::new(gauge)),
        ..Client::of_this_process()
    };
    let until = Until::Takeover;
    let exit = client.run(|client| client.ask(&at(&path), Request::Reload { until }, Some(timeout)));
    drop(client);
    assert!(drawn.load(Ordering::Relaxed));
    assert_eq!(
        (exit, String::from_utf8_lossy(&out).as_ref()),
        (Exit::Done, "reload ok\n")
    );
    supervisor.join().expect("supervisor thread");
}

#[test]
fn a_supervisor_that_hangs_is_none_for_status() {
    let directory = directory();
    let place = place(directory.path(), "app");
    let _listener = UnixListener::bind(place.control()).expect("listener");
    let around = around(directory.path());
    let show = &mut |_: Sight<'_>| -> io::Result<()> { panic!("nothing to show") };
    let timeout = Some(Duration::from_millis(30));
    let (exit, _, err) = run(&around, |client| {
        client.show_once(&at(place.control()), timeout, show)
    });
    assert_eq!(exit, Exit::TimedOut);
    assert!(
        err.starts_with("segue: timed out after 30 ms, before the status came (no supervisor answers at "),
        "{err}"
    );
}

#[test]
fn a_backlog_that_is_full_does_not_hold_us_for_ever() {
    let directory = directory();
    let path = directory.path().join("full");
    let socket = nix::sys::socket::socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .expect("socket");
    nix::sys::socket::bind(
        std::os::fd::AsRawFd::as_raw_fd(&socket),
        &UnixAddr::new(&path).expect("address"),
    )
    .expect("bind");
    nix::sys::socket::listen(&socket, nix::sys::socket::Backlog::new(0).expect("backlog")).expect("listen");
    let _waiting = UnixStream::connect(&path).expect("the one that fits");
    let error = Connection::open(&path, Duration::from_millis(20)).expect_err("no room");
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn status_ends_by_who_serves() {
    let directory = directory();
    let place = place(directory.path(), "app");
    let around = around(directory.path());
    for (workers, expected) in [(vec![serving()], Exit::Done), (Vec::new(), Exit::Failed)] {
        let _supervisor = Supervisor::start(&place, move |_| vec![status_of("app", workers.clone())]);
        let mut seen = None;
        let show = &mut |sight: Sight<'_>| {
            seen = sight.ok();
            Ok(())
        };
        let (exit, _, err) = run(&around, |client| client.show_once(&Target::default(), None, show));
        assert_eq!((exit, err.as_str()), (expected, ""));
        let seen = seen.expect("a status");
        assert_eq!(seen.supervisor, Some(seen.status.pid));
    }
}

#[test]
fn a_watch_survives_its_supervisor_and_ends_with_its_reader() {
    let directory = directory();
    let place = place(directory.path(), "app");
    let mut supervisor = Some(Supervisor::start(&place, |_| {
        vec![status_of("app", vec![serving()])]
    }));
    let around = around(directory.path());
    let mut sights = Vec::new();
    let show = &mut |sight: Sight<'_>| {
        sights.push(sight.map(|seen| seen.status.name).map_err(str::to_owned));
        match sights.len() {
            1 => supervisor = None,
            2 => {}
            _ => return Err(io::ErrorKind::BrokenPipe.into()),
        }
        Ok(())
    };
    let (exit, _, err) = run(&around, |client| client.watch(&Target::default(), None, show));
    assert_eq!((exit, err.as_str()), (Exit::Done, ""));
    assert_eq!(sights[0], Ok("app".to_owned()));
    assert!(sights[1..].iter().all(|sight| {
        sight
            .as_ref()
            .is_err_and(|line| line.starts_with("no supervisor answers"))
    }));
}

/// A supervisor that is stopped: the kernel takes connections for it, and nobody reads.
fn stopped(root: &Path, name: &str) -> UnixListener {
    UnixListener::bind(place(root, name).control()).expect("listener")
}

#[test]
fn stopped_neighbours_are_not_waited_for() {
    let directory = directory();
    let around = around(directory.path());
    let neighbours: Vec<_> = (0..10)
        .map(|number| stopped(directory.path(), &format!("a{number}")))
        .collect();
    let meant = place(directory.path(), "b");
    let meant = Supervisor::start(&meant, |_| vec![status_of("b", vec![serving()])]);
    let show = &mut |_: Sight<'_>| -> io::Result<()> { Ok(()) };
    // Neighbours asked one after the other, a second each, would take more than the time that there is.
    let timeout = Some(Duration::from_secs(4));
    let mut status = |name: Option<&str>| {
        let target = Target {
            name: name.map(str::to_owned),
            control: None,
        };
        run(&around, |client| client.show_once(&target, timeout, show))
    };
    assert_eq!(
        status(Some("b")),
        (Exit::Done, String::new(), String::new()),
        "the one that is meant"
    );
    let (exit, _, err) = status(Some("c"));
    assert_eq!(exit, Exit::NoSupervisor, "{err}");
    assert!(
        err.ends_with(" (running: b, a0, a1, a2, a3, a4, a5, a6, a7, a8, a9)\n")
            || err.ends_with(" (running: a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, b)\n"),
        "{err}"
    );
    let (exit, _, err) = status(None);
    assert_eq!((exit, err.lines().count()), (Exit::Usage, 12), "{err}");
    drop(meant);
    drop(neighbours);
}

#[test]
fn a_stopped_supervisor_that_is_meant_takes_no_longer_than_the_timeout() {
    let directory = directory();
    let around = around(directory.path());
    let _stopped = stopped(directory.path(), "b");
    let show = &mut |_: Sight<'_>| -> io::Result<()> { panic!("nothing to show") };
    let target = Target {
        name: Some("b".into()),
        control: None,
    };
    let timeout = Duration::from_millis(50);
    let began = Instant::now();
    let (exit, _, err) = run(&around, |client| client.show_once(&target, Some(timeout), show));
    // Less than the time that a supervisor has to tell its name.
    assert!(began.elapsed() < Duration::from_secs(1), "{err}");
    assert_eq!(exit, Exit::TimedOut, "{err}");
}

#[test]
fn one_that_accepts_nobody_just_now_runs_all_the_same() {
    let directory = directory();
    let around = around(directory.path());
    let full = stopped(directory.path(), "full");
    nix::sys::socket::listen(&full, nix::sys::socket::Backlog::new(0).expect("backlog")).expect("listen");
    let mut waiting = Vec::new();
    while let Ok(connection) = Connection::open_now(place(directory.path(), "full").control()) {
        waiting.push(connection);
    }
    let other = place(directory.path(), "other");
    let _other = Supervisor::start(&other, |_| vec![status_of("other", vec![serving()])]);
    let show = &mut |_: Sight<'_>| -> io::Result<()> { Ok(()) };
    let mut status = |name: Option<&str>| {
        let target = Target {
            name: name.map(str::to_owned),
            control: None,
        };
        let timeout = Some(Duration::from_millis(500));
        run(&around, |client| client.show_once(&target, timeout, show))
    };
    let (exit, _, err) = status(None);
    assert_eq!(exit, Exit::Usage, "it may be the one that is meant: {err}");
    assert!(
        err.contains(&format!("  {:<20} pid {:<8} ", "full", "-")),
        "{err}"
    );
    let (exit, _, err) = status(Some("full"));
    assert_eq!(exit, Exit::TimedOut);
    assert!(
        err.contains(
            "it lives, but does not accept (is it stopped, or does it hang?); its app goes on without it"
        ),
        "{err}"
    );
}

/// What programs read of an outcome: codes on stdout, sentences on stderr.
#[test]
fn a_reload_tells_its_outcome_in_codes_whatever_it_is() {
    let directory = directory();
    let around = around(directory.path());
    let failed = Reply::Failed {
        message: "reload failed: generation 2: exited with status 3".into(),
        serving: None,
        verdict: Some(verdict(Some(CauseCode::Exited))),
    };
    let done = Reply::Done {
        message: "reload ok".into(),
        serving: None,
        duration_ms: Some(4),
        verdict: Some(verdict(None)),
    };
    let accepted = Reply::Done {
        message: "reload accepted".into(),
        serving: None,
        duration_ms: None,
        verdict: None,
    };
    let refused = Reply::Refused {
        message: "too many".into(),
    };
    let cases = [
        (
            vec![failed],
            Exit::Failed,
            "outcome=failed\nprobation=not-reached\ngeneration=2\ncause=exited\nreason=exited with status 3\n",
        ),
        (
            vec![done],
            Exit::Done,
            "outcome=ok\nprobation=running\ngeneration=2\ncause=\nreason=\nduration_ms=4\n",
        ),
        (
            vec![accepted],
            Exit::Done,
            "outcome=accepted\nprobation=\ngeneration=\n",
        ),
        (vec![refused], Exit::Failed, "outcome=refused\n"),
    ];
    for (number, (replies, exit, lines)) in cases.into_iter().enumerate() {
        let place = place(directory.path(), &format!("app-{number}"));
        let _supervisor = Supervisor::start(&place, move |_| replies.clone());
        let target = at(place.control());
        let until = Until::Takeover;
        let ask = |client: &mut Client<'_>| client.ask(&target, Request::Reload { until }, None);
        let (ended, out, err) = run_as(Form::Flat, &around, ask);
        assert_eq!(ended, exit, "{out} {err}");
        for line in lines.lines().chain(["message="]) {
            let whole = |said: &str| said == line || (line.ends_with('=') && said.starts_with(line));
            assert!(out.lines().any(whole), "{line}: {out}");
        }
        assert_eq!(err.lines().count(), 1, "{err}");
        let (_, json, _) = run_as(Form::Json, &around, ask);
        let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert!(lines.starts_with(&format!(
            "outcome={}\n",
            json["outcome"].as_str().expect("a word")
        )));
    }
    let path = directory.path().join("dying");
    let listener = UnixListener::bind(&path).expect("listener");
    let dying = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("client");
        io::Read::read(&mut stream, &mut [0; 100]).expect("request");
    });
    let (exit, out, _) = run_as(Form::Flat, &around, |client| {
        let until = Until::Takeover;
        client.ask(&at(&path), Request::Reload { until }, None)
    });
    assert_eq!(exit, Exit::Failed);
    assert!(out.contains("\noutcome=lost\n"), "{out}");
    dying.join().expect("thread");
    let nobody = at(Path::new("/nonexistent/control"));
    let (exit, out, _) = run_as(Form::Flat, &around, |client| {
        client.ask(
            &nobody,
            Request::Reload {
                until: Until::Takeover,
            },
            None,
        )
    });
    assert_eq!(exit, Exit::NoSupervisor);
    assert!(out.contains("\noutcome=no-supervisor\n"), "{out}");
}
