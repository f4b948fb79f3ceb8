//! Owns what the targets share: several files out of one input, and a throw-away cache.
//!
//! Never judges.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use larder::cache::{Eyes, Layout, Programs};
use larder::domain::{Commit, Etag, RepoId, RepoKind};

/// Stands before the name of each file in an input, at the start of a line.
const MARK: &[u8] = b"=== ";

/// The files in an input: a line `=== NAME`, and what comes before the next such line.
pub fn files(input: &[u8]) -> Vec<(String, &[u8])> {
    let mut files = Vec::new();
    let mut rest = input.strip_prefix(MARK).unwrap_or_default();
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == b'\n');
        let (name, body) = end.map_or((rest, &[][..]), |at| (&rest[..at], &rest[at + 1..]));
        let next = body
            .windows(MARK.len() + 1)
            .position(|window| window == b"\n=== ");
        let (body, after) = next.map_or((body, &[][..]), |at| {
            (&body[..at], &body[at + 1 + MARK.len()..])
        });
        files.push((String::from_utf8_lossy(name).into_owned(), body));
        rest = after;
    }
    files
}

/// Whether a text can be shown on a terminal.
pub fn is_harmless(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

/// A cache with one repo, in memory where the machine has a place for it.
pub struct Cache {
    dir: tempfile::TempDir,
    pub layout: Layout,
    pub repo: RepoId,
    pub commit: Commit,
    pub etag: Etag,
}

impl Cache {
    pub fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() {
            tempfile::tempdir_in(memory)
        } else {
            tempfile::tempdir()
        };
        let dir = dir.expect("a throw-away folder");
        let layout = Layout::new(dir.path().join("hub"));
        Self {
            layout,
            repo: RepoId::new(RepoKind::Model, "someone/fuzzed").expect("a name"),
            commit: Commit::new(&"c".repeat(40)).expect("a commit"),
            etag: Etag::new(&"e".repeat(64)).expect("an etag"),
            dir,
        }
    }

    /// Removes what the last input left.
    pub fn clear(&self) {
        drop(fs::remove_dir_all(self.layout.root()));
        fs::create_dir_all(self.layout.blobs(&self.repo)).expect("a folder");
    }

    /// Puts a file where it is wanted, if its name leads there and nowhere else.
    pub fn put(&self, path: &Path, bytes: &[u8]) -> bool {
        let is_inside = path.starts_with(self.dir.path())
            && path
                .components()
                .all(|part| part != std::path::Component::ParentDir);
        let Some(parent) = path.parent().filter(|_| is_inside) else {
            return false;
        };
        fs::create_dir_all(parent).is_ok() && fs::write(path, bytes).is_ok()
    }

    /// A file in the folder of the blobs.
    pub fn put_blob(&self, name: &str, bytes: &[u8]) -> bool {
        let is_name =
            !name.is_empty() && !name.contains(['/', '\0']) && name != "." && name != "..";
        is_name && self.put(&self.layout.blobs(&self.repo).join(name), bytes)
    }

    /// Everything in the cache with its length, in order.
    pub fn contents(&self) -> Vec<(PathBuf, u64)> {
        let mut found = Vec::new();
        let mut open = vec![self.layout.root().to_owned()];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                let path = entry.path();
                let metadata = entry.metadata().expect("what was just listed");
                if metadata.is_dir() {
                    open.push(path.clone());
                }
                found.push((path, metadata.len()));
            }
        }
        found.sort();
        found
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self::new()
    }
}

/// Eyes that see no other program.
pub fn eyes(programs: &Programs) -> Eyes<'_> {
    Eyes {
        now: SystemTime::now(),
        table: larder::host::LockTable::read(),
        programs,
        ours: &|_, _| None,
    }
}
