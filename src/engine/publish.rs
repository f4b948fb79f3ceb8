//! Owns making a proven selection visible: pointers, listings, ref, in this order.
//!
//! **Law**: called only when every selected blob is proven; writes nothing when everything is
//! already right, so a read-only cache serves.

use std::collections::{BTreeSet, HashMap};

use super::failure::from_cache;
use super::plan::{RefBefore, ref_move};
use crate::cache::{self, Layout, LinkMode, Pointer, Tree};
use crate::domain::{
    Commit, Etag, Failure, Healing, HealingKind, RefMove, RemoteFile, RepoId, RepoPath, Revision,
};

/// A proven selection.
pub(super) struct Publication {
    pub(super) layout: Layout,
    pub(super) repo: RepoId,
    pub(super) revision: Revision,
    pub(super) commit: Commit,
    /// Every file of the commit.
    pub(super) listing: Vec<RemoteFile>,
    /// The selected files.
    pub(super) selected: Vec<RemoteFile>,
    /// Whether pointers may be symlinks at all (`HF_HUB_DISABLE_SYMLINKS`).
    pub(super) use_symlinks: bool,
    /// Files without which the ref does not move, beyond those that it holds.
    pub(super) required: Vec<RepoPath>,
    /// Whether the commit was named, and may be older than what the ref names.
    pub(super) is_pinned: bool,
}

/// What publishing did.
pub(super) struct Published {
    pub(super) healings: Vec<Healing>,
    pub(super) reference: RefMove,
    /// Required files that the snapshot does not hold.
    pub(super) missing: Vec<RepoPath>,
    /// Sentences worth a line.
    pub(super) notes: Vec<String>,
}

impl Publication {
    /// Makes the selection visible.
    pub(super) fn publish(&self) -> Result<Published, Failure> {
        let mut notes = Vec::new();
        let (has_written, mut healings) = self.place_pointers()?;
        let sizes: HashMap<&RepoPath, u64> = self
            .listing
            .iter()
            .map(|file| (&file.path, file.size_bytes))
            .collect();
        // Another program may have begun this snapshot: what it has not finished is not held.
        let held: BTreeSet<RepoPath> = self
            .readable(&self.commit)?
            .filter(|(path, bytes)| sizes.get(path).is_none_or(|size| size == bytes))
            .map(|(path, _)| path)
            .collect();
        self.keep_listing(&held);
        let missing: Vec<RepoPath> = self
            .required
            .iter()
            .filter(|path| !held.contains(path))
            .cloned()
            .collect();
        let reference = self.move_ref((&held, &missing), has_written, &mut healings, &mut notes)?;
        Ok(Published {
            healings,
            reference,
            missing,
            notes,
        })
    }

    /// The paths of a snapshot behind which there is a file, with its length.
    fn readable(&self, commit: &Commit) -> Result<impl Iterator<Item = (RepoPath, u64)>, Failure> {
        let snapshot = self.layout.snapshot(&self.repo, commit);
        let paths = cache::snapshot_paths(&self.layout, &self.repo, commit).map_err(from_cache)?;
        Ok(paths.into_iter().filter_map(move |path| {
            let found = std::fs::metadata(snapshot.join(path.as_str())).ok()?;
            found.is_file().then_some((path, found.len()))
        }))
    }

    /// Makes every pointer right; says whether anything had to be written, and what was put right.
    fn place_pointers(&self) -> Result<(bool, Vec<Healing>), Failure> {
        let mut wanted: Vec<(RepoPath, Etag)> = Vec::new();
        let mut any_regular = false;
        for file in &self.selected {
            let pointer = cache::inspect_pointer(
                &self.layout,
                &self.repo,
                &self.commit,
                &file.path,
                &file.etag,
            )
            .map_err(from_cache)?;
            any_regular |= pointer == Pointer::Regular;
            if pointer != Pointer::Right {
                wanted.push((file.path.clone(), file.etag));
            }
        }
        if wanted.is_empty() {
            return Ok((false, Vec::new()));
        }
        // A cache where no link can be tried cannot be written either: what is proven there stays.
        if any_regular && !matches!(self.link_mode(), Ok(LinkMode::Symlink)) {
            // Without symlinks a regular file is the healthy form; the transfer proved it in place.
            wanted.retain(|(path, etag)| {
                self.layout.blob(&self.repo, etag).exists()
                    || !self
                        .layout
                        .pointer(&self.repo, &self.commit, path)
                        .is_file()
            });
            if wanted.is_empty() {
                return Ok((false, Vec::new()));
            }
        }
        cache::prepare_root(self.layout.root()).map_err(from_cache)?;
        cache::prepare_repo(&self.layout, &self.repo).map_err(from_cache)?;
        let mode = self.link_mode()?;
        cache::publish(&self.layout, &self.repo, &self.commit, &wanted, mode)
            .map(|healings| (true, healings))
            .map_err(from_cache)
    }

    /// How files are placed: by symlink where the file system has them and nobody forbade it.
    fn link_mode(&self) -> Result<LinkMode, Failure> {
        if self.use_symlinks {
            cache::link_mode(&self.layout, &self.repo).map_err(from_cache)
        } else {
            Ok(LinkMode::Copy)
        }
    }

    /// Keeps the listing: where Python looks for it only when every file of the commit is there,
    /// since Python then refuses a filtered snapshot offline (hub.md 6.1); else in our own folder.
    fn keep_listing(&self, held: &BTreeSet<RepoPath>) {
        let is_whole = self.listing.iter().all(|file| held.contains(&file.path));
        let which = if is_whole { Tree::Shared } else { Tree::Own };
        let path = match which {
            Tree::Shared => self.layout.tree(&self.repo, &self.commit),
            Tree::Own => self.layout.own_tree(&self.repo, &self.commit),
        };
        if path.exists() {
            return;
        }
        if let Err(error) =
            cache::write_tree(&self.layout, &self.repo, &self.commit, &self.listing, which)
        {
            // A listing saves a request later; the model is complete without it.
            tracing::warn!(%error, "the listing was not kept");
        }
    }

    fn move_ref(
        &self,
        (held, missing): (&BTreeSet<RepoPath>, &[RepoPath]),
        has_written: bool,
        healings: &mut Vec<Healing>,
        notes: &mut Vec<String>,
    ) -> Result<RefMove, Failure> {
        if self.revision.as_commit().is_some() {
            return Ok(RefMove::None);
        }
        let value =
            cache::read_ref(&self.layout, &self.repo, &self.revision).map_err(from_cache)?;
        let mut before = RefBefore::default();
        if let Some(value) = value {
            before.commit = value.commit;
            before.is_malformed = value.is_malformed;
        }
        if let Some(old) = before.commit
            && old != self.commit
        {
            before.paths = self.readable(&old)?.map(|(path, _)| path).collect();
        }
        if before.commit.is_none() {
            before.paths = cache::named_snapshot_paths(&self.layout, &self.repo, &self.revision)
                .map_err(from_cache)?
                .into_iter()
                .collect();
        }
        let reference = match ref_move(&before, self.commit, held) {
            RefMove::Moved { .. } if !missing.is_empty() => RefMove::Kept {
                at: before.commit,
                why: match missing {
                    [one] => format!("`{one}` is not here yet"),
                    more => format!("{} files of the model are not here yet", more.len()),
                },
            },
            RefMove::Moved { from: Some(at) } if self.is_pinned && at != self.commit => {
                RefMove::Kept {
                    at: Some(at),
                    why: "it names a commit already, and which of the two is newer is not known"
                        .to_owned(),
                }
            }
            reference => reference,
        };
        if let RefMove::Moved { .. } = reference {
            match cache::write_ref(&self.layout, &self.repo, &self.revision, &self.commit) {
                Ok(()) => {}
                Err(cache::Error::RefConflict { existing, .. }) => {
                    let why = format!(
                        "the ref `{}` is in the way of one of this name",
                        existing.display()
                    );
                    notes.push(why.clone());
                    return Ok(RefMove::Kept {
                        at: before.commit,
                        why,
                    });
                }
                // A complete model in a cache that cannot be written is complete all the same.
                Err(error @ (cache::Error::ReadOnly { .. } | cache::Error::Permission { .. }))
                    if !has_written =>
                {
                    return Ok(RefMove::Kept {
                        at: before.commit,
                        why: format!("it cannot be written: {error}"),
                    });
                }
                Err(error) => return Err(from_cache(error)),
            }
            if before.is_malformed {
                healings.push(Healing {
                    kind: HealingKind::MalformedRef,
                    path: None,
                    location: self
                        .layout
                        .reference(&self.repo, &self.revision)
                        .display()
                        .to_string(),
                    set_aside: None,
                });
            }
        }
        Ok(reference)
    }
}
