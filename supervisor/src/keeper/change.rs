//! The difference between two states, as text: `=N` keeps the next N lines of the older one, `-N` leaves them out, and `+N` adds the
//! N bytes that follow. `~K H T N` adds a line that begins with H bytes of line K of the older one and ends with T of them, with the N
//! bytes that follow in between.
//!
//! Rows come in a fixed order and few of them change in a turn, so that one walk through both finds nearly all that stays. Of those
//! that change, most change in a number or two.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use super::checksum::checksum;

/// So many lines are searched ahead for one that both states have before all of them are, by an index; and so many around for one that
/// is nearly the same.
const AHEAD: usize = 64;

/// A line of which not so many bytes are found elsewhere is written as it is.
const WORTH_IT: usize = 32;

/// The change that makes `new` out of `old`. Both end with a newline, unless they are empty.
pub(super) fn between(old: &[u8], new: &[u8]) -> Vec<u8> {
    let (old, new) = (lines(old), lines(new));
    let walk = Walk::of(&old, &new);
    let (mut from, mut to) = (0, 0);
    let mut change = Change::default();
    while from < old.len() || to < new.len() {
        let (gone, come) = walk.distance(from, to);
        change.leave_out(gone);
        for line in &new[to..to + come] {
            change.add(line, &old, from);
        }
        (from, to) = (from + gone, to + come);
        let same = old[from..].iter().zip(&new[to..]);
        let same = same.take_while(|(one, other)| one == other).count();
        change.keep(same);
        (from, to) = (from + same, to + same);
    }
    change.finish()
}

/// What comes of `old` by a change. None if it is no change of this state.
pub(super) fn apply(old: &[u8], change: &[u8]) -> Option<Vec<u8>> {
    let (old, mut left) = (lines(old), change);
    let mut new = Vec::new();
    let mut from: usize = 0;
    while !left.is_empty() {
        let end = left.iter().position(|byte| *byte == b'\n')?;
        let (head, rest) = (left.get(..end)?, left.get(end + 1..)?);
        let (sign, words) = head.split_first()?;
        let words = std::str::from_utf8(words).ok()?.split(' ');
        let numbers: Vec<usize> = words.map(|word| word.parse().ok()).collect::<Option<_>>()?;
        left = rest;
        match (sign, numbers.as_slice()) {
            (b'=', [count]) => {
                let to = from.checked_add(*count)?;
                old.get(from..to)?
                    .iter()
                    .for_each(|line| new.extend_from_slice(line));
                from = to;
            }
            (b'-', [count]) => from = from.checked_add(*count)?,
            (b'+', [length]) => {
                let (added, rest) = left.split_at_checked(*length)?;
                new.extend_from_slice(added);
                left = rest;
            }
            (b'~', [nth, head, tail, length]) => {
                let like = old.get(*nth)?;
                let (between, rest) = left.split_at_checked(*length)?;
                new.extend_from_slice(like.get(..*head)?);
                new.extend_from_slice(between);
                new.extend_from_slice(like.get(like.len().checked_sub(*tail)?..)?);
                left = rest;
            }
            _ => return None,
        }
    }
    (from == old.len()).then_some(new)
}

/// Each with its newline. A state is split up in each turn, so this is not done byte by byte.
fn lines(text: &[u8]) -> Vec<&[u8]> {
    let mut begin = 0;
    let ends = memchr::memchr_iter(b'\n', text).map(|at| at + 1);
    let last = (!text.ends_with(b"\n") && !text.is_empty()).then_some(text.len());
    ends.chain(last)
        .map(|end| &text[std::mem::replace(&mut begin, end)..end])
        .collect()
}

/// How many bytes two texts begin with that are the same.
fn same_head(one: &[u8], other: &[u8]) -> usize {
    let words = one.chunks_exact(8).zip(other.chunks_exact(8));
    let whole = 8 * words.take_while(|(one, other)| one == other).count();
    let rest = one[whole..].iter().zip(&other[whole..]);
    whole + rest.take_while(|(one, other)| one == other).count()
}

/// How many bytes two texts end with that are the same.
fn same_tail(one: &[u8], other: &[u8]) -> usize {
    let words = one.rchunks_exact(8).zip(other.rchunks_exact(8));
    let whole = 8 * words.take_while(|(one, other)| one == other).count();
    let rest = one[..one.len() - whole].iter().rev();
    let rest = rest.zip(other[..other.len() - whole].iter().rev());
    whole + rest.take_while(|(one, other)| one == other).count()
}

/// Where each line is, by its checksum; of equal ones the last. Lines of one checksum are compared before they count as equal.
type Index = BTreeMap<u64, usize>;

/// Both states, line by line.
struct Walk<'a> {
    old: &'a [&'a [u8]],
    new: &'a [&'a [u8]],
    /// Made when they are needed: where many lines have come or gone in one place.
    index_of_old: OnceCell<Index>,
    index_of_new: OnceCell<Index>,
}

impl<'a> Walk<'a> {
    fn of(old: &'a [&'a [u8]], new: &'a [&'a [u8]]) -> Self {
        Self {
            old,
            new,
            index_of_old: OnceCell::new(),
            index_of_new: OnceCell::new(),
        }
    }

    /// How many lines have gone and come here before the next line that both have.
    fn distance(&self, from: usize, to: usize) -> (usize, usize) {
        let (old, new) = (&self.old[from..], &self.new[to..]);
        let (Some(first_old), Some(first_new)) = (old.first(), new.first()) else {
            return (old.len(), new.len());
        };
        for ahead in 0..AHEAD {
            if old.get(ahead) == Some(first_new) {
                return (ahead, 0);
            }
            if new.get(ahead) == Some(first_old) {
                return (0, ahead);
            }
        }
        let gone = far(&self.index_of_old, self.old, first_new, from);
        let come = far(&self.index_of_new, self.new, first_old, to);
        match (gone, come) {
            (Some(gone), Some(come)) if come < gone => (0, come),
            (Some(gone), _) => (gone, 0),
            (None, Some(come)) => (0, come),
            (None, None) => (1, 1),
        }
    }
}

/// How far behind this place a line is, if there are lines that were not searched yet.
fn far(index: &OnceCell<Index>, lines: &[&[u8]], line: &[u8], place: usize) -> Option<usize> {
    if lines.len() <= place + AHEAD {
        return None;
    }
    let index = index.get_or_init(|| lines.iter().map(|line| checksum(line)).zip(0..).collect());
    let nth = *index.get(&checksum(line))?;
    let is_it = lines.get(nth) == Some(&line);
    nth.checked_sub(place).filter(|far| *far > 0 && is_it)
}

/// A line of the older state that is nearly a new one: its number, and how many bytes they share at both ends.
#[derive(Clone, Copy)]
struct Model {
    nth: usize,
    head: usize,
    tail: usize,
}

impl Model {
    fn of(line: &[u8], nth: usize, old: &[u8]) -> Self {
        let head = same_head(line, old);
        let tail = same_tail(&line[head..], &old[head..]);
        Self { nth, head, tail }
    }

    /// The best one near a place, of the same kind (the first word).
    fn find(line: &[u8], old: &[&[u8]], place: usize) -> Option<Self> {
        let kind = memchr::memchr(b' ', line).map_or(line, |blank| &line[..=blank]);
        let first = place.saturating_sub(AHEAD);
        let near = (first..).zip(old.get(first..)?).take(2 * AHEAD);
        let models = near.filter(|(_, old)| old.starts_with(kind));
        let models = models.map(|(nth, old)| Self::of(line, nth, old));
        let models = models.filter(|model| model.shared() >= WORTH_IT);
        models.max_by_key(Self::shared)
    }

    fn shared(&self) -> usize {
        self.head + self.tail
    }
}

#[derive(Default)]
struct Change {
    text: Vec<u8>,
    /// New lines that are written as they are.
    added: Vec<u8>,
}

impl Change {
    fn keep(&mut self, lines: usize) {
        self.step('=', lines);
    }

    fn leave_out(&mut self, lines: usize) {
        self.step('-', lines);
    }

    fn add(&mut self, line: &[u8], old: &[&[u8]], place: usize) {
        match Model::find(line, old, place) {
            Some(Model { nth, head, tail }) => {
                self.flush();
                let between = &line[head..line.len() - tail];
                self.head(format_args!("~{nth} {head} {tail} {}", between.len()));
                self.text.extend_from_slice(between);
            }
            None => self.added.extend_from_slice(line),
        }
    }

    fn step(&mut self, sign: char, count: usize) {
        if count > 0 {
            self.flush();
            self.head(format_args!("{sign}{count}"));
        }
    }

    fn flush(&mut self) {
        let added = std::mem::take(&mut self.added);
        if !added.is_empty() {
            self.head(format_args!("+{}", added.len()));
            self.text.extend_from_slice(&added);
        }
    }

    fn head(&mut self, words: std::fmt::Arguments<'_>) {
        self.text.extend_from_slice(words.to_string().as_bytes());
        self.text.push(b'\n');
    }

    fn finish(mut self) -> Vec<u8> {
        self.flush();
        self.text
    }
}
