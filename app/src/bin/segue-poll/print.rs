//! What a person or a program reads.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::client::Outcome;
use crate::stats::Stats;

/// The longest part of an answer that is shown, in characters.
const SHOWN: usize = 500;

#[derive(Debug)]
pub(crate) struct Printer {
    json: bool,
    quiet: bool,
    colours: bool,
}

const GREEN: &str = "32";
const YELLOW: &str = "33";
const RED: &str = "31";

impl Printer {
    pub(crate) fn new(json: bool, quiet: bool) -> Printer {
        let colours = !json
            && io::stdout().is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
        Printer { json, quiet, colours }
    }

    pub(crate) fn answer(&self, outcome: &Outcome, changed: bool, took: Duration) {
        if self.quiet && outcome.is_ok() && !changed {
            return;
        }
        let at = timestamp(SystemTime::now());
        if self.json {
            return self.line(&event(outcome, changed, took, &at).to_string());
        }
        match outcome {
            Ok(answer) if changed => {
                self.coloured(
                    YELLOW,
                    "UP AND CHANGED",
                    &format!(": response was {} [{at}]", shown(&answer.body)),
                );
            }
            Ok(answer) => self.coloured(
                GREEN,
                "UP",
                &format!(": response was {} [{at}]", shown(&answer.body)),
            ),
            Err(reason) => self.coloured(RED, "DOWN", &format!(" [{at}] {}", shown(reason))),
        }
    }

    pub(crate) fn summary(&self, stats: &Stats) {
        let (half, most) = (milliseconds(stats.within(0.5)), milliseconds(stats.within(0.99)));
        if self.json {
            let versions: Vec<Value> = stats
                .versions()
                .iter()
                .map(|(version, count)| json!({"version": version, "count": count}))
                .collect();
            let summary = json!({
                "event": "summary", "requests": stats.requests, "down": stats.down,
                "longest_gap_ms": milliseconds(stats.longest_gap), "p50_ms": half, "p99_ms": most,
                "versions": versions,
            });
            return self.line(&summary.to_string());
        }
        self.line(&format!(
            "{}, {} down, longest gap {:.3}s, p50 {half} ms, p99 {most} ms",
            counted(stats.requests, "request"),
            stats.down,
            stats.longest_gap.as_secs_f64()
        ));
        for (version, count) in stats.versions() {
            self.line(&format!("  {} from {}", counted(count, "answer"), shown(version)));
        }
    }

    fn coloured(&self, colour: &str, word: &str, rest: &str) {
        match self.colours {
            true => self.line(&format!("\x1b[{colour}m{word}{rest}\x1b[0m")),
            false => self.line(&format!("{word}{rest}")),
        }
    }

    /// A reader that has gone away (`| head`) is no reason for a panic: it ends the program.
    fn line(&self, line: &str) {
        if writeln!(io::stdout(), "{line}").is_err() {
            std::process::exit(1);
        }
    }
}

/// `1 answer`, `2 answers`.
fn counted(count: u64, thing: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {thing}{plural}")
}

fn event(outcome: &Outcome, changed: bool, took: Duration, at: &str) -> Value {
    match outcome {
        Ok(answer) => json!({
            "event": "up", "changed": changed, "at": at, "ms": milliseconds(took), "status": answer.status,
            "body": answer.body, "generation": answer.generation,
        }),
        Err(reason) => json!({"event": "down", "at": at, "ms": milliseconds(took), "reason": reason}),
    }
}

/// Text from outside, fit for a terminal.
pub(crate) fn shown(text: &str) -> String {
    let mut shown = String::new();
    for letter in text.chars().take(SHOWN) {
        match letter.is_control() {
            true => shown.extend(letter.escape_default()),
            false => shown.push(letter),
        }
    }
    if text.chars().nth(SHOWN).is_some() {
        shown.push_str("...");
    }
    shown
}

/// In milliseconds, to the microsecond.
pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}

/// `2026-11-22 10:00:00.123`, UTC.
fn timestamp(time: SystemTime) -> String {
    let text = humantime::format_rfc3339_millis(time).to_string();
    text.trim_end_matches('Z').replace('T', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_341_600_123);
        assert_eq!(timestamp(time), "2026-11-22 10:00:00.123");
    }

    #[test]
    fn nothing_from_outside_moves_the_cursor() {
        assert_eq!(shown("a\x1b[31m\nb"), "a\\u{1b}[31m\\nb");
        assert!(shown(&"x".repeat(1000)).len() < 510);
    }
}
