//! The guide for app authors: its examples are run as they stand there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use larder::serve::{Effect, Fault, Matcher, Origin, Serving};

use crate::support::program::Running;
use crate::support::{Scratch, assert_all_visible_bytes_proven, catalogue};

const GUIDE: &str = include_str!("../../assets/guides/app-contract.md");

/// The guide's example in a language.
fn example(language: &str) -> &'static str {
    let start = format!("```{language}\n");
    let at = GUIDE.find(&start).unwrap() + start.len();
    GUIDE[at..].split("```").next().unwrap()
}

struct Scene {
    scratch: Scratch,
    hub: Serving,
}

impl Scene {
    async fn new(bytes_per_s: u64) -> Self {
        let requests = Matcher::path("model.safetensors").origin(Origin::Cdn);
        let faults = vec![Fault::new(requests, Effect::Slow { bytes_per_s })];
        Self {
            scratch: Scratch::new(),
            hub: Serving::start(catalogue::gemma(), faults).await.unwrap(),
        }
    }

    fn command(&self, program: &str) -> Command {
        let folder = Path::new(env!("CARGO_BIN_EXE_larder")).parent().unwrap();
        // Python may be anywhere.
        let path = std::env::var("PATH").unwrap();
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", format!("{}:{path}", folder.display()))
            .env("HOME", self.scratch.path())
            .env("HF_HUB_CACHE", self.scratch.path().join("hub"))
            .env("HF_ENDPOINT", self.hub.endpoint())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn example(&self, program: &str, language: &str) -> Command {
        let file = self.scratch.path().join(format!("example.{language}"));
        fs::write(&file, example(language)).unwrap();
        let mut command = self.command(program);
        command.arg(file).arg(catalogue::GEMMA);
        command
    }

    #[track_caller]
    fn assert_path(&self, output: &Output) -> PathBuf {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        let path = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim_end());
        assert!(path.join("config.json").is_file(), "{}", path.display());
        assert_all_visible_bytes_proven(&self.scratch.path().join("hub"));
        path
    }
}

async fn assert_works(program: &str, language: &str) {
    let scene = Scene::new(2_000_000).await;
    let fetched = scene.example(program, language).output().unwrap();
    let path = scene.assert_path(&fetched);
    let requests = scene.hub.requests().len();
    let again = scene.example(program, language).output().unwrap();
    assert_eq!(scene.assert_path(&again), path);
    assert_eq!(scene.hub.requests().len(), requests, "nobody was asked");

    // One that comes while another larder is at it fetches nothing.
    let scene = Scene::new(600_000).await;
    let mut pull = scene.command("larder");
    let mut pull = Running(pull.args(["pull", catalogue::GEMMA]).spawn().unwrap());
    let repo = "hub/models--mlx-community--gemma-2-2b-it-4bit";
    let marker = scene
        .scratch
        .path()
        .join(repo)
        .join(".manual_download_lock");
    crate::support::program::wait_until("the marker", || marker.exists());
    let waited = scene.example(program, language).output().unwrap();
    scene.assert_path(&waited);
    assert!(pull.wait().success());
    let said = String::from_utf8_lossy(&waited.stderr);
    assert!(said.contains("waiting for"), "{said}");

    let mut missing = scene.example(program, language);
    missing.env("HF_HUB_CACHE", scene.scratch.path().join("empty"));
    missing.env("HF_ENDPOINT", "http://127.0.0.1:9");
    missing.env("HF_HUB_OFFLINE", "1");
    assert!(!missing.output().unwrap().status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shell_example_runs() {
    assert_works("sh", "sh").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_example_runs() {
    assert_works("python3", "python").await;
}

/// What the guide says of exit codes is what the README says.
#[test]
fn every_exit_code_of_the_guide_is_one_of_larders() {
    let readme = include_str!("../../README.md");
    let table = GUIDE.split("| exit |").nth(1).unwrap();
    let table = table.split("\n\n").next().unwrap();
    let rows = table.lines().skip(2);
    let codes: Vec<&str> = rows
        .filter_map(|row| row.split('|').nth(1))
        .flat_map(|cell| cell.split(','))
        .map(str::trim)
        .collect();
    assert!(codes.len() > 8, "{codes:?}");
    for code in codes {
        assert!(readme.contains(code), "{code}");
    }
}
