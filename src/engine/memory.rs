//! Owns the engine's access to the ledger: opened when first needed, told once when it cannot be
//! used, and then done without.
//!
//! **Law**: nothing here fails a job. Every method may block: it is called on threads that may.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::emit::millis;
use crate::cache::{ChunkDigest, Hashed};
use crate::domain::{
    Commit, Etag, HistoryRow, RemoteFile, RepoId, RepoReference, Revision, UnfinishedPull, sanitize,
};
use crate::host;
use crate::ledger::{Known, Ledger, Pair, Proven, Result, Sample, Stamp, Wrong};

/// The ledger's name in the state folder.
const FILE: &str = "ledger.sqlite3";
/// A file system tells times in steps; within one, a change does not show. The longest step of
/// those that are in use is a kernel's tick, 10 ms.
const STEP: Duration = Duration::from_millis(20);
/// The same where times are whole seconds or pairs of them: FAT, some network file systems.
const COARSE_STEP: Duration = Duration::from_secs(3);

/// A pull that did not end is offered for so long.
pub(super) const OFFERED_FOR: Duration = Duration::from_hours(30 * 24);

/// The ledger, if it can be used.
#[derive(Debug)]
pub(super) struct Memory {
    path: PathBuf,
    ledger: OnceLock<Option<Ledger>>,
    /// Damage showed while it was used.
    is_given_up: AtomicBool,
    /// What has to be told, once.
    trouble: Mutex<Option<String>>,
}

/// What one pull knows, and learns for the next.
#[derive(Debug, Default)]
pub(super) struct Diary {
    /// The blobs' real folder.
    folder: PathBuf,
    known: HashMap<String, Known>,
    /// What was proven since, by path: the last proof of a file counts.
    learned: Mutex<HashMap<String, Proven>>,
    retries: AtomicU32,
}

impl Memory {
    pub(super) fn new(state_dir: &Path) -> Self {
        Self {
            path: state_dir.join(FILE),
            ledger: OnceLock::new(),
            is_given_up: AtomicBool::new(false),
            trouble: Mutex::default(),
        }
    }

    /// What is wrong with the ledger, if that was not told yet.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Asks or tells the ledger; `None` when it cannot be used.
    fn with<T>(&self, work: impl FnOnce(&Ledger) -> Result<T>) -> Option<T> {
        let ledger = self.ledger.get_or_init(|| self.open()).as_ref()?;
        if self.is_given_up.load(Ordering::Acquire) {
            return None;
        }
        match work(ledger) {
            Ok(done) => return Some(done),
            Err(error) if error.is_damage() => self.give_up(ledger),
            Err(error) if error.is_busy() => self.note(
                "another larder keeps the ledger busy; what this one learns now is not remembered",
            ),
            Err(error) => self.tell(&error.to_string()),
        }
        None
    }

    /// Damage that shows only now: the next larder begins anew.
    fn give_up(&self, ledger: &Ledger) {
        if self.is_given_up.swap(true, Ordering::AcqRel) {
            return;
        }
        match ledger.set_aside() {
            Ok(aside) => self.note(&format!(
                "the ledger `{}` is damaged{}; this run goes on without it, slower, and the next \
                 one begins anew",
                self.path.display(),
                aside.map_or_else(String::new, |aside| {
                    format!(" and was set aside as `{}`", aside.display())
                }),
            )),
            Err(error) => self.tell(&format!("it is damaged and cannot be set aside: {error}")),
        }
    }

    fn open(&self) -> Option<Ledger> {
        if host::is_remote(&self.path) {
            self.tell("it is on a network file system, where its locks may not hold");
            return None;
        }
        match Ledger::open(&self.path) {
            Ok((ledger, None)) => Some(ledger),
            Ok((ledger, Some(aside))) => {
                self.note(&format!(
                    "the ledger was damaged and begins anew; the old one is `{}`",
                    aside.display()
                ));
                Some(ledger)
            }
            Err(error) => {
                self.tell(&error.to_string());
                None
            }
        }
    }

    fn tell(&self, why: &str) {
        self.note(&format!(
            "the ledger `{}` is not used ({why}); everything works without it, slower",
            self.path.display()
        ));
    }

    fn note(&self, words: &str) {
        tracing::warn!("{words}");
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.get_or_insert_with(|| sanitize(words));
    }

    /// What is known of the files in a folder and below, by their canonical paths.
    pub(super) fn known_in(&self, folder: &Path) -> HashMap<String, Known> {
        fs::canonicalize(folder)
            .map(|folder| self.known_below(&folder))
            .unwrap_or_default()
    }

    /// The same of a path without links, which may be gone.
    pub(super) fn known_below(&self, folder: &Path) -> HashMap<String, Known> {
        folder
            .to_str()
            .and_then(|folder| self.with(|ledger| ledger.known_in(folder)))
            .unwrap_or_default()
    }

    /// Files in a folder and below whose form was looked at and is good, by their canonical paths.
    pub(super) fn formed_in(&self, folder: &Path) -> HashMap<String, Stamp> {
        fs::canonicalize(folder)
            .ok()
            .as_deref()
            .and_then(Path::to_str)
            .and_then(|folder| self.with(|ledger| ledger.formed_in(folder)))
            .unwrap_or_default()
    }

    /// Remembers files as of a good form that still are what they were before they were read.
    pub(super) fn keep_formed(&self, files: Vec<(String, PathBuf, Stamp)>, now: SystemTime) {
        let still = files.into_iter().filter(|(_, path, stamp)| {
            Self::is_settled(stamp, now)
                && fs::metadata(path).is_ok_and(|found| Stamp::of(&found) == *stamp)
        });
        let files: Vec<(String, Stamp)> = still.map(|(key, _, stamp)| (key, stamp)).collect();
        if !files.is_empty() {
            self.with(|ledger| ledger.keep_formed(&files, millis(since_epoch(now))));
        }
    }

    /// What came of letting two files share their bytes, if both are what they were then.
    pub(super) fn pair(&self, one: &Path, other: &Path) -> Option<bool> {
        let pair = pair_of(one, other)?;
        self.with(|ledger| ledger.pair(&pair)).flatten()
    }

    /// Remembers what came of it, of files as they are now.
    pub(super) fn keep_pair(&self, one: &Path, other: &Path, is_shared: bool, now: SystemTime) {
        if let Some(pair) = pair_of(one, other) {
            self.with(|ledger| ledger.keep_pair(&pair, is_shared, millis(since_epoch(now))));
        }
    }

    /// What is known of the files in a folder.
    pub(super) fn diary(&self, folder: &Path) -> Diary {
        // Links above it are resolved, so that all commands call a file by one name.
        let folder = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
        Diary {
            known: self.known_in(&folder),
            folder,
            ..Diary::default()
        }
    }

    /// Keeps what a pull learned. A file whose last change is too fresh to tell from a later one is
    /// waited for, a moment.
    pub(super) fn keep(&self, diary: &Diary, now: SystemTime) {
        let learned =
            std::mem::take(&mut *diary.learned.lock().unwrap_or_else(PoisonError::into_inner));
        self.keep_proven(learned.into_values().collect(), now);
    }

    /// Whether a file's last change was long enough before `now`, when its bytes began to be read,
    /// that a later one would show.
    pub(super) fn is_settled(stamp: &Stamp, now: SystemTime) -> bool {
        let changed_ns = u128::try_from(stamp.changed_ns).unwrap_or(0);
        let step = if is_coarse(stamp) { COARSE_STEP } else { STEP };
        changed_ns + step.as_nanos() <= since_epoch(now).as_nanos()
    }

    /// Remembers files as proven that still are what they were.
    pub(super) fn keep_proven(&self, mut files: Vec<Proven>, now: SystemTime) {
        if files.is_empty() {
            return;
        }
        if files.iter().any(|file| !Self::is_settled(&file.stamp, now)) {
            std::thread::sleep(STEP);
        }
        // A coarse one is not waited for.
        files.retain(|file| !is_coarse(&file.stamp) || Self::is_settled(&file.stamp, now));
        files
            .retain(|file| fs::metadata(&file.path).is_ok_and(|now| Stamp::of(&now) == file.stamp));
        self.with(|ledger| ledger.keep_proven(&files, millis(since_epoch(now))));
    }

    /// Remembers files that are not what they should be.
    pub(super) fn keep_wrong(&self, mut files: Vec<Wrong>, now: SystemTime) {
        files.retain(|file| {
            fs::metadata(&file.path).is_ok_and(|found| Stamp::of(&found) == file.stamp)
        });
        if !files.is_empty() {
            self.with(|ledger| ledger.keep_wrong(&files, millis(since_epoch(now))));
        }
    }

    /// Forgets files that cannot be read, or are not there any more.
    pub(super) fn forget(&self, paths: &[String]) {
        if !paths.is_empty() {
            self.with(|ledger| ledger.forget_proven(paths));
        }
    }

    /// Remembers what the chunks of a proven content hash to.
    pub(super) fn keep_digests(
        &self,
        etag: &Etag,
        size: u64,
        (chunk_bytes, digests): &(u64, Vec<ChunkDigest>),
        now: SystemTime,
    ) {
        let digests: Vec<[u8; 16]> = digests.iter().map(|digest| digest.0).collect();
        let at_ms = millis(since_epoch(now));
        self.with(|ledger| ledger.keep_digests(etag, size, *chunk_bytes, &digests, at_ms));
    }

    /// The length of a chunk of a proven content, and what its chunks hash to.
    pub(super) fn digests(&self, etag: &Etag, size: u64) -> Option<(u64, Vec<ChunkDigest>)> {
        let (chunk_bytes, digests) = self.with(|ledger| ledger.digests(etag, size)).flatten()?;
        Some((chunk_bytes, digests.into_iter().map(ChunkDigest).collect()))
    }

    /// A listing that this endpoint gave before.
    pub(super) fn listing(
        &self,
        endpoint: &str,
        repo: &RepoId,
        commit: &Commit,
    ) -> Option<Vec<RemoteFile>> {
        let (repo, commit) = (repo.to_string(), commit.to_string());
        self.with(|ledger| ledger.listing(endpoint, &repo, &commit))
            .flatten()
    }

    /// The repos of which this endpoint gave a listing, and of which commits, the newest first.
    pub(super) fn listings(&self, endpoint: &str) -> Vec<(RepoId, Commit)> {
        let known = self.with(|ledger| ledger.listings(endpoint));
        let read = |(repo, commit): (String, String)| {
            let repo = RepoReference::parse(&repo).ok()?.repo;
            Some((repo, Commit::new(&commit).ok()?))
        };
        known.into_iter().flatten().filter_map(read).collect()
    }

    /// Remembers a listing.
    pub(super) fn keep_listing(
        &self,
        endpoint: &str,
        repo: &RepoId,
        commit: &Commit,
        files: &[RemoteFile],
        now: SystemTime,
    ) {
        let (repo, commit) = (repo.to_string(), commit.to_string());
        let at_ms = millis(since_epoch(now));
        self.with(|ledger| ledger.keep_listing(endpoint, &repo, &commit, files, at_ms));
    }

    /// Remembers what has ended.
    pub(super) fn keep_transfer(&self, row: &HistoryRow) {
        self.with(|ledger| ledger.keep_transfer(row));
    }

    /// Remembers that a pull began.
    pub(super) fn keep_unfinished(&self, cache: &Path, pull: &UnfinishedPull) {
        if let Some(cache) = cache.to_str() {
            self.with(|ledger| ledger.keep_unfinished(cache, pull));
        }
    }

    /// Forgets it: it is complete.
    pub(super) fn forget_unfinished(&self, cache: &Path, repo: &RepoId, revision: &Revision) {
        if let Some(cache) = cache.to_str() {
            self.with(|ledger| ledger.forget_unfinished(cache, repo, revision));
        }
    }

    /// Forgets the pulls of a repo: what they left was taken away.
    pub(super) fn forget_unfinished_of(&self, cache: &Path, repo: &RepoId) {
        if let Some(cache) = cache.to_str() {
            self.with(|ledger| ledger.forget_unfinished_of(cache, repo));
        }
    }

    /// Pulls into a cache that began after a moment and have not become complete.
    pub(super) fn unfinished(&self, cache: &Path, since: SystemTime) -> Vec<UnfinishedPull> {
        let since_ms = millis(since_epoch(since));
        cache
            .to_str()
            .and_then(|cache| self.with(|ledger| ledger.unfinished(Some(cache), since_ms)))
            .unwrap_or_default()
    }

    /// The same, into local dirs: they are at work, or were broken off.
    pub(super) fn unfinished_in_folders(&self, now: SystemTime) -> Vec<UnfinishedPull> {
        let since = now.checked_sub(OFFERED_FOR).unwrap_or(UNIX_EPOCH);
        let since_ms = millis(since_epoch(since));
        self.with(|ledger| ledger.unfinished(None, since_ms))
            .unwrap_or_default()
    }

    /// Remembers how fast a host was.
    pub(super) fn keep_sample(&self, sample: &Sample) {
        self.with(|ledger| ledger.keep_sample(sample));
    }

    /// How many connections were good for a host last time.
    pub(super) fn connections_to(&self, host: &str) -> Option<usize> {
        let sample = self.with(|ledger| ledger.sample(host)).flatten()?;
        usize::try_from(sample.connections).ok()
    }

    /// The last transfers, newest first.
    pub(super) fn transfers(&self, repo: Option<&RepoId>, most: u32) -> Vec<HistoryRow> {
        let repo = repo.map(ToString::to_string);
        self.with(|ledger| ledger.transfers(repo.as_deref(), most))
            .unwrap_or_default()
    }
}

/// What is known of hashed files, asked for folder by folder when first needed.
pub(super) struct Verdicts<'a> {
    memory: &'a Memory,
    folders: Mutex<HashMap<PathBuf, Arc<HashMap<String, Known>>>>,
}

impl<'a> Verdicts<'a> {
    /// What the ledger says now; of a folder, when it is first asked.
    pub(super) fn of(memory: &'a Memory) -> Self {
        Self {
            memory,
            folders: Mutex::default(),
        }
    }

    /// What is known of a file at a path without links that looks like this and should have this
    /// content.
    pub(super) fn hashed(&self, path: &Path, found: &Metadata, etag: &Etag) -> Option<Hashed> {
        let known = self.known(path, found)?;
        (known.etag == *etag).then_some(Hashed {
            computed: known.computed,
            at_ms: known.at_ms,
        })
    }

    /// What the content of a file at a path without links is that looks like this, and when it was
    /// hashed.
    pub(super) fn content(&self, path: &Path, found: &Metadata) -> Option<(Etag, u64)> {
        let known = self.known(path, found)?;
        Some((known.computed.unwrap_or(known.etag), known.at_ms))
    }

    /// Whether the file that a path leads to was hashed, has not changed since, and is another
    /// content.
    pub(super) fn is_known_wrong(&self, path: &Path, etag: &Etag) -> bool {
        let known = || {
            let real = fs::canonicalize(path).ok()?;
            let (content, _) = self.content(&real, &real.metadata().ok()?)?;
            Some(content.algorithm() == etag.algorithm() && content != *etag)
        };
        known().unwrap_or(false)
    }

    fn known(&self, path: &Path, found: &Metadata) -> Option<Known> {
        let folder = path.parent()?;
        let known = {
            let mut folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(known) = folders.get(folder) {
                Arc::clone(known)
            } else {
                let known = Arc::new(self.memory.known_in(folder));
                folders.insert(folder.to_owned(), Arc::clone(&known));
                known
            }
        };
        let known = known.get(path.to_str()?)?;
        (known.stamp == Stamp::of(found)).then_some(*known)
    }
}

impl Diary {
    /// Whether a file is the one that was proven to have this content.
    pub(super) fn knows(&self, path: &Path, stamp: &Stamp, etag: &Etag) -> bool {
        self.key(path)
            .and_then(|key| self.known.get(&key))
            .is_some_and(|known| {
                known.computed.is_none() && known.stamp == *stamp && known.etag == *etag
            })
    }

    /// The same, or whether this pull itself has proven it.
    pub(super) fn vouches(&self, path: &Path, stamp: &Stamp, etag: &Etag) -> bool {
        let has_learned = || {
            self.key(path).is_some_and(|key| {
                let learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
                learned
                    .get(&key)
                    .is_some_and(|proven| proven.stamp == *stamp && proven.etag == *etag)
            })
        };
        self.knows(path, stamp, etag) || has_learned()
    }

    /// Whether what a path leads to is a blob that was proven, and has not changed since.
    pub(super) fn knows_content(&self, path: &Path) -> bool {
        let known = || {
            let blob = fs::canonicalize(path).ok()?;
            let found = blob.metadata().ok()?;
            let etag = Etag::new(blob.file_name()?.to_str()?).ok()?;
            Some(found.len() == 0 || self.knows(&blob, &Stamp::of(&found), &etag))
        };
        known().unwrap_or(false)
    }

    /// Notes a file that was just proven.
    pub(super) fn learn(&self, path: &Path, stamp: Stamp, etag: &Etag) {
        let Some(path) = self.key(path) else {
            return;
        };
        let proven = Proven {
            path: path.clone(),
            stamp,
            etag: *etag,
        };
        self.learned
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(path, proven);
    }

    /// What the ledger calls a blob; `None` for one that is a link to somewhere else.
    fn key(&self, blob: &Path) -> Option<String> {
        if blob.symlink_metadata().ok()?.is_symlink() {
            return None;
        }
        // In a local dir files lie deeper.
        let below = blob.strip_prefix(&self.folder).ok();
        let real = self
            .folder
            .join(below.or_else(|| Some(Path::new(blob.file_name()?)))?);
        real.into_os_string().into_string().ok()
    }

    /// Notes that something failed and is made again.
    pub(super) fn tried_again(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// How often that was so since this was asked last.
    pub(super) fn take_retries(&self) -> u32 {
        self.retries.swap(0, Ordering::Relaxed)
    }
}

fn pair_of(one: &Path, other: &Path) -> Option<Pair> {
    let file = |path: &Path| {
        let real = fs::canonicalize(path).ok()?;
        let stamp = Stamp::of(&real.symlink_metadata().ok()?);
        Some((real.into_os_string().into_string().ok()?, stamp))
    };
    Some(Pair::of(file(one)?, file(other)?))
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Whether a file's times are whole seconds: then its file system knows no finer ones.
const fn is_coarse(stamp: &Stamp) -> bool {
    const SECOND_NS: i64 = 1_000_000_000;
    stamp.modified_ns % SECOND_NS == 0 && stamp.changed_ns % SECOND_NS == 0
}
