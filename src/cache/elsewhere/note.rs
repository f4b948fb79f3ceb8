//! Owns the notes that Python and swift-transformers leave beside a model's files: which commit each
//! file is of, what its content should be, and when that was written (hub.md 3.1 and 3.2).
//!
//! Never trusts a path from outside: what is no safe file path is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use sha1::{Digest as _, Sha1};

use super::amend::is_aside;
use crate::domain::{Commit, Etag, RepoPath};
use crate::host;

/// Where the notes are, below the model's folder.
pub(super) const NOTES: &str = ".cache/huggingface/download";
/// A note is three short lines.
const NOTE_BYTES: u64 = 4096;
/// Entries that are looked at in one folder of notes, and how deep.
const MOST_ENTRIES: usize = 50_000;
const DEEPEST: usize = 12;

/// What a note says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::cache) struct Note {
    /// The commit, where it is one.
    pub(in crate::cache) commit: Option<Commit>,
    /// What the content should be.
    pub(in crate::cache) etag: Etag,
    /// When it was written, seconds since the Unix epoch.
    pub(in crate::cache) at: f64,
}

/// Everything in a folder of notes.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// By file: the note, or what is wrong with it.
    pub(super) by_file: BTreeMap<RepoPath, Result<Note, String>>,
    /// Files that Python has locked at some time.
    pub(super) locks: BTreeSet<RepoPath>,
    /// Unfinished files: where they lie, and the folder of the repo that they belong to.
    pub(super) partials: Vec<PathBuf>,
    /// What a repair writes first, and what it has replaced.
    pub(super) asides: Vec<PathBuf>,
    /// The folder itself.
    pub(super) root: PathBuf,
    /// It and the folders below.
    pub(super) folders: Vec<PathBuf>,
}

impl Notes {
    /// Reads the notes below a model's folder; there may be none.
    pub(super) fn of(folder: &Path) -> Self {
        let root = folder.join(NOTES);
        let mut found = Self {
            root: root.clone(),
            ..Self::default()
        };
        if !super::discover::has_notes(folder) {
            return found;
        }
        let mut open = vec![(String::new(), 0)];
        let mut looked_at = 0;
        while let Some((below, depth)) = open.pop() {
            let Ok(entries) = host::read_dir(&root.join(&below)) else {
                continue;
            };
            found.folders.push(root.join(&below));
            for entry in entries.flatten() {
                looked_at += 1;
                if looked_at > MOST_ENTRIES {
                    return found;
                }
                let Ok(name) = entry.file_name().into_string() else {
                    continue;
                };
                let path = if below.is_empty() {
                    name
                } else {
                    format!("{below}/{name}")
                };
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() && depth < DEEPEST => open.push((path, depth + 1)),
                    Ok(kind) if kind.is_file() => found.add(&path, entry.path()),
                    // A repair has put a file in the place of a link.
                    Ok(kind) if kind.is_symlink() && is_aside(&entry.path()) => {
                        found.asides.push(entry.path());
                    }
                    Ok(_) | Err(_) => {}
                }
            }
        }
        found.partials.sort();
        found.asides.sort();
        found
    }

    fn add(&mut self, name: &str, place: PathBuf) {
        let file = |end: &str| {
            let name = name.strip_suffix(end)?;
            RepoPath::new(name).ok()
        };
        if let Some(path) = file(".metadata") {
            self.by_file.insert(path, read(&place));
        } else if let Some(path) = file(".lock") {
            self.locks.insert(path);
        } else if name.ends_with(".incomplete") {
            self.partials.push(place);
        } else if is_aside(&place) {
            self.asides.push(place);
        }
    }

    /// What a file should be, if its note says.
    pub(super) fn etag(&self, path: &RepoPath) -> Option<Etag> {
        self.by_file.get(path)?.as_ref().ok().map(|note| note.etag)
    }

    /// The commit that most notes name.
    pub(super) fn commit(&self) -> Option<Commit> {
        let mut counts: BTreeMap<Commit, usize> = BTreeMap::new();
        for commit in self
            .by_file
            .values()
            .flatten()
            .filter_map(|note| note.commit)
        {
            *counts.entry(commit).or_default() += 1;
        }
        let most = counts.into_iter().max_by_key(|(_, count)| *count)?;
        Some(most.0)
    }

    /// Where the note of a file lies.
    pub(super) fn place_of(&self, path: &RepoPath) -> PathBuf {
        self.root.join(format!("{path}.metadata"))
    }
}

/// Reads the note at a place, or says what is wrong with it.
pub(in crate::cache) fn read(place: &Path) -> Result<Note, String> {
    let mut text = String::new();
    host::open_itself(place)
        .and_then(|file| file.take(NOTE_BYTES).read_to_string(&mut text))
        .map_err(|error| format!("it cannot be read: {error}"))?;
    parse(&text).map_err(ToOwned::to_owned)
}

/// Reads a note: a commit, an etag and a time, a line each.
pub(super) fn parse(text: &str) -> Result<Note, &'static str> {
    let mut lines = text.lines().map(str::trim);
    let (Some(commit), Some(etag), Some(at)) = (lines.next(), lines.next(), lines.next()) else {
        return Err("it has less than three lines");
    };
    let at: f64 = at.parse().map_err(|_| "its third line is no time")?;
    if !at.is_finite() {
        return Err("its third line is no time");
    }
    Ok(Note {
        commit: Commit::new(commit).ok(),
        etag: Etag::new(etag).map_err(|_| "its second line is no hash")?,
        at,
    })
}

/// What Python 1.x and later call a file in the names of unfinished ones.
pub(in crate::cache) fn short_hash(path: &RepoPath) -> String {
    let name = path.segments().last().unwrap_or_default();
    url_safe_base64(&Sha1::digest(format!("{name}.metadata")))
}

fn url_safe_base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let at = |place: usize| u32::from(group.get(place).copied().unwrap_or(0));
        let joined = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4_usize {
            if place > group.len() {
                text.push('=');
                continue;
            }
            let six = (joined >> (18 - 6 * place)) & 63;
            text.push(char::from(LETTERS[usize::try_from(six).unwrap_or(0)]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cache::fixture::path;
    use crate::cache::fuzz_tests;

    #[test]
    fn names_of_unfinished_files_are_pythons() {
        for (file, hash) in [
            ("tokenizer.json", "HgM_lKo9sdSCfRtVg7MMFS7EKqo="),
            ("sub/model.safetensors", "xGOKKLRSlIhH692hSVvI1-gpoa8="),
            ("config.json", "8_PA_wEVGiVa2goH2H4KQOQpvVY="),
        ] {
            assert_eq!(short_hash(&path(file)), hash);
        }
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v")] {
            assert_eq!(url_safe_base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn a_note_is_three_lines_or_nothing() {
        let commit = "a".repeat(40);
        let etag = "b".repeat(64);
        let good = parse(&format!("{commit}\n{etag}\n1795475936.5974448\n")).unwrap();
        assert_eq!(good.commit.unwrap().to_string(), commit);
        assert_eq!(good.etag.to_string(), etag);
        assert!((good.at - 1_795_475_936.597_444_8).abs() < 0.001);
        // A mirror may call its commits as it likes.
        let odd = parse(&format!("v1\n\"{etag}\"\r\n1\nmore")).unwrap();
        assert_eq!((odd.commit, odd.etag.to_string()), (None, etag.clone()));
        for bad in [
            String::new(),
            format!("{commit}\n{etag}"),
            format!("{commit}\n{etag}\nyesterday\n"),
            format!("{commit}\n{etag}\nNaN\n"),
            format!("{commit}\nnone\n1\n"),
        ] {
            assert!(parse(&bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #![proptest_config(fuzz_tests::config())]

        #[test]
        fn a_note_is_read_back_and_no_text_is_too_strange_for_one(seed in any::<u64>(), at in 0_u32..) {
            let (commit, etag) = ("ab".repeat(20), format!("{seed:064x}"));
            let sound = format!("{commit}\n{etag}\n{at}.5\n");
            let note = parse(&sound).unwrap();
            prop_assert_eq!(note.commit, Commit::new(&commit).ok());
            prop_assert_eq!(Some(note.etag), Etag::new(&etag).ok());
            prop_assert!((note.at - (f64::from(at) + 0.5)).abs() < 0.001);
            let damaged = fuzz_tests::damaged(&sound, seed);
            for odd in [String::from_utf8_lossy(&damaged), fuzz_tests::text(seed).into()] {
                let note = parse(&odd);
                prop_assert!(note.is_err() || note.is_ok_and(|note| note.at.is_finite()));
            }
        }
    }
}
