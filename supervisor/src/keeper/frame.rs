//! One piece of a state file: `segue-snapshot NUMBER LENGTH CHECKSUM`, a newline, and that many bytes; or `segue-change` so, or
//! `segue-log`.

use super::checksum::checksum;
use super::{Kept, change};

/// What a piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Snapshot,
    Change,
    Log,
}

impl Piece {
    const fn word(self) -> &'static str {
        match self {
            Piece::Snapshot => "segue-snapshot",
            Piece::Change => "segue-change",
            Piece::Log => "segue-log",
        }
    }
}

/// The longest first line: two words, three numbers of at most 20 digits.
const LONGEST_HEAD: usize = 96;

pub(super) fn write(piece: Piece, number: u64, body: &[u8]) -> Vec<u8> {
    let sum = checksum(body) ^ number;
    let mut bytes = Vec::with_capacity(body.len() + LONGEST_HEAD);
    bytes.extend_from_slice(format!("{} {number} {} {sum}\n", piece.word(), body.len()).as_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// The number of the snapshot that these bytes begin with, if it is whole.
pub(super) fn number(bytes: &[u8]) -> Option<u64> {
    take(Piece::Snapshot, bytes).map(|(number, _, _)| number)
}

/// That number, and where all that was written behind it ends.
pub(super) fn extent(bytes: &[u8]) -> Option<(u64, u64)> {
    let mut states = States::of(bytes)?;
    states.by_ref().for_each(drop);
    Some((states.number, (bytes.len() - states.rest.len()) as u64))
}

/// The last state, and what was logged after it.
pub(super) fn read(bytes: &[u8]) -> Option<Kept> {
    States::of(bytes)?.last()
}

/// The states that a file tells of, oldest first: its snapshot, and what each change behind it has made of that; each with what was
/// logged after it. They end before the first piece that is broken or older.
pub(super) struct States<'a> {
    number: u64,
    /// The next one; none after the last.
    rows: Option<Vec<u8>>,
    rest: &'a [u8],
}

impl<'a> States<'a> {
    /// None if the file does not begin with a whole snapshot.
    pub(super) fn of(bytes: &'a [u8]) -> Option<Self> {
        let (number, rows, rest) = take(Piece::Snapshot, bytes)?;
        Some(Self {
            number,
            rows: Some(rows.to_vec()),
            rest,
        })
    }

    /// The next piece, if it is of this kind and of this snapshot.
    fn piece(&self, piece: Piece) -> Option<(&'a [u8], &'a [u8])> {
        let (of, body, after) = take(piece, self.rest)?;
        (of == self.number).then_some((body, after))
    }

    fn take_line(&mut self) -> Option<String> {
        let (line, after) = self.piece(Piece::Log)?;
        let line = std::str::from_utf8(line).ok()?.to_owned();
        self.rest = after;
        Some(line)
    }

    fn take_change(&mut self, rows: &[u8]) -> Option<Vec<u8>> {
        let (body, after) = self.piece(Piece::Change)?;
        let rows = change::apply(rows, body)?;
        self.rest = after;
        Some(rows)
    }
}

impl Iterator for States<'_> {
    type Item = Kept;

    fn next(&mut self) -> Option<Kept> {
        let rows = self.rows.take()?;
        let log = std::iter::from_fn(|| self.take_line()).collect();
        self.rows = self.take_change(&rows);
        Some(Kept { rows, log })
    }
}

/// The piece at the beginning: its number, its body, and what comes after it.
fn take(piece: Piece, bytes: &[u8]) -> Option<(u64, &[u8], &[u8])> {
    let head_end = bytes.iter().take(LONGEST_HEAD).position(|byte| *byte == b'\n')?;
    let (head, rest) = bytes.split_at_checked(head_end)?;
    let mut words = std::str::from_utf8(head).ok()?.split(' ');
    if words.next() != Some(piece.word()) {
        return None;
    }
    let number = words.next()?.parse().ok()?;
    let length = words.next()?.parse().ok()?;
    let sum: u64 = words.next()?.parse().ok()?;
    let (body, after) = rest.get(1..)?.split_at_checked(length)?;
    (sum == checksum(body) ^ number).then_some((number, body, after))
}
