//! Owns importing files that are on this machine already: what is asked, what each file was
//! recognised as, and what came of it.
//!
//! Never looks at a file: the engine does, and says what it saw.

use std::path::PathBuf;

use serde::Serialize;

use super::event::RefMove;
use super::file::RepoPath;
use super::repo::{Commit, RepoId, Revision};

/// What to import and as what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportRequest {
    /// Files and folders, as typed.
    pub paths: Vec<PathBuf>,
    /// The repo they are of; `None` if that is to be found out.
    pub repo: Option<RepoId>,
    /// The revision as typed.
    pub revision: Revision,
    /// The commit they are of, where the revision may have moved on since they were fetched.
    pub commit: Option<Commit>,
    /// Say what each file is; nothing is written.
    pub dry_run: bool,
}

/// What a file that was offered is to the repo.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum OfferKind {
    /// The content of these files.
    Wanted {
        /// Every file of the repo that has this content.
        files: Vec<RepoPath>,
        /// Whether it was hashed; else its length is that of no other content of the repo, and the
        /// copy is proven when it is made.
        is_hashed: bool,
    },
    /// The content of these files, and the cache has it already.
    Here {
        /// Every file of the repo that has this content.
        files: Vec<RepoPath>,
    },
    /// It bears the name of a file and is shorter.
    Truncated {
        /// The file.
        file: RepoPath,
        /// The length it should have, in bytes.
        expected_bytes: u64,
    },
    /// It bears the name of a file and is longer.
    TooLong {
        /// The file.
        file: RepoPath,
        /// The length it should have, in bytes.
        expected_bytes: u64,
    },
    /// It is as long as a file, or bears its name, and holds something else.
    WrongHash {
        /// The file.
        file: RepoPath,
    },
    /// A web page, or an error of a storage service, in the place of a file.
    ErrorPage {
        /// The file.
        file: RepoPath,
    },
    /// The text of an LFS pointer in the place of a file.
    LfsPointer {
        /// The file.
        file: RepoPath,
    },
    /// It changed while it was read, so that what was read is nothing.
    Changed {
        /// The file it might have been.
        file: RepoPath,
    },
    /// It is no file of the repo.
    Foreign,
    /// A link that leads out of the folder; such a link is not followed.
    Outside,
    /// It cannot be read.
    Unreadable {
        /// The system's words.
        why: String,
    },
}

impl OfferKind {
    /// Whether it is, by what is known so far, a content of the repo.
    pub const fn is_of_repo(&self) -> bool {
        matches!(self, Self::Wanted { .. } | Self::Here { .. })
    }

    /// Whether it looks like a file of the repo and is not what the repo holds.
    pub const fn is_wrong(&self) -> bool {
        matches!(
            self,
            Self::Truncated { .. }
                | Self::TooLong { .. }
                | Self::WrongHash { .. }
                | Self::ErrorPage { .. }
                | Self::LfsPointer { .. }
                | Self::Changed { .. }
        )
    }
}

impl OfferKind {
    /// What it is, after the file's name; `size` writes a number of bytes for people.
    pub fn words(&self, size: &dyn Fn(u64) -> String) -> String {
        let all = |files: &[RepoPath]| match files {
            [] => "nothing".to_owned(),
            [one] => format!("`{one}`"),
            [first, more @ ..] => format!("`{first}` and {} more", more.len()),
        };
        match self {
            Self::Wanted { files, is_hashed } => {
                let how = if *is_hashed {
                    ""
                } else {
                    " by its length, to be proven"
                };
                format!("is {}{how}", all(files))
            }
            Self::Here { files } => format!("is {}, which the cache has already", all(files)),
            Self::Truncated {
                file,
                expected_bytes,
            } => format!(
                "is shorter than `{file}`, which has {}: its download broke off",
                size(*expected_bytes)
            ),
            Self::TooLong {
                file,
                expected_bytes,
            } => format!(
                "is longer than `{file}`, which has {}",
                size(*expected_bytes)
            ),
            Self::WrongHash { file } => format!(
                "is not `{file}`: its hash is another, so it is damaged or of another revision"
            ),
            Self::ErrorPage { file } => {
                format!("is not `{file}` but a web page or an error message, saved under its name")
            }
            Self::LfsPointer { file } => format!(
                "is not `{file}` but the LFS pointer to it, as a clone without git-lfs has it"
            ),
            Self::Changed { file } => {
                format!("changed while it was read as `{file}`: wait until nobody writes it")
            }
            Self::Foreign => "is no file of this repo".to_owned(),
            Self::Outside => "is a link out of its folder, and was not followed".to_owned(),
            Self::Unreadable { why } => format!("cannot be read: {why}"),
        }
    }
}

/// A file that was offered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Offer {
    /// Where it is, as it was named or found; sanitised.
    pub path: String,
    /// Its length; `None` where it cannot be asked.
    pub size_bytes: Option<u64>,
    /// What it is.
    #[serde(flatten)]
    pub kind: OfferKind,
}

/// What the files that were offered are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Recognition {
    /// The repo they were compared with.
    pub repo: RepoId,
    /// The revision as typed.
    pub revision: Revision,
    /// The commit it is.
    pub commit: Commit,
    /// Whether the listing was known on this machine, and the Hub was not asked.
    pub is_offline: bool,
    /// Each file; of those that are none of the repo only the first hundred.
    pub offers: Vec<Offer>,
    /// Files that are none of the repo and not named above.
    pub more_foreign: usize,
    /// Files of the selection that nobody offers and that are not here.
    pub missing: Vec<MissingFile>,
}

/// A file that the model needs and that is not here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MissingFile {
    /// Path inside the repo.
    pub path: RepoPath,
    /// Its length in bytes.
    pub size_bytes: u64,
}

/// What an import came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImportResult {
    /// The folder of pointers, absolute.
    pub snapshot: String,
    /// The commit.
    pub commit: Commit,
    /// What became of the ref.
    pub reference: RefMove,
    /// Files of the repo that were brought in by this import.
    pub imported_files: usize,
    /// Their bytes, each content once.
    pub imported_bytes: u64,
    /// Files that were in the cache already.
    pub here_files: usize,
    /// Files that were offered and, when they were read, were not what they seemed.
    pub refused: Vec<Offer>,
    /// Files of the model that are still missing; empty when it is complete.
    pub missing: Vec<MissingFile>,
}

impl ImportResult {
    /// Whether the model is complete now.
    pub const fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }
}
