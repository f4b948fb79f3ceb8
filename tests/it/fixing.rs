//! `doctor --fix` by the real binary: the plan comes first, without a yes nothing is changed, and a
//! damaged part of a file costs that part.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use jsonschema::Validator;
use larder::cli::DOCTOR_SCHEMA;

use crate::cli::validator;
use crate::support::catalogue::{self, BIG, BIG_WEIGHTS_BYTES, GEMMA};
use crate::support::program::Home;
use crate::support::{assert_all_visible_bytes_proven, body_bytes, files_below};
use crate::trash::{MODEL, copy_all, folder, stocked};

static DOCTOR: LazyLock<Validator> = LazyLock::new(|| validator(DOCTOR_SCHEMA));

/// The length of a part that is fetched by itself.
const CHUNK_BYTES: u64 = 8 << 20;

async fn pulled(catalogue: larder::serve::Catalogue, repo: &str) -> Home {
    let home = Home::new(catalogue, Vec::new()).await;
    home.run(&["pull", repo]).assert_code(0);
    home.hub.clear_requests();
    home
}

/// Some small things that are wrong in a model.
fn spoil(home: &Home) -> [PathBuf; 3] {
    let repo = home.blobs().parent().unwrap().to_owned();
    let reference = repo.join("refs/main");
    let commit = fs::read_to_string(&reference).unwrap();
    fs::write(&reference, format!("{commit}\n")).unwrap();
    let temp = repo.join("refs/main.1a2b3c4d.tmp");
    fs::write(&temp, "").unwrap();
    let hour_ago = std::time::SystemTime::now() - std::time::Duration::from_hours(1);
    let file = OpenOptions::new().append(true).open(&temp).unwrap();
    file.set_modified(hour_ago).unwrap();
    let pointer = repo.join("snapshots").join(&commit).join("tokenizer.json");
    let tokenizer = pointer.canonicalize().unwrap();
    fs::remove_file(&tokenizer).unwrap();
    [reference, temp, pointer]
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_yes_nothing_is_changed_and_with_one_what_was_shown_is_done() {
    let home = pulled(catalogue::gemma(), GEMMA).await;
    let [reference, temp, tokenizer] = spoil(&home);
    let cache = |home: &Home| {
        let files = home.every_file().into_iter();
        let files = files.filter(|(path, _)| path.starts_with(home.cache()));
        files.collect::<Vec<_>>()
    };
    let before = cache(&home);

    let refused = home.run(&["doctor", "--fix"]);
    refused.assert_code(2);
    for path in [&reference, &temp, &tokenizer] {
        assert!(
            refused.stdout.contains(path.to_str().unwrap()),
            "{}",
            refused.stdout
        );
    }
    assert!(
        refused.stdout.contains("what the repair does"),
        "{}",
        refused.stdout
    );
    assert!(refused.stderr.contains("--yes"), "{}", refused.stderr);
    let locked = home.run(&["--read-only", "doctor", "--fix", "--yes"]);
    locked.assert_code(2);
    home.run(&["doctor", "--yes"]).assert_code(2);
    let planned = home.run(&["doctor", "--fix", "--json"]);
    planned.assert_code(2);
    let document = planned.document(&DOCTOR);
    assert_eq!(document["repair"]["is_begun"], false, "{document:#}");
    assert_eq!(cache(&home), before);
    assert!(home.hub.requests().is_empty());

    let only = home.run(&[
        "doctor",
        "--fix",
        "--yes",
        "--rule",
        "leftover-ref",
        "--json",
    ]);
    only.assert_code(0);
    let document = only.document(&DOCTOR);
    assert_eq!(document["outcome"], "fixed", "{document:#}");
    assert_eq!(
        document["repair"]["done"][0]["path"],
        temp.to_str().unwrap()
    );
    assert!(!temp.exists() && home.hub.requests().is_empty());

    let fixed = home.run(&["doctor", "--fix", "--yes"]);
    fixed.assert_code(0).assert_harmless();
    for words in [
        "done: write",
        "pulled: mlx-community/gemma-2-2b-it-4bit",
        "nothing is wrong",
    ] {
        assert!(fixed.stdout.contains(words), "{words}: {}", fixed.stdout);
    }
    assert!(!temp.exists());
    assert_eq!(fs::read_to_string(&reference).unwrap().len(), 40);
    assert!(tokenizer.is_file());
    home.run(&["verify"]).assert_code(0);
    assert_all_visible_bytes_proven(&home.cache());
    let again = home.run(&["doctor", "--fix", "--yes"]);
    again.assert_code(0);
    assert!(
        again.stdout.contains("nothing that a repair can put right"),
        "{}",
        again.stdout
    );
    let history = home.run(&["history"]);
    assert!(history.stdout.contains("fix"), "{}", history.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_costs_a_part_of_the_file_and_a_lost_tail_the_tail() {
    let home = pulled(catalogue::big(), BIG).await;
    let repo = home.cache().join("models--someone--big");
    let snapshot = fs::read_dir(repo.join("snapshots"))
        .unwrap()
        .next()
        .unwrap();
    let pointer = snapshot.unwrap().path().join("model.safetensors");
    let weights = pointer.canonicalize().unwrap();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&weights)
        .unwrap();
    let at = BIG_WEIGHTS_BYTES / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[!byte[0]], at).unwrap();
    drop(file);
    let fixed = home.run(&["doctor", "--verify", "--fix", "--yes", "--json"]);
    fixed.assert_code(0);
    let document = fixed.document(&DOCTOR);
    let fetched = document["repair"]["fetched_bytes"].as_u64().unwrap();
    assert!(fetched <= CHUNK_BYTES, "{fetched}");
    // What was on its way to a connection that was given up counts as well.
    assert!(body_bytes(&home.hub) < BIG_WEIGHTS_BYTES / 2);
    let names: Vec<_> = fs::read_dir(repo.join("blobs")).unwrap().collect();
    assert_eq!(names.len(), 2, "the wrong bytes are gone: {names:?}");
    assert_all_visible_bytes_proven(&home.cache());

    home.hub.clear_requests();
    let lost = 1_000_000;
    let weights = pointer.canonicalize().unwrap();
    let file = OpenOptions::new().write(true).open(&weights).unwrap();
    file.set_len(BIG_WEIGHTS_BYTES - lost).unwrap();
    drop(file);
    home.run(&["doctor", "--fix", "--yes"]).assert_code(0);
    let fetched = body_bytes(&home.hub);
    assert!(fetched < BIG_WEIGHTS_BYTES / 2, "{fetched}");
    assert_all_visible_bytes_proven(&home.cache());
}

/// A script wrote into a folder named after the branch and died: what it has of the weights is gone on
/// with, what a server refused is fetched, and nothing of the folder is left.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_script_that_died_left_of_a_file_is_gone_on_with_and_goes() {
    let home = pulled(catalogue::gemma(), GEMMA).await;
    let repo = home.blobs().parent().unwrap().to_owned();
    let commit = fs::read_to_string(repo.join("refs/main")).unwrap();
    let by_hand = repo.join("snapshots/main");
    let snapshot = repo.join("snapshots").join(commit);
    let mut copy = std::process::Command::new("cp");
    let copied = copy.arg("-RL").arg(snapshot).arg(&by_hand).status();
    assert!(copied.unwrap().success());
    for folder in ["refs", "blobs", "trees", ".larder"] {
        drop(fs::remove_dir_all(repo.join(folder)));
    }
    for entry in fs::read_dir(repo.join("snapshots")).unwrap() {
        let snapshot = entry.unwrap().path();
        if snapshot != by_hand {
            fs::remove_dir_all(snapshot).unwrap();
        }
    }
    let half = catalogue::GEMMA_WEIGHTS_BYTES / 2;
    let open = |name: &str| {
        let path = by_hand.join(name);
        OpenOptions::new().write(true).open(path).unwrap()
    };
    open("model.safetensors").set_len(half).unwrap();
    let tokenizer = by_hand.join("tokenizer.json").metadata().unwrap().len();
    let page = "<!DOCTYPE html><html>log in first</html>";
    fs::write(by_hand.join("tokenizer.json"), page).unwrap();
    let hour_ago = std::time::SystemTime::now() - std::time::Duration::from_hours(1);
    for path in files_below(&by_hand) {
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.set_modified(hour_ago).unwrap();
    }

    let fixed = home.run(&["doctor", "--fix", "--yes"]);
    fixed.assert_code(0);
    assert!(!by_hand.exists(), "{}", fixed.stdout);
    assert_eq!(body_bytes(&home.hub), half + tokenizer, "{}", fixed.stdout);
    home.run(&["ready", GEMMA]).assert_code(0);
    assert_all_visible_bytes_proven(&home.cache());
}

/// Another content than the Hub's, as long or shorter, is somebody's own.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_beginning_of_the_right_file_stays_in_the_folder_of_a_script() {
    let home = pulled(catalogue::gemma(), GEMMA).await;
    let by_hand = home.blobs().parent().unwrap().join("snapshots/main");
    fs::create_dir(&by_hand).unwrap();
    let own = by_hand.join("config.json");
    fs::write(&own, "{}").unwrap();
    let hour_ago = std::time::SystemTime::now() - std::time::Duration::from_hours(1);
    let file = OpenOptions::new().append(true).open(&own).unwrap();
    file.set_modified(hour_ago).unwrap();
    let fixed = home.run(&["doctor", "--fix", "--yes"]);
    assert!(
        fixed
            .stdout
            .contains("is another content, so the copy stays"),
        "{}{}",
        fixed.stdout,
        fixed.stderr
    );
    assert_eq!(fs::read_to_string(&own).unwrap(), "{}");
}

/// A ref that was written an hour ago.
fn put_ref(repo: &Path, name: &str, text: &str) -> PathBuf {
    let path = repo.join("refs").join(name);
    fs::write(&path, text).unwrap();
    let hour_ago = std::time::SystemTime::now() - std::time::Duration::from_hours(1);
    let file = OpenOptions::new().append(true).open(&path).unwrap();
    file.set_modified(hour_ago).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ref_to_nothing_goes_only_if_the_hub_knows_neither_its_name_nor_its_commit() {
    let home = stocked().await;
    let repo = folder(&home, MODEL);
    let old = fs::read_to_string(repo.join("refs/v1")).unwrap();
    home.run(&["purge", &format!("{MODEL}@v1"), "--now", "--yes"])
        .assert_code(0);
    let nowhere = "5".repeat(40);
    let gone = [
        put_ref(&repo, "lost", &nowhere),
        put_ref(&repo, "garbage", "no commit"),
    ];
    let unknown_repo = home.cache().join("models--someone--unknown");
    copy_all(&repo, &unknown_repo);
    let stays = [
        // The Hub has its commit, under another name.
        put_ref(&repo, "renamed", &old),
        // What the Hub says of a repo that it does not know, it says of private ones as well.
        put_ref(&unknown_repo, "lost", &nowhere),
    ];
    let planned = home.run(&["doctor", "--fix"]);
    let words = planned
        .stdout
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    assert!(
        words.contains("if the Hub knows no `lost` and no commit") && words.contains("offline"),
        "{}",
        planned.stdout
    );
    for path in gone.iter().chain(&stays) {
        assert!(
            planned.stdout.contains(path.to_str().unwrap()),
            "{}",
            planned.stdout
        );
    }
    // Without a word of the Hub all of them stay.
    home.run(&["--offline", "doctor", "--fix", "--yes"]);
    assert!(gone.iter().chain(&stays).all(|path| path.is_file()));

    let fixed = home.run(&["doctor", "--fix", "--yes"]);
    for path in &gone {
        assert!(!path.exists(), "{}", fixed.stdout);
    }
    assert!(stays.iter().all(|path| path.is_file()), "{}", fixed.stdout);
    assert!(
        fixed
            .stdout
            .contains(&format!("larder pull {MODEL} --revision {old}")),
        "{}",
        fixed.stdout
    );
    assert!(repo.join("refs/main").is_file());
    home.run(&["ready", MODEL]).assert_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_only_such_refs_were_wrong_the_repair_has_done_all_of_it() {
    let home = stocked().await;
    let lost = put_ref(&folder(&home, MODEL), "lost", &"5".repeat(40));
    let fixed = home.run(&["doctor", "--fix", "--yes", "--json"]);
    fixed.assert_code(0);
    let document = fixed.document(&DOCTOR);
    assert_eq!(document["outcome"], "fixed", "{document:#}");
    assert!(!lost.exists());
    home.run(&["status", "--check"]).assert_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_in_the_place_of_a_blob_gives_way_to_the_right_bytes_and_is_kept() {
    for (catalogue, repo) in [(catalogue::gemma(), GEMMA), (catalogue::big(), BIG)] {
        let home = pulled(catalogue, repo).await;
        let folder = home
            .cache()
            .join(format!("models--{}", repo.replace('/', "--")));
        let main = fs::read_to_string(folder.join("refs/main")).unwrap();
        let snapshot = folder.join("snapshots").join(main);
        let blob = |name: &str| snapshot.join(name).canonicalize().unwrap();
        let (weights, config) = (blob("model.safetensors"), blob("config.json"));
        for path in [&weights, &config] {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        }
        let mine = "sub dir/mine.txt";
        fs::create_dir(weights.join("sub dir")).unwrap();
        fs::write(weights.join(mine), "mine").unwrap();
        home.run(&["ready", repo]).assert_code(3);
        let healed = home.run(&["pull", repo]);
        healed.assert_code(0);
        assert!(
            healed.stderr.contains("a folder stood in the blob's place"),
            "{}",
            healed.stderr
        );
        assert!(weights.is_file() && config.is_file());
        home.run(&["verify"]).assert_code(0);
        let name = weights.file_name().unwrap().to_str().unwrap();
        let kept = folder
            .join(".larder/aside/blobs")
            .join(format!("{name}.00000000"));
        assert_eq!(fs::read_to_string(kept.join(mine)).unwrap(), "mine");
        let all = fs::read_dir(kept.parent().unwrap()).unwrap().count();
        assert_eq!(all, 1, "of an empty one nothing is kept");
        home.run(&["doctor"]).assert_code(0);
        assert_all_visible_bytes_proven(&home.cache());
    }
}

/// Of a repo without weights for MLX a pull takes nothing by itself: a repair names what it brings, and
/// never what nobody asked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_repo_that_a_pull_takes_nothing_of_is_healed_by_the_names_of_its_files() {
    let repo = "someone/gguf-only";
    let home = Home::new(catalogue::gemma(), Vec::new()).await;
    home.run(&["pull", repo, "config.json"]).assert_code(0);
    let blobs = home.cache().join("models--someone--gguf-only/blobs");
    let blob = files_below(&blobs).pop().unwrap();
    let good = fs::read(&blob).unwrap();
    home.hub.clear_requests();
    // Its pointer alone, and then its bytes.
    let pointer = files_below(&blobs.with_file_name("snapshots"))
        .pop()
        .unwrap();
    fs::remove_file(&pointer).unwrap();
    home.run(&["doctor", "--fix", "--yes"]).assert_code(0);
    assert_eq!(body_bytes(&home.hub), 0);
    fs::write(&blob, b"").unwrap();
    let told = home.run(&["doctor"]);
    let call = format!("larder pull {repo} ");
    assert!(told.stdout.contains(&call), "{}", told.stdout);
    home.run(&["doctor", "--fix", "--yes"]).assert_code(0);
    assert_eq!(fs::read(&pointer).unwrap(), good);
    let names = files_below(&blobs.with_file_name("snapshots"));
    assert_eq!(names, [pointer]);
}

/// An editor writes through the pointer into the blob, or puts a file in the pointer's place: the edit
/// stays, also when another repair runs.
#[tokio::test(flavor = "multi_thread")]
async fn an_edit_is_kept_and_goes_into_the_trash_on_demand() {
    for is_in_place in [true, false] {
        let home = pulled(catalogue::gemma(), GEMMA).await;
        let repo = home.blobs().parent().unwrap().to_owned();
        let commit = fs::read_to_string(repo.join("refs/main")).unwrap();
        let snapshots = repo.join("snapshots");
        let pointer = snapshots.join(commit).join("config.json");
        let edit = "{\"model_type\": \"mine\"}\n";
        if !is_in_place {
            fs::remove_file(&pointer).unwrap();
        }
        fs::write(&pointer, edit).unwrap();
        let is_kept = || {
            let all = files_below(&repo).into_iter();
            let mut aside = all.filter(|path| !path.starts_with(&snapshots));
            aside.any(|path| fs::read(path).is_ok_and(|bytes| bytes == edit.as_bytes()))
        };
        for _ in 0..2 {
            home.run(&["doctor", "--verify", "--fix", "--yes"])
                .assert_code(0);
            assert_ne!(fs::read_to_string(&pointer).unwrap(), edit);
            assert!(is_kept());
        }
        let told = home.run(&["doctor"]);
        assert!(
            told.stdout
                .contains(&format!("larder purge --corrupt {GEMMA}")),
            "{}",
            told.stdout
        );
        home.run(&["purge", "--corrupt", GEMMA, "--yes"])
            .assert_code(0);
        assert!(!is_kept());
        home.run(&["trash", "restore", "last"]).assert_code(0);
        assert!(is_kept());
        home.run(&["ready", GEMMA]).assert_code(0);
    }
}
