//! Owns the words of findings: what each rule probably comes from, and the plan that would put it
//! right.
//!
//! Pure: what was seen comes in. Never looks at the disk.

use std::path::Path;

use crate::domain::{Finding, PartialRow, PlanStep, RepoId, Revision, Rule, sanitize};

/// The snapshot that findings are about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject<'a> {
    pub(super) repo: &'a RepoId,
    /// The snapshot folder's name: a commit, or what a broken tool wrote there.
    pub(super) revision: &'a str,
}

/// What was seen of one file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'a> {
    /// The file in the repo; sanitised.
    pub(super) file: &'a str,
    /// Where that is.
    pub(super) place: &'a Path,
    /// Bytes there.
    pub(super) bytes: Option<u64>,
    /// Bytes there should be.
    pub(super) expected_bytes: Option<u64>,
    /// In a few words.
    pub(super) what: &'a str,
}

impl Subject<'_> {
    /// A finding about one file, which pulling its commit again puts right.
    pub(super) fn damage(self, rule: Rule, seen: Seen<'_>, summary: &str) -> Finding {
        let fetch_bytes = match (rule, seen.expected_bytes, seen.bytes) {
            // What is there is the start of what is fetched.
            (Rule::Truncated, Some(expected), Some(bytes)) => Some(expected.saturating_sub(bytes)),
            (_, expected, _) => expected,
        };
        Finding::new(rule, summary, cause(rule))
            .of_model(self.repo, Some(self.revision))
            .of_file(seen.file)
            .seen(
                &seen.place.to_string_lossy(),
                seen.bytes,
                seen.expected_bytes,
                seen.what,
            )
            .step(self.pull(fetch_bytes))
    }

    /// A finding about the snapshot as a whole.
    pub(super) fn general(self, rule: Rule, summary: &str, fetch_bytes: Option<u64>) -> Finding {
        Finding::new(rule, summary, cause(rule))
            .of_model(self.repo, Some(self.revision))
            .step(self.pull(fetch_bytes))
    }

    fn pull(self, fetch_bytes: Option<u64>) -> PlanStep {
        pull_step(self.repo, self.revision, fetch_bytes)
    }
}

fn pull_step(repo: &RepoId, revision: &str, fetch_bytes: Option<u64>) -> PlanStep {
    if Revision::new(revision).is_err() {
        return PlanStep::ByHand {
            advice: format!(
                "`{}` is no revision's name: pull {repo} by its branch, and then remove that",
                sanitize(revision)
            ),
        };
    }
    PlanStep::Pull {
        repo: repo.clone(),
        revision: revision.to_owned(),
        fetch_bytes,
    }
}

/// A ref that does not hold exactly a commit hash.
pub(super) fn malformed_ref(
    repo: &RepoId,
    name: &str,
    place: &Path,
    commit: Option<&str>,
    bytes: u64,
    what: &str,
) -> Finding {
    let shown = sanitize(name);
    let summary = format!("the ref `{shown}` holds more or less than a commit hash");
    let finding = Finding::new(Rule::MalformedRef, summary, cause(Rule::MalformedRef))
        .of_model(repo, commit)
        .seen(&place.to_string_lossy(), Some(bytes), Some(40), what);
    // What a program that was killed left beside the ref it meant to replace.
    if Path::new(name).extension().is_some_and(|end| end == "tmp") {
        finding.step(PlanStep::ByHand {
            advice: format!("remove `{}`: it is no branch", place.display()),
        })
    } else {
        finding.step(pull_step(repo, name, None))
    }
}

/// A ref that names a commit of which there is no snapshot.
pub(super) fn ref_to_nowhere(
    repo: &RepoId,
    name: &str,
    place: &Path,
    commit: &str,
    fetch_bytes: Option<u64>,
) -> Finding {
    let summary = format!("no snapshot of what the ref `{}` names", sanitize(name));
    Finding::new(Rule::RefToNowhere, summary, cause(Rule::RefToNowhere))
        .of_model(repo, Some(commit))
        .seen(
            &place.to_string_lossy(),
            None,
            None,
            &format!("it names {commit}"),
        )
        .step(pull_step(repo, name, fetch_bytes))
}

/// A repo that cannot be read.
pub(super) fn unreadable(repo: &RepoId, place: &Path, why: &str) -> Finding {
    Finding::new(Rule::Unreadable, why, cause(Rule::Unreadable))
        .of_model(repo, None)
        .seen(&place.to_string_lossy(), None, None, why)
        .step(PlanStep::ByHand {
            advice: format!(
                "make `{}` readable for you, or move it away",
                place.display()
            ),
        })
}

/// An unfinished blob that nobody writes; the plan takes it away. `length` is that of the file,
/// which for some writers is not what there is of the blob.
pub(super) fn abandoned(row: &PartialRow, length: u64, map: Option<&str>) -> Finding {
    let what = match &row.file {
        Some(file) => format!("of `{file}`"),
        None => format!("of blob {}", &row.etag[..row.etag.len().min(8)]),
    };
    let have = match row.expected_bytes {
        Some(expected) => format!("{} of {expected} bytes {what}", row.bytes),
        None => format!("{} bytes {what}", row.bytes),
    };
    let finding = Finding::new(
        Rule::AbandonedPartial,
        format!("{have}, and nobody is fetching the rest"),
        cause(Rule::AbandonedPartial),
    )
    .of_model(&row.repo, None)
    .seen(
        &row.path,
        Some(row.bytes),
        row.expected_bytes,
        "its locks are free and nobody has it open with a lock",
    )
    .step(PlanStep::RemovePartial {
        repo: row.repo.clone(),
        path: row.path.clone(),
        bytes: length,
        modified_ms: row.modified_ms,
        map: map.map(str::to_owned),
    });
    match &row.file {
        Some(file) => finding.of_file(file),
        None => finding,
    }
}

/// How what a rule finds probably came about.
pub(super) const fn cause(rule: Rule) -> &'static str {
    match rule {
        Rule::AbandonedPartial => {
            "a download was interrupted; the next pull of this model goes on from it"
        }
        Rule::DanglingPointer => {
            "the blob was deleted by hand or by a tool that did not see this pointer, or a copy of \
             the cache left it out"
        }
        Rule::Truncated => {
            "a program died, or the disk was full, while it wrote the blob under its final name"
        }
        Rule::WrongSize => {
            "a program that does not check lengths appended to the blob, or saved something else \
             under its name"
        }
        Rule::WrongHash => {
            "bytes changed on the disk or on a way that does not prove them, or somebody edited the \
             file in place"
        }
        Rule::LfsPointer => {
            "the repo was cloned by git without LFS, or a mirror served the pointer in the place of \
             the content"
        }
        Rule::WrongPointer => {
            "the pointer was made by hand, or by a program that mixed up two commits"
        }
        Rule::MissingFiles => "a download was interrupted, or only some files were asked for",
        Rule::RefToNowhere => {
            "a program that writes the ref before the files (Python does) was interrupted, or the \
             snapshot was deleted"
        }
        Rule::MalformedRef => {
            "a script wrote it, and a line's end or something else came along: Python takes every \
             byte of the file for the commit, so it finds no such snapshot and does not load the \
             model offline"
        }
        Rule::WouldNotLoad => {
            "the file was changed after it was fetched, or the repo itself holds it like that"
        }
        Rule::Unreadable => {
            "it belongs to another user or has no right to be read, or the disk fails"
        }
    }
}
