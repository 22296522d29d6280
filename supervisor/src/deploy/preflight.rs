//! What is run before a release gets its name: the program itself, or a command in its directory.

use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;

use super::ending::{Ending, Outcome, Step, pass_on, say};
use super::running::{ASKS_AT_TERMINAL, Finish, Running, Streams};
use super::wanted::Preflight;
use super::{Action, Deploy};
use crate::job::Ended;

impl Deploy {
    /// `directory` is that of the copy.
    pub(super) fn run_preflight(&mut self, program: &Path, directory: &Path) -> Step<()> {
        let (shown, mut command) = match &self.wanted.preflight {
            None => return Ok(()),
            Some(Preflight::Program(arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments.split_whitespace());
                let name = self.wanted.program_in_release(&self.name);
                (format!("{} {arguments}", name.display()), command)
            }
            Some(Preflight::Shell(script)) => {
                let mut command = Command::new("/bin/sh");
                command.args(["-c", script]).current_dir(directory);
                (script.clone(), command)
            }
        };
        let time = self.wanted.preflight_timeout;
        say(format_args!("preflight: {shown}"));
        let failed = |cause: String| {
            Err(Ending::new(
                Outcome::PreflightFailed,
                format_args!("preflight {shown}: {cause}"),
            ))
        };
        let label = self.label_for_image(&mut command);
        let said = Running::follow(
            command,
            Streams::Together,
            time,
            &mut self.interruption,
            &mut pass_on,
        );
        if let Some(label) = label {
            self.end_preflight(&label);
        }
        let said = match said {
            Ok(said) => said,
            Err(cause) => return failed(cause),
        };
        self.interruption.heed()?;
        let how = match said.finish {
            Finish::Ended(Ended::Exited(0)) => return Ok(()),
            Finish::Ended(Ended::Exited(status)) => format!("exited with status {status}"),
            Finish::Ended(Ended::BySignal(number)) => Signal::try_from(number).map_or_else(
                |_| format!("killed by signal {number}"),
                |signal| format!("killed by {signal}"),
            ),
            Finish::TimedOut | Finish::Interrupted => {
                return failed(format!("not done within {} s", time.as_secs()));
            }
            Finish::AsksAtTerminal => return failed(ASKS_AT_TERMINAL.to_owned()),
        };
        if said.last_words.is_empty() {
            failed(how)
        } else {
            failed(format!("{how}; its last words: \"{}\"", said.last_words))
        }
    }

    /// The containers of an image's preflight are known by a label.
    fn label_for_image(&self, command: &mut Command) -> Option<String> {
        match self.wanted.action {
            Action::DeployImage(_) => {
                let (variable, label) = Self::preflight_label();
                command.env(variable, &label);
                Some(label)
            }
            Action::Deploy(_) | Action::Rollback(_) | Action::List => None,
        }
    }
}
