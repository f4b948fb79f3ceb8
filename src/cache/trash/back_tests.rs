//! Owns the tests of how it comes back, and of what lies in the trash until then: a kill after any move,
//! what has its place again, and whose it is.
//!
//! Never part of the program.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use super::entry::Entry;
use super::goes::leaves;
use super::scene::{
    NEW, NOTHING_PROVEN, OLD, SHARED, Scene, assert_nothing_lost, killed_after, restore,
};
use super::*;
use crate::cache::fixture::{commit, etag, path};
use crate::cache::{Layout, prepare_repo, write_ref};
use crate::domain::Revision;

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
fn a_proof_says_how_it_goes_on_and_whoever_ends_it_changes_nothing() {
    let scene = Scene::new();
    let id = scene.purge(Selection::Repo);
    let (repos, row) = (scene.repos(), scene.row(&id));
    let mut heard = Vec::new();
    let mut watch = |step: ProofStep<'_>| {
        heard.push(match step {
            ProofStep::Begins { files, bytes } => (files, bytes),
            ProofStep::At { bytes, .. } | ProofStep::Done { bytes } => (0, bytes),
        });
        match step {
            ProofStep::Done { .. } => ControlFlow::Break(()),
            ProofStep::Begins { .. } | ProofStep::At { .. } => ControlFlow::Continue(()),
        }
    };
    let prover = Prover {
        was_proven: NOTHING_PROVEN,
        watch: &mut watch,
    };
    let ended = super::restore(&scene.layout, &repos, &row, prover);
    assert_eq!(ended.unwrap_err(), NotBack::Interrupted);
    let all = (SHARED.len() + OLD.len() + NEW.len()) as u64;
    assert_eq!(heard.first(), Some(&(3, all)));
    assert!(!scene.layout.repo(&scene.repo).exists());
    assert_eq!(scene.row(&id), row, "it rests as before");
    let back = scene.restore(&id).unwrap();
    assert_eq!(back.kept, []);
}
