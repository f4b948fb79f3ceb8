//! Owns proving what an earlier run left: every chunk that a map speaks of is read and digested, by
//! as many threads as there are cores.
//!
//! Never writes.

use std::fs::File;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::chunk_map::{ChunkMap, SourceId};
use super::digest::{ChunkDigest, Digester, digest_of};
use super::{Error, Result};

/// How much is read at a time.
const READ_BYTES: usize = 1 << 20;

/// What is said of the beginning of a chunk, before it is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) chunk: u64,
    /// Where the chunk starts in the file.
    pub(super) start: u64,
    /// How many bytes of it are said to be there.
    pub(super) bytes: u64,
    /// What they are said to hash to; `None` if nobody has said it: then they are only digested.
    pub(super) digest: Option<ChunkDigest>,
    pub(super) source: SourceId,
}

impl Claim {
    /// What a map says.
    pub(super) fn of_map(map: &ChunkMap) -> Vec<Self> {
        map.records
            .iter()
            .map(|(&chunk, record)| Self {
                chunk,
                start: map.range_of(chunk).start,
                bytes: record.bytes,
                digest: Some(record.digest),
                source: record.source,
            })
            .collect()
    }

    /// That the first `bytes` of a file are there.
    pub(super) fn of_prefix(map: &ChunkMap, bytes: u64) -> Vec<Self> {
        (0..bytes.div_ceil(map.chunk_bytes))
            .map(|chunk| {
                let range = map.range_of(chunk);
                Self {
                    chunk,
                    start: range.start,
                    bytes: range.end.min(bytes) - range.start,
                    digest: None,
                    source: 0,
                }
            })
            .collect()
    }
}

/// Reads all that is claimed; each claim comes back with its digest, or without if it is not true.
///
/// # Errors
/// [`Error::Interrupted`] when it is not wanted any more.
pub(super) fn reprove(
    file: &File,
    claims: &[Claim],
    is_wanted: &(dyn Fn() -> bool + Sync),
) -> Result<Vec<(Claim, Option<Digester>)>> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(claims.len()));
    let work = || {
        let mut buffer = vec![0; READ_BYTES];
        while let Some(claim) = claims.get(next.fetch_add(1, Ordering::Relaxed)) {
            let range = claim.start..claim.start + claim.bytes;
            // What cannot be read is as good as lost.
            let digester = digest_of(file, &range, &mut buffer, is_wanted)
                .ok()
                .flatten()
                .filter(|read| claim.digest.is_none_or(|said| read.digest() == said));
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            done.push((*claim, digester));
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 1..cores.min(claims.len()) {
            scope.spawn(work);
        }
        if !claims.is_empty() {
            work();
        }
    });
    if !is_wanted() {
        return Err(Error::Interrupted);
    }
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(claim, _)| claim.chunk);
    Ok(done)
}
