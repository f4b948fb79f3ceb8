//! Owns the plan of a pull and the rule by which refs move. Pure.
//!
//! What is on disk comes in as facts (`OnDisk`); nothing here looks.

use std::collections::{BTreeSet, HashMap};

use crate::domain::{Commit, Etag, FileId, PlannedFile, RefMove, RemoteFile, RepoPath};

/// Space left free beyond what the plan needs: pointers, locks, listings.
pub(super) const DISK_MARGIN_BYTES: u64 = 16 << 20;

/// What a glance (no hashing) found of one content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct OnDisk {
    /// The whole content seems to be there, in this repo or elsewhere.
    pub(super) is_whole: bool,
    /// What is there must be copied within the machine, which may take its size on disk.
    pub(super) is_copied: bool,
    /// Bytes that can be resumed: a partial, or a truncated blob.
    pub(super) partial_bytes: u64,
}

/// The files of a plan with their sums.
#[derive(Debug, Default)]
pub(super) struct Sums {
    /// The files, ids in order.
    pub(super) files: Vec<PlannedFile>,
    /// Bytes of each content once.
    pub(super) total_bytes: u64,
    /// Bytes that must come over the network.
    pub(super) fetch_bytes: u64,
    /// Bytes that the file system must still take.
    pub(super) disk_bytes: u64,
}

/// Numbers the selected files, finds shared contents and adds up.
pub(super) fn plan(
    selected: &[RemoteFile],
    on_disk: &HashMap<Etag, OnDisk>,
    is_forced: bool,
) -> Sums {
    let mut sums = Sums::default();
    let mut first: HashMap<Etag, FileId> = HashMap::new();
    for (at, remote) in selected.iter().enumerate() {
        let file = FileId(u32::try_from(at).unwrap_or(u32::MAX));
        let same_as = first.get(&remote.etag).copied();
        first.entry(remote.etag).or_insert(file);
        let found = on_disk.get(&remote.etag).copied().unwrap_or_default();
        let is_reuse = !is_forced && (found.is_whole || remote.size_bytes == 0);
        let have_bytes = if is_reuse {
            remote.size_bytes
        } else {
            found.partial_bytes.min(remote.size_bytes)
        };
        if same_as.is_none() {
            sums.total_bytes += remote.size_bytes;
            sums.fetch_bytes += remote.size_bytes - have_bytes;
            sums.disk_bytes += if found.is_copied && !is_forced {
                remote.size_bytes
            } else {
                remote.size_bytes - have_bytes
            };
        }
        sums.files.push(PlannedFile {
            file,
            path: remote.path.clone(),
            size_bytes: remote.size_bytes,
            etag: remote.etag,
            same_as,
            have_bytes,
            is_reuse,
        });
    }
    sums
}

/// What a ref names now, and which paths its snapshot holds.
#[derive(Clone, Debug, Default)]
pub(super) struct RefBefore {
    /// The commit it names; `None` if the ref is not there or unreadable.
    pub(super) commit: Option<Commit>,
    /// Whether its text was anything but 40 hex characters.
    pub(super) is_malformed: bool,
    /// Every path of that commit's snapshot; where it names none, of the folder that readers find
    /// all the same.
    pub(super) paths: BTreeSet<RepoPath>,
}

/// Where a ref goes after the snapshot of `commit` holds `paths` (product.md, Refs).
///
/// It moves only when the new snapshot holds every path the old one held: a model that loads
/// offline never stops loading because of larder.
pub(super) fn ref_move(before: &RefBefore, commit: Commit, paths: &BTreeSet<RepoPath>) -> RefMove {
    if before.commit == Some(commit) {
        return if before.is_malformed {
            RefMove::Moved {
                from: before.commit,
            }
        } else {
            RefMove::Unchanged
        };
    }
    let missing: Vec<&RepoPath> = before.paths.difference(paths).collect();
    match missing.as_slice() {
        [] => RefMove::Moved {
            from: before.commit,
        },
        [first, rest @ ..] => RefMove::Kept {
            at: before.commit,
            why: if rest.is_empty() {
                format!(
                    "what readers find under it holds `{first}`, which the new snapshot does not"
                )
            } else {
                format!(
                    "what readers find under it holds `{first}` and {} more, which the new snapshot does not",
                    rest.len()
                )
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn remote(path: &str, etag: u8, size_bytes: u64) -> RemoteFile {
        let hex = format!("{etag:02x}").repeat(32);
        RemoteFile {
            path: RepoPath::new(path).unwrap(),
            size_bytes,
            etag: Etag::new(&hex).unwrap(),
            git_oid: hex[..40].to_owned(),
            xet_hash: None,
        }
    }

    fn set(paths: &[&str]) -> BTreeSet<RepoPath> {
        paths
            .iter()
            .map(|path| RepoPath::new(path).unwrap())
            .collect()
    }

    fn commit(byte: u8) -> Commit {
        Commit::new(&format!("{byte:02x}").repeat(20)).unwrap()
    }

    #[test]
    fn shared_content_counts_once() {
        let files = [remote("a", 1, 10), remote("b", 1, 10), remote("c", 2, 5)];
        let sums = plan(&files, &HashMap::new(), false);
        assert_eq!((sums.total_bytes, sums.fetch_bytes), (15, 15));
        assert_eq!(sums.files[1].same_as, Some(FileId(0)));
    }

    #[test]
    fn what_is_here_is_not_fetched_unless_forced() {
        let files = [remote("a", 1, 10), remote("b", 2, 100), remote("c", 3, 7)];
        let on_disk = HashMap::from([
            (
                files[0].etag,
                OnDisk {
                    is_whole: true,
                    ..OnDisk::default()
                },
            ),
            (
                files[1].etag,
                OnDisk {
                    partial_bytes: 60,
                    ..OnDisk::default()
                },
            ),
            (
                files[2].etag,
                OnDisk {
                    is_whole: true,
                    is_copied: true,
                    partial_bytes: 0,
                },
            ),
        ]);
        let sums = plan(&files, &on_disk, false);
        assert_eq!((sums.fetch_bytes, sums.disk_bytes), (40, 47));
        assert!(sums.files[0].is_reuse && !sums.files[1].is_reuse);
        assert_eq!(plan(&files, &on_disk, true).fetch_bytes, 57);
    }

    #[test]
    fn a_ref_moves_only_to_a_snapshot_that_holds_as_much() {
        let before = RefBefore {
            commit: Some(commit(1)),
            is_malformed: false,
            paths: set(&["a", "b"]),
        };
        assert_eq!(
            ref_move(&before, commit(2), &set(&["a", "b", "c"])),
            RefMove::Moved {
                from: Some(commit(1))
            }
        );
        assert!(matches!(
            ref_move(&before, commit(2), &set(&["a"])),
            RefMove::Kept { at: Some(at), .. } if at == commit(1)
        ));
        assert_eq!(
            ref_move(&before, commit(1), &set(&["a"])),
            RefMove::Unchanged
        );
        assert_eq!(
            ref_move(&RefBefore::default(), commit(2), &set(&["a"])),
            RefMove::Moved { from: None }
        );
    }

    proptest! {
        #[test]
        fn after_any_sequence_every_ref_holds_what_it_held(
            pulls in proptest::collection::vec((1u8..5, proptest::collection::btree_set(0u8..6, 1..6)), 1..20)
        ) {
            let mut snapshots: HashMap<Commit, BTreeSet<RepoPath>> = HashMap::new();
            let mut main: Option<Commit> = None;
            for (number, files) in pulls {
                let commit = commit(number);
                let paths = files.iter().map(|n| RepoPath::new(&format!("f{n}")).unwrap());
                snapshots.entry(commit).or_default().extend(paths);
                let held = main.map(|at| snapshots[&at].clone()).unwrap_or_default();
                let before = RefBefore { commit: main, is_malformed: false, paths: held.clone() };
                if let RefMove::Moved { .. } = ref_move(&before, commit, &snapshots[&commit]) {
                    main = Some(commit);
                }
                let now = &snapshots[&main.unwrap()];
                prop_assert!(held.is_subset(now));
            }
        }
    }
}
