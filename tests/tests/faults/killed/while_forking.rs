//! `kill -9` while the workers of a generation are forked: some of them are known by a mark in the log alone, and they alone have
//! what was made for them: a listener that the reload has added, the private listener of the probe, at the first start everything.

use std::path::Path;

use nix::sys::signal::Signal;
use segue_tests::load::{Kind, Load};
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup, Status};
use segue_tests::{figures::scale, free_port, proc};

const WORKERS: usize = 12;

/// What is being started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    FirstStart,
    Reload,
    /// A reload that adds a listener.
    Addition,
}

/// An instance whose app becomes ready when the file `go` is there.
struct Scene {
    segue: Segue,
    generation: u64,
}

fn settings(ports: &[u16], program: &Program) -> String {
    let addresses: Vec<_> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    format!(
        "command = {}\nlisten = {addresses:?}\nworkers = {WORKERS}\nprobe = \"exit 0\"\n\
         start-timeout = \"5m\"\nprobation = \"10m\"\n",
        program.as_toml()
    )
}

impl Scene {
    /// Starts it; returns when worker 5 of what is started then is being forked.
    fn begin(stage: Stage, ports: [u16; 2]) -> Self {
        let setup = Setup::from_config().flags(["--config", "segue.toml"]);
        let app = Program::fixture("slow-start file=go");
        let file = setup.path("segue.toml");
        let go = setup.path("go");
        std::fs::write(&file, settings(&ports[..1], &app)).unwrap();
        let (segue, generation) = if stage == Stage::FirstStart {
            (setup.spawn(), 1)
        } else {
            std::fs::write(&go, "").unwrap();
            let segue = setup.start();
            std::fs::remove_file(&go).unwrap();
            if stage == Stage::Addition {
                std::fs::write(&file, settings(&ports, &app)).unwrap();
            }
            segue.signal(Signal::SIGHUP);
            (segue, 2)
        };
        let sixth = segue.path(&format!("control.notify/{generation}.5.0"));
        wait_without_pause(&sixth);
        Self { segue, generation }
    }

    /// Every worker of the generation serves, and nobody else lives.
    fn assert_complete(&self) -> Status {
        let segue = &self.segue;
        let status = segue.wait_until("all of it serves", |status| {
            status.state() == "serving"
                && status.generation() == self.generation
                && status.in_role("retired").is_empty()
        });
        let mut known = status.pids(self.generation);
        assert_eq!(known.len(), WORKERS, "{}", status.0);
        known.push(segue.process().pid());
        segue_tests::wait_until("nobody is a stranger", || {
            let living = segue.leftover_processes().into_iter();
            living
                .filter(|seen| seen.state != 'Z')
                .all(|seen| known.contains(&seen.pid))
        });
        status
    }
}

/// The next worker is forked within a millisecond.
fn wait_without_pause(path: &Path) {
    let end = std::time::Instant::now() + segue_tests::patience();
    while !path.exists() {
        assert!(std::time::Instant::now() < end, "{} is not made", path.display());
        std::thread::sleep(segue_tests::LOOK);
    }
}

#[test]
fn killed_while_it_forks_the_next_one_takes_all_listeners_back() {
    for stage in [Stage::FirstStart, Stage::Reload, Stage::Addition] {
        for _ in 0..scale(2, 50) {
            let ports = [free_port(), free_port()];
            let Scene {
                mut segue,
                generation,
            } = Scene::begin(stage, ports);
            let before = proc::children(segue.process().pid()).len();
            assert!(before > 0, "{stage:?}: killed too early");
            let go = segue.path("go");
            let target = segue_tests::http::Target::Tcp(([127, 0, 0, 1], ports[0]).into());
            let load = (stage != Stage::FirstStart).then(|| Load::start(Kind::Fresh, &target, 1));
            segue.kill();
            segue.start_again();
            segue.wait_until("a successor answers", |status| {
                status.pids(generation).len() == WORKERS
            });
            std::fs::write(&go, "").unwrap();
            let scene = Scene { segue, generation };
            let status = scene.assert_complete();
            let listeners = status.0["listeners"].as_array().unwrap().len();
            assert_eq!(
                listeners,
                if stage == Stage::Addition { 2 } else { 1 },
                "{stage:?}"
            );
            if let Some(load) = load {
                load.stop().assert_nothing_lost();
            }
            scene.segue.stop();
        }
    }
}

/// What a rollback starts has its private listener made in the very batch in which it is forked: no row tells of it.
#[test]
fn killed_while_it_forks_a_rollback_the_private_listener_is_had_back() {
    let ports = [free_port()];
    let setup = Setup::from_config().flags(["--config", "segue.toml"]);
    let file = setup.path("segue.toml");
    // What the rollback starts is silent until the successor is there: an app that cannot say READY=1 would end.
    let go = setup.path("go");
    let good = settings(&ports, &Program::fixture("slow-start file=go"));
    std::fs::write(&go, "").unwrap();
    std::fs::write(&file, good.replace("\"10m\"", "\"200ms\"")).unwrap();
    let mut segue = setup.start();
    segue.process().wait_for_line("passed probation");
    std::fs::remove_file(&go).unwrap();
    let bad = settings(
        &ports,
        &Program::fixture("ready-then-dies once=serving after=100ms"),
    );
    std::fs::write(&file, bad).unwrap();
    segue.signal(Signal::SIGHUP);
    wait_without_pause(&segue.path("control.notify/3.5.0"));
    segue.kill();
    segue.start_again();
    let status = segue.wait_until("a successor answers", |status| status.pids(3).len() == WORKERS);
    assert!(
        status.in_role("candidate") == [3] || status.generation() == 3,
        "{}",
        status.0
    );
    assert!(segue.path("control.notify/probe.3").exists());
    let log = segue.process().stderr();
    assert!(!log.contains("address already in use"), "{log}");
}
