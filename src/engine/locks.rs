//! Owns one look at every lock: of one repo, or of every cache.
//!
//! Never takes a lock, never hashes, and reads no model.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::Shared;
use super::abroad::folders_of_pulls;
use super::emit::Emitter;
use super::failure::from_cache;
use super::job::blocking;
use super::list::is_absent;
use super::programs::Observer;
use crate::cache::{self, Eyes, Layout};
use crate::domain::{Event, LockRow, Outcome, RepoId};
use crate::host::LockTable;

/// Asks every lock, and says what it found.
pub(super) async fn run(shared: Arc<Shared>, emitter: Emitter, repo: Option<RepoId>) {
    let now = emitter.now();
    let (work, wanted) = (Arc::clone(&shared), repo.clone());
    let asked = blocking(move || ask(&work, wanted.as_ref(), now))
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

/// The locks of the main cache and, unless that alone is meant, of all other places.
fn ask(
    shared: &Shared,
    repo: Option<&RepoId>,
    now: SystemTime,
) -> cache::Result<Option<Vec<LockRow>>> {
    let layout = Layout::new(cache::resolve_root(&shared.config.cache_dir)?);
    let mut elsewhere = shared.config.elsewhere.clone();
    let is_alone = elsewhere.places.is_empty();
    if !is_alone {
        let folders = folders_of_pulls(&shared.memory, now);
        elsewhere.places.extend(folders.places);
    }
    let programs = Observer::once(if is_alone {
        layout.root()
    } else {
        Path::new("/")
    });
    let ours = |repo: &RepoId, etag: &_| shared.at_work.of(repo, etag);
    let eyes = Eyes {
        now,
        table: LockTable::read(),
        programs: &programs,
        ours: &ours,
    };
    let here = cache::every_lock(&layout, repo, &eyes)?;
    if is_alone {
        return Ok(here);
    }
    // What this larder writes, it writes into the main cache.
    let others = Eyes {
        ours: &|_, _| None,
        table: LockTable::read(),
        ..eyes
    };
    let there = cache::locks_elsewhere(&elsewhere, layout.root(), repo, &others);
    Ok(match (here, there) {
        (None, None) => None,
        (here, there) => Some(here.into_iter().chain(there).flatten().collect()),
    })
}
