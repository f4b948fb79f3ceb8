//! The drop-in for the old download script: same name, same flags, larder's work and exit codes.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use larder::serve::{Effect, Fault, Matcher, Origin, Serving};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Scratch, assert_all_visible_bytes_proven, catalogue};

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("assets/scripts/manual_model_download.sh")
}

fn script(scratch: &Scratch, hub: &Serving, args: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command
        .arg(path())
        .args(args)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("LARDER", env!("CARGO_BIN_EXE_larder"))
        .env("HOME", scratch.path())
        .env("HF_HUB_CACHE", scratch.path().join("hub"))
        .env("HF_ENDPOINT", hub.endpoint())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn it_fetches_the_default_model_and_fetches_it_again_if_asked() {
    let scratch = Scratch::new();
    let hub = Serving::start(catalogue::gemma(), Vec::new())
        .await
        .unwrap();
    let run = |args: &[&str]| script(&scratch, &hub, args).output().unwrap();
    let help = run(&["-h"]);
    assert!(help.status.success());
    assert!(
        String::from_utf8(help.stdout)
            .unwrap()
            .contains(catalogue::GEMMA)
    );
    assert_eq!(run(&["-x"]).status.code(), Some(2));
    assert_eq!(run(&["surplus"]).status.code(), Some(2));
    assert!(hub.requests().is_empty());

    let first = run(&[]);
    assert!(
        first.status.success(),
        "{}",
        String::from_utf8_lossy(&first.stderr)
    );
    let snapshot = String::from_utf8(first.stdout).unwrap();
    assert!(
        PathBuf::from(snapshot.trim_end())
            .join("config.json")
            .is_file()
    );
    let bodies = || hub.requests().len();
    hub.clear_requests();
    assert!(run(&[]).status.success());
    let again = bodies();
    hub.clear_requests();
    assert!(run(&["-f"]).status.success());
    assert!(bodies() > again, "it is fetched again");
    assert_all_visible_bytes_proven(&scratch.path().join("hub"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_to_the_script_ends_larder_in_good_order() {
    let scratch = Scratch::new();
    let requests = Matcher::path("model.safetensors").origin(Origin::Cdn);
    let slow = Fault::new(
        requests,
        Effect::Slow {
            bytes_per_s: 50_000,
        },
    );
    let hub = Serving::start(catalogue::gemma(), vec![slow])
        .await
        .unwrap();
    let mut child = script(&scratch, &hub, &[]).spawn().unwrap();
    let repo = scratch
        .path()
        .join("hub/models--mlx-community--gemma-2-2b-it-4bit");
    let marker = repo.join(".manual_download_lock");
    let has_pid = || fs::read_to_string(&marker).is_ok_and(|text| text.contains("pid: "));
    while !has_pid() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(!marker.exists());
}
