//! The user and groups of an app. Everything here runs in the child: the look-ups may ask a network (LDAP), and
//! the supervisor never waits for one.

use crate::sys::errno_text;
use nix::errno::Errno;
use nix::unistd::{
    Gid, Group, Uid, User, getgrouplist, getresgid, getresuid, setgroups, setresgid, setresuid,
};
use std::ffi::CString;
use std::path::PathBuf;

/// What the user database says about the app's user, for its environment.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    /// The login name.
    pub(crate) name: String,
    /// The home directory.
    pub(crate) home: PathBuf,
    /// The login shell.
    pub(crate) shell: PathBuf,
}

/// Who the app is to be.
#[derive(Debug)]
pub(super) struct Identity {
    uid: Uid,
    gid: Gid,
    /// Supplementary groups; those that the supervisor has if no user was named.
    groups: Option<Vec<Gid>>,
    login: Option<Login>,
}

impl Identity {
    /// Looks up the names (or numbers); without any it is the supervisor's own identity.
    ///
    /// # Errors
    /// One line: an unknown name, a number that would need a group, a user database that cannot be read.
    pub(super) fn resolve_user(user: Option<&str>, group: Option<&str>) -> Result<Identity, String> {
        let named_gid = group.map(look_up_group).transpose()?;
        let own_gid = || named_gid.unwrap_or_else(Gid::current);
        let Some(name) = user else {
            return Ok(Identity {
                uid: Uid::current(),
                gid: own_gid(),
                groups: None,
                login: None,
            });
        };
        match look_up_user(name)? {
            Found::Entry(entry) => {
                let gid = named_gid.unwrap_or(entry.gid);
                let c_name = CString::new(entry.name.as_str())
                    .map_err(|_| format!("user {name}: contains a NUL byte"))?;
                let groups = getgrouplist(&c_name, gid)
                    .map_err(|errno| format!("groups of user {name}: {}", errno_text(errno)))?;
                let login = Login {
                    name: entry.name,
                    home: entry.dir,
                    shell: entry.shell,
                };
                Ok(Identity {
                    uid: entry.uid,
                    gid,
                    groups: Some(groups),
                    login: Some(login),
                })
            }
            Found::Number(uid) => {
                let gid = named_gid.ok_or_else(|| {
                    format!("user {name}: not in the user database (a bare number needs a group, too)")
                })?;
                Ok(Identity {
                    uid,
                    gid,
                    groups: Some(vec![gid]),
                    login: None,
                })
            }
        }
    }

    /// The uid that the app will have.
    pub(super) fn uid(&self) -> Uid {
        self.uid
    }

    /// What the user database says, if a user was named who is in it.
    pub(super) fn login(&self) -> Option<&Login> {
        self.login.as_ref()
    }

    /// Becomes it, for good: supplementary groups, then gid, then uid, and a look whether it came true.
    /// Nothing is called if this process is it already, so that a supervisor without privileges may name its own user.
    ///
    /// # Errors
    /// One line; in general only root can do this.
    pub(super) fn assume(&self) -> Result<(), String> {
        // Root that names root still gets the groups of root; no one else could set any.
        let nothing_to_set = self.groups.is_none() || !self.uid.is_root();
        if self.is_current().map_err(errno_text)? && nothing_to_set {
            return Ok(());
        }
        self.change().map_err(|errno| {
            let hint = if errno == Errno::EPERM {
                " (segue must run as root for that)"
            } else {
                ""
            };
            format!("{}: {}{hint}", self.attempt(), errno_text(errno))
        })?;
        match self.is_current() {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(format!("{}: it had no effect", self.attempt())),
        }
    }

    fn change(&self) -> Result<(), Errno> {
        if let Some(groups) = &self.groups {
            setgroups(groups)?;
        }
        setresgid(self.gid, self.gid, self.gid)?;
        setresuid(self.uid, self.uid, self.uid)
    }

    fn is_current(&self) -> Result<bool, Errno> {
        let (uids, gids) = (getresuid()?, getresgid()?);
        let uid_is = [uids.real, uids.effective, uids.saved]
            .iter()
            .all(|uid| *uid == self.uid);
        let gid_is = [gids.real, gids.effective, gids.saved]
            .iter()
            .all(|gid| *gid == self.gid);
        Ok(uid_is && gid_is)
    }

    fn attempt(&self) -> String {
        match &self.login {
            Some(login) => format!("run as user {}", login.name),
            None => format!("run as uid {} and gid {}", self.uid, self.gid),
        }
    }
}

enum Found {
    Entry(User),
    Number(Uid),
}

fn look_up_user(name: &str) -> Result<Found, String> {
    let failed = |errno| format!("user {name}: {}", errno_text(errno));
    if let Some(entry) = User::from_name(name).map_err(failed)? {
        return Ok(Found::Entry(entry));
    }
    let number = name.parse().map_err(|_| format!("user {name}: no such user"))?;
    let entry = User::from_uid(Uid::from_raw(number)).map_err(failed)?;
    Ok(entry.map_or(Found::Number(Uid::from_raw(number)), Found::Entry))
}

fn look_up_group(name: &str) -> Result<Gid, String> {
    let entry = Group::from_name(name).map_err(|errno| format!("group {name}: {}", errno_text(errno)))?;
    match (entry, name.parse()) {
        (Some(entry), _) => Ok(entry.gid),
        (None, Ok(number)) => Ok(Gid::from_raw(number)),
        (None, Err(_)) => Err(format!("group {name}: no such group")),
    }
}
