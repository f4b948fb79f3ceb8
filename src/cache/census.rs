//! Owns the whole cache as it was when last looked at, and looking again at what has changed.
//!
//! **Law**: a second look at a cache in which nothing happened reads no file and costs a few
//! thousand questions about times at most; nothing is changed by looking.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::holders::{held_locks_of, locks_of, programs_on};
use super::partials::{Contents, Eyes};
use super::scan::repos;
use super::shared::root_findings;
use super::sight::{Print, Sight};
use super::snapshot::paths_below;
use super::{Error, Judge, Layout, Result, diagnosis, several};
use crate::domain::{
    Etag, Examination, Finding, LockRow, ModelRow, PartialRow, PartialState, RepoId,
};

/// Repos whose times are looked at in one short look; of more, each comes round in turn.
const AT_ONCE: usize = 256;
/// Every so many short looks the locks of abandoned partials are asked again.
const PARTIALS_EVERY: u32 = 5;

/// The cache as last seen.
#[derive(Debug, Default)]
pub struct Census {
    repos: BTreeMap<RepoId, Sight>,
    /// Of the cache's own folder.
    root: Option<Print>,
    /// What was read of models, so that a full look does not read it again.
    memory: Memory,
    /// What is wrong beside the repos.
    beside: Vec<Finding>,
    next: usize,
    looks: u32,
}

impl Census {
    /// Looks at the whole cache, or at one repo. A cache that does not exist yet is empty.
    ///
    /// # Errors
    /// When the cache as a whole cannot be read. What cannot be read in it is a finding.
    pub fn look(
        &mut self,
        layout: &Layout,
        only: Option<&RepoId>,
        judge: Judge<'_>,
        eyes: &Eyes<'_>,
    ) -> Result<()> {
        let root = Print::of(&[layout.root().to_owned()], eyes.now);
        let mut names = repos(layout)?;
        names.retain(|repo| only.is_none_or(|only| only == repo));
        self.repos = self.memory.using(judge, |judge| {
            look_at_all(&names, &|repo| Sight::of(layout, repo, judge, eyes))
        });
        self.memory.forget_others(layout, &self.repos);
        self.beside = match only {
            None => root_findings(layout, eyes.now, judge),
            Some(_) => Vec::new(),
        };
        self.root = Some(root);
        Ok(())
    }

    /// Looks again at what has changed, and at `stirred` whether or not it has; whether anything is
    /// new. The repo in `focus` and those that somebody writes into are asked every time.
    ///
    /// # Errors
    /// As [`look`](Self::look).
    pub fn look_again(
        &mut self,
        layout: &Layout,
        focus: Option<&RepoId>,
        stirred: &BTreeSet<RepoId>,
        judge: Judge<'_>,
        eyes: &Eyes<'_>,
    ) -> Result<bool> {
        let mut is_new = false;
        let root = Print::of(&[layout.root().to_owned()], eyes.now);
        let is_root_known = self
            .root
            .is_some_and(|known| known.hash == root.hash && !known.is_racy);
        if is_root_known {
            // The names are the same; that they may be read is asked all the same.
            fs::read_dir(layout.root())
                .map(drop)
                .or_else(|error| match error.kind() {
                    std::io::ErrorKind::NotFound => repos(layout).map(drop),
                    _ => Err(Error::from_io("read", layout.root(), error)),
                })?;
        }
        let mut due: BTreeSet<RepoId> = stirred.clone();
        if !is_root_known {
            let names: BTreeSet<RepoId> = repos(layout)?.into_iter().collect();
            let before = self.repos.len();
            self.repos.retain(|repo, _| names.contains(repo));
            is_new |= self.repos.len() != before;
            due.extend(
                names
                    .into_iter()
                    .filter(|repo| !self.repos.contains_key(repo)),
            );
            self.root = Some(root);
            let beside = root_findings(layout, eyes.now, judge);
            is_new |= beside != self.beside;
            self.beside = beside;
        }
        let turn = self.turn();
        for (at, (repo, sight)) in self.repos.iter().enumerate() {
            let is_asked = turn.contains(at) || focus == Some(repo) || sight.is_live();
            if is_asked && sight.is_outdated(eyes.now) {
                due.insert(repo.clone());
            }
        }
        let due: Vec<RepoId> = due
            .into_iter()
            .filter(|repo| layout.repo(repo).is_dir())
            .collect();
        let seen = self.memory.using(judge, |judge| {
            look_at_all(&due, &|repo| Sight::of(layout, repo, judge, eyes))
        });
        is_new |= !seen.is_empty();
        self.repos.extend(seen);
        self.looks = self.looks.wrapping_add(1);
        let asks_all = self.looks.is_multiple_of(PARTIALS_EVERY);
        for (repo, sight) in &mut self.repos {
            if sight.has_marker && !due.contains(repo) {
                is_new |= sight.look_at_marker(layout, repo, eyes);
            }
            let has_any = !sight.partials.is_empty() && !due.contains(repo);
            if has_any && (asks_all || sight.is_live() || sight.has_moved()) {
                is_new |= sight.look_at_partials(layout, repo, eyes);
            }
        }
        Ok(is_new)
    }

    /// Which repos, by their place, have their turn in this look.
    fn turn(&mut self) -> Turn {
        let all = self.repos.len();
        let turn = Turn {
            from: self.next,
            count: AT_ONCE.min(all),
            all,
        };
        self.next = (self.next + turn.count).checked_rem(all).unwrap_or(0);
        turn
    }

    /// Every snapshot, by repo.
    pub fn models(&self) -> Vec<ModelRow> {
        self.repos
            .values()
            .flat_map(|sight| sight.models.iter().cloned())
            .collect()
    }

    /// The bytes of all files that pointers lead to, each file once.
    pub fn size_bytes(&self) -> u64 {
        let inodes: HashMap<(u64, u64), u64> = self
            .repos
            .values()
            .flat_map(|sight| sight.inodes.iter().map(|(id, bytes)| (*id, *bytes)))
            .collect();
        inodes.into_values().sum()
    }

    /// Everything that is wrong, the worst first.
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings = self.beside.clone();
        for sight in self.repos.values() {
            findings.extend(sight.findings.iter().cloned());
            findings.extend(sight.stale_marker.clone());
            let abandoned = sight
                .partials
                .iter()
                .filter(|(row, ..)| row.state == PartialState::Abandoned);
            findings.extend(
                abandoned
                    .map(|(row, length, map)| diagnosis::abandoned(row, *length, map.as_deref())),
            );
        }
        // Within one severity the order of repos stays.
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        findings
    }

    /// Every unfinished blob, by repo.
    pub fn partials(&self) -> Vec<PartialRow> {
        self.repos
            .values()
            .flat_map(|sight| sight.partials.iter().map(|(row, ..)| row.clone()))
            .collect()
    }

    /// The locks of the repo in focus, and of all others those that are held or stale.
    pub fn locks(&self, layout: &Layout, focus: Option<&RepoId>, eyes: &Eyes<'_>) -> Vec<LockRow> {
        let mut locks = Vec::new();
        if let Some(repo) = focus {
            let nothing = Contents::new();
            let contents = match self.repos.get(repo) {
                Some(sight) => sight.contents(layout, repo),
                None => &nothing,
            };
            locks.extend(locks_of(layout, repo, contents, eyes));
            locks.extend(programs_on(layout, repo, &locks, eyes));
        }
        for (repo, sight) in &self.repos {
            if focus == Some(repo) {
                continue;
            }
            if sight.partials.is_empty() && !sight.has_marker {
                locks.extend(programs_on(layout, repo, &[], eyes));
                continue;
            }
            let etags: BTreeSet<String> = sight
                .partials
                .iter()
                .map(|(row, ..)| row.etag.clone())
                .collect();
            let etags = etags.iter().filter_map(|etag| Etag::new(etag).ok());
            locks.extend(held_locks_of(
                layout,
                repo,
                etags,
                sight.contents(layout, repo),
                eyes,
            ));
            locks.extend(programs_on(layout, repo, &locks, eyes));
        }
        locks
    }
}

/// A stretch of repos that goes round.
#[derive(Clone, Copy, Debug)]
struct Turn {
    from: usize,
    count: usize,
    all: usize,
}

impl Turn {
    fn contains(self, at: usize) -> bool {
        let after = (at + self.all - self.from).checked_rem(self.all);
        after.is_some_and(|after| after < self.count)
    }
}

/// Looks at every repo.
fn look_at_all(
    repos: &[RepoId],
    look: &(dyn Fn(&RepoId) -> Sight + Sync),
) -> BTreeMap<RepoId, Sight> {
    let seen = several::look_at_all(repos, look);
    repos.iter().cloned().zip(seen).collect()
}

/// What was read of models, by folder: valid while no file in it has changed.
#[derive(Debug, Default)]
struct Memory(Mutex<HashMap<PathBuf, (u64, Examination)>>);

impl Memory {
    /// Lets `work` judge with this memory.
    fn using<T>(&self, judge: Judge<'_>, work: impl FnOnce(Judge<'_>) -> T) -> T {
        let examine = |folder: &Path, untouched: &BTreeSet<String>| {
            let print = print_of_files(folder);
            let known = {
                let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                known.get(folder).filter(|(at, _)| *at == print).cloned()
            };
            if let Some((_, known)) = known {
                return known;
            }
            let found = (judge.examine)(folder, untouched);
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(folder.to_owned(), (print, found.clone()));
            found
        };
        work(Judge {
            examine: &examine,
            ..judge
        })
    }

    /// Forgets folders of repos that are gone.
    fn forget_others(&self, layout: &Layout, repos: &BTreeMap<RepoId, Sight>) {
        let kept: BTreeSet<PathBuf> = repos.keys().map(|repo| layout.snapshots(repo)).collect();
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|folder, _| folder.parent().is_some_and(|parent| kept.contains(parent)));
    }
}

/// The names below a folder and what they lead to, without the contents.
fn print_of_files(folder: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    for path in paths_below(folder).unwrap_or_default() {
        if let Ok(found) = folder.join(path.as_str()).metadata() {
            (found.dev(), found.ino(), found.len()).hash(&mut hasher);
            (found.mtime(), found.mtime_nsec()).hash(&mut hasher);
            (found.ctime(), found.ctime_nsec()).hash(&mut hasher);
        }
        path.as_str().hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::cache::fixture::{self, commit, now, repo};
    use crate::cache::{Programs, prepare_repo, write_ref};
    use crate::domain::{Revision, Rule};
    use crate::host::LockTable;

    /// Looks again some time after the last change; whether anything was new, and how many models
    /// were examined for it.
    fn again(census: &mut Census, layout: &Layout) -> (bool, usize) {
        let examined = AtomicUsize::new(0);
        let examine = |_: &Path, _: &BTreeSet<String>| {
            examined.fetch_add(1, Ordering::Relaxed);
            Examination::default()
        };
        let judge = Judge {
            examine: &examine,
            select: &|_| Vec::new(),
            hashed: &|_, _, _| None,
            content: &|_, _| None,
            listing: &|_, _| None,
            paired: &|_, _| None,
        };
        let eyes = Eyes {
            now: now() + Duration::from_secs(1),
            table: LockTable::default(),
            programs: &Programs::unknown(),
            ours: &|_, _| None,
        };
        let is_new = if census.root.is_none() {
            census.look(layout, None, judge, &eyes).unwrap();
            true
        } else {
            let nobody = BTreeSet::new();
            census
                .look_again(layout, None, &nobody, judge, &eyes)
                .unwrap()
        };
        (is_new, examined.into_inner())
    }

    #[test]
    fn a_second_look_sees_every_change_and_reads_nothing_without_one() {
        let (_dir, layout) = fixture::cache();
        let repo = repo("org/m");
        prepare_repo(&layout, &repo).unwrap();
        let nested = layout.snapshot(&repo, &commit('a')).join("sub/deep");
        fs::create_dir_all(&nested).unwrap();
        fs::write(nested.join("one"), "1").unwrap();
        write_ref(&layout, &repo, &Revision::main(), &commit('a')).unwrap();
        let mut census = Census::default();
        assert_eq!(again(&mut census, &layout), (true, 1));
        assert_eq!(again(&mut census, &layout), (false, 0));
        assert_eq!(census.models()[0].files_present, 1);

        fs::write(nested.join("two"), "2").unwrap();
        assert_eq!(again(&mut census, &layout), (true, 1));
        assert_eq!(census.models()[0].files_present, 2);

        // As some programs write refs: in place. The model itself need not be read again.
        let main = layout.reference(&repo, &Revision::main());
        fs::write(main, format!("{}\n", commit('a'))).unwrap();
        assert_eq!(again(&mut census, &layout), (true, 0));
        assert_eq!(census.findings()[0].rule, Rule::MalformedRef);

        fs::remove_dir_all(layout.repo(&repo)).unwrap();
        assert_eq!(again(&mut census, &layout), (true, 0));
        assert!(census.models().is_empty());
        fs::remove_dir_all(layout.root()).unwrap();
        again(&mut census, &layout);
        assert_eq!(again(&mut census, &layout), (false, 0));
    }

    #[test]
    fn every_repo_has_its_turn() {
        let turn = |from, count, all| {
            let turn = Turn { from, count, all };
            (0..all).filter(|at| turn.contains(*at)).collect::<Vec<_>>()
        };
        assert_eq!(turn(0, 3, 3), [0, 1, 2]);
        assert_eq!(turn(0, 2, 5), [0, 1]);
        assert_eq!(turn(4, 2, 5), [0, 4]);
        assert_eq!(turn(0, 0, 0), Vec::<usize>::new());
    }
}
