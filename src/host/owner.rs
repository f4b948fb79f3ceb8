//! Owns whose a file is, in words, and making a folder's entries durable.
//!
//! Never changes an owner or a mode.

use std::fmt::Write as _;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Owner and mode of `path` for a message, e.g. `owned by root, mode 0644`; `None` if unknown.
pub fn describe_owner(path: &Path) -> Option<String> {
    let metadata = path.metadata().ok()?;
    let mut words = String::from("owned by ");
    match user_name(metadata.uid()) {
        Some(name) => words.push_str(&name),
        // Writing to a String cannot fail.
        None => drop(write!(words, "user {}", metadata.uid())),
    }
    let _ = write!(words, ", mode {:04o}", metadata.mode() & 0o7777);
    Some(words)
}

/// Whether the file belongs to the user larder runs as.
pub fn is_ours(metadata: &Metadata) -> bool {
    metadata.uid() == rustix::process::geteuid().as_raw()
}

/// Makes the names in `dir` survive a power cut.
///
/// File systems that cannot sync a folder (some network mounts) are left to their own order.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    or_cannot(File::open(dir)?.sync_all())
}

/// [`sync_dir`] of several folders of one file system, at once where the system can.
///
/// # Errors
/// With the first folder that could not be synced.
pub fn sync_dirs<'a>(dirs: &[&'a Path]) -> Result<(), (&'a Path, io::Error)> {
    // A system that allows few open files allows these.
    for dirs in dirs.chunks(16) {
        let opened: Vec<File> = dirs
            .iter()
            .map(|dir| File::open(dir).map_err(|error| (*dir, error)))
            .collect::<Result<_, _>>()?;
        let results = super::sync_files(&opened.iter().collect::<Vec<_>>());
        for (dir, result) in dirs.iter().zip(results) {
            or_cannot(result).map_err(|error| (*dir, error))?;
        }
    }
    Ok(())
}

fn or_cannot(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error)
            if error.kind() == io::ErrorKind::Unsupported
                || error.raw_os_error() == Some(libc::EINVAL) =>
        {
            Ok(())
        }
        result => result,
    }
}

/// The local account of that id; accounts of a directory service stay a number.
fn user_name(uid: u32) -> Option<String> {
    let accounts = std::fs::read_to_string("/etc/passwd").ok()?;
    accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn owner_and_mode_are_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file()
            .set_permissions(std::fs::Permissions::from_mode(0o640))
            .unwrap();
        let words = describe_owner(file.path()).unwrap();
        assert!(words.starts_with("owned by "), "{words}");
        assert!(words.ends_with(", mode 0640"), "{words}");
        assert!(is_ours(&file.as_file().metadata().unwrap()));
        assert_eq!(describe_owner(Path::new("/no/such/file")), None);
    }

    #[test]
    fn a_folder_can_be_synced_and_a_missing_one_cannot() {
        let dir = tempfile::tempdir().unwrap();
        sync_dir(dir.path()).unwrap();
        let gone = dir.path().join("gone");
        assert!(sync_dir(&gone).is_err());
        let mut many = vec![dir.path(); 5];
        assert!(sync_dirs(&many).is_ok());
        many.push(&gone);
        assert_eq!(sync_dirs(&many).unwrap_err().0, gone);
    }
}
