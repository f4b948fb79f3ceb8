//! Owns why something on disk failed, and the one mapping from the system's error kinds.
//!
//! Never decides what a user should do: the engine maps these to `domain::Failure`.

use std::io;
use std::path::{Path, PathBuf};

use crate::domain::{Etag, RepoId, RepoPath};
use crate::host;

/// The result of everything in this room.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something on disk failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused for a reason that has no variant of its own.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// No space left, or a quota is used up.
    #[error("no space left for `{}`", path.display())]
    DiskFull {
        /// The file that could not grow.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// Not allowed, and who owns what stood in the way.
    #[error("not allowed to {action} `{}`", path.display())]
    Permission {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The nearest thing that exists there: its path, owner and mode.
        owner: Option<String>,
        /// The system's words.
        source: io::Error,
    },
    /// The file system is mounted read-only.
    #[error("`{}` is on a read-only file system", path.display())]
    ReadOnly {
        /// The path that could not be written.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// The volume the cache lives on is not there; nothing was created in its place.
    #[error("the volume `{}` is not there", mount.display())]
    AbsentMount {
        /// The missing mount point.
        mount: PathBuf,
        /// The path asked for.
        path: PathBuf,
    },
    /// The bytes do not hash to the name they were to get.
    #[error("the bytes in `{}` are not those of `{expected}`", path.display())]
    HashMismatch {
        /// The file that holds the bytes.
        path: PathBuf,
        /// The name they failed to prove.
        expected: Etag,
    },
    /// More bytes came than the file has.
    #[error("more than the {size_bytes} bytes of `{}` arrived", path.display())]
    SizeExceeded {
        /// The partial.
        path: PathBuf,
        /// The length the file should have.
        size_bytes: u64,
    },
    /// The caller asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// A ref cannot be written because a ref of another name needs a folder, or a file, there.
    #[error("the ref `{}` is in the way of `{}`", existing.display(), reference.display())]
    RefConflict {
        /// The ref to be written.
        reference: PathBuf,
        /// What stands in its way.
        existing: PathBuf,
    },
    /// Two names cannot be two things on this file system.
    #[error("`{}` and `{}` cannot both exist here", path.display(), other.display())]
    Collision {
        /// The name to be created.
        path: PathBuf,
        /// The name, or thing, that excludes it.
        other: PathBuf,
    },
    /// A folder that is not empty stands where a file belongs.
    #[error("a folder stands at `{}`, where a file belongs", path.display())]
    BlockedByFolder {
        /// The folder.
        path: PathBuf,
    },
    /// Something that is no folder stands where one belongs.
    #[error("`{}` stands in the place of a folder", other.display())]
    NotAFolder {
        /// The path to be created.
        path: PathBuf,
        /// What stands there.
        other: PathBuf,
    },
    /// A folder on the way is a symbolic link; it is not followed.
    #[error("`{}` is a link in the place of a folder", link.display())]
    SymlinkedParent {
        /// The path to be created.
        path: PathBuf,
        /// The link.
        link: PathBuf,
    },
    /// A person's file stands where one is to be put into a local dir.
    #[error("`{path}` in `{}` is not what the Hub has", folder.display())]
    NotOurs {
        /// The local dir.
        folder: PathBuf,
        /// The file in it.
        path: RepoPath,
    },
    /// A file of another repo stands where one is to be put into a local dir.
    #[error("`{path}` in `{}` is a file of `{repo}`", folder.display())]
    OfAnother {
        /// The local dir.
        folder: PathBuf,
        /// The file in it.
        path: RepoPath,
        /// The repo that it was fetched from.
        repo: RepoId,
    },
    /// A link stands where a file is to be put into a local dir.
    #[error("`{path}` in `{}` is a link", folder.display())]
    LinkInPlace {
        /// The local dir.
        folder: PathBuf,
        /// The link in it.
        path: RepoPath,
    },
    /// Other programs replaced or deleted the file again and again.
    #[error("`{}` was replaced by another program while it was in use", path.display())]
    Unsteady {
        /// The file.
        path: PathBuf,
    },
}

impl Error {
    /// Whether it is about what stands in the place of a file of a local dir, or on the way to it: no
    /// other source of the bytes would help.
    pub const fn is_about_place(&self) -> bool {
        matches!(
            self,
            Self::NotOurs { .. }
                | Self::OfAnother { .. }
                | Self::LinkInPlace { .. }
                | Self::SymlinkedParent { .. }
                | Self::BlockedByFolder { .. }
                | Self::NotAFolder { .. }
        )
    }

    /// Maps the system's error for `action` on `path`.
    pub fn from_io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { path, source }
            }
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { path, source },
            io::ErrorKind::PermissionDenied => Self::Permission {
                owner: culprit(&path),
                action,
                path,
                source,
            },
            _ => Self::Io {
                action,
                path,
                source,
            },
        }
    }

    /// For `map_err`: what was tried, and on what.
    pub(super) fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::from_io(action, path, source)
    }
}

/// What forbade it: the path itself if it exists and is a file, else the folder above.
fn culprit(path: &Path) -> Option<String> {
    let nearest = host::nearest_existing(path)
        .or_else(|_| host::nearest_existing(path.parent().unwrap_or(path)))
        .ok()?;
    Some(format!(
        "`{}` is {}",
        nearest.display(),
        host::describe_owner(&nearest)?
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_apart_in_one_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("missing/file");
        let map = |raw| Error::from_io("write", &path, io::Error::from_raw_os_error(raw));
        assert!(matches!(map(libc::ENOSPC), Error::DiskFull { .. }));
        assert!(matches!(map(libc::EDQUOT), Error::DiskFull { .. }));
        assert!(matches!(map(libc::EROFS), Error::ReadOnly { .. }));
        assert!(matches!(map(libc::EIO), Error::Io { .. }));
        let Error::Permission { owner, .. } = map(libc::EACCES) else {
            panic!("EACCES is about permission");
        };
        let owner = owner.unwrap();
        assert!(
            owner.contains(dir.path().to_str().unwrap()) && owner.contains("owned by"),
            "{owner}"
        );
    }
}
