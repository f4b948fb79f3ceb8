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
    Change, Etag, Finding, Plan, PlanStep, RemoteFile, RepoPath, Rule, Severity, sanitize,
};

/// So many paths are named one by one.
const TOLD: usize = 50;

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
    /// The listing, if there is one.
    pub(super) listing: Option<&'a [RemoteFile]>,
    /// Files that are there and that a pull leaves out unless they are named.
    pub(super) left_out: &'a [RepoPath],
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
        found.extend(self.lacking(lacks));
        if is_commit {
            found.extend(self.regular(regular));
            found.extend(self.copied(copied));
        } else {
            found.push(self.branch_folder(regular, lacks.left_out));
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
            if all_partials(self.layout, self.subject.repo).is_ok_and(|begun| begun.is_empty()) {
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
        Some(missing.iter().take(TOLD).fold(
            self.subject.general(rule, &summary, Some(fetch_bytes)),
            |finding, path| {
                let what = if is_here(path) {
                    "its blob is there, the pointer is not"
                } else {
                    "the listing names it and it is not there"
                };
                let place = self.folder.join(path.as_str());
                finding.seen(&place.to_string_lossy(), None, size_of(path), what)
            },
        ))
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

    fn branch_folder(self, files: &[(PathBuf, u64)], left_out: &[RepoPath]) -> Finding {
        let name = sanitize(self.subject.revision);
        let summary = format!("`snapshots/{name}` is not named after a commit");
        let mut finding = self.subject.general(Rule::BranchFolder, &summary, None);
        if !left_out.is_empty() {
            // The ref is only written when the snapshot holds all that the folder does.
            let named: Vec<&str> = left_out.iter().map(RepoPath::as_str).collect();
            let step =
                diagnosis::pull_files(self.subject.repo, self.subject.revision, &named, None);
            finding.plan.steps.insert(0, step);
        }
        finding = finding.seen(
            &self.folder.to_string_lossy(),
            None,
            None,
            "Python, mlx-lm and hf-hub look for a folder with the commit's name",
        );
        // A pull takes what is right from here; then it is stored twice.
        for (place, bytes) in files {
            finding = finding.step(PlanStep::Change(Change::RemoveCopy {
                path: place.to_string_lossy().into_owned(),
                bytes: *bytes,
                revision: name.clone(),
                file: self.shown(place),
            }));
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

impl Subject<'_> {
    /// A finding about the snapshot as a whole, for which pulling does nothing.
    pub(super) fn note(self, rule: Rule, summary: &str) -> Finding {
        let mut finding = Finding::new(rule, summary, diagnosis::cause(rule))
            .of_model(self.repo, Some(self.revision));
        finding.plan = Plan::default();
        finding
    }
}
