//! What the explorer has seen, by event and situation: the lists of `docs/LIFECYCLE.md`.

use std::collections::{BTreeMap, BTreeSet};

use super::invariants::Step;
use super::words::{self, Topic};
use crate::{Event, Handoff, Life, Lifecycle, Mode, Progress, Role, Standing, Timer, Worker};

/// How wide prose is in the documents.
const WIDTH: usize = 100;

/// What an event can mean depends on this much of the state.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Situation {
    /// How the worker of the event is doing.
    Worker(Part, LifeOf),
    /// How far the handoff is.
    Stage(StageOf),
    /// The same, as the candidate's record comes out for this mode.
    Prepared(StageOf, bool),
    /// What the slot's generation is.
    Slot(Part),
}

/// What a generation is to the others, and what its crash would mean.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Candidate,
    /// A crash means a restart.
    Incumbent,
    /// A crash means rollback.
    OnProbation,
    Lingering,
    Retired,
    Relief,
    /// The core knows nothing of it.
    Unknown,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum LifeOf {
    Starting,
    Serving,
    Draining,
    Killed,
    Gone,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum StageOf {
    Idle,
    Waiting,
    Preparing,
    Seeking,
    Starting,
    Probing,
    Soaking,
    Confirming,
    Switching,
    Stopping,
    Finished,
}

/// What followed in every case, what in some, and the stages of the handoff that it led to.
#[derive(Clone, PartialEq, Eq)]
struct Cell {
    always: BTreeSet<&'static str>,
    ever: BTreeSet<&'static str>,
    then: BTreeSet<StageOf>,
}

/// What was seen.
#[derive(Clone, Default)]
pub(super) struct Table {
    cells: BTreeMap<(usize, Situation), Cell>,
}

impl Table {
    /// Take note of one step.
    pub(super) fn note(&mut self, step: &Step) {
        let seen: BTreeSet<&'static str> = step.effects.iter().filter_map(words::of_effect).collect();
        let now = stage(step.after, step.then.finished);
        let moved = (now != stage(step.before, false)).then_some(now);
        let cell = self
            .cells
            .entry((words::of_event(step.event), situation(step)))
            .or_insert_with(|| Cell {
                always: seen.clone(),
                ever: BTreeSet::new(),
                then: BTreeSet::new(),
            });
        cell.always.retain(|word| seen.contains(word));
        cell.ever.extend(seen);
        cell.then.extend(moved);
    }

    /// Add what another exploration has seen.
    pub(super) fn add(&mut self, other: &Self) {
        for (key, theirs) in &other.cells {
            let cell = self.cells.entry(*key).or_insert_with(|| theirs.clone());
            cell.always.retain(|word| theirs.always.contains(word));
            cell.ever.extend(theirs.ever.iter().copied());
            cell.then.extend(theirs.then.iter().copied());
        }
    }

    /// The events that were never seen.
    pub(super) fn unseen(&self) -> Vec<&'static str> {
        let seen: BTreeSet<usize> = self.cells.keys().map(|(event, _)| *event).collect();
        let all = words::EVENTS.iter().enumerate();
        all.filter(|(index, _)| !seen.contains(index))
            .map(|(_, (name, _))| *name)
            .collect()
    }

    /// Render what follows as Markdown, one list for each event. A table of it would be too wide for most screens.
    pub(super) fn render(&self) -> String {
        let mut text = String::new();
        for topic in Topic::ALL {
            text += &format!("### {}\n\n", topic.title());
            for (index, (name, of)) in words::EVENTS.iter().enumerate() {
                if *of == topic {
                    text += &format!("**{name}**\n\n{}\n", self.items(index));
                }
            }
        }
        text
    }

    /// The items of one event; situations in which the same follows share one.
    fn items(&self, event: usize) -> String {
        let mut items: Vec<(Vec<Situation>, &Cell)> = Vec::new();
        for ((_, situation), cell) in self.cells.iter().filter(|((index, _), _)| *index == event) {
            match items.iter_mut().find(|(_, other)| *other == cell) {
                Some((situations, _)) => situations.push(*situation),
                None => items.push((vec![*situation], cell)),
            }
        }
        let item = |(situations, cell): (Vec<Situation>, &Cell)| {
            let situations: Vec<String> = situations.into_iter().map(Situation::text).collect();
            wrapped(&format!("* {}: {}", situations.join("; "), cell.text()))
        };
        items.into_iter().map(item).collect()
    }
}

impl Cell {
    /// Describe what follows: always, sometimes, and for the handoff.
    fn text(&self) -> String {
        let sometimes: BTreeSet<_> = self.ever.difference(&self.always).copied().collect();
        let then: Vec<&str> = self.then.iter().map(|stage| stage.text()).collect();
        let parts = [
            ("", words::join(&self.always)),
            ("**sometimes** ", words::join(&sometimes)),
            ("**handoff to** ", then.join(", ")),
        ];
        let parts = parts.iter().filter(|(_, text)| !text.is_empty());
        let parts: Vec<String> = parts.map(|(head, text)| format!("{head}{text}")).collect();
        match parts.is_empty() {
            true => "nothing".into(),
            false => parts.join("; "),
        }
    }
}

/// An item of a list in lines of at most 100 columns.
fn wrapped(item: &str) -> String {
    let mut text = String::new();
    let mut column = 0;
    for word in item.split(' ') {
        if column > 0 && column + 1 + word.len() > WIDTH {
            text += "\n  ";
            column = 2;
        } else if column > 0 {
            text.push(' ');
            column += 1;
        }
        text += word;
        column += word.len();
    }
    text + "\n"
}

fn stage(core: &Lifecycle, finished: bool) -> StageOf {
    if finished {
        return StageOf::Finished;
    }
    if super::world::is_stopping(core) {
        return StageOf::Stopping;
    }
    match core.handoff() {
        Handoff::Idle => StageOf::Idle,
        Handoff::Waiting => StageOf::Waiting,
        Handoff::Candidate(_, Progress::Preparing) => StageOf::Preparing,
        Handoff::Candidate(_, Progress::Seeking) => StageOf::Seeking,
        Handoff::Candidate(_, Progress::Starting) => StageOf::Starting,
        Handoff::Candidate(_, Progress::Probing) => StageOf::Probing,
        Handoff::Candidate(_, Progress::Soaking) => StageOf::Soaking,
        Handoff::Candidate(_, Progress::Confirming) => StageOf::Confirming,
        Handoff::Candidate(_, Progress::Switching) => StageOf::Switching,
    }
}

fn situation(step: &Step) -> Situation {
    let core = step.before;
    match step.event {
        Event::Reload(..)
        | Event::PrepareFailed(_)
        | Event::ProbePassed(_)
        | Event::ProbeFailed(_)
        | Event::Confirmed(_)
        | Event::Unawaited(_)
        | Event::Unheld(_)
        | Event::Switched(_)
        | Event::NotSwitched(_)
        | Event::TokenPlaced(_)
        | Event::TokenExcused(_)
        | Event::TokenAccepted(_)
        | Event::Stranded(_)
        | Event::Relieved(_)
        | Event::RoomWanted
        | Event::Workers(_)
        | Event::Stop
        | Event::Due(
            Timer::Probe(_)
            | Timer::ProbeAgain(_)
            | Timer::Soak(_)
            | Timer::Look(_)
            | Timer::Await(_)
            | Timer::Switch
            | Timer::Relieve(_)
            | Timer::Stop,
        ) => Situation::Stage(stage(core, false)),
        Event::Prepared(_, plan) => Situation::Prepared(stage(core, false), plan.mode == Mode::Queue),
        Event::SpawnFailed(worker)
        | Event::Executed(worker)
        | Event::Ready(worker)
        | Event::Accepts(worker)
        | Event::MoreTime(worker)
        | Event::Alive(worker)
        | Event::Stuck(worker)
        | Event::Exited(worker)
        | Event::Gone(worker)
        | Event::Due(
            Timer::Start(worker)
            | Timer::Hint(worker)
            | Timer::Alive(worker)
            | Timer::Silent(worker)
            | Timer::Watchdog(worker)
            | Timer::Drain(worker)
            | Timer::Kill(worker),
        ) => Situation::Worker(part(core, worker.generation), life(core, worker)),
        Event::Deaf(number)
        | Event::Unused(number)
        | Event::InUse(number)
        | Event::Due(
            Timer::Linger(number)
            | Timer::Count(number)
            | Timer::Probation(number)
            | Timer::BackOff(number, _)
            | Timer::Calm(number, _),
        ) => Situation::Slot(part(core, number)),
    }
}

fn part(core: &Lifecycle, number: crate::Number) -> Part {
    let Some(generation) = core.generation(number) else {
        return Part::Unknown;
    };
    match (generation.role, generation.standing) {
        (Role::Candidate, _) => Part::Candidate,
        (Role::Incumbent, Standing::Untried) if core.last_good().is_some() => Part::OnProbation,
        (Role::Incumbent, Standing::Untried | Standing::Proven) => Part::Incumbent,
        (Role::Lingering, _) => Part::Lingering,
        (Role::Retired, _) => Part::Retired,
        (Role::Relief, _) => Part::Relief,
    }
}

fn life(core: &Lifecycle, worker: Worker) -> LifeOf {
    let generation = core.generation(worker.generation);
    let process = generation.and_then(|g| g.processes.iter().find(|process| process.worker == worker));
    match process.map(|process| process.life) {
        Some(Life::Starting) => LifeOf::Starting,
        Some(Life::Serving) => LifeOf::Serving,
        Some(Life::Draining) => LifeOf::Draining,
        Some(Life::Killed) => LifeOf::Killed,
        None => LifeOf::Gone,
    }
}

impl Situation {
    fn text(self) -> String {
        match self {
            Self::Worker(_, LifeOf::Gone) | Self::Worker(Part::Unknown, _) => {
                "of a worker that is gone".into()
            }
            Self::Worker(part, life) => format!("{}, {}", part.text(), life.text()),
            Self::Stage(stage) => stage.text().into(),
            Self::Prepared(stage, true) => format!("{}, queue mode", stage.text()),
            Self::Prepared(stage, false) => format!("{}, overlap mode", stage.text()),
            Self::Slot(part) => part.text().into(),
        }
    }
}

impl Part {
    const fn text(self) -> &'static str {
        match self {
            Self::Candidate => "candidate",
            Self::Incumbent => "incumbent",
            Self::OnProbation => "incumbent on probation",
            Self::Lingering => "lingering",
            Self::Retired => "retired",
            Self::Relief => "relief",
            Self::Unknown => "unknown",
        }
    }
}

impl LifeOf {
    const fn text(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::Draining => "draining",
            Self::Killed => "killed",
            Self::Gone => "gone",
        }
    }
}

impl StageOf {
    const fn text(self) -> &'static str {
        match self {
            Self::Idle => "Idle",
            Self::Waiting => "Waiting",
            Self::Preparing => "Preparing",
            Self::Seeking => "Seeking",
            Self::Starting => "Starting",
            Self::Probing => "Probing",
            Self::Soaking => "Soaking",
            Self::Confirming => "Confirming",
            Self::Switching => "Switching",
            Self::Stopping => "stopping",
            Self::Finished => "the end",
        }
    }
}
