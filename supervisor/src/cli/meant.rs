//! What somebody meant who typed a word of another tool, or forgot one of ours.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// What each foreign word stands for here, as a tip.
const WORDS: &[(&[&str], &str)] = &[
    (
        &["start", "serve", "up", "launch"],
        "segue run --listen PORT -- COMMAND starts an app (under systemd: systemctl start UNIT)",
    ),
    (
        &["restart", "hup", "update", "refresh", "swap"],
        "segue reload starts the new version, and the old one ends when that serves",
    ),
    (
        &["develop", "watch", "nodemon", "live"],
        "segue dev reloads the app when its files change",
    ),
    (
        &["ls", "ps", "instances"],
        "segue list lists the instances that run",
    ),
    (
        &["info", "show", "top"],
        "segue status shows who serves; segue list lists the instances that run",
    ),
    (
        &["rollback", "roll-back", "revert", "undo", "back"],
        "a version that fails is rolled back without a command; segue deploy --rollback goes back to an earlier release",
    ),
    (
        &["kill", "down", "quit", "shutdown", "halt", "end"],
        "segue stop lets the app drain, then ends it and the supervisor",
    ),
    (
        &["scale", "resize"],
        "segue workers N changes the number of workers",
    ),
    (
        &["validate", "verify", "test", "configtest", "lint", "config"],
        "segue check finds mistakes in flags and segue.toml",
    ),
    (
        &["log", "journal", "tail"],
        "segue logs shows what the app writes, from the journal or its file",
    ),
    (
        &["new", "setup", "import", "convert", "adapt"],
        "segue init begins a segue.toml; segue init --unit NAME takes a systemd unit below segue",
    ),
    (&["version"], "segue --version prints it"),
    (
        &["stats"],
        "segue metrics prints metrics, segue status shows who serves",
    ),
    (
        &["adopt", "attach", "resume", "recover"],
        "segue run, as it was started before, adopts the app of a supervisor that was killed",
    ),
];

/// What belongs to development.
const OF_DEV: &[&str] = &["--watch", "--watch-ignore", "--build", "--rest"];

/// A tip that is better than clap's own, which goes by the letters. `first` is the word behind `segue`.
pub(super) fn tip(error: &clap::Error, first: &str) -> Option<String> {
    let said = |kind| match error.get(kind) {
        Some(ContextValue::String(word)) => Some(word.as_str()),
        Some(_) | None => None,
    };
    if error.kind() == ErrorKind::InvalidSubcommand {
        let word = said(ContextKind::InvalidSubcommand)?;
        if word.contains('/') {
            return Some(format!("segue run --listen PORT -- {word} starts it"));
        }
        let known = WORDS.iter().find(|(words, _)| words.contains(&word));
        return known.map(|(_, tip)| (*tip).to_owned());
    }
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    if first == "run" && said(ContextKind::InvalidArg).is_some_and(|flag| OF_DEV.contains(&flag)) {
        return Some("segue dev takes it, in the place of segue run".to_owned());
    }
    first
        .starts_with('-')
        .then(|| "the command comes first: segue run [OPTIONS] -- COMMAND".to_owned())
}
