//! Owns looking at snapshots: what an entry is, what a snapshot holds, which names exclude others.
//!
//! Never changes anything, and never walks through a linked folder (hub.md cases 18, 22, 28).

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use unicode_normalization::UnicodeNormalization as _;

use super::refs::folder_by_name;
use super::{Error, Layout, Result};
use crate::domain::{Commit, Etag, RepoId, RepoPath, Revision};
use crate::host;

/// What stands at the place of a pointer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pointer {
    /// A relative link to the right blob, which is there.
    Right,
    /// Nothing.
    Missing,
    /// A link to the right blob, which is not there.
    Dangling,
    /// A link that is absolute or leads out of the repo's blobs.
    Foreign,
    /// A link to another blob of the repo.
    Wrong {
        /// The blob it names.
        names: String,
    },
    /// A regular file.
    Regular,
    /// A folder.
    BlockedByFolder,
    /// A folder on the way is a link; it is not followed.
    ParentIsLink {
        /// The link.
        link: PathBuf,
    },
    /// A folder on the way is a file.
    ParentIsFile {
        /// The file.
        file: PathBuf,
    },
}

/// Looks at the place of one pointer.
pub fn inspect_pointer(
    layout: &Layout,
    repo: &RepoId,
    commit: &Commit,
    path: &RepoPath,
    etag: &Etag,
) -> Result<Pointer> {
    if let Some(obstacle) = obstacle(&layout.snapshot(repo, commit), path)? {
        return Ok(obstacle);
    }
    let pointer = layout.pointer(repo, commit, path);
    let Some(metadata) = look(&pointer)? else {
        return Ok(Pointer::Missing);
    };
    if metadata.is_dir() {
        return Ok(Pointer::BlockedByFolder);
    }
    if !metadata.is_symlink() {
        return Ok(Pointer::Regular);
    }
    let text = fs::read_link(&pointer).map_err(Error::at("read the link", &pointer))?;
    Ok(match named_blob(path, &text) {
        None => Pointer::Foreign,
        Some(names) if names != etag.to_string() => Pointer::Wrong { names },
        Some(_) if layout.blob(repo, etag).is_file() => Pointer::Right,
        Some(_) => Pointer::Dangling,
    })
}

/// The blob that a pointer's text names; `None` if it leads anywhere but into the repo's `blobs/`.
pub(super) fn named_blob(path: &RepoPath, text: &Path) -> Option<String> {
    // Where the link lies, from the repo's folder: snapshots/<commit>/<folders of the path>.
    let mut place: Vec<String> = vec![String::new(); 2 + path.depth()];
    for part in text.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(place.pop()?),
            Component::Normal(name) => place.push(name.to_str()?.to_owned()),
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    match &place[..] {
        [blobs, name] if blobs == "blobs" => Some(name.clone()),
        _ => None,
    }
}

/// The first thing on the way from the snapshot to the pointer that is not a folder.
fn obstacle(snapshot: &Path, path: &RepoPath) -> Result<Option<Pointer>> {
    let mut folder = snapshot.to_owned();
    // The last segment is the pointer itself.
    let mut parents = path.segments().take(path.depth());
    loop {
        match look(&folder)? {
            None => return Ok(Some(Pointer::Missing)),
            Some(metadata) if metadata.is_symlink() => {
                return Ok(Some(Pointer::ParentIsLink { link: folder }));
            }
            Some(metadata) if !metadata.is_dir() => {
                return Ok(Some(Pointer::ParentIsFile { file: folder }));
            }
            Some(_) => {}
        }
        match parents.next() {
            Some(name) => folder.push(name),
            None => return Ok(None),
        }
    }
}

fn look(path: &Path) -> Result<Option<fs::Metadata>> {
    match path.symlink_metadata() {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::from_io("look at", path, error)),
    }
}

/// Every path a snapshot holds, links and regular files, in order. Linked folders count as one
/// entry; names that no repo can have are left out.
pub fn snapshot_paths(layout: &Layout, repo: &RepoId, commit: &Commit) -> Result<Vec<RepoPath>> {
    paths_below(&layout.snapshot(repo, commit))
}

/// Every path of the folder below `snapshots/` that readers find in the place of a commit's, while the
/// ref of the revision names none: that of the revision's name if there is no ref, else of its text.
pub fn named_snapshot_paths(
    layout: &Layout,
    repo: &RepoId,
    revision: &Revision,
) -> Result<Vec<RepoPath>> {
    match folder_by_name(layout, repo, revision)? {
        Some(folder) => paths_below(&folder),
        None => Ok(Vec::new()),
    }
}

/// [`snapshot_paths`] of any folder; none if it is not there.
pub(super) fn paths_below(root: &Path) -> Result<Vec<RepoPath>> {
    let mut found = Vec::new();
    let mut open = vec![String::new()];
    while let Some(folder) = open.pop() {
        // Joined with nothing it would end in a slash, and be told so.
        let dir = match folder.as_str() {
            "" => root.to_owned(),
            folder => root.join(folder),
        };
        let entries = match host::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::from_io("read", &dir, error)),
        };
        for entry in entries {
            let entry = entry.map_err(Error::at("read", &dir))?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let path = if folder.is_empty() {
                name
            } else {
                format!("{folder}/{name}")
            };
            let kind = entry.file_type().map_err(Error::at("look at", &dir))?;
            if kind.is_dir() {
                open.push(path);
            } else if let Ok(path) = RepoPath::new(&path) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Two paths of which only one can exist: one is a folder of the other or, where the file system
/// folds case and Unicode forms, both are one name there.
pub fn find_collision<'a>(
    paths: impl IntoIterator<Item = &'a RepoPath>,
    folds_case: bool,
) -> Option<(RepoPath, RepoPath)> {
    let key = |text: &str| -> String {
        if folds_case {
            text.nfc().flat_map(char::to_lowercase).nfc().collect()
        } else {
            text.to_owned()
        }
    };
    let mut files: BTreeMap<String, &RepoPath> = BTreeMap::new();
    let mut folders: BTreeMap<String, &RepoPath> = BTreeMap::new();
    for path in paths {
        let name = key(path.as_str());
        let other = match files.get(&name) {
            Some(other) if *other != path => Some(*other),
            _ => folders.get(&name).copied(),
        };
        if let Some(other) = other {
            return Some((path.clone(), other.clone()));
        }
        for (at, _) in name.match_indices('/') {
            if let Some(other) = files.get(&name[..at]) {
                return Some((path.clone(), (*other).clone()));
            }
            folders.entry(name[..at].to_owned()).or_insert(path);
        }
        files.insert(name, path);
    }
    None
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::cache::fixture::{self, commit, etag, path, repo};

    #[test]
    fn every_kind_of_entry_is_told_apart() {
        let (_dir, layout) = fixture::cache();
        let (repo, commit, etag, other) =
            (repo("org/m"), commit('a'), etag(b"x"), etag(b"another"));
        let snapshot = layout.snapshot(&repo, &commit);
        let look = |file: &str| inspect_pointer(&layout, &repo, &commit, &path(file), &etag);
        assert_eq!(look("config.json").unwrap(), Pointer::Missing);
        fs::create_dir_all(snapshot.join("sub")).unwrap();
        fs::create_dir_all(layout.blobs(&repo)).unwrap();
        fs::write(layout.blob(&repo, &etag), "x").unwrap();
        let outside = layout.root().join("outside");
        fs::create_dir(&outside).unwrap();
        let links = [
            ("right", format!("../../blobs/{etag}")),
            ("sub/right", format!("../../../blobs/{etag}")),
            ("roundabout", format!("./../../refs/../blobs/{etag}")),
            ("wrong", format!("../../blobs/{other}")),
            (
                "absolute",
                layout.blob(&repo, &etag).to_str().unwrap().to_owned(),
            ),
            ("out", format!("../../../models--org--x/blobs/{etag}")),
            (
                "far-out",
                "../../../../../../../../../etc/passwd".to_owned(),
            ),
            ("sub/shallow", format!("../../blobs/{etag}")),
            ("linked", outside.to_str().unwrap().to_owned()),
        ];
        for (name, text) in links {
            symlink(text, snapshot.join(name)).unwrap();
        }
        fs::write(snapshot.join("regular"), "x").unwrap();
        let wrong = Pointer::Wrong {
            names: other.to_string(),
        };
        for (file, expected) in [
            ("right", Pointer::Right),
            ("sub/right", Pointer::Right),
            ("roundabout", Pointer::Right),
            ("wrong", wrong),
            ("absolute", Pointer::Foreign),
            ("out", Pointer::Foreign),
            ("far-out", Pointer::Foreign),
            ("sub/shallow", Pointer::Foreign),
            ("regular", Pointer::Regular),
            ("sub", Pointer::BlockedByFolder),
            ("sub/none/x", Pointer::Missing),
            (
                "linked/x",
                Pointer::ParentIsLink {
                    link: snapshot.join("linked"),
                },
            ),
            (
                "regular/x",
                Pointer::ParentIsFile {
                    file: snapshot.join("regular"),
                },
            ),
        ] {
            assert_eq!(look(file).unwrap(), expected, "{file}");
        }
        fs::remove_file(layout.blob(&repo, &etag)).unwrap();
        assert_eq!(look("right").unwrap(), Pointer::Dangling);

        let held = snapshot_paths(&layout, &repo, &commit).unwrap();
        assert_eq!(held.len(), 10);
        assert!(held.contains(&path("sub/right")) && held.contains(&path("linked")));
        let none = snapshot_paths(&layout, &repo, &fixture::commit('b')).unwrap();
        assert!(none.is_empty());
    }

    #[test]
    fn paths_that_exclude_each_other_are_found() {
        let find = |names: &[&str], folds| {
            let paths: Vec<RepoPath> = names.iter().map(|name| path(name)).collect();
            find_collision(&paths, folds).is_some()
        };
        assert!(find(&["a/b", "a"], false));
        assert!(find(&["a", "a/b/c"], false));
        assert!(!find(&["a/b", "a/c", "ab"], true));
        assert!(!find(&["Config.json", "config.json"], false));
        assert!(find(&["Config.json", "config.json"], true));
        assert!(find(&["caf\u{e9}", "cafe\u{301}"], true));
        assert!(!find(&["caf\u{e9}", "cafe\u{301}"], false));
        assert!(find(&["e\u{301}.txt", "\u{e9}.txt"], true));
        assert!(find(&["A", "a/b"], true));
        assert!(find(&["A/x", "a"], true));
        assert!(!find(&["a", "a"], true), "the same file twice is one file");
    }
}
