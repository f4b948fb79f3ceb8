//! Owns the unfinished blobs of all writers: finding them, and making one of them ours.
//!
//! Law: a partial is taken only under the blob's lock, if nobody holds it open with a lock, if it
//! is a plain file of our own with one name; and it is moved to a name of our own before a byte of
//! it changes (hub.md 2.5, 2.8).

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::lock::{BlobLock, mark_live};
use super::{Error, Layout, Result, chunk_map, durable};
use crate::domain::{Etag, RepoId};
use crate::host;

/// Without `flock` only a partial this old is taken for abandoned.
const ABANDONED_AGE: Duration = Duration::from_mins(5);

/// hf-hub 0.x keeps its count of written bytes in this many bytes behind the content.
const COUNT_BYTES: u64 = size_of::<u64>() as u64;
/// The unit of `st_blocks`.
const BLOCK_BYTES: u64 = 512;

/// An unfinished blob found on disk.
#[derive(Debug)]
pub(super) struct Leftover {
    pub(super) path: PathBuf,
    name: String,
    shape: Shape,
    /// Of the file.
    pub(super) length: u64,
    /// Bytes that its writer has written: from the start, or as its chunk map says.
    pub(super) bytes: u64,
    /// How far its writer has come, those included that no map vouches for yet.
    pub(super) written_bytes: u64,
    /// Last change.
    pub(super) modified: SystemTime,
}

/// How a writer lays out its partial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// Written from the start: the length is what there is.
    Appended,
    /// hf-hub 0.x tokio: as long as the file from the beginning, with a count behind it.
    Counted,
    /// Written in any order by a larder; its chunk map says what there is.
    Mapped,
}

impl Shape {
    fn of(name: &str, etag: &str) -> Option<Self> {
        match name.strip_prefix(etag)? {
            ".incomplete" | ".part" => Some(Self::Appended),
            ".sync.part" => Some(Self::Counted),
            own => {
                let number = own.strip_prefix('.')?.strip_suffix(".incomplete")?;
                (number.len() == 8 && number.bytes().all(|b| b.is_ascii_hexdigit()))
                    .then_some(Self::Appended)
            }
        }
    }
}

/// Every unfinished blob of `etag`, whoever wrote it.
pub(super) fn partials(layout: &Layout, repo: &RepoId, etag: &Etag) -> Result<Vec<Leftover>> {
    let stem = layout.stem(etag);
    unfinished(&layout.staging(repo, etag), |name| {
        Shape::of(name, &stem).map(|shape| (*etag, shape))
    })
    .map(|found| found.into_iter().map(|(_, leftover)| leftover).collect())
}

/// Every unfinished blob of the repo, in the order of names.
pub(super) fn all_partials(layout: &Layout, repo: &RepoId) -> Result<Vec<(Etag, Leftover)>> {
    let mut found = Vec::new();
    for folder in layout.stagings(repo) {
        found.extend(unfinished(&folder, |name| {
            if !layout.is_local() {
                return shape_of_any(name);
            }
            // What Python calls the file comes first, and has no dot.
            let (_, rest) = name.split_once('.')?;
            let (etag, shape) = shape_of_any(rest)?;
            let is_its_own =
                name.starts_with(&layout.stem(&etag)) && layout.staging(repo, &etag) == folder;
            is_its_own.then_some((etag, shape))
        })?);
    }
    found.sort_by(|(_, a), (_, b)| a.name.cmp(&b.name));
    Ok(found)
}

/// The blob that a name of that form is the beginning of.
pub(super) fn etag_of(name: &str) -> Option<Etag> {
    shape_of_any(name).map(|(etag, _)| etag)
}

fn shape_of_any(name: &str) -> Option<(Etag, Shape)> {
    let (stem, _) = name.split_once('.')?;
    let etag = exact_etag(stem)?;
    Some((etag, Shape::of(name, stem)?))
}

/// An etag as it stands in file names: nothing around it, no capitals.
pub(super) fn exact_etag(text: &str) -> Option<Etag> {
    Etag::new(text).ok().filter(|etag| etag.to_string() == text)
}

fn unfinished(
    folder: &Path,
    is_wanted: impl Fn(&str) -> Option<(Etag, Shape)>,
) -> Result<Vec<(Etag, Leftover)>> {
    let entries = match host::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::from_io("read", folder, error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::at("read", folder))?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let Some((etag, shape)) = is_wanted(&name) else {
            continue;
        };
        let path = entry.path();
        // One that vanishes meanwhile was finished or thrown away by its writer.
        let Ok(metadata) = path.symlink_metadata() else {
            continue;
        };
        if !metadata.is_file() {
            continue;
        }
        let length = metadata.len();
        let mapped_bytes = bytes_in_map(&path, &etag);
        let shape = mapped_bytes.map_or(shape, |_| Shape::Mapped);
        let (bytes, written_bytes) = match (shape, mapped_bytes) {
            // A sparse file: what was allocated was written.
            (_, Some(bytes)) => {
                let allocated = metadata.blocks().saturating_mul(BLOCK_BYTES);
                (bytes, allocated.min(length))
            }
            (Shape::Counted, None) => {
                let bytes = read_count(&path, length).unwrap_or(0);
                (bytes, bytes)
            }
            (Shape::Appended | Shape::Mapped, None) => (length, length),
        };
        let leftover = Leftover {
            bytes,
            written_bytes,
            modified: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
            path,
            name,
            shape,
            length,
        };
        found.push((etag, leftover));
    }
    Ok(found)
}

/// What the chunk map beside a partial vouches for; `None` without one.
fn bytes_in_map(path: &Path, etag: &Etag) -> Option<u64> {
    chunk_map::bytes_in(&Layout::map_of(path)?, etag)
}

fn read_count(path: &Path, length: u64) -> Option<u64> {
    let content = length.checked_sub(COUNT_BYTES)?;
    let mut count = [0; size_of::<u64>()];
    host::open_quietly(path)
        .ok()?
        .read_exact_at(&mut count, content)
        .ok()?;
    Some(u64::from_le_bytes(count)).filter(|count| *count <= content)
}

/// A partial that was somebody's and is ours now.
#[derive(Debug)]
pub(super) struct Adopted {
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) bytes: u64,
    /// Its old name, if its bytes could not be used and were given up.
    pub(super) given_up: Option<String>,
    /// Whether a chunk map says which bytes there are, instead of their number.
    pub(super) is_mapped: bool,
}

/// A partial of another user, open for reading and marked, so that nobody changes it meanwhile.
#[derive(Debug)]
pub(super) struct Readable {
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) bytes: u64,
    pub(super) is_mapped: bool,
}

/// What is looked for.
pub(super) struct Search<'a> {
    pub(super) layout: &'a Layout,
    pub(super) repo: &'a RepoId,
    pub(super) etag: &'a Etag,
    pub(super) size_bytes: u64,
    pub(super) lock: &'a BlobLock,
    pub(super) now: SystemTime,
    /// Partials with fewer usable bytes are not worth it.
    pub(super) at_least: u64,
    /// Whether the caller can go on with a partial that is written in any order.
    pub(super) takes_maps: bool,
}

impl Search<'_> {
    /// Takes the partial with the most usable bytes that nobody is writing.
    pub(super) fn adopt_best(&self) -> Result<Option<Adopted>> {
        let mut found = partials(self.layout, self.repo, self.etag)?;
        found.retain(|leftover| self.takes_maps || leftover.shape != Shape::Mapped);
        found.sort_by_key(|leftover| std::cmp::Reverse(self.usable(leftover)));
        let mut adopted = None;
        for leftover in found {
            if adopted.is_none() && self.usable(&leftover) >= self.at_least {
                adopted = self.adopt(&leftover)?;
            } else if leftover.length == 0 && self.lock.is_backed_by_flock() {
                self.remove_empty(&leftover);
            }
        }
        Ok(adopted)
    }

    /// Bytes of it that can be the start of the file: none if it is longer than the file (hub.md
    /// case 6) or its count does not fit.
    fn usable(&self, leftover: &Leftover) -> u64 {
        let fits = match leftover.shape {
            Shape::Appended | Shape::Mapped => leftover.length <= self.size_bytes,
            Shape::Counted => leftover.length == self.size_bytes.saturating_add(COUNT_BYTES),
        };
        if fits { leftover.bytes } else { 0 }
    }

    /// Opens and marks a partial; `None` if somebody else has a claim on it.
    fn claim(&self, leftover: &Leftover) -> Result<Option<File>> {
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(&leftover.path);
        // Gone, or another user's: there is another way to get the bytes.
        let Ok(file) = opened else {
            return Ok(None);
        };
        let metadata = file
            .metadata()
            .map_err(Error::at("look at", &leftover.path))?;
        // A second name would be changed with the first.
        if !metadata.is_file() || metadata.nlink() != 1 || !host::is_ours(&metadata) {
            return Ok(None);
        }
        let age = self.now.duration_since(leftover.modified).ok();
        if !self.lock.is_backed_by_flock() && age.is_none_or(|age| age < ABANDONED_AGE) {
            return Ok(None);
        }
        let is_free = mark_live(&file, &leftover.path)?;
        Ok((is_free && durable::is_same_file(&file, &leftover.path)).then_some(file))
    }

    fn adopt(&self, leftover: &Leftover) -> Result<Option<Adopted>> {
        let Some(file) = self.claim(leftover)? else {
            return Ok(None);
        };
        if leftover.shape == Shape::Mapped {
            // It has a name of our own already, and its map has the same: two renames could not be
            // one step.
            return Ok(Some(Adopted {
                path: leftover.path.clone(),
                file,
                bytes: self.usable(leftover),
                given_up: None,
                is_mapped: true,
            }));
        }
        // The new file reserves the name and shows the mode that the umask gives; Python's and
        // tempfile's partials may be 0600.
        let (path, reserved) =
            durable::create_unique(|number| self.layout.partial(self.repo, self.etag, number))?;
        let mode = reserved
            .metadata()
            .map_err(Error::at("look at", &path))?
            .permissions();
        match fs::rename(&leftover.path, &path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::remove_file(&path).map_err(Error::at("remove", &path))?;
                return Ok(None);
            }
            Err(error) => return Err(Error::from_io("rename", &leftover.path, error)),
        }
        if !durable::is_same_file(&file, &path) {
            return Ok(None);
        }
        file.set_permissions(mode)
            .map_err(Error::at("set the mode of", &path))?;
        let bytes = self.usable(leftover);
        if bytes != leftover.length {
            file.set_len(bytes).map_err(Error::at("cut", &path))?;
        }
        Ok(Some(Adopted {
            path,
            file,
            bytes,
            given_up: (bytes == 0 && leftover.length > 0).then(|| leftover.name.clone()),
            is_mapped: false,
        }))
    }

    /// The best partial of another user that can be read: it cannot be made ours, but copied.
    pub(super) fn best_of_others(&self) -> Result<Option<Readable>> {
        let mut found = partials(self.layout, self.repo, self.etag)?;
        found.retain(|leftover| self.usable(leftover) > self.at_least);
        found.sort_by_key(|leftover| std::cmp::Reverse(self.usable(leftover)));
        for leftover in found {
            let opened = OpenOptions::new()
                .read(true)
                .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
                .open(&leftover.path);
            let Ok(file) = opened else {
                continue;
            };
            let metadata = file
                .metadata()
                .map_err(Error::at("look at", &leftover.path))?;
            if metadata.is_file() && !host::is_ours(&metadata) && mark_live(&file, &leftover.path)?
            {
                return Ok(Some(Readable {
                    bytes: self.usable(&leftover),
                    is_mapped: leftover.shape == Shape::Mapped,
                    path: leftover.path,
                    file,
                }));
            }
        }
        Ok(None)
    }

    /// Takes away the maps of partials that are not there any more. Failing to is no harm.
    pub(super) fn remove_orphan_maps(&self) {
        let stem_of_all = self.layout.stem(self.etag);
        if !self.lock.is_backed_by_flock() {
            return;
        }
        let folder = self.layout.staging(self.repo, self.etag);
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let Some(name) = entry
                .ok()
                .and_then(|entry| entry.file_name().into_string().ok())
            else {
                continue;
            };
            let Some(stem) = name.strip_suffix(".map.incomplete") else {
                continue;
            };
            let partial = format!("{stem}.incomplete");
            if Shape::of(&partial, &stem_of_all) == Some(Shape::Appended)
                && matches!(folder.join(&partial).symlink_metadata(), Err(error) if error.kind() == io::ErrorKind::NotFound)
            {
                drop(fs::remove_file(folder.join(&name)));
            }
        }
    }

    /// Takes away a partial without content. Failing to is no harm.
    fn remove_empty(&self, leftover: &Leftover) {
        if let Ok(Some(file)) = self.claim(leftover)
            && file.metadata().is_ok_and(|m| m.len() == 0)
        {
            drop(fs::remove_file(&leftover.path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_writer_are_known_and_no_other() {
        let etag = "ab".repeat(32);
        let shape = |ending: &str| Shape::of(&format!("{etag}{ending}"), &etag);
        for ending in [".incomplete", ".part", ".0123abcd.incomplete"] {
            assert_eq!(shape(ending), Some(Shape::Appended), "{ending}");
        }
        assert_eq!(shape(".sync.part"), Some(Shape::Counted));
        for ending in [
            "",
            ".lock",
            ".0123abcd.corrupt",
            ".0123abcd.map.incomplete",
            ".0123abc.incomplete",
            ".0123abcg.incomplete",
            "x.incomplete",
        ] {
            assert_eq!(shape(ending), None, "{ending}");
        }
        assert_eq!(Shape::of("other.incomplete", &etag), None);
    }
}
