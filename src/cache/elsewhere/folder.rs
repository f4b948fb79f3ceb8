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
use super::homes::Home;
use super::note::{Note, Notes};
use super::unfinished::Unfinished;
use super::words::{self, Seen};
use super::writing::{self, Looks};
use crate::cache::Judge;
use crate::cache::blob::is_absent;
use crate::cache::partials::Eyes;
use crate::cache::ready::Hashed;
use crate::cache::tally::is_of_nothing;
use crate::cache::trees::read_listing;
use crate::domain::{
    CacheKind, Etag, FileRow, FileState, Finding, ModelRow, PartialState, RemoteFile, RepoPath,
    Rule, Severity, sanitize,
};
use crate::host;

/// Entries of one model that are looked at, and how deep.
const MOST_ENTRIES: usize = 50_000;
const DEEPEST: usize = 12;
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
    /// What its notes say.
    pub(super) notes: Notes,
    /// What its files looked like.
    pub(super) looks: Looks,
    /// Whether it would be broken if the files that are being written were to stay as they are.
    pub(super) is_unsettled: bool,
}

impl Sketch {
    /// Files of which it matters whether somebody writes them: unfinished ones, and those that are
    /// being written or broken.
    pub(super) fn in_question(&self) -> Vec<PathBuf> {
        let unfinished = self.partials.iter().map(|one| one.place.clone());
        let folder = Path::new(&self.model.snapshot);
        let wrong: BTreeSet<&str> = self
            .findings
            .iter()
            .filter(|finding| finding.severity == Severity::Error)
            .filter_map(|finding| finding.file.as_deref())
            .collect();
        let is_meant =
            |path: &RepoPath| self.is_unsettled || wrong.contains(sanitize(path.as_str()).as_str());
        let files = self.looks.keys().filter(|path| is_meant(path));
        unfinished
            .chain(files.map(|path| folder.join(path.as_str())))
            .collect()
    }
}

/// What one look at a model has gathered.
pub(super) struct Look<'a> {
    pub(super) home: &'a Home,
    pub(super) notes: Notes,
    pub(super) listing: Vec<RemoteFile>,
    /// Lengths and hashes by the listing.
    pub(super) listed: BTreeMap<RepoPath, (u64, Etag)>,
    /// The folders it consists of: their times tell that something came or went.
    pub(super) folders: Vec<PathBuf>,
    pub(super) judge: Judge<'a>,
    pub(super) eyes: &'a Eyes<'a>,
    /// What the files looked like the time before; `None` at the first look.
    pub(super) before: Option<&'a Looks>,
    pub(super) looks: Looks,
    /// Files that are being written, and how that is known.
    pub(super) writing: BTreeMap<String, String>,
    /// Those of them that would be broken as they are, a sentence each.
    pub(super) on_its_way: BTreeMap<String, String>,
    /// When the content that was hashed longest ago was; `None` before the first.
    pub(super) oldest_ms: Option<u64>,
    /// Whether a file was not hashed, or has changed since.
    pub(super) has_unhashed: bool,
    /// Files that are not read: links lead out of the folder, or their bytes are not on this disk.
    pub(super) untouched: BTreeSet<String>,
    pub(super) counted: HashSet<(u64, u64)>,
    pub(super) present: BTreeSet<RepoPath>,
    pub(super) size_bytes: u64,
    pub(super) modified_ms: Option<u64>,
    pub(super) accessed_ms: Option<u64>,
    pub(super) evicted: Vec<RepoPath>,
    pub(super) unnoted: Vec<RepoPath>,
    pub(super) files: Vec<FileRow>,
    pub(super) findings: Vec<Finding>,
    pub(super) broken: Vec<String>,
    pub(super) missing: Vec<String>,
    /// Worth a line, no harm.
    pub(super) remarks: Vec<String>,
    pub(super) copies: Vec<Copy>,
    pub(super) paths: Vec<(RepoPath, Option<Etag>)>,
}

/// Looks at one model; `None` if nothing of one is there. `before` is what its files looked like the
/// time before.
pub(super) fn look(
    home: &Home,
    before: Option<&Looks>,
    judge: Judge<'_>,
    eyes: &Eyes<'_>,
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
        judge,
        eyes,
        before,
        looks: Looks::new(),
        writing: BTreeMap::new(),
        on_its_way: BTreeMap::new(),
        oldest_ms: None,
        has_unhashed: false,
        untouched: BTreeSet::new(),
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
        remarks: Vec::new(),
        copies: Vec::new(),
        paths: Vec::new(),
    };
    look.walk();
    look.noted_but_gone();
    look.left_aside();
    let partials = look.partials(eyes);
    look.without_notes();
    look.examine();
    let is_live = |partial: &Unfinished| matches!(partial.row.state, PartialState::Live { .. });
    let is_going_on = !look.on_its_way.is_empty() || partials.iter().any(is_live);
    if is_going_on {
        // What is missing is on its way.
        look.findings.retain(|finding| {
            let is_lack = matches!(
                finding.rule,
                Rule::MissingFiles | Rule::HalfWritten | Rule::MissingMetadata | Rule::WouldNotLoad
            );
            !is_lack
        });
    }
    if look.files.is_empty() && partials.is_empty() && look.notes.by_file.is_empty() {
        return None;
    }
    Some(look.sketch(commit, has_listing, partials, is_going_on))
}

impl Look<'_> {
    fn walk(&mut self) {
        let mut open = vec![(String::new(), 0)];
        let mut paths = Vec::new();
        let mut looked_at = 0;
        'folders: while let Some((below, depth)) = open.pop() {
            let folder = self.home.folder.join(&below);
            self.folders.push(folder.clone());
            let entries = match host::read_dir(&folder) {
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
        let finding = self.home.finding(Rule::Unreadable, file, seen, &sentence);
        let advice = format!(
            "make `{}` readable for you, or move it away",
            finding.evidence[0].path
        );
        self.findings.push(finding.step(words::by_hand(advice)));
        self.broken.push(sentence);
    }

    /// Whether a file is being written, as what is wrong with it then is told: as something that is
    /// still missing. What holds still is judged.
    pub(super) fn is_on_its_way(&mut self, shown: &str) -> bool {
        let Some(why) = self.writing.get(shown) else {
            return false;
        };
        let sentence = format!("`{shown}` is being written: {why}");
        self.on_its_way.insert(shown.to_owned(), sentence);
        true
    }

    /// A reader gets wrong or missing bytes of a file; whether it is not that somebody is writing
    /// it.
    pub(super) fn broke(
        &mut self,
        rule: Rule,
        file: &str,
        seen: Seen<'_>,
        sentence: String,
    ) -> bool {
        // What was hashed held still.
        if rule != Rule::WrongHash && self.is_on_its_way(&sanitize(file)) {
            return false;
        }
        let is_known = self.findings.iter().any(|known| {
            known.severity == Severity::Error && known.file.as_deref() == Some(&sanitize(file))
        });
        if !is_known {
            let finding = self.home.finding(rule, file, seen, &sentence);
            let step = self.home.fetch_again(file);
            self.findings.push(finding.step(step));
        }
        self.broken.push(sentence);
        true
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
        // A file of another revision is not damaged: its note says what it is.
        let is_listed = |listed: &Etag| noted.is_none_or(|noted| noted == *listed);
        let expected = expected.filter(|(_, listed)| is_listed(listed));
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
        let look = writing::Look::of(&found);
        let before = self.before.and_then(|before| before.get(path));
        if let Some(why) = writing::writing(&place, &look, before, self.eyes) {
            self.writing.insert(shown.clone(), why);
        }
        self.looks.insert(path.clone(), look);
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
                if self.broke(Rule::Truncated, path.as_str(), what, sentence) {
                    row.state = FileState::Truncated;
                }
            }
            Some(expected) if bytes > expected => {
                let sentence = format!("`{shown}` has {bytes} bytes, not {expected}");
                let what = seen("it is longer than the listing says");
                if self.broke(Rule::WrongSize, path.as_str(), what, sentence) {
                    row.state = FileState::WrongSize;
                }
            }
            _ => {}
        }
        if bytes == 0 && etag.is_some_and(|etag| !is_of_nothing(&etag)) {
            let sentence = format!("`{shown}` is empty, and its content is not");
            let what = seen("there is not a byte in it");
            if self.broke(Rule::EmptyBlob, path.as_str(), what, sentence) {
                row.state = FileState::Truncated;
            }
        }
        if host::is_evicted(&place, &found) {
            self.evicted.push(path.clone());
            self.untouched.insert(path.as_str().to_owned());
        } else {
            self.present.insert(path.clone());
            if expected_bytes != Some(bytes)
                && let Some(other) = impostor(&place, path.as_str(), bytes)
            {
                let sentence = format!("`{shown}` holds {}, not its content", other.what);
                self.broke(other.rule, path.as_str(), seen(other.seen), sentence);
            }
            self.note(path, &found, is_hidden);
            self.content(path, &found, etag, &mut row);
        }
        self.files.push(row);
    }

    /// Notes what a file's content is, where that is known.
    fn content(
        &mut self,
        path: &RepoPath,
        found: &Metadata,
        etag: Option<Etag>,
        row: &mut FileRow,
    ) {
        let content = if let Some(etag) = etag {
            self.hashed(path, found, &etag, row)
        } else {
            // Nothing says what it should be, also where it is known what it is.
            self.has_unhashed = true;
            let place = self.home.folder.join(path.as_str());
            let Some((content, at_ms)) = (self.judge.content)(&place, found) else {
                return;
            };
            row.verified_ms = Some(at_ms);
            content
        };
        self.copies.push(Copy {
            etag: content,
            bytes: found.len(),
            id: (found.dev(), found.ino()),
            file: Some(row.path.clone()),
            at: self.home.folder.join(path.as_str()),
        });
    }

    /// What a file's content is: by the hash that it had when it was last read whole, else by its
    /// note.
    fn hashed(
        &mut self,
        path: &RepoPath,
        found: &Metadata,
        etag: &Etag,
        row: &mut FileRow,
    ) -> Etag {
        let place = self.home.folder.join(path.as_str());
        let hashed = (self.judge.hashed)(&place, found, etag);
        row.verified_ms = hashed.map(|hashed| hashed.at_ms);
        match hashed {
            Some(Hashed {
                computed: Some(computed),
                ..
            }) => {
                let what = format!("it hashed to {computed} when it was last read");
                let seen = Seen {
                    bytes: Some(found.len()),
                    expected_bytes: None,
                    what: &what,
                };
                let sentence = format!("`{}` does not hash to what its note says", row.path);
                self.broke(Rule::WrongHash, path.as_str(), seen, sentence);
                row.state = FileState::WrongHash;
                return computed;
            }
            Some(Hashed { at_ms, .. }) => {
                self.oldest_ms = Some(self.oldest_ms.map_or(at_ms, |oldest| oldest.min(at_ms)));
                if row.state == FileState::Unverified {
                    row.state = FileState::Verified;
                }
            }
            // There is nothing to hash in a file without a byte.
            None => self.has_unhashed |= found.len() > 0,
        }
        *etag
    }

    /// Compares a file with its note.
    fn note(&mut self, path: &RepoPath, found: &Metadata, is_hidden: bool) {
        match self.notes.by_file.get(path).cloned() {
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
        let home = fs::canonicalize(&self.home.folder);
        let is_inside =
            home.is_ok_and(|home| fs::canonicalize(place).is_ok_and(|real| real.starts_with(home)));
        if !is_inside {
            self.untouched.insert(path.as_str().to_owned());
        }
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

    fn count(&mut self, found: &Metadata) {
        if !self.counted.insert((found.dev(), found.ino())) {
            return;
        }
        self.size_bytes += found.len();
        self.modified_ms = self.modified_ms.max(millis(found.modified()));
        self.accessed_ms = self.accessed_ms.max(millis(found.accessed()));
    }
}

/// Whether Python takes a file for changed since its note was written.
pub(in crate::cache) fn is_newer(found: &Metadata, note: &Note) -> bool {
    let modified = found.modified().ok();
    let since = modified.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    since.is_some_and(|since| since.as_secs_f64() - STAMP_SLACK_S > note.at)
}

fn millis(time: std::io::Result<SystemTime>) -> Option<u64> {
    let since = time.ok()?.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_millis()).ok()
}
