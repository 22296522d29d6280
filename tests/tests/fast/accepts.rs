//! A generation that accepts nothing never quietly takes over: it is looked at from outside before the takeover, and the queues
//! of its listeners are watched afterwards. Nor is one that accepts ever taken for such a one.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use segue_tests::binaries::Binary;
use segue_tests::http::{Client, GENERATION, get_and_close};
use segue_tests::load::{Kind, Load};
use segue_tests::needs;
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup, Status};

/// Long enough for a slow machine to accept, short enough to wait for.
const SOON: [&str; 2] = ["--accept-timeout", "1s"];

/// How long a candidate on whose listeners nobody waits is looked at, at least.
const LOOKED_AT: Duration = Duration::from_secs(2);

/// A shell that does something to the sockets, and runs a fixture in its own place.
fn shell(before: &str, vice: &str) -> Program {
    let fixture = Program::fixture(vice);
    Program::new("/bin/sh")
        .args(["-c", &format!("{before} exec \"$@\""), "sh"])
        .args(fixture.words().iter().cloned())
}

/// A shell that waits for a fixture as its child.
fn waiting_shell(before: &str, vice: &str) -> Program {
    let fixture = Program::fixture(vice);
    Program::new("/bin/sh")
        .args([
            "-c",
            &format!("{before} \"$@\" & trap \"kill $!\" TERM; wait; wait"),
            "sh",
        ])
        .args(fixture.words().iter().cloned())
}

/// Generation 1 is good and trusted at once; what is deployed as `app` after it is on probation.
fn trusted(flags: &[&str]) -> Segue {
    let setup = Setup::new(Program::new("./app")).flags(flags.iter().copied());
    setup.deploy("app", &Program::fixture("good"));
    let segue = setup.trusted_at_once().start();
    segue.distrust();
    segue
}

fn trouble(status: &Status) -> Option<String> {
    status.listener("trouble").as_str().map(str::to_owned)
}

/// A reload after which nobody accepts but the new generation.
#[track_caller]
fn reload_alone(segue: &Segue) {
    segue.reload_ok(&["--drained"]);
}

/// A client whose request is in the queue.
fn ask(segue: &Segue) -> Client {
    let mut client = segue.target().connect().unwrap();
    client.write(&get_and_close("/ping")).unwrap();
    client
}

/// The reload fails, nobody notices, and the reason is this; `@` stands for the address at which the candidate says it listens.
#[track_caller]
fn assert_refused(segue: &Segue, word: &str) {
    let load = Load::start(Kind::Fresh, &segue.target(), 3);
    let mark = segue.process().mark();
    let done = segue.reload(&[]);
    assert_eq!(
        done.code,
        Some(1),
        "{}\n{}",
        done.stderr,
        segue.process().stderr()
    );
    let line = segue.process().wait_for_line_after(mark, "listens on 127.0.0.1");
    let elsewhere = line.text.rsplit(' ').next().unwrap().to_owned();
    let address = segue.status().listener("address").as_str().unwrap().to_owned();
    let reason =
        format!("{word}, but no process of it has the listener {address}; it listens on {elsewhere}");
    assert!(done.stderr.contains(&reason), "{}\nwanted: {reason}", done.stderr);
    let status = segue.status();
    assert_eq!((status.generation(), status.last_outcome()), (1, "failed"));
    load.wait_for_more(10);
    load.stop().assert_nothing_lost();
}

#[test]
fn a_candidate_without_the_listener_is_refused_with_what_it_listens_on_instead() {
    let segue = trusted(&[]);
    for program in [
        shell("exec 3<&-;", "accepts-elsewhere"),
        // READY=1 comes from a process that LISTEN_PID does not name.
        waiting_shell("exec 3<&-;", "accepts-elsewhere"),
    ] {
        segue.deploy("app", &program);
        assert_refused(&segue, "READY=1");
    }
    segue.deploy("app", &Program::fixture("good"));
    segue.reload_ok(&[]);
    segue.stop();
}

#[test]
fn an_app_that_cannot_notify_is_looked_at_as_well() {
    let segue = trusted(&["--ready", "exec:3s"]);
    segue.deploy("app", &shell("exec 3<&-;", "accepts-elsewhere"));
    assert_refused(&segue, "alive after 3s");
    segue.stop();
}

#[test]
fn a_first_start_without_the_listener_is_told_of_and_the_next_may_do_without_as_well() {
    // An app may bind a port of its own on purpose, and nobody is there to be protected.
    let segue = Setup::new(shell("exec 3<&-;", "accepts-elsewhere")).start();
    let said = "no process has it open; it listens on 127.0.0.1:";
    assert_eq!(told(&segue, said), 1, "{}", segue.process().stderr());
    assert!(trouble(&segue.status()).unwrap().starts_with(said));
    segue.reload_ok(&[]);
    assert!(trouble(&segue.status()).unwrap().starts_with(said));
    segue.stop();
}

#[test]
fn a_listener_that_the_incumbent_has_is_missed_and_one_that_it_lacks_is_not() {
    let setup = Setup::new(Program::new("./app"))
        .listen("web=127.0.0.1:0")
        .listen("spare=127.0.0.1:0");
    setup.deploy(
        "app",
        &shell("exec 4<&-; LISTEN_FDS=1 LISTEN_FDNAMES=web;", "good"),
    );
    let segue = setup.start();
    segue.deploy("app", &Program::fixture("good"));
    segue.reload_ok(&[]);
    segue.deploy(
        "app",
        &shell("exec 4<&-; LISTEN_FDS=1 LISTEN_FDNAMES=web;", "good"),
    );
    let done = segue.reload(&[]);
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    assert!(
        done.stderr
            .contains("READY=1, but no process of it has the listener 127.0.0.1:"),
        "{}",
        done.stderr
    );
    assert_eq!(segue.status().generation(), 2);
    segue.stop();
}

#[test]
fn a_candidate_whose_listener_nobody_waits_on_takes_over_later_and_with_a_word() {
    let segue = trusted(&[]);
    segue.deploy("app", &waiting_shell("", "accepts-elsewhere"));
    let begin = Instant::now();
    let done = segue.reload(&[]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(begin.elapsed() >= LOOKED_AT, "{:?}", begin.elapsed());
    let said = done.stdout + &done.stderr;
    for part in [
        "nobody is seen waiting on it; it listens on 127.0.0.1:",
        "; READY=1 came from pid ",
        ", and LISTEN_PID was ",
    ] {
        assert!(said.contains(part), "{said}");
    }
    let noted = trouble(&segue.status()).unwrap();
    assert!(noted.starts_with("nobody is seen waiting on it"), "{noted}");
    segue.stop();
}

#[test]
fn a_word_from_another_process_is_well_where_that_waits() {
    let segue = trusted(&["--no-listen-pid"]);
    segue.deploy("app", &waiting_shell("", "good"));
    let done = segue.reload(&[]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(!(done.stdout + &done.stderr).contains("READY=1 came from"));
    assert_eq!(trouble(&segue.status()), None);
    segue.stop();
}

/// As below `podman run`: the monitor of a container is nobody's child and hides what it was born with, and the app is its
/// child.
#[test]
fn an_app_below_a_monitor_that_has_left_its_worker_is_seen() {
    let monitor = "env -u NOTIFY_SOCKET setsid --fork sh -c '\"$@\" & trap \"kill $!\" TERM; wait; wait' sh \"$@\"; \
                   exec sleep infinity 3<&- 4<&-";
    let fixture = Program::fixture("good");
    let program = Program::new("/bin/sh")
        .args(["-c", monitor, "sh"])
        .args(fixture.words().iter().cloned());
    // Time alone makes nobody accept: the probe waits until it answers.
    let probe = format!("{} --timeout 2s --unix", Binary::SeguePoll.path().display());
    let probed = [
        "--ready",
        "exec:10ms",
        "--probe-timeout",
        "60s",
        "--probe",
        &probe,
    ];
    for ready in [&probed[..], &["--ready", "accepting"]] {
        let setup = Setup::new(program.clone()).flags(ready);
        let segue = setup.flags(["--no-listen-pid"]).start();
        segue.reload_ok(&["--drained"]);
        assert_eq!(trouble(&segue.status()), None, "{}", segue.process().stderr());
        let said = segue.process().stderr();
        assert!(!said.contains("no process has it open"), "{said}");
        segue.stop();
    }
}

/// A server that takes its clients one after the other waits for none while it works for one. Neither the old one nor the
/// new one is said to accept nobody for that.
#[test]
fn one_that_is_at_work_is_not_said_to_wait_for_nobody() {
    let segue = trusted(&[]);
    segue.deploy("app", &Program::fixture("one-at-a-time after=3s"));
    reload_alone(&segue);
    // It ends without a drain, so that the answer to the first is not awaited.
    let first = ask(&segue);
    let mut second = ask(&segue);
    segue.wait_until("the first is accepted", |status| status.listener("queued") == 1);
    segue.reload_ok(&[]);
    second.response().unwrap().ok().unwrap();
    let said = segue.process().stderr();
    assert!(!said.contains("nobody is seen waiting"), "{said}");
    drop(first);
    segue.stop();
}

#[test]
fn a_note_goes_when_somebody_waits() {
    let segue = trusted(&[]);
    let file = segue.path("go");
    // It has its listeners, and nobody waits on them until the file is there.
    segue.deploy(
        "app",
        &Program::fixture(&format!("never-accepts file={}", file.display())),
    );
    segue.reload_ok(&[]);
    assert!(trouble(&segue.status()).is_some());
    std::fs::write(&file, "").unwrap();
    segue.wait_until("the note is gone", |status| trouble(status).is_none());
    segue.stop();
}

#[test]
fn a_generation_that_accepts_nothing_on_probation_is_rolled_back_and_its_clients_are_answered() {
    let segue = trusted(&SOON);
    segue.deploy("app", &Program::fixture("polls-in-vain"));
    reload_alone(&segue);
    let mut clients = [(); 3].map(|()| ask(&segue));
    for client in &mut clients {
        let response = client.response().unwrap();
        assert_eq!(response.ok().unwrap().header(GENERATION), "3");
    }
    let status = segue.status();
    assert_eq!(
        (status.count("rollbacks"), status.last_outcome()),
        (1, "rolled-back")
    );
    let reason = status.last_reason().to_owned();
    assert!(
        reason.starts_with("clients of the listener ")
            && reason.ends_with(" waited for 1s and it accepted none"),
        "{reason}"
    );
    segue.wait_until("nothing is the matter", |status| trouble(status).is_none());
    segue.stop();
}

#[test]
fn one_who_waits_for_the_end_of_probation_is_told_of_the_rollback() {
    let segue = trusted(&SOON);
    segue.deploy("app", &Program::fixture("polls-in-vain"));
    let reload = segue.begin("reload", &["--settled"]);
    segue.wait_until("generation 2 serves alone", |status| {
        status.generation() == 2 && status.in_role("retired").is_empty()
    });
    let mut client = ask(&segue);
    let done = reload.finish();
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    assert!(
        done.stderr.contains("waited for 1s and it accepted none"),
        "{}",
        done.stderr
    );
    client.response().unwrap();
    segue.stop();
}

/// The lines of the log with this in them.
fn told(segue: &Segue, what: &str) -> usize {
    segue
        .process()
        .stderr()
        .lines()
        .filter(|line| line.contains(what))
        .count()
}

const IN_VAIN: &str = "its clients have waited for 1s and none was accepted";

#[test]
fn a_trusted_generation_that_accepts_nothing_is_told_once_and_again_when_it_does() {
    let setup = Setup::new(Program::new("./app"))
        .flags(SOON)
        .flags(["--probation", "0s"]);
    let file = setup.path("go");
    setup.deploy(
        "app",
        &Program::fixture(&format!("polls-in-vain file={}", file.display())),
    );
    let segue = setup.start();
    let mut client = ask(&segue);
    let noted = segue.wait_until("it is in the status", |status| trouble(status).is_some());
    assert_eq!(trouble(&noted).unwrap(), IN_VAIN);
    // Twice as long again, and it is said once. What does not happen can only be waited for by the clock.
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(told(&segue, IN_VAIN), 1, "{}", segue.process().stderr());
    assert_eq!(
        segue.status().count("rollbacks") + segue.status().count("restarts"),
        0
    );
    std::fs::write(&file, "").unwrap();
    client.response().unwrap().ok().unwrap();
    segue.process().wait_for_line("are accepted again");
    assert_eq!(trouble(&segue.status()), None);
    segue.stop();
}

#[test]
fn a_first_start_that_accepts_nothing_is_told_and_left_alone() {
    let segue = Setup::new(Program::fixture("polls-in-vain")).flags(SOON).start();
    let client = ask(&segue);
    segue.process().wait_for_line(IN_VAIN);
    let status = segue.status();
    assert_eq!((status.generation(), status.count("restarts")), (1, 0));
    drop(client);
    segue.stop();
}

#[test]
fn a_listener_that_nobody_answered_before_is_not_the_fault_of_the_next() {
    let setup = Setup::new(Program::new("./app")).flags(SOON);
    setup.deploy("app", &Program::fixture("polls-in-vain"));
    let segue = setup.trusted_at_once().start();
    let client = ask(&segue);
    segue.process().wait_for_line(IN_VAIN);
    segue.distrust();
    segue.reload_ok(&[]);
    std::thread::sleep(Duration::from_secs(3));
    let status = segue.status();
    assert_eq!((status.count("rollbacks"), status.generation()), (0, 2));
    drop(client);
    segue.stop();
}

#[test]
fn one_that_is_only_slow_is_left_alone() {
    let segue = trusted(&SOON);
    segue.deploy("app", &Program::fixture("one-at-a-time after=3s"));
    reload_alone(&segue);
    let mut clients = [(); 3].map(|()| ask(&segue));
    for client in &mut clients {
        let answer = client.response();
        let response = answer.unwrap_or_else(|loss| panic!("{loss:?}\n{}", segue.process().stderr()));
        response.ok().unwrap();
    }
    let status = segue.status();
    assert_eq!((status.count("rollbacks"), status.generation()), (0, 2));
    assert_eq!(told(&segue, IN_VAIN), 0, "{}", segue.process().stderr());
    segue.stop();
}

#[test]
fn one_that_works_for_a_client_that_has_reset_its_connection_is_left_alone() {
    let segue = trusted(&SOON);
    segue.deploy("app", &Program::fixture("one-at-a-time after=30s"));
    reload_alone(&segue);
    let address = segue.status().listener("address").as_str().unwrap().to_owned();
    let mut gone = std::net::TcpStream::connect(address).unwrap();
    std::io::Write::write_all(&mut gone, &get_and_close("/ping")).unwrap();
    let at_once = nix::libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    nix::sys::socket::setsockopt(&gone, nix::sys::socket::sockopt::Linger, &at_once).unwrap();
    let client = ask(&segue);
    // It has been accepted when the other one alone waits.
    segue.wait_until("the first is accepted", |status| status.listener("queued") == 1);
    drop(gone);
    segue.process().wait_for_line(
        "as far as can be seen (it may be at work for a client that has reset its connection)",
    );
    let status = segue.status();
    assert_eq!((status.count("rollbacks"), status.generation()), (0, 2));
    // Its answer would take its time.
    drop(client);
    segue.stop();
}

#[test]
fn one_that_is_stopped_is_named_and_left_alone() {
    let segue = trusted(&SOON);
    reload_alone(&segue);
    let pid = segue.status().pids(2)[0];
    let signal = |signal| nix::sys::signal::kill(Pid::from_raw(pid), signal).unwrap();
    signal(Signal::SIGSTOP);
    let mut client = ask(&segue);
    let note = format!("{IN_VAIN}: pid {pid} is stopped or being debugged");
    segue.process().wait_for_line(&note);
    assert_eq!(segue.status().count("rollbacks"), 0);
    signal(Signal::SIGCONT);
    client.response().unwrap().ok().unwrap();
    segue.process().wait_for_line("are accepted again");
    segue.stop();
}

#[test]
fn the_watch_can_be_left_out() {
    let segue = trusted(&["--accept-timeout", "none"]);
    segue.deploy("app", &Program::fixture("polls-in-vain"));
    reload_alone(&segue);
    let client = ask(&segue);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(trouble(&segue.status()), None);
    drop(client);
    segue.stop();
}

#[test]
fn unix_listeners_are_watched_as_well() {
    let setup = Setup::new(Program::new("./app"))
        .listen("unix:app.sock")
        .flags(SOON);
    setup.deploy("app", &Program::fixture("good"));
    let segue = setup.trusted_at_once().start();
    segue.distrust();
    // A healthy one first, busy for longer than the time: each request has a connection.
    segue.reload_under_load();
    segue.deploy("app", &Program::fixture("polls-in-vain"));
    reload_alone(&segue);
    let mut client = ask(&segue);
    client.response().unwrap().ok().unwrap();
    assert_eq!(segue.status().count("rollbacks"), 1);
    segue.stop();
}

#[test]
fn a_python_server_that_binds_its_own_port_is_told_of_and_rolled_back() {
    if needs::or_skip("http.server", needs::program("python3")).is_none() {
        return;
    }
    let segue = trusted(&["--ready", "exec:5s", "--accept-timeout", "1s"]);
    segue.deploy(
        "app",
        &Program::new("python3").args(["-c", "import http.server as h; h.HTTPServer((\"127.0.0.1\", 0), h.SimpleHTTPRequestHandler).serve_forever()"]),
    );
    let done = segue.reload(&["--drained"]);
    let said = done.stdout + &done.stderr;
    assert!(
        said.contains("nobody is seen waiting on it; it listens on 127.0.0.1:"),
        "{said}"
    );
    let mut client = ask(&segue);
    client.response().unwrap().ok().unwrap();
    assert_eq!(segue.status().count("rollbacks"), 1);
    segue.stop();
}

#[test]
fn what_is_noted_of_a_listener_is_known_after_kill_9() {
    let mut segue = trusted(&[]);
    segue.deploy("app", &waiting_shell("", "accepts-elsewhere"));
    segue.reload_ok(&[]);
    assert!(trouble(&segue.status()).is_some());
    segue.kill();
    segue.resume();
    let noted = trouble(&segue.status()).unwrap();
    assert!(noted.starts_with("nobody is seen waiting on it"), "{noted}");
    segue.stop();
}

#[test]
fn an_app_that_binds_the_handed_address_itself_is_told_whose_it_is() {
    let segue = trusted(&["--stderr", "app.err"]);
    segue.deploy("app", &Program::fixture("binds-itself"));
    let done = segue.reload(&[]);
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    let hint = "; segue has this port; the app must take the socket at fd 3; generation 1 serves";
    assert!(done.stderr.contains(hint), "{}", done.stderr);
    if needs::or_skip("http.server", needs::program("python3")).is_some() {
        let address = segue.status().listener("address").as_str().unwrap().to_owned();
        let port = address.rsplit(':').next().unwrap().to_owned();
        let server = Program::new("python3").args(["-m", "http.server", "--bind", "127.0.0.1", &port]);
        segue.deploy("app", &server);
        let done = segue.reload(&[]);
        assert!(done.stderr.contains(hint), "{}", done.stderr);
    }
    segue.stop();
}

#[test]
fn an_instance_without_listeners_warns_once() {
    let setup = Setup::from_config().flags(["--config", "segue.toml"]);
    let command = Program::new("sleep").args(["1000"]).as_toml();
    let settings = format!("command = {command}\nready = \"exec:10ms\"\n");
    std::fs::write(setup.path("segue.toml"), settings).unwrap();
    let segue = setup.start();
    segue.reload_ok(&[]);
    assert_eq!(told(&segue, "no listener: the app is supervised"), 1);
    segue.stop();
}
