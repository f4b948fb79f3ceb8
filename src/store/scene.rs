//! Owns what one file makes of an event: its next state, its counts, its line in the log.
//!
//! Never looks at other files; which events are believed is `entry`'s.

#![deny(clippy::wildcard_enum_match_arm)]

use super::entry::{Entry, FileStatus};
use super::log::{Level, Log};
use super::rate::Rate;
use super::state::Pull;
use super::words::{self, size};
use crate::domain::{Event, Failure, FileId, LockWait, Origin, RetryIn};

/// A file and what its events may touch.
struct Scene<'a> {
    entry: &'a mut Entry,
    /// The whole pull's.
    rate: &'a mut Rate,
    log: &'a mut Log,
    at_ms: u64,
}

/// Plays one event of one file.
pub(super) fn play(
    pull: &mut Pull,
    log: &mut Log,
    at_ms: u64,
    file: FileId,
    attempt: u32,
    event: &Event,
) {
    let at = usize::try_from(file.0).unwrap_or(usize::MAX);
    let Some(entry) = pull
        .entries
        .get_mut(at)
        // A mirrored file has no transfer of its own.
        .filter(|entry| entry.planned.file == file && entry.planned.same_as.is_none())
    else {
        return;
    };
    let is_believed = if matches!(event, Event::Cancelled { .. }) {
        entry.admits_cancel(at_ms, attempt)
    } else {
        entry.admits(at_ms, attempt)
    };
    if !is_believed {
        return;
    }
    let mut scene = Scene {
        entry,
        rate: &mut pull.rate,
        log,
        at_ms,
    };
    match event {
        Event::Waiting { lock, .. } => scene.waiting(lock),
        Event::Reusing { .. } => scene.reusing(),
        Event::Copied { bytes, .. } => scene.copied(*bytes),
        Event::Connecting { source, .. } => scene.connecting(source),
        Event::Downloading { from_bytes, .. } => scene.downloading(*from_bytes),
        Event::Progress { bytes, .. } => scene.progress(*bytes),
        Event::Stalled { silent_ms, .. } => scene.stalled(*silent_ms),
        Event::ConnectionLost { bytes, failure, .. } => scene.connection_lost(*bytes, failure),
        Event::Rewound {
            from_bytes,
            to_bytes,
            why,
            ..
        } => scene.rewound(*from_bytes, *to_bytes, why),
        Event::PartialRestored { bytes, .. } => scene.restored(*bytes),
        Event::Verifying { .. } => scene.verifying(),
        Event::Finished { fetched_bytes, .. } => scene.finished(*fetched_bytes),
        Event::Reused {
            origin,
            is_verified,
            ..
        } => scene.reused(origin, *is_verified),
        Event::Failed { failure, retry, .. } => scene.failed(failure, *retry),
        Event::Cancelled { is_paused, .. } => scene.cancelled(*is_paused),
        // Not about one file: `reduce` has them.
        Event::PullStarted { .. }
        | Event::ListingRetried { .. }
        | Event::Resolved { .. }
        | Event::Planned(_)
        | Event::Validated(_)
        | Event::Healed(_)
        | Event::Noted { .. }
        | Event::Recognised(_)
        | Event::Guided { .. }
        | Event::ModelsListed { .. }
        | Event::HistoryListed { .. }
        | Event::FilesListed { .. }
        | Event::CachesSeen { .. }
        | Event::FindingsSeen { .. }
        | Event::LocksSeen { .. }
        | Event::UnfinishedSeen { .. }
        | Event::WaitingForPull(_)
        | Event::PartialsSeen { .. }
        | Event::DiskSeen(_)
        | Event::NetworkSeen(_)
        | Event::PurgePlanned(_)
        | Event::TrashSeen { .. }
        | Event::CacheUnreadable { .. }
        | Event::FixStarted
        | Event::VerifyStarted { .. }
        | Event::VerifyProgress { .. }
        | Event::ModelVerified(_)
        | Event::Reopened { .. }
        | Event::Ended(_) => {}
    }
}

impl Scene<'_> {
    fn say(&mut self, level: Level, text: &str) {
        let planned = &self.entry.planned;
        let line = format!("{}: {text}", planned.path);
        self.log.write(self.at_ms, level, Some(planned.file), &line);
    }

    /// The file goes on over its other connections: nothing changes but the log.
    fn connection_lost(&mut self, bytes: u64, failure: &Failure) {
        let line = format!("a connection ended after {}: {failure}", size(bytes));
        self.say(Level::Info, &line);
    }

    fn waiting(&mut self, lock: &LockWait) {
        if !matches!(self.entry.status, FileStatus::Waiting { .. }) {
            self.say(Level::Info, &words::wait_line(lock));
        }
        self.entry.status = FileStatus::Waiting { lock: lock.clone() };
    }

    fn reusing(&mut self) {
        if self.entry.status != FileStatus::Verifying {
            self.say(Level::Debug, "verifying what is here");
        }
        self.entry.status = FileStatus::Verifying;
    }

    /// Bytes of a copy within this machine: shown as they come, and counted as nothing that was
    /// fetched.
    fn copied(&mut self, bytes: u64) {
        if self.entry.status == FileStatus::Verifying {
            let bytes = bytes.min(self.entry.planned.size_bytes);
            self.entry.bytes = self.entry.bytes.max(bytes);
        }
    }

    fn connecting(&mut self, source: &str) {
        self.say(Level::Debug, &format!("connecting to {source}"));
        if let Some(record) = self.entry.record() {
            record.source = Some(source.to_owned());
        }
        self.entry.status = FileStatus::Connecting {
            source: source.to_owned(),
        };
    }

    fn downloading(&mut self, from_bytes: u64) {
        let line = if from_bytes > 0 {
            format!("downloading, resumed at {}", size(from_bytes))
        } else {
            format!("downloading {}", size(self.entry.planned.size_bytes))
        };
        self.say(Level::Debug, &line);
        if let Some(record) = self.entry.record() {
            record.from_bytes = Some(from_bytes);
        }
        self.entry.begin_receiving(self.at_ms, from_bytes);
        self.rate.begin(self.at_ms);
    }

    fn progress(&mut self, bytes: u64) {
        // Bytes come between `Downloading` and the end; anything else is a late echo.
        let silent_ms = match self.entry.status {
            FileStatus::Downloading => None,
            FileStatus::Stalled { silent_ms } => Some(silent_ms),
            FileStatus::Queued
            | FileStatus::Waiting { .. }
            | FileStatus::Connecting { .. }
            | FileStatus::Retrying { .. }
            | FileStatus::Verifying
            | FileStatus::Done
            | FileStatus::Reused { .. }
            | FileStatus::Failed { .. }
            | FileStatus::Cancelled
            | FileStatus::Paused => return,
        };
        let new_bytes = self.entry.advance(self.at_ms, bytes);
        if new_bytes == 0 {
            return;
        }
        self.rate.add(self.at_ms, new_bytes);
        self.entry.status = FileStatus::Downloading;
        if let Some(silent_ms) = silent_ms {
            let line = format!("bytes arrive again after {}", words::duration(silent_ms));
            self.say(Level::Warning, &line);
        }
        if let Some(tenths) = self.entry.tell_tenths() {
            let line = format!(
                "{} %, {} of {}",
                tenths * 10,
                size(self.entry.bytes),
                size(self.entry.planned.size_bytes)
            );
            self.say(Level::Debug, &line);
        }
    }

    fn stalled(&mut self, silent_ms: u64) {
        if !matches!(self.entry.status, FileStatus::Stalled { .. }) {
            let line = format!(
                "stalled at {}: no bytes for {}",
                size(self.entry.bytes),
                words::duration(silent_ms)
            );
            self.say(Level::Warning, &line);
        }
        self.entry.status = FileStatus::Stalled { silent_ms };
    }

    fn rewound(&mut self, from_bytes: u64, to_bytes: u64, why: &str) {
        let line = format!(
            "back from {} to {}: {why}",
            size(from_bytes),
            size(to_bytes)
        );
        self.say(Level::Warning, &line);
        self.entry.rewind(to_bytes);
    }

    fn restored(&mut self, bytes: u64) {
        let line = format!(
            "another program deleted the partial; {} put back",
            size(bytes)
        );
        self.say(Level::Warning, &line);
    }

    fn verifying(&mut self) {
        // All bytes are here, whatever progress was lost; but bytes that were hashed from disk
        // before any transfer began did not come over the network.
        if self.entry.has_received {
            let size_bytes = self.entry.planned.size_bytes;
            let new_bytes = self.entry.advance(self.at_ms, size_bytes);
            self.rate.add(self.at_ms, new_bytes);
        }
        self.say(Level::Debug, "verifying");
        self.entry.status = FileStatus::Verifying;
    }

    fn finished(&mut self, fetched_bytes: u64) {
        let line = format!("done, {}", size(self.entry.planned.size_bytes));
        self.say(Level::Info, &line);
        self.entry
            .settle(self.at_ms, FileStatus::Done, fetched_bytes, true);
    }

    fn reused(&mut self, origin: &Origin, is_verified: bool) {
        let line = format!(
            "reused, {}, {}",
            size(self.entry.planned.size_bytes),
            words::origin_words(origin)
        );
        self.say(Level::Info, &line);
        let status = FileStatus::Reused {
            origin: origin.clone(),
        };
        self.entry.settle(self.at_ms, status, 0, is_verified);
    }

    fn failed(&mut self, failure: &Failure, retry: Option<RetryIn>) {
        let why = Box::new(failure.clone());
        if let Some(retry) = retry {
            let line = words::retry_line(failure, self.entry.bytes, retry);
            self.say(Level::Warning, &line);
            self.entry.end_attempt(
                self.at_ms,
                FileStatus::Retrying {
                    at_ms: self.at_ms.saturating_add(retry.wait_ms),
                    failure: retry.failure,
                    of: retry.of,
                    why,
                },
            );
        } else {
            self.say(Level::Error, &format!("failed: {}", failure.summary));
            self.entry
                .end_attempt(self.at_ms, FileStatus::Failed { failure: why });
        }
        for cause in &failure.causes {
            self.say(Level::Debug, &format!("because {cause}"));
        }
    }

    fn cancelled(&mut self, is_paused: bool) {
        let (line, status) = if is_paused {
            ("paused", FileStatus::Paused)
        } else {
            ("cancelled", FileStatus::Cancelled)
        };
        self.say(Level::Debug, line);
        self.entry.end_attempt(self.at_ms, status);
    }
}
