//! Owns one repo as it was when last looked at, and the cheap question whether it has changed.
//!
//! Never changes anything. Folders that are links are not entered: they may lead out of the cache.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use super::leftovers::Repo;
use super::partials::{
    Contents, Eyes, Unfinished, distance, is_being_fetched, partials_of, since_epoch_ms,
};
use super::salvage::all_partials;
use super::scan::scan_with_findings;
use super::{Judge, Layout, trees};
use crate::domain::{Finding, ModelRow, PartialState, RepoId, Rule};
use crate::host;

/// Folders and refs of one repo whose times are looked at; more are left to the full look.
const WATCHED: usize = 256;
/// A change this recent may not be the last one that bears its time.
const RACY: Duration = Duration::from_millis(50);

/// A repo as last seen.
#[derive(Debug)]
pub(super) struct Sight {
    pub(super) models: Vec<ModelRow>,
    /// What the scan found; abandoned partials come from `partials`.
    pub(super) findings: Vec<Finding>,
    pub(super) partials: Vec<Unfinished>,
    pub(super) has_marker: bool,
    /// That its marker is nobody's.
    pub(super) stale_marker: Option<Finding>,
    /// What the listings say, read when first asked for.
    contents: OnceLock<Contents>,
    /// Files that pointers lead to, by device and inode, with their lengths.
    pub(super) inodes: HashMap<(u64, u64), u64>,
    watched: Vec<PathBuf>,
    print: Print,
}

impl Sight {
    pub(super) fn of(layout: &Layout, repo: &RepoId, judge: Judge<'_>, eyes: &Eyes<'_>) -> Self {
        // The times come first: what changes while the rest is read is seen next time.
        let watched = watched(layout, repo);
        let print = Print::of(&watched, eyes.now);
        let mut scan = scan_with_findings(layout, repo, judge);
        let place = Repo {
            layout,
            id: repo,
            eyes,
        };
        let has_snapshots = scan.rows.iter().any(|(model, _)| model.files_present > 0);
        scan.findings
            .extend(place.findings(&scan.named, has_snapshots, judge));
        let contents = OnceLock::new();
        let partials = unfinished(layout, repo, &contents, eyes);
        let is_fetched = |(row, ..): &Unfinished| is_being_fetched(layout, row, eyes);
        if place.is_being_pulled() || partials.iter().any(is_fetched) {
            // What is missing is on its way.
            scan.findings.retain(|finding| {
                let is_lack = matches!(
                    finding.rule,
                    Rule::HalfWritten | Rule::MissingFiles | Rule::RefToNowhere | Rule::NoRef
                );
                !is_lack
            });
        }
        Self {
            models: scan.rows.into_iter().map(|(model, _)| model).collect(),
            findings: scan.findings,
            inodes: scan.inodes,
            partials,
            contents,
            has_marker: layout.marker(repo).symlink_metadata().is_ok(),
            stale_marker: place.stale_marker(),
            watched,
            print,
        }
    }

    /// What the listings of the repo say of its contents.
    pub(super) fn contents(&self, layout: &Layout, repo: &RepoId) -> &Contents {
        self.contents
            .get_or_init(|| trees::contents_of(layout, repo))
    }

    /// Whether anything in the repo has changed, or may have.
    pub(super) fn is_outdated(&self, now: SystemTime) -> bool {
        self.print.is_racy || self.print.hash != Print::of(&self.watched, now).hash
    }

    /// Whether somebody writes one of its partials.
    pub(super) fn is_live(&self) -> bool {
        self.partials
            .iter()
            .any(|(row, ..)| matches!(row.state, PartialState::Live { .. }))
    }

    /// Whether one of its partials is not what it was.
    pub(super) fn has_moved(&self) -> bool {
        self.partials.iter().any(|(row, length, _)| {
            Path::new(&row.path)
                .symlink_metadata()
                .ok()
                .is_none_or(|seen| {
                    let modified = seen.modified().map_or(0, since_epoch_ms);
                    (seen.len(), modified) != (*length, row.modified_ms)
                })
        })
    }

    /// Looks at the marker again; whether anything is new.
    pub(super) fn look_at_marker(
        &mut self,
        layout: &Layout,
        repo: &RepoId,
        eyes: &Eyes<'_>,
    ) -> bool {
        let stale = Repo {
            layout,
            id: repo,
            eyes,
        }
        .stale_marker();
        let is_new = stale.is_some() != self.stale_marker.is_some();
        self.stale_marker = stale;
        is_new
    }

    /// Looks at the partials again; whether anything is new.
    pub(super) fn look_at_partials(
        &mut self,
        layout: &Layout,
        repo: &RepoId,
        eyes: &Eyes<'_>,
    ) -> bool {
        let partials = unfinished(layout, repo, &self.contents, eyes);
        let is_new = partials != self.partials;
        self.partials = partials;
        is_new
    }
}

fn unfinished(
    layout: &Layout,
    repo: &RepoId,
    contents: &OnceLock<Contents>,
    eyes: &Eyes<'_>,
) -> Vec<Unfinished> {
    // Listings are only read where there is something to name.
    let has_any = all_partials(layout, repo).is_ok_and(|found| !found.is_empty());
    if !has_any {
        return Vec::new();
    }
    let contents = contents.get_or_init(|| trees::contents_of(layout, repo));
    partials_of(layout, repo, contents, eyes).unwrap_or_else(|error| {
        tracing::debug!(%repo, %error, "the unfinished blobs cannot be read");
        Vec::new()
    })
}

/// Whether a path is a folder itself, not a link to one.
pub(super) fn is_own_folder(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| found.is_dir())
}

/// What a folder or file was when it was looked at, without its content.
#[derive(Clone, Copy, Debug)]
pub(super) struct Print {
    pub(super) hash: u64,
    /// Whether it is so new that it may change again without looking changed.
    pub(super) is_racy: bool,
}

impl Print {
    pub(super) fn of(paths: &[PathBuf], now: SystemTime) -> Self {
        let mut hasher = DefaultHasher::new();
        let mut is_racy = false;
        for path in paths {
            let Ok(found) = path.symlink_metadata() else {
                0_u8.hash(&mut hasher);
                continue;
            };
            (found.dev(), found.ino(), found.mtime(), found.mtime_nsec()).hash(&mut hasher);
            if found.is_file() {
                found.len().hash(&mut hasher);
            }
            is_racy |= found
                .modified()
                .is_ok_and(|modified| distance(now, modified) < RACY);
        }
        Self {
            hash: hasher.finish(),
            is_racy,
        }
    }
}

/// What tells by its time that the repo has changed: its folders, and its refs, which some
/// programs write in place.
fn watched(layout: &Layout, repo: &RepoId) -> Vec<PathBuf> {
    let mut found = vec![
        layout.repo(repo),
        layout.blobs(repo),
        layout.repo(repo).join("trees"),
        layout.larder_dir(repo).join("trees"),
    ];
    for (root, wants_files) in [(layout.snapshots(repo), false), (layout.refs(repo), true)] {
        let mut open = vec![root];
        while let Some(folder) = open.pop() {
            if found.len() >= WATCHED {
                return found;
            }
            for entry in host::read_dir(&folder).into_iter().flatten().flatten() {
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => open.push(entry.path()),
                    Ok(kind) if kind.is_file() && wants_files => found.push(entry.path()),
                    _ => {}
                }
            }
            found.push(folder);
        }
    }
    found
}
