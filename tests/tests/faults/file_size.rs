//! A file size limit (`ulimit -f`): a write beyond it is a failure as on a full disk, and no signal that ends the supervisor.

use segue_tests::program::Program;
use segue_tests::segue::Setup;

/// 4 KiB for each file, of the log and of the state alike.
const LIMITED: &str = "ulimit -f 8; exec \"$@\" 2>>log";

#[test]
fn a_log_that_may_not_grow_any_more_ends_nobody() {
    let setup = Setup::new(Program::fixture("closes-stdout")).opened_by(["sh", "-c", LIMITED, "sh"]);
    let log = setup.path("log");
    let said = || std::fs::read_to_string(&log).unwrap();
    let segue = setup.start();
    let full = || said().len() >= 4096;
    for _ in 0..50 {
        segue.reload_ok(&["--drained"]);
        if full() {
            break;
        }
    }
    assert!(full(), "the limit was not reached: {}", said());
    let before = segue.status().generation();
    segue.reload_ok(&["--drained"]);
    assert_eq!(segue.status().generation(), before + 1);
    // As logrotate does it.
    std::fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(&log)
        .unwrap();
    segue.reload_ok(&["--drained"]);
    assert!(said().contains(" not written: stderr: "), "{}", said());
    segue.stop();
}
