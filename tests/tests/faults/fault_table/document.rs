//! `docs/FAULTS.md` is written from the table. `SEGUE_BLESS=1 cargo test -p segue-tests --test faults document` writes it.

use std::fmt::Write as _;

use super::table::TABLE;
use super::{Fault, Lost};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/FAULTS.md");

const INTRODUCTION: &str = "\
# What can go wrong, and what Segue does about it

This page is for people who run servers. It is written from the table of a test
(`tests/tests/faults/fault_table`), which runs every row with real processes and requests without a
pause, and checks what is said here: the exit code of `segue reload`, its message, who serves
afterwards, and which requests were lost.

In every row generation 1 served before. No request is lost unless the last column says so. In the
messages `…` stands for numbers, durations and paths that differ from time to time.

Where the stderr of the new version is a file or the journal, the message quotes its last line, too.
Elsewhere it says where stderr went (`; the stderr of generation 2 is a pipe`). That part is left
out below.

The name of a row's test is its anchor, as in `FAULTS.md#missing_file`:
`cargo test -p segue-tests --test faults missing_file` runs it.
`SEGUE_BLESS=1 cargo test -p segue-tests --test faults document` writes this page.
";

const HEAD: [&str; 4] = [
    "What is wrong",
    "What Segue does",
    "What <code>segue reload</code> says",
    "Exit code, and afterwards",
];

/// Told in words: such a row would be about the next supervisor, and each is a test of its own.
const KILLED: &str = "
## The supervisor itself is killed

Here `segue reload` has nobody who answers it, so these are told in words.
`tests/tests/faults/killed` and `tests/tests/root/systemd` try them, with requests without a pause,
with systemd's file descriptor store and without. More is in [survival.md](survival.md).
";

const KILLED_HEAD: [&str; 3] = ["When it is killed", "What the next one does", "Lost"];

const KILLED_ROWS: [[&str; 3]; 7] = [
    [
        "at rest, or while old generations drain",
        "It adopts the app; generations keep their numbers, and the time that they have left.",
        "no request",
    ],
    [
        "while it forks the workers of a reload",
        "It adopts those that it finds, starts the others, takes all listeners back and goes on with the reload.",
        "no request",
    ],
    [
        "while a candidate starts that alone has a listener, which neither systemd has kept nor the kernel lets it take back",
        "It ends that candidate, whose reload has failed, and adopts the app of before.",
        "what that candidate had accepted and not answered in 5 s",
    ],
    [
        "while a worker starts, which then says READY=1 to nobody",
        "It counts the worker as ready if it is seen to wait on its listeners.",
        "no request",
    ],
    [
        "during `segue stop`",
        "It starts anew with the same listeners; what drains keeps the deadline of the stop, and is killed then.",
        "what is cut at the deadline",
    ],
    [
        "during `systemctl stop`",
        "There is no next one: the unit ends, with all its processes.",
        "what had not drained",
    ],
    [
        "where the next one cannot see the app (no `/proc`, `hidepid=`)",
        "It refuses to start, names the pids, and forgets nothing.",
        "no request",
    ],
];

/// Told in words, too: each is a test of its own, since it is not about one reload or needs root.
const OTHER: &str = "
## Other faults
";

const OTHER_HEAD: [&str; 2] = ["What happens", "What Segue does"];

const OTHER_ROWS: [[&str; 2]; 5] = [
    [
        "its runtime directory is removed while it lives",
        "A second `segue run` names the one that lives, and that one says at its next reload that no command reaches it.",
    ],
    [
        "its log reaches a file size limit (`ulimit -f`)",
        "It goes on without the log; the next line that can be written says why others are missing.",
    ],
    [
        "an app becomes another user itself (gosu, setpriv, `uwsgi --uid`)",
        "It can reach its notify socket, and is believed as long as the process lives and descends from the worker.",
    ],
    [
        "a tool that the app runs tells of its own failure (`ERRNO=`, as systemctl does)",
        "It is not why the app fails: that is told by its main process, or by the one that has said READY=1.",
    ],
    [
        "an app accepts nobody while the machine has tens of thousands of connections",
        "It is found and rolled back as soon: the kernel is asked for the connections of that port alone.",
    ],
];

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
    let chapters: Vec<&str> = TABLE.iter().map(|fault| fault.chapter).collect();
    for chapter in chapters.chunk_by(PartialEq::eq).map(|same| same[0]) {
        let rows = TABLE.iter().filter(|fault| fault.chapter == chapter).map(row);
        let _ = write!(text, "\n## {chapter}\n");
        table(&mut text, &HEAD, rows);
    }
    text.push_str(KILLED);
    table(&mut text, &KILLED_HEAD, KILLED_ROWS.iter().map(|row| told(row)));
    text.push_str(OTHER);
    table(&mut text, &OTHER_HEAD, OTHER_ROWS.iter().map(|row| told(row)));
    text
}

/// A table in HTML, for a row of Markdown is one line, which nobody could read.
fn table(text: &mut String, head: &[&str], rows: impl Iterator<Item = String>) {
    let head: String = head.iter().map(|cell| format!("<th>{cell}</th>")).collect();
    let _ = write!(text, "\n<table>\n{}", wrapped(&format!("<tr>{head}</tr>")));
    rows.for_each(|row| text.push_str(&wrapped(&row)));
    text.push_str("</table>\n");
}

/// A row whose cells are text alone.
fn told(cells: &[&str]) -> String {
    let cells: String = cells
        .iter()
        .map(|cell| format!("<td>{}</td>", prose(cell)))
        .collect();
    format!("<tr>{cells}</tr>")
}

fn row(fault: &Fault) -> String {
    let mut wrong = prose(fault.wrong);
    if !fault.flags.is_empty() {
        let flags = fault
            .flags
            .join(" ")
            .replace("{dir}/", "")
            .replace("{poll}", "segue-poll");
        let _ = write!(wrong, "<br>(with <code>{}</code>)", escaped(&flags));
    }
    let mut says = code(fault.says.strip_prefix("segue: ").unwrap_or(fault.says));
    if !fault.logs.is_empty() {
        let lines: Vec<_> = fault.logs.iter().map(|line| code(line)).collect();
        let _ = write!(says, "<br>in the log: {}", lines.join("<br>"));
    }
    let serves = match fault.serves {
        _ if fault.outcome.is_empty() => "nobody served yet".to_owned(),
        0 => "nobody serves".to_owned(),
        number => format!("generation {number} serves"),
    };
    let lost = match fault.lost {
        Lost::Nothing => String::new(),
        Lost::AcceptedBy(generations) => {
            let names: Vec<_> = generations.iter().map(ToString::to_string).collect();
            format!(
                "; lost is at most what generation {} had accepted",
                names.join(" or ")
            )
        }
        Lost::Unconnected => "; a client that connects in that instant finds no path".to_owned(),
        Lost::Queued => "; what waited in the queue may be lost".to_owned(),
    };
    let does = prose(fault.does);
    let (name, exit) = (fault.name, fault.exit);
    format!(
        "<tr id=\"{name}\"><td>{wrong}</td><td>{does}</td><td>{says}</td><td>{exit}; {serves}{lost}</td></tr>"
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// A message, a line for a line.
fn code(text: &str) -> String {
    let lines: Vec<_> = text
        .lines()
        .map(|line| format!("<code>{}</code>", escaped(line)))
        .collect();
    lines.join("<br>")
}

/// Text in which backticks mark code.
fn prose(text: &str) -> String {
    let parts = text.split('`').enumerate();
    let part = |(at, part)| match at % 2 {
        0 => escaped(part),
        _ => format!("<code>{}</code>", escaped(part)),
    };
    parts.map(part).collect()
}

/// Lines of at most 118 characters. A blank within a tag is no place to break at.
fn wrapped(row: &str) -> String {
    let mut text = String::new();
    let mut width = 0;
    for word in row.replace("<tr id=", "<tr\u{0}id=").split(' ') {
        let length = word.chars().count();
        let (gap, column) = match width {
            0 => ("", 0),
            width if width + 1 + length > 118 => ("\n", 0),
            width => (" ", width + 1),
        };
        text.push_str(gap);
        text.push_str(word);
        width = column + length;
    }
    text.replace('\u{0}', " ") + "\n"
}
