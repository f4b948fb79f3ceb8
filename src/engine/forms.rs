//! Owns examining models with a memory: a large file whose form was good is not parsed again while it
//! is what it was.
//!
//! Never says that bytes are right; that is for hashes.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use super::memory::Memory;
use crate::domain::{Examination, sanitize};
use crate::ledger::Stamp;
use crate::{host, mlx};

/// Smaller files are parsed faster than they are looked up.
const LARGE_BYTES: u64 = 1 << 20;

type Known = HashMap<String, Stamp>;

/// What is known of the forms of files, asked for folder by folder when first needed.
pub(super) struct Forms<'a> {
    memory: &'a Memory,
    folders: Mutex<HashMap<PathBuf, Known>>,
    learned: Mutex<Vec<(String, Stamp)>>,
}

/// A large file that an examination asked about.
struct Asked {
    name: String,
    path: String,
    stamp: Stamp,
}

impl<'a> Forms<'a> {
    pub(super) fn of(memory: &'a Memory) -> Self {
        Self {
            memory,
            folders: Mutex::default(),
            learned: Mutex::default(),
        }
    }

    /// Examines the model in a folder. What `is_proven` is not parsed either.
    pub(super) fn examine(&self, folder: &Path, is_proven: mlx::IsProven<'_>) -> Examination {
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
        let seen = mlx::examine(folder, &host::open_quietly, &is_known);
        let asked = asked.into_inner().unwrap_or_else(PoisonError::into_inner);
        let is_good = |question: &Asked| {
            let mut troubles = seen.troubles.iter();
            !troubles.any(|trouble| trouble.file.as_ref() == Some(&question.name))
        };
        let good = asked.into_iter().filter(is_good);
        self.learned
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(good.map(|question| (question.path, question.stamp)));
        seen
    }

    fn knows(&self, question: &Asked) -> bool {
        let Some(folder) = Path::new(&question.path).parent() else {
            return false;
        };
        let mut folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        let known = folders
            .entry(folder.to_owned())
            .or_insert_with(|| self.memory.formed_in(folder));
        known.get(&question.path) == Some(&question.stamp)
    }

    /// Remembers what was learned.
    pub(super) fn keep(self, now: SystemTime) {
        let learned = self
            .learned
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        if !learned.is_empty() {
            self.memory.keep_formed(learned, now);
        }
    }
}

/// What to ask of a file; `None` if it is not large.
fn question(path: &Path) -> Option<Asked> {
    let found = path.metadata().ok()?;
    if found.len() < LARGE_BYTES {
        return None;
    }
    Some(Asked {
        name: sanitize(path.file_name()?.to_str()?),
        path: fs::canonicalize(path)
            .ok()?
            .into_os_string()
            .into_string()
            .ok()?,
        stamp: Stamp::of(&found),
    })
}
