//! Pulls into a folder in Python's layout (`--local-dir`): what is fetched, what is taken from this
//! machine, and what is healed.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use serde_json::Value;

use self::place::{PULL, Place, WEIGHTS, damage, edit, origins};
use crate::support::catalogue::{self, BIG, BIG_WEIGHTS_BYTES, GEMMA};
use crate::support::{body_bytes, traces};

mod at_once;
mod interop;
mod owners;
mod place;
mod refused;
#[cfg(target_os = "linux")]
mod seam;

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_into_a_folder_brings_it_there_once_and_leaves_the_cache_as_it_is() {
    let place = Place::gemma().await;
    let document = place.pull(&[]);
    place.assert_whole("main", &place.files);
    let dir = place.dir().display().to_string();
    assert_eq!(document["local_dir"], *dir);
    assert_eq!(document["snapshot"], *dir);
    assert_eq!(document["reference"]["kind"], "none");
    assert_eq!(body_bytes(&place.home.hub), catalogue::gemma_bytes());
    assert!(!place.home.cache().exists(), "nothing is stored twice");

    let before = traces(&place.dir());
    let again = place.pull(&[]);
    assert_eq!(body_bytes(&place.home.hub), 0);
    assert_eq!(again["fetched_bytes"], 0);
    assert_eq!(origins(&again)["local-dir"], place.files.len());
    assert!(traces(&place.dir()) == before, "nothing is written again");
    // What is found there by other commands is a local dir.
    let home = place.home.with("LARDER_FOLDERS", &dir);
    let listed = home.run(&["--json", "ls"]);
    let listed: Value = serde_json::from_str(&listed.assert_code(0).stdout).unwrap();
    assert_eq!(listed["models"][0]["cache"], "local-dir", "{listed:#}");
    assert_eq!(listed["models"][0]["state"], "complete", "{listed:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_cache_has_is_taken_from_there_and_never_shared_with_it() {
    let place = Place::gemma().await;
    place.home.run(&["pull", GEMMA, "--all"]).assert_code(0);
    body_bytes(&place.home.hub);
    let cache = traces(&place.home.cache());
    let plan = place.pull(&["--dry-run"]);
    assert_eq!(plan["fetch_bytes"], 0);
    assert_eq!(plan["disk_bytes"], catalogue::gemma_bytes());
    assert!(!place.dir().exists(), "a plan writes nothing");

    let document = place.pull(&[]);
    place.assert_whole("main", &place.files);
    assert_eq!(body_bytes(&place.home.hub), 0);
    assert_eq!(origins(&document)["hub-cache"], place.files.len());
    // A person may write into the folder: that must not reach the cache.
    for name in place.files.keys() {
        assert_eq!(fs::metadata(place.file(name)).unwrap().nlink(), 1, "{name}");
    }
    assert!(traces(&place.home.cache()) == cache);

    // A copy that is damaged is not taken (Python takes it).
    fs::remove_dir_all(place.dir()).unwrap();
    let blob = place.home.blobs().join(catalogue::gemma_weights_etag());
    damage(&blob, |bytes| bytes[1_000_000] ^= 1);
    place.pull(&[]);
    place.assert_whole("main", &place.files);
    assert_eq!(body_bytes(&place.home.hub), catalogue::GEMMA_WEIGHTS_BYTES);
}

#[tokio::test(flavor = "multi_thread")]
async fn offline_the_cache_is_enough() {
    let place = Place::gemma().await;
    place.home.run(&["pull", GEMMA, "--all"]).assert_code(0);
    place.home.hub.clear_requests();
    place.pull(&["--offline"]);
    place.assert_whole("main", &place.files);
    assert!(place.home.hub.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_damaged_files_are_fetched_again_and_their_bytes_are_kept() {
    let place = Place::gemma().await;
    place.pull(&[]);
    body_bytes(&place.home.hub);
    let weights = place.file(WEIGHTS);
    damage(&weights, |bytes| bytes[1_500_000] ^= 1);
    damage(&place.file("tokenizer.json"), |bytes| bytes.truncate(777));
    let wrong = fs::read(&weights).unwrap();
    let document = place.pull(&[]);
    place.assert_whole("main", &place.files);
    let tokenizer = place.files["tokenizer.json"].1.len() as u64;
    let fetched = body_bytes(&place.home.hub);
    assert_eq!(fetched, catalogue::GEMMA_WEIGHTS_BYTES + tokenizer);
    assert!(place.aside().contains(&wrong));
    let healed: Vec<&str> = document["healed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|healing| healing["path"].as_str().unwrap())
        .collect();
    assert_eq!(healed.len(), 2, "{healed:?}");

    // A file that is gone comes back alone.
    fs::remove_file(place.file("config.json")).unwrap();
    place.pull(&[]);
    place.assert_whole("main", &place.files);
    let config = place.files["config.json"].1.len() as u64;
    assert_eq!(body_bytes(&place.home.hub), config);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_wrong_byte_of_a_large_file_costs_one_range_and_a_cut_file_its_tail() {
    let place = Place::new(catalogue::big(), BIG, Vec::new()).await;
    // As larder counts: what is on its way when a connection has enough was sent for nothing.
    let fetched = |document: &Value| document["fetched_bytes"].as_u64().unwrap();
    assert_eq!(fetched(&place.pull(&[])), catalogue::big_bytes());
    let weights = place.file(WEIGHTS);
    damage(&weights, |bytes| bytes[20_000_000] ^= 1);
    assert_eq!(fetched(&place.pull(&[])), 8 << 20);
    place.assert_whole("main", &place.files);

    damage(&weights, |bytes| bytes.truncate(44_000_000));
    let tail = BIG_WEIGHTS_BYTES - 44_000_000;
    assert_eq!(fetched(&place.pull(&[])), tail);
    place.assert_whole("main", &place.files);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_file_is_kept_whatever_its_note_says() {
    let place = Place::gemma().await;
    place.pull(&[]);
    body_bytes(&place.home.hub);
    let inode = |name: &str| fs::metadata(place.file(name)).unwrap().ino();
    let before: Vec<u64> = place.files.keys().map(|name| inode(name)).collect();
    fs::remove_file(place.note("config.json")).unwrap();
    fs::write(place.note("tokenizer.json"), "nonsense").unwrap();
    fs::write(place.note(WEIGHTS), "").unwrap();
    // Copied without its times.
    edit(&place.file("README.md"), &place.files["README.md"].1);
    place.pull(&[]);
    place.assert_whole("main", &place.files);
    assert_eq!(body_bytes(&place.home.hub), 0);
    let after: Vec<u64> = place.files.keys().map(|name| inode(name)).collect();
    assert_eq!(before, after);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_one_content_are_files_of_their_own() {
    let catalogue = catalogue::same_content();
    let place = Place::new(catalogue, "someone/same", Vec::new()).await;
    place.pull(&[]);
    place.assert_whole("main", &place.files);
    assert_eq!(body_bytes(&place.home.hub), 2);
    for name in place.files.keys() {
        assert_eq!(fs::metadata(place.file(name)).unwrap().nlink(), 1, "{name}");
    }
    // Each of them is looked at, not only the first.
    fs::remove_file(place.file("b.json")).unwrap();
    damage(&place.file("c/d/e.json"), |bytes| bytes[0] = b'[');
    place.pull(&[]);
    place.assert_whole("main", &place.files);
    assert_eq!(body_bytes(&place.home.hub), 0);
    assert_eq!(place.aside(), [b"[}"]);
    place.put_own("b.json", |path| edit(path, b"mine"));
    let document = place.run(&[]).assert_code(2).document(&PULL);
    assert_eq!(document["failures"][0]["path"], "b.json");
    assert_eq!(fs::read(place.file("b.json")).unwrap(), b"mine");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_file_of_python_is_gone_on_with() {
    let place = Place::gemma().await;
    let weights = &place.files[WEIGHTS].1;
    let staging = place.hidden().join("download");
    let etag = catalogue::gemma_weights_etag();
    for name in [
        format!("xGOKKLRSlIhH692hSVvI1-gpoa8=.{etag}.0badcafe.incomplete"),
        format!("xGOKKLRSlIhH692hSVvI1-gpoa8=.{etag}.incomplete"),
    ] {
        drop(fs::remove_dir_all(place.dir()));
        fs::create_dir_all(&staging).unwrap();
        fs::write(staging.join(&name), &weights[..1_500_000]).unwrap();
        let plan = place.pull(&["--dry-run"]);
        let expected = catalogue::gemma_bytes() - 1_500_000;
        assert_eq!(plan["fetch_bytes"], expected, "{name}");
        place.pull(&[]);
        place.assert_whole("main", &place.files);
        assert_eq!(body_bytes(&place.home.hub), expected, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_blob_in_the_cache_is_told_and_everybody_knows_it_from_then_on() {
    let place = Place::gemma().await;
    place.home.run(&["pull", GEMMA, "--all"]).assert_code(0);
    let blob = place.home.blobs().join(catalogue::gemma_weights_etag());
    damage(&blob, |bytes| bytes[1_000_000] ^= 1);
    place.home.run(&["ready", GEMMA]).assert_code(0);
    // What changes while it is read, or just before, is not remembered.
    std::thread::sleep(Duration::from_millis(200));
    let advice = format!("larder doctor {GEMMA} --fix");
    for _ in 0..2 {
        let ran = place.run(&[]);
        place.assert_whole("main", &place.files);
        let blob = blob.display().to_string();
        let is_it = |line: &&str| line.contains(&blob) && line.contains(&advice);
        let told = ran.assert_code(0).stderr.lines().filter(is_it).count();
        assert_eq!(told, 1, "{}", ran.stderr);
        fs::remove_dir_all(place.dir()).unwrap();
    }
    place.home.run(&["ready", GEMMA]).assert_code(3);
    let listed = place.home.run(&["--json", "ls", GEMMA]);
    let listed: Value = serde_json::from_str(&listed.assert_code(0).stdout).unwrap();
    assert!(listed.to_string().contains("wrong-hash"), "{listed:#}");
    place.home.run(&["doctor", GEMMA]).assert_code(3);
    // And what is advised puts it right.
    place
        .home
        .run_line(&format!("{advice} --yes"))
        .assert_code(0);
    place.home.run(&["ready", GEMMA]).assert_code(0);
    body_bytes(&place.home.hub);
    place.pull(&[]);
    assert_eq!(body_bytes(&place.home.hub), 0);
}
