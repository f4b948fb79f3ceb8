//! Owns what is told of a file that comes over several connections: that bytes come, how many, that
//! they stopped coming.
//!
//! Never decides about connections, but for one thing: a silence that lasts too long is a failure.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::attempt::Attempt;
use super::emit::millis;
use super::job::Halt;
use super::lane::Desk;
use super::writer::{STALL_TOLD, stalled};
use crate::domain::Event;

/// What the writing thread tells.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) bytes: AtomicU64,
    /// Bytes that had to be put back because another program deleted the file.
    pub(super) restored: AtomicU64,
}

/// How long nothing has come.
pub(super) struct Silence {
    pub(super) since: Instant,
    /// When that was told last.
    told: Instant,
}

impl Silence {
    pub(super) const fn begin(now: Instant) -> Self {
        Self {
            since: now,
            told: now,
        }
    }
}

/// What was told of a file.
pub(super) struct Telling<'a, 'b> {
    attempt: &'a Attempt<'b>,
    written: &'a Written,
    /// Bytes that were there.
    have: u64,
    /// Bytes that were told last.
    told: u64,
    /// Whether it was told that bytes come.
    is_told: bool,
}

impl<'a, 'b> Telling<'a, 'b> {
    /// Nothing was told yet; `have` bytes were there.
    pub(super) const fn new(attempt: &'a Attempt<'b>, written: &'a Written, have: u64) -> Self {
        Self {
            attempt,
            written,
            have,
            told: have,
            is_told: false,
        }
    }

    /// Tells how far it has come, and a stall; one that lasts too long ends the attempt.
    pub(super) async fn tell(
        &mut self,
        desk: &Desk,
        silence: &mut Silence,
        now: Instant,
    ) -> Result<(), Halt> {
        self.say_downloading(desk).await;
        self.tell_progress();
        self.tell_restored().await;
        let lasted = now - silence.since;
        if lasted >= self.attempt.job.config.stall_timeout {
            return Err(Halt::Failed(stalled(self.attempt, lasted)));
        }
        if lasted >= STALL_TOLD && now - silence.told >= Duration::from_secs(1) {
            silence.told = now;
            self.say_stalled(lasted).await;
        }
        Ok(())
    }

    /// Tells once that bytes come.
    pub(super) async fn say_downloading(&mut self, desk: &Desk) {
        if self.is_told || desk.came() == 0 {
            return;
        }
        self.is_told = true;
        self.attempt
            .job
            .emitter
            .fact(Event::Downloading {
                file: self.attempt.file,
                attempt: self.attempt.number,
                from_bytes: self.have,
            })
            .await;
    }

    pub(super) fn tell_progress(&mut self) {
        let bytes = self.have + self.written.bytes.load(Ordering::Relaxed);
        if self.is_told && bytes > self.told {
            self.told = bytes;
            self.attempt.job.emitter.progress(Event::Progress {
                file: self.attempt.file,
                attempt: self.attempt.number,
                bytes,
            });
        }
    }

    async fn tell_restored(&self) {
        let bytes = self.written.restored.swap(0, Ordering::Relaxed);
        if bytes > 0 {
            self.attempt
                .job
                .emitter
                .fact(Event::PartialRestored {
                    file: self.attempt.file,
                    attempt: self.attempt.number,
                    bytes,
                })
                .await;
        }
    }

    async fn say_stalled(&self, silence: Duration) {
        self.attempt
            .job
            .emitter
            .fact(Event::Stalled {
                file: self.attempt.file,
                attempt: self.attempt.number,
                silent_ms: millis(silence),
            })
            .await;
    }
}
