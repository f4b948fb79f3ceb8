//! Owns examining models with a memory: a large file whose form was good is not parsed again while it
//! is what it was.
//!
//! Never says that bytes are right; that is for hashes.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use super::memory::Memory;
use crate::domain::{Examination, LoadLevel, LoadTrouble, sanitize};
use crate::ledger::Stamp;
use crate::{host, mlx};

/// Smaller files are parsed faster than they are looked up.
const LARGE_BYTES: u64 = 1 << 20;
/// The files that a vocabulary must fit.
const BESIDE: [&str; 4] = [
    "config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
];

type Known = HashMap<String, Stamp>;

/// What is known of the forms of files, asked for folder by folder when first needed.
pub(super) struct Forms<'a> {
    memory: &'a Memory,
    folders: Mutex<HashMap<PathBuf, Known>>,
    learned: Mutex<Vec<Asked>>,
    /// Whether everything is read, whatever is known, and as closely as can be.
    is_afresh: bool,
}

/// A large file that an examination asked about.
struct Asked {
    path: String,
    /// A print of the small files beside it, with which it must fit.
    beside: u64,
    stamp: Stamp,
}

impl Asked {
    /// What the ledger calls it.
    fn key(&self) -> String {
        format!("{}#{:016x}", self.path, self.beside)
    }
}

impl<'a> Forms<'a> {
    pub(super) fn of(memory: &'a Memory, is_afresh: bool) -> Self {
        Self {
            memory,
            folders: Mutex::default(),
            learned: Mutex::default(),
            is_afresh,
        }
    }

    /// Examines the model in a folder. What `is_proven` is not parsed either.
    pub(super) fn examine(
        &self,
        folder: &Path,
        untouched: &BTreeSet<String>,
        is_proven: mlx::IsProven<'_>,
    ) -> Examination {
        let asked = Mutex::new(Vec::new());
        let is_known = |path: &Path| {
            if is_proven(path) {
                return true;
            }
            let Some(question) = question(path) else {
                return false;
            };
            let is_known = self.knows(&question);
            if !is_known {
                asked
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(question);
            }
            is_known
        };
        let open = |path: &Path| {
            let name = path.strip_prefix(folder).ok().and_then(Path::to_str);
            if name.is_some_and(|name| untouched.contains(name)) {
                return Err(io::Error::other("it is not read"));
            }
            host::open_quietly(path)
        };
        let reading = mlx::Reading {
            open: &open,
            list: &host::names,
            is_deep: self.is_afresh,
        };
        let mut seen = mlx::examine(folder, reading, &is_known);
        // Of what is not read nothing can be said.
        let untouched: BTreeSet<String> = untouched.iter().map(|name| sanitize(name)).collect();
        let is_told = |trouble: &LoadTrouble| {
            !trouble
                .file
                .as_ref()
                .is_some_and(|file| untouched.contains(file))
        };
        seen.troubles.retain(is_told);
        // What is odd about one file may show in another: only a model without any of it is learned.
        let mut troubles = seen.troubles.iter();
        if untouched.is_empty() && troubles.all(|trouble| trouble.level == LoadLevel::Note) {
            let asked = asked.into_inner().unwrap_or_else(PoisonError::into_inner);
            self.learned
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend(asked);
        }
        seen
    }

    fn knows(&self, question: &Asked) -> bool {
        let Some(folder) = Path::new(&question.path).parent() else {
            return false;
        };
        if self.is_afresh {
            return false;
        }
        let mut folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        let known = folders
            .entry(folder.to_owned())
            .or_insert_with(|| self.memory.formed_in(folder));
        known.get(&question.key()) == Some(&question.stamp)
    }

    /// Remembers what was learned.
    pub(super) fn keep(self, now: SystemTime) {
        let learned = self
            .learned
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        if !learned.is_empty() {
            let learned = learned
                .into_iter()
                .map(|asked| (asked.key(), PathBuf::from(asked.path), asked.stamp));
            self.memory.keep_formed(learned.collect(), now);
        }
    }
}

/// What to ask of a file; `None` if it is not large.
fn question(path: &Path) -> Option<Asked> {
    let found = path.metadata().ok()?;
    if found.len() < LARGE_BYTES {
        return None;
    }
    let mut hasher = DefaultHasher::new();
    for name in BESIDE {
        if let Ok(found) = path.with_file_name(name).metadata() {
            (name, found.dev(), found.ino(), found.len()).hash(&mut hasher);
            (found.mtime(), found.mtime_nsec()).hash(&mut hasher);
        }
    }
    Some(Asked {
        path: fs::canonicalize(path)
            .ok()?
            .into_os_string()
            .into_string()
            .ok()?,
        beside: hasher.finish(),
        stamp: Stamp::of(&found),
    })
}
