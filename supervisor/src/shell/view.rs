//! What `status` shows: the core's state, with the names, times and numbers that the core does not know.

use std::rc::Rc;
use std::time::{Instant, SystemTime};

use segue_lifecycle::{Generation, Life, Number, Role, Standing, State};

use super::Shell;
use super::findings::Findings;
use crate::clock;
use crate::config::Config;
use crate::launch::Binary;
use crate::listeners::Listener;
use crate::protocol::{self, LastCrash, LastReload, Probation, Status, rfc3339};
use crate::state::{Field as _, Fields as _, Flaw, Row, Rows, by_json, fields};

/// What the shell knows of a generation that the core does not, kept until its last process is gone.
#[derive(Debug)]
pub(super) struct GenerationInfo {
    pub(super) config: Rc<Config>,
    pub(super) binary: protocol::Binary,
    pub(super) probe: Option<Rc<Listener>>,
    /// Since when it has its present role.
    pub(super) since: SystemTime,
    /// When the reload was asked for that made it, or else when it was made.
    pub(super) asked: Instant,
    /// How many workers it should have when the first of them was started: so the sockets of an address that has several are shared out.
    pub(super) began_with: Option<u16>,
    /// The sockets that are lent to its workers, by inode: also when its birth record is forgotten. No successor needs them, for it has the records.
    pub(super) lent: Vec<u64>,
    /// What the last look at its listeners has shown.
    pub(super) findings: Findings,
    /// The files of the last good version that were replaced when it was made: a rollback does not bring them back. After a
    /// rollback, those that it did not bring back.
    pub(super) replaced: Option<String>,
}

impl GenerationInfo {
    pub(super) fn new(
        config: Rc<Config>,
        binary: &Binary,
        probe: Option<Rc<Listener>>,
        asked: Option<Instant>,
    ) -> Self {
        let binary = protocol::Binary {
            path: binary.real_path().display().to_string(),
            inode: binary.inode(),
            sha256: None,
        };
        Self {
            config,
            binary,
            probe,
            since: clock::wall(),
            asked: asked.unwrap_or_else(clock::now),
            began_with: None,
            lent: Vec::new(),
            findings: Findings::default(),
            replaced: None,
        }
    }
}

impl GenerationInfo {
    /// Write the row `generation`. Its settings are those of its birth record, and the listener goes with the others.
    pub(super) fn save(&self, number: Number, rows: &mut Rows) {
        number.write("number", rows.begin("generation"));
        self.save_fields(rows);
    }

    /// The generation of a row, and its number.
    pub(super) fn restore(
        row: Row<'_>,
        config: Rc<Config>,
        probe: Option<Rc<Listener>>,
    ) -> Result<(Number, Self), Flaw> {
        let mut info = Self {
            config,
            binary: protocol::Binary {
                path: String::new(),
                inode: 0,
                sha256: None,
            },
            probe,
            since: clock::wall(),
            asked: clock::now(),
            began_with: None,
            lent: Vec::new(),
            findings: Findings::default(),
            replaced: None,
        };
        info.restore_fields(row)?;
        Ok((row.number("number")?, info))
    }
}

fields!(GenerationInfo {
    "path" binary.path;
    "inode" binary.inode;
    "since" since;
    "asked" asked;
    "began-with" began_with;
    "replaced" replaced;
});

/// What happened so far.
#[derive(Debug)]
pub(super) struct History {
    pub(super) last_reload: Option<LastReload>,
    pub(super) restarts: u64,
    pub(super) rollbacks: u64,
    /// Workers that the kernel has killed for memory, as far as its counters tell.
    pub(super) oom_kills: u64,
    /// Why the last reload failed or was rolled back, until one succeeds.
    pub(super) trouble: Option<String>,
    /// The last crash in words, for as long as it matters.
    pub(super) crash: Option<String>,
    /// The same for `status`.
    pub(super) last_crash: Option<LastCrash>,
    /// When the reload was asked for whose handoff is under way.
    pub(super) asked: Option<Instant>,
}

impl History {
    pub(super) const fn new() -> Self {
        Self {
            last_reload: None,
            restarts: 0,
            rollbacks: 0,
            oom_kills: 0,
            trouble: None,
            crash: None,
            last_crash: None,
            asked: None,
        }
    }
}

fields!(History {
    "restarts" restarts or 0;
    "rollbacks" rollbacks or 0;
    "oom-kills" oom_kills or 0;
    "trouble" trouble;
    "crash" crash;
    "asked" asked;
    "last-reload" last_reload;
    "last-crash" last_crash;
});

by_json!(LastReload, LastCrash);

impl History {
    /// Write the row `history`.
    pub(super) fn save(&self, rows: &mut Rows) {
        self.save_fields(rows.begin(HISTORY));
    }

    pub(super) fn restore(rows: &[Row<'_>]) -> Result<Self, Flaw> {
        let mut history = Self::new();
        history.restore_fields(Row::of_kind(rows, HISTORY)?)?;
        Ok(history)
    }
}

const HISTORY: &str = "history";

/// How far the probation of a generation has come.
pub(super) fn probation(generation: &Generation) -> Probation {
    match (generation.role, generation.standing) {
        (Role::Candidate, _) => Probation::NotReached,
        (Role::Incumbent | Role::Retired, Standing::Proven) => Probation::Passed,
        (Role::Incumbent, Standing::Untried) => Probation::Running,
        (Role::Retired, Standing::Untried) => Probation::NotPassed,
    }
}

impl Shell {
    /// The state as `status` sends it. Connections are counted by the client, so that the loop never is.
    pub(super) fn status(&self) -> Status {
        Status {
            schema: protocol::SCHEMA,
            name: self.begin.config.name.clone(),
            pid: nix::unistd::getpid().as_raw(),
            since: rfc3339(self.begin.since),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            state: match self.core.state() {
                State::Starting => protocol::State::Starting,
                State::Serving => protocol::State::Serving,
                State::HandingOff => protocol::State::HandingOff,
                State::BackingOff => protocol::State::BackingOff,
                State::Stopping => protocol::State::Stopping,
            },
            generation: self.core.incumbent().map(|generation| generation.number),
            listeners: self.listeners_shown(),
            generations: self
                .core
                .generations()
                .map(|generation| self.generation_shown(generation))
                .collect(),
            last_reload: self.history.last_reload.clone(),
            last_crash: self.history.last_crash.clone(),
            restarts: self.history.restarts,
            rollbacks: self.history.rollbacks,
            oom_kills: self.history.oom_kills,
        }
    }

    /// The listeners of whoever serves, or else of the newest record.
    pub(super) fn listeners_shown(&self) -> Vec<protocol::Listener> {
        let record = self.core.incumbent().map(|generation| generation.record);
        let birth = record.and_then(|record| self.births.get(&record));
        let birth = birth.or_else(|| self.births.values().next_back());
        let listeners = birth.map(|birth| birth.listeners.as_slice()).unwrap_or_default();
        listeners
            .iter()
            .map(|listener| protocol::Listener {
                name: listener.name().to_owned(),
                address: listener.address_text(),
                backlog: listener.backlog(),
                queued: None,
                trouble: self.trouble_of(listener),
                inode: Some(listener.inode()),
            })
            .collect()
    }

    /// Why clients of a listener may wait in vain.
    fn trouble_of(&self, listener: &Listener) -> Option<String> {
        let broken = listener.trouble().map(str::to_owned);
        let queue = || self.queues.note_on(listener.inode()).map(str::to_owned);
        broken.or_else(queue).or_else(|| self.note_on(listener))
    }

    fn generation_shown(&self, generation: &Generation) -> protocol::Generation {
        let info = self.generations.get(&generation.number);
        let unknown = || protocol::Binary {
            path: String::new(),
            inode: 0,
            sha256: None,
        };
        protocol::Generation {
            generation: generation.number,
            role: match generation.role {
                Role::Candidate => protocol::Role::Candidate,
                Role::Incumbent => protocol::Role::Incumbent,
                Role::Retired => protocol::Role::Retired,
            },
            since: rfc3339(info.map_or(self.begin.since, |info| info.since)),
            probation: probation(generation),
            workers: self.workers_shown(generation),
            strays: self.strays.count(generation.number),
            binary: info.map_or_else(unknown, |info| info.binary.clone()),
            replaced: info.and_then(|info| info.replaced.clone()),
        }
    }

    fn workers_shown(&self, generation: &Generation) -> Vec<protocol::Worker> {
        let shown = generation.processes.iter().filter_map(|process| {
            let info = self.workers.get(&process.worker)?;
            Some(protocol::Worker {
                pid: info.pid?.as_raw(),
                state: match process.life {
                    Life::Starting => protocol::WorkerState::Starting,
                    Life::Serving => protocol::WorkerState::Serving,
                    Life::Draining | Life::Killed => protocol::WorkerState::Draining,
                },
                since: rfc3339(info.since),
                connections: None,
                status: info.status.clone(),
            })
        });
        shown.collect()
    }

    /// The pids of the workers that serve, in the order of their slots.
    pub(super) fn pids_of(&self, generation: &Generation) -> Vec<i32> {
        let processes = generation.processes.iter();
        let mut serving: Vec<_> = processes
            .filter(|process| process.life == Life::Serving)
            .collect();
        serving.sort_by_key(|process| process.worker.slot);
        let pids = serving
            .iter()
            .filter_map(|process| self.workers.get(&process.worker)?.pid);
        pids.map(nix::unistd::Pid::as_raw).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{CauseCode, LastWords, Outcome};
    use crate::protocol::{StderrKind, StderrPlace};

    fn text(history: &History) -> Vec<u8> {
        let mut rows = Rows::default();
        history.save(&mut rows);
        rows.finish()
    }

    fn words(reason: Option<&str>) -> LastWords {
        LastWords {
            last_lines: reason
                .map(|text| vec![text.to_owned(), "\"bye\"".to_owned()])
                .unwrap_or_default(),
            stderr: reason.map(|_| StderrPlace {
                path: Some("/var/log/app".to_owned()),
                identifier: Some("app.7".to_owned()),
                pid: Some(812),
                since: Some(rfc3339(clock::wall())),
                ..StderrPlace::new(StderrKind::SharedFile)
            }),
        }
    }

    #[test]
    fn what_happened_is_passed_on() {
        let reload = |outcome, reason: Option<&str>, generation| LastReload {
            outcome,
            cause: reason.map(|_| CauseCode::Probe),
            reason: reason.map(str::to_owned),
            duration_ms: 12,
            generation,
            at: rfc3339(clock::wall()),
            words: words(reason),
        };
        let reloads = [
            None,
            Some(reload(Outcome::Ok, None, Some(3))),
            Some(reload(
                Outcome::Failed,
                Some("exited with status 3\n= %"),
                Some(4),
            )),
            Some(reload(Outcome::RolledBack, Some(""), None)),
        ];
        for last_reload in reloads {
            let history = History {
                last_reload,
                restarts: 3,
                rollbacks: 1,
                oom_kills: 2,
                trouble: Some("reload failed".to_owned()),
                crash: None,
                last_crash: Some(LastCrash {
                    generation: 3,
                    worker: 1,
                    pid: Some(812),
                    reason: "killed by SIGKILL".to_owned(),
                    at: rfc3339(clock::wall()),
                    words: words(Some("x")),
                }),
                asked: Some(clock::now()),
            };
            let saved = text(&history);
            let restored = History::restore(&Row::all(&saved).unwrap()).unwrap();
            assert_eq!(restored.last_reload, history.last_reload);
            assert_eq!(restored.last_crash, history.last_crash);
            assert_eq!(restored.asked, history.asked);
            assert_eq!(text(&restored), saved);
        }
        let saved = text(&History::new());
        let restored = History::restore(&Row::all(&saved).unwrap()).unwrap();
        assert_eq!(text(&restored), saved);
    }
}
