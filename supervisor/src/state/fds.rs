//! Open fds under names, on their way from one supervisor to the next.

use std::os::fd::{BorrowedFd, OwnedFd};

/// Fds that go to the next supervisor, each under its name, lent by those who own them.
pub(crate) type Passed<'a> = Vec<(String, BorrowedFd<'a>)>;

/// A bag of fds, each under the name by which its room knows it, such as `listener-4711`. What nobody takes is closed with the bag.
#[derive(Debug, Default)]
pub(crate) struct Fds {
    /// Few, and each is asked for once: a list is enough.
    named: Vec<(String, OwnedFd)>,
}

impl Fds {
    /// Puts an fd into the bag.
    pub(crate) fn put(&mut self, name: String, fd: OwnedFd) {
        self.named.push((name, fd));
    }

    /// Takes the fd of that name out of the bag; the first of several.
    pub(crate) fn take(&mut self, name: &str) -> Option<OwnedFd> {
        let place = self.named.iter().position(|(known, _)| known == name)?;
        Some(self.named.swap_remove(place).1)
    }

    /// The names of those that are in it.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.named.iter().map(|(name, _)| name.as_str())
    }
}
