//! Owns stamping events and sending them up; the only place that asks the wall clock for them.
//!
//! Facts are never lost: sending waits for room. Progress may be dropped: counts are absolute.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
    last_ms: AtomicU64,
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
            last_ms: AtomicU64::new(0),
        }
    }

    fn now_ms(&self) -> u64 {
        let now = self.started_ms + millis(self.started.elapsed());
        self.last_ms.fetch_max(now, Ordering::Relaxed).max(now)
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
        if self.sender.send(self.stamp(event)).await.is_err() {
            tracing::debug!("nobody listens to events any more");
        }
    }

    /// The time by the engine's clock, for the age of files.
    pub(super) fn now(&self) -> SystemTime {
        UNIX_EPOCH + std::time::Duration::from_millis(self.clock.now_ms())
    }

    /// Sends progress if there is room.
    pub(super) fn progress(&self, event: Event) {
        if self.sender.try_send(self.stamp(event)).is_err() {
            tracing::trace!("progress dropped; the next one carries the same count");
        }
    }

    fn stamp(&self, event: Event) -> Stamped {
        Stamped {
            at_ms: self.clock.now_ms(),
            job: self.job,
            event,
        }
    }
}
