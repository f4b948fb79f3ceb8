//! Owns `larder ls`: reading the cache into rows, and what is wrong into findings.
//!
//! Changes nothing and hashes nothing. What cannot be read is a row that says so, never the end of
//! the scan; folders of other tools are left out (hub.md case 55).

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::Path;

use humansize::{DECIMAL, format_size};

use super::diagnosis::{self, Leads, Subject};
use super::ready::{Findings, Judge, Listing};
use super::refs::{describe, is_leftover, names_nothing, read_file, refs_seen};
use super::salvage::all_partials;
use super::several::look_at_all;
use super::shape::{Lacks, Named, Shape};
use super::tally::{Tally, pull_by_names};
use super::{Error, Layout, RefValue, Result, read_tree};
use crate::domain::{
    Basis, CacheKind, Commit, Etag, Examination, FileRow, FileState, Finding, LoadLevel, ModelRow,
    ModelState, RemoteFile, RepoId, RepoPath, Revision, sanitize,
};
use crate::host;

/// A model and its files.
pub type RepoRows = Vec<(ModelRow, Vec<FileRow>)>;

/// A repo's snapshots, and what is wrong in it as far as a look without hashing tells.
#[derive(Debug, Default)]
pub(super) struct RepoScan {
    pub(super) rows: RepoRows,
    pub(super) findings: Vec<Finding>,
    /// Names of blobs that any pointer leads to.
    pub(super) named: BTreeSet<String>,
    /// Every file that pointers lead to, by device and inode, with its length: each once.
    pub(super) inodes: HashMap<(u64, u64), u64>,
}

/// Every snapshot in the cache, by repo. A cache that does not exist yet holds none.
///
/// # Errors
/// [`Error::AbsentMount`] if the cache's volume is not there: that is not an empty cache.
pub fn scan(layout: &Layout, judge: Judge<'_>) -> Result<Vec<ModelRow>> {
    scan_with_size(layout, judge).map(|(rows, _)| rows)
}

/// The same, with the bytes of all files that pointers lead to, each file once.
///
/// # Errors
/// As [`scan`].
pub fn scan_with_size(layout: &Layout, judge: Judge<'_>) -> Result<(Vec<ModelRow>, u64)> {
    let mut rows = Vec::new();
    let mut inodes = HashMap::new();
    for found in look_at_all(&repos(layout)?, &|repo| {
        scan_with_findings(layout, repo, judge)
    }) {
        rows.extend(found.rows.into_iter().map(|(model, _)| model));
        inodes.extend(found.inodes);
    }
    Ok((rows, inodes.into_values().sum()))
}

/// Every repo in the cache, in order.
///
/// # Errors
/// As [`scan`].
pub fn repos(layout: &Layout) -> Result<Vec<RepoId>> {
    let root = layout.root();
    if let Some(mount) = host::absent_mount(root) {
        return Err(Error::AbsentMount {
            mount,
            path: root.to_owned(),
        });
    }
    let mut repos: Vec<RepoId> = children(root)?
        .iter()
        .filter_map(|name| RepoId::from_folder(name))
        .filter(|repo| layout.repo(repo).is_dir())
        .collect();
    repos.sort();
    Ok(repos)
}

/// Every snapshot of one repo with its files, and the commits its refs name that are not there.
pub fn scan_repo(layout: &Layout, repo: &RepoId, judge: Judge<'_>) -> Result<RepoRows> {
    try_scan(layout, repo, judge).map(|scan| scan.rows)
}

/// A repo with what is wrong in it. One that cannot be read is a row and a finding that say so.
pub(super) fn scan_with_findings(layout: &Layout, repo: &RepoId, judge: Judge<'_>) -> RepoScan {
    try_scan(layout, repo, judge).unwrap_or_else(|error| RepoScan {
        rows: vec![(unreadable(layout, repo, &error), Vec::new())],
        findings: vec![diagnosis::unreadable(repo, &layout.repo(repo), &error)],
        named: BTreeSet::new(),
        inodes: HashMap::new(),
    })
}

fn try_scan(layout: &Layout, repo: &RepoId, judge: Judge<'_>) -> Result<RepoScan> {
    let all_refs = refs_seen(layout, repo)?;
    // What Python left beside a ref names nothing that anybody asked for.
    let is_ref = |(name, _): &&(String, RefValue)| !is_leftover(name);
    let refs: Vec<(String, RefValue)> = all_refs.iter().filter(is_ref).cloned().collect();
    let snapshots = layout.snapshots(repo);
    let mut scan = RepoScan::default();
    let mut seen = BTreeSet::new();
    for revision in children(&snapshots)? {
        if snapshots.join(&revision).is_dir() {
            seen.extend(Commit::new(&revision).ok());
            look(layout, repo, &revision, &refs, judge, &mut scan)?;
        }
    }
    let named: BTreeSet<Commit> = refs.iter().filter_map(|(_, value)| value.commit).collect();
    for commit in named.difference(&seen) {
        look(layout, repo, &commit.to_string(), &refs, judge, &mut scan)?;
    }
    scan.findings
        .extend(wrong_refs(layout, repo, &all_refs, &seen, judge));
    let whole: Vec<&str> = scan
        .rows
        .iter()
        .filter(|(model, _)| model.commit.is_some() && model.files_present > 0)
        .map(|(model, _)| model.revision.as_str())
        .collect();
    if all_refs.is_empty() && !whole.is_empty() {
        let finding = diagnosis::no_ref(repo, &layout.refs(repo), &whole);
        scan.findings.push(finding);
    }
    if scan.rows.is_empty() {
        let unfinished = unfinished(layout, repo)?;
        scan.rows
            .extend(unfinished.map(|model| (model, Vec::new())));
    }
    Ok(scan)
}

/// Refs that hold no commit hash, and those that name a commit of which there is no snapshot.
fn wrong_refs(
    layout: &Layout,
    repo: &RepoId,
    refs: &[(String, RefValue)],
    snapshots: &BTreeSet<Commit>,
    judge: Judge<'_>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, value) in refs {
        let place = layout.refs(repo).join(name);
        if is_leftover(name) {
            findings.push(diagnosis::leftover_ref(repo, name, &place));
            continue;
        }
        if value.is_unreadable {
            // It may be right: nobody writes it anew.
            let error = read_file(&place).err();
            findings.extend(error.map(|error| diagnosis::unreadable(repo, &place, &error)));
            continue;
        }
        let commit = value.commit.map(|commit| commit.to_string());
        if value.is_malformed {
            let (bytes, what) = describe(&place);
            let is_lost = match value.commit {
                Some(commit) => !snapshots.contains(&commit),
                None => {
                    Revision::new(name).is_ok_and(|name| names_nothing(layout, repo, &name, &what))
                }
            };
            let leads = if is_lost {
                Leads::Nowhere
            } else {
                Leads::Somewhere
            };
            findings.push(diagnosis::malformed_ref(
                repo,
                name,
                &place,
                commit.as_deref(),
                (bytes, &what),
                leads,
            ));
        }
        if let Some(commit) = value.commit.filter(|commit| !snapshots.contains(commit)) {
            let listing =
                read_tree(layout, repo, &commit).or_else(|| (judge.listing)(repo, &commit));
            let nowhere = layout.snapshot(repo, &commit);
            let fetch_bytes =
                listing.map(|listing| lacking_bytes(layout, repo, &listing, &nowhere, judge));
            let commit = commit.to_string();
            findings.push(diagnosis::ref_to_nowhere(
                repo,
                name,
                &place,
                &commit,
                fetch_bytes,
            ));
        }
    }
    findings
}

/// What a pull has to fetch of a listing, of which something may lie in a folder already.
fn lacking_bytes(
    layout: &Layout,
    repo: &RepoId,
    listing: &[RemoteFile],
    folder: &Path,
    judge: Judge<'_>,
) -> u64 {
    let wanted: BTreeSet<RepoPath> = (judge.select)(listing).into_iter().collect();
    let mut counted = BTreeSet::new();
    let is_here = |file: &RemoteFile| {
        let is_as_long = |path: &Path| {
            let found = path.metadata();
            found.is_ok_and(|found| found.is_file() && found.len() == file.size_bytes)
        };
        is_as_long(&layout.blob(repo, &file.etag)) || is_as_long(&folder.join(file.path.as_str()))
    };
    listing
        .iter()
        .filter(|file| wanted.contains(&file.path) && !is_here(file))
        .filter(|file| counted.insert(file.etag))
        .map(|file| file.size_bytes)
        .sum()
}

/// A pull that has not come to its first snapshot: blobs and partials, and nothing that names them.
fn unfinished(layout: &Layout, repo: &RepoId) -> Result<Option<ModelRow>> {
    let blobs = layout.blobs(repo);
    let (mut whole, mut size_bytes) = (0, 0);
    for name in children(&blobs)? {
        let Some(found) = blobs
            .join(&name)
            .metadata()
            .ok()
            .filter(std::fs::Metadata::is_file)
        else {
            continue;
        };
        if Etag::new(&name).is_ok() {
            whole += 1;
        } else if !matches!(name.rsplit_once('.'), Some((_, "incomplete" | "part"))) {
            continue;
        }
        size_bytes += found.len();
    }
    // Of each content the most that one partial has.
    let mut begun: HashMap<Etag, u64> = HashMap::new();
    for (etag, leftover) in all_partials(layout, repo)? {
        let bytes = begun.entry(etag).or_default();
        *bytes = leftover.bytes.max(*bytes);
    }
    if size_bytes == 0 && whole == 0 && begun.is_empty() {
        return Ok(None);
    }
    let files = |what: &str, count: usize| match count {
        1 => format!("1 {what}file"),
        count => format!("{count} {what}files"),
    };
    let bytes = format_size(begun.values().sum::<u64>(), DECIMAL);
    let here = match (whole, begun.len()) {
        (whole, 0) => files("whole ", whole),
        (0, begun) => format!("{bytes} of {}", files("", begun)),
        (whole, begun) => format!("{} and {bytes} of {begun} more", files("whole ", whole)),
    };
    Ok(Some(ModelRow {
        repo: repo.clone(),
        cache: CacheKind::Hub,
        revision: "unfinished".to_owned(),
        commit: None,
        is_unreferenced: false,
        refs: Vec::new(),
        snapshot: layout.repo(repo).to_string_lossy().into_owned(),
        size_bytes,
        files_present: whole,
        files_expected: None,
        state: ModelState::Partial,
        basis: Basis::OwnFiles,
        verified_ms: None,
        wrong_ms: None,
        problems: vec![format!(
            "a pull was not finished: it has {here}; `larder pull {repo}` goes on from there"
        )],
        modified_ms: None,
        accessed_ms: None,
    }))
}

/// What a folder that is named after a branch stands for.
struct Branch {
    commit: Commit,
    listing: Option<Vec<RemoteFile>>,
    fetch_bytes: Option<u64>,
}

impl Branch {
    fn named(&self) -> Named<'_> {
        Named {
            commit: self.commit,
            listing: self.listing.as_deref(),
            fetch_bytes: self.fetch_bytes,
        }
    }
}

/// The commit that the ref of a folder's name holds.
fn meant(
    layout: &Layout,
    Subject { repo, revision }: Subject<'_>,
    refs: &[(String, RefValue)],
    judge: Judge<'_>,
) -> Option<Branch> {
    let mut of_name = refs.iter().filter(|(name, _)| name == revision);
    let commit = of_name.find_map(|(_, value)| value.commit)?;
    let listing = read_tree(layout, repo, &commit).or_else(|| (judge.listing)(repo, &commit));
    let folder = layout.snapshots(repo).join(revision);
    Some(Branch {
        commit,
        fetch_bytes: listing
            .as_deref()
            .map(|listing| lacking_bytes(layout, repo, listing, &folder, judge)),
        listing,
    })
}

/// Of what is missing the files that no finding is about yet: a pointer that leads to nothing is told.
fn untold(mut missing: Vec<RepoPath>, findings: &[Finding]) -> Vec<RepoPath> {
    let told: BTreeSet<&str> = findings.iter().filter_map(|f| f.file.as_deref()).collect();
    missing.retain(|path| !told.contains(sanitize(path.as_str()).as_str()));
    missing
}

/// What a snapshot's place and name are worth a line for.
fn notes_on(is_there: bool, names: &[String], commit: Option<Commit>) -> Vec<String> {
    let mut notes = Vec::new();
    if !is_there && !names.is_empty() {
        let names = names.join("`, `");
        notes.push(format!("no snapshot of what `{names}` names"));
    }
    if commit.is_none() {
        let words = "the folder is not named after a commit, so most tools do not find it";
        notes.push(words.to_owned());
    }
    notes
}

fn look(
    layout: &Layout,
    repo: &RepoId,
    revision: &str,
    refs: &[(String, RefValue)],
    judge: Judge<'_>,
    scan: &mut RepoScan,
) -> Result<()> {
    let folder = layout.snapshots(repo).join(revision);
    let commit = Commit::new(revision).ok();
    let listing = commit.and_then(|commit| {
        read_tree(layout, repo, &commit).or_else(|| (judge.listing)(repo, &commit))
    });
    let subject = Subject { repo, revision };
    let branch = match commit {
        Some(_) => None,
        None => meant(layout, subject, refs, judge),
    };
    let mut tally = Tally::of(subject, layout.blobs(repo), judge);
    let mut files = tally.files(&folder, listing.as_deref().unwrap_or_default())?;
    let is_there = folder.is_dir();
    let names = refs_to(refs, commit, &mut tally.broken);
    tally.notes.extend(notes_on(is_there, &names, commit));
    let examination = if is_there && repo.kind() == crate::domain::RepoKind::Model {
        (judge.examine)(&folder, &tally.untouched)
    } else {
        Examination::default()
    };
    tally.would_not_load(&folder, &examination);
    if commit.is_none() {
        tally.without_pulls();
    }
    let mut lacking = examination.sentences(LoadLevel::Missing);
    lacking.append(&mut tally.evicted);
    let files_present = tally.present.len();
    let has_weights = tally.has_weights();
    let verified_ms = tally.verified_ms();
    let left_out = match commit {
        Some(_) => Vec::new(),
        None => tally.left_out(),
    };
    let ready = Findings {
        kind: repo.kind(),
        present: tally.present,
        listing: listing.as_deref().map(|files| Listing {
            files: files.iter().map(|file| file.path.clone()).collect(),
            selected: (judge.select)(files).into_iter().collect(),
        }),
        missing: lacking.clone(),
        broken: tally.broken,
        notes: tally.notes,
    }
    .verdict();
    if is_there {
        let missing = untold(ready.missing, &tally.findings);
        let needed: Vec<Option<String>> = examination
            .at(LoadLevel::Missing)
            .map(|trouble| trouble.file.clone())
            .collect();
        let lacks = Lacks {
            left_out: &left_out,
            needed: &needed,
            has_weights,
            below: files.len(),
            named: branch.as_ref().map(Branch::named),
            paths: &missing,
            present: files_present,
            sentences: &lacking,
            listing: listing.as_deref(),
        };
        let shape = Shape {
            layout,
            subject,
            folder: &folder,
        };
        let found = shape.findings(commit.is_some(), &tally.regular, &tally.copied, &lacks);
        tally.findings.extend(found);
        if let (Some(_), Some(listing), false) = (commit, listing.as_deref(), has_weights) {
            pull_by_names(&mut tally.findings, listing, &missing, judge);
        }
    }
    scan.findings.append(&mut tally.findings);
    scan.named.append(&mut tally.named);
    scan.inodes.extend(tally.counted);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let model = ModelRow {
        repo: repo.clone(),
        cache: CacheKind::Hub,
        revision: sanitize(revision),
        commit,
        // A ref that names nothing may have named this one.
        is_unreferenced: is_there
            && names.is_empty()
            && refs.iter().all(|(_, value)| value.commit.is_some()),
        refs: names,
        snapshot: folder.to_string_lossy().into_owned(),
        size_bytes: tally.size_bytes,
        files_present,
        files_expected: ready.files_expected,
        state: ready.state,
        basis: ready.basis,
        verified_ms,
        wrong_ms: latest_wrong(&files),
        problems: ready.problems,
        modified_ms: tally.modified_ms,
        accessed_ms: tally.accessed_ms,
    };
    scan.rows.push((model, files));
    Ok(())
}

/// The refs that name the commit. A malformed one is damage for the model whose ref it is, or may be:
/// Python does not find that by its name.
fn refs_to(
    refs: &[(String, RefValue)],
    commit: Option<Commit>,
    broken: &mut Vec<String>,
) -> Vec<String> {
    let is_ours = |value: &RefValue| value.commit.is_some() && value.commit == commit;
    let ours = refs.iter().filter(|(_, value)| is_ours(value));
    let names: Vec<String> = ours.map(|(name, _)| sanitize(name)).collect();
    for (name, value) in refs.iter().filter(|(_, value)| value.is_malformed) {
        // One that names nothing may have meant this one, unless another leads here; and whoever
        // does not name a revision asks for `main`.
        let may_be_ours = value.commit.is_none() && (names.is_empty() || name == "main");
        if is_ours(value) || may_be_ours {
            let what = if value.is_unreadable {
                "cannot be read"
            } else {
                "holds more or less than a commit hash"
            };
            broken.push(format!("the ref `{}` {what}", sanitize(name)));
        }
    }
    names
}

/// When the last of the files that were hashed and are wrong was.
pub(super) fn latest_wrong(files: &[FileRow]) -> Option<u64> {
    let wrong = files
        .iter()
        .filter(|file| file.state == FileState::WrongHash);
    wrong.filter_map(|file| file.verified_ms).max()
}

/// Names in a folder, in order; none if it is not there.
fn children(dir: &Path) -> Result<Vec<String>> {
    let entries = match host::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::from_io("read", dir, error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::at("read", dir))?;
        names.extend(entry.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

fn unreadable(layout: &Layout, repo: &RepoId, error: &Error) -> ModelRow {
    ModelRow {
        repo: repo.clone(),
        cache: CacheKind::Hub,
        revision: String::new(),
        commit: None,
        refs: Vec::new(),
        snapshot: layout.repo(repo).to_string_lossy().into_owned(),
        size_bytes: 0,
        files_present: 0,
        files_expected: None,
        state: ModelState::Broken,
        basis: Basis::OwnFiles,
        is_unreferenced: false,
        verified_ms: None,
        wrong_ms: None,
        problems: vec![sanitize(&error.to_string())],
        modified_ms: None,
        accessed_ms: None,
    }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
