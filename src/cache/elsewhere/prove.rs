//! Owns which files elsewhere are to be hashed, and what each should be.
//!
//! Never hashes itself, and leaves files out whose bytes are not on this disk.

use std::fs;
use std::path::Path;

use super::Elsewhere;
use super::folder::Sketch;
use super::homes::{Home, known_repo};
use crate::cache::inspection::{ContentId, Inspected, is_about_bytes};
use crate::cache::{Inspection, Judge, Layout, inspect, repos};
use crate::domain::{RepoId, Rule, Severity, sanitize};
use crate::host;

/// Shorter beginnings of a commit name nothing.
const SHORTEST_PREFIX: usize = 7;

impl Elsewhere {
    /// The models of a repo, or all, as they are to be proven; each with the cache it is in, or with
    /// its own folder.
    pub fn inspect(
        &self,
        repo: Option<&RepoId>,
        revision: Option<&str>,
        judge: Judge<'_>,
    ) -> Vec<(Layout, Inspection)> {
        let mut found = Vec::new();
        for place in &self.spots {
            if let Some((layout, _)) = &place.hub {
                for known in repos(layout).unwrap_or_default() {
                    if repo.is_none_or(|repo| *repo == known) {
                        let here = inspect(layout, &known, revision, judge).unwrap_or_default();
                        found.extend(here.into_iter().map(|one| (layout.clone(), one)));
                    }
                }
            }
            let sketches = place.sketches(&self.sketches).filter(|sketch| {
                let model = &sketch.model;
                repo.is_none_or(|repo| *repo == model.repo)
                    && revision.is_none_or(|named| is_named(&model.revision, named))
            });
            found.extend(sketches.map(|sketch| {
                let layout = Layout::new(Path::new(&sketch.model.snapshot).to_owned());
                (layout, inspection(sketch))
            }));
        }
        found
    }
}

fn is_named(revision: &str, named: &str) -> bool {
    revision == named || (named.len() >= SHORTEST_PREFIX && revision.starts_with(named))
}

fn inspection(sketch: &Sketch) -> Inspection {
    let folder = Path::new(&sketch.model.snapshot);
    let files = sketch.paths.iter().map(|(path, etag)| {
        let place = folder.join(path.as_str());
        let shown = sanitize(path.as_str());
        let is_known_bad = sketch.findings.iter().any(|finding| {
            finding.severity == Severity::Error
                && is_about_bytes(finding.rule)
                && finding.file.as_deref() == Some(&shown)
        });
        let content = || {
            let found = place
                .symlink_metadata()
                .ok()
                .filter(fs::Metadata::is_file)?;
            // What is hidden is of git or of the system, unless a note says what it should be.
            let is_hidden = etag.is_none() && path.segments().any(|part| part.starts_with('.'));
            let is_here = !is_known_bad && !is_hidden && !host::is_evicted(&place, &found);
            is_here.then(|| (ContentId::of(&found, etag.as_ref()), found.len()))
        };
        let content = content();
        Inspected {
            listed_bytes: None,
            is_left_out: false,
            path: path.clone(),
            place,
            etag: *etag,
            content,
        }
    });
    let files = files.collect();
    let home = Home {
        repo: sketch.model.repo.clone(),
        is_repo_known: known_repo(sketch.model.cache, folder).is_some(),
        kind: sketch.model.cache,
        folder: folder.to_owned(),
    };
    let revision = sketch.model.revision.clone();
    // What was hashed before is asked for content by content, or hashed once more.
    let findings = sketch.findings.iter();
    let findings = findings.filter(|finding| finding.rule != Rule::WrongHash);
    Inspection::of_folder(home, revision, files, findings.cloned().collect())
}
