//! The loop: what happened outside becomes events (`gather.rs`), what the core answers is done (`perform.rs`).

pub(crate) mod accepting;
pub(crate) mod gather;
pub(crate) mod perform;
pub(crate) mod prepare;
pub(crate) mod signals;
pub(crate) mod steering;

use std::collections::VecDeque;
use std::time::Instant;

use segue_lifecycle::{Effect, Ending, Event, Fact, Lifecycle};

use crate::clock::{self, Timers};
use crate::shell::desk::Desk;
use crate::shell::fleet::Fleet;
use crate::shell::fleet::{Ground, ground};
use crate::shell::inspection::queues::{Around, Queues};
use crate::shell::journal::{Journal, store};
use crate::shell::narrator::Narrator;
use crate::shell::narrator::report::tell_who_stays;
use crate::shell::narrator::view::{View, view};
use crate::shell::records::Records;
use crate::shell::succession::Succession;
use crate::shell::succession::draining_orphans::DrainingOrphan;
use crate::shell::{Alarm, Begin, Child, Given, Shell, ShellError};
use crate::sources::{Source, Sources};
use crate::state;
use crate::sys;

use gather::around;
use signals::Signals;
use steering::Steering;

/// Supervise until the app has been stopped, or until it is clear that it never served.
///
/// # Errors
/// One line, if the kernel refuses what the loop needs (an epoll set, a signalfd).
pub(crate) fn run(begin: Begin) -> Result<Ending, ShellError> {
    let (mut shell, effects) = Shell::new(begin)?;
    shell.log.info(&format!(
        "segue {} starts; its control socket is {}",
        env!("CARGO_PKG_VERSION"),
        shell.given.place.control().display()
    ));
    shell.tend_draining_orphans();
    shell.begin_keeping();
    shell.narrator.beat(&mut shell.timers);
    shell.perform_all(effects);
    shell.step_all();
    shell.tend_strays();
    shell.notify_manager();
    shell.go_round()
}

impl Shell {
    pub(crate) fn new(begin: Begin) -> Result<(Self, Vec<Effect>), ShellError> {
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
            given: Given {
                invocation: begin.invocation,
                config: begin.config,
                place: begin.place,
                inherited_environment: begin.inherited_environment,
                since: clock::wall(),
                boot: sys::boot_id(),
            },
            records: Records::new(begin.inherited, begin.left.listeners),
            fleet: Fleet::new(),
            queues: Queues::default(),
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

    /// Everything, to be read.
    pub(crate) const fn view(&self) -> View<'_> {
        view!(self)
    }

    /// Tell a fact to everybody whom it concerns.
    pub(crate) fn tell(&mut self, fact: Fact) {
        if matches!(fact, Fact::Deaf(_))
            && let Some(text) = self.queues.take_untold()
        {
            self.log.error(&text);
        }
        let (narrator, view, timers) = self.narration();
        narrator.tell(fact, &view, timers);
        if let Some(text) = self.narrator.progress.take() {
            self.desk.tell_progress(&text);
        }
    }

    /// The narrator, with what it reads and the timers.
    const fn narration(&mut self) -> (&mut Narrator, View<'_>, &mut Timers<Alarm>) {
        let view = view!(self);
        (&mut self.narrator, view, &mut self.timers)
    }

    /// The first start, or a reload, is over.
    pub(crate) fn tell_ready(&mut self) {
        let (narrator, view, _) = self.narration();
        narrator.tell_ready(&view);
    }

    fn tell_status(&mut self) {
        let (narrator, view, _) = self.narration();
        narrator.tell_status(&view);
    }

    pub(crate) fn notify_manager(&mut self) {
        let (narrator, view, timers) = self.narration();
        narrator.notify_manager(&view, timers);
    }

    /// Turn after turn until the end. It may have come before the first wait: where no birth record could be made, nothing is
    /// left to wait for.
    pub(crate) fn go_round(&mut self) -> Result<Ending, ShellError> {
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
    pub(crate) fn turn(&mut self) -> Result<(), ShellError> {
        let deadline = self
            .timers
            .next()
            .into_iter()
            .chain(self.desk.control.next_deadline())
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
    pub(crate) fn hear(&mut self, deadline: Option<Instant>) -> Result<(), ShellError> {
        self.keep_what_was_done();
        let ready = self
            .sources
            .wait(deadline, clock::now())
            .map_err(|errno| ShellError::new("epoll_wait", errno))?;
        self.gather(&ready);
        self.step_all();
        // Words of which nothing followed need no record.
        self.fleet.consume_recorded();
        Ok(())
    }

    /// Step the core through every event before any of their effects is performed; performing may add events.
    pub(crate) fn step_all(&mut self) {
        while !self.events.is_empty() {
            self.keep_what_was_done();
            let batch: Vec<Event> = std::mem::take(&mut self.events).into();
            self.journal.log_batch(&batch);
            self.fleet.consume_recorded();
            self.step(batch);
        }
    }

    /// One batch: what it tells the core to do, done.
    pub(crate) fn step(&mut self, batch: Vec<Event>) {
        if self.ending.is_some() && batch.contains(&Event::Stop) {
            self.end_draining_orphans();
        }
        let mut effects = Vec::new();
        for event in batch {
            effects.extend(self.core.step(event));
        }
        self.perform_all(effects);
    }

    /// Perform effects in their order. What tickets are answered is put down in that order too, but goes out last: whoever
    /// has an answer finds everything done that it tells of, and systemd told of it.
    pub(crate) fn perform_all(&mut self, effects: Vec<Effect>) {
        self.records.note_roles(&self.core);
        for (nth, effect) in effects.into_iter().enumerate() {
            self.perform(effect);
            self.journal.mark_done(nth, effect);
        }
        self.send_answers();
    }

    /// What was put down goes out, once systemd knows as much.
    pub(crate) fn send_answers(&mut self) {
        if !self.desk.answers.is_empty() {
            self.tell_status();
        }
        for (client, reply) in std::mem::take(&mut self.desk.answers) {
            self.desk.control.reply(client, &reply, clock::now());
        }
    }

    /// Write down what the last batch has changed, if that has not been done since.
    pub(crate) fn keep_what_was_done(&mut self) {
        if self.journal.is_behind() {
            self.keep();
        }
    }

    /// Write down everything, as far as it has changed.
    pub(crate) fn keep(&mut self) {
        let rows = self.rows();
        self.journal.write(&rows, &self.log);
    }

    /// From now on everything is written down. What an earlier supervisor has left in the files is over with this.
    fn begin_keeping(&mut self) {
        self.keep();
        self.store_everything();
    }

    /// What systemd keeps is what is needed: what an earlier supervisor had stored and nobody has taken goes, and all that there
    /// is is stored (again, which systemd notices).
    pub(crate) fn store_everything(&mut self) {
        let manager = &mut self.narrator.manager;
        let spare_fds = std::mem::take(&mut self.journal.spare_fds);
        for name in spare_fds.names() {
            manager.unstore(name);
        }
        for (name, fd) in state::FILES.iter().zip(self.journal.keeper.fds()) {
            manager.store(name, fd);
        }
        for (record, birth) in &self.records.births {
            store::store_birth(manager, *record, birth);
        }
        for probe in self
            .records
            .generations
            .values()
            .filter_map(|info| info.probe.as_ref())
        {
            store::store_listener(manager, probe);
        }
        for (worker, info) in &self.fleet.workers {
            let pidfd = self.fleet.children.pidfd(Child::Worker(*worker));
            store::store_worker(manager, *worker, info.notify.as_ref(), pidfd);
        }
        // Behind the removals above: systemd keeps no fd under two names.
        for (name, pidfd) in self
            .succession
            .draining_orphans
            .iter()
            .map(DrainingOrphan::pass_on)
        {
            manager.store(&name, pidfd);
        }
    }

    /// What is to be done after each turn, whatever happened in it.
    pub(crate) fn end_turn(&mut self) {
        self.fleet.end_turn();
        self.fleet.watch_lingering(&mut self.timers);
        self.queues.watch(around!(self), &mut self.sources);
        self.watch_slots();
        self.watch_starts();
        self.update_interests();
        self.notify_manager();
        self.keep();
        if std::mem::take(&mut self.trim_heap) {
            sys::trim_heap();
        }
    }

    /// The last acts: the control socket tells its clients what it still has to, and everything closes.
    pub(crate) fn leave(&mut self) {
        match self.ending {
            // A stop has had the time that they would have had.
            Some(Ending::Stopped) => self.end_draining_orphans(),
            Some(Ending::NeverServed(_)) | None => self.tell_of_draining_orphans(),
        }
        tell_who_stays(&self.log);
        self.tell_status();
        self.answer_stops();
        self.journal.keeper.remove();
    }
}
