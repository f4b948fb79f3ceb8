//! A power cut, after the process is dead: what it had not made durable is taken away, by choice of
//! a seeded random number for each item.
//!
//! The model, which is what ext4, XFS, APFS and the like promise, and no more:
//! - A sync of a file keeps its bytes and its length, not its name.
//! - A sync of a folder keeps what happened to names in it, each step whole: a rename is never half.
//! - What is kept keeps all it builds on: a name in a new folder keeps the folder, as a journal does.
//! - Everything else may be lost or kept, each for itself, as long as the rest can have happened:
//!   what builds on a lost step is lost.
//! - Of bytes that were not synced each page may be there or zeros, or the file is shorter.
//!
//! Not modelled: a disk that reorders what it was told to flush; the giving up of a length (it counts
//! as done); modes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::seam::{Line, Log};

const PAGE_BYTES: u64 = 4096;

/// What was lost.
#[derive(Debug, Default)]
pub(crate) struct Lost {
    /// Steps on names that were undone.
    pub(crate) names: usize,
    /// Files whose bytes were taken away in part.
    pub(crate) files: usize,
}

/// A file of which not all is durable.
#[derive(Default)]
struct Unsynced {
    /// Its length when it was synced last.
    length: u64,
    ranges: Vec<(u64, u64)>,
}

/// Takes away what a power cut may, below `root`, whose calls `log` tells of; `kept` has the files
/// that lost their names.
pub(crate) fn cut(root: &Path, log: &Log, kept: &Path, random: &mut fastrand::Rng) -> Lost {
    let done: Vec<&Line> = log.0.iter().filter(|line| has_been_done(line)).collect();
    let mut lost = Lost::default();
    let names: Vec<&Line> = done
        .iter()
        .copied()
        .filter(|line| is_about_names(line))
        .collect();
    for line in undone(&names, &done, random).into_iter().rev() {
        undo(root, kept, line);
        lost.names += 1;
    }
    // Its names are of this test alone, and larder counts names.
    fs::remove_dir_all(kept).unwrap();
    let mut unsynced = unsynced(&done);
    for path in every_file(root) {
        let inode = path.symlink_metadata().unwrap().ino();
        if let Some(file) = unsynced.remove(&inode) {
            lost.files += usize::from(spoil(&path, &file, random));
        }
    }
    lost
}

fn has_been_done(line: &Line) -> bool {
    matches!(line.outcome.as_str(), "ok" | "short" | "killed-after")
}

fn is_about_names(line: &Line) -> bool {
    match line.call.as_str() {
        "create" => line.kept != "there",
        call => matches!(
            call,
            "rename" | "link" | "symlink" | "unlink" | "mkdir" | "rmdir"
        ),
    }
}

/// The steps that are lost, in the order in which they happened.
fn undone<'l>(names: &[&'l Line], done: &[&Line], random: &mut fastrand::Rng) -> Vec<&'l Line> {
    let mut is_durable = vec![false; names.len()];
    for (at, line) in names.iter().enumerate() {
        is_durable[at] = done.iter().any(|sync| {
            sync.call == "sync" && sync.number > line.number && is_folder_of(&sync.path, &line.path)
        });
    }
    // What is durable makes durable what it builds on.
    for at in (0..names.len()).rev() {
        let is_needed = (at + 1..names.len())
            .any(|later| is_durable[later] && builds_on(names[later], names[at]));
        is_durable[at] |= is_needed;
    }
    let share = random.f64();
    let mut lost: Vec<&Line> = Vec::new();
    for (at, &line) in names.iter().enumerate() {
        let is_impossible = lost.iter().any(|earlier| builds_on(line, earlier));
        if is_impossible || !is_durable[at] && random.f64() < share {
            assert!(!is_durable[at], "{line:?} cannot be durable");
            lost.push(line);
        }
    }
    lost
}

fn is_folder_of(folder: &str, path: &str) -> bool {
    let parent = path.rsplit_once('/').map_or(".", |(parent, _)| parent);
    parent == folder
}

/// Whether a step is about a name that an earlier one made or took away, or about one above or below
/// it: a folder that was moved took with it what had been done inside.
fn builds_on(later: &Line, earlier: &Line) -> bool {
    let names = |line: &Line| [line.path.clone(), line.other.clone()];
    let is_below = |inner: &str, outer: &str| {
        let rest = inner.strip_prefix(outer);
        outer == "." || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let is_related = |one: &str, other: &str| {
        one != "-" && other != "-" && (is_below(one, other) || is_below(other, one))
    };
    let earlier = names(earlier);
    names(later)
        .iter()
        .any(|later| earlier.iter().any(|earlier| is_related(later, earlier)))
}

fn undo(root: &Path, kept: &Path, line: &Line) {
    let place = |path: &str| match path {
        "." => root.to_owned(),
        path => root.join(path),
    };
    let path = place(&line.path);
    let bring_back = || {
        if line.kept != "-" && line.kept != "there" {
            fs::hard_link(kept.join(&line.kept), &path).unwrap();
        }
    };
    match line.call.as_str() {
        "create" | "symlink" | "link" => fs::remove_file(&path).unwrap(),
        "mkdir" => fs::remove_dir(&path).unwrap(),
        "rmdir" => fs::create_dir(&path).unwrap(),
        "rename" => {
            fs::rename(&path, place(&line.other)).unwrap();
            bring_back();
        }
        _ => bring_back(),
    }
}

/// Of each file what was written and not synced since.
fn unsynced(done: &[&Line]) -> BTreeMap<u64, Unsynced> {
    let mut files: BTreeMap<u64, Unsynced> = BTreeMap::new();
    for line in done {
        let before = u64::try_from(line.before).unwrap_or(0);
        match line.call.as_str() {
            "create" if line.kept != "there" => {
                files.insert(line.inode, Unsynced::default());
            }
            "write" => {
                let file = files.entry(line.inode).or_insert(Unsynced {
                    length: before,
                    ranges: Vec::new(),
                });
                let from = u64::try_from(line.offset).unwrap();
                file.ranges.push((from, from + line.length));
            }
            "truncate" => {
                if let Some(file) = files.get_mut(&line.inode) {
                    file.length = file.length.min(u64::try_from(line.offset).unwrap());
                }
            }
            "sync" => {
                files.remove(&line.inode);
            }
            _ => {}
        }
    }
    files
}

/// Takes away bytes of a file; says whether any.
fn spoil(path: &Path, unsynced: &Unsynced, random: &mut fastrand::Rng) -> bool {
    let length = path.symlink_metadata().unwrap().len();
    let file: File = OpenOptions::new().write(true).open(path).unwrap();
    let choice = random.u8(0..4);
    let share = match choice {
        0 => return false,
        1 => 1.0,
        _ => random.f64(),
    };
    let mut is_spoilt = false;
    for &(from, to) in &unsynced.ranges {
        let to = to.min(length);
        let mut at = from;
        while at < to {
            let end = ((at / PAGE_BYTES + 1) * PAGE_BYTES).min(to);
            if random.f64() < share {
                let zeros = vec![0; usize::try_from(end - at).unwrap()];
                file.write_all_at(&zeros, at).unwrap();
                is_spoilt = true;
            }
            at = end;
        }
    }
    if choice == 3 && unsynced.length < length {
        file.set_len(random.u64(unsynced.length..length)).unwrap();
        is_spoilt = true;
    }
    is_spoilt
}

/// Every file below a folder by one of its names.
fn every_file(root: &Path) -> Vec<PathBuf> {
    let mut seen = BTreeSet::new();
    let files = if root.is_dir() {
        super::files_below(root)
    } else {
        Vec::new()
    };
    files
        .into_iter()
        .filter(|path| {
            let found = path.symlink_metadata().unwrap();
            found.is_file() && seen.insert(found.ino())
        })
        .collect()
}
