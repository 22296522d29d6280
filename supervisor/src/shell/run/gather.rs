//! From what happened outside to events, in a fixed order: reports and notifications, then exits, then clients,
//! and last the timers, once what is due because of the others is done. Nothing here performs an effect.

use std::time::Instant;

use segue_lifecycle::{Event, Timer, Worker, upgrade};

use crate::control::ClientId;
use crate::readiness::NotifySocket;
use crate::shell::fleet::hearing::Receive;
use crate::shell::fleet::{Ground, News, ground};
use crate::shell::inspection::queues::{Around, around};
use crate::shell::journal::store;
use crate::shell::narrator::view::{View, view};
use crate::shell::starting::{Starting, starting};
use crate::shell::succession::draining_orphans::{Tools, tools};
use crate::shell::wishes::{Asked, Wishes, wishes};
use crate::shell::{Alarm, Shell};
use crate::signals::Wish;
use crate::sources::{Ready, Source};

/// How often to look for strays in one turn, if there is another orphan each time. Whatever comes later is found by the next turn.
const LOOKS_A_TURN: usize = 4;

impl Shell {
    /// Read every source that is ready. They come in the order in which they are to be read.
    pub(crate) fn gather(&mut self, mut ready: Vec<Ready<Worker, ClientId>>) {
        // One sweep sees every death.
        let is_exit = |ready: &Ready<_, _>| matches!(ready.source, Source::Exit(_));
        ready.dedup_by(|next, before| is_exit(next) && is_exit(before));
        for ready in ready {
            self.read_source(ready);
        }
    }

    fn read_source(&mut self, ready: Ready<Worker, ClientId>) {
        match ready.source {
            Source::Report(worker) => {
                let executed = self.fleet.read_report(worker, &mut self.sources);
                self.events.extend(executed);
            }
            Source::Notify(worker) => self.read_words(worker, NotifySocket::receive),
            Source::Ack(worker) => self.read_words(worker, NotifySocket::receive_acks),
            Source::Exit(_) => self.sweep(),
            Source::Hook(id) => self.fleet.read_hook(id, &mut self.sources),
            Source::DrainingOrphan(pid) => {
                self.succession.draining.note_end(pid, &mut tools!(self));
            }
            Source::Signals => self.read_signals(),
            Source::Paths => self.paths.put_back(&ground!(self)),
            Source::Queues => self.queues.note_waiting(around!(self)),
            Source::Slots => {
                let stranded = self.steering.note_stranded(&ground!(self), &mut self.timers);
                self.events.extend(stranded);
            }
            Source::Control => self.desk.admit(&mut self.sources, &self.log),
            Source::Client(client) => {
                if let Some(request) = self.desk.serve(client, ready) {
                    let asked = wishes!(self).take_request(client, request);
                    self.grant(asked);
                }
            }
        }
    }

    fn read_words(&mut self, worker: Worker, receive: Receive) {
        let sources = &mut self.sources;
        let news = self.fleet.read_words(worker, receive, &ground!(self), sources);
        self.note(news);
    }

    /// Take every signal that is pending. Deaths are looked at once, however many signals told of them.
    fn read_signals(&mut self) {
        let mut deaths = false;
        while let Some(wish) = self.signals.next() {
            deaths |= matches!(wish, Wish::Sweep);
            let asked = wishes!(self).take_signal(wish);
            self.grant(asked);
        }
        if deaths {
            self.sweep();
        }
    }

    fn grant(&mut self, asked: Asked) {
        match asked {
            Asked::Nothing => {}
            Asked::Event(event) => self.events.push_back(event),
            Asked::Upgrade(waiter) => self.ask_upgrade(waiter),
        }
    }

    /// Take the timers that have come due by `now`. Only after the effects of all that was heard by then: a watchdog that
    /// was fed is armed anew, and a deadline for which more time was asked has moved.
    pub(crate) fn take_due(&mut self, now: Instant) {
        for alarm in self.timers.take_due(now) {
            match alarm {
                Alarm::Core(timer) => self.due(timer),
                Alarm::Linger => self.sweep(),
                // The end of the turn tries again.
                Alarm::Upward => {}
                Alarm::Beat => self.narrator.beat(&mut self.timers),
                Alarm::Check => self.step_upgrade(upgrade::Event::Overdue),
                Alarm::Memory => {
                    let candidate = self.records.memory.candidate();
                    starting!(self).prepare_again(candidate);
                }
                Alarm::Files => {
                    let candidate = self.records.resting_candidate();
                    starting!(self).prepare_again(candidate);
                }
                Alarm::DrainingOrphans => self.succession.draining.end_overdue(&mut tools!(self)),
                Alarm::Fetched(worker) => self.fleet.ask_whether_fetched(worker, &ground!(self)),
                Alarm::Queues => self.look_at_queues(now),
                Alarm::Slots => self.look_at_slots(now),
                Alarm::Unheard => self.look_at_unheard(),
                Alarm::Hooks => starting!(self).end_overdue_hooks(now),
                Alarm::Accepting => {
                    if let Some(number) = self.core.handoff().candidate() {
                        self.look_at_token(number);
                    }
                    self.events.extend(view!(self).look_at_starts(&mut self.timers));
                }
            }
        }
        self.desk.expire(now);
    }

    /// A deadline of the core has passed. A worker whose word may be lost, and that is seen to serve, is ready.
    fn due(&mut self, timer: Timer) {
        // Its processes may be gone when it is told why it has failed.
        if let Timer::Start(Worker { generation, .. }) | Timer::Await(generation) = timer
            && self.core.is_token_placed(generation)
        {
            let words = self.view().unaccepted_in_words(generation);
            self.records.note_unaccepted(generation, words);
        }
        let event = if let Timer::Start(worker) = timer
            && self.view().serves_unheard(worker, &self.events)
        {
            self.view().say_taken_as_ready(worker);
            Event::Ready(worker)
        } else {
            Event::Due(timer)
        };
        self.events.push_back(event);
    }

    /// Look at workers whose word may be lost, and again after a while at those who are not ready by then.
    pub(crate) fn look_at_unheard(&mut self) {
        let seen = self.view().look_at_unheard(&self.events);
        let ready = self.fleet.note_unheard(seen, &mut self.timers);
        for worker in ready {
            self.view().say_taken_as_ready(worker);
            self.events.push_back(Event::Ready(worker));
        }
    }

    fn look_at_slots(&mut self, now: Instant) {
        self.answer_switch(now);
        self.answer_placing(now);
        let relieved = self.steering.look(now, &ground!(self), &mut self.timers);
        self.events.extend(relieved);
    }

    fn look_at_queues(&mut self, now: Instant) {
        for deaf in self.queues.look(around!(self), now) {
            self.records.note_deaf(deaf.number, deaf.words);
            self.events.push_back(Event::Deaf(deaf.number));
        }
    }

    /// Look at everything that has died.
    pub(crate) fn sweep(&mut self) {
        let news = self.fleet.sweep(&ground!(self), &mut self.sources);
        self.note(news);
    }

    fn note(&mut self, news: Vec<News>) {
        for news in news {
            match news {
                News::Event(event) => self.events.push_back(event),
                News::MoreTime(worker, time) => {
                    self.events.push_back(Event::MoreTime(worker));
                    self.narrator
                        .pass_on_at_the_end(worker, time, &view!(self), &self.timers);
                }
                News::Exited(worker) => {
                    self.records.flags_due = true;
                    self.events.push_back(Event::Exited(worker));
                }
                News::OutOfMemory => self.narrator.history.oom_kills += 1,
                News::GroupEnded(worker) => store::unstore_worker(&mut self.narrator.manager, worker),
                News::Checked(status) => {
                    let answer = self.succession.upgrading.read_answer(status);
                    self.step_upgrade(answer);
                }
                News::CheckGone => self.step_upgrade(upgrade::Event::Gone),
                News::Decided(decision) => starting!(self).decide([decision]),
                News::HookEnded => starting!(self).decide([]),
            }
        }
    }

    fn mind_strays(&mut self) {
        let over = self.fleet.mind_strays(&ground!(self));
        self.events.extend(over);
    }

    /// At the end of a turn, when everybody has his answer: tell and end the strays of those that were told to end in it.
    pub(crate) fn tend_strays(&mut self) {
        for _ in 0..LOOKS_A_TURN {
            if !self.fleet.strays.take_due() {
                return;
            }
            let ground = ground!(self);
            self.fleet.hear_out(&ground, &mut self.timers);
            self.mind_strays();
            self.step_all();
        }
    }
}
