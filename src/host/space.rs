//! Owns how much room there is, and whether the volume is there at all.
//!
//! Never creates anything. fs2 is used for free space only and always by its full name: its lock
//! methods share names with std's.

use std::io;
use std::path::{Component, Path, PathBuf};

use crate::domain::Disk;

/// Bytes that an unprivileged user may still write where `path` is or would be created.
pub fn free_space(path: &Path) -> io::Result<u64> {
    fs2::available_space(nearest_existing(path)?)
}

/// Room on the file system where `path` is or would be created.
pub fn disk(path: &Path) -> io::Result<Disk> {
    let room = fs2::statvfs(nearest_existing(path)?)?;
    Ok(Disk {
        free_bytes: room.available_space(),
        total_bytes: room.total_space(),
    })
}

/// Why nobody can tell from the file system when files were last read; `None` if it notes that down.
#[cfg(target_os = "linux")]
pub fn access_unknown(path: &Path) -> Option<&'static str> {
    let nearest = nearest_existing(path).ok()?;
    let mount = rustix::fs::statvfs(nearest.as_path()).ok()?;
    mount
        .f_flag
        .contains(rustix::fs::StatVfsMountFlags::NOATIME)
        .then_some("this file system is mounted so that reading leaves no trace (`noatime`)")
}

/// Why nobody can tell from the file system when files were last read; `None` if it notes that down.
#[cfg(not(target_os = "linux"))]
pub fn access_unknown(path: &Path) -> Option<&'static str> {
    let nearest = nearest_existing(path).ok();
    let mount = nearest.and_then(|path| rustix::fs::statfs(path.as_path()).ok());
    apple_access_unknown(mount.map(|mount| mount.f_flags))
}

/// A Mac notes down only the first reading after a change, so a model that is read every day looks as
/// if it had been read once; unless the volume is mounted with `strictatime`.
#[cfg(any(test, not(target_os = "linux")))]
fn apple_access_unknown(mount_flags: Option<u32>) -> Option<&'static str> {
    /// `MNT_STRICTATIME` of sys/mount.h.
    const STRICT: u32 = 0x8000_0000;
    let is_strict = mount_flags.is_some_and(|flags| flags & STRICT != 0);
    (!is_strict).then_some(
        "on this volume only the first reading of a file leaves a trace; mounted with \
         `strictatime`, each does",
    )
}

/// How many files this process may have open at once; `None` means no limit.
pub fn open_files_limit() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

/// `path` itself, or the nearest folder above it that exists.
pub fn nearest_existing(path: &Path) -> io::Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    for candidate in absolute.ancestors() {
        match candidate.metadata() {
            Ok(_) => return Ok(candidate.to_owned()),
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::from(io::ErrorKind::NotFound))
}

/// The mount point that is missing, if `path` lies below a folder of mount points and its first
/// missing component is directly below that folder: the volume is unplugged (hub.md case 41).
pub fn absent_mount(path: &Path) -> Option<PathBuf> {
    let absolute = std::path::absolute(path).ok()?;
    let depth = mount_depth(&absolute)?;
    let mount: PathBuf = absolute.components().take(depth + 1).collect();
    // The path must lead past the place of mount points for one to be missing.
    (mount.components().count() == depth + 1
        && matches!(mount.symlink_metadata(), Err(error) if is_absent(&error)))
    .then_some(mount)
}

/// How many components (with the root) come before the mount point's own name.
fn mount_depth(absolute: &Path) -> Option<usize> {
    let mut names = absolute.components().filter_map(|part| match part {
        Component::Normal(name) => name.to_str(),
        _ => None,
    });
    match (names.next()?, names.next()) {
        ("Volumes" | "mnt" | "media", Some(_)) => Some(2),
        // /run/media/<user>/<volume>
        ("run", Some("media")) => Some(4),
        _ => None,
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_space_is_asked_of_the_nearest_folder_that_exists() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");
        assert!(free_space(&deep).unwrap() > 0);
        assert_eq!(nearest_existing(&deep).unwrap(), dir.path());
        let disk = disk(&deep).unwrap();
        assert!(disk.free_bytes > 0 && disk.free_bytes <= disk.total_bytes);
        assert!(!dir.path().join("a").exists());
    }

    #[test]
    fn on_a_mac_only_a_strict_volume_tells_when_files_were_read() {
        // What `statfs` says of a volume as macOS mounts it: local, journaled, multilabel.
        assert!(apple_access_unknown(Some(0x0480_1000)).is_some());
        assert!(apple_access_unknown(None).is_some());
        assert!(apple_access_unknown(Some(0x8480_1000)).is_none());
    }

    #[test]
    fn the_limit_of_open_files_is_a_number_or_none() {
        assert!(open_files_limit().is_none_or(|limit| limit > 10));
    }

    #[test]
    fn only_a_missing_volume_is_an_absent_mount() {
        let absent = |path: &str| absent_mount(Path::new(path));
        let volume = "/mnt/larder-no-such-volume";
        assert_eq!(
            absent("/mnt/larder-no-such-volume/hub/x"),
            Some(PathBuf::from(volume))
        );
        assert_eq!(
            absent("/Volumes/larder-no-such-volume"),
            Some(PathBuf::from("/Volumes/larder-no-such-volume"))
        );
        assert_eq!(
            absent("/run/media/someone/larder-stick/hub"),
            Some(PathBuf::from("/run/media/someone/larder-stick"))
        );
        assert_eq!(absent("/mnt"), None);
        assert_eq!(absent("/no-such-folder/hub"), None);
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(absent_mount(&dir.path().join("hub")), None);
    }
}
