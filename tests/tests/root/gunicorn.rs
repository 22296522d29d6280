//! The case that Segue began with: Gunicorn, unmodified, with three gevent workers serves a Django view whose value is
//! edited in the source between reloads, and a polling client looks on. Beside it, Gunicorn's own SIGHUP. The example's
//! `gunicorn.conf.py` is in force in both: without it, a worker that is told to stop as it starts may never hear of it.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use segue_tests::binaries::Binary;
use segue_tests::http::{Target, get_and_close};
use segue_tests::needs;
use segue_tests::process::{Finished, Process};
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};
use segue_tests::wait_until;

/// The example, beside this package.
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/django");

/// How many times the source is edited.
fn edits() -> usize {
    if segue_tests::long_run() { 20 } else { 5 }
}

/// Gunicorn as `tests/setup.sh` has installed it.
fn gunicorn() -> Option<PathBuf> {
    needs::or_skip("gunicorn", needs::tool("gunicorn", "gunicorn/bin/gunicorn"))
}

/// The site with this value, in a directory of its own; an edit replaces the file by renaming, as editors and deploys do.
fn write_site(directory: &Path) {
    std::fs::create_dir_all(directory.join("demo")).unwrap();
    for file in [
        "gunicorn.conf.py",
        "demo/__init__.py",
        "demo/settings.py",
        "demo/urls.py",
        "demo/views.py",
        "demo/wsgi.py",
    ] {
        std::fs::copy(format!("{EXAMPLE}/{file}"), directory.join(file)).unwrap();
    }
}

fn edit(directory: &Path, file: &str, text: &str) {
    let path = directory.join("demo").join(file);
    let beside = path.with_extension("new");
    std::fs::write(&beside, text)
        .and_then(|()| std::fs::rename(&beside, &path))
        .unwrap();
}

fn set_message(directory: &Path, message: &str) {
    let source = std::fs::read_to_string(format!("{EXAMPLE}/demo/views.py")).unwrap();
    edit(
        directory,
        "views.py",
        &source.replace("\"test\"", &format!("\"{message}\"")),
    );
}

fn arguments() -> [&'static str; 5] {
    // Without kept connections: what Gunicorn's gevent worker does with idle ones at SIGTERM is its own matter.
    [
        "--workers=3",
        "--worker-class=gevent",
        "--keep-alive=0",
        "--log-level=warning",
        "demo.wsgi",
    ]
}

/// How the source reaches the running site.
#[derive(Clone, Copy)]
enum Deploy {
    /// The file is edited below the version that serves.
    InPlace,
    /// Each edit is a directory of its own, to which `current` is then pointed.
    Releases,
}

impl Deploy {
    /// The first version. Returns what `segue` needs to know of it.
    fn first(self, site: &Path) -> &'static [&'static str] {
        match self {
            Self::InPlace => {
                write_site(site);
                &[]
            }
            Self::Releases => {
                write_site(&site.join("release-0"));
                point_current_to(site, "release-0");
                &["--chdir", "current"]
            }
        }
    }

    fn edit(self, site: &Path, number: usize) {
        let message = format!("edit {number}");
        match self {
            Self::InPlace => set_message(site, &message),
            Self::Releases => {
                let release = format!("release-{number}");
                write_site(&site.join(&release));
                set_message(&site.join(&release), &message);
                point_current_to(site, &release);
            }
        }
    }
}

fn point_current_to(site: &Path, release: &str) {
    let beside = site.join("current.new");
    std::os::unix::fs::symlink(release, &beside)
        .and_then(|()| std::fs::rename(&beside, site.join("current")))
        .unwrap();
}

fn supervised(gunicorn: &Path, mode: &str, deploy: Deploy) -> Segue {
    let setup = Setup::new(Program::new(gunicorn).args(arguments()));
    let place = deploy.first(&setup.path("."));
    let probe = format!(
        "{} --unix --timeout 30s --count 1",
        Binary::SeguePoll.path().display()
    );
    setup
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .flags(place.iter().copied())
        .flags([
            "--mode",
            mode,
            "--probe",
            &probe,
            "--probe-timeout",
            "60s",
            "--start-timeout",
            "60s",
            "--probation",
            "0s",
        ])
        .start()
}

/// The polling client. Its patience is long, for a slow machine is not a lost request.
fn poll(target: &Target) -> Process {
    let Target::Tcp(address) = target else {
        panic!("{target:?} is no TCP address")
    };
    // The harness waits for lines of the error output.
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", "exec \"$@\" >&2", "sh"])
        .arg(Binary::SeguePoll.path())
        .args(["--timeout", "30s", "--interval", "100ms"])
        .arg(format!("http://{address}/ping"));
    Process::start(&mut command)
}

fn end(poll: &Process) -> Finished {
    poll.signal(Signal::SIGINT);
    poll.finish()
}

fn lines(done: &Finished, start: &str) -> usize {
    done.stderr.lines().filter(|line| line.starts_with(start)).count()
}

/// The last answer of the record, which was given when every older generation was gone.
fn message_of_last(done: &Finished) -> String {
    let last = done.stderr.lines().rfind(|line| line.starts_with("UP"));
    last.unwrap_or_default().to_owned()
}

fn message_of(target: &Target) -> String {
    let asked = target
        .connect()
        .and_then(|mut client| client.ask(&get_and_close("/ping")));
    asked.map(|response| response.text()).unwrap_or_default()
}

/// Edit the source and reload, again and again, while the polling client looks on. Returns its record.
fn edit_and_reload(segue: &Segue, deploy: Deploy) -> Finished {
    let poll = poll(&segue.target());
    poll.wait_for_line("UP: response was");
    for number in 1..=edits() {
        deploy.edit(&segue.path("."), number);
        segue.reload_ok(&[]);
        poll.wait_for_line(&format!("\"edit {number}\""));
    }
    segue.reload_ok(&["--drained"]);
    let mark = poll.mark();
    poll.wait_for_line_after(mark, "UP: response was");
    let done = end(&poll);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(lines(&done, "DOWN"), 0, "{}", done.stderr);
    let last = format!("\"edit {}\"", edits());
    assert!(message_of_last(&done).contains(&last), "{}", done.stderr);
    done
}

fn print_figures(how: &str, done: &Finished) {
    let summary = done.stderr.lines().find(|line| line.contains("longest gap"));
    println!(
        "figures: Gunicorn under Segue, {how}, {} edits: {} UP AND CHANGED, {} DOWN; {}",
        edits(),
        lines(done, "UP AND CHANGED"),
        lines(done, "DOWN"),
        summary.unwrap_or_default()
    );
}

#[test]
fn a_value_edited_in_the_source_is_served_and_nothing_is_down() {
    let Some(gunicorn) = gunicorn() else { return };
    for deploy in [Deploy::InPlace, Deploy::Releases] {
        let segue = supervised(&gunicorn, "overlap", deploy);
        let done = edit_and_reload(&segue, deploy);
        match deploy {
            Deploy::InPlace => print_figures("edited in place", &done),
            Deploy::Releases => print_figures("releases", &done),
        }
        // More than one change an edit: a gevent worker of Gunicorn notices the stop signal at its next tick, once a
        // second, and accepts until then. See docs/gunicorn.md.
        assert!(lines(&done, "UP AND CHANGED") >= edits(), "{}", done.stderr);
        segue.stop();
    }
}

#[test]
fn in_queue_mode_each_release_is_one_change_and_nothing_is_down() {
    let Some(gunicorn) = gunicorn() else { return };
    // Not in place: a worker that has not been asked yet imports the view at its first request, edited or not.
    let segue = supervised(&gunicorn, "queue", Deploy::Releases);
    let done = edit_and_reload(&segue, Deploy::Releases);
    print_figures("releases, --mode queue", &done);
    // The old version is gone before the new one starts; clients wait in the backlog meanwhile.
    assert_eq!(lines(&done, "UP AND CHANGED"), edits(), "{}", done.stderr);
    segue.stop();
}

#[test]
fn code_that_cannot_be_imported_is_refused_and_the_incumbent_loses_nothing() {
    let Some(gunicorn) = gunicorn() else { return };
    let segue = supervised(&gunicorn, "overlap", Deploy::InPlace);
    let poll = poll(&segue.target());
    poll.wait_for_line("UP: response was");
    // Gunicorn itself loads this at its start, and gives up.
    let good = std::fs::read_to_string(segue.path("demo/wsgi.py")).unwrap();
    edit(&segue.path("."), "wsgi.py", "import nothing_of_that_name\n");
    let done = segue.reload(&[]);
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(done.stderr.contains("reload failed: generation 2: "), "{done:?}");
    println!(
        "figures: an import that fails at the start: {}",
        done.stderr.trim()
    );
    edit(&segue.path("."), "wsgi.py", &good);
    assert!(message_of(&segue.target()).contains("\"test\""));
    let record = end(&poll);
    assert_eq!(
        (record.code, lines(&record, "UP AND CHANGED")),
        (Some(0), 0),
        "{}",
        record.stderr
    );
    segue.stop();
}

#[test]
fn broken_code_that_is_imported_lazily_is_refused_by_the_probe() {
    let Some(gunicorn) = gunicorn() else { return };
    let setup = Setup::new(Program::new(&gunicorn).args(arguments()));
    write_site(&setup.path("."));
    let probe = format!(
        "{} --unix --timeout 30s --count 1",
        Binary::SeguePoll.path().display()
    );
    let segue = setup
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .flags([
            "--probe",
            &probe,
            "--start-timeout",
            "60s",
            "--probe-timeout",
            "15s",
            "--probation",
            "0s",
        ])
        .start();
    let poll = poll(&segue.target());
    poll.wait_for_line("UP: response was");
    // Django imports the URLs at the first request: Gunicorn says READY=1 all the same.
    edit(&segue.path("."), "urls.py", "import nothing_of_that_name\n");
    let done = segue.reload(&[]);
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(
        done.stderr.contains("the probe did not pass within 15s"),
        "{done:?}"
    );
    println!(
        "figures: an import that fails at the first request: {}",
        done.stderr.trim()
    );
    assert_eq!(segue.status().generation(), 1);
    let record = end(&poll);
    // While the candidate is probed it answers real connections too, with its error: that is said in the docs.
    println!(
        "figures: meanwhile {} of {} answers came from it",
        lines(&record, "DOWN"),
        record.stderr.lines().count()
    );
    segue.stop();
}

/// On a steered listener the probe comes through the port that clients use: it meets the broken version, and they do not.
#[test]
fn on_a_steered_listener_no_client_meets_broken_code() {
    if !segue_tests::long_run() {
        return println!("skipped: one of the long run (SEGUE_LONG=1)");
    }
    let Some(gunicorn) = gunicorn() else { return };
    let setup = Setup::new(Program::new(&gunicorn).args(arguments())).listen("127.0.0.1:0,steer");
    // Not in place: a worker that has not been asked yet imports the URLs at its first request, edited or not.
    let place = Deploy::Releases.first(&setup.path("."));
    let probe = format!(
        "{} --source --timeout 30s http://localhost/ping",
        Binary::SeguePoll.path().display()
    );
    let segue = setup
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .flags(place.iter().copied())
        .flags([
            "--probe",
            &probe,
            "--probe-timeout",
            "120s",
            "--start-timeout",
            "120s",
        ])
        .start();
    let poll = poll(&segue.target());
    poll.wait_for_line("UP: response was");
    let broken = segue.path("broken");
    write_site(&broken);
    edit(&broken, "urls.py", "import nothing_of_that_name\n");
    point_current_to(&segue.path("."), "broken");
    let mark = segue.process().mark();
    let reload = segue.begin("reload", &[]);
    for _ in 0..3 {
        // The probe says so.
        segue.process().wait_for_line_after(mark, "ModuleNotFoundError");
        let mark = poll.mark();
        poll.wait_for_line_after(mark, "UP: response was");
    }
    let candidate = segue.status().pids(2);
    candidate
        .iter()
        .for_each(|pid| nix::sys::signal::kill(nix::unistd::Pid::from_raw(*pid), Signal::SIGKILL).unwrap());
    assert_eq!(reload.wait_for_exit().code(), Some(1));
    Deploy::Releases.edit(&segue.path("."), 1);
    segue.reload_ok(&[]);
    poll.wait_for_line("\"edit 1\"");
    let record = end(&poll);
    println!(
        "figures: steered: {} of {} answers came from a version whose URLs could not be imported",
        lines(&record, "DOWN"),
        record.stderr.lines().count()
    );
    assert_eq!(
        (record.code, lines(&record, "DOWN")),
        (Some(0), 0),
        "{}",
        record.stderr
    );
    segue.stop();
}

/// Below a shell that waits, LISTEN_PID is not Gunicorn's pid: it binds a port of its own and says READY=1 for that.
#[test]
fn below_a_wrapper_it_is_noticed_and_rolled_back() {
    let Some(gunicorn) = gunicorn() else { return };
    let setup = Setup::new(Program::new("./app")).flags(["--accept-timeout", "2s", "--start-timeout", "60s"]);
    write_site(&setup.path("."));
    let command = format!(
        "{} --bind 127.0.0.1:0 {}",
        gunicorn.display(),
        arguments().join(" ")
    );
    let deploy = |app: &Path, script: &str| {
        let beside = app.with_extension("new");
        segue_tests::executable::write(&beside, format!("#!/bin/sh\n{script}\n").as_bytes());
        std::fs::rename(&beside, app).unwrap();
    };
    // Two directories, so that a rollback has its script still.
    for (release, script) in [
        ("good", format!("exec {command}")),
        ("bad", format!("{command} & trap 'kill $!' TERM; wait; wait")),
    ] {
        std::fs::create_dir(setup.path(release)).unwrap();
        deploy(&setup.path(release).join("app"), &script);
    }
    std::os::unix::fs::symlink("good/app", setup.path("app")).unwrap();
    let segue = setup
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .trusted_at_once()
        .start();
    segue.distrust();
    let beside = segue.path("app.new");
    std::os::unix::fs::symlink("bad/app", &beside)
        .and_then(|()| std::fs::rename(&beside, segue.path("app")))
        .unwrap();
    let done = segue.reload(&[]);
    let said = done.stdout + &done.stderr;
    assert!(
        said.contains("nobody is seen waiting on it; it listens on 127.0.0.1:")
            && said.contains("READY=1 came from pid "),
        "{said}"
    );
    // The old one answers until it has heard of its end; who comes later waits, and is answered after the rollback.
    let until = Instant::now() + segue_tests::patience();
    while segue.status().last_outcome() != "rolled-back" {
        assert!(Instant::now() < until, "{}", segue.process().stderr());
        let message = message_of(&segue.target());
        assert!(
            message.contains("\"test\""),
            "{message}\n{}",
            segue.process().stderr()
        );
    }
    segue.stop();
}

/// The comparison, recorded and not judged but for what is certain: broken code takes Gunicorn down at its own SIGHUP.
#[test]
fn gunicorn_alone_serves_both_versions_in_turns_and_broken_code_takes_it_down() {
    let Some(gunicorn) = gunicorn() else { return };
    let directory = segue_tests::segue::directory();
    write_site(directory.path());
    let (server, target) = alone(&gunicorn, directory.path());
    let poll = poll(&target);
    poll.wait_for_line("UP: response was");
    for number in 1..=edits() {
        set_message(directory.path(), &format!("edit {number}"));
        server.signal(Signal::SIGHUP);
        poll.wait_for_line(&format!("\"edit {number}\""));
    }
    let record = end(&poll);
    println!(
        "figures: Gunicorn's own SIGHUP, {} reloads: {} UP AND CHANGED, {} DOWN",
        edits(),
        lines(&record, "UP AND CHANGED"),
        lines(&record, "DOWN")
    );
    edit(directory.path(), "wsgi.py", "import nothing_of_that_name\n");
    server.signal(Signal::SIGHUP);
    let exit = server.wait_for_exit();
    println!("figures: Gunicorn's own SIGHUP with an import that fails: it ends ({exit}), and nobody serves");
    // Its workers notice that their master has gone at their next tick.
    wait_until("nobody serves", || target.connect().is_err());
}

/// Gunicorn without a supervisor, at its first answer.
fn alone(gunicorn: &Path, site: &Path) -> (Process, Target) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = Command::new(gunicorn);
    command
        .args(["--bind", &port.to_string()])
        .args(arguments())
        .args(["--graceful-timeout", &GRACEFUL_TIMEOUT.as_secs().to_string()])
        .current_dir(site)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let server = Process::start(&mut command);
    let target = Target::Tcp(port);
    wait_until("it answers", || !message_of(&target).is_empty());
    (server, target)
}

/// After this time Gunicorn kills the workers that have not ended by themselves; its default.
const GRACEFUL_TIMEOUT: Duration = Duration::from_secs(30);

/// Why the example has a `gunicorn.conf.py`. The first worker answers while the others start, and those that the stop
/// signal reaches before they listen for it do not hear of it. That is chance, so without the file it is only counted.
#[test]
fn a_stop_reaches_workers_that_are_starting() {
    let Some(gunicorn) = gunicorn() else { return };
    let trials = segue_tests::figures::scale(3, 40);
    let directory = segue_tests::segue::directory();
    write_site(directory.path());
    let unheard = stops_that_took_all_the_time(&gunicorn, directory.path(), trials);
    std::fs::remove_file(directory.path().join("gunicorn.conf.py")).unwrap();
    let without = stops_that_took_all_the_time(&gunicorn, directory.path(), trials);
    println!(
        "figures: Gunicorn told to stop at its first answer kills a worker that did not hear it: {unheard} of {trials} times with \
         the example's gunicorn.conf.py, {without} of {trials} times without"
    );
    assert_eq!(unheard, 0);
}

fn stops_that_took_all_the_time(gunicorn: &Path, site: &Path, trials: usize) -> usize {
    let unheard = |_: &usize| {
        let (server, _) = alone(gunicorn, site);
        let asked = Instant::now();
        server.signal(Signal::SIGTERM);
        server.wait_for_exit();
        asked.elapsed() >= GRACEFUL_TIMEOUT
    };
    (0..trials).filter(unheard).count()
}

/// Gunicorn takes no socket if it is not the process in LISTEN_PID: it would bind 127.0.0.1:8000 and say READY=1 for that.
#[test]
fn below_a_wrapper_that_forks_the_shim_gives_it_its_sockets() {
    let Some(gunicorn) = gunicorn() else { return };
    let wrapper = Program::new("sh").args(["-c", "trap 'kill $!; wait $!' TERM; \"$@\" & wait $!", "sh"]);
    let shim = wrapper
        .args([Binary::Segue.path().as_os_str()])
        .args(["exec", "--"]);
    let setup = Setup::new(shim.args([&gunicorn]).args(["--log-level=warning", "demo.wsgi"]));
    write_site(&setup.path("."));
    let segue = setup.env("PYTHONDONTWRITEBYTECODE", "1").start();
    for _ in 0..2 {
        assert!(message_of(&segue.target()).contains("\"test\""));
        segue.reload_ok(&["--drained"]);
    }
    segue.stop();
}
