//! Owns the list of every lock there is: of one repo, or of all.
//!
//! Never takes a lock. Listings are read only of repos that have locks to name files for.

use std::collections::BTreeSet;

use super::holders::{locks_of, programs_on};
use super::partials::{Contents, Eyes};
use super::scan::repos;
use super::sight::is_own_folder;
use super::{Layout, Result, trees};
use crate::domain::{LockRow, RepoId};
use crate::host;

/// Every lock file and every program at work, by repo; `None` if there is nothing of the repo that
/// was asked for.
///
/// # Errors
/// When the cache as a whole cannot be read.
pub fn every_lock(
    layout: &Layout,
    only: Option<&RepoId>,
    eyes: &Eyes<'_>,
) -> Result<Option<Vec<LockRow>>> {
    let mut names: BTreeSet<RepoId> = repos(layout)?.into_iter().collect();
    names.extend(repos_with_locks(layout));
    if let Some(only) = only {
        names.retain(|repo| repo == only);
    }
    let mut found = Vec::new();
    for repo in &names {
        let contents = if is_own_folder(&layout.locks().join(repo.folder())) {
            trees::contents_of(layout, repo)
        } else {
            Contents::new()
        };
        let rows = locks_of(layout, repo, &contents, eyes);
        let programs = programs_on(layout, repo, &rows, eyes);
        found.extend(rows.into_iter().chain(programs));
    }
    let is_there = only.is_none() || !names.is_empty();
    Ok(is_there.then_some(found))
}

/// Repos of which there are locks: tools leave them where they delete a model.
fn repos_with_locks(layout: &Layout) -> Vec<RepoId> {
    let locks = layout.locks();
    if !is_own_folder(&locks) {
        return Vec::new();
    }
    host::read_dir(&locks)
        .into_iter()
        .flatten()
        .filter_map(|entry| RepoId::from_folder(entry.ok()?.file_name().to_str()?))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::fixture::{self, etag, held, now, remote, repo};
    use crate::cache::{Programs, Tree, prepare_repo, write_tree};
    use crate::domain::LockState;
    use crate::host::LockTable;

    fn locks(layout: &Layout, only: Option<&RepoId>) -> Option<Vec<LockRow>> {
        let eyes = Eyes {
            now: now(),
            table: LockTable::read(),
            programs: &Programs::unknown(),
            ours: &|_, _| None,
        };
        every_lock(layout, only, &eyes).unwrap()
    }

    #[test]
    fn every_lock_of_every_repo_is_told_with_its_file() {
        let (_dir, layout) = fixture::cache();
        assert_eq!(locks(&layout, None), Some(Vec::new()), "no cache yet");
        let (here, gone) = (repo("org/here"), repo("org/gone"));
        prepare_repo(&layout, &here).unwrap();
        let files = [remote("config.json", b"x")];
        write_tree(&layout, &here, &fixture::commit('a'), &files, Tree::Own).unwrap();
        let lock = held(&layout, &here, &etag(b"x"));
        // What `hf cache rm` leaves of a model.
        drop(held(&layout, &gone, &etag(b"y")));
        let rows = locks(&layout, None).unwrap();
        let states: Vec<(&str, LockState, Option<&str>)> = rows
            .iter()
            .map(|row| (row.repo.name(), row.state, row.file.as_deref()))
            .collect();
        let file = Some("config.json");
        assert_eq!(
            states,
            [
                ("org/gone", LockState::Free, None),
                ("org/gone", LockState::Free, None),
                ("org/here", LockState::Held, file),
                ("org/here", LockState::Held, file),
            ]
        );
        drop(lock);
        let rows = locks(&layout, Some(&here)).unwrap();
        assert!(rows.iter().all(|row| row.state == LockState::Free));
        assert_eq!(rows.len(), 2);
        assert_eq!(locks(&layout, Some(&repo("no/body"))), None);
    }
}
