//! Owns one look at everything: models, findings, partials, locks, disk, network.
//!
//! Never writes and never hashes.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::Shared;
use super::emit::Emitter;
use super::job::{blocking, heard_stop};
use super::list::is_absent;
use super::lookout::{CacheSighting, Glance, Lookout, network};
use crate::domain::{Command, Event, Outcome, RepoId};

/// Looks once, and says what there is; of a repo of which there is nothing, that.
pub(super) async fn run(
    shared: Arc<Shared>,
    emitter: Emitter,
    repo: Option<RepoId>,
    asks_hub: bool,
    mut commands: mpsc::Receiver<Command>,
) {
    let now = emitter.now();
    let mut lookout = Lookout::everywhere(&shared);
    let wanted = repo.clone();
    let looked = blocking(move || {
        let sighting = lookout
            .look(&Glance::Whole(repo.clone()), repo.as_ref(), now)
            .map_err(|failure| (lookout.elsewhere(&failure.summary, now), failure));
        (sighting, lookout.disk())
    })
    .await;
    let (sighting, disk) = match looked {
        Ok((Ok(sighting), disk)) => (sighting, disk),
        Ok((Err((elsewhere, failure)), _)) => {
            say_elsewhere(&emitter, elsewhere).await;
            emitter
                .fact(Event::CacheUnreadable {
                    failure: failure.clone(),
                })
                .await;
            return end(
                &emitter,
                Outcome::Failed {
                    failures: vec![failure],
                },
            )
            .await;
        }
        Err(failure) => {
            return end(
                &emitter,
                Outcome::Failed {
                    failures: vec![failure],
                },
            )
            .await;
        }
    };
    let mut is_there = wanted.is_none();
    let is_it = |repo: &RepoId| wanted.as_ref() == Some(repo);
    if let Some(seen) = sighting.cache {
        // What is wrong with the cache as a whole says nothing of the repo.
        let mut findings = seen.findings.iter();
        is_there |= findings.any(|finding| finding.repo.as_ref().is_some_and(is_it));
        is_there |= seen.models.iter().any(|model| is_it(&model.repo));
        is_there |= seen.partials.iter().any(|partial| is_it(&partial.repo));
        let (models, findings, partials) = (seen.models, seen.findings, seen.partials);
        let caches = seen.caches;
        emitter.fact(Event::CachesSeen { caches }).await;
        emitter.fact(Event::ModelsListed { models }).await;
        emitter.fact(Event::FindingsSeen { findings }).await;
        emitter.fact(Event::PartialsSeen { partials }).await;
    }
    let locks = sighting.locks;
    is_there |= locks.iter().any(|lock| is_it(&lock.repo));
    emitter.fact(Event::LocksSeen { locks }).await;
    if let Some(disk) = disk {
        emitter.fact(Event::DiskSeen(disk)).await;
    }
    if let Some(repo) = wanted.filter(|_| !is_there) {
        let failures = vec![is_absent(repo, &shared).await];
        return end(&emitter, Outcome::Failed { failures }).await;
    }
    if !asks_hub {
        return end(&emitter, Outcome::Listed).await;
    }
    tokio::select! {
        biased;
        network = network(&shared) => emitter.fact(Event::NetworkSeen(network)).await,
        () = heard_stop(&mut commands) => return end(&emitter, Outcome::Cancelled).await,
    }
    end(&emitter, Outcome::Listed).await;
}

/// What there is beside a main cache that cannot be read.
pub(super) async fn say_elsewhere(emitter: &Emitter, seen: CacheSighting) {
    let CacheSighting {
        caches,
        models,
        findings,
        partials,
    } = seen;
    if !caches.is_empty() {
        emitter.fact(Event::CachesSeen { caches }).await;
    }
    if !models.is_empty() {
        emitter.fact(Event::ModelsListed { models }).await;
    }
    if !findings.is_empty() {
        emitter.fact(Event::FindingsSeen { findings }).await;
    }
    if !partials.is_empty() {
        emitter.fact(Event::PartialsSeen { partials }).await;
    }
}

async fn end(emitter: &Emitter, outcome: Outcome) {
    emitter.fact(Event::Ended(outcome)).await;
}
