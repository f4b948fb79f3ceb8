//! Owns `larder ls`: one scan of the cache, or of one repo with its files.
//!
//! Never hashes and never writes.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::Shared;
use super::abroad::Abroad;
use super::emit::Emitter;
use super::failure::from_cache;
use super::job::blocking;
use super::judging::Judging;
use crate::cache::{self, Layout};
use crate::domain::{Event, Failure, Outcome, RepoId};

/// Scans every place and reports what is there.
pub(super) async fn run(shared: Arc<Shared>, emitter: Emitter, repo: Option<RepoId>) {
    let (wanted, now) = (repo.clone(), emitter.now());
    let scanning = Arc::clone(&shared);
    let scanned = blocking(move || scan(&scanning, wanted.as_ref(), now))
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

/// The models of all places, or the files of one repo in each.
pub(super) fn scan(
    shared: &Shared,
    repo: Option<&RepoId>,
    now: SystemTime,
) -> cache::Result<Vec<Event>> {
    let layout = Layout::new(cache::resolve_root(&shared.config.cache_dir)?);
    let judging = Judging::of(&shared.memory, &shared.config, now);
    let mut abroad = Abroad::new(shared);
    judging.judge(&|_| false, |judge| {
        Ok(match repo {
            None => {
                let (mut models, size_bytes) = cache::scan_with_size(&layout, judge)?;
                abroad.look_if_due(&layout, false, &BTreeSet::new(), now);
                let caches = abroad.caches((models.len(), size_bytes), None);
                models.extend(abroad.seen().models());
                vec![Event::CachesSeen { caches }, Event::ModelsListed { models }]
            }
            Some(repo) => {
                let mut found = cache::scan_repo(&layout, repo, judge)?;
                abroad.look_if_due(&layout, false, &BTreeSet::new(), now);
                found.extend(abroad.seen().files(repo, judge));
                let listed = found.into_iter().map(|(model, mut files)| {
                    for file in &mut files {
                        file.links = cache::links_of(&Path::new(&model.snapshot).join(&file.path));
                    }
                    Event::FilesListed {
                        model: Box::new(model),
                        files,
                    }
                });
                listed.collect()
            }
        })
    })
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
