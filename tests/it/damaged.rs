//! Caches made by chance with damage made by chance, repaired by the real binary: afterwards everything
//! that can be right is right, every byte string that was right is still there, and nothing was
//! touched that no plan and no finding names.
//!
//! `LARDER_TEST_CASES` and `LARDER_TEST_SEED` make it longer and different. A case that fails is made
//! again without one damage after the other, so that only those are told that matter.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use larder::serve::Serving;
use serde_json::Value;

use crate::support::files_below;
use crate::support::zoo::{Model, Recipe, Ruin, sha256};
use crate::zoo_healed::{Repaired, larder, tree};

/// Caches of a usual run, and the first of their seeds.
const CASES: (u64, u64) = (36, 1);
/// So many things happen to a cache.
const DAMAGES: RangeInclusive<usize> = 1..=6;
/// What every loader reads.
const OF_LOADERS: [&str; 4] = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "model.safetensors",
];

/// Why an error stays, and whether it is such an error.
type Stays = (&'static str, fn(&Ruin, &Value) -> bool);

/// Errors that a repair cannot take away.
const STAYS: &[Stays] = &[
    (
        "the Hub does not have the repo any more, so nobody can give its bytes",
        |ruin, finding| {
            let mut gone = ruin.gone.iter();
            gone.any(|model| finding["repo"] == model.name())
        },
    ),
    (
        "what lies in a folder that is called like a branch, and is not what the branch has there, \
         may be what somebody wrote",
        |_, finding| {
            let seen = finding["evidence"][0]["path"].as_str();
            seen.is_some_and(|path| path.contains("/snapshots/main/"))
        },
    ),
];

/// What stands at a path of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    /// The bytes that the commit has there.
    Right,
    /// Other bytes, with their hash.
    Wrong(String),
    /// A pointer that leads nowhere.
    Nowhere,
    /// What the commit does not know, with its hash.
    Own(String),
}

/// What a reader that believes nothing finds in a cache.
pub(crate) struct Sight {
    /// Hashes of bytes that are right, wherever they lie.
    good: BTreeSet<String>,
    visible: BTreeMap<PathBuf, Seen>,
    /// What each ref leads to, and what of it is right.
    refs: BTreeMap<PathBuf, (String, BTreeSet<PathBuf>)>,
}

impl Sight {
    pub(crate) fn of(ruin: &Ruin) -> Self {
        let right = ruin.right();
        let empty = sha256(b"");
        let mut all = tree(ruin.zoo.root());
        all.extend(tree(&ruin.zoo.outside()));
        let good = all
            .iter()
            .filter(|(path, hash)| {
                let is_named = path.file_name().unwrap().to_str() == Some(hash);
                (is_named || right.contains(*hash)) && **hash != empty
            })
            .map(|(_, hash)| hash.clone())
            .collect();
        let mut visible = BTreeMap::new();
        for model in ruin.all() {
            for path in below(&model.snapshot()) {
                let seen = look(model, &path);
                visible.insert(path, seen);
            }
        }
        let mut refs = BTreeMap::new();
        let folders: BTreeSet<PathBuf> = ruin.all().map(Model::folder).collect();
        for folder in folders {
            for reference in below(&folder.join("refs")) {
                let commit = fs::read_to_string(&reference).unwrap_or_default();
                let snapshot = folder.join("snapshots").join(&commit);
                let is_leftover = reference.extension().is_some_and(|end| end == "tmp");
                if commit.len() == 40 && snapshot.is_dir() && !is_leftover {
                    let right = visible.iter().filter(|(path, seen)| {
                        path.starts_with(&snapshot) && **seen == Seen::Right
                    });
                    let paths = right.map(|(path, _)| path.strip_prefix(&snapshot).unwrap());
                    let paths = paths.map(Path::to_owned).collect();
                    refs.insert(reference, (commit, paths));
                }
            }
        }
        Self {
            good,
            visible,
            refs,
        }
    }

    /// What is worse than it was, whatever happened between.
    pub(crate) fn worse_than(&self, before: &Self) -> Vec<String> {
        let mut wrong = Vec::new();
        for lost in before.good.difference(&self.good) {
            wrong.push(format!("the content {lost} is lost"));
        }
        for (path, seen) in &before.visible {
            let now = self.visible.get(path);
            if *seen == Seen::Right && now != Some(seen) {
                wrong.push(format!("{} was right and is {now:?}", path.display()));
            }
            if matches!(seen, Seen::Own(_)) && now != Some(seen) {
                wrong.push(format!("{} was {seen:?} and is {now:?}", path.display()));
            }
        }
        for (path, seen) in &self.visible {
            let then = before.visible.get(path);
            if *seen != Seen::Right && then != Some(seen) {
                wrong.push(format!("{} was {then:?} and is {seen:?}", path.display()));
            }
        }
        for (reference, (_, held)) in &before.refs {
            let holds = self.refs.get(reference).map(|(_, holds)| holds);
            if !holds.is_some_and(|holds| holds.is_superset(held)) {
                let place = reference.display();
                wrong.push(format!("{place} led to {held:?} and leads to {holds:?}"));
            }
        }
        wrong
    }

    /// What could be right and is not.
    pub(crate) fn not_right(&self, ruin: &Ruin, before: &Self) -> Vec<String> {
        let mut wrong = Vec::new();
        for model in &ruin.commits {
            let snapshot = model.snapshot();
            for path in model.paths() {
                let path = snapshot.join(path);
                let now = self.visible.get(&path);
                let was_there = before.visible.contains_key(&path);
                // Only a listing says what a plain file should hold, and which blob it should be.
                let is_untold = path.is_file() && !is_listed(model);
                if (was_there || now.is_some()) && now != Some(&Seen::Right) && !is_untold {
                    wrong.push(format!("{} is {now:?}", path.display()));
                }
            }
        }
        for (reference, (commit, held)) in &self.refs {
            let mut known = ruin.commits.iter();
            // Without a listing nobody knows whether somebody asked for no more.
            let is_known = known.any(|model| {
                model.commit() == commit
                    && reference.starts_with(model.folder())
                    && is_listed(model)
            });
            let missing = OF_LOADERS
                .iter()
                .find(|file| !held.contains(Path::new(file)));
            if let Some(missing) = missing
                && is_known
            {
                wrong.push(format!("{}: no {missing}", reference.display()));
            }
        }
        wrong
    }
}

/// Whether anything on the disk says what the files of a commit are.
fn is_listed(model: &Model) -> bool {
    let own = format!(".larder/trees/{}.json", model.commit());
    [model.listing(), model.folder().join(own)]
        .iter()
        .any(|listing| fs::read(listing).is_ok_and(|text| text.ends_with(b"}}}")))
}

fn look(model: &Model, path: &Path) -> Seen {
    let Ok(bytes) = fs::read(path) else {
        return Seen::Nowhere;
    };
    let inside = path.strip_prefix(model.snapshot()).unwrap();
    let inside = inside.to_str().unwrap();
    if !model.paths().iter().any(|known| known == inside) {
        return Seen::Own(sha256(&bytes));
    }
    if model.piece(inside).bytes == bytes {
        Seen::Right
    } else {
        Seen::Wrong(sha256(&bytes))
    }
}

fn below(folder: &Path) -> Vec<PathBuf> {
    if folder.is_dir() {
        files_below(folder)
    } else {
        Vec::new()
    }
}

/// Errors that are left and should not be.
pub(crate) fn errors_left(ruin: &Ruin, hub: &Serving) -> Vec<String> {
    let left = larder(&ruin.zoo, hub, &["doctor", "--verify"]);
    let findings = left["findings"].as_array().unwrap().iter();
    findings
        .filter(|finding| finding["severity"] == "error")
        .filter(|finding| !STAYS.iter().any(|(_, stays)| stays(ruin, finding)))
        .map(|finding| format!("still there: {finding:#}"))
        .collect()
}

/// What is wrong after the repair of a cache that is made by this recipe.
fn repair(recipe: &Recipe, hub_of: &dyn Fn(&Ruin) -> Serving) -> Vec<String> {
    let ruin = recipe.make();
    let hub = hub_of(&ruin);
    ruin.zoo.settle();
    let before = Sight::of(&ruin);
    // Whoever asks for listings wants to hear if there are none.
    let words = if recipe.is_online() && ruin.gone.is_empty() {
        &["doctor", "--verify", "--online"][..]
    } else {
        &["doctor", "--verify"]
    };
    let repaired = Repaired::by(&ruin.zoo, &hub, words);
    let mut wrong = repaired.touched(ruin.zoo.root());
    wrong.extend(Sight::of(&ruin).worse_than(&before));
    // Whoever asks again finds what the first has made possible or learned, and then nothing that is
    // done.
    let mut again = Repaired::by(&ruin.zoo, &hub, words);
    if again.before != again.after {
        again = Repaired::by(&ruin.zoo, &hub, words);
    }
    let after = Sight::of(&ruin);
    wrong.extend(after.worse_than(&before));
    wrong.extend(after.not_right(&ruin, &before));
    wrong.extend(errors_left(&ruin, &hub));
    let changed = again
        .before
        .iter()
        .filter(|(path, was)| again.after.get(*path) != Some(was));
    let new = again
        .after
        .iter()
        .filter(|(path, _)| !again.before.contains_key(*path));
    for (path, _) in changed.chain(new) {
        wrong.push(format!("a third repair changes {}", path.display()));
    }
    if !wrong.is_empty() {
        wrong.push(format!("{:#}", repaired.fixed["repair"]));
        wrong.push(format!("failures: {:#}", repaired.fixed["failures"]));
        wrong.push(format!("before: {:#}", repaired.seen["findings"]));
    }
    wrong
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect(name))
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happened_to_a_cache_a_repair_makes_right_what_can_be_and_loses_nothing() {
    let cases = number("LARDER_TEST_CASES", CASES.0);
    let first = number("LARDER_TEST_SEED", CASES.1);
    let runtime = tokio::runtime::Handle::current();
    let hub_of = |ruin: &Ruin| {
        let hub = Serving::start(ruin.zoo.catalogue.clone(), Vec::new());
        runtime.block_on(hub).unwrap()
    };
    let failed = tokio::task::block_in_place(|| {
        let mut failed = Vec::new();
        for seed in first..first + cases {
            let mut recipe = Recipe::new(seed, DAMAGES);
            let mut wrong = repair(&recipe, &hub_of);
            if wrong.is_empty() {
                continue;
            }
            let mut at = 0;
            while at < recipe.damages.len() {
                let less = recipe.without(at);
                let still = repair(&less, &hub_of);
                if still.is_empty() {
                    at += 1;
                } else {
                    (recipe, wrong) = (less, still);
                }
            }
            failed.push(format!("{recipe:?}\n{}", wrong.join("\n")));
        }
        failed
    });
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}
