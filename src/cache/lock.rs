//! Owns the locks on blobs: the only file of the crate that takes them.
//!
//! Law: Python's path first, then Swift's; nothing stays open when one is busy; a lock file is
//! never truncated and never deleted, since a second process could lock a fresh file of the same
//! name while the first still holds the old one (hub.md 2.4).

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
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
    let paths = [
        (layout.hub_lock(repo, etag), Origin::Create),
        (layout.swift_lock(repo, etag), Origin::Create),
        (layout.legacy_lock(repo, etag), Origin::OnlyIfThere),
    ];
    for (path, origin) in paths {
        match lock_one(&path, origin, now)? {
            One::Held(file) => files.push(file),
            One::Absent => {}
            One::NoFlock => is_backed_by_flock = false,
            One::Busy(busy) => return Ok(LockAttempt::Busy(busy)),
        }
    }
    Ok(LockAttempt::Held(BlobLock {
        _files: files,
        is_backed_by_flock,
    }))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Create,
    OnlyIfThere,
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
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(Error::at("create", parent))?;
        }
        match options.clone().write(true).create_new(true).open(path) {
            Ok(file) => {
                file.set_permissions(fs::Permissions::from_mode(LOCK_MODE))
                    .map_err(Error::at("set the mode of", path))?;
                return Ok(Some(file));
            }
            // Made, or removed with its folder, by somebody else meanwhile.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound
                ) => {}
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
    let metadata = file.metadata().map_err(Error::at("look at", path))?;
    if metadata.len() == 0 {
        return Ok(None);
    }
    let modified = metadata.modified().map_err(Error::at("look at", path))?;
    // A time far in the future comes from a clock that jumped, not from somebody alive.
    let age = now
        .duration_since(modified)
        .unwrap_or_else(|ahead| ahead.duration());
    if age >= MARKER_FRESH {
        return Ok(None);
    }
    let mut text = String::new();
    // What cannot be read as text names nobody; it is fresh all the same.
    let mut start = file.take(MARKER_MAX_BYTES);
    if start.read_to_string(&mut text).is_err() {
        text.clear();
    }
    // filelock writes the pid, then the host name.
    let mut lines = text.lines();
    let pid = lines.next().and_then(|line| line.trim().parse().ok());
    let is_here = lines.next().is_some_and(|l| l.trim() == host::host_name());
    if is_here && pid.is_some_and(|pid| !host::is_alive(pid)) {
        return Ok(None);
    }
    Ok(Some(Busy {
        path: path.to_owned(),
        holder: pid
            .filter(|_| is_here)
            .map(|pid| host::Holder { pid, program: None }),
        is_soft_marker: true,
    }))
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
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) if has_no_flock(&error) => Ok(true),
        Err(TryLockError::Error(error)) => Err(Error::from_io("lock", path, error)),
    }
}

/// Whether nobody has marked an open file or folder as in use. Where there is no `flock` that
/// cannot be known, and it counts as in use: what is taken away must be nobody's.
pub(super) fn is_unmarked(file: &File, path: &Path) -> Result<bool> {
    match file.try_lock() {
        Err(TryLockError::Error(error)) if has_no_flock(&error) => Ok(false),
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(Error::from_io("lock", path, error)),
    }
}

/// Bytes of the unfinished blob somebody is writing, to show growth while waiting for them: of
/// the partial that changed last, whatever its writer calls it.
pub fn other_progress(layout: &Layout, repo: &RepoId, etag: &Etag) -> Option<u64> {
    super::salvage::partials(layout, repo, etag)
        .ok()?
        .into_iter()
        .max_by_key(|partial| (partial.modified, partial.bytes))
        .map(|partial| partial.bytes)
}

#[cfg(test)]
mod tests {
    use std::fs::FileTimes;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::cache::fixture::{self, etag, held, now, repo};

    fn busy(layout: &Layout, repo: &RepoId, etag: &Etag) -> Busy {
        match try_lock(layout, repo, etag, now()).unwrap() {
            LockAttempt::Busy(busy) => busy,
            LockAttempt::Held(_) => panic!("the lock was free"),
        }
    }

    fn foreign(path: &Path) -> File {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .unwrap()
    }

    #[test]
    fn two_lockers_exclude_each_other_until_the_first_lets_go() {
        let (_dir, layout) = fixture::cache();
        let (repo, etag) = (repo("org/m"), etag(b"x"));
        let lock = held(&layout, &repo, &etag);
        assert!(lock.is_backed_by_flock());
        let in_the_way = busy(&layout, &repo, &etag);
        assert_eq!(in_the_way.path, layout.hub_lock(&repo, &etag));
        assert!(!in_the_way.is_soft_marker);
        #[cfg(target_os = "linux")]
        assert_eq!(in_the_way.holder.unwrap().pid, std::process::id());
        drop(lock);
        drop(held(&layout, &repo, &etag));
        for path in [
            layout.hub_lock(&repo, &etag),
            layout.swift_lock(&repo, &etag),
        ] {
            let metadata = path.metadata().unwrap();
            assert_eq!(metadata.permissions().mode() & 0o777, 0o664);
            assert_eq!(metadata.len(), 0);
        }
        assert!(!layout.legacy_lock(&repo, &etag).exists());
    }

    #[test]
    fn every_client_is_waited_for_and_nothing_is_held_meanwhile() {
        let (_dir, layout) = fixture::cache();
        let (repo, etag) = (repo("org/m"), etag(b"x"));
        let python = layout.hub_lock(&repo, &etag);
        for path in [
            python.clone(),
            layout.swift_lock(&repo, &etag),
            layout.legacy_lock(&repo, &etag),
        ] {
            let theirs = foreign(&path);
            theirs.try_lock().unwrap();
            assert_eq!(busy(&layout, &repo, &etag).path, path);
            if path != python {
                foreign(&python).try_lock().expect("Python's lock was kept");
            }
            drop(theirs);
            drop(held(&layout, &repo, &etag));
        }
    }

    #[test]
    fn a_lock_file_that_was_replaced_is_locked_again() {
        let (_dir, layout) = fixture::cache();
        let (repo, etag) = (repo("org/m"), etag(b"x"));
        let path = layout.hub_lock(&repo, &etag);
        // What filelock 3.24 leaves to the one that opened before the unlink.
        let old = foreign(&path);
        old.try_lock().unwrap();
        fs::remove_file(&path).unwrap();
        let lock = held(&layout, &repo, &etag);
        assert!(path.exists());
        assert_eq!(busy(&layout, &repo, &etag).path, path);
        drop((lock, old));
    }

    #[test]
    fn soft_markers_count_while_they_are_fresh_and_their_process_lives() {
        let dead = host::forks::dead_pid();
        let (_dir, layout) = fixture::cache();
        let (repo, etag) = (repo("org/m"), etag(b"x"));
        let path = layout.hub_lock(&repo, &etag);
        drop(foreign(&path));
        let here = host::host_name();

        let alive = format!("{}\n{here}\n", std::process::id());
        fs::write(&path, &alive).unwrap();
        let marker = busy(&layout, &repo, &etag);
        assert!(marker.is_soft_marker);
        assert_eq!(marker.holder.unwrap().pid, std::process::id());

        fs::write(&path, format!("{dead}\nanother-host\n")).unwrap();
        assert!(busy(&layout, &repo, &etag).holder.is_none());
        fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(busy(&layout, &repo, &etag).is_soft_marker);

        fs::write(&path, format!("{dead}\n{here}\n")).unwrap();
        drop(held(&layout, &repo, &etag));

        fs::write(&path, &alive).unwrap();
        let old = now() - Duration::from_mins(6);
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_times(FileTimes::new().set_modified(old))
            .unwrap();
        drop(held(&layout, &repo, &etag));
        assert_eq!(fs::read_to_string(&path).unwrap(), alive, "never truncated");
    }

    #[test]
    fn a_link_in_the_place_of_a_lock_is_refused() {
        let (_dir, layout) = fixture::cache();
        let (repo, etag) = (repo("org/m"), etag(b"x"));
        let path = layout.hub_lock(&repo, &etag);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let target = layout.root().join("target");
        symlink(&target, &path).unwrap();
        assert!(try_lock(&layout, &repo, &etag, now()).is_err());
        assert!(!target.exists());
    }

    #[test]
    fn a_file_system_without_flock_is_recognised() {
        for raw in [libc::ENOSYS, libc::ENOTSUP, libc::ENOLCK] {
            assert!(has_no_flock(&io::Error::from_raw_os_error(raw)));
        }
        assert!(!has_no_flock(&io::Error::from_raw_os_error(libc::EIO)));
    }

    #[test]
    fn growth_is_that_of_the_partial_written_last() {
        let (_dir, layout) = fixture::cache();
        let (repo, etag) = (repo("org/m"), etag(b"x"));
        assert_eq!(other_progress(&layout, &repo, &etag), None);
        let blobs = layout.blobs(&repo);
        fs::create_dir_all(&blobs).unwrap();
        let dead = blobs.join(format!("{etag}.00000001.incomplete"));
        fs::write(&dead, [0; 900]).unwrap();
        File::options()
            .write(true)
            .open(&dead)
            .unwrap()
            .set_times(FileTimes::new().set_modified(now() - Duration::from_hours(1)))
            .unwrap();
        assert_eq!(other_progress(&layout, &repo, &etag), Some(900));
        let mut counted = vec![0; 24];
        counted[16..].copy_from_slice(&7u64.to_le_bytes());
        fs::write(blobs.join(format!("{etag}.sync.part")), counted).unwrap();
        assert_eq!(other_progress(&layout, &repo, &etag), Some(7));
    }
}
