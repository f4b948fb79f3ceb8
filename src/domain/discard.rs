//! Owns what a purge takes out of a cache, what lies in the trash, and what came of putting it back.
//!
//! **Law**: a discard names every path that goes, as it was when it was shown.

use serde::Serialize;

use super::finding::Plan;
use super::repo::RepoId;
use super::survey::Kept;

/// Which part of a repo goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiscardKind {
    /// All of it.
    Repo,
    /// Some of its snapshots, with the refs that name them and the blobs that only they lead to.
    Revisions,
    /// Blobs whose bytes are not those of their names, with the pointers that lead to them.
    Corrupt,
    /// Blobs that no snapshot leads to.
    Orphans,
}

impl DiscardKind {
    /// The name as it stands in JSON and on screens.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Repo => "repo",
            Self::Revisions => "revisions",
            Self::Corrupt => "corrupt",
            Self::Orphans => "orphans",
        }
    }
}

/// Why something is selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiscardReason {
    /// Somebody named it.
    Named,
    /// No ref names it.
    Unreferenced,
    /// It was not used for long.
    Unused,
    /// Its bytes are wrong.
    Corrupt,
    /// No snapshot and no listing leads to it.
    Orphaned,
}

impl DiscardReason {
    /// Why, in a few words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Named => "it was named",
            Self::Unreferenced => "no ref names it",
            Self::Unused => "it was not used for long",
            Self::Corrupt => "its bytes are not those of its name",
            Self::Orphaned => "no snapshot and no listing leads to it",
        }
    }
}

/// A file, link or folder that goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DiscardPath {
    /// Where it is, absolute.
    pub path: String,
    /// Its length when it was seen, in bytes; 0 for links and folders.
    pub bytes: u64,
    /// Its last change when it was seen, milliseconds since the Unix epoch.
    pub modified_ms: u64,
}

/// A model, or a part of one, that a purge takes out of the cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Discard {
    /// Whose.
    pub repo: RepoId,
    /// Which part.
    pub kind: DiscardKind,
    /// The snapshots that go: folder names, sanitised; where blobs go, their names.
    pub what: Vec<String>,
    /// Why.
    pub reason: DiscardReason,
    /// Every path that goes.
    pub paths: Vec<DiscardPath>,
    /// Its lock files, absolute: empty ones that nobody needs when it has gone. One that is held then
    /// stays, and an undo does not bring them back.
    pub locks: Vec<String>,
    /// Bytes of the files among the paths.
    pub bytes: u64,
    /// When it was last used as far as the file system tells, milliseconds since the Unix epoch.
    pub accessed_ms: Option<u64>,
    /// The folder it is moved into; `None` if it is freed at once.
    pub trash: Option<String>,
}

impl Discard {
    /// Bytes that are free afterwards: none of what lies in the trash.
    pub const fn freed_bytes(&self) -> u64 {
        if self.trash.is_some() { 0 } else { self.bytes }
    }
}

/// What a purge shall look for, beside unfinished blobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiscardRequest {
    /// Repos, and of each a ref, a commit or its beginning, or a snapshot folder's name, which
    /// `snapshots/NAME` means in any case: a branch may have a folder and a ref. With other
    /// conditions these say where to look, without any they say what goes.
    pub targets: Vec<(RepoId, Option<String>)>,
    /// Snapshots that no ref names, and blobs that no snapshot leads to.
    pub is_unreferenced: bool,
    /// Only what was last used longer ago than so many milliseconds.
    pub unused_ms: Option<u64>,
    /// Blobs whose bytes are wrong, and their pointers.
    pub is_corrupt: bool,
    /// What the settings allow to take away unattended, and nothing else.
    pub is_policy: bool,
    /// Free at once, not into the trash.
    pub is_now: bool,
}

/// What a purge would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PurgePlan {
    /// What was asked for.
    #[serde(skip)]
    pub request: DiscardRequest,
    /// What is taken away.
    pub plan: Plan,
    /// What was asked for and stays, and why.
    pub kept: Vec<Kept>,
    /// What of the trash is freed.
    pub trash: Vec<TrashRow>,
}

impl DiscardRequest {
    /// Whether it asks for anything.
    pub const fn is_empty(&self) -> bool {
        self.targets.is_empty()
            && !self.is_unreferenced
            && !self.is_corrupt
            && !self.is_policy
            && self.unused_ms.is_none()
    }
}

/// What the trash holds of one purge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TrashRow {
    /// By which it is called; the newest sorts last.
    pub id: String,
    /// Whose.
    pub repo: RepoId,
    /// Which part.
    pub kind: DiscardKind,
    /// The snapshots or blobs, as the purge named them; sanitised.
    pub what: Vec<String>,
    /// Why it was taken away.
    pub reason: String,
    /// When, milliseconds since the Unix epoch.
    pub purged_ms: u64,
    /// Bytes it holds now.
    pub bytes: u64,
    /// Where it lies, absolute; sanitised.
    pub path: String,
    /// The cache it came from, absolute; sanitised.
    pub cache: String,
    /// What a larder that died was doing with it; `None` while it rests.
    pub cut_off: Option<String>,
}

/// A wish about the trash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrashRequest {
    /// What it holds, also of other caches that lie in the same folder.
    List,
    /// What it holds of this cache.
    ListOwn,
    /// Put one back; the last one if none is named.
    Restore {
        /// Its id, the beginning of one, or its path.
        id: Option<String>,
    },
    /// Free what was shown.
    Empty {
        /// Which, as they were shown: ids alone may be those of two in different folders. What is
        /// not there any more is left out.
        rows: Vec<TrashRow>,
    },
}

/// What came of a wish about the trash.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TrashResult {
    /// Which were put back or freed.
    pub ids: Vec<String>,
    /// What was put back, absolute paths.
    pub restored: Vec<String>,
    /// Bytes of that.
    pub restored_bytes: u64,
    /// Bytes freed.
    pub freed_bytes: u64,
    /// What stays in the trash, and why.
    pub kept: Vec<Kept>,
    /// Of that the contents whose bytes are not those of their names.
    pub wrong: Vec<String>,
}
