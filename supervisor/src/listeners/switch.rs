//! Which change of steering a reload may make to sockets that are open. What cannot be done without leaving a client alone
//! is refused before anything is told to the kernel: then all goes on as it was.

use std::rc::Rc;

use super::slots::{asked, is_asked};
use super::socket::Source;
use super::{ListenError, Listener};
use crate::address::ListenSpec;

/// Which slot a socket becomes that all generations have shared until now. Workers of theirs that are started again are lent this
/// slot, and clients are sent back to it if the candidate fails: so it is the one that the core knows as theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SharedSlot {
    /// All that live have this one.
    Is(u8),
    /// Those that live were started with several.
    Several,
}

/// Which slots the generations that live have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    pub(crate) shared: SharedSlot,
    /// The one to which new clients go. At an address that is new with a candidate they go there as well: nobody serves it until the
    /// takeover, and no client shall meet the candidate before.
    pub(crate) pointed: u8,
}

/// What one spec finds open.
pub(super) struct Found<'a> {
    pub(super) spec: &'a ListenSpec,
    pub(super) open: Vec<Rc<Listener>>,
}

impl Found<'_> {
    fn is_to_be_steered(&self) -> bool {
        is_asked(&self.spec.options)
    }

    fn has_slots(&self) -> bool {
        has_slots(&self.open)
    }
}

/// Whether these sockets, which all generations share, are to become slots. Where that was asked for before and could not
/// be had, it is not tried again: the versions that live share them.
pub(super) fn switches_on(spec: &ListenSpec, open: &[Rc<Listener>]) -> bool {
    let is_news = |one: &Rc<Listener>| !is_asked(&one.options);
    is_asked(&spec.options) && !has_slots(open) && open.iter().any(is_news)
}

/// Whether a reload may do what it asks for. `current` is everything that is open, whoever has it.
///
/// # Errors
/// One line that names the way out. Nothing has been touched.
pub(super) fn check(
    found: &[Found<'_>],
    current: &[Rc<Listener>],
    shared: SharedSlot,
) -> Result<(), ListenError> {
    let can_begin = |one: &Found<'_>| one.open.iter().any(is_ours) || is_given_once(&one.open);
    for one in found
        .iter()
        .filter(|one| can_begin(one) && switches_on(one.spec, &one.open))
    {
        let refusal = match shared {
            _ if has_slots(current) => {
                "another open listener has slots already, and steering begins for all open listeners at once; start segue again"
            }
            SharedSlot::Several => {
                "versions of earlier steered listeners still run; reload again when they have ended"
            }
            SharedSlot::Is(slot) if slot >= asked(&one.spec.options) => {
                "it has too few slots for the version that serves; ask for more, or start segue again"
            }
            SharedSlot::Is(_) => continue,
        };
        return Err(refused(one, "on", refusal));
    }
    // Inherited ones that no spec names any more stay as they are.
    let is_unasked = |one: &Rc<Listener>| {
        let is_known = |found: &Found<'_>| found.open.iter().any(|known| known.inode() == one.inode());
        one.is_inherited() && !found.iter().any(is_known)
    };
    let stays_on = current.iter().any(|one| one.is_steered() && is_unasked(one));
    let is_on = stays_on || found.iter().any(Found::is_to_be_steered);
    match found
        .iter()
        .find(|one| one.has_slots() && !one.is_to_be_steered())
    {
        Some(off) if is_on => Err(refused(
            off,
            "off",
            "another listener is steered, and a version has the same slot of all; switch all of them at once, or start segue again",
        )),
        Some(_) | None => Ok(()),
    }
}

fn is_ours(listener: &Rc<Listener>) -> bool {
    match listener.socket.source() {
        Source::Spec(_) => true,
        Source::Inherited { .. } | Source::Probe => false,
    }
}

/// Whether Segue was given this one, and may bind others beside it.
fn is_given_once(open: &[Rc<Listener>]) -> bool {
    matches!(open, [one] if one.is_inherited())
}

fn has_slots(listeners: &[Rc<Listener>]) -> bool {
    listeners.iter().any(|one| one.slot.is_some())
}

fn refused(one: &Found<'_>, way: &str, why: &str) -> ListenError {
    ListenError::at(
        &one.spec.address,
        format!("steer cannot be switched {way} here: {why}"),
    )
}
