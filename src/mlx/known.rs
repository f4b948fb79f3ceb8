//! Owns which tokens a vocabulary has, without keeping them: two bits for each, in a table that
//! stays in the processor's cache.
//!
//! Never exact, but for the tokens that are asked for by name: one of a hundred that are not there
//! is taken for one that is.

/// Half a megabyte of bits: the largest vocabularies have some 260 thousand tokens.
const KNOWN_WORDS: usize = 1 << 16;
/// Tokens up to this length are one number. Hardly any are longer.
const SHORT_BYTES: usize = size_of::<u128>();

/// Which tokens there are.
pub(super) struct Known {
    bits: Vec<u64>,
    /// Tokens that are asked for by name, which is exact: their hashes, and whether they came.
    wanted: Vec<(u64, bool)>,
    /// A bit for the first six bits of each of those hashes.
    hint: u64,
}

impl Known {
    /// Nothing yet; it will know whether these tokens came.
    pub(super) fn of(wanted: &[&str]) -> Self {
        let wanted: Vec<(u64, bool)> = wanted
            .iter()
            .map(|token| (hash(token.as_bytes()), false))
            .collect();
        Self {
            bits: vec![0; KNOWN_WORDS],
            hint: wanted
                .iter()
                .fold(0, |hint, (hash, _)| hint | 1 << (hash >> 58)),
            wanted,
        }
    }

    /// The word of a hash, and its bits in it.
    fn place(hash: u64) -> (usize, u64) {
        let word = usize::try_from(hash >> 12).unwrap_or_default() % KNOWN_WORDS;
        (word, 1 << (hash & 63) | 1 << (hash >> 6 & 63))
    }

    /// Whether a token of that hash is there, probably.
    pub(super) fn has(&self, hash: u64) -> bool {
        let (word, bits) = Self::place(hash);
        self.bits[word] & bits == bits
    }

    /// Whether a token that was asked for is there.
    pub(super) fn has_wanted(&self, token: &str) -> bool {
        let asked = hash(token.as_bytes());
        self.wanted
            .iter()
            .any(|(hash, is_there)| *hash == asked && *is_there)
    }

    pub(super) fn add(&mut self, token: &[u8]) {
        let hash = hash(token);
        let (word, bits) = Self::place(hash);
        self.bits[word] |= bits;
        if self.hint >> (hash >> 58) & 1 == 1 {
            for (wanted, is_there) in &mut self.wanted {
                *is_there |= *wanted == hash;
            }
        }
    }
}

/// A token by its bytes.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    match short(bytes) {
        Some(text) => hash_short(text, bytes.len()),
        None => hash_long(bytes),
    }
}

/// Where the two tokens of a merge meet; `None` unless there is one space in the text.
pub(super) fn one_space(text: &[u8]) -> Option<usize> {
    let mut found = None;
    for (block, bytes) in text.chunks(SHORT_BYTES).enumerate() {
        let spaces = equal_bytes(short(bytes)?, b' ');
        match spaces.count_ones() {
            0 => {}
            1 if found.is_none() => {
                let bit = spaces.trailing_zeros() as usize;
                found = Some(block * SHORT_BYTES + bit / 8);
            }
            _ => return None,
        }
    }
    found
}

/// The hashes of two tokens and of what they make. There are half a million of them, so that nothing
/// is copied unless it is long.
pub(super) fn pair_hashes(one: &[u8], other: &[u8]) -> [u64; 3] {
    let length = one.len() + other.len();
    let (Some(first), Some(second)) = (short(one), short(other)) else {
        return [hash(one), hash(other), hash(&[one, other].concat())];
    };
    let bits = |bytes: usize| u32::try_from(bytes * 8).unwrap_or(u32::MAX);
    let start = first | second.checked_shl(bits(one.len())).unwrap_or_default();
    let together = if length <= SHORT_BYTES {
        hash_short(start, length)
    } else {
        let rest = second.checked_shr(bits(SHORT_BYTES - one.len()));
        hash_end(after(FACTOR, start), rest.unwrap_or_default(), length)
    };
    [
        hash_short(first, one.len()),
        hash_short(second, other.len()),
        together,
    ]
}

/// Up to sixteen bytes as a number, the first one lowest. The reads overlap, which saves a copy of
/// unknown length, and where they overlap they agree.
fn short(bytes: &[u8]) -> Option<u128> {
    let length = bytes.len();
    let shift = |count: usize| count * 8;
    Some(match length {
        0 => 0,
        1..4 => {
            let (first, middle, last) = (bytes[0], bytes[length / 2], bytes[length - 1]);
            u128::from(first)
                | u128::from(middle) << shift(length / 2)
                | u128::from(last) << shift(length - 1)
        }
        4..8 => {
            let (first, last) = (bytes.first_chunk::<4>()?, bytes.last_chunk::<4>()?);
            u128::from(u32::from_le_bytes(*first))
                | u128::from(u32::from_le_bytes(*last)) << shift(length - 4)
        }
        8..=SHORT_BYTES => {
            let (first, last) = (bytes.first_chunk::<8>()?, bytes.last_chunk::<8>()?);
            u128::from(u64::from_le_bytes(*first))
                | u128::from(u64::from_le_bytes(*last)) << shift(length - 8)
        }
        _ => return None,
    })
}

/// The highest bit of every byte that is this one.
fn equal_bytes(bytes: u128, byte: u8) -> u128 {
    const LOW: u128 = u128::MAX / 0xff * 0x7f;
    let differing = bytes ^ (u128::MAX / 0xff * u128::from(byte));
    !(((differing & LOW) + LOW) | differing | LOW)
}

const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

fn hash_short(bytes: u128, length: usize) -> u64 {
    const OTHER: u64 = 0xd6e8_feb8_6659_fd93;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the two halves are taken apart"
    )]
    let (low, high) = (bytes as u64, (bytes >> 64) as u64);
    let state = fold(low ^ FACTOR, high ^ OTHER);
    fold(state ^ length as u64, FACTOR)
}

fn hash_long(bytes: &[u8]) -> u64 {
    // The last block is never empty, as it is not where two tokens are put together.
    let (mut state, mut rest) = (FACTOR, bytes);
    while rest.len() > SHORT_BYTES
        && let Some((block, more)) = rest.split_first_chunk()
    {
        (state, rest) = (after(state, u128::from_le_bytes(*block)), more);
    }
    hash_end(state, short(rest).unwrap_or_default(), bytes.len())
}

/// The state after a whole block.
fn after(state: u64, block: u128) -> u64 {
    fold(state ^ hash_short(block, SHORT_BYTES), FACTOR)
}

/// The hash when the last block has come.
fn hash_end(state: u64, rest: u128, length: usize) -> u64 {
    fold(state ^ hash_short(rest, length), FACTOR)
}

/// Multiplies, and folds the two halves of the product into one.
fn fold(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the two halves are folded into one"
    )]
    let folded = (product as u64) ^ ((product >> 64) as u64);
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_hashes_mean_equal_tokens_and_few_strangers_are_known() {
        let mut seen = std::collections::HashSet::new();
        let mut known = Known::of(&["token 7"]);
        for at in 0..200_000_u32 {
            let token = format!("token {at}");
            assert!(seen.insert(hash(token.as_bytes())));
            assert!(seen.insert(hash(&at.to_le_bytes())));
            assert!(seen.insert(hash(format!("a token as long as few are, {at}").as_bytes())));
            known.add(token.as_bytes());
            assert!(known.has(hash(token.as_bytes())));
        }
        assert!(seen.insert(hash(b"")) && seen.insert(hash(b"\0")) && seen.insert(hash(b"\0\0")));
        assert!(known.has_wanted("token 7") && !known.has_wanted("token 8"));
        let strangers =
            (0..10_000).filter(|at| known.has(hash(format!("stranger {at}").as_bytes())));
        assert!(strangers.count() < 300);
    }

    #[test]
    fn a_merge_has_the_hashes_of_its_tokens_however_long_they_are() {
        let letters = b"abcdefghijklmnopqrstuvwxyz\xc3\xa9\0\x1f!0123456789\x80\xff\x7f";
        for length in 0..=letters.len() {
            for at in 0..=length {
                let (one, other) = (&letters[..at], &letters[at..length]);
                let expected = [hash(one), hash(other), hash(&letters[..length])];
                assert_eq!(pair_hashes(one, other), expected, "{at} of {length}");
                let text = [one, other].join(&b' ');
                assert_eq!(one_space(&text), Some(at), "{at} of {length}");
                // The text with a second space in it, anywhere.
                for second in 0..=text.len() {
                    let mut text = text.clone();
                    text.insert(second, b' ');
                    assert_eq!(one_space(&text), None);
                }
            }
            assert_eq!(one_space(&letters[..length]), None, "no space");
        }
    }
}
