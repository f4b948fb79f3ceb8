//! Owns what the links of a cache lead through: every step from a pointer to its content, in this
//! repo and in others.
//!
//! **Law**: a chain that cannot be read is an error and never taken for one that leads nowhere.
//! Changes nothing.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::super::{Error, Layout, Result, repos};
use super::back::plain;
use super::goes::{entries, leaves};
use crate::domain::RepoId;

/// The system follows no more links than that.
const MOST_STEPS: usize = 40;

/// The links of a cache, read step by step.
#[derive(Debug, Default)]
pub(super) struct Chains {
    root: PathBuf,
    /// Folders as they are without links on the way.
    real: HashMap<PathBuf, PathBuf>,
}

impl Chains {
    pub(super) fn of(layout: &Layout) -> Self {
        let root = layout.root();
        Self {
            root: fs::canonicalize(root).unwrap_or_else(|_| root.to_owned()),
            real: HashMap::new(),
        }
    }

    /// A path whose folders are no links; its last part may be one.
    pub(super) fn place(&mut self, path: &Path) -> Result<PathBuf> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return self.folder(path);
        };
        Ok(self.folder(parent)?.join(name))
    }

    /// A folder without links on the way.
    pub(super) fn folder(&mut self, path: &Path) -> Result<PathBuf> {
        if let Some(known) = self.real.get(path) {
            return Ok(known.clone());
        }
        let real = match fs::canonicalize(path) {
            Ok(real) => real,
            Err(error) if leads_nowhere(&error) => plain(path),
            Err(error) => return Err(Error::from_io("look at", path, error)),
        };
        self.real.insert(path.to_owned(), real.clone());
        Ok(real)
    }

    /// The link itself and everything that it leads through, the last being what has the content.
    pub(super) fn steps(&mut self, link: &Path) -> Result<Vec<PathBuf>> {
        let mut at = self.place(link)?;
        let mut steps = vec![at.clone()];
        loop {
            let found = match at.symlink_metadata() {
                Ok(found) => found,
                Err(error) if leads_nowhere(&error) => return Ok(steps),
                Err(error) => return Err(Error::from_io("look at", &at, error)),
            };
            if found.is_dir() && !self.is_of_snapshots(&at) {
                let error = io::Error::other("it leads to a folder that is no part of a snapshot");
                return Err(Error::from_io("follow", link, error));
            }
            if !found.is_symlink() || steps.len() > MOST_STEPS {
                return Ok(steps);
            }
            let target = fs::read_link(&at).map_err(Error::at("read the link", &at))?;
            at = self.place(&at.parent().unwrap_or(&at).join(target))?;
            steps.push(at.clone());
        }
    }

    /// Whether a folder's links are looked at on their own.
    fn is_of_snapshots(&self, folder: &Path) -> bool {
        let below = folder.strip_prefix(&self.root);
        below.is_ok_and(|below| below.components().nth(1).is_some_and(is_snapshots))
    }

    /// Every link below a folder, with its steps.
    pub(super) fn below(&mut self, folder: &Path) -> Result<Vec<(PathBuf, Vec<PathBuf>)>> {
        let mut found = Vec::new();
        for path in leaves(folder)? {
            let seen = path
                .symlink_metadata()
                .map_err(Error::at("look at", &path))?;
            if seen.is_symlink() {
                let steps = self.steps(&path)?;
                found.push((path, steps));
            }
        }
        Ok(found)
    }

    /// The steps of every link in the snapshots of all other repos, with whose they are.
    pub(super) fn of_others(
        &mut self,
        layout: &Layout,
        repo: &RepoId,
    ) -> Result<Vec<(RepoId, Vec<PathBuf>)>> {
        let mut found = Vec::new();
        for other in repos(layout)?.into_iter().filter(|other| other != repo) {
            let snapshots = layout.snapshots(&other);
            if snapshots
                .symlink_metadata()
                .is_err_and(|error| leads_nowhere(&error))
            {
                continue;
            }
            // The folder may be another repo's by a link.
            found.push((other.clone(), vec![self.folder(&snapshots)?]));
            for snapshot in entries(&snapshots)? {
                let steps = self.below(&snapshot)?.into_iter();
                found.extend(steps.map(|(_, steps)| (other.clone(), steps)));
            }
        }
        Ok(found)
    }
}

fn is_snapshots(part: std::path::Component<'_>) -> bool {
    part.as_os_str() == OsStr::new("snapshots")
}

/// Whether nothing can be reached there by anyone.
fn leads_nowhere(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    ) || error.raw_os_error() == Some(Errno::LOOP.raw_os_error())
}
