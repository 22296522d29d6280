//! `segue upgrade`: for systemd it is the same main process, whatever it executes.

use segue_tests::binaries::Binary;
use segue_tests::machine::Machine;

use super::reload::{assert_nothing_lost, start_loads};
use super::site::Site;

/// Puts a segue in place as a package manager does it: another file, renamed over the old one.
fn install_anew(machine: &Machine) {
    machine.install(&Binary::Segue.path(), "/usr/bin/segue.new");
    machine.ok(&["mv", "-T", "/usr/bin/segue.new", "/usr/bin/segue"]);
}

pub(crate) fn is_no_restart(machine: &Machine) {
    let site = Site::new(machine, "upgraded", "app --message first");
    site.systemctl_ok("start");
    let (pid, worker) = (site.main_pid(), site.status().pids(1));
    let loads = start_loads(&site);
    for generation in 2..=4 {
        install_anew(machine);
        let done = site.segue("upgrade", &[]);
        let said = format!(", pid {pid}, generation {} serves", generation - 1);
        assert!(
            done.code == Some(0) && done.stdout.trim_end().ends_with(&said),
            "{done:?}\n{}",
            site.journal()
        );
        if generation == 2 {
            assert_eq!(site.status().pids(1), worker);
        }
        // It still hears from us, and we from it.
        site.release(&format!("app --message number-{generation}"));
        site.systemctl_ok("reload");
        site.wait_for_status_text(&format!("generation {generation}"));
        for (_, load) in &loads {
            load.wait_for_generation(generation);
        }
    }
    assert_nothing_lost(machine, "3 upgrades and reloads", loads);
    site.wait_for_property("ActiveState", "active");
    assert_eq!(
        [site.main_pid(), site.property("NRestarts")],
        [pid, "0".to_owned()]
    );
    site.systemctl_ok("stop");
    assert_eq!(site.property("Result"), "success");
}
