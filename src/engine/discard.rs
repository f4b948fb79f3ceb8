//! Owns what a purge would take out of the cache: which models, snapshots and blobs a request is
//! about, and the plan that names every path of them.
//!
//! Never changes anything, and hashes nothing: what is known to be wrong was hashed before.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Shared;
use super::emit::{Emitter, millis};
use super::failure::from_cache;
use super::job::blocking;
use super::judging::Judging;
use super::list::absent;
use super::programs::Observer;
use crate::cache::{self, Eyes, Layout, Selection};
use crate::domain::{
    Commit, Discard, DiscardKind, DiscardReason, DiscardRequest, Etag, Event, Failure, FailureCode,
    FileRow, FileState, Kept, ModelRow, Outcome, Plan, PlanStep, PurgePlan, RepoId, TrashRow,
    sanitize,
};
use crate::host::{self, LockTable};

/// Fewer characters than this are no beginning of a commit.
const SHORT_COMMIT: usize = 7;
const DAY_MS: u64 = 86_400_000;

/// Says what would go.
pub(super) async fn run(shared: Arc<Shared>, emitter: Emitter, request: DiscardRequest) {
    let now = emitter.now();
    let work = Arc::clone(&shared);
    let planned = blocking(move || plan(&work, &request, now)).await;
    let outcome = match planned {
        Ok(Ok(plan)) => {
            emitter.fact(Event::PurgePlanned(plan)).await;
            Outcome::Planned
        }
        Ok(Err(failures)) => Outcome::Failed { failures },
        Err(failure) => Outcome::Failed {
            failures: vec![failure],
        },
    };
    emitter.fact(Event::Ended(outcome)).await;
}

/// What goes of one repo, and why.
#[derive(Debug, PartialEq, Eq)]
enum Choice {
    Repo(DiscardReason),
    Revisions(Vec<String>, DiscardReason),
    Blobs(Vec<Etag>, Vec<PathBuf>),
    Orphans(Vec<Etag>),
}

fn plan(
    shared: &Shared,
    request: &DiscardRequest,
    now: SystemTime,
) -> Result<PurgePlan, Vec<Failure>> {
    let one = |failure| vec![failure];
    let root =
        cache::resolve_root(&shared.config.cache_dir).map_err(|error| one(from_cache(error)))?;
    let layout = Layout::new(root);
    let here = cache::repos(&layout).map_err(|error| one(from_cache(error)))?;
    let policy = shared.config.policy;
    let asked = request;
    let mut request = request.clone();
    let days = |days: u32| u64::from(days) * DAY_MS;
    if request.is_policy {
        request.unused_ms = policy.unused_days.map(days);
    }
    let request = &request;
    if request.unused_ms.is_some()
        && let Some(why) = host::access_unknown(layout.root())
    {
        let what = "nobody can tell when models were last used";
        return Err(one(Failure::new(FailureCode::Refused, what).because(why)));
    }
    let mut targets = request.targets.clone();
    if targets.is_empty() {
        targets = here.iter().map(|repo| (repo.clone(), None)).collect();
    }
    let missing: Vec<Failure> = targets
        .iter()
        .filter(|(repo, _)| !here.contains(repo))
        .map(|(repo, _)| absent(repo, shared))
        .collect();
    if !missing.is_empty() {
        return Err(missing);
    }
    let programs = Observer::once(layout.root());
    let ours = |repo: &RepoId, etag: &_| shared.at_work.of(repo, etag);
    let eyes = Eyes {
        now,
        table: LockTable::read(),
        programs: &programs,
        ours: &ours,
    };
    let judging = Judging::of(&shared.memory, &shared.config, now);
    let mut planning = Planning {
        layout: &layout,
        request,
        eyes: &eyes,
        plan: Plan::default(),
        kept: Vec::new(),
        failures: Vec::new(),
    };
    let mut trash = Vec::new();
    if request.is_policy {
        if let Some(days) = policy.partials_days {
            planning.old_partials(&here, u64::from(days) * DAY_MS, now_ms(now));
        }
        if let Some(days) = policy.trash_days {
            let root = sanitize(&layout.root().to_string_lossy());
            let is_old = |row: &TrashRow| {
                row.cache == root
                    && now_ms(now).saturating_sub(row.purged_ms) >= u64::from(days) * DAY_MS
            };
            trash = cache::trash_rows(&layout, &here);
            trash.retain(is_old);
        }
        if request.unused_ms.is_none() {
            return Ok(PurgePlan {
                request: asked.clone(),
                plan: planning.plan,
                kept: planning.kept,
                trash,
            });
        }
    }
    let repos: BTreeSet<&RepoId> = targets.iter().map(|(repo, _)| repo).collect();
    for repo in repos {
        planning.look(&judging, (repo, &targets), now);
    }
    if planning.failures.is_empty() {
        Ok(PurgePlan {
            request: asked.clone(),
            plan: planning.plan,
            kept: planning.kept,
            trash,
        })
    } else {
        Err(planning.failures)
    }
}

struct Planning<'a> {
    layout: &'a Layout,
    request: &'a DiscardRequest,
    eyes: &'a Eyes<'a>,
    plan: Plan,
    kept: Vec<Kept>,
    failures: Vec<Failure>,
}

impl Planning<'_> {
    /// Whether targets say what goes, and not only where to look.
    const fn names_repos(&self) -> bool {
        !self.request.is_unreferenced
            && !self.request.is_corrupt
            && !self.request.targets.is_empty()
    }

    /// Looks at a repo, and plans what goes of it.
    fn look(
        &mut self,
        judging: &Judging<'_>,
        (repo, targets): (&RepoId, &[(RepoId, Option<String>)]),
        now: SystemTime,
    ) {
        let (scanned, unlisted) = judging.judge(&|_| false, |judge| {
            let unlisted = if self.request.is_unreferenced {
                cache::unlisted_blobs(self.layout, repo, judge, self.eyes)
            } else {
                Vec::new()
            };
            (cache::scan_repo(self.layout, repo, judge), unlisted)
        });
        let revisions: Vec<Option<&str>> = targets
            .iter()
            .filter(|(named, _)| named == repo)
            .map(|(_, revision)| revision.as_deref())
            .collect();
        match scanned {
            Ok(rows) => {
                self.repo(repo, &revisions, &rows, now);
                if revisions.contains(&None) {
                    self.orphans(repo, unlisted, now);
                }
            }
            // It can still go as a whole, if that is what was asked for.
            Err(_) if self.names_repos() && revisions.contains(&None) => {
                self.repo(repo, &revisions, &Vec::new(), now);
            }
            Err(error) => self.stays(repo, &error.to_string()),
        }
    }

    fn repo(
        &mut self,
        repo: &RepoId,
        revisions: &[Option<&str>],
        rows: &[(ModelRow, Vec<FileRow>)],
        now: SystemTime,
    ) {
        let folders: Vec<&ModelRow> = rows
            .iter()
            .map(|(model, _)| model)
            .filter(|model| std::path::Path::new(&model.snapshot).is_dir())
            .filter(|model| model.revision != "unfinished")
            .collect();
        let mut wanted: Vec<&ModelRow> = Vec::new();
        for revision in revisions.iter().copied().flatten() {
            match named(&folders, revision) {
                Some(model) if !wanted.iter().any(|it| it.revision == model.revision) => {
                    wanted.push(model);
                }
                Some(_) => {}
                None => {
                    let there: Vec<String> = folders.iter().map(|it| name_of(it)).collect();
                    self.failures.push(
                        Failure::new(
                            FailureCode::Incomplete,
                            format!("`{repo}` has no `{}` here", sanitize(revision)),
                        )
                        .because(format!("there are {}", there.join(", "))),
                    );
                }
            }
        }
        let is_whole = revisions.contains(&None);
        if is_whole {
            wanted.clone_from(&folders);
        }
        let is_due = |model: &&ModelRow| match self.request.unused_ms {
            None => true,
            Some(unused_ms) => model
                .accessed_ms
                .is_some_and(|at_ms| now_ms(now).saturating_sub(at_ms) >= unused_ms),
        };
        let due: Vec<&ModelRow> = wanted.iter().copied().filter(|it| is_due(it)).collect();
        let aside = if self.request.is_corrupt && is_whole {
            let wrong = wrong_of(rows.iter());
            let is_wrong = |etag: &Etag| wrong.contains(etag);
            // Where the folder cannot be read, the blobs in it are told of.
            let (aside, stays) =
                cache::put_aside(self.layout, repo, &is_wrong, now).unwrap_or_default();
            self.kept.extend(stays);
            aside
        } else {
            Vec::new()
        };
        for choice in self.choices(&due, rows, aside, (is_whole, folders.len())) {
            self.add(repo, &choice, &due);
        }
    }

    /// What goes of the snapshots that are meant.
    fn choices(
        &self,
        due: &[&ModelRow],
        rows: &[(ModelRow, Vec<FileRow>)],
        aside: Vec<PathBuf>,
        (is_whole, all): (bool, usize),
    ) -> Vec<Choice> {
        let mut choices = Vec::new();
        let of = |models: &[&ModelRow], reason| {
            if models.len() == all && is_whole {
                return Some(Choice::Repo(reason));
            }
            let names: Vec<String> = models.iter().map(|it| it.revision.clone()).collect();
            (!names.is_empty()).then_some(if models.len() == all {
                // Nothing would be left of it.
                Choice::Repo(reason)
            } else {
                Choice::Revisions(names, reason)
            })
        };
        if self.names_repos() {
            let reason = if self.request.unused_ms.is_some() {
                DiscardReason::Unused
            } else {
                DiscardReason::Named
            };
            choices.extend(of(due, reason).filter(|_| {
                // A repo without a snapshot has no time of its last use.
                self.request.unused_ms.is_none() || !due.is_empty()
            }));
            return choices;
        }
        if self.request.is_unreferenced {
            let free: Vec<&ModelRow> = due
                .iter()
                .copied()
                .filter(|it| it.is_unreferenced)
                .collect();
            choices.extend(of(&free, DiscardReason::Unreferenced).filter(|_| !free.is_empty()));
        } else if self.request.unused_ms.is_some() && !self.request.is_corrupt {
            choices.extend(of(due, DiscardReason::Unused).filter(|_| !due.is_empty()));
        }
        if self.request.is_corrupt {
            let is_due =
                |(model, _): &&(ModelRow, _)| due.iter().any(|it| it.revision == model.revision);
            let wrong = wrong_of(rows.iter().filter(is_due));
            if !(wrong.is_empty() && aside.is_empty()) {
                choices.push(Choice::Blobs(wrong.into_iter().collect(), aside));
            }
        }
        choices
    }

    fn add(&mut self, repo: &RepoId, choice: &Choice, models: &[&ModelRow]) {
        let (selection, reason) = match choice {
            Choice::Repo(reason) => (Selection::Repo, *reason),
            Choice::Revisions(names, reason) => (Selection::Revisions(names), *reason),
            Choice::Blobs(etags, aside) => (Selection::Blobs(etags, aside), DiscardReason::Corrupt),
            Choice::Orphans(etags) => (Selection::Orphans(etags), DiscardReason::Orphaned),
        };
        let planned = cache::plan_discard(
            self.layout,
            repo,
            selection,
            reason,
            self.request.is_now,
            self.eyes,
        );
        match planned {
            Ok(mut discard) => {
                if discard.paths.is_empty() && discard.kind != DiscardKind::Repo {
                    return;
                }
                discard.accessed_ms = models.iter().filter_map(|it| it.accessed_ms).max();
                if matches!(choice, Choice::Repo(_)) {
                    for step in cache::abandoned(self.layout, repo, self.eyes) {
                        if !self.plan.steps.contains(&step) {
                            self.plan.steps.push(step);
                        }
                    }
                }
                self.plan.steps.push(PlanStep::Discard(discard));
            }
            Err(stays) if self.names_repos() => {
                let code = if stays.is_written {
                    FailureCode::LockBusy
                } else {
                    FailureCode::Refused
                };
                let failure = Failure::new(code, format!("`{repo}` stays")).because(stays.why);
                self.failures.push(failure);
            }
            Err(stays) => self.stays(repo, &stays.why),
        }
    }

    /// Blobs that no snapshot and no listing names, where the repo does not go as a whole.
    fn orphans(&mut self, repo: &RepoId, unlisted: Vec<(Etag, SystemTime)>, now: SystemTime) {
        let is_whole = |it: &Discard| it.repo == *repo && it.kind == DiscardKind::Repo;
        if self.plan.discards().any(is_whole) {
            return;
        }
        let least = Duration::from_millis(self.request.unused_ms.unwrap_or(0));
        let is_due = |changed: &SystemTime| {
            let age = now.duration_since(*changed);
            age.is_ok_and(|age| age >= least)
        };
        let due = unlisted.into_iter().filter(|(_, changed)| is_due(changed));
        let etags: Vec<Etag> = due.map(|(etag, _)| etag).collect();
        if !etags.is_empty() {
            self.add(repo, &Choice::Orphans(etags), &[]);
        }
    }

    /// Unfinished blobs that nobody has written for so long.
    fn old_partials(&mut self, repos: &[RepoId], least_ms: u64, now_ms: u64) {
        for repo in repos {
            let steps = cache::abandoned(self.layout, repo, self.eyes).into_iter();
            self.plan.steps.extend(steps.filter(|step| {
                matches!(step, PlanStep::RemovePartial { modified_ms, .. }
                    if now_ms.saturating_sub(*modified_ms) >= least_ms)
            }));
        }
    }

    fn stays(&mut self, repo: &RepoId, why: &str) {
        self.kept.push(Kept {
            path: sanitize(&self.layout.repo(repo).to_string_lossy()),
            why: sanitize(why),
        });
    }
}

/// The blobs of these snapshots that are known to have wrong bytes.
fn wrong_of<'a>(rows: impl Iterator<Item = &'a (ModelRow, Vec<FileRow>)>) -> BTreeSet<Etag> {
    rows.flat_map(|(_, files)| files)
        .filter(|file| {
            matches!(
                file.state,
                FileState::WrongHash | FileState::Truncated | FileState::WrongSize
            )
        })
        .filter_map(|file| Etag::new(file.etag.as_deref()?).ok())
        .collect()
}

/// The snapshot that a ref, a commit or its beginning, or a folder's name means. A ref comes first:
/// `snapshots/main` means the folder and nothing else.
fn named<'a>(models: &[&'a ModelRow], revision: &str) -> Option<&'a ModelRow> {
    if let Some(folder) = revision.strip_prefix("snapshots/") {
        let is_it = |model: &&&ModelRow| model.revision == folder;
        return models.iter().find(is_it).copied();
    }
    let by_ref = |model: &&&ModelRow| model.refs.iter().any(|name| name == revision);
    let by_name = |model: &&&ModelRow| model.revision == revision;
    let mut all = models.iter();
    if let Some(found) = all.find(by_ref).or_else(|| models.iter().find(by_name)) {
        return Some(found);
    }
    let is_short = revision.len() >= SHORT_COMMIT && Commit::new(revision).is_err();
    let mut found = models
        .iter()
        .filter(|model| is_short && model.commit.is_some() && model.revision.starts_with(revision));
    let first = found.next()?;
    found.next().is_none().then_some(first)
}

/// A snapshot as a purge can be told of it.
fn name_of(model: &ModelRow) -> String {
    match model.commit {
        Some(_) => model.revision.clone(),
        None => format!("snapshots/{}", model.revision),
    }
}

fn now_ms(now: SystemTime) -> u64 {
    millis(now.duration_since(UNIX_EPOCH).unwrap_or_default())
}
