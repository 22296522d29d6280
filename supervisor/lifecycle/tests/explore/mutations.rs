//! A saved text that was changed at random is refused, or is a machine that can be stepped like any other.

use super::explorer::{Explorer, expand};
use super::scenarios::rules_of;
use super::table::Table;
use crate::{Event, Lifecycle, Timer, Worker};

/// Enough that each line of a text is changed in many ways.
const TRIES: u64 = 20_000;

/// A small generator of numbers (xorshift64, Marsaglia 2003): the package has no dependencies.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(end.max(1)).unwrap()).unwrap()
    }
}

/// Drops, doubles or swaps a line, or puts another number or word into one.
fn mutate(text: &str, random: &mut Random) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for _ in 0..=random.below(3) {
        if lines.is_empty() {
            break;
        }
        let at = random.below(lines.len());
        let other = random.below(lines.len());
        match random.below(5) {
            0 => drop(lines.remove(at)),
            1 => lines.push(lines[at].clone()),
            2 => lines.swap(at, other),
            _ => {
                let mut words: Vec<String> = lines[at].split(' ').map(str::to_owned).collect();
                let word = random.below(words.len());
                let theirs: Vec<&str> = lines[other].split(' ').collect();
                words[word] = match random.below(3) {
                    0 => theirs[random.below(theirs.len())].to_owned(),
                    1 => words[word].replace(|c: char| c.is_ascii_digit(), "3"),
                    _ => words[word].chars().rev().collect(),
                };
                lines[at] = words.join(" ");
            }
        }
    }
    lines.join("\n")
}

/// The texts of the machines on a random way through a scenario.
fn walk(scenario: &str, length: usize, random: &mut Random) -> Vec<String> {
    let rules = rules_of(scenario);
    let (mut node, _) = Explorer::start(rules, None);
    let mut texts = Vec::new();
    for _ in 0..length {
        texts.push(node.core.save());
        let mut successors = expand(&node, rules, &mut Table::default());
        if successors.is_empty() {
            break;
        }
        node = successors.swap_remove(random.below(successors.len())).node;
    }
    texts
}

fn some_event(machine: &Lifecycle, random: &mut Random) -> Event {
    let workers: Vec<Worker> = machine
        .generations()
        .flat_map(|generation| generation.processes.iter().map(|process| process.worker))
        .collect();
    let timers: Vec<Timer> = machine.timers().collect();
    let number = random.below(6) as u64;
    let worker = workers.get(random.below(workers.len())).copied();
    match (random.below(15), worker) {
        (0, Some(worker)) => Event::Ready(worker),
        (1, Some(worker)) => Event::Exited(worker),
        (2, Some(worker)) => Event::Gone(worker),
        (3, Some(worker)) => Event::SpawnFailed(worker),
        (4, Some(worker)) => Event::Stuck(worker),
        (5, _) => Event::Confirmed(number),
        (6, _) => Event::PrepareFailed(number),
        (7, _) => Event::ProbePassed(number),
        (8, _) => Event::Workers(u16::try_from(number).unwrap()),
        (9, _) => Event::Stop,
        (10, _) => Event::Unawaited(number),
        (11, _) => Event::Unheld(number),
        (12, _) => Event::Deaf(number),
        _ => match timers.get(random.below(timers.len())) {
            Some(timer) => Event::Due(*timer),
            None => Event::ProbeFailed(number),
        },
    }
}

#[test]
fn a_text_that_was_changed_is_refused_or_a_machine() {
    let mut random = Random(0x5e6e_0001);
    let texts: Vec<String> = ["overlap", "probation", "probe and soak", "queue", "two workers"]
        .into_iter()
        .flat_map(|scenario| walk(scenario, 40, &mut random))
        .collect();
    let (mut refused, mut stepped) = (0, 0);
    for _ in 0..TRIES {
        let text = mutate(&texts[random.below(texts.len())], &mut random);
        let Ok(mut machine) = Lifecycle::load(&text) else {
            refused += 1;
            continue;
        };
        stepped += 1;
        for _ in 0..20 {
            let event = some_event(&machine, &mut random);
            machine.step(event);
        }
    }
    println!("{refused} texts refused, {stepped} machines stepped");
    assert!(refused > TRIES / 10 && stepped > TRIES / 10);
}
