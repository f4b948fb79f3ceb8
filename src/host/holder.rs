//! Owns who holds a lock and who is alive, as far as the system tells.
//!
//! Never takes a lock: that is `cache/lock.rs`.

use std::path::Path;

use super::arguments::without_secrets;
use super::processes::Process;

/// A process that holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// Its program's name as the system shortens it; `None` if it cannot be read.
    pub program: Option<String>,
    /// Its arguments in one line, without tokens; `None` if they cannot be read.
    pub command_line: Option<String>,
    /// When it started, milliseconds since the Unix epoch; `None` if that cannot be read.
    pub since_ms: Option<u64>,
}

impl Holder {
    /// What the system tells of the process of that id.
    #[cfg(target_os = "linux")]
    pub fn of(pid: u32) -> Self {
        let read = |name: &str| std::fs::read(format!("/proc/{pid}/{name}")).ok();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self {
            pid,
            program: read("comm").map(|name| text(name).trim_end().to_owned()),
            command_line: read("cmdline")
                .filter(|line| !line.is_empty())
                .map(|line| without_secrets(text(line).split('\0'))),
            since_ms: read("stat").and_then(|stat| started_ms(&text(stat), boot_ms()?)),
        }
    }

    /// What the system tells of the process of that id: here, nothing without unsafe code.
    #[cfg(not(target_os = "linux"))]
    pub fn of(pid: u32) -> Self {
        Self {
            pid,
            program: None,
            command_line: None,
            since_ms: None,
        }
    }
}

impl From<&Process> for Holder {
    fn from(process: &Process) -> Self {
        let arguments = process.arguments.iter().map(String::as_str);
        Self {
            pid: process.pid,
            program: None,
            command_line: Some(without_secrets(arguments)).filter(|line| !line.is_empty()),
            since_ms: process.since_ms.or_else(|| Self::of(process.pid).since_ms),
        }
    }
}

/// Whether this system names who holds a lock; for tests that must know which answer is right.
#[cfg(test)]
pub(crate) const NAMES_HOLDERS: bool = cfg!(target_os = "linux");

/// Who holds which `flock`, as the system's table has it at one moment.
#[derive(Clone, Debug, Default)]
pub struct LockTable {
    /// Read when first asked for: the system stops all locking for that, which takes 15 ms.
    #[cfg(target_os = "linux")]
    text: std::sync::OnceLock<String>,
}

#[cfg(target_os = "linux")]
impl LockTable {
    /// The table, which is read when somebody asks who holds a lock.
    pub fn read() -> Self {
        Self::default()
    }

    /// The process that holds a `flock` on the file; `None` where the table does not tell.
    pub fn holder_of(&self, file: &std::fs::Metadata) -> Option<Holder> {
        use std::os::unix::fs::MetadataExt;

        let device = (rustix::fs::major(file.dev()), rustix::fs::minor(file.dev()));
        let text = self
            .text
            .get_or_init(|| std::fs::read_to_string("/proc/locks").unwrap_or_default());
        flock_pid(text, device, file.ino()).map(Holder::of)
    }
}

#[cfg(not(target_os = "linux"))]
impl LockTable {
    /// macOS has no table to read.
    pub fn read() -> Self {
        Self::default()
    }

    /// The process that holds a `flock` on the file: here, nobody tells.
    pub fn holder_of(&self, _file: &std::fs::Metadata) -> Option<Holder> {
        None
    }
}

/// The process that holds a `flock` on `path`; `None` where the system does not tell.
pub fn lock_holder(path: &Path) -> Option<Holder> {
    LockTable::read().holder_of(&path.symlink_metadata().ok()?)
}

/// The process that started another; `None` where there is none.
#[cfg(target_os = "linux")]
pub(super) fn parent_of(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in brackets, which may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

/// When the machine started, milliseconds since the Unix epoch. Asked once: the system derives it
/// from the wall clock, so it wavers, and a process would seem to have started anew.
#[cfg(target_os = "linux")]
fn boot_ms() -> Option<u64> {
    static BOOT_MS: std::sync::OnceLock<Option<u64>> = std::sync::OnceLock::new();
    *BOOT_MS.get_or_init(|| {
        let stat = std::fs::read_to_string("/proc/stat").ok()?;
        let line = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
        line.trim().parse::<u64>().ok()?.checked_mul(1000)
    })
}

/// When a process started, from the text of `/proc/PID/stat`: the 22nd field counts hundredths of a
/// second since boot (`USER_HZ` is 100 wherever Linux runs today).
#[cfg(any(target_os = "linux", test))]
fn started_ms(stat: &str, boot_ms: u64) -> Option<u64> {
    // The second field is the program's name in brackets, which may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let ticks: u64 = rest.split_whitespace().nth(19)?.parse().ok()?;
    boot_ms.checked_add(ticks.checked_mul(10)?)
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
    fn the_start_of_a_process_is_read_behind_its_name() {
        let stat = "77 (a) b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 250 20 21";
        assert_eq!(started_ms(stat, 1_000), Some(3_500));
        assert_eq!(started_ms("77 (a", 0), None);
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
        assert!(holder.program.is_some() && holder.command_line.is_some());
        let started = Holder::of(1).since_ms.unwrap();
        assert!(
            holder.since_ms.unwrap() >= started,
            "nobody is older than init"
        );
    }
}
