//! What comes from files of unknown writers, against everything that could stand in them: it is read
//! without harm, what was written is read back, and what Python refuses is refused.
//!
//! `PROPTEST_CASES` above the number here makes it run longer.

use std::path::Path;
use std::time::SystemTime;

use proptest::prelude::*;

use super::fixture::{cache, commit, path, repo};
use super::marker::{MarkerProgress, MarkerRecord, head, is_torn, record};
use super::snapshot::named_blob;
use super::{Layout, RefValue, chunk_map, read_ref, salvage, trees};
use crate::domain::{Commit, Etag, RemoteFile, RepoId, RepoKind, RepoPath, Revision};

/// Cases of each property.
const CASES: u32 = 10_000;

pub(super) fn config() -> ProptestConfig {
    let asked = ProptestConfig::default();
    ProptestConfig {
        cases: asked.cases.max(CASES),
        ..asked
    }
}

/// What a text is made of that means something to one of the parsers.
const WORDS: &[&str] = &[
    "",
    "\n",
    "\r\n",
    "\0",
    " ",
    "..",
    "../",
    "../../",
    "/",
    "\\",
    "blobs",
    "/blobs/",
    "--",
    "models--",
    "datasets--",
    "models--a--b",
    ".incomplete",
    ".part",
    ".sync.part",
    ".map.incomplete",
    ".git",
    "{",
    "}",
    "[",
    "]",
    "\"",
    ":",
    ",",
    "null",
    "true",
    "-1",
    "1e999",
    "18446744073709551616",
    "9223372036854775807",
    "\"format_version\": 1",
    "\"files\":",
    "\"size\": 2",
    "\"blob_id\":",
    "\"lfs_sha256\":",
    "\"lfs_size\":",
    "\"xet_hash\":",
    "pid: ",
    "host: ",
    "files: 1/2",
    "bytes: 3/4",
    "larder-chunks 1 ",
    "chunk 1 ",
    "part 2 ",
    "lost 3 ",
    "source 1 ",
    "\u{202e}",
    "\u{1b}[2J",
    "日本",
    "u\u{308}",
    "C:",
    "0123456789abcdef0123456789abcdef01234567",
    "abababababababababababababababababababababababababababababababab",
];

/// Damage that anything can do to a text: random, but the same for the same seed.
pub(super) fn damaged(text: &str, seed: u64) -> Vec<u8> {
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..dice.usize(..6) {
        let at = dice.usize(..=bytes.len());
        let to = (at + dice.usize(..24)).min(bytes.len());
        match dice.u8(..8) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..to)),
            2 => {
                let again = bytes[at..to].to_vec();
                bytes.splice(at..at, again);
            }
            3 if at < bytes.len() => bytes[at] ^= 1 << dice.u8(..8),
            4 if at < bytes.len() => bytes[at] = dice.u8(..),
            5 => bytes.extend_from_slice(text.as_bytes()),
            _ => {
                let word = WORDS[dice.usize(..WORDS.len())];
                bytes.splice(at..at, word.bytes());
            }
        }
    }
    bytes
}

/// A text of words, sound or not.
pub(super) fn text(seed: u64) -> String {
    let mut dice = fastrand::Rng::with_seed(seed);
    let words = (0..dice.usize(..9)).map(|_| WORDS[dice.usize(..WORDS.len())]);
    let sound: String = words.collect();
    String::from_utf8_lossy(&damaged(&sound, dice.u64(..))).into_owned()
}

fn hex_of(dice: &mut fastrand::Rng, length: usize) -> String {
    (0..length)
        .map(|_| char::from(b"0123456789abcdef"[dice.usize(..16)]))
        .collect()
}

/// A listing as the Hub could give it.
fn listing(seed: u64) -> Vec<RemoteFile> {
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut files: Vec<RemoteFile> = (0..dice.usize(..5))
        .map(|number| {
            let oid = hex_of(&mut dice, 40);
            let is_lfs = dice.bool();
            let name = if is_lfs {
                hex_of(&mut dice, 64)
            } else {
                oid.clone()
            };
            let odd = ["", "a/", "ü \"q\"/", "🦙/日本/", "\u{7f}".trim()][dice.usize(..4)];
            RemoteFile {
                path: path(&format!("{odd}{number}.json")),
                size_bytes: dice.u64(..) >> dice.u8(..64),
                etag: Etag::new(&name).unwrap(),
                git_oid: oid,
                xet_hash: dice.bool().then(|| hex_of(&mut dice, 64)),
            }
        })
        .collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_listing_is_read_back_and_damage_never_leads_out_of_a_snapshot(seed in any::<u64>()) {
        let files = listing(seed);
        let written = trees::render(&files);
        prop_assert_eq!(trees::parse(written.as_bytes()), Some(files));
        for file in trees::parse(&damaged(&written, seed)).unwrap_or_default() {
            prop_assert!(RepoPath::new(file.path.as_str()).is_ok());
            // Python throws the listing away for these.
            if let Some(hash) = &file.xet_hash {
                prop_assert_eq!(hash.len(), 64);
                prop_assert!(hash.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)));
            }
        }
    }

    #[test]
    fn a_listing_of_another_version_is_none(seed in any::<u64>(), version in any::<u64>()) {
        prop_assume!(version != 1);
        let written = trees::render(&listing(seed));
        let other = written.replace("\"format_version\": 1", &format!("\"format_version\": {version}"));
        prop_assert_eq!(trees::parse(other.as_bytes()), None);
    }

    #[test]
    fn what_a_marker_says_is_read_back_and_damage_is_only_not_understood(
        seed in any::<u64>(), figures in any::<[u64; 4]>(),
    ) {
        let progress = MarkerProgress {
            files_done: figures[0] >> 32,
            files_total: figures[1] >> 32,
            bytes_done: figures[2],
            bytes_total: figures[3],
        };
        let written = record(&head(SystemTime::UNIX_EPOCH), &progress);
        let read = MarkerRecord::of(&written);
        prop_assert_eq!(read.progress, Some(progress));
        prop_assert_eq!(read.pid, Some(std::process::id()));
        prop_assert!(!is_torn(&written));
        let damaged = String::from_utf8_lossy(&damaged(&written, seed)).into_owned();
        let read = MarkerRecord::of(&damaged);
        for said in [read.host, read.program].into_iter().flatten() {
            prop_assert!(!said.chars().any(char::is_control), "{:?}", said);
            prop_assert!(said.chars().count() <= 400);
        }
        // A power cut leaves the beginning of it.
        let mut dice = fastrand::Rng::with_seed(seed);
        prop_assert!(is_torn(&written[..dice.usize(1..written.len())]));
    }

    #[test]
    fn a_chunk_map_of_any_text_vouches_for_no_more_than_the_file(seed in any::<u64>(), size in any::<u64>()) {
        let mut dice = fastrand::Rng::with_seed(seed);
        let etag = Etag::new(&hex_of(&mut dice, 64)).unwrap();
        // Lines whose check is right, whatever they say, and then some damage.
        let mut sound = chunk_map::sealed(&chunk_map::ChunkMap::new(&etag, size).head());
        for number in 0..4 {
            let digest = hex_of(&mut dice, 32);
            let (chunk, bytes) = (dice.u64(..) >> dice.u8(..64), dice.u64(..) >> dice.u8(..64));
            let line = match dice.u8(..5) {
                0 => format!("chunk {chunk} {digest} 1"),
                1 => format!("part {chunk} {bytes} {digest} 1"),
                2 => format!("lost {chunk}"),
                3 => format!("source {number} x"),
                _ => text(seed ^ number),
            };
            sound.push_str(&chunk_map::sealed(&line));
        }
        let bytes = if dice.bool() { sound.into_bytes() } else { damaged(&sound, seed) };
        let text = String::from_utf8_lossy(&bytes);
        if let Some(map) = chunk_map::ChunkMap::parse(&text, &etag, size) {
            prop_assert!(map.bytes() <= size);
        }
    }

    #[test]
    fn folder_names_are_read_back_and_no_other_is_a_repo(seed in any::<u64>()) {
        let name = text(seed);
        if let Some(repo) = RepoId::from_folder(&name) {
            prop_assert_eq!(repo.folder(), name.clone());
            prop_assert!(!name.contains(['/', '\\', '\0']) && !name.contains(".."));
        }
        let mut dice = fastrand::Rng::with_seed(seed);
        let mut part = || {
            let length = dice.usize(1..8);
            (0..length)
                .map(|_| char::from(b"aZ0_.-"[dice.usize(..6)]))
                .collect::<String>()
        };
        let name = format!("{}/{}", part(), part());
        for kind in RepoKind::ALL {
            if let Ok(repo) = RepoId::new(kind, &name) {
                prop_assert_eq!(RepoId::from_folder(&repo.folder()), Some(repo));
            }
        }
    }

    #[test]
    fn an_etag_is_forty_or_sixty_four_hex_characters(seed in any::<u64>()) {
        let text = text(seed);
        let is_hex = text.bytes().all(|b| b.is_ascii_hexdigit());
        if let Ok(etag) = Etag::new(&text) {
            let name = etag.to_string();
            prop_assert!(matches!(name.len(), 40 | 64));
            prop_assert!(name.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)));
            prop_assert_eq!(Etag::new(&name).ok(), Some(etag));
        } else {
            prop_assert!(!(is_hex && matches!(text.len(), 40 | 64)));
        }
        // What stands in a folder of blobs is taken for a partial only under its exact name.
        if let Some(etag) = salvage::etag_of(&text) {
            prop_assert!(text.starts_with(&etag.to_string()));
        }
    }

    #[test]
    fn a_path_never_leaves_the_folder_it_is_joined_to(seed in any::<u64>()) {
        let text = text(seed);
        if let Ok(path) = RepoPath::new(&text) {
            let joined = Path::new("/snapshot").join(path.as_str());
            prop_assert!(joined.starts_with("/snapshot"));
            let is_plain = |part| matches!(part, std::path::Component::Normal(_));
            prop_assert!(Path::new(path.as_str()).components().all(is_plain));
            prop_assert_eq!(path.segments().count(), path.depth() + 1);
            prop_assert!(!text.chars().any(char::is_control));
        }
    }

    #[test]
    fn a_pointer_names_a_blob_only_if_it_leads_to_one(seed in any::<u64>()) {
        let files = ["f", "a/f", "a b/ü/f"];
        let mut dice = fastrand::Rng::with_seed(seed);
        let file = path(files[dice.usize(..files.len())]);
        let etag = Etag::new(&hex_of(&mut dice, 64)).unwrap();
        let sound = Layout::pointer_text(&file, &etag);
        prop_assert_eq!(named_blob(&file, Path::new(&sound)), Some(etag.to_string()));
        let odd = String::from_utf8_lossy(&damaged(&sound, seed)).into_owned();
        if let Some(name) = named_blob(&file, Path::new(&odd)) {
            // Followed by hand, it ends in the blobs of the repo and nowhere else.
            let mut place = vec!["", "snapshots", "commit"];
            place.extend(file.segments().take(file.depth()));
            place.remove(0);
            for part in odd.split('/').filter(|part| !matches!(*part, "" | ".")) {
                if part == ".." {
                    prop_assert!(place.pop().is_some(), "{}", odd);
                } else {
                    place.push(part);
                }
            }
            prop_assert_eq!(place, vec!["blobs", name.as_str()], "{}", odd);
            prop_assert!(!odd.starts_with('/'));
        }
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_ref_is_one_commit_or_said_to_be_malformed(seed in any::<u64>()) {
        // One file for all cases: making a folder each time would cost more than the test.
        thread_local! {
            static PLACE: (super::fixture::Folder, Layout) = cache();
        }
        let sound = commit('a').to_string();
        let bytes = damaged(&sound, seed);
        let value = PLACE.with(|(_, layout)| {
            let (repo, revision) = (repo("org/m"), Revision::main());
            let file = layout.reference(&repo, &revision);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, &bytes).unwrap();
            read_ref(layout, &repo, &revision).unwrap().unwrap()
        });
        let is_commit = |text: &[u8]| {
            text.len() == 40 && text.iter().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b))
        };
        // Python takes every byte of it.
        prop_assert_eq!(value.is_malformed, !is_commit(&bytes));
        let trimmed = str::from_utf8(&bytes).ok().and_then(|text| Commit::new(text.trim()).ok());
        prop_assert_eq!(value, RefValue { commit: trimmed, ..value });
    }
}
