//! Owns what can be told of unfinished blobs by looking: whose they are, how far they got, and
//! whether anybody writes them.
//!
//! Never changes anything; locks are only looked at.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::lock::{self, Content, Look};
use super::salvage::{Leftover, all_partials};
use super::{Layout, Programs, Result};
use crate::domain::{Etag, PartialRow, PartialState, RepoId, RepoPath, sanitize};
use crate::host::{Holder, LockTable};

/// A partial that changed this recently is taken for live although nobody is known to write it.
const RECENT: Duration = Duration::from_mins(1);
/// The last change of a partial of ours is at most this much later than our letting go of it: the
/// clocks of the engine and of a file server differ.
const LET_GO_SLACK: Duration = Duration::from_secs(2);

/// What this process knows of a blob because it works on it, or has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ours {
    /// Whether it is being worked on.
    pub is_at_work: bool,
    /// Whether it will be worked on, now or after a rest or a pause.
    pub is_wanted: bool,
    /// When it was last let go of.
    pub let_go: Option<SystemTime>,
    /// A file with that content.
    pub file: RepoPath,
    /// The content's length.
    pub size_bytes: u64,
}

/// What a look at locks and partials needs to know of this moment and this process.
pub struct Eyes<'a> {
    /// The engine's clock.
    pub now: SystemTime,
    /// The system's table of locks.
    pub table: LockTable,
    /// Other programs that have to do with models.
    pub programs: &'a Programs,
    /// What this process knows of a blob.
    pub ours: &'a (dyn Fn(&RepoId, &Etag) -> Option<Ours> + Sync),
}

/// Contents by name: a file of the repo that has it, and its length.
pub(super) type Contents = HashMap<Etag, (RepoPath, u64)>;

/// An unfinished blob as a row, with the length of its file and the path of its chunk map, if it has
/// one.
pub(super) type Unfinished = (PartialRow, u64, Option<String>);

/// Every unfinished blob of the repo. Linked folders are not entered.
pub(super) fn partials_of(
    layout: &Layout,
    repo: &RepoId,
    contents: &Contents,
    eyes: &Eyes<'_>,
) -> Result<Vec<Unfinished>> {
    if !super::sight::is_own_folder(&layout.repo(repo))
        || !super::sight::is_own_folder(&layout.blobs(repo))
    {
        return Ok(Vec::new());
    }
    let found = all_partials(layout, repo)?;
    Ok(found
        .into_iter()
        .map(|(etag, leftover)| row(layout, repo, &etag, &leftover, contents, eyes))
        .collect())
}

fn row(
    layout: &Layout,
    repo: &RepoId,
    etag: &Etag,
    leftover: &Leftover,
    contents: &Contents,
    eyes: &Eyes<'_>,
) -> Unfinished {
    let ours = (eyes.ours)(repo, etag);
    let known = contents.get(etag).cloned().or_else(|| {
        ours.as_ref()
            .map(|ours| (ours.file.clone(), ours.size_bytes))
    });
    let row = PartialRow {
        repo: repo.clone(),
        path: sanitize(&leftover.path.to_string_lossy()),
        etag: etag.to_string(),
        file: known.as_ref().map(|(path, _)| sanitize(path.as_str())),
        bytes: leftover.bytes,
        expected_bytes: known.as_ref().map(|(_, bytes)| *bytes),
        modified_ms: since_epoch_ms(leftover.modified),
        is_superseded: is_whole(&layout.blob(repo, etag), known.map(|(_, bytes)| bytes)),
        state: state(layout, repo, etag, leftover, ours.as_ref(), eyes),
    };
    let map = Layout::map_of(&leftover.path)
        .filter(|map| map.symlink_metadata().is_ok())
        .map(|map| map.to_string_lossy().into_owned());
    (row, leftover.length, map)
}

/// Whether a file is as long as it should be, as far as that is known. One that was cut off makes
/// nothing needless: what is unfinished heals it.
pub(super) fn is_whole(path: &Path, expected_bytes: Option<u64>) -> bool {
    path.metadata().is_ok_and(|found| {
        found.is_file() && expected_bytes.is_none_or(|bytes| bytes == found.len())
    })
}

fn state(
    layout: &Layout,
    repo: &RepoId,
    etag: &Etag,
    leftover: &Leftover,
    ours: Option<&Ours>,
    eyes: &Eyes<'_>,
) -> PartialState {
    if ours.is_some_and(|ours| ours.is_at_work) {
        return live_here();
    }
    if let Some(writer) = writer_of(layout, repo, etag, eyes) {
        return live(writer.0);
    }
    let is_unmarked = match lock::look_at_mark(&leftover.path) {
        Look::Held(file) => return live(eyes.table.holder_of(&file)),
        Look::Free(_) => true,
        // Finished, or thrown away, while we looked.
        Look::Absent | Look::Link | Look::Unreadable(_) | Look::NoFlock(_) => false,
    };
    if ours.is_some_and(|ours| ours.is_wanted) {
        return live_here();
    }
    if let Some(writer) = eyes.programs.writer_of(&leftover.path) {
        return live(Some(writer.clone()));
    }
    let is_left_by_us = ours
        .and_then(|ours| ours.let_go)
        .is_some_and(|at| leftover.modified <= at + LET_GO_SLACK);
    // Whoever leaves a chunk map marks what it writes, and says when it only rests.
    let is_left_by_larder = is_unmarked
        && Layout::map_of(&leftover.path).is_some_and(|map| map.exists())
        && !matches!(lock::look_at_mark(&layout.marker(repo)), Look::Held(_));
    if !is_left_by_us && !is_left_by_larder && distance(eyes.now, leftover.modified) < RECENT {
        return live(None);
    }
    PartialState::Abandoned
}

/// Somebody who holds one of the blob's locks; who, if the system tells.
pub(super) struct Writer(pub(super) Option<Holder>);

/// Looks whether anybody holds one of the blob's locks.
pub(super) fn writer_of(
    layout: &Layout,
    repo: &RepoId,
    etag: &Etag,
    eyes: &Eyes<'_>,
) -> Option<Writer> {
    [
        layout.hub_lock(repo, etag),
        layout.swift_lock(repo, etag),
        layout.legacy_lock(repo, etag),
    ]
    .iter()
    .find_map(|path| match lock::look(path, eyes.now) {
        Look::Held(file) => Some(Writer(eyes.table.holder_of(&file))),
        Look::Free(Some(content)) | Look::NoFlock(Some(content)) if content.counts() => {
            Some(Writer(content.pid_here().map(Holder::of)))
        }
        Look::Absent | Look::Link | Look::Unreadable(_) | Look::Free(_) | Look::NoFlock(_) => None,
    })
}

/// Whether anybody, this process included, is writing the blob.
pub fn is_being_written(layout: &Layout, repo: &RepoId, etag: &Etag, eyes: &Eyes<'_>) -> bool {
    (eyes.ours)(repo, etag).is_some_and(|ours| ours.is_at_work)
        || writer_of(layout, repo, etag, eyes).is_some()
}

/// Whether somebody is known to write an unfinished blob. One that has merely changed a moment ago may
/// be what a dead program left, and hides nothing that is missing.
pub(super) fn is_being_fetched(layout: &Layout, row: &PartialRow, eyes: &Eyes<'_>) -> bool {
    let PartialState::Live { is_ours, pid, .. } = &row.state else {
        return false;
    };
    let is_locked = || {
        let etag = Etag::new(&row.etag);
        etag.is_ok_and(|etag| is_being_written(layout, &row.repo, &etag, eyes))
    };
    *is_ours || pid.is_some() || is_locked()
}

fn live_here() -> PartialState {
    PartialState::Live {
        is_ours: true,
        pid: Some(std::process::id()),
        program: None,
    }
}

fn live(holder: Option<Holder>) -> PartialState {
    if holder
        .as_ref()
        .is_some_and(|holder| holder.pid == std::process::id())
    {
        return live_here();
    }
    PartialState::Live {
        is_ours: false,
        pid: holder.as_ref().map(|holder| holder.pid),
        program: holder
            .and_then(|holder| holder.program)
            .map(|program| sanitize(&program)),
    }
}

/// How far apart two moments are, whichever was first: clocks jump.
pub(super) fn distance(one: SystemTime, other: SystemTime) -> Duration {
    one.duration_since(other)
        .unwrap_or_else(|ahead| ahead.duration())
}

pub(super) fn since_epoch_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// How long ago something was, in words.
pub(super) fn age_of(content: &Content) -> String {
    age_words(content.age)
}

pub(super) fn age_words(age: Duration) -> String {
    match age.as_secs() {
        seconds @ 0..120 => format!("{seconds} s ago"),
        seconds @ 120..7_200 => format!("{} min ago", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h ago", seconds / 3_600),
        seconds => format!("{} days ago", seconds / 86_400),
    }
}
