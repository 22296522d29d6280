//! The values of a unit that matter to segue, whoever tells them.

use std::time::Duration;

use super::span::Span;
use super::text::{UnitText, boolean};

/// `DefaultTimeoutStartSec=` and `DefaultTimeoutStopSec=`, unless the administrator has changed them.
pub(super) const DEFAULT_TIMEOUT: Span = Span::Of(Duration::from_secs(90));

/// `DefaultStartLimitIntervalSec=`, likewise.
const DEFAULT_START_LIMIT: Span = Span::Of(Duration::from_secs(10));

/// The values of a unit that matter here. A name of systemd's is kept as it is written.
#[derive(Debug, PartialEq)]
pub(super) struct Values {
    pub(super) kind: String,
    pub(super) access: String,
    pub(super) times: Times,
    pub(super) commands: Commands,
    pub(super) ending: Ending,
    /// The directories of `RuntimeDirectory=`, in their order.
    pub(super) runtime: Vec<String>,
    pub(super) runtime_preserve: String,
    pub(super) store_max: String,
    pub(super) restart: String,
    pub(super) pid_file: String,
    pub(super) remain: bool,
}

/// The time limits of a unit.
#[derive(Debug, PartialEq)]
pub(crate) struct Times {
    pub(crate) start: Span,
    pub(crate) stop: Span,
    pub(super) start_limit: Span,
}

/// Command lines, as far as it can be seen in them what they run; empty where there are none.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Commands {
    pub(super) start: String,
    pub(super) reload: String,
    pub(super) stop: String,
    pub(super) stop_post: String,
}

#[derive(Debug, PartialEq)]
pub(super) struct Ending {
    pub(super) kill_mode: String,
    pub(super) kill_signal: String,
    pub(super) hang_up: bool,
    pub(super) oom_policy: String,
}

impl Values {
    /// Those of a unit that says nothing.
    pub(super) fn unset() -> Self {
        Self {
            kind: "simple".to_owned(),
            access: String::new(),
            times: Times {
                start: DEFAULT_TIMEOUT,
                stop: DEFAULT_TIMEOUT,
                start_limit: DEFAULT_START_LIMIT,
            },
            commands: Commands::default(),
            ending: Ending {
                kill_mode: "control-group".to_owned(),
                kill_signal: "SIGTERM".to_owned(),
                hang_up: false,
                oom_policy: "stop".to_owned(),
            },
            runtime: Vec::new(),
            runtime_preserve: "no".to_owned(),
            store_max: "0".to_owned(),
            restart: "no".to_owned(),
            pid_file: String::new(),
            remain: false,
        }
    }

    /// Those that the files of a unit give.
    ///
    /// # Errors
    /// One line: the setting, and what is wrong with its value.
    pub(super) fn of_text(text: &UnitText) -> Result<Self, String> {
        let mut values = Self::unset();
        for key in SCALARS {
            if let Some(value) = text.last("Service", key).filter(|value| !value.is_empty()) {
                values.assign(key, value);
            }
        }
        for key in COMMANDS {
            for value in text.list("Service", key) {
                values.assign(key, value);
            }
        }
        for list in text.list("Service", "RuntimeDirectory") {
            values.set_runtime(list);
        }
        values.times = Times::of_text(text)?;
        Ok(values)
    }

    /// Take a value whose name is the same in a file and in what `systemctl show` says. A command is one more.
    pub(super) fn assign(&mut self, key: &str, value: &str) {
        let more = |commands: &mut String| {
            commands.push_str(value);
            commands.push('\n');
        };
        match key {
            "Type" => value.clone_into(&mut self.kind),
            "NotifyAccess" => value.clone_into(&mut self.access),
            "KillMode" => value.clone_into(&mut self.ending.kill_mode),
            "KillSignal" => value.clone_into(&mut self.ending.kill_signal),
            "SendSIGHUP" => self.ending.hang_up = boolean(value) == Some(true),
            "OOMPolicy" => value.clone_into(&mut self.ending.oom_policy),
            "RuntimeDirectoryPreserve" => value.clone_into(&mut self.runtime_preserve),
            "FileDescriptorStoreMax" => value.clone_into(&mut self.store_max),
            "Restart" => value.clone_into(&mut self.restart),
            "PIDFile" => value.clone_into(&mut self.pid_file),
            "RemainAfterExit" => self.remain = boolean(value) == Some(true),
            "ExecStart" => more(&mut self.commands.start),
            "ExecReload" => more(&mut self.commands.reload),
            "ExecStop" => more(&mut self.commands.stop),
            "ExecStopPost" => more(&mut self.commands.stop_post),
            _ => {}
        }
    }

    /// Take the directories of one line.
    pub(super) fn set_runtime(&mut self, list: &str) {
        self.runtime.extend(
            list.split_whitespace()
                .map(|word| word.trim_matches('"').to_owned()),
        );
    }
}

/// What can be given once; the last one counts.
const SCALARS: [&str; 11] = [
    "Type",
    "NotifyAccess",
    "KillMode",
    "KillSignal",
    "SendSIGHUP",
    "OOMPolicy",
    "RuntimeDirectoryPreserve",
    "FileDescriptorStoreMax",
    "Restart",
    "PIDFile",
    "RemainAfterExit",
];

const COMMANDS: [&str; 4] = ["ExecStart", "ExecReload", "ExecStop", "ExecStopPost"];

impl Times {
    /// # Errors
    /// One line: the setting, and that its value is no time.
    pub(crate) fn of_text(text: &UnitText) -> Result<Self, String> {
        let start = text.last_of(&[("Service", "TimeoutStartSec"), ("Service", "TimeoutSec")]);
        let stop = text.last_of(&[("Service", "TimeoutStopSec"), ("Service", "TimeoutSec")]);
        let limit = text.last_of(&[
            ("Unit", "StartLimitIntervalSec"),
            ("Unit", "StartLimitInterval"),
            ("Service", "StartLimitInterval"),
        ]);
        Ok(Self {
            start: timeout("TimeoutStartSec", start)?,
            stop: timeout("TimeoutStopSec", stop)?,
            start_limit: match limit {
                Some(limit) => Span::parse(limit).map_err(|why| format!("StartLimitIntervalSec: {why}"))?,
                None => DEFAULT_START_LIMIT,
            },
        })
    }
}

/// Nothing is the default here, and 0 is no limit.
fn timeout(key: &str, value: Option<&str>) -> Result<Span, String> {
    let Some(value) = value.filter(|value| !value.is_empty()) else {
        return Ok(DEFAULT_TIMEOUT);
    };
    let span = Span::parse(value).map_err(|why| format!("{key}: {why}"))?;
    Ok(if span == Span::Of(Duration::ZERO) {
        Span::Endless
    } else {
        span
    })
}
