//! After `kill -9`: the loop of another process goes on where its predecessor was.
//!
//! Its predecessor's processes are nobody's children now. They are proved by pid and start time and adopted; the listeners come from
//! systemd's file descriptor store, or are taken back from the app itself. Then the batch that the predecessor was performing is
//! performed to its end, without doing twice what its log says was done.

use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::unistd::Pid;
use segue_lifecycle::{Ending, Event, Handoff, Life, Number, Timer, Until, Wait, Worker};

use super::holders::{HadBack, Holders};
use super::keep::{Forked, Logged};
use super::look::Patience;
use super::orphan_processes::{self, OrphanProcess, Role};
use super::predecessor::PredecessorState;
use super::recover::{self, Proved};
use super::restore::configs;
use super::save::SavedChild;
use super::save::pidfd_name;
use super::worker::WorkerInfo;
use super::{Alarm, Begin, Child, Shell, ShellError};
use crate::children::{Kin, Leader};
use crate::config;
use crate::listeners::{self, Absent, SocketIdentity};
use crate::readiness::NotifySocket;
use crate::sources::Source;
use crate::state::{self, Flaw, Row};
use crate::sys::{self, errno_text};

/// How long a child that was about to execute when its supervisor was killed may take to do so or to give up: it tries for 0.4 s
/// while a file is being written, and a loaded machine takes its time.
const UNTIL_EXECUTED: Duration = Duration::from_secs(5);

/// How long such a child may take to end whose environment is not shown: it is at its last step, and exits when it reads the end.
const UNTIL_ENDED: Duration = Duration::from_secs(1);

/// The pause between two looks at such a child. Nothing tells when a process has executed.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Adopt a predecessor's state: everything is taken over, and nothing has been done yet.
///
/// # Errors
/// One line that says what was found and what to do. Then everything is as it was.
pub(crate) fn adopt(begin: Begin, predecessor: PredecessorState) -> Result<Shell, String> {
    // Until it is certain that this succeeds, nothing must be taken away from whoever tries next.
    state::stand_by();
    let (mut shell, _) = Shell::new(begin).map_err(|error| error.to_string())?;
    let (kept, stored) = predecessor.into_parts();
    let logged = Logged::read(&kept.log).map_err(|flaw| flaw.to_string())?;
    shell.spare_fds = stored;
    let rows = Row::all(&kept.rows).map_err(|flaw| flaw.to_string())?;
    let pending = shell.take_over(&rows, logged.forked())?;
    state::take_charge();
    // First of all: the app may hang until then.
    shell.revive_listeners();
    shell.say_adopted(&rows);
    shell.say_what_is_lost();
    shell.finish_batch(logged, pending);
    shell.reconcile();
    shell.replace_what_is_lost();
    Ok(shell)
}

/// Go on, turn after turn.
pub(crate) fn go_on(mut shell: Shell) -> Result<Ending, ShellError> {
    shell.tend_draining_orphans();
    shell.prepare_again();
    shell.look_at_unheard();
    shell.beat();
    shell.step_all();
    shell.keep_what_was_done();
    // What has died meanwhile may have sent its signal to somebody else, or to nobody.
    shell.sweep();
    shell.step_all();
    shell.hear_out_again();
    shell.tend_strays();
    shell.rewatch();
    shell.say_upgraded();
    shell.end_turn();
    shell.notify_manager();
    shell.go_round()
}

impl Shell {
    /// Watch the path that the newest settings name.
    fn rewatch(&mut self) {
        let newest = self.births.values().next_back();
        let path = newest.and_then(|birth| birth.config.watch.clone());
        if let Err(text) = self.watch_path(path.as_deref()) {
            self.log.warning(&text);
        }
    }

    /// Returns how many events were pending when the state was written; those behind them were found out now.
    fn take_over(&mut self, rows: &[Row<'_>], forked: &[Forked]) -> Result<usize, String> {
        let text = |flaw: Flaw| flaw.to_string();
        let mut remains = orphan_processes::of_app(rows, forked, &self.begin.place).map_err(text)?;
        let holders = Holders::new(rows, &remains).map_err(text)?;
        for wanted in listeners::identities(rows).map_err(text)? {
            self.find_listener(wanted, &holders, &remains, rows)?;
        }
        let since = self.begin.since;
        let configs = configs(rows).map_err(text)?;
        let mut anew = Vec::new();
        let listeners = listeners::restore(rows, &mut self.spare_fds, Absent::IsMadeAnew(&mut anew))
            .map_err(|flaw| recover::not_adopted(&flaw, &remains))?;
        self.fill(rows, &configs, &listeners, &remains).map_err(text)?;
        for address in anew {
            self.log.warning(&format!(
                "the listener {address} was lost with the previous supervisor, for nobody else had it; it is made anew"
            ));
        }
        self.begin.since = since;
        let pending = self.events.len();
        for info in self.workers.values_mut() {
            info.adopted = true;
        }
        for child in SavedChild::all(rows).map_err(text)? {
            self.adopt_child(child, &mut remains);
        }
        // What outlives a process that had just been forked: that one is started again.
        let is_forked = |worker| forked.iter().any(|one| one.child == Child::Worker(worker));
        for orphan in remains.iter().filter(|orphan| orphan.role == Role::Survivor) {
            if is_forked(orphan.worker) {
                orphan.proved.kill_group();
            }
        }
        self.watch_all()?;
        Ok(pending)
    }

    /// Puts the fd of a listener into the spare fds, wherever it comes from. One of ours that no process has any more is left out: that of a
    /// generation that is gone, or that only the predecessor held.
    fn find_listener(
        &mut self,
        wanted: SocketIdentity,
        holders: &Holders<'_>,
        remains: &[OrphanProcess],
        rows: &[Row<'_>],
    ) -> Result<(), String> {
        let name = wanted.fd_name();
        if self.spare_fds.has(&name) {
            return Ok(());
        }
        if let Some(fd) = self.inherited.take(wanted.inode) {
            self.spare_fds.put(name, fd);
            return Ok(());
        }
        let withheld = match holders.take_back(wanted) {
            Ok(HadBack { fd, stranger }) => {
                if let Some(pid) = stranger {
                    self.log.info(&recover::had_back_from(pid, wanted, rows));
                }
                self.spare_fds.put(name, fd);
                return Ok(());
            }
            Err(withheld) => withheld,
        };
        if withheld.is_none() && !listeners::is_inherited(rows, wanted) {
            return Ok(());
        }
        Err(recover::not_had_back(wanted, remains, withheld, rows))
    }

    /// Takes charge of a process that a predecessor had started. One that cannot be found has ended meanwhile.
    fn adopt_child(&mut self, child: SavedChild, remains: &mut Vec<OrphanProcess>) {
        let Child::Worker(worker) = child.key else {
            // A run of a probe says nothing to us any more, and is run again; so is a check.
            if let Some(proved) = child.began.and_then(|began| recover::prove(child.pid, began)) {
                proved.kill_group();
            }
            return;
        };
        let stored = self.spare_fds.take(&pidfd_name(child.key));
        let is_it = |orphan: &OrphanProcess| orphan.role == Role::Main && orphan.worker == worker;
        let proved = remains.iter().position(is_it);
        let proved = proved.map(|place| remains.swap_remove(place).proved.pidfd);
        let hidden = || recover::prove_hidden(child.pid).map(|proved| proved.pidfd);
        match stored.or(proved).or_else(hidden) {
            Some(pidfd) => {
                self.children
                    .restore(child.key, child.pid, pidfd, Kin::Adopted, child.leader);
                let uid = self.uid_of(worker, child.pid);
                if let Some(info) = self.workers.get_mut(&worker) {
                    info.uid = info.uid.or(uid);
                }
            }
            None => {
                if child.leader == Leader::Alive {
                    self.events.push_back(Event::Exited(worker));
                }
                let survivors = remains.extract_if(.., |orphan| orphan.worker == worker);
                let survivors: Vec<OrphanProcess> = survivors.collect();
                if survivors.is_empty() {
                    self.worker_gone(worker);
                } else {
                    self.children.adopt_group(child.key, child.pid, child.began);
                    self.log.warning(&format!(
                        "the main process of generation {}, worker {} has ended; what is left of its group (pid {}) is told to stop",
                        worker.generation,
                        worker.slot,
                        orphan_processes::pids(&survivors)
                    ));
                }
            }
        }
    }

    fn revive_listeners(&self) {
        for listener in self.current_listeners() {
            if let Err(error) = listener.revive(self.workers.len()) {
                self.log.error(&error.to_string());
            }
        }
    }

    /// As whom a worker runs. Where /proc does not show it, it is ourselves unless its settings say otherwise.
    fn uid_of(&self, worker: Worker, pid: Pid) -> Option<u32> {
        let own = || {
            let info = self.generations.get(&worker.generation)?;
            let ours = nix::unistd::getuid().as_raw();
            info.config.user.is_none().then_some(ours)
        };
        sys::uid_of(pid).or_else(own)
    }

    fn say_adopted(&self, rows: &[Row<'_>]) {
        self.announce(&self.current_listeners(), &[]);
        let before = Row::of_kind(rows, state::HEAD).and_then(|head| head.text("pid"));
        let who = self.serving().and_then(|mut serving| {
            // What has ended meanwhile has not been told yet.
            serving
                .pids
                .retain(|pid| self.children.lives(Pid::from_raw(*pid)));
            (!serving.pids.is_empty()).then(|| serving.to_string())
        });
        let who = who.unwrap_or_else(|| "nobody serves".to_owned());
        self.log.warning(&format!(
            "the previous supervisor (pid {}) was killed; its app is adopted: {who}",
            before.unwrap_or_default()
        ));
        let in_force = self.births.values().next_back();
        let differ = in_force.map(|birth| config::differences(&birth.config, &self.begin.config));
        let differ = differ.unwrap_or_default();
        if !differ.is_empty() {
            self.log.warning(&format!(
                "settings changed since the app was started ({}): they take effect at the next reload",
                differ.join(", ")
            ));
        }
    }

    /// What went with the predecessor.
    fn say_what_is_lost(&self) {
        for (record, birth) in &self.births {
            if let Err(lost) = &birth.record {
                self.log.warning(&format!(
                    "generation {} cannot be started again until a reload: {}",
                    record.0, lost.why
                ));
            }
        }
    }

    /// If the incumbent is dead and cannot be started again, a new generation is started, as by a reload.
    fn replace_what_is_lost(&mut self) {
        let Some(incumbent) = self.core.incumbent() else {
            return;
        };
        let record = self.births.get(&incumbent.record);
        let is_lost = record.is_some_and(|birth| birth.record.is_err());
        let mut pids = incumbent
            .processes
            .iter()
            .filter_map(|process| self.workers.get(&process.worker)?.pid);
        let lives = pids.any(|pid| self.children.lives(pid));
        if is_lost && !lives && self.core.handoff() == Handoff::Idle {
            self.log
                .warning("reload: nobody serves, and the version that served cannot be started again: what is on disk now is started");
            self.ask_reload(None, Until::Takeover);
        }
    }

    /// Perform to its end what the predecessor was performing.
    fn finish_batch(&mut self, logged: Logged, pending: usize) {
        let Logged { batch, done } = logged;
        for probe in done.probes() {
            if let Some(proved) = recover::prove(probe.pid, probe.began) {
                proved.kill_group();
            }
        }
        if batch.is_empty() {
            return;
        }
        // Events that were pending then are among those of the batch; what has been found out since comes after it.
        let since = self.events.split_off(pending.min(self.events.len()));
        self.events.clear();
        self.done = Some(done);
        self.step(batch);
        self.events.extend(since);
    }

    /// The private listener that the predecessor had made for a generation in the batch that it did not finish: no row tells of it,
    /// and the processes that it had forked have it.
    pub(super) fn probe_begun(&self, number: Number, path: &Path) -> Option<OwnedFd> {
        let mut forked = self.done.iter().flat_map(|done| done.forked_for(number));
        forked.find_map(|one| {
            let proved = recover::prove(one.pid, one.began)?;
            recover::take_socket(&proved, |fd| listeners::is_at_path(fd, path))
        })
    }

    /// Take over a process that the predecessor had forked for this worker in the batch that it did not finish. Returns
    /// whether there is one.
    pub(super) fn adopt_forked(&mut self, worker: Worker, info: &mut WorkerInfo) -> Result<bool, String> {
        let Some(done) = &self.done else { return Ok(false) };
        let path = self
            .begin
            .place
            .notify_socket(worker.generation, worker.slot, worker.start);
        let forked = done.forked(worker);
        let stored = self.spare_fds.take(&pidfd_name(Child::Worker(worker)));
        let proved = forked.and_then(|forked| match stored {
            Some(pidfd) => Some(Proved::by_pidfd(forked.pid, pidfd)),
            None => recover::prove_worker(forked.pid, Some(forked.began), &path)
                .or_else(|| recover::prove_hidden(forked.pid)),
        });
        let Some(proved) = proved.filter(|proved| has_executed(proved, &path)) else {
            // It had not been told to go. Its socket is bound again.
            let _ = fs::remove_file(&path);
            return Ok(false);
        };
        info.uid = self.uid_of(worker, proved.pid);
        let stored = self.spare_fds.take(&NotifySocket::name(&worker.to_string()));
        let notify = NotifySocket::adopt(&path, stored, info.uid).map_err(|error| error.to_string())?;
        let watched = |errno| format!("epoll: {}", errno_text(errno));
        self.sources
            .add(Source::Notify(worker), notify.as_fd())
            .and_then(|()| self.sources.add(Source::Exit(worker), proved.pidfd.as_fd()))
            .map_err(watched)?;
        info.pid = Some(proved.pid);
        info.began = sys::start_time(proved.pid);
        info.adopted = true;
        info.notify = Some(notify);
        self.children.restore(
            Child::Worker(worker),
            proved.pid,
            proved.pidfd,
            Kin::Adopted,
            Leader::Alive,
        );
        self.events.push_back(Event::Executed(worker));
        Ok(true)
    }

    /// A process that the predecessor had forked and that cannot be taken over must not serve with nobody in charge of it.
    pub(super) fn end_forked(&self, worker: Worker) {
        let forked = self.done.as_ref().and_then(|done| done.forked(worker));
        if let Some(proved) = forked.and_then(|forked| recover::prove(forked.pid, forked.began)) {
            proved.kill_group();
        }
    }

    /// What the predecessor would have heard of, and nobody will tell again.
    fn reconcile(&mut self) {
        let starting: Vec<Worker> = self
            .core
            .generations()
            .flat_map(|generation| &generation.processes)
            .filter(|process| process.life == Life::Starting)
            .map(|process| process.worker)
            .collect();
        for worker in starting {
            // Its launch was to report this, and the report is lost.
            if self
                .workers
                .get(&worker)
                .is_some_and(|info| info.report.is_none())
            {
                self.events.push_back(Event::Executed(worker));
            }
        }
        match self.core.handoff() {
            Handoff::Preparing(number) if !self.is_answered(number) => self.prepare(number),
            Handoff::Confirming(number) if !self.is_answered(number) => {
                self.confirm(number, Patience::Unadopted)
            }
            Handoff::Probing(number)
                if self
                    .timers
                    .deadline(Alarm::Core(Timer::ProbeAgain(number)))
                    .is_none() =>
            {
                self.events.push_back(Event::ProbeFailed(number));
            }
            Handoff::Preparing(_)
            | Handoff::Confirming(_)
            | Handoff::Probing(_)
            | Handoff::Idle
            | Handoff::Waiting
            | Handoff::Starting(_)
            | Handoff::Soaking(_) => {}
        }
        self.arm_what_is_not();
        self.miss_the_missing();
        self.store_everything();
        if self.core.somebody_serves() {
            self.tell_ready();
        }
    }

    /// Whether what was asked of the shell about a candidate has its answer among the events.
    fn is_answered(&self, number: Number) -> bool {
        self.events.iter().any(|event| {
            *event == Event::Confirmed(number)
                || *event == Event::Unawaited(number)
                || *event == Event::Unheld(number)
                || *event == Event::PrepareFailed(number)
                || matches!(event, Event::Prepared(of, _) if *of == number)
        })
    }

    /// A start that waited, for files or for memory, when this binary was executed: no row tells of that, so it begins to wait anew.
    fn prepare_again(&mut self) {
        if let Handoff::Preparing(number) = self.core.handoff()
            && !self.waits_to_prepare()
            && !self.is_answered(number)
        {
            self.prepare(number);
        }
    }

    /// A timer of which no row told, and every watchdog: it cannot have been fed while nobody listened.
    fn arm_what_is_not(&mut self) {
        let timers: Vec<Timer> = self.core.timers().collect();
        for timer in timers {
            let watchdog = matches!(timer, Timer::Watchdog(_));
            if watchdog || !self.timers.runs(Alarm::Core(timer)) {
                self.arm(timer, wait_of(timer));
            }
        }
    }

    /// Workers that the core knows and nobody has seen are gone.
    fn miss_the_missing(&mut self) {
        let known = self
            .core
            .generations()
            .flat_map(|generation| &generation.processes);
        let missing: Vec<Worker> = known
            .map(|process| process.worker)
            .filter(|worker| self.children.pid(Child::Worker(*worker)).is_none())
            .filter(|worker| !self.strays.are_all_of(*worker))
            .filter(|worker| !self.events.iter().any(|event| is_end_of(event, *worker)))
            .collect();
        for worker in missing {
            self.events.push_back(Event::Exited(worker));
            self.worker_gone(worker);
        }
    }
}

/// Whether the event tells that nothing is left of the worker.
fn is_end_of(event: &Event, worker: Worker) -> bool {
    *event == Event::Gone(worker) || *event == Event::SpawnFailed(worker)
}

/// How long a timer runs if nothing else is known about it.
const fn wait_of(timer: Timer) -> Wait {
    match timer {
        Timer::Start(_) => Wait::Start,
        Timer::Hint(_) => Wait::Hint,
        Timer::Alive(_) => Wait::Alive,
        Timer::Watchdog(_) => Wait::Watchdog,
        Timer::Drain(_) => Wait::Drain,
        Timer::Kill(_) => Wait::Kill,
        Timer::Probe(_) => Wait::Probe,
        Timer::ProbeAgain(_) => Wait::ProbeAgain,
        Timer::Soak(_) => Wait::Soak,
        Timer::Look(_) => Wait::Look,
        Timer::Await(_) => Wait::Await,
        Timer::Probation(_) => Wait::Probation,
        Timer::BackOff(..) => Wait::BackOff(1),
        Timer::Calm(..) => Wait::Calm,
        Timer::Stop => Wait::Stop,
    }
}

/// Whether a child that was made just before its supervisor was killed has become the app. It waits for a last word before exec; if
/// that was never given it ends, and has not executed.
fn has_executed(proved: &Proved, notify: &Path) -> bool {
    let begun = Instant::now();
    loop {
        if sys::is_dead_by_pidfd(proved.pidfd.as_fd()) {
            return false;
        }
        // Before exec it has the environment of its supervisor.
        let patience = match recover::was_born_with(proved.pid, notify) {
            Ok(true) => return true,
            Ok(false) => UNTIL_EXECUTED,
            Err(_) => UNTIL_ENDED,
        };
        if begun.elapsed() > patience {
            return true;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}
