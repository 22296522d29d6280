//! The text of an operating system error, as Segue prints it.

use nix::errno::Errno;
use std::io;

/// The cause of a failure in one lower-case line without a number: `permission denied`.
///
/// Takes an [`io::Error`], a reference to one, or an [`Errno`]. The texts are those of `errno(3)`.
pub(crate) fn errno_text(error: impl Explain) -> String {
    error.explain()
}

/// What [`errno_text`] can explain.
pub(crate) trait Explain {
    /// One lower-case line.
    fn explain(&self) -> String;
}

impl Explain for Errno {
    fn explain(&self) -> String {
        lower_first(self.desc())
    }
}

impl Explain for io::Error {
    fn explain(&self) -> String {
        match self.raw_os_error() {
            Some(number) => Errno::from_raw(number).explain(),
            // Errors of the standard library itself may span lines; ours never do.
            None => lower_first(&self.to_string().split_whitespace().collect::<Vec<_>>().join(" ")),
        }
    }
}

impl<T: Explain> Explain for &T {
    fn explain(&self) -> String {
        (*self).explain()
    }
}

/// Lowers the first letter unless the word is an abbreviation: `I/O error` and `RFS specific error` stay.
fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    match (letters.next(), letters.clone().next()) {
        (Some(first), Some(second)) if first.is_uppercase() && second.is_lowercase() => {
            first.to_lowercase().chain(letters).collect()
        }
        (Some(_), Some(_) | None) | (None, _) => text.to_owned(),
    }
}
