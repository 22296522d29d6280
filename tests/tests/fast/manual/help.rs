//! What `segue COMMAND --help` says, taken apart.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use segue_tests::binaries::Binary;

/// The long help of a command, of `segue` itself if the command is empty.
pub(crate) fn text(command: &str) -> String {
    let words = [command, "--help"];
    let words = words.iter().filter(|word| !word.is_empty());
    let help = Command::new(Binary::Segue.path()).args(words).output().unwrap();
    assert!(help.status.success(), "segue {command} --help: {help:?}");
    String::from_utf8(help.stdout).unwrap()
}

/// The long options with the default that is told, without `--help`.
pub(crate) fn options(command: &str) -> BTreeMap<String, Option<String>> {
    options_in(&text(command))
}

/// The same, from the help of any program.
pub(crate) fn options_in(help: &str) -> BTreeMap<String, Option<String>> {
    let mut options = BTreeMap::new();
    let mut last = String::new();
    for line in help.lines() {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        if indent <= 6 && text.starts_with('-') {
            last = segue_tests::mdoc::options_in(text)
                .first()
                .cloned()
                .unwrap_or_default();
            options.insert(last.clone(), None);
        }
        if let Some((_, default)) = text.split_once("[default: ")
            && let Some(slot @ None) = options.get_mut(&last)
        {
            *slot = default.split(']').next().map(str::to_owned);
        }
    }
    options.remove("help");
    options.remove("version");
    options
}

/// The first word of each line of a list with this title: exit codes, signals, commands.
pub(crate) fn list(command: &str, title: &str) -> BTreeSet<String> {
    list_in(&text(command), title)
}

/// The same, from the help of any program.
pub(crate) fn list_in(help: &str, title: &str) -> BTreeSet<String> {
    let list = help
        .split_once(&format!("\n{title}:\n"))
        .map_or("", |(_, rest)| rest);
    let lines = list.lines().take_while(|line| line.starts_with("  "));
    lines
        .filter_map(|line| line.trim().split_once("  "))
        .flat_map(|(first, _)| first.split(", ").map(str::to_owned))
        .collect()
}

/// All commands.
pub(crate) fn commands() -> BTreeSet<String> {
    let commands = list("", "Commands");
    assert!(commands.len() >= 8, "the help was not understood: {commands:?}");
    commands
}

/// The options of a listener, from the help of `--listen`.
pub(crate) fn listener_options() -> BTreeSet<String> {
    let text = text("run");
    let list = text.split_once("systemd.socket(5):").map_or("", |(_, rest)| rest);
    let list = list.split_once('.').map_or("", |(list, _)| list);
    let name = |option: &str| {
        option
            .trim()
            .split_ascii_whitespace()
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let options: BTreeSet<String> = list.split(',').map(name).collect();
    assert!(options.len() > 20, "the help was not understood: {options:?}");
    options
}
