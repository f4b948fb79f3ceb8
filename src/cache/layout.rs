//! Owns every path of a Hub cache (`reference/hub.md` section 2), and of a folder in Python's
//! `local_dir` layout that one repo is fetched into (3.1), as pure functions.
//!
//! Never touches the disk. Names from outside reach a path only as checked nouns of `domain`.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::local::staged_stem;
use super::promote::folder_of;
use crate::domain::{Commit, Etag, RepoId, RepoPath, Revision};

/// Where Python keeps its notes, below a local dir.
const HIDDEN: &str = ".cache/huggingface";

/// The paths below one cache root, or in one local dir: there a content has the place of a file of
/// the repo, and an unfinished one lies where Python's do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
    local: Option<Arc<Local>>,
    /// Whether it was asked for that a person's files there give way.
    is_forced: bool,
}

/// What is put into a local dir.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Local {
    repo: RepoId,
    commit: Commit,
    /// The file that each content is written as.
    files: HashMap<Etag, RepoPath>,
}

impl Layout {
    /// The layout below `root`, which should come from [`resolve_root`](super::resolve_root) so
    /// that every program locks the same files.
    pub const fn new(root: PathBuf) -> Self {
        Self {
            root,
            local: None,
            is_forced: false,
        }
    }

    /// The layout of a local dir for contents of a commit that each are one of its files. `root`
    /// should come from [`resolve_root`](super::resolve_root).
    pub fn local(
        root: PathBuf,
        (repo, commit): (RepoId, Commit),
        files: HashMap<Etag, RepoPath>,
    ) -> Self {
        Self {
            root,
            local: Some(Arc::new(Local {
                repo,
                commit,
                files,
            })),
            is_forced: false,
        }
    }

    /// The same; in a local dir a person's files give way if that was asked for.
    #[must_use]
    pub fn replacing(self, is_forced: bool) -> Self {
        Self { is_forced, ..self }
    }

    /// Whether a person's files in a local dir give way.
    pub const fn is_forced(&self) -> bool {
        self.is_forced
    }

    /// Whether it is that of a local dir.
    pub const fn is_local(&self) -> bool {
        self.local.is_some()
    }

    /// Of what is put into a local dir: the repo and the commit.
    pub(super) fn of(&self) -> Option<(&RepoId, &Commit)> {
        let local = self.local.as_ref()?;
        Some((&local.repo, &local.commit))
    }

    /// The same local dir, for one content as another file.
    #[must_use]
    pub fn for_file(&self, etag: Etag, path: RepoPath) -> Self {
        let files = HashMap::from([(etag, path)]);
        let local = self.local.as_ref().map(|local| {
            Arc::new(Local {
                repo: local.repo.clone(),
                commit: local.commit,
                files,
            })
        });
        Self {
            local,
            ..self.clone()
        }
    }

    /// The files of a local dir.
    pub(super) fn files(&self) -> impl Iterator<Item = (&Etag, &RepoPath)> {
        self.local.iter().flat_map(|local| local.files.iter())
    }

    /// In a local dir, the file that a content is written as.
    pub(super) fn file_of(&self, etag: &Etag) -> Option<&RepoPath> {
        self.local.as_ref()?.files.get(etag)
    }

    /// The cache folder, or the local dir.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The repo's folder; of a local dir, the hidden one.
    pub fn repo(&self, repo: &RepoId) -> PathBuf {
        if self.is_local() {
            return self.hidden();
        }
        self.root.join(repo.folder())
    }

    /// The repo's folder of contents: a local dir itself.
    pub fn blobs(&self, repo: &RepoId) -> PathBuf {
        if self.is_local() {
            return self.root.clone();
        }
        self.repo(repo).join("blobs")
    }

    /// A content by its name; in a local dir, the file that it is.
    pub fn blob(&self, repo: &RepoId, etag: &Etag) -> PathBuf {
        match self.file_of(etag) {
            Some(path) => self.root.join(path.as_str()),
            None if self.is_local() => self.own_hidden().join(etag.to_string()),
            None => self.blobs(repo).join(etag.to_string()),
        }
    }

    /// An unfinished blob under a name of our own, which `hf cache prune` knows as well.
    pub fn partial(&self, repo: &RepoId, etag: &Etag, suffix: u32) -> PathBuf {
        let stem = self.stem(etag);
        self.staging(repo, etag)
            .join(format!("{stem}.{suffix:08x}.incomplete"))
    }

    /// What the names of unfinished blobs of a content begin with.
    pub(super) fn stem(&self, etag: &Etag) -> String {
        match self.file_of(etag) {
            Some(path) => staged_stem(path, etag),
            None => etag.to_string(),
        }
    }

    /// The folder in which a content is unfinished.
    pub(super) fn staging(&self, repo: &RepoId, etag: &Etag) -> PathBuf {
        match self.file_of(etag) {
            Some(path) => folder_of(&self.note(path)).to_owned(),
            None if self.is_local() => self.own_hidden(),
            None => self.blobs(repo),
        }
    }

    /// Every folder in which a content of the repo is unfinished.
    pub(super) fn stagings(&self, repo: &RepoId) -> BTreeSet<PathBuf> {
        if !self.is_local() {
            return BTreeSet::from([self.blobs(repo)]);
        }
        self.files()
            .map(|(etag, _)| self.staging(repo, etag))
            .collect()
    }

    /// In a local dir, Python's hidden folder.
    pub(super) fn hidden(&self) -> PathBuf {
        self.root.join(HIDDEN)
    }

    /// In it, the folder of notes, locks and unfinished files.
    pub(super) fn notes(&self) -> PathBuf {
        self.hidden().join("download")
    }

    /// In it, larder's own folder.
    pub(super) fn own_hidden(&self) -> PathBuf {
        self.hidden().join("larder")
    }

    /// In it, by commit, which repo that is of: Python's notes say only the commit.
    pub(super) fn repo_notes(&self) -> PathBuf {
        self.own_hidden().join("repos")
    }

    /// In a local dir, Python's note on a file.
    pub(super) fn note(&self, path: &RepoPath) -> PathBuf {
        self.notes().join(format!("{path}.metadata"))
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
        if let Some(name) = self.file_of(etag).map(RepoPath::file_name) {
            return self.aside_folder().join(format!("{name}.{suffix:08x}"));
        }
        self.blobs(repo)
            .join(format!("{etag}.{suffix:08x}.corrupt"))
    }

    /// In a local dir, where files are kept that stood in the place of right ones.
    pub fn aside_folder(&self) -> PathBuf {
        self.own_hidden().join("aside")
    }

    /// The repo's folder of snapshots.
    pub fn snapshots(&self, repo: &RepoId) -> PathBuf {
        self.repo(repo).join("snapshots")
    }

    /// The folder of pointers of one commit: a local dir itself.
    pub fn snapshot(&self, repo: &RepoId, commit: &Commit) -> PathBuf {
        if self.is_local() {
            return self.root.clone();
        }
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
        if self.is_local() {
            return self.own_hidden();
        }
        self.repo(repo).join(".larder")
    }

    /// Where regular files that stood in the place of pointers are kept.
    pub fn aside(&self, repo: &RepoId, commit: &Commit) -> PathBuf {
        self.larder_dir(repo).join("aside").join(commit.to_string())
    }

    /// Where a folder that stood in the place of a blob is kept.
    pub fn aside_blob(&self, repo: &RepoId, etag: &Etag, suffix: u32) -> PathBuf {
        let aside = self.larder_dir(repo).join("aside").join("blobs");
        aside.join(format!("{etag}.{suffix:08x}"))
    }

    /// The folder of locks, which every scan leaves out.
    pub fn locks(&self) -> PathBuf {
        self.root.join(".locks")
    }

    /// The lock of Python and hf-hub 1.x on a blob, or of Python on a file of a local dir.
    pub fn hub_lock(&self, repo: &RepoId, etag: &Etag) -> PathBuf {
        if let Some(path) = self.file_of(etag) {
            return self.notes().join(format!("{path}.lock"));
        }
        self.locks()
            .join(repo.folder())
            .join(format!("{etag}.lock"))
    }

    /// The lock of swift-huggingface on a blob. It knows no local dirs: there the lock is ours, for
    /// two that fetch one content as two files.
    pub fn swift_lock(&self, repo: &RepoId, etag: &Etag) -> PathBuf {
        if self.is_local() {
            return self.own_hidden().join(format!("{etag}.lock"));
        }
        self.locks()
            .join(repo.folder())
            .join("blobs")
            .join(format!("{etag}.lock"))
    }

    /// The lock of hf-hub 0.x on a blob: looked at, never created. In a local dir there is none.
    pub fn legacy_lock(&self, repo: &RepoId, etag: &Etag) -> PathBuf {
        if self.is_local() {
            return self.own_hidden().join(format!("{etag}.legacy.lock"));
        }
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
    fn paths_in_a_local_dir_are_pythons() {
        let (repo, etag, commit) = (repo("org/m"), etag(b"x"), commit('a'));
        let files = HashMap::from([(etag, path("sub/tokenizer.json"))]);
        let layout = Layout::local(PathBuf::from("/d"), (repo.clone(), commit), files);
        let says = |path: PathBuf, expected: &str| assert_eq!(path, Path::new(expected));
        says(layout.blob(&repo, &etag), "/d/sub/tokenizer.json");
        says(layout.snapshot(&repo, &commit), "/d");
        let hidden = "/d/.cache/huggingface";
        says(
            layout.partial(&repo, &etag, 0xbeef),
            &format!(
                "{hidden}/download/sub/HgM_lKo9sdSCfRtVg7MMFS7EKqo=.{etag}.0000beef.incomplete"
            ),
        );
        says(
            layout.hub_lock(&repo, &etag),
            &format!("{hidden}/download/sub/tokenizer.json.lock"),
        );
        says(
            layout.note(&path("sub/tokenizer.json")),
            &format!("{hidden}/download/sub/tokenizer.json.metadata"),
        );
        says(
            layout.tree(&repo, &commit),
            &format!("{hidden}/trees/{commit}.json"),
        );
        says(
            layout.set_aside(&repo, &etag, 7),
            &format!("{hidden}/larder/aside/tokenizer.json.00000007"),
        );
        let other = layout.for_file(etag, path("a.json"));
        says(other.blob(&repo, &etag), "/d/a.json");
        // A content that is none of its files never gets a visible name.
        let stranger = crate::cache::fixture::etag(b"y");
        assert!(layout.blob(&repo, &stranger).starts_with(hidden));
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
