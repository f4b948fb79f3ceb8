//! Owns one entry of a trash and its journal: the name of its folder says what is being done with it.
//!
//! ```text
//! ID.making -> ID.purging -> ID -> ID.restoring -> gone, or ID again with what found no place
//!                             `--> ID.emptying  -> gone
//! ```
//!
//! **Law**: each arrow is one rename, made durable before the next step. So whoever comes after a
//! kill knows what to do: what was being made holds nothing; a purge that was cut off is finished if
//! everything had been moved, and undone else; putting back and freeing go on.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::super::partials::since_epoch_ms;
use super::super::sight::is_own_folder;
use super::super::{Error, Layout, Result};
use super::back::{self, Back, ProofStep, Prover};
use super::bin::{Bin, Taken};
use super::goes::leaves;
use super::manifest::Manifest;
use super::moves::{Dirty, is_dead, remove_entry, rename_entry, rename_new};
use crate::domain::{DiscardKind, TrashRow, sanitize};
use crate::host;

/// Below it lies what was moved, as it lay below the cache.
pub(super) const CONTENT: &str = "content";
/// Second names of what links into the shared store led to: `hf cache prune` may take the first.
pub(super) const PAYLOADS: &str = "payloads";

/// What is being done with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Its manifest is being written.
    Making,
    /// Things are being moved into it.
    Purging,
    /// Nothing.
    Resting,
    /// Things are being moved back.
    Restoring,
    /// It is being freed.
    Emptying,
}

impl State {
    const ALL: [Self; 5] = [
        Self::Making,
        Self::Purging,
        Self::Resting,
        Self::Restoring,
        Self::Emptying,
    ];

    const fn ending(self) -> &'static str {
        match self {
            Self::Making => ".making",
            Self::Purging => ".purging",
            Self::Resting => "",
            Self::Restoring => ".restoring",
            Self::Emptying => ".emptying",
        }
    }

    const fn words(self) -> Option<&'static str> {
        match self {
            Self::Making | Self::Purging => Some("a purge was cut off"),
            Self::Resting => None,
            Self::Restoring => Some("putting it back was cut off"),
            Self::Emptying => Some("freeing it was cut off"),
        }
    }
}

/// An entry of a trash.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    bin: Bin,
    pub(super) id: String,
    pub(super) state: State,
}

impl Entry {
    /// Every entry of a trash, the oldest first.
    pub(super) fn all(bin: &Bin) -> Vec<Self> {
        let mut found: Vec<Self> = bin
            .entries()
            .iter()
            .filter_map(|path| Self::named(bin, path.file_name()?))
            .collect();
        found.sort_by(|a, b| a.id.cmp(&b.id));
        found
    }

    fn named(bin: &Bin, name: &OsStr) -> Option<Self> {
        let name = name.to_str()?;
        let (id, ending) = match name.split_once('.') {
            Some((id, _)) => (id, &name[id.len()..]),
            None => (name, ""),
        };
        let state = State::ALL.into_iter().find(|it| it.ending() == ending)?;
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_id = id.len() == ID_LENGTH && id.bytes().all(is_digit);
        is_id.then(|| Self {
            bin: bin.clone(),
            id: id.to_owned(),
            state,
        })
    }

    /// A new one, with its manifest; nothing is in it. Its id sorts behind all that are in any of
    /// `bins`, every trash of the cache.
    pub(super) fn make(
        taken: &Taken,
        bins: &[Bin],
        manifest: &Manifest,
        now: SystemTime,
    ) -> Result<Self> {
        let known = bins.iter().chain([&taken.bin]).flat_map(Self::all);
        let last = known.filter_map(|entry| number_of(&entry.id)).max();
        let seconds = since_epoch_ms(now) / 1_000;
        let number = last.map_or(seconds, |last| seconds.max(last + 1));
        let mut entry = Self {
            bin: taken.bin.clone(),
            id: id_of(number),
            state: State::Making,
        };
        let path = entry.path();
        let content = path.join(CONTENT);
        fs::create_dir_all(&content).map_err(Error::at("create", &content))?;
        manifest.write(&path)?;
        entry.becomes(State::Purging)?;
        Ok(entry)
    }

    /// Its folder.
    pub(super) fn path(&self) -> PathBuf {
        let name = format!("{}{}", self.id, self.state.ending());
        self.bin.folder().join(name)
    }

    pub(super) fn content(&self) -> PathBuf {
        self.path().join(CONTENT)
    }

    pub(super) fn payloads(&self) -> PathBuf {
        self.path().join(PAYLOADS)
    }

    /// What it says of itself.
    pub(super) fn manifest(&self) -> Option<Manifest> {
        Manifest::read(&self.path())
    }

    /// Notes down what is done with it next.
    pub(super) fn becomes(&mut self, state: State) -> Result<()> {
        let next = Self {
            state,
            ..self.clone()
        };
        rename_entry(&self.path(), &next.path())?;
        self.state = state;
        Ok(())
    }

    /// Moves everything that its manifest names into it, in that order, and lets it rest. What cannot
    /// be moved undoes the rest.
    pub(super) fn fill(mut self, layout: &Layout, manifest: &Manifest) -> Result<Self> {
        if let Err(error) = self.take_all(layout, manifest) {
            if !is_dead()
                && let Err(back) = self.undo(layout, manifest)
            {
                // The next start tries again.
                tracing::warn!(%back, entry = %self.id, "what was moved was not put back");
            }
            return Err(error);
        }
        self.becomes(State::Resting)?;
        Ok(self)
    }

    fn take_all(&self, layout: &Layout, manifest: &Manifest) -> Result<()> {
        let content = self.content();
        let mut dirty = Dirty::default();
        let mut before: Option<PathBuf> = None;
        for unit in manifest.moved() {
            let (from, to) = (layout.root().join(&unit), content.join(&unit));
            // Refs, pointers and blobs lie in different folders: what comes later must not be durable
            // before.
            if before
                .as_deref()
                .is_some_and(|before| Some(before) != from.parent())
            {
                dirty.sync()?;
            }
            before = from.parent().map(Path::to_owned);
            if rename_new(&from, &to)? {
                dirty.moved(&from, &to);
            }
        }
        dirty.sync()
    }

    /// Puts back what was moved, and takes the entry away if that was all of it.
    fn undo(&mut self, layout: &Layout, manifest: &Manifest) -> Result<Back> {
        // It was not proven when it went either.
        let back = back::give_back(self, layout, manifest, BTreeSet::new())?;
        self.close()?;
        Ok(back)
    }

    /// Puts back what has a place, and says what has none.
    pub(super) fn restore(
        mut self,
        layout: &Layout,
        manifest: &Manifest,
        prover: Prover<'_>,
    ) -> Result<Back> {
        // Whoever ends the proof, or is killed in it, has changed nothing.
        let wrong = back::prove(&self, layout, manifest, prover)?;
        self.becomes(State::Restoring)?;
        let back = back::give_back(&self, layout, manifest, wrong)?;
        self.close()?;
        Ok(back)
    }

    /// Takes the entry away if nothing is left in it, else lets it rest.
    fn close(&mut self) -> Result<()> {
        if self.has_content()? {
            return self.becomes(State::Resting);
        }
        self.becomes(State::Emptying)?;
        remove_entry(&self.path())
    }

    /// Whether anything but folders lies in it.
    fn has_content(&self) -> Result<bool> {
        let inside = leaves(&self.content())?;
        Ok(!inside.iter().all(|path| is_own_folder(path)))
    }

    /// Frees it; the bytes that are free now.
    pub(super) fn free(mut self) -> Result<u64> {
        let bytes = self.freeable_bytes();
        self.becomes(State::Emptying)?;
        remove_entry(&self.path())?;
        Ok(bytes)
    }

    /// Bytes of what lies in it.
    pub(super) fn bytes(&self) -> u64 {
        self.sum(|_| true)
    }

    /// Bytes that nothing else has a name for.
    pub(super) fn freeable_bytes(&self) -> u64 {
        self.sum(|found| found.nlink() == 1)
    }

    fn sum(&self, counts: impl Fn(&fs::Metadata) -> bool) -> u64 {
        let files = leaves(&self.content()).unwrap_or_default();
        let found = files.iter().filter_map(|path| path.symlink_metadata().ok());
        found
            .filter(|found| found.is_file() && counts(found))
            .map(|found| found.len())
            .sum()
    }

    /// Goes on where a larder died; what was done, in a sentence.
    pub(super) fn settle(
        mut self,
        layout: &Layout,
        is_backed_by_flock: bool,
    ) -> Result<Option<String>> {
        if self.state == State::Resting {
            return Ok(None);
        }
        let Some(manifest) = self.manifest() else {
            if self.state == State::Making || self.state == State::Emptying {
                // Nothing was moved into it; or what was in it was to go.
                self.becomes(State::Emptying)?;
                remove_entry(&self.path())?;
                return Ok(None);
            }
            let why = format!(
                "the manifest of `{}` cannot be read: look at it",
                self.path().display()
            );
            return Ok(Some(why));
        };
        if Path::new(&manifest.cache) != layout.root() {
            // Whoever uses that cache goes on with it.
            return Ok(None);
        }
        if !is_backed_by_flock && manifest.is_of_somebody_alive() {
            return Ok(None);
        }
        let (id, repo) = (self.id.clone(), manifest.repo_id());
        let repo = repo.map(|repo| repo.to_string()).unwrap_or_default();
        Ok(Some(match self.state {
            State::Resting => return Ok(None),
            State::Making => {
                self.becomes(State::Emptying)?;
                remove_entry(&self.path())?;
                return Ok(None);
            }
            State::Purging if self.is_filled(layout, &manifest) => {
                self.becomes(State::Resting)?;
                format!(
                    "a purge of `{repo}` was cut off after its last step: it lies in the trash as \
                     `{id}`"
                )
            }
            State::Purging => {
                let back = self.undo(layout, &manifest)?;
                format!(
                    "a purge of `{repo}` was cut off: {} put back{}",
                    words_of(back.restored.len()),
                    kept_words(&back)
                )
            }
            State::Restoring => {
                let prover = Prover {
                    was_proven: &|_, _, _| false,
                    watch: &mut |_: ProofStep<'_>| ControlFlow::Continue(()),
                };
                let wrong = back::prove(&self, layout, &manifest, prover)?;
                let back = back::give_back(&self, layout, &manifest, wrong)?;
                self.close()?;
                format!(
                    "putting `{repo}` back was cut off: the rest of it is back{}",
                    kept_words(&back)
                )
            }
            State::Emptying if !self.has_content()? => {
                // All of it is back, or gone: only its folder was left.
                remove_entry(&self.path())?;
                return Ok(None);
            }
            State::Emptying => {
                remove_entry(&self.path())?;
                format!("freeing `{repo}` ({id}) was cut off: it is freed now")
            }
        }))
    }

    /// Whether everything that was to be moved has been.
    fn is_filled(&self, layout: &Layout, manifest: &Manifest) -> bool {
        let content = self.content();
        let mut moved = manifest.moved().into_iter();
        moved.all(|unit| {
            content.join(&unit).symlink_metadata().is_ok()
                && layout.root().join(&unit).symlink_metadata().is_err()
        })
    }

    /// It as a row.
    pub(super) fn row(&self) -> Option<TrashRow> {
        let manifest = self.manifest()?;
        Some(TrashRow {
            id: self.id.clone(),
            repo: manifest.repo_id()?,
            kind: manifest.kind().unwrap_or(DiscardKind::Repo),
            what: manifest.what.iter().map(|what| sanitize(what)).collect(),
            reason: sanitize(&manifest.reason),
            purged_ms: manifest.purged_ms,
            bytes: self.bytes(),
            path: sanitize(&self.path().to_string_lossy()),
            cache: sanitize(&manifest.cache),
            cut_off: self.state.words().map(ToOwned::to_owned),
        })
    }
}

impl Manifest {
    /// Whether the process that wrote it lives, as far as can be told from here.
    fn is_of_somebody_alive(&self) -> bool {
        self.host != host::host_name() || host::is_alive(self.pid)
    }
}

fn words_of(count: usize) -> String {
    match count {
        0 => "nothing had to be".to_owned(),
        1 => "1 file or folder is".to_owned(),
        count => format!("{count} files and folders are"),
    }
}

fn kept_words(back: &Back) -> String {
    match back.kept.len() {
        0 => String::new(),
        kept => format!("; {kept} stay in the trash: `larder trash restore` says why"),
    }
}

/// Digits of an id: seconds since the Unix epoch until the year 2106, so that ids sort.
const ID_LENGTH: usize = 8;

fn id_of(number: u64) -> String {
    format!("{number:08x}")
}

fn number_of(id: &str) -> Option<u64> {
    u64::from_str_radix(id, 16).ok()
}
