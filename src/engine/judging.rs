//! Owns what the engine lends the cache's looks: what models need, and what the ledger remembers of
//! files and listings.
//!
//! Never looks itself; what was learned of forms is kept when the look is over.

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::path::Path;
use std::time::SystemTime;

use super::forms::Forms;
use super::memory::{Memory, Verdicts};
use crate::cache::Judge;
use crate::config::Config;
use crate::domain::{Commit, Etag, RepoId};
use crate::mlx;

/// What a look may rest on.
pub(super) struct Judging<'a> {
    memory: &'a Memory,
    /// The Hub whose listings count.
    endpoint: &'a str,
    now: SystemTime,
    is_afresh: bool,
}

impl<'a> Judging<'a> {
    pub(super) fn of(memory: &'a Memory, config: &'a Config, now: SystemTime) -> Self {
        Self {
            memory,
            endpoint: config.endpoint.as_str(),
            now,
            is_afresh: false,
        }
    }

    /// The same, that reads every file, whatever is known of its form.
    pub(super) const fn afresh(mut self) -> Self {
        self.is_afresh = true;
        self
    }

    /// Lets `look` judge. Files that are `is_proven` are not read where only their form matters.
    pub(super) fn judge<T>(
        &self,
        is_proven: &(dyn Fn(&Path) -> bool + Sync),
        look: impl FnOnce(Judge<'_>) -> T,
    ) -> T {
        let forms = Forms::of(self.memory, self.is_afresh);
        let verdicts = Verdicts::of(self.memory);
        let looked = look(Judge {
            examine: &|folder: &Path, untouched: &BTreeSet<String>| {
                forms.examine(folder, untouched, is_proven)
            },
            select: &mlx::default_selection,
            hashed: &|path: &Path, found: &Metadata, etag: &Etag| {
                verdicts.hashed(path, found, etag)
            },
            content: &|path: &Path, found: &Metadata| verdicts.content(path, found),
            listing: &|repo: &RepoId, commit: &Commit| {
                self.memory.listing(self.endpoint, repo, commit)
            },
            paired: &|one: &Path, other: &Path| self.memory.pair(one, other),
        });
        forms.keep(self.now);
        looked
    }
}
