//! Owns the tests of scanning: what each state of a snapshot looks like as a row.
//!
//! Never part of the program.

use std::fs;
use std::os::unix::fs::symlink;

use super::*;
use crate::cache::fixture::{self, commit, content, path, remote, repo};
use crate::cache::{LinkMode, Tree, prepare_repo, publish, write_ref, write_tree};
use crate::domain::{FileState, LoadTrouble, RemoteFile, Revision};

struct Scene {
    _dir: fixture::Folder,
    layout: Layout,
    repo: RepoId,
    files: Vec<RemoteFile>,
}

/// Nothing is missing, nothing broken; a listing's README is nobody's concern.
fn scan_of(layout: &Layout) -> Vec<ModelRow> {
    scan(layout, judge()).unwrap()
}

fn judge() -> Judge<'static> {
    Judge {
        examine: &|dir, _| {
            let is_there = dir.join("config.json").exists();
            let no_config = LoadTrouble::new(LoadLevel::Missing, "no config");
            Examination {
                troubles: (!is_there).then_some(no_config).into_iter().collect(),
            }
        },
        select: &|files| {
            let paths = files.iter().map(|file| file.path.clone());
            paths.filter(|path| path.as_str() != "README.md").collect()
        },
        hashed: &|_, _, _| None,
        content: &|_, _| None,
        listing: &|_, _| None,
        paired: &|_, _| None,
    }
}

impl Scene {
    fn new() -> Self {
        let (dir, layout) = fixture::cache();
        let repo = repo("org/m");
        prepare_repo(&layout, &repo).unwrap();
        let files = vec![
            remote("README.md", b"# model"),
            remote("config.json", b"{}"),
            remote("copy/config.json", b"{}"),
            remote("model.safetensors", &content(5000)),
        ];
        for (file, bytes) in files
            .iter()
            .zip([&b"# model"[..], b"{}", b"{}", &content(5000)])
        {
            fs::write(layout.blob(&repo, &file.etag), bytes).unwrap();
        }
        let scene = Self {
            _dir: dir,
            layout,
            repo,
            files,
        };
        scene.publish(&["config.json", "copy/config.json", "model.safetensors"]);
        write_ref(&scene.layout, &scene.repo, &Revision::main(), &commit('a')).unwrap();
        scene
    }

    fn publish(&self, names: &[&str]) {
        let files: Vec<_> = self
            .files
            .iter()
            .filter(|file| names.contains(&file.path.as_str()))
            .map(|file| (file.path.clone(), file.etag))
            .collect();
        publish(
            &self.layout,
            &self.repo,
            &commit('a'),
            &files,
            LinkMode::Symlink,
        )
        .unwrap();
    }

    fn list(&self) {
        write_tree(
            &self.layout,
            &self.repo,
            &commit('a'),
            &self.files,
            Tree::Own,
        )
        .unwrap();
    }

    fn model(&self) -> ModelRow {
        let mut rows = scan_of(&self.layout);
        assert_eq!(rows.len(), 1, "{rows:?}");
        rows.remove(0)
    }

    fn file(&self, name: &str) -> FileRow {
        let (_, files) = scan_repo(&self.layout, &self.repo, judge())
            .unwrap()
            .remove(0);
        files.into_iter().find(|file| file.path == name).unwrap()
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.layout.pointer(&self.repo, &commit('a'), &path(name))
    }
}

#[test]
fn a_selection_is_complete_by_listing_and_by_its_own_files() {
    let scene = Scene::new();
    let own = scene.model();
    assert_eq!(
        (own.state, own.basis),
        (ModelState::Complete, Basis::OwnFiles)
    );
    assert_eq!(own.files_expected, None);
    scene.list();
    let model = scene.model();
    assert_eq!(
        (model.state, model.basis),
        (ModelState::Complete, Basis::Listing)
    );
    assert_eq!((model.files_present, model.files_expected), (3, Some(3)));
    assert_eq!(model.size_bytes, 5002, "two pointers, one blob");
    assert_eq!(model.refs, ["main"]);
    assert!(!model.is_unreferenced && model.problems.is_empty());
    assert!(model.modified_ms.is_some());
    assert_eq!(scene.file("README.md").state, FileState::Absent);
    let weights = scene.file("model.safetensors");
    assert_eq!(weights.state, FileState::Unverified);
    assert_eq!(weights.etag, Some(scene.files[3].etag.to_string()));
}

#[test]
fn missing_and_damaged_files_are_told_apart() {
    let scene = Scene::new();
    scene.list();
    fs::remove_file(scene.at("model.safetensors")).unwrap();
    let model = scene.model();
    assert_eq!(model.state, ModelState::Partial);
    assert_eq!(model.problems, ["`model.safetensors` is missing"]);
    scene.publish(&["model.safetensors"]);

    let blob = scene.layout.blob(&scene.repo, &scene.files[3].etag);
    for (bytes, state) in [
        (&content(4000)[..], FileState::Truncated),
        (&content(5001), FileState::WrongSize),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            FileState::Truncated,
        ),
    ] {
        fs::write(&blob, bytes).unwrap();
        assert_eq!(scene.file("model.safetensors").state, state);
        assert_eq!(scene.model().state, ModelState::Broken);
    }
    fs::remove_file(&blob).unwrap();
    assert_eq!(scene.file("model.safetensors").state, FileState::Missing);
    let model = scene.model();
    assert_eq!(model.state, ModelState::Broken);
    assert!(model.problems[0].contains("leads to nothing"));
}

#[test]
fn pointers_to_other_content_are_damage_and_real_files_are_not() {
    let scene = Scene::new();
    scene.list();
    fs::remove_file(scene.at("config.json")).unwrap();
    fs::write(scene.at("config.json"), "{}").unwrap();
    assert_eq!(scene.file("config.json").state, FileState::Regular);
    assert_eq!(scene.model().state, ModelState::Complete);
    fs::remove_file(scene.at("config.json")).unwrap();
    symlink(
        Layout::pointer_text(&path("config.json"), &scene.files[0].etag),
        scene.at("config.json"),
    )
    .unwrap();
    assert!(
        scene
            .model()
            .problems
            .iter()
            .any(|p| p.contains("another content"))
    );
}

#[test]
fn refs_decide_who_is_unreferenced_broken_or_absent() {
    let scene = Scene::new();
    let main = scene.layout.reference(&scene.repo, &Revision::main());
    fs::write(&main, format!("{}\n", commit('a'))).unwrap();
    let model = scene.model();
    assert_eq!(model.state, ModelState::Broken);
    assert_eq!(model.refs, ["main"]);

    write_ref(&scene.layout, &scene.repo, &Revision::main(), &commit('b')).unwrap();
    let rows = scan_of(&scene.layout);
    assert!(rows[0].is_unreferenced && rows[0].state == ModelState::Complete);
    assert_eq!(rows[1].state, ModelState::Absent);
    assert_eq!(rows[1].commit, Some(commit('b')));
    assert!(!rows[1].is_unreferenced);

    // It may have named this one.
    fs::write(&main, "").unwrap();
    assert!(!scene.model().is_unreferenced);
}

#[test]
fn foreign_folders_are_left_out_and_no_cache_is_no_models() {
    let (_dir, layout) = fixture::cache();
    assert!(scan_of(&layout).is_empty());
    for name in [".locks", ".metadata", "blobs", "models--", "notes"] {
        fs::create_dir_all(layout.root().join(name)).unwrap();
    }
    let main = layout.snapshots(&repo("org/seed")).join("main");
    fs::create_dir_all(&main).unwrap();
    fs::write(main.join("config.json"), "{}").unwrap();
    let rows = scan_of(&layout);
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].revision, "main");
    assert_eq!(rows[0].commit, None);
    assert!(rows[0].problems[0].contains("not named after a commit"));
    let gone = Layout::new("/mnt/larder-no-such-volume/hub".into());
    assert!(matches!(
        scan(&gone, judge()),
        Err(Error::AbsentMount { .. })
    ));
}

/// A chunk map is no file of the model.
#[test]
fn a_pull_that_was_not_finished_is_told_in_files_and_bytes() {
    let (_dir, layout) = fixture::cache();
    let repo = repo("org/m");
    prepare_repo(&layout, &repo).unwrap();
    assert!(scan_of(&layout).is_empty(), "nothing is there yet");
    let etag = |bytes: &[u8]| fixture::etag(bytes);
    let partial = layout.partial(&repo, &etag(b"large"), 7);
    fs::write(&partial, content(3000)).unwrap();
    let told = |layout: &Layout| scan_of(layout).remove(0).problems.remove(0);
    assert!(
        told(&layout).contains("it has 3 kB of 1 file;"),
        "{}",
        told(&layout)
    );
    fs::write(layout.blob(&repo, &etag(b"{}")), "{}").unwrap();
    let all = "it has 1 whole file and 3 kB of 1 more;";
    assert!(told(&layout).contains(all), "{}", told(&layout));
    // Without a readable map nothing vouches for the bytes of one that has a map.
    fs::write(Layout::map_of(&partial).unwrap(), "no map").unwrap();
    assert!(told(&layout).contains("of 1 more;"), "{}", told(&layout));
    fs::remove_file(&partial).unwrap();
    fs::remove_file(Layout::map_of(&partial).unwrap()).unwrap();
    assert!(
        told(&layout).contains("it has 1 whole file;"),
        "{}",
        told(&layout)
    );
}

#[test]
fn a_ref_that_cannot_be_read_hides_nothing_else() {
    let scene = Scene::new();
    // Not even root opens a socket.
    let socket = scene.layout.refs(&scene.repo).join("odd");
    let _socket = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let scan = scan_with_findings(&scene.layout, &scene.repo, judge());
    let [(model, _)] = &scan.rows[..] else {
        panic!("{:?}", scan.rows);
    };
    assert!(!model.is_unreferenced);
    assert_eq!(
        (model.state, &model.refs),
        (ModelState::Complete, &vec!["main".to_owned()])
    );
    let [finding] = &scan.findings[..] else {
        panic!("{:?}", scan.findings);
    };
    assert_eq!(finding.evidence[0].path, socket.to_string_lossy());
    assert!(
        finding.rule == crate::domain::Rule::Unreadable,
        "{finding:?}"
    );
    // What goes by refs is not decided without it.
    assert!(crate::cache::refs_of(&scene.layout, &scene.repo).is_err());
}
