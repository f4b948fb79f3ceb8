//! Owns the end of each file that is pulled into a local dir: its content under its other names, and
//! the note by which Python knows it.
//!
//! **Law**: a note is written only under the file's lock and about bytes that are proven.

use std::sync::Arc;
use std::time::Duration;

use super::attempt::{Attempt, Done};
use super::job::{Halt, Job, blocking, or_stop};
use super::local::is_strange;
use super::lock_wait::LOCK_POLL;
use super::memory::Memory;
use crate::cache::{self, BlobLock, Check, Layout, LockAttempt, Seen, Sharing, Standing, Verdict};
use crate::domain::{Etag, Event, RepoPath};
use crate::ledger::Stamp;

/// How often a file is looked at anew that somebody touches meanwhile.
const MOST_LOOKS: usize = 3;

/// What came of a look at one file under its lock.
enum Settled {
    /// It is right, and its note says so.
    Done,
    /// It is right, and its note cannot be written.
    Unnoted(cache::Error),
    /// It is another file.
    Strange,
    /// Somebody holds its lock.
    Busy(cache::Busy),
}

impl Attempt<'_> {
    /// Puts the content under its other names, and writes the notes.
    pub(super) async fn settle(&mut self, done: Done) -> Result<Done, Halt> {
        for path in self.paths.clone() {
            self.settle_file(&path).await?;
        }
        Ok(done)
    }

    async fn settle_file(&self, path: &RepoPath) -> Result<(), Halt> {
        let mut still = Duration::ZERO;
        loop {
            match self.try_to_settle(path).await? {
                Settled::Done => return Ok(()),
                Settled::Unnoted(error) => {
                    let note =
                        format!("`{path}` is right, but that cannot be noted for Python: {error}");
                    self.job.emitter.fact(Event::Noted { note }).await;
                    return Ok(());
                }
                Settled::Strange => return Err(is_strange(self.job.layout.root(), path).into()),
                Settled::Busy(busy) => {
                    if let Some(why) = self.has_waited_enough(still) {
                        return Err(Halt::Failed(self.lock_busy(&busy, why)));
                    }
                    if still.is_zero() {
                        self.say_waiting(&busy, None).await;
                    }
                }
            }
            or_stop(&self.stop, tokio::time::sleep(LOCK_POLL)).await?;
            still += LOCK_POLL;
        }
    }

    async fn try_to_settle(&self, path: &RepoPath) -> Result<Settled, Halt> {
        let file = File {
            job: Arc::clone(self.job),
            layout: self.job.layout.for_file(self.remote.etag, path.clone()),
            path: path.clone(),
            etag: self.remote.etag,
            size_bytes: self.remote.size_bytes,
            proven: self.proven.filter(|_| *path == self.remote.path),
            first: self.blob_path(),
        };
        let mut watch = self.watch();
        blocking(move || file.settle(&mut watch))
            .await?
            .map_err(Halt::of_cache)
    }
}

/// A file that is to be right and noted.
struct File {
    job: Arc<Job>,
    layout: Layout,
    path: RepoPath,
    etag: Etag,
    size_bytes: u64,
    /// As it was when it was proven.
    proven: Option<Stamp>,
    /// Where the content is in place.
    first: std::path::PathBuf,
}

type Watch<'a> = &'a mut dyn FnMut(u64) -> std::ops::ControlFlow<()>;

impl File {
    fn settle(&self, watch: Watch<'_>) -> cache::Result<Settled> {
        for _ in 0..MOST_LOOKS {
            if let Some(settled) = self.settle_as_it_is(&mut *watch)? {
                return Ok(settled);
            }
        }
        Ok(Settled::Strange)
    }

    /// `None` if somebody touched the file meanwhile.
    fn settle_as_it_is(&self, watch: Watch<'_>) -> cache::Result<Option<Settled>> {
        let is_right = self.vouched_for().is_some();
        if is_right && self.has_note() {
            return Ok(Some(Settled::Done));
        }
        let now = self.job.emitter.now();
        let repo = &self.job.repo;
        let locked = cache::prepare_repo(&self.layout, repo)
            .and_then(|()| cache::try_lock(&self.layout, repo, &self.etag, now));
        let lock = match locked {
            Ok(LockAttempt::Held(lock)) => lock,
            Ok(LockAttempt::Busy(busy)) => return Ok(Some(Settled::Busy(busy))),
            Err(error) if is_right => return unnoted(error).map(Some),
            Err(error) => return Err(error),
        };
        let seen = match self.vouched_for() {
            Some(seen) => Some(seen),
            None => match self.check(&mut *watch)? {
                (Verdict::Proven, seen) => seen,
                (Verdict::Unreadable(error), _) => return Err(error),
                // Of the first one it was said just now that it is there and right.
                _ if self.is_first() => {
                    return Err(cache::Error::Unsteady {
                        path: self.first.clone(),
                    });
                }
                _ if !self.may_be_replaced()? => return Ok(Some(Settled::Strange)),
                _ => self.place_copy(&lock, watch)?,
            },
        };
        let Some(seen) = seen else {
            return Ok(None);
        };
        if self.has_note() {
            return Ok(Some(Settled::Done));
        }
        let (commit, now) = (&self.job.commit, self.job.emitter.now());
        match cache::write_note(&self.layout, &self.path, commit, &self.etag, &seen, now) {
            Ok(is_written) => Ok(is_written.then_some(Settled::Done)),
            Err(error) => unnoted(error).map(Some),
        }
    }

    fn place_copy(&self, lock: &BlobLock, watch: Watch<'_>) -> cache::Result<Option<Seen>> {
        let placed = cache::place_copy(
            (&*self.first, Sharing::Copies),
            &self.layout,
            &self.job.repo,
            &self.etag,
            self.size_bytes,
            lock,
            watch,
        )?;
        Ok(placed.metadata.map(|found| {
            self.job
                .diary
                .learn(&self.place(), Stamp::of(&found), &self.etag);
            Seen::of(&found)
        }))
    }

    fn place(&self) -> std::path::PathBuf {
        self.layout.root().join(self.path.as_str())
    }

    fn is_first(&self) -> bool {
        self.place() == self.first
    }

    fn has_note(&self) -> bool {
        cache::has_note(&self.layout, &self.path, &self.job.commit, &self.etag)
    }

    /// What it looks like now, if it is known to be right like that.
    fn vouched_for(&self) -> Option<Seen> {
        let place = self.place();
        let found = place
            .symlink_metadata()
            .ok()
            .filter(std::fs::Metadata::is_file)?;
        let stamp = Stamp::of(&found);
        let is_known =
            self.proven == Some(stamp) || self.job.diary.vouches(&place, &stamp, &self.etag);
        is_known.then(|| Seen::of(&found))
    }

    /// What it is, and how it looked all the time that it was read.
    fn check(&self, watch: Watch<'_>) -> cache::Result<(Verdict, Option<Seen>)> {
        let place = self.place();
        let look = || place.symlink_metadata().ok();
        let before = look();
        let now = self.job.emitter.now();
        let verdict = cache::check(&place, &self.etag, self.size_bytes, Check::Hash, watch)?;
        let Some(before) = before.filter(|before| {
            look().is_some_and(|after| before.is_file() && Seen::of(before) == Seen::of(&after))
        }) else {
            return Ok((verdict, None));
        };
        let stamp = Stamp::of(&before);
        if matches!(verdict, Verdict::Proven) && Memory::is_settled(&stamp, now) {
            self.job.diary.learn(&place, stamp, &self.etag);
        }
        Ok((verdict, Some(Seen::of(&before))))
    }

    fn may_be_replaced(&self) -> cache::Result<bool> {
        Ok(match cache::judge(&self.layout, &self.path)? {
            Standing::Absent | Standing::Noted(_) => true,
            Standing::OfAnother { etag, .. } if etag == self.etag => true,
            Standing::OfAnother { repo, .. } => {
                return Err(cache::Error::OfAnother {
                    folder: self.layout.root().to_owned(),
                    path: self.path.clone(),
                    repo,
                });
            }
            Standing::Strange => self.layout.is_forced(),
            Standing::Link => false,
        })
    }
}

/// A file that is right in a folder that cannot be written is right all the same.
fn unnoted(error: cache::Error) -> cache::Result<Settled> {
    match error {
        cache::Error::ReadOnly { .. } | cache::Error::Permission { .. } => {
            Ok(Settled::Unnoted(error))
        }
        error => Err(error),
    }
}
