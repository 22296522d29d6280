//! The birth record: what every worker of a generation is started from.

use super::LaunchError;
use super::binary::Binary;
use super::program::{InheritedEnvironment, Program, Wanted};
use super::spawn::{self, Errand, Extra, Lent, OwnPid, Question, Spawned, WorkerIdentity};
use crate::state::FixedRows;

/// What a generation was started with, fixed when a reload creates it: the open binary, arguments, environment,
/// open working directory, user, umask, limits. Its sockets are lent at each start. Dropping it closes its fds.
#[derive(Debug)]
pub(crate) struct BirthRecord {
    pub(super) program: Program,
    pub(super) own_pid: OwnPid,
    /// Its row.
    pub(super) saved: FixedRows,
}

impl BirthRecord {
    /// Make the wanted command definite: look up paths, open files, compute the environment.
    ///
    /// # Errors
    /// One line: `exec ./app: no such file or directory`, `chdir ...`, `environment variable ...`.
    pub(crate) fn resolve(
        wanted: &Wanted<'_>,
        inherited_environment: &InheritedEnvironment,
    ) -> Result<Self, LaunchError> {
        Ok(Self {
            program: Program::resolve(wanted, inherited_environment)?,
            own_pid: wanted.own_pid,
            saved: FixedRows::default(),
        })
    }

    /// What is executed.
    pub(crate) fn binary(&self) -> &Binary {
        self.program.binary()
    }

    /// The names of the files that a further start from this record would find replaced: an interpreter opens its script by name.
    /// Costs a look at each file that the command line names.
    pub(crate) fn replaced(&self) -> Vec<String> {
        self.program.replaced()
    }

    /// The app has started: what it made anew by then is its own (a log, a pid file), and no part of it.
    pub(crate) fn forget_own_files(&mut self) {
        self.program.forget_own_files();
        self.saved = FixedRows::default();
    }

    /// Start one worker with these sockets at fd 3 and up. It is on its way when this returns; its report tells how far it came.
    ///
    /// # Errors
    /// If no process can be made: `fork: no more processes allowed (...)`. Nothing is left of it then.
    pub(crate) fn spawn(
        &self,
        sockets: &[Lent<'_>],
        worker: WorkerIdentity,
        extra: &Extra<'_>,
    ) -> Result<Spawned, LaunchError> {
        spawn::worker(&self.program, sockets, self.own_pid, worker, extra)
    }

    /// Start `/bin/sh -c command` as the app's user, in its directory and environment, with the variables of a probe set.
    /// The listeners are there for the placeholders alone.
    ///
    /// # Errors
    /// As for [`BirthRecord::spawn`].
    pub(crate) fn spawn_shell(
        &self,
        listeners: &[Lent<'_>],
        worker: WorkerIdentity,
        question: &Question<'_>,
    ) -> Result<Spawned, LaunchError> {
        spawn::shell(&self.program, listeners, worker, question)
    }

    /// Start a hook: `/bin/sh -c command` as the app's user, in its directory and environment, with some variables more. All that it
    /// writes goes to the given fd. The listeners are there for the placeholders alone.
    ///
    /// # Errors
    /// As for [`BirthRecord::spawn`].
    pub(crate) fn spawn_hook(
        &self,
        listeners: &[Lent<'_>],
        worker: WorkerIdentity,
        errand: &Errand<'_>,
    ) -> Result<Spawned, LaunchError> {
        spawn::hook(&self.program, listeners, worker, errand)
    }

    /// Whether its arguments or variables ask for a directory of the generation's own.
    pub(crate) fn has_runtime(&self) -> bool {
        self.program.has_runtime()
    }
}
