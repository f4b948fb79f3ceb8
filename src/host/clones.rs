//! Owns whether files lie on the same blocks of a disk: whether a file system can do that at all, and
//! whether two files do.
//!
//! Never writes, and reads no content.

use std::fs::{File, Metadata};
use std::path::Path;

use super::{nearest_existing, open_itself};

/// Whether the file system of a path can let two files share their blocks, and tells which do. Some
/// can and do not tell: to share there would be done, and found undone, for ever.
pub fn can_share_blocks(path: &Path) -> bool {
    nearest_existing(path)
        .ok()
        .and_then(|place| rustix::fs::statfs(&place).ok())
        .is_some_and(|system| is_sharing_kind(&system))
}

/// The magic numbers of Linux (`linux/magic.h` and the file systems' own sources).
#[cfg(target_os = "linux")]
fn is_sharing_kind(system: &rustix::fs::StatFs) -> bool {
    const BTRFS: u64 = 0x9123_683E;
    const XFS: u64 = 0x5846_5342;
    const BCACHEFS: u64 = 0xCA45_1A4E;
    // The field is signed on some machines; a magic number is its low 32 bits.
    let kind = u64::try_from(i128::from(system.f_type) & 0xFFFF_FFFF).unwrap_or(0);
    matches!(kind, BTRFS | XFS | BCACHEFS)
}

/// Of Apple's file systems only APFS can.
#[cfg(target_vendor = "apple")]
fn is_sharing_kind(system: &rustix::fs::StatFs) -> bool {
    let name = system.f_fstypename.iter().map(|c| c.cast_unsigned());
    name.take_while(|byte| *byte != 0).eq(*b"apfs")
}

/// Elsewhere nobody says.
#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
const fn is_sharing_kind(_system: &rustix::fs::StatFs) -> bool {
    false
}

/// Whether a file may not be changed whatever its mode says, as the Finder locks it: a clone would have
/// that flag as well.
#[cfg(target_os = "macos")]
pub fn is_locked(found: &Metadata) -> bool {
    use std::os::macos::fs::MetadataExt as _;

    let flags = libc::UF_IMMUTABLE | libc::UF_APPEND | libc::SF_IMMUTABLE | libc::SF_APPEND;
    found.st_flags() & flags != 0
}

/// Elsewhere a clone is a new file, which has no such flag.
#[cfg(not(target_os = "macos"))]
pub const fn is_locked(_found: &Metadata) -> bool {
    false
}

/// Whether the first and the last byte of two files of one length lie in the same place of the disk;
/// `false` where that cannot be told.
pub fn share_blocks(one: &Path, other: &Path) -> bool {
    let open = |path: &Path| {
        let file = open_itself(path).ok()?;
        let bytes = file.metadata().ok()?.len();
        Some((file, bytes))
    };
    let (Some((one, bytes)), Some((other, length))) = (open(one), open(other)) else {
        return false;
    };
    let same = |at: u64| {
        let place = place_of(&one, at).map(|found| found.at);
        place.is_some() && place == place_of(&other, at).map(|found| found.at)
    };
    bytes == length && bytes > 0 && same(0) && same(bytes - 1)
}

/// Whether the first and the last byte of a file lie on the disk for another file as well, wherever that
/// is: with this one, nothing would be freed. `false` where that cannot be told.
pub fn has_shared_blocks(path: &Path) -> bool {
    let Ok(file) = open_itself(path) else {
        return false;
    };
    let bytes = file.metadata().map_or(0, |found| found.len());
    let is_shared = |at: u64| place_of(&file, at).is_some_and(|found| found.is_shared);
    bytes > 0 && is_shared(0) && is_shared(bytes - 1)
}

/// Where a byte of a file lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// On the disk.
    at: u64,
    /// Whether it is known to lie there for another file as well.
    is_shared: bool,
}

/// Where on the disk a byte of a file lies; `None` if it has no place of its own there, or the system
/// does not say.
#[cfg(target_os = "linux")]
#[expect(
    unsafe_code,
    reason = "FIEMAP is in no safe wrapper; it fills a structure of fixed length"
)]
fn place_of(file: &File, at: u64) -> Option<Place> {
    use std::os::fd::AsRawFd as _;

    /// `FS_IOC_FIEMAP` of `linux/fs.h`.
    const FIEMAP: libc::c_ulong = 0xC020_660B;
    /// Not known, not written yet, or in the middle of other things: `linux/fiemap.h`.
    const HAS_NO_PLACE: u32 = 0x2 | 0x4 | 0x200 | 0x400;
    /// `FIEMAP_EXTENT_SHARED`.
    const IS_SHARED: u32 = 0x2000;

    /// `struct fiemap` with one `struct fiemap_extent`.
    #[repr(C)]
    #[derive(Default)]
    struct Map {
        start: u64,
        length: u64,
        flags: u32,
        mapped: u32,
        room: u32,
        reserved: u32,
        logical: u64,
        physical: u64,
        extent_length: u64,
        more: [u64; 2],
        extent_flags: u32,
        rest: [u32; 3],
    }
    let mut map = Map {
        start: at,
        length: 1,
        room: 1,
        ..Map::default()
    };
    // SAFETY: the descriptor is open for as long as `file` is borrowed, and the system fills at most
    // `room` extents, for which the structure has space.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), FIEMAP as _, &raw mut map) };
    let is_placed = result == 0 && map.mapped == 1 && map.extent_flags & HAS_NO_PLACE == 0;
    let within = at.checked_sub(map.logical)?;
    (is_placed && map.physical > 0 && within < map.extent_length).then(|| Place {
        at: map.physical + within,
        is_shared: map.extent_flags & IS_SHARED != 0,
    })
}

/// The same of Apple's systems.
#[cfg(target_vendor = "apple")]
#[expect(
    unsafe_code,
    reason = "F_LOG2PHYS_EXT is in no safe wrapper; it fills a structure of fixed length"
)]
fn place_of(file: &File, at: u64) -> Option<Place> {
    use std::os::fd::AsRawFd as _;

    let mut map = libc::log2phys {
        l2p_flags: 0,
        l2p_contigbytes: 1,
        l2p_devoffset: i64::try_from(at).ok()?,
    };
    // SAFETY: the descriptor is open for as long as `file` is borrowed, and the system fills the
    // structure and nothing else.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_LOG2PHYS_EXT, &raw mut map) };
    let at = u64::try_from(map.l2p_devoffset).ok();
    // Whose else it is, it does not say.
    at.filter(|at| result == 0 && *at > 0).map(|at| Place {
        at,
        is_shared: false,
    })
}

/// Elsewhere nobody says.
#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
const fn place_of(_file: &File, _at: u64) -> Option<Place> {
    None
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_lies_where_it_lies_and_a_copy_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("one"), vec![7; 100_000]).unwrap();
        fs::write(at("copy"), vec![7; 100_000]).unwrap();
        fs::write(at("empty"), "").unwrap();
        for name in ["one", "copy"] {
            File::open(at(name)).unwrap().sync_all().unwrap();
        }
        assert!(!share_blocks(&at("one"), &at("copy")));
        assert!(!share_blocks(&at("empty"), &at("empty")));
        assert!(!share_blocks(&at("one"), &at("none")));
        // Where the system tells at all, and of memory it does not.
        let file = File::open(at("one")).unwrap();
        assert_eq!(
            share_blocks(&at("one"), &at("one")),
            place_of(&file, 0).is_some()
        );
    }

    /// Where the tests run on a file system that can: elsewhere it says what it left out.
    #[test]
    #[expect(
        clippy::print_stderr,
        reason = "what is not tested here is said to whoever runs the tests"
    )]
    fn a_clone_shares_and_stops_where_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("one"), vec![7; 100_000]).unwrap();
        File::open(at("one")).unwrap().sync_all().unwrap();
        if reflink_copy::reflink(at("one"), at("clone")).is_err() {
            eprintln!("not tested: the file system of the tests has no clones");
            return;
        }
        assert!(can_share_blocks(dir.path()));
        File::open(at("clone")).unwrap().sync_all().unwrap();
        assert!(share_blocks(&at("one"), &at("clone")));
        assert!(cfg!(not(target_os = "linux")) || has_shared_blocks(&at("one")));
        fs::write(at("clone"), vec![8; 100_000]).unwrap();
        File::open(at("clone")).unwrap().sync_all().unwrap();
        assert!(!share_blocks(&at("one"), &at("clone")));
        assert!(!has_shared_blocks(&at("clone")));
    }
}
