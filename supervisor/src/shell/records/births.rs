//! Birth records: made afresh by a reload, kept as long as something may be started from them.

use std::collections::BTreeSet;
use std::os::fd::AsFd as _;
use std::rc::Rc;
use std::time::Instant;

use segue_lifecycle::{FIRST, Lane, Lifecycle, Mode, Number, Plan, Readiness, Record, Role, Stage};

use crate::activation::Known;
use crate::config::{self, Config, Ready};
use crate::launch::{BirthRecord, Lent, OwnPid, Wanted};
use crate::listeners::{self, Listener, Lookup, SharedSlot, Taken};
use crate::log::Log;
use crate::place::Place;
use crate::shell::records::generation::GenerationInfo;
use crate::shell::records::memory::Start;
use crate::shell::records::probe_way::{self, ProbeWay};
use crate::shell::records::sockets::announce;
use crate::shell::records::{Records, Workshop};

/// What a generation is started with. Its listeners live as long as a record that names them.
#[derive(Debug)]
pub(crate) struct Birth {
    pub(crate) config: Rc<Config>,
    pub(crate) record: Result<BirthRecord, LostRecord>,
    pub(crate) listeners: Vec<Rc<Listener>>,
}

/// A record whose files went with a supervisor that was killed: nothing can be started from it, though what was started still
/// runs. A reload makes another.
#[derive(Debug)]
pub(crate) struct LostRecord {
    /// Why, in one line.
    pub(crate) why: String,
    /// What is known of it, for the next supervisor.
    pub(crate) row: String,
}

/// What is said at the start of an instance that hands over nothing.
const NO_LISTENER: &str = "no listener: the app is supervised, and a reload hands nothing over; a port that the app binds itself is busy for \
                           the next generation (use --listen ADDR, or `listen` in segue.toml)";

impl Birth {
    /// The record to start from.
    ///
    /// # Errors
    /// It is lost; one line says why.
    pub(crate) fn usable(&self) -> Result<&BirthRecord, String> {
        self.record.as_ref().map_err(|lost| lost.why.clone())
    }

    /// Whether a probe comes to a generation through the address that clients use.
    pub(crate) fn leads_probes_in(&self) -> bool {
        probe_way::of(&self.listeners) == ProbeWay::FrontDoor
    }
}

/// The loan of a listener to a worker.
pub(crate) fn lend(listener: &Listener) -> Lent<'_> {
    Lent {
        name: listener.name(),
        fd: listener.as_fd(),
        address: listener.plain_address(),
        port: listener.port(),
    }
}

/// What came of a preparation.
#[derive(Debug)]
pub(crate) enum Preparation {
    /// There is a record.
    Made(Plan),
    /// It waits, for files or for memory, and an alarm is set.
    Waits,
    /// Why there is none, in one line.
    Refused(String),
}

impl Records {
    /// Make the birth record of a candidate: files, names and sockets as they are now. All of it, or nothing.
    pub(crate) fn prepare(&mut self, number: Number, shop: &mut Workshop<'_>) -> Preparation {
        let config = match self.read_settings(number, shop) {
            Some(Ok(config)) => config,
            Some(Err(text)) => return Preparation::Refused(text),
            None => return Preparation::Waits,
        };
        match self.may_start(number, &config, shop) {
            Start::Now => {}
            Start::Later => return Preparation::Waits,
            Start::Refused(text) => return Preparation::Refused(text),
        }
        match self.make_birth(number, config, shop) {
            Ok(birth) => {
                let plan = plan(&birth);
                self.births.insert(Record(number), birth);
                Preparation::Made(plan)
            }
            Err(text) => Preparation::Refused(text),
        }
    }

    /// Nothing is started from what was prepared.
    pub(crate) fn refuse(&mut self, text: String, log: &Log) {
        // The sockets may have got options already that were refused together with the rest.
        self.restore_flags(log);
        self.refusal = Some(text);
    }

    fn make_birth(
        &mut self,
        number: Number,
        config: Config,
        shop: &mut Workshop<'_>,
    ) -> Result<Birth, String> {
        let lookup = if number == FIRST {
            Lookup::AtStart
        } else {
            Lookup::Refused
        };
        // One whose path can be put back is not bound afresh.
        self.put_back_paths(shop.log);
        let current = self.current_listeners();
        let there: Vec<Rc<Listener>> = current.iter().chain(&self.left_listeners).cloned().collect();
        let opened = listeners::open(
            &config.listen,
            &there,
            &mut self.inherited,
            lookup,
            taken(number, shop.core),
        )
        .map_err(|error| error.to_string())?;
        for warning in &opened.warnings {
            shop.log.warning(warning);
        }
        if number == FIRST && opened.listeners.is_empty() {
            shop.log.warning(NO_LISTENER);
        }
        let mut listeners = opened.listeners;
        if config.needs_non_blocking() {
            listeners = listeners.into_iter().map(Listener::as_believed).collect();
        }
        let known: Vec<Known> = listeners.iter().map(|one| known_as(one)).collect();
        let wanted = Wanted {
            listeners: Some(&known),
            ..wanted(&config)
        };
        let record = BirthRecord::resolve(&wanted, &shop.given.inherited_environment)
            .map_err(|error| error.to_string())?;
        if number == FIRST {
            config.advice().iter().for_each(|line| shop.log.warning(line));
        }
        if config.chdir.is_none() {
            self.tell_of_directory(number, shop);
        }
        self.tell_of_probe_way(&config, &listeners, shop.log);
        self.share_slots(&listeners);
        if number == FIRST {
            point_at_shared(&listeners, shop.log);
        }
        announce(&listeners, &current, shop.log);
        self.left_listeners.clear();
        Ok(Birth {
            config: self.shared(config, &shop.given.config),
            record: Ok(record),
            listeners,
        })
    }

    /// The same settings as those of the start, or of another record, are kept, and written down, once.
    fn shared(&self, config: Config, at_start: &Rc<Config>) -> Rc<Config> {
        let births = self.births.values().map(|birth| &birth.config);
        let same = births.chain([at_start]).find(|known| ***known == config);
        same.map_or_else(|| Rc::new(config), Rc::clone)
    }

    /// A reload after a flip means the new release: say once that the app is started in the old one.
    fn tell_of_directory(&mut self, number: Number, shop: &Workshop<'_>) {
        if self.told_of_directory.is_some() {
            return;
        }
        if let Some(text) = shop.given.inherited_environment.directory_left_behind() {
            shop.log.warning(&text);
            self.told_of_directory = Some((number, text));
        }
    }

    /// The private probe listener of a generation that is to be started from this record, if it needs one.
    pub(super) fn open_probe(
        &self,
        number: Number,
        record: Record,
        place: &Place,
    ) -> Result<Option<Rc<Listener>>, String> {
        let birth = self.birth(record)?;
        match birth.config.probe {
            Some(_) if birth.config.takes_second_socket() && !birth.leads_probes_in() => {
                open_probe(number, place).map(Some)
            }
            Some(_) | None => Ok(None),
        }
    }

    fn birth(&self, record: Record) -> Result<&Birth, &'static str> {
        self.births.get(&record).ok_or("its birth record is gone")
    }

    /// A generation is started from this record, with its private probe listener.
    pub(crate) fn insert_generation(
        &mut self,
        number: Number,
        record: Record,
        probe: Option<Rc<Listener>>,
        asked: Option<Instant>,
        core: &Lifecycle,
    ) -> Result<(), String> {
        let birth = self.birth(record)?;
        let lent = birth.listeners.iter().map(|listener| listener.inode()).collect();
        let known = core.generation(number);
        let role = known.map_or(Role::Candidate, |generation| generation.role);
        let mut info = GenerationInfo::new(
            Rc::clone(&birth.config),
            birth.usable()?.binary(),
            probe,
            asked,
            role,
        );
        info.lent = lent;
        info.replaced = self.replaced_files(number, record, core);
        self.generations.insert(number, info);
        Ok(())
    }

    /// The files that a rollback would find replaced, or that one found so: it starts from the last good record.
    fn replaced_files(&self, number: Number, record: Record, core: &Lifecycle) -> Option<String> {
        let good = if record == Record(number) {
            core.last_good()?
        } else {
            record
        };
        let replaced = self.births.get(&good)?.usable().ok()?.replaced();
        (!replaced.is_empty()).then(|| replaced.join(", "))
    }

    /// A generation has taken over: what its app made anew until then is no part of it.
    pub(super) fn forget_own_files(&mut self, number: Number, core: &Lifecycle) {
        let record = core.generation(number).map(|generation| generation.record);
        let birth = record.and_then(|record| self.births.get_mut(&record));
        if let Some(Ok(record)) = birth.map(|birth| birth.record.as_mut()) {
            record.forget_own_files();
        }
    }

    /// The number of workers among which the sockets of an address are shared out in this generation, from its first worker on.
    pub(crate) fn share_out(&mut self, number: Number, core: &Lifecycle) -> u16 {
        let workers = core
            .generation(number)
            .map_or(1, |generation| generation.plan.workers);
        let info = self.generations.get_mut(&number);
        info.map_or(workers, |info| *info.began_with.get_or_insert(workers))
    }
}

/// The slots that the generations have which live beside a candidate.
fn taken(candidate: Number, core: &Lifecycle) -> Taken {
    let incumbent = core.incumbent().map(|incumbent| incumbent.lane);
    Taken {
        shared: shared_slot(candidate, core),
        pointed: core.pointed().or(incumbent).unwrap_or(0),
    }
}

/// The slot that the generations which live know as theirs, whatever they share.
fn shared_slot(candidate: Number, core: &Lifecycle) -> SharedSlot {
    let alive = core
        .generations()
        .filter(|generation| generation.number != candidate);
    let known = alive.map(|generation| generation.lane).chain(core.pointed());
    let known: BTreeSet<Lane> = known.collect();
    match (known.first(), known.last()) {
        (None, _) | (_, None) => SharedSlot::Is(0),
        (Some(first), Some(last)) if first == last => SharedSlot::Is(*first),
        (Some(_), Some(_)) => SharedSlot::Several,
    }
}

fn known_as(listener: &Listener) -> Known {
    Known {
        name: listener.name().to_owned(),
        has_port: listener.port().is_some(),
    }
}

/// The private listener of a generation.
fn open_probe(number: Number, place: &Place) -> Result<Rc<Listener>, String> {
    let kept = place.keep_notify_directory();
    kept.map_err(|error| error.to_string())?;
    let path = place.probe_socket(number);
    listeners::probe_listener(&path).map_err(|error| error.to_string())
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
        protocol: config.protocol,
        templates: &config.templates,
        listeners: None,
        last_signal: match config.orphaned {
            config::Orphaned::ServesOn => None,
            config::Orphaned::Stops => Some(config.stop_signal),
        },
    }
}

/// What the core has to know of the settings.
fn plan(birth: &Birth) -> Plan {
    let config = &birth.config;
    let steered = birth.listeners.iter().map(|listener| listener.slots());
    let kept = |kept: bool| if kept { Stage::Kept } else { Stage::Skipped };
    Plan {
        workers: config.workers,
        mode: match config.mode {
            config::Mode::Overlap => Mode::Overlap,
            config::Mode::Queue => Mode::Queue,
        },
        readiness: readiness(birth),
        probe: kept(config.probe.is_some()),
        soak: kept(!config.soak.is_zero()),
        probation: kept(config.probation.is_some_and(|probation| !probation.is_zero())),
        watchdog: kept(config.watchdog.is_some()),
        max_generations: config.max_generations,
        rolling: config.rolling.unwrap_or(0),
        lanes: steered.filter(|slots| *slots > 0).min().unwrap_or(0),
        linger: kept(lingers(birth)),
    }
}

/// Where a listener is shared, an old generation that is not told to drain goes on taking new clients from it.
fn lingers(birth: &Birth) -> bool {
    let mut listeners = birth.listeners.iter();
    !birth.config.linger.is_zero() && listeners.all(|listener| listener.is_steered())
}

/// Without a listener that accepts connections there is nothing to see, and an app that is to say `WATCHDOG=1` says `READY=1` as
/// well: then only the word counts.
fn readiness(birth: &Birth) -> Readiness {
    let config = &birth.config;
    let mut listeners = birth.listeners.iter();
    let accepts = listeners.any(|listener| listener.kind().accepts_connections());
    match config.ready {
        Ready::Exec(_) => Readiness::Alive,
        Ready::Accepting if accepts => Readiness::Accepting,
        Ready::Auto if accepts && config.watchdog.is_none() => Readiness::Auto,
        Ready::Accepting | Ready::Auto | Ready::Notify => Readiness::Notify,
    }
}

/// A supervisor before us may have sent clients to a slot that no generation of ours is lent, where it had the listener steered.
fn point_at_shared(listeners: &[Rc<Listener>], log: &Log) {
    let shared = listeners.iter().filter(|one| !one.is_steered());
    for first in shared.filter(|one| one.slot() == Some(0)) {
        if let Err(error) = first.send_clients_here() {
            log.error(&error.to_string());
        }
    }
}
