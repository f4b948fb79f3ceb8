//! Larders that are stopped in the middle, as by ctrl-z, and go on later: nothing is spoilt, and they
//! do not fail again and again because of a silence in which they did not listen.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use larder::serve::{Effect, Fault, Matcher, Origin};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::assert_all_visible_bytes_proven;
use crate::support::model::{self, Model};
use crate::support::program::Home;
use crate::support::watched::Watched;

/// Four times as long as a server may be silent here.
const STOPPED: Duration = Duration::from_secs(4);
const SETTINGS: &str = "stall_timeout_s = 1\nretry_base_ms = 10\nretry_cap_s = 1\n";

fn signal(run: &Watched, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(run.pid()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn larders_that_were_stopped_go_on_without_a_storm_of_retries() {
    let (model, catalogue) = Model::with_history();
    // In chunks over several connections, in one piece, and into memory.
    let slow = [
        ("model.safetensors", 2_000_000),
        ("tokenizer.model", 200_000),
        ("vocab.txt", 40_000),
    ];
    let faults = slow.map(|(path, bytes_per_s)| {
        let requests = Matcher::path(path).origin(Origin::Cdn);
        Fault::new(requests, Effect::Slow { bytes_per_s })
    });
    let home = Home::new(catalogue, faults.to_vec()).await;
    fs::write(home.path().join(".config/larder/config.toml"), SETTINGS).unwrap();
    let pull = || {
        let words = ["pull", model::NAME, "--all", "--revision", "c0", "--events"];
        Watched::start(home.larder(&words).stderr(Stdio::null()))
    };
    let mut first = pull();
    for (path, _) in slow {
        first.wait_for("downloading", path);
    }
    let mut second = pull();
    second.waits_for_pull();
    for run in [&first, &second] {
        signal(run, Signal::STOP);
    }
    tokio::time::sleep(STOPPED).await;
    home.hub.set_faults(Vec::new());
    for run in [&first, &second] {
        signal(run, Signal::CONT);
    }
    for run in [&mut first, &mut second] {
        assert_eq!(run.end(), Some(0), "{:?}", run.said.last());
    }
    assert_all_visible_bytes_proven(&home.cache());
    let repo = home.cache().join(model::FOLDER);
    assert!(model.unreadable(&repo, &model.commits[0]).is_empty());
    // Whoever is stopped hears nobody: that is no silence of the server.
    for run in [&first, &second] {
        let troubles = ["failed", "connection-lost"];
        let mut said = run.said.iter();
        let told = said.find(|said| troubles.iter().any(|event| said["event"] == *event));
        assert!(told.is_none(), "{told:?}");
    }
}
