//! Owns making a blob without the network: from bytes elsewhere on this machine, or from nothing.
//!
//! Law: what is promoted was hashed after, or while, it landed. Never a link across repos that
//! could dangle: a hard link or a copy, never a symbolic one.

use std::fs::{self, File};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::blob;
use super::durable::is_same_file;
use super::incomplete::{self, Partial, Salvage};
use super::lock::BlobLock;
use super::promote::{Promoted, SetAside};
use super::{Error, Layout, Result};
use crate::domain::{Etag, RepoId};
use crate::host;

/// How bytes of a file on this machine become a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// By reflink, else hard link, else copy: whoever made the file replaces it by another.
    Links,
    /// By reflink, else copy: whoever made the file may write into it.
    Copies,
}

/// Makes the blob from the bytes of `source` if they are the content of `etag`. An old blob is set
/// aside.
///
/// # Errors
/// [`Error::HashMismatch`] if `source` holds something else; nothing has changed then.
pub fn place_copy(
    (source, sharing): (&Path, Sharing),
    layout: &Layout,
    repo: &RepoId,
    etag: &Etag,
    size_bytes: u64,
    lock: &BlobLock,
    watch: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<Promoted> {
    let mismatch = || Error::HashMismatch {
        path: source.to_owned(),
        expected: *etag,
    };
    let file = blob::open_content(source).map_err(Error::at("open", source))?;
    let metadata = file.metadata().map_err(Error::at("look at", source))?;
    if !metadata.is_file() || metadata.len() != size_bytes {
        return Err(mismatch());
    }
    let mut partial = Partial::fresh(layout, repo, etag, size_bytes)?;
    let promoted = partial
        .fill_from(&file, (source, sharing), watch)
        .and_then(|()| partial.promote(lock, SetAside::Keep));
    promoted.map_err(|error| {
        // The first error is the one to tell; what is left can be resumed or pruned.
        drop(partial.discard());
        match error {
            Error::HashMismatch { .. } => mismatch(),
            error => error,
        }
    })
}

/// Makes the blob of an empty file (hub.md case 23).
///
/// # Errors
/// [`Error::HashMismatch`] if `etag` is not the name of nothing.
pub fn place_empty(
    layout: &Layout,
    repo: &RepoId,
    etag: &Etag,
    lock: &BlobLock,
    now: SystemTime,
) -> Result<Promoted> {
    let from = Salvage {
        now,
        seed: None,
        damaged: None,
    };
    let mut on = |_| ControlFlow::Continue(());
    // What a larder left that died is as empty as a new one.
    let (mut partial, _) = Partial::start(layout, repo, etag, 0, lock, from, &mut on)?;
    partial.promote(lock, SetAside::Keep).inspect_err(|_| {
        drop(partial.discard());
    })
}

impl Partial {
    /// Gives the empty partial the bytes of `source` and the hash of what landed.
    fn fill_from(
        &mut self,
        source: &File,
        (source_path, sharing): (&Path, Sharing),
        watch: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<()> {
        let links = sharing == Sharing::Links;
        if self.clone_blocks(source)? || (links && self.hard_link(source, source_path)?) {
            self.bytes = blob::hash_from(
                &self.file,
                &self.path,
                self.size_bytes,
                &mut self.hasher,
                watch,
            )?;
            return Ok(());
        }
        let (file, path, hasher) = (&self.file, &self.path, &mut self.hasher);
        self.bytes = blob::each_step(
            source,
            source_path,
            self.size_bytes,
            watch,
            &mut |offset, step| {
                hasher.update(step);
                file.write_all_at(step, offset)
                    .map_err(Error::at("write", path))
            },
        )?;
        Ok(())
    }

    /// Shares the blocks of `source`; `Ok(false)` where the file system cannot.
    fn clone_blocks(&mut self, source: &File) -> Result<bool> {
        match reflink_copy::reflink_file(source, &self.file) {
            Ok(()) => return Ok(true),
            // macOS clones only into a name that does not exist yet.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(_) => {
                self.file
                    .set_len(0)
                    .map_err(Error::at("empty", &self.path))?;
                return Ok(false);
            }
        }
        let mode = self.mode()?;
        self.free_name()?;
        if reflink_copy::reflink_file_to_path(source, &self.path).is_err() {
            self.renew()?;
            return Ok(false);
        }
        // A shared payload is 0444; the clone is a file of this repo.
        fs::set_permissions(&self.path, mode).map_err(Error::at("set the mode of", &self.path))?;
        self.file = Arc::new(incomplete::reopen(&self.path)?);
        Ok(true)
    }

    /// Gives `source` a second name, if that makes a blob with the owner and mode of a new one.
    fn hard_link(&mut self, source: &File, source_path: &Path) -> Result<bool> {
        let metadata = source
            .metadata()
            .map_err(Error::at("look at", source_path))?;
        let mode = |permissions: fs::Permissions| permissions.mode() & 0o7777;
        if !host::is_ours(&metadata) || mode(metadata.permissions()) != mode(self.mode()?) {
            return Ok(false);
        }
        // A hard link to a link would be the link.
        let Ok(real) = fs::canonicalize(source_path) else {
            return Ok(false);
        };
        let own = source.try_clone().map_err(Error::at("open", source_path))?;
        self.free_name()?;
        if fs::hard_link(&real, &self.path).is_ok() {
            if is_same_file(&own, &self.path) {
                self.file = Arc::new(own);
                return Ok(true);
            }
            self.free_name()?;
        }
        self.renew()?;
        Ok(false)
    }

    fn mode(&self) -> Result<fs::Permissions> {
        self.file
            .metadata()
            .map(|metadata| metadata.permissions())
            .map_err(Error::at("look at", &self.path))
    }

    fn free_name(&self) -> Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::from_io("remove", &self.path, error))
            }
            _ => Ok(()),
        }
    }

    fn renew(&mut self) -> Result<()> {
        let (path, file) = incomplete::new_file(&self.layout, &self.repo, &self.etag)?;
        (self.path, self.file) = (path, Arc::new(file));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::*;
    use crate::cache::fixture::{self, content, etag, held, now, on, repo};

    fn place(layout: &Layout, source: &Path, good: &[u8]) -> Result<Promoted> {
        place_by(layout, (source, Sharing::Links), good)
    }

    fn place_by(layout: &Layout, source: (&Path, Sharing), good: &[u8]) -> Result<Promoted> {
        let repo = repo("org/m");
        let etag = etag(good);
        let lock = held(layout, &repo, &etag);
        let size = good.len() as u64;
        place_copy(source, layout, &repo, &etag, size, &lock, &mut on)
    }

    fn source(layout: &Layout, bytes: &[u8], mode: u32) -> std::path::PathBuf {
        let other = repo("org/other");
        crate::cache::prepare_repo(layout, &other).unwrap();
        let path = layout.blob(&other, &etag(bytes));
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_blob_of_another_repo_is_linked_or_copied_with_the_right_mode() {
        fixture::with_umask(0o022, || {
            let good = content(3_000_000);
            for mode in [0o644, 0o444, 0o600] {
                let (_dir, layout) = fixture::cache();
                let source = source(&layout, &good, mode);
                let alias = layout.root().join("alias");
                symlink(&source, &alias).unwrap();
                place(&layout, &alias, &good).unwrap();
                let repo = repo("org/m");
                let placed = layout.blob(&repo, &etag(&good));
                let metadata = placed.symlink_metadata().unwrap();
                assert!(metadata.is_file(), "never a symbolic link");
                assert_eq!(fs::read(&placed).unwrap(), good);
                assert_eq!(metadata.mode() & 0o777, 0o644, "from {mode:o}");
                let is_linked = metadata.ino() == source.metadata().unwrap().ino();
                assert!(mode == 0o644 || !is_linked, "{mode:o} must be copied");
                assert_eq!(source.metadata().unwrap().mode() & 0o777, mode);
                // Whoever wrote it may write into it again.
                fs::remove_file(&placed).unwrap();
                place_by(&layout, (&source, Sharing::Copies), &good).unwrap();
                let copied = placed.symlink_metadata().unwrap();
                assert!(copied.ino() != source.metadata().unwrap().ino());
                assert_eq!(
                    fixture::names(&layout.blobs(&repo)),
                    [etag(&good).to_string()]
                );
            }
        });
    }

    #[test]
    fn a_file_of_others_never_shares_its_inode_with_a_blob() {
        fixture::with_umask(0o022, || {
            let good = content(3_000_000);
            let (_dir, layout) = fixture::cache();
            let source = layout.root().join("model.safetensors");
            let (repo, etag) = (repo("org/m"), etag(&good));
            let lock = held(&layout, &repo, &etag);
            fs::write(&source, &good).unwrap();
            fs::set_permissions(&source, fs::Permissions::from_mode(0o644)).unwrap();
            let (size, from) = (good.len() as u64, (source.as_path(), Sharing::Copies));
            place_copy(from, &layout, &repo, &etag, size, &lock, &mut on).unwrap();
            fs::OpenOptions::new()
                .write(true)
                .open(&source)
                .unwrap()
                .write_all_at(b"later", 0)
                .unwrap();
            assert_eq!(fs::read(layout.blob(&repo, &etag)).unwrap(), good);
        });
    }

    #[test]
    fn a_file_that_changes_while_it_is_read_never_becomes_a_blob() {
        let (_dir, layout) = fixture::cache();
        let good = content(3_000_000);
        let source = layout.root().join("model.safetensors");
        let (repo, etag) = (repo("org/m"), etag(&good));
        let lock = held(&layout, &repo, &etag);
        let size = good.len() as u64;
        // What is read already changes, what is not read yet changes, it is cut, it is replaced.
        let writes: [&dyn Fn(&Path); 4] = [
            &|path| flip(path, 5),
            &|path| flip(path, 2_999_999),
            &|path| {
                fs::File::options()
                    .write(true)
                    .open(path)
                    .unwrap()
                    .set_len(9)
                    .unwrap();
            },
            &|path| {
                fs::remove_file(path).unwrap();
                fs::write(path, "another").unwrap();
            },
        ];
        for (at, write) in writes.iter().enumerate() {
            fs::write(&source, &good).unwrap();
            let mut is_done = false;
            let placed = place_copy(
                (&source, Sharing::Copies),
                &layout,
                &repo,
                &etag,
                size,
                &lock,
                &mut |bytes| {
                    if bytes > 1_000_000 && !std::mem::replace(&mut is_done, true) {
                        write(&source);
                    }
                    ControlFlow::Continue(())
                },
            );
            assert!(is_done, "{at}");
            // What was read before it changed is what it was: then the blob is right, all the same.
            let blob = layout.blob(&repo, &etag);
            match placed {
                Ok(_) => assert_eq!(fs::read(&blob).unwrap(), good, "{at}"),
                Err(error) => {
                    assert!(matches!(error, Error::HashMismatch { .. }), "{at}: {error}");
                    assert!(!blob.exists(), "{at}");
                }
            }
            drop(fs::remove_file(&blob));
            assert!(fixture::names(&layout.blobs(&repo)).is_empty(), "{at}");
        }
    }

    fn flip(path: &Path, at: u64) {
        let file = fs::File::options()
            .read(true)
            .write(true)
            .open(path)
            .unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    }

    #[test]
    fn wrong_bytes_elsewhere_are_refused_and_nothing_changes() {
        let good = content(5000);
        let mut flipped = good.clone();
        flipped[0] ^= 1;
        for bytes in [&flipped[..], &good[1..]] {
            let (_dir, layout) = fixture::cache();
            let source = source(&layout, bytes, 0o644);
            crate::cache::prepare_repo(&layout, &repo("org/m")).unwrap();
            let blob = layout.blob(&repo("org/m"), &etag(&good));
            fs::write(&blob, "old").unwrap();
            let error = place(&layout, &source, &good).unwrap_err();
            assert!(matches!(error, Error::HashMismatch { path, .. } if path == source));
            assert_eq!(fs::read(&blob).unwrap(), b"old");
            assert_eq!(fixture::names(&layout.blobs(&repo("org/m"))).len(), 1);
            assert_eq!(fs::read(&source).unwrap(), bytes);
        }
    }

    #[test]
    fn an_old_blob_gives_way() {
        let (_dir, layout) = fixture::cache();
        let good = content(5000);
        let source = source(&layout, &good, 0o600);
        crate::cache::prepare_repo(&layout, &repo("org/m")).unwrap();
        fs::write(layout.blob(&repo("org/m"), &etag(&good)), b"\xffbad").unwrap();
        assert!(place(&layout, &source, &good).unwrap().was_wrong);
        let names = fixture::names(&layout.blobs(&repo("org/m")));
        assert_eq!(names, [etag(&good).to_string()]);
    }

    #[test]
    fn nothing_is_made_of_nothing_under_its_own_name_only() {
        let (_dir, layout) = fixture::cache();
        let repo = repo("org/m");
        let empty = Etag::new("e69de29bb2d1d6434b8b29ae775ad8c2e48c5391").unwrap();
        let lock = held(&layout, &repo, &empty);
        // A larder that died before it had named it.
        drop(Partial::fresh(&layout, &repo, &empty, 0).unwrap());
        place_empty(&layout, &repo, &empty, &lock, now()).unwrap();
        assert_eq!(fs::read(layout.blob(&repo, &empty)).unwrap(), b"");
        let error = place_empty(&layout, &repo, &etag(b"x"), &lock, now()).unwrap_err();
        assert!(matches!(error, Error::HashMismatch { .. }));
        assert_eq!(fixture::names(&layout.blobs(&repo)), [empty.to_string()]);
    }
}
