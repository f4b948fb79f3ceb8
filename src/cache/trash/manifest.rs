//! Owns what an entry of the trash says of itself: what it holds, from where, when, why, and how it
//! is put back.
//!
//! **Law**: written whole before anything is moved, and never changed. What it says is looked at
//! before it is used: anybody can write into a file.

use std::fs;
use std::io::Write as _;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::super::{Error, Result, durable};
use crate::domain::{DiscardKind, RepoId};
use crate::host;

/// The file.
pub(super) const NAME: &str = "manifest.json";
/// No manifest is longer.
const MAX_BYTES: u64 = 64 << 20;
const FORMAT: u32 = 1;

/// What an entry says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) format: u32,
    /// The cache it came from, absolute.
    pub(super) cache: String,
    /// The repo's folder there.
    pub(super) repo: String,
    pub(super) kind: String,
    pub(super) what: Vec<String>,
    pub(super) reason: String,
    pub(super) purged_ms: u64,
    pub(super) bytes: u64,
    /// Who moved it.
    pub(super) pid: u32,
    pub(super) host: String,
    /// For people.
    pub(super) how_to_put_back: String,
    /// What was moved, in that order: paths below the cache, and below `content` here.
    pub(super) moved: Vec<String>,
}

impl Manifest {
    pub(super) const FORMAT: u32 = FORMAT;

    /// Reads an entry's; `None` if there is none that can be used.
    pub(super) fn read(entry: &Path) -> Option<Self> {
        let path = entry.join(NAME);
        let length = path.symlink_metadata().ok().filter(fs::Metadata::is_file)?;
        if length.len() > MAX_BYTES {
            return None;
        }
        let manifest: Self = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
        let is_sound = manifest.format == FORMAT
            && manifest.repo_id().is_some()
            && manifest.kind().is_some()
            && manifest.moved.iter().all(|path| is_plain(path))
            && manifest.moved.iter().all(|path| {
                Path::new(path).components().next()
                    == Some(Component::Normal(manifest.repo.as_ref()))
            });
        is_sound.then_some(manifest)
    }

    /// Writes it into an entry's folder.
    pub(super) fn write(&self, entry: &Path) -> Result<()> {
        let path = entry.join(NAME);
        let text = serde_json::to_vec_pretty(self).unwrap_or_default();
        let write = || {
            let mut file = durable::create_new(&path)?;
            file.write_all(&text)?;
            file.sync_all()?;
            host::sync_dir(entry)
        };
        write().map_err(Error::at("write", &path))
    }

    pub(super) fn repo_id(&self) -> Option<RepoId> {
        RepoId::from_folder(&self.repo)
    }

    pub(super) fn kind(&self) -> Option<DiscardKind> {
        [
            DiscardKind::Repo,
            DiscardKind::Revisions,
            DiscardKind::Corrupt,
            DiscardKind::Orphans,
        ]
        .into_iter()
        .find(|kind| kind.name() == self.kind)
    }

    pub(super) fn moved(&self) -> Vec<PathBuf> {
        self.moved.iter().map(PathBuf::from).collect()
    }
}

/// Whether a path leads below where it starts, by its text alone.
fn is_plain(path: &str) -> bool {
    !path.is_empty()
        && Path::new(path)
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
}
