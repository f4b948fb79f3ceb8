//! Owns the names of files and of content, and refuses the ones that could leave their folder.
//!
//! Never builds an on-disk path: that is `cache/layout.rs`.

use std::fmt;

use serde::Serialize;

use super::hex;
use super::repo::{Commit, RepoId};
use super::text::sanitize_line;

/// A name that cannot be used, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameError {
    what: &'static str,
    name: String,
    reason: String,
}

impl NameError {
    pub(super) fn new(what: &'static str, name: &str, reason: &str) -> Self {
        Self {
            what,
            name: sanitize_line(name, 120),
            reason: reason.to_owned(),
        }
    }

    /// Why the name was refused, without the name.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not a {}: {}", self.name, self.what, self.reason)
    }
}

impl std::error::Error for NameError {}

/// The longest name of one path segment on APFS, ext4 and SMB, in bytes.
const MAX_SEGMENT_BYTES: usize = 255;

/// A file's path inside its repo: relative, `/`-separated, safe to join below a snapshot.
///
/// The server's bytes are kept as they are (no Unicode normalisation).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct RepoPath(String);

impl RepoPath {
    /// Checks `path` by POSIX and Windows rules at once, since caches travel between systems.
    ///
    /// # Errors
    /// Says which rule the path breaks.
    pub fn new(path: &str) -> Result<Self, NameError> {
        let reject = |why: &str| Err(NameError::new("safe file path", path, why));
        if path.is_empty() {
            return reject("it is empty");
        }
        if path.chars().any(char::is_control) {
            return reject("it holds a control character");
        }
        if path.contains('\\') {
            return reject("it holds a backslash");
        }
        let bytes = path.as_bytes();
        if bytes.len() >= 2 && bytes[0].is_ascii_alphabetic() && bytes[1] == b':' {
            return reject("it starts with a drive letter");
        }
        for segment in path.split('/') {
            if segment.is_empty() {
                return reject("it is absolute or holds an empty segment");
            }
            if segment == "." || segment == ".." {
                return reject("it holds a `.` or `..` segment");
            }
            if segment.len() > MAX_SEGMENT_BYTES {
                return reject("a segment is longer than the 255 bytes file systems allow");
            }
        }
        Ok(Self(path.to_owned()))
    }

    /// The path as the server wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The segments, outermost folder first.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// How many folders lie above the file inside the repo.
    pub fn depth(&self) -> usize {
        self.0.matches('/').count()
    }

    /// The last segment.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}

impl fmt::Display for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The content name of a file at the Hub, and so the name of its blob on disk.
///
/// Its length tells how content proves itself (`huggingface_hub` `utils/_verification.py`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Etag {
    /// SHA-256 of the content: LFS and Xet files.
    Sha256([u8; 32]),
    /// Git blob id: SHA-1 of `blob <length>\0` and the content: small files.
    GitSha1([u8; 20]),
}

impl Etag {
    /// Reads 64 or 40 hex characters, with or without the quotes and `W/` of an HTTP `ETag`.
    ///
    /// # Errors
    /// When the text is neither; nothing else may become a file name.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let bare = text.trim().trim_start_matches("W/").trim_matches('"');
        if let Some(bytes) = hex::decode(bare) {
            return Ok(Self::Sha256(bytes));
        }
        hex::decode(bare).map(Self::GitSha1).ok_or_else(|| {
            NameError::new(
                "content name",
                text,
                "it is neither 64 nor 40 hex characters",
            )
        })
    }

    /// The name of the hash, for people and JSON.
    pub const fn algorithm(&self) -> &'static str {
        match self {
            Self::Sha256(_) => "sha256",
            Self::GitSha1(_) => "git-sha1",
        }
    }

    /// The first eight characters, for people.
    pub fn short(&self) -> String {
        self.to_string().chars().take(8).collect()
    }
}

impl fmt::Display for Etag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(bytes) => hex::write(f, bytes),
            Self::GitSha1(bytes) => hex::write(f, bytes),
        }
    }
}

impl fmt::Debug for Etag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Etag {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A file as the Hub's tree listing describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RemoteFile {
    /// Path inside the repo.
    pub path: RepoPath,
    /// Length of the content in bytes.
    pub size_bytes: u64,
    /// The blob's name: the LFS sha256 if there is one, else the git blob id.
    pub etag: Etag,
    /// The git blob id; for an LFS file that of its pointer. Recorded in `trees/` listings.
    pub git_oid: String,
    /// Second content address the Hub may announce: 64 hex characters. `None` if absent or redacted.
    pub xet_hash: Option<String>,
}

impl RemoteFile {
    /// Whether the Hub stores the file as LFS.
    pub const fn is_lfs(&self) -> bool {
        matches!(self.etag, Etag::Sha256(_))
    }
}

/// The content a task wants, named so that any source can answer: the Hub, a mirror, a LAN peer
/// or a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// The repo.
    pub repo: RepoId,
    /// The commit the listing was made at; sources are asked for it and never for a branch.
    pub commit: Commit,
    /// A path of the content inside the repo.
    pub path: RepoPath,
    /// The content's name, which proves it.
    pub etag: Etag,
    /// Its length in bytes.
    pub size_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_could_escape_are_refused() {
        let long = "x".repeat(256);
        for path in [
            "",
            "/etc/passwd",
            "../x",
            "a/../../x",
            "a/./b",
            "a//b",
            "a/",
            "C:/x",
            "c:x",
            "\\\\host\\share",
            "a\\b",
            "a\0b",
            "a\u{1b}[2Jb",
            "a\nb",
            &long,
        ] {
            assert!(RepoPath::new(path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn ordinary_and_unicode_paths_are_kept_to_the_byte() {
        for path in [
            "config.json",
            "sub dir/ünï#1.json",
            "a/b/c",
            "模型/🦙.bin",
            ".gitattributes",
            "..a",
        ] {
            assert_eq!(RepoPath::new(path).unwrap().as_str(), path);
        }
        assert_eq!(RepoPath::new("a/b/c").unwrap().depth(), 2);
        assert_eq!(RepoPath::new("a/b/c").unwrap().file_name(), "c");
    }

    #[test]
    fn etags_are_hex_of_two_lengths_only() {
        let sha256 = "ab".repeat(32);
        assert!(matches!(Etag::new(&sha256).unwrap(), Etag::Sha256(_)));
        let quoted = format!("W/\"{}\"", "AB".repeat(20));
        assert_eq!(Etag::new(&quoted).unwrap().to_string(), "ab".repeat(20));
        for bad in ["", "..", "../../x", "abc", &"g".repeat(40)] {
            assert!(Etag::new(bad).is_err(), "{bad:?}");
        }
    }
}
