//! Owns what is wrong with the cache as a whole: the shared blob store, names that differ only by
//! case, what probes left at the root (hub.md 2.3, 2.6).
//!
//! Never takes anything away. Lines of a manifest are hints: each is checked by reading the link.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::diagnosis::cause;
use super::layout::is_xet_hash;
use super::leftovers::is_probe_folder;
use super::lock::{self, Look};
use super::loose::{Wrong, wrong_payloads};
use super::partials::distance;
use super::salvage::exact_etag;
use super::sight::is_own_folder;
use super::{Judge, Layout, trash};
use crate::domain::{Change, Etag, Finding, PlanStep, RepoId, Rule, sanitize};
use crate::host;

/// What stands in the store's mark.
const MARK: &[u8] = b"1\n";
/// No manifest is read beyond this.
const MANIFEST_MAX_BYTES: u64 = 4 << 20;
/// A payload or probe this new may be in use.
const FRESH: Duration = Duration::from_mins(1);
/// So many paths are named one by one.
const TOLD: usize = 50;

/// What is wrong beside the repos.
pub(super) fn root_findings(layout: &Layout, now: SystemTime, judge: Judge<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    found.extend(wrong_store(layout, now, judge));
    found.extend(collisions(layout));
    found.extend(probes(layout, now));
    found.extend(cut_off(layout));
    found
}

/// The shared store: unmarked, or with contents that nobody uses, or that are wrong.
fn wrong_store(layout: &Layout, now: SystemTime, judge: Judge<'_>) -> Vec<Finding> {
    let folder = layout.shared_store();
    if !is_own_folder(&folder) {
        return Vec::new();
    }
    let payloads = payloads(&folder);
    let mark = layout.shared_marker();
    let is_marked = mark.symlink_metadata().is_ok_and(|found| found.is_file())
        && start(&mark, MARK.len() as u64 + 1).is_some_and(|text| text == MARK);
    let shown = folder.to_string_lossy();
    if !is_marked {
        if payloads.is_empty() {
            return Vec::new();
        }
        let bytes: u64 = payloads.iter().map(|(_, bytes, _)| bytes).sum();
        let summary = "the shared blob store has no mark, so Python does not use it";
        return vec![
            Finding::new(Rule::UnmarkedStore, summary, cause(Rule::UnmarkedStore))
                .seen(
                    &shown,
                    Some(bytes),
                    None,
                    "contents without `.huggingface-shared-blobs`",
                )
                .step(PlanStep::ByHand {
                    advice: format!(
                        "if Python made it here, write a line `1` into `{}`; else move it away",
                        mark.display()
                    ),
                }),
        ];
    }
    let unused = payloads.into_iter().filter(|(path, _, changed)| {
        distance(now, *changed) >= FRESH && is_unused(layout, path) && !is_locked(path, now)
    });
    let (mut wrong, mut kept) = (Vec::new(), Vec::new());
    for (path, bytes, _) in unused {
        match wrong_payload(&path, bytes, judge) {
            Some(one) => wrong.push(one),
            None => kept.push((path, bytes)),
        }
    }
    let found = wrong_payloads(layout, &wrong).into_iter();
    found.chain(unused_payloads(&kept, judge)).collect()
}

/// What was hashed and is not what its manifest calls it: of no use to anybody.
fn wrong_payload(payload: &Path, bytes: u64, judge: Judge<'_>) -> Option<Wrong> {
    let etag = manifest_etag(payload)?;
    let real = fs::canonicalize(payload).ok()?;
    let found = real.symlink_metadata().ok()?;
    let (computed, _) = (judge.content)(&real, &found)?;
    let is_wrong = computed != etag && computed.algorithm() == etag.algorithm();
    is_wrong.then(|| Wrong {
        path: payload.to_owned(),
        etag,
        computed,
        bytes,
    })
}

/// What nobody uses and may be right.
fn unused_payloads(unused: &[(PathBuf, u64)], judge: Judge<'_>) -> Option<Finding> {
    let summary = match unused {
        [] => return None,
        [_] => "a content in the shared store that no repo leads to".to_owned(),
        more => format!(
            "{} contents in the shared store that no repo leads to",
            more.len()
        ),
    };
    let finding = Finding::new(Rule::UnusedPayload, summary, cause(Rule::UnusedPayload));
    let told = unused
        .iter()
        .take(TOLD)
        .fold(finding, |finding, (path, bytes)| {
            let what = format!(
                "no line of its manifest is a link to it; {}",
                proof_words(path, judge)
            );
            finding.seen(&path.to_string_lossy(), Some(*bytes), None, &what)
        });
    Some(unused.iter().fold(told, |finding, (path, bytes)| {
        finding.step(PlanStep::Change(Change::Remove {
            path: path.to_string_lossy().into_owned(),
            bytes: *bytes,
        }))
    }))
}

/// What is known of a payload's bytes.
fn proof_words(payload: &Path, judge: Judge<'_>) -> &'static str {
    let content = fs::canonicalize(payload).ok().and_then(|real| {
        let found = real.symlink_metadata().ok()?;
        (judge.content)(&real, &found)
    });
    match (content, manifest_etag(payload)) {
        (None, _) => "its bytes are not hashed yet (`larder verify` does that)",
        (Some((content, _)), Some(etag)) if content == etag => {
            "its bytes are proven: they hash to what its manifest calls it"
        }
        (Some(_), Some(_)) => "its bytes are wrong: they do not hash to what its manifest calls it",
        (Some(_), None) => {
            "its bytes were hashed, but its name is a hash of Xet's own, so nothing says what they \
             should be"
        }
    }
}

/// The content that the lines of a payload's manifest name, true or not; `None` unless all name the
/// same.
pub(super) fn manifest_etag(payload: &Path) -> Option<Etag> {
    let text = manifest(payload)?;
    let names = text.lines().filter_map(|line| line.rsplit('/').next());
    let etags: BTreeSet<Etag> = names
        .filter_map(exact_etag)
        .filter(|etag| matches!(etag, Etag::Sha256(_)))
        .collect();
    etags.first().copied().filter(|_| etags.len() == 1)
}

/// Every payload with its length and last change: `<2 hex>/<64 hex>`.
pub(super) fn payloads(root: &Path) -> Vec<(PathBuf, u64, SystemTime)> {
    let mut found = Vec::new();
    for (name, folder) in entries(root) {
        if name.len() != 2 || !is_own_folder(&folder) {
            continue;
        }
        for (payload, path) in entries(&folder) {
            let metadata = path.symlink_metadata().ok().filter(fs::Metadata::is_file);
            if let Some(metadata) = metadata
                && is_xet_hash(&payload)
                && payload.starts_with(&name)
            {
                let changed = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                found.push((path, metadata.len(), changed));
            }
        }
    }
    found
}

/// Whether the manifest can be read and none of its lines leads to the payload.
pub(super) fn is_unused(layout: &Layout, payload: &Path) -> bool {
    manifest(payload).is_some_and(|text| !text.lines().any(|line| leads_to(layout, line, payload)))
}

/// A payload's manifest; `None` if it cannot be read as one.
fn manifest(payload: &Path) -> Option<String> {
    let mut manifest = payload.as_os_str().to_owned();
    manifest.push(".refs");
    let text = start(Path::new(&manifest), MANIFEST_MAX_BYTES)?;
    let is_whole = (text.len() as u64) < MANIFEST_MAX_BYTES;
    String::from_utf8(text).ok().filter(|_| is_whole)
}

/// Whether a line, a path below the cache, is a link to the payload.
fn leads_to(layout: &Layout, text: &str, payload: &Path) -> bool {
    let relative = Path::new(text);
    let is_plain = relative
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    if text.is_empty() || !is_plain {
        return false;
    }
    let link = layout.root().join(relative);
    let Some(folder) = link.parent() else {
        return false;
    };
    let is_by_text =
        fs::read_link(&link).is_ok_and(|target| plain(&folder.join(target)) == plain(payload));
    let real = |path: &Path| fs::canonicalize(path).ok();
    is_by_text || real(&link).is_some_and(|leads| Some(leads) == real(payload))
}

/// A path without `.` and `..`, by its text alone.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(out.pop()),
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => out.push(part),
        }
    }
    out
}

fn is_locked(payload: &Path, now: SystemTime) -> bool {
    let mut lock = payload.as_os_str().to_owned();
    lock.push(".lock");
    matches!(lock::look(Path::new(&lock), now), Look::Held(_))
}

/// Repos whose folders are one where case is ignored (hub.md case 17).
fn collisions(layout: &Layout) -> Vec<Finding> {
    let mut by_folded: BTreeMap<String, Vec<(String, PathBuf)>> = BTreeMap::new();
    for (name, path) in entries(layout.root()) {
        if RepoId::from_folder(&name).is_some() && is_own_folder(&path) {
            by_folded
                .entry(name.to_lowercase())
                .or_default()
                .push((name, path));
        }
    }
    by_folded
        .into_values()
        .filter(|same| same.len() > 1)
        .map(|same| {
            let names: Vec<String> = same.iter().map(|(name, _)| format!("`{name}`")).collect();
            let summary = format!("{} differ only by case", sanitize(&names.join(" and ")));
            let finding = Finding::new(Rule::CaseCollision, summary, cause(Rule::CaseCollision));
            let finding = same.iter().fold(finding, |finding, (_, path)| {
                let what = "the Hub knows one name of them; a Mac's usual file system, too";
                finding.seen(&path.to_string_lossy(), None, None, what)
            });
            finding.step(PlanStep::ByHand {
                advice: "pull the model by the name that the Hub shows; the other can go then"
                    .to_owned(),
            })
        })
        .collect()
}

/// Folders that Python's probe for links left at the root, which its scan reports.
fn probes(layout: &Layout, now: SystemTime) -> Vec<Finding> {
    let is_old = |path: &Path| {
        let changed = path.symlink_metadata().and_then(|found| found.modified());
        changed.is_ok_and(|changed| distance(now, changed) >= FRESH)
    };
    entries(layout.root())
        .into_iter()
        .filter(|(name, path)| is_probe_folder(name, path) && is_old(path))
        .map(|(name, path)| {
            let path = path.to_string_lossy().into_owned();
            let summary = format!("`{}` was left by a program that died", sanitize(&name));
            Finding::new(Rule::LeftoverTemp, summary, cause(Rule::LeftoverTemp))
                .seen(
                    &path,
                    None,
                    None,
                    "a probe for links; Python's scan warns of it",
                )
                .step(PlanStep::Change(Change::Remove { path, bytes: 0 }))
        })
        .collect()
}

/// What a larder that died was doing with the trash.
fn cut_off(layout: &Layout) -> Vec<Finding> {
    let repos = super::repos(layout).unwrap_or_default();
    trash::cut_off_rows(layout, &repos)
        .into_iter()
        .filter_map(|row| {
            let what = row.cut_off.as_deref()?;
            let summary = format!("{what}: `{}` ({})", row.repo, row.id);
            let why =
                "whatever writes next (`pull`, `purge`, `trash restore`) finishes or undoes it";
            Some(
                Finding::new(Rule::LeftoverTemp, summary, cause(Rule::LeftoverTemp))
                    .seen(&row.path, Some(row.bytes), None, what)
                    .step(PlanStep::ByHand {
                        advice: why.to_owned(),
                    }),
            )
        })
        .collect()
}

/// What lies in a folder, in the order of names.
fn entries(folder: &Path) -> Vec<(String, PathBuf)> {
    let mut found: Vec<(String, PathBuf)> = host::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
        .collect();
    found.sort();
    found
}

/// The start of a file; `None` if it cannot be read.
fn start(path: &Path, most: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = host::open_itself(path).ok()?;
    file.take(most).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}
