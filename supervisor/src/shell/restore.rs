//! From rows and fds to a loop that can go on: what `save.rs` has written. Nothing is done outside: the check of an
//! upgrade does the same, to see whether a state can be read.

use super::{Alarm, Begin, Shell};
use crate::clock::{self, Running};
use crate::config::{Config, Invocation, LogFormat, LogTime};
use crate::control::Control;
use crate::keeper::Keeper;
use crate::launch::{INHERITED_ENVIRONMENT, InheritedEnvironment};
use crate::listeners::{self, Absent, Inherited};
use crate::log::{Log, Style, Times};
use crate::manager::Manager;
use crate::pid_file::PidFile;
use crate::shell::begin::assemble;
use crate::shell::desk::tickets::Tickets;
use crate::shell::destinations::note_pointed;
use crate::shell::fleet::probe::slots_of;
use crate::shell::fleet::saved::SavedChild;
use crate::shell::fleet::{Ground, ground};
use crate::shell::found::{Found, config_of, configs, machine};
use crate::shell::inspection::queues::Queues;
use crate::shell::narrator::history::History;
use crate::shell::save::{self, Head, SavedTimer};
use crate::shell::succession::draining_orphans::{DrainingOrphan, DrainingOrphans};
use crate::shell::succession::predecessor::Unadopted;
use crate::shell::succession::upgrading::waiter;
use crate::state::{self, Custody, Fds, Field, Flaw, Restored, Row, Whole as _};
use crate::upgrade::Saved;

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
    inherited_environment.limits =
        InheritedEnvironment::restore(&Row::of_kind(&rows, INHERITED_ENVIRONMENT)?)?.limits;
    let files = state::FILES.map(|name| {
        fds.take(name)
            .ok_or_else(|| Flaw::new(format_args!("the fd {name} is missing")))
    });
    let [first, second] = files;
    let place = control.place().clone();
    let begin = Begin {
        log: Log::new(&config.name, style(&config)),
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
    let (mut shell, _) = assemble(begin).map_err(Flaw::new)?;
    shell.journal.spare_fds = fds;
    let spare_fds = &mut shell.journal.spare_fds;
    let listeners = listeners::restore(&rows, spare_fds, Absent::IsAFlaw, &custody)?;
    let found = Found {
        rows: &rows,
        configs: &configs,
        listeners: &listeners,
        remains: &[],
        custody: &custody,
    };
    fill(&mut shell, &found)?;
    for child in SavedChild::all(&rows)? {
        shell.fleet.keep_child(child, &mut shell.journal.spare_fds)?;
    }
    let watched = shell.fleet.watch_all(&mut shell.sources);
    watched.map_err(Flaw::new)?;
    shell.fleet.hold_the_childless();
    let ground = ground!(shell);
    shell
        .fleet
        .probes
        .note_open_doors(|number| slots_of(number, &ground));
    shell.succession.before = Some((saved.by, waiter(&rows)?));
    Ok(Restored::new(shell, custody))
}

/// Let each room take in what the rows tell of it; the children are left to the caller.
pub(crate) fn fill(shell: &mut Shell, found: &Found<'_>) -> Result<(), Flaw> {
    let (rows, spare_fds) = (found.rows, &mut shell.journal.spare_fds);
    let head = Head::of_row(Row::of_kind(rows, state::HEAD)?)?;
    shell.core = machine(rows)?;
    shell.given.since = head.since;
    shell.records.workers_asked = head.workers;
    shell.records.refusal = head.refusal;
    shell.desk.tickets = Tickets::restore(rows, &shell.desk.control)?;
    shell.narrator.history = History::restore(rows)?;
    shell.queues = Queues::restore(rows)?;
    let draining = DrainingOrphan::restore(rows, spare_fds)?;
    shell.succession.draining = DrainingOrphans::new(draining);
    shell.journal.closed = save::closed(rows)?;
    let environment = &shell.given.inherited_environment;
    shell.records.fill(found, &shell.core, spare_fds, environment)?;
    shell.fleet.fill(found, spare_fds)?;
    for row in found.of_kind("timer") {
        let saved = SavedTimer::of_row(row)?;
        let running = Running {
            since: saved.since.unwrap_or_else(clock::now),
            deadline: saved.deadline,
        };
        shell.timers.resume(Alarm::Core(saved.timer), running);
    }
    for row in found.of_kind("event") {
        shell.events.push_back(Field::read("is", row)?);
    }
    note_pointed(&ground!(shell));
    Ok(())
}

/// How lines of the log look by these settings.
pub(crate) fn style(config: &Config) -> Style {
    let times = match config.log_time {
        LogTime::Auto => Times::WhereNobodyElse,
        LogTime::Always => Times::Told,
        LogTime::Never => Times::Untold,
    };
    match config.log_format {
        LogFormat::Json => Style::Json,
        LogFormat::Text => Style::for_text(std::env::var("JOURNAL_STREAM").ok().as_deref(), times),
    }
}
