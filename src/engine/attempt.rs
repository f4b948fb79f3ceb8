//! Owns one attempt at one blob: reuse it, wait for its lock, resume or fetch it, prove it,
//! promote it. In this order, and each step may be the last.
//!
//! **Law**: a slot is taken before any file is opened; waiting for a lock holds neither slot nor
//! connection; nothing is promoted that was not proven.

use std::ops::{ControlFlow, Range};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::failure::from_hub;
use super::job::{Halt, Job, blocking, or_stop};
use super::transfer::Transfer;
use super::writer::{Bench, download};
use crate::cache::{
    self, BlobLock, Busy, Check, Found, LinkMode, LockAttempt, Partial, Pointer, Salvage, SetAside,
    Verdict,
};
use crate::domain::{
    Event, Failure, FailureCode, FileId, Healing, HealingKind, LockWait, Origin, RemoteFile,
    RepoPath, Want,
};

/// How an attempt ended well.
pub(super) enum Done {
    /// The content was on this machine.
    Reused {
        /// Where.
        origin: Origin,
        /// Whether it was hashed.
        is_verified: bool,
        /// What was put right on the way.
        healing: Option<Healing>,
    },
    /// The content was fetched.
    Fetched {
        /// Bytes fetched by this attempt.
        fetched_bytes: u64,
        /// What was put right on the way.
        healing: Option<Healing>,
    },
}

/// Which bytes that are here already an attempt may build on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Start {
    /// Partials, and the start of a truncated blob.
    #[default]
    Salvage,
    /// Partials: the truncated blob may have misled an attempt before.
    Partials,
    /// None: what was there has just failed its proof.
    Nothing,
}

/// Which file stands under a name, and in which state: enough to know that it was judged already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    len: u64,
    modified: (i64, i64),
}

impl Identity {
    /// `None` if nothing is there.
    fn of(path: &Path) -> Option<Self> {
        let found = std::fs::metadata(path).ok()?;
        Some(Self {
            device: found.dev(),
            inode: found.ino(),
            len: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
        })
    }
}

/// One attempt.
pub(super) struct Attempt<'a> {
    pub(super) job: &'a Arc<Job>,
    pub(super) file: FileId,
    pub(super) number: u32,
    pub(super) remote: RemoteFile,
    paths: Vec<RepoPath>,
    pub(super) stop: CancellationToken,
    start: Start,
    /// The bytes of the file that this attempt got from the network.
    pub(super) gained: Range<u64>,
    /// What is wrong with the blob that stands under this name.
    wrong: Option<HealingKind>,
    /// Its length, if it is too short.
    truncated_bytes: Option<u64>,
}

/// How long another program may make no progress before waiting for it ends.
const LOCK_PATIENCE: Duration = Duration::from_mins(5);
/// How often a busy lock is tried again.
const LOCK_POLL: Duration = Duration::from_millis(200);
/// How often waiting is told.
const LOCK_TOLD: Duration = Duration::from_secs(2);

impl<'a> Attempt<'a> {
    pub(super) fn new(
        job: &'a Arc<Job>,
        transfer: &Transfer,
        start: Start,
        stop: &CancellationToken,
    ) -> Self {
        Self {
            job,
            file: transfer.file,
            number: transfer.attempts,
            remote: transfer.remote.clone(),
            paths: transfer.paths.clone(),
            stop: stop.clone(),
            start,
            gained: 0..0,
            wrong: None,
            truncated_bytes: None,
        }
    }

    /// Runs the steps; on failure also says which bytes were gained.
    pub(super) async fn run(mut self) -> Result<Done, (Halt, Range<u64>)> {
        match self.steps().await {
            Ok(done) => Ok(done),
            Err(halt) => Err((halt, self.gained)),
        }
    }

    async fn steps(&mut self) -> Result<Done, Halt> {
        let slot = self.slot().await?;
        // Boxed, so that thousands of files that wait for a slot cost no more than their names.
        Box::pin(self.steps_with(slot)).await
    }

    async fn steps_with(&mut self, mut slot: OwnedSemaphorePermit) -> Result<Done, Halt> {
        let mut seen = None;
        if !self.job.is_forced
            && let Some(done) = self.reuse_in_place(&mut seen).await?
        {
            return Ok(done);
        }
        let (lock, slot_again) = self.lock(slot).await?;
        slot = slot_again;
        // Somebody may have finished it while we waited.
        if !self.job.is_forced
            && let Some(done) = self.reuse_in_place(&mut seen).await?
        {
            return Ok(done);
        }
        let lock = match self.reuse_from_elsewhere(lock).await? {
            Ok(done) => return Ok(done),
            Err(lock) => lock,
        };
        let (bench, is_seeded) = self.open_partial(lock).await?;
        let bench = self.fetch(bench).await?;
        let done = self.promote(bench, is_seeded).await;
        drop(slot);
        done
    }

    async fn slot(&self) -> Result<OwnedSemaphorePermit, Halt> {
        let permit = or_stop(
            &self.stop,
            Arc::clone(&self.job.budget.blobs).acquire_owned(),
        )
        .await?;
        permit.map_err(|_| Halt::Interrupted)
    }

    fn blob_path(&self) -> PathBuf {
        self.job.layout.blob(&self.job.repo, &self.remote.etag)
    }

    /// A closure that lets a long hash stop when the user wishes.
    fn watch(&self) -> impl FnMut(u64) -> ControlFlow<()> + Send + 'static + use<> {
        let stop = self.stop.clone();
        move |_| {
            if stop.is_cancelled() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        }
    }

    /// Looks at the blob under its name. `seen` remembers which file was judged, so that the same
    /// bytes are not hashed twice.
    async fn reuse_in_place(&mut self, seen: &mut Option<Identity>) -> Result<Option<Done>, Halt> {
        let path = self.blob_path();
        let identity = {
            let path = path.clone();
            blocking(move || Identity::of(&path)).await?
        };
        let Some(identity) = identity else {
            self.look_for_dangling().await?;
            return self.reuse_in_snapshot().await;
        };
        if *seen == Some(identity) {
            return Ok(None);
        }
        *seen = Some(identity);
        self.say_reusing().await;
        let check = if self.job.trust_size {
            Check::SizeOnly
        } else {
            Check::Hash
        };
        let (etag, size) = (self.remote.etag, self.remote.size_bytes);
        let mut watch = self.watch();
        let at = path.clone();
        let verdict = blocking(move || cache::check(&at, &etag, size, check, &mut watch))
            .await?
            .map_err(Halt::of_cache)?;
        let reused = |is_verified| {
            Ok(Some(Done::Reused {
                origin: Origin::Cache,
                is_verified,
                healing: None,
            }))
        };
        self.wrong = match verdict {
            Verdict::Proven => return reused(true),
            Verdict::SizeMatches => return reused(false),
            Verdict::Missing => None,
            Verdict::Truncated { bytes } => {
                self.truncated_bytes = Some(bytes);
                Some(HealingKind::Truncated)
            }
            Verdict::TooLong { .. } => Some(HealingKind::TooLong),
            Verdict::WrongHash => Some(HealingKind::WrongHash),
            Verdict::LfsPointer => Some(HealingKind::LfsPointer),
            Verdict::Unreadable(error) => return Err(Halt::of_cache(error)),
        };
        Ok(None)
    }

    /// Where files are placed whole (no symlinks), those of the snapshot are the content: if every
    /// path has it, nothing is to be written, and a blob would only be a second copy.
    async fn reuse_in_snapshot(&mut self) -> Result<Option<Done>, Halt> {
        let (layout, repo, commit, remote) = (
            self.job.layout.clone(),
            self.job.repo.clone(),
            self.job.commit,
            self.remote.clone(),
        );
        let paths = self.paths.clone();
        let use_symlinks = self.job.config.use_symlinks;
        let pointers = blocking(move || {
            let pointers: Option<Vec<PathBuf>> = paths
                .iter()
                .map(|path| {
                    let found = cache::inspect_pointer(&layout, &repo, &commit, path, &remote.etag);
                    matches!(found, Ok(Pointer::Regular))
                        .then(|| layout.pointer(&repo, &commit, path))
                })
                .collect();
            // A cache that cannot be tried cannot be written: nothing could be made better there.
            let places_links = || {
                use_symlinks && matches!(cache::link_mode(&layout, &repo), Ok(LinkMode::Symlink))
            };
            pointers.filter(|_| !places_links())
        })
        .await?;
        let Some(pointers) = pointers else {
            return Ok(None);
        };
        self.say_reusing().await;
        let check = if self.job.trust_size {
            Check::SizeOnly
        } else {
            Check::Hash
        };
        let (etag, size) = (self.remote.etag, self.remote.size_bytes);
        let mut watch = self.watch();
        let verdicts = blocking(move || {
            pointers
                .iter()
                .map(|at| cache::check(at, &etag, size, check, &mut watch))
                .collect::<cache::Result<Vec<Verdict>>>()
        })
        .await?
        .map_err(Halt::of_cache)?;
        let is_right =
            |verdict: &Verdict| matches!(verdict, Verdict::Proven | Verdict::SizeMatches);
        let is_verified = verdicts
            .iter()
            .all(|verdict| matches!(verdict, Verdict::Proven));
        Ok(verdicts.iter().all(is_right).then_some(Done::Reused {
            origin: Origin::Snapshot,
            is_verified,
            healing: None,
        }))
    }

    /// A pointer to a blob that is not there is damage; the blob's absence alone is not.
    async fn look_for_dangling(&mut self) -> Result<(), Halt> {
        let (layout, repo, commit, etag) = (
            self.job.layout.clone(),
            self.job.repo.clone(),
            self.job.commit,
            self.remote.etag,
        );
        let paths = self.paths.clone();
        let dangling = blocking(move || {
            paths.into_iter().find(|path| {
                matches!(
                    cache::inspect_pointer(&layout, &repo, &commit, path, &etag),
                    Ok(Pointer::Dangling)
                )
            })
        })
        .await?;
        self.wrong = dangling.map(|_| HealingKind::DanglingPointer);
        Ok(())
    }

    async fn say_reusing(&self) {
        self.job
            .emitter
            .fact(Event::Reusing {
                file: self.file,
                attempt: self.number,
            })
            .await;
    }

    /// Takes the blob's locks. While somebody else holds one, the slot is given back, nothing is
    /// open, and the wait ends when the other side makes no progress for five minutes.
    async fn lock(
        &self,
        slot: OwnedSemaphorePermit,
    ) -> Result<(BlobLock, OwnedSemaphorePermit), Halt> {
        let mut slot = Some(slot);
        let mut other_bytes = None;
        let mut moved = Instant::now();
        let mut told: Option<Instant> = None;
        loop {
            let held = match slot.take() {
                Some(held) => held,
                None => self.slot().await?,
            };
            let (layout, repo, etag) = (
                self.job.layout.clone(),
                self.job.repo.clone(),
                self.remote.etag,
            );
            let now = self.job.emitter.now();
            let tried = blocking(move || {
                cache::prepare_root(layout.root())?;
                cache::prepare_repo(&layout, &repo)?;
                let tried = cache::try_lock(&layout, &repo, &etag, now)?;
                let bytes = match &tried {
                    LockAttempt::Busy(_) => cache::other_progress(&layout, &repo, &etag),
                    LockAttempt::Held(_) => None,
                };
                Ok((tried, bytes))
            })
            .await?
            .map_err(Halt::of_cache)?;
            let busy = match tried {
                (LockAttempt::Held(lock), _) => return Ok((lock, held)),
                (LockAttempt::Busy(busy), bytes) => {
                    if bytes != other_bytes {
                        other_bytes = bytes;
                        moved = Instant::now();
                    }
                    busy
                }
            };
            drop(held);
            if moved.elapsed() >= LOCK_PATIENCE {
                return Err(Halt::Failed(self.lock_busy(&busy)));
            }
            if told.is_none_or(|at| at.elapsed() >= LOCK_TOLD) {
                told = Some(Instant::now());
                self.say_waiting(&busy, other_bytes).await;
            }
            or_stop(&self.stop, tokio::time::sleep(LOCK_POLL)).await?;
        }
    }

    async fn say_waiting(&self, busy: &Busy, other_bytes: Option<u64>) {
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

    fn lock_busy(&self, busy: &Busy) -> Failure {
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
        .because(format!(
            "{who} and its download has not grown for five minutes"
        ))
        .at_path(busy.path.display().to_string())
    }

    /// Places the content without the network if it is anywhere on this machine, or empty.
    async fn reuse_from_elsewhere(&self, lock: BlobLock) -> Result<Result<Done, BlobLock>, Halt> {
        let remote = self.remote.clone();
        let (layout, repo, commit) = (
            self.job.layout.clone(),
            self.job.repo.clone(),
            self.job.commit,
        );
        if remote.size_bytes == 0 {
            let promoted =
                blocking(move || cache::place_empty(&layout, &repo, &remote.etag, &lock))
                    .await?
                    .map_err(Halt::of_cache)?;
            return Ok(Ok(Done::Reused {
                origin: Origin::Empty,
                is_verified: true,
                healing: self.healing(promoted.set_aside),
            }));
        }
        if self.job.is_forced {
            return Ok(Err(lock));
        }
        let paths = self.paths.clone();
        let use_shared = self.job.config.use_shared_blobs;
        let candidates = blocking(move || {
            let mut found = Vec::new();
            for path in &paths {
                if let Ok(Pointer::Regular) =
                    cache::inspect_pointer(&layout, &repo, &commit, path, &remote.etag)
                {
                    found.push((layout.pointer(&repo, &commit, path), true));
                }
            }
            for path in cache::find_elsewhere(&layout, &repo, &remote, use_shared) {
                found.push((path, false));
            }
            found
        })
        .await?;
        let mut lock = lock;
        for (source, is_snapshot) in candidates {
            self.say_reusing().await;
            let (layout, repo, remote) = (
                self.job.layout.clone(),
                self.job.repo.clone(),
                self.remote.clone(),
            );
            let mut watch = self.watch();
            let at = source.clone();
            let (placed, lock_back) = blocking(move || {
                let placed = cache::place_copy(
                    &at,
                    &layout,
                    &repo,
                    &remote.etag,
                    remote.size_bytes,
                    &lock,
                    &mut watch,
                );
                (placed, lock)
            })
            .await?;
            lock = lock_back;
            match placed {
                Ok(promoted) => {
                    let origin = if is_snapshot {
                        Origin::Snapshot
                    } else {
                        Origin::OtherRepo {
                            folder: self.folder_of(&source),
                        }
                    };
                    return Ok(Ok(Done::Reused {
                        origin,
                        is_verified: true,
                        healing: self.healing(promoted.set_aside),
                    }));
                }
                Err(cache::Error::Interrupted) => return Err(Halt::Interrupted),
                // Anything else only means that this copy is of no use; the network has the truth.
                Err(error) => {
                    tracing::info!(source = %source.display(), %error, "a local copy was not used");
                }
            }
        }
        Ok(Err(lock))
    }

    /// The folder below the cache root that `source` lies in.
    fn folder_of(&self, source: &Path) -> String {
        source
            .strip_prefix(self.job.layout.root())
            .ok()
            .and_then(|path| path.components().next())
            .map_or_else(
                || source.display().to_string(),
                |folder| folder.as_os_str().to_string_lossy().into_owned(),
            )
    }

    /// Opens our partial: resumed, adopted, seeded from a truncated blob, or new.
    async fn open_partial(&self, lock: BlobLock) -> Result<(Bench, bool), Halt> {
        if self.job.config.is_offline {
            return Err(Halt::Failed(Failure::new(
                FailureCode::Offline,
                format!(
                    "`{}` is not on this machine and larder is offline",
                    self.remote.path
                ),
            )));
        }
        let (layout, repo, etag, size) = (
            self.job.layout.clone(),
            self.job.repo.clone(),
            self.remote.etag,
            self.remote.size_bytes,
        );
        let start = self.start;
        let seed = (start == Start::Salvage && self.wrong == Some(HealingKind::Truncated))
            .then(|| self.blob_path());
        // What is there is hashed before it is continued, which takes time and begins the attempt.
        let has_some = {
            let (layout, repo) = (layout.clone(), repo.clone());
            blocking(move || cache::other_progress(&layout, &repo, &etag)).await?
        };
        if start != Start::Nothing && (seed.is_some() || has_some.is_some_and(|bytes| bytes > 0)) {
            self.say_reusing().await;
        }
        let now = self.job.emitter.now();
        let mut watch = self.watch();
        let opened = blocking(move || {
            if start == Start::Nothing {
                return Partial::anew(&layout, &repo, &etag, size, &lock)
                    .map(|partial| (Bench { lock, partial }, Found::default()));
            }
            let from = Salvage {
                now,
                seed: seed.as_deref(),
            };
            Partial::start(&layout, &repo, &etag, size, &lock, from, &mut watch)
                .map(|(partial, found)| (Bench { lock, partial }, found))
        })
        .await?;
        let (bench, found) = opened.map_err(Halt::of_cache)?;
        for name in found.discarded {
            let note = format!("the partial `{name}` could not be used and was given up");
            self.job.emitter.fact(Event::Noted { note }).await;
        }
        let is_seeded = self
            .truncated_bytes
            .is_some_and(|bytes| bytes == found.adopted_bytes);
        Ok((bench, is_seeded))
    }

    /// Fetches what is missing.
    async fn fetch(&mut self, bench: Bench) -> Result<Bench, Halt> {
        if bench.partial.bytes() == self.remote.size_bytes {
            return Ok(bench);
        }
        or_stop(&self.stop, self.job.source.ready()).await?;
        let permit = or_stop(
            &self.stop,
            Arc::clone(&self.job.budget.connections).acquire_owned(),
        )
        .await?;
        self.job
            .emitter
            .fact(Event::Connecting {
                file: self.file,
                attempt: self.number,
                source: self.job.source.name().to_owned(),
            })
            .await;
        let want = Want {
            repo: self.job.repo.clone(),
            commit: self.job.commit,
            path: self.remote.path.clone(),
            etag: self.remote.etag,
            size_bytes: self.remote.size_bytes,
        };
        let fetched = download(self, bench, &want).await;
        drop(permit);
        fetched
    }

    /// Proves and promotes.
    async fn promote(&self, bench: Bench, is_seeded: bool) -> Result<Done, Halt> {
        self.job
            .emitter
            .fact(Event::Verifying {
                file: self.file,
                attempt: self.number,
            })
            .await;
        // A truncated blob that seeded the partial is a proven prefix of what replaces it.
        let aside = if is_seeded {
            SetAside::Drop
        } else {
            SetAside::Keep
        };
        let Bench { lock, partial } = bench;
        let was_adopted = partial.has_foreign_bytes();
        let before = partial.bytes();
        let promoted = blocking(move || {
            let promoted = partial.prove_and_promote(&lock, aside);
            promoted.map_err(|failed| match failed.error {
                // Wrong bytes are worth nothing: the next attempt must not take them up again.
                cache::Error::HashMismatch { .. } => match failed.partial.discard() {
                    Ok(()) => failed.error,
                    Err(error) => error,
                },
                error => error,
            })
        })
        .await?;
        match promoted {
            Ok(promoted) => Ok(Done::Fetched {
                fetched_bytes: self.gained.end - self.gained.start,
                healing: self.healing(promoted.set_aside),
            }),
            Err(cache::Error::HashMismatch { .. }) => Err(self.mismatch(before, was_adopted).await),
            Err(error) => Err(Halt::of_cache(error)),
        }
    }

    async fn mismatch(&self, before: u64, was_adopted: bool) -> Halt {
        let why = if was_adopted {
            "what was resumed does not match the hash"
        } else {
            "the bytes do not match the hash"
        };
        self.job
            .emitter
            .fact(Event::Rewound {
                file: self.file,
                attempt: self.number,
                from_bytes: before,
                to_bytes: 0,
                why: why.to_owned(),
            })
            .await;
        let failure = Failure::new(
            FailureCode::ChecksumMismatch,
            format!(
                "the bytes do not match the promised {}",
                self.remote.etag.algorithm()
            ),
        )
        .because(format!(
            "the Hub promised {}; what `{}` sent hashes to something else and was discarded",
            self.remote.etag.short(),
            self.job.source.name()
        ))
        .at_path(self.remote.path.as_str());
        if was_adopted {
            // Bytes that another program left are no fault of the source.
            Halt::Doubt(failure)
        } else {
            Halt::Mismatch(failure)
        }
    }

    fn healing(&self, set_aside: Option<PathBuf>) -> Option<Healing> {
        // A forced pull looks at nothing before it fetches; what was set aside was wrong.
        let unseen = set_aside.is_some().then_some(HealingKind::WrongHash);
        self.wrong.or(unseen).map(|kind| Healing {
            kind,
            path: Some(self.remote.path.clone()),
            location: match kind {
                HealingKind::DanglingPointer => {
                    self.job
                        .layout
                        .pointer(&self.job.repo, &self.job.commit, &self.remote.path)
                }
                _ => self.blob_path(),
            }
            .display()
            .to_string(),
            set_aside: set_aside.map(|path| path.display().to_string()),
        })
    }

    /// Turns a source's error into a halt, and says which requests may be repeated at once.
    pub(super) fn halt_of(error: crate::hub::Error) -> Halt {
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
            Halt::Again(failure)
        } else if is_mismatch {
            Halt::Mismatch(failure)
        } else {
            Halt::Failed(failure)
        }
    }
}
