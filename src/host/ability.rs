//! Owns what a file system can do, found out by trying.
//!
//! Law: a probe happens inside the folder it is given and leaves nothing behind but what a process
//! that is killed in the middle leaves; whoever takes that away may take a live probe with it, so no
//! answer depends on a probe staying.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;

/// What the names of probes start with.
const PROBE: &str = "probe-";
/// Where a probe's link leads.
const NOWHERE: &str = "nothing";

/// Whether two names that differ only by letter case are one file in `dir`: asked of a name that is
/// there, if there is one.
pub fn folds_case(dir: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(dir)? {
        let Ok(name) = entry?.file_name().into_string() else {
            continue;
        };
        let other = in_other_case(&name);
        let identity = |name: &str| {
            let found = dir.join(name).symlink_metadata().ok()?;
            Some((found.dev(), found.ino()))
        };
        if other != name
            && let Some(found) = identity(&name)
        {
            let is_other = identity(&other) == Some(found);
            // One that has gone meanwhile says nothing.
            if is_other || identity(&name) == Some(found) {
                return Ok(is_other);
            }
        }
    }
    loop {
        let probe = tempfile::Builder::new()
            .prefix("probe-a")
            .rand_bytes(8)
            .tempfile_in(dir)?;
        if let Some(folds) = folds_case_of(probe.path()) {
            return Ok(folds);
        }
    }
}

fn in_other_case(name: &str) -> String {
    let other = |c: char| {
        if c.is_ascii_lowercase() {
            c.to_ascii_uppercase()
        } else {
            c.to_ascii_lowercase()
        }
    };
    name.chars().map(other).collect()
}

/// Whether the file has its name in other letters as well; `None` if it has been taken away.
fn folds_case_of(probe: &Path) -> Option<bool> {
    let name = probe.file_name().unwrap_or_default();
    // The random part may itself hold capitals; the prefix alone must tell.
    let other = name.to_string_lossy().replacen("probe-a", "probe-A", 1);
    let folds = probe.with_file_name(other).symlink_metadata().is_ok();
    // It was there all the time, or the answer says nothing.
    (folds || probe.symlink_metadata().is_ok()).then_some(folds)
}

/// Whether a symbolic link can be made in `dir`.
///
/// `Ok(false)` only where the file system says that it has none; no space or no right to write is
/// an error, never a reason to copy models.
pub fn supports_symlinks(dir: &Path) -> io::Result<bool> {
    let probe = dir.join(format!("{PROBE}{:08x}", fastrand::u32(..)));
    match symlink(NOWHERE, &probe) {
        Ok(()) => match fs::remove_file(&probe) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(true),
        },
        // Linux answers EPERM on file systems without links (vfat, exFAT) and macOS ENOTSUP. EPERM
        // may also be a sandbox's no, but then a file cannot be made either.
        Err(error) if is_no_links(&error) => tempfile::tempfile_in(dir).map(|_| false),
        Err(error) => Err(error),
    }
}

/// Whether it is a probe: one that stays belongs to a process that was killed.
pub fn is_probe(path: &Path) -> bool {
    let is_named = path
        .file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with(PROBE));
    is_named
        && path.symlink_metadata().is_ok_and(|found| {
            let leads_nowhere = || fs::read_link(path).is_ok_and(|to| to == Path::new(NOWHERE));
            (found.is_file() && found.len() == 0) || (found.is_symlink() && leads_nowhere())
        })
}

fn is_no_links(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported
        || matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOTSUP))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_leave_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        assert!(supports_symlinks(dir.path()).unwrap());
        // Both answers are right somewhere; that the folder is empty afterwards is right everywhere.
        let is_folded = folds_case(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        // A name that is there says the same, and no other is made.
        fs::write(dir.path().join("1"), "").unwrap();
        fs::write(dir.path().join("Name"), "").unwrap();
        assert_eq!(folds_case(dir.path()).unwrap(), is_folded);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        if !is_folded {
            fs::write(dir.path().join("nAME"), "another").unwrap();
            assert!(!folds_case(dir.path()).unwrap());
        }
    }

    #[test]
    fn no_answer_depends_on_a_probe_staying() {
        let dir = tempfile::tempdir().unwrap();
        let probe = dir.path().join("probe-aXXXXXXXX");
        fs::write(&probe, "").unwrap();
        assert_eq!(
            folds_case_of(&probe).unwrap(),
            folds_case(dir.path()).unwrap()
        );
        assert!(is_probe(&probe));
        fs::remove_file(&probe).unwrap();
        assert_eq!(folds_case_of(&probe), None);
    }

    #[test]
    fn a_missing_folder_is_an_error_and_not_a_no() {
        let dir = tempfile::tempdir().unwrap();
        assert!(supports_symlinks(&dir.path().join("gone")).is_err());
        assert!(folds_case(&dir.path().join("gone")).is_err());
    }

    #[test]
    fn only_a_file_system_without_links_answers_no() {
        let error = io::Error::from_raw_os_error;
        assert!(is_no_links(&error(libc::EPERM)));
        assert!(is_no_links(&error(libc::ENOTSUP)));
        assert!(!is_no_links(&error(libc::EACCES)));
        assert!(!is_no_links(&error(libc::ENOSPC)));
    }
}
