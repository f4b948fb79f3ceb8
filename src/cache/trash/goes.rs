//! Owns what goes when a model, or a part of one, is taken out of the cache: every path, and the
//! order in which they go.
//!
//! **Law**: refs go before the snapshot they name, pointers before the blobs they lead to, and a
//! blob only if no snapshot that stays, of this repo or of another, leads to it or through it. What
//! a blob leads to outside the repo is shared and stays. Changes nothing.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::super::leftovers::is_swapped;
use super::super::partials::{distance, since_epoch_ms};
use super::super::salvage::{etag_of, exact_etag};
use super::super::sight::is_own_folder;
use super::super::staging::is_number;
use super::super::{Error, Layout, Result, refs_of};
use super::chains::Chains;
use crate::domain::{Commit, DiscardKind, DiscardPath, Etag, Kept, RepoId, sanitize};
use crate::host;

/// A file that gave way so long ago is not wanted back by who moved it.
const RESTED: Duration = Duration::from_mins(1);

/// What of a repo shall go.
#[derive(Clone, Copy, Debug)]
pub enum Selection<'a> {
    /// All of it.
    Repo,
    /// These snapshots, by the names of their folders.
    Revisions(&'a [String]),
    /// These blobs, and all pointers to them; and these files beside them that gave way to others.
    Blobs(&'a [Etag], &'a [PathBuf]),
    /// These blobs, to which nothing leads.
    Orphans(&'a [Etag]),
}

impl Selection<'_> {
    /// Which part of a repo that is.
    pub const fn kind(self) -> DiscardKind {
        match self {
            Self::Repo => DiscardKind::Repo,
            Self::Revisions(_) => DiscardKind::Revisions,
            Self::Blobs(..) => DiscardKind::Corrupt,
            Self::Orphans(_) => DiscardKind::Orphans,
        }
    }
}

/// What goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Going {
    /// What is moved, in order, as paths below the cache: files, links and whole folders.
    pub(super) units: Vec<PathBuf>,
    /// Every path in them, as it is now.
    pub paths: Vec<DiscardPath>,
    /// Bytes of the files among them, each file once.
    pub bytes: u64,
    /// The contents among them.
    pub etags: Vec<Etag>,
    /// An unfinished blob among them: it has to go, or be finished, first.
    pub unfinished: Option<PathBuf>,
}

/// Looks at what goes.
///
/// # Errors
/// If the repo cannot be read as a whole: then nobody can tell what leads where.
pub fn going(layout: &Layout, repo: &RepoId, selection: Selection<'_>) -> Result<Going> {
    let folder = layout.repo(repo);
    if !is_own_folder(&folder) {
        let error = io::Error::other("it is not a folder of its own");
        return Err(Error::from_io("look at", &folder, error));
    }
    let units = match selection {
        Selection::Repo => of_repo(layout, repo)?,
        Selection::Revisions(names) => of_revisions(layout, repo, names)?,
        Selection::Blobs(etags, aside) => of_blobs(layout, repo, etags, aside)?,
        Selection::Orphans(etags) => of_orphans(layout, repo, etags)?,
    };
    let mut going = Going::default();
    let mut inodes = BTreeSet::new();
    let blobs = layout.blobs(repo);
    for unit in &units {
        let inside = leaves(unit)?;
        let maps: BTreeSet<PathBuf> = inside
            .iter()
            .filter(|path| path.parent() == Some(&blobs) && is_partial(path))
            .filter_map(|path| Layout::map_of(path))
            .collect();
        for path in inside {
            let found = match path.symlink_metadata() {
                Ok(found) => found,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(Error::from_io("look at", &path, error)),
            };
            let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
            if path.parent() == Some(&blobs) {
                going.etags.extend(exact_etag(name));
                // Those that are dead are freed on their own, before; everything else is named.
                if is_partial(&path) {
                    going.unfinished.get_or_insert(path);
                    continue;
                }
                // With one of those goes the map of what it has.
                if maps.contains(&path) {
                    continue;
                }
            }
            let is_file = found.is_file();
            let bytes = if is_file { found.len() } else { 0 };
            if is_file && inodes.insert((found.dev(), found.ino())) {
                going.bytes += bytes;
            }
            going.paths.push(DiscardPath {
                path: path.to_string_lossy().into_owned(),
                bytes,
                // A folder's time changes with what is in it, and that is listed.
                modified_ms: if found.is_dir() {
                    0
                } else {
                    found.modified().map_or(0, since_epoch_ms)
                },
            });
        }
    }
    going.units = units
        .iter()
        .filter_map(|unit| unit.strip_prefix(layout.root()).ok().map(Path::to_owned))
        .collect();
    Ok(going)
}

/// Whether a file is an unfinished blob, as those that look for such see it.
fn is_partial(path: &Path) -> bool {
    let name = path.file_name().and_then(OsStr::to_str);
    name.is_some_and(|name| etag_of(name).is_some())
        && path.symlink_metadata().is_ok_and(|found| found.is_file())
}

/// Snapshots, with what speaks of them and of nothing else.
fn of_revisions(layout: &Layout, repo: &RepoId, names: &[String]) -> Result<Vec<PathBuf>> {
    let mut units = Vec::new();
    for (name, value) in refs_of(layout, repo)? {
        let commit = value.commit.map(|commit| commit.to_string());
        if commit.is_some_and(|commit| names.contains(&commit)) {
            units.push(layout.refs(repo).join(name));
        }
    }
    let snapshots = layout.snapshots(repo);
    units.extend(names.iter().map(|name| snapshots.join(name)));
    for commit in names.iter().filter_map(|name| Commit::new(name).ok()) {
        units.extend([
            layout.absences(repo, &commit),
            layout.tree(repo, &commit),
            layout.own_tree(repo, &commit),
            layout.aside(repo, &commit),
        ]);
    }
    let blobs = layout.blobs(repo);
    let mut chains = Chains::of(layout);
    let contents = chains.folder(&blobs)?;
    let mut places = Vec::new();
    for name in names {
        places.push(chains.place(&snapshots.join(name))?);
    }
    let contents_of = |steps: &[PathBuf]| -> Vec<OsString> {
        let inside = steps.iter().filter(|it| it.parent() == Some(&contents));
        let names = inside.filter_map(|step| step.file_name());
        names.map(ToOwned::to_owned).collect()
    };
    let is_in_the_way =
        |steps: &[PathBuf]| -> bool { steps.iter().any(|it| is_below_one(it, &places)) };
    let (mut gone, mut stays) = (BTreeSet::new(), BTreeSet::new());
    for (snapshot, entry) in folders(&snapshots)? {
        let is_going = snapshot
            .to_str()
            .is_some_and(|name| names.iter().any(|going| going == name));
        for (link, steps) in chains.below(&entry)? {
            if is_going {
                gone.extend(contents_of(&steps));
            } else if is_in_the_way(&steps) {
                return Err(led_to(
                    &link,
                    "what stays leads through a snapshot that goes",
                ));
            } else {
                stays.extend(contents_of(&steps));
            }
        }
    }
    for (other, steps) in chains.of_others(layout, repo)? {
        if is_in_the_way(&steps) {
            return Err(of_another(&other, &steps));
        }
        stays.extend(contents_of(&steps));
    }
    units.extend(gone.difference(&stays).map(|name| blobs.join(name)));
    units.retain(|unit| unit.symlink_metadata().is_ok());
    Ok(units)
}

/// Blobs and every pointer that leads to one of them, also by way of other pointers: those first
/// that are the farthest away.
fn of_blobs(
    layout: &Layout,
    repo: &RepoId,
    etags: &[Etag],
    aside: &[PathBuf],
) -> Result<Vec<PathBuf>> {
    let names: BTreeSet<OsString> = etags.iter().map(|etag| etag.to_string().into()).collect();
    let mut chains = Chains::of(layout);
    let contents = chains.folder(&layout.blobs(repo))?;
    let snapshots = chains.folder(&layout.snapshots(repo))?;
    let places: Vec<PathBuf> = names.iter().map(|name| contents.join(name)).collect();
    let mut pointers = Vec::new();
    for (_, entry) in folders(&layout.snapshots(repo))? {
        for (link, steps) in chains.below(&entry)? {
            let Some(at) = steps.iter().position(|step| places.contains(step)) else {
                continue;
            };
            if !steps[..at].iter().all(|step| step.starts_with(&snapshots)) {
                return Err(led_to(
                    &link,
                    "it leads there by a way that is no pointer's",
                ));
            }
            pointers.push((at, link));
        }
    }
    for (other, steps) in chains.of_others(layout, repo)? {
        if steps.iter().any(|step| is_below_one(step, &places)) {
            return Err(of_another(&other, &steps));
        }
    }
    pointers.sort_by(|(a, _), (b, _)| b.cmp(a));
    let mut units: Vec<PathBuf> = pointers.into_iter().map(|(_, link)| link).collect();
    let blobs = layout.blobs(repo);
    let there = names.iter().map(|name| blobs.join(name));
    units.extend(there.filter(|blob| blob.symlink_metadata().is_ok()));
    let is_still = |path: &&PathBuf| {
        let is_beside = path.parent() == Some(&blobs)
            && gave_way(path).is_some_and(|etag| {
                !etags.contains(&etag) && lacks_its_place(&blobs, path, &etag).is_none()
            });
        is_beside || has_its_place(layout, repo, path)
    };
    units.extend(aside.iter().filter(is_still).cloned());
    Ok(units)
}

/// Blobs to which nothing leads, neither here nor from another repo.
fn of_orphans(layout: &Layout, repo: &RepoId, etags: &[Etag]) -> Result<Vec<PathBuf>> {
    let mut chains = Chains::of(layout);
    let blobs = layout.blobs(repo);
    let contents = chains.folder(&blobs)?;
    let places: Vec<PathBuf> = etags
        .iter()
        .map(|etag| contents.join(etag.to_string()))
        .collect();
    for (_, entry) in folders(&layout.snapshots(repo))? {
        for (link, steps) in chains.below(&entry)? {
            if steps.iter().any(|step| is_below_one(step, &places)) {
                return Err(led_to(&link, "a snapshot leads to it"));
            }
        }
    }
    for (other, steps) in chains.of_others(layout, repo)? {
        if steps.iter().any(|step| is_below_one(step, &places)) {
            return Err(of_another(&other, &steps));
        }
    }
    let there = etags.iter().map(|etag| blobs.join(etag.to_string()));
    let is_blob = |path: &PathBuf| {
        path.symlink_metadata()
            .is_ok_and(|found| found.is_file() || found.is_symlink())
    };
    Ok(there.filter(is_blob).collect())
}

/// The content whose name a file had before others got it: `<etag>.<8 hex>.corrupt` of larder, or
/// Python's `.<etag>.<8 hex>.old`.
fn gave_way(path: &Path) -> Option<Etag> {
    let name = path.file_name()?.to_str()?;
    path.symlink_metadata().ok().filter(fs::Metadata::is_file)?;
    if let Some(blob) = is_swapped(name, "old") {
        return exact_etag(blob);
    }
    let (etag, number) = name.strip_suffix(".corrupt")?.split_once('.')?;
    exact_etag(etag).filter(|_| is_number(number))
}

/// Why bytes that gave way to others may still be of use: until the right ones have the place, they may
/// be the only copy.
fn lacks_its_place(blobs: &Path, aside: &Path, etag: &Etag) -> Option<&'static str> {
    let (Ok(blob), Ok(found)) = (
        blobs.join(etag.to_string()).metadata(),
        aside.symlink_metadata(),
    ) else {
        return Some("the blob that it gave way to is not there");
    };
    if !blob.is_file() {
        return Some("the blob that it gave way to is no file");
    }
    let is_one = (blob.dev(), blob.ino()) == (found.dev(), found.ino());
    is_one.then_some("it is a second name of the blob")
}

/// What larder keeps of files that stood in the place of pointers, and of folders in the place of blobs.
pub(in crate::cache) fn kept_files(layout: &Layout, repo: &RepoId) -> Vec<PathBuf> {
    let own = layout.larder_dir(repo);
    let aside = own.join("aside");
    if ![&layout.repo(repo), &own, &aside]
        .into_iter()
        .all(|folder| is_own_folder(folder))
    {
        return Vec::new();
    }
    let mut kept = leaves(&aside).unwrap_or_default();
    kept.retain(|path| path.symlink_metadata().is_ok_and(|found| found.is_file()));
    kept
}

/// Whether a file has the place that such a one gave way from.
fn has_its_place(layout: &Layout, repo: &RepoId, kept: &Path) -> bool {
    let aside = layout.larder_dir(repo).join("aside");
    let below = kept.strip_prefix(aside).ok().and_then(Path::to_str);
    let place = below
        .and_then(|below| below.split_once('/'))
        .and_then(|(of, rest)| {
            Some(match Commit::new(of) {
                Ok(commit) => layout
                    .snapshot(repo, &commit)
                    .join(rest.rsplit_once('.')?.0),
                Err(_) => layout
                    .blobs(repo)
                    .join(rest.split('/').next()?.split_once('.')?.0),
            })
        });
    kept.symlink_metadata().is_ok_and(|found| found.is_file())
        && place.is_some_and(|place| place.is_file())
}

/// Files of a repo that gave way to others, as the doctor names them: those that may go, and those that
/// stay with why. One stays while the blob that it gave way to is not there, or is known to be wrong, and
/// one that Python moved away a moment ago it may want back.
///
/// # Errors
/// If the folder of the blobs cannot be read.
pub fn put_aside(
    layout: &Layout,
    repo: &RepoId,
    is_wrong: &dyn Fn(&Etag) -> bool,
    now: SystemTime,
) -> Result<(Vec<PathBuf>, Vec<Kept>)> {
    let blobs = layout.blobs(repo);
    let (mut goes, mut stays) = (Vec::new(), Vec::new());
    if !is_own_folder(&layout.repo(repo)) || !is_own_folder(&blobs) {
        return Ok((goes, stays));
    }
    let is_rested = |path: &Path| {
        let modified = path.symlink_metadata().and_then(|found| found.modified());
        modified.is_ok_and(|modified| distance(now, modified) >= RESTED)
    };
    for path in entries(&blobs)? {
        let Some(etag) = gave_way(&path) else {
            continue;
        };
        let is_larders = path.extension().is_some_and(|end| end == "corrupt");
        let why = if let Some(why) = lacks_its_place(&blobs, &path, &etag) {
            why
        } else if is_wrong(&etag) {
            "the blob that it gave way to has wrong bytes"
        } else if !is_larders && !is_rested(&path) {
            "it changed less than a minute ago, and who moved it away may want it back"
        } else {
            goes.push(path);
            continue;
        };
        stays.push(Kept {
            path: sanitize(&path.to_string_lossy()),
            why: why.to_owned(),
        });
    }
    for path in kept_files(layout, repo) {
        if has_its_place(layout, repo, &path) {
            goes.push(path);
        } else {
            stays.push(Kept {
                path: sanitize(&path.to_string_lossy()),
                why: "what it gave way to is not there".to_owned(),
            });
        }
    }
    Ok((goes, stays))
}

/// A whole repo, if nothing of another one leads into it.
fn of_repo(layout: &Layout, repo: &RepoId) -> Result<Vec<PathBuf>> {
    let folder = layout.repo(repo);
    let mut chains = Chains::of(layout);
    let places = [chains.place(&folder)?];
    for (other, steps) in chains.of_others(layout, repo)? {
        if steps.iter().any(|step| is_below_one(step, &places)) {
            return Err(of_another(&other, &steps));
        }
    }
    Ok(vec![folder])
}

fn is_below_one(step: &Path, places: &[PathBuf]) -> bool {
    places.iter().any(|place| step.starts_with(place))
}

fn of_another(other: &RepoId, steps: &[PathBuf]) -> Error {
    let link = steps.first().map_or(Path::new(""), PathBuf::as_path);
    led_to(link, &format!("`{other}` needs it: purge that first"))
}

/// The refusal to take away what something leads to that stays.
fn led_to(link: &Path, why: &str) -> Error {
    Error::from_io(
        "do without what is led to by",
        link,
        io::Error::other(why.to_owned()),
    )
}

/// The snapshots: names and folders.
fn folders(snapshots: &Path) -> Result<Vec<(OsString, PathBuf)>> {
    let mut found = Vec::new();
    for entry in entries(snapshots)? {
        if is_own_folder(&entry) {
            let name = entry.file_name().unwrap_or_default().to_owned();
            found.push((name, entry));
        } else if entry.is_dir() {
            // Nobody can tell what a folder elsewhere leads to, so nothing here may go.
            let error = io::Error::other("a snapshot that is a link");
            return Err(Error::from_io("look at", &entry, error));
        }
    }
    Ok(found)
}

/// The path itself if it is no folder; else everything below that is none, and folders without
/// anything in them. In the order of names.
pub(super) fn leaves(path: &Path) -> Result<Vec<PathBuf>> {
    let is_folder = match path.symlink_metadata() {
        Ok(found) => found.is_dir(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::from_io("look at", path, error)),
    };
    if !is_folder {
        return Ok(vec![path.to_owned()]);
    }
    let inside = entries(path)?;
    if inside.is_empty() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in inside {
        found.extend(leaves(&entry)?);
    }
    Ok(found)
}

/// What lies in a folder, in the order of names; nothing if it is not there.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = match host::read_dir(folder) {
        Ok(read) => read,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::from_io("read", folder, error)),
    };
    let mut found = Vec::new();
    for entry in read {
        found.push(entry.map_err(Error::at("read", folder))?.path());
    }
    found.sort();
    Ok(found)
}
