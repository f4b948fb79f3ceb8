//! Owns the chunk map of a partial: which chunks are there, what they hash to, and where each came
//! from. A text that only grows; every line carries its own check.
//!
//! ```text
//! larder-chunks 1 <etag> <bytes of the file> <bytes of a chunk> <check>
//! source 1 cdn.example:443 <check>
//! chunk 12 <xxh3-128 of its bytes> 1 <check>
//! part 13 524288 <xxh3-128 of so many bytes from its start> 1 <check>
//! lost 12 <check>
//! ```
//!
//! **Law**: a line is written after the bytes it speaks of. A torn line, or one that is not for this
//! content, says nothing; the last line about a chunk counts.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::digest::{ChunkDigest, check_of, chunk_bytes};
use super::{Error, Result, durable};
use crate::domain::Etag;
use crate::host;

/// What the first line starts with.
const HEAD: &str = "larder-chunks 1";
/// A map of the largest file, rewritten many times over, is far below this.
const MAX_MAP_BYTES: u64 = 16 << 20;
/// A source's name is a host: longer ones are cut.
const MAX_SOURCE_CHARS: usize = 120;

/// A source by its number in a map.
pub(super) type SourceId = u16;

/// What is known of the beginning of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Bytes from the chunk's start that the digest is of.
    pub(super) bytes: u64,
    pub(super) digest: ChunkDigest,
    pub(super) source: SourceId,
}

/// The map of one content, in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ChunkMap {
    pub(super) etag: Etag,
    pub(super) size_bytes: u64,
    pub(super) chunk_bytes: u64,
    pub(super) records: BTreeMap<u64, Record>,
    sources: Vec<String>,
}

impl ChunkMap {
    pub(super) fn new(etag: &Etag, size_bytes: u64) -> Self {
        Self {
            etag: *etag,
            size_bytes,
            chunk_bytes: chunk_bytes(size_bytes),
            records: BTreeMap::new(),
            sources: Vec::new(),
        }
    }

    /// Where a chunk lies in the file.
    pub(super) fn range_of(&self, chunk: u64) -> Range<u64> {
        let start = chunk.saturating_mul(self.chunk_bytes).min(self.size_bytes);
        start..start.saturating_add(self.chunk_bytes).min(self.size_bytes)
    }

    /// How many bytes of the file the map vouches for.
    pub(super) fn bytes(&self) -> u64 {
        self.records.values().map(|record| record.bytes).sum()
    }

    /// Reads a map; `None` if it is not one of this content.
    pub(super) fn parse(text: &str, etag: &Etag, size_bytes: u64) -> Option<Self> {
        let mut lines = text.lines().filter_map(checked);
        let mut map = Self::new(etag, size_bytes);
        if lines.next()? != map.head() {
            return None;
        }
        for line in lines {
            map.take(line);
        }
        Some(map)
    }

    /// Takes one line whose check is right.
    fn take(&mut self, line: &str) -> Option<()> {
        let mut words = line.split(' ');
        let (kind, first) = (words.next()?, words.next()?);
        match kind {
            "source" => {
                let is_next = first.parse::<usize>().ok()? == self.sources.len() + 1;
                if is_next {
                    self.sources.push(words.next()?.to_owned());
                }
            }
            "lost" => {
                self.records.remove(&first.parse().ok()?);
            }
            "chunk" | "part" => {
                let chunk: u64 = first.parse().ok()?;
                let range = self.range_of(chunk);
                let length = range.end - range.start;
                let bytes = match kind {
                    "part" => words.next()?.parse().ok()?,
                    _ => length,
                };
                let record = Record {
                    bytes,
                    digest: ChunkDigest::parse(words.next()?)?,
                    source: words.next()?.parse().ok()?,
                };
                if bytes > 0 && bytes <= length {
                    self.records.insert(chunk, record);
                }
            }
            _ => {}
        }
        Some(())
    }

    /// The number of a source, and the line that has to be written if it is new.
    pub(super) fn source(&mut self, name: &str) -> (SourceId, Option<String>) {
        let name = source_name(name);
        let at = match self.sources.iter().position(|known| *known == name) {
            Some(at) => return (number(at), None),
            None => self.sources.len(),
        };
        let line = format!("source {} {name}", at + 1);
        self.sources.push(name);
        (number(at), Some(line))
    }

    pub(super) fn head(&self) -> String {
        let (etag, size, chunk) = (self.etag, self.size_bytes, self.chunk_bytes);
        format!("{HEAD} {etag} {size} {chunk}")
    }

    pub(super) fn line_of(&self, chunk: u64, record: &Record) -> String {
        let range = self.range_of(chunk);
        let Record {
            bytes,
            digest,
            source,
        } = record;
        if *bytes == range.end - range.start {
            format!("chunk {chunk} {digest} {source}")
        } else {
            format!("part {chunk} {bytes} {digest} {source}")
        }
    }

    /// The whole map as a text.
    fn text(&self) -> String {
        let mut text = sealed(&self.head());
        for (at, name) in self.sources.iter().enumerate() {
            text.push_str(&sealed(&format!("source {} {name}", at + 1)));
        }
        for (chunk, record) in &self.records {
            text.push_str(&sealed(&self.line_of(*chunk, record)));
        }
        text
    }
}

fn number(at: usize) -> SourceId {
    SourceId::try_from(at + 1).unwrap_or(SourceId::MAX)
}

/// A name without blanks or anything that is no plain ASCII.
fn source_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_graphic() { c } else { '_' };
    let name: String = name.chars().take(MAX_SOURCE_CHARS).map(plain).collect();
    if name.is_empty() {
        "_".to_owned()
    } else {
        name
    }
}

/// A line with its check and its end.
pub(super) fn sealed(line: &str) -> String {
    format!("{line} {}\n", check_of(line))
}

/// What a line says, if its check is right.
fn checked(line: &str) -> Option<&str> {
    let (line, check) = line.rsplit_once(' ')?;
    (check == check_of(line)).then_some(line)
}

/// Reads the map beside a partial; `None` if there is none that can be used.
pub(super) fn read(path: &Path, etag: &Etag, size_bytes: u64) -> Option<ChunkMap> {
    ChunkMap::parse(&text_of(path)?, etag, size_bytes)
}

/// How many bytes the map beside a partial vouches for; `None` if there is none.
pub(super) fn bytes_in(path: &Path, etag: &Etag) -> Option<u64> {
    let text = text_of(path)?;
    let head = checked(text.lines().next()?)?;
    let size_bytes = head.split(' ').nth(3)?.parse().ok()?;
    Some(ChunkMap::parse(&text, etag, size_bytes)?.bytes())
}

fn text_of(path: &Path) -> Option<String> {
    // A look is no use: who asks how far a partial is leaves its times alone.
    let file = host::open_itself(path).ok()?;
    let metadata = file.metadata().ok()?;
    if !metadata.is_file() || metadata.len() > MAX_MAP_BYTES {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(MAX_MAP_BYTES).read_to_end(&mut bytes).ok()?;
    // A power cut may leave anything in the last block.
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A map on disk, open for appending.
#[derive(Debug)]
pub(super) struct MapFile {
    file: File,
    pub(super) path: PathBuf,
}

impl MapFile {
    /// Writes `map` as a new file; whatever stood under the name belonged to a partial that is
    /// not there any more.
    pub(super) fn create(path: PathBuf, map: &ChunkMap) -> Result<Self> {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::from_io("remove", &path, error));
            }
            _ => {}
        }
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(&path)
            .map_err(Error::at("create", &path))?;
        let mut this = Self { file, path };
        this.write(&map.text())?;
        Ok(this)
    }

    /// Opens the map that `read` has just read.
    pub(super) fn open(path: PathBuf) -> Result<Self> {
        let file = OpenOptions::new()
            .append(true)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)
            .map_err(Error::at("open", &path))?;
        let mut this = Self { file, path };
        // The last line may be torn: what comes next starts its own.
        this.write("\n")?;
        Ok(this)
    }

    /// Adds a line.
    pub(super) fn say(&mut self, line: &str) -> Result<()> {
        self.write(&sealed(line))
    }

    /// Adds all that a map knows.
    pub(super) fn say_all(&mut self, map: &ChunkMap) -> Result<()> {
        // Its head, now in the middle, says nothing and is skipped by whoever reads it.
        self.write(&map.text())
    }

    /// Whether the name still leads to the open file.
    pub(super) fn is_there(&self) -> bool {
        durable::is_same_file(&self.file, &self.path)
    }

    /// Takes the map away, if its name still leads to it.
    pub(super) fn remove(self) -> Result<()> {
        if !self.is_there() {
            return Ok(());
        }
        fs::remove_file(&self.path).map_err(Error::at("remove", &self.path))
    }

    fn write(&mut self, text: &str) -> Result<()> {
        self.file
            .write_all(text.as_bytes())
            .map_err(Error::at("write", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIZE: u64 = 100_000_000;

    fn etag() -> Etag {
        Etag::Sha256([7; 32])
    }

    fn digest(seed: u64) -> ChunkDigest {
        ChunkDigest(u128::from(seed).to_be_bytes())
    }

    fn map(chunks: &[u64]) -> ChunkMap {
        let mut map = ChunkMap::new(&etag(), SIZE);
        let (source, _) = map.source("cdn.example:8090");
        for &chunk in chunks {
            let range = map.range_of(chunk);
            let record = Record {
                bytes: range.end - range.start,
                digest: digest(chunk),
                source,
            };
            map.records.insert(chunk, record);
        }
        map
    }

    #[test]
    fn what_is_written_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("map");
        let mut map = map(&[0, 3, 11]);
        let mut file = MapFile::create(path.clone(), &map).unwrap();
        let (source, line) = map.source("another host\u{1b}[2J");
        file.say(&line.unwrap()).unwrap();
        let record = Record {
            bytes: 77,
            digest: digest(5),
            source,
        };
        file.say(&map.line_of(5, &record)).unwrap();
        file.say("lost 3").unwrap();
        map.records.insert(5, record);
        map.records.remove(&3);
        assert_eq!(read(&path, &etag(), SIZE), Some(map.clone()));
        assert_eq!(bytes_in(&path, &etag()), Some(map.bytes()));
        // The last chunk is shorter.
        assert_eq!(map.bytes(), (8 << 20) + 77 + SIZE % (8 << 20));
        // A line torn by a kill, then another run.
        file.write("chunk 4 0123").unwrap();
        drop(file);
        let mut file = MapFile::open(path.clone()).unwrap();
        let record = Record {
            bytes: 8 << 20,
            ..record
        };
        file.say(&map.line_of(6, &record)).unwrap();
        map.records.insert(6, record);
        assert_eq!(read(&path, &etag(), SIZE), Some(map));
        file.remove().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_map_of_something_else_is_none() {
        let text = map(&[1]).text();
        assert!(ChunkMap::parse(&text, &etag(), SIZE).is_some());
        assert_eq!(ChunkMap::parse(&text, &etag(), SIZE + 1), None);
        assert_eq!(ChunkMap::parse(&text, &Etag::Sha256([8; 32]), SIZE), None);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("map");
        for other in ["", "x", "\u{0}\u{0}\u{0}", "larder-chunks 2 x"] {
            fs::write(&path, other).unwrap();
            assert_eq!(read(&path, &etag(), SIZE), None);
            assert_eq!(bytes_in(&path, &etag()), None);
        }
    }

    #[test]
    fn the_map_of_a_hundred_gigabytes_is_small() {
        let mut map = ChunkMap::new(&etag(), 100_000_000_000);
        let (source, _) = map.source("cdn-lfs.example.com:443");
        for chunk in 0..map.size_bytes.div_ceil(map.chunk_bytes) {
            let range = map.range_of(chunk);
            let record = Record {
                bytes: range.end - range.start,
                digest: digest(chunk),
                source,
            };
            map.records.insert(chunk, record);
        }
        assert_eq!(map.bytes(), map.size_bytes);
        assert!(map.text().len() < 1_000_000, "{} bytes", map.text().len());
    }

    proptest! {
        /// Any loss, duplication or damage of lines: what is believed was written by us.
        #[test]
        fn damage_never_invents_a_chunk(
            chunks in proptest::collection::vec(0_u64..12, 0..12),
            cut in any::<prop::sample::Index>(),
            flips in proptest::collection::vec((any::<prop::sample::Index>(), 1_u8..=255), 0..4),
            twice in any::<bool>(),
        ) {
            let honest = map(&chunks);
            let mut bytes = honest.text().into_bytes();
            if twice {
                let again = bytes.clone();
                bytes.extend(again);
            }
            for (at, flip) in flips {
                let at = at.index(bytes.len());
                bytes[at] ^= flip;
            }
            bytes.truncate(cut.index(bytes.len() + 1));
            let text = String::from_utf8_lossy(&bytes);
            if let Some(read) = ChunkMap::parse(&text, &etag(), SIZE) {
                for (chunk, record) in &read.records {
                    prop_assert_eq!(honest.records.get(chunk), Some(record));
                }
            }
        }

        #[test]
        fn any_text_is_read_without_harm(text in ".{0,400}", lines in proptest::collection::vec("(chunk|part|source|lost) [0-9]{1,22} [0-9a-f ]{0,60}", 0..8)) {
            let mut all = sealed(&ChunkMap::new(&etag(), SIZE).head());
            for line in &lines {
                all.push_str(&sealed(line));
            }
            all.push_str(&text);
            let map = ChunkMap::parse(&all, &etag(), SIZE).unwrap();
            for (chunk, record) in &map.records {
                let range = map.range_of(*chunk);
                prop_assert!(record.bytes > 0 && range.start + record.bytes <= range.end);
            }
        }
    }
}
