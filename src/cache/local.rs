//! Owns a local dir as a place to fetch into, as Python's `local_dir` lays it out (hub.md 3.1): its
//! hidden folder, the notes on its files, and what may stand in the place of one.
//!
//! **Law**: no link in it is followed; a file that somebody made or changed is told from one that was
//! fetched; a note is written only about bytes that were proven.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::io::{self, Read as _, Write as _};
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::blob::{self, Check, Verdict};
use super::elsewhere::{Note, is_newer, read_note, short_hash};
use super::promote::folder_of;
use super::root::CACHEDIR_TAG;
use super::sight::is_own_folder;
use super::{Error, Layout, Result, durable};
use crate::domain::{Commit, Etag, RepoId, RepoPath};
use crate::host;

/// What git is to leave out: everything in the hidden folder.
const GITIGNORE: &[u8] = b"*";

/// A file may have changed so long after its note was begun, by whoever wrote both.
const CHANGE_SLACK_S: f64 = 1.0;

/// A line that names a repo is no longer.
const REPO_BYTES: u64 = 512;

/// What stands in the place of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing.
    Absent,
    /// A file that was fetched as this content and, by its times, not touched since.
    Noted(Etag),
    /// The same, as a file of another repo; only where that is known, and what is there was not
    /// asked to give way.
    OfAnother {
        /// The content.
        etag: Etag,
        /// The repo.
        repo: RepoId,
    },
    /// A file of which there is no note, or that has changed since it was noted.
    Strange,
    /// A link; it is not followed.
    Link,
}

/// How a file looks from outside: enough to know that nobody has touched it since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    file: (u64, u64),
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Seen {
    /// How it looks by these.
    pub fn of(found: &Metadata) -> Self {
        Self {
            file: (found.dev(), found.ino()),
            len: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }
}

/// Looks at the place of a file without following a link.
///
/// # Errors
/// [`Error::SymlinkedParent`], [`Error::NotAFolder`] or [`Error::BlockedByFolder`] if there can be no
/// such file.
pub fn standing(layout: &Layout, path: &RepoPath) -> Result<Standing> {
    let target = layout.root().join(path.as_str());
    has_clear_way(layout.root(), &layout.note(path))?;
    if !has_clear_way(layout.root(), &target)? {
        return Ok(Standing::Absent);
    }
    let Some(found) = look(&target)? else {
        return Ok(Standing::Absent);
    };
    if found.is_symlink() {
        return Ok(Standing::Link);
    }
    if found.is_dir() {
        return Err(Error::BlockedByFolder { path: target });
    }
    let Some(note) = note_on(layout, path, &found) else {
        return Ok(Standing::Strange);
    };
    let etag = note.etag;
    Ok(match other_repo(layout, &note) {
        Some(repo) if !layout.is_forced() => Standing::OfAnother { etag, repo },
        Some(_) | None => Standing::Noted(etag),
    })
}

/// The repo that a noted file is of, if that is another than the layout's.
fn other_repo(layout: &Layout, note: &Note) -> Option<RepoId> {
    let commit = note.commit?;
    other_of(layout, &commit, repo_of(layout.root(), &commit)?)
}

/// The same, of a file of which larder has noted nothing, where its commit is one of the `listed`.
pub fn repo_noted(layout: &Layout, path: &RepoPath, listed: &[(RepoId, Commit)]) -> Option<RepoId> {
    let commit = read_note(&layout.note(path)).ok()?.commit?;
    if repo_of(layout.root(), &commit).is_some() {
        return None;
    }
    let known = listed.iter().find(|(_, known)| *known == commit)?;
    other_of(layout, &commit, known.0.clone())
}

/// The repo of that commit, if it is another than the layout's.
fn other_of(layout: &Layout, commit: &Commit, repo: RepoId) -> Option<RepoId> {
    let (own, at) = layout.of()?;
    if commit == at {
        // One commit under two names is one repo that was renamed.
        return None;
    }
    // The Hub tells no letter case apart.
    let is_own = repo.kind() == own.kind() && repo.name().eq_ignore_ascii_case(own.name());
    (!is_own).then_some(repo)
}

/// The commits that larder fetched of into a local dir.
pub(super) fn fetched_commits(folder: &Path) -> Vec<Commit> {
    let layout = Layout::new(folder.to_owned());
    let folders = [layout.own_hidden(), layout.repo_notes()];
    if !folders.iter().all(|folder| is_own_folder(folder)) {
        return Vec::new();
    }
    let entries = host::read_dir(&layout.repo_notes());
    let names = entries.into_iter().flatten().flatten();
    names
        .filter_map(|entry| Commit::new(entry.file_name().to_str()?).ok())
        .collect()
}

/// The repo that a commit in a local dir is of, if larder fetched of it.
pub(super) fn repo_of(folder: &Path, commit: &Commit) -> Option<RepoId> {
    let layout = Layout::new(folder.to_owned());
    let place = layout.repo_notes().join(commit.to_string());
    let folders = [layout.own_hidden(), layout.repo_notes()];
    if !folders.iter().all(|folder| is_own_folder(folder)) {
        return None;
    }
    let mut text = String::new();
    let file = host::open_itself(&place).ok()?;
    file.take(REPO_BYTES).read_to_string(&mut text).ok()?;
    RepoId::from_folder(text.trim_end())
}

/// The same, for who is about to replace it. A move or a copy may bring a file an old time along; the
/// time of its inode's last change it cannot. Where that is after the note, the bytes decide.
///
/// # Errors
/// As [`standing`].
pub fn judge(layout: &Layout, path: &RepoPath) -> Result<Standing> {
    let standing = standing(layout, path)?;
    match standing {
        Standing::Noted(_) | Standing::OfAnother { .. } => {}
        Standing::Absent | Standing::Strange | Standing::Link => return Ok(standing),
    }
    let target = layout.root().join(path.as_str());
    let Some(found) = look(&target)? else {
        return Ok(Standing::Absent);
    };
    let is_its = read_note(&layout.note(path)).is_ok_and(|note| {
        changed_s(&found) - CHANGE_SLACK_S <= note.at || holds(&target, &found, &note.etag)
    });
    Ok(if is_its { standing } else { Standing::Strange })
}

/// What a file that is about to get its name in a local dir takes that name from, if anything.
///
/// # Errors
/// [`Error::NotOurs`], [`Error::OfAnother`], [`Error::LinkInPlace`], and as [`standing`], if it must
/// not.
pub(super) fn giving_way(layout: &Layout, etag: &Etag) -> Result<Option<Seen>> {
    let Some(path) = layout.file_of(etag) else {
        return Ok(None);
    };
    let target = layout.root().join(path.as_str());
    let before = look(&target)?;
    let (folder, path) = (layout.root().to_owned(), path.clone());
    let refused = match judge(layout, &path)? {
        Standing::Link => return Err(Error::LinkInPlace { folder, path }),
        Standing::Strange if !layout.is_forced() => Some(Error::NotOurs { folder, path }),
        Standing::OfAnother { repo, .. } => Some(Error::OfAnother { folder, path, repo }),
        Standing::Strange | Standing::Absent | Standing::Noted(_) => None,
    };
    // The same bytes may take its place.
    let is_same = |found: &Metadata| holds(&target, found, etag);
    match refused {
        Some(error) if !before.as_ref().is_some_and(is_same) => Err(error),
        Some(_) | None => Ok(before.as_ref().map(Seen::of)),
    }
}

/// Whether there is still what [`giving_way`] saw; nobody judged anything else. One that is kept got
/// a second name, which is a change of its inode.
pub(super) fn is_as_before(
    layout: &Layout,
    etag: &Etag,
    before: Option<Seen>,
    is_kept: bool,
) -> Result<bool> {
    let Some(path) = layout.file_of(etag) else {
        return Ok(true);
    };
    let target = layout.root().join(path.as_str());
    has_clear_way(layout.root(), &target)?;
    let now = look(&target)?.as_ref().map(Seen::of);
    Ok(match (before, now) {
        (Some(before), Some(now)) if is_kept => {
            let changed = before.changed;
            Seen { changed, ..now } == before
        }
        (before, now) => before == now,
    })
}

/// Whether the note on a file says that it is this content of this commit, and Python would believe
/// it.
pub fn has_note(layout: &Layout, path: &RepoPath, commit: &Commit, etag: &Etag) -> bool {
    let found = layout.root().join(path.as_str()).symlink_metadata();
    let note = found.ok().and_then(|found| note_on(layout, path, &found));
    note.is_some_and(|note| note.commit == Some(*commit) && note.etag == *etag)
}

/// Writes Python's note on a file whose bytes were proven when it looked like `proven`; `false` if it
/// does not look so any more. The lock of the file shows that no other larder replaces it.
pub fn write_note(
    layout: &Layout,
    path: &RepoPath,
    commit: &Commit,
    etag: &Etag,
    proven: &Seen,
    now: SystemTime,
) -> Result<bool> {
    let target = layout.root().join(path.as_str());
    let as_proven = || -> Result<Option<Metadata>> {
        Ok(look(&target)?.filter(|found| Seen::of(found) == *proven))
    };
    let Some(found) = as_proven()? else {
        return Ok(false);
    };
    let modified = found.modified().map_err(Error::at("look at", &target))?;
    // A clock that was ahead when the file was written must not make the note look outdated.
    let at = now.max(modified).duration_since(UNIX_EPOCH);
    let at = at.unwrap_or(Duration::ZERO);
    let text = format!(
        "{commit}\n{etag}\n{}.{:06}\n",
        at.as_secs(),
        at.subsec_micros()
    );
    let note = layout.note(path);
    // Not synced: without its note a file is hashed again, and that is all.
    let (temp, mut file) = durable::scratch(&layout.own_hidden())?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| fs::rename(&temp, &note))
        .map_err(Error::at("write", &note));
    if written.is_err() {
        // The first error is the one to tell; a leftover is swept later.
        drop(fs::remove_file(&temp));
    }
    written?;
    if as_proven()?.is_none() {
        // It would vouch for bytes that nobody has read.
        fs::remove_file(&note).map_err(Error::at("remove", &note))?;
        return Ok(false);
    }
    Ok(true)
}

/// Whether a path of a repo would lie among Python's notes (hub.md case 21).
pub fn is_reserved(path: &RepoPath) -> bool {
    let mut parts = path.segments();
    let is = |part: Option<&str>, name: &str| part.is_some_and(|it| it.eq_ignore_ascii_case(name));
    if !is(parts.next(), ".cache") {
        return false;
    }
    match parts.next() {
        None => true,
        second => is(second, "huggingface"),
    }
}

/// What the names of a file's unfinished forms begin with.
pub(super) fn staged_stem(path: &RepoPath, etag: &Etag) -> String {
    format!("{}.{etag}", short_hash(path))
}

/// Whether the file in the place of a content is, byte for byte, what its note says that was fetched:
/// then it can be fetched again.
pub(super) fn is_as_noted(layout: &Layout, etag: &Etag) -> bool {
    let Some(path) = layout.file_of(etag) else {
        return false;
    };
    let Ok(note) = read_note(&layout.note(path)) else {
        return false;
    };
    let target = layout.root().join(path.as_str());
    let Ok(Some(found)) = look(&target) else {
        return false;
    };
    holds(&target, &found, &note.etag)
}

/// Whether a file holds that content.
fn holds(target: &Path, found: &Metadata, etag: &Etag) -> bool {
    let mut on = |_| ControlFlow::Continue(());
    found.is_file()
        && matches!(
            blob::check(target, etag, found.len(), Check::Hash, &mut on),
            Ok(Verdict::Proven)
        )
}

/// When its inode changed last, in seconds since the Unix epoch.
fn changed_s(found: &Metadata) -> f64 {
    let seconds = u64::try_from(found.ctime()).unwrap_or_default();
    let ns = u32::try_from(found.ctime_nsec()).unwrap_or_default();
    Duration::new(seconds, ns).as_secs_f64()
}

/// Makes the folders that the files need, and what Python puts into the hidden one.
pub(super) fn prepare(layout: &Layout) -> Result<()> {
    let root = layout.root();
    if let Some(mount) = host::absent_mount(root) {
        return Err(Error::AbsentMount {
            mount,
            path: root.to_owned(),
        });
    }
    fs::create_dir_all(root).map_err(Error::at("create", root))?;
    let scratch = layout.own_hidden();
    let mut folders = BTreeSet::from([layout.notes(), layout.aside_folder(), layout.repo_notes()]);
    for (_, path) in layout.files() {
        folders.insert(folder_of(&root.join(path.as_str())).to_owned());
        folders.insert(folder_of(&layout.note(path)).to_owned());
    }
    for folder in folders {
        make_folder(root, &folder)?;
    }
    // Made when there is something to put into it.
    require_folder(&layout.hidden().join("trees"), root)?;
    for (name, bytes) in [(".gitignore", GITIGNORE), ("CACHEDIR.TAG", CACHEDIR_TAG)] {
        let target = layout.hidden().join(name);
        if look(&target)?.is_none() {
            durable::write_whole(&scratch, &target, bytes)?;
        }
    }
    if let Some((repo, commit)) = layout.of() {
        let note = layout.repo_notes().join(commit.to_string());
        let text = format!("{}\n", repo.folder());
        if fs::read(&note).ok().as_deref() != Some(text.as_bytes()) {
            durable::write_whole(&scratch, &note, text.as_bytes())?;
        }
    }
    Ok(())
}

/// Makes a folder below `root`, without following a link.
fn make_folder(root: &Path, folder: &Path) -> Result<()> {
    let below = folder.strip_prefix(root).unwrap_or(folder);
    let mut at = root.to_owned();
    for part in below.components() {
        at.push(part);
        match fs::create_dir(&at) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            // One that is there on a file system that cannot be written.
            Err(_) if at.is_dir() => {}
            Err(error) => return Err(Error::from_io("create", &at, error)),
        }
        require_folder(&at, folder)?;
    }
    Ok(())
}

/// Whether every folder above `place` is there; none is a link or something else.
fn has_clear_way(root: &Path, place: &Path) -> Result<bool> {
    let below = folder_of(place).strip_prefix(root).unwrap_or(place);
    let mut at = root.to_owned();
    for part in below.components() {
        at.push(part);
        if !require_folder(&at, place)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a folder on the way to `path` is there.
fn require_folder(folder: &Path, path: &Path) -> Result<bool> {
    match look(folder)? {
        None => Ok(false),
        Some(found) if found.is_symlink() => Err(Error::SymlinkedParent {
            path: path.to_owned(),
            link: folder.to_owned(),
        }),
        Some(found) if !found.is_dir() => Err(Error::NotAFolder {
            path: path.to_owned(),
            other: folder.to_owned(),
        }),
        Some(_) => Ok(true),
    }
}

/// The note on a file, if Python would believe it.
fn note_on(layout: &Layout, path: &RepoPath, found: &Metadata) -> Option<Note> {
    let note = read_note(&layout.note(path)).ok()?;
    (!is_newer(found, &note)).then_some(note)
}

fn look(path: &Path) -> Result<Option<Metadata>> {
    match path.symlink_metadata() {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::from_io("look at", path, error)),
    }
}

#[cfg(test)]
#[path = "local_tests.rs"]
mod tests;
