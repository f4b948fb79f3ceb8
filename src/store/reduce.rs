//! Owns folding events into the store.
//!
//! **Law**: every event has its arm; older attempts and other jobs change nothing; lost progress
//! is healed by the next count; counts fall only by `Rewound`.

#![deny(clippy::wildcard_enum_match_arm)]

use super::entry::Entry;
use super::log::{Level, Log};
use super::offers;
use super::scene;
use super::state::{Guided, Listing, Phase, Pull, Store, Target};
use super::words;
use crate::domain::{
    Event, Failure, JobId, Network, OtherPull, Outcome, PullPlan, Stamped, Verification,
};

/// Pulls that are remembered; only ended ones are forgotten.
const PULLS_KEPT: usize = 64;

/// A pull was accepted; that of a job that is known goes on.
fn pull_started(store: &mut Store, stamped: &Stamped) {
    let Event::PullStarted {
        repo,
        revision,
        endpoint,
        cache_dir,
        is_dry_run,
        is_offline,
    } = &stamped.event
    else {
        return;
    };
    let (at_ms, job) = (store.last_ms, stamped.job);
    if store.pull(job).is_some() {
        return;
    }
    let target = Target {
        repo: repo.clone(),
        revision: revision.clone(),
        commit: None,
        endpoint: endpoint.clone(),
        cache_dir: cache_dir.clone(),
        is_offline: *is_offline,
    };
    let line = if *is_offline {
        format!("offline, looking for {repo} @ {revision} in the cache {cache_dir}")
    } else {
        format!("asking {endpoint} for {repo} @ {revision}; cache {cache_dir}")
    };
    store.log.write(at_ms, Level::Info, None, &line);
    make_room(&mut store.pulls, *is_dry_run);
    store.pulls.push(Pull::new(job, target, *is_dry_run, at_ms));
}

/// Folds one event.
pub fn reduce(store: &mut Store, stamped: &Stamped) {
    store.last_ms = store.last_ms.max(stamped.at_ms);
    let at_ms = store.last_ms;
    let job = stamped.job;
    if let Event::ListingRetried { .. } | Event::Failed { retry: Some(_), .. } = &stamped.event {
        store.last_retry_ms = Some(at_ms);
    }
    match &stamped.event {
        Event::PullStarted { .. } => pull_started(store, stamped),
        Event::ModelsListed { models } => {
            store.shelf.saw_models(models);
            if let Some(listing) = listing_of(store, job) {
                listing.models.clone_from(models);
            }
        }
        Event::FilesListed { model, files } => {
            if let Some(listing) = listing_of(store, job) {
                listing.files.push(((**model).clone(), files.clone()));
            }
        }
        Event::HistoryListed { rows } => {
            if let Some(listing) = listing_of(store, job) {
                listing.history.clone_from(rows);
            }
        }
        Event::Ended(outcome) if store.pull(job).is_none() => {
            ended_beside(store, job, at_ms, outcome);
        }
        Event::CachesSeen { .. }
        | Event::FindingsSeen { .. }
        | Event::LocksSeen { .. }
        | Event::UnfinishedSeen { .. }
        | Event::PartialsSeen { .. }
        | Event::DiskSeen(_)
        | Event::NetworkSeen(_)
        | Event::PurgePlanned(_)
        | Event::TrashSeen { .. }
        | Event::CacheUnreadable { .. }
        | Event::Guided { .. }
        | Event::FixStarted
        | Event::VerifyStarted { .. }
        | Event::VerifyProgress { .. }
        | Event::ModelVerified(_) => fold_look(store, job, at_ms, &stamped.event),
        Event::ListingRetried { .. }
        | Event::Resolved { .. }
        | Event::WaitingForPull(_)
        | Event::Planned(_)
        | Event::Validated(_)
        | Event::Waiting { .. }
        | Event::Recognised(_)
        | Event::Reusing { .. }
        | Event::Copied { .. }
        | Event::Connecting { .. }
        | Event::Downloading { .. }
        | Event::Progress { .. }
        | Event::Stalled { .. }
        | Event::ConnectionLost { .. }
        | Event::Rewound { .. }
        | Event::PartialRestored { .. }
        | Event::Verifying { .. }
        | Event::Finished { .. }
        | Event::Reused { .. }
        | Event::Failed { .. }
        | Event::Cancelled { .. }
        | Event::Healed(_)
        | Event::Noted { .. }
        | Event::Reopened { .. }
        | Event::Ended(_) => {
            if let Some(pull) = store.pulls.iter_mut().find(|pull| pull.job == job) {
                fold_pull(pull, &mut store.log, at_ms, &stamped.event);
                if let Event::Ended(Outcome::Complete(result)) = &stamped.event
                    && result.is_verified
                {
                    let files = pull.entries.len();
                    store.shelf.saw_pull(at_ms, &result.snapshot, files);
                }
            } else if let Event::Noted { note } = &stamped.event {
                store.log.write(at_ms, Level::Info, None, note);
            }
        }
    }
}

/// What is seen of the cache and the machine.
fn fold_look(store: &mut Store, job: JobId, at_ms: u64, event: &Event) {
    match event {
        Event::CachesSeen { caches } => store.shelf.caches.clone_from(caches),
        Event::FindingsSeen { findings } => store.shelf.findings.clone_from(findings),
        Event::LocksSeen { locks } => store.shelf.locks.clone_from(locks),
        Event::UnfinishedSeen { pulls } => {
            for pull in pulls {
                store
                    .log
                    .write(at_ms, Level::Info, None, &words::unfinished_line(pull));
            }
        }
        Event::PartialsSeen { partials } => store.shelf.partials.clone_from(partials),
        Event::DiskSeen(disk) => store.shelf.disk = Some(*disk),
        Event::NetworkSeen(network) => saw_network(store, at_ms, network),
        Event::FixStarted => {
            let line = "what the repair changes is looked at once more";
            store.log.write(at_ms, Level::Info, None, line);
        }
        Event::PurgePlanned(planned) => {
            store.shelf.planned = Some(planned.clone());
            store.shelf.plans += 1;
        }
        Event::TrashSeen { rows } => {
            store.shelf.trash = Some(rows.clone());
            store.shelf.trash_looks += 1;
        }
        Event::CacheUnreadable { failure } => {
            saw_trouble(store, at_ms, failure);
        }
        Event::VerifyStarted {
            snapshots,
            files,
            bytes,
        } => {
            let line = words::verify_line(*snapshots, *files, *bytes);
            store.log.write(at_ms, Level::Info, None, &line);
            store.shelf.verify_started(job, at_ms, *files, *bytes);
        }
        Event::VerifyProgress { files, bytes, path } => {
            if let Some(verifying) = store.shelf.verifying.as_mut().filter(|v| v.job == job) {
                verifying.files_done = verifying.files_done.max(*files);
                verifying.bytes_done = verifying.bytes_done.max(*bytes);
                verifying.path.clone_from(path);
            }
        }
        Event::ModelVerified(verification) => {
            verified(store, at_ms, verification);
        }
        Event::Guided {
            repo,
            guide,
            failure,
        } => {
            store.guided = Some(Guided {
                repo: repo.clone(),
                guide: guide.as_deref().cloned(),
                failure: failure.clone(),
            });
        }
        // `reduce` has the others.
        Event::PullStarted { .. }
        | Event::ListingRetried { .. }
        | Event::Resolved { .. }
        | Event::WaitingForPull(_)
        | Event::Planned(_)
        | Event::Validated(_)
        | Event::Waiting { .. }
        | Event::Recognised(_)
        | Event::Reusing { .. }
        | Event::Copied { .. }
        | Event::Connecting { .. }
        | Event::Downloading { .. }
        | Event::Progress { .. }
        | Event::Stalled { .. }
        | Event::ConnectionLost { .. }
        | Event::HistoryListed { .. }
        | Event::Rewound { .. }
        | Event::PartialRestored { .. }
        | Event::Verifying { .. }
        | Event::Finished { .. }
        | Event::Reused { .. }
        | Event::Failed { .. }
        | Event::Cancelled { .. }
        | Event::Healed(_)
        | Event::Noted { .. }
        | Event::ModelsListed { .. }
        | Event::FilesListed { .. }
        | Event::Reopened { .. }
        | Event::Ended(_) => {}
    }
}

/// A snapshot was hashed: a line for it, and one for everything wrong with it.
fn verified(store: &mut Store, at_ms: u64, verification: &Verification) {
    let (level, line) = words::verified_line(verification);
    store.log.write(at_ms, level, None, &line);
    for finding in &verification.findings {
        let line = words::finding_line(finding);
        store.log.write(at_ms, Level::Warning, None, &line);
    }
    store.shelf.saw_verification(at_ms, verification);
}

/// Pulls that have ended are kept to be looked at, but not without bound; and of plans that were
/// only looked at, the newest is enough.
fn make_room(pulls: &mut Vec<Pull>, is_preview: bool) {
    if is_preview {
        pulls.retain(|pull| !pull.is_preview);
    }
    if pulls.len() >= PULLS_KEPT
        && let Some(oldest) = pulls.iter().position(|pull| pull.phase == Phase::Ended)
    {
        pulls.remove(oldest);
    }
}

/// A cache that cannot be read has a line; the same trouble again has none.
fn saw_trouble(store: &mut Store, at_ms: u64, failure: &Failure) {
    if store.shelf.trouble.as_ref() != Some(failure) {
        let line = failure.to_string();
        store.log.write(at_ms, Level::Error, None, &line);
    }
    store.shelf.trouble = Some(failure.clone());
}

/// The end of a job that is no pull.
fn ended_beside(store: &mut Store, job: JobId, at_ms: u64, outcome: &Outcome) {
    match outcome {
        Outcome::Verified { good, broken } => {
            let level = if *broken > 0 {
                Level::Error
            } else {
                Level::Info
            };
            let line = words::verify_end_line(*good, *broken);
            store.log.write(at_ms, level, None, &line);
            if let Some(verifying) = store.shelf.verifying.as_mut().filter(|v| v.job == job) {
                // The last progress may have been dropped.
                verifying.files_done = verifying.files_total;
                verifying.bytes_done = verifying.bytes_total;
            }
        }
        Outcome::Purged(result) => {
            for kept in &result.kept {
                let line = format!("{} stays: {}", kept.path, kept.why);
                store.log.write(at_ms, Level::Warning, None, &line);
            }
            let line = words::purge_line(result);
            store.log.write(at_ms, Level::Info, None, &line);
            store.shelf.saw_purge(result);
        }
        Outcome::Fixed(result) => {
            for kept in &result.kept {
                let line = format!("{} stays: {}", kept.path, kept.why);
                store.log.write(at_ms, Level::Warning, None, &line);
            }
            let line = words::fix_line(result);
            store.log.write(at_ms, Level::Info, None, &line);
            store.shelf.saw_fix(result);
        }
        Outcome::Trashed(result) => {
            for kept in &result.kept {
                let line = format!("{} stays in the trash: {}", kept.path, kept.why);
                store.log.write(at_ms, Level::Warning, None, &line);
            }
            let line = words::trash_line(result);
            store.log.write(at_ms, Level::Info, None, &line);
            store.shelf.saw_trashed(result);
        }
        Outcome::Failed { failures } => {
            for failure in failures {
                store
                    .log
                    .write(at_ms, Level::Error, None, &failure.to_string());
            }
        }
        Outcome::Cancelled => {
            store.log.write(at_ms, Level::Warning, None, "cancelled");
        }
        Outcome::Complete(_) | Outcome::Planned | Outcome::Listed | Outcome::Imported(_) => {}
    }
    if let Some(verifying) = store.shelf.verifying.as_mut().filter(|v| v.job == job) {
        verifying.is_running = false;
    }
    // Rows of an earlier look stay until another look has some: a verification is none.
    let listing = &mut store.listing;
    if listing.job.is_none_or(|known| known <= job) {
        listing.outcome = Some(outcome.clone());
    }
}

/// A change of the network has a line; a repetition has none.
fn saw_network(store: &mut Store, at_ms: u64, network: &Network) {
    let was_down = matches!(store.shelf.network, Some(Network::Unreachable { .. }));
    match network {
        Network::Unreachable { failure } if !was_down => {
            let line = format!("the Hub does not answer: {failure}");
            store.log.write(at_ms, Level::Warning, None, &line);
        }
        Network::Reachable { .. } if was_down => {
            store
                .log
                .write(at_ms, Level::Info, None, "the Hub answers again");
        }
        Network::Unreachable { .. } | Network::Reachable { .. } | Network::Offline => {}
    }
    store.shelf.network = Some(network.clone());
}

/// The listing that `job` fills: a newer job begins it afresh, an older one is not heard.
fn listing_of(store: &mut Store, job: JobId) -> Option<&mut Listing> {
    let listing = &mut store.listing;
    if listing.job.is_some_and(|newest| job < newest) {
        return None;
    }
    if listing.job != Some(job) {
        *listing = Listing {
            job: Some(job),
            ..Listing::default()
        };
    }
    Some(listing)
}

/// What a pull makes of its events.
fn fold_pull(pull: &mut Pull, log: &mut Log, at_ms: u64, event: &Event) {
    match event {
        Event::ListingRetried { failure, retry } => {
            let line = words::retry_line(failure, 0, *retry);
            log.write(at_ms, Level::Warning, None, &line);
        }
        Event::Resolved {
            repo,
            commit,
            files,
        } => {
            pull.target.repo = repo.clone();
            pull.target.commit = Some(*commit);
            let line = format!(
                "{repo} @ {} is {}, {}",
                pull.target.revision,
                commit.short(),
                words::count(*files, "file")
            );
            log.write(at_ms, Level::Debug, None, &line);
        }
        Event::WaitingForPull(other) => waiting(pull, log, at_ms, other),
        Event::Planned(plan) => planned(pull, log, at_ms, plan),
        Event::Validated(validation) => {
            let line = words::validation_line(validation);
            log.write(at_ms, Level::Info, None, &line);
            pull.validation = Some(validation.clone());
        }
        Event::Recognised(recognition) => offers::recognised(pull, log, at_ms, recognition),
        Event::Healed(healing) => {
            log.write(at_ms, Level::Warning, None, &words::healing_line(healing));
            pull.healed.push(healing.clone());
        }
        Event::Noted { note } => {
            log.write(at_ms, Level::Info, None, note);
            pull.notes.push(note.clone());
        }
        Event::Reopened { files } => {
            pull.outcome = None;
            pull.ended_ms = None;
            pull.phase = if pull.plan.is_some() {
                Phase::Fetching
            } else {
                Phase::Listing
            };
            for file in files {
                if let Some(entry) = pull.entry_mut(*file) {
                    entry.reopen();
                }
            }
            log.write(at_ms, Level::Info, None, "trying again");
        }
        Event::Ended(outcome) => ended(pull, log, at_ms, outcome),
        Event::Waiting { file, attempt, .. }
        | Event::Reusing { file, attempt }
        | Event::Copied { file, attempt, .. }
        | Event::Connecting { file, attempt, .. }
        | Event::Downloading { file, attempt, .. }
        | Event::Progress { file, attempt, .. }
        | Event::Stalled { file, attempt, .. }
        | Event::ConnectionLost { file, attempt, .. }
        | Event::Rewound { file, attempt, .. }
        | Event::PartialRestored { file, attempt, .. }
        | Event::Verifying { file, attempt }
        | Event::Finished { file, attempt, .. }
        | Event::Reused { file, attempt, .. }
        | Event::Failed { file, attempt, .. }
        | Event::Cancelled { file, attempt, .. } => {
            scene::play(pull, log, at_ms, *file, *attempt, event);
        }
        // Handled before a pull is asked.
        Event::PullStarted { .. }
        | Event::HistoryListed { .. }
        | Event::ModelsListed { .. }
        | Event::FilesListed { .. }
        | Event::CachesSeen { .. }
        | Event::FindingsSeen { .. }
        | Event::LocksSeen { .. }
        | Event::UnfinishedSeen { .. }
        | Event::PartialsSeen { .. }
        | Event::DiskSeen(_)
        | Event::NetworkSeen(_)
        | Event::PurgePlanned(_)
        | Event::TrashSeen { .. }
        | Event::CacheUnreadable { .. }
        | Event::FixStarted
        | Event::VerifyStarted { .. }
        | Event::VerifyProgress { .. }
        | Event::Guided { .. }
        | Event::ModelVerified(_) => {}
    }
}

/// Another program downloads the same: a line at first, for another program, and for every tenth.
fn waiting(pull: &mut Pull, log: &mut Log, at_ms: u64, other: &OtherPull) {
    let is_news = pull.waits_for.as_ref().is_none_or(|before| {
        before.pid != other.pid || words::tenths(before) != words::tenths(other)
    });
    if is_news {
        let line = words::other_pull_line(other);
        log.write(at_ms, Level::Info, None, &line);
    }
    pull.waits_for = Some(other.clone());
}

fn planned(pull: &mut Pull, log: &mut Log, at_ms: u64, plan: &PullPlan) {
    pull.target.repo = plan.repo.clone();
    pull.target.commit = Some(plan.commit);
    pull.phase = Phase::Fetching;
    pull.waits_for = None;
    pull.entries = plan.files.iter().cloned().map(Entry::new).collect();
    pull.plan = Some(plan.clone());
    log.write(at_ms, Level::Info, None, &words::plan_line(plan));
    if plan.left_out > 0 {
        let line = format!(
            "{} of the repo not selected",
            words::count(plan.left_out, "file")
        );
        log.write(at_ms, Level::Debug, None, &line);
    }
}

fn ended(pull: &mut Pull, log: &mut Log, at_ms: u64, outcome: &Outcome) {
    pull.phase = Phase::Ended;
    pull.waits_for = None;
    pull.ended_ms = Some(at_ms);
    pull.outcome = Some(outcome.clone());
    match outcome {
        Outcome::Complete(result) => {
            let total_bytes = pull.plan.as_ref().map_or(0, |plan| plan.total_bytes);
            let line =
                words::complete_line(result, pull.entries.len(), total_bytes, pull.reused_bytes());
            let reference = words::ref_line(
                &result.reference,
                pull.target.revision.as_str(),
                result.commit,
            );
            if let Some((is_kept, line)) = reference {
                let level = if is_kept { Level::Warning } else { Level::Info };
                log.write(at_ms, level, None, &line);
            }
            log.write(at_ms, Level::Info, None, &line);
        }
        Outcome::Failed { failures } => {
            let (done, all) = pull.files_in_place();
            let line = if pull.plan.is_some() {
                format!(
                    "failed · {done} of {all} files in place · {}",
                    words::count(failures.len(), "failure")
                )
            } else {
                "failed".to_owned()
            };
            log.write(at_ms, Level::Error, None, &line);
        }
        Outcome::Cancelled if pull.plan.is_none() => {
            let line = "cancelled before anything was fetched";
            log.write(at_ms, Level::Warning, None, line);
        }
        Outcome::Cancelled => {
            let (done, all) = pull.files_in_place();
            let line = format!(
                "cancelled · {done} of {all} files in place · what is here is resumed next time"
            );
            log.write(at_ms, Level::Warning, None, &line);
        }
        Outcome::Planned => {
            log.write(at_ms, Level::Info, None, "planned only, nothing written");
        }
        Outcome::Imported(result) => offers::imported(pull, log, at_ms, result),
        Outcome::Listed
        | Outcome::Verified { .. }
        | Outcome::Purged(_)
        | Outcome::Fixed(_)
        | Outcome::Trashed(_) => {}
    }
}
