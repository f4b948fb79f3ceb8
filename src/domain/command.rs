//! Owns the wishes: what a face may ask of the engine.
//!
//! A command is imperative and carries everything it needs; never a handle.

use std::path::PathBuf;

use super::discard::{DiscardRequest, TrashRequest};
use super::event::{FileId, JobId};
use super::finding::Plan;
use super::guide::GuideRequest;
use super::import::ImportRequest;
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
    /// Look, by parts of the files, whether the model would load; with `dry_run`.
    pub validate: bool,
    /// Believe the size of a blob that is already here instead of hashing it.
    pub trust_size: bool,
    /// How long to wait for programs that download the same; `None` as long as they make progress.
    pub wait: Option<WaitLimit>,
    /// The folder that the files go into, in the place of the Hub cache.
    pub local_dir: Option<PathBuf>,
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
            validate: false,
            trust_size: false,
            wait: None,
            local_dir: None,
        }
    }
}

/// A model to verify.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyTarget {
    /// The repo.
    pub repo: RepoId,
    /// A ref, a commit or a snapshot folder's name; `None` means every snapshot.
    pub revision: Option<String>,
}

/// Which files of which job a command is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileSelection {
    /// Every file of every job that the command makes sense for.
    All,
    /// Every file of one job.
    Job(JobId),
    /// These files of one job.
    Files(JobId, Vec<FileId>),
}

impl FileSelection {
    /// Whether a job is meant, or some of its files.
    pub fn names(&self, job: JobId) -> bool {
        match self {
            Self::All => true,
            Self::Job(meant) | Self::Files(meant, _) => *meant == job,
        }
    }
}

/// A question whether a model can be loaded now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadyRequest {
    /// The repo.
    pub repo: RepoId,
    /// The revision, as refs on this machine name it.
    pub revision: Revision,
    /// Whether every file must have been hashed, and not changed since.
    pub is_verified: bool,
    /// Whether to wait for whoever fetches it.
    pub wait: Option<WaitLimit>,
}

/// How long to wait for other programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitLimit {
    /// Milliseconds in all; `None` as long as there is progress.
    pub limit_ms: Option<u64>,
}

/// A wish sent to the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Say what is remembered of past transfers, of one repo or of all.
    History {
        /// Only of this repo.
        repo: Option<RepoId>,
        /// At most so many, the newest.
        most: u32,
    },
    /// Fetch a model. Pulls of different models run side by side and share one budget of
    /// connections; a model that is being fetched already is not fetched twice.
    Pull(PullRequest),
    /// Say whether a model can be loaded now.
    Ready(ReadyRequest),
    /// Scan the cache and report its models, or the files of one.
    List(Option<RepoId>),
    /// Look once at everything: models, findings, unfinished blobs, disk, network, and the locks
    /// of one repo, or those that are held.
    Survey(Option<RepoId>),
    /// The same on this machine alone: the Hub is not asked whether it answers.
    Diagnose(Option<RepoId>),
    /// Ask every lock there is, of one repo or of all, and look who is at work.
    Locks(Option<RepoId>),
    /// Keep looking, and say what has changed. Sent again, it moves the focus: the repo whose
    /// locks are asked one by one.
    Watch(Option<RepoId>),
    /// Ask the Hub what snapshots should hold of which no listing is here, and remember it.
    LearnListings(Vec<VerifyTarget>),
    /// Hash what is here and say whether it is right.
    Verify {
        /// What to look at; everything if there are none.
        targets: Vec<VerifyTarget>,
        /// Whether to read also what was hashed before and has not changed since.
        is_deep: bool,
    },
    /// Carry out the removals of a plan that was shown, and nothing else.
    Purge(Plan),
    /// Carry out the changes of a plan that was shown, and nothing else.
    Fix(Plan),
    /// Take files on this machine into the cache.
    Import(ImportRequest),
    /// Say how what is missing of a model can be fetched by hand.
    Guide(GuideRequest),
    /// Say what a purge would take out of the cache.
    PlanPurge(DiscardRequest),
    /// Look into the trash, put something back, or empty it.
    Trash(TrashRequest),
    /// End transfers, their partials stay; or end verifying.
    Cancel(FileSelection),
    /// Stop transfers until resumed; their partials stay.
    Pause(FileSelection),
    /// Go on with paused transfers.
    Resume(FileSelection),
    /// Start failed or cancelled transfers again.
    Retry(FileSelection),
}
