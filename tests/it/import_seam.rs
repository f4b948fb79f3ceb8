//! An import that dies, or whose disk fails, at any step: the cache stays one that every tool reads,
//! what is offered stays as it is, and a second import finishes.

use std::fs;
use std::path::{Path, PathBuf};

use crate::seam::try_all;
use crate::support::scene::{Beginning, Kitchen, MODEL, Table};
use crate::support::seam::{EVERY_CHANGE, Fault, Step, tell};

/// So many random moments.
const MOMENTS: usize = 60;

/// Every file of the model, as a plain folder.
fn plain_files(kitchen: &mut Kitchen) -> PathBuf {
    let table = kitchen.table(Beginning::Nothing);
    table.pull_model(None).expect_complete();
    let repo = table.repo();
    let commit = fs::read_to_string(repo.join("refs/main")).unwrap();
    let to = std::env::temp_dir().join(format!(
        "larder-offered-{}-{}",
        std::process::id(),
        fastrand::u64(..)
    ));
    dereference(&repo.join("snapshots").join(commit), &to);
    to
}

fn dereference(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            dereference(&entry.path(), &target);
        } else {
            fs::write(target, fs::read(entry.path()).unwrap()).unwrap();
        }
    }
}

fn import(
    table: &Table,
    folder: &Path,
    seam: Option<&crate::support::seam::Seam>,
) -> crate::support::program::Ran {
    table.larder("import", &[folder.to_str().unwrap(), "--repo", MODEL], seam)
}

/// The folder goes away with the test.
struct Offered(PathBuf);

impl Drop for Offered {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn bytes_of(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let files = crate::support::files_below(folder).into_iter();
    files
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

/// Every step of an import from each beginning.
fn all_steps(kitchen: &mut Kitchen, folder: &Path) -> Vec<(Beginning, Step)> {
    let mut all = Vec::new();
    for beginning in Beginning::ALL {
        let table = kitchen.table(beginning);
        let seam = table.seam(&table.cache());
        import(&table, folder, Some(&seam)).expect_complete();
        table.assert_shows_all("without a fault");
        let steps = seam.log().steps();
        tell(&format!("{}: {} steps", beginning.name(), steps.len()));
        let changing = steps.into_iter().filter(|step| step.call() != "open");
        all.extend(changing.map(|step| (beginning, step)));
    }
    all
}

#[test]
fn killed_at_seeded_random_moments_a_cache_that_every_tool_reads_and_a_second_import_finishes() {
    let mut kitchen = Kitchen::new();
    let offered = Offered(plain_files(&mut kitchen));
    let before_all = bytes_of(&offered.0);
    let mut steps = all_steps(&mut kitchen, &offered.0);
    let mut random = fastrand::Rng::with_seed(7);
    random.shuffle(&mut steps);
    steps.truncate(MOMENTS);
    let cases: Vec<(Beginning, Step, Fault)> = steps
        .into_iter()
        .zip([Fault::KillAfter, Fault::KillBefore].into_iter().cycle())
        .map(|((beginning, step), fault)| (beginning, step, fault))
        .collect();
    drop(kitchen);
    try_all(&cases, |kitchen, (beginning, step, fault)| {
        let what = format!("{beginning:?} {step:?} {fault:?}");
        let table = kitchen.table(*beginning);
        let before = table.look();
        let seam = table.seam(&table.cache()).with(step, *fault);
        let ran = import(&table, &offered.0, Some(&seam));
        let is_reached = seam.log().has_happened();
        assert_eq!(ran.code.is_none(), is_reached, "{what}: {ran:#?}");
        table.assert_no_worse_than(&before, &what);
        kitchen.sent_bytes();
        import(&table, &offered.0, None).expect_complete();
        assert_eq!(kitchen.sent_bytes(), 0, "{what}: content was fetched");
        table.assert_shows_all(&what);
        is_reached
    });
    assert_eq!(
        bytes_of(&offered.0),
        before_all,
        "what is offered is only read"
    );
}

#[test]
fn a_disk_that_fails_at_any_kind_of_step_is_told_and_costs_nothing() {
    let mut kitchen = Kitchen::new();
    let offered = Offered(plain_files(&mut kitchen));
    let mut steps = all_steps(&mut kitchen, &offered.0);
    // Of a call that comes often there is now one more, now one less.
    steps.retain(|(_, step)| step.nth == 1);
    let mut random = fastrand::Rng::with_seed(8);
    random.shuffle(&mut steps);
    let full = |errno| Fault::Fails {
        errno,
        onwards: "write,create,mkdir,symlink,link,allocate",
    };
    let cases: Vec<(Beginning, Step, Fault)> = steps
        .into_iter()
        .take(30)
        .enumerate()
        .map(|(at, (beginning, step))| {
            let fault = match at % 3 {
                0 => full(libc::ENOSPC),
                1 => Fault::Fails {
                    errno: libc::EROFS,
                    onwards: EVERY_CHANGE,
                },
                _ => full(libc::EIO),
            };
            (beginning, step, fault)
        })
        .collect();
    drop(kitchen);
    try_all(&cases, |kitchen, (beginning, step, fault)| {
        let what = format!("{beginning:?} {step:?} {fault:?}");
        let table = kitchen.table(*beginning);
        let before = table.look();
        let seam = table.seam(&table.cache()).with(step, *fault);
        let ran = import(&table, &offered.0, Some(&seam));
        let is_reached = seam.log().has_happened();
        assert!(matches!(ran.code, Some(0 | 7)), "{what}: {ran:#?}");
        assert!(!ran.stderr.contains("panicked"), "{what}: {ran:#?}");
        table.assert_no_worse_than(&before, &what);
        import(&table, &offered.0, None).expect_complete();
        table.assert_shows_all(&what);
        is_reached
    });
}

#[test]
fn a_cache_that_cannot_be_written_is_said_to_hold_it_all_or_to_take_nothing() {
    let mut kitchen = Kitchen::new();
    let offered = Offered(plain_files(&mut kitchen));
    let whole = kitchen.table(Beginning::Nothing);
    import(&whole, &offered.0, None).expect_complete();
    let before = bytes_of(&whole.cache());
    let seam = whole.seam(&whole.cache()).always(libc::EROFS, EVERY_CHANGE);
    let ran = import(&whole, &offered.0, Some(&seam));
    ran.expect_complete();
    assert!(ran.stderr.contains("0 B"), "nothing was copied: {ran:#?}");
    assert_eq!(bytes_of(&whole.cache()), before);
    let empty = kitchen.table(Beginning::Nothing);
    let seam = empty.seam(&empty.cache()).always(libc::EROFS, EVERY_CHANGE);
    let ran = import(&empty, &offered.0, Some(&seam));
    assert_eq!(ran.code, Some(7), "{ran:#?}");
    for word in ["read-only", "--cache-dir"] {
        assert!(ran.stderr.contains(word), "{word}: {ran:#?}");
    }
}

/// Until the pointers are there, nothing leads to what was taken in: other programs are told to wait.
#[test]
fn the_marker_is_there_from_the_first_blob_to_the_last_pointer_of_an_import() {
    let mut kitchen = Kitchen::new();
    let offered = Offered(plain_files(&mut kitchen));
    let table = kitchen.table(Beginning::Nothing);
    let seam = table.seam(&table.cache());
    import(&table, &offered.0, Some(&seam)).expect_complete();
    let log = seam.log();
    let of = |part: &str| {
        let is_it = |line: &&crate::support::seam::Line| {
            [&line.path, &line.other]
                .iter()
                .any(|path| path.contains(part))
        };
        let mut lines = log.0.iter().filter(is_it).map(|line| line.number);
        let first = lines
            .next()
            .unwrap_or_else(|| panic!("no {part}: {:?}", log.0));
        (first, lines.next_back().unwrap_or(first))
    };
    let (marker, blobs, snapshots) = (of(".manual_download_lock"), of("blobs/"), of("snapshots/"));
    assert!(marker.0 < blobs.0, "{marker:?} {blobs:?}");
    assert!(marker.1 > snapshots.1, "{marker:?} {snapshots:?}");
}
