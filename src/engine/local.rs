//! Owns what a pull into a local dir does beside what every pull does: which folder may be one, what
//! of it is a person's or another repo's and stays, what is kept of what was replaced.
//!
//! ```text
//! look at places -> (reuse | fetch, prove, rename: as into the Hub cache) -> settle: copies, notes
//! ```
//!
//! **Law**: no file is replaced that was edited, unless that was asked for, and then it is kept.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use humansize::{DECIMAL, format_size};

use super::attempt::Attempt;
use super::failure::{from_cache, thing};
use super::job::{Halt, Job, blocking};
use super::prepare::resolve;
use super::publish::Publication;
use crate::cache::{self, Kept, Layout, Neighbours, Standing, Tree};
use crate::config::Config;
use crate::domain::{
    Commit, Event, Failure, FailureCode, Obstacle, PlannedFile, PullPlan, PullResult, RefMove,
    RemoteFile, RepoId, RepoPath, sanitize,
};

/// Where contents of a repo may lie beside the place that they are wanted in.
pub(super) fn neighbours(config: &Config, layout: &Layout, repo: &RepoId) -> Neighbours {
    if !layout.is_local() {
        return Neighbours::of(layout, repo, config.use_shared_blobs);
    }
    // A cache that cannot be found has nothing to share.
    cache::resolve_root(&config.cache_dir).map_or_else(
        |_| Neighbours::default(),
        |root| Neighbours::with_own(&Layout::new(root), repo, config.use_shared_blobs),
    )
}

/// The layout of a local dir for these files of a commit, if it can take them; `listed` are commits of
/// which it is known whose they are. Never writes.
pub(super) fn layout(
    (dir, is_forced): (&Path, bool),
    hub: &Layout,
    (of, listed): ((RepoId, Commit), &[(RepoId, Commit)]),
    selected: &[RemoteFile],
) -> Result<Layout, Failure> {
    let root = resolve(dir, "folder")?;
    let shown = sanitize(&root.to_string_lossy());
    if root.exists() && !root.is_dir() {
        let what = format!("`{shown}` is not a folder");
        return Err(Failure::new(FailureCode::Usage, what).because("`--local-dir` names one"));
    }
    if let Some(which) = cache_around(&root, hub.root()) {
        let what = format!("`{shown}` is in {which}");
        return Err(Failure::new(FailureCode::Usage, what)
            .because("what is there belongs to the cache; `--local-dir` is for another folder"));
    }
    if let Some(file) = selected.iter().find(|file| cache::is_reserved(&file.path)) {
        let what = format!("`{}` cannot be stored in a local dir", file.path);
        return Err(Failure::new(FailureCode::UnsafePath, what)
            .because("Python keeps its notes about the files under that name")
            .at_path(file.path.as_str()));
    }
    let mut files = HashMap::new();
    for file in selected {
        files.entry(file.etag).or_insert_with(|| file.path.clone());
    }
    let layout = Layout::local(root, of, files).replacing(is_forced);
    let mut others: BTreeMap<RepoId, Vec<RepoPath>> = BTreeMap::new();
    for file in selected {
        match cache::standing(&layout, &file.path) {
            Ok(Standing::Link) => return Err(is_link(layout.root(), &file.path)),
            Ok(Standing::OfAnother { etag, repo }) if etag != file.etag => {
                others.entry(repo).or_default().push(file.path.clone());
            }
            // What Python fetched; larder knows what it has only looked at.
            Ok(Standing::Noted(etag)) if etag != file.etag && !is_forced => {
                if let Some(repo) = cache::repo_noted(&layout, &file.path, listed) {
                    others.entry(repo).or_default().push(file.path.clone());
                }
            }
            Ok(
                Standing::Absent
                | Standing::Noted(_)
                | Standing::OfAnother { .. }
                | Standing::Strange,
            ) => {}
            // A name that is too long is told with the others.
            Err(error) => return Err(from_cache(error)),
        }
    }
    match others.iter().next() {
        Some((repo, paths)) => Err(is_of_another(layout.root(), paths, repo)),
        None => Ok(layout),
    }
}

/// The Hub cache that a folder is in, in words: the configured one, by whatever name it is reached, or
/// another.
fn cache_around(folder: &Path, hub: &Path) -> Option<&'static str> {
    let identity = |path: &Path| {
        let found = path.metadata().ok()?;
        Some((found.dev(), found.ino()))
    };
    let own = identity(hub);
    let is_own = |above: &Path| own.is_some() && identity(above) == own;
    let is_repo = |above: &Path| {
        let name = above.file_name().and_then(|name| name.to_str());
        name.and_then(RepoId::from_folder).is_some()
            && ["blobs", "snapshots"]
                .iter()
                .any(|part| above.join(part).is_dir())
    };
    if folder.starts_with(hub) || folder.ancestors().any(is_own) {
        return Some("the Hub cache");
    }
    folder.ancestors().any(is_repo).then_some("a Hub cache")
}

/// Bytes that the file system must take for files that have the content of another.
pub(super) fn bytes_of_copies(layout: &Layout, files: &[PlannedFile]) -> u64 {
    let is_there = |file: &PlannedFile| {
        let found = layout.root().join(file.path.as_str()).symlink_metadata();
        found.is_ok_and(|found| found.is_file() && found.len() == file.size_bytes)
    };
    let copies = files.iter().filter(|file| file.same_as.is_some());
    if !layout.is_local() {
        return 0;
    }
    copies
        .filter(|file| !is_there(file))
        .map(|file| file.size_bytes)
        .sum()
}

pub(super) fn is_link(folder: &Path, path: &RepoPath) -> Failure {
    let place = folder.join(path.as_str());
    let folder = sanitize(&folder.to_string_lossy());
    Failure::new(
        FailureCode::Refused,
        format!("`{path}` in `{folder}` is a link, and was left alone"),
    )
    .because("larder neither follows a link out of the folder nor takes one away")
    .at_path(path.as_str())
    .blocked_by(thing(&place))
}

pub(super) fn is_strange(folder: &Path, path: &RepoPath) -> Failure {
    let folder = sanitize(&folder.to_string_lossy());
    let file = Some(sanitize(path.as_str()));
    Failure::new(
        FailureCode::Refused,
        format!("`{path}` in `{folder}` is not what the Hub has, and was left alone"),
    )
    .because("it was changed after it was fetched, or it was there before")
    .at_path(path.as_str())
    .blocked_by(Obstacle::Files { folder, file })
}

/// Files of another repo that a pull would replace.
pub(super) fn is_of_another(folder: &Path, paths: &[RepoPath], other: &RepoId) -> Failure {
    let folder = sanitize(&folder.to_string_lossy());
    let first = paths.first().map_or("", RepoPath::as_str);
    let what = match paths.len() {
        0 | 1 => format!("`{first}` in `{folder}` is a file"),
        all => format!("{all} files in `{folder}` (`{first}` first) are files"),
    };
    Failure::new(
        FailureCode::Refused,
        format!(
            "{what} of `{other}`, and this pull would replace {}",
            if paths.len() > 1 { "them" } else { "it" }
        ),
    )
    .because(format!("`{other}` was fetched into this folder before"))
    .at_path(first)
    .blocked_by(Obstacle::Files { folder, file: None })
}

/// Makes a pull's end known: the listing, where every file of it is there.
pub(super) async fn publish(
    job: &Arc<Job>,
    publication: &Arc<Publication>,
    plan: &PullPlan,
    is_verified: bool,
) -> Result<PullResult, Failure> {
    let is_whole = publication.selected.len() == publication.listing.len();
    if is_whole && job.is_prepared.load(Ordering::Acquire) {
        let work = Arc::clone(publication);
        let kept = blocking(move || {
            let (layout, repo, commit) = (&work.layout, &work.repo, &work.commit);
            if layout.tree(repo, commit).exists() {
                return Ok(());
            }
            cache::write_tree(layout, repo, commit, &work.listing, Tree::Shared)
        });
        if let Err(error) = kept.await? {
            // A listing saves a request later; the files are complete without it.
            tracing::warn!(%error, "the listing was not kept");
        }
    }
    Ok(PullResult {
        snapshot: plan.snapshot.clone(),
        commit: plan.commit,
        // A ref would name a snapshot that the cache does not have.
        reference: RefMove::None,
        fetched_bytes: job.fetched_bytes.load(Ordering::Relaxed),
        is_verified,
    })
}

/// Frees what the folder has kept for too long of files that were replaced.
pub(super) async fn free_kept(job: &Arc<Job>) {
    let (layout, now) = (job.layout.clone(), job.emitter.now());
    let days = job.config.trash.days;
    let after = Duration::from_hours(24 * u64::from(days));
    match blocking(move || cache::free_kept(&layout, after, now)).await {
        Ok(Ok(Kept { files: 0, .. })) => {}
        Ok(Ok(freed)) => {
            let note = format!(
                "{} in `{}` freed: replaced {days} days ago or before",
                told(freed, "was", "were"),
                aside(&job.layout)
            );
            job.emitter.fact(Event::Noted { note }).await;
        }
        Ok(Err(error)) => tracing::warn!(%error, "files that were kept aside stay"),
        Err(failure) => tracing::warn!(%failure, "files that were kept aside stay"),
    }
}

/// Says what the folder keeps of files that were replaced.
pub(super) async fn tell_kept(job: &Arc<Job>) {
    let layout = job.layout.clone();
    let kept = blocking(move || cache::kept(&layout)).await;
    let Some(kept) = kept.ok().filter(|kept| kept.files > 0) else {
        return;
    };
    let note = format!(
        "{} kept in `{}`; a pull into this folder frees what was replaced {} days before",
        told(kept, "that was replaced is", "that were replaced are"),
        aside(&job.layout),
        job.config.trash.days
    );
    job.emitter.fact(Event::Noted { note }).await;
}

fn told(kept: Kept, one: &str, many: &str) -> String {
    let size = format_size(kept.bytes, DECIMAL);
    match kept.files {
        1 => format!("a file of {size} {one}"),
        files => format!("{files} files of {size} {many}"),
    }
}

fn aside(layout: &Layout) -> String {
    sanitize(&layout.aside_folder().to_string_lossy())
}

impl Attempt<'_> {
    /// Refuses places that no file may be put into: behind or instead of a link, or of a folder.
    pub(super) async fn look_at_places(&self) -> Result<(), Halt> {
        let (layout, paths) = (self.job.layout.clone(), self.paths.clone());
        blocking(move || {
            for path in &paths {
                if cache::standing(&layout, path).map_err(Halt::of_cache)? == Standing::Link {
                    return Err(is_link(layout.root(), path).into());
                }
            }
            Ok(())
        })
        .await?
    }

    /// Says what to do with a file that is not what it should be: one that was fetched and has not
    /// been touched since is damaged, or of another revision; any other is somebody's.
    pub(super) async fn judge_old(&mut self) -> Result<(), Halt> {
        let (layout, path) = (self.job.layout.clone(), self.remote.path.clone());
        let found = blocking(move || cache::judge(&layout, &path))
            .await?
            .map_err(Halt::of_cache)?;
        match found {
            Standing::Noted(etag) if etag == self.remote.etag => {}
            Standing::OfAnother { etag, .. } if etag == self.remote.etag => {}
            Standing::OfAnother { repo, .. } => {
                let paths = std::slice::from_ref(&self.remote.path);
                return Err(is_of_another(self.job.layout.root(), paths, &repo).into());
            }
            // Nothing of it is of use for this one, and nothing about it is wrong.
            Standing::Noted(_) | Standing::Absent => {
                self.wrong = None;
                self.truncated_bytes = None;
            }
            Standing::Strange => {
                return Err(is_strange(self.job.layout.root(), &self.remote.path).into());
            }
            Standing::Link => return Err(is_link(self.job.layout.root(), &self.remote.path).into()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_folder_of_a_hub_cache_is_known_by_whatever_name_it_is_reached() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(at("hub")).unwrap();
        symlink("hub", at("name")).unwrap();
        std::fs::create_dir_all(at("other/models--a--b/blobs")).unwrap();
        std::fs::create_dir_all(at("models--a--b/sub")).unwrap();
        for (folder, expected) in [
            ("hub", Some("the Hub cache")),
            ("hub/models--x--y/blobs", Some("the Hub cache")),
            ("other/models--a--b/blobs/x", Some("a Hub cache")),
            ("other/models--a--b", Some("a Hub cache")),
            ("other/mine", None),
            ("models--a--b/sub", None),
        ] {
            for hub in ["hub", "name"] {
                assert_eq!(
                    cache_around(&at(folder), &at(hub)),
                    expected,
                    "{folder} {hub}"
                );
            }
        }
    }
}
