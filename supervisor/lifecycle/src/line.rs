//! A line of the saved machine, in both directions: `core-process is=4.0.2 life=serving leader=running`.
//!
//! Each field of a struct stands once, in a table: [`line!`] makes the writing and the reading of it.

use crate::words::{self, Word};
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Why a text is no machine, in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw(String);

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for Flaw {}

/// `CAUSE: LINE`.
pub(crate) fn flaw(cause: &str, line: &str) -> Flaw {
    let mut text = String::from(cause);
    text.push_str(": ");
    text.push_str(line);
    Flaw(text)
}

/// A line that is being written.
pub(crate) struct Line<'a>(&'a mut String);

impl<'a> Line<'a> {
    pub(crate) fn begin(text: &'a mut String, kind: &str) -> Self {
        text.push_str(kind);
        Self(text)
    }

    pub(crate) fn field(&mut self, key: &str, value: &impl Field) {
        value.write(key, self);
    }

    pub(crate) fn end(self) {
        self.0.push('\n');
    }

    fn key(&mut self, key: &str) {
        self.0.push(' ');
        self.0.push_str(key);
        self.0.push('=');
    }

    fn list<'w, W: Word + 'w>(&mut self, key: &str, values: impl Iterator<Item = &'w W>) {
        self.key(key);
        for (place, value) in values.enumerate() {
            if place > 0 {
                self.0.push(',');
            }
            value.write(self.0);
        }
    }
}

/// A line that is being read.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a>(pub(crate) &'a str);

impl<'a> Fields<'a> {
    pub(crate) fn kind(self) -> &'a str {
        self.0.split(' ').next().unwrap_or_default()
    }

    /// The value of a field.
    ///
    /// # Errors
    /// It cannot be read, or it is missing and may not.
    pub(crate) fn get<F: Field>(self, key: &str) -> Result<F, Flaw> {
        let value = F::read_if_any(key, self)?.or_else(F::absent);
        value.ok_or_else(|| flaw(key, self.0))
    }

    /// The value of a field that may be missing.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn get_if_any<F: Field>(self, key: &str) -> Result<Option<F>, Flaw> {
        F::read_if_any(key, self)
    }

    fn raw(self, key: &str) -> Option<&'a str> {
        let mut fields = self.0.split(' ').skip(1);
        fields.find_map(|field| field.strip_prefix(key)?.strip_prefix('='))
    }

    fn list<W: Word, L: FromIterator<W>>(self, key: &str) -> Result<Option<L>, Flaw> {
        let Some(raw) = self.raw(key) else { return Ok(None) };
        let values = raw.split(',').filter(|value| !value.is_empty());
        let values: Option<L> = values.map(words::read_whole).collect();
        values.map(Some).ok_or_else(|| flaw(key, self.0))
    }
}

/// A value that is one field of a line.
pub(crate) trait Field: Sized {
    fn write(&self, key: &str, line: &mut Line<'_>);

    /// The value; `None` if the line has no such key.
    fn read_if_any(key: &str, line: Fields<'_>) -> Result<Option<Self>, Flaw>;

    /// What a line without the key means; `None` if no line may lack it.
    fn absent() -> Option<Self> {
        None
    }
}

impl<W: Word> Field for W {
    fn write(&self, key: &str, line: &mut Line<'_>) {
        line.key(key);
        Word::write(self, line.0);
    }

    fn read_if_any(key: &str, line: Fields<'_>) -> Result<Option<Self>, Flaw> {
        match line.raw(key) {
            Some(raw) => words::read_whole(raw).map(Some).ok_or_else(|| flaw(key, line.0)),
            None => Ok(None),
        }
    }
}

/// Words in a row, divided by commas, are one field. A line without it means none.
macro_rules! list {
    ($list:ident<Word $(+ $order:ident)?>) => {
        impl<W: Word $(+ $order)?> Field for $list<W> {
            fn write(&self, key: &str, line: &mut Line<'_>) {
                line.list(key, self.iter());
            }

            fn read_if_any(key: &str, line: Fields<'_>) -> Result<Option<Self>, Flaw> {
                line.list(key)
            }

            fn absent() -> Option<Self> {
                Some(Self::new())
            }
        }
    };
}

list!(Vec<Word>);
list!(BTreeSet<Word + Ord>);

/// What has a line of its own, by a table that [`line!`] has been given.
pub(crate) trait Saved: Sized {
    /// The first word of the line.
    const KIND: &'static str;

    /// Add all its fields to a line.
    fn write_fields(&self, line: &mut Line<'_>);

    /// Read them from a line.
    fn load(line: Fields<'_>) -> Result<Self, Flaw>;

    /// Write a whole line.
    fn save(&self, text: &mut String) {
        let mut line = Line::begin(text, Self::KIND);
        self.write_fields(&mut line);
        line.end();
    }
}

/// Says which fields of a struct its line has, and under which keys. One with `if any` is left out where it is `None`. With `or` a field
/// is left out where it has this value, and a line without the key means it. What is behind `besides` is in other lines, and empty at first.
macro_rules! line {
    (
        $type:ident $kind:literal { $($key:literal $field:ident $(if $any:ident)? $(or $absent:expr)?;)+ }
        $(besides { $($other:ident $empty:expr;)+ })?
    ) => {
        impl $crate::line::Saved for $type {
            const KIND: &'static str = $kind;

            fn write_fields(&self, line: &mut $crate::line::Line<'_>) {
                $($crate::line::line!(write line, $key, &self.$field $(, if $any)? $(, or $absent)?);)+
            }

            fn load(line: $crate::line::Fields<'_>) -> Result<Self, $crate::line::Flaw> {
                Ok(Self {
                    $($field: $crate::line::line!(read line, $key $(, if $any)? $(, or $absent)?),)+
                    $($($other: $empty,)+)?
                })
            }
        }
    };
    (write $line:ident, $key:literal, $value:expr) => {
        $line.field($key, $value)
    };
    (write $line:ident, $key:literal, $value:expr, if any) => {
        if let Some(value) = $value {
            $line.field($key, value);
        }
    };
    (write $line:ident, $key:literal, $value:expr, or $absent:expr) => {
        if *$value != $absent {
            $line.field($key, $value);
        }
    };
    (read $line:ident, $key:literal) => {
        $line.get($key)?
    };
    (read $line:ident, $key:literal, if any) => {
        $line.get_if_any($key)?
    };
    (read $line:ident, $key:literal, or $absent:expr) => {
        $line.get_if_any($key)?.unwrap_or($absent)
    };
}

pub(crate) use line;
