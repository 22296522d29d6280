//! The moments that take more than a deploy and a reload.

use nix::sys::signal::Signal;
use segue_tests::process::Finished;

use crate::scene::Scene;

/// Somebody writes to the new binary as long as the reload lasts.
pub(super) fn while_written(scene: &Scene) -> Finished {
    scene.deploy();
    let path = scene.segue.path("app");
    let writer = std::fs::OpenOptions::new().append(true).open(path).unwrap();
    let done = scene.reload();
    drop(writer);
    done
}

/// The candidate is killed before it is ready.
pub(super) fn candidate_killed_while_starting(scene: &Scene) -> Finished {
    scene.deploy();
    let reload = scene.segue.begin("reload", &[]);
    scene.kill(2, Signal::SIGKILL);
    reload.finish()
}
