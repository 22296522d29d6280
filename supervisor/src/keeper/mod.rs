//! Where the state of this supervisor lies while it lives, so that another can go on if it is killed.
//!
//! Two files (in the instance's directory; in memory where nothing can be written there) hold it by turns. Each is a
//! *snapshot* of everything and, behind it, *changes* of that and a *log* of what was about to be done and has been done since.
//! Once the changes have become long, a snapshot is written over the older file, so that the newer one is whole at every moment.
//! A reader takes the newest file that is whole, and what stands behind its snapshot up to the first piece that is not.
//!
//! Every piece carries the number of its snapshot, its length and a checksum, and pieces that belong together are written with
//! one pwrite(2): SIGKILL may cut a write short. Nothing is synced, for what runs is gone after a power cut anyway. There is no
//! shared mapping, because a full disk must be an error here and not a SIGBUS.

mod change;
mod checksum;
mod frame;
mod place;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::sys::errno_text;
use frame::Piece;

/// How many files there are.
pub(crate) const FILES: usize = 2;

/// Changes are written behind a snapshot until there are so many bytes of them, or as many as the snapshot has. A reload of one
/// worker makes some four kilobytes, so that it takes a snapshot of ten once in fifteen times.
const MOST_CHANGES: u64 = 64 * 1024;

/// What a supervisor left: its last state, and what it logged since, a line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    /// The rows of that state.
    pub(crate) rows: Vec<u8>,
    /// The lines of the log.
    pub(crate) log: Vec<String>,
}

/// The files, and how far they are written.
#[derive(Debug)]
pub(crate) struct Keeper {
    files: [File; FILES],
    paths: [PathBuf; FILES],
    /// The number of the last snapshot; it lies in the file of that number modulo two.
    number: u64,
    /// Where the next piece behind it goes.
    end: u64,
    /// Where the next piece is to be a snapshot.
    full: u64,
    /// The state that was written last. None until there was a snapshot.
    written: Option<Vec<u8>>,
    /// Whether something was logged or has changed since.
    behind: bool,
    /// A piece of the log that goes out with the next write.
    deferred: Vec<u8>,
    /// A failure that is to be told.
    trouble: Option<String>,
    /// Whether one was told since writing succeeded last.
    told: bool,
}

impl Keeper {
    /// Opens the files at these paths, or makes them (0600); in memory if that cannot be done, which the second value tells. What
    /// they hold is kept until the first snapshot. The fds are close-on-exec.
    ///
    /// # Errors
    /// The kernel gives no file in memory either.
    pub(crate) fn open(paths: [PathBuf; FILES]) -> Result<(Self, Option<String>), String> {
        let (files, complaint) = place::open(&paths)?;
        Ok((Self::on(files, paths), complaint))
    }

    /// Goes on in these files, which an earlier supervisor has kept its state in; the paths are those that they have, if they
    /// have any.
    pub(crate) fn on(files: [File; FILES], paths: [PathBuf; FILES]) -> Self {
        let found = files.iter().filter_map(|file| frame::extent(&contents(file)));
        let (number, end) = found.max().unwrap_or_default();
        Self {
            files,
            paths,
            number,
            end,
            full: end,
            written: None,
            behind: true,
            deferred: Vec::new(),
            trouble: None,
            told: false,
        }
    }

    /// What an earlier supervisor left in the files, if it is whole.
    #[cfg(test)]
    pub(crate) fn read(&self) -> Option<Kept> {
        newest(self.files.iter().map(contents))
    }

    /// The files, in the order of their numbers.
    pub(crate) fn fds(&self) -> [BorrowedFd<'_>; FILES] {
        self.files.each_ref().map(|file| file.as_fd())
    }

    /// Writes down everything, unless it is written already. What was logged so far does not count any more.
    pub(crate) fn keep(&mut self, rows: Vec<u8>) {
        self.write(Some(rows), None);
    }

    /// Adds a line to the log. It has no newline in it.
    pub(crate) fn log(&mut self, line: &str) {
        self.write(None, Some(line));
    }

    /// Adds a line to the log with the next write, since nobody would miss it until then. To be called when nothing is behind.
    pub(crate) fn log_later(&mut self, line: &str) {
        self.deferred
            .extend(frame::write(Piece::Log, self.number, line.as_bytes()));
        self.behind = true;
    }

    /// Writes down everything and then logs a line, in one write.
    pub(crate) fn keep_and_log(&mut self, rows: Vec<u8>, line: &str) {
        self.write(Some(rows), Some(line));
    }

    /// Something has changed that no line of the log tells: the next batch must not be logged before everything is written down.
    pub(crate) fn note_change(&mut self) {
        self.behind = true;
    }

    /// Whether something was logged or has changed since everything was written down, or that could not be done.
    pub(crate) fn is_behind(&self) -> bool {
        self.behind
    }

    /// A failure, in one line; the same is told again only after writing has succeeded in between.
    pub(crate) fn take_trouble(&mut self) -> Option<String> {
        self.trouble.take()
    }

    /// Nothing is left to go on with: removes the files.
    pub(crate) fn remove(&self) {
        for (file, path) in self.files.iter().zip(&self.paths) {
            place::remove(path, file);
        }
    }

    fn write(&mut self, rows: Option<Vec<u8>>, line: Option<&str>) {
        let rows = rows.filter(|rows| self.behind || self.written.as_ref() != Some(rows));
        let change = rows.as_deref().and_then(|rows| self.change_to(rows));
        let (number, at, mut pieces) = match (&rows, change) {
            (None, _) => (self.number, self.end, Vec::new()),
            (Some(_), Some(change)) => {
                let piece = frame::write(Piece::Change, self.number, &change);
                (self.number, self.end, piece)
            }
            (Some(rows), None) => {
                let number = self.number + 1;
                (number, 0, frame::write(Piece::Snapshot, number, rows))
            }
        };
        let snapshot = length(&pieces);
        let mut deferred = std::mem::take(&mut self.deferred);
        if number == self.number {
            deferred.append(&mut pieces);
            pieces = deferred;
        } else if !deferred.is_empty() && self.put(self.number, &deferred, self.end) {
            self.end += length(&deferred);
        }
        if let Some(line) = line {
            pieces.extend(frame::write(Piece::Log, number, line.as_bytes()));
        }
        self.behind |= line.is_some();
        if pieces.is_empty() {
            return;
        }
        if !self.put(number, &pieces, at) {
            self.behind = true;
            return;
        }
        if number != self.number {
            self.number = number;
            self.full = snapshot + snapshot.max(MOST_CHANGES);
        }
        self.end = at + length(&pieces);
        if let Some(rows) = rows {
            self.written = Some(rows);
            self.behind = line.is_some();
        }
    }

    /// The change that makes this state of the last one, unless a snapshot is due, or shorter.
    fn change_to(&self, rows: &[u8]) -> Option<Vec<u8>> {
        let before = self.written.as_ref().filter(|_| self.end < self.full)?;
        let change = change::between(before, rows);
        (change.len() < rows.len()).then_some(change)
    }

    fn put(&mut self, number: u64, piece: &[u8], at: u64) -> bool {
        let which = usize::from(number % 2 == 1);
        match self.files[which].write_all_at(piece, at) {
            Ok(()) => {
                self.told = false;
                true
            }
            Err(_) if self.told => false,
            Err(error) => {
                self.told = true;
                let path = self.paths[which].display();
                let text = format!(
                    "state {path}: {} (if segue is killed now, the next one may not find everything)",
                    errno_text(error)
                );
                self.trouble = Some(text);
                false
            }
        }
    }
}

/// What was left in files that came by another way than their paths.
pub(crate) fn read(files: &[OwnedFd]) -> Option<Kept> {
    let copies = files
        .iter()
        .filter_map(|fd| Some(File::from(fd.try_clone().ok()?)));
    newest(copies.map(|file| contents(&file)))
}

/// What was left at these paths, without making or changing anything.
pub(crate) fn read_at(paths: &[PathBuf; FILES]) -> Option<Kept> {
    newest(
        paths
            .iter()
            .filter_map(|path: &PathBuf| place::read(Path::new(path))),
    )
}

fn newest(files: impl Iterator<Item = Vec<u8>>) -> Option<Kept> {
    let whole = files.filter_map(|bytes| Some((frame::number(&bytes)?, bytes)));
    let (_, bytes) = whole.max_by_key(|(number, _)| *number)?;
    frame::read(&bytes)
}

/// All that is in a file; nothing if it cannot be read.
fn contents(file: &File) -> Vec<u8> {
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    let mut got = 0;
    while got < bytes.len() {
        match file.read_at(&mut bytes[got..], got as u64) {
            Ok(0) | Err(_) => break,
            Ok(more) => got += more,
        }
    }
    bytes.truncate(got);
    bytes
}

fn length(piece: &[u8]) -> u64 {
    piece.len() as u64
}
