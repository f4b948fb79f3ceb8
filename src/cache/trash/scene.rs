//! Owns the model that tests of the trash purge, and what they look at: every file with its inode, what
//! Python's scan would warn of, and a kill after any move.
//!
//! Never part of the program.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use super::goes::leaves;
use super::moves::MOVES_LEFT;
use super::*;
use crate::cache::fixture::{self, commit, etag, now, path, repo};
use crate::cache::{Layout, Programs, prepare_repo, write_ref};
use crate::domain::{Commit, DiscardReason, RepoId, Revision};
use crate::host::LockTable;

/// Nothing was proven before.
pub(super) const NOTHING_PROVEN: WasProven<'_> = &|_, _, _| false;

/// As one does who does not look how it goes on.
pub(super) fn restore(
    layout: &Layout,
    repos: &[RepoId],
    row: &TrashRow,
    was_proven: WasProven<'_>,
) -> Result<Back, String> {
    let watch = &mut |_: ProofStep<'_>| ControlFlow::Continue(());
    let prover = Prover { was_proven, watch };
    super::restore(layout, repos, row, prover).map_err(|stays| match stays {
        NotBack::Refused(why) => why,
        NotBack::Interrupted => "interrupted".to_owned(),
    })
}

/// A model in two commits that share a file; `main` names the newer, `v1` the older.
pub(super) struct Scene {
    _dir: fixture::Folder,
    pub(super) layout: Layout,
    pub(super) repo: RepoId,
    pub(super) old: Commit,
    pub(super) new: Commit,
}

pub(super) const SHARED: &[u8] = b"in both commits";
pub(super) const OLD: &[u8] = b"only in the older";
pub(super) const NEW: &[u8] = b"only in the newer";

impl Scene {
    pub(super) fn new() -> Self {
        let (dir, layout) = fixture::cache();
        let scene = Self {
            _dir: dir,
            repo: repo("org/m"),
            old: commit('a'),
            new: commit('b'),
            layout,
        };
        scene.build();
        scene
    }

    pub(super) fn build(&self) {
        let Self { layout, repo, .. } = self;
        prepare_repo(layout, repo).unwrap();
        for (commit, own) in [(self.old, OLD), (self.new, NEW)] {
            for (file, content) in [("config.json", SHARED), ("sub dir/w.bin", own)] {
                fs::write(layout.blob(repo, &etag(content)), content).unwrap();
                let pointer = layout.pointer(repo, &commit, &path(file));
                fs::create_dir_all(pointer.parent().unwrap()).unwrap();
                let text = Layout::pointer_text(&path(file), &etag(content));
                drop(fs::remove_file(&pointer));
                symlink(text, pointer).unwrap();
            }
            let absent = layout.no_exist(repo, &commit, &path("absent.json"));
            fs::create_dir_all(absent.parent().unwrap()).unwrap();
            fs::write(absent, "").unwrap();
            let tree = layout.tree(repo, &commit);
            fs::create_dir_all(tree.parent().unwrap()).unwrap();
            fs::write(tree, "{}").unwrap();
        }
        for (name, commit) in [
            ("main", self.new),
            ("v1", self.old),
            ("refs/pr/1", self.old),
        ] {
            write_ref(layout, repo, &Revision::new(name).unwrap(), &commit).unwrap();
        }
    }

    pub(super) fn with_eyes<T>(work: impl FnOnce(&Eyes<'_>) -> T) -> T {
        work(&Eyes {
            now: now(),
            table: LockTable::default(),
            programs: &Programs::unknown(),
            ours: &|_, _| None,
        })
    }

    pub(super) fn plan(&self, selection: Selection<'_>, is_now: bool) -> Result<Discard, Stays> {
        Self::with_eyes(|eyes| {
            let (layout, reason) = (&self.layout, DiscardReason::Named);
            plan_discard(layout, &self.repo, selection, reason, is_now, eyes)
        })
    }

    pub(super) fn discard(&self, planned: &Discard) -> Result<Discarded, String> {
        let done = Self::with_eyes(|eyes| discard(&self.layout, planned, eyes));
        done.map(|(done, _)| done)
    }

    pub(super) fn purge(&self, selection: Selection<'_>) -> String {
        let planned = self.plan(selection, false).unwrap();
        match self.discard(&planned).unwrap() {
            Discarded::Moved { id, bytes } => {
                assert_eq!(bytes, planned.bytes);
                id
            }
            freed @ Discarded::Freed { .. } => panic!("{freed:?}"),
        }
    }

    pub(super) fn repos(&self) -> [RepoId; 1] {
        [self.repo.clone()]
    }

    pub(super) fn settle(&self) -> Vec<String> {
        settle_trash(&self.layout, &self.repos(), now())
    }

    pub(super) fn row(&self, id: &str) -> TrashRow {
        let rows = self.rows();
        let found = rows.into_iter().find(|row| row.id == id);
        found.unwrap_or_else(|| panic!("no {id} in the trash"))
    }

    pub(super) fn restore(&self, id: &str) -> Result<Back, String> {
        restore(&self.layout, &self.repos(), &self.row(id), NOTHING_PROVEN)
    }

    pub(super) fn rows(&self) -> Vec<TrashRow> {
        trash_rows(&self.layout, &self.repos())
    }

    /// Every file and link of the repo with its inode and time, without locks.
    pub(super) fn tree(&self) -> BTreeMap<PathBuf, (u64, i64, i64)> {
        tree_of(&self.layout.repo(&self.repo))
    }

    /// What Python's scan would warn of.
    #[track_caller]
    pub(super) fn assert_python_reads_it(&self, when: &str) {
        let folder = self.layout.repo(&self.repo);
        for name in fixture::names(self.layout.root()) {
            let is_known =
                name.contains("--") || [".locks", "CACHEDIR.TAG", "blobs"].contains(&&*name);
            assert!(is_known, "{when}: {name}");
        }
        if folder.symlink_metadata().is_err() {
            return;
        }
        assert!(self.layout.snapshots(&self.repo).is_dir(), "{when}");
        assert!(self.layout.blobs(&self.repo).is_dir(), "{when}");
        for file in leaves(&self.layout.snapshots(&self.repo)).unwrap() {
            assert!(file.exists(), "{when}: {} leads nowhere", file.display());
        }
        for reference in leaves(&self.layout.refs(&self.repo)).unwrap() {
            if let Ok(commit) = fs::read_to_string(&reference) {
                let snapshot = self.layout.snapshots(&self.repo).join(commit);
                assert!(snapshot.is_dir(), "{when}: {}", reference.display());
            }
        }
    }
}

pub(super) fn tree_of(folder: &Path) -> BTreeMap<PathBuf, (u64, i64, i64)> {
    let files = leaves(folder).unwrap();
    let found = files
        .into_iter()
        .filter(|path| path.symlink_metadata().is_ok_and(|found| !found.is_dir()));
    found
        .map(|path| {
            let found = path.symlink_metadata().unwrap();
            let key = path.strip_prefix(folder).unwrap().to_owned();
            (key, (found.ino(), found.mtime(), found.mtime_nsec()))
        })
        .collect()
}

/// Runs `work` until it has moved so often, and then as if the process were dead.
pub(super) fn killed_after<T>(moves: usize, work: impl FnOnce() -> T) -> T {
    struct Restore;
    impl Drop for Restore {
        fn drop(&mut self) {
            MOVES_LEFT.set(None);
        }
    }
    let _restore = Restore;
    MOVES_LEFT.set(Some(moves));
    work()
}

/// Everything that could be read before is in the cache or in the trash.
#[track_caller]
pub(super) fn assert_nothing_lost(
    scene: &Scene,
    before: &BTreeMap<PathBuf, (u64, i64, i64)>,
    when: &str,
) {
    let mut inodes: Vec<u64> = scene.tree().values().map(|seen| seen.0).collect();
    for bin in Bin::all(&scene.layout, &scene.repos()) {
        inodes.extend(tree_of(bin.folder()).values().map(|seen| seen.0));
    }
    for (path, seen) in before {
        assert!(inodes.contains(&seen.0), "{when}: lost {}", path.display());
    }
}
