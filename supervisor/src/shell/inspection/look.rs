//! The last look at a candidate, just before the incumbent is told to drain: does it live, does it have its listeners, does
//! somebody wait on them?
//!
//! A word proves little: READY=1 may be about a port that a wrapper's child has bound itself. So the processes of the candidate
//! are looked at from outside ([`Sight`]). Nearly always its main processes are enough, and that is some ten reads of /proc;
//! only where they are not are their descendants looked for, and only where it fails are tables read, for the words.

use std::rc::Rc;
use std::time::Duration;

use nix::unistd::Pid;
use segue_lifecycle::{FIRST, Number};

use crate::config::Ready;
use crate::descent::{self, Scope};
use crate::listeners::Listener;
use crate::protocol::setting;
use crate::shell::inspection::served::{is_at_work, is_served, unserved};
use crate::shell::narrator::view::View;
use crate::shell::records::findings::Findings;
use crate::sight::{Awaited, Connection, Hold, Sight, connection, listening_addresses};
use crate::sys;

/// How long the last look may take, if the candidate does not come to rest sooner. A process that says READY=1 and exits
/// in one breath needs some hundred microseconds to be dead.
pub(crate) const LAST_LOOK: Duration = Duration::from_micros(500);

/// What is said of a listener on which nobody was seen waiting, and of one that no process has.
const NOBODY_WAITS: &str = "nobody is seen waiting on it";
const NOT_OPEN: &str = "no process has it open";

/// Whether a candidate is given more time in which somebody may come to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// It is.
    Left,
    /// It has had its time.
    Over,
}

/// What a look comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It has what it needs, as far as can be seen.
    Serves,
    /// Nobody waits yet on a listener on which somebody should.
    Unawaited,
    /// It lacks a listener that it needs.
    Unheld,
}

/// What was seen of a candidate.
#[derive(Debug)]
pub(crate) struct Look {
    pub(crate) verdict: Verdict,
    /// What is found about its listeners by that; none if the verdict waits.
    pub(crate) findings: Option<Findings>,
    /// Whom it took to see that.
    pub(crate) seen: Seen,
}

/// Which processes of a candidate were looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Its main processes were enough.
    Leaders,
    /// All that descend from them.
    Party,
}

impl Look {
    pub(super) fn of(verdict: Verdict, findings: Option<Findings>, seen: Seen) -> Self {
        Self {
            verdict,
            findings,
            seen,
        }
    }

    fn serves(findings: Findings, seen: Seen) -> Self {
        Self::of(Verdict::Serves, Some(findings), seen)
    }
}

impl View<'_> {
    /// Look at the listeners of a candidate, after those who were seen waiting on all of them a moment ago.
    pub(crate) fn look_at_listeners(&self, number: Number, patience: Patience, awaited: &Awaited) -> Look {
        let lent = self.records.lent_to(number, self.core);
        if lent.is_empty() {
            return Look::of(Verdict::Serves, None, Seen::Leaders);
        }
        let inodes: Vec<u64> = lent.iter().map(|listener| listener.inode()).collect();
        let leaders = self.leaders_of(number);
        let awaits = |pid: &Pid| awaited.is_by(*pid) || self.fleet.hint.proves(*pid, &inodes);
        if leaders.iter().any(awaits) {
            return Look::serves(Findings::default(), Seen::Leaders);
        }
        let mut sight = Sight::of(inodes);
        let served =
            |one: &Listener, sight: &Sight| is_served(one, sight) || self.has_accepted(number, one, sight);
        let serves = |sight: &Sight| lent.iter().all(|listener| served(listener, sight));
        for pid in &leaders {
            sight.look_at(*pid);
            if serves(&sight) {
                sight.remember(&self.fleet.hint);
                return Look::serves(Findings::default(), Seen::Leaders);
            }
        }
        let party = self.party_of(number);
        party.iter().for_each(|pid| sight.look_at(*pid));
        if serves(&sight) {
            return Look::serves(Findings::default(), Seen::Party);
        }
        if sight.blind().is_none()
            && let Some(unheld) = self.unheld(number, &lent, &sight, &party)
        {
            let findings = Findings {
                unheld: Some(unheld),
                ..Findings::default()
            };
            return Look::of(Verdict::Unheld, Some(findings), Seen::Party);
        }
        if unserved(&lent, &sight).all(|listener| is_at_work(listener, &sight)) {
            return Look::serves(Findings::default(), Seen::Party);
        }
        let worth_waiting = sight.blind().is_none() && self.is_worth_waiting(number, &lent, &sight);
        match patience {
            Patience::Left if worth_waiting => {
                return Look::of(Verdict::Unawaited, None, Seen::Party);
            }
            Patience::Left | Patience::Over => {}
        }
        let notes = self.notes(number, &lent, &sight);
        for (inode, note) in &notes {
            let listener = lent.iter().find(|listener| listener.inode() == *inode);
            let name = listener.map_or("", |listener| listener.name());
            self.log
                .warning(&format!("generation {number}, listener {name}: {note}"));
        }
        let findings = Findings {
            notes,
            ..Findings::default()
        };
        Look::serves(findings, Seen::Party)
    }

    /// Those of the notes about the incumbent's listeners that are not true any more: somebody waits on these by now.
    pub(crate) fn awaited_by_now(&self) -> Vec<u64> {
        let Some(number) = self.core.incumbent().map(|incumbent| incumbent.number) else {
            return Vec::new();
        };
        let noted = self.records.generations.get(&number);
        let noted = noted.into_iter().flat_map(|info| &info.findings.notes);
        let mut noted: Vec<u64> = noted.map(|(inode, _)| *inode).collect();
        if noted.is_empty() {
            return noted;
        }
        let mut sight = Sight::of(noted.iter().copied());
        let party = self.party_of(number);
        party.into_iter().for_each(|pid| sight.look_at(pid));
        noted.retain(|inode| sight.hold(*inode) == Hold::Awaited);
        noted
    }

    pub(super) fn leaders_of(&self, number: Number) -> Vec<Pid> {
        self.fleet.leaders_of(number, &self.ground())
    }

    pub(super) fn party_of(&self, number: Number) -> Vec<Pid> {
        self.fleet.party_of(number, &self.ground())
    }

    /// Why a candidate cannot serve: it lacks a listener that the incumbent has, or in queue mode has none at all. Where the
    /// incumbent does without one (it binds a port of its own, say), the candidate may do so as well.
    fn unheld(&self, number: Number, lent: &[Rc<Listener>], sight: &Sight, party: &[Pid]) -> Option<String> {
        let absent: Vec<&Rc<Listener>> = lent
            .iter()
            .filter(|listener| sight.hold(listener.inode()) == Hold::Absent)
            .collect();
        let serving =
            self.sight_of_incumbent(number, absent.iter().map(|listener| self.serving_inode(listener)));
        let serves_on = |inode| {
            serving
                .as_ref()
                .is_some_and(|seen| seen.hold(inode) != Hold::Absent)
        };
        let held = absent
            .iter()
            .copied()
            .filter(|listener| serves_on(self.serving_inode(listener)));
        let held: Vec<&Rc<Listener>> = held.collect();
        let missed: Vec<&Rc<Listener>> = match &serving {
            // What was seen of it counts, though it may not be all.
            Some(serving) if serving.blind().is_none() || !held.is_empty() => held,
            // There is nothing to compare with; at the first start nobody is to be protected either.
            Some(_) | None if number != FIRST && absent.len() == lent.len() => absent.clone(),
            Some(_) | None => return None,
        };
        let first = missed.first()?;
        if self.somebody_else_has(first.inode(), number, party) {
            return None;
        }
        let names: Vec<String> = missed.iter().map(|listener| listener.address_text()).collect();
        let plural = if names.len() == 1 { "listener" } else { "listeners" };
        Some(format!(
            "{}, but no process of it has the {plural} {}; {}",
            self.word_of(number),
            names.join(", "),
            self.listens_on(number, sight)
                .unwrap_or_else(|| "it listens on nothing".to_owned())
        ))
    }

    /// The socket by which the incumbent has this listener: its own slot of it, if it is steered.
    fn serving_inode(&self, listener: &Listener) -> u64 {
        let own = || {
            listener.slot()?;
            let serving = self
                .records
                .listeners_of(self.core.incumbent()?.number, self.core);
            let beside = |other: &&Rc<Listener>| {
                other.slot().is_some() && other.address_text() == listener.address_text()
            };
            serving.iter().find(beside).map(|other| other.inode())
        };
        own().unwrap_or_else(|| listener.inode())
    }

    /// What the incumbent beside this candidate has to do with these sockets. In queue mode there is none beside it.
    fn sight_of_incumbent(&self, candidate: Number, inodes: impl Iterator<Item = u64>) -> Option<Sight> {
        let incumbent = self
            .core
            .incumbent()
            .filter(|incumbent| incumbent.number != candidate)?;
        let mut sight = Sight::of(inodes);
        let processes = self.party_of(incumbent.number);
        processes.into_iter().for_each(|pid| sight.look_at(pid));
        Some(sight)
    }

    /// Whether a process that is not known to be of another generation has this socket: it may be the candidate's, by a way that
    /// cannot be seen. A process above us may have given it to us.
    fn somebody_else_has(&self, inode: u64, candidate: Number, party: &[Pid]) -> bool {
        let rows = sys::process_rows().unwrap_or_default();
        let mut known: Vec<Pid> = vec![Pid::this()];
        while let Some(row) = rows.iter().find(|row| Some(&row.pid) == known.last()) {
            // The rows were not read at one instant: with numbers used again they may even lead in a circle.
            if row.parent.as_raw() <= 0 || known.contains(&row.parent) {
                break;
            }
            known.push(row.parent);
        }
        let others = self.core.generations().filter(|other| other.number != candidate);
        let others: Vec<Number> = others.map(|other| other.number).collect();
        let look = descent::look(&self.fleet.origins(&self.ground()), Scope::Everywhere);
        let members = look
            .members
            .iter()
            .filter(|member| others.contains(&member.key.generation));
        known.extend(members.map(|member| member.pid));
        let mut strangers = rows
            .iter()
            .filter(|row| !known.contains(&row.pid) && !party.contains(&row.pid));
        strangers.any(|row| {
            let open = sys::open_sockets(row.pid.as_raw()).unwrap_or_default();
            open.iter().any(|(number, _)| *number == inode)
        })
    }

    /// Whether it pays to wait until somebody does: not on what the incumbent does not wait on either.
    fn is_worth_waiting(&self, number: Number, lent: &[Rc<Listener>], sight: &Sight) -> bool {
        let held = |listener: &&Rc<Listener>| sight.hold(listener.inode()) == Hold::Held;
        let idle = unserved(lent, sight).filter(held);
        let idle: Vec<u64> = idle.map(|listener| self.serving_inode(listener)).collect();
        match self.sight_of_incumbent(number, idle.iter().copied()) {
            Some(serving) => idle.iter().any(|inode| {
                serving.hold(*inode) == Hold::Awaited
                    || connection(*inode, serving.others()) != Connection::Absent
            }),
            None => !idle.is_empty(),
        }
    }

    /// What is to be said of listeners that are held, as far as can be seen, and on which nobody was seen waiting.
    fn notes(&self, number: Number, lent: &[Rc<Listener>], sight: &Sight) -> Vec<(u64, String)> {
        let idle: Vec<&Rc<Listener>> = unserved(lent, sight).collect();
        if idle.is_empty() {
            return Vec::new();
        }
        let speaker = self.speaker_of(number);
        let note = match (sight.blind(), &speaker) {
            // The main process itself has spoken: that is as good as it gets.
            (Some(_), Speaker::Main) => return Vec::new(),
            (Some((pid, why)), Speaker::Nobody) => {
                format!("whether anybody waits on it cannot be seen (pid {pid} {why})")
            }
            (Some((pid, why)), Speaker::Other(note)) => {
                format!("whether anybody waits on it cannot be seen (pid {pid} {why}); {note}")
            }
            (None, speaker) => {
                let mut text = NOBODY_WAITS.to_owned();
                if let Some(elsewhere) = self.listens_on(number, sight) {
                    text.push_str("; ");
                    text.push_str(&elsewhere);
                }
                if let Speaker::Other(note) = speaker {
                    text.push_str("; ");
                    text.push_str(note);
                }
                text
            }
        };
        let note_on = |listener: &Rc<Listener>| {
            let absent = sight.blind().is_none() && sight.hold(listener.inode()) == Hold::Absent;
            let note = if absent {
                note.replacen(NOBODY_WAITS, NOT_OPEN, 1)
            } else {
                note.clone()
            };
            (listener.inode(), note)
        };
        idle.into_iter().map(note_on).collect()
    }

    /// `it listens on 127.0.0.1:8001`, if it does.
    fn listens_on(&self, number: Number, sight: &Sight) -> Option<String> {
        let leader = self.leaders_of(number).into_iter().next()?;
        let addresses = listening_addresses(leader, sight.others());
        (!addresses.is_empty()).then(|| format!("it listens on {}", addresses.join(", ")))
    }

    /// By what it is known to be ready.
    pub(super) fn word_of(&self, number: Number) -> String {
        match self.config_of(number).ready {
            Ready::Exec(after) => format!("alive after {}", setting(after)),
            Ready::Accepting => "seen accepting".to_owned(),
            Ready::Auto if !self.has_spoken(number) => "seen accepting".to_owned(),
            Ready::Notify | Ready::Auto => "READY=1".to_owned(),
        }
    }

    /// Whether a worker of it has said READY=1.
    fn has_spoken(&self, number: Number) -> bool {
        let mut workers = self.fleet.workers.iter();
        workers.any(|(worker, info)| {
            let notify = info.notify.as_ref();
            worker.generation == number && notify.is_some_and(|notify| notify.ready_from().is_some())
        })
    }

    /// Who has said READY=1 for it.
    fn speaker_of(&self, number: Number) -> Speaker {
        match self.config_of(number).ready {
            Ready::Exec(_) | Ready::Accepting => return Speaker::Nobody,
            Ready::Auto if !self.has_spoken(number) => return Speaker::Nobody,
            Ready::Notify | Ready::Auto => {}
        }
        let mut workers = self
            .fleet
            .workers
            .iter()
            .filter(|(worker, _)| worker.generation == number);
        let stranger = workers.find_map(|(_, info)| {
            let (main, speaker) = (info.pid?, info.notify.as_ref()?.ready_from()?);
            (main != speaker).then_some((main, speaker))
        });
        stranger.map_or(Speaker::Main, |(main, speaker)| {
            let spoke = if speaker.as_raw() == 0 {
                "a process out of sight".to_owned()
            } else {
                format!("pid {speaker}")
            };
            Speaker::Other(format!("READY=1 came from {spoke}, and LISTEN_PID was {main}"))
        })
    }
}

/// Who has said that a generation is ready.
enum Speaker {
    /// Its main processes, which LISTEN_PID names (or nobody knows).
    Main,
    /// Another process; the clause says which.
    Other(String),
    /// It was not asked for a word.
    Nobody,
}
