//! Owns finding an attempt's content on this machine: under its own name, in the snapshot, in
//! another repo, in the shared store.
//!
//! **Law**: what is reused is hashed first (or believed by size where the user said so).

use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::attempt::{Attempt, Done};
use super::job::{Halt, blocking};
use super::memory::{Memory, Verdicts};
use super::offers::Source;
use crate::cache::{self, BlobLock, Check, LinkMode, Pointer, Promoted, Sharing, Verdict};
use crate::domain::{Event, HealingKind, Origin, sanitize};
use crate::ledger::Stamp;

/// How many bytes of a copy are told at once.
const TOLD_BYTES: u64 = 16 << 20;

/// Which file stands under a name, and in which state: enough to know that it was judged already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    len: u64,
    modified: (i64, i64),
    stamp: Stamp,
    is_folder: bool,
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
            stamp: Stamp::of(&found),
            is_folder: found.is_dir(),
        })
    }
}

/// A file that may hold a content.
struct Candidate {
    path: PathBuf,
    /// How it may be taken.
    sharing: Sharing,
    /// Whether it is one of the snapshot's, or of the local dir's.
    is_snapshot: bool,
    /// Whether it was hashed before, is another content, and has not changed since.
    is_known_wrong: bool,
}

impl Attempt<'_> {
    /// Looks at the blob under its name. `seen` remembers which file was judged, so that the same
    /// bytes are not hashed twice.
    pub(super) async fn reuse_in_place(
        &mut self,
        seen: &mut Option<Identity>,
    ) -> Result<Option<Done>, Halt> {
        let path = self.blob_path();
        let identity = {
            let path = path.clone();
            blocking(move || Identity::of(&path)).await?
        };
        let Some(identity) = identity else {
            return self.reuse_in_snapshot().await;
        };
        if *seen == Some(identity) {
            return Ok(None);
        }
        *seen = Some(identity);
        if identity.is_folder && !self.job.layout.is_local() {
            // It gives way when the right bytes are there.
            self.wrong = Some(HealingKind::Folder);
            return Ok(None);
        }
        self.say_reusing().await;
        let (etag, size) = (self.remote.etag, self.remote.size_bytes);
        let origin = if self.job.layout.is_local() {
            Origin::LocalDir
        } else {
            Origin::Cache
        };
        if identity.len == size && self.job.diary.knows(&path, &identity.stamp, &etag) {
            // Hashed before, and nothing has touched it since.
            self.proven = Some(identity.stamp);
            return Ok(Some(Done::Reused {
                origin,
                is_verified: true,
                healing: None,
            }));
        }
        // One that changed a moment before it is read might change again unseen.
        let is_settled = Memory::is_settled(&identity.stamp, self.job.emitter.now());
        let check = self.check();
        let mut watch = self.watch();
        let at = path.clone();
        let verdict = blocking(move || cache::check(&at, &etag, size, check, &mut watch))
            .await?
            .map_err(Halt::of_cache)?;
        if matches!(verdict, Verdict::Proven) {
            self.proven = Some(identity.stamp);
            if is_settled {
                self.learn(path, Some(identity.stamp)).await?;
            }
        }
        let reused = |is_verified| {
            Ok(Some(Done::Reused {
                origin,
                is_verified,
                healing: None,
            }))
        };
        self.wrong = match verdict {
            Verdict::Proven => return reused(true),
            Verdict::SizeMatches => return reused(false),
            Verdict::Missing => None,
            Verdict::Truncated { bytes } => {
                // A page is the beginning of no other content, and what follows it would be of no use.
                let (at, name) = (self.blob_path(), self.remote.path.clone());
                if blocking(move || cache::is_error_page(&at, name.as_str(), bytes)).await? {
                    Some(HealingKind::ErrorPage)
                } else {
                    self.truncated_bytes = Some(bytes);
                    Some(HealingKind::Truncated)
                }
            }
            Verdict::TooLong { .. } => Some(HealingKind::TooLong),
            Verdict::WrongHash => Some(HealingKind::WrongHash),
            Verdict::LfsPointer => Some(HealingKind::LfsPointer),
            Verdict::Unreadable(error) => return Err(Halt::of_cache(error)),
        };
        if self.wrong.is_some() && self.job.layout.is_local() {
            self.judge_old().await?;
        }
        Ok(None)
    }

    /// Notes a file that was just proven: as it is now, if that is as it was `before`.
    pub(super) async fn learn(&self, path: PathBuf, before: Option<Stamp>) -> Result<(), Halt> {
        let (job, etag) = (Arc::clone(self.job), self.remote.etag);
        blocking(move || {
            if let Ok(found) = std::fs::metadata(&path) {
                let stamp = Stamp::of(&found);
                if before.is_none_or(|before| before == stamp) {
                    job.diary.learn(&path, stamp, &etag);
                }
            }
        })
        .await
        .map_err(Halt::from)
    }

    /// How closely to look at what is here.
    fn check(&self) -> Check {
        if self.job.trust_size {
            Check::SizeOnly
        } else {
            Check::Hash
        }
    }

    /// Where files are placed whole (no symlinks), those of the snapshot are the content: if every
    /// path has it, nothing is to be written, and a blob would only be a second copy. A pointer to a
    /// blob that is not there is damage; the blob's absence alone is not.
    async fn reuse_in_snapshot(&mut self) -> Result<Option<Done>, Halt> {
        if self.job.layout.is_local() {
            self.wrong = None;
            return Ok(None);
        }
        let (layout, repo, commit, remote) = (
            self.job.layout.clone(),
            self.job.repo.clone(),
            self.job.commit,
            self.remote.clone(),
        );
        let paths = self.paths.clone();
        let use_symlinks = self.job.config.use_symlinks;
        let (pointers, dangling) = blocking(move || {
            let found: Vec<Option<Pointer>> = paths
                .iter()
                .map(|path| {
                    cache::inspect_pointer(&layout, &repo, &commit, path, &remote.etag).ok()
                })
                .collect();
            let dangling = found.contains(&Some(Pointer::Dangling));
            let pointers: Option<Vec<PathBuf>> = paths
                .iter()
                .zip(found)
                .map(|(path, found)| {
                    (found == Some(Pointer::Regular)).then(|| layout.pointer(&repo, &commit, path))
                })
                .collect();
            // A cache that cannot be tried cannot be written: nothing could be made better there.
            let places_links = || {
                use_symlinks && matches!(cache::link_mode(&layout, &repo), Ok(LinkMode::Symlink))
            };
            (pointers.filter(|_| !places_links()), dangling)
        })
        .await?;
        self.wrong = dangling.then_some(HealingKind::DanglingPointer);
        let Some(pointers) = pointers else {
            return Ok(None);
        };
        self.say_reusing().await;
        let check = self.check();
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

    /// Places the content without the network if it is anywhere on this machine, or empty.
    pub(super) async fn reuse_from_elsewhere(
        &mut self,
        lock: BlobLock,
    ) -> Result<Result<Done, BlobLock>, Halt> {
        let remote = self.remote.clone();
        if remote.size_bytes == 0 {
            let (layout, repo) = (self.job.layout.clone(), self.job.repo.clone());
            let now = self.job.emitter.now();
            let promoted =
                blocking(move || cache::place_empty(&layout, &repo, &remote.etag, &lock, now))
                    .await?
                    .map_err(Halt::of_cache)?;
            self.saw_placed(&promoted);
            return Ok(Ok(Done::Reused {
                origin: Origin::Empty,
                is_verified: true,
                healing: self.healing(promoted),
            }));
        }
        if self.job.is_forced {
            return Ok(Err(lock));
        }
        if self.job.neighbours.is_empty() && self.is_new() && self.job.offers.is_none() {
            // Neither in the snapshot nor anywhere else.
            return Ok(Err(lock));
        }
        let candidates = self.candidates().await?;
        let mut lock = match self.reuse_offered(lock).await? {
            Ok(done) => return Ok(Ok(done)),
            Err(lock) => lock,
        };
        for Candidate {
            path: source,
            sharing,
            is_snapshot,
            is_known_wrong,
        } in candidates
        {
            if is_known_wrong {
                self.say_wrong(&source).await;
                continue;
            }
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
                    (&at, sharing),
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
                    self.saw_placed(&promoted);
                    let origin = match (self.job.layout.is_local(), is_snapshot, sharing) {
                        (true, true, _) => Origin::LocalDir,
                        (true, false, _) => Origin::HubCache,
                        (false, true, _) | (false, false, Sharing::Copies) => Origin::Snapshot,
                        (false, false, Sharing::Links) => Origin::OtherRepo {
                            folder: self.folder_of(&source),
                        },
                    };
                    return Ok(Ok(Done::Reused {
                        origin,
                        is_verified: true,
                        healing: self.healing(promoted),
                    }));
                }
                Err(cache::Error::Interrupted) => return Err(Halt::Interrupted),
                Err(error) if error.is_about_place() => return Err(Halt::of_cache(error)),
                Err(cache::Error::HashMismatch { .. })
                    if !is_snapshot && !self.job.neighbours.is_unsteady(&source) =>
                {
                    if self.learn_wrong(source.clone()).await? {
                        self.say_wrong(&source).await;
                    }
                }
                // Anything else only means that this copy is of no use; the network has the truth.
                Err(error) => {
                    tracing::info!(source = %source.display(), %error, "a local copy was not used");
                }
            }
        }
        Ok(Err(lock))
    }

    /// Files that may hold the content.
    async fn candidates(&self) -> Result<Vec<Candidate>, Halt> {
        let (job, paths, remote) = (
            Arc::clone(self.job),
            self.paths.clone(),
            self.remote.clone(),
        );
        let own = self.blob_path();
        let found = blocking(move || {
            let (layout, repo, commit) = (&job.layout, &job.repo, &job.commit);
            // What is in a local dir is a person's to change: nothing else may share it.
            let links = if layout.is_local() {
                Sharing::Copies
            } else {
                Sharing::Links
            };
            let mut found = Vec::new();
            for path in &paths {
                let pointer = layout.pointer(repo, commit, path);
                if pointer != own
                    && let Ok(Pointer::Regular) =
                        cache::inspect_pointer(layout, repo, commit, path, &remote.etag)
                {
                    found.push(Candidate {
                        path: pointer,
                        sharing: links,
                        is_snapshot: true,
                        is_known_wrong: false,
                    });
                }
            }
            let elsewhere = job.neighbours.find(&remote);
            let verdicts = Verdicts::of(&job.memory);
            found.extend(elsewhere.into_iter().map(|path| {
                let is_unsteady = job.neighbours.is_unsteady(&path);
                Candidate {
                    sharing: if is_unsteady { Sharing::Copies } else { links },
                    is_snapshot: false,
                    is_known_wrong: !is_unsteady && verdicts.is_known_wrong(&path, &remote.etag),
                    path,
                }
            }));
            found
        });
        found.await.map_err(Halt::from)
    }

    /// Remembers what a local dir got, which is noted next, and need not be read again for it.
    fn saw_placed(&mut self, promoted: &Promoted) {
        if let (true, Some(found)) = (self.job.layout.is_local(), &promoted.metadata) {
            let stamp = Stamp::of(found);
            self.proven = Some(stamp);
            self.job
                .diary
                .learn(&self.blob_path(), stamp, &self.remote.etag);
        }
    }

    /// Places the content from a file that was offered, if one of them is it.
    async fn reuse_offered(&mut self, mut lock: BlobLock) -> Result<Result<Done, BlobLock>, Halt> {
        let offers = self.job.offers.as_ref();
        let offered = offers.map_or_else(Vec::new, |offers| offers.of(&self.remote.etag));
        for source in offered {
            let (tried, lock_back) = self.take_offered(&source, lock).await?;
            lock = lock_back;
            if let Some(done) = tried {
                return Ok(Ok(done));
            }
        }
        Ok(Err(lock))
    }

    /// Places the content from a file that was offered; `None` if it is not what it seemed.
    async fn take_offered(
        &mut self,
        source: &Source,
        lock: BlobLock,
    ) -> Result<(Option<Done>, BlobLock), Halt> {
        self.say_reusing().await;
        let (job, remote, from) = (Arc::clone(self.job), self.remote.clone(), source.clone());
        let mut watch = self.watch_copy();
        let blob = self.blob_path();
        let (placed, lock) = blocking(move || {
            let placed = cache::place_copy(
                (&from.path, Sharing::Copies),
                &job.layout,
                &job.repo,
                &remote.etag,
                remote.size_bytes,
                &lock,
                &mut watch,
            );
            if let Ok(Promoted {
                metadata: Some(found),
                ..
            }) = &placed
            {
                job.diary.learn(&blob, Stamp::of(found), &remote.etag);
            }
            (placed, lock)
        })
        .await?;
        let error = match placed {
            Ok(promoted) => {
                if let Some(offers) = &self.job.offers {
                    offers.take(self.remote.etag);
                }
                let origin = Origin::Import {
                    path: sanitize(&source.path.to_string_lossy()),
                };
                let done = Done::Reused {
                    origin,
                    is_verified: true,
                    healing: self.healing(promoted),
                };
                return Ok((Some(done), lock));
            }
            Err(error) => error,
        };
        let Some(offers) = &self.job.offers else {
            return Ok((None, lock));
        };
        match error {
            cache::Error::HashMismatch { .. } => offers.refuse(source, &self.remote, None),
            cache::Error::Io { ref path, .. } | cache::Error::Permission { ref path, .. }
                if *path == source.path =>
            {
                offers.refuse(source, &self.remote, Some(&error));
            }
            // The cache itself is in trouble: no other file would do.
            error => return Err(Halt::of_cache(error)),
        }
        Ok((None, lock))
    }

    /// Tells how far a copy is, and lets it stop when the user wishes.
    fn watch_copy(&self) -> impl FnMut(u64) -> ControlFlow<()> + Send + 'static + use<> {
        let (emitter, file, attempt) = (self.job.emitter.clone(), self.file, self.number);
        let mut watch = self.watch();
        let mut told = 0;
        move |bytes| {
            if bytes >= told + TOLD_BYTES {
                told = bytes;
                emitter.progress(Event::Copied {
                    file,
                    attempt,
                    bytes,
                });
            }
            watch(bytes)
        }
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
}
