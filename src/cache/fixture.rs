//! Owns what the tests of this room share: throw-away caches and short names.
//!
//! Never part of the program.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use sha1::{Digest as _, Sha1};
use sha2::Sha256;
use tempfile::TempDir;

use super::{BlobLock, Layout, LockAttempt, try_lock};
use crate::domain::{Commit, Etag, RemoteFile, RepoId, RepoKind, RepoPath};
use crate::host::forks::{NoForks, no_forks};

/// A throw-away folder in which locks may be taken: no child inherits them.
pub(crate) struct Folder {
    _dir: TempDir,
    _no_forks: NoForks,
}

pub(crate) fn cache() -> (Folder, Layout) {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path().canonicalize().unwrap().join("hub"));
    let folder = Folder {
        _dir: dir,
        _no_forks: no_forks(),
    };
    (folder, layout)
}

pub(crate) fn repo(name: &str) -> RepoId {
    RepoId::new(RepoKind::Model, name).unwrap()
}

pub(crate) fn path(path: &str) -> RepoPath {
    RepoPath::new(path).unwrap()
}

pub(crate) fn commit(digit: char) -> Commit {
    Commit::new(&digit.to_string().repeat(40)).unwrap()
}

pub(crate) fn etag(content: &[u8]) -> Etag {
    Etag::new(&hex::encode(Sha256::digest(content))).unwrap()
}

pub(crate) fn git_oid(content: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(format!("blob {}\0", content.len()));
    hash.update(content);
    hex::encode(hash.finalize())
}

pub(crate) fn remote(name: &str, content: &[u8]) -> RemoteFile {
    RemoteFile {
        path: path(name),
        size_bytes: content.len() as u64,
        etag: etag(content),
        git_oid: git_oid(content),
        xet_hash: None,
    }
}

/// Content that differs at every length and place.
pub(crate) fn content(length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| ((at * 31 + at / 251) % 251).to_le_bytes()[0])
        .collect()
}

pub(crate) fn held(layout: &Layout, repo: &RepoId, etag: &Etag) -> BlobLock {
    match try_lock(layout, repo, etag, now()).unwrap() {
        LockAttempt::Held(lock) => lock,
        LockAttempt::Busy(busy) => panic!("busy: {busy:?}"),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests have no engine to stamp them"
)]
pub(crate) fn now() -> std::time::SystemTime {
    std::time::SystemTime::now()
}

pub(crate) fn on(_bytes: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

pub(crate) fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Runs `work` with another umask; the umask is the process's, so one at a time.
pub(crate) fn with_umask(mask: u32, work: impl FnOnce()) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    struct Restore(rustix::fs::Mode);
    impl Drop for Restore {
        fn drop(&mut self) {
            rustix::process::umask(self.0);
        }
    }
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mode = rustix::fs::Mode::from_bits_truncate(mask);
    let _restore = Restore(rustix::process::umask(mode));
    work();
}
