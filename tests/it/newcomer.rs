//! What a newcomer stumbled over in the shell: numbers and words that were not what then happened, and
//! findings that hid one another.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use jsonschema::Validator;
use larder::cli::{DOCTOR_SCHEMA, LS_SCHEMA};
use serde_json::Value;

use crate::cli::validator;
use crate::support::catalogue::{self, GEMMA, gemma_weights, gemma_weights_etag};
use crate::support::program::Home;
use crate::support::{assert_all_visible_bytes_proven, body_bytes};

static DOCTOR: LazyLock<Validator> = LazyLock::new(|| validator(DOCTOR_SCHEMA));
static LS: LazyLock<Validator> = LazyLock::new(|| validator(LS_SCHEMA));

async fn pulled() -> Home {
    let home = Home::new(catalogue::gemma(), Vec::new()).await;
    home.run(&["pull", GEMMA]).assert_code(0);
    body_bytes(&home.hub);
    home
}

fn repo(home: &Home) -> PathBuf {
    home.blobs().parent().unwrap().to_owned()
}

fn commit(home: &Home) -> String {
    fs::read_to_string(repo(home).join("refs/main")).unwrap()
}

fn pointer(home: &Home, file: &str) -> PathBuf {
    repo(home).join("snapshots").join(commit(home)).join(file)
}

/// As if it had been there for an hour.
fn age(path: &Path) {
    let then = SystemTime::now() - Duration::from_hours(1);
    let file = File::options().append(true).open(path).unwrap();
    file.set_modified(then).unwrap();
}

/// A script's download into a folder named after the branch, with a file of somebody's own.
fn branch_folder(home: &Home) -> PathBuf {
    let folder = repo(home).join("snapshots/main");
    fs::create_dir_all(&folder).unwrap();
    fs::copy(pointer(home, "config.json"), folder.join("config.json")).unwrap();
    fs::write(folder.join("notes.txt"), "mine").unwrap();
    folder
}

/// Flips a byte of the weights, and has it found.
fn spoil_weights(home: &Home) -> PathBuf {
    let weights = home.blobs().join(gemma_weights_etag());
    let mut bytes = fs::read(&weights).unwrap();
    bytes[700_000] ^= 1;
    fs::write(&weights, bytes).unwrap();
    // What was written this very moment is not remembered.
    std::thread::sleep(Duration::from_millis(200));
    home.run(&["verify", GEMMA]).assert_code(3);
    weights
}

fn steps(document: &Value, kind: &str) -> Vec<Value> {
    let steps = document["repair"]["plan"].as_array().unwrap().iter();
    steps
        .filter(|step| step["step"] == kind || step["change"] == kind)
        .cloned()
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_ref_is_told_as_that_and_a_pull_writes_it_without_a_byte() {
    let home = pulled().await;
    let main = repo(&home).join("refs/main");
    let commit = commit(&home);
    fs::remove_file(&main).unwrap();
    let ready = home.run(&["ready", GEMMA]);
    ready.assert_code(3);
    for words in ["the ref `main` is missing", &commit[..7], "is here whole"] {
        assert!(ready.stderr.contains(words), "{words}: {}", ready.stderr);
    }
    assert!(!ready.stderr.contains("files of the model are missing"));
    // A pinned commit needs no ref.
    home.run(&["ready", GEMMA, "--revision", &commit])
        .assert_code(0);
    let told = home.run(&["doctor"]);
    told.assert_code(0);
    assert!(told.stdout.contains("note no-ref"), "{}", told.stdout);
    assert!(told.stdout.contains(&format!("`larder pull {GEMMA}`")));
    home.run(&["pull", GEMMA]).assert_code(0);
    assert_eq!(body_bytes(&home.hub), 0);
    home.run(&["ready", GEMMA]).assert_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_that_are_missing_are_an_error_beside_every_other_one() {
    let home = pulled().await;
    let lacks = |document: &Value| -> BTreeSet<(String, String)> {
        let found = document["findings"].as_array().unwrap().iter();
        let of = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
        found
            .filter(|finding| {
                ["missing-files", "half-written"].contains(&finding["rule"].as_str().unwrap())
            })
            .map(|finding| (of(finding, "summary"), of(finding, "severity")))
            .collect()
    };
    let expected: BTreeSet<_> = [(
        "`model.safetensors` is missing".to_owned(),
        "error".to_owned(),
    )]
    .into();
    fs::remove_file(pointer(&home, "model.safetensors")).unwrap();
    let alone = home.run(&["doctor", "--json"]);
    alone.assert_code(3);
    assert_eq!(lacks(&alone.document(&DOCTOR)), expected);
    // Together with a bad ref, a pointer that leads nowhere, and bytes that somebody left just now.
    let tokenizer = pointer(&home, "tokenizer.json").canonicalize().unwrap();
    fs::remove_file(&tokenizer).unwrap();
    let name = tokenizer.file_name().unwrap().to_str().unwrap();
    let partial = home.blobs().join(format!("{name}.0123abcd.incomplete"));
    fs::write(&partial, "half").unwrap();
    let commit = commit(&home);
    fs::write(repo(&home).join("refs/main"), format!("{commit}\n")).unwrap();
    for call in [
        &["doctor", "--json"][..],
        &["doctor", "--verify", "--json"],
        &["doctor", "--fix", "--json"],
    ] {
        let document = home.run(call).document(&DOCTOR);
        assert_eq!(lacks(&document), expected, "{call:?}: {document:#}");
    }
    let purge = home.run(&["purge", "--incomplete", "--dry-run"]);
    assert!(purge.stderr.contains("too fresh to tell"), "{purge:?}");
    // A file that a model loads without is no error.
    home.run(&["pull", GEMMA]).assert_code(0);
    fs::remove_file(pointer(&home, "special_tokens_map.json")).unwrap();
    let minor = home.run(&["doctor", "--json"]);
    minor.assert_code(0);
    assert_eq!(minor.document(&DOCTOR)["warnings"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_says_what_it_left_undone_and_is_no_success_then() {
    let home = pulled().await;
    let folder = branch_folder(&home);
    let planned = home.run(&["doctor", "--fix", "--json"]);
    let document = planned.document(&DOCTOR);
    let removals = steps(&document, "remove-copy");
    assert_eq!(removals.len(), 1, "{document:#}");
    assert_eq!(removals[0]["file"], "config.json");
    assert!(steps(&document, "remove").is_empty(), "{document:#}");
    let left = document["repair"]["left"].to_string();
    assert!(left.contains("notes.txt"), "{left}");
    // It was copied just now.
    let early = home.run(&["doctor", "--fix", "--yes"]);
    early.assert_code(3);
    for words in ["1 of 2 steps done; 1 not done", "less than a minute ago"] {
        assert!(early.stdout.contains(words), "{words}: {}", early.stdout);
    }
    assert!(early.stderr.contains("not done"), "{}", early.stderr);
    assert!(folder.join("config.json").is_file());
    age(&folder.join("config.json"));
    let done = home.run(&["doctor", "--fix", "--yes"]);
    done.assert_code(0);
    assert!(done.stdout.contains("\n2 steps done\n"), "{}", done.stdout);
    let (pulled, removed) = ("pulled:", "done: remove");
    let at = |words: &str| done.stdout.find(words).unwrap();
    assert!(at(pulled) < at(removed), "{}", done.stdout);
    assert!(!folder.join("config.json").exists());
    assert_eq!(fs::read(folder.join("notes.txt")).unwrap(), b"mine");
    home.run(&["ready", GEMMA]).assert_code(0);
    // Without it the folder can go, and the rest is nobody's.
    fs::remove_file(folder.join("notes.txt")).unwrap();
    home.run(&["doctor", "--fix", "--yes"]).assert_code(0);
    assert!(!folder.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_commit_is_pulled_once_and_what_it_fetches_is_known() {
    let home = pulled().await;
    spoil_weights(&home);
    branch_folder(&home);
    let commit = commit(&home);
    fs::write(repo(&home).join("refs/main"), format!("{commit}\n")).unwrap();
    let planned = home.run(&["doctor", "--fix", "--json"]);
    let document = planned.document(&DOCTOR);
    let pulls = steps(&document, "pull");
    assert_eq!(pulls.len(), 1, "{document:#}");
    assert_eq!(pulls[0]["revision"], commit);
    assert_eq!(pulls[0]["fetch_bytes"], gemma_weights().len());
    let told = home.run(&["doctor", "--fix"]);
    assert!(!told.stdout.contains("no listing tells"), "{}", told.stdout);
    assert!(told.stdout.contains("at most"), "{}", told.stdout);
    assert!(told.stderr.contains("--fix --yes"), "{}", told.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_were_put_aside_stay_until_the_right_ones_are_proven() {
    let home = pulled().await;
    let weights = spoil_weights(&home);
    let aside = weights.with_file_name(format!("{}.0123abcd.corrupt", gemma_weights_etag()));
    fs::write(&aside, gemma_weights()).unwrap();
    let offline = home.run(&["--offline", "doctor", "--fix", "--yes"]);
    assert_ne!(offline.code, Some(0));
    assert!(offline.stderr.contains("--fix"), "{}", offline.stderr);
    assert!(
        !offline.stderr.contains("asking http"),
        "{}",
        offline.stderr
    );
    assert_eq!(fs::read(&aside).unwrap(), gemma_weights());
    home.run(&["doctor", "--fix", "--yes"]).assert_code(0);
    assert!(!aside.exists());
    assert_all_visible_bytes_proven(&home.cache());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_of_corrupt_takes_what_was_put_aside_and_it_can_be_put_back() {
    let home = pulled().await;
    let name = format!("{}.0123abcd.corrupt", gemma_weights_etag());
    let aside = home.blobs().join(name);
    fs::write(&aside, "wrong").unwrap();
    let planned = home.run(&["purge", "--corrupt", "--dry-run"]);
    assert!(
        planned.stdout.contains(aside.to_str().unwrap()),
        "{planned:?}"
    );
    home.run(&["purge", "--corrupt", "--yes"]).assert_code(0);
    assert!(!aside.exists());
    home.run(&["ready", GEMMA]).assert_code(0);
    home.run(&["trash", "restore", "last"]).assert_code(0);
    assert_eq!(fs::read(&aside).unwrap(), b"wrong");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_called_main_is_not_the_ref_and_can_be_purged_alone() {
    let home = pulled().await;
    let folder = branch_folder(&home);
    let listed = home.run(&["ls"]);
    assert!(
        listed.stdout.contains("snapshots/main"),
        "{}",
        listed.stdout
    );
    let named = format!("{GEMMA}@snapshots/main");
    let rows = home.run(&["ls", &named, "--json"]).document(&LS);
    assert_eq!(rows["models"].as_array().unwrap().len(), 1, "{rows:#}");
    home.run(&["purge", &named, "--yes"]).assert_code(0);
    assert!(!folder.exists());
    home.run(&["ready", GEMMA]).assert_code(0);
    home.run(&["trash", "restore", "last"]).assert_code(0);
    home.run(&["purge", &format!("{GEMMA}@main"), "--yes"])
        .assert_code(0);
    assert!(folder.join("notes.txt").is_file());
    home.run(&["ready", GEMMA]).assert_code(3);
}

#[tokio::test(flavor = "multi_thread")]
async fn slips_and_refusals_name_the_next_call() {
    let home = pulled().await;
    let import = home.run(&["import", "nothing-here"]);
    import.assert_code(2);
    assert!(
        import.stderr.contains("there is no file or folder"),
        "{import:?}"
    );
    let restore = home.run(&["trash", "restore", "nope"]);
    assert!(restore.stderr.contains("`larder trash ls`"), "{restore:?}");
    fs::remove_dir_all(home.path().join(".local/state/larder")).unwrap();
    let ready = home.run(&["ready", GEMMA, "--verified"]);
    ready.assert_code(3);
    let next = format!("`larder verify {GEMMA}`");
    assert!(ready.stderr.contains(&next), "{}", ready.stderr);
    let offline = home.run(&["--offline", "pull", GEMMA]);
    offline.assert_code(0);
    assert!(!offline.stderr.contains("asking"), "{}", offline.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_plan_begins_with_its_sum_and_names_folders_that_go_whole() {
    let home = Home::new(catalogue::many(120), Vec::new()).await;
    let name = "someone/many";
    home.run(&["pull", name, "--all"]).assert_code(0);
    let short = home.run(&["purge", name, "--dry-run"]);
    short.assert_code(0);
    let lines: Vec<&str> = short.stdout.lines().collect();
    assert!(lines.len() < 20, "{}", short.stdout);
    assert!(lines[1].contains("into the trash"), "{}", short.stdout);
    assert!(lines[1].contains("-v shows each"), "{}", short.stdout);
    for folder in ["/blobs/ and", "/snapshots/", "/refs/ and"] {
        assert!(short.stdout.contains(folder), "{folder}: {}", short.stdout);
    }
    let full = home.run(&["-v", "purge", name, "--dry-run"]);
    assert!(full.stdout.lines().count() > 240, "{}", full.stdout);
    home.run(&["purge", name, "--yes"]).assert_code(0);
    // What is there again in the same way is not kept twice.
    home.run(&["pull", name, "--all"]).assert_code(0);
    let back = home.run(&["trash", "restore", "last"]);
    back.assert_code(0);
    let left = home.run(&["trash", "ls"]);
    assert!(left.stderr.contains("the trash is empty"), "{left:?}");
}
