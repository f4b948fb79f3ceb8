//! Owns telling a file that is being written from one that is broken: other programs write into
//! their folders in place, and a look may come in between.
//!
//! Pure but for what the look brings: never opens a file. Law: what holds still is judged.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::cache::partials::{Eyes, distance};
use crate::domain::{RepoPath, sanitize};
use crate::host;

/// A file that changed this recently may be in the middle of it, unless it is known that nobody has
/// it open.
pub const HOLDS_STILL: Duration = Duration::from_secs(5);

/// What tells that a file was written in place: the same file, and another length or time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    file: (u64, u64),
    bytes: u64,
    modified: SystemTime,
}

impl Look {
    pub(super) fn of(found: &Metadata) -> Self {
        Self {
            file: (found.dev(), found.ino()),
            bytes: found.len(),
            modified: found.modified().unwrap_or(SystemTime::UNIX_EPOCH),
        }
    }

    /// Whether a file was written in place between two looks.
    fn has_moved(&self, before: &Self) -> bool {
        self.file == before.file && self != before
    }
}

/// What the files of a model looked like.
pub(super) type Looks = BTreeMap<RepoPath, Look>;

/// Who writes a file, or why it is taken for being written; `None` if it holds still.
pub(super) fn writing(
    place: &Path,
    now: &Look,
    before: Option<&Look>,
    eyes: &Eyes<'_>,
) -> Option<String> {
    if let Some(writer) = eyes.programs.writer_of(place) {
        let who = match &writer.program {
            Some(program) => format!("{} (process {})", sanitize(program), writer.pid),
            None => format!("process {}", writer.pid),
        };
        return Some(format!("{who} has it open for writing"));
    }
    if before.is_some_and(|before| now.has_moved(before)) {
        return Some("it has changed since it was looked at before".to_owned());
    }
    // Where everybody who has it open is seen, nobody has.
    let is_asked = eyes.programs.is_known() && !host::is_remote(place);
    let age = distance(eyes.now, now.modified);
    (!is_asked && age < HOLDS_STILL).then(|| "it changed a moment ago".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Programs;
    use crate::cache::fixture::now;
    use crate::host::{LockTable, OpenFile};

    #[test]
    fn what_moves_is_being_written_and_what_holds_still_is_not() {
        let at = now();
        let old = at - HOLDS_STILL;
        let look = |inode, bytes, modified| Look {
            file: (1, inode),
            bytes,
            modified,
        };
        let says = |now: &Look, before: Option<&Look>, programs: &Programs| {
            let eyes = Eyes {
                now: at,
                table: LockTable::default(),
                programs,
                ours: &|_, _| None,
            };
            writing(Path::new("/m/w"), now, before, &eyes)
        };
        let nobody = Programs::unknown();
        let still = look(1, 10, old);
        assert_eq!(says(&still, None, &nobody), None);
        assert_eq!(says(&still, Some(&still), &nobody), None);
        assert!(says(&look(1, 10, at), None, &nobody).is_some());
        // A clock that is ahead makes nothing live for long.
        assert_eq!(says(&look(1, 10, at + HOLDS_STILL), None, &nobody), None);
        let shorter = look(1, 9, old);
        assert!(says(&still, Some(&shorter), &nobody).is_some());
        // Another file was put in its place: that is done in a moment.
        assert_eq!(says(&still, Some(&look(2, 9, old)), &nobody), None);
        let open = |is_writable| {
            Programs::with_open(vec![OpenFile {
                pid: std::process::id(),
                path: "/m/w".into(),
                is_writable,
            }])
        };
        assert!(
            says(&still, None, &open(true))
                .unwrap()
                .contains("open for writing")
        );
        assert_eq!(says(&still, None, &open(false)), None);
        // Everybody was asked, and nobody writes it: what is new is as still as what is old.
        assert_eq!(says(&look(1, 10, at), None, &open(false)), None);
        assert!(says(&still, Some(&shorter), &open(false)).is_some());
    }
}
