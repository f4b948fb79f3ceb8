//! Owns the check in idle time: while nothing downloads, one model after the other is hashed, slowly,
//! so that its verdict is never old.
//!
//! Never goes on once anything downloads, and never hashes again what was hashed lately. What it finds
//! is kept in the ledger, and shows in the next look.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::emit::Emitter;
use super::verify;
use crate::domain::{
    CacheKind, Event, LockRow, LockState, ModelRow, PartialRow, PartialState, RepoId, VerifyTarget,
};
use crate::host;

/// How long nothing must have been downloaded before the first model, and the rest before the next.
const QUIET: Duration = Duration::from_secs(20);
const REST: Duration = Duration::from_secs(5);
/// What was hashed longer ago than this is read again.
const OLD_MS: u64 = 30 * 24 * 60 * 60 * 1_000;

/// The check, and what it has come to.
pub(super) struct Idle {
    shared: Arc<Shared>,
    emitter: Emitter,
    /// What ends with the snapshot it was about, and whether it was looked at to its end.
    running: JoinSet<((RepoId, String), bool)>,
    stop: CancellationToken,
    /// Whether anybody wants it: not over a network, whose other end may not be idle.
    is_wanted: bool,
    next: Instant,
    /// Snapshots that had their turn since this began: what cannot be verified is not tried for ever.
    tried: HashSet<(RepoId, String)>,
}

impl Idle {
    pub(super) fn new(shared: &Arc<Shared>, emitter: &Emitter) -> Self {
        Self {
            shared: Arc::clone(shared),
            emitter: emitter.clone(),
            is_wanted: shared.config.checks_idly && !host::is_remote(&shared.config.cache_dir),
            running: JoinSet::new(),
            stop: CancellationToken::new(),
            next: Instant::now() + QUIET,
            tried: HashSet::new(),
        }
    }

    /// Looks whether a model is to be checked now, or a check to be broken off.
    pub(super) fn tick(&mut self, models: &[ModelRow], partials: &[PartialRow], locks: &[LockRow]) {
        while let Some(ended) = self.running.try_join_next() {
            self.next = Instant::now() + REST;
            if let Ok((key, false)) = ended {
                // Its turn comes again.
                self.tried.remove(&key);
            }
        }
        if !self.is_wanted {
            return;
        }
        let is_live = |partial: &PartialRow| matches!(partial.state, PartialState::Live { .. });
        let is_busy = self.shared.at_work.is_any()
            || self.shared.hashing.load(Ordering::Relaxed) > 0
            || locks.iter().any(is_at_work)
            || partials.iter().any(is_live);
        if is_busy {
            self.stop.cancel();
            self.next = Instant::now() + QUIET;
            return;
        }
        if !self.running.is_empty() || Instant::now() < self.next {
            return;
        }
        let now_ms = super::emit::millis(
            self.emitter
                .now()
                .duration_since(std::time::UNIX_EPOCH)
                .unwrap_or_default(),
        );
        let Some((target, is_deep)) = self.choose(models, now_ms) else {
            self.next = Instant::now() + QUIET;
            return;
        };
        self.stop = CancellationToken::new();
        let (shared, emitter) = (Arc::clone(&self.shared), self.emitter.clone());
        let stop = self.stop.clone();
        self.running.spawn(async move {
            let repo = target.repo.clone();
            let key = (repo.clone(), target.revision.clone().unwrap_or_default());
            let checked = verify::quietly(&shared, &emitter, target, is_deep, &stop).await;
            match &checked {
                Ok(wrong) => {
                    if let Some(note) = note_of(&repo, wrong) {
                        emitter.fact(Event::Noted { note }).await;
                    }
                }
                // Broken off, or not to be read: the next look tells what is wrong.
                Err(_) => tracing::debug!(%repo, "the check in idle time did not end"),
            }
            shared.stirred.add(&repo);
            (key, checked.is_ok())
        });
    }

    /// The model whose turn it is: first what was never hashed, the last used first; then what was
    /// hashed long ago.
    fn choose(&mut self, models: &[ModelRow], now_ms: u64) -> Option<(VerifyTarget, bool)> {
        let waits = |model: &&ModelRow| {
            let key = (model.repo.clone(), model.revision.clone());
            let is_old = model
                .verified_ms
                .is_none_or(|at| now_ms.saturating_sub(at) >= OLD_MS);
            model.cache == CacheKind::Hub
                && model.files_present > 0
                && is_old
                && !self.tried.contains(&key)
        };
        let model = models.iter().filter(waits).max_by_key(|model| {
            let age = model.verified_ms.map(|at| now_ms.saturating_sub(at));
            (age.is_none(), age, model.accessed_ms)
        })?;
        self.tried
            .insert((model.repo.clone(), model.revision.clone()));
        let target = VerifyTarget {
            repo: model.repo.clone(),
            revision: Some(model.revision.clone()),
        };
        Some((target, model.verified_ms.is_some()))
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        // The thread that hashes looks at this between two steps.
        self.stop.cancel();
    }
}

/// Whether somebody downloads, or has a model in memory that hashing would push out.
fn is_at_work(lock: &LockRow) -> bool {
    lock.state == LockState::Held || lock.is_program()
}

/// What is said of a model in which something is wrong: the first of it, and how much more there is.
fn note_of(repo: &RepoId, wrong: &[String]) -> Option<String> {
    let (first, more) = wrong.split_first()?;
    let more = match more.len() {
        0 => String::new(),
        more => format!(", and {more} more; Health lists them"),
    };
    Some(format!("{repo}: checked in idle time: {first}{more}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::RepoKind;

    #[test]
    fn what_the_check_found_is_said() {
        let repo = RepoId::new(RepoKind::Model, "org/m").unwrap();
        let wrong = |sentences: &[&str]| {
            let sentences: Vec<String> = sentences.iter().map(ToString::to_string).collect();
            note_of(&repo, &sentences)
        };
        assert_eq!(wrong(&[]), None);
        assert_eq!(
            wrong(&["`a` is cut off"]).unwrap(),
            "org/m: checked in idle time: `a` is cut off"
        );
        assert_eq!(
            wrong(&["`a` is cut off", "`b` is empty", "`c` is empty"]).unwrap(),
            "org/m: checked in idle time: `a` is cut off, and 2 more; Health lists them"
        );
    }
}
