//! Hooks are started at their moments, and a reload goes on or is refused by one.

use std::rc::Rc;
use std::time::Instant;

use segue_lifecycle::{Event, FIRST, Number, Plan, Progress, Record};

use crate::config::Config;
use crate::shell::fleet::hooks::{Call, Decision, Purpose};
use crate::shell::fleet::{Ground, ground};
use crate::shell::narrator::occasions::Occasion;
use crate::shell::starting::Starting;

impl Starting<'_> {
    /// Run what is to be run at this, as the generation that serves would run it.
    pub(crate) fn run_hooks(&mut self, occasion: &Occasion) {
        let Some(record) = self.core.incumbent().map(|incumbent| incumbent.record) else {
            return;
        };
        let Some(config) = self.config_of_record(record) else {
            return;
        };
        let meant = config.on.iter().filter(|(moment, _)| *moment == occasion.moment);
        for (moment, command) in meant {
            let purpose = Purpose::Tell(*moment, occasion.number);
            let call = Call {
                purpose,
                command,
                facts: &occasion.facts,
                record,
                limit: config.hook_timeout,
            };
            if let Err(why) = self.start_hook(&call) {
                self.log.warning(&format!("{purpose}: {why}"));
            }
        }
    }

    /// There is a record. The reload begins, unless there is a hook that has to allow it.
    pub(crate) fn ask_before_reload(&mut self, number: Number, plan: Plan) {
        match self.start_hook_before(number, plan) {
            Ok(Asked::Somebody) => {}
            Ok(Asked::Nobody) => self.decided(number, plan, Ok(())),
            Err(why) => self.decided(number, plan, Err(format!("before-reload: {why}"))),
        }
    }

    fn start_hook_before(&mut self, number: Number, plan: Plan) -> Result<Asked, String> {
        let config = self.config_of_record(Record(number)).filter(|_| number != FIRST);
        let command = config.as_ref().and_then(|config| config.before_reload.as_ref());
        let (Some(config), Some(command)) = (&config, command) else {
            return Ok(Asked::Nobody);
        };
        if !self.fleet.hooks.decides_on(number) {
            self.start_hook(&Call {
                purpose: Purpose::BeforeReload(number, plan),
                command,
                facts: &[("SEGUE_EVENT", "before-reload".to_owned())],
                record: Record(number),
                limit: config.hook_timeout,
            })?;
        }
        Ok(Asked::Somebody)
    }

    fn config_of_record(&self, record: Record) -> Option<Rc<Config>> {
        let birth = self.records.births.get(&record)?;
        Some(Rc::clone(&birth.config))
    }

    fn start_hook(&mut self, call: &Call<'_>) -> Result<(), String> {
        let forked = self.fleet.fork_hook(call, &ground!(self), self.sources)?;
        self.journal.mark_forked(forked.child, forked.pid, forked.began);
        forked.let_go("hook", self.log);
        self.fleet.hooks.watch(self.timers);
        Ok(())
    }

    /// Kill what is overdue.
    pub(crate) fn end_overdue_hooks(&mut self, now: Instant) {
        let ended = self.fleet.end_overdue_hooks(now, self.log, self.sources);
        self.decide(ended);
    }

    /// A stop was asked for: no reload begins any more.
    pub(crate) fn end_before_reload(&mut self) {
        let ended = self.fleet.end_before_reload(self.log, self.sources);
        self.decide(ended);
    }

    /// Hooks have ended, and these have decided.
    pub(crate) fn decide(&mut self, decisions: impl IntoIterator<Item = Decision>) {
        for Decision {
            number,
            plan,
            outcome,
        } in decisions
        {
            if self.core.handoff().is_at(number, Progress::Preparing) {
                self.decided(number, plan, outcome);
            } else {
                // A stop came in between. Every preparation is answered all the same.
                self.forget(Record(number));
                self.events.push_back(Event::PrepareFailed(number));
            }
        }
        self.fleet.hooks.watch(self.timers);
    }

    fn decided(&mut self, number: Number, plan: Plan, outcome: Result<(), String>) {
        let (asked, manager) = (self.narrator.history.asked, &mut self.narrator.manager);
        let (core, place) = (self.core, &self.given.place);
        let known = outcome.and_then(|()| {
            self.records
                .introduce_candidate(number, asked, core, place, manager)
        });
        // It may come outside of a batch.
        self.journal.keeper.note_change();
        let event = match known {
            Ok(()) => Event::Prepared(number, plan),
            Err(text) => {
                self.forget(Record(number));
                self.records.refuse_candidate(number, text, self.log)
            }
        };
        self.events.push_back(event);
    }
}

/// Whether a hook was asked.
enum Asked {
    Somebody,
    Nobody,
}
