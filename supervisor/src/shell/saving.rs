//! The state of the whole loop, for whoever goes on with it.

use super::{Ending, Shell, ShellError};
use crate::config::Invocation;
use crate::launch::Heritage;
use crate::state::{Flaw, Passed, Rows};
use crate::upgrade::Saved;

impl Shell {
    /// The rows of everything. To be asked at the end of a turn, when everything is settled.
    pub(super) fn rows(&self) -> Vec<u8> {
        let mut rows = Rows::default();
        rows.begin("segue-state")
            .number("version", 1)
            .text("by", env!("CARGO_PKG_VERSION"))
            .number("pid", std::process::id().into());
        self.control.save(&mut rows);
        self.desk.save(&mut rows);
        self.history.save(&mut rows);
        if let Some(file) = &self.pid_file {
            file.save(&mut rows);
        }
        rows.finish()
    }

    /// The fds that the rows tell of.
    pub(super) fn passed(&self) -> Passed<'_> {
        let mut fds = Passed::new();
        self.control.pass_on(&mut fds);
        if let Some(file) = &self.pid_file {
            file.pass_on(&mut fds);
        }
        fds
    }
}

/// The loop of a state that was handed over. Nothing outside is touched.
pub(crate) fn restore(saved: Saved, invocation: Invocation, heritage: Heritage) -> Result<Shell, Flaw> {
    let _ = (saved, invocation, heritage);
    Err(Flaw::new("this version does not go on with one yet"))
}

/// Go on with it.
pub(crate) fn go_on(mut shell: Shell) -> Result<Ending, ShellError> {
    shell.go_round()
}
