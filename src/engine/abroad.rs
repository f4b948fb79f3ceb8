//! Owns the engine's look at the places beside the main cache: when it is due, and what the ledger
//! knows of them.
//!
//! Never looks where a flag named the one cache that is meant; blocks, so it runs in a thread that
//! may.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::Shared;
use super::judging::Judging;
use super::memory::Memory;
use crate::cache::{self, Elsewhere, Eyes, Layout, Programs};
use crate::config::{self, Config, ModelPlace, PlaceRule};
use crate::domain::{CacheKind, CacheRow, LockRow, LockState, RepoId, sanitize};
use crate::host::LockTable;

/// How often it is looked elsewhere, at most: apps rarely change what they have.
const EVERY: Duration = Duration::from_secs(30);

/// The other places, and when they were looked at.
pub(super) struct Abroad {
    config: Arc<Config>,
    memory: Arc<Memory>,
    seen: Elsewhere,
    looked: Option<SystemTime>,
    /// The main cache has changed since.
    is_main_new: bool,
    /// Locks that are held in the local dirs that larder pulls into.
    locks: Vec<LockRow>,
}

impl Abroad {
    pub(super) fn new(shared: &Shared) -> Self {
        Self {
            config: Arc::clone(&shared.config),
            memory: Arc::clone(&shared.memory),
            seen: Elsewhere::default(),
            looked: None,
            is_main_new: false,
            locks: Vec::new(),
        }
    }

    /// Looks, if that is due or a job has just let go of a repo that is there too; whether anything
    /// is new.
    pub(super) fn look_if_due(
        &mut self,
        main: &Layout,
        is_main_new: bool,
        stirred: &BTreeSet<RepoId>,
        now: SystemTime,
    ) -> bool {
        self.is_main_new |= is_main_new;
        // What is being written is looked at again as soon as it may hold still.
        let every = if self.seen.is_unsettled() || !self.locks.is_empty() {
            cache::HOLDS_STILL
        } else {
            EVERY
        };
        let is_due = self.looked.is_none_or(|at| {
            // A clock that went back must not stop the looks.
            now.duration_since(at).map_or(true, |since| since >= every)
        });
        let is_due = is_due || self.seen.holds_any(stirred);
        if !is_due || self.config.elsewhere.places.is_empty() {
            return false;
        }
        self.looked = Some(now);
        let is_main_new = std::mem::take(&mut self.is_main_new);
        let eyes = Eyes {
            now,
            table: LockTable::read(),
            // The programs that are known by name are those that work on the main cache.
            programs: &Programs::unknown(),
            // What this larder writes, it writes into the main cache.
            ours: &|_, _| None,
        };
        let (memory, config) = (Arc::clone(&self.memory), Arc::clone(&self.config));
        let folders = folders_of_pulls(&memory, now);
        let seen = cache::locks_elsewhere(&folders, main.root(), None, &eyes);
        self.locks = seen.unwrap_or_default();
        self.locks.retain(|lock| lock.state == LockState::Held);
        let places = config::Elsewhere {
            places: [config.elsewhere.places.clone(), folders.places].concat(),
            ..config.elsewhere.clone()
        };
        let judging = Judging::of(&memory, &config, now);
        judging.judge(&|_| false, |judge| {
            let seen = &mut self.seen;
            seen.look(&places, main, is_main_new, stirred, judge, &eyes)
        })
    }

    /// Locks that were held in the local dirs that larder pulls into.
    pub(super) fn locks(&self) -> &[LockRow] {
        &self.locks
    }

    /// What was seen.
    pub(super) const fn seen(&self) -> &Elsewhere {
        &self.seen
    }

    /// The row of the main cache and those of the other places.
    pub(super) fn caches(
        &self,
        (models, size_bytes): (usize, u64),
        trouble: Option<&str>,
    ) -> Vec<CacheRow> {
        let main = CacheRow {
            models,
            size_bytes,
            ..main_row(&self.config, trouble)
        };
        let mut rows = vec![main];
        rows.extend(self.seen.caches());
        rows
    }
}

/// The local dirs that pulls of larder have begun in and are not complete in: some are at work, others
/// were broken off.
pub(super) fn folders_of_pulls(memory: &Memory, now: SystemTime) -> config::Elsewhere {
    let pulls = memory.unfinished_in_folders(now).into_iter();
    let folders = pulls.filter_map(|pull| pull.local_dir);
    // One that is gone, or on a volume that is, was named by nobody.
    let there: BTreeSet<PathBuf> = folders.filter(|folder| folder.is_dir()).collect();
    let places = there.into_iter().map(|path| ModelPlace {
        rule: PlaceRule::Named,
        path,
        origin: "a pull that is not complete".to_owned(),
    });
    config::Elsewhere {
        places: places.collect(),
        ..config::Elsewhere::default()
    }
}

/// The main cache as a place.
fn main_row(config: &Config, trouble: Option<&str>) -> CacheRow {
    // As the paths of its models begin.
    let root = cache::resolve_root(&config.cache_dir).unwrap_or_else(|_| config.cache_dir.clone());
    CacheRow {
        kind: CacheKind::Hub,
        path: sanitize(&root.to_string_lossy()),
        origin: config.origin("cache_dir").unwrap_or("default").to_owned(),
        is_present: config.cache_dir.is_dir(),
        trouble: trouble.map(ToOwned::to_owned),
        models: 0,
        size_bytes: 0,
    }
}
