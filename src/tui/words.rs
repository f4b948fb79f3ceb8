//! Owns the words of the panes: states, names and ages as short text.
//!
//! Never draws. Words for states are those of product.md section 1.

use super::action::Action;
use super::facts::Facts;
use super::glyph::Glyphs;
use super::rows::{FileItem, ModelItem};
use super::theme::Theme;
use super::view::Canvas;
use crate::domain::{
    FileRow, FileState, Finding, LockKind, LockRow, LockState, LockWait, ModelState, Outcome,
    PartialRow, PartialState, Plan, PlanStep, Rule, Severity, Verdict, sanitize_line,
};
use crate::store::{
    FileStatus, FileView, FindingGroup, Phase, Pull, Store, count, duration, short, size,
};
use humansize::{DECIMAL, format_size};
use ratatui::style::Style;

/// A sign with its style.
pub(super) type Sign = (&'static str, Style);

/// A size in at most seven columns, three digits of it: `1.35 GB`, `48 kB`, `17.2 MB`.
pub(super) fn bytes(bytes: u64) -> String {
    let (whole, digits) = {
        let mut value = bytes;
        while value >= 1_000 {
            value /= 1_000;
        }
        (value, if bytes < 1_000 { 0 } else { 2 })
    };
    let digits = match whole {
        0..10 => digits,
        10..100 => digits.min(1),
        _ => 0,
    };
    let text = format_size(bytes, DECIMAL.decimal_places(digits));
    // `17.0 MB` says no more than `17 MB`.
    match text.split_once(' ') {
        Some((number, unit)) if number.contains('.') => {
            let number = number.trim_end_matches('0').trim_end_matches('.');
            format!("{number} {unit}")
        }
        _ => text,
    }
}

/// A speed.
pub(super) fn speed(bytes_per_s: u64) -> String {
    format!("{}/s", bytes(bytes_per_s))
}

/// How long ago something was; a time to come is now (clocks jump).
pub(super) fn ago(then_ms: u64, now_ms: u64) -> String {
    match now_ms.saturating_sub(then_ms) {
        // Seconds would change the picture all the time.
        0..60_000 => "just now".to_owned(),
        age_ms => format!("{} ago", age(age_ms)),
    }
}

/// An age without fractions, so that it does not change every moment.
pub(super) fn age(age_ms: u64) -> String {
    match age_ms / 1_000 {
        0..60 => format!("{} s", age_ms / 1_000),
        60..3_600 => format!("{} min", age_ms / 60_000),
        3_600..172_800 => format!("{} h", age_ms / 3_600_000),
        _ => format!("{} d", age_ms / 86_400_000),
    }
}

/// The part of a repo's name after the slash, and the part before with the slash.
pub(super) fn split_name(name: &str) -> (&str, &str) {
    match name.rfind('/') {
        Some(at) => (&name[..=at], &name[at + 1..]),
        None => ("", name),
    }
}

/// Columns of a model's state where there is room.
pub(super) const STATE_COLUMNS: usize = 13;

/// A model's sign and state: in up to [`STATE_COLUMNS`], or in eight columns where room is short.
pub(super) fn model_state(
    item: &ModelItem<'_>,
    canvas: Canvas<'_>,
    has_room: bool,
) -> (Sign, String) {
    let (store, glyphs, theme) = (canvas.view.store, canvas.glyphs, &canvas.ui.theme);
    let word = |long: &str, short: &str| if has_room { long } else { short }.to_owned();
    if let Some(pull) = item.pull {
        match pull.phase() {
            Phase::Listing => {
                let sign = (glyphs.spin(canvas.view.now_ms), theme.accent);
                let words = match pull.waits_for() {
                    Some(_) => "waiting".to_owned(),
                    None => "listing".to_owned(),
                };
                return (sign, words);
            }
            Phase::Fetching => {
                let counts = pull.counts();
                let is_resting = counts.files_active == 0
                    && pull.files().any(|file| *file.status == FileStatus::Paused);
                if is_resting {
                    return ((glyphs.paused, theme.warning), "paused".to_owned());
                }
                let percent = percent(counts.bytes_done, counts.bytes_total);
                let sign = (glyphs.spin(canvas.view.now_ms), theme.accent);
                return (sign, format!("{percent}%"));
            }
            // After an import the model is what the cache has of it.
            Phase::Ended if pull.has_ended_ill() && !pull.is_import() => {
                let is_cancelled = matches!(pull.outcome(), Some(Outcome::Cancelled));
                return if is_cancelled {
                    ((glyphs.paused, theme.warning), word("cancelled", "cancel."))
                } else {
                    ((glyphs.bad, theme.error), "failed".to_owned())
                };
            }
            Phase::Ended => {}
        }
    }
    let verified = item
        .snapshot()
        .and_then(|snapshot| store.shelf().verified(snapshot));
    match (item.row.map(|row| row.state), verified) {
        (Some(ModelState::Broken), _) => ((glyphs.bad, theme.error), "broken".to_owned()),
        (_, Some(verified)) if verified.verdict == Verdict::Broken => {
            ((glyphs.bad, theme.error), "broken".to_owned())
        }
        (Some(ModelState::Partial | ModelState::Absent), _)
            if is_fetched_elsewhere(item, store) =>
        {
            let sign = (glyphs.spin(canvas.view.now_ms), theme.accent);
            (sign, word("downloading", "download"))
        }
        (Some(ModelState::Partial), _) => {
            let counts = item
                .row
                .and_then(|row| Some((row.files_present, row.files_expected?)));
            let counted = counts.map(|(present, expected)| format!("partial {present}/{expected}"));
            // Half a number would be another one.
            let text = counted
                .filter(|text| has_room && text.len() <= STATE_COLUMNS)
                .unwrap_or_else(|| "partial".to_owned());
            ((glyphs.alert, theme.warning), text)
        }
        (Some(ModelState::Absent), _) => ((glyphs.queued, theme.dim), "absent".to_owned()),
        // Nothing is wrong with it, and not all of it is proven.
        (_, Some(verified)) if verified.verdict != Verdict::Good => {
            ((glyphs.good, theme.dim), "complete".to_owned())
        }
        (_, Some(_)) => ((glyphs.good, theme.good), "verified".to_owned()),
        (Some(ModelState::Complete) | None, None) => {
            if item.row.is_some_and(|row| row.verified_ms.is_some()) {
                ((glyphs.good, theme.good), "verified".to_owned())
            } else {
                ((glyphs.good, theme.dim), "complete".to_owned())
            }
        }
    }
}

fn is_fetched_elsewhere(item: &ModelItem<'_>, store: &Store) -> bool {
    let repo = item.repo();
    repo.is_some_and(|repo| store.shelf().other_download(repo).is_some())
}

/// Whole percent, never 100 before the end.
pub(super) fn percent(done: u64, total: u64) -> u64 {
    if total == 0 {
        return 0;
    }
    let percent = u128::from(done) * 100 / u128::from(total);
    u64::try_from(percent).unwrap_or(100)
}

/// A file's sign.
pub(super) fn file_sign(item: &FileItem<'_>, glyphs: &Glyphs, theme: &Theme, now_ms: u64) -> Sign {
    match item {
        FileItem::Transfer(_, view) => match view.status {
            FileStatus::Queued => (glyphs.queued, theme.dim),
            FileStatus::Waiting { .. } => (glyphs.waiting, theme.warning),
            FileStatus::Connecting { .. } | FileStatus::Downloading | FileStatus::Verifying => {
                (glyphs.spin(now_ms), theme.accent)
            }
            FileStatus::Stalled { .. } | FileStatus::Retrying { .. } => {
                (glyphs.alert, theme.warning)
            }
            FileStatus::Done | FileStatus::Reused { .. } => (glyphs.good, theme.good),
            FileStatus::Failed { .. } => (glyphs.bad, theme.error),
            FileStatus::Cancelled => (glyphs.bad, theme.dim),
            FileStatus::Paused => (glyphs.paused, theme.warning),
        },
        FileItem::Cached(_, row) => match row.state {
            FileState::Verified => (glyphs.good, theme.good),
            FileState::Unverified => (glyphs.good, theme.dim),
            FileState::Regular => (glyphs.note, theme.note),
            FileState::Truncated
            | FileState::WrongSize
            | FileState::WrongHash
            | FileState::Missing => (glyphs.bad, theme.error),
            FileState::Absent => (glyphs.queued, theme.dim),
        },
        FileItem::Partial(partial) => match partial.state {
            PartialState::Live { .. } => (glyphs.spin(now_ms), theme.note),
            PartialState::Abandoned => (glyphs.alert, theme.warning),
        },
    }
}

/// What a file's row says at its right end.
pub(super) fn file_state(item: &FileItem<'_>, now_ms: u64, columns: usize) -> String {
    match item {
        FileItem::Transfer(pull, view) => transfer_state(pull, view, now_ms, columns),
        FileItem::Cached(_, row) => cached_state(row, now_ms, columns),
        FileItem::Partial(partial) => partial_state(partial, now_ms),
    }
}

fn transfer_state(pull: &Pull, view: &FileView<'_>, now_ms: u64, columns: usize) -> String {
    match view.status {
        FileStatus::Queued => "queued".to_owned(),
        FileStatus::Waiting { lock } => format!("waiting for {}", holder(lock)),
        FileStatus::Connecting { .. } => "connecting".to_owned(),
        FileStatus::Downloading => {
            let owner = view.same_as.unwrap_or(view.file);
            let speed = speed(pull.file_speed(owner, now_ms));
            if columns < 24 {
                speed
            } else {
                format!("downloading {speed}")
            }
        }
        FileStatus::Stalled { silent_ms } => {
            format!("stalled {} s", silent_ms / 1_000)
        }
        FileStatus::Retrying {
            at_ms, failure, of, ..
        } => {
            let left = whole_seconds(at_ms.saturating_sub(now_ms));
            if columns < 24 {
                format!("retrying {left} {failure}/{of}")
            } else {
                format!("retrying in {left} ({failure} of {of})")
            }
        }
        FileStatus::Verifying => "verifying".to_owned(),
        FileStatus::Done => "done".to_owned(),
        FileStatus::Reused { .. } => "reused".to_owned(),
        FileStatus::Failed { failure } => format!("failed: {}", failure.code),
        FileStatus::Cancelled => "cancelled".to_owned(),
        FileStatus::Paused => "paused".to_owned(),
    }
}

/// Seconds to come, rounded up: a countdown that ends with 1.
pub(super) fn whole_seconds(ms: u64) -> String {
    duration(ms.div_ceil(1_000) * 1_000)
}

/// Whom a lock keeps us waiting for.
pub(super) fn holder(lock: &LockWait) -> String {
    match (&lock.program, lock.pid) {
        (Some(program), Some(pid)) => format!("{program} {pid}"),
        (Some(program), None) => program.clone(),
        (None, Some(pid)) => format!("process {pid}"),
        (None, None) => "another program".to_owned(),
    }
}

fn cached_state(row: &FileRow, now_ms: u64, columns: usize) -> String {
    let age = row.verified_ms.filter(|_| columns >= 16);
    let of = row.expected_bytes.map(size);
    match (row.state, of) {
        (FileState::Verified, _) => match age {
            Some(then) => format!("verified {}", ago(then, now_ms)),
            None => "verified".to_owned(),
        },
        (FileState::Unverified, _) => "unverified".to_owned(),
        (FileState::WrongHash, _) => "wrong hash".to_owned(),
        (FileState::Truncated, Some(of)) => format!("truncated, of {of}"),
        (FileState::Truncated, None) => "truncated".to_owned(),
        (FileState::WrongSize, Some(of)) => format!("wrong size, not {of}"),
        (FileState::WrongSize, None) => "wrong size".to_owned(),
        (FileState::Missing, _) => "missing".to_owned(),
        (FileState::Regular, _) => "here, no pointer".to_owned(),
        (FileState::Absent, _) if row.size_bytes.is_some() => "no pointer".to_owned(),
        (FileState::Absent, _) => "not fetched".to_owned(),
    }
}

fn partial_state(partial: &PartialRow, now_ms: u64) -> String {
    match &partial.state {
        PartialState::Live { is_ours: true, .. } => "being fetched".to_owned(),
        PartialState::Live { program, pid, .. } => {
            let who = match (program, pid) {
                (Some(program), Some(pid)) => format!("{program} {pid}"),
                (Some(program), None) => program.clone(),
                (None, Some(pid)) => format!("process {pid}"),
                (None, None) => "another program".to_owned(),
            };
            format!("by {who}")
        }
        PartialState::Abandoned => {
            format!(
                "abandoned {}",
                age(now_ms.saturating_sub(partial.modified_ms))
            )
        }
    }
}

/// Whether a key does something about a finding now.
pub(super) fn can_act(finding: Option<&Finding>, action: Action) -> bool {
    let steps = || finding.iter().flat_map(|finding| &finding.plan.steps);
    match action {
        // A pull goes on with what is unfinished, too.
        Action::Retry => steps()
            .any(|step| matches!(step, PlanStep::Pull { .. } | PlanStep::RemovePartial { .. })),
        Action::Purge => steps().any(|step| matches!(step, PlanStep::RemovePartial { .. })),
        Action::Fix => {
            finding.is_some_and(Finding::is_repaired)
                && steps().any(|step| matches!(step, PlanStep::Change(_) | PlanStep::Pull { .. }))
        }
        _ => true,
    }
}

/// What a row of findings says: of several, how many and how much.
pub(super) fn group_summary(group: &FindingGroup<'_>) -> String {
    match group.all.len() {
        1 => group.first.summary.clone(),
        many => format!(
            "{} of unfinished downloads, {}, and nobody is fetching the rest",
            count(many, "file"),
            size(group_plan(group).freed_bytes())
        ),
    }
}

/// The plan of a row of findings: all that puts all of them right.
pub(super) fn group_plan(group: &FindingGroup<'_>) -> Plan {
    match group.all.as_slice() {
        [one] => one.plan.clone(),
        _ => Plan {
            steps: group.steps(),
        },
    }
}

/// What is to be said of a plan that no key carries out as a whole.
pub(super) fn not_yet(finding: &Finding) -> Option<&'static str> {
    let is = |kind: fn(&PlanStep) -> bool| finding.plan.steps.iter().any(kind);
    let has_changes = is(|step| matches!(step, PlanStep::Change(_)));
    let has_hands = is(|step| matches!(step, PlanStep::ByHand { .. }));
    match (has_changes, has_hands) {
        (true, _) if !finding.is_repaired() => {
            Some("its bytes may be good, so no repair takes them away")
        }
        (true, _) => Some("a repair does"),
        (false, true) => Some("only a person can do that"),
        (false, false) => None,
    }
}

/// What a lock is called in its pane.
pub(super) fn lock_name(lock: &LockRow) -> String {
    match (lock.kind, &lock.file, &lock.etag) {
        (LockKind::Marker, ..) => format!("download marker {}", split_name(lock.repo.name()).1),
        (LockKind::Downloader | LockKind::Loader, ..) => {
            let program = lock.program.as_deref().unwrap_or("process");
            let pid = lock.pid.map_or_else(String::new, |pid| format!(" {pid}"));
            format!("{program}{pid} on {}", split_name(lock.repo.name()).1)
        }
        (_, Some(file), _) => file.clone(),
        (_, None, Some(etag)) => {
            let start: String = etag.chars().take(8).collect();
            format!("{start}….lock")
        }
        (_, None, None) => lock.path.clone(),
    }
}

/// Who holds a lock, as a sentence begins with it.
pub(super) fn lock_holder(lock: &LockRow) -> String {
    match (&lock.program, lock.pid) {
        (Some(program), Some(pid)) => format!("{program} (process {pid})"),
        (Some(program), None) => program.clone(),
        (None, Some(pid)) => format!("process {pid}"),
        (None, None) => "another program".to_owned(),
    }
}

/// A lock's sign, state and holder.
pub(super) fn lock_state(lock: &LockRow, glyphs: &Glyphs, theme: &Theme) -> (Sign, String) {
    let who = match (lock.is_ours, &lock.program, lock.pid) {
        (true, ..) => " us".to_owned(),
        (false, Some(program), Some(pid)) => format!(" {program} {pid}"),
        (false, None, Some(pid)) => format!(" process {pid}"),
        (false, Some(program), None) => format!(" {program}"),
        (false, None, None) => String::new(),
    };
    let sign = match lock.state {
        LockState::Held if lock.is_ours => (glyphs.held, theme.accent),
        LockState::Held => (glyphs.held, theme.warning),
        LockState::Free => (glyphs.free, theme.dim),
        LockState::Unknown => ("?", theme.warning),
        LockState::Stale => (glyphs.alert, theme.warning),
    };
    if lock.is_program() {
        return (sign, lock.state_name().to_owned());
    }
    (sign, format!("{}{who}", lock.state.name()))
}

/// What is wrong, in at most fifteen columns.
pub(super) const fn rule_word(rule: Rule) -> &'static str {
    match rule {
        Rule::AbandonedPartial => "unfinished",
        Rule::DanglingPointer => "dangling",
        Rule::EscapingPointer => "escaping",
        Rule::WrongPointer => "wrong pointer",
        Rule::Truncated => "truncated",
        Rule::WrongSize => "wrong size",
        Rule::EmptyBlob => "empty blob",
        Rule::WrongHash => "wrong hash",
        Rule::LfsPointer => "LFS pointer",
        Rule::ErrorPage => "error page",
        Rule::MissingFiles => "files missing",
        Rule::HalfWritten => "half-written",
        Rule::RefToNowhere => "ref to nowhere",
        Rule::MalformedRef => "malformed ref",
        Rule::NoRef => "no ref",
        Rule::LeftoverRef => "leftover ref",
        Rule::OrphanBlob => "orphan blob",
        Rule::LeftoverTemp => "leftover",
        Rule::StaleNoExist => "stale mark",
        Rule::StaleMarker => "stale marker",
        Rule::RegularFile => "regular file",
        Rule::CopiedFile => "stored twice",
        Rule::BranchFolder => "branch folder",
        Rule::UnmarkedStore => "unmarked store",
        Rule::UnusedPayload => "unused payload",
        Rule::MissingMetadata => "no metadata",
        Rule::DuplicateModel => "duplicate",
        Rule::SplitCaches => "split caches",
        Rule::AbsentVolume => "absent volume",
        Rule::MixedPermissions => "permissions",
        Rule::CaseCollision => "case collision",
        Rule::PurgeableFolder => "purgeable",
        Rule::Evicted => "evicted",
        Rule::StrayWeights => "stray weights",
        Rule::WouldNotLoad => "would not load",
        Rule::NoModelType => "no model type",
        Rule::NoChatTemplate => "no template",
        Rule::Unreadable => "unreadable",
    }
}

/// A severity's sign.
pub(super) const fn severity_sign(severity: Severity, glyphs: &Glyphs, theme: &Theme) -> Sign {
    match severity {
        Severity::Error => (glyphs.bad, theme.error),
        Severity::Warning => (glyphs.alert, theme.warning),
        Severity::Note => (glyphs.note, theme.note),
    }
}

/// `repo @ revision`, the way people say which model.
pub(super) fn model_title(item: &ModelItem<'_>) -> String {
    let repo = item.repo().map(ToString::to_string).unwrap_or_default();
    format!("{repo} @ {}", short(item.revision()))
}

/// Foreign text as one short, harmless line.
pub(super) fn clean_line(text: &str, limit: usize) -> String {
    sanitize_line(text, limit)
}

/// The host of an address.
pub(super) fn host(endpoint: &str) -> &str {
    let rest = endpoint
        .split_once("://")
        .map_or(endpoint, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

/// What the Hub is called in the header.
pub(super) fn source_name(facts: &Facts) -> String {
    match host(&facts.endpoint) {
        "huggingface.co" | "hf.co" => "Hub".to_owned(),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_calm() {
        assert_eq!(ago(0, 3_000), "just now");
        assert_eq!(ago(10, 5), "just now", "clocks jump");
        assert_eq!(ago(0, 125_000), "2 min ago");
        assert_eq!(age(86_400_000 * 3), "3 d");
        assert_eq!(age(7_200_000), "2 h");
    }

    #[test]
    fn sizes_take_seven_columns() {
        for (amount, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (4_100, "4.1 kB"),
            (48_000, "48 kB"),
            (17_240_000, "17.2 MB"),
            (999_600, "1000 kB"),
            (812_000_000, "812 MB"),
            (1_350_000_000, "1.35 GB"),
            (387_714_285, "388 MB"),
        ] {
            assert_eq!(bytes(amount), text);
        }
        for amount in (0..64).map(|bits| 1_u64 << bits) {
            assert!(bytes(amount).len() <= 8, "{}", bytes(amount));
        }
    }

    #[test]
    fn percent_is_whole_only_at_the_end() {
        assert_eq!(percent(999, 1_000), 99);
        assert_eq!(percent(u64::MAX, u64::MAX), 100);
        assert_eq!(percent(0, 0), 0);
    }

    #[test]
    fn a_host_is_named_without_its_path() {
        assert_eq!(host("https://huggingface.co"), "huggingface.co");
        assert_eq!(host("http://127.0.0.1:80/x"), "127.0.0.1:80");
        assert_eq!(host("huggingface.co"), "huggingface.co");
    }
}
