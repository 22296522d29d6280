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

/// Fills in what can be found and read. A digest stays null where the file is gone and no process runs it as such.
pub(super) fn fill(status: &mut Status) {
    for generation in &mut status.generations {
        generation.binary.sha256 = places(generation)
            .iter()
            .find_map(|path| of(path, generation.binary.inode));
    }
}

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
fn of(path: &Path, inode: u64) -> Option<String> {
    let file = File::open(path).ok()?;
    (file.metadata().ok()?.ino() == inode).then(|| hex(file).ok())?
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
        assert!(of(&path, inode).is_some());
        assert_eq!(of(&path, inode + 1), None);
        assert_eq!(of(&directory.path().join("gone"), inode), None);
    }
}
