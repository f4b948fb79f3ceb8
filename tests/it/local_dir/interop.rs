//! The official Python client and larder on the same local dir, both ways.
//!
//! Ignored on a bare machine: CI installs `huggingface_hub` and sets `LARDER_TEST_PYTHON`.

use std::fs;
use std::process::{Command, Output, Stdio};

use super::place::{Place, WEIGHTS, damage, edit, slow_weights, visible};
use crate::support::catalogue::GEMMA;
use crate::support::program::wait_until;
use crate::support::python::{in_home, python};
use crate::support::{body_bytes, catalogue, traces};

impl Place {
    /// Python's `snapshot_download(local_dir=…)`, ready to run.
    fn python(&self, revision: &str) -> Command {
        let mut command = Command::new(python());
        command
            .arg("-c")
            .arg(
                "import sys\n\
                 from huggingface_hub import snapshot_download\n\
                 print(snapshot_download(sys.argv[1], revision=sys.argv[2], local_dir=sys.argv[3]))",
            )
            .args([self.repo, revision])
            .arg(self.dir());
        let mut command = in_home(command, self.home.path(), &self.home.hub);
        command
            .env("HF_HOME", self.home.path().join("python"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    #[track_caller]
    fn python_pulls(&self) -> Output {
        let output = self.python("main").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        output
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs huggingface_hub; CI runs it"]
async fn python_takes_what_larder_fetched_for_current_and_downloads_nothing() {
    let place = Place::gemma().await;
    place.pull(&[]);
    body_bytes(&place.home.hub);
    let before = visible(&place.dir());
    let read = |name: &str| fs::read(place.note(name)).unwrap();
    let noted: Vec<_> = place.files.keys().map(|name| read(name)).collect();
    place.home.hub.clear_requests();
    place.python_pulls();
    // Not even asked about the files one by one: their notes name the commit.
    let asked: Vec<String> = place
        .home
        .hub
        .requests()
        .into_iter()
        .filter(|request| request.path.contains("/resolve/"))
        .map(|request| request.path)
        .collect();
    assert!(asked.is_empty(), "{asked:?}");
    assert!(visible(&place.dir()) == before);
    let after: Vec<_> = place.files.keys().map(|name| read(name)).collect();
    assert_eq!(noted, after);
    // And larder still has nothing to do.
    place.pull(&[]);
    assert_eq!(body_bytes(&place.home.hub), 0);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs huggingface_hub; CI runs it"]
async fn larder_takes_what_python_fetched_and_downloads_nothing() {
    let place = Place::gemma().await;
    place.python_pulls();
    assert_eq!(body_bytes(&place.home.hub), catalogue::gemma_bytes());
    let before = traces(&place.dir());
    place.pull(&[]);
    place.assert_whole("main", &place.files);
    assert_eq!(body_bytes(&place.home.hub), 0);
    assert!(traces(&place.dir()) == before, "nothing had to be written");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs huggingface_hub; CI runs it"]
async fn what_python_does_not_notice_larder_heals_and_python_accepts_it() {
    let place = Place::gemma().await;
    place.python_pulls();
    body_bytes(&place.home.hub);
    damage(&place.file(WEIGHTS), |bytes| bytes[9] ^= 1);
    place.python_pulls();
    assert_eq!(body_bytes(&place.home.hub), 0, "Python believes its note");
    place.pull(&[]);
    place.assert_whole("main", &place.files);
    assert_eq!(body_bytes(&place.home.hub), catalogue::GEMMA_WEIGHTS_BYTES);
    // A right file whose times changed, too.
    edit(&place.file("config.json"), &place.files["config.json"].1);
    place.pull(&[]);
    place.python_pulls();
    assert_eq!(body_bytes(&place.home.hub), 0);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs huggingface_hub; CI runs it"]
async fn each_goes_on_where_the_other_was_killed() {
    let slow = || slow_weights(8_000_000);
    let place = Place::new(catalogue::big(), catalogue::BIG, slow()).await;
    let has_begun = || {
        let names = fs::read_dir(place.hidden().join("download"));
        names.into_iter().flatten().flatten().any(|entry| {
            let path = entry.path();
            path.extension().is_some_and(|end| end == "incomplete")
                && fs::metadata(path).is_ok_and(|found| found.len() >= 5_000_000)
        })
    };
    // Python is killed, larder goes on with its bytes.
    let mut child = place.python("main").spawn().unwrap();
    wait_until("bytes of Python's", has_begun);
    child.kill().unwrap();
    child.wait().unwrap();
    place.home.hub.set_faults(Vec::new());
    let document = place.pull(&[]);
    place.assert_whole("main", &place.files);
    let fetched = document["fetched_bytes"].as_u64().unwrap();
    assert!(fetched <= catalogue::big_bytes() - 5_000_000, "{fetched}");

    // larder is killed, and Python is not misled by what it left.
    fs::remove_dir_all(place.dir()).unwrap();
    place.home.hub.set_faults(slow());
    let words = [
        "pull",
        catalogue::BIG,
        "--all",
        "--local-dir",
        "dir",
        "--quiet",
    ];
    let mut child = place.home.larder(&words).spawn().unwrap();
    wait_until("bytes of larder's", has_begun);
    child.kill().unwrap();
    child.wait().unwrap();
    place.home.hub.set_faults(Vec::new());
    place.python_pulls();
    assert!(
        visible(&place.dir())
            .iter()
            .all(|(name, bytes)| { place.files[name].1 == *bytes })
    );
    assert_eq!(visible(&place.dir()).len(), place.files.len());
    body_bytes(&place.home.hub);
    // What larder left unfinished is not needed, and is the doctor's to take away.
    place.pull(&[]);
    assert_eq!(body_bytes(&place.home.hub), 0);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs huggingface_hub; CI runs it"]
async fn what_python_fetched_is_not_replaced_by_another_repo_that_larder_knows_to_be_another() {
    let place = Place::gemma().await;
    let other = [
        "pull",
        "someone/gguf-only",
        "config.json",
        "--local-dir",
        "dir",
    ];
    place.python_pulls();
    // Nothing has to be written for it, so that nothing but the listing is remembered.
    place.pull(&[]);
    assert!(!place.hidden().join("larder").exists());
    let before = traces(&place.dir());
    let ran = place.home.run(&other);
    ran.assert_code(2);
    assert!(ran.stderr.contains(GEMMA), "{}", ran.stderr);
    assert!(traces(&place.dir()) == before);
    // Python does as it always did.
    place
        .home
        .run(&[&other[..], &["--force"]].concat())
        .assert_code(0);
    place.python_pulls();
    assert_eq!(visible(&place.dir()).len(), place.files.len());
    place.pull(&[]);
    place.assert_whole("main", &place.files);
}
