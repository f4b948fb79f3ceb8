//! Owns one look at every lock: of one repo, or of the whole cache.
//!
//! Never takes a lock, never hashes, and reads no model.

use std::sync::Arc;

use super::Shared;
use super::emit::Emitter;
use super::failure::from_cache;
use super::job::blocking;
use super::list::is_absent;
use super::programs::Observer;
use crate::cache::{self, Eyes, Layout};
use crate::domain::{Event, Outcome, RepoId};
use crate::host::LockTable;

/// Asks every lock, and says what it found.
pub(super) async fn run(shared: Arc<Shared>, emitter: Emitter, repo: Option<RepoId>) {
    let now = emitter.now();
    let (work, wanted) = (Arc::clone(&shared), repo.clone());
    let asked = blocking(move || {
        let layout = Layout::new(cache::resolve_root(&work.config.cache_dir)?);
        let programs = Observer::once(layout.root());
        let ours = |repo: &RepoId, etag: &_| work.at_work.of(repo, etag);
        let eyes = Eyes {
            now,
            table: LockTable::read(),
            programs: &programs,
            ours: &ours,
        };
        cache::every_lock(&layout, wanted.as_ref(), &eyes)
    })
    .await
    .and_then(|asked| asked.map_err(from_cache));
    let outcome = match (asked, repo) {
        (Ok(Some(locks)), _) => {
            emitter.fact(Event::LocksSeen { locks }).await;
            Outcome::Listed
        }
        (Ok(None), Some(repo)) => Outcome::Failed {
            failures: vec![is_absent(repo, &shared).await],
        },
        (Ok(None), None) => Outcome::Listed,
        (Err(failure), _) => Outcome::Failed {
            failures: vec![failure],
        },
    };
    emitter.fact(Event::Ended(outcome)).await;
}
