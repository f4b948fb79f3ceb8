//! Owns verifying: every content of the chosen snapshots, of folders elsewhere, and of what no
//! snapshot leads to is hashed once, offline.
//!
//! Never writes; a wish to stop is heard between two steps of a quarter of a megabyte.

use std::collections::{BTreeSet, HashSet};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::abroad::Abroad;
use super::emit::Emitter;
use super::failure::from_cache;
use super::history;
use super::job::{Halt, blocking, heard_stop};
use super::judging::Judging;
use super::list::absent;
use super::memory::{Memory, Verdicts};
use crate::cache::{
    self, Eyes, Inspection, Judge, Layout, Names, Programs, Proofs, ProvenContent, WrongContent,
};
use crate::domain::{
    Command, Event, Failure, FailureCode, Outcome, RepoId, RepoPath, Severity, Verification,
    VerifyTarget,
};
use crate::host::LockTable;
use crate::ledger::{Proven, Stamp, Wrong};

/// Least time between two words about progress.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// What is to be proven, and the cache it is in.
type Placed = (Layout, Inspection);

/// Everything that is to be proven, and what is known of it before.
struct Wanted {
    placed: Vec<Placed>,
    proofs: Proofs,
    names: Arc<Names>,
}

/// How far it has come; written by the thread that hashes.
#[derive(Debug, Default)]
struct Progress {
    files: AtomicUsize,
    bytes: AtomicU64,
    path: Mutex<String>,
    /// How long to rest after each step, one thread at a time; zero for those who wait.
    rest: Duration,
}

/// The rest of a check that nobody waits for: about a hundred megabytes a second, on any machine.
const UNHURRIED: Duration = Duration::from_millis(2);

/// Verifies the targets, or everything; of what has not changed since it was hashed only what is
/// `wanted` deep.
pub(super) async fn run(
    shared: Arc<Shared>,
    emitter: Emitter,
    wanted: (Vec<VerifyTarget>, bool),
    mut commands: mpsc::Receiver<Command>,
) {
    let stop = CancellationToken::new();
    let started = emitter.now();
    let mut repos = BTreeSet::new();
    let progress = Arc::new(Progress::default());
    shared.hashing.fetch_add(1, Ordering::Relaxed);
    let outcome = {
        let work = verify(&shared, &emitter, wanted, &stop, &mut repos, &progress);
        tokio::pin!(work);
        let done = tokio::select! {
            biased;
            done = &mut work => done,
            () = heard_stop(&mut commands) => {
                stop.cancel();
                // The thread that hashes lets go of its file, and only then is it over.
                work.await
            }
        };
        match done {
            Ok((good, broken)) => Outcome::Verified { good, broken },
            Err(Halt::Interrupted) => Outcome::Cancelled,
            Err(
                Halt::Failed(failure)
                | Halt::Mismatch(failure)
                | Halt::Suspect(failure)
                | Halt::Doubt(failure)
                | Halt::Again(failure),
            ) => Outcome::Failed {
                failures: vec![failure],
            },
        }
    };
    shared.hashing.fetch_sub(1, Ordering::Relaxed);
    let times = (started, emitter.now());
    let hashed: Vec<RepoId> = repos.iter().cloned().collect();
    history::keep(
        &shared,
        history::row(
            "verify",
            &hashed,
            progress.bytes.load(Ordering::Relaxed),
            times,
            &outcome,
        ),
    )
    .await;
    if let Some(note) = shared.memory.trouble() {
        emitter.fact(Event::Noted { note }).await;
    }
    emitter.fact(Event::Ended(outcome)).await;
    for repo in &repos {
        shared.stirred.add(repo);
    }
}

/// How many snapshots are good, and how many are not.
async fn verify(
    shared: &Arc<Shared>,
    emitter: &Emitter,
    (targets, is_deep): (Vec<VerifyTarget>, bool),
    stop: &CancellationToken,
    repos: &mut BTreeSet<RepoId>,
    progress: &Arc<Progress>,
) -> Result<(usize, usize), Halt> {
    let gathering = Arc::clone(shared);
    let halt = stop.clone();
    let now = emitter.now();
    let Wanted {
        placed: inspections,
        mut proofs,
        names,
    } = blocking(move || gather(&gathering, &targets, (is_deep, false), &halt, now)).await??;
    repos.extend(
        inspections
            .iter()
            .filter_map(|(_, one)| one.repo().cloned()),
    );
    let contents = cache::lengths_to_hash(inspections.iter().map(|(_, one)| one), &proofs);
    emitter
        .fact(Event::VerifyStarted {
            snapshots: inspections.len(),
            files: contents.len(),
            bytes: contents.iter().sum(),
        })
        .await;
    let has_work = !contents.is_empty();
    let (mut good, mut broken) = (0, 0);
    for inspection in inspections {
        let hashing = prove(
            shared,
            emitter,
            inspection,
            (proofs, &names),
            progress,
            stop,
        );
        tokio::pin!(hashing);
        let mut ticks = tokio::time::interval(PROGRESS_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // The first tick comes at once, and there is nothing to say yet.
        ticks.tick().await;
        let verification = loop {
            tokio::select! {
                biased;
                done = &mut hashing => {
                    let verification;
                    (verification, proofs) = done?;
                    break verification;
                }
                _ = ticks.tick(), if has_work => say_progress(emitter, progress),
            }
        };
        if has_work {
            say_progress(emitter, progress);
        }
        if verification.is_good() {
            good += 1;
        } else {
            broken += 1;
        }
        emitter.fact(Event::ModelVerified(verification)).await;
    }
    Ok((good, broken))
}

/// Verifies one snapshot slowly and says nothing of it; what is wrong in it.
pub(super) async fn quietly(
    shared: &Arc<Shared>,
    emitter: &Emitter,
    target: VerifyTarget,
    is_deep: bool,
    stop: &CancellationToken,
) -> Result<Vec<String>, Halt> {
    let (gathering, halt, now) = (Arc::clone(shared), stop.clone(), emitter.now());
    let Wanted {
        placed,
        mut proofs,
        names,
    } = blocking(move || gather(&gathering, &[target], (is_deep, true), &halt, now)).await??;
    let progress = Arc::new(Progress {
        rest: UNHURRIED,
        ..Progress::default()
    });
    let mut wrong = Vec::new();
    for one in placed {
        let verification;
        let known = (proofs, &names);
        (verification, proofs) = prove(shared, emitter, one, known, &progress, stop).await?;
        if !verification.is_good() {
            let errors = verification.findings.into_iter();
            let errors = errors.filter(|finding| finding.severity == Severity::Error);
            wrong.extend(errors.map(|finding| finding.summary));
        }
    }
    Ok(wrong)
}

/// Looks at what is to be verified, and what is known of it.
fn gather(
    shared: &Shared,
    targets: &[VerifyTarget],
    (is_deep, is_main_only): (bool, bool),
    stop: &CancellationToken,
    now: SystemTime,
) -> Result<Wanted, Halt> {
    let root = cache::resolve_root(&shared.config.cache_dir).map_err(Halt::of_cache)?;
    let layout = Layout::new(root);
    let repos = cache::repos(&layout).map_err(Halt::of_cache)?;
    let all: Vec<VerifyTarget>;
    let wanted = if targets.is_empty() {
        all = repos
            .iter()
            .map(|repo| VerifyTarget {
                repo: repo.clone(),
                revision: None,
            })
            .collect();
        &all[..]
    } else {
        targets
    };
    let judging = Judging::of(&shared.memory, &shared.config, now).afresh();
    let (mut placed, names) = judging.judge(&|_| false, |judge| {
        // What was hashed before is asked for content by content.
        let judge = Judge {
            hashed: &|_, _, _| None,
            content: &|_, _| None,
            ..judge
        };
        inspect_all(
            shared,
            &layout,
            (wanted, targets.is_empty(), is_main_only),
            judge,
            stop,
            now,
        )
    })?;
    for (_, inspection) in &mut placed {
        inspection.call_as(&names);
    }
    let mut proofs = Proofs::default();
    if !is_deep {
        for (_, inspection) in &placed {
            let verdicts = Verdicts::of(&shared.memory);
            proofs.take_known(
                inspection,
                &|path, found, etag| {
                    let hashed = verdicts.hashed(path, found, etag);
                    hashed.is_some_and(|hashed| hashed.computed.is_none())
                },
                &|path, found| Some(verdicts.content(path, found)?.0),
            );
        }
    }
    Ok(Wanted {
        placed,
        proofs,
        names: Arc::new(names),
    })
}

/// Looks at every snapshot of the targets, in the main cache and elsewhere; at all of them where
/// no target was named.
fn inspect_all(
    shared: &Shared,
    layout: &Layout,
    (wanted, is_all, is_main_only): (&[VerifyTarget], bool, bool),
    judge: Judge<'_>,
    stop: &CancellationToken,
    now: SystemTime,
) -> Result<(Vec<Placed>, Names), Halt> {
    let mut abroad = Abroad::new(shared);
    if !is_main_only {
        abroad.look_if_due(layout, false, &BTreeSet::new(), now);
    }
    let mut found: Vec<Placed> = Vec::new();
    for target in wanted {
        if stop.is_cancelled() {
            return Err(Halt::Interrupted);
        }
        let revision = target.revision.as_deref();
        let inspections =
            cache::inspect(layout, &target.repo, revision, judge).map_err(from_cache)?;
        let mut inspections: Vec<Placed> = inspections
            .into_iter()
            .map(|one| (layout.clone(), one))
            .collect();
        if !is_all {
            let elsewhere = abroad.seen();
            inspections.extend(elsewhere.inspect(Some(&target.repo), revision, judge));
            if inspections.is_empty() {
                return Err(
                    not_here(shared, target, &cache::repos(layout).unwrap_or_default()).into(),
                );
            }
        }
        add(&mut found, inspections);
    }
    let seen = abroad.seen();
    if is_all {
        add(&mut found, seen.inspect(None, None, judge));
        // What links of repos lead to is proven with them.
        let proven: HashSet<(u64, u64)> = found.iter().flat_map(|(_, one)| one.files()).collect();
        for layout in std::iter::once(layout).chain(seen.hubs()) {
            let store = cache::inspect_store(layout, &|file| proven.contains(&file));
            found.extend(store.map(|store| (layout.clone(), store)));
        }
    }
    let names = if found.iter().any(|(_, one)| one.has_free()) {
        Names::of(std::iter::once(layout).chain(seen.hubs()))
    } else {
        Names::default()
    };
    Ok((found, names))
}

/// Adds those that are not there yet.
fn add(found: &mut Vec<Placed>, more: Vec<Placed>) {
    for one in more {
        if !found.iter().any(|known| known.1.is_same(&one.1)) {
            found.push(one);
        }
    }
}

fn not_here(shared: &Shared, target: &VerifyTarget, repos: &[RepoId]) -> Failure {
    match &target.revision {
        Some(revision) if repos.contains(&target.repo) => Failure::new(
            FailureCode::Incomplete,
            format!(
                "`{}` has no snapshot `{revision}` in the cache",
                target.repo
            ),
        )
        .because(
            "a ref, a commit, at least seven characters of one, or a snapshot folder names one",
        )
        .at_path(shared.config.cache_dir.display().to_string()),
        None if repos.contains(&target.repo) => Failure::new(
            FailureCode::Incomplete,
            format!("`{}` has no snapshot in the cache yet", target.repo),
        )
        .because("a download of it was begun and brought no file to its end")
        .at_path(shared.config.cache_dir.display().to_string()),
        _ => absent(&target.repo, shared),
    }
}

async fn prove(
    shared: &Arc<Shared>,
    emitter: &Emitter,
    (layout, inspection): Placed,
    (mut proofs, names): (Proofs, &Arc<Names>),
    progress: &Arc<Progress>,
    stop: &CancellationToken,
) -> Result<(Verification, Proofs), Halt> {
    let (shared, progress, stop) = (Arc::clone(shared), Arc::clone(progress), stop.clone());
    let (names, now) = (Arc::clone(names), emitter.now());
    blocking(move || {
        let ours = |repo: &RepoId, etag: &_| shared.at_work.of(repo, etag);
        let eyes = Eyes {
            now,
            table: LockTable::default(),
            programs: &Programs::unknown(),
            ours: &ours,
        };
        let watch = |path: &RepoPath, more: u64, is_done: bool| {
            progress.bytes.fetch_add(more, Ordering::Relaxed);
            progress
                .files
                .fetch_add(usize::from(is_done), Ordering::Relaxed);
            let mut shown = progress.path.lock().unwrap_or_else(PoisonError::into_inner);
            if *shown != path.as_str() {
                path.as_str().clone_into(&mut shown);
            }
            if !progress.rest.is_zero() {
                std::thread::sleep(progress.rest);
            }
            drop(shown);
            if stop.is_cancelled() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let verification = inspection.prove(&layout, &mut proofs, &names, &eyes, &watch);
        // Also when it was broken off: what was found by then is true.
        let (proven, wrong) = proofs.take_news();
        remember(&shared, proven, wrong, now);
        let verification = verification?;
        Ok((verification, proofs))
    })
    .await?
    .map_err(Halt::of_cache)
}

/// Keeps what was found right and forgets what was not: the next pull need not hash it again.
fn remember(
    shared: &Shared,
    proven: Vec<ProvenContent>,
    wrong: Vec<WrongContent>,
    now: SystemTime,
) {
    let memory = &shared.memory;
    let mut unreadable = Vec::new();
    let mut known = Vec::new();
    for content in wrong {
        let Ok(path) = content.path.into_os_string().into_string() else {
            continue;
        };
        match content.computed {
            // One that changed a moment before it was read might have changed again unseen.
            Some(_) if !Memory::is_settled(&Stamp::of(&content.metadata), now) => {}
            Some(computed) => known.push(Wrong {
                path,
                stamp: Stamp::of(&content.metadata),
                etag: content.etag,
                computed,
            }),
            None => unreadable.push(path),
        }
    }
    memory.forget(&unreadable);
    memory.keep_wrong(known, now);
    let mut files = Vec::with_capacity(proven.len());
    for content in proven {
        let stamp = Stamp::of(&content.metadata);
        if let Some(digests) = &content.digests {
            memory.keep_digests(&content.etag, stamp.size, digests, now);
        }
        // One that changed a moment before it was read might have changed again unseen.
        if Memory::is_settled(&stamp, now)
            && let Ok(path) = content.path.into_os_string().into_string()
        {
            files.push(Proven {
                path,
                stamp,
                etag: content.etag,
            });
        }
    }
    memory.keep_proven(files, now);
}

fn say_progress(emitter: &Emitter, progress: &Progress) {
    let path = progress.path.lock().unwrap_or_else(PoisonError::into_inner);
    emitter.progress(Event::VerifyProgress {
        files: progress.files.load(Ordering::Relaxed),
        bytes: progress.bytes.load(Ordering::Relaxed),
        path: path.clone(),
    });
}
