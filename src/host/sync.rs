//! Owns making many files durable at once, and hints about how a file is used: that it is read
//! through, that its bytes should be written out before they must be durable.
//!
//! A hint never promises anything: durability is a sync, which then has less to do.

use std::fs::File;
use std::io;
use std::ops::Range;

/// From so many files on, one sync for all is asked for.
const TOGETHER_FROM: usize = 4;

/// Makes files of one file system durable, as [`File::sync_all`] does for one: one result each, in
/// order. What costs most, waiting for the disk to empty its own memory, happens once for all where
/// the system can do that.
pub fn sync_files(files: &[&File]) -> Vec<io::Result<()>> {
    if files.len() >= TOGETHER_FROM
        && let Some(results) = sync_together(files)
    {
        return results;
    }
    files.iter().map(|file| file.sync_all()).collect()
}

/// `syncfs` writes out the whole file system, once: also what other programs have written, so only
/// while that is little, and only where it tells of errors (Linux 5.8, `syncfs(2)`) and is known to
/// reach the disk. `None` where each file has to be synced for itself.
#[cfg(target_os = "linux")]
fn sync_together(files: &[&File]) -> Option<Vec<io::Result<()>>> {
    const LITTLE_BYTES: u64 = 64 << 20;

    let first = files.first()?;
    let serves = reports_errors() && is_local_disk(first) && unwritten_bytes()? <= LITTLE_BYTES;
    if !serves {
        return None;
    }
    // An error may be that of another program's file: each of ours tells for itself.
    rustix::fs::syncfs(first).ok()?;
    Some(files.iter().map(|_| Ok(())).collect())
}

/// Whether `syncfs` returns an error when bytes could not be written.
#[cfg(target_os = "linux")]
fn reports_errors() -> bool {
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let mut numbers = release.split(['.', '-']).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (5, 8),
        _ => false,
    }
}

/// The magic numbers of `linux/magic.h`.
#[cfg(target_os = "linux")]
fn is_local_disk(file: &File) -> bool {
    const EXT: u64 = 0xEF53;
    const XFS: u64 = 0x5846_5342;
    const BTRFS: u64 = 0x9123_683E;
    rustix::fs::fstatfs(file).is_ok_and(|system| {
        let kind = u64::try_from(i128::from(system.f_type) & 0xFFFF_FFFF).unwrap_or(0);
        matches!(kind, EXT | XFS | BTRFS)
    })
}

/// Bytes of any program that are on their way to any disk.
#[cfg(target_os = "linux")]
fn unwritten_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kibibytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    Some((kibibytes("Dirty:")? + kibibytes("Writeback:")?) << 10)
}

/// On Apple's systems `fsync` gives the drive the bytes, and only `F_FULLFSYNC`, which is what
/// [`File::sync_all`] does, makes the drive write out all that it has been given (`fsync(2)` there).
#[cfg(target_vendor = "apple")]
fn sync_together(files: &[&File]) -> Option<Vec<io::Result<()>>> {
    let given = files
        .iter()
        .map(|file| rustix::fs::fsync(file).map_err(io::Error::from))
        .collect();
    files.last()?.sync_all().ok()?;
    Some(given)
}

/// Nothing that would serve.
#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
const fn sync_together(_files: &[&File]) -> Option<Vec<io::Result<()>>> {
    None
}

/// Starts writing a range of a file to the disk without waiting for it. A hint: where it fails or
/// does not exist, the later sync does all the work.
#[cfg(target_os = "linux")]
#[expect(
    unsafe_code,
    reason = "sync_file_range is in no safe wrapper; it takes an open descriptor and numbers"
)]
pub fn start_writeback(file: &File, range: &Range<u64>) {
    use std::os::fd::AsRawFd as _;

    let (Ok(offset), Ok(length)) = (
        i64::try_from(range.start),
        i64::try_from(range.end.saturating_sub(range.start)),
    ) else {
        return;
    };
    // SAFETY: the descriptor is open for as long as `file` is borrowed; no memory is passed.
    let result = unsafe {
        libc::sync_file_range(
            file.as_raw_fd(),
            offset,
            length,
            libc::SYNC_FILE_RANGE_WRITE,
        )
    };
    if result != 0 {
        tracing::trace!("the system does not write out early");
    }
}

/// Says that a file is about to be read from its start to its end.
#[cfg(target_os = "linux")]
pub fn will_read_through(file: &File) {
    if rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::Sequential).is_err() {
        tracing::trace!("the system does not read ahead further");
    }
}

/// Nothing: the system finds out by itself.
#[cfg(not(target_os = "linux"))]
pub const fn will_read_through(_file: &File) {}

/// Nothing: the system has no such hint.
#[cfg(not(target_os = "linux"))]
pub const fn start_writeback(_file: &File, _range: &Range<u64>) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_has_an_answer() {
        let folder = tempfile::tempdir().unwrap();
        for count in [0, 1, TOGETHER_FROM, 20] {
            let files: Vec<File> = (0..count)
                .map(|number| {
                    let path = folder.path().join(format!("{count}-{number}"));
                    std::fs::write(&path, "content").unwrap();
                    File::open(path).unwrap()
                })
                .collect();
            let all: Vec<&File> = files.iter().collect();
            let results = sync_files(&all);
            assert_eq!(results.len(), count);
            assert!(results.iter().all(Result::is_ok), "{results:?}");
        }
    }

    /// What cannot be synced says so, and costs the others nothing.
    #[test]
    #[cfg(target_os = "linux")]
    fn an_error_stays_with_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let (_reader, writer) = io::pipe().unwrap();
        let pipe = File::from(std::os::fd::OwnedFd::from(writer));
        let good = File::create(folder.path().join("good")).unwrap();
        let results = sync_files(&[&pipe, &good, &good, &good, &good]);
        assert!(results[0].is_err());
        assert!(results[1..].iter().all(Result::is_ok));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_system_says_what_is_unwritten() {
        assert!(unwritten_bytes().is_some());
    }
}
