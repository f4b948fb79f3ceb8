//! The real binary about a whole cache: what it sees, proves, takes away and reports.

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use jsonschema::Validator;
use larder::cli::{PURGE_SCHEMA, REPORT_SCHEMA, STATUS_SCHEMA, VERIFY_SCHEMA};

use crate::cli::validator;
use crate::support::catalogue;
use crate::support::catalogue::GEMMA;
use crate::support::program::Home;

static STATUS: LazyLock<Validator> = LazyLock::new(|| validator(STATUS_SCHEMA));
pub(crate) static VERIFY: LazyLock<Validator> = LazyLock::new(|| validator(VERIFY_SCHEMA));
static PURGE: LazyLock<Validator> = LazyLock::new(|| validator(PURGE_SCHEMA));
static REPORT: LazyLock<Validator> = LazyLock::new(|| validator(REPORT_SCHEMA));

/// In the environment of a report, and never in it.
const TOKEN: &str = "hf_token_never_shown_0123456789";

async fn stocked_home() -> Home {
    let home = Home::new(catalogue::gemma(), Vec::new()).await;
    home.run(&["pull", GEMMA]).assert_code(0);
    home
}

impl Home {
    /// Leaves an unfinished blob behind, as a download that died a day ago.
    pub(crate) fn abandon_partial(&self) -> PathBuf {
        let path = self
            .blobs()
            .join(format!("{}.1a2b3c4d.incomplete", "07".repeat(32)));
        let file = fs::File::create(&path).unwrap();
        file.set_len(5_000).unwrap();
        let yesterday = std::time::SystemTime::now() - std::time::Duration::from_hours(24);
        file.set_modified(yesterday).unwrap();
        path
    }

    /// Flips a byte of the weights; the length stays.
    pub(crate) fn corrupt_weights(&self) {
        let path = self.blobs().join(catalogue::gemma_weights_etag());
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        let mut permissions = fs::metadata(&path).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o644);
        fs::set_permissions(&path, permissions).unwrap();
        fs::write(&path, bytes).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn status_is_one_screen_and_check_is_3_for_what_matters() {
    let home = Home::new(catalogue::gemma(), Vec::new()).await;
    let empty = home.run(&["status", "--check", "--strict", "--json"]);
    empty.assert_code(0);
    assert_eq!(empty.document(&STATUS)["models"]["count"], 0);
    assert!(!home.cache().exists(), "a look makes nothing");

    home.run(&["pull", GEMMA]).assert_code(0);
    let healthy = home.run(&["status"]);
    healthy.assert_code(0).assert_harmless();
    for words in ["cache ", "disk ", "network ", "1 complete", "default"] {
        assert!(
            healthy.stdout.contains(words),
            "{words}: {}",
            healthy.stdout
        );
    }
    assert!(healthy.stdout.lines().count() <= 24);
    home.run(&["status", "--check", "--strict"]).assert_code(0);

    home.abandon_partial();
    home.run(&["status", "--check"]).assert_code(0);
    let wasted = home.run(&["status", "--check", "--strict", "--json"]);
    wasted.assert_code(3);
    let document = wasted.document(&STATUS);
    assert_eq!(document["failure_code"], "findings");
    assert_eq!(document["findings"][0]["rule"], "abandoned-partial");
    assert_eq!(document["partials"][0]["state"], "abandoned");

    let weights = home.blobs().join(catalogue::gemma_weights_etag());
    fs::remove_file(weights).unwrap();
    let broken = home.run(&["status", GEMMA, "--check"]);
    broken.assert_code(3);
    assert!(broken.stdout.contains("larder pull"), "{}", broken.stdout);
    home.run(&["status", "--events"]).lines(&STATUS);
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_finds_one_wrong_byte_and_asks_nobody() {
    let home = stocked_home().await;
    home.hub.clear_requests();
    let good = home.run(&["verify"]);
    good.assert_code(0).assert_harmless();
    assert!(good.stdout.contains("good"), "{}", good.stdout);
    home.corrupt_weights();
    let broken = home.run(&["verify", &format!("{GEMMA}@main"), "--json"]);
    broken.assert_code(3);
    let document = broken.document(&VERIFY);
    assert_eq!(document["broken"], 1);
    assert_eq!(document["models"][0]["findings"][0]["rule"], "wrong-hash");
    home.run(&["verify", "--events"]).lines(&VERIFY);
    let absent = home.run(&["verify", "no/body", "--json"]);
    assert_ne!(absent.code, Some(0));
    absent.document(&VERIFY);
    assert!(home.hub.requests().is_empty());
    home.run(&["pull", GEMMA]).assert_code(0);
    home.run(&["verify"]).assert_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn purge_takes_away_what_was_shown_and_only_with_a_yes() {
    let home = stocked_home().await;
    let partial = home.abandon_partial();
    for words in [
        &["purge", "--incomplete"][..],
        &["purge", "--incomplete", "--json"],
    ] {
        home.run(words).assert_code(2);
    }
    let dry = home.run(&["purge", "--incomplete", "--dry-run"]);
    dry.assert_code(0);
    assert!(
        dry.stdout.contains(partial.to_str().unwrap()),
        "{}",
        dry.stdout
    );
    assert!(partial.exists());
    let other = home.run(&["purge", "--incomplete", "--yes", "no/body"]);
    other.assert_code(3);
    assert!(partial.exists());

    let done = home.run(&["purge", "--incomplete", "--yes", "--json"]);
    done.assert_code(0);
    let document = done.document(&PURGE);
    assert_eq!(document["freed_bytes"], 5_000);
    assert_eq!(document["removed"][0], partial.to_str().unwrap());
    assert!(!partial.exists());
    home.run(&["verify"]).assert_code(0);
    let again = home.run(&["purge", "--incomplete"]);
    again.assert_code(0);
    assert_eq!(again.stdout, "", "nothing to ask about");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_tells_nothing_about_its_owner() {
    let home = stocked_home()
        .await
        .with("HF_TOKEN", TOKEN)
        .with("USER", "alice-the-tester");
    let folder = home.path().to_str().unwrap();
    let secrets = [
        TOKEN,
        folder,
        "alice-the-tester",
        &larder::host::host_name(),
    ];
    let shown = home.run(&["report"]);
    shown.assert_code(0).assert_harmless();
    let json = home.run(&["report", "--json"]);
    json.document(&REPORT);
    let written = home.run(&["report", "--output", "mine.txt"]);
    written.assert_code(0);
    let text = fs::read_to_string(home.path().join("mine.txt")).unwrap();
    assert_eq!(text, written.stdout);
    for text in [&shown.stdout, &json.stdout, &text] {
        for secret in secrets {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
        assert!(
            text.contains("pulled") || text.contains("asking"),
            "no log: {text}"
        );
    }
    let again = home.run(&["report", "--output", "mine.txt", "--json"]);
    again.assert_code(2);
    assert_eq!(again.document(&REPORT)["failure_code"], "refused");
    home.run(&["report", "--yes", "--quiet"]).assert_code(0);
    let found = fs::read_dir(home.path()).unwrap().flatten().any(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        name.starts_with("larder-report-20")
    });
    assert!(found);
}
