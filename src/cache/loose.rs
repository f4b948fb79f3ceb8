//! Owns contents that no snapshot leads to, blobs of a repo and payloads of the shared store: what
//! each should be, and what is told of those that are something else.
//!
//! Never hashes and never takes anything away. The name of a payload is a hash that says nothing of
//! a sha256 (hub.md 2.6): what it should be, only manifests and listings say.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use super::inspection::{ContentId, Inspected, Inspection, content_of};
use super::lock::{self, Hold, Origin};
use super::mend::{Refusal, remove, require_wrong, seen};
use super::partials::{Eyes, is_being_written};
use super::proof::{Proof, Proofs, Sums};
use super::salvage::exact_etag;
use super::scan::repos;
use super::shared::{is_unused, manifest_etag, payloads};
use super::sight::is_own_folder;
use super::tally::{is_page, start_of};
use super::trees::{all_files, commits_by_content};
use super::{Layout, blob};
use crate::domain::{
    Bundle, Change, Commit, Etag, Finding, PlanStep, RepoId, RepoPath, Rule, Verification, sanitize,
};
use crate::host;

/// So many paths are named one by one.
const TOLD: usize = 50;

/// A content that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// Where it lies.
    pub(super) path: PathBuf,
    /// What it should be.
    pub(super) etag: Etag,
    /// What it hashed to.
    pub(super) computed: Etag,
    /// Its length.
    pub(super) bytes: u64,
}

/// The last part of the text of every link in the snapshots, whatever the names are, also behind
/// links to folders of the repo; `None` if not all of it can be read.
pub(super) fn pointed(layout: &Layout, repo: &RepoId) -> Option<HashSet<OsString>> {
    let folder = fs::canonicalize(layout.repo(repo)).ok()?;
    let mut open = vec![layout.snapshots(repo)];
    let mut seen = HashSet::new();
    let mut pointed = HashSet::new();
    while let Some(dir) = open.pop() {
        let real = match fs::canonicalize(&dir) {
            Ok(real) => real,
            // Of a download that has not come to its first snapshot.
            Err(error) if blob::is_absent(&error) && seen.is_empty() => break,
            Err(_) => return None,
        };
        if !real.starts_with(&folder) || !seen.insert(real) {
            continue;
        }
        for entry in host::read_dir(&dir).ok()? {
            let entry = entry.ok()?;
            let kind = entry.file_type().ok()?;
            let path = entry.path();
            if kind.is_symlink() {
                let target = fs::read_link(&path).ok()?;
                pointed.extend(target.file_name().map(OsStr::to_owned));
                if path.is_dir() {
                    open.push(path);
                }
            } else if kind.is_dir() {
                open.push(path);
            }
        }
    }
    Some(pointed)
}

/// The blobs of a repo that no snapshot leads to, as they are to be proven; `None` if there are
/// none. `named` are those that pointers lead to.
pub(super) fn inspect_orphans(
    layout: &Layout,
    repo: &RepoId,
    named: &BTreeSet<String>,
) -> Option<Inspection> {
    let folder = layout.blobs(repo);
    if !is_own_folder(&layout.repo(repo)) || !is_own_folder(&folder) {
        return None;
    }
    let entries = host::read_dir(&folder).into_iter().flatten().flatten();
    let mut loose: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !named.contains(name) && exact_etag(name).is_some())
        .collect();
    if loose.is_empty() {
        return None;
    }
    let pointed = pointed(layout, repo)?;
    loose.retain(|name| !pointed.contains(OsStr::new(name)));
    loose.sort();
    let file = |name: String| {
        let etag = exact_etag(&name)?;
        let place = folder.join(&name);
        // A link into nothing is no content.
        place.metadata().ok().filter(fs::Metadata::is_file)?;
        Some(Inspected {
            path: RepoPath::new(&format!("blobs/{name}")).ok()?,
            content: content_of(layout, &place, Some(&etag)),
            etag: Some(etag),
            place,
            listed_bytes: None,
            is_left_out: false,
        })
    };
    let files: Vec<Inspected> = loose.into_iter().filter_map(file).collect();
    (!files.is_empty()).then(|| Inspection {
        what: Bundle::Orphans,
        repo: Some(repo.clone()),
        revision: Bundle::Orphans.name().to_owned(),
        folder: folder.clone(),
        files,
        findings: Vec::new(),
        home: None,
    })
}

/// The payloads of the shared store that are none of the files, by device and inode, that are
/// `proven` otherwise, as they are to be proven; `None` if there are none.
pub fn inspect_store(layout: &Layout, proven: &dyn Fn((u64, u64)) -> bool) -> Option<Inspection> {
    let folder = layout.shared_store();
    if !is_own_folder(&folder) {
        return None;
    }
    let mut listed: Option<HashMap<String, Etag>> = None;
    let mut files = Vec::new();
    for (place, bytes, _) in payloads(&folder) {
        let Ok(found) = place.symlink_metadata() else {
            continue;
        };
        if proven(ContentId::of(&found, None).file) {
            continue;
        }
        let name = place.file_name().unwrap_or_default().to_string_lossy();
        let etag = manifest_etag(&place).or_else(|| {
            let listed = listed.get_or_insert_with(|| by_xet_hash(layout));
            listed.get(name.as_ref()).copied()
        });
        let Ok(path) = RepoPath::new(&format!("blobs/{}/{name}", &name[..2])) else {
            continue;
        };
        let is_here = !host::is_evicted(&place, &found);
        files.push(Inspected {
            path,
            content: is_here.then(|| (ContentId::of(&found, etag.as_ref()), bytes)),
            etag,
            place,
            listed_bytes: None,
            is_left_out: false,
        });
    }
    (!files.is_empty()).then(|| Inspection {
        what: Bundle::SharedStore,
        repo: None,
        revision: Bundle::SharedStore.name().to_owned(),
        folder,
        files,
        findings: Vec::new(),
        home: None,
    })
}

/// What the listings of all repos say of contents by the name that they have in the shared store.
fn by_xet_hash(layout: &Layout) -> HashMap<String, Etag> {
    let mut found = HashMap::new();
    for repo in repos(layout).unwrap_or_default() {
        let files = all_files(layout, &repo).into_iter();
        found.extend(files.filter_map(|file| Some((file.xet_hash?, file.etag))));
    }
    found
}

/// What contents that no snapshot leads to are worth.
pub(super) fn judge(
    inspection: Inspection,
    layout: &Layout,
    proofs: &Proofs,
    eyes: &Eyes<'_>,
) -> Verification {
    let mut sums = Sums::default();
    let mut wrong = Vec::new();
    let mut unreadable = Vec::new();
    for file in &inspection.files {
        let Some((id, bytes)) = file.content else {
            sums.files_unknown += 1;
            continue;
        };
        let is_live = || {
            let written = inspection.repo.as_ref().zip(file.etag);
            written.is_some_and(|(repo, etag)| is_being_written(layout, repo, &etag, eyes))
        };
        match proofs.of(&id) {
            Some(Proof::Right) => sums.right(bytes, proofs.unread.contains(&id)),
            Some(Proof::Known(_)) => sums.known(bytes, false, proofs.unread.contains(&id)),
            Some(Proof::Wrong(computed)) if !is_live() => {
                sums.bytes += bytes;
                wrong.push(Wrong {
                    path: file.place.clone(),
                    etag: *id.etag(),
                    computed,
                    bytes,
                });
            }
            // Somebody writes it: what it will be, nobody knows.
            Some(Proof::Wrong(_) | Proof::Moving) | None => sums.files_unknown += 1,
            Some(Proof::Unreadable(why)) => unreadable.push((file.place.clone(), why)),
        }
    }
    let mut findings = match &inspection.repo {
        Some(repo) => wrong_orphans(layout, repo, &wrong),
        None => wrong_payloads(layout, &wrong).into_iter().collect(),
    };
    findings.extend(unreadable.iter().map(|(path, why)| {
        let summary = format!("`{}` cannot be read: {why}", path.display());
        let path = path.to_string_lossy();
        let finding = Finding::new(
            Rule::Unreadable,
            summary,
            super::diagnosis::cause(Rule::Unreadable),
        );
        let finding = match &inspection.repo {
            Some(repo) => finding.of_model(repo, None),
            None => finding,
        };
        finding.seen(&path, None, None, why).step(PlanStep::ByHand {
            advice: format!(
                "make `{}` readable for you, or move it away",
                sanitize(&path)
            ),
        })
    }));
    let basis = basis_of(inspection.what, &sums);
    inspection.verification(sums, basis, findings)
}

fn basis_of(what: Bundle, sums: &Sums) -> Vec<String> {
    let mut basis = Vec::new();
    if what != Bundle::SharedStore {
        basis.push("no snapshot leads to them; their names say what they should be".to_owned());
        return basis;
    }
    if sums.files_good > 0 {
        basis.push(
            "no repo leads to them; a manifest or a listing says what they should be".to_owned(),
        );
    }
    if sums.files_hashed > 0 {
        basis.push(
            "their own names are hashes of Xet, which say nothing of the bytes to anybody but Xet, \
             and no manifest or listing says more: hashed only"
                .to_owned(),
        );
    }
    basis
}

/// By which rule a content is wrong, as its first bytes and its length show.
fn rule_of(wrong: &Wrong, listed: Option<u64>) -> Rule {
    let start = start_of(&wrong.path);
    if wrong.bytes == 0 {
        Rule::EmptyBlob
    } else if wrong.bytes <= blob::LFS_POINTER_MAX_BYTES && start.starts_with(blob::LFS_POINTER) {
        Rule::LfsPointer
    } else if is_page(&start) {
        Rule::ErrorPage
    } else {
        match listed {
            Some(listed) if wrong.bytes < listed => Rule::Truncated,
            Some(listed) if wrong.bytes > listed => Rule::WrongSize,
            _ => Rule::WrongHash,
        }
    }
}

/// What is told of a repo's blobs that no snapshot leads to and that are not what their names say.
pub(super) fn wrong_orphans(layout: &Layout, repo: &RepoId, wrong: &[Wrong]) -> Vec<Finding> {
    if wrong.is_empty() {
        return Vec::new();
    }
    let commits = commits_by_content(layout, repo);
    let sizes: HashMap<Etag, u64> = all_files(layout, repo)
        .into_iter()
        .map(|file| (file.etag, file.size_bytes))
        .collect();
    let mut by_rule: BTreeMap<Rule, Vec<&Wrong>> = BTreeMap::new();
    for one in wrong {
        let rule = rule_of(one, sizes.get(&one.etag).copied());
        by_rule.entry(rule).or_default().push(one);
    }
    by_rule
        .into_iter()
        .map(|(rule, wrong)| {
            let what = match rule {
                Rule::EmptyBlob => "empty",
                Rule::LfsPointer => "LFS pointers in the place of the content",
                Rule::ErrorPage => "web pages or errors in the place of the content",
                Rule::Truncated => "cut off",
                Rule::WrongSize => "too long",
                _ => "not what the name says",
            };
            let summary = match wrong.len() {
                1 => format!("1 blob that no snapshot leads to: {what}"),
                more => format!("{more} blobs that no snapshot leads to: {what}"),
            };
            let cause = format!(
                "{}; nobody reads it now, but Python's next download of that content makes a link \
                 to it without reading it",
                super::diagnosis::cause(rule)
            );
            let mut finding = told(
                Finding::new(rule, summary, cause).of_model(repo, None),
                &wrong,
                &sizes,
            );
            let mut pulled: BTreeSet<Commit> = BTreeSet::new();
            for one in wrong {
                match commits.get(&one.etag) {
                    Some(commit) => {
                        pulled.insert(*commit);
                    }
                    None => finding = finding.step(removal(one)),
                }
            }
            pulled.into_iter().fold(finding, |finding, commit| {
                finding.step(PlanStep::Pull {
                    repo: repo.clone(),
                    revision: commit.to_string(),
                    fetch_bytes: None,
                    files: Vec::new(),
                })
            })
        })
        .collect()
}

/// What is told of contents of the shared store that are not what their manifests or a listing say.
pub(super) fn wrong_payloads(layout: &Layout, wrong: &[Wrong]) -> Option<Finding> {
    let summary = match wrong.len() {
        0 => return None,
        1 => "a content in the shared store is not what its manifest says".to_owned(),
        more => format!("{more} contents in the shared store are not what their manifests say"),
    };
    let cause = format!(
        "{}; no repo leads to it now, but Python's next download of that content may make a link \
         to it without reading it",
        super::diagnosis::cause(Rule::WrongHash)
    );
    let all: Vec<&Wrong> = wrong.iter().collect();
    let finding = told(
        Finding::new(Rule::WrongHash, summary, cause),
        &all,
        &HashMap::new(),
    );
    Some(wrong.iter().fold(finding, |finding, one| {
        finding.step(if is_unused(layout, &one.path) {
            removal(one)
        } else {
            PlanStep::ByHand {
                advice: format!(
                    "its manifest cannot be read, or a line of it is true: look at `{}.refs`",
                    sanitize(&one.path.to_string_lossy())
                ),
            }
        })
    }))
}

/// Takes a content of the shared store away that no repo leads to, if its bytes are not those that its
/// manifest or a listing names.
///
/// # Errors
/// Why it stays, in a sentence.
pub(super) fn remove_wrong_payload(layout: &Layout, path: &Path) -> Result<(), Refusal> {
    let folder = layout.shared_store();
    seen(path, Some(&folder))?;
    if !payloads(&folder)
        .iter()
        .any(|(payload, ..)| payload == path)
    {
        return Err("it is not what was shown".to_owned());
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let etag = manifest_etag(path).or_else(|| by_xet_hash(layout).get(name.as_ref()).copied());
    let etag = etag.ok_or("nothing says what its bytes should be, so they may be good")?;
    // Python takes it before a link to the content appears (hub.md 2.6).
    let lock = path.with_file_name(format!("{name}.lock"));
    let _held = match lock::hold(&lock, Origin::Create).map_err(|error| error.to_string())? {
        Hold::Held(file) => file,
        Hold::Busy => return Err("another program holds its lock".to_owned()),
        Hold::NoFlock | Hold::Absent => {
            return Err("its lock cannot be taken here".to_owned());
        }
    };
    if !is_unused(layout, path) {
        return Err("a repo leads to it, or its manifest cannot be read".to_owned());
    }
    require_wrong(path, &etag)?;
    remove(path)
}

fn told(finding: Finding, wrong: &[&Wrong], sizes: &HashMap<Etag, u64>) -> Finding {
    wrong.iter().take(TOLD).fold(finding, |finding, one| {
        finding.seen(
            &one.path.to_string_lossy(),
            Some(one.bytes),
            sizes.get(&one.etag).copied(),
            &format!("it hashes to {}", one.computed),
        )
    })
}

fn removal(wrong: &Wrong) -> PlanStep {
    PlanStep::Change(Change::Remove {
        path: wrong.path.to_string_lossy().into_owned(),
        bytes: wrong.bytes,
    })
}

/// Where a blob really lies, and what it is: links into the shared store are followed, others are
/// not.
pub(super) fn real_content(layout: &Layout, place: &Path) -> Option<(PathBuf, fs::Metadata)> {
    let real = fs::canonicalize(place).ok()?;
    let found = real.symlink_metadata().ok().filter(fs::Metadata::is_file)?;
    real.starts_with(layout.root()).then_some((real, found))
}
