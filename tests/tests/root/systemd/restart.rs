//! `systemctl restart`.

use segue_tests::figures::say;
use segue_tests::load::{Kind, Load};
use segue_tests::machine::Machine;

use super::reload::{assert_nothing_lost, start_loads};
use super::site::Site;

/// More than systemd's own limit of starts in ten seconds allows.
const RESTARTS: usize = 7;

pub(crate) fn refuses_nobody(machine: &Machine) {
    let site = Site::new(machine, "restarted", "app --message x");
    site.systemctl_ok("start");
    let loads = start_loads(&site);
    let mut pid = site.main_pid();
    for _ in 0..RESTARTS {
        site.systemctl_ok("restart");
        let now = site.main_pid();
        assert_ne!(now, pid);
        pid = now;
        for (_, load) in &loads {
            load.wait_for_more(10);
        }
    }
    assert_nothing_lost(machine, &format!("{RESTARTS} systemctl restarts"), loads);
}

/// The control. Nobody listens for long enough that a load on a slow machine notices.
pub(crate) fn without_a_socket_unit_loses(machine: &Machine) {
    machine.write(
        "/etc/systemd/system/bare.service",
        "[Unit]\nStartLimitIntervalSec=0\n[Service]\nType=notify\nExecStartPre=/bin/sleep 0.3\nExecStart=/usr/bin/app --bind 127.0.0.1:1999\n",
    );
    machine.ok(&["systemctl", "daemon-reload"]);
    machine.ok(&["systemctl", "start", "bare"]);
    let target = segue_tests::http::Target::parse("127.0.0.1:1999");
    let load = Load::start(Kind::Fresh, &target, 2);
    for _ in 0..RESTARTS {
        machine.ok(&["systemctl", "restart", "bare"]);
        load.wait_for_more(10);
    }
    let tally = load.stop();
    say(format_args!(
        "systemd {}, control: Fresh, {RESTARTS} restarts without a socket unit: {}",
        machine.version(),
        tally.figures()
    ));
    tally.assert_detector_fired();
    machine.ok(&["systemctl", "stop", "bare"]);
}
