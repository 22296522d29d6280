//! Where commands look for instances.

use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::claim::read_pid;
use super::surroundings::{Base, Owner, Surroundings};
use super::{LOCK, is_gone};
use crate::state;

/// So many directories of another user are looked into at most: he can make as many as he likes.
const MOST_OF_A_STRANGER: usize = 256;

/// A control socket that was found. Whether anybody answers there, only connecting tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// The name of its directory, which is the instance's name unless `$RUNTIME_DIRECTORY` led there; the
    /// supervisor itself knows better.
    pub(crate) directory: String,
    /// The socket.
    pub(crate) control: PathBuf,
    /// Whose it is, if that is neither us nor root. Only root is told of those.
    pub(crate) stranger: Option<Stranger>,
}

/// Another user, who may have put anything where his instances lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stranger {
    /// His number.
    pub(crate) uid: u32,
    /// The group of the directory in which his instances lie.
    pub(crate) gid: u32,
}

/// The directories that are looked into: where any instance of this user may lie, and where root's lie.
pub(crate) fn searched(around: &Surroundings) -> Vec<PathBuf> {
    let given = around.runtime_directory.clone();
    given
        .into_iter()
        .chain(bases(around).into_iter().map(|base| base.path))
        .collect()
}

/// Every control socket in these directories, in their order. A directory that cannot be looked into has
/// none; one in `/tmp` that is not ours is not looked into, since a stranger may have made it to be believed.
pub(crate) fn candidates(around: &Surroundings) -> Vec<Candidate> {
    let given = around
        .runtime_directory
        .iter()
        .filter_map(|dir| candidate(dir, None));
    let found = bases(around)
        .into_iter()
        .filter(|base| trusted(base, around.uid))
        .flat_map(|base| instances(&base.path, None));
    let mut seen = Vec::new();
    let mut all: Vec<Candidate> = given.chain(found).collect();
    all.retain(|candidate| {
        // `$RUNTIME_DIRECTORY` may lie in a base.
        let real = fs::canonicalize(&candidate.control).unwrap_or_else(|_| candidate.control.clone());
        let new = !seen.contains(&real);
        seen.push(real);
        new
    });
    all
}

/// The control sockets of the other users who are meant, by user; none unless we are root.
pub(crate) fn of_others(is_meant: impl Fn(u32) -> bool, around: &Surroundings) -> Vec<Candidate> {
    strangers(around)
        .into_iter()
        .filter(|(_, stranger)| is_meant(stranger.uid))
        .flat_map(|(path, stranger)| instances(&path, Some(stranger)))
        .collect()
}

/// Which other users have a directory of this name where their instances lie. Nothing in it is looked at.
pub(crate) fn others_with(name: &str, around: &Surroundings) -> Vec<u32> {
    let mut found: Vec<u32> = strangers(around)
        .into_iter()
        .filter(|(path, _)| fs::symlink_metadata(path.join(name)).is_ok_and(|found| found.is_dir()))
        .map(|(_, stranger)| stranger.uid)
        .collect();
    found.dedup();
    found
}

/// The bases in which a supervisor of this name has its lock, or has left its state: it may have been started in other
/// surroundings (by ssh, where `$XDG_RUNTIME_DIR` is set, and not by cron). One that seems to live comes first; who really
/// does, only taking the lock tells. What others could have put there is not believed.
pub(super) fn homes(name: &str, around: &Surroundings) -> Vec<Base> {
    let mut homes = bases(around);
    homes.retain(|base| {
        let may_be_ours = match base.owner {
            Owner::System => around.uid == 0,
            Owner::Private => true,
        };
        may_be_ours && trusted(base, around.uid) && is_home(&base.path.join(name), around.uid)
    });
    if let Some(living) = homes.iter().position(|base| seems_to_live(&base.path.join(name))) {
        homes.swap(0, living);
    }
    homes
}

/// Whether there is more in this directory than a start that was refused may have left.
fn is_home(own: &Path, uid: u32) -> bool {
    let [first, second] = state::FILES;
    is_private(own, uid) && [LOCK, first, second].iter().any(|file| is_file(&own.join(file)))
}

/// Whether the process that the lock file names lives.
fn seems_to_live(own: &Path) -> bool {
    let lock = own.join(LOCK);
    let file = if is_file(&lock) {
        File::open(&lock).ok()
    } else {
        None
    };
    file.and_then(read_pid).is_some_and(|pid| !is_gone(pid))
}

fn is_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_file())
}

/// The bases in which a new instance may lie, and besides `/run/segue` for users that root lets in, and the
/// user's usual runtime directory where `$XDG_RUNTIME_DIR` is not set (su, cron, a unit).
fn bases(around: &Surroundings) -> Vec<Base> {
    let system = Base {
        path: around.root.join("run/segue"),
        owner: Owner::System,
    };
    let user = around
        .root
        .join("run/user")
        .join(around.uid.to_string())
        .join("segue");
    let mut bases = vec![system];
    for base in around.bases().into_iter().chain([Base {
        path: user,
        owner: Owner::Private,
    }]) {
        if !bases.contains(&base) {
            bases.push(base);
        }
    }
    bases
}

fn trusted(base: &Base, uid: u32) -> bool {
    let owner = match base.owner {
        Owner::System => 0,
        Owner::Private => uid,
    };
    is_private(&base.path, owner)
}

/// Whether it is a directory in which nobody but its owner can put anything.
fn is_private(directory: &Path, owner: u32) -> bool {
    private_to(directory, owner).is_some()
}

/// The group of a directory in which nobody but its owner can put anything.
fn private_to(directory: &Path, owner: u32) -> Option<u32> {
    let found = fs::symlink_metadata(directory).ok()?;
    let private = found.is_dir() && found.uid() == owner && found.mode() & 0o022 == 0;
    private.then(|| found.gid())
}

/// Where the instances of other users lie, by user; for root alone, who may ask them. A directory that is not that user's, or in which
/// others can put something, is left out.
fn strangers(around: &Surroundings) -> Vec<(PathBuf, Stranger)> {
    if around.uid != 0 {
        return Vec::new();
    }
    let of_user = [
        ("run/user", "", Some("segue")),
        ("tmp", "segue-", None),
        ("dev/shm", "segue-", None),
    ];
    let mut found = Vec::new();
    for (parent, prefix, below) in of_user {
        let entries = fs::read_dir(around.root.join(parent))
            .into_iter()
            .flatten()
            .flatten();
        for entry in entries {
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(prefix));
            let Some(uid) = number
                .and_then(|number| number.parse().ok())
                .filter(|uid| *uid != around.uid)
            else {
                continue;
            };
            let path = below.map_or_else(|| entry.path(), |below| entry.path().join(below));
            if let Some(gid) = private_to(&path, uid) {
                found.push((path, Stranger { uid, gid }));
            }
        }
    }
    found.sort_by_key(|(_, stranger)| stranger.uid);
    found
}

fn instances(base: &Path, stranger: Option<Stranger>) -> Vec<Candidate> {
    let entries = fs::read_dir(base).into_iter().flatten().flatten();
    let most = stranger.map_or(usize::MAX, |_| MOST_OF_A_STRANGER);
    let mut found: Vec<_> = entries
        .take(most)
        .filter_map(|entry| candidate(&entry.path(), stranger))
        .collect();
    found.sort_by(|one, other| one.directory.cmp(&other.directory));
    found
}

fn candidate(directory: &Path, stranger: Option<Stranger>) -> Option<Candidate> {
    let control = directory.join("control");
    match fs::metadata(&control) {
        Ok(found) if found.file_type().is_socket() => {}
        // Somebody else's: connecting will say so, which is better than `none runs`.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {}
        Ok(_) | Err(_) => return None,
    }
    Some(Candidate {
        directory: directory.file_name()?.to_string_lossy().into_owned(),
        control,
        stranger,
    })
}
