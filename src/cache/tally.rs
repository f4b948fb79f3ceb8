//! Owns looking at the files of one snapshot: what is there, what is wrong, sentence by sentence
//! for `ls` and finding by finding for those who judge.
//!
//! Never hashes and never writes.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::diagnosis::{Seen, Subject};
use super::snapshot::{named_blob, paths_below};
use super::{Result, blob};
use crate::domain::{
    Examination, FileRow, FileState, Finding, LoadLevel, RemoteFile, RepoPath, Rule, Severity,
    sanitize,
};
use crate::host;

/// Sums and findings over the entries of a snapshot.
pub(super) struct Tally<'a> {
    subject: Subject<'a>,
    pub(super) present: BTreeSet<RepoPath>,
    /// By device and inode: two pointers to one blob are one blob on disk.
    counted: HashSet<(u64, u64)>,
    pub(super) size_bytes: u64,
    pub(super) modified_ms: Option<u64>,
    pub(super) accessed_ms: Option<u64>,
    pub(super) broken: Vec<String>,
    pub(super) notes: Vec<String>,
    pub(super) findings: Vec<Finding>,
}

impl<'a> Tally<'a> {
    pub(super) fn of(subject: Subject<'a>) -> Self {
        Self {
            subject,
            present: BTreeSet::new(),
            counted: HashSet::new(),
            size_bytes: 0,
            modified_ms: None,
            accessed_ms: None,
            broken: Vec::new(),
            notes: Vec::new(),
            findings: Vec::new(),
        }
    }

    pub(super) fn files(&mut self, folder: &Path, listing: &[RemoteFile]) -> Result<Vec<FileRow>> {
        let mut listed: BTreeMap<&RepoPath, &RemoteFile> =
            listing.iter().map(|file| (&file.path, file)).collect();
        let mut rows = Vec::new();
        for path in paths_below(folder)? {
            let expected = listed.remove(&path);
            rows.push(self.file(folder, &path, expected));
        }
        rows.extend(listed.into_values().map(|file| FileRow {
            path: sanitize(file.path.as_str()),
            size_bytes: None,
            expected_bytes: Some(file.size_bytes),
            etag: Some(file.etag.to_string()),
            state: FileState::Absent,
            verified_ms: None,
        }));
        Ok(rows)
    }

    /// A reader gets wrong or missing bytes of a file.
    fn broke(&mut self, rule: Rule, seen: Seen<'_>, sentence: String) {
        // What follows from the first thing wrong is no second finding.
        let is_first = !self.findings.iter().any(|known| {
            known.severity == Severity::Error && known.file.as_deref() == Some(seen.file)
        });
        if is_first {
            self.findings
                .push(self.subject.damage(rule, seen, &sentence));
        }
        self.broken.push(sentence);
    }

    fn file(&mut self, folder: &Path, path: &RepoPath, expected: Option<&RemoteFile>) -> FileRow {
        let place = folder.join(path.as_str());
        let shown = sanitize(path.as_str());
        let link = fs::read_link(&place).ok();
        let target = link
            .as_deref()
            .map(|text| text.to_string_lossy().into_owned());
        let is_link = link.is_some();
        let etag = link.and_then(|text| named_blob(path, &text));
        let expected_bytes = expected.map(|file| file.size_bytes);
        let row = |size_bytes, state| FileRow {
            path: shown.clone(),
            size_bytes,
            expected_bytes,
            etag: etag.as_deref().map(sanitize),
            state,
            verified_ms: None,
        };
        let seen = |bytes, what| Seen {
            file: &shown,
            place: &place,
            bytes,
            expected_bytes,
            what,
        };
        let leads = format!("it leads to {}", target.as_deref().unwrap_or_default());
        let metadata = match place.metadata() {
            Ok(metadata) if metadata.is_file() => metadata,
            Ok(_) => {
                let sentence = format!("`{shown}` leads to no file");
                self.broke(Rule::DanglingPointer, seen(None, &leads), sentence);
                return row(None, FileState::Missing);
            }
            Err(error) if blob::is_absent(&error) => {
                let sentence = format!("the pointer `{shown}` leads to nothing");
                self.broke(Rule::DanglingPointer, seen(None, &leads), sentence);
                return row(None, FileState::Missing);
            }
            Err(error) => {
                let sentence = format!("`{shown}` cannot be read: {error}");
                let why = error.to_string();
                self.broke(Rule::Unreadable, seen(None, &why), sentence);
                return row(None, FileState::Missing);
            }
        };
        self.count(&metadata);
        self.present.insert(path.clone());
        let bytes = metadata.len();
        if is_link && etag.is_none() {
            let sentence = format!("the pointer `{shown}` leads out of the repo");
            let finding =
                self.subject
                    .damage(Rule::EscapingPointer, seen(Some(bytes), &leads), &sentence);
            self.findings.push(finding);
            self.notes.push(sentence);
        }
        if let (Some(named), Some(file)) = (&etag, expected)
            && *named != file.etag.to_string()
        {
            let what = format!(
                "it leads to {}, the listing says {}",
                sanitize(named),
                file.etag
            );
            let sentence = format!("the pointer `{shown}` leads to another content");
            let seen = Seen {
                what: &what,
                ..seen(Some(bytes), "")
            };
            self.broke(Rule::WrongPointer, seen, sentence);
        }
        if is_lfs_pointer(&place, bytes) && expected_bytes != Some(bytes) {
            let sentence = format!("`{shown}` holds an LFS pointer, not its content");
            let what = "it begins with `version https://git-lfs`";
            self.broke(Rule::LfsPointer, seen(Some(bytes), what), sentence);
        }
        let state = match expected_bytes {
            Some(expected) if bytes < expected => {
                let sentence = format!("`{shown}` has {bytes} of {expected} bytes");
                let what = "it is shorter than the listing says";
                self.broke(Rule::Truncated, seen(Some(bytes), what), sentence);
                FileState::Truncated
            }
            Some(expected) if bytes > expected => {
                let sentence = format!("`{shown}` has {bytes} bytes, not {expected}");
                let what = "it is longer than the listing says";
                self.broke(Rule::WrongSize, seen(Some(bytes), what), sentence);
                FileState::WrongSize
            }
            _ if is_link => FileState::Unverified,
            _ => FileState::Regular,
        };
        row(Some(bytes), state)
    }

    /// What the examination of the model says is wrong, beyond what is known already. What is
    /// missing is for the listing to say, where there is one.
    pub(super) fn would_not_load(&mut self, folder: &Path, examination: &Examination) {
        let told = examination
            .troubles
            .iter()
            .filter(|trouble| trouble.level != LoadLevel::Missing);
        for trouble in told {
            let is_broken = trouble.level == LoadLevel::Broken;
            if is_broken {
                self.broken.push(trouble.sentence.clone());
            }
            let file = trouble.file.as_deref();
            let is_known = |known: &Finding| {
                known.severity == Severity::Error && file.is_some() && known.file.as_deref() == file
            };
            if self.findings.iter().any(is_known) {
                continue;
            }
            let place = file.map_or_else(|| folder.to_owned(), |file| folder.join(file));
            let bytes = place.metadata().ok().filter(fs::Metadata::is_file);
            let seen = Seen {
                file: file.unwrap_or_default(),
                place: &place,
                bytes: bytes.map(|metadata| metadata.len()),
                expected_bytes: None,
                what: &trouble.sentence,
            };
            let mut finding = self.subject.damage(trouble.rule, seen, &trouble.sentence);
            finding.severity = trouble.level.severity();
            if file.is_none() {
                finding.file = None;
            }
            if let Some(cause) = &trouble.cause {
                finding.cause.clone_from(cause);
            }
            self.findings.push(finding);
        }
    }

    fn count(&mut self, metadata: &fs::Metadata) {
        if !self.counted.insert((metadata.dev(), metadata.ino())) {
            return;
        }
        self.size_bytes += metadata.len();
        self.modified_ms = self.modified_ms.max(since_epoch(metadata.modified()));
        self.accessed_ms = self.accessed_ms.max(since_epoch(metadata.accessed()));
    }
}

fn since_epoch(time: io::Result<SystemTime>) -> Option<u64> {
    let since = time.ok()?.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_millis()).ok()
}

fn is_lfs_pointer(path: &Path, bytes: u64) -> bool {
    let mut start = [0; blob::LFS_POINTER.len()];
    bytes <= blob::LFS_POINTER_MAX_BYTES
        && host::open_quietly(path).is_ok_and(|mut file| file.read_exact(&mut start).is_ok())
        && start == blob::LFS_POINTER
}
