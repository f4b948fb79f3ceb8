//! Owns one screen about a cache: what it is called, how it is laid out, what is left out.
//!
//! **Law**: on a terminal it fits 24 lines of 80 columns, however much is the matter; into a pipe
//! goes everything. What others named is made harmless here.

use super::document::Look;
use super::finding::rows;
use super::table::cut_middle;
use crate::domain::{
    CacheRow, LockKind, LockRow, LockState, ModelRow, ModelState, Network, PartialRow,
    PartialState, RepoId, sanitize,
};
use crate::store::{LockCounts, count, duration, grouped, short, size};

/// Models, findings, locks and downloads that are told on a terminal; the rest is a count.
const TOLD: [usize; 4] = [2, 3, 2, 2];

/// One screen about a cache.
pub(super) struct Page<'a> {
    pub(super) look: Look<'a>,
    pub(super) now_ms: u64,
    /// `None` means: no terminal, so nothing is cut or left out.
    pub(super) columns: Option<u16>,
    /// Everything is told, also on a terminal.
    pub(super) is_whole: bool,
    /// Flags that advice repeats.
    pub(super) places: &'a [String],
}

impl Page<'_> {
    /// The lines.
    pub(super) fn text(&self) -> String {
        let Look { shelf, repo, .. } = self.look;
        let mut text = String::new();
        if let Some(repo) = repo {
            text.push_str(&self.entry("repo", &repo.to_string()));
        }
        text.push_str(&self.entry("cache", &self.cache_words()));
        text.push_str(&self.places_text());
        let disk = shelf.disk().map_or_else(
            || "unknown".to_owned(),
            |disk| {
                format!(
                    "{} free of {}",
                    size(disk.free_bytes),
                    size(disk.total_bytes)
                )
            },
        );
        text.push_str(&self.entry("disk", &disk));
        text.push_str(&self.entry("network", &self.network_words()));

        text.push_str(&self.entry("models", &self.models_words()));
        if shelf.models().is_none() {
            // What was not seen is not "none".
            return text;
        }
        let wanting = shelf
            .models_of(repo)
            .filter(|model| model.state != ModelState::Complete)
            .map(|model| {
                let other = shelf.other_download(&model.repo);
                match other.filter(|_| model.state != ModelState::Broken) {
                    Some(other) => {
                        let words = format!("{}: {}", model.repo, other.proof);
                        vec![row("downloading", &words)]
                    }
                    None => vec![row(model_state(model), &model_words(model))],
                }
            });
        text.push_str(&self.rows(wanting.collect(), TOLD[0]));

        let findings = shelf.findings_about(repo);
        let counts = shelf.finding_counts(repo).words();
        text.push_str(&self.entry("findings", &counts));
        let groups = grouped(&findings);
        let told = groups.iter().map(|group| rows(group, self.places));
        text.push_str(&self.rows(told.collect(), TOLD[1]));

        let locks = lock_counts_words(shelf.lock_counts(repo));
        text.push_str(&self.entry("locks", &locks));
        // A free lock file is normal, and there may be thousands: their number says enough.
        let told = shelf
            .locks_of(repo)
            .filter(|lock| self.is_whole || lock.is_program() || lock.state != LockState::Free)
            .map(|lock| vec![row(lock.state_name(), &lock_words(lock, self.now_ms))]);
        text.push_str(&self.rows(told.collect(), TOLD[2]));

        let counts = shelf.partial_counts(repo);
        let words = match (counts.live, counts.abandoned) {
            (0, 0) => "none in progress".to_owned(),
            (live, 0) => format!("{live} live"),
            (0, abandoned) => format!("none in progress, {abandoned} abandoned"),
            (live, abandoned) => format!("{live} live, {abandoned} abandoned"),
        };
        text.push_str(&self.entry("downloads", &words));
        let told = self.partial_rows(&shelf.partials_of(repo));
        text.push_str(&self.rows(told, TOLD[3]));
        text
    }

    /// Unfinished blobs; what is abandoned of one repo is told together, unless everything is told.
    fn partial_rows(&self, partials: &[&PartialRow]) -> Vec<Vec<String>> {
        let mut told: Vec<&RepoId> = Vec::new();
        let mut rows = Vec::new();
        for partial in partials {
            let is_abandoned = partial.state == PartialState::Abandoned;
            let of_repo = || {
                let is_same = |other: &&&PartialRow| {
                    other.state == PartialState::Abandoned && other.repo == partial.repo
                };
                partials.iter().filter(is_same)
            };
            let many = of_repo().count();
            if self.is_whole || !is_abandoned || many < 2 {
                rows.push(vec![partial_row(partial, self.now_ms)]);
                continue;
            }
            if told.contains(&&partial.repo) {
                continue;
            }
            told.push(&partial.repo);
            let bytes: u64 = of_repo().map(|other| other.bytes).sum();
            let last_ms = of_repo().map(|other| other.modified_ms).max();
            let age_ms = self.now_ms.saturating_sub(last_ms.unwrap_or_default());
            let words = format!(
                "{} with {}, the last for {}: {}",
                count(many, "unfinished blob"),
                size(bytes),
                duration(age_ms),
                partial.repo
            );
            rows.push(vec![row("abandoned", &words)]);
        }
        rows
    }

    /// A heading with what is to be said at once.
    fn entry(&self, name: &str, words: &str) -> String {
        format!("{}\n", self.cut(&format!("{name:<10} {}", sanitize(words))))
    }

    /// Rows below a heading, as many as there is room for. Advice, the second line of a row, is
    /// never cut: it is to be copied.
    fn rows(&self, rows: Vec<Vec<String>>, most: usize) -> String {
        let most = if self.columns.is_none() || self.is_whole {
            usize::MAX
        } else {
            most
        };
        let hidden = rows.len().saturating_sub(most);
        let mut text = String::new();
        for lines in rows.into_iter().take(most) {
            for (at, line) in lines.iter().enumerate() {
                let line = if at == 0 {
                    self.cut(line)
                } else {
                    line.clone()
                };
                text.extend([line.as_str(), "\n"]);
            }
        }
        if hidden > 0 {
            text.extend(["  and ", &hidden.to_string(), " more: `-v` tells all\n"]);
        }
        text
    }

    fn cut(&self, line: &str) -> String {
        self.columns.map_or_else(
            || line.trim_end().to_owned(),
            |columns| cut_middle(line.trim_end(), usize::from(columns)),
        )
    }

    /// The other places that were looked at: on a terminal in one line.
    fn places_text(&self) -> String {
        let Look { shelf, repo, .. } = self.look;
        let [_, others @ ..] = shelf.caches() else {
            return String::new();
        };
        if others.is_empty() || repo.is_some() {
            return String::new();
        }
        let models: usize = others.iter().map(|place| place.models).sum();
        let bytes = others.iter().map(|place| place.size_bytes).sum();
        let words = format!(
            "{} elsewhere, with {}, {}",
            count(others.len(), "place"),
            count(models, "model"),
            size(bytes)
        );
        let mut text = self.entry("places", &words);
        if self.columns.is_none() || self.is_whole {
            let told = others
                .iter()
                .map(|place| vec![row(place.kind.name(), &place_words(place))]);
            text.push_str(&self.rows(told.collect(), usize::MAX));
        }
        text
    }

    fn cache_words(&self) -> String {
        let Some(cache) = self.look.setting("cache_dir") else {
            return "unknown".to_owned();
        };
        let why = match cache.origin.as_str() {
            "default" => "the default place",
            origin => origin,
        };
        format!("{} ({why})", cache.value)
    }

    fn network_words(&self) -> String {
        let endpoint = self
            .look
            .setting("endpoint")
            .map_or("the Hub", |setting| setting.value.trim_end_matches('/'));
        match self.look.shelf.network() {
            None => "not asked".to_owned(),
            Some(Network::Offline) => {
                let why = self.look.setting("offline");
                let why = why.map_or("offline", |setting| setting.origin.as_str());
                format!("not asked: offline ({why})")
            }
            Some(Network::Reachable { answer_ms }) => {
                format!("{endpoint} answers in {answer_ms} ms")
            }
            Some(Network::Unreachable { failure }) => {
                format!("{endpoint} does not answer: {}: {failure}", failure.code)
            }
        }
    }

    fn models_words(&self) -> String {
        let Look { shelf, repo, .. } = self.look;
        if shelf.models().is_none() {
            return "unknown".to_owned();
        }
        let counts = shelf.model_counts(repo);
        if counts.all == 0 {
            return "none in this cache".to_owned();
        }
        let states: Vec<String> = [
            (counts.complete, "complete"),
            (counts.partial, "partial"),
            (counts.broken, "broken"),
            (counts.absent, "absent"),
        ]
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, state)| format!("{number} {state}"))
        .collect();
        format!(
            "{}, {}: {}",
            count(counts.all, "snapshot"),
            size(counts.size_bytes),
            states.join(", ")
        )
    }
}

/// A row: its state, and what it is about.
fn row(state: &str, words: &str) -> String {
    format!("  {state:<9} {}", sanitize(words))
}

fn place_words(place: &CacheRow) -> String {
    let what = match (&place.trouble, place.is_present) {
        (Some(why), _) => why.clone(),
        (None, false) => "not there".to_owned(),
        (None, true) => format!(
            "{}, {}",
            count(place.models, "model"),
            size(place.size_bytes)
        ),
    };
    format!("{} ({}): {what}", place.path, place.origin)
}

fn model_state(model: &ModelRow) -> &'static str {
    match model.state {
        ModelState::Complete => "complete",
        ModelState::Partial => "partial",
        ModelState::Broken => "broken",
        ModelState::Absent => "absent",
    }
}

fn model_words(model: &ModelRow) -> String {
    let revision = match model.refs.first() {
        Some(name) => name.clone(),
        None => short(&model.revision),
    };
    let why = match (model.problems.as_slice(), model.files_expected) {
        ([], Some(expected)) => format!("{} of {expected} files", model.files_present),
        ([], None) => "files are missing".to_owned(),
        ([only], _) => only.clone(),
        ([first, rest @ ..], _) => format!("{first}, and {} more", rest.len()),
    };
    format!("{} @ {revision}: {why}", model.repo)
}

/// How many of each state.
pub(super) fn lock_counts_words(counts: LockCounts) -> String {
    let words: Vec<String> = [
        (counts.held, "held"),
        (counts.unknown, "unknown"),
        (counts.stale, "stale"),
        (counts.free, "free"),
    ]
    .into_iter()
    .filter(|(number, _)| *number > 0)
    .map(|(number, state)| format!("{number} {state}"))
    .collect();
    if words.is_empty() {
        "none held".to_owned()
    } else {
        words.join(", ")
    }
}

/// Who, as far as the system tells.
fn whom(is_ours: bool, program: Option<&str>, pid: Option<u32>) -> Option<String> {
    match (is_ours, program, pid) {
        (true, ..) => Some("this larder".to_owned()),
        (false, Some(program), Some(pid)) => Some(format!("{program} (pid {pid})")),
        (false, Some(program), None) => Some(program.to_owned()),
        (false, None, Some(pid)) => Some(format!("process {pid}")),
        (false, None, None) => None,
    }
}

/// What a lock is on, and who holds it.
pub(super) fn lock_words(lock: &LockRow, now_ms: u64) -> String {
    let mut words = if lock.is_program() {
        lock.repo.to_string()
    } else {
        format!("{} of {}", lock.kind.name(), lock.repo)
    };
    if let Some(file) = &lock.file {
        words = format!("{words}, {file}");
    }
    if let Some(who) = whom(lock.is_ours, lock.program.as_deref(), lock.pid) {
        words = format!("{words}: {who}");
    }
    if lock.kind == LockKind::Marker && lock.pid.is_none() {
        return format!("{words}: {}", lock.proof);
    }
    match lock.since_ms {
        Some(since_ms) => format!(
            "{words}, running for {}",
            duration(now_ms.saturating_sub(since_ms))
        ),
        None => words,
    }
}

fn partial_row(partial: &PartialRow, now_ms: u64) -> String {
    let name = partial.file.as_ref().unwrap_or(&partial.etag);
    let bytes = match partial.expected_bytes {
        Some(expected) => format!("{} of {}", size(partial.bytes), size(expected)),
        None => size(partial.bytes),
    };
    let age_ms = now_ms.saturating_sub(partial.modified_ms);
    let (state, who) = match &partial.state {
        PartialState::Live {
            is_ours,
            pid,
            program,
        } => {
            let who = whom(*is_ours, program.as_deref(), *pid);
            ("live", who.unwrap_or_else(|| "another program".to_owned()))
        }
        PartialState::Abandoned => ("abandoned", format!("for {}", duration(age_ms))),
    };
    row(
        state,
        &format!("{bytes}, {who}: {name} of {}", partial.repo),
    )
}
