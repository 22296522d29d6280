//! One deploy of an app at a time: flock(2) on ROOT/.lock, which says who has it. It ends with the process.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;

use super::ending::{Ending, Step, say};
use super::files::attempt;
use super::interruption::Interruption;
use super::wanted::Rehearsal;
use crate::clock;
use crate::sys::{Locked, errno_text};

/// How often the lock is tried again.
const AGAIN: Duration = Duration::from_millis(200);

/// The longest line that is read of who has it, in bytes.
const HOLDER_MAX: usize = 1000;

/// Takes the lock, waiting for another deploy up to this time. A rehearsal makes no file: without one there is nothing to lock.
pub(super) fn take(
    root: &Path,
    patience: Duration,
    rehearsal: Rehearsal,
    interruption: &mut Interruption,
) -> Step<Option<Locked>> {
    let path = root.join(".lock");
    let refused = |cause: &str| Ending::refused(format_args!("lock {}: {cause}", root.display()));
    let end = clock::now() + patience;
    let mut told = false;
    loop {
        if path.is_symlink() {
            return Err(refused(&format!("{} is a symlink; remove it", path.display())));
        }
        let Some(file) = attempt(format_args!("open {}", path.display()), open(&path, rehearsal))? else {
            return Ok(None);
        };
        match Locked::exclusive(file) {
            // Somebody may have put another file there meanwhile, which others lock.
            Ok(locked) if is_there(&locked, &path) => return Ok(Some(locked)),
            Ok(_) => continue,
            Err((_, Errno::EWOULDBLOCK)) => {}
            Err((_, errno)) => return Err(refused(&errno_text(errno))),
        }
        let holder = holder(&path);
        if clock::now() >= end {
            return Err(refused(&format!(
                "another deploy is under way: {holder} (--wait waits for its end)"
            )));
        }
        if !told {
            told = true;
            say(format_args!("waiting for another deploy: {holder}"));
        }
        interruption.wait(&[], AGAIN);
        interruption.heed()?;
    }
}

fn open(path: &PathBuf, rehearsal: Rehearsal) -> io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    options.custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK);
    match rehearsal {
        Rehearsal::No => options.append(true).create(true).mode(0o644).open(path).map(Some),
        Rehearsal::Yes => match options.read(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            opened => opened.map(Some),
        },
    }
}

fn is_there(locked: &Locked, path: &Path) -> bool {
    let identity = |status: fs::Metadata| (status.dev(), status.ino());
    let ours = locked.metadata().map(identity);
    ours.is_ok_and(|ours| {
        path.symlink_metadata()
            .map(identity)
            .is_ok_and(|there| there == ours)
    })
}

/// Who has it, as it says itself.
fn holder(path: &Path) -> String {
    let text = fs::read(path).unwrap_or_default();
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(&line[..line.len().min(HOLDER_MAX)]).into_owned();
    let pid = line.strip_prefix("pid ").and_then(|rest| rest.split(',').next());
    let lives = pid
        .and_then(|pid| pid.parse::<u32>().ok())
        .is_some_and(|pid| Path::new(&format!("/proc/{pid}")).exists());
    if lives {
        line
    } else {
        "one that has just begun or ended".to_owned()
    }
}

/// Writes down who has it, for the others. They do without if that fails.
pub(super) fn sign(lock: &mut Locked, line: &str) {
    let _ = lock.set_len(0).and_then(|()| lock.write_all(line.as_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_is_first_and_waits_no_longer_than_it_says() {
        let place = tempfile::tempdir().unwrap();
        let mut interruption = Interruption::of_nobody();
        let mut take = |rehearsal| take(place.path(), Duration::ZERO, rehearsal, &mut interruption);
        assert!(take(Rehearsal::Yes).unwrap().is_none(), "nothing is made");
        let mut first = take(Rehearsal::No).unwrap().unwrap();
        sign(&mut first, &format!("pid {}, me\n", std::process::id()));
        for rehearsal in [Rehearsal::No, Rehearsal::Yes] {
            let refused = take(rehearsal).unwrap_err();
            let holder = format!("another deploy is under way: pid {}, me (", std::process::id());
            assert!(refused.text.contains(&holder), "{refused:?}");
        }
        drop(first);
        assert!(take(Rehearsal::No).unwrap().is_some());
    }

    #[test]
    fn a_lock_that_was_replaced_while_it_was_opened_is_none() {
        let place = tempfile::tempdir().unwrap();
        let mut interruption = Interruption::of_nobody();
        let path = place.path().join(".lock");
        let first = take(place.path(), Duration::ZERO, Rehearsal::No, &mut interruption)
            .unwrap()
            .unwrap();
        assert!(is_there(&first, &path));
        fs::remove_file(&path).unwrap();
        assert!(!is_there(&first, &path));
        fs::write(&path, "").unwrap();
        assert!(!is_there(&first, &path));
    }
}
