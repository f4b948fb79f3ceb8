//! Owns which blobs this engine is fetching or means to, and when it let go of others: so that a
//! look at the disk can tell ours from another program's, and what nobody wants any more.
//!
//! Never touches the disk.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::emit::Emitter;
use crate::cache::Ours;
use crate::domain::{Etag, RepoId, RepoPath};

/// Blobs that were let go of are remembered for this long: longer than a partial counts as live
/// only because it changed a moment ago.
const REMEMBERED: Duration = Duration::from_mins(5);

/// What is remembered for too long is forgotten when so many more are known.
const SWEPT_EVERY: usize = 64;

/// Every blob that this engine works on, or has just worked on.
#[derive(Debug, Default)]
pub(super) struct AtWork(Mutex<HashMap<(RepoId, Etag), Entry>>);

#[derive(Debug)]
struct Entry {
    /// Transfers that have not ended: they work, wait, rest or are paused.
    wanted: usize,
    /// Attempts that have the blob's lock.
    held: usize,
    file: RepoPath,
    size_bytes: u64,
    let_go: Option<SystemTime>,
}

/// A blob and a file that has its content.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub(super) repo: RepoId,
    pub(super) etag: Etag,
    pub(super) file: RepoPath,
    pub(super) size_bytes: u64,
}

/// What a transfer or an attempt has to do with a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// It will go on, though perhaps not now.
    Wants,
    /// It has the blob's lock.
    Holds,
}

/// A claim that lasts until this is dropped.
#[derive(Debug)]
pub(super) struct Working {
    at_work: Arc<AtWork>,
    key: (RepoId, Etag),
    claim: Claim,
    emitter: Emitter,
}

impl AtWork {
    /// Whether any blob is being fetched, or will be.
    pub(super) fn is_any(&self) -> bool {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries
            .values()
            .any(|entry| entry.wanted > 0 || entry.held > 0)
    }

    /// Makes a claim.
    pub(super) fn claim(
        this: &Arc<Self>,
        subject: Subject,
        claim: Claim,
        emitter: Emitter,
    ) -> Working {
        let key = (subject.repo, subject.etag);
        let mut entries = this.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.entry(key.clone()).or_insert(Entry {
            wanted: 0,
            held: 0,
            file: subject.file,
            size_bytes: subject.size_bytes,
            let_go: None,
        });
        *entry.count(claim) += 1;
        drop(entries);
        Working {
            at_work: Arc::clone(this),
            key,
            claim,
            emitter,
        }
    }

    /// What is known of a blob; `None` if it was never ours.
    pub(super) fn of(&self, repo: &RepoId, etag: &Etag) -> Option<Ours> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.get(&(repo.clone(), *etag))?;
        Some(Ours {
            is_at_work: entry.held > 0,
            is_wanted: entry.wanted > 0,
            let_go: entry.let_go,
            file: entry.file.clone(),
            size_bytes: entry.size_bytes,
        })
    }
}

impl Entry {
    const fn count(&mut self, claim: Claim) -> &mut usize {
        match claim {
            Claim::Wants => &mut self.wanted,
            Claim::Holds => &mut self.held,
        }
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
            *entry.count(self.claim) -= 1;
            if self.claim == Claim::Holds {
                entry.let_go = Some(now);
            }
        }
        // Not each time: a pull of thousands of files would look at all of them for each.
        if !entries.len().is_multiple_of(SWEPT_EVERY) {
            return;
        }
        let is_recent = |at: SystemTime| now.duration_since(at).is_ok_and(|age| age < REMEMBERED);
        entries.retain(|_, entry| {
            entry.held + entry.wanted > 0 || entry.let_go.is_some_and(is_recent)
        });
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::super::emit::Clock;
    use super::*;
    use crate::domain::{JobId, RepoKind};

    #[tokio::test]
    async fn a_blob_is_ours_until_every_claim_is_dropped() {
        let at_work = Arc::new(AtWork::default());
        let (events, _heard) = mpsc::channel(1);
        let emitter = Emitter::new(events, JobId(0), Arc::new(Clock::start()));
        let subject = Subject {
            repo: RepoId::new(RepoKind::Model, "org/m").unwrap(),
            etag: Etag::Sha256([1; 32]),
            file: RepoPath::new("m").unwrap(),
            size_bytes: 3,
        };
        let of = || at_work.of(&subject.repo, &subject.etag);
        assert_eq!(of(), None);
        let claim = |claim| AtWork::claim(&at_work, subject.clone(), claim, emitter.clone());
        let (wanted, held) = (claim(Claim::Wants), claim(Claim::Holds));
        assert!(of().is_some_and(|ours| ours.is_at_work && ours.is_wanted));
        drop(held);
        assert!(of().is_some_and(|ours| !ours.is_at_work && ours.is_wanted));
        drop(wanted);
        let left = of().unwrap();
        assert!(!left.is_wanted && left.let_go.is_some());
    }
}
