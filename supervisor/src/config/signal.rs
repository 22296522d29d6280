//! Names of signals, as kill(1) knows them.

use nix::sys::signal::Signal;

use super::text::quoted;

/// Reads the stop signal: a name with or without `SIG`, in capitals or not.
///
/// KILL and STOP are refused, for no program can catch them and so none could drain. Numbers are refused, for
/// they differ between architectures; so are real-time signals, which the supervisor cannot send by name.
///
/// # Errors
///
/// One line that says which names there are.
pub(crate) fn parse_stop_signal(text: &str) -> Result<Signal, String> {
    let name = text.to_ascii_uppercase();
    let short = name.strip_prefix("SIG").unwrap_or(&name);
    let signal = Signal::iterator().find(|signal| short_name(*signal) == short);
    match signal {
        Some(Signal::SIGKILL | Signal::SIGSTOP) => Err(format!(
            "{} cannot be caught, so nothing could drain; TERM can",
            quoted(text)
        )),
        Some(signal) => Ok(signal),
        None => Err(format!(
            "expected the name of a signal, such as TERM, QUIT or USR1, got {}",
            quoted(text)
        )),
    }
}

/// The name without `SIG`, as the flag takes it.
pub(crate) fn short_name(signal: Signal) -> &'static str {
    let name = signal.as_str();
    name.strip_prefix("SIG").unwrap_or(name)
}
