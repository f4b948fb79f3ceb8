//! Owns the unfinished files of Python's `local_dir` and of swift-transformers' `HubApi`: whose they
//! are, and whether anybody writes them (hub.md 3.1 to 3.3).
//!
//! Never changes anything; locks are only looked at.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::homes::Home;
use super::note::{Notes, short_hash};
use crate::cache::lock::{self, Look};
use crate::cache::partials::{Eyes, distance, is_whole, since_epoch_ms};
use crate::cache::salvage::exact_etag;
use crate::domain::{Etag, PartialRow, PartialState, RemoteFile, RepoPath, sanitize};
use crate::host::{self, Holder};

/// One that changed this recently is taken for live although nobody is known to write it.
/// Longer than for the Hub cache: swift-transformers locks nothing, and its connections wait long.
const RECENT: Duration = Duration::from_mins(5);
/// The same where it is known that no program of this machine has it open.
const RECENT_CLOSED: Duration = Duration::from_mins(1);

/// An unfinished file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unfinished {
    pub(super) row: PartialRow,
    /// The file it will be, where that is known.
    pub(super) file: Option<RepoPath>,
    /// Where it lies.
    pub(super) place: PathBuf,
}

/// What the name of an unfinished file says: what comes before the etag, and the etag.
fn parse(name: &str) -> Option<(&str, Etag)> {
    let stem = name.strip_suffix(".incomplete")?;
    let (before, last) = stem.rsplit_once('.')?;
    if let Some(etag) = exact_etag(last) {
        return Some((before, etag));
    }
    let is_number = last.len() == 8 && last.bytes().all(|b| b.is_ascii_hexdigit());
    let (before, etag) = before.rsplit_once('.')?;
    Some((before, exact_etag(etag)?)).filter(|_| is_number)
}

/// Every unfinished file of a model. `known` are its files, by whatever tells of them.
pub(super) fn unfinished(
    home: &Home,
    notes: &Notes,
    known: &BTreeSet<RepoPath>,
    listing: &[RemoteFile],
    eyes: &Eyes<'_>,
) -> Vec<Unfinished> {
    let found = notes.partials.iter();
    found
        .filter_map(|place| one(home, notes, place, known, listing, eyes))
        .collect()
}

fn one(
    home: &Home,
    notes: &Notes,
    place: &Path,
    known: &BTreeSet<RepoPath>,
    listing: &[RemoteFile],
    eyes: &Eyes<'_>,
) -> Option<Unfinished> {
    let (before, etag) = parse(place.file_name()?.to_str()?)?;
    // One that vanishes meanwhile was finished or thrown away by its writer.
    let seen = place
        .symlink_metadata()
        .ok()
        .filter(std::fs::Metadata::is_file)?;
    let below = place.parent()?.strip_prefix(&notes.root).ok()?;
    let named = |path: &&RepoPath| Path::new(path.as_str()).parent() == Some(below);
    let file = known
        .iter()
        .chain(&notes.locks)
        .filter(named)
        .find(|path| {
            let own = path.segments().last().unwrap_or_default();
            own == before || short_hash(path) == before
        })
        .cloned()
        .or_else(|| {
            // Python's way has a hash there, which is no name.
            let is_hash = before.len() == 28 && before.ends_with('=');
            let path = below.join(before);
            RepoPath::new(path.to_str()?).ok().filter(|_| !is_hash)
        });
    let modified = seen.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    let expected = listing.iter().find(|remote| remote.etag == etag);
    Some(Unfinished {
        row: PartialRow {
            repo: home.repo.clone(),
            path: sanitize(&place.to_string_lossy()),
            etag: etag.to_string(),
            file: file.as_ref().map(|path| sanitize(path.as_str())),
            bytes: seen.len(),
            expected_bytes: expected.map(|remote| remote.size_bytes),
            modified_ms: since_epoch_ms(modified),
            is_superseded: file.as_ref().is_some_and(|path| {
                let bytes = expected.map(|remote| remote.size_bytes);
                is_whole(&home.folder.join(path.as_str()), bytes)
            }),
            state: state(notes, place, file.as_ref(), modified, eyes),
        },
        file,
        place: place.to_owned(),
    })
}

fn state(
    notes: &Notes,
    place: &Path,
    file: Option<&RepoPath>,
    modified: SystemTime,
    eyes: &Eyes<'_>,
) -> PartialState {
    if let Some(writer) = eyes.programs.writer_of(place) {
        return live(Some(writer.clone()));
    }
    // Without a name any lock of the folder may be its own.
    let locks: Vec<PathBuf> = match file {
        Some(path) => vec![path],
        None => notes.locks.iter().collect(),
    }
    .into_iter()
    .map(|path| notes.root.join(format!("{path}.lock")))
    .collect();
    for lock in locks {
        if let Look::Held(found) = lock::look(&lock, eyes.now) {
            return live(eyes.table.holder_of(&found));
        }
    }
    // Where everybody who has it open is seen, nobody has; between two tries it may be closed.
    let is_asked = eyes.programs.is_known() && !host::is_remote(place);
    let recent = if is_asked { RECENT_CLOSED } else { RECENT };
    if distance(eyes.now, modified) < recent {
        return live(None);
    }
    PartialState::Abandoned
}

fn live(holder: Option<Holder>) -> PartialState {
    PartialState::Live {
        is_ours: holder
            .as_ref()
            .is_some_and(|holder| holder.pid == std::process::id()),
        pid: holder.as_ref().map(|holder| holder.pid),
        program: holder
            .and_then(|holder| holder.program)
            .map(|program| sanitize(&program)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_all_three_schemes_are_read() {
        let etag = "ab".repeat(32);
        let oid = "cd".repeat(20);
        let hash = "HgM_lKo9sdSCfRtVg7MMFS7EKqo=";
        for (name, before, says) in [
            (format!("{hash}.{etag}.0a1B2c3d.incomplete"), hash, &etag),
            (format!("{hash}.{etag}.incomplete"), hash, &etag),
            (
                format!("tokenizer.json.{etag}.incomplete"),
                "tokenizer.json",
                &etag,
            ),
            (format!("a.b.{oid}.incomplete"), "a.b", &oid),
        ] {
            let (found, named) = parse(&name).unwrap();
            assert_eq!((found, &named.to_string()), (before, says), "{name}");
        }
        for name in [
            "x.incomplete".to_owned(),
            format!("{etag}.incomplete"),
            format!("x.{etag}.0a1b2c3.incomplete"),
            format!("x.{etag}"),
            "x.json.lock".to_owned(),
        ] {
            assert_eq!(parse(&name), None, "{name}");
        }
    }
}
