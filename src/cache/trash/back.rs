//! Owns putting back what lies in an entry of the trash.
//!
//! **Law**: what is wanted back is proven before it gets the name of a content again: hashed, unless it
//! was hashed before and has not changed since. What has other bytes stays in the trash. Nothing is
//! replaced: what is in the cache now stays. Blobs come before the pointers that
//! lead to them, snapshots before the refs that name them; no pointer is put back that would lead to
//! nothing, and no ref that would name nothing. Doing it again does no harm.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::super::blob::{self, Check, Verdict};
use super::super::salvage::exact_etag;
use super::super::sight::is_own_folder;
use super::super::{Error, Layout, Result, prepare_repo};
use super::entry::Entry;
use super::goes::{entries, leaves};
use super::manifest::Manifest;
use super::moves::{Dirty, rename_new};
use crate::domain::{Commit, DiscardKind, Etag, Kept, RepoId, sanitize};

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Back {
    /// What was put back, absolute; also what stood in its place again with the same bytes.
    pub restored: Vec<PathBuf>,
    /// Bytes of that.
    pub bytes: u64,
    /// What was not, and why.
    pub kept: Vec<Kept>,
    /// Of that the blobs whose bytes are not those of their names, where they would lie.
    pub wrong: Vec<PathBuf>,
}

/// How the proof of what comes back goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofStep<'a> {
    /// So much is to be hashed.
    Begins {
        /// Contents.
        files: usize,
        /// Their bytes.
        bytes: u64,
    },
    /// So many bytes of this file are hashed.
    At {
        /// The file, where it lies.
        path: &'a Path,
        /// Bytes from its start.
        bytes: u64,
    },
    /// A file of so many bytes is hashed to its end.
    Done {
        /// Its bytes.
        bytes: u64,
    },
}

/// Hears how a proof goes on, and may end it before anything is moved.
pub type ProofWatch<'a> = dyn FnMut(ProofStep<'_>) -> ControlFlow<()> + 'a;

/// Whether a file that looks like this was proven to be that content at the place where it lay before.
pub type WasProven<'a> = &'a dyn Fn(&Path, &Metadata, &Etag) -> bool;

/// How what comes back is proven.
pub struct Prover<'a> {
    /// What need not be hashed.
    pub was_proven: WasProven<'a>,
    /// Hears how it goes on.
    pub watch: &'a mut ProofWatch<'a>,
}

/// Files up to this length are compared byte by byte.
const SMALL_BYTES: u64 = 1 << 20;
const HERE: &str = "something has its place again, and that stays";
const WRONG: &str = "its bytes are not those of its name: pull the model, which fetches it";

/// Which blobs of an entry have other bytes than their names say. Changes nothing.
pub(super) fn prove(
    entry: &Entry,
    layout: &Layout,
    manifest: &Manifest,
    prover: Prover<'_>,
) -> Result<BTreeSet<OsString>> {
    let content = entry.content().join(&manifest.repo);
    match manifest.repo_id().filter(|_| is_own_folder(&content)) {
        Some(repo) => wrong_blobs(entry, &content, &layout.repo(&repo), prover),
        None => Ok(BTreeSet::new()),
    }
}

/// Puts back what has a place, without the blobs that were found wrong.
pub(super) fn give_back(
    entry: &Entry,
    layout: &Layout,
    manifest: &Manifest,
    wrong: BTreeSet<OsString>,
) -> Result<Back> {
    let Some(repo) = manifest.repo_id() else {
        return Ok(Back::default());
    };
    let content = entry.content().join(&manifest.repo);
    let folder = layout.repo(&repo);
    let mut back = Back::default();
    if !is_own_folder(&content) {
        return Ok(back);
    }
    // A model that nobody has pulled again comes back in one step, as it was.
    let is_whole = manifest.kind() == Some(DiscardKind::Repo);
    let is_absent = folder.symlink_metadata().is_err();
    if is_whole && is_absent && wrong.is_empty() && !has_lost_payloads(&content, &folder) {
        let bytes = entry.bytes();
        match rename_new(&content, &folder) {
            Ok(_) => {
                let mut dirty = Dirty::default();
                dirty.moved(&content, &folder);
                dirty.sync()?;
                back.restored.push(folder);
                back.bytes = bytes;
                return Ok(back);
            }
            // Somebody pulls it just now.
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    prepare_repo(layout, &repo)?;
    let mut merge = Merge {
        entry,
        layout,
        repo,
        content,
        folder,
        wrong,
        back,
        dirty: Dirty::default(),
    };
    merge.blobs()?;
    merge.others()?;
    merge.snapshots()?;
    merge.refs()?;
    Ok(merge.back)
}

/// The names of the blobs that have the name of a content and other bytes.
fn wrong_blobs(
    entry: &Entry,
    content: &Path,
    folder: &Path,
    Prover { was_proven, watch }: Prover<'_>,
) -> Result<BTreeSet<OsString>> {
    let mut named = Vec::new();
    for blob in entries(&content.join("blobs"))? {
        let name = blob.file_name().unwrap_or_default();
        let Some(etag) = name.to_str().and_then(exact_etag) else {
            continue;
        };
        let place = folder.join("blobs").join(name);
        // A folder that moved leaves the files in it as they were, their times too.
        let found = blob.symlink_metadata();
        if found.is_ok_and(|found| found.is_file() && was_proven(&place, &found, &etag)) {
            continue;
        }
        // Where its bytes are: here, in the shared store, or under the second name of those.
        let bytes = if is_link(&blob) {
            let target = fs::read_link(&blob).map_err(Error::at("read the link", &blob))?;
            let kept = entry
                .payloads()
                .join(target.file_name().unwrap_or_default());
            if leads_somewhere(&blob, &place) {
                plain(&place.with_file_name("").join(target))
            } else if kept.symlink_metadata().is_ok() {
                kept
            } else {
                // There is nothing to get the name back.
                continue;
            }
        } else {
            blob.clone()
        };
        named.push((bytes, etag));
    }
    let wrong = wrong_of(&named, watch)?;
    Ok(wrong
        .into_iter()
        .map(|at| OsString::from(named[at].1.to_string()))
        .collect())
}

/// The places in the list of those whose bytes are not those of their names.
pub(super) fn wrong_of(
    named: &[(PathBuf, Etag)],
    watch: &mut ProofWatch<'_>,
) -> Result<Vec<usize>> {
    let length = |path: &Path| path.metadata().map_or(0, |found| found.len());
    let begins = ProofStep::Begins {
        files: named.len(),
        bytes: named.iter().map(|(path, _)| length(path)).sum(),
    };
    if watch(begins).is_break() {
        return Err(Error::Interrupted);
    }
    let mut wrong = Vec::new();
    for (at, (path, etag)) in named.iter().enumerate() {
        let bytes = length(path);
        let mut on = |bytes| watch(ProofStep::At { path, bytes });
        match blob::check(path, etag, bytes, Check::Hash, &mut on)? {
            Verdict::Proven => {}
            _ => wrong.push(at),
        }
        if watch(ProofStep::Done { bytes }).is_break() {
            return Err(Error::Interrupted);
        }
    }
    Ok(wrong)
}

/// Whether a blob is a link into the shared store to something that is gone there.
fn has_lost_payloads(content: &Path, folder: &Path) -> bool {
    let blobs = entries(&content.join("blobs")).unwrap_or_default();
    blobs.iter().any(|blob| {
        let name = blob.file_name().unwrap_or_default();
        let place = folder.join("blobs").join(name);
        is_link(blob) && !leads_somewhere(blob, &place)
    })
}

fn is_link(path: &Path) -> bool {
    path.symlink_metadata()
        .is_ok_and(|found| found.is_symlink())
}

/// Putting a model back beside what is there of it now.
struct Merge<'a> {
    entry: &'a Entry,
    layout: &'a Layout,
    repo: RepoId,
    /// The repo's folder in the trash.
    content: PathBuf,
    /// The repo's folder in the cache.
    folder: PathBuf,
    /// Names of blobs whose bytes are others.
    wrong: BTreeSet<OsString>,
    back: Back,
    dirty: Dirty,
}

impl Merge<'_> {
    fn blobs(&mut self) -> Result<()> {
        for from in entries(&self.content.join("blobs"))? {
            let name = from.file_name().unwrap_or_default().to_owned();
            let to = self.layout.blobs(&self.repo).join(&name);
            if self.wrong.contains(&name) {
                // What leads to it stays too, unless the right bytes are there.
                self.back.wrong.push(to.clone());
                self.keep(&to, WRONG);
            } else if is_link(&from) && !leads_somewhere(&from, &to) {
                self.payload(&from, &to)?;
            } else if is_own_folder(&from) {
                self.keep(&to, "a folder is no blob");
            } else {
                self.one(&from, &to)?;
            }
        }
        self.dirty.sync()
    }

    /// A blob whose content was in the shared store and is not any more: the second name that the
    /// trash has for it becomes the blob.
    fn payload(&mut self, from: &Path, to: &Path) -> Result<()> {
        let hash = fs::read_link(from).ok();
        let hash = hash.as_deref().and_then(Path::file_name);
        let payload = hash.map(|hash| self.entry.payloads().join(hash));
        let Some(payload) = payload.filter(|path| path.symlink_metadata().is_ok()) else {
            self.keep(
                to,
                "its content is not in the shared store any more: pull the model",
            );
            return Ok(());
        };
        if to.symlink_metadata().is_ok() {
            self.keep(to, HERE);
            return Ok(());
        }
        self.one(&payload, to)?;
        fs::remove_file(from).map_err(Error::at("remove", from))
    }

    /// Listings, marks of absence, what larder keeps: everything that is no blob, pointer or ref.
    fn others(&mut self) -> Result<()> {
        for child in entries(&self.content)? {
            let name = child.file_name().unwrap_or_default().to_owned();
            if ["blobs", "snapshots", "refs"].iter().any(|it| name == *it) {
                continue;
            }
            if name == ".manual_download_lock" {
                // It spoke of a program of that time.
                fs::remove_file(&child).map_err(Error::at("remove", &child))?;
                continue;
            }
            for from in leaves(&child)? {
                if is_own_folder(&from) {
                    continue;
                }
                let below = self.below(&from);
                if name == ".no_exist" {
                    let path: PathBuf = below.components().skip(1).collect();
                    let file = self.layout.snapshots(&self.repo).join(path);
                    if file.symlink_metadata().is_ok() {
                        self.keep(&self.folder.join(&below), "the file exists now");
                        continue;
                    }
                }
                let to = self.folder.join(below);
                self.one(&from, &to)?;
            }
        }
        self.dirty.sync()
    }

    fn snapshots(&mut self) -> Result<()> {
        for snapshot in entries(&self.content.join("snapshots"))? {
            let to = self.folder.join(self.below(&snapshot));
            let files = leaves(&snapshot)?;
            let is_whole = files.iter().all(|file| self.has_content(file));
            if is_whole && to.symlink_metadata().is_err() {
                self.one(&snapshot, &to)?;
                continue;
            }
            for from in files {
                if is_own_folder(&from) {
                    continue;
                }
                let to = self.folder.join(self.below(&from));
                if self.has_content(&from) {
                    self.one(&from, &to)?;
                } else {
                    self.keep(&to, "what it leads to is not here");
                }
            }
        }
        self.dirty.sync()
    }

    fn refs(&mut self) -> Result<()> {
        for from in leaves(&self.content.join("refs"))? {
            if is_own_folder(&from) {
                continue;
            }
            let to = self.folder.join(self.below(&from));
            let commit = fs::read_to_string(&from).ok();
            let commit = commit.and_then(|text| Commit::new(text.trim()).ok());
            let names_something =
                commit.is_some_and(|commit| self.layout.snapshot(&self.repo, &commit).is_dir());
            if names_something {
                self.one(&from, &to)?;
            } else {
                self.keep(&to, "it names no snapshot that is here");
            }
        }
        self.dirty.sync()
    }

    /// Whether a file of a snapshot in the trash is one itself, or leads to one at its old place.
    fn has_content(&self, from: &Path) -> bool {
        !is_link(from) || leads_somewhere(from, &self.folder.join(self.below(from)))
    }

    /// A path of the trash as it is below the repo's folder.
    fn below(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.content).unwrap_or(path).to_owned()
    }

    fn one(&mut self, from: &Path, to: &Path) -> Result<()> {
        let bytes = |path: &Path| match path.symlink_metadata() {
            Ok(found) if found.is_file() => found.len(),
            _ => 0,
        };
        let size = if is_own_folder(from) {
            leaves(from)?.iter().map(|path| bytes(path)).sum()
        } else {
            bytes(from)
        };
        match rename_new(from, to) {
            Ok(true) => {
                self.dirty.moved(from, to);
                self.back.bytes += size;
                self.back.restored.push(to.to_owned());
                Ok(())
            }
            Ok(false) => Ok(()),
            // The same twice is of no use to anybody, and would be an entry that nobody can put back.
            Err(Error::Io { source, .. }) if is_taken(&source) && is_same(from, to) => {
                fs::remove_file(from).map_err(Error::at("remove", from))?;
                self.back.bytes += size;
                self.back.restored.push(to.to_owned());
                Ok(())
            }
            Err(Error::Io { source, .. }) if is_taken(&source) => {
                self.keep(to, HERE);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn keep(&mut self, path: &Path, why: &str) {
        self.back.kept.push(Kept {
            path: sanitize(&path.to_string_lossy()),
            why: why.to_owned(),
        });
    }
}

/// Whether the place is another's: it is there, or a file stands where a folder would have to.
fn is_taken(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::AlreadyExists
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::DirectoryNotEmpty
            | io::ErrorKind::IsADirectory
    )
}

/// Whether two links have one text, or two small files one content.
fn is_same(one: &Path, other: &Path) -> bool {
    let (Ok(a), Ok(b)) = (one.symlink_metadata(), other.symlink_metadata()) else {
        return false;
    };
    if a.is_symlink() && b.is_symlink() {
        return matches!((fs::read_link(one), fs::read_link(other)), (Ok(a), Ok(b)) if a == b);
    }
    let is_small = a.is_file() && b.is_file() && a.len() == b.len() && a.len() <= SMALL_BYTES;
    is_small && matches!((fs::read(one), fs::read(other)), (Ok(a), Ok(b)) if a == b)
}

/// Whether a link would lead to something if it stood at `place`.
fn leads_somewhere(link: &Path, place: &Path) -> bool {
    let Ok(target) = fs::read_link(link) else {
        return false;
    };
    let folder = place.parent().unwrap_or(place);
    // The folder may not be there yet, so that `..` cannot be asked of the system.
    plain(&folder.join(target)).metadata().is_ok()
}

/// A path without `.` and `..`, by its text alone.
pub(super) fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part.as_os_str() {
            part if part == OsStr::new("..") => drop(out.pop()),
            part if part == OsStr::new(".") => {}
            part => out.push(part),
        }
    }
    out
}
