//! Owns proving what is in the cache by hashing it: what each content is, and what a snapshot is worth
//! by that.
//!
//! Never writes; which contents are meant says `inspection.rs`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::Path;

use super::diagnosis::{Seen, Subject};
use super::hash_ahead::{ProvenContent, Watch, WrongContent, hash_ahead};
use super::inspection::{ContentId, Inspected, Inspection};
use super::loose;
use super::partials::{Eyes, is_being_written};
use super::tally::HUBS_OWN;
use super::{Layout, Names, Result};
use crate::domain::{
    Bundle, CacheKind, Etag, Finding, RepoId, Rule, Severity, Verification, sanitize,
};

/// What a content turned out to be.
#[derive(Clone, Debug)]
pub(super) enum Proof {
    Right,
    Wrong(Etag),
    /// Nothing says what it should be: it is this.
    Known(Etag),
    /// It changed while it was read, and again.
    Moving,
    Unreadable(String),
}

/// Every content hashed so far.
#[derive(Debug, Default)]
pub struct Proofs {
    known: HashMap<ContentId, Proof>,
    /// What the files were that were hashed, by device and inode: a file with two names is read
    /// once.
    computed: HashMap<(u64, u64), Etag>,
    /// Those that were not read, because they are known from before.
    pub(super) unread: HashSet<ContentId>,
    pub(super) proven: Vec<ProvenContent>,
    pub(super) wrong: Vec<WrongContent>,
}

impl Proofs {
    /// Takes over what is known already of a snapshot's contents. `knows` says whether the file at
    /// a canonical path, that looks as it does now, hashed to its etag before, and `content` what
    /// it hashed to where nothing says what it should; it is not read then.
    pub fn take_known(
        &mut self,
        inspection: &Inspection,
        knows: &dyn Fn(&Path, &fs::Metadata, &Etag) -> bool,
        content: &dyn Fn(&Path, &fs::Metadata) -> Option<Etag>,
    ) {
        for file in &inspection.files {
            let Some((id, _)) = file.content.filter(|(id, _)| !self.known.contains_key(id)) else {
                continue;
            };
            let learned = || {
                let place = fs::canonicalize(&file.place).ok()?;
                let found = place
                    .symlink_metadata()
                    .ok()
                    .filter(fs::Metadata::is_file)?;
                match &file.etag {
                    Some(etag) => knows(&place, &found, etag).then_some(Proof::Right),
                    None => content(&place, &found)
                        .filter(|etag| id.is_called_by(etag))
                        .map(Proof::Known),
                }
            };
            if let Some(proof) = learned() {
                self.learn(id, proof);
                self.unread.insert(id);
            }
        }
    }

    /// What a content turned out to be, if it was hashed.
    pub(super) fn of(&self, id: &ContentId) -> Option<Proof> {
        let known = self.known.get(id).cloned();
        known.or_else(|| {
            let computed = *self.computed.get(&id.file)?;
            if id.is_free {
                Some(Proof::Known(computed))
            } else if computed == id.etag {
                Some(Proof::Right)
            } else {
                id.is_called_by(&computed).then_some(Proof::Wrong(computed))
            }
        })
    }

    /// Keeps what a content turned out to be.
    pub(super) fn learn(&mut self, id: ContentId, proof: Proof) {
        let computed = match &proof {
            Proof::Right => Some(id.etag),
            Proof::Wrong(computed) | Proof::Known(computed) => Some(*computed),
            Proof::Moving | Proof::Unreadable(_) => None,
        };
        if let Some(computed) = computed {
            self.computed.insert(id.file, computed);
        }
        self.known.insert(id, proof);
    }

    /// What was found right, and where something wrong lies, since this was asked last.
    pub fn take_news(&mut self) -> (Vec<ProvenContent>, Vec<WrongContent>) {
        (
            std::mem::take(&mut self.proven),
            std::mem::take(&mut self.wrong),
        )
    }
}

/// The lengths of all files that `proofs` does not know yet, each file once.
pub fn lengths_to_hash<'a>(
    inspections: impl Iterator<Item = &'a Inspection>,
    proofs: &Proofs,
) -> Vec<u64> {
    let all = inspections.flat_map(|one| &one.files);
    let contents: BTreeMap<ContentId, u64> = all
        .filter_map(|file| file.content)
        .filter(|(id, _)| proofs.of(id).is_none())
        .collect();
    let named: HashSet<(u64, u64)> = contents
        .keys()
        .filter(|id| !id.is_free)
        .map(|id| id.file)
        .collect();
    contents
        .iter()
        .filter(|(id, _)| !id.is_free || !named.contains(&id.file))
        .map(|(_, bytes)| *bytes)
        .collect()
}

impl Inspection {
    /// Hashes what `proofs` does not hold yet, and says what the snapshot is worth. `names` may say
    /// what a file is of which nothing says what it should be.
    ///
    /// # Errors
    /// [`Error::Interrupted`](super::Error::Interrupted) when `watch` breaks off.
    pub fn prove(
        self,
        layout: &Layout,
        proofs: &mut Proofs,
        names: &Names,
        eyes: &Eyes<'_>,
        watch: &Watch<'_>,
    ) -> Result<Verification> {
        hash_ahead(&self.files, proofs, watch)?;
        Ok(match (self.what, &self.repo) {
            (Bundle::Snapshot | Bundle::Folder, Some(repo)) => {
                let repo = repo.clone();
                self.judge(&repo, layout, proofs, names, eyes)
            }
            (Bundle::Orphans | Bundle::SharedStore, _) | (_, None) => {
                loose::judge(self, layout, proofs, eyes)
            }
        })
    }

    /// What a snapshot or a folder is worth.
    fn judge(
        self,
        repo: &RepoId,
        layout: &Layout,
        proofs: &Proofs,
        names: &Names,
        eyes: &Eyes<'_>,
    ) -> Verification {
        let mut sums = Sums::default();
        let mut findings = self.findings.clone();
        let has_judgement = findings.iter().any(is_judgement);
        let mut like = BTreeMap::new();
        for file in &self.files {
            let shown = sanitize(file.path.as_str());
            let is_live = || {
                let is_of_hub = self.home.is_none();
                file.etag
                    .filter(|_| is_of_hub)
                    .is_some_and(|etag| is_being_written(layout, repo, &etag, eyes))
            };
            let Some((id, length)) = file.content else {
                let is_found = |finding: &Finding| {
                    finding.severity == Severity::Error && finding.file.as_deref() == Some(&shown)
                };
                if !findings.iter().any(is_found) {
                    sums.files_unknown += 1;
                } else if is_live() {
                    // A reader gets these bytes now, whoever is about to replace them.
                    for finding in findings.iter_mut().filter(|finding| is_found(finding)) {
                        finding.cause.push_str(AT_WORK);
                    }
                }
                continue;
            };
            let Some(proof) = proofs.of(&id) else {
                sums.bytes += length;
                continue;
            };
            match proof {
                Proof::Right => {
                    if has_judgement {
                        hubs_own(&mut findings, &shown);
                    }
                    sums.right(length, proofs.unread.contains(&id));
                }
                Proof::Known(etag) => {
                    let holder = names.holder(&etag, repo);
                    sums.known(length, holder.is_some(), proofs.unread.contains(&id));
                    if let Some(holder) = holder {
                        like.entry(holder).or_insert_with(Vec::new).push(shown);
                    }
                }
                Proof::Moving => sums.files_unknown += 1,
                Proof::Wrong(_) | Proof::Unreadable(_) => {
                    sums.bytes += length;
                    let mut finding = self.wrong(repo, file, &proof);
                    if is_live() {
                        finding.cause.push_str(AT_WORK);
                    }
                    // That such bytes do not load follows from it.
                    findings.retain(|known| {
                        !(is_judgement(known) && known.file.as_deref() == Some(shown.as_str()))
                    });
                    findings.push(finding);
                }
            }
        }
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        let basis = basis_of(&like, sums.files_hashed);
        self.verification(sums, basis, findings)
    }

    /// What is told of a file that is not what it should be.
    fn wrong(&self, repo: &RepoId, file: &Inspected, proof: &Proof) -> Finding {
        let shown = sanitize(file.path.as_str());
        let (rule, what, summary) = match proof {
            Proof::Unreadable(why) => (
                Rule::Unreadable,
                why.clone(),
                format!("`{shown}` cannot be read: {why}"),
            ),
            Proof::Right | Proof::Moving | Proof::Known(_) | Proof::Wrong(_) => (
                Rule::WrongHash,
                match proof {
                    Proof::Wrong(computed) => format!("it hashes to {computed}"),
                    _ => "it is not what it should be".to_owned(),
                },
                match self.home {
                    None => format!("`{shown}` does not hash to its name"),
                    Some(_) => format!("`{shown}` does not hash to what its note says"),
                },
            ),
        };
        let real = fs::canonicalize(&file.place).unwrap_or_else(|_| file.place.clone());
        let seen = Seen {
            file: &shown,
            place: &real,
            bytes: file.content.map(|(_, length)| length),
            expected_bytes: file.listed_bytes,
            what: &what,
        };
        let subject = Subject {
            repo,
            revision: &self.revision,
        };
        let mut finding = subject.damage(rule, seen, &summary);
        if file.is_left_out {
            finding.plan.steps = vec![subject.by_name(&shown, file.listed_bytes)];
        }
        if let Some(home) = &self.home {
            finding.plan.steps = vec![home.fetch_again(file.path.as_str())];
        }
        finding
    }

    /// The verdict that sums and findings make.
    pub(super) fn verification(
        self,
        sums: Sums,
        basis: Vec<String>,
        findings: Vec<Finding>,
    ) -> Verification {
        Verification {
            what: self.what,
            cache: self.home.map_or(CacheKind::Hub, |home| home.kind),
            files_total: self.files.len(),
            repo: self.repo,
            revision: self.revision,
            snapshot: self.folder.to_string_lossy().into_owned(),
            files_good: sums.files_good,
            files_unread: sums.files_unread,
            files_unknown: sums.files_unknown,
            files_hashed: sums.files_hashed,
            bytes: sums.bytes,
            basis,
            findings,
        }
    }
}

/// What the files of an inspection came to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    pub(super) files_good: usize,
    pub(super) files_unread: usize,
    pub(super) files_unknown: usize,
    pub(super) files_hashed: usize,
    pub(super) bytes: u64,
}

impl Sums {
    pub(super) fn right(&mut self, bytes: u64, is_unread: bool) {
        self.bytes += bytes;
        self.files_good += 1;
        self.files_unread += usize::from(is_unread);
    }

    /// One of which nothing says what it should be; whether it is known all the same.
    pub(super) fn known(&mut self, bytes: u64, is_named: bool, is_unread: bool) {
        if is_named {
            return self.right(bytes, is_unread);
        }
        self.bytes += bytes;
        self.files_unknown += 1;
        self.files_hashed += 1;
        self.files_unread += usize::from(is_unread);
    }
}

/// What says what files are of which nothing says what they should be.
fn basis_of(like: &BTreeMap<&RepoId, Vec<String>>, hashed: usize) -> Vec<String> {
    let mut basis: Vec<String> = like
        .iter()
        .map(|(repo, files)| match files.as_slice() {
            [file] => format!("`{file}`: its bytes are those of {repo} in the Hub cache"),
            files => format!(
                "{} files: their bytes are those of {repo} in the Hub cache",
                files.len()
            ),
        })
        .collect();
    basis.extend(match hashed {
        0 => None,
        1 => Some("1 file: nothing says what it should be: hashed only".to_owned()),
        more => Some(format!(
            "{more} files: nothing says what they should be: hashed only"
        )),
    });
    basis
}

/// Whether a finding is about what a file says, and not whether its bytes are right.
fn is_judgement(finding: &Finding) -> bool {
    matches!(finding.rule, Rule::WouldNotLoad | Rule::NoModelType)
        && finding.severity == Severity::Error
}

/// What would not load although its bytes are right is no damage here.
fn hubs_own(findings: &mut [Finding], file: &str) {
    for finding in findings {
        if is_judgement(finding) && finding.file.as_deref() == Some(file) {
            finding.severity = Severity::Warning;
            finding.plan.steps.clear();
            HUBS_OWN.clone_into(&mut finding.cause);
        }
    }
}

/// Said of a file whose blob somebody has locked.
const AT_WORK: &str = "; somebody holds its lock and may be replacing it now";
