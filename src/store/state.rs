//! Owns what is remembered: the pulls of this run, one listing, the log.
//!
//! Never interprets: folding is `reduce`, answering is `select`. What is known of the cache and the
//! machine is `shelf`'s.

use super::entry::Entry;
use super::log::Log;
use super::rate::Rate;
use super::shelf::Shelf;
use crate::domain::{
    Commit, Failure, FileId, FileRow, Guide, Healing, HistoryRow, JobId, ModelRow, OtherPull,
    Outcome, PullPlan, Recognition, RepoId, Revision, Validation,
};

/// Everything known of this run. Filled by [`super::reduce()`] alone.
#[derive(Clone, Debug, Default)]
pub struct Store {
    /// The pulls in the order they started. Plans that were only looked at are among them until
    /// the next one.
    pub(super) pulls: Vec<Pull>,
    /// The last look at the cache.
    pub(super) listing: Listing,
    /// The cache and the machine, as far as somebody watches them.
    pub(super) shelf: Shelf,
    pub(super) log: Log,
    /// The last guide that was asked for.
    pub(super) guided: Option<Guided>,
    /// When something was last tried again, milliseconds since the Unix epoch.
    pub(super) last_retry_ms: Option<u64>,
    /// Time of the newest event; 0 before the first.
    pub(super) last_ms: u64,
}

/// A guide to fetching a model by hand, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guided {
    /// The repo as typed.
    pub repo: RepoId,
    /// The guide.
    pub guide: Option<Guide>,
    /// Why there is none; `None` also where it was cancelled.
    pub failure: Option<Failure>,
}

/// What a pull is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The repo: as typed, and in the Hub's spelling once that is known.
    pub repo: RepoId,
    /// The revision as typed.
    pub revision: Revision,
    /// The commit, once resolved.
    pub commit: Option<Commit>,
    /// The endpoint asked.
    pub endpoint: String,
    /// The cache folder.
    pub cache_dir: String,
    /// Whether the endpoint is not asked.
    pub is_offline: bool,
}

/// How far a pull is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The Hub or the disk is being asked what there is.
    Listing,
    /// The plan is made, files are on their way.
    Fetching,
    /// It ended; a retry may open it again.
    Ended,
}

/// A pull: what a face asks about it is `select`'s.
#[derive(Clone, Debug)]
pub struct Pull {
    pub(super) job: JobId,
    pub(super) target: Target,
    /// Whether it only plans.
    pub(super) is_preview: bool,
    pub(super) phase: Phase,
    pub(super) started_ms: u64,
    pub(super) ended_ms: Option<u64>,
    /// Whoever downloads the same, and goes first.
    pub(super) waits_for: Option<OtherPull>,
    pub(super) plan: Option<PullPlan>,
    /// Whether what is planned would load, if that was asked.
    pub(super) validation: Option<Validation>,
    /// What the files that were offered are, if it is an import.
    pub(super) recognition: Option<Recognition>,
    pub(super) entries: Vec<Entry>,
    pub(super) healed: Vec<Healing>,
    pub(super) notes: Vec<String>,
    pub(super) outcome: Option<Outcome>,
    pub(super) rate: Rate,
}

impl Pull {
    pub(super) const fn new(job: JobId, target: Target, is_preview: bool, at_ms: u64) -> Self {
        Self {
            job,
            target,
            is_preview,
            phase: Phase::Listing,
            started_ms: at_ms,
            ended_ms: None,
            waits_for: None,
            plan: None,
            validation: None,
            recognition: None,
            entries: Vec::new(),
            healed: Vec::new(),
            notes: Vec::new(),
            outcome: None,
            rate: Rate::new(),
        }
    }

    /// A planned file's memory. Ids are places in the plan, and the plan says so itself.
    pub(super) fn entry(&self, file: FileId) -> Option<&Entry> {
        let at = usize::try_from(file.0).ok()?;
        self.entries
            .get(at)
            .filter(|entry| entry.planned.file == file)
    }

    pub(super) fn entry_mut(&mut self, file: FileId) -> Option<&mut Entry> {
        let at = usize::try_from(file.0).ok()?;
        self.entries
            .get_mut(at)
            .filter(|entry| entry.planned.file == file)
    }
}

/// What a look at the cache found.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// Models, one per snapshot, in the order of the scan.
    pub models: Vec<ModelRow>,
    /// Files of single models, where those were asked for.
    pub files: Vec<(ModelRow, Vec<FileRow>)>,
    /// Past transfers, newest first.
    pub history: Vec<HistoryRow>,
    /// How it ended; `None` while it goes on.
    pub outcome: Option<Outcome>,
    /// Whose answer it is.
    pub(super) job: Option<JobId>,
}
