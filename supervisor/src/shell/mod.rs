//! The loop: wait, turn what happened outside into events, step the core, perform its effects.
//!
//! One thread, one blocking wait. Everything that is pending in a turn becomes events before any effect is
//! performed (`gather.rs`); effects are performed in the order of the core (`perform.rs`); what performing them
//! shows (a birth record made, a spawn failed) becomes events of the same turn. *Why* an effect was chosen is the
//! core's business: this room only knows how it is done and, for people, what to call it (`report.rs`).

mod births;
mod desk;
mod draining_orphans;
mod files;
mod findings;
mod gather;
mod holders;
mod keep;
mod last_words;
mod look;
mod memory;
mod orphan_processes;
mod perform;
mod predecessor;
mod probe;
mod queues;
mod recover;
mod report;
mod requests;
mod restore;
mod resume;
mod save;
mod signals;
mod strays;
mod telling;
mod unheard;
mod upgrading;
mod upward;
mod view;
mod waits;
mod watching;
mod worker;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::rc::Rc;
use std::str::FromStr;
use std::time::{Instant, SystemTime};

use nix::errno::Errno;
use segue_lifecycle::{Effect, Ending, Event, Lifecycle, NoSuchWord, Number, Record, Timer, Worker};

use crate::children::Children;
use crate::clock::{self, Timers};
use crate::config::{Config, Invocation};
use crate::control::{ClientId, Control};
use crate::keeper::Keeper;
use crate::launch::InheritedEnvironment;
use crate::listeners::{Inherited, IoMode, Listener};
use crate::log::Log;
use crate::manager::Manager;
use crate::pid_file::PidFile;
use crate::place::Place;
use crate::protocol::Reply;
use crate::sources::{Source, Sources};
use crate::state::Fds;
use crate::sys::{self, errno_text};
use crate::upgrade::Origin;
use crate::watch::Watch;

pub(crate) use births::wanted;
pub(crate) use predecessor::{AdoptionDecision, PredecessorState, Unadopted, settings_left};
pub(crate) use recover::refuse_orphans;
pub(crate) use restore::{restore, style};
pub(crate) use resume::{adopt, go_on};

use births::Birth;
use desk::Desk;
use draining_orphans::DrainingOrphan;
use keep::Done;
use probe::Probes;
use signals::Signals;
use strays::Strays;
use upgrading::{Upgrading, Waiter};
use upward::Upward;
use view::{GenerationInfo, History};
use worker::WorkerInfo;

/// What the loop may wake up for besides its sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Alarm {
    /// A timer of the lifecycle.
    Core(Timer),
    /// The watched path has come to rest.
    Rested,
    /// A process group outlives its leader and may end without a SIGCHLD to us.
    Linger,
    /// The manager above us has no room, or is spared words of the app for a moment.
    Upward,
    /// The manager above us wants to hear that the loop goes round.
    Beat,
    /// The check of an upgrade takes too long.
    Check,
    /// A start waits for memory.
    Memory,
    /// A start waits for files that are being written.
    Files,
    /// What a predecessor left draining has had its time.
    DrainingOrphans,
    /// A main process that blocks the stop signal has had time to fetch it.
    Fetched(Worker),
    /// Clients wait in a queue, which is looked at again.
    Queues,
    /// Workers whose word may be lost are looked at again.
    Unheard,
}

/// A process that we have started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Child {
    /// A worker of the app.
    Worker(Worker),
    /// A run of the probe command, by the generation that is probed and the number of the run.
    Probe(Number, u32),
    /// The check of an upgrade.
    Check,
}

impl fmt::Display for Child {
    /// As a state calls it: `4.0.2` for a worker, `probe-4.7` for the seventh run of a probe.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Child::Worker(worker) => worker.fmt(f),
            Child::Probe(number, run) => write!(f, "probe-{number}.{run}"),
            Child::Check => f.write_str("check"),
        }
    }
}

impl FromStr for Child {
    type Err = NoSuchWord;

    fn from_str(text: &str) -> Result<Self, NoSuchWord> {
        if text == "check" {
            return Ok(Child::Check);
        }
        let Some(run) = text.strip_prefix("probe-") else {
            return text.parse().map(Child::Worker);
        };
        let (number, run) = run.split_once('.').ok_or(NoSuchWord)?;
        match (number.parse(), run.parse()) {
            (Ok(number), Ok(run)) => Ok(Child::Probe(number, run)),
            (Ok(_) | Err(_), Ok(_) | Err(_)) => Err(NoSuchWord),
        }
    }
}

/// Everything that the loop needs at its start.
#[derive(Debug)]
pub(crate) struct Begin {
    /// What was given on the command line; the file is read again at each reload.
    pub(crate) invocation: Invocation,
    /// The settings at start; name, control socket, pid file and log format are those for the whole life.
    pub(crate) config: Rc<Config>,
    /// Where the instance lies.
    pub(crate) place: Place,
    /// Its open control socket.
    pub(crate) control: Control,
    /// The sockets that we were given ourselves.
    pub(crate) inherited: Inherited,
    /// Environment and limits that we were born with.
    pub(crate) inherited_environment: InheritedEnvironment,
    /// Where lines go.
    pub(crate) log: Log,
    /// systemd above us, if it is there.
    pub(crate) manager: Manager,
    /// How this process was started.
    pub(crate) origin: Origin,
    /// The file for others with our pid in it, if one was asked for.
    pub(crate) pid_file: Option<PidFile>,
    /// Where the state is written down.
    pub(crate) keeper: Keeper,
    /// What systemd has kept of an earlier supervisor.
    pub(crate) stored: Fds,
    /// What goes on of an earlier supervisor whose app is not adopted.
    pub(crate) left: Unadopted,
}

/// The loop and all that it owns.
#[derive(Debug)]
pub(crate) struct Shell {
    core: Lifecycle,
    /// Events that the core has not yet seen, oldest first.
    events: VecDeque<Event>,
    timers: Timers<Alarm>,
    sources: Sources<Worker, ClientId>,
    signals: Signals,
    children: Children<Child>,
    control: Control,
    desk: Desk,
    /// Answers to tickets that go out when the effects beside them are performed.
    answers: Vec<(ClientId, Reply)>,
    begin: Given,
    inherited: Inherited,
    births: BTreeMap<Record, Birth>,
    generations: BTreeMap<Number, GenerationInfo>,
    workers: BTreeMap<Worker, WorkerInfo>,
    /// Workers that are gone; what is known of them is kept until the turn ends, for the messages about them.
    gone: Vec<Worker>,
    probes: Probes,
    watch: Option<Watch>,
    /// By generation and socket: what the generation has made of the flags that all holders share.
    chosen_flags: BTreeMap<(Number, u64), IoMode>,
    /// The number of workers that was asked for last, if anybody has asked.
    workers_asked: Option<u16>,
    /// Why the last birth record could not be made.
    refusal: Option<String>,
    history: History,
    memory: memory::Memory,
    /// A candidate that waits for files to come to rest.
    resting: Option<files::Resting>,
    /// What was told of the directory that the app is started in, and in the answer to which reload.
    told_of_directory: Option<(Number, String)>,
    linger: waits::Pauses,
    queues: queues::Queues,
    log: Log,
    manager: Manager,
    upward: Upward,
    upgrading: Upgrading,
    /// The version that this process was before, and who waits for the upgrade, until that is told.
    before: Option<(String, Waiter)>,
    /// Removed with the loop.
    pid_file: Option<PidFile>,
    keeper: Keeper,
    /// What a predecessor had done of the batch that is performed now.
    done: Option<Done>,
    /// What a predecessor left open and nobody has asked for yet.
    spare_fds: Fds,
    /// Workers of an earlier supervisor that are not adopted, and have a deadline.
    draining_orphans: Vec<DrainingOrphan>,
    /// Listeners of an earlier supervisor, until the first birth record has taken what it wants of them.
    left_listeners: Vec<Rc<Listener>>,
    /// The listeners that were closed since a stop was asked for, as rows.
    closed: Vec<Vec<u8>>,
    /// What workers have started outside their groups.
    strays: Strays,
    /// Workers that were told to stop in this turn.
    told_this_turn: Vec<Worker>,
    /// The start is over: at the end of the turn the memory goes back that only it needed.
    trim_heap: bool,
    ending: Option<Ending>,
}

/// What stays as it was at the start.
#[derive(Debug)]
struct Given {
    invocation: Invocation,
    config: Rc<Config>,
    place: Place,
    inherited_environment: InheritedEnvironment,
    since: SystemTime,
    /// Which start of the machine this is, where the kernel tells.
    boot: Option<String>,
}

/// Why the loop cannot begin, or cannot go on.
#[derive(Debug)]
pub(crate) struct ShellError(String);

impl fmt::Display for ShellError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ShellError {
    fn new(attempt: &str, errno: Errno) -> Self {
        Self(format!("{attempt}: {}", errno_text(errno)))
    }
}

/// Supervise until the app has been stopped, or until it is clear that it never served.
///
/// # Errors
/// One line, if the kernel refuses what the loop needs (an epoll set, a signalfd).
pub(crate) fn run(begin: Begin) -> Result<Ending, ShellError> {
    let (mut shell, effects) = Shell::new(begin)?;
    shell.log.info(&format!(
        "segue {} starts; its control socket is {}",
        env!("CARGO_PKG_VERSION"),
        shell.begin.place.control().display()
    ));
    shell.tend_draining_orphans();
    shell.begin_keeping();
    shell.beat();
    shell.perform_all(effects);
    shell.step_all();
    shell.tend_strays();
    shell.notify_manager();
    shell.go_round()
}

impl Shell {
    fn new(begin: Begin) -> Result<(Self, Vec<Effect>), ShellError> {
        let mut sources = Sources::new().map_err(|errno| ShellError::new("epoll", errno))?;
        let signals = Signals::open().map_err(|errno| ShellError::new("signalfd", errno))?;
        let watched = |errno| ShellError::new("epoll", errno);
        sources.add(Source::Signals, signals.as_fd()).map_err(watched)?;
        sources
            .add(Source::Control, begin.control.as_fd())
            .map_err(watched)?;
        let (core, effects) = Lifecycle::new();
        let shell = Self {
            core,
            events: VecDeque::new(),
            timers: Timers::new(),
            sources,
            signals,
            children: Children::new(),
            control: begin.control,
            desk: Desk::new(),
            answers: Vec::new(),
            begin: Given {
                invocation: begin.invocation,
                config: begin.config,
                place: begin.place,
                inherited_environment: begin.inherited_environment,
                since: clock::wall(),
                boot: sys::boot_id(),
            },
            inherited: begin.inherited,
            births: BTreeMap::new(),
            generations: BTreeMap::new(),
            workers: BTreeMap::new(),
            gone: Vec::new(),
            probes: Probes::new(),
            watch: None,
            chosen_flags: BTreeMap::new(),
            workers_asked: None,
            refusal: None,
            history: History::new(),
            memory: memory::Memory::new(),
            resting: None,
            told_of_directory: None,
            linger: waits::Pauses::new(),
            queues: queues::Queues::default(),
            log: begin.log,
            manager: begin.manager,
            upward: Upward::new(),
            upgrading: Upgrading::new(begin.origin),
            before: None,
            pid_file: begin.pid_file,
            keeper: begin.keeper,
            done: None,
            spare_fds: begin.stored,
            draining_orphans: begin.left.draining_orphans,
            left_listeners: begin.left.listeners,
            closed: Vec::new(),
            strays: Strays::default(),
            told_this_turn: Vec::new(),
            trim_heap: false,
            ending: None,
        };
        Ok((shell, effects))
    }

    /// Turn after turn until the end. It may have come before the first wait: where no birth record could be made, nothing is
    /// left to wait for.
    fn go_round(&mut self) -> Result<Ending, ShellError> {
        let mut waits = false;
        loop {
            if let Some(ending) = self.ending {
                if !self.waits_for_draining_orphans(ending) {
                    self.leave();
                    return Ok(ending);
                }
                if !std::mem::replace(&mut waits, true) {
                    self.say_whom_it_waits_for();
                }
            }
            self.turn()?;
            self.tend_upgrade();
        }
    }

    /// Wait until something happens, and deal with all of it.
    fn turn(&mut self) -> Result<(), ShellError> {
        let deadline = self
            .timers
            .next()
            .into_iter()
            .chain(self.control.next_deadline())
            .min();
        self.hear(deadline)?;
        let now = clock::now();
        if self.timers.next().is_some_and(|next| next <= now) {
            // Whatever came before this instant counts before the deadlines that have passed by it: the process may have been
            // stopped, or the machine suspended, since the sources were last looked at.
            self.hear(Some(now))?;
            // A timer that is taken is in no row any more.
            self.keep_what_was_done();
        }
        self.take_due(now);
        self.step_all();
        self.tend_strays();
        self.end_turn();
        Ok(())
    }

    /// Wait until the deadline for something to happen outside, and deal with it.
    fn hear(&mut self, deadline: Option<Instant>) -> Result<(), ShellError> {
        self.keep_what_was_done();
        let ready = self
            .sources
            .wait(deadline, clock::now())
            .map_err(|errno| ShellError::new("epoll_wait", errno))?;
        self.gather(&ready);
        self.step_all();
        // Words of which nothing followed need no record.
        self.consume_recorded();
        Ok(())
    }

    /// Step the core through every event before any of their effects is performed; performing may add events.
    fn step_all(&mut self) {
        while !self.events.is_empty() {
            self.keep_what_was_done();
            let batch: Vec<Event> = std::mem::take(&mut self.events).into();
            self.log_batch(&batch);
            self.consume_recorded();
            self.step(batch);
        }
    }

    /// One batch: what it tells the core to do, done.
    fn step(&mut self, batch: Vec<Event>) {
        if self.ending.is_some() && batch.contains(&Event::Stop) {
            self.end_draining_orphans();
        }
        let mut effects = Vec::new();
        for event in batch {
            effects.extend(self.core.step(event));
        }
        self.perform_all(effects);
        self.done = None;
    }

    /// Perform effects in their order. What tickets are answered is put down in that order too, but goes out last: whoever
    /// has an answer finds everything done that it tells of, and systemd told of it.
    fn perform_all(&mut self, effects: Vec<Effect>) {
        for (nth, effect) in effects.into_iter().enumerate() {
            if !self.is_done(nth, effect) {
                self.perform(effect);
                self.mark_done(nth, effect);
            }
        }
        if !self.answers.is_empty() {
            self.tell_status();
        }
        for (client, reply) in std::mem::take(&mut self.answers) {
            self.control.reply(client, &reply, clock::now());
        }
    }

    /// What is to be done after each turn, whatever happened in it.
    fn end_turn(&mut self) {
        for worker in std::mem::take(&mut self.gone) {
            self.note_who_shared(worker);
            self.workers.remove(&worker);
        }
        // A wish for more time counts in the turn in which it was made.
        for info in self.workers.values_mut() {
            info.more_time = None;
        }
        self.watch_lingering();
        self.watch_queues();
        self.update_interests();
        self.notify_manager();
        self.keep();
        if std::mem::take(&mut self.trim_heap) {
            sys::trim_heap();
        }
    }

    /// The last acts: the control socket tells its clients what it still has to, and everything closes.
    fn leave(&mut self) {
        match self.ending {
            // A stop has had the time that they would have had.
            Some(Ending::Stopped) => self.end_draining_orphans(),
            Some(Ending::NeverServed(_)) | None => self.tell_of_draining_orphans(),
        }
        self.tell_who_stays();
        self.tell_status();
        self.answer_stops();
        self.keeper.remove();
    }
}
