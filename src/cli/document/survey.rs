//! Owns the documents about a whole cache: `status`, `verify`, `doctor`, `locks`, `purge`, `report`.
//!
//! **Law**: what is shown to people and what is printed here are selected by the same calls.

use serde::Serialize;

use super::super::fix::Repair;
use super::{Closing, Head, json, rfc3339};
use crate::domain::{
    CacheKind, CacheRow, Discard, DiscardKind, DiscardReason, Disk, Failure, FailureCode, Finding,
    FixResult, Kept, LockKind, LockRow, LockState, ModelRow, ModelState, Network, PartialRow,
    PartialState, PlanStep, PurgePlan, PurgeResult, RepoId, Rule, Setting, TerminalFacts,
    TrashResult, TrashRow, Verdict, Verification,
};
use crate::store::{FindingCounts, Healing, Looked, Scope, Shelf, Store};

/// A look at the cache: what was seen, about which repo, with which settings.
#[derive(Clone, Copy)]
pub(in super::super) struct Look<'a> {
    pub(in super::super) shelf: &'a Shelf,
    /// `None` means everything.
    pub(in super::super) repo: Option<&'a RepoId>,
    pub(in super::super) settings: &'a [Setting],
}

impl<'a> Look<'a> {
    /// A setting in force.
    pub(in super::super) fn setting(&self, name: &str) -> Option<&'a Setting> {
        self.settings.iter().find(|setting| setting.name == name)
    }
}

/// What a purge is about: the plan, and what came of it.
#[derive(Clone, Copy)]
pub(in super::super) struct Removals<'a> {
    pub(in super::super) planned: &'a PurgePlan,
    pub(in super::super) result: Option<&'a PurgeResult>,
    /// What of the trash was freed besides.
    pub(in super::super) emptied: Option<&'a TrashResult>,
    pub(in super::super) is_dry_run: bool,
}

/// What a report holds beside the look.
#[derive(Clone, Copy)]
pub(in super::super) struct Bundle<'a> {
    pub(in super::super) version: &'a str,
    pub(in super::super) system: &'a str,
    pub(in super::super) terminal: &'a TerminalFacts,
    pub(in super::super) size: (Option<u16>, Option<u16>),
    pub(in super::super) has_color: bool,
    pub(in super::super) log: &'a [String],
    pub(in super::super) written_to: Option<&'a str>,
}

/// What a doctor has to say.
#[derive(Clone, Copy, Default)]
pub(in super::super) struct Diagnosis<'a> {
    pub(in super::super) scope: Scope<'a>,
    pub(in super::super) settings: &'a [Setting],
    pub(in super::super) looked: Looked,
    /// Of everything found, hidden or not.
    pub(in super::super) counts: FindingCounts,
    pub(in super::super) healing: Healing,
    /// The worst first.
    pub(in super::super) shown: &'a [&'a Finding],
    /// How many matter too little to be shown.
    pub(in super::super) hidden: usize,
    /// Unfinished blobs that nobody can judge yet, and their bytes.
    pub(in super::super) fresh: (usize, u64),
    /// What was to be put right, and what came of it; `None` if nothing was.
    pub(in super::super) repair: Option<&'a Repair>,
    /// What the changes of the plan came to.
    pub(in super::super) fixed: Option<&'a FixResult>,
}

#[derive(Serialize)]
struct DoctorDocument<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    targets: Vec<String>,
    rules: &'a [Rule],
    cache: CacheDocument<'a>,
    looked_at: LookedDocument,
    findings: &'a [&'a Finding],
    hidden: usize,
    errors: usize,
    warnings: usize,
    notes: usize,
    reclaimable_bytes: u64,
    fetch_bytes: u64,
    repair: Option<RepairDocument<'a>>,
}

#[derive(Serialize)]
struct RepairDocument<'a> {
    is_begun: bool,
    plan: Vec<PlanStep>,
    left: &'a [String],
    done: &'a [PlanStep],
    kept: &'a [Kept],
    freed_bytes: u64,
    pulls: Vec<PulledDocument<'a>>,
    fetched_bytes: u64,
}

#[derive(Serialize)]
struct PulledDocument<'a> {
    repo: &'a RepoId,
    revision: &'a str,
    is_complete: bool,
    fetched_bytes: u64,
    failures: &'a [Failure],
}

#[derive(Serialize)]
struct LookedDocument {
    snapshots: usize,
    files: usize,
    size_bytes: u64,
    verified: usize,
    verified_at: Option<String>,
}

#[derive(Serialize)]
struct LocksDocument<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    repo: Option<&'a RepoId>,
    locks: Vec<LockDocument<'a>>,
    held: usize,
    stale: usize,
    unknown: usize,
    free: usize,
}

#[derive(Serialize)]
struct StatusDocument<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    #[serde(flatten)]
    body: StatusBody<'a>,
}

#[derive(Serialize)]
struct StatusBody<'a> {
    repo: Option<&'a RepoId>,
    cache: CacheDocument<'a>,
    caches: &'a [CacheRow],
    endpoint: Option<&'a str>,
    disk: Option<Disk>,
    network: Option<NetworkDocument>,
    models: ModelsDocument,
    problems: Vec<ProblemDocument<'a>>,
    findings: Vec<&'a Finding>,
    locks: Vec<LockDocument<'a>>,
    partials: Vec<PartialDocument<'a>>,
}

#[derive(Serialize)]
struct CacheDocument<'a> {
    path: Option<&'a str>,
    origin: Option<&'a str>,
}

#[derive(Serialize)]
struct NetworkDocument {
    state: &'static str,
    answer_ms: Option<u64>,
    failure_code: Option<FailureCode>,
}

#[derive(Serialize)]
struct ModelsDocument {
    count: usize,
    size_bytes: u64,
    complete: usize,
    partial: usize,
    broken: usize,
    absent: usize,
}

#[derive(Serialize)]
struct ProblemDocument<'a> {
    repo: &'a RepoId,
    revision: &'a str,
    snapshot: &'a str,
    state: ModelState,
    problems: &'a [String],
}

#[derive(Serialize)]
struct LockDocument<'a> {
    repo: &'a RepoId,
    cache: CacheKind,
    cache_path: &'a str,
    kind: LockKind,
    path: &'a str,
    etag: Option<&'a str>,
    file: Option<&'a str>,
    state: LockState,
    pid: Option<u32>,
    program: Option<&'a str>,
    command_line: Option<&'a str>,
    since_at: Option<String>,
    is_ours: bool,
    proof: &'a str,
}

#[derive(Serialize)]
struct PartialDocument<'a> {
    repo: &'a RepoId,
    path: &'a str,
    etag: &'a str,
    file: Option<&'a str>,
    bytes: u64,
    expected_bytes: Option<u64>,
    modified_at: Option<String>,
    state: &'static str,
    is_ours: bool,
    pid: Option<u32>,
    program: Option<&'a str>,
}

#[derive(Serialize)]
struct VerifyDocument<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    models: Vec<VerifiedDocument<'a>>,
    good: usize,
    broken: usize,
    bytes: u64,
    elapsed_ms: u64,
}

#[derive(Serialize)]
struct VerifiedDocument<'a> {
    #[serde(flatten)]
    seen: &'a Verification,
    is_good: bool,
    verdict: Verdict,
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

#[derive(Serialize)]
struct ReportDocument<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    version: &'a str,
    system: &'a str,
    settings: &'a [Setting],
    terminal: TerminalDocument<'a>,
    #[serde(flatten)]
    body: StatusBody<'a>,
    log: &'a [String],
    written_to: Option<&'a str>,
}

#[derive(Serialize)]
struct TerminalDocument<'a> {
    #[serde(flatten)]
    facts: &'a TerminalFacts,
    columns: Option<u16>,
    rows: Option<u16>,
    has_color: bool,
}

/// The document of `status`.
pub(in super::super) fn status(look: Look<'_>, closing: &Closing<'_>, is_line: bool) -> String {
    let document = StatusDocument {
        head: closing.head("status"),
        body: body(look),
    };
    json(&document, is_line)
}

fn body(look: Look<'_>) -> StatusBody<'_> {
    let Look { shelf, repo, .. } = look;
    let counts = shelf.model_counts(repo);
    StatusBody {
        repo,
        cache: cache(look.settings),
        caches: shelf.caches(),
        endpoint: look
            .setting("endpoint")
            .map(|setting| setting.value.as_str()),
        disk: shelf.disk(),
        network: shelf.network().map(network),
        models: ModelsDocument {
            count: counts.all,
            size_bytes: counts.size_bytes,
            complete: counts.complete,
            partial: counts.partial,
            broken: counts.broken,
            absent: counts.absent,
        },
        problems: shelf
            .models_of(repo)
            .filter(|model| model.state != ModelState::Complete)
            .map(problem)
            .collect(),
        findings: shelf.findings_about(repo),
        locks: shelf.locks_of(repo).map(lock).collect(),
        partials: shelf.partials_of(repo).into_iter().map(partial).collect(),
    }
}

/// Where the cache is, and why there.
fn cache(settings: &[Setting]) -> CacheDocument<'_> {
    let cache = settings.iter().find(|setting| setting.name == "cache_dir");
    CacheDocument {
        path: cache.map(|setting| setting.value.as_str()),
        origin: cache.map(|setting| setting.origin.as_str()),
    }
}

fn network(network: &Network) -> NetworkDocument {
    let (state, answer_ms, failure_code) = match network {
        Network::Offline => ("offline", None, None),
        Network::Reachable { answer_ms } => ("reachable", Some(*answer_ms), None),
        Network::Unreachable { failure } => ("unreachable", None, Some(failure.code)),
    };
    NetworkDocument {
        state,
        answer_ms,
        failure_code,
    }
}

fn problem(model: &ModelRow) -> ProblemDocument<'_> {
    ProblemDocument {
        repo: &model.repo,
        revision: &model.revision,
        snapshot: &model.snapshot,
        state: model.state,
        problems: &model.problems,
    }
}

fn lock(row: &LockRow) -> LockDocument<'_> {
    LockDocument {
        repo: &row.repo,
        cache: row.cache,
        cache_path: &row.cache_path,
        kind: row.kind,
        path: &row.path,
        etag: row.etag.as_deref(),
        file: row.file.as_deref(),
        state: row.state,
        pid: row.pid,
        program: row.program.as_deref(),
        command_line: row.command_line.as_deref(),
        since_at: row.since_ms.and_then(rfc3339),
        is_ours: row.is_ours,
        proof: &row.proof,
    }
}

fn partial(row: &PartialRow) -> PartialDocument<'_> {
    let (state, is_ours, pid, program) = match &row.state {
        PartialState::Live {
            is_ours,
            pid,
            program,
        } => ("live", *is_ours, *pid, program.as_deref()),
        PartialState::Abandoned => ("abandoned", false, None, None),
    };
    PartialDocument {
        repo: &row.repo,
        path: &row.path,
        etag: &row.etag,
        file: row.file.as_deref(),
        bytes: row.bytes,
        expected_bytes: row.expected_bytes,
        modified_at: rfc3339(row.modified_ms),
        state,
        is_ours,
        pid,
        program,
    }
}

/// The document of `verify`.
pub(in super::super) fn verify(store: &Store, closing: &Closing<'_>, is_line: bool) -> String {
    let shelf = store.shelf();
    let last = shelf.last_verifying();
    let document = VerifyDocument {
        head: closing.head("verify"),
        models: shelf
            .verifications()
            .iter()
            .map(|seen| VerifiedDocument {
                seen,
                is_good: seen.is_good(),
                verdict: seen.verdict(),
            })
            .collect(),
        good: last.map_or(0, |verifying| verifying.good),
        broken: last.map_or(0, |verifying| verifying.broken),
        bytes: last.map_or(0, |verifying| verifying.bytes_done),
        elapsed_ms: last.zip(store.last_ms()).map_or(0, |(verifying, now_ms)| {
            now_ms.saturating_sub(verifying.began_ms)
        }),
    };
    json(&document, is_line)
}

/// The document of `doctor`.
pub(in super::super) fn doctor(
    diagnosis: &Diagnosis<'_>,
    closing: &Closing<'_>,
    is_line: bool,
) -> String {
    let Diagnosis {
        scope,
        looked,
        counts,
        healing,
        ..
    } = diagnosis;
    let targets = scope.targets.iter().map(|target| match &target.revision {
        Some(revision) => format!("{}@{revision}", target.repo),
        None => target.repo.to_string(),
    });
    let document = DoctorDocument {
        head: closing.head("doctor"),
        targets: targets.collect(),
        rules: scope.rules,
        cache: cache(diagnosis.settings),
        looked_at: LookedDocument {
            snapshots: looked.models,
            files: looked.files,
            size_bytes: looked.size_bytes,
            verified: looked.verified,
            verified_at: looked.verified_ms.and_then(rfc3339),
        },
        findings: diagnosis.shown,
        hidden: diagnosis.hidden,
        errors: counts.errors,
        warnings: counts.warnings,
        notes: counts.notes,
        reclaimable_bytes: healing.freed_bytes,
        fetch_bytes: healing.fetched_bytes,
        repair: diagnosis
            .repair
            .map(|repair| repaired(repair, diagnosis.fixed)),
    };
    json(&document, is_line)
}

fn repaired<'a>(repair: &'a Repair, fixed: Option<&'a FixResult>) -> RepairDocument<'a> {
    let pulls = repair.pulls.iter().map(|pulled| PulledDocument {
        repo: &pulled.pull.repo,
        revision: &pulled.pull.revision,
        is_complete: pulled.failures.is_empty(),
        fetched_bytes: pulled.fetched_bytes,
        failures: &pulled.failures,
    });
    RepairDocument {
        is_begun: repair.is_begun,
        plan: repair.plan.all_steps(),
        left: &repair.plan.left,
        done: fixed.map_or(&[], |fixed| &fixed.done),
        kept: fixed.map_or(&[], |fixed| &fixed.kept),
        freed_bytes: fixed.map_or(0, |fixed| fixed.freed_bytes),
        pulls: pulls.collect(),
        fetched_bytes: repair.pulls.iter().map(|pulled| pulled.fetched_bytes).sum(),
    }
}

/// The document of `locks`.
pub(in super::super) fn locks(
    shelf: &Shelf,
    repo: Option<&RepoId>,
    closing: &Closing<'_>,
    is_line: bool,
) -> String {
    let counts = shelf.lock_counts(repo);
    let document = LocksDocument {
        head: closing.head("locks"),
        repo,
        locks: shelf.locks_of(repo).map(lock).collect(),
        held: counts.held,
        stale: counts.stale,
        unknown: counts.unknown,
        free: counts.free,
    };
    json(&document, is_line)
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

/// The document of `report`. The caller strikes out what nobody else may know.
pub(in super::super) fn report(
    look: Look<'_>,
    bundle: Bundle<'_>,
    closing: &Closing<'_>,
    is_line: bool,
) -> String {
    let document = ReportDocument {
        head: closing.head("report"),
        version: bundle.version,
        system: bundle.system,
        settings: look.settings,
        terminal: TerminalDocument {
            facts: bundle.terminal,
            columns: bundle.size.0,
            rows: bundle.size.1,
            has_color: bundle.has_color,
        },
        body: body(look),
        log: bundle.log,
        written_to: bundle.written_to,
    };
    json(&document, is_line)
}
