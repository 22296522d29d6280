//! The upgrade in place: this process executes the `segue` binary that is on disk now and goes on as that, with the same pid,
//! the same children and the same sockets.
//!
//! 1. [`Origin`] knows by which path this process was started. What lies there is opened, once.
//! 2. The state goes into a sealed file in memory ([`parcel`]): rows of text, and a row for each fd that says its name, its
//!    number and what it is.
//! 3. A child asks the binary for its `--version`, lest what is no segue gets hold of the listeners ([`introduction`]). Then it executes it as a
//!    *check* ([`Check::start`]): it reads that state with the fds at hand, touches nothing, and says `ok segue VERSION` or why not
//!    ([`answer`]). The loop goes on meanwhile.
//! 4. If it said yes, the state is written anew and this process executes the binary ([`Check::execute`]), with the arguments and
//!    the environment that it was started with and one variable more, which names the parcel ([`receive`]).
//!
//! Whatever goes wrong before the exec has succeeded changes nothing. Behind it there is no way back: a state that cannot be taken
//! over, because the kernel is short of something just now, is handed over anew to the same binary ([`begin_anew`]). If
//! that does not help either the supervisor ends, the app serves on, and the next supervisor adopts it as after `kill -9`.

mod check;
mod exec;
mod introduction;
mod origin;
mod parcel;
mod reply;
#[cfg(test)]
mod tests;

pub(crate) use check::{CHECK_TIME, Check, Started, answer, asked_to_check};
pub(crate) use origin::Origin;
#[cfg(test)]
pub(crate) use parcel::sealed;
pub(crate) use parcel::{Saved, begin_anew, receive, was_handed_over};
