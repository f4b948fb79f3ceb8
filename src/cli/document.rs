//! Owns the machine-readable output: the document of each command and the lines of `--events`.
//!
//! **Law**: every object carries its schema number; sizes are exact bytes, times RFC 3339. The
//! shapes are `assets/schema`, and `assets/guides/json.md` describes them.

mod by_hand;
mod findings;
mod removals;
mod survey;

use std::path::Path;

use serde::Serialize;

use super::exit::Ending;
use super::remedy::{self, Subject};
use crate::domain::{
    Event, Failure, FileRow, Healing, HistoryRow, JobId, ModelRow, Origin, ReadyRequest, RefMove,
    RepoKind, Setting, Stamped, Validation,
};
use crate::store::{FileStatus, FileView, Store};

pub(super) use by_hand::{guide, import};
pub(super) use findings::{Diagnosis, doctor, verify};
pub(super) use removals::{Removals, purge, trash};
pub(super) use survey::{Bundle, Look, locks, report, status};

/// The number of the shapes below; it grows when one changes in a way that breaks a reader.
const SCHEMA: u32 = 1;

/// What every document begins with.
#[derive(Serialize)]
struct Head<'a> {
    schema: u32,
    at: Option<String>,
    command: &'static str,
    outcome: &'static str,
    exit_code: u8,
    failure_code: Option<&'static str>,
    failures: Vec<FailureDocument<'a>>,
    log_file: Option<String>,
}

#[derive(Serialize)]
struct FailureDocument<'a> {
    #[serde(flatten)]
    failure: &'a Failure,
    /// What to do, in the words that stderr has.
    help: String,
}

#[derive(Serialize)]
struct PullDocument<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    repo: Option<String>,
    revision: Option<&'a str>,
    commit: Option<String>,
    endpoint: Option<&'a str>,
    cache_dir: Option<&'a str>,
    local_dir: Option<&'a str>,
    snapshot: Option<&'a str>,
    reference: Option<&'a RefMove>,
    is_verified: Option<bool>,
    files: Vec<FileDocument<'a>>,
    healed: &'a [Healing],
    notes: &'a [String],
    validation: Option<&'a Validation>,
    total_bytes: u64,
    fetch_bytes: u64,
    disk_bytes: u64,
    free_bytes: Option<u64>,
    fetched_bytes: u64,
    reused_bytes: u64,
    elapsed_ms: u64,
}

#[derive(Serialize)]
struct FileDocument<'a> {
    path: &'a str,
    size_bytes: u64,
    etag: String,
    plan: &'static str,
    state: &'static str,
    attempts: u32,
    bytes: u64,
    fetched_bytes: u64,
    origin: Option<&'a Origin>,
    is_verified: Option<bool>,
    same_as: Option<&'a str>,
    failure_code: Option<&'static str>,
}

#[derive(Serialize)]
struct LsDocument<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    models: Vec<ModelDocument<'a>>,
}

#[derive(Serialize)]
struct ModelDocument<'a> {
    repo: String,
    cache: crate::domain::CacheKind,
    kind: RepoKind,
    revision: &'a str,
    commit: Option<String>,
    refs: &'a [String],
    snapshot: &'a str,
    size_bytes: u64,
    files_present: usize,
    files_expected: Option<usize>,
    state: crate::domain::ModelState,
    basis: crate::domain::Basis,
    is_unreferenced: bool,
    verified_at: Option<String>,
    found_wrong_at: Option<String>,
    problems: &'a [String],
    modified_at: Option<String>,
    accessed_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<&'a [FileRow]>,
}

#[derive(Serialize)]
struct ReadyDocument<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    repo: Option<String>,
    revision: Option<&'a str>,
    is_ready: bool,
    snapshot: Option<&'a str>,
    state: Option<crate::domain::ModelState>,
    problems: &'a [String],
}

#[derive(Serialize)]
struct HistoryDocument<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    transfers: Vec<TransferDocument<'a>>,
}

#[derive(Serialize)]
struct TransferDocument<'a> {
    ended_at: Option<String>,
    kind: &'a str,
    repo: Option<&'a str>,
    revision: Option<&'a str>,
    bytes: u64,
    took_ms: u64,
    retries: u32,
    outcome: &'a str,
    reason: Option<&'a str>,
}

#[derive(Serialize)]
struct ConfigDocument<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    config_file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    settings: Option<&'a [Setting]>,
}

#[derive(Serialize)]
struct EventLine<'a> {
    schema: u32,
    at: Option<String>,
    job: JobId,
    #[serde(flatten)]
    event: &'a Event,
}

/// How a command ended, and what its document needs beside the store.
pub(super) struct Closing<'a> {
    pub(super) ending: &'a Ending,
    pub(super) subject: Subject<'a>,
    /// The end of the command, or its start where nothing happened.
    pub(super) at_ms: u64,
    pub(super) log_file: Option<&'a Path>,
}

impl<'a> Closing<'a> {
    fn head(&self, command: &'static str) -> Head<'a> {
        Head {
            schema: SCHEMA,
            at: rfc3339(self.at_ms),
            command,
            outcome: self.ending.outcome,
            exit_code: self.ending.exit_code,
            failure_code: self.ending.failure_code(),
            failures: told(&self.ending.failures, self.subject),
            log_file: self.log_file.map(|path| path.display().to_string()),
        }
    }
}

/// Failures with what to do about them.
fn told<'a>(failures: &'a [Failure], subject: Subject<'_>) -> Vec<FailureDocument<'a>> {
    let told = failures.iter().map(|failure| FailureDocument {
        failure,
        help: remedy::tell(failure, subject).next,
    });
    told.collect()
}

/// A document as JSON: on one line beside event lines, else for eyes too.
fn json(document: &impl Serialize, is_line: bool) -> String {
    let text = if is_line {
        serde_json::to_string(document)
    } else {
        serde_json::to_string_pretty(document)
    };
    // Nothing in these shapes can fail to serialise: keys are strings, numbers are integers.
    text.unwrap_or_default()
}

/// The document of `pull`. A repo that was not even asked for is `null`.
pub(super) fn pull(store: &Store, is_local: bool, closing: &Closing<'_>, is_line: bool) -> String {
    let target = store.target();
    let plan = store.plan();
    let result = store.result();
    let document = PullDocument {
        head: closing.head("pull"),
        repo: target.map(|target| target.repo.to_string()),
        revision: target.map(|target| target.revision.as_str()),
        commit: target
            .and_then(|target| target.commit)
            .map(|commit| commit.to_string()),
        endpoint: target.map(|target| target.endpoint.as_str()),
        cache_dir: target.map(|target| target.cache_dir.as_str()),
        local_dir: plan.filter(|_| is_local).map(|plan| plan.snapshot.as_str()),
        snapshot: result.map(|result| result.snapshot.as_str()),
        reference: result.map(|result| &result.reference),
        is_verified: result.map(|result| result.is_verified),
        files: store.files().map(|view| file(store, view)).collect(),
        healed: store.healed(),
        notes: store.notes(),
        validation: store.validation(),
        total_bytes: plan.map_or(0, |plan| plan.total_bytes),
        fetch_bytes: plan.map_or(0, |plan| plan.fetch_bytes),
        disk_bytes: plan.map_or(0, |plan| plan.disk_bytes),
        free_bytes: plan.and_then(|plan| plan.free_bytes),
        fetched_bytes: store.fetched_bytes(),
        reused_bytes: store.reused_bytes(),
        elapsed_ms: store.elapsed_ms(),
    };
    json(&document, is_line)
}

fn file<'a>(store: &'a Store, view: FileView<'a>) -> FileDocument<'a> {
    let (origin, failure_code) = match view.status {
        FileStatus::Reused { origin } => (Some(origin), None),
        FileStatus::Failed { failure } => (None, Some(failure.code.name())),
        FileStatus::Retrying { why, .. } => (None, Some(why.code.name())),
        FileStatus::Queued
        | FileStatus::Waiting { .. }
        | FileStatus::Connecting { .. }
        | FileStatus::Downloading
        | FileStatus::Stalled { .. }
        | FileStatus::Verifying
        | FileStatus::Done
        | FileStatus::Cancelled
        | FileStatus::Paused => (None, None),
    };
    FileDocument {
        path: view.path.as_str(),
        size_bytes: view.size_bytes,
        etag: view.etag.to_string(),
        plan: view.intent.name(),
        state: view.status.name(),
        attempts: view.attempts,
        bytes: view.bytes,
        fetched_bytes: view.fetched_bytes,
        origin,
        is_verified: view.is_verified,
        same_as: view
            .same_as
            .and_then(|owner| store.file(owner))
            .map(|owner| owner.path.as_str()),
        failure_code,
    }
}

/// The document of `ls`; with files where one repo was asked for.
pub(super) fn ls(
    rows: &[(&ModelRow, Option<&[FileRow]>)],
    closing: &Closing<'_>,
    is_line: bool,
) -> String {
    let models = rows
        .iter()
        .map(|&(row, files)| ModelDocument {
            repo: row.repo.to_string(),
            cache: row.cache,
            kind: row.repo.kind(),
            revision: &row.revision,
            commit: row.commit.map(|commit| commit.to_string()),
            refs: &row.refs,
            snapshot: &row.snapshot,
            size_bytes: row.size_bytes,
            files_present: row.files_present,
            files_expected: row.files_expected,
            state: row.state,
            basis: row.basis,
            is_unreferenced: row.is_unreferenced,
            verified_at: row.verified_ms.and_then(rfc3339),
            found_wrong_at: row.wrong_ms.and_then(rfc3339),
            problems: &row.problems,
            modified_at: row.modified_ms.and_then(rfc3339),
            accessed_at: row.accessed_ms.and_then(rfc3339),
            files,
        })
        .collect();
    let document = LsDocument {
        head: closing.head("ls"),
        models,
    };
    json(&document, is_line)
}

/// The document of `ready` and of `wait`.
pub(super) fn ready(
    command: &'static str,
    asked: Option<&ReadyRequest>,
    model: Option<&ModelRow>,
    closing: &Closing<'_>,
    is_line: bool,
) -> String {
    let document = ReadyDocument {
        head: closing.head(command),
        repo: asked.map(|asked| asked.repo.to_string()),
        revision: asked.map(|asked| asked.revision.as_str()),
        is_ready: closing.ending.exit_code == 0,
        snapshot: model.map(|model| model.snapshot.as_str()),
        state: model.map(|model| model.state),
        problems: model.map_or(&[], |model| &model.problems),
    };
    json(&document, is_line)
}

/// The document of `history`.
pub(super) fn history(rows: &[HistoryRow], closing: &Closing<'_>, is_line: bool) -> String {
    let transfers = rows
        .iter()
        .map(|row| TransferDocument {
            ended_at: rfc3339(row.at_ms),
            kind: &row.kind,
            repo: Some(row.repo.as_str()).filter(|repo| !repo.is_empty()),
            revision: Some(row.revision.as_str()).filter(|revision| !revision.is_empty()),
            bytes: row.bytes,
            took_ms: row.took_ms,
            retries: row.retries,
            outcome: &row.outcome,
            reason: row.reason.as_deref(),
        })
        .collect();
    let document = HistoryDocument {
        head: closing.head("history"),
        transfers,
    };
    json(&document, is_line)
}

/// The document of `config path` and, with settings, of `config show`.
pub(super) fn config(
    config_file: Option<&Path>,
    settings: Option<&[Setting]>,
    closing: &Closing<'_>,
    is_line: bool,
) -> String {
    let document = ConfigDocument {
        head: closing.head("config"),
        config_file: config_file.map(|path| path.display().to_string()),
        settings,
    };
    json(&document, is_line)
}

/// A line of `--events`.
pub(super) fn event(stamped: &Stamped) -> String {
    let line = EventLine {
        schema: SCHEMA,
        at: rfc3339(stamped.at_ms),
        job: stamped.job,
        event: &stamped.event,
    };
    json(&line, true)
}

/// A time as RFC 3339; `None` outside the years it can write.
fn rfc3339(ms: u64) -> Option<String> {
    let ms = i64::try_from(ms).ok()?;
    jiff::Timestamp::from_millisecond(ms)
        .ok()
        .map(|time| time.to_string())
}

#[cfg(test)]
mod tests;
