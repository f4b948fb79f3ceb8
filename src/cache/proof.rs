//! Owns proving what is in the cache by hashing it: which contents a snapshot leads to, what each
//! should be, and what it is.
//!
//! Never writes and never follows a pointer out of the cache.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::diagnosis::{Seen, Subject};
use super::elsewhere::Home;
use super::hash_ahead::{ProvenContent, Watch, WrongContent, hash_ahead};
use super::partials::{Eyes, is_being_written};
use super::salvage::exact_etag;
use super::scan::scan_with_findings;
use super::snapshot::{named_blob, paths_below};
use super::tally::HUBS_OWN;
use super::{Judge, Layout, Result, read_tree, refs_of};
use crate::domain::{
    Commit, Etag, Finding, RepoId, RepoPath, Rule, Severity, Verification, sanitize,
};

use crate::host;

/// Shorter beginnings of a commit name nothing.
const SHORTEST_PREFIX: usize = 7;

/// Where a content lies, and what it should be: each is hashed once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentId {
    device: u64,
    inode: u64,
    etag: [u8; 32],
    is_lfs: bool,
}

/// A snapshot that is to be proven.
#[derive(Debug)]
pub struct Inspection {
    repo: RepoId,
    revision: String,
    folder: PathBuf,
    files: Vec<Inspected>,
    /// What was found without hashing.
    findings: Vec<Finding>,
    /// Whose folder it is, where that is no Hub cache.
    home: Option<Home>,
}

#[derive(Debug)]
pub(super) struct Inspected {
    pub(super) path: RepoPath,
    pub(super) place: PathBuf,
    /// What its content should be; `None` if nothing says.
    pub(super) etag: Option<Etag>,
    /// What is there to be hashed; `None` if nothing is, or looking has shown already that it is
    /// wrong.
    pub(super) content: Option<(ContentId, u64)>,
    /// Its length by the listing, if there is one.
    pub(super) listed_bytes: Option<u64>,
    /// Whether a pull leaves it out unless it is named.
    pub(super) is_left_out: bool,
}

/// What a content turned out to be.
#[derive(Clone, Debug)]
pub(super) enum Proof {
    Right,
    Wrong(Etag),
    /// It changed while it was read, and again.
    Moving,
    Unreadable(String),
}

/// Every content hashed so far.
#[derive(Debug, Default)]
pub struct Proofs {
    pub(super) known: HashMap<ContentId, Proof>,
    /// Those that were not read, because they are known from before.
    unread: HashSet<ContentId>,
    pub(super) proven: Vec<ProvenContent>,
    pub(super) wrong: Vec<WrongContent>,
}

impl Proofs {
    /// Takes over what is known already of a snapshot's contents. `knows` says whether the file at
    /// a canonical path, that looks as it does now, hashed to its etag before; it is not read then.
    pub fn take_known(
        &mut self,
        inspection: &Inspection,
        knows: &dyn Fn(&Path, &fs::Metadata, &Etag) -> bool,
    ) {
        for file in &inspection.files {
            let Some((etag, (id, _))) = file.etag.zip(file.content) else {
                continue;
            };
            if self.known.contains_key(&id) {
                continue;
            }
            let is_known = fs::canonicalize(&file.place).is_ok_and(|place| {
                place
                    .symlink_metadata()
                    .is_ok_and(|found| found.is_file() && knows(&place, &found, &etag))
            });
            if is_known {
                self.known.insert(id, Proof::Right);
                self.unread.insert(id);
            }
        }
    }

    /// Whether a content need not be hashed any more.
    pub fn has(&self, id: &ContentId) -> bool {
        self.known.contains_key(id)
    }

    /// What was found right, and where something wrong lies, since this was asked last.
    pub fn take_news(&mut self) -> (Vec<ProvenContent>, Vec<WrongContent>) {
        (
            std::mem::take(&mut self.proven),
            std::mem::take(&mut self.wrong),
        )
    }
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
                repo: repo.clone(),
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
    wanted
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
        .collect()
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
            let content = etag
                .filter(|_| !is_known_bad)
                .and_then(|etag| content_of(layout, &place, &etag));
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
        repo: repo.clone(),
        revision: sanitize(revision),
        folder,
        files,
        findings,
        home: None,
    })
}

/// The content a place leads to, if it lies in the cache.
fn content_of(layout: &Layout, place: &Path, etag: &Etag) -> Option<(ContentId, u64)> {
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
    pub(super) fn of(found: &fs::Metadata, etag: &Etag) -> Self {
        let mut bytes = [0; 32];
        let is_lfs = match etag {
            Etag::Sha256(hash) => {
                bytes.copy_from_slice(hash);
                true
            }
            Etag::GitSha1(hash) => {
                bytes[..hash.len()].copy_from_slice(hash);
                false
            }
        };
        Self {
            device: found.dev(),
            inode: found.ino(),
            etag: bytes,
            is_lfs,
        }
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
            repo: home.repo.clone(),
            revision,
            folder: home.folder.clone(),
            files,
            findings,
            home: Some(home),
        }
    }

    /// The repo.
    pub const fn repo(&self) -> &RepoId {
        &self.repo
    }

    /// Whether both are of one snapshot.
    pub fn is_same(&self, other: &Self) -> bool {
        self.folder == other.folder
    }

    /// What is to be hashed, with its length in bytes.
    pub fn contents(&self) -> impl Iterator<Item = (ContentId, u64)> {
        self.files.iter().filter_map(|file| file.content)
    }

    /// Hashes what `proofs` does not hold yet, and says what the snapshot is worth.
    ///
    /// # Errors
    /// [`Error::Interrupted`](super::Error::Interrupted) when `watch` breaks off.
    pub fn prove(
        self,
        layout: &Layout,
        proofs: &mut Proofs,
        eyes: &Eyes<'_>,
        watch: &Watch<'_>,
    ) -> Result<Verification> {
        hash_ahead(&self.files, proofs, watch)?;
        let mut findings = self.findings;
        let (mut files_good, mut files_unread, mut files_unknown, mut bytes) = (0, 0, 0, 0);
        let subject = Subject {
            repo: &self.repo,
            revision: &self.revision,
        };
        let has_judgement = findings.iter().any(is_judgement);
        for file in &self.files {
            let shown = sanitize(file.path.as_str());
            let is_live = || {
                let is_of_hub = self.home.is_none();
                file.etag
                    .filter(|_| is_of_hub)
                    .is_some_and(|etag| is_being_written(layout, &self.repo, &etag, eyes))
            };
            let Some((_, (id, length))) = file.etag.zip(file.content) else {
                let is_found = |finding: &Finding| {
                    finding.severity == Severity::Error && finding.file.as_deref() == Some(&shown)
                };
                if !findings.iter().any(is_found) {
                    files_unknown += 1;
                } else if is_live() {
                    // A reader gets these bytes now, whoever is about to replace them.
                    for finding in findings.iter_mut().filter(|finding| is_found(finding)) {
                        finding.cause.push_str(AT_WORK);
                    }
                }
                continue;
            };
            bytes += length;
            let Some(proof) = proofs.known.get(&id).cloned() else {
                continue;
            };
            let (rule, what, summary) = match proof {
                Proof::Right => {
                    if has_judgement {
                        hubs_own(&mut findings, &shown);
                    }
                    files_good += 1;
                    files_unread += usize::from(proofs.unread.contains(&id));
                    continue;
                }
                Proof::Moving => {
                    files_unknown += 1;
                    continue;
                }
                Proof::Wrong(computed) => (
                    Rule::WrongHash,
                    format!("it hashes to {computed}"),
                    match self.home {
                        None => format!("`{shown}` does not hash to its name"),
                        Some(_) => format!("`{shown}` does not hash to what its note says"),
                    },
                ),
                Proof::Unreadable(why) => (
                    Rule::Unreadable,
                    why.clone(),
                    format!("`{shown}` cannot be read: {why}"),
                ),
            };
            let real = fs::canonicalize(&file.place).unwrap_or_else(|_| file.place.clone());
            let seen = Seen {
                file: &shown,
                place: &real,
                bytes: Some(length),
                expected_bytes: file.listed_bytes,
                what: &what,
            };
            let mut finding = subject.damage(rule, seen, &summary);
            if file.is_left_out {
                finding.plan.steps = vec![subject.by_name(&shown, file.listed_bytes)];
            }
            if let Some(home) = &self.home {
                finding.plan.steps = vec![home.fetch_again(file.path.as_str())];
            }
            if is_live() {
                finding.cause.push_str(AT_WORK);
            }
            findings.push(finding);
        }
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        Ok(Verification {
            files_total: self.files.len(),
            repo: self.repo,
            revision: self.revision,
            snapshot: self.folder.to_string_lossy().into_owned(),
            files_good,
            files_unread,
            files_unknown,
            bytes,
            findings,
        })
    }
}

/// Whether a finding is about what a file says, and not whether its bytes are right.
fn is_judgement(finding: &Finding) -> bool {
    matches!(finding.rule, Rule::WouldNotLoad | Rule::NoModelType)
        && finding.severity == Severity::Error
}

/// What would not load although its bytes are right is no damage here.
fn hubs_own(findings: &mut [Finding], file: &str) {
    for finding in findings {
        if is_judgement(finding) && finding.file.as_deref() == Some(file) {
            finding.severity = Severity::Warning;
            finding.plan.steps.clear();
            HUBS_OWN.clone_into(&mut finding.cause);
        }
    }
}

/// Said of a file whose blob somebody has locked.
const AT_WORK: &str = "; somebody holds its lock and may be replacing it now";
