//! Owns the digest of a chunk and how long a chunk is.
//!
//! **Law**: a chunk's digest says only that what was written is still there; the content is proven
//! by its etag alone. XXH3-128 is not cryptographic, and need not be: it stands between a disk and
//! its owner, and the hash of the whole file always has the last word.

use std::fmt;

use twox_hash::{XxHash3_64, XxHash3_128};

use crate::host;

/// A chunk of all but huge files, in bytes.
pub const CHUNK_BYTES: u64 = 8 << 20;
/// Contents from this length on come in chunks.
pub const CHUNKED_FROM_BYTES: u64 = 16 << 20;
/// A file has at most this many chunks, so that its map stays small.
const MOST_CHUNKS: u64 = 8192;

/// The length of the chunks of a file: 8 MiB, doubled until a file of `size_bytes` has at most
/// 8,192.
pub fn chunk_bytes(size_bytes: u64) -> u64 {
    let mut chunk = CHUNK_BYTES;
    while size_bytes.div_ceil(chunk) > MOST_CHUNKS {
        chunk *= 2;
    }
    chunk
}

/// What the bytes of a chunk hash to.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChunkDigest(pub [u8; 16]);

impl ChunkDigest {
    /// Reads 32 hexadecimal digits.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        u128::from_str_radix(text, 16)
            .ok()
            .map(|number| Self(number.to_be_bytes()))
    }
}

impl fmt::Display for ChunkDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for ChunkDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A running digest.
pub(super) struct Digester {
    hash: XxHash3_128,
    bytes: u64,
}

impl Digester {
    pub(super) fn new() -> Self {
        Self {
            hash: XxHash3_128::new(),
            bytes: 0,
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.hash.write(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// Bytes taken so far.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn digest(&self) -> ChunkDigest {
        ChunkDigest(self.hash.finish_128().to_be_bytes())
    }
}

/// The digests of a file's chunks, taken while it is read from its start.
pub struct ChunkHasher {
    chunk_bytes: u64,
    running: Digester,
    done: Vec<ChunkDigest>,
}

impl ChunkHasher {
    /// For a file of `size_bytes`.
    pub fn new(size_bytes: u64) -> Self {
        Self {
            chunk_bytes: chunk_bytes(size_bytes),
            running: Digester::new(),
            done: Vec::new(),
        }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = self.chunk_bytes - self.running.bytes();
            let take = usize::try_from(room).map_or(bytes.len(), |room| room.min(bytes.len()));
            let (now, later) = bytes.split_at(take);
            self.running.update(now);
            bytes = later;
            if self.running.bytes() == self.chunk_bytes {
                self.close();
            }
        }
    }

    /// Takes the digests of the chunks that are complete; they are not given again.
    pub(super) fn take_done(&mut self) -> Vec<ChunkDigest> {
        std::mem::take(&mut self.done)
    }

    /// The digests of all chunks, the last one possibly of a shorter chunk.
    pub fn finish(mut self) -> Vec<ChunkDigest> {
        if self.running.bytes() > 0 {
            self.close();
        }
        self.done
    }

    fn close(&mut self) {
        self.done.push(self.running.digest());
        self.running = Digester::new();
    }
}

/// Eight hexadecimal digits that a torn or damaged line does not have.
pub(super) fn check_of(line: &str) -> String {
    format!("{:016x}", XxHash3_64::oneshot(line.as_bytes()))[8..].to_owned()
}

/// Reads what lies in a range of a file and digests it; `None` if it is not all there, or if it is
/// not wanted any more. `direct` is the same file, for reading past the system's memory.
pub(super) fn digest_of(
    file: &std::fs::File,
    direct: Option<&host::Direct>,
    range: &std::ops::Range<u64>,
    buffer: &mut [u8],
    is_wanted: &dyn Fn() -> bool,
) -> std::io::Result<Option<Digester>> {
    use std::os::unix::fs::FileExt as _;

    let mut digester = Digester::new();
    let mut at = range.start;
    while at < range.end {
        if !is_wanted() {
            return Ok(None);
        }
        let left = usize::try_from(range.end - at).unwrap_or(usize::MAX);
        let room = left.min(buffer.len());
        let step = &mut buffer[..room];
        // What it refuses, the ordinary way gives or explains.
        let is_read =
            direct.is_some_and(|direct| direct.read_exact_at(step, at).is_ok_and(|read| read));
        let read = if is_read {
            Ok(room)
        } else {
            file.read_at(step, at)
        };
        match read {
            Ok(0) => return Ok(None),
            Ok(count) => {
                digester.update(&buffer[..count]);
                at += count as u64;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Some(digester))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_multiples_and_never_too_many() {
        for size in [1, 16 << 20, 64 << 30, 100_000_000_000, 2_u64 << 40] {
            let chunk = chunk_bytes(size);
            assert_eq!(chunk % CHUNK_BYTES, 0);
            assert!(size.div_ceil(chunk) <= MOST_CHUNKS, "{size}");
        }
        assert_eq!(chunk_bytes(64 << 30), CHUNK_BYTES);
        assert_eq!(chunk_bytes(100_000_000_000), 2 * CHUNK_BYTES);
    }

    #[test]
    fn digests_are_those_of_the_algorithm_and_read_back() {
        // XXH3-128 of nothing with seed 0, as the reference implementation gives it.
        let empty = Digester::new().digest();
        assert_eq!(empty.to_string(), "99aa06d3014798d86001c324468d497f");
        assert_eq!(ChunkDigest::parse(&empty.to_string()), Some(empty));
        for wrong in ["", "99aa", &"g".repeat(32), &"+".repeat(32)] {
            assert_eq!(ChunkDigest::parse(wrong), None);
        }
    }

    #[test]
    fn digests_do_not_depend_on_the_steps() {
        let bytes: Vec<u8> = (0..20_000_000_u32).map(|at| (at % 251) as u8).collect();
        let size = bytes.len() as u64;
        let mut steps = ChunkHasher::new(size);
        for step in bytes.chunks(1_000_003) {
            steps.update(step);
        }
        let whole: Vec<ChunkDigest> = bytes
            .chunks(usize::try_from(CHUNK_BYTES).unwrap())
            .map(|chunk| ChunkDigest(XxHash3_128::oneshot(chunk).to_be_bytes()))
            .collect();
        assert_eq!(steps.finish(), whole);
    }
}
