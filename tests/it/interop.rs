//! The official Python client on the same cache, both ways.
//!
//! Ignored on a bare machine: CI installs `huggingface_hub` and sets `LARDER_TEST_PYTHON`.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use larder::serve::{Catalogue, Effect, Fault, Matcher, Origin, Serving};

use crate::support::model::CHUNK_BYTES;
use crate::support::program::Running;
use crate::support::python::{in_home, python};
use crate::support::watched::Watched;
use crate::support::{Scratch, assert_all_visible_bytes_proven, catalogue};

const REPO: &str = "mlx-community/gemma-2-2b-it-4bit";
/// A model large enough to catch Python in the middle.
use crate::support::catalogue::BIG;
const WEIGHTS: &str = "model.safetensors";

/// One cache, one Hub, two clients.
struct Place {
    scratch: Scratch,
    hub: Serving,
}

impl Place {
    async fn new(faults: Vec<Fault>) -> Self {
        Self::serving(catalogue::gemma(), faults).await
    }

    async fn serving(catalogue: Catalogue, faults: Vec<Fault>) -> Self {
        Self {
            scratch: Scratch::new(),
            hub: Serving::start(catalogue, faults).await.unwrap(),
        }
    }

    fn hub_cache(&self) -> PathBuf {
        self.scratch.path().join("hf/hub")
    }

    fn with_environment(&self, command: Command) -> Command {
        let mut command = in_home(command, self.scratch.path(), &self.hub);
        command
            .env("HF_HOME", self.scratch.path().join("hf"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn larder(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
        command.args(arguments);
        self.with_environment(command)
    }

    fn hf(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(python().with_file_name("hf"));
        command.args(arguments);
        self.with_environment(command)
    }

    /// Runs a Python script and returns what it printed.
    fn script(&self, text: &str) -> String {
        let mut command = Command::new(python());
        command.arg("-c").arg(text);
        said(&run(self.with_environment(command)))
    }

    /// The warnings of Python's own scan of the cache.
    fn scan_warnings(&self) -> String {
        self.script(
            "from huggingface_hub import scan_cache_dir\n\
             import os\n\
             try:\n\
             \x20   print([str(w) for w in scan_cache_dir().warnings])\n\
             except Exception as e:\n\
             \x20   print('no cache' if 'not found' in str(e).lower() else repr(e))",
        )
    }

    /// Bytes of file bodies the Hub sent since the last look.
    fn body_bytes(&self) -> u64 {
        let bytes = self
            .hub
            .requests()
            .iter()
            .filter(|request| {
                request.method == "GET"
                    && (request.origin == Origin::Cdn || request.path.contains("/resolve"))
            })
            .map(|request| request.body_bytes_sent)
            .sum();
        self.hub.clear_requests();
        bytes
    }
}

fn run(mut command: Command) -> Output {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?} ended with {:?}\n{}\n{}",
        output.status.code(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    output
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Everything in the `blobs/` of every repo.
fn partials(cache: &Path) -> Vec<std::fs::DirEntry> {
    std::fs::read_dir(cache)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|repo| std::fs::read_dir(repo.path().join("blobs")).ok())
        .flatten()
        .flatten()
        .collect()
}

/// Their names.
fn names(cache: &Path) -> Vec<std::ffi::OsString> {
    let found = partials(cache).into_iter();
    found.map(|entry| entry.file_name()).collect()
}

/// Waits until a partial of at least `bytes` lies in the cache.
fn wait_for_partial(cache: &Path, bytes: u64) -> PathBuf {
    let until = Instant::now() + Duration::from_secs(30);
    while Instant::now() < until {
        for entry in partials(cache) {
            if entry.file_name().to_string_lossy().ends_with(".incomplete")
                && entry.metadata().is_ok_and(|found| found.len() >= bytes)
            {
                return entry.path();
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("no partial of {bytes} bytes appeared");
}

/// Stops a program where it is (SIGSTOP); [`kill`] ends a stopped one too.
fn stop(child: &Child) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A partial of so many bytes is that of the weights: the tokenizer's is a little over 200,000 long.
const OF_THE_WEIGHTS: u64 = 300_000;

/// The model's weights come slowly enough to be caught in the middle.
fn slow_weights(bytes_per_s: u64) -> Vec<Fault> {
    vec![Fault::new(
        Matcher::path("model.safetensors").origin(Origin::Cdn),
        Effect::Slow { bytes_per_s },
    )]
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs huggingface_hub; CI runs it"]
async fn python_accepts_what_larder_wrote() {
    let place = Place::new(Vec::new()).await;
    let snapshot = said(&run(place.larder(&["pull", REPO, "--all"])));
    assert_eq!(place.scan_warnings(), "[]");
    run(place.hf(&[
        "cache",
        "verify",
        REPO,
        "--fail-on-missing-files",
        "--fail-on-extra-files",
    ]));
    let found = place.script(&format!(
        "from huggingface_hub import snapshot_download, try_to_load_from_cache, HfApi\n\
         path = snapshot_download('{REPO}', local_files_only=True)\n\
         names = HfApi().list_repo_files('{REPO}')\n\
         assert names, 'no files'\n\
         for name in names:\n\
         \x20   hit = try_to_load_from_cache('{REPO}', name)\n\
         \x20   assert isinstance(hit, str), (name, hit)\n\
         print(path)"
    ));
    assert_eq!(found, snapshot);
    place.body_bytes();
    run(place.hf(&["download", REPO]));
    assert_eq!(place.body_bytes(), 0, "`hf download` had nothing to fetch");
    assert_all_visible_bytes_proven(&place.hub_cache());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs huggingface_hub; CI runs it"]
async fn python_loads_the_default_selection_offline() {
    let place = Place::new(Vec::new()).await;
    let snapshot = said(&run(place.larder(&["pull", REPO])));
    assert_eq!(place.scan_warnings(), "[]");
    let found = place.script(&format!(
        "from huggingface_hub import snapshot_download\n\
         print(snapshot_download('{REPO}', local_files_only=True, allow_patterns=\
         ['*.json','model*.safetensors','*.py','tokenizer.model','*.tiktoken','tiktoken.model','*.txt','*.jsonl','*.jinja']))"
    ));
    assert_eq!(found, snapshot);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs huggingface_hub; CI runs it"]
async fn larder_reuses_what_python_fetched() {
    let place = Place::new(Vec::new()).await;
    run(place.hf(&["download", REPO]));
    assert!(place.body_bytes() > 0);
    run(place.larder(&["pull", REPO, "--all"]));
    assert_eq!(place.body_bytes(), 0, "larder fetched what was there");
    assert_eq!(place.scan_warnings(), "[]");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs huggingface_hub; CI runs it"]
async fn scan_is_clean_in_the_middle_and_after_kill_9() {
    let place = Place::new(slow_weights(100_000)).await;
    let child = place.larder(&["pull", REPO]).spawn().unwrap();
    wait_for_partial(&place.hub_cache(), OF_THE_WEIGHTS);
    // On a busy machine Python takes longer to start than the rest takes to come: larder is stopped
    // meanwhile, so that this is the middle of a pull wherever the test runs.
    stop(&child);
    assert_eq!(place.scan_warnings(), "[]", "in the middle of a pull");
    kill(child);
    assert_eq!(place.scan_warnings(), "[]", "after kill -9");
    let partial = wait_for_partial(&place.hub_cache(), OF_THE_WEIGHTS);
    let kept = std::fs::metadata(partial).unwrap().len();
    place.hub.set_faults(Vec::new());
    place.hub.clear_requests();
    run(place.larder(&["pull", REPO, "--all"]));
    let resumed = place.hub.requests().iter().any(|request| {
        request.origin == Origin::Cdn && request.range.as_deref() == Some(&format!("bytes={kept}-"))
    });
    assert!(resumed, "resumed at byte {kept}");
    assert_eq!(place.scan_warnings(), "[]");
    assert_all_visible_bytes_proven(&place.hub_cache());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs huggingface_hub; CI runs it"]
async fn a_partial_that_python_left_is_adopted() {
    let place = Place::serving(catalogue::big(), slow_weights(15_000_000)).await;
    let child = place.hf(&["download", BIG]).spawn().unwrap();
    let partial = wait_for_partial(&place.hub_cache(), 10_000_000);
    kill(child);
    let left = std::fs::metadata(partial).unwrap().len();
    place.hub.set_faults(Vec::new());
    place.hub.clear_requests();
    run(place.larder(&["pull", BIG]));
    let resumed = place.hub.requests().iter().any(|request| {
        let from = request.range.as_deref().is_some_and(|range| {
            // A large file comes in ranges; the first one starts where Python stopped.
            range.starts_with(&format!("bytes={left}-"))
        });
        request.origin == Origin::Cdn && from
    });
    assert!(
        resumed,
        "{left} bytes were left: {:?}",
        place.hub.requests()
    );
    assert_eq!(place.scan_warnings(), "[]");
    assert_all_visible_bytes_proven(&place.hub_cache());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs huggingface_hub; CI runs it"]
async fn prune_in_the_middle_of_a_pull_costs_at_most_a_chunk() {
    let place = Place::serving(catalogue::big(), slow_weights(3_000_000)).await;
    let mut pull = Watched::start(
        place
            .larder(&["pull", BIG, "--events", "--connections", "2"])
            .stderr(Stdio::null()),
    );
    while pull.wait_for("progress", WEIGHTS)["bytes"].as_u64() < Some(2 * CHUNK_BYTES) {
        std::thread::sleep(Duration::from_millis(10));
    }
    // Python takes a while to begin.
    place.hub.set_faults(slow_weights(300_000));
    let before = names(&place.hub_cache());
    run(place.hf(&["cache", "prune", "-y"]));
    let after = names(&place.hub_cache());
    assert!(
        before.iter().any(|name| !after.contains(name)),
        "it deleted nothing"
    );
    assert!(!pull.has_ended());
    place.hub.set_faults(slow_weights(30_000_000));
    assert_eq!(pull.end(), Some(0), "{:?}", pull.said.last());
    assert!(pull.count("partial-restored") > 0);
    let again = place.body_bytes() - catalogue::big_bytes();
    assert!(again <= CHUNK_BYTES, "{again} bytes were fetched again");
    assert_all_visible_bytes_proven(&place.hub_cache());
    assert_eq!(place.scan_warnings(), "[]");
}

/// Python's lock on the weights of [`REPO`], and a Python that takes it.
fn lock_script(place: &Place, text: &str) -> Command {
    let lock = place.hub_cache().join(format!(
        ".locks/models--mlx-community--gemma-2-2b-it-4bit/{}.lock",
        catalogue::gemma_weights_etag()
    ));
    let mut command = Command::new(python());
    command.arg("-c").arg(format!(
        "import os, sys\n\
         from filelock import FileLock, Timeout\n\
         path = '{}'\n\
         os.makedirs(os.path.dirname(path), exist_ok=True)\n\
         lock = FileLock(path)\n\
         {text}",
        lock.display()
    ));
    place.with_environment(command)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs huggingface_hub; CI runs it"]
async fn larder_waits_for_pythons_lock_and_says_for_whom() {
    let place = Place::new(Vec::new()).await;
    let mut holder = lock_script(
        &place,
        "lock.acquire()\n\
         print('held', flush=True)\n\
         sys.stdin.readline()\n\
         lock.release()",
    );
    let mut holder = Running(holder.stdin(Stdio::piped()).spawn().unwrap());
    let mut said = String::new();
    BufReader::new(holder.0.stdout.take().unwrap())
        .read_line(&mut said)
        .unwrap();
    assert_eq!(said, "held\n");
    let mut pull = Watched::start(
        place
            .larder(&["pull", REPO, "--all", "--events"])
            .stderr(Stdio::null()),
    );
    let waiting = pull.wait_for("waiting", WEIGHTS);
    if cfg!(target_os = "linux") {
        assert_eq!(waiting["lock"]["pid"], holder.0.id(), "{waiting}");
    }
    // Everything else comes meanwhile.
    pull.wait_for("finished", "tokenizer.json");
    let asked_for_weights = || {
        let requests = place.hub.requests().into_iter();
        requests.filter(|request| request.path.ends_with(WEIGHTS) && request.method == "GET")
    };
    assert_eq!(asked_for_weights().count(), 0);
    assert!(!pull.has_ended());
    // Dropped: the other side reads the end of its input.
    drop(holder.0.stdin.take());
    assert_eq!(pull.end(), Some(0), "{:?}", pull.said.last());
    assert_eq!(place.body_bytes(), catalogue::gemma_bytes());
    assert!(holder.wait().success());
    assert_all_visible_bytes_proven(&place.hub_cache());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs huggingface_hub; CI runs it"]
async fn python_cannot_take_the_lock_of_what_larder_fetches() {
    let place = Place::new(slow_weights(200_000)).await;
    let attempt = || {
        let script = lock_script(
            &place,
            "try:\n\
             \x20   lock.acquire(timeout=0)\n\
             \x20   print('free')\n\
             except Timeout:\n\
             \x20   print('busy')",
        );
        said(&run(script))
    };
    let mut pull = Watched::start(
        place
            .larder(&["pull", REPO, "--all", "--events"])
            .stderr(Stdio::null()),
    );
    pull.wait_for("downloading", WEIGHTS);
    assert_eq!(attempt(), "busy");
    assert_eq!(pull.last("finished", WEIGHTS), None, "it came too late");
    assert_eq!(pull.end(), Some(0), "{:?}", pull.said.last());
    assert_eq!(attempt(), "free");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs huggingface_hub; CI runs it"]
async fn python_and_larder_at_once_fetch_the_weights_once() {
    let place = Place::serving(catalogue::big(), slow_weights(15_000_000)).await;
    let child = place.hf(&["download", BIG]).spawn().unwrap();
    wait_for_partial(&place.hub_cache(), 1);
    run(place.larder(&["pull", BIG]));
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let weights = place
        .hub
        .requests()
        .iter()
        .filter(|request| request.origin == Origin::Cdn)
        .map(|request| request.body_bytes_sent)
        .sum::<u64>();
    assert_eq!(weights, catalogue::BIG_WEIGHTS_BYTES);
    assert_all_visible_bytes_proven(&place.hub_cache());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs huggingface_hub; CI runs it"]
async fn modes_follow_the_umask_as_pythons_do() {
    use std::os::unix::fs::PermissionsExt as _;

    for (umask, file, folder) in [("022", 0o644, 0o755), ("002", 0o664, 0o775)] {
        let place = Place::new(Vec::new()).await;
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!(
            "umask {umask} && exec {} pull {REPO} --all",
            env!("CARGO_BIN_EXE_larder")
        ));
        run(place.with_environment(command));
        let repo = place
            .hub_cache()
            .join("models--mlx-community--gemma-2-2b-it-4bit");
        for path in [repo.join("blobs"), repo.join("refs"), repo.join("trees")] {
            let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(&path), folder, "{} at umask {umask}", path.display());
            for entry in std::fs::read_dir(&path).unwrap() {
                let entry = entry.unwrap().path();
                assert_eq!(mode(&entry), file, "{} at umask {umask}", entry.display());
            }
        }
    }
}
