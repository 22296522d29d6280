//! Everything that the shell knows, as rows and fds: what a successor goes on with. `restore.rs` reads them.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Instant, SystemTime};

use segue_lifecycle::{Event, Timer};

use super::Alarm;
use crate::clock::Timers;
use crate::config::Config;
use crate::listeners::Saving;
use crate::shell::desk::Desk;
use crate::shell::journal::Journal;
use crate::shell::narrator::history::History;
use crate::shell::narrator::view::View;
use crate::shell::succession::Succession;
use crate::state::{self, Field as _, Fields as _, Flaw, Passed, Row, Rows, by_text, whole};

/// The kind of the row that holds rows of listeners which were closed, and its key.
const CLOSED: &str = "closed";
const CLOSED_ROWS: &str = "rows";

/// The rows of the listeners that were closed since a stop was asked for, as often as there are records that named them.
pub(crate) fn closed(rows: &[Row<'_>]) -> Result<Vec<Vec<u8>>, Flaw> {
    let closed = rows.iter().filter(|row| row.kind() == CLOSED);
    closed.map(|row| row.bytes(CLOSED_ROWS)).collect()
}

/// The settings of generations and records, each once, numbered.
struct Configs<'a> {
    known: Vec<&'a Rc<Config>>,
}

impl<'a> Configs<'a> {
    fn number(&mut self, config: &'a Rc<Config>) -> u64 {
        let place = self.known.iter().position(|known| Rc::ptr_eq(known, config));
        let place = place.unwrap_or_else(|| {
            self.known.push(config);
            self.known.len() - 1
        });
        place as u64
    }
}

/// The first row.
#[derive(Debug)]
pub(crate) struct Head {
    version: u64,
    by: String,
    name: String,
    pid: u32,
    config: u64,
    pub(crate) since: SystemTime,
    boot: Option<String>,
    pub(crate) workers: Option<u16>,
    pub(crate) refusal: Option<String>,
}

whole!(Head {
    "version" version;
    "by" by;
    "name" name;
    "pid" pid;
    "config" config;
    "since" since;
    "boot" boot;
    "workers" workers;
    "refusal" refusal;
});

/// A timer of the core.
#[derive(Debug)]
pub(crate) struct SavedTimer {
    pub(crate) timer: Timer,
    /// None in a state that was written before it was saved.
    pub(crate) since: Option<Instant>,
    pub(crate) deadline: Option<Instant>,
}

whole!(SavedTimer { "is" timer; "since" since; "at" deadline; });
by_text!(Timer, Event);

/// All rooms, to be read: what is written down.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Everything<'a> {
    pub(crate) view: View<'a>,
    pub(crate) events: &'a VecDeque<Event>,
    pub(crate) timers: &'a Timers<Alarm>,
    pub(crate) desk: &'a Desk,
    pub(crate) history: &'a History,
    pub(crate) journal: &'a Journal,
    pub(crate) succession: &'a Succession,
}

/// All rooms of the shell.
macro_rules! everything {
    ($shell:expr) => {
        Everything {
            view: view!($shell),
            events: &$shell.events,
            timers: &$shell.timers,
            desk: &$shell.desk,
            history: &$shell.narrator.history,
            journal: &$shell.journal,
            succession: &$shell.succession,
        }
    };
}

pub(crate) use everything;

impl<'a> Everything<'a> {
    /// The whole state, as it is between two batches of events.
    pub(crate) fn rows(&self) -> Vec<u8> {
        let mut rows = Rows::default();
        let mut configs = Configs { known: Vec::new() };
        let mut listeners = Saving::default();
        self.save_head(&mut rows, &mut configs);
        rows.lines(&self.view.core.save());
        self.desk.control.save(&mut rows);
        let fixed = &self.journal.fixed;
        rows.fixed(&fixed.environment, |rows| {
            self.view.given.inherited_environment.save(rows);
        });
        if let Some(file) = &self.journal.pid_file {
            file.save(&mut rows);
        }
        self.desk.tickets.save(&mut rows);
        self.history.save(&mut rows);
        self.view.queues.save(&mut rows);
        self.save_births(&mut rows, &mut configs, &mut listeners);
        self.save_generations(&mut rows, &mut configs, &mut listeners);
        listeners.save(&mut rows);
        self.view.fleet.save(&mut rows);
        self.save_timers(&mut rows);
        self.succession.draining.save(&mut rows);
        for closed in &self.journal.closed {
            rows.begin(CLOSED).bytes(CLOSED_ROWS, closed);
        }
        for event in self.events {
            event.write("is", rows.begin("event"));
        }
        fixed.save_settings(&configs.known, &mut rows);
        rows.finish()
    }

    fn save_head(&self, rows: &mut Rows, configs: &mut Configs<'a>) {
        let head = Head {
            version: state::VERSION,
            by: env!("CARGO_PKG_VERSION").to_owned(),
            name: self.view.given.config.name.clone(),
            pid: self.view.given.pid,
            config: configs.number(&self.view.given.config),
            since: self.view.given.since,
            boot: self.view.given.boot.clone(),
            workers: self.view.records.workers_asked,
            refusal: self.view.records.refusal.clone(),
        };
        head.save_fields(rows.begin(state::HEAD));
    }

    fn save_births(&self, rows: &mut Rows, configs: &mut Configs<'a>, listeners: &mut Saving<'a>) {
        for (record, birth) in &self.view.records.births {
            rows.begin("birth")
                .number("record", record.0)
                .number("config", configs.number(&birth.config));
            for listener in &birth.listeners {
                rows.begin("lends")
                    .number("record", record.0)
                    .number("listener", listeners.number(listener));
            }
            match &birth.record {
                Ok(kept) => kept.save(record.0, rows),
                Err(lost) => rows.lines(&lost.row),
            }
        }
    }

    fn save_generations(&self, rows: &mut Rows, configs: &mut Configs<'a>, listeners: &mut Saving<'a>) {
        for (number, info) in &self.view.records.generations {
            info.save(*number, rows);
            rows.number("config", configs.number(&info.config));
            if let Some(probe) = &info.probe {
                rows.number("probe", listeners.number(probe));
            }
        }
        for (number, info) in &self.view.records.generations {
            info.findings.save(*number, rows);
        }
        for ((number, inode), chosen) in &self.view.records.chosen_flags {
            rows.begin("chosen")
                .number("generation", *number)
                .number("inode", *inode);
            chosen.write("non-blocking", rows);
        }
    }

    fn save_timers(&self, rows: &mut Rows) {
        for (alarm, running) in self.timers.all() {
            match alarm {
                Alarm::Core(timer) => {
                    let saved = SavedTimer {
                        timer,
                        since: Some(running.since),
                        deadline: running.deadline,
                    };
                    saved.save_fields(rows.begin("timer"));
                }
                // The next supervisor arms them anew.
                Alarm::Linger
                | Alarm::Upward
                | Alarm::Beat
                | Alarm::Check
                | Alarm::Memory
                | Alarm::Files
                | Alarm::DrainingOrphans
                | Alarm::Fetched(_)
                | Alarm::Queues
                | Alarm::Slots
                | Alarm::Unheard
                | Alarm::Accepting
                | Alarm::Hooks => {}
            }
        }
    }

    /// The fds that the rows tell of, for this process when it executes another binary.
    pub(crate) fn passed(&self) -> Passed<'a> {
        let mut fds = Passed::new();
        self.desk.control.pass_on(&mut fds);
        if let Some(file) = &self.journal.pid_file {
            file.pass_on(&mut fds);
        }
        let mut listeners = Saving::default();
        for (record, birth) in &self.view.records.births {
            let record = birth.record.as_ref().map(|kept| kept.fds(record.0));
            fds.extend(record.into_iter().flatten());
            for listener in &birth.listeners {
                listeners.number(listener);
            }
        }
        let generations = self.view.records.generations.values();
        for probe in generations.filter_map(|info| info.probe.as_ref()) {
            listeners.number(probe);
        }
        listeners.pass_on(&mut fds);
        self.view.fleet.pass_on(&mut fds);
        fds.extend(self.succession.draining.pass_on());
        for (name, fd) in state::FILES.iter().zip(self.journal.keeper.fds()) {
            fds.push(((*name).to_owned(), fd));
        }
        fds
    }
}
