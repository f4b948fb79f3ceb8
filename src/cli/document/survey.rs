//! Owns the documents about a whole cache: `status`, `locks`, `report`.
//!
//! **Law**: what is shown to people and what is printed here are selected by the same calls.

use serde::Serialize;

use super::{Closing, Head, json, rfc3339};
use crate::domain::{
    CacheKind, CacheRow, Disk, FailureCode, Finding, LockKind, LockRow, LockState, ModelRow,
    ModelState, Network, PartialRow, PartialState, RepoId, Setting, TerminalFacts,
};
use crate::store::Shelf;

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
pub(super) struct CacheDocument<'a> {
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
pub(super) fn cache(settings: &[Setting]) -> CacheDocument<'_> {
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
