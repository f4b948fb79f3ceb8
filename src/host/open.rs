//! Owns opening a file to look at it without leaving a trace: the time of its last access says when
//! a model was last used, and a look is no use.
//!
//! Never writes.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Flags beyond reading: no wait for the writer of a pipe.
const QUIET: i32 = libc::O_NONBLOCK;

/// Opens for reading, through links; the time of the last access stays as it is where the system
/// allows that.
pub fn open_quietly(path: &Path) -> io::Result<File> {
    open(path, QUIET)
}

/// [`open_quietly`] that fails if `path` itself is a link.
pub fn open_itself(path: &Path) -> io::Result<File> {
    open(path, QUIET | libc::O_NOFOLLOW)
}

/// Opens a folder for listing it.
pub(super) fn open_folder(path: &Path) -> io::Result<File> {
    open(path, QUIET | libc::O_DIRECTORY)
}

#[cfg(target_os = "linux")]
fn open(path: &Path, flags: i32) -> io::Result<File> {
    match open_with(path, flags | libc::O_NOATIME) {
        // Only the owner may keep the time.
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => open_with(path, flags),
        opened => opened,
    }
}

/// macOS has no flag that keeps the time of the last access.
#[cfg(not(target_os = "linux"))]
fn open(path: &Path, flags: i32) -> io::Result<File> {
    open_with(path, flags)
}

fn open_with(path: &Path, flags: i32) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn a_look_is_no_use() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "content").unwrap();
        let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000);
        let times = std::fs::FileTimes::new().set_accessed(old);
        file.as_file().set_times(times).unwrap();
        let mut text = String::new();
        open_quietly(file.path())
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "content");
        let link = file.path().with_extension("link");
        std::os::unix::fs::symlink(file.path(), &link).unwrap();
        assert!(open_quietly(&link).is_ok() && open_itself(&link).is_err());
        std::fs::remove_file(&link).unwrap();
        #[cfg(target_os = "linux")]
        assert_eq!(file.path().metadata().unwrap().accessed().unwrap(), old);
    }
}
