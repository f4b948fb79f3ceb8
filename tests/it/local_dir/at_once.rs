//! Several at one folder, and pulls that are broken off: who holds a lock is waited for, everything is
//! fetched once, others see what is at work, and the next one goes on.

use std::fs::{self, File};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::place::{Place, WEIGHTS, slow_weights};
use crate::support::body_bytes;
use crate::support::catalogue::{self, BIG, BIG_WEIGHTS_BYTES, GEMMA};
use crate::support::terminal::Terminal;
use crate::support::watched::Watched;

#[tokio::test(flavor = "multi_thread")]
async fn whoever_holds_pythons_lock_on_a_file_is_waited_for() {
    let place = Place::gemma().await;
    let lock = place.hidden().join("download/config.json.lock");
    fs::create_dir_all(lock.parent().unwrap()).unwrap();
    let held = File::create(&lock).unwrap();
    held.lock().unwrap();
    let words = ["pull", GEMMA, "--all", "--local-dir", "dir", "--events"];
    let mut run = Watched::start(place.home.larder(&words).stderr(Stdio::null()));
    let waiting = run.wait_for("waiting", "config.json");
    assert_eq!(waiting["lock"]["lock"], lock.display().to_string());
    // Everything else comes meanwhile.
    run.wait_for("finished", WEIGHTS);
    assert!(!run.has_ended() && !place.file("config.json").exists());
    drop(held);
    assert_eq!(run.end(), Some(0), "{:?}", run.said.last());
    place.assert_whole("main", &place.files);
    assert_eq!(body_bytes(&place.home.hub), catalogue::gemma_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_at_once_fetch_everything_once() {
    let place = Place::new(catalogue::gemma(), GEMMA, slow_weights(4_000_000)).await;
    let words = ["pull", GEMMA, "--all", "--local-dir", "dir", "--events"];
    let start = || Watched::start(place.home.larder(&words).stderr(Stdio::null()));
    let (mut one, mut other) = (start(), start());
    assert_eq!((one.end(), other.end()), (Some(0), Some(0)));
    place.assert_whole("main", &place.files);
    assert_eq!(body_bytes(&place.home.hub), catalogue::gemma_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_it_goes_on_and_shows_nothing_unproven() {
    const KILLS: u64 = 10;
    let place = Place::new(catalogue::big(), BIG, slow_weights(40_000_000)).await;
    let mut random = fastrand::Rng::with_seed(20_261_127);
    let mut sent = 0;
    for kill in 0..KILLS {
        let mut command = place.home.larder(&[
            "pull",
            BIG,
            "--all",
            "--local-dir",
            "dir",
            "--events",
            "--connections",
            "2",
        ]);
        let mut run = Watched::start(command.stderr(Stdio::null()));
        let until = Instant::now() + Duration::from_secs(20);
        if kill % 3 == 2 {
            // Around the moment at which the weights get their name.
            while run.last("verifying", WEIGHTS).is_none() && !run.has_ended() {
                run.hear();
                assert!(Instant::now() < until);
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(Duration::from_millis(random.u64(0..40)));
        } else {
            std::thread::sleep(Duration::from_millis(random.u64(20..700)));
        }
        run.kill();
        place.assert_visible_is_right();
        for (name, (etag, _)) in &place.files {
            // A note stands for a file that is there; what is visible was compared above.
            if let Ok(note) = fs::read_to_string(place.note(name)) {
                assert!(place.file(name).is_file(), "{name}");
                assert!(note.contains(&etag.to_string()), "{name}: {note}");
            }
        }
        sent += body_bytes(&place.home.hub);
        if kill % 3 == 2 {
            // From the beginning, where it came that far.
            drop(fs::remove_file(place.file(WEIGHTS)));
            drop(fs::remove_file(place.note(WEIGHTS)));
        }
    }
    place.home.hub.set_faults(Vec::new());
    place.pull(&[]);
    place.assert_whole("main", &place.files);
    sent += body_bytes(&place.home.hub);
    // Every removal above costs the file anew; what a kill costs is what was on its way.
    let most = (1 + KILLS / 3) * BIG_WEIGHTS_BYTES + KILLS * (24 << 20);
    assert!(sent <= most, "{sent} of {most}");
    let again = place.pull(&[]);
    assert_eq!(again["fetched_bytes"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_fetched_into_a_folder_is_seen_by_others_and_after_a_kill() {
    let place = Place::new(catalogue::big(), BIG, slow_weights(4_000_000)).await;
    let words = ["pull", BIG, "--all", "--local-dir", "dir", "--events"];
    let mut run = Watched::start(place.home.larder(&words).stderr(Stdio::null()));
    run.wait_for("downloading", WEIGHTS);
    let dir = place.dir().display().to_string();
    let told = |words: &[&str]| {
        let ran = place.home.run(&[&["--json"], words].concat());
        serde_json::from_str::<Value>(&ran.assert_code(0).stdout).unwrap()
    };
    let is_weights = |row: &&Value| row["file"] == WEIGHTS;
    let find = |rows: &Value| rows.as_array().unwrap().iter().find(is_weights).cloned();
    for words in [
        &["locks"][..],
        &["locks", BIG],
        &["status"],
        &["status", BIG],
    ] {
        let seen = told(words);
        let lock = find(&seen["locks"]).unwrap_or_else(|| panic!("{words:?}: {seen:#}"));
        assert_eq!(lock["state"], "held", "{words:?}");
        assert_eq!(lock["repo"], BIG);
        assert_eq!(lock["kind"], "local-dir");
        assert_eq!(lock["cache_path"], dir);
        assert_eq!(lock["pid"], run.pid());
        if words[0] == "status" {
            let partial = find(&seen["partials"]).unwrap();
            assert_eq!(partial["state"], "live", "{seen:#}");
            assert_eq!(partial["repo"], BIG);
            assert!(partial["path"].as_str().unwrap().starts_with(&dir));
        }
    }
    let said = place.home.run(&["status"]).stdout;
    assert!(said.contains(&dir) && said.contains(BIG), "{said}");

    run.kill();
    let seen = told(&["status", BIG]);
    assert_eq!(seen["locks"].as_array().unwrap().len(), 0, "{seen:#}");
    let said = place.home.run(&["status"]).stdout;
    assert!(said.contains(&dir), "{said}");
    // Nothing of it is in the cache, and a folder that is gone is no place any more.
    let away = place.home.path().join("away");
    fs::rename(place.dir(), &away).unwrap();
    let said = place.home.run(&["status"]).stdout;
    assert!(!said.contains(&dir), "{said}");
    fs::rename(&away, place.dir()).unwrap();

    // Once it is complete it is the person's own.
    place.home.hub.set_faults(Vec::new());
    place.pull(&[]);
    let said = place.home.run(&["status"]).stdout;
    assert!(!said.contains(&dir), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_into_a_folder_that_was_killed_is_gone_on_with_in_that_folder() {
    let place = Place::new(catalogue::big(), BIG, slow_weights(4_000_000)).await;
    let words = ["pull", BIG, "--all", "--local-dir", "dir", "--events"];
    let mut run = Watched::start(place.home.larder(&words).stderr(Stdio::null()));
    run.wait_for("downloading", WEIGHTS);
    run.kill();
    place.home.hub.set_faults(Vec::new());
    let dir = place.dir().display().to_string();
    let home = place.home;
    let terminal = Terminal::start(&home, &[]);
    terminal.wait_for("the question", |screen| {
        let text = screen.replace(['\n', ' ', '│'], "");
        screen.contains("Go on?") && text.contains(&dir)
    });
    drop(terminal);
    let mut terminal = Terminal::start(&home, &["--resume"]);
    terminal.wait_for("the end", |screen| screen.contains("complete and verified"));
    terminal.press("q");
    assert_eq!(terminal.wait(), 0);
    assert!(home.path().join("dir").join(WEIGHTS).is_file());
    assert!(!home.cache().exists(), "nothing goes into the cache");
}
