//! Owns looking at one model outside of a Hub cache: its files, what each should be, what is wrong.
//!
//! Never hashes, never writes, never enters a link, and does not read files whose bytes are not on
//! this disk.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::content::impostor;
use super::copies::Copy;
use super::homes::{Home, is_weights};
use super::note::{Note, Notes};
use super::unfinished::{Unfinished, unfinished};
use super::words::{self, RACED, Seen};
use crate::cache::Judge;
use crate::cache::blob::is_absent;
use crate::cache::partials::Eyes;
use crate::cache::ready::{Findings, Listing};
use crate::cache::trees::read_listing;
use crate::domain::{
    CacheKind, Etag, FileRow, FileState, Finding, LoadLevel, LoadTrouble, ModelRow, ModelState,
    PartialState, RemoteFile, RepoPath, Rule, Severity, sanitize,
};
use crate::host;

/// Entries of one model that are looked at, and how deep.
const MOST_ENTRIES: usize = 50_000;
const DEEPEST: usize = 12;
/// Files that one finding names one by one.
const TOLD: usize = 50;
/// Python takes a file for changed that is this much newer than its note.
const STAMP_SLACK_S: f64 = 1.0;

/// A model as it was seen.
#[derive(Debug)]
pub(super) struct Sketch {
    pub(super) model: ModelRow,
    pub(super) files: Vec<FileRow>,
    pub(super) findings: Vec<Finding>,
    pub(super) partials: Vec<Unfinished>,
    /// Its files whose contents are known by hash.
    pub(super) copies: Vec<Copy>,
    /// The folders it consists of.
    pub(super) folders: Vec<PathBuf>,
    /// Its files, and what each should hash to.
    pub(super) paths: Vec<(RepoPath, Option<Etag>)>,
}

/// Says what a file hashed to when it was last read whole, if it has not changed since.
pub type HashOf<'a> = &'a (dyn Fn(&Path, &Metadata) -> Option<Etag> + Sync);

struct Look<'a> {
    home: &'a Home,
    notes: Notes,
    listing: Vec<RemoteFile>,
    /// Lengths and hashes by the listing.
    listed: BTreeMap<RepoPath, (u64, Etag)>,
    /// The folders it consists of: their times tell that something came or went.
    folders: Vec<PathBuf>,
    hash_of: HashOf<'a>,
    counted: HashSet<(u64, u64)>,
    present: BTreeSet<RepoPath>,
    size_bytes: u64,
    modified_ms: Option<u64>,
    accessed_ms: Option<u64>,
    evicted: Vec<RepoPath>,
    unnoted: Vec<RepoPath>,
    files: Vec<FileRow>,
    findings: Vec<Finding>,
    broken: Vec<String>,
    missing: Vec<String>,
    copies: Vec<Copy>,
    paths: Vec<(RepoPath, Option<Etag>)>,
}

/// Looks at one model; `None` if nothing of one is there.
pub(super) fn look(
    home: &Home,
    judge: Judge<'_>,
    eyes: &Eyes<'_>,
    hash_of: HashOf<'_>,
) -> Option<Sketch> {
    let notes = Notes::of(&home.folder);
    let commit = notes.commit();
    let listing = commit
        .filter(|_| home.kind == CacheKind::LocalDir)
        .and_then(|commit| {
            let trees = home.folder.join(".cache/huggingface/trees");
            read_listing(&trees.join(format!("{commit}.json")))
        });
    let has_listing = listing.is_some();
    let listing = listing.unwrap_or_default();
    let listed = listing
        .iter()
        .map(|file| (file.path.clone(), (file.size_bytes, file.etag)))
        .collect();
    let mut look = Look {
        home,
        listing,
        listed,
        folders: notes.folders.clone(),
        notes,
        hash_of,
        counted: HashSet::new(),
        present: BTreeSet::new(),
        size_bytes: 0,
        modified_ms: None,
        accessed_ms: None,
        evicted: Vec::new(),
        unnoted: Vec::new(),
        files: Vec::new(),
        findings: Vec::new(),
        broken: Vec::new(),
        missing: Vec::new(),
        copies: Vec::new(),
        paths: Vec::new(),
    };
    look.walk();
    look.noted_but_gone();
    let partials = look.partials(eyes);
    look.without_notes();
    look.examine(judge);
    if look.files.is_empty() && partials.is_empty() && look.notes.notes.is_empty() {
        return None;
    }
    Some(look.sketch(commit, has_listing, judge, partials))
}

impl Look<'_> {
    fn walk(&mut self) {
        let mut open = vec![(String::new(), 0)];
        let mut paths = Vec::new();
        let mut looked_at = 0;
        'folders: while let Some((below, depth)) = open.pop() {
            let folder = self.home.folder.join(&below);
            self.folders.push(folder.clone());
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) => {
                    let why = error.to_string();
                    self.unreadable(&below, &why);
                    continue;
                }
            };
            for entry in entries.flatten() {
                looked_at += 1;
                if looked_at > MOST_ENTRIES {
                    let words = format!("only the first {MOST_ENTRIES} files were looked at");
                    self.missing.push(words);
                    break 'folders;
                }
                let Ok(name) = entry.file_name().into_string() else {
                    continue;
                };
                if below.is_empty() && name == ".cache" {
                    continue;
                }
                let path = if below.is_empty() {
                    name
                } else {
                    format!("{below}/{name}")
                };
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() && depth < DEEPEST => open.push((path, depth + 1)),
                    Ok(kind) if !kind.is_dir() => paths.extend(RepoPath::new(&path)),
                    Ok(_) | Err(_) => {}
                }
            }
        }
        paths.sort();
        for path in paths {
            self.file(&path);
        }
        let known: BTreeSet<String> = self.files.iter().map(|row| row.path.clone()).collect();
        let absent = self.listing.iter().map(|remote| FileRow {
            path: sanitize(remote.path.as_str()),
            size_bytes: None,
            expected_bytes: Some(remote.size_bytes),
            etag: Some(remote.etag.to_string()),
            state: FileState::Absent,
            verified_ms: None,
            links: Vec::new(),
        });
        let absent: Vec<FileRow> = absent.filter(|row| !known.contains(&row.path)).collect();
        self.files.extend(absent);
    }

    fn unreadable(&mut self, file: &str, why: &str) {
        let shown = if file.is_empty() { "." } else { file };
        let sentence = format!("`{}` cannot be read: {why}", sanitize(shown));
        let seen = Seen {
            what: why,
            ..Seen::default()
        };
        let finding = self
            .home
            .finding(Rule::Unreadable, file, seen, &sentence)
            .step(words::by_hand(format!(
                "make `{}` readable for you, or move it away",
                sanitize(&self.home.folder.join(file).to_string_lossy())
            )));
        self.findings.push(finding);
        self.broken.push(sentence);
    }

    /// A reader gets wrong or missing bytes of a file.
    fn broke(&mut self, rule: Rule, file: &str, seen: Seen<'_>, sentence: String) {
        let is_known = self.findings.iter().any(|known| {
            known.severity == Severity::Error && known.file.as_deref() == Some(&sanitize(file))
        });
        if !is_known {
            let finding = self.home.finding(rule, file, seen, &sentence);
            let step = self.home.fetch_again(file);
            self.findings.push(finding.step(step));
        }
        self.broken.push(sentence);
    }

    fn file(&mut self, path: &RepoPath) {
        let place = self.home.folder.join(path.as_str());
        let shown = sanitize(path.as_str());
        let found = match place.symlink_metadata() {
            Ok(found) => found,
            // It went away meanwhile.
            Err(error) if is_absent(&error) => return,
            Err(error) => return self.unreadable(path.as_str(), &error.to_string()),
        };
        let expected = self.listed.get(path).copied();
        let noted = self.notes.etag(path);
        let etag = noted.or(expected.map(|(_, etag)| etag));
        let expected_bytes = expected.map(|(bytes, _)| bytes);
        let mut row = FileRow {
            path: shown.clone(),
            size_bytes: None,
            expected_bytes,
            etag: etag.map(|etag| etag.to_string()),
            state: FileState::Missing,
            verified_ms: None,
            links: Vec::new(),
        };
        self.paths.push((path.clone(), etag));
        let is_hidden = path.segments().any(|part| part.starts_with('.'));
        if found.is_symlink() {
            row.state = self.link(path, &place, is_hidden);
            row.size_bytes = place.metadata().ok().map(|target| target.len());
            self.files.push(row);
            return;
        }
        if !found.is_file() {
            return;
        }
        let bytes = found.len();
        self.count(&found);
        row.size_bytes = Some(bytes);
        row.state = if etag.is_some() {
            FileState::Unverified
        } else {
            FileState::Regular
        };
        let seen = |what| Seen {
            bytes: Some(bytes),
            expected_bytes,
            what,
        };
        match expected_bytes {
            Some(expected) if bytes < expected => {
                let sentence = format!("`{shown}` has {bytes} of {expected} bytes");
                let what = seen("it is shorter than the listing says");
                self.broke(Rule::Truncated, path.as_str(), what, sentence);
                row.state = FileState::Truncated;
            }
            Some(expected) if bytes > expected => {
                let sentence = format!("`{shown}` has {bytes} bytes, not {expected}");
                let what = seen("it is longer than the listing says");
                self.broke(Rule::WrongSize, path.as_str(), what, sentence);
                row.state = FileState::WrongSize;
            }
            _ => {}
        }
        if bytes == 0 && etag.is_some_and(|etag| !is_of_nothing(&etag)) {
            let sentence = format!("`{shown}` is empty, and its content is not");
            let what = seen("there is not a byte in it");
            self.broke(Rule::EmptyBlob, path.as_str(), what, sentence);
            row.state = FileState::Truncated;
        }
        if host::is_evicted(&found) {
            self.evicted.push(path.clone());
        } else {
            self.present.insert(path.clone());
            if expected_bytes != Some(bytes)
                && let Some((rule, what)) = impostor(&place, bytes)
            {
                let holds = if rule == Rule::LfsPointer {
                    "an LFS pointer"
                } else {
                    "a web page"
                };
                let sentence = format!("`{shown}` holds {holds}, not its content");
                self.broke(rule, path.as_str(), seen(what), sentence);
            }
            self.note(path, &found, is_hidden);
            let known = etag.or_else(|| (self.hash_of)(&place, &found));
            if let Some(etag) = known {
                self.copies.push(Copy {
                    etag,
                    bytes,
                    id: (found.dev(), found.ino()),
                    file: Some(shown),
                });
            }
        }
        self.files.push(row);
    }

    /// Compares a file with its note.
    fn note(&mut self, path: &RepoPath, found: &Metadata, is_hidden: bool) {
        match self.notes.notes.get(path).cloned() {
            None => {
                if self.home.kind == CacheKind::HubApi && !is_hidden {
                    self.unnoted.push(path.clone());
                }
            }
            Some(Err(why)) => {
                let words = format!(
                    "the note about `{}` cannot be used",
                    sanitize(path.as_str())
                );
                self.wrong_note(path, &words, &why);
            }
            Some(Ok(note)) => {
                if self.home.kind == CacheKind::LocalDir && is_newer(found, &note) {
                    let words = format!(
                        "`{}` was changed after its note was written",
                        sanitize(path.as_str())
                    );
                    let why = "its last change is later than the time in the note: Python takes it \
                               for modified, and downloads small files again over it";
                    self.wrong_note(path, &words, why);
                }
            }
        }
    }

    fn wrong_note(&mut self, path: &RepoPath, summary: &str, why: &str) {
        let note = self.notes.place_of(path);
        let mut finding = self
            .home
            .finding(
                Rule::MissingMetadata,
                path.as_str(),
                Seen::default(),
                summary,
            )
            .step(self.home.fetch_again(path.as_str()));
        finding.evidence.clear();
        why.clone_into(&mut finding.cause);
        self.findings
            .push(finding.seen(&note.to_string_lossy(), None, None, why));
    }

    /// A link in the place of a file.
    fn link(&mut self, path: &RepoPath, place: &Path, is_hidden: bool) -> FileState {
        let shown = sanitize(path.as_str());
        let target = fs::read_link(place).unwrap_or_default();
        let what = format!("it is a link to {}", target.display());
        let seen = Seen {
            what: &what,
            ..Seen::default()
        };
        if !place.metadata().is_ok_and(|found| found.is_file()) {
            if place.is_dir() {
                // A folder elsewhere is not of this place.
                return FileState::Regular;
            }
            let sentence = format!("the link `{shown}` leads to no file");
            self.broke(Rule::DanglingPointer, path.as_str(), seen, sentence);
            return FileState::Missing;
        }
        self.present.insert(path.clone());
        if self.home.kind == CacheKind::HubApi && !is_hidden {
            let summary = format!("`{shown}` is a link in a folder of swift-transformers");
            let mut finding = self
                .home
                .finding(Rule::EscapingPointer, path.as_str(), seen, &summary)
                .step(self.home.fetch_again(path.as_str()));
            "the link was made by hand or by a script to save room: swift-transformers counts \
             regular files only, and finds no model when it is offline"
                .clone_into(&mut finding.cause);
            self.findings.push(finding);
        }
        FileState::Regular
    }

    /// Files of which there is a note, and neither the file nor the start of one.
    fn noted_but_gone(&mut self) {
        let is_there = |path: &RepoPath| {
            let place = self.home.folder.join(path.as_str());
            self.present.contains(path) || place.symlink_metadata().is_ok()
        };
        let gone: Vec<RepoPath> = self
            .notes
            .notes
            .keys()
            .filter(|path| !is_there(path))
            .cloned()
            .collect();
        if gone.is_empty() {
            return;
        }
        let summary = match gone.as_slice() {
            [one] => format!(
                "`{}` is missing, and its note is there",
                sanitize(one.as_str())
            ),
            more => format!(
                "{} files are missing, and their notes are there",
                more.len()
            ),
        };
        let first = gone[0].as_str().to_owned();
        let mut finding = self
            .home
            .finding(Rule::MissingFiles, &first, Seen::default(), &summary)
            .step(self.home.fetch_again(&first));
        if gone.len() > 1 {
            finding.file = None;
        }
        finding.evidence.clear();
        for path in gone.iter().take(TOLD) {
            let place = self.home.folder.join(path.as_str());
            let what = "its note is there and it is not";
            finding = finding.seen(&place.to_string_lossy(), None, None, what);
        }
        if self.home.kind == CacheKind::HubApi {
            finding.cause = format!("{RACED}; or the file was deleted by hand");
        }
        self.findings.push(finding);
        for path in &gone {
            self.missing
                .push(format!("`{}` is missing", sanitize(path.as_str())));
        }
    }

    fn partials(&mut self, eyes: &Eyes<'_>) -> Vec<Unfinished> {
        let known: BTreeSet<RepoPath> = self
            .present
            .iter()
            .chain(self.notes.notes.keys())
            .chain(self.listing.iter().map(|remote| &remote.path))
            .cloned()
            .collect();
        let found = unfinished(self.home, &self.notes, &known, &self.listing, eyes);
        for partial in &found {
            if partial.row.state == PartialState::Abandoned {
                let is_there = partial
                    .file
                    .as_ref()
                    .is_none_or(|file| self.present.contains(file));
                self.findings
                    .push(words::abandoned(self.home, partial, is_there));
            }
        }
        found
    }

    /// Visible files without a note, told together: one is enough to keep swift-transformers from
    /// finding the model.
    fn without_notes(&mut self) {
        let [first, ..] = self.unnoted.as_slice() else {
            return;
        };
        let summary = match self.unnoted.len() {
            1 => format!(
                "`{}` has no note of what it should be",
                sanitize(first.as_str())
            ),
            more => format!("{more} files have no note of what they should be"),
        };
        let mut finding = self
            .home
            .finding(
                Rule::MissingMetadata,
                first.as_str(),
                Seen::default(),
                &summary,
            )
            .step(self.home.fetch_again(first.as_str()));
        if self.unnoted.len() > 1 {
            finding.file = None;
        }
        finding.evidence.clear();
        for path in self.unnoted.iter().take(TOLD) {
            let note = self.notes.place_of(path);
            finding = finding.seen(&note.to_string_lossy(), None, None, "it is not there");
        }
        self.findings.push(finding);
    }

    /// Whether the model would load; not asked where that would fetch bytes from a cloud.
    fn examine(&mut self, judge: Judge<'_>) {
        if !self.evicted.is_empty() {
            let shown = sanitize(self.evicted[0].as_str());
            let summary = match self.evicted.len() {
                1 => format!("the bytes of `{shown}` are not on this disk"),
                more => format!("the bytes of {more} files are not on this disk"),
            };
            let mut finding = self
                .home
                .finding(Rule::Evicted, &shown, Seen::default(), &summary);
            if self.evicted.len() > 1 {
                finding.file = None;
            }
            finding.evidence.clear();
            for path in self.evicted.iter().take(TOLD) {
                let place = self.home.folder.join(path.as_str());
                let bytes = place.symlink_metadata().ok().map(|found| found.len());
                let what = "it has this length, and next to none of it takes room here";
                finding = finding.seen(&place.to_string_lossy(), bytes, None, what);
                self.missing
                    .push(format!("`{}` is not on this disk", sanitize(path.as_str())));
            }
            self.findings.push(finding.step(words::by_hand(
                "larder reads none of it, since reading would download it; to have it here, let \
                 the Finder download the folder and keep it"
                    .to_owned(),
            )));
            return;
        }
        let names = self.present.iter().chain(self.notes.notes.keys());
        let is_mlx = names
            .map(RepoPath::as_str)
            .any(|name| name == "config.json" || (is_weights(name) && !name.contains('/')));
        // Other kinds of models lie here too; what they need is not known.
        if !is_mlx {
            return;
        }
        let examination = (judge.examine)(&self.home.folder);
        for sentence in examination.sentences(LoadLevel::Missing) {
            if !self.missing.contains(&sentence) {
                self.missing.push(sentence);
            }
        }
        for trouble in examination.troubles {
            if trouble.level != LoadLevel::Missing {
                self.would_not_load(trouble);
            }
        }
    }

    /// What an examination says, unless that is known already.
    fn would_not_load(&mut self, trouble: LoadTrouble) {
        if trouble.level == LoadLevel::Broken {
            self.broken.push(trouble.sentence.clone());
        }
        let is_known = |known: &Finding| {
            known.severity == Severity::Error
                && trouble.file.is_some()
                && known.file == trouble.file
        };
        if self.findings.iter().any(is_known) {
            return;
        }
        let file = trouble.file.as_deref().unwrap_or_default();
        let found = self.home.folder.join(file).metadata().ok();
        let seen = Seen {
            bytes: found.filter(Metadata::is_file).map(|found| found.len()),
            expected_bytes: None,
            what: &trouble.sentence,
        };
        let mut finding = self
            .home
            .finding(trouble.rule, file, seen, &trouble.sentence)
            .step(self.home.fetch_again(file));
        finding.severity = trouble.level.severity();
        finding.file.clone_from(&trouble.file);
        if let Some(cause) = trouble.cause {
            finding.cause = cause;
        }
        self.findings.push(finding);
    }

    fn count(&mut self, found: &Metadata) {
        if !self.counted.insert((found.dev(), found.ino())) {
            return;
        }
        self.size_bytes += found.len();
        self.modified_ms = self.modified_ms.max(millis(found.modified()));
        self.accessed_ms = self.accessed_ms.max(millis(found.accessed()));
    }

    fn sketch(
        self,
        commit: Option<crate::domain::Commit>,
        has_listing: bool,
        judge: Judge<'_>,
        partials: Vec<Unfinished>,
    ) -> Sketch {
        let listing = has_listing.then(|| Listing {
            files: self.listing.iter().map(|file| file.path.clone()).collect(),
            selected: (judge.select)(&self.listing).into_iter().collect(),
        });
        let mut findings = self.findings;
        let files_present = self.present.len();
        let verdict = Findings {
            kind: self.home.repo.kind(),
            present: self.present,
            listing,
            missing: self.missing,
            broken: self.broken,
            notes: Vec::new(),
        }
        .verdict();
        let told: BTreeSet<&str> = findings
            .iter()
            .flat_map(|finding| &finding.evidence)
            .map(|evidence| evidence.path.as_str())
            .collect();
        let sizes: BTreeMap<&RepoPath, u64> = self
            .listing
            .iter()
            .map(|file| (&file.path, file.size_bytes))
            .collect();
        let place = |path: &RepoPath| {
            let place = self.home.folder.join(path.as_str());
            sanitize(&place.to_string_lossy())
        };
        let missing: Vec<&RepoPath> = verdict
            .missing
            .iter()
            .filter(|path| !told.contains(place(path).as_str()))
            .collect();
        let mut unlisted = None;
        if let [first, ..] = missing.as_slice() {
            let summary = match missing.len() {
                1 => format!("`{}` is missing", sanitize(first.as_str())),
                more => format!("{more} files are missing"),
            };
            let mut finding = self
                .home
                .finding(
                    Rule::MissingFiles,
                    first.as_str(),
                    Seen::default(),
                    &summary,
                )
                .step(self.home.fetch_again(first.as_str()));
            if missing.len() > 1 {
                finding.file = None;
            }
            finding.evidence.clear();
            for path in missing.iter().take(TOLD) {
                let what = "the listing names it and it is not there";
                finding = finding.seen(&place(path), None, sizes.get(path).copied(), what);
            }
            unlisted = Some(finding);
        }
        findings.extend(unlisted);
        let own_name = || {
            let name = self.home.folder.file_name().unwrap_or_default();
            sanitize(&name.to_string_lossy())
        };
        let revision = commit.map_or_else(own_name, |commit| commit.to_string());
        for finding in &mut findings {
            finding.revision = commit.map(|commit| commit.to_string());
        }
        let mut files = self.files;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Sketch {
            model: ModelRow {
                repo: self.home.repo.clone(),
                cache: self.home.kind,
                revision,
                commit,
                refs: Vec::new(),
                snapshot: self.home.folder.to_string_lossy().into_owned(),
                size_bytes: self.size_bytes,
                files_present,
                files_expected: verdict.files_expected,
                state: match verdict.state {
                    // There is at least the start of one.
                    ModelState::Absent if !partials.is_empty() || files_present == 0 => {
                        ModelState::Partial
                    }
                    state => state,
                },
                basis: verdict.basis,
                is_unreferenced: false,
                verified_ms: None,
                problems: verdict.problems,
                modified_ms: self.modified_ms,
                accessed_ms: self.accessed_ms,
            },
            files,
            findings,
            partials,
            copies: self.copies,
            folders: self.folders,
            paths: self.paths,
        }
    }
}

/// Whether Python takes a file for changed since its note was written.
fn is_newer(found: &Metadata, note: &Note) -> bool {
    let modified = found.modified().ok();
    let since = modified.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    since.is_some_and(|since| since.as_secs_f64() - STAMP_SLACK_S > note.at)
}

/// Whether an etag is that of an empty content.
fn is_of_nothing(etag: &Etag) -> bool {
    matches!(
        etag.to_string().as_str(),
        "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
            | "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )
}

fn millis(time: std::io::Result<SystemTime>) -> Option<u64> {
    let since = time.ok()?.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_millis()).ok()
}
