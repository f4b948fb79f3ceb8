//! `larder import`: files that are on this machine already become a cache that every tool reads; each
//! that is not what it seems is named with why; what is offered stays as it is.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::LazyLock;

use jsonschema::Validator;
use larder::cli::IMPORT_SCHEMA;
use larder::domain::{RepoId, RepoKind};
use larder::serve::{Effect, Fault, Matcher, Origin};
use serde_json::Value;

use crate::cli::validator;
use crate::support::catalogue::{GEMMA, gemma, gemma_weights, push_gemma_update, same_content};
use crate::support::program::{Home, Running, finish, wait_until};
use crate::support::{assert_all_visible_bytes_proven, body_bytes, files_below};

pub(crate) static IMPORT: LazyLock<Validator> = LazyLock::new(|| validator(IMPORT_SCHEMA));

/// Every file of a model in a folder, as somebody might have downloaded it.
pub(crate) fn files_of(catalogue: &larder::serve::Catalogue, name: &str, folder: &Path) {
    let repo = RepoId::new(RepoKind::Model, name).unwrap();
    for (path, _, content) in catalogue.get(&repo).unwrap().files("main") {
        let path = folder.join(&path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content.bytes()).unwrap();
    }
}

/// What a folder holds, and when each file was changed.
fn as_it_is(folder: &Path) -> BTreeMap<PathBuf, (Vec<u8>, i64, u64)> {
    let files = files_below(folder).into_iter();
    files
        .map(|path| {
            let found = path.symlink_metadata().unwrap();
            let bytes = fs::read(&path).unwrap_or_default();
            (path, (bytes, found.mtime_nsec(), found.ino()))
        })
        .collect()
}

/// A home and a folder with the files of [`GEMMA`].
async fn with_folder() -> (Home, PathBuf) {
    let home = Home::new(gemma(), Vec::new()).await;
    let folder = home.path().join("Downloads");
    files_of(&gemma(), GEMMA, &folder);
    (home, folder)
}

fn offer<'a>(document: &'a Value, name: &str) -> &'a Value {
    let offers = document["offers"].as_array().unwrap();
    let ends = |offer: &&Value| offer["path"].as_str().unwrap().ends_with(name);
    offers
        .iter()
        .find(ends)
        .unwrap_or_else(|| panic!("no {name} in {document:#}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_becomes_a_model_whatever_its_files_are_called() {
    let (home, folder) = with_folder().await;
    fs::rename(
        folder.join("model.safetensors"),
        folder.join("model (1).safetensors"),
    )
    .unwrap();
    fs::rename(
        folder.join("sub dir/ünï#1.json"),
        folder.join("nested.json"),
    )
    .unwrap();
    fs::write(folder.join("holiday.jpg"), "not of this repo").unwrap();
    let before = as_it_is(&folder);
    let ran = home.run(&["import", "Downloads", "--repo", GEMMA]);
    ran.assert_code(0);
    let snapshot = PathBuf::from(ran.stdout.trim_end());
    assert!(snapshot.join("sub dir/ünï#1.json").is_file(), "{ran:?}");
    assert_eq!(as_it_is(&folder), before, "what is offered is only read");
    assert_eq!(body_bytes(&home.hub), 0, "no content came over the network");
    assert_all_visible_bytes_proven(&home.cache());
    for blob in fs::read_dir(home.blobs()).unwrap() {
        let blob = blob.unwrap().metadata().unwrap();
        assert_eq!(blob.nlink(), 1, "never the same inode as somebody's file");
    }
    home.run(&["ready", GEMMA, "--verified"]).assert_code(0);
    home.run(&["--offline", "pull", GEMMA]).assert_code(0);
    let doctor = home.run(&["doctor", "--strict"]);
    doctor.assert_code(0);
    // Again: everything is said to be there.
    let again = home.run(&["--json", "import", "Downloads", "--repo", GEMMA]);
    let document = again.document(&IMPORT);
    assert_eq!(offer(&document, "config.json")["kind"], "here");
    assert_eq!(document["imported_files"], 0);
    assert_eq!(document["is_complete"], true);
    let history = home.run(&["history"]);
    assert!(history.stdout.contains("import"), "{history:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_file_that_is_not_what_it_seems_is_named_with_why() {
    let (home, folder) = with_folder().await;
    let weights = folder.join("model.safetensors");
    let good = fs::read(&weights).unwrap();
    fs::write(&weights, &good[..1_500_000]).unwrap();
    fs::write(folder.join("config.json"), "<!DOCTYPE html><p>Log in first").unwrap();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 200000\n";
    fs::write(folder.join("tokenizer.json"), pointer).unwrap();
    let tokens = fs::read(folder.join("special_tokens_map.json")).unwrap();
    let other = String::from_utf8(tokens).unwrap().replace("<s>", "<t>");
    fs::write(folder.join("special_tokens_map.json"), other).unwrap();
    let mut longer = fs::read(folder.join("tokenizer_config.json")).unwrap();
    longer.push(b'\n');
    fs::write(folder.join("tokenizer_config.json"), longer).unwrap();
    fs::write(home.path().join("outside"), "x").unwrap();
    symlink(home.path().join("outside"), folder.join("link.json")).unwrap();
    symlink("gone", folder.join("dangling.json")).unwrap();
    fs::write(folder.join("holiday.jpg"), "not of this repo").unwrap();
    let words = ["import", "Downloads", "--repo", GEMMA];
    let planned = home.run(&[&["--json"], &words[..], &["--dry-run"]].concat());
    planned.assert_code(0);
    let document = planned.document(&IMPORT);
    for (name, kind) in [
        ("model.safetensors", "truncated"),
        ("config.json", "error-page"),
        ("tokenizer.json", "lfs-pointer"),
        ("special_tokens_map.json", "wrong-hash"),
        ("tokenizer_config.json", "too-long"),
        ("link.json", "outside"),
        ("dangling.json", "unreadable"),
        ("holiday.jpg", "foreign"),
        ("README.md", "wanted"),
    ] {
        assert_eq!(offer(&document, name)["kind"], kind, "{name}");
    }
    assert_eq!(
        offer(&document, "model.safetensors")["expected_bytes"],
        2_000_000
    );
    assert!(!home.blobs().exists(), "a dry run writes nothing");
    let shown = home.run(&[&words[..], &["--dry-run"]].concat());
    for word in [
        "its download broke off",
        "LFS pointer",
        "web page",
        "would still be missing",
    ] {
        assert!(shown.stdout.contains(word), "{word}: {shown:?}");
    }
    // What is right is taken in, and what is missing is said with the way to get it.
    let ran = home.run(&words);
    ran.assert_code(3);
    for word in [
        "incomplete: the model is not complete",
        "`model.safetensors`, 2 MB",
        "larder pull",
    ] {
        assert!(ran.stderr.contains(word), "{word}: {ran:?}");
    }
    assert_eq!(ran.stdout, "", "no path to a model that is not complete");
    assert_all_visible_bytes_proven(&home.cache());
    let refs = home.blobs().parent().unwrap().join("refs");
    assert!(!refs.join("main").exists(), "no ref to half a model");
    home.hub.clear_requests();
    home.run(&["pull", GEMMA]).assert_code(0);
    home.run(&["verify"]).assert_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn swapped_names_do_not_matter_and_only_the_rest_is_fetched() {
    let (home, folder) = with_folder().await;
    let (one, other) = (folder.join("config.json"), folder.join("tokenizer.json"));
    let swap = folder.join("swap");
    fs::rename(&one, &swap).unwrap();
    fs::rename(&other, &one).unwrap();
    fs::rename(&swap, &other).unwrap();
    fs::remove_file(folder.join("special_tokens_map.json")).unwrap();
    let ran = home.run(&["--json", "import", "Downloads", "--repo", GEMMA]);
    ran.assert_code(3);
    let document = ran.document(&IMPORT);
    assert_eq!(document["missing"][0]["path"], "special_tokens_map.json");
    assert_eq!(document["missing"].as_array().unwrap().len(), 1);
    assert_eq!(
        offer(&document, "config.json")["files"][0],
        "tokenizer.json"
    );
    body_bytes(&home.hub);
    home.run(&["pull", GEMMA]).assert_code(0);
    assert_eq!(body_bytes(&home.hub), 20, "only what was missing");
    assert_all_visible_bytes_proven(&home.cache());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_path_with_one_content_gets_its_pointer_from_one_file() {
    let home = Home::new(same_content(), Vec::new()).await;
    fs::write(home.path().join("whatever"), "{}").unwrap();
    let ran = home.run(&["--json", "import", "whatever", "--repo", "someone/same"]);
    ran.assert_code(0);
    let document = ran.document(&IMPORT);
    let snapshot = PathBuf::from(document["snapshot"].as_str().unwrap());
    for path in ["a.json", "b.json", "c/d/e.json"] {
        assert_eq!(fs::read(snapshot.join(path)).unwrap(), b"{}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_the_repo_is_a_failure_that_says_so() {
    let (home, folder) = with_folder().await;
    let ran = home.run(&[
        "import",
        "Downloads/README.md",
        "--repo",
        "someone/gguf-only",
    ]);
    ran.assert_code(3);
    assert!(
        ran.stderr
            .contains("the file that was offered is not one of"),
        "{ran:?}"
    );
    fs::write(folder.join("model.safetensors"), "short").unwrap();
    let ran = home.run(&["import", "Downloads/model.safetensors", "--repo", GEMMA]);
    ran.assert_code(3);
    assert!(ran.stderr.contains("its download broke off"), "{ran:?}");
    let ran = home.run(&["import", "Nowhere", "--repo", GEMMA]);
    assert_ne!(ran.code, Some(0));
    assert!(ran.stderr.contains("Nowhere"), "{ran:?}");
    assert!(!home.cache().exists(), "nothing was written");
    home.run(&["--read-only", "import", "Downloads", "--repo", GEMMA])
        .assert_code(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_of_other_apps_and_caches_name_their_repo() {
    let home = Home::new(gemma(), Vec::new()).await;
    let models = home.path().join("lm/models");
    files_of(&gemma(), GEMMA, &models.join(GEMMA));
    home.run(&["import", "lm/models"]).assert_code(0);
    home.run(&["ready", GEMMA]).assert_code(0);
    // A folder whose name says nothing: what is known here says it.
    let plain = home.path().join("plain");
    files_of(&gemma(), GEMMA, &plain);
    home.run(&["import", "plain"]).assert_code(0);
    // The real files of `snapshots/main`, as an old app left them, in another cache.
    let left = home
        .path()
        .join("old/models--someone--gemma-fork/snapshots/main");
    files_of(&gemma(), "someone/gemma-fork", &left);
    let named = left.to_str().unwrap();
    home.run(&["import", named]).assert_code(0);
    home.run(&["ready", "someone/gemma-fork"]).assert_code(0);
    assert_all_visible_bytes_proven(&home.cache());
    // A whole cache folder, whose links stay inside of it.
    let moved = home.path().join("stick");
    fs::create_dir(&moved).unwrap();
    let folder = "models--mlx-community--gemma-2-2b-it-4bit";
    fs::rename(home.cache().join(folder), moved.join(folder)).unwrap();
    let ran = home.run(&["--json", "import", moved.join(folder).to_str().unwrap()]);
    ran.assert_code(0);
    let document = ran.document(&IMPORT);
    assert_eq!(document["repo"], GEMMA);
    // And where nothing is known, it has to be said.
    fs::remove_dir_all(home.cache()).unwrap();
    fs::remove_dir_all(home.path().join(".local/state/larder")).unwrap();
    let ran = home.run(&["import", "plain"]);
    ran.assert_code(2);
    assert!(ran.stderr.contains("--repo ORG/NAME"), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_repos_that_are_as_likely_are_named_and_none_is_chosen() {
    let (home, folder) = with_folder().await;
    for repo in [GEMMA, "someone/gemma-fork"] {
        home.run(&["pull", repo]).assert_code(0);
    }
    // Both hold these; the fork holds one file more.
    let ran = home.run(&["import", "Downloads"]);
    ran.assert_code(2);
    assert!(ran.stderr.contains("as well of"), "{ran:?}");
    fs::write(folder.join("generation_config.json"), "{\"fork\": true}").unwrap();
    let ran = home.run(&["--json", "import", "Downloads"]);
    assert_eq!(ran.document(&IMPORT)["repo"], "someone/gemma-fork");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_network_what_is_known_is_enough() {
    let (home, _) = with_folder().await;
    let ran = home.run(&["--offline", "import", "Downloads", "--repo", GEMMA]);
    ran.assert_code(5);
    assert!(ran.stderr.contains("not known here"), "{ran:?}");
    home.run(&["pull", GEMMA]).assert_code(0);
    // The listing outlives the cache in the ledger.
    fs::remove_dir_all(home.cache()).unwrap();
    home.hub.clear_requests();
    let ran = home.run(&[
        "--offline",
        "--json",
        "import",
        "Downloads",
        "--repo",
        GEMMA,
    ]);
    ran.assert_code(0);
    assert_eq!(ran.document(&IMPORT)["is_offline"], true);
    assert!(home.hub.requests().is_empty());
    home.run(&["--offline", "pull", GEMMA]).assert_code(0);
    assert_all_visible_bytes_proven(&home.cache());
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_an_older_commit_are_taken_as_what_they_are() {
    let (home, _) = with_folder().await;
    let repo = RepoId::new(RepoKind::Model, GEMMA).unwrap();
    let commit = gemma().get(&repo).unwrap().commit_of("main").unwrap();
    push_gemma_update(&home.hub);
    let commit = commit.to_string();
    let words = ["--json", "import", "Downloads", "--repo", GEMMA];
    // At today's `main` one of them is another.
    home.run(&words).assert_code(3);
    let ran = home.run(&[&words[..], &["--commit", &commit]].concat());
    ran.assert_code(0);
    let document = ran.document(&IMPORT);
    assert_eq!(document["commit"], commit.as_str());
    assert_eq!(document["reference"]["kind"], "moved", "there was none");
    home.run(&["pull", GEMMA]).assert_code(0);
    let main = home.blobs().parent().unwrap().join("refs/main");
    let now = fs::read_to_string(&main).unwrap();
    assert_ne!(now, commit);
    // Once more: a ref that names a newer commit is not turned back.
    let ran = home.run(&[&words[..], &["--commit", &commit]].concat());
    ran.assert_code(0);
    assert_eq!(ran.document(&IMPORT)["reference"]["kind"], "kept");
    assert_eq!(fs::read_to_string(&main).unwrap(), now);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_blob_is_healed_by_the_right_file() {
    let (home, _) = with_folder().await;
    home.run(&["pull", GEMMA]).assert_code(0);
    let weights = home
        .blobs()
        .join(crate::support::catalogue::gemma_weights_etag());
    let mut bytes = fs::read(&weights).unwrap();
    bytes[1_000_000] ^= 1;
    fs::write(&weights, bytes).unwrap();
    home.hub.clear_requests();
    let ran = home.run(&["--json", "import", "Downloads", "--repo", GEMMA]);
    ran.assert_code(0);
    let document = ran.document(&IMPORT);
    assert_eq!(document["healed"][0]["kind"], "wrong-hash");
    assert!(document["healed"][0]["set_aside"].is_null());
    assert_eq!(fs::read(&weights).unwrap(), gemma_weights());
    let blobs = fs::read_dir(home.blobs()).unwrap();
    let mut names = blobs.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(
        !names.any(|name| name.ends_with(".corrupt")),
        "the right ones are proven"
    );
    assert_eq!(body_bytes(&home.hub), 0);
    assert_all_visible_bytes_proven(&home.cache());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_the_right_length_and_the_wrong_content_is_found_when_it_is_copied() {
    let (home, folder) = with_folder().await;
    let weights = folder.join("model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    bytes[1_999_999] ^= 1;
    fs::write(&weights, bytes).unwrap();
    let ran = home.run(&["--json", "import", "Downloads", "--repo", GEMMA]);
    ran.assert_code(3);
    let document = ran.document(&IMPORT);
    // Its length alone made it worth trying; the copy told.
    assert_eq!(offer(&document, "model.safetensors")["is_hashed"], false);
    assert_eq!(document["refused"][0]["kind"], "wrong-hash");
    assert_eq!(document["missing"][0]["path"], "model.safetensors");
    assert_all_visible_bytes_proven(&home.cache());
    let left = fs::read_dir(home.blobs()).unwrap();
    assert_eq!(left.count(), 7, "nothing of the copy is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_beside_a_pull_of_the_same_model_ends_as_well() {
    let slow = Matcher::path("model.safetensors").origin(Origin::Cdn);
    let faults = vec![Fault::new(
        slow,
        Effect::Slow {
            bytes_per_s: 1_000_000,
        },
    )];
    let home = Home::new(gemma(), faults).await;
    let folder = home.path().join("Downloads");
    files_of(&gemma(), GEMMA, &folder);
    let mut pull = home.larder(&["pull", GEMMA]);
    let pull = pull.stdout(Stdio::null()).stderr(Stdio::null());
    let mut pull = Running(pull.spawn().unwrap());
    home.wait_for_partial(1);
    let ran = home.run(&["import", "Downloads", "--repo", GEMMA]);
    ran.assert_code(0);
    assert_eq!(pull.wait().code(), Some(0));
    assert_all_visible_bytes_proven(&home.cache());
    home.run(&["doctor", "--strict"]).assert_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_stopped_keeps_what_it_took_and_ends_with_its_document() {
    let (home, folder) = with_folder().await;
    // Held by nobody who would let go: the import waits for it until it is stopped.
    let locks = home
        .cache()
        .join(".locks/models--mlx-community--gemma-2-2b-it-4bit");
    fs::create_dir_all(&locks).unwrap();
    let etag = crate::support::catalogue::gemma_weights_etag();
    let lock = fs::File::create(locks.join(format!("{etag}.lock"))).unwrap();
    lock.lock().unwrap();
    let mut import = home.larder(&["--json", "import", "Downloads", "--repo", GEMMA]);
    let (ended, ending) = std::sync::mpsc::channel();
    let child = std::thread::spawn(move || {
        let mut child = import
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        ended.send(child.id()).unwrap();
        let mut stdout = String::new();
        std::io::Read::read_to_string(&mut child.stdout.take().unwrap(), &mut stdout).unwrap();
        (child.wait().unwrap().code(), stdout)
    });
    let pid = ending.recv().unwrap();
    wait_until("the small files", || {
        fs::read_dir(home.blobs()).is_ok_and(|blobs| {
            let names = blobs.map(|blob| blob.unwrap().file_name());
            names
                .filter(|name| !name.to_string_lossy().contains('.'))
                .count()
                == 7
        })
    });
    finish(std::process::Command::new("kill").args(["-INT", &pid.to_string()]));
    let (code, stdout) = child.join().unwrap();
    assert_eq!(code, Some(130), "{stdout}");
    let document: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(document["failure_code"], "cancelled");
    drop(lock);
    let before = as_it_is(&folder);
    home.run(&["import", "Downloads", "--repo", GEMMA])
        .assert_code(0);
    assert_eq!(as_it_is(&folder), before);
    assert_all_visible_bytes_proven(&home.cache());
}

/// How long an import of 1.3 GB takes, beside `cp` and `sha256sum` of the same file.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "it measures, and writes 4 GB"]
async fn measure_an_import_of_a_large_model() {
    use std::time::Instant;

    use larder::serve::{Catalogue, Content, SourceFile};

    const BYTES: u64 = 1_300_000_000;
    let repo = RepoId::new(RepoKind::Model, "someone/large").unwrap();
    let mut catalogue = Catalogue::new();
    let content = Content::Generated {
        seed: 4,
        len: BYTES,
    };
    let entry = catalogue.repo(&repo);
    let commit = entry.commit(vec![
        SourceFile::git("config.json", "{\"model_type\": \"llama\"}"),
        SourceFile::lfs("model.safetensors", content.clone()),
    ]);
    entry.branch("main", commit);
    let home = Home::new(catalogue, Vec::new()).await;
    let folder = home.path().join("Downloads");
    fs::create_dir(&folder).unwrap();
    let weights = folder.join("model.safetensors");
    fs::write(&weights, content.bytes()).unwrap();
    fs::write(folder.join("config.json"), "{\"model_type\": \"llama\"}").unwrap();
    let took = |what: &str, work: &mut dyn FnMut()| {
        let began = Instant::now();
        work();
        let seconds = began.elapsed().as_secs_f64();
        let rate = BYTES as f64 / seconds / 1e6;
        crate::support::report(&format!("{what}: {seconds:.2} s, {rate:.0} MB/s"));
    };
    let sync = |path: &Path| fs::File::open(path).unwrap().sync_all().unwrap();
    sync(&weights);
    took("cp and sync", &mut || {
        let copy = home.path().join("copy");
        fs::copy(&weights, &copy).unwrap();
        sync(&copy);
        fs::remove_file(copy).unwrap();
    });
    took("sha256sum", &mut || {
        let mut sum = std::process::Command::new("sha256sum");
        finish(sum.arg(&weights)).assert_code(0);
    });
    took("larder import", &mut || {
        home.run(&["import", "Downloads", "--repo", "someone/large"])
            .assert_code(0);
    });
    took("larder import again", &mut || {
        home.run(&["import", "Downloads", "--repo", "someone/large"])
            .assert_code(0);
    });
    fs::remove_dir_all(home.cache()).unwrap();
    took("larder import --dry-run", &mut || {
        home.run(&[
            "import",
            "Downloads",
            "--repo",
            "someone/large",
            "--dry-run",
        ])
        .assert_code(0);
    });
}
