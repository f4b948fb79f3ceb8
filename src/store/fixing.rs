//! Owns what a repair would do: the steps of plans in the order in which they are carried out, and
//! what is left for a person.
//!
//! Never formats, and never looks at anything but the shelf.

use std::collections::BTreeSet;
use std::path::Path;

use super::shelf::Shelf;
use crate::domain::{
    Change, Etag, Finding, Healing, PartialRow, Plan, PlanStep, RepoId, RepoPath, Rule, Severity,
};

/// What a repair would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FixPlan {
    /// Changes on the disk that come first.
    pub first: Plan,
    /// Pulls, each snapshot once.
    pub pulls: Vec<FixPull>,
    /// Changes that rest on the pulls.
    pub last: Plan,
    /// What is left for a person, a sentence each.
    pub left: Vec<String>,
    /// Blobs with wrong bytes that the pulls replace.
    pub replaced: BTreeSet<String>,
    /// The repos whose findings it puts right.
    pub about: BTreeSet<RepoId>,
}

/// A pull that heals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixPull {
    /// The repo.
    pub repo: RepoId,
    /// A ref or commit.
    pub revision: String,
    /// Files that are named one by one; none means what a pull takes by itself.
    pub files: Vec<String>,
    /// Bytes to fetch, as far as listings tell.
    pub fetch_bytes: u64,
    /// Whether that is all: some findings cannot tell.
    pub is_known: bool,
}

impl FixPlan {
    /// Whether there is nothing that can be done.
    pub const fn is_empty(&self) -> bool {
        self.first.steps.is_empty() && self.pulls.is_empty() && self.last.steps.is_empty()
    }

    /// Steps in all.
    pub const fn steps(&self) -> usize {
        self.first.steps.len() + self.pulls.len() + self.last.steps.len()
    }

    /// Every step as the plans of findings have it, in order.
    pub fn all_steps(&self) -> Vec<PlanStep> {
        let pulls = self.pulls.iter().map(|pull| PlanStep::Pull {
            repo: pull.repo.clone(),
            revision: pull.revision.clone(),
            files: pull.files.clone(),
            fetch_bytes: pull.is_known.then_some(pull.fetch_bytes),
        });
        let (first, last) = (self.first.steps.iter(), self.last.steps.iter());
        first.cloned().chain(pulls).chain(last.cloned()).collect()
    }

    /// Bytes that it frees.
    pub fn freed_bytes(&self) -> u64 {
        self.first.freed_bytes() + self.last.freed_bytes()
    }

    /// Bytes it fetches, as far as listings tell.
    pub fn fetched_bytes(&self) -> u64 {
        self.pulls.iter().map(|pull| pull.fetch_bytes).sum()
    }

    /// Whether what a pull put aside, `<blob>.<number>.corrupt`, is one of those that the plan names:
    /// as a blob, or as a file of a snapshot, which was a pointer to it.
    pub fn is_put_aside(&self, healing: &Healing) -> bool {
        let aside = healing.set_aside.as_deref();
        let stem = aside.and_then(|aside| aside.strip_suffix(".corrupt"));
        let Some((blob, _)) = stem.and_then(|stem| stem.rsplit_once('.')) else {
            return false;
        };
        let file = healing.path.as_ref().map(RepoPath::as_str);
        let repo = blob.rsplit_once("/blobs/").map(|(repo, _)| repo);
        let is_pointer = |path: &String| {
            let below = repo.and_then(|repo| path.strip_prefix(repo)?.strip_prefix("/snapshots/"));
            let inside = below.and_then(|below| below.split_once('/'));
            inside.is_some_and(|(_, inside)| Some(inside) == file)
        };
        self.replaced.contains(blob) || self.replaced.iter().any(is_pointer)
    }

    fn add_pull(
        &mut self,
        repo: &RepoId,
        revision: &str,
        files: &[String],
        fetch_bytes: Option<u64>,
    ) {
        let known = self.pulls.iter_mut().find(|pull| {
            pull.repo == *repo
                && pull.revision == revision
                && pull.files.is_empty() == files.is_empty()
        });
        match known {
            Some(pull) => {
                for file in files {
                    if !pull.files.contains(file) {
                        pull.files.push(file.clone());
                    }
                }
                pull.fetch_bytes += fetch_bytes.unwrap_or(0);
                pull.is_known &= fetch_bytes.is_some();
            }
            None => self.pulls.push(FixPull {
                repo: repo.clone(),
                revision: revision.to_owned(),
                files: files.to_vec(),
                fetch_bytes: fetch_bytes.unwrap_or(0),
                is_known: fetch_bytes.is_some(),
            }),
        }
    }

    /// Pulls one file; not where the whole snapshot is pulled, which brings it too.
    fn add_file(&mut self, repo: &RepoId, revision: &str, file: String, bytes: Option<u64>) {
        let whole = self
            .pulls
            .iter()
            .find(|pull| pull.repo == *repo && pull.revision == revision && pull.files.is_empty());
        let files = if whole.is_some() {
            Vec::new()
        } else {
            vec![file]
        };
        self.add_pull(repo, revision, &files, bytes);
    }

    fn leave(&mut self, sentence: String) {
        if !self.left.contains(&sentence) {
            self.left.push(sentence);
        }
    }
}

impl Shelf {
    /// What takes these files away, as far as a finding proposes that.
    pub fn removal_of(&self, paths: &BTreeSet<String>) -> Plan {
        let findings = self.findings();
        let steps = findings.iter().flat_map(|finding| &finding.plan.steps);
        let is_one = |step: &&PlanStep| matches!(step, PlanStep::Change(Change::Remove { path, .. }) if paths.contains(path));
        Plan {
            steps: steps.filter(is_one).cloned().collect(),
        }
    }

    /// What would put the findings right.
    pub fn fix_plan(&self, findings: &[&Finding]) -> FixPlan {
        let mut plan = FixPlan::default();
        let mut fetched = BTreeSet::new();
        let pulled = pulled_repos(findings);
        let mut singles = Vec::new();
        for finding in findings {
            if let Some(sentence) = why_left(finding) {
                plan.leave(sentence);
                continue;
            }
            plan.about.extend(finding.repo.clone());
            if is_replaced(finding) {
                plan.replaced
                    .extend(finding.evidence.iter().map(|fact| fact.path.clone()));
            }
            let place = finding.evidence.first().map(|fact| fact.path.as_str());
            let is_new = place.is_none_or(|place| fetched.insert(place));
            let steps = &finding.plan.steps;
            let rests_on_pull = steps
                .iter()
                .any(|step| matches!(step, PlanStep::Change(change) if change.is_after_pull()));
            let is_pulled = finding
                .repo
                .as_ref()
                .is_some_and(|repo| pulled.contains(repo));
            let only = only_file(finding);
            for step in steps {
                if let (
                    PlanStep::Pull {
                        repo,
                        revision,
                        files,
                        fetch_bytes,
                    },
                    Some(file),
                ) = (step, &only)
                    && files.is_empty()
                {
                    let bytes = fetch_bytes.map(|all| if is_new { all } else { 0 });
                    singles.push((repo, revision, file.clone(), bytes));
                    continue;
                }
                // Until the pull has proven the blob, what was put aside may hold its only right bytes.
                let is_late =
                    rests_on_pull || (is_pulled && (is_aside(step) || is_folder(finding)));
                if let PlanStep::RemovePartial { repo, path, .. } = step {
                    self.add_partial(&mut plan, step, (repo, path), findings);
                } else {
                    Self::add_step(&mut plan, step, (is_new, is_late));
                }
            }
        }
        // When it is known which snapshots are pulled whole.
        for (repo, revision, file, bytes) in singles {
            plan.add_file(repo, revision, file, bytes);
        }
        plan
    }

    fn add_step(plan: &mut FixPlan, step: &PlanStep, (is_new, rests_on_pull): (bool, bool)) {
        match step {
            PlanStep::Pull {
                repo,
                revision,
                files,
                fetch_bytes,
            } => {
                // The same file of two findings is fetched once.
                let bytes = fetch_bytes.map(|all| if is_new { all } else { 0 });
                plan.add_pull(repo, revision, files, bytes);
            }
            PlanStep::RemovePartial { .. } => {}
            PlanStep::Change(_) if rests_on_pull => add(&mut plan.last, step),
            PlanStep::Change(_) => add(&mut plan.first, step),
            PlanStep::Discard(discard) => plan.leave(format!("purge {}", discard.repo)),
            PlanStep::ByHand { advice } => plan.leave(advice.clone()),
        }
    }
}

impl Shelf {
    /// An unfinished blob goes where the whole one is here. What a pull of this plan replaces is healed
    /// by it, and it is the pull's to take.
    fn add_partial(
        &self,
        plan: &mut FixPlan,
        step: &PlanStep,
        (repo, path): (&RepoId, &str),
        findings: &[&Finding],
    ) {
        let partials = self.partials_of(Some(repo));
        let row = partials.iter().find(|row| row.path == path);
        let is_of = |finding: &&&Finding| {
            let is_named = |file: &String| finding.file.as_ref() == Some(file);
            let is_blob = |row: &PartialRow| {
                let places = finding.evidence.iter();
                let mut names = places.filter_map(|fact| Path::new(&fact.path).file_name());
                names.any(|name| name == row.etag.as_str())
            };
            finding.repo.as_ref() == Some(repo)
                && row.is_some_and(|row| row.file.as_ref().is_some_and(is_named) || is_blob(row))
        };
        if findings.iter().filter(is_of).any(|one| is_replaced(one)) {
            return;
        }
        if row.is_some_and(|row| row.is_superseded) {
            add(&mut plan.first, step);
        } else {
            plan.leave(format!(
                "{repo} has an unfinished download: a pull goes on with it, a purge frees it"
            ));
        }
    }
}

fn add(plan: &mut Plan, step: &PlanStep) {
    if !plan.steps.contains(step) {
        plan.steps.push(step.clone());
    }
}

/// The repos of which something is pulled.
fn pulled_repos<'a>(findings: &[&'a Finding]) -> BTreeSet<&'a RepoId> {
    let steps = findings
        .iter()
        .filter(|finding| why_left(finding).is_none())
        .flat_map(|finding| &finding.plan.steps);
    steps
        .filter_map(|step| match step {
            PlanStep::Pull { repo, .. } => Some(repo),
            _ => None,
        })
        .collect()
}

/// Whether a step takes bytes away that gave way to others: `.corrupt` or `.old`.
fn is_aside(step: &PlanStep) -> bool {
    let PlanStep::Change(Change::Remove { path, .. }) = step else {
        return false;
    };
    let ending = Path::new(path).extension();
    ending.is_some_and(|ending| ending == "corrupt" || ending == "old")
}

/// Whether a finding is about a folder in the place of a blob: a pull of that blob puts it away.
fn is_folder(finding: &Finding) -> bool {
    let fact = finding.evidence.first();
    let path = fact.map(|fact| Path::new(&fact.path));
    let name = path
        .and_then(Path::file_name)
        .and_then(|name| name.to_str());
    let is_blob = name.is_some_and(|name| Etag::new(name).is_ok());
    is_blob && finding.rule == Rule::LeftoverTemp
}

/// The one file that a finding is about, if a pull of that alone puts it right: the others are none
/// of the plan. Nothing where the name was changed for showing it.
fn only_file(finding: &Finding) -> Option<String> {
    let file = finding.file.as_ref().filter(|_| is_replaced(finding))?;
    let is_name = RepoPath::new(file).is_ok() && !file.contains('\\');
    is_name.then(|| file.clone())
}

/// Whether a pull puts other bytes in the place of what is there.
fn is_replaced(finding: &Finding) -> bool {
    let is_wrong = matches!(
        finding.rule,
        Rule::WrongHash
            | Rule::Truncated
            | Rule::WrongSize
            | Rule::EmptyBlob
            | Rule::LfsPointer
            | Rule::ErrorPage
    );
    let steps = &finding.plan.steps;
    is_wrong
        && steps
            .iter()
            .any(|step| matches!(step, PlanStep::Pull { .. }))
}

/// Why a repair does not touch what a finding is about; `None` if it does.
fn why_left(finding: &Finding) -> Option<String> {
    let about = || match &finding.repo {
        Some(repo) => format!("{repo}: {}", finding.summary),
        None => finding.summary.clone(),
    };
    let has_pull = finding
        .plan
        .steps
        .iter()
        .any(|step| matches!(step, PlanStep::Pull { .. }));
    if !finding.is_repaired() {
        let about = about();
        let mut steps = finding.plan.steps.iter();
        let advice = steps.find_map(|step| match step {
            PlanStep::ByHand { advice } => Some(advice),
            _ => None,
        });
        let why = format!("{about}; its bytes may be good, so a repair does not take it away");
        return Some(advice.map_or_else(|| why.clone(), |advice| format!("{why}: {advice}")));
    }
    // Somebody may have asked for no more.
    (finding.severity == Severity::Note && has_pull)
        .then(|| format!("{}; a pull fetches the rest", about()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{HealingKind, PartialState};

    #[test]
    fn what_was_put_aside_is_known_by_the_blob_and_by_the_pointer_that_was_named() {
        let (repo, etag) = ("/hub/models--a--b", "5d41402abc4b2a76b9719d911017c592");
        let by = |named: String, file: Option<&str>| {
            let healing = Healing {
                kind: HealingKind::WrongHash,
                path: file.map(|file| RepoPath::new(file).unwrap()),
                location: String::new(),
                set_aside: Some(format!("{repo}/blobs/{etag}.0badcafe.corrupt")),
            };
            let plan = FixPlan {
                replaced: BTreeSet::from([named]),
                ..FixPlan::default()
            };
            plan.is_put_aside(&healing)
        };
        assert!(by(format!("{repo}/blobs/{etag}"), None));
        let pointer = format!("{repo}/snapshots/main/sub dir/x.json");
        assert!(by(pointer.clone(), Some("sub dir/x.json")));
        assert!(!by(pointer.clone(), Some("x.json")) && !by(pointer, None));
        let others = "/hub/models--a--c/snapshots/main/x.json".to_owned();
        assert!(!by(others, Some("x.json")));
    }

    #[test]
    fn what_is_unfinished_of_a_wrong_blob_is_the_pulls() {
        let repo = crate::store::script::repo();
        let path = "/cache/blobs/ab.incomplete";
        let unfinished = PartialRow {
            repo: repo.clone(),
            path: path.to_owned(),
            etag: "ab".to_owned(),
            file: Some("model.safetensors".to_owned()),
            bytes: 9,
            expected_bytes: Some(9),
            modified_ms: 1,
            is_superseded: true,
            state: PartialState::Abandoned,
        };
        let removal = PlanStep::RemovePartial {
            repo: repo.clone(),
            path: path.to_owned(),
            bytes: 9,
            modified_ms: 1,
            is_superseded: false,
            map: None,
        };
        let abandoned = Finding::new(Rule::AbandonedPartial, "unfinished", "killed")
            .of_model(&repo, None)
            .step(removal.clone());
        let wrong = |file: &str, place: &str| {
            Finding::new(Rule::WrongHash, "wrong", "bytes changed")
                .of_model(&repo, Some("a1"))
                .of_file(file)
                .seen(place, Some(9), Some(9), "")
                .step(PlanStep::Pull {
                    repo: repo.clone(),
                    revision: "a1".to_owned(),
                    files: Vec::new(),
                    fetch_bytes: Some(8),
                })
        };
        let shelf = Shelf {
            partials: vec![unfinished],
            ..Shelf::default()
        };
        let removed = |findings: &[&Finding]| {
            let steps = shelf.fix_plan(findings).all_steps();
            steps.contains(&removal)
        };
        assert!(removed(&[&abandoned]));
        assert!(removed(&[
            &wrong("config.json", "/cache/config.json"),
            &abandoned
        ]));
        for wrong in [
            wrong("model.safetensors", "/cache/snapshots/a1/model.safetensors"),
            wrong("another name", "/cache/blobs/ab"),
        ] {
            assert!(!removed(&[&wrong, &abandoned]) && !removed(&[&abandoned, &wrong]));
        }
    }

    #[test]
    fn a_pull_that_heals_one_file_fetches_no_other() {
        let repo = crate::store::script::repo();
        let wrong = |rule, file: &str| {
            Finding::new(rule, "wrong", "bytes changed")
                .of_model(&repo, Some("a1"))
                .of_file(file)
                .seen(&format!("/cache/{file}"), Some(1), Some(9), "")
                .step(PlanStep::Pull {
                    repo: repo.clone(),
                    revision: "a1".to_owned(),
                    files: Vec::new(),
                    fetch_bytes: Some(8),
                })
        };
        let shelf = Shelf::default();
        let plan = |findings: &[&Finding]| shelf.fix_plan(findings).pulls;
        let one = wrong(Rule::WrongHash, "one.json");
        let two = wrong(Rule::Truncated, "two.safetensors");
        let [pull] = &plan(&[&one])[..] else {
            panic!("more than one pull");
        };
        assert_eq!(
            (&pull.files[..], pull.fetch_bytes),
            (&["one.json".to_owned()][..], 8)
        );
        let [pull] = &plan(&[&one, &two])[..] else {
            panic!("more than one pull");
        };
        assert_eq!((pull.files.len(), pull.fetch_bytes), (2, 16));
        // A file that no pull takes by itself is pulled by its name, also beside the whole.
        let extra = Finding {
            plan: Plan {
                steps: vec![PlanStep::Pull {
                    repo: repo.clone(),
                    revision: "a1".to_owned(),
                    files: vec!["extra.bin".to_owned()],
                    fetch_bytes: Some(1),
                }],
            },
            ..wrong(Rule::Truncated, "extra.bin")
        };
        let whole = wrong(Rule::MissingFiles, "config.json");
        let [first, second] = &plan(&[&extra, &whole, &one])[..] else {
            panic!("not two pulls");
        };
        assert_eq!(
            (&first.files[..], first.fetch_bytes),
            (&["extra.bin".to_owned()][..], 1)
        );
        assert_eq!((second.files.len(), second.fetch_bytes), (0, 16));
        // Where the whole is pulled, once is enough; and a name that was changed for showing it is
        // none to pull.
        for whole in [
            wrong(Rule::MissingFiles, "config.json"),
            wrong(Rule::WrongHash, "\\x1bodd.json"),
        ] {
            let [pull] = &plan(&[&one, &whole, &two])[..] else {
                panic!("more than one pull");
            };
            assert_eq!((pull.files.len(), pull.fetch_bytes), (0, 24));
        }
    }
}
