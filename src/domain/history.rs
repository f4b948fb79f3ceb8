//! Owns what is remembered of a past transfer.

use serde::Serialize;

/// A pull, a verification or a purge that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HistoryRow {
    /// When it ended, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// `pull`, `verify` or `purge`.
    pub kind: String,
    /// The repo; empty where it was about several.
    pub repo: String,
    /// The revision as typed; empty where there was none.
    pub revision: String,
    /// Bytes that were fetched, hashed or freed.
    pub bytes: u64,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// Attempts and connections that failed on the way and were made again.
    pub retries: u32,
    /// The word for how it ended, as in the JSON documents.
    pub outcome: String,
    /// Why it failed, or what was found.
    pub reason: Option<String>,
}
