//! Where the value of a setting is kept, among the settings of one source and in the whole.

use std::ffi::{OsStr, OsString};

use super::super::item::{Item, Wrong};
use super::super::{Config, Settings};
use super::value_type::ValueType;
use super::{Takes, Times};

/// What a setting does with its value, whatever its type is. The methods are those of [`super::Setting`].
pub(super) trait Storage: Sync {
    fn takes(&self) -> Takes;
    fn times(&self) -> Times;
    fn take(&self, given: &OsStr, settings: &mut Settings) -> Result<(), String>;
    fn read(&self, item: &Item<'_>, settings: &mut Settings) -> Result<(), Vec<Wrong>>;
    fn say(&self, flag: &str, config: &Config) -> Vec<OsString>;
    fn default(&self) -> Option<String>;
    /// What segue.toml(5) calls the type of the value, in mdoc(7).
    #[cfg(test)]
    fn toml(&self) -> &'static str;
    /// Sets it to anything, or not at all.
    #[cfg(test)]
    fn roll(&self, dice: &mut fastrand::Rng, settings: &mut Settings);
}

/// One value.
pub(super) struct Field<T: 'static> {
    pub(super) value_type: &'static ValueType<T>,
    pub(super) given: fn(&mut Settings) -> &mut Option<T>,
    pub(super) whole: fn(&Config) -> Option<T>,
    /// What `resolve` takes if it is not given.
    pub(super) default: Option<T>,
}

/// Something that is on or off.
pub(super) struct Switch<T: 'static> {
    pub(super) given: fn(&mut Settings) -> &mut Option<T>,
    pub(super) whole: fn(&Config) -> T,
    pub(super) on: T,
    pub(super) off: T,
}

/// Several values. They are read from segue.toml all at once, so that each mistake is told.
pub(super) struct List<T: 'static> {
    pub(super) given: fn(&mut Settings) -> &mut Vec<T>,
    pub(super) whole: fn(&Config) -> &[T],
    /// As for a [`ValueType`], one value at a time.
    pub(super) takes: fn() -> Takes,
    pub(super) parse: fn(&OsStr) -> Result<T, String>,
    pub(super) write: fn(&T) -> OsString,
    /// Reads all of them from segue.toml.
    pub(super) read: fn(&Item<'_>, &mut Vec<T>) -> Result<(), Vec<Wrong>>,
    #[cfg(test)]
    pub(super) toml: &'static str,
    #[cfg(test)]
    pub(super) any: fn(&mut fastrand::Rng) -> T,
}

/// What is no setting of the app: the way to segue.toml.
pub(super) struct Nothing;

/// `--flag=value`.
fn argument(flag: &str, value: &OsStr) -> OsString {
    let mut argument = OsString::from(format!("--{flag}="));
    argument.push(value);
    argument
}

impl<T: Sync> Storage for Field<T> {
    fn takes(&self) -> Takes {
        (self.value_type.takes)()
    }

    fn times(&self) -> Times {
        Times::Once
    }

    fn take(&self, given: &OsStr, settings: &mut Settings) -> Result<(), String> {
        *(self.given)(settings) = Some((self.value_type.parse)(given)?);
        Ok(())
    }

    fn read(&self, item: &Item<'_>, settings: &mut Settings) -> Result<(), Vec<Wrong>> {
        let value = (self.value_type.read)(item).map_err(|wrong| vec![wrong])?;
        *(self.given)(settings) = Some(value);
        Ok(())
    }

    fn say(&self, flag: &str, config: &Config) -> Vec<OsString> {
        let value = (self.whole)(config);
        let said = value.map(|value| argument(flag, &(self.value_type.write)(&value)));
        said.into_iter().collect()
    }

    fn default(&self) -> Option<String> {
        let text = (self.value_type.write)(self.default.as_ref()?);
        Some(text.to_string_lossy().into_owned())
    }

    #[cfg(test)]
    fn toml(&self) -> &'static str {
        self.value_type.toml
    }

    #[cfg(test)]
    fn roll(&self, dice: &mut fastrand::Rng, settings: &mut Settings) {
        *(self.given)(settings) = dice.bool().then(|| (self.value_type.any)(dice));
    }
}

impl<T: Sync + Copy + PartialEq> Storage for Switch<T> {
    fn takes(&self) -> Takes {
        Takes::Nothing
    }

    fn times(&self) -> Times {
        Times::Once
    }

    fn take(&self, _: &OsStr, settings: &mut Settings) -> Result<(), String> {
        *(self.given)(settings) = Some(self.on);
        Ok(())
    }

    fn read(&self, item: &Item<'_>, settings: &mut Settings) -> Result<(), Vec<Wrong>> {
        let on = item.flag().map_err(|wrong| vec![wrong])?;
        *(self.given)(settings) = Some(if on { self.on } else { self.off });
        Ok(())
    }

    fn say(&self, flag: &str, config: &Config) -> Vec<OsString> {
        let on = (self.whole)(config) == self.on;
        on.then(|| format!("--{flag}").into()).into_iter().collect()
    }

    fn default(&self) -> Option<String> {
        None
    }

    #[cfg(test)]
    fn toml(&self) -> &'static str {
        "Ar boolean"
    }

    #[cfg(test)]
    fn roll(&self, dice: &mut fastrand::Rng, settings: &mut Settings) {
        let value = if dice.bool() { self.on } else { self.off };
        *(self.given)(settings) = dice.bool().then_some(value);
    }
}

impl<T: Sync> Storage for List<T> {
    fn takes(&self) -> Takes {
        (self.takes)()
    }

    fn times(&self) -> Times {
        Times::Many
    }

    fn take(&self, given: &OsStr, settings: &mut Settings) -> Result<(), String> {
        (self.given)(settings).push((self.parse)(given)?);
        Ok(())
    }

    fn read(&self, item: &Item<'_>, settings: &mut Settings) -> Result<(), Vec<Wrong>> {
        (self.read)(item, (self.given)(settings))
    }

    fn say(&self, flag: &str, config: &Config) -> Vec<OsString> {
        let values = (self.whole)(config).iter();
        values.map(|value| argument(flag, &(self.write)(value))).collect()
    }

    fn default(&self) -> Option<String> {
        None
    }

    #[cfg(test)]
    fn toml(&self) -> &'static str {
        self.toml
    }

    #[cfg(test)]
    fn roll(&self, dice: &mut fastrand::Rng, settings: &mut Settings) {
        *(self.given)(settings) = (0..dice.usize(..4)).map(|_| (self.any)(dice)).collect();
    }
}

impl Storage for Nothing {
    fn takes(&self) -> Takes {
        Takes::Path
    }

    fn times(&self) -> Times {
        Times::Once
    }

    fn take(&self, _: &OsStr, _: &mut Settings) -> Result<(), String> {
        Ok(())
    }

    fn read(&self, _: &Item<'_>, _: &mut Settings) -> Result<(), Vec<Wrong>> {
        Ok(())
    }

    fn say(&self, _: &str, _: &Config) -> Vec<OsString> {
        Vec::new()
    }

    fn default(&self) -> Option<String> {
        None
    }

    #[cfg(test)]
    fn toml(&self) -> &'static str {
        ""
    }

    #[cfg(test)]
    fn roll(&self, _: &mut fastrand::Rng, _: &mut Settings) {}
}
