//! Birth records: made afresh by a reload, kept as long as something may be started from them.

use std::os::fd::AsFd as _;
use std::rc::Rc;

use segue_lifecycle::{Event, Mode, Number, Plan, Readiness, Record, Role, Stage, State};
use std::collections::BTreeSet;

use super::Shell;
use super::memory::Start;
use super::view::GenerationInfo;
use crate::config::{self, Config, Ready};
use crate::launch::{BirthRecord, Lent, OwnPid, Wanted};
use crate::listeners::{self, Listener, Lookup};
use crate::state::Rows;

/// What a generation is started with. Its listeners live as long as a record that names them.
#[derive(Debug)]
pub(super) struct Birth {
    pub(super) config: Rc<Config>,
    pub(super) record: Result<BirthRecord, LostRecord>,
    pub(super) listeners: Vec<Rc<Listener>>,
}

/// A record whose files went with a supervisor that was killed: nothing can be started from it, though what was started still
/// runs. A reload makes another.
#[derive(Debug)]
pub(super) struct LostRecord {
    /// Why, in one line.
    pub(super) why: String,
    /// What is known of it, for the next supervisor.
    pub(super) row: String,
}

/// What is said at the start of an instance that hands over nothing.
const NO_LISTENER: &str = "no listener: the app is supervised, and a reload hands nothing over; a port that the app binds itself is busy for \
                           the next generation (use --listen ADDR, or `listen` in segue.toml)";

impl Birth {
    /// The record to start from.
    ///
    /// # Errors
    /// It is lost; one line says why.
    pub(super) fn usable(&self) -> Result<&BirthRecord, String> {
        self.record.as_ref().map_err(|lost| lost.why.clone())
    }
}

/// The loan of a listener to a worker.
pub(super) fn lend(listener: &Listener) -> Lent<'_> {
    Lent {
        name: listener.name(),
        fd: listener.as_fd(),
    }
}

impl Shell {
    /// Make the birth record of a candidate: files, names and sockets as they are now. All of it, or nothing.
    pub(super) fn prepare(&mut self, number: Number) {
        let Some(config) = self.read_settings(number) else {
            return;
        };
        let config = config.map(|config| (self.may_start(number, &config), config));
        let made = match config {
            Ok((Start::Now, config)) => self.make_birth(number, config),
            Ok((Start::Later, _)) => return,
            Ok((Start::Refused(text), _)) | Err(text) => Err(text),
        };
        match made {
            Ok(birth) => {
                let plan = plan(&birth.config);
                self.births.insert(Record(number), birth);
                // It may have been made outside of a batch: at the start, or after a wait for memory or for files.
                self.keeper.note_change();
                self.store_birth(Record(number));
                match self.ensure_generation(number, Record(number)) {
                    Ok(()) => self.events.push_back(Event::Prepared(number, plan)),
                    Err(text) => {
                        self.forget(Record(number));
                        self.refuse(number, text);
                    }
                }
            }
            Err(text) => self.refuse(number, text),
        }
    }

    fn refuse(&mut self, number: Number, text: String) {
        // The sockets may have got options already that were refused together with the rest.
        self.restore_flags();
        self.refusal = Some(text);
        self.events.push_back(Event::PrepareFailed(number));
    }

    fn make_birth(&mut self, number: Number, config: Config) -> Result<Birth, String> {
        let lookup = if number == 1 {
            Lookup::AtStart
        } else {
            Lookup::Refused
        };
        let current = self.current_listeners();
        let there: Vec<Rc<Listener>> = current.iter().chain(&self.left_listeners).cloned().collect();
        let opened = listeners::open(&config.listen, &there, &mut self.inherited, lookup)
            .map_err(|error| error.to_string())?;
        for warning in &opened.warnings {
            self.log.warning(warning);
        }
        if number == 1 && opened.listeners.is_empty() {
            self.log.warning(NO_LISTENER);
        }
        let record = BirthRecord::resolve(&wanted(&config), &self.begin.inherited_environment)
            .map_err(|error| error.to_string())?;
        self.watch_path(config.watch.as_deref())?;
        if config.chdir.is_none() {
            self.tell_of_directory(number);
        }
        self.announce(&opened.listeners, &current);
        self.left_listeners.clear();
        Ok(Birth {
            config: Rc::new(config),
            record: Ok(record),
            listeners: opened.listeners,
        })
    }

    /// Whoever reloads after a flip means the new release: say once that the app is started in the old one.
    fn tell_of_directory(&mut self, number: Number) {
        if self.told_of_directory.is_some() {
            return;
        }
        if let Some(text) = self.begin.inherited_environment.directory_left_behind() {
            self.log.warning(&text);
            self.told_of_directory = Some((number, text));
        }
    }

    /// Every listener that is open, each once; those of the newest record first, whose options are in force.
    pub(super) fn current_listeners(&self) -> Vec<Rc<Listener>> {
        let mut seen = BTreeSet::new();
        let mut current: Vec<Rc<Listener>> = Vec::new();
        for listener in self.births.values().rev().flat_map(|birth| &birth.listeners) {
            // Not by inode: the same socket may have been given to us twice, and is handed on as it came.
            if seen.insert(listener.socket_key()) {
                current.push(Rc::clone(listener));
            }
        }
        current
    }

    pub(super) fn announce(&self, opened: &[Rc<Listener>], current: &[Rc<Listener>]) {
        let known: BTreeSet<u64> = current.iter().map(|old| old.inode()).collect();
        let is_new = |new: &&Rc<Listener>| !known.contains(&new.inode());
        let mut told = None;
        for listener in opened.iter().filter(is_new) {
            // Of several sockets on one address the first stands for all.
            let several = listener.sockets().map(|sockets| (listener.name(), sockets));
            if several.is_some() && std::mem::replace(&mut told, several) == several {
                continue;
            }
            let note = listener
                .scope_note()
                .map(|note| format!(" ({note})"))
                .unwrap_or_default();
            let sockets = several
                .map(|(_, sockets)| format!(", {sockets} sockets"))
                .unwrap_or_default();
            self.log.info(&format!(
                "listening on {}{note} as {}{sockets}",
                listener.address_text(),
                listener.name()
            ));
        }
        let lonely = !opened.is_empty() && opened.iter().all(|listener| listener.is_loopback());
        if current.is_empty() && std::process::id() == 1 && lonely {
            self.log.warning(
                "every listener is on this machine only, and this is PID 1: nobody outside the container can connect \
                 (use `--listen :8080` to listen on every address)",
            );
        }
    }

    /// Make sure that a generation started from this record is known, with its private probe listener.
    pub(super) fn ensure_generation(&mut self, number: Number, record: Record) -> Result<(), String> {
        if self.generations.contains_key(&number) {
            return Ok(());
        }
        let birth = self.births.get(&record).ok_or("its birth record is gone")?;
        let probe = match &birth.config.probe {
            Some(_) => Some(self.open_probe(number)?),
            None => None,
        };
        let lent = birth.listeners.iter().map(|listener| listener.inode()).collect();
        let mut info = GenerationInfo::new(
            Rc::clone(&birth.config),
            birth.usable()?.binary(),
            probe,
            self.history.asked,
        );
        info.lent = lent;
        info.replaced = self.replaced_files(number, record);
        self.generations.insert(number, info);
        self.store_probe(number);
        Ok(())
    }

    /// The private listener of a generation: the one that is there if a supervisor that was killed had begun to start it.
    fn open_probe(&self, number: Number) -> Result<Rc<Listener>, String> {
        let place = &self.begin.place;
        let kept = place.keep_notify_directory();
        kept.map_err(|error| error.to_string())?;
        let path = place.probe_socket(number);
        let opened = match self.probe_begun(number, &path) {
            Some(fd) => listeners::probe_listener_had_back(fd, &path),
            None => listeners::probe_listener(&path),
        };
        opened.map_err(|error| error.to_string())
    }

    /// The files that a rollback would find replaced, or that one found so: it starts from the last good record.
    fn replaced_files(&self, number: Number, record: Record) -> Option<String> {
        let good = if record == Record(number) {
            self.core.last_good()?
        } else {
            record
        };
        let replaced = self.births.get(&good)?.usable().ok()?.replaced();
        (!replaced.is_empty()).then(|| replaced.join(", "))
    }

    /// A generation has taken over: what its app made anew until then is no part of it.
    pub(super) fn forget_own_files(&mut self, number: Number) {
        let record = self.core.generation(number).map(|generation| generation.record);
        let birth = record.and_then(|record| self.births.get_mut(&record));
        if let Some(Ok(record)) = birth.map(|birth| birth.record.as_mut()) {
            record.forget_own_files();
        }
    }

    /// The number of workers among which the sockets of an address are shared out in this generation, from its first worker on.
    pub(super) fn share_out(&mut self, number: Number) -> u16 {
        let workers = self
            .core
            .generation(number)
            .map_or(1, |generation| generation.plan.workers);
        let info = self.generations.get_mut(&number);
        info.map_or(workers, |info| *info.began_with.get_or_insert(workers))
    }

    /// The fewest workers that whoever serves, or is about to, can have without leaving a socket to nobody.
    pub(super) fn fewest_workers(&self) -> u16 {
        let active = self
            .core
            .generations()
            .filter(|generation| generation.role != Role::Retired);
        let fewest = active.filter_map(|generation| {
            let listeners = &self.births.get(&generation.record)?.listeners;
            let began_with = self.generations.get(&generation.number)?.began_with?;
            Some(listeners::least_workers(listeners, began_with))
        });
        fewest.max().unwrap_or(1)
    }

    /// Undo what processes did to the flags that all holders of a listener share.
    pub(super) fn restore_flags(&self) {
        // Each socket once: two records may want different options of it, and the newest is in force.
        for listener in self.current_listeners() {
            if let Err(error) = listener.restore_flags() {
                self.log.error(&error.to_string());
            }
        }
    }

    /// A worker is ready: what is set now is what its generation has chosen. That is put in force when the
    /// generation takes over, for until then another one accepts by its own choice.
    pub(super) fn note_flags(&mut self, number: Number) {
        for listener in self.listeners_of(number) {
            match listener.chosen_flags() {
                Ok(chosen) => {
                    self.chosen_flags.insert((number, listener.inode()), chosen);
                }
                Err(error) => self.log.error(&error.to_string()),
            }
        }
        if self
            .core
            .incumbent()
            .is_none_or(|incumbent| incumbent.number == number)
        {
            self.keep_flags(number);
        }
        self.restore_flags();
    }

    /// What this generation has chosen is in force from now on.
    pub(super) fn keep_flags(&mut self, number: Number) {
        for listener in self.listeners_of(number) {
            if let Some(chosen) = self.chosen_flags.get(&(number, listener.inode())) {
                listener.keep_flags(*chosen);
            }
        }
    }

    /// What was bound afresh for this generation, which has taken over, takes the place of the dead socket in every record:
    /// what is started from an older one after a rollback must be reached as well.
    pub(super) fn share_mended(&mut self, number: Number) {
        let fresh = self.listeners_of(number);
        let known = self.births.values_mut().flat_map(|birth| &mut birth.listeners);
        for listener in known.filter(|listener| listener.is_dead()) {
            if let Some(mended) = fresh.iter().find_map(|fresh| listener.mended_by(fresh)) {
                *listener = mended;
            }
        }
    }

    /// The listeners of a generation's record.
    pub(super) fn listeners_of(&self, number: Number) -> Vec<Rc<Listener>> {
        let record = self.core.generation(number).map(|generation| generation.record);
        let birth = record.and_then(|record| self.births.get(&record));
        birth.map(|birth| birth.listeners.clone()).unwrap_or_default()
    }

    /// Nothing is started from this record any more: its files and, unless another record names them, its
    /// listeners are closed.
    pub(super) fn forget(&mut self, record: Record) {
        if let Some(birth) = self.births.remove(&record) {
            self.unstore_birth(record, &birth.listeners);
            self.note_closed(&birth.listeners);
        }
        // Options that this record alone wanted are taken back.
        self.restore_flags();
    }
}

impl Shell {
    /// While it stops, the supervisor closes its listeners and the app has them still: what they are is kept for a supervisor that
    /// takes them back from it, if this one is killed before all of it has ended.
    fn note_closed(&mut self, listeners: &[Rc<Listener>]) {
        if self.core.state() != State::Stopping {
            return;
        }
        let mut saving = listeners::Saving::default();
        for listener in listeners.iter().filter(|listener| !listener.is_inherited()) {
            saving.number(listener);
        }
        let mut rows = Rows::default();
        saving.save(&mut rows);
        self.closed.push(rows.finish());
    }
}

/// What the launch has to know of the settings.
pub(crate) fn wanted(config: &Config) -> Wanted<'_> {
    Wanted {
        command: &config.command,
        chdir: config.chdir.as_deref(),
        env: &config.env,
        user: config.user.as_deref(),
        group: config.group.as_deref(),
        umask: config.umask,
        stderr: config.stderr.as_deref(),
        oom_score: config.oom_score_adj,
        own_pid: match config.listen_pid {
            config::ListenPid::Set => OwnPid::Set,
            config::ListenPid::LeftOut => OwnPid::LeftOut,
        },
        last_signal: match config.orphaned {
            config::Orphaned::ServesOn => None,
            config::Orphaned::Stops => Some(config.stop_signal),
        },
    }
}

/// What the core has to know of the settings.
fn plan(config: &Config) -> Plan {
    let kept = |kept: bool| if kept { Stage::Kept } else { Stage::Skipped };
    Plan {
        workers: config.workers,
        mode: match config.mode {
            config::Mode::Overlap => Mode::Overlap,
            config::Mode::Queue => Mode::Queue,
        },
        readiness: match config.ready {
            Ready::Notify => Readiness::Notify,
            Ready::Exec(_) => Readiness::Alive,
        },
        probe: kept(config.probe.is_some()),
        soak: kept(!config.soak.is_zero()),
        probation: kept(config.probation.is_some_and(|probation| !probation.is_zero())),
        watchdog: kept(config.watchdog.is_some()),
        max_generations: config.max_generations,
        rolling: config.rolling.unwrap_or(0),
    }
}
