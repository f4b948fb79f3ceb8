//! Owns which files were read and have the form they should: a JSON file of many megabytes is not
//! parsed again while it is what it was. Says nothing of the bytes being right.

use std::collections::HashMap;

use rusqlite::params;

use super::proven::{signed, stamp_of};
use super::{Ledger, Result, Stamp};

/// Whose rules a form was good by: another larder may ask for more.
const RULES: &str = env!("CARGO_PKG_VERSION");
/// Files that are remembered; the oldest give way.
const FORMED: u32 = 20_000;

impl Ledger {
    /// Every file of a good form whose path begins with `folder` and a slash.
    pub fn formed_in(&self, folder: &str) -> Result<HashMap<String, Stamp>> {
        let connection = self.lock();
        let mut ask = connection.prepare(
            "select path, device, inode, size, modified_ns, changed_ns from formed
             where path > ?1 || '/' and path < ?1 || '0' and rules = ?2",
        )?;
        let rows = ask.query_map([folder, RULES], |row| Ok((row.get(0)?, stamp_of(row)?)))?;
        rows.map(|row| row.map_err(Into::into)).collect()
    }

    /// Remembers files as of a good form.
    pub fn keep_formed(&self, files: &[(String, Stamp)], at_ms: u64) -> Result<()> {
        let mut connection = self.lock();
        let change = connection.transaction()?;
        for (path, stamp) in files {
            change.execute(
                "insert or replace into formed
                 (path, device, inode, size, modified_ns, changed_ns, at_ms, rules)
                 values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![
                    path,
                    signed(stamp.device),
                    signed(stamp.inode),
                    signed(stamp.size),
                    stamp.modified_ns,
                    stamp.changed_ns,
                    signed(at_ms),
                    RULES,
                ],
            )?;
        }
        change.execute(
            "delete from formed where path in (select path from formed order by at_ms desc
             limit -1 offset ?1)",
            [FORMED],
        )?;
        change.commit()?;
        Ok(())
    }
}
