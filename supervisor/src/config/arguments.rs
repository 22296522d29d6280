//! Settings as the command line that would give them: so they outlive a supervisor, in words that every version understands.

use std::collections::BTreeSet;
use std::ffi::OsString;

use super::{Config, options};

/// The arguments of `segue run`, the app's command behind `--`. Everything is said, defaults too, and what files said is among
/// it: to read it back no file is read.
pub(crate) fn to_arguments(config: &Config) -> Vec<OsString> {
    let mut arguments: Vec<_> = options::flags().flat_map(|setting| setting.say(config)).collect();
    arguments.push("--".into());
    arguments.extend_from_slice(&config.command);
    arguments
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
