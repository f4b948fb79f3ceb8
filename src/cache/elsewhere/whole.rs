//! Owns what is told of a model elsewhere as a whole: what is missing, what has no note, whether it
//! would load, and the row that comes of it.
//!
//! Never looks at single files: `folder` has done that.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::time::{Duration, SystemTime};

use super::super::scan::latest_wrong;
use super::folder::{Look, Sketch};
use super::homes::{Home, is_gguf, is_weights};
use super::unfinished::{Unfinished, unfinished};
use super::words::{self, RACED, Seen};
use crate::cache::diagnosis::cause;
use crate::cache::partials::{Eyes, distance};
use crate::cache::ready::{Findings, Listing};
use crate::domain::{
    CacheKind, Change, Commit, Finding, LoadLevel, LoadTrouble, ModelRow, ModelState, PartialState,
    PlanStep, RemoteFile, RepoPath, Rule, Severity, sanitize,
};

/// What is newer than this may be being written.
const LEFT_FROM: Duration = Duration::from_mins(1);
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
        let note = sanitize(&self.notes.place_of(&gone[0]).to_string_lossy());
        let notes = match gone.len() {
            1 => format!("its note `{note}`"),
            more => format!("the {more} notes, such as `{note}`"),
        };
        let mut finding = self
            .home
            .finding(Rule::MissingFiles, &first, Seen::default(), &summary)
            .step(self.home.fetch_gone(&first, &notes));
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

    /// What a larder that died left among the notes.
    pub(super) fn left_aside(&mut self) {
        for place in &self.notes.asides {
            let Ok(found) = place.symlink_metadata() else {
                continue;
            };
            let changed = found.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            if distance(self.eyes.now, changed) < LEFT_FROM {
                continue;
            }
            let shown = place.to_string_lossy();
            let name = place.file_name().unwrap_or_default().to_string_lossy();
            let what = "what a repair writes first, or what it has replaced: it goes if that is a link, \
                        empty, no content at all, or the start of the right bytes";
            self.findings.push(
                Finding::new(
                    Rule::LeftoverTemp,
                    format!("`{}` was left by a larder that died", sanitize(&name)),
                    cause(Rule::LeftoverTemp),
                )
                .of_model(&self.home.repo, None)
                .seen(&shown, Some(found.len()), None, what)
                .step(PlanStep::Change(Change::Remove {
                    path: shown.into_owned(),
                    bytes: found.len(),
                })),
            );
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
        if self.gguf(is_mlx) {
            return;
        }
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
        // Elsewhere notes and listings tell what is missing.
        let is_plain = !matches!(self.home.kind, CacheKind::HubApi | CacheKind::LocalDir);
        for trouble in examination.troubles {
            if is_plain || trouble.level != LoadLevel::Missing {
                self.would_not_load(trouble);
            }
        }
    }

    /// A model of llama.cpp's kind, which MLX does not load: what it needs is not known, but whether
    /// a part of it is missing its names say. Whether it is one.
    fn gguf(&mut self, has_config: bool) -> bool {
        let named = |is: fn(&str) -> bool| {
            let names = self.present.iter().map(RepoPath::as_str);
            names
                .filter(|name| is(name))
                .map(ToOwned::to_owned)
                .collect()
        };
        let weights: Vec<String> = named(is_gguf);
        let others: Vec<String> = named(is_weights);
        if weights.is_empty() || !others.is_empty() {
            return false;
        }
        let what = if has_config {
            "its weights are GGUF and it has none that MLX loads"
        } else {
            "its weights are GGUF"
        };
        self.remarks.push(format!(
            "not for MLX: {what}; whether llama.cpp or LM Studio would load it is not looked at"
        ));
        let lacking = missing_parts(&weights);
        let lacking = lacking.iter().take(TOLD);
        self.missing
            .extend(lacking.map(|part| format!("`{}` is missing", sanitize(part))));
        true
    }

    /// What an examination says, unless that is known already, or a file is being written.
    fn would_not_load(&mut self, trouble: LoadTrouble) {
        if trouble.level == LoadLevel::Broken {
            let written: Vec<String> = match &trouble.file {
                Some(file) => vec![file.clone()],
                // Of the model as a whole: any of them may be why.
                None => self.writing.keys().cloned().collect(),
            };
            let mut is_any = false;
            for file in written {
                is_any |= self.is_on_its_way(&file);
            }
            if is_any {
                return;
            }
        }
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

    /// What it came to. With `is_going_on` somebody is at work, and what is missing is on its way.
    pub(super) fn sketch(
        mut self,
        commit: Option<Commit>,
        has_listing: bool,
        partials: Vec<Unfinished>,
        is_going_on: bool,
    ) -> Sketch {
        let on_its_way = &self.on_its_way;
        self.present
            .retain(|path| !on_its_way.contains_key(&sanitize(path.as_str())));
        if !has_listing {
            self.missing.extend(on_its_way.values().cloned());
        }
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
            notes: self.remarks,
        }
        .verdict();
        if !is_going_on {
            let unlisted = unlisted(self.home, &self.listing, &verdict.missing, &findings);
            findings.extend(unlisted);
        }
        let mut problems = verdict.problems;
        if has_listing {
            // Of those the listing says that they are missing.
            for (file, sentence) in &self.on_its_way {
                let missing = format!("`{file}` is missing");
                problems.retain(|told| *told != missing);
                problems.insert(0, sentence.clone());
            }
        }
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
                wrong_ms: latest_wrong(&files),
                problems,
                modified_ms: self.modified_ms,
                accessed_ms: self.accessed_ms,
            },
            files,
            findings,
            partials,
            copies: self.copies,
            folders: self.folders,
            paths: self.paths,
            notes: self.notes,
            looks: self.looks,
            is_unsettled: !self.on_its_way.is_empty(),
        }
    }
}

/// Parts of split GGUF weights, `NAME-00001-of-00003.gguf`, that are not there although others are.
fn missing_parts(weights: &[String]) -> Vec<String> {
    let mut groups: BTreeMap<(&str, &str), BTreeSet<u32>> = BTreeMap::new();
    for name in weights {
        let part = || {
            let stem = name.get(..name.len().checked_sub(".gguf".len())?)?;
            let (stem, all) = stem.rsplit_once("-of-")?;
            let (stem, at) = stem.rsplit_once('-')?;
            let is_number =
                |text: &str| text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
            (is_number(at) && is_number(all)).then_some((stem, all, at.parse().ok()?))
        };
        if let Some((stem, all, at)) = part() {
            groups.entry((stem, all)).or_default().insert(at);
        }
    }
    let lacking = groups.iter().flat_map(|((stem, all), here)| {
        let count: u32 = all.parse().unwrap_or(0);
        let lacking = (1..=count).filter(|at| !here.contains(at));
        lacking.map(move |at| format!("{stem}-{at:05}-of-{all}.gguf"))
    });
    lacking.collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_split_weights_say_which_part_is_missing() {
        let lacking = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            missing_parts(&names)
        };
        assert!(lacking(&["m.gguf", "mmproj-f16.gguf"]).is_empty());
        assert_eq!(
            lacking(&[
                "m-Q4-00001-of-00003.gguf",
                "m-Q4-00003-of-00003.gguf",
                "x.gguf"
            ]),
            ["m-Q4-00002-of-00003.gguf"]
        );
        let whole = ["d/m-00001-of-00002.gguf", "d/m-00002-of-00002.GGUF"];
        assert!(lacking(&whole).is_empty());
        assert!(lacking(&["m-1-of-2.gguf", "m-00001-of-000ab.gguf", "é.gguf", ".gguf"]).is_empty());
    }
}
