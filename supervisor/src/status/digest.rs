//! The SHA-256 of what a generation runs, computed by the client that asks for it: a large binary would hold up the
//! supervisor's loop.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::clock;
use crate::protocol::{Generation, Status};

/// How much is read at a time, in bytes.
const PIECE: usize = 64 * 1024;

/// How long all binaries of a status are read. It takes a second for some hundred MiB; a slow disk or a busy machine may need far longer, and
/// the client waits for the rest of the status.
const LONGEST: Duration = Duration::from_secs(5);

/// Fills in what can be found and read in [`LONGEST`]. A digest stays null where the file is gone and no process runs it as such. Generations that
/// run the same file share one reading of it: there may be many.
pub(super) fn fill(status: &mut Status) {
    let end = clock::now() + LONGEST;
    let mut known: Vec<(Identity, String)> = Vec::new();
    for generation in &mut status.generations {
        let inode = generation.binary.inode;
        let found = places(generation)
            .iter()
            .find_map(|path| of(path, inode, &mut known, end));
        generation.binary.sha256 = found;
    }
}

/// Device and inode.
type Identity = (u64, u64);

/// Where the binary may be found: what a worker runs (unless that is an interpreter), or the path, seen from the worker's directory.
fn places(generation: &Generation) -> Vec<PathBuf> {
    let mut places = Vec::new();
    if let Some(worker) = generation.workers.first() {
        places.push(PathBuf::from(format!("/proc/{}/exe", worker.pid)));
        places.push(Path::new(&format!("/proc/{}/cwd", worker.pid)).join(&generation.binary.path));
    }
    places
}

/// The digest in lower-case hexadecimal, if the path leads to this inode and can be read.
fn of(path: &Path, inode: u64, known: &mut Vec<(Identity, String)>, end: Instant) -> Option<String> {
    let file = File::open(path).ok()?;
    let is = file.metadata().ok().filter(|is| is.ino() == inode)?;
    let identity = (is.dev(), inode);
    if let Some((_, digest)) = known.iter().find(|(other, _)| *other == identity) {
        return Some(digest.clone());
    }
    let digest = hex(file, end).ok()?;
    known.push((identity, digest.clone()));
    Some(digest)
}

/// # Errors
/// Those of reading, and `TimedOut` when it is not done by then.
fn hex(mut file: impl Read, end: Instant) -> io::Result<String> {
    let mut digest = Sha256::new();
    let mut piece = vec![0; PIECE];
    loop {
        if clock::now() >= end {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match file.read(&mut piece)? {
            0 => break,
            length => digest.update(&piece[..length]),
        }
    }
    Ok(digest
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn later() -> Instant {
        clock::now() + LONGEST
    }

    #[test]
    fn the_digest_of_nothing_is_the_one_that_everybody_knows() {
        let known = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(hex(io::empty(), later()).unwrap(), known);
    }

    #[test]
    fn a_binary_that_cannot_be_read_in_time_has_no_digest() {
        let endless = hex(io::repeat(0), Instant::now() + Duration::from_millis(20));
        assert_eq!(endless.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn another_file_at_the_path_is_not_what_runs() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app");
        std::fs::write(&path, "").unwrap();
        let inode = std::fs::metadata(&path).unwrap().ino();
        let mut known = Vec::new();
        let digest = of(&path, inode, &mut known, later());
        assert!(digest.is_some());
        assert_eq!(of(&path, inode, &mut known, later()), digest, "it was read once");
        assert_eq!(known.len(), 1);
        assert_eq!(of(&path, inode + 1, &mut known, later()), None);
        assert_eq!(
            of(&directory.path().join("gone"), inode, &mut known, later()),
            None
        );
    }
}
