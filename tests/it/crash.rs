//! Pulls of one repo in any order, that fail, are forced, see less or more of it: what could be read
//! before can still be read. (Processes that die are in `campaign`.)

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use larder::domain::{Outcome, PullRequest, RepoId, RepoKind, Revision};
use larder::serve::{Catalogue, Content, Effect, Fault, Matcher, Origin, SourceFile};

use crate::fetch::Place;
use crate::support::files_below;

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
