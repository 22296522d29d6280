//! `docs/FAULTS.md` is written from the table. `SEGUE_BLESS=1 cargo test -p segue-tests --test faults document` writes it.

use std::fmt::Write as _;

use super::table::TABLE;
use super::{Fault, Lost};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/FAULTS.md");

const INTRODUCTION: &str = "\
# What can go wrong, and what Segue does about it

This page is for people who run servers. It is written from the table of a test (`tests/tests/faults/fault_table`), which runs every row with real
processes and requests without a pause, and checks what is said here: the exit code of `segue reload`, what it says, who serves
afterwards, and which requests were lost. Regenerate it with `SEGUE_BLESS=1 cargo test -p segue-tests --test faults document`.

Where the stderr of the new version is a file or the journal, what Segue says quotes its last line, too; else it says where that went (here
always `; the stderr of generation 2 is a pipe`). That part is left out below.

In the messages `…` stands for what differs from time to time: numbers, durations, paths. In every row generation 1 served before.
";

/// Told in words: such a row would be about the next supervisor, and each is a test of its own.
const KILLED: &str = "
## The supervisor itself is killed

Here `segue reload` has nobody who answers it, so these are told in words; `tests/tests/faults/killed` and `tests/tests/root/systemd` try them, with requests
without a pause, with systemd's file descriptor store and without. More is in [survival.md](survival.md).

| when it is killed | what the next one does | lost |
|---|---|---|
| at rest, or while old generations drain | adopts the app; generations keep their numbers, and the time that they have left | no request |
| while it forks the workers of a reload (with a probe, or one more listener) | adopts those that it finds, starts the others, takes all listeners back; the reload goes on | no request |
| while a worker starts, which then says READY=1 to nobody | counts it as ready if it is seen to wait on its listeners | no request |
| during `segue stop` | starts anew with the same listeners; what drains keeps the deadline of the stop, and is killed then | no request, but for those cut at the deadline |
| during `systemctl stop` | nothing: the unit ends, with all its processes | what had not drained |
| it cannot see the app (no `/proc`, `hidepid=`) | refuses to start, names the pids, forgets nothing | no request |

Two that look like it:

| what happens | what Segue does |
|---|---|
| its runtime directory is removed while it lives | a second `segue run` names the one that lives; that one says at its next reload that no command reaches it |
| its log reaches a file size limit (`ulimit -f`) | goes on without it; the next line that can be written says why others are missing |
";

#[test]
fn document_is_current() {
    let text = render();
    if std::env::var_os("SEGUE_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(PATH, &text).unwrap();
    }
    let stored = std::fs::read_to_string(PATH).unwrap_or_default();
    assert!(
        stored == text,
        "docs/FAULTS.md is not what the table says; write it anew with SEGUE_BLESS=1"
    );
}

#[test]
fn rows_are_complete_and_enough() {
    assert!(TABLE.len() >= 40, "{} rows", TABLE.len());
    for fault in TABLE {
        assert!(
            !fault.wrong.is_empty() && !fault.does.is_empty(),
            "{} is not told to people",
            fault.name
        );
    }
}

fn render() -> String {
    let mut text = INTRODUCTION.to_owned();
    let mut chapter = "";
    for fault in TABLE {
        if fault.chapter != chapter {
            chapter = fault.chapter;
            let _ = write!(text, "\n## {chapter}\n");
        }
        render_row(&mut text, fault);
    }
    text.push_str(KILLED);
    text
}

fn render_row(text: &mut String, fault: &Fault) {
    let _ = write!(text, "\n### {}\n\n{}\n", fault.wrong, fault.does);
    if !fault.flags.is_empty() {
        let flags = fault
            .flags
            .join(" ")
            .replace("{dir}/", "")
            .replace("{poll}", "segue-poll");
        let _ = write!(text, "\nTried with `{flags}`.\n");
    }
    let _ = write!(text, "\n```text\n{}\n```\n", fault.says);
    if !fault.logs.is_empty() {
        let _ = write!(text, "\nIn the log:\n\n```text\n{}\n```\n", fault.logs.join("\n"));
    }
    let serves = match fault.serves {
        _ if fault.outcome.is_empty() => "nobody served yet".to_owned(),
        0 => "nobody serves afterwards".to_owned(),
        number => format!("generation {number} serves afterwards"),
    };
    let lost = match fault.lost {
        Lost::Nothing => "no request is lost".to_owned(),
        Lost::AcceptedBy(generations) => {
            let names: Vec<_> = generations.iter().map(ToString::to_string).collect();
            format!(
                "lost is at most what generation {} had itself accepted",
                names.join(" or ")
            )
        }
        Lost::Queued => "what waited in the listener's queue at that moment may be lost".to_owned(),
    };
    let _ = write!(text, "\nExit code {}; {serves}; {lost}.\n", fault.exit);
}
