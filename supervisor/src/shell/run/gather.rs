//! From what happened outside to events, in a fixed order: reports and notifications, then exits, then clients,
//! and last the timers, once what is due because of the others is done. Nothing here performs an effect.

use segue_lifecycle::{Event, Worker, upgrade};

use crate::control::ClientId;
use crate::launch::End;
use crate::readiness::NotifySocket;
use crate::shell::confirming::{Confirming, confirming};
use crate::shell::fleet::hearing::Receive;
use crate::shell::fleet::{Ground, News, ground};
use crate::shell::journal::store;
use crate::shell::narrator::view::{View, view};
use crate::shell::run::{Heard, Minded, Stepped};
use crate::shell::starting::{Starting, starting};
use crate::shell::succession::draining_orphans::{Tools, tools};
use crate::shell::succession::effects::{Succeeding, service, succeeding};
use crate::shell::watching::{Watching, watching};
use crate::shell::wishes::{Asked, Wishes, wishes};
use crate::shell::{Alarm, Shell};
use crate::signals::Wish;
use crate::sources::{Ready, Source};

/// How often to look for strays in one turn, if there is another orphan each time. Whatever comes later is found by the next turn.
const LOOKS_A_TURN: usize = 4;

impl Shell {
    /// Read a source that is ready.
    pub(crate) fn gather(&mut self, ready: Ready<Worker, ClientId>) {
        match ready.source {
            Source::Report(worker) => {
                let executed = self.fleet.read_report(worker, End::Seen, &mut self.sources);
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
            Source::Paths => watching!(self).put_paths_back(),
            Source::Queues => watching!(self).note_waiting(),
            Source::Slots => watching!(self).note_stranded(),
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
        for wish in self.signals.take() {
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
            Asked::Upgrade(waiter) => succeeding!(self).ask(waiter),
        }
    }

    /// Take the timers that have come due by the time to which everything is heard, and do what follows. Only after the effects of all
    /// that: a watchdog that was fed is armed anew, and a deadline for which more time was asked has moved.
    pub(crate) fn take_due(&mut self, heard: Heard) -> Stepped {
        let now = heard.until;
        for alarm in self.timers.take_due(now) {
            match alarm {
                Alarm::Core(timer) => confirming!(self).note_due(timer),
                Alarm::Linger => self.sweep(),
                // The end of the turn tries again.
                Alarm::Upward => {}
                Alarm::Beat => self.narrator.beat(&mut self.timers),
                Alarm::Check => succeeding!(self).step(upgrade::Event::Overdue),
                Alarm::Memory | Alarm::Files => starting!(self).prepare_again(),
                Alarm::DrainingOrphans => self.succession.draining.end_overdue(&mut tools!(self)),
                Alarm::Fetched(worker) => self.fleet.ask_whether_fetched(worker, &ground!(self)),
                Alarm::Queues => watching!(self).look_at_queues(now),
                Alarm::Slots => {
                    self.answer_switch(now);
                    watching!(self).look_at_slots(now);
                }
                Alarm::Unheard => confirming!(self).look_at_unheard(&mut self.timers),
                Alarm::Hooks => starting!(self).end_overdue_hooks(now),
                Alarm::Accepting => confirming!(self).look_at_starts(&mut self.timers),
            }
        }
        self.desk.expire(now);
        self.step_all()
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
                News::Checked(status) => succeeding!(self).take_answer(status),
                News::CheckGone => succeeding!(self).step(upgrade::Event::Gone),
                News::Decided(decision) => starting!(self).decide([decision]),
                News::HookEnded => starting!(self).decide([]),
            }
        }
    }

    /// At the end of a turn, when everybody has his answer: tell and end the strays of those that were told to end in it.
    pub(crate) fn tend_strays(&mut self, _: Stepped) -> Minded {
        for _ in 0..LOOKS_A_TURN {
            let Some(over) = self.fleet.tend_strays(&ground!(self), &mut self.timers) else {
                break;
            };
            self.events.extend(over);
            self.step_all();
        }
        Minded(())
    }
}
