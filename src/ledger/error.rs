//! Owns why the ledger cannot be used.

use std::path::PathBuf;

/// The result of everything in this room.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file or its folder cannot be made or opened.
    #[error("`{}` cannot be opened: {why}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The words of the system or of the database.
        why: String,
    },
    /// It was written by a newer larder.
    #[error("`{}` was written by a newer larder (format {version})", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The format it says it has.
        version: i64,
    },
    /// A question or a change failed.
    #[error("the ledger cannot be used: {0}")]
    Query(#[from] rusqlite::Error),
}
