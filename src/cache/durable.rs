//! Owns making files: new ones with the mode the umask gives, small ones that appear whole.
//!
//! Law: a reader sees the old content or the new one, also after a power cut. Scratch files are
//! flocked while they are written, so that a sweep can tell a dead one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Error, Result, lock};
use crate::host;

/// How often a race with another program is run again before giving up.
pub(super) const MAX_RACES: usize = 16;

/// The ending of scratch files, which [`sweep_staging`](super::sweep_staging) removes.
pub(super) const SCRATCH_ENDING: &str = ".tmp";

/// A new file for reading and writing with mode 0666 less the umask; fails if the name is taken.
pub(super) fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
}

/// Creates a file under the first free name that `name` makes of a random number, flocked as
/// "live" where the file system can.
pub(super) fn create_unique(name: impl Fn(u32) -> PathBuf) -> Result<(PathBuf, File)> {
    let mut path = name(fastrand::u32(..));
    for _ in 0..MAX_RACES {
        match create_new(&path) {
            Ok(file) => {
                // Who locked a name this new is a sweep that is about to remove it.
                if !matches!(lock::ask(&file), Err(fs::TryLockError::WouldBlock))
                    && is_same_file(&file, &path)
                {
                    return Ok((path, file));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Error::from_io("create", &path, error)),
        }
        path = name(fastrand::u32(..));
    }
    Err(Error::Unsteady { path })
}

/// Whether the name still leads to the open file itself.
pub(super) fn is_same_file(file: &File, path: &Path) -> bool {
    match (file.metadata(), path.symlink_metadata()) {
        (Ok(open), Ok(named)) => {
            (open.dev(), open.ino()) == (named.dev(), named.ino()) && open.nlink() > 0
        }
        _ => false,
    }
}

/// A new scratch file in `folder`.
pub(super) fn scratch(folder: &Path) -> Result<(PathBuf, File)> {
    create_unique(|number| folder.join(format!("{number:08x}{SCRATCH_ENDING}")))
}

/// Gives `target` the content `bytes`: written and synced in `scratch_dir`, then renamed.
pub(super) fn write_whole(scratch_dir: &Path, target: &Path, bytes: &[u8]) -> Result<()> {
    let (temp, mut file) = scratch(scratch_dir)?;
    let written = file
        .write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(Error::at("write", target))
        .and_then(|()| fs::rename(&temp, target).map_err(Error::at("replace", target)));
    if written.is_err() {
        // The first error is the one to tell; a leftover is swept later.
        drop(fs::remove_file(&temp));
    }
    written?;
    match target.parent() {
        Some(parent) => host::sync_dir(parent).map_err(Error::at("sync", parent)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::fixture;

    #[test]
    fn content_is_replaced_whole_and_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("target");
        for content in ["first", "2"] {
            write_whole(dir.path(), &target, content.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&target).unwrap(), content);
        }
        fs::create_dir(dir.path().join("folder")).unwrap();
        assert!(write_whole(dir.path(), &dir.path().join("folder"), b"x").is_err());
        assert_eq!(fixture::names(dir.path()), ["folder", "target"]);
    }

    #[test]
    fn a_replaced_or_removed_file_is_not_the_open_one() {
        let dir = tempfile::tempdir().unwrap();
        let (path, file) = scratch(dir.path()).unwrap();
        assert!(is_same_file(&file, &path));
        let copy = dir.path().join("copy");
        fs::write(&copy, "").unwrap();
        fs::rename(&copy, &path).unwrap();
        assert!(!is_same_file(&file, &path));
        fs::remove_file(&path).unwrap();
        assert!(!is_same_file(&file, &path));
    }
}
