//! What does not fit in a unit that is to run segue, a line each.

use std::time::Duration;

use super::Needs;
use super::span::Span;
use super::values::{Commands, Values};

pub(super) fn notes(values: &Values, needs: &Needs) -> Vec<String> {
    let mut notes = Vec::new();
    start(values, &mut notes);
    times(values, needs, &mut notes);
    runtime(values, needs, &mut notes);
    ending(values, &mut notes);
    if values.ending.kill_mode == "process" {
        adoption(values, &mut notes);
    }
    notes
}

fn start(values: &Values, notes: &mut Vec<String>) {
    match values.kind.as_str() {
        "notify" | "notify-reload" => {}
        other => notes.push(format!(
            "Type={other}: systemd does not wait until the app is ready and hears of no reload (Type=notify does)"
        )),
    }
    if values.access == "none" {
        notes.push(
            "NotifyAccess=none: systemd takes no messages from segue (NotifyAccess=main does)".to_owned(),
        );
    }
    let Commands { start, reload, .. } = &values.commands;
    if !runs_segue(start, "run") {
        notes.push("ExecStart= does not run `segue run`".to_owned());
    }
    if values.kind != "notify-reload" && !runs_segue(reload, "reload") {
        notes.push(
            "ExecReload= does not run `segue reload`: `systemctl reload` reloads nothing, or cannot tell how it went"
                .to_owned(),
        );
    }
    if !values.pid_file.is_empty() {
        notes.push(format!(
            "PIDFile={}: the main process is segue, which systemd knows without it (PIDFile= takes it back)",
            values.pid_file
        ));
    }
    if values.remain {
        notes.push(
            "RemainAfterExit=yes: the unit stays active when segue has ended (RemainAfterExit=no)".to_owned(),
        );
    }
}

fn times(values: &Values, needs: &Needs, notes: &mut Vec<String>) {
    let times = &values.times;
    if !times.start.is_above(needs.reload) {
        notes.push(format!(
            "TimeoutStartSec={} ends reloads that may take {} (drain in queue mode, start, probe and soak together)",
            times.start,
            Span::from(needs.reload)
        ));
    }
    if !times.stop.is_above(needs.stop) {
        notes.push(format!(
            "TimeoutStopSec={} kills an app that may drain for {} (the stop timeout)",
            times.stop,
            Span::from(needs.stop)
        ));
    }
    if times.start_limit != Span::Of(Duration::ZERO) {
        notes.push(format!(
            "StartLimitIntervalSec={}: after some quick restarts systemd gives up, and closes the sockets of a socket unit \
             (StartLimitIntervalSec=0 never does)",
            times.start_limit
        ));
    }
}

/// Segue takes the directory whose parent is `segue`, else the first, and its commands look in `/run/segue/NAME`.
fn runtime(values: &Values, needs: &Needs, notes: &mut Vec<String>) {
    if needs.has_own_control {
        return;
    }
    let name = name_in(&values.commands.start).unwrap_or(&needs.name);
    let wanted = format!("segue/{name}");
    // A link beside it is of no account (systemd.exec(5): `DIRECTORY:LINK`).
    let is_wanted = |directory: &String| directory.split(':').next() == Some(&wanted);
    if values.runtime.iter().any(is_wanted) {
        return;
    }
    match values.runtime.first() {
        Some(first) => notes.push(format!(
            "RuntimeDirectory={first}: the control socket is put there, where root's `segue reload {name}` does not look \
             (RuntimeDirectory={wanted} beside it)"
        )),
        None => notes.push(format!(
            "RuntimeDirectory= is not set: the control socket, and what the next supervisor reads to adopt the app, are put \
             where there is room (RuntimeDirectory={wanted})"
        )),
    }
}

/// The name that the instance is given in a command line.
fn name_in(commands: &str) -> Option<&str> {
    let mut words = words(commands.lines().next()?).skip_while(|word| *word != "--name");
    words.nth(1)
}

fn ending(values: &Values, notes: &mut Vec<String>) {
    let ending = &values.ending;
    match ending.kill_mode.as_str() {
        "process" | "mixed" => {}
        "none" => notes.push(
            "KillMode=none: what a stop has left runs on for ever (KillMode=process, with `segue cleanup`)"
                .to_owned(),
        ),
        other => notes.push(format!(
            "KillMode={other}: systemd sends its signals to the app as well, and ends it if the supervisor is killed \
             (KillMode=process lets the next one adopt it)"
        )),
    }
    if !matches!(
        ending.kill_signal.as_str(),
        "SIGTERM" | "TERM" | "15" | "SIGINT" | "INT" | "2"
    ) {
        notes.push(format!(
            "KillSignal={}: it goes to segue, which stops at SIGTERM; stop-signal in segue.toml is the app's \
             (KillSignal=SIGTERM)",
            ending.kill_signal
        ));
    }
    if ending.hang_up {
        notes.push("SendSIGHUP=yes: SIGHUP asks segue for a reload (SendSIGHUP=no)".to_owned());
    }
    if ending.oom_policy != "continue" {
        notes.push(format!(
            "OOMPolicy={}: systemd stops everything when the kernel kills one process for its memory \
             (OOMPolicy=continue; segue starts it again)",
            ending.oom_policy
        ));
    }
    if !matches!(
        values.restart.as_str(),
        "always" | "on-failure" | "on-abnormal" | "on-abort"
    ) {
        notes.push(format!(
            "Restart={}: nobody starts the next supervisor if this one is killed (Restart=always)",
            values.restart
        ));
    }
}

/// What the next supervisor needs to adopt the app, and a stop to be one.
fn adoption(values: &Values, notes: &mut Vec<String>) {
    if values.store_max == "0" {
        notes.push(
            "FileDescriptorStoreMax=0: the next supervisor must take the listeners back from the app \
             (FileDescriptorStoreMax=4096 lets systemd keep them)"
                .to_owned(),
        );
    }
    if !values.runtime.is_empty() && values.runtime_preserve == "no" {
        notes.push(
            "RuntimeDirectoryPreserve=no: systemd removes what the next supervisor reads to adopt the app \
             (RuntimeDirectoryPreserve=restart)"
                .to_owned(),
        );
    }
    let Commands { stop, stop_post, .. } = &values.commands;
    for (key, commands) in [("ExecStop", stop), ("ExecStopPost", stop_post)] {
        if !runs_segue(commands, "cleanup") {
            notes.push(format!(
                "{key}= does not run `segue cleanup`: with KillMode=process a stop may leave the app behind"
            ));
        }
    }
}

/// Whether one of the command lines runs segue with this word. It may be called otherwise: what counts is a word that begins with
/// `segue`, or has it behind its last slash, and the next one.
fn runs_segue(commands: &str, word: &str) -> bool {
    commands.lines().any(|line| {
        let pairs = words(line).zip(words(line).skip(1));
        pairs.into_iter().any(|(program, next)| {
            let program = program.rsplit('/').next().unwrap_or_default();
            program.starts_with("segue") && next == word
        })
    })
}

/// The words of a line, as far as that matters here: `--name=NAME` is two.
fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split([' ', '=']).map(|word| word.trim_matches(['"', '\'']))
}
