//! Owns an unfinished blob of ours: appending, hashing on the way, surviving other programs.
//!
//! Law: the running hash is always that of the first `bytes` bytes of the open file. The file is
//! flocked while it is open, so others can tell it is live. `hf cache prune` may unlink it at any
//! time: the bytes are then put back from the open handle.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::blob::{self, Hasher};
use super::chunk_map::{ChunkMap, MapFile};
use super::digest::ChunkDigest;
use super::durable;
use super::lock::{BlobLock, mark_live};
use super::salvage::Search;
use super::{Error, Layout, Result, prepare_repo};
use crate::domain::{Etag, RepoId};

/// At most this much can be lost to a prune that unlinks a live partial.
const ALIVE_EVERY_BYTES: u64 = 8 << 20;

/// Where the first bytes of a partial may come from.
#[derive(Clone, Copy, Debug)]
pub struct Salvage<'a> {
    /// The engine's clock, for the age of partials where there is no `flock`.
    pub now: SystemTime,
    /// A truncated blob whose bytes are copied if no partial has more.
    pub seed: Option<&'a Path>,
    /// A damaged blob of which it is known what its chunks should be: those that are right are copied
    /// if no partial has more. Only of use for a content that comes in chunks.
    pub damaged: Option<Damaged<'a>>,
}

/// A blob with wrong bytes, and what was proven of its content before.
#[derive(Clone, Copy, Debug)]
pub struct Damaged<'a> {
    /// The blob.
    pub path: &'a Path,
    /// The length of a chunk.
    pub chunk_bytes: u64,
    /// What each chunk hashes to.
    pub digests: &'a [ChunkDigest],
}

/// What was there already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Bytes taken over and hashed.
    pub adopted_bytes: u64,
    /// Names of partials whose bytes could not be used and were given up.
    pub discarded: Vec<String>,
    /// Bytes of chunks that are not what was written, by their digests: they are fetched again.
    pub damaged_bytes: u64,
}

/// The chunk map of a partial and what was known of it before this run.
#[derive(Debug)]
pub(super) struct Chunks {
    pub(super) file: MapFile,
    pub(super) map: ChunkMap,
    /// Chunks of which bytes were there before this run.
    pub(super) old: BTreeSet<u64>,
}

/// An unfinished blob of ours, open and marked as live. Dropping it leaves it to be resumed.
#[derive(Debug)]
pub struct Partial {
    pub(super) layout: Layout,
    pub(super) repo: RepoId,
    pub(super) etag: Etag,
    pub(super) size_bytes: u64,
    pub(super) path: PathBuf,
    pub(super) file: Arc<File>,
    pub(super) hasher: Hasher,
    pub(super) bytes: u64,
    unchecked_bytes: u64,
    pub(super) has_foreign_bytes: bool,
    /// How it was written, if in chunks.
    pub(super) chunks: Option<Chunks>,
    /// Somebody else made the file and may still have it open, so what was hashed while writing
    /// proves nothing about what is there now.
    pub(super) is_foreign_file: bool,
}

impl Partial {
    /// Takes over the best partial of this content, or starts a new one.
    ///
    /// `watch` gets the bytes hashed so far. When it breaks off, what was taken over stays for the
    /// next start.
    pub fn start(
        layout: &Layout,
        repo: &RepoId,
        etag: &Etag,
        size_bytes: u64,
        lock: &BlobLock,
        from: Salvage<'_>,
        watch: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<(Self, Found)> {
        let seed = from.seed.and_then(|path| {
            let file = blob::open_content(path).ok()?;
            let metadata = file.metadata().ok().filter(fs::Metadata::is_file)?;
            Some((file, path, metadata.len())).filter(|(_, _, l)| *l > 0 && *l < size_bytes)
        });
        let search = Search {
            layout,
            repo,
            etag,
            size_bytes,
            lock,
            now: from.now,
            at_least: seed.as_ref().map_or(0, |(_, _, length)| *length),
            takes_maps: false,
        };
        let mut found = Found::default();
        let partial = if let Some(adopted) = search.adopt_best()? {
            found.discarded.extend(adopted.given_up);
            let mut partial = Self::of(layout, repo, etag, size_bytes, adopted.path, adopted.file);
            partial.is_foreign_file = true;
            partial.take_over(adopted.bytes, watch)?;
            partial
        } else {
            let mut partial = Self::fresh(layout, repo, etag, size_bytes)?;
            if let Some((source, path, length)) = seed {
                copy_seed(&source, path, length, &partial, watch)?;
                partial.take_over(length, watch)?;
            }
            partial
        };
        found.adopted_bytes = partial.bytes;
        Ok((partial, found))
    }

    /// Starts a new partial whatever is there already. The lock shows that nobody else fetches it.
    pub fn anew(
        layout: &Layout,
        repo: &RepoId,
        etag: &Etag,
        size_bytes: u64,
        _lock: &BlobLock,
    ) -> Result<Self> {
        Self::fresh(layout, repo, etag, size_bytes)
    }

    /// A new, empty partial.
    pub(super) fn fresh(
        layout: &Layout,
        repo: &RepoId,
        etag: &Etag,
        size_bytes: u64,
    ) -> Result<Self> {
        let (path, file) = new_file(layout, repo, etag)?;
        Ok(Self::of(layout, repo, etag, size_bytes, path, file))
    }

    pub(super) fn of(
        layout: &Layout,
        repo: &RepoId,
        etag: &Etag,
        size_bytes: u64,
        path: PathBuf,
        file: File,
    ) -> Self {
        Self {
            layout: layout.clone(),
            repo: repo.clone(),
            etag: *etag,
            size_bytes,
            path,
            file: Arc::new(file),
            hasher: Hasher::new(etag, size_bytes),
            bytes: 0,
            unchecked_bytes: 0,
            has_foreign_bytes: false,
            chunks: None,
            is_foreign_file: false,
        }
    }

    /// Hashes what is in the file already.
    fn take_over(
        &mut self,
        bytes: u64,
        watch: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<()> {
        self.bytes = blob::hash_from(&self.file, &self.path, bytes, &mut self.hasher, watch)?;
        self.has_foreign_bytes = self.bytes > 0;
        Ok(())
    }

    /// Bytes from the start that are written and hashed: where a range request goes on.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where the partial is now.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether bytes that we did not write ourselves in this run are in it: then a wrong hash says
    /// nothing about the source, and a restart is worth it.
    pub const fn has_foreign_bytes(&self) -> bool {
        self.has_foreign_bytes
    }

    /// Writes and hashes the next bytes; looks every 8 MiB whether the file is still there.
    /// Returns the bytes that had to be put back, if another program deleted it.
    pub fn append(&mut self, bytes: &[u8]) -> Result<Option<u64>> {
        let count = bytes.len() as u64;
        if count > self.size_bytes - self.bytes {
            return Err(Error::SizeExceeded {
                path: self.path.clone(),
                size_bytes: self.size_bytes,
            });
        }
        if let Err(error) = self.file.write_all_at(bytes, self.bytes) {
            // Part of it may be there, unhashed. If even cutting fails, the end is overwritten by
            // the next append, and a resume hashes whatever is there.
            drop(self.file.set_len(self.bytes));
            return Err(Error::from_io("write", &self.path, error));
        }
        self.hasher.update(bytes);
        self.bytes += count;
        self.unchecked_bytes += count;
        if self.unchecked_bytes < ALIVE_EVERY_BYTES {
            return Ok(None);
        }
        self.check_alive()
    }

    /// Gives all bytes up and starts from zero; returns how many there were.
    pub fn restart(&mut self) -> Result<u64> {
        self.file
            .set_len(0)
            .map_err(Error::at("empty", &self.path))?;
        self.hasher = Hasher::new(&self.etag, self.size_bytes);
        self.has_foreign_bytes = false;
        Ok(std::mem::take(&mut self.bytes))
    }

    /// Looks whether the name still leads to the open file. If another program deleted or replaced
    /// it, the bytes go to a new name, hashed again on the way; returns how many.
    pub fn check_alive(&mut self) -> Result<Option<u64>> {
        self.unchecked_bytes = 0;
        if durable::is_same_file(&self.file, &self.path) {
            return Ok(None);
        }
        let mut copy = Self::fresh(&self.layout, &self.repo, &self.etag, self.size_bytes)?;
        let copied = blob::each_step(
            &self.file,
            &self.path,
            self.bytes,
            &mut |_| ControlFlow::Continue(()),
            &mut |offset, step| {
                copy.hasher.update(step);
                copy.file
                    .write_all_at(step, offset)
                    .map_err(Error::at("write", &copy.path))
            },
        );
        match copied {
            Ok(bytes) => {
                copy.bytes = bytes;
                copy.has_foreign_bytes = self.has_foreign_bytes;
                self.remove_map()?;
                *self = copy;
                Ok(Some(bytes))
            }
            Err(error) => {
                copy.discard()?;
                Err(error)
            }
        }
    }

    /// The error of bytes that are not those of the etag.
    pub fn mismatch(&self) -> Error {
        Error::HashMismatch {
            path: self.path.clone(),
            expected: self.etag,
        }
    }

    /// Gives up what was there before this run, so that only that is fetched again: the next start
    /// finds the rest. `None`, and nothing is given up, if that would be nothing or everything.
    pub fn forget_old(&mut self) -> Result<Option<u64>> {
        let Some(chunks) = &mut self.chunks else {
            return Ok(None);
        };
        let is_some_new = chunks.map.records.len() > chunks.old.len();
        if chunks.old.is_empty() || !is_some_new {
            return Ok(None);
        }
        let mut bytes = 0;
        for chunk in std::mem::take(&mut chunks.old) {
            chunks.file.say(&format!("lost {chunk}"))?;
            bytes += chunks
                .map
                .records
                .remove(&chunk)
                .map_or(0, |record| record.bytes);
        }
        Ok(Some(bytes))
    }

    /// The digests of all chunks and the length of one, if the content came in chunks.
    pub fn digests(&self) -> Option<(u64, Vec<ChunkDigest>)> {
        let map = &self.chunks.as_ref()?.map;
        let is_whole = map.bytes() == self.size_bytes;
        let digests = map.records.values().map(|record| record.digest).collect();
        is_whole.then_some((map.chunk_bytes, digests))
    }

    /// Takes the chunk map away: without it the partial is what its length says.
    pub(super) fn remove_map(&mut self) -> Result<()> {
        match self.chunks.take() {
            Some(chunks) => chunks.file.remove(),
            None => Ok(()),
        }
    }

    /// Deletes the partial, if its name still leads to it.
    pub fn discard(mut self) -> Result<()> {
        self.remove_map()?;
        if !durable::is_same_file(&self.file, &self.path) {
            return Ok(());
        }
        fs::remove_file(&self.path).map_err(Error::at("remove", &self.path))
    }
}

/// A new file under a name of ours; the folders are made again if they were removed meanwhile.
pub(super) fn new_file(layout: &Layout, repo: &RepoId, etag: &Etag) -> Result<(PathBuf, File)> {
    let name = |number| layout.partial(repo, etag, number);
    match durable::create_unique(name) {
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            prepare_repo(layout, repo)?;
            durable::create_unique(name)
        }
        made => made,
    }
}

/// Copies what a truncated blob has, sharing its blocks where the file system can.
pub(super) fn copy_seed(
    source: &File,
    path: &Path,
    length: u64,
    partial: &Partial,
    watch: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<()> {
    if reflink_copy::reflink_file(source, &partial.file).is_ok() {
        return Ok(());
    }
    let copied = blob::each_step(source, path, length, watch, &mut |offset, step| {
        partial
            .file
            .write_all_at(step, offset)
            .map_err(Error::at("write", &partial.path))
    });
    copied.map(drop)
}

/// Opens a file that was put under a name of ours, and marks it as live.
pub(super) fn reopen(path: &Path) -> Result<File> {
    let file = File::options()
        .read(true)
        .write(true)
        .open(path)
        .map_err(Error::at("open", path))?;
    // The name is new and random: whoever marks it too is a sweep, and is noticed before use.
    mark_live(&file, path)?;
    Ok(file)
}

#[cfg(test)]
#[path = "incomplete_tests.rs"]
mod tests;
