//! `systemctl stop` and `systemctl kill`.

use segue_tests::http::post;
use segue_tests::machine::Machine;

use super::reload::{assert_nothing_lost, start_loads};
use super::site::Site;

pub(crate) fn finishes_what_is_in_flight(machine: &Machine) {
    let site = Site::new(machine, "busy", "app --message x");
    site.systemctl_ok("start");
    let mut client = site.target().connect().unwrap();
    // It is in the app until the test sends the rest, however slow the machine is.
    let request = post("/echo", b"to be continued");
    let (first, rest) = request.split_at(request.len() - 5);
    client.write(first).unwrap();
    site.wait_until("the app has the connection", |status| {
        status.0["generations"][0]["workers"][0]["connections"].as_u64() == Some(1)
    });
    let stop = machine.begin(&["systemctl", "stop", &site.socket, &site.unit]);
    machine.wait_for_property(&site.unit, "ActiveState", |state| state == "deactivating");
    client.write(rest).unwrap();
    let answer = client.response().unwrap();
    assert_eq!(answer.status, 200);
    let done = stop.finish();
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(site.property("ActiveState"), "inactive");
    assert_eq!(site.property("Result"), "success");
    assert!(site.target().connect().is_err());
    let journal = site.journal();
    assert!(
        !journal.contains("SIGKILL") && !journal.contains("did not end in time"),
        "{journal}"
    );
    // (But for a symlink, which systemd leaves of the RuntimeDirectory= of a dynamic user if a restart preserves it.)
    let places = ["/run/segue", "/run/private", "/tmp"];
    // That of the cleanup, which begins when the service has ended, goes with it.
    let find = [&["find"][..], &places, &["!", "-type", "l", "-path", "*busy*"]].concat();
    machine.wait_for_output(&find, str::is_empty);
}

pub(crate) fn by_systemctl_kill(machine: &Machine) {
    let site = Site::new(machine, "killed", "app --message old");
    site.systemctl_ok("start");
    let pid = site.main_pid();
    let loads = start_loads(&site);
    let kill = |signal: &str| machine.ok(&["systemctl", "kill", "--kill-who=main", signal, &site.unit]);
    // HUP to the supervisor is a reload.
    site.release("app --message new");
    kill("--signal=HUP");
    loads.iter().for_each(|(_, load)| load.wait_for_generation(2));
    site.wait_for_message("new");
    assert_eq!(site.main_pid(), pid);
    // TERM drains; then systemd starts it again, and nobody was refused.
    kill("--signal=TERM");
    machine.wait_for_property(&site.unit, "NRestarts", |count| count == "1");
    machine.wait_for_property(&site.unit, "SubState", |state| state == "running");
    loads.iter().for_each(|(_, load)| load.wait_for_more(20));
    assert_nothing_lost(machine, "systemctl kill with HUP and TERM", loads);
}
