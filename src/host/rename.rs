//! Owns giving something a new name without ever taking that name from something else, and letting two
//! files swap theirs.
//!
//! Never copies: what cannot be renamed stays where it is.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

/// Renames `from` to `to`, unless something is there.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] if something is there.
pub fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // Network file systems and old kernels.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => slowly(from, to),
        Err(error) => Err(error.into()),
    }
}

/// Lets two files or links swap their names, in one step: at no instant is one of the names free.
///
/// # Errors
/// [`io::ErrorKind::Unsupported`] where the file system cannot; nothing has changed then.
pub fn swap(one: &Path, other: &Path) -> io::Result<()> {
    match renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(()),
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => Err(io::ErrorKind::Unsupported.into()),
        Err(error) => Err(error.into()),
    }
}

/// In two steps where the system has no such call: a file or link has both names for a moment.
fn slowly(from: &Path, to: &Path) -> io::Result<()> {
    if to.symlink_metadata().is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let kind = from.symlink_metadata()?.file_type();
    if kind.is_file() && fs::hard_link(from, to).is_ok() {
        return fs::remove_file(from);
    }
    if kind.is_symlink() {
        // Made anew: that fails where somebody has made one meanwhile.
        symlink(fs::read_link(from)?, to)?;
        return fs::remove_file(from);
    }
    // A folder cannot replace one with something in it.
    fs::rename(from, to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_names_are_swapped_whatever_they_lead_to() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "1").unwrap();
        symlink("nowhere", at("link")).unwrap();
        swap(&at("file"), &at("link")).unwrap();
        assert_eq!(fs::read(at("link")).unwrap(), b"1");
        assert_eq!(fs::read_link(at("file")).unwrap(), Path::new("nowhere"));
        let error = swap(&at("file"), &at("nothing")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(at("file").symlink_metadata().is_ok());
    }

    #[test]
    fn nothing_is_replaced() {
        for rename in [rename_new, slowly] {
            let dir = tempfile::tempdir().unwrap();
            let at = |name: &str| dir.path().join(name);
            fs::write(at("file"), "1").unwrap();
            fs::create_dir(at("folder")).unwrap();
            symlink("nowhere", at("link")).unwrap();
            for name in ["file", "folder", "link"] {
                for taken in ["file", "folder", "link"] {
                    let error = rename(&at(name), &at(taken)).unwrap_err();
                    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists, "{name} {taken}");
                }
                rename(&at(name), &at("new")).unwrap();
                assert!(at(name).symlink_metadata().is_err());
                rename(&at("new"), &at(name)).unwrap();
            }
            assert_eq!(fs::read(at("file")).unwrap(), b"1");
            let error = rename(&at("nothing"), &at("new")).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
        }
    }
}
