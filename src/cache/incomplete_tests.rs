//! Owns the tests of partials: adoption of every writer's file, and what other programs do to one.
//!
//! Never part of the program.

use std::fs::FileTimes;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::cache::SetAside;
use crate::cache::fixture::{self, content, etag, held, now, on, repo};

struct Scene {
    _dir: fixture::Folder,
    layout: Layout,
    repo: RepoId,
    etag: Etag,
    good: Vec<u8>,
    lock: BlobLock,
}

impl Scene {
    fn new(length: usize) -> Self {
        let (dir, layout) = fixture::cache();
        let repo = repo("org/m");
        prepare_repo(&layout, &repo).unwrap();
        let good = content(length);
        let etag = etag(&good);
        let lock = held(&layout, &repo, &etag);
        Self {
            _dir: dir,
            layout,
            repo,
            etag,
            good,
            lock,
        }
    }

    fn start_from(&self, seed: Option<&Path>) -> Result<(Partial, Found)> {
        Partial::start(
            &self.layout,
            &self.repo,
            &self.etag,
            self.good.len() as u64,
            &self.lock,
            Salvage {
                now: now(),
                seed,
                damaged: None,
            },
            &mut on,
        )
    }

    fn start(&self) -> (Partial, Found) {
        self.start_from(None).unwrap()
    }

    fn named(&self, ending: &str) -> PathBuf {
        self.layout
            .blobs(&self.repo)
            .join(format!("{}{ending}", self.etag))
    }

    fn names(&self) -> Vec<String> {
        fixture::names(&self.layout.blobs(&self.repo))
    }

    fn finish(&self, mut partial: Partial) {
        let from = usize::try_from(partial.bytes()).unwrap();
        partial.append(&self.good[from..]).unwrap();
        partial
            .prove_and_promote(&self.lock, SetAside::Keep)
            .unwrap();
        let blob = self.layout.blob(&self.repo, &self.etag);
        assert_eq!(fs::read(blob).unwrap(), self.good);
    }
}

#[test]
fn every_writers_partial_is_moved_to_our_name_and_finished() {
    fixture::with_umask(0o022, || {
        let mut counted = content(9000);
        counted[4000..].fill(0);
        counted.extend(4000u64.to_le_bytes());
        let plain = content(9000)[..4000].to_vec();
        for (ending, bytes) in [
            (".incomplete", &plain),
            (".part", &plain),
            (".sync.part", &counted),
            (".0badcafe.incomplete", &plain),
        ] {
            let scene = Scene::new(9000);
            let foreign = scene.named(ending);
            fs::write(&foreign, bytes).unwrap();
            fs::set_permissions(&foreign, fs::Permissions::from_mode(0o600)).unwrap();
            let (partial, found) = scene.start();
            assert_eq!(found.adopted_bytes, 4000, "{ending}");
            assert!(partial.has_foreign_bytes() && found.discarded.is_empty());
            assert!(!foreign.exists(), "{ending} was moved");
            assert_eq!(scene.names().len(), 1);
            assert_eq!(partial.path().metadata().unwrap().len(), 4000);
            let mode = partial.path().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o644, "{ending}");
            scene.finish(partial);
            assert_eq!(scene.names(), [scene.etag.to_string()]);
        }
    });
}

#[test]
fn the_largest_partial_that_nobody_holds_wins() {
    let scene = Scene::new(9000);
    fs::write(scene.named(".incomplete"), &scene.good[..3000]).unwrap();
    fs::write(scene.named(".part"), &scene.good[..5000]).unwrap();
    fs::write(scene.named(".00000000.incomplete"), "").unwrap();
    let live = scene.named(".11111111.incomplete");
    fs::write(&live, &scene.good[..7000]).unwrap();
    let their_handle = File::open(&live).unwrap();
    their_handle.lock().unwrap();
    let elsewhere = scene.layout.root().join("elsewhere");
    fs::write(&elsewhere, &scene.good[..8000]).unwrap();
    symlink(&elsewhere, scene.named(".22222222.incomplete")).unwrap();
    fs::hard_link(&elsewhere, scene.named(".33333333.incomplete")).unwrap();

    let (partial, found) = scene.start();
    assert_eq!(found.adopted_bytes, 5000);
    assert!(live.exists() && scene.named(".incomplete").exists());
    assert!(
        !scene.named(".00000000.incomplete").exists(),
        "an empty leftover is taken away"
    );
    scene.finish(partial);
    assert_eq!(fs::read(&elsewhere).unwrap(), scene.good[..8000]);
}

#[test]
fn a_partial_longer_than_the_file_starts_again_from_zero() {
    for (ending, length) in [(".incomplete", 101), (".sync.part", 101), (".part", 5000)] {
        let scene = Scene::new(100);
        fs::write(scene.named(ending), vec![7; length]).unwrap();
        let (partial, found) = scene.start();
        assert_eq!(partial.bytes(), 0);
        assert_eq!(found.discarded, [format!("{}{ending}", scene.etag)]);
        assert_eq!(partial.path().metadata().unwrap().len(), 0);
        scene.finish(partial);
    }
}

#[test]
fn foreign_garbage_is_told_apart_and_restarted_once() {
    let scene = Scene::new(9000);
    fs::write(scene.named(".incomplete"), vec![7; 4000]).unwrap();
    let (mut partial, _) = scene.start();
    partial.append(&scene.good[4000..]).unwrap();
    let failed = partial
        .prove_and_promote(&scene.lock, SetAside::Keep)
        .unwrap_err();
    let mut partial = *failed.partial;
    assert!(partial.has_foreign_bytes());
    assert_eq!(partial.restart().unwrap(), 9000);
    assert!(!partial.has_foreign_bytes());
    scene.finish(partial);
}

#[test]
fn without_flock_a_young_partial_is_left_alone() {
    let mut scene = Scene::new(9000);
    scene.lock = BlobLock::unbacked();
    let foreign = scene.named(".incomplete");
    fs::write(&foreign, &scene.good[..4000]).unwrap();
    let (partial, found) = scene.start();
    assert_eq!(found.adopted_bytes, 0);
    assert!(foreign.exists());
    partial.discard().unwrap();
    File::options()
        .write(true)
        .open(&foreign)
        .unwrap()
        .set_times(FileTimes::new().set_modified(now() - Duration::from_mins(6)))
        .unwrap();
    assert_eq!(scene.start().1.adopted_bytes, 4000);
}

#[test]
fn a_truncated_blob_seeds_the_partial_unless_a_partial_has_more() {
    for (leftover, adopted) in [(2000, 6000), (7000, 7000)] {
        let scene = Scene::new(9000);
        let blob = scene.layout.blob(&scene.repo, &scene.etag);
        fs::write(&blob, &scene.good[..6000]).unwrap();
        fs::write(scene.named(".part"), &scene.good[..leftover]).unwrap();
        let (mut partial, found) = scene.start_from(Some(&blob)).unwrap();
        assert_eq!(found.adopted_bytes, adopted);
        assert!(partial.has_foreign_bytes());
        assert_eq!(fs::read(&blob).unwrap(), scene.good[..6000], "still there");
        let from = usize::try_from(adopted).unwrap();
        partial.append(&scene.good[from..]).unwrap();
        partial
            .prove_and_promote(&scene.lock, SetAside::Drop)
            .unwrap();
        assert_eq!(fs::read(&blob).unwrap(), scene.good);
    }
}

#[test]
fn an_interrupted_start_loses_nothing() {
    let scene = Scene::new(9000);
    fs::write(scene.named(".part"), &scene.good[..5000]).unwrap();
    let salvage = Salvage {
        now: now(),
        seed: None,
        damaged: None,
    };
    let result = Partial::start(
        &scene.layout,
        &scene.repo,
        &scene.etag,
        9000,
        &scene.lock,
        salvage,
        &mut |_| ControlFlow::Break(()),
    );
    assert!(matches!(result, Err(Error::Interrupted)));
    assert_eq!(scene.start().1.adopted_bytes, 5000);
}

#[test]
fn a_live_partial_is_not_adopted_by_a_second_start_and_a_dropped_one_is() {
    let scene = Scene::new(9000);
    let (mut first, _) = scene.start();
    first.append(&scene.good[..4000]).unwrap();
    assert_eq!(scene.start().1.adopted_bytes, 0);
    drop(first);
    assert_eq!(scene.start().1.adopted_bytes, 4000);
}

#[test]
fn more_bytes_than_the_file_has_are_refused() {
    let scene = Scene::new(100);
    let (mut partial, _) = scene.start();
    partial.append(&scene.good[..99]).unwrap();
    assert!(matches!(
        partial.append(&[0, 0]),
        Err(Error::SizeExceeded {
            size_bytes: 100,
            ..
        })
    ));
    assert_eq!(partial.bytes(), 99);
    scene.finish(partial);
}

#[test]
fn a_prune_while_appending_is_noticed_after_8_mib_and_undone() {
    let scene = Scene::new(20 << 20);
    let (mut partial, _) = scene.start();
    let mut restored = Vec::new();
    for (step, bytes) in scene.good.chunks(1 << 20).enumerate() {
        if step == 3 {
            fs::remove_file(partial.path()).unwrap();
        }
        if step == 10 {
            // `hf cache rm`: the folder goes, and a stranger takes our name.
            let name = partial.path().to_owned();
            fs::remove_dir_all(scene.layout.repo(&scene.repo)).unwrap();
            prepare_repo(&scene.layout, &scene.repo).unwrap();
            fs::write(name, "a stranger").unwrap();
        }
        restored.extend(partial.append(bytes).unwrap());
    }
    assert_eq!(restored, [8 << 20, 16 << 20]);
    assert!(partial.path().exists());
    assert!(!partial.has_foreign_bytes());
    // The new file is marked as live as well.
    let other = File::open(partial.path()).unwrap();
    assert!(other.try_lock().is_err());
    scene.finish(partial);
}

#[test]
fn a_removed_repo_folder_is_made_again() {
    let scene = Scene::new(100);
    let (mut partial, _) = scene.start();
    partial.append(&scene.good[..50]).unwrap();
    fs::remove_dir_all(scene.layout.repo(&scene.repo)).unwrap();
    assert_eq!(partial.check_alive().unwrap(), Some(50));
    assert!(scene.layout.snapshots(&scene.repo).is_dir());
    scene.finish(partial);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever others do between our steps, what gets the blob's name is the content.
    #[test]
    fn only_the_content_is_ever_promoted(
        steps in prop::collection::vec((0u8..6, 1usize..3000), 1..24),
    ) {
        let scene = Scene::new(9000);
        let blob = scene.layout.blob(&scene.repo, &scene.etag);
        let (mut partial, _) = scene.start();
        for (kind, length) in steps {
            let at = usize::try_from(partial.bytes()).unwrap();
            match kind {
                0 => drop(fs::remove_file(partial.path())),
                1 => {
                    drop(fs::remove_file(partial.path()));
                    fs::write(partial.path(), vec![1; length]).unwrap();
                }
                2 => {
                    drop(partial);
                    partial = scene.start().0;
                }
                3 => drop(partial.append(&vec![9; length.min(9000 - at)])),
                _ => drop(partial.append(&scene.good[at..(at + length).min(9000)])),
            }
            prop_assert!(!blob.exists());
        }
        let at = usize::try_from(partial.bytes()).unwrap();
        partial.append(&scene.good[at..]).unwrap();
        if let Err(failed) = partial.prove_and_promote(&scene.lock, SetAside::Keep) {
            prop_assert!(!blob.exists());
            let mut partial = *failed.partial;
            partial.restart().unwrap();
            scene.finish(partial);
        }
        prop_assert_eq!(fs::read(&blob).unwrap(), scene.good);
    }
}
