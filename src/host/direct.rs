//! Owns writing and reading past the system's memory: bytes go between here and the disk without a
//! copy, and push nothing out that other programs use.
//!
//! Never promises durability: that is `sync_all`, as for every other write.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// What offset, length and memory have to be multiples of. Disks ask for 512 or 4,096 bytes.
pub const DIRECT_ALIGN: usize = 4096;

/// So many bytes are written before the disk is judged.
const JUDGED_FROM: u64 = 4 << 20;
/// A disk that takes so many bytes a second keeps up with a line of one gigabit a second also if
/// everything is read again.
const FAST_BYTES_PER_S: u64 = 250_000_000;

/// A file that is open a second time, for such writes and reads.
#[derive(Debug)]
pub struct Direct {
    file: File,
    /// Bytes written, and the time that took.
    bytes: AtomicU64,
    took_ns: AtomicU64,
}

impl Direct {
    /// Opens a file again that is open at `path`; `None` where the system or the file system has no
    /// such writes, or where the file is on another machine, which waits better than we do.
    #[cfg(target_os = "linux")]
    pub fn open(file: &File, path: &Path) -> Option<Self> {
        use std::os::fd::AsRawFd as _;
        use std::os::unix::fs::OpenOptionsExt as _;

        if super::is_remote(path) {
            return None;
        }
        // Not by its name, which may lead to another file by now.
        let itself = format!("/proc/self/fd/{}", file.as_raw_fd());
        let opened = File::options()
            .read(true)
            .write(true)
            .custom_flags(libc::O_DIRECT)
            .open(itself);
        Some(Self {
            file: opened.ok()?,
            bytes: AtomicU64::new(0),
            took_ns: AtomicU64::new(0),
        })
    }

    /// Not on this system.
    #[cfg(not(target_os = "linux"))]
    pub const fn open(_file: &File, _path: &Path) -> Option<Self> {
        None
    }

    /// Writes all of `bytes`; `false`, and nothing is written, if they cannot be written this way.
    pub fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<bool> {
        if !is_aligned(bytes, offset) {
            return Ok(false);
        }
        let begin = Instant::now();
        self.file.write_all_at(bytes, offset)?;
        let took = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.took_ns.fetch_add(took, Ordering::Relaxed);
        Ok(true)
    }

    /// Fills `bytes`; `false`, and nothing is read, if they cannot be read this way.
    pub fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<bool> {
        if !is_aligned(bytes, offset) {
            return Ok(false);
        }
        self.file.read_exact_at(bytes, offset)?;
        Ok(true)
    }

    /// Whether the disk has shown that it is fast.
    pub fn is_fast(&self) -> bool {
        let bytes = self.bytes.load(Ordering::Relaxed);
        let took = Duration::from_nanos(self.took_ns.load(Ordering::Relaxed));
        let fast = u128::from(FAST_BYTES_PER_S) * took.as_micros() / 1_000_000;
        bytes >= JUDGED_FROM && !took.is_zero() && u128::from(bytes) >= fast
    }

    /// Whether the file system opened the file but takes no such writes.
    pub fn is_refusal(error: &io::Error) -> bool {
        matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP))
    }
}

/// Memory that a disk can be asked to fill or to take from.
#[derive(Debug, Default)]
pub struct Aligned {
    bytes: Vec<u8>,
    start: usize,
    length: usize,
}

impl Aligned {
    /// So many bytes.
    pub fn new(length: usize) -> Self {
        let bytes = vec![0; length + DIRECT_ALIGN];
        // Where this cannot be told, the bytes are read another way.
        let start = bytes.as_ptr().align_offset(DIRECT_ALIGN).min(DIRECT_ALIGN);
        Self {
            bytes,
            start,
            length,
        }
    }

    /// All of it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.length]
    }

    /// All of it, to be filled.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.length]
    }
}

fn is_aligned(bytes: &[u8], offset: u64) -> bool {
    offset.is_multiple_of(DIRECT_ALIGN as u64)
        && bytes.len().is_multiple_of(DIRECT_ALIGN)
        && bytes.as_ptr().addr().is_multiple_of(DIRECT_ALIGN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_writing_give_one_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let Some(direct) = Direct::open(file.as_file(), file.path()) else {
            return;
        };
        let room = vec![7_u8; 3 * DIRECT_ALIGN];
        let start = room.as_ptr().align_offset(DIRECT_ALIGN);
        let bytes = &room[start..start + DIRECT_ALIGN];
        file.as_file().write_all_at(b"before", 0).unwrap();
        match direct.write_all_at(bytes, DIRECT_ALIGN as u64) {
            Ok(wrote) => assert!(wrote),
            Err(error) => {
                assert!(Direct::is_refusal(&error), "{error}");
                return;
            }
        }
        assert!(!direct.write_all_at(bytes, 1).unwrap());
        assert!(!direct.write_all_at(&bytes[1..], 0).unwrap());
        file.as_file()
            .write_all_at(b"behind", 2 * DIRECT_ALIGN as u64)
            .unwrap();
        let mut again = Aligned::new(DIRECT_ALIGN);
        let again = again.bytes_mut();
        assert!(direct.read_exact_at(again, DIRECT_ALIGN as u64).unwrap());
        assert!(!direct.read_exact_at(again, 1).unwrap());
        assert!(again == bytes);
        assert!(!direct.is_fast(), "one write says nothing");
        let all = std::fs::read(file.path()).unwrap();
        assert_eq!(
            (&all[..6], &all[2 * DIRECT_ALIGN..]),
            (&b"before"[..], &b"behind"[..])
        );
        assert!(&all[DIRECT_ALIGN..2 * DIRECT_ALIGN] == bytes);
    }
}
