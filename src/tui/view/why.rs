//! Owns the details of a finding: what it rests on, how it came about, what would put it right.
//!
//! **Law**: what no key can do yet is said to be so.

use ratatui::style::Modifier;

use super::super::action::Action;
use super::super::words;
use super::Canvas;
use super::details::{exact, heading, plain};
use super::text::Text;
use crate::domain::{Change, Evidence, Plan, PlanStep, lost_name};
use crate::store::{FindingGroup, short, size};

/// All of it.
pub(super) fn lines(text: &mut Text, canvas: Canvas<'_>, group: &FindingGroup<'_>) {
    let finding = group.first;
    let (theme, glyphs, styles) = (&canvas.ui.theme, canvas.glyphs, plain(canvas));
    let facts = canvas.view.facts;
    let sign = words::severity_sign(finding.severity, glyphs, theme);
    let bold = theme.text.add_modifier(Modifier::BOLD);
    text.wrapped(0, &words::group_summary(group), bold);
    text.blank();
    text.field("severity", finding.severity.name(), (theme.dim, sign.1));
    if let Some(repo) = &finding.repo {
        let revision = finding
            .revision
            .as_deref()
            .map(|revision| format!(" @ {}", short(revision)))
            .unwrap_or_default();
        text.field("model", &format!("{repo}{revision}"), styles);
    }
    for file in group.all.iter().filter_map(|one| one.file.as_ref()) {
        text.field("file", file, styles);
    }
    let mut facts_seen = group.all.iter().flat_map(|one| &one.evidence).peekable();
    if facts_seen.peek().is_some() {
        text.blank();
        heading(text, canvas, "Evidence");
        for fact in facts_seen {
            text.wrapped(2, &facts.short_path(&fact.path), theme.text);
            let words = fact_words(fact);
            if !words.is_empty() {
                text.wrapped(4, &facts.short_text(&words), theme.dim);
            }
        }
    }
    text.blank();
    heading(text, canvas, "Likely cause");
    text.wrapped(2, &finding.cause, theme.text);
    text.blank();
    heading(text, canvas, "Plan");
    let plan = words::group_plan(group);
    let steps = &plan.steps;
    if steps.is_empty() {
        text.wrapped(2, "nothing to do", theme.dim);
    }
    let are_unfinished = steps.len() > 1 && plan.removals().count() == steps.len();
    if are_unfinished {
        unfinished_lines(text, canvas, &plan);
    }
    for (at, step) in steps.iter().enumerate().filter(|_| !are_unfinished) {
        let number = match steps.len() {
            1 => String::new(),
            _ => format!("{}. ", at + 1),
        };
        step_lines(text, canvas, &number, step);
    }
    let (freed, fetched) = (plan.freed_bytes(), plan.fetched_bytes());
    let sum = match (freed, fetched) {
        (0, 0) => None,
        (freed, 0) => Some(format!("frees {}", exact(freed))),
        (0, fetched) => Some(format!("fetches {}", exact(fetched))),
        (freed, fetched) => Some(format!(
            "frees {}, fetches {}",
            exact(freed),
            exact(fetched)
        )),
    };
    if let Some(sum) = sum.filter(|_| steps.len() > 1 && !are_unfinished) {
        text.wrapped(2, &sum, theme.dim);
    }
    if words::can_act(Some(finding), Action::Fix) {
        let key = canvas.ui.keymap.key_of(Action::Fix);
        text.wrapped(
            2,
            &format!("`{key}` carries it out, and asks first"),
            theme.accent,
        );
    } else if let Some(why) = words::not_yet(finding) {
        text.wrapped(2, why, theme.warning);
    }
}

fn fact_words(fact: &Evidence) -> String {
    let bytes = match (fact.bytes, fact.expected_bytes) {
        (Some(bytes), Some(of)) if of < 1_000 => format!("{bytes} of {of} bytes"),
        (Some(bytes), Some(of)) => {
            format!("{} of {} ({bytes} of {of} bytes)", size(bytes), size(of))
        }
        (Some(bytes), None) => exact(bytes),
        (None, Some(of)) => format!("nothing, should be {}", exact(of)),
        (None, None) => return fact.seen.clone(),
    };
    if fact.seen.is_empty() {
        bytes
    } else {
        format!("{bytes}; {}", fact.seen)
    }
}

/// Unfinished blobs of one model: what is done with all of them, and each with its bytes.
fn unfinished_lines(text: &mut Text, canvas: Canvas<'_>, plan: &Plan) {
    let theme = &canvas.ui.theme;
    let key = |action| canvas.ui.keymap.key_of(action);
    let words = format!(
        "`{}` takes these away, {}; `{}` pulls the model and goes on with them",
        key(Action::Purge),
        exact(plan.freed_bytes()),
        key(Action::Retry),
    );
    text.wrapped(2, &words, theme.text);
    for (path, bytes) in plan.removals() {
        let words = format!("{}, {}", canvas.view.facts.short_path(path), size(bytes));
        text.wrapped(5, &words, theme.dim);
    }
}

/// A step: what is done, which key does it, and every path on a line of its own.
fn step_lines(text: &mut Text, canvas: Canvas<'_>, number: &str, step: &PlanStep) {
    let theme = &canvas.ui.theme;
    let key = |action| canvas.ui.keymap.key_of(action);
    let facts = canvas.view.facts;
    let (words, paths): (String, Vec<&str>) = match step {
        PlanStep::RemovePartial {
            path,
            bytes,
            map,
            is_superseded,
            ..
        } => {
            let mut words = format!("`{}` takes this away, {}", key(Action::Purge), size(*bytes));
            if !is_superseded {
                let retry = key(Action::Retry);
                words = format!("{words}; `{retry}` pulls the model and goes on with it");
            }
            let map = map.as_deref();
            (words, std::iter::once(path.as_str()).chain(map).collect())
        }
        PlanStep::Discard(discard) => {
            let words = format!("`{}` takes this away", key(Action::Purge));
            let paths = discard.paths.iter().map(|path| path.path.as_str());
            (words, paths.collect())
        }
        PlanStep::Pull {
            repo,
            revision,
            files,
            fetch_bytes,
        } => {
            let named = match files.as_slice() {
                [] => String::new(),
                files => format!("`{}` of ", files.join("`, `")),
            };
            let bytes = fetch_bytes
                .map(|bytes| format!(", fetches {}", exact(bytes)))
                .unwrap_or_default();
            let words = format!(
                "`{}` pulls {named}{repo}@{}{bytes}: what is right is reused, what is wrong is replaced \
                 once the right bytes are proven",
                key(Action::Retry),
                short(revision)
            );
            (words, Vec::new())
        }
        PlanStep::Change(change) => change_words(change),
        PlanStep::ByHand { advice } => (format!("by hand: {advice}"), Vec::new()),
    };
    text.wrapped(
        2,
        &format!("{number}{}", facts.short_text(&words)),
        theme.text,
    );
    for path in paths {
        text.wrapped(5, &facts.short_path(path), theme.dim);
    }
}

/// What a change does, and the paths it is about.
fn change_words(change: &Change) -> (String, Vec<&str>) {
    match change {
        Change::Remove { path, bytes: 0 } => ("remove this".to_owned(), vec![path]),
        Change::Remove { path, bytes } => (format!("remove this, {}", size(*bytes)), vec![path]),
        Change::RemoveCopy {
            path,
            bytes,
            revision,
            file,
        } => (
            format!(
                "remove this copy, {}, once `{file}` of {} is proven to hold these bytes",
                size(*bytes),
                short(revision)
            ),
            vec![path],
        ),
        Change::DropRef {
            path,
            repo,
            revision,
            holds,
        } => (
            format!(
                "if the Hub knows no {}, remove this ref; {repo} cannot be looked up by `{revision}` \
                 offline after that",
                lost_name(revision, holds)
            ),
            vec![path],
        ),
        Change::Move { from, to, bytes } => (
            format!("move this to that, {}", size(*bytes)),
            vec![from, to],
        ),
        Change::Write { path, text } => {
            (format!("write `{}` into this", text.trim_end()), vec![path])
        }
        Change::Link { path, target } => (format!("make this a pointer to `{target}`"), vec![path]),
        Change::Share { path, with, bytes } => (
            format!("let this share the bytes of that, frees {}", size(*bytes)),
            vec![path, with],
        ),
        Change::Place {
            path,
            from,
            bytes,
            aside,
        } => (
            format!(
                "put the bytes of this, {}, in the place of the next, once they are proven \
                     there; what lies there gets the last name, and goes if it is a link, empty, a \
                     web page, an LFS pointer or the start of the right bytes; anything else is kept \
                     in the model's `.cache/huggingface/larder/aside`",
                size(*bytes)
            ),
            vec![from, path, aside],
        ),
        Change::Note {
            path, file, etag, ..
        } => (
            format!("write into this that the next is {etag}, once it is proven"),
            vec![path, file],
        ),
    }
}
