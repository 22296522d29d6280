//! `kill -9` of the supervisor: the app serves on, and the supervisor that systemd starts adopts it.

use std::time::{Duration, Instant};

use segue_tests::figures::{say, scale};
use segue_tests::http::{get_and_close, post};
use segue_tests::machine::{Machine, PAUSE};
use segue_tests::needs;
use segue_tests::strace::{self, Tracer};

use super::reload::{assert_nothing_lost, start_loads};
use super::site::Site;

/// Sends a signal to one process. (Debian 13 without procps has no program for that, but every shell can.)
#[track_caller]
fn signal(machine: &Machine, signal: &str, pid: &str) {
    machine.ok(&["sh", "-c", &format!("kill -{signal} {pid}")]);
}

/// Kills the supervisor, and waits until its successor answers.
#[track_caller]
pub(super) fn kill(machine: &Machine, site: &Site<'_>) {
    let pid = site.main_pid();
    signal(machine, "KILL", &pid);
    wait_for_successor(machine, site, &pid);
}

/// Waits until the successor of the supervisor that was `pid` answers.
#[track_caller]
pub(super) fn wait_for_successor(machine: &Machine, site: &Site<'_>, pid: &str) {
    machine.wait_for_property(&site.unit, "MainPID", |now| now != pid && now != "0");
    let end = Instant::now() + segue_tests::patience();
    while site.segue("status", &[]).code == Some(3) {
        assert!(Instant::now() < end, "no successor answers\n{}", site.journal());
        std::thread::sleep(PAUSE);
    }
}

/// Whether a process is there, and is no zombie that systemd has yet to reap.
pub(super) fn lives(machine: &Machine, pid: i32) -> bool {
    let status = machine.run(&["cat", &format!("/proc/{pid}/status")]);
    status
        .stdout
        .lines()
        .any(|line| line.starts_with("State:") && !line.contains("zombie") && !line.contains("dead"))
}

/// Waits until a process has ended.
#[track_caller]
pub(super) fn wait_for_end(machine: &Machine, site: &Site<'_>, pid: i32) {
    let end = Instant::now() + segue_tests::patience();
    while lives(machine, pid) {
        assert!(Instant::now() < end, "pid {pid} lives on\n{}", site.journal());
        std::thread::sleep(PAUSE);
    }
}

/// The processes of the unit but its supervisor, as its cgroup has them.
fn processes(machine: &Machine, site: &Site<'_>) -> Vec<i32> {
    let group = site.property("ControlGroup");
    let listed = machine.run(&["systemd-cgls", "--no-pager", "-l", &group]);
    let main = site.main_pid();
    let pids = listed.stdout.lines().filter_map(|line| {
        let digits: String = line
            .chars()
            .skip_while(|c| !c.is_ascii_digit())
            .take_while(char::is_ascii_digit)
            .collect();
        digits.parse::<i32>().ok()
    });
    pids.filter(|pid| pid.to_string() != main).collect()
}

/// Waits for the retired ones; then the unit has its supervisor and the incumbent, and nobody else.
#[track_caller]
pub(super) fn assert_nobody_else_is_left(machine: &Machine, site: &Site<'_>) {
    site.wait_until("the old ones are gone", |status| {
        status.in_role("retired").is_empty()
    });
    let sorted = |mut pids: Vec<i32>| {
        pids.sort_unstable();
        pids
    };
    // One that has just died is in the cgroup until it has been reaped.
    let end = Instant::now() + segue_tests::patience();
    loop {
        let found = sorted(processes(machine, site));
        let expected = sorted(site.status().pids(site.status().generation()));
        if found == expected {
            return;
        }
        assert!(
            Instant::now() < end,
            "{found:?} are left instead of {expected:?}\n{}",
            site.journal()
        );
    }
}

pub(crate) fn at_rest(machine: &Machine) {
    let site = Site::new(machine, "rest", "app --message old");
    // However slow the machine is, a crash is none on probation, which would be rolled back.
    site.settings("probation = \"0s\"\n");
    site.systemctl_ok("start");
    let loads = start_loads(&site);
    site.release("app --message new");
    site.systemctl_ok("reload");
    let app = site.status().pids(2);
    kill(machine, &site);
    let status = site.status();
    assert_eq!(
        (status.generation(), status.pids(2)),
        (2, app),
        "{}",
        site.journal()
    );
    machine.wait_for_property(&site.unit, "SubState", |state| state == "running");
    // Its life goes on: a reload, and a crash restart of what was adopted.
    site.systemctl_ok("reload");
    assert_eq!(site.status().generation(), 3);
    kill(machine, &site);
    let app = site.status().pids(3);
    assert_nothing_lost(machine, "2 kill -9 of the supervisor, 2 reloads", loads);
    signal(machine, "KILL", &app[0].to_string());
    site.wait_until("it was started again", |status| {
        status.state() == "serving" && !status.pids(3).is_empty() && status.pids(3) != app
    });
    assert_eq!(site.status().count("restarts"), 1, "{}", site.journal());
}

pub(crate) fn in_every_stage_of_a_reload(machine: &Machine) {
    for (stage, settings, candidate) in [
        (
            "starting",
            "",
            "fixture slow-start file=/srv/starting/go message=new",
        ),
        ("soaking", "soak = \"2s\"\n", "app --message new"),
        (
            "probing",
            "probe = \"sleep 2\"\nprobe-timeout = \"5m\"\n",
            "app --message new",
        ),
    ] {
        let site = Site::new(machine, stage, "app --message old");
        // However slow the machine is, the candidate may wait for the test.
        site.settings(&format!("start-timeout = \"5m\"\n{settings}"));
        site.systemctl_ok("start");
        let loads = start_loads(&site);
        let first = site.status().pids(1);
        site.release(candidate);
        assert_eq!(site.segue("reload", &["--no-wait"]).code, Some(0));
        site.wait_until("the candidate is there", |status| !status.pids(2).is_empty());
        let second = site.status().pids(2);
        kill(machine, &site);
        let status = site.status();
        assert_eq!(status.pids(2), second, "{stage}: no second candidate");
        if status.generation() == 1 {
            assert_eq!(status.pids(1), first, "{stage}");
        }
        // It is ready only when somebody hears it: what nobody heard is played by itself.
        machine.write("/srv/starting/go", "");
        site.wait_until("it took over", |status| status.generation() == 2);
        site.wait_for_message("new");
        loads.iter().for_each(|(_, load)| load.wait_for_more(5));
        assert_nothing_lost(machine, &format!("kill -9 while {stage}"), loads);
    }
}

/// The candidate has said READY=1 while nobody supervised: systemd has kept what it said.
pub(crate) fn hears_what_was_said_meanwhile(machine: &Machine) {
    // A busy systemd takes the socket when it has room. Killed before that, the supervisor takes it along, and nobody hears.
    let tries = ["said", "said-2", "said-3", "said-4", "said-5"];
    assert!(
        tries.iter().any(|name| is_heard_by_the_successor(machine, name)),
        "what was said meanwhile was never heard"
    );
}

fn is_heard_by_the_successor(machine: &Machine, name: &str) -> bool {
    let site = Site::new(machine, name, "app --message old");
    site.drop_in(&site.unit, "[Service]\nRestartSec=3s\n");
    site.systemctl_ok("start");
    site.release("fixture slow-start after=1s message=new");
    assert_eq!(site.segue("reload", &["--no-wait"]).code, Some(0));
    site.wait_until("the candidate is there", |status| !status.pids(2).is_empty());
    kill(machine, &site);
    site.wait_until("the reload has ended", |status| {
        status.generation() == 2 || status.0["last_reload"].is_object()
    });
    if site.status().generation() == 2 {
        let journal = site.journal();
        assert!(!journal.contains("not ready"), "{journal}");
        return true;
    }
    // By identifier: a busy journald asks too late of which unit one was that has ended.
    let journal = machine.journal(&["-t", &format!("{name}.2")]);
    assert!(journal.contains("notify/2.0.0: Connection refused"), "{journal}");
    false
}

pub(crate) fn while_draining(machine: &Machine) {
    let site = Site::new(machine, "drain", "app --message old");
    // However slow the machine is, the request may be finished.
    site.settings("drain-timeout = \"10m\"\n");
    site.systemctl_ok("start");
    let mut client = site.target().connect().unwrap();
    // It is in the app until the test sends the rest, however slow the machine is.
    let request = post("/echo", b"to be continued");
    let (first, rest) = request.split_at(request.len() - 5);
    client.write(first).unwrap();
    site.wait_until("the app has the connection", |status| {
        status.0["generations"][0]["workers"][0]["connections"].as_u64() == Some(1)
    });
    site.systemctl_ok("reload");
    let old = site.status().pids(1);
    kill(machine, &site);
    assert_eq!(site.status().pids(1), old);
    client.write(rest).unwrap();
    assert_eq!(client.response().unwrap().status, 200);
    site.wait_until("it is gone", |status| status.in_role("retired").is_empty());
}

/// With `NonBlocking=yes` systemd makes everything non-blocking that it hands over: the listeners, and what it kept for the dead one.
pub(crate) fn with_non_blocking_sockets(machine: &Machine) {
    let site = Site::new(machine, "nonblock", "fixture good message=old");
    site.drop_in(&site.unit, "[Service]\nNonBlocking=yes\n");
    // However slow the machine is, the last candidate may wait for the test.
    site.settings("start-timeout = \"5m\"\n");
    site.systemctl_ok("start");
    let born = || {
        let answer = site.target().connect().unwrap().ask(&get_and_close("/birth"));
        let birth: serde_json::Value = serde_json::from_str(&answer.unwrap().text()).unwrap();
        birth["fds"]
            .as_array()
            .unwrap()
            .iter()
            .find(|fd| fd["fd"] == 3)
            .unwrap()["flags"]
            .clone()
    };
    // 04000 is O_NONBLOCK; the first one finds it set.
    let first = born();
    assert!(
        first.as_str().is_some_and(|flags| flags.contains("4002")),
        "{first}"
    );
    let loads = start_loads(&site);
    for generation in 2..4 {
        kill(machine, &site);
        site.systemctl_ok("reload");
        assert_eq!(site.status().generation(), generation, "{}", site.journal());
        assert_eq!(born(), first);
    }
    site.release("fixture slow-start file=/srv/nonblock/go message=new");
    assert_eq!(site.segue("reload", &["--no-wait"]).code, Some(0));
    site.wait_until("the candidate is there", |status| !status.pids(4).is_empty());
    kill(machine, &site);
    machine.write("/srv/nonblock/go", "");
    site.wait_until("it took over", |status| status.generation() == 4);
    site.wait_for_message("new");
    assert_nothing_lost(machine, "3 kill -9 with NonBlocking=yes", loads);
    assert_nobody_else_is_left(machine, &site);
}

/// systemd removes the private /tmp of a service whose main process has died; that of the app stays.
pub(crate) fn temporary_files_stay(machine: &Machine) {
    let site = Site::new(machine, "files", "app --message x");
    site.systemctl_ok("start");
    let app = site.status().pids(1)[0].to_string();
    let as_it = |command: &str| machine.ok(&["nsenter", "-t", &app, "-m", "sh", "-c", command]);
    as_it("echo before >/tmp/file; echo before >/var/tmp/file");
    kill(machine, &site);
    assert_eq!(as_it("cat /tmp/file /var/tmp/file"), "before\nbefore\n");
    as_it("echo after >/tmp/file");
    // The next generation has the same ones.
    site.systemctl_ok("reload");
    let next = site.status().pids(2)[0].to_string();
    let seen = machine.ok(&["nsenter", "-t", &next, "-m", "cat", "/tmp/file"]);
    assert_eq!(seen, "after\n");
    // And they go with the service, those of its helper units with these; systemd removes them when a unit has ended already.
    let find = ["find", "/tmp", "/var/tmp", "-path", "*segue@files*"];
    machine.wait_for_output(&find, |found| !found.is_empty());
    site.systemctl_ok("stop");
    machine.wait_for_output(&find, str::is_empty);
}

pub(crate) fn during_a_rollback(machine: &Machine) {
    // What the rollback starts is silent until the successor is there: an app that cannot say READY=1 would end.
    let site = Site::new(
        machine,
        "back",
        "fixture slow-start file=/srv/back/go message=old",
    );
    site.settings("probation = \"0s\"\nstart-timeout = \"5m\"\n");
    machine.write("/srv/back/go", "");
    site.systemctl_ok("start");
    assert_eq!(site.segue("reload", &["--settled"]).code, Some(0));
    machine.ok(&["rm", "/srv/back/go"]);
    // However slow the machine is, the next one dies on probation.
    site.settings("probation = \"1h\"\nstart-timeout = \"5m\"\n");
    site.release("fixture ready-then-dies once=serving control=/run/segue/back/control after=200ms");
    let _ = site.segue("reload", &["--no-wait"]);
    site.wait_until("it is rolled back", |status| {
        status.last_outcome() == "rolled-back"
    });
    kill(machine, &site);
    machine.write("/srv/back/go", "");
    site.wait_until("the last good serves", |status| status.state() == "serving");
    assert_eq!(
        (site.status().generation(), site.status().count("rollbacks")),
        (4, 1)
    );
    site.wait_for_message("old");
}

pub(crate) fn at_any_moment(machine: &Machine) {
    let trials: u64 = scale(3, 300);
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let site = Site::new(machine, "moment", "app --message x");
    site.systemctl_ok("start");
    let loads = start_loads(&site);
    for _ in 0..trials {
        let reload = machine.begin(&["segue", "reload", "--name", &site.name]);
        let moment = Instant::now() + Duration::from_micros(random.u64(0..30_000));
        while Instant::now() < moment {
            std::hint::spin_loop();
        }
        kill(machine, &site);
        let _ = reload.finish();
        site.wait_until("the reload is over", |status| {
            status.state() == "serving" && status.in_role("candidate").is_empty()
        });
        assert_eq!(site.status().pids(site.status().generation()).len(), 1);
    }
    say(format_args!(
        "systemd {}: {trials} kills at any moment, seed {seed}",
        machine.version()
    ));
    assert_nothing_lost(
        machine,
        &format!("{trials} kill -9 at any moment of a reload"),
        loads,
    );
    assert_nobody_else_is_left(machine, &site);
}

/// Right before each write of the state in a reload, and so right after whatever was done before it.
pub(crate) fn as_it_writes_its_state(machine: &Machine) {
    let Some(()) = needs::or_skip("killed as it writes its state", strace::available()) else {
        return;
    };
    let site = Site::new(machine, "write", "app --message x");
    site.systemctl_ok("start");
    let loads = start_loads(&site);
    let mut killed = 0;
    for nth in (1..).step_by(scale(8, 1)) {
        let pid = site.main_pid();
        let kill = format!("inject=pwrite64:signal=KILL:when={nth}");
        let words = ["-o", "/dev/null", "-e", "trace=pwrite64", "-e", &kill];
        let tracer = Tracer::attach(machine.pid_outside(&pid), words);
        let told = site.segue("reload", &[]);
        tracer.detach();
        // A process that answers now has not been killed: the signal comes before the call.
        let answers = site.segue("status", &["--json"]).stdout;
        let who =
            serde_json::from_str(&answers).map_or(None, |status: serde_json::Value| status["pid"].as_u64());
        if told.code == Some(0) && who == pid.parse().ok() {
            break;
        }
        wait_for_successor(machine, &site, &pid);
        killed += 1;
        site.wait_until("the reload is over", |status| {
            status.state() == "serving" && status.in_role("candidate").is_empty()
        });
        assert_eq!(site.status().pids(site.status().generation()).len(), 1);
    }
    let what = format!("{killed} kill -9 as the state was written");
    say(format_args!("systemd {}: {what}", machine.version()));
    assert!(killed > 0, "it was never killed");
    assert_nothing_lost(machine, &what, loads);
    assert_nobody_else_is_left(machine, &site);
}

pub(crate) fn a_stop_ends_everything(machine: &Machine) {
    let site = Site::new(machine, "ends", "fixture ignores-term");
    site.settings("stop-timeout = \"none\"\n");
    site.drop_in(&site.unit, "[Service]\nTimeoutStopSec=2s\n");
    let alive = |pid: i32| lives(machine, pid);
    for disturbed in [false, true] {
        site.systemctl_ok("start");
        let app = site.status().pids(site.status().generation())[0];
        if disturbed {
            kill(machine, &site);
            assert!(alive(app));
            // Not even able to hear SIGTERM.
            signal(machine, "STOP", &site.main_pid());
        }
        site.systemctl("stop");
        machine.wait_for_property(&site.unit, "ActiveState", |state| {
            state == "failed" || state == "inactive"
        });
        // The stop ran into its timeout; if that has ended the unit's own command, too, its cleanup comes a moment later.
        wait_for_end(machine, &site, app);
        machine.ok(&["systemctl", "reset-failed", &site.unit]);
    }
    // A restart begins anew.
    site.release("app --message x");
    site.settings("");
    site.drop_in(&site.unit, "[Service]\nTimeoutStopSec=10min\n");
    site.systemctl_ok("start");
    let app = site.status().pids(1)[0];
    site.systemctl_ok("restart");
    assert!(!alive(app));
    assert_eq!(site.status().generation(), 1);
}

/// A stop while systemd waits before it starts the next supervisor: none of the unit's own commands is run.
pub(crate) fn a_stop_between_two_supervisors_ends_everything(machine: &Machine) {
    let site = Site::new(machine, "between", "fixture ignores-term");
    site.settings("stop-timeout = \"1s\"\n");
    let alive = |pid: i32| lives(machine, pid);
    for waits in ["10min", "30s"] {
        site.drop_in(&site.unit, &format!("[Service]\nRestartSec={waits}\n"));
        site.systemctl_ok("start");
        let app = site.status().pids(1)[0];
        signal(machine, "KILL", &site.main_pid());
        machine.wait_for_property(&site.unit, "SubState", |state| state.contains("auto-restart"));
        assert!(alive(app));
        site.systemctl_ok("stop");
        wait_for_end(machine, &site, app);
        // What is started then has nobody before it.
        site.systemctl_ok("start");
        let status = site.status();
        assert_eq!(status.generation(), 1);
        assert_ne!(status.pids(1), [app]);
        site.systemctl_ok("stop");
    }
}

/// Makes each cleanup of a unit take until [`end_cleanups`] after its look, which otherwise takes milliseconds. Returns the instance
/// that the first failure of the unit starts.
fn slow_cleanups(machine: &Machine, site: &Site<'_>) -> String {
    let instances = [
        "segue-cleanup@segue@NAME.service",
        "segue-cleanup@segue@NAME.service.service",
    ]
    .map(|instance| instance.replace("NAME", &site.name));
    let wait = format!("until [ -e /run/end-{} ]; do sleep 0.05; done", site.name);
    for instance in &instances {
        site.drop_in(
            instance,
            &format!("[Service]\nExecStartPost=/bin/sh -c '{wait}'\n"),
        );
    }
    // Before 254 systemd starts none for a failure that a restart follows, and the other one at the restart.
    let [failure, success] = instances;
    if machine.version() < 254 { success } else { failure }
}

/// Lets the cleanups end, and each one after them.
fn end_cleanups(machine: &Machine, site: &Site<'_>) {
    machine.write(&format!("/run/end-{}", site.name), "");
}

/// A stop after the pause, while the start of the next supervisor is asked for and waits for the cleanup, which has looked already:
/// systemd has nothing to stop, and drops the start.
pub(crate) fn a_stop_before_a_start_that_waits_ends_everything(machine: &Machine) {
    let site = Site::new(machine, "waits", "fixture ignores-term");
    let cleanup = slow_cleanups(machine, &site);
    site.systemctl_ok("start");
    let app = site.status().pids(1)[0];
    signal(machine, "KILL", &site.main_pid());
    machine.wait_for_property(&cleanup, "SubState", |state| state == "start-post");
    let shown = ["systemctl", "show", "--property=ActiveState,Job", &site.unit];
    let has_job = |shown: &str| ('1'..='9').any(|digit| shown.contains(&format!("Job={digit}")));
    // The pause is over. (Since 254 the unit is `activating` meanwhile, and the stop is one.)
    machine.wait_for_output(&shown, |shown| {
        has_job(shown) && (machine.version() >= 254 || shown.contains("ActiveState=inactive"))
    });
    assert!(lives(machine, app), "{}", site.journal());
    // The socket as well, or a connection would start it again.
    machine.ok(&["systemctl", "stop", &site.socket, &site.unit]);
    end_cleanups(machine, &site);
    wait_for_end(machine, &site, app);
    assert_eq!(site.property("ActiveState"), "inactive");
}

/// A stop during the pause, while the cleanup that the crash has begun is still at work: whatever it has seen, somebody looks after the
/// stop. (Before 254 systemd begins none after a crash that is followed by a restart.)
pub(crate) fn a_stop_beside_a_cleanup_ends_everything(machine: &Machine) {
    let site = Site::new(machine, "beside", "fixture ignores-term");
    site.drop_in(&site.unit, "[Service]\nRestartSec=1h\n");
    let cleanup = slow_cleanups(machine, &site);
    site.systemctl_ok("start");
    let app = site.status().pids(1)[0];
    signal(machine, "KILL", &site.main_pid());
    machine.wait_for_property(&cleanup, "SubState", |state| state == "start-post");
    machine.wait_for_property(&site.unit, "SubState", |state| state.contains("auto-restart"));
    assert!(lives(machine, app));
    machine.ok(&["systemctl", "stop", &site.socket, &site.unit]);
    assert_eq!(site.property("ActiveState"), "inactive");
    end_cleanups(machine, &site);
    wait_for_end(machine, &site, app);
}
