//! Owns the documents about files that somebody fetched: `import` and `guide`.

use serde::Serialize;

use super::{Closing, Head, json};
use crate::domain::{
    Guide, GuideFile, Healing, ImportResult, MissingFile, Offer, Outcome, RefMove,
};
use crate::store::Store;

#[derive(Serialize)]
struct ImportDocument<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    repo: Option<String>,
    revision: Option<&'a str>,
    commit: Option<String>,
    cache_dir: Option<&'a str>,
    snapshot: Option<&'a str>,
    reference: Option<&'a RefMove>,
    is_dry_run: bool,
    is_offline: bool,
    is_complete: bool,
    offers: &'a [Offer],
    more_foreign: usize,
    refused: &'a [Offer],
    missing: &'a [MissingFile],
    imported_files: usize,
    imported_bytes: u64,
    here_files: usize,
    healed: &'a [Healing],
    notes: &'a [String],
    elapsed_ms: u64,
}

/// The document of `import`. A repo that was not found out is `null`.
pub(in super::super) fn import(
    store: &Store,
    is_dry_run: bool,
    closing: &Closing<'_>,
    is_line: bool,
) -> String {
    let target = store.target();
    let recognition = store.recognition();
    let result = match store.outcome() {
        Some(Outcome::Imported(result)) => Some(result),
        _ => None,
    };
    let missing = match (result, recognition) {
        (Some(result), _) => result.missing.as_slice(),
        (None, Some(recognition)) => &recognition.missing,
        (None, None) => &[],
    };
    let document = ImportDocument {
        head: closing.head("import"),
        repo: target.map(|target| target.repo.to_string()),
        revision: target.map(|target| target.revision.as_str()),
        commit: recognition.map(|recognition| recognition.commit.to_string()),
        cache_dir: target.map(|target| target.cache_dir.as_str()),
        snapshot: result.map(|result| result.snapshot.as_str()),
        reference: result.map(|result| &result.reference),
        is_dry_run,
        is_offline: recognition.is_some_and(|recognition| recognition.is_offline),
        is_complete: result.is_some_and(ImportResult::is_complete),
        offers: recognition.map_or(&[], |recognition| &recognition.offers),
        more_foreign: recognition.map_or(0, |recognition| recognition.more_foreign),
        refused: result.map_or(&[], |result| &result.refused),
        missing,
        imported_files: result.map_or(0, |result| result.imported_files),
        imported_bytes: result.map_or(0, |result| result.imported_bytes),
        here_files: result.map_or(0, |result| result.here_files),
        healed: store.healed(),
        notes: store.notes(),
        elapsed_ms: store.elapsed_ms(),
    };
    json(&document, is_line)
}

#[derive(Serialize)]
struct GuideDocument<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    repo: Option<String>,
    revision: Option<&'a str>,
    commit: Option<String>,
    endpoint: Option<&'a str>,
    is_offline: bool,
    needs_token: bool,
    here_files: usize,
    fetch_bytes: u64,
    files: &'a [GuideFile],
    folder: Option<String>,
    import_call: Option<String>,
    script: Option<String>,
}

/// The document of `guide`; `places` are the flags that say where.
pub(in super::super) fn guide(
    guide: Option<&Guide>,
    places: &[String],
    closing: &Closing<'_>,
    is_line: bool,
) -> String {
    let document = GuideDocument {
        head: closing.head("guide"),
        repo: guide.map(|guide| guide.repo.to_string()),
        revision: guide.map(|guide| guide.revision.as_str()),
        commit: guide.map(|guide| guide.commit.to_string()),
        endpoint: guide.map(|guide| guide.endpoint.as_str()),
        is_offline: guide.is_some_and(|guide| guide.is_offline),
        needs_token: guide.is_some_and(|guide| guide.needs_token),
        here_files: guide.map_or(0, |guide| guide.here_files),
        fetch_bytes: guide.map_or(0, |guide| guide.fetch_bytes),
        files: guide.map_or(&[], |guide| &guide.files),
        folder: guide.map(Guide::folder),
        import_call: guide.map(|guide| guide.import_call(places)),
        script: guide.map(|guide| guide.script(places)),
    };
    json(&document, is_line)
}
