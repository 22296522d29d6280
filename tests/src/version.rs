//! Which version answers.
//!
//! When a reload, a rollback or an adoption is done, the old generation has been sent its stop signal; until it has
//! handled that, it accepts. So "the new version serves" is asked for until it is so, and "only the new one serves" when no
//! older generation is left.

use std::time::Instant;

use crate::http::{Target, get_and_close};
use crate::ledger::Loss;
use crate::segue::Segue;

/// How many answers in a row [`assert_no_other`] looks at: of two processes that accept from one socket, each gives some.
const IN_A_ROW: usize = 10;

/// The message of an answer to `/ping`, without the JSON around it.
///
/// # Errors
/// A [`Loss`] when there is no whole answer.
pub fn of(target: &Target) -> Result<String, Loss> {
    let answer = target.connect()?.ask(&get_and_close("/ping"))?;
    let text = answer.ok()?.text();
    let json = serde_json::from_str::<serde_json::Value>(&text);
    let message = json
        .ok()
        .and_then(|value| Some(value["message"].as_str()?.to_owned()));
    Ok(message.unwrap_or(text))
}

/// Asks until this version answers.
///
/// # Panics
/// When a request is lost, or the version does not answer within [`crate::patience`].
#[track_caller]
pub fn wait_for(target: &Target, wanted: &str) {
    let end = Instant::now() + crate::patience();
    loop {
        let message = of(target).unwrap_or_else(|loss| panic!("ask for {wanted:?}: {loss:?}"));
        if message == wanted {
            return;
        }
        assert!(
            Instant::now() < end,
            "{wanted:?} should serve, {message:?} answers"
        );
        std::thread::sleep(crate::LOOK);
    }
}

/// Waits until no older generation is left; then this version answers, and no other.
///
/// # Panics
/// When it is not so.
#[track_caller]
pub fn assert_only(segue: &Segue, wanted: &str) {
    segue.wait_until("no older generation is left", |status| {
        status.state() == "serving" && status.in_role("retired").is_empty()
    });
    assert_no_other(&segue.target(), wanted);
}

/// This version answers, again and again: to be asked when no older generation is left.
///
/// # Panics
/// When another answers, or nobody does.
#[track_caller]
pub fn assert_no_other(target: &Target, wanted: &str) {
    for _ in 0..IN_A_ROW {
        assert_eq!(of(target).as_deref().unwrap_or_default(), wanted);
    }
}
