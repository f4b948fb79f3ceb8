//! The real binary as a doctor: findings in full, every lock, and what is said of a repo that is not
//! here.

use std::fs;
use std::sync::LazyLock;

use jsonschema::Validator;
use larder::cli::{DOCTOR_SCHEMA, LOCKS_SCHEMA, LS_SCHEMA};
use larder::serve::{Effect, Fault, Matcher};

use crate::cli::validator;
use crate::support::catalogue;
use crate::support::catalogue::GEMMA;
use crate::support::program::Home;

static DOCTOR: LazyLock<Validator> = LazyLock::new(|| validator(DOCTOR_SCHEMA));
static LOCKS: LazyLock<Validator> = LazyLock::new(|| validator(LOCKS_SCHEMA));
static LS: LazyLock<Validator> = LazyLock::new(|| validator(LS_SCHEMA));

async fn stocked_home() -> Home {
    let home = Home::new(catalogue::gemma(), Vec::new()).await;
    home.run(&["pull", GEMMA]).assert_code(0);
    home
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_cache_is_a_line_and_a_broken_one_is_explained_without_the_network() {
    let empty = Home::new(catalogue::gemma(), Vec::new()).await;
    let nothing = empty.run(&["doctor"]);
    nothing.assert_code(0);
    assert_eq!(
        nothing.stdout,
        "nothing is wrong: there is no model here yet\n"
    );
    assert!(!empty.cache().exists(), "a look makes nothing");

    let home = stocked_home().await;
    home.hub.clear_requests();
    let healthy = home.run(&["doctor", "--strict"]);
    healthy.assert_code(0).assert_harmless();
    assert_eq!(healthy.stdout.lines().count(), 1, "{}", healthy.stdout);
    assert!(healthy.stdout.contains("1 snapshot"), "{}", healthy.stdout);

    let partial = home.abandon_partial();
    let wasted = home.run(&["doctor"]);
    wasted.assert_code(0);
    for words in [
        "warning abandoned-partial",
        partial.to_str().unwrap(),
        "cause ",
        "plan ",
        "run ",
    ] {
        assert!(wasted.stdout.contains(words), "{words}: {}", wasted.stdout);
    }
    home.run(&["doctor", "--strict"]).assert_code(3);
    home.run(&["doctor", "--strict", "--rule", "truncated"])
        .assert_code(0);

    let weights = home.blobs().join(catalogue::gemma_weights_etag());
    fs::remove_file(weights).unwrap();
    let broken = home.run(&["doctor", &format!("{GEMMA}@main"), "--json"]);
    broken.assert_code(3);
    let document = broken.document(&DOCTOR);
    assert_eq!(document["failure_code"], "findings");
    assert_eq!(document["findings"][0]["rule"], "dangling-pointer");
    assert_eq!(document["findings"][0]["plan"]["steps"][0]["step"], "pull");
    assert_eq!(document["warnings"], 1, "{document:#}");
    assert_eq!(document["reclaimable_bytes"], 5_000);
    home.run(&["doctor", "--events"]).lines(&DOCTOR);
    assert!(home.hub.requests().is_empty());
}

/// A model of which no listing is left, and which lacks a file that no other file of it names.
async fn unlisted_home() -> Home {
    let home = stocked_home().await;
    let repo = home.blobs().parent().unwrap().to_owned();
    for folder in [repo.join("trees"), repo.join(".larder/trees")] {
        if folder.exists() {
            fs::remove_dir_all(folder).unwrap();
        }
    }
    fs::remove_dir_all(home.path().join(".local/state/larder")).unwrap();
    let snapshot = fs::read_dir(repo.join("snapshots")).unwrap();
    let snapshot = snapshot.flatten().next().unwrap().path();
    let pointer = snapshot.join("special_tokens_map.json");
    fs::remove_file(pointer.canonicalize().unwrap()).unwrap();
    fs::remove_file(pointer).unwrap();
    home.hub.clear_requests();
    home
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_listing_here_says_the_hub_is_asked_once_if_that_is_wanted() {
    let home = unlisted_home().await;
    let own = home.run(&["ls", "--json"]).document(&LS);
    assert_eq!(own["models"][0]["basis"], "own-files", "{own:#}");
    home.run(&["doctor", "--rule", "missing-files", "--strict"])
        .assert_code(0);
    assert!(home.hub.requests().is_empty());

    for command in [&["verify", "--online"][..], &["verify"]] {
        let told = home.run(command);
        assert!(
            told.stdout.contains("special_tokens_map.json"),
            "{command:?}: {}{}",
            told.stdout,
            told.stderr
        );
    }
    let asked = home.hub.requests().len();
    assert!(asked > 0);
    let missing = home.run(&["doctor", "--online", "--rule", "missing-files", "--json"]);
    let document = missing.document(&DOCTOR);
    assert_eq!(document["warnings"], 1, "{document:#}");
    assert_eq!(
        home.hub.requests().len(),
        asked,
        "what is known is not asked for again"
    );
    let listed = home.run(&["ls", "--json"]).document(&LS);
    assert_eq!(listed["models"][0]["basis"], "listing", "{listed:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_cannot_be_asked_is_a_failure_and_a_repo_that_is_gone_is_a_note() {
    let home = unlisted_home().await;
    home.run(&["doctor", "--online", "--offline"])
        .assert_code(2);
    home.hub.set_faults(vec![Fault::new(
        Matcher::api(),
        Effect::Status { code: 404 },
    )]);
    let gone = home.run(&["doctor", "--online"]);
    gone.assert_code(0);
    assert!(gone.stderr.contains("its own files"), "{}", gone.stderr);
    let nobody = ["--endpoint", "http://127.0.0.1:1", "doctor", "--online"];
    home.run(&nobody).assert_code(5);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bytes_are_found_by_a_doctor_that_hashes_first() {
    let home = stocked_home().await;
    home.corrupt_weights();
    let hashed = home.run(&["doctor", GEMMA, "--verify", "--json"]);
    hashed.assert_code(3);
    let document = hashed.document(&DOCTOR);
    assert_eq!(
        document["findings"][0]["rule"], "wrong-hash",
        "{document:#}"
    );
    assert_eq!(
        document["errors"], 1,
        "seen by hashing and by looking, it is one"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repo_that_is_not_here_is_said_with_what_is() {
    let home = stocked_home().await;
    let near = "mlx-community/gemma-2-2b-it";
    for words in [
        &["status", near][..],
        &["status", near, "--check"],
        &["doctor", near],
        &["doctor", near, GEMMA],
        &["locks", near],
        &["verify", near],
        &["ls", near],
        &["purge", "--incomplete", near, "--yes"],
    ] {
        let absent = home.run(words);
        absent.assert_code(3);
        assert_eq!(absent.stdout, "", "{words:?}");
        assert!(
            absent.stderr.contains("is not in the cache"),
            "{}",
            absent.stderr
        );
        assert!(
            absent.stderr.contains(&format!("in the cache are {GEMMA}")),
            "{}",
            absent.stderr
        );
    }
    let elsewhere = home.run(&["doctor", &format!("{GEMMA}@v9")]);
    elsewhere.assert_code(3);
    assert!(
        elsewhere.stderr.contains("not at `v9`"),
        "{}",
        elsewhere.stderr
    );

    // A download that was begun is there, and has nothing to verify.
    let half = home.cache().join("models--org--half/blobs");
    fs::create_dir_all(&half).unwrap();
    fs::rename(
        home.abandon_partial(),
        half.join(format!("{}.incomplete", "07".repeat(32))),
    )
    .unwrap();
    let verified = home.run(&["verify", "org/half"]);
    verified.assert_code(3);
    assert!(
        verified.stderr.contains("has no snapshot in the cache yet"),
        "{}",
        verified.stderr
    );
    home.run(&["status", "org/half"]).assert_code(0);
    home.run(&["doctor", "org/half"]).assert_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_are_told_and_left_as_they_are() {
    let home = stocked_home().await;
    let folder = home.cache().join(".locks/models--org--gone");
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join(format!("{}.lock", "ab".repeat(20)));
    let file = fs::File::create(&path).unwrap();
    file.try_lock().unwrap();
    let locks = home.run(&["locks"]);
    locks.assert_code(0).assert_harmless();
    assert!(
        locks.stdout.contains(path.to_str().unwrap()),
        "{}",
        locks.stdout
    );
    assert!(locks.stdout.contains("1 held"), "{}", locks.stdout);
    let document = home.run(&["locks", "org/gone", "--json"]).document(&LOCKS);
    assert_eq!(document["locks"][0]["state"], "held");
    assert_eq!(document["held"], 1);
    home.run(&["locks", "--events"]).lines(&LOCKS);
    drop(file);
    let free = home.run(&["locks", "org/gone"]);
    assert!(free.stdout.starts_with("free "), "{}", free.stdout);
    assert!(path.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn ls_filters_by_what_larder_alone_knows_and_shows_every_link() {
    let home = stocked_home().await;
    for (filter, count) in [
        ("state=complete", 1),
        ("state=broken", 0),
        ("cache=hub", 1),
        ("cache=folder", 0),
        ("verified>1d", 0),
    ] {
        let document = home
            .run(&["ls", "--filter", filter, "--json"])
            .document(&LS);
        let models = document["models"].as_array().unwrap();
        assert_eq!(models.len(), count, "{filter}");
    }
    let wrong = home.run(&["ls", "--filter", "colour=red"]);
    wrong.assert_code(2);
    assert!(
        wrong.stderr.contains("verified and cache"),
        "{}",
        wrong.stderr
    );
    let document = home
        .run(&["ls", GEMMA, "--limit", "1", "--json"])
        .document(&LS);
    let files = document["models"][0]["files"].as_array().unwrap();
    let blob = |file: &serde_json::Value| {
        let link = file["links"][0].as_str().unwrap().to_owned();
        link.ends_with(file["etag"].as_str().unwrap())
    };
    assert!(
        files
            .iter()
            .filter(|file| file["state"] != "absent")
            .all(blob)
    );
}

/// The folder of pointers of the model in the cache.
fn snapshot_of(home: &Home) -> std::path::PathBuf {
    let snapshots = home.blobs().parent().unwrap().join("snapshots");
    let mut folders = fs::read_dir(snapshots).unwrap().flatten();
    folders.next().unwrap().path()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pointer_that_is_gone_is_nothing_to_fetch_whoever_is_asked() {
    let home = stocked_home().await;
    fs::remove_file(snapshot_of(&home).join("model.safetensors")).unwrap();
    let doctor = home.run(&["doctor", "--json"]).document(&DOCTOR);
    assert_eq!(doctor["fetch_bytes"], 0, "{doctor:#}");
    let listed = home.run(&["ls", GEMMA]);
    assert!(
        listed.stdout.contains("its blob is here, nothing to fetch"),
        "{}",
        listed.stdout
    );
    assert!(!listed.stdout.contains("MB to fetch"), "{}", listed.stdout);
    let files = home.run(&["ls", GEMMA, "--json"]).document(&LS);
    let files = files["models"][0]["files"].as_array().unwrap().clone();
    let weights = files
        .iter()
        .find(|file| file["path"] == "model.safetensors");
    let weights = weights.unwrap();
    assert_eq!(weights["state"], "absent");
    assert_eq!(weights["size_bytes"], weights["expected_bytes"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bytes_that_were_found_are_said_with_their_age_and_not_that_nobody_looked() {
    let home = stocked_home().await;
    let weights = home.blobs().join(catalogue::gemma_weights_etag());
    let mut bytes = fs::read(&weights).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&weights, bytes).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(200));
    home.run(&["verify"]).assert_code(3);
    let table = home.run(&["ls"]).stdout;
    assert!(table.contains("wrong, just now"), "{table}");
    let files = home.run(&["ls", GEMMA]).stdout;
    assert!(files.contains("wrong bytes found just now"), "{files}");
    assert!(!files.contains("broken, unverified"), "{files}");
    let doctor = home.run(&["doctor"]).stdout;
    assert!(doctor.contains("wrong bytes found just now"), "{doctor}");
    assert!(!doctor.contains("not verified"), "{doctor}");
    let document = home.run(&["ls", "--json"]).document(&LS);
    assert!(
        document["models"][0]["found_wrong_at"].is_string(),
        "{document:#}"
    );
    // The pull that heals it leaves nothing beside it, and nothing to be said.
    home.run(&["pull", GEMMA]).assert_code(0);
    let document = home.run(&["ls", "--json"]).document(&LS);
    assert!(document["models"][0]["found_wrong_at"].is_null());
    let healed = home.run(&["doctor", "--strict"]);
    healed.assert_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ref_that_leads_nowhere_is_told_as_that_and_pages_are_those_of_the_hub_that_was_asked() {
    let home = stocked_home().await;
    let main = home.blobs().parent().unwrap().join("refs/main");
    fs::write(&main, "d".repeat(40)).unwrap();
    let ready = home.run(&["ready", GEMMA]);
    ready.assert_code(3);
    assert!(
        ready.stderr.contains("is not in the cache at `main`"),
        "{}",
        ready.stderr
    );
    assert!(
        ready.stderr.contains("no snapshot of what `main` names"),
        "{}",
        ready.stderr
    );
    assert!(!ready.stderr.contains("files"), "{}", ready.stderr);
    let absent = home.run(&["pull", "no/such"]);
    absent.assert_code(6);
    let page = format!("{}/no/such", home.hub.endpoint().trim_end_matches('/'));
    assert!(absent.stderr.contains(&page), "{}", absent.stderr);
    assert!(
        !absent.stderr.contains("huggingface.co"),
        "{}",
        absent.stderr
    );
}
