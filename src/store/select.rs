//! Owns every number and row that a face shows, answered from the store.
//!
//! Never formats and never asks a clock: what depends on now takes `now_ms`.

use super::entry::{AttemptRecord, Entry, FileStatus};
use super::log::Log;
use super::shelf::Shelf;
use super::state::{Guided, Listing, Phase, Pull, Store, Target};
use crate::domain::{
    Etag, Failure, FileId, Healing, JobId, Network, OtherPull, Outcome, PlannedFile, PullPlan,
    PullResult, Recognition, RepoPath, Validation,
};

/// An ETA from less history than this would be a guess.
const ETA_AFTER_MS: u64 = 2_000;
/// A longer ETA says nothing but "long".
const ETA_UP_TO_MS: u64 = 99 * 3_600_000;

/// How the network behaves, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nobody was asked yet.
    Unknown,
    /// Nobody may be asked.
    Offline,
    /// It answers, and nothing goes wrong.
    Good,
    /// It answers, and something was tried again a moment ago.
    Unsteady,
    /// A transfer gets no bytes.
    Stalled,
    /// It does not answer.
    Down,
}

impl Verdict {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Offline => "offline",
            Self::Good => "good",
            Self::Unsteady => "unsteady",
            Self::Stalled => "stalled",
            Self::Down => "down",
        }
    }
}

/// For how long a retry makes the network look unsteady.
const UNSTEADY_MS: u64 = 30_000;

/// What a plan is going to do with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Fetch all of it.
    Fetch,
    /// Fetch what is missing after the bytes that are here.
    Resume,
    /// Prove and use what is here.
    Reuse,
    /// Another file of the plan has the same content.
    Same,
}

impl Intent {
    /// The word for it in tables and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::Resume => "resume",
            Self::Reuse => "reuse",
            Self::Same => "same",
        }
    }
}

/// A file's row.
#[derive(Clone, Copy, Debug)]
pub struct FileView<'a> {
    /// Its id.
    pub file: FileId,
    /// Path inside the repo; not sanitised.
    pub path: &'a RepoPath,
    /// Length in bytes.
    pub size_bytes: u64,
    /// The content's name.
    pub etag: Etag,
    /// What the plan said about it.
    pub intent: Intent,
    /// Bytes of it on disk, proven or streaming.
    pub bytes: u64,
    /// Bytes over the network in this run; 0 for a mirrored row.
    pub fetched_bytes: u64,
    /// Attempts begun; those of the transfer for a mirrored row.
    pub attempts: u32,
    /// Its state; that of the transfer for a mirrored row.
    pub status: &'a FileStatus,
    /// The file whose transfer this row mirrors, where the content is the same.
    pub same_as: Option<FileId>,
    /// Whether its hash was checked; `None` until it is in place.
    pub is_verified: Option<bool>,
}

impl FileView<'_> {
    /// Whole percent of it on disk; 100 for an empty file that is in place.
    pub const fn percent(&self) -> u64 {
        if self.size_bytes == 0 {
            return if self.status.is_in_place() { 100 } else { 0 };
        }
        // Dividing first would round large files to zero, multiplying first could overflow.
        #[expect(
            clippy::cast_possible_truncation,
            reason = "bytes never exceed the size, so this is at most 100"
        )]
        let percent = (self.bytes as u128 * 100 / self.size_bytes as u128) as u64;
        percent
    }
}

/// How many files and bytes are in place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Files in place.
    pub files_done: usize,
    /// Files of the plan.
    pub files_total: usize,
    /// Files something is going on with.
    pub files_active: usize,
    /// Files that nothing was tried of yet.
    pub files_queued: usize,
    /// Files that failed for good.
    pub files_failed: usize,
    /// Bytes on disk, each content once.
    pub bytes_done: u64,
    /// Bytes of all files, each content once.
    pub bytes_total: u64,
}

impl Store {
    /// The log.
    pub const fn log(&self) -> &Log {
        &self.log
    }

    /// The last look at the cache that was asked for.
    pub const fn listing(&self) -> &Listing {
        &self.listing
    }

    /// The cache and the machine, as far as somebody watches them.
    pub const fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    /// Time of the newest event, milliseconds since the Unix epoch; `None` before the first.
    pub fn last_ms(&self) -> Option<u64> {
        (self.last_ms > 0).then_some(self.last_ms)
    }

    /// Pulls that fetch, in the order they started: all but plans that were only looked at.
    pub fn pulls(&self) -> impl DoubleEndedIterator<Item = &Pull> {
        self.pulls.iter().filter(|pull| !pull.is_preview)
    }

    /// Of each model the newest pull: one that was started afresh is what counts.
    pub fn latest_pulls(&self) -> Vec<&Pull> {
        let mut latest: Vec<&Pull> = Vec::new();
        for pull in self.pulls() {
            let is_same = |other: &&Pull| {
                let (a, b) = (&other.target, &pull.target);
                a.revision == b.revision
                    && a.repo.kind() == b.repo.kind()
                    && a.repo.name().eq_ignore_ascii_case(b.repo.name())
            };
            latest.retain(|other| !is_same(other));
            latest.push(pull);
        }
        latest
    }

    /// The newest plan that is only looked at.
    pub fn preview(&self) -> Option<&Pull> {
        self.pulls.iter().rfind(|pull| pull.is_preview)
    }

    /// The newest pull, whether it fetches or only plans: the one a command is about.
    pub fn newest(&self) -> Option<&Pull> {
        self.pulls.last()
    }

    /// The pull of a job.
    pub fn pull(&self, job: JobId) -> Option<&Pull> {
        self.pulls.iter().find(|pull| pull.job == job)
    }

    /// Pulls that go on.
    pub fn running(&self) -> impl Iterator<Item = &Pull> {
        self.pulls().filter(|pull| pull.phase != Phase::Ended)
    }

    /// Bytes per second of all pulls together.
    pub fn total_speed(&self, now_ms: u64) -> u64 {
        self.pulls().map(|pull| pull.speed(now_ms)).sum()
    }

    /// How the network behaves.
    pub fn verdict(&self, now_ms: u64) -> Verdict {
        let is_stalled = self
            .running()
            .flat_map(Pull::files)
            .any(|view| matches!(view.status, FileStatus::Stalled { .. }));
        let is_unsteady = self
            .last_retry_ms
            .is_some_and(|then| then + UNSTEADY_MS > now_ms);
        match self.shelf.network() {
            Some(Network::Offline) => Verdict::Offline,
            // Bytes that arrive say more than a question that was not answered.
            Some(Network::Unreachable { .. }) if self.total_speed(now_ms) == 0 => Verdict::Down,
            _ if is_stalled => Verdict::Stalled,
            _ if is_unsteady => Verdict::Unsteady,
            None if self.total_speed(now_ms) == 0 => Verdict::Unknown,
            _ => Verdict::Good,
        }
    }

    /// What the newest pull is about; `None` before one started.
    pub fn target(&self) -> Option<&Target> {
        self.newest().map(Pull::target)
    }

    /// Whom the newest pull waits for before it begins.
    pub fn waits_for(&self) -> Option<&OtherPull> {
        self.newest()?.waits_for()
    }

    /// How far the newest pull is.
    pub fn phase(&self) -> Option<Phase> {
        self.newest().map(Pull::phase)
    }

    /// The newest pull's plan, once made.
    pub fn plan(&self) -> Option<&PullPlan> {
        self.newest()?.plan()
    }

    /// Whether what the newest pull plans would load, if that was asked.
    pub fn validation(&self) -> Option<&Validation> {
        self.newest()?.validation.as_ref()
    }

    /// What the files that were offered are, if the newest pull is an import.
    pub fn recognition(&self) -> Option<&Recognition> {
        self.newest()?.recognition.as_ref()
    }

    /// The last guide that was asked for.
    pub const fn guided(&self) -> Option<&Guided> {
        self.guided.as_ref()
    }

    /// How the newest pull ended; `None` while it goes on.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.newest()?.outcome()
    }

    /// The newest pull's result, if it ended well.
    pub fn result(&self) -> Option<&PullResult> {
        self.newest()?.result()
    }

    /// Why the newest pull failed.
    pub fn failures(&self) -> Vec<&Failure> {
        self.newest().map_or_else(Vec::new, Pull::failures)
    }

    /// Files of the newest pull that a retry is for.
    pub fn retryable_files(&self) -> Vec<FileId> {
        self.newest().map_or_else(Vec::new, Pull::retryable_files)
    }

    /// Every row of the newest pull, in the order of the plan.
    pub fn files(&self) -> impl Iterator<Item = FileView<'_>> {
        self.newest().into_iter().flat_map(Pull::files)
    }

    /// One row of the newest pull.
    pub fn file(&self, file: FileId) -> Option<FileView<'_>> {
        self.newest()?.file(file)
    }

    /// Files and bytes of the newest pull in place.
    pub fn counts(&self) -> Counts {
        self.newest().map_or_else(Counts::default, Pull::counts)
    }

    /// Bytes over the network for the newest pull, repeats included.
    pub fn fetched_bytes(&self) -> u64 {
        self.newest().map_or(0, Pull::fetched_bytes)
    }

    /// Bytes of the newest pull in place that did not have to be fetched in this run.
    pub fn reused_bytes(&self) -> u64 {
        self.newest().map_or(0, Pull::reused_bytes)
    }

    /// Bytes per second of the newest pull.
    pub fn speed(&self, now_ms: u64) -> u64 {
        self.newest().map_or(0, |pull| pull.speed(now_ms))
    }

    /// Bytes per second of one file of the newest pull; 0 where it does not download.
    pub fn file_speed(&self, file: FileId, now_ms: u64) -> u64 {
        self.newest()
            .map_or(0, |pull| pull.file_speed(file, now_ms))
    }

    /// Milliseconds until every byte of the newest pull is here at the current speed.
    pub fn eta_ms(&self, now_ms: u64) -> Option<u64> {
        self.newest()?.eta_ms(now_ms)
    }

    /// What the newest pull found broken and put right.
    pub fn healed(&self) -> &[Healing] {
        self.newest().map_or(&[], Pull::healed)
    }

    /// What was worth a line in the newest pull, once each.
    pub fn notes(&self) -> &[String] {
        self.newest().map_or(&[], Pull::notes)
    }

    /// When the newest pull started, milliseconds since the Unix epoch.
    pub fn started_ms(&self) -> Option<u64> {
        self.newest().map(Pull::started_ms)
    }

    /// How long the newest pull took, or has taken by the newest event.
    pub fn elapsed_ms(&self) -> u64 {
        self.newest().map_or(0, |pull| {
            pull.ended_ms
                .unwrap_or(self.last_ms)
                .saturating_sub(pull.started_ms)
        })
    }
}

impl Pull {
    /// Its job.
    pub const fn job(&self) -> JobId {
        self.job
    }

    /// What it is about.
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// Whom it waits for before it begins.
    pub const fn waits_for(&self) -> Option<&OtherPull> {
        self.waits_for.as_ref()
    }

    /// How far it is.
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// The plan, once made.
    pub const fn plan(&self) -> Option<&PullPlan> {
        self.plan.as_ref()
    }

    /// How it ended; `None` while it goes on.
    pub const fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    /// Whether it takes in files of this machine, and is no pull.
    pub const fn is_import(&self) -> bool {
        self.recognition.is_some()
    }

    /// Whether it ended without what it was for: all files of a pull, any of an import.
    pub fn has_ended_ill(&self) -> bool {
        let is_well =
            self.result().is_some() || matches!(self.outcome(), Some(Outcome::Imported(_)));
        self.phase() == Phase::Ended && !is_well
    }

    /// The result, if it ended well.
    pub fn result(&self) -> Option<&PullResult> {
        match self.outcome()? {
            Outcome::Complete(result) => Some(result),
            Outcome::Planned
            | Outcome::Listed
            | Outcome::Verified { .. }
            | Outcome::Purged(_)
            | Outcome::Fixed(_)
            | Outcome::Imported(_)
            | Outcome::Trashed(_)
            | Outcome::Failed { .. }
            | Outcome::Cancelled => None,
        }
    }

    /// Why it failed: what it ended with, or what ended its files so far.
    pub fn failures(&self) -> Vec<&Failure> {
        if let Some(Outcome::Failed { failures }) = self.outcome() {
            return failures.iter().collect();
        }
        self.files()
            .filter(|view| view.same_as.is_none())
            .filter_map(|view| match view.status {
                FileStatus::Failed { failure } => Some(&**failure),
                _ => None,
            })
            .collect()
    }

    /// Files that a retry is for: failed or cancelled.
    pub fn retryable_files(&self) -> Vec<FileId> {
        self.files()
            .filter(|view| view.same_as.is_none())
            .filter(|view| {
                matches!(
                    view.status,
                    FileStatus::Failed { .. } | FileStatus::Cancelled
                )
            })
            .map(|view| view.file)
            .collect()
    }

    /// Every row, in the order of the plan.
    pub fn files(&self) -> impl Iterator<Item = FileView<'_>> {
        self.entries
            .iter()
            .map(|entry| view(entry, self.owner(entry)))
    }

    /// One row.
    pub fn file(&self, file: FileId) -> Option<FileView<'_>> {
        let entry = self.entry(file)?;
        Some(view(entry, self.owner(entry)))
    }

    /// The newest attempts of a file, oldest first; those of the transfer for a mirrored row.
    pub fn attempts(&self, file: FileId) -> impl Iterator<Item = &AttemptRecord> {
        self.entry(file)
            .into_iter()
            .flat_map(|entry| &self.owner(entry).history)
    }

    /// Files and bytes in place.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for view in self.files() {
            counts.files_total += 1;
            counts.files_done += usize::from(view.status.is_in_place());
            counts.files_active += usize::from(view.status.is_active());
            counts.files_queued += usize::from(*view.status == FileStatus::Queued);
            counts.files_failed += usize::from(matches!(view.status, FileStatus::Failed { .. }));
            if view.same_as.is_none() {
                counts.bytes_done += view.bytes;
                counts.bytes_total += view.size_bytes;
            }
        }
        counts
    }

    /// Bytes over the network in this run, repeats included.
    pub fn fetched_bytes(&self) -> u64 {
        self.result().map_or_else(
            || self.owners().map(Entry::fetched_bytes).sum(),
            |result| result.fetched_bytes,
        )
    }

    /// Bytes per second over the last five seconds, falling to zero in silence.
    pub fn speed(&self, now_ms: u64) -> u64 {
        match self.phase {
            Phase::Fetching => self.rate.speed(now_ms),
            Phase::Listing | Phase::Ended => 0,
        }
    }

    /// Bytes per second of one file; 0 where it does not download.
    pub fn file_speed(&self, file: FileId, now_ms: u64) -> u64 {
        self.entry(file)
            .filter(|entry| entry.status.is_active())
            .map_or(0, |entry| entry.rate.speed(now_ms))
    }

    /// Milliseconds until every byte is here at the current speed; `None` where that means
    /// nothing: too little history, no bytes arriving, or nothing missing.
    pub fn eta_ms(&self, now_ms: u64) -> Option<u64> {
        let speed = self.speed(now_ms);
        let missing: u64 = self.owners().map(Entry::missing_bytes).sum();
        if speed == 0 || missing == 0 || self.rate.age(now_ms) < ETA_AFTER_MS {
            return None;
        }
        let eta = u128::from(missing) * 1_000 / u128::from(speed);
        u64::try_from(eta).ok().filter(|&eta| eta <= ETA_UP_TO_MS)
    }

    /// What was found broken and put right.
    pub fn healed(&self) -> &[Healing] {
        &self.healed
    }

    /// What was worth a line, once each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// When it started, milliseconds since the Unix epoch.
    pub const fn started_ms(&self) -> u64 {
        self.started_ms
    }

    /// When it ended, milliseconds since the Unix epoch; `None` while it goes on.
    pub const fn ended_ms(&self) -> Option<u64> {
        self.ended_ms
    }

    /// Files with a transfer of their own: each content once.
    fn owners(&self) -> impl Iterator<Item = &Entry> {
        self.entries
            .iter()
            .filter(|entry| entry.planned.same_as.is_none())
    }

    /// The entry whose transfer a file shares; itself for most.
    fn owner<'a>(&'a self, entry: &'a Entry) -> &'a Entry {
        entry
            .planned
            .same_as
            .and_then(|owner| self.entry(owner))
            .unwrap_or(entry)
    }

    /// Files in place, and all.
    pub fn files_in_place(&self) -> (usize, usize) {
        let done = self
            .entries
            .iter()
            .filter(|entry| self.owner(entry).status.is_in_place())
            .count();
        (done, self.entries.len())
    }

    /// Bytes in place that did not have to be fetched.
    pub fn reused_bytes(&self) -> u64 {
        self.owners()
            .filter(|entry| entry.status.is_in_place())
            .map(|entry| {
                entry
                    .planned
                    .size_bytes
                    .saturating_sub(entry.fetched_bytes())
            })
            .sum()
    }
}

fn view<'a>(entry: &'a Entry, owner: &'a Entry) -> FileView<'a> {
    let is_mirror = entry.planned.same_as.is_some();
    FileView {
        file: entry.planned.file,
        path: &entry.planned.path,
        size_bytes: entry.planned.size_bytes,
        etag: entry.planned.etag,
        intent: intent(&entry.planned),
        bytes: owner.bytes,
        fetched_bytes: if is_mirror { 0 } else { owner.fetched_bytes() },
        attempts: owner.attempt,
        status: &owner.status,
        same_as: entry.planned.same_as,
        is_verified: owner.is_verified,
    }
}

const fn intent(planned: &PlannedFile) -> Intent {
    if planned.same_as.is_some() {
        Intent::Same
    } else if planned.is_reuse {
        Intent::Reuse
    } else if planned.have_bytes > 0 {
        Intent::Resume
    } else {
        Intent::Fetch
    }
}
