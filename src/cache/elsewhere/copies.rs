//! Owns contents that lie in more than one place, known by their hashes, and what they waste.
//!
//! **Law**: equal lengths alone never make two files the same.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::homes::{is_gguf, is_weights};
use super::words::{by_hand, size};
use crate::cache::diagnosis::cause;
use crate::cache::salvage::exact_etag;
use crate::cache::scan::repos;
use crate::cache::sharing::{blob_at, ways};
use crate::cache::{Layout, PairOf, sight};
use crate::domain::{Change, Etag, Finding, PlanStep, RepoId, Rule, sanitize};
use crate::host;

/// A blob of which no name is known, and that is as large as weights are.
const LARGE_BYTES: u64 = 20_000_000;

/// A file whose content is known by its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Copy {
    pub(super) etag: Etag,
    pub(super) bytes: u64,
    /// Device and inode: two names of one file waste nothing.
    pub(super) id: (u64, u64),
    /// Its name in the repo, where that is known; sanitised.
    pub(super) file: Option<String>,
    /// Where it lies.
    pub(super) at: PathBuf,
}

/// What one place holds of one model.
#[derive(Clone, Debug)]
pub(super) struct Holding {
    pub(super) repo: RepoId,
    /// The model's folder; sanitised.
    pub(super) folder: String,
    /// The place: copies within one are its own program's business.
    pub(super) place: String,
    pub(super) copies: Vec<Copy>,
}

/// The contents of a repo in a Hub cache by the names of its blobs.
fn of_repo(layout: &Layout, repo: &RepoId) -> Vec<Copy> {
    let blobs = layout.blobs(repo);
    if !sight::is_own_folder(&layout.repo(repo)) || !sight::is_own_folder(&blobs) {
        return Vec::new();
    }
    let entries = host::read_dir(&blobs).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let etag = exact_etag(entry.file_name().to_str()?)?;
            // Through the link into the shared store, which counts as one file.
            let found = entry.path().metadata().ok()?;
            Some(Copy {
                etag,
                bytes: found.len(),
                id: (found.dev(), found.ino()),
                file: None,
                at: entry.path(),
            })
        })
        .collect()
}

/// Every content of a Hub cache by the name of its blob, with its repo and its length.
pub(in crate::cache) fn contents_of_hub(layout: &Layout) -> Vec<(RepoId, Etag, u64)> {
    let repos = repos(layout).unwrap_or_default();
    let of = |repo: RepoId| {
        let copies = of_repo(layout, &repo).into_iter();
        copies.map(move |copy| (repo.clone(), copy.etag, copy.bytes))
    };
    repos.into_iter().flat_map(of).collect()
}

/// The large contents of a Hub cache by the names of its blobs.
pub(super) fn of_hub(layout: &Layout) -> Vec<Holding> {
    let place = layout.root().to_string_lossy().into_owned();
    let repos = repos(layout).unwrap_or_default();
    repos
        .into_iter()
        .map(|repo| {
            let mut copies = of_repo(layout, &repo);
            copies.retain(|copy| matches!(copy.etag, Etag::Sha256(_)));
            Holding {
                folder: sanitize(&layout.repo(&repo).to_string_lossy()),
                repo,
                place: place.clone(),
                copies,
            }
        })
        .filter(|holding| !holding.copies.is_empty())
        .collect()
}

/// One content and where it lies: which holdings, by their place in the list.
#[derive(Default)]
struct Content<'a> {
    bytes: u64,
    file: Option<String>,
    holders: BTreeSet<usize>,
    copies: Vec<(usize, &'a Copy)>,
    /// Copies that lie on the disk once, together.
    apart: Vec<Vec<(usize, &'a Copy)>>,
}

impl Content<'_> {
    fn wasted_bytes(&self) -> u64 {
        let more = u64::try_from(self.apart.len().saturating_sub(1)).unwrap_or(u64::MAX);
        self.bytes.saturating_mul(more)
    }

    /// Puts copies together that are one file, or share their blocks as far as the system tells, or came
    /// to share them before.
    fn sort_out(&mut self, paired: &PairOf<'_>) {
        for &(at, copy) in &self.copies {
            let is_of = |known: &(usize, &Copy)| {
                let other = known.1;
                other.id == copy.id
                    || (other.id.0 == copy.id.0
                        && ((host::can_share_blocks(&copy.at)
                            && host::share_blocks(&other.at, &copy.at))
                            || paired(&other.at, &copy.at) == Some(true)))
            };
            match self.apart.iter_mut().find(|all| all.iter().any(is_of)) {
                Some(all) => all.push((at, copy)),
                None => self.apart.push(vec![(at, copy)]),
            }
        }
    }
}

/// Models of which the same weights lie in more than one place, a finding for each group of them.
/// `main` is the cache of which a repair may change blobs, and `paired` says what came of trying before.
pub(super) fn duplicates(holdings: &[Holding], main: &Layout, paired: &PairOf<'_>) -> Vec<Finding> {
    let mut contents: BTreeMap<(Etag, u64), Content<'_>> = BTreeMap::new();
    for (at, holding) in holdings.iter().enumerate() {
        for copy in &holding.copies {
            if copy.bytes == 0 || !matches!(copy.etag, Etag::Sha256(_)) {
                continue;
            }
            let content = contents.entry((copy.etag, copy.bytes)).or_default();
            content.bytes = copy.bytes;
            content.copies.push((at, copy));
            content.holders.insert(at);
            if content.file.is_none() {
                content.file.clone_from(&copy.file);
            }
        }
    }
    let mut groups: BTreeMap<Vec<usize>, Vec<Content<'_>>> = BTreeMap::new();
    for mut content in contents.into_values() {
        let places: BTreeSet<&str> = content
            .holders
            .iter()
            .map(|at| holdings[*at].place.as_str())
            .collect();
        if places.len() < 2 {
            continue;
        }
        content.sort_out(paired);
        if content.apart.len() > 1 {
            let holders = content.holders.iter().copied().collect();
            groups.entry(holders).or_default().push(content);
        }
    }
    groups
        .into_iter()
        // A tokenizer that two models share makes them no copies of each other.
        .filter(|(_, shared)| {
            let mut names = shared.iter().filter_map(|content| content.file.as_deref());
            let is_large =
                |content: &Content<'_>| content.file.is_none() && content.bytes >= LARGE_BYTES;
            names.any(|name| is_weights(name) || is_gguf(name)) || shared.iter().any(is_large)
        })
        .map(|(holders, shared)| {
            let mut was_tried = false;
            let mut paired = |one: &Path, other: &Path| {
                let came = paired(one, other);
                was_tried |= came == Some(false);
                came
            };
            let mut all = Vec::new();
            for one in &shared {
                all.extend(steps(one, holdings, main, &mut paired));
            }
            let holders: Vec<&Holding> = holders.iter().map(|at| &holdings[*at]).collect();
            finding(&holders, &shared, all, was_tried)
        })
        .collect()
}

/// The steps by which blobs of the main cache share the bytes of a copy elsewhere. Each frees what it
/// says: a blob whose bytes lie on the disk for another one as well is left alone.
fn steps(
    content: &Content<'_>,
    holdings: &[Holding],
    main: &Layout,
    paired: &mut dyn FnMut(&Path, &Path) -> Option<bool>,
) -> Vec<PlanStep> {
    let mut steps = Vec::new();
    for group in &content.apart {
        let [(at, blob)] = group.as_slice() else {
            continue;
        };
        let found = blob.at.symlink_metadata().ok();
        let found = found.filter(|found| found.is_file() && found.nlink() == 1);
        // A file that nobody knows of here, or a snapshot of the file system, keeps its bytes.
        let found = found.filter(|_| !host::has_shared_blocks(&blob.at));
        let Some(found) = found.filter(|_| blob_at(main, &blob.at).is_some()) else {
            continue;
        };
        let is_apart = |other: &&(usize, &Copy)| {
            holdings[other.0].place != holdings[*at].place && other.1.id != blob.id
        };
        // What was tried in vain would be so again.
        let mut fits = |(_, other): &&(usize, &Copy)| {
            let with = other.at.symlink_metadata();
            with.is_ok_and(|with| {
                with.is_file()
                    && !ways(&blob.at, &found, &other.at, &with).is_empty()
                    && paired(&blob.at, &other.at) != Some(false)
            })
        };
        let mut others = content.copies.iter().filter(is_apart);
        let with = others.find(|other| fits(other)).map(|(_, other)| &other.at);
        if let (Some(path), Some(with)) = (blob.at.to_str(), with.and_then(|at| at.to_str())) {
            steps.push(PlanStep::Change(Change::Share {
                path: path.to_owned(),
                with: with.to_owned(),
                bytes: content.bytes,
            }));
        }
    }
    steps
}

/// Why copies cannot share their bytes, in half a sentence.
fn why_not(shared: &[Content<'_>], was_tried: bool) -> &'static str {
    let copies = || shared.iter().flat_map(|content| &content.copies);
    let volumes: BTreeSet<u64> = copies().map(|(_, copy)| copy.id.0).collect();
    let can_share = copies().any(|(_, copy)| host::can_share_blocks(&copy.at));
    if volumes.len() > 1 {
        "they lie on different volumes"
    } else if was_tried {
        "a repair has tried it, and this file system or these files did not allow it"
    } else if copies().any(|(_, copy)| host::has_shared_blocks(&copy.at)) {
        "one of them shares its bytes with another file already, or with a snapshot of the volume, so \
         nothing would be freed"
    } else if can_share {
        "a repair changes blobs of the main cache only, and only plain ones"
    } else {
        "this file system cannot let two files share their bytes, and one file with two names is for \
         blobs of Hub caches that have no other name: an app may write into its own"
    }
}

fn finding(
    holders: &[&Holding],
    shared: &[Content<'_>],
    steps: Vec<PlanStep>,
    was_tried: bool,
) -> Finding {
    let bytes: u64 = shared.iter().map(|content| content.bytes).sum();
    let wasted: u64 = shared.iter().map(Content::wasted_bytes).sum();
    let repo = &holders[0].repo;
    let what = match shared.len() {
        1 => "1 file".to_owned(),
        more => format!("{more} files"),
    };
    let mut finding = Finding::new(
        Rule::DuplicateModel,
        format!(
            "{what} of {repo} lie in {} places: {} more than one copy needs",
            holders.len(),
            size(wasted)
        ),
        cause(Rule::DuplicateModel),
    )
    .of_model(repo, None);
    for holder in holders {
        // Nothing is hashed for it, and what is in an app's folder has a name there.
        let is_named = holder.copies.iter().any(|copy| copy.file.is_some());
        let what = if is_named {
            "the same contents by its notes or their hashes, in files of its own"
        } else {
            "the same contents by the names of its blobs, in files of its own"
        };
        finding = finding.seen(&holder.folder, Some(bytes), None, what);
    }
    finding.plan.steps = steps;
    let left = wasted.saturating_sub(finding.plan.freed_bytes());
    if left == 0 {
        return finding;
    }
    let why = if finding.plan.steps.is_empty() {
        format!(
            "they cannot share their bytes: {}",
            why_not(shared, was_tried)
        )
    } else {
        "some of them cannot share their bytes".to_owned()
    };
    finding.step(by_hand(format!(
        "{why}. Keep the copy of the programs you use, and let the other programs delete theirs: that \
         frees up to {}. Do not put links in their place: swift-transformers does not count them as \
         files",
        size(left)
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::fixture::{etag, repo};

    fn holding(place: &str, copies: &[(&[u8], u64, u64, Option<&str>)]) -> Holding {
        Holding {
            repo: repo("org/m"),
            folder: format!("{place}/org/m"),
            place: place.to_owned(),
            copies: copies
                .iter()
                .map(|(content, bytes, inode, file)| Copy {
                    etag: etag(content),
                    bytes: *bytes,
                    id: (1, *inode),
                    file: file.map(ToOwned::to_owned),
                    at: PathBuf::from(format!("{place}/{inode}")),
                })
                .collect(),
        }
    }

    fn duplicates(holdings: &[Holding]) -> Vec<Finding> {
        super::duplicates(holdings, &Layout::new(PathBuf::from("/hub")), &|_, _| None)
    }

    const WEIGHTS: Option<&str> = Some("model.safetensors");

    #[test]
    fn only_equal_hashes_in_files_of_their_own_are_waste() {
        let hub = holding("/hub", &[(b"w", 100, 1, None), (b"t", 10, 2, None)]);
        let app = holding(
            "/app",
            &[
                (b"w", 100, 3, WEIGHTS),
                (b"t", 10, 4, Some("tokenizer.json")),
            ],
        );
        let found = duplicates(&[hub.clone(), app.clone()]);
        assert_eq!(found.len(), 1);
        assert!(
            found[0]
                .summary
                .contains("2 files of org/m lie in 2 places: 110 B")
        );
        assert_eq!(found[0].evidence.len(), 2);
        assert_eq!(found[0].evidence[0].bytes, Some(110));

        // A third copy wastes the same once more.
        let third = holding("/third", &[(b"w", 100, 5, WEIGHTS), (b"t", 10, 6, None)]);
        let found = duplicates(&[hub.clone(), app.clone(), third]);
        assert!(found[0].summary.contains("3 places: 220 B"), "{found:?}");

        for other in [
            // The same length and another content.
            holding("/app", &[(b"v", 100, 3, WEIGHTS)]),
            // One file with two names.
            holding("/app", &[(b"w", 100, 1, WEIGHTS)]),
            // In the same place.
            holding("/hub", &[(b"w", 100, 3, WEIGHTS)]),
            // One of them is cut off.
            holding("/app", &[(b"w", 99, 3, WEIGHTS)]),
            // A tokenizer is no model.
            holding("/app", &[(b"t", 10, 4, Some("tokenizer.json"))]),
        ] {
            assert!(duplicates(&[hub.clone(), other]).is_empty());
        }
    }
}
