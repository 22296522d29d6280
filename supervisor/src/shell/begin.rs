//! How a loop begins: for the first time, or with the state of one before it; and how it ends. Each step can be taken after the one before alone: that
//! is in the types.

use std::collections::VecDeque;

use segue_lifecycle::{Effect, Ending, Event, Handoff, Lifecycle, Number, Progress};

use crate::clock::{self, Timers};
use crate::shell::confirming::{Confirming, confirming};
use crate::shell::desk::Desk;
use crate::shell::fleet::{Fleet, Ground, ground};
use crate::shell::inspection::paths::Paths;
use crate::shell::inspection::queues::Queues;
use crate::shell::journal::Journal;
use crate::shell::narrator::Narrator;
use crate::shell::narrator::report::tell_who_stays;
use crate::shell::narrator::view::{View, view};
use crate::shell::records::Records;
use crate::shell::run::{Minded, Stepped};
use crate::shell::starting::{Starting, starting};
use crate::shell::steering::Steering;
use crate::shell::succession::Succession;
use crate::shell::succession::draining_orphans::{Tools, tools};
use crate::shell::succession::upgrading::VERSION;
use crate::shell::{Begin, Given, Shell, ShellError};
use crate::signals::Signals;
use crate::sources::{Source, Sources};
use crate::sys;

/// A loop before its first turn, and how far it has come.
struct Beginning<Step> {
    shell: Shell,
    step: Step,
}

/// It has the state of another loop, and the kernel may send clients elsewhere than that loop wanted.
struct Left;

/// It has its state, and nothing else.
struct Made;

/// It hears of those who drain for a predecessor, and keeps their deadlines.
struct Watching;

/// What nobody will tell it again is among its events.
struct Informed;

/// It has stepped and done all that was there.
struct UpToDate(Stepped);

/// Workers that were told to stop, and what they have started, are looked after.
struct Minding(Minded);

/// Supervise until the app has been stopped, or until it is clear that it never served.
///
/// # Errors
/// One line, if the kernel refuses what the loop needs (an epoll set, a signalfd).
pub(crate) fn run(begin: Begin) -> Result<Ending, ShellError> {
    let (shell, effects) = assemble(begin)?;
    shell.log.info(&format!(
        "segue {} starts; its control socket is {}",
        env!("CARGO_PKG_VERSION"),
        shell.given.place.control().display()
    ));
    let beginning = Beginning::at(Made, shell).watch().start(effects).mind();
    beginning.go_round()
}

/// Go on, turn after turn.
///
/// # Errors
/// As for [`run`].
pub(crate) fn go_on(shell: Shell) -> Result<Ending, ShellError> {
    let beginning = Beginning::at(Left, shell).steer().watch().ask_again();
    beginning.catch_up().mind().go_round()
}

impl<Step> Beginning<Step> {
    const fn at(step: Step, shell: Shell) -> Self {
        Self { shell, step }
    }
}

impl Beginning<Left> {
    fn steer(mut self) -> Beginning<Made> {
        let shell = &mut self.shell;
        let ground = ground!(shell);
        let steered = shell
            .steering
            .steer_again(&shell.events, &ground, &mut shell.timers);
        if let (Err(text), Some(number)) = (steered, shell.core.switched_to()) {
            let refused = shell.records.note_not_switched(number, text, &shell.log);
            shell.events.push_back(refused);
        }
        Beginning::at(Made, self.shell)
    }
}

impl Beginning<Made> {
    fn watch(mut self) -> Beginning<Watching> {
        let drain = self.shell.given.config.drain_timeout;
        let shell = &mut self.shell;
        shell.succession.draining.tend(drain, &mut tools!(shell));
        Beginning::at(Watching, self.shell)
    }
}

impl Beginning<Watching> {
    /// The first start of all.
    fn start(mut self, effects: Vec<Effect>) -> Beginning<UpToDate> {
        let shell = &mut self.shell;
        // From now on everything is written down. What an earlier supervisor has left in the files is over with this.
        shell.keep();
        let passed_on = shell.succession.draining.pass_on();
        let manager = &mut shell.narrator.manager;
        shell
            .journal
            .store_everything(&shell.records, &shell.fleet, passed_on, manager);
        shell.narrator.beat(&mut shell.timers);
        shell.perform_all(effects);
        let stepped = shell.step_all();
        Beginning::at(UpToDate(stepped), self.shell)
    }

    /// What was asked before, and was answered to nobody.
    fn ask_again(mut self) -> Beginning<Informed> {
        self.prepare_unanswered();
        let shell = &mut self.shell;
        confirming!(shell).look_at_unheard(&mut shell.timers);
        Beginning::at(Informed, self.shell)
    }

    /// A start that waited, for files or for memory, when this binary was executed: no row tells of that, so it begins to wait anew.
    fn prepare_unanswered(&mut self) {
        if let Handoff::Candidate(number, Progress::Preparing) = self.shell.core.handoff()
            && !self.shell.records.waits_to_prepare()
            && !is_answered(&self.shell.events, number)
        {
            let shell = &mut self.shell;
            starting!(shell).prepare(number);
        }
    }
}

impl Beginning<Informed> {
    fn catch_up(mut self) -> Beginning<UpToDate> {
        let shell = &mut self.shell;
        shell.narrator.beat(&mut shell.timers);
        shell.step_all();
        shell.keep_what_was_done();
        // What has died meanwhile may have sent its signal to somebody else, or to nobody.
        shell.sweep();
        let stepped = shell.step_all();
        shell.fleet.hear_out_again();
        Beginning::at(UpToDate(stepped), self.shell)
    }
}

impl Beginning<UpToDate> {
    fn mind(mut self) -> Beginning<Minding> {
        let minded = self.shell.tend_strays(self.step.0);
        Beginning::at(Minding(minded), self.shell)
    }
}

impl Beginning<Minding> {
    /// Others hear of it, and turns begin.
    fn go_round(mut self) -> Result<Ending, ShellError> {
        self.say_upgraded();
        self.shell.end_turn(self.step.0);
        let ending = self.shell.go_round()?;
        leave(&mut self.shell, ending);
        Ok(ending)
    }

    /// This process was another version until just now: tell everybody, and the client that waits for it. What only the start needed is
    /// given back, as after the first.
    fn say_upgraded(&mut self) {
        let Some((from, waiter)) = self.shell.succession.before.take() else {
            return;
        };
        self.shell.trim_heap = true;
        let serving = self.shell.view().serving();
        let who = serving.as_ref().map_or_else(
            || "nobody serves".to_owned(),
            |serving| format!("generation {} serves", serving.generation),
        );
        let pid = std::process::id();
        let message = format!("upgraded: segue {from} to {VERSION}, pid {pid}, {who}");
        self.shell.log.info(&message);
        if let Some(client) = waiter {
            self.shell.desk.done(client, message, serving);
        }
    }
}

/// The last acts: the control socket tells its clients what it still has to, and everything closes.
fn leave(shell: &mut Shell, ending: Ending) {
    match ending {
        // A stop has had the time that they would have had.
        Ending::Stopped => shell.succession.draining.end_all(&mut tools!(shell)),
        Ending::NeverServed(_) => shell.succession.draining.say_who_stays(&shell.log),
    }
    shell.fleet.end_all_hooks(&shell.log, &mut shell.sources);
    tell_who_stays(&shell.log);
    shell.narrator.say_last(&view!(shell));
    shell.desk.answer_stops();
    shell.journal.keeper.remove();
}

/// Whether what was asked of the shell about a candidate has its answer among the events.
pub(crate) fn is_answered(events: &VecDeque<Event>, number: Number) -> bool {
    events.iter().any(|event| {
        *event == Event::Confirmed(number)
            || *event == Event::Unawaited(number)
            || *event == Event::Unheld(number)
            || *event == Event::PrepareFailed(number)
            || matches!(event, Event::Prepared(of, _) if *of == number)
    })
}

/// A loop that has nothing to do yet, and the first effects of its core.
///
/// # Errors
/// One line, if the kernel refuses what the loop needs (an epoll set, a signalfd).
pub(crate) fn assemble(begin: Begin) -> Result<(Shell, Vec<Effect>), ShellError> {
    let mut sources = Sources::new().map_err(|errno| ShellError::new("epoll", errno))?;
    let signals = Signals::open().map_err(|errno| ShellError::new("signalfd", errno))?;
    let watched = |errno| ShellError::new("epoll", errno);
    sources.add(Source::Signals, signals.as_fd()).map_err(watched)?;
    sources
        .add(Source::Control, begin.control.as_fd())
        .map_err(watched)?;
    let (core, effects) = Lifecycle::new();
    let shell = Shell {
        core,
        events: VecDeque::new(),
        timers: Timers::new(),
        sources,
        signals,
        given: Given {
            invocation: begin.invocation,
            config: begin.config,
            place: begin.place,
            inherited_environment: begin.inherited_environment,
            pid: std::process::id(),
            since: clock::wall(),
            boot: sys::boot_id(),
        },
        records: Records::new(begin.inherited, begin.left.listeners),
        fleet: Fleet::new(),
        queues: Queues::default(),
        paths: Paths::default(),
        steering: Steering::default(),
        desk: Desk::new(begin.control),
        log: begin.log,
        narrator: Narrator::new(begin.manager),
        journal: Journal::new(begin.keeper, begin.pid_file, begin.stored),
        succession: Succession::new(begin.origin, begin.left.draining_orphans),
        trim_heap: false,
        ending: None,
    };
    Ok((shell, effects))
}
