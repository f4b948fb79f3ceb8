//! Owns looking at the cache and the machine for those who watch: what the cache room sees, with
//! what this engine knows of its own work.
//!
//! Never writes, never hashes; blocks, so it runs in a thread that may.

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::Shared;
use super::at_work::AtWork;
use super::emit::millis;
use super::failure::{from_cache, from_hub};
use super::forms::Forms;
use super::memory::{Memory, Verdicts};
use super::programs::Observer;
use crate::cache::{self, Census, Eyes, Judge, Layout, Programs};
use crate::config::Config;
use crate::domain::{Disk, Etag, Failure, Finding, LockRow, ModelRow, Network, PartialRow, RepoId};
use crate::host::{self, LockTable};

/// Looks, and remembers what it saw.
pub(super) struct Lookout {
    config: Arc<Config>,
    at_work: Arc<AtWork>,
    census: Census,
    observer: Observer,
    /// Whether other programs are looked at.
    sees_programs: bool,
    memory: Arc<Memory>,
    /// Whether files of the repo in focus that are known as proven are not read.
    trusts_proven: bool,
}

/// How closely to look.
pub(super) enum Glance {
    /// At everything, or at all of one repo.
    Whole(Option<RepoId>),
    /// At what has changed, and at these repos.
    Changes(BTreeSet<RepoId>),
}

/// What a look gave.
pub(super) struct Sighting {
    /// `None` if nothing is new since the look before.
    pub(super) cache: Option<CacheSighting>,
    pub(super) locks: Vec<LockRow>,
}

/// What lies in the cache.
#[derive(Default)]
pub(super) struct CacheSighting {
    pub(super) models: Vec<ModelRow>,
    pub(super) findings: Vec<Finding>,
    pub(super) partials: Vec<PartialRow>,
}

impl Lookout {
    pub(super) fn new(shared: &Shared) -> Self {
        Self {
            config: Arc::clone(&shared.config),
            at_work: Arc::clone(&shared.at_work),
            census: Census::default(),
            observer: Observer::default(),
            sees_programs: true,
            memory: Arc::clone(&shared.memory),
            trusts_proven: false,
        }
    }

    /// What other programs do now, or did a moment ago.
    pub(super) fn programs(&mut self, layout: &Layout) -> Programs {
        self.observer.look(layout.root()).clone()
    }

    /// Does not read what is known as proven, where only its form matters.
    pub(super) const fn trust_proven(&mut self) {
        self.trusts_proven = true;
    }

    /// Looks at other programs from now on, or not: that takes some milliseconds.
    pub(super) const fn see_programs(&mut self, sees_programs: bool) {
        self.sees_programs = sees_programs;
    }

    /// Looks at the cache.
    ///
    /// # Errors
    /// When the cache as a whole cannot be read.
    pub(super) fn look(
        &mut self,
        glance: &Glance,
        focus: Option<&RepoId>,
        now: SystemTime,
    ) -> Result<Sighting, Failure> {
        self.try_look(glance, focus, now).map_err(from_cache)
    }

    fn try_look(
        &mut self,
        glance: &Glance,
        focus: Option<&RepoId>,
        now: SystemTime,
    ) -> cache::Result<Sighting> {
        let layout = Layout::new(cache::resolve_root(&self.config.cache_dir)?);
        let at_work = Arc::clone(&self.at_work);
        let ours = move |repo: &RepoId, etag: &_| at_work.of(repo, etag);
        let eyes = Eyes {
            now,
            table: LockTable::read(),
            programs: if self.sees_programs {
                self.observer.look(layout.root())
            } else {
                self.observer.seen()
            },
            ours: &ours,
        };
        let trusted = focus.filter(|_| self.trusts_proven);
        let diary = trusted.map(|repo| self.memory.diary(&layout.blobs(repo)));
        let is_proven = |path: &Path| {
            let known = diary.as_ref();
            known.is_some_and(|diary| diary.knows_content(path))
        };
        let memory = Arc::clone(&self.memory);
        let forms = Forms::of(&memory);
        let examine = |folder: &Path| forms.examine(folder, &is_proven);
        let verdicts = Verdicts::of(&memory);
        let hashed =
            |path: &Path, found: &Metadata, etag: &Etag| verdicts.hashed(path, found, etag);
        let judge = Judge {
            examine: &examine,
            hashed: &hashed,
            ..super::judge()
        };
        let is_new = match glance {
            Glance::Whole(only) => {
                self.census.look(&layout, only.as_ref(), judge, &eyes)?;
                true
            }
            Glance::Changes(stirred) => self
                .census
                .look_again(&layout, focus, stirred, judge, &eyes)?,
        };
        forms.keep(now);
        Ok(Sighting {
            cache: is_new.then(|| CacheSighting {
                models: self.census.models(),
                findings: self.census.findings(),
                partials: self.census.partials(),
            }),
            locks: self.census.locks(&layout, focus, &eyes),
        })
    }

    /// Room on the disk; `None` where the system does not tell.
    pub(super) fn disk(&self) -> Option<Disk> {
        host::disk(&self.config.cache_dir).ok()
    }
}

/// Asks whether the Hub answers.
pub(super) async fn network(shared: &Shared) -> Network {
    if shared.config.is_offline {
        return Network::Offline;
    }
    let asked = tokio::time::Instant::now();
    match shared.client.ping().await {
        Ok(()) => Network::Reachable {
            answer_ms: millis(asked.elapsed()),
        },
        Err(error) => Network::Unreachable {
            failure: from_hub(error),
        },
    }
}
