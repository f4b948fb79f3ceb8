//! Owns moving things between a cache and its trash: renames only, and never onto anything.
//!
//! **Law**: a byte is never copied, so a time of change, a mode and an inode are what they were.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::super::{Error, Result};
use crate::host;

// What stops a move in a test, as a kill would.
#[cfg(test)]
thread_local! {
    pub(super) static MOVES_LEFT: std::cell::Cell<Option<usize>> = const { std::cell::Cell::new(None) };
}

/// Whether the process is dead, as a test has it.
#[cfg(test)]
pub(super) fn is_dead() -> bool {
    MOVES_LEFT.get() == Some(0)
}

/// Whether the process is dead: then this is not asked.
#[cfg(not(test))]
pub(super) const fn is_dead() -> bool {
    false
}

/// One step of a test's life; whether it was the last.
#[cfg(test)]
fn dies() -> bool {
    let left = MOVES_LEFT.get();
    MOVES_LEFT.set(left.map(|left| left.saturating_sub(1)));
    left == Some(0)
}

/// Only tests die on purpose.
#[cfg(not(test))]
const fn dies() -> bool {
    false
}

/// A step that is not taken because the process is dead.
fn live(action: &'static str, path: &Path) -> Result<()> {
    if dies() {
        let error = io::Error::from(io::ErrorKind::Interrupted);
        return Err(Error::from_io(action, path, error));
    }
    Ok(())
}

/// Moves `from` to `to`, whose folders are made; `false` if there is nothing to move.
///
/// # Errors
/// Also if something has the new name: nothing is replaced.
pub(super) fn rename_new(from: &Path, to: &Path) -> Result<bool> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).map_err(Error::at("create", parent))?;
    }
    live("move", from)?;
    match host::rename_new(from, to) {
        Ok(()) => Ok(true),
        Err(error)
            if error.kind() == io::ErrorKind::NotFound && from.symlink_metadata().is_err() =>
        {
            Ok(false)
        }
        Err(error) => Err(Error::from_io("move", from, error)),
    }
}

/// Gives an entry of the trash the name of its next state.
pub(super) fn rename_entry(from: &Path, to: &Path) -> Result<()> {
    live("rename", from)?;
    fs::rename(from, to).map_err(Error::at("rename", from))?;
    let folder = to.parent().unwrap_or(to);
    host::sync_dir(folder).map_err(Error::at("sync", folder))
}

/// Takes an entry away, and everything in it; links are not followed.
pub(super) fn remove_entry(path: &Path) -> Result<()> {
    live("remove", path)?;
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Error::from_io("remove", path, error));
        }
        _ => {}
    }
    let folder = path.parent().unwrap_or(path);
    host::sync_dir(folder).map_err(Error::at("sync", folder))
}

/// Folders whose names have changed: what comes next must not be durable before they are.
#[derive(Debug, Default)]
pub(super) struct Dirty(BTreeSet<PathBuf>);

impl Dirty {
    /// Remembers the folders of a move.
    pub(super) fn moved(&mut self, from: &Path, to: &Path) {
        let folders = [from, to].into_iter().filter_map(Path::parent);
        self.0.extend(folders.map(Path::to_owned));
    }

    /// Makes them durable.
    pub(super) fn sync(&mut self) -> Result<()> {
        for folder in std::mem::take(&mut self.0) {
            match host::sync_dir(&folder) {
                // It has been moved itself.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                synced => synced.map_err(Error::at("sync", &folder))?,
            }
        }
        Ok(())
    }
}
