//! `kill -9` while a candidate starts that has a listener of its own which it does not give back: it runs as another user, and the
//! supervisor may not look into such processes (it lacks CAP_SYS_PTRACE). The app of before is adopted all the same.

use nix::sys::signal::Signal;
use segue_tests::figures::{say, scale};
use segue_tests::load::{Kind, Load};
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};
use segue_tests::strace::{self, Tracer};
use segue_tests::{free_port, needs, proc, wait_until};

use super::wait_for_death;

/// Takes from the supervisor what lets root look into the processes of others.
const BLINDED: [&str; 3] = ["setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace"];

/// A user of whom nothing is known.
const STRANGER: u32 = 65_534;

/// The app, which serves the first of the ports, and the file of its settings.
struct Scene {
    segue: Segue,
    app: Vec<i32>,
    ports: [u16; 2],
}

impl Scene {
    fn begin() -> Self {
        let setup = Setup::from_config()
            .flags(["--config", "segue.toml"])
            .opened_by(BLINDED);
        let ports = [free_port(), free_port()];
        write_settings(&setup.path("segue.toml"), &Program::fixture("good"), &ports[..1]);
        let segue = setup.start();
        let app = segue.status().pids(1);
        // A candidate that is never ready, as a stranger.
        let silent = Program::fixture("slow-start file=/nowhere/at/all");
        let user = format!("--reuid={STRANGER}");
        let group = format!("--regid={STRANGER}");
        let words = silent.words().iter().cloned();
        let candidate = Program::new("setpriv")
            .args([user, group, "--clear-groups".to_owned()])
            .args(words);
        write_settings(&segue.path("segue.toml"), &candidate, &ports);
        Self { segue, app, ports }
    }

    /// The app serves, supervised, and the next reload brings both listeners.
    fn goes_on(self, loads: Vec<Load>) {
        let Self { segue, app, ports } = self;
        assert_eq!(segue.status().pids(1), app, "{}", segue.process().stderr());
        write_settings(&segue.path("segue.toml"), &Program::fixture("good"), &ports);
        segue.reload_ok(&["--drained"]);
        for load in loads {
            load.stop().assert_nothing_lost();
        }
        assert_eq!(segue.status().0["listeners"].as_array().unwrap().len(), 2);
        segue.stop();
    }
}

fn write_settings(file: &std::path::Path, program: &Program, ports: &[u16]) {
    let addresses: Vec<_> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let settings = format!(
        "command = {}\nlisten = {addresses:?}\nstart-timeout = \"10m\"\ndrain-timeout = \"10m\"\n",
        program.as_toml()
    );
    std::fs::write(file, settings).unwrap();
}

fn can_be_tried(test: &str) -> bool {
    let able = needs::root().and_then(|()| needs::program("setpriv"));
    needs::or_skip(test, able).is_some()
}

/// Whether a process has become the stranger's.
fn is_strangers(pid: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| {
        let mut words = line.split_whitespace();
        words.next() == Some("Uid:") && words.next() == Some(&STRANGER.to_string())
    })
}

#[test]
fn a_candidate_that_keeps_its_own_listener_is_ended_and_the_app_adopted() {
    if !can_be_tried("a candidate that keeps its own listener") {
        return;
    }
    let mut scene = Scene::begin();
    let segue = &mut scene.segue;
    let loads = vec![Load::start(Kind::Fresh, &segue.target(), 1)];
    segue.signal(Signal::SIGHUP);
    let status = segue.wait_until("the candidate is there", |status| !status.pids(2).is_empty());
    let candidate = status.pids(2)[0];
    wait_until("it is the stranger's", || is_strangers(candidate));
    segue.kill();
    segue.start_again();
    let status = segue.wait_until("the reload has failed", |status| {
        status.last_outcome() == "failed"
    });
    let reason = status.last_reason();
    let listener = format!(
        "it was ended, for the listener 127.0.0.1:{}, which generation 2 alone has, was lost with the previous supervisor and cannot be \
         taken back: ",
        scene.ports[1]
    );
    assert!(reason.contains(&listener), "{reason}");
    wait_for_death(candidate);
    scene.goes_on(loads);
}

/// The same where it is known by its birth record, by a mark in the log, or by the state.
#[test]
fn so_is_one_that_had_just_been_forked() {
    let test = "a candidate that had just been forked";
    if !can_be_tried(test) || needs::or_skip(test, strace::available()).is_none() {
        return;
    }
    let mut ended = 0;
    for nth in (1..).step_by(scale(2, 1)) {
        let mut scene = Scene::begin();
        let segue = &mut scene.segue;
        let kill = format!("inject=pwrite64:signal=KILL:when={nth}");
        let words = ["-o", "/dev/null", "-e", "trace=pwrite64", "-e", &kill];
        let tracer = Tracer::attach(segue.process().pid(), words);
        segue.signal(Signal::SIGHUP);
        let supervisor = segue.process().pid();
        let is_dead = || proc::look(supervisor).is_none_or(|seen| seen.state == 'Z');
        // Once its candidate is started and all of it written down, nothing more is written.
        let candidate = segue.path("control.notify/2.0.0");
        wait_until("it was killed, or its candidate starts", || {
            let status = segue.run("status", &["--json"]).stdout;
            is_dead() || candidate.exists() && status.contains("\"candidate\"")
        });
        tracer.detach();
        if !is_dead() {
            segue.signal(Signal::SIGTERM);
            break;
        }
        segue.start_again();
        // Where the process had not been let go it is started now; where nothing was written down there is no candidate.
        let status = segue.wait_until("the reload goes on or is over", |status| {
            !status.pids(2).is_empty() || status.in_role("candidate").is_empty()
        });
        assert_eq!(status.pids(1), scene.app, "{}", segue.process().stderr());
        if status.last_outcome() == "failed" {
            assert!(
                status.last_reason().contains("it was ended, for the listener "),
                "{}",
                status.0
            );
            ended += 1;
            scene.goes_on(Vec::new());
        }
    }
    say(format_args!("{ended} candidates were ended"));
}
