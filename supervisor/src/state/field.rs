//! Fields of rows in both directions.
//!
//! A room names each field of its row once, in a table: [`fields!`] makes the writing and the reading of it. [`words!`] does the same
//! for an enum that is written as a word.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use nix::unistd::{Gid, Pid, Uid};

use super::{Flaw, Row, Rows};

/// A value that is one field of a row.
pub(crate) trait Field: Sized {
    /// Adds the field to the row that was begun. A value that [`Field::absent`] gives is left out.
    fn write(&self, key: &str, rows: &mut Rows);

    /// The value; `None` if the row has no such key.
    ///
    /// # Errors
    /// It is there and cannot be read.
    fn read_if_any(key: &str, row: Row<'_>) -> Result<Option<Self>, Flaw>;

    /// What a row without the key means; `None` if no row may lack it.
    fn absent() -> Option<Self> {
        None
    }

    /// The value.
    ///
    /// # Errors
    /// It is missing or cannot be read.
    fn read(key: &str, row: Row<'_>) -> Result<Self, Flaw> {
        Self::read_if_any(key, row)?
            .or_else(Self::absent)
            .ok_or_else(|| row.lacks(key))
    }
}

/// What can be saved as fields of one row, by a table that [`fields!`] has been given.
pub(crate) trait Fields {
    /// Adds all of them to the row that was begun.
    fn save_fields(&self, rows: &mut Rows);

    /// Takes them from a row. All else stays as it is.
    ///
    /// # Errors
    /// One of them is missing or cannot be read.
    fn restore_fields(&mut self, row: Row<'_>) -> Result<(), Flaw>;
}

/// What one row holds entirely.
pub(crate) trait Whole: Fields + Sized {
    /// The value of a row.
    ///
    /// # Errors
    /// A field is missing or cannot be read.
    fn of_row(row: Row<'_>) -> Result<Self, Flaw>;
}

/// Says which fields of a struct are saved, and under which keys. With `or` a field is left out where it has this value, and a row
/// without the key means it: so a field can be added to rows that other versions have written.
macro_rules! fields {
    ($type:ty { $($key:literal $($name:ident).+ $(or $default:expr)?;)+ }) => {
        impl $crate::state::Fields for $type {
            fn save_fields(&self, rows: &mut $crate::state::Rows) {
                $($crate::state::field!(write rows, $key, self.$($name).+ $(, $default)?);)+
            }

            fn restore_fields(&mut self, row: $crate::state::Row<'_>) -> Result<(), $crate::state::Flaw> {
                $(self.$($name).+ = $crate::state::field!(read row, $key $(, $default)?);)+
                Ok(())
            }
        }
    };
}

/// As [`fields!`], for a struct all of whose fields are saved: it can be made from a row.
macro_rules! whole {
    ($type:ty { $($key:literal $name:ident $(or $default:expr)?;)+ }) => {
        $crate::state::fields!($type { $($key $name $(or $default)?;)+ });

        impl $crate::state::Whole for $type {
            fn of_row(row: $crate::state::Row<'_>) -> Result<Self, $crate::state::Flaw> {
                Ok(Self { $($name: $crate::state::field!(read row, $key $(, $default)?),)+ })
            }
        }
    };
}

/// One line of [`fields!`].
macro_rules! field {
    (write $rows:ident, $key:literal, $value:expr) => {
        $crate::state::Field::write(&$value, $key, $rows)
    };
    (write $rows:ident, $key:literal, $value:expr, $default:expr) => {
        if $value != $default {
            $crate::state::Field::write(&$value, $key, $rows);
        }
    };
    (read $row:ident, $key:literal) => {
        $crate::state::Field::read($key, $row)?
    };
    (read $row:ident, $key:literal, $default:expr) => {
        $crate::state::Field::read_if_any($key, $row)?.unwrap_or($default)
    };
}

/// Gives the variants of an enum their words. The variant behind `or` is what a row without the key means.
macro_rules! words {
    ($type:ty { $($word:literal $variant:ident;)+ } $(or $absent:ident)?) => {
        impl $crate::state::Field for $type {
            fn write(&self, key: &str, rows: &mut $crate::state::Rows) {
                match self {
                    $(Self::$variant => {
                        rows.text(key, $word);
                    })+
                    $(Self::$absent => {})?
                }
            }

            fn read_if_any(
                key: &str,
                row: $crate::state::Row<'_>,
            ) -> Result<Option<Self>, $crate::state::Flaw> {
                let Some(word) = row.text_if_any(key)? else { return Ok(None) };
                match word.as_str() {
                    $($word => Ok(Some(Self::$variant)),)+
                    _ => Err(row.lacks(key)),
                }
            }

            $(fn absent() -> Option<Self> {
                Some(Self::$absent)
            })?
        }
    };
}

/// Makes fields of types whose `Display` writes what their `FromStr` reads.
macro_rules! by_text {
    ($($type:ty),+) => {$(
        impl $crate::state::Field for $type {
            fn write(&self, key: &str, rows: &mut $crate::state::Rows) {
                rows.text(key, &self.to_string());
            }

            fn read_if_any(
                key: &str,
                row: $crate::state::Row<'_>,
            ) -> Result<Option<Self>, $crate::state::Flaw> {
                let text = row.text_if_any(key)?;
                text.map(|text| text.parse().map_err(|_| row.lacks(key)))
                    .transpose()
            }
        }
    )+};
}

/// Makes fields of types that have a form in JSON. What cannot be read is as good as absent: this is for
/// what people are told, which is no reason to lose an app.
macro_rules! by_json {
    ($($type:ty),+) => {$(
        impl $crate::state::Field for $type {
            fn write(&self, key: &str, rows: &mut $crate::state::Rows) {
                // Our own types have string keys, so that this cannot fail.
                rows.text(key, &serde_json::to_string(self).unwrap_or_default());
            }

            fn read_if_any(
                key: &str,
                row: $crate::state::Row<'_>,
            ) -> Result<Option<Self>, $crate::state::Flaw> {
                let text = row.text_if_any(key)?;
                Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
            }
        }
    )+};
}

/// Makes fields of types that are written as another one.
macro_rules! written_as {
    ($($type:ty as $other:ty: $write:expr, $read:expr;)+) => {$(
        impl $crate::state::Field for $type {
            fn write(&self, key: &str, rows: &mut $crate::state::Rows) {
                let write: fn(&$type) -> $other = $write;
                $crate::state::Field::write(&write(self), key, rows);
            }

            fn read_if_any(
                key: &str,
                row: $crate::state::Row<'_>,
            ) -> Result<Option<Self>, $crate::state::Flaw> {
                Ok(<$other as $crate::state::Field>::read_if_any(key, row)?.map($read))
            }
        }
    )+};
}

pub(crate) use {by_json, by_text, field, fields, whole, words, written_as};

by_text!(i16, i32, String);

/// Whole numbers from 0 on.
macro_rules! numbers {
    ($($type:ty),+) => {$(
        impl Field for $type {
            fn write(&self, key: &str, rows: &mut Rows) {
                rows.number(key, u64::from(*self));
            }

            fn read_if_any(key: &str, row: Row<'_>) -> Result<Option<Self>, Flaw> {
                let number = row.number_if_any(key)?;
                number.map(|number| number.try_into().map_err(|_| row.lacks(key)))
                    .transpose()
            }
        }
    )+};
}

numbers!(u8, u16, u32, u64);

written_as! {
    Pid as i32: |pid| pid.as_raw(), Pid::from_raw;
    Uid as u32: |uid| uid.as_raw(), Uid::from_raw;
    Gid as u32: |gid| gid.as_raw(), Gid::from_raw;
    Duration as u64: |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Duration::from_nanos;
    PathBuf as OsString: |path| path.as_os_str().to_owned(), PathBuf::from;
}

impl Field for OsString {
    fn write(&self, key: &str, rows: &mut Rows) {
        rows.os(key, self);
    }

    fn read_if_any(key: &str, row: Row<'_>) -> Result<Option<Self>, Flaw> {
        row.os_if_any(key)
    }
}

/// Any bytes; none if the key is absent.
impl Field for Vec<u8> {
    fn write(&self, key: &str, rows: &mut Rows) {
        if !self.is_empty() {
            rows.bytes(key, self);
        }
    }

    fn read_if_any(key: &str, row: Row<'_>) -> Result<Option<Self>, Flaw> {
        row.bytes_if_any(key)
    }

    fn absent() -> Option<Self> {
        Some(Self::new())
    }
}

/// There or not there.
impl Field for bool {
    fn write(&self, key: &str, rows: &mut Rows) {
        if *self {
            rows.number(key, 1);
        }
    }

    fn read_if_any(key: &str, row: Row<'_>) -> Result<Option<Self>, Flaw> {
        Ok(row.number_if_any(key)?.map(|number| number > 0))
    }

    fn absent() -> Option<Self> {
        Some(false)
    }
}

impl<T: Field> Field for Option<T> {
    fn write(&self, key: &str, rows: &mut Rows) {
        if let Some(value) = self {
            value.write(key, rows);
        }
    }

    fn read_if_any(key: &str, row: Row<'_>) -> Result<Option<Self>, Flaw> {
        Ok(T::read_if_any(key, row)?.map(Some))
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

/// Numbers with blanks between them.
impl Field for BTreeSet<u64> {
    fn write(&self, key: &str, rows: &mut Rows) {
        let numbers: Vec<String> = self.iter().map(u64::to_string).collect();
        if !numbers.is_empty() {
            rows.text(key, &numbers.join(" "));
        }
    }

    fn read_if_any(key: &str, row: Row<'_>) -> Result<Option<Self>, Flaw> {
        let Some(text) = row.text_if_any(key)? else {
            return Ok(None);
        };
        let numbers = text.split(' ').map(|number| number.parse().ok());
        let numbers: Option<Self> = numbers.collect();
        numbers.map(Some).ok_or_else(|| row.lacks(key))
    }

    fn absent() -> Option<Self> {
        Some(Self::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Mood {
        Calm,
        Loud,
        VeryLoud,
    }

    words!(Mood { "loud" Loud; "very-loud" VeryLoud; } or Calm);

    #[derive(Clone, Debug, PartialEq)]
    struct Thing {
        name: String,
        size: u16,
        mood: Mood,
        seen: bool,
        path: Option<PathBuf>,
        signal: Option<i32>,
        bytes: Vec<u8>,
        numbers: BTreeSet<u64>,
        count: u64,
        took: Duration,
        inner: (u8, Option<Pid>),
        not_saved: u8,
    }

    fields!(Thing {
        "name" name;
        "size" size;
        "mood" mood;
        "seen" seen;
        "path" path;
        "signal" signal;
        "bytes" bytes;
        "numbers" numbers;
        "count" count or 3;
        "took" took;
        "pid" inner;
    });

    /// A field inside another field.
    impl Field for (u8, Option<Pid>) {
        fn write(&self, key: &str, rows: &mut Rows) {
            self.1.write(key, rows);
        }

        fn read_if_any(key: &str, row: Row<'_>) -> Result<Option<Self>, Flaw> {
            Ok(Some((0, Field::read(key, row)?)))
        }
    }

    fn plain() -> Thing {
        Thing {
            name: String::new(),
            size: 0,
            mood: Mood::Calm,
            seen: false,
            path: None,
            signal: None,
            bytes: Vec::new(),
            numbers: BTreeSet::new(),
            count: 3,
            took: Duration::ZERO,
            inner: (0, None),
            not_saved: 9,
        }
    }

    fn full() -> Thing {
        Thing {
            name: "a = % b".to_owned(),
            size: u16::MAX,
            mood: Mood::VeryLoud,
            seen: true,
            path: Some("/with blank".into()),
            signal: Some(-3),
            bytes: vec![0, 255],
            numbers: [1, 20].into(),
            count: 0,
            took: Duration::from_millis(5),
            inner: (0, Some(Pid::from_raw(812))),
            not_saved: 9,
        }
    }

    fn text(thing: &Thing) -> String {
        let mut rows = Rows::default();
        thing.save_fields(rows.begin("thing"));
        String::from_utf8(rows.finish()).unwrap()
    }

    fn read(text: &str, into: &Thing) -> Result<Thing, Flaw> {
        let mut thing = into.clone();
        thing.restore_fields(Row::all(text.as_bytes())?[0])?;
        Ok(thing)
    }

    #[test]
    fn what_was_written_is_read_and_what_says_nothing_is_left_out() {
        assert_eq!(text(&plain()), "thing name= size=0 took=0\n");
        assert_eq!(
            text(&full()),
            "thing name=a%20=%20%25%20b size=65535 mood=very-loud seen=1 path=/with%20blank signal=-3 \
             bytes=%00%ff numbers=1%2020 count=0 took=5000000 pid=812\n"
        );
        assert_eq!(read(&text(&full()), &plain()), Ok(full()));
        assert_eq!(read(&text(&plain()), &full()), Ok(plain()));
    }

    #[test]
    fn what_is_missing_or_broken_is_named() {
        for (from, to) in [
            (" size=65535", ""),
            ("65535", "65536"),
            ("65535", "-1"),
            ("very-loud", "silent"),
            ("signal=-3", "signal=x"),
            ("numbers=1", "numbers=x"),
            ("%00", "%0"),
        ] {
            let flaw = read(&text(&full()).replace(from, to), &plain()).unwrap_err();
            assert!(flaw.to_string().contains("has no usable"), "{from}: {flaw}");
        }
    }
}
