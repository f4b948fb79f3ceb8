//! What a tree is, to the byte and to the time: before and after somebody has looked at it.

use std::collections::BTreeMap;
use std::fs::{self, Metadata, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

/// The last change of everything: 15 January 2026, noon.
pub(super) const MODIFIED_S: i64 = 1_768_478_400;
/// The last use: some days before, so that whoever reads it leaves a trace.
const ACCESSED_S: i64 = MODIFIED_S - 5 * 86_400;

/// A tree as it was.
#[derive(Debug)]
pub(crate) struct Trace {
    root: PathBuf,
    without: Vec<PathBuf>,
    entries: BTreeMap<PathBuf, Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    content: Content,
    mode: u32,
    owner: (u32, u32),
    inode: u64,
    names: u64,
    modified: (i64, i64),
    /// Of plain files: a link's is changed by whoever follows it, a folder's by whoever lists it.
    accessed: Option<(i64, i64)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    Folder,
    Link(PathBuf),
    File(Vec<u8>),
}

impl Trace {
    /// Sets the times of everything below `root` but `fresh`, and notes it all.
    pub(super) fn settled(root: &Path, without: &[PathBuf], fresh: &[PathBuf]) -> Self {
        let contents = contents(root, without);
        let time = |seconds| Timespec {
            tv_sec: seconds,
            tv_nsec: 123_456_789,
        };
        for path in contents.keys() {
            let modified = fs::symlink_metadata(path).unwrap();
            let modified = if fresh.contains(path) {
                Timespec {
                    tv_sec: modified.mtime(),
                    tv_nsec: modified.mtime_nsec(),
                }
            } else {
                time(MODIFIED_S)
            };
            let times = Timestamps {
                last_access: time(ACCESSED_S),
                last_modification: modified,
            };
            utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        }
        let entries = contents.into_iter().map(|(path, content)| {
            let entry = Entry::of(&fs::symlink_metadata(&path).unwrap(), content);
            (path, entry)
        });
        Self {
            root: root.to_owned(),
            without: without.to_vec(),
            entries: entries.collect(),
        }
    }

    /// What is not as it was, in words.
    pub(crate) fn changes(&self) -> Vec<String> {
        // The times first: reading the contents could change them.
        let now: BTreeMap<&PathBuf, Metadata> = self
            .entries
            .keys()
            .filter_map(|path| Some((path, fs::symlink_metadata(path).ok()?)))
            .collect();
        let mut contents = contents(&self.root, &self.without);
        let mut changes = Vec::new();
        for (path, before) in &self.entries {
            let (Some(metadata), Some(content)) = (now.get(path), contents.remove(path)) else {
                changes.push(format!("{} is gone", path.display()));
                continue;
            };
            let after = Entry::of(metadata, content);
            let what = before.differences(&after);
            if !what.is_empty() {
                changes.push(format!("{}: changed {}", path.display(), what.join(", ")));
            }
        }
        changes.extend(
            contents
                .keys()
                .map(|path| format!("{} is new", path.display())),
        );
        changes
    }

    /// A plain file of the tree.
    pub(crate) fn any_file(&self) -> &Path {
        let is_full =
            |entry: &Entry| matches!(&entry.content, Content::File(bytes) if !bytes.is_empty());
        let found = self.entries.iter().find(|(_, entry)| is_full(entry));
        found.unwrap().0
    }
}

impl Entry {
    fn differences(&self, now: &Self) -> Vec<&'static str> {
        let compared = [
            ("content", self.content == now.content),
            ("mode", self.mode == now.mode),
            ("owner", self.owner == now.owner),
            ("inode", self.inode == now.inode),
            ("number of names", self.names == now.names),
            ("last change", self.modified == now.modified),
            ("last use", self.accessed == now.accessed),
        ];
        let differing = compared.into_iter().filter(|(_, is_same)| !is_same);
        differing.map(|(what, _)| what).collect()
    }

    fn of(metadata: &Metadata, content: Content) -> Self {
        Self {
            mode: metadata.mode(),
            owner: (metadata.uid(), metadata.gid()),
            inode: metadata.ino(),
            names: metadata.nlink(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            accessed: metadata
                .is_file()
                .then(|| (metadata.atime(), metadata.atime_nsec())),
            content,
        }
    }
}

/// Everything below a folder, read without a trace.
fn contents(root: &Path, without: &[PathBuf]) -> BTreeMap<PathBuf, Content> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(folder) = open.pop() {
        // Whoever may not list it cannot have changed what is in it either.
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            let kind = fs::symlink_metadata(&path).unwrap().file_type();
            if without.contains(&path) {
                continue;
            }
            let content = if kind.is_dir() {
                open.push(path.clone());
                Content::Folder
            } else if kind.is_symlink() {
                Content::Link(fs::read_link(&path).unwrap())
            } else {
                Content::File(read_quietly(&path))
            };
            found.insert(path, content);
        }
    }
    found
}

fn read_quietly(path: &Path) -> Vec<u8> {
    #[cfg(target_os = "linux")]
    const QUIET: i32 = libc::O_NOATIME;
    #[cfg(not(target_os = "linux"))]
    const QUIET: i32 = 0;
    let mut bytes = Vec::new();
    // Whoever may not read it cannot have changed it either.
    if let Ok(mut file) = OpenOptions::new().read(true).custom_flags(QUIET).open(path) {
        file.read_to_end(&mut bytes).unwrap();
    }
    bytes
}
