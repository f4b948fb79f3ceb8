//! Owns hints about how a file is used: that it is read through, that its bytes should be written
//! out before they must be durable.
//!
//! Never promises anything: durability is `sync_all`, which then has less to do.

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
