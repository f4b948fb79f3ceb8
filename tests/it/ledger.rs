//! Long memory: a model that was proven is not hashed again and costs one request; what happened is
//! remembered before the process ends; whatever is wrong with the ledger, a pull works without it.

use std::fs;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use larder::serve::{Effect, Fault, Matcher, Origin};

use crate::cli::HISTORY;
use crate::support::catalogue::{self, GEMMA};
use crate::support::program::Home;
use crate::whole::VERIFY;

fn ledger(home: &Home) -> PathBuf {
    home.path().join(".local/state/larder/ledger.sqlite3")
}

fn blob(home: &Home) -> PathBuf {
    home.path()
        .join(".cache/huggingface/hub/models--mlx-community--gemma-2-2b-it-4bit/blobs")
        .join(catalogue::gemma_weights_etag())
}

/// Requests since the last call.
fn requests(home: &Home) -> usize {
    let count = home.hub.requests().len();
    home.hub.clear_requests();
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn a_complete_model_again_is_one_request() {
    let home = Home::new(catalogue::gemma(), Vec::new()).await;
    home.run(&["pull", GEMMA]).assert_code(0);
    requests(&home);
    let again = home.run(&["pull", GEMMA, "--json"]);
    again.assert_code(0);
    assert_eq!(requests(&home), 1);
    assert!(
        again.stdout.contains("\"is_verified\": true"),
        "{}",
        again.stdout
    );
    // Without the ledger it is the listing, too, and everything is hashed.
    fs::remove_dir_all(ledger(&home).parent().unwrap()).unwrap();
    home.run(&["pull", GEMMA]).assert_code(0);
    assert_eq!(requests(&home), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_touched_is_hashed_again() {
    let home = Home::new(catalogue::gemma(), Vec::new()).await;
    home.run(&["pull", GEMMA]).assert_code(0);
    let times = fs::metadata(blob(&home)).unwrap();
    let file = fs::File::options().write(true).open(blob(&home)).unwrap();
    file.write_all_at(b"wrong", 1_000).unwrap();
    // Length and time of the last change are as before; the time that no program sets is not.
    file.set_times(fs::FileTimes::new().set_modified(times.modified().unwrap()))
        .unwrap();
    drop(file);
    requests(&home);
    let healed = home.run(&["pull", GEMMA]);
    healed.assert_code(0);
    assert!(requests(&home) > 1, "it was fetched again");
    assert!(fs::read(blob(&home)).unwrap() == catalogue::gemma_weights());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_verify_finds_wrong_is_forgotten() {
    let home = Home::new(catalogue::gemma(), Vec::new()).await;
    home.run(&["pull", GEMMA]).assert_code(0);
    let file = fs::File::options().write(true).open(blob(&home)).unwrap();
    file.write_all_at(b"wrong", 1_000).unwrap();
    drop(file);
    assert_ne!(home.run(&["verify"]).code, Some(0));
    home.run(&["pull", GEMMA]).assert_code(0);
    home.run(&["verify"]).assert_code(0);
    let history = home.run(&["history", "--json"]).document(&HISTORY);
    let told: Vec<String> = history["transfers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            format!(
                "{} {}",
                row["kind"].as_str().unwrap(),
                row["outcome"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            "verify good",
            "pull complete",
            "verify broken",
            "pull complete"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_reads_what_has_changed_and_with_deep_everything() {
    let home = Home::new(catalogue::gemma(), Vec::new()).await;
    home.run(&["pull", GEMMA]).assert_code(0);
    let verified = |words: &[&str]| {
        let document = home.run(&[words, &["--json"]].concat()).document(&VERIFY);
        let number = |value: &serde_json::Value| value.as_u64().unwrap();
        let model = &document["models"][0];
        assert_eq!(model["files_good"], model["files_total"]);
        (
            number(&document["bytes"]),
            number(&model["files_total"]) - number(&model["files_unread"]),
            number(&model["bytes"]),
        )
    };
    let (hashed, read, all) = verified(&["verify"]);
    assert_eq!((hashed, read), (0, 0));
    let (hashed, read, _) = verified(&["verify", "--deep"]);
    assert!(hashed == all && read > 1, "{hashed} of {all}");
    // The same bytes, but somebody has touched the file.
    let file = fs::File::options().write(true).open(blob(&home)).unwrap();
    file.set_times(fs::FileTimes::new().set_modified(std::time::SystemTime::UNIX_EPOCH))
        .unwrap();
    drop(file);
    assert_eq!(
        verified(&["verify"]),
        (catalogue::GEMMA_WEIGHTS_BYTES, 1, all)
    );
    assert!(home.run(&["verify"]).stderr.contains("`--deep` reads all"));
}

#[tokio::test(flavor = "multi_thread")]
async fn history_knows_a_pull_as_soon_as_it_has_ended() {
    let cut = Fault::new(
        Matcher::path("model.safetensors").origin(Origin::Cdn),
        Effect::CutAfter { bytes: 900_000 },
    );
    let home = Home::new(catalogue::gemma(), vec![cut.times(1)]).await;
    let empty = home.run(&["history"]);
    empty.assert_code(0);
    assert!(
        empty.stderr.contains("nothing is remembered yet"),
        "{}",
        empty.stderr
    );
    for number in 1..=12 {
        home.run(&["pull", GEMMA]).assert_code(0);
        let history = home.run(&["history", GEMMA, "--json"]).document(&HISTORY);
        let rows = history["transfers"].as_array().unwrap();
        assert_eq!(rows.len(), number);
        assert_eq!(rows[0]["outcome"], "complete");
    }
    let history = home
        .run(&["history", "--limit", "50", "--json"])
        .document(&HISTORY);
    let first = history["transfers"].as_array().unwrap().last().unwrap();
    assert!(first["bytes"].as_u64().unwrap() >= catalogue::GEMMA_WEIGHTS_BYTES);
    assert!(first["retries"].as_u64().unwrap() >= 1, "{first}");
    home.run(&["pull", "none/such"]);
    let history = home
        .run(&["history", "none/such", "--json"])
        .document(&HISTORY);
    assert_eq!(history["transfers"][0]["outcome"], "failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_usable_ledger_everything_works_and_is_said_once() {
    let home = Home::new(catalogue::gemma(), Vec::new()).await;
    // A folder in its place: nothing can be opened there.
    fs::create_dir_all(ledger(&home)).unwrap();
    let pulled = home.run(&["pull", GEMMA]);
    pulled.assert_code(0);
    assert_eq!(
        pulled.stderr.matches("is not used").count(),
        1,
        "{}",
        pulled.stderr
    );
    home.run(&["verify"]).assert_code(0);
    home.run(&["history"]).assert_code(0);
    fs::remove_dir(ledger(&home)).unwrap();
    // A damaged one is set aside, and a new one begun.
    fs::write(
        ledger(&home),
        "no database at all, but long enough to be one. ".repeat(50),
    )
    .unwrap();
    let pulled = home.run(&["pull", GEMMA]);
    pulled.assert_code(0);
    assert!(pulled.stderr.contains("damaged"), "{}", pulled.stderr);
    let aside = ledger(&home).with_file_name("ledger.sqlite3.damaged-1");
    assert!(aside.is_file());
    assert_eq!(
        fs::metadata(ledger(&home)).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_while_it_is_written_leaves_a_ledger() {
    let home = Home::new(catalogue::gemma(), Vec::new()).await;
    let mut random = fastrand::Rng::with_seed(11);
    home.run(&["pull", GEMMA]).assert_code(0);
    for _ in 0..25 {
        let mut child = home
            .larder(&["pull", GEMMA])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_micros(random.u64(2_000..60_000)));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let pulled = home.run(&["pull", GEMMA]);
    pulled.assert_code(0);
    assert!(!pulled.stderr.contains("ledger"), "{}", pulled.stderr);
    requests(&home);
    home.run(&["pull", GEMMA]).assert_code(0);
    assert_eq!(requests(&home), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_larders_share_it() {
    let home = Home::new(catalogue::gemma(), Vec::new()).await;
    home.run(&["pull", GEMMA]).assert_code(0);
    let children: Vec<_> = (0..6)
        .map(|_| {
            home.larder(&["pull", GEMMA])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let history = home.run(&["history", "--json"]).document(&HISTORY);
    assert_eq!(history["transfers"].as_array().unwrap().len(), 7);
}
