//! Owns looking at files that somebody offers to a cache: which there are, what they hash to, what
//! they look like where they are none of the repo's.
//!
//! **Law**: a link is followed only to a file below the folder that was named; nothing is written,
//! and access times stay as they are where the system lets them.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::blob::{self, Hasher, LFS_POINTER, LFS_POINTER_MAX_BYTES};
use super::tally::{is_page, is_page_name, start_of};
use super::{Error, Result};
use crate::domain::{Etag, RepoId};

/// A file that is offered.
#[derive(Clone, Debug)]
pub struct OfferedFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its names: paths below what was named, `/`-separated; several where links lead to it.
    pub names: Vec<String>,
    /// As it was found, through links.
    pub found: Metadata,
}

/// What a walk met.
#[derive(Clone, Debug)]
pub enum Offered {
    /// A file.
    File(OfferedFile),
    /// A link that leads to a file outside of the folder.
    Outside(PathBuf),
    /// Something that cannot be read.
    Unreadable {
        /// Where.
        path: PathBuf,
        /// The system's words.
        why: String,
    },
}

/// What a file that is none of the repo's looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looks {
    /// A web page or an error of a storage service.
    Page,
    /// The text of an LFS pointer.
    LfsPointer,
    /// Anything else.
    Content,
}

/// Every file of `paths`: of those that are folders, all below. A file that is found twice is told
/// once, with both its names.
///
/// # Errors
/// [`Error::Interrupted`] when `goes_on` says so; a path that was named and is not there.
pub fn offered(paths: &[PathBuf], goes_on: &dyn Fn() -> bool) -> Result<Vec<Offered>> {
    let mut walk = Walk {
        goes_on,
        found: Vec::new(),
        place: HashMap::new(),
    };
    for path in paths {
        // What was named is meant, also through a link.
        let found = fs::metadata(path).map_err(Error::at("look at", path))?;
        if found.is_dir() {
            let root = fs::canonicalize(path).map_err(Error::at("look at", path))?;
            walk.folder(path, bounds_of(&root), "")?;
        } else {
            walk.file(path, &name_of(path), found);
        }
    }
    Ok(walk.found)
}

struct Walk<'a> {
    goes_on: &'a dyn Fn() -> bool,
    found: Vec<Offered>,
    /// Where in `found` a file is, by device and inode.
    place: HashMap<(u64, u64), usize>,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &Path, root: &Path, below: &str) -> Result<()> {
        if !(self.goes_on)() {
            return Err(Error::Interrupted);
        }
        let entries = match fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
            Ok(entries) => entries,
            Err(error) => {
                self.unreadable(folder, &error);
                return Ok(());
            }
        };
        let mut paths: Vec<PathBuf> = entries.iter().map(fs::DirEntry::path).collect();
        paths.sort();
        for path in paths {
            let name = match below {
                "" => name_of(&path),
                below => format!("{below}/{}", name_of(&path)),
            };
            match path.symlink_metadata() {
                Ok(found) if found.is_dir() => self.folder(&path, root, &name)?,
                Ok(found) if found.is_symlink() => self.link(&path, root, &name),
                Ok(found) => self.file(&path, &name, found),
                Err(error) => self.unreadable(&path, &error),
            }
        }
        Ok(())
    }

    /// A folder behind a link is met by its own name, if it is below the root at all.
    fn link(&mut self, path: &Path, root: &Path, name: &str) {
        match fs::canonicalize(path).and_then(|real| Ok((fs::metadata(&real)?, real))) {
            Ok((found, _)) if found.is_dir() => {}
            Ok((found, real)) if real.starts_with(root) => self.file(path, name, found),
            Ok(_) => self.found.push(Offered::Outside(path.to_owned())),
            Err(error) => self.unreadable(path, &error),
        }
    }

    fn file(&mut self, path: &Path, name: &str, found: Metadata) {
        // Pipes and devices are no files of a model.
        if !found.is_file() {
            return;
        }
        let place = *self
            .place
            .entry((found.dev(), found.ino()))
            .or_insert(self.found.len());
        match self.found.get_mut(place) {
            Some(Offered::File(known)) => known.names.push(name.to_owned()),
            _ => self.found.push(Offered::File(OfferedFile {
                path: path.to_owned(),
                names: vec![name.to_owned()],
                found,
            })),
        }
    }

    fn unreadable(&mut self, path: &Path, error: &io::Error) {
        self.found.push(Offered::Unreadable {
            path: path.to_owned(),
            why: error.to_string(),
        });
    }
}

/// What links of a folder may lead into: itself; of a snapshot of a Hub cache the repo's folder, where
/// its blobs are.
fn bounds_of(root: &Path) -> &Path {
    let mut above = root.ancestors().skip(1);
    let is_in_snapshots = above.next().is_some_and(|it| it.ends_with("snapshots"));
    match above.next() {
        Some(repo) if is_in_snapshots && RepoId::from_folder(&name_of(repo)).is_some() => repo,
        _ => root,
    }
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// Both names that a file's content may have at the Hub: by SHA-256 and as git names it.
///
/// `watch` gets the bytes read so far.
///
/// # Errors
/// What reading says, and [`Error::Unsteady`] when it changed its length meanwhile.
pub fn hashes_of(
    path: &Path,
    size_bytes: u64,
    watch: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<[Etag; 2]> {
    let file = blob::open_content(path).map_err(Error::at("open", path))?;
    let mut sha256 = Hasher::new(&Etag::Sha256([0; 32]), size_bytes);
    let mut git = Hasher::new(&Etag::GitSha1([0; 20]), size_bytes);
    let read = blob::each_step(&file, path, size_bytes, watch, &mut |_, step| {
        sha256.update(step);
        git.update(step);
        Ok(())
    })?;
    let now = file.metadata().map_err(Error::at("look at", path))?.len();
    if read != size_bytes || now != size_bytes {
        return Err(Error::Unsteady {
            path: path.to_owned(),
        });
    }
    Ok([sha256.computed(), git.computed()])
}

/// What the file at `path`, which should be `name` and is not, looks like.
pub fn looks_of(path: &Path, name: &str) -> Looks {
    let start = start_of(path);
    let is_short = path
        .metadata()
        .is_ok_and(|found| found.len() <= LFS_POINTER_MAX_BYTES);
    if is_short && start.starts_with(LFS_POINTER) {
        Looks::LfsPointer
    } else if is_page(&start) && !is_page_name(name) {
        Looks::Page
    } else {
        Looks::Content
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::cache::fixture::{content, etag, git_oid, on};

    fn names(found: &[Offered]) -> Vec<String> {
        found
            .iter()
            .map(|one| match one {
                Offered::File(file) => file.names.join(" = "),
                Offered::Outside(path) => format!("outside {}", name_of(path)),
                Offered::Unreadable { path, .. } => format!("unreadable {}", name_of(path)),
            })
            .collect()
    }

    #[test]
    fn links_are_followed_within_the_folder_only() {
        let dir = tempfile::tempdir().unwrap();
        let (root, other) = (dir.path().join("models--o--m"), dir.path().join("other"));
        fs::create_dir_all(root.join("blobs")).unwrap();
        fs::create_dir_all(root.join("snapshots/main")).unwrap();
        fs::create_dir(&other).unwrap();
        fs::write(root.join("blobs/ab"), "a").unwrap();
        fs::write(other.join("secret"), "s").unwrap();
        let snapshot = root.join("snapshots/main");
        symlink("../../blobs/ab", snapshot.join("config.json")).unwrap();
        symlink(other.join("secret"), snapshot.join("stolen")).unwrap();
        symlink(&other, snapshot.join("folder")).unwrap();
        symlink("nowhere", snapshot.join("dangling")).unwrap();
        symlink("..", snapshot.join("circle")).unwrap();
        let found = offered(std::slice::from_ref(&root), &|| true).unwrap();
        assert_eq!(
            names(&found),
            [
                "blobs/ab = snapshots/main/config.json",
                "unreadable dangling",
                "outside stolen"
            ]
        );
        // A snapshot alone: its blobs belong to it. Any other folder ends where it ends.
        let found = offered(&[snapshot], &|| true).unwrap();
        let all = ["config.json", "unreadable dangling", "outside stolen"];
        assert_eq!(names(&found), all);
        let plain = dir.path().join("plain");
        fs::rename(root.join("snapshots/main"), &plain).unwrap();
        symlink(root.join("blobs/ab"), plain.join("a")).unwrap();
        let found = offered(&[plain], &|| true).unwrap();
        assert_eq!(names(&found)[0], "outside a");
    }

    #[test]
    fn what_was_named_is_meant_also_through_a_link() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("real"), "x").unwrap();
        symlink("real", dir.path().join("alias")).unwrap();
        let found = offered(&[dir.path().join("alias")], &|| true).unwrap();
        assert_eq!(names(&found), ["alias"]);
        let missing = offered(&[dir.path().join("missing")], &|| true);
        assert!(missing.is_err());
        let stopped = offered(&[dir.path().to_owned()], &|| false);
        assert!(matches!(stopped, Err(Error::Interrupted)));
    }

    #[test]
    fn both_names_come_of_one_reading() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let good = content(700_000);
        fs::write(&path, &good).unwrap();
        let size = good.len() as u64;
        let [sha256, git] = hashes_of(&path, size, &mut on).unwrap();
        assert_eq!(sha256, etag(&good));
        assert_eq!(git.to_string(), git_oid(&good));
        let changed = hashes_of(&path, size - 1, &mut on);
        assert!(matches!(changed, Err(Error::Unsteady { .. })));
    }

    #[test]
    fn pages_and_pointers_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for (text, name, looks) in [
            ("<!DOCTYPE html><p>Log in", "model.safetensors", Looks::Page),
            ("<Error><Code>AccessDenied", "config.json", Looks::Page),
            ("<html>", "page.html", Looks::Content),
            (
                "version https://git-lfs.github.com/spec/v1\n",
                "a",
                Looks::LfsPointer,
            ),
            ("{}", "config.json", Looks::Content),
        ] {
            fs::write(&path, text).unwrap();
            assert_eq!(looks_of(&path, name), looks, "{text}");
        }
    }
}
