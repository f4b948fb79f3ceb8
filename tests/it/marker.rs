//! The download marker of real processes: there while larder downloads, gone when it ends by any way
//! that can be caught, and recognised when it could not be.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use larder::cache::{Layout, MarkerRecord, read_marker};
use larder::domain::{RepoId, RepoKind};
use larder::serve::{Effect, Fault, Matcher, Origin, Serving};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Scratch, assert_all_visible_bytes_proven, catalogue};

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

    fn cache(&self) -> PathBuf {
        self.scratch.path().join("hub")
    }

    fn pull(&self) -> Larder {
        Larder(self.command(&[]).spawn().unwrap())
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
        command
            .args(["pull", "--all", catalogue::GEMMA])
            .args(more)
            .env_clear()
            .env("HOME", self.scratch.path())
            .env("HF_HUB_CACHE", self.cache())
            .env("HF_ENDPOINT", self.hub.endpoint())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// What a pull says on standard error goes here.
    fn talk(&self) -> PathBuf {
        self.scratch.path().join("talk")
    }

    fn path(&self) -> PathBuf {
        let repo = "models--mlx-community--gemma-2-2b-it-4bit";
        self.cache().join(repo).join(".manual_download_lock")
    }

    /// What it says, once it says something of `pid`.
    fn record(&self, pid: u32) -> MarkerRecord {
        let layout = Layout::new(self.cache());
        let repo = RepoId::new(RepoKind::Model, catalogue::GEMMA).unwrap();
        wait_for("a record", || {
            read_marker(&layout, &repo).filter(|record| record.pid == Some(pid))
        })
    }

    fn is_held(&self) -> bool {
        let file = File::open(self.path()).unwrap();
        file.try_lock().is_err()
    }
}

/// A process that is gone when the test is.
struct Larder(Child);

impl Larder {
    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    fn end(&mut self) -> Option<i32> {
        self.0.wait().unwrap().code()
    }
}

impl Drop for Larder {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[track_caller]
fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn absent(path: &Path) -> bool {
    path.symlink_metadata().is_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_there_while_bytes_come_and_tells_how_far_they_are() {
    let scene = Scene::new(400_000).await;
    let mut larder = scene.pull();
    let first = scene.record(larder.pid()).progress.unwrap();
    assert!(scene.is_held());
    assert!(
        first.files_total >= 5 && first.bytes_total > 1_000_000,
        "{first:?}"
    );
    let later = wait_for("progress", || {
        let now = scene.record(larder.pid()).progress?;
        (now.bytes_done > first.bytes_done && now.files_done > 0).then_some(now)
    });
    assert!(later.bytes_done <= later.bytes_total, "{later:?}");
    assert_eq!(larder.end(), Some(0));
    assert!(absent(&scene.path()));
    // A model that is complete needs none.
    let seen = scene.path().parent().unwrap().metadata().unwrap();
    assert_eq!(scene.pull().end(), Some(0));
    let now = scene.path().parent().unwrap().metadata().unwrap();
    assert_eq!(seen.modified().unwrap(), now.modified().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_with_every_exit_that_can_be_caught() {
    // So slow that five pulls in a row do not bring the whole, however busy the machine is.
    let scene = Scene::new(5_000).await;
    for (signal, twice, code) in [
        (Signal::INT, false, 130),
        (Signal::TERM, false, 143),
        (Signal::HUP, false, 129),
        (Signal::QUIT, false, 131),
        (Signal::INT, true, 130),
    ] {
        let mut larder = scene.pull();
        scene.record(larder.pid());
        larder.signal(signal);
        if twice {
            larder.signal(signal);
        }
        assert_eq!(larder.end(), Some(code));
        assert!(absent(&scene.path()), "{signal:?}, twice: {twice}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_kill_leaves_is_free_and_taken_over_by_who_comes_next() {
    let scene = Scene::new(400_000).await;
    let mut first = scene.pull();
    scene.record(first.pid());
    first.signal(Signal::KILL);
    first.end();
    assert!(!absent(&scene.path()) && !scene.is_held());
    let mut second = scene.pull();
    scene.record(second.pid());
    assert!(scene.is_held());
    // Somebody tidies up: it is there again.
    fs::remove_file(scene.path()).unwrap();
    scene.record(second.pid());
    assert_eq!(second.end(), Some(0));
    assert!(absent(&scene.path()));
    // A pull that has nothing to fetch takes away what was left as well.
    fs::write(scene.path(), "").unwrap();
    let file = File::options().write(true).open(scene.path()).unwrap();
    let before = std::time::SystemTime::now() - Duration::from_mins(1);
    file.set_modified(before).unwrap();
    assert_eq!(scene.pull().end(), Some(0));
    assert!(absent(&scene.path()));
    assert_all_visible_bytes_proven(&scene.cache());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_larder_is_next_when_the_first_dies() {
    let scene = Scene::new(300_000).await;
    let mut first = scene.pull();
    scene.record(first.pid());
    let talk = File::create(scene.talk()).unwrap();
    let mut second = Larder(scene.command(&[]).stderr(talk).spawn().unwrap());
    wait_for("all but the weights", || {
        let now = scene.record(first.pid()).progress?;
        (now.files_done + 1 == now.files_total).then_some(())
    });
    let whom = format!(
        "waiting for `larder` (process {}), which downloads it: ",
        first.pid()
    );
    wait_for("the second to say for whom it waits", || {
        let said = fs::read_to_string(scene.talk()).unwrap();
        said.contains(&whom).then_some(())
    });
    // Not everybody has the patience.
    let third_says = scene.talk().with_extension("third");
    let talk = File::create(&third_says).unwrap();
    let mut third = Larder(
        scene
            .command(&["--wait", "0s"])
            .stderr(talk)
            .spawn()
            .unwrap(),
    );
    assert_eq!(third.end(), Some(4));
    let said = fs::read_to_string(third_says).unwrap();
    assert!(said.contains("still being downloaded"), "{said}");
    let before = scene.hub.requests().len();
    first.signal(Signal::KILL);
    first.end();
    scene.record(second.pid());
    assert_eq!(second.end(), Some(0));
    assert!(absent(&scene.path()));
    assert_all_visible_bytes_proven(&scene.cache());
    let requests = scene.hub.requests().split_off(before);
    let small = requests
        .iter()
        .find(|one| one.path.ends_with("/config.json"));
    assert!(
        small.is_none(),
        "what was in place is not fetched again: {small:?}"
    );
}

/// The old download script's marker holds no `flock`, and names nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_scripts_marker_is_waited_for_and_goes_when_nobody_can_miss_it() {
    let scene = Scene::new(10_000_000).await;
    fs::create_dir_all(scene.path().parent().unwrap()).unwrap();
    fs::write(scene.path(), "Manual download started at noon\n").unwrap();
    let talk = File::create(scene.talk()).unwrap();
    let mut larder = Larder(scene.command(&[]).stderr(talk).spawn().unwrap());
    wait_for("larder to wait for the script", || {
        let said = fs::read_to_string(scene.talk()).unwrap();
        said.contains("waiting for").then_some(())
    });
    let text = fs::read_to_string(scene.path()).unwrap();
    assert_eq!(text, "Manual download started at noon\n");
    // No program downloads, and nothing grows.
    let marker = File::options().write(true).open(scene.path()).unwrap();
    let then = SystemTime::now() - Duration::from_mins(1);
    marker.set_modified(then).unwrap();
    assert_eq!(larder.end(), Some(0));
    assert!(absent(&scene.path()));
}
