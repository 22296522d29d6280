//! Settings as the command line that would give them: so they outlive a supervisor, in words that every version understands.

use std::ffi::{OsStr, OsString};
use std::time::Duration;

use std::collections::BTreeSet;

use super::signal::short_name;
use super::{Config, ListenPid, LogFormat, Mode, Orphaned, Ready, duration};

/// The arguments of `segue run`, the app's command behind `--`. Everything is said, defaults too, and what files said is among
/// it: to read it back no file is read.
pub(crate) fn to_arguments(config: &Config) -> Vec<OsString> {
    let mut arguments = Arguments(Vec::new());
    arguments.say_what_is_there(config);
    for spec in &config.listen {
        arguments.text("listen", &spec.to_string());
    }
    arguments.text("workers", &config.workers.to_string());
    arguments.text("max-generations", &config.max_generations.to_string());
    if let Some(rolling) = config.rolling {
        arguments.text("rolling", &rolling.to_string());
    }
    arguments.text(
        "mode",
        match config.mode {
            Mode::Overlap => "overlap",
            Mode::Queue => "queue",
        },
    );
    match config.ready {
        Ready::Notify => arguments.text("ready", "notify"),
        Ready::Exec(time) => arguments.text("ready", &format!("exec:{}", duration::text(time))),
    }
    for (flag, limit) in [
        ("start-timeout", config.start_timeout),
        ("drain-timeout", config.drain_timeout),
        ("stop-timeout", config.stop_timeout),
        ("extend-limit", config.extend_limit),
        ("accept-timeout", config.accept_timeout),
        ("probation", config.probation),
        ("probe-timeout", config.probe_timeout),
        ("watchdog", config.watchdog),
    ] {
        arguments.limit(flag, limit);
    }
    arguments.text("soak", &duration::text(config.soak));
    arguments.text("stop-signal", short_name(config.stop_signal));
    arguments.text("stop-signal-to", config.stop_signal_to.word());
    for (name, value) in &config.env {
        let mut variable = name.clone();
        variable.push("=");
        variable.push(value);
        arguments.give("env", &variable);
    }
    match config.listen_pid {
        ListenPid::Set => {}
        ListenPid::LeftOut => arguments.0.push("--no-listen-pid".into()),
    }
    match config.orphaned {
        Orphaned::ServesOn => {}
        Orphaned::Stops => arguments.0.push("--die-with-supervisor".into()),
    }
    arguments.0.push("--".into());
    arguments.0.extend_from_slice(&config.command);
    arguments.0
}

/// The settings in which two configurations differ, by the names of their keys, in the order in which they are written down.
pub(crate) fn differences(one: &Config, other: &Config) -> Vec<String> {
    let (one, other) = (to_arguments(one), to_arguments(other));
    // There may be a thousand listeners.
    let (of_one, of_other): (BTreeSet<_>, BTreeSet<_>) = (one.iter().collect(), other.iter().collect());
    let all = one.iter().filter(|argument| !of_other.contains(argument));
    let all = all.chain(other.iter().filter(|argument| !of_one.contains(argument)));
    let mut names = Vec::new();
    for argument in all {
        let text = argument.to_string_lossy();
        let name = match text.strip_prefix("--") {
            Some(flag) => flag.split('=').next().unwrap_or(flag).to_owned(),
            None => "command".to_owned(),
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

struct Arguments(Vec<OsString>);

impl Arguments {
    /// In one word, so that a value may begin with a dash.
    fn give(&mut self, flag: &str, value: &OsStr) {
        let mut argument = OsString::from("--");
        argument.push(flag);
        argument.push("=");
        argument.push(value);
        self.0.push(argument);
    }

    fn text(&mut self, flag: &str, value: &str) {
        self.give(flag, value.as_ref());
    }

    fn limit(&mut self, flag: &str, limit: Option<Duration>) {
        match limit {
            Some(limit) => self.text(flag, &duration::text(limit)),
            None => self.text(flag, "none"),
        }
    }

    fn say_what_is_there(&mut self, config: &Config) {
        self.text("name", &config.name);
        self.text(
            "log-format",
            match config.log_format {
                LogFormat::Text => "text",
                LogFormat::Json => "json",
            },
        );
        for (flag, path) in [
            ("control", &config.control),
            ("pid-file", &config.pid_file),
            ("chdir", &config.chdir),
            ("stderr", &config.stderr),
            ("watch", &config.watch),
        ] {
            if let Some(path) = path {
                self.give(flag, path.as_os_str());
            }
        }
        for (flag, text) in [
            ("control-group", &config.control_group),
            ("user", &config.user),
            ("group", &config.group),
            ("probe", &config.probe),
        ] {
            if let Some(text) = text {
                self.text(flag, text);
            }
        }
        if let Some(size) = config.min_free_memory {
            self.text("min-free-memory", &size.to_string());
        }
        if let Some(score) = config.oom_score_adj {
            self.text("oom-score-adj", &score.to_string());
        }
        if let Some(umask) = config.umask {
            self.text("umask", &format!("{umask:03o}"));
        }
    }
}
