//! Owns which contents are to be proven: those that a snapshot leads to, and what each should be.
//!
//! Never writes, hashes nothing, and never follows a pointer out of the cache.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::elsewhere::Home;
use super::loose::inspect_orphans;
use super::salvage::exact_etag;
use super::scan::scan_with_findings;
use super::snapshot::{named_blob, paths_below};
use super::{Judge, Layout, Names, Result, read_tree, refs_of};
use crate::domain::{Bundle, Commit, Etag, Finding, RepoId, RepoPath, Rule, Severity, sanitize};
use crate::host;

/// Shorter beginnings of a commit name nothing.
const SHORTEST_PREFIX: usize = 7;

/// Where a content lies, and what it should be: each is hashed once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ContentId {
    /// Device and inode.
    pub(super) file: (u64, u64),
    /// What it should be, or by which kind of hash it is called if nothing says.
    pub(super) etag: Etag,
    pub(super) is_free: bool,
}

/// A snapshot that is to be proven, or other contents that belong together.
#[derive(Debug)]
pub struct Inspection {
    pub(super) what: Bundle,
    pub(super) repo: Option<RepoId>,
    pub(super) revision: String,
    pub(super) folder: PathBuf,
    pub(super) files: Vec<Inspected>,
    /// What was found without hashing.
    pub(super) findings: Vec<Finding>,
    /// Whose folder it is, where that is no Hub cache.
    pub(super) home: Option<Home>,
}

#[derive(Debug)]
pub(super) struct Inspected {
    /// Where it is in the repo, or in the folder.
    pub(super) path: RepoPath,
    pub(super) place: PathBuf,
    /// What its content should be; `None` if nothing says.
    pub(super) etag: Option<Etag>,
    /// What is there to be hashed; `None` if nothing is, or looking has shown already that it is
    /// wrong. Where nothing says what it should be, it is hashed all the same.
    pub(super) content: Option<(ContentId, u64)>,
    /// Its length by the listing, if there is one.
    pub(super) listed_bytes: Option<u64>,
    /// Whether a pull leaves it out unless it is named.
    pub(super) is_left_out: bool,
}

/// The snapshots of a repo that `revision` names: a ref, a commit or its beginning, or a folder;
/// all of them if it is `None`. Empty if there is none.
pub fn inspect(
    layout: &Layout,
    repo: &RepoId,
    revision: Option<&str>,
    judge: Judge<'_>,
) -> Result<Vec<Inspection>> {
    let scan = scan_with_findings(layout, repo, judge);
    let folders: Vec<String> = scan
        .rows
        .iter()
        .map(|(model, _)| PathBuf::from(&model.snapshot))
        .filter(|folder| folder.is_dir() && folder.parent() == Some(&layout.snapshots(repo)))
        .filter_map(|folder| Some(folder.file_name()?.to_str()?.to_owned()))
        .collect();
    if folders.is_empty() && revision.is_none() && !scan.findings.is_empty() {
        // A repo of which nothing can be read is not left out.
        let unreadable = scan
            .findings
            .iter()
            .filter(|finding| finding.rule == Rule::Unreadable);
        let findings: Vec<Finding> = unreadable.cloned().collect();
        if !findings.is_empty() {
            return Ok(vec![Inspection {
                what: Bundle::Snapshot,
                repo: Some(repo.clone()),
                revision: String::new(),
                folder: layout.repo(repo),
                files: Vec::new(),
                findings,
                home: None,
            }]);
        }
    }
    let wanted = match revision {
        None => folders,
        Some(revision) => named(layout, repo, revision, &folders)?,
    };
    let mut found: Vec<Inspection> = wanted
        .into_iter()
        .map(|name| {
            let findings = scan
                .findings
                .iter()
                .filter(|finding| finding.revision.as_deref() == Some(&sanitize(&name)))
                .filter(|finding| is_of_snapshot(finding.rule))
                .cloned()
                .collect();
            inspect_snapshot(layout, repo, &name, findings, judge)
        })
        .collect::<Result<_>>()?;
    if revision.is_none() {
        found.extend(inspect_orphans(layout, repo, &scan.named));
    }
    Ok(found)
}

/// The folders that a revision means.
fn named(
    layout: &Layout,
    repo: &RepoId,
    revision: &str,
    folders: &[String],
) -> Result<Vec<String>> {
    let exact = |name: &str| folders.iter().find(|folder| *folder == name).cloned();
    let by_ref = refs_of(layout, repo)?
        .into_iter()
        .find(|(name, _)| name == revision)
        .and_then(|(_, value)| exact(&value.commit?.to_string()));
    if let Some(found) = by_ref.or_else(|| exact(revision)) {
        return Ok(vec![found]);
    }
    if let Some(found) = revision.strip_prefix("snapshots/").and_then(exact) {
        return Ok(vec![found]);
    }
    let prefix = revision.to_ascii_lowercase();
    if prefix.len() < SHORTEST_PREFIX || !prefix.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(Vec::new());
    }
    let mut begin: Vec<String> = folders
        .iter()
        .filter(|folder| Commit::new(folder).is_ok() && folder.starts_with(&prefix))
        .cloned()
        .collect();
    if begin.len() > 1 {
        begin.clear();
    }
    Ok(begin)
}

/// Whether a rule is about what a snapshot holds.
const fn is_of_snapshot(rule: Rule) -> bool {
    is_about_bytes(rule)
        || matches!(
            rule,
            Rule::MissingFiles
                | Rule::HalfWritten
                | Rule::EscapingPointer
                | Rule::StrayWeights
                | Rule::WouldNotLoad
        )
}

/// Whether a rule has shown already that the bytes are not those they should be.
pub(super) const fn is_about_bytes(rule: Rule) -> bool {
    matches!(
        rule,
        Rule::DanglingPointer
            | Rule::Truncated
            | Rule::WrongSize
            | Rule::EmptyBlob
            | Rule::LfsPointer
            | Rule::ErrorPage
            | Rule::WrongPointer
            | Rule::Unreadable
    )
}

fn inspect_snapshot(
    layout: &Layout,
    repo: &RepoId,
    revision: &str,
    findings: Vec<Finding>,
    judge: Judge<'_>,
) -> Result<Inspection> {
    let folder = layout.snapshots(repo).join(revision);
    let listing: BTreeMap<RepoPath, (Etag, u64)> = Commit::new(revision)
        .ok()
        .and_then(|commit| {
            read_tree(layout, repo, &commit).or_else(|| (judge.listing)(repo, &commit))
        })
        .unwrap_or_default()
        .into_iter()
        .map(|file| (file.path, (file.etag, file.size_bytes)))
        .collect();
    let known_bad: HashSet<&str> = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error && is_about_bytes(finding.rule))
        .filter_map(|finding| finding.file.as_deref())
        .collect();
    let files = paths_below(&folder)?
        .into_iter()
        .map(|path| {
            let place = folder.join(path.as_str());
            let named = fs::read_link(&place)
                .ok()
                .and_then(|text| named_blob(&path, &text))
                .and_then(|name| exact_etag(&name));
            let listed = listing.get(&path).copied();
            let etag = named.or(listed.map(|(etag, _)| etag));
            let shown = sanitize(path.as_str());
            let is_known_bad = known_bad.contains(shown.as_str());
            let content = if is_known_bad {
                None
            } else {
                content_of(layout, &place, etag.as_ref())
            };
            Inspected {
                is_left_out: etag.is_some_and(|etag| !judge.selects(&path, &etag)),
                listed_bytes: listed.map(|(_, bytes)| bytes),
                path,
                place,
                etag,
                content,
            }
        })
        .collect();
    Ok(Inspection {
        what: Bundle::Snapshot,
        repo: Some(repo.clone()),
        revision: sanitize(revision),
        folder,
        files,
        findings,
        home: None,
    })
}

/// The content a place leads to, if it lies in the cache.
pub(super) fn content_of(
    layout: &Layout,
    place: &Path,
    etag: Option<&Etag>,
) -> Option<(ContentId, u64)> {
    if !fs::canonicalize(place).ok()?.starts_with(layout.root()) {
        return None;
    }
    // What a cloud keeps is not fetched for a hash.
    let found = place
        .metadata()
        .ok()
        .filter(|found| found.is_file() && !host::is_evicted(place, found))?;
    Some((ContentId::of(&found, etag), found.len()))
}

impl ContentId {
    /// A file, and what it should be.
    pub(super) fn of(found: &fs::Metadata, etag: Option<&Etag>) -> Self {
        Self {
            file: (found.dev(), found.ino()),
            etag: etag.copied().unwrap_or(Etag::Sha256([0; 32])),
            is_free: etag.is_none(),
        }
    }

    /// Whether an etag is of the kind that this content is called by.
    pub(super) fn is_called_by(&self, etag: &Etag) -> bool {
        self.etag.algorithm() == etag.algorithm()
    }

    /// What the content should be, or an etag of the kind that it is called by.
    pub(super) const fn etag(&self) -> &Etag {
        &self.etag
    }

    /// Whether nothing says what it should be.
    pub(super) const fn is_free(&self) -> bool {
        self.is_free
    }
}

impl Inspection {
    /// A model in a folder that is no Hub cache.
    pub(super) fn of_folder(
        home: Home,
        revision: String,
        files: Vec<Inspected>,
        findings: Vec<Finding>,
    ) -> Self {
        Self {
            what: Bundle::Folder,
            repo: Some(home.repo.clone()),
            revision,
            folder: home.folder.clone(),
            files,
            findings,
            home: Some(home),
        }
    }

    /// The repo; `None` for a shared store.
    pub const fn repo(&self) -> Option<&RepoId> {
        self.repo.as_ref()
    }

    /// Whether both are of one snapshot.
    pub fn is_same(&self, other: &Self) -> bool {
        self.what == other.what && self.folder == other.folder
    }

    /// Whether there are files of which nothing says what they should be.
    pub fn has_free(&self) -> bool {
        let contents = self.files.iter().filter_map(|file| file.content);
        contents.into_iter().any(|(id, _)| id.is_free)
    }

    /// Chooses by which kind of hash the contents are called of which nothing says what they should
    /// be: as the Hub calls those that are as long.
    pub fn call_as(&mut self, names: &Names) {
        let contents = self
            .files
            .iter_mut()
            .filter_map(|file| file.content.as_mut());
        for (id, bytes) in contents.filter(|(id, _)| id.is_free) {
            id.etag = names.kind_for(*bytes);
        }
    }

    /// The files, by device and inode, whose contents are to be proven.
    pub fn files(&self) -> impl Iterator<Item = (u64, u64)> {
        let contents = self.files.iter().filter_map(|file| file.content);
        contents.map(|(id, _)| id.file)
    }
}
