//! The clients of the control socket: what they ask for, which ticket they hold, what they are answered.
//!
//! This room knows no process and no listener.

pub(crate) mod clients;
pub(crate) mod requests;
pub(crate) mod tickets;

use crate::control::{ClientId, Control};
use crate::protocol::Reply;

use tickets::Tickets;

/// The clients and what they wait for.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) control: Control,
    pub(crate) tickets: Tickets,
    /// Answers to tickets that go out when the effects beside them are performed.
    pub(crate) answers: Vec<(ClientId, Reply)>,
}

impl Desk {
    /// Nobody has asked for anything yet.
    pub(crate) const fn new(control: Control) -> Self {
        Self {
            control,
            tickets: Tickets::new(),
            answers: Vec::new(),
        }
    }
}
