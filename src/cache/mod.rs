//! Owns the disk: the Hub cache's layout, locks, blobs, partials, snapshots, refs and listings.
//!
//! **Law**: no path made here ever leads to bytes that were not proven; nothing good is lost; a
//! kill at any instant leaves a cache that every other tool can read; a model that loaded before
//! still loads. Everything is synchronous: the engine calls it in blocking threads.
//!
//! Never the network, never the environment, never the clock.

mod batch;
mod blob;
mod census;
mod chunk_map;
mod chunked;
#[cfg(test)]
mod crash_tests;
mod diagnosis;
mod digest;
mod durable;
mod elsewhere;
mod error;
mod extents;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod fuzz_tests;
mod hash_ahead;
mod hashing;
mod holders;
mod incomplete;
mod inspection;
mod kept;
mod layout;
mod leftovers;
mod likeness;
mod links;
mod local;
mod lock;
mod lock_list;
mod loose;
mod marker;
mod mend;
mod names;
mod offered;
mod partials;
mod place;
mod programs;
mod promote;
mod proof;
mod publish;
mod purge;
mod ready;
mod refs;
mod reprove;
mod root;
mod salvage;
mod scan;
mod script;
mod several;
mod shape;
mod shared;
mod sharing;
mod sight;
mod snapshot;
mod staging;
mod tally;
mod trash;
mod trees;

pub use batch::{Small, promote_all};
pub use blob::{Check, Hasher, Neighbours, Verdict, check};
pub use census::Census;
pub use chunked::{Chunked, Wanted};
pub use digest::{CHUNK_BYTES, CHUNKED_FROM_BYTES, ChunkDigest, ChunkHasher, chunk_bytes};
pub use elsewhere::{Elsewhere, HOLDS_STILL, absent_volume, is_error_page, locks_elsewhere};
pub use error::{Error, Result};
pub use extents::Extents;
pub use hash_ahead::{ProvenContent, Watch, WrongContent};
pub use hashing::{Backlog, InMemory};
pub use holders::other_download;
pub use incomplete::{Damaged, Found, Partial, Salvage};
pub use inspection::{Inspection, inspect};
pub use kept::{Kept, free_kept, kept};
pub use layout::Layout;
pub use leftovers::unlisted_blobs;
pub use links::links_of;
pub use local::{Seen, Standing, has_note, is_reserved, judge, repo_noted, standing, write_note};
pub use lock::{
    BlobLock, Busy, LockAttempt, all_resumable, is_complete_partial, other_progress,
    resumable_bytes, try_lock,
};
pub use lock_list::every_lock;
pub use loose::inspect_store;
pub use marker::{
    Marker, MarkerAttempt, MarkerProgress, MarkerRecord, read_marker, remove_markers,
    remove_stale_marker,
};
pub use mend::{Mending, Placed};
pub use names::Names;
pub use offered::{Looks, Offered, OfferedFile, hashes_of, looks_of, offered};
pub use partials::{Eyes, Ours, is_being_written};
pub use place::{Sharing, place_copy, place_empty};
pub use programs::Programs;
pub use promote::{PromoteError, Promoted, SetAside};
pub use proof::{Proofs, lengths_to_hash};
pub use publish::publish;
pub use purge::{PlannedRemoval, remove_partial};
pub use ready::{ContentOf, Hashed, Judge, PairOf};
pub use refs::{RefValue, names_nothing, read_ref, refs_of, write_ref};
pub use root::{prepare_repo, prepare_root, resolve_root};
pub use scan::{RepoRows, repos, scan, scan_repo, scan_with_size};
pub use script::print_of_growth;
pub use snapshot::{
    Pointer, find_collision, inspect_pointer, named_snapshot_paths, snapshot_paths,
};
pub use staging::{LinkMode, link_mode, sweep_staging};
pub use trash::{
    Back, Bin, Discarded, Going, NotBack, ProofStep, ProofWatch, Prover, Selection, Stays,
    WasProven, abandoned, discard, free, going, plan_discard, put_aside, restore, settle_trash,
    trash_rows,
};
pub use trees::{Tree, listed_commits, read_tree, write_tree};
