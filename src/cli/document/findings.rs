//! Owns the documents about what is wrong and what is right: `verify`, `doctor`.
//!
//! **Law**: what is shown to people and what is printed here are selected by the same calls.

use serde::Serialize;

use super::super::fix::Repair;
use super::super::remedy::Subject;
use super::survey::{CacheDocument, cache};
use super::{Closing, FailureDocument, Head, json, rfc3339, told};
use crate::domain::{
    Finding, FixResult, Kept, PlanStep, RepoId, Rule, Setting, Verdict, Verification,
};
use crate::store::{FindingCounts, Healing, Looked, Scope, Store};

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
    failures: Vec<FailureDocument<'a>>,
}

#[derive(Serialize)]
struct LookedDocument {
    snapshots: usize,
    files: usize,
    size_bytes: u64,
    verified: usize,
    verified_at: Option<String>,
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
    let pulls = repair.pulls.iter().map(|pulled| {
        let repo = pulled.pull.repo.to_string();
        let subject = Subject {
            repo: Some(&repo),
            command: "pull",
            call: None,
        };
        PulledDocument {
            repo: &pulled.pull.repo,
            revision: &pulled.pull.revision,
            is_complete: pulled.failures.is_empty(),
            fetched_bytes: pulled.fetched_bytes,
            failures: told(&pulled.failures, subject),
        }
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
