//! Owns looking at the files of one snapshot: what is there, what is wrong, sentence by sentence
//! for `ls` and finding by finding for those who judge.
//!
//! Never hashes and never writes.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::diagnosis::{Seen, Subject};
use super::ready::Hashed;
use super::salvage::exact_etag;
use super::shape::WEIGHTS;
use super::snapshot::{named_blob, paths_below};
use super::{Judge, Result, blob};
use crate::domain::{
    Etag, Examination, FileRow, FileState, Finding, LoadLevel, Plan, PlanStep, RemoteFile,
    RepoPath, Rule, Severity, sanitize,
};
use crate::host;

/// A file larger than this is no error page.
pub(super) const PAGE_MAX_BYTES: u64 = 1 << 20;
/// So much of a file's start tells what it is.
const START_BYTES: usize = 64;
/// How web pages and the errors of storage services begin, in small letters.
const PAGES: [&[u8]; 4] = [b"<!doctype", b"<html", b"<?xml", b"<error"];

/// Why a file whose bytes are right would not load.
pub(super) const HUBS_OWN: &str = "its bytes are those of the Hub: the repo itself holds it like that, and pulling it again brings \
     the same";

/// Sums and findings over the entries of a snapshot.
pub(super) struct Tally<'a> {
    subject: Subject<'a>,
    pub(super) present: BTreeSet<RepoPath>,
    /// By device and inode: two pointers to one blob are one blob on disk.
    pub(super) counted: HashMap<(u64, u64), u64>,
    pub(super) size_bytes: u64,
    pub(super) modified_ms: Option<u64>,
    pub(super) accessed_ms: Option<u64>,
    pub(super) broken: Vec<String>,
    pub(super) notes: Vec<String>,
    pub(super) findings: Vec<Finding>,
    /// Files that were hashed and are right.
    proven: HashSet<String>,
    /// Files about which an error was told.
    in_error: HashSet<String>,
    /// Names of blobs that pointers lead to, those included that are not there.
    pub(super) named: BTreeSet<String>,
    /// Regular files in the place of pointers, with their lengths.
    pub(super) regular: Vec<(PathBuf, u64)>,
    /// Those of them whose content lies among the blobs as well, with that blob.
    pub(super) copied: Vec<(PathBuf, PathBuf, u64)>,
    /// Files that are not read: pointers lead out of the repo, or their bytes are not on this disk.
    pub(super) untouched: BTreeSet<String>,
    /// Those whose bytes are not on this disk, a sentence each.
    pub(super) evicted: Vec<String>,
    /// When the content that was hashed longest ago was; `None` before the first.
    oldest_ms: Option<u64>,
    /// Whether a file there is was not hashed, or has changed since.
    has_unhashed: bool,
    judge: Judge<'a>,
    blobs: PathBuf,
    /// `blobs` without links, as the ledger calls it.
    real_blobs: Option<PathBuf>,
}

impl<'a> Tally<'a> {
    pub(super) fn of(subject: Subject<'a>, blobs: PathBuf, judge: Judge<'a>) -> Self {
        Self {
            named: BTreeSet::new(),
            regular: Vec::new(),
            copied: Vec::new(),
            untouched: BTreeSet::new(),
            evicted: Vec::new(),
            oldest_ms: None,
            has_unhashed: false,
            judge,
            real_blobs: fs::canonicalize(&blobs).ok(),
            blobs,
            subject,
            present: BTreeSet::new(),
            counted: HashMap::new(),
            size_bytes: 0,
            modified_ms: None,
            accessed_ms: None,
            broken: Vec::new(),
            notes: Vec::new(),
            findings: Vec::new(),
            in_error: HashSet::new(),
            proven: HashSet::new(),
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
        rows.extend(listed.into_values().map(|file| {
            FileRow {
                path: sanitize(file.path.as_str()),
                // The content may be here, and only what leads to it not.
                size_bytes: fs::metadata(self.blobs.join(file.etag.to_string()))
                    .ok()
                    .map(|found| found.len())
                    .filter(|bytes| *bytes == file.size_bytes),
                expected_bytes: Some(file.size_bytes),
                etag: Some(file.etag.to_string()),
                state: FileState::Absent,
                verified_ms: None,
                links: Vec::new(),
            }
        }));
        Ok(rows)
    }

    /// A reader gets wrong or missing bytes of a file.
    fn broke(&mut self, rule: Rule, seen: Seen<'_>, sentence: String) {
        // What follows from the first thing wrong is no second finding.
        if self.in_error.insert(seen.file.to_owned()) {
            let mut finding = self.subject.damage(rule, seen, &sentence);
            let is_left_out = RepoPath::new(seen.file)
                .is_ok_and(|path| !self.judge.selects(&path, &Etag::Sha256([0; 32])));
            if is_left_out {
                finding.plan = Plan::of(self.subject.by_name(seen.file, seen.expected_bytes));
            }
            self.findings.push(finding);
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
        let named = link.and_then(|text| named_blob(path, &text));
        self.named.extend(named.clone());
        self.named.extend(
            target
                .as_deref()
                .and_then(|text| self.named_absolutely(text)),
        );
        let expected_bytes = expected.map(|file| file.size_bytes);
        let row = |size_bytes, state| FileRow {
            path: shown.clone(),
            size_bytes,
            expected_bytes,
            etag: named.as_deref().map(sanitize),
            state,
            verified_ms: None,
            links: Vec::new(),
        };
        let seen = |bytes, what| Seen {
            file: &shown,
            place: &place,
            bytes,
            expected_bytes,
            what,
        };
        let leads = format!("it leads to {}", target.as_deref().unwrap_or_default());
        let Some(metadata) = self.metadata(seen(None, &leads)) else {
            return row(None, FileState::Missing);
        };
        self.count(&metadata);
        self.present.insert(path.clone());
        let bytes = metadata.len();
        let is_out = named.as_deref().is_some_and(|name| self.leads_out(name));
        if is_link && (named.is_none() || is_out) {
            self.escaped(seen(None, &leads));
            self.untouched.insert(path.as_str().to_owned());
            return row(Some(bytes), FileState::Unverified);
        }
        if host::is_evicted(&place, &metadata) {
            self.evicted(seen(Some(bytes), ""));
            self.untouched.insert(path.as_str().to_owned());
            // Nobody can read it now.
            self.present.remove(path);
            return row(Some(bytes), FileState::Unverified);
        }
        if let (Some(named), Some(file)) = (&named, expected)
            && *named != file.etag.to_string()
            && exact_etag(named).is_some_and(|etag| etag.algorithm() == file.etag.algorithm())
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
        let etag = named.as_deref().and_then(exact_etag);
        let etag = etag.or_else(|| expected.map(|file| file.etag));
        let mut state = self.content(seen(Some(bytes), ""), etag.as_ref());
        if !is_link && state == FileState::Unverified {
            state = FileState::Regular;
            self.is_regular(&place, bytes, etag.as_ref());
        }
        let hashed = etag.and_then(|etag| self.hashed(&place, &metadata, named.as_deref(), &etag));
        state = self.by_hash(hashed, state, seen(Some(bytes), ""));
        FileRow {
            verified_ms: hashed.map(|hashed| hashed.at_ms),
            ..row(Some(bytes), state)
        }
    }

    /// Whether a blob is itself a link that leads out of the cache; one into the shared store does not.
    fn leads_out(&self, name: &str) -> bool {
        let blob = self.blobs.join(name);
        let is_link = blob
            .symlink_metadata()
            .is_ok_and(|found| found.is_symlink());
        let root = self
            .real_blobs
            .as_deref()
            .and_then(|blobs| blobs.parent()?.parent());
        is_link
            && root.is_some_and(|root| {
                fs::canonicalize(&blob).is_ok_and(|real| !real.starts_with(root))
            })
    }

    /// The blob of this repo that an absolute target names.
    fn named_absolutely(&self, target: &str) -> Option<String> {
        let target = Path::new(target);
        let folder = target.parent().filter(|_| target.is_absolute())?;
        let is_ours = folder == self.blobs || Some(folder) == self.real_blobs.as_deref();
        let name = target.file_name()?.to_str()?;
        is_ours.then(|| name.to_owned())
    }

    /// What hashing a content came to, and so its state.
    fn by_hash(&mut self, hashed: Option<Hashed>, state: FileState, seen: Seen<'_>) -> FileState {
        match hashed {
            Some(Hashed {
                computed: Some(computed),
                ..
            }) => {
                let what = format!("it hashed to {computed} when it was last read");
                let sentence = format!("`{}` does not hash to its name", seen.file);
                let told = Seen {
                    file: seen.file,
                    place: seen.place,
                    bytes: seen.bytes,
                    expected_bytes: seen.expected_bytes,
                    what: &what,
                };
                self.broke(Rule::WrongHash, told, sentence);
                self.has_unhashed = true;
                match state {
                    FileState::Unverified | FileState::Regular => FileState::WrongHash,
                    other => other,
                }
            }
            Some(Hashed { at_ms, .. }) => {
                self.proven.insert(seen.file.to_owned());
                self.oldest_ms = Some(self.oldest_ms.map_or(at_ms, |oldest| oldest.min(at_ms)));
                match state {
                    FileState::Unverified => FileState::Verified,
                    other => other,
                }
            }
            None => {
                // There is nothing to hash in a file without a byte.
                self.has_unhashed |= seen.bytes != Some(0);
                state
            }
        }
    }

    /// What a path leads to, if that is a file; else that is damage.
    fn metadata(&mut self, seen: Seen<'_>) -> Option<fs::Metadata> {
        let shown = seen.file;
        match seen.place.metadata() {
            Ok(metadata) if metadata.is_file() => return Some(metadata),
            Ok(found) if found.is_dir() => {
                let sentence = format!("the pointer `{shown}` leads to a folder, not to a file");
                let what = "no reader finds a file there";
                self.broke(Rule::DanglingPointer, Seen { what, ..seen }, sentence);
            }
            Ok(_) => {
                let sentence = format!("`{shown}` leads to no file");
                self.broke(Rule::DanglingPointer, seen, sentence);
            }
            Err(error) if blob::is_absent(&error) => {
                let sentence = format!("the pointer `{shown}` leads to nothing");
                self.broke(Rule::DanglingPointer, seen, sentence);
            }
            Err(error) => {
                let why = error.to_string();
                let sentence = format!("`{shown}` cannot be read: {why}");
                self.broke(Rule::Unreadable, Seen { what: &why, ..seen }, sentence);
            }
        }
        None
    }

    /// When the content that was hashed longest ago was, if all were, and are right.
    pub(super) fn verified_ms(&self) -> Option<u64> {
        self.oldest_ms.filter(|_| !self.has_unhashed)
    }

    /// A pointer that leads anywhere but among the repo's blobs.
    fn escaped(&mut self, seen: Seen<'_>) {
        let sentence = format!("the pointer `{}` leads out of the repo", seen.file);
        let finding = self.subject.damage(Rule::EscapingPointer, seen, &sentence);
        self.findings.push(finding);
        self.notes.push(sentence);
        self.has_unhashed = true;
    }

    /// A file whose bytes are not on this disk.
    fn evicted(&mut self, seen: Seen<'_>) {
        let sentence = format!("`{}` is not on this disk, or was never written", seen.file);
        let seen = Seen {
            what: "it takes next to no room for its length; it is not read",
            ..seen
        };
        let mut finding = self.subject.damage(Rule::Evicted, seen, &sentence);
        finding.plan = Plan::of(PlanStep::ByHand {
            advice: format!(
                "open it once, or choose \"Download Now\" in the Finder: {}",
                seen.place.display()
            ),
        });
        self.findings.push(finding);
        self.evicted.push(sentence);
        self.has_unhashed = true;
    }

    /// What can be told of a content without hashing it.
    fn content(&mut self, seen: Seen<'_>, etag: Option<&Etag>) -> FileState {
        let bytes = seen.bytes.unwrap_or(0);
        let shown = seen.file;
        let is_as_long = seen.expected_bytes == Some(bytes);
        if bytes == 0 && !is_as_long && etag.is_some_and(|etag| !is_of_nothing(etag)) {
            let seen = Seen {
                what: "there is not a byte in it",
                ..seen
            };
            self.broke(Rule::EmptyBlob, seen, format!("`{shown}` is empty"));
            return FileState::Truncated;
        }
        if !is_as_long && bytes <= PAGE_MAX_BYTES {
            let start = start_of(seen.place);
            if start.starts_with(blob::LFS_POINTER) && bytes <= blob::LFS_POINTER_MAX_BYTES {
                let what = "it begins with `version https://git-lfs`";
                let sentence = format!("`{shown}` holds an LFS pointer, not its content");
                self.broke(Rule::LfsPointer, Seen { what, ..seen }, sentence);
            } else if is_page(&start) && !is_page_name(shown) {
                let begins = String::from_utf8_lossy(start.trim_ascii_start());
                let begins: String = begins.chars().take(24).collect();
                let what = format!("it begins with `{}`", sanitize(&begins));
                let sentence = format!("`{shown}` holds a web page or an error, not its content");
                let page = Seen {
                    file: seen.file,
                    place: seen.place,
                    bytes: seen.bytes,
                    expected_bytes: seen.expected_bytes,
                    what: &what,
                };
                self.broke(Rule::ErrorPage, page, sentence);
            }
        }
        match seen.expected_bytes {
            Some(expected) if bytes < expected => {
                let sentence = format!("`{shown}` has {bytes} of {expected} bytes");
                let what = "it is shorter than the listing says";
                self.broke(Rule::Truncated, Seen { what, ..seen }, sentence);
                FileState::Truncated
            }
            Some(expected) if bytes > expected => {
                let sentence = format!("`{shown}` has {bytes} bytes, not {expected}");
                let what = "it is longer than the listing says";
                self.broke(Rule::WrongSize, Seen { what, ..seen }, sentence);
                FileState::WrongSize
            }
            _ => FileState::Unverified,
        }
    }

    /// A file that is no pointer, and its blob beside it, if there is one.
    fn is_regular(&mut self, place: &Path, bytes: u64, etag: Option<&Etag>) {
        let blob = etag.map(|etag| self.blobs.join(etag.to_string()));
        let is_twice = |blob: &PathBuf| {
            let found = blob.metadata().ok().filter(|found| found.len() == bytes);
            let here = place.metadata().ok();
            // A hard link is one file.
            found
                .zip(here)
                .is_some_and(|(a, b)| (a.dev(), a.ino()) != (b.dev(), b.ino()))
        };
        match blob.filter(is_twice) {
            Some(blob) => {
                self.named.extend(etag.map(ToString::to_string));
                self.copied.push((place.to_owned(), blob, bytes));
            }
            None => self.regular.push((place.to_owned(), bytes)),
        }
    }

    /// What is known of a content because it was hashed.
    fn hashed(
        &self,
        place: &Path,
        found: &fs::Metadata,
        named: Option<&str>,
        etag: &Etag,
    ) -> Option<Hashed> {
        let path = match named {
            Some(named) => {
                let blob = self.real_blobs.as_ref()?.join(named);
                // Into the shared store.
                if blob.symlink_metadata().ok()?.is_symlink() {
                    fs::canonicalize(&blob).ok()?
                } else {
                    blob
                }
            }
            None => fs::canonicalize(place).ok()?,
        };
        (self.judge.hashed)(&path, found, etag)
    }

    /// What the examination of the model says is wrong, beyond what is known already. What is
    /// missing is for the listing to say, where there is one.
    pub(super) fn would_not_load(&mut self, folder: &Path, examination: &Examination) {
        let told = examination
            .troubles
            .iter()
            .filter(|trouble| trouble.level != LoadLevel::Missing);
        for trouble in told {
            // A model for another library is no damaged one of MLX.
            let is_foreign = trouble.rule == Rule::NoModelType && !self.subject.is_named_mlx();
            let is_hubs_own = trouble.level == LoadLevel::Broken
                && matches!(trouble.rule, Rule::WouldNotLoad | Rule::NoModelType)
                && match &trouble.file {
                    Some(file) => self.proven.contains(file),
                    None => self.verified_ms().is_some(),
                };
            let level = if is_foreign {
                LoadLevel::Note
            } else if is_hubs_own {
                // A reader gets the bytes that the Hub has.
                LoadLevel::Warning
            } else {
                trouble.level
            };
            let is_broken = level == LoadLevel::Broken;
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
            finding.severity = level.severity();
            if level < LoadLevel::Missing {
                // Pulling it again brings the same.
                finding.plan = Plan::default();
            }
            if file.is_none() {
                finding.file = None;
            }
            if let Some(cause) = &trouble.cause {
                finding.cause.clone_from(cause);
            } else if is_hubs_own {
                HUBS_OWN.clone_into(&mut finding.cause);
            }
            self.findings.push(finding);
        }
    }

    /// Takes the pulls out of the plans: one brings nothing into a folder that is no commit's, and what it
    /// does is told of the folder as a whole.
    pub(super) fn without_pulls(&mut self) {
        for finding in &mut self.findings {
            let steps = &mut finding.plan.steps;
            steps.retain(|step| !matches!(step, PlanStep::Pull { .. }));
        }
    }

    /// Whether weights are among what is there.
    pub(super) fn has_weights(&self) -> bool {
        let mut present = self.present.iter();
        present.any(|path| path.as_str().ends_with(WEIGHTS))
    }

    /// What is there and a pull leaves out unless it is named.
    pub(super) fn left_out(&self) -> Vec<RepoPath> {
        let nobodys = Etag::Sha256([0; 32]);
        let present = self.present.iter();
        let left_out = present.filter(|path| !self.judge.selects(path, &nobodys));
        left_out.cloned().collect()
    }

    fn count(&mut self, metadata: &fs::Metadata) {
        let id = (metadata.dev(), metadata.ino());
        if self.counted.insert(id, metadata.len()).is_some() {
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

/// Whether an etag is that of a content without a byte.
pub(super) fn is_of_nothing(etag: &Etag) -> bool {
    const SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const GIT_SHA1: &str = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391";
    [SHA256, GIT_SHA1].contains(&etag.to_string().as_str())
}

/// The start of a file; empty if it cannot be read.
pub(super) fn start_of(path: &Path) -> Vec<u8> {
    let mut start = Vec::with_capacity(START_BYTES);
    let read = host::open_quietly(path)
        .and_then(|file| file.take(START_BYTES as u64).read_to_end(&mut start));
    if read.is_err() {
        start.clear();
    }
    start
}

/// Names in the plans what a pull is to bring, where it takes nothing of the repo unless it is named:
/// there are no weights for MLX, neither listed nor here (a listing may be wrong). Only what a finding is
/// about is brought, `missing` or one file: others of the repo's were never asked for.
pub(super) fn pull_by_names(
    findings: &mut [Finding],
    listing: &[RemoteFile],
    missing: &[RepoPath],
    judge: Judge<'_>,
) {
    let selected = (judge.select)(listing);
    if selected.iter().any(|path| path.as_str().ends_with(WEIGHTS)) {
        return;
    }
    let listed: BTreeSet<&str> = listing.iter().map(|file| file.path.as_str()).collect();
    for finding in findings {
        let lacking = match finding.rule {
            Rule::MissingFiles | Rule::HalfWritten => missing,
            _ => &[],
        };
        let lacking = lacking.iter().map(RepoPath::as_str);
        let named: Vec<String> = finding
            .file
            .as_deref()
            .into_iter()
            .chain(lacking)
            .filter(|name| listed.contains(name))
            .map(str::to_owned)
            .collect();
        for step in &mut finding.plan.steps {
            if let PlanStep::Pull { files, .. } = step
                && files.is_empty()
            {
                files.clone_from(&named);
            }
        }
    }
}

/// Whether a content begins as web pages and errors of storage services do.
pub(super) fn is_page(start: &[u8]) -> bool {
    let start = start.trim_ascii_start().to_ascii_lowercase();
    PAGES.iter().any(|page| start.starts_with(page))
}

/// Whether a file may well be a page.
pub(super) fn is_page_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    [".html", ".htm", ".xml", ".svg", ".md"]
        .iter()
        .any(|ending| name.ends_with(ending))
}
