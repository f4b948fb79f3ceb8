//! Owns the verdict on one snapshot: complete, partial, broken or absent, and on what basis.
//!
//! Pure: what was found comes in, the verdict goes out. Structure only, nothing is hashed.

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::path::Path;

use crate::domain::{
    Basis, Commit, Etag, Examination, ModelState, RemoteFile, RepoId, RepoKind, RepoPath,
};

/// What is known of a file because it was hashed, and has not changed since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hashed {
    /// What its content is, if it is not what it should be.
    pub computed: Option<Etag>,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
}

/// What the content of a file is, and when it was hashed, in milliseconds since the Unix epoch.
pub type ContentOf<'a> = dyn Fn(&Path, &Metadata) -> Option<(Etag, u64)> + Sync + 'a;

/// Whether two files came to share their bytes when that was tried; `None` if it was not.
pub type PairOf<'a> = dyn Fn(&Path, &Path) -> Option<bool> + Sync + 'a;

/// The other rooms' judgement that a scan asks for; the cache does not know what a model needs.
#[derive(Clone, Copy)]
pub struct Judge<'a> {
    /// Looks at the model in a folder, `mlx::examine`, without reading these files of it: they lie
    /// outside of the cache, or not on this disk.
    pub examine: &'a (dyn Fn(&Path, &BTreeSet<String>) -> Examination + Sync),
    /// The files of a listing that loaders read: `mlx::default_selection`.
    pub select: &'a (dyn Fn(&[RemoteFile]) -> Vec<RepoPath> + Sync),
    /// What is known of the file at a path without links, that looks like this and should have this
    /// content: the ledger.
    pub hashed: &'a (dyn Fn(&Path, &Metadata, &Etag) -> Option<Hashed> + Sync),
    /// What the content of the file at a path without links is, that looks like this, and when it
    /// was hashed, in milliseconds since the Unix epoch: the ledger, whatever the file should be.
    pub content: &'a ContentOf<'a>,
    /// What is remembered of a commit's files, where no listing lies in the cache: the ledger.
    pub listing: &'a (dyn Fn(&RepoId, &Commit) -> Option<Vec<RemoteFile>> + Sync),
    /// What came of letting two files share their bytes that are still what they were: the ledger.
    pub paired: &'a PairOf<'a>,
}

impl Judge<'_> {
    /// Whether a pull that names no files would fetch this one.
    pub(super) fn selects(&self, path: &RepoPath, etag: &Etag) -> bool {
        let file = RemoteFile {
            path: path.clone(),
            size_bytes: 0,
            etag: *etag,
            git_oid: String::new(),
            xet_hash: None,
        };
        !(self.select)(&[file]).is_empty()
    }
}

/// What a look at a snapshot found.
pub(super) struct Findings {
    pub(super) kind: RepoKind,
    /// Paths whose content is there.
    pub(super) present: BTreeSet<RepoPath>,
    /// The listing, and of it what a reader needs.
    pub(super) listing: Option<Listing>,
    /// By the model's own files: missing.
    pub(super) missing: Vec<String>,
    /// A reader gets wrong or missing bytes.
    pub(super) broken: Vec<String>,
    /// Worth a line, no harm.
    pub(super) notes: Vec<String>,
}

pub(super) struct Listing {
    pub(super) files: BTreeSet<RepoPath>,
    pub(super) selected: BTreeSet<RepoPath>,
}

pub(super) struct Readiness {
    pub(super) state: ModelState,
    pub(super) basis: Basis,
    pub(super) files_expected: Option<usize>,
    pub(super) problems: Vec<String>,
    /// What the listing says is missing.
    pub(super) missing: Vec<RepoPath>,
}

impl Findings {
    /// A selection is complete when every listed file that loaders read is there; a README that
    /// nobody fetched does not make a model partial. Without a listing the model's own files tell.
    pub(super) fn verdict(self) -> Readiness {
        let is_model = self.kind == RepoKind::Model;
        let mut absent: Vec<RepoPath> = Vec::new();
        let (basis, files_expected, missing) = match &self.listing {
            Some(listing) => {
                let wanted = if is_model {
                    &listing.selected
                } else {
                    &listing.files
                };
                let fetched = listing.files.intersection(&self.present);
                let expected: BTreeSet<&RepoPath> = fetched.chain(wanted).collect();
                absent.extend(wanted.difference(&self.present).cloned());
                let missing = absent
                    .iter()
                    .map(|path| format!("`{path}` is missing"))
                    .collect();
                (Basis::Listing, Some(expected.len()), missing)
            }
            None if is_model => (Basis::OwnFiles, None, self.missing),
            None => (Basis::OwnFiles, None, Vec::new()),
        };
        let state = if !self.broken.is_empty() {
            ModelState::Broken
        } else if self.present.is_empty() {
            ModelState::Absent
        } else if missing.is_empty() {
            ModelState::Complete
        } else {
            ModelState::Partial
        };
        let mut problems = self.broken;
        problems.extend(missing);
        problems.extend(self.notes);
        Readiness {
            state,
            basis,
            files_expected,
            problems,
            missing: absent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::fixture::path;

    fn findings(present: &[&str]) -> Findings {
        let set = |names: &[&str]| names.iter().map(|name| path(name)).collect();
        Findings {
            kind: RepoKind::Model,
            present: set(present),
            listing: Some(Listing {
                files: set(&["README.md", "config.json", "model.safetensors"]),
                selected: set(&["config.json", "model.safetensors"]),
            }),
            missing: vec!["by its own files".to_owned()],
            broken: Vec::new(),
            notes: Vec::new(),
        }
    }

    #[test]
    fn a_listing_decides_over_the_models_own_files() {
        let whole = findings(&["config.json", "model.safetensors"]).verdict();
        assert_eq!(whole.state, ModelState::Complete);
        assert_eq!(whole.basis, Basis::Listing);
        assert_eq!(whole.files_expected, Some(2));
        assert!(whole.problems.is_empty());

        let all = findings(&["README.md", "config.json", "model.safetensors"]).verdict();
        assert_eq!(all.files_expected, Some(3));

        let part = findings(&["README.md", "config.json"]).verdict();
        assert_eq!(part.state, ModelState::Partial);
        assert_eq!(part.files_expected, Some(3));
        assert_eq!(part.problems, ["`model.safetensors` is missing"]);

        assert_eq!(findings(&[]).verdict().state, ModelState::Absent);
    }

    #[test]
    fn without_a_listing_the_files_tell_and_damage_always_wins() {
        let mut own = findings(&["config.json"]);
        own.listing = None;
        let own = own.verdict();
        assert_eq!(
            (own.state, own.basis),
            (ModelState::Partial, Basis::OwnFiles)
        );
        assert_eq!(own.problems, ["by its own files"]);

        let mut broken = findings(&["config.json", "model.safetensors"]);
        broken.broken.push("cut off".to_owned());
        assert_eq!(broken.verdict().state, ModelState::Broken);

        let mut dataset = findings(&["README.md"]);
        dataset.kind = RepoKind::Dataset;
        assert_eq!(dataset.verdict().problems.len(), 2);
        let mut dataset = findings(&["README.md"]);
        dataset.kind = RepoKind::Dataset;
        dataset.listing = None;
        assert_eq!(dataset.verdict().state, ModelState::Complete);
    }
}
