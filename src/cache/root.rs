//! Owns the folders that must be there before the first byte.
//!
//! Law: an absent volume is never replaced by a folder of its name; a repo folder appears with
//! `snapshots/` and `blobs/` inside it, since Python's scan calls one without them corrupt.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::durable;
use super::staging::{is_number, sweep_scratch};
use super::{Error, Layout, Result, local};
use crate::domain::RepoId;
use crate::host;

/// The folders without which a repo's folder is corrupt to Python.
const PARTS: [&str; 2] = ["snapshots", "blobs"];

/// How many links in a row are followed before the path is called a loop, as kernels do.
const MAX_LINKS: usize = 40;

/// The first line is the standard's; backup tools look at nothing else.
pub(super) const CACHEDIR_TAG: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55
# This file is a cache directory tag created by larder.
# For information about cache directory tags, see:
#\thttps://bford.info/cachedir/
";

/// The path that all programs agree on: absolute, every link in it resolved (hub.md case 52).
/// What does not exist yet is kept as it is and not created.
pub fn resolve_root(path: &Path) -> Result<PathBuf> {
    let mut known = std::path::absolute(path).map_err(Error::at("resolve", path))?;
    let mut rest = Vec::new();
    let mut links = 0;
    loop {
        match fs::canonicalize(&known) {
            Ok(mut resolved) => {
                resolved.extend(rest.iter().rev());
                return Ok(resolved);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::from_io("resolve", path, error)),
        }
        // A link to something that does not exist yet: the something is the root.
        if let Ok(target) = fs::read_link(&known) {
            links += 1;
            if links > MAX_LINKS {
                let error = io::Error::from_raw_os_error(libc::ELOOP);
                return Err(Error::from_io("resolve", path, error));
            }
            known = known.parent().unwrap_or(&known).join(target);
            continue;
        }
        let (Some(parent), Some(name)) = (known.parent(), known.file_name()) else {
            let error = io::Error::from(io::ErrorKind::NotFound);
            return Err(Error::from_io("resolve", path, error));
        };
        rest.push(name.to_owned());
        known = parent.to_owned();
    }
}

/// Creates the cache folder and its `CACHEDIR.TAG` where they are missing.
pub fn prepare_root(root: &Path) -> Result<()> {
    if let Some(mount) = host::absent_mount(root) {
        return Err(Error::AbsentMount {
            mount,
            path: root.to_owned(),
        });
    }
    fs::create_dir_all(root).map_err(Error::at("create", root))?;
    let tag = root.join("CACHEDIR.TAG");
    if tag.symlink_metadata().is_ok() {
        return Ok(());
    }
    // Written where no scan looks: a file of any other name in the root is reported by Python.
    let locks = Layout::new(root.to_owned()).locks();
    fs::create_dir_all(&locks).map_err(Error::at("create", &locks))?;
    if let Err(error) = sweep_scratch(&locks) {
        tracing::debug!(%error, "a leftover among the locks stays");
    }
    // Another's sweep may take the scratch file in the moment before it is marked as live.
    let mut written = durable::write_whole(&locks, &tag, CACHEDIR_TAG);
    for _ in 1..durable::MAX_RACES {
        if written.is_ok() || tag.symlink_metadata().is_ok() {
            return Ok(());
        }
        written = durable::write_whole(&locks, &tag, CACHEDIR_TAG);
    }
    written
}

/// Creates the repo's folder with `snapshots/` and `blobs/` in it, as one step where it is new; or
/// what a local dir needs.
pub fn prepare_repo(layout: &Layout, repo: &RepoId) -> Result<()> {
    if layout.is_local() {
        return local::prepare(layout);
    }
    prepare_root(layout.root())?;
    let folder = layout.repo(repo);
    if matches!(folder.symlink_metadata(), Err(error) if error.kind() == io::ErrorKind::NotFound) {
        stage_repo(layout, repo, &folder)?;
    }
    for part in [layout.snapshots(repo), layout.blobs(repo)] {
        fs::create_dir_all(&part).map_err(Error::at("create", &part))?;
    }
    Ok(())
}

/// Builds the folder among the locks, which no scan reads, and moves it into place.
fn stage_repo(layout: &Layout, repo: &RepoId, folder: &Path) -> Result<()> {
    let locks = layout.locks();
    fs::create_dir_all(&locks).map_err(Error::at("create", &locks))?;
    let staged = locks.join(format!("{}.{:08x}.new", repo.folder(), fastrand::u32(..)));
    let made = PARTS
        .iter()
        .map(|part| staged.join(part))
        .try_for_each(|part| fs::create_dir_all(&part).map_err(Error::at("create", &part)))
        .and_then(|()| fs::rename(&staged, folder).map_err(Error::at("create", folder)));
    // Somebody made it meanwhile: theirs is completed by the caller.
    if let Err(error) = made
        && !folder.is_dir()
    {
        drop(fs::remove_dir_all(&staged));
        return Err(error);
    }
    sweep_staged(&locks, repo);
    host::sync_dir(layout.root()).map_err(Error::at("sync", layout.root()))
}

/// Takes away folders that were staged for this repo and not moved: its own is there now, so whoever
/// still stages one needs it no more. Only empty ones can be removed.
fn sweep_staged(locks: &Path, repo: &RepoId) {
    let start = format!("{}.", repo.folder());
    let entries = fs::read_dir(locks).into_iter().flatten().flatten();
    let staged = entries.filter(|entry| {
        let name = entry.file_name().into_string().unwrap_or_default();
        let number = name
            .strip_prefix(&start)
            .and_then(|rest| rest.strip_suffix(".new"));
        number.is_some_and(is_number)
    });
    for entry in staged {
        let folders = PARTS.map(|part| entry.path().join(part));
        for folder in folders.iter().chain([&entry.path()]) {
            // What cannot be removed stays: it is empty, or not ours.
            drop(fs::remove_dir(folder));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::cache::fixture::{self, repo};

    #[test]
    fn links_are_resolved_and_nothing_is_created() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        fs::create_dir(base.join("real")).unwrap();
        symlink("real", base.join("link")).unwrap();
        symlink("real/later", base.join("dangling")).unwrap();
        let resolve = |name: &str| resolve_root(&base.join(name)).unwrap();
        assert_eq!(resolve("link/hub/x"), base.join("real/hub/x"));
        assert_eq!(resolve("dangling/hub"), base.join("real/later/hub"));
        assert_eq!(resolve("real"), base.join("real"));
        assert_eq!(fs::read_dir(base.join("real")).unwrap().count(), 0);
        symlink("loop-b", base.join("loop-a")).unwrap();
        symlink("loop-a", base.join("loop-b")).unwrap();
        assert!(resolve_root(&base.join("loop-a")).is_err());
    }

    #[test]
    fn what_a_larder_left_that_died_while_it_made_the_folders_goes_away() {
        let (_dir, layout) = fixture::cache();
        let repo = repo("org/m");
        let locks = layout.locks();
        let staged = locks.join(format!("{}.0badcafe.new", repo.folder()));
        let other = locks.join("models--org--other.0badcafe.new");
        for folder in [&staged, &other] {
            fs::create_dir_all(folder.join("blobs")).unwrap();
        }
        let (dead, live) = (
            locks.join("0badcafe.tmp"),
            durable::scratch(&locks).unwrap(),
        );
        fs::write(&dead, "Signature: 8a47").unwrap();
        prepare_repo(&layout, &repo).unwrap();
        assert!(!dead.exists() && live.0.exists());
        assert!(!staged.exists() && other.exists());
        assert!(layout.blobs(&repo).is_dir() && layout.snapshots(&repo).is_dir());
    }

    #[test]
    fn the_tag_is_written_once_and_a_foreign_one_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("hub");
        prepare_root(&root).unwrap();
        let tag = root.join("CACHEDIR.TAG");
        assert_eq!(fs::read(&tag).unwrap(), CACHEDIR_TAG);
        fs::write(&tag, "theirs").unwrap();
        prepare_root(&root).unwrap();
        assert_eq!(fs::read(&tag).unwrap(), b"theirs");
        let names = fixture::names(&root);
        assert_eq!(names, [".locks", "CACHEDIR.TAG"]);
        assert_eq!(fs::read_dir(root.join(".locks")).unwrap().count(), 0);
    }

    #[test]
    fn an_absent_volume_is_not_replaced_by_a_folder() {
        let root = Path::new("/mnt/larder-no-such-volume/hub");
        assert!(matches!(
            prepare_root(root),
            Err(Error::AbsentMount { mount, .. }) if mount == Path::new("/mnt/larder-no-such-volume")
        ));
        assert!(!Path::new("/mnt/larder-no-such-volume").exists());
    }

    #[test]
    fn a_repo_gets_both_folders_also_where_one_was_there() {
        let (_dir, layout) = fixture::cache();
        let (new, begun) = (repo("org/new"), repo("org/begun"));
        fs::create_dir_all(layout.blobs(&begun)).unwrap();
        fs::write(layout.blobs(&begun).join("kept"), "x").unwrap();
        for repo in [&new, &begun] {
            prepare_repo(&layout, repo).unwrap();
            assert!(layout.blobs(repo).is_dir() && layout.snapshots(repo).is_dir());
        }
        assert!(layout.blobs(&begun).join("kept").exists());
        assert_eq!(fs::read_dir(layout.locks()).unwrap().count(), 0);
    }

    #[test]
    fn modes_follow_the_umask() {
        for (mask, dir_mode, file_mode) in [(0o022, 0o755, 0o644), (0o002, 0o775, 0o664)] {
            fixture::with_umask(mask, || {
                let (_dir, layout) = fixture::cache();
                let repo = repo("org/m");
                prepare_repo(&layout, &repo).unwrap();
                let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
                assert_eq!(mode(&layout.blobs(&repo)), dir_mode);
                assert_eq!(mode(&layout.repo(&repo)), dir_mode);
                assert_eq!(mode(&layout.root().join("CACHEDIR.TAG")), file_mode);
            });
        }
    }
}
