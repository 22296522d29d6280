//! What an app was born with, as it tells itself (`/birth` of our app and of the fixtures).

use serde_json::Value;

use crate::http::get_and_close;
use crate::segue::Segue;

/// The birth of a worker who serves.
///
/// # Panics
/// When it does not tell.
#[must_use]
#[track_caller]
pub fn of(segue: &Segue) -> Value {
    let response = segue
        .target()
        .connect()
        .and_then(|mut client| client.ask(&get_and_close("/birth")))
        .unwrap_or_else(|loss| panic!("birth: {loss:?}"));
    serde_json::from_str(&response.text()).unwrap_or_else(|error| panic!("birth: {error}"))
}

/// Without what may differ between two births: pids, the generation, and what predecessors chose.
#[must_use]
pub fn without_numbers(mut birth: Value) -> Value {
    for key in ["pid", "pgid", "sid"] {
        birth[key] = Value::Null;
    }
    for key in ["LISTEN_PID", "SEGUE_GENERATION", "NOTIFY_SOCKET"] {
        birth["env"][key] = Value::Null;
    }
    // The first generation found O_NONBLOCK clear and set it; what it chose is kept for those who follow.
    for fd in birth["fds"].as_array_mut().into_iter().flatten() {
        fd["flags"] = Value::Null;
    }
    birth
}
