//! What a server says while it serves: trouble on stderr, or with the feature `tracing` events of that crate.

/// Something is wrong and the server goes on.
#[cfg(feature = "tracing")]
pub(crate) fn trouble(text: &dyn std::fmt::Display) {
    tracing::warn!(target: "segue_app", "{text}");
}

/// Something is wrong and the server goes on.
#[cfg(not(feature = "tracing"))]
pub(crate) fn trouble(text: &dyn std::fmt::Display) {
    use std::io::Write as _;
    // Where nobody reads any more (a log pipe whose reader is gone, a full disk) there is nobody to tell; eprintln
    // would panic, and nothing would be accepted any more.
    let _ = std::io::stderr().write_all(format!("{text}\n").as_bytes());
}

/// A step of the server's life. Without `tracing` nobody hears it: the supervisor's log tells the same.
pub(crate) fn progress(text: &dyn std::fmt::Display) {
    #[cfg(feature = "tracing")]
    tracing::info!(target: "segue_app", "{text}");
    #[cfg(not(feature = "tracing"))]
    let _ = text;
}
