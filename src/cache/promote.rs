//! Owns the step that makes a blob visible.
//!
//! Law: the name of a blob leads to an inode whose bytes were proven and synced, and old bytes are
//! given a second name before they lose their first.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::blob::{self, Check, Hasher, Verdict};
use super::durable::{self, MAX_RACES};
use super::elsewhere::may_be_edited;
use super::incomplete::Partial;
use super::local::Seen;
use super::lock::BlobLock;
use super::salvage::exact_etag;
use super::sight::is_own_folder;
use super::trees::all_files;
use super::{Error, Layout, Result, local};
use crate::domain::{Etag, RepoId};
use crate::host;

/// What somebody may have written by hand, a tokenizer with tokens of their own, is not longer than this.
const WRITTEN_BYTES: u64 = 64 << 20;
/// So many bytes of it tell whether it is text.
const TEXT_BYTES: u64 = 1 << 20;

/// What happens to a blob that has the name already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetAside {
    /// Its bytes are kept under `blobs/<etag>.<8 hex>.corrupt`, unless they are right.
    Keep,
    /// It is replaced.
    Drop,
}

/// A blob is in place.
#[derive(Clone, Debug)]
pub struct Promoted {
    /// Whether other bytes had its name before.
    pub was_wrong: bool,
    /// Where those are kept. `None` if there were none, or if they were wrong for certain: they are
    /// gone once the right ones are durable.
    pub set_aside: Option<PathBuf>,
    /// Whether what is set aside can be no content of anything.
    is_wrong_for_certain: bool,
    /// What the blob looked like when it got its name: asked of the open file, so that it is of the
    /// bytes that were proven, whatever stands under the name by now.
    pub metadata: Option<fs::Metadata>,
}

impl Promoted {
    /// Takes away what was set aside and is wrong for certain. Only for whoever has made the right
    /// bytes and their name durable; failing to is no harm, a look finds them.
    pub(super) fn forget_wrong(mut self) -> Self {
        if self.is_wrong_for_certain
            && let Some(aside) = &self.set_aside
        {
            match fs::remove_file(aside) {
                Ok(()) => self.set_aside = None,
                Err(error) => {
                    tracing::debug!(%error, aside = %aside.display(), "wrong bytes stay aside");
                }
            }
        }
        self
    }
}

/// Bytes that had the name of a blob, under a second one.
#[derive(Clone, Debug)]
struct Aside {
    path: PathBuf,
    /// They were read to the end, or are of another length.
    is_wrong_for_certain: bool,
}

/// A blob is not in place; the partial is as it was.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct PromoteError {
    /// Why.
    #[source]
    pub error: Error,
    /// To be restarted, discarded, or dropped and resumed later.
    pub partial: Box<Partial>,
}

impl From<PromoteError> for Error {
    fn from(failed: PromoteError) -> Self {
        failed.error
    }
}

/// Whether a sync that failed so may have lost bytes. A file system that cannot sync has lost none.
fn may_have_lost(error: &io::Error) -> bool {
    let lost = [libc::EIO, libc::ENOSPC, libc::EDQUOT];
    error
        .raw_os_error()
        .is_some_and(|code| lost.contains(&code))
}

/// The folder that a name is in.
pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

/// Whether somebody may have written it: a text, and not what servers and git leave in the place of a
/// content.
pub(super) fn is_written_by_hand(path: &Path) -> bool {
    let is_short = |found: &fs::Metadata| found.is_file() && found.len() <= WRITTEN_BYTES;
    let found = path.symlink_metadata().ok().filter(is_short);
    found.is_some_and(|found| may_be_edited(path, &found)) && is_text(path)
}

/// Whether a file begins as a text does.
fn is_text(path: &Path) -> bool {
    let mut start = Vec::new();
    let read =
        host::open_quietly(path).and_then(|file| file.take(TEXT_BYTES).read_to_end(&mut start));
    let is_utf8 = match std::str::from_utf8(&start) {
        Ok(_) => true,
        // A character that is cut off at the end of what was read.
        Err(error) => error.error_len().is_none(),
    };
    read.is_ok() && is_utf8
}

/// Where a folder goes that has the place of a blob: the first name there that is free.
pub(super) fn aside_for(layout: &Layout, repo: &RepoId, etag: &Etag) -> PathBuf {
    let mut names = (0..u32::MAX).map(|number| layout.aside_blob(repo, etag, number));
    let free = names.find(|path| path.symlink_metadata().is_err());
    free.unwrap_or_else(|| layout.aside_blob(repo, etag, u32::MAX))
}

impl Partial {
    /// Proves the bytes, makes them durable and gives them the blob's name. The lock shows that
    /// nobody else is doing the same.
    ///
    /// # Errors
    /// [`Error::HashMismatch`] if bytes are missing or wrong; nothing has changed then.
    pub fn prove_and_promote(
        mut self,
        lock: &BlobLock,
        aside: SetAside,
    ) -> Result<Promoted, PromoteError> {
        match self.promote(lock, aside) {
            Ok(promoted) => Ok(promoted),
            Err(error) => Err(PromoteError {
                error,
                partial: Box::new(self),
            }),
        }
    }

    pub(super) fn promote(&mut self, _lock: &BlobLock, aside: SetAside) -> Result<Promoted> {
        let target = self.layout.blob(&self.repo, &self.etag);
        let folder = folder_of(&target);
        let mut set_aside = None;
        for _ in 0..MAX_RACES {
            self.check_alive()?;
            self.prove()?;
            if let Err(error) = self.file.sync_all() {
                if may_have_lost(&error) {
                    self.give_up_unsynced();
                }
                return Err(Error::from_io("sync", &self.path, error));
            }
            let before = local::giving_way(&self.layout, &self.etag)?;
            // In a local dir it may be another file than when this was tried last.
            if aside == SetAside::Keep && (set_aside.is_none() || self.layout.is_local()) {
                set_aside = self.keep_old(&target)?.or(set_aside);
            }
            // All bytes are there and durable: from here on the length alone says so, and a kill
            // leaves no map without its partial.
            self.remove_map()?;
            if durable::is_same_file(&self.file, &self.path)
                && self.take_name(&target, before, set_aside.is_some())?
            {
                host::sync_dir(folder).map_err(Error::at("sync", folder))?;
                return Ok(self
                    .promoted(self.clear_folder().or(set_aside))
                    .forget_wrong());
            }
        }
        Err(Error::Unsteady { path: target })
    }

    /// Renames a partial that was proven and synced over the blob; `None` if another program has
    /// taken the file away meanwhile. Its folder is for the caller to sync, before the old bytes go.
    pub(super) fn take_blobs_name(&mut self) -> Result<Option<Promoted>> {
        let target = self.layout.blob(&self.repo, &self.etag);
        let before = local::giving_way(&self.layout, &self.etag)?;
        let set_aside = self.keep_old(&target)?;
        let is_named = self.take_name(&target, before, set_aside.is_some())?;
        Ok(is_named.then(|| self.promoted(self.clear_folder().or(set_aside))))
    }

    /// Takes away a partial that could not be synced: after such an error systems hold pages for
    /// written that are not, show them to whoever reads, and call the next sync a success (fsync(2)).
    /// No proof by reading is one then, so these bytes are fetched anew.
    fn give_up_unsynced(&mut self) {
        let removed = self.remove_map().and_then(|()| {
            if durable::is_same_file(&self.file, &self.path) {
                fs::remove_file(&self.path).map_err(Error::at("remove", &self.path))?;
            }
            Ok(())
        });
        if let Err(error) = removed {
            tracing::warn!(%error, "a partial that could not be synced stays");
        }
    }

    fn promoted(&self, aside: Option<Aside>) -> Promoted {
        Promoted {
            was_wrong: aside.is_some(),
            is_wrong_for_certain: aside.as_ref().is_some_and(|it| it.is_wrong_for_certain),
            set_aside: aside.map(|it| it.path),
            metadata: self.file.metadata().ok(),
        }
    }

    /// Renames the partial over the blob; `false` if it turns out that the name did not lead to
    /// our file any more, or that in a local dir another one stands there than `before`.
    fn take_name(&self, target: &Path, before: Option<Seen>, is_kept: bool) -> Result<bool> {
        if !local::is_as_before(&self.layout, &self.etag, before, is_kept)? {
            return Ok(false);
        }
        let is_free = self.layout.is_local() && before.is_none();
        let renamed = if !self.layout.is_local() && is_own_folder(target) {
            self.swap_with(target)
        } else if is_free {
            host::rename_new(&self.path, target)
        } else {
            fs::rename(&self.path, target)
        };
        match renamed {
            Ok(()) => {}
            // Made since the look before.
            Err(error) if is_free && error.kind() == io::ErrorKind::AlreadyExists => {
                return Ok(false);
            }
            // Unlinked since the look before.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) if target.is_dir() => {
                return Err(Error::from_io("replace the folder", target, error));
            }
            Err(error) => return Err(Error::from_io("rename", &self.path, error)),
        }
        if durable::is_same_file(&self.file, target) {
            return Ok(true);
        }
        // Somebody put another file under our name between look and rename: it is not proven, so
        // it must not keep the blob's name.
        match fs::rename(target, self.aside_name()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::from_io("set aside", target, error))
            }
            _ => Ok(false),
        }
    }

    /// Whether the file is, to its last byte, the content of the etag.
    fn prove(&self) -> Result<()> {
        let on_disk = self
            .file
            .metadata()
            .map_err(Error::at("look at", &self.path))?
            .len();
        let is_whole = self.bytes == self.size_bytes && on_disk == self.size_bytes;
        let is_proven = is_whole
            && self.hasher.clone().finish()
            && (!self.is_foreign_file || self.proves_on_disk()?);
        if is_proven {
            Ok(())
        } else {
            Err(self.mismatch())
        }
    }

    fn proves_on_disk(&self) -> Result<bool> {
        let mut hasher = Hasher::new(&self.etag, self.size_bytes);
        let mut on = |_| ControlFlow::Continue(());
        blob::hash_from(
            &self.file,
            &self.path,
            self.size_bytes,
            &mut hasher,
            &mut on,
        )?;
        Ok(hasher.finish())
    }

    fn aside_name(&self) -> PathBuf {
        self.layout
            .set_aside(&self.repo, &self.etag, fastrand::u32(..))
    }

    /// Gives the blob's name to the partial and the partial's to the folder that stood there, which is no
    /// blob to any reader; in one step where the file system can do that.
    fn swap_with(&self, folder: &Path) -> io::Result<()> {
        match host::swap(&self.path, folder) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                let own = self
                    .layout
                    .partial(&self.repo, &self.etag, fastrand::u32(..));
                host::rename_new(&self.path, &own)?;
                host::rename_new(folder, &self.path)?;
                host::rename_new(&own, folder)
            }
            swapped => swapped,
        }
    }

    /// Puts a folder away that gave its name to the blob: one with nothing in it goes, any other is kept
    /// with all that is in it.
    fn clear_folder(&self) -> Option<Aside> {
        let folder = &self.path;
        if !is_own_folder(folder) || fs::remove_dir(folder).is_ok() {
            return None;
        }
        let kept = aside_for(&self.layout, &self.repo, &self.etag);
        let place = folder_of(&kept);
        let moved = fs::create_dir_all(place)
            .and_then(|()| host::rename_new(folder, &kept))
            .and_then(|()| host::sync_dir(place));
        let path = match moved {
            Ok(()) => kept,
            Err(error) => {
                tracing::warn!(%error, folder = %folder.display(), "a folder was not put away");
                folder.clone()
            }
        };
        Some(Aside {
            path,
            is_wrong_for_certain: false,
        })
    }

    /// Whether bytes are another content of the repo: two names were mixed up, and these may be the only
    /// copy. Large ones are hashed only where a listing has a file of that length.
    fn is_anothers(&self, path: &Path) -> bool {
        let Ok(bytes) = path.metadata().map(|found| found.len()) else {
            return true;
        };
        let mut others: Vec<Etag> = all_files(&self.layout, &self.repo)
            .into_iter()
            .filter(|file| file.size_bytes == bytes)
            .map(|file| file.etag)
            .collect();
        if bytes <= WRITTEN_BYTES {
            let blobs = host::read_dir(&self.layout.blobs(&self.repo));
            let names = blobs.into_iter().flatten().flatten();
            others.extend(names.filter_map(|entry| exact_etag(entry.file_name().to_str()?)));
        }
        others.retain(|etag| *etag != self.etag);
        let mut on = |_| ControlFlow::Continue(());
        others.iter().any(|etag| {
            let verdict = blob::check(path, etag, bytes, Check::Hash, &mut on);
            matches!(verdict, Ok(Verdict::Proven))
        })
    }

    /// Gives the bytes under the blob's name a second name; the first stays until the rename.
    fn keep_old(&self, target: &Path) -> Result<Option<Aside>> {
        match target.symlink_metadata() {
            Ok(metadata) if metadata.is_file() => {}
            // A link into the shared store loses nothing: the payload stays where it is.
            Ok(metadata) if metadata.is_symlink() => return Ok(None),
            // It gives way in the same step as the blob gets its name.
            Ok(metadata) if metadata.is_dir() && !self.layout.is_local() => return Ok(None),
            Ok(_) => {
                return Err(Error::Collision {
                    path: target.to_owned(),
                    other: target.to_owned(),
                });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::from_io("look at", target, error)),
        }
        // A forced pull replaces good bytes by the same bytes: a second copy would keep nothing.
        let mut on = |_| ControlFlow::Continue(());
        let verdict = blob::check(target, &self.etag, self.size_bytes, Check::Hash, &mut on);
        if matches!(verdict, Ok(Verdict::Proven)) {
            return Ok(None);
        }
        // In a local dir it may be somebody's work, and what cannot be read may be anything. An editor
        // that writes through the pointer has changed the blob.
        let is_wrong_for_certain = !self.layout.is_local()
            && !is_written_by_hand(target)
            && matches!(
                verdict,
                Ok(Verdict::Truncated { .. }
                    | Verdict::TooLong { .. }
                    | Verdict::WrongHash
                    | Verdict::LfsPointer)
            )
            && !self.is_anothers(target);
        let aside = |path| Aside {
            path,
            is_wrong_for_certain,
        };
        if local::is_as_noted(&self.layout, &self.etag) {
            // Another revision of the file, as it was fetched and can be again: Python replaces it
            // as well.
            return Ok(None);
        }
        let kept = self.aside_name();
        if fs::hard_link(target, &kept).is_ok() {
            return Ok(Some(aside(kept)));
        }
        let mut source = File::open(target).map_err(Error::at("open", target))?;
        let (kept, mut copy) =
            durable::create_unique(|number| self.layout.set_aside(&self.repo, &self.etag, number))?;
        let copied = io::copy(&mut source, &mut copy).and_then(|_| copy.sync_all());
        if let Err(error) = copied {
            drop(fs::remove_file(&kept));
            return Err(Error::from_io("set aside", target, error));
        }
        Ok(Some(aside(kept)))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    use super::*;
    use crate::cache::Salvage;
    use crate::cache::fixture::{self, content, etag, held, now, on, repo};

    struct Scene {
        _dir: fixture::Folder,
        layout: Layout,
        repo: RepoId,
        etag: Etag,
        good: Vec<u8>,
        lock: BlobLock,
    }

    impl Scene {
        fn new() -> Self {
            let (dir, layout) = fixture::cache();
            let repo = repo("org/m");
            crate::cache::prepare_repo(&layout, &repo).unwrap();
            let good = content(5000);
            let etag = etag(&good);
            let lock = held(&layout, &repo, &etag);
            Self {
                _dir: dir,
                layout,
                repo,
                etag,
                good,
                lock,
            }
        }

        fn blob(&self) -> PathBuf {
            self.layout.blob(&self.repo, &self.etag)
        }

        fn start(&self) -> Partial {
            let from = Salvage {
                now: now(),
                seed: None,
                damaged: None,
            };
            let size = self.good.len() as u64;
            Partial::start(
                &self.layout,
                &self.repo,
                &self.etag,
                size,
                &self.lock,
                from,
                &mut on,
            )
            .unwrap()
            .0
        }

        fn written(&self) -> Partial {
            let mut partial = self.start();
            let from = usize::try_from(partial.bytes()).unwrap();
            partial.append(&self.good[from..]).unwrap();
            partial
        }

        fn names(&self) -> Vec<String> {
            fixture::names(&self.layout.blobs(&self.repo))
        }
    }

    #[test]
    fn a_proven_partial_becomes_the_blob_and_nothing_is_left() {
        fixture::with_umask(0o002, || {
            let scene = Scene::new();
            let promoted = scene
                .written()
                .prove_and_promote(&scene.lock, SetAside::Keep)
                .unwrap();
            assert_eq!(promoted.set_aside, None);
            assert_eq!(fs::read(scene.blob()).unwrap(), scene.good);
            assert_eq!(scene.names(), [scene.etag.to_string()]);
            let mode = scene.blob().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o664);
        });
    }

    #[test]
    fn wrong_or_missing_bytes_are_never_promoted() {
        let scene = Scene::new();
        let mut wrong = scene.good.clone();
        wrong[4999] ^= 1;
        for bytes in [&wrong[..], &scene.good[..4999], &[]] {
            let mut partial = scene.start();
            partial.restart().unwrap();
            partial.append(bytes).unwrap();
            let failed = partial
                .prove_and_promote(&scene.lock, SetAside::Keep)
                .unwrap_err();
            assert!(matches!(failed.error, Error::HashMismatch { .. }));
            assert!(!scene.blob().exists());
            failed.partial.discard().unwrap();
            assert!(scene.names().is_empty());
        }
    }

    #[test]
    fn bytes_written_by_others_are_read_again_before_the_blob_is_named() {
        let scene = Scene::new();
        let foreign = scene
            .layout
            .blobs(&scene.repo)
            .join(format!("{}.incomplete", scene.etag));
        fs::write(&foreign, &scene.good[..1000]).unwrap();
        let their_handle = File::options().write(true).open(&foreign).unwrap();
        let mut partial = scene.start();
        assert_eq!(partial.bytes(), 1000);
        partial.append(&scene.good[1000..]).unwrap();
        // An old Python that went on writing through the handle it still has.
        std::os::unix::fs::FileExt::write_all_at(&their_handle, b"XX", 3000).unwrap();
        let failed = partial
            .prove_and_promote(&scene.lock, SetAside::Keep)
            .unwrap_err();
        assert!(matches!(failed.error, Error::HashMismatch { .. }));
        assert!(failed.partial.has_foreign_bytes());
        assert!(!scene.blob().exists());
    }

    #[test]
    fn wrong_bytes_stay_until_the_right_ones_are_in_place_and_are_gone_then() {
        let scene = Scene::new();
        let mut flipped = scene.good.clone();
        flipped[7] ^= 1;
        for aside in [SetAside::Keep, SetAside::Drop] {
            for bad in [&b"\xffbad"[..], &flipped] {
                fs::write(scene.blob(), bad).unwrap();
                let partial = scene.written();
                assert_eq!(fs::read(scene.blob()).unwrap(), bad);
                let promoted = partial.prove_and_promote(&scene.lock, aside).unwrap();
                assert_eq!(fs::read(scene.blob()).unwrap(), scene.good);
                assert_eq!(promoted.was_wrong, aside == SetAside::Keep);
                assert_eq!(promoted.set_aside, None);
                assert_eq!(scene.names(), [scene.etag.to_string()]);
            }
        }
    }

    /// What an earlier run, or another program, put aside is not this one's to take away.
    #[test]
    fn what_others_put_aside_stays_and_so_does_what_may_be_good() {
        let scene = Scene::new();
        let theirs = scene.layout.set_aside(&scene.repo, &scene.etag, 7);
        fs::write(&theirs, "theirs").unwrap();
        fs::write(scene.blob(), b"\xffbad").unwrap();
        let mut partial = scene.written();
        let aside = partial.keep_old(&scene.blob()).unwrap().unwrap();
        let unread = Aside {
            is_wrong_for_certain: false,
            ..aside.clone()
        };
        let kept = partial.promoted(Some(unread)).forget_wrong().set_aside;
        assert_eq!(fs::read(kept.unwrap()).unwrap(), b"\xffbad");
        fs::remove_file(aside.path).unwrap();
        partial.promote(&scene.lock, SetAside::Keep).unwrap();
        assert_eq!(fs::read(theirs).unwrap(), b"theirs");
        assert_eq!(scene.names().len(), 2);
    }

    /// An editor writes through the pointer into the blob.
    #[test]
    fn what_somebody_wrote_by_hand_is_kept() {
        let scene = Scene::new();
        for (old, is_kept) in [
            (&b"{\"temperature\": 0.7}\n"[..], true),
            (b"<!DOCTYPE html><html>log in</html>", false),
            (b"\x00\xff\xfe", false),
        ] {
            fs::write(scene.blob(), old).unwrap();
            let promoted = scene
                .written()
                .prove_and_promote(&scene.lock, SetAside::Keep);
            let kept = promoted.unwrap().set_aside;
            assert_eq!(kept.is_some(), is_kept, "{old:?}");
            if let Some(kept) = kept {
                assert_eq!(fs::read(kept).unwrap(), old);
            }
            assert_eq!(fs::read(scene.blob()).unwrap(), scene.good);
        }
    }

    #[test]
    fn a_failed_proof_leaves_the_old_blob_alone() {
        let scene = Scene::new();
        fs::write(scene.blob(), "old").unwrap();
        let mut partial = scene.start();
        partial.append(b"not the content").unwrap();
        let failed = partial.prove_and_promote(&scene.lock, SetAside::Keep);
        assert!(failed.is_err());
        assert_eq!(fs::read(scene.blob()).unwrap(), b"old");
        assert!(!scene.names().iter().any(|name| name.ends_with(".corrupt")));
    }

    #[test]
    fn a_link_into_the_shared_store_is_replaced_and_not_written_through() {
        let scene = Scene::new();
        let payload = scene.layout.shared_payload(&"ab".repeat(32)).unwrap();
        fs::create_dir_all(payload.parent().unwrap()).unwrap();
        fs::write(&payload, "other repos read this").unwrap();
        symlink(&payload, scene.blob()).unwrap();
        let promoted = scene
            .written()
            .prove_and_promote(&scene.lock, SetAside::Keep)
            .unwrap();
        assert_eq!(promoted.set_aside, None);
        assert!(scene.blob().symlink_metadata().unwrap().is_file());
        assert_eq!(fs::read(scene.blob()).unwrap(), scene.good);
        assert_eq!(fs::read(&payload).unwrap(), b"other repos read this");
    }

    #[test]
    fn a_prune_or_a_stranger_just_before_the_end_is_survived() {
        let scene = Scene::new();
        for put_stranger in [false, true] {
            let partial = scene.written();
            let old_name = partial.path().to_owned();
            fs::remove_file(&old_name).unwrap();
            if put_stranger {
                fs::write(&old_name, "a stranger").unwrap();
            }
            partial
                .prove_and_promote(&scene.lock, SetAside::Drop)
                .unwrap();
            assert_eq!(fs::read(scene.blob()).unwrap(), scene.good);
            assert_eq!(scene.blob().metadata().unwrap().nlink(), 1);
            if put_stranger {
                assert_eq!(fs::read(&old_name).unwrap(), b"a stranger");
            }
        }
    }

    /// Between the last look and the rename.
    #[test]
    fn a_stranger_never_keeps_the_blobs_name() {
        let scene = Scene::new();
        let mut partial = scene.written();
        fs::remove_file(partial.path()).unwrap();
        assert!(
            !partial.take_name(&scene.blob(), None, false).unwrap(),
            "pruned"
        );
        fs::write(partial.path(), "a stranger").unwrap();
        assert!(!partial.take_name(&scene.blob(), None, false).unwrap());
        assert!(!scene.blob().exists());
        assert_eq!(scene.names().len(), 1, "the stranger's bytes are kept");
        // The next round brings our bytes back from the handle.
        partial.promote(&scene.lock, SetAside::Keep).unwrap();
        assert_eq!(fs::read(scene.blob()).unwrap(), scene.good);
    }

    #[test]
    fn bytes_that_are_another_content_of_the_repo_are_kept() {
        let scene = Scene::new();
        let other = content(3000);
        let place = scene.layout.blob(&scene.repo, &etag(&other));
        fs::write(scene.blob(), &other).unwrap();
        fs::write(&place, &scene.good).unwrap();
        let promoted = scene
            .written()
            .prove_and_promote(&scene.lock, SetAside::Keep)
            .unwrap();
        let kept = promoted.set_aside.unwrap();
        assert_eq!(fs::read(kept).unwrap(), other, "the only copy");
        assert_eq!(fs::read(scene.blob()).unwrap(), scene.good);
    }

    #[test]
    fn a_folder_in_the_place_of_the_blob_gives_way_with_all_that_is_in_it() {
        for aside in [SetAside::Keep, SetAside::Drop] {
            for is_empty in [true, false] {
                let scene = Scene::new();
                fs::create_dir(scene.blob()).unwrap();
                if !is_empty {
                    fs::write(scene.blob().join("mine"), "mine").unwrap();
                }
                let promoted = scene.written().prove_and_promote(&scene.lock, aside);
                let kept = promoted.unwrap().set_aside;
                assert_eq!(kept.is_none(), is_empty);
                if let Some(kept) = kept {
                    assert_eq!(fs::read(kept.join("mine")).unwrap(), b"mine");
                }
                assert_eq!(fs::read(scene.blob()).unwrap(), scene.good);
            }
        }
    }

    #[test]
    fn a_folder_stays_where_it_is_while_nothing_is_proven() {
        let scene = Scene::new();
        fs::create_dir(scene.blob()).unwrap();
        let mut wrong = scene.good.clone();
        wrong[4999] ^= 1;
        let mut partial = scene.start();
        partial.append(&wrong).unwrap();
        let failed = partial.prove_and_promote(&scene.lock, SetAside::Keep);
        assert!(failed.is_err() && scene.blob().is_dir());
    }
}
