//! The SHA-256 of what a generation runs, computed by whoever asks for it: a large binary would hold up the
//! supervisor's loop.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::protocol::{Generation, Status};

/// How much is read at a time, in bytes.
const PIECE: usize = 64 * 1024;

/// Fills in what can be found and read. A digest stays null where the file is gone and no process runs it as such. Generations that run
/// the same file share one reading of it: there may be many.
pub(super) fn fill(status: &mut Status) {
    let mut known: Vec<(Identity, String)> = Vec::new();
    for generation in &mut status.generations {
        let inode = generation.binary.inode;
        let found = places(generation)
            .iter()
            .find_map(|path| of(path, inode, &mut known));
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
fn of(path: &Path, inode: u64, known: &mut Vec<(Identity, String)>) -> Option<String> {
    let file = File::open(path).ok()?;
    let is = file.metadata().ok().filter(|is| is.ino() == inode)?;
    let identity = (is.dev(), inode);
    if let Some((_, digest)) = known.iter().find(|(other, _)| *other == identity) {
        return Some(digest.clone());
    }
    let digest = hex(file).ok()?;
    known.push((identity, digest.clone()));
    Some(digest)
}

fn hex(mut file: impl Read) -> io::Result<String> {
    let mut digest = Sha256::new();
    let mut piece = vec![0; PIECE];
    loop {
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

    #[test]
    fn the_digest_of_nothing_is_the_one_that_everybody_knows() {
        let known = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(hex(io::empty()).unwrap(), known);
    }

    #[test]
    fn another_file_at_the_path_is_not_what_runs() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app");
        std::fs::write(&path, "").unwrap();
        let inode = std::fs::metadata(&path).unwrap().ino();
        let mut known = Vec::new();
        let digest = of(&path, inode, &mut known);
        assert!(digest.is_some());
        assert_eq!(of(&path, inode, &mut known), digest, "it was read once");
        assert_eq!(known.len(), 1);
        assert_eq!(of(&path, inode + 1, &mut known), None);
        assert_eq!(of(&directory.path().join("gone"), inode, &mut known), None);
    }
}
