//! Owns the findings about places beside the main cache: what is said, and the plan by hand.
//!
//! Pure: what was seen comes in.

use std::path::Path;

use humansize::{DECIMAL, format_size};

use super::homes::Home;
use super::unfinished::Unfinished;
use crate::cache::diagnosis::cause;
use crate::domain::{CacheKind, Finding, PlanStep, Rule, sanitize, shell_word};

/// Two loads of one model at once, as hub.md 3.3 has it.
pub(super) const RACED: &str = "two loads raced, swift-transformers 0.1.21–1.1.9: the second one \
                                deletes the file that the first has just put in place, and then \
                                has nothing left to move";

/// What was seen of a file.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen<'a> {
    pub(super) bytes: Option<u64>,
    pub(super) expected_bytes: Option<u64>,
    pub(super) what: &'a str,
}

impl Home {
    /// A finding about one of the model's files.
    pub(super) fn finding(&self, rule: Rule, file: &str, seen: Seen<'_>, summary: &str) -> Finding {
        // Joined with nothing it would end in a slash.
        let place = match file {
            "" => self.folder.clone(),
            file => self.folder.join(file),
        };
        Finding::new(rule, summary, cause(rule))
            .of_model(&self.repo, None)
            .of_file(file)
            .seen(
                &place.to_string_lossy(),
                seen.bytes,
                seen.expected_bytes,
                seen.what,
            )
    }

    /// How files that are gone are fetched, `file` first: there is nothing of them to remove but
    /// their notes. `notes`: where those are.
    pub(super) fn fetch_gone(&self, file: &str, notes: &str) -> PlanStep {
        if self.kind != CacheKind::HubApi {
            return self.fetch_again(file);
        }
        by_hand(format!(
            "stop the apps that load it, remove {notes}, and let the app download the model again; \
             or `larder pull {}` for programs that read the Hub cache",
            self.repo
        ))
    }

    /// The pull into this local dir of one file, or of all that a model needs.
    fn pull(&self, file: &str) -> String {
        let mut words = vec!["larder pull".to_owned()];
        words.push(if self.is_repo_known {
            shell_word(&self.repo.to_string())
        } else {
            "REPO".to_owned()
        });
        words.extend((!file.is_empty()).then(|| shell_word(file)));
        let folder = sanitize(&self.folder.to_string_lossy());
        words.push(format!("--local-dir {}", shell_word(&folder)));
        words.join(" ")
    }

    /// How this model is fetched anew.
    pub(in crate::cache) fn fetch_again(&self, file: &str) -> PlanStep {
        let repo = &self.repo;
        let folder = sanitize(&self.folder.to_string_lossy());
        let file = sanitize(file);
        by_hand(match self.kind {
            CacheKind::HubApi if file.is_empty() => format!(
                "let the app that keeps `{folder}` download the model again; or `larder pull {repo}` \
                 for programs that read the Hub cache"
            ),
            CacheKind::HubApi => format!(
                "stop the apps that load it, remove `{folder}/{file}` and its note, and let the app \
                 download the model again; or `larder pull {repo}` for programs that read the Hub \
                 cache"
            ),
            CacheKind::LocalDir if self.is_repo_known => format!("`{}`", self.pull(&file)),
            CacheKind::LocalDir => format!(
                "`{}`, with the repo that the folder was downloaded from",
                self.pull(&file)
            ),
            CacheKind::Hub
            | CacheKind::LmStudio
            | CacheKind::MlxCache
            | CacheKind::Swama
            | CacheKind::Folder => format!(
                "let the program that keeps `{folder}` download the model again; or `larder pull \
                 {repo}` for programs that read the Hub cache"
            ),
        })
    }
}

pub(super) fn by_hand(advice: String) -> PlanStep {
    PlanStep::ByHand { advice }
}

/// An unfinished file that nobody writes. `is_file_there`: whether the file it was to be is.
pub(super) fn abandoned(home: &Home, partial: &Unfinished, is_file_there: bool) -> Finding {
    let row = &partial.row;
    let what = match &row.file {
        Some(file) => format!("of `{file}`"),
        None => format!("of content {}", &row.etag[..row.etag.len().min(8)]),
    };
    let have = match row.expected_bytes {
        Some(expected) => format!("{} of {expected} bytes {what}", row.bytes),
        None => format!("{} bytes {what}", row.bytes),
    };
    let goes_on = home.kind == CacheKind::LocalDir && home.is_repo_known;
    let mut finding = Finding::new(
        Rule::AbandonedPartial,
        format!("{have}, and nobody is fetching the rest"),
        match home.kind {
            CacheKind::HubApi if !is_file_there => {
                format!("a download was interrupted, or {RACED}")
            }
            CacheKind::HubApi => "a download was interrupted; swift-transformers 1.2 and later \
                                  never goes on from it"
                .to_owned(),
            _ if goes_on => "a download was interrupted".to_owned(),
            _ => "a download was interrupted; Python begins its next one under another name and \
                  never comes back to this one"
                .to_owned(),
        },
    )
    .of_model(&home.repo, None)
    .seen(
        &row.path,
        Some(row.bytes),
        row.expected_bytes,
        "nobody holds a lock of it, and it has not changed for a minute",
    )
    // The folder is an app's: whether it comes back to the file only its user knows.
    .step(by_hand(if goes_on {
        format!(
            "`{}` goes on with it; or remove `{}`: that frees {} bytes",
            home.pull(row.file.as_deref().unwrap_or_default()),
            row.path,
            row.bytes
        )
    } else {
        format!(
            "once no app loads the model, remove `{}`: that frees {} bytes",
            row.path, row.bytes
        )
    }));
    if let Some(file) = &row.file {
        finding = finding.of_file(file);
    }
    if !is_file_there && !goes_on {
        finding = finding.step(by_hand(
            "stop other loads of this model, and load it once again".to_owned(),
        ));
    }
    finding
}

/// Models in a folder that the system may empty.
pub(super) fn purgeable(place: &Path, models: usize, bytes: u64) -> Finding {
    let shown = sanitize(&place.to_string_lossy());
    let count = match models {
        1 => "1 model lies".to_owned(),
        models => format!("{models} models lie"),
    };
    Finding::new(
        Rule::PurgeableFolder,
        format!("{count} in `{shown}`, which the system may empty"),
        cause(Rule::PurgeableFolder),
    )
    .seen(&shown, Some(bytes), None, "it is below `Library/Caches`")
    .step(by_hand(
        "nothing, if the app may download again; else keep the model in the Hub cache too, with \
         `larder pull`"
            .to_owned(),
    ))
}

/// A place on a volume that is not there.
pub fn absent_volume(mount: &Path, place: &Path, origin: &str) -> Finding {
    let shown = sanitize(&mount.to_string_lossy());
    Finding::new(
        Rule::AbsentVolume,
        format!("the volume `{shown}` is not there"),
        cause(Rule::AbsentVolume),
    )
    .seen(
        &place.to_string_lossy(),
        None,
        None,
        &format!("{origin} names it, and nothing is mounted at `{shown}`"),
    )
    .step(by_hand(format!(
        "plug in or mount `{shown}`, or change {origin}"
    )))
}

/// A place that cannot be read.
pub(super) fn unreadable(place: &str, why: &str) -> Finding {
    Finding::new(
        Rule::Unreadable,
        format!("`{place}` cannot be read: {why}"),
        cause(Rule::Unreadable),
    )
    .seen(place, None, None, why)
    .step(by_hand(format!(
        "make `{place}` readable for you; on a Mac, allow your terminal to read the data of other \
         apps in System Settings, Privacy & Security"
    )))
}

/// A length for people.
pub(super) fn size(bytes: u64) -> String {
    format_size(bytes, DECIMAL)
}
