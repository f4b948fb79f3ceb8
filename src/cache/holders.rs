//! Owns what can be told of lock files by looking: their state, who holds them, and the sentence
//! that says how that was found out.
//!
//! Never takes a lock and never creates one.

use std::path::{Path, PathBuf};

use super::Layout;
use super::lock::{self, Content, Look};
use super::marker::{self, MarkerRecord, SCRIPT};
use super::partials::{Contents, Eyes, age_of};
use super::programs::{Program, Role};
use super::salvage::exact_etag;
use super::script;
use super::sight::is_own_folder;
use crate::domain::{
    CacheKind, Etag, LockKind, LockRow, LockState, OtherProgress, OtherPull, RepoId, sanitize,
    sanitize_line,
};
use crate::host::{self, Holder};

/// The longest command line that is shown, in characters.
const COMMAND_LINE: usize = 300;

/// Every lock file of the repo that exists.
pub(super) fn locks_of(
    layout: &Layout,
    repo: &RepoId,
    contents: &Contents,
    eyes: &Eyes<'_>,
) -> Vec<LockRow> {
    let mut found: Vec<(LockKind, PathBuf, Option<Etag>)> = Vec::new();
    let folder = layout.repo(repo);
    let locks = layout.locks();
    let hub = locks.join(repo.folder());
    // Linked folders may lead out of the cache.
    let is_inside = is_own_folder(&locks) && is_own_folder(&hub);
    for (kind, dir, is_inside) in [
        (LockKind::Hub, hub.clone(), is_inside),
        (LockKind::Swift, hub.join("blobs"), is_inside),
        (LockKind::Legacy, layout.blobs(repo), is_own_folder(&folder)),
    ] {
        if is_inside && is_own_folder(&dir) {
            found.extend(
                lock_files(&dir)
                    .into_iter()
                    .map(|(path, etag)| (kind, path, Some(etag))),
            );
        }
    }
    if is_own_folder(&folder) {
        found.push((LockKind::Marker, layout.marker(repo), None));
    }
    let mut rows: Vec<LockRow> = found
        .into_iter()
        .filter_map(|(kind, path, etag)| row(layout, repo, kind, &path, etag, contents, eyes))
        .collect();
    rows.sort_by(|a, b| (a.kind as u8, &a.path).cmp(&(b.kind as u8, &b.path)));
    rows
}

/// Of a repo that nobody looks at: the locks of `etags` and the marker, if they are held or stale.
pub(super) fn held_locks_of(
    layout: &Layout,
    repo: &RepoId,
    etags: impl Iterator<Item = Etag>,
    contents: &Contents,
    eyes: &Eyes<'_>,
) -> Vec<LockRow> {
    let mut found = vec![(LockKind::Marker, layout.marker(repo), None)];
    for etag in etags {
        found.extend([
            (LockKind::Hub, layout.hub_lock(repo, &etag), Some(etag)),
            (LockKind::Swift, layout.swift_lock(repo, &etag), Some(etag)),
            (
                LockKind::Legacy,
                layout.legacy_lock(repo, &etag),
                Some(etag),
            ),
        ]);
    }
    found
        .into_iter()
        .filter_map(|(kind, path, etag)| row(layout, repo, kind, &path, etag, contents, eyes))
        .filter(|row| matches!(row.state, LockState::Held | LockState::Stale))
        .collect()
}

/// The download marker, if there is one.
pub(super) fn marker_row(layout: &Layout, repo: &RepoId, eyes: &Eyes<'_>) -> Option<LockRow> {
    let path = layout.marker(repo);
    let nothing = Contents::new();
    row(layout, repo, LockKind::Marker, &path, None, &nothing, eyes)
}

/// The lock of one file of a folder that Python downloaded into, if it is there.
pub(super) fn lock_of_file(
    folder: &Path,
    repo: &RepoId,
    path: &Path,
    eyes: &Eyes<'_>,
) -> Option<LockRow> {
    let (layout, nothing) = (Layout::new(folder.to_owned()), Contents::new());
    row(
        &layout,
        repo,
        LockKind::LocalDir,
        path,
        None,
        &nothing,
        eyes,
    )
}

/// Other programs that have to do with the repo and are not yet among `rows`.
pub(super) fn programs_on(
    layout: &Layout,
    repo: &RepoId,
    rows: &[LockRow],
    eyes: &Eyes<'_>,
) -> Vec<LockRow> {
    let folder = layout.repo(repo);
    eyes.programs
        .on(layout, repo)
        .filter(|program| {
            let is_it = |row: &LockRow| {
                row.repo == *repo
                    && row.state == LockState::Held
                    && row.pid == Some(program.holder.pid)
            };
            !rows.iter().any(is_it)
        })
        .map(|program| program_row(layout, repo, &folder, program))
        .collect()
}

fn program_row(layout: &Layout, repo: &RepoId, folder: &Path, program: &Program) -> LockRow {
    let open = program.open_in(folder);
    let inside = open.and_then(|open| open.path.strip_prefix(folder).ok());
    let writes = open.is_some_and(|open| open.is_writable);
    let proof = match (inside, program.role) {
        (Some(path), _) if writes => format!("it has `{}` open and may write it", path.display()),
        (Some(path), _) => format!("it has `{}` open", path.display()),
        (None, Role::Downloads) => {
            "its arguments name the model; where it writes cannot be told".to_owned()
        }
        (None, Role::Loads) => "its arguments name the model".to_owned(),
    };
    let (kind, state) = match program.role {
        // Whoever writes here downloads, whatever its name.
        _ if writes => (LockKind::Downloader, LockState::Held),
        Role::Downloads => (LockKind::Downloader, LockState::Unknown),
        Role::Loads => (LockKind::Loader, LockState::Free),
    };
    let holder = program.holder.clone();
    LockRow {
        repo: repo.clone(),
        cache: CacheKind::Hub,
        cache_path: sanitize(&layout.root().to_string_lossy()),
        kind,
        path: sanitize(&open.map_or(folder, |open| &open.path).to_string_lossy()),
        etag: None,
        file: None,
        state,
        pid: Some(holder.pid),
        program: holder.program.map(|program| sanitize(&program)),
        command_line: holder
            .command_line
            .map(|line| sanitize_line(&line, COMMAND_LINE)),
        since_ms: holder.since_ms,
        is_ours: false,
        proof: sanitize(&proof),
    }
}

/// Who else downloads the repo, by its marker, and what changes while that makes progress: a marker
/// that is held is written again and again, and without one files grow.
pub fn other_download(layout: &Layout, repo: &RepoId, eyes: &Eyes<'_>) -> Option<(OtherPull, u64)> {
    let path = layout.marker(repo);
    let row = row(
        layout,
        repo,
        LockKind::Marker,
        &path,
        None,
        &Contents::new(),
        eyes,
    )?;
    if row.state != LockState::Held || row.is_ours {
        return None;
    }
    let progress = marker::read_record(&path).and_then(|record| record.progress);
    let beat = script::movement(layout, repo, eyes.now).print;
    Some((
        OtherPull {
            pid: row.pid,
            program: row.program,
            progress: progress.map(|progress| OtherProgress {
                files_done: progress.files_done,
                files_total: progress.files_total,
                bytes_done: progress.bytes_done,
                bytes_total: progress.bytes_total,
            }),
            proof: row.proof,
        },
        beat,
    ))
}

fn lock_files(dir: &Path) -> Vec<(PathBuf, Etag)> {
    host::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            let etag = exact_etag(name.strip_suffix(".lock")?)?;
            Some((dir.join(&name), etag))
        })
        .collect()
}

/// What is known of a lock.
struct Known {
    state: LockState,
    holder: Option<Holder>,
    proof: String,
}

fn row(
    layout: &Layout,
    repo: &RepoId,
    kind: LockKind,
    path: &Path,
    etag: Option<Etag>,
    contents: &Contents,
    eyes: &Eyes<'_>,
) -> Option<LockRow> {
    let ours = etag.as_ref().and_then(|etag| (eyes.ours)(repo, etag));
    let is_our_work = ours.as_ref().is_some_and(|ours| ours.is_at_work);
    let known = match lock::look(path, eyes.now) {
        Look::Absent => return None,
        Look::Link => unknown("a link stands in the place of the lock; it is not followed"),
        Look::Unreadable(error) => unknown(&format!("the lock cannot be asked: {error}")),
        Look::Held(file) => {
            let holder = eyes.table.holder_of(&file);
            match marker::read_record(path).filter(|_| kind == LockKind::Marker) {
                Some(record) => held_marker(holder, &record),
                None => match eyes.programs.only_opener_of(path) {
                    // Who waits for a lock of ours has it open, too.
                    Some(opener) if holder.is_none() && !is_our_work => inferred(opener),
                    _ => held(holder),
                },
            }
        }
        Look::Free(content) if kind == LockKind::Marker => marker(layout, repo, content, eyes),
        Look::Free(content) => match content {
            Some(content) => by_content(&content),
            None => Known {
                state: LockState::Free,
                holder: None,
                proof: "nobody holds its `flock`; a lock file that stays behind is normal"
                    .to_owned(),
            },
        },
        // Who writes it holds no `flock` anyway.
        Look::NoFlock(Some(content)) if kind == LockKind::Marker && names_nobody(&content) => {
            marker(layout, repo, Some(content), eyes)
        }
        Look::NoFlock(content) => match content {
            Some(content) => by_content(&content),
            None => unknown("this file system has no `flock`, so nobody can be asked"),
        },
    };
    let is_ours = known.state == LockState::Held
        && (is_our_work
            || known
                .holder
                .as_ref()
                .is_some_and(|holder| holder.pid == std::process::id()));
    let file = etag.as_ref().and_then(|etag| {
        let listed = contents.get(etag).map(|(path, _)| path.as_str());
        listed
            .or_else(|| ours.as_ref().map(|ours| ours.file.as_str()))
            .map(sanitize)
    });
    let (pid, program, command_line, since_ms) = match known.holder {
        Some(holder) => (
            Some(holder.pid),
            holder.program,
            holder.command_line,
            holder.since_ms,
        ),
        None => (None, None, None, None),
    };
    Some(LockRow {
        repo: repo.clone(),
        cache: CacheKind::Hub,
        cache_path: sanitize(&layout.root().to_string_lossy()),
        kind,
        path: sanitize(&path.to_string_lossy()),
        etag: etag.map(|etag| etag.to_string()),
        file,
        state: known.state,
        pid,
        program: program.map(|program| sanitize(&program)),
        command_line: command_line.map(|line| sanitize_line(&line, COMMAND_LINE)),
        since_ms,
        is_ours,
        proof: known.proof,
    })
}

/// Whether a marker is one of a script's.
fn names_nobody(content: &Content) -> bool {
    MarkerRecord::of(&content.text).pid.is_none()
}

fn unknown(proof: &str) -> Known {
    Known {
        state: LockState::Unknown,
        holder: None,
        proof: sanitize(proof),
    }
}

fn held(holder: Option<Holder>) -> Known {
    let proof = match &holder {
        Some(holder) => format!(
            "its `flock` is taken, and the system's table of locks names process {}",
            holder.pid
        ),
        None => "its `flock` is taken; by which process, the system does not tell".to_owned(),
    };
    Known {
        state: LockState::Held,
        holder,
        proof,
    }
}

/// A lock whose holder the system does not name, as macOS does not.
fn inferred(opener: &Holder) -> Known {
    Known {
        state: LockState::Held,
        holder: Some(opener.clone()),
        proof: format!(
            "its `flock` is taken; by whom, the system does not tell, but only process {} has it \
             open, so it is taken for the holder",
            opener.pid
        ),
    }
}

/// A lock file with content, as programs write it where there is no `flock`: its existence counts.
fn by_content(content: &Content) -> Known {
    let age = age_of(content);
    match (content.pid, content.pid_here()) {
        (Some(_), Some(pid)) if !host::is_alive(pid) => Known {
            state: LockState::Stale,
            holder: None,
            proof: format!("it was left by process {pid} of this machine, which is gone"),
        },
        (Some(_), Some(pid)) if content.is_fresh() => Known {
            state: LockState::Held,
            holder: Some(Holder::of(pid)),
            proof: format!(
                "its existence counts: process {pid} of this machine, which lives, wrote it {age}"
            ),
        },
        _ if content.is_fresh() => Known {
            state: LockState::Held,
            holder: None,
            proof: match &content.host {
                Some(host) => sanitize(&format!(
                    "its existence counts: a process on `{host}` wrote it {age}"
                )),
                None => format!("its existence counts, and it was written {age}"),
            },
        },
        _ => unknown(&format!(
            "it has content, as locks whose existence counts have, but that was written {age}; \
             downloads do not wait for it"
        )),
    }
}

/// A download marker that nobody holds: apps that only test for the file wait all the same.
fn marker(layout: &Layout, repo: &RepoId, content: Option<Content>, eyes: &Eyes<'_>) -> Known {
    let Some(content) = content else {
        return Known {
            state: LockState::Free,
            holder: None,
            proof: "it is empty and nobody holds its `flock`".to_owned(),
        };
    };
    let record = MarkerRecord::of(&content.text);
    let age = age_of(&content);
    if marker::is_torn(&content.text) {
        return Known {
            state: LockState::Stale,
            holder: None,
            proof: format!(
                "it is cut off, as a power cut leaves it, and nobody holds its `flock`; it was \
                 written {age}"
            ),
        };
    }
    let is_here = record.host.as_deref() == Some(host::host_name().as_str());
    match record.pid {
        Some(pid) if is_here && !host::is_alive(pid) => Known {
            state: LockState::Stale,
            holder: None,
            proof: format!(
                "it names process {pid} of this machine, which is gone, and nobody holds its `flock`"
            ),
        },
        Some(pid) if is_here => Known {
            state: LockState::Free,
            holder: None,
            proof: format!(
                "nobody holds its `flock`, although process {pid}, which it names, lives: that has \
                 ended its download"
            ),
        },
        Some(pid) => {
            let machine = match &record.host {
                Some(host) => format!("`{host}`"),
                None => "a machine it does not name".to_owned(),
            };
            let known = unknown(&format!(
                "it names process {pid} of {machine}, and nobody here holds its `flock`; it was \
                 written {age}"
            ));
            if host::is_remote(&layout.marker(repo)) {
                return known;
            }
            // On a disk of this machine, whoever holds it holds it here, whatever they call it.
            Known {
                state: LockState::Stale,
                proof: format!("{}; the disk is this machine's", known.proof),
                ..known
            }
        }
        None => {
            let judged = script::judge(layout, repo, eyes.programs, eyes.now);
            let writer = if content.text.starts_with(SCRIPT) {
                "a script that holds no `flock` wrote it"
            } else {
                "whoever wrote it holds no `flock` and names no process; that was"
            };
            Known {
                state: if judged.is_at_work {
                    LockState::Held
                } else {
                    LockState::Stale
                },
                holder: judged.holder.filter(|_| judged.is_at_work),
                proof: sanitize(&format!("{writer} {age}; {}", judged.why)),
            }
        }
    }
}

/// A marker that somebody holds: by whom, it says itself where the system does not, and how far the
/// download is.
fn held_marker(holder: Option<Holder>, record: &MarkerRecord) -> Known {
    let is_told = holder.is_some();
    let named = record.pid.filter(|_| record.is_here()).map(Holder::of);
    let mut known = held(holder.or(named));
    if !is_told && let Some(holder) = &mut known.holder {
        holder.program = holder.program.take().or_else(|| record.program.clone());
        known.proof = format!("its `flock` is taken, and it names process {}", holder.pid);
    }
    if let Some(progress) = record.progress {
        let percent = progress.bytes_done.saturating_mul(100) / progress.bytes_total.max(1);
        known.proof = format!(
            "{}; it has {} of {} files, {percent} %",
            known.proof, progress.files_done, progress.files_total
        );
    }
    known
}

#[cfg(test)]
#[path = "holders_tests.rs"]
mod tests;
