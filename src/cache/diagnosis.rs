//! Owns the words of findings: what each rule probably comes from, and the plan that would put it
//! right.
//!
//! Pure: what was seen comes in. Never looks at the disk.

use std::path::Path;

use super::error::Error;
use crate::domain::{Change, Finding, PartialRow, PlanStep, RepoId, Revision, Rule, sanitize};

/// What shows that nobody writes an unfinished blob.
const NOBODY: &str = "its locks are free and nobody has it open with a lock";

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

    /// Whether the repo says by its name that it is for MLX, as mlx-lm's own tool asks.
    pub(super) fn is_named_mlx(self) -> bool {
        self.repo.name().to_ascii_lowercase().contains("mlx")
    }

    /// What heals a file that a pull leaves out unless it is named.
    pub(super) fn by_name(self, file: &str, fetch_bytes: Option<u64>) -> PlanStep {
        pull_files(self.repo, self.revision, &[file], fetch_bytes)
    }

    fn pull(self, fetch_bytes: Option<u64>) -> PlanStep {
        pull_step(self.repo, self.revision, fetch_bytes)
    }
}

fn pull_step(repo: &RepoId, revision: &str, fetch_bytes: Option<u64>) -> PlanStep {
    pull_files(repo, revision, &[], fetch_bytes)
}

/// Pulls files by their names.
pub(super) fn pull_files(
    repo: &RepoId,
    revision: &str,
    files: &[&str],
    fetch_bytes: Option<u64>,
) -> PlanStep {
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
        files: files.iter().map(|&file| file.to_owned()).collect(),
        fetch_bytes,
    }
}

/// Takes a ref away, if the pull before has shown that nobody knows what it names.
fn drop_ref(repo: &RepoId, name: &str, place: &Path, holds: &str) -> PlanStep {
    PlanStep::Change(Change::DropRef {
        path: place.to_string_lossy().into_owned(),
        repo: repo.clone(),
        revision: name.to_owned(),
        holds: sanitize(holds),
    })
}

/// Where a ref leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leads {
    /// To a snapshot, or to a folder that readers take for one.
    Somewhere,
    /// To nothing that is here.
    Nowhere,
}

/// A ref that does not hold exactly a commit hash.
pub(super) fn malformed_ref(
    repo: &RepoId,
    name: &str,
    place: &Path,
    commit: Option<&str>,
    (bytes, what): (u64, &str),
    leads: Leads,
) -> Finding {
    let shown = sanitize(name);
    let summary = format!("the ref `{shown}` holds more or less than a commit hash");
    let finding = Finding::new(Rule::MalformedRef, summary, cause(Rule::MalformedRef))
        .of_model(repo, commit)
        .seen(&place.to_string_lossy(), Some(bytes), Some(40), what);
    // What is around the commit goes, and the commit stays.
    match commit {
        Some(commit) if leads == Leads::Somewhere && Revision::new(name).is_ok() => {
            let rewritten = PlanStep::Change(Change::Write {
                path: place.to_string_lossy().into_owned(),
                text: commit.to_owned(),
            });
            finding.step(rewritten)
        }
        // What is told of the commit plans the rest.
        None if leads == Leads::Nowhere && Revision::new(name).is_ok() => finding
            .step(pull_step(repo, name, None))
            .step(drop_ref(repo, name, place, what)),
        _ => finding.step(pull_step(repo, name, None)),
    }
}

/// A temporary file among the refs.
pub(super) fn leftover_ref(repo: &RepoId, name: &str, place: &Path) -> Finding {
    let path = place.to_string_lossy();
    let bytes = place.metadata().map_or(0, |found| found.len());
    let summary = format!("`refs/{}` is no ref", sanitize(name));
    let what = match bytes {
        0 => "it is empty: Python's scan leaves the whole repo out for it",
        _ => "Python lists it as a branch",
    };
    Finding::new(Rule::LeftoverRef, summary, cause(Rule::LeftoverRef))
        .of_model(repo, None)
        .seen(&path, Some(bytes), None, what)
        .step(PlanStep::Change(Change::Remove {
            path: path.into_owned(),
            bytes,
        }))
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
    let finding = Finding::new(Rule::RefToNowhere, summary, cause(Rule::RefToNowhere))
        .of_model(repo, Some(commit))
        .seen(
            &place.to_string_lossy(),
            None,
            None,
            &format!("it names {commit}"),
        )
        .step(pull_step(repo, name, fetch_bytes));
    match Revision::new(name) {
        Ok(_) => finding.step(drop_ref(repo, name, place, commit)),
        Err(_) => finding,
    }
}

/// Snapshots, and no ref that names one of them.
pub(super) fn no_ref(repo: &RepoId, refs: &Path, snapshots: &[&str]) -> Finding {
    let summary = match snapshots {
        [one] => format!("no ref names the snapshot {}", sanitize(one)),
        more => format!("no ref names any of the {} snapshots", more.len()),
    };
    Finding::new(Rule::NoRef, summary, cause(Rule::NoRef))
        .of_model(repo, None)
        .seen(
            &refs.to_string_lossy(),
            None,
            None,
            "no ref is there: a program that asks for the model without a commit does not find it \
             offline, and `hf cache prune` would take it",
        )
        .step(PlanStep::ByHand {
            advice: format!(
                "`larder pull {repo}` asks the Hub what `main` is now, fetches what that has and this \
                 has not, and writes the ref; a program that asks for the commit needs none"
            ),
        })
}

/// A repo that cannot be read, because of what stands in the way.
pub(super) fn unreadable(repo: &RepoId, folder: &Path, error: &Error) -> Finding {
    let why = error.to_string();
    let (place, what) = match error {
        Error::Permission { path, owner, .. } => (path.as_path(), owner.as_deref()),
        _ => (folder, None),
    };
    Finding::new(Rule::Unreadable, &why, cause(Rule::Unreadable))
        .of_model(repo, None)
        .seen(
            &place.to_string_lossy(),
            None,
            None,
            what.unwrap_or(why.as_str()),
        )
        .step(PlanStep::ByHand {
            advice: match what {
                Some(_) => format!(
                    "give `{}` to the user of the cache (`sudo chown`), or make it readable for you",
                    place.display()
                ),
                None => format!(
                    "make `{}` readable for you, or move it away",
                    place.display()
                ),
            },
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
    // Several connections fill a file here and there, and some programs reserve its whole length.
    let have = if length == row.bytes {
        have
    } else {
        format!("{have} are known to be there, in a file of {length} bytes")
    };
    let seen = if length == row.bytes {
        NOBODY.to_owned()
    } else {
        format!("its length is {length} bytes; {NOBODY}")
    };
    let finding = Finding::new(
        Rule::AbandonedPartial,
        format!("{have}, and nobody is fetching the rest"),
        if row.is_superseded {
            "a download was interrupted, and another one brought the whole: nobody goes on with this"
        } else {
            cause(Rule::AbandonedPartial)
        },
    )
    .of_model(&row.repo, None)
    .seen(&row.path, Some(row.bytes), row.expected_bytes, &seen)
    .step(PlanStep::RemovePartial {
        repo: row.repo.clone(),
        path: row.path.clone(),
        bytes: length,
        modified_ms: row.modified_ms,
        is_superseded: row.is_superseded,
        map: map.map(str::to_owned),
    });
    match &row.file {
        Some(file) => finding.of_file(file),
        None => finding,
    }
}

/// How what a rule finds probably came about.
#[expect(clippy::too_many_lines, reason = "one table of sentences")]
pub(super) const fn cause(rule: Rule) -> &'static str {
    match rule {
        Rule::AbandonedPartial => {
            "a download was interrupted; the next pull of this model goes on from it"
        }
        Rule::DanglingPointer => {
            "the blob was deleted by hand or by a tool that did not see this pointer, or a copy \
             of the cache left it out"
        }
        Rule::EscapingPointer => {
            "the pointer was made by hand or by a script; the bytes may be right, but they are \
             not where tools that move, copy or delete models look"
        }
        Rule::WrongPointer => {
            "the pointer was made by hand, or by a program that mixed up two commits"
        }
        Rule::Truncated => {
            "a program died, or the disk was full, while it wrote the file under its final \
             name; swift-huggingface copies blobs there"
        }
        Rule::WrongSize => {
            "a program that does not check lengths appended to the file, or saved something \
             else under its name"
        }
        Rule::EmptyBlob => {
            "a download was cancelled or the disk was full when the file had been made and \
             nothing was in it yet"
        }
        Rule::WrongHash => {
            "bytes changed on the disk or on a way that does not prove them, or somebody edited \
             the file in place"
        }
        Rule::LfsPointer => {
            "the repo was cloned by git without LFS, or a mirror served the pointer in the \
             place of the content"
        }
        Rule::ErrorPage => {
            "a program saved the answer of a proxy, a login page or an error of the server as \
             the file: hf-hub does not look at the status, and Python checks lengths only"
        }
        Rule::MissingFiles => "files were deleted, or only some were asked for",
        Rule::HalfWritten => {
            "a download was interrupted: Python writes the ref first and the files one by one"
        }
        Rule::RefToNowhere => {
            "a program that writes the ref before the files (Python does) was interrupted, or \
             the snapshot was deleted"
        }
        Rule::MalformedRef => {
            "a script wrote it, and a line's end or something else came along, or a program \
             died while it wrote: Python takes every byte of the file for the commit, so it \
             finds no such snapshot and does not load the model offline"
        }
        Rule::NoRef => {
            "the model was asked for by its commit, which needs no ref, or its refs were deleted"
        }
        Rule::LeftoverRef => "Python died while it moved the ref: it writes a file beside it first",
        Rule::OrphanBlob => {
            "a program died between moving the blob into place and making its pointer, or the \
             snapshot was deleted without its blobs; no tool but larder lists it"
        }
        Rule::LeftoverTemp => {
            "a program died while it wrote; it makes its next one under another name and never \
             comes back to this one"
        }
        Rule::StaleNoExist => {
            "the file came later, or was asked for under a commit that has it: Python then \
             answers that it is known not to exist"
        }
        Rule::StaleMarker => {
            "the program that downloaded was killed and could not take its marker away; apps \
             that only look whether it exists wait for it"
        }
        Rule::RegularFile => {
            "Python found that it cannot make links here, or was told not to \
             (`HF_HUB_DISABLE_SYMLINKS`), or somebody copied the cache without its links"
        }
        Rule::CopiedFile => {
            "a program that cannot make links, or failed to, copied the blob into the snapshot"
        }
        Rule::BranchFolder => {
            "a script downloaded into a folder named after the branch: Python and mlx-lm do not \
             find it by name, and `hf cache prune` deletes it"
        }
        Rule::UnmarkedStore => {
            "the folder was made by hand or copied without its hidden file; Python does not use \
             such a store, and what leads into it stays as it is"
        }
        Rule::UnusedPayload => {
            "the repos that used it were deleted, and `hf cache prune` has not run since"
        }
        Rule::MissingMetadata => {
            "the file was put there by hand, or a program died before it wrote the note: swift-\
             transformers downloads it again, and finds no model when it is offline"
        }
        Rule::DuplicateModel => {
            "more than one app downloaded the same model into its own folder; swift-\
             transformers 1.2 and later stores each one twice"
        }
        Rule::SplitCaches => {
            "a variable in the shell moves the cache for command line tools; apps that are \
             started from the Finder do not see it and use their own default"
        }
        Rule::AbsentVolume => {
            "the disk is not plugged in or not mounted; a folder made in its place would fill \
             the system's disk"
        }
        Rule::MixedPermissions => {
            "parts of the cache were written by another user, as root or with a strict umask"
        }
        Rule::CaseCollision => {
            "two programs wrote the name in two ways; on a Mac's usual file system both are one \
             folder"
        }
        Rule::PurgeableFolder => {
            "the app keeps models in its caches folder, which macOS and cleaning apps empty \
             when the disk is full"
        }
        Rule::Evicted => {
            "iCloud or another file provider moved the bytes away, or a program reserved the \
             length and did not fill it"
        }
        Rule::StrayWeights => {
            "files of another revision or of a conversion lie beside the model's own; mlx-lm \
             loads every `model*.safetensors`"
        }
        Rule::WouldNotLoad => {
            "the file was changed after it was fetched, or the repo itself holds it like that"
        }
        Rule::NoModelType => {
            "the model is for another library, such as diffusers, timm or sentence-transformers, or a part \
             of its config was lost"
        }
        Rule::NoChatTemplate => {
            "a base model has none; for a chat model it was left out when it was converted or fetched"
        }
        Rule::Unreadable => {
            "it belongs to another user or has no right to be read, or the disk fails"
        }
    }
}
