//! Owns what happened: past transfers, pulls that did not end, and how fast hosts were.

use std::path::PathBuf;

use rusqlite::{OptionalExtension as _, params};
use serde_json::{Value, json};

use super::{Ledger, Result};
use crate::domain::{HistoryRow, RepoId, Revision, UnfinishedPull};

/// Transfers that are kept; the oldest give way.
const TRANSFERS: u32 = 5_000;
/// Samples that are kept; the oldest give way.
const SAMPLES: u32 = 2_000;

/// Pulls that did not end and are kept; the oldest give way.
const UNFINISHED: u32 = 200;

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

    /// Remembers a pull that begins, into a cache or a local dir.
    pub fn keep_unfinished(&self, cache: &str, pull: &UnfinishedPull) -> Result<()> {
        let selection = json!({
            "files": pull.files,
            "include": pull.include,
            "exclude": pull.exclude,
            "all": pull.all,
            "is_local": pull.local_dir.is_some(),
        });
        let connection = self.lock();
        connection.execute(
            "insert or replace into unfinished (cache, repo, revision, selection, begun_ms)
             values (?1, ?2, ?3, ?4, ?5)",
            params![
                cache,
                pull.repo.folder(),
                pull.revision.as_str(),
                selection.to_string(),
                pull.begun_ms.cast_signed()
            ],
        )?;
        connection.execute(
            "delete from unfinished where (cache, repo, revision) in
             (select cache, repo, revision from unfinished order by begun_ms desc
              limit -1 offset ?1)",
            [UNFINISHED],
        )?;
        Ok(())
    }

    /// Forgets a pull that has become complete.
    pub fn forget_unfinished(&self, cache: &str, repo: &RepoId, revision: &Revision) -> Result<()> {
        self.lock().execute(
            "delete from unfinished where cache = ?1 and repo = ?2 and revision = ?3",
            params![cache, repo.folder(), revision.as_str()],
        )?;
        Ok(())
    }

    /// Forgets the pulls of a repo, at whatever revision: what they left was taken away.
    pub fn forget_unfinished_of(&self, cache: &str, repo: &RepoId) -> Result<()> {
        self.lock().execute(
            "delete from unfinished where cache = ?1 and repo = ?2",
            params![cache, repo.folder()],
        )?;
        Ok(())
    }

    /// Pulls that began at `since_ms` or later and have not become complete, the newest first: into a
    /// cache, or into local dirs.
    pub fn unfinished(&self, cache: Option<&str>, since_ms: u64) -> Result<Vec<UnfinishedPull>> {
        let connection = self.lock();
        let mut ask = connection.prepare(
            "select cache, repo, revision, selection, begun_ms from unfinished
             where (?1 is null or cache = ?1) and begun_ms >= ?2 order by begun_ms desc, repo",
        )?;
        let rows = ask.query_map(params![cache, since_ms.cast_signed()], |row| {
            let selection: String = row.get(3)?;
            let place: String = row.get(0)?;
            let begun_ms = row.get::<_, i64>(4)?.cast_unsigned();
            let (repo, revision): (String, String) = (row.get(1)?, row.get(2)?);
            Ok(read_unfinished(
                &place, &repo, &revision, &selection, begun_ms,
            ))
        })?;
        // What cannot be read is a newer larder's, which is to go on with it.
        let is_meant = |pull: &UnfinishedPull| pull.local_dir.is_some() == cache.is_none();
        rows.filter_map(|row| row.map_err(super::Error::from).transpose())
            .filter(|pull| pull.as_ref().map_or(true, is_meant))
            .collect()
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

/// A remembered pull; `None` where it says something else than this larder would write.
fn read_unfinished(
    place: &str,
    repo: &str,
    revision: &str,
    selection: &str,
    begun_ms: u64,
) -> Option<UnfinishedPull> {
    let selection: Value = serde_json::from_str(selection).ok()?;
    let words = |name: &str| -> Option<Vec<String>> {
        let all = selection.get(name)?.as_array()?.iter();
        all.map(|word| word.as_str().map(ToOwned::to_owned))
            .collect()
    };
    Some(UnfinishedPull {
        repo: RepoId::from_folder(repo)?,
        revision: Revision::new(revision).ok()?,
        files: words("files")?,
        include: words("include")?,
        exclude: words("exclude")?,
        all: selection.get("all")?.as_bool()?,
        // Older larders remembered none of those.
        local_dir: (selection.get("is_local").and_then(Value::as_bool) == Some(true))
            .then(|| PathBuf::from(place)),
        begun_ms,
    })
}
