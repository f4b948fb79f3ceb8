//! Owns proving what an earlier run left: every chunk that a map speaks of is read and digested, by
//! several threads.
//!
//! Never writes.

use std::fs::File;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::chunk_map::{ChunkMap, SourceId};
use super::digest::{ChunkDigest, Digester, digest_of};
use super::{Error, Result};
use crate::host::{Aligned, Direct};

/// How much is read at a time.
const READ_BYTES: usize = 512 << 10;
/// Threads for one file, at most: a disk is no faster with more, and each has its memory.
const THREADS: usize = 4;

/// What the beginning of a chunk turned out to be.
pub(super) struct Read {
    pub(super) digest: ChunkDigest,
    /// To go on with, if the chunk is not all there.
    pub(super) begun: Option<Digester>,
}

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
/// `length_of` is the length of a chunk in bytes.
///
/// # Errors
/// [`Error::Interrupted`] when it is not wanted any more.
pub(super) fn reprove(
    (file, direct): (&File, Option<&Direct>),
    claims: &[Claim],
    length_of: &(dyn Fn(u64) -> u64 + Sync),
    is_wanted: &(dyn Fn() -> bool + Sync),
) -> Result<Vec<(Claim, Option<Read>)>> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(claims.len()));
    let work = || {
        let mut buffer = Aligned::new(READ_BYTES);
        while let Some(claim) = claims.get(next.fetch_add(1, Ordering::Relaxed)) {
            let range = claim.start..claim.start + claim.bytes;
            // What cannot be read is as good as lost.
            let digester = digest_of(file, direct, &range, buffer.bytes_mut(), is_wanted);
            let read = digester.ok().flatten().and_then(|digester| {
                let digest = digester.digest();
                let is_true = claim.digest.is_none_or(|said| said == digest);
                is_true.then_some(Read {
                    digest,
                    begun: (claim.bytes < length_of(claim.chunk)).then_some(digester),
                })
            });
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            done.push((*claim, read));
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 1..cores.min(THREADS).min(claims.len()) {
            let thread = std::thread::Builder::new().name("reprove".to_owned());
            // With fewer it only takes longer.
            if thread.spawn_scoped(scope, work).is_err() {
                break;
            }
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
