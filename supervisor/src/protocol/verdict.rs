//! The codes of a reload's answer, so that no program has to read sentences.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::{LastWords, Outcome, Probation};

/// How a reload ended, as its final reply says it beside `message`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    /// `last_reload.outcome` of the status, at the time of the answer.
    pub(crate) outcome: Outcome,
    /// How far the probation of the new generation has come.
    pub(crate) probation: Probation,
    /// The generation that the reload was to bring; null if a stop came first.
    pub(crate) generation: Option<u64>,
    /// What kind of failure it was; null if it was none.
    pub(crate) cause: Option<CauseCode>,
    /// The failure in one line, without the generation and without who serves; null if it was none.
    pub(crate) reason: Option<String>,
    /// What the worker that failed said at last.
    #[serde(flatten)]
    pub(crate) words: LastWords,
}

/// Read the codes of a final reply, if it has an `outcome`. (Serde's own reading of a flattened `Option` takes a code that it does
/// not understand for none.)
pub(super) fn if_any<'de, D: Deserializer<'de>>(keys: D) -> Result<Option<Verdict>, D::Error> {
    let keys = Map::deserialize(keys)?;
    if !keys.contains_key("outcome") {
        return Ok(None);
    }
    let verdict = Verdict::deserialize(Value::Object(keys));
    verdict.map(Some).map_err(D::Error::custom)
}

/// What kind of failure ended a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CauseCode {
    /// Settings, sockets or the binary were refused: nothing was started.
    NotPrepared,
    /// No process could be made, or it could not become the app.
    NotSpawned,
    /// A process of the app ended without being told to.
    Exited,
    /// It was not ready in time.
    NotReady,
    /// It did not feed its watchdog.
    Stuck,
    /// The probe did not pass.
    Probe,
    /// It said that it is ready, and has not the listeners that it needs.
    Unheld,
    /// It said that it is ready, and accepted no connection in its slot of a steered listener.
    Unaccepted,
    /// Clients waited for it, and it accepted none.
    Deaf,
    /// New clients could not be sent to it: the kernel refuses, or each slot is another generation's.
    NotSwitched,
    /// A stop was asked for first.
    Stopping,
}

impl CauseCode {
    /// The word that JSON uses.
    pub(crate) fn word(self) -> String {
        // A variant without fields is a string, so that this cannot fail.
        let value = serde_json::to_value(self).unwrap_or_default();
        value.as_str().unwrap_or_default().to_owned()
    }
}
