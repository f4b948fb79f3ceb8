//! What a reader finds in the cache of a [`Table`], and what has to be true of it whatever goes wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::scene::{CHUNK_BYTES, CONTENTS, LEFT, Table};
use super::{files_below, wrong_bytes};

/// What a reader finds in a cache.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sight {
    /// Files behind names, by their length: what they hold is proven by their names.
    readable: BTreeMap<PathBuf, u64>,
    /// What each ref leads to.
    refs: BTreeMap<PathBuf, BTreeSet<PathBuf>>,
    /// What is not what its name says.
    wrong: BTreeSet<PathBuf>,
}

impl Table {
    /// What a reader finds.
    pub(crate) fn look(&self) -> Sight {
        let mut sight = Sight {
            wrong: wrong_bytes(&self.cache()).into_keys().collect(),
            ..Sight::default()
        };
        let repo = self.repo();
        for path in below(&repo.join("snapshots")) {
            if let Ok(found) = fs::metadata(&path) {
                sight.readable.insert(path, found.len());
            }
        }
        for reference in below(&repo.join("refs")) {
            let commit = fs::read_to_string(&reference).unwrap();
            assert_eq!(commit.len(), 40, "{}", reference.display());
            let snapshot = repo.join("snapshots").join(commit);
            let held = below(&snapshot)
                .into_iter()
                .filter(|path| path.is_file())
                .map(|path| path.strip_prefix(&snapshot).unwrap().to_owned())
                .collect();
            sight.refs.insert(reference, held);
        }
        sight
    }

    /// Fails if a reader finds less than before, or anything wrong that was not wrong before.
    #[track_caller]
    pub(crate) fn assert_no_worse_than(&self, before: &Sight, what: &str) {
        let now = self.look();
        let wrong: Vec<_> = now.wrong.difference(&before.wrong).collect();
        assert!(wrong.is_empty(), "{what}: shown and not proven: {wrong:?}");
        for (path, bytes) in &before.readable {
            // What was wrong may become right.
            let is_kept = now.readable.get(path) == Some(bytes)
                || before.wrong.contains(path) && now.readable.contains_key(path);
            assert!(is_kept, "{what}: lost {}", path.display());
        }
        for (reference, held) in &before.refs {
            let holds = now.refs.get(reference);
            assert!(
                holds.is_some_and(|holds| holds.is_superset(held)),
                "{what}: {} led to {held:?} and leads to {holds:?}",
                reference.display()
            );
        }
    }

    /// Fails unless `main` is all there and every byte is proven.
    #[track_caller]
    pub(crate) fn assert_shows_all(&self, what: &str) {
        let sight = self.look();
        assert!(sight.wrong.is_empty(), "{what}: wrong {:?}", sight.wrong);
        let held = sight.refs.get(&self.repo().join("refs/main"));
        let names = held.map(BTreeSet::len);
        assert_eq!(names, Some(8), "{what}: {held:?}");
    }

    /// As [`Self::assert_shows_all`], and nothing is left of the work.
    #[track_caller]
    pub(crate) fn assert_whole(&self, what: &str) {
        self.assert_shows_all(what);
        let left: Vec<PathBuf> = below(&self.cache())
            .into_iter()
            .chain(folders_below(&self.cache()))
            .filter(|path| is_leftover(path))
            .collect();
        assert!(left.is_empty(), "{what}: left {left:?}");
    }

    /// Bytes of contents that the next run has to fetch: of all blobs that are not there, less the
    /// whole chunks that their maps vouch for.
    pub(crate) fn missing_bytes(&self) -> u64 {
        let blobs = self.repo().join("blobs");
        let partials = below(&blobs);
        let missing = CONTENTS
            .iter()
            .filter(|(etag, _)| !blobs.join(etag).exists())
            .map(|(etag, &length)| {
                let maps = partials.iter().filter(|path| {
                    let name = path.file_name().unwrap().to_string_lossy();
                    name.starts_with(etag) && name.ends_with(".map.incomplete")
                });
                let vouched = maps.map(|map| vouched_bytes(map, length)).max();
                length - vouched.unwrap_or(0)
            });
        missing.sum()
    }
}

/// What the lines `chunk N …` of a map are about.
fn vouched_bytes(map: &Path, length: u64) -> u64 {
    let text = fs::read_to_string(map).unwrap_or_default();
    let chunks: BTreeSet<u64> = text
        .lines()
        .filter(|line| line.split(' ').count() == 5)
        .filter_map(|line| line.strip_prefix("chunk ")?.split(' ').next()?.parse().ok())
        .collect();
    let bytes = |chunk: &u64| (length - chunk * CHUNK_BYTES).min(CHUNK_BYTES);
    chunks.iter().map(bytes).sum()
}

/// What only a run that is at work may have: partials, scratch files, folders in the making, the
/// download marker.
fn is_leftover(path: &Path) -> bool {
    let name = path.file_name().unwrap().to_string_lossy();
    let inside = path.to_string_lossy();
    let is_of_larder = inside
        .split_once("/.larder/")
        .is_some_and(|(_, inside)| !inside.starts_with("trees") && !inside.starts_with("aside"));
    is_of_larder
        || name.ends_with(".tmp")
        || name.ends_with(".new")
        || name.ends_with(".incomplete") && !is_known_waste(path)
        || name == ".manual_download_lock"
}

/// A partial of a content that was then taken from another repo, or that could not be opened, so that
/// the content was fetched whole: it stays until somebody asks for a tidy cache (the finding
/// `abandoned-partial`, `purge --incomplete`).
fn is_known_waste(path: &Path) -> bool {
    let name = path.file_name().unwrap().to_string_lossy();
    let etag = name.split('.').next().unwrap();
    let cache = path.ancestors().nth(3).unwrap();
    let is_elsewhere = cache
        .join("models--someone--other/blobs")
        .join(etag)
        .exists();
    (is_elsewhere || name.contains(LEFT)) && path.with_file_name(etag).exists()
}

fn folders_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(folders_below(&entry.path()));
            found.push(entry.path());
        }
    }
    found
}

fn below(folder: &Path) -> Vec<PathBuf> {
    if folder.is_dir() {
        files_below(folder)
    } else {
        Vec::new()
    }
}
