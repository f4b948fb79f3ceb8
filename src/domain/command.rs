//! Owns the wishes: what a face may ask of the engine.
//!
//! A command is imperative and carries everything it needs; never a handle.

use super::event::FileId;
use super::repo::{RepoId, Revision};

/// What to fetch and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullRequest {
    /// The repo as typed; the Hub may answer with another letter case.
    pub repo: RepoId,
    /// The revision as typed.
    pub revision: Revision,
    /// Files named one by one; empty means "by pattern".
    pub files: Vec<String>,
    /// Patterns of which a file must match one, in the place of the default selection.
    pub include: Vec<String>,
    /// Patterns of which a file must match none.
    pub exclude: Vec<String>,
    /// Every file of the repo.
    pub all: bool,
    /// Fetch again what is already here; the old bytes stay until the new ones are proven.
    pub force: bool,
    /// Plan only: nothing is written.
    pub dry_run: bool,
    /// Believe the size of a blob that is already here instead of hashing it.
    pub trust_size: bool,
}

impl PullRequest {
    /// The default selection of `repo` at `revision`.
    pub const fn new(repo: RepoId, revision: Revision) -> Self {
        Self {
            repo,
            revision,
            files: Vec::new(),
            include: Vec::new(),
            exclude: Vec::new(),
            all: false,
            force: false,
            dry_run: false,
            trust_size: false,
        }
    }
}

/// Which files of a job a command is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileSelection {
    /// Every file the command makes sense for.
    All,
    /// These files.
    Files(Vec<FileId>),
}

impl FileSelection {
    /// Whether `file` is meant.
    pub fn contains(&self, file: FileId) -> bool {
        match self {
            Self::All => true,
            Self::Files(files) => files.contains(&file),
        }
    }
}

/// A wish sent to the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Fetch a model. One engine runs one pull at a time.
    Pull(PullRequest),
    /// Scan the cache and report its models, or the files of one.
    List(Option<RepoId>),
    /// End transfers; their partials stay.
    Cancel(FileSelection),
    /// Stop transfers until resumed; their partials stay.
    Pause(FileSelection),
    /// Go on with paused transfers.
    Resume(FileSelection),
    /// Start failed or cancelled transfers again.
    Retry(FileSelection),
}
