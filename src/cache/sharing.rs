//! Owns letting a blob share the bytes of another file with the same content, so that they lie on the
//! disk once.
//!
//! **Law**: only the blob of this cache is changed, and only by one rename: at every instant its name
//! leads to the old bytes or to the new ones, and both were proven. Folders that apps keep are read
//! only, and never get a second name for a file: an app may write into it.

use std::fs::{self, File, FileTimes, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::durable::{self, is_same_file};
use super::holders::marker_row;
use super::likeness::{require_alike, take_after};
use super::mend::{Mending, Placed, Refusal, UNSEEN, require_proven, seen, sync};
use super::salvage::exact_etag;
use super::staging::{scratch_dir, sweep_staging};
use super::{Layout, blob};
use crate::domain::{Etag, LockState, RepoId};
use crate::host::{self, OpenFile};

/// How two files can come to share their bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// They stay two files, and what is written into one is not seen in the other.
    Clone,
    /// They become one file with two names. Blobs are written once and then only replaced (hub.md 2.5,
    /// 2.8), in every Hub cache and by every program that keeps one.
    OneFile,
}

/// How a blob of this cache, as it was seen, could share the bytes of a file; the second is tried
/// where the first turns out not to work. Empty if it cannot.
pub(super) fn ways(path: &Path, found: &Metadata, with: &Path, other: &Metadata) -> Vec<Way> {
    if found.dev() != other.dev() || found.ino() == other.ino() || found.len() != other.len() {
        return Vec::new();
    }
    let mut ways = Vec::new();
    if host::can_share_blocks(path) && !host::is_locked(other) {
        ways.push(Way::Clone);
    }
    let mode = |found: &Metadata| found.permissions().mode() & 0o7777;
    let are_alike = mode(found) == mode(other) && found.gid() == other.gid();
    let is_sole = other.nlink() == 1 + left_names(path, other);
    if is_blob(with) && are_alike && is_sole && host::is_ours(found) && host::is_ours(other) {
        ways.push(Way::OneFile);
    }
    ways
}

/// How many names a file has in the repo's `.larder/`: a larder that was killed left them, and nobody
/// writes through them. One with any other name may be an app's, which writes into it.
fn left_names(path: &Path, other: &Metadata) -> u64 {
    let repo = path.parent().and_then(Path::parent);
    if other.nlink() == 1 {
        return 0;
    }
    let entries = repo.and_then(|repo| host::read_dir(&repo.join(".larder")).ok());
    let is_it = |entry: &host::Entry| {
        let found = entry.path().symlink_metadata();
        found.is_ok_and(|found| (found.dev(), found.ino()) == (other.dev(), other.ino()))
    };
    let names = entries.into_iter().flatten().flatten().filter(is_it);
    u64::try_from(names.count()).unwrap_or(0)
}

/// Whether a file lies where the blobs of a Hub cache lie.
fn is_blob(path: &Path) -> bool {
    fn name(path: &Path) -> Option<&str> {
        path.file_name()?.to_str()
    }
    let folder = path.parent();
    let repo = folder.and_then(Path::parent).and_then(name);
    name(path).and_then(exact_etag).is_some()
        && folder.and_then(name) == Some("blobs")
        && repo.is_some_and(|name| RepoId::from_folder(name).is_some())
}

/// The repo and the content of a blob's path in a cache.
pub(super) fn blob_at(layout: &Layout, path: &Path) -> Option<(RepoId, Etag)> {
    let etag = exact_etag(path.file_name()?.to_str()?)?;
    let repo = path.parent()?.parent()?.file_name()?.to_str()?;
    let repo = RepoId::from_folder(repo)?;
    (layout.blob(&repo, &etag) == path).then_some((repo, etag))
}

/// Why two files go on lying on the disk twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Apart {
    /// The same in a sentence.
    pub why: String,
    /// Whether it will be so as long as both files are what they are.
    pub is_lasting: bool,
}

impl From<Refusal> for Apart {
    fn from(why: Refusal) -> Self {
        Self {
            why,
            is_lasting: false,
        }
    }
}

impl From<&str> for Apart {
    fn from(why: &str) -> Self {
        why.to_owned().into()
    }
}

/// Lets the blob share the bytes of the other file.
///
/// # Errors
/// Why everything stays as it is.
pub(super) fn share(
    mending: Mending<'_>,
    (path, with): (&Path, &Path),
    bytes: u64,
) -> Result<Vec<Placed>, Apart> {
    let layout = mending.layout;
    let (repo, etag) = blob_at(layout, path).ok_or("it is no blob of this cache")?;
    if marker_row(layout, &repo, mending.eyes).is_some_and(|row| row.state == LockState::Held) {
        return Err(format!("{repo} is being downloaded").into());
    }
    let old = seen(path, Some(&layout.blobs(&repo)))?;
    let other = seen(with, with.parent())?;
    if !old.is_file() || !other.is_file() || old.len() != bytes || other.len() != bytes {
        return Err("it has changed since the plan was made".into());
    }
    if old.nlink() != 1 {
        return Err("it has another name as well, so nothing would be freed".into());
    }
    let ways = ways(path, &old, with, &other);
    if ways.is_empty() {
        return Err(format!("`{}` and it cannot share their bytes here", with.display()).into());
    }
    let _lock = mending.lock_of(&repo, &etag)?;
    mending.require_no_writer(path)?;
    require_closed(&[path, with])?;
    // One that is wrong is not two of one kind: a pull heals it, and says so.
    require_proven(path, &etag)?;
    let scratch = scratch_dir(layout, &repo).map_err(|error| error.to_string())?;
    drop(sweep_staging(layout, &repo));
    let mut apart = Apart {
        why: String::new(),
        is_lasting: true,
    };
    for way in ways {
        let made = make(&scratch, way, (with, &other), (path, &old));
        let temp = match made {
            Ok(temp) => temp,
            Err(error) => {
                apart.is_lasting &= is_lasting(&error);
                apart.why = format!("they cannot be made to share their bytes: {error}");
                continue;
            }
        };
        // A kill before the rename leaves a file in `.larder/` that the next sweep takes away: it is a
        // name of bytes that have another one, or a clone that takes no room.
        let replaced = replace(&temp, path, &etag, &old);
        if replaced.is_err() {
            drop(fs::remove_file(&temp));
        }
        let found = replaced?;
        sync(&layout.blobs(&repo));
        let mut placed = Vec::new();
        if let Some(found) = found {
            // Another program may have renamed a new one to that name, and nobody has read that.
            if let Ok(other) = with.symlink_metadata()
                && has_same_bytes(&found, &other)
            {
                placed.push(Placed::of(with, other, &etag));
            }
            placed.push(Placed::of(path, found, &etag));
        }
        return Ok(placed);
    }
    Err(apart)
}

/// Whether an error says what a file system or the files are like, and not what is so at this moment.
fn is_lasting(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Unsupported
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::CrossesDevices
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::TooManyLinks
    ) || error.raw_os_error() == Some(libc::ENOTTY)
}

/// Refuses files that another program has open for writing.
pub(super) fn require_closed(paths: &[&Path]) -> Result<(), Refusal> {
    let real: Vec<PathBuf> = paths
        .iter()
        .filter_map(|path| fs::canonicalize(path).ok())
        .collect();
    require_no_writer(host::openers(&real).as_deref())
}

/// Refuses where a file is open for writing, or where the system did not say.
fn require_no_writer(open: Option<&[OpenFile]>) -> Result<(), Refusal> {
    let open = open.ok_or(UNSEEN)?;
    match open.iter().find(|file| file.is_writable) {
        Some(file) => Err(format!(
            "process {} has `{}` open for writing",
            file.pid,
            file.path.display()
        )),
        None => Ok(()),
    }
}

/// Gives the bytes of the file a second place or name, under a scratch name.
fn make(
    scratch: &Path,
    way: Way,
    (with, other): (&Path, &Metadata),
    (path, old): (&Path, &Metadata),
) -> io::Result<PathBuf> {
    let source = blob::open_content(with)?;
    let as_seen = |found: &Metadata| (found.dev(), found.ino()) == (other.dev(), other.ino());
    if !as_seen(&source.metadata()?) {
        return Err(io::Error::other("it has changed meanwhile"));
    }
    let (temp, file) = durable::scratch(scratch).map_err(io::Error::other)?;
    let made = match way {
        Way::Clone => clone_into(&source, &temp, &file).and_then(|file| {
            take_after(&file, &temp, (path, old))?;
            let times = FileTimes::new()
                .set_accessed(old.accessed()?)
                .set_modified(old.modified()?);
            file.set_times(times)?;
            file.sync_all()
        }),
        Way::OneFile => require_alike(with, path)
            .and_then(|()| fs::remove_file(&temp))
            .and_then(|()| fs::hard_link(with, &temp))
            .and_then(|()| {
                if is_same_file(&source, &temp) {
                    source.sync_all()
                } else {
                    Err(io::Error::other("it has changed meanwhile"))
                }
            }),
    };
    if made.is_err() {
        drop(fs::remove_file(&temp));
    }
    made.map(|()| temp)
}

/// A clone of a file under a name that an empty one has, open for writing and with the mode of that one,
/// whatever the mode of its source.
pub(super) fn clone_into(source: &File, temp: &Path, file: &File) -> io::Result<File> {
    match reflink_copy::reflink_file(source, file) {
        Ok(()) => file.try_clone(),
        // macOS clones only into a name that does not exist yet.
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            // The clone would be locked as well: it could neither get another name nor go.
            if host::is_locked(&source.metadata()?) {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    "the Finder has it locked",
                ));
            }
            let mode = file.metadata()?.permissions();
            fs::remove_file(temp)?;
            reflink_copy::reflink_file_to_path(source, temp)?;
            // It has the mode of its source, which may forbid to write.
            fs::set_permissions(temp, mode)
                .and_then(|()| File::options().read(true).write(true).open(temp))
                .inspect_err(|_| drop(fs::remove_file(temp)))
        }
        Err(error) => Err(error),
    }
}

/// Proves what has the scratch name, and gives it the blob's.
///
/// What it looks like then, unless somebody wrote into it after it was proven.
fn replace(
    temp: &Path,
    path: &Path,
    etag: &Etag,
    old: &Metadata,
) -> Result<Option<Metadata>, Refusal> {
    let file = blob::open_content(temp).map_err(|error| error.to_string())?;
    let seen = || file.metadata().map_err(|error| error.to_string());
    let before = seen()?;
    require_proven(temp, etag)?;
    if !has_same_bytes(&before, &seen()?) {
        return Err(format!("`{}` has changed meanwhile", temp.display()));
    }
    let now = path.symlink_metadata().map_err(|error| error.to_string())?;
    if !is_unchanged(old, &now) || !is_same_file(&file, temp) {
        return Err("it has changed meanwhile".to_owned());
    }
    fs::rename(temp, path).map_err(|error| format!("it cannot be replaced: {error}"))?;
    let found = seen()?;
    Ok(has_same_bytes(&before, &found).then_some(found))
}

/// Whether it is the same file and, as far as its length and its last change tell, with the same bytes: a
/// rename changes neither.
pub(super) fn has_same_bytes(before: &Metadata, now: &Metadata) -> bool {
    let of = |found: &Metadata| {
        (
            (found.dev(), found.ino(), found.len()),
            (found.mtime(), found.mtime_nsec()),
        )
    };
    of(before) == of(now)
}

/// Whether a file is still the one that was seen, with the bytes that it had.
pub(super) fn is_unchanged(before: &Metadata, now: &Metadata) -> bool {
    let changed = |found: &Metadata| (found.ctime(), found.ctime_nsec());
    has_same_bytes(before, now) && changed(before) == changed(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::diagnosis::cause;
    use crate::cache::partials::Eyes;
    use crate::cache::{Programs, fixture};
    use crate::domain::Finding;

    #[test]
    fn what_nobody_can_tell_of_may_be_being_written() {
        let file = |is_writable| OpenFile {
            pid: 7,
            path: PathBuf::from("/a"),
            is_writable,
        };
        assert!(require_no_writer(Some(&[])).is_ok());
        assert!(require_no_writer(Some(&[file(false)])).is_ok());
        assert!(require_no_writer(Some(&[file(false), file(true)])).is_err());
        assert!(require_no_writer(None).is_err());
    }

    #[test]
    fn a_blob_that_has_another_name_by_now_frees_nothing_and_stays() {
        let (_dir, layout) = fixture::cache();
        let (repo, good) = (fixture::repo("org/m"), fixture::content(5000));
        let etag = fixture::etag(&good);
        let other = Layout::new(layout.root().join("other"));
        let [mine, theirs] = [&layout, &other].map(|layout| layout.blob(&repo, &etag));
        for path in [&mine, &theirs] {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, &good).unwrap();
        }
        let programs = Programs::unknown();
        let eyes = Eyes {
            now: fixture::now(),
            table: host::LockTable::default(),
            programs: &programs,
            ours: &|_, _| None,
        };
        let rule = crate::domain::Rule::DuplicateModel;
        let finding = Finding::new(rule, String::new(), cause(rule));
        let mending = Mending {
            layout: &layout,
            finding: &finding,
            eyes: &eyes,
        };
        let share = || share(mending, (&mine, &theirs), 5000);
        let name = layout.root().join("an-apps");
        fs::hard_link(&mine, &name).unwrap();
        let before = mine.metadata().unwrap().ino();
        let Apart { why, is_lasting } = share().unwrap_err();
        assert!(why.contains("another name") && !is_lasting, "{why}");
        assert_eq!(mine.metadata().unwrap().ino(), before);
        fs::remove_file(&name).unwrap();
        let placed = share().unwrap();
        assert!(placed.iter().any(|placed| placed.path == mine));
    }

    /// `.larder/` of a repo is where a killed larder leaves names.
    #[test]
    fn a_file_that_an_app_may_have_a_name_of_never_becomes_a_blob() {
        let dir = tempfile::tempdir().unwrap();
        let name = "a".repeat(64);
        let blob = |root: &str| dir.path().join(root).join("models--a--b/blobs").join(&name);
        let (mine, theirs) = (blob("hub"), blob("other"));
        for path in [&mine, &theirs] {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "bytes").unwrap();
        }
        let has_one_file = || {
            let [found, other] = [&mine, &theirs].map(|path| path.symlink_metadata().unwrap());
            ways(&mine, &found, &theirs, &other).contains(&Way::OneFile)
        };
        assert!(has_one_file());
        let scratch = dir.path().join("hub/models--a--b/.larder");
        fs::create_dir(&scratch).unwrap();
        fs::hard_link(&theirs, scratch.join("00000001.tmp")).unwrap();
        assert!(has_one_file());
        fs::hard_link(&theirs, dir.path().join("an-apps")).unwrap();
        assert!(!has_one_file());
    }
}
