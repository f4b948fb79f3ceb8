//! Owns taking models, or parts of them, out of a cache, so that they can be put back.
//!
//! **Law**: what is no longer as it was shown stays; what somebody writes stays; everything is moved
//! by renames, so a kill at any instant leaves a cache that every tool can read, and an entry whose
//! name says how to go on. Only what was moved is ever freed.

mod back;
#[cfg(test)]
mod back_tests;
mod bin;
mod chains;
mod entry;
mod goes;
#[cfg(test)]
mod goes_tests;
mod locks;
mod manifest;
mod moves;
#[cfg(test)]
mod scene;

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

pub use self::back::{Back, ProofStep, ProofWatch, Prover, WasProven};
pub use self::bin::Bin;
pub(super) use self::goes::kept_files;
pub use self::goes::{Going, Selection, going, put_aside};

use self::back::wrong_of;
use self::bin::Taken;
use self::entry::{Entry, PAYLOADS, State};
use self::goes::entries;
use self::locks::{locks_of, remove_locks};
use self::manifest::Manifest;
use super::blob::{self, Check, Verdict};
use super::holders::{held_locks_of, marker_row, other_download};
use super::lock::{self, BlobLock, LockAttempt};
use super::partials::{Contents, Eyes, partials_of, since_epoch_ms};
use super::refs::{is_leftover, refs_of};
use super::salvage::exact_etag;
use super::{Error, Layout, Result};
use crate::domain::{
    Discard, DiscardKind, DiscardReason, Etag, LockState, PartialState, PlanStep, RepoId, TrashRow,
    sanitize,
};
use crate::host;

/// So many blobs are locked at once: each takes up to three open files.
const MOST_LOCKS: usize = 64;
/// A file of the shared store is named by its hash.
const PAYLOAD_NAME: usize = 64;

/// What became of something that was to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Discarded {
    /// It lies in the trash.
    Moved {
        /// By this id.
        id: String,
        /// Bytes of it.
        bytes: u64,
    },
    /// It is gone.
    Freed {
        /// Bytes that are free now.
        bytes: u64,
    },
}

/// Why something stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stays {
    /// Whether because somebody writes there.
    pub is_written: bool,
    /// In a sentence.
    pub why: String,
}

impl Stays {
    fn because(why: impl Into<String>) -> Self {
        Self {
            is_written: false,
            why: why.into(),
        }
    }
}

/// The steps that take away a repo's unfinished blobs that nobody writes.
pub fn abandoned(layout: &Layout, repo: &RepoId, eyes: &Eyes<'_>) -> Vec<PlanStep> {
    let found = partials_of(layout, repo, &Contents::new(), eyes).unwrap_or_default();
    found
        .into_iter()
        .filter(|(row, ..)| row.state == PartialState::Abandoned)
        .map(|(row, bytes, map)| PlanStep::RemovePartial {
            repo: repo.clone(),
            path: row.path,
            bytes,
            modified_ms: row.modified_ms,
            is_superseded: row.is_superseded,
            map,
        })
        .collect()
}

/// Looks at what would go, and where to.
///
/// # Errors
/// Why it stays.
pub fn plan_discard(
    layout: &Layout,
    repo: &RepoId,
    selection: Selection<'_>,
    reason: DiscardReason,
    is_now: bool,
    eyes: &Eyes<'_>,
) -> Result<Discard, Stays> {
    let going =
        going(layout, repo, selection).map_err(|error| Stays::because(with_causes(&error)))?;
    if let Some(who) = writer(layout, repo, &going.etags, eyes) {
        return Err(Stays {
            is_written: true,
            why: who,
        });
    }
    if layout.root().to_str().is_none() {
        return Err(Stays::because(
            "the path of the cache is no UTF-8, so nobody could note down where it is to be put back",
        ));
    }
    require_reason(layout, repo, selection, reason).map_err(Stays::because)?;
    let kind = selection.kind();
    let bin = Bin::for_discard(layout, repo, kind).filter(|_| !is_now);
    if bin.is_none() && !is_now {
        return Err(Stays::because(
            "there is no place for a trash beside the cache on the same volume: with `--now` it \
             is freed at once",
        ));
    }
    if kind == DiscardKind::Repo && holds_trash(layout, repo) {
        return Err(Stays::because(
            "what was purged of it lies in its own trash: restore or empty that first",
        ));
    }
    Ok(Discard {
        repo: repo.clone(),
        kind,
        what: match selection {
            Selection::Repo => Vec::new(),
            Selection::Revisions(names) => names.iter().map(|name| sanitize(name)).collect(),
            Selection::Blobs(etags, _) | Selection::Orphans(etags) => {
                etags.iter().map(ToString::to_string).collect()
            }
        },
        reason,
        paths: going.paths,
        locks: locks_of(layout, repo, kind, &going.etags)
            .iter()
            .map(|path| path.to_string_lossy().into_owned())
            .collect(),
        bytes: going.bytes,
        accessed_ms: None,
        trash: bin.map(|bin| bin.folder().to_string_lossy().into_owned()),
    })
}

/// That no ref names what goes because no ref names it. One that cannot be read, or holds no commit,
/// may have named it.
fn require_reason(
    layout: &Layout,
    repo: &RepoId,
    selection: Selection<'_>,
    reason: DiscardReason,
) -> Result<(), String> {
    if reason != DiscardReason::Unreferenced {
        return Ok(());
    }
    let refs = refs_of(layout, repo).map_err(|error| with_causes(&error))?;
    for (name, value) in refs.iter().filter(|(name, _)| !is_leftover(name)) {
        let shown = sanitize(name);
        let Some(commit) = value.commit.map(|commit| commit.to_string()) else {
            return Err(format!(
                "the ref `{shown}` holds no commit hash, and may have named it"
            ));
        };
        let is_named = match selection {
            Selection::Repo => layout.snapshots(repo).join(&commit).exists(),
            Selection::Revisions(names) => names.contains(&commit),
            Selection::Blobs(..) | Selection::Orphans(_) => false,
        };
        if is_named {
            return Err(format!("the ref `{shown}` names it"));
        }
    }
    Ok(())
}

/// Takes away what a shown plan names, if it is still what was shown and nobody writes there; what
/// became of it, and which of its lock files are gone.
///
/// # Errors
/// Why it stays, in a sentence.
pub fn discard(
    layout: &Layout,
    planned: &Discard,
    eyes: &Eyes<'_>,
) -> Result<(Discarded, Vec<PathBuf>), String> {
    let (repo, kind) = (&planned.repo, planned.kind);
    let etags: Vec<Etag> = planned
        .what
        .iter()
        .filter(|_| matches!(kind, DiscardKind::Corrupt | DiscardKind::Orphans))
        .filter_map(|name| Etag::new(name).ok())
        .collect();
    let paths: Vec<PathBuf> = planned
        .paths
        .iter()
        .filter(|_| kind == DiscardKind::Corrupt)
        .map(|path| PathBuf::from(&path.path))
        .collect();
    let selection = match kind {
        DiscardKind::Repo => Selection::Repo,
        DiscardKind::Revisions => Selection::Revisions(&planned.what),
        DiscardKind::Corrupt => Selection::Blobs(&etags, &paths),
        DiscardKind::Orphans => Selection::Orphans(&etags),
    };
    let bin = if planned.trash.is_some() {
        Bin::for_discard(layout, repo, kind)
    } else {
        Some(Bin::for_freeing(layout, repo, kind))
    };
    let is_where_shown = |bin: &Bin| {
        let shown = planned.trash.as_deref().map(Path::new);
        shown.is_none_or(|shown| shown == bin.folder())
    };
    let bin = bin
        .filter(is_where_shown)
        .ok_or("the place for the trash is not what it was")?;
    if kind == DiscardKind::Repo && holds_trash(layout, repo) {
        return Err("it has a trash of its own, with something in it".to_owned());
    }
    let look = || going(layout, repo, selection).map_err(|error| with_causes(&error));
    require_reason(layout, repo, selection, planned.reason)?;
    let first = look()?;
    let locks = hold_all(layout, repo, &first.etags, eyes)?;
    if let Some(who) = writer(layout, repo, &[], eyes) {
        return Err(who);
    }
    let now = look()?;
    if let Some(partial) = now.unfinished {
        return Err(format!("`{}` is not finished", partial.display()));
    }
    if now.paths != planned.paths {
        return Err("it has changed since the plan was made".to_owned());
    }
    if now.units.is_empty() {
        return Err("nothing of it is there any more".to_owned());
    }
    let wrong = etags.iter().filter(|_| kind == DiscardKind::Corrupt);
    for etag in wrong.clone() {
        if is_right(layout, repo, etag) {
            return Err(format!("the bytes of {etag} are right"));
        }
    }
    // Hashing takes minutes, and Python makes a link to a blob that is there without any lock.
    if wrong.count() > 0 {
        if let Some(who) = writer(layout, repo, &[], eyes) {
            return Err(who);
        }
        if look()?.paths != planned.paths {
            return Err("it has changed while it was hashed".to_owned());
        }
    }
    let taken = bin
        .take()
        .map_err(|error| with_causes(&error))?
        .ok_or("another larder works on the trash")?;
    let done = move_all(layout, planned, &now, &taken, eyes.now);
    let done = done.map_err(|error| with_causes(&error))?;
    drop(locks);
    Ok((done, remove_locks(layout, repo, kind, &now.etags)))
}

fn move_all(
    layout: &Layout,
    planned: &Discard,
    going: &Going,
    taken: &Taken,
    now: SystemTime,
) -> Result<Discarded> {
    let mut moved = Vec::new();
    for unit in &going.units {
        let Some(text) = unit.to_str() else {
            let error = std::io::Error::other("its name is no UTF-8");
            return Err(Error::from_io("move", unit, error));
        };
        moved.push(text.to_owned());
    }
    let manifest = Manifest {
        format: Manifest::FORMAT,
        cache: layout.root().to_string_lossy().into_owned(),
        repo: planned.repo.folder(),
        kind: planned.kind.name().to_owned(),
        what: planned.what.clone(),
        reason: planned.reason.words().to_owned(),
        purged_ms: since_epoch_ms(now),
        bytes: going.bytes,
        pid: std::process::id(),
        host: host::host_name(),
        how_to_put_back: format!(
            "larder trash restore ID; or move what is in `content/` back into {}",
            layout.root().display()
        ),
        moved,
    };
    // Whoever names an id means one, wherever it lies.
    let bins = Bin::all(layout, &super::repos(layout).unwrap_or_default());
    let entry = Entry::make(taken, &bins, &manifest, now)?;
    if planned.trash.is_some() {
        keep_payloads(layout, &planned.repo, going, &entry);
    }
    let entry = entry.fill(layout, &manifest)?;
    if planned.trash.is_some() {
        return Ok(Discarded::Moved {
            id: entry.id,
            bytes: going.bytes,
        });
    }
    let bytes = entry.free()?;
    Ok(Discarded::Freed { bytes })
}

/// Gives the contents in the shared store that the blobs lead to a second name: nobody's `prune` shall
/// take from the trash what belongs to it.
fn keep_payloads(layout: &Layout, repo: &RepoId, going: &Going, entry: &Entry) {
    let store = layout.shared_store();
    for etag in &going.etags {
        let blob = layout.blob(repo, etag);
        let is_link = blob
            .symlink_metadata()
            .is_ok_and(|found| found.is_symlink());
        let Some(real) = fs::canonicalize(&blob).ok().filter(|_| is_link) else {
            continue;
        };
        let name = real.file_name().and_then(|name| name.to_str());
        let Some(name) = name.filter(|name| name.len() == PAYLOAD_NAME) else {
            continue;
        };
        if !real.starts_with(&store) {
            continue;
        }
        let kept = entry.payloads().join(name);
        let linked =
            fs::create_dir_all(entry.payloads()).and_then(|()| fs::hard_link(&real, &kept));
        if let Err(error) = linked {
            tracing::debug!(%error, name, folder = PAYLOADS, "a shared content has no second name");
        }
    }
}

/// Who writes in the repo, in a sentence.
fn writer(layout: &Layout, repo: &RepoId, etags: &[Etag], eyes: &Eyes<'_>) -> Option<String> {
    if let Some((other, _)) = other_download(layout, repo, eyes) {
        return Some(format!("{} downloads it: {}", other.name(), other.proof));
    }
    if marker_row(layout, repo, eyes).is_some_and(|row| row.state == LockState::Held) {
        return Some("it is being pulled".to_owned());
    }
    if let Some(program) = eyes.programs.downloaders(layout, repo, false).first() {
        let holder = program.holder();
        let name = holder.program.as_deref().unwrap_or("a program");
        return Some(sanitize(&format!(
            "process {} ({name}) downloads it",
            holder.pid
        )));
    }
    let partials = partials_of(layout, repo, &Contents::new(), eyes).unwrap_or_default();
    for (partial, ..) in partials {
        if let PartialState::Live { is_ours, pid, .. } = partial.state {
            let who = match (is_ours, pid) {
                (true, _) => "this larder writes".to_owned(),
                (false, Some(pid)) => format!("process {pid} writes"),
                (false, None) => "somebody writes".to_owned(),
            };
            return Some(format!("{who} `{}`", partial.path));
        }
    }
    let held = held_locks_of(layout, repo, etags.iter().copied(), &Contents::new(), eyes);
    held.iter()
        .find(|row| row.state == LockState::Held)
        .map(|row| {
            let who = match (row.pid, &row.program) {
                (Some(pid), Some(program)) => format!("process {pid} ({program})"),
                (Some(pid), None) => format!("process {pid}"),
                (None, _) => "another program".to_owned(),
            };
            format!("{who} holds `{}`", row.path)
        })
}

/// Takes the locks of all these blobs, as many as are held at once; of the others it is asked whether
/// somebody has them.
fn hold_all(
    layout: &Layout,
    repo: &RepoId,
    etags: &[Etag],
    eyes: &Eyes<'_>,
) -> Result<Vec<BlobLock>, String> {
    let mut locks = Vec::new();
    for etag in etags {
        if (eyes.ours)(repo, etag).is_some_and(|ours| ours.is_at_work || ours.is_wanted) {
            return Err("it is being fetched, or will be when that goes on".to_owned());
        }
        match lock::try_lock(layout, repo, etag, eyes.now) {
            Ok(LockAttempt::Held(lock)) if locks.len() < MOST_LOCKS => locks.push(lock),
            Ok(LockAttempt::Held(_)) => {}
            Ok(LockAttempt::Busy(busy)) => {
                let who = busy.holder.map_or_else(
                    || "another program".to_owned(),
                    |holder| match holder.program {
                        Some(program) => format!("process {} ({program})", holder.pid),
                        None => format!("process {}", holder.pid),
                    },
                );
                return Err(sanitize(&format!("{who} holds `{}`", busy.path.display())));
            }
            Err(error) => return Err(format!("its lock cannot be taken: {error}")),
        }
    }
    Ok(locks)
}

/// Whether a blob's bytes hash to its name.
fn is_right(layout: &Layout, repo: &RepoId, etag: &Etag) -> bool {
    let path = layout.blob(repo, etag);
    let Ok(found) = path.metadata() else {
        return false;
    };
    let on = &mut |_| ControlFlow::Continue(());
    blob::check(&path, etag, found.len(), Check::Hash, on)
        .is_ok_and(|verdict| matches!(verdict, Verdict::Proven))
}

/// Whether the trash inside the repo holds something.
fn holds_trash(layout: &Layout, repo: &RepoId) -> bool {
    !Bin::inside(layout, repo).entries().is_empty()
}

/// What the trash holds, the oldest first.
pub fn trash_rows(layout: &Layout, repos: &[RepoId]) -> Vec<TrashRow> {
    let mut rows: Vec<TrashRow> = Bin::all(layout, repos)
        .iter()
        .flat_map(Entry::all)
        .filter_map(|entry| entry.row())
        .collect();
    rows.sort_by(|a, b| (a.purged_ms, &a.id).cmp(&(b.purged_ms, &b.id)));
    rows
}

/// Of that what a larder left half done that is not at work any more.
pub(super) fn cut_off_rows(layout: &Layout, repos: &[RepoId]) -> Vec<TrashRow> {
    Bin::all(layout, repos)
        .iter()
        .filter(|bin| !bin.is_in_use())
        .flat_map(Entry::all)
        .filter(|entry| entry.state != State::Resting)
        .filter_map(|entry| entry.row())
        .collect()
}

/// Puts back what a row names. What was proven before and has not changed since is not hashed again.
///
/// # Errors
/// Why it stays in the trash, in a sentence.
pub fn restore(
    layout: &Layout,
    repos: &[RepoId],
    row: &TrashRow,
    prover: Prover<'_>,
) -> Result<Back, NotBack> {
    let (taken, entry) = take_entry(layout, repos, row).map_err(NotBack::Refused)?;
    let manifest = manifest_of(&entry, layout).map_err(NotBack::Refused)?;
    if manifest.kind() == Some(DiscardKind::Corrupt) {
        let blobs = entry.content().join(&manifest.repo).join("blobs");
        let blobs = entries(&blobs).unwrap_or_default().into_iter();
        let named: Vec<(PathBuf, Etag)> = blobs
            .filter_map(|blob| {
                // What was put aside gets no content's name back.
                let etag = exact_etag(blob.file_name()?.to_str()?)?;
                Some((blob, etag))
            })
            .collect();
        if let Some(at) = wrong_of(&named, &mut *prover.watch)?.first() {
            return Err(NotBack::Refused(format!(
                "the bytes of `{}` are not those of its name: pull the model, which fetches it",
                named[*at].0.display()
            )));
        }
    }
    let back = entry.restore(layout, &manifest, prover)?;
    drop(taken);
    Ok(back)
}

/// Why something stays in the trash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotBack {
    /// Somebody ended the proof.
    Interrupted,
    /// Why, in a sentence.
    Refused(String),
}

impl From<Error> for NotBack {
    fn from(error: Error) -> Self {
        match error {
            Error::Interrupted => Self::Interrupted,
            error => Self::Refused(with_causes(&error)),
        }
    }
}

/// Frees what a row names; the bytes that are free now.
///
/// # Errors
/// Why it stays, in a sentence.
pub fn free(layout: &Layout, repos: &[RepoId], row: &TrashRow) -> Result<u64, String> {
    let (taken, entry) = take_entry(layout, repos, row)?;
    manifest_of(&entry, layout)?;
    let bytes = entry.free().map_err(|error| with_causes(&error))?;
    drop(taken);
    Ok(bytes)
}

/// Takes the entry that a row names: by its folder and its id, since ids of two trashes may be alike.
fn take_entry(layout: &Layout, repos: &[RepoId], row: &TrashRow) -> Result<(Taken, Entry), String> {
    let folder = Path::new(&row.path).parent();
    for bin in Bin::all(layout, repos) {
        // A row's path is as it is shown.
        if folder != Some(Path::new(&sanitize(&bin.folder().to_string_lossy()))) {
            continue;
        }
        let taken = bin
            .take()
            .map_err(|error| with_causes(&error))?
            .ok_or("another larder works on the trash")?;
        // Looked for only now: another larder may have been at it meanwhile.
        let found = Entry::all(&bin).into_iter().find(|it| it.id == row.id);
        match found {
            Some(entry) if entry.state == State::Resting => return Ok((taken, entry)),
            Some(_) => return Err("what was begun with it is not finished".to_owned()),
            None => break,
        }
    }
    Err(format!("there is no `{}` in the trash", sanitize(&row.id)))
}

/// What an entry says of itself, if it is this cache's: nothing of another's is touched.
fn manifest_of(entry: &Entry, layout: &Layout) -> Result<Manifest, String> {
    let manifest = entry
        .manifest()
        .ok_or("its manifest cannot be read, so that nobody knows where it belongs")?;
    if Path::new(&manifest.cache) != layout.root() {
        let cache = sanitize(&manifest.cache);
        return Err(format!(
            "it belongs to another cache: `--cache-dir {cache}`"
        ));
    }
    Ok(manifest)
}

/// Goes on where larders died: what was done, a sentence each. A trash that another larder has is
/// left to it.
pub fn settle_trash(layout: &Layout, repos: &[RepoId], now: SystemTime) -> Vec<String> {
    let mut notes = Vec::new();
    for bin in Bin::all(layout, repos) {
        bin.sweep(now);
        if Entry::all(&bin)
            .iter()
            .all(|entry| entry.state == State::Resting)
        {
            continue;
        }
        let taken = match bin.take() {
            Ok(Some(taken)) => taken,
            Ok(None) => continue,
            Err(error) => {
                notes.push(sanitize(&with_causes(&error)));
                continue;
            }
        };
        for entry in Entry::all(&bin) {
            let id = entry.id.clone();
            match entry.settle(layout, taken.is_backed_by_flock()) {
                Ok(note) => notes.extend(note.map(|note| sanitize(&note))),
                Err(error) => {
                    let why = with_causes(&error);
                    notes.push(sanitize(&format!(
                        "`{id}` in the trash stays as it is: {why}"
                    )));
                }
            }
        }
    }
    notes
}

/// An error and what it came from, in a line.
fn with_causes(error: &Error) -> String {
    let mut words = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        words.push_str(": ");
        words.push_str(&cause.to_string());
        source = cause.source();
    }
    words
}
