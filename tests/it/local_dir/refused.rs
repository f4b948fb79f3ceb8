//! What a pull into a folder refuses, and that what it advises then works.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use larder::domain::{RepoId, RepoKind};
use larder::serve::{Content, SourceFile};

use super::place::{PULL, Place, WEIGHTS, advised, visible};
use crate::support::catalogue::{self, GEMMA};
use crate::support::files_below;
use crate::support::program::Home;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_leads_out_of_the_folder() {
    let mut catalogue = catalogue::gemma();
    let id = RepoId::new(RepoKind::Model, "someone/reserved").unwrap();
    let repo = catalogue.repo(&id);
    let commit = repo.commit(vec![
        SourceFile::git("config.json", "{}"),
        SourceFile::git(".cache/huggingface/download/config.json.metadata", "lies"),
        SourceFile::lfs(WEIGHTS, Content::Memory("x".into())),
    ]);
    repo.branch("main", commit);
    let home = Home::new(catalogue, Vec::new()).await;
    let dir = home.path().join("dir");
    let outside = home.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let pull = |repo: &str, folder: &str| {
        home.run(&["--json", "pull", repo, "--all", "--local-dir", folder])
    };
    for repo in ["someone/unsafe", "someone/reserved"] {
        let document = pull(repo, "dir").assert_code(7).document(&PULL);
        assert_eq!(document["failure_code"], "unsafe-path", "{repo}");
        assert!(!dir.exists());
        if repo == "someone/reserved" {
            let help = document["failures"][0]["help"].as_str().unwrap();
            let line = advised(help, "--exclude");
            home.run_line(&line).assert_code(0);
            assert!(dir.join("config.json").is_file(), "{line}");
            fs::remove_dir_all(&dir).unwrap();
        }
    }
    // A link in the place of a folder, of a file, of the hidden folder.
    for (link, code) in [
        ("sub dir", "unsafe-path"),
        (".cache", "unsafe-path"),
        (".cache/huggingface/download", "unsafe-path"),
        ("config.json", "refused"),
    ] {
        let place = dir.join(link);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        symlink(&outside, &place).unwrap();
        let document = pull(GEMMA, "dir").document(&PULL);
        assert_eq!(document["failure_code"], code, "{link}");
        assert!(place.is_symlink() && files_below(&outside).is_empty());
        fs::remove_dir_all(&dir).unwrap();
    }
    // A folder in the place of a file.
    fs::create_dir_all(dir.join("config.json/x")).unwrap();
    let ran = pull(GEMMA, "dir");
    assert_ne!(ran.document(&PULL)["exit_code"], 0);
    assert!(dir.join("config.json/x").is_dir());
    fs::remove_dir_all(&dir).unwrap();

    // The folder itself may be reached by a link: that is the caller's wish.
    symlink("outside", &dir).unwrap();
    let document = pull(GEMMA, "dir").assert_code(0).document(&PULL);
    assert_eq!(document["local_dir"], outside.display().to_string());
    assert!(outside.join("config.json").is_file());
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_cannot_be_meant_are_refused() {
    let place = Place::gemma().await;
    fs::write(place.home.path().join("file"), "x").unwrap();
    place.home.run(&["pull", GEMMA]).assert_code(0);
    let cache = place.home.cache();
    let inside = cache.join("models--x--y");
    let other = place.home.path().join("other/models--x--y/blobs");
    fs::create_dir_all(&other).unwrap();
    for (words, says) in [
        (&["--local-dir", "dir", "--trust-size"][..], "--trust-size"),
        (&["--local-dir", "file"], "not a folder"),
        (
            &["--local-dir", cache.to_str().unwrap()],
            "in the Hub cache",
        ),
        (
            &["--local-dir", inside.to_str().unwrap()],
            "in the Hub cache",
        ),
        (&["--local-dir", other.to_str().unwrap()], "in a Hub cache"),
        (&["--local-dir", "dir", "--read-only"], "into the folder"),
    ] {
        let ran = place.home.run(&[&["pull", GEMMA], words].concat());
        ran.assert_code(2);
        assert!(ran.stderr.contains(says), "{}", ran.stderr);
        assert!(!place.dir().exists() && !inside.exists());
    }
    let ran = place
        .home
        .run(&["pull", GEMMA, "--local-dir", "dir", "--dry-run"]);
    let into = format!("into {}", place.dir().display());
    assert!(ran.assert_code(0).stdout.contains(&into), "{}", ran.stdout);
}

/// Whatever stands in a file's place is told with what to do, and when that is done the call that was
/// advised works.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_advised_works() {
    type Case<'a> = (&'a str, &'a dyn Fn(&Path), &'a str);

    let place = Place::gemma().await;
    let outside = place.home.path().join("out side");
    fs::create_dir(&outside).unwrap();
    let dir = place.home.path().join("my models");
    let (dir_word, aside) = (dir.to_str().unwrap(), place.home.path().join("aside"));
    let words = ["--json", "pull", GEMMA, "--all", "--local-dir", dir_word];
    // What stands there, what makes it, and the code.
    let link = |path: &Path| symlink(&outside, path).unwrap();
    let folder = |path: &Path| fs::create_dir_all(path.join("x")).unwrap();
    let file = |path: &Path| fs::write(path, "mine").unwrap();
    let cases: [Case<'_>; 7] = [
        ("config.json", &link, "refused"),
        ("config.json", &folder, "not-writable"),
        ("sub dir", &link, "unsafe-path"),
        ("sub dir", &file, "name-collision"),
        (".cache", &link, "unsafe-path"),
        (".cache", &file, "name-collision"),
        (".cache/huggingface/download", &link, "unsafe-path"),
    ];
    for (name, make, code) in cases {
        let obstacle = dir.join(name);
        fs::create_dir_all(obstacle.parent().unwrap()).unwrap();
        make(&obstacle);
        let ran = place.home.run(&words);
        let document = ran.document(&PULL);
        assert_eq!(document["failure_code"], code, "{name}: {ran:?}");
        let help = document["failures"][0]["help"].as_str().unwrap();
        // Nothing replaces it, so nothing else is advised than to move it.
        assert!(
            help.contains(&format!("move `{}`", obstacle.display())),
            "{help}"
        );
        assert!(
            !help.contains("--force") && !help.contains("--exclude"),
            "{help}"
        );
        fs::rename(&obstacle, &aside).unwrap();
        place.home.run_line(&advised(help, "pull")).assert_code(0);
        assert_eq!(visible(&dir).len(), place.files.len(), "{name}");
        fs::remove_dir_all(&dir).unwrap();
        if aside.is_dir() && !aside.is_symlink() {
            fs::remove_dir_all(&aside).unwrap();
        } else {
            fs::remove_file(&aside).unwrap();
        }
        assert!(files_below(&outside).is_empty(), "{name}");
    }
    // A person's file: both ways that are advised.
    let theirs = dir.join("sub dir/ünï#1.json");
    for is_moved in [true, false] {
        fs::create_dir_all(theirs.parent().unwrap()).unwrap();
        fs::write(&theirs, "mine").unwrap();
        let at = format!("{GEMMA}@older");
        let ran = place
            .home
            .run(&["--json", "pull", &at, "--all", "--local-dir", dir_word]);
        let document = ran.assert_code(2).document(&PULL);
        let help = document["failures"][0]["help"].as_str().unwrap();
        let call = if is_moved {
            fs::remove_file(&theirs).unwrap();
            advised(help, "--all")
        } else {
            advised(help, "--force")
        };
        place.home.run_line(&call).assert_code(0);
        assert_ne!(fs::read(&theirs).unwrap(), b"mine");
        // Of the revision that was asked for.
        let again = place
            .home
            .run(&["--json", "pull", &at, "--all", "--local-dir", dir_word]);
        assert_eq!(again.assert_code(0).document(&PULL)["fetched_bytes"], 0);
        fs::remove_dir_all(&dir).unwrap();
    }
    // A place that cannot be written: the flag that is named says where to.
    fs::write(place.home.path().join("file"), "").unwrap();
    let ran = place
        .home
        .run(&["pull", GEMMA, "--local-dir", "file/below"]);
    assert!(ran.stderr.contains("--local-dir DIR"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("--cache-dir"), "{}", ran.stderr);
}
