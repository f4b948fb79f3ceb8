//! Owns the trash as the engine sees it: showing it, putting something back, freeing it, and what is
//! due at the start of whatever writes: going on where a larder died, and freeing what is old.
//!
//! **Law**: nothing that was put into the trash is freed before its time without a plan that named it.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Shared;
use super::emit::{Emitter, millis};
use super::failure::from_cache;
use super::history;
use super::job::blocking;
use crate::cache::{self, Layout};
use crate::domain::{
    Event, Failure, FailureCode, Kept, Outcome, RepoId, TrashRequest, TrashResult, TrashRow,
    sanitize,
};
use crate::host;

const DAY_MS: u64 = 86_400_000;

/// Carries a wish out.
pub(super) async fn run(shared: Arc<Shared>, emitter: Emitter, request: TrashRequest) {
    let started = emitter.now();
    let is_look = request == TrashRequest::List;
    if !is_look {
        // What was begun must be over; what is old may be what is wanted back.
        settle(&shared, &emitter, None, Expiry::Keep).await;
    }
    let work = Arc::clone(&shared);
    let done = blocking(move || carry_out(&work, &request)).await.flatten();
    let outcome = match done {
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

enum Done {
    Seen(Vec<TrashRow>),
    Changed(TrashResult, Vec<RepoId>),
}

fn carry_out(shared: &Shared, request: &TrashRequest) -> Result<Done, Failure> {
    let (layout, repos) = place(shared)?;
    let rows = cache::trash_rows(&layout, &repos);
    match request {
        TrashRequest::List => Ok(Done::Seen(rows)),
        TrashRequest::Restore { id } => {
            let row = find(&rows, id.as_deref())?;
            let back = cache::restore(&layout, &repos, &row.id).map_err(|why| {
                Failure::new(
                    FailureCode::Refused,
                    format!("`{}` stays in the trash", row.id),
                )
                .because(sanitize(&why))
                .at_path(row.path.clone())
            })?;
            let shown = back.restored.iter();
            let result = TrashResult {
                ids: vec![row.id.clone()],
                restored: shown
                    .map(|path| sanitize(&path.to_string_lossy()))
                    .collect(),
                restored_bytes: back.bytes,
                freed_bytes: 0,
                kept: back.kept,
            };
            Ok(Done::Changed(result, vec![row.repo.clone()]))
        }
        TrashRequest::Empty { ids } => {
            let mut result = TrashResult::default();
            for row in rows.iter().filter(|row| ids.contains(&row.id)) {
                match cache::free(&layout, &repos, &row.id) {
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

/// The entry of that id, or whose id begins so; the newest if none is named.
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
    let exact = rows.iter().find(|row| row.id == id);
    let mut alike = rows.iter().filter(|row| row.id.starts_with(id));
    let only = || {
        let first = alike.next()?;
        alike.next().is_none().then_some(first)
    };
    exact
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

/// Frees what has lain there for too long, and the oldest while all of it is too much.
fn expire(shared: &Shared, layout: &Layout, repos: &[RepoId], now: SystemTime) -> Vec<String> {
    let settings = shared.config.trash;
    let rows = cache::trash_rows(layout, repos);
    let root = sanitize(&layout.root().to_string_lossy());
    let mut rows: Vec<TrashRow> = rows
        .into_iter()
        .filter(|row| row.cut_off.is_none() && row.cache == root)
        .collect();
    if rows.is_empty() {
        return Vec::new();
    }
    let total = host::disk(layout.root()).map_or(u64::MAX, |disk| disk.total_bytes);
    let most = total / 100 * u64::from(settings.percent);
    let now_ms = millis(now.duration_since(UNIX_EPOCH).unwrap_or_default());
    let mut sum: u64 = rows.iter().map(|row| row.bytes).sum();
    let mut notes = Vec::new();
    // The oldest first.
    rows.retain(|row| {
        let age_ms = now_ms.saturating_sub(row.purged_ms);
        let is_old = age_ms >= u64::from(settings.days).saturating_mul(DAY_MS);
        let is_too_much = sum > most;
        if !is_old && !is_too_much {
            return true;
        }
        match cache::free(layout, repos, &row.id) {
            Ok(_) => {
                sum = sum.saturating_sub(row.bytes);
                let why = if is_old {
                    format!("it had been in the trash for {} days", age_ms / DAY_MS)
                } else {
                    format!(
                        "the trash held more than {} % of the disk",
                        settings.percent
                    )
                };
                notes.push(format!("`{}` ({}) was freed: {why}", row.repo, row.id));
            }
            Err(why) => {
                tracing::debug!(id = row.id, why, "an old entry of the trash stays");
            }
        }
        false
    });
    notes
}
