//! Owns what is served: repos, commits, files; content in memory or made up as it is sent.
//!
//! Names are raw: a catalogue can hold paths that no client should store, so that tests can ask
//! what a client does with them.

use std::collections::BTreeMap;

use bytes::Bytes;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use crate::domain::{Commit, Etag, RepoId};

/// The content of a file.
#[derive(Clone, Debug)]
pub enum Content {
    /// Bytes in memory.
    Memory(Bytes),
    /// Incompressible bytes made from a seed, so that a large file needs no memory.
    Generated {
        /// The same seed gives the same bytes.
        seed: u64,
        /// Length in bytes.
        len: u64,
    },
}

/// Bytes made or copied at once.
const BLOCK: usize = 64 * 1024;

impl Content {
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::Generated { len, .. } => *len,
        }
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Some bytes from `offset` on, at most up to `end`; empty at the end.
    pub fn chunk(&self, offset: u64, end: u64) -> Bytes {
        let end = end.min(self.len());
        if offset >= end {
            return Bytes::new();
        }
        match self {
            Self::Memory(bytes) => {
                let from = usize::try_from(offset).unwrap_or(usize::MAX);
                let to = usize::try_from(end).unwrap_or(usize::MAX);
                bytes.slice(from..to.min(from.saturating_add(BLOCK)))
            }
            Self::Generated { seed, .. } => {
                let block = offset / BLOCK as u64;
                let bytes = generated_block(*seed, block);
                let within = usize::try_from(offset % BLOCK as u64).unwrap_or(0);
                let room = usize::try_from(end - offset).unwrap_or(usize::MAX);
                let to = BLOCK.min(within.saturating_add(room));
                Bytes::from(bytes).slice(within..to)
            }
        }
    }

    /// All bytes, for content that fits in memory.
    pub fn bytes(&self) -> Bytes {
        if let Self::Memory(bytes) = self {
            return bytes.clone();
        }
        let mut all = Vec::new();
        self.for_each(|chunk| all.extend_from_slice(chunk));
        all.into()
    }

    fn for_each(&self, mut take: impl FnMut(&[u8])) {
        let mut offset = 0;
        while offset < self.len() {
            let chunk = self.chunk(offset, self.len());
            offset += chunk.len() as u64;
            take(&chunk);
        }
    }
}

/// One block of made-up bytes: the `splitmix64` sequence, restarted for each block.
fn generated_block(seed: u64, block: u64) -> Vec<u8> {
    let mut state = seed ^ block.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut bytes = Vec::with_capacity(BLOCK);
    while bytes.len() < BLOCK {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(word ^ (word >> 31)).to_le_bytes());
    }
    bytes
}

/// A file as it is put into a repo.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// The path the listing will say, checked by nobody.
    pub path: String,
    /// The content.
    pub content: Content,
    /// Whether it is stored as LFS: named by its SHA-256 and served by the other origin.
    pub is_lfs: bool,
    /// Announced in the listing and in `X-Xet-Hash` if given.
    pub xet_hash: Option<String>,
    /// Name and length the listing claims in the place of the true ones.
    pub claimed: Option<(Etag, u64)>,
}

impl SourceFile {
    /// A small file that git itself stores.
    pub fn git(path: &str, content: impl Into<Bytes>) -> Self {
        Self {
            path: path.to_owned(),
            content: Content::Memory(content.into()),
            is_lfs: false,
            xet_hash: None,
            claimed: None,
        }
    }

    /// An LFS file.
    pub fn lfs(path: &str, content: Content) -> Self {
        Self {
            path: path.to_owned(),
            content,
            is_lfs: true,
            xet_hash: None,
            claimed: None,
        }
    }
}

/// A file at a commit.
#[derive(Clone, Debug)]
pub(super) struct ServedFile {
    pub(super) path: String,
    pub(super) content: Content,
    pub(super) etag: Etag,
    pub(super) size: u64,
    /// The git blob id; of the pointer for an LFS file.
    pub(super) oid: String,
    pub(super) is_lfs: bool,
    pub(super) xet_hash: Option<String>,
}

impl ServedFile {
    fn new(file: SourceFile) -> Self {
        let mut sha256 = Sha256::new();
        let mut git = git_hasher(file.content.len());
        file.content.for_each(|chunk| {
            if file.is_lfs {
                sha256.update(chunk);
            } else {
                git.update(chunk);
            }
        });
        let (mut etag, mut size) = if file.is_lfs {
            (Etag::Sha256(sha256.finalize().into()), file.content.len())
        } else {
            (Etag::GitSha1(git.finalize().into()), file.content.len())
        };
        if let Some((claimed, length)) = file.claimed {
            (etag, size) = (claimed, length);
        }
        let oid = if file.is_lfs {
            let pointer = lfs_pointer(&etag, size);
            let mut git = git_hasher(pointer.len() as u64);
            git.update(pointer.as_bytes());
            Etag::GitSha1(git.finalize().into()).to_string()
        } else {
            etag.to_string()
        };
        Self {
            path: file.path,
            content: file.content,
            etag,
            size,
            oid,
            is_lfs: file.is_lfs,
            xet_hash: file.xet_hash,
        }
    }
}

fn git_hasher(len: u64) -> Sha1 {
    let mut git = Sha1::new();
    git.update(format!("blob {len}\0"));
    git
}

/// The text that git stores in the place of an LFS file.
pub(super) fn lfs_pointer(etag: &Etag, size: u64) -> String {
    format!("version https://git-lfs.github.com/spec/v1\noid sha256:{etag}\nsize {size}\n")
}

/// Who may read a repo.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    #[default]
    Public,
    /// Everybody sees it, files only with this token.
    Gated {
        /// The token that opens it.
        token: String,
    },
    /// It exists only for this token.
    Private {
        /// The token that opens it.
        token: String,
    },
    /// Nobody: the Hub has disabled it.
    Disabled,
}

/// A repo: commits and the branches that name them.
#[derive(Clone, Debug, Default)]
pub struct Repo {
    pub(super) access: Access,
    pub(super) commits: BTreeMap<Commit, Vec<ServedFile>>,
    pub(super) branches: BTreeMap<String, Commit>,
}

impl Repo {
    /// Adds a commit; its hash follows from the content.
    pub fn commit(&mut self, files: Vec<SourceFile>) -> Commit {
        let mut served: Vec<ServedFile> = files.into_iter().map(ServedFile::new).collect();
        served.sort_by(|a, b| a.path.cmp(&b.path));
        let mut git = Sha1::new();
        for file in &served {
            git.update(format!("{}\0{}\0", file.path, file.etag));
        }
        let commit = Commit::from_bytes(git.finalize().into());
        self.commits.insert(commit, served);
        commit
    }

    /// Names a commit.
    pub fn branch(&mut self, name: &str, commit: Commit) -> &mut Self {
        self.branches.insert(name.to_owned(), commit);
        self
    }

    /// Says who may read it.
    pub fn access(&mut self, access: Access) -> &mut Self {
        self.access = access;
        self
    }

    /// The commit a revision names: a branch, or a hash.
    pub fn commit_of(&self, revision: &str) -> Option<Commit> {
        self.branches.get(revision).copied().or_else(|| {
            Commit::new(revision)
                .ok()
                .filter(|commit| self.commits.contains_key(commit))
        })
    }

    /// Every file of the commit a revision names: path, name, content.
    pub fn files(&self, revision: &str) -> Vec<(String, Etag, Content)> {
        self.commit_of(revision)
            .and_then(|commit| self.commits.get(&commit))
            .into_iter()
            .flatten()
            .map(|file| (file.path.clone(), file.etag, file.content.clone()))
            .collect()
    }
}

/// Everything a server serves.
#[derive(Clone, Debug)]
pub struct Catalogue {
    pub(super) repos: BTreeMap<RepoId, Repo>,
    pub(super) page_size: usize,
}

impl Default for Catalogue {
    fn default() -> Self {
        Self {
            repos: BTreeMap::new(),
            // As on the Hub (hub.md 1.3).
            page_size: 1_000,
        }
    }
}

impl Catalogue {
    /// An empty catalogue.
    pub fn new() -> Self {
        Self::default()
    }

    /// The repo of that name, made if it is not there.
    pub fn repo(&mut self, id: &RepoId) -> &mut Repo {
        self.repos.entry(id.clone()).or_default()
    }

    /// The repo of that name.
    pub fn get(&self, id: &RepoId) -> Option<&Repo> {
        self.repos.get(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_gits_own() {
        let file = ServedFile::new(SourceFile::git("empty", ""));
        assert_eq!(
            file.etag.to_string(),
            "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
        );
        let hello = ServedFile::new(SourceFile::git("hello", "hello\n"));
        assert_eq!(hello.oid, "ce013625030ba8dba906f756967f9e9ca394464a");
    }

    #[test]
    fn generated_bytes_are_the_same_from_any_offset() {
        let content = Content::Generated {
            seed: 7,
            len: 200_000,
        };
        let whole = content.bytes();
        assert_eq!(whole.len(), 200_000);
        for offset in [0, 1, 65_535, 65_536, 65_537, 199_999] {
            let chunk = content.chunk(offset, 200_000);
            let from = usize::try_from(offset).unwrap();
            assert_eq!(chunk, whole.slice(from..from + chunk.len()), "{offset}");
        }
        assert!(content.chunk(200_000, 300_000).is_empty());
    }

    #[test]
    fn commits_follow_from_content() {
        let mut repo = Repo::default();
        let one = repo.commit(vec![SourceFile::git("a", "1")]);
        let same = repo.commit(vec![SourceFile::git("a", "1")]);
        let other = repo.commit(vec![SourceFile::git("a", "2")]);
        assert_eq!(one, same);
        assert_ne!(one, other);
        repo.branch("main", other);
        assert_eq!(repo.commit_of("main"), Some(other));
        assert_eq!(repo.commit_of(&one.to_string()), Some(one));
        assert_eq!(repo.commit_of("nowhere"), None);
    }
}
