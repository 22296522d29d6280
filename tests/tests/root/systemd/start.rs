//! `systemctl start`.

use segue_tests::http::get_and_close;
use segue_tests::machine::Machine;

use super::site::{Site, copy};

pub(crate) fn returns_when_the_first_generation_is_ready(machine: &Machine) {
    let site = Site::new(machine, "slow", "fixture slow-start file=/srv/slow/go");
    let start = machine.begin(&["systemctl", "start", &site.unit]);
    // While the app is not ready, neither is the unit.
    machine.wait_for_property(&site.unit, "SubState", |state| state == "start");
    assert!(start.is_running());
    machine.write("/srv/slow/go", "");
    let done = start.finish();
    assert_eq!(done.code, Some(0), "{done:?}\n{}", site.journal());
    site.wait_for_property("ActiveState", "active");
    assert_eq!(site.status().generation(), 1);
    // Two sockets of the journal do not say which line was first, so that both are there is what can be asked.
    let journal = site.journal();
    let has = |text: &str| journal.lines().any(|line| line.contains(text));
    assert!(has("generation 1 serves") && has("Started "), "{journal}");
}

pub(crate) fn fails_with_the_first_generation(machine: &Machine) {
    let site = Site::new(machine, "stillborn", "fixture crash-at-start");
    let done = site.systemctl("start");
    assert_eq!(done.code, Some(1), "{done:?}");
    assert_ne!(site.property("ActiveState"), "active");
    let journal = site.journal();
    assert!(
        journal.contains("the first start failed: exited with status 101"),
        "{journal}"
    );
    // systemd goes on trying, without a limit, and clients wait meanwhile: mended, it serves, and nobody was refused.
    let mut waits = site.target().connect().unwrap();
    waits.write(&get_and_close("/ping")).unwrap();
    site.release("fixture good message=mended");
    assert!(waits.response().unwrap().text().contains("mended"));
}

pub(crate) fn takes_as_long_as_the_app_asks_for(machine: &Machine) {
    let site = Site::new(machine, "patient", "fixture extends-timeout after=14s");
    // However slow the machine is, the app has begun to ask by then.
    site.drop_in(&site.unit, "[Service]\nTimeoutStartSec=10s\nRestart=no\n");
    site.systemctl_ok("start");
    assert_eq!(site.status().generation(), 1);

    // Without a word a time beyond the limit is too long.
    let silent = Site::new(machine, "silent", "fixture slow-start after=30s");
    silent.drop_in(
        &silent.unit,
        "[Service]\nTimeoutStartSec=2s\nTimeoutStopSec=2s\nRestart=no\n",
    );
    assert_eq!(silent.systemctl("start").code, Some(1));
    assert_eq!(silent.property("Result"), "timeout");
}

pub(crate) fn on_a_port_below_1024(machine: &Machine) {
    let site = Site::on_port(machine, "low", 80, "fixture good message=low");
    site.systemctl_ok("start");
    site.wait_for_message("low");
    let user = machine.ok(&["stat", "--format=%u", &format!("/proc/{}", site.main_pid())]);
    assert_ne!(user, "0\n");
}

pub(crate) fn the_plain_example(machine: &Machine) {
    for unit in ["app.service", "app.socket"] {
        copy(
            machine,
            &format!("example/{unit}"),
            &format!("/etc/systemd/system/{unit}"),
        );
    }
    copy(machine, "example/app.toml", "/etc/segue/app.toml");
    machine.ok(&["mkdir", "-p", "/srv/app/releases/1"]);
    machine.ok(&["cp", "/usr/bin/app", "/srv/app/releases/1/app"]);
    machine.ok(&["ln", "-s", "releases/1", "/srv/app/current"]);
    machine.ok(&["systemctl", "daemon-reload"]);
    machine.ok(&["systemctl", "enable", "app.service"]);
    machine.ok(&["systemctl", "start", "app.service"]);
    // Its patience is long, for a slow machine is not a lost request.
    let poll = ["segue-poll", "--timeout", "30s", "--quiet", "--count", "3"];
    assert!(machine.ok(&poll).contains("3 requests, 0 down"));
    // The same file serves by hand, where the address of its own is used.
    machine.write("/etc/segue/app.env", "APP_MESSAGE=from the env file\n");
    machine.ok(&["systemctl", "reload", "app.service"]);
    // The version before may accept once more.
    let poll = ["segue-poll", "--timeout", "30s", "--count", "1"];
    machine.wait_for_output(&poll, |answer| answer.contains("from the env file"));
    machine.ok(&["systemctl", "stop", "app.socket", "app.service"]);
    machine.ok(&["systemctl", "disable", "app.service"]);
}
