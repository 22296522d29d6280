//! Instances of several users, as root sees them.

use std::path::Path;

use segue_tests::machine::Machine;

use super::site::Site;

/// What writes metrics for node_exporter, beside this package.
const TEXTFILE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../examples/monitoring/segue-textfile"
);

/// Root asks somebody else's instance with that user's rights: a link in the place of a socket leads root nowhere.
pub(crate) fn root_asks_others_as_their_owner(machine: &Machine) {
    let site = Site::new(machine, "rooted", "app --message x");
    site.systemctl_ok("start");
    let theirs = machine.begin(&[
        "setpriv",
        "--reuid=games",
        "--regid=games",
        "--clear-groups",
        "segue",
        "run",
        "--name",
        "theirs",
        "--listen",
        "127.0.0.1:1998",
        "--",
        "app",
    ]);
    theirs.wait_for_line("generation 1 serves");
    let own = machine.ok(&["sh", "-c", "echo /tmp/segue-*/theirs/control"]);
    let home = own.trim_end().trim_end_matches("/theirs/control");
    let link = format!("{home}/trap/control");
    let script =
        format!("mkdir {home}/trap && ln -s /run/segue/rooted/control {link} && chown -Rh games {home}/trap");
    machine.ok(&["sh", "-c", &script]);

    let flat = machine.ok(&["segue", "list", "--flat"]);
    let assert_listed = |control: &str, facts: &[&str]| {
        let number = flat
            .lines()
            .find_map(|line| line.strip_suffix(&format!(".control={control}")))
            .unwrap_or_else(|| panic!("{control}: {flat}"));
        for fact in facts {
            let wanted = format!("{number}.{fact}");
            assert!(flat.lines().any(|line| line == wanted), "{wanted}: {flat}");
        }
    };
    assert_listed(
        own.trim_end(),
        &["name=theirs", "user=games", "state=serving", "generation=1"],
    );
    assert_listed(&link, &["name=trap", "user=games", "state=not-reached"]);
    // The control: with root's own rights the link leads there.
    machine.ok(&["segue", "status", "--control", &link]);

    let done = machine.ok(&["segue", "reload", "theirs"]);
    assert!(done.starts_with("reload ok: generation 2 serves"), "{done}");
    let refused = machine.run(&["segue", "reload", "trap"]);
    assert_eq!(refused.code, Some(3), "{refused:?}");
    // Where a name is everybody's, root's own is meant.
    let status = machine.ok(&["segue", "status", "--flat", "rooted"]);
    assert!(
        status.contains(&format!("\npid={}\n", site.main_pid())),
        "{status}"
    );
    assert_eq!(site.status().generation(), 1);

    // So do the metrics of all of them.
    machine.install(Path::new(TEXTFILE), "/usr/bin/segue-textfile");
    machine.write("/run/textfile/segue-gone.prom", "old\n");
    machine.ok(&["segue-textfile", "/run/textfile"]);
    let up = machine.ok(&["cat", "/run/textfile/segue-up.prom"]);
    for line in [
        "segue_up{name=\"theirs\",user=\"games\"} 1\n",
        "segue_up{name=\"trap\",user=\"games\"} 0\n",
    ] {
        assert!(up.contains(line), "{up}");
    }
    let metrics = machine.ok(&["cat", "/run/textfile/segue-theirs.prom"]);
    assert!(
        metrics.contains("\nsegue_serving{name=\"theirs\"} 1\n"),
        "{metrics}"
    );
    let others = machine.ok(&["find", "/run/textfile", "-name", "*gone*", "-o", "-name", ".*"]);
    assert_eq!(others, "");

    machine.ok(&["segue", "stop", "theirs"]);
    assert_eq!(theirs.finish().code, Some(0));
}
