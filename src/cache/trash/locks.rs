//! Owns the lock files of what goes: which there are, and that they go when it has gone.
//!
//! **Law**: a lock file goes only under its own `flock`, while its name leads to what is held, and
//! only an empty one that no other process has open. Whatever else lies there stays, and nothing fails for it: nobody needs them gone.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use super::super::lock::remove_free;
use super::super::sight::is_own_folder;
use super::Layout;
use super::goes::entries;
use crate::domain::{DiscardKind, Etag, RepoId};
use crate::host;

/// The lock files there are of what goes: of a whole repo all of them, of revisions those of the blobs
/// that go with them. Wrong blobs are pulled again, and keep theirs.
pub(super) fn locks_of(
    layout: &Layout,
    repo: &RepoId,
    kind: DiscardKind,
    etags: &[Etag],
) -> Vec<PathBuf> {
    let folders = folders(layout, repo);
    let mut found = match kind {
        DiscardKind::Repo => {
            let inside = folders
                .iter()
                .flat_map(|it| entries(it).unwrap_or_default());
            inside
                .filter(|path| path.extension() == Some(OsStr::new("lock")))
                .collect()
        }
        DiscardKind::Revisions | DiscardKind::Orphans => {
            let both = |etag| [layout.hub_lock(repo, etag), layout.swift_lock(repo, etag)];
            let mut paths: Vec<PathBuf> = etags.iter().flat_map(both).collect();
            paths.retain(|path| folders.iter().any(|it| path.parent() == Some(it)));
            paths
        }
        DiscardKind::Corrupt => Vec::new(),
    };
    found.retain(|path| is_empty_file(path));
    found.sort();
    found.dedup();
    found
}

/// Takes away those that nobody holds, and the folders that are empty then; which lock files are gone.
/// Those that came after the plan was shown are this larder's own: it takes the locks of what it moves.
pub(super) fn remove_locks(
    layout: &Layout,
    repo: &RepoId,
    kind: DiscardKind,
    etags: &[Etag],
) -> Vec<PathBuf> {
    let mut gone = locks_of(layout, repo, kind, etags);
    // Whoever waits for one has it open.
    match host::openers(&gone) {
        Some(open) => gone.retain(|path| !open.iter().any(|file| file.path == *path)),
        None => gone.clear(),
    }
    gone.retain(|path| remove_free(path));
    for folder in folders(layout, repo).iter().rev() {
        if let Err(error) = fs::remove_dir(folder) {
            tracing::trace!(%error, folder = %folder.display(), "a folder of locks stays");
        }
    }
    gone
}

/// The folders in which locks of a repo lie, the outer first: none that is a link, which may lead
/// anywhere.
fn folders(layout: &Layout, repo: &RepoId) -> Vec<PathBuf> {
    let outer = layout.locks().join(repo.folder());
    let inner = outer.join("blobs");
    let all = [layout.locks(), outer, inner];
    let real = all.into_iter().take_while(|folder| is_own_folder(folder));
    real.skip(1).collect()
}

/// One with something in it may be a marker whose existence counts (hub.md 2.4).
fn is_empty_file(path: &Path) -> bool {
    path.symlink_metadata()
        .is_ok_and(|found| found.is_file() && found.len() == 0)
}
