//! Owns the download marker: the file by which programs tell each other that they fetch a whole
//! repo. Apps only test whether it is there, so it must not outlive the work.
//!
//! **Law**: its `flock` is held for as long as it says something of ours; it is removed only while
//! that is held and its name still leads to it; one that names no process is left to its writer for
//! as long as that can be at work.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use super::durable::is_same_file;
use super::lock::{self, Hold, Origin};
use super::{Error, Layout, Programs, Result, script};
use crate::domain::{RepoId, sanitize_line};
use crate::host::{self, Holder};

/// Widths of the values, in characters. All lines together are far less than a page, and always of
/// one length, so that a write replaces all that was there.
const PID: usize = 10;
const HOST: usize = 64;
const STARTED: usize = 40;
const PROGRAM: usize = 32;
const FILES: usize = 21;
const BYTES: usize = 41;
/// More than this is no marker that larder reads.
const MAX_BYTES: usize = 4096;
/// A marker that was written this recently has a writer; they write every few seconds.
const FRESH: Duration = Duration::from_mins(1);
/// Whoever makes a marker writes it at once; an empty one is left alone for so long.
const CREATING: Duration = Duration::from_secs(5);
/// How often a record is read until two readings agree.
const READINGS: usize = 8;

/// Markers of this process, for an exit that runs no destructors.
static OURS: Mutex<Vec<Weak<Held>>> = Mutex::new(Vec::new());

/// Whether this process is about to end.
static IS_LEAVING: AtomicBool = AtomicBool::new(false);

/// How the old shell script's marker starts (product.md, section 4).
pub(super) const SCRIPT: &str = "Manual download started at";

/// How far a download is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MarkerProgress {
    /// Files that are proven.
    pub files_done: u64,
    /// Files of the selection.
    pub files_total: u64,
    /// Bytes that are here, proven or not.
    pub bytes_done: u64,
    /// Bytes of the selection.
    pub bytes_total: u64,
}

/// What a marker says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MarkerRecord {
    /// The process that wrote it.
    pub pid: Option<u32>,
    /// The machine that process runs on.
    pub host: Option<String>,
    /// Its program and version.
    pub program: Option<String>,
    /// How far it is.
    pub progress: Option<MarkerProgress>,
}

/// What an attempt to take a repo's marker gave.
#[derive(Debug)]
pub enum MarkerAttempt {
    /// Ours until it is dropped.
    Held(Marker),
    /// Another program holds it.
    Busy,
    /// It names no process and holds no `flock`: the old download script writes such ones.
    Foreign,
    /// The file system has no `flock`: nobody could tell that it was left behind.
    NoFlock,
}

/// The marker of a repo that this process downloads. Dropping it removes it.
#[derive(Debug)]
pub struct Marker(Arc<Held>);

#[derive(Debug)]
struct Held {
    file: File,
    path: PathBuf,
    /// The lines that stay the same.
    head: String,
}

impl Marker {
    /// Tries to take the marker of a repo whose folder exists, for a download that begins now.
    /// What a dead process left is taken over.
    pub fn take(layout: &Layout, repo: &RepoId, now: SystemTime) -> Result<MarkerAttempt> {
        let path = layout.marker(repo);
        let file = match lock::hold(&path, Origin::Create)? {
            Hold::Held(file) => file,
            Hold::Busy | Hold::Absent => return Ok(MarkerAttempt::Busy),
            Hold::NoFlock => return Ok(MarkerAttempt::NoFlock),
        };
        let text = read_all(&file).map_err(Error::at("read", &path))?;
        if !is_torn(&text) {
            let record = MarkerRecord::of(&text);
            if is_foreign(&text) {
                return Ok(MarkerAttempt::Foreign);
            }
            // A `flock` may not be seen between machines; what that one writes is.
            let is_elsewhere = record.pid.is_some() && !record.is_here();
            if is_elsewhere && is_young(&file, now, FRESH) {
                return Ok(MarkerAttempt::Busy);
            }
        }
        // From here on, what is there is ours or somebody's who came later.
        if let Err(error) = file.set_len(0) {
            // One that was made just now says nothing, and nobody would take it away for a while.
            if text.is_empty() && is_same_file(&file, &path) {
                drop(fs::remove_file(&path));
            }
            return Err(Error::from_io("empty", &path, error));
        }
        let held = Arc::new(Held {
            file,
            path,
            head: head(now),
        });
        let mut ours = OURS.lock().unwrap_or_else(PoisonError::into_inner);
        if IS_LEAVING.load(Ordering::Acquire) {
            return Ok(MarkerAttempt::Busy);
        }
        ours.retain(|other| other.strong_count() > 0);
        ours.push(Arc::downgrade(&held));
        Ok(MarkerAttempt::Held(Self(held)))
    }

    /// Says how far the download is: one write over all that was there.
    pub fn write(&self, progress: &MarkerProgress) -> Result<()> {
        let record = record(&self.0.head, progress);
        self.0
            .file
            .write_all_at(record.as_bytes(), 0)
            .map_err(Error::at("write", &self.0.path))
    }

    /// Whether its name still leads to it and it says what we wrote: anybody may have removed it, or
    /// written over it.
    pub fn is_ours(&self) -> bool {
        self.0.is_ours()
    }
}

impl Held {
    fn is_ours(&self) -> bool {
        let is_said_by_us = |text: String| text.is_empty() || text.starts_with(&self.head);
        is_same_file(&self.file, &self.path) && read_all(&self.file).is_ok_and(is_said_by_us)
    }

    fn remove(&self) {
        if self.is_ours()
            && let Err(error) = fs::remove_file(&self.path)
        {
            // Whoever comes next sees that nobody holds it.
            tracing::debug!(%error, path = %self.path.display(), "the marker stays");
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Removes the markers of this process, which makes no more: before an exit that runs no destructors.
pub fn remove_markers() {
    let ours = OURS.lock().unwrap_or_else(PoisonError::into_inner);
    IS_LEAVING.store(true, Ordering::Release);
    for held in ours.iter().filter_map(Weak::upgrade) {
        held.remove();
    }
}

/// Removes a marker that a dead process left: one whose `flock` nobody holds and that says nothing,
/// names a process of this machine that is gone, or was not written for a while; or a script's, if
/// no program downloads the repo and nothing in its folder has changed for a while. `programs` is
/// asked for only then. Says whether it did.
pub fn remove_stale_marker(
    layout: &Layout,
    repo: &RepoId,
    programs: impl FnOnce() -> Programs,
    now: SystemTime,
) -> Result<bool> {
    let path = layout.marker(repo);
    // Looked at first: to ask for its `flock` would look like a download to others.
    let Ok(seen) = host::open_itself(&path) else {
        return Ok(false);
    };
    let is_abandoned = read_all(&seen).is_ok_and(|text| is_foreign(&text) && !is_torn(&text))
        && script::judge(layout, repo, &programs(), now).is_abandoned;
    let is_left = |file: &File| {
        read_all(file).is_ok_and(|text| {
            if text.is_empty() || is_torn(&text) {
                return !is_young(file, now, CREATING);
            }
            let record = MarkerRecord::of(&text);
            let is_gone = record.is_here() && !record.pid.is_some_and(host::is_alive);
            let is_old = !is_young(file, now, FRESH);
            if is_foreign(&text) {
                is_abandoned
            } else {
                is_gone || is_old
            }
        })
    };
    if !is_left(&seen) {
        return Ok(false);
    }
    let Hold::Held(file) = lock::hold(&path, Origin::OnlyIfThere)? else {
        return Ok(false);
    };
    let is_left = is_left(&file) && is_same_file(&file, &path);
    if is_left {
        fs::remove_file(&path).map_err(Error::at("remove", &path))?;
    }
    Ok(is_left)
}

/// Whether it is the beginning of a record of larder's, as a power cut leaves it: a writer that lives
/// writes all of it at once.
pub(super) fn is_torn(text: &str) -> bool {
    let record = record(&head(SystemTime::UNIX_EPOCH), &MarkerProgress::default());
    // The first line has always one width.
    let width = "pid: \n".len() + PID;
    let begins_alike = text.as_bytes().iter().zip(record.as_bytes()).take(width);
    let is_digit_or_blank = |byte: &u8| byte.is_ascii_digit() || *byte == b' ';
    let is_alike = begins_alike
        .enumerate()
        .all(|(at, (ours, theirs))| match at {
            5..15 => is_digit_or_blank(ours),
            _ => ours == theirs,
        });
    let is_cut = text.len() < record.len() || text.contains('\0');
    let is_blank = text.bytes().all(|byte| byte == 0);
    !text.is_empty() && (is_blank || is_alike && is_cut)
}

/// Whether it names no process: its writer holds no `flock` either.
fn is_foreign(text: &str) -> bool {
    let names_nobody = text.starts_with(SCRIPT) || MarkerRecord::of(text).pid.is_none();
    !text.is_empty() && names_nobody
}

/// What the marker of a repo says; `None` if there is none, or nothing that can be read.
pub fn read_marker(layout: &Layout, repo: &RepoId) -> Option<MarkerRecord> {
    read_record(&layout.marker(repo))
}

pub(super) fn read_record(path: &Path) -> Option<MarkerRecord> {
    let file = host::open_itself(path).ok()?;
    let mut last = read_all(&file).ok()?;
    // The system does not promise that a reader sees a write whole: two readings that agree are.
    for _ in 0..READINGS {
        let again = read_all(&file).ok()?;
        if again == last {
            return Some(MarkerRecord::of(&again)).filter(|_| !again.is_empty());
        }
        last = again;
    }
    None
}

/// Whether it was written within `age`. A clock that is ahead of ours says the same.
fn is_young(file: &File, now: SystemTime, age: Duration) -> bool {
    let modified = file.metadata().and_then(|found| found.modified());
    modified.is_ok_and(|at| {
        let distance = now
            .duration_since(at)
            .unwrap_or_else(|ahead| ahead.duration());
        distance < age
    })
}

fn read_all(file: &File) -> std::io::Result<String> {
    let mut bytes = vec![0; MAX_BYTES];
    let count = file.read_at(&mut bytes, 0)?;
    bytes.truncate(count);
    // What a power cut leaves of a file whose bytes were not written yet.
    if bytes.iter().all(|byte| *byte == 0) {
        bytes.clear();
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

pub(super) fn head(started: SystemTime) -> String {
    let pid = std::process::id();
    let at = jiff::Timestamp::try_from(started)
        .map(|at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
        .unwrap_or_default();
    let process = match Holder::of(pid).since_ms {
        Some(ms) => format!("{at} {ms}"),
        None => at,
    };
    let program = concat!("larder ", env!("CARGO_PKG_VERSION"));
    let host = host::host_name();
    line("pid", &pid.to_string(), PID)
        + &line("host", &host, HOST)
        + &line("started", &process, STARTED)
        + &line("program", program, PROGRAM)
}

pub(super) fn record(head: &str, progress: &MarkerProgress) -> String {
    let of = |done: u64, total: u64| format!("{done}/{total}");
    let files = of(progress.files_done, progress.files_total);
    let bytes = of(progress.bytes_done, progress.bytes_total);
    format!(
        "{head}{}{}",
        line("files", &files, FILES),
        line("bytes", &bytes, BYTES)
    )
}

/// A line of always the same length in bytes.
fn line(name: &str, value: &str, width: usize) -> String {
    let value = plain(value, width);
    format!("{name}: {value:<width$}\n")
}

/// A value as a marker can hold it.
fn plain(value: &str, width: usize) -> String {
    let plain = value
        .chars()
        .map(|c| if c.is_ascii_graphic() { c } else { ' ' });
    plain.take(width).collect()
}

impl MarkerRecord {
    /// Whether it names this machine.
    pub(super) fn is_here(&self) -> bool {
        self.host.as_deref() == Some(plain(&host::host_name(), HOST).trim_end())
    }

    /// Reads lines of `name: value`, `name=value` or `name value`; what is not known is left out.
    pub(super) fn of(text: &str) -> Self {
        let mut record = Self::default();
        let mut progress = MarkerProgress::default();
        let (mut has_files, mut has_bytes) = (false, false);
        for line in text.lines() {
            let line = line.trim();
            let Some((name, value)) = line.split_once([' ', '=', ':', '\t']) else {
                continue;
            };
            let value = value.trim_start_matches(['=', ':', ' ', '\t']).trim();
            let said = || (!value.is_empty()).then(|| sanitize_line(value, HOST));
            match name.to_ascii_lowercase().as_str() {
                "pid" => record.pid = value.parse().ok(),
                "host" => record.host = said(),
                "program" => record.program = said(),
                "files" => {
                    if let Some((done, total)) = parts(value) {
                        (progress.files_done, progress.files_total) = (done, total);
                        has_files = true;
                    }
                }
                "bytes" => {
                    if let Some((done, total)) = parts(value) {
                        (progress.bytes_done, progress.bytes_total) = (done, total);
                        has_bytes = true;
                    }
                }
                _ => {}
            }
        }
        record.progress = (has_files && has_bytes).then_some(progress);
        record
    }
}

fn parts(value: &str) -> Option<(u64, u64)> {
    let (done, total) = value.split_once('/')?;
    Some((done.trim().parse().ok()?, total.trim().parse().ok()?))
}

#[cfg(test)]
#[path = "marker_tests.rs"]
mod tests;
