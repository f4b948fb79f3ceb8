//! Owns where the files of a model come from: a folder, or what a Hub lists with the beginnings
//! that were fetched.
//!
//! Never judges. Never leads out of the folder: names are checked before they are opened.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Cursor, Read, Take};
use std::path::Path;

use crate::domain::RepoPath;

/// How a file is opened for reading; who looks only may know a way that leaves no trace.
pub type Open<'a> = &'a dyn Fn(&Path) -> io::Result<File>;

/// How the names in a folder are found.
pub type List<'a> = &'a dyn Fn(&Path) -> Vec<String>;

/// How a folder is read.
#[derive(Clone, Copy)]
pub struct Reading<'a> {
    /// Opens a file.
    pub open: Open<'a>,
    /// Lists a folder.
    pub list: List<'a>,
    /// Whether to look as closely as mlx-lm: at the tokens of every merge, which takes four times as
    /// long as the rest, and at the tensors that the architecture needs.
    pub is_deep: bool,
}

/// Whether a file need not be read for its form: it is known to hold what the Hub has, or its form
/// was examined before and it has not changed.
pub type IsProven<'a> = &'a dyn Fn(&Path) -> bool;

/// A file that a Hub lists.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its length in bytes.
    pub size_bytes: u64,
    /// Its first bytes, or all of them; `None` if they were not asked for.
    pub start: Option<Vec<u8>>,
}

/// The files of one model.
pub(super) enum Source<'a> {
    Folder {
        dir: &'a Path,
        reading: Reading<'a>,
        is_proven: IsProven<'a>,
    },
    Listing(&'a BTreeMap<String, Listed>),
}

/// A file to read from its start.
pub(super) enum Reader<'a> {
    File(File),
    Start(Cursor<&'a [u8]>),
}

/// An opened file.
pub(super) struct Opened<'a> {
    pub(super) size_bytes: u64,
    pub(super) reader: Reader<'a>,
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read(buffer),
            Self::Start(bytes) => bytes.read(buffer),
        }
    }
}

impl<'a> Source<'a> {
    /// Names at top level, with what is behind them unknown.
    pub(super) fn names(&self) -> Vec<String> {
        match self {
            Self::Folder { dir, reading, .. } => (reading.list)(dir),
            Self::Listing(files) => files
                .keys()
                .filter(|name| !name.contains('/'))
                .cloned()
                .collect(),
        }
    }

    /// Opens a file; `None` if it lies where it cannot be looked at now.
    ///
    /// # Errors
    /// When it is not there or cannot be read.
    pub(super) fn open(&self, name: &str) -> io::Result<Option<Opened<'a>>> {
        if RepoPath::new(name).is_err() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        match self {
            Self::Folder { dir, reading, .. } => {
                let file = (reading.open)(&dir.join(name))?;
                let found = file.metadata()?;
                if !found.is_file() {
                    return Err(io::ErrorKind::IsADirectory.into());
                }
                Ok(Some(Opened {
                    size_bytes: found.len(),
                    reader: Reader::File(file),
                }))
            }
            Self::Listing(files) => {
                let listed = files.get(name).ok_or(io::ErrorKind::NotFound)?;
                Ok(listed.start.as_deref().map(|start| Opened {
                    size_bytes: listed.size_bytes,
                    reader: Reader::Start(Cursor::new(start)),
                }))
            }
        }
    }

    /// Whether to look as closely as mlx-lm.
    pub(super) fn is_deep(&self) -> bool {
        match self {
            Self::Folder { reading, .. } => reading.is_deep,
            Self::Listing(_) => true,
        }
    }

    /// Whether a file is there, whatever it holds.
    pub(super) fn has(&self, name: &str) -> bool {
        match self {
            Self::Folder { dir, .. } => RepoPath::new(name).is_ok() && dir.join(name).exists(),
            Self::Listing(files) => files.contains_key(name),
        }
    }

    /// Whether a file is listed and was not fetched.
    pub(super) fn is_unseen(&self, name: &str) -> bool {
        match self {
            Self::Folder { .. } => false,
            Self::Listing(files) => files.get(name).is_some_and(|file| file.start.is_none()),
        }
    }

    /// Whether the form of a file need not be looked at.
    pub(super) fn is_proven(&self, name: &str) -> bool {
        match self {
            Self::Folder { dir, is_proven, .. } => is_proven(&dir.join(name)),
            Self::Listing(_) => false,
        }
    }
}

impl<'a> Opened<'a> {
    /// A file whose bytes are all here.
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Self {
            size_bytes: bytes.len() as u64,
            reader: Reader::Start(Cursor::new(bytes)),
        }
    }

    /// The rest, at most `limit` bytes of it.
    pub(super) fn take(self, limit: u64) -> Take<Reader<'a>> {
        self.reader.take(limit)
    }

    /// All of it, if it is not longer than `limit`.
    pub(super) fn whole(self, limit: u64) -> io::Result<Vec<u8>> {
        let expected = self.size_bytes;
        if expected > limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut bytes = Vec::with_capacity(usize::try_from(expected).unwrap_or_default());
        // It may grow while it is read.
        self.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}
