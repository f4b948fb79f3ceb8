//! Owns the tests of the trash: what goes, what comes back, and a kill after any move.
//!
//! Never part of the program.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use super::entry::Entry;
use super::goes::leaves;
use super::moves::MOVES_LEFT;
use super::*;
use crate::cache::fixture::{self, commit, etag, held, now, path, repo};
use crate::cache::{Layout, Programs, prepare_repo, write_ref};
use crate::domain::{Commit, DiscardReason, RepoId, Revision};
use crate::host::LockTable;

/// Nothing was proven before.
const NOTHING_PROVEN: WasProven<'_> = &|_, _, _| false;

/// A model in two commits that share a file; `main` names the newer, `v1` the older.
struct Scene {
    _dir: fixture::Folder,
    layout: Layout,
    repo: RepoId,
    old: Commit,
    new: Commit,
}

const SHARED: &[u8] = b"in both commits";
const OLD: &[u8] = b"only in the older";
const NEW: &[u8] = b"only in the newer";

impl Scene {
    fn new() -> Self {
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

    fn build(&self) {
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

    fn with_eyes<T>(work: impl FnOnce(&Eyes<'_>) -> T) -> T {
        work(&Eyes {
            now: now(),
            table: LockTable::default(),
            programs: &Programs::unknown(),
            ours: &|_, _| None,
        })
    }

    fn plan(&self, selection: Selection<'_>, is_now: bool) -> Result<Discard, Stays> {
        Self::with_eyes(|eyes| {
            let (layout, reason) = (&self.layout, DiscardReason::Named);
            plan_discard(layout, &self.repo, selection, reason, is_now, eyes)
        })
    }

    fn discard(&self, planned: &Discard) -> Result<Discarded, String> {
        Self::with_eyes(|eyes| discard(&self.layout, planned, eyes))
    }

    fn purge(&self, selection: Selection<'_>) -> String {
        let planned = self.plan(selection, false).unwrap();
        match self.discard(&planned).unwrap() {
            Discarded::Moved { id, bytes } => {
                assert_eq!(bytes, planned.bytes);
                id
            }
            freed @ Discarded::Freed { .. } => panic!("{freed:?}"),
        }
    }

    fn repos(&self) -> [RepoId; 1] {
        [self.repo.clone()]
    }

    fn settle(&self) -> Vec<String> {
        settle_trash(&self.layout, &self.repos(), now())
    }

    fn row(&self, id: &str) -> TrashRow {
        let rows = self.rows();
        let found = rows.into_iter().find(|row| row.id == id);
        found.unwrap_or_else(|| panic!("no {id} in the trash"))
    }

    fn restore(&self, id: &str) -> Result<Back, String> {
        restore(&self.layout, &self.repos(), &self.row(id), NOTHING_PROVEN)
    }

    fn rows(&self) -> Vec<TrashRow> {
        trash_rows(&self.layout, &self.repos())
    }

    /// Every file and link of the repo with its inode and time, without locks.
    fn tree(&self) -> BTreeMap<PathBuf, (u64, i64, i64)> {
        tree_of(&self.layout.repo(&self.repo))
    }

    /// What Python's scan would warn of.
    #[track_caller]
    fn assert_python_reads_it(&self, when: &str) {
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

fn tree_of(folder: &Path) -> BTreeMap<PathBuf, (u64, i64, i64)> {
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
fn killed_after<T>(moves: usize, work: impl FnOnce() -> T) -> T {
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

#[test]
fn a_whole_model_goes_and_comes_back_as_it_was() {
    let scene = Scene::new();
    let before = scene.tree();
    let id = scene.purge(Selection::Repo);
    scene.assert_python_reads_it("purged");
    assert!(scene.tree().is_empty());
    let rows = scene.rows();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].id.as_str(), rows[0].cut_off.clone()), (&*id, None));
    assert!(rows[0].bytes >= (SHARED.len() + OLD.len() + NEW.len()) as u64);
    let back = scene.restore(&id).unwrap();
    assert!(back.kept.is_empty(), "{back:?}");
    assert_eq!(scene.tree(), before);
    assert!(scene.rows().is_empty());
    assert!(restore(&scene.layout, &scene.repos(), &rows[0], NOTHING_PROVEN).is_err());
}

#[test]
fn a_revision_takes_only_what_nothing_else_leads_to() {
    let scene = Scene::new();
    let before = scene.tree();
    let old = scene.old.to_string();
    let names = [old.clone()];
    let planned = scene.plan(Selection::Revisions(&names), false).unwrap();
    assert_eq!(planned.bytes, (OLD.len() + 2 + 40 + 40) as u64);
    let id = scene.purge(Selection::Revisions(&names));
    scene.assert_python_reads_it("purged");
    let after = scene.tree();
    let gone: Vec<String> = before
        .keys()
        .filter(|path| !after.contains_key(*path))
        .map(|path| path.display().to_string())
        .collect();
    assert_eq!(
        gone,
        [
            format!(".no_exist/{old}/absent.json"),
            format!("blobs/{}", etag(OLD)),
            "refs/refs/pr/1".to_owned(),
            "refs/v1".to_owned(),
            format!("snapshots/{old}/config.json"),
            format!("snapshots/{old}/sub dir/w.bin"),
            format!("trees/{old}.json"),
        ]
    );
    assert!(
        after
            .iter()
            .all(|(path, seen)| before.get(path) == Some(seen))
    );
    let back = scene.restore(&id).unwrap();
    assert!(back.kept.is_empty(), "{back:?}");
    assert_eq!(scene.tree(), before);
}

/// Everything that could be read before is in the cache or in the trash.
#[track_caller]
fn assert_nothing_lost(scene: &Scene, before: &BTreeMap<PathBuf, (u64, i64, i64)>, when: &str) {
    let mut inodes: Vec<u64> = scene.tree().values().map(|seen| seen.0).collect();
    for bin in Bin::all(&scene.layout, &scene.repos()) {
        inodes.extend(tree_of(bin.folder()).values().map(|seen| seen.0));
    }
    for (path, seen) in before {
        assert!(inodes.contains(&seen.0), "{when}: lost {}", path.display());
    }
}

#[test]
fn a_purge_killed_after_any_step_is_finished_or_undone() {
    let (mut finished, mut undone) = (0, 0);
    for is_whole in [true, false] {
        for moves in 0.. {
            let scene = Scene::new();
            let before = scene.tree();
            let names = [scene.old.to_string()];
            let selection = if is_whole {
                Selection::Repo
            } else {
                Selection::Revisions(&names)
            };
            let planned = scene.plan(selection, false).unwrap();
            let done = killed_after(moves, || scene.discard(&planned));
            let when = format!("whole {is_whole}, killed after {moves}");
            scene.assert_python_reads_it(&when);
            assert_nothing_lost(&scene, &before, &when);
            if done.is_ok() {
                break;
            }
            let rows = scene.rows();
            assert!(rows.iter().all(|row| row.cut_off.is_some()), "{when}");
            scene.settle();
            scene.assert_python_reads_it(&when);
            assert_nothing_lost(&scene, &before, &when);
            match &scene.rows()[..] {
                [] => {
                    assert_eq!(scene.tree(), before, "{when}");
                    undone += 1;
                }
                [row] => {
                    assert_eq!(row.cut_off, None, "{when}");
                    restore(&scene.layout, &scene.repos(), row, NOTHING_PROVEN).unwrap();
                    assert_eq!(scene.tree(), before, "{when}");
                    finished += 1;
                }
                more => panic!("{when}: {more:?}"),
            }
            assert_eq!(scene.settle(), Vec::<String>::new(), "{when}");
        }
    }
    assert!(finished >= 2 && undone >= 8, "{finished} {undone}");
}

#[test]
fn putting_back_killed_after_any_step_goes_on() {
    for is_whole in [true, false] {
        for moves in 0.. {
            let scene = Scene::new();
            let before = scene.tree();
            let names = [scene.old.to_string()];
            let id = scene.purge(if is_whole {
                Selection::Repo
            } else {
                Selection::Revisions(&names)
            });
            let row = scene.row(&id);
            let done = killed_after(moves, || {
                restore(&scene.layout, &scene.repos(), &row, NOTHING_PROVEN)
            });
            let when = format!("whole {is_whole}, killed after {moves}");
            scene.assert_python_reads_it(&when);
            assert_nothing_lost(&scene, &before, &when);
            if done.is_ok() {
                break;
            }
            scene.settle();
            scene.assert_python_reads_it(&when);
            if moves > 0 {
                assert_eq!(scene.tree(), before, "{when}");
                assert!(scene.rows().is_empty(), "{when}");
            } else {
                // It had not begun.
                assert_eq!(scene.rows().len(), 1, "{when}");
            }
        }
    }
}

#[test]
fn freeing_killed_after_any_step_goes_on_and_touches_no_cache() {
    for moves in 0.. {
        let scene = Scene::new();
        let names = [scene.old.to_string()];
        let id = scene.purge(Selection::Revisions(&names));
        let kept = scene.tree();
        let row = scene.row(&id);
        let done = killed_after(moves, || free(&scene.layout, &scene.repos(), &row));
        assert_eq!(scene.tree(), kept);
        if done.is_ok() {
            break;
        }
        scene.settle();
        assert_eq!(scene.tree(), kept);
        assert_eq!(scene.rows().len(), usize::from(moves == 0));
    }
}

#[test]
fn with_now_it_is_gone_in_one_step() {
    for moves in 0.. {
        let scene = Scene::new();
        let before = scene.tree();
        let planned = scene.plan(Selection::Repo, true).unwrap();
        assert_eq!(planned.freed_bytes(), planned.bytes);
        match killed_after(moves, || scene.discard(&planned)) {
            Ok(Discarded::Freed { bytes }) => {
                assert!(bytes > 0);
                assert!(scene.tree().is_empty() && scene.rows().is_empty());
                break;
            }
            Ok(moved @ Discarded::Moved { .. }) => panic!("{moved:?}"),
            Err(_) => {}
        }
        scene.assert_python_reads_it("killed");
        scene.settle();
        let is_there = scene.tree() == before;
        assert!(is_there || scene.tree().is_empty());
    }
}

#[test]
fn what_was_pulled_again_stays_and_only_what_is_missing_comes_back() {
    let scene = Scene::new();
    let id = scene.purge(Selection::Repo);
    let Scene { layout, repo, .. } = &scene;
    // Another commit, with one of the files and other refs.
    let third = commit('c');
    prepare_repo(layout, repo).unwrap();
    fs::write(layout.blob(repo, &etag(SHARED)), SHARED).unwrap();
    let pointer = layout.pointer(repo, &third, &path("config.json"));
    fs::create_dir_all(pointer.parent().unwrap()).unwrap();
    symlink(
        Layout::pointer_text(&path("config.json"), &etag(SHARED)),
        pointer,
    )
    .unwrap();
    write_ref(layout, repo, &Revision::main(), &third).unwrap();
    let present = scene.tree();
    let back = scene.restore(&id).unwrap();
    scene.assert_python_reads_it("put back");
    let now_there = scene.tree();
    for (path, seen) in &present {
        assert_eq!(now_there.get(path), Some(seen), "{}", path.display());
    }
    assert!(layout.blob(repo, &etag(OLD)).is_file());
    assert!(layout.snapshot(repo, &scene.old).is_dir());
    assert!(layout.refs(repo).join("v1").is_file());
    let kept: Vec<&str> = back.kept.iter().map(|kept| kept.path.as_str()).collect();
    // The blob that is there again in the same way is not kept twice, and it is said of it.
    assert!(
        back.restored.contains(&layout.blob(repo, &etag(SHARED))),
        "{back:?}"
    );
    let [kept] = kept[..] else {
        panic!("{back:?}");
    };
    assert!(kept.ends_with("refs/main"), "{kept}");
    // What found no place is still there.
    assert_eq!(scene.rows().len(), 1);
}

#[test]
fn what_was_not_shown_or_is_written_stays() {
    let scene = Scene::new();
    let Scene { layout, repo, .. } = &scene;
    let planned = scene.plan(Selection::Repo, false).unwrap();
    let before = scene.tree();
    let lock = held(layout, repo, &etag(NEW));
    let why = scene.discard(&planned).unwrap_err();
    assert!(why.contains("holds"), "{why}");
    let stays = scene.plan(Selection::Repo, false).unwrap_err();
    assert!(stays.is_written && stays.why.contains("holds"), "{stays:?}");
    drop(lock);
    let marker = fs::File::create(layout.marker(repo)).unwrap();
    marker.lock().unwrap();
    let why = scene.discard(&planned).unwrap_err();
    assert!(
        why.contains("downloads it") || why.contains("pulled"),
        "{why}"
    );
    drop(marker);
    fs::remove_file(layout.marker(repo)).unwrap();
    let partial = layout.partial(repo, &etag(b"more"), 7);
    fs::write(&partial, "half").unwrap();
    let why = scene.discard(&planned).unwrap_err();
    assert!(
        why.contains("not finished") || why.contains("writes"),
        "{why}"
    );
    fs::remove_file(&partial).unwrap();
    let more = layout.blob(repo, &etag(b"more"));
    fs::write(&more, "more").unwrap();
    let why = scene.discard(&planned).unwrap_err();
    assert!(why.contains("changed"), "{why}");
    fs::remove_file(&more).unwrap();
    assert_eq!(scene.tree(), before);
    let taken = Bin::for_discard(layout, repo, DiscardKind::Repo).unwrap();
    let other = taken.take().unwrap().unwrap();
    let why = scene.discard(&planned).unwrap_err();
    assert!(why.contains("another larder"), "{why}");
    drop(other);
    scene.discard(&planned).unwrap();
}

#[test]
fn corrupt_blobs_go_with_their_pointers_and_right_ones_never() {
    let scene = Scene::new();
    let Scene { layout, repo, .. } = &scene;
    let etags = [etag(SHARED)];
    let planned = scene.plan(Selection::Blobs(&etags, &[]), false).unwrap();
    let why = scene.discard(&planned).unwrap_err();
    assert!(why.contains("are right"), "{why}");
    fs::write(layout.blob(repo, &etags[0]), b"in both commitz").unwrap();
    let id = scene.purge(Selection::Blobs(&etags, &[]));
    scene.assert_python_reads_it("purged");
    assert!(!layout.blob(repo, &etags[0]).exists());
    let why = scene.restore(&id).unwrap_err();
    assert!(why.contains("not those of its name"), "{why}");
    assert_eq!(scene.rows().len(), 1);
    assert!(layout.blob(repo, &etag(OLD)).exists());
}

#[test]
fn where_no_trash_can_be_parts_lie_in_the_repo_and_models_need_now() {
    let scene = Scene::new();
    let Scene { layout, repo, .. } = &scene;
    // Somebody else's folder.
    let beside = layout.root().parent().unwrap().join(".larder-trash");
    fs::create_dir(&beside).unwrap();
    fs::write(beside.join("mine"), "x").unwrap();
    let before = scene.tree();
    let names = [scene.old.to_string()];
    let id = scene.purge(Selection::Revisions(&names));
    assert!(layout.larder_dir(repo).join("trash").join(&id).is_dir());
    scene.assert_python_reads_it("purged");
    let stays = scene.plan(Selection::Repo, false).unwrap_err();
    assert!(stays.why.contains("--now"), "{stays:?}");
    let stays = scene.plan(Selection::Repo, true).unwrap_err();
    assert!(stays.why.contains("its own trash"), "{stays:?}");
    scene.restore(&id).unwrap();
    let after = scene.tree();
    assert!(
        before
            .iter()
            .all(|(path, seen)| after.get(path) == Some(seen))
    );
    let planned = scene.plan(Selection::Repo, true).unwrap();
    scene.discard(&planned).unwrap();
    assert!(!layout.repo(repo).exists());
    assert_eq!(fixture::names(&beside), ["mine"]);
}

/// A repo's folder moves as one: its blobs are, in the trash, what they were when they were hashed.
#[test]
fn what_was_proven_and_has_not_changed_is_not_hashed_again() {
    let scene = Scene::new();
    let Scene { layout, repo, .. } = &scene;
    let stamp =
        |found: &fs::Metadata| (found.ino(), found.len(), found.ctime(), found.ctime_nsec());
    let blobs =
        [SHARED, OLD, NEW].map(|content| (layout.blob(repo, &etag(content)), etag(content)));
    let known: BTreeMap<PathBuf, _> = blobs
        .iter()
        .map(|(blob, etag)| (blob.clone(), (stamp(&blob.metadata().unwrap()), *etag)))
        .collect();
    let id = scene.purge(Selection::Repo);
    // A wrong content: a hash would find it out.
    let entry = Bin::all(layout, &scene.repos())[0].folder().join(&id);
    let spoilt = leaves(&entry).unwrap().into_iter();
    let spoilt: Vec<PathBuf> = spoilt
        .filter(|path| path.ends_with(etag(OLD).to_string()))
        .collect();
    fs::write(&spoilt[0], b"only in the oldex").unwrap();
    let unread = std::sync::Mutex::new(Vec::new());
    let was_proven = |place: &Path, found: &fs::Metadata, etag: &Etag| {
        let is_known = known.get(place) == Some(&(stamp(found), *etag));
        unread.lock().unwrap().push((place.to_owned(), is_known));
        is_known
    };
    let back = restore(layout, &scene.repos(), &scene.row(&id), &was_proven).unwrap();
    let asked: BTreeMap<PathBuf, bool> = unread.into_inner().unwrap().into_iter().collect();
    let expected = blobs.map(|(blob, it)| (blob, it != etag(OLD)));
    assert_eq!(asked, BTreeMap::from(expected));
    assert_eq!(back.wrong, [layout.blob(repo, &etag(OLD))]);
    assert_eq!(fs::read(layout.blob(repo, &etag(NEW))).unwrap(), NEW);

    // Whoever says so is believed: those bytes are not read.
    let row = scene.row(&id);
    let back = restore(layout, &scene.repos(), &row, &|_, _, _| true).unwrap();
    assert!(back.wrong.is_empty(), "{back:?}");
}

#[test]
fn a_content_of_the_shared_store_stays_there_and_is_kept_from_a_prune() {
    for is_pruned in [false, true] {
        let scene = Scene::new();
        let Scene { layout, repo, .. } = &scene;
        let blob = layout.blob(repo, &etag(NEW));
        let hash = "ab".repeat(32);
        let payload = layout.shared_payload(&hash).unwrap();
        fs::create_dir_all(payload.parent().unwrap()).unwrap();
        fs::rename(&blob, &payload).unwrap();
        symlink(format!("../../blobs/ab/{hash}"), &blob).unwrap();
        let id = scene.purge(Selection::Repo);
        assert!(payload.is_file(), "other repos may read it");
        if is_pruned {
            fs::remove_file(&payload).unwrap();
        }
        let back = scene.restore(&id).unwrap();
        assert!(back.kept.is_empty(), "{back:?}");
        assert_eq!(fs::read(&blob).unwrap(), NEW);
        assert_eq!(payload.exists(), !is_pruned);
        scene.assert_python_reads_it("put back");
        assert!(scene.rows().is_empty());
    }
}

#[test]
fn a_manifest_that_leads_out_of_the_cache_is_not_believed() {
    let scene = Scene::new();
    let id = scene.purge(Selection::Repo);
    let row = scene.row(&id);
    let bin = &Bin::all(&scene.layout, &[])[0];
    let manifest = bin.folder().join(&id).join("manifest.json");
    let good = fs::read_to_string(&manifest).unwrap();
    for (from, to) in [
        ("\"models--org--m\"\n", "\"../outside\"\n"),
        ("\"models--org--m\"\n", "\"/etc\"\n"),
        ("\"format\": 1", "\"format\": 2"),
    ] {
        let bad = good.replace(from, to);
        assert_ne!(bad, good);
        fs::write(&manifest, bad).unwrap();
        assert!(restore(&scene.layout, &scene.repos(), &row, NOTHING_PROVEN).is_err());
        assert!(Entry::all(bin)[0].manifest().is_none());
    }
    fs::write(&manifest, good).unwrap();
    scene.restore(&id).unwrap();
}

#[test]
fn another_caches_entry_is_left_to_it() {
    let scene = Scene::new();
    let id = scene.purge(Selection::Repo);
    let other = Layout::new(scene.layout.root().parent().unwrap().join("other"));
    prepare_repo(&other, &scene.repo).unwrap();
    let row = scene.row(&id);
    for why in [
        restore(&other, &scene.repos(), &row, NOTHING_PROVEN)
            .map(drop)
            .unwrap_err(),
        free(&other, &scene.repos(), &row).map(drop).unwrap_err(),
    ] {
        assert!(why.contains("another cache"), "{why}");
    }
    assert_eq!(scene.rows().len(), 1);
    let first = id;
    scene.build();
    let second = scene.purge(Selection::Repo);
    assert!(second > first, "ids sort: {first} {second}");
}

#[test]
fn everything_that_goes_with_a_model_is_named() {
    let scene = Scene::new();
    let blobs = scene.layout.blobs(&scene.repo);
    let dead = format!("{}.0123abcd", etag(b"dead"));
    for name in [
        "W-weird-etag.incomplete",
        "my-notes.incomplete",
        "0123abcd.map.incomplete",
    ] {
        fs::write(blobs.join(name), name).unwrap();
    }
    fs::create_dir(blobs.join("folder.incomplete")).unwrap();
    fs::write(blobs.join("folder.incomplete/inside"), "x").unwrap();
    symlink("nowhere", blobs.join("link.incomplete")).unwrap();
    let planned = scene.plan(Selection::Repo, true).unwrap();
    let there = scene.tree();
    let named = planned.paths.iter().map(|it| it.path.as_str());
    // A folder with nothing in it is no file.
    let mut named: Vec<&str> = named.filter(|path| !path.ends_with("/.larder")).collect();
    named.sort_unstable();
    let folder = scene.layout.repo(&scene.repo);
    let mut all: Vec<String> = there
        .keys()
        .map(|path| folder.join(path).display().to_string())
        .collect();
    all.sort_unstable();
    assert_eq!(named, all);
    let bytes = planned.paths.iter().map(|it| it.bytes).sum::<u64>();
    assert_eq!(bytes, planned.bytes);
    // An unfinished blob and its map go by a step of their own.
    fs::write(blobs.join(format!("{dead}.incomplete")), "half").unwrap();
    fs::write(blobs.join(format!("{dead}.map.incomplete")), "{}").unwrap();
    let again = going(&scene.layout, &scene.repo, Selection::Repo).unwrap();
    assert_eq!(again.paths, planned.paths);
    assert!(again.unfinished.is_some());
}

#[test]
fn ids_differ_over_all_trashes_and_an_entry_is_its_folders() {
    assert!(
        (0..50).any(|_| ids_of_one_second()),
        "a second is too short"
    );
}

/// Whether two purges came within one second of the clock: ids tell the second.
fn ids_of_one_second() -> bool {
    let scene = Scene::new();
    let names = [scene.old.to_string()];
    let first = scene.purge(Selection::Revisions(&names));
    scene.row(&first);
    // From now on parts lie in the repo.
    let beside = scene.layout.root().parent().unwrap().join(".larder-trash");
    let away = beside.with_file_name("away");
    fs::rename(&beside, &away).unwrap();
    fs::write(&beside, "in the way").unwrap();
    scene.build();
    let alike = scene.purge(Selection::Revisions(&names));
    if alike != first {
        return false;
    }
    fs::remove_file(&beside).unwrap();
    fs::rename(&away, &beside).unwrap();
    let rows = scene.rows();
    assert_eq!(rows.len(), 2);
    let is_inside = |row: &&TrashRow| !row.path.starts_with(beside.to_str().unwrap());
    let inside = rows.iter().find(is_inside).unwrap();
    free(&scene.layout, &scene.repos(), inside).unwrap();
    let left = scene.rows();
    assert_eq!(left.len(), 1);
    assert!(left[0].path.starts_with(beside.to_str().unwrap()));
    // Now that both are there, the next is called otherwise.
    fs::rename(&beside, &away).unwrap();
    fs::write(&beside, "in the way").unwrap();
    scene.build();
    let inside = scene.purge(Selection::Revisions(&names));
    fs::remove_file(&beside).unwrap();
    fs::rename(&away, &beside).unwrap();
    free(&scene.layout, &scene.repos(), &left[0]).unwrap();
    scene.build();
    let next = scene.purge(Selection::Revisions(&names));
    assert!(next > inside && next > first, "{next} {inside} {first}");
    true
}

#[test]
fn changed_bytes_do_not_get_the_name_of_a_content_back() {
    for is_whole in [true, false] {
        let scene = Scene::new();
        let Scene { layout, repo, .. } = &scene;
        let names = [scene.old.to_string()];
        let id = scene.purge(if is_whole {
            Selection::Repo
        } else {
            Selection::Revisions(&names)
        });
        let name = etag(OLD).to_string();
        let row = scene.row(&id);
        let inside = leaves(Path::new(&row.path)).unwrap();
        let blob = inside.iter().find(|path| path.ends_with(&name)).unwrap();
        fs::write(blob, b"only in the oldes").unwrap();
        let back = scene.restore(&id).unwrap();
        assert_eq!(back.wrong, [layout.blob(repo, &etag(OLD))]);
        scene.assert_python_reads_it("put back");
        assert!(!layout.blob(repo, &etag(OLD)).exists());
        assert!(blob.is_file(), "it stays in the trash");
        // The rest is back.
        assert_eq!(fs::read(layout.blob(repo, &etag(NEW))).unwrap(), NEW);
        let config = layout.pointer(repo, &scene.old, &path("config.json"));
        assert_eq!(fs::read(config).unwrap(), SHARED);
        assert_eq!(scene.rows().len(), 1);
        // With the right bytes all of it comes back.
        fs::write(blob, OLD).unwrap();
        let back = scene.restore(&id).unwrap();
        assert!(back.kept.is_empty() && back.wrong.is_empty(), "{back:?}");
        let file = layout.pointer(repo, &scene.old, &path("sub dir/w.bin"));
        assert_eq!(fs::read(file).unwrap(), OLD);
        assert!(scene.rows().is_empty());
    }
}

#[test]
fn what_stays_keeps_what_it_leads_through() {
    let scene = Scene::new();
    let Scene { layout, repo, .. } = &scene;
    let file = path("sub dir/w.bin");
    // The newer reads a file by way of the older.
    let through = layout.pointer(repo, &scene.new, &path("by-way.bin"));
    let target = format!("../{}/sub dir/w.bin", scene.old);
    symlink(&target, &through).unwrap();
    let names = [scene.old.to_string()];
    let stays = scene.plan(Selection::Revisions(&names), false).unwrap_err();
    assert!(stays.why.contains("by-way.bin"), "{stays:?}");
    fs::remove_file(&through).unwrap();
    // A blob that is reached by two steps stays.
    let twice = layout.blobs(repo).join("alias");
    symlink(etag(OLD).to_string(), &twice).unwrap();
    symlink("../../blobs/alias", &through).unwrap();
    scene.purge(Selection::Revisions(&names));
    assert_eq!(fs::read(&through).unwrap(), OLD);
    assert!(!layout.pointer(repo, &scene.old, &file).exists());
    scene.assert_python_reads_it("purged");
}

#[test]
fn wrong_bytes_go_with_pointers_that_lead_there_by_way_of_others() {
    let scene = Scene::new();
    let Scene { layout, repo, .. } = &scene;
    let through = layout.pointer(repo, &scene.new, &path("by-way.bin"));
    symlink(format!("../{}/sub dir/w.bin", scene.old), &through).unwrap();
    fs::write(layout.blob(repo, &etag(OLD)), b"only in the oldes").unwrap();
    scene.purge(Selection::Blobs(&[etag(OLD)], &[]));
    assert!(through.symlink_metadata().is_err());
    scene.assert_python_reads_it("purged");
}

#[test]
fn nothing_goes_that_another_repo_leads_to() {
    let scene = Scene::new();
    let Scene {
        layout, repo: ours, ..
    } = &scene;
    let other = repo("org/other");
    prepare_repo(layout, &other).unwrap();
    let pointer = layout.pointer(&other, &commit('d'), &path("w.bin"));
    fs::create_dir_all(pointer.parent().unwrap()).unwrap();
    let blob = etag(OLD).to_string();
    symlink(format!("../../../{}/blobs/{blob}", ours.folder()), &pointer).unwrap();
    let stays = scene.plan(Selection::Repo, true).unwrap_err();
    assert!(stays.why.contains("org/other"), "{stays:?}");
    let blobs = [etag(OLD)];
    let stays = scene
        .plan(Selection::Blobs(&blobs, &[]), false)
        .unwrap_err();
    assert!(stays.why.contains("org/other"), "{stays:?}");
    // Of a revision everything else goes.
    let names = [scene.old.to_string()];
    scene.purge(Selection::Revisions(&names));
    assert_eq!(fs::read(&pointer).unwrap(), OLD);
    assert!(!layout.snapshot(ours, &scene.old).exists());
    fs::remove_file(&pointer).unwrap();
    scene.plan(Selection::Repo, true).unwrap();
    // A way that nobody can follow: who knows what it leads to.
    symlink("/", &pointer).unwrap();
    let stays = scene.plan(Selection::Repo, true).unwrap_err();
    assert!(stays.why.contains("no part of a snapshot"), "{stays:?}");
}

/// A larder that died when all was back had freed nothing.
#[test]
fn an_entry_of_which_all_is_back_is_not_told_as_freed() {
    let scene = Scene::new();
    let names = [scene.old.to_string()];
    let id = scene.purge(Selection::Revisions(&names));
    let entry = PathBuf::from(scene.row(&id).path);
    scene.restore(&id).unwrap();
    let cut_off = entry.with_extension("emptying");
    fs::create_dir_all(cut_off.join("content/models--org--m/blobs")).unwrap();
    let manifest = serde_json::json!({
        "format": 1, "cache": scene.layout.root(), "repo": scene.repo.folder(),
        "kind": "revisions", "what": names, "reason": "x", "purged_ms": 1, "bytes": 1, "pid": 1,
        "host": "h", "how_to_put_back": "", "moved": [],
    });
    fs::write(cut_off.join("manifest.json"), manifest.to_string()).unwrap();
    assert_eq!(scene.settle(), [""; 0]);
    assert!(!cut_off.exists());
}

#[test]
fn nothing_is_purged_where_nobody_could_note_down_from_where() {
    use std::os::unix::ffi::OsStrExt as _;
    let dir = tempfile::tempdir().unwrap();
    let name = std::ffi::OsStr::from_bytes(b"hub\xff");
    let layout = Layout::new(dir.path().canonicalize().unwrap().join(name));
    let repo = repo("org/m");
    if prepare_repo(&layout, &repo).is_err() {
        // This file system takes no such names.
        return;
    }
    fs::write(layout.blob(&repo, &etag(SHARED)), SHARED).unwrap();
    let stays = Scene::with_eyes(|eyes| {
        plan_discard(
            &layout,
            &repo,
            Selection::Repo,
            DiscardReason::Named,
            false,
            eyes,
        )
    });
    assert!(stays.unwrap_err().why.contains("UTF-8"));
}

#[test]
fn what_gave_way_to_others_goes_with_the_corrupt_and_comes_back() {
    let scene = Scene::new();
    let Scene { layout, repo, .. } = &scene;
    let blobs = layout.blobs(repo);
    let shared = etag(SHARED);
    let corrupt = blobs.join(format!("{shared}.0123abcd.corrupt"));
    let old = blobs.join(format!(".{shared}.0123abcd.old"));
    for place in [&corrupt, &old] {
        fs::write(place, "other bytes").unwrap();
    }
    let (goes, stays) = put_aside(layout, repo, &|_| false, now()).unwrap();
    assert_eq!(goes, [corrupt.as_path()]);
    assert!(
        matches!(&stays[..], [kept] if kept.path == old.to_str().unwrap()
            && kept.why.contains("may want it back")),
        "{stays:?}"
    );
    let later = now() + std::time::Duration::from_mins(2);
    let (aside, _) = put_aside(layout, repo, &|_| false, later).unwrap();
    assert_eq!(aside, [old.as_path(), &corrupt]);
    let before = scene.tree();
    let id = scene.purge(Selection::Blobs(&[], &aside));
    assert!(!corrupt.exists() && !old.exists());
    assert_eq!(fs::read(layout.blob(repo, &shared)).unwrap(), SHARED);
    scene.restore(&id).unwrap();
    assert_eq!(scene.tree(), before);
}

#[test]
fn what_gave_way_stays_until_the_right_blob_has_its_place() {
    let scene = Scene::new();
    let Scene { layout, repo, .. } = &scene;
    let blobs = layout.blobs(repo);
    let (shared, gone) = (etag(SHARED), etag(b"nobody has it"));
    let corrupt = blobs.join(format!("{shared}.0123abcd.corrupt"));
    let only = [
        blobs.join(format!(".{gone}.0123abcd.old")),
        blobs.join(format!("{gone}.0123abcd.corrupt")),
    ];
    let twice = blobs.join(format!("{shared}.0123abce.corrupt"));
    fs::hard_link(layout.blob(repo, &shared), &twice).unwrap();
    for place in only.iter().chain([&corrupt]) {
        fs::write(place, "other bytes").unwrap();
    }
    let later = now() + std::time::Duration::from_mins(2);
    let (goes, stays) = put_aside(layout, repo, &|_| false, later).unwrap();
    assert_eq!(goes, [corrupt.as_path()]);
    let mut why: Vec<&str> = stays.iter().map(|kept| kept.why.as_str()).collect();
    why.sort_unstable();
    assert_eq!(
        why,
        [
            "it is a second name of the blob",
            "the blob that it gave way to is not there",
            "the blob that it gave way to is not there",
        ],
        "{stays:?}"
    );
    let (goes, stays) = put_aside(layout, repo, &|etag| *etag == shared, later).unwrap();
    assert!(goes.is_empty(), "{goes:?}");
    assert!(
        stays.iter().any(|kept| kept.why.contains("wrong bytes")),
        "{stays:?}"
    );
    // Nor does it go when the blob has vanished since the plan was made.
    let aside = [corrupt.clone()];
    let planned = scene.plan(Selection::Blobs(&[], &aside), true).unwrap();
    fs::remove_file(layout.blob(repo, &shared)).unwrap();
    scene.discard(&planned).unwrap_err();
    assert!(corrupt.exists() && only.iter().all(|path| path.exists()));
}

#[test]
fn what_a_ref_may_have_named_is_not_called_unreferenced() {
    let scene = Scene::new();
    let names = [scene.old.to_string()];
    let plan = |selection: Selection<'_>| {
        Scene::with_eyes(|eyes| {
            let (layout, reason) = (&scene.layout, DiscardReason::Unreferenced);
            plan_discard(layout, &scene.repo, selection, reason, false, eyes)
        })
    };
    let why = |planned: Result<Discard, Stays>| planned.unwrap_err().why;
    let refs = scene.layout.refs(&scene.repo);
    assert!(why(plan(Selection::Revisions(&names))).contains("names it"));
    fs::remove_file(refs.join("v1")).unwrap();
    fs::remove_file(refs.join("refs/pr/1")).unwrap();
    let planned = plan(Selection::Revisions(&names)).unwrap();
    assert!(why(plan(Selection::Repo)).contains("`main` names it"));
    let odd = refs.join("odd");
    let before = scene.tree();
    for is_socket in [false, true] {
        let _socket = if is_socket {
            fs::remove_file(&odd).unwrap();
            Some(std::os::unix::net::UnixListener::bind(&odd).unwrap())
        } else {
            fs::write(&odd, "").unwrap();
            None
        };
        for selection in [Selection::Repo, Selection::Revisions(&names)] {
            why(plan(selection));
        }
        // Also what came after the plan was shown.
        let why = scene.discard(&planned).unwrap_err();
        assert!(why.contains("odd"), "{why}");
    }
    fs::remove_file(&odd).unwrap();
    let after = scene.tree();
    assert!(before.keys().eq(after.keys()));
    scene.discard(&planned).unwrap();
}
