//! Owns `larder ls`: reading the cache into rows.
//!
//! Changes nothing and hashes nothing. What cannot be read is a row that says so, never the end of
//! the scan; folders of other tools are left out (hub.md case 55).

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::ready::{Findings, Judge, Listing};
use super::snapshot::{named_blob, paths_below};
use super::{Error, Layout, RefValue, Result, blob, read_tree, refs_of};
use crate::domain::{
    Basis, Commit, Etag, FileRow, FileState, ModelRow, ModelState, RemoteFile, RepoId, RepoPath,
    sanitize,
};
use crate::host;

/// A model and its files.
pub type RepoRows = Vec<(ModelRow, Vec<FileRow>)>;

/// Every snapshot in the cache, by repo. A cache that does not exist yet holds none.
///
/// # Errors
/// [`Error::AbsentMount`] if the cache's volume is not there: that is not an empty cache.
pub fn scan(layout: &Layout, judge: Judge<'_>) -> Result<Vec<ModelRow>> {
    let root = layout.root();
    if let Some(mount) = host::absent_mount(root) {
        return Err(Error::AbsentMount {
            mount,
            path: root.to_owned(),
        });
    }
    let mut repos: Vec<RepoId> = children(root)?
        .iter()
        .filter(|name| root.join(name).is_dir())
        .filter_map(|name| RepoId::from_folder(name))
        .collect();
    repos.sort();
    let mut rows = Vec::new();
    for repo in repos {
        match scan_repo(layout, &repo, judge) {
            Ok(found) => rows.extend(found.into_iter().map(|(model, _)| model)),
            Err(error) => rows.push(unreadable(layout, &repo, &error)),
        }
    }
    Ok(rows)
}

/// Every snapshot of one repo with its files, and the commits its refs name that are not there.
pub fn scan_repo(layout: &Layout, repo: &RepoId, judge: Judge<'_>) -> Result<RepoRows> {
    let refs = refs_of(layout, repo)?;
    let snapshots = layout.snapshots(repo);
    let mut rows = Vec::new();
    let mut seen = BTreeSet::new();
    for revision in children(&snapshots)? {
        if snapshots.join(&revision).is_dir() {
            seen.extend(Commit::new(&revision).ok());
            rows.push(look(layout, repo, &revision, &refs, judge)?);
        }
    }
    let named: BTreeSet<Commit> = refs.iter().filter_map(|(_, value)| value.commit).collect();
    for commit in named.difference(&seen) {
        rows.push(look(layout, repo, &commit.to_string(), &refs, judge)?);
    }
    if rows.is_empty() {
        rows.extend(unfinished(layout, repo)?.map(|model| (model, Vec::new())));
    }
    Ok(rows)
}

/// A pull that has not come to its first snapshot: blobs and partials, and nothing that names them.
fn unfinished(layout: &Layout, repo: &RepoId) -> Result<Option<ModelRow>> {
    let blobs = layout.blobs(repo);
    let (mut whole, mut partials, mut partial_bytes, mut size_bytes) = (0, 0, 0, 0);
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
        } else if matches!(name.rsplit_once('.'), Some((_, "incomplete" | "part"))) {
            partials += 1;
            partial_bytes += found.len();
        } else {
            continue;
        }
        size_bytes += found.len();
    }
    if whole + partials == 0 {
        return Ok(None);
    }
    Ok(Some(ModelRow {
        repo: repo.clone(),
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
        problems: vec![format!(
            "a pull was not finished: {whole} whole files and {partial_bytes} bytes of {partials} others are here, and `larder pull {repo}` goes on from them"
        )],
        modified_ms: None,
        accessed_ms: None,
    }))
}

fn look(
    layout: &Layout,
    repo: &RepoId,
    revision: &str,
    refs: &[(String, RefValue)],
    judge: Judge<'_>,
) -> Result<(ModelRow, Vec<FileRow>)> {
    let folder = layout.snapshots(repo).join(revision);
    let commit = Commit::new(revision).ok();
    let listing = commit.and_then(|commit| read_tree(layout, repo, &commit));
    let mut tally = Tally::default();
    let mut files = tally.files(&folder, listing.as_deref().unwrap_or_default())?;
    let is_there = folder.is_dir();
    let names = refs_to(refs, commit, &mut tally.broken);
    if !is_there && !names.is_empty() {
        tally.notes.push(format!(
            "no snapshot of what `{}` names",
            names.join("`, `")
        ));
    }
    if commit.is_none() {
        tally.notes.push(
            "the folder is not named after a commit, so most tools do not find it".to_owned(),
        );
    }
    let (missing, broken) = if is_there && repo.kind() == crate::domain::RepoKind::Model {
        (judge.examine)(&folder)
    } else {
        (Vec::new(), Vec::new())
    };
    tally.broken.extend(broken);
    let files_present = tally.present.len();
    let ready = Findings {
        kind: repo.kind(),
        present: tally.present,
        listing: listing.as_deref().map(|files| Listing {
            files: files.iter().map(|file| file.path.clone()).collect(),
            selected: (judge.select)(files).into_iter().collect(),
        }),
        missing,
        broken: tally.broken,
        notes: tally.notes,
    }
    .verdict();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let model = ModelRow {
        repo: repo.clone(),
        revision: sanitize(revision),
        commit,
        is_unreferenced: is_there && names.is_empty(),
        refs: names,
        snapshot: folder.to_string_lossy().into_owned(),
        size_bytes: tally.size_bytes,
        files_present,
        files_expected: ready.files_expected,
        state: ready.state,
        basis: ready.basis,
        problems: ready.problems,
        modified_ms: tally.modified_ms,
        accessed_ms: tally.accessed_ms,
    };
    Ok((model, files))
}

/// The refs that name the commit. A malformed one keeps Python from reading the repo at all, so it
/// is damage for every model whose ref it is, or may be.
fn refs_to(
    refs: &[(String, RefValue)],
    commit: Option<Commit>,
    broken: &mut Vec<String>,
) -> Vec<String> {
    let mut names = Vec::new();
    for (name, value) in refs {
        let name = sanitize(name);
        let is_ours = value.commit.is_some() && value.commit == commit;
        if value.is_malformed && (is_ours || value.commit.is_none()) {
            broken.push(format!(
                "the ref `{name}` holds more or less than a commit hash"
            ));
        }
        if is_ours {
            names.push(name);
        }
    }
    names
}

/// Sums and findings over the entries of a snapshot.
#[derive(Default)]
struct Tally {
    present: BTreeSet<RepoPath>,
    /// By device and inode: two pointers to one blob are one blob on disk.
    counted: HashSet<(u64, u64)>,
    size_bytes: u64,
    modified_ms: Option<u64>,
    accessed_ms: Option<u64>,
    broken: Vec<String>,
    notes: Vec<String>,
}

impl Tally {
    fn files(&mut self, folder: &Path, listing: &[RemoteFile]) -> Result<Vec<FileRow>> {
        let mut listed: BTreeMap<&RepoPath, &RemoteFile> =
            listing.iter().map(|file| (&file.path, file)).collect();
        let mut rows = Vec::new();
        for path in paths_below(folder)? {
            let expected = listed.remove(&path);
            rows.push(self.file(folder, &path, expected));
        }
        rows.extend(listed.into_values().map(|file| FileRow {
            path: sanitize(file.path.as_str()),
            size_bytes: None,
            expected_bytes: Some(file.size_bytes),
            etag: Some(file.etag.to_string()),
            state: FileState::Absent,
        }));
        Ok(rows)
    }

    fn file(&mut self, folder: &Path, path: &RepoPath, expected: Option<&RemoteFile>) -> FileRow {
        let place = folder.join(path.as_str());
        let shown = sanitize(path.as_str());
        let link = fs::read_link(&place).ok();
        let is_link = link.is_some();
        let etag = link.and_then(|text| named_blob(path, &text));
        let expected_bytes = expected.map(|file| file.size_bytes);
        let row = |size_bytes, state| FileRow {
            path: shown.clone(),
            size_bytes,
            expected_bytes,
            etag: etag.as_deref().map(sanitize),
            state,
        };
        let metadata = match place.metadata() {
            Ok(metadata) if metadata.is_file() => metadata,
            Ok(_) => {
                self.broken.push(format!("`{shown}` leads to no file"));
                return row(None, FileState::Missing);
            }
            Err(error) if blob::is_absent(&error) => {
                self.broken
                    .push(format!("the pointer `{shown}` leads to nothing"));
                return row(None, FileState::Missing);
            }
            Err(error) => {
                self.broken
                    .push(format!("`{shown}` cannot be read: {error}"));
                return row(None, FileState::Missing);
            }
        };
        self.count(&metadata);
        self.present.insert(path.clone());
        let bytes = metadata.len();
        if is_link && etag.is_none() {
            self.notes
                .push(format!("the pointer `{shown}` leads out of the repo"));
        }
        if let (Some(named), Some(file)) = (&etag, expected)
            && *named != file.etag.to_string()
        {
            self.broken
                .push(format!("the pointer `{shown}` leads to another content"));
        }
        if is_lfs_pointer(&place, bytes) && expected_bytes != Some(bytes) {
            self.broken
                .push(format!("`{shown}` holds an LFS pointer, not its content"));
        }
        let state = match expected_bytes {
            Some(expected) if bytes < expected => {
                self.broken
                    .push(format!("`{shown}` has {bytes} of {expected} bytes"));
                FileState::Truncated
            }
            Some(expected) if bytes > expected => {
                self.broken
                    .push(format!("`{shown}` has {bytes} bytes, not {expected}"));
                FileState::WrongSize
            }
            _ if is_link => FileState::Unverified,
            _ => FileState::Regular,
        };
        row(Some(bytes), state)
    }

    fn count(&mut self, metadata: &fs::Metadata) {
        if !self.counted.insert((metadata.dev(), metadata.ino())) {
            return;
        }
        self.size_bytes += metadata.len();
        self.modified_ms = self.modified_ms.max(since_epoch(metadata.modified()));
        self.accessed_ms = self.accessed_ms.max(since_epoch(metadata.accessed()));
    }
}

fn since_epoch(time: io::Result<SystemTime>) -> Option<u64> {
    let since = time.ok()?.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_millis()).ok()
}

fn is_lfs_pointer(path: &Path, bytes: u64) -> bool {
    let mut start = [0; blob::LFS_POINTER.len()];
    bytes <= blob::LFS_POINTER_MAX_BYTES
        && fs::File::open(path).is_ok_and(|mut file| file.read_exact(&mut start).is_ok())
        && start == blob::LFS_POINTER
}

/// Names in a folder, in order; none if it is not there.
fn children(dir: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
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
        problems: vec![sanitize(&error.to_string())],
        modified_ms: None,
        accessed_ms: None,
    }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
