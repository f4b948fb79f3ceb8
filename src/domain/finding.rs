//! Owns what is wrong in a cache, told so that a person can judge it: severity, evidence, cause,
//! and the plan that would put it right.
//!
//! **Law**: nothing is deleted that a shown plan does not name; a plan names every path.

use serde::Serialize;

use super::discard::Discard;
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
    /// A pointer with an absolute target, or one that leads out of the repo.
    EscapingPointer,
    /// A pointer to another content than the listing names.
    WrongPointer,
    /// A file shorter than it should be.
    Truncated,
    /// A file longer than it should be.
    WrongSize,
    /// A blob without a byte under the name of a content that has some.
    EmptyBlob,
    /// A file whose bytes do not hash to what they should.
    WrongHash,
    /// The text of an LFS pointer in the place of the content.
    LfsPointer,
    /// A web page or an XML error in the place of the content.
    ErrorPage,
    /// Files that the snapshot should hold are not there.
    MissingFiles,
    /// A snapshot of which a download brought only a part.
    HalfWritten,
    /// A ref that names a commit of which there is no snapshot.
    RefToNowhere,
    /// A ref that holds more or less than one commit hash.
    MalformedRef,
    /// No ref names any snapshot: who asks for the model by a branch's name does not find it offline.
    NoRef,
    /// A temporary file among the refs, which Python takes for a branch.
    LeftoverRef,
    /// A blob that no snapshot leads to.
    OrphanBlob,
    /// What a program that died left beside the blobs, listings or locks.
    LeftoverTemp,
    /// A mark that a file does not exist, which does.
    StaleNoExist,
    /// A download marker of a program that is gone.
    StaleMarker,
    /// A regular file in the place of a pointer.
    RegularFile,
    /// A regular file in a snapshot and the same content once more as a blob.
    CopiedFile,
    /// A snapshot folder that is not named after a commit, such as `snapshots/main`.
    BranchFolder,
    /// A shared blob store without the mark that Python knows it by.
    UnmarkedStore,
    /// A content in the shared blob store that no repo leads to.
    UnusedPayload,
    /// A file of a local folder without the note of what it should be.
    MissingMetadata,
    /// The same contents in more than one place.
    DuplicateModel,
    /// Variables that make the shell and apps look in different places.
    SplitCaches,
    /// A cache on a volume that is not there.
    AbsentVolume,
    /// Files that this user, or others who share the cache, may not read or write.
    MixedPermissions,
    /// Two names that are one on a file system that ignores case.
    CaseCollision,
    /// A model in a folder that the system may empty.
    PurgeableFolder,
    /// A file whose bytes are not on this disk: in a cloud, or never written.
    Evicted,
    /// Weights that a loader would take by accident.
    StrayWeights,
    /// A model that would not load: config, index, shards or tokenizer.
    WouldNotLoad,
    /// A config without a `model_type`: of another library, or damaged.
    NoModelType,
    /// A model without a chat template: it completes text, and a chat needs a format from elsewhere.
    NoChatTemplate,
    /// Something that cannot be read at all.
    Unreadable,
}

impl Rule {
    /// Every rule, in the order of the table.
    pub const ALL: [Self; 38] = [
        Self::AbandonedPartial,
        Self::DanglingPointer,
        Self::EscapingPointer,
        Self::WrongPointer,
        Self::Truncated,
        Self::WrongSize,
        Self::EmptyBlob,
        Self::WrongHash,
        Self::LfsPointer,
        Self::ErrorPage,
        Self::MissingFiles,
        Self::HalfWritten,
        Self::RefToNowhere,
        Self::MalformedRef,
        Self::NoRef,
        Self::LeftoverRef,
        Self::OrphanBlob,
        Self::LeftoverTemp,
        Self::StaleNoExist,
        Self::StaleMarker,
        Self::RegularFile,
        Self::CopiedFile,
        Self::BranchFolder,
        Self::UnmarkedStore,
        Self::UnusedPayload,
        Self::MissingMetadata,
        Self::DuplicateModel,
        Self::SplitCaches,
        Self::AbsentVolume,
        Self::MixedPermissions,
        Self::CaseCollision,
        Self::PurgeableFolder,
        Self::Evicted,
        Self::StrayWeights,
        Self::WouldNotLoad,
        Self::NoModelType,
        Self::NoChatTemplate,
        Self::Unreadable,
    ];

    /// The name as it stands in JSON and on screens.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AbandonedPartial => "abandoned-partial",
            Self::DanglingPointer => "dangling-pointer",
            Self::EscapingPointer => "escaping-pointer",
            Self::WrongPointer => "wrong-pointer",
            Self::Truncated => "truncated",
            Self::WrongSize => "wrong-size",
            Self::EmptyBlob => "empty-blob",
            Self::WrongHash => "wrong-hash",
            Self::LfsPointer => "lfs-pointer",
            Self::ErrorPage => "error-page",
            Self::MissingFiles => "missing-files",
            Self::HalfWritten => "half-written",
            Self::RefToNowhere => "ref-to-nowhere",
            Self::MalformedRef => "malformed-ref",
            Self::NoRef => "no-ref",
            Self::LeftoverRef => "leftover-ref",
            Self::OrphanBlob => "orphan-blob",
            Self::LeftoverTemp => "leftover-temp",
            Self::StaleNoExist => "stale-no-exist",
            Self::StaleMarker => "stale-marker",
            Self::RegularFile => "regular-file",
            Self::CopiedFile => "copied-file",
            Self::BranchFolder => "branch-folder",
            Self::UnmarkedStore => "unmarked-store",
            Self::UnusedPayload => "unused-payload",
            Self::MissingMetadata => "missing-metadata",
            Self::DuplicateModel => "duplicate-model",
            Self::SplitCaches => "split-caches",
            Self::AbsentVolume => "absent-volume",
            Self::MixedPermissions => "mixed-permissions",
            Self::CaseCollision => "case-collision",
            Self::PurgeableFolder => "purgeable-folder",
            Self::Evicted => "evicted",
            Self::StrayWeights => "stray-weights",
            Self::WouldNotLoad => "would-not-load",
            Self::NoModelType => "no-model-type",
            Self::NoChatTemplate => "no-chat-template",
            Self::Unreadable => "unreadable",
        }
    }

    /// How much it matters.
    pub const fn severity(self) -> Severity {
        match self {
            Self::NoRef
            | Self::RegularFile
            | Self::PurgeableFolder
            | Self::Evicted
            | Self::NoChatTemplate => Severity::Note,
            Self::AbandonedPartial
            | Self::EscapingPointer
            | Self::MissingFiles
            | Self::HalfWritten
            | Self::LeftoverRef
            | Self::OrphanBlob
            | Self::LeftoverTemp
            | Self::StaleNoExist
            | Self::StaleMarker
            | Self::CopiedFile
            | Self::BranchFolder
            | Self::UnmarkedStore
            | Self::UnusedPayload
            | Self::MissingMetadata
            | Self::DuplicateModel
            | Self::SplitCaches
            | Self::MixedPermissions
            | Self::CaseCollision
            | Self::StrayWeights => Severity::Warning,
            Self::DanglingPointer
            | Self::WrongPointer
            | Self::Truncated
            | Self::WrongSize
            | Self::EmptyBlob
            | Self::WrongHash
            | Self::LfsPointer
            | Self::ErrorPage
            | Self::MalformedRef
            | Self::RefToNowhere
            | Self::AbsentVolume
            | Self::WouldNotLoad
            | Self::NoModelType
            | Self::Unreadable => Severity::Error,
        }
    }
}

impl Rule {
    /// What it comes to for who reads the model, in a few words.
    pub const fn harm(self) -> &'static str {
        match self {
            Self::DanglingPointer
            | Self::WrongPointer
            | Self::Truncated
            | Self::WrongSize
            | Self::EmptyBlob
            | Self::WrongHash
            | Self::LfsPointer
            | Self::ErrorPage
            | Self::MissingFiles
            | Self::HalfWritten => "a reader gets wrong or missing bytes",
            Self::MalformedRef | Self::RefToNowhere | Self::NoRef => {
                "who asks for the model by that ref's name does not find it"
            }
            Self::AbsentVolume | Self::Evicted => "bytes are not on this machine now",
            Self::WouldNotLoad | Self::NoModelType => {
                "a program that loads the model stops with an error, whatever its bytes are"
            }
            Self::Unreadable => "something cannot be read, and nobody can say what is in it",
            Self::AbandonedPartial
            | Self::EscapingPointer
            | Self::LeftoverRef
            | Self::OrphanBlob
            | Self::LeftoverTemp
            | Self::StaleNoExist
            | Self::StaleMarker
            | Self::RegularFile
            | Self::CopiedFile
            | Self::BranchFolder
            | Self::UnmarkedStore
            | Self::UnusedPayload
            | Self::MissingMetadata
            | Self::DuplicateModel
            | Self::SplitCaches
            | Self::MixedPermissions
            | Self::CaseCollision
            | Self::PurgeableFolder
            | Self::StrayWeights
            | Self::NoChatTemplate => "something is wasted or surprising",
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
        /// Whether the whole blob is here already, so that nobody goes on with this.
        is_superseded: bool,
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
        /// Files that are named one by one, because a pull leaves them out otherwise; none means what
        /// it takes by itself.
        files: Vec<String>,
        /// Bytes to fetch, as far as a listing tells.
        fetch_bytes: Option<u64>,
    },
    /// Takes a model, or a part of one, out of the cache: into the trash, or freed at once.
    Discard(Discard),
    /// What is put right on the disk itself.
    Change(Change),
    /// What only a person can do.
    ByHand {
        /// What.
        advice: String,
    },
}

/// One change on the disk that a plan names. Paths are absolute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "change")]
pub enum Change {
    /// Takes away what no reader needs: a file, a link, or an empty folder.
    Remove {
        /// What.
        path: String,
        /// What that frees, in bytes.
        bytes: u64,
    },
    /// Takes away a copy of a file of a snapshot, once both are proven to hold the same bytes.
    RemoveCopy {
        /// The copy.
        path: String,
        /// Its length in bytes: what is freed, unless both share their blocks.
        bytes: u64,
        /// The revision by whose snapshot it is not needed any more.
        revision: String,
        /// The file in the repo; sanitised.
        file: String,
    },
    /// Moves a file, within one volume.
    Move {
        /// From where.
        from: String,
        /// To where.
        to: String,
        /// Its length in bytes; none of them are written.
        bytes: u64,
    },
    /// Takes a ref away that leads to nothing here, if the Hub knows neither its name nor the commit that
    /// it holds: asked again just before.
    DropRef {
        /// The ref.
        path: String,
        /// Whose.
        repo: RepoId,
        /// Its name.
        revision: String,
        /// What it holds: a commit, or in words what else; sanitised.
        holds: String,
    },
    /// Writes a small file anew, as one step.
    Write {
        /// Which.
        path: String,
        /// What it will hold.
        text: String,
    },
    /// Makes a pointer, or makes it anew, as one step.
    Link {
        /// Where.
        path: String,
        /// What it leads to, as it will stand in the pointer.
        target: String,
    },
    /// Lets a blob share the bytes of another file with the same content: they lie on the disk once.
    Share {
        /// The blob.
        path: String,
        /// The file whose bytes it has afterwards.
        with: String,
        /// Its length in bytes: what is freed.
        bytes: u64,
    },
    /// Puts the right bytes in the place of a file of an app's folder, once they are proven there.
    Place {
        /// The file.
        path: String,
        /// The blob that holds the right bytes.
        from: String,
        /// Its length in bytes: so many are written, unless both can share them.
        bytes: u64,
        /// Where they are written first; what lay in the file's place has that name for a moment. It
        /// goes if nothing is lost with it, and else is kept in `.cache/huggingface/larder/aside` of the
        /// model's folder.
        aside: String,
    },
    /// Writes the note of a file of an app's folder, once it is proven to be what the note says.
    Note {
        /// The note.
        path: String,
        /// The file.
        file: String,
        /// What it holds.
        etag: String,
        /// The commit of whose listing that is.
        commit: String,
    },
}

impl Change {
    /// What it does, in a line; sanitised.
    pub fn words(&self) -> String {
        let words = match self {
            Self::Remove { path, .. } => format!("remove `{path}`"),
            Self::RemoveCopy {
                path,
                revision,
                file,
                ..
            } => format!(
                "remove `{path}`, once `{file}` of {revision} is proven to hold these bytes"
            ),
            Self::Move { from, to, .. } => format!("move `{from}` to `{to}`"),
            Self::DropRef {
                path,
                repo,
                revision,
                holds,
            } => {
                let unknown = lost_name(revision, holds);
                format!(
                    "remove the ref `{path}` if the Hub knows no {unknown}: {repo} cannot be looked up by \
                     `{revision}` offline after that, and now that finds nothing"
                )
            }
            Self::Write { path, text } => format!("write `{}` into `{path}`", text.trim_end()),
            Self::Link { path, target } => format!("make `{path}` a pointer to `{target}`"),
            Self::Share { path, with, .. } => {
                format!("let `{path}` share the bytes of `{with}`")
            }
            Self::Place { path, from, .. } => {
                format!("put the bytes of `{from}` in the place of `{path}`")
            }
            Self::Note {
                path, file, etag, ..
            } => format!("note in `{path}` that `{file}` holds {etag}"),
        };
        super::text::sanitize(&words)
    }

    /// Whether it rests on a pull that comes before it.
    pub const fn is_after_pull(&self) -> bool {
        matches!(self, Self::RemoveCopy { .. } | Self::DropRef { .. })
    }

    /// Bytes that it frees.
    pub const fn freed_bytes(&self) -> u64 {
        match self {
            Self::Remove { bytes, .. }
            | Self::RemoveCopy { bytes, .. }
            | Self::Share { bytes, .. } => *bytes,
            Self::Move { .. }
            | Self::DropRef { .. }
            | Self::Write { .. }
            | Self::Link { .. }
            | Self::Place { .. }
            | Self::Note { .. } => 0,
        }
    }
}

/// What the Hub has to know none of before a ref goes, in words: its name, and the commit if it holds one.
pub fn lost_name(revision: &str, holds: &str) -> String {
    match super::repo::Commit::new(holds) {
        Ok(commit) => format!("`{revision}` and no commit {}", commit.short()),
        Err(_) => format!("`{revision}`"),
    }
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
        let changes = self.steps.iter().map(|step| match step {
            PlanStep::Change(change) => change.freed_bytes(),
            PlanStep::RemovePartial { bytes, .. } => *bytes,
            PlanStep::Discard(discard) => discard.freed_bytes(),
            PlanStep::Pull { .. } | PlanStep::ByHand { .. } => 0,
        });
        changes.sum()
    }

    /// Bytes to fetch, as far as listings tell.
    pub fn fetched_bytes(&self) -> u64 {
        let fetched = self.steps.iter().map(|step| match step {
            PlanStep::Pull { fetch_bytes, .. } => fetch_bytes.unwrap_or(0),
            PlanStep::RemovePartial { .. }
            | PlanStep::Discard(_)
            | PlanStep::Change(_)
            | PlanStep::ByHand { .. } => 0,
        });
        fetched.sum()
    }

    /// Unfinished blobs it takes away, with their lengths in bytes.
    pub fn removals(&self) -> impl Iterator<Item = (&str, u64)> {
        self.steps.iter().filter_map(|step| match step {
            PlanStep::RemovePartial { path, bytes, .. } => Some((path.as_str(), *bytes)),
            PlanStep::Pull { .. }
            | PlanStep::Discard(_)
            | PlanStep::Change(_)
            | PlanStep::ByHand { .. } => None,
        })
    }

    /// Models, or parts of them, that it takes out of the cache.
    pub fn discards(&self) -> impl Iterator<Item = &Discard> {
        self.steps.iter().filter_map(|step| match step {
            PlanStep::Discard(discard) => Some(discard),
            PlanStep::RemovePartial { .. }
            | PlanStep::Pull { .. }
            | PlanStep::Change(_)
            | PlanStep::ByHand { .. } => None,
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
    /// Whether a repair carries its plan out: what nobody leads to may be good, and is left to people.
    pub const fn is_repaired(&self) -> bool {
        !matches!(self.rule, Rule::OrphanBlob | Rule::UnusedPayload)
    }

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
                is_superseded: false,
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
