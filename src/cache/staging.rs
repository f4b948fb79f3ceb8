//! Owns `.larder/` inside a repo: where things are made before they become visible.
//!
//! Law: a staging folder is flocked while it is used, so a sweep can tell a dead one; a sweep takes
//! only what holds no content: folders and links, probes, and scratch files that nobody has open.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::durable::{self, MAX_RACES, SCRATCH_ENDING};
use super::lock::{is_unmarked, mark_live};
use super::{Error, Layout, Result, prepare_repo};
use crate::domain::{Commit, Healing, HealingKind, RepoId, sanitize};
use crate::host;

/// How a snapshot's entries are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkMode {
    /// Relative symbolic links into `blobs/`.
    Symlink,
    /// Real files, where links do not exist or are switched off (hub.md 2.7).
    Copy,
}

/// What the repo's file system can do, found out by trying inside `.larder/`.
pub fn link_mode(layout: &Layout, repo: &RepoId) -> Result<LinkMode> {
    let dir = scratch_dir(layout, repo)?;
    let has_links = host::supports_symlinks(&dir).map_err(Error::at("make a link in", &dir))?;
    Ok(if has_links {
        LinkMode::Symlink
    } else {
        LinkMode::Copy
    })
}

/// `.larder/`, made if it is missing.
pub(super) fn scratch_dir(layout: &Layout, repo: &RepoId) -> Result<PathBuf> {
    let dir = layout.larder_dir(repo);
    if !dir.is_dir() {
        prepare_repo(layout, repo)?;
        fs::create_dir_all(&dir).map_err(Error::at("create", &dir))?;
    }
    Ok(dir)
}

/// A folder `.larder/<commit>.<8 hex>/`, marked as live while this value exists.
#[derive(Debug)]
pub(super) struct Staging {
    path: PathBuf,
    _live: File,
}

impl Staging {
    pub(super) fn open(layout: &Layout, repo: &RepoId, commit: &Commit) -> Result<Self> {
        let dir = scratch_dir(layout, repo)?;
        for _ in 0..MAX_RACES {
            let path = dir.join(format!("{commit}.{:08x}", fastrand::u32(..)));
            match fs::create_dir(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(Error::from_io("create", &path, error)),
            }
            // A sweep that came between the two steps holds it, or has removed it.
            if let Ok(live) = File::open(&path)
                && mark_live(&live, &path)?
                && durable::is_same_file(&live, &path)
            {
                return Ok(Self { path, _live: live });
            }
        }
        Err(Error::Unsteady { path: dir })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the folder away. What cannot be removed is left to a sweep.
    pub(super) fn remove(self) {
        drop(fs::remove_dir_all(&self.path));
    }
}

/// Takes away what a larder that died left in `.larder/`.
pub fn sweep_staging(layout: &Layout, repo: &RepoId) -> Result<Vec<Healing>> {
    let dir = layout.larder_dir(repo);
    let entries = match fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::from_io("read", &dir, error)),
    };
    let mut healed = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::at("read", &dir))?;
        let path = entry.path();
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let is_dead = if is_staging(&name) {
            is_abandoned(&path, fs::Metadata::is_dir)? && holds_no_content(&path)?
        } else if is_scratch(&name) {
            is_abandoned(&path, fs::Metadata::is_file)?
        } else {
            // A live one may go with it: no answer depends on that.
            host::is_probe(&path)
        };
        if !is_dead {
            continue;
        }
        let removed = if path.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        match removed {
            Ok(()) => healed.push(Healing {
                kind: HealingKind::Leftover,
                path: None,
                location: sanitize(&path.to_string_lossy()),
                set_aside: None,
            }),
            // Another sweep was faster.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::from_io("remove", &path, error)),
        }
    }
    Ok(healed)
}

/// Takes away scratch files in `dir` that nobody has open.
pub(super) fn sweep_scratch(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).map_err(Error::at("read", dir))? {
        let path = entry.map_err(Error::at("read", dir))?.path();
        let is_dead = path
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(is_scratch)
            && is_abandoned(&path, fs::Metadata::is_file)?;
        if is_dead {
            fs::remove_file(&path).map_err(Error::at("remove", &path))?;
        }
    }
    Ok(())
}

fn is_staging(name: &str) -> bool {
    name.split_once('.')
        .is_some_and(|(commit, number)| Commit::new(commit).is_ok() && is_number(number))
}

fn is_scratch(name: &str) -> bool {
    name.strip_suffix(SCRATCH_ENDING).is_some_and(is_number)
}

pub(super) fn is_number(text: &str) -> bool {
    text.len() == 8 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Whether nobody has it marked as live, and it is what its name says, not a link to one.
fn is_abandoned(path: &Path, is_right_kind: impl Fn(&fs::Metadata) -> bool) -> Result<bool> {
    if !path.symlink_metadata().is_ok_and(|m| is_right_kind(&m)) {
        return Ok(false);
    }
    match File::open(path) {
        Ok(file) => is_unmarked(&file, path),
        Err(_) => Ok(false),
    }
}

/// Whether there are only folders and links below `dir`.
fn holds_no_content(dir: &Path) -> Result<bool> {
    for entry in fs::read_dir(dir).map_err(Error::at("read", dir))? {
        let entry = entry.map_err(Error::at("read", dir))?;
        let kind = entry.file_type().map_err(Error::at("look at", dir))?;
        let is_empty = kind.is_symlink() || (kind.is_dir() && holds_no_content(&entry.path())?);
        if !is_empty {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::cache::fixture::{self, commit, repo};

    #[test]
    fn only_dead_staging_without_content_is_swept() {
        let (_dir, layout) = fixture::cache();
        let repo = repo("org/m");
        let larder = scratch_dir(&layout, &repo).unwrap();
        let commit = commit('a');
        let make = |name: &str| {
            let path = larder.join(name);
            fs::create_dir_all(path.join("sub")).unwrap();
            symlink("../../../blobs/x", path.join("sub/link")).unwrap();
            path
        };
        let dead = make(&format!("{commit}.00000001"));
        let full = make(&format!("{commit}.00000002"));
        fs::write(full.join("sub/file"), "somebody's bytes").unwrap();
        let kept = [make("aside"), make("trees"), make("other.00000003"), full];
        let live = Staging::open(&layout, &repo, &commit).unwrap();
        let scratch = larder.join("0000000a.tmp");
        fs::write(&scratch, "half").unwrap();
        let (live_scratch, _file) = durable::scratch(&larder).unwrap();
        // Killed while it found out what the file system can do.
        let probes = [
            larder.join("probe-0000000b"),
            larder.join("probe-aXXXXXXXX"),
        ];
        symlink("nothing", &probes[0]).unwrap();
        fs::write(&probes[1], "").unwrap();
        fs::write(larder.join("probe-notes"), "somebody's bytes").unwrap();

        let healed = sweep_staging(&layout, &repo).unwrap();
        let mut locations: Vec<_> = healed.into_iter().map(|h| h.location).collect();
        locations.sort();
        assert_eq!(
            locations,
            [&scratch, &dead, &probes[0], &probes[1]].map(|path| path.to_str().unwrap())
        );
        assert!(larder.join("probe-notes").exists());
        assert!(!dead.exists() && !scratch.exists());
        assert!(live.path().exists() && live_scratch.exists());
        assert!(kept.iter().all(|path| path.join("sub").exists()));
        let live_path = live.path().to_owned();
        live.remove();
        assert!(!live_path.exists());
        assert!(
            sweep_staging(&layout, &fixture::repo("org/none"))
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn link_mode_is_found_out_without_traces() {
        let (_dir, layout) = fixture::cache();
        let repo = repo("org/m");
        assert_eq!(link_mode(&layout, &repo).unwrap(), LinkMode::Symlink);
        assert!(fixture::names(&layout.larder_dir(&repo)).is_empty());
    }
}
