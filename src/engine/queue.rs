//! Owns waiting until nobody else downloads the repo that a pull is for: it holds nothing meanwhile,
//! shows whom it waits for and how far they are, and ends when they end, stand still or take too
//! long.
//!
//! Never keeps two from fetching the same: that the blobs' locks do, also where there is no marker.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::emit::Emitter;
use super::job::{Halt, blocking, or_stop};
use super::programs::Observer;
use crate::cache::{self, Eyes, Layout};
use crate::domain::{Event, Failure, FailureCode, OtherPull, RepoId};
use crate::host::LockTable;

/// How often it is looked: whoever waits takes over that soon.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// How long the other may make no progress (product.md, section 4).
const PATIENCE: Duration = Duration::from_mins(5);
/// How often waiting is told, at most.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// Waits until nobody else downloads the repo; whether that took any time.
pub(super) async fn wait_for_others(
    shared: &Shared,
    emitter: &Emitter,
    layout: &Layout,
    repo: &RepoId,
    deadline: Option<Instant>,
    stop: &CancellationToken,
) -> Result<bool, Halt> {
    let mut pulse = None;
    // Counted in looks: while this process does not run, nobody else is seen to stand still.
    let mut still = Duration::ZERO;
    let mut told: Option<(Instant, OtherPull)> = None;
    let mut observer = Observer::default();
    loop {
        let (other, beat);
        let looking = look(shared, emitter, layout, repo, observer);
        (observer, other, beat) = or_stop(stop, looking).await??;
        let Some(other) = other else {
            return Ok(told.is_some());
        };
        if pulse.replace(beat) != Some(beat) {
            still = Duration::ZERO;
        }
        let is_late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
        if is_late || still >= PATIENCE {
            let what = if is_late {
                "is still being downloaded by another program"
            } else {
                "is held by another program, which makes no progress for five minutes"
            };
            let failure = Failure::new(FailureCode::LockBusy, format!("`{repo}` {what}"));
            let why = format!("{}; {}", other.name(), other.proof);
            return Err(Halt::Failed(failure.because(why)));
        }
        let is_news = told
            .as_ref()
            .is_none_or(|(at, said)| at.elapsed() >= TOLD_EVERY && *said != other);
        if is_news {
            emitter.fact(Event::WaitingForPull(other.clone())).await;
            told = Some((Instant::now(), other));
        }
        or_stop(stop, tokio::time::sleep(LOOK_EVERY)).await?;
        still += LOOK_EVERY;
    }
}

/// Who else downloads the repo, and what changes while they make progress.
async fn look(
    shared: &Shared,
    emitter: &Emitter,
    layout: &Layout,
    repo: &RepoId,
    mut observer: Observer,
) -> Result<(Observer, Option<OtherPull>, u64), Failure> {
    let (layout, repo, now) = (layout.clone(), repo.clone(), emitter.now());
    let at_work = Arc::clone(&shared.at_work);
    blocking(move || {
        // Mostly there is none, and then nobody need be asked.
        if layout.marker(&repo).symlink_metadata().is_err() {
            return (observer, None, 0);
        }
        let ours = |repo: &RepoId, etag: &_| at_work.of(repo, etag);
        let eyes = Eyes {
            now,
            table: LockTable::read(),
            programs: observer.look(layout.root()),
            ours: &ours,
        };
        let (other, beat) = match cache::other_download(&layout, &repo, &eyes) {
            Some((other, beat)) => (Some(other), beat),
            None => (None, 0),
        };
        (observer, other, beat)
    })
    .await
}
