//! Owns the tests of what goes: what is named, what stays and why, and a kill after any move.
//!
//! Never part of the program.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::goes::leaves;
use super::scene::{
    NEW, NOTHING_PROVEN, OLD, SHARED, Scene, assert_nothing_lost, killed_after, restore,
};
use super::*;
use crate::cache::fixture::{self, commit, etag, held, now, path, repo};
use crate::cache::prepare_repo;
use crate::domain::DiscardReason;

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

/// Of every content a lock of Python and one of Swift, free and empty.
fn lock_files(scene: &Scene) -> Vec<PathBuf> {
    let Scene { layout, repo, .. } = scene;
    for content in [SHARED, OLD, NEW] {
        drop(held(layout, repo, &etag(content)));
    }
    let folder = layout.locks().join(repo.folder());
    let mut found = leaves(&folder).unwrap();
    found.sort();
    assert_eq!(found.len(), 6, "{found:?}");
    found
}

#[test]
fn the_locks_of_a_model_that_goes_are_named_and_go_with_it() {
    let scene = Scene::new();
    let Scene { layout, repo, .. } = &scene;
    let folder = layout.locks().join(repo.folder());
    let files = lock_files(&scene);
    // What a program died with whose content nobody knows any more is named as well.
    let strange = folder.join("W-weird.lock");
    fs::write(&strange, "").unwrap();
    let before = scene.tree();
    let planned = scene.plan(Selection::Repo, false).unwrap();
    let named: BTreeSet<PathBuf> = planned.locks.iter().map(PathBuf::from).collect();
    let all: BTreeSet<PathBuf> = files.into_iter().chain([strange]).collect();
    assert_eq!(named, all);
    let (moved, gone) = Scene::with_eyes(|eyes| discard(layout, &planned, eyes)).unwrap();
    assert_eq!(gone.into_iter().collect::<BTreeSet<_>>(), all);
    assert!(folder.symlink_metadata().is_err(), "nothing is left of it");
    let Discarded::Moved { id, .. } = moved else {
        panic!("{moved:?}");
    };
    let back = scene.restore(&id).unwrap();
    assert!(back.kept.is_empty(), "{back:?}");
    assert_eq!(scene.tree(), before);
    // Where there were none, none are left either.
    scene.purge(Selection::Repo);
    assert!(folder.symlink_metadata().is_err());
}

#[test]
fn of_a_revision_only_the_locks_of_its_blobs_go() {
    let scene = Scene::new();
    let Scene { layout, repo, .. } = &scene;
    let own = [
        layout.own_tree(repo, &scene.old),
        layout.own_tree(repo, &scene.new),
    ];
    fs::create_dir_all(own[0].parent().unwrap()).unwrap();
    for tree in &own {
        fs::write(tree, "{}").unwrap();
    }
    let files = lock_files(&scene);
    let names = [scene.old.to_string()];
    let id = scene.purge(Selection::Revisions(&names));
    assert!(!own[0].exists() && own[1].exists());
    let is_of_old = |path: &&PathBuf| path.to_str().unwrap().contains(&etag(OLD).to_string());
    for path in &files {
        assert_eq!(path.exists(), !is_of_old(&path), "{}", path.display());
    }
    assert_eq!(files.iter().filter(is_of_old).count(), 2);
    scene.restore(&id).unwrap();
    assert!(own[0].exists() && own[1].exists());
}

#[test]
fn a_lock_that_is_held_or_says_something_stays_and_nothing_fails_for_it() {
    let scene = Scene::new();
    let Scene { layout, repo, .. } = &scene;
    let folder = layout.locks().join(repo.folder());
    lock_files(&scene);
    // Of a content that is not here any more; the other may be one whose existence counts.
    let busy = folder.join("of-another.lock");
    let says = folder.join("blobs/marker.lock");
    let linked = folder.join("linked.lock");
    let elsewhere = layout.root().parent().unwrap().join("elsewhere");
    fs::write(&elsewhere, "").unwrap();
    symlink(&elsewhere, &linked).unwrap();
    fs::write(&says, "1\nelsewhere\n").unwrap();
    let file = fs::File::create(&busy).unwrap();
    let planned = scene.plan(Selection::Repo, false).unwrap();
    assert!(
        planned
            .locks
            .iter()
            .all(|it| !it.contains("marker") && !it.contains("linked"))
    );
    file.lock().unwrap();
    scene.discard(&planned).unwrap();
    assert!(!layout.repo(repo).exists());
    let left: BTreeSet<PathBuf> = leaves(&folder).unwrap().into_iter().collect();
    assert_eq!(left, BTreeSet::from([busy, says, linked]));
    // A folder that is a link may lead anywhere.
    let scene = Scene::new();
    let folder = scene.layout.locks().join(scene.repo.folder());
    let away = scene.layout.root().parent().unwrap().join("away");
    fs::create_dir_all(away.join("blobs")).unwrap();
    fs::create_dir_all(folder.parent().unwrap()).unwrap();
    symlink(&away, &folder).unwrap();
    fs::write(away.join("mine.lock"), "").unwrap();
    scene.purge(Selection::Repo);
    assert!(away.join("mine.lock").exists() && away.join("blobs").is_dir());
}
