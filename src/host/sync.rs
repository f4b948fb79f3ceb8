//! Owns asking the system to write a file's bytes out before they must be durable.
//!
//! Never promises durability: that is `sync_all`, which then has less to do.

use std::fs::File;
use std::ops::Range;

/// Starts writing a range of a file to the disk without waiting for it. A hint: where it fails or
/// does not exist, the later `sync_all` does all the work.
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

/// Nothing: the system has no such hint.
#[cfg(not(target_os = "linux"))]
pub const fn start_writeback(_file: &File, _range: &Range<u64>) {}
