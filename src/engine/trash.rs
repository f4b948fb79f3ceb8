//! Owns the trash as the engine sees it: showing it, putting something back, freeing it, and what is
//! due at the start of whatever writes: going on where a larder died, and freeing what is old.
//!
//! **Law**: nothing that was put into the trash is freed before its time without a plan that named it.

use std::fs::Metadata;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::emit::{Emitter, millis};
use super::failure::from_cache;
use super::history;
use super::job::{blocking, heard_stop};
use crate::cache::{self, Layout, NotBack, ProofStep, Prover};
use crate::config::TrashSettings;
use crate::domain::{
    Command, Etag, Event, Failure, FailureCode, Kept, Outcome, RepoId, TrashRequest, TrashResult,
    TrashRow, sanitize,
};
use crate::host;
use crate::ledger::Stamp;

const DAY_MS: u64 = 86_400_000;
/// Least time between two words about progress.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// How far the proof of what comes back is; written by the thread that hashes.
#[derive(Debug, Default)]
struct Proving {
    /// Contents and bytes that are to be hashed.
    all: OnceLock<(usize, u64)>,
    files: AtomicUsize,
    bytes: AtomicU64,
    path: Mutex<String>,
}

impl Proving {
    /// Hears of one step; `done_bytes` are those of files hashed to their end.
    fn hear(&self, step: ProofStep<'_>, done_bytes: &mut u64) {
        match step {
            ProofStep::Begins { files, bytes } => {
                // Where two parts are proven one after the other, the first has said it.
                let _ = self.all.set((files, bytes));
            }
            ProofStep::At { path, bytes } => {
                if bytes == 0 {
                    let name = sanitize(&path.to_string_lossy());
                    *self.path.lock().unwrap_or_else(PoisonError::into_inner) = name;
                }
                self.bytes.store(*done_bytes + bytes, Ordering::Relaxed);
            }
            ProofStep::Done { bytes } => {
                *done_bytes += bytes;
                self.files.fetch_add(1, Ordering::Relaxed);
                self.bytes.store(*done_bytes, Ordering::Relaxed);
            }
        }
    }

    /// Says it as a verification does, once there is something to say.
    async fn say(&self, emitter: &Emitter, is_begun: &mut bool) {
        let Some(&(files, bytes)) = self.all.get() else {
            return;
        };
        if !*is_begun {
            *is_begun = true;
            let snapshots = 0;
            emitter
                .fact(Event::VerifyStarted {
                    snapshots,
                    files,
                    bytes,
                })
                .await;
        }
        let path = self.path.lock().unwrap_or_else(PoisonError::into_inner);
        emitter.progress(Event::VerifyProgress {
            files: self.files.load(Ordering::Relaxed).min(files),
            bytes: self.bytes.load(Ordering::Relaxed).min(bytes),
            path: path.clone(),
        });
    }
}

/// Carries a wish out; one to put something back can be ended until it is proven.
pub(super) async fn run(
    shared: Arc<Shared>,
    emitter: Emitter,
    request: TrashRequest,
    mut commands: mpsc::Receiver<Command>,
) {
    let started = emitter.now();
    let is_look = matches!(request, TrashRequest::List | TrashRequest::ListOwn);
    if !is_look {
        // What was begun must be over; what is old may be what is wanted back.
        settle(&shared, &emitter, None, Expiry::Keep).await;
    }
    let proving = Arc::new(Proving::default());
    let stop = CancellationToken::new();
    let done = {
        let (shared, heard, halt) = (Arc::clone(&shared), Arc::clone(&proving), stop.clone());
        let work = blocking(move || carry_out(&shared, &request, &heard, &halt));
        tokio::pin!(work);
        follow(work, &emitter, &proving, (&mut commands, &stop)).await
    };
    let outcome = match done.flatten() {
        Ok(Done::Interrupted) => Outcome::Cancelled,
        Ok(Done::Seen(rows)) => {
            emitter.fact(Event::TrashSeen { rows }).await;
            Outcome::Listed
        }
        Ok(Done::Changed(result, repos)) => {
            for repo in &repos {
                shared.stirred.add(repo);
            }
            let outcome = Outcome::Trashed(result.clone());
            let bytes = result.restored_bytes + result.freed_bytes;
            let times = (started, emitter.now());
            history::keep(
                &shared,
                history::row("trash", &repos, bytes, times, &outcome),
            )
            .await;
            outcome
        }
        Err(failure) => Outcome::Failed {
            failures: vec![failure],
        },
    };
    emitter.fact(Event::Ended(outcome)).await;
}

/// Waits for the work, says how far it is, and passes on the wish to stop.
async fn follow<T>(
    mut work: Pin<&mut impl Future<Output = T>>,
    emitter: &Emitter,
    proving: &Proving,
    (commands, stop): (&mut mpsc::Receiver<Command>, &CancellationToken),
) -> T {
    let mut ticks = tokio::time::interval(PROGRESS_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // The first tick comes at once, and there is nothing to say yet.
    ticks.tick().await;
    let mut is_begun = false;
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = heard_stop(commands), if !stop.is_cancelled() => stop.cancel(),
            _ = ticks.tick() => proving.say(emitter, &mut is_begun).await,
        }
    }
}

enum Done {
    /// Before anything was moved.
    Interrupted,
    Seen(Vec<TrashRow>),
    Changed(TrashResult, Vec<RepoId>),
}

fn carry_out(
    shared: &Shared,
    request: &TrashRequest,
    proving: &Proving,
    stop: &CancellationToken,
) -> Result<Done, Failure> {
    let (layout, repos) = place(shared)?;
    // Only what is this cache's can be put back or freed by it.
    let rows = own_rows(&layout, &repos);
    match request {
        TrashRequest::List => Ok(Done::Seen(cache::trash_rows(&layout, &repos))),
        TrashRequest::ListOwn => Ok(Done::Seen(rows)),
        TrashRequest::Restore { id } => {
            let row = find(&rows, id.as_deref())?;
            let mut done_bytes = 0;
            let mut watch = |step: ProofStep<'_>| {
                proving.hear(step, &mut done_bytes);
                if stop.is_cancelled() {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            };
            // The blobs' folder may be gone: no link in its path is resolved, and there is none.
            let known = shared.memory.known_below(&layout.blobs(&row.repo));
            let was_proven = |place: &Path, found: &Metadata, etag: &Etag| {
                let known = place.to_str().and_then(|place| known.get(place));
                known.is_some_and(|known| {
                    known.computed.is_none()
                        && known.etag == *etag
                        && known.stamp == Stamp::of(found)
                })
            };
            let prover = Prover {
                was_proven: &was_proven,
                watch: &mut watch,
            };
            let back = match cache::restore(&layout, &repos, row, prover) {
                Ok(back) => back,
                Err(NotBack::Interrupted) => return Ok(Done::Interrupted),
                Err(NotBack::Refused(why)) => {
                    let stays = format!("`{}` stays in the trash", row.id);
                    return Err(Failure::new(FailureCode::Refused, stays)
                        .because(sanitize(&why))
                        .at_path(row.path.clone()));
                }
            };
            let shown = |paths: &[PathBuf]| -> Vec<String> {
                let texts = paths.iter().map(|path| sanitize(&path.to_string_lossy()));
                texts.collect()
            };
            let result = TrashResult {
                ids: vec![row.id.clone()],
                restored: shown(&back.restored),
                wrong: shown(&back.wrong),
                restored_bytes: back.bytes,
                freed_bytes: 0,
                kept: back.kept,
            };
            Ok(Done::Changed(result, vec![row.repo.clone()]))
        }
        TrashRequest::Empty { rows: shown } => {
            let mut result = TrashResult::default();
            let was_shown = |row: &&TrashRow| shown.iter().any(|shown| is_same(row, shown));
            for row in rows.iter().filter(was_shown) {
                match cache::free(&layout, &repos, row) {
                    Ok(bytes) => {
                        result.ids.push(row.id.clone());
                        result.freed_bytes += bytes;
                    }
                    Err(why) => result.kept.push(Kept {
                        path: row.path.clone(),
                        why: sanitize(&why),
                    }),
                }
            }
            Ok(Done::Changed(result, Vec::new()))
        }
    }
}

/// Whether two rows are of one entry: the end of its name changes with what is done with it.
fn is_same(one: &TrashRow, other: &TrashRow) -> bool {
    let place = |row: &TrashRow| Path::new(&row.path).parent().map(Path::to_owned);
    one.id == other.id
        && place(one) == place(other)
        && (&one.repo, one.purged_ms, &one.cache) == (&other.repo, other.purged_ms, &other.cache)
}

/// The entry of that id or path, or whose id begins so; the newest if none is named.
fn find<'a>(rows: &'a [TrashRow], id: Option<&str>) -> Result<&'a TrashRow, Failure> {
    let absent = |what: &str| {
        let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
        let why = if ids.is_empty() {
            "the trash is empty".to_owned()
        } else {
            format!("in the trash are {}", ids.join(", "))
        };
        Failure::new(FailureCode::Incomplete, what).because(why)
    };
    let Some(id) = id else {
        return rows.last().ok_or_else(|| absent("nothing can be put back"));
    };
    let mut exact = rows.iter().filter(|row| row.id == id || row.path == id);
    let first = exact.next();
    if let (Some(first), Some(second)) = (first, exact.next()) {
        let why = format!(
            "name one by its path: `{}` or `{}`",
            first.path, second.path
        );
        return Err(absent(&format!("two purges are called `{}`", sanitize(id))).because(why));
    }
    let mut alike = rows.iter().filter(|row| row.id.starts_with(id));
    let only = || {
        let first = alike.next()?;
        alike.next().is_none().then_some(first)
    };
    first
        .or_else(only)
        .ok_or_else(|| absent(&format!("there is no `{}` in the trash", sanitize(id))))
}

fn place(shared: &Shared) -> Result<(Layout, Vec<RepoId>), Failure> {
    let root = cache::resolve_root(&shared.config.cache_dir).map_err(from_cache)?;
    let layout = Layout::new(root);
    let repos = cache::repos(&layout).unwrap_or_default();
    Ok((layout, repos))
}

/// Whether what is old is freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expiry {
    /// As the settings say.
    Free,
    /// Not now.
    Keep,
}

/// What is due before anything is written: of one repo, or of all.
pub(super) async fn settle(
    shared: &Arc<Shared>,
    emitter: &Emitter,
    only: Option<&RepoId>,
    expiry: Expiry,
) {
    let (work, now, only) = (Arc::clone(shared), emitter.now(), only.cloned());
    let notes = blocking(move || {
        let Ok((layout, all)) = place(&work) else {
            return Vec::new();
        };
        let repos = only.map_or(all, |repo| vec![repo]);
        let mut notes = cache::settle_trash(&layout, &repos, now);
        if expiry == Expiry::Free {
            notes.extend(expire(&work, &layout, &repos, now));
        }
        notes
    })
    .await;
    match notes {
        Ok(notes) => {
            for note in notes {
                emitter.fact(Event::Noted { note }).await;
            }
        }
        Err(failure) => tracing::warn!(%failure, "the trash was not looked at"),
    }
}

/// Frees what is due; what was freed, a sentence each.
fn expire(shared: &Shared, layout: &Layout, repos: &[RepoId], now: SystemTime) -> Vec<String> {
    let settings = shared.config.trash;
    let rows = own_rows(layout, repos);
    if rows.is_empty() {
        return Vec::new();
    }
    let total = host::disk(layout.root()).map_or(u64::MAX, |disk| disk.total_bytes);
    let most = total / 100 * u64::from(settings.percent);
    let now_ms = millis(now.duration_since(UNIX_EPOCH).unwrap_or_default());
    let mut notes = Vec::new();
    for (row, why) in due(&rows, settings, most, now_ms) {
        match cache::free(layout, repos, row) {
            Ok(_) => notes.push(format!("`{}` ({}) was freed: {why}", row.repo, row.id)),
            Err(why) => {
                tracing::debug!(id = row.id, why, "an old entry of the trash stays");
            }
        }
    }
    notes
}

/// What has lain there for too long, and the oldest while all of it is more than `most` bytes, with
/// why. For its size alone never the newest, nor what has not lain there for a day: whoever purged it
/// was told just now that it can be put back. Of `rows` the oldest comes first.
fn due(
    rows: &[TrashRow],
    settings: TrashSettings,
    most: u64,
    now_ms: u64,
) -> Vec<(&TrashRow, String)> {
    let mut sum: u64 = rows.iter().map(|row| row.bytes).sum();
    let mut found = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        if row.cut_off.is_some() {
            continue;
        }
        let age_ms = now_ms.saturating_sub(row.purged_ms);
        let is_old = age_ms >= u64::from(settings.days).saturating_mul(DAY_MS);
        let may_be_missed = age_ms < DAY_MS || at + 1 == rows.len();
        if !is_old && (sum <= most || may_be_missed) {
            continue;
        }
        sum = sum.saturating_sub(row.bytes);
        let why = if is_old {
            format!("it had been in the trash for {} days", age_ms / DAY_MS)
        } else {
            let percent = settings.percent;
            format!("the trash held more than {percent} % of the disk")
        };
        found.push((row, why));
    }
    found
}

/// What the trash holds of this cache: what another cache in the same folder purged is its own.
fn own_rows(layout: &Layout, repos: &[RepoId]) -> Vec<TrashRow> {
    let root = sanitize(&layout.root().to_string_lossy());
    let mut rows = cache::trash_rows(layout, repos);
    rows.retain(|row| row.cache == root);
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{DiscardKind, RepoKind};

    fn row(id: &str, purged_ms: u64) -> TrashRow {
        TrashRow {
            id: id.to_owned(),
            repo: RepoId::new(RepoKind::Model, "org/m").unwrap(),
            kind: DiscardKind::Repo,
            what: Vec::new(),
            reason: String::new(),
            purged_ms,
            bytes: 100,
            path: format!("/t/{id}"),
            cache: "/c".to_owned(),
            cut_off: None,
        }
    }

    #[test]
    fn for_its_size_alone_neither_the_newest_nor_a_purge_of_today_is_freed() {
        let settings = TrashSettings {
            days: 7,
            percent: 10,
        };
        let now_ms = 100 * DAY_MS;
        let ids = |rows: &[TrashRow], most| {
            let found = due(rows, settings, most, now_ms);
            found
                .iter()
                .map(|(row, _)| row.id.clone())
                .collect::<Vec<_>>()
        };
        let at = |days: u64| now_ms - days * DAY_MS;
        let alone = [row("a", at(3))];
        assert!(ids(&alone, 1).is_empty(), "the newest stays");
        let today = [row("a", now_ms - 5), row("b", now_ms - 1)];
        assert!(ids(&today, 1).is_empty(), "a purge of today stays");
        let mixed = [row("a", at(4)), row("b", at(3)), row("c", at(2))];
        assert_eq!(ids(&mixed, 1), ["a", "b"]);
        assert_eq!(ids(&mixed, 200), ["a"]);
        assert_eq!(ids(&[row("a", at(8))], 1_000), ["a"], "old is old");
    }
}
