//! Owns who holds a lock and who is alive, as far as the system tells.
//!
//! Never takes a lock: that is `cache/lock.rs`.

use std::path::Path;

/// A process that holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// Its program's name as the system shortens it; `None` if it cannot be read.
    pub program: Option<String>,
}

/// The process that holds a `flock` on `path`; `None` where the system does not tell.
#[cfg(target_os = "linux")]
pub fn lock_holder(path: &Path) -> Option<Holder> {
    use std::os::unix::fs::MetadataExt;

    let metadata = path.metadata().ok()?;
    let device = (
        rustix::fs::major(metadata.dev()),
        rustix::fs::minor(metadata.dev()),
    );
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let pid = flock_pid(&locks, device, metadata.ino())?;
    let program = std::fs::read_to_string(format!("/proc/{pid}/comm"))
        .ok()
        .map(|name| name.trim_end().to_owned());
    Some(Holder { pid, program })
}

/// The process that holds a `flock` on `path`; macOS has no table to read.
#[cfg(not(target_os = "linux"))]
pub fn lock_holder(_path: &Path) -> Option<Holder> {
    None
}

/// Finds the holder in the text of `/proc/locks`:
/// `1: FLOCK  ADVISORY  WRITE 4121 fd:01:131072 0 EOF`, waiters marked by `->`.
///
/// The device in that table differs from `stat`'s on btrfs and overlays, so a line that agrees by
/// inode alone counts when none agrees fully.
#[cfg(any(target_os = "linux", test))]
fn flock_pid(locks: &str, device: (u32, u32), inode: u64) -> Option<u32> {
    let mut by_inode = None;
    for line in locks.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, _, pid, place, ..] = fields[..] else {
            continue;
        };
        let mut parts = place.split(':');
        let (Some(major), Some(minor), Some(number)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        // A holder in another process namespace is shown as 0 or -1.
        let Some(pid) = pid.parse().ok().filter(|pid| *pid > 0) else {
            continue;
        };
        if number.parse() != Ok(inode) {
            continue;
        }
        let hex = |text| u32::from_str_radix(text, 16).ok();
        if (hex(major), hex(minor)) == (Some(device.0), Some(device.1)) {
            return Some(pid);
        }
        by_inode = Some(pid);
    }
    by_inode
}

/// Whether a process of that id exists on this machine.
pub fn is_alive(pid: u32) -> bool {
    let Some(pid) = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw)
    else {
        return false;
    };
    // "Not permitted" is an answer too: somebody is there.
    !matches!(
        rustix::process::test_kill_process(pid),
        Err(rustix::io::Errno::SRCH)
    )
}

/// This machine's name, as Python's `socket.gethostname()` gives it.
pub fn host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
1: POSIX  ADVISORY  WRITE 11 fd:01:77 0 EOF
2: FLOCK  ADVISORY  WRITE 4121 fd:01:77 0 EOF
2: -> FLOCK  ADVISORY  WRITE 5000 fd:01:77 0 EOF
3: FLOCK  ADVISORY  WRITE 6000 00:2a:88 0 EOF
4: FLOCK  ADVISORY  WRITE -1 fd:01:99 0 EOF
";

    #[test]
    fn the_flock_holder_is_found_and_waiters_are_not() {
        assert_eq!(flock_pid(TABLE, (0xfd, 1), 77), Some(4121));
        assert_eq!(
            flock_pid(TABLE, (0xfd, 1), 88),
            Some(6000),
            "btrfs shows another device"
        );
        assert_eq!(flock_pid(TABLE, (0xfd, 1), 99), None, "another namespace");
        assert_eq!(flock_pid(TABLE, (0xfd, 1), 1), None);
        assert_eq!(flock_pid("garbage\n1: FLOCK", (0, 0), 1), None);
    }

    #[test]
    fn the_living_are_told_from_the_dead() {
        assert!(is_alive(std::process::id()));
        assert!(is_alive(1));
        assert!(!is_alive(0));
        assert!(!is_alive(crate::host::forks::dead_pid()));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn our_own_lock_is_attributed_to_us() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(lock_holder(file.path()), None);
        file.as_file().lock().unwrap();
        let holder = lock_holder(file.path()).unwrap();
        assert_eq!(holder.pid, std::process::id());
        assert!(holder.program.is_some());
    }
}
