//! Owns carrying out the changes of a plan that was shown: small repairs on the disk itself.
//!
//! **Law**: it is looked again first, and what no finding proposes any more stays as it is. Bytes are
//! never fetched here: that is for the pulls of the plan.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::Shared;
use super::emit::Emitter;
use super::failure::{from_cache, from_hub};
use super::history;
use super::job::blocking;
use super::lookout::{Glance, Lookout};
use super::programs::Observer;
use super::trash::{self, Expiry};
use crate::cache::{self, Eyes, Layout, Mending, PlannedRemoval};
use crate::domain::{
    Change, Etag, Event, Failure, FailureCode, Finding, FixResult, Kept, Outcome, Plan, PlanStep,
    RepoId, Revision, sanitize, shell_word,
};
use crate::host::LockTable;
use crate::ledger::{Proven, Stamp};

/// Why a step is not carried out that a look does not propose any more.
const OUTDATED: &str = "it is no longer as it was when the plan was made";

/// Carries the changes out.
pub(super) async fn run(shared: Arc<Shared>, emitter: Emitter, plan: Plan) {
    let (work, clock) = (Arc::clone(&shared), emitter.clone());
    let started = emitter.now();
    emitter.fact(Event::FixStarted).await;
    trash::settle(&shared, &emitter, None, Expiry::Keep).await;
    let lost = lost_refs(&shared, &plan).await;
    let fixed = blocking(move || fix(&work, &clock, &plan, &lost))
        .await
        .flatten();
    let (outcome, repos) = match fixed {
        Ok((result, repos)) => (Outcome::Fixed(result), repos),
        Err(failure) => (
            Outcome::Failed {
                failures: vec![failure],
            },
            BTreeSet::new(),
        ),
    };
    let freed_bytes = match &outcome {
        Outcome::Fixed(result) => result.freed_bytes,
        _ => 0,
    };
    let times = (started, emitter.now());
    let about: Vec<RepoId> = repos.iter().cloned().collect();
    history::keep(
        &shared,
        history::row("fix", &about, freed_bytes, times, &outcome),
    )
    .await;
    emitter.fact(Event::Ended(outcome)).await;
    for repo in &repos {
        shared.stirred.add(repo);
    }
}

/// Refs that a plan would take away, by their paths: why one stays, or that it may go.
type Lost = BTreeMap<String, Result<(), String>>;

/// Asks the Hub about every ref of the plan that leads to nothing here.
async fn lost_refs(shared: &Arc<Shared>, plan: &Plan) -> Lost {
    let mut lost = Lost::new();
    for step in &plan.steps {
        let PlanStep::Change(Change::DropRef {
            path,
            repo,
            revision,
            holds,
        }) = step
        else {
            continue;
        };
        let Ok(name) = Revision::new(revision) else {
            continue;
        };
        let (work, about) = (
            Arc::clone(shared),
            (repo.clone(), name.clone(), holds.clone()),
        );
        let names_nothing = blocking(move || {
            let (repo, name, holds) = about;
            let root = cache::resolve_root(&work.config.cache_dir);
            root.is_ok_and(|root| cache::names_nothing(&Layout::new(root), &repo, &name, &holds))
        });
        // If it is not so any more, a look finds that as well.
        if names_nothing.await.is_ok_and(|it| it) {
            let commit = Revision::new(holds)
                .ok()
                .filter(|it| it.as_commit().is_some());
            lost.insert(
                path.clone(),
                require_unknown(shared, repo, &name, commit).await,
            );
        }
    }
    lost
}

/// Whether the Hub says that it knows neither a name nor a commit of a repo; else why nobody can tell.
async fn require_unknown(
    shared: &Shared,
    repo: &RepoId,
    name: &Revision,
    commit: Option<Revision>,
) -> Result<(), String> {
    if shared.config.is_offline {
        return Err("only the Hub can say that nobody knows it, and larder is offline".to_owned());
    }
    for revision in std::iter::once(name).chain(&commit) {
        match shared
            .client
            .revision(repo, revision)
            .await
            .map_err(from_hub)
        {
            Err(failure) if failure.code == FailureCode::RevisionNotFound => {}
            Err(failure) => {
                return Err(format!(
                    "the Hub did not say that it does not know `{revision}`: {}",
                    failure.summary
                ));
            }
            Ok(_) if revision == name => {
                return Err(format!("the Hub knows `{revision}`: pull it"));
            }
            Ok(_) => {
                return Err(format!(
                    "the Hub has the commit that it holds: `larder pull {} --revision {revision}` fetches \
                     it",
                    shell_word(&repo.to_string())
                ));
            }
        }
    }
    Ok(())
}

/// What came of it, and the repos it touched.
fn fix(
    shared: &Shared,
    clock: &Emitter,
    plan: &Plan,
    lost: &Lost,
) -> Result<(FixResult, BTreeSet<RepoId>), Failure> {
    let layout = Layout::new(cache::resolve_root(&shared.config.cache_dir).map_err(from_cache)?);
    let mut lookout = Lookout::everywhere(shared);
    let seen = lookout.look(&Glance::Whole(None), None, clock.now())?;
    let findings = seen.cache.unwrap_or_default().findings;
    // What programs have open is asked again when it is some seconds old: hashing takes minutes.
    let mut observer = Observer::default();
    let ours = |repo: &RepoId, etag: &_| shared.at_work.of(repo, etag);
    let mut result = FixResult::default();
    let mut repos = BTreeSet::new();
    let mut needless: BTreeMap<usize, Result<(), String>> = BTreeMap::new();
    for step in &plan.steps {
        let eyes = Eyes {
            now: clock.now(),
            table: LockTable::read(),
            programs: observer.look(layout.root()),
            ours: &ours,
        };
        let proposed = findings
            .iter()
            .enumerate()
            .find(|(_, finding)| finding.plan.steps.contains(step));
        let done = match proposed {
            // All copies or none: a folder that holds half of a model loads no more.
            Some((at, finding)) if is_copy(step) => needless
                .entry(at)
                .or_insert_with(|| all_needless(&layout, finding, plan, &eyes))
                .clone()
                .and_then(|()| carry_out(shared, &layout, finding, step, &eyes)),
            Some((_, finding)) => match may_go(step, lost) {
                Ok(()) => carry_out(shared, &layout, finding, step, &eyes),
                Err(why) => Err(why),
            },
            // The pull before has put it right.
            None if is_lost_ref(step) || has_given_way(&layout, step) => continue,
            None => Err(OUTDATED.to_owned()),
        };
        match done {
            Ok(freed_bytes) => {
                repos.extend(proposed.and_then(|(_, finding)| finding.repo.clone()));
                result.freed_bytes += freed_bytes;
                result.done.push(step.clone());
            }
            Err(why) => result.kept.push(Kept {
                path: sanitize(place_of(step)),
                why: sanitize(&why),
            }),
        }
    }
    Ok((result, repos))
}

const fn is_copy(step: &PlanStep) -> bool {
    matches!(step, PlanStep::Change(Change::RemoveCopy { .. }))
}

const fn is_lost_ref(step: &PlanStep) -> bool {
    matches!(step, PlanStep::Change(Change::DropRef { .. }))
}

/// Whether what had the place of a blob has given way to one: the pull before did that.
fn has_given_way(layout: &Layout, step: &PlanStep) -> bool {
    let PlanStep::Change(Change::Remove { path, bytes: 0 } | Change::Move { from: path, .. }) =
        step
    else {
        return false;
    };
    let path = Path::new(path);
    let name = path.file_name().and_then(|name| name.to_str());
    let is_blob = name.is_some_and(|name| Etag::new(name).is_ok()) && path.is_file();
    is_blob && path.starts_with(layout.root())
}

/// Whether a step is no removal of a ref, or of one of which nobody knows what it names.
fn may_go(step: &PlanStep, lost: &Lost) -> Result<(), String> {
    match step {
        PlanStep::Change(Change::DropRef { path, .. }) => {
            let known = lost.get(path).cloned();
            known.unwrap_or_else(|| Err("nobody has asked the Hub about it".to_owned()))
        }
        _ => Ok(()),
    }
}

/// Whether every copy that a finding names was shown, and is needless.
fn all_needless(
    layout: &Layout,
    finding: &Finding,
    plan: &Plan,
    eyes: &Eyes<'_>,
) -> Result<(), String> {
    let mending = Mending {
        layout,
        finding,
        eyes,
    };
    for step in finding.plan.steps.iter().filter(|step| is_copy(step)) {
        let PlanStep::Change(copy) = step else {
            continue;
        };
        if !plan.steps.contains(step) {
            return Err(format!(
                "the plan does not name all of them: {}",
                copy.words()
            ));
        }
        mending
            .require_needless(copy)
            .map_err(|why| format!("{}: {why}", sanitize(place_of(step))))?;
    }
    Ok(())
}

/// Carries one step out; the bytes that it frees, or why everything stays.
fn carry_out(
    shared: &Shared,
    layout: &Layout,
    finding: &Finding,
    step: &PlanStep,
    eyes: &Eyes<'_>,
) -> Result<u64, String> {
    match step {
        PlanStep::Change(change) => {
            let mending = Mending {
                layout,
                finding,
                eyes,
            };
            let placed = if let Change::Share { path, with, bytes } = change {
                let shared_bytes = mending.share((path, with), *bytes);
                // Not every file system tells which files share, and not every one that could does.
                if shared_bytes
                    .as_ref()
                    .err()
                    .is_none_or(|apart| apart.is_lasting)
                {
                    let (path, with) = (Path::new(path), Path::new(with));
                    let memory = &shared.memory;
                    memory.keep_pair(path, with, shared_bytes.is_ok(), eyes.now);
                }
                shared_bytes.map_err(|apart| apart.why)?
            } else {
                mending.carry_out(change)?
            };
            let proven = placed.into_iter().filter_map(|placed| {
                let real = std::fs::canonicalize(&placed.path).ok()?;
                Some(Proven {
                    path: real.to_str()?.to_owned(),
                    stamp: Stamp::of(&placed.metadata),
                    etag: placed.etag,
                })
            });
            // It was hashed a moment ago, and nobody needs to do that again.
            shared.memory.keep_proven(proven.collect(), eyes.now);
            Ok(change.freed_bytes())
        }
        PlanStep::RemovePartial {
            repo,
            path,
            bytes,
            modified_ms,
            map,
            ..
        } => {
            let planned = PlannedRemoval {
                repo,
                path: Path::new(path),
                bytes: *bytes,
                modified_ms: *modified_ms,
                map: map.as_deref().map(Path::new),
            };
            cache::remove_partial(layout, planned, eyes)?;
            shared.memory.forget_unfinished_of(layout.root(), repo);
            Ok(*bytes)
        }
        PlanStep::Discard(_) => Err("it is for a purge to take away".to_owned()),
        PlanStep::Pull { .. } => Err("it is for a pull to heal".to_owned()),
        PlanStep::ByHand { advice } => Err(format!("only a person can do that: {advice}")),
    }
}

/// What a step is about.
fn place_of(step: &PlanStep) -> &str {
    match step {
        PlanStep::RemovePartial { path, .. }
        | PlanStep::Change(
            Change::Remove { path, .. }
            | Change::RemoveCopy { path, .. }
            | Change::DropRef { path, .. }
            | Change::Move { from: path, .. }
            | Change::Write { path, .. }
            | Change::Link { path, .. }
            | Change::Share { path, .. }
            | Change::Place { path, .. }
            | Change::Note { path, .. },
        ) => path,
        PlanStep::Pull { revision, .. } => revision,
        PlanStep::Discard(_) | PlanStep::ByHand { .. } => "",
    }
}
