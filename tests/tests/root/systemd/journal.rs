//! What the journal has of the app and of Segue.

use std::collections::BTreeSet;
use std::time::Instant;

use segue_tests::machine::Machine;

use super::site::Site;

/// Lines of each generation, half of them written after its drain.
const LINES: usize = 200;

/// Generations, the last one stopped at the end.
const GENERATIONS: usize = 5;

pub(crate) fn has_every_line(machine: &Machine) {
    let site = Site::new(machine, "chatty", &format!("fixture numbers-lines count={LINES}"));
    site.systemctl_ok("start");
    for _ in 1..GENERATIONS {
        site.systemctl_ok("reload");
    }
    let stopped = machine.run(&["systemctl", "stop", &site.socket, &site.unit]);
    assert_eq!(stopped.code, Some(0));

    // By unit: everything.
    let all = machine.journal(&["-u", &site.unit, "-o", "cat"]);
    let found: Vec<&str> = all.lines().filter(|line| line.starts_with("line ")).collect();
    let wanted: BTreeSet<String> = (1..=GENERATIONS)
        .flat_map(|generation| (1..=LINES).map(move |line| format!("line {line} of generation {generation}")))
        .collect();
    assert_eq!(found.len(), wanted.len(), "lines twice or not at all");
    assert_eq!(
        found.into_iter().map(str::to_owned).collect::<BTreeSet<_>>(),
        wanted
    );
    assert!(all.contains("generation 1 serves"), "{all}");

    // By identifier: one generation's.
    for generation in 1..=GENERATIONS {
        let identifier = format!("{}.{generation}", site.name);
        let own = machine.journal(&["-t", &identifier, "-u", &site.unit, "-o", "cat"]);
        let numbered = own.lines().filter(|line| line.starts_with("line ")).count();
        assert_eq!(numbered, LINES, "{identifier}");
        assert!(!own.contains("reload asked for"), "{own}");
        let end = format!("of generation {generation}");
        assert!(
            own.lines()
                .filter(|line| line.starts_with("line "))
                .all(|line| line.ends_with(&end))
        );
    }
}

/// A version that ends as soon as it has said why: journald must know whose words these are, though by the time at which it
/// reads them there may be no such process any more.
pub(crate) fn has_the_last_words(machine: &Machine) {
    const TRIES: usize = 20;
    let site = Site::new(machine, "brief", "app --message x");
    site.systemctl_ok("start");
    let program = machine.path(&format!("/srv/{}/current/{}", site.name, site.name));
    let dying = b"#!/bin/sh\necho cannot reach the database >&2\nexit 3\n";
    segue_tests::executable::rewrite(&program, dying).unwrap();
    let try_all = || {
        for _ in 0..TRIES {
            assert_eq!(site.systemctl("reload").code, Some(1));
        }
    };
    try_all();
    let count = |args: &[&str]| {
        machine
            .journal(&[args, &["-o", "cat"]].concat())
            .matches("cannot reach")
            .count()
    };
    assert_eq!(count(&[]), TRIES, "in the whole journal");
    assert_eq!(count(&["-t", "brief.2"]), 1, "of one generation");
    // A child waits for journald, but not for long: one that is busy asks too late whose words these are, and is given another chance.
    // Without the wait most of them would be of no unit each time.
    let (end, mut before) = (Instant::now() + segue_tests::patience(), 0);
    loop {
        let of_unit = count(&["-u", &site.unit]) - before;
        println!("figures: {of_unit} of {TRIES} last words are of their unit");
        if of_unit > TRIES / 2 {
            return;
        }
        assert!(Instant::now() < end, "{of_unit} of {TRIES}");
        before += of_unit;
        try_all();
    }
}

/// What the journal has of a version that failed is in the answer to a user who may read the journal, and in the status; others are told where
/// to look.
pub(crate) fn is_read_back_by_the_client(machine: &Machine) {
    let site = Site::new(machine, "telling", "app --message x");
    site.systemctl_ok("start");
    let program = machine.path(&format!("/srv/{}/current/{}", site.name, site.name));
    let dying = b"#!/bin/sh\necho \"ModuleNotFoundError: No module named 'x'\" >&2\necho bye >&2\nexit 3\n";
    segue_tests::executable::rewrite(&program, dying).unwrap();
    let name = ["--name", &site.name];
    let done = machine.run(&[&["segue", "reload", "--verbose"][..], &name].concat());
    let quoted = "; the stderr of generation 2 says \"ModuleNotFoundError: No module named 'x'\" and ends: \"bye\"; generation 1";
    assert!(done.stderr.contains(quoted), "{done:?}");
    assert!(
        done.stderr
            .ends_with("\n  | ModuleNotFoundError: No module named 'x'\n  | bye\n"),
        "{done:?}"
    );
    let codes = machine.run(&[&["segue", "reload", "--flat"][..], &name].concat());
    for line in [
        "last_lines.1=bye",
        "stderr.kind=journal",
        "stderr.identifier=telling.3",
    ] {
        assert!(codes.stdout.lines().any(|said| said == line), "{line}: {codes:?}");
    }
    let table = machine.run(&[&["segue", "status"][..], &name].concat());
    assert!(table.stdout.contains("\n    | bye\n"), "{table:?}");
    // Without journalctl, as without the right to read what it reads.
    let script = "PATH=/nowhere exec /usr/bin/segue reload --name telling";
    let done = machine.run(&["/bin/sh", "-c", script]);
    assert!(
        done.stderr
            .contains("; the stderr of generation 4 is the journal (journalctl _PID="),
        "{done:?}"
    );
    assert!(
        done.stderr.contains(" -t telling.4); generation 1 serves"),
        "{done:?}"
    );
}

pub(crate) fn knows_priorities(machine: &Machine) {
    let site = Site::new(machine, "graded", "app --message x");
    site.systemctl_ok("start");
    site.release("fixture crash-at-start");
    assert_eq!(site.systemctl("reload").code, Some(1));
    let priority_of = |text: &str| {
        let lines = machine.journal(&["-u", &site.unit, "-o", "json", "--output-fields=MESSAGE,PRIORITY"]);
        let found = lines
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .find(|entry| {
                entry["MESSAGE"]
                    .as_str()
                    .is_some_and(|message| message.contains(text))
            });
        let found = found.unwrap_or_else(|| panic!("{text:?} is not in the journal:\n{lines}"));
        found["PRIORITY"].as_str().unwrap().to_owned()
    };
    site.wait_for_line("reload failed");
    site.wait_for_line("app: serving http");
    assert_eq!(priority_of("generation 1 serves"), "6");
    // (What `segue reload` itself prints is there, too, as an ordinary line.)
    assert_eq!(priority_of("segue[graded]: reload failed"), "3");
    assert_eq!(priority_of("app: serving http"), "6");
}
