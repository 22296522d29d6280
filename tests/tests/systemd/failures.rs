//! What systemd does when the supervisor itself fails.

use segue_tests::http::get_and_close;
use segue_tests::machine::Machine;

use crate::site::Site;

pub(crate) fn a_stuck_loop_is_killed_and_started_again(machine: &Machine) {
    let site = Site::new(machine, "stuck", "app --message x");
    site.drop_in(&site.unit, "[Service]\nWatchdogSec=2s\nTimeoutAbortSec=2s\n");
    site.systemctl_ok("start");
    let pid = site.main_pid();
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
    assert!(site.ping().contains('x'));
    machine.wait_for_property(&site.unit, "SubState", |state| state == "running");
    assert_ne!(site.main_pid(), pid);
    let journal = site.journal();
    assert!(journal.contains("Watchdog timeout"), "{journal}");
}

pub(crate) fn a_killed_supervisor_is_started_again(machine: &Machine) {
    let site = Site::new(machine, "murdered", "app --message x");
    site.systemctl_ok("start");
    let app = site.status().pids(1)[0].to_string();
    machine.ok(&[
        "systemctl",
        "kill",
        "--kill-who=main",
        "--signal=KILL",
        &site.unit,
    ]);
    machine.wait_for_property(&site.unit, "NRestarts", |count| count == "1");
    // Who comes meanwhile waits.
    let mut client = site.target().connect().unwrap();
    assert_eq!(client.ask(&get_and_close("/ping")).unwrap().status, 200);
    machine.wait_for_property(&site.unit, "SubState", |state| state == "running");
    // The old app has not survived beside the new one.
    assert_ne!(
        machine.run(&["test", "-d", &format!("/proc/{app}")]).code,
        Some(0)
    );
    assert_eq!(site.status().generation(), 1);
}
