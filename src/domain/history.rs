//! Owns what is remembered of past transfers, and of pulls that did not end.

use std::path::PathBuf;

use serde::Serialize;

use super::command::PullRequest;
use super::repo::{RepoId, Revision};

/// A pull, a verification or a purge that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HistoryRow {
    /// When it ended, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// `pull`, `verify` or `purge`.
    pub kind: String,
    /// The repo; empty where it was about several.
    pub repo: String,
    /// The revision as typed; empty where there was none.
    pub revision: String,
    /// Bytes that were fetched, hashed or freed.
    pub bytes: u64,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// Attempts and connections that failed on the way and were made again.
    pub retries: u32,
    /// The word for how it ended, as in the JSON documents.
    pub outcome: String,
    /// Why it failed, or what was found.
    pub reason: Option<String>,
}

/// A pull that began and has not become complete: it was stopped, it failed, or its process died.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnfinishedPull {
    /// The repo.
    pub repo: RepoId,
    /// The revision as typed.
    pub revision: Revision,
    /// Files named one by one.
    pub files: Vec<String>,
    /// Patterns of which a file must match one.
    pub include: Vec<String>,
    /// Patterns of which a file must match none.
    pub exclude: Vec<String>,
    /// Every file of the repo.
    pub all: bool,
    /// The folder that the files go into, in the place of the Hub cache.
    #[serde(skip)]
    pub local_dir: Option<PathBuf>,
    /// When it began, in milliseconds since the Unix epoch.
    pub begun_ms: u64,
}

impl UnfinishedPull {
    /// What is to be remembered of a pull that begins.
    pub fn of(request: &PullRequest, begun_ms: u64) -> Self {
        Self {
            repo: request.repo.clone(),
            revision: request.revision.clone(),
            files: request.files.clone(),
            include: request.include.clone(),
            exclude: request.exclude.clone(),
            all: request.all,
            local_dir: request.local_dir.clone(),
            begun_ms,
        }
    }

    /// The pull that goes on with it. What was fetched once by force is not fetched by force again.
    pub fn request(&self) -> PullRequest {
        PullRequest {
            files: self.files.clone(),
            include: self.include.clone(),
            exclude: self.exclude.clone(),
            all: self.all,
            local_dir: self.local_dir.clone(),
            ..PullRequest::new(self.repo.clone(), self.revision.clone())
        }
    }
}
