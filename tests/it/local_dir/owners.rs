//! Whose the files of a folder are: what a person changed or put there stays until it is asked for and
//! is kept then, another revision replaces what was fetched, another repo does not.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Stdio;
use std::time::Duration;

use larder::domain::{RepoId, RepoKind};
use larder::serve::SourceFile;

use super::place::{PULL, Place, WEIGHTS, advised, age, edit, slow_weights, visible};
use crate::support::catalogue::{self, GEMMA};
use crate::support::watched::Watched;
use crate::support::{body_bytes, files_below, traces};

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_somebody_changed_or_put_there_is_left_alone_until_that_is_asked() {
    let place = Place::gemma().await;
    let theirs = b"{\"mine\": true}";
    // One that was there before anything was fetched, and one that is changed afterwards.
    place.put_own("tokenizer_config.json", |path| {
        fs::write(path, theirs).unwrap();
    });
    for name in ["tokenizer_config.json", "config.json"] {
        let ran = place.run(&[]);
        let document = ran.assert_code(2).document(&PULL);
        assert_eq!(document["failure_code"], "refused");
        let failures = document["failures"].as_array().unwrap();
        assert_eq!(failures.len(), 1, "{failures:#?}");
        assert_eq!(failures[0]["path"], name);
        let help = failures[0]["help"].as_str().unwrap();
        assert!(
            help.contains("--force") && help.contains("--local-dir"),
            "{help}"
        );
        assert!(ran.stderr.contains(name), "{}", ran.stderr);
        assert_eq!(fs::read(place.file(name)).unwrap(), theirs);
        // Everything else is there.
        assert_eq!(visible(&place.dir()).len(), place.files.len());

        place.pull(&[name, "--force"]);
        assert_eq!(fs::read(place.file(name)).unwrap(), place.files[name].1);
        assert!(place.aside().contains(&theirs.to_vec()), "{name}");
        place.pull(&[]);
        place.assert_whole("main", &place.files);
        place.put_own("config.json", |path| edit(path, theirs));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_moved_there_with_an_old_time_is_left_alone_until_that_is_asked() {
    let place = Place::gemma().await;
    let theirs = b"{\"mine\": true}";
    place.pull(&[]);
    for name in ["config.json", WEIGHTS] {
        age(&place.file(name), Duration::from_hours(1));
        place.put_own(name, |path| {
            let mine = place.home.path().join("mine");
            fs::write(&mine, theirs).unwrap();
            age(&mine, Duration::from_hours(24));
            fs::rename(mine, path).unwrap();
        });
        let document = place.run(&[]).assert_code(2).document(&PULL);
        assert_eq!(document["failure_code"], "refused", "{name}");
        assert_eq!(document["failures"][0]["path"], name);
        assert_eq!(fs::read(place.file(name)).unwrap(), theirs);
        let document = place.pull(&[name, "--force"]);
        assert!(place.aside().contains(&theirs.to_vec()), "{name}");
        assert_eq!(document["healed"][0]["path"], name, "{document:#}");
    }
    place.assert_whole("main", &place.files);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_was_copied_with_its_times_gets_another_revision() {
    let place = Place::gemma().await;
    let older = place.older_too();
    place.pull(&["--revision", "older"]);
    for name in older.keys() {
        age(&place.file(name), Duration::from_hours(1));
    }
    place.pull(&[]);
    place.assert_whole("main", &place.files);
    assert!(place.aside().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_puts_there_while_a_pull_runs_is_left_alone() {
    let place = Place::new(catalogue::gemma(), GEMMA, slow_weights(1_000_000)).await;
    let start = || {
        let words = ["pull", GEMMA, "--all", "--local-dir", "dir", "--events"];
        let mut run = Watched::start(place.home.larder(&words).stderr(Stdio::null()));
        run.wait_for("downloading", WEIGHTS);
        run
    };
    let mut run = start();
    place.put_own(WEIGHTS, |path| fs::write(path, "mine").unwrap());
    assert_eq!(run.end(), Some(2), "{:?}", run.said.last());
    let failed = run.last("failed", WEIGHTS).unwrap();
    assert_eq!(failed["failure"]["code"], "refused", "{failed:#}");
    assert_eq!(fs::read(place.file(WEIGHTS)).unwrap(), b"mine");
    assert!(place.aside().is_empty() && !place.note(WEIGHTS).exists());
    assert_eq!(body_bytes(&place.home.hub), catalogue::gemma_bytes());
    // What was fetched is there as soon as there is room for it.
    place.home.hub.set_faults(Vec::new());
    fs::remove_file(place.file(WEIGHTS)).unwrap();
    place.pull(&[]);
    place.assert_whole("main", &place.files);
    assert_eq!(body_bytes(&place.home.hub), 0);

    // A link to a folder elsewhere does not get a file of its own.
    place.home.hub.set_faults(slow_weights(1_000_000));
    let outside = place.home.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::remove_file(place.file(WEIGHTS)).unwrap();
    let mut run = start();
    symlink(outside.join("x"), place.file(WEIGHTS)).unwrap();
    assert_eq!(run.end(), Some(2), "{:?}", run.said.last());
    assert!(place.file(WEIGHTS).is_symlink() && files_below(&outside).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_revision_replaces_what_was_fetched_and_no_more() {
    let place = Place::gemma().await;
    let older = place.older_too();
    place.pull(&["--revision", "older"]);
    place.assert_whole("older", &older);
    body_bytes(&place.home.hub);
    let document = place.pull(&[]);
    place.assert_whole("main", &place.files);
    let changed: usize = place
        .files
        .iter()
        .filter(|(name, file)| older[*name] != **file)
        .map(|(_, (_, bytes))| bytes.len())
        .sum();
    assert_eq!(body_bytes(&place.home.hub), changed as u64);
    assert_eq!(document["healed"].as_array().unwrap().len(), 0);
    // It was what its note says, and can be had again.
    assert!(place.aside().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_another_repo_are_replaced_only_if_that_is_asked() {
    let mut catalogue = catalogue::gemma();
    let other = "someone/other";
    let id = RepoId::new(RepoKind::Model, other).unwrap();
    let repo = catalogue.repo(&id);
    let theirs = vec![
        SourceFile::git("config.json", "{\"other\": true}"),
        SourceFile::git("other.json", "{}"),
        SourceFile::git("README.md", "other"),
    ];
    let first = repo.commit(theirs);
    repo.branch("main", first);
    let place = Place::new(catalogue, GEMMA, Vec::new()).await;
    let into_dir = |words: &[&str]| {
        let start = ["--json", "pull", other, "--local-dir", "dir"];
        place.home.run(&[&start, words].concat())
    };
    place.pull(&[]);
    body_bytes(&place.home.hub);
    let before = traces(&place.dir());
    for words in [&["--all"][..], &["--all", "--dry-run"], &["config.json"]] {
        let ran = into_dir(words);
        let document = ran.assert_code(2).document(&PULL);
        assert_eq!(document["failure_code"], "refused", "{words:?}");
        assert_eq!(document["failures"].as_array().unwrap().len(), 1);
        for word in [GEMMA, other, "--force"] {
            assert!(ran.stderr.contains(word), "{word}: {}", ran.stderr);
        }
        assert_eq!(body_bytes(&place.home.hub), 0, "{words:?}");
        assert!(traces(&place.dir()) == before, "{words:?}");
    }
    // What replaces nothing may lie there as well, and the first goes on with its own.
    into_dir(&["other.json"]).assert_code(0);
    fs::remove_file(place.file("other.json")).unwrap();
    place.pull(&[]);

    // The advice works.
    let ran = into_dir(&["config.json"]);
    let document = ran.assert_code(2).document(&PULL);
    let help = document["failures"][0]["help"].as_str().unwrap();
    let call = advised(help, "--force");
    place.home.run_line(&call).assert_code(0);
    let replaced = fs::read(place.file("config.json")).unwrap();
    assert_eq!(replaced, b"{\"other\": true}");
    assert!(place.aside().is_empty(), "it can be had again");

    // In the place of what nobody knows the repo of, it is as it is in Python.
    fs::remove_dir_all(place.hidden().join("larder/repos")).unwrap();
    fs::remove_dir_all(place.home.path().join(".local/state/larder")).unwrap();
    into_dir(&["README.md"]).assert_code(0);
    assert_eq!(fs::read(place.file("README.md")).unwrap(), b"other");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_kept_is_told_and_freed_after_the_days_of_the_trash() {
    let place = Place::gemma().await;
    let theirs = b"{\"mine\": true}";
    place.put_own("config.json", |path| fs::write(path, theirs).unwrap());
    let forced = ["config.json", "--force"];
    let ran = place.run(&forced);
    let aside = place.hidden().join("larder/aside").display().to_string();
    let said = &ran.assert_code(0).stderr;
    assert!(said.contains(&aside) && said.contains("7 days"), "{said}");
    assert_eq!(place.aside(), [theirs]);
    // A person's file there is nobody else's.
    fs::write(place.hidden().join("larder/aside/mine"), "mine").unwrap();
    place.run(&[]).assert_code(0);
    assert_eq!(place.aside().len(), 2, "it is not old");
    let settings = place.home.path().join(".config/larder/config.toml");
    let text = fs::read_to_string(&settings).unwrap();
    fs::write(&settings, format!("{text}trash_days = 0\n")).unwrap();
    // Nothing goes where nothing may be changed, or is only planned.
    place.run(&["--dry-run"]).assert_code(0);
    assert_eq!(place.aside().len(), 2);
    let ran = place.run(&[]);
    let said = &ran.assert_code(0).stderr;
    assert!(said.contains(&aside) && said.contains("freed"), "{said}");
    assert_eq!(place.aside(), [b"mine"]);
    let said = place.run(&[]).stderr;
    assert!(!said.contains("aside"), "{said}");
}
