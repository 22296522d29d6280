//! State left behind by a supervisor that was killed: found, judged, and, where its app is not adopted, what of it goes on.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use nix::unistd::Pid;
use segue_lifecycle::{State, Worker};

use crate::config::{Config, Invocation};
use crate::control::Control;
use crate::keeper::{self, Kept};
use crate::listeners::{self, Listener};
use crate::log::Log;
use crate::place::{self, Place, Remains, Surroundings};
use crate::shell::Child;
use crate::shell::fleet::saved::pidfd_name;
use crate::shell::found::{config_of, configs};
use crate::shell::journal::log::Logged;
use crate::shell::save;
use crate::shell::succession::draining_orphans::DrainingOrphan;
use crate::shell::succession::foreseen::Foreseen;
use crate::shell::succession::holders::{HadBack, Holders};
use crate::shell::succession::orphan_processes::{self, OrphanProcess, Role};
use crate::shell::succession::{recover, refusals};
use crate::state::{self, Custody, Fds, Flaw, Row};
use crate::sys;

/// What a supervisor that was killed has left.
#[derive(Debug)]
pub(crate) struct PredecessorState {
    kept: Kept,
    /// The state files that systemd has kept.
    files: Vec<OwnedFd>,
    /// What else systemd has kept of it.
    stored: Fds,
}

/// What is to be done with an predecessor.
#[derive(Debug)]
pub(crate) enum AdoptionDecision {
    /// Something of it lives: it is to be adopted.
    Adopt,
    /// It is not adopted: this start is a new one. What is told about it, if anything.
    Leave(Option<String>),
    /// It cannot be told whether something of it lives. What is told about it.
    Unknown(String),
    /// Its state cannot be understood.
    Unreadable(Flaw),
}

/// What of a predecessor's state that is not adopted goes on beside the new app.
#[derive(Debug, Default)]
pub(crate) struct Unadopted {
    /// Whether there is anybody, among them those whom nobody watches.
    pub(crate) remains: Remains,
    /// Those who drain.
    pub(crate) draining_orphans: Vec<DrainingOrphan>,
    /// The listeners that they, or systemd, still have: the new app is given those that it wants, and clients that wait in their queues
    /// are served.
    pub(crate) listeners: Vec<Rc<Listener>>,
}

impl PredecessorState {
    /// Looks for one: in what systemd has kept, or where this instance keeps its state.
    ///
    /// # Errors
    /// There is none; what systemd has kept all the same comes back.
    pub(crate) fn find(place: &Place, mut stored: Fds) -> Result<Self, Fds> {
        let files: Vec<_> = state::FILES.iter().filter_map(|name| stored.take(name)).collect();
        match keeper::read(&files).or_else(|| keeper::read_at(place.state_files())) {
            Some(kept) => Ok(Self { kept, files, stored }),
            None => Err(stored),
        }
    }

    /// Looks once more, now that nobody writes it any more.
    pub(crate) fn read_again(&mut self, place: &Place) {
        if let Some(kept) = keeper::read(&self.files).or_else(|| keeper::read_at(place.state_files())) {
            self.kept = kept;
        }
    }

    /// Name directories and notify sockets as it has.
    ///
    /// # Errors
    /// The row of its place is not whole.
    pub(crate) fn pass_on_series(&self, control: &mut Control) -> Result<(), Flaw> {
        control.go_on_in_series_of(&Row::all(&self.kept.rows)?)
    }

    /// What systemd has kept of it.
    pub(crate) fn into_stored(self) -> Fds {
        self.stored
    }

    /// The state, and what systemd has kept of it.
    pub(crate) fn into_parts(self) -> (Kept, Fds) {
        (self.kept, self.stored)
    }

    /// The state files that systemd has kept, to go on with.
    pub(crate) fn take_files(&mut self) -> Option<[File; keeper::FILES]> {
        let files: Vec<File> = std::mem::take(&mut self.files)
            .into_iter()
            .map(File::from)
            .collect();
        files.try_into().ok()
    }

    /// Decide whether to adopt the app. Adopt it if the state is from the current boot, no stop was in progress, and either a worker
    /// is alive or systemd still holds the listeners.
    pub(crate) fn assess(&self, place: &Place) -> AdoptionDecision {
        self.try_assess(place)
            .unwrap_or_else(AdoptionDecision::Unreadable)
    }

    fn try_assess(&self, place: &Place) -> Result<AdoptionDecision, Flaw> {
        let rows = Row::all(&self.kept.rows)?;
        let head = Row::of_kind(&rows, state::HEAD)?;
        if head.number("version")? != state::VERSION {
            return Err(Flaw::new("it is of another version"));
        }
        if !is_of_this_boot(head)? {
            return Ok(AdoptionDecision::Leave(None));
        }
        let pid = head.text("pid")?;
        let logged = Logged::read(&self.kept.log)?;
        let hidden = orphan_processes::hidden(&rows, logged.forked())?;
        // Of a process that was started in another user namespace (PrivateUsers=) /proc shows nothing; its pidfd is proof enough.
        // So is its place in our unit, where the supervisor was killed before systemd had the pidfd.
        let is_unknown = |(child, pid): &&(Child, Pid)| {
            !self.stored.has(&pidfd_name(*child)) && recover::prove_by_unit(*pid).is_none()
        };
        let unknown: Vec<String> = hidden
            .iter()
            .filter(is_unknown)
            .map(|(_, pid)| pid.to_string())
            .collect();
        if !unknown.is_empty() {
            return Ok(AdoptionDecision::Unknown(not_shown(
                pid.as_str(),
                &unknown.join(" "),
                place,
            )));
        }
        let remains = self.remains(&rows, &logged, &place_of(place, &rows)?)?;
        if Foreseen::of(&rows, &logged)?.core.state() == State::Stopping {
            let drain = !remains.is_empty();
            return Ok(AdoptionDecision::Leave(drain.then(|| {
                format!(
                    "the previous supervisor (pid {pid}) was killed while it stopped; pid {} of its app still drains, and is killed if that takes too long",
                    orphan_processes::pids(&remains)
                )
            })));
        }
        let kept = ["listener-", "pidfd-"];
        let kept = self
            .stored
            .names()
            .any(|name| kept.iter().any(|kind| name.starts_with(kind)));
        if kept {
            return Ok(AdoptionDecision::Adopt);
        }
        let Some(first) = remains.first() else {
            let orphans = recover::orphans(place);
            let what = if orphans.is_empty() {
                "nothing of its app is left".to_owned()
            } else {
                format!(
                    "none of its workers is left; processes that they started live on (pid {}) and may hold listeners",
                    recover::pids_of(&orphans)
                )
            };
            let text = format!("the previous supervisor (pid {pid}) was killed, and {what}");
            return Ok(AdoptionDecision::Leave(Some(text)));
        };
        Ok(if orphan_processes::have_let_go(&remains, &rows)? {
            let what = match first.role {
                Role::Main => "its app has closed its listeners",
                Role::Survivor | Role::Stray => "the main process of its app has ended",
            };
            let text = format!(
                "the previous supervisor (pid {pid}) was killed, and {what}; pid {} still drains, and is killed if that takes too long",
                first.proved.pid
            );
            AdoptionDecision::Leave(Some(text))
        } else {
            AdoptionDecision::Adopt
        })
    }

    /// All that live of the app.
    fn remains(&self, rows: &[Row<'_>], logged: &Logged, place: &Place) -> Result<Vec<OrphanProcess>, Flaw> {
        let mut remains = orphan_processes::of_app(rows, logged.forked(), place)?;
        remains.extend(orphan_processes::kept(rows, logged.forked(), &self.stored)?);
        Ok(remains)
    }

    /// What of a predecessor's state that is not adopted goes on. Processes that nobody has told to stop yet are told now.
    ///
    /// # Errors
    /// A row is not whole.
    pub(crate) fn leave(&mut self, place: &Place, log: &Log, custody: &Custody) -> Result<Unadopted, Flaw> {
        let rows = Row::all(&self.kept.rows)?;
        if !is_of_this_boot(Row::of_kind(&rows, state::HEAD)?)? {
            return Ok(Unadopted::default());
        }
        let logged = Logged::read(&self.kept.log)?;
        let place = place_of(place, &rows)?;
        let remains = self.remains(&rows, &logged, &place)?;
        let stored = &mut self.stored;
        let mut listeners = take_listeners(stored, &rows, &remains, (log, custody))?;
        for closed in save::closed(&rows)? {
            let closed = Row::all(&closed)?;
            listeners.extend(take_listeners(stored, &closed, &remains, (log, custody))?);
        }
        let foreseen = Foreseen::of(&rows, &logged)?;
        let untold: Vec<bool> = remains
            .iter()
            .map(|orphan| foreseen.is_untold(orphan, &remains))
            .collect();
        let mut draining_orphans = Vec::new();
        for (orphan, is_untold) in remains.into_iter().zip(untold) {
            let signal = if is_untold {
                Some(settings_of(orphan.worker, &rows)?.stop_signal)
            } else {
                None
            };
            let deadline = foreseen.deadline(orphan.worker, &rows)?;
            draining_orphans.extend(DrainingOrphan::of(orphan, signal, deadline));
        }
        draining_orphans.extend(DrainingOrphan::restore(&rows, stored)?);
        draining_orphans.iter_mut().for_each(DrainingOrphan::tell_to_stop);
        let remains = if draining_orphans.is_empty() && recover::orphans(&place).is_empty() {
            Remains::Nobody
        } else {
            Remains::Somebody(place.series())
        };
        Ok(Unadopted {
            remains,
            draining_orphans,
            listeners,
        })
    }
}

/// The place, as the dead supervisor had it.
fn place_of(place: &Place, rows: &[Row<'_>]) -> Result<Place, Flaw> {
    let mut place = place.clone();
    place.go_on_in_series_of(rows)?;
    Ok(place)
}

/// The listeners of these rows that somebody still has. Those that were given to the dead supervisor are given to this one as
/// well, if it was started in the same way.
fn take_listeners(
    stored: &mut Fds,
    rows: &[Row<'_>],
    remains: &[OrphanProcess],
    (log, custody): (&Log, &Custody),
) -> Result<Vec<Rc<Listener>>, Flaw> {
    let holders = Holders::new(rows, remains)?;
    for wanted in listeners::identities(rows)? {
        if stored.has(&wanted.fd_name()) || listeners::is_inherited(rows, wanted) {
            continue;
        }
        match holders.take_back(wanted) {
            Ok(HadBack { fd, stranger }) => {
                if let Some(pid) = stranger {
                    log.info(&refusals::had_back_from(pid, wanted, rows));
                }
                stored.put(wanted.fd_name(), fd);
            }
            // If somebody has it all the same, that is told when it cannot be bound.
            Err(None) => {}
            Err(Some(withheld)) => log.warning(&format!(
                "the listener {} cannot be taken back: {}",
                listeners::label_of(rows, wanted),
                refusals::why_withheld(withheld)
            )),
        }
    }
    listeners::restore_found(rows, stored, custody)
}

/// Nothing may be forgotten of an app that may live: it could serve, and nobody would ever supervise it again.
fn not_shown(supervisor: &str, pids: &str, place: &Place) -> String {
    let [first, second] = place.state_files();
    format!(
        "the previous supervisor (pid {supervisor}) was killed, and it cannot be told whether its app lives on (pid {pids}): /proc does not \
         show these processes; mount /proc, or let segue see them in it (hidepid=, ProtectProc=), and start it again; if they are none of \
         the app, remove {} and {}",
        first.display(),
        second.display()
    )
}

fn is_of_this_boot(head: Row<'_>) -> Result<bool, Flaw> {
    Ok(match (head.text_if_any("boot")?, sys::boot_id()) {
        (Some(then), Some(now)) => then == now,
        (Some(_) | None, Some(_) | None) => true,
    })
}

/// The settings with which a worker was started.
pub(super) fn settings_of(worker: Worker, rows: &[Row<'_>]) -> Result<Rc<Config>, Flaw> {
    let configs = configs(rows)?;
    let of_generation =
        |row: &&Row<'_>| row.kind() == "generation" && row.number("number") == Ok(worker.generation);
    let row = match rows.iter().find(of_generation) {
        Some(row) => *row,
        None => Row::of_kind(rows, state::HEAD)?,
    };
    config_of(row, &configs)
}

/// The settings of a predecessor whose place the flags alone tell, for a start whose own settings cannot be read: the app must not
/// wait for a typing error to be mended until somebody supervises it.
pub(crate) fn settings_left(invocation: &Invocation) -> Option<Rc<Config>> {
    let settings = &invocation.settings;
    let name = settings.name.as_deref()?;
    let around = Surroundings::of_this_process();
    let place = place::choose(name, settings.control.as_deref(), &around).ok()?;
    let kept = keeper::read_at(place.state_files())?;
    let rows = Row::all(&kept.rows).ok()?;
    let head = Row::of_kind(&rows, state::HEAD).ok()?;
    config_of(head, &configs(&rows).ok()?).ok()
}
