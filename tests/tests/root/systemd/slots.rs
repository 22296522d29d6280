//! Slots that a socket unit has opened, by the drop-in that `docs/steering.md` shows: nobody who waits in one of them is forgotten.

use segue_tests::figures::say;
use segue_tests::ledger::{Ledger, Tally};
use segue_tests::load::parked::Parked;
use segue_tests::machine::Machine;
use segue_tests::segue::Status;

use super::site::Site;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/steering.md");

/// How many clients wait while nobody accepts them.
const QUEUE: usize = 50;

/// The drop-in of the page, for this port in place of the one that it shows.
fn drop_in(port: u16) -> String {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let blocks = page.split("```ini\n").skip(1);
    let mut blocks = blocks.filter_map(|rest| Some(rest.split_once("```")?.0));
    let shown = blocks.find(|block| block.contains("ReusePort=yes"));
    let shown = shown.expect("the page shows a drop-in for a socket unit");
    assert_eq!(shown.matches("ListenStream=8080").count(), 4, "{shown}");
    shown.replace("8080", &port.to_string())
}

fn settings(site: &Site<'_>, more: &str) {
    site.settings(&format!("listen = [\"web=:{},steer\"]\n{more}", site.port()));
}

/// A site under the drop-in. Nothing is started.
fn steered<'a>(machine: &'a Machine, name: &str, command: &str, more: &str) -> Site<'a> {
    let site = Site::new(machine, name, command);
    site.drop_in(&site.socket, &drop_in(site.port()));
    settings(&site, more);
    site
}

fn signal(machine: &Machine, name: &str, pids: &[i32]) {
    for pid in pids {
        // Of the shell: a small machine has no other.
        machine.ok(&["sh", "-c", &format!("kill -s {name} {pid}")]);
    }
}

/// What came of the clients. None may be lost.
#[track_caller]
fn all_answered(machine: &Machine, what: &str, ledger: &Ledger, clients: u64) -> Tally {
    let tally = ledger.tally();
    say(format_args!(
        "systemd {}, steered, {} clients {what}: {}",
        machine.version(),
        tally.sent,
        tally.figures()
    ));
    tally.assert_nothing_lost();
    assert_eq!(tally.answered, clients, "{}", tally.figures());
    tally
}

#[track_caller]
fn wait_for_the_end_of_relief(site: &Site<'_>) {
    let rests = |status: &Status| {
        let none = |role| status.in_role(role).is_empty();
        none("relief") && none("retired")
    };
    site.wait_until("relief workers have ended by themselves", rests);
}

/// systemd has the slots, and until a program says otherwise the kernel spreads clients over all of them.
pub(crate) fn clients_from_before_the_service_ran(machine: &Machine) {
    let site = steered(machine, "early", "fixture good", "");
    site.drop_in(
        &site.unit,
        "[Service]\nExecStartPre=/bin/sh -c 'until [ -e /srv/early/gate ]; do sleep 0.05; done'\n",
    );
    machine.ok(&["systemctl", "start", &site.socket]);
    let ledger = Ledger::default();
    let early = Parked::queued(&site.target(), &ledger, 200);
    site.wait_for_property("SubState", "start-pre");
    assert_eq!(site.main_pid(), "0", "it has not run one instruction");
    machine.write("/srv/early/gate", "");
    early.finish();
    let tally = all_answered(machine, "from before the service ran", &ledger, 200);
    assert!(
        tally.by_generation.len() > 1,
        "they came to one slot: {}",
        tally.figures()
    );
    site.wait_for_line(", a relief worker, is started to answer them");
    wait_for_the_end_of_relief(&site);
    assert_eq!(site.status().generation(), 1);
}

/// The relief worker is held at its start, so that it is seen.
pub(crate) fn clients_of_an_incumbent_that_hangs(machine: &Machine) {
    let held = "exec fixture slow-start file=/srv/hangs/go";
    let command = format!("sh -c 'case $SEGUE_GENERATION in 1|2) exec fixture good;; esac; {held}'");
    let site = steered(machine, "hangs", &command, "");
    site.systemctl_ok("start");
    let old = site.status().pids(1);
    signal(machine, "STOP", &old);
    let ledger = Ledger::default();
    let queued = Parked::queued(&site.target(), &ledger, QUEUE);
    site.systemctl_ok("reload");
    site.wait_until("a relief worker shows", |status| status.in_role("relief") == [3]);
    let shown = site.segue("status", &[]).stdout;
    assert!(shown.contains("relief"), "{shown}");
    assert_eq!(site.status().pids(3).len(), 1, "{shown}");
    machine.write("/srv/hangs/go", "");
    queued.finish();
    let tally = all_answered(machine, "of an incumbent that hangs", &ledger, QUEUE as u64);
    assert_eq!(
        tally.by_generation.keys().collect::<Vec<_>>(),
        ["3"],
        "{}",
        tally.figures()
    );
    signal(machine, "KILL", &old);
    wait_for_the_end_of_relief(&site);
    let status = site.status();
    assert_eq!((status.generation(), status.pids(3)), (2, Vec::new()));
}

/// The new version takes over, hangs with clients in its queue, and dies: clients are switched away from it.
pub(crate) fn clients_of_a_version_that_is_rolled_back(machine: &Machine) {
    let told = "linger = \"0s\"\n";
    let trusted = format!("{told}probation = \"100ms\"\n");
    let site = steered(machine, "bad", "fixture good message=good", &trusted);
    site.systemctl_ok("start");
    site.wait_until("the first is trusted", |status| {
        status.0["generations"][0]["probation"] == "passed"
    });
    settings(&site, &format!("{told}probation = \"1h\"\n"));
    site.release("fixture good message=bad");
    site.systemctl_ok("reload");
    let bad = site.status().pids(2);
    signal(machine, "STOP", &bad);
    let ledger = Ledger::default();
    let queued = Parked::queued(&site.target(), &ledger, QUEUE);
    signal(machine, "KILL", &bad);
    queued.finish();
    let tally = all_answered(machine, "of a version that is rolled back", &ledger, QUEUE as u64);
    assert!(!tally.by_generation.contains_key("2"), "{}", tally.figures());
    site.wait_until("it was rolled back", |status| status.count("rollbacks") == 1);
    site.wait_for_message("good");
    wait_for_the_end_of_relief(&site);
}

/// One socket of systemd's: it is another user's than our units run as, so that Segue cannot bind a second one beside it.
pub(crate) fn one_line_of_another_user_stays_shared(machine: &Machine) {
    let site = Site::new(machine, "single", "fixture good");
    site.settings(&format!("listen = [\"http=127.0.0.1:{},steer\"]\n", site.port()));
    site.systemctl_ok("start");
    site.wait_for_line(
        "cannot be steered, so all generations share one socket: user 0 has bound it and segue runs as",
    );
    site.systemctl_ok("reload");
    assert_eq!(site.status().generation(), 2);
    assert!(site.status().listener("slot").is_null(), "{}", site.status().0);
}

/// The same with a service of root's: the socket becomes a slot, and Segue binds the others.
pub(crate) fn one_line_of_our_own_user_is_steered(machine: &Machine) {
    let site = Site::new(machine, "joined", "fixture good");
    site.drop_in(
        &site.unit,
        "[Service]\nDynamicUser=no\nUser=root\nPrivateUsers=no\n",
    );
    site.settings(&format!(
        "listen = [\"http=127.0.0.1:{},steer\"]\nlinger = \"0s\"\n",
        site.port()
    ));
    site.systemctl_ok("start");
    let loads = super::reload::start_loads(&site);
    for generation in 2..=4 {
        site.systemctl_ok("reload");
        assert_eq!(site.status().generation(), generation);
        loads
            .iter()
            .for_each(|(_, load)| load.wait_for_generation(generation));
    }
    let slots = |status: &Status| {
        let listeners = status.0["listeners"].as_array().cloned().unwrap_or_default();
        listeners.iter().filter(|one| one["slot"].is_u64()).count()
    };
    assert_eq!(slots(&site.status()), 4, "{}", site.journal());
    // systemd has the first slot still, and keeps the others in its store.
    let pid = site.main_pid();
    machine.ok(&[
        "systemctl",
        "kill",
        "--kill-who=main",
        "--signal=KILL",
        &site.unit,
    ]);
    super::killed::wait_for_successor(machine, &site, &pid);
    site.systemctl_ok("reload");
    assert_eq!(slots(&site.status()), 4, "{}", site.journal());
    // Of a restart as well: systemd's socket shares its address by then.
    site.systemctl_ok("restart");
    assert_eq!(slots(&site.status()), 4, "{}", site.journal());
    super::reload::assert_nothing_lost(machine, "reloads, kill -9 and a restart, one socket given", loads);
}
