//! Owns stamping events and sending them up; the only place that asks the wall clock for them.
//!
//! Facts are never lost: sending waits for room. Progress may be dropped: counts are absolute.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::domain::{Event, JobId, Stamped};

/// Stamps events of one job.
#[derive(Clone, Debug)]
pub(super) struct Emitter {
    sender: mpsc::Sender<Stamped>,
    job: JobId,
    clock: Arc<Clock>,
}

/// Wall time that never falls: it is counted by the monotonic clock, so that a step back of the
/// system's clock cannot reorder events. It follows one that is far ahead: the monotonic clock stands
/// still while the machine sleeps, and files that change afterwards are not from the future.
#[derive(Debug)]
pub(super) struct Clock {
    started_ms: u64,
    started: Instant,
    /// How far the wall clock has run ahead since then.
    ahead_ms: AtomicU64,
    /// Held from stamping to sending, so that events arrive in the order of their times.
    last_ms: Mutex<u64>,
}

impl Clock {
    /// Reads the wall clock.
    pub(super) fn start() -> Self {
        Self {
            started_ms: wall_ms(),
            started: Instant::now(),
            ahead_ms: AtomicU64::new(0),
            last_ms: Mutex::new(0),
        }
    }

    fn now_ms(&self) -> u64 {
        self.now_by(wall_ms(), millis(self.started.elapsed()))
    }

    /// The time when the wall clock shows `wall_ms` and the monotonic one has counted `counted_ms`.
    fn now_by(&self, wall_ms: u64, counted_ms: u64) -> u64 {
        let counted = self.started_ms + counted_ms;
        let ahead = wall_ms.saturating_sub(counted);
        if ahead > self.ahead_ms.load(Ordering::Relaxed) + SLEPT_MS {
            self.ahead_ms.fetch_max(ahead, Ordering::Relaxed);
        }
        counted + self.ahead_ms.load(Ordering::Relaxed)
    }
}

/// A wall clock so far ahead has jumped, or the machine has slept; less is how clocks are set right.
const SLEPT_MS: u64 = 2_000;

#[expect(
    clippy::disallowed_methods,
    reason = "this is the stamping that the rule leaves room for"
)]
fn wall_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    millis(since_epoch.unwrap_or_default())
}

/// Whole milliseconds of a duration.
pub(super) fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Emitter {
    /// An emitter for `job`.
    pub(super) const fn new(sender: mpsc::Sender<Stamped>, job: JobId, clock: Arc<Clock>) -> Self {
        Self { sender, job, clock }
    }

    /// Sends a fact; waits while the face is busy.
    ///
    /// A face that is gone is no reason to stop: the work is finished for the next one.
    pub(super) async fn fact(&self, event: Event) {
        match self.sender.reserve().await {
            Ok(permit) => self.stamp_and(event, |stamped| permit.send(stamped)),
            Err(_) => tracing::debug!("nobody listens to events any more"),
        }
    }

    /// The wall clock, for the age of files: theirs are set by it, also when it was set back.
    #[expect(
        clippy::unused_self,
        reason = "whoever asks for the time has it from whoever stamps"
    )]
    pub(super) fn now(&self) -> SystemTime {
        UNIX_EPOCH + std::time::Duration::from_millis(wall_ms())
    }

    /// Sends progress if there is room.
    pub(super) fn progress(&self, event: Event) {
        match self.sender.try_reserve() {
            Ok(permit) => self.stamp_and(event, |stamped| permit.send(stamped)),
            Err(_) => tracing::trace!("progress dropped; the next one carries the same count"),
        }
    }

    fn stamp_and(&self, event: Event, send: impl FnOnce(Stamped)) {
        let mut last_ms = self
            .clock
            .last_ms
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *last_ms = self.clock.now_ms().max(*last_ms);
        send(Stamped {
            at_ms: *last_ms,
            job: self.job,
            event,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_clock_follows_a_machine_that_slept_and_never_falls() {
        let clock = Clock::start();
        let began = clock.started_ms;
        // Wall and monotonic clock since the start, and what is right then, in milliseconds.
        for (wall, counted, now) in [
            (1_000, 1_000, 1_000),
            (3_500, 2_000, 2_000),
            (3_603_000, 3_000, 3_603_000),
            (3_604_000, 4_000, 3_604_000),
            // Set back by an hour: the monotonic clock goes on.
            (5_000, 5_000, 3_605_000),
            (7_206_000, 6_000, 7_206_000),
        ] {
            assert_eq!(clock.now_by(began + wall, counted), began + now);
        }
    }
}
