//! Settings as the command line that would give them: so they outlive a supervisor, in words that every version understands.

use std::collections::BTreeSet;
use std::ffi::OsString;

use super::{Config, options};

/// The arguments of `segue run`, the app's command behind `--`. Everything is said, defaults too, and what files said is among
/// it: to read it back no file is read.
pub(crate) fn to_arguments(config: &Config) -> Vec<OsString> {
    let mut arguments = flags_of(config);
    arguments.push("--".into());
    arguments.extend_from_slice(&config.command);
    arguments
}

fn flags_of(config: &Config) -> Vec<OsString> {
    options::flags().flat_map(|setting| setting.say(config)).collect()
}

/// The settings in which two configurations differ, by the names of their keys, in the order in which they are written down.
pub(crate) fn differences(one: &Config, other: &Config) -> Vec<String> {
    let (flags, others) = (flags_of(one), flags_of(other));
    // There may be a thousand listeners.
    let (of_one, of_other): (BTreeSet<_>, BTreeSet<_>) = (flags.iter().collect(), others.iter().collect());
    let all = flags.iter().filter(|argument| !of_other.contains(argument));
    let all = all.chain(others.iter().filter(|argument| !of_one.contains(argument)));
    let mut names: Vec<String> = Vec::new();
    for argument in all {
        let text = argument.to_string_lossy();
        let flag = text.strip_prefix("--").unwrap_or(&text);
        let name = flag.split('=').next().unwrap_or(flag);
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    // Its words may look like flags of ours.
    if one.command != other.command {
        names.push("command".to_owned());
    }
    names
}
