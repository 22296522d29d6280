//! After `kill -9`: the loop of another process goes on where its predecessor was.
//!
//! Its predecessor's processes are nobody's children now. They are proved by pid and start time and adopted; the listeners come from
//! systemd's file descriptor store, or are taken back from the app itself. Then the batch that the predecessor was performing is
//! performed to its end, without doing twice what its log says was done.

use std::fs;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use nix::unistd::Pid;
use segue_lifecycle::{Effect, Ending, Event, Handoff, Life, Number, Progress, Record, Timer, Until, Worker};

use crate::children::{Kin, Leader};
use crate::clock;
use crate::config;
use crate::listeners::{self, Absent, SocketIdentity};
use crate::readiness::NotifySocket;
use crate::shell::fleet::worker::WorkerInfo;
use crate::shell::inspection::look::Patience;
use crate::shell::journal::log::{Done, Forked, Logged};
use crate::shell::journal::store;
use crate::shell::records::sockets::announce;
use crate::shell::restore::{Found, configs};
use crate::shell::save::SavedChild;
use crate::shell::save::pidfd_name;
use crate::shell::succession::holders::{HadBack, Holders};
use crate::shell::succession::orphan_processes::{self, OrphanProcess, Role};
use crate::shell::succession::predecessor::PredecessorState;
use crate::shell::succession::recover::{self, Proved};
use crate::shell::{Alarm, Begin, Child, Shell, ShellError, waits};
use crate::sources::Source;
use crate::state::{self, Custody, Flaw, Guard, Restored, Row};
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
pub(crate) fn adopt(begin: Restored<Begin>, predecessor: PredecessorState) -> Result<Shell, String> {
    let (begin, custody) = begin.into_parts();
    let (mut shell, _) = Shell::new(begin).map_err(|error| error.to_string())?;
    let (kept, stored) = predecessor.into_parts();
    let logged = Logged::read(&kept.log).map_err(|flaw| flaw.to_string())?;
    shell.journal.spare_fds = stored;
    let rows = Row::all(&kept.rows).map_err(|flaw| flaw.to_string())?;
    let pending = shell.take_over(&rows, logged.forked(), &custody)?;
    let mut shell = Restored::new(shell, custody).take_charge();
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
    shell.steer_again();
    shell.tend_draining_orphans();
    shell.prepare_unanswered();
    shell.look_at_unheard();
    shell.narrator.beat(&mut shell.timers);
    shell.step_all();
    shell.keep_what_was_done();
    // What has died meanwhile may have sent its signal to somebody else, or to nobody.
    shell.sweep();
    shell.step_all();
    shell.fleet.hear_out_again();
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
        let newest = self.records.births.values().next_back();
        let newest = newest.map(|birth| Rc::clone(&birth.config));
        let (place, sources) = (&self.given.place, &mut self.sources);
        if let Some(Err(text)) = newest.map(|config| self.records.watch_path(&config, place, sources)) {
            self.log.warning(&text);
        }
    }

    /// Returns how many events were pending when the state was written; those behind them were found out now.
    fn take_over(&mut self, rows: &[Row<'_>], forked: &[Forked], custody: &Custody) -> Result<usize, String> {
        let text = |flaw: Flaw| flaw.to_string();
        let mut remains = orphan_processes::of_app(rows, forked, &self.given.place).map_err(text)?;
        let holders = Holders::new(rows, &remains).map_err(text)?;
        for wanted in listeners::identities(rows).map_err(text)? {
            self.find_listener(wanted, &holders, &remains, rows)?;
        }
        let since = self.given.since;
        let configs = configs(rows).map_err(text)?;
        let mut anew = Vec::new();
        let absent = Absent::IsMadeAnew(&mut anew);
        let listeners = listeners::restore(rows, &mut self.journal.spare_fds, absent, custody)
            .map_err(|flaw| recover::not_adopted(&flaw, &remains))?;
        self.fill(&Found {
            rows,
            configs: &configs,
            listeners: &listeners,
            remains: &remains,
            custody,
        })
        .map_err(text)?;
        for address in anew {
            self.log.warning(&format!(
                "the listener {address} was lost with the previous supervisor, for nobody else had it; it is made anew"
            ));
        }
        self.given.since = since;
        let pending = self.events.len();
        for info in self.fleet.workers.values_mut() {
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
        if self.journal.spare_fds.has(&name) {
            return Ok(());
        }
        if let Some(fd) = self.records.inherited.take(wanted.inode) {
            self.journal.spare_fds.put(name, fd);
            return Ok(());
        }
        let withheld = match holders.take_back(wanted) {
            Ok(HadBack { fd, stranger }) => {
                if let Some(pid) = stranger {
                    self.log.info(&recover::had_back_from(pid, wanted, rows));
                }
                self.journal.spare_fds.put(name, fd);
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
        let stored = self.journal.spare_fds.take(&pidfd_name(child.key));
        let is_it = |orphan: &OrphanProcess| orphan.role == Role::Main && orphan.worker == worker;
        let proved = remains.iter().position(is_it);
        let proved = proved.map(|place| remains.swap_remove(place).proved.pidfd);
        let hidden = || recover::prove_hidden(child.pid).map(|proved| proved.pidfd);
        match stored.or(proved).or_else(hidden) {
            Some(pidfd) => {
                self.fleet
                    .children
                    .restore(child.key, child.pid, pidfd, Kin::Adopted, child.leader);
                let uid = self.uid_of(worker, child.pid);
                if let Some(info) = self.fleet.workers.get_mut(&worker) {
                    info.uid = info.uid.or(uid);
                }
            }
            None => {
                if child.leader == Leader::Alive {
                    self.events.push_back(Event::Exited(worker));
                }
                let survivors = remains.extract_if(.., |orphan| orphan.is_survivor_of(worker));
                let survivors: Vec<OrphanProcess> = survivors.collect();
                if survivors.is_empty() {
                    self.worker_gone(worker);
                } else {
                    self.fleet.children.adopt_group(child.key, child.pid, child.began);
                    self.log.warning(&format!(
                        "the main process of generation {}, worker {} has ended; the rest of its process group (pid {}) is told to stop",
                        worker.generation,
                        worker.slot,
                        orphan_processes::pids(&survivors)
                    ));
                }
            }
        }
    }

    fn revive_listeners(&self) {
        for listener in self.records.current_listeners() {
            if let Err(error) = listener.revive(self.fleet.workers.len()) {
                self.log.error(&error.to_string());
            }
        }
    }

    /// As whom a worker runs. Where /proc does not show it, it is ourselves unless its settings say otherwise.
    fn uid_of(&self, worker: Worker, pid: Pid) -> Option<u32> {
        let own = || {
            let info = self.records.generations.get(&worker.generation)?;
            let ours = nix::unistd::getuid().as_raw();
            info.config.user.is_none().then_some(ours)
        };
        sys::uid_of(pid).or_else(own)
    }

    fn say_adopted(&self, rows: &[Row<'_>]) {
        announce(&self.records.current_listeners(), &[], &self.log);
        let before = Row::of_kind(rows, state::HEAD).and_then(|head| head.text("pid"));
        let who = self.view().serving().and_then(|mut serving| {
            // What has ended meanwhile has not been told yet.
            serving
                .pids
                .retain(|pid| self.fleet.children.lives(Pid::from_raw(*pid)));
            (!serving.pids.is_empty()).then(|| serving.to_string())
        });
        let who = who.unwrap_or_else(|| "nobody serves".to_owned());
        self.log.warning(&format!(
            "the previous supervisor (pid {}) was killed; its app is adopted: {who}",
            before.unwrap_or_default()
        ));
        let in_force = self.records.births.values().next_back();
        let differ = in_force.map(|birth| config::differences(&birth.config, &self.given.config));
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
        for (record, birth) in &self.records.births {
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
        let record = self.records.births.get(&incumbent.record);
        let is_lost = record.is_some_and(|birth| birth.record.is_err());
        let mut pids = incumbent
            .processes
            .iter()
            .filter_map(|process| self.fleet.workers.get(&process.worker)?.pid);
        let lives = pids.any(|pid| self.fleet.children.lives(pid));
        if is_lost && !lives && self.core.handoff() == Handoff::Idle {
            self.log
                .warning("reload: nobody serves, and the version that served cannot be started again; the version on disk is started instead");
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
        let effects: Vec<Effect> = batch
            .into_iter()
            .flat_map(|event| self.core.step(event))
            .collect();
        self.records.note_roles(&self.core);
        for (nth, effect) in effects.into_iter().enumerate() {
            if !done.covers(nth, effect) {
                self.finish(effect, &done);
                self.journal.mark_done(nth, effect);
            }
        }
        self.send_answers();
        self.events.extend(since);
    }

    /// Perform an effect of that batch, or find it begun.
    fn finish(&mut self, effect: Effect, done: &Done) {
        match effect {
            Effect::RollBack(number, record) => {
                self.find_probe(number, record, done);
                self.perform(effect);
            }
            Effect::Spawn(worker, record) => {
                self.find_probe(worker.generation, record, done);
                self.find_or_spawn(worker, record, done);
            }
            Effect::Prepare(_)
            | Effect::Signal(..)
            | Effect::Arm(..)
            | Effect::Disarm(_)
            | Effect::Extend(..)
            | Effect::Probe(_)
            | Effect::EndProbe(_)
            | Effect::Confirm(_)
            | Effect::ConfirmAnyway(_)
            | Effect::Switch(_)
            | Effect::NoteReady(_)
            | Effect::TakeOver(_)
            | Effect::Abandon(_)
            | Effect::Bury(_)
            | Effect::Answer(..)
            | Effect::Tell(_)
            | Effect::Forget(_)
            | Effect::Finish(_) => self.perform(effect),
        }
    }

    /// The private listener that the predecessor had made for a generation in that batch: no row tells of it, and the processes that it
    /// had forked have it.
    fn find_probe(&mut self, number: Number, record: Record, done: &Done) {
        if self.records.generations.contains_key(&number) {
            return;
        }
        let path = self.given.place.probe_socket(number);
        let found = done.forked_for(number).find_map(|one| {
            let proved = recover::prove(one.pid, one.began)?;
            recover::take_socket(&proved, |fd| listeners::is_at_path(fd, &path))
        });
        let had_back = found.map(|fd| listeners::probe_listener_had_back(fd, &path));
        let known = match had_back {
            Some(Ok(probe)) => {
                store::store_listener(&mut self.narrator.manager, &probe);
                let asked = self.narrator.history.asked;
                self.records
                    .know_generation(number, record, Some(probe), asked, &self.core)
            }
            Some(Err(error)) => Err(error.to_string()),
            None => Ok(()),
        };
        if let Err(text) = known {
            self.log.error(&format!("generation {number}: {text}"));
        }
    }

    fn find_or_spawn(&mut self, worker: Worker, record: Record, done: &Done) {
        let mut info = WorkerInfo::new(None);
        match self.find_forked(worker, record, &mut info, done) {
            Ok(true) => {
                self.fleet.workers.insert(worker, info);
            }
            Ok(false) => self.perform(Effect::Spawn(worker, record)),
            Err(text) => {
                // One that cannot be taken over must not serve with nobody in charge of it.
                let forked = done.forked(worker);
                if let Some(proved) = forked.and_then(|forked| recover::prove(forked.pid, forked.began)) {
                    proved.kill_group();
                }
                self.spawn_failed(worker, info, text);
            }
        }
    }

    /// Take over a process that the predecessor had forked for this worker in that batch. Returns whether there is one.
    fn find_forked(
        &mut self,
        worker: Worker,
        record: Record,
        info: &mut WorkerInfo,
        done: &Done,
    ) -> Result<bool, String> {
        self.ensure_generation(worker.generation, record)?;
        self.records.share_out(worker.generation, &self.core);
        let path = self
            .given
            .place
            .notify_socket(worker.generation, worker.slot, worker.start);
        let forked = done.forked(worker);
        let stored = self.journal.spare_fds.take(&pidfd_name(Child::Worker(worker)));
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
        let stored = self
            .journal
            .spare_fds
            .take(&NotifySocket::name(&worker.to_string()));
        let notify = NotifySocket::adopt(&path, stored, info.uid, Guard::armed());
        let notify = notify.map_err(|error| error.to_string())?;
        let watched = |errno| format!("epoll: {}", errno_text(errno));
        self.sources
            .add(Source::Notify(worker), notify.as_fd())
            .and_then(|()| self.sources.add(Source::Exit(worker), proved.pidfd.as_fd()))
            .map_err(watched)?;
        info.pid = Some(proved.pid);
        info.began = sys::start_time(proved.pid);
        info.adopted = true;
        info.notify = Some(notify);
        self.fleet.children.restore(
            Child::Worker(worker),
            proved.pid,
            proved.pidfd,
            Kin::Adopted,
            Leader::Alive,
        );
        self.events.push_back(Event::Executed(worker));
        Ok(true)
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
                .fleet
                .workers
                .get(&worker)
                .is_some_and(|info| info.report.is_none())
            {
                self.events.push_back(Event::Executed(worker));
            }
        }
        match self.core.handoff() {
            Handoff::Candidate(number, Progress::Preparing) if !self.is_answered(number) => {
                self.prepare(number)
            }
            Handoff::Candidate(number, Progress::Confirming) if !self.is_answered(number) => {
                self.confirm(number, Patience::Left)
            }
            Handoff::Candidate(number, Progress::Probing)
                if self
                    .timers
                    .deadline(Alarm::Core(Timer::ProbeAgain(number)))
                    .is_none() =>
            {
                self.events.push_back(Event::ProbeFailed(number));
            }
            Handoff::Idle | Handoff::Waiting | Handoff::Candidate(..) => {}
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
    fn prepare_unanswered(&mut self) {
        if let Handoff::Candidate(number, Progress::Preparing) = self.core.handoff()
            && !self.records.waits_to_prepare()
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
                self.arm(timer, waits::of(timer));
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
            .filter(|worker| self.fleet.children.pid(Child::Worker(*worker)).is_none())
            .filter(|worker| !self.fleet.strays.are_all_of(*worker))
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

/// Whether a child that was made just before its supervisor was killed has become the app. It waits for a last word before exec; if
/// that was never given it ends, and has not executed.
fn has_executed(proved: &Proved, notify: &Path) -> bool {
    let begun = clock::now();
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
