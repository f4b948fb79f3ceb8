//! Owns which blobs this engine is writing, and when it let go of others: so that a look at the
//! disk can tell ours from another program's.
//!
//! Never touches the disk.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::emit::Emitter;
use crate::cache::Ours;
use crate::domain::{Etag, RepoId, RepoPath};

/// Blobs that were let go of are remembered for this long: longer than a partial counts as live
/// only because it changed a moment ago.
const REMEMBERED: std::time::Duration = std::time::Duration::from_mins(5);

/// Every blob that this engine works on, or has just worked on.
#[derive(Debug, Default)]
pub(super) struct AtWork(Mutex<HashMap<(RepoId, Etag), Entry>>);

#[derive(Debug)]
struct Entry {
    /// Attempts that work on it.
    count: usize,
    file: RepoPath,
    size_bytes: u64,
    let_go: Option<SystemTime>,
}

/// An attempt at work; dropping it ends that.
#[derive(Debug)]
pub(super) struct Working {
    at_work: Arc<AtWork>,
    key: (RepoId, Etag),
    emitter: Emitter,
}

impl AtWork {
    /// Says that an attempt has the blob's lock.
    pub(super) fn begin(
        this: &Arc<Self>,
        repo: RepoId,
        etag: Etag,
        file: RepoPath,
        size_bytes: u64,
        emitter: Emitter,
    ) -> Working {
        let key = (repo, etag);
        let mut entries = this.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.entry(key.clone()).or_insert(Entry {
            count: 0,
            file,
            size_bytes,
            let_go: None,
        });
        entry.count += 1;
        drop(entries);
        Working {
            at_work: Arc::clone(this),
            key,
            emitter,
        }
    }

    /// What is known of a blob; `None` if it was never ours.
    pub(super) fn of(&self, repo: &RepoId, etag: &Etag) -> Option<Ours> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.get(&(repo.clone(), *etag))?;
        Some(Ours {
            is_at_work: entry.count > 0,
            let_go: entry.let_go,
            file: entry.file.clone(),
            size_bytes: entry.size_bytes,
        })
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        let now = self.emitter.now();
        let mut entries = self
            .at_work
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get_mut(&self.key) {
            entry.count -= 1;
            entry.let_go = Some(now);
        }
        entries.retain(|_, entry| {
            entry.count > 0
                || entry
                    .let_go
                    .is_some_and(|at| now.duration_since(at).is_ok_and(|age| age < REMEMBERED))
        });
    }
}
