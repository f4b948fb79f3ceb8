//! Owns the locks on blobs: the only file of the crate that takes them.
//!
//! Law: Python's path first, then Swift's; nothing stays open when one is busy; a lock file is
//! never truncated and never deleted, since a second process could lock a fresh file of the same
//! name while the first still holds the old one (hub.md 2.4). But those in a local dir that are for
//! larder alone are deleted under the lock: every larder looks whether the name still leads to it. And
//! so are the empty ones of what a purge took away, of which nobody fetches anything.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::durable::{MAX_RACES, is_same_file};
use super::{Error, Layout, Result};
use crate::domain::{Etag, RepoId};
use crate::host;

/// How long the content of a soft marker counts as a sign of life.
const MARKER_FRESH: Duration = Duration::from_mins(5);

/// More than this is no marker that filelock writes.
const MARKER_MAX_BYTES: u64 = 4096;

/// What Python forces on lock files, so that a group can share a cache.
const LOCK_MODE: u32 = 0o664;

/// Held while this process asks for a lock, so that a look at one, which holds it for a moment,
/// never makes an attempt of ours fail. The blocking calls are short: nothing waits for a lock.
static TURN: Mutex<()> = Mutex::new(());

/// How often, and after which pause, a mark is asked for again: another program's look at it holds
/// it for a moment.
const LOOKS: u32 = 2;
const LOOK: Duration = Duration::from_millis(3);

/// What an attempt at a blob's locks gave.
#[derive(Debug)]
pub enum LockAttempt {
    /// Ours until it is dropped.
    Held(BlobLock),
    /// Somebody else's; nothing of it is held.
    Busy(Busy),
}

/// Who is in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Busy {
    /// The lock file.
    pub path: PathBuf,
    /// The process, where the system or the marker tells.
    pub holder: Option<host::Holder>,
    /// Whether the lock is one whose mere existence counts (a file system without `flock`).
    pub is_soft_marker: bool,
}

/// The locks of all known clients on one blob; dropping it releases them.
#[derive(Debug)]
pub struct BlobLock {
    /// Open for as long as the lock lasts: closing a handle gives its `flock` up.
    _files: Vec<File>,
    is_backed_by_flock: bool,
    /// One that is held and that no other program knows.
    own: Option<PathBuf>,
}

impl Drop for BlobLock {
    fn drop(&mut self) {
        if let Some(own) = &self.own
            && let Err(error) = fs::remove_file(own)
        {
            tracing::debug!(%error, "a lock file stays");
        }
    }
}

impl BlobLock {
    /// Whether another program is really kept out; `false` on a file system without `flock`, where
    /// unique names, proof and rename have to do alone.
    pub const fn is_backed_by_flock(&self) -> bool {
        self.is_backed_by_flock
    }

    /// What a file system without `flock` gives.
    #[cfg(test)]
    pub(super) const fn unbacked() -> Self {
        Self {
            _files: Vec::new(),
            is_backed_by_flock: false,
            own: None,
        }
    }
}

/// Tries to take the locks of one blob without waiting.
pub fn try_lock(
    layout: &Layout,
    repo: &RepoId,
    etag: &Etag,
    now: SystemTime,
) -> Result<LockAttempt> {
    let mut files = Vec::with_capacity(3);
    let mut is_backed_by_flock = true;
    let mut own = None;
    let paths = [
        (layout.hub_lock(repo, etag), Origin::Create),
        (layout.swift_lock(repo, etag), Origin::Create),
        (layout.legacy_lock(repo, etag), Origin::OnlyIfThere),
    ];
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    for (path, origin) in paths {
        match lock_one(&path, origin, now)? {
            One::Held(file) => {
                if layout.is_local() && path == layout.swift_lock(repo, etag) {
                    own = Some(path);
                }
                files.push(file);
            }
            One::Absent => {}
            One::NoFlock => is_backed_by_flock = false,
            One::Busy(busy) => return Ok(LockAttempt::Busy(busy)),
        }
    }
    Ok(LockAttempt::Held(BlobLock {
        _files: files,
        is_backed_by_flock,
        own,
    }))
}

/// What an attempt at a file's `flock` gave.
#[derive(Debug)]
pub(super) enum Hold {
    /// Held until the file is closed.
    Held(File),
    /// Somebody else holds it.
    Busy,
    /// The file system has no `flock`.
    NoFlock,
    /// There is none, and none was to be made.
    Absent,
}

/// Tries to take the `flock` of a file; what it says does not count: that is for the caller to judge.
pub(super) fn hold(path: &Path, origin: Origin) -> Result<Hold> {
    for _ in 1..LOOKS {
        match hold_once(path, origin)? {
            // A look at it holds it for a moment.
            Hold::Busy => std::thread::sleep(LOOK),
            hold => return Ok(hold),
        }
    }
    hold_once(path, origin)
}

fn hold_once(path: &Path, origin: Origin) -> Result<Hold> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..MAX_RACES {
        let is_there = path.symlink_metadata().is_ok();
        let Some(file) = open(path, origin)? else {
            return Ok(Hold::Absent);
        };
        match file.try_lock() {
            // Whoever held it may have removed it on leaving.
            Ok(()) if is_same_file(&file, path) => return Ok(Hold::Held(file)),
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Hold::Busy),
            Err(TryLockError::Error(error)) if has_no_flock(&error) => {
                // Nobody could tell that it was left behind.
                if !is_there && is_empty(&file) && is_same_file(&file, path) {
                    drop(fs::remove_file(path));
                }
                return Ok(Hold::NoFlock);
            }
            Err(TryLockError::Error(error)) => return Err(Error::from_io("lock", path, error)),
        }
    }
    Err(Error::Unsteady {
        path: path.to_owned(),
    })
}

fn is_empty(file: &File) -> bool {
    file.metadata().is_ok_and(|found| found.len() == 0)
}

/// Whether a file that is not there is made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Create,
    OnlyIfThere,
}

/// Takes an empty lock file away that nobody holds, under its own `flock`; whether it is gone. Whoever has
/// it open and waits would get the lock of a file without a name, while the next program makes a new
/// one: larder and filelock look for that, others do not, and some of them share the name of an
/// unfinished blob (hub.md 2.5). So it is for callers who know that nobody has it open.
pub(super) fn remove_free(path: &Path) -> bool {
    match hold(path, Origin::OnlyIfThere) {
        Ok(Hold::Held(file)) => {
            let is_free = is_empty(&file)
                && file.metadata().is_ok_and(|found| found.is_file())
                && is_same_file(&file, path);
            is_free && fs::remove_file(path).is_ok()
        }
        Ok(Hold::Busy | Hold::NoFlock | Hold::Absent) | Err(_) => false,
    }
}

enum One {
    Held(File),
    Busy(Busy),
    NoFlock,
    Absent,
}

fn lock_one(path: &Path, origin: Origin, now: SystemTime) -> Result<One> {
    for _ in 0..MAX_RACES {
        let Some(file) = open(path, origin)? else {
            return Ok(One::Absent);
        };
        if let Some(busy) = soft_marker(&file, path, now)? {
            return Ok(One::Busy(busy));
        }
        match file.try_lock() {
            // filelock 3.24 and 3.25 unlink on release: then we hold a file nobody else can see.
            Ok(()) if is_same_file(&file, path) => return Ok(One::Held(file)),
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Ok(One::Busy(Busy {
                    path: path.to_owned(),
                    holder: host::lock_holder(path),
                    is_soft_marker: false,
                }));
            }
            Err(TryLockError::Error(error)) if has_no_flock(&error) => return Ok(One::NoFlock),
            Err(TryLockError::Error(error)) => return Err(Error::from_io("lock", path, error)),
        }
    }
    Err(Error::Unsteady {
        path: path.to_owned(),
    })
}

/// Opens a lock file, creating it where we may; `None` if there is none and we may not.
fn open(path: &Path, origin: Origin) -> Result<Option<File>> {
    let mut options = OpenOptions::new();
    // std adds O_CLOEXEC. A link in the place of a lock would have us touch a file of its choice.
    options
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    for _ in 0..MAX_RACES {
        match options.clone().write(true).open(path) {
            Ok(file) => return Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // Another user's lock file: flock asks for no right to write.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
                ) && path.symlink_metadata().is_ok() =>
            {
                return options
                    .open(path)
                    .map(Some)
                    .map_err(Error::at("open the lock", path));
            }
            Err(error) => return Err(Error::from_io("open the lock", path, error)),
        }
        if origin == Origin::OnlyIfThere {
            return Ok(None);
        }
        match options.clone().write(true).create_new(true).open(path) {
            Ok(file) => {
                file.set_permissions(fs::Permissions::from_mode(LOCK_MODE))
                    .map_err(Error::at("set the mode of", path))?;
                return Ok(Some(file));
            }
            // Made by somebody else meanwhile.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            // The first lock of the repo, or the folder was removed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(parent) = path.parent() {
                    fs::create_dir_all(parent).map_err(Error::at("create", parent))?;
                }
            }
            Err(error) => return Err(Error::from_io("create the lock", path, error)),
        }
    }
    Err(Error::Unsteady {
        path: path.to_owned(),
    })
}

/// Reads the lock file as a marker whose existence counts: it does while it is fresh, unless it
/// names a process of this machine that is dead.
fn soft_marker(file: &File, path: &Path, now: SystemTime) -> Result<Option<Busy>> {
    let Some(content) = Content::read(file, now).map_err(Error::at("look at", path))? else {
        return Ok(None);
    };
    Ok(content.counts().then(|| Busy {
        path: path.to_owned(),
        holder: content.pid_here().map(host::Holder::of),
        is_soft_marker: true,
    }))
}

/// What a lock file says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    /// Its text; empty if it is none.
    pub(super) text: String,
    /// The process and the machine it names, as filelock writes them: one line each.
    pub(super) pid: Option<u32>,
    pub(super) host: Option<String>,
    /// How long ago it was written.
    pub(super) age: Duration,
}

impl Content {
    /// `None` if the file is empty.
    fn read(file: &File, now: SystemTime) -> io::Result<Option<Self>> {
        let metadata = file.metadata()?;
        if metadata.len() == 0 {
            return Ok(None);
        }
        // A time far in the future comes from a clock that jumped, not from somebody alive.
        let age = now
            .duration_since(metadata.modified()?)
            .unwrap_or_else(|ahead| ahead.duration());
        let mut text = String::new();
        // What cannot be read as text names nobody; it may be fresh all the same.
        if file
            .take(MARKER_MAX_BYTES)
            .read_to_string(&mut text)
            .is_err()
        {
            text.clear();
        }
        let mut lines = text.lines().map(str::trim);
        let pid = lines.next().and_then(|line| line.parse().ok());
        let host = lines
            .next()
            .filter(|line| !line.is_empty())
            .map(ToOwned::to_owned);
        Ok(Some(Self {
            text,
            pid,
            host,
            age,
        }))
    }

    /// The process, if it is one of this machine.
    pub(super) fn pid_here(&self) -> Option<u32> {
        self.pid
            .filter(|_| self.host.as_deref() == Some(host::host_name().as_str()))
    }

    /// Whether it was written a moment ago.
    pub(super) fn is_fresh(&self) -> bool {
        self.age < MARKER_FRESH
    }

    /// Whether its existence keeps others out.
    pub(super) fn counts(&self) -> bool {
        self.is_fresh() && self.pid_here().is_none_or(host::is_alive)
    }
}

/// What a look at a lock, or at a file that its writer has marked, gave.
#[derive(Debug)]
pub(super) enum Look {
    /// Nothing is there.
    Absent,
    /// A link is there; it is not followed.
    Link,
    /// It cannot be asked.
    Unreadable(io::Error),
    /// Somebody holds it.
    Held(fs::Metadata),
    /// Nobody holds it.
    Free(Option<Content>),
    /// The file system has no `flock`.
    NoFlock(Option<Content>),
}

/// Looks whether a file is locked: creates nothing, changes nothing, and holds it for no longer
/// than the question takes.
pub(super) fn look(path: &Path, now: SystemTime) -> Look {
    look_inside(path, Some(now))
}

/// [`look`] at a file whose content is no business of locks.
pub(super) fn look_at_mark(path: &Path) -> Look {
    look_inside(path, None)
}

fn look_inside(path: &Path, now: Option<SystemTime>) -> Look {
    let file = match host::open_itself(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Look::Absent,
        Err(error) if path.symlink_metadata().is_ok_and(|m| m.is_symlink()) => {
            tracing::trace!(%error, "a link in the place of a lock");
            return Look::Link;
        }
        Err(error) => return Look::Unreadable(error),
    };
    let metadata = match file.metadata() {
        Ok(metadata) if metadata.is_file() => metadata,
        Ok(_) => return Look::Unreadable(io::Error::other("it is not a regular file")),
        Err(error) => return Look::Unreadable(error),
    };
    let asked = {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        // Shared, so that two that look do not take each other for a holder.
        let asked = file.try_lock_shared();
        if asked.is_ok() {
            // Closing the file would do it too; this is sooner.
            drop(file.unlock());
        }
        asked
    };
    let content = now.and_then(|now| Content::read(&file, now).ok().flatten());
    match asked {
        Ok(()) => Look::Free(content),
        Err(TryLockError::WouldBlock) => Look::Held(metadata),
        Err(TryLockError::Error(error)) if has_no_flock(&error) => Look::NoFlock(content),
        Err(TryLockError::Error(error)) => Look::Unreadable(error),
    }
}

/// Whether the file system has no `flock` (NFS, SMB, Lustre: hub.md case 36).
pub(super) fn has_no_flock(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported
        || matches!(
            error.raw_os_error(),
            Some(libc::ENOSYS | libc::ENOTSUP | libc::ENOLCK)
        )
}

/// Marks an open file or folder as in use by us. `Ok(false)` if somebody else has marked it;
/// where there is no `flock`, nobody can, and it counts as marked.
pub(super) fn mark_live(file: &File, path: &Path) -> Result<bool> {
    match ask(file) {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) if has_no_flock(&error) => Ok(true),
        Err(TryLockError::Error(error)) => Err(Error::from_io("lock", path, error)),
    }
}

/// Whether nobody has marked an open file or folder as in use. Where there is no `flock` that
/// cannot be known, and it counts as in use: what is taken away must be nobody's.
pub(super) fn is_unmarked(file: &File, path: &Path) -> Result<bool> {
    match ask(file) {
        Err(TryLockError::Error(error)) if has_no_flock(&error) => Ok(false),
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(Error::from_io("lock", path, error)),
    }
}

/// Asks for a mark, more than once if it is taken: another program may only be looking.
pub(super) fn ask(file: &File) -> std::result::Result<(), TryLockError> {
    for _ in 0..LOOKS {
        match take(file) {
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOOK),
            asked => return asked,
        }
    }
    take(file)
}

fn take(file: &File) -> std::result::Result<(), TryLockError> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    file.try_lock()
}

/// Bytes of the unfinished blob somebody is writing, to show growth while waiting for them: of
/// the partial that changed last, whatever its writer calls it.
pub fn other_progress(layout: &Layout, repo: &RepoId, etag: &Etag) -> Option<u64> {
    super::salvage::partials(layout, repo, etag)
        .ok()?
        .into_iter()
        .max_by_key(|partial| (partial.modified, partial.written_bytes))
        .map(|partial| partial.written_bytes)
}

/// Bytes that a pull could go on with: of the partial that changed last.
pub fn resumable_bytes(layout: &Layout, repo: &RepoId, etag: &Etag) -> Option<u64> {
    super::salvage::partials(layout, repo, etag)
        .ok()?
        .into_iter()
        .max_by_key(|partial| (partial.modified, partial.bytes))
        .map(|partial| partial.bytes)
}

/// The same for every content of the repo of which there is a partial, by one look.
pub fn all_resumable(layout: &Layout, repo: &RepoId) -> HashMap<Etag, u64> {
    let found = super::salvage::all_partials(layout, repo).unwrap_or_default();
    let mut newest: HashMap<Etag, (SystemTime, u64)> = HashMap::new();
    for (etag, partial) in found {
        let seen = (partial.modified, partial.bytes);
        let known = newest.entry(etag).or_insert(seen);
        *known = seen.max(*known);
    }
    newest
        .into_iter()
        .map(|(etag, (_, bytes))| (etag, bytes))
        .collect()
}

/// Whether a partial of the content has all its bytes, so that only their proof is missing.
pub fn is_complete_partial(layout: &Layout, repo: &RepoId, etag: &Etag, size_bytes: u64) -> bool {
    super::salvage::partials(layout, repo, etag)
        .is_ok_and(|found| found.iter().any(|partial| partial.bytes == size_bytes))
}

#[cfg(test)]
#[path = "lock_tests.rs"]
mod tests;
