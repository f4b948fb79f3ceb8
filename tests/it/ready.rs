//! `ready` and `wait`: what apps ask at their start, of real processes and real caches.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use jsonschema::Validator;
use larder::cli::READY_SCHEMA;
use larder::serve::{Effect, Fault, Matcher, Origin, Serving};
use serde_json::Value;

use crate::cli::validator;
use crate::support::program::{Running, wait_until};
use crate::support::{Scratch, catalogue, files_below};

static READY: LazyLock<Validator> = LazyLock::new(|| validator(READY_SCHEMA));

struct Scene {
    scratch: Scratch,
    hub: Serving,
}

/// What a call gave.
struct Answer {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Scene {
    async fn new(bytes_per_s: Option<u64>) -> Self {
        let requests = Matcher::path("model.safetensors").origin(Origin::Cdn);
        let fault = |bytes_per_s| Fault::new(requests, Effect::Slow { bytes_per_s });
        let faults = bytes_per_s.map(fault).into_iter().collect();
        Self {
            scratch: Scratch::new(),
            hub: Serving::start(catalogue::gemma(), faults).await.unwrap(),
        }
    }

    fn repo(&self) -> PathBuf {
        let cache = self.scratch.path().join("hub");
        cache.join("models--mlx-community--gemma-2-2b-it-4bit")
    }

    fn larder(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
        command
            .args(args)
            .env_clear()
            .env("HOME", self.scratch.path())
            .env("HF_HUB_CACHE", self.scratch.path().join("hub"))
            .env("HF_ENDPOINT", self.hub.endpoint())
            .stdin(Stdio::null());
        command
    }

    fn call(&self, args: &[&str]) -> Answer {
        let Output {
            status,
            stdout,
            stderr,
        } = self.larder(args).output().unwrap();
        Answer {
            code: status.code().unwrap(),
            stdout: String::from_utf8(stdout).unwrap(),
            stderr: String::from_utf8(stderr).unwrap(),
        }
    }

    /// Makes every file of the repo so old.
    fn age(&self, by: Duration) {
        let then = SystemTime::now() - by;
        for path in files_below(&self.repo()) {
            if !path.is_symlink() {
                let file = File::options().write(true).open(&path).unwrap();
                file.set_modified(then).unwrap();
            }
        }
    }

    /// A program of that name that does nothing until it is dropped.
    fn program(&self, name: &str, arguments: &str) -> Running {
        let path = self.scratch.path().join(name);
        // A file named last is open for writing meanwhile.
        let text = "for file; do :; done\ncase $file in /*) exec 3>>\"$file\";; esac\n\
                    while sleep 1; do :; done\n";
        fs::write(&path, text).unwrap();
        let mut command = Command::new("sh");
        command.arg(&path).args(arguments.split_whitespace());
        Running(command.stdin(Stdio::null()).spawn().unwrap())
    }

    fn ready(&self) -> Answer {
        self.call(&["ready", catalogue::GEMMA])
    }

    fn pull(&self) -> Child {
        let mut command = self.larder(&["pull", "--all", catalogue::GEMMA]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    }

    /// Waits until a pull has begun.
    fn begun(&self) {
        while !self.repo().join(".manual_download_lock").exists() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[track_caller]
fn assert_path(answer: &Answer, snapshot: &Path) {
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    assert_eq!(answer.stdout, format!("{}\n", snapshot.display()));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_at_every_stage_what_is_true() {
    let scene = Scene::new(Some(150_000)).await;
    let answer = scene.ready();
    assert_eq!((answer.code, answer.stdout.as_str()), (3, ""));
    assert!(
        answer.stderr.contains("not in the cache"),
        "{}",
        answer.stderr
    );
    let mut pull = scene.pull();
    scene.begun();
    let answer = scene.ready();
    assert_eq!((answer.code, answer.stdout.as_str()), (4, ""));
    assert!(
        answer.stderr.contains("is being fetched"),
        "{}",
        answer.stderr
    );
    assert!(
        answer.stderr.contains(&pull.id().to_string()),
        "{}",
        answer.stderr
    );
    let said = answer.stderr.matches("is being fetched").count();
    assert_eq!(said, 1, "{}", answer.stderr);
    let answer = scene.call(&["wait", catalogue::GEMMA, "--timeout", "100ms"]);
    assert_eq!(answer.code, 4, "{}", answer.stderr);
    pull.kill().unwrap();
    pull.wait().unwrap();
    // Dead: nobody fetches it, and the marker it left is taken away.
    let answer = scene.ready();
    assert_eq!(answer.code, 3, "{}", answer.stderr);
    assert!(!scene.repo().join(".manual_download_lock").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_returns_when_the_other_is_done() {
    let scene = Scene::new(Some(250_000)).await;
    let mut pull = scene.pull();
    scene.begun();
    let answer = scene.call(&["wait", catalogue::GEMMA]);
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    assert!(answer.stderr.contains("waiting for"), "{}", answer.stderr);
    assert!(
        Path::new(answer.stdout.trim_end())
            .join("model.safetensors")
            .is_file()
    );
    assert!(pull.wait().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_hashed_and_then_touched_is_not_verified() {
    let scene = Scene::new(None).await;
    assert!(scene.pull().wait().unwrap().success());
    let requests = scene.hub.requests().len();
    let snapshots = scene.repo().join("snapshots");
    let snapshot = fs::read_dir(&snapshots)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    assert_path(&scene.ready(), &snapshot);
    let verified = || scene.call(&["ready", "--verified", catalogue::GEMMA]);
    assert_path(&verified(), &snapshot);
    let at = format!(
        "{}@{}",
        catalogue::GEMMA,
        snapshot.file_name().unwrap().display()
    );
    assert_path(&scene.call(&["ready", &at]), &snapshot);
    assert_eq!(
        scene
            .call(&["ready", &format!("{}@v9", catalogue::GEMMA)])
            .code,
        3
    );
    let answer = scene.call(&["ready", "--json", catalogue::GEMMA]);
    let document: Value = serde_json::from_str(&answer.stdout).unwrap();
    READY.validate(&document).unwrap();
    assert_eq!(document["is_ready"], true);
    assert_eq!(document["snapshot"], snapshot.display().to_string());
    // Same bytes, another time: nobody has hashed this.
    let weights = snapshot.join("model.safetensors");
    let file = File::options().write(true).open(&weights).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_hours(1))
        .unwrap();
    assert_path(&scene.ready(), &snapshot);
    let answer = verified();
    assert_eq!(answer.code, 3, "{}", answer.stderr);
    assert!(answer.stderr.contains("larder verify"), "{}", answer.stderr);
    // Truncated: not even ready, and the document says why.
    file.set_len(10).unwrap();
    let answer = scene.call(&["ready", "--json", catalogue::GEMMA]);
    assert_eq!(answer.code, 3);
    let document: Value = serde_json::from_str(&answer.stdout).unwrap();
    READY.validate(&document).unwrap();
    assert_eq!(document["is_ready"], false);
    assert!(!document["problems"].as_array().unwrap().is_empty());
    assert_eq!(scene.hub.requests().len(), requests, "nobody was asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_named_main_is_ready_and_a_script_is_waited_for() {
    let scene = Scene::new(None).await;
    assert!(scene.pull().wait().unwrap().success());
    let snapshots = scene.repo().join("snapshots");
    let commit = fs::read_dir(&snapshots)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    fs::remove_dir_all(scene.repo().join("refs")).unwrap();
    let main = snapshots.join("main");
    fs::create_dir(&main).unwrap();
    for entry in fs::read_dir(&commit).unwrap() {
        let entry = entry.unwrap();
        if entry.path().is_file() {
            fs::copy(entry.path(), main.join(entry.file_name())).unwrap();
        }
    }
    let answer = scene.ready();
    assert_path(&answer, &main);
    assert!(
        answer.stderr.contains("mlx-lm do not find it"),
        "{}",
        answer.stderr
    );
    // The old script is at work, and then it is not.
    fs::remove_file(main.join("config.json")).unwrap();
    let marker = scene.repo().join(".manual_download_lock");
    fs::write(&marker, "Manual download started at noon\n").unwrap();
    assert_eq!(scene.ready().code, 4);
    scene.age(Duration::from_mins(2));
    let script = scene.program("manual_model_download.sh", "");
    let answer = scene.ready();
    assert_eq!(answer.code, 4, "{}", answer.stderr);
    assert!(answer.stderr.contains("downloads"), "{}", answer.stderr);
    scene.age(Duration::from_mins(6));
    assert_eq!(scene.ready().code, 3, "five minutes end it in any case");
    drop(script);
    // Another test may run a script of that name.
    wait_until("the marker to be removed", || {
        assert_eq!(scene.ready().code, 3);
        !marker.exists()
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_downloader_is_waited_for_and_a_loader_is_not() {
    let scene = Scene::new(None).await;
    assert!(scene.pull().wait().unwrap().success());
    // Under a name that no other test sees in the arguments of a process.
    let model = "someone/watched";
    let repo = scene.repo().with_file_name("models--someone--watched");
    fs::rename(scene.repo(), &repo).unwrap();
    let commit = fs::read_to_string(repo.join("refs/main")).unwrap();
    fs::remove_file(repo.join("snapshots").join(commit).join("config.json")).unwrap();
    let ready = || scene.call(&["ready", model]);
    let loader = scene.program("mlx_lm.server", &format!("--model {model}"));
    assert_eq!(ready().code, 3);
    let status = scene.call(&["status", model]);
    assert!(status.stdout.contains("mlx_lm.server"), "{}", status.stdout);
    // What it downloads, it may write anywhere.
    let url = format!("https://localhost/{model}/resolve/main/x");
    let elsewhere = scene.program("curl", &url);
    assert_eq!(ready().code, 3);
    let status = scene.call(&["status", model]);
    assert!(status.stdout.contains("curl"), "{}", status.stdout);
    drop(elsewhere);
    let here = repo.join("blobs/x");
    let curl = scene.program("curl", &format!("{url} -o {}", here.display()));
    wait_until("the file that it writes", || here.exists());
    let answer = ready();
    assert_eq!(answer.code, 4, "{}", answer.stderr);
    assert!(
        answer.stderr.contains("`blobs/x` open"),
        "{}",
        answer.stderr
    );
    drop(curl);
    fs::remove_file(here).unwrap();
    assert_eq!(scene.call(&["wait", model]).code, 3);
    drop(loader);
}
