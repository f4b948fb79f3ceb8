//! Every state that a Hub cache can be in, repaired by the real binary: afterwards everything that can
//! be right is right, and everything that was right is where it was.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use larder::serve::Serving;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::support::assert_all_visible_bytes_proven;
use crate::support::program::finish;
use crate::support::zoo::{Member, NESTED, Zoo, beside, get_along, members};

/// Members that are put together at random, how many at a time, and how often.
const AT_RANDOM: (usize, u64) = (6, 4);

/// The binary on the cache of a zoo, with its Hub.
pub(crate) fn command(zoo: &Zoo, hub: &Serving, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
    command.args(arguments).arg("--json");
    zoo.tell(&mut command);
    command.env("HF_ENDPOINT", hub.endpoint());
    command
}

/// Runs it; what it says in the end.
pub(crate) fn larder(zoo: &Zoo, hub: &Serving, arguments: &[&str]) -> Value {
    let ran = finish(&mut command(zoo, hub, arguments));
    assert!(!ran.stderr.contains("panicked"), "{ran:#?}");
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:#?}"))
}

/// Every plain file below a folder with the hash of what it holds, and every link with its text.
pub(crate) fn tree(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let kind = path.symlink_metadata().unwrap();
            if kind.is_dir() {
                open.push(path);
            } else if kind.is_symlink() {
                let text = std::fs::read_link(&path).unwrap();
                found.insert(path, format!("-> {}", text.display()));
            } else {
                let bytes = std::fs::read(&path).unwrap_or_default();
                found.insert(path, hex::encode(Sha256::digest(bytes)));
            }
        }
    }
    found
}

/// Every path that a plan names: it, and what lies below it.
fn steps(document: &Value) -> BTreeSet<PathBuf> {
    let findings = document["findings"].as_array().unwrap().iter();
    let plans = findings.map(|finding| &finding["plan"]);
    paths(plans.chain([&document["repair"]]))
}

/// Every path that a finding rests on which a pull puts right.
fn evidence(document: &Value) -> BTreeSet<PathBuf> {
    let findings = document["findings"].as_array().unwrap().iter();
    paths(findings.map(|finding| &finding["evidence"]))
}

/// What a pointer leads to, at once and in the end.
fn behind(path: &Path) -> Vec<PathBuf> {
    let next = std::fs::read_link(path).ok();
    let next = next.map(|text| path.parent().unwrap().join(text));
    let folder = next
        .as_ref()
        .and_then(|next| std::fs::canonicalize(next.parent()?).ok());
    let next = next.and_then(|next| Some(folder?.join(next.file_name()?)));
    let end = std::fs::canonicalize(path).ok();
    next.into_iter().chain(end).collect()
}

/// Every path in some values.
fn paths<'a>(values: impl Iterator<Item = &'a Value>) -> BTreeSet<PathBuf> {
    let mut named = BTreeSet::new();
    let mut open: Vec<&Value> = values.collect();
    while let Some(value) = open.pop() {
        match value {
            Value::String(text) if text.starts_with('/') => {
                named.insert(PathBuf::from(text));
            }
            Value::Array(values) => open.extend(values),
            Value::Object(fields) => open.extend(fields.values()),
            _ => {}
        }
    }
    named
}

/// What a pull writes beside blobs and pointers: refs it moves, listings, its own folder, marks of
/// absence that are not true any more.
fn is_bookkeeping(path: &Path) -> bool {
    let folders = ["refs", "trees", ".larder", ".no_exist"];
    path.components()
        .any(|part| folders.iter().any(|folder| part.as_os_str() == *folder))
}

/// A repair by the real binary: what was seen before, and what came of it.
pub(crate) struct Repaired {
    pub(crate) seen: Value,
    pub(crate) fixed: Value,
    pub(crate) before: BTreeMap<PathBuf, String>,
    pub(crate) after: BTreeMap<PathBuf, String>,
    /// What a reader got through the pointers that findings rest on: a pull replaces it.
    read: BTreeSet<PathBuf>,
}

impl Repaired {
    /// Looks with these words, and lets it be repaired with them and some more.
    pub(crate) fn by(zoo: &Zoo, hub: &Serving, words: &[&str]) -> Self {
        Self::below(zoo, hub, zoo.root(), words)
    }

    /// The same of everything below a folder.
    fn below(zoo: &Zoo, hub: &Serving, root: &Path, words: &[&str]) -> Self {
        let seen = larder(zoo, hub, words);
        let before = tree(root);
        let read = evidence(&seen)
            .iter()
            .flat_map(|path| behind(path))
            .collect();
        let fixed = larder(zoo, hub, &[words, &["--fix", "--yes"]].concat());
        Self {
            seen,
            fixed,
            before,
            after: tree(root),
            read,
        }
    }

    /// What was neither planned nor found, and is not byte for byte where it was.
    pub(crate) fn touched(&self, root: &Path) -> Vec<String> {
        let both = |named: fn(&Value) -> BTreeSet<PathBuf>| -> BTreeSet<PathBuf> {
            named(&self.seen)
                .union(&named(&self.fixed))
                .cloned()
                .collect()
        };
        let (steps, evidence) = (both(steps), both(evidence));
        let mut wrong = Vec::new();
        // Below that lies everything, and nothing could be wrong.
        let too_much = steps.iter().find(|step| root.starts_with(step));
        wrong.extend(too_much.map(|step| format!("a step is about {}", step.display())));
        for (path, hash) in &self.before {
            let now = self.after.get(path);
            let is_named = evidence.contains(path)
                || steps.iter().any(|step| path.starts_with(step))
                || (now.is_some() && self.read.contains(path));
            if now != Some(hash) && !is_named && !is_bookkeeping(path) {
                wrong.push(format!("{} was {hash} and is {now:?}", path.display()));
            }
        }
        wrong
    }
}

/// What is wrong after a repair.
fn heal(zoo: &Zoo, hub: &Serving) -> Vec<String> {
    heal_below(zoo, hub, zoo.root(), &|_| false)
}

/// The same of everything below a folder. Errors by rules that are left may stay.
fn heal_below(
    zoo: &Zoo,
    hub: &Serving,
    root: &Path,
    is_left: &dyn Fn(&str) -> bool,
) -> Vec<String> {
    zoo.settle();
    let repaired = Repaired::below(zoo, hub, root, &["doctor", "--verify"]);
    let mut wrong = repaired.touched(root);
    let Repaired {
        fixed,
        before,
        after,
        ..
    } = repaired;
    // And what was right is still there, under whatever name.
    let contents: BTreeSet<&String> = after.values().collect();
    for (path, hash) in &before {
        let name = path.file_name().unwrap().to_string_lossy();
        if *name == **hash && !contents.contains(hash) {
            wrong.push(format!("the content of {} is lost", path.display()));
        }
    }
    let left = larder(zoo, hub, &["doctor", "--verify"]);
    for finding in left["findings"].as_array().unwrap() {
        let rule = finding["rule"].as_str().unwrap();
        if finding["severity"] == "error" && !is_left(rule) {
            wrong.push(format!("still there: {finding:#}"));
        }
    }
    let proven = std::panic::catch_unwind(|| assert_all_visible_bytes_proven(zoo.root()));
    wrong.extend(
        proven
            .is_err()
            .then(|| "unproven bytes are visible".to_owned()),
    );
    if !wrong.is_empty() {
        wrong.push(format!("{:#}", fixed["repair"]));
    }
    wrong
}

#[tokio::test(flavor = "multi_thread")]
async fn every_state_is_repaired_and_nothing_good_is_touched() {
    let mut failed = Vec::new();
    for member in members() {
        let zoo = Zoo::with(&member);
        let hub = Serving::start(zoo.catalogue.clone(), Vec::new())
            .await
            .unwrap();
        let wrong = tokio::task::block_in_place(|| heal(&zoo, &hub));
        if !wrong.is_empty() {
            failed.push(format!("{}:\n{}", member.name, wrong.join("\n")));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

/// Members beside the main cache whose model lies in it as well, by the model's name: what is wrong with
/// them can be put right from there.
const IN_BOTH: &[(&str, &str)] = &[
    ("hub_api_without_any_metadata", "zoo/api-bare"),
    ("hub_api_torn_metadata", "zoo/api-torn"),
    ("hub_api_partial", "zoo/api-partial"),
    ("hub_api_link_to_nothing", "zoo/api-dangling"),
    ("hub_api_lfs_pointer", "zoo/api-pointer"),
    ("hub_api_error_page", "zoo/api-page"),
    ("hub_api_wrong_hash", "zoo/api-hash"),
    ("local_dir_modified", "zoo/local-modified"),
    ("local_dir_missing_file", "zoo/local-missing"),
    ("local_dir_truncated", "zoo/local-cut"),
    ("local_dir_wrong_size", "zoo/local-size"),
    ("local_dir_wrong_hash", "zoo/local-hash"),
];

/// Another Hub cache, folders of apps and of Python beside the cache that is repaired: what the repair has
/// not named stays byte for byte, and what is right is not lost.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_beside_the_cache_is_touched_that_was_not_named() {
    let mut failed = Vec::new();
    for member in beside() {
        let mut zoo = Zoo::of_a_user();
        zoo.add(&member);
        // Something to repair in the cache itself.
        let model = zoo.model("zoo/to-be-healed");
        std::fs::remove_file(model.blob(NESTED)).unwrap();
        let in_both = IN_BOTH.iter().find(|(name, _)| *name == member.name);
        if let Some((_, model)) = in_both {
            zoo.model(model);
        }
        let hub = Serving::start(zoo.catalogue.clone(), Vec::new())
            .await
            .unwrap();
        let errors: Vec<&str> = member.finds.iter().map(|(rule, _)| rule.name()).collect();
        let is_left = |rule: &str| in_both.is_none() && errors.contains(&rule);
        let root = zoo.user();
        let wrong = tokio::task::block_in_place(|| heal_below(&zoo, &hub, &root, &is_left));
        if !wrong.is_empty() {
            failed.push(format!("{}:\n{}", member.name, wrong.join("\n")));
        }
        assert!(model.pointer(NESTED).is_file(), "{}", member.name);
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn states_together_are_repaired_as_well() {
    let (count, seeds) = AT_RANDOM;
    for seed in 0..seeds {
        let mut dice = fastrand::Rng::with_seed(seed);
        let mut chosen: Vec<Member> = Vec::new();
        while chosen.len() < count {
            let all = members();
            let one = all[dice.usize(..all.len())];
            if chosen.iter().all(|other| get_along(&one, other)) {
                chosen.push(one);
            }
        }
        let mut zoo = Zoo::new();
        for member in &chosen {
            zoo.add(member);
        }
        let hub = Serving::start(zoo.catalogue.clone(), Vec::new())
            .await
            .unwrap();
        let names: Vec<_> = chosen.iter().map(|member| member.name).collect();
        let wrong = tokio::task::block_in_place(|| heal(&zoo, &hub));
        assert!(
            wrong.is_empty(),
            "seed {seed}: {names:?}\n{}",
            wrong.join("\n")
        );
    }
}
