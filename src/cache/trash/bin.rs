//! Owns where a trash lies: a folder that larder owns and marks, on the volume of the cache.
//!
//! **Law**: never directly in the cache, where every other tool's scan would warn; never in a folder
//! of somebody else's; one larder at a time works in it.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::super::lock::{self, Hold, Origin};
use super::super::partials::distance;
use super::super::sight::is_own_folder;
use super::super::staging::is_number;
use super::super::{Error, Layout, Result, durable};
use super::goes::entries;
use crate::domain::{DiscardKind, RepoId};
use crate::host;

/// Beside the cache, and among its locks.
const NAME: &str = ".larder-trash";
/// By which the folder is known. Backup tools know the first line, and leave it out.
const MARK: &str = "CACHEDIR.TAG";
const MARK_TEXT: &str = "Signature: 8a477f597d28d172789f06886806bc55
# This folder is larder's trash: what `larder purge` took out of a cache.
# `larder trash ls` shows it, `larder trash restore ID` puts something back.
# Each folder in it tells in its manifest.json where its content was.
";
/// Whoever makes the folder is done long before.
const DEAD: Duration = Duration::from_mins(5);
/// Held by whoever works in it.
const LOCK: &str = ".lock";

/// A folder for what a purge takes away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bin {
    folder: PathBuf,
}

impl Bin {
    /// Where what goes of a repo is put; `None` if there is no place for it but to be freed.
    pub fn for_discard(layout: &Layout, repo: &RepoId, kind: DiscardKind) -> Option<Self> {
        let beside = Self::beside(layout.root()).filter(|bin| bin.is_usable(&layout.repo(repo)));
        // A folder inside the repo would move with it.
        beside.or_else(|| (kind != DiscardKind::Repo).then(|| Self::inside(layout, repo)))
    }

    /// Where what is to be freed is put for a moment, so that it goes in one step.
    pub(super) fn for_freeing(layout: &Layout, repo: &RepoId, kind: DiscardKind) -> Self {
        Self::for_discard(layout, repo, kind).unwrap_or_else(|| Self::among_locks(layout))
    }

    /// Every trash that there may be of a cache: of these repos, too.
    pub fn all(layout: &Layout, repos: &[RepoId]) -> Vec<Self> {
        let mut bins: Vec<Self> = Self::beside(layout.root()).into_iter().collect();
        bins.push(Self::among_locks(layout));
        bins.extend(repos.iter().map(|repo| Self::inside(layout, repo)));
        bins.retain(Self::is_there);
        bins
    }

    fn beside(root: &Path) -> Option<Self> {
        let folder = root.parent()?.join(NAME);
        Some(Self { folder })
    }

    fn among_locks(layout: &Layout) -> Self {
        Self {
            folder: layout.locks().join(NAME),
        }
    }

    /// In larder's own folder of a repo, which no tool reads.
    pub(super) fn inside(layout: &Layout, repo: &RepoId) -> Self {
        Self {
            folder: layout.larder_dir(repo).join("trash"),
        }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether something can be moved there: it is larder's or can be made, and on the same volume.
    fn is_usable(&self, from: &Path) -> bool {
        let Some(parent) = self.folder.parent() else {
            return false;
        };
        let nearest = if self.folder.symlink_metadata().is_ok() {
            if !self.is_there() {
                return false;
            }
            self.folder.as_path()
        } else {
            parent
        };
        let device = |path: &Path| path.symlink_metadata().map(|found| found.dev()).ok();
        let may_write = rustix::fs::access(
            nearest,
            rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK,
        )
        .is_ok();
        may_write && device(nearest).is_some() && device(nearest) == device(from)
    }

    /// Whether the folder is there, larder's, and this user's.
    fn is_there(&self) -> bool {
        let is_ours = self
            .folder
            .symlink_metadata()
            .is_ok_and(|found| found.is_dir() && host::is_ours(&found));
        is_ours && fs::read(self.folder.join(MARK)).is_ok_and(|text| text == MARK_TEXT.as_bytes())
    }

    /// Takes it for one who only looks: nothing is made. `None` if it is not there.
    pub(super) fn entries(&self) -> Vec<PathBuf> {
        if !self.is_there() {
            return Vec::new();
        }
        let found = entries(&self.folder).unwrap_or_default();
        found
            .into_iter()
            .filter(|path| is_own_folder(path))
            .collect()
    }

    /// Whether a larder works in it.
    pub(super) fn is_in_use(&self) -> bool {
        matches!(
            lock::look_at_mark(&self.folder.join(LOCK)),
            lock::Look::Held(_)
        )
    }

    /// Makes the folder if it is not there, and takes it; `None` if another larder has it.
    pub(super) fn take(&self) -> Result<Option<Taken>> {
        if !self.is_there() {
            self.make()?;
        }
        let path = self.folder.join(LOCK);
        match lock::hold(&path, Origin::Create)? {
            Hold::Held(file) => Ok(Some(Taken {
                bin: self.clone(),
                lock: Some(file),
            })),
            // Whose process lives is left alone then; see `entry`.
            Hold::NoFlock => Ok(Some(Taken {
                bin: self.clone(),
                lock: None,
            })),
            Hold::Busy | Hold::Absent => Ok(None),
        }
    }

    /// The folder appears with its mark in it, so that nobody takes a half-made one for another's.
    fn make(&self) -> Result<()> {
        let folder = &self.folder;
        let parent = folder.parent().unwrap_or(folder);
        fs::create_dir_all(parent).map_err(Error::at("create", parent))?;
        let made = parent.join(format!("{NAME}.{:08x}.new", fastrand::u32(..)));
        let build = || -> std::io::Result<()> {
            DirBuilder::new().mode(0o700).create(&made)?;
            let mut mark = durable::create_new(&made.join(MARK))?;
            mark.write_all(MARK_TEXT.as_bytes())?;
            mark.sync_all()?;
            host::sync_dir(&made)?;
            // An empty folder of that name is what a power cut may leave; anything else stays.
            fs::rename(&made, folder)?;
            host::sync_dir(parent)
        };
        build().or_else(|error| {
            drop(fs::remove_dir_all(&made));
            // Another larder was faster.
            if self.is_there() {
                return Ok(());
            }
            Err(Error::from_io("make the trash", folder, error))
        })
    }

    /// Takes away what a larder left that died while it made the folder.
    pub(super) fn sweep(&self, now: SystemTime) {
        let start = format!("{NAME}.");
        let parent = self.folder.parent().unwrap_or(&self.folder);
        for path in entries(parent).unwrap_or_default() {
            let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
            let number = name
                .strip_prefix(&start)
                .and_then(|rest| rest.strip_suffix(".new"));
            let is_dead = path.symlink_metadata().is_ok_and(|found| {
                let changed = found.modified().unwrap_or(now);
                found.is_dir() && host::is_ours(&found) && distance(now, changed) >= DEAD
            });
            if number.is_some_and(is_number) && is_dead {
                // It holds a mark at most.
                drop(fs::remove_file(path.join(MARK)));
                drop(fs::remove_dir(&path));
            }
        }
    }
}

/// A trash that is this process's for as long as this lives.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) bin: Bin,
    lock: Option<File>,
}

impl Taken {
    /// Whether another larder is really kept out.
    pub(super) const fn is_backed_by_flock(&self) -> bool {
        self.lock.is_some()
    }
}
