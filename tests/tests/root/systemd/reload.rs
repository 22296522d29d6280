//! `systemctl reload`.

use segue_tests::figures::say;
use segue_tests::load::{Kind, Load};
use segue_tests::machine::Machine;

use super::site::{Site, copy};

/// The kinds of load that run across reloads and restarts here; all of them are tried without systemd elsewhere.
pub(crate) const KINDS: [Kind; 4] = [Kind::Fresh, Kind::KeepAlive, Kind::Slow, Kind::Post];

pub(crate) fn start_loads(site: &Site<'_>) -> Vec<(Kind, Load)> {
    KINDS
        .map(|kind| (kind, Load::start(kind, &site.target(), 1)))
        .into()
}

#[track_caller]
pub(crate) fn assert_nothing_lost(machine: &Machine, what: &str, loads: Vec<(Kind, Load)>) {
    for (kind, load) in loads {
        let tally = load.stop();
        say(format_args!(
            "systemd {}, {kind:?}, {what}: {}",
            machine.version(),
            tally.figures()
        ));
        tally.assert_nothing_lost();
    }
}

pub(crate) fn loses_nothing(machine: &Machine) {
    let site = Site::new(machine, "loaded", "app --message first");
    site.systemctl_ok("start");
    let pid = site.main_pid();
    let loads = start_loads(&site);
    for generation in 2..=6 {
        site.release(&format!("app --message number-{generation}"));
        site.systemctl_ok("reload");
        site.wait_for_property("ActiveState", "active");
        site.wait_for_message(&format!("number-{generation}"));
        for (_, load) in &loads {
            load.wait_for_generation(generation);
            load.wait_for_more(20);
        }
    }
    assert_nothing_lost(machine, "5 systemctl reloads", loads);
    assert_eq!(site.main_pid(), pid);
}

pub(crate) fn that_fails_harms_nobody(machine: &Machine) {
    let site = Site::new(machine, "broken", "app --message good");
    site.systemctl_ok("start");
    let (pid, worker) = (site.main_pid(), site.status().pids(1));
    let loads = start_loads(&site);
    site.release("fixture status-then-dies text=no-database status=9");
    let done = site.systemctl("reload");
    assert_eq!(done.code, Some(1), "{done:?}");
    site.wait_for_property("ActiveState", "active");
    site.wait_for_property("SubState", "running");
    let text = site.wait_for_status_text("reload failed: generation 2: exited with status 9");
    assert!(text.contains("no-database"), "{text}");
    let shown = site.systemctl("status").stdout;
    assert!(shown.contains(&text), "{text}\n{shown}");
    site.wait_for_line("reload failed: generation 2: exited with status 9");
    site.wait_for_message("good");
    assert_nothing_lost(machine, "a reload that fails", loads);
    assert_eq!((site.main_pid(), site.status().pids(1)), (pid, worker));

    // And the next one succeeds.
    site.release("app --message mended");
    site.systemctl_ok("reload");
    site.wait_for_message("mended");
}

pub(crate) fn asked_for_twice_at_once(machine: &Machine) {
    let site = Site::new(machine, "twice", "app --message old");
    site.systemctl_ok("start");
    let loads = start_loads(&site);
    site.release("fixture slow-start after=1s message=between");
    let first = machine.begin(&["systemctl", "reload", &site.unit]);
    // Or is over, on a slow machine.
    site.wait_until("the first handoff has begun", |status| {
        status.state() == "handing-off" || status.generation() == 2
    });
    site.release("app --message newest");
    let second = machine.begin(&["systemctl", "reload", &site.unit]);
    let third = machine.begin(&["segue", "reload", "--name", &site.name]);
    for asked in [first, second, third] {
        let done = asked.finish();
        assert_eq!(done.code, Some(0), "{done:?}\n{}", site.journal());
    }
    // Each client that asked after the newest release was in place got it.
    site.wait_for_message("newest");
    site.wait_for_property("ActiveState", "active");
    assert_nothing_lost(machine, "reloads asked for at once", loads);
}

pub(crate) fn by_deployers_of_a_group(machine: &Machine) {
    machine.ok(&["groupadd", "--force", "deployers"]);
    machine.ok(&["useradd", "--no-create-home", "--groups", "deployers", "deployer"]);
    // Into what systemd keeps for a dynamic user over a restart (/run/private) only root can go.
    machine.ok(&["useradd", "--system", "--user-group", "segue-shared"]);
    let site = Site::new(machine, "shared", "app --message old");
    site.drop_in(&site.unit, "[Service]\nGroup=deployers\nDynamicUser=no\n");
    site.settings("control-group = \"deployers\"\n");
    site.systemctl_ok("start");
    site.release("app --message new");
    let as_user = |user: &str| {
        let id = format!("--reuid={user}");
        machine.run(&[
            "setpriv",
            &id,
            "--init-groups",
            "--regid=nogroup",
            "segue",
            "reload",
            "--name",
            &site.name,
        ])
    };
    let refused = as_user("nobody");
    assert_eq!(refused.code, Some(3), "{refused:?}");
    let done = as_user("deployer");
    assert_eq!(done.code, Some(0), "{done:?}\n{}", site.journal());
    site.wait_for_message("new");
}

pub(crate) fn after_a_daemon_reload(machine: &Machine) {
    let site = Site::new(machine, "reread", "app --message old");
    site.systemctl_ok("start");
    let (pid, loads) = (site.main_pid(), start_loads(&site));
    machine.ok(&["systemctl", "daemon-reload"]);
    machine.ok(&["systemctl", "daemon-reexec"]);
    site.wait_for_property("ActiveState", "active");
    site.release("app --message new");
    site.systemctl_ok("reload");
    site.wait_for_message("new");
    assert_eq!(site.main_pid(), pid);
    assert_nothing_lost(machine, "daemon-reload and daemon-reexec", loads);
}

pub(crate) fn by_notify_reload(machine: &Machine) {
    let site = Site::new(machine, "notify", "app --message old");
    let place = format!("/etc/systemd/system/{}.d/notify-reload.conf", site.unit);
    copy(machine, "drop-ins/notify-reload.conf", &place);
    machine.ok(&["systemctl", "daemon-reload"]);
    site.systemctl_ok("start");
    let loads = start_loads(&site);
    site.release("fixture slow-start after=1s message=slow");
    site.systemctl_ok("reload");
    // It waited for the takeover.
    site.wait_for_message("slow");
    // A reload that somebody else asks for is seen, too, and ends.
    site.release("app --message by-segue");
    assert_eq!(site.segue("reload", &[]).code, Some(0));
    machine.wait_for_property(&site.unit, "SubState", |state| state == "running");
    // A failure cannot be told by this protocol; it must end all the same, and the text says it.
    site.release("fixture crash-at-start");
    site.systemctl_ok("reload");
    site.wait_for_property("ActiveState", "active");
    site.wait_for_status_text("reload failed: generation 4: exited with status 101");
    site.wait_for_message("by-segue");
    assert_nothing_lost(machine, "3 reloads by notify-reload", loads);
}
