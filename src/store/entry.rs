//! Owns one file's memory: its state, its counts, and which events it still believes.
//!
//! **Law**: counts never fall but by `rewind`; an ended or older attempt changes nothing.

use std::collections::VecDeque;

use super::rate::Rate;
use crate::domain::{Failure, LockWait, Origin, PlannedFile};

/// Attempts of a file that are kept for its details.
const ATTEMPTS_KEPT: usize = 16;

/// The state of a file: the words of product.md, section 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileStatus {
    /// Nothing was tried yet, or it waits to be tried again at the user's wish.
    Queued,
    /// Another program holds the blob's lock.
    Waiting {
        /// Whose.
        lock: LockWait,
    },
    /// A source is being asked.
    Connecting {
        /// Its host.
        source: String,
    },
    /// Bytes arrive.
    Downloading,
    /// No bytes arrive, the attempt goes on.
    Stalled {
        /// For how long when it was last told, in milliseconds.
        silent_ms: u64,
    },
    /// An attempt failed and another follows.
    Retrying {
        /// When, in milliseconds since the Unix epoch.
        at_ms: u64,
        /// How many failures in a row this was.
        failure: u32,
        /// How many are allowed.
        of: u32,
        /// Why the attempt failed.
        why: Box<Failure>,
    },
    /// Bytes are being hashed: all of them after a transfer, or those found on disk before one.
    Verifying,
    /// Fetched, proven and in place.
    Done,
    /// Already here, nothing fetched.
    Reused {
        /// Where it was.
        origin: Origin,
    },
    /// Failed for good.
    Failed {
        /// Why.
        failure: Box<Failure>,
    },
    /// Cancelled by the user.
    Cancelled,
    /// Stopped until resumed.
    Paused,
}

impl FileStatus {
    /// The word for it, the same in every face and in JSON.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Waiting { .. } => "waiting",
            Self::Connecting { .. } => "connecting",
            Self::Downloading => "downloading",
            Self::Stalled { .. } => "stalled",
            Self::Retrying { .. } => "retrying",
            Self::Verifying => "verifying",
            Self::Done => "done",
            Self::Reused { .. } => "reused",
            Self::Failed { .. } => "failed",
            Self::Cancelled => "cancelled",
            Self::Paused => "paused",
        }
    }

    /// Whether the content is proven and in place.
    pub const fn is_in_place(&self) -> bool {
        matches!(self, Self::Done | Self::Reused { .. })
    }

    /// Whether something is going on with it now: worth a row of its own.
    pub const fn is_active(&self) -> bool {
        match self {
            Self::Waiting { .. }
            | Self::Connecting { .. }
            | Self::Downloading
            | Self::Stalled { .. }
            | Self::Retrying { .. }
            | Self::Verifying => true,
            Self::Queued
            | Self::Done
            | Self::Reused { .. }
            | Self::Failed { .. }
            | Self::Cancelled
            | Self::Paused => false,
        }
    }
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptEnd {
    /// With a proven blob.
    Done,
    /// With a proven blob that was here already.
    Reused,
    /// With a failure.
    Failed(Box<Failure>),
    /// By the user: cancelled.
    Cancelled,
    /// By the user: paused.
    Paused,
}

/// An attempt, as its file's details tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptRecord {
    /// Its number, from 1.
    pub number: u32,
    /// When it was first heard of, milliseconds since the Unix epoch.
    pub began_ms: u64,
    /// When it ended.
    pub ended_ms: Option<u64>,
    /// The host it asked; `None` before it asked one.
    pub source: Option<String>,
    /// The byte it went on from; `None` before bytes came.
    pub from_bytes: Option<u64>,
    /// Its ending.
    pub end: Option<AttemptEnd>,
}

/// What is remembered of a file.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) planned: PlannedFile,
    pub(super) status: FileStatus,
    /// The newest attempt heard of; 0 before the first.
    pub(super) attempt: u32,
    /// Whether that attempt had its ending.
    has_ended: bool,
    /// Bytes of the file on disk, as shown: never falls but by `rewind`.
    pub(super) bytes: u64,
    /// Bytes of the file on disk as last told; where a new attempt begins lower, this falls.
    position: u64,
    /// Whether any attempt got as far as receiving.
    pub(super) has_received: bool,
    /// Bytes over the network in earlier attempts.
    fetched_before: u64,
    /// Bytes over the network in this attempt.
    fetched_now: u64,
    /// `None` until it is in place; then whether its hash was checked.
    pub(super) is_verified: Option<bool>,
    pub(super) rate: Rate,
    /// The newest attempts, oldest first.
    pub(super) history: VecDeque<AttemptRecord>,
    /// Tenths of the file that have had their line.
    told_tenths: u64,
}

impl Entry {
    pub(super) fn new(planned: PlannedFile) -> Self {
        Self {
            planned,
            status: FileStatus::Queued,
            attempt: 0,
            has_ended: false,
            bytes: 0,
            position: 0,
            has_received: false,
            fetched_before: 0,
            fetched_now: 0,
            is_verified: None,
            rate: Rate::default(),
            history: VecDeque::new(),
            told_tenths: 0,
        }
    }

    /// Whether an event of `attempt` counts; a newer attempt begins with its first event.
    pub(super) fn admits(&mut self, at_ms: u64, attempt: u32) -> bool {
        if self.status.is_in_place() || attempt < self.attempt {
            return false;
        }
        if attempt > self.attempt {
            self.attempt = attempt;
            self.has_ended = false;
            self.fetched_before += self.fetched_now;
            self.fetched_now = 0;
            if self.history.len() == ATTEMPTS_KEPT {
                self.history.pop_front();
            }
            self.history.push_back(AttemptRecord {
                number: attempt,
                began_ms: at_ms,
                ended_ms: None,
                source: None,
                from_bytes: None,
                end: None,
            });
            return true;
        }
        !self.has_ended
    }

    /// Whether a cancel of `attempt` counts: also between attempts, where nothing else does.
    pub(super) fn admits_cancel(&mut self, at_ms: u64, attempt: u32) -> bool {
        let is_resting = matches!(
            self.status,
            FileStatus::Retrying { .. } | FileStatus::Paused
        );
        (is_resting && attempt == self.attempt) || self.admits(at_ms, attempt)
    }

    /// What is known of the attempt that goes on.
    pub(super) fn record(&mut self) -> Option<&mut AttemptRecord> {
        self.history.back_mut()
    }

    /// Bytes will arrive from `from_bytes` on.
    pub(super) fn begin_receiving(&mut self, at_ms: u64, from_bytes: u64) {
        if self.has_received && from_bytes > self.bytes {
            // Progress of an earlier attempt was lost; these bytes did come.
            self.fetched_before += from_bytes - self.bytes;
        }
        self.has_received = true;
        self.position = from_bytes;
        self.bytes = self.bytes.max(from_bytes);
        self.told_tenths = self.told_tenths.max(self.tenths());
        self.rate.begin(at_ms);
        self.status = FileStatus::Downloading;
    }

    /// `bytes` of the file are on disk; returns how many of them are new.
    pub(super) fn advance(&mut self, at_ms: u64, bytes: u64) -> u64 {
        let bytes = bytes.min(self.planned.size_bytes);
        let new_bytes = bytes.saturating_sub(self.position);
        if new_bytes > 0 {
            self.position = bytes;
            self.bytes = self.bytes.max(bytes);
            self.fetched_now += new_bytes;
            self.rate.add(at_ms, new_bytes);
        }
        new_bytes
    }

    /// Bytes had to be given up.
    pub(super) fn rewind(&mut self, to_bytes: u64) {
        self.bytes = self.bytes.min(to_bytes);
        self.position = self.position.min(to_bytes);
        self.told_tenths = self.tenths();
    }

    /// The attempt ended; what the file is now.
    pub(super) fn end_attempt(&mut self, at_ms: u64, status: FileStatus) {
        self.has_ended = true;
        let end = match &status {
            FileStatus::Done => Some(AttemptEnd::Done),
            FileStatus::Reused { .. } => Some(AttemptEnd::Reused),
            FileStatus::Retrying { why, .. } => Some(AttemptEnd::Failed(why.clone())),
            FileStatus::Failed { failure } => Some(AttemptEnd::Failed(failure.clone())),
            FileStatus::Cancelled => Some(AttemptEnd::Cancelled),
            FileStatus::Paused => Some(AttemptEnd::Paused),
            FileStatus::Queued
            | FileStatus::Waiting { .. }
            | FileStatus::Connecting { .. }
            | FileStatus::Downloading
            | FileStatus::Stalled { .. }
            | FileStatus::Verifying => None,
        };
        // A cancel between two attempts does not end the one before a second time.
        if let Some(record) = self.record().filter(|record| record.end.is_none()) {
            record.ended_ms = Some(at_ms);
            record.end = end;
        }
        self.status = status;
    }

    /// The content is in place.
    pub(super) fn settle(
        &mut self,
        at_ms: u64,
        status: FileStatus,
        fetched_bytes: u64,
        is_verified: bool,
    ) {
        self.bytes = self.planned.size_bytes;
        self.position = self.bytes;
        self.fetched_now = fetched_bytes;
        self.is_verified = Some(is_verified);
        self.end_attempt(at_ms, status);
    }

    /// The user wants it tried again.
    pub(super) fn reopen(&mut self) {
        if matches!(
            self.status,
            FileStatus::Failed { .. } | FileStatus::Cancelled
        ) {
            self.status = FileStatus::Queued;
        }
    }

    /// Bytes over the network in this run, repeats included.
    pub(super) const fn fetched_bytes(&self) -> u64 {
        self.fetched_before + self.fetched_now
    }

    /// Bytes that still have to come, as far as is known.
    pub(super) fn missing_bytes(&self) -> u64 {
        match self.status {
            FileStatus::Done
            | FileStatus::Reused { .. }
            | FileStatus::Failed { .. }
            | FileStatus::Cancelled => 0,
            FileStatus::Queued
            | FileStatus::Waiting { .. }
            | FileStatus::Connecting { .. }
            | FileStatus::Downloading
            | FileStatus::Stalled { .. }
            | FileStatus::Retrying { .. }
            | FileStatus::Verifying
            | FileStatus::Paused => {
                let here = if self.has_received {
                    self.bytes
                } else {
                    self.planned.have_bytes
                };
                self.planned.size_bytes.saturating_sub(here)
            }
        }
    }

    /// The tenths reached, if they deserve a line now; each is told once, the last never: being
    /// complete has a line of its own.
    pub(super) fn tell_tenths(&mut self) -> Option<u64> {
        let tenths = self.tenths();
        if tenths <= self.told_tenths || tenths >= 10 {
            return None;
        }
        self.told_tenths = tenths;
        Some(tenths)
    }

    fn tenths(&self) -> u64 {
        let tenths = u128::from(self.bytes) * 10 / u128::from(self.planned.size_bytes.max(1));
        u64::try_from(tenths).unwrap_or(10)
    }
}
