//! Owns looking at the cache and the machine for those who watch: what the cache room sees, with
//! what this engine knows of its own work.
//!
//! Never writes, never hashes; blocks, so it runs in a thread that may.

use std::collections::BTreeSet;

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::Shared;
use super::abroad::Abroad;
use super::at_work::AtWork;
use super::emit::millis;
use super::failure::{from_cache, from_hub};
use super::judging::Judging;
use super::memory::Memory;
use super::programs::Observer;
use crate::cache::{self, Census, Eyes, Layout, Programs};
use crate::config::Config;
use crate::domain::{
    CacheRow, Disk, Failure, Finding, LockRow, ModelRow, Network, PartialRow, RepoId,
};
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
    /// The places beside the main cache; `None` where they do not matter.
    abroad: Option<Abroad>,
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
    /// The places, the main cache first; empty where only that was looked at.
    pub(super) caches: Vec<CacheRow>,
    pub(super) models: Vec<ModelRow>,
    pub(super) findings: Vec<Finding>,
    pub(super) partials: Vec<PartialRow>,
}

impl CacheSighting {
    /// Adds what lies elsewhere.
    fn add(&mut self, abroad: &Abroad, size_bytes: u64, only: Option<&RepoId>) {
        let is_wanted = |repo: &RepoId| only.is_none_or(|only| only == repo);
        self.caches = abroad.caches((self.models.len(), size_bytes), None);
        let seen = abroad.seen();
        let models = seen.models().into_iter();
        self.models
            .extend(models.filter(|model| is_wanted(&model.repo)));
        let partials = seen.partials().into_iter();
        self.partials
            .extend(partials.filter(|partial| is_wanted(&partial.repo)));
        let findings = seen.findings().into_iter();
        self.findings.extend(findings.filter(|finding| {
            let about = finding.repo.as_ref();
            only.is_none() || about.is_some_and(is_wanted)
        }));
        // Within one severity the order of places stays.
        self.findings
            .sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    }
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
            abroad: None,
        }
    }

    /// The same, that also looks at the places beside the main cache.
    pub(super) fn everywhere(shared: &Shared) -> Self {
        Self {
            abroad: Some(Abroad::new(shared)),
            ..Self::new(shared)
        }
    }

    /// The places beside the main cache, also where that one cannot be read.
    pub(super) fn elsewhere(&mut self, trouble: &str, now: SystemTime) -> CacheSighting {
        let mut seen = CacheSighting::default();
        if let Some(abroad) = &mut self.abroad {
            let main = Layout::new(self.config.cache_dir.clone());
            abroad.look_if_due(&main, false, &BTreeSet::new(), now);
            seen.add(abroad, 0, None);
            seen.caches = abroad.caches((0, 0), Some(trouble));
        }
        if let Some(mount) = host::absent_mount(&self.config.cache_dir) {
            let origin = self.config.origin("cache_dir").unwrap_or("default");
            let place = &self.config.cache_dir;
            seen.findings
                .insert(0, cache::absent_volume(&mount, place, origin));
        }
        seen
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
            known.is_some_and(|diary| diary.knows_content(path) || looks_whole(path))
        };
        let memory = Arc::clone(&self.memory);
        let config = Arc::clone(&self.config);
        let judging = Judging::of(&memory, &config, now);
        let census = &mut self.census;
        let is_new = judging.judge(&is_proven, |judge| match glance {
            Glance::Whole(only) => {
                let looked = census.look(&layout, only.as_ref(), judge, &eyes);
                looked.map(|()| true)
            }
            Glance::Changes(stirred) => census.look_again(&layout, focus, stirred, judge, &eyes),
        })?;
        let mut locks = self.census.locks(&layout, focus, &eyes);
        let nobody = BTreeSet::new();
        let (only, stirred) = match glance {
            Glance::Whole(only) => (only.as_ref(), &nobody),
            Glance::Changes(stirred) => (None, stirred),
        };
        let is_abroad_new = self
            .abroad
            .as_mut()
            .is_some_and(|abroad| abroad.look_if_due(&layout, is_new, stirred, now));
        if let Some(abroad) = &self.abroad {
            let is_wanted = |lock: &&LockRow| only.is_none_or(|only| *only == lock.repo);
            locks.extend(abroad.locks().iter().filter(is_wanted).cloned());
        }
        Ok(Sighting {
            cache: (is_new || is_abroad_new).then(|| {
                let mut seen = CacheSighting {
                    caches: Vec::new(),
                    models: self.census.models(),
                    findings: self.census.findings(),
                    partials: self.census.partials(),
                };
                if let Some(abroad) = &self.abroad {
                    seen.add(abroad, self.census.size_bytes(), only);
                }
                seen
            }),
            locks,
        })
    }

    /// Room on the disk; `None` where the system does not tell.
    pub(super) fn disk(&self) -> Option<Disk> {
        host::disk(&self.config.cache_dir).ok()
    }
}

/// Whether a large JSON file begins and ends as one: in a hurry that is enough.
fn looks_whole(path: &Path) -> bool {
    const LARGE_BYTES: u64 = 1 << 20;
    const END_BYTES: u64 = 64;
    let ends = || {
        let mut file = host::open_quietly(path).ok()?;
        let length = file.metadata().ok()?.len();
        let is_large = length >= LARGE_BYTES;
        let (mut start, mut end) = ([0], Vec::new());
        file.read_exact(&mut start).ok()?;
        file.seek(SeekFrom::Start(length.checked_sub(END_BYTES)?))
            .ok()?;
        file.read_to_end(&mut end).ok()?;
        Some(is_large && start == *b"{" && end.trim_ascii_end().ends_with(b"}"))
    };
    ends().unwrap_or(false)
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
