//! `segue init --unit`: a service that knew nothing of Segue is reloaded by it.

use segue_tests::machine::Machine;

use super::killed::kill;
use super::reload::{assert_nothing_lost, start_loads};
use super::site::Site;

/// With a user, and a variable that only systemd can expand.
const SERVICE: &str = "[Service]\nUser=games\nEnvironment=\"GREETING=good day\"\n\
    ExecStart=/usr/bin/app --message ${GREETING}\nRestart=always\nTimeoutStopSec=20\n";

/// What `segue init` writes is all that it takes, also for an adoption after kill -9; without it the unit is what it was.
pub(crate) fn a_service_goes_below_segue_and_back(machine: &Machine) {
    let site = Site::without_segue(machine, "ramped", SERVICE);
    machine.ok(&["systemctl", "start", &site.socket]);
    site.systemctl_ok("start");
    site.wait_for_message("good day");

    machine.ok(&["segue", "init", "--unit", &site.unit, "--write"]);
    site.systemctl_ok("stop");
    machine.ok(&["systemctl", "daemon-reload"]);
    site.systemctl_ok("restart");
    site.wait_for_message("good day");
    let config = ["--config", "/etc/segue/ramped.toml", "--", "app"];
    let checked = machine.run(&[&["segue", "check", "--unit", site.unit.as_str()], &config[..]].concat());
    let only_note = "segue: note: no listener is given: segue serves only sockets inherited by LISTEN_FDS\n";
    assert_eq!((checked.code, checked.stderr.as_str()), (Some(0), only_note));

    let loads = start_loads(&site);
    site.systemctl_ok("reload");
    assert_eq!(site.status().generation(), 2);
    kill(machine, &site);
    assert_eq!(site.status().generation(), 2, "{}", site.journal());
    site.systemctl_ok("reload");
    assert_eq!(site.status().generation(), 3);
    for (_, load) in &loads {
        load.wait_for_more(10);
    }
    assert_nothing_lost(
        machine,
        "two reloads and a kill -9 of a service taken below segue",
        loads,
    );

    site.systemctl_ok("stop");
    machine.ok(&[
        "systemctl",
        "stop",
        "segue-cleanup@ramped.*",
        "segue-recheck@ramped.*",
    ]);
    machine.ok(&["sh", "-c", "rm /etc/systemd/system/ramped.*.d/segue.conf"]);
    machine.ok(&["systemctl", "daemon-reload"]);
    site.systemctl_ok("restart");
    site.wait_for_message("good day");
    let app = machine.run(&["cat", &format!("/proc/{}/comm", site.main_pid())]);
    assert_eq!(app.stdout, "app\n", "{}", site.journal());
}
