//! Verifying everything: also blobs that no snapshot leads to, contents of the shared store that
//! nobody uses, and plain folders of which nothing says what they should be.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use jsonschema::Validator;
use larder::cli::{DOCTOR_SCHEMA, VERIFY_SCHEMA};
use larder::domain::{Bundle, Command, Outcome, Rule, Verification, VerifyTarget};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use crate::cli::validator;
use crate::elsewhere::{Machine, Seen, a_tick_later, make_old};
use crate::support::Scratch;
use crate::support::catalogue::{self, GEMMA};
use crate::support::program::Home;

static VERIFY: LazyLock<Validator> = LazyLock::new(|| validator(VERIFY_SCHEMA));
static DOCTOR: LazyLock<Validator> = LazyLock::new(|| validator(DOCTOR_SCHEMA));

fn sha256(content: &[u8]) -> String {
    hex::encode(Sha256::digest(content))
}

fn git_sha1(content: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(format!("blob {}\0", content.len()));
    hash.update(content);
    hex::encode(hash.finalize())
}

const fn all(is_deep: bool) -> Command {
    Command::Verify {
        targets: Vec::new(),
        is_deep,
    }
}

fn of(seen: &Seen, what: Bundle) -> Vec<&Verification> {
    let all = seen.verified.iter();
    all.filter(|one| one.what == what).collect()
}

/// A file that was there long before anybody looked.
fn old_file(path: &Path, content: &[u8]) -> PathBuf {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_hours(50);
    let file = File::options().write(true).open(path).unwrap();
    file.set_times(fs::FileTimes::new().set_modified(long_ago))
        .unwrap();
    path.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_that_no_snapshot_leads_to_are_proven_by_their_names_and_remembered() {
    let home = Home::new(catalogue::gemma(), Vec::new()).await;
    home.run(&["pull", GEMMA]).assert_code(0);
    let blobs = home.blobs();
    let right = old_file(&blobs.join(sha256(b"right")), b"right");
    let small = old_file(&blobs.join(git_sha1(b"{}")), b"{}");
    let before = home.run(&["doctor", "--json"]);
    before.assert_code(0);
    let document = before.document(&DOCTOR);
    let seen = document["findings"][0]["evidence"][0]["seen"].as_str();
    assert!(seen.unwrap().contains("not hashed yet"), "{document:#}");

    let wrong = old_file(&blobs.join(sha256(b"some other bytes")), b"wrong");
    let page = old_file(
        &blobs.join("ab".repeat(32)),
        b"<!DOCTYPE html><html>no</html>",
    );
    a_tick_later().await;
    let verified = home.run(&["verify", "--json"]);
    verified.assert_code(3);
    let document = verified.document(&VERIFY);
    assert_eq!(
        (&document["good"], &document["broken"]),
        (&1.into(), &1.into())
    );
    let orphans = &document["models"][1];
    assert_eq!(orphans["what"], "orphans", "{document:#}");
    assert_eq!(orphans["repo"], GEMMA);
    assert_eq!(orphans["snapshot"], blobs.to_str().unwrap());
    assert_eq!(
        (&orphans["files_good"], &orphans["files_total"]),
        (&2.into(), &4.into())
    );
    let rules: Vec<_> = orphans["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| {
            let step = &finding["plan"]["steps"][0];
            (
                finding["rule"].as_str().unwrap().to_owned(),
                finding["evidence"][0]["path"].as_str().unwrap().to_owned(),
                step["path"].as_str().unwrap_or_default().to_owned(),
            )
        })
        .collect();
    let place = |path: &Path| path.to_str().unwrap().to_owned();
    assert_eq!(
        rules,
        [
            ("wrong-hash".to_owned(), place(&wrong), place(&wrong)),
            ("error-page".to_owned(), place(&page), place(&page)),
        ]
    );
    // What is right is not read again; what is wrong is known without hashing.
    let again = home.run(&["verify", "--json"]);
    again.assert_code(3);
    assert_eq!(again.document(&VERIFY)["models"][1]["files_unread"], 2);
    let looked = home.run(&["doctor", "--json"]);
    looked.assert_code(3).assert_harmless();
    let document = looked.document(&DOCTOR);
    assert_eq!(document["errors"], 2, "{document:#}");
    let findings = document["findings"].as_array().unwrap();
    let orphan = findings.iter().find(|one| one["rule"] == "orphan-blob");
    let evidence = orphan.unwrap()["evidence"].as_array().unwrap();
    let told: Vec<&str> = evidence
        .iter()
        .map(|one| one["path"].as_str().unwrap())
        .collect();
    for path in [&right, &small] {
        assert!(told.contains(&path.to_str().unwrap()), "{document:#}");
    }
    assert_eq!(told.len(), 2, "what is wrong is told once: {document:#}");
    let is_proven = |one: &serde_json::Value| {
        let seen = one["seen"].as_str().unwrap();
        seen.contains("its bytes are proven")
    };
    assert!(evidence.iter().all(is_proven), "{document:#}");

    let table = home.run(&["verify", GEMMA]);
    table.assert_code(3);
    assert!(table.stdout.contains("orphans"), "{}", table.stdout);
    assert!(
        table.stdout.contains("not what the name says"),
        "{}",
        table.stdout
    );
    // One snapshot alone is not answered with the rest.
    home.run(&["verify", &format!("{GEMMA}@main")])
        .assert_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_of_a_download_that_was_interrupted_is_healed_by_pulling_it() {
    let home = Home::new(catalogue::gemma(), Vec::new()).await;
    home.run(&["pull", GEMMA]).assert_code(0);
    // All is there but the snapshot, and one byte is wrong.
    fs::remove_dir_all(home.blobs().parent().unwrap().join("snapshots")).unwrap();
    fs::remove_dir_all(home.blobs().parent().unwrap().join("refs")).unwrap();
    home.corrupt_weights();
    a_tick_later().await;
    let verified = home.run(&["verify", "--json"]);
    verified.assert_code(3);
    let document = verified.document(&VERIFY);
    let orphans = &document["models"][0];
    assert_eq!(orphans["what"], "orphans", "{document:#}");
    let finding = &orphans["findings"][0];
    assert_eq!(finding["rule"], "wrong-hash");
    assert_eq!(finding["plan"]["steps"][0]["step"], "pull", "{document:#}");
    home.run(&["doctor"]).assert_code(3);
    home.run(&["pull", GEMMA]).assert_code(0);
    home.run(&["verify"]).assert_code(0);
    home.run(&["doctor"]).assert_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_contents_that_nobody_uses_it_is_said_what_can_be_proven() {
    let mut machine = Machine::new().await;
    let state = Scratch::new();
    machine.set("XDG_STATE_HOME", state.path().to_str().unwrap());
    let hub = machine.home().join(".cache/huggingface/hub");
    machine.hub(&hub, GEMMA);
    let store = hub.join("blobs");
    fs::create_dir_all(&store).unwrap();
    fs::write(store.join(".huggingface-shared-blobs"), "1\n").unwrap();
    let payload = |hash: &str, content: &[u8], refs: &str| {
        let path = old_file(&store.join(&hash[..2]).join(hash), content);
        fs::write(format!("{}.refs", path.display()), refs).unwrap();
        path
    };
    let line = |content: &[u8]| format!("models--org--gone/blobs/{}\n", sha256(content));
    let hashes: Vec<String> = ["a1", "b2", "c3", "d4"].map(|two| two.repeat(32)).into();
    payload(&hashes[0], b"by manifest", &line(b"by manifest"));
    let wrong = payload(&hashes[1], b"wrong", &line(b"right"));
    payload(&hashes[2], b"by listing", "");
    payload(&hashes[3], b"who knows", "");
    let listing = format!(
        r#"{{"format_version": 1, "files": {{"w": {{"size": 10, "blob_id": "{}",
            "lfs_sha256": "{}", "lfs_size": 10, "xet_hash": "{}"}}}}}}"#,
        "1".repeat(40),
        sha256(b"by listing"),
        hashes[2]
    );
    let trees = hub.join("models--mlx-community--gemma-2-2b-it-4bit/trees");
    fs::create_dir_all(&trees).unwrap();
    fs::write(trees.join(format!("{}.json", "e".repeat(40))), listing).unwrap();
    a_tick_later().await;

    let seen = machine.ask(all(false)).await;
    assert_eq!(seen.outcome, Some(Outcome::Verified { good: 1, broken: 1 }));
    let [unused] = of(&seen, Bundle::SharedStore)[..] else {
        panic!("{:?}", seen.verified);
    };
    assert_eq!(unused.repo, None);
    assert_eq!(
        (unused.files_good, unused.files_total),
        (2, 4),
        "{unused:?}"
    );
    assert_eq!((unused.files_unknown, unused.files_hashed), (1, 1));
    assert!(
        unused
            .basis
            .iter()
            .any(|line| line.contains("hashes of Xet"))
    );
    let [finding] = &unused.findings[..] else {
        panic!("{unused:?}");
    };
    assert_eq!(finding.rule, Rule::WrongHash);
    assert_eq!(finding.evidence[0].path, wrong.to_str().unwrap());

    let looked = machine.survey().await;
    let [finding] = looked.of(Rule::UnusedPayload)[..] else {
        panic!("{:?}", looked.findings);
    };
    let words: Vec<&str> = finding
        .evidence
        .iter()
        .map(|one| one.seen.as_str())
        .collect();
    for (at, says) in [(0, "are proven"), (2, "hash of Xet's own")] {
        assert!(words[at].contains(says), "{words:?}");
    }
    // What is known to be wrong is no waste that may be good: a repair takes it away.
    let [finding] = looked.of(Rule::WrongHash)[..] else {
        panic!("{:?}", looked.findings);
    };
    assert_eq!(finding.evidence[0].path, wrong.to_str().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_folders_are_hashed_and_then_their_copies_are_found() {
    let mut machine = Machine::new().await;
    let state = Scratch::new();
    machine.set("XDG_STATE_HOME", state.path().to_str().unwrap());
    let studio = machine.home().join(".lmstudio/models/org/studio");
    let swama = machine.home().join(".swama/models/org/swama");
    for folder in [&studio, &swama] {
        machine.write(folder);
    }
    let count = machine.files.len();
    a_tick_later().await;
    let looked = machine.survey().await;
    assert!(
        looked.of(Rule::DuplicateModel).is_empty(),
        "nothing was hashed yet"
    );

    let seen = machine.ask(all(false)).await;
    assert_eq!(seen.outcome, Some(Outcome::Verified { good: 2, broken: 0 }));
    for folder in &seen.verified {
        assert_eq!(folder.what, Bundle::Folder);
        assert_eq!(
            (folder.files_good, folder.files_hashed),
            (0, count),
            "{folder:?}"
        );
        assert!(folder.basis[0].contains("nothing says what they should be"));
    }
    let looked = machine.survey().await;
    let [duplicate] = looked.of(Rule::DuplicateModel)[..] else {
        panic!("{:?}", looked.findings);
    };
    assert_eq!(duplicate.evidence.len(), 2);
    assert!(
        looked.model("org/studio").verified_ms.is_none(),
        "nothing says what it should be"
    );

    // Once the Hub cache has the model, its names say what the bytes are.
    let hub = machine.home().join(".cache/huggingface/hub");
    machine.hub(&hub, GEMMA);
    a_tick_later().await;
    let seen = machine.ask(all(false)).await;
    for folder in of(&seen, Bundle::Folder) {
        assert_eq!(
            (folder.files_good, folder.files_hashed),
            (count, 0),
            "{folder:?}"
        );
        assert_eq!(
            folder.basis,
            [format!(
                "{count} files: their bytes are those of {GEMMA} in the Hub cache"
            )]
        );
    }
    let again = machine.ask(all(false)).await;
    assert_eq!(
        again.to_hash,
        (0, 0),
        "what has not changed is not read again"
    );
    assert_eq!(of(&again, Bundle::Folder)[0].files_unread, count);
    let looked = machine.survey().await;
    assert_eq!(looked.of(Rule::DuplicateModel)[0].evidence.len(), 3);

    // A byte of one is another: it is a copy no more, and nothing says what it should be.
    let weights = studio.join("model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&weights, bytes).unwrap();
    a_tick_later().await;
    let seen = machine.ask(all(false)).await;
    assert_eq!(seen.to_hash.0, 1);
    let studio_now = of(&seen, Bundle::Folder)[0];
    assert_eq!(
        (studio_now.files_good, studio_now.files_hashed),
        (count - 1, 1)
    );
    let looked = machine.survey().await;
    assert_eq!(looked.of(Rule::DuplicateModel)[0].evidence.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_two_names_is_read_once_and_one_in_a_cloud_never() {
    let mut machine = Machine::new().await;
    let state = Scratch::new();
    machine.set("XDG_STATE_HOME", state.path().to_str().unwrap());
    let hub = machine.home().join(".cache/huggingface/hub");
    machine.hub(&hub, GEMMA);
    let (_, etag) = machine.files["model.safetensors"].clone();
    let blob = hub
        .join("models--mlx-community--gemma-2-2b-it-4bit/blobs")
        .join(&etag);
    let folder = machine.home().join(".lmstudio/models/org/linked");
    fs::create_dir_all(&folder).unwrap();
    fs::hard_link(&blob, folder.join("model.safetensors")).unwrap();
    fs::hard_link(&blob, folder.join("again.safetensors")).unwrap();
    let cloud = folder.join("cloud.safetensors");
    File::create(&cloud).unwrap().set_len(10_000_000).unwrap();
    make_old(&cloud);
    a_tick_later().await;
    let bytes: u64 = machine
        .files
        .values()
        .map(|(content, _)| content.len() as u64)
        .sum();
    let seen = machine.ask(all(false)).await;
    assert_eq!(seen.to_hash, (machine.files.len(), bytes));
    let linked = of(&seen, Bundle::Folder)[0];
    assert_eq!(
        (linked.files_good, linked.files_total),
        (2, 3),
        "{linked:?}"
    );
    assert_eq!((linked.files_unknown, linked.files_hashed), (1, 0));
    let looked = machine.survey().await;
    assert!(
        looked.of(Rule::DuplicateModel).is_empty(),
        "one file wastes nothing"
    );
    // Asked for by its name it is the same.
    let target = VerifyTarget {
        repo: linked.repo.clone().unwrap(),
        revision: None,
    };
    let targets = vec![target];
    let one = machine
        .ask(Command::Verify {
            targets,
            is_deep: true,
        })
        .await;
    assert_eq!(one.verified.len(), 1);
    assert_eq!(one.verified[0].files_hashed, 0, "{:?}", one.verified);
    assert_eq!(one.verified[0].files_good, 2);
}
