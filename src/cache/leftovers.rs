//! Owns what programs left in a repo's folder that no reader needs: blobs without a pointer, temporary
//! files, marks of absence that are not true any more, a marker of nobody, files of another user.
//!
//! Never takes anything away. What is so new that its writer may be at work is not told.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::diagnosis::cause;
use super::holders::marker_row;
use super::loose::{Wrong, pointed, real_content, wrong_orphans};
use super::partials::{Eyes, distance, is_being_written};
use super::promote::{aside_for, is_written_by_hand};
use super::salvage::{all_partials, etag_of, exact_etag};
use super::sight::is_own_folder;
use super::snapshot::paths_below;
use super::staging::is_number;
use super::trash::kept_files;
use super::trees::commits_by_content;
use super::{Hashed, Judge, Layout, read_tree};
use crate::domain::{
    Change, Commit, Etag, Finding, LockState, PlanStep, RepoId, RepoPath, Rule, Severity, sanitize,
    shell_word,
};
use crate::host;

/// A temporary file this new may be in use.
const FRESH: Duration = Duration::from_mins(1);
/// A blob this new may be waiting for its pointer: a pull makes pointers when all its files are there.
const PENDING: Duration = Duration::from_hours(24);
/// So many paths are named one by one.
const TOLD: usize = 50;

/// A repo that is looked at.
pub(super) struct Repo<'a> {
    pub(super) layout: &'a Layout,
    pub(super) id: &'a RepoId,
    pub(super) eyes: &'a Eyes<'a>,
}

/// The blobs of a repo that no snapshot and no listing names, with their last changes.
pub fn unlisted_blobs(
    layout: &Layout,
    repo: &RepoId,
    judge: Judge<'_>,
    eyes: &Eyes<'_>,
) -> Vec<(Etag, SystemTime)> {
    let looked = Repo {
        layout,
        id: repo,
        eyes,
    };
    looked.unlisted(judge)
}

/// A file that is there, as it was seen.
struct Left {
    path: PathBuf,
    name: String,
    found: Metadata,
}

/// A blob that no snapshot leads to.
struct Loose<'a> {
    blob: &'a Left,
    etag: Etag,
    /// What is known of its bytes.
    hashed: Option<Hashed>,
}

impl Loose<'_> {
    const fn proof_words(&self) -> &'static str {
        match self.hashed {
            Some(_) => "its bytes are proven",
            None => "its bytes are not hashed yet (`larder verify` does that)",
        }
    }
}

impl Repo<'_> {
    /// What is left there. `named` are the blobs that pointers lead to; `has_snapshots` says whether
    /// there are any.
    pub(super) fn findings(
        &self,
        named: &BTreeSet<String>,
        has_snapshots: bool,
        judge: Judge<'_>,
    ) -> Vec<Finding> {
        let folder = self.layout.repo(self.id);
        // Linked folders may lead out of the cache.
        if !is_own_folder(&folder) {
            return Vec::new();
        }
        let blobs = left_in(&self.layout.blobs(self.id));
        let mut found = Vec::new();
        let loose = self.loose(&blobs, named, judge);
        found.extend(self.wrong(&loose));
        if has_snapshots && !self.is_being_pulled() {
            found.extend(self.orphans(loose));
        }
        found.extend(self.temps(&folder, &blobs));
        found.extend(self.folders(&blobs));
        found.extend(self.absences());
        found.extend(self.permissions(&folder, &blobs));
        found
    }

    /// A download marker of a program that is gone.
    pub(super) fn stale_marker(&self) -> Option<Finding> {
        let row = marker_row(self.layout, self.id, self.eyes)?;
        let is_old = || {
            let path = self.layout.marker(self.id);
            let found = path.symlink_metadata();
            found.is_ok_and(|found| self.age(&found) >= FRESH)
        };
        let is_nobodys = match row.state {
            LockState::Stale => true,
            // Whoever makes one locks it a moment later.
            LockState::Free => is_old(),
            LockState::Held | LockState::Unknown => false,
        };
        if !is_nobodys {
            return None;
        }
        let summary = "a download marker of a program that is gone";
        Some(
            Finding::new(Rule::StaleMarker, summary, cause(Rule::StaleMarker))
                .of_model(self.id, None)
                .seen(&row.path, None, None, &row.proof)
                .step(PlanStep::Change(Change::Remove {
                    path: row.path.clone(),
                    bytes: 0,
                })),
        )
    }

    /// Whether anybody downloads the repo as a whole: pointers come last.
    pub(super) fn is_being_pulled(&self) -> bool {
        marker_row(self.layout, self.id, self.eyes).is_some_and(|row| row.state == LockState::Held)
    }

    fn age(&self, found: &Metadata) -> Duration {
        let changed = found.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        distance(self.eyes.now, changed)
    }

    /// Blobs that no snapshot leads to and nobody is at work on, if they are not new or known to be
    /// wrong; with what is known of their bytes.
    fn loose<'b>(
        &self,
        blobs: &'b [Left],
        named: &BTreeSet<String>,
        judge: Judge<'_>,
    ) -> Vec<Loose<'b>> {
        let is_wrong = |hashed: Option<Hashed>| hashed.is_some_and(|h| h.computed.is_some());
        let mut loose: Vec<Loose<'b>> = blobs
            .iter()
            .filter(|blob| !named.contains(&blob.name))
            .filter_map(|blob| {
                let etag = exact_etag(&blob.name)?;
                let hashed = real_content(self.layout, &blob.path)
                    .and_then(|(path, found)| (judge.hashed)(&path, &found, &etag));
                let is_old = self.age(&blob.found) >= PENDING;
                let matters = is_old || is_wrong(hashed);
                let is_free = || !is_being_written(self.layout, self.id, &etag, self.eyes);
                (matters && is_free()).then_some(Loose { blob, etag, hashed })
            })
            .collect();
        if loose.is_empty() {
            return loose;
        }
        // Names that larder does not take lead to blobs as well.
        let Some(pointed) = pointed(self.layout, self.id) else {
            return Vec::new();
        };
        loose.retain(|one| !pointed.contains(OsStr::new(&one.blob.name)));
        loose
    }

    /// Those of them that were hashed and are not what their names say.
    fn wrong(&self, loose: &[Loose<'_>]) -> Vec<Finding> {
        let wrong: Vec<Wrong> = loose
            .iter()
            .filter_map(|one| {
                Some(Wrong {
                    path: one.blob.path.clone(),
                    etag: one.etag,
                    computed: one.hashed?.computed?,
                    bytes: one.blob.path.metadata().ok()?.len(),
                })
            })
            .collect();
        wrong_orphans(self.layout, self.id, &wrong)
    }

    /// Those of them that are not new, and are right as far as is known.
    fn at_rest<'b>(&self, mut loose: Vec<Loose<'b>>) -> Vec<Loose<'b>> {
        let is_wrong = |one: &Loose<'_>| one.hashed.is_some_and(|hashed| hashed.computed.is_some());
        loose.retain(|one| self.age(&one.blob.found) >= PENDING && !is_wrong(one));
        loose
    }

    /// Whether there is something of a download that was interrupted: it goes on with what it has.
    fn is_begun(&self) -> bool {
        all_partials(self.layout, self.id).is_ok_and(|begun| !begun.is_empty())
    }

    /// The blobs that no snapshot and no listing names, with their last changes: what a purge of what is
    /// unreferenced takes.
    pub(super) fn unlisted(&self, judge: Judge<'_>) -> Vec<(Etag, SystemTime)> {
        let snapshots = left_in(&self.layout.snapshots(self.id));
        let has_snapshots = snapshots.iter().any(|left| left.found.is_dir());
        let is_own = is_own_folder(&self.layout.repo(self.id));
        if !is_own || !has_snapshots || self.is_being_pulled() || self.is_begun() {
            return Vec::new();
        }
        let blobs = left_in(&self.layout.blobs(self.id));
        let commits = commits_by_content(self.layout, self.id);
        let orphans = self.at_rest(self.loose(&blobs, &BTreeSet::new(), judge));
        let unlisted = orphans
            .into_iter()
            .filter(|one| !commits.contains_key(&one.etag));
        unlisted
            .filter_map(|one| Some((one.etag, one.blob.found.modified().ok()?)))
            .collect()
    }

    /// What is told of those that are right as far as is known.
    fn orphans(&self, loose: Vec<Loose<'_>>) -> Vec<Finding> {
        let orphans = self.at_rest(loose);
        if orphans.is_empty() {
            return Vec::new();
        }
        let commits = commits_by_content(self.layout, self.id);
        let commit_of = |one: &Loose<'_>| commits.get(&one.etag);
        let is_begun = self.is_begun();
        let (listed, unlisted): (Vec<Loose<'_>>, Vec<Loose<'_>>) = orphans
            .into_iter()
            .partition(|one| commit_of(one).is_some() || is_begun);
        let about = |blobs: &[Loose<'_>]| {
            let summary = match blobs.len() {
                1 => "a blob that no snapshot leads to".to_owned(),
                more => format!("{more} blobs that no snapshot leads to"),
            };
            Finding::new(Rule::OrphanBlob, summary, cause(Rule::OrphanBlob)).of_model(self.id, None)
        };
        let mut found = Vec::new();
        if !listed.is_empty() {
            // Of a download that was interrupted: its pointers come last.
            let mut finding = listed
                .iter()
                .take(TOLD)
                .fold(about(&listed), |finding, one| {
                    let what = match commit_of(one) {
                        Some(_) => "a listing names it: pulling that commit makes its pointer",
                        None => "a download is unfinished here, and goes on with it",
                    };
                    let what = format!("{what}; {}", one.proof_words());
                    let bytes = Some(one.blob.found.len());
                    finding.seen(&one.blob.path.to_string_lossy(), bytes, None, &what)
                });
            if listed.iter().any(|one| commit_of(one).is_none()) {
                finding = finding.step(PlanStep::Pull {
                    repo: self.id.clone(),
                    revision: "main".to_owned(),
                    files: Vec::new(),
                    fetch_bytes: None,
                });
            }
            let wanted: BTreeSet<Commit> = listed
                .iter()
                .filter_map(|one| commit_of(one).copied())
                .collect();
            for commit in wanted {
                finding = finding.step(PlanStep::Pull {
                    repo: self.id.clone(),
                    revision: commit.to_string(),
                    files: Vec::new(),
                    fetch_bytes: None,
                });
            }
            found.push(finding);
        }
        if !unlisted.is_empty() {
            let blobs: Vec<&Left> = unlisted.iter().map(|one| one.blob).collect();
            let words: BTreeMap<&str, &str> = unlisted
                .iter()
                .map(|one| (one.blob.name.as_str(), one.proof_words()))
                .collect();
            let what = |left: &Left| {
                let known = words.get(left.name.as_str()).copied().unwrap_or_default();
                format!("no snapshot and no listing names it; {known}")
            };
            let advice = format!(
                "`larder purge --unreferenced {}` moves that into the trash, from where it can be put \
                 back; a pull takes what it can use of it",
                shell_word(&self.id.to_string())
            );
            found.push(removing(about(&unlisted), &blobs, what).step(PlanStep::ByHand { advice }));
        }
        found
    }

    /// Folders that have the name of a blob, or of an unfinished one as a pull leaves a folder that dies
    /// before it has put that away: they are moved aside, and those with nothing in them go. Where pointers
    /// lead to one, a pull does that when it has the right bytes.
    fn folders(&self, blobs: &[Left]) -> Vec<Finding> {
        let folders = blobs.iter().filter_map(|left| {
            let etag = folder_etag(&left.name).filter(|_| left.found.is_dir())?;
            (self.age(&left.found) >= FRESH).then_some((left, etag))
        });
        folders
            .map(|(left, etag)| {
                let path = left.path.to_string_lossy().into_owned();
                let is_empty = host::read_dir(&left.path).is_ok_and(|mut all| all.next().is_none());
                let (what, change) = if is_empty {
                    let change = Change::Remove {
                        path: path.clone(),
                        bytes: 0,
                    };
                    ("there is nothing in it", change)
                } else {
                    let aside = aside_for(self.layout, self.id, &etag);
                    let change = Change::Move {
                        from: path.clone(),
                        to: aside.to_string_lossy().into_owned(),
                        bytes: 0,
                    };
                    ("there is something in it, which is kept", change)
                };
                let why = "somebody made it by hand, or a program took the name for a folder's: no \
                           reader finds a blob there, and no download can put one there";
                Finding::new(Rule::LeftoverTemp, "a folder has the name of a blob", why)
                    .of_model(self.id, None)
                    .seen(&path, None, None, what)
                    .step(PlanStep::Change(change))
            })
            .collect()
    }

    /// What programs make for a moment and leave when they die (hub.md 2.3).
    fn temps(&self, folder: &Path, blobs: &[Left]) -> Vec<Finding> {
        let is_old = |left: &&Left| self.age(&left.found) >= FRESH;
        let mut found = Vec::new();
        let trees = left_in(&folder.join("trees"));
        let probes = left_in(folder);
        let temps: Vec<&Left> = blobs
            .iter()
            .filter(|left| is_temp(&left.name) || is_swapped(&left.name, "new").is_some())
            .chain(trees.iter().filter(|left| is_tree_temp(&left.name)))
            .chain(probes.iter().filter(|left| is_probe(left)))
            .filter(is_old)
            .collect();
        let summary = match temps.as_slice() {
            [] => None,
            [one] => Some(format!(
                "`{}` was left by a program that died",
                sanitize(&one.name)
            )),
            more => Some(format!(
                "{} files were left by programs that died",
                more.len()
            )),
        };
        if let Some(summary) = summary {
            let finding = Finding::new(Rule::LeftoverTemp, summary, cause(Rule::LeftoverTemp))
                .of_model(self.id, None);
            found.push(removing(finding, &temps, |_| {
                "a temporary name, and nobody uses it".to_owned()
            }));
        }
        found.extend(self.swapped(blobs));
        found.extend(self.set_aside(blobs));
        found
    }

    /// A blob that was about to be replaced: the old one may be the only good copy.
    fn swapped(&self, blobs: &[Left]) -> Vec<Finding> {
        let olds = blobs.iter().filter_map(|left| {
            let target = is_swapped(&left.name, "old")?;
            (self.age(&left.found) >= FRESH).then_some((left, target))
        });
        olds.map(|(left, target)| {
            let place = self.layout.blobs(self.id).join(target);
            let is_only = place.symlink_metadata().is_err();
            let path = left.path.to_string_lossy().into_owned();
            let (summary, what, change) = if is_only {
                (
                    format!(
                        "`{}` may be the only copy of its blob",
                        sanitize(&left.name)
                    ),
                    "the blob that it was to give way to is not there",
                    Change::Move {
                        from: path.clone(),
                        to: place.to_string_lossy().into_owned(),
                        bytes: left.found.len(),
                    },
                )
            } else {
                (
                    format!(
                        "`{}` gave way to a blob that is there",
                        sanitize(&left.name)
                    ),
                    "the blob that it gave way to is there",
                    Change::Remove {
                        path: path.clone(),
                        bytes: left.found.len(),
                    },
                )
            };
            Finding::new(Rule::LeftoverTemp, summary, cause(Rule::LeftoverTemp))
                .of_model(self.id, None)
                .seen(&path, Some(left.found.len()), None, what)
                .step(PlanStep::Change(change))
        })
        .collect()
    }

    /// Bytes that larder found wrong and put aside.
    fn set_aside(&self, blobs: &[Left]) -> Vec<Finding> {
        let aside = blobs.iter().filter(|left| {
            let stem = left.name.strip_suffix(".corrupt");
            let parts = stem.and_then(|stem| stem.split_once('.'));
            parts.is_some_and(|(etag, number)| exact_etag(etag).is_some() && is_number(number))
        });
        let (texts, aside): (Vec<&Left>, Vec<&Left>) =
            aside.partition(|left| is_written_by_hand(&left.path));
        let kept: Vec<Left> = kept_files(self.layout, self.id)
            .into_iter()
            .filter_map(|path| {
                Some(Left {
                    found: path.symlink_metadata().ok()?,
                    name: path.file_name()?.to_string_lossy().into_owned(),
                    path,
                })
            })
            .collect();
        let kept: Vec<&Left> = texts.into_iter().chain(&kept).collect();
        let edits = self.kept(&kept);
        edits.into_iter().chain(self.wrong_bytes(&aside)).collect()
    }

    /// What a pull put aside and keeps: a text that somebody may have edited through a pointer, a file
    /// in the place of one, what lay in a folder in the place of a blob.
    fn kept(&self, kept: &[&Left]) -> Option<Finding> {
        let summary = match kept {
            [] => return None,
            [_] => "a file that larder put aside".to_owned(),
            more => format!("{} files that larder put aside", more.len()),
        };
        let cause = "a pull found other bytes than the repo's, put the right ones in their place and \
                     kept these: they may be somebody's work";
        let mut finding = Finding::new(Rule::LeftoverTemp, summary, cause).of_model(self.id, None);
        finding.severity = Severity::Note;
        let told = kept.iter().take(TOLD).fold(finding, |finding, left| {
            let bytes = Some(left.found.len());
            let what = "put aside, and read by nobody";
            finding.seen(&left.path.to_string_lossy(), bytes, None, what)
        });
        Some(told.step(PlanStep::ByHand {
            advice: format!(
                "if it is of no use to you, `larder purge --corrupt {}` moves it into the trash",
                self.id
            ),
        }))
    }

    /// Wrong bytes that a pull put aside.
    fn wrong_bytes(&self, aside: &[&Left]) -> Option<Finding> {
        let summary = match aside {
            [] => return None,
            [_] => "wrong bytes that larder put aside".to_owned(),
            more => format!(
                "{} blobs with wrong bytes that larder put aside",
                more.len()
            ),
        };
        let cause = "a pull found that they do not hash to their name, fetched the right ones and \
                     kept these";
        let finding = Finding::new(Rule::LeftoverTemp, summary, cause).of_model(self.id, None);
        Some(removing(finding, aside, |_| {
            "put aside, and read by nobody".to_owned()
        }))
    }

    /// Marks that a file does not exist at a commit, where it does.
    fn absences(&self) -> Vec<Finding> {
        let root = self.layout.repo(self.id).join(".no_exist");
        if !is_own_folder(&root) {
            return Vec::new();
        }
        let commits = left_in(&root).into_iter().filter_map(|left| {
            let is_folder = left.found.is_dir();
            Commit::new(&left.name).ok().filter(|_| is_folder)
        });
        commits
            .flat_map(|commit| {
                let marks = self.layout.absences(self.id, &commit);
                let listed: Option<BTreeSet<RepoPath>> = read_tree(self.layout, self.id, &commit)
                    .map(|files| files.into_iter().map(|file| file.path).collect());
                let snapshot = self.layout.snapshot(self.id, &commit);
                let paths = paths_below(&marks).unwrap_or_default();
                let stale: Vec<Finding> = paths
                    .into_iter()
                    .filter_map(|path| {
                        let is_there = snapshot.join(path.as_str()).symlink_metadata().is_ok();
                        let is_listed = listed.as_ref().is_some_and(|list| list.contains(&path));
                        let what = match (is_there, is_listed) {
                            (true, _) => "the snapshot has the file",
                            (false, true) => "the listing of that commit names the file",
                            (false, false) => return None,
                        };
                        Some(self.absence(&commit, &path, &marks.join(path.as_str()), what))
                    })
                    .collect();
                stale
            })
            .collect()
    }

    fn absence(&self, commit: &Commit, path: &RepoPath, mark: &Path, what: &str) -> Finding {
        let mark = mark.to_string_lossy().into_owned();
        let summary = format!("`{path}` is marked as not existing, and exists");
        Finding::new(Rule::StaleNoExist, summary, cause(Rule::StaleNoExist))
            .of_model(self.id, Some(&commit.to_string()))
            .of_file(path.as_str())
            .seen(&mark, None, None, what)
            .step(PlanStep::Change(Change::Remove {
                path: mark,
                bytes: 0,
            }))
    }

    /// Folders and blobs of another user than the cache's, and blobs that their owner may not read.
    fn permissions(&self, folder: &Path, blobs: &[Left]) -> Option<Finding> {
        let root = self.layout.root().metadata().ok()?;
        let folders = [
            folder.to_owned(),
            self.layout.blobs(self.id),
            self.layout.snapshots(self.id),
            self.layout.refs(self.id),
        ];
        let foreign_folders = folders.into_iter().filter(|path| {
            path.symlink_metadata()
                .is_ok_and(|found| found.uid() != root.uid() && !is_open(&found))
        });
        let is_shared = root.mode() & 0o044 == 0o044;
        let closed_blobs = blobs.iter().filter(|left| {
            let is_content = left.found.is_file() && exact_etag(&left.name).is_some();
            let is_closed_for_owner = left.found.mode() & 0o400 == 0;
            let is_closed_for_us =
                left.found.uid() != root.uid() && left.found.mode() & 0o044 != 0o044 && is_shared;
            is_content && (is_closed_for_owner || is_closed_for_us)
        });
        let paths: Vec<PathBuf> = foreign_folders
            .chain(closed_blobs.map(|left| left.path.clone()))
            .collect();
        let summary = match paths.as_slice() {
            [] => return None,
            [_] => "a path that its user may not read or change".to_owned(),
            more => format!(
                "{} paths that their users may not read or change",
                more.len()
            ),
        };
        let finding = Finding::new(
            Rule::MixedPermissions,
            summary,
            cause(Rule::MixedPermissions),
        )
        .of_model(self.id, None);
        let finding = paths.iter().take(TOLD).fold(finding, |finding, path| {
            let owner = host::describe_owner(path).unwrap_or_else(|| "owner unknown".to_owned());
            finding.seen(&path.to_string_lossy(), None, None, &owner)
        });
        Some(finding.step(PlanStep::ByHand {
            advice: format!(
                "give `{}` to the user of the cache (`sudo chown -R`), and let its owner read it",
                folder.display()
            ),
        }))
    }
}

/// The content whose name, or whose unfinished blob's, a folder has.
pub(super) fn folder_etag(name: &str) -> Option<Etag> {
    exact_etag(name).or_else(|| etag_of(name))
}

/// A finding about files whose plan takes them away.
fn removing(finding: Finding, left: &[&Left], seen: impl Fn(&Left) -> String) -> Finding {
    let told = left.iter().take(TOLD).fold(finding, |finding, left| {
        let bytes = Some(left.found.len()).filter(|_| left.found.is_file());
        finding.seen(&left.path.to_string_lossy(), bytes, None, &seen(left))
    });
    left.iter().fold(told, |finding, left| {
        finding.step(PlanStep::Change(Change::Remove {
            path: left.path.to_string_lossy().into_owned(),
            bytes: if left.found.is_file() {
                left.found.len()
            } else {
                0
            },
        }))
    })
}

/// What lies in a folder, itself and not what links lead to; in the order of names.
fn left_in(folder: &Path) -> Vec<Left> {
    if !is_own_folder(folder) {
        return Vec::new();
    }
    let entries = host::read_dir(folder).into_iter().flatten().flatten();
    let found: BTreeMap<String, Left> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let left = Left {
                path: entry.path(),
                name: name.clone(),
                found: entry.metadata().ok()?,
            };
            Some((name, left))
        })
        .collect();
    found.into_values().collect()
}

/// The probe of Python's umask: `tmp_<uuid4>`.
pub(super) fn is_temp(name: &str) -> bool {
    name.strip_prefix("tmp_").is_some_and(|rest| {
        rest.len() == 36 && rest.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
    }) || is_swapped(name, "shared").is_some()
}

/// Python's `.<name>.<8 hex>.<ending>`: the name of the blob.
pub(super) fn is_swapped<'a>(name: &'a str, ending: &str) -> Option<&'a str> {
    let rest = name
        .strip_prefix('.')?
        .strip_suffix(ending)?
        .strip_suffix('.')?;
    let (blob, number) = rest.rsplit_once('.')?;
    (is_number(number) && exact_etag(blob).is_some()).then_some(blob)
}

/// Python's `tmp*.tmp` beside the listings.
pub(super) fn is_tree_temp(name: &str) -> bool {
    name.starts_with("tmp") && Path::new(name).extension().is_some_and(|end| end == "tmp")
}

/// Python's probe for links: a folder `tmp` and eight characters that holds `dummy_file_src`, or
/// nothing any more.
pub(super) fn is_probe_folder(name: &str, path: &Path) -> bool {
    let is_named = name.len() == 11
        && name.strip_prefix("tmp").is_some_and(|rest| {
            rest.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        });
    let holds_probe_only = || {
        host::read_dir(path).is_ok_and(|mut entries| {
            entries.all(|entry| {
                entry.is_ok_and(|entry| {
                    entry
                        .file_name()
                        .to_str()
                        .is_some_and(|name| name.starts_with("dummy_file_"))
                })
            })
        })
    };
    is_named && is_own_folder(path) && holds_probe_only()
}

fn is_probe(left: &Left) -> bool {
    is_probe_folder(&left.name, &left.path)
}

/// Whether everybody may write into a folder.
fn is_open(found: &Metadata) -> bool {
    found.mode() & 0o002 != 0
}
