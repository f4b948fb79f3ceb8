//! Owns what is told of a model elsewhere as a whole: what is missing, what has no note, whether it
//! would load, and the row that comes of it.
//!
//! Never looks at single files: `folder` has done that.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;

use super::folder::{Look, Sketch};
use super::homes::{Home, is_weights};
use super::unfinished::{Unfinished, unfinished};
use super::words::{self, RACED, Seen};
use crate::cache::partials::Eyes;
use crate::cache::ready::{Findings, Listing};
use crate::domain::{
    CacheKind, Commit, Finding, LoadLevel, LoadTrouble, ModelRow, ModelState, PartialState,
    RemoteFile, RepoPath, Rule, Severity, sanitize,
};

/// Files that one finding names one by one.
const TOLD: usize = 50;

impl Look<'_> {
    /// Files of which there is a note, and neither the file nor the start of one.
    pub(super) fn noted_but_gone(&mut self) {
        let is_there = |path: &RepoPath| {
            let place = self.home.folder.join(path.as_str());
            self.present.contains(path) || place.symlink_metadata().is_ok()
        };
        let gone: Vec<RepoPath> = self
            .notes
            .by_file
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

    pub(super) fn partials(&mut self, eyes: &Eyes<'_>) -> Vec<Unfinished> {
        let known: BTreeSet<RepoPath> = self
            .present
            .iter()
            .chain(self.notes.by_file.keys())
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
    pub(super) fn without_notes(&mut self) {
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
            .step(words::by_hand(
                "start the app while it is online: it downloads files without a note again by itself"
                    .to_owned(),
            ));
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
    pub(super) fn examine(&mut self) {
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
        let names = self.present.iter().chain(self.notes.by_file.keys());
        let is_mlx = names
            .map(RepoPath::as_str)
            .any(|name| name == "config.json" || (is_weights(name) && !name.contains('/')));
        // Other kinds of models lie here too; what they need is not known.
        if !is_mlx {
            return;
        }
        let examination = (self.judge.examine)(&self.home.folder, &self.untouched);
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
            .finding(trouble.rule, file, seen, &trouble.sentence);
        // What is merely odd comes the same way again.
        if trouble.level >= LoadLevel::Missing {
            finding = finding.step(self.home.fetch_again(file));
        }
        finding.severity = trouble.level.severity();
        finding.file.clone_from(&trouble.file);
        if let Some(cause) = trouble.cause {
            finding.cause = cause;
        }
        self.findings.push(finding);
    }

    pub(super) fn sketch(
        self,
        commit: Option<Commit>,
        has_listing: bool,
        partials: Vec<Unfinished>,
    ) -> Sketch {
        let listing = has_listing.then(|| Listing {
            files: self.listing.iter().map(|file| file.path.clone()).collect(),
            selected: (self.judge.select)(&self.listing).into_iter().collect(),
        });
        let mut findings = self.findings;
        let files_present = self.present.len();
        let is_known = !self.has_unhashed && self.broken.is_empty() && self.evicted.is_empty();
        let verified_ms = self.oldest_ms.filter(|_| is_known);
        let verdict = Findings {
            kind: self.home.repo.kind(),
            present: self.present,
            listing,
            missing: self.missing,
            broken: self.broken,
            notes: Vec::new(),
        }
        .verdict();
        let unlisted = unlisted(self.home, &self.listing, &verdict.missing, &findings);
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
                verified_ms,
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

/// Files that the listing names and that are not there, beyond what is told already.
fn unlisted(
    home: &Home,
    listing: &[RemoteFile],
    missing: &[RepoPath],
    findings: &[Finding],
) -> Option<Finding> {
    let told: BTreeSet<&str> = findings
        .iter()
        .flat_map(|finding| &finding.evidence)
        .map(|evidence| evidence.path.as_str())
        .collect();
    let sizes: BTreeMap<&RepoPath, u64> = listing
        .iter()
        .map(|file| (&file.path, file.size_bytes))
        .collect();
    let place = |path: &RepoPath| {
        let place = home.folder.join(path.as_str());
        sanitize(&place.to_string_lossy())
    };
    let missing: Vec<&RepoPath> = missing
        .iter()
        .filter(|path| !told.contains(place(path).as_str()))
        .collect();
    let first = missing.first()?.as_str();
    let summary = match missing.len() {
        1 => format!("`{}` is missing", sanitize(first)),
        more => format!("{more} files are missing"),
    };
    let mut finding = home
        .finding(Rule::MissingFiles, first, Seen::default(), &summary)
        .step(home.fetch_again(first));
    if missing.len() > 1 {
        finding.file = None;
    }
    finding.evidence.clear();
    for path in missing.iter().take(TOLD) {
        let what = "the listing names it and it is not there";
        finding = finding.seen(&place(path), None, sizes.get(path).copied(), what);
    }
    Some(finding)
}
