//! Owns carrying out a plan that was shown: unfinished blobs are taken away, models and parts of them
//! are moved into the trash or freed, and nothing else.
//!
//! **Law**: what the plan does not name stays; what is no longer as it was shown stays.

use std::path::Path;
use std::sync::Arc;

use super::Shared;
use super::emit::Emitter;
use super::failure::from_cache;
use super::history;
use super::job::blocking;
use super::programs::Observer;
use super::trash::{self, Expiry};
use crate::cache::{self, Discarded, Eyes, Layout, PlannedRemoval};
use crate::domain::{
    DiscardKind, Event, Failure, Kept, Outcome, Plan, PlanStep, PurgeResult, RepoId, sanitize,
};
use crate::host::LockTable;

/// Carries the plan out.
pub(super) async fn run(shared: Arc<Shared>, emitter: Emitter, plan: Plan) {
    let work = Arc::clone(&shared);
    let started = emitter.now();
    let clock = emitter.clone();
    let repos: Vec<RepoId> = plan
        .steps
        .iter()
        .filter_map(|step| match step {
            PlanStep::RemovePartial { repo, .. } => Some(repo.clone()),
            PlanStep::Discard(discard) => Some(discard.repo.clone()),
            PlanStep::Pull { .. } | PlanStep::Change(_) | PlanStep::ByHand { .. } => None,
        })
        .collect();
    trash::settle(&shared, &emitter, None, Expiry::Free).await;
    let purged = blocking(move || purge(&work, &clock, &plan))
        .await
        .flatten();
    let outcome = match purged {
        Ok(result) => Outcome::Purged(result),
        Err(failure) => Outcome::Failed {
            failures: vec![failure],
        },
    };
    let freed_bytes = match &outcome {
        Outcome::Purged(result) => result.freed_bytes + result.moved_bytes,
        _ => 0,
    };
    let times = (started, emitter.now());
    history::keep(
        &shared,
        history::row("purge", &repos, freed_bytes, times, &outcome),
    )
    .await;
    emitter.fact(Event::Ended(outcome)).await;
    for repo in &repos {
        shared.stirred.add(repo);
    }
}

fn purge(shared: &Shared, clock: &Emitter, plan: &Plan) -> Result<PurgeResult, Failure> {
    let root = cache::resolve_root(&shared.config.cache_dir).map_err(from_cache)?;
    let layout = Layout::new(root);
    let ours = |repo: &RepoId, etag: &_| shared.at_work.of(repo, etag);
    let mut result = PurgeResult::default();
    // What programs have open is asked again when it is some seconds old: hashing takes minutes.
    let mut observer = Observer::default();
    for step in &plan.steps {
        let kept = |path: &str, why: &str| Kept {
            path: sanitize(path),
            why: sanitize(why),
        };
        match step {
            PlanStep::RemovePartial {
                repo,
                path,
                bytes,
                modified_ms,
                map,
                ..
            } => {
                let eyes = Eyes {
                    now: clock.now(),
                    table: LockTable::default(),
                    programs: observer.look(layout.root()),
                    ours: &ours,
                };
                let planned = PlannedRemoval {
                    repo,
                    path: Path::new(path),
                    bytes: *bytes,
                    modified_ms: *modified_ms,
                    map: map.as_deref().map(Path::new),
                };
                match cache::remove_partial(&layout, planned, &eyes) {
                    Ok(is_map_gone) => {
                        result.removed.push(path.clone());
                        result.removed.extend(map.clone().filter(|_| is_map_gone));
                        result.freed_bytes += bytes;
                        // Nobody is to be offered to go on with it.
                        shared.memory.forget_unfinished_of(layout.root(), repo);
                    }
                    Err(why) => result.kept.push(kept(path, &why)),
                }
            }
            PlanStep::Discard(planned) => {
                let eyes = Eyes {
                    now: clock.now(),
                    table: LockTable::read(),
                    programs: observer.look(layout.root()),
                    ours: &ours,
                };
                match cache::discard(&layout, planned, &eyes) {
                    Ok((done, locks)) => {
                        let paths = planned.paths.iter();
                        result.removed.extend(paths.map(|path| path.path.clone()));
                        let locks = locks.iter().map(|path| path.to_string_lossy().into_owned());
                        result.removed.extend(locks);
                        match done {
                            Discarded::Moved { id, bytes } => {
                                result.moved_bytes += bytes;
                                result.trash.push(id);
                            }
                            Discarded::Freed { bytes } => result.freed_bytes += bytes,
                        }
                        if planned.kind == DiscardKind::Repo {
                            shared
                                .memory
                                .forget_unfinished_of(layout.root(), &planned.repo);
                        }
                    }
                    Err(why) => {
                        let path = layout.repo(&planned.repo).to_string_lossy().into_owned();
                        result.kept.push(kept(&path, &why));
                    }
                }
            }
            PlanStep::Pull { repo, .. } => {
                let path = layout.repo(repo).to_string_lossy().into_owned();
                result.kept.push(kept(
                    &path,
                    "a purge takes away and does not fetch: pull it",
                ));
            }
            PlanStep::Change(change) => {
                let path = layout.root().to_string_lossy().into_owned();
                let why = format!("a purge changes nothing else: {}", change.words());
                result.kept.push(kept(&path, &why));
            }
            PlanStep::ByHand { advice } => {
                let path = layout.root().to_string_lossy().into_owned();
                let why = format!("only a person can do that: {advice}");
                result.kept.push(kept(&path, &why));
            }
        }
    }
    Ok(result)
}
