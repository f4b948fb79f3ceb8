//! Owns which findings belong together, which are about what was asked for, and what healing them
//! takes.
//!
//! Never formats, and never looks at anything but the shelf.

use std::collections::BTreeSet;

use super::overview::FindingCounts;
use super::shelf::Shelf;
use crate::domain::{
    Change, Finding, ModelRow, PartialRow, PartialState, PlanStep, RepoId, Rule, Severity, Verdict,
    VerifyTarget,
};

/// What stands before the name of a snapshot folder, where a ref could have that name.
pub const FOLDER: &str = "snapshots/";

/// What a look is about.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scope<'a> {
    /// These repos, or snapshots of them; everything if there are none.
    pub targets: &'a [VerifyTarget],
    /// These rules; every one if there are none.
    pub rules: &'a [Rule],
}

/// Findings that are told together: the same rule, about the same snapshot, for the same reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FindingGroup<'a> {
    /// The first of them.
    pub first: &'a Finding,
    /// All of them, the first included.
    pub all: Vec<&'a Finding>,
}

/// What was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// Snapshots.
    pub models: usize,
    /// Files in them that lead to content.
    pub files: usize,
    /// Their bytes on disk.
    pub size_bytes: u64,
    /// Snapshots of which every file was hashed and has not changed since.
    pub verified: usize,
    /// When the one of them was hashed that was hashed longest ago, milliseconds since the Unix
    /// epoch.
    pub verified_ms: Option<u64>,
    /// Snapshots with bytes that were hashed and are wrong.
    pub wrong: usize,
    /// When that was last seen, milliseconds since the Unix epoch.
    pub wrong_ms: Option<u64>,
}

/// What healing takes and gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Healing {
    /// Bytes that plans free, each path once.
    pub freed_bytes: u64,
    /// Bytes to fetch, as far as listings tell, each file once.
    pub fetched_bytes: u64,
}

impl FindingGroup<'_> {
    /// The steps that heal all of them, each once; pulls of one revision are one pull.
    pub fn steps(&self) -> Vec<PlanStep> {
        let mut steps: Vec<PlanStep> = Vec::new();
        let mut places = BTreeSet::new();
        let all = self.all.iter().flat_map(|finding| {
            let place = finding.evidence.first().map(|fact| &fact.path);
            finding.plan.steps.iter().map(move |step| (place, step))
        });
        for (place, step) in all {
            if steps.contains(step) && !matches!(step, PlanStep::Pull { .. }) {
                continue;
            }
            // The same file twice is fetched once.
            if matches!(step, PlanStep::Pull { .. })
                && place.is_some_and(|place| !places.insert(place))
            {
                continue;
            }
            let PlanStep::Pull {
                repo,
                revision,
                files,
                fetch_bytes,
            } = step
            else {
                steps.push(step.clone());
                continue;
            };
            let known = steps.iter_mut().find_map(|known| match known {
                PlanStep::Pull {
                    repo: other,
                    revision: at,
                    files: named,
                    fetch_bytes,
                } if other == repo && at == revision && named.is_empty() == files.is_empty() => {
                    Some((named, fetch_bytes))
                }
                _ => None,
            });
            match known {
                Some((named, known)) => {
                    for file in files {
                        if !named.contains(file) {
                            named.push(file.clone());
                        }
                    }
                    *known = match (*known, *fetch_bytes) {
                        (Some(known), Some(more)) => Some(known + more),
                        (one, other) => one.or(other),
                    };
                }
                None => steps.push(step.clone()),
            }
        }
        steps
    }
}

/// What is told together, in the order of the first of each.
pub fn grouped<'a>(findings: &[&'a Finding]) -> Vec<FindingGroup<'a>> {
    let mut groups: Vec<FindingGroup<'a>> = Vec::new();
    for &finding in findings {
        let is_same = |group: &&mut FindingGroup<'a>| {
            let first = group.first;
            first.rule == finding.rule
                && first.severity == finding.severity
                && first.repo == finding.repo
                && first.revision == finding.revision
                && first.cause == finding.cause
        };
        match groups.iter_mut().find(is_same) {
            Some(group) => group.all.push(finding),
            None => groups.push(FindingGroup {
                first: finding,
                all: vec![finding],
            }),
        }
    }
    groups
}

/// Findings by severity.
pub fn counts_of(findings: &[&Finding]) -> FindingCounts {
    let mut counts = FindingCounts::default();
    for finding in findings {
        *match finding.severity {
            Severity::Error => &mut counts.errors,
            Severity::Warning => &mut counts.warnings,
            Severity::Note => &mut counts.notes,
        } += 1;
    }
    counts
}

/// What the errors among them come to for who reads the models, each sentence once, the first
/// finding's first.
pub fn harms_of(findings: &[&Finding]) -> Vec<&'static str> {
    let mut harms: Vec<&'static str> = Vec::new();
    for finding in findings {
        let harm = finding.rule.harm();
        if finding.severity == Severity::Error && !harms.contains(&harm) {
            harms.push(harm);
        }
    }
    harms
}

/// What healing all of them takes and gives.
pub fn healing_of(findings: &[&Finding]) -> Healing {
    let (mut freed, mut fetched) = (BTreeSet::new(), BTreeSet::new());
    let mut healing = Healing::default();
    for finding in findings {
        // Two snapshots may lead to one blob, and each has its finding.
        let place = finding.evidence.first().map(|fact| fact.path.as_str());
        for step in &finding.plan.steps {
            match step {
                PlanStep::RemovePartial { path, bytes, .. }
                | PlanStep::Change(
                    Change::Remove { path, bytes }
                    | Change::RemoveCopy { path, bytes, .. }
                    | Change::Share { path, bytes, .. },
                ) if freed.insert(path.as_str()) => {
                    healing.freed_bytes += bytes;
                }
                PlanStep::Pull {
                    repo,
                    revision,
                    fetch_bytes: Some(bytes),
                    ..
                } if fetched.insert((repo, place.unwrap_or(revision.as_str()))) => {
                    healing.fetched_bytes += bytes;
                }
                PlanStep::RemovePartial { .. }
                | PlanStep::Discard(_)
                | PlanStep::Pull { .. }
                | PlanStep::Change(_)
                | PlanStep::ByHand { .. } => {}
            }
        }
    }
    healing
}

/// Whether a snapshot goes by that name: a ref, its folder's name with or without `snapshots/` before
/// it, or the start of its commit.
pub fn is_at(row: &ModelRow, name: &str) -> bool {
    row.refs.iter().any(|reference| reference == name)
        || row.revision == name
        || name.strip_prefix(FOLDER) == Some(row.revision.as_str())
        || (name.len() >= 7 && row.revision.starts_with(name))
}

impl Shelf {
    /// Whether anything at all is known of a repo.
    pub fn knows(&self, repo: &RepoId) -> bool {
        let repo = Some(repo);
        self.models_of(repo).next().is_some()
            || !self.findings_about(repo).is_empty()
            || !self.partials_of(repo).is_empty()
            || self.locks_of(repo).next().is_some()
    }

    /// The repos of which there are models, each once.
    pub fn repos(&self) -> Vec<RepoId> {
        let names: BTreeSet<&RepoId> = self.models_of(None).map(|row| &row.repo).collect();
        names.into_iter().cloned().collect()
    }

    /// The snapshots that a look is about.
    pub fn models_in<'a>(&'a self, scope: Scope<'a>) -> impl Iterator<Item = &'a ModelRow> {
        self.models_of(None).filter(move |row| {
            let is_meant = |target: &VerifyTarget| {
                target.repo == row.repo
                    && target
                        .revision
                        .as_deref()
                        .is_none_or(|name| is_at(row, name))
            };
            scope.targets.is_empty() || scope.targets.iter().any(is_meant)
        })
    }

    /// What is wrong with what a look is about, the worst first. What is wrong with a repo as a whole
    /// is wrong with each of its revisions.
    pub fn findings_in(&self, scope: Scope<'_>) -> Vec<&Finding> {
        let is_meant = |finding: &Finding, target: &VerifyTarget| {
            let Some(name) = &target.revision else {
                return finding.repo.as_ref() == Some(&target.repo);
            };
            finding.repo.as_ref() == Some(&target.repo)
                && finding.revision.as_ref().is_none_or(|revision| {
                    revision == name
                        || self
                            .models_of(Some(&target.repo))
                            .any(|row| row.revision == *revision && is_at(row, name))
                })
        };
        let mut findings = self.findings();
        findings.retain(|finding| {
            let is_about = scope.targets.is_empty()
                || scope.targets.iter().any(|target| is_meant(finding, target));
            is_about && (scope.rules.is_empty() || scope.rules.contains(&finding.rule))
        });
        findings
    }

    /// Unfinished blobs of these repos, or of all, that changed a moment ago and that nobody is known to
    /// write: how many, and their bytes.
    pub fn fresh_partials(&self, repos: &[RepoId]) -> (usize, u64) {
        let is_fresh = |row: &&PartialRow| {
            let is_meant = repos.is_empty() || repos.contains(&row.repo);
            let is_unknown = matches!(
                row.state,
                PartialState::Live {
                    is_ours: false,
                    pid: None,
                    ..
                }
            );
            is_meant && is_unknown
        };
        let fresh = self.partials().iter().filter(is_fresh);
        fresh.fold((0, 0), |(files, bytes), row| (files + 1, bytes + row.bytes))
    }

    /// What a look is about, counted.
    pub fn looked_at(&self, scope: Scope<'_>) -> Looked {
        let mut looked = Looked::default();
        for row in self.models_in(scope) {
            looked.models += 1;
            looked.files += row.files_present;
            looked.size_bytes += row.size_bytes;
            if let Some(then) = self.verified_ms(row) {
                looked.verified += 1;
                looked.verified_ms = Some(looked.verified_ms.map_or(then, |known| known.min(then)));
            } else if let Some(then) = self.wrong_ms(row) {
                looked.wrong += 1;
                looked.wrong_ms = looked.wrong_ms.max(Some(then));
            }
        }
        looked
    }

    /// When bytes of a snapshot were last found wrong: in this run, or as it was remembered. Nothing
    /// where it was found right since.
    pub fn wrong_ms(&self, row: &ModelRow) -> Option<u64> {
        let is_wrong = |finding: &Finding| finding.rule == Rule::WrongHash;
        match self.verified(&row.snapshot) {
            Some(verified) if verified.findings.iter().any(is_wrong) => Some(verified.at_ms),
            Some(verified) if verified.verdict != Verdict::Broken => None,
            Some(_) | None => row.wrong_ms,
        }
    }

    /// When every file of a snapshot was found right: in this run, or as it was remembered.
    pub fn verified_ms(&self, row: &ModelRow) -> Option<u64> {
        match self.verified(&row.snapshot) {
            Some(verified) if verified.verdict != Verdict::Good => None,
            Some(verified) => Some(
                row.verified_ms
                    .map_or(verified.at_ms, |then| then.max(verified.at_ms)),
            ),
            None => row.verified_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::script::{START_MS, Script, commit, model_row, repo};
    use super::super::survey_script::{abandoned, truncated};
    use super::*;
    use crate::domain::{Event, RepoKind};

    fn other() -> RepoId {
        RepoId::new(RepoKind::Model, "org/other").unwrap()
    }

    fn target(repo: RepoId, revision: Option<&str>) -> VerifyTarget {
        VerifyTarget {
            repo,
            revision: revision.map(str::to_owned),
        }
    }

    #[test]
    fn what_is_of_one_kind_is_told_together() {
        let mut shard = truncated();
        shard.evidence[0].path = "/cache/other".to_owned();
        let found = [
            truncated(),
            abandoned(&repo(), "/c/1", 5),
            shard,
            abandoned(&repo(), "/c/2", 7),
            abandoned(&other(), "/c/3", 11),
        ];
        let found: Vec<&Finding> = found.iter().collect();
        let groups = grouped(&found);
        let sizes: Vec<usize> = groups.iter().map(|group| group.all.len()).collect();
        assert_eq!(sizes, [2, 2, 1]);
        let [PlanStep::Pull { fetch_bytes, .. }] = groups[0].steps()[..] else {
            panic!("{:?}", groups[0].steps());
        };
        assert_eq!(fetch_bytes, Some(24_000_000), "one pull fetches both");
        assert_eq!(groups[1].steps().len(), 2, "every path is named");
        let twice = [found.clone(), found].concat();
        assert_eq!(
            healing_of(&twice),
            Healing {
                freed_bytes: 5 + 7 + 11,
                fetched_bytes: 24_000_000
            },
            "each path once"
        );
        assert_eq!(counts_of(&twice).errors, 4);
        assert_eq!(grouped(&twice)[0].steps(), groups[0].steps());
    }

    #[test]
    fn errors_say_what_they_come_to_by_their_rule() {
        let of = |rule| Finding::new(rule, "x", "y");
        let bytes = "a reader gets wrong or missing bytes";
        let (cut, name, load) = (truncated(), of(Rule::MalformedRef), of(Rule::WouldNotLoad));
        let note = of(Rule::NoChatTemplate);
        assert_eq!(harms_of(&[&cut, &cut, &note]), [bytes]);
        let without = harms_of(&[&name, &load, &note]);
        assert_eq!(without.len(), 2, "{without:?}");
        assert!(!without.contains(&bytes), "{without:?}");
        for rule in Rule::ALL {
            let is_surprise = rule.harm() == "something is wasted or surprising";
            assert!(
                !is_surprise || rule.severity() < Severity::Error,
                "{rule:?}"
            );
        }
    }

    #[test]
    fn a_scope_is_repos_snapshots_and_rules() {
        let store = Script::survey().fold();
        let shelf = store.shelf();
        let count = |targets: &[VerifyTarget], rules: &[Rule]| {
            shelf.findings_in(Scope { targets, rules }).len()
        };
        assert_eq!(count(&[], &[]), 4);
        assert_eq!(count(&[], &[Rule::Truncated]), 1);
        assert_eq!(count(&[target(repo(), None)], &[]), 2);
        // By ref, by commit, by the start of one; what the repo as a whole has is among it.
        let commit = commit().to_string();
        for name in ["main", commit.as_str(), &commit[..7]] {
            assert_eq!(count(&[target(repo(), Some(name))], &[]), 2, "{name}");
        }
        assert_eq!(count(&[target(repo(), Some("v9"))], &[]), 1);
        assert_eq!(
            count(&[target(repo(), None), target(other(), None)], &[]),
            4
        );
        assert!(shelf.knows(&other()));
        assert!(!shelf.knows(&RepoId::new(RepoKind::Dataset, "org/other").unwrap()));
        assert_eq!(shelf.repos().len(), 3);
    }

    #[test]
    fn the_oldest_verdict_is_the_age_of_all() {
        let mut rows = vec![
            model_row("a/a", 5),
            model_row("b/b", 7),
            model_row("c/c", 9),
        ];
        rows[0].verified_ms = Some(START_MS - 5_000);
        rows[1].verified_ms = Some(START_MS - 9_000);
        let store = Script::new()
            .then(1, Event::ModelsListed { models: rows })
            .fold();
        assert_eq!(
            store.shelf().looked_at(Scope::default()),
            Looked {
                models: 3,
                files: 18,
                size_bytes: 21,
                verified: 2,
                verified_ms: Some(START_MS - 9_000),
                wrong: 0,
                wrong_ms: None,
            }
        );
    }
}
