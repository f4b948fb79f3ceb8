//! Owns what was proven: files by their stamp, the digests of a content's chunks, listings.

use std::collections::HashMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

use rusqlite::{OptionalExtension as _, params};

use super::{Ledger, Result};
use crate::domain::{Etag, RemoteFile, RepoPath};

/// Listings that are kept; the oldest give way.
const LISTINGS: u32 = 64;
/// Contents whose chunks are remembered; the oldest give way.
const CHUNKED: u32 = 2_000;
/// Files that are remembered as proven; the oldest give way.
const PROVEN: u32 = 200_000;
/// Files that are remembered as wrong; the oldest give way.
const WRONG: u32 = 10_000;

/// What tells that a file is the one that was proven: whatever changes its bytes changes one of
/// these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The file system's number.
    pub device: u64,
    /// The file's number.
    pub inode: u64,
    /// Its length in bytes.
    pub size: u64,
    /// Last change of the bytes, in nanoseconds since the Unix epoch.
    pub modified_ns: i64,
    /// Last change of anything, in nanoseconds since the Unix epoch; no program can set it.
    pub changed_ns: i64,
}

impl Stamp {
    /// The stamp of a file.
    pub fn of(metadata: &Metadata) -> Self {
        let ns = |seconds: i64, ns: i64| seconds.saturating_mul(1_000_000_000).saturating_add(ns);
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// A file that hashed to its etag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// Its canonical path.
    pub path: String,
    /// What it looked like then.
    pub stamp: Stamp,
    /// Its content's name.
    pub etag: Etag,
}

/// A file that did not hash to what it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Its canonical path.
    pub path: String,
    /// What it looked like then.
    pub stamp: Stamp,
    /// What its content should be.
    pub etag: Etag,
    /// What it is.
    pub computed: Etag,
}

/// What is known of a file because it was hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// What it looked like then.
    pub stamp: Stamp,
    /// What its content should be.
    pub etag: Etag,
    /// What it is, if it is not that.
    pub computed: Option<Etag>,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
}

/// The stamp in the columns after the first.
pub(super) fn stamp_of(row: &rusqlite::Row<'_>) -> rusqlite::Result<Stamp> {
    let number = |at| row.get::<_, i64>(at).map(i64::cast_unsigned);
    Ok(Stamp {
        device: number(1)?,
        inode: number(2)?,
        size: number(3)?,
        modified_ns: row.get(4)?,
        changed_ns: row.get(5)?,
    })
}

/// The database's integers are signed; the bits are kept.
pub(super) const fn signed(number: u64) -> i64 {
    number.cast_signed()
}

impl Ledger {
    /// Every file that was hashed whose path begins with `folder` and a slash.
    pub fn known_in(&self, folder: &str) -> Result<HashMap<String, Known>> {
        let connection = self.lock();
        // From `folder/` up to, not including, `folder0`: the character behind the slash.
        let mut ask = connection.prepare(
            "select path, device, inode, size, modified_ns, changed_ns, at_ms, etag, null
             from proven where path > ?1 || '/' and path < ?1 || '0'
             union all
             select path, device, inode, size, modified_ns, changed_ns, at_ms, etag, computed
             from wrong where path > ?1 || '/' and path < ?1 || '0'",
        )?;
        let rows = ask.query_map([folder], |row| {
            let etag: String = row.get(7)?;
            let computed: Option<String> = row.get(8)?;
            let at_ms = row.get::<_, i64>(6)?.cast_unsigned();
            Ok((row.get(0)?, stamp_of(row)?, at_ms, etag, computed))
        })?;
        let mut found = HashMap::new();
        for row in rows {
            let (path, stamp, at_ms, etag, computed) = row?;
            let computed = computed.map(|text| Etag::new(&text)).transpose();
            if let (Ok(etag), Ok(computed)) = (Etag::new(&etag), computed) {
                let known = Known {
                    stamp,
                    etag,
                    computed,
                    at_ms,
                };
                found.insert(path, known);
            }
        }
        Ok(found)
    }

    /// Remembers files as proven.
    pub fn keep_proven(&self, files: &[Proven], at_ms: u64) -> Result<()> {
        let mut connection = self.lock();
        let change = connection.transaction()?;
        {
            let mut keep = change.prepare(
                "insert or replace into proven
                 (path, device, inode, size, modified_ns, changed_ns, etag, at_ms)
                 values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?;
            let mut right = change.prepare("delete from wrong where path = ?1")?;
            for Proven { path, stamp, etag } in files {
                right.execute([path])?;
                keep.execute(params![
                    path,
                    signed(stamp.device),
                    signed(stamp.inode),
                    signed(stamp.size),
                    stamp.modified_ns,
                    stamp.changed_ns,
                    etag.to_string(),
                    signed(at_ms),
                ])?;
            }
        }
        change.execute(
            "delete from proven where path in (select path from proven order by at_ms desc
             limit -1 offset ?1)",
            [PROVEN],
        )?;
        change.commit()?;
        Ok(())
    }

    /// Remembers files as wrong.
    pub fn keep_wrong(&self, files: &[Wrong], at_ms: u64) -> Result<()> {
        let mut connection = self.lock();
        let change = connection.transaction()?;
        for file in files {
            change.execute("delete from proven where path = ?1", [&file.path])?;
            change.execute(
                "insert or replace into wrong
                 (path, device, inode, size, modified_ns, changed_ns, etag, computed, at_ms)
                 values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                params![
                    file.path,
                    signed(file.stamp.device),
                    signed(file.stamp.inode),
                    signed(file.stamp.size),
                    file.stamp.modified_ns,
                    file.stamp.changed_ns,
                    file.etag.to_string(),
                    file.computed.to_string(),
                    signed(at_ms),
                ],
            )?;
        }
        change.execute(
            "delete from wrong where path in (select path from wrong order by at_ms desc
             limit -1 offset ?1)",
            [WRONG],
        )?;
        change.commit()?;
        Ok(())
    }

    /// Forgets what was known of files: they are not what they were, or not there.
    pub fn forget_proven(&self, paths: &[String]) -> Result<()> {
        let mut connection = self.lock();
        let change = connection.transaction()?;
        for path in paths {
            change.execute("delete from proven where path = ?1", [path])?;
            change.execute("delete from wrong where path = ?1", [path])?;
        }
        change.commit()?;
        Ok(())
    }

    /// The length of a chunk of a proven content, and what its chunks hash to.
    pub fn digests(&self, etag: &Etag, size: u64) -> Result<Option<(u64, Vec<[u8; 16]>)>> {
        let found: Option<(i64, Vec<u8>)> = self
            .lock()
            .query_row(
                "select chunk_bytes, digests from chunks where etag = ?1 and size = ?2",
                params![etag.to_string(), signed(size)],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        Ok(found.and_then(|(chunk_bytes, bytes)| {
            let chunk_bytes = chunk_bytes.cast_unsigned();
            let (digests, rest) = bytes.as_chunks::<16>();
            let is_whole = rest.is_empty()
                && chunk_bytes > 0
                && size.div_ceil(chunk_bytes) == digests.len() as u64;
            is_whole.then(|| (chunk_bytes, digests.to_vec()))
        }))
    }

    /// Remembers what the chunks of a proven content hash to.
    pub fn keep_digests(
        &self,
        etag: &Etag,
        size: u64,
        chunk_bytes: u64,
        digests: &[[u8; 16]],
        at_ms: u64,
    ) -> Result<()> {
        let connection = self.lock();
        connection.execute(
            "insert or replace into chunks (etag, size, chunk_bytes, digests, at_ms)
             values (?1, ?2, ?3, ?4, ?5)",
            params![
                etag.to_string(),
                signed(size),
                signed(chunk_bytes),
                digests.as_flattened(),
                signed(at_ms)
            ],
        )?;
        connection.execute(
            "delete from chunks where etag in (select etag from chunks order by at_ms desc
             limit -1 offset ?1)",
            [CHUNKED],
        )?;
        Ok(())
    }

    /// The files of a commit, as the endpoint listed them.
    pub fn listing(
        &self,
        endpoint: &str,
        repo: &str,
        commit: &str,
    ) -> Result<Option<Vec<RemoteFile>>> {
        let text: Option<String> = self
            .lock()
            .query_row(
                "select files from listings where endpoint = ?1 and repo = ?2 and commit_hash = ?3",
                [endpoint, repo, commit],
                |row| row.get(0),
            )
            .optional()?;
        Ok(text.and_then(|text| text.lines().map(read_file).collect()))
    }

    /// Repo and commit of every listing of the endpoint, the newest first.
    pub fn listings(&self, endpoint: &str) -> Result<Vec<(String, String)>> {
        let connection = self.lock();
        let mut asked = connection.prepare(
            "select repo, commit_hash from listings where endpoint = ?1 order by at_ms desc",
        )?;
        let rows = asked.query_map([endpoint], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<std::result::Result<_, _>>()?)
    }

    /// Remembers a listing. A commit's files never change.
    pub fn keep_listing(
        &self,
        endpoint: &str,
        repo: &str,
        commit: &str,
        files: &[RemoteFile],
        at_ms: u64,
    ) -> Result<()> {
        let text: Vec<String> = files.iter().map(write_file).collect();
        let connection = self.lock();
        connection.execute(
            "insert or replace into listings (endpoint, repo, commit_hash, files, at_ms)
             values (?1, ?2, ?3, ?4, ?5)",
            params![endpoint, repo, commit, text.join("\n"), signed(at_ms)],
        )?;
        connection.execute(
            "delete from listings where (endpoint, repo, commit_hash) in
             (select endpoint, repo, commit_hash from listings order by at_ms desc
              limit -1 offset ?1)",
            [LISTINGS],
        )?;
        Ok(())
    }
}

/// A line: size, etag, git's id, the second content address or `-`, path. No path holds a line feed
/// that could end it: such a file is written as one that cannot be read back.
fn write_file(file: &RemoteFile) -> String {
    format!(
        "{} {} {} {} {}",
        file.size_bytes,
        file.etag,
        file.git_oid,
        file.xet_hash.as_deref().unwrap_or("-"),
        file.path
    )
}

/// Reads such a line; anything else makes the whole listing unknown.
fn read_file(line: &str) -> Option<RemoteFile> {
    let mut words = line.splitn(5, ' ');
    let size_bytes = words.next()?.parse().ok()?;
    let etag = Etag::new(words.next()?).ok()?;
    let git_oid = words.next()?.to_owned();
    let xet_hash = Some(words.next()?.to_owned()).filter(|hash| hash != "-");
    Some(RemoteFile {
        path: RepoPath::new(words.next()?).ok()?,
        size_bytes,
        etag,
        git_oid,
        xet_hash,
    })
}
