//! Owns the documents about what goes and what comes back: `purge`, `trash`.
//!
//! **Law**: what is shown to people and what is printed here are selected by the same calls.

use serde::Serialize;

use super::{Closing, Head, json, rfc3339};
use crate::domain::{
    Discard, DiscardKind, DiscardReason, Kept, PlanStep, PurgePlan, PurgeResult, RepoId,
    TrashResult, TrashRow,
};

/// What a purge is about: the plan, and what came of it.
#[derive(Clone, Copy)]
pub(in super::super) struct Removals<'a> {
    pub(in super::super) planned: &'a PurgePlan,
    pub(in super::super) result: Option<&'a PurgeResult>,
    /// What of the trash was freed besides.
    pub(in super::super) emptied: Option<&'a TrashResult>,
    pub(in super::super) is_dry_run: bool,
}

#[derive(Serialize)]
struct PurgeDocument<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    is_dry_run: bool,
    planned: Vec<RemovalDocument<'a>>,
    discards: Vec<DiscardDocument<'a>>,
    trash: Vec<TrashRowDocument<'a>>,
    planned_bytes: u64,
    removed: &'a [String],
    freed_bytes: u64,
    moved_bytes: u64,
    trash_ids: &'a [String],
    kept: Vec<&'a Kept>,
}

#[derive(Serialize)]
struct DiscardDocument<'a> {
    repo: &'a RepoId,
    kind: DiscardKind,
    what: &'a [String],
    reason: DiscardReason,
    paths: Vec<DiscardPathDocument<'a>>,
    locks: &'a [String],
    bytes: u64,
    accessed_at: Option<String>,
    trash: Option<&'a str>,
}

#[derive(Serialize)]
struct DiscardPathDocument<'a> {
    path: &'a str,
    bytes: u64,
    modified_at: Option<String>,
}

#[derive(Serialize)]
struct TrashDocument<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    entries: Vec<TrashRowDocument<'a>>,
    entries_bytes: u64,
    ids: &'a [String],
    restored: &'a [String],
    restored_bytes: u64,
    freed_bytes: u64,
    kept: &'a [Kept],
}

#[derive(Serialize)]
struct TrashRowDocument<'a> {
    id: &'a str,
    repo: &'a RepoId,
    kind: DiscardKind,
    what: &'a [String],
    reason: &'a str,
    purged_at: Option<String>,
    bytes: u64,
    path: &'a str,
    cache: &'a str,
    cut_off: Option<&'a str>,
}

#[derive(Serialize)]
struct RemovalDocument<'a> {
    repo: &'a RepoId,
    path: &'a str,
    bytes: u64,
    modified_at: Option<String>,
    map: Option<&'a str>,
}

/// The document of `purge`.
pub(in super::super) fn purge(
    removals: Removals<'_>,
    closing: &Closing<'_>,
    is_line: bool,
) -> String {
    let Removals {
        planned, result, ..
    } = removals;
    let kept = result.map_or(&[][..], |result| &result.kept);
    let emptied = removals.emptied;
    let document = PurgeDocument {
        head: closing.head("purge"),
        is_dry_run: removals.is_dry_run,
        planned: planned.plan.steps.iter().filter_map(removal).collect(),
        discards: planned.plan.discards().map(discard).collect(),
        trash: planned.trash.iter().map(trash_row).collect(),
        planned_bytes: planned.plan.freed_bytes(),
        removed: result.map_or(&[], |result| &result.removed),
        freed_bytes: result.map_or(0, |result| result.freed_bytes)
            + emptied.map_or(0, |emptied| emptied.freed_bytes),
        moved_bytes: result.map_or(0, |result| result.moved_bytes),
        trash_ids: result.map_or(&[], |result| &result.trash),
        kept: planned.kept.iter().chain(kept).collect(),
    };
    json(&document, is_line)
}

fn discard(discard: &Discard) -> DiscardDocument<'_> {
    DiscardDocument {
        repo: &discard.repo,
        kind: discard.kind,
        what: &discard.what,
        reason: discard.reason,
        paths: discard
            .paths
            .iter()
            .map(|path| DiscardPathDocument {
                path: &path.path,
                bytes: path.bytes,
                modified_at: rfc3339(path.modified_ms),
            })
            .collect(),
        locks: &discard.locks,
        bytes: discard.bytes,
        accessed_at: discard.accessed_ms.and_then(rfc3339),
        trash: discard.trash.as_deref(),
    }
}

fn trash_row(row: &TrashRow) -> TrashRowDocument<'_> {
    TrashRowDocument {
        id: &row.id,
        repo: &row.repo,
        kind: row.kind,
        what: &row.what,
        reason: &row.reason,
        purged_at: rfc3339(row.purged_ms),
        bytes: row.bytes,
        path: &row.path,
        cache: &row.cache,
        cut_off: row.cut_off.as_deref(),
    }
}

/// The document of `trash`.
pub(in super::super) fn trash(
    rows: &[TrashRow],
    result: Option<&TrashResult>,
    closing: &Closing<'_>,
    is_line: bool,
) -> String {
    let document = TrashDocument {
        head: closing.head("trash"),
        entries: rows.iter().map(trash_row).collect(),
        entries_bytes: rows.iter().map(|row| row.bytes).sum(),
        ids: result.map_or(&[], |result| &result.ids),
        restored: result.map_or(&[], |result| &result.restored),
        restored_bytes: result.map_or(0, |result| result.restored_bytes),
        freed_bytes: result.map_or(0, |result| result.freed_bytes),
        kept: result.map_or(&[], |result| &result.kept),
    };
    json(&document, is_line)
}

fn removal(step: &PlanStep) -> Option<RemovalDocument<'_>> {
    match step {
        PlanStep::RemovePartial {
            repo,
            path,
            bytes,
            modified_ms,
            map,
            ..
        } => Some(RemovalDocument {
            repo,
            path,
            bytes: *bytes,
            modified_at: rfc3339(*modified_ms),
            map: map.as_deref(),
        }),
        PlanStep::Pull { .. }
        | PlanStep::Discard(_)
        | PlanStep::Change(_)
        | PlanStep::ByHand { .. } => None,
    }
}
