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

    let assert_listed = |control: &str, facts: &[&str]| {
        let is_told = |flat: &str| {
            let number = flat
                .lines()
                .find_map(|line| line.strip_suffix(&format!(".control={control}")));
            number.is_some_and(|number| {
                let told = |fact: &&str| flat.lines().any(|line| line == format!("{number}.{fact}"));
                facts.iter().all(told)
            })
        };
        machine.wait_for_output(&["segue", "list", "--flat"], is_told);
    };
    let facts = ["name=games/theirs", "user=games", "state=serving", "generation=1"];
    assert_listed(own.trim_end(), &facts);
    assert_listed(&link, &["name=games/trap", "user=games", "state=not-reached"]);
    // The control: with root's own rights the link leads there.
    machine.ok(&["segue", "status", "--control", &link]);

    let done = machine.ok(&["segue", "reload", "games/theirs"]);
    assert!(done.starts_with("reload ok: generation 2 serves"), "{done}");
    let refused = machine.run(&["segue", "reload", "games/trap"]);
    assert_eq!(refused.code, Some(3), "{refused:?}");
    // A name alone means none of another user's; that there is one is said.
    let refused = machine.run(&["segue", "stop", "theirs"]);
    assert_eq!(refused.code, Some(3), "{refused:?}");
    assert!(
        refused.stderr.contains("; games has one: ask for games/theirs"),
        "{refused:?}"
    );
    let refused = machine.run(&[
        "setpriv",
        "--reuid=nobody",
        "--clear-groups",
        "segue",
        "status",
        "games/theirs",
    ]);
    assert!(
        refused
            .stderr
            .contains("only root asks the instances of other users"),
        "{refused:?}"
    );
    let status = machine.ok(&["segue", "status", "--flat", "rooted"]);
    assert!(
        status.contains(&format!("\npid={}\n", site.main_pid())),
        "{status}"
    );
    assert_eq!(site.status().generation(), 1);

    // The metrics are those of root's own: a name that others can choose proves nothing.
    machine.install(Path::new(TEXTFILE), "/usr/bin/segue-textfile");
    machine.write("/run/textfile/segue-gone.prom", "old\n");
    let up = [
        "sh",
        "-c",
        "segue-textfile /run/textfile && cat /run/textfile/segue-up.prom",
    ];
    let up = machine.wait_for_output(&up, |up| up.contains("segue_up{name=\"rooted\"} 1\n"));
    assert!(!up.contains("theirs") && !up.contains("trap"), "{up}");
    let metrics = machine.ok(&["cat", "/run/textfile/segue-rooted.prom"]);
    assert!(
        metrics.contains("\nsegue_serving{name=\"rooted\"} 1\n"),
        "{metrics}"
    );
    let others = machine.ok(&["find", "/run/textfile", "-name", "*gone*", "-o", "-name", ".*"]);
    assert_eq!(others, "");

    machine.ok(&["segue", "stop", "games/theirs"]);
    assert_eq!(theirs.finish().code, Some(0));
}
