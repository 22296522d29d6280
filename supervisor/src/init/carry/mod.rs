//! A unit carried over: which settings of it change when segue runs its program, and why each does.
//!
//! All that systemd does for the process (user, sandbox, limits, environment) stays in the unit, since the app inherits it from
//! segue. The drop-in says what a supervisor needs; segue.toml says what was said of the app and is segue's affair now. Nothing is
//! guessed: what cannot be carried over whole is refused by name.

mod command;
mod directories;
mod refusals;
mod sandbox;
mod shell;
mod signals;
mod sockets;
mod times;

use crate::unit::{Sources, UnitText};

/// A unit, and where its instance is to lie.
#[derive(Debug)]
pub(super) struct Service<'a> {
    pub(super) sources: &'a Sources,
    pub(super) text: &'a UnitText,
    /// The name of the instance.
    pub(super) name: String,
    /// The program segue itself, as the unit is to call it.
    pub(super) segue: &'a str,
    /// The path of the segue.toml, as the unit is to name it.
    pub(super) config: String,
}

/// One setting and the reason for it. A list that is taken back first has an empty value before.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Lines {
    lines: Vec<String>,
}

impl Lines {
    /// One setting, with its reason in the lines before.
    pub(super) fn say(&mut self, why: &str, setting: impl Into<String>) {
        for line in wrap(why) {
            self.lines.push(format!("# {line}"));
        }
        self.lines.push(setting.into());
    }

    /// One more that has the same reason.
    pub(super) fn and(&mut self, setting: impl Into<String>) {
        self.lines.push(setting.into());
    }

    pub(super) fn text(&self) -> String {
        self.lines.iter().map(|line| format!("{line}\n")).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

/// Lines of comments are no longer than this.
const WIDTH: usize = 98;

fn wrap(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(word.to_owned()),
        }
    }
    lines
}

/// What a unit becomes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Carried {
    /// `[Unit]` of the drop-in.
    pub(super) unit: Lines,
    /// `[Service]` of it.
    pub(super) service: Lines,
    /// `[Socket]` of a drop-in of each socket unit, with its name.
    pub(super) sockets: Vec<(String, Lines)>,
    pub(super) toml: Lines,
    /// Tables of segue.toml, which come last.
    pub(super) tables: Lines,
    /// What is left to a person.
    pub(super) notes: Vec<String>,
}

/// Carry a unit over.
///
/// # Errors
/// All that cannot be carried, one line each; at least one.
pub(super) fn carry(service: &Service<'_>) -> Result<Carried, Vec<String>> {
    let mut carried = Carried::default();
    let mut refused = refusals::find(service.text);
    let mut try_each = |part: Result<(), String>| refused.extend(part.err());
    try_each(unit_section(service, &mut carried));
    try_each(command::carry(service, &mut carried));
    try_each(signals::carry(service, &mut carried));
    try_each(times::carry(service, &mut carried));
    try_each(directories::carry(service, &mut carried));
    sandbox::carry(service, &mut carried);
    try_each(sockets::carry(service, &mut carried));
    notes(service, &mut carried);
    if refused.is_empty() {
        Ok(carried)
    } else {
        Err(refused)
    }
}

fn unit_section(service: &Service<'_>, carried: &mut Carried) -> Result<(), String> {
    let unit = &mut carried.unit;
    unit.say(
        "Without limit: after some quick restarts systemd would give up, and close the sockets.",
        "StartLimitIntervalSec=0",
    );
    unit.say(
        "When the unit has come to an end for good, what is left of the app is ended before it can be started anew.",
        "OnFailure=segue-cleanup@%N.service",
    );
    unit.and("OnSuccess=segue-cleanup@%n.service");
    unit.and("After=segue-cleanup@%N.service segue-cleanup@%n.service");
    if is_on(service.text, "PrivateTmp") {
        unit.say(
            "Its own /tmp outlives the supervisor, as the app does.",
            "Wants=segue-tmp@%N.service",
        );
        unit.and("After=segue-tmp@%N.service");
        unit.and("JoinsNamespaceOf=segue-tmp@%N.service");
        note_missing("segue-tmp@", service, carried)?;
    }
    note_missing("segue-cleanup@", service, carried)?;
    note_missing("segue-recheck@", service, carried)
}

fn note_missing(helper: &str, service: &Service<'_>, carried: &mut Carried) -> Result<(), String> {
    if !service.sources.has(&format!("{helper}x.service"))? {
        carried.notes.push(format!(
            "{helper}.service is not installed: it is one of segue's own units (systemd/ in its source)"
        ));
    }
    Ok(())
}

fn is_on(text: &UnitText, key: &str) -> bool {
    text.last("Service", key)
        .is_some_and(|value| !value.is_empty() && !matches!(value, "no" | "false" | "off" | "0" | "n" | "f"))
}

/// What a person should know, and no setting can say.
fn notes(service: &Service<'_>, carried: &mut Carried) {
    let text = service.text;
    let has = |key: &str| !text.list("Service", key).is_empty();
    let mut note = |is_so: bool, note: &str| {
        if is_so {
            carried.notes.push(note.to_owned());
        }
    };
    note(
        ["ExecStartPre", "ExecStartPost", "ExecCondition"]
            .into_iter()
            .any(has),
        "ExecStartPre=, ExecStartPost= and ExecCondition= run when the unit starts, and at no reload",
    );
    note(
        has("ExecStopPost"),
        "ExecStopPost= also runs after a crash of segue, while the app serves on: look whether its commands allow that",
    );
    note(
        has("EnvironmentFile"),
        "EnvironmentFile= is read when the unit starts; `env-file` in segue.toml is read at each reload, by the user of the unit",
    );
    note(
        has("SystemCallFilter"),
        "SystemCallFilter= counts for segue, too: try a start and a reload",
    );
    note(
        [
            "RestartPreventExitStatus",
            "RestartForceExitStatus",
            "SuccessExitStatus",
        ]
        .into_iter()
        .any(has),
        "RestartPreventExitStatus=, RestartForceExitStatus= and SuccessExitStatus= go by the exit status of segue, which starts the \
         app again whatever its own was",
    );
    note(
        matches!(text.last("Service", "KillMode"), Some("process" | "none")),
        "KillMode= lets live on what the app leaves behind when it stops; segue ends that when the unit stops",
    );
    note(
        ["MemoryMax", "MemoryHigh", "TasksMax"].into_iter().any(|key| {
            text.last("Service", key)
                .is_some_and(|limit| !matches!(limit, "" | "infinity"))
        }),
        "MemoryMax=, MemoryHigh= and TasksMax= must have room for two generations of the app",
    );
    note(
        ["AppArmorProfile", "SELinuxContext", "SmackProcessLabel"]
            .into_iter()
            .any(has),
        "the security label of the unit counts for segue, too: it must be allowed to start the app",
    );
    note(
        service.sources.is_stale,
        "systemd has loaded the unit before a file of it was changed: `systemctl daemon-reload` first",
    );
}
