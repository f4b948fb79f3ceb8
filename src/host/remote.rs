//! Owns whether a place is on another machine.
//!
//! Never mounts or asks the network; "unknown" counts as local.

use std::path::Path;

use super::nearest_existing;

/// Whether `path`, or where it would be made, is on a network file system: locks there may not hold
/// between machines, and a memory map may not see what others write.
pub fn is_remote(path: &Path) -> bool {
    nearest_existing(path)
        .ok()
        .and_then(|place| rustix::fs::statfs(&place).ok())
        .is_some_and(|system| is_remote_kind(&system))
}

/// The magic numbers of Linux (`linux/magic.h` and the file systems' own sources).
#[cfg(target_os = "linux")]
fn is_remote_kind(system: &rustix::fs::StatFs) -> bool {
    const NFS: u64 = 0x6969;
    const SMB: u64 = 0x517B;
    const SMB2: u64 = 0xFE53_4D42;
    const CIFS: u64 = 0xFF53_4D42;
    const NINE_P: u64 = 0x0102_1997;
    const CEPH: u64 = 0x00C3_6400;
    const AFS: u64 = 0x5346_414F;
    const CODA: u64 = 0x7375_7245;
    const LUSTRE: u64 = 0x0BD0_0BD0;
    const FUSE: u64 = 0x6573_5546;
    // The field is signed on some machines; a magic number is its low 32 bits.
    let kind = u64::try_from(i128::from(system.f_type) & 0xFFFF_FFFF).unwrap_or(0);
    matches!(
        kind,
        NFS | SMB | SMB2 | CIFS | NINE_P | CEPH | AFS | CODA | LUSTRE | FUSE
    )
}

/// Apple's systems say it themselves.
#[cfg(target_vendor = "apple")]
fn is_remote_kind(system: &rustix::fs::StatFs) -> bool {
    system.f_flags & libc::MNT_LOCAL.cast_unsigned() == 0
}

/// Elsewhere nobody says.
#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
const fn is_remote_kind(_system: &rustix::fs::StatFs) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_folder_is_here() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_remote(dir.path()));
        assert!(!is_remote(&dir.path().join("not/yet")));
    }
}
