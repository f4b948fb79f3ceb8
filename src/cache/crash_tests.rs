//! Owns the proof that a kill at any step leaves a cache everybody can read: a child process fetches
//! a model step by step and is killed after each of them.
//!
//! Never part of the program.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use super::fixture::{commit, content, etag, held, now, on, path, repo};
use super::{
    Check, Layout, LinkMode, Partial, Salvage, SetAside, Tree, Verdict, check, prepare_repo,
    publish, read_ref, refs_of, snapshot_paths, sweep_staging, write_ref, write_tree,
};
use crate::domain::{Commit, Etag, RemoteFile, Revision};

const NAMES: [&str; 3] = ["config.json", "sub/vocab.txt", "model.safetensors"];

fn bytes(name: &str, commit: char) -> Vec<u8> {
    let length = if name.starts_with("model") {
        300_000
    } else {
        20_000
    };
    let mut bytes = content(length);
    // The vocabulary is the same in both commits.
    if !name.contains("vocab") {
        bytes.extend(commit.to_string().bytes());
    }
    bytes
}

fn fetch(layout: &Layout, digit: char, say: &mut dyn FnMut()) {
    let repo = repo("org/m");
    prepare_repo(layout, &repo).unwrap();
    say();
    drop(sweep_staging(layout, &repo).unwrap());
    let mut files: Vec<(_, Etag)> = Vec::new();
    let mut listing = Vec::new();
    for name in NAMES {
        let good = bytes(name, digit);
        let etag = etag(&good);
        files.push((path(name), etag));
        listing.push(RemoteFile {
            git_oid: "0".repeat(40),
            ..super::fixture::remote(name, &good)
        });
        let lock = held(layout, &repo, &etag);
        let size = good.len() as u64;
        let blob = layout.blob(&repo, &etag);
        if matches!(
            check(&blob, &etag, size, Check::Hash, &mut on).unwrap(),
            Verdict::Proven
        ) {
            continue;
        }
        let from = Salvage {
            now: now(),
            seed: None,
            damaged: None,
        };
        let (mut partial, _) =
            Partial::start(layout, &repo, &etag, size, &lock, from, &mut on).unwrap();
        say();
        let have = usize::try_from(partial.bytes()).unwrap();
        for step in good[have..].chunks(100_000) {
            partial.append(step).unwrap();
            say();
        }
        partial.prove_and_promote(&lock, SetAside::Keep).unwrap();
        say();
    }
    let commit = commit(digit);
    publish(layout, &repo, &commit, &files, LinkMode::Symlink).unwrap();
    say();
    write_tree(layout, &repo, &commit, &listing, Tree::Shared).unwrap();
    say();
    write_ref(layout, &repo, &Revision::main(), &commit).unwrap();
    say();
}

/// What every reader relies on.
fn everything_visible_is_proven(layout: &Layout) {
    let repo = repo("org/m");
    if !layout.repo(&repo).exists() {
        return;
    }
    assert!(layout.snapshots(&repo).is_dir() && layout.blobs(&repo).is_dir());
    for entry in fs::read_dir(layout.blobs(&repo)).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if let Ok(etag) = Etag::new(&name) {
            let size = entry.metadata().unwrap().len();
            let verdict = check(&entry.path(), &etag, size, Check::Hash, &mut on).unwrap();
            assert!(matches!(verdict, Verdict::Proven), "{name}: {verdict:?}");
        }
    }
    for entry in fs::read_dir(layout.snapshots(&repo)).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let commit = Commit::new(&name).expect("nothing but commits under snapshots/");
        let held = snapshot_paths(layout, &repo, &commit).unwrap();
        assert_eq!(held.len(), NAMES.len(), "a snapshot appears whole");
        for path in held {
            let at = layout.pointer(&repo, &commit, &path);
            let expected = bytes(path.as_str(), name.chars().next().unwrap());
            assert_eq!(fs::read(at).unwrap(), expected, "{path}");
        }
    }
    for (_, value) in refs_of(layout, &repo).unwrap() {
        assert!(!value.is_malformed);
        assert!(layout.snapshot(&repo, &value.commit.unwrap()).is_dir());
    }
}

/// Runs the child in `root` and kills it after `steps` steps; whether it got that far.
fn kill_after(root: &Path, steps: usize) -> bool {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "--nocapture", "--ignored"])
        .arg("cache::crash_tests::fetch_step_by_step")
        .current_dir(root)
        .stdout(Stdio::piped());
    let mut child = crate::host::forks::spawn(&mut command);
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let seen = lines
        .map_while(Result::ok)
        .filter(|line| line.contains("step"))
        .take(steps)
        .count();
    child.kill().unwrap();
    child.wait().unwrap();
    seen == steps
}

#[test]
fn a_kill_after_any_step_leaves_only_proven_content_and_the_next_run_finishes() {
    let dir = tempfile::tempdir().unwrap();
    let mut steps = 1;
    loop {
        let root = dir.path().join(steps.to_string());
        let layout = Layout::new(root.join("hub"));
        fs::create_dir_all(&root).unwrap();
        // An older commit is there and must go on loading.
        fetch(&layout, 'a', &mut || ());
        let got_there = kill_after(&root, steps);
        everything_visible_is_proven(&layout);
        fetch(&layout, 'b', &mut || ());
        everything_visible_is_proven(&layout);
        let repo = repo("org/m");
        let main = read_ref(&layout, &repo, &Revision::main()).unwrap();
        assert_eq!(main.unwrap().commit, Some(commit('b')));
        assert!(layout.snapshot(&repo, &commit('a')).is_dir());
        if !got_there {
            break;
        }
        steps += 1;
    }
    assert!(steps > 10, "the child took {steps} steps");
}

#[test]
#[ignore = "the child of the test above"]
#[expect(clippy::print_stdout, reason = "the parent counts the steps")]
fn fetch_step_by_step() {
    let layout = Layout::new(std::env::current_dir().unwrap().join("hub"));
    // Only a parent prepares an older commit; a run by hand has nothing to do.
    if layout.root().exists() {
        fetch(&layout, 'b', &mut || println!("step"));
    }
}
