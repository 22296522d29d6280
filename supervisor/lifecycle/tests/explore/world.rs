//! The world that the core lives in: processes that die when they like, clients that ask when they like, timers
//! that come due in any order. It knows what may happen next, and keeps the books of what the core has asked for.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    Effect, Event, FIRST, Fact, Handoff, Lane, Lifecycle, Mode, Number, Plan, Progress, Readiness, Record,
    Role, Signal, Stage, State, Ticket, Timer, Until, Worker,
};

/// What is known outside of a worker's main process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Leader {
    /// It runs.
    Running,
    /// It is dead and nobody has looked.
    Dead,
    /// It is dead and the core was told; others of its group may live.
    Reported,
}

/// The strongest signal that a worker was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Told {
    Nothing,
    ToStop,
    Killed,
}

/// A process group that was spawned and is not gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Process {
    pub(super) leader: Leader,
    pub(super) told: Told,
    /// Whether exec is known to have succeeded. Only followed where it matters ([`Readiness::Alive`]).
    pub(super) executed: bool,
    /// Whether the core was told that it is ready, in time.
    pub(super) ready: bool,
    /// Whether it has said READY=1, or was seen to accept. Only followed where it matters ([`Readiness::Auto`]).
    pub(super) spoke: bool,
    pub(super) accepts: bool,
}

/// A request that has no answer yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Asked {
    pub(super) until: Until,
    /// The generation that was prepared for it: the first one after the request.
    pub(super) generation: Option<Number>,
    /// The other generations that had processes when that one took over.
    pub(super) draining: Vec<Number>,
}

/// What a look at a candidate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum LookFor {
    /// Whether somebody waits on its listeners, too.
    Everything,
    /// Whether it lives and has them.
    TheRest,
}

/// How often things that lead ever onwards may still happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Budget {
    pub(super) reloads: u8,
    /// Failures of a worker of the incumbent; a candidate's are bounded by the reloads.
    pub(super) failures: u8,
    pub(super) stops: u8,
    pub(super) scalings: u8,
}

impl Budget {
    /// Whether everything that the other allows is allowed.
    pub(super) const fn contains(self, other: Self) -> bool {
        self.reloads >= other.reloads
            && self.failures >= other.failures
            && self.stops >= other.stops
            && self.scalings >= other.scalings
    }
}

/// What may happen in a story besides the essentials. Each doubles the number of states or worse.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// The plans that a birth record may come out with.
    pub(super) plans: &'static [Plan],
    pub(super) untils: &'static [Until],
    /// The numbers of workers that may be asked for.
    pub(super) counts: &'static [u16],
    pub(super) budget: Budget,
    /// Timers that tell people something come due, and workers ask for more time.
    pub(super) chatter: bool,
    /// Creating a process may fail.
    pub(super) spawn_fails: bool,
    /// SIGKILL may not help.
    pub(super) unkillable: bool,
    /// A candidate may lack its listeners, or not wait on them yet.
    pub(super) looks_differ: bool,
    /// An incumbent may accept nobody.
    pub(super) deaf: bool,
    /// Clients may wait in a lane to which new ones do not go, and the kernel may refuse a switch.
    pub(super) strands: bool,
}

/// The world outside of the core.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) processes: BTreeMap<Worker, Process>,
    pub(super) preparing: BTreeSet<Number>,
    /// Records that were prepared and not forgotten.
    pub(super) records: BTreeSet<Record>,
    /// Those of them from which a worker was started that has said something about its start.
    pub(super) notifiers: BTreeSet<Record>,
    /// The generation that a probe command asks at this moment.
    pub(super) probe: Option<Number>,
    pub(super) confirming: Option<(Number, LookFor)>,
    /// The generation to whose lane new clients go, and the one before, until the switch is answered.
    pub(super) switched: Option<Number>,
    pub(super) switching: Option<(Number, Option<Number>)>,
    /// The candidate for which a token is to be placed, the one whose token waits, and the last one that was seen to accept, or
    /// excused from that.
    pub(super) placing: Option<Number>,
    pub(super) placed: Option<Number>,
    pub(super) accepted: Option<Number>,
    /// The lanes in which clients wait though new ones do not go there, as the core was told.
    pub(super) stranded: BTreeSet<Lane>,
    /// The generations whose connections are to be looked at.
    pub(super) counting: BTreeSet<Number>,
    /// The last candidate that was seen without a listener that it needs.
    pub(super) unheld: Option<Number>,
    /// The last generation whose probe passed, and the last that soaked to the end.
    pub(super) passed: Option<Number>,
    pub(super) soaked: Option<Number>,
    pub(super) tickets: BTreeMap<Ticket, Asked>,
    /// The latest start of each slot of each living generation.
    pub(super) starts: BTreeMap<(Number, u16), u32>,
    /// Whether a reload was told to have begun (or to wait) and not to be over.
    pub(super) reloading: bool,
    pub(super) finished: bool,
    pub(super) budget: Budget,
}

impl World {
    /// Before anything has happened: the core wants the first record.
    pub(super) fn new(budget: Budget) -> Self {
        Self {
            processes: BTreeMap::new(),
            preparing: BTreeSet::new(),
            records: BTreeSet::new(),
            notifiers: BTreeSet::new(),
            probe: None,
            confirming: None,
            switched: None,
            switching: None,
            placing: None,
            placed: None,
            accepted: None,
            stranded: BTreeSet::new(),
            counting: BTreeSet::new(),
            unheld: None,
            passed: None,
            soaked: None,
            tickets: BTreeMap::new(),
            starts: BTreeMap::new(),
            reloading: false,
            finished: false,
            budget,
        }
    }

    /// Every event that may happen now. The answer to [`Effect::Confirm`] is not among them: see [`World::look`].
    pub(super) fn possible(&self, core: &Lifecycle, rules: &Rules) -> Vec<Event> {
        let mut events = Vec::new();
        if self.finished {
            return events;
        }
        self.requests(rules, &mut events);
        for &number in &self.preparing {
            events.extend(rules.plans.iter().map(|plan| Event::Prepared(number, *plan)));
            events.push(Event::PrepareFailed(number));
        }
        for (&worker, process) in &self.processes {
            self.of_process(worker, process, core, rules, &mut events);
        }
        if let Some(number) = self.probe {
            events.extend([Event::ProbePassed(number), Event::ProbeFailed(number)]);
        }
        if rules.deaf && self.budget.failures > 0 {
            let serving = core.incumbent().filter(|incumbent| incumbent.serves());
            events.extend(serving.map(|incumbent| Event::Deaf(incumbent.number)));
        }
        self.of_lanes(core, rules, &mut events);
        for &number in &self.counting {
            events.extend([Event::Unused(number), Event::InUse(number)]);
        }
        let lingers = core
            .generations()
            .any(|generation| generation.role == Role::Lingering);
        if lingers && matches!(core.handoff(), Handoff::Candidate(_, Progress::Preparing)) {
            events.push(Event::RoomWanted);
        }
        self.of_token(core, rules, &mut events);
        events.extend(
            core.timers()
                .filter(|timer| self.may_come_due(*timer, core, rules))
                .map(Event::Due),
        );
        events
    }

    /// Clients come to wait in any lane but the one to which new ones go, and are accepted by the generation that has it.
    fn of_lanes(&self, core: &Lifecycle, rules: &Rules, events: &mut Vec<Event>) {
        if let Some((number, _)) = self
            .switching
            .filter(|_| rules.strands && self.budget.failures > 0)
        {
            events.push(Event::NotSwitched(number));
        }
        events.extend(self.stranded.iter().copied().map(Event::Relieved));
        if rules.strands && self.budget.failures > 0 && core.pointed().is_some() {
            let lanes = rules.plans.iter().map(|plan| plan.lanes).max().unwrap_or(0);
            let strange = |lane: &Lane| !self.stranded.contains(lane) && core.pointed() != Some(*lane);
            events.extend((0..lanes).filter(strange).map(Event::Stranded));
        }
    }

    /// A token is placed, or none can be had; once somebody of the candidate runs he may accept it.
    fn of_token(&self, core: &Lifecycle, rules: &Rules, events: &mut Vec<Event>) {
        events.extend(self.placing.map(Event::TokenPlaced));
        // One of the first two generations is enough.
        if rules.looks_differ || rules.strands {
            let second = self.placing.filter(|number| *number == FIRST + 1);
            events.extend(second.map(Event::TokenExcused));
        }
        let runs = |number: &Number| {
            // Whether it is seen before it matters makes a difference to nobody.
            let matters = core.handoff() == Handoff::Candidate(*number, Progress::Confirming);
            if !matters {
                return false;
            }
            let mut of = self
                .processes
                .iter()
                .filter(|(worker, _)| worker.generation == *number);
            of.any(|(_, process)| process.leader == Leader::Running)
        };
        events.extend(self.placed.filter(runs).map(Event::TokenAccepted));
    }

    fn requests(&self, rules: &Rules, events: &mut Vec<Event>) {
        if self.budget.reloads > 0 {
            let ticket = Ticket(u64::from(rules.budget.reloads - self.budget.reloads) + 1);
            events.extend(rules.untils.iter().map(|until| Event::Reload(ticket, *until)));
        }
        if self.budget.stops > 0 {
            events.push(Event::Stop);
        }
        if self.budget.scalings > 0 {
            events.extend(rules.counts.iter().map(|count| Event::Workers(*count)));
        }
    }

    fn of_process(
        &self,
        worker: Worker,
        process: &Process,
        core: &Lifecycle,
        rules: &Rules,
        events: &mut Vec<Event>,
    ) {
        let Some(plan) = core
            .generation(worker.generation)
            .map(|generation| generation.plan)
        else {
            return;
        };
        if process.leader == Leader::Reported {
            events.push(Event::Gone(worker));
            return;
        }
        let affordable = self.budget.failures > 0 || !self.is_costly(worker, core);
        match plan.readiness {
            Readiness::Notify if !process.ready => events.push(Event::Ready(worker)),
            Readiness::Alive if !process.executed => events.push(Event::Executed(worker)),
            Readiness::Auto | Readiness::Accepting => {
                if !process.spoke {
                    events.push(Event::Ready(worker));
                }
                if !process.accepts {
                    events.push(Event::Accepts(worker));
                }
            }
            Readiness::Notify | Readiness::Alive => {}
        }
        if rules.chatter {
            events.push(Event::MoreTime(worker));
        }
        if plan.watchdog == Stage::Kept {
            events.push(Event::Alive(worker));
            if affordable {
                events.push(Event::Stuck(worker));
            }
        }
        let fresh = !process.ready && !process.executed && process.leader == Leader::Running;
        if rules.spawn_fails && fresh && affordable {
            events.push(Event::SpawnFailed(worker));
        }
        if process.leader == Leader::Dead || affordable {
            events.push(Event::Exited(worker));
        }
    }

    fn may_come_due(&self, timer: Timer, core: &Lifecycle, rules: &Rules) -> bool {
        match timer {
            Timer::Start(worker) | Timer::Watchdog(worker) => {
                self.budget.failures > 0 || !self.is_costly(worker, core)
            }
            Timer::Hint(_) => rules.chatter,
            Timer::Kill(_) => rules.unkillable,
            // The first time it kills, the second time it gives up.
            Timer::Stop => {
                rules.unkillable
                    || self
                        .processes
                        .values()
                        .any(|process| process.told != Told::Killed)
            }
            Timer::Alive(_)
            | Timer::Silent(_)
            | Timer::Drain(_)
            | Timer::Probe(_)
            | Timer::ProbeAgain(_)
            | Timer::Soak(_)
            | Timer::Look(_)
            | Timer::Await(_)
            | Timer::Switch
            | Timer::Linger(_)
            | Timer::Count(_)
            | Timer::Probation(_)
            | Timer::BackOff(..)
            | Timer::Calm(..) => true,
            Timer::Relieve(lane) => self.budget.failures > 0 || !has_relief(lane, core),
        }
    }

    /// A failure of the incumbent's worker, or of a relief worker, leads to another start, which may fail in its turn.
    fn is_costly(&self, worker: Worker, core: &Lifecycle) -> bool {
        let told = self
            .processes
            .get(&worker)
            .is_some_and(|process| process.told != Told::Nothing);
        let role = core
            .generation(worker.generation)
            .map(|generation| generation.role);
        matches!(role, Some(Role::Incumbent | Role::Relief)) && !told
    }

    /// The workers whose main process may die without anybody noticing for a while. For all but a candidate's
    /// this makes no difference: nothing is decided by looking at them.
    pub(super) fn may_die(&self, core: &Lifecycle) -> Vec<Worker> {
        let running = self
            .processes
            .iter()
            .filter(|(_, process)| process.leader == Leader::Running);
        let of_candidate = running.filter(|(worker, _)| {
            core.generation(worker.generation)
                .is_some_and(|generation| generation.role == Role::Candidate)
        });
        of_candidate.map(|(worker, _)| *worker).collect()
    }

    pub(super) fn die(&mut self, worker: Worker) {
        if let Some(process) = self.processes.get_mut(&worker) {
            process.leader = Leader::Dead;
        }
    }

    /// What performing [`Effect::Confirm`] may show: the dead of the candidate, then what else was seen.
    pub(super) fn looks(&self, rules: &Rules) -> Vec<Vec<Event>> {
        let Some((number, look_for)) = self.confirming.filter(|_| !self.finished) else {
            let switching = self.switching.filter(|_| !self.finished);
            let switched = switching.map(|(number, _)| self.with_the_dead(number, Event::Switched(number)));
            return switched.into_iter().collect();
        };
        let mut seen = vec![Event::Confirmed(number)];
        if rules.looks_differ {
            seen.push(Event::Unheld(number));
            match look_for {
                LookFor::Everything => seen.push(Event::Unawaited(number)),
                LookFor::TheRest => {}
            }
        }
        seen.into_iter()
            .map(|last| self.with_the_dead(number, last))
            .collect()
    }

    /// The dead of a generation, and then what else was seen.
    fn with_the_dead(&self, number: Number, last: Event) -> Vec<Event> {
        let dead = self
            .processes
            .iter()
            .filter(|(worker, process)| worker.generation == number && process.leader == Leader::Dead);
        let dead = dead.map(|(worker, _)| Event::Exited(*worker));
        dead.chain([last]).collect()
    }

    /// The world has brought forth this event. `core` has not yet seen it.
    pub(super) fn consume(&mut self, event: Event, core: &Lifecycle) {
        match event {
            Event::Reload(ticket, until) => {
                self.budget.reloads = self.budget.reloads.saturating_sub(1);
                self.tickets.insert(
                    ticket,
                    Asked {
                        until,
                        generation: None,
                        draining: Vec::new(),
                    },
                );
            }
            Event::Prepared(number, _) => {
                self.preparing.remove(&number);
                self.records.insert(Record(number));
            }
            Event::PrepareFailed(number) => {
                self.preparing.remove(&number);
            }
            Event::SpawnFailed(worker) => {
                self.pay(worker, core);
                self.processes.remove(&worker);
            }
            Event::Executed(worker) => {
                if let Some(process) = self.processes.get_mut(&worker) {
                    process.executed = true;
                }
            }
            Event::Ready(worker)
            | Event::Accepts(worker)
            | Event::Due(Timer::Alive(worker) | Timer::Silent(worker)) => {
                self.became_ready(worker, event, core);
            }
            Event::Stuck(worker) | Event::Due(Timer::Start(worker) | Timer::Watchdog(worker)) => {
                self.pay(worker, core);
            }
            Event::Exited(worker) => {
                self.pay(worker, core);
                if let Some(process) = self.processes.get_mut(&worker) {
                    process.leader = Leader::Reported;
                }
            }
            Event::Gone(worker) => {
                self.processes.remove(&worker);
            }
            Event::ProbePassed(number) => {
                if self.probe.take() == Some(number) {
                    self.passed = Some(number);
                }
            }
            Event::ProbeFailed(_) => self.probe = None,
            Event::Confirmed(_) | Event::Unawaited(_) => self.confirming = None,
            Event::Unheld(number) => {
                self.confirming = None;
                self.unheld = Some(number);
            }
            Event::Switched(number) => {
                self.switching.take_if(|(of, _)| *of == number);
            }
            Event::TokenPlaced(number) => {
                self.placing = None;
                self.placed = Some(number);
            }
            Event::TokenExcused(number) | Event::TokenAccepted(number) => {
                self.placing = None;
                self.placed = None;
                self.accepted = Some(number);
            }
            // Once there was another switch, what became of this one does not matter.
            Event::NotSwitched(number) => {
                self.budget.failures = self.budget.failures.saturating_sub(1);
                if let Some((_, before)) = self.switching.take_if(|(of, _)| *of == number) {
                    self.switched = before;
                }
            }
            Event::Stranded(lane) => {
                self.budget.failures = self.budget.failures.saturating_sub(1);
                self.stranded.insert(lane);
            }
            Event::Relieved(lane) => {
                self.stranded.remove(&lane);
            }
            Event::Unused(number) | Event::InUse(number) => {
                self.counting.remove(&number);
            }
            Event::Due(Timer::Relieve(lane)) if has_relief(lane, core) => {
                self.budget.failures = self.budget.failures.saturating_sub(1);
            }
            Event::Deaf(_) => self.budget.failures = self.budget.failures.saturating_sub(1),
            Event::Due(Timer::Soak(number)) => self.soaked = Some(number),
            Event::Workers(_) => self.budget.scalings = self.budget.scalings.saturating_sub(1),
            Event::Stop => self.budget.stops = self.budget.stops.saturating_sub(1),
            Event::MoreTime(worker) => {
                if self.processes.get(&worker).is_some_and(|process| !process.ready) {
                    self.note_notifier(worker, core);
                }
            }
            Event::Alive(_) | Event::RoomWanted => {}
            Event::Due(
                Timer::Hint(_)
                | Timer::Drain(_)
                | Timer::Kill(_)
                | Timer::Probe(_)
                | Timer::ProbeAgain(_)
                | Timer::Look(_)
                | Timer::Await(_)
                | Timer::Switch
                | Timer::Relieve(_)
                | Timer::Linger(_)
                | Timer::Count(_)
                | Timer::Probation(_)
                | Timer::BackOff(..)
                | Timer::Calm(..)
                | Timer::Stop,
            ) => {}
        }
    }

    fn became_ready(&mut self, worker: Worker, event: Event, core: &Lifecycle) {
        let readiness = core
            .generation(worker.generation)
            .map(|generation| generation.plan.readiness);
        let spoke = matches!(event, Event::Ready(_));
        let counts = match readiness {
            Some(Readiness::Notify) => spoke,
            Some(Readiness::Alive) => event == Event::Due(Timer::Alive(worker)),
            Some(Readiness::Accepting) => event == Event::Accepts(worker),
            // Those that it follows may have notified: then its silence is not believed.
            Some(Readiness::Auto) => {
                spoke || event == Event::Due(Timer::Silent(worker)) && !self.is_to_speak(worker, core)
            }
            None => false,
        };
        let shown = matches!(readiness, Some(Readiness::Auto | Readiness::Accepting));
        if let Some(process) = self.processes.get_mut(&worker).filter(|_| shown) {
            process.spoke |= spoke;
            process.accepts |= event == Event::Accepts(worker);
        }
        if spoke {
            self.note_notifier(worker, core);
        }
        if let Some(process) = self.processes.get_mut(&worker)
            && counts
            && process.told == Told::Nothing
            && process.leader != Leader::Reported
        {
            process.ready = true;
        }
    }

    fn note_notifier(&mut self, worker: Worker, core: &Lifecycle) {
        let process = self.processes.get(&worker);
        if process.is_none_or(|process| process.told != Told::Nothing || process.leader == Leader::Reported) {
            return;
        }
        let record = core
            .generation(worker.generation)
            .map(|generation| generation.record);
        self.notifiers
            .extend(record.filter(|record| self.records.contains(record)));
    }

    /// Whether a worker follows one that has notified: of its own record, the last good, or the one that serves.
    pub(super) fn is_to_speak(&self, worker: Worker, core: &Lifecycle) -> bool {
        let own = core
            .generation(worker.generation)
            .map(|generation| generation.record);
        let serving = core.incumbent().map(|incumbent| incumbent.record);
        let followed = [own, serving, core.last_good()];
        followed
            .into_iter()
            .flatten()
            .any(|record| self.notifiers.contains(&record))
    }

    fn pay(&mut self, worker: Worker, core: &Lifecycle) {
        if self.is_costly(worker, core) {
            self.budget.failures = self.budget.failures.saturating_sub(1);
        }
    }

    /// Keep the books of what the core asks for.
    pub(super) fn account(&mut self, effect: Effect) {
        match effect {
            Effect::Prepare(number) => {
                self.preparing.insert(number);
                for asked in self
                    .tickets
                    .values_mut()
                    .filter(|asked| asked.generation.is_none())
                {
                    asked.generation = Some(number);
                }
            }
            Effect::Spawn(worker, _) => {
                let process = Process {
                    leader: Leader::Running,
                    told: Told::Nothing,
                    executed: false,
                    ready: false,
                    spoke: false,
                    accepts: false,
                };
                self.processes.insert(worker, process);
                self.starts.insert((worker.generation, worker.slot), worker.start);
            }
            Effect::Signal(worker, signal) => {
                let told = match signal {
                    Signal::Stop | Signal::StopGroup | Signal::Abort => Told::ToStop,
                    Signal::Kill => Told::Killed,
                };
                if let Some(process) = self.processes.get_mut(&worker) {
                    process.told = process.told.max(told);
                }
            }
            Effect::Probe(number) => self.probe = Some(number),
            Effect::EndProbe(_) => self.probe = None,
            Effect::Confirm(number) => self.confirming = Some((number, LookFor::Everything)),
            Effect::ConfirmAnyway(number) => self.confirming = Some((number, LookFor::TheRest)),
            Effect::Switch(number) => {
                let before = self.switched.replace(number);
                self.switching = Some((number, before));
            }
            Effect::Count(number) => {
                self.counting.insert(number);
            }
            Effect::PlaceToken(number) => {
                self.placing = Some(number);
                self.placed = None;
            }
            Effect::Answer(ticket, _) => {
                self.tickets.remove(&ticket);
            }
            Effect::Tell(fact) => self.hear(fact),
            Effect::Forget(record) => {
                self.records.remove(&record);
                self.notifiers.remove(&record);
            }
            Effect::Finish(_) => self.finished = true,
            Effect::Arm(..)
            | Effect::Disarm(_)
            | Effect::Extend(..)
            | Effect::NoteReady(_)
            | Effect::TakeOver(_)
            | Effect::TakeBack(_)
            | Effect::RollBack(..)
            | Effect::Abandon(_)
            | Effect::Bury(_) => {}
        }
    }

    fn hear(&mut self, fact: Fact) {
        match fact {
            Fact::TookOver(number, _) => {
                self.forget_token();
                let others: BTreeSet<Number> = self
                    .processes
                    .keys()
                    .map(|worker| worker.generation)
                    .filter(|g| *g != number)
                    .collect();
                let asked = self
                    .tickets
                    .values_mut()
                    .filter(|asked| asked.generation == Some(number));
                for asked in asked.filter(|asked| asked.until == Until::Drained) {
                    asked.draining = others.iter().copied().collect();
                }
            }
            Fact::CandidateFailed(..) => self.forget_token(),
            // Nobody waits for it any longer; what it does from now on is nobody's business.
            Fact::Unkillable(worker) => {
                self.processes.remove(&worker);
            }
            Fact::Unaccepted(number) => self.accepted = Some(number),
            Fact::Ended(number) => self.starts.retain(|(generation, _), _| *generation != number),
            Fact::HandoffBegan(_) | Fact::WaitingForRoom => self.reloading = true,
            Fact::ReloadOver => self.reloading = false,
            Fact::StillWaiting(_)
            | Fact::WorkerReady(_)
            | Fact::Settled(_)
            | Fact::Stepped(..)
            | Fact::RolledBack(..)
            | Fact::SwitchedBack(..)
            | Fact::LingerOver(..)
            | Fact::NoWayBack(..)
            | Fact::Deaf(_)
            | Fact::Relief(..)
            | Fact::ReliefFailed(..)
            | Fact::NotSwitched(_)
            | Fact::Crashed(..)
            | Fact::Restarted(_)
            | Fact::Overran(_)
            | Fact::Stopping => {}
        }
    }

    fn forget_token(&mut self) {
        self.placing = None;
        self.placed = None;
        self.accepted = None;
    }

    /// The generations that have a process.
    pub(super) fn running(&self) -> BTreeSet<Number> {
        self.processes.keys().map(|worker| worker.generation).collect()
    }
}

/// Whether performing an effect changes what may happen outside, so that an event that comes before it is
/// performed is another story than one that comes after it.
pub(super) fn acts_outside(effect: &Effect) -> bool {
    match effect {
        Effect::Prepare(_)
        | Effect::Spawn(..)
        | Effect::Signal(..)
        | Effect::Probe(_)
        | Effect::EndProbe(_)
        | Effect::Confirm(_)
        | Effect::ConfirmAnyway(_)
        | Effect::Switch(_)
        | Effect::Count(_) => true,
        Effect::PlaceToken(_) => true,
        Effect::Arm(..)
        | Effect::Disarm(_)
        | Effect::Extend(..)
        | Effect::NoteReady(_)
        | Effect::TakeOver(_)
        | Effect::TakeBack(_)
        | Effect::RollBack(..)
        | Effect::Abandon(_)
        | Effect::Bury(_)
        | Effect::Answer(..)
        | Effect::Tell(_)
        | Effect::Forget(_)
        | Effect::Finish(_) => false,
    }
}

pub(super) fn is_stopping(core: &Lifecycle) -> bool {
    core.state() == State::Stopping
}

pub(super) fn is_queue(core: &Lifecycle, number: Number) -> bool {
    core.generation(number)
        .is_some_and(|generation| generation.plan.mode == Mode::Queue)
}

/// Whether a relief worker has been started for this lane: that it fails leads to another.
fn has_relief(lane: Lane, core: &Lifecycle) -> bool {
    let mut generations = core.generations();
    generations.any(|generation| generation.role == Role::Relief && generation.lane == lane)
}
