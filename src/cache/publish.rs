//! Owns making a commit's files visible under `snapshots/`.
//!
//! Law: a new snapshot appears whole; in an existing one each entry changes in one step; a right
//! entry is left alone, nothing unasked is touched, and bytes that stood in the place of a pointer
//! keep a name. Never called before every blob is proven.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use super::blob::{self, Check, Verdict};
use super::durable;
use super::snapshot::{Pointer, find_collision, inspect_pointer, named_blob, paths_below};
use super::staging::{LinkMode, Staging, scratch_dir};
use super::{Error, Layout, Result};
use crate::domain::{Commit, Etag, Healing, HealingKind, RepoId, RepoPath, sanitize};
use crate::host;

/// Makes `files` of `commit` visible; their blobs are there and proven. Says what it put right.
pub fn publish(
    layout: &Layout,
    repo: &RepoId,
    commit: &Commit,
    files: &[(RepoPath, Etag)],
    mode: LinkMode,
) -> Result<Vec<Healing>> {
    let publication = Publication {
        layout,
        repo,
        commit,
    };
    let mut healed = Vec::new();
    // On a read-only cache a snapshot that is right is found right without a write.
    let unfinished = publication.unfinished(files, mode)?;
    if !unfinished.is_empty() {
        publication.refuse_collisions(files)?;
        for (_, etag, _) in &unfinished {
            publication.require_blob(etag)?;
        }
        match mode {
            LinkMode::Symlink if publication.link_new(files)? => {}
            LinkMode::Symlink => publication.link_into(files, &mut healed)?,
            LinkMode::Copy => publication.copy_into(unfinished, &mut healed)?,
        }
    }
    if layout.absences(repo, commit).exists() {
        for (path, _) in files {
            publication.forget_absence(path, &mut healed)?;
        }
    }
    Ok(healed)
}

/// A file that is not visible as it should be, and what stands in its place.
type Unfinished<'f> = (&'f RepoPath, &'f Etag, Pointer);

struct Publication<'a> {
    layout: &'a Layout,
    repo: &'a RepoId,
    commit: &'a Commit,
}

/// Whether the folder can be read and holds nothing.
fn is_empty_folder(path: &Path) -> bool {
    fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

impl Publication<'_> {
    fn pointer(&self, path: &RepoPath) -> PathBuf {
        self.layout.pointer(self.repo, self.commit, path)
    }

    fn refuse_collisions(&self, files: &[(RepoPath, Etag)]) -> Result<()> {
        let folder = self.layout.repo(self.repo);
        let folds = host::folds_case(&folder).map_err(Error::at("look at", &folder))?;
        match find_collision(files.iter().map(|(path, _)| path), folds) {
            Some((path, other)) => Err(Error::Collision {
                path: self.pointer(&path),
                other: self.pointer(&other),
            }),
            None => Ok(()),
        }
    }

    fn require_blob(&self, etag: &Etag) -> Result<PathBuf> {
        let blob = self.layout.blob(self.repo, etag);
        if blob.is_file() {
            return Ok(blob);
        }
        let error = io::Error::from(io::ErrorKind::NotFound);
        Err(Error::from_io("link to the blob", &blob, error))
    }

    /// Builds the whole folder aside and renames it into place; `false` if one is there already.
    fn link_new(&self, files: &[(RepoPath, Etag)]) -> Result<bool> {
        let snapshot = self.layout.snapshot(self.repo, self.commit);
        if snapshot.symlink_metadata().is_ok() {
            return Ok(false);
        }
        // Staged at the depth it will have, so the links lead to the blobs from here as well.
        let staging = Staging::open(self.layout, self.repo, self.commit)?;
        let built = Self::build(&staging, files);
        let renamed = built.and_then(|()| match fs::rename(staging.path(), &snapshot) {
            Ok(()) => Ok(true),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::AlreadyExists
                        | io::ErrorKind::DirectoryNotEmpty
                        | io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(false)
            }
            Err(error) => Err(Error::from_io("create", &snapshot, error)),
        });
        if !matches!(renamed, Ok(true)) {
            staging.remove();
            return renamed;
        }
        let snapshots = self.layout.snapshots(self.repo);
        host::sync_dir(&snapshots).map_err(Error::at("sync", &snapshots))?;
        Ok(true)
    }

    fn build(staging: &Staging, files: &[(RepoPath, Etag)]) -> Result<()> {
        let mut folders = BTreeSet::from([staging.path().to_owned()]);
        let mut done = BTreeSet::new();
        for (path, etag) in files.iter().filter(|(path, _)| done.insert(path)) {
            let link = staging.path().join(path.as_str());
            create_parents(&link, staging.path(), &mut folders)?;
            symlink(Layout::pointer_text(path, etag), &link).map_err(Error::at("link", &link))?;
        }
        sync_all(&folders)
    }

    /// Puts single links into a folder that is there.
    fn link_into(&self, files: &[(RepoPath, Etag)], healed: &mut Vec<Healing>) -> Result<()> {
        let wanted = self.unfinished(files, LinkMode::Symlink)?;
        if wanted.is_empty() {
            return Ok(());
        }
        let staging = Staging::open(self.layout, self.repo, self.commit)?;
        let mut folders = BTreeSet::new();
        let linked = wanted.into_iter().try_for_each(|(path, etag, found)| {
            let pointer = self.pointer(path);
            let healing = self.heal(path, etag, &found, &pointer)?;
            create_parents(
                &pointer,
                &self.layout.snapshot(self.repo, self.commit),
                &mut folders,
            )?;
            let link = staging.path().join("link");
            symlink(Layout::pointer_text(path, etag), &link).map_err(Error::at("link", &link))?;
            fs::rename(&link, &pointer).map_err(Error::at("replace", &pointer))?;
            healed.extend(healing);
            Ok(())
        });
        staging.remove();
        linked.and_then(|()| sync_all(&folders))
    }

    /// Puts real files into the snapshot. A file appears only when it is complete, but the folder
    /// is not made in one step: without links that would store everything twice.
    fn copy_into(&self, wanted: Vec<Unfinished<'_>>, healed: &mut Vec<Healing>) -> Result<()> {
        let linked = self.linked_blobs()?;
        let mut folders = BTreeSet::new();
        let mut left: Vec<&Etag> = wanted.iter().map(|(_, etag, ..)| *etag).collect();
        for (path, etag, found) in wanted {
            let pointer = self.pointer(path);
            let healing = self.heal(path, etag, &found, &pointer)?;
            create_parents(
                &pointer,
                &self.layout.snapshot(self.repo, self.commit),
                &mut folders,
            )?;
            left.swap_remove(left.iter().position(|e| *e == etag).unwrap_or_default());
            let is_last = !left.contains(&etag) && !linked.contains(&etag.to_string());
            self.put_file(etag, &pointer, is_last)?;
            healed.extend(healing);
        }
        sync_all(&folders)
    }

    /// Moves the blob if nothing else needs it, as Python does with a new one; else copies it.
    fn put_file(&self, etag: &Etag, pointer: &Path, may_move: bool) -> Result<()> {
        let blob = self.layout.blob(self.repo, etag);
        let is_own = blob.symlink_metadata().is_ok_and(|m| m.is_file());
        if may_move && is_own && fs::rename(&blob, pointer).is_ok() {
            return Ok(());
        }
        let source = blob::open_content(&blob).map_err(Error::at("open", &blob))?;
        let bytes = source
            .metadata()
            .map_err(Error::at("look at", &blob))?
            .len();
        let (temp, file) = durable::scratch(&scratch_dir(self.layout, self.repo)?)?;
        let mut hasher = blob::Hasher::new(etag, bytes);
        let copied = blob::each_step(
            &source,
            &blob,
            bytes,
            &mut |_| ControlFlow::Continue(()),
            &mut |offset, step| {
                hasher.update(step);
                file.write_all_at(step, offset)
                    .map_err(Error::at("write", pointer))
            },
        )
        .and_then(|_| {
            file.sync_all().map_err(Error::at("sync", pointer))?;
            if !hasher.finish() {
                return Err(Error::HashMismatch {
                    path: blob.clone(),
                    expected: *etag,
                });
            }
            fs::rename(&temp, pointer).map_err(Error::at("replace", pointer))
        });
        if copied.is_err() {
            // The first error is the one to tell; a leftover is swept later.
            drop(fs::remove_file(&temp));
        }
        copied
    }

    /// Blobs that links of any snapshot of the repo name: those must stay.
    fn linked_blobs(&self) -> Result<BTreeSet<String>> {
        let snapshots = self.layout.snapshots(self.repo);
        let mut named = BTreeSet::new();
        for entry in fs::read_dir(&snapshots).map_err(Error::at("read", &snapshots))? {
            let folder = entry.map_err(Error::at("read", &snapshots))?.path();
            if !folder.symlink_metadata().is_ok_and(|m| m.is_dir()) {
                continue;
            }
            for path in paths_below(&folder)? {
                if let Ok(text) = fs::read_link(folder.join(path.as_str())) {
                    named.extend(named_blob(&path, &text));
                }
            }
        }
        Ok(named)
    }

    /// The entries that are not right yet, each once. Refuses what cannot be made right before
    /// anything is changed.
    fn unfinished<'f>(
        &self,
        files: &'f [(RepoPath, Etag)],
        mode: LinkMode,
    ) -> Result<Vec<Unfinished<'f>>> {
        let mut wanted = Vec::new();
        let mut done = BTreeSet::new();
        for (path, etag) in files.iter().filter(|(path, _)| done.insert(path)) {
            let pointer = self.pointer(path);
            let collision = |other: PathBuf| Error::Collision {
                path: pointer.clone(),
                other,
            };
            match inspect_pointer(self.layout, self.repo, self.commit, path, etag)? {
                Pointer::Right => {}
                // A real file is what this mode makes; its length is right if its hash is.
                Pointer::Regular if mode == LinkMode::Copy && proves(&pointer, etag)? => {}
                // A folder with nothing in it is nobody's; one with content is the user's to move.
                Pointer::BlockedByFolder if is_empty_folder(&pointer) => {
                    wanted.push((path, etag, Pointer::BlockedByFolder));
                }
                Pointer::BlockedByFolder => return Err(Error::BlockedByFolder { path: pointer }),
                Pointer::ParentIsFile { file } => return Err(collision(file)),
                Pointer::ParentIsLink { link } => {
                    return Err(Error::SymlinkedParent {
                        path: pointer,
                        link,
                    });
                }
                found @ (Pointer::Missing
                | Pointer::Dangling
                | Pointer::Foreign
                | Pointer::Wrong { .. }
                | Pointer::Regular) => wanted.push((path, etag, found)),
            }
        }
        Ok(wanted)
    }

    /// Keeps what stands in the way, and says what it was; `None` if nothing stood there.
    fn heal(
        &self,
        path: &RepoPath,
        etag: &Etag,
        found: &Pointer,
        pointer: &Path,
    ) -> Result<Option<Healing>> {
        let kind = match found {
            Pointer::Dangling => HealingKind::DanglingPointer,
            Pointer::Foreign => HealingKind::ForeignPointer,
            Pointer::Wrong { .. } => HealingKind::WrongPointer,
            Pointer::Regular => HealingKind::RegularFile,
            Pointer::BlockedByFolder => {
                // Fails where it has got content meanwhile: that is not ours to take away.
                fs::remove_dir(pointer).map_err(Error::at("replace the folder", pointer))?;
                return Ok(None);
            }
            Pointer::Right
            | Pointer::Missing
            | Pointer::ParentIsLink { .. }
            | Pointer::ParentIsFile { .. } => return Ok(None),
        };
        let set_aside = if kind == HealingKind::RegularFile {
            self.keep_regular(path, etag, pointer)?
        } else {
            None
        };
        Ok(Some(Healing {
            kind,
            path: Some(path.clone()),
            location: sanitize(&pointer.to_string_lossy()),
            set_aside: set_aside.map(|kept| sanitize(&kept.to_string_lossy())),
        }))
    }

    /// Gives a regular file a second name before a link takes its first. Not needed if its bytes
    /// are the blob's own.
    fn keep_regular(
        &self,
        path: &RepoPath,
        etag: &Etag,
        pointer: &Path,
    ) -> Result<Option<PathBuf>> {
        let metadata = pointer.metadata().map_err(Error::at("look at", pointer))?;
        let is_blob = self
            .layout
            .blob(self.repo, etag)
            .metadata()
            .is_ok_and(|blob| (blob.dev(), blob.ino()) == (metadata.dev(), metadata.ino()));
        if is_blob || proves(pointer, etag)? {
            return Ok(None);
        }
        let aside = self.layout.aside(self.repo, self.commit);
        let name = |number: u32| aside.join(format!("{}.{number:08x}", path.as_str()));
        let kept = name(fastrand::u32(..));
        if let Some(parent) = kept.parent() {
            fs::create_dir_all(parent).map_err(Error::at("create", parent))?;
        }
        if fs::hard_link(pointer, &kept).is_ok() {
            return Ok(Some(kept));
        }
        let (kept, mut copy) = durable::create_unique(name)?;
        File::open(pointer)
            .and_then(|mut source| io::copy(&mut source, &mut copy))
            .and_then(|_| copy.sync_all())
            .map_err(Error::at("set aside", pointer))?;
        Ok(Some(kept))
    }

    /// Removes the marker that says the file does not exist (hub.md case 34): Python believes it
    /// before it looks at the snapshot.
    fn forget_absence(&self, path: &RepoPath, healed: &mut Vec<Healing>) -> Result<()> {
        let marker = self.layout.no_exist(self.repo, self.commit, path);
        match fs::remove_file(&marker) {
            Ok(()) => {
                healed.push(Healing {
                    kind: HealingKind::StaleNoExist,
                    path: Some(path.clone()),
                    location: sanitize(&marker.to_string_lossy()),
                    set_aside: None,
                });
                Ok(())
            }
            Err(error) if blob::is_absent(&error) => Ok(()),
            // A folder of that name marks other files.
            Err(_) if marker.is_dir() => Ok(()),
            Err(error) => Err(Error::from_io("remove", &marker, error)),
        }
    }
}

/// Whether the file is, whatever its length, the content of the etag.
fn proves(path: &Path, etag: &Etag) -> Result<bool> {
    let bytes = path.metadata().map_err(Error::at("look at", path))?.len();
    let mut on = |_| ControlFlow::Continue(());
    Ok(matches!(
        blob::check(path, etag, bytes, Check::Hash, &mut on)?,
        Verdict::Proven
    ))
}

/// Makes the folders between `root` and `path`, and remembers every folder whose names change.
fn create_parents(path: &Path, root: &Path, folders: &mut BTreeSet<PathBuf>) -> Result<()> {
    let Some(parent) = path.parent() else {
        return Ok(());
    };
    if folders.contains(parent) {
        return Ok(());
    }
    fs::create_dir_all(parent).map_err(Error::at("create", parent))?;
    folders.extend(
        parent
            .ancestors()
            .take_while(|folder| folder.starts_with(root))
            .map(Path::to_owned),
    );
    Ok(())
}

fn sync_all(folders: &BTreeSet<PathBuf>) -> Result<()> {
    // The innermost first, for systems that sync them one by one.
    let folders: Vec<&Path> = folders.iter().rev().map(PathBuf::as_path).collect();
    host::sync_dirs(&folders).map_err(|(folder, error)| Error::from_io("sync", folder, error))
}

#[cfg(test)]
#[path = "publish_tests.rs"]
mod tests;
