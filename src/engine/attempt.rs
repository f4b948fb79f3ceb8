//! Owns one attempt at one blob: reuse it, wait for its lock, resume or fetch it, prove it,
//! promote it. In this order, and each step may be the last.
//!
//! **Law**: a slot is taken before any file is opened; waiting for a lock holds neither slot nor
//! connection; nothing is promoted that was not proven.

use std::ops::{ControlFlow, Range};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::buffers::Buffer;
use super::job::{Halt, Job, Slot, blocking, or_stop};
use super::lock_wait::Claim;
use super::ranged;
use super::small::SMALL_BYTES;
use super::transfer::Transfer;
use super::writer::{Bench, download};
use crate::cache::{
    self, BlobLock, CHUNKED_FROM_BYTES, Chunked, Damaged, Found, Partial, Promoted, Salvage,
    SetAside, Wanted,
};
use crate::domain::{
    Event, Failure, FailureCode, FileId, Healing, HealingKind, Origin, RemoteFile, RepoPath, Want,
};
use crate::ledger::Stamp;

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

/// How often it is looked whether the hash has caught up.
const HASH_POLL: Duration = Duration::from_millis(5);

/// An unfinished blob, written from its start or in any order.
enum Unfinished {
    Plain(Box<Partial>),
    Chunked(Box<Chunked<Buffer>>),
}

/// One attempt.
pub(super) struct Attempt<'a> {
    pub(super) job: &'a Arc<Job>,
    pub(super) file: FileId,
    pub(super) number: u32,
    pub(super) remote: RemoteFile,
    pub(super) paths: Vec<RepoPath>,
    /// Whether nothing of it was here when the pull began.
    is_new: bool,
    pub(super) stop: CancellationToken,
    start: Start,
    /// Whether bytes of earlier runs may be given up alone when the whole does not match.
    may_suspect: bool,
    /// The bytes of the file that this attempt got from the network.
    pub(super) gained: Range<u64>,
    /// What is wrong with the blob that stands under this name.
    pub(super) wrong: Option<HealingKind>,
    /// Its length, if it is too short.
    pub(super) truncated_bytes: Option<u64>,
    /// The file under that name when it was proven, if it was here.
    pub(super) proven: Option<Stamp>,
}

/// Gives up bytes that failed their proof: if possible only those of earlier runs, whose number is
/// returned with the error to report.
fn give_up(mut partial: Partial, may_suspect: bool) -> cache::Result<(cache::Error, Option<u64>)> {
    let forgotten = if may_suspect {
        partial.forget_old()?
    } else {
        None
    };
    let error = partial.mismatch();
    if forgotten.is_none() {
        partial.discard()?;
    }
    Ok((error, forgotten))
}

impl<'a> Attempt<'a> {
    pub(super) fn new(
        job: &'a Arc<Job>,
        transfer: &Transfer,
        start: Start,
        may_suspect: bool,
        stop: &CancellationToken,
    ) -> Self {
        Self {
            job,
            file: transfer.file,
            number: transfer.attempts,
            remote: transfer.remote.clone(),
            paths: transfer.paths.clone(),
            is_new: transfer.is_new,
            stop: stop.clone(),
            start,
            may_suspect,
            gained: 0..0,
            wrong: None,
            truncated_bytes: None,
            proven: None,
        }
    }

    /// Runs the steps; on failure also says which bytes were gained.
    pub(super) async fn run(mut self) -> Result<Done, (Halt, Range<u64>)> {
        let done = match self.steps().await {
            Ok(done) if self.job.layout.is_local() => self.settle(done).await,
            done => done,
        };
        done.map_err(|halt| (halt, self.gained))
    }

    async fn steps(&mut self) -> Result<Done, Halt> {
        let slot = self.slot().await?;
        // Boxed, so that thousands of files that wait for a slot cost no more than their names.
        Box::pin(self.steps_with(slot)).await
    }

    async fn steps_with(&mut self, slot: Slot) -> Result<Done, Halt> {
        if self.job.layout.is_local() {
            self.look_at_places().await?;
        }
        let mut seen = None;
        // A small file that was not here when the pull began is looked for once, under its lock.
        let is_looked_for_later = self.is_small() && self.is_new;
        if !(self.job.is_forced || is_looked_for_later)
            && let Some(done) = self.reuse_in_place(&mut seen).await?
        {
            return Ok(done);
        }
        let Claim {
            lock,
            slot,
            connection,
            working: _working,
            is_absent,
        } = self.lock(slot).await?;
        // Somebody may have finished it while we waited.
        if !(self.job.is_forced || is_absent)
            && let Some(done) = self.reuse_in_place(&mut seen).await?
        {
            return Ok(done);
        }
        let lock = match self.reuse_from_elsewhere(lock).await? {
            Ok(done) => return Ok(done),
            Err(lock) => lock,
        };
        if let Some(offers) = &self.job.offers {
            return Err(Halt::Failed(offers.nothing_right(&self.remote)));
        }
        if self.is_small() && !self.job.config.is_offline {
            let done = self.fetch_small(lock, connection).await;
            drop(slot);
            return done;
        }
        let (lock, unfinished, is_seeded) = self.open_partial(lock).await?;
        let (lock, unfinished) = self.fetch(lock, unfinished, connection).await?;
        let done = self.promote(lock, unfinished, is_seeded).await;
        drop(slot);
        done
    }

    pub(super) async fn slot(&self) -> Result<Slot, Halt> {
        let (budget, turn) = (&self.job.budget, &self.job.turn);
        let slot = if self.is_small() {
            let waiting = budget.small_slot(turn, self.remote.size_bytes);
            or_stop(&self.stop, waiting).await?
        } else {
            or_stop(&self.stop, budget.slot(turn)).await?
        };
        slot.ok_or(Halt::Interrupted)
    }

    /// Whether nothing of it was here when the pull began.
    pub(super) const fn is_new(&self) -> bool {
        self.is_new
    }

    /// Whether it is fetched into memory: it is small, and nothing of it lies on disk to go on with.
    pub(super) fn is_small(&self) -> bool {
        self.remote.size_bytes < SMALL_BYTES && !self.job.begun.contains(&self.remote.etag)
    }

    pub(super) fn want(&self) -> Want {
        Want {
            repo: self.job.repo.clone(),
            commit: self.job.commit,
            path: self.remote.path.clone(),
            etag: self.remote.etag,
            size_bytes: self.remote.size_bytes,
        }
    }

    /// Where the snapshot has it.
    pub(super) fn pointers(&self) -> Vec<PathBuf> {
        let (layout, job) = (&self.job.layout, self.job);
        let pointer = |path| layout.pointer(&job.repo, &job.commit, path);
        self.paths.iter().map(pointer).collect()
    }

    pub(super) fn blob_path(&self) -> PathBuf {
        self.job.layout.blob(&self.job.repo, &self.remote.etag)
    }

    /// A closure that lets a long hash stop when the user wishes.
    pub(super) fn watch(&self) -> impl FnMut(u64) -> ControlFlow<()> + Send + 'static + use<> {
        let stop = self.stop.clone();
        move |_| {
            if stop.is_cancelled() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        }
    }

    pub(super) async fn say_connecting(&self) {
        self.job
            .emitter
            .fact(Event::Connecting {
                file: self.file,
                attempt: self.number,
                source: self.job.source.name().to_owned(),
            })
            .await;
    }

    pub(super) async fn say_verifying(&self) {
        self.job
            .emitter
            .fact(Event::Verifying {
                file: self.file,
                attempt: self.number,
            })
            .await;
    }

    pub(super) async fn say_reusing(&self) {
        self.job
            .emitter
            .fact(Event::Reusing {
                file: self.file,
                attempt: self.number,
            })
            .await;
    }

    /// A file whose bytes may be the beginning of the content: the truncated blob, or what a script that
    /// died left in a folder named after the branch.
    async fn seed(&self) -> Result<Option<PathBuf>, Halt> {
        if self.start != Start::Salvage {
            return Ok(None);
        }
        match self.wrong {
            Some(HealingKind::Truncated) => Ok(Some(self.blob_path())),
            None if !self.job.is_forced => {
                let (job, remote) = (Arc::clone(self.job), self.remote.clone());
                let begun = blocking(move || job.neighbours.begun(&remote)).await?;
                Ok(begun)
            }
            Some(_) | None => Ok(None),
        }
    }

    /// Opens our partial: resumed, adopted, seeded from a truncated blob, or new.
    async fn open_partial(&self, lock: BlobLock) -> Result<(BlobLock, Unfinished, bool), Halt> {
        if self.job.config.is_offline && !self.has_complete_partial().await? {
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
        let seed = self.seed().await?;
        let damaged = match self.wrong {
            Some(HealingKind::TooLong | HealingKind::WrongHash)
                if start == Start::Salvage && size >= CHUNKED_FROM_BYTES =>
            {
                let memory = Arc::clone(&self.job.memory);
                blocking(move || memory.digests(&etag, size))
                    .await?
                    .map(|(chunk_bytes, digests)| (self.blob_path(), chunk_bytes, digests))
            }
            _ => None,
        };
        // What is there is read before it is continued, which takes time and begins the attempt.
        let has_some = {
            let (layout, repo) = (layout.clone(), repo.clone());
            blocking(move || cache::resumable_bytes(&layout, &repo, &etag)).await?
        };
        if start != Start::Nothing
            && (seed.is_some() || damaged.is_some() || has_some.is_some_and(|bytes| bytes > 0))
        {
            self.say_reusing().await;
        }
        let now = self.job.emitter.now();
        let stop = self.stop.clone();
        let backlog = Arc::clone(self.job.flow.buffers.backlog());
        let mut watch = self.watch();
        let opened = blocking(move || {
            let from = Salvage {
                now,
                seed: seed.as_deref(),
                damaged: damaged
                    .as_ref()
                    .map(|(path, chunk_bytes, digests)| Damaged {
                        path,
                        chunk_bytes: *chunk_bytes,
                        digests,
                    }),
            };
            let (unfinished, found) = if size < CHUNKED_FROM_BYTES {
                let (partial, found) = if start == Start::Nothing {
                    let partial = Partial::anew(&layout, &repo, &etag, size, &lock)?;
                    (partial, Found::default())
                } else {
                    Partial::start(&layout, &repo, &etag, size, &lock, from, &mut watch)?
                };
                (Unfinished::Plain(Box::new(partial)), found)
            } else {
                let wanted = Wanted {
                    layout: &layout,
                    repo: &repo,
                    etag: &etag,
                    size_bytes: size,
                    lock: &lock,
                    is_wanted: &|| !stop.is_cancelled(),
                    backlog: &backlog,
                };
                let (chunked, found) = if start == Start::Nothing {
                    (Chunked::anew(wanted)?, Found::default())
                } else {
                    Chunked::open(wanted, from)?
                };
                (Unfinished::Chunked(Box::new(chunked)), found)
            };
            Ok((lock, unfinished, found))
        })
        .await?;
        let (lock, unfinished, found) = opened.map_err(Halt::of_cache)?;
        for name in found.discarded {
            let note = format!("the partial `{name}` could not be used and was given up");
            self.job.emitter.fact(Event::Noted { note }).await;
        }
        if found.damaged_bytes > 0 {
            let note = format!(
                "`{}`: {} bytes of its partial have changed on disk and are fetched again",
                self.remote.path, found.damaged_bytes
            );
            self.job.emitter.fact(Event::Noted { note }).await;
        }
        let is_seeded = self
            .truncated_bytes
            .is_some_and(|bytes| bytes == found.adopted_bytes);
        Ok((lock, unfinished, is_seeded))
    }

    /// Whether all bytes are here and only their proof is missing.
    async fn has_complete_partial(&self) -> Result<bool, Halt> {
        let (layout, repo, etag) = (
            self.job.layout.clone(),
            self.job.repo.clone(),
            self.remote.etag,
        );
        let size = self.remote.size_bytes;
        blocking(move || cache::is_complete_partial(&layout, &repo, &etag, size))
            .await
            .map_err(Halt::from)
    }

    /// Fetches what is missing.
    async fn fetch(
        &mut self,
        lock: BlobLock,
        unfinished: Unfinished,
        connection: Option<OwnedSemaphorePermit>,
    ) -> Result<(BlobLock, Unfinished), Halt> {
        let have = match &unfinished {
            Unfinished::Plain(partial) => partial.bytes(),
            Unfinished::Chunked(chunked) => chunked.present().bytes(),
        };
        if have == self.remote.size_bytes {
            return Ok((lock, unfinished));
        }
        self.say_connecting().await;
        let want = self.want();
        let ticket = self.job.flow.pace.enrol();
        let fetched = match unfinished {
            Unfinished::Plain(partial) => {
                let fetched = download(
                    self,
                    Bench {
                        lock,
                        partial: *partial,
                    },
                    &want,
                )
                .await;
                drop(ticket);
                fetched.map(|Bench { lock, partial }| (lock, Unfinished::Plain(Box::new(partial))))
            }
            Unfinished::Chunked(chunked) => {
                let fetched = ranged::download(self, *chunked, &want, ticket).await;
                fetched.map(|chunked| (lock, Unfinished::Chunked(Box::new(chunked))))
            }
        };
        drop(connection);
        fetched
    }

    /// Proves and promotes.
    async fn promote(
        &self,
        lock: BlobLock,
        unfinished: Unfinished,
        is_seeded: bool,
    ) -> Result<Done, Halt> {
        self.say_verifying().await;
        // A truncated blob that seeded the partial is a proven prefix of what replaces it.
        let aside = if is_seeded {
            SetAside::Drop
        } else {
            SetAside::Keep
        };
        let partial = match unfinished {
            Unfinished::Plain(partial) => *partial,
            // The hash may still be behind the bytes.
            Unfinished::Chunked(chunked) => {
                while !chunked.is_hashed() {
                    let rest = tokio::time::sleep(HASH_POLL);
                    if let Err(halt) = or_stop(&self.stop, rest).await {
                        let source = self.job.source.name().to_owned();
                        let closed = blocking(move || chunked.close(&source)).await?;
                        closed.map_err(Halt::of_cache)?;
                        return Err(halt);
                    }
                }
                blocking(move || chunked.finish())
                    .await?
                    .map_err(Halt::of_cache)?
            }
        };
        let was_adopted = partial.has_foreign_bytes();
        let before = partial.bytes();
        let may_suspect = self.may_suspect;
        let (job, etag, size) = (
            Arc::clone(self.job),
            self.remote.etag,
            self.remote.size_bytes,
        );
        let blob = self.blob_path();
        let now = self.job.emitter.now();
        let promoted = blocking(move || {
            let digests = partial.digests();
            let promoted = partial.prove_and_promote(&lock, aside);
            if let Ok(promoted) = &promoted {
                if let Some(found) = &promoted.metadata {
                    job.diary.learn(&blob, Stamp::of(found), &etag);
                }
                if let Some(digests) = &digests {
                    job.memory.keep_digests(&etag, size, digests, now);
                }
            }
            promoted.map_err(|failed| match failed.error {
                // Wrong bytes are worth nothing: the next attempt must not take them up again.
                cache::Error::HashMismatch { .. } => {
                    give_up(*failed.partial, may_suspect).unwrap_or_else(|error| (error, None))
                }
                error => (error, None),
            })
        })
        .await?;
        match promoted {
            Ok(promoted) => Ok(Done::Fetched {
                fetched_bytes: self.gained.end - self.gained.start,
                healing: self.healing(promoted),
            }),
            Err((cache::Error::HashMismatch { .. }, forgotten)) => {
                Err(self.mismatch(before, was_adopted, forgotten).await)
            }
            Err((error, _)) => Err(Halt::of_cache(error)),
        }
    }

    /// `forgotten` are the bytes of earlier runs that were given up alone.
    pub(super) async fn mismatch(
        &self,
        before: u64,
        was_adopted: bool,
        forgotten: Option<u64>,
    ) -> Halt {
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
                to_bytes: forgotten.map_or(0, |bytes| before.saturating_sub(bytes)),
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
        .because(if was_adopted {
            format!(
                "with the bytes that were here before it does not hash to {}, which the Hub \
                 promised; they are given up",
                self.remote.etag.short(),
            )
        } else {
            format!(
                "the Hub promised {}; what `{}` sent hashes to something else and was discarded",
                self.remote.etag.short(),
                self.job.source.name()
            )
        })
        .at_path(self.remote.path.as_str());
        if forgotten.is_some() {
            Halt::Suspect(failure)
        } else if was_adopted {
            // Bytes that another program left are no fault of the source.
            Halt::Doubt(failure)
        } else {
            Halt::Mismatch(failure)
        }
    }

    pub(super) fn healing(&self, promoted: Promoted) -> Option<Healing> {
        // A forced pull looks at nothing before it fetches; what gave way was wrong.
        let kept = promoted.set_aside.as_ref();
        let unseen = if kept.is_some_and(|kept| kept.is_dir()) {
            Some(HealingKind::Folder)
        } else {
            promoted.was_wrong.then_some(HealingKind::WrongHash)
        };
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
            set_aside: promoted.set_aside.map(|path| path.display().to_string()),
        })
    }
}
