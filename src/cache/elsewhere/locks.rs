//! Owns the list of locks beside the main cache: of other Hub caches, and of folders that Python
//! downloaded into (hub.md 3.1).
//!
//! Never takes a lock and reads no model.

use std::path::Path;

use super::discover::{Spot, discover};
use super::homes::homes;
use super::note::Notes;
use crate::cache::holders::lock_of_file;
use crate::cache::partials::Eyes;
use crate::cache::{Layout, every_lock};
use crate::config;
use crate::domain::{CacheKind, LockRow, RepoId, sanitize};

/// Every lock beside the main cache, and programs that have files of other Hub caches open; `None`
/// if there is nothing of the repo that was asked for.
pub fn locks_elsewhere(
    places: &config::Elsewhere,
    main: &Path,
    only: Option<&RepoId>,
    eyes: &Eyes<'_>,
) -> Option<Vec<LockRow>> {
    let mut found = Vec::new();
    let mut is_there = only.is_none();
    for spot in discover(&places.places, main) {
        if !spot.is_present || spot.trouble.is_some() {
            continue;
        }
        let here = if spot.kind == CacheKind::Hub {
            in_hub(&spot, only, eyes)
        } else {
            in_folders(&spot, only, eyes)
        };
        is_there |= here.is_some();
        found.extend(here.into_iter().flatten());
    }
    is_there.then_some(found)
}

fn in_hub(spot: &Spot, only: Option<&RepoId>, eyes: &Eyes<'_>) -> Option<Vec<LockRow>> {
    let layout = Layout::new(spot.path.clone());
    let mut rows = every_lock(&layout, only, eyes).unwrap_or_else(|error| {
        tracing::debug!(%error, "the locks of another cache cannot be listed");
        None
    })?;
    // Arguments that name a repo do not say in which cache.
    rows.retain(|row| {
        let folder = layout.repo(&row.repo);
        !row.is_program() || row.path != sanitize(&folder.to_string_lossy())
    });
    Some(rows)
}

fn in_folders(spot: &Spot, only: Option<&RepoId>, eyes: &Eyes<'_>) -> Option<Vec<LockRow>> {
    let (homes, _) = homes(spot).ok()?;
    let mut found = Vec::new();
    let mut is_there = false;
    for home in homes {
        if only.is_some_and(|only| *only != home.repo) {
            continue;
        }
        is_there = true;
        let notes = Notes::of(&home.folder);
        for path in &notes.locks {
            let place = notes.root.join(format!("{path}.lock"));
            let Some(row) = lock_of_file(&home.folder, &home.repo, &place, eyes) else {
                continue;
            };
            found.push(LockRow {
                cache: home.kind,
                cache_path: sanitize(&spot.path.to_string_lossy()),
                etag: notes.etag(path).map(|etag| etag.to_string()),
                file: Some(sanitize(path.as_str())),
                ..row
            });
        }
    }
    is_there.then_some(found)
}
