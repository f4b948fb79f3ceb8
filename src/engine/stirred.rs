//! Owns which repos a job has just let go of, so that a watch looks at them at once.
//!
//! Never looks itself.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use crate::domain::RepoId;

/// Repos that jobs changed since they were last taken.
#[derive(Debug, Default)]
pub(super) struct Stirred {
    repos: Mutex<BTreeSet<RepoId>>,
    notify: Notify,
}

impl Stirred {
    /// Says that a job on that repo has ended.
    pub(super) fn add(&self, repo: &RepoId) {
        self.repos
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(repo.clone());
        self.notify.notify_one();
    }

    /// Takes what there is.
    pub(super) fn take(&self) -> BTreeSet<RepoId> {
        std::mem::take(&mut *self.repos.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until something was added since the last wait.
    pub(super) async fn wait(&self) {
        self.notify.notified().await;
    }
}
