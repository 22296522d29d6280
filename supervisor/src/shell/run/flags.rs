//! Whose choice is an O_NONBLOCK that an app has set on a listener: the flag is one for all who hold the socket.
//!
//! An event loop that finds it cleared hangs in accept(2), so Segue clears none that a serving app has set. A program that blocks in
//! accept(2), on the contrary, fails if a candidate sets it. Only for the sake of such an incumbent is it cleared, and only until the
//! takeover.

use std::rc::Rc;

use segue_lifecycle::Number;

use crate::listeners::{IoMode, Listener};
use crate::shell::Shell;
use crate::sight;

impl Shell {
    /// Undo the harm that processes did to what all holders of a listener share.
    pub(crate) fn restore_flags(&mut self) {
        self.records.restore_flags(&self.log);
        let raised = self.records.current_listeners();
        for listener in raised.iter().filter(|listener| listener.is_raised_by_an_app()) {
            self.settle_flag(listener);
        }
    }

    fn settle_flag(&self, listener: &Rc<Listener>) {
        let settled = match self.whom_it_may_harm() {
            // What it chooses counts once it takes over.
            Some(incumbent) if !self.has_event_loop(incumbent, listener.inode()) => listener.clear_flag(),
            Some(_) | None => listener.keep_flags(IoMode::NonBlocking),
        };
        if let Err(error) = settled {
            self.log.error(&error.to_string());
        }
    }

    /// The incumbent, if a younger generation may have set the flag. Whoever serves alone has set it himself.
    fn whom_it_may_harm(&self) -> Option<Number> {
        let incumbent = self.core.incumbent()?.number;
        let mut workers = self.fleet.workers.keys();
        workers
            .any(|worker| worker.generation > incumbent)
            .then_some(incumbent)
    }

    /// Whether a process of a generation has the socket in an epoll set (or may have it in an io_uring).
    fn has_event_loop(&self, number: Number, inode: u64) -> bool {
        let view = self.view();
        let is_loop = |pid: &nix::unistd::Pid| sight::has_event_loop(*pid, inode);
        view.leaders_of(number).iter().any(is_loop) || view.party_of(number).iter().any(is_loop)
    }
}
