//! Locks of whole files, flock(2).

use nix::errno::Errno;
use std::fs::{File, TryLockError};
use std::ops::{Deref, DerefMut};

/// A file that is locked. Dropping it gives the lock up, for all copies of the descriptor; where that fails (ENOLCK of a network
/// file system) the end of the last copy does it. (`nix::fcntl::Flock` panics then.)
#[derive(Debug)]
pub(crate) struct Locked(File);

impl Locked {
    /// Nobody else has it. Does not wait.
    ///
    /// # Errors
    /// The file, and `EWOULDBLOCK` if somebody has it, or what the system said.
    pub(crate) fn exclusive(file: File) -> Result<Self, (File, Errno)> {
        let locked = file.try_lock();
        Self::new(file, locked)
    }

    /// Others may have it like this, too. Does not wait.
    ///
    /// # Errors
    /// As [`Locked::exclusive`].
    pub(crate) fn shared(file: File) -> Result<Self, (File, Errno)> {
        let locked = file.try_lock_shared();
        Self::new(file, locked)
    }

    fn new(file: File, locked: Result<(), TryLockError>) -> Result<Self, (File, Errno)> {
        match locked {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err((file, Errno::EWOULDBLOCK)),
            Err(TryLockError::Error(error)) => {
                Err((file, Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))))
            }
        }
    }
}

impl Deref for Locked {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

impl DerefMut for Locked {
    fn deref_mut(&mut self) -> &mut File {
        &mut self.0
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}
