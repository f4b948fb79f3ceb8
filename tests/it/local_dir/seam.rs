//! Faults at the seam between larder and the file system while it pulls into a folder: calls fail,
//! the process dies, nothing can be written. What is visible is what the Hub has, a note that Python
//! would believe is true, and the next run completes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use super::place::visible;
use crate::seam::{faults_of, is_long, kind_of, try_all};
use crate::support::program::Ran;
use crate::support::scene::{Beginning, Kitchen, MODEL, Table};
use crate::support::seam::{EVERY_CHANGE, Fault, Seam, Step};
use crate::support::{files_below, traces};

const OLDER: &[&str] = &["--local-dir", "dir", "--revision", "older", MODEL];
const MAIN: &[&str] = &["--local-dir", "dir", MODEL];

/// Steps that are tried, unless all of them are wanted.
const MOST: usize = 60;

/// What a folder should hold: bytes by etag and by path.
#[derive(Default)]
struct Truth {
    by_etag: BTreeMap<String, Vec<u8>>,
    main: BTreeMap<String, Vec<u8>>,
}

/// The notes in a folder: file, etag and time.
fn notes(dir: &Path) -> Vec<(String, String, f64)> {
    let folder = dir.join(".cache/huggingface/download");
    if !folder.is_dir() {
        return Vec::new();
    }
    let all = files_below(&folder).into_iter();
    all.filter_map(|path| {
        let name = path.strip_prefix(&folder).unwrap().to_str().unwrap();
        let name = name.strip_suffix(".metadata")?.to_owned();
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        Some((name, lines[1].to_owned(), lines[2].parse().unwrap()))
    })
    .collect()
}

impl Truth {
    fn learn(&mut self, dir: &Path) {
        self.main = visible(dir);
        for (name, etag, _) in notes(dir) {
            self.by_etag.insert(etag, self.main[&name].clone());
        }
    }

    #[track_caller]
    fn assert_kept(&self, dir: &Path, what: &str) {
        let found = visible(dir);
        for (name, bytes) in &found {
            let is_proven = self.by_etag.values().any(|right| right == bytes);
            assert!(is_proven, "{what}: `{name}` is not proven");
        }
        for (name, etag, at) in notes(dir) {
            let Some(bytes) = found.get(&name) else {
                continue;
            };
            let modified = fs::metadata(dir.join(&name)).unwrap().modified().unwrap();
            let modified = modified.duration_since(SystemTime::UNIX_EPOCH).unwrap();
            if modified.as_secs_f64() <= at {
                assert!(
                    self.by_etag[&etag] == *bytes,
                    "{what}: the note on `{name}` lies"
                );
            }
        }
    }

    #[track_caller]
    fn assert_whole(&self, dir: &Path, what: &str) {
        self.assert_kept(dir, what);
        assert!(visible(dir) == self.main, "{what}");
        assert_eq!(notes(dir).len(), self.main.len(), "{what}");
    }
}

/// One thing that goes wrong in a folder that was empty, or that holds an older commit.
#[derive(Clone, Debug)]
struct Case {
    has_older: bool,
    step: Step,
    fault: Fault,
}

fn table(kitchen: &mut Kitchen, has_older: bool) -> Table {
    let table = kitchen.table(Beginning::Nothing);
    if has_older {
        table.pull(OLDER, None).expect_complete();
    }
    table
}

fn attempt(kitchen: &mut Kitchen, case: &Case, truth: &Truth) -> (Ran, bool) {
    let what = format!("{case:?}");
    let table = table(kitchen, case.has_older);
    let dir = table.path().join("dir");
    let seam: Seam = table.seam(&dir).with(&case.step, case.fault);
    let ran = table.pull(MAIN, Some(&seam));
    let is_reached = seam.log().has_happened();
    assert!(!ran.stderr.contains("panicked"), "{what}: {ran:#?}");
    truth.assert_kept(&dir, &what);
    let again = table.pull(MAIN, None);
    assert_eq!(again.code, Some(0), "{what}: {ran:#?} {again:#?}");
    truth.assert_whole(&dir, &what);
    (ran, is_reached)
}

/// A step without the name of the file that it is about: one kind of step for each size, since what
/// is large comes another way than what is small.
fn kind(step: &Step) -> String {
    const NAMES: [(&str, &str); 8] = [
        ("xGOKKLRSlIhH692hSVvI1-gpoa8=", "large"),
        ("model.safetensors", "large"),
        ("HgM_lKo9sdSCfRtVg7MMFS7EKqo=", "middle"),
        ("tokenizer.json", "middle"),
        ("README.md", "small"),
        ("config.json", "small"),
        ("merges.txt", "small"),
        ("nested.json", "small"),
    ];
    let mut kind = kind_of(step);
    for (name, size) in NAMES {
        kind = kind.replace(name, size);
    }
    // What Python calls the others.
    match kind.split_once("=.") {
        Some((start, end)) => {
            let folder = start.rsplit_once('/').map_or("", |(folder, _)| folder);
            format!("{folder}/small.{end}")
        }
        None => kind,
    }
}

/// The kinds of steps of a pull, from each beginning, and what a folder should hold.
fn steps() -> (Vec<(bool, Step)>, Truth) {
    let mut kitchen = Kitchen::new();
    let (mut truth, mut steps) = (Truth::default(), Vec::new());
    let mut known = BTreeSet::new();
    for has_older in [true, false] {
        let table = table(&mut kitchen, has_older);
        let dir = table.path().join("dir");
        if has_older {
            truth.learn(&dir);
        }
        let seam = table.seam(&dir);
        table.pull(MAIN, Some(&seam)).expect_complete();
        truth.learn(&dir);
        for step in seam.log().steps() {
            if is_long() || known.insert(kind(&step)) {
                steps.push((has_older, step));
            }
        }
    }
    if !is_long() {
        fastrand::Rng::with_seed(7).shuffle(&mut steps);
        steps.truncate(MOST);
    }
    (steps, truth)
}

#[test]
fn killed_at_any_step_the_folder_shows_nothing_wrong_and_the_next_run_completes() {
    let (steps, truth) = steps();
    let faults = [Fault::KillAfter, Fault::KillBefore];
    let changes = steps.into_iter().filter(|(_, step)| step.call() != "open");
    let cases: Vec<Case> = changes
        .zip(faults.into_iter().cycle())
        .map(|((has_older, step), fault)| Case {
            has_older,
            step,
            fault,
        })
        .collect();
    assert!(cases.len() > 25, "{}", cases.len());
    try_all(&cases, |kitchen, case| {
        let (ran, is_reached) = attempt(kitchen, case, &truth);
        assert_eq!(ran.code.is_none(), is_reached, "{case:?}: {ran:#?}");
        is_reached
    });
}

#[test]
fn a_call_that_fails_costs_nothing_in_the_folder_and_the_next_run_completes() {
    let (steps, truth) = steps();
    let mut cases = Vec::new();
    for (at, (has_older, step)) in steps.into_iter().enumerate() {
        let faults = faults_of(&step);
        let fault = faults[at % faults.len()];
        cases.push(Case {
            has_older,
            step,
            fault,
        });
    }
    try_all(&cases, |kitchen, case| {
        let (ran, is_reached) = attempt(kitchen, case, &truth);
        assert!(matches!(ran.code, Some(0 | 7)), "{case:?}: {ran:#?}");
        is_reached
    });
}

#[test]
fn a_whole_model_in_a_folder_that_cannot_be_written_is_complete_and_nothing_is_tried() {
    let mut kitchen = Kitchen::new();
    let table = kitchen.table(Beginning::Nothing);
    let dir = table.path().join("dir");
    let words = ["--local-dir", "dir", MODEL];
    table.pull(&words, None).expect_complete();
    kitchen.sent_bytes();
    let before = traces(&dir);
    let seam = table.seam(&dir).always(libc::EROFS, EVERY_CHANGE);
    table.pull(&words, Some(&seam)).expect_complete();
    seam.log().assert_nothing_tried();
    assert!(traces(&dir) == before);
    assert_eq!(kitchen.sent_bytes(), 0);

    // Without its note a file is as right, and that it cannot be noted is told.
    fs::remove_file(dir.join(".cache/huggingface/download/config.json.metadata")).unwrap();
    let seam = table.seam(&dir).always(libc::EROFS, EVERY_CHANGE);
    let ran = table.pull(&words, Some(&seam));
    ran.expect_complete();
    assert!(ran.stderr.contains("noted for Python"), "{}", ran.stderr);
    assert_eq!(kitchen.sent_bytes(), 0);
}

#[test]
fn a_model_that_is_missing_in_a_folder_that_cannot_be_written_fails_with_a_reason() {
    let mut kitchen = Kitchen::new();
    let table = kitchen.table(Beginning::Nothing);
    let dir = table.path().join("dir");
    fs::create_dir(&dir).unwrap();
    let seam = table.seam(&dir).always(libc::EROFS, EVERY_CHANGE);
    let ran = table.pull(&["--local-dir", "dir", MODEL], Some(&seam));
    assert_eq!(ran.code, Some(7), "{ran:#?}");
    assert!(ran.stderr.contains("ead-only"), "{}", ran.stderr);
    assert!(visible(&dir).is_empty());
}
