//! Root asks an instance of another user as that user. A link that he has put in the place of his socket then leads nowhere that he
//! could not go himself, and what his status names (a file with the last lines, a binary) is read with his rights.

use std::io;

use nix::errno::Errno;
use nix::unistd::{
    Gid, Uid, User, getegid, geteuid, getgroups, setegid, seteuid, setgroups, setresgid, setresuid,
};

use crate::place::Stranger;

/// Do this as that user, and be root again afterwards. Group access that root has does not count either.
///
/// # Errors
/// Those of `act`; or that the user cannot be changed (`CAP_SETUID`, `CAP_SETGID`).
pub(super) fn as_user<T>(stranger: Option<Stranger>, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let Some(Stranger { uid, gid }) = stranger else {
        return act();
    };
    let (user, group, groups) = (geteuid(), getegid(), getgroups()?);
    let entered = setgroups(&[])
        .and_then(|()| setegid(Gid::from_raw(gid)))
        .and_then(|()| seteuid(Uid::from_raw(uid)));
    let done = entered.map_err(io::Error::from).and_then(|()| act());
    let back = seteuid(user)
        .and_then(|()| setegid(group))
        .and_then(|()| setgroups(&groups));
    back.map_err(io::Error::from).and(done)
}

/// Be that user from now on.
///
/// # Errors
/// The user cannot be changed (`CAP_SETUID`, `CAP_SETGID`).
pub(super) fn become_user(stranger: Option<Stranger>) -> Result<(), Errno> {
    let Some(Stranger { uid, gid }) = stranger else {
        return Ok(());
    };
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    setgroups(&[])?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)
}

/// A user by name, or by number if he has none.
pub(super) fn user_name(uid: u32) -> String {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    user.map_or_else(|| uid.to_string(), |user| user.name)
}
