//! Owns hashing many contents at once: as many threads as there are cores, the largest first.
//!
//! Never writes.

use std::collections::HashSet;
use std::fs::{self, Metadata};
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::blob::each_step;
use super::digest::{CHUNKED_FROM_BYTES, ChunkHasher};
use super::inspection::{ContentId, Inspected};
use super::proof::{Proof, Proofs};
use super::{ChunkDigest, Error, Hasher, Result, chunk_bytes};
use crate::domain::{Etag, RepoPath, sanitize};
use crate::host;

/// Hears about the hashing: of which file, how many more bytes of it were hashed, and whether it is
/// done.
pub type Watch<'a> = dyn Fn(&RepoPath, u64, bool) -> ControlFlow<()> + Sync + 'a;

/// A content that hashed to its name.
#[derive(Debug)]
pub struct ProvenContent {
    /// Where it really lies.
    pub path: PathBuf,
    /// What it looked like before and after it was read.
    pub metadata: Metadata,
    /// Its name.
    pub etag: Etag,
    /// The length of a chunk and what its chunks hash to, if it is large.
    pub digests: Option<(u64, Vec<ChunkDigest>)>,
}

/// A content that did not hash to its name, or could not be read.
#[derive(Debug)]
pub struct WrongContent {
    /// Where it really lies.
    pub path: PathBuf,
    /// What it looks like.
    pub metadata: Metadata,
    /// Its name.
    pub etag: Etag,
    /// What it is; `None` if it could not be read.
    pub computed: Option<Etag>,
}

/// What one content turned out to be.
struct Judged {
    proof: Proof,
    right: Option<ProvenContent>,
    wrong: Option<WrongContent>,
}

/// One content to hash.
struct Task<'a> {
    id: ContentId,
    file: &'a Inspected,
    bytes: u64,
}

/// Hashes what `proofs` does not hold yet.
pub(super) fn hash_ahead(
    files: &[Inspected],
    proofs: &mut Proofs,
    watch: &Watch<'_>,
) -> Result<()> {
    let mut seen = HashSet::new();
    let mut tasks: Vec<Task<'_>> = files
        .iter()
        .filter_map(|file| {
            let (id, bytes) = file.content?;
            let is_new = proofs.of(&id).is_none() && seen.insert(id);
            is_new.then_some(Task { id, file, bytes })
        })
        .collect();
    tasks.sort_by_key(|task| std::cmp::Reverse(task.bytes));
    let next = AtomicUsize::new(0);
    let done = Mutex::new((proofs, Ok(())));
    let work = || {
        while let Some(task) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
            let proven = prove_one(task.file, &task.id, watch);
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            match proven {
                Ok(judged) => {
                    done.0.wrong.extend(judged.wrong);
                    done.0.learn(task.id, judged.proof);
                    done.0.proven.extend(judged.right);
                }
                Err(error) => {
                    done.1 = Err(error);
                    return;
                }
            }
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 1..cores.min(tasks.len()) {
            scope.spawn(work);
        }
        work();
    });
    done.into_inner().unwrap_or_else(PoisonError::into_inner).1
}

/// Hashes one content; again, if it was replaced or written meanwhile.
fn prove_one(file: &Inspected, id: &ContentId, watch: &Watch<'_>) -> Result<Judged> {
    let mut proof = Proof::Right;
    let mut still = None;
    for _ in 0..2 {
        let before = file.place.metadata().ok();
        let digests;
        (proof, digests) = hash(file, id, watch)?;
        let after = file.place.metadata().ok();
        let is_same = before.as_ref().map(stamp) == after.as_ref().map(stamp);
        still = after.filter(|_| is_same);
        let etag = match &proof {
            Proof::Right => Some(*id.etag()),
            Proof::Known(computed) => Some(*computed).filter(|_| is_same),
            Proof::Wrong(_) | Proof::Moving | Proof::Unreadable(_) => None,
        };
        if let Some(etag) = etag {
            let content = still.and_then(|metadata| {
                Some(ProvenContent {
                    path: fs::canonicalize(&file.place).ok()?,
                    metadata,
                    etag,
                    digests,
                })
            });
            return Ok(Judged {
                proof,
                right: content,
                wrong: None,
            });
        }
        if is_same {
            break;
        }
    }
    if still.is_none() && matches!(proof, Proof::Wrong(_) | Proof::Known(_)) {
        // Somebody writes it: what it will be, nobody knows.
        return Ok(Judged {
            proof: Proof::Moving,
            right: None,
            wrong: None,
        });
    }
    // What cannot be read is not to be trusted either.
    let computed = match &proof {
        Proof::Wrong(computed) => Some(*computed),
        Proof::Right | Proof::Known(_) | Proof::Moving | Proof::Unreadable(_) => None,
    };
    let wrong = still.and_then(|metadata| {
        Some(WrongContent {
            path: fs::canonicalize(&file.place).ok()?,
            metadata,
            etag: *id.etag(),
            computed,
        })
    });
    Ok(Judged {
        proof,
        right: None,
        wrong,
    })
}

fn stamp(found: &Metadata) -> (u64, u64, u64, (i64, i64), (i64, i64)) {
    (
        found.dev(),
        found.ino(),
        found.len(),
        (found.mtime(), found.mtime_nsec()),
        (found.ctime(), found.ctime_nsec()),
    )
}

type Digests = Option<(u64, Vec<ChunkDigest>)>;

fn hash(file: &Inspected, id: &ContentId, watch: &Watch<'_>) -> Result<(Proof, Digests)> {
    let unreadable =
        |error: &dyn std::fmt::Display| Proof::Unreadable(sanitize(&error.to_string()));
    let opened = host::open_quietly(&file.place)
        .and_then(|open| open.metadata().map(|found| (open, found.len())));
    let (open, length) = match opened {
        Ok(opened) => opened,
        Err(error) => return Ok((unreadable(&error), None)),
    };
    host::will_read_through(&open);
    let mut hasher = Hasher::new(id.etag(), length);
    let mut chunks = (length >= CHUNKED_FROM_BYTES).then(|| ChunkHasher::new(length));
    let mut told = 0;
    let mut step = |done: u64| {
        let more = done - told;
        told = done;
        watch(&file.path, more, false)
    };
    let read = each_step(&open, &file.place, length, &mut step, &mut |_, bytes| {
        hasher.update(bytes);
        if let Some(chunks) = &mut chunks {
            chunks.update(bytes);
        }
        Ok(())
    });
    match read {
        Ok(done) => {
            // The last step was hashed without a word.
            let more = done.saturating_sub(told);
            if watch(&file.path, more, true).is_break() {
                return Err(Error::Interrupted);
            }
            let computed = hasher.computed();
            let proof = if id.is_free() {
                Proof::Known(computed)
            } else if computed == *id.etag() {
                Proof::Right
            } else {
                return Ok((Proof::Wrong(computed), None));
            };
            let digests = chunks.map(|chunks| (chunk_bytes(length), chunks.finish()));
            Ok((proof, digests))
        }
        Err(Error::Interrupted) => Err(Error::Interrupted),
        Err(Error::Io { source, .. }) => Ok((unreadable(&source), None)),
        Err(error) => Ok((unreadable(&error), None)),
    }
}
