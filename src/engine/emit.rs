//! Owns stamping events and sending them up; the only place that asks the wall clock for them.
//!
//! Facts are never lost: sending waits for room. Progress may be dropped: counts are absolute.

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

/// Wall time that never falls: it is read once and then counted by the monotonic clock, so that
/// a step of the system's clock cannot reorder events.
#[derive(Debug)]
pub(super) struct Clock {
    started_ms: u64,
    started: Instant,
    /// Held from stamping to sending, so that events arrive in the order of their times.
    last_ms: Mutex<u64>,
}

impl Clock {
    /// Reads the wall clock.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the stamping that the rule leaves room for"
    )]
    pub(super) fn start() -> Self {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            started_ms: millis(since_epoch),
            started: Instant::now(),
            last_ms: Mutex::new(0),
        }
    }

    fn now_ms(&self) -> u64 {
        self.started_ms + millis(self.started.elapsed())
    }
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

    /// The time by the engine's clock, for the age of files.
    pub(super) fn now(&self) -> SystemTime {
        UNIX_EPOCH + std::time::Duration::from_millis(self.clock.now_ms())
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
