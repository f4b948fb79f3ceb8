//! Owns the machine: free space, what a file system can do, who holds a lock, which processes run, who
//! owns a file, the end of a log, what the system is called.
//! Every `cfg(target_os)` of the crate is here.
//!
//! Never knows a cache layout; answers "unknown" (`None`) where the system does not say.

mod ability;
mod arguments;
mod attributes;
mod clones;
mod direct;
mod evicted;
mod files;
mod folder;
#[cfg(test)]
pub(crate) mod forks;
mod heap;
pub(crate) mod holder;
mod open;
mod owner;
mod processes;
mod remote;
mod rename;
mod signal;
mod space;
mod sync;

pub use ability::{folds_case, is_probe, supports_symlinks};
pub use attributes::{shed_attributes, unlike};
pub use clones::{can_share_blocks, has_shared_blocks, is_locked, share_blocks};
pub use direct::{Aligned, DIRECT_ALIGN, Direct};
pub use evicted::is_evicted;
pub use files::{read_tail, system, write_new};
pub use folder::{Entry, Kind, names, read_dir};
pub use heap::share_memory_pools;
pub use holder::{Holder, LockTable, host_name, is_alive, lock_holder};
pub use open::{open_itself, open_quietly};
pub use owner::{describe_owner, is_ours, sync_dir, sync_dirs};
pub use processes::{OPEN_FILES_EVERY, OpenFile, Process, open_files, openers, processes};
pub use remote::is_remote;
pub use rename::{rename_new, swap};
pub use signal::sighup_is_ignored;
pub use space::{
    absent_mount, access_unknown, disk, free_space, nearest_existing, open_files_limit,
};
pub use sync::{start_writeback, sync_files, will_read_through};
