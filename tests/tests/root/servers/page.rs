//! `docs/compatibility.md`: its table has a row for each server. What the table of the tests says stands in it word for word;
//! the version and the counts are those of the machine that the page names, and only their class is compared.

use super::play::{Counted, Listeners};
use super::table::{Lost, Server, Table};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/compatibility.md");
const BEGIN: &str = "<!-- begin servers: written by `SEGUE_BLESS=1 .ci/more servers` -->\n";
const END: &str = "<!-- end servers -->\n";
const HEAD: &str = "<table>\n<tr><th>server</th><th>version</th><th>command line</th><th>takes the socket by</th>\n\
    <th>idle kept connection</th><th>response in flight</th><th>lost, new connections</th>\n\
    <th>lost, kept connections</th><th>what helps</th></tr>\n";
const FOOT: &str = "</table>\n";
/// The width of the page's source.
const WIDTH: usize = 100;

/// The cells of one row as they stand in the page.
struct Row<'a> {
    version: &'a str,
    new: &'a str,
    kept: &'a str,
}

fn text() -> String {
    std::fs::read_to_string(PAGE).unwrap()
}

/// The rows behind the head, each in one line.
fn rows(page: &str) -> Vec<String> {
    let begun = page.split_once(BEGIN).map(|(_, rest)| rest);
    let table = begun
        .and_then(|rest| rest.split_once(END))
        .map(|(table, _)| table);
    let table = table.unwrap_or_else(|| panic!("{PAGE}: no {BEGIN} ... {END}"));
    let whole = table
        .split_inclusive("</tr>")
        .filter(|row| row.trim_end().ends_with("</tr>"));
    let lines = whole.map(|row| row.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.skip(1).collect()
}

fn start_of(server: &Server) -> String {
    format!("<tr><td>{}</td> ", server.name)
}

/// A row of the page, if it has the words of the table of the tests.
fn row<'a>(rows: &'a [String], server: &Server) -> Option<Row<'a>> {
    let line = rows.iter().find(|line| line.starts_with(&start_of(server)))?;
    let cells: Vec<_> = line
        .split("<td>")
        .skip(1)
        .map(|cell| cell.split("</td>").next().unwrap_or_default())
        .collect();
    let [_, version, _, _, _, _, new, kept, _] = cells[..] else {
        return None;
    };
    (*line == write(server, version, new, kept)).then_some(Row { version, new, kept })
}

/// In one line.
fn write(server: &Server, version: &str, new: &str, kept: &str) -> String {
    let command = format!("`{}`", command_line(server));
    let (idle, in_flight) = (server.idle.words(), server.in_flight.words());
    let cells = [
        server.name,
        version,
        &command,
        server.takes,
        idle,
        in_flight,
        new,
        kept,
        server.helps,
    ];
    let cells = cells.map(|cell| format!("<td>{}</td>", marked_up(cell)));
    format!("<tr>{}</tr>", cells.join(" "))
}

/// What stands between backticks is code.
fn marked_up(text: &str) -> String {
    let text = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    let parts = text.split('`').enumerate();
    parts
        .map(|(index, part)| {
            if index % 2 == 1 {
                format!("<code>{part}</code>")
            } else {
                part.to_owned()
            }
        })
        .collect()
}

/// A row in lines of the page.
fn wrapped(row: &str) -> String {
    let mut lines = String::new();
    let mut used = 0;
    for word in row.split(' ') {
        let separator = match used {
            0 => "",
            _ if used + 1 + word.len() > WIDTH => "\n",
            _ => " ",
        };
        used = if separator == " " { used + 1 } else { 0 } + word.len();
        lines.push_str(separator);
        lines.push_str(word);
    }
    lines + "\n"
}

/// As a person would type it, beside the server's own files.
fn command_line(server: &Server) -> String {
    let listen = format!("127.0.0.1:8000{}", server.listen);
    let words = ["segue", "run", "-l", &listen].map(str::to_owned).into_iter();
    let flags = server.flags.iter().map(|word| readable(word));
    let command = server.command.iter().map(|word| readable(word));
    words
        .chain(flags)
        .chain(["--".to_owned()])
        .chain(command)
        .collect::<Vec<_>>()
        .join(" ")
}

fn readable(word: &str) -> String {
    let known = [
        ("{address}", "127.0.0.1:8000"),
        ("{tools}/servers/bin/", ""),
        ("{tools}/servers-npm", "."),
        ("{tools}/servers-go/", "./"),
        ("{tools}/servers-rust/release/", "./"),
        ("{here}/", ""),
        ("{here}", "."),
        ("{dir}/", ""),
        ("{dir}", "."),
    ];
    let text = known
        .iter()
        .fold(word.to_owned(), |text, (from, to)| text.replace(from, to));
    if text.contains([';', ' ']) {
        format!("'{text}'")
    } else {
        text
    }
}

fn cell(lost: Lost, count: usize, of: u64) -> String {
    format!("{}: {count} of {of}", lost.words())
}

/// Compares a run with the page, or, blessed, writes it there.
pub(super) fn compare(server: &Server, version: &str, counted: &[Counted]) {
    for run in counted {
        segue_tests::figures::say(format_args!(
            "{} {version}, {:?}: lost {} of {} on new connections, {} of {} on kept ones",
            server.name, run.listeners, run.new.lost, run.new.of, run.kept.lost, run.kept.of
        ));
    }
    let shared = counted
        .iter()
        .find(|run| run.listeners == Listeners::Shared)
        .unwrap();
    if std::env::var_os("SEGUE_BLESS").is_some_and(|value| value == "1") {
        let new = cell(server.new, shared.new.lost, shared.new.of);
        let kept = cell(server.kept, shared.kept.lost, shared.kept.of);
        put(server, &write(server, version, &new, &kept));
        return;
    }
    let rows = rows(&text());
    let row = row(&rows, server).unwrap_or_else(|| panic!("{PAGE}: no right row for {}", server.name));
    if row.version != version {
        segue_tests::figures::say(format_args!(
            "{}: {version} is here, and docs/compatibility.md is about {}",
            server.name, row.version
        ));
    }
    // play.rs has compared the counts with the table's classes; that the page has the same classes is all that is left.
    assert!(
        row.new.starts_with(server.new.words()),
        "{}: {}",
        server.name,
        row.new
    );
    assert!(
        row.kept.starts_with(server.kept.words()),
        "{}: {}",
        server.name,
        row.kept
    );
}

/// Replaces one row. Tests that run at the same time take turns.
fn put(server: &Server, new: &str) {
    static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let page = text();
    let old = rows(&page);
    let mut table = HEAD.to_owned();
    for each in Table::ROWS {
        let kept = old.iter().find(|line| line.starts_with(&start_of(each)));
        let line = if each.name == server.name {
            Some(new)
        } else {
            kept.map(String::as_str)
        };
        table.extend(line.map(wrapped));
    }
    table.push_str(FOOT);
    let (above, rest) = page.split_once(BEGIN).unwrap();
    let (_, below) = rest.split_once(END).unwrap();
    std::fs::write(PAGE, format!("{above}{BEGIN}{table}{END}{below}")).unwrap();
}

#[test]
fn the_page_has_each_server_with_the_words_of_the_table() {
    let rows = rows(&text());
    let missing: Vec<_> = Table::ROWS
        .iter()
        .filter(|server| row(&rows, server).is_none())
        .map(|server| server.name)
        .collect();
    assert!(missing.is_empty(), "{PAGE}: no right row for {missing:?}");
    assert_eq!(rows.len(), Table::ROWS.len(), "{PAGE}: rows of other servers");
}
