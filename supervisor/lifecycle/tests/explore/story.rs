//! A sequence of turns as a person would tell it.

use std::fmt::{Debug, Write};

use super::explorer::{Move, Node, Violation, step};
use super::table::Table;
use crate::Effect;

/// The text so far.
pub(super) struct Story {
    text: String,
    turns: usize,
}

impl Story {
    pub(super) fn begin(effects: &[Effect]) -> Self {
        let mut story = Self {
            text: String::new(),
            turns: 0,
        };
        story.line("start", effects);
        story
    }

    pub(super) fn turn(&mut self, node: &Node, by: &Move) {
        self.turns += 1;
        match by {
            Move::Dies(worker) => {
                let text = format!("({} dies unnoticed)", brief(worker));
                self.line(&text, &[]);
            }
            Move::Turn(events) => {
                let mut node = node.clone();
                for (index, event) in events.iter().enumerate() {
                    let stepped = step(&node, *event, &mut Table::default());
                    let same = if index > 0 { "in the same turn: " } else { "" };
                    self.line(&format!("{same}{}", brief(event)), &stepped.effects);
                    node = stepped.node;
                }
            }
        }
    }

    fn line(&mut self, what: &str, effects: &[Effect]) {
        let effects: Vec<String> = effects.iter().map(brief).collect();
        let _ = writeln!(
            self.text,
            "{:>3}. {what:<34} -> {}",
            self.turns,
            effects.join(", ")
        );
    }

    pub(super) fn end(mut self, node: &Node, violations: &[Violation]) -> String {
        for violation in violations {
            let _ = writeln!(
                self.text,
                "BROKEN {}: {}",
                violation.invariant,
                brief(&violation.text.as_str())
            );
        }
        let _ = write!(self.text, "the core then: {}", brief(&node.core));
        self.text.replace('"', "")
    }
}

/// A word as short as it can be told: `Ready(2.0.1)` is the second start of the first worker of generation 2, and a
/// plan is reduced to what it says of workers and mode.
pub(super) fn brief(word: &impl Debug) -> String {
    let text = format!("{word:?}")
        .replace("Record(", "(record ")
        .replace("Tell(", "(");
    let text = shorten(&text, "Worker { generation: ", |worker| {
        worker.replace(", slot: ", ".").replace(", start: ", ".")
    });
    shorten(&text, "Plan { workers: ", |plan| {
        let (workers, rest) = plan.split_once(", mode: ").unwrap_or((plan, ""));
        let (mode, _) = rest.split_once(',').unwrap_or((rest, ""));
        format!("{mode} plan for {workers}")
    })
}

/// Replace each `head ... }` by what `make` makes of the dots.
fn shorten(text: &str, head: &str, make: impl Fn(&str) -> String) -> String {
    let mut parts = text.split(head);
    let mut short = String::from(parts.next().unwrap_or_default());
    for part in parts {
        let (inside, rest) = part.split_once(" }").unwrap_or((part, ""));
        short.push_str(&make(inside));
        short.push_str(rest);
    }
    short
}
