//! Owns every path of a Hub cache (`reference/hub.md` section 2), as pure functions.
//!
//! Never touches the disk. Names from outside reach a path only as checked nouns of `domain`.

use std::path::{Path, PathBuf};

use crate::domain::{Commit, Etag, RepoId, RepoPath, Revision};

/// The paths below one cache root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The layout below `root`, which should come from [`resolve_root`](super::resolve_root) so
    /// that every program locks the same files.
    pub const fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The cache folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The repo's folder.
    pub fn repo(&self, repo: &RepoId) -> PathBuf {
        self.root.join(repo.folder())
    }

    /// The repo's folder of contents.
    pub fn blobs(&self, repo: &RepoId) -> PathBuf {
        self.repo(repo).join("blobs")
    }

    /// A content by its name.
    pub fn blob(&self, repo: &RepoId, etag: &Etag) -> PathBuf {
        self.blobs(repo).join(etag.to_string())
    }

    /// An unfinished blob under a name of our own, which `hf cache prune` knows as well.
    pub fn partial(&self, repo: &RepoId, etag: &Etag, suffix: u32) -> PathBuf {
        self.blobs(repo)
            .join(format!("{etag}.{suffix:08x}.incomplete"))
    }

    /// The chunk map of the partial at `partial`: beside it, `….<8 hex>.map.incomplete`, which
    /// `hf cache prune` takes away with it.
    pub(super) fn map_of(partial: &Path) -> Option<PathBuf> {
        let name = partial.file_name()?.to_str()?;
        let stem = name.strip_suffix(".incomplete")?;
        Some(partial.with_file_name(format!("{stem}.map.incomplete")))
    }

    /// Where bytes that failed their proof are kept.
    pub fn set_aside(&self, repo: &RepoId, etag: &Etag, suffix: u32) -> PathBuf {
        self.blobs(repo)
            .join(format!("{etag}.{suffix:08x}.corrupt"))
    }

    /// The repo's folder of snapshots.
    pub fn snapshots(&self, repo: &RepoId) -> PathBuf {
        self.repo(repo).join("snapshots")
    }

    /// The folder of pointers of one commit.
    pub fn snapshot(&self, repo: &RepoId, commit: &Commit) -> PathBuf {
        self.snapshots(repo).join(commit.to_string())
    }

    /// The pointer of one file.
    pub fn pointer(&self, repo: &RepoId, commit: &Commit, path: &RepoPath) -> PathBuf {
        self.snapshot(repo, commit).join(path.as_str())
    }

    /// The text of a pointer: relative, one `../` more for each folder above the file.
    pub fn pointer_text(path: &RepoPath, etag: &Etag) -> String {
        format!("../../{}blobs/{etag}", "../".repeat(path.depth()))
    }

    /// The repo's folder of refs.
    pub fn refs(&self, repo: &RepoId) -> PathBuf {
        self.repo(repo).join("refs")
    }

    /// The file that holds the commit of a revision.
    pub fn reference(&self, repo: &RepoId, revision: &Revision) -> PathBuf {
        self.refs(repo).join(revision.as_str())
    }

    /// The listing of a commit that all tools read.
    pub fn tree(&self, repo: &RepoId, commit: &Commit) -> PathBuf {
        self.repo(repo).join("trees").join(format!("{commit}.json"))
    }

    /// The listing of a commit that only larder reads, because not every file was fetched.
    pub fn own_tree(&self, repo: &RepoId, commit: &Commit) -> PathBuf {
        self.larder_dir(repo)
            .join("trees")
            .join(format!("{commit}.json"))
    }

    /// larder's own folder inside a repo: staging, things set aside, listings.
    pub fn larder_dir(&self, repo: &RepoId) -> PathBuf {
        self.repo(repo).join(".larder")
    }

    /// Where regular files that stood in the place of pointers are kept.
    pub fn aside(&self, repo: &RepoId, commit: &Commit) -> PathBuf {
        self.larder_dir(repo).join("aside").join(commit.to_string())
    }

    /// The folder of locks, which every scan leaves out.
    pub fn locks(&self) -> PathBuf {
        self.root.join(".locks")
    }

    /// The lock of Python and hf-hub 1.x on a blob.
    pub fn hub_lock(&self, repo: &RepoId, etag: &Etag) -> PathBuf {
        self.locks()
            .join(repo.folder())
            .join(format!("{etag}.lock"))
    }

    /// The lock of swift-huggingface on a blob.
    pub fn swift_lock(&self, repo: &RepoId, etag: &Etag) -> PathBuf {
        self.locks()
            .join(repo.folder())
            .join("blobs")
            .join(format!("{etag}.lock"))
    }

    /// The lock of hf-hub 0.x on a blob: looked at, never created.
    pub fn legacy_lock(&self, repo: &RepoId, etag: &Etag) -> PathBuf {
        self.blobs(repo).join(format!("{etag}.lock"))
    }

    /// The file by which apps tell each other that they download the whole repo.
    pub fn marker(&self, repo: &RepoId) -> PathBuf {
        self.repo(repo).join(".manual_download_lock")
    }

    /// The cache-wide store of Xet contents; only a store if its marker is there.
    pub fn shared_store(&self) -> PathBuf {
        self.root.join("blobs")
    }

    /// The file that makes [`shared_store`](Self::shared_store) a store.
    pub fn shared_marker(&self) -> PathBuf {
        self.shared_store().join(".huggingface-shared-blobs")
    }

    /// A content in the shared store; `None` if `xet_hash` is not 64 lower-case hex characters.
    pub fn shared_payload(&self, xet_hash: &str) -> Option<PathBuf> {
        is_xet_hash(xet_hash).then(|| self.shared_store().join(&xet_hash[..2]).join(xet_hash))
    }

    /// The marker that says a file does not exist at a commit.
    pub fn no_exist(&self, repo: &RepoId, commit: &Commit, path: &RepoPath) -> PathBuf {
        self.absences(repo, commit).join(path.as_str())
    }

    /// The folder of those markers.
    pub(super) fn absences(&self, repo: &RepoId, commit: &Commit) -> PathBuf {
        self.repo(repo).join(".no_exist").join(commit.to_string())
    }
}

/// Python's rule for a Xet hash (`_shared_blobs.py`, `_tree_cache.py`).
pub(super) fn is_xet_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::fixture::{commit, etag, path, repo};

    #[test]
    fn paths_are_those_of_the_reference() {
        let layout = Layout::new(PathBuf::from("/c"));
        let (repo, etag, commit) = (repo("org/m"), etag(b"x"), commit('a'));
        let says = |path: PathBuf, expected: &str| assert_eq!(path, Path::new(expected));
        says(
            layout.partial(&repo, &etag, 0xbeef),
            &format!("/c/models--org--m/blobs/{etag}.0000beef.incomplete"),
        );
        says(
            layout.hub_lock(&repo, &etag),
            &format!("/c/.locks/models--org--m/{etag}.lock"),
        );
        says(
            layout.swift_lock(&repo, &etag),
            &format!("/c/.locks/models--org--m/blobs/{etag}.lock"),
        );
        says(
            layout.pointer(&repo, &commit, &path("a/b.json")),
            &format!("/c/models--org--m/snapshots/{commit}/a/b.json"),
        );
        says(
            layout.reference(&repo, &Revision::new("refs/pr/1").unwrap()),
            "/c/models--org--m/refs/refs/pr/1",
        );
        let hash = "ab".repeat(32);
        says(
            layout.shared_payload(&hash).unwrap(),
            &format!("/c/blobs/ab/{hash}"),
        );
        assert_eq!(layout.shared_payload("../../etc/passwd"), None);
        assert_eq!(layout.shared_payload(&hash.to_uppercase()), None);
    }

    #[test]
    fn pointers_climb_out_of_their_folders() {
        let etag = etag(b"x");
        for (file, text) in [
            ("x", format!("../../blobs/{etag}")),
            ("sub dir/x", format!("../../../blobs/{etag}")),
            ("a/b/c", format!("../../../../blobs/{etag}")),
        ] {
            assert_eq!(Layout::pointer_text(&path(file), &etag), text);
        }
    }
}
