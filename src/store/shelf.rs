//! Owns what is known of the cache and the machine: models, findings, locks, unfinished blobs,
//! disk, network, and what was verified in this run.
//!
//! Never folds events itself: `reduce` does, through the few methods here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::findings::is_at;
use crate::domain::{
    CacheKind, CacheRow, Disk, Failure, Finding, FixResult, JobId, LockRow, ModelRow, Network,
    PartialRow, PurgePlan, PurgeResult, RepoId, Rule, TrashResult, TrashRow, Verdict, Verification,
};

/// The cache and the machine as last seen.
#[derive(Clone, Debug, Default)]
pub struct Shelf {
    pub(super) models: Option<Vec<ModelRow>>,
    pub(super) caches: Vec<CacheRow>,
    /// Found by looking.
    pub(super) findings: Vec<Finding>,
    pub(super) locks: Vec<LockRow>,
    pub(super) partials: Vec<PartialRow>,
    pub(super) disk: Option<Disk>,
    pub(super) network: Option<Network>,
    pub(super) trouble: Option<Failure>,
    /// By snapshot folder.
    pub(super) verified: BTreeMap<String, Verified>,
    pub(super) verifying: Option<Verifying>,
    /// What the newest verifying said, snapshot by snapshot.
    pub(super) verifications: Vec<Verification>,
    pub(super) purged: Option<PurgeResult>,
    /// What the changes of plans came to in this run.
    pub(super) fixed: Option<FixResult>,
    /// What a purge would take out of the cache, and what stays.
    pub(super) planned: Option<PurgePlan>,
    pub(super) plans: usize,
    /// What the trash holds; `None` before the first look.
    pub(super) trash: Option<Vec<TrashRow>>,
    pub(super) trash_looks: usize,
    pub(super) trashed: Option<TrashResult>,
}

/// What is known of a snapshot by hashing it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// When, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What may be said of it as a whole.
    pub verdict: Verdict,
    /// Files whose bytes were right.
    pub files_good: usize,
    /// Files looked at.
    pub files_total: usize,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// Verifying that goes on, or went on last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verifying {
    /// Its job.
    pub job: JobId,
    /// When it began, milliseconds since the Unix epoch.
    pub began_ms: u64,
    /// Whether it goes on.
    pub is_running: bool,
    /// Contents hashed.
    pub files_done: usize,
    /// Contents to hash.
    pub files_total: usize,
    /// Bytes hashed.
    pub bytes_done: u64,
    /// Bytes to hash.
    pub bytes_total: u64,
    /// The file being hashed; not sanitised.
    pub path: String,
    /// Snapshots in which everything was right, so far.
    pub good: usize,
    /// Snapshots in which something was wrong, so far.
    pub broken: usize,
}

impl Verifying {
    /// Milliseconds until it is done at the speed so far; `None` where that means nothing.
    pub fn eta_ms(&self, now_ms: u64) -> Option<u64> {
        let spent_ms = now_ms.saturating_sub(self.began_ms);
        let left = self.bytes_total.saturating_sub(self.bytes_done);
        if self.bytes_done == 0 || left == 0 || spent_ms < 2_000 {
            return None;
        }
        let eta = u128::from(left) * u128::from(spent_ms) / u128::from(self.bytes_done);
        u64::try_from(eta).ok()
    }
}

impl Shelf {
    /// The models; `None` before the first look.
    pub fn models(&self) -> Option<&[ModelRow]> {
        self.models.as_deref()
    }

    /// The places that were looked at, the main cache first.
    pub fn caches(&self) -> &[CacheRow] {
        &self.caches
    }

    /// The place a model lies in; `None` if no place is known to hold it.
    pub fn place_of(&self, model: &ModelRow) -> Option<&CacheRow> {
        self.place_at(&model.snapshot)
    }

    /// The place that a path lies in.
    fn place_at(&self, path: &str) -> Option<&CacheRow> {
        let holders = self.caches.iter();
        holders
            .filter(|place| Path::new(path).starts_with(&place.path))
            .max_by_key(|place| place.path.len())
    }

    /// Whether a model lies in another place than the main cache.
    pub fn is_elsewhere(&self, model: &ModelRow) -> bool {
        let main = self.caches.first();
        model.cache != CacheKind::Hub
            || self
                .place_of(model)
                .is_some_and(|place| Some(place) != main)
    }

    /// The place of a model in a word or two: whose way it is, and which app's or folder where that
    /// does not tell.
    pub fn place_words(&self, model: &ModelRow) -> String {
        let name = model.cache.name();
        let Some(place) = self.place_of(model).filter(|_| self.is_elsewhere(model)) else {
            return name.to_owned();
        };
        match app_of(&place.path) {
            Some(app) => format!("{name} of {app}"),
            None if model.cache == CacheKind::Hub => format!("{name} {}", place.path),
            None => name.to_owned(),
        }
    }

    /// The places of what was verified, in a word or two each, in the order of
    /// [`verifications`](Self::verifications).
    pub fn verified_places(&self) -> Vec<String> {
        let root = |seen: &Verification| {
            let is_hub = seen.cache == CacheKind::Hub;
            is_hub.then(|| hub_of(&seen.snapshot).to_owned())
        };
        let roots: BTreeSet<String> = self.verifications.iter().filter_map(root).collect();
        let place = |seen: &Verification| {
            let name = seen.cache.name();
            match (app_of(&seen.snapshot), root(seen)) {
                (Some(app), _) => format!("{name} of {app}"),
                (None, Some(root)) if roots.len() > 1 => format!("{name} {root}"),
                (None, _) => name.to_owned(),
            }
        };
        self.verifications.iter().map(place).collect()
    }

    /// Locks that are held or of the repo in focus.
    pub fn locks(&self) -> &[LockRow] {
        &self.locks
    }

    /// Unfinished blobs.
    pub fn partials(&self) -> &[PartialRow] {
        &self.partials
    }

    /// Room on the disk.
    pub const fn disk(&self) -> Option<Disk> {
        self.disk
    }

    /// Whether the Hub answers; `None` before it was asked.
    pub const fn network(&self) -> Option<&Network> {
        self.network.as_ref()
    }

    /// How long the Hub's last answer took, in milliseconds.
    pub const fn answer_ms(&self) -> Option<u64> {
        match &self.network {
            Some(Network::Reachable { answer_ms }) => Some(*answer_ms),
            Some(Network::Offline | Network::Unreachable { .. }) | None => None,
        }
    }

    /// Why the cache as a whole cannot be read.
    pub const fn trouble(&self) -> Option<&Failure> {
        self.trouble.as_ref()
    }

    /// What is known by hashing of the snapshot in that folder.
    pub fn verified(&self, snapshot: &str) -> Option<&Verified> {
        self.verified.get(snapshot)
    }

    /// How many models were hashed in this run, right or wrong.
    pub fn hashed(&self) -> usize {
        let models = self.models.iter().flatten();
        models
            .filter(|model| self.verified.contains_key(&model.snapshot))
            .count()
    }

    /// When anything was last verified in this run, milliseconds since the Unix epoch.
    pub fn last_verified_ms(&self) -> Option<u64> {
        self.verified.values().map(|verified| verified.at_ms).max()
    }

    /// Verifying that goes on.
    pub fn verifying(&self) -> Option<&Verifying> {
        self.verifying.as_ref().filter(|job| job.is_running)
    }

    /// Verifying that goes on, or went on last.
    pub const fn last_verifying(&self) -> Option<&Verifying> {
        self.verifying.as_ref()
    }

    /// What the newest verifying said so far, snapshot by snapshot.
    pub fn verifications(&self) -> &[Verification] {
        &self.verifications
    }

    /// What the purge that was last asked about would take out of the cache, and what stays though
    /// it was asked for.
    pub const fn planned(&self) -> Option<&PurgePlan> {
        self.planned.as_ref()
    }

    /// How often a purge was planned.
    pub const fn plans(&self) -> usize {
        self.plans
    }

    /// What the trash holds, the oldest first; `None` before the first look.
    pub fn trash(&self) -> Option<&[TrashRow]> {
        self.trash.as_deref()
    }

    /// How often the trash was looked into.
    pub const fn trash_looks(&self) -> usize {
        self.trash_looks
    }

    /// What the last wish about the trash came to.
    pub const fn trashed(&self) -> Option<&TrashResult> {
        self.trashed.as_ref()
    }

    /// What the last purge came to.
    pub const fn purged(&self) -> Option<&PurgeResult> {
        self.purged.as_ref()
    }

    /// What the changes of plans came to, all of this run together.
    pub const fn fixed(&self) -> Option<&FixResult> {
        self.fixed.as_ref()
    }

    /// Everything found: by looking and by hashing, the worst first; what both found, once.
    pub fn findings(&self) -> Vec<&Finding> {
        let mut all: Vec<&Finding> = self.findings.iter().collect();
        for finding in self
            .verified
            .values()
            .flat_map(|verified| &verified.findings)
        {
            let key = |finding: &Finding| {
                (
                    finding.repo.clone(),
                    finding.revision.clone(),
                    finding.file.clone(),
                    finding.rule,
                )
            };
            if !all.iter().any(|known| key(known) == key(finding)) {
                all.push(finding);
            }
        }
        all.sort_by(|a, b| {
            b.severity
                .cmp(&a.severity)
                .then_with(|| a.repo.cmp(&b.repo))
                .then_with(|| a.revision.cmp(&b.revision))
                .then_with(|| a.file.cmp(&b.file))
        });
        all
    }

    /// Findings about one repo.
    pub fn findings_of(&self, repo: &RepoId) -> Vec<&Finding> {
        self.findings()
            .into_iter()
            .filter(|finding| finding.repo.as_ref() == Some(repo))
            .collect()
    }

    /// Findings about one copy of a model: about its snapshot, or its repo as a whole, in the place
    /// that it lies in.
    pub fn findings_of_copy(&self, model: &ModelRow) -> Vec<&Finding> {
        let own = self.place_of(model);
        let is_own = |finding: &&Finding| {
            let paths = finding.evidence.iter().map(|fact| fact.path.as_str());
            if paths
                .clone()
                .any(|path| Path::new(path).starts_with(&model.snapshot))
            {
                return true;
            }
            let is_meant = finding
                .revision
                .as_deref()
                .is_none_or(|name| is_at(model, name));
            let mut places = paths.filter_map(|path| self.place_at(path)).peekable();
            // What tells no place is about the main cache.
            let is_here = match places.peek() {
                Some(_) => places.any(|place| Some(place) == own),
                None => !self.is_elsewhere(model),
            };
            is_meant && is_here
        };
        let findings = self.findings_of(&model.repo).into_iter();
        findings.filter(is_own).collect()
    }

    /// Bytes on disk of all models.
    pub fn size_bytes(&self) -> u64 {
        self.models
            .iter()
            .flatten()
            .map(|model| model.size_bytes)
            .sum()
    }

    pub(super) fn saw_models(&mut self, models: &[ModelRow]) {
        // What was verified of a snapshot that is gone says nothing any more.
        self.verified
            .retain(|snapshot, _| models.iter().any(|model| model.snapshot == *snapshot));
        self.models = Some(models.to_vec());
        self.trouble = None;
    }

    pub(super) fn verify_started(&mut self, job: JobId, at_ms: u64, files: usize, bytes: u64) {
        self.verifications.clear();
        self.verifying = Some(Verifying {
            job,
            began_ms: at_ms,
            is_running: true,
            files_done: 0,
            files_total: files,
            bytes_done: 0,
            bytes_total: bytes,
            path: String::new(),
            good: 0,
            broken: 0,
        });
    }

    pub(super) fn saw_verification(&mut self, at_ms: u64, seen: &Verification) {
        if let Some(job) = &mut self.verifying {
            if seen.is_good() {
                job.good += 1;
            } else {
                job.broken += 1;
            }
        }
        self.verifications.push(seen.clone());
        self.verified.insert(
            seen.snapshot.clone(),
            Verified {
                at_ms,
                verdict: seen.verdict(),
                files_good: seen.files_good,
                files_total: seen.files_total,
                findings: seen.findings.clone(),
            },
        );
    }

    /// A pull proved files of a snapshot. Where there are others, it says nothing of those, and what
    /// was known of the whole is known no more.
    pub(super) fn saw_pull(&mut self, at_ms: u64, snapshot: &str, files: usize) {
        let mut rows = self.models.iter().flatten();
        let row = rows.find(|row| row.snapshot == snapshot);
        if row.is_some_and(|row| row.files_expected.unwrap_or(row.files_present) > files) {
            self.verified.remove(snapshot);
            return;
        }
        self.verified.insert(
            snapshot.to_owned(),
            Verified {
                at_ms,
                verdict: Verdict::Good,
                files_good: files,
                files_total: files,
                findings: Vec::new(),
            },
        );
    }

    /// What was put right is no finding any more, before the next look says so too.
    pub(super) fn saw_fix(&mut self, result: &FixResult) {
        self.findings.retain(|finding| {
            let steps = &finding.plan.steps;
            steps.is_empty() || !steps.iter().all(|step| result.done.contains(step))
        });
        match &mut self.fixed {
            Some(fixed) => {
                fixed.done.extend(result.done.iter().cloned());
                fixed.kept.extend(result.kept.iter().cloned());
                fixed.freed_bytes += result.freed_bytes;
            }
            None => self.fixed = Some(result.clone()),
        }
    }

    /// What was removed is no finding any more, before the next look says so too.
    pub(super) fn saw_purge(&mut self, result: &PurgeResult) {
        let is_gone = |path: &str| result.removed.iter().any(|removed| removed == path);
        self.partials.retain(|partial| !is_gone(&partial.path));
        self.findings.retain(|finding| {
            finding.rule != Rule::AbandonedPartial
                || finding.plan.removals().any(|(path, _)| !is_gone(path))
        });
        self.purged = Some(result.clone());
    }

    /// What was put back or freed lies in the trash no more, before the next look says so too.
    pub(super) fn saw_trashed(&mut self, result: &TrashResult) {
        if let Some(rows) = &mut self.trash {
            rows.retain(|row| !result.ids.contains(&row.id));
        }
        self.trashed = Some(result.clone());
    }
}

/// The app in whose container a path lies.
fn app_of(path: &str) -> Option<&str> {
    let mut parts = path.split('/');
    parts.find(|part| part.ends_with("Containers"))?;
    parts.next()
}

/// The Hub cache that a folder of a repo, or of its shared store, lies in.
fn hub_of(folder: &str) -> &str {
    let is_repo = |name: &str| {
        ["models--", "datasets--", "spaces--"]
            .iter()
            .any(|kind| name.starts_with(kind))
    };
    let mut end = 0;
    for part in folder.split('/') {
        if is_repo(part) {
            return folder[..end].trim_end_matches('/');
        }
        end += part.len() + 1;
    }
    folder.strip_suffix("/blobs").unwrap_or(folder)
}
