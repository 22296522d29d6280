//! `kill -9` while a worker starts, which says READY=1 before the next supervisor is there: nobody hears it, and what is seen from
//! outside is as good.

use segue_tests::http;
use segue_tests::load::{Kind, Load};
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};
use segue_tests::{free_port, wait_until};

/// An app that is ready, and says so, once the file `go` is there.
fn setup(port: u16) -> Setup {
    Setup::new(Program::fixture("ready-unheard file=go"))
        .listen(format!("127.0.0.1:{port}"))
        .flags(["--start-timeout", "5m", "--workers", "2"])
}

fn wait_until_executed(segue: &Segue, generation: u64) -> Vec<i32> {
    let seen = |status: &segue_tests::segue::Status| status.pids(generation);
    let status = segue.wait_until("it starts", |status| {
        let is_app =
            |pid: &i32| std::fs::read(format!("/proc/{pid}/comm")).is_ok_and(|name| name == b"fixture\n");
        seen(status).len() == 2 && seen(status).iter().all(is_app)
    });
    seen(&status)
}

const SAID: &str = "it counts as ready, since messages sent while no supervisor ran are lost";

#[test]
fn at_a_first_start_a_worker_that_is_seen_to_serve_counts_as_ready() {
    let port = free_port();
    let mut segue = setup(port).flags(["--ready", "notify"]).spawn();
    let app = wait_until_executed(&segue, 1);
    segue.kill();
    std::fs::write(segue.path("go"), "").unwrap();
    let target = http::Target::Tcp(([127, 0, 0, 1], port).into());
    let answers = || {
        let mut client = target.connect().ok()?;
        client.ask(&http::get_and_close("/ping")).ok()
    };
    wait_until("it serves", || {
        answers().is_some_and(|answer| answer.status == 200)
    });
    let load = Load::start(Kind::Fresh, &target, 1);
    segue.resume();
    assert_eq!(segue.status().pids(1), app);
    segue.process().wait_for_line(SAID);
    load.stop().assert_nothing_lost();
    segue.reload_ok(&["--drained"]);
    segue.stop();
}

#[test]
fn a_candidate_that_is_seen_to_serve_takes_over() {
    let setup = setup(free_port());
    let go = setup.path("go");
    std::fs::write(&go, "").unwrap();
    let mut segue = setup.start();
    let load = Load::start(Kind::Fresh, &segue.target(), 1);
    std::fs::remove_file(&go).unwrap();
    assert_eq!(segue.run("reload", &["--no-wait"]).code, Some(0));
    let candidate = wait_until_executed(&segue, 2);
    segue.kill();
    std::fs::write(&go, "").unwrap();
    // Both answer from the same queue until then; the words are lost once the candidate does.
    load.wait_for_generation(2);
    segue.resume();
    let status = segue.wait_until("it takes over", |status| status.generation() == 2);
    assert_eq!(status.pids(2), candidate);
    load.stop().assert_nothing_lost();
    segue.stop();
}

/// A worker that only has the listeners is not believed: it is late, and its reload fails.
#[test]
fn one_that_has_its_listeners_and_does_not_wait_on_them_is_not_ready() {
    let setup = Setup::new(Program::new("./app")).flags(["--start-timeout", "15s"]);
    setup.deploy("app", &Program::fixture("good"));
    let mut segue = setup.start();
    segue.deploy("app", &Program::fixture("waits-in-vain"));
    assert_eq!(segue.run("reload", &["--no-wait"]).code, Some(0));
    segue.wait_until("it starts", |status| !status.pids(2).is_empty());
    segue.kill();
    segue.start_again();
    segue.process().wait_for_line("not ready");
    let status = segue.wait_until("it has failed", |status| status.state() == "serving");
    assert_eq!(status.generation(), 1);
    segue.stop();
}
