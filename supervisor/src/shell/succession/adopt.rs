//! After `kill -9`: the loop of another process goes on where its predecessor was.
//!
//! Its predecessor's processes are nobody's children now. They are proved by pid and start time and adopted; the listeners come from
//! systemd's file descriptor store, or are taken back from the app itself (this file). Then the batch that the predecessor was
//! performing is performed to its end, without doing twice what its log says was done (`last_batch.rs`), and what it would have
//! heard of meanwhile is found out (`reconcile.rs`). Each step can be taken after the one before alone: that is in the types.

use std::collections::BTreeSet;
use std::rc::Rc;

use nix::unistd::Pid;
use segue_lifecycle::{Event, Worker};

use crate::children::{Kin, Leader};
use crate::config;
use crate::listeners::{self, Absent, Inherited, Listener, SocketIdentity};
use crate::log::Log;
use crate::shell::begin::assemble;
use crate::shell::fleet::saved::{SavedChild, pidfd_name};
use crate::shell::fleet::{Ground, ground};
use crate::shell::found::{Found, configs};
use crate::shell::journal::log::Logged;
use crate::shell::journal::store;
use crate::shell::records::Records;
use crate::shell::records::sockets::announce;
use crate::shell::restore::fill;
use crate::shell::succession::holders::{HadBack, Holders};
use crate::shell::succession::orphan_processes::{self, OrphanProcess, Role};
use crate::shell::succession::predecessor::PredecessorState;
use crate::shell::succession::withdrawn::{self, Withdrawn};
use crate::shell::succession::{recover, refusals};
use crate::shell::{Begin, Child, Shell};
use crate::state::{self, Custody, Fds, Flaw, Restored, Row};
use crate::sys;

/// A loop whose state was another's, at a step of its adoption.
pub(super) struct Adopted<Step> {
    pub(super) shell: Shell,
    pub(super) step: Step,
}

/// Everything is taken over, and nothing has been done yet.
struct TakenOver {
    logged: Logged,
    /// How many events were pending when the state was written; those behind them were found out now.
    pending: usize,
    /// A candidate that was ended.
    withdrawn: Option<Withdrawn>,
    /// The pid of the predecessor.
    before: String,
    /// Those whose sockets were made anew.
    anew: Vec<Rc<Listener>>,
}

/// The app accepts clients again if it had hung, and people know whose it is now.
pub(super) struct Announced {
    pub(super) logged: Logged,
    pub(super) pending: usize,
    pub(super) withdrawn: Option<Withdrawn>,
}

/// Adopt a predecessor's state, as far as the loop can go on with it.
///
/// # Errors
/// One line that says what was found and what to do. Then everything is as it was.
pub(crate) fn adopt(begin: Restored<Begin>, predecessor: PredecessorState) -> Result<Shell, String> {
    let taken = restore(begin, predecessor)?.take_charge();
    Ok(taken.announce().finish_batch().reconcile().replace_what_is_lost())
}

fn restore(
    begin: Restored<Begin>,
    predecessor: PredecessorState,
) -> Result<Restored<Adopted<TakenOver>>, String> {
    let text = |flaw: Flaw| flaw.to_string();
    let (begin, custody) = begin.into_parts();
    let (mut shell, _) = assemble(begin).map_err(|error| error.to_string())?;
    let (kept, stored) = predecessor.into_parts();
    let logged = Logged::read(&kept.log).map_err(text)?;
    shell.journal.spare_fds = stored;
    let rows = Row::all(&kept.rows).map_err(text)?;
    let had = take_over(&mut shell, &rows, &logged, &custody)?;
    let before = Row::of_kind(&rows, state::HEAD).and_then(|head| head.text("pid"));
    let step = TakenOver {
        logged,
        pending: had.pending,
        withdrawn: had.withdrawn,
        before: before.unwrap_or_default(),
        anew: had.anew,
    };
    Ok(Restored::new(Adopted { shell, step }, custody))
}

/// What was taken over.
struct Had {
    /// How many events were pending when the state was written; those behind them were found out now.
    pending: usize,
    /// The candidate, if it had to be ended.
    withdrawn: Option<Withdrawn>,
    /// The listeners that were made anew.
    anew: Vec<Rc<Listener>>,
}

fn take_over(shell: &mut Shell, rows: &[Row<'_>], logged: &Logged, custody: &Custody) -> Result<Had, String> {
    let text = |flaw: Flaw| flaw.to_string();
    let forked = logged.forked();
    let mut remains = orphan_processes::of_app(rows, forked, &shell.given.place).map_err(text)?;
    let withdrawn = withdrawn::withdraw(rows, logged, &mut remains, &mut shell.journal.spare_fds)?;
    let holders = Holders::new(rows, &remains).map_err(text)?;
    for wanted in listeners::identities(rows).map_err(text)? {
        let inherited = &mut shell.records.inherited;
        let asked = Asked {
            wanted,
            holders: &holders,
            remains: &remains,
            rows,
        };
        find_listener(&asked, &mut shell.journal.spare_fds, inherited, &shell.log)?;
    }
    let since = shell.given.since;
    let configs = configs(rows).map_err(text)?;
    let mut kept = listeners::identities(rows).map_err(text)?;
    kept.retain(|kept| shell.journal.spare_fds.has(&kept.fd_name()));
    let mut anew = Vec::new();
    let absent = Absent::IsMadeAnew(&mut anew);
    let listeners = listeners::restore(rows, &mut shell.journal.spare_fds, absent, custody)
        .map_err(|flaw| refusals::not_adopted(&flaw, &remains))?;
    let pids: Vec<(Worker, Pid)> = remains
        .iter()
        .map(|orphan| (orphan.worker, orphan.proved.pid))
        .collect();
    let found = Found {
        rows,
        configs: &configs,
        listeners: &listeners,
        remains: &pids,
        custody,
    };
    fill(shell, &found).map_err(text)?;
    for address in anew {
        shell.log.warning(&format!(
            "the listener {address} was lost with the previous supervisor, for nobody else had it; it is made anew"
        ));
    }
    shell.given.since = since;
    let pending = shell.events.len();
    for (worker, info) in &mut shell.fleet.workers {
        info.adopted = true;
        let of_worker = |withdrawn: &&Withdrawn| withdrawn.generation == worker.generation;
        if let Some(withdrawn) = withdrawn.as_ref().filter(of_worker) {
            info.failure = Some(withdrawn.why.clone());
        }
    }
    for child in SavedChild::all(rows).map_err(text)? {
        adopt_child(shell, child, &mut remains);
    }
    // What outlives a process that had just been forked: that one is started again.
    let is_forked = |worker| forked.iter().any(|one| one.child == Child::Worker(worker));
    for orphan in remains.iter().filter(|orphan| orphan.role == Role::Survivor) {
        if is_forked(orphan.worker) {
            orphan.proved.kill_group();
        }
    }
    shell.fleet.watch_all(&mut shell.sources)?;
    let is_kept = |one: &Rc<Listener>| kept.iter().any(|kept| kept.inode == one.inode());
    let anew = listeners.into_iter().filter(|one| !is_kept(one)).collect();
    Ok(Had {
        pending,
        withdrawn,
        anew,
    })
}

/// A listener that is looked for.
struct Asked<'a> {
    wanted: SocketIdentity,
    holders: &'a Holders<'a>,
    remains: &'a [OrphanProcess],
    rows: &'a [Row<'a>],
}

/// Puts the fd of a listener into the spare fds, wherever it comes from. One of ours that no process has any more is left out: that of a
/// generation that is gone, or that only the predecessor held.
fn find_listener(
    asked: &Asked<'_>,
    spare_fds: &mut Fds,
    inherited: &mut Inherited,
    log: &Log,
) -> Result<(), String> {
    let Asked {
        wanted,
        holders,
        remains,
        rows,
    } = *asked;
    let name = wanted.fd_name();
    if spare_fds.has(&name) {
        return Ok(());
    }
    if let Some(fd) = inherited.take(wanted.inode) {
        spare_fds.put(name, fd);
        return Ok(());
    }
    let withheld = match holders.take_back(wanted) {
        Ok(HadBack { fd, stranger }) => {
            if let Some(pid) = stranger {
                log.info(&refusals::had_back_from(pid, wanted, rows));
            }
            spare_fds.put(name, fd);
            return Ok(());
        }
        Err(withheld) => withheld,
    };
    if withheld.is_none() && listeners::can_be_made_anew(rows, wanted) {
        return Ok(());
    }
    Err(refusals::not_had_back(wanted, remains, withheld, rows))
}

/// Takes charge of a process that a predecessor had started. One that cannot be found has ended meanwhile.
fn adopt_child(shell: &mut Shell, child: SavedChild, remains: &mut Vec<OrphanProcess>) {
    let Child::Worker(worker) = child.key else {
        // A run of a probe says nothing to us any more, and is run again; so is a check.
        if let Some(proved) = child.began.and_then(|began| recover::prove(child.pid, began)) {
            proved.kill_group();
        }
        if let Child::Probe(number, _) = child.key {
            shell.fleet.probes.shut_doors(number);
        }
        return;
    };
    let stored = shell.journal.spare_fds.take(&pidfd_name(child.key));
    let is_it = |orphan: &OrphanProcess| orphan.role == Role::Main && orphan.worker == worker;
    let proved = remains.iter().position(is_it);
    let proved = proved.map(|place| remains.swap_remove(place).proved.pidfd);
    let hidden = || recover::prove_hidden(child.pid).map(|proved| proved.pidfd);
    match stored.or(proved).or_else(hidden) {
        Some(pidfd) => {
            shell
                .fleet
                .children
                .restore(child.key, child.pid, pidfd, Kin::Adopted, child.leader);
            let uid = uid_of(&shell.records, worker, child.pid);
            if let Some(info) = shell.fleet.workers.get_mut(&worker) {
                info.uid = info.uid.or(uid);
            }
        }
        None => {
            if child.leader == Leader::Alive {
                shell.events.push_back(Event::Exited(worker));
            }
            let survivors = remains.extract_if(.., |orphan| orphan.is_survivor_of(worker));
            let survivors: Vec<OrphanProcess> = survivors.collect();
            if survivors.is_empty() {
                note_group_ended(shell, worker);
            } else {
                shell
                    .fleet
                    .children
                    .adopt_group(child.key, child.pid, child.began);
                shell.log.warning(&format!(
                    "the main process of generation {}, worker {} has ended; the rest of its process group (pid {}) is told to stop",
                    worker.generation,
                    worker.slot,
                    orphan_processes::pids(&survivors)
                ));
            }
        }
    }
}

/// Nothing is left of the process group of a worker.
pub(super) fn note_group_ended(shell: &mut Shell, worker: Worker) {
    shell.fleet.group_ended(worker, &mut shell.sources);
    store::unstore_worker(&mut shell.narrator.manager, worker);
}

/// As whom a worker runs. Where /proc does not show it, it is ourselves unless its settings say otherwise.
pub(super) fn uid_of(records: &Records, worker: Worker, pid: Pid) -> Option<u32> {
    let own = || {
        let info = records.generations.get(&worker.generation)?;
        let ours = nix::unistd::getuid().as_raw();
        info.config.user.is_none().then_some(ours)
    };
    sys::uid_of(pid).or_else(own)
}

impl Adopted<TakenOver> {
    fn announce(self) -> Adopted<Announced> {
        // First of all: the app may hang until then, and clients come into slots that nobody has.
        self.revive_listeners();
        self.shell.steering.point_again(&ground!(self.shell));
        self.warn_of_strangers();
        self.let_clients_in();
        self.say_adopted();
        self.say_what_is_lost();
        Adopted {
            shell: self.shell,
            step: Announced {
                logged: self.step.logged,
                pending: self.step.pending,
                withdrawn: self.step.withdrawn,
            },
        }
    }

    /// From now on nothing refuses the adoption: a client that comes to a socket that was made anew is not lost with it.
    fn let_clients_in(&self) {
        for listener in &self.step.anew {
            if let Err(error) = listener.take_clients() {
                self.shell.log.error(&error.to_string());
            }
        }
    }

    fn revive_listeners(&self) {
        self.shell.records.expect_choices(&self.shell.core);
        for listener in self.shell.records.current_listeners() {
            if let Err(error) = listener.revive(self.shell.fleet.workers.len()) {
                self.shell.log.error(&error.to_string());
            }
        }
    }

    /// Tell of sockets at the addresses of steered listeners that are none of ours, one of each address, and whether it is known by now
    /// where they stand.
    fn warn_of_strangers(&self) {
        let mut told = BTreeSet::new();
        for listener in self.shell.records.current_listeners() {
            if listener.slot().is_some() && told.insert(listener.address_text()) {
                let stranger = listener.stranger_beside();
                stranger.iter().for_each(|text| self.shell.log.warning(text));
            }
        }
    }

    /// Tell who is adopted.
    fn say_adopted(&self) {
        announce(&self.shell.records.current_listeners(), &[], &self.shell.log);
        let who = self.shell.view().serving().and_then(|mut serving| {
            // What has ended meanwhile has not been told yet.
            serving
                .pids
                .retain(|pid| self.shell.fleet.children.lives(Pid::from_raw(*pid)));
            (!serving.pids.is_empty()).then(|| serving.to_string())
        });
        let who = who.unwrap_or_else(|| "nobody serves".to_owned());
        self.shell.log.warning(&format!(
            "the previous supervisor (pid {}) was killed; its app is adopted: {who}",
            self.step.before
        ));
        let in_force = self.shell.records.births.values().next_back();
        let differ = in_force.map(|birth| config::differences(&birth.config, &self.shell.given.config));
        let differ = differ.unwrap_or_default();
        if !differ.is_empty() {
            self.shell.log.warning(&format!(
                "settings changed since the app was started ({}): they take effect at the next reload",
                differ.join(", ")
            ));
        }
    }

    /// What went with the predecessor.
    fn say_what_is_lost(&self) {
        for (record, birth) in &self.shell.records.births {
            if let Err(lost) = &birth.record {
                self.shell.log.warning(&format!(
                    "generation {} cannot be started again until a reload: {}",
                    record.0, lost.why
                ));
            }
        }
    }
}
