//! The options of a socket that is open: what they become, all of them or none.

use super::{Socket, backlog, effective_backlog, mode};
use crate::address::{Key, SocketOptions};
use crate::listeners::resolve::Owner;
use crate::listeners::settings::{self, What};
use crate::sys::{errno_text, sock};

impl Socket {
    /// Makes the socket what `options` say: all of it, or nothing.
    ///
    /// # Errors
    /// One clause that begins with the option that cannot change.
    pub(in crate::listeners) fn change(&self, options: &SocketOptions, owner: Owner) -> Result<(), String> {
        let before = self.applied.borrow().clone();
        if before == (options.clone(), owner) || self.is_inherited() {
            return Ok(());
        }
        self.may_become(options)?;
        if let Err(cause) = self.put(&before.0, options, owner) {
            // What failed is the new part; the old part was in force a moment ago and can be so again.
            let _ = self.put(options, &before.0, before.1);
            return Err(cause);
        }
        let mut applied = options.clone();
        if before.0.flag(Key::Steer) == Some(true) {
            // Its address is shared from then on, also if it is made anew. A flag that was taken is taken again.
            let _ = applied.set(Key::Steer.name(), "true");
        }
        self.applied.replace((applied, owner));
        Ok(())
    }

    /// Whether what differs can change while the socket is open. Nothing is changed.
    ///
    /// # Errors
    /// One clause that begins with the option that cannot change.
    pub(in crate::listeners) fn may_become(&self, options: &SocketOptions) -> Result<(), String> {
        let before = &self.applied.borrow().0;
        let fixed = changed(before, options).find(|key| settings::what(*key) == What::Birth);
        match fixed.filter(|_| !self.is_inherited()) {
            Some(fixed) => Err(format!("{} cannot change while the socket is open", fixed.name())),
            None => Ok(()),
        }
    }

    fn put(&self, from: &SocketOptions, to: &SocketOptions, owner: Owner) -> Result<(), String> {
        let mut originals = self.originals.borrow_mut();
        let mut access = false;
        for key in changed(from, to) {
            match settings::what(key) {
                What::Backlog => self.put_backlog(to)?,
                What::Access => access = true,
                // O_NONBLOCK is the choice of a generation, whose turn may be yet to come: see `asked_flags` of the listener.
                // The sockets beside it are made and shared out by `slots`.
                What::Flag | What::Directory | What::Group => {}
                What::Birth | What::Option => {
                    settings::put(self.as_fd(), key, to, self.local.family(), &mut originals)?;
                }
            }
        }
        match &self.file {
            // Only if asked for: an administrator may have changed the mode meanwhile.
            Some(file) if access => file.give_access(owner, mode(to)),
            Some(_) | None => Ok(()),
        }
    }

    fn put_backlog(&self, options: &SocketOptions) -> Result<(), String> {
        let wanted = backlog(options);
        sock::listen(self.as_fd(), wanted).map_err(|errno| format!("backlog: {}", errno_text(errno)))?;
        self.backlog.set(effective_backlog(self.as_fd(), Some(wanted)));
        Ok(())
    }

    /// One line for each thing that the kernel made smaller than asked for.
    pub(in crate::listeners) fn caps(&self) -> Vec<String> {
        let options = &self.applied.borrow().0;
        let mut caps = settings::capped_buffers(self.as_fd(), options);
        if let Some(got) = self.backlog.get()
            && !self.is_inherited()
            && got < backlog(options)
        {
            caps.push(format!(
                "backlog {} capped to {got} by net.core.somaxconn",
                backlog(options)
            ));
        }
        caps
    }
}

/// The options about which two sets differ.
fn changed<'a>(one: &'a SocketOptions, other: &'a SocketOptions) -> impl Iterator<Item = Key> + 'a {
    let only_other = other
        .given()
        .filter(|key| !one.given().any(|known| known == *key));
    one.given()
        .chain(only_other)
        .filter(|key| !one.agree(other, *key))
}
