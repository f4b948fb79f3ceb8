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
use super::loose::{self, inspect_orphans};
use super::partials::{Eyes, is_being_written};
use super::salvage::exact_etag;
use super::scan::scan_with_findings;
use super::snapshot::{named_blob, paths_below};
use super::tally::HUBS_OWN;
use super::{Judge, Layout, Names, Result, read_tree, refs_of};
use crate::domain::{
    Bundle, CacheKind, Commit, Etag, Finding, RepoId, RepoPath, Rule, Severity, Verification,
    sanitize,
};

use crate::host;

/// Shorter beginnings of a commit name nothing.
const SHORTEST_PREFIX: usize = 7;

/// Where a content lies, and what it should be: each is hashed once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ContentId {
    /// Device and inode.
    pub(super) file: (u64, u64),
    /// What it should be, or by which kind of hash it is called if nothing says.
    etag: Etag,
    is_free: bool,
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

/// What a content turned out to be.
#[derive(Clone, Debug)]
pub(super) enum Proof {
    Right,
    Wrong(Etag),
    /// Nothing says what it should be: it is this.
    Known(Etag),
    /// It changed while it was read, and again.
    Moving,
    Unreadable(String),
}

/// Every content hashed so far.
#[derive(Debug, Default)]
pub struct Proofs {
    known: HashMap<ContentId, Proof>,
    /// What the files were that were hashed, by device and inode: a file with two names is read
    /// once.
    computed: HashMap<(u64, u64), Etag>,
    /// Those that were not read, because they are known from before.
    pub(super) unread: HashSet<ContentId>,
    pub(super) proven: Vec<ProvenContent>,
    pub(super) wrong: Vec<WrongContent>,
}

impl Proofs {
    /// Takes over what is known already of a snapshot's contents. `knows` says whether the file at
    /// a canonical path, that looks as it does now, hashed to its etag before, and `content` what
    /// it hashed to where nothing says what it should; it is not read then.
    pub fn take_known(
        &mut self,
        inspection: &Inspection,
        knows: &dyn Fn(&Path, &fs::Metadata, &Etag) -> bool,
        content: &dyn Fn(&Path, &fs::Metadata) -> Option<Etag>,
    ) {
        for file in &inspection.files {
            let Some((id, _)) = file.content.filter(|(id, _)| !self.known.contains_key(id)) else {
                continue;
            };
            let learned = || {
                let place = fs::canonicalize(&file.place).ok()?;
                let found = place
                    .symlink_metadata()
                    .ok()
                    .filter(fs::Metadata::is_file)?;
                match &file.etag {
                    Some(etag) => knows(&place, &found, etag).then_some(Proof::Right),
                    None => content(&place, &found)
                        .filter(|etag| id.is_called_by(etag))
                        .map(Proof::Known),
                }
            };
            if let Some(proof) = learned() {
                self.learn(id, proof);
                self.unread.insert(id);
            }
        }
    }

    /// What a content turned out to be, if it was hashed.
    pub(super) fn of(&self, id: &ContentId) -> Option<Proof> {
        let known = self.known.get(id).cloned();
        known.or_else(|| {
            let computed = *self.computed.get(&id.file)?;
            if id.is_free {
                Some(Proof::Known(computed))
            } else if computed == id.etag {
                Some(Proof::Right)
            } else {
                id.is_called_by(&computed).then_some(Proof::Wrong(computed))
            }
        })
    }

    /// Keeps what a content turned out to be.
    pub(super) fn learn(&mut self, id: ContentId, proof: Proof) {
        let computed = match &proof {
            Proof::Right => Some(id.etag),
            Proof::Wrong(computed) | Proof::Known(computed) => Some(*computed),
            Proof::Moving | Proof::Unreadable(_) => None,
        };
        if let Some(computed) = computed {
            self.computed.insert(id.file, computed);
        }
        self.known.insert(id, proof);
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
    fn is_called_by(&self, etag: &Etag) -> bool {
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

/// The lengths of all files that `proofs` does not know yet, each file once.
pub fn lengths_to_hash<'a>(
    inspections: impl Iterator<Item = &'a Inspection>,
    proofs: &Proofs,
) -> Vec<u64> {
    let all = inspections.flat_map(|one| &one.files);
    let contents: BTreeMap<ContentId, u64> = all
        .filter_map(|file| file.content)
        .filter(|(id, _)| proofs.of(id).is_none())
        .collect();
    let named: HashSet<(u64, u64)> = contents
        .keys()
        .filter(|id| !id.is_free)
        .map(|id| id.file)
        .collect();
    contents
        .iter()
        .filter(|(id, _)| !id.is_free || !named.contains(&id.file))
        .map(|(_, bytes)| *bytes)
        .collect()
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

    /// Hashes what `proofs` does not hold yet, and says what the snapshot is worth. `names` may say
    /// what a file is of which nothing says what it should be.
    ///
    /// # Errors
    /// [`Error::Interrupted`](super::Error::Interrupted) when `watch` breaks off.
    pub fn prove(
        self,
        layout: &Layout,
        proofs: &mut Proofs,
        names: &Names,
        eyes: &Eyes<'_>,
        watch: &Watch<'_>,
    ) -> Result<Verification> {
        hash_ahead(&self.files, proofs, watch)?;
        Ok(match (self.what, &self.repo) {
            (Bundle::Snapshot | Bundle::Folder, Some(repo)) => {
                let repo = repo.clone();
                self.judge(&repo, layout, proofs, names, eyes)
            }
            (Bundle::Orphans | Bundle::SharedStore, _) | (_, None) => {
                loose::judge(self, layout, proofs, eyes)
            }
        })
    }

    /// What a snapshot or a folder is worth.
    fn judge(
        self,
        repo: &RepoId,
        layout: &Layout,
        proofs: &Proofs,
        names: &Names,
        eyes: &Eyes<'_>,
    ) -> Verification {
        let mut sums = Sums::default();
        let mut findings = self.findings.clone();
        let has_judgement = findings.iter().any(is_judgement);
        let mut like = BTreeMap::new();
        for file in &self.files {
            let shown = sanitize(file.path.as_str());
            let is_live = || {
                let is_of_hub = self.home.is_none();
                file.etag
                    .filter(|_| is_of_hub)
                    .is_some_and(|etag| is_being_written(layout, repo, &etag, eyes))
            };
            let Some((id, length)) = file.content else {
                let is_found = |finding: &Finding| {
                    finding.severity == Severity::Error && finding.file.as_deref() == Some(&shown)
                };
                if !findings.iter().any(is_found) {
                    sums.files_unknown += 1;
                } else if is_live() {
                    // A reader gets these bytes now, whoever is about to replace them.
                    for finding in findings.iter_mut().filter(|finding| is_found(finding)) {
                        finding.cause.push_str(AT_WORK);
                    }
                }
                continue;
            };
            let Some(proof) = proofs.of(&id) else {
                sums.bytes += length;
                continue;
            };
            match proof {
                Proof::Right => {
                    if has_judgement {
                        hubs_own(&mut findings, &shown);
                    }
                    sums.right(length, proofs.unread.contains(&id));
                }
                Proof::Known(etag) => {
                    let holder = names.holder(&etag, repo);
                    sums.known(length, holder.is_some(), proofs.unread.contains(&id));
                    if let Some(holder) = holder {
                        like.entry(holder).or_insert_with(Vec::new).push(shown);
                    }
                }
                Proof::Moving => sums.files_unknown += 1,
                Proof::Wrong(_) | Proof::Unreadable(_) => {
                    sums.bytes += length;
                    let mut finding = self.wrong(repo, file, &proof);
                    if is_live() {
                        finding.cause.push_str(AT_WORK);
                    }
                    // That such bytes do not load follows from it.
                    findings.retain(|known| {
                        !(is_judgement(known) && known.file.as_deref() == Some(shown.as_str()))
                    });
                    findings.push(finding);
                }
            }
        }
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        let basis = basis_of(&like, sums.files_hashed);
        self.verification(sums, basis, findings)
    }

    /// What is told of a file that is not what it should be.
    fn wrong(&self, repo: &RepoId, file: &Inspected, proof: &Proof) -> Finding {
        let shown = sanitize(file.path.as_str());
        let (rule, what, summary) = match proof {
            Proof::Unreadable(why) => (
                Rule::Unreadable,
                why.clone(),
                format!("`{shown}` cannot be read: {why}"),
            ),
            Proof::Right | Proof::Moving | Proof::Known(_) | Proof::Wrong(_) => (
                Rule::WrongHash,
                match proof {
                    Proof::Wrong(computed) => format!("it hashes to {computed}"),
                    _ => "it is not what it should be".to_owned(),
                },
                match self.home {
                    None => format!("`{shown}` does not hash to its name"),
                    Some(_) => format!("`{shown}` does not hash to what its note says"),
                },
            ),
        };
        let real = fs::canonicalize(&file.place).unwrap_or_else(|_| file.place.clone());
        let seen = Seen {
            file: &shown,
            place: &real,
            bytes: file.content.map(|(_, length)| length),
            expected_bytes: file.listed_bytes,
            what: &what,
        };
        let subject = Subject {
            repo,
            revision: &self.revision,
        };
        let mut finding = subject.damage(rule, seen, &summary);
        if file.is_left_out {
            finding.plan.steps = vec![subject.by_name(&shown, file.listed_bytes)];
        }
        if let Some(home) = &self.home {
            finding.plan.steps = vec![home.fetch_again(file.path.as_str())];
        }
        finding
    }

    /// The verdict that sums and findings make.
    pub(super) fn verification(
        self,
        sums: Sums,
        basis: Vec<String>,
        findings: Vec<Finding>,
    ) -> Verification {
        Verification {
            what: self.what,
            cache: self.home.map_or(CacheKind::Hub, |home| home.kind),
            files_total: self.files.len(),
            repo: self.repo,
            revision: self.revision,
            snapshot: self.folder.to_string_lossy().into_owned(),
            files_good: sums.files_good,
            files_unread: sums.files_unread,
            files_unknown: sums.files_unknown,
            files_hashed: sums.files_hashed,
            bytes: sums.bytes,
            basis,
            findings,
        }
    }
}

/// What the files of an inspection came to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    pub(super) files_good: usize,
    pub(super) files_unread: usize,
    pub(super) files_unknown: usize,
    pub(super) files_hashed: usize,
    pub(super) bytes: u64,
}

impl Sums {
    pub(super) fn right(&mut self, bytes: u64, is_unread: bool) {
        self.bytes += bytes;
        self.files_good += 1;
        self.files_unread += usize::from(is_unread);
    }

    /// One of which nothing says what it should be; whether it is known all the same.
    pub(super) fn known(&mut self, bytes: u64, is_named: bool, is_unread: bool) {
        if is_named {
            return self.right(bytes, is_unread);
        }
        self.bytes += bytes;
        self.files_unknown += 1;
        self.files_hashed += 1;
        self.files_unread += usize::from(is_unread);
    }
}

/// What says what files are of which nothing says what they should be.
fn basis_of(like: &BTreeMap<&RepoId, Vec<String>>, hashed: usize) -> Vec<String> {
    let mut basis: Vec<String> = like
        .iter()
        .map(|(repo, files)| match files.as_slice() {
            [file] => format!("`{file}`: its bytes are those of {repo} in the Hub cache"),
            files => format!(
                "{} files: their bytes are those of {repo} in the Hub cache",
                files.len()
            ),
        })
        .collect();
    basis.extend(match hashed {
        0 => None,
        1 => Some("1 file: nothing says what it should be: hashed only".to_owned()),
        more => Some(format!(
            "{more} files: nothing says what they should be: hashed only"
        )),
    });
    basis
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
