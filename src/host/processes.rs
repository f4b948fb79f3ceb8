//! Owns which processes run on this machine, and which files some of them have open.
//!
//! Never judges what a process is for: that is `cache/programs.rs`. Never signals one.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often asking for open files is worth its cost: there is a table to read on Linux, and
/// elsewhere `lsof` takes its time.
pub const OPEN_FILES_EVERY: Duration = if cfg!(target_os = "linux") {
    Duration::from_secs(2)
} else {
    Duration::from_secs(15)
};

/// How long `lsof` may take. It asks for every file that a process has open, and one on a mount whose
/// server is gone is never answered.
#[cfg(not(target_os = "linux"))]
const PATIENCE: Duration = Duration::from_secs(10);

/// A process of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its process id.
    pub pid: u32,
    /// Its arguments, the program's path first; empty where the system does not show them.
    pub arguments: Vec<String>,
    /// When it started, milliseconds since the Unix epoch; `None` where that has to be asked apart.
    pub since_ms: Option<u64>,
}

/// A file that a process has open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenFile {
    /// The process.
    pub pid: u32,
    /// The file.
    pub path: PathBuf,
    /// Whether it may write it.
    pub is_writable: bool,
}

/// Every process but this one and its ancestors, with arguments; `None` where the system does not
/// say. Read from the system's own table, which takes ten microseconds a process: the library that
/// lists them elsewhere takes six times as long here.
#[cfg(target_os = "linux")]
pub fn processes() -> Option<Vec<Process>> {
    let ours = with_ancestors(std::process::id(), &super::holder::parent_of);
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // Kernel threads have no arguments; who has ended meanwhile has none any more.
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if line.is_empty() || ours.contains(&pid) {
            continue;
        }
        let words = String::from_utf8_lossy(&line);
        found.push(Process {
            pid,
            arguments: words
                .trim_end_matches('\0')
                .split('\0')
                .map(ToOwned::to_owned)
                .collect(),
            since_ms: None,
        });
    }
    found.sort_by_key(|process| process.pid);
    Some(found)
}

/// Every process but this one and its ancestors, with arguments; `None` where the system does not
/// say. A few milliseconds.
#[cfg(not(target_os = "linux"))]
pub fn processes() -> Option<Vec<Process>> {
    use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System, UpdateKind};

    let mut system = System::new().ok()?;
    let kind = ProcessRefreshKind::nothing().with_cmd(UpdateKind::Always);
    system.refresh_processes_specifics(ProcessesToUpdate::All, false, kind);
    let parent_of = |pid: u32| {
        let process = system.process(Pid::from_u32(pid))?;
        process.parent().map(Pid::as_u32)
    };
    let ours = with_ancestors(std::process::id(), &parent_of);
    let others = system.processes().values();
    let mut found: Vec<Process> = others
        .filter(|process| !ours.contains(&process.pid().as_u32()))
        .map(|process| Process {
            pid: process.pid().as_u32(),
            arguments: process
                .cmd()
                .iter()
                .map(|word| word.to_string_lossy().into_owned())
                .collect(),
            since_ms: Some(process.start_time().saturating_mul(1000)),
        })
        .collect();
    found.sort_by_key(|process| process.pid);
    Some(found)
}

/// A process and all that started it.
fn with_ancestors(pid: u32, parent_of: &dyn Fn(u32) -> Option<u32>) -> HashSet<u32> {
    let mut line = HashSet::new();
    let mut next = Some(pid);
    // A table that was read while processes end may go round.
    while let Some(pid) = next.filter(|pid| line.insert(*pid)) {
        next = parent_of(pid);
    }
    line
}

/// The files below `root` that these processes have open; what the system does not show is left out.
/// `None` where it does not answer.
#[cfg(target_os = "linux")]
pub fn open_files(pids: &[u32], root: &Path) -> Option<Vec<OpenFile>> {
    let of = |pid: u32| {
        let entries = std::fs::read_dir(format!("/proc/{pid}/fd"));
        entries
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(move |entry| {
                let path = std::fs::read_link(entry.path()).ok()?;
                path.starts_with(root).then(|| OpenFile {
                    pid,
                    is_writable: is_writable(pid, &entry.file_name().to_string_lossy()),
                    path,
                })
            })
    };
    Some(pids.iter().copied().flat_map(of).collect())
}

/// Which other processes, whatever they are, have one of these files open; `None` where the system
/// does not say. Paths are without links. Processes of other users are not seen.
#[cfg(target_os = "linux")]
pub fn openers(paths: &[PathBuf]) -> Option<Vec<OpenFile>> {
    let wanted: HashSet<&Path> = paths.iter().map(PathBuf::as_path).collect();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.parse::<u32>().ok());
        let Some(pid) = pid.filter(|pid| *pid != std::process::id()) else {
            continue;
        };
        let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd"));
        for descriptor in descriptors.into_iter().flatten().flatten() {
            let Ok(path) = std::fs::read_link(descriptor.path()) else {
                continue;
            };
            if wanted.contains(path.as_path()) {
                found.push(OpenFile {
                    pid,
                    is_writable: is_writable(pid, &descriptor.file_name().to_string_lossy()),
                    path,
                });
            }
        }
    }
    Some(found)
}

/// Whether a descriptor was opened for writing, from its `fdinfo`.
#[cfg(target_os = "linux")]
fn is_writable(pid: u32, descriptor: &str) -> bool {
    let info = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{descriptor}"));
    info.is_ok_and(|info| {
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        flags
            .and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok())
            .is_some_and(|flags| flags & 0o3 != 0)
    })
}

/// The files below `root` that these processes have open; what the system does not show is left out.
/// `None` where it does not answer.
#[cfg(not(target_os = "linux"))]
pub fn open_files(pids: &[u32], root: &Path) -> Option<Vec<OpenFile>> {
    if pids.is_empty() {
        return Some(Vec::new());
    }
    let pids: Vec<String> = pids.iter().map(ToString::to_string).collect();
    // It fails if one of the processes is gone, and lists the others all the same.
    let mut files = ask_lsof(&["-p".into(), pids.join(",").into()])?;
    files.retain(|file| file.path.starts_with(root));
    Some(files)
}

/// Which other processes, whatever they are, have one of these files open; `None` where the system
/// does not say. Paths are without links. Processes of other users are not seen.
#[cfg(not(target_os = "linux"))]
pub fn openers(paths: &[PathBuf]) -> Option<Vec<OpenFile>> {
    /// So many paths on one command line.
    const MOST: usize = 200;
    let mut found = Vec::new();
    for paths in paths.chunks(MOST) {
        let mut asked = vec!["--".into()];
        asked.extend(paths.iter().map(Into::into));
        // It fails if one of the files is open nowhere, and lists the others all the same.
        found.extend(ask_lsof(&asked)?);
    }
    found.retain(|file| file.pid != std::process::id());
    Some(found)
}

/// What the system's `lsof` lists: no library does that without unsafe code. `None` if it does not
/// answer in time.
#[cfg(not(target_os = "linux"))]
fn ask_lsof(asked: &[std::ffi::OsString]) -> Option<Vec<OpenFile>> {
    use std::process::{Command, Stdio};

    let child = Command::new("/usr/sbin/lsof")
        .args(["-w", "-n", "-P", "-F", "pan"])
        .args(asked)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let child = child.inspect_err(|error| tracing::debug!(%error, "lsof cannot be asked"));
    answer_of(child.ok()?, PATIENCE).map(|text| parse_lsof(&text))
}

/// What a child that was just started wrote, if it came to an end by itself and in time. One that did
/// not is killed and not waited for: what hangs in a system call does not end before that does.
#[cfg(any(not(target_os = "linux"), test))]
fn answer_of(mut child: std::process::Child, patience: Duration) -> Option<String> {
    use std::io::Read as _;
    use std::sync::{Arc, Mutex, mpsc};

    let mut stdout = child.stdout.take()?;
    let child = Arc::new(Mutex::new(child));
    let (tell, heard) = mpsc::channel();
    let asked = Arc::clone(&child);
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = stdout.read_to_end(&mut bytes);
        let ended = asked.lock().ok().and_then(|mut child| child.wait().ok());
        let is_whole = read.is_ok() && ended.is_some_and(|status| status.code().is_some());
        // Nobody may be listening any more.
        drop(tell.send(is_whole.then_some(bytes)));
    });
    let Ok(answer) = heard.recv_timeout(patience) else {
        tracing::warn!(?patience, "lsof does not answer");
        // Held where it is being waited for: then it ends by itself.
        if let Ok(mut child) = child.try_lock() {
            drop(child.kill());
        }
        return None;
    };
    answer.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads `lsof -F pan`: a line each for the process (`p`), then for each of its files the
/// descriptor (`f`), how it was opened (`a`) and the name (`n`).
#[cfg(any(not(target_os = "linux"), test))]
fn parse_lsof(text: &str) -> Vec<OpenFile> {
    let mut files = Vec::new();
    let (mut pid, mut is_writable) = (None, false);
    for line in text.lines() {
        let Some((field, value)) = line.split_at_checked(1) else {
            continue;
        };
        match field {
            "p" => pid = value.parse().ok(),
            "f" => is_writable = false,
            "a" => is_writable = value.contains(['w', 'u']),
            "n" if value.starts_with('/') => files.extend(pid.map(|pid| OpenFile {
                pid,
                path: PathBuf::from(value),
                is_writable,
            })),
            _ => {}
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::host::forks::spawn;

    #[test]
    fn another_process_is_seen_with_its_arguments_and_we_are_not() {
        let mut child = spawn(Command::new("sleep").arg("600"));
        let mut found = Vec::new();
        let mut is_seen = false;
        // It has started, and its arguments are there a moment later.
        for _ in 0..1000 {
            found = processes().unwrap();
            let mut others = found.iter();
            is_seen = others.any(|one| one.pid == child.id() && one.arguments == ["sleep", "600"]);
            if is_seen {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(is_seen);
        assert!(found.iter().all(|one| one.pid != std::process::id()));
        let parent = std::os::unix::process::parent_id();
        assert!(found.iter().all(|one| one.pid != parent));
    }

    #[test]
    fn ancestors_end_also_where_the_table_goes_round() {
        let parent_of = |pid| match pid {
            3 => Some(2),
            2 => Some(3),
            _ => None,
        };
        assert_eq!(with_ancestors(3, &parent_of), HashSet::from([2, 3]));
        assert_eq!(with_ancestors(9, &parent_of), HashSet::from([9]));
    }

    #[test]
    fn our_own_open_file_is_found_and_how_it_was_opened() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().canonicalize().unwrap();
        let reader = std::fs::File::open(&path).unwrap();
        let all = open_files(&[std::process::id()], path.parent().unwrap()).unwrap();
        let mut seen: Vec<bool> = all
            .iter()
            .filter(|open| open.path == path)
            .map(|open| open.is_writable)
            .collect();
        seen.sort_unstable();
        assert_eq!(seen, [false, true]);
        drop(reader);
    }

    #[test]
    fn whoever_has_a_file_open_is_found_whatever_it_is_called() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().canonicalize().unwrap();
        let other = path.with_extension("other");
        let writer = std::fs::File::options().append(true).open(&path).unwrap();
        let mut child = spawn(Command::new("sleep").arg("600").stdout(writer));
        let asked = [path.clone(), other];
        let mut found = Vec::new();
        for _ in 0..1000 {
            found = openers(&asked).unwrap();
            if !found.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let is_it = |one: &OpenFile| one.pid == child.id() && one.path == path && one.is_writable;
        assert!(found.iter().any(is_it), "{found:?}");
        // This process has it open, too, and does not count.
        assert!(found.iter().all(|one| one.pid != std::process::id()));
    }

    #[test]
    fn who_does_not_answer_in_time_is_not_waited_for() {
        use std::process::Stdio;

        let ask = |script: &str, patience| {
            let mut command = Command::new("sh");
            command.args(["-c", script]).stdout(Stdio::piped());
            let child = spawn(&mut command);
            let pid = child.id();
            (answer_of(child, patience), pid)
        };
        let long = Duration::from_mins(10);
        assert_eq!(ask("echo p41", long).0.as_deref(), Some("p41\n"));
        // It fails where a file is open nowhere, too, and has answered all the same.
        assert_eq!(ask("echo n/a; exit 1", long).0.as_deref(), Some("n/a\n"));
        assert_eq!(ask("echo n/a; kill -9 $$", long).0, None);
        let (answer, pid) = ask("exec sleep 600", Duration::from_millis(50));
        assert_eq!(answer, None);
        for _ in 0..1000 {
            if !crate::host::is_alive(pid) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it goes on");
    }

    #[test]
    fn the_words_of_lsof_are_read() {
        let text = "p41\nfcwd\nn/home\nf3\nau\nn/hub/blobs/a.incomplete\nf4\nar\nn/hub/b\n\
                    f5\nau\nn->0x1\np42\nf1\naw\nn/c\n";
        let open = |pid, path: &str, is_writable| OpenFile {
            pid,
            path: path.into(),
            is_writable,
        };
        assert_eq!(
            parse_lsof(text),
            [
                open(41, "/home", false),
                open(41, "/hub/blobs/a.incomplete", true),
                open(41, "/hub/b", false),
                open(42, "/c", true),
            ]
        );
        assert_eq!(parse_lsof("n/no-process\n\u{e9}\n"), []);
    }
}
