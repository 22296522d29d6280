//! The settings of `segue run`, each in one place: its flag, its key in segue.toml, its type, its default, what the help and
//! the manual say of it.
//!
//! Everything else is made from this table. `cli` makes the flags of it and their help, `file` reads the keys by it,
//! `arguments` writes the settings down by it, and the test in `pages.rs` writes the tables of segue-run(8),
//! segue.toml(5) and docs/reference.md. What is left to a new setting is its field in `Settings` and in `Config`, a line in
//! `resolve`, and whatever it is for.

use std::ffi::{OsStr, OsString};

use super::item::{Item, Wrong};
use super::{Config, Settings};
use storage::Storage;

mod app;
mod development;
mod handoff;
mod hooks;
mod instance;
mod lists;
mod sockets;
mod storage;
mod value_type;

#[cfg(test)]
mod pages;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use tests::any_settings;

/// One setting. Of the last four fields three are for the test that writes the pages.
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "nothing but that test reads those three fields")
)]
pub(crate) struct Setting {
    /// The long flag without its dashes; also the key.
    pub(crate) name: &'static str,
    /// The short flag, if it has one.
    pub(crate) short: Option<char>,
    /// How it can be given.
    pub(crate) given: Given,
    /// Under which title it stands.
    pub(crate) group: Group,
    /// What help and manual call the value: `DURATION`. Empty for a switch, which has none.
    pub(crate) value: &'static str,
    /// What a shell can complete the value with.
    pub(crate) completes: Completes,
    /// Where the value is kept, how it is read and written, and its default.
    storage: &'static dyn Storage,
    /// What holds if it is not given, where that is not a value: `the drain timeout`.
    unset: Option<&'static str>,
    /// What it does, in less than a line: all of `-h`, the first line of `--help`, the cell of docs/reference.md.
    pub(crate) summary: &'static str,
    /// What `--help` says below that, in lines of at most 70 characters; may be empty.
    pub(crate) help: &'static str,
    /// What segue-run(8) says, in mdoc(7). The default is put behind the first sentence.
    manual: &'static str,
    /// The head in segue-run(8), where it is not made of name and value.
    manual_head: &'static str,
    /// What segue.toml(5) says, in mdoc(7); the summary if empty.
    key: &'static str,
    /// A value for the examples that have every key: that of segue.toml(5), and that of `segue init`. Empty for a table, which they
    /// show by themselves.
    pub(crate) example: &'static str,
}

/// How a setting can be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Given {
    /// By a flag, and by a key of segue.toml.
    FlagOrKey,
    /// By a flag of `segue dev` alone, and by a key of segue.toml.
    DevFlagOrKey,
    /// By a flag alone: `--config`.
    Flag,
    /// By a key alone: `command`, which is COMMAND on the command line.
    Key,
}

/// What settings are about: the titles of the help and of the manual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    /// What is listened on, and the file.
    Sockets,
    /// What the app is started with.
    App,
    /// How one generation follows another.
    Handoff,
    /// The supervisor itself.
    Instance,
    /// What `segue dev` does beside it.
    Development,
}

/// What a value is, for completion scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Completes {
    Nothing,
    File,
    Directory,
    Path,
    User,
    Command,
}

/// What the command line accepts as the value of a flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Takes {
    /// No value: the flag is there or not.
    Nothing,
    /// One of these words.
    Words(Vec<&'static str>),
    /// Text in UTF-8.
    Text,
    /// A whole number, which may be negative.
    Number,
    /// A path, not empty.
    Path,
    /// Any bytes.
    Bytes,
}

/// How often a flag may be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Times {
    Once,
    Many,
}

/// What most settings are.
const BLANK: Setting = Setting {
    name: "",
    short: None,
    given: Given::FlagOrKey,
    group: Group::Sockets,
    value: "",
    completes: Completes::Nothing,
    storage: &storage::Nothing,
    unset: None,
    summary: "",
    help: "",
    manual: "",
    manual_head: "",
    key: "",
    example: "",
};

/// All settings, in the order of the help and of the manual.
pub(crate) fn all() -> impl Iterator<Item = &'static Setting> {
    [
        sockets::ALL,
        app::ALL,
        handoff::ALL,
        hooks::ALL,
        instance::ALL,
        development::ALL,
    ]
    .into_iter()
    .flatten()
}

/// The flags of `segue run`.
pub(crate) fn flags() -> impl Iterator<Item = &'static Setting> {
    all().filter(|setting| matches!(setting.given, Given::FlagOrKey | Given::Flag))
}

/// The flags of `segue dev`: those of `segue run`, and its own first.
pub(crate) fn dev_flags() -> impl Iterator<Item = &'static Setting> {
    development::ALL.iter().chain(flags())
}

/// The keys of segue.toml.
pub(crate) fn keys() -> impl Iterator<Item = &'static Setting> {
    all().filter(|setting| setting.given != Given::Flag)
}

impl Setting {
    /// What the command line accepts as its value.
    pub(crate) fn takes(&self) -> Takes {
        self.storage.takes()
    }

    /// How often the flag may be given.
    pub(crate) fn times(&self) -> Times {
        self.storage.times()
    }

    /// Takes a value of the command line, empty for a switch; one more for a list.
    ///
    /// # Errors
    ///
    /// One line that says what would have been right.
    pub(crate) fn take(&self, given: &OsStr, settings: &mut Settings) -> Result<(), String> {
        self.storage.take(given, settings)
    }

    /// Reads the value of the key.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it; at least one.
    pub(super) fn read(&self, item: &Item<'_>, settings: &mut Settings) -> Result<(), Vec<Wrong>> {
        self.storage.read(item, settings)
    }

    /// The flags that say what the configuration has, each value in one word with its flag, so that it may begin with a dash.
    pub(super) fn say(&self, config: &Config) -> Vec<OsString> {
        self.storage.say(self.name, config)
    }

    /// What holds if it is not given, in words; `None` if nothing does.
    pub(crate) fn default(&self) -> Option<String> {
        self.unset.map(str::to_owned).or_else(|| self.storage.default())
    }
}

impl Group {
    /// The title in the help; those without one stand first.
    pub(crate) const fn title(self) -> Option<&'static str> {
        match self {
            Group::Sockets => None,
            Group::App => Some("The app"),
            Group::Handoff => Some("The handoff"),
            Group::Instance => Some("The instance"),
            Group::Development => Some("Development: segue dev"),
        }
    }
}
