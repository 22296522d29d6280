//! What systemd does when the supervisor itself fails, and what the supervisor does when its surroundings fail.

use segue_tests::machine::Machine;

use super::reload::{assert_nothing_lost, start_loads};
use super::site::Site;

pub(crate) fn a_stuck_loop_is_killed_and_the_app_adopted(machine: &Machine) {
    let site = Site::new(machine, "stuck", "app --message x");
    site.drop_in(&site.unit, "[Service]\nWatchdogSec=10s\nTimeoutAbortSec=2s\n");
    site.systemctl_ok("start");
    let pid = site.main_pid();
    let app = site.status().pids(1);
    // A loop that goes round is heard, for longer than the watchdog waits.
    let heard = |stamp: &str| stamp.parse::<u64>().unwrap();
    let first = heard(&site.property("WatchdogTimestampMonotonic"));
    machine.wait_for_property(&site.unit, "WatchdogTimestampMonotonic", |last| {
        heard(last) > first + 11_000_000
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

/// Somebody tidies up /run: commands reach the supervisor no more, and that is told; the app serves on, and a restart loses nobody.
pub(crate) fn a_removed_runtime_directory_harms_nobody(machine: &Machine) {
    let site = Site::new(machine, "tidied", "app --message old");
    site.systemctl_ok("start");
    let pid = site.main_pid();
    let loads = start_loads(&site);
    machine.ok(&["sh", "-c", "rm -r \"$(readlink -f /run/segue/tidied)\""]);
    site.release("app --message new");
    let refused = site.systemctl("reload");
    assert_eq!(refused.code, Some(1), "{refused:?}");
    machine.ok(&["systemctl", "kill", "--kill-who=main", "--signal=HUP", &site.unit]);
    site.wait_for_line("somebody has removed it, and no command reaches this segue any more");
    site.wait_for_line("reload failed: generation 2: ");
    site.wait_for_message("old");
    assert_eq!(
        (site.main_pid(), site.property("ActiveState")),
        (pid, "active".to_owned())
    );
    site.systemctl_ok("restart");
    site.wait_for_message("new");
    site.systemctl_ok("reload");
    assert_eq!(site.status().generation(), 2);
    assert_nothing_lost(machine, "its runtime directory was removed, and a restart", loads);
}

/// A write beyond `LimitFSIZE=` is one that fails, and no signal that ends the supervisor.
pub(crate) fn a_file_size_limit_ends_nobody(machine: &Machine) {
    const LOG: &str = "/run/limited.log";
    // Its own lines go elsewhere: to it the limit is a signal that ends it.
    let site = Site::new(machine, "limited", "app --message old >/dev/null 2>&1");
    machine.write(LOG, &"full\n".repeat(2000));
    site.drop_in(
        &site.unit,
        &format!("[Service]\nLimitFSIZE=8K\nStandardOutput=append:{LOG}\nStandardError=append:{LOG}\n"),
    );
    site.systemctl_ok("start");
    let pid = site.main_pid();
    let loads = start_loads(&site);
    site.release("app --message new >/dev/null 2>&1");
    for generation in 2..=4 {
        site.systemctl_ok("reload");
        assert_eq!(site.status().generation(), generation);
    }
    site.wait_for_message("new");
    assert_nothing_lost(machine, "3 reloads with a log that may not grow", loads);
    assert_eq!(
        (site.main_pid(), site.property("NRestarts")),
        (pid, "0".to_owned())
    );
    // As logrotate does it.
    machine.truncate(LOG);
    site.systemctl_ok("reload");
    machine.wait_for_output(&["cat", LOG], |log| log.contains(" not written: stderr: "));
}
