//! Owns `refs/`: names that lead to commits.
//!
//! Law: a ref is exactly 40 bytes, since Python and hf-hub 0.5 read it without trimming; it is
//! made outside `refs/`, since every scan reads all that lies there.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::snapshot::paths_below;
use super::staging::{is_number, scratch_dir};
use super::{Error, Layout, Result, blob, durable};
use crate::domain::{Commit, RepoId, Revision, sanitize, sanitize_line};
use crate::host;

/// No commit hash is longer, whatever stands around it.
const MAX_REF_BYTES: u64 = 4096;
/// How long a program that writes a ref in place needs at most, between emptying and filling it.
const IN_PLACE: Duration = Duration::from_millis(20);

/// What a ref holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefValue {
    /// The commit, trimmed; `None` if it holds none.
    pub commit: Option<Commit>,
    /// Whether it holds anything but 40 lower-case hex characters: other readers stumble over it.
    pub is_malformed: bool,
    /// Whether it cannot be read: then it may hold anything, and nothing else is known of it.
    pub is_unreadable: bool,
}

/// Reads the ref of a revision; `None` if there is none.
pub fn read_ref(layout: &Layout, repo: &RepoId, revision: &Revision) -> Result<Option<RefValue>> {
    read_file(&layout.reference(repo, revision))
}

pub(super) fn read_file(path: &Path) -> Result<Option<RefValue>> {
    let mut bytes = read_bytes(path)?;
    if bytes.as_ref().is_some_and(Vec::is_empty) {
        // Some programs write it in place, and a moment later it is whole.
        std::thread::sleep(IN_PLACE);
        bytes = read_bytes(path)?;
    }
    Ok(bytes.map(|bytes| {
        let commit = str::from_utf8(&bytes)
            .ok()
            .and_then(|text| Commit::new(text.trim()).ok());
        let is_exact = commit.is_some_and(|commit| commit.to_string().as_bytes() == bytes);
        RefValue {
            commit,
            is_malformed: !is_exact,
            is_unreadable: false,
        }
    }))
}

fn read_bytes(path: &Path) -> Result<Option<Vec<u8>>> {
    let file = match host::open_quietly(path) {
        Ok(file) => file,
        Err(error) if blob::is_absent(&error) => return Ok(None),
        Err(error) => return Err(Error::from_io("read the ref", path, error)),
    };
    let mut bytes = Vec::new();
    match file.take(MAX_REF_BYTES).read_to_end(&mut bytes) {
        Ok(_) => {}
        // A folder of refs has that name.
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => return Ok(None),
        Err(error) => return Err(Error::from_io("read the ref", path, error)),
    }
    Ok(Some(bytes))
}

/// The folder that readers look into for a revision whose ref holds no commit: Python takes the text of
/// the ref for the folder's name, and only without a ref that of the revision (hub.md 2.10). `None` if
/// the ref leads to no folder.
pub(super) fn folder_by_name(
    layout: &Layout,
    repo: &RepoId,
    revision: &Revision,
) -> Result<Option<PathBuf>> {
    let snapshots = layout.snapshots(repo);
    let Some(bytes) = read_bytes(&layout.reference(repo, revision))? else {
        return Ok(Some(snapshots.join(revision.as_str())));
    };
    let is_name = |text: &&str| !matches!(*text, "" | "." | "..") && !text.contains(['/', '\0']);
    let text = str::from_utf8(&bytes).ok().map(str::trim);
    let folder = text.filter(is_name).map(|name| snapshots.join(name));
    Ok(folder.filter(|folder| folder.is_dir()))
}

/// The length of a malformed ref and what is wrong with it, in a few words.
pub(super) fn describe(path: &Path) -> (u64, String) {
    let mut bytes = Vec::new();
    let read =
        host::open_quietly(path).and_then(|file| file.take(MAX_REF_BYTES).read_to_end(&mut bytes));
    let length = path.metadata().map_or(0, |metadata| metadata.len());
    let what = match (read, str::from_utf8(&bytes)) {
        (Err(error), _) => format!("it cannot be read: {error}"),
        (Ok(0), _) => "it is empty".to_owned(),
        (Ok(_), Err(_)) => "it holds no text".to_owned(),
        (Ok(_), Ok(text)) => {
            let trimmed = text.trim();
            match Commit::new(trimmed) {
                Ok(_) if text.ends_with('\n') && text.trim_end().len() == text.trim().len() => {
                    "a line end follows the commit hash".to_owned()
                }
                Ok(_) if trimmed.len() != text.len() => {
                    "blanks stand around the commit hash".to_owned()
                }
                Ok(_) => "the commit hash is in capitals".to_owned(),
                Err(_) => format!("it holds `{}`", sanitize_line(text, 60)),
            }
        }
    };
    (length, what)
}

/// Whether a ref holds this and leads to nothing that any reader finds here: a commit without a snapshot,
/// or, told in the words of `describe`, what is no commit and no folder's name.
pub fn names_nothing(layout: &Layout, repo: &RepoId, revision: &Revision, holds: &str) -> bool {
    let Ok(Some(value)) = read_ref(layout, repo, revision) else {
        return false;
    };
    match value.commit {
        Some(commit) => {
            let snapshot = layout.snapshot(repo, &commit);
            commit.to_string() == holds
                && snapshot
                    .symlink_metadata()
                    .is_err_and(|error| blob::is_absent(&error))
        }
        None => {
            let what = describe(&layout.reference(repo, revision)).1;
            sanitize(&what) == sanitize(holds)
                && matches!(folder_by_name(layout, repo, revision), Ok(None))
        }
    }
}

/// Whether a name is that of the file that Python makes beside a ref before it moves the ref there
/// (hub.md 2.3): `<name>.<8 hex>.tmp`.
pub(super) fn is_leftover(name: &str) -> bool {
    name.strip_suffix(".tmp")
        .and_then(|rest| rest.rsplit_once('.'))
        .is_some_and(|(stem, number)| !stem.is_empty() && is_number(number))
}

/// Makes the revision name `commit`, in one step.
pub fn write_ref(
    layout: &Layout,
    repo: &RepoId,
    revision: &Revision,
    commit: &Commit,
) -> Result<()> {
    let path = layout.reference(repo, revision);
    let conflict = |existing: PathBuf| Error::RefConflict {
        reference: path.clone(),
        existing,
    };
    if path.symlink_metadata().is_ok_and(|m| m.is_dir()) {
        return Err(conflict(path.clone()));
    }
    let refs = layout.refs(repo);
    let in_the_way = path
        .ancestors()
        .skip(1)
        .take_while(|folder| folder.starts_with(&refs))
        .find(|folder| folder.symlink_metadata().is_ok_and(|m| !m.is_dir()));
    if let Some(existing) = in_the_way {
        return Err(conflict(existing.to_owned()));
    }
    let scratch = scratch_dir(layout, repo)?;
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(Error::at("create", parent))?;
    }
    durable::write_whole(&scratch, &path, commit.to_string().as_bytes())
}

/// Every ref of the repo by its name, in order; also what a broken tool left there, because other
/// readers take it for a ref too.
///
/// # Errors
/// If one of them cannot be read: it may name any commit.
pub fn refs_of(layout: &Layout, repo: &RepoId) -> Result<Vec<(String, RefValue)>> {
    all_refs(layout, repo, Err)
}

/// The same for a look: of a ref that cannot be read nothing is known, and the others are shown.
pub(super) fn refs_seen(layout: &Layout, repo: &RepoId) -> Result<Vec<(String, RefValue)>> {
    let unknown = RefValue {
        commit: None,
        is_malformed: true,
        is_unreadable: true,
    };
    all_refs(layout, repo, |_| Ok(Some(unknown)))
}

fn all_refs(
    layout: &Layout,
    repo: &RepoId,
    or: impl Fn(Error) -> Result<Option<RefValue>>,
) -> Result<Vec<(String, RefValue)>> {
    let refs = layout.refs(repo);
    let mut found = Vec::new();
    for name in paths_below(&refs)? {
        if let Some(value) = read_file(&refs.join(name.as_str())).or_else(&or)? {
            found.push((name.as_str().to_owned(), value));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::fixture::{self, commit, repo};

    fn revision(name: &str) -> Revision {
        Revision::new(name).unwrap()
    }

    #[test]
    fn a_ref_is_forty_bytes_and_nothing_else_appears() {
        let (_dir, layout) = fixture::cache();
        let repo = repo("org/m");
        for (name, commit) in [
            ("main", commit('a')),
            ("main", commit('b')),
            ("refs/pr/1", commit('c')),
        ] {
            write_ref(&layout, &repo, &revision(name), &commit).unwrap();
            let bytes = fs::read(layout.reference(&repo, &revision(name))).unwrap();
            assert_eq!(bytes, commit.to_string().as_bytes());
            let value = read_ref(&layout, &repo, &revision(name)).unwrap().unwrap();
            assert_eq!(value.commit, Some(commit));
            assert!(!value.is_malformed);
        }
        let all = refs_of(&layout, &repo).unwrap();
        let names: Vec<_> = all.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["main", "refs/pr/1"]);
        assert!(fixture::names(&layout.larder_dir(&repo)).is_empty());
        // The repo's folder is complete for every scan.
        assert!(layout.snapshots(&repo).is_dir() && layout.blobs(&repo).is_dir());
    }

    #[test]
    fn malformed_refs_are_read_and_told() {
        let (_dir, layout) = fixture::cache();
        let repo = repo("org/m");
        let path = layout.reference(&repo, &Revision::main());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let read = || read_ref(&layout, &repo, &Revision::main()).unwrap();
        assert_eq!(read(), None);
        let good = commit('a').to_string();
        let mut told = Vec::new();
        for (text, expected) in [
            (format!("{good}\n"), Some(commit('a'))),
            (format!(" {}", good.to_uppercase()), Some(commit('a'))),
            (String::new(), None),
            (good[..12].to_owned(), None),
        ] {
            fs::write(&path, text).unwrap();
            let value = read().unwrap();
            assert_eq!((value.commit, value.is_malformed), (expected, true));
            told.push(describe(&path).1);
        }
        assert_eq!(
            told,
            [
                "a line end follows the commit hash",
                "blanks stand around the commit hash",
                "it is empty",
                "it holds `aaaaaaaaaaaa`"
            ]
        );
        fs::write(&path, [0xff; 40]).unwrap();
        assert_eq!(read().unwrap().commit, None);
        assert_eq!(describe(&path), (40, "it holds no text".to_owned()));
    }

    #[test]
    fn a_ref_that_needs_anothers_place_is_a_conflict() {
        let (_dir, layout) = fixture::cache();
        let repo = repo("org/m");
        let write = |name: &str| write_ref(&layout, &repo, &revision(name), &commit('a'));
        write("feature/x").unwrap();
        assert!(matches!(write("feature"), Err(Error::RefConflict { .. })));
        write("main").unwrap();
        let Err(Error::RefConflict { existing, .. }) = write("main/sub/x") else {
            panic!("`main` is a file");
        };
        assert_eq!(existing, layout.reference(&repo, &Revision::main()));
        assert_eq!(refs_of(&layout, &repo).unwrap().len(), 2);
        assert_eq!(
            read_ref(&layout, &repo, &revision("feature")).unwrap(),
            None
        );
        assert_eq!(
            read_ref(&layout, &repo, &revision("main/sub")).unwrap(),
            None
        );
    }
}
