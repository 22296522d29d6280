//! Hashes of states. Most of an exploration's time would go into the hasher of the standard library, which withstands
//! inputs that somebody has chosen to collide; here nobody does.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// The hash of a state. Two states in some millions may share one with odds of one in a million; such a pair would hide
/// one of them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Print(u64);

/// Hashes that are stored as they are.
pub(super) type Prints = HashSet<Print, BuildHasherDefault<AsItIs>>;

impl Print {
    pub(super) fn of(what: &impl Hash) -> Self {
        Self(0).with(what)
    }

    /// The hash of both.
    pub(super) fn with(self, what: &impl Hash) -> Self {
        let mut folding = Folding(self.0);
        what.hash(&mut folding);
        Self(folding.finish())
    }
}

impl Hash for Print {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0);
    }
}

/// Each word is mixed in by a multiplication to 128 bits whose halves are folded together (as in wyhash).
struct Folding(u64);

/// Odd numbers without a pattern: the fractions of the roots of 2 and 3.
const MULTIPLIER: u64 = 0x6a09_e667_f3bc_c909;
const OFFSET: u64 = 0xbb67_ae85_84ca_a73b;

impl Folding {
    fn mix(&mut self, word: u64) {
        let product = u128::from(self.0.wrapping_add(OFFSET) ^ word) * u128::from(MULTIPLIER);
        let high = u64::try_from(product >> 64).unwrap_or_default();
        let low = u64::try_from(product & u128::from(u64::MAX)).unwrap_or_default();
        self.0 = self.0.rotate_left(23) ^ high ^ low;
    }
}

impl Hasher for Folding {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.mix(u64::from(value));
    }

    fn write_u16(&mut self, value: u16) {
        self.mix(u64::from(value));
    }

    fn write_u32(&mut self, value: u32) {
        self.mix(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.mix(value);
    }

    fn write_usize(&mut self, value: usize) {
        self.mix(value as u64);
    }

    fn write_isize(&mut self, value: isize) {
        self.mix(value.cast_unsigned() as u64);
    }

    fn finish(&self) -> u64 {
        let mut last = Self(self.0);
        last.mix(OFFSET);
        last.0
    }
}

/// What is stored has been hashed.
#[derive(Default)]
pub(super) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, _: &[u8]) {
        unreachable!("only whole words are stored");
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
