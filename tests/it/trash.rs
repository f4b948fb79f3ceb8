//! The real binary takes models and parts of them away, puts them back and frees them; killed at any
//! step, nothing good is lost, every reader can read what is there, and the next start finishes or
//! undoes what was begun.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use jsonschema::Validator;
use larder::cli::{PURGE_SCHEMA, TRASH_SCHEMA};
use larder::domain::{RepoId, RepoKind};
use larder::serve::{Catalogue, SourceFile};
use serde_json::Value;

use crate::cli::validator;
use crate::support::program::{Home, Ran};
use crate::support::{files_below, wrong_bytes};

static PURGE: LazyLock<Validator> = LazyLock::new(|| validator(PURGE_SCHEMA));
static TRASH: LazyLock<Validator> = LazyLock::new(|| validator(TRASH_SCHEMA));

pub(crate) const MODEL: &str = "someone/model";
pub(crate) const OTHER: &str = "someone/other";
const DAY: Duration = Duration::from_hours(24);

/// Two models; the first in two commits that share a file.
fn catalogue() -> Catalogue {
    // Weights of one tensor.
    let lfs = |path: &str, text: &str| {
        let data = text.repeat(2_000).into_bytes();
        let length = data.len();
        let header = format!(
            "{{\"w\":{{\"dtype\":\"U8\",\"shape\":[{length}],\"data_offsets\":[0,{length}]}}}}"
        );
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.into_bytes());
        bytes.extend(data);
        SourceFile::lfs(path, larder::serve::Content::Memory(bytes.into()))
    };
    let mut catalogue = Catalogue::new();
    let repo = catalogue.repo(&RepoId::new(RepoKind::Model, MODEL).unwrap());
    let old = repo.commit(vec![
        SourceFile::git("config.json", "{\"model_type\": \"llama\"}"),
        SourceFile::git("sub dir/deep.json", "{\"version\": 1}"),
        lfs("model.safetensors", "old"),
    ]);
    let new = repo.commit(vec![
        SourceFile::git("config.json", "{\"model_type\": \"llama\"}"),
        SourceFile::git("sub dir/deep.json", "{\"version\": 2}"),
        lfs("model.safetensors", "new"),
    ]);
    repo.branch("v1", old).branch("main", new);
    let other = catalogue.repo(&RepoId::new(RepoKind::Model, OTHER).unwrap());
    let commit = other.commit(vec![
        SourceFile::git("config.json", "{\"model_type\": \"llama\"}"),
        lfs("model.safetensors", "other"),
    ]);
    other.branch("main", commit);
    catalogue
}

pub(crate) async fn stocked() -> Home {
    let home = Home::new(catalogue(), Vec::new()).await;
    for (repo, revision) in [(MODEL, "v1"), (MODEL, "main"), (OTHER, "main")] {
        let words = ["pull", repo, "--revision", revision, "--all"];
        home.run(&words).assert_code(0);
    }
    home
}

pub(crate) fn folder(home: &Home, repo: &str) -> PathBuf {
    let name = format!("models--{}", repo.replace('/', "--"));
    home.cache().join(name)
}

/// What lies below a folder: of files and links inode and time.
pub(crate) fn tree(folder: &Path) -> BTreeMap<PathBuf, (u64, i64, i64)> {
    if !folder.exists() {
        return BTreeMap::new();
    }
    let files = files_below(folder).into_iter();
    files
        .map(|path| {
            let found = path.symlink_metadata().unwrap();
            let below = path.strip_prefix(folder).unwrap().to_owned();
            (below, (found.ino(), found.mtime(), found.mtime_nsec()))
        })
        .collect()
}

/// What Python's `scan_cache_dir` would warn of, by its rules (hub.md 2.3, 2.8, 0.1).
pub(crate) fn python_warnings(cache: &Path) -> Vec<String> {
    let mut warnings = Vec::new();
    for entry in fs::read_dir(cache).into_iter().flatten() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if [".locks", "CACHEDIR.TAG"].contains(&&*name) {
            continue;
        }
        if !name.contains("--") || !path.is_dir() {
            warnings.push(format!("{name} is no repo"));
            continue;
        }
        if !path.join("snapshots").is_dir() {
            warnings.push(format!("{name} has no snapshots"));
        }
        for file in files_below_if_there(&path.join("snapshots")) {
            if !file.exists() {
                warnings.push(format!("{} leads nowhere", file.display()));
            }
        }
        for reference in files_below_if_there(&path.join("refs")) {
            let commit = fs::read_to_string(&reference).unwrap();
            if !path.join("snapshots").join(&commit).is_dir() {
                warnings.push(format!("{} names nothing", reference.display()));
            }
        }
    }
    warnings
}

fn files_below_if_there(folder: &Path) -> Vec<PathBuf> {
    if folder.is_dir() {
        files_below(folder)
    } else {
        Vec::new()
    }
}

#[track_caller]
fn assert_readable(home: &Home, when: &str) {
    let warnings = python_warnings(&home.cache());
    assert!(warnings.is_empty(), "{when}: {warnings:?}");
    let wrong = wrong_bytes(&home.cache());
    assert!(wrong.is_empty(), "{when}: {wrong:?}");
}

fn purged(ran: &Ran) -> Value {
    ran.document(&PURGE)
}

fn entries(home: &Home) -> Vec<Value> {
    let listed = home.run(&["trash", "ls", "--json"]);
    listed.assert_code(0);
    let document = listed.document(&TRASH);
    document["entries"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_goes_into_the_trash_and_comes_back_as_it_was() {
    let home = stocked().await;
    let before = tree(&home.cache());
    let refused = home.run(&["purge", MODEL]);
    refused.assert_code(2);
    assert!(refused.stdout.contains("refs/main"), "{}", refused.stdout);
    home.run(&["purge", MODEL, "--json"]).assert_code(2);
    home.run(&["purge", MODEL, "--dry-run"]).assert_code(0);
    assert_eq!(tree(&home.cache()), before);

    let done = home.run(&["purge", MODEL, "--yes", "--json"]);
    done.assert_code(0);
    let document = purged(&done);
    assert_eq!(document["freed_bytes"], 0);
    assert!(document["moved_bytes"].as_u64().unwrap() > 12_000);
    assert!(!folder(&home, MODEL).exists());
    let locks = |repo: &str| {
        home.cache()
            .join(".locks")
            .join(folder(&home, repo).file_name().unwrap())
    };
    assert!(!locks(MODEL).exists() && locks(OTHER).exists());
    let named = document["discards"][0]["locks"].as_array().unwrap();
    let removed = document["removed"].as_array().unwrap();
    assert!(!named.is_empty() && named.iter().all(|path| removed.contains(path)));
    assert_readable(&home, "purged");
    home.run(&["ready", MODEL]).assert_code(3);
    home.run(&["ready", OTHER]).assert_code(0);

    let rows = entries(&home);
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["repo"], MODEL);
    assert!(Path::new(rows[0]["path"].as_str().unwrap()).is_dir());
    let unknown = home.run(&["trash", "restore", "nothing"]);
    unknown.assert_code(3);
    assert!(
        unknown.stderr.contains("larder trash ls"),
        "{}",
        unknown.stderr
    );
    let back = home.run(&["trash", "restore", "last", "--json"]);
    back.assert_code(0);
    back.document(&TRASH);
    // Locks are made again when somebody needs one.
    let after = tree(&home.cache());
    let is_lock = |path: &Path| path.starts_with(".locks/models--someone--model");
    assert!(
        before
            .iter()
            .all(|(path, seen)| after.get(path) == Some(seen) || is_lock(path))
    );
    home.run(&["ready", MODEL]).assert_code(0);
    home.run(&["verify"]).assert_code(0);
    assert!(entries(&home).is_empty());
    home.run(&["trash", "restore", "last"]).assert_code(3);
}

#[tokio::test(flavor = "multi_thread")]
async fn now_and_empty_free_the_bytes() {
    let home = stocked().await;
    let own = folder(&home, MODEL).join(".larder/aside");
    fs::create_dir_all(&own).unwrap();
    fs::write(own.join("kept"), "what stood in the place of a pointer").unwrap();
    let done = home.run(&["purge", MODEL, "--now", "--yes"]);
    done.assert_code(0);
    assert!(done.stdout.contains("freed") && !done.stdout.contains("trash"));
    // Whatever larder kept there has gone with it, and that is said.
    let closing = done.stdout.lines().last().unwrap();
    assert!(
        closing.contains("that larder kept about the model and") && closing.contains("lock files"),
        "{closing}"
    );
    assert!(!folder(&home, MODEL).exists() && entries(&home).is_empty());
    home.run(&["purge", OTHER, "--yes"]).assert_code(0);
    let trash = home.cache().parent().unwrap().join(".larder-trash");
    assert_eq!(entries(&home).len(), 1);
    home.run(&["trash", "empty"]).assert_code(2);
    home.run(&["trash", "empty", "--older-than", "1d", "--yes"])
        .assert_code(0);
    assert_eq!(entries(&home).len(), 1, "it is not so old");
    home.run(&["trash", "empty", "--dry-run"]).assert_code(0);
    assert_eq!(entries(&home).len(), 1);
    let freed = home.run(&["trash", "empty", "--yes", "--json"]);
    freed.assert_code(0);
    assert!(freed.document(&TRASH)["freed_bytes"].as_u64().unwrap() > 10_000);
    let left: BTreeSet<_> = files_below(&trash)
        .iter()
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(left.iter().collect::<Vec<_>>(), [".lock", "CACHEDIR.TAG"]);
    home.run(&["--read-only", "trash", "empty", "--yes"])
        .assert_code(2);
    home.run(&["--read-only", "trash"]).assert_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_revision_goes_and_the_other_still_loads() {
    let home = stocked().await;
    let before = tree(&folder(&home, MODEL));
    home.run(&["purge", &format!("{MODEL}@nothing"), "--yes"])
        .assert_code(3);
    let done = home.run(&["purge", &format!("{MODEL}@v1"), "--yes", "--json"]);
    done.assert_code(0);
    assert_eq!(purged(&done)["discards"][0]["kind"], "revisions");
    assert_readable(&home, "purged");
    home.run(&["ready", MODEL]).assert_code(0);
    home.run(&["verify", MODEL]).assert_code(0);
    home.run(&["ready", MODEL, "--revision", "v1"])
        .assert_code(3);
    home.run(&["trash", "restore", "last"]).assert_code(0);
    home.run(&["ready", MODEL, "--revision", "v1"])
        .assert_code(0);
    let after = tree(&folder(&home, MODEL));
    assert!(
        before
            .iter()
            .all(|(path, seen)| after.get(path) == Some(seen))
    );
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(
    not(target_os = "linux"),
    ignore = "a Mac's volume does not tell when files were last read"
)]
async fn only_what_no_ref_names_or_nobody_used_is_selected() {
    let home = stocked().await;
    let none = home.run(&["purge", "--unreferenced", "--yes", "--json"]);
    none.assert_code(0);
    assert_eq!(purged(&none)["discards"].as_array().unwrap().len(), 0);
    fs::remove_file(folder(&home, MODEL).join("refs/v1")).unwrap();
    let planned = home.run(&["purge", "--unreferenced", "--dry-run", "--json"]);
    let document = purged(&planned);
    assert_eq!(document["discards"][0]["reason"], "unreferenced");
    assert_eq!(document["discards"].as_array().unwrap().len(), 1);
    // With an age as well, it narrows.
    let narrow = [
        "purge",
        "--unreferenced",
        "--older-than",
        "30d",
        "--json",
        "--dry-run",
    ];
    let none = purged(&home.run(&narrow));
    assert_eq!(none["discards"].as_array().unwrap().len(), 0);
    // The other model was not used for long.
    for file in files_below(&folder(&home, OTHER).join("blobs")) {
        let old = SystemTime::now() - 40 * DAY;
        let times = fs::FileTimes::new().set_accessed(old).set_modified(old);
        fs::File::open(&file).unwrap().set_times(times).unwrap();
    }
    let old = ["purge", "--older-than", "30d", "--yes", "--json"];
    let document = purged(&home.run(&old));
    let discards = document["discards"].as_array().unwrap();
    assert_eq!(discards.len(), 1, "{document}");
    assert_eq!(discards[0]["repo"], OTHER);
    assert!(!folder(&home, OTHER).exists() && folder(&home, MODEL).exists());
    let done = home.run(&["purge", "--unreferenced", "--yes"]);
    done.assert_code(0);
    assert_readable(&home, "purged");
    home.run(&["ready", MODEL]).assert_code(0);
    assert_eq!(entries(&home).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_blob_that_nothing_leads_to_is_left_by_a_repair_and_goes_by_the_command_that_is_named()
 {
    let home = stocked().await;
    let blobs = folder(&home, MODEL).join("blobs");
    let put = |text: &str, age: Duration| {
        let blob = blobs.join(crate::support::zoo::sha256(text.as_bytes()));
        fs::write(&blob, text).unwrap();
        let file = fs::File::options().write(true).open(&blob).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
        blob
    };
    let orphan = put("of a snapshot that is gone", 2 * DAY);
    let fresh = put("its pointer comes soon", DAY / 2);
    let before = tree(&folder(&home, MODEL));
    let told = home.run(&["doctor"]);
    let call = format!("larder purge --unreferenced {MODEL}");
    let words = told.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains(&format!("`{call}`")), "{words}");
    let fixed = home.run(&["doctor", "--fix", "--yes"]);
    assert!(orphan.is_file(), "{}", fixed.stdout);
    let left = fixed
        .stdout
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    assert!(
        left.contains("its bytes may be good") && left.contains(&call),
        "{left}"
    );
    let mut words: Vec<&str> = call.split(' ').skip(1).collect();
    let planned = home.run(&[&words[..], &["--dry-run"]].concat());
    assert!(
        planned.stdout.contains(orphan.to_str().unwrap()),
        "{planned:?}"
    );
    assert!(
        !planned.stdout.contains(fresh.to_str().unwrap()),
        "{planned:?}"
    );
    words.extend(["--yes", "--json"]);
    let done = home.run(&words);
    done.assert_code(0);
    let document = purged(&done);
    let discards = document["discards"].as_array().unwrap();
    assert_eq!(discards.len(), 1, "{document:#}");
    assert_eq!(
        (&discards[0]["kind"], &discards[0]["reason"]),
        (&"orphans".into(), &"orphaned".into())
    );
    assert!(!orphan.exists() && fresh.is_file());
    assert_readable(&home, "purged");
    home.run(&["verify", MODEL]).assert_code(0);
    home.run(&["trash"]).assert_code(0);
    home.run(&["trash", "restore", "last"]).assert_code(0);
    assert_eq!(tree(&folder(&home, MODEL)), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bytes_go_with_their_pointers() {
    let home = stocked().await;
    let blob = largest(&folder(&home, OTHER));
    let mut bytes = fs::read(&blob).unwrap();
    bytes[7] ^= 1;
    fs::write(&blob, bytes).unwrap();
    home.run(&["verify"]).assert_code(3);
    let planned = purged(&home.run(&["purge", "--corrupt", "--dry-run", "--json"]));
    assert_eq!(planned["discards"].as_array().unwrap().len(), 1);
    let done = home.run(&["purge", "--corrupt", "--yes"]);
    done.assert_code(0);
    assert!(!done.stdout.contains("puts it back"), "{}", done.stdout);
    let pull = format!("`larder pull {OTHER}");
    assert!(done.stdout.contains(&pull), "{}", done.stdout);
    assert!(!blob.exists());
    assert_readable(&home, "purged");
    let back = home.run(&["trash", "restore", "last"]);
    back.assert_code(2);
    assert!(
        back.stderr.contains("not those of its name"),
        "{}",
        back.stderr
    );
    assert!(
        back.stderr.contains("`larder trash empty") && !back.stderr.contains("--yes"),
        "{}",
        back.stderr
    );
    assert_readable(&home, "not put back");
    home.run(&["pull", OTHER]).assert_code(0);
    home.run(&["verify"]).assert_code(0);
    let none = purged(&home.run(&["purge", "--corrupt", "--yes", "--json"]));
    assert_eq!(none["discards"].as_array().unwrap().len(), 0);
}

fn largest(repo: &Path) -> PathBuf {
    let mut blobs = files_below(&repo.join("blobs"));
    blobs.sort_by_key(|blob| blob.metadata().unwrap().len());
    blobs.pop().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_writes_stays_and_they_are_named() {
    let home = stocked().await;
    let etag = largest(&folder(&home, MODEL));
    let name = etag.file_name().unwrap().to_string_lossy().into_owned();
    let lock = home
        .cache()
        .join(".locks/models--someone--model")
        .join(format!("{name}.lock"));
    let file = fs::File::open(&lock).unwrap();
    file.lock().unwrap();
    let before = tree(&folder(&home, MODEL));
    let refused = home.run(&["purge", MODEL, "--yes"]);
    refused.assert_code(4);
    assert!(refused.stderr.contains("holds"), "{}", refused.stderr);
    assert_eq!(tree(&folder(&home, MODEL)), before);
    drop(file);
    home.run(&["purge", MODEL, "--yes"]).assert_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_pulled_again_stays() {
    let home = stocked().await;
    home.run(&["purge", MODEL, "--yes"]).assert_code(0);
    home.run(&["pull", MODEL]).assert_code(0);
    let present = tree(&folder(&home, MODEL));
    // Another thing has the place of one of the refs.
    let v1 = folder(&home, MODEL).join("refs/v1");
    fs::copy(folder(&home, MODEL).join("refs/main"), &v1).unwrap();
    let back = home.run(&["trash", "restore", "last"]);
    back.assert_code(0);
    assert!(back.stdout.contains("that stays"), "{}", back.stdout);
    fs::remove_file(v1).unwrap();
    home.run(&["pull", MODEL, "--revision", "v1"])
        .assert_code(0);
    let after = tree(&folder(&home, MODEL));
    assert!(
        present
            .iter()
            .all(|(path, seen)| after.get(path) == Some(seen))
    );
    assert_readable(&home, "put back");
    for revision in ["main", "v1"] {
        home.run(&["ready", MODEL, "--revision", revision])
            .assert_code(0);
    }
    home.run(&["verify"]).assert_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_changed_in_the_trash_stay_there_and_are_said() {
    let home = stocked().await;
    home.run(&["purge", OTHER, "--yes"]).assert_code(0);
    let entry = PathBuf::from(entries(&home)[0]["path"].as_str().unwrap());
    let blob = largest(&entry.join("content/models--someone--other"));
    let mut bytes = fs::read(&blob).unwrap();
    bytes[900] ^= 1;
    fs::write(&blob, bytes).unwrap();
    let back = home.run(&["trash", "restore", "last"]);
    back.assert_code(3);
    assert!(back.stdout.contains("not those of its name"), "{back:?}");
    assert_readable(&home, "put back");
    assert!(blob.is_file());
    let lacking = home.run(&["verify"]);
    lacking.assert_code(3);
    assert!(lacking.stdout.contains("is missing"), "{lacking:?}");
    home.run(&["pull", OTHER]).assert_code(0);
    home.run(&["ready", OTHER]).assert_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_caches_purge_is_shown_and_neither_freed_nor_put_back() {
    let home = stocked().await;
    let second = home.cache().with_file_name("hub2");
    copy_all(
        &folder(&home, OTHER),
        &second.join("models--someone--other"),
    );
    let second = second.to_str().unwrap();
    let purge = ["--cache-dir", second, "purge", OTHER, "--yes"];
    home.run(&purge).assert_code(0);
    let rows = entries(&home);
    assert_eq!(rows.len(), 1, "`ls` shows it");
    let shown = home.run(&["trash", "ls"]);
    assert!(shown.stdout.contains(second), "{}", shown.stdout);
    assert!(shown.stdout.contains(rows[0]["path"].as_str().unwrap()));
    home.run(&["trash", "empty", "--yes"]).assert_code(0);
    home.run(&["trash", "restore", "last"]).assert_code(3);
    assert_eq!(entries(&home).len(), 1);
    home.run(&["--cache-dir", second, "trash", "restore", "last"])
        .assert_code(0);
    assert!(entries(&home).is_empty());
}

pub(crate) fn copy_all(from: &Path, to: &Path) {
    for path in files_below(from) {
        let place = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        if path.is_symlink() {
            symlink(fs::read_link(&path).unwrap(), place).unwrap();
        } else {
            let found = path.metadata().unwrap();
            fs::copy(&path, &place).unwrap();
            let times = fs::FileTimes::new()
                .set_accessed(found.accessed().unwrap())
                .set_modified(found.modified().unwrap());
            fs::File::options()
                .write(true)
                .open(&place)
                .and_then(|file| file.set_times(times))
                .unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(
    not(target_os = "linux"),
    ignore = "a Mac's volume does not tell when files were last read"
)]
async fn the_policy_takes_what_the_settings_allow_and_is_off_by_default() {
    let home = stocked().await;
    let old = SystemTime::now() - 40 * DAY;
    for file in files_below(&folder(&home, OTHER).join("blobs")) {
        let times = fs::FileTimes::new().set_accessed(old).set_modified(old);
        fs::File::open(&file).unwrap().set_times(times).unwrap();
    }
    let partial = folder(&home, MODEL)
        .join("blobs")
        .join(format!("{}.1a2b3c4d.incomplete", "07".repeat(32)));
    fs::write(&partial, "half").unwrap();
    let file = fs::File::options().write(true).open(&partial).unwrap();
    file.set_modified(old).unwrap();
    let off = home.run(&["purge", "--policy", "--yes", "--json"]);
    off.assert_code(0);
    assert_eq!(purged(&off)["removed"].as_array().unwrap().len(), 0);
    assert!(partial.exists() && folder(&home, OTHER).exists());
    home.run(&["purge", "--policy", MODEL]).assert_code(2);
    let config = home.path().join(".config/larder/config.toml");
    fs::write(
        &config,
        "policy_partials_days = 30\npolicy_unused_days = 30\n",
    )
    .unwrap();
    home.run(&["purge", "--policy"]).assert_code(2);
    let on = home.run(&["purge", "--policy", "--yes"]);
    on.assert_code(0);
    assert!(!partial.exists() && !folder(&home, OTHER).exists());
    assert!(folder(&home, MODEL).exists());
    assert_eq!(entries(&home).len(), 1, "the model can be put back");
    fs::write(&config, "policy_trash_days = 0\n").unwrap();
    home.run(&["purge", "--policy", "--yes"]).assert_code(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lay_in_the_trash_for_its_days_is_freed_by_what_writes_next() {
    let home = stocked().await;
    home.run(&["purge", OTHER, "--yes"]).assert_code(0);
    home.run(&["status"]).assert_code(0);
    assert_eq!(entries(&home).len(), 1);
    let config = home.path().join(".config/larder/config.toml");
    fs::write(config, "trash_days = 0\n").unwrap();
    home.run(&["status"]).assert_code(0);
    assert_eq!(entries(&home).len(), 1, "a look frees nothing");
    home.run(&["trash", "restore", "last"]).assert_code(0);
    assert!(
        folder(&home, OTHER).exists(),
        "what is wanted back comes back"
    );
    home.run(&["purge", OTHER, "--yes"]).assert_code(0);
    let next = home.run(&["pull", MODEL]);
    next.assert_code(0);
    assert!(next.stderr.contains("was freed"), "{}", next.stderr);
    assert!(entries(&home).is_empty());
}

/// Recipes of the guide: they are read as cron and launchd read them, and what they call works.
#[tokio::test(flavor = "multi_thread")]
async fn the_recipes_of_the_guide_run() {
    let guide = include_str!("../../assets/guides/unattended.md");
    let home = stocked().await;
    let binary = Path::new(env!("CARGO_BIN_EXE_larder"));
    let run = |words: Vec<String>| {
        let words: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
        home.run(&words).assert_code(0);
    };
    let blocks: Vec<&str> = guide.split("```").skip(1).step_by(2).collect();
    let block = |kind: &str| {
        let found = blocks.iter().find_map(|block| block.strip_prefix(kind));
        found.unwrap_or_else(|| panic!("no {kind}")).trim()
    };
    let settings = block("toml\n");
    fs::write(home.path().join(".config/larder/config.toml"), settings).unwrap();
    let cron = block("crontab\n");
    let fields: Vec<&str> = cron.splitn(6, ' ').collect();
    for field in &fields[..5] {
        assert!(*field == "*" || field.parse::<u8>().is_ok(), "{cron}");
    }
    assert!(!fields[5].contains('%'), "cron ends a command there");
    let command = fields[5].split(" >>").next().unwrap();
    assert!(command.starts_with('/') && command.contains("larder purge --policy --yes"));
    run(command.split(' ').map(str::to_owned).collect());
    let plist = block("xml\n");
    let arguments = plist.split("<key>ProgramArguments</key>").nth(1).unwrap();
    let arguments = arguments.split("</array>").next().unwrap();
    let words: Vec<String> = arguments
        .split("<string>")
        .skip(1)
        .map(|part| part.split("</string>").next().unwrap().to_owned())
        .collect();
    assert_eq!(
        words[0].rsplit('/').next(),
        binary.file_name().unwrap().to_str()
    );
    run(words);
    for (open, close) in [
        ("<dict>", "</dict>"),
        ("<array>", "</array>"),
        ("<string>", "</string>"),
    ] {
        assert_eq!(plist.matches(open).count(), plist.matches(close).count());
    }
}

#[cfg(target_os = "linux")]
mod killed {
    use super::*;
    use crate::support::program::finish;
    use crate::support::seam::{Fault, Seam, Step, tell};

    /// What is cut off.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Work {
        PurgeModel,
        PurgeRevision,
        PurgeNow,
        Restore,
        Empty,
    }

    impl Work {
        const ALL: [Self; 5] = [
            Self::PurgeModel,
            Self::PurgeRevision,
            Self::PurgeNow,
            Self::Restore,
            Self::Empty,
        ];

        fn words(self) -> Vec<String> {
            let line = match self {
                Self::PurgeModel => format!("purge {MODEL} --yes"),
                Self::PurgeRevision => format!("purge {MODEL}@v1 --yes"),
                Self::PurgeNow => format!("purge {MODEL} --now --yes"),
                Self::Restore => "trash restore last".to_owned(),
                Self::Empty => "trash empty --yes".to_owned(),
            };
            line.split(' ').map(str::to_owned).collect()
        }

        /// What has to be done before.
        fn prepare(self, home: &Home) {
            if matches!(self, Self::Restore | Self::Empty) {
                let revision = format!("{MODEL}@v1");
                home.run(&["purge", &revision, "--yes"]).assert_code(0);
            }
        }
    }

    fn seam(home: &Home) -> Seam {
        Seam::at(
            home.cache().parent().unwrap(),
            &home.path().join("seam.log"),
        )
    }

    /// Puts the cache back as it was.
    fn reset(home: &Home, stock: &Path) {
        let huggingface = home.cache().parent().unwrap().to_owned();
        fs::remove_dir_all(&huggingface).unwrap();
        copy_all(stock, &huggingface);
    }

    /// Names of contents that lie somewhere, whole.
    fn contents(home: &Home) -> BTreeSet<String> {
        let files = files_below(home.cache().parent().unwrap()).into_iter();
        files
            .filter(|path| path.parent().unwrap().ends_with("blobs"))
            .filter(|path| !path.iter().any(|part| part == ".locks"))
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .collect()
    }

    /// Paths with what stands there.
    fn shape(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let files = files_below_if_there(folder).into_iter();
        files
            .filter(|path| !path.ends_with(".larder/trash/.lock"))
            .map(|path| {
                let held = match fs::read_link(&path) {
                    Ok(target) => target.into_os_string().into_encoded_bytes(),
                    Err(_) => fs::read(&path).unwrap(),
                };
                (path.strip_prefix(folder).unwrap().to_owned(), held)
            })
            .collect()
    }

    /// Sixty seeded moments, over everything that moves or frees: the process dies before or after
    /// that step.
    #[tokio::test(flavor = "multi_thread")]
    async fn nothing_good_is_lost_and_the_next_start_goes_on() {
        const MOMENTS: usize = 60;

        let home = stocked().await;
        let stock = home.path().join("stock");
        copy_all(home.cache().parent().unwrap(), &stock);
        let mut moments: Vec<(Work, Step, Fault)> = Vec::new();
        for work in Work::ALL {
            reset(&home, &stock);
            work.prepare(&home);
            let seam = seam(&home);
            let mut command = home.larder(&work.words());
            seam.before(&mut command);
            finish(&mut command).assert_code(0);
            for step in seam.log().steps() {
                moments.push((work, step.clone(), Fault::KillBefore));
                moments.push((work, step, Fault::KillAfter));
            }
        }
        let all = moments.len();
        fastrand::Rng::with_seed(7).shuffle(&mut moments);
        if !crate::seam::is_long() {
            moments.truncate(MOMENTS);
        }
        let (mut reached, mut undone, mut finished) = (0, 0, 0);
        for (work, step, fault) in &moments {
            let what = format!("{work:?} {fault:?} {} {}", step.name, step.nth);
            reset(&home, &stock);
            let original = shape(&folder(&home, MODEL));
            let everything = contents(&home);
            work.prepare(&home);
            let begun = shape(&folder(&home, MODEL));
            let locks = shape(&home.cache().join(".locks"));
            let seam = seam(&home).with(step, *fault);
            let mut command = home.larder(&work.words());
            seam.before(&mut command);
            let died = finish(&mut command).code.is_none();
            reached += usize::from(died);
            assert_readable(&home, &what);
            let frees = matches!(work, Work::PurgeNow | Work::Empty);
            assert!(frees || contents(&home) == everything, "{what}: lost");
            // Of the locks only some of the model's are gone, if any.
            let left = shape(&home.cache().join(".locks"));
            for path in locks.keys().filter(|path| !left.contains_key(*path)) {
                assert!(
                    path.starts_with("models--someone--model"),
                    "{what}: {path:?}"
                );
            }
            // A look changes nothing, whatever it finds.
            let before_look = shape(home.cache().parent().unwrap());
            home.run(&["status"]).assert_code(0);
            let is_cut_off = entries(&home).iter().any(|row| !row["cut_off"].is_null());
            let told = home.run(&["doctor"]).stdout.contains("was cut off");
            assert_eq!(told, is_cut_off, "{what}");
            assert_eq!(shape(home.cache().parent().unwrap()), before_look, "{what}");
            // Whatever writes next goes on with it.
            home.run(&["pull", OTHER, "--all"]).assert_code(0);
            assert_readable(&home, &what);
            let rows = entries(&home);
            assert!(rows.iter().all(|row| row["cut_off"].is_null()), "{what}");
            assert!(frees || contents(&home) == everything, "{what}: lost");
            let now = shape(&folder(&home, MODEL));
            match (work, rows.len()) {
                (Work::PurgeModel | Work::PurgeRevision | Work::PurgeNow, 0)
                    if !folder(&home, MODEL).exists() =>
                {
                    assert_eq!(*work, Work::PurgeNow, "{what}");
                    finished += 1;
                }
                (Work::PurgeModel | Work::PurgeRevision | Work::PurgeNow, 0) => {
                    assert_eq!(now, original, "{what}: half of it");
                    undone += 1;
                }
                (Work::Restore, 0) => {
                    assert_eq!(now, original, "{what}");
                    finished += 1;
                }
                (Work::Empty, 0) => {
                    assert_eq!(now, begun, "{what}: freeing touched the cache");
                    finished += 1;
                }
                (_, 1) => {
                    home.run(&["trash", "restore", "last"]).assert_code(0);
                    assert_eq!(shape(&folder(&home, MODEL)), original, "{what}");
                    assert_eq!(contents(&home), everything, "{what}");
                    finished += 1;
                }
                (_, more) => panic!("{what}: {more} entries"),
            }
            assert_readable(&home, &what);
            home.run(&["ready", OTHER]).assert_code(0);
        }
        tell(&format!(
            "{reached} of {} kills reached, of {all} moments: {undone} undone, {finished} finished",
            moments.len()
        ));
        assert!(reached * 10 >= moments.len() * 9, "{reached}");
        assert!(undone > 0 && finished > 0, "{undone} {finished}");
    }
}
