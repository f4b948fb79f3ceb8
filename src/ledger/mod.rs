//! Owns long memory: which files were proven, what the chunks of a content hash to, listings by
//! commit, past transfers, how fast hosts were. One database file in larder's state folder.
//!
//! **Law**: disposable. Losing it costs time, never truth; whatever is wrong with it, the caller goes
//! on without. Never reads or writes a cache, never asks the clock.

mod error;
mod formed;
mod history;
mod open;
mod pairs;
mod proven;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;

pub use error::{Error, Result};
pub use history::Sample;
pub use pairs::Pair;
pub use proven::{Known, Proven, Stamp, Wrong};

/// An open ledger. Several processes may have it open at once.
#[derive(Debug)]
pub struct Ledger {
    connection: Mutex<Connection>,
    path: PathBuf,
    /// Device and inode of the file that is open.
    file: (u64, u64),
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A transaction that a panic broke off was rolled back when it was dropped.
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
