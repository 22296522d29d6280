//! How a deploy ends: a typed outcome, an exit code, one line for people.

use std::fmt::Display;
use std::io::Write as _;
use std::process::ExitCode;

use nix::sys::signal::Signal;
use serde::Serialize;

use crate::protocol::{Probation, one_line};

/// The longest line that is said, in characters. It bounds what an app's own words can fill.
const LINE_MAX: usize = 4000;

/// A step that goes on, or ends the deploy.
pub(super) type Step<T> = Result<T, Box<Ending>>;

/// How the outcome is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// One sentence: on stdout if all is well, else on stderr.
    Words,
    /// One JSON object on stdout. The sentence goes to stderr.
    Json,
}

/// What became of it, in one word for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Outcome {
    /// The release serves.
    Ok,
    /// It did already.
    AlreadyServes,
    /// It is in place, and nothing was reloaded.
    InPlace,
    /// Every check was made, and nothing was changed.
    DryRun,
    /// The command line is wrong.
    Misused,
    /// Nothing was changed: a check or a step before the reload failed.
    Refused,
    /// Nothing was changed: the preflight failed.
    PreflightFailed,
    /// The reload failed.
    Failed,
    /// The new version took over, and was rolled back.
    RolledBack,
    /// No supervisor answers; nothing was changed.
    NoSupervisor,
    /// It is still to come: the next run resolves it.
    Pending,
    /// A signal came.
    Interrupted,
}

/// The end of a deploy.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ending {
    pub(super) outcome: Outcome,
    code: u8,
    pub(super) text: String,
    /// What is known of the reload, if there was one.
    pub(super) facts: Facts,
}

/// What is told to programs beside the outcome.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Facts {
    /// The release that was to serve.
    pub(super) release: Option<String>,
    /// The release that `current` leads to.
    pub(super) current: Option<String>,
    /// The generation that the reload brought, or was to bring.
    pub(super) generation: Option<u64>,
    /// How far its probation has come.
    pub(super) probation: Option<Probation>,
    /// What kind of failure it was.
    pub(super) cause: Option<String>,
    /// The failure in one line, without who serves.
    pub(super) reason: Option<String>,
    /// What the version that failed said at last.
    pub(super) last_lines: Vec<String>,
    /// Who serves, as far as that is known.
    pub(super) serving: Option<Serves>,
}

/// Who serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Serves {
    pub(super) release: Option<String>,
    pub(super) generation: u64,
    pub(super) since: String,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Told<'a> {
    outcome: Outcome,
    action: &'a str,
    exit: u8,
    name: &'a str,
    root: Option<String>,
    #[serde(flatten)]
    facts: &'a Facts,
    message: &'a str,
}

impl Outcome {
    fn code(self) -> u8 {
        match self {
            Self::Ok | Self::AlreadyServes | Self::InPlace | Self::DryRun => 0,
            // That of an interruption depends on the signal.
            Self::Refused | Self::PreflightFailed | Self::Failed | Self::RolledBack | Self::Interrupted => 1,
            Self::Misused => 2,
            Self::NoSupervisor => 3,
            Self::Pending => 4,
        }
    }
}

impl Ending {
    pub(super) fn new(outcome: Outcome, text: impl Display) -> Box<Self> {
        Box::new(Self {
            outcome,
            code: outcome.code(),
            text: text.to_string(),
            facts: Facts::default(),
        })
    }

    pub(super) fn refused(text: impl Display) -> Box<Self> {
        Self::new(Outcome::Refused, text)
    }

    pub(super) fn misused(text: impl Display) -> Box<Self> {
        Self::new(Outcome::Misused, format_args!("{text}; see segue deploy --help"))
    }

    /// The list has been printed.
    pub(super) fn listed() -> Box<Self> {
        Self::new(Outcome::Ok, "")
    }

    /// The exit code is that of a process which the signal has ended, as shells count.
    pub(super) fn interrupted(signal: Signal, how_far: impl Display) -> Box<Self> {
        let number = u8::try_from(signal as i32).unwrap_or_default();
        Box::new(Self {
            code: 128 + number,
            ..*Self::new(
                Outcome::Interrupted,
                format_args!("interrupted by {signal}: {how_far}"),
            )
        })
    }

    /// Prints it, and gives the exit code.
    pub(super) fn tell(&self, form: Form, action: &str, name: &str, root: Option<String>) -> ExitCode {
        let message = one_line(&self.text, LINE_MAX);
        match (form, self.code) {
            _ if message.is_empty() => {}
            (Form::Words, 0) => print(&message),
            (Form::Words, _) => say(&message),
            (Form::Json, _) => {
                say(&message);
                self.print_codes(action, name, root);
            }
        }
        ExitCode::from(self.code)
    }

    /// Prints it for programs alone.
    pub(super) fn print_codes(&self, action: &str, name: &str, root: Option<String>) {
        let told = Told {
            outcome: self.outcome,
            action,
            exit: self.code,
            name,
            root,
            facts: &self.facts,
            message: &one_line(&self.text, LINE_MAX),
        };
        // Our own types have string keys, so that serialising them cannot fail.
        print(&serde_json::to_string(&told).unwrap_or_default());
    }
}

/// A cause that has changed nothing ends the deploy so.
impl From<String> for Box<Ending> {
    fn from(text: String) -> Self {
        Ending::refused(text)
    }
}

/// A line on stderr. A reader that has gone must not end a deploy in the middle.
pub(super) fn say(text: impl Display) {
    let line = one_line(&text.to_string(), LINE_MAX);
    let _ = writeln!(std::io::stderr(), "deploy: {line}");
}

/// A line that somebody else said.
pub(super) fn pass_on(line: &str) {
    let _ = writeln!(std::io::stderr(), "  {}", one_line(line, LINE_MAX));
}

/// The last lines of a version that failed.
pub(super) fn quote(lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    say("what it said at last:");
    for line in lines {
        pass_on(&format!("| {line}"));
    }
}

/// A line on stdout. The deed is done whether or not anybody reads of it.
pub(super) fn print(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In both directions: the page has no word more, and none less.
    #[test]
    fn the_manual_has_each_outcome() {
        use Outcome::*;
        let all = [
            Ok,
            AlreadyServes,
            InPlace,
            DryRun,
            Misused,
            Refused,
            PreflightFailed,
            Failed,
            RolledBack,
            NoSupervisor,
            Pending,
            Interrupted,
        ];
        let words = all.map(|outcome| serde_json::to_value(outcome).unwrap_or_default());
        let page = include_str!("../../../docs/man/segue-deploy.1");
        let (_, list) = page.split_once("\n.Va outcome\nis one of\n").unwrap_or_default();
        let (list, _) = list.split_once("\n.Va action").unwrap_or_default();
        let in_page = list.lines().filter_map(|line| line.strip_prefix(".Ql "));
        let mut in_page: Vec<&str> = in_page
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        let mut words: Vec<&str> = words.iter().filter_map(serde_json::Value::as_str).collect();
        in_page.sort_unstable();
        words.sort_unstable();
        assert_eq!(in_page, words);
    }

    #[test]
    fn an_interruption_has_the_code_of_its_signal() {
        for (signal, code) in [
            (Signal::SIGHUP, 129),
            (Signal::SIGINT, 130),
            (Signal::SIGTERM, 143),
        ] {
            let ending = Ending::interrupted(signal, "nothing was changed");
            assert_eq!(ending.code, code);
            assert_eq!(
                ending.text,
                format!("interrupted by {signal}: nothing was changed")
            );
        }
    }
}
