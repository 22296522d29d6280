//! From what happened outside to events, in a fixed order: reports and notifications, then exits, then clients,
//! and last the timers, once what is due because of the others is done. Nothing here performs an effect.

use std::time::Instant;

use segue_lifecycle::{Event, Until, Worker};

use crate::children::{ChildEvent, ExitStatus};
use crate::clock;
use crate::control::ClientId;
use crate::descent::{self, Origin};
use crate::memory::Verdict;
use crate::readiness::{Believed, NotifySocket, Word};
use crate::shell::fleet::worker::Launched;
use crate::shell::journal::store;
use crate::shell::{Alarm, Child, Shell};
use crate::sources::{Ready, Source};

/// Which messages of a notify socket are taken.
type Receive = fn(&mut NotifySocket, &Believed<'_>) -> Vec<Word>;

impl Shell {
    /// Read every source that is ready. The sources come sorted.
    pub(crate) fn gather(&mut self, ready: &[Ready<Worker, ClientId>]) {
        let (clients, mut others) =
            ready
                .iter()
                .copied()
                .partition::<Vec<_>, _>(|ready| match ready.source {
                    Source::Control | Source::Client(_) => true,
                    Source::Report(_)
                    | Source::Notify(_)
                    | Source::Exit(_)
                    | Source::DrainingOrphan(_)
                    | Source::Signals
                    | Source::Watch
                    | Source::Queues => false,
                });
        // One sweep sees every death.
        let is_exit = |ready: &Ready<_, _>| matches!(ready.source, Source::Exit(_));
        others.dedup_by(|next, before| is_exit(next) && is_exit(before));
        for ready in others {
            self.read_source(ready);
        }
        for ready in clients {
            self.read_source(ready);
        }
    }

    fn read_source(&mut self, ready: Ready<Worker, ClientId>) {
        match ready.source {
            Source::Report(worker) => self.read_report(worker),
            Source::Notify(worker) => self.read_words(worker, NotifySocket::receive),
            Source::Exit(_) => self.sweep(),
            Source::DrainingOrphan(pid) => self.draining_orphan_ended(pid),
            Source::Signals => self.read_signals(),
            Source::Watch => self.records.note_changes(&mut self.timers),
            Source::Queues => self.note_waiting(),
            Source::Control => self.admit_clients(),
            Source::Client(client) => self.serve_client(client, ready),
        }
    }

    /// What workers said is put down: messages that were left in their queues for that may go.
    pub(crate) fn consume_recorded(&mut self) {
        let sockets = self
            .fleet
            .workers
            .values_mut()
            .filter_map(|info| info.notify.as_mut());
        sockets.for_each(NotifySocket::consume_recorded);
    }

    /// Take the timers that have come due by `now`. Only after the effects of all that was heard by then: a watchdog that
    /// was fed is armed anew, and a deadline for which more time was asked has moved.
    pub(crate) fn take_due(&mut self, now: Instant) {
        for alarm in self.timers.take_due(now) {
            match alarm {
                Alarm::Core(timer) => self.due(timer),
                Alarm::Linger => self.sweep(),
                Alarm::Rested => {
                    self.records.tell_of_rest(&self.log);
                    self.ask_reload(None, Until::Takeover);
                }
                // The end of the turn tries again.
                Alarm::Upward => {}
                Alarm::Beat => self.narrator.beat(&mut self.timers),
                Alarm::Check => self.check_overdue(),
                Alarm::Memory => {
                    let candidate = self.records.memory.candidate();
                    candidate
                        .into_iter()
                        .for_each(|number| self.prepare_again(number));
                }
                Alarm::Files => {
                    let candidate = self.records.resting.as_ref().map(|resting| resting.candidate);
                    candidate
                        .into_iter()
                        .for_each(|number| self.prepare_again(number));
                }
                Alarm::DrainingOrphans => self.end_overdue_orphans(),
                Alarm::Fetched(worker) => self.ask_whether_fetched(worker),
                Alarm::Queues => self.look_at_queues(now),
                Alarm::Unheard => self.look_at_unheard(),
            }
        }
        self.expire_clients(now);
    }

    /// Whether the worker's process has become the app. The final word closes the pipe.
    fn read_report(&mut self, worker: Worker) {
        let Some(info) = self.fleet.workers.get_mut(&worker) else {
            return;
        };
        match info.read_report() {
            Launched::Pending => return,
            Launched::Executed => self.events.push_back(Event::Executed(worker)),
            // Its exit follows, and is the event.
            Launched::Failed => {}
        }
        if let Some(pipe) = info.report.take() {
            self.sources.remove(Source::Report(worker), pipe.as_fd());
        }
    }

    /// What the worker says. Its launch report comes first, for it says who may speak.
    fn read_words(&mut self, worker: Worker, receive: Receive) {
        self.read_report(worker);
        let Some(info) = self.fleet.workers.get_mut(&worker) else {
            return;
        };
        let Some(socket) = &mut info.notify else { return };
        let origin = info.pid.map(|leader| Origin {
            key: (),
            leader,
            notify: socket.path().to_owned(),
        });
        let is_descendant = |pid| descent::descendant_of(pid, origin.as_slice()).is_some();
        let words = receive(
            socket,
            &Believed::new(info.uid, &is_descendant).with_main(info.pid),
        );
        let ignored = socket.ignored();
        // Told once for each doubling, so that a flood of garbage is not answered by a flood of lines.
        if ignored.total() > 2 * info.ignored_told || (ignored.total() > 0 && info.ignored_told == 0) {
            info.ignored_told = ignored.total();
            let text = format!("{}: ignored {ignored}", self.view().name_worker(worker));
            self.log.warning(&text);
        }
        for word in words {
            self.take_word(worker, word);
        }
    }

    fn take_word(&mut self, worker: Worker, word: Word) {
        let Some(info) = self.fleet.workers.get_mut(&worker) else {
            return;
        };
        match word {
            Word::Ready => self.events.push_back(Event::Ready(worker)),
            Word::Watchdog => self.events.push_back(Event::Alive(worker)),
            Word::WatchdogTrigger => {
                info.gave_up = true;
                self.events.push_back(Event::Stuck(worker));
            }
            Word::ExtendTimeout(time) => {
                info.more_time = Some(time);
                self.events.push_back(Event::MoreTime(worker));
                let (narrator, view, timers) = self.narration();
                narrator.pass_on_at_the_end(worker, time, &view, timers);
            }
            Word::Status(text) => info.status = (!text.is_empty()).then_some(text),
            Word::Errno(errno) => info.errno = Some(errno),
            // Neither changes what the supervisor does: an app that stops unasked exits, and that is the event; an
            // app that reloads itself goes on serving.
            Word::Stopping | Word::Reloading => {}
        }
    }

    /// Look at everything that has died. What a dead worker had said is read before its exit is noted.
    pub(crate) fn sweep(&mut self) {
        for event in self.fleet.children.sweep() {
            match event {
                ChildEvent::Exited(Child::Worker(worker), status) => self.worker_exited(worker, status),
                ChildEvent::Gone(Child::Worker(worker)) => self.worker_gone(worker),
                ChildEvent::Exited(Child::Probe(number, run), status) => {
                    self.probe_exited(number, run, status);
                }
                ChildEvent::Gone(Child::Probe(..)) => {}
                ChildEvent::Exited(Child::Check, status) => self.check_exited(status),
                ChildEvent::Gone(Child::Check) => self.check_gone(),
            }
        }
        if self.fleet.strays.are_waited_for() {
            self.mind_strays();
        }
    }

    pub(crate) fn worker_exited(&mut self, worker: Worker, status: ExitStatus) {
        if let Some(pidfd) = self.fleet.children.pidfd(Child::Worker(worker)) {
            self.sources.remove(Source::Exit(worker), pidfd);
        }
        self.read_words(worker, NotifySocket::receive_last);
        match self.fleet.note_killer(worker, status) {
            Verdict::Innocent => {}
            Verdict::Certain | Verdict::Probable => self.narrator.history.oom_kills += 1,
        }
        if let Some(info) = self.fleet.workers.get_mut(&worker) {
            info.exit = Some((status, clock::now().saturating_duration_since(info.started)));
        }
        // Whatever the process did to the flags that all holders of a listener share is undone.
        self.restore_flags();
        self.events.push_back(Event::Exited(worker));
    }

    /// Its process group is empty. It is gone itself when nothing is left of what it has started.
    pub(crate) fn worker_gone(&mut self, worker: Worker) {
        if let Some(info) = self.fleet.workers.get_mut(&worker) {
            if let Some(socket) = info.notify.take() {
                self.sources.remove(Source::Notify(worker), socket.as_fd());
            }
            if let Some(pipe) = info.report.take() {
                self.sources.remove(Source::Report(worker), pipe.as_fd());
            }
        }
        store::unstore_worker(&mut self.narrator.manager, worker);
        self.hold(worker);
    }
}
