//! Owns proving bytes: a blob's name is the hash of its content, so no network is needed.
//!
//! Never writes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sha1::{Digest as _, Sha1};
use sha2::Sha256;

use super::elsewhere::is_error_page;
use super::sight::is_own_folder;
use super::{Error, Layout, Result};
use crate::domain::{Commit, Etag, RemoteFile, RepoId};

/// How many bytes are hashed between two looks at the caller's wish to stop.
pub(super) const STEP_BYTES: usize = 256 << 10;

/// How Git LFS pointer files start (hub.md case 47).
pub(super) const LFS_POINTER: &[u8] = b"version https://git-lfs";

/// Pointer files are about 130 bytes.
pub(super) const LFS_POINTER_MAX_BYTES: u64 = 1024;

/// How closely to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Hash the content.
    Hash,
    /// Believe the length.
    SizeOnly,
}

/// What a blob turned out to be.
#[derive(Debug)]
pub enum Verdict {
    /// Length and hash are right.
    Proven,
    /// The length is right; nothing was hashed.
    SizeMatches,
    /// Nothing is there, or a link to nothing.
    Missing,
    /// Shorter than the file.
    Truncated {
        /// Its length.
        bytes: u64,
    },
    /// Longer than the file.
    TooLong {
        /// Its length.
        bytes: u64,
    },
    /// The length is right and the hash is not.
    WrongHash,
    /// The text of an LFS pointer in the place of the content.
    LfsPointer,
    /// It is there and cannot be read.
    Unreadable(Error),
}

/// Looks at the content of `path`, through links, as a reader would.
///
/// `watch` gets the bytes hashed so far about every MiB.
///
/// # Errors
/// [`Error::Interrupted`] when `watch` breaks off; everything else is a verdict.
pub fn check(
    path: &Path,
    etag: &Etag,
    size_bytes: u64,
    mode: Check,
    watch: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<Verdict> {
    let look = || -> Result<Option<(File, u64)>> {
        let file = match open_content(path) {
            Err(error) if is_absent(&error) => return Ok(None),
            opened => opened.map_err(Error::at("open", path))?,
        };
        let metadata = file.metadata().map_err(Error::at("look at", path))?;
        if !metadata.is_file() {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file");
            return Err(Error::from_io("read", path, error));
        }
        Ok(Some((file, metadata.len())))
    };
    let (file, bytes) = match look() {
        Ok(Some(found)) => found,
        Ok(None) => return Ok(Verdict::Missing),
        Err(error) => return Ok(Verdict::Unreadable(error)),
    };
    if bytes != size_bytes {
        return Ok(match is_lfs_pointer(&file, bytes) {
            true => Verdict::LfsPointer,
            false if bytes < size_bytes => Verdict::Truncated { bytes },
            false => Verdict::TooLong { bytes },
        });
    }
    // The hash of nothing is known without reading: an empty blob is right for one name only.
    if mode == Check::SizeOnly && bytes > 0 {
        return Ok(Verdict::SizeMatches);
    }
    let mut hasher = Hasher::new(etag, size_bytes);
    match hash_from(&file, path, bytes, &mut hasher, watch) {
        // Somebody is writing: shorter than a moment ago.
        Ok(read) if read < bytes => Ok(Verdict::Truncated { bytes: read }),
        Ok(_) if hasher.finish() => Ok(Verdict::Proven),
        Ok(_) if is_lfs_pointer(&file, bytes) => Ok(Verdict::LfsPointer),
        Ok(_) => Ok(Verdict::WrongHash),
        Err(Error::Interrupted) => Err(Error::Interrupted),
        Err(error) => Ok(Verdict::Unreadable(error)),
    }
}

/// Opens for reading without waiting for the writer of a pipe.
pub(super) fn open_content(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
}

/// Feeds the first `bytes` of `file` to `hasher`; returns how many there were.
pub(super) fn hash_from(
    file: &File,
    path: &Path,
    bytes: u64,
    hasher: &mut Hasher,
    watch: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<u64> {
    each_step(file, path, bytes, watch, &mut |_, step| {
        hasher.update(step);
        Ok(())
    })
}

/// Hands the first `bytes` of `file` to `take` in steps, each with its offset; returns how many
/// bytes there were.
pub(super) fn each_step(
    file: &File,
    path: &Path,
    bytes: u64,
    watch: &mut dyn FnMut(u64) -> ControlFlow<()>,
    take: &mut dyn FnMut(u64, &[u8]) -> Result<()>,
) -> Result<u64> {
    use std::os::unix::fs::FileExt as _;

    let mut buffer = vec![0; STEP_BYTES.min(usize::try_from(bytes).unwrap_or(STEP_BYTES))];
    let mut done = 0;
    while done < bytes {
        if watch(done).is_break() {
            return Err(Error::Interrupted);
        }
        let left = usize::try_from(bytes - done).unwrap_or(usize::MAX);
        let room = left.min(buffer.len());
        let step = &mut buffer[..room];
        match file.read_at(step, done) {
            Ok(0) => break,
            Ok(count) => {
                take(done, &step[..count])?;
                done += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::from_io("read", path, error)),
        }
    }
    Ok(done)
}

fn is_lfs_pointer(mut file: &File, bytes: u64) -> bool {
    let mut start = [0; LFS_POINTER.len()];
    bytes <= LFS_POINTER_MAX_BYTES && {
        use std::io::Seek as _;
        file.rewind().is_ok() && file.read_exact(&mut start).is_ok() && start == LFS_POINTER
    }
}

/// Whether the error says that nothing is there, a link in a circle included.
pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    ) || error.raw_os_error() == Some(libc::ELOOP)
}

/// The running proof that bytes are those of an etag.
#[derive(Clone)]
pub struct Hasher {
    expected: Etag,
    state: State,
}

#[derive(Clone)]
enum State {
    Sha256(Sha256),
    GitSha1(Sha1),
}

impl Hasher {
    /// Starts a proof for a file of `size_bytes`, which git puts in front of the content.
    pub fn new(etag: &Etag, size_bytes: u64) -> Self {
        let state = match etag {
            Etag::Sha256(_) => State::Sha256(Sha256::new()),
            Etag::GitSha1(_) => {
                State::GitSha1(Sha1::new_with_prefix(format!("blob {size_bytes}\0")))
            }
        };
        Self {
            expected: *etag,
            state,
        }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.state {
            State::Sha256(hash) => hash.update(bytes),
            State::GitSha1(hash) => hash.update(bytes),
        }
    }

    /// Whether the bytes were the content of the etag.
    pub fn finish(self) -> bool {
        let expected = self.expected;
        self.computed() == expected
    }

    /// The name that the bytes have by their hash.
    pub fn computed(self) -> Etag {
        match self.state {
            State::Sha256(hash) => Etag::Sha256(hash.finalize().into()),
            State::GitSha1(hash) => Etag::GitSha1(hash.finalize().into()),
        }
    }
}

impl std::fmt::Debug for Hasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Hasher").field(&self.expected).finish()
    }
}

/// The other places of a cache where a content of a repo may be found, as they were when the cache
/// was looked at: blobs of other repos of any kind, folders that a script wrote in the place of this
/// repo's snapshots and, if wanted, the shared store.
#[derive(Clone, Debug, Default)]
pub struct Neighbours {
    /// Folders of blobs.
    blobs: Vec<PathBuf>,
    /// Folders below `snapshots/` that are not named after a commit (hub.md 2.10).
    branches: Vec<PathBuf>,
    /// The cache, if it has a shared store that may be used.
    shared: Option<Layout>,
}

impl Neighbours {
    /// Looks at the cache.
    pub fn of(layout: &Layout, repo: &RepoId, use_shared: bool) -> Self {
        let own = repo.folder();
        let mut folders: Vec<String> = fs::read_dir(layout.root())
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|folder| *folder != own && RepoId::from_folder(folder).is_some())
            .collect();
        folders.sort();
        let blobs = folders
            .into_iter()
            .map(|folder| layout.root().join(folder).join("blobs"))
            .collect();
        let shared = (use_shared && is_shared_store(layout)).then(|| layout.clone());
        let snapshots = layout.snapshots(repo);
        let mut branches: Vec<PathBuf> = fs::read_dir(&snapshots)
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| Commit::new(name).is_err())
            .map(|name| snapshots.join(name))
            .filter(|folder| is_own_folder(folder))
            .collect();
        branches.sort();
        Self {
            blobs,
            branches,
            shared,
        }
    }

    /// The same, and the repo's own blobs first: for a pull to a place outside of the cache.
    pub fn with_own(layout: &Layout, repo: &RepoId, use_shared: bool) -> Self {
        let mut all = Self::of(layout, repo, use_shared);
        all.blobs.insert(0, layout.blobs(repo));
        all
    }

    /// Whether there is no such place.
    pub const fn is_empty(&self) -> bool {
        self.blobs.is_empty() && self.branches.is_empty() && self.shared.is_none()
    }

    /// Whether a file that was found may be written in place by whoever made it.
    pub fn is_unsteady(&self, path: &Path) -> bool {
        self.branches.iter().any(|folder| path.starts_with(folder))
    }

    /// The longest beginning of a file in a folder that is named after a branch: a script died while it
    /// wrote it. Nothing of it is proven.
    pub fn begun(&self, file: &RemoteFile) -> Option<PathBuf> {
        let name = file.path.as_str();
        let begun = self.branches.iter().filter_map(|folder| {
            let path = folder.join(name);
            let found = path.symlink_metadata().ok()?;
            let is_begun = found.is_file() && (1..file.size_bytes).contains(&found.len());
            let is_content =
                || found.len() > LFS_POINTER_MAX_BYTES && !is_error_page(&path, name, found.len());
            (is_begun && is_content()).then_some((found.len(), path))
        });
        begun.max().map(|(_, path)| path)
    }

    /// Files there that have the name and the length of a content. Nothing of them is proven.
    pub fn find(&self, file: &RemoteFile) -> Vec<PathBuf> {
        if self.is_empty() {
            return Vec::new();
        }
        let name = file.etag.to_string();
        let payload = self
            .shared
            .as_ref()
            .and_then(|layout| layout.shared_payload(file.xet_hash.as_deref()?));
        self.blobs
            .iter()
            .map(|blobs| blobs.join(&name))
            .chain(
                self.branches
                    .iter()
                    .map(|folder| folder.join(file.path.as_str())),
            )
            .chain(payload)
            .filter(|path| {
                path.metadata()
                    .is_ok_and(|found| found.is_file() && found.len() == file.size_bytes)
            })
            .collect()
    }
}

/// Whether the marker makes the root's `blobs/` a shared store; an unmarked one is not adopted.
fn is_shared_store(layout: &Layout) -> bool {
    let marker = layout.shared_marker();
    marker.symlink_metadata().is_ok_and(|m| m.is_file())
        && fs::read(marker).is_ok_and(|content| content == b"1\n")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::cache::fixture::{self, content, etag, git_oid, on, remote, repo};
    use crate::domain::RepoKind;

    fn verdict(path: &Path, etag: &Etag, size: u64, mode: Check) -> String {
        format!("{:?}", check(path, etag, size, mode, &mut on).unwrap())
    }

    #[test]
    fn each_kind_of_damage_has_its_verdict() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("blob");
        let good = content(3000);
        let (sha256, git) = (etag(&good), Etag::new(&git_oid(&good)).unwrap());
        let mut flipped = good.clone();
        flipped[1500] ^= 1;
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3000\n";
        let cases: [(&[u8], &str, &str); 5] = [
            (&good, "Proven", "SizeMatches"),
            (&flipped, "WrongHash", "SizeMatches"),
            (
                &good[..10],
                "Truncated { bytes: 10 }",
                "Truncated { bytes: 10 }",
            ),
            (
                &[7; 3001],
                "TooLong { bytes: 3001 }",
                "TooLong { bytes: 3001 }",
            ),
            (pointer, "LfsPointer", "LfsPointer"),
        ];
        for (bytes, hashed, sized) in cases {
            fs::write(&path, bytes).unwrap();
            for etag in [&sha256, &git] {
                assert_eq!(verdict(&path, etag, 3000, Check::Hash), hashed);
                assert_eq!(verdict(&path, etag, 3000, Check::SizeOnly), sized);
            }
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(verdict(&path, &git, 3000, Check::Hash), "Missing");
        symlink("nowhere", &path).unwrap();
        assert_eq!(verdict(&path, &git, 3000, Check::Hash), "Missing");
        assert!(verdict(dir.path(), &git, 3000, Check::Hash).starts_with("Unreadable"));
    }

    #[test]
    fn empty_content_is_right_for_its_own_names_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("blob");
        fs::write(&path, "").unwrap();
        let empty_git = Etag::new("e69de29bb2d1d6434b8b29ae775ad8c2e48c5391").unwrap();
        for mode in [Check::Hash, Check::SizeOnly] {
            assert_eq!(verdict(&path, &empty_git, 0, mode), "Proven");
            assert_eq!(verdict(&path, &etag(b""), 0, mode), "Proven");
            assert_eq!(verdict(&path, &etag(b"x"), 0, mode), "WrongHash");
            assert_eq!(
                verdict(&path, &etag(b"x"), 1, mode),
                "Truncated { bytes: 0 }"
            );
        }
    }

    #[test]
    fn hashing_reports_and_stops_when_asked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("blob");
        let good = content(STEP_BYTES * 2 + 5);
        fs::write(&path, &good).unwrap();
        let mut seen = Vec::new();
        let size = good.len() as u64;
        let result = check(&path, &etag(&good), size, Check::Hash, &mut |bytes| {
            seen.push(bytes);
            if seen.len() == 3 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        assert!(matches!(result, Err(Error::Interrupted)));
        assert_eq!(seen, [0, STEP_BYTES as u64, 2 * STEP_BYTES as u64]);
    }

    #[test]
    fn the_same_content_is_found_in_other_repos_and_in_a_marked_store() {
        let (_dir, layout) = fixture::cache();
        let good = content(50);
        let mut file = remote("model.safetensors", &good);
        let hash = "cd".repeat(32);
        file.xet_hash = Some(hash.clone());
        let ours = repo("org/ours");
        let data = RepoId::new(RepoKind::Dataset, "org/d").unwrap();
        let put = |path: &Path, bytes: &[u8]| {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        };
        put(&layout.blob(&ours, &file.etag), &good);
        put(&layout.blob(&data, &file.etag), &good);
        put(&layout.blob(&repo("org/short"), &file.etag), &good[1..]);
        let named = layout
            .snapshots(&ours)
            .join("main")
            .join("model.safetensors");
        put(&named, &good);
        put(
            &layout.snapshots(&ours).join("v1").join("model.safetensors"),
            b"short",
        );
        let at_commit = layout.pointer(&ours, &Commit::new(&"a1".repeat(20)).unwrap(), &file.path);
        put(&at_commit, &good);
        let payload = layout.shared_payload(&hash).unwrap();
        put(&payload, &good);
        let find = |shared| Neighbours::of(&layout, &ours, shared).find(&file);
        let expected = layout.blob(&data, &file.etag);
        assert_eq!(find(true), find(false), "an unmarked store is none");
        fs::write(layout.shared_marker(), "1\n").unwrap();
        assert_eq!(find(true), [expected.clone(), named.clone(), payload]);
        assert_eq!(find(false), [expected.clone(), named.clone()]);
        let places = Neighbours::of(&layout, &ours, true);
        assert!(places.is_unsteady(&named) && !places.is_unsteady(&expected));
    }
}
