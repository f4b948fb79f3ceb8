//! Owns making a file that takes the place of another as that one was: whose it is, who may read it,
//! and what it has beside its bytes.
//!
//! **Law**: where that cannot be had, the old one stays; nobody loses a right, or gets one, by a repair.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::path::Path;

use crate::host;

/// Gives a new file that has the scratch name `at` owner, group and mode of the old one.
///
/// # Errors
/// Why it cannot be as the old one was.
pub(super) fn take_after(
    file: &File,
    at: &Path,
    (path, old): (&Path, &Metadata),
) -> io::Result<()> {
    let made = file.metadata()?;
    let owner = (made.uid() != old.uid()).then_some(old.uid());
    let group = (made.gid() != old.gid()).then_some(old.gid());
    if owner.is_some() || group.is_some() {
        fchown(file, owner, group).map_err(|error| {
            let whose = match owner {
                Some(owner) => format!("user {owner}"),
                None => format!("group {}", old.gid()),
            };
            io::Error::new(
                error.kind(),
                format!("it belongs to {whose}, to whom no other file can be given: {error}"),
            )
        })?;
    }
    host::shed_attributes(at, path);
    file.set_permissions(old.permissions())?;
    require_alike(at, path)
}

/// Refuses two files of which one has beside its bytes what the other has not.
///
/// # Errors
/// What that is, or that the system does not say.
pub(super) fn require_alike(new: &Path, old: &Path) -> io::Result<()> {
    match host::unlike(new, old)? {
        None => Ok(()),
        Some(what) => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("{what} would be lost or changed; take it from the file if nobody needs it"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::cache::durable::scratch;

    #[test]
    #[expect(
        clippy::print_stderr,
        reason = "what is not tested here is said to whoever runs the tests"
    )]
    fn who_could_read_the_old_one_can_read_the_new_one_and_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let old = dir.path().join("old");
        fs::write(&old, "old").unwrap();
        fs::set_permissions(&old, Permissions::from_mode(0o440)).unwrap();
        // Only root can give a file to a group that it is not in.
        let is_given = std::os::unix::fs::chown(&old, None, Some(54_321)).is_ok();
        if !is_given {
            eprintln!("not tested: a group of its own, which only root can give a file to");
        }
        let found = old.metadata().unwrap();
        let (at, file) = scratch(dir.path()).unwrap();
        take_after(&file, &at, (&old, &found)).unwrap();
        let made = at.metadata().unwrap();
        assert_eq!(
            (made.uid(), made.gid(), made.mode()),
            (found.uid(), found.gid(), found.mode())
        );
        let tag = |path: &Path| {
            let flags = rustix::fs::XattrFlags::empty();
            rustix::fs::lsetxattr(path, "user.tag", b"mine", flags)
        };
        if tag(&old).is_err() {
            eprintln!("not tested: attributes, which the file system of the tests has none of");
            return;
        }
        let why = take_after(&file, &at, (&old, &found)).unwrap_err();
        assert!(why.to_string().contains("`user.tag`"), "{why}");
        tag(&at).unwrap();
        take_after(&file, &at, (&old, &found)).unwrap();
    }
}
