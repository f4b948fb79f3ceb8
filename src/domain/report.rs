//! Owns what a look at the cache reports: models, files, settings.
//!
//! Never says how it is printed.

use serde::Serialize;

use super::repo::{Commit, RepoId};

/// State of a model: one repo at one commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModelState {
    /// Every file it should have is there.
    Complete,
    /// Files are missing.
    Partial,
    /// A reader gets wrong or missing bytes.
    Broken,
    /// Nothing of it is there.
    Absent,
}

/// What a verdict of completeness rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// The Hub's listing of that commit, kept on disk.
    Listing,
    /// The model's own files: config, index, shards, tokenizer.
    OwnFiles,
}

/// Whose way of keeping models a place is (hub.md sections 2 to 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CacheKind {
    /// The Hub cache: `models--ORG--NAME/{blobs,refs,snapshots}`.
    Hub,
    /// A folder that Python downloaded into with `local_dir`.
    LocalDir,
    /// swift-transformers' `HubApi`: `models/ORG/NAME` with its notes of what each file should be.
    HubApi,
    /// LM Studio: `PUBLISHER/MODEL`, plain files.
    LmStudio,
    /// `MLXCache` of the app this project comes from: plain folders.
    MlxCache,
    /// swama: plain folders.
    Swama,
    /// A folder that the user named: plain folders with models.
    Folder,
}

impl CacheKind {
    /// The name as it stands in JSON and on screens.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hub => "hub",
            Self::LocalDir => "local-dir",
            Self::HubApi => "hub-api",
            Self::LmStudio => "lm-studio",
            Self::MlxCache => "mlx-cache",
            Self::Swama => "swama",
            Self::Folder => "folder",
        }
    }
}

impl CacheKind {
    /// Whose way it is, in a few words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Hub => "a Hub cache",
            Self::LocalDir => "Python, as a local folder",
            Self::HubApi => "swift-transformers",
            Self::LmStudio => "LM Studio",
            Self::MlxCache => "Web's MLXCache",
            Self::Swama => "swama",
            Self::Folder => "nobody known: plain files",
        }
    }
}

/// A place where models are, or would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CacheRow {
    /// Whose way.
    pub kind: CacheKind,
    /// The folder, absolute; sanitised.
    pub path: String,
    /// Why it is looked at: a flag, a variable, a file with its line, an app's container, `default`.
    pub origin: String,
    /// Whether it is there.
    pub is_present: bool,
    /// Why it cannot be read, if so; sanitised.
    pub trouble: Option<String>,
    /// Models found.
    pub models: usize,
    /// Bytes of their files, each inode once.
    pub size_bytes: u64,
}

/// A model in the cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModelRow {
    /// The repo.
    pub repo: RepoId,
    /// Whose way of keeping it.
    pub cache: CacheKind,
    /// The snapshot folder's name: a commit, or what a broken tool wrote there.
    pub revision: String,
    /// The commit, if the folder's name is one.
    pub commit: Option<Commit>,
    /// Refs that name the commit.
    pub refs: Vec<String>,
    /// The snapshot folder, absolute.
    pub snapshot: String,
    /// Bytes on disk that its pointers lead to, each blob once.
    pub size_bytes: u64,
    /// Pointers that lead to content.
    pub files_present: usize,
    /// Files it should have; `None` when no listing says so.
    pub files_expected: Option<usize>,
    /// The verdict.
    pub state: ModelState,
    /// What the verdict rests on.
    pub basis: Basis,
    /// Whether no ref names the commit: healthy, but other tools' prune would take it.
    pub is_unreferenced: bool,
    /// When the last of its files was hashed and found right, milliseconds since the Unix epoch;
    /// `None` unless all of them were, and none has changed since.
    pub verified_ms: Option<u64>,
    /// When bytes of it were last hashed and found wrong, milliseconds since the Unix epoch; `None`
    /// if none are known to be.
    pub wrong_ms: Option<u64>,
    /// What is wrong or missing, a sentence each.
    pub problems: Vec<String>,
    /// Last change of any blob, milliseconds since the Unix epoch.
    pub modified_ms: Option<u64>,
    /// Last access of any blob as the file system recorded it, milliseconds since the Unix epoch.
    pub accessed_ms: Option<u64>,
}

/// State of a file in a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileState {
    /// Its content was hashed, is right, and has not changed since.
    Verified,
    /// It is there and the size is right; content not hashed since it last changed.
    Unverified,
    /// Its content was hashed and is not what it should be.
    WrongHash,
    /// The blob is shorter than the listing says.
    Truncated,
    /// The blob has another length than the listing says.
    WrongSize,
    /// The pointer leads nowhere.
    Missing,
    /// A regular file in the place of a pointer.
    Regular,
    /// In the listing, not in the snapshot.
    Absent,
}

/// A file of a model in the cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileRow {
    /// Path inside the repo, sanitised.
    pub path: String,
    /// Bytes on disk; `None` if there are none. Of an absent file: its blob is here, and nothing leads
    /// to it.
    pub size_bytes: Option<u64>,
    /// Bytes it should have; `None` when no listing says so.
    pub expected_bytes: Option<u64>,
    /// The blob the pointer names.
    pub etag: Option<String>,
    /// The verdict.
    pub state: FileState,
    /// When its content was hashed, milliseconds since the Unix epoch; `None` if it was not, or has
    /// changed since.
    pub verified_ms: Option<u64>,
    /// The links its pointer goes through, as they stand: to the blob, and from there into the shared
    /// store where the content is there. Only told of the files of one repo; sanitised.
    pub links: Vec<String>,
}

/// A setting, its value and where that came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// The name as in the config file.
    pub name: &'static str,
    /// The value in force; secrets are shown as `***`.
    pub value: String,
    /// A flag, a variable, a file with its line, or `default`.
    pub origin: String,
}
