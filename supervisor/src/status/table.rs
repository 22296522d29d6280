//! The table for people. ASCII, as wide as the terminal at most, every number right under its word:
//!
//! ```text
//! app: handing-off, generation 8 serves (segue 0.1.0, pid 4242, up 3h 12m)
//!
//! LISTENER  ADDRESS         QUEUED  BACKLOG
//! web       127.0.0.1:8080       0     4096
//!
//! GENERATION  ROLE        PID  STATE        FOR  CONNS  STATUS
//!          8  incumbent   123  serving   2m 10s     12  ready to serve
//!                         124  serving   2m 10s     10
//!             /srv/app/releases/8/app
//!          7  retired      99  draining     12s      3
//!             /srv/app/releases/7/app
//!
//! last reload: ok, generation 8 after 41 ms, 2m 10s ago
//! last crash: generation 8, worker 1 (pid 125), 2m ago: exited with status 3
//!     after 12.3 s; its stderr ends: "no database"
//!     | no database
//! restarts 0, rollbacks 0
//! ```

use std::time::{Duration, SystemTime};

use crate::paint::Paint;
use crate::protocol::{
    GAP, Generation, LastReload, LastWords, Listener, Outcome, Side, Status, align, elapsed, one_line,
    parse_rfc3339,
};

/// What stands where there is nothing to say.
const NOTHING: &str = "-";

/// The narrowest screen that is reckoned with, in columns.
const NARROWEST: usize = 20;

/// What continued lines, and those below another, begin with.
const INDENT: &str = "    ";

/// The head of the first column of generations.
const GENERATIONS: &str = "GENERATION";

/// What the line of the last reload begins with.
const LAST_RELOAD: &str = "last reload: ";

/// Wider than any cell that is not cut: paths and messages.
const UNLIMITED: usize = 4096;

/// The lines of the whole table.
pub(super) fn render(status: &Status, columns: usize, now: SystemTime, paint: Paint) -> Vec<String> {
    let mut text = vec![headline(status, now)];
    let columns = columns.max(NARROWEST);
    if !status.listeners.is_empty() {
        text.push(String::new());
        text.extend(listeners(status));
        text.extend(troubles(status).flat_map(|line| wrap(&line, columns)));
    }
    if !status.generations.is_empty() {
        text.push(String::new());
        text.extend(generations(status, now));
    }
    text.push(String::new());
    text.extend(endings(status, now).iter().flat_map(|line| wrap(line, columns)));
    text.push(format!(
        "restarts {}, rollbacks {}",
        status.restarts, status.rollbacks
    ));
    let cut = |line: String| ascii(&line, columns).trim_end().to_owned();
    let mut lines: Vec<String> = text.into_iter().map(cut).collect();
    colour(&mut lines, paint);
    lines
}

/// The words of state in these lines, once they are as long as they are going to be.
fn colour(lines: &mut [String], paint: Paint) {
    paint.word_after(&mut lines[0], ": ");
    if let Some(heads) = lines.iter().position(|line| line.starts_with(GENERATIONS)) {
        paint.column(&mut lines[heads..]);
    }
    let reload = lines.iter_mut().filter(|line| line.starts_with(LAST_RELOAD));
    reload.for_each(|line| paint.word_after(line, LAST_RELOAD));
}

/// How the last reload ended, and the last crash, each with what was said at last. These lines hold reasons, so that they are wrapped
/// where they do not fit; rows of a table are cut.
fn endings(status: &Status, now: SystemTime) -> Vec<String> {
    let mut lines = Vec::new();
    match &status.last_reload {
        None => lines.push(format!("{LAST_RELOAD}none yet")),
        Some(last) => {
            lines.push(format!("{LAST_RELOAD}{}", reload(last, now)));
            lines.extend(said(&last.words));
        }
    }
    if let Some(crash) = &status.last_crash {
        let pid = crash.pid.map_or_else(String::new, |pid| format!(" (pid {pid})"));
        lines.push(format!(
            "last crash: generation {}, worker {}{pid}, {} ago: {}{}",
            crash.generation,
            crash.worker,
            ago(&crash.at, now),
            crash.reason,
            place(&crash.words),
        ));
        lines.extend(said(&crash.words));
    }
    lines
}

fn said(words: &LastWords) -> impl Iterator<Item = String> + '_ {
    words.last_lines.iter().map(|line| format!("{INDENT}| {line}"))
}

/// `; its stderr is a pipe`, where that is all that is known.
fn place(words: &LastWords) -> String {
    let place = words.place_alone();
    place.map_or_else(String::new, |place| format!("; its stderr is {place}"))
}

/// The lines of a text, broken between words, or within one that is longer than a line. All but the first are indented.
pub(super) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let text = ascii(text, UNLIMITED);
    let mut lines = Vec::new();
    let mut rest = text.as_str();
    let mut indent = "";
    loop {
        let room = columns - indent.len();
        if rest.len() <= room {
            lines.push(format!("{indent}{rest}"));
            return lines;
        }
        // All of it is ASCII. A blank that the text begins with is part of its indent.
        let start = rest.len() - rest.trim_start().len();
        let at = rest[..=room].rfind(' ').filter(|at| *at > start).unwrap_or(room);
        lines.push(format!("{indent}{}", &rest[..at]));
        rest = rest[at..].trim_start();
        indent = INDENT;
    }
}

fn headline(status: &Status, now: SystemTime) -> String {
    let who = match status.generation {
        Some(generation) if status.serves() => format!("generation {generation} serves"),
        Some(generation) => format!("generation {generation} does not serve"),
        None => "nobody serves".to_owned(),
    };
    let (pid, version, up) = (status.pid, &status.version, ago(&status.since, now));
    format!(
        "{}: {}, {who} (segue {version}, pid {pid}, up {up})",
        status.name,
        status.state.word()
    )
}

/// What is wrong with listeners, a line each.
fn troubles(status: &Status) -> impl Iterator<Item = String> + '_ {
    status.listeners.iter().filter_map(|listener| {
        let trouble = listener.trouble.as_deref()?;
        Some(format!("listener {}: {trouble}", listener.name))
    })
}

/// ` slot 2 (generation 7)` of a steered listener.
fn slot_of(listener: &Listener) -> String {
    match (listener.slot, listener.generation) {
        (Some(slot), Some(generation)) => format!(" slot {slot} (generation {generation})"),
        (Some(slot), None) => format!(" slot {slot} (free)"),
        (None, _) => String::new(),
    }
}

/// One row each.
fn listeners(status: &Status) -> Vec<String> {
    let number = |number: Option<u64>| number.map_or_else(|| NOTHING.to_owned(), |number| number.to_string());
    let rows = status.listeners.iter().map(|listener| {
        [
            ascii(&listener.name, 20),
            ascii(&listener.address, UNLIMITED) + &slot_of(listener),
            number(listener.queued),
            number(listener.backlog.map(u64::from)),
        ]
    });
    let heads = ["LISTENER", "ADDRESS", "QUEUED", "BACKLOG"].map(str::to_owned);
    align(
        [Side::Left, Side::Left, Side::Right, Side::Right],
        std::iter::once(heads).chain(rows).collect(),
    )
}

/// One row a worker; then the binary, which is too long for a column and is the same for all workers of a
/// generation.
fn generations(status: &Status, now: SystemTime) -> Vec<String> {
    let heads = [GENERATIONS, "ROLE", "PID", "STATE", "FOR", "CONNS", "STATUS"].map(str::to_owned);
    let mut rows = vec![heads];
    for generation in &status.generations {
        rows.extend(workers(generation, now));
    }
    let sides = [
        Side::Right,
        Side::Left,
        Side::Right,
        Side::Left,
        Side::Right,
        Side::Right,
        Side::Left,
    ];
    let mut lines = align(sides, rows).into_iter();
    let mut text: Vec<String> = lines.next().into_iter().collect();
    let indent = " ".repeat(GENERATIONS.len() + GAP.len());
    for generation in &status.generations {
        text.extend(lines.by_ref().take(generation.workers.len().max(1)));
        text.push(format!("{indent}{}", binary(generation)));
        text.extend(strays(generation).map(|line| format!("{indent}{line}")));
    }
    text
}

fn workers(generation: &Generation, now: SystemTime) -> Vec<[String; 7]> {
    let (number, role) = (
        generation.generation.to_string(),
        generation.role.word().to_owned(),
    );
    if generation.workers.is_empty() {
        let since = ago(&generation.since, now);
        let nothing = || NOTHING.to_owned();
        return vec![[
            number,
            role,
            nothing(),
            nothing(),
            since,
            nothing(),
            String::new(),
        ]];
    }
    let rows = generation.workers.iter().enumerate().map(|(index, worker)| {
        let first = |text: &String| if index == 0 { text.clone() } else { String::new() };
        [
            first(&number),
            first(&role),
            worker.pid.to_string(),
            worker.state.word().to_owned(),
            ago(&worker.since, now),
            worker
                .connections
                .map_or_else(|| NOTHING.to_owned(), |count| count.to_string()),
            worker
                .status
                .as_deref()
                .map_or_else(String::new, |status| ascii(status, UNLIMITED)),
        ]
    });
    rows.collect()
}

/// What its workers have left outside their process groups, if anything.
fn strays(generation: &Generation) -> Option<String> {
    match generation.strays {
        0 => None,
        1 => Some("1 process that it has started outside its process groups lives".to_owned()),
        count => Some(format!(
            "{count} processes that it has started outside its process groups live"
        )),
    }
}

/// The digest is cut to what tells two builds apart; `--json` has all of it.
fn binary(generation: &Generation) -> String {
    let binary = &generation.binary;
    let digest = binary.sha256.as_ref().map_or_else(String::new, |digest| {
        format!(" (sha256 {})", ascii(digest, 12).replace("...", ""))
    });
    format!("{}{digest}", ascii(&binary.path, UNLIMITED))
}

fn reload(last: &LastReload, now: SystemTime) -> String {
    let after = elapsed(Duration::from_millis(last.duration_ms));
    let generation = last
        .generation
        .map_or_else(String::new, |number| format!("generation {number} "));
    let ago = ago(&last.at, now);
    let reason = last.reason.as_deref().unwrap_or("no reason known");
    match last.outcome {
        Outcome::Ok => format!("ok, {generation}after {after}, {ago} ago"),
        Outcome::Failed | Outcome::RolledBack => {
            format!(
                "{}, {generation}after {after}, {ago} ago: {reason}{}",
                last.outcome.word(),
                place(&last.words)
            )
        }
    }
}

/// How long ago a time was, in its two largest units: `12s`, `2m 10s`, `3h 12m`, `5d 1h`. A clock that was
/// set back gives `0s`.
fn ago(time: &str, now: SystemTime) -> String {
    let Some(time) = parse_rfc3339(time) else {
        return NOTHING.to_owned();
    };
    let seconds = now.duration_since(time).unwrap_or_default().as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {}m", seconds / 3600, seconds % 3600 / 60),
        86_400.. => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// Printable ASCII of at most `max` characters: what a terminal shows with the width that we counted, in any
/// locale.
fn ascii(text: &str, max: usize) -> String {
    let safe = |character: char| {
        if character == ' ' || character.is_ascii_graphic() {
            character
        } else {
            '?'
        }
    };
    let line = one_line(text, text.len() * 8);
    one_line(&line.chars().map(safe).collect::<String>(), max)
}
