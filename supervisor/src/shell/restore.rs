//! From rows and fds to a loop that can go on: what `save.rs` has written. Nothing is done outside: the check of an
//! upgrade does the same, to see whether a state can be read.

use std::ffi::OsString;
use std::rc::Rc;

use nix::unistd::Pid;
use segue_lifecycle::{Lifecycle, Number, Record, Role, Worker};

use super::{Alarm, Begin, Child, Shell};
use crate::children::{Kin, Leader};
use crate::cli;
use crate::clock::{self, Running};
use crate::config::{Config, Invocation, LogFormat};
use crate::control::Control;
use crate::keeper::Keeper;
use crate::launch::{BirthRecord, InheritedEnvironment, ReportPipe};
use crate::listeners::{self, Absent, Inherited, IoMode, Listener};
use crate::log::{Log, Style};
use crate::manager::Manager;
use crate::pid_file::PidFile;
use crate::readiness::NotifySocket;
use crate::shell::desk::tickets::Tickets;
use crate::shell::fleet::probe::Probes;
use crate::shell::fleet::strays::Strays;
use crate::shell::fleet::worker::WorkerInfo;
use crate::shell::inspection::queues::Queues;
use crate::shell::narrator::history::History;
use crate::shell::records::births::{Birth, LostRecord};
use crate::shell::records::generation::GenerationInfo;
use crate::shell::save::{self, Head, SavedChild, SavedTimer};
use crate::shell::succession::draining_orphans::DrainingOrphan;
use crate::shell::succession::orphan_processes::OrphanProcess;
use crate::shell::succession::predecessor::Unadopted;
use crate::shell::succession::upgrading::waiter;
use crate::sources::Source;
use crate::state::{self, Custody, Fds, Field, Flaw, Restored, Row, Whole as _};
use crate::upgrade::Saved;

impl SavedChild {
    /// All that the rows tell of.
    pub(crate) fn all(rows: &[Row<'_>]) -> Result<Vec<Self>, Flaw> {
        of_kind(rows, "child").map(Self::of_row).collect()
    }
}

/// The loop of this process, as it was until it executed this binary.
///
/// # Errors
/// The state cannot be read, or an fd that it tells of is missing.
pub(crate) fn restore(
    saved: Saved,
    invocation: Invocation,
    mut inherited_environment: InheritedEnvironment,
) -> Result<Restored<Shell>, Flaw> {
    let custody = Custody::new();
    let rows = Row::all(&saved.rows)?;
    let mut fds = saved.fds;
    let control = Control::restore(&rows, &mut fds, &custody)?;
    let configs = configs(&rows)?;
    let config = config_of(Row::of_kind(&rows, state::HEAD)?, &configs)?;
    // The limits are those of our birth and not those that we have raised since; the environment is that of our birth already.
    inherited_environment.limits = InheritedEnvironment::restore(&Row::of_kind(&rows, "heritage")?)?.limits;
    let files = state::FILES.map(|name| {
        fds.take(name)
            .ok_or_else(|| Flaw::new(format_args!("the fd {name} is missing")))
    });
    let [first, second] = files;
    let place = control.place().clone();
    let begin = Begin {
        log: Log::new(&config.name, style(config.log_format)),
        manager: Manager::from_environment(&inherited_environment.variables).0,
        keeper: Keeper::on([first?.into(), second?.into()], place.state_files().clone()),
        pid_file: PidFile::restore(&rows, &mut fds, &custody)?,
        inherited: Inherited::none(),
        origin: saved.origin,
        stored: Fds::default(),
        left: Unadopted::default(),
        invocation,
        config,
        place,
        control,
        inherited_environment,
    };
    let (mut shell, _) = Shell::new(begin).map_err(Flaw::new)?;
    shell.journal.spare_fds = fds;
    let spare_fds = &mut shell.journal.spare_fds;
    let listeners = listeners::restore(&rows, spare_fds, Absent::IsAFlaw, &custody)?;
    shell.fill(&Found {
        rows: &rows,
        configs: &configs,
        listeners: &listeners,
        remains: &[],
        custody: &custody,
    })?;
    for child in SavedChild::all(&rows)? {
        shell.keep_child(child)?;
    }
    shell.watch_all().map_err(Flaw::new)?;
    shell.fleet.hold_the_childless();
    shell.succession.before = Some((saved.by, waiter(&rows)?));
    Ok(Restored::new(shell, custody))
}

/// What is read from a state: its rows, and what was made of some of them already.
pub(crate) struct Found<'a> {
    pub(crate) rows: &'a [Row<'a>],
    pub(crate) configs: &'a [Rc<Config>],
    pub(crate) listeners: &'a [Rc<Listener>],
    /// Processes of the app, where they are nobody's children.
    pub(crate) remains: &'a [OrphanProcess],
    pub(crate) custody: &'a Custody,
}

/// How lines of the log look in this format.
pub(crate) fn style(format: LogFormat) -> Style {
    match format {
        LogFormat::Json => Style::Json,
        LogFormat::Text => Style::for_text(std::env::var("JOURNAL_STREAM").ok().as_deref()),
    }
}

fn of_kind<'r, 'a>(rows: &'r [Row<'a>], kind: &'r str) -> impl Iterator<Item = Row<'a>> + 'r {
    rows.iter().copied().filter(move |row| row.kind() == kind)
}

/// The core that the rows hold.
pub(crate) fn machine(rows: &[Row<'_>]) -> Result<Lifecycle, Flaw> {
    let lines: Vec<&str> = rows.iter().map(Row::line).collect();
    Lifecycle::load(&lines.join("\n")).map_err(Flaw::new)
}

/// The settings that the rows hold, by their numbers.
pub(crate) fn configs(rows: &[Row<'_>]) -> Result<Vec<Rc<Config>>, Flaw> {
    let mut arguments: Vec<Vec<OsString>> = Vec::new();
    for row in of_kind(rows, "argument") {
        let number = row.number("config")?;
        if number == arguments.len() as u64 {
            arguments.push(Vec::new());
        }
        if number + 1 != arguments.len() as u64 {
            return Err(Flaw::new("the arguments are not in order"));
        }
        if let Some(last) = arguments.last_mut() {
            last.push(row.os("is")?);
        }
    }
    let config = |arguments| cli::settings(arguments).map(Rc::new).map_err(Flaw::new);
    arguments.into_iter().map(config).collect()
}

/// The settings that a row names.
pub(crate) fn config_of(row: Row<'_>, configs: &[Rc<Config>]) -> Result<Rc<Config>, Flaw> {
    let number = row.number("config")?;
    let config = usize::try_from(number)
        .ok()
        .and_then(|number| configs.get(number));
    config
        .cloned()
        .ok_or_else(|| Flaw::new(format_args!("there are no settings {number}")))
}

impl Shell {
    /// Take in all that the rows tell of, but for the children.
    pub(crate) fn fill(&mut self, found: &Found<'_>) -> Result<(), Flaw> {
        let Found {
            rows,
            configs,
            listeners,
            ..
        } = *found;
        let head = Head::of_row(Row::of_kind(rows, state::HEAD)?)?;
        self.core = machine(rows)?;
        self.given.since = head.since;
        self.records.workers_asked = head.workers;
        self.records.refusal = head.refusal;
        self.desk.tickets = Tickets::restore(rows, &self.desk.control)?;
        self.narrator.history = History::restore(rows)?;
        self.queues = Queues::restore(rows)?;
        self.fleet.probes = Probes::restore(rows)?;
        self.succession.draining_orphans = DrainingOrphan::restore(rows, &mut self.journal.spare_fds)?;
        self.journal.closed = save::closed(rows)?;
        self.fill_births(found)?;
        for row in of_kind(rows, "generation") {
            let probe = row.number_if_any("probe")?;
            let probe = probe.map(|number| listener(number, listeners)).transpose()?;
            let known = self.core.generation(row.number("number")?);
            let role = known.map_or(Role::Retired, |generation| generation.role);
            let (number, mut info) = GenerationInfo::restore(row, config_of(row, configs)?, probe, role)?;
            let record = self.core.generation(number).map(|generation| generation.record);
            let birth = record.and_then(|record| self.records.births.get(&record));
            let lent = birth.iter().flat_map(|birth| &birth.listeners);
            info.lent = lent.map(|listener| listener.inode()).collect();
            self.records.generations.insert(number, info);
        }
        for row in of_kind(rows, "note") {
            if let Some(info) = self.records.generations.get_mut(&row.number("generation")?) {
                info.findings.restore(row)?;
            }
        }
        for row in of_kind(rows, "chosen") {
            let key = (row.number("generation")?, row.number("inode")?);
            self.records
                .chosen_flags
                .insert(key, IoMode::read("non-blocking", row)?);
        }
        for row in of_kind(rows, "worker") {
            let (worker, info) = WorkerInfo::restore(row)?;
            self.fleet.workers.insert(worker, info);
        }
        self.fill_sockets_of_workers(found)?;
        self.fleet.strays = Strays::restore(rows)?;
        for row in of_kind(rows, "timer") {
            let saved = SavedTimer::of_row(row)?;
            let running = Running {
                since: saved.since.unwrap_or_else(clock::now),
                deadline: saved.deadline,
            };
            self.timers.resume(Alarm::Core(saved.timer), running);
        }
        for row in of_kind(rows, "event") {
            self.events.push_back(Field::read("is", row)?);
        }
        Ok(())
    }

    fn fill_births(&mut self, found: &Found<'_>) -> Result<(), Flaw> {
        let Found {
            rows,
            configs,
            listeners,
            remains,
            ..
        } = *found;
        for row in of_kind(rows, "birth") {
            let number = row.number("record")?;
            let mut lent = Vec::new();
            for row in of_kind(rows, "lends") {
                if row.number("record")? == number {
                    lent.push(listener(row.number("listener")?, listeners)?);
                }
            }
            let saved = of_kind(rows, "record").find(|row| row.number("number") == Ok(number));
            let saved = saved.ok_or_else(|| Flaw::new(format_args!("there is no record {number}")))?;
            let processes = self.processes_of(number, rows, remains)?;
            let record = BirthRecord::restore(
                &saved,
                &mut self.journal.spare_fds,
                &processes,
                &self.given.inherited_environment,
            );
            let record = record.map_err(|flaw| LostRecord {
                why: flaw.to_string(),
                row: format!("{}\n", saved.line()),
            });
            let birth = Birth {
                config: config_of(row, configs)?,
                record,
                listeners: lent,
            };
            self.records.births.insert(Record(number), birth);
        }
        Ok(())
    }

    /// The processes that were started from this record, as far as the rows know them.
    fn processes_of(
        &self,
        record: Number,
        rows: &[Row<'_>],
        remains: &[OrphanProcess],
    ) -> Result<Vec<Pid>, Flaw> {
        let is_of_record = |orphan: &&OrphanProcess| {
            let number = orphan.worker.generation;
            // A generation of which only the log tells is not in the core yet: a record has the number of the one it was made for.
            let generation = self.core.generation(number);
            generation.map_or(number == record, |generation| generation.record == Record(record))
        };
        let remains = remains.iter().filter(is_of_record);
        let mut pids: Vec<Pid> = remains.map(|orphan| orphan.proved.pid).collect();
        for row in of_kind(rows, "worker") {
            let generation = self.core.generation(row.number("generation")?);
            if generation.is_some_and(|generation| generation.record == Record(record))
                && row.number_if_any("pid")?.is_some()
            {
                pids.push(Pid::from_raw(row.parsed("pid")?));
            }
        }
        Ok(pids)
    }

    fn fill_sockets_of_workers(&mut self, found: &Found<'_>) -> Result<(), Flaw> {
        let rows = found.rows;
        for row in of_kind(rows, "notify") {
            let worker: Worker = row.parsed("worker")?;
            if let Some(info) = self.fleet.workers.get_mut(&worker) {
                let (spare_fds, guard) = (&mut self.journal.spare_fds, found.custody.guard());
                info.notify = Some(NotifySocket::restore(row, spare_fds, info.uid, guard)?);
            }
        }
        for row in of_kind(rows, "report") {
            let worker: Worker = row.parsed("worker")?;
            if let Some(info) = self.fleet.workers.get_mut(&worker) {
                info.report = ReportPipe::restore(&row, &mut self.journal.spare_fds)?;
            }
        }
        Ok(())
    }

    /// Take charge again of a child of this process.
    fn keep_child(&mut self, child: SavedChild) -> Result<(), Flaw> {
        let name = save::pidfd_name(child.key);
        match (self.journal.spare_fds.take(&name), child.leader) {
            (Some(pidfd), leader) => self
                .fleet
                .children
                .restore(child.key, child.pid, pidfd, child.kin, leader),
            (None, Leader::Reaped) => self.fleet.children.adopt_group(child.key, child.pid, child.began),
            (None, Leader::Alive | Leader::Unreaped(_) | Leader::Told | Leader::Zombie) => {
                return Err(Flaw::new(format_args!("the fd {name} is missing")));
            }
        }
        Ok(())
    }

    /// Put all that can be heard of workers into the poll set.
    pub(crate) fn watch_all(&mut self) -> Result<(), String> {
        let watched = |errno| format!("epoll: {}", crate::sys::errno_text(errno));
        for (worker, info) in &self.fleet.workers {
            if let Some(notify) = &info.notify {
                self.sources
                    .add(Source::Notify(*worker), notify.as_fd())
                    .map_err(watched)?;
            }
            if let Some(report) = &info.report {
                self.sources
                    .add(Source::Report(*worker), report.as_fd())
                    .map_err(watched)?;
            }
        }
        for child in self.fleet.children.saved() {
            match (child.key, child.kin, child.leader, child.pidfd) {
                (Child::Worker(worker), Kin::Adopted, Leader::Alive, Some(pidfd)) => {
                    self.sources.add(Source::Exit(worker), pidfd).map_err(watched)?
                }
                (Child::Worker(_) | Child::Probe(..) | Child::Check, ..) => {}
            }
        }
        Ok(())
    }
}

fn listener(number: u64, listeners: &[Rc<Listener>]) -> Result<Rc<Listener>, Flaw> {
    let found = usize::try_from(number)
        .ok()
        .and_then(|number| listeners.get(number));
    found
        .cloned()
        .ok_or_else(|| Flaw::new(format_args!("there is no listener {number}")))
}
