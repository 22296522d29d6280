//! A state that is being read: its rows, and what was made of some of them already.

use std::ffi::OsString;
use std::rc::Rc;

use nix::unistd::Pid;
use segue_lifecycle::{Lifecycle, Worker};

use crate::cli;
use crate::config::Config;
use crate::listeners::Listener;
use crate::state::{Custody, Flaw, Row};

/// What the rooms read themselves from.
pub(crate) struct Found<'a> {
    pub(crate) rows: &'a [Row<'a>],
    pub(crate) configs: &'a [Rc<Config>],
    pub(crate) listeners: &'a [Rc<Listener>],
    /// Processes of the app, where they are nobody's children.
    pub(crate) remains: &'a [(Worker, Pid)],
    pub(crate) custody: &'a Custody,
}

impl<'a> Found<'a> {
    /// The rows of one kind.
    pub(crate) fn of_kind(&self, kind: &'a str) -> impl Iterator<Item = Row<'a>> {
        of_kind(self.rows, kind)
    }

    /// The settings that a row names.
    pub(crate) fn config_of(&self, row: Row<'_>) -> Result<Rc<Config>, Flaw> {
        config_of(row, self.configs)
    }

    /// The listener with this number.
    pub(crate) fn listener(&self, number: u64) -> Result<Rc<Listener>, Flaw> {
        let found = usize::try_from(number)
            .ok()
            .and_then(|number| self.listeners.get(number));
        found
            .cloned()
            .ok_or_else(|| Flaw::new(format_args!("there is no listener {number}")))
    }
}

/// The rows of one kind.
pub(crate) fn of_kind<'r, 'a>(rows: &'r [Row<'a>], kind: &'r str) -> impl Iterator<Item = Row<'a>> + 'r {
    rows.iter().copied().filter(move |row| row.kind() == kind)
}

/// The core that the rows hold.
pub(crate) fn machine(rows: &[Row<'_>]) -> Result<Lifecycle, Flaw> {
    let lines: Vec<&str> = rows.iter().map(Row::line).collect();
    Lifecycle::load(&lines.join("\n")).map_err(Flaw::new)
}

/// The settings that the rows hold, by their numbers.
pub(crate) fn configs(rows: &[Row<'_>]) -> Result<Vec<Rc<Config>>, Flaw> {
    let mut arguments: Vec<Vec<OsString>> = Vec::new();
    for row in of_kind(rows, "argument") {
        let number = row.number("config")?;
        if number == arguments.len() as u64 {
            arguments.push(Vec::new());
        }
        if number + 1 != arguments.len() as u64 {
            return Err(Flaw::new("the arguments are not in order"));
        }
        if let Some(last) = arguments.last_mut() {
            last.push(row.os("is")?);
        }
    }
    let config = |arguments| cli::settings(arguments).map(Rc::new).map_err(Flaw::new);
    arguments.into_iter().map(config).collect()
}

/// The settings that a row names.
pub(crate) fn config_of(row: Row<'_>, configs: &[Rc<Config>]) -> Result<Rc<Config>, Flaw> {
    let number = row.number("config")?;
    let config = usize::try_from(number)
        .ok()
        .and_then(|number| configs.get(number));
    config
        .cloned()
        .ok_or_else(|| Flaw::new(format_args!("there are no settings {number}")))
}
