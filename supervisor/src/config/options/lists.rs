//! The settings of which there can be several values.

use std::ffi::OsString;
use std::path::PathBuf;

use super::super::item::{Item, Wrong};
use super::super::settings::{self, Hook, Moment, Variable, Word as _};
use super::super::{environment, listen};
use super::Takes;
use super::storage::List;
#[cfg(test)]
use super::tests::{any_listener, bytes, letters};
use super::value_type::{PATH, text};
use crate::address::{AddressError, ListenSpec};

/// The app and its arguments. The command line has a place of its own for it, behind all flags.
pub(super) static COMMAND: List<OsString> = List {
    given: |settings| &mut settings.command,
    whole: |_| &[],
    takes: || Takes::Bytes,
    parse: |given| Ok(given.to_owned()),
    write: OsString::clone,
    read: |item, command| {
        *command = item.command().map_err(|wrong| vec![wrong])?;
        Ok(())
    },
    #[cfg(test)]
    toml: r"Bq \(dqPROGRAM\(dq , \(dqARG\(dq ...",
    #[cfg(test)]
    any: |dice| if dice.u8(..5) == 0 { "".into() } else { bytes(dice) },
};

/// The listeners to open.
pub(super) static LISTENERS: List<ListenSpec> = List {
    given: |settings| &mut settings.listen,
    whole: |config| &config.listen,
    takes: || Takes::Text,
    parse: |given| {
        text(given)?
            .parse()
            .map_err(|error: AddressError| error.to_string())
    },
    write: |spec| spec.to_string().into(),
    read: read_listeners,
    #[cfg(test)]
    toml: "Ar array",
    #[cfg(test)]
    any: any_listener,
};

/// Reads the listeners one by one, so that each mistake is told.
fn read_listeners(item: &Item<'_>, found: &mut Vec<ListenSpec>) -> Result<(), Vec<Wrong>> {
    let items = item.items("[[listen]] tables or an array of strings");
    let mut all_wrong = Vec::new();
    for listener in items.map_err(|wrong| vec![wrong])? {
        match listen::read(&listener) {
            Ok(spec) => found.push(spec),
            Err(wrong) => all_wrong.extend(wrong),
        }
    }
    if all_wrong.is_empty() {
        Ok(())
    } else {
        Err(all_wrong)
    }
}

/// Variables of the app's environment.
pub(super) static VARIABLES: List<Variable> = List {
    given: |settings| &mut settings.env,
    whole: |config| &config.env,
    takes: || Takes::Bytes,
    parse: environment::parse_variable,
    write: |(name, value)| {
        let mut variable = name.clone();
        variable.push("=");
        variable.push(value);
        variable
    },
    read: |item, variables| {
        *variables = item.variables().map_err(|wrong| vec![wrong])?;
        Ok(())
    },
    #[cfg(test)]
    toml: "Ar table",
    #[cfg(test)]
    any: |dice| {
        let name = letters(dice).into();
        (name, if dice.bool() { "".into() } else { bytes(dice) })
    },
};

/// What is run when something has happened: in segue.toml a table with one command for each event.
pub(super) static HOOKS: List<Hook> = List {
    given: |settings| &mut settings.on,
    whole: |config| &config.on,
    takes: || Takes::Text,
    parse: |given| settings::parse_hook(text(given)?),
    write: |(moment, command)| format!("{}={command}", moment.word()).into(),
    read: read_hooks,
    #[cfg(test)]
    toml: "Ar table",
    #[cfg(test)]
    any: |dice| {
        let (_, moment) = Moment::ALL[dice.usize(..Moment::ALL.len())];
        (moment, letters(dice))
    },
};

fn read_hooks(item: &Item<'_>, found: &mut Vec<Hook>) -> Result<(), Vec<Wrong>> {
    let items = item.table("a table such as { takeover = \"./tell.sh\" }");
    for (name, item) in items.map_err(|wrong| vec![wrong])? {
        let moment = Moment::parse(name).map_err(|why| vec![item.wrong(why)])?;
        let command = item.parsed("a shell command", settings::parse_shell_command);
        found.push((moment, command.map_err(|wrong| vec![wrong])?));
    }
    Ok(())
}

/// Files with such variables. What they said is in the environment of a [`super::Config`], so it does not name them.
pub(super) static ENV_FILES: List<PathBuf> = List {
    given: |settings| &mut settings.env_file,
    whole: |_| &[],
    ..WATCHED
};

/// What `segue dev` watches.
pub(super) static PATHS: List<PathBuf> = WATCHED;

/// How a list of paths is read and written is the same for each setting that is one.
const WATCHED: List<PathBuf> = List {
    given: |settings| &mut settings.watch,
    whole: |config| &config.development.watch,
    takes: PATH.takes,
    parse: PATH.parse,
    write: PATH.write,
    read: |item, paths| {
        *paths = item.paths().map_err(|wrong| vec![wrong])?;
        Ok(())
    },
    #[cfg(test)]
    toml: "Ar path | array of paths",
    #[cfg(test)]
    any: PATH.any,
};

/// What does not count there.
pub(super) static GLOBS: List<String> = List {
    given: |settings| &mut settings.watch_ignore,
    whole: |config| &config.development.ignore,
    takes: || Takes::Text,
    parse: |given| settings::parse_glob(text(given)?),
    write: |glob| glob.into(),
    read: |item, globs| {
        *globs = item.globs(settings::parse_glob).map_err(|wrong| vec![wrong])?;
        Ok(())
    },
    #[cfg(test)]
    toml: "Ar string | array of strings",
    #[cfg(test)]
    any: letters,
};
