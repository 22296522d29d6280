//! The types of values: how each is read from the command line and from segue.toml, and written so that it can be read again.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::super::apps::App;
use super::super::duration::{self, Limit};
use super::super::item::{Item, Wrong};
use super::super::settings::{self, LogFormat, LogTime, Mode, Ready, StopSignalTo, Word};
use super::super::signal;
use super::Takes;
#[cfg(test)]
use super::tests::{bytes, letters};
use crate::activation::Protocol;

/// How values of one type are read and written.
pub(super) struct ValueType<T: 'static> {
    /// What the command line accepts before [`ValueType::parse`] sees it.
    pub(super) takes: fn() -> Takes,
    /// Reads a value of the command line. The error is one line.
    pub(super) parse: fn(&OsStr) -> Result<T, String>,
    /// Reads a value of segue.toml.
    pub(super) read: fn(&Item<'_>) -> Result<T, Wrong>,
    /// Writes it as `parse` reads it.
    pub(super) write: fn(&T) -> OsString,
    /// What segue.toml(5) calls it, in mdoc(7).
    #[cfg(test)]
    pub(super) toml: &'static str,
    /// Any value, for tests.
    #[cfg(test)]
    pub(super) any: fn(&mut fastrand::Rng) -> T,
}

pub(super) static WORKERS: ValueType<u16> = ValueType {
    takes: || Takes::Text,
    parse: |given| settings::parse_workers(text(given)?),
    read: |item| item.integer(settings::parse_workers),
    write: |count| count.to_string().into(),
    #[cfg(test)]
    toml: "Ar integer",
    #[cfg(test)]
    any: |dice| dice.u16(1..=super::super::MAX_WORKERS),
};

pub(super) static GENERATIONS: ValueType<u16> = ValueType {
    takes: || Takes::Text,
    parse: |given| settings::parse_generations(text(given)?),
    read: |item| item.integer(settings::parse_generations),
    write: |count| count.to_string().into(),
    #[cfg(test)]
    toml: "Ar integer",
    #[cfg(test)]
    any: |dice| dice.u16(2..1_000),
};

pub(super) static OOM_SCORE: ValueType<i16> = ValueType {
    takes: || Takes::Number,
    parse: |given| settings::parse_oom_score(text(given)?),
    read: |item| item.integer(settings::parse_oom_score),
    write: |score| score.to_string().into(),
    #[cfg(test)]
    toml: "Ar integer",
    #[cfg(test)]
    any: |dice| dice.i16(-1000..=1000),
};

pub(super) static UMASK: ValueType<u32> = ValueType {
    takes: || Takes::Text,
    parse: |given| settings::parse_umask(text(given)?),
    read: |item| item.umask(),
    write: |mask| format!("{mask:03o}").into(),
    #[cfg(test)]
    toml: "Ar string",
    #[cfg(test)]
    any: |dice| dice.u32(..=0o777),
};

pub(super) static SIZE: ValueType<u64> = ValueType {
    takes: || Takes::Text,
    parse: |given| settings::parse_size(text(given)?),
    read: |item| item.size(),
    write: |bytes| bytes.to_string().into(),
    #[cfg(test)]
    toml: "Ar size",
    #[cfg(test)]
    any: |dice| dice.u64(1..),
};

pub(super) static DURATION: ValueType<Duration> = ValueType {
    takes: || Takes::Text,
    parse: |given| duration::parse(text(given)?),
    read: |item| item.duration(duration::parse),
    write: |time| duration::text(*time).into(),
    #[cfg(test)]
    toml: "Ar duration",
    #[cfg(test)]
    any: |dice| Duration::from_millis(dice.u64(..99_999)),
};

pub(super) static LIMIT: ValueType<Limit> = ValueType {
    takes: || Takes::Text,
    parse: |given| text(given)?.parse(),
    read: |item| item.duration(str::parse),
    write: |Limit(limit)| limit.map_or_else(|| "none".to_owned(), duration::text).into(),
    #[cfg(test)]
    toml: "Ar limit",
    #[cfg(test)]
    any: |dice| {
        let time = Duration::from_millis(dice.u64(1_000..9_000_000));
        Limit(dice.bool().then_some(time))
    },
};

pub(super) static READY: ValueType<Ready> = ValueType {
    takes: || Takes::Text,
    parse: |given| text(given)?.parse(),
    read: |item| item.parsed("\"auto\", \"notify\", \"accepting\" or \"exec:2s\"", str::parse),
    write: |ready| match ready {
        Ready::Auto => "auto".into(),
        Ready::Notify => "notify".into(),
        Ready::Exec(time) => format!("exec:{}", duration::text(*time)).into(),
        Ready::Accepting => "accepting".into(),
    },
    #[cfg(test)]
    toml: "Ar string",
    #[cfg(test)]
    any: |dice| {
        let time = Duration::from_millis(dice.u64(..900));
        match dice.u8(..4) {
            0 => Ready::Notify,
            2 => Ready::Auto,
            1 => Ready::Accepting,
            _ => Ready::Exec(time),
        }
    },
};

pub(super) static SIGNAL: ValueType<Signal> = ValueType {
    takes: || Takes::Text,
    parse: |given| signal::parse_stop_signal(text(given)?),
    read: |item| item.parsed("a name", signal::parse_stop_signal),
    write: |signal| signal::short_name(*signal).into(),
    #[cfg(test)]
    toml: "Ar string",
    #[cfg(test)]
    any: |dice| {
        let signals = [Signal::SIGTERM, Signal::SIGQUIT, Signal::SIGWINCH, Signal::SIGINT];
        signals[dice.usize(..signals.len())]
    },
};

pub(super) static APP_NAME: ValueType<App> = ValueType {
    takes: || Takes::Text,
    parse: |given| App::parse(text(given)?),
    read: |item| item.parsed("the name of a preset", App::parse_key),
    write: |app| app.name().into(),
    #[cfg(test)]
    toml: "Ar string",
    #[cfg(test)]
    any: App::any,
};

pub(super) static PROTOCOL: ValueType<Protocol> = word();
pub(super) static STOP_SIGNAL_TO: ValueType<StopSignalTo> = word();
pub(super) static MODE: ValueType<Mode> = word();
pub(super) static LOG_FORMAT: ValueType<LogFormat> = word();
pub(super) static LOG_TIME: ValueType<LogTime> = word();

const fn word<T: Word>() -> ValueType<T> {
    ValueType {
        takes: || Takes::Words(T::ALL.iter().map(|(word, _)| *word).collect()),
        parse: |given| T::parse(text(given)?),
        read: |item| item.parsed(&T::choice('"'), T::parse),
        write: |value| value.word().into(),
        #[cfg(test)]
        toml: "Ar string",
        #[cfg(test)]
        any: |dice| T::ALL[dice.usize(..T::ALL.len())].1,
    }
}

pub(super) static NAME: ValueType<String> = ValueType {
    takes: || Takes::Text,
    parse: |given| settings::parse_name(text(given)?),
    read: |item| item.parsed("a string", settings::parse_name),
    write: |name| name.into(),
    #[cfg(test)]
    toml: "Ar string",
    #[cfg(test)]
    any: letters,
};

pub(super) static ACCOUNT: ValueType<String> = ValueType {
    takes: || Takes::Text,
    parse: |given| settings::parse_account(text(given)?),
    read: |item| item.parsed("a name or number as a string", settings::parse_account),
    write: |account| account.into(),
    #[cfg(test)]
    toml: "Ar string",
    #[cfg(test)]
    any: letters,
};

pub(super) static SHELL_COMMAND: ValueType<String> = ValueType {
    takes: || Takes::Text,
    parse: |given| settings::parse_shell_command(text(given)?),
    read: |item| item.parsed("a shell command", settings::parse_shell_command),
    write: |command| command.into(),
    #[cfg(test)]
    toml: "Ar string",
    #[cfg(test)]
    any: |dice| format!("-{}\n'{}'", letters(dice), letters(dice)),
};

pub(super) static PATH: ValueType<PathBuf> = ValueType {
    takes: || Takes::Path,
    parse: |given| Ok(given.into()),
    read: |item| item.path(),
    write: |path| path.into(),
    #[cfg(test)]
    toml: "Ar path",
    #[cfg(test)]
    any: |dice| bytes(dice).into(),
};

/// Text for what reads text. The command line has refused anything else by then.
pub(super) fn text(given: &OsStr) -> Result<&str, String> {
    given.to_str().ok_or_else(|| "expected text in UTF-8".to_owned())
}
