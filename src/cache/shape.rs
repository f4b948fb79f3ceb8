//! Owns what is wrong with a snapshot as a whole: files it lacks, files in the place of pointers, a
//! folder that is not named after a commit, names that differ only by case.
//!
//! Never reads a file and never writes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::Layout;
use super::diagnosis::{self, Subject};
use super::salvage::all_partials;
use crate::domain::{
    Change, Commit, Etag, Finding, Plan, PlanStep, RemoteFile, RepoPath, Rule, Severity, sanitize,
};

/// So many paths are named one by one.
const TOLD: usize = 50;
/// How the names of weights end.
pub(super) const WEIGHTS: &str = ".safetensors";

/// A snapshot that is there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape<'a> {
    pub(super) layout: &'a Layout,
    pub(super) subject: Subject<'a>,
    pub(super) folder: &'a Path,
}

/// What a snapshot lacks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lacks<'a> {
    /// By its listing.
    pub(super) paths: &'a [RepoPath],
    /// By the model's own files, a sentence each.
    pub(super) sentences: &'a [String],
    /// Files that are there.
    pub(super) present: usize,
    /// Whether weights are among them.
    pub(super) has_weights: bool,
    /// The listing, if there is one.
    pub(super) listing: Option<&'a [RemoteFile]>,
    /// Files that are there and that a pull leaves out unless they are named.
    pub(super) left_out: &'a [RepoPath],
    /// What the model's own files, or the loader, ask for and is not there; `None` stands for weights
    /// of any name.
    pub(super) needed: &'a [Option<String>],
    /// Files and links below the folder.
    pub(super) below: usize,
    /// What the folder's name stands for, where a ref says so.
    pub(super) named: Option<Named<'a>>,
}

/// The commit that the ref of a folder's name holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named<'a> {
    pub(super) commit: Commit,
    /// Its files, where a listing of them is here.
    pub(super) listing: Option<&'a [RemoteFile]>,
    /// What a pull of it has to fetch at most, where the listing is here.
    pub(super) fetch_bytes: Option<u64>,
}

impl Lacks<'_> {
    /// Whether the model cannot load for want of one of the files that the listing promises.
    fn is_fatal(&self) -> bool {
        let is_weights = |path: &RepoPath| path.as_str().ends_with(WEIGHTS);
        self.needed.iter().any(|needed| {
            self.paths.iter().any(|path| match needed {
                Some(needed) => sanitize(path.as_str()) == *needed,
                None => is_weights(path),
            })
        })
    }

    /// Whether some weights are there, and others that belong to them are not.
    fn has_lost_a_shard(&self) -> bool {
        self.has_weights
            && self
                .needed
                .iter()
                .flatten()
                .any(|needed| needed.ends_with(WEIGHTS))
    }
}

impl Shape<'_> {
    /// What is wrong. `regular` are files in the place of pointers; of `copied` the content lies
    /// among the blobs as well.
    pub(super) fn findings(
        self,
        is_commit: bool,
        regular: &[(PathBuf, u64)],
        copied: &[(PathBuf, PathBuf, u64)],
        lacks: &Lacks<'_>,
    ) -> Vec<Finding> {
        let mut found = Vec::new();
        if is_commit {
            found.extend(self.lacking(lacks));
            found.extend(self.regular(regular));
            found.extend(self.copied(copied));
        } else {
            found.push(self.branch_folder(regular, lacks));
        }
        found.extend(self.collisions(lacks.listing));
        found
    }

    /// What the listing promises, or the model needs, and is not there.
    fn lacking(self, lacks: &Lacks<'_>) -> Option<Finding> {
        let Some(listing) = lacks.listing else {
            let (first, more) = lacks.sentences.split_first()?;
            let summary = match more.len() {
                0 => format!("a part of the model is not there: {first}"),
                more => format!("parts of the model are not there: {first}, and {more} more"),
            };
            let place = self.folder.to_string_lossy();
            let mut general = self.subject.general(Rule::HalfWritten, &summary, None);
            if lacks.has_lost_a_shard() {
                general.severity = Severity::Error;
            } else if all_partials(self.layout, self.subject.repo)
                .is_ok_and(|begun| begun.is_empty())
            {
                // Somebody may have asked for no more, or for another loader.
                general.severity = Severity::Note;
                "only some files were asked for, or the model is for another library"
                    .clone_into(&mut general.cause);
            }
            return Some(
                lacks
                    .sentences
                    .iter()
                    .take(TOLD)
                    .fold(general, |finding, sentence| {
                        finding.seen(&place, None, None, sentence)
                    }),
            );
        };
        let missing = lacks.paths;
        if missing.is_empty() {
            return None;
        }
        let listed: HashMap<&RepoPath, &RemoteFile> =
            listing.iter().map(|file| (&file.path, file)).collect();
        let size_of = |path: &RepoPath| listed.get(path).map(|file| file.size_bytes);
        let is_here = |path: &RepoPath| {
            listed
                .get(path)
                .is_some_and(|file| self.layout.blob(self.subject.repo, &file.etag).is_file())
        };
        let begun: HashSet<Etag> = all_partials(self.layout, self.subject.repo)
            .unwrap_or_default()
            .into_iter()
            .map(|(etag, _)| etag)
            .collect();
        let is_begun = |path: &RepoPath| {
            let etag = listed.get(path).map(|file| file.etag);
            etag.is_some_and(|etag| begun.contains(&etag))
        };
        // A download that broke off left a beginning, or brought less than half.
        let rule = if missing.iter().any(is_begun) || missing.len() >= lacks.present {
            Rule::HalfWritten
        } else {
            Rule::MissingFiles
        };
        let summary = match missing {
            [one] => format!("`{one}` is missing"),
            more => format!("{} files are missing", more.len()),
        };
        let fetched = missing.iter().filter(|path| !is_here(path));
        let fetch_bytes = fetched.filter_map(size_of).sum();
        let mut general = self.subject.general(rule, &summary, Some(fetch_bytes));
        if lacks.is_fatal() {
            // Whoever loads it gets an error, as with wrong bytes.
            general.severity = Severity::Error;
        }
        Some(missing.iter().take(TOLD).fold(general, |finding, path| {
            let what = if is_here(path) {
                "its blob is there, the pointer is not"
            } else {
                "the listing names it and it is not there"
            };
            let place = self.folder.join(path.as_str());
            finding.seen(&place.to_string_lossy(), None, size_of(path), what)
        }))
    }

    fn regular(self, files: &[(PathBuf, u64)]) -> Option<Finding> {
        let summary = match files {
            [] => return None,
            [(one, _)] => format!("`{}` is a file, not a pointer", self.shown(one)),
            more => format!("{} files are files, not pointers", more.len()),
        };
        let general = self.subject.note(Rule::RegularFile, &summary);
        Some(
            files
                .iter()
                .take(TOLD)
                .fold(general, |finding, (place, bytes)| {
                    let what =
                        "its name does not tell what it should hold; larder reads it as it is";
                    finding.seen(&place.to_string_lossy(), Some(*bytes), None, what)
                }),
        )
    }

    fn copied(self, files: &[(PathBuf, PathBuf, u64)]) -> Option<Finding> {
        let wasted: u64 = files.iter().map(|(.., bytes)| bytes).sum();
        let summary = match files {
            [] => return None,
            [(one, ..)] => format!("`{}` is stored twice", self.shown(one)),
            more => format!("{} files are stored twice", more.len()),
        };
        let mut finding = self.subject.note(Rule::CopiedFile, &summary);
        for (place, blob, bytes) in files.iter().take(TOLD) {
            let what = format!(
                "as long as `{}`; to be proven by hashing both",
                blob.display()
            );
            finding = finding.seen(&place.to_string_lossy(), Some(*bytes), None, &what);
        }
        // The pointer takes the place of the copy, and its bytes become free.
        for (place, blob, _) in files {
            let path = self.shown(place);
            let target = RepoPath::new(&path)
                .ok()
                .zip(blob.file_name())
                .map(|(path, name)| {
                    let up = "../".repeat(path.depth());
                    format!("../../{up}blobs/{}", name.to_string_lossy())
                });
            if let Some(target) = target {
                finding = finding.step(PlanStep::Change(Change::Link {
                    path: place.to_string_lossy().into_owned(),
                    target,
                }));
            }
        }
        finding.summary = format!("{}: {wasted} bytes", finding.summary);
        Some(finding)
    }

    /// A folder that is named after a branch. What its ref's commit does not hold is left to people:
    /// nobody else can say what it is worth.
    fn branch_folder(self, files: &[(PathBuf, u64)], lacks: &Lacks<'_>) -> Finding {
        let name = sanitize(self.subject.revision);
        let repo = self.subject.repo;
        let summary = format!("`snapshots/{name}` is not named after a commit");
        let mut finding = self.subject.note(Rule::BranchFolder, &summary).seen(
            &self.folder.to_string_lossy(),
            None,
            None,
            "Python, mlx-lm and hf-hub look for a folder with the commit's name",
        );
        for sentence in lacks.sentences.iter().take(TOLD) {
            // A pull brings nothing into this folder, so it is no finding with a plan of its own.
            let place = self.folder.to_string_lossy();
            finding = finding.seen(&place, None, None, &format!("as a model: {sentence}"));
        }
        let listing = lacks.named.and_then(|named| named.listing);
        let size_of = |path: &str| {
            let found = listing?.iter().find(|file| file.path.as_str() == path)?;
            Some(found.size_bytes)
        };
        let left_out: Vec<&str> = lacks
            .left_out
            .iter()
            .map(RepoPath::as_str)
            .filter(|path| listing.is_none() || size_of(path).is_some())
            .collect();
        // The snapshot that the ref names is what makes the folder needless.
        let revision = match lacks.named {
            Some(named) => named.commit.to_string(),
            None => self.subject.revision.to_owned(),
        };
        if !left_out.is_empty() {
            // The ref is only written when the snapshot holds all that the folder does.
            let bytes = listing.map(|_| left_out.iter().filter_map(|path| size_of(path)).sum());
            let step = diagnosis::pull_files(repo, &revision, &left_out, bytes);
            finding = finding.step(step);
        }
        let fetch_bytes = lacks.named.and_then(|named| named.fetch_bytes);
        finding = finding.step(diagnosis::pull_files(repo, &revision, &[], fetch_bytes));
        let mut copies = 0;
        let (mut foreign, mut other) = (Vec::new(), Vec::new());
        // A pull takes what is right from here; then it is stored twice.
        for (place, bytes) in files {
            let file = self.shown(place);
            match size_of(&file) {
                None if listing.is_some() => foreign.push(file),
                // A shorter one may be the beginning of the right one, which is looked at when it goes.
                Some(size) if size < *bytes => other.push(file),
                None | Some(_) => {
                    copies += 1;
                    finding = finding.step(PlanStep::Change(Change::RemoveCopy {
                        path: place.to_string_lossy().into_owned(),
                        bytes: *bytes,
                        revision: name.clone(),
                        file,
                    }));
                }
            }
        }
        if let Some(names) = some_of(&foreign) {
            finding = finding.step(PlanStep::ByHand {
                advice: format!(
                    "{names} in `snapshots/{name}`: the repo has no such file at {name}, so nobody \
                     else has it; keep it elsewhere or delete it, and then the folder"
                ),
            });
        }
        if let Some(names) = some_of(&other) {
            finding = finding.step(PlanStep::ByHand {
                advice: format!(
                    "{names} in `snapshots/{name}`: longer than the repo's at {name}; if you did \
                     not change it on purpose, delete it, and then the folder"
                ),
            });
        }
        if copies < lacks.below {
            return finding;
        }
        finding.step(PlanStep::Change(Change::Remove {
            path: self.folder.to_string_lossy().into_owned(),
            bytes: 0,
        }))
    }

    /// Names that are one on a file system that ignores case.
    fn collisions(self, listing: Option<&[RemoteFile]>) -> Vec<Finding> {
        let mut by_folded: BTreeMap<String, Vec<&RepoPath>> = BTreeMap::new();
        for file in listing.unwrap_or_default() {
            let folded = file.path.as_str().to_lowercase();
            by_folded.entry(folded).or_default().push(&file.path);
        }
        by_folded
            .into_values()
            .filter(|same| same.len() > 1)
            .map(|same| {
                let names: Vec<String> = same.iter().map(|path| format!("`{path}`")).collect();
                let summary = format!("{} are one file where case is ignored", names.join(" and "));
                let finding = self.subject.note(Rule::CaseCollision, &summary);
                same.iter().fold(finding, |finding, path| {
                    let place = self.folder.join(path.as_str());
                    let what = "the listing names it";
                    finding.seen(&place.to_string_lossy(), None, None, what)
                })
            })
            .collect()
    }

    /// A path in the snapshot, as people call it.
    fn shown(self, place: &Path) -> String {
        let path = place.strip_prefix(self.folder).unwrap_or(place);
        sanitize(&path.to_string_lossy())
    }
}

/// Some names, one by one; `None` if there are none.
fn some_of(names: &[String]) -> Option<String> {
    const NAMED: usize = 5;
    let shown: Vec<String> = names
        .iter()
        .take(NAMED)
        .map(|name| format!("`{name}`"))
        .collect();
    let more = names.len().saturating_sub(NAMED);
    match (shown.is_empty(), more) {
        (true, _) => None,
        (false, 0) => Some(shown.join(", ")),
        (false, more) => Some(format!("{} and {more} more", shown.join(", "))),
    }
}

impl Subject<'_> {
    /// A finding about the snapshot as a whole, for which pulling does nothing.
    pub(super) fn note(self, rule: Rule, summary: &str) -> Finding {
        let mut finding = Finding::new(rule, summary, diagnosis::cause(rule))
            .of_model(self.repo, Some(self.revision));
        finding.plan = Plan::default();
        finding
    }
}
