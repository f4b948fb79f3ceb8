//! Owns the long look: it says what has changed, and nothing when nothing has.
//!
//! Never hashes; the looking itself is `lookout.rs`. Removes one thing: a download marker whose writer
//! is gone.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Shared;
use super::emit::Emitter;
use super::idle::Idle;
use super::job::blocking;
use super::lookout::{CacheSighting, Glance, Lookout, Sighting, network};
use super::memory::OFFERED_FOR;
use super::programs::Observer;
use super::survey::say_elsewhere;
use crate::cache::{self, Layout};
use crate::domain::{
    CacheRow, Command, Disk, Event, Failure, Finding, LockKind, LockRow, LockState, ModelRow,
    ModelState, Network, Outcome, PartialRow, RepoId, UnfinishedPull, sanitize,
};

/// How often it is looked.
const TICK: Duration = Duration::from_secs(1);
/// How often at everything, whatever the times say.
const WHOLE_EVERY: Duration = Duration::from_mins(1);
/// How often a Hub that answers is asked, and one that does not.
const PING_EVERY: Duration = Duration::from_mins(1);
const PING_AGAIN: Duration = Duration::from_secs(10);
/// Answers faster than this are all the same, in milliseconds.
const PING_FLOOR_MS: u64 = 10;
/// How often markers that were left behind are taken away.
const TIDY_EVERY: Duration = Duration::from_secs(5);
/// A change of the free space that is worth a word: this, or a two-hundredth of the disk.
const DISK_STEP_BYTES: u64 = 200_000_000;
const DISK_STEP_PART: u64 = 200;

/// Watches until nobody commands any more.
pub(super) async fn run(
    shared: Arc<Shared>,
    emitter: Emitter,
    focus: Option<RepoId>,
    commands: mpsc::Receiver<Command>,
) {
    let mut watch = Watch {
        said: Said::default(),
        tidied: None,
        focus,
        must_answer: true,
        shared,
        emitter,
        commands,
        pings: JoinSet::new(),
        next_ping: Instant::now(),
    };
    let outcome = match watch.watch().await {
        Ok(()) => Outcome::Listed,
        Err(failure) => Outcome::Failed {
            failures: vec![failure],
        },
    };
    watch.emitter.fact(Event::Ended(outcome)).await;
}

struct Watch {
    shared: Arc<Shared>,
    emitter: Emitter,
    commands: mpsc::Receiver<Command>,
    focus: Option<RepoId>,
    /// The focus was set: its locks are told, changed or not.
    must_answer: bool,
    said: Said,
    /// When markers were last taken away.
    tidied: Option<Instant>,
    pings: JoinSet<Network>,
    next_ping: Instant,
}

/// What was last said.
#[derive(Default)]
struct Said {
    /// Pulls that did not end are told once.
    unfinished: bool,
    caches: Option<Vec<CacheRow>>,
    models: Option<Vec<ModelRow>>,
    findings: Option<Vec<Finding>>,
    partials: Option<Vec<PartialRow>>,
    locks: Option<Vec<LockRow>>,
    disk: Option<Disk>,
    network: Option<Network>,
    trouble: Option<Failure>,
}

impl Watch {
    async fn watch(&mut self) -> Result<(), Failure> {
        let mut lookout = Lookout::everywhere(&self.shared);
        let mut idle = Idle::new(&self.shared, &self.emitter);
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last_whole: Option<Instant> = None;
        loop {
            let stirred = self.shared.stirred.take();
            let has_ended = !stirred.is_empty();
            let is_whole = last_whole.is_none_or(|at| at.elapsed() >= WHOLE_EVERY);
            let glance = if is_whole {
                Glance::Whole(None)
            } else {
                Glance::Changes(stirred)
            };
            let (focus, now) = (self.focus.clone(), self.emitter.now());
            let (sighting, disk);
            (lookout, sighting, disk) = blocking(move || {
                let sighting = lookout
                    .look(&glance, focus.as_ref(), now)
                    .map_err(|failure| (lookout.elsewhere(&failure.summary, now), failure));
                let disk = lookout.disk();
                (lookout, sighting, disk)
            })
            .await?;
            match sighting {
                Ok(sighting) => {
                    if is_whole {
                        last_whole = Some(Instant::now());
                    }
                    self.tidy(&sighting.locks, now).await;
                    let models = sighting.cache.as_ref().map(|cache| &cache.models);
                    let models = models.or(self.said.models.as_ref());
                    let partials = sighting.cache.as_ref().map(|cache| &cache.partials);
                    let partials = partials.or(self.said.partials.as_ref());
                    idle.tick(
                        models.map_or(&[], Vec::as_slice),
                        partials.map_or(&[], Vec::as_slice),
                        &sighting.locks,
                    );
                    let unfinished = match &sighting.cache {
                        Some(cache) if !std::mem::replace(&mut self.said.unfinished, true) => {
                            self.unfinished(cache, &sighting.locks).await
                        }
                        _ => Vec::new(),
                    };
                    self.say_cache(sighting).await;
                    if !unfinished.is_empty() {
                        let pulls = unfinished;
                        self.emitter.fact(Event::UnfinishedSeen { pulls }).await;
                    }
                }
                Err((elsewhere, failure)) => {
                    // All of it is looked at and told again once it can be.
                    last_whole = None;
                    self.say_trouble(elsewhere, failure).await;
                }
            }
            self.say_disk(disk, has_ended).await;
            if !self.wait(&mut ticks).await {
                return Ok(());
            }
        }
    }

    /// Waits for a reason to look; `false` when nobody commands any more.
    async fn wait(&mut self, ticks: &mut tokio::time::Interval) -> bool {
        loop {
            if self.pings.is_empty() && Instant::now() >= self.next_ping {
                let shared = Arc::clone(&self.shared);
                self.pings.spawn(async move { network(&shared).await });
            }
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(Command::Watch(focus)) => {
                        self.focus = focus;
                        self.must_answer = true;
                        return true;
                    }
                    // A watch ends with the engine alone.
                    Some(_) => {}
                    None => return false,
                },
                () = self.shared.stirred.wait() => return true,
                Some(pinged) = self.pings.join_next() => {
                    if let Ok(network) = pinged {
                        self.say_network(network).await;
                    }
                }
                _ = ticks.tick() => return true,
            }
        }
    }

    /// Takes away markers that were left behind, where larder may: apps that only test for one would
    /// wait for ever.
    async fn tidy(&mut self, locks: &[LockRow], now: SystemTime) {
        let is_due = self.tidied.is_none_or(|at| at.elapsed() >= TIDY_EVERY);
        let stale: Vec<RepoId> = locks
            .iter()
            .filter(|lock| lock.kind == LockKind::Marker && lock.state == LockState::Stale)
            .map(|lock| lock.repo.clone())
            .collect();
        if stale.is_empty() || !is_due || self.shared.config.is_read_only {
            return;
        }
        self.tidied = Some(Instant::now());
        let config = Arc::clone(&self.shared.config);
        let tidied = blocking(move || {
            let Ok(root) = cache::resolve_root(&config.cache_dir) else {
                return Vec::new();
            };
            let layout = Layout::new(root);
            let programs = || Observer::once(layout.root());
            let mut removed = stale;
            removed.retain(|repo| {
                let done = cache::remove_stale_marker(&layout, repo, programs, now);
                done.is_ok_and(|is_removed| is_removed)
            });
            removed
        });
        for repo in tidied.await.unwrap_or_default() {
            let note = format!("{repo}: a download marker that was left behind was removed");
            self.emitter.fact(Event::Noted { note }).await;
        }
    }

    /// Pulls of earlier runs that nobody has finished since, and nobody is at.
    async fn unfinished(&self, cache: &CacheSighting, locks: &[LockRow]) -> Vec<UnfinishedPull> {
        let now = self.emitter.now();
        let since = now.checked_sub(OFFERED_FOR).unwrap_or(UNIX_EPOCH);
        let (memory, config) = (
            Arc::clone(&self.shared.memory),
            Arc::clone(&self.shared.config),
        );
        let known = blocking(move || {
            let root = cache::resolve_root(&config.cache_dir);
            root.map(|root| {
                let mut pulls = memory.unfinished(&root, since);
                pulls.extend(memory.unfinished_in_folders(now));
                (pulls, root)
            })
        });
        let Ok(Ok((mut pulls, root))) = known.await else {
            return Vec::new();
        };
        pulls.retain(|pull| {
            if let Some(dir) = &pull.local_dir {
                return is_broken_off(dir, cache, locks);
            }
            // What another program has elsewhere does not finish a pull.
            let models = || {
                cache
                    .models
                    .iter()
                    .filter(|model| Path::new(&model.snapshot).starts_with(&root))
            };
            let is_complete = models().any(|model| {
                let is_it = model.repo == pull.repo && model.state == ModelState::Complete;
                is_it && model.refs.iter().any(|name| name == pull.revision.as_str())
            });
            let is_of_it = |repo: &RepoId| *repo == pull.repo;
            let is_begun = cache.partials.iter().any(|partial| is_of_it(&partial.repo))
                || models().any(|model| is_of_it(&model.repo));
            let is_at_work = locks.iter().any(|lock| {
                let is_marker = lock.kind == LockKind::Marker && lock.state == LockState::Held;
                lock.repo == pull.repo && is_marker
            });
            is_begun && !is_complete && !is_at_work
        });
        pulls
    }

    async fn say_cache(&mut self, sighting: Sighting) {
        let said = &mut self.said;
        said.trouble = None;
        if let Some(seen) = sighting.cache {
            if let Some(caches) = change(&mut said.caches, seen.caches) {
                self.emitter.fact(Event::CachesSeen { caches }).await;
            }
            if let Some(models) = change(&mut said.models, seen.models) {
                self.emitter.fact(Event::ModelsListed { models }).await;
            }
            if let Some(findings) = change(&mut said.findings, seen.findings) {
                self.emitter.fact(Event::FindingsSeen { findings }).await;
            }
            if let Some(partials) = change(&mut said.partials, seen.partials) {
                self.emitter.fact(Event::PartialsSeen { partials }).await;
            }
        }
        if std::mem::take(&mut self.must_answer) {
            said.locks = None;
        }
        if let Some(locks) = change(&mut said.locks, sighting.locks) {
            self.emitter.fact(Event::LocksSeen { locks }).await;
        }
    }

    async fn say_trouble(&mut self, elsewhere: CacheSighting, failure: Failure) {
        let said = &mut self.said;
        said.caches = None;
        said.models = None;
        said.findings = None;
        said.partials = None;
        said.locks = None;
        if let Some(failure) = change(&mut said.trouble, failure) {
            say_elsewhere(&self.emitter, elsewhere).await;
            self.emitter.fact(Event::CacheUnreadable { failure }).await;
        }
    }

    /// Free space moves all the time; only a step, or the end of a job, is worth a word.
    async fn say_disk(&mut self, disk: Option<Disk>, has_ended: bool) {
        let Some(disk) = disk else { return };
        let is_worth_it = self.said.disk.is_none_or(|said| {
            let step = DISK_STEP_BYTES.min(disk.total_bytes / DISK_STEP_PART);
            let moved = said.free_bytes.abs_diff(disk.free_bytes);
            said.total_bytes != disk.total_bytes || moved > step || (has_ended && moved > 0)
        });
        if is_worth_it {
            self.said.disk = Some(disk);
            self.emitter.fact(Event::DiskSeen(disk)).await;
        }
    }

    async fn say_network(&mut self, network: Network) {
        let rest = match network {
            Network::Offline => Duration::from_hours(24),
            Network::Reachable { .. } => PING_EVERY,
            Network::Unreachable { .. } => PING_AGAIN,
        };
        self.next_ping = Instant::now() + rest;
        let is_same = self
            .said
            .network
            .as_ref()
            .is_some_and(|said| is_like(said, &network));
        if !is_same {
            self.said.network = Some(network.clone());
            self.emitter.fact(Event::NetworkSeen(network)).await;
        }
    }
}

/// Whether a pull into a folder has begun there, and neither is complete nor at work.
fn is_broken_off(dir: &Path, cache: &CacheSighting, locks: &[LockRow]) -> bool {
    let dir = sanitize(&dir.to_string_lossy());
    let mut models = cache.models.iter().filter(|model| model.snapshot == dir);
    let is_at_work = locks
        .iter()
        .any(|lock| lock.cache_path == dir && lock.state == LockState::Held);
    let mut partials = cache.partials.iter();
    let is_begun = models.any(|model| model.state != ModelState::Complete)
        || partials.any(|partial| Path::new(&partial.path).starts_with(&dir));
    is_begun && !is_at_work
}

/// What is to be said, if it differs from what was.
fn change<T: PartialEq + Clone>(said: &mut Option<T>, seen: T) -> Option<T> {
    (said.as_ref() != Some(&seen)).then(|| said.insert(seen).clone())
}

/// Whether it is not worth saying that the network is now so, and not so any more.
fn is_like(said: &Network, seen: &Network) -> bool {
    match (said, seen) {
        (Network::Offline, Network::Offline) => true,
        (Network::Reachable { answer_ms: one }, Network::Reachable { answer_ms: other }) => {
            let (one, other) = ((*one).max(PING_FLOOR_MS), (*other).max(PING_FLOOR_MS));
            one <= other.saturating_mul(2) && other <= one.saturating_mul(2)
        }
        (Network::Unreachable { failure: one }, Network::Unreachable { failure: other }) => {
            one.code == other.code
        }
        (
            Network::Offline | Network::Reachable { .. } | Network::Unreachable { .. },
            Network::Offline | Network::Reachable { .. } | Network::Unreachable { .. },
        ) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::FailureCode;

    #[test]
    fn only_a_real_change_of_the_network_is_told() {
        let reachable = |answer_ms| Network::Reachable { answer_ms };
        let down = |code| Network::Unreachable {
            failure: Failure::new(code, "x"),
        };
        for (said, seen, is_same) in [
            (reachable(40), reachable(80), true),
            (reachable(40), reachable(81), false),
            (reachable(81), reachable(40), false),
            (reachable(0), reachable(19), true),
            (reachable(40), Network::Offline, false),
            (down(FailureCode::Dns), down(FailureCode::Dns), true),
            (down(FailureCode::Dns), down(FailureCode::Timeout), false),
            (down(FailureCode::Dns), reachable(1), false),
        ] {
            assert_eq!(is_like(&said, &seen), is_same, "{said:?} {seen:?}");
        }
    }

    #[test]
    fn what_was_said_is_not_said_again() {
        let mut said = None;
        assert_eq!(change(&mut said, 1), Some(1));
        assert_eq!(change(&mut said, 1), None);
        assert_eq!(change(&mut said, 2), Some(2));
    }
}
