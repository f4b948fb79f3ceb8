//! Owns judging a download marker that holds no `flock` and names no process, as the old download
//! script writes it (product.md, section 4): whether its writer is at work, and how that is known.
//!
//! Never removes it: that is `marker.rs`.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::Layout;
use super::partials::{age_words, distance};
use super::programs::Programs;
use super::sight::is_own_folder;
use super::snapshot::paths_below;
use crate::domain::RepoId;
use crate::host::Holder;

/// Nothing in the repo's folder has changed for so long: the download has ended, whoever lives.
const PATIENCE: Duration = Duration::from_mins(5);
/// With no program at work, a change this recent says that there is one all the same: scripts rest
/// between two tries.
const RESTING: Duration = Duration::from_secs(30);

/// Whether the writer of a marker is at work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Judgement {
    pub(super) is_at_work: bool,
    /// Whether nobody can miss the marker: no program that downloads lives, and nothing has changed
    /// for minutes.
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
    let still = last_change(layout, repo).map_or(Duration::MAX, |at| distance(now, at));
    let since = match still {
        Duration::MAX => "cannot be read".to_owned(),
        still => format!("last changed {}", age_words(still)),
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
        is_abandoned: programs.is_known() && holder.is_none() && !is_growing,
        holder,
        why,
    }
}

/// When a file of the repo last changed: its marker, a blob, or a file of a snapshot.
pub(super) fn last_change(layout: &Layout, repo: &RepoId) -> Option<SystemTime> {
    // Pointers do not grow.
    let changed = |path: &Path| {
        let found = path.symlink_metadata().ok()?;
        found.modified().ok().filter(|_| found.is_file())
    };
    let names = |folder: &Path| {
        let entries = is_own_folder(folder).then(|| fs::read_dir(folder).ok());
        let entries = entries.flatten().into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let mut last = changed(&layout.marker(repo));
    for blob in names(&layout.blobs(repo)) {
        last = last.max(changed(&blob));
    }
    for snapshot in names(&layout.snapshots(repo)) {
        for path in paths_below(&snapshot).unwrap_or_default() {
            last = last.max(changed(&snapshot.join(path.as_str())));
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use std::fs::{File, FileTimes};

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
        let nobody = Programs::among(Some(&[]), |_| Vec::new());
        let someone = Programs::among(Some(&[curl]), |_| Vec::new());
        let unknown = Programs::unknown();
        let now = now();
        // Seconds since the marker was written and since the file grew; then who is there.
        for (marker_s, file_s, programs, is_at_work, is_abandoned, says) in [
            (9_000, 2, &someone, true, false, "`curl` (process 7)"),
            (9_000, 250, &someone, true, false, "4 min ago"),
            (9_000, 301, &someone, false, false, "seems to download"),
            (9_000, 2, &nobody, true, false, "no program"),
            (5, 9_000, &nobody, true, false, "5 s ago"),
            (9_000, 31, &nobody, false, false, "31 s ago"),
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
    }
}
