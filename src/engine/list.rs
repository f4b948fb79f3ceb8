//! Owns `larder ls`: one scan of the cache, or of one repo with its files.
//!
//! Never hashes and never writes.

use std::fs::Metadata;
use std::path::Path;
use std::sync::Arc;

use super::Shared;
use super::emit::Emitter;
use super::failure::from_cache;
use super::forms::Forms;
use super::job::blocking;
use super::memory::Verdicts;
use crate::cache::{self, Judge, Layout};
use crate::domain::{Etag, Event, Failure, Outcome, RepoId};

/// Scans the cache and reports what is there.
pub(super) async fn run(shared: Arc<Shared>, emitter: Emitter, repo: Option<RepoId>) {
    let cache_dir = shared.config.cache_dir.clone();
    let (wanted, now) = (repo.clone(), emitter.now());
    let memory = Arc::clone(&shared.memory);
    let scanned = blocking(move || {
        let layout = Layout::new(cache::resolve_root(&cache_dir)?);
        let verdicts = Verdicts::of(&memory);
        let hashed =
            |path: &Path, found: &Metadata, etag: &Etag| verdicts.hashed(path, found, etag);
        let forms = Forms::of(&memory);
        let examine = |folder: &Path| forms.examine(folder, &|_| false);
        let judge = Judge {
            examine: &examine,
            hashed: &hashed,
            ..super::judge()
        };
        let events = match wanted {
            None => cache::scan(&layout, judge).map(|models| vec![Event::ModelsListed { models }]),
            Some(repo) => cache::scan_repo(&layout, &repo, judge).map(|models| {
                models
                    .into_iter()
                    .map(|(model, files)| Event::FilesListed {
                        model: Box::new(model),
                        files,
                    })
                    .collect()
            }),
        };
        forms.keep(now);
        events
    })
    .await
    .and_then(|scanned| scanned.map_err(from_cache));
    let outcome = match scanned {
        Ok(events) => match repo.filter(|_| events.is_empty()) {
            Some(repo) => Outcome::Failed {
                failures: vec![is_absent(repo, &shared).await],
            },
            None => {
                for event in events {
                    emitter.fact(event).await;
                }
                Outcome::Listed
            }
        },
        Err(failure) => Outcome::Failed {
            failures: vec![failure],
        },
    };
    emitter.fact(Event::Ended(outcome)).await;
}

/// [`absent`], for tasks: it reads a folder.
pub(super) async fn is_absent(repo: RepoId, shared: &Arc<Shared>) -> Failure {
    let shared = Arc::clone(shared);
    blocking(move || absent(&repo, &shared))
        .await
        .unwrap_or_else(|failure| failure)
}

/// Nothing of the repo is there; what else is, is said.
pub(super) fn absent(repo: &RepoId, shared: &Shared) -> Failure {
    let here = cache::resolve_root(&shared.config.cache_dir)
        .and_then(|root| cache::repos(&Layout::new(root)))
        .unwrap_or_default();
    Failure::not_in_cache(repo, &here).at_path(shared.config.cache_dir.display().to_string())
}
