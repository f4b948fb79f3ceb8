//! Owns what the names of the blobs in Hub caches say of contents that lie elsewhere: a file that
//! hashes to such a name has the bytes that the Hub gave that repo.
//!
//! Never reads a blob: its name says what it should be, whatever it is now.

use std::collections::{HashMap, HashSet};

use super::Layout;
use super::elsewhere::contents_of_hub;
use crate::domain::{Etag, RepoId};

/// Files as large as this and larger are named by sha256 on the Hub.
const GIT_MAX_BYTES: u64 = 10 << 20;
/// An etag that only says by which kind of hash a content is called.
const ANY_SHA256: Etag = Etag::Sha256([0; 32]);
const ANY_GIT_SHA1: Etag = Etag::GitSha1([0; 20]);

/// The names of all blobs in some Hub caches.
#[derive(Debug, Default)]
pub struct Names {
    by_etag: HashMap<Etag, Vec<RepoId>>,
    /// Lengths of blobs that are named as git names them.
    git_sizes: HashSet<u64>,
}

impl Names {
    /// The names in these caches.
    pub fn of<'a>(layouts: impl Iterator<Item = &'a Layout>) -> Self {
        let mut names = Self::default();
        for layout in layouts {
            for (repo, etag, bytes) in contents_of_hub(layout) {
                names.add(repo, etag, bytes);
            }
        }
        names
    }

    fn add(&mut self, repo: RepoId, etag: Etag, bytes: u64) {
        if matches!(etag, Etag::GitSha1(_)) {
            self.git_sizes.insert(bytes);
        }
        let repos = self.by_etag.entry(etag).or_default();
        if !repos.contains(&repo) {
            repos.push(repo);
        }
    }

    /// A repo that has a content; `like` before others.
    pub(super) fn holder<'a>(&'a self, etag: &Etag, like: &RepoId) -> Option<&'a RepoId> {
        let repos = self.by_etag.get(etag)?;
        repos.iter().find(|repo| *repo == like).or(repos.first())
    }

    /// By which kind of hash a content of this length is to be called, so that it can be found here.
    pub(super) fn kind_for(&self, bytes: u64) -> Etag {
        if bytes < GIT_MAX_BYTES && self.git_sizes.contains(&bytes) {
            ANY_GIT_SHA1
        } else {
            ANY_SHA256
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::fixture::{etag, git_oid, repo};

    #[test]
    fn a_content_is_found_by_the_hash_that_the_hub_names_it_by() {
        let small = Etag::new(&git_oid(b"{}")).unwrap();
        let mut names = Names::default();
        names.add(repo("org/a"), small, 2);
        names.add(repo("org/b"), small, 2);
        names.add(repo("org/a"), etag(b"weights"), 7);
        assert_eq!(names.kind_for(2), ANY_GIT_SHA1);
        assert_eq!(names.kind_for(7), ANY_SHA256);
        let holder = |etag: &Etag, like: &str| {
            let like = repo(like);
            names.holder(etag, &like).map(|repo| repo.name().to_owned())
        };
        assert_eq!(holder(&small, "org/b").as_deref(), Some("org/b"));
        assert_eq!(holder(&small, "org/c").as_deref(), Some("org/a"));
        assert_eq!(holder(&etag(b"weights"), "org/b").as_deref(), Some("org/a"));
        assert_eq!(holder(&etag(b"others"), "org/a"), None);
    }
}
