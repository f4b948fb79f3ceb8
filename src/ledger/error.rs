//! Owns why the ledger cannot be used.

use std::path::PathBuf;

use rusqlite::ErrorCode;

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

impl Error {
    /// Whether what is there is no ledger, or not any more.
    pub fn is_damage(&self) -> bool {
        matches!(
            self.code(),
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt)
        ) || matches!(self, Self::Query(error) if error.to_string().contains("no such table"))
    }

    /// Whether another larder was at it for too long.
    pub fn is_busy(&self) -> bool {
        matches!(
            self.code(),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
        )
    }

    /// Whether the file was moved away while it was open: another larder has set it aside.
    pub fn is_moved(&self) -> bool {
        matches!(
            self,
            Self::Query(error) if error.sqlite_error().is_some_and(|found| {
                found.extended_code == rusqlite::ffi::SQLITE_READONLY_DBMOVED
            })
        )
    }

    /// Whether a file could not be read or written: the disk's fault, or that of another larder that
    /// sets the ledger aside and its companions after it.
    pub fn is_io(&self) -> bool {
        self.code() == Some(ErrorCode::SystemIoFailure)
    }

    /// What the database calls it.
    fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Query(error) => error.sqlite_error_code(),
            Self::Open { .. } | Self::Newer { .. } => None,
        }
    }
}
