//! Podman, asked by its command line.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::interruption::Interruption;
use super::running::{ASKS_AT_TERMINAL, Finish, Running, Said, Streams};
use crate::job::Ended;

/// How long podman may take for all but a pull: it may wait for the locks of others.
const ENGINE_TIME: Duration = Duration::from_secs(60);

/// Podman, or what is called instead.
#[derive(Debug, Clone)]
pub(super) struct Engine {
    command: Vec<String>,
}

impl Engine {
    pub(super) fn new(command: &str) -> Self {
        let command = command.split_whitespace().map(str::to_owned).collect();
        Self { command }
    }

    fn start(&self, words: &[&str], time: Duration, interruption: &mut Interruption) -> Result<Said, String> {
        let (program, first) = self.command.split_first().ok_or("--engine is empty")?;
        let mut command = Command::new(program);
        command.args(first).args(words);
        // Podman answers a ^C with 1, which is also its "no" (podman-image-exists(1)). Only what stands before it may ask for a password.
        let streams = match first {
            [] => Streams::Shielded,
            _ => Streams::Apart,
        };
        Running::follow(command, streams, time, interruption, &mut |_| {})
    }

    /// Runs it with these arguments, and gives what it prints.
    ///
    /// # Errors
    /// The cause, in its last words.
    pub(super) fn run(
        &self,
        words: &[&str],
        time: Duration,
        interruption: &mut Interruption,
    ) -> Result<String, String> {
        let said = self.start(words, time, interruption)?;
        match said.finish {
            Finish::Ended(Ended::Exited(0)) => {
                Ok(String::from_utf8_lossy(&said.answer).trim_end().to_owned())
            }
            Finish::Ended(_) | Finish::TimedOut | Finish::Interrupted | Finish::AsksAtTerminal => {
                Err(why(&said, time))
            }
        }
    }

    /// The same for what is soon done and not to be interrupted.
    pub(super) fn ask(&self, words: &[&str]) -> Result<String, String> {
        self.run(words, ENGINE_TIME, &mut Interruption::of_nobody())
    }

    /// Whether it has this image.
    ///
    /// # Errors
    /// It could not look: its storage is locked or broken, say. Only exit status 1 means that there is none
    /// (podman-image-exists(1)).
    pub(super) fn has(&self, image: &str) -> Result<bool, String> {
        let words = ["image", "exists", image];
        let said = self.start(&words, ENGINE_TIME, &mut Interruption::of_nobody())?;
        match said.finish {
            Finish::Ended(Ended::Exited(0)) => Ok(true),
            Finish::Ended(Ended::Exited(1)) => Ok(false),
            Finish::Ended(_) | Finish::TimedOut | Finish::Interrupted | Finish::AsksAtTerminal => {
                Err(why(&said, ENGINE_TIME))
            }
        }
    }

    /// Whether it says itself that it cannot show the processes of a container.
    fn shows_none(&self, container: &str) -> bool {
        let words = ["top", container, "pid"];
        let said = self.start(&words, ENGINE_TIME, &mut Interruption::of_nobody());
        said.is_ok_and(|said| matches!(said.finish, Finish::Ended(Ended::Exited(1..))))
    }

    /// Of a container that had to be killed podman believes that it runs. (One that is just being created has no pid yet.) A
    /// living one is never taken for dead: not where /proc hides the processes of others, nor where the engine sees other ones.
    pub(super) fn clear_dead(&self, app: &str) {
        if !Path::new("/proc/1").exists() {
            return;
        }
        let filter = format!("label=segue={app}");
        let listed = self.ask(&["ps", "--filter", &filter, "--format", "{{.ID}} {{.Pid}}"]);
        for line in listed.unwrap_or_default().lines() {
            let Some((container, pid)) = line.split_once(' ') else {
                continue;
            };
            let is_dead = pid
                .parse::<u32>()
                .is_ok_and(|pid| pid != 0 && !Path::new(&format!("/proc/{pid}")).exists());
            if is_dead && self.shows_none(container) {
                let _ = self.ask(&["rm", "--force", container]);
            }
        }
    }

    pub(super) fn is_installed(&self) -> bool {
        let program = Path::new(self.program());
        if program.components().count() > 1 {
            return program.exists();
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
    }

    pub(super) fn program(&self) -> &str {
        self.command.first().map_or("", String::as_str)
    }

    pub(super) fn shown(&self) -> String {
        self.command.join(" ")
    }
}

/// Why it has not done what it was run for, in one line: its last words, if it had any.
fn why(said: &Said, time: Duration) -> String {
    match said.finish {
        Finish::Ended(ended) => {
            let words = said.last_words.rsplit(": ").next().unwrap_or_default();
            if words.is_empty() {
                ended.text()
            } else {
                words.to_owned()
            }
        }
        Finish::TimedOut => format!("not done within {} s", time.as_secs()),
        Finish::Interrupted => "interrupted".to_owned(),
        Finish::AsksAtTerminal => ASKS_AT_TERMINAL.to_owned(),
    }
}
