//! What `segue run` needs before its loop begins: the settings, the place, the control socket, the files; and what a supervisor of this
//! name has left that was killed. It does not know the loop.

use std::rc::Rc;

use crate::config::{self, Config, ConfigError, Invocation};
use crate::control::Control;
use crate::keeper::Keeper;
use crate::launch::InheritedEnvironment;
use crate::listeners::{self, Inherited};
use crate::log::Log;
use crate::manager::Manager;
use crate::pid_file::PidFile;
use crate::place::{self, StalePolicy, Surroundings};
use crate::shell::{self, AdoptionDecision, Begin, PredecessorState, Unadopted};
use crate::state::{Custody, Fds, Restored};
use crate::sys;
use crate::upgrade::Origin;
use crate::{FAILED, USAGE};

/// Why `segue run` does not begin, in one line, and the exit code for it.
pub(crate) struct Refusal {
    pub(crate) text: String,
    pub(crate) code: u8,
}

impl From<String> for Refusal {
    fn from(text: String) -> Self {
        Self { text, code: FAILED }
    }
}

/// The settings to begin with.
pub(crate) struct Given {
    config: Rc<Config>,
    /// Why they are those of a predecessor, and good only to adopt its app.
    instead_of: Option<ConfigError>,
}

impl Given {
    /// By the flags and the file; or, where those cannot be read, by what a predecessor has left.
    ///
    /// # Errors
    /// The flags or the file cannot be understood, and nobody has left anything.
    pub(crate) fn read(invocation: &Invocation) -> Result<Self, Refusal> {
        let error = match config::resolve(invocation) {
            Ok(config) => {
                let config = Rc::new(config);
                return Ok(Self {
                    config,
                    instead_of: None,
                });
            }
            Err(error) => error,
        };
        match shell::settings_left(invocation) {
            Some(config) => Ok(Self {
                config,
                instead_of: Some(error),
            }),
            None => Err(Self::refused(&error)),
        }
    }

    fn refused(error: &ConfigError) -> Refusal {
        Refusal {
            text: error.to_string(),
            code: USAGE,
        }
    }
}

/// Everything that must be there before the first birth record is made, and what a supervisor of this name has left that was
/// killed.
///
/// # Errors
/// One line: a place, a socket or a file is not to be had, or somebody else has it.
pub(crate) fn open(
    invocation: Invocation,
    given: Given,
    inherited_environment: InheritedEnvironment,
) -> Result<(Restored<Begin>, Option<PredecessorState>), Refusal> {
    let config = given.config;
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let log = Log::new(&config.name, shell::style(config.log_format));
    let place = place::choose(
        &config.name,
        config.control.as_deref(),
        &Surroundings::of_this_process(),
    )
    .map_err(|error| text(&error))?;
    // Before anything of ours is at fd 3.
    let stale_listeners = listeners::stale(&inherited_environment.variables);
    let (inherited, stored) =
        Inherited::from_environment(&inherited_environment.variables).map_err(|error| text(&error))?;
    let found = match PredecessorState::find(&place, stored) {
        Err(stored) => {
            shell::refuse_orphans(&place)?;
            Err(stored)
        }
        Ok(predecessor) => Ok(predecessor),
    };
    let custody = Custody::new();
    let stale = match &found {
        // Until it is taken over, nothing must be taken away from it, whatever fails.
        Ok(_) => StalePolicy::Adopted(&custody),
        Err(_) => StalePolicy::Removed,
    };
    let mut control =
        Control::open(&place, config.control_group.as_deref(), stale).map_err(|error| text(&error))?;
    // That of an earlier start.
    let _ = std::fs::remove_file(place.stop_mark());
    let Found {
        mut predecessor,
        stored,
        left,
    } = match found {
        Ok(predecessor) => assess(predecessor, &place, &log, &custody)?,
        Err(stored) => Found {
            predecessor: None,
            stored,
            left: Unadopted::default(),
        },
    };
    match &predecessor {
        Some(predecessor) => predecessor
            .pass_on_series(&mut control)
            .map_err(|flaw| text(&flaw))?,
        None => {
            for error in control.begin_anew(left.remains) {
                log.warning(&error.to_string());
            }
        }
    }
    let place = control.place().clone();
    if let Some(error) = &given.instead_of {
        if predecessor.is_none() {
            return Err(Given::refused(error));
        }
        log.error(&format!("{error}; the adopted app keeps its old settings"));
    }
    let pid_file = config
        .pid_file
        .as_deref()
        .map(|path| PidFile::write(path, stale.guard()))
        .transpose()
        .map_err(|error| text(&error))?;
    sys::lower_own_oom_score();
    sys::become_subreaper().map_err(|errno| {
        format!(
            "become the parent of orphaned processes (PR_SET_CHILD_SUBREAPER): {}",
            sys::errno_text(errno)
        )
    })?;
    let (manager, mut complaints) = Manager::from_environment(&inherited_environment.variables);
    let keeper = match predecessor.as_mut().and_then(PredecessorState::take_files) {
        Some(files) => Keeper::on(files, place.state_files().clone()),
        None => {
            let (keeper, complaint) = Keeper::open(place.state_files().clone())?;
            complaints.extend(complaint);
            keeper
        }
    };
    complaints.extend(stale_listeners);
    for complaint in &complaints {
        log.warning(complaint);
    }
    let begin = Begin {
        invocation,
        config,
        place,
        control,
        inherited,
        inherited_environment,
        log,
        manager,
        origin: Origin::of_this_process(),
        pid_file,
        keeper,
        stored,
        left,
    };
    Ok((Restored::new(begin, custody), predecessor))
}

/// What was found of a predecessor.
struct Found {
    /// It is to be adopted.
    predecessor: Option<PredecessorState>,
    /// Or else what systemd has kept of it, which nobody needs.
    stored: Fds,
    /// And what of it goes on.
    left: Unadopted,
}

/// Decide what is to be done with what a predecessor has left, which is dead for certain: its lock is ours.
///
/// # Errors
/// One line: the app of a predecessor lives, and the state by which it could be adopted is lost.
fn assess(
    mut predecessor: PredecessorState,
    place: &place::Place,
    log: &Log,
    custody: &Custody,
) -> Result<Found, String> {
    // What it was doing last may have been written since it was found.
    predecessor.read_again(place);
    let (left, told) = match predecessor.assess(place) {
        AdoptionDecision::Adopt => {
            return Ok(Found {
                predecessor: Some(predecessor),
                stored: Fds::default(),
                left: Unadopted::default(),
            });
        }
        AdoptionDecision::Leave(told) => {
            let left = predecessor.leave(place, log, custody);
            let left = left.map_err(|flaw| flaw.to_string())?;
            (left, told)
        }
        AdoptionDecision::Unknown(text) => return Err(text),
        AdoptionDecision::Unreadable(flaw) => {
            shell::refuse_orphans(place)?;
            let told = format!("the app of an earlier supervisor cannot be adopted: {flaw}");
            (Unadopted::default(), Some(told))
        }
    };
    told.iter().for_each(|line| log.warning(line));
    Ok(Found {
        predecessor: None,
        stored: predecessor.into_stored(),
        left,
    })
}
