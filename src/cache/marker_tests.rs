//! The download marker: whose it is, what it says, when it goes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::cache::fixture::{self, now, repo};

struct Scene {
    _dir: fixture::Folder,
    layout: Layout,
    repo: RepoId,
}

impl Scene {
    fn new() -> Self {
        let (dir, layout) = fixture::cache();
        let repo = repo("org/m");
        crate::cache::prepare_repo(&layout, &repo).unwrap();
        Self {
            _dir: dir,
            layout,
            repo,
        }
    }

    fn path(&self) -> PathBuf {
        self.layout.marker(&self.repo)
    }

    fn remove_stale(&self, programs: &Programs) -> bool {
        remove_stale_marker(&self.layout, &self.repo, || programs.clone(), now()).unwrap()
    }

    fn attempt(&self) -> MarkerAttempt {
        Marker::take(&self.layout, &self.repo, now()).unwrap()
    }

    #[track_caller]
    fn take(&self) -> Marker {
        match self.attempt() {
            MarkerAttempt::Held(marker) => marker,
            other => panic!("{other:?}"),
        }
    }
}

fn progress(files: u64) -> MarkerProgress {
    MarkerProgress {
        files_done: files,
        files_total: 5,
        bytes_done: files * 1_000_000_007,
        bytes_total: u64::MAX,
    }
}

#[test]
fn it_says_who_and_how_far_and_goes_with_its_owner() {
    fixture::with_umask(0o022, || {
        let scene = Scene::new();
        let marker = scene.take();
        assert!(matches!(scene.attempt(), MarkerAttempt::Busy));
        for files in [3, 4] {
            marker.write(&progress(files)).unwrap();
            let record = read_marker(&scene.layout, &scene.repo).unwrap();
            assert_eq!(record.pid, Some(std::process::id()));
            assert_eq!(record.host.unwrap(), host::host_name());
            assert!(record.program.unwrap().starts_with("larder "));
            assert_eq!(record.progress, Some(progress(files)));
        }
        let text = fs::read_to_string(scene.path()).unwrap();
        let names: Vec<&str> = text
            .lines()
            .map(|line| line.split_once(": ").unwrap().0)
            .collect();
        assert_eq!(
            names,
            ["pid", "host", "started", "program", "files", "bytes"]
        );
        let mode = scene.path().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o664, "a group may share a cache");
        assert!(!scene.remove_stale(&Programs::unknown()));
        drop(marker);
        assert!(!scene.path().exists());
        assert!(!scene.remove_stale(&Programs::unknown()));
        assert!(!scene.path().exists(), "asking makes none");
    });
}

#[test]
fn what_the_dead_left_is_taken_over_or_removed() {
    let scene = Scene::new();
    let long = format!(
        "pid: 4000000\nhost: {}\n{}",
        host::host_name(),
        "x".repeat(900)
    );
    for left in ["", &long] {
        fs::write(scene.path(), left).unwrap();
        let marker = scene.take();
        marker.write(&progress(1)).unwrap();
        let record = read_marker(&scene.layout, &scene.repo).unwrap();
        assert_eq!(record.progress, Some(progress(1)));
        assert!(fs::metadata(scene.path()).unwrap().len() < 400);
        drop(marker);
        assert!(!scene.path().exists());
        fs::write(scene.path(), left).unwrap();
        // An empty one may be about to be written.
        let file = File::options().write(true).open(scene.path()).unwrap();
        file.set_modified(now() - 2 * CREATING).unwrap();
        assert!(scene.remove_stale(&Programs::unknown()));
        assert!(!scene.path().exists());
    }
}

/// A power cut leaves zeros, or a part of what was written.
#[test]
fn what_a_power_cut_left_is_nobodys() {
    let scene = Scene::new();
    let marker = scene.take();
    marker.write(&progress(1)).unwrap();
    let whole = fs::read(scene.path()).unwrap();
    drop(marker);
    let mut holed = whole.clone();
    holed[100..200].fill(0);
    let mut cuts = vec![vec![0; whole.len()], holed];
    cuts.extend((1..whole.len()).step_by(7).map(|at| whole[..at].to_vec()));
    for left in cuts {
        fs::write(scene.path(), &left).unwrap();
        assert!(!scene.remove_stale(&Programs::unknown()), "it is young");
        let file = File::options().write(true).open(scene.path()).unwrap();
        file.set_modified(now() - 2 * CREATING).unwrap();
        assert!(scene.remove_stale(&Programs::unknown()), "{left:?}");
        fs::write(scene.path(), &left).unwrap();
        drop(scene.take());
        assert!(!scene.path().exists());
    }
    assert!(!is_torn("pid: 7\nhost: elsewhere.example\n"));
    assert!(!is_torn(std::str::from_utf8(&whole).unwrap()));
}

/// The old script's marker holds no `flock`, and may be at work all the same.
#[test]
fn what_names_no_process_or_another_machine_stays() {
    let scene = Scene::new();
    let script = "Manual download started at Fri Nov 27 06:00:00 UTC 2026\n";
    fs::write(scene.path(), script).unwrap();
    assert!(matches!(scene.attempt(), MarkerAttempt::Foreign));
    assert!(!scene.remove_stale(&Programs::unknown()));
    let file = File::options().write(true).open(scene.path()).unwrap();
    file.set_modified(now() - 10 * FRESH).unwrap();
    assert!(!scene.remove_stale(&Programs::unknown()));
    let process = host::Process {
        pid: 7,
        arguments: vec!["bash".to_owned(), "manual_model_download.sh".to_owned()],
        since_ms: Some(0),
    };
    let at_work = Programs::among(Some(&[process]), |_| Some(Vec::new()));
    assert!(!scene.remove_stale(&at_work));
    assert_eq!(fs::read_to_string(scene.path()).unwrap(), script);
    // Nobody downloads, and nothing has changed for minutes.
    let nobody = Programs::among(Some(&[]), |_| Some(Vec::new()));
    assert!(scene.remove_stale(&nobody));
    assert!(!scene.path().exists());
    fs::write(scene.path(), "pid: 7\nhost: elsewhere.example\n").unwrap();
    let file = File::options().write(true).open(scene.path()).unwrap();
    file.set_modified(now()).unwrap();
    assert!(matches!(scene.attempt(), MarkerAttempt::Busy));
    assert!(!scene.remove_stale(&Programs::unknown()));
    file.set_modified(now() - 2 * FRESH).unwrap();
    drop(scene.take());
    assert!(!scene.path().exists());
}

#[test]
fn one_that_others_removed_or_replaced_is_not_ours_any_more() {
    let scene = Scene::new();
    let marker = scene.take();
    assert!(marker.is_ours());
    fs::remove_file(scene.path()).unwrap();
    assert!(!marker.is_ours());
    fs::write(scene.path(), "somebody else").unwrap();
    drop(marker);
    assert_eq!(fs::read_to_string(scene.path()).unwrap(), "somebody else");
}

/// A script that begins later writes into the same file.
#[test]
fn one_that_was_written_over_is_left_to_its_writer() {
    let scene = Scene::new();
    let marker = scene.take();
    marker.write(&progress(1)).unwrap();
    fs::write(scene.path(), "Manual download started at noon\n").unwrap();
    assert!(!marker.is_ours());
    drop(marker);
    assert!(scene.path().exists());
    assert!(matches!(scene.attempt(), MarkerAttempt::Foreign));
}

#[test]
fn a_link_in_its_place_is_not_followed() {
    let scene = Scene::new();
    let target = scene.layout.root().join("target");
    fs::write(&target, "").unwrap();
    std::os::unix::fs::symlink(&target, scene.path()).unwrap();
    assert!(Marker::take(&scene.layout, &scene.repo, now()).is_err());
    assert_eq!(read_marker(&scene.layout, &scene.repo), None);
    assert!(target.exists());
}

/// Ends the writer also when the reader finds something: it would go on for ever.
struct Ends<'a>(&'a AtomicBool);
impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Each record is written with all numbers alike: one that mixes two was torn.
#[test]
fn a_reader_never_sees_half_a_record() {
    let scene = Scene::new();
    let marker = scene.take();
    marker.write(&MarkerProgress::default()).unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _ends = Ends(&is_over);
        scope.spawn(|| {
            let mut number = 0;
            while !is_over.load(Ordering::Relaxed) {
                // Short and long numbers in turn.
                number += 1;
                let value = number % 10_u64.pow(1 + (number % 9) as u32);
                let all = MarkerProgress {
                    files_done: value,
                    files_total: value,
                    bytes_done: value,
                    bytes_total: value,
                };
                marker.write(&all).unwrap();
            }
        });
        for _ in 0..3000 {
            // A writer this busy may outrun a reader, who then says so.
            if let Some(record) = read_marker(&scene.layout, &scene.repo) {
                let seen = record.progress.unwrap();
                let value = seen.files_done;
                assert_eq!(
                    (seen.files_total, seen.bytes_done, seen.bytes_total),
                    (value, value, value)
                );
            }
        }
    });
}

#[test]
fn a_marker_is_read_in_every_form() {
    let record = |pid, host: &str| MarkerRecord {
        pid,
        host: Some(host.to_owned()),
        ..MarkerRecord::default()
    };
    for text in ["pid 7\nhost h\n", "pid=7\nhost=h", "PID: 7\nHost:  h\nx"] {
        assert_eq!(MarkerRecord::of(text), record(Some(7), "h"), "{text:?}");
    }
    assert_eq!(
        MarkerRecord::of("Manual download started at 7"),
        MarkerRecord::default()
    );
    for odd in ["files: 1/2", "files: 1/2\nbytes: x/2", "files: 1\nbytes: 2"] {
        assert_eq!(MarkerRecord::of(odd).progress, None, "{odd:?}");
    }
}
