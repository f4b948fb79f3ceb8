//! Owns what is remembered of past transfers: how a job becomes a row, and saying the rows.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Shared;
use super::emit::{Emitter, millis};
use super::job::blocking;
use crate::domain::{Event, HistoryRow, Outcome, RepoId};

/// Lists past transfers, of one repo or of all.
pub(super) async fn run(shared: Arc<Shared>, emitter: Emitter, repo: Option<RepoId>, most: u32) {
    let memory = Arc::clone(&shared.memory);
    let listed = blocking(move || memory.transfers(repo.as_ref(), most)).await;
    let outcome = match listed {
        Ok(rows) => {
            emitter.fact(Event::HistoryListed { rows }).await;
            Outcome::Listed
        }
        Err(failure) => Outcome::Failed {
            failures: vec![failure],
        },
    };
    if let Some(note) = shared.memory.trouble() {
        emitter.fact(Event::Noted { note }).await;
    }
    emitter.fact(Event::Ended(outcome)).await;
}

/// The row of a job that lasted from the first time to the second. `bytes` are those that were
/// fetched, hashed or freed.
pub(super) fn row(
    kind: &str,
    repos: &[RepoId],
    bytes: u64,
    (started, ended): (SystemTime, SystemTime),
    outcome: &Outcome,
) -> HistoryRow {
    let (outcome, reason) = words_of(outcome);
    HistoryRow {
        at_ms: millis(ended.duration_since(UNIX_EPOCH).unwrap_or_default()),
        kind: kind.to_owned(),
        repo: match repos {
            [only] => only.to_string(),
            _ => String::new(),
        },
        revision: String::new(),
        bytes,
        took_ms: millis(ended.duration_since(started).unwrap_or_default()),
        retries: 0,
        outcome: outcome.to_owned(),
        reason,
    }
}

/// Keeps the row of a job that was no pull.
pub(super) async fn keep(shared: &Shared, row: HistoryRow) {
    let memory = Arc::clone(&shared.memory);
    if let Err(failure) = blocking(move || memory.keep_transfer(&row)).await {
        tracing::warn!(%failure, "the job was not remembered");
    }
}

/// The word for an outcome, and why it was none that was wished for.
fn words_of(outcome: &Outcome) -> (&'static str, Option<String>) {
    match outcome {
        Outcome::Complete(_) => ("complete", None),
        Outcome::Planned => ("planned", None),
        Outcome::Listed => ("listed", None),
        Outcome::Cancelled => ("cancelled", None),
        Outcome::Verified { good, broken: 0 } => ("good", Some(format!("{good} good"))),
        Outcome::Verified { good, broken } => {
            ("broken", Some(format!("{good} good, {broken} broken")))
        }
        Outcome::Purged(result) => (
            "purged",
            Some(format!(
                "{} removed, {} kept",
                result.removed.len(),
                result.kept.len()
            )),
        ),
        Outcome::Fixed(result) => (
            "fixed",
            Some(format!(
                "{} changed, {} kept",
                result.done.len(),
                result.kept.len()
            )),
        ),
        Outcome::Imported(result) => (
            if result.is_complete() {
                "imported"
            } else {
                "incomplete"
            },
            Some(format!(
                "{} in, {} missing",
                result.imported_files,
                result.missing.len()
            )),
        ),
        Outcome::Trashed(result) => {
            let what = if result.restored.is_empty() {
                "emptied"
            } else {
                "restored"
            };
            (what, Some(result.ids.join(", ")))
        }
        Outcome::Failed { failures } => {
            let first = failures.first().map(|failure| failure.summary.clone());
            ("failed", first)
        }
    }
}
