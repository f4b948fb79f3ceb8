//! Owns waiting for other programs: the blob's locks, polled without blocking.
//!
//! **Law**: while waiting nothing is held, neither slot nor connection nor open file.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::at_work::{self, AtWork, Subject, Working};
use super::attempt::Attempt;
use super::job::{Halt, Slot, blocking, or_stop};
use crate::cache::{self, BlobLock, Busy, LockAttempt};
use crate::domain::{Event, Failure, FailureCode, LockWait};

/// How long another program may make no progress before waiting for it ends.
const LOCK_PATIENCE: Duration = Duration::from_mins(5);
/// How often a busy lock is tried again.
pub(super) const LOCK_POLL: Duration = Duration::from_millis(200);
/// How often waiting is told.
const LOCK_TOLD: Duration = Duration::from_secs(2);
/// Longer than anybody's look at a lock takes.
const LOOK: Duration = Duration::from_millis(5);

enum Tried {
    /// And whether nothing of the content is here.
    Held(BlobLock, Working, bool),
    /// And the bytes of the other side's partial.
    Busy(Busy, Option<u64>),
}

/// A blob that is ours to write: its locks, and what the transfer may use.
pub(super) struct Claim {
    pub(super) lock: BlobLock,
    pub(super) slot: Slot,
    /// `None` for a small file where those have their own.
    pub(super) connection: Option<OwnedSemaphorePermit>,
    /// Says to those who look that it is us.
    pub(super) working: Working,
    /// A small file of which neither blob nor pointer is here: there is nothing to look at.
    pub(super) is_absent: bool,
}

impl Attempt<'_> {
    /// Takes the blob's locks, once there is a connection to use them with: a lock that waits for a
    /// connection would look like a dead download to others. (Small files wait for theirs with the
    /// lock: all that are before them are small.) While somebody else holds one, slot
    /// and connection are given back, nothing is open, and the wait ends when the other side makes
    /// no progress for five minutes.
    pub(super) async fn lock(&self, slot: Slot) -> Result<Claim, Halt> {
        let mut slot = Some(slot);
        let mut other_bytes = None;
        // Counted in looks: while this process does not run, nobody else is seen to stand still.
        let mut still = Duration::ZERO;
        let mut told: Option<Instant> = None;
        loop {
            let slot_held = match slot.take() {
                Some(held) => held,
                None => self.slot().await?,
            };
            // An import asks nobody for bytes.
            if !self.job.config.is_offline && self.job.offers.is_none() {
                or_stop(&self.stop, self.job.source.ready()).await?;
            }
            let connection = if self.is_small() && self.job.budget.has_small_lanes {
                None
            } else {
                let waiting = Arc::clone(&self.job.budget.connections).acquire_owned();
                let acquired = or_stop(&self.stop, waiting).await?;
                Some(acquired.map_err(|_| Halt::Interrupted)?)
            };
            let (layout, repo, etag) = (
                self.job.layout.clone(),
                self.job.repo.clone(),
                self.remote.etag,
            );
            let emitter = self.job.emitter.clone();
            let at_work = Arc::clone(&self.job.at_work);
            let subject = Subject {
                repo: repo.clone(),
                etag,
                file: self.remote.path.clone(),
                size_bytes: self.remote.size_bytes,
            };
            let job = Arc::clone(self.job);
            // Looked at on the way: for a small file, going to another thread costs more.
            let pointers = self.is_small().then(|| self.pointers());
            let blob = self.blob_path();
            let tried = blocking(move || {
                // What is removed later is made again where it is missed.
                if !job.is_prepared.load(Ordering::Acquire) {
                    cache::prepare_repo(&layout, &repo)?;
                    job.is_prepared.store(true, Ordering::Release);
                }
                let mut tried = cache::try_lock(&layout, &repo, &etag, emitter.now())?;
                if matches!(tried, LockAttempt::Busy(_)) {
                    // A look at a lock holds it for a moment; nobody waits for that.
                    std::thread::sleep(LOOK);
                    tried = cache::try_lock(&layout, &repo, &etag, emitter.now())?;
                }
                Ok(match tried {
                    LockAttempt::Held(lock) => {
                        let claim = at_work::Claim::Holds;
                        let working = AtWork::claim(&at_work, subject, claim, emitter);
                        let is_nowhere = |path: &PathBuf| {
                            path.symlink_metadata()
                                .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
                        };
                        let is_absent = pointers
                            .is_some_and(|pointers| pointers.iter().chain([&blob]).all(is_nowhere));
                        Tried::Held(lock, working, is_absent)
                    }
                    LockAttempt::Busy(busy) => {
                        Tried::Busy(busy, cache::other_progress(&layout, &repo, &etag))
                    }
                })
            })
            .await?
            .map_err(Halt::of_cache)?;
            let busy = match tried {
                Tried::Held(lock, working, is_absent) => {
                    return Ok(Claim {
                        lock,
                        slot: slot_held,
                        connection,
                        working,
                        is_absent,
                    });
                }
                Tried::Busy(busy, bytes) => {
                    if bytes != other_bytes {
                        other_bytes = bytes;
                        still = Duration::ZERO;
                    }
                    busy
                }
            };
            drop((slot_held, connection));
            if let Some(why) = self.has_waited_enough(still) {
                return Err(Halt::Failed(self.lock_busy(&busy, why)));
            }
            if told.is_none_or(|at| at.elapsed() >= LOCK_TOLD) {
                told = Some(Instant::now());
                self.say_waiting(&busy, other_bytes).await;
            }
            or_stop(&self.stop, tokio::time::sleep(LOCK_POLL)).await?;
            still += LOCK_POLL;
        }
    }

    /// Why a wait ends, if it does: after `still` without progress.
    pub(super) fn has_waited_enough(&self, still: Duration) -> Option<&'static str> {
        let deadline = self.job.deadline;
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            Some("is still at work")
        } else if still >= LOCK_PATIENCE {
            Some("its download has not grown for five minutes")
        } else {
            None
        }
    }

    pub(super) async fn say_waiting(&self, busy: &Busy, other_bytes: Option<u64>) {
        self.job
            .emitter
            .fact(Event::Waiting {
                file: self.file,
                attempt: self.number,
                lock: LockWait {
                    lock: busy.path.display().to_string(),
                    pid: busy.holder.as_ref().map(|holder| holder.pid),
                    program: busy
                        .holder
                        .as_ref()
                        .and_then(|holder| holder.program.clone()),
                    other_bytes,
                },
            })
            .await;
    }

    pub(super) fn lock_busy(&self, busy: &Busy, why: &str) -> Failure {
        let who = match &busy.holder {
            Some(holder) => match &holder.program {
                Some(program) => format!("process {} ({program}) holds it", holder.pid),
                None => format!("process {} holds it", holder.pid),
            },
            None => "another program holds it".to_owned(),
        };
        Failure::new(
            FailureCode::LockBusy,
            format!("`{}` is locked by another program", self.remote.path),
        )
        .because(format!("{who} and {why}"))
        .at_path(busy.path.display().to_string())
    }
}
