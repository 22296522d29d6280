//! One value of segue.toml: what it must be, and the refusal that names its place.

use std::ffi::{OsStr, OsString};
use std::ops::Range;
use std::path::PathBuf;

use toml::de::DeValue;

use super::environment::check_variable;
use super::settings::{self, Variable};
use super::text::{one_line, quoted};

/// One value with its full key (`listen[1].backlog`) and its place in the text.
pub(super) struct Item<'a> {
    pub(super) key: String,
    pub(super) span: Range<usize>,
    pub(super) value: &'a DeValue<'a>,
}

/// A refused item: key, place, reason.
pub(super) struct Wrong {
    pub(super) key: String,
    pub(super) span: Range<usize>,
    pub(super) message: String,
}

impl<'a> Item<'a> {
    pub(super) fn wrong(&self, message: impl Into<String>) -> Wrong {
        Wrong {
            key: self.key.clone(),
            span: self.span.clone(),
            message: message.into(),
        }
    }

    pub(super) fn expected(&self, what: &str) -> Wrong {
        self.wrong(format!("expected {what}, got {}", shown(self.value)))
    }

    /// A string.
    pub(super) fn text(&self, what: &str) -> Result<&'a str, Wrong> {
        self.value.as_str().ok_or_else(|| self.expected(what))
    }

    /// A string that one of the parsers of `settings` reads.
    pub(super) fn parsed<T>(
        &self,
        what: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, Wrong> {
        parse(self.text(what)?).map_err(|message| self.wrong(message))
    }

    /// A duration. An integer gets the same answer as a plain number on the command line.
    pub(super) fn duration<T>(&self, parse: impl FnOnce(&str) -> Result<T, String>) -> Result<T, Wrong> {
        match self.value {
            DeValue::Integer(number) => Err(self.wrong(format!(
                "a duration is a string with a unit: \"{}s\"",
                number.as_str()
            ))),
            DeValue::String(_) | DeValue::Float(_) | DeValue::Boolean(_) => {
                self.parsed("a duration such as \"30s\"", parse)
            }
            DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
                Err(self.expected("a duration such as \"30s\""))
            }
        }
    }

    /// A size: a string with a unit, or an integer in bytes.
    pub(super) fn size(&self) -> Result<u64, Wrong> {
        match self.value.as_integer() {
            Some(_) => self.integer(settings::parse_size),
            None => self.parsed("a size such as \"512M\"", settings::parse_size),
        }
    }

    /// A decimal integer.
    pub(super) fn integer<T>(&self, parse: impl FnOnce(&str) -> Result<T, String>) -> Result<T, Wrong> {
        let number = self.value.as_integer().filter(|number| number.radix() == 10);
        let number = number.ok_or_else(|| self.expected("a number"))?;
        parse(number.as_str()).map_err(|message| self.wrong(message))
    }

    pub(super) fn flag(&self) -> Result<bool, Wrong> {
        self.value.as_bool().ok_or_else(|| self.expected("true or false"))
    }

    pub(super) fn path(&self) -> Result<PathBuf, Wrong> {
        let text = self.text("a path as a string")?;
        if text.is_empty() || text.contains('\0') {
            return Err(self.expected("a path"));
        }
        Ok(PathBuf::from(text))
    }

    /// The mask as a string, or as an integer that is written in octal: `umask = 27` would mean 033.
    pub(super) fn umask(&self) -> Result<u32, Wrong> {
        match self.value.as_integer() {
            Some(number) if number.radix() == 8 => {
                settings::parse_umask(number.as_str()).map_err(|message| self.wrong(message))
            }
            Some(number) => Err(self.wrong(format!("a mask is octal: \"{0}\" or 0o{0}", number.as_str()))),
            None => self.parsed("an octal mask such as \"027\"", settings::parse_umask),
        }
    }

    /// The items of an array.
    pub(super) fn items(&self, what: &str) -> Result<Vec<Item<'a>>, Wrong> {
        let array = self.value.as_array().ok_or_else(|| self.expected(what))?;
        let item = |(index, value): (usize, &'a toml::Spanned<DeValue<'a>>)| Item {
            key: format!("{}[{index}]", self.key),
            span: value.span(),
            value: value.get_ref(),
        };
        Ok(array.iter().enumerate().map(item).collect())
    }

    /// The items of a table, in the order of the file.
    pub(super) fn table(&self, what: &str) -> Result<Vec<(&'a str, Item<'a>)>, Wrong> {
        let table = self.value.as_table().ok_or_else(|| self.expected(what))?;
        let items = table.iter().map(|(key, value)| {
            let full = format!("{}.{}", self.key, key.get_ref());
            (
                key.get_ref().as_ref(),
                Item {
                    key: full,
                    span: key.span(),
                    value: value.get_ref(),
                },
            )
        });
        let mut items: Vec<_> = items.collect();
        items.sort_by_key(|(_, item): &(_, Item<'_>)| item.span.start);
        Ok(items)
    }

    pub(super) fn command(&self) -> Result<Vec<OsString>, Wrong> {
        let what = "an array of strings such as [\"./app\", \"--flag\"]";
        let items = self.items(what)?;
        let words: Vec<&str> = items
            .iter()
            .map(|item| item.text("a string"))
            .collect::<Result<_, _>>()?;
        if words.first().is_none_or(|program| program.is_empty()) {
            return Err(self.wrong(format!("expected {what}, got no program")));
        }
        if words.iter().any(|word| word.contains('\0')) {
            return Err(self.wrong("an argument cannot hold a NUL character"));
        }
        Ok(words.into_iter().map(OsString::from).collect())
    }

    /// One path, or an array of them.
    pub(super) fn paths(&self) -> Result<Vec<PathBuf>, Wrong> {
        if self.value.is_str() {
            return Ok(vec![self.path()?]);
        }
        self.items("a path or an array of paths")?
            .iter()
            .map(Item::path)
            .collect()
    }

    /// One glob, or an array of them.
    pub(super) fn globs(&self, parse: impl Fn(&str) -> Result<String, String>) -> Result<Vec<String>, Wrong> {
        let what = "a glob such as \"*.log\"";
        if self.value.is_str() {
            return Ok(vec![self.parsed(what, parse)?]);
        }
        self.items("a glob or an array of globs")?
            .iter()
            .map(|item| item.parsed(what, &parse))
            .collect()
    }

    pub(super) fn variables(&self) -> Result<Vec<Variable>, Wrong> {
        let variable = |(name, item): (&str, Item<'_>)| {
            // The value is not repeated in an error, for it may be a secret.
            let value = item
                .value
                .as_str()
                .ok_or_else(|| item.wrong("expected a string"))?;
            check_variable(OsStr::new(name), OsStr::new(value)).map_err(|message| item.wrong(message))?;
            Ok((OsString::from(name), OsString::from(value)))
        };
        if !self.value.is_table() {
            return Err(self.wrong("expected a table such as { LOG = \"info\" }"));
        }
        self.table("a table")?.into_iter().map(variable).collect()
    }
}

/// A value in an error: what it is, and itself if it is short.
fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => quoted(text),
        DeValue::Integer(number) => one_line(number.as_str()),
        DeValue::Float(number) => one_line(number.as_str()),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// The refusal of a key that does not exist, with the key that was probably meant.
pub(super) fn unknown(item: &Item<'_>, keys: &[&str]) -> Wrong {
    let last = item.key.rsplit('.').next().unwrap_or(&item.key);
    let hint = match nearest(last, keys) {
        Some(key) => format!("; did you mean `{key}`?"),
        None => String::new(),
    };
    item.wrong(format!("there is no such key{hint}"))
}

/// A key that differs only in `_`, capitals, or one character added, dropped or changed.
fn nearest<'a>(word: &str, keys: &[&'a str]) -> Option<&'a str> {
    let word = word.to_ascii_lowercase().replace('_', "-");
    keys.iter()
        .copied()
        .find(|key| *key == word)
        .or_else(|| keys.iter().copied().find(|key| differ_by_one(&word, key)))
}

fn differ_by_one(left: &str, right: &str) -> bool {
    let same = |(left, right): &(u8, u8)| left == right;
    let front = left.bytes().zip(right.bytes()).take_while(same).count();
    let back = left
        .bytes()
        .rev()
        .zip(right.bytes().rev())
        .take_while(same)
        .count();
    let longer = left.len().max(right.len());
    left.len().abs_diff(right.len()) <= 1 && longer > 2 && front + back + 1 >= longer
}
