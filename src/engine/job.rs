//! Owns what the tasks of one pull share: settings, paths, budget, the way events go up.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Flow;
use super::at_work::AtWork;
use super::emit::Emitter;
use super::failure::{from_cache, from_hub};
use super::gather::Gather;
use super::memory::{Diary, Memory};
use super::offers::Offers;
use super::sources::Source;
use crate::cache::{self, Layout};
use crate::config::Config;
use crate::domain::{Command, Commit, Etag, Failure, FailureCode, RepoId};

/// One pull, as its tasks see it.
pub(super) struct Job {
    /// Settings.
    pub(super) config: Arc<Config>,
    /// Where bytes come from.
    pub(super) source: Source,
    /// Paths of the cache.
    pub(super) layout: Layout,
    /// The repo, in the Hub's spelling.
    pub(super) repo: RepoId,
    /// The commit.
    pub(super) commit: Commit,
    /// The way up.
    pub(super) emitter: Emitter,
    /// What may be open at once, by all pulls together.
    pub(super) budget: Arc<Budget>,
    /// What bodies share.
    pub(super) flow: Flow,
    /// What earlier runs knew.
    pub(super) memory: Arc<Memory>,
    /// What this pull knows and learns.
    pub(super) diary: Diary,
    /// This pull's turn at the budget.
    pub(super) turn: Turn,
    /// Small files that were fetched and wait for the disk.
    pub(super) gather: Gather,
    /// Contents of which there was a partial when the pull began.
    pub(super) begun: HashSet<Etag>,
    /// Where else in the cache a content may be found.
    pub(super) neighbours: cache::Neighbours,
    /// Whether the repo's folders are there.
    pub(super) is_prepared: AtomicBool,
    /// The blobs that are being written right now.
    pub(super) at_work: Arc<AtWork>,
    /// Whether what is here is fetched again.
    pub(super) is_forced: bool,
    /// Whether a right size is believed.
    pub(super) trust_size: bool,
    /// Until when to wait for locks; `None` as long as their holders make progress.
    pub(super) deadline: Option<Instant>,
    /// The files that it may be made of, where it is an import: then nothing is fetched.
    pub(super) offers: Option<Offers>,
    /// Files whose content is proven.
    pub(super) files_done: AtomicU64,
    /// Bytes that came over the network, repeats included.
    pub(super) fetched_bytes: AtomicU64,
    /// How many of them the ledger knows.
    pub(super) remembered_bytes: AtomicU64,
}

/// Bounds on what is open at once.
///
/// A blob in flight holds up to seven descriptors (its partial, twice on some systems, the map, two
/// locks, a socket to the storage and an idle one to the Hub), so the connections are fewer than asked for where the system allows
/// few open files: macOS by default 256.
pub(super) struct Budget {
    /// Blobs in flight.
    pub(super) blobs: Arc<Semaphore>,
    /// Connections that transfer.
    pub(super) connections: Arc<Semaphore>,
    /// Small files in flight: those that are fetched, and those that came and wait for the disk.
    small: Arc<Semaphore>,
    /// Connections of small files, where they have their own.
    small_lines: Arc<Semaphore>,
    /// Memory for small files, in KiB.
    small_kib: Arc<Semaphore>,
    /// How many blobs may be in flight.
    most_blobs: usize,
    /// How many small files may be in flight.
    most_small: usize,
    /// Whether small files have connections beside those of the others.
    pub(super) has_small_lanes: bool,
    /// Connections of all files together, those included that help one with its ranges.
    pub(super) most_connections: usize,
}

/// The right to work at a blob.
pub(super) struct Slot {
    _permits: Vec<OwnedSemaphorePermit>,
}

/// What a pull must take before it queues for the budget: of its thousand files only so many stand
/// in the queue that another pull's first file is not the thousand-and-first.
#[derive(Clone)]
pub(super) struct Turn {
    large: Arc<Semaphore>,
    small: Arc<Semaphore>,
}

impl Budget {
    /// Blobs beyond the connections: they hash, sync or wait for the disk meanwhile.
    const BESIDE_CONNECTIONS: usize = 4;

    /// Files that are fetched at once, at least, where so many connections are allowed.
    const FILES_AT_ONCE: usize = 8;

    /// Descriptors of one blob in flight.
    const FILES_EACH: usize = 7;
    /// Descriptors of everything else: log, runtime, terminal, a probe or a folder being synced.
    const OTHER_FILES: usize = 56;

    /// Small files that are fetched at once, where there may be so many open files: what counts for
    /// them is the time of a round trip, not the line.
    const SMALL_AT_ONCE: usize = 64;
    /// Small files in flight for each of them: the disk takes its time too.
    const SMALL_EACH: usize = 2;
    /// From so many connections on, small files have their own.
    const ENOUGH: usize = 16;
    /// Memory for small files, in KiB.
    const SMALL_KIB: usize = 8 << 10;

    /// A budget of `connections`, or of as many as `open_files` leave room for.
    pub(super) fn new(connections: usize, open_files: Option<u64>) -> Self {
        let connections = open_files.map_or(connections, |limit| {
            let room = usize::try_from(limit).unwrap_or(usize::MAX);
            let each = room.saturating_sub(Self::OTHER_FILES) / Self::FILES_EACH;
            connections
                .min(each.saturating_sub(Self::BESIDE_CONNECTIONS))
                .max(1)
        });
        // The other connections help large files with their ranges.
        let files = connections.min(Self::FILES_AT_ONCE.max(connections / 2));
        let most_blobs = files + Self::BESIDE_CONNECTIONS;
        // Half of the open files; each in flight holds two locks and a partial, or a socket.
        let room = open_files.map_or(usize::MAX, |limit| {
            usize::try_from(limit / 16).unwrap_or(usize::MAX)
        });
        // Who asks for few connections gets no more for small files.
        let has_small_lanes = connections >= Self::ENOUGH;
        let small_lines = if has_small_lanes {
            Self::SMALL_AT_ONCE.min(room).max(1)
        } else {
            connections
        };
        let most_small = small_lines * Self::SMALL_EACH;
        Self {
            small: Arc::new(Semaphore::new(most_small)),
            small_lines: Arc::new(Semaphore::new(small_lines)),
            small_kib: Arc::new(Semaphore::new(Self::SMALL_KIB)),
            most_small,
            has_small_lanes,
            blobs: Arc::new(Semaphore::new(most_blobs)),
            connections: Arc::new(Semaphore::new(files)),
            most_blobs,
            most_connections: connections,
        }
    }

    /// A pull's turn.
    pub(super) fn turn(&self) -> Turn {
        Turn {
            large: Arc::new(Semaphore::new(self.most_blobs)),
            small: Arc::new(Semaphore::new(self.most_small)),
        }
    }

    /// Waits for the right to work at a blob; `None` if the engine is closing.
    pub(super) async fn slot(&self, turn: &Turn) -> Option<Slot> {
        Some(Slot {
            _permits: vec![
                Arc::clone(&turn.large).acquire_owned().await.ok()?,
                Arc::clone(&self.blobs).acquire_owned().await.ok()?,
            ],
        })
    }

    /// Waits for the right to work at a small blob of so many bytes.
    pub(super) async fn small_slot(&self, turn: &Turn, bytes: u64) -> Option<Slot> {
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        Some(Slot {
            _permits: vec![
                Arc::clone(&turn.small).acquire_owned().await.ok()?,
                Arc::clone(&self.small).acquire_owned().await.ok()?,
                Arc::clone(&self.small_kib)
                    .acquire_many_owned(kib)
                    .await
                    .ok()?,
            ],
        })
    }

    /// Waits for a connection of a small file.
    pub(super) async fn small_line(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.small_lines).acquire_owned().await.ok()
    }
}

/// Why an attempt did not end in a proven blob.
#[derive(Debug)]
pub(super) enum Halt {
    /// The user's wish.
    Interrupted,
    /// Something failed; its code decides whether it is tried again.
    Failed(Failure),
    /// The bytes were wrong and are discarded: once afresh.
    Mismatch(Failure),
    /// The bytes were wrong; those of an earlier run are suspected and given up first.
    Suspect(Failure),
    /// Bytes that lay here already and those that were fetched do not match together, and it cannot
    /// be told which are wrong: once from the beginning.
    Doubt(Failure),
    /// The same request may be made again at once, differently: without range, or with a new link.
    Again(Failure),
}

impl Halt {
    /// What an error of the disk means for an attempt.
    pub(super) fn of_cache(error: cache::Error) -> Self {
        match error {
            cache::Error::Interrupted => Self::Interrupted,
            error => Self::Failed(from_cache(error)),
        }
    }

    /// What an error of a source means for an attempt, and which requests may be repeated at once.
    pub(super) fn of_hub(error: crate::hub::Error) -> Self {
        use crate::hub::Error;

        let is_again = matches!(
            error,
            Error::LinkExpired { .. } | Error::RangeRejected { .. } | Error::WrongRange { .. }
        );
        let is_mismatch = matches!(
            error,
            Error::TooLong { .. } | Error::SizeMismatch { .. } | Error::ChangedUpstream { .. }
        );
        let failure = from_hub(error);
        if is_again {
            Self::Again(failure)
        } else if is_mismatch {
            Self::Mismatch(failure)
        } else {
            Self::Failed(failure)
        }
    }
}

impl From<Failure> for Halt {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Runs file work on a thread that may block; a panic there is a failure like any other.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        Failure::new(FailureCode::Internal, "a file task panicked").because(error.to_string())
    })
}

/// Waits for `work`, or for the wish to stop.
pub(super) async fn or_stop<T>(
    stop: &CancellationToken,
    work: impl Future<Output = T>,
) -> Result<T, Halt> {
    tokio::select! {
        biased;
        () = stop.cancelled() => Err(Halt::Interrupted),
        done = work => Ok(done),
    }
}

/// Waits for the wish to stop a job that can be told nothing else: a cancel, or nobody left to
/// command it.
pub(super) async fn heard_stop(commands: &mut mpsc::Receiver<Command>) {
    while let Some(command) = commands.recv().await {
        if matches!(command, Command::Cancel(_)) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_small_pull_is_not_queued_behind_all_of_a_large_one() {
        let budget = Arc::new(Budget::new(1, None));
        let (large, small) = (budget.turn(), budget.turn());
        let mut held = Vec::new();
        for _ in 0..budget.most_blobs {
            held.push(budget.slot(&large).await.unwrap());
        }
        let mut waiting = tokio::task::JoinSet::new();
        for (name, turn) in [("large", &large), ("large", &large), ("small", &small)] {
            let (budget, turn) = (Arc::clone(&budget), turn.clone());
            waiting.spawn(async move { (name, budget.slot(&turn).await.unwrap()) });
            tokio::task::yield_now().await;
        }
        held.pop();
        let (first, _slot) = waiting.join_next().await.unwrap().unwrap();
        assert_eq!(first, "small");
    }

    #[test]
    fn connections_leave_room_among_the_open_files() {
        for (asked, limit, granted, files) in [
            (8, Some(256), 8, 8),
            (16, Some(256), 16, 8),
            (64, Some(256), 24, 12),
            (64, Some(1024), 64, 32),
            (64, None, 64, 32),
            (4, None, 4, 4),
            (8, Some(64), 1, 1),
            (8, Some(0), 1, 1),
        ] {
            let budget = Budget::new(asked, limit);
            assert_eq!(budget.most_connections, granted, "{limit:?}");
            assert_eq!(budget.connections.available_permits(), files, "{limit:?}");
            assert_eq!(budget.blobs.available_permits(), files + 4);
        }
    }
}
