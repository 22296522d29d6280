//! What tells one piece of a state from another.

/// FNV-1a of 64 bits (draft-eastlake-fnv), taken eight bytes at a time: it tells a write that was cut short from a whole one. It
/// need not withstand anybody: a user who may write the file may supervise as well.
pub(super) fn checksum(bytes: &[u8]) -> u64 {
    let mut sum: u64 = 0xcbf2_9ce4_8422_2325;
    let mut add = |value: u64| {
        sum = (sum ^ value).wrapping_mul(0x100_0000_01b3);
        // The multiplication carries upwards alone; without this the top bytes of a word would hardly count.
        sum ^= sum >> 32;
    };
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        let mut eight = [0; 8];
        eight.copy_from_slice(word);
        add(u64::from_le_bytes(eight));
    }
    words.remainder().iter().for_each(|byte| add(u64::from(*byte)));
    sum
}
