//! Owns judging a download marker that holds no `flock` and names no process, as the old download
//! script writes it (product.md, section 4): whether its writer is at work, and how that is known.
//!
//! Never removes it: that is `marker.rs`.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::Layout;
use super::partials::{age_words, distance, since_epoch_ms};
use super::programs::Programs;
use super::sight::is_own_folder;
use super::snapshot::paths_below;
use crate::domain::RepoId;
use crate::host::{self, Holder};

/// Nothing in the repo's folder has changed for so long: the download has ended, whoever lives.
const PATIENCE: Duration = Duration::from_mins(5);
/// With no program at work, a change this recent says that there is one all the same: scripts rest
/// between two tries.
const RESTING: Duration = Duration::from_secs(30);

/// Clocks of file servers differ by this much.
const SLACK: Duration = Duration::from_secs(10);

/// Whether the writer of a marker is at work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Judgement {
    pub(super) is_at_work: bool,
    /// Whether nobody can miss the marker: no program that downloads lives, and nothing has changed
    /// for a while.
    pub(super) is_abandoned: bool,
    /// The program that downloads, if one is known.
    pub(super) holder: Option<Holder>,
    /// The reasons.
    pub(super) why: String,
}

/// Judges the marker of a repo by the programs of this machine and by what grows in its folder.
pub(super) fn judge(
    layout: &Layout,
    repo: &RepoId,
    programs: &Programs,
    now: SystemTime,
) -> Judgement {
    let movement = movement(layout, repo, now);
    let still = movement.still;
    let since = match still {
        Duration::MAX => "cannot be read".to_owned(),
        still => format!("last changed {}", age_words(still)),
    };
    // Writers on other machines are not seen among the programs of this one.
    let patience = if host::is_remote(&layout.repo(repo)) {
        PATIENCE
    } else {
        RESTING
    };
    let found = programs.downloaders(layout, repo, true);
    let holder = found.first().map(|program| program.holder.clone());
    let is_growing = still < PATIENCE;
    let (is_at_work, why) = match &holder {
        Some(holder) if is_growing => {
            let name = holder.program.as_deref().unwrap_or("a program");
            let pid = holder.pid;
            let why = format!("`{name}` (process {pid}) downloads, and its folder {since}");
            (true, why)
        }
        Some(holder) => {
            let pid = holder.pid;
            let why = format!("process {pid} seems to download, but its folder {since}");
            (false, why)
        }
        None if !programs.is_known() => {
            let why = format!("who downloads, the system does not tell; its folder {since}");
            (is_growing, why)
        }
        None => {
            let why = format!(
                "no program of this machine that downloads it is known, and its folder {since}"
            );
            (still < RESTING, why)
        }
    };
    Judgement {
        is_at_work,
        is_abandoned: programs.is_known()
            && holder.is_none()
            && still >= patience
            && !movement.is_from_the_future,
        holder,
        why,
    }
}

/// What changes in a repo's folder while somebody downloads into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Movement {
    /// Differs when a file has changed.
    pub(super) print: u64,
    /// How long ago a file last changed, as far as times can be believed: one that is off must not
    /// hide the others.
    still: Duration,
    /// Whether a file's time has not come yet: then it cannot be told when it changed.
    is_from_the_future: bool,
}

/// What differs when a file of the repo has changed that grows while it is downloaded.
pub fn print_of_growth(layout: &Layout, repo: &RepoId) -> u64 {
    movement(layout, repo, SystemTime::UNIX_EPOCH).print
}

/// Looks at the files of the repo that grow: its marker, blobs, and the files of snapshots. Pointers
/// do not grow.
pub(super) fn movement(layout: &Layout, repo: &RepoId, now: SystemTime) -> Movement {
    let names = |folder: &Path| {
        let entries = is_own_folder(folder).then(|| host::read_dir(folder).ok());
        let entries = entries.flatten().into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let mut files = vec![layout.marker(repo)];
    files.extend(names(&layout.blobs(repo)));
    for snapshot in names(&layout.snapshots(repo)) {
        let paths = paths_below(&snapshot).unwrap_or_default();
        files.extend(paths.iter().map(|path| snapshot.join(path.as_str())));
    }
    files.sort();
    let mut hasher = DefaultHasher::new();
    let mut movement = Movement {
        print: 0,
        still: Duration::MAX,
        is_from_the_future: false,
    };
    for file in files {
        let Ok(found) = file.symlink_metadata() else {
            continue;
        };
        if !found.is_file() {
            continue;
        }
        let Ok(changed) = found.modified() else {
            continue;
        };
        (&file, found.len(), since_epoch_ms(changed)).hash(&mut hasher);
        movement.still = movement.still.min(distance(now, changed));
        movement.is_from_the_future |= changed > now + SLACK;
    }
    movement.print = hasher.finish();
    movement
}

#[cfg(test)]
mod tests {
    use std::fs::{File, FileTimes};

    use std::fs;

    use super::*;
    use crate::cache::fixture::{self, now};
    use crate::cache::prepare_repo;
    use crate::host::Process;

    #[test]
    fn it_is_at_work_while_a_downloader_lives_or_files_grow_and_no_longer_than_five_minutes() {
        let (_dir, layout) = fixture::cache();
        let repo = fixture::repo("org/m");
        prepare_repo(&layout, &repo).unwrap();
        let marker = layout.marker(&repo);
        let file = layout.snapshots(&repo).join("main/config.json");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        let curl = Process {
            pid: 7,
            arguments: vec!["curl".to_owned(), "https://h/org/m/x".to_owned()],
            since_ms: Some(0),
        };
        let nobody = Programs::among(Some(&[]), |_| Some(Vec::new()));
        let someone = Programs::among(Some(&[curl]), |_| Some(Vec::new()));
        let unknown = Programs::unknown();
        let now = now();
        // Seconds since the marker was written and since the file grew; then who is there.
        for (marker_s, file_s, programs, is_at_work, is_abandoned, says) in [
            (9_000, 2, &someone, true, false, "`curl` (process 7)"),
            (9_000, 250, &someone, true, false, "4 min ago"),
            (9_000, 301, &someone, false, false, "seems to download"),
            (9_000, 2, &nobody, true, false, "no program"),
            (5, 9_000, &nobody, true, false, "5 s ago"),
            (9_000, 31, &nobody, false, true, "31 s ago"),
            (9_000, 301, &nobody, false, true, "5 min ago"),
            (9_000, 250, &unknown, true, false, "does not tell"),
            (9_000, 301, &unknown, false, false, "does not tell"),
        ] {
            for (path, age) in [(&marker, marker_s), (&file, file_s)] {
                fs::write(path, "Manual download started at noon").unwrap();
                let then = now - Duration::from_secs(age);
                let open = File::options().write(true).open(path).unwrap();
                open.set_times(FileTimes::new().set_modified(then)).unwrap();
            }
            let judged = judge(&layout, &repo, programs, now);
            assert_eq!(judged.is_at_work, is_at_work, "{judged:?}");
            assert_eq!(judged.is_abandoned, is_abandoned, "{judged:?}");
            assert!(judged.why.contains(says), "{judged:?}");
        }
        // A time that is off hides neither what grows nor that it cannot be told.
        let odd = layout.blobs(&repo).join("odd");
        fs::write(&odd, "").unwrap();
        let before = movement(&layout, &repo, now);
        let open = File::options().write(true).open(&odd).unwrap();
        let later = FileTimes::new().set_modified(now + Duration::from_hours(9));
        open.set_times(later).unwrap();
        assert!(!judge(&layout, &repo, &nobody, now).is_abandoned);
        let after = movement(&layout, &repo, now);
        assert_ne!(before.print, after.print);
        assert_eq!(after, movement(&layout, &repo, now));
        fs::write(&file, "more").unwrap();
        assert_ne!(after.print, movement(&layout, &repo, now).print);
    }
}
