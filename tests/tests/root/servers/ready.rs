//! How long a steered version takes until it is ready, by the connection that it has to accept (`--ready accepting`) and by time
//! (`--ready exec:1s`), for servers that say nothing by themselves: a table of docs/steering.md.
//!
//! `cargo test -p segue-tests --test root servers::ready -- --nocapture --include-ignored` prints it.

use std::time::Duration;

use segue_tests::figures::say;
use segue_tests::needs;
use segue_tests::segue::Segue;

use super::play::{Listeners, Premises, present, start};
use super::table::{Server, find};

/// Those that are measured, where they are installed.
const SERVERS: [&str; 5] = [
    "node:http",
    "http.server",
    "Go net/http",
    "nginx, QUIT",
    "uvicorn",
];

/// Reloads each way.
const RELOADS: usize = 10;

/// How long the version that has just started took, as the log has it.
fn ready_after(segue: &Segue) -> Duration {
    let mark = segue.process().mark();
    segue.reload_ok(&["--drained"]);
    let line = segue
        .process()
        .wait_for_line_after(mark, ") is ready after ")
        .text;
    let words = line.rsplit("is ready after ").next().unwrap_or_default();
    let (number, unit) = words.split_once(' ').unwrap_or_default();
    let number: f64 = number.parse().unwrap_or_else(|_| panic!("{line}"));
    match unit {
        "ms" => Duration::from_secs_f64(number / 1000.0),
        "s" => Duration::from_secs_f64(number),
        _ => panic!("{line}"),
    }
}

fn middle_and_most(server: &Server, listeners: Listeners) -> String {
    let segue = start(server, listeners, None);
    let mut took: Vec<_> = (0..RELOADS).map(|_| ready_after(&segue)).collect();
    segue.stop();
    took.sort();
    format!(
        "{} ({})",
        took[RELOADS / 2].as_millis(),
        took[RELOADS - 1].as_millis()
    )
}

#[test]
#[ignore = ".ci/more servers"]
fn ready_by_the_token_and_by_time() {
    say("ready after, in ms: the middle of 10 reloads (the longest)");
    say("| server | `--ready accepting` | `--ready exec:1s` |");
    for name in SERVERS {
        let server = find(name);
        let place = Premises::new(segue_tests::segue::directory().path().to_owned(), server);
        if needs::or_skip(name, present(server, &place)).is_none() {
            continue;
        }
        let [token, time] =
            [Listeners::ByToken, Listeners::ByTime].map(|listeners| middle_and_most(server, listeners));
        say(format_args!("| {name} | {token} | {time} |"));
    }
}
