//! Signals, and the commands of a stop and a reload.

use super::{Carried, Service, refusals};
use crate::config;
use crate::unit::{Exec, UnitText};

pub(super) fn carry(service: &Service<'_>, carried: &mut Carried) -> Result<(), String> {
    let stop = stop_signal(service.text)?;
    let (segue, name) = (service.segue, &service.name);
    let lines = &mut carried.service;
    lines.say(
        "Started when the first generation is ready; segue tells systemd of each reload.",
        "Type=notify",
    );
    lines.and("NotifyAccess=main");
    lines.say(
        "Waits until the new generation has taken over. If it fails, so does `systemctl reload`, and the old one serves on.",
        "ExecReload=",
    );
    lines.and(format!("ExecReload={segue} reload --name {name}"));
    for line in service.text.list("Service", "ExecReload") {
        let killed = killed_by(line).is_some();
        if !killed {
            carried.notes.push(format!(
                "ExecReload={line} is not run any more: a reload starts the program anew"
            ));
        }
    }
    let lines = &mut carried.service;
    lines.say(
        "If the supervisor is killed, the app serves on, and the next supervisor adopts it.",
        "KillMode=process",
    );
    restart(service.text, carried);
    let lines = &mut carried.service;
    lines.say(
        "A stop has to be told from a crash: the first line notes it, the second ends what it has left.",
        "ExecStop=",
    );
    lines.and(format!("ExecStop={segue} cleanup --name {name}"));
    lines.and("ExecStopPost=");
    lines.and(format!("ExecStopPost={segue} cleanup --name {name}"));
    for line in service.text.list("Service", "ExecStopPost") {
        lines.and(format!("ExecStopPost={line}"));
    }
    main_process(service.text, carried);
    if refusals::kind_of(service.text).starts_with("notify") {
        carried.toml.say(
            "The app tells when it is ready, as the type of the unit says.",
            "ready = \"notify\"",
        );
    }
    if let Some(signal) = stop {
        carried.service.say(
            "Segue stops at SIGTERM; the app gets its own signal from segue.",
            "KillSignal=SIGTERM",
        );
        carried.toml.say(
            "The signal by which the unit has stopped the app.",
            format!("stop-signal = \"{signal}\""),
        );
    }
    Ok(())
}

fn restart(text: &UnitText, carried: &mut Carried) {
    let given = |key| text.last("Service", key).unwrap_or_default();
    if !matches!(
        given("Restart"),
        "always" | "on-failure" | "on-abnormal" | "on-abort"
    ) {
        carried
            .service
            .say("Somebody must start the next supervisor.", "Restart=always");
    }
    if given("RestartSec").is_empty() {
        carried.service.say("As soon as possible.", "RestartSec=100ms");
    }
    carried.service.say(
        "What the next supervisor adopts the app with: its listeners and a handle of each process.",
        "FileDescriptorStoreMax=4096",
    );
}

/// What is said of a main process that is segue now.
fn main_process(text: &UnitText, carried: &mut Carried) {
    let given = |key| text.last("Service", key).unwrap_or_default();
    if !given("PIDFile").is_empty() {
        carried
            .service
            .say("systemd knows the main process, which is segue.", "PIDFile=");
    }
    if super::is_on(text, "RemainAfterExit") {
        carried
            .service
            .say("When segue has ended, nobody serves.", "RemainAfterExit=no");
    }
    if super::is_on(text, "SendSIGHUP") {
        carried
            .service
            .say("SIGHUP asks segue for a reload.", "SendSIGHUP=no");
    }
    if !given("RestartKillSignal").is_empty() {
        carried
            .service
            .say("Segue stops at SIGTERM.", "RestartKillSignal=SIGTERM");
    }
}

/// The signal that stops the app, if it is another than SIGTERM: by `KillSignal=`, or by a `kill` in `ExecStop=`.
fn stop_signal(text: &UnitText) -> Result<Option<String>, String> {
    let mut signal = text.last("Service", "KillSignal").unwrap_or_default().to_owned();
    let mut said = format!("KillSignal={signal}");
    let stops = text.list("Service", "ExecStop");
    if let [line, ..] = stops.as_slice() {
        said = format!("ExecStop={line}");
        signal = killed_by(line).filter(|_| stops.len() == 1).ok_or_else(|| {
            format!("{said}: segue stops the app by a signal (stop-signal), and runs no command for it")
        })?;
    }
    let name = signal.trim_start_matches("SIG");
    match name {
        "" | "TERM" | "15" => Ok(None),
        name => {
            config::parse_stop_signal(name).map_err(|why| format!("{said}: {why}"))?;
            Ok(Some(name.to_owned()))
        }
    }
}

/// The signal of `kill -SIGNAL $MAINPID`, `kill -s SIGNAL $MAINPID` and `kill $MAINPID`, if a line is nothing else.
fn killed_by(line: &str) -> Option<String> {
    let exec = Exec::parse(line).ok()?;
    let words: Vec<&str> = exec
        .words
        .iter()
        .map(|word| word.0.trim_matches(['"', '\'']))
        .collect();
    let (program, words) = words.split_first()?;
    if program.rsplit('/').next() != Some("kill") {
        return None;
    }
    let (target, signal) = words.split_last()?;
    if !matches!(*target, "$MAINPID" | "${MAINPID}") {
        return None;
    }
    match signal {
        [] => Some("TERM".to_owned()),
        ["-s" | "--signal" | "-n", name] => Some((*name).to_owned()),
        [one] => {
            let name = one.strip_prefix("--signal=").or_else(|| one.strip_prefix('-'))?;
            Some(name.to_owned())
        }
        _ => None,
    }
}
