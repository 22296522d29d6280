//! Open fds under names, on their way from one supervisor to the next.

use std::os::fd::{BorrowedFd, OwnedFd};

/// Fds that go to the next supervisor, each under its name, lent by those who own them.
pub(crate) type Passed<'a> = Vec<(String, BorrowedFd<'a>)>;

/// Fds, each under the name by which its room knows it, such as `listener-4711`. Those that nobody takes are closed with the rest.
#[derive(Debug, Default)]
pub(crate) struct Fds {
    /// In the order of their names, for there may be thousands; those of one name in the order in which they came.
    named: Vec<(String, OwnedFd)>,
}

impl Fds {
    /// Add an fd.
    pub(crate) fn put(&mut self, name: String, fd: OwnedFd) {
        let behind = self.named.partition_point(|(known, _)| *known <= name);
        self.named.insert(behind, (name, fd));
    }

    /// Take out the fd of that name; the first of several.
    pub(crate) fn take(&mut self, name: &str) -> Option<OwnedFd> {
        self.has(name).then(|| self.named.remove(self.place(name)).1)
    }

    /// A duplicate of the fd of that name; the first of several. `None`, too, if there is no room for one more fd.
    pub(crate) fn duplicate(&self, name: &str) -> Option<OwnedFd> {
        let (_, fd) = self
            .named
            .get(self.place(name))
            .filter(|(known, _)| known == name)?;
        fd.try_clone().ok()
    }

    /// Whether an fd of that name is in it.
    pub(crate) fn has(&self, name: &str) -> bool {
        let there = self.named.get(self.place(name));
        there.is_some_and(|(known, _)| known == name)
    }

    /// The names of those that are in it.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.named.iter().map(|(name, _)| name.as_str())
    }

    /// Where the first of that name is, or would be.
    fn place(&self, name: &str) -> usize {
        self.named.partition_point(|(known, _)| known.as_str() < name)
    }
}
