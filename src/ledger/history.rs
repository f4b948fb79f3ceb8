//! Owns what happened: past transfers, and how fast hosts were.

use rusqlite::{OptionalExtension as _, params};

use super::{Ledger, Result};
use crate::domain::HistoryRow;

/// Transfers that are kept; the oldest give way.
const TRANSFERS: u32 = 5_000;
/// Samples that are kept; the oldest give way.
const SAMPLES: u32 = 2_000;

/// What a transfer says about the way to a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When it ended, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The host.
    pub host: String,
    /// Bytes of bodies.
    pub bytes: u64,
    /// For how long, in milliseconds.
    pub took_ms: u64,
    /// Connections that were found good.
    pub connections: u32,
}

impl Ledger {
    /// Remembers a transfer.
    pub fn keep_transfer(&self, row: &HistoryRow) -> Result<()> {
        let connection = self.lock();
        connection.execute(
            "insert into transfers
             (at_ms, kind, repo, revision, bytes, took_ms, retries, outcome, reason)
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![
                row.at_ms.cast_signed(),
                row.kind,
                row.repo,
                row.revision,
                row.bytes.cast_signed(),
                row.took_ms.cast_signed(),
                row.retries,
                row.outcome,
                row.reason
            ],
        )?;
        connection.execute(
            "delete from transfers where id <= (select max(id) from transfers) - ?1",
            [TRANSFERS],
        )?;
        Ok(())
    }

    /// The last transfers, of one repo or of all, newest first.
    pub fn transfers(&self, repo: Option<&str>, most: u32) -> Result<Vec<HistoryRow>> {
        let connection = self.lock();
        let mut ask = connection.prepare(
            "select at_ms, kind, repo, revision, bytes, took_ms, retries, outcome, reason
             from transfers where ?1 is null or lower(repo) = lower(?1)
             order by id desc limit ?2",
        )?;
        let rows = ask.query_map(params![repo, most], |row| {
            Ok(HistoryRow {
                at_ms: row.get::<_, i64>(0)?.cast_unsigned(),
                kind: row.get(1)?,
                repo: row.get(2)?,
                revision: row.get(3)?,
                bytes: row.get::<_, i64>(4)?.cast_unsigned(),
                took_ms: row.get::<_, i64>(5)?.cast_unsigned(),
                retries: row.get(6)?,
                outcome: row.get(7)?,
                reason: row.get(8)?,
            })
        })?;
        rows.map(|row| row.map_err(super::Error::from)).collect()
    }

    /// Remembers how fast a host was.
    pub fn keep_sample(&self, sample: &Sample) -> Result<()> {
        let connection = self.lock();
        connection.execute(
            "insert into samples (at_ms, host, bytes, took_ms, connections)
             values (?1, ?2, ?3, ?4, ?5)",
            params![
                sample.at_ms.cast_signed(),
                sample.host,
                sample.bytes.cast_signed(),
                sample.took_ms.cast_signed(),
                sample.connections
            ],
        )?;
        connection.execute(
            "delete from samples where id <= (select max(id) from samples) - ?1",
            [SAMPLES],
        )?;
        Ok(())
    }

    /// The last sample of a host.
    pub fn sample(&self, host: &str) -> Result<Option<Sample>> {
        let found = self
            .lock()
            .query_row(
                "select at_ms, host, bytes, took_ms, connections from samples
                 where host = ?1 order by id desc limit 1",
                [host],
                |row| {
                    Ok(Sample {
                        at_ms: row.get::<_, i64>(0)?.cast_unsigned(),
                        host: row.get(1)?,
                        bytes: row.get::<_, i64>(2)?.cast_unsigned(),
                        took_ms: row.get::<_, i64>(3)?.cast_unsigned(),
                        connections: row.get(4)?,
                    })
                },
            )
            .optional()?;
        Ok(found)
    }
}
