//! Owns telling whether a file's bytes are on this disk at all: reading one that a cloud keeps
//! would fetch it (hub.md case 43).
//!
//! Never reads a byte.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// The unit of `st_blocks`.
const BLOCK_BYTES: u64 = 512;
/// Shorter files may lie in the folder's own blocks and have none.
const SURE_FROM_BYTES: u64 = 64 * 1024;
/// A file that takes less than this part of its length was not written: weights hardly compress.
const WRITTEN_PART: u64 = 8;

/// Whether a file's bytes are elsewhere, or were never written: it is as long as it should be, and
/// takes next to no room.
pub fn is_evicted(path: &Path, found: &Metadata) -> bool {
    if is_dataless(found) {
        return true;
    }
    let on_disk = found.blocks().saturating_mul(BLOCK_BYTES);
    let is_suspect =
        found.is_file() && found.len() >= SURE_FROM_BYTES && on_disk < found.len() / WRITTEN_PART;
    is_suspect && has_hole(path)
}

/// Whether a file has a hole before its end: some file systems compress, or count blocks late.
fn has_hole(path: &Path) -> bool {
    let hole = super::open_quietly(path).and_then(|file| {
        let length = file.metadata()?.len();
        Ok(rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(0))? < length)
    });
    // One that cannot be asked is not read either.
    hole.unwrap_or(true)
}

/// `SF_DATALESS` of `sys/stat.h`: a file provider has the bytes.
#[cfg(target_os = "macos")]
fn is_dataless(found: &Metadata) -> bool {
    use std::os::macos::fs::MetadataExt as _;

    const SF_DATALESS: u32 = 0x4000_0000;
    found.st_flags() & SF_DATALESS != 0
}

/// Other systems have no such flag.
#[cfg(not(target_os = "macos"))]
const fn is_dataless(_found: &Metadata) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    #[test]
    fn a_file_without_its_bytes_is_told_from_one_with_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let says = || is_evicted(&path, &path.metadata().unwrap());
        for (bytes, is_sparse) in [(0, false), (10_000, false), (10_000_000, true)] {
            File::create(&path).unwrap().set_len(bytes).unwrap();
            assert_eq!(says(), is_sparse, "{bytes} bytes without content");
        }
        let noise: Vec<u8> = (0..1_000_000_u32)
            .flat_map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes())
            .collect();
        fs::write(&path, noise).unwrap();
        assert!(!says());
        assert!(!is_evicted(dir.path(), &dir.path().metadata().unwrap()));
    }
}
