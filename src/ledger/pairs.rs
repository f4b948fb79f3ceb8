//! Owns what came of letting two files share their bytes: some file systems do it and do not tell, and
//! some cannot though others of their kind can.

use rusqlite::{OptionalExtension as _, params};

use super::proven::signed;
use super::{Ledger, Result, Stamp};

/// Pairs that are remembered; the oldest give way.
const PAIRS: u32 = 10_000;

/// Two files as they were when they were tried; which is the first does not matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    paths: [String; 2],
    stamps: [Stamp; 2],
}

impl Pair {
    /// Files by their canonical paths.
    pub fn of(one: (String, Stamp), other: (String, Stamp)) -> Self {
        let (one, other) = if one.0 <= other.0 {
            (one, other)
        } else {
            (other, one)
        };
        Self {
            paths: [one.0, other.0],
            stamps: [one.1, other.1],
        }
    }

    /// Both stamps in a text that only they have.
    fn stamped(&self) -> String {
        let text = |stamp: &Stamp| {
            format!(
                "{} {} {} {} {}",
                stamp.device, stamp.inode, stamp.size, stamp.modified_ns, stamp.changed_ns
            )
        };
        self.stamps.each_ref().map(text).join(" ")
    }
}

impl Ledger {
    /// Whether two files that are still what they were came to share their bytes; `None` if it was not
    /// tried.
    pub fn pair(&self, pair: &Pair) -> Result<Option<bool>> {
        let [one, other] = &pair.paths;
        let connection = self.lock();
        let mut ask = connection
            .prepare("select is_shared from pairs where one = ?1 and other = ?2 and stamps = ?3")?;
        let found = ask.query_row(params![one, other, pair.stamped()], |row| row.get(0));
        Ok(found.optional()?)
    }

    /// Remembers what came of it.
    pub fn keep_pair(&self, pair: &Pair, is_shared: bool, at_ms: u64) -> Result<()> {
        let [one, other] = &pair.paths;
        let connection = self.lock();
        connection.execute(
            "insert or replace into pairs (one, other, stamps, is_shared, at_ms)
             values (?1, ?2, ?3, ?4, ?5)",
            params![one, other, pair.stamped(), is_shared, signed(at_ms)],
        )?;
        connection.execute(
            "delete from pairs where (one, other) in
             (select one, other from pairs order by at_ms desc limit -1 offset ?1)",
            [PAIRS],
        )?;
        Ok(())
    }
}
