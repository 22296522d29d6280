//! A worker ends: first its main process, then its group, then its strays.

use std::time::Duration;

use segue_lifecycle::{Number, Worker};

use crate::children::{ChildEvent, ExitStatus};
use crate::clock::{self, Timers};
use crate::memory::Verdict;
use crate::readiness::NotifySocket;
use crate::shell::fleet::{Fleet, Ground, News};
use crate::shell::waits::Pauses;
use crate::shell::{Alarm, Child, PollSet};
use crate::sight::Awaited;
use crate::sources::Source;

impl Fleet {
    /// Whether a main process of a generation ends before it comes to rest, or in that time. Who is seen waiting for clients is put down.
    pub(crate) fn any_dies_within(&mut self, number: Number, time: Duration, awaited: &mut Awaited) -> bool {
        let workers = self.workers.keys();
        let workers = workers.filter(|worker| worker.generation == number);
        let keys: Vec<Child> = workers.copied().map(Child::Worker).collect();
        let hint = &self.hint;
        let mut serves = |pid| awaited.look_at(pid, hint);
        self.children.any_dies_within(&keys, time, &mut serves)
    }

    /// Whether a main process of a generation has ended.
    pub(crate) fn any_is_dead(&mut self, number: Number) -> bool {
        self.any_dies_within(number, Duration::ZERO, &mut Awaited::default())
    }

    /// Look at everything that has died. What a dead worker had said is read before its exit is noted.
    pub(crate) fn sweep(&mut self, ground: &Ground<'_>, sources: &mut PollSet) -> Vec<News> {
        let mut news = Vec::new();
        for event in self.children.sweep() {
            match event {
                ChildEvent::Exited(Child::Worker(worker), status) => {
                    news.extend(self.worker_exited(worker, status, ground, sources));
                }
                ChildEvent::Gone(Child::Worker(worker)) => {
                    self.group_ended(worker, sources);
                    news.push(News::GroupEnded(worker));
                }
                ChildEvent::Exited(Child::Probe(number, run), status) => {
                    news.extend(self.probe_exited(number, run, status).map(News::Event));
                }
                ChildEvent::Exited(Child::Hook(id), status) => {
                    let decided = self.hook_exited(id, status, ground.log, sources);
                    news.push(decided.map_or(News::HookEnded, News::Decided));
                }
                ChildEvent::Gone(Child::Probe(..) | Child::Hook(_)) => {}
                ChildEvent::Exited(Child::Check, status) => news.push(News::Checked(status)),
                ChildEvent::Gone(Child::Check) => news.push(News::CheckGone),
            }
        }
        if self.strays.are_waited_for() {
            news.extend(self.mind_strays(ground).into_iter().map(News::Event));
        }
        news
    }

    fn worker_exited(
        &mut self,
        worker: Worker,
        status: ExitStatus,
        ground: &Ground<'_>,
        sources: &mut PollSet,
    ) -> Vec<News> {
        self.unwatch_exit(worker, sources);
        let mut news = self.read_words(worker, NotifySocket::receive_last, ground, sources);
        match self.note_exit(worker, status) {
            Verdict::Innocent => {}
            Verdict::Certain | Verdict::Probable => news.push(News::OutOfMemory),
        }
        news.push(News::Exited(worker));
        news
    }

    /// Its main process has ended: nothing more is heard of that end.
    fn unwatch_exit(&self, worker: Worker, sources: &mut PollSet) {
        if let Some(pidfd) = self.children.pidfd(Child::Worker(worker)) {
            sources.remove(Source::Exit(worker), pidfd);
        }
    }

    /// How its main process has ended, and whether the kernel has killed it for memory.
    fn note_exit(&mut self, worker: Worker, status: ExitStatus) -> Verdict {
        let verdict = self.note_killer(worker, status);
        if let Some(info) = self.workers.get_mut(&worker) {
            info.exit = Some((status, clock::now().saturating_duration_since(info.started)));
        }
        verdict
    }

    /// Its process group is empty. It is gone itself when nothing is left of what it has started.
    pub(crate) fn group_ended(&mut self, worker: Worker, sources: &mut PollSet) {
        if let Some(info) = self.workers.get_mut(&worker) {
            if let Some(socket) = info.notify.take() {
                sources.remove(Source::Notify(worker), socket.as_fd());
                if let Some(acks) = socket.acks() {
                    sources.remove(Source::Ack(worker), acks.as_fd());
                }
            }
            if let Some(pipe) = info.report.take() {
                sources.remove(Source::Report(worker), pipe.as_fd());
            }
        }
        self.strays.hold(worker);
    }

    /// Keep looking at process groups without a leader, and at strays that somebody waits for, as long as there are any.
    pub(crate) fn watch_lingering(&mut self, timers: &mut Timers<Alarm>) {
        if !self.children.lingering() && !self.strays.are_waited_for() {
            self.linger = Pauses::new();
            timers.disarm(Alarm::Linger);
        } else if timers.deadline(Alarm::Linger).is_none() {
            let pause = self.linger.grow();
            timers.arm(Alarm::Linger, Some(pause), clock::now());
        }
    }

    /// The turn is over: those that are gone are forgotten. A wish for more time counts in the turn in which it was made.
    pub(crate) fn end_turn(&mut self) {
        for worker in std::mem::take(&mut self.gone) {
            self.note_who_shared(worker);
            self.workers.remove(&worker);
        }
        for info in self.workers.values_mut() {
            info.more_time = None;
        }
    }
}
