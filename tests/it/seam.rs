//! Faults at every step of a pull, at the seam between larder and the file system: a call fails, the
//! process dies. Whatever happens, nothing is shown that is not proven, nothing is lost that could be
//! read, the failure is one of the disk's, and the next run completes.
//!
//! By default each kind of step is tried, with errors in turn; `LARDER_TEST_EVERY_STEP=1` tries every
//! step with every error.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use crate::support::program::Ran;
use crate::support::scene::{Beginning, Kitchen, Table};
use crate::support::seam::{EVERY_CHANGE, Fault, Log, Step, tell};

/// Cases that run at once.
const AT_ONCE: usize = 3;

/// One thing that goes wrong.
#[derive(Clone, Debug)]
struct Case {
    beginning: Beginning,
    step: Step,
    fault: Fault,
}

pub(crate) fn is_long() -> bool {
    std::env::var_os("LARDER_TEST_EVERY_STEP").is_some()
}

/// What a step may meet. From an error on, the calls behind it fail as well where a full disk, a
/// disk that is going and one that was made read-only do that.
pub(crate) fn faults_of(step: &Step) -> Vec<Fault> {
    const TAKES_SPACE: &str = "write,create,mkdir,symlink,link,allocate";
    const BYTES: &str = "write,sync";

    let once = |errno| Fault::Fails { errno, onwards: "" };
    let full = |errno| Fault::Fails {
        errno,
        onwards: TAKES_SPACE,
    };
    let read_only = Fault::Fails {
        errno: libc::EROFS,
        onwards: EVERY_CHANGE,
    };
    let going = Fault::Fails {
        errno: libc::EIO,
        onwards: BYTES,
    };
    match step.call() {
        "open" => vec![once(libc::EACCES), once(libc::EIO)],
        "openw" => vec![once(libc::EACCES), read_only],
        "create" | "mkdir" => vec![
            full(libc::ENOSPC),
            once(libc::EACCES),
            read_only,
            once(libc::EIO),
        ],
        "write" => vec![
            full(libc::ENOSPC),
            once(libc::EIO),
            full(libc::EDQUOT),
            going,
            Fault::Short,
        ],
        "sync" => vec![once(libc::EIO), going, once(libc::ENOSPC)],
        "rename" => vec![
            once(libc::EACCES),
            once(libc::EIO),
            full(libc::ENOSPC),
            read_only,
        ],
        "symlink" => vec![
            once(libc::EPERM),
            once(libc::EACCES),
            full(libc::ENOSPC),
            read_only,
        ],
        "link" => vec![once(libc::EPERM), once(libc::EMLINK), read_only],
        "unlink" | "rmdir" => vec![once(libc::EACCES), once(libc::EIO), read_only],
        "truncate" | "allocate" => vec![once(libc::EIO), full(libc::ENOSPC)],
        _ => vec![once(libc::EPERM), once(libc::EROFS)],
    }
}

/// A step without the names of blobs and commits: one kind of step.
pub(crate) fn kind_of(step: &Step) -> String {
    let hexadecimal = |word: &str| {
        let is_name = matches!(word.len(), 40 | 64);
        is_name && word.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let words = step
        .name
        .split_inclusive(|c: char| !c.is_ascii_alphanumeric());
    words
        .map(|word| {
            let bare = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
            if hexadecimal(bare) {
                word.replace(bare, "E")
            } else {
                word.to_owned()
            }
        })
        .collect()
}

/// The steps to be tried: every one, or the first of each kind and some of the others.
pub(crate) fn chosen(
    steps: &BTreeMap<&'static str, (Beginning, Vec<Step>)>,
    random: &mut fastrand::Rng,
) -> Vec<(Beginning, Step)> {
    const OTHERS: usize = 8;

    let (mut chosen, mut others) = (Vec::new(), Vec::new());
    let mut known = BTreeSet::new();
    for (beginning, steps) in steps.values() {
        for step in steps {
            let is_new = known.insert(kind_of(step));
            let list = if is_new || is_long() {
                &mut chosen
            } else {
                &mut others
            };
            list.push((*beginning, step.clone()));
        }
    }
    random.shuffle(&mut others);
    chosen.extend(others.into_iter().take(OTHERS));
    chosen
}

/// The steps of a pull from each beginning.
pub(crate) fn steps_of(
    kitchen: &mut Kitchen,
    is_wanted: impl Fn(&str, &str) -> bool,
) -> BTreeMap<&'static str, (Beginning, Vec<Step>)> {
    let mut all = BTreeMap::new();
    for beginning in Beginning::ALL {
        let log = steps_from(kitchen, beginning);
        let steps = log.steps().into_iter().zip(&log.0);
        let wanted = steps
            .filter(|(step, line)| is_wanted(step.call(), &line.outcome))
            .map(|(step, _)| step)
            .collect();
        all.insert(beginning.name(), (beginning, wanted));
    }
    all
}

fn steps_from(kitchen: &mut Kitchen, beginning: Beginning) -> Log {
    let table = kitchen.table(beginning);
    let seam = table.seam(&table.cache());
    table.pull_model(Some(&seam)).expect_complete();
    table.assert_whole("without a fault");
    seam.log()
}

/// Tries all cases and tells of every one that fails.
pub(crate) fn try_all<C: Clone + std::fmt::Debug + Send + Sync>(
    cases: &[C],
    attempt: impl Fn(&mut Kitchen, &C) -> bool + Sync,
) {
    let next = Mutex::new(cases.iter());
    let (failed, reached) = (Mutex::new(Vec::new()), Mutex::new(0));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                let mut kitchen = Kitchen::new();
                loop {
                    let Some(case) = next.lock().unwrap().next() else {
                        return;
                    };
                    match catch_unwind(AssertUnwindSafe(|| attempt(&mut kitchen, case))) {
                        Ok(is_reached) => *reached.lock().unwrap() += usize::from(is_reached),
                        Err(_) => failed.lock().unwrap().push(case.clone()),
                    }
                }
            });
        }
    });
    let (failed, reached) = (failed.into_inner().unwrap(), reached.into_inner().unwrap());
    assert!(failed.is_empty(), "{} failed: {failed:#?}", failed.len());
    // Of writes there are now more, now fewer.
    let all = cases.len();
    tell(&format!("{reached} of {all} steps were reached"));
    assert!(
        reached * 10 >= all * 9,
        "only {reached} of {all} steps were reached"
    );
}

#[track_caller]
fn assert_told(ran: &Ran, table: &Table, what: &str) {
    assert!(!ran.stderr.contains("panicked"), "{what}: {ran:#?}");
    assert!(matches!(ran.code, Some(0 | 7)), "{what}: {ran:#?}");
    if ran.code == Some(0) {
        return;
    }
    let path = table.path().to_str().unwrap();
    assert!(ran.stderr.contains(path), "{what}: {ran:#?}");
    assert!(ran.stderr.contains("--cache-dir"), "{what}: {ran:#?}");
}

#[test]
fn a_call_that_fails_costs_nothing_that_was_there_and_the_next_run_completes() {
    let mut kitchen = Kitchen::new();
    let mut random = fastrand::Rng::with_seed(5);
    let steps = steps_of(&mut kitchen, |_, _| true);
    let mut cases = Vec::new();
    for (at, (beginning, step)) in chosen(&steps, &mut random).into_iter().enumerate() {
        let faults = faults_of(&step);
        let turn = at % faults.len();
        let faults = faults.into_iter().enumerate();
        let wanted = faults.filter(|(number, _)| is_long() || *number == turn);
        cases.extend(wanted.map(|(_, fault)| Case {
            beginning,
            step: step.clone(),
            fault,
        }));
    }
    for (name, (_, steps)) in &steps {
        tell(&format!("{name}: {} steps", steps.len()));
    }
    drop(kitchen);
    try_all(&cases, |kitchen, case| {
        let what = format!("{case:?}");
        let table = kitchen.table(case.beginning);
        let before = table.look();
        let seam = table.seam(&table.cache()).with(&case.step, case.fault);
        let ran = table.pull_model(Some(&seam));
        assert_told(&ran, &table, &what);
        table.assert_no_worse_than(&before, &what);
        let is_reached = seam.log().has_happened();
        assert!(is_reached || ran.code == Some(0), "{what}: {ran:#?}");
        table.pull_model(None).expect_complete();
        table.assert_whole(&what);
        is_reached
    });
}

#[test]
fn killed_at_any_step_the_cache_is_readable_and_no_more_is_fetched_than_was_missing() {
    let mut kitchen = Kitchen::new();
    let mut random = fastrand::Rng::with_seed(6);
    let steps = steps_of(&mut kitchen, |call, outcome| {
        call != "open" && outcome == "ok"
    });
    let cases: Vec<Case> = chosen(&steps, &mut random)
        .into_iter()
        .zip(
            [Fault::KillAfter, Fault::KillBefore, Fault::KillAfter]
                .into_iter()
                .cycle(),
        )
        .map(|((beginning, step), fault)| Case {
            beginning,
            step,
            fault,
        })
        .collect();
    drop(kitchen);
    try_all(&cases, |kitchen, case| {
        let what = format!("{case:?}");
        let table = kitchen.table(case.beginning);
        let before = table.look();
        let seam = table.seam(&table.cache()).with(&case.step, case.fault);
        let ran = table.pull_model(Some(&seam));
        let is_reached = seam.log().has_happened();
        assert_eq!(ran.code.is_none(), is_reached, "{what}: {ran:#?}");
        table.assert_no_worse_than(&before, &what);
        let missing = table.missing_bytes();
        kitchen.sent_bytes();
        table.pull_model(None).expect_complete();
        let sent = kitchen.sent_bytes();
        assert!(
            sent <= missing,
            "{what}: {sent} bytes sent, {missing} missing"
        );
        table.assert_whole(&what);
        is_reached
    });
}

/// After a sync that failed, systems hold pages for written that are not, show them to whoever reads
/// and call the next sync a success: what was not synced has to come anew.
#[test]
fn bytes_that_could_not_be_synced_never_become_a_blob_unless_they_are_written_again() {
    let mut kitchen = Kitchen::new();
    let steps = steps_from(&mut kitchen, Beginning::Nothing).steps();
    let synced = steps.iter().filter(|step| {
        step.name.starts_with("sync") && step.name.contains("/blobs/") && step.nth == 1
    });
    let mut tried = 0;
    for step in synced {
        let table = kitchen.table(Beginning::Nothing);
        let fault = Fault::Fails {
            errno: libc::EIO,
            onwards: "",
        };
        let seam = table.seam(&table.cache()).with(step, fault);
        let ran = table.pull_model(Some(&seam));
        assert_eq!(ran.code, Some(7), "{step:?}: {ran:#?}");
        let failed = seam.log();
        let lost = failed
            .0
            .iter()
            .find(|line| line.outcome == "failed")
            .unwrap();
        let seam = table.seam(&table.cache());
        table.pull_model(Some(&seam)).expect_complete();
        table.assert_whole(&step.name);
        // Names of blobs, and the file that got each.
        let log = seam.log();
        let (blob, _) = lost.label.split_once('.').unwrap();
        let named = log
            .0
            .iter()
            .rfind(|line| line.call == "rename" && line.path == blob);
        let named = named.unwrap_or_else(|| panic!("{step:?}: nothing was named anew"));
        let lines = log.0.iter().filter(|line| line.number < named.number);
        let written: u64 = lines
            .filter(|line| line.call == "write" && line.inode == named.inode)
            .map(|line| line.length)
            .sum();
        assert_eq!(
            written,
            table.repo().join("..").join(blob).metadata().unwrap().len()
        );
        tried += 1;
    }
    assert!(tried >= 7, "{tried} files are synced");
}

/// The state folder is no part of the cache: what fails there is told at most.
#[test]
fn whatever_goes_wrong_with_the_ledger_the_pull_completes() {
    let mut kitchen = Kitchen::new();
    let table = kitchen.table(Beginning::Older);
    let seam = table.seam(&table.state());
    table.pull_model(Some(&seam)).expect_complete();
    let mut cases = Vec::new();
    let mut known = BTreeSet::new();
    for step in seam.log().steps() {
        if step.name.contains(".log") || !known.insert(step.name.clone()) && !is_long() {
            continue;
        }
        let faults = faults_of(&step).into_iter().chain([Fault::KillAfter]);
        let turn = cases.len() % faults.clone().count();
        let faults = faults.enumerate();
        let wanted = faults.filter(|(number, _)| is_long() || *number == turn);
        cases.extend(wanted.map(|(_, fault)| Case {
            beginning: Beginning::Older,
            step: step.clone(),
            fault,
        }));
    }
    drop(kitchen);
    try_all(&cases, |kitchen, case| {
        let what = format!("{case:?}");
        let table = kitchen.table(case.beginning);
        let seam = table.seam(&table.state()).with(&case.step, case.fault);
        let ran = table.pull_model(Some(&seam));
        let is_reached = seam.log().has_happened();
        let is_killed = matches!(case.fault, Fault::KillAfter) && is_reached;
        assert_eq!(ran.code, (!is_killed).then_some(0), "{what}: {ran:#?}");
        assert!(!ran.stderr.contains("panicked"), "{what}: {ran:#?}");
        table.pull_model(None).expect_complete();
        table.assert_whole(&what);
        is_reached
    });
}
