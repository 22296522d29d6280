//! Breadth first through every order of events. The first violation found is the shortest story that leads to one.

use std::collections::{BTreeSet, VecDeque};

use super::fingerprint::{Print, Prints};
use super::invariants::{self, Step};
use super::story::Story;
use super::table::Table;
use super::world::{Rules, World, acts_outside, is_stopping};
use crate::{Bug, Effect, Event, Lifecycle, Timer, Worker};

/// The core and the world at rest between two turns.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Node {
    pub(super) core: Lifecycle,
    pub(super) world: World,
}

/// What happens between two states at rest.
#[derive(Clone, Debug)]
pub(super) enum Move {
    /// A main process dies and nobody has noticed.
    Dies(Worker),
    /// These events are stepped, one after the other, before their effects are performed.
    Turn(Vec<Event>),
}

/// A step that broke something.
pub(super) struct Violation {
    pub(super) invariant: &'static str,
    pub(super) text: String,
}

/// One step and what came of it.
pub(super) struct Stepped {
    pub(super) node: Node,
    pub(super) effects: Vec<Effect>,
    pub(super) violations: Vec<Violation>,
}

/// What follows from a state by one move.
pub(super) struct Successor {
    pub(super) by: Move,
    pub(super) node: Node,
    pub(super) violations: Vec<Violation>,
}

/// What an exploration has seen.
#[derive(Default)]
pub(super) struct Report {
    pub(super) states: usize,
    pub(super) transitions: usize,
    /// The number of turns in the longest of the shortest stories.
    pub(super) depth: usize,
    pub(super) broken: BTreeSet<&'static str>,
    /// The shortest story that reaches the goal (or, if all is to be seen, that breaks something).
    pub(super) story: Option<String>,
    pub(super) table: Table,
}

impl Report {
    /// Add what an exploration within other bounds has seen. What both have seen counts twice.
    pub(super) fn add(&mut self, other: Self) {
        self.states += other.states;
        self.transitions += other.transitions;
        self.depth = self.depth.max(other.depth);
        self.broken.extend(other.broken);
        self.story = self.story.take().or(other.story);
        self.table.add(&other.table);
    }
}

/// What an exploration is for.
#[derive(Clone, Copy)]
pub(super) enum Goal {
    /// To see every state within the bounds, unless an invariant breaks.
    Everything,
    /// To see this invariant break, whatever else does.
    Broken(&'static str),
}

/// Where a state was first reached from: the number of that state, and which of its successors it is.
#[derive(Clone, Copy)]
struct Trail {
    from: u32,
    successor: u32,
    depth: u32,
}

/// One exploration of one scenario.
pub(super) struct Explorer<'a> {
    rules: &'a Rules,
    bug: Option<Bug>,
    goal: Goal,
    seen: Prints,
    /// Machines that were looked at, each with whatever world around it.
    known_cores: Prints,
    trails: Vec<Trail>,
    queue: VecDeque<(u32, Node)>,
    /// States from which a stop is known to end, with obedient and with stubborn processes.
    known_to_end: [Prints; 2],
    report: Report,
}

/// Chooses what happens next, if anything can.
type Continuation = fn(&Node) -> Option<Event>;

impl Node {
    /// Of the machine, and of all.
    fn prints(&self) -> (Print, Print) {
        let core = Print::of(&self.core);
        (core, core.with(&self.world))
    }
}

impl<'a> Explorer<'a> {
    pub(super) fn new(rules: &'a Rules, bug: Option<Bug>, goal: Goal) -> Self {
        Self {
            rules,
            bug,
            goal,
            seen: Prints::default(),
            known_cores: Prints::default(),
            trails: Vec::new(),
            queue: VecDeque::new(),
            known_to_end: [Prints::default(), Prints::default()],
            report: Report::default(),
        }
    }

    /// The state before the first event.
    pub(super) fn start(rules: &Rules, bug: Option<Bug>) -> (Node, Vec<Effect>) {
        let (core, effects) = match bug {
            Some(bug) => Lifecycle::with_bug(bug),
            None => Lifecycle::new(),
        };
        let mut world = World::new(rules.budget);
        for effect in &effects {
            world.account(*effect);
        }
        (Node { core, world }, effects)
    }

    pub(super) fn run(mut self) -> Report {
        let (start, _) = Self::start(self.rules, self.bug);
        let trail = Trail {
            from: 0,
            successor: 0,
            depth: 0,
        };
        let start = Successor {
            by: Move::Turn(Vec::new()),
            node: start,
            violations: Vec::new(),
        };
        self.meet(trail, start);
        while let Some((number, node)) = self.queue.pop_front() {
            let successors = expand(&node, self.rules, &mut self.report.table);
            for (index, successor) in (0u32..).zip(successors) {
                self.report.transitions += 1;
                let depth = self.trails[number as usize].depth + 1;
                let trail = Trail {
                    from: number,
                    successor: index,
                    depth,
                };
                self.meet(trail, successor);
                if self.report.story.is_some() {
                    return self.report;
                }
            }
        }
        self.report
    }

    /// Check what a move has led to; remember it if it is new.
    fn meet(&mut self, trail: Trail, successor: Successor) {
        let Successor {
            node, mut violations, ..
        } = successor;
        let (core, whole) = node.prints();
        let new = self.seen.insert(whole);
        if new {
            violations.extend(wrongs(&node));
            // Many states differ in the world alone.
            if self.known_cores.insert(core) {
                violations.extend(wrongs_of_core(&node.core));
            }
            if violations.is_empty() {
                violations.extend(self.ends(&node));
            }
        }
        self.note(trail, &violations);
        if new {
            let number = u32::try_from(self.trails.len()).expect("fewer states than 2^32");
            self.trails.push(trail);
            self.queue.push_back((number, node));
            self.report.states += 1;
            self.report.depth = self.report.depth.max(trail.depth as usize);
        }
    }

    fn note(&mut self, trail: Trail, violations: &[Violation]) {
        for violation in violations {
            self.report.broken.insert(violation.invariant);
            let is_goal = match self.goal {
                Goal::Everything => true,
                Goal::Broken(invariant) => violation.invariant == invariant,
            };
            if is_goal && self.report.story.is_none() {
                self.report.story = Some(self.tell(trail, violations));
            }
        }
    }

    /// The way to a state, told from the start.
    fn tell(&self, trail: Trail, violations: &[Violation]) -> String {
        let mut choices = vec![trail.successor];
        let mut at = trail.from;
        while at != 0 {
            let trail = self.trails[at as usize];
            choices.push(trail.successor);
            at = trail.from;
        }
        choices.reverse();
        let (mut node, effects) = Self::start(self.rules, self.bug);
        let mut story = Story::begin(&effects);
        for choice in choices {
            let mut scratch = Table::default();
            let successors = expand(&node, self.rules, &mut scratch);
            let Some(successor) = successors.into_iter().nth(choice as usize) else {
                break;
            };
            story.turn(&node, &successor.by);
            node = successor.node;
        }
        story.end(&node, violations)
    }

    /// A stop always ends: from a state in which one was asked for, fair continuations reach the end. In one every
    /// process obeys and no timer comes due; in the other no process ever ends and only timers come due.
    fn ends(&mut self, node: &Node) -> Option<Violation> {
        if !is_stopping(&node.core) {
            return None;
        }
        let continuations: [(&str, Continuation); 2] = [
            ("every process obeys", obedient),
            ("no process ever ends", stubborn),
        ];
        for (known, (name, next)) in self.known_to_end.iter_mut().zip(continuations) {
            let mut node = node.clone();
            let mut passed = Vec::new();
            while !node.world.finished {
                let (_, print) = node.prints();
                if known.contains(&print) {
                    break;
                }
                passed.push(print);
                let event = next(&node);
                let Some(event) = event.filter(|_| passed.len() < 500) else {
                    let text = format!("a stop does not end though {name}: {:?}", node.world.running());
                    return Some(Violation {
                        invariant: invariants::STOP_ALWAYS_ENDS,
                        text,
                    });
                };
                let stepped = step(&node, event, &mut Table::default());
                let wrong = wrongs(&stepped.node);
                if let Some(violation) = stepped.violations.into_iter().chain(wrong).next() {
                    return Some(violation);
                }
                node = stepped.node;
            }
            known.extend(passed);
        }
        None
    }
}

/// Every process that was told to end does, and is reaped.
fn obedient(node: &Node) -> Option<Event> {
    use super::world::{Leader, Told};
    let (worker, process) = node
        .world
        .processes
        .iter()
        .find(|(_, process)| process.told != Told::Nothing)?;
    Some(match process.leader {
        Leader::Running | Leader::Dead => Event::Exited(*worker),
        Leader::Reported => Event::Gone(*worker),
    })
}

/// No process ever ends; the timers come due.
fn stubborn(node: &Node) -> Option<Event> {
    let last = |timer: &Timer| matches!(timer, Timer::Stop);
    let timers: Vec<Timer> = node.core.timers().collect();
    let next = timers.iter().find(|timer| !last(timer)).or(timers.first());
    next.copied().map(Event::Due)
}

/// What is wrong with a state.
fn wrongs(node: &Node) -> Vec<Violation> {
    let broken = invariants::OF_STATES
        .iter()
        .filter_map(|(invariant, check)| check(node).err().map(|text| Violation { invariant, text }));
    broken.collect()
}

/// What is wrong with a machine, whatever is around it.
fn wrongs_of_core(core: &Lifecycle) -> Vec<Violation> {
    let broken = invariants::OF_CORES
        .iter()
        .filter_map(|(invariant, check)| check(core).err().map(|text| Violation { invariant, text }));
    broken.collect()
}

/// Let the core take in one event, and check every invariant of steps.
pub(super) fn step(node: &Node, event: Event, table: &mut Table) -> Stepped {
    let mut world = node.world.clone();
    world.consume(event, &node.core);
    let mut core = node.core.clone();
    let effects = core.step(event);
    let mut then = world.clone();
    for effect in &effects {
        then.account(*effect);
    }
    // A client that waits in a lane to which new clients go has not been left behind.
    then.stranded.retain(|lane| core.pointed() != Some(*lane));
    let seen = Step {
        before: &node.core,
        world: &world,
        event,
        effects: &effects,
        after: &core,
        then: &then,
    };
    let broken = invariants::OF_STEPS
        .iter()
        .filter_map(|(invariant, check)| check(&seen).err().map(|text| Violation { invariant, text }));
    let violations = broken.collect();
    table.note(&seen);
    Stepped {
        node: Node { core, world: then },
        effects,
        violations,
    }
}

/// Everything that can follow from a state, in an order that is always the same.
pub(super) fn expand(node: &Node, rules: &Rules, table: &mut Table) -> Vec<Successor> {
    let mut successors = Vec::new();
    for worker in node.world.may_die(&node.core) {
        let mut node = node.clone();
        node.world.die(worker);
        successors.push(Successor {
            by: Move::Dies(worker),
            node,
            violations: Vec::new(),
        });
    }
    for events in node.world.looks(rules) {
        successors.push(turn(node, events, table));
    }
    for event in node.world.possible(&node.core, rules) {
        let first = step(node, event, table);
        if first.violations.is_empty() && first.effects.iter().any(acts_outside) {
            pairs(node, event, &first, rules, table, &mut successors);
        }
        let Stepped { node, violations, .. } = first;
        successors.push(Successor {
            by: Move::Turn(vec![event]),
            node,
            violations,
        });
    }
    successors
}

fn turn(node: &Node, events: Vec<Event>, table: &mut Table) -> Successor {
    let mut node = node.clone();
    let mut violations = Vec::new();
    for event in &events {
        let stepped = step(&node, *event, table);
        node = stepped.node;
        violations.extend(stepped.violations);
    }
    Successor {
        by: Move::Turn(events),
        node,
        violations,
    }
}

/// A second event of the same turn, which happens in the world as it was before the effects of the first. The core
/// does not see where a turn ends; so this is a story of its own only if it could not happen afterwards as well.
fn pairs(
    node: &Node,
    event: Event,
    first: &Stepped,
    rules: &Rules,
    table: &mut Table,
    successors: &mut Vec<Successor>,
) {
    let mut world = node.world.clone();
    world.consume(event, &node.core);
    let afterwards = first.node.world.possible(&first.node.core, rules);
    for second in world.possible(&node.core, rules) {
        // The contract: no timer comes due before the effects are performed. For those that are disarmed see
        // `the_stale_is_ignored`.
        if matches!(second, Event::Due(_)) || afterwards.contains(&second) {
            continue;
        }
        let stepped = step(&first.node, second, table);
        successors.push(Successor {
            by: Move::Turn(vec![event, second]),
            node: stepped.node,
            violations: stepped.violations,
        });
    }
}
