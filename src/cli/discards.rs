//! Owns how models that a purge takes away, and what lies in the trash, read as text.
//!
//! Never decides what goes. Paths are never cut.

use super::table::Table;
use crate::domain::{Discard, DiscardKind, PlanStep, PurgePlan, TrashRow, sanitize};
use crate::store::{count, duration, size, trashed};

/// So many paths of one model are named one by one, unless all are wanted.
const SHOWN: usize = 50;

/// Everything a plan names, and the sums. Where a whole folder goes, and much is in it, the folder
/// stands for what is in it.
pub(super) fn plan_text(planned: &PurgePlan, now_ms: u64, is_full: bool) -> String {
    let mut text = partials_text(planned, now_ms);
    for discard in planned.plan.discards() {
        text.push_str(&discard_text(discard, now_ms, is_full));
    }
    if !planned.trash.is_empty() {
        text.push_str("free what lies in the trash:\n");
        text.push_str(&rows_text(&planned.trash, now_ms));
    }
    for kept in &planned.kept {
        let line = sanitize(&format!("stays: {}: {}", kept.path, kept.why));
        text.extend([line.as_str(), "\n"]);
    }
    text
}

fn partials_text(planned: &PurgePlan, now_ms: u64) -> String {
    let mut table = Table::new().numbers("SIZE").numbers("AGE").column("FILE");
    let (mut partials, mut bytes_all) = (0, 0);
    for step in &planned.plan.steps {
        if let PlanStep::RemovePartial {
            path,
            bytes,
            modified_ms,
            map,
            ..
        } = step
        {
            partials += 1;
            bytes_all += bytes;
            table.row(&[
                size(*bytes),
                duration(now_ms.saturating_sub(*modified_ms)),
                path.clone(),
            ]);
            if let Some(map) = map {
                table.row(&[String::new(), String::new(), map.clone()]);
            }
        }
    }
    if partials == 0 {
        return String::new();
    }
    format!(
        "{}\n{}, {}\n",
        table.render(None),
        count(partials, "unfinished blob"),
        size(bytes_all)
    )
}

fn discard_text(discard: &Discard, now_ms: u64, is_full: bool) -> String {
    let what = match discard.kind {
        DiscardKind::Repo => "all of it".to_owned(),
        DiscardKind::Revisions => discard.what.join(", "),
        DiscardKind::Corrupt if discard.what.is_empty() => "bytes that were put aside".to_owned(),
        DiscardKind::Corrupt => format!("{} with wrong bytes", count(discard.what.len(), "blob")),
        DiscardKind::Orphans => count(discard.what.len(), "blob"),
    };
    let used = match discard.accessed_ms {
        Some(at_ms) => format!("last used {} ago", duration(now_ms.saturating_sub(at_ms))),
        None => "when it was last used is not known".to_owned(),
    };
    let mut table = Table::new().numbers("SIZE").column("FILE");
    let folded = if is_full || discard.paths.len() + discard.locks.len() <= SHOWN {
        None
    } else {
        Some(folded(discard))
    };
    let has_folders = folded.is_some();
    let rows = folded.unwrap_or_else(|| one_by_one(discard));
    for (bytes, path) in rows {
        let bytes = if bytes > 0 {
            size(bytes)
        } else {
            String::new()
        };
        table.row(&[bytes, path]);
    }
    let hint = if has_folders { ", -v shows each" } else { "" };
    let mut files = count(discard.paths.len(), "path");
    if !discard.locks.is_empty() {
        files = format!("{files}, {}", count(discard.locks.len(), "lock file"));
    }
    let end = match &discard.trash {
        Some(trash) => format!(
            "{} into the trash {trash}: 0 bytes free by that",
            size(discard.bytes)
        ),
        None => format!("{} freed at once", size(discard.bytes)),
    };
    let head = sanitize(&format!(
        "{}: {what} ({}; {used})",
        discard.repo,
        discard.reason.words()
    ));
    format!("{head}\n{end} ({files}{hint})\n{}", table.render(None))
}

fn one_by_one(discard: &Discard) -> Vec<(u64, String)> {
    let paths = discard.paths.iter();
    let paths = paths.map(|path| (path.bytes, path.path.clone()));
    let locks = discard.locks.iter().map(|path| (0, path.clone()));
    paths.chain(locks).collect()
}

/// Folders that go whole with what is in them, and every path beside those.
fn folded(discard: &Discard) -> Vec<(u64, String)> {
    let mut rows: Vec<(u64, String, usize)> = Vec::new();
    let place = place_of(discard);
    for path in &discard.paths {
        let Some(folder) = place.and_then(|place| whole_folder(discard, place, &path.path)) else {
            rows.push((path.bytes, path.path.clone(), 0));
            continue;
        };
        match rows
            .iter_mut()
            .find(|(_, known, many)| *many > 0 && *known == folder)
        {
            Some((bytes, _, many)) => {
                *bytes += path.bytes;
                *many += 1;
            }
            None => rows.push((path.bytes, folder, 1)),
        }
    }
    let paths = rows.into_iter().map(|(bytes, path, many)| match many {
        0 => (bytes, path),
        many => (
            bytes,
            format!("{path}/ and the {} in it", count(many, "path")),
        ),
    });
    paths.chain(folded_locks(discard)).collect()
}

/// The folders of locks, and how many in each go.
fn folded_locks(discard: &Discard) -> Vec<(u64, String)> {
    let mut folders: Vec<(&str, usize)> = Vec::new();
    let paths = discard.locks.iter();
    for (folder, _) in paths.filter_map(|path| path.rsplit_once('/')) {
        match folders.iter_mut().find(|(known, _)| *known == folder) {
            Some((_, many)) => *many += 1,
            None => folders.push((folder, 1)),
        }
    }
    let words = |(folder, many)| match discard.kind {
        DiscardKind::Repo => format!("{folder}/ and the {} in it", count(many, "lock file")),
        DiscardKind::Revisions | DiscardKind::Corrupt | DiscardKind::Orphans => {
            format!("{} of these blobs in {folder}/", count(many, "lock file"))
        }
    };
    folders.into_iter().map(|it| (0, words(it))).collect()
}

/// The repo's folder, with a slash: of those that are called so the innermost that all paths lie in. The
/// cache may itself lie below a folder of that name, and a model may hold one.
fn place_of(discard: &Discard) -> Option<&str> {
    let first = discard.paths.first()?.path.as_str();
    let name = format!("/{}/", discard.repo.folder());
    let places = first.rmatch_indices(&name);
    let mut places = places.map(|(at, _)| &first[..at + name.len()]);
    places.find(|place| discard.paths.iter().all(|it| it.path.starts_with(place)))
}

/// The folder that goes whole with a path of the repo in `place`; `None` if the path is named by itself.
fn whole_folder(discard: &Discard, place: &str, path: &str) -> Option<String> {
    let below = path.strip_prefix(place)?;
    let mut parts = below.split('/');
    let (first, second) = (parts.next()?, parts.next()?);
    let is_snapshot = first == "snapshots" || first == ".no_exist";
    match discard.kind {
        DiscardKind::Repo if is_snapshot && parts.next().is_some() => {
            Some(format!("{place}{first}/{second}"))
        }
        DiscardKind::Repo if !is_snapshot => Some(format!("{place}{first}")),
        DiscardKind::Revisions
            if is_snapshot
                && parts.next().is_some()
                && discard.what.iter().any(|what| what == second) =>
        {
            Some(format!("{place}{first}/{second}"))
        }
        DiscardKind::Repo
        | DiscardKind::Revisions
        | DiscardKind::Corrupt
        | DiscardKind::Orphans => None,
    }
}

/// What lies in the trash, as a table.
pub(super) fn rows_text(rows: &[TrashRow], now_ms: u64) -> String {
    let mut table = Table::new()
        .column("ID")
        .numbers("SIZE")
        .numbers("AGE")
        .column("MODEL")
        .column("WHAT")
        .column("CACHE")
        .column("LIES IN");
    for row in rows {
        let what = trashed(row);
        table.row(&[
            row.id.clone(),
            size(row.bytes),
            duration(now_ms.saturating_sub(row.purged_ms)),
            row.repo.to_string(),
            what,
            row.cache.clone(),
            row.path.clone(),
        ]);
    }
    table.render(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{DiscardPath, DiscardReason, RepoId, RepoKind};

    #[test]
    fn a_cache_below_a_folder_of_the_models_name_is_folded_where_it_is() {
        let root = "/x/models--org--m/hub/models--org--m";
        let paths = (0..60).map(|number| format!("{root}/blobs/{number}"));
        let inner = format!("{root}/snapshots/c/models--org--m/blobs/1");
        let paths = paths.chain([inner]).map(|path| DiscardPath {
            path,
            bytes: 1,
            modified_ms: 0,
        });
        let discard = Discard {
            repo: RepoId::new(RepoKind::Model, "org/m").unwrap(),
            kind: DiscardKind::Repo,
            what: Vec::new(),
            reason: DiscardReason::Named,
            paths: paths.collect(),
            locks: vec!["/x/.locks/models--org--m/1.lock".to_owned()],
            bytes: 61,
            accessed_ms: None,
            trash: None,
        };
        let rows = folded(&discard);
        assert_eq!(
            rows,
            [
                (60, format!("{root}/blobs/ and the 60 paths in it")),
                (1, format!("{root}/snapshots/c/ and the 1 path in it")),
                (
                    0,
                    "/x/.locks/models--org--m/ and the 1 lock file in it".to_owned()
                ),
            ]
        );
    }
}
