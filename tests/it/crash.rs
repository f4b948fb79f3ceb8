//! Processes that really die: SIGKILL at many moments of a pull, and pulls in any order. After each
//! one everything visible is proven, and what could be read before can still be read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use larder::domain::{Outcome, PullRequest, RepoId, RepoKind, Revision};
use larder::serve::{Catalogue, Content, Effect, Fault, Matcher, Origin, Serving, SourceFile};

use crate::fetch::Place;
use crate::support::{Scratch, assert_all_visible_bytes_proven, catalogue, files_below};

/// Runs of one pull that are killed, each a little later than the one before.
const KILLS: u64 = 14;

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_the_cache_stays_readable_and_the_work_goes_on() {
    let scratch = Scratch::new();
    let slow = |path, bytes_per_s| {
        let requests = Matcher::path(path).origin(Origin::Cdn);
        Fault::new(requests, Effect::Slow { bytes_per_s })
    };
    let faults = vec![
        slow("model.safetensors", 3_000_000),
        slow("tokenizer.json", 600_000),
    ];
    let hub = Serving::start(catalogue::gemma(), faults).await.unwrap();
    let cache = scratch.path().join("hub");
    let pull = |revision: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
        command
            .args(["pull", "--all", "--revision", revision, catalogue::GEMMA])
            .env_clear()
            .env("HOME", scratch.path())
            .env("HF_HUB_CACHE", &cache)
            .env("HF_ENDPOINT", hub.endpoint())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    };
    let repo = cache.join("models--mlx-community--gemma-2-2b-it-4bit");
    let mut readable = BTreeSet::new();
    for kill in 0..KILLS {
        let revision = if kill % 2 == 0 { "main" } else { "older" };
        let mut child = pull(revision).spawn().unwrap();
        let until = Instant::now() + Duration::from_millis(25 + kill * 60);
        while Instant::now() < until && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(2));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert_all_visible_bytes_proven(&cache);
        assert_refs_are_whole(&repo);
        readable = assert_nothing_lost(&repo, &readable, kill);
    }
    for revision in ["main", "older"] {
        assert!(pull(revision).status().unwrap().success());
    }
    assert_all_visible_bytes_proven(&cache);
    assert_nothing_lost(&repo, &readable, KILLS);
    let staging: Vec<PathBuf> = fs::read_dir(repo.join(".larder"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| !path.ends_with("trees"))
        .collect();
    assert!(staging.is_empty(), "leftovers: {staging:?}");
}

/// Every ref holds one commit, and that commit's snapshot is there.
fn assert_refs_are_whole(repo: &Path) {
    for reference in files_below_if_there(&repo.join("refs")) {
        let commit = fs::read_to_string(&reference).unwrap();
        assert_eq!(commit.len(), 40, "{}", reference.display());
        assert!(repo.join("snapshots").join(commit).is_dir());
    }
}

fn files_below_if_there(folder: &Path) -> Vec<PathBuf> {
    if folder.is_dir() {
        files_below(folder)
    } else {
        Vec::new()
    }
}

/// What can be read now; everything that could be read before is among it.
#[track_caller]
fn assert_nothing_lost(repo: &Path, before: &BTreeSet<PathBuf>, step: u64) -> BTreeSet<PathBuf> {
    let now: BTreeSet<PathBuf> = files_below_if_there(&repo.join("snapshots"))
        .into_iter()
        .filter(|path| fs::metadata(path).is_ok())
        .collect();
    let lost: Vec<_> = before.difference(&now).collect();
    assert!(lost.is_empty(), "step {step} lost {lost:?}");
    now
}

const FILES: u64 = 6;
const COMMITS: u64 = 4;

fn sequence_repo() -> RepoId {
    RepoId::new(RepoKind::Model, "someone/changing").unwrap()
}

/// A repo whose commits add, drop and change files; `model.safetensors` is always there.
fn changing(random: &mut fastrand::Rng) -> Catalogue {
    let mut catalogue = Catalogue::new();
    let repo = catalogue.repo(&sequence_repo());
    for number in 0..COMMITS {
        let mut files = vec![SourceFile::lfs(
            "model.safetensors",
            Content::Generated {
                seed: random.u64(0..2),
                len: 70_000,
            },
        )];
        for file in 0..FILES {
            if random.u8(0..4) > 0 {
                let path = match file % 3 {
                    0 => format!("sub/f{file}.json"),
                    1 => format!("f{file}.json"),
                    _ => format!("f{file}.md"),
                };
                files.push(SourceFile::git(
                    &path,
                    format!("{{\"v\": {}}}", random.u8(0..3)),
                ));
            }
        }
        let commit = repo.commit(files);
        repo.branch(&format!("c{number}"), commit);
        repo.branch("main", commit);
    }
    catalogue
}

/// What a reader finds under each ref: path and bytes.
pub(crate) fn by_ref(repo: &Path) -> BTreeMap<PathBuf, BTreeSet<PathBuf>> {
    files_below_if_there(&repo.join("refs"))
        .into_iter()
        .map(|reference| {
            let commit = fs::read_to_string(&reference).unwrap();
            let snapshot = repo.join("snapshots").join(commit);
            let held = files_below_if_there(&snapshot)
                .into_iter()
                .filter(|path| fs::metadata(path).is_ok())
                .map(|path| path.strip_prefix(&snapshot).unwrap().to_owned())
                .collect();
            (reference, held)
        })
        .collect()
}

/// Partial selections, older commits, failures, moving branches, forced and cancelled pulls, in
/// seeded random order: no ref ever leads to less than it did, no file of a snapshot goes away.
#[tokio::test(flavor = "multi_thread")]
async fn no_sequence_of_pulls_takes_anything_away() {
    for seed in 0..12 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut place = Place::new(changing(&mut random), Vec::new()).await;
        place.config.retry.attempts = 2;
        let repo = place.config.cache_dir.join("models--someone--changing");
        let mut readable = BTreeSet::new();
        let mut refs: BTreeMap<PathBuf, BTreeSet<PathBuf>> = BTreeMap::new();
        for step in 0..9 {
            let moved = random.u64(0..COMMITS);
            place.hub.edit(|catalogue| {
                let id = sequence_repo();
                let commit = catalogue
                    .get(&id)
                    .unwrap()
                    .commit_of(&format!("c{moved}"))
                    .unwrap();
                catalogue.repo(&id).branch("main", commit);
            });
            let revision = match random.u8(0..4) {
                0 => format!("c{}", random.u64(0..COMMITS)),
                _ => "main".to_owned(),
            };
            let mut request = PullRequest::new(sequence_repo(), Revision::new(&revision).unwrap());
            match random.u8(0..5) {
                0 => request.all = true,
                1 => request.include = vec![format!("*f{}.*", random.u64(0..FILES))],
                2 => request.files = vec!["model.safetensors".to_owned()],
                _ => {}
            }
            request.force = random.u8(0..5) == 0;
            place.hub.set_faults(match random.u8(0..3) {
                0 => vec![Fault::new(
                    Matcher::path(&format!("f{}.json", random.u64(0..FILES))),
                    Effect::Status { code: 500 },
                )],
                1 => vec![Fault::new(
                    Matcher::path("model.safetensors").origin(Origin::Cdn),
                    Effect::FlipByte { at: 9 },
                )],
                _ => Vec::new(),
            });
            let pulled = place.pull(request.clone()).await;
            assert!(
                !matches!(pulled.outcome, Outcome::Cancelled | Outcome::Planned),
                "{:?}",
                pulled.outcome
            );
            readable = assert_nothing_lost(&repo, &readable, step);
            let now = by_ref(&repo);
            for (reference, held) in &refs {
                let lost: Vec<_> = held.difference(&now[reference]).collect();
                assert!(
                    lost.is_empty(),
                    "seed {seed}, step {step}: {} lost {lost:?} by {request:?}",
                    reference.display()
                );
            }
            refs = now;
        }
    }
}
