//! What `segue run` needs before its loop begins: the settings, the place, the control socket, the files; and what a supervisor of this
//! name has left that was killed. It does not know the loop.

use std::fmt;
use std::rc::Rc;

use crate::config::{self, Config, ConfigError, Invocation};
use crate::control::Control;
use crate::keeper::Keeper;
use crate::launch::InheritedEnvironment;
use crate::listeners::{self, Inherited};
use crate::log::Log;
use crate::manager::Manager;
use crate::pid_file::PidFile;
use crate::place::{self, Place, StalePolicy, Surroundings};
use crate::shell::{self, AdoptionDecision, Begin, PredecessorState, Unadopted};
use crate::state::{Custody, Fds, Guard, Restored};
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
/// killed. Each step takes what the one before it gives.
///
/// # Errors
/// One line: a place, a socket or a file is not to be had, or somebody else has it.
pub(crate) fn open(
    invocation: Invocation,
    given: Given,
    inherited_environment: InheritedEnvironment,
) -> Result<(Restored<Begin>, Option<PredecessorState>), Refusal> {
    let born = Born {
        invocation,
        log: Log::new(&given.config.name, shell::style(&given.config)),
        config: given.config,
        inherited_environment,
    };
    let looked = Looked::around(&born)?;
    let claimed = looked.claim(&born)?;
    let known = claimed.assess(&born)?;
    let settled = known.settle(given.instead_of, &born)?;
    settled.become_supervisor(born)
}

/// One line of whatever has gone wrong.
fn text(error: impl fmt::Display) -> String {
    error.to_string()
}

/// What this process has from its birth and its command line. It stays as it is through all steps.
struct Born {
    invocation: Invocation,
    config: Rc<Config>,
    inherited_environment: InheritedEnvironment,
    log: Log,
}

/// It is known where the instance lies, and the sockets that we were given are taken. Nothing of another has been touched.
struct Looked {
    place: Place,
    inherited: Inherited,
    /// Why sockets that were meant for another process are passed over.
    stale_listeners: Option<String>,
    /// What a predecessor has left; or what systemd has kept of it, where that is all.
    found: Result<PredecessorState, Fds>,
}

impl Looked {
    fn around(born: &Born) -> Result<Self, Refusal> {
        let config = &born.config;
        let around = Surroundings::of_this_process();
        let place = place::choose(&config.name, config.control.as_deref(), &around).map_err(text)?;
        // Before anything of ours is at fd 3.
        let variables = &born.inherited_environment.variables;
        let stale_listeners = listeners::stale(variables);
        let (inherited, stored) = Inherited::from_environment(variables).map_err(text)?;
        let found = PredecessorState::find(&place, stored);
        if found.is_err() {
            shell::refuse_orphans(&place)?;
        }
        Ok(Self {
            place,
            inherited,
            stale_listeners,
            found,
        })
    }

    fn claim(self, born: &Born) -> Result<Claimed, Refusal> {
        let custody = Custody::new();
        let stale = match &self.found {
            // Until it is taken over, nothing must be taken away from it, whatever fails.
            Ok(_) => StalePolicy::Adopted(&custody),
            Err(_) => StalePolicy::Removed,
        };
        let group = born.config.control_group.as_deref();
        let control = Control::open(&self.place, group, stale).map_err(text)?;
        let guard = stale.guard();
        // That of an earlier start.
        let _ = std::fs::remove_file(self.place.stop_mark());
        Ok(Claimed {
            looked: self,
            control,
            custody,
            guard,
        })
    }
}

/// The lock and the control socket are ours: a predecessor is dead for certain, and does not write any more.
struct Claimed {
    looked: Looked,
    control: Control,
    custody: Custody,
    /// That of files which are made from now on.
    guard: Guard,
}

impl Claimed {
    fn assess(self, born: &Born) -> Result<Known, Refusal> {
        let Looked {
            place,
            inherited,
            stale_listeners,
            found,
        } = self.looked;
        let found = match found {
            Ok(predecessor) => assess(predecessor, &place, &born.log, &self.custody)?,
            Err(stored) => Found {
                predecessor: None,
                stored,
                left: Unadopted::default(),
            },
        };
        Ok(Known {
            inherited,
            complaints: stale_listeners.into_iter().collect(),
            found,
            control: self.control,
            custody: self.custody,
            guard: self.guard,
        })
    }
}

/// It is known whether an app is adopted. Nothing of it has been touched.
struct Known {
    inherited: Inherited,
    /// What is to be told, once nothing can be refused any more.
    complaints: Vec<String>,
    found: Found,
    control: Control,
    custody: Custody,
    guard: Guard,
}

impl Known {
    /// Go on in the directories of the app that is adopted, or begin in new ones; with settings that could not be read only the first.
    fn settle(mut self, instead_of: Option<ConfigError>, born: &Born) -> Result<Settled, Refusal> {
        match &self.found.predecessor {
            Some(predecessor) => predecessor.pass_on_series(&mut self.control).map_err(text)?,
            None => {
                for error in self.control.begin_anew(self.found.left.remains) {
                    born.log.warning(&error.to_string());
                }
            }
        }
        if let Some(error) = &instead_of {
            if self.found.predecessor.is_none() {
                return Err(Given::refused(error));
            }
            born.log
                .error(&format!("{error}; the adopted app keeps its old settings"));
        }
        let path = born.config.pid_file.as_deref();
        let pid_file = path.map(|path| PidFile::write(path, self.guard));
        Ok(Settled {
            pid_file: pid_file.transpose().map_err(text)?,
            place: self.control.place().clone(),
            control: self.control,
            inherited: self.inherited,
            complaints: self.complaints,
            found: self.found,
            custody: self.custody,
        })
    }
}

/// The place is as it stays, and others may read whose it is.
struct Settled {
    place: Place,
    control: Control,
    pid_file: Option<PidFile>,
    inherited: Inherited,
    complaints: Vec<String>,
    found: Found,
    custody: Custody,
}

impl Settled {
    /// What changes this process itself, and the files in which its state will be kept.
    fn become_supervisor(
        mut self,
        born: Born,
    ) -> Result<(Restored<Begin>, Option<PredecessorState>), Refusal> {
        sys::lower_own_oom_score();
        sys::become_subreaper().map_err(|errno| {
            format!(
                "become the parent of orphaned processes (PR_SET_CHILD_SUBREAPER): {}",
                sys::errno_text(errno)
            )
        })?;
        let (manager, mut complaints) = Manager::from_environment(&born.inherited_environment.variables);
        let state_files = self.place.state_files().clone();
        let files = self
            .found
            .predecessor
            .as_mut()
            .and_then(PredecessorState::take_files);
        let keeper = match files {
            Some(files) => Keeper::on(files, state_files),
            None => {
                let (keeper, complaint) = Keeper::open(state_files)?;
                complaints.extend(complaint);
                keeper
            }
        };
        for complaint in complaints.iter().chain(&self.complaints) {
            born.log.warning(complaint);
        }
        let begin = Begin {
            invocation: born.invocation,
            config: born.config,
            place: self.place,
            control: self.control,
            inherited: self.inherited,
            inherited_environment: born.inherited_environment,
            log: born.log,
            manager,
            origin: Origin::of_this_process(),
            pid_file: self.pid_file,
            keeper,
            stored: self.found.stored,
            left: self.found.left,
        };
        Ok((Restored::new(begin, self.custody), self.found.predecessor))
    }
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
    place: &Place,
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
