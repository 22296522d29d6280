//! Placeholders: `{fd:NAME}`, `{address:NAME}`, `{port:NAME}`, `{generation}`, `{worker}` and `{runtime}`.
//!
//! Only these very forms are any, and not after a `$`: `${worker}` is the shell's. Every other brace stays as it is, for JSON,
//! log formats and shells are full of them.

use std::ffi::{OsStr, OsString};
use std::ops::Range;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use super::{Told, Values};

/// What stands between the braces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placeholder<'a> {
    Fd(&'a str),
    Address(&'a str),
    Port(&'a str),
    Generation,
    Worker,
    Runtime,
}

/// A listener by which placeholders are checked before there is a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) name: String,
    pub(crate) has_port: bool,
}

impl<'a> Placeholder<'a> {
    fn parse(inside: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(inside).ok()?;
        match text {
            "generation" => return Some(Self::Generation),
            "worker" => return Some(Self::Worker),
            "runtime" => return Some(Self::Runtime),
            _ => {}
        }
        let (kind, name) = text.split_once(':')?;
        if name.is_empty() || !name.chars().all(is_of_a_name) {
            return None;
        }
        match kind {
            "fd" => Some(Self::Fd(name)),
            "address" => Some(Self::Address(name)),
            "port" => Some(Self::Port(name)),
            _ => None,
        }
    }

    /// The listener that it names, if it names one.
    fn listener(self) -> Option<&'a str> {
        match self {
            Self::Fd(name) | Self::Address(name) | Self::Port(name) => Some(name),
            Self::Generation | Self::Worker | Self::Runtime => None,
        }
    }
}

/// What a listener may be called, as far as it can stand between braces.
fn is_of_a_name(sign: char) -> bool {
    sign.is_ascii_graphic() && !matches!(sign, '{' | '}' | ':' | '$')
}

/// Each placeholder and where it stands, braces included.
fn placeholders(text: &[u8]) -> Vec<(Range<usize>, Placeholder<'_>)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(open) = text.get(at..).and_then(|rest| position(rest, b'{')) {
        let open = at + open;
        at = open + 1;
        if open > 0 && text.get(open - 1) == Some(&b'$') {
            continue;
        }
        let Some(rest) = text.get(at..) else { break };
        let Some(length) = position(rest, b'}') else { break };
        if let Some(placeholder) = rest.get(..length).and_then(Placeholder::parse) {
            at += length + 1;
            found.push((open..at, placeholder));
        }
    }
    found
}

fn position(text: &[u8], wanted: u8) -> Option<usize> {
    text.iter().position(|byte| *byte == wanted)
}

/// Whether the text has a `{runtime}`.
pub(crate) fn has_runtime(text: &OsStr) -> bool {
    let mut found = placeholders(text.as_bytes()).into_iter();
    found.any(|(_, placeholder)| placeholder == Placeholder::Runtime)
}

/// Whether the text has any placeholder.
pub(crate) fn has_any(text: &OsStr) -> bool {
    !placeholders(text.as_bytes()).is_empty()
}

/// Whether every listener that the text names is there and has what is asked of it.
///
/// # Errors
/// One line that begins with the placeholder.
pub(super) fn check(text: &OsStr, known: &[Known]) -> Result<(), String> {
    for (place, placeholder) in placeholders(text.as_bytes()) {
        let Some(name) = placeholder.listener() else {
            continue;
        };
        let shown = shown(text, &place);
        let Some(listener) = known.iter().find(|known| known.name == name) else {
            let names: Vec<&str> = known.iter().map(|known| known.name.as_str()).collect();
            let there = if names.is_empty() {
                "there is none".to_owned()
            } else {
                format!("there is {}", names.join(", "))
            };
            return Err(format!("{shown}: no listener is called {name} ({there})"));
        };
        if placeholder == Placeholder::Port(name) && !listener.has_port {
            return Err(format!("{shown}: a Unix socket has no port"));
        }
    }
    Ok(())
}

/// What is wrong with the placeholders of a command line and of those variables that may have some: one line each.
pub(crate) fn problems(
    command: &[OsString],
    env: &[(OsString, OsString)],
    templates: &[OsString],
    known: &[Known],
) -> Vec<String> {
    // The name of the program is taken as it stands.
    let arguments = command
        .iter()
        .skip(1)
        .filter_map(|word| check(word, known).err())
        .map(|why| format!("argument {why}"));
    let variables = env
        .iter()
        .filter(|(name, _)| templates.contains(name))
        .filter_map(|(name, value)| Some((name, check(value, known).err()?)))
        .map(|(name, why)| format!("environment variable {:?}: {why}", name.display()));
    arguments.chain(variables).collect()
}

/// The text with each placeholder replaced. Of several sockets with one name the first counts.
///
/// # Errors
/// As for [`check`].
pub(crate) fn fill(text: &OsStr, values: &Values<'_>) -> Result<OsString, String> {
    let bytes = text.as_bytes();
    let mut filled = Vec::with_capacity(bytes.len());
    let mut from = 0;
    for (place, placeholder) in placeholders(bytes) {
        filled.extend_from_slice(bytes.get(from..place.start).unwrap_or_default());
        let refused = |why: &str| format!("{}: {why}", shown(text, &place));
        let told = |name: &str| -> Result<&Told<'_>, String> {
            let mut listeners = values.listeners.iter();
            let found = listeners.find(|told| told.name == name);
            found.ok_or_else(|| refused("this worker has no such listener"))
        };
        let value: OsString = match placeholder {
            Placeholder::Fd(name) => told(name)?.fd.to_string().into(),
            Placeholder::Address(name) => told(name)?.address.to_owned(),
            Placeholder::Port(name) => {
                let port = told(name)?.port;
                let port = port.ok_or_else(|| refused("a Unix socket has no port"))?;
                port.to_string().into()
            }
            Placeholder::Generation => values.generation.to_string().into(),
            Placeholder::Worker => values.worker.to_string().into(),
            Placeholder::Runtime => match values.runtime {
                Some(path) => path.as_os_str().to_owned(),
                None => return Err(refused("there is no directory for it")),
            },
        };
        filled.extend_from_slice(value.as_bytes());
        from = place.end;
    }
    filled.extend_from_slice(bytes.get(from..).unwrap_or_default());
    Ok(OsString::from_vec(filled))
}

fn shown(text: &OsStr, place: &Range<usize>) -> String {
    let bytes = text.as_bytes().get(place.clone()).unwrap_or_default();
    String::from_utf8_lossy(bytes).into_owned()
}
