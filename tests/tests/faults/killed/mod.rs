//! `kill -9` of the supervisor, without systemd: the app serves on, and the next `segue run` with the same name adopts it.
//!
//! What is asked for here of a successor is what systemd's file descriptor store makes easier (`tests/root/systemd/` has those
//! scenes): the listeners come back from the app itself, and what it says while nobody listens is lost.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

mod at_every_call;
mod steered;
mod unheard;
mod unseen;
mod while_forking;
mod while_stopping;
mod withdrawn;

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use segue_tests::figures::{say, scale};
use segue_tests::http::{self, Client, Target};
use segue_tests::load::{Kind, Load};
use segue_tests::proc;
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup, Status};
use segue_tests::{free_port, wait_until};

/// These loads run while `disturb` runs, and until their answers come from `generation` at last: nothing is lost.
#[track_caller]
fn under_loads(segue: &mut Segue, kinds: &[Kind], generation: u64, disturb: impl FnOnce(&mut Segue)) {
    let target = segue.target();
    let loads: Vec<_> = kinds.iter().map(|kind| Load::start(*kind, &target, 1)).collect();
    disturb(segue);
    for load in loads {
        load.wait_for_generation(generation);
        load.stop().assert_nothing_lost();
    }
}

fn kill_process(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

#[track_caller]
fn wait_for_death(pid: i32) {
    wait_until("it is dead", || {
        proc::look(pid).is_none_or(|seen| seen.state == 'Z')
    });
}

/// A request whose second half comes when the test wants it ([`send_the_rest`]); generation 1 has the first when this returns.
fn send_half(segue: &Segue) -> Client {
    let mut client = segue.target().connect().unwrap();
    let request = http::post("/echo", BODY);
    client.write(&request[..request.len() - BODY.len() / 2]).unwrap();
    segue.wait_until("it is in the app", |status| status.connections(1) == 1);
    client
}

const BODY: &[u8] = b"to be continued";

#[track_caller]
fn send_the_rest(mut client: Client) {
    client.write(&BODY[BODY.len() - BODY.len() / 2..]).unwrap();
    client.response().unwrap().ok_with(BODY).unwrap();
}

#[test]
fn the_app_serves_on_and_is_adopted() {
    let mut segue = Setup::new(Program::app()).start();
    segue.reload_ok(&["--drained"]);
    let before = segue.status();
    under_loads(&mut segue, &Kind::ALL, 3, |segue| {
        segue.kill();
        segue.resume();
        let after = segue.status();
        assert_eq!(after.generation(), 2, "numbers go on");
        assert_eq!(after.pids(2), before.pids(2), "the same process serves");
        assert_eq!(
            after.0["listeners"][0]["address"],
            before.0["listeners"][0]["address"]
        );
        assert_eq!(after.0["last_reload"], before.0["last_reload"]);
        let generation = |status: &segue_tests::segue::Status| status.0["generations"][0].clone();
        assert_eq!(generation(&after)["since"], generation(&before)["since"]);
        assert_eq!(generation(&after)["binary"], generation(&before)["binary"]);
        segue.reload_ok(&[]);
    });
    segue.stop();
}

/// A process group that is stopped and has nobody left who could continue it is ended by the kernel (SIGHUP, setpgid(2)): as one group
/// of its supervisor's session a worker would be, as a session of its own it is not.
#[test]
fn a_worker_that_is_stopped_when_its_supervisor_dies_is_adopted() {
    let mut segue = Setup::new(Program::app()).start();
    let app = segue.status().pids(1)[0];
    let state = || proc::look(app).map(|seen| seen.state);
    kill_process(app, Signal::SIGSTOP);
    wait_until("it is stopped", || state() == Some('T'));
    segue.kill();
    segue.resume();
    assert_eq!(state(), Some('T'), "nobody has woken or ended it");
    assert_eq!(segue.status().pids(1), [app]);
    kill_process(app, Signal::SIGCONT);
    under_loads(&mut segue, &[Kind::Fresh, Kind::KeepAlive], 2, |segue| {
        segue.reload_ok(&[]);
    });
    segue.stop();
}

/// What only the dead supervisor and a generation that is gone by now had open: a private listener for the probe, one that a reload
/// has removed and that is kept until probation is over, and one that it has added for a candidate which has died.
#[test]
fn a_listener_that_nobody_has_any_more_keeps_nobody_from_being_adopted() {
    let (first, second) = (free_port(), free_port());
    for (listen, next) in [
        (vec![first], vec![first]),
        (vec![first, second], vec![first]),
        (vec![first], vec![first, second]),
    ] {
        let setup = Setup::from_config().flags(["--config", "segue.toml"]);
        let settings = |ports: &[u16], more: &str| {
            let addresses: Vec<_> = ports.iter().map(u16::to_string).collect();
            let command = Program::app().as_toml();
            format!("command = {command}\nlisten = {addresses:?}\nprobe = \"true\"\n{more}")
        };
        let file = setup.path("segue.toml");
        std::fs::write(&file, settings(&listen, "probation = \"100ms\"\n")).unwrap();
        let mut segue = setup.start();
        segue.process().wait_for_line("passed probation");
        let client = send_half(&segue);
        let old = segue.status().pids(1)[0];
        std::fs::write(
            &file,
            settings(&next, "probation = \"10m\"\ndrain-timeout = \"10m\"\n"),
        )
        .unwrap();
        segue.reload_ok(&[]);
        let new = segue.status().pids(2);
        segue.kill();
        send_the_rest(client);
        wait_for_death(old);
        segue.resume();
        assert_eq!(segue.status().pids(2), new, "{}", segue.process().stderr());
        segue.reload_ok(&["--drained"]);
        let answer = segue
            .target()
            .connect()
            .unwrap()
            .ask(&http::get_and_close("/ping"));
        assert_eq!(answer.unwrap().status, 200);
        segue.stop();
    }
}

/// The process that has the port of a lost listener by now is named, and so is the app that waits to be adopted; when one of them is gone
/// the next start succeeds.
#[test]
fn the_owner_of_a_lost_port_is_named_and_so_is_the_app() {
    let (kept, lost) = (free_port(), free_port());
    let setup = Setup::from_config().flags(["--config", "segue.toml"]);
    let settings = |ports: &[u16], more: &str| {
        let addresses: Vec<_> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let command = Program::app().as_toml();
        format!("command = {command}\nlisten = {addresses:?}\n{more}")
    };
    let file = setup.path("segue.toml");
    std::fs::write(&file, settings(&[kept, lost], "probation = \"100ms\"\n")).unwrap();
    let mut segue = setup.start();
    segue.process().wait_for_line("passed probation");
    let old = segue.status().pids(1)[0];
    std::fs::write(&file, settings(&[kept], "probation = \"10m\"\n")).unwrap();
    segue.reload_ok(&["--drained"]);
    wait_for_death(old);
    let app = segue.status().pids(2)[0];
    segue.kill();
    let foreign = std::net::TcpListener::bind(("127.0.0.1", lost)).unwrap();
    segue.start_again();
    let refused = segue.process().finish();
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let expected = format!(
        "segue: the previous supervisor was killed and its app lives on (pid {app}), but it cannot be adopted: state: listen \
         127.0.0.1:{lost}: address already in use"
    );
    let said = refused.stderr.trim_end();
    assert!(said.starts_with(&expected) && said.lines().count() == 1, "{said}");
    let what_to_do = format!("; mend that, or stop the app (kill {app}), and start segue again");
    assert!(said.ends_with(&what_to_do), "{said}");
    drop(foreign);
    segue.resume();
    assert_eq!(segue.status().pids(2), [app]);
    segue.stop();
}

/// The socket of a worker that died together with the supervisor is bound again beside the others.
#[test]
fn one_of_several_sockets_that_died_with_its_worker_is_made_anew() {
    let mut segue = Setup::new(Program::app())
        .listen("127.0.0.1:0,sockets=3")
        .flags(["--workers", "3"])
        .start();
    let before = segue.status();
    segue.kill();
    let dies = before.pids(1)[1];
    kill_process(dies, Signal::SIGKILL);
    wait_for_death(dies);
    segue.resume();
    let after = segue.wait_until("the worker was started again", |status| {
        status.pids(1).len() == 3 && !status.pids(1).contains(&dies)
    });
    assert_eq!(
        after.0["listeners"][0]["address"],
        before.0["listeners"][0]["address"]
    );
    for _ in 0..30 {
        let answer = segue
            .target()
            .connect()
            .unwrap()
            .ask(&http::get_and_close("/ping"));
        assert_eq!(answer.unwrap().status, 200);
    }
    segue.reload_ok(&["--drained"]);
    segue.stop();
}

/// Starts an app that has left a process of this kind in its group, and kills its main process and the supervisor. Gives the pid of
/// what is left.
fn killed_with_its_supervisor(kind: &str, port: u16) -> (Segue, i32) {
    let setup = Setup::new(Program::new("./app"))
        .listen(format!("127.0.0.1:{port}"))
        .flags(["--drain-timeout", "2s"]);
    setup.deploy("app", &Program::fixture(&format!("leaks-grandchild kind={kind}")));
    let segue = setup.start();
    let main = segue.status().pids(1)[0];
    let left = proc::children(main)[0].pid;
    segue.kill();
    kill_process(main, Signal::SIGKILL);
    wait_for_death(main);
    (segue, left)
}

/// The listener is had back from what outlives the main process; the worker is started again on it (or a new generation is, if another
/// script lies there by now), and the rest of its group is ended, also if one more supervisor is killed meanwhile.
#[test]
fn what_outlives_a_main_process_gives_the_listener_back_and_is_ended() {
    for (kind, deploys, kills, generation) in [
        ("plain", 0, 0, 1),
        ("ignores-term", 1, 0, 2),
        ("ignores-term", 1, 1, 2),
    ] {
        let port = free_port();
        let (mut segue, left) = killed_with_its_supervisor(kind, port);
        for _ in 0..deploys {
            segue.deploy("app", &Program::fixture("good"));
        }
        // A client that comes now waits in the queue of the listener.
        let mut early = Target::Tcp(([127, 0, 0, 1], port).into()).connect().unwrap();
        early.write(&http::get_and_close("/ping")).unwrap();
        segue.resume();
        let answer = early.response().unwrap();
        assert_eq!((answer.status, segue.status().generation()), (200, generation));
        segue.process().wait_for_line(&format!(
            "the main process of generation 1, worker 0 has ended; the rest of its process group (pid {left}) is told to stop"
        ));
        for _ in 0..kills {
            segue.kill();
            segue.resume();
        }
        wait_for_death(left);
        segue.reload_ok(&["--drained"]);
        segue.stop();
    }
}

/// What is left has no listener, so that nothing keeps a new app from being started, from what lies there now.
#[test]
fn what_outlives_a_main_process_without_a_listener_is_ended() {
    let (mut segue, left) = killed_with_its_supervisor("without-sockets", free_port());
    segue.resume();
    segue.process().wait_for_line(&format!(
        "and the main process of its app has ended; pid {left} still drains, and is killed if that takes too long"
    ));
    wait_for_death(left);
    segue.stop();
}

/// No second app is started beside one that can be neither adopted nor stopped by anybody who does not know of it.
#[test]
fn without_its_state_an_app_that_lives_is_named() {
    let setup = Setup::new(Program::app())
        .listen("127.0.0.1:0")
        .flags(["--workers", "2"]);
    let mut segue = setup.start();
    let target = segue.target();
    let app = segue.status().pids(1);
    segue.kill();
    for name in ["control.state-a", "control.state-b"] {
        std::fs::write(segue.path(name), "").unwrap();
    }
    segue.start_again();
    let refused = segue.process().finish();
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let said = refused.stderr;
    for pid in &app {
        assert!(
            said.contains("is lost or damaged; stop the app (kill ") && said.contains(&pid.to_string()),
            "{said}"
        );
    }
    let answer = target.connect().unwrap().ask(&http::get_and_close("/ping"));
    assert_eq!(answer.unwrap().status, 200);
    for pid in app {
        kill_process(pid, Signal::SIGTERM);
        wait_for_death(pid);
    }
    segue.resume();
    segue.stop();
}

/// The supervisor was killed while it stopped an app that does not end: the next one ends it when the stop timeout has passed.
#[test]
fn what_a_stop_left_draining_is_ended_by_the_next_one() {
    let setup = Setup::new(Program::new("./app")).flags(["--drain-timeout", "10m", "--stop-timeout", "2s"]);
    setup.deploy("app", &Program::fixture("hangs-in-drain"));
    let mut segue = setup.start();
    let hangs = segue.status().pids(1)[0];
    let stop = segue.begin("stop", &[]);
    segue.process().wait_for_line("stop asked for");
    segue.wait_until("it drains", |status| status.state() == "stopping");
    segue.kill();
    let _ = stop.finish();
    segue.deploy("app", &Program::fixture("good"));
    segue.resume();
    segue.process().wait_for_line(&format!(
        "pid {hangs} of its app still drains, and is killed if that takes too long"
    ));
    segue.process().wait_for_line(&format!(
        "pid {hangs}, which an earlier supervisor left draining, has not ended: it is killed"
    ));
    wait_for_death(hangs);
    segue.stop();
}

/// A segue.toml that has been damaged meanwhile is no reason to leave the app alone.
#[test]
fn the_app_is_adopted_though_the_settings_cannot_be_read() {
    let setup = Setup::new(Program::app()).flags(["--name", "kept", "--config", "segue.toml"]);
    let file = setup.path("segue.toml");
    std::fs::write(&file, "workers = 1\n").unwrap();
    let mut segue = setup.start();
    let app = segue.status().pids(1);
    segue.kill();
    for damage in [Some("workers = \n"), None] {
        match damage {
            Some(text) => std::fs::write(&file, text).unwrap(),
            None => std::fs::remove_file(&file).unwrap(),
        }
        segue.resume();
        assert_eq!(segue.status().pids(1), app);
        segue
            .process()
            .wait_for_line("the adopted app keeps its old settings");
        let refused = segue.reload(&[]);
        assert!(
            refused.code == Some(1) && refused.stderr.contains("segue.toml"),
            "{refused:?}"
        );
        segue.kill();
    }
    // Mended, with another number: it is told, and counts from the next reload on.
    std::fs::write(&file, "workers = 2\n").unwrap();
    segue.resume();
    segue.process().wait_for_line(
        "settings changed since the app was started (workers): they take effect at the next reload",
    );
    segue.process().wait_for_line("listening on ");
    assert_eq!(segue.status().pids(1), app);
    segue.reload_ok(&[]);
    let status = segue.status();
    assert_eq!(status.pids(status.generation()).len(), 2);
    // Where nothing is to be adopted, damaged settings are refused as ever.
    segue.run("stop", &[]);
    let _ = segue.process().wait_for_exit();
    std::fs::write(&file, "workers = \n").unwrap();
    segue.start_again();
    assert_eq!(segue.process().wait_for_exit().code(), Some(2));
}

/// A successor that cannot begin takes nothing away from the next one, nor from the app.
#[test]
fn a_successor_that_cannot_begin_leaves_everything_as_it_was() {
    let setup = Setup::new(Program::app());
    let pid_file = setup.path("pid");
    let mut segue = setup.flags(["--pid-file".as_ref(), pid_file.as_os_str()]).start();
    let notify = segue.path("control.notify/1.0.0");
    let app = segue.status().pids(1);
    segue.kill();
    std::fs::remove_file(&pid_file).unwrap();
    std::fs::create_dir(&pid_file).unwrap();
    segue.start_again();
    let refused = segue.process().finish();
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let said = refused.stderr;
    assert!(said.contains("pid file"), "{said}");
    assert!(notify.exists(), "{}", notify.display());
    std::fs::remove_dir(&pid_file).unwrap();
    segue.resume();
    assert_eq!(segue.status().pids(1), app);
    segue.reload_ok(&["--drained"]);
    segue.stop();
}

#[test]
fn an_adopted_worker_that_crashes_is_started_again_from_its_birth_record() {
    let setup = Setup::new(Program::new("./app")).trusted_at_once();
    setup.deploy("app", &Program::fixture("good"));
    let mut segue = setup.start();
    segue.reload_ok(&["--settled"]);
    segue.distrust();
    segue.kill();
    segue.resume();
    let pid = segue.status().pids(2)[0];
    kill_process(pid, Signal::SIGKILL);
    let status = segue.wait_until("it was started again", |status| {
        status.state() == "serving" && status.pids(2).first().is_some_and(|now| *now != pid)
    });
    assert_eq!((status.generation(), status.count("restarts")), (2, 1));
    let log = segue.process().stderr();
    assert!(
        log.contains("unknown (adopted)") || log.contains("killed by SIGKILL"),
        "{log}"
    );
    // A rollback has its last good still.
    segue.deploy(
        "app",
        &Program::fixture("ready-then-dies once=serving after=50ms"),
    );
    let done = segue.reload(&["--settled"]);
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(done.stderr.contains("rolled back"), "{done:?}");
    segue.wait_until("the last good serves", |status| status.state() == "serving");
    segue.stop();
}

#[test]
fn one_that_crashed_while_nobody_supervised_is_started_again() {
    let mut segue = Setup::new(Program::app()).flags(["--workers", "2"]).start();
    let pids = segue.status().pids(1);
    segue.kill();
    kill_process(pids[0], Signal::SIGKILL);
    wait_for_death(pids[0]);
    segue.resume();
    let status = segue.wait_until("both serve", |status| {
        let now = status.pids(1);
        now.len() == 2 && now.contains(&pids[1]) && !now.contains(&pids[0])
    });
    assert_eq!(status.count("restarts"), 1);
    segue.stop();
}

/// Nobody has the listener any more, and so it is bound again. What still drains is served to its end.
#[test]
fn an_app_that_was_told_to_drain_meanwhile_does_not_keep_a_new_one_from_serving() {
    let mut segue = Setup::new(Program::app()).listen("unix:socket").start();
    let target = segue.target();
    let drains = segue.status().pids(1)[0];
    let client = send_half(&segue);
    segue.kill();
    kill_process(drains, Signal::SIGTERM);
    wait_until("it closes its listener", || target.connect().is_err());
    segue.resume();
    segue.process().wait_for_line(&format!(
        "its app has closed its listeners; pid {drains} still drains, and is killed if that takes too long"
    ));
    assert_ne!(segue.status().pids(1)[0], drains);
    let answer = target.connect().unwrap().ask(&http::get_and_close("/ping"));
    assert_eq!(answer.unwrap().status, 200);
    send_the_rest(client);
    wait_for_death(drains);
    segue.stop();
}

#[test]
fn a_retired_generation_goes_on_draining_with_the_time_that_is_left() {
    let mut segue = Setup::new(Program::app())
        .flags(["--drain-timeout", "5m"])
        .start();
    let client = send_half(&segue);
    segue.reload_ok(&[]);
    let old = segue.status().pids(1);
    segue.kill();
    segue.resume();
    let status = segue.status();
    assert_eq!((status.generation(), status.in_role("retired")), (2, vec![1]));
    assert_eq!(status.pids(1), old);
    send_the_rest(client);
    segue.wait_until("it is gone", |status| status.in_role("retired").is_empty());
    segue.stop();
}

#[test]
fn a_drain_that_overran_while_nobody_supervised_is_ended_at_once() {
    // On a slow machine the drain may be over before the supervisor can be killed; it has twice the time then.
    let timeouts = std::iter::successors(Some(Duration::from_secs(1)), |timeout| Some(*timeout * 2));
    let killed_in_time = timeouts.take(6).any(drain_overruns_while_nobody_supervises);
    assert!(killed_in_time, "the drain was always over before");
}

/// Whether it has come to that: the supervisor was killed before it ended the drain itself.
fn drain_overruns_while_nobody_supervises(timeout: Duration) -> bool {
    let seconds = format!("{}s", timeout.as_secs());
    let setup = Setup::new(Program::new("./app")).flags(["--drain-timeout", &seconds]);
    setup.deploy("app", &Program::fixture("hangs-in-drain"));
    let mut segue = setup.start();
    segue.deploy("app", &Program::fixture("good"));
    let retired = segue.status().pids(1)[0];
    segue.reload_ok(&[]);
    let retired_at = Instant::now();
    segue.kill();
    if proc::look(retired).is_none_or(|seen| seen.state == 'Z') {
        return false;
    }
    // Nothing tells that a deadline has passed while nobody keeps it.
    while retired_at.elapsed() < timeout * 2 {
        std::thread::sleep(segue_tests::LOOK);
    }
    assert!(proc::look(retired).is_some(), "nobody has killed it meanwhile");
    segue.resume();
    segue.wait_until("it is gone", |status| status.in_role("retired").is_empty());
    segue.process().wait_for_line("did not end in time: it is killed");
    segue.stop();
    true
}

/// The stages of a reload that can be held still: the flags, and the candidate. A soak ends by itself, and on a slow machine that may be
/// before the supervisor is killed; the other stages end when the file `go` is there.
#[test]
fn a_candidate_is_adopted_in_every_stage() {
    for (stage, flags, candidate) in [
        ("starting", &["--start-timeout", "60s"][..], "slow-start file=go"),
        (
            "probing",
            &["--probe", "test -e go", "--probe-timeout", "60s"][..],
            "good",
        ),
        ("soaking", &["--soak", "3s"][..], "good"),
    ] {
        let setup = Setup::new(Program::new("./app")).flags(flags);
        setup.deploy("app", &Program::fixture("good"));
        let go = setup.path("go");
        std::fs::write(&go, "").unwrap();
        let mut segue = setup.start();
        std::fs::remove_file(&go).unwrap();
        segue.deploy("app", &Program::fixture(candidate));
        let reload = segue.begin("reload", &[]);
        let first = segue.status().pids(1);
        let before = segue.wait_until("the candidate is there", |status| !status.pids(2).is_empty());
        under_loads(&mut segue, &Kind::HTTP1, 2, |segue| {
            segue.kill();
            let told = reload.finish();
            let in_time = told.code == Some(1);
            assert!(in_time || stage == "soaking", "{stage}: {told:?}");
            segue.start_again();
            // It is handing off all the while.
            let after = segue.wait_until("a successor answers", |status| status.generation() >= 1);
            if after.generation() == 1 {
                assert_eq!(after.pids(1), first, "{stage}");
            }
            assert_eq!(after.pids(2), before.pids(2), "{stage}: no second candidate");
            std::fs::write(&go, "").unwrap();
            segue.wait_until(stage, |status| status.generation() == 2);
        });
        segue.stop();
    }
}

#[test]
fn a_rollback_goes_on() {
    let setup = Setup::new(Program::new("./app"))
        .trusted_at_once()
        .flags(["--start-timeout", "5m"]);
    // What the rollback starts is silent until the successor is there: an app that cannot say READY=1 would end.
    setup.deploy("app", &Program::fixture("slow-start file=go"));
    let go = setup.path("go");
    std::fs::write(&go, "").unwrap();
    let mut segue = setup.start();
    segue.reload_ok(&["--settled"]);
    segue.distrust();
    std::fs::remove_file(&go).unwrap();
    segue.deploy(
        "app",
        &Program::fixture("ready-then-dies once=serving after=10ms"),
    );
    segue.run("reload", &["--no-wait"]);
    // Without systemd the listeners live in the app alone: somebody must have been started.
    let before = segue.wait_until("the last good starts", |status| !status.pids(4).is_empty());
    segue.kill();
    segue.start_again();
    segue.wait_until("a successor answers", |status| !status.pids(4).is_empty());
    std::fs::write(&go, "").unwrap();
    let after = segue.wait_until("the last good serves", |status| status.state() == "serving");
    assert_eq!((after.generation(), after.count("rollbacks")), (4, 1));
    assert_eq!(after.pids(4), before.pids(4));
    assert_eq!(after.last_outcome(), "rolled-back");
    segue.stop();
}

/// Each process that lives is known to the status, and the incumbent is there once. One that waits for a word of its dead supervisor
/// ends by itself.
#[track_caller]
fn assert_nobody_is_a_stranger(segue: &Segue, status: &Status, when: &str) {
    assert_eq!(status.pids(status.generation()).len(), 1, "{when}: {}", status.0);
    let roles = ["candidate", "incumbent", "lingering", "retired"].map(|role| status.in_role(role));
    let mut known: Vec<i32> = roles
        .iter()
        .flatten()
        .flat_map(|number| status.pids(*number))
        .collect();
    known.push(segue.process().pid());
    for stranger in segue.leftover_processes() {
        if known.contains(&stranger.pid) {
            continue;
        }
        let end = Instant::now() + segue_tests::patience();
        while proc::look(stranger.pid).is_some_and(|seen| seen.state != 'Z') {
            assert!(
                Instant::now() < end,
                "{when}: {stranger:?} is nobody's; log:\n{}",
                segue.process().stderr()
            );
            std::thread::sleep(segue_tests::LOOK);
        }
    }
}

/// Any worker, started by any supervisor, at any microsecond of a reload.
#[test]
fn killed_at_any_moment_of_a_reload_nothing_is_lost_and_nobody_is_left() {
    let trials: u64 = scale(12, 1_000);
    let seed = std::env::var("SEGUE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    say(format_args!("kill at any moment: SEGUE_SEED={seed}"));
    let mut random = fastrand::Rng::with_seed(seed);
    let mut segue = Setup::new(Program::app()).flags(["--probation", "200ms"]).start();
    let target = segue.target();
    let loads = Kind::ALL.map(|kind| Load::start(kind, &target, 1));
    let mut took = Duration::from_millis(8);
    for trial in 0..trials {
        if trial % 10 == 0 {
            let begun = Instant::now();
            segue.reload_ok(&[]);
            took = begun.elapsed();
        }
        let reload = segue.begin("reload", &[]);
        let moment = Instant::now() + took.mul_f64(1.3 * random.f64());
        while Instant::now() < moment {
            std::hint::spin_loop();
        }
        segue.kill();
        let _ = reload.finish();
        segue.resume();
        let status = segue.wait_until("the reload is over", |status| {
            status.in_role("candidate").is_empty()
        });
        assert_nobody_is_a_stranger(&segue, &status, &format!("in trial {trial}"));
    }
    for load in loads {
        load.stop().assert_nothing_lost();
    }
    segue.reload_ok(&["--drained"]);
    segue.stop();
}
