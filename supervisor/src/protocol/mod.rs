//! The JSON of the control socket: one object a line, each way.
//!
//! A client connects, writes one [`Request`] line, and reads [`Reply`] lines until one of them is final
//! (everything but `progress` and `event`); then the supervisor closes the connection. Anything that follows the first
//! line is ignored.
//!
//! ```text
//! > {"request":"reload","until":"takeover"}
//! < {"reply":"progress","message":"generation 8 is starting"}
//! < {"reply":"done","message":"reload ok: generation 8 serves (pid 123) after 41 ms","outcome":"ok", ...}
//! ```
//!
//! Requests are read strictly (an unknown key is refused: a supervisor must not do half of what a newer
//! client asked for), replies leniently (an unknown key is ignored, so that keys may be added without a new
//! schema).

mod flat;
mod last_words;
mod news;
mod status;
mod text;
mod time;
mod verdict;

use std::fmt;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

pub(crate) use flat::flat;
pub(crate) use last_words::{LastWords, StderrKind, StderrPlace};
pub(crate) use news::{News, NewsKind};
pub(crate) use status::{
    Binary, Generation, LastCrash, LastReload, Listener, Outcome, Probation, Role, SCHEMA, Seen, State,
    Status, Worker, WorkerState,
};
pub(crate) use text::{DURATION_UNITS, GAP, Side, align, elapsed, is_unsafe, one_line, push_tame, setting};
pub(crate) use time::{parse_rfc3339, rfc3339};
pub(crate) use verdict::{CauseCode, Verdict};

/// The longest request line, in bytes without its newline. Every request that exists fits in 64; the rest is
/// room for keys to come, and a bound on what a mute or hostile client can make the supervisor hold.
pub(crate) const REQUEST_MAX: usize = 4096;

/// The longest reason that a refusal quotes, in characters, so that garbage is not echoed at full length.
const REASON_MAX: usize = 200;

/// What a client asks for. Variants without a field have braces: serde ignores unknown keys beside the tag of a unit variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Request {
    /// A new generation, answered when `until` has been reached or the reload has failed.
    Reload {
        /// What the client wants to wait for.
        #[serde(default)]
        until: Until,
    },
    /// The state of the instance; answered at once.
    Status {},
    /// How it is, and from then on all that happens, until the client goes.
    Events {},
    /// Stop the app with drain, then the supervisor; answered when the app has gone.
    Stop {},
    /// More or fewer workers.
    Workers {
        /// How the number changes.
        change: Change,
    },
    /// Replace the supervisor by the binary that is on disk now; answered by that one.
    Upgrade {},
}

/// What a reload's ticket waits for. A failure that comes first answers it too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Until {
    /// The request has been taken down (`--no-wait`).
    Accepted,
    /// The candidate has become the incumbent.
    #[default]
    Takeover,
    /// Probation has passed (`--settled`).
    Settled,
    /// The generation that served before is gone (`--drained`).
    Drained,
}

/// A change of the number of workers. The numbers are at least 1; the supervisor bounds them from above.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Change {
    /// This many from now on.
    Set(#[serde(deserialize_with = "at_least_one")] u16),
    /// This many more.
    Add(#[serde(deserialize_with = "at_least_one")] u16),
    /// This many fewer.
    Remove(#[serde(deserialize_with = "at_least_one")] u16),
}

fn at_least_one<'de, D: Deserializer<'de>>(number: D) -> Result<u16, D::Error> {
    match u16::deserialize(number)? {
        0 => Err(D::Error::custom(
            "the number of workers to set, add or remove must be at least 1",
        )),
        number => Ok(number),
    }
}

/// What the supervisor answers. Everything but `Progress` and `Event` is final.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub(crate) enum Reply {
    /// Something worth a line has happened and the answer is still to come.
    Progress {
        /// One line for people.
        message: String,
    },
    /// The answer to [`Request::Events {}`], one for all that happens.
    Event(Box<News>),
    /// It was done.
    Done {
        /// One line for people, complete: `reload ok: generation 8 serves (pid 123) after 41 ms`.
        message: String,
        /// Who serves now.
        serving: Option<Serving>,
        /// How long it took, in milliseconds, from the request to the instant that it waited for.
        duration_ms: Option<u64>,
        /// The codes, if it was a reload that was waited for.
        #[serde(flatten, deserialize_with = "verdict::if_any")]
        verdict: Option<Verdict>,
    },
    /// It was tried and failed.
    Failed {
        /// One line for people, without who serves: `reload failed: not ready after 30s`.
        message: String,
        /// Who serves now; null if nobody does.
        serving: Option<Serving>,
        /// The codes, if it was a reload.
        #[serde(flatten, deserialize_with = "verdict::if_any")]
        verdict: Option<Verdict>,
    },
    /// The answer to [`Request::Status {}`].
    Status(Box<Status>),
    /// It was not tried: the request cannot be understood, is not allowed, or there is no room for it.
    Refused {
        /// One line for people.
        message: String,
    },
}

/// The generation that serves, as an outcome names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Serving {
    /// The incumbent's number.
    pub(crate) generation: u64,
    /// Its workers' pids, in the order of their slots.
    pub(crate) pids: Vec<i32>,
}

impl fmt::Display for Serving {
    /// `generation 8 serves (pid 123)`, `generation 8 serves (pids 123, 124, 125 and 5 more)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "generation {} serves", self.generation)?;
        match self.pids_in_words() {
            Some(pids) => write!(f, " ({pids})"),
            None => Ok(()),
        }
    }
}

impl Serving {
    /// `pid 123`, `pids 123, 124, 125 and 5 more`.
    pub(crate) fn pids_in_words(&self) -> Option<String> {
        const NAMED: usize = 3;
        match self.pids.as_slice() {
            [] => None,
            [pid] => Some(format!("pid {pid}")),
            pids => {
                let named: Vec<String> = pids.iter().take(NAMED).map(i32::to_string).collect();
                let more = pids.len().saturating_sub(NAMED);
                let more = if more > 0 {
                    format!(" and {more} more")
                } else {
                    String::new()
                };
                Some(format!("pids {}{more}", named.join(", ")))
            }
        }
    }
}

impl Reply {
    /// The answer to a reload that succeeded, in the words that scripts see:
    /// `reload ok: generation 8 serves (pid 123) after 41 ms`, and what `more` adds.
    pub(crate) fn reload_ok(serving: Serving, took: Duration, more: &str, verdict: Verdict) -> Self {
        Self::Done {
            message: format!("reload ok: {serving} after {}{more}", elapsed(took)),
            serving: Some(serving),
            duration_ms: Some(u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
            verdict: Some(verdict),
        }
    }

    /// The answer to a reload that failed for `reason` (one lower-case line).
    pub(crate) fn reload_failed(reason: &str, serving: Option<Serving>, verdict: Verdict) -> Self {
        Self::Failed {
            message: format!("reload failed: {reason}"),
            serving,
            verdict: Some(verdict),
        }
    }

    /// Whether nothing follows this reply.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::Progress { .. } | Self::Event(_) => false,
            Self::Done { .. } | Self::Failed { .. } | Self::Status(_) | Self::Refused { .. } => true,
        }
    }

    /// The reply as it goes over the socket, newline included.
    pub(crate) fn to_line(&self) -> Vec<u8> {
        line(self)
    }

    /// Reads one reply line, with or without its newline.
    ///
    /// # Errors
    /// If the line is no reply that this client knows.
    pub(crate) fn parse(line: &[u8]) -> Result<Self, ProtocolError> {
        serde_json::from_slice(line).map_err(|error| ProtocolError::new("reply", &error))
    }
}

impl Request {
    /// The request as it goes over the socket, newline included.
    pub(crate) fn to_line(self) -> Vec<u8> {
        line(&self)
    }

    /// Reads one request line, with or without its newline. Whatever the bytes are, the answer is a request
    /// or one clear line.
    ///
    /// # Errors
    /// If the line is longer than [`REQUEST_MAX`], or not exactly one request.
    pub(crate) fn parse(line: &[u8]) -> Result<Self, ProtocolError> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        if line.len() > REQUEST_MAX {
            return Err(ProtocolError::too_long());
        }
        // Serde takes the fields of a struct from an array, too.
        if line.trim_ascii_start().starts_with(b"[") {
            return Err(ProtocolError::new("request", &"expected an object"));
        }
        serde_json::from_slice(line).map_err(|error| ProtocolError::new("request", &error))
    }
}

/// Our own types have string keys and no maps, so that serialising them cannot fail; if it ever did, an empty
/// line (which the other side refuses as garbage) is better than a supervisor that panics.
fn line<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(value).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

/// A line of the control socket that cannot be understood; its `Display` is one printable line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProtocolError {
    message: String,
}

impl ProtocolError {
    fn new(what: &str, error: &dyn fmt::Display) -> Self {
        Self {
            message: one_line(&format!("{what} not understood: {error}"), REASON_MAX),
        }
    }

    /// The line did not end within [`REQUEST_MAX`] bytes.
    pub(crate) fn too_long() -> Self {
        Self {
            message: format!("request not understood: longer than {REQUEST_MAX} bytes"),
        }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ProtocolError {}

#[cfg(test)]
pub(crate) mod tests;
