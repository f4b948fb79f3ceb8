//! Owns the sums and selections of what is known of the cache: counts by state, what is about one
//! repo, what a purge would take away.
//!
//! Never formats, and never looks at anything but the shelf.

use super::shelf::{Shelf, Verifying};
use crate::domain::{
    Finding, LockKind, LockRow, LockState, ModelRow, ModelState, PartialRow, PartialState, Plan,
    PlanStep, RepoId, Rule, Severity,
};

/// Models by state, one per snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModelCounts {
    /// All of them.
    pub all: usize,
    /// Nothing is missing.
    pub complete: usize,
    /// Files are missing.
    pub partial: usize,
    /// A reader gets wrong or missing bytes.
    pub broken: usize,
    /// Nothing of it is there.
    pub absent: usize,
    /// Their bytes on disk.
    pub size_bytes: u64,
}

/// Findings by severity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FindingCounts {
    /// A reader gets wrong or missing bytes.
    pub errors: usize,
    /// Waste, or a reader may be surprised.
    pub warnings: usize,
    /// Worth knowing.
    pub notes: usize,
}

impl FindingCounts {
    /// How many of which severity, as every face says it.
    pub fn words(self) -> String {
        let words: Vec<String> = [
            (self.errors, "error"),
            (self.warnings, "warning"),
            (self.notes, "note"),
        ]
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, noun)| super::words::count(number, noun))
        .collect();
        if words.is_empty() {
            "none".to_owned()
        } else {
            words.join(", ")
        }
    }
}

/// Locks by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LockCounts {
    /// Somebody holds them.
    pub held: usize,
    /// Nobody does.
    pub free: usize,
    /// That cannot be known.
    pub unknown: usize,
    /// Left by a process that is gone.
    pub stale: usize,
}

/// Unfinished blobs by what becomes of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartialCounts {
    /// Somebody writes them.
    pub live: usize,
    /// Nobody does.
    pub abandoned: usize,
}

impl Shelf {
    /// The models, or those of one repo.
    pub fn models_of(&self, repo: Option<&RepoId>) -> impl Iterator<Item = &ModelRow> {
        let models = self.models().unwrap_or_default();
        models.iter().filter(move |row| is_about(&row.repo, repo))
    }

    /// Models by state: all, or those of one repo.
    pub fn model_counts(&self, repo: Option<&RepoId>) -> ModelCounts {
        let mut counts = ModelCounts::default();
        for model in self.models_of(repo) {
            counts.all += 1;
            counts.size_bytes += model.size_bytes;
            *match model.state {
                ModelState::Complete => &mut counts.complete,
                ModelState::Partial => &mut counts.partial,
                ModelState::Broken => &mut counts.broken,
                ModelState::Absent => &mut counts.absent,
            } += 1;
        }
        counts
    }

    /// Everything found, or what is about one repo; the worst first.
    pub fn findings_about(&self, repo: Option<&RepoId>) -> Vec<&Finding> {
        repo.map_or_else(|| self.findings(), |repo| self.findings_of(repo))
    }

    /// Findings by severity: all, or those about one repo.
    pub fn finding_counts(&self, repo: Option<&RepoId>) -> FindingCounts {
        let mut counts = FindingCounts::default();
        for finding in self.findings_about(repo) {
            *match finding.severity {
                Severity::Error => &mut counts.errors,
                Severity::Warning => &mut counts.warnings,
                Severity::Note => &mut counts.notes,
            } += 1;
        }
        counts
    }

    /// The locks that were asked, or those of one repo.
    pub fn locks_of(&self, repo: Option<&RepoId>) -> impl Iterator<Item = &LockRow> {
        let locks = self.locks().iter();
        locks.filter(move |row| is_about(&row.repo, repo))
    }

    /// The marker or the program that says that somebody else downloads the repo now.
    pub fn other_download(&self, repo: &RepoId) -> Option<&LockRow> {
        self.locks_of(Some(repo)).find(|lock| {
            let is_whole = matches!(lock.kind, LockKind::Marker | LockKind::Downloader);
            is_whole && lock.state == LockState::Held && !lock.is_ours
        })
    }

    /// Lock files by state: all that were asked, or those of one repo. Programs are not among them.
    pub fn lock_counts(&self, repo: Option<&RepoId>) -> LockCounts {
        let mut counts = LockCounts::default();
        for lock in self.locks_of(repo).filter(|lock| !lock.is_program()) {
            *match lock.state {
                LockState::Held => &mut counts.held,
                LockState::Free => &mut counts.free,
                LockState::Unknown => &mut counts.unknown,
                LockState::Stale => &mut counts.stale,
            } += 1;
        }
        counts
    }

    /// Unfinished blobs, or those of one repo: live ones first.
    pub fn partials_of(&self, repo: Option<&RepoId>) -> Vec<&PartialRow> {
        let mut rows: Vec<&PartialRow> = self
            .partials()
            .iter()
            .filter(|row| is_about(&row.repo, repo))
            .collect();
        rows.sort_by_key(|row| row.state == PartialState::Abandoned);
        rows
    }

    /// Unfinished blobs by what becomes of them: all, or those of one repo.
    pub fn partial_counts(&self, repo: Option<&RepoId>) -> PartialCounts {
        let rows = self.partials_of(repo);
        let is_abandoned = |row: &&&PartialRow| row.state == PartialState::Abandoned;
        let abandoned = rows.iter().filter(is_abandoned).count();
        PartialCounts {
            live: rows.len() - abandoned,
            abandoned,
        }
    }

    /// What would take away every unfinished blob that nobody is writing: of these repos, or of
    /// all where none is named. Each file once, in the order of the findings.
    pub fn purge_plan(&self, repos: &[RepoId]) -> Plan {
        let mut plan = Plan::default();
        for finding in self.findings() {
            if finding.rule != Rule::AbandonedPartial {
                continue;
            }
            for step in &finding.plan.steps {
                let PlanStep::RemovePartial { repo, path, .. } = step else {
                    continue;
                };
                let is_wanted = repos.is_empty() || repos.contains(repo);
                let is_new = plan.removals().all(|(known, _)| known != path);
                if is_wanted && is_new {
                    plan.steps.push(step.clone());
                }
            }
        }
        plan
    }
}

fn is_about(repo: &RepoId, wanted: Option<&RepoId>) -> bool {
    wanted.is_none_or(|wanted| wanted == repo)
}

impl Verifying {
    /// Bytes hashed per second, on average so far; 0 before the first second is over.
    pub fn speed(&self, now_ms: u64) -> u64 {
        let spent_ms = now_ms.saturating_sub(self.began_ms);
        if spent_ms < 1_000 {
            return 0;
        }
        let speed = u128::from(self.bytes_done) * 1_000 / u128::from(spent_ms);
        u64::try_from(speed).unwrap_or(u64::MAX)
    }

    /// Whole percent of the bytes hashed; 100 where there is nothing to hash.
    pub fn percent(&self) -> u64 {
        if self.bytes_total == 0 {
            return 100;
        }
        let percent = u128::from(self.bytes_done) * 100 / u128::from(self.bytes_total);
        u64::try_from(percent).unwrap_or(100).min(100)
    }
}

#[cfg(test)]
mod tests {
    use super::super::script::{Script, model_row, repo};
    use super::*;
    use crate::domain::{Event, RepoKind};

    fn other() -> RepoId {
        RepoId::new(RepoKind::Model, "org/other").unwrap()
    }

    #[test]
    fn a_purge_plan_is_the_union_of_what_is_abandoned() {
        // Twice the same story is still one file each.
        let twice = |script: Script| {
            let mut found = script
                .fold()
                .shelf()
                .findings()
                .into_iter()
                .cloned()
                .collect::<Vec<_>>();
            found.extend(found.clone());
            script.then(1, Event::FindingsSeen { findings: found })
        };
        let store = twice(Script::survey()).fold();
        let shelf = store.shelf();
        let plan = shelf.purge_plan(&[]);
        let paths: Vec<&str> = plan.removals().map(|(path, _)| path).collect();
        assert_eq!(
            paths,
            [
                "/cache/models--mlx-community--gemma-2-2b-it-4bit/blobs/03.1a2b3c4d.incomplete",
                "/cache/models--org--other/blobs/07.incomplete",
            ],
            "each once, and nothing of other findings"
        );
        assert_eq!(plan.freed_bytes(), 402_000_000 + 12);
        assert_eq!(plan.steps.len(), 2);
        let one = shelf.purge_plan(&[other()]);
        assert_eq!(one.freed_bytes(), 12);
        let nobody = RepoId::new(RepoKind::Dataset, "org/other").unwrap();
        assert_eq!(shelf.purge_plan(&[nobody]), Plan::default());
    }

    #[test]
    fn sums_are_of_all_or_of_one_repo() {
        let mut rows = vec![model_row(repo().name(), 5), model_row("org/other", 7)];
        rows[1].state = ModelState::Broken;
        let store = Script::listed(rows).fold();
        let all = store.shelf().model_counts(None);
        assert_eq!(
            (all.all, all.complete, all.broken, all.size_bytes),
            (2, 1, 1, 12)
        );
        let one = store.shelf().model_counts(Some(&other()));
        assert_eq!(
            (one.all, one.complete, one.broken, one.size_bytes),
            (1, 0, 1, 7)
        );

        let store = Script::survey().fold();
        let shelf = store.shelf();
        let counts = shelf.finding_counts(None);
        assert_eq!((counts.errors, counts.warnings, counts.notes), (1, 3, 0));
        assert_eq!(shelf.finding_counts(Some(&other())).errors, 0);
        let partials = shelf.partial_counts(None);
        assert_eq!((partials.live, partials.abandoned), (1, 2));
        assert!(matches!(
            shelf.partials_of(None)[0].state,
            PartialState::Live { .. }
        ));
        assert_eq!(shelf.locks_of(Some(&other())).count(), 0);
        assert_eq!(shelf.locks_of(None).count(), 1);
        assert_eq!(shelf.lock_counts(None).held, 1);
    }
}
