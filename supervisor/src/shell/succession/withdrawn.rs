//! After `kill -9`: a candidate that alone has a listener which cannot be had back is ended, and its reload has failed.
//!
//! systemd's store lacks a listener that is new with the reload if its queue was full. Where the kernel does not let us take it from
//! the candidate either (the sandbox of our units forbids pidfd_getfd), it cannot be made anew: its address is in use. The app of
//! before would have nobody above it as long as that candidate lives, which has not taken over.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::{Pid, getpgid};
use segue_lifecycle::{Handoff, Lifecycle, Number, Record, SlotState};

use crate::children::signal_group;
use crate::clock;
use crate::listeners::{self, SocketIdentity};
use crate::own_unit;
use crate::shell::found::of_kind;
use crate::shell::journal::log::Logged;
use crate::shell::succession::foreseen::Foreseen;
use crate::shell::succession::holders::{HadBack, Holders};
use crate::shell::succession::orphan_processes::{self, OrphanProcess};
use crate::shell::succession::predecessor::settings_of;
use crate::shell::succession::refusals;
use crate::state::{Fds, Flaw, Row};
use crate::sys;

/// How long such a candidate has to finish what it may have begun beside the incumbent (`--soak`), before it is killed. Nobody
/// supervises meanwhile.
const UNTIL_STOPPED: Duration = Duration::from_secs(5);

/// How long the kernel may take to end what was killed.
const UNTIL_KILLED: Duration = Duration::from_secs(1);

/// The pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// A candidate that was ended.
#[derive(Clone, Debug)]
pub(crate) struct Withdrawn {
    pub(crate) generation: Number,
    /// Why its workers have failed, in one line.
    pub(crate) why: String,
}

/// The candidate of the dead supervisor.
struct Candidate {
    number: Number,
    /// What it alone was lent.
    own: Vec<SocketIdentity>,
}

impl Candidate {
    /// `None` if there is none that could be ended: with `--rolling` some of its workers serve in the place of others.
    fn of(rows: &[Row<'_>], core: &Lifecycle) -> Result<Option<Self>, Flaw> {
        let Handoff::Candidate(number, _) = core.handoff() else {
            return Ok(None);
        };
        let has_yielded = |slot: &segue_lifecycle::Slot| slot.state == SlotState::Yielded;
        let steps = core
            .incumbent()
            .is_some_and(|incumbent| incumbent.slots.iter().any(has_yielded));
        let Some(record) = core.generation(number).map(|candidate| candidate.record) else {
            return Ok(None);
        };
        if steps {
            return Ok(None);
        }
        let lent = Lent::of(rows)?;
        let mut inodes: BTreeSet<u64> = lent.to(record).collect();
        for row in of_kind(rows, "generation") {
            if row.number("number")? == number
                && let Some(probe) = row.number_if_any("probe")?
            {
                inodes.extend(lent.inodes.get(&probe));
            }
        }
        for other in core.generations().filter(|other| other.number != number) {
            for inode in lent.to(other.record) {
                inodes.remove(&inode);
            }
        }
        let mut own = listeners::identities(rows)?;
        own.retain(|socket| inodes.contains(&socket.inode) && !listeners::is_inherited(rows, *socket));
        Ok(Some(Self { number, own }))
    }
}

/// Which listeners those are lent who are started from a record.
struct Lent {
    /// Records, each with the number of a listener.
    pairs: Vec<(Record, u64)>,
    /// Of each listener, by its number.
    inodes: BTreeMap<u64, u64>,
}

impl Lent {
    fn of(rows: &[Row<'_>]) -> Result<Self, Flaw> {
        let pair = |row: Row<'_>| Ok((Record(row.number("record")?), row.number("listener")?));
        Ok(Self {
            pairs: of_kind(rows, "lends").map(pair).collect::<Result<_, Flaw>>()?,
            inodes: listeners::inodes(rows)?,
        })
    }

    /// The inodes of what is lent to those who are started from this record.
    fn to(&self, record: Record) -> impl Iterator<Item = u64> {
        let of_record = self.pairs.iter().filter(move |(lent_to, _)| *lent_to == record);
        of_record.filter_map(|(_, listener)| self.inodes.get(listener).copied())
    }
}

/// Ends the candidate if it has a listener that nobody else has, and that it does not give back.
///
/// # Errors
/// One line: a row is not whole; or it must be ended and cannot be.
pub(crate) fn withdraw(
    rows: &[Row<'_>],
    logged: &Logged,
    remains: &mut Vec<OrphanProcess>,
    spare_fds: &mut Fds,
) -> Result<Option<Withdrawn>, String> {
    let text = |flaw: Flaw| flaw.to_string();
    let foreseen = Foreseen::of(rows, logged).map_err(text)?;
    let Some(mut candidate) = Candidate::of(rows, &foreseen.core).map_err(text)? else {
        return Ok(None);
    };
    candidate.own.retain(|wanted| !spare_fds.has(&wanted.fd_name()));
    if candidate.own.is_empty() {
        return Ok(None);
    }
    let is_of_candidate = |orphan: &OrphanProcess| orphan.worker.generation == candidate.number;
    let mut processes = orphan_processes::kept(rows, logged.forked(), spare_fds).map_err(text)?;
    processes.retain(is_of_candidate);
    let Some(why) = withheld(&candidate, rows, remains, !processes.is_empty(), spare_fds).map_err(text)?
    else {
        return Ok(None);
    };
    processes.extend(remains.extract_if(.., |orphan| is_of_candidate(orphan)));
    let Some(first) = processes.first() else {
        return Ok(None);
    };
    let signal = settings_of(first.worker, rows).map_err(text)?.stop_signal;
    let left = end(&processes, signal);
    if left.is_empty() {
        Ok(Some(Withdrawn {
            generation: candidate.number,
            why: format!("it was ended, for {why}"),
        }))
    } else {
        let pids: Vec<String> = left.iter().map(Pid::to_string).collect();
        let pids = pids.join(" ");
        Err(format!(
            "the previous supervisor was killed during a reload, and {why}; its candidate (pid {pids}) cannot be ended: end it (kill -KILL \
             {pids}) and start segue again"
        ))
    }
}

/// Why a listener cannot be had from the candidate, which alone has it. Those that can be had are put to the others.
fn withheld(
    candidate: &Candidate,
    rows: &[Row<'_>],
    remains: &[OrphanProcess],
    is_hidden: bool,
    spare_fds: &mut Fds,
) -> Result<Option<String>, Flaw> {
    let holders = Holders::new(rows, remains)?;
    for wanted in &candidate.own {
        let cause = match holders.take_back(*wanted) {
            Ok(HadBack { fd, stranger: None }) => {
                spare_fds.put(wanted.fd_name(), fd);
                continue;
            }
            Err(Some(withheld)) => refusals::why_withheld(withheld),
            Err(None) if is_hidden => "/proc does not show who has it".to_owned(),
            Ok(HadBack {
                stranger: Some(_), ..
            })
            | Err(None) => continue,
        };
        let address = listeners::label_of(rows, *wanted);
        return Ok(Some(format!(
            "the listener {address}, which generation {} alone has, was lost with the previous supervisor and cannot be taken back: {cause}",
            candidate.number
        )));
    }
    Ok(None)
}

/// Ends these workers with all of their groups. Returns those that even SIGKILL has not ended.
fn end(workers: &[OrphanProcess], signal: Signal) -> Vec<Pid> {
    let all: Vec<(Pid, OwnedFd)> = workers
        .iter()
        .flat_map(|worker| group_of(worker.proved.pid))
        .collect();
    for worker in workers {
        // One that has ended meanwhile needs nothing.
        let _ = signal_group(worker.proved.pid, worker.proved.pidfd.as_fd(), Some(signal));
    }
    if !have_ended(&all, UNTIL_STOPPED) {
        for worker in workers {
            worker.proved.kill_group();
        }
        for (_, pidfd) in &all {
            let _ = sys::signal_by_pidfd(pidfd.as_fd(), Some(Signal::SIGKILL));
        }
        let _ = have_ended(&all, UNTIL_KILLED);
    }
    let living = all
        .iter()
        .filter(|(_, pidfd)| !sys::is_dead_by_pidfd(pidfd.as_fd()));
    living.map(|(pid, _)| *pid).collect()
}

/// The members of the group that this process leads: it lives, so the number of the group is its own. Those that /proc does not show are
/// in our unit.
fn group_of(leader: Pid) -> Vec<(Pid, OwnedFd)> {
    let shown = sys::process_rows().unwrap_or_default();
    let mut pids: BTreeSet<Pid> = shown
        .iter()
        .filter(|row| !row.zombie)
        .map(|row| row.pid)
        .collect();
    pids.extend(own_unit::processes().unwrap_or_default());
    pids.insert(leader);
    let is_member = |pid: Pid| getpgid(Some(pid)) == Ok(leader);
    let member = |pid: Pid| {
        let pidfd = is_member(pid).then(|| sys::open_pidfd(pid).ok()).flatten()?;
        // It may have come to mean another before it was tied to the pidfd.
        is_member(pid).then_some((pid, pidfd))
    };
    pids.into_iter().filter_map(member).collect()
}

fn have_ended(all: &[(Pid, OwnedFd)], patience: Duration) -> bool {
    let begun = clock::now();
    loop {
        if all.iter().all(|(_, pidfd)| sys::is_dead_by_pidfd(pidfd.as_fd())) {
            return true;
        }
        if begun.elapsed() > patience {
            return false;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}
