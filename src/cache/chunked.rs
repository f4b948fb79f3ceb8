//! Owns a large unfinished blob: its bytes come in any order, straight to their place, and its chunk
//! map says which are there. The hash of the whole runs beside, in the order of the file.
//!
//! **Law**: the chunk map never speaks of bytes that are not written; what an earlier run left is
//! proven again, chunk by chunk, before it counts; only [`Partial::prove_and_promote`] makes a blob.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::{ControlFlow, Range};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::chunk_map::{self, ChunkMap, MapFile, Record};
use super::digest::{ChunkDigest, Digester};
use super::extents::Extents;
use super::hashing::{Backlog, Hashing, InMemory};
use super::incomplete::{Chunks, Damaged, Found, Partial, Salvage, copy_seed};
use super::lock::BlobLock;
use super::reprove::{Claim, reprove};
use super::salvage::{Readable, Search};
use super::{Error, Layout, Result, blob, durable};
use crate::domain::{Etag, RepoId};
use crate::host;

/// At most this much can be lost to a prune that unlinks a live partial.
const ALIVE_EVERY_BYTES: u64 = 8 << 20;
/// How much is copied at a time.
const COPY_BYTES: usize = 256 << 10;
/// A chunk whose bytes came in no order is digested when the hash passes it, if that is as near as
/// this; else it is read back.
const SOON_BYTES: u64 = 32 << 20;

/// A large unfinished blob of ours, open and marked as live. Dropping it leaves what its map vouches
/// for; [`Chunked::close`] also keeps the chunks that are only begun.
pub struct Chunked<B> {
    partial: Partial,
    chunks: Chunks,
    present: Extents,
    /// Digests of chunks whose beginning is there.
    begun: BTreeMap<u64, Digester>,
    /// Chunks that are all there and wait for the hash to digest them, with whom they came from.
    passing: BTreeMap<u64, Arc<str>>,
    /// The next chunk that the hash passes.
    next_passed: u64,
    hashing: Hashing<B>,
    /// The file once more, for bytes that need not stay in the system's memory.
    direct: Option<Arc<host::Direct>>,
    unchecked_bytes: u64,
    buffer: Vec<u8>,
}

/// What a large partial is opened for.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// Paths of the cache.
    pub layout: &'a Layout,
    /// The repo.
    pub repo: &'a RepoId,
    /// The content.
    pub etag: &'a Etag,
    /// Its length.
    pub size_bytes: u64,
    /// Shows that nobody else fetches it.
    pub lock: &'a BlobLock,
    /// Whether somebody still wants it: asked again and again while what is here is read.
    pub is_wanted: &'a (dyn Fn() -> bool + Sync),
    /// Room for bytes that wait to be hashed.
    pub backlog: &'a Arc<Backlog>,
}

impl<B: InMemory> Chunked<B> {
    /// Goes on with the best partial of this content, or starts a new one. What is there is read and
    /// proven against its map; chunks that changed meanwhile are given up.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when it is not wanted any more; what was there stays for the next time.
    pub fn open(wanted: Wanted<'_>, from: Salvage<'_>) -> Result<(Self, Found)> {
        let Wanted {
            layout,
            repo,
            etag,
            size_bytes,
            lock,
            is_wanted,
            ..
        } = wanted;
        let seed = from.seed.and_then(|path| {
            let file = blob::open_content(path).ok()?;
            let length = file
                .metadata()
                .ok()
                .filter(std::fs::Metadata::is_file)?
                .len();
            Some((file, path, length)).filter(|(_, _, length)| (1..size_bytes).contains(length))
        });
        let damaged = from
            .damaged
            .and_then(|damaged| Parts::of(damaged, etag, size_bytes));
        let mut search = Search {
            layout,
            repo,
            etag,
            size_bytes,
            lock,
            now: from.now,
            at_least: seed
                .as_ref()
                .map_or(0, |(_, _, length)| *length)
                .max(damaged.as_ref().map_or(0, Parts::likely_bytes)),
            takes_maps: true,
        };
        let adopted = search.adopt_best()?;
        // Now: what was adopted may have got another name, and its map, if it says nothing, has not.
        search.remove_orphan_maps();
        let mut found = Found::default();
        found.discarded.extend(
            adopted
                .iter()
                .filter_map(|adopted| adopted.given_up.clone()),
        );
        search.at_least = search
            .at_least
            .max(adopted.as_ref().map_or(0, |adopted| adopted.bytes));
        let mut stop = |_| {
            if is_wanted() {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        };
        let (partial, map, claims) = if let Some(other) = search.best_of_others()? {
            let partial = Partial::fresh(layout, repo, etag, size_bytes)?;
            // First the map, then the bytes: without a map, the length of a file with holes would
            // count.
            let (map, path) = (ChunkMap::new(etag, size_bytes), map_path(&partial)?);
            drop(MapFile::create(path.clone(), &map)?);
            let claims = copy_of_other(&other, &partial, is_wanted)?;
            (partial, Some((map, path)), claims)
        } else if let Some(parts) = damaged.filter(|_| adopted.is_none()) {
            let partial = Partial::fresh(layout, repo, etag, size_bytes)?;
            // First the map, as above.
            let (map, path) = (ChunkMap::new(etag, size_bytes), map_path(&partial)?);
            drop(MapFile::create(path.clone(), &map)?);
            let claims = parts.copy_right_ones(&partial, is_wanted)?;
            (partial, Some((map, path)), claims)
        } else if let Some(adopted) = adopted {
            let map_path = Layout::map_of(&adopted.path);
            let map = map_path
                .filter(|_| adopted.is_mapped)
                .and_then(|path| Some((chunk_map::read(&path, etag, size_bytes)?, path)));
            let mut partial =
                Partial::of(layout, repo, etag, size_bytes, adopted.path, adopted.file);
            // A larder that died has nothing open any more.
            partial.is_foreign_file = map.is_none() || !lock.is_backed_by_flock();
            let claims = match &map {
                Some((map, _)) => Claim::of_map(map),
                None if adopted.is_mapped => Vec::new(),
                None => Claim::of_prefix(&ChunkMap::new(etag, size_bytes), adopted.bytes),
            };
            (partial, map, claims)
        } else {
            let partial = Partial::fresh(layout, repo, etag, size_bytes)?;
            let length = match seed {
                Some((source, path, length)) => {
                    copy_seed(&source, path, length, &partial, &mut stop)?;
                    length
                }
                None => 0,
            };
            let claims = Claim::of_prefix(&ChunkMap::new(etag, size_bytes), length);
            (partial, None, claims)
        };
        let this = Self::with(partial, map, &claims, &wanted, &mut found)?;
        found.adopted_bytes = this.present.bytes();
        Ok((this, found))
    }

    /// Starts a new partial whatever is there already.
    pub fn anew(wanted: Wanted<'_>) -> Result<Self> {
        let partial = Partial::fresh(wanted.layout, wanted.repo, wanted.etag, wanted.size_bytes)?;
        Self::with(partial, None, &[], &wanted, &mut Found::default())
    }

    /// Proves what `claims` says is in the file, and brings the map on disk up to that.
    fn with(
        mut partial: Partial,
        map: Option<(ChunkMap, PathBuf)>,
        claims: &[Claim],
        wanted: &Wanted<'_>,
        found: &mut Found,
    ) -> Result<Self> {
        let (mut map, on_disk) = match map {
            Some((map, path)) => (map, Some(path)),
            None => (ChunkMap::new(&partial.etag, partial.size_bytes), None),
        };
        let length_of = |chunk| {
            let range = map.range_of(chunk);
            range.end - range.start
        };
        let direct = host::Direct::open(&partial.file, &partial.path).map(Arc::new);
        let files = (&*partial.file, direct.as_deref());
        let proven = reprove(files, claims, &length_of, wanted.is_wanted)?;
        let mut present = Extents::default();
        let mut begun = BTreeMap::new();
        let (mut lost, mut new) = (Vec::new(), Vec::new());
        for (claim, read) in proven {
            let Some(read) = read else {
                found.damaged_bytes += claim.bytes;
                map.records.remove(&claim.chunk);
                lost.push(claim.chunk);
                continue;
            };
            present.insert(claim.start..claim.start + claim.bytes);
            let record = Record {
                bytes: claim.bytes,
                digest: read.digest,
                source: claim.source,
            };
            if map.records.insert(claim.chunk, record).is_none() {
                new.push(map.line_of(claim.chunk, &record));
            }
            if let Some(digester) = read.begun {
                begun.insert(claim.chunk, digester);
            }
        }
        let file = match on_disk {
            Some(path) => {
                let mut file = MapFile::open(path)?;
                for chunk in lost {
                    file.say(&format!("lost {chunk}"))?;
                }
                for line in new {
                    file.say(&line)?;
                }
                file
            }
            None => MapFile::create(map_path(&partial)?, &map)?,
        };
        partial.has_foreign_bytes = present.bytes() > 0;
        let old = map.records.keys().copied().collect();
        let hashing = Hashing::start(&partial, present.prefix(), wanted.backlog)?;
        Ok(Self {
            direct,
            partial,
            chunks: Chunks { file, map, old },
            present,
            begun,
            passing: BTreeMap::new(),
            next_passed: 0,
            hashing,
            unchecked_bytes: 0,
            buffer: Vec::new(),
        })
    }

    /// The bytes that are there.
    pub const fn present(&self) -> &Extents {
        &self.present
    }

    /// The length of a chunk.
    pub const fn chunk_bytes(&self) -> u64 {
        self.chunks.map.chunk_bytes
    }

    /// Whether what comes should wait for the hash rather than leave it behind: then it need not be
    /// read again, which costs the disk more than a source whose answers come at once loses.
    pub fn keep_in_step(&mut self, is_wanted: bool) {
        self.hashing.waits = is_wanted;
    }

    /// Writes bytes to their place. `source` is whom they came from. Returns the bytes that had to
    /// be put back, if another program deleted the file.
    ///
    /// # Errors
    /// What the disk says; [`Error::SizeExceeded`] for bytes beyond the end.
    pub fn write(&mut self, offset: u64, bytes: B, source: &str) -> Result<Option<u64>> {
        let slice = bytes.as_ref();
        let range = offset..offset.saturating_add(slice.len() as u64);
        if range.end > self.partial.size_bytes {
            return Err(Error::SizeExceeded {
                path: self.partial.path.clone(),
                size_bytes: self.partial.size_bytes,
            });
        }
        let is_near = self.hashing.is_near(offset);
        self.place(slice, offset, is_near)
            .map_err(Error::at("write", &self.partial.path))?;
        self.present.insert(range.clone());
        let mut at = range.start;
        while at < range.end {
            let chunk = at / self.chunk_bytes();
            let whole = self.chunks.map.range_of(chunk);
            let end = range.end.min(whole.end);
            // What is hashed at once is digested with it.
            if !is_near {
                let begun = self.begun.entry(chunk).or_insert_with(Digester::new);
                if whole.start + begun.bytes() == at {
                    let piece = usize::try_from(at - offset)
                        .ok()
                        .zip(usize::try_from(end - offset).ok())
                        .and_then(|(from, to)| slice.get(from..to));
                    begun.update(piece.unwrap_or_default());
                }
            }
            if self.present.contains(&whole) {
                self.complete(chunk, &whole, source)?;
            }
            at = end;
        }
        let passed = self.hashing.offer(offset, bytes, self.present.prefix());
        self.pass(passed)?;
        self.unchecked_bytes += range.end - range.start;
        if self.unchecked_bytes < ALIVE_EVERY_BYTES {
            return Ok(None);
        }
        self.check_alive()
    }

    /// Puts bytes where they belong. Those that are not read again, or from a disk that is fast, go
    /// past the system's memory where that is possible: it costs half of the time.
    fn place(&mut self, bytes: &[u8], offset: u64, is_read_no_more: bool) -> io::Result<()> {
        if let Some(direct) = &self.direct
            && (is_read_no_more || direct.is_fast())
        {
            if !is_read_no_more {
                self.hashing.read_by(direct);
            }
            match direct.write_all_at(bytes, offset) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) if host::Direct::is_refusal(&error) => self.direct = None,
                Err(error) => return Err(error),
            }
        }
        self.partial.file.write_all_at(bytes, offset)
    }

    /// Takes the digests of chunks that the hash has passed.
    fn pass(&mut self, digests: Vec<ChunkDigest>) -> Result<()> {
        for digest in digests {
            let chunk = self.next_passed;
            self.next_passed += 1;
            if let Some(source) = self.passing.remove(&chunk) {
                let range = self.chunks.map.range_of(chunk);
                self.record(chunk, range.end - range.start, digest, &source)?;
            }
        }
        Ok(())
    }

    /// Tells the map that a chunk is all there.
    fn complete(&mut self, chunk: u64, whole: &Range<u64>, source: &str) -> Result<()> {
        let length = whole.end - whole.start;
        host::start_writeback(&self.partial.file, whole);
        let begun = self.begun.remove(&chunk);
        if let Some(begun) = begun.filter(|begun| begun.bytes() == length) {
            return self.record(chunk, length, begun.digest(), source);
        }
        // It came in pieces, not in order.
        if whole.end <= self.hashing.taken().saturating_add(SOON_BYTES) {
            self.passing.insert(chunk, source.into());
            return Ok(());
        }
        self.read_and_record(chunk, whole, source)
    }

    /// Digests what is on disk and tells the map.
    fn read_and_record(&mut self, chunk: u64, range: &Range<u64>, source: &str) -> Result<()> {
        self.buffer.resize(COPY_BYTES, 0);
        let read =
            super::digest::digest_of(&self.partial.file, None, range, &mut self.buffer, &|| true)
                .and_then(|read| read.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof)));
        let digester = read.map_err(Error::at("read back", &self.partial.path))?;
        self.record(chunk, digester.bytes(), digester.digest(), source)
    }

    fn record(&mut self, chunk: u64, bytes: u64, digest: ChunkDigest, source: &str) -> Result<()> {
        let (source, new) = self.chunks.map.source(source);
        if let Some(line) = new {
            self.chunks.file.say(&line)?;
        }
        let record = Record {
            bytes,
            digest,
            source,
        };
        self.chunks
            .file
            .say(&self.chunks.map.line_of(chunk, &record))?;
        self.chunks.map.records.insert(chunk, record);
        Ok(())
    }

    /// Ends the work for now: chunks that are only begun are kept as far as they go.
    pub fn close(mut self, source: &str) -> Result<()> {
        self.check_alive()?;
        let begun = std::mem::take(&mut self.begun);
        let parts: Vec<Range<u64>> = self.present.iter().collect();
        let chunk_bytes = self.chunk_bytes();
        for part in parts {
            for chunk in part.start / chunk_bytes..part.end.div_ceil(chunk_bytes) {
                let whole = self.chunks.map.range_of(chunk);
                let there = whole.start..whole.end.min(part.end);
                let length = there.end - there.start;
                let known = self.chunks.map.records.get(&chunk);
                if part.start > whole.start || known.is_some_and(|known| known.bytes >= length) {
                    continue;
                }
                match begun.get(&chunk) {
                    Some(begun) if begun.bytes() == length => {
                        self.record(chunk, length, begun.digest(), source)?;
                    }
                    _ => self.read_and_record(chunk, &there, source)?,
                }
            }
        }
        Ok(())
    }

    /// Whether the hash has come to the end of what is there.
    pub fn is_hashed(&self) -> bool {
        self.hashing.is_idle()
    }

    /// Waits for the hash of the whole and gives the partial back, to be promoted or discarded.
    ///
    /// # Errors
    /// [`Error::Io`] when bytes could not be read back for the hash.
    pub fn finish(mut self) -> Result<Partial> {
        let (hasher, passed) = self.hashing.finish()?;
        self.pass(passed)?;
        let Self {
            mut partial,
            chunks,
            present,
            ..
        } = self;
        partial.hasher = hasher;
        partial.bytes = present.prefix();
        partial.chunks = Some(chunks);
        Ok(partial)
    }

    /// Looks whether the names still lead to the open files. If another program deleted them, the
    /// bytes go to a new name; returns how many.
    fn check_alive(&mut self) -> Result<Option<u64>> {
        self.unchecked_bytes = 0;
        if durable::is_same_file(&self.partial.file, &self.partial.path) {
            if !self.chunks.file.is_there() {
                let path = map_path(&self.partial)?;
                self.chunks.file = MapFile::create(path, &self.chunks.map)?;
            }
            return Ok(None);
        }
        let (layout, repo) = (&self.partial.layout, &self.partial.repo);
        let mut copy = Partial::fresh(layout, repo, &self.partial.etag, self.partial.size_bytes)?;
        // First the map, then the bytes: without a map, the length of a file with holes would count.
        let empty = ChunkMap::new(&copy.etag, copy.size_bytes);
        let mut map = MapFile::create(map_path(&copy)?, &empty)?;
        self.buffer.resize(COPY_BYTES, 0);
        for range in self.present.iter() {
            let copied = copy_range(&self.partial, &copy.file, range, &mut self.buffer);
            if let Err(error) = copied {
                map.remove()?;
                copy.discard()?;
                return Err(error);
            }
        }
        map.say_all(&self.chunks.map)?;
        std::mem::replace(&mut self.chunks.file, map).remove()?;
        copy.has_foreign_bytes = self.partial.has_foreign_bytes;
        // What was copied may have been changed since it was hashed.
        copy.is_foreign_file = true;
        self.partial = copy;
        self.direct = host::Direct::open(&self.partial.file, &self.partial.path).map(Arc::new);
        self.hashing
            .turn_to(Arc::clone(&self.partial.file), &self.partial.path);
        Ok(Some(self.present.bytes()))
    }
}

fn map_path(partial: &Partial) -> Result<PathBuf> {
    Layout::map_of(&partial.path).ok_or_else(|| {
        let why = io::Error::new(io::ErrorKind::InvalidInput, "it is no partial's name");
        Error::from_io("place a map beside", &partial.path, why)
    })
}

fn copy_range(from: &Partial, to: &File, range: Range<u64>, buffer: &mut [u8]) -> Result<()> {
    let mut at = range.start;
    while at < range.end {
        let left = usize::try_from(range.end - at).unwrap_or(usize::MAX);
        let room = left.min(buffer.len());
        let count = match from.file.read_at(&mut buffer[..room], at) {
            Ok(0) => return Err(short(&from.path)),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Error::from_io("read", &from.path, error)),
        };
        to.write_all_at(&buffer[..count], at)
            .map_err(Error::at("put back", &from.path))?;
        at += count as u64;
    }
    Ok(())
}

fn short(path: &Path) -> Error {
    Error::from_io("read", path, io::Error::from(io::ErrorKind::UnexpectedEof))
}

/// Copies what another user's partial has into ours; what it is worth is proven afterwards.
fn copy_of_other(
    other: &Readable,
    ours: &Partial,
    is_wanted: &(dyn Fn() -> bool + Sync),
) -> Result<Vec<Claim>> {
    let map = Layout::map_of(&other.path)
        .filter(|_| other.is_mapped)
        .and_then(|path| chunk_map::read(&path, &ours.etag, ours.size_bytes));
    let claims = match &map {
        Some(map) => Claim::of_map(map),
        None if other.is_mapped => Vec::new(),
        None => Claim::of_prefix(&ChunkMap::new(&ours.etag, ours.size_bytes), other.bytes),
    };
    let mut buffer = vec![0; COPY_BYTES];
    let mut copied = Vec::new();
    for mut claim in claims {
        let mut at = claim.start;
        while at < claim.start + claim.bytes {
            if !is_wanted() {
                return Err(Error::Interrupted);
            }
            let left = usize::try_from(claim.start + claim.bytes - at).unwrap_or(usize::MAX);
            let room = left.min(buffer.len());
            match other.file.read_at(&mut buffer[..room], at) {
                // Shorter than it said: what there is goes on.
                Ok(0) => break,
                Ok(count) => {
                    ours.file
                        .write_all_at(&buffer[..count], at)
                        .map_err(Error::at("write", &ours.path))?;
                    at += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::from_io("read", &other.path, error)),
            }
        }
        // Sources are numbered in the other map.
        claim.source = 0;
        if at == claim.start + claim.bytes {
            copied.push(claim);
        }
    }
    Ok(copied)
}

/// A damaged blob, open, of which it is known what its chunks should be.
struct Parts<'a> {
    file: File,
    path: &'a Path,
    length: u64,
    map: ChunkMap,
    digests: &'a [ChunkDigest],
}

impl<'a> Parts<'a> {
    /// `None` if what is known does not fit the content, or the blob cannot be read.
    fn of(damaged: Damaged<'a>, etag: &Etag, size_bytes: u64) -> Option<Self> {
        let map = ChunkMap::new(etag, size_bytes);
        let chunks = size_bytes.div_ceil(map.chunk_bytes);
        let is_fitting = damaged.chunk_bytes == map.chunk_bytes
            && usize::try_from(chunks).is_ok_and(|chunks| chunks == damaged.digests.len());
        let file = blob::open_content(damaged.path).ok()?;
        let found = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
        is_fitting.then_some(Self {
            file,
            path: damaged.path,
            length: found.len(),
            map,
            digests: damaged.digests,
        })
    }

    /// What is probably right of it: damage is small, and a lost tail is not there.
    fn likely_bytes(&self) -> u64 {
        let there = self.length.min(self.map.size_bytes);
        there.saturating_sub(self.map.chunk_bytes)
    }

    /// Copies the chunks that are right.
    fn copy_right_ones(
        &self,
        partial: &Partial,
        is_wanted: &(dyn Fn() -> bool + Sync),
    ) -> Result<Vec<Claim>> {
        let mut buffer = vec![0; COPY_BYTES];
        let mut copied = Vec::new();
        for (chunk, digest) in (0..).zip(self.digests) {
            let range = self.map.range_of(chunk);
            if range.end > self.length {
                break;
            }
            let mut digester = Digester::new();
            let mut at = range.start;
            while at < range.end {
                if !is_wanted() {
                    return Err(Error::Interrupted);
                }
                let left = usize::try_from(range.end - at).unwrap_or(usize::MAX);
                let room = left.min(buffer.len());
                match self.file.read_at(&mut buffer[..room], at) {
                    // What cannot be read is as good as lost.
                    Ok(0) => break,
                    Ok(count) => {
                        digester.update(&buffer[..count]);
                        partial
                            .file
                            .write_all_at(&buffer[..count], at)
                            .map_err(Error::at("write", &partial.path))?;
                        at += count as u64;
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => {
                        tracing::info!(blob = %self.path.display(), %error, "a part is unreadable");
                        break;
                    }
                }
            }
            if at == range.end && digester.digest() == *digest {
                copied.push(Claim {
                    chunk,
                    start: range.start,
                    bytes: range.end - range.start,
                    digest: Some(*digest),
                    source: 0,
                });
            }
        }
        Ok(copied)
    }
}

impl<B> std::fmt::Debug for Chunked<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chunked")
            .field("path", &self.partial.path)
            .field("present", &self.present)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "chunked_tests.rs"]
mod tests;
