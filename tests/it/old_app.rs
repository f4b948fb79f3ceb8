//! The app that this project comes from had rules by which it cleaned caches up (hub.md 3.4, users.md
//! 0.12), and they deleted healthy models. On the same trees larder deletes none.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use larder::serve::Serving;

use crate::support::files_below;
use crate::support::zoo::{Zoo, get_along, members};
use crate::trash::{OTHER, copy_all, folder, stocked, tree};
use crate::zoo_healed;

/// What the old app took away: any repo whose top folder lacks the files of a model, which is every
/// repo of a Hub cache; whatever has a telling word in its name, live or not; and any entry at the top
/// that is called like the model it was about.
fn taken(cache: &Path, model: &str) -> BTreeSet<PathBuf> {
    let mut taken = BTreeSet::new();
    for entry in fs::read_dir(cache).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let is_model = ["config.json", "tokenizer.json"]
            .iter()
            .all(|file| path.join(file).exists());
        let is_named = name.contains(model);
        if is_named || name.starts_with("models--") && !is_model {
            taken.insert(path);
        }
    }
    taken.extend(files_below(cache).into_iter().filter(|path| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.contains(".incomplete") || name.contains(".tmp")
    }));
    taken
}

/// Files and links that are not there any more, or lead elsewhere.
fn lost<T: PartialEq>(
    before: &std::collections::BTreeMap<PathBuf, T>,
    after: &std::collections::BTreeMap<PathBuf, T>,
) -> Vec<PathBuf> {
    let gone = before
        .iter()
        .filter(|(path, was)| after.get(*path) != Some(was));
    gone.map(|(path, _)| path.clone()).collect()
}

/// Names that look like leavings, and what somebody writes: nothing of it goes, whatever is asked for
/// without naming it.
#[tokio::test(flavor = "multi_thread")]
async fn names_that_look_like_leavings_cost_nothing() {
    let home = stocked().await;
    // Models and files whose names look like leavings.
    for name in ["models--someone--model.tmp-v2", "models--x--y.incomplete-1"] {
        copy_all(&folder(&home, OTHER), &home.cache().join(name));
    }
    let snapshot = fs::read_dir(folder(&home, OTHER).join("snapshots"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let config = fs::read_link(snapshot.join("config.json")).unwrap();
    symlink(config, snapshot.join("notes.tmp")).unwrap();
    let live = folder(&home, OTHER)
        .join("blobs")
        .join(format!("{}.0badcafe.incomplete", "07".repeat(32)));
    fs::write(&live, "being written").unwrap();
    let writer = fs::File::open(&live).unwrap();
    writer.lock().unwrap();
    let before = tree(&home.cache());
    let by_old_rules = taken(&home.cache(), "model");
    for healthy in [
        folder(&home, OTHER),
        snapshot.join("notes.tmp"),
        live.clone(),
    ] {
        assert!(by_old_rules.contains(&healthy), "{}", healthy.display());
    }
    let config = home.path().join(".config/larder/config.toml");
    fs::write(
        config,
        "policy_partials_days = 1\npolicy_trash_days = 1\npolicy_unused_days = 1\n",
    )
    .unwrap();
    for words in [
        &["purge", "--incomplete", "--yes"][..],
        &[
            "purge",
            "--incomplete",
            "--unreferenced",
            "--corrupt",
            "--yes",
        ],
        &["purge", "--older-than", "1d", "--yes"],
        &["purge", "--policy", "--yes"],
        &["trash", "empty", "--yes"],
        &["doctor", "--verify", "--fix", "--yes"],
    ] {
        let ran = home.run(words);
        // A Mac's volume does not tell when files were last read, and that is refused.
        if cfg!(target_os = "linux") {
            ran.assert_code(0);
        }
        let after = tree(&home.cache());
        let lost: Vec<_> = before
            .keys()
            .filter(|it| !after.contains_key(*it))
            .collect();
        assert!(lost.is_empty(), "{words:?}: {lost:?}");
    }
    drop(writer);
}

/// Every healthy state of the zoo in one cache, as each program writes it.
#[tokio::test(flavor = "multi_thread")]
async fn of_healthy_models_the_old_rules_delete_all_and_ours_none() {
    let mut zoo = Zoo::new();
    let mut inside = Vec::new();
    for member in members() {
        let is_healthy = member.finds.is_empty();
        if is_healthy && inside.iter().all(|other| get_along(&member, other)) {
            zoo.add(&member);
            inside.push(member);
        }
    }
    assert!(inside.len() >= 10, "{inside:?}");
    // Old, and not used for long: that alone must not take anything away.
    zoo.settle();
    let settings = zoo.home().join(".config/larder");
    fs::create_dir_all(&settings).unwrap();
    let policy = "policy_partials_days = 1\npolicy_trash_days = 1\n";
    fs::write(settings.join("config.toml"), policy).unwrap();
    let entries = fs::read_dir(zoo.root()).unwrap();
    let repos: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("snapshots").is_dir())
        .collect();
    assert!(repos.len() >= 10, "{repos:?}");
    let by_old_rules = taken(zoo.root(), "gemma-2-2b-it-4bit");
    let spared: Vec<_> = repos
        .iter()
        .filter(|repo| !by_old_rules.contains(*repo))
        .collect();
    assert!(spared.is_empty(), "the old rules spared {spared:?}");
    let hub = Serving::start(zoo.catalogue.clone(), Vec::new())
        .await
        .unwrap();
    let before = zoo_healed::tree(zoo.root());
    for words in [
        &["doctor", "--verify", "--fix", "--yes"][..],
        &["purge", "--incomplete", "--yes"],
        &["purge", "--corrupt", "--yes"],
        &["purge", "--incomplete", "--corrupt", "--yes"],
        &["purge", "--policy", "--yes"],
        &["trash", "empty", "--yes"],
    ] {
        let document = tokio::task::block_in_place(|| zoo_healed::larder(&zoo, &hub, words));
        assert_eq!(document["exit_code"], 0, "{words:?}: {document:#}");
        let lost = lost(&before, &zoo_healed::tree(zoo.root()));
        assert!(lost.is_empty(), "{words:?}: {lost:?}");
    }
}
