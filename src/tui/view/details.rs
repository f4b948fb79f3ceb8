//! Owns the details of a row: all that is known of it, and how.

use ratatui::style::{Modifier, Style};

use super::super::action::Action;
use super::super::copy;
use super::super::rows::{FileItem, Hashed, ModelItem, Scene};
use super::super::ui::Subject;
use super::super::words;
use super::log::clock;
use super::text::{Text, failure_lines};
use super::{Canvas, why};
use crate::domain::{
    Basis, Etag, Failure, FailureCode, FileRow, FileState, LockKind, LockRow, LockState, ModelRow,
    ModelState, Origin, PartialState, RefMove, Verdict,
};
use crate::store::{AttemptEnd, AttemptRecord, FileStatus, FileView, Pull, count, duration, size};

/// Title and lines.
pub(super) fn text(
    canvas: Canvas<'_>,
    scene: &Scene<'_>,
    of: &Subject,
    columns: usize,
) -> (String, Text) {
    let mut text = Text::new(columns);
    let title = match of {
        Subject::Model => scene.model(canvas.ui).map(|item| {
            model(&mut text, canvas, item);
            words::model_title(item)
        }),
        Subject::File => scene.file(canvas.ui).map(|item| {
            file(&mut text, canvas, &item, scene.model(canvas.ui));
            match scene.hashed(&item) {
                Some(Hashed::Wrong(rule)) => {
                    let style = (canvas.ui.theme.dim, canvas.ui.theme.error);
                    text.field("hashed", words::rule_word(rule), style);
                }
                Some(Hashed::Right) => {
                    let style = (canvas.ui.theme.dim, canvas.ui.theme.good);
                    text.field("hashed", "right, in this run", style);
                }
                None => {}
            }
            item.name().to_owned()
        }),
        Subject::Finding { key, words } => match scene.finding_with(key) {
            Some((_, group)) => {
                why::lines(&mut text, canvas, group);
                Some(group.first.rule.name().to_owned())
            }
            None => {
                text.wrapped(0, words, canvas.ui.theme.dim);
                text.blank();
                let gone = "not found any more: it was put right, or what it was about is gone";
                text.wrapped(0, gone, canvas.ui.theme.good);
                Some("Healed or gone".to_owned())
            }
        },
        Subject::Lock => scene.lock(canvas.ui).map(|lock| {
            self::lock(&mut text, canvas, lock);
            words::lock_name(lock)
        }),
        Subject::Line(line) => {
            text.wrapped(0, line, canvas.ui.theme.text);
            Some("Log".to_owned())
        }
    };
    match title {
        Some(title) => (title, text),
        None => {
            text.wrapped(0, "it is not there any more", canvas.ui.theme.dim);
            ("Gone".to_owned(), text)
        }
    }
}

/// Styles of a field: label and value.
pub(super) fn plain(canvas: Canvas<'_>) -> (Style, Style) {
    (canvas.ui.theme.dim, canvas.ui.theme.text)
}

pub(super) fn exact(bytes: u64) -> String {
    if bytes < 1_000 {
        return size(bytes);
    }
    format!("{} ({bytes} bytes)", size(bytes))
}

fn model(text: &mut Text, canvas: Canvas<'_>, item: &ModelItem<'_>) {
    let (view, theme, styles) = (canvas.view, &canvas.ui.theme, plain(canvas));
    let facts = view.facts;
    let (_, state) = words::model_state(item, canvas, true);
    text.field("state", &state, styles);
    if let Some(row) = item.row {
        let refs = if row.refs.is_empty() {
            if row.is_unreferenced {
                "none: healthy, but `hf cache prune` would take it".to_owned()
            } else {
                "none".to_owned()
            }
        } else {
            row.refs.join(", ")
        };
        if let Some(place) = item.elsewhere {
            let words = format!("{}, {}", facts.short_path(&place.path), place.origin);
            text.field("place", &words, styles);
            text.field("kept by", place.kind.words(), styles);
        } else {
            text.field("refs", &refs, styles);
        }
        let commit = row
            .commit
            .map_or_else(|| row.revision.clone(), |commit| commit.to_string());
        text.field("commit", &commit, styles);
        let expected = row
            .files_expected
            .map(|expected| format!(" of {expected}"))
            .unwrap_or_default();
        text.field("files", &format!("{}{expected}", row.files_present), styles);
        text.field("size", &exact(row.size_bytes), styles);
        let basis = match row.basis {
            Basis::Listing => "the Hub's listing of that commit, kept on disk",
            Basis::OwnFiles => "the model's own files: config, index, shards, tokenizer",
        };
        text.field("basis", basis, styles);
        if let Some(used) = row.accessed_ms {
            text.field("last used", &words::ago(used, view.now_ms), styles);
        }
    }
    let words = verified_words(canvas, item);
    text.field("verified", &words, styles);
    if let Some(snapshot) = item.snapshot() {
        text.field("snapshot", &facts.short_path(snapshot), styles);
    }
    if let Some(pull) = item.pull {
        text.blank();
        pull_lines(text, canvas, pull);
    }
    let problems = item.row.map_or(&[][..], |row| &row.problems);
    if !problems.is_empty() {
        text.blank();
        heading(text, canvas, "Problems");
        for problem in problems {
            text.wrapped(2, problem, theme.warning);
        }
    }
    if let Some(repo) = item.repo() {
        let shelf = view.store.shelf();
        let findings = match item.row {
            Some(row) => shelf.findings_of_copy(row),
            None => shelf.findings_of(repo),
        };
        let hashed: Vec<_> = findings
            .iter()
            .filter(|finding| !problems.contains(&finding.summary))
            .collect();
        if !hashed.is_empty() {
            text.blank();
            heading(text, canvas, "Findings");
            for finding in hashed {
                let words = format!("{}: {}", finding.severity.name(), finding.summary);
                text.wrapped(2, &words, theme.text);
            }
        }
    }
    if let Some(instead) = copy::instead(item, view.store) {
        text.blank();
        text.wrapped(0, &facts.short_text(&instead), theme.accent);
    }
}

pub(super) fn heading(text: &mut Text, canvas: Canvas<'_>, words: &str) {
    let bold = canvas.ui.theme.accent.add_modifier(Modifier::BOLD);
    text.line(&[(words, bold)]);
}

/// When all of it was last found right, and what hashing in this run says.
fn verified_words(canvas: Canvas<'_>, item: &ModelItem<'_>) -> String {
    let view = canvas.view;
    let verified = item
        .snapshot()
        .and_then(|snapshot| view.store.shelf().verified(snapshot));
    if let Some(verified) = verified {
        let rest = match verified.verdict {
            Verdict::Partly | Verdict::Hashed | Verdict::Unknown => {
                "; nothing says what the others should be"
            }
            Verdict::Good | Verdict::Broken => "",
        };
        return format!(
            "{}: {} of {} right{rest}",
            words::ago(verified.at_ms, view.now_ms),
            verified.files_good,
            count(verified.files_total, "file")
        );
    }
    let row = item.row.map(|row| (row.verified_ms, row.wrong_ms));
    let (right_ms, wrong_ms) = row.unwrap_or_default();
    if let Some(then) = wrong_ms.filter(|_| right_ms.is_none()) {
        let seen = words::ago(then, view.now_ms);
        return format!("{seen}: bytes were hashed and are wrong, see below");
    }
    match right_ms {
        Some(then) => {
            let is_whole = item
                .row
                .is_some_and(|row| row.state == ModelState::Complete);
            let files = if is_whole {
                "every file"
            } else {
                "every file that is here"
            };
            let seen = words::ago(then, view.now_ms);
            format!("{seen}: {files} is right, and unchanged since")
        }
        None => format!(
            "no: not every file was hashed since it last changed; `{}` does that",
            canvas.ui.keymap.key_of(Action::Verify)
        ),
    }
}

fn pull_lines(text: &mut Text, canvas: Canvas<'_>, pull: &Pull) {
    let (theme, styles, facts) = (&canvas.ui.theme, plain(canvas), canvas.view.facts);
    heading(text, canvas, "This run");
    let target = pull.target();
    text.field("asked", &target.endpoint, styles);
    let at = clock(pull.started_ms(), facts.utc_offset_s);
    let took = pull
        .ended_ms()
        .map(|end| format!(", took {}", duration(end.saturating_sub(pull.started_ms()))))
        .unwrap_or_default();
    text.field("started", &format!("{at}{took}"), styles);
    let fetched = format!(
        "{} fetched, {} reused",
        size(pull.fetched_bytes()),
        size(pull.reused_bytes())
    );
    text.field("bytes", &fetched, styles);
    if let Some(result) = pull.result() {
        let reference = match &result.reference {
            RefMove::None => None,
            RefMove::Unchanged => Some(format!("{} as before", target.revision)),
            RefMove::Moved { .. } => Some(format!(
                "{} names {} now",
                target.revision,
                result.commit.short()
            )),
            RefMove::Kept { why, .. } => Some(format!("{} stayed: {why}", target.revision)),
        };
        if let Some(reference) = reference {
            text.field("ref", &reference, styles);
        }
    }
    for healing in pull.healed() {
        let place = healing
            .path
            .as_ref()
            .map_or_else(|| facts.short_path(&healing.location), ToString::to_string);
        text.field("healed", &place, (theme.dim, theme.warning));
    }
    let repo = target.repo.to_string();
    let failures = pull.failures();
    for failure in failures.iter().take(5) {
        text.blank();
        failure_lines(text, canvas, failure, &repo);
    }
    if failures.len() > 5 {
        let more = format!("and {} more failures", failures.len() - 5);
        text.wrapped(0, &more, theme.error);
    }
}

fn file(text: &mut Text, canvas: Canvas<'_>, item: &FileItem<'_>, model: Option<&ModelItem<'_>>) {
    let (view, styles) = (canvas.view, plain(canvas));
    let facts = view.facts;
    match item {
        FileItem::Transfer(pull, file) => transfer(text, canvas, pull, file),
        FileItem::Cached(row, file) => {
            text.field("state", &words::file_state(item, view.now_ms, 40), styles);
            cached(text, canvas, (row, file), model);
        }
        FileItem::Partial(partial) => {
            text.field("state", &words::file_state(item, view.now_ms, 40), styles);
            let of = partial
                .expected_bytes
                .map(|bytes| format!(" of {}", exact(bytes)))
                .unwrap_or_default();
            text.field("here", &format!("{}{of}", exact(partial.bytes)), styles);
            text.field(
                "written",
                &words::ago(partial.modified_ms, view.now_ms),
                styles,
            );
            text.field("path", &facts.short_path(&partial.path), styles);
            text.field("blob", &partial.etag, styles);
            let who = match &partial.state {
                PartialState::Live { is_ours: true, .. } => "this larder fetches it",
                PartialState::Live { .. } => "another program is fetching it; larder only watches",
                PartialState::Abandoned => {
                    "nobody writes it; a pull goes on from here, or `p` takes it away"
                }
            };
            text.blank();
            text.wrapped(0, who, canvas.ui.theme.dim);
        }
    }
}

/// A file on disk: its bytes, its hash, and every link from the snapshot to them.
fn cached(
    text: &mut Text,
    canvas: Canvas<'_>,
    (row, file): (&ModelRow, &FileRow),
    model: Option<&ModelItem<'_>>,
) {
    let (view, styles) = (canvas.view, plain(canvas));
    if let Some(bytes) = file.size_bytes {
        text.field("size", &exact(bytes), styles);
    }
    if let Some(bytes) = file.expected_bytes {
        text.field("should be", &exact(bytes), styles);
    }
    if let Some(etag) = &file.etag {
        let kind = match Etag::new(etag) {
            Ok(Etag::Sha256(_)) => "SHA-256",
            Ok(Etag::GitSha1(_)) => "git SHA-1",
            Err(_) => "no hash",
        };
        text.field("hash", &format!("{etag} ({kind})"), styles);
    }
    let verdict = match (file.state, file.verified_ms) {
        (FileState::Absent | FileState::Missing, _) => None,
        (FileState::WrongHash, Some(then)) => Some(format!(
            "{}: its bytes are not those of that hash",
            words::ago(then, view.now_ms)
        )),
        (_, Some(then)) => Some(format!(
            "{}: right, and unchanged since",
            words::ago(then, view.now_ms)
        )),
        (_, None) => Some("not since it last changed".to_owned()),
    };
    if let Some(verdict) = verdict {
        text.field("hashed", &verdict, styles);
    }
    if file.state == FileState::Absent {
        if file.size_bytes.is_some() {
            text.field(
                "content",
                "its blob is here: a pull fetches nothing",
                styles,
            );
        }
        return;
    }
    let folder = model
        .and_then(ModelItem::snapshot)
        .unwrap_or(row.snapshot.as_str());
    let path = format!("{folder}/{}", file.path);
    text.field("path", &view.facts.short_path(&path), styles);
    for (at, link) in file.links.iter().enumerate() {
        let label = if at == 0 { "leads to" } else { "then to" };
        text.field(label, link, styles);
    }
    if file.links.is_empty() && file.state == FileState::Regular {
        text.field("leads to", "nothing: the file itself lies here", styles);
    }
}

fn transfer(text: &mut Text, canvas: Canvas<'_>, pull: &Pull, file: &FileView<'_>) {
    let (view, theme, styles) = (canvas.view, &canvas.ui.theme, plain(canvas));
    text.field("state", file.status.name(), styles);
    text.field("size", &exact(file.size_bytes), styles);
    text.field(
        "here",
        &format!("{}, {} %", exact(file.bytes), file.percent()),
        styles,
    );
    text.field("fetched", &exact(file.fetched_bytes), styles);
    let kind = match file.etag {
        Etag::Sha256(_) => "SHA-256",
        Etag::GitSha1(_) => "git SHA-1",
    };
    text.field("promised", &format!("{} ({kind})", file.etag), styles);
    let computed = match (file.is_verified, file.status) {
        (Some(true), _) => ("the same: proven".to_owned(), theme.good),
        (Some(false), _) => (
            "not computed: its size was believed".to_owned(),
            theme.warning,
        ),
        (None, FileStatus::Verifying) => ("being computed".to_owned(), theme.dim),
        (None, FileStatus::Failed { failure }) if is_mismatch(failure) => (
            "another: those bytes were thrown away".to_owned(),
            theme.error,
        ),
        (None, _) => ("not yet: nothing is visible before".to_owned(), theme.dim),
    };
    text.field("computed", &computed.0, (theme.dim, computed.1));
    if let FileStatus::Reused { origin } = file.status {
        let words = match origin {
            Origin::Cache => "was in the cache already".to_owned(),
            Origin::Snapshot => "taken from a regular file in the snapshot".to_owned(),
            Origin::OtherRepo { folder } => format!("taken from {folder}"),
            Origin::LocalDir => "was in the folder already".to_owned(),
            Origin::HubCache => "taken from the Hub cache".to_owned(),
            Origin::Empty => "empty, nothing to fetch".to_owned(),
            Origin::Import { path } => format!("taken from {path}"),
        };
        text.field("from", &words, styles);
    }
    if let FileStatus::Waiting { lock } = file.status {
        text.field("waits for", &words::holder(lock), styles);
        text.field("lock", &view.facts.short_path(&lock.lock), styles);
    }
    if let Some(owner) = file.same_as.and_then(|owner| pull.file(owner)) {
        text.field("same as", owner.path.as_str(), styles);
    }
    let source = pull
        .attempts(file.file)
        .filter_map(|attempt| attempt.source.as_deref())
        .last();
    if let Some(source) = source {
        text.field("source", source, styles);
    }
    if let Some(plan) = pull.plan() {
        let path = format!("{}/{}", plan.snapshot, file.path);
        text.field("path", &view.facts.short_path(&path), styles);
    }
    let repo = pull.target().repo.to_string();
    if let FileStatus::Failed { failure } = file.status {
        text.blank();
        failure_lines(text, canvas, failure, &repo);
    }
    let attempts: Vec<&AttemptRecord> = pull.attempts(file.file).collect();
    if !attempts.is_empty() {
        text.blank();
        heading(text, canvas, "Attempts");
        for attempt in attempts {
            attempt_lines(text, canvas, attempt);
        }
    }
}

/// Whether bytes came and were the wrong ones.
const fn is_mismatch(failure: &Failure) -> bool {
    matches!(
        failure.code,
        FailureCode::ChecksumMismatch | FailureCode::SizeMismatch | FailureCode::ChangedUpstream
    )
}

fn attempt_lines(text: &mut Text, canvas: Canvas<'_>, attempt: &AttemptRecord) {
    let (theme, offset) = (&canvas.ui.theme, canvas.view.facts.utc_offset_s);
    let end_ms = attempt.ended_ms.unwrap_or(canvas.view.now_ms);
    let took = words::age(end_ms.saturating_sub(attempt.began_ms));
    let (word, style) = match &attempt.end {
        None => ("goes on", theme.accent),
        Some(AttemptEnd::Done) => ("done", theme.good),
        Some(AttemptEnd::Reused) => ("reused", theme.good),
        Some(AttemptEnd::Failed(_)) => ("failed", theme.error),
        Some(AttemptEnd::Cancelled) => ("cancelled", theme.dim),
        Some(AttemptEnd::Paused) => ("paused", theme.warning),
    };
    let from = match attempt.from_bytes {
        Some(bytes) if bytes > 0 => format!(", from {}", size(bytes)),
        _ => String::new(),
    };
    let source = attempt
        .source
        .as_deref()
        .map(|source| format!(", {source}"))
        .unwrap_or_default();
    text.line(&[
        (&format!("  {:>2}  ", attempt.number), theme.dim),
        (&clock(attempt.began_ms, offset), theme.dim),
        (&format!("  {word}"), style),
        (&format!(" after {took}{from}{source}"), theme.text),
    ]);
    if let Some(AttemptEnd::Failed(failure)) = &attempt.end {
        text.wrapped(6, &failure.to_string(), theme.dim);
    }
}

fn lock(text: &mut Text, canvas: Canvas<'_>, lock: &LockRow) {
    let (theme, styles, view) = (&canvas.ui.theme, plain(canvas), canvas.view);
    let (sign, _) = words::lock_state(lock, canvas.glyphs, theme);
    text.field("kind", lock.kind.name(), styles);
    text.field("state", lock.state_name(), (theme.dim, sign.1));
    text.field("model", &lock.repo.to_string(), styles);
    if let Some(file) = &lock.file {
        text.field("file", file, styles);
    }
    if let Some(etag) = &lock.etag {
        text.field("blob", etag, styles);
    }
    let path = if lock.is_program() { "file" } else { "lock" };
    text.field(path, &view.facts.short_path(&lock.path), styles);
    let holder = match (lock.is_ours, &lock.program, lock.pid) {
        (true, _, Some(pid)) => Some(format!("this larder, process {pid}")),
        (true, _, None) => Some("this larder".to_owned()),
        (false, Some(program), Some(pid)) => Some(format!("{program}, process {pid}")),
        (false, Some(program), None) => Some(program.clone()),
        (false, None, Some(pid)) => Some(format!("process {pid}")),
        (false, None, None) => None,
    };
    if let Some(holder) = holder {
        let name = if lock.is_program() {
            "process"
        } else {
            "holder"
        };
        text.field(name, &holder, styles);
    }
    if let Some(command_line) = &lock.command_line {
        text.field("command", command_line, styles);
    }
    if let Some(since) = lock.since_ms {
        text.field("since", &words::ago(since, view.now_ms), styles);
    }
    text.blank();
    heading(text, canvas, "How that is known");
    text.wrapped(2, &lock.proof, theme.text);
    if lock.kind == LockKind::Hub && lock.state == LockState::Held {
        text.blank();
        heading(text, canvas, "Who waits for it");
        // hub.md 2.4.
        let words = "huggingface_hub and larder wait for as long as it takes; hf-hub 1.x and hfrs \
                     give up after 10 seconds.";
        text.wrapped(2, words, theme.text);
    }
}
