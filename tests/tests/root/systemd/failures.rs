//! What systemd does when the supervisor itself fails.

use segue_tests::machine::Machine;

use super::site::Site;

pub(crate) fn a_stuck_loop_is_killed_and_the_app_adopted(machine: &Machine) {
    let site = Site::new(machine, "stuck", "app --message x");
    site.drop_in(&site.unit, "[Service]\nWatchdogSec=2s\nTimeoutAbortSec=2s\n");
    site.systemctl_ok("start");
    let pid = site.main_pid();
    let app = site.status().pids(1);
    // A loop that goes round is heard, for longer than the watchdog waits.
    let heard = |stamp: &str| stamp.parse::<u64>().unwrap();
    let first = heard(&site.property("WatchdogTimestampMonotonic"));
    machine.wait_for_property(&site.unit, "WatchdogTimestampMonotonic", |last| {
        heard(last) > first + 5_000_000
    });
    assert_eq!(site.property("NRestarts"), "0", "{}", site.journal());

    machine.ok(&[
        "systemctl",
        "kill",
        "--kill-who=main",
        "--signal=STOP",
        &site.unit,
    ]);
    machine.wait_for_property(&site.unit, "NRestarts", |count| count == "1");
    site.wait_for_message("x");
    machine.wait_for_property(&site.unit, "SubState", |state| state == "running");
    assert_ne!(site.main_pid(), pid);
    assert_eq!(site.status().pids(1), app, "the app serves on");
    let journal = site.journal();
    assert!(journal.contains("Watchdog timeout"), "{journal}");
}
