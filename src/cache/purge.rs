//! Owns taking away one unfinished blob that a shown plan names.
//!
//! **Law**: nothing is taken away but a plain file with a partial's name, directly in `blobs/` of
//! its repo, that is still what was shown and that nobody writes; and only under the blob's locks.

use std::fs::{self, File, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use super::lock::{self, LockAttempt};
use super::mend::UNSEEN;
use super::partials::{Eyes, since_epoch_ms};
use super::salvage::etag_of;
use super::{Layout, durable};
use crate::domain::RepoId;
use crate::host;

/// Without `flock` only a partial this old is taken for abandoned.
const ABANDONED_AGE: Duration = Duration::from_mins(5);

/// An unfinished blob as it was when the plan was made.
#[derive(Clone, Copy, Debug)]
pub struct PlannedRemoval<'a> {
    /// Whose.
    pub repo: &'a RepoId,
    /// The file.
    pub path: &'a Path,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its last change, milliseconds since the Unix epoch.
    pub modified_ms: u64,
    /// Its chunk map, if the plan named it.
    pub map: Option<&'a Path>,
}

/// Takes an unfinished blob away; `true` if its chunk map, which the plan named, went with it.
///
/// # Errors
/// Why it stays, in a sentence.
pub fn remove_partial(
    layout: &Layout,
    planned: PlannedRemoval<'_>,
    eyes: &Eyes<'_>,
) -> Result<bool, String> {
    let PlannedRemoval { repo, path, .. } = planned;
    let blobs = layout.blobs(repo);
    if path.parent() != Some(&blobs) {
        return Err(format!(
            "it does not lie in the blobs of {repo} in this cache"
        ));
    }
    if fs::canonicalize(&blobs).ok().as_ref() != Some(&blobs) {
        return Err("a folder on the way is a link, which may lead out of the cache".to_owned());
    }
    let name = path.file_name().and_then(|name| name.to_str());
    let etag = name
        .and_then(etag_of)
        .ok_or("it does not have the name of an unfinished blob")?;
    let seen = path.symlink_metadata().map_err(|error| error.to_string())?;
    planned.compare(&seen)?;
    if (eyes.ours)(repo, &etag).is_some_and(|ours| ours.is_at_work || ours.is_wanted) {
        return Err("it is being fetched, or will be when that goes on".to_owned());
    }
    if let Some(writer) = eyes.programs.writer_of(path) {
        return Err(format!("process {} has it open for writing", writer.pid));
    }
    if eyes.programs.may_write_unseen() {
        return Err(UNSEEN.to_owned());
    }
    let lock = match lock::try_lock(layout, repo, &etag, eyes.now) {
        Ok(LockAttempt::Held(lock)) => lock,
        Ok(LockAttempt::Busy(busy)) => {
            return Err(match busy.holder {
                Some(holder) => match holder.program {
                    Some(program) => format!("process {} ({program}) holds its lock", holder.pid),
                    None => format!("process {} holds its lock", holder.pid),
                },
                None => "another program holds its lock".to_owned(),
            });
        }
        Err(error) => return Err(format!("its lock cannot be taken: {error}")),
    };
    let file = host::open_itself(path).map_err(|error| format!("it cannot be opened: {error}"))?;
    if lock.is_backed_by_flock() {
        match lock::is_unmarked(&file, path) {
            Ok(true) => {}
            Ok(false) => return Err("another program has it open with a lock".to_owned()),
            Err(error) => return Err(error.to_string()),
        }
    } else if !is_old(&seen, eyes) {
        return Err(
            "this file system has no locks, and it changed less than five minutes ago".to_owned(),
        );
    }
    planned.compare(&still(&file, path)?)?;
    fs::remove_file(path).map_err(|error| format!("it cannot be removed: {error}"))?;
    // Its chunk map speaks of nothing any more. One that no plan has shown stays until the model is
    // pulled.
    let map = Layout::map_of(path).filter(|map| planned.map == Some(map));
    let is_map_gone = map.is_some_and(|map| match fs::remove_file(&map) {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(map = %map.display(), %error, "the chunk map of a removed partial stays");
            false
        }
    });
    if let Err(error) = host::sync_dir(&blobs) {
        tracing::warn!(blobs = %blobs.display(), %error, "a removal may come back after a power cut");
    }
    drop((file, lock));
    Ok(is_map_gone)
}

/// What is open, if the name still leads to it.
fn still(file: &File, path: &Path) -> Result<Metadata, String> {
    if !durable::is_same_file(file, path) {
        return Err("another file has taken its name".to_owned());
    }
    file.metadata().map_err(|error| error.to_string())
}

fn is_old(seen: &Metadata, eyes: &Eyes<'_>) -> bool {
    seen.modified()
        .ok()
        .and_then(|modified| eyes.now.duration_since(modified).ok())
        .is_some_and(|age| age >= ABANDONED_AGE)
}

impl PlannedRemoval<'_> {
    /// Whether a file is still what was planned.
    fn compare(self, seen: &Metadata) -> Result<(), String> {
        if !seen.is_file() {
            return Err("it is no plain file".to_owned());
        }
        if seen.nlink() != 1 {
            return Err("it has a second name, so nothing would be freed".to_owned());
        }
        let modified_ms = seen.modified().map_or(0, since_epoch_ms);
        if (seen.len(), modified_ms) == (self.bytes, self.modified_ms) {
            Ok(())
        } else {
            Err("it has changed since the plan was made".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::cache::Programs;
    use crate::cache::fixture::{self, etag, held, now, repo};
    use crate::host::LockTable;

    fn remove(layout: &Layout, path: &Path, change: impl FnOnce()) -> Result<bool, String> {
        let repo = repo("org/m");
        let seen = path.symlink_metadata().unwrap();
        let planned = PlannedRemoval {
            repo: &repo,
            path,
            bytes: seen.len(),
            modified_ms: seen.modified().map_or(0, since_epoch_ms),
            map: None,
        };
        change();
        let eyes = Eyes {
            now: now(),
            table: LockTable::default(),
            programs: &Programs::unknown(),
            ours: &|_, _| None,
        };
        remove_partial(layout, planned, &eyes)
    }

    #[test]
    fn only_a_dead_partial_that_is_what_was_shown_goes() {
        let (_dir, layout) = fixture::cache();
        let (repo, etag) = (repo("org/m"), etag(b"x"));
        crate::cache::prepare_repo(&layout, &repo).unwrap();
        let blobs = layout.blobs(&repo);
        let partial = layout.partial(&repo, &etag, 7);
        let put = |path: &Path| fs::write(path, "half").unwrap();
        let stays = |path: &Path, says: &str, change: &dyn Fn()| {
            let why = remove(&layout, path, change).unwrap_err();
            assert!(why.contains(says), "{why}");
            assert!(path.symlink_metadata().is_ok());
        };

        put(&partial);
        stays(&partial, "changed", &|| {
            fs::write(&partial, "longer").unwrap();
        });
        let lock = held(&layout, &repo, &etag);
        stays(&partial, "holds its lock", &|| {});
        drop(lock);
        let marked = File::open(&partial).unwrap();
        marked.lock_shared().unwrap();
        stays(&partial, "open with a lock", &|| {});
        drop(marked);
        let second = blobs.join("second");
        fs::hard_link(&partial, &second).unwrap();
        stays(&partial, "second name", &|| {});
        fs::remove_file(&second).unwrap();

        let blob = layout.blob(&repo, &etag);
        put(&blob);
        stays(&blob, "name of an unfinished", &|| {});
        let corrupt = layout.set_aside(&repo, &etag, 7);
        put(&corrupt);
        stays(&corrupt, "name of an unfinished", &|| {});
        let elsewhere = layout.root().join(partial.file_name().unwrap());
        put(&elsewhere);
        stays(&elsewhere, "does not lie", &|| {});
        let link = layout.partial(&repo, &etag, 8);
        symlink(&elsewhere, &link).unwrap();
        stays(&link, "no plain file", &|| {});
        let folder = layout.partial(&repo, &etag, 9);
        fs::create_dir(&folder).unwrap();
        stays(&folder, "no plain file", &|| {});

        remove(&layout, &partial, || {}).unwrap();
        assert!(!partial.exists() && blob.exists());
    }

    #[test]
    fn a_chunk_map_goes_if_the_plan_names_it() {
        let (_dir, layout) = fixture::cache();
        let (repo, etag) = (repo("org/m"), etag(b"x"));
        crate::cache::prepare_repo(&layout, &repo).unwrap();
        let partial = layout.partial(&repo, &etag, 7);
        let map = Layout::map_of(&partial).unwrap();
        for is_named in [false, true] {
            fs::write(&partial, "half").unwrap();
            fs::write(&map, "a map").unwrap();
            let seen = partial.symlink_metadata().unwrap();
            let planned = PlannedRemoval {
                repo: &repo,
                path: &partial,
                bytes: seen.len(),
                modified_ms: seen.modified().map_or(0, since_epoch_ms),
                map: is_named.then_some(&map),
            };
            let eyes = Eyes {
                now: now(),
                table: LockTable::default(),
                programs: &Programs::unknown(),
                ours: &|_, _| None,
            };
            let is_map_gone = remove_partial(&layout, planned, &eyes).unwrap();
            assert_eq!(is_map_gone, is_named);
            assert!(!partial.exists());
            assert_eq!(map.exists(), !is_named);
        }
    }

    #[test]
    fn a_linked_folder_is_not_entered() {
        let (_dir, layout) = fixture::cache();
        let (repo, etag) = (repo("org/m"), etag(b"x"));
        crate::cache::prepare_repo(&layout, &repo).unwrap();
        let outside = layout.root().join("outside");
        fs::rename(layout.blobs(&repo), &outside).unwrap();
        symlink(&outside, layout.blobs(&repo)).unwrap();
        let partial = layout.partial(&repo, &etag, 7);
        fs::write(&partial, "half").unwrap();
        let why = remove(&layout, &partial, || {}).unwrap_err();
        assert!(why.contains("is a link"), "{why}");
        assert!(partial.exists());
    }
}
