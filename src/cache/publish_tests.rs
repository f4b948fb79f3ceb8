//! Owns the tests of publishing: fresh, existing and raced snapshots, and everything that can stand
//! in the place of a pointer.
//!
//! Never part of the program.

use super::*;
use crate::cache::fixture::{self, commit, content, etag, path, repo};
use crate::cache::sweep_staging;

struct Scene {
    _dir: fixture::Folder,
    layout: Layout,
    repo: RepoId,
    commit: Commit,
}

impl Scene {
    fn new() -> Self {
        let (dir, layout) = fixture::cache();
        let repo = repo("org/m");
        crate::cache::prepare_repo(&layout, &repo).unwrap();
        Self {
            _dir: dir,
            layout,
            repo,
            commit: commit('a'),
        }
    }

    /// A proven blob and the file that wants it.
    fn blob(&self, name: &str, bytes: &[u8]) -> (RepoPath, Etag) {
        let etag = etag(bytes);
        fs::write(self.layout.blob(&self.repo, &etag), bytes).unwrap();
        (path(name), etag)
    }

    fn publish(&self, files: &[(RepoPath, Etag)], mode: LinkMode) -> Result<Vec<Healing>> {
        publish(&self.layout, &self.repo, &self.commit, files, mode)
    }

    fn link(&self, files: &[(RepoPath, Etag)]) -> Vec<Healing> {
        self.publish(files, LinkMode::Symlink).unwrap()
    }

    fn at(&self, name: &str) -> PathBuf {
        self.layout.pointer(&self.repo, &self.commit, &path(name))
    }

    fn nothing_is_left(&self) {
        let names = fixture::names(&self.layout.larder_dir(&self.repo));
        assert!(names.iter().all(|name| name == "aside"), "{names:?}");
    }
}

fn kinds(healed: &[Healing]) -> Vec<HealingKind> {
    healed.iter().map(|healing| healing.kind).collect()
}

#[test]
fn a_new_snapshot_appears_whole_with_relative_links() {
    let scene = Scene::new();
    let files = [
        scene.blob("config.json", b"{}"),
        scene.blob("a/b/same.json", b"{}"),
        scene.blob("a/weights", b"w"),
    ];
    assert!(scene.link(&files).is_empty());
    for (path, etag) in &files {
        let pointer = scene.at(path.as_str());
        let text = fs::read_link(&pointer).unwrap();
        assert_eq!(text.to_str().unwrap(), Layout::pointer_text(path, etag));
        assert!(pointer.is_file());
    }
    scene.nothing_is_left();
    // Again: nothing to do, nothing changes.
    let before = scene.at("config.json").symlink_metadata().unwrap().ino();
    assert!(scene.link(&files).is_empty());
    let after = scene.at("config.json").symlink_metadata().unwrap().ino();
    assert_eq!(before, after, "a right pointer is left alone");
    // A read-only cache must do: not even a probe is written.
    let larder = scene.layout.larder_dir(&scene.repo);
    fs::remove_dir(&larder).unwrap();
    scene.link(&files);
    assert!(!larder.exists());
}

#[test]
fn a_missing_blob_publishes_nothing() {
    let scene = Scene::new();
    let files = [scene.blob("a", b"a"), (path("b"), etag(b"never fetched"))];
    assert!(scene.publish(&files, LinkMode::Symlink).is_err());
    assert!(!scene.layout.snapshot(&scene.repo, &scene.commit).exists());
}

#[test]
fn an_existing_snapshot_is_completed_and_healed() {
    let scene = Scene::new();
    let files = [
        scene.blob("missing/deep", b"1"),
        scene.blob("wrong", b"2"),
        scene.blob("foreign", b"3"),
        scene.blob("regular", b"4"),
        scene.blob("same", b"5"),
        scene.blob("right", b"6"),
    ];
    let snapshot = scene.layout.snapshot(&scene.repo, &scene.commit);
    fs::create_dir(&snapshot).unwrap();
    symlink("../../blobs/else", snapshot.join("wrong")).unwrap();
    symlink("/etc/passwd", snapshot.join("foreign")).unwrap();
    fs::write(snapshot.join("regular"), "somebody's work").unwrap();
    fs::write(snapshot.join("same"), "5").unwrap();
    symlink(
        Layout::pointer_text(&files[5].0, &files[5].1),
        snapshot.join("right"),
    )
    .unwrap();
    fs::write(snapshot.join("not-asked-for"), "stays").unwrap();

    let healed = scene.link(&files);
    assert_eq!(
        kinds(&healed),
        [
            HealingKind::WrongPointer,
            HealingKind::ForeignPointer,
            HealingKind::RegularFile,
            HealingKind::RegularFile,
        ]
    );
    let kept = healed[2].set_aside.clone().unwrap();
    assert_eq!(fs::read_to_string(&kept).unwrap(), "somebody's work");
    assert!(kept.contains("/.larder/aside/"), "{kept}");
    assert_eq!(healed[3].set_aside, None, "its bytes are the blob's");
    for (path, etag) in &files {
        let pointer = inspect_pointer(&scene.layout, &scene.repo, &scene.commit, path, etag);
        assert_eq!(pointer.unwrap(), Pointer::Right, "{path}");
    }
    assert_eq!(fs::read(snapshot.join("not-asked-for")).unwrap(), b"stays");
    scene.nothing_is_left();
}

#[test]
fn what_cannot_be_made_right_is_refused_before_anything_changes() {
    let scene = Scene::new();
    let fine = scene.blob("fine", b"1");
    let snapshot = scene.layout.snapshot(&scene.repo, &scene.commit);
    let outside = scene.layout.root().join("outside");
    fs::create_dir_all(snapshot.join("folder/of somebody")).unwrap();
    fs::create_dir(&outside).unwrap();
    symlink(&outside, snapshot.join("linked")).unwrap();
    fs::write(snapshot.join("file"), "").unwrap();
    let refused = |name: &str| {
        let files = [fine.clone(), scene.blob(name, b"2")];
        scene.publish(&files, LinkMode::Symlink).unwrap_err()
    };
    assert!(matches!(refused("folder"), Error::BlockedByFolder { .. }));
    assert!(matches!(refused("file/x"), Error::Collision { .. }));
    assert!(matches!(
        refused("linked/x"),
        Error::SymlinkedParent { link, .. } if link == snapshot.join("linked")
    ));
    assert!(matches!(refused("fine/x"), Error::Collision { .. }));
    assert!(!scene.at("fine").exists());
    assert_eq!(fs::read_dir(outside).unwrap().count(), 0);
}

#[test]
fn an_empty_folder_in_the_place_of_a_file_gives_way() {
    let scene = Scene::new();
    let file = scene.blob("a/config.json", b"{}");
    let snapshot = scene.layout.snapshot(&scene.repo, &scene.commit);
    fs::create_dir_all(snapshot.join("a/config.json")).unwrap();
    scene.publish(&[file], LinkMode::Symlink).unwrap();
    assert_eq!(fs::read(snapshot.join("a/config.json")).unwrap(), b"{}");
}

#[test]
fn a_race_for_the_same_commit_ends_with_both_files_there() {
    let scene = Scene::new();
    let files: Vec<_> = (0..24)
        .map(|number| scene.blob(&format!("d{}/f{number}", number % 3), &[number]))
        .collect();
    std::thread::scope(|threads| {
        for part in files.chunks(6) {
            threads.spawn(|| scene.link(part));
        }
    });
    for (path, _) in &files {
        assert!(scene.at(path.as_str()).is_file(), "{path}");
    }
    scene.nothing_is_left();
}

#[test]
fn a_dead_larders_staging_is_swept_and_the_snapshot_made() {
    let scene = Scene::new();
    let file = scene.blob("x", b"1");
    // What a kill between building and renaming leaves.
    let dead = scene
        .layout
        .larder_dir(&scene.repo)
        .join(format!("{}.00000001", scene.commit));
    fs::create_dir_all(&dead).unwrap();
    symlink(Layout::pointer_text(&file.0, &file.1), dead.join("x")).unwrap();
    assert!(dead.join("x").is_file(), "staged at the final depth");
    let healed = sweep_staging(&scene.layout, &scene.repo).unwrap();
    assert_eq!(kinds(&healed), [HealingKind::Leftover]);
    scene.link(&[file]);
    scene.nothing_is_left();
}

#[test]
fn stale_absence_markers_of_placed_files_are_removed() {
    let scene = Scene::new();
    let file = scene.blob("a/chat_template.jinja", b"t");
    let marker = |name: &str| {
        let marker = scene
            .layout
            .no_exist(&scene.repo, &scene.commit, &path(name));
        fs::create_dir_all(marker.parent().unwrap()).unwrap();
        fs::write(&marker, "").unwrap();
        marker
    };
    let (stale, other) = (marker("a/chat_template.jinja"), marker("a/other"));
    assert_eq!(kinds(&scene.link(&[file])), [HealingKind::StaleNoExist]);
    assert!(!stale.exists() && other.exists());
}

#[test]
fn without_links_the_files_are_real_and_blobs_others_need_stay() {
    let scene = Scene::new();
    let shared = scene.blob("linked-elsewhere", b"shared");
    let elsewhere = publish(
        &scene.layout,
        &scene.repo,
        &commit('b'),
        std::slice::from_ref(&shared),
        LinkMode::Symlink,
    );
    elsewhere.unwrap();
    let big = content(3_000_000);
    let twice = scene.blob("one", &big);
    let files = [shared.clone(), twice.clone(), (path("sub/two"), twice.1)];
    let healed = scene.publish(&files, LinkMode::Copy).unwrap();
    assert!(healed.is_empty());
    for (name, bytes) in [
        ("linked-elsewhere", &b"shared"[..]),
        ("one", &big),
        ("sub/two", &big),
    ] {
        assert!(scene.at(name).symlink_metadata().unwrap().is_file());
        assert_eq!(fs::read(scene.at(name)).unwrap(), bytes);
    }
    let blob = |file: &(RepoPath, Etag)| scene.layout.blob(&scene.repo, &file.1);
    assert!(blob(&shared).exists(), "another snapshot links to it");
    assert!(!blob(&twice).exists(), "moved, so not stored a third time");
    scene.nothing_is_left();

    // A right file is healthy without its blob; a wrong one is set aside.
    assert!(scene.publish(&files, LinkMode::Copy).unwrap().is_empty());
    fs::write(scene.at("linked-elsewhere"), "edited").unwrap();
    let healed = scene.publish(&files, LinkMode::Copy).unwrap();
    assert_eq!(kinds(&healed), [HealingKind::RegularFile]);
    let kept = healed[0].set_aside.clone().unwrap();
    assert_eq!(fs::read_to_string(kept).unwrap(), "edited");
    assert_eq!(fs::read(scene.at("linked-elsewhere")).unwrap(), b"shared");
}
