//! Owns what is wrong in a cache, told so that a person can judge it: severity, evidence, cause,
//! and the plan that would put it right.
//!
//! **Law**: nothing is deleted that a shown plan does not name; a plan names every path.

use serde::Serialize;

use super::repo::RepoId;

/// How much a finding matters (product.md, section 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Waste, or a reader may be surprised.
    Warning,
    /// A reader gets wrong or missing bytes.
    Error,
}

impl Severity {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// By which rule something was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// An unfinished blob that nobody is writing.
    AbandonedPartial,
    /// A pointer that leads to a blob that is not there.
    DanglingPointer,
    /// A blob shorter than its file.
    Truncated,
    /// A blob longer than its file.
    WrongSize,
    /// A blob whose bytes do not hash to its name.
    WrongHash,
    /// The text of an LFS pointer in the place of the content.
    LfsPointer,
    /// A pointer to another content than the listing names, or out of the repo (then a warning).
    WrongPointer,
    /// Files that the snapshot should hold are not there.
    MissingFiles,
    /// A ref that names a commit of which there is no snapshot.
    RefToNowhere,
    /// A ref that holds more or less than one commit hash.
    MalformedRef,
    /// A model that would not load: config, index, shards or tokenizer.
    WouldNotLoad,
    /// Something that cannot be read at all.
    Unreadable,
}

impl Rule {
    /// Every rule, in the order of the table.
    pub const ALL: [Self; 12] = [
        Self::AbandonedPartial,
        Self::DanglingPointer,
        Self::Truncated,
        Self::WrongSize,
        Self::WrongHash,
        Self::LfsPointer,
        Self::WrongPointer,
        Self::MissingFiles,
        Self::RefToNowhere,
        Self::MalformedRef,
        Self::WouldNotLoad,
        Self::Unreadable,
    ];

    /// The name as it stands in JSON and on screens.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AbandonedPartial => "abandoned-partial",
            Self::DanglingPointer => "dangling-pointer",
            Self::Truncated => "truncated",
            Self::WrongSize => "wrong-size",
            Self::WrongHash => "wrong-hash",
            Self::LfsPointer => "lfs-pointer",
            Self::WrongPointer => "wrong-pointer",
            Self::MissingFiles => "missing-files",
            Self::RefToNowhere => "ref-to-nowhere",
            Self::MalformedRef => "malformed-ref",
            Self::WouldNotLoad => "would-not-load",
            Self::Unreadable => "unreadable",
        }
    }

    /// How much it matters.
    pub const fn severity(self) -> Severity {
        match self {
            Self::AbandonedPartial | Self::RefToNowhere | Self::MissingFiles => Severity::Warning,
            Self::DanglingPointer
            | Self::Truncated
            | Self::WrongSize
            | Self::WrongHash
            | Self::LfsPointer
            | Self::WrongPointer
            | Self::MalformedRef
            | Self::WouldNotLoad
            | Self::Unreadable => Severity::Error,
        }
    }
}

/// A fact that a finding rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// Where, absolute; sanitised.
    pub path: String,
    /// Bytes found there; `None` where there are none or they do not matter.
    pub bytes: Option<u64>,
    /// Bytes there should be, where a listing says so.
    pub expected_bytes: Option<u64>,
    /// What was seen, in a few words; sanitised.
    pub seen: String,
}

/// One step of a plan. Nothing else happens when the plan is carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "step")]
pub enum PlanStep {
    /// Takes away an unfinished blob, if it is still the file that was seen and nobody writes it.
    RemovePartial {
        /// Whose.
        repo: RepoId,
        /// The file, absolute.
        path: String,
        /// Its length when it was seen, in bytes: what is freed.
        bytes: u64,
        /// Its last change when it was seen, milliseconds since the Unix epoch.
        modified_ms: u64,
        /// Its chunk map, absolute, if there is one: it goes with it.
        map: Option<String>,
    },
    /// Pulls the model again: what is right is reused, what is wrong or missing is fetched, proven
    /// and put in its place.
    Pull {
        /// The repo.
        repo: RepoId,
        /// A ref or commit.
        revision: String,
        /// Bytes to fetch, as far as a listing tells.
        fetch_bytes: Option<u64>,
    },
    /// What only a person can do.
    ByHand {
        /// What.
        advice: String,
    },
}

/// What would be done, step by step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The steps, in order.
    pub steps: Vec<PlanStep>,
}

impl Plan {
    /// A plan of one step.
    pub fn of(step: PlanStep) -> Self {
        Self { steps: vec![step] }
    }

    /// Bytes that carrying it out frees.
    pub fn freed_bytes(&self) -> u64 {
        self.removals().map(|(_, bytes)| bytes).sum()
    }

    /// Paths it takes away, with their lengths in bytes.
    pub fn removals(&self) -> impl Iterator<Item = (&str, u64)> {
        self.steps.iter().filter_map(|step| match step {
            PlanStep::RemovePartial { path, bytes, .. } => Some((path.as_str(), *bytes)),
            PlanStep::Pull { .. } | PlanStep::ByHand { .. } => None,
        })
    }
}

/// Something wrong, wasteful or surprising in a cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// By which rule.
    pub rule: Rule,
    /// How much it matters.
    pub severity: Severity,
    /// The repo it is about.
    pub repo: Option<RepoId>,
    /// The snapshot it is about: a commit, or a folder's name.
    pub revision: Option<String>,
    /// The file in the repo it is about; sanitised.
    pub file: Option<String>,
    /// What is wrong, in one line; sanitised.
    pub summary: String,
    /// What it rests on.
    pub evidence: Vec<Evidence>,
    /// How that probably came about.
    pub cause: String,
    /// What would put it right.
    pub plan: Plan,
}

impl Finding {
    /// A finding of a rule, with the severity that the rule has.
    pub fn new(rule: Rule, summary: impl Into<String>, cause: impl Into<String>) -> Self {
        Self {
            rule,
            severity: rule.severity(),
            repo: None,
            revision: None,
            file: None,
            summary: super::text::sanitize(&summary.into()),
            evidence: Vec::new(),
            cause: cause.into(),
            plan: Plan::default(),
        }
    }

    /// Says which repo and snapshot it is about.
    #[must_use]
    pub fn of_model(mut self, repo: &RepoId, revision: Option<&str>) -> Self {
        self.repo = Some(repo.clone());
        self.revision = revision.map(super::text::sanitize);
        self
    }

    /// Says which file of the repo it is about.
    #[must_use]
    pub fn of_file(mut self, file: &str) -> Self {
        self.file = Some(super::text::sanitize(file));
        self
    }

    /// Adds a fact it rests on.
    #[must_use]
    pub fn seen(
        mut self,
        path: &str,
        bytes: Option<u64>,
        expected_bytes: Option<u64>,
        seen: &str,
    ) -> Self {
        self.evidence.push(Evidence {
            path: super::text::sanitize(path),
            bytes,
            expected_bytes,
            seen: super::text::sanitize(seen),
        });
        self
    }

    /// Adds a step of the plan.
    #[must_use]
    pub fn step(mut self, step: PlanStep) -> Self {
        self.plan.steps.push(step);
        self
    }

    /// Bytes that its plan frees.
    pub fn reclaimable_bytes(&self) -> u64 {
        self.plan.freed_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::super::repo::RepoKind;
    use super::*;

    #[test]
    fn names_in_json_are_those_on_screens() {
        for rule in Rule::ALL {
            let json = serde_json::to_string(&rule).unwrap();
            assert_eq!(json, format!("\"{}\"", rule.name()));
        }
        for severity in [Severity::Note, Severity::Warning, Severity::Error] {
            let json = serde_json::to_string(&severity).unwrap();
            assert_eq!(json, format!("\"{}\"", severity.name()));
        }
        assert!(Severity::Error > Severity::Warning && Severity::Warning > Severity::Note);
    }

    #[test]
    fn a_plan_frees_what_it_names() {
        let repo = RepoId::new(RepoKind::Model, "org/m").unwrap();
        let finding = Finding::new(Rule::AbandonedPartial, "x\u{1b}", "interrupted")
            .of_model(&repo, None)
            .step(PlanStep::RemovePartial {
                repo: repo.clone(),
                path: "/c/x.incomplete".to_owned(),
                bytes: 12,
                modified_ms: 1,
                map: None,
            })
            .step(PlanStep::ByHand {
                advice: "nothing".to_owned(),
            });
        assert_eq!(finding.reclaimable_bytes(), 12);
        assert_eq!(finding.summary, "x\\x1b");
        assert_eq!(
            finding.plan.removals().collect::<Vec<_>>(),
            [("/c/x.incomplete", 12)]
        );
    }
}
