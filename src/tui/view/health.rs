//! Owns the pane of cache health: a summary, verifying as it goes on, and what is wrong.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;

use super::super::action::Action;
use super::super::pane::Pane;
use super::super::rows::Scene;
use super::super::update::View;
use super::super::{fit, words};
use super::text::Text;
use super::{Canvas, Cells, row_style, to_u16};
use crate::domain::{Finding, PlanStep, Rule};
use crate::store::{FindingGroup, Scope, count, counts_of};

/// Rows above the findings.
pub(super) fn head(pane: Pane, view: View<'_>) -> usize {
    match pane {
        Pane::Health => 1 + usize::from(view.store.shelf().verifying().is_some()),
        Pane::Models | Pane::Files | Pane::Locks | Pane::Log => 0,
    }
}

/// Title: how many findings, by severity.
pub(super) fn title(canvas: Canvas<'_>, scene: &Scene<'_>) -> String {
    let filter = canvas.ui.filter(Pane::Health);
    let findings: Vec<&Finding> = scene
        .findings
        .iter()
        .flat_map(|group| group.all.iter().copied())
        .collect();
    if !filter.is_empty() {
        return format!(
            "Health\u{0}{} of {} /{}",
            findings.len(),
            scene.findings_total,
            fit::clean(filter.text())
        );
    }
    if findings.is_empty() {
        return "Health".to_owned();
    }
    // As `status` and `doctor` count.
    format!("Health\u{0}{}", counts_of(&findings).words())
}

/// What is told of the selected finding below the rows: with its cause, where half the pane is left
/// for the rows.
pub(super) fn foot(canvas: Canvas<'_>, scene: &Scene<'_>, area: Rect) -> Text {
    let columns = usize::from(area.width).saturating_sub(2);
    let whole = foot_lines(canvas, scene, columns, true);
    if whole.len() * 2 <= usize::from(area.height) {
        return whole;
    }
    foot_lines(canvas, scene, columns, false)
}

fn foot_lines(canvas: Canvas<'_>, scene: &Scene<'_>, columns: usize, has_cause: bool) -> Text {
    let theme = &canvas.ui.theme;
    let mut text = Text::new(columns);
    let Some(group) = scene
        .finding_row(canvas.ui)
        .filter(|_| canvas.ui.focus == Pane::Health)
    else {
        return text;
    };
    let finding = group.first;
    let plan = words::group_plan(group);
    // A narrow row has no room for it, and every model has its `config.json`.
    let summary = words::group_summary(group);
    let summary = match &finding.repo {
        Some(repo) if !summary.contains(repo.name()) => format!("{repo}: {summary}"),
        Some(_) | None => summary,
    };
    text.wrapped(0, &summary, theme.text);
    if has_cause {
        text.wrapped(0, &finding.cause, theme.dim);
    }
    let key = |action| canvas.ui.keymap.key_of(action);
    let next = plan.steps.first().map(|step| match step {
        PlanStep::RemovePartial {
            is_superseded: true,
            ..
        } => format!(
            "the whole is here; `{}` takes this away and frees {}",
            key(Action::Fix),
            words::bytes(plan.freed_bytes())
        ),
        PlanStep::RemovePartial { .. } => {
            let it = if group.all.len() == 1 { "it" } else { "them" };
            format!(
                "`{}` goes on with {it}, `{}` takes {it} away and frees {}",
                key(Action::Retry),
                key(Action::Purge),
                words::bytes(plan.freed_bytes())
            )
        }
        PlanStep::Pull { .. } => format!("`{}` pulls it again, which heals it", key(Action::Retry)),
        PlanStep::Discard(discard) => format!(
            "`{}` takes it away, {}",
            key(Action::Purge),
            words::bytes(discard.bytes)
        ),
        PlanStep::Change(_) if finding.is_repaired() => format!(
            "`{}` puts it right, in {}, which `{}` shows",
            key(Action::Fix),
            count(plan.steps.len(), "step"),
            key(Action::Details)
        ),
        PlanStep::Change(_) => "its bytes may be good, so no repair takes them away".to_owned(),
        PlanStep::ByHand { advice } => advice.clone(),
    });
    if let Some(next) = next {
        text.wrapped(0, &next, theme.accent);
    }
    text
}

/// The rows.
pub(super) fn draw(buf: &mut Buffer, area: Rect, canvas: Canvas<'_>, scene: &Scene<'_>) {
    summary(buf, area, canvas, scene);
    let mut y = area.y + 1;
    if canvas.view.store.shelf().verifying().is_some() {
        verifying(
            buf,
            Rect {
                y,
                height: 1,
                ..area
            },
            canvas,
        );
        y += 1;
    }
    let below = foot(canvas, scene, area);
    let head = y - area.y;
    let taken = super::files::foot_rows(
        area.height.saturating_sub(head),
        scene.findings.len(),
        below.len(),
    );
    let bottom = area.bottom() - to_u16(taken);
    if taken > 0 {
        let rect = Rect {
            x: area.x + 1,
            y: area.bottom() - to_u16(below.len()),
            width: area.width.saturating_sub(2),
            height: to_u16(below.len()),
        };
        below.draw_in(buf, rect);
    }
    for (at, y) in (canvas.ui.health.offset..scene.findings.len()).zip(y..bottom) {
        let row = Rect {
            y,
            height: 1,
            ..area
        };
        row_of(
            buf,
            row,
            canvas,
            &scene.findings[at],
            at == canvas.ui.health.index,
        );
    }
}

/// What it is about, what is wrong, and of which model.
fn row_of(
    buf: &mut Buffer,
    area: Rect,
    canvas: Canvas<'_>,
    group: &FindingGroup<'_>,
    is_selected: bool,
) {
    let finding = group.first;
    let (theme, glyphs) = (&canvas.ui.theme, canvas.glyphs);
    buf.set_style(area, row_style(canvas, Pane::Health, is_selected));
    let mut cells = Cells::new(buf, area.y, area.x, area.right());
    let sign = words::severity_sign(finding.severity, glyphs, theme);
    cells.skip(1);
    cells.put(sign.0, sign.1);
    cells.skip(1);
    let model = finding
        .repo
        .as_ref()
        .map(|repo| words::split_name(repo.name()).1.to_owned())
        .unwrap_or_default();
    // Of several files of a model the model is what they have in common.
    let file = finding.file.clone().filter(|_| group.all.len() == 1);
    let is_file = file.is_some();
    let Some(subject) = file.or_else(|| (!model.is_empty()).then(|| model.clone())) else {
        cells.put_cut(&finding.summary, theme.text, glyphs.cut);
        return;
    };
    let unfinished = match group.all.len() {
        1 => "unfinished".to_owned(),
        many => format!("{many} unfinished"),
    };
    let what = match finding.rule {
        Rule::AbandonedPartial => {
            let bytes = words::bytes(words::group_plan(group).freed_bytes());
            format!("{unfinished} {bytes}")
        }
        rule => words::rule_word(rule).to_owned(),
    };
    let room = cells.room();
    // The model's name comes where there is room for all three.
    let model_room = if is_file && room >= 44 {
        let left = room.saturating_sub(fit::width(&subject) + fit::width(&what) + 3);
        left.clamp(WORDS_ROOM, room / 3).min(fit::width(&model)) + 2
    } else {
        0
    };
    let room = room.saturating_sub(model_room);
    let subject = fit::clean(&subject);
    let subject = if is_file {
        name_in(&subject, room.saturating_sub(1 + WORDS_ROOM))
    } else {
        &subject
    };
    // The name first: the words get what it leaves, and not less than can be read.
    let rest = room
        .saturating_sub(1 + fit::width(subject))
        .max(WORDS_ROOM.min(room));
    let what = match (finding.rule, &what) {
        (Rule::AbandonedPartial, what) if fit::width(what) > rest => &unfinished,
        (_, what) => what,
    };
    let what_room = fit::width(what).min(rest);
    let subject_room = room.saturating_sub(what_room + 1);
    let style = if is_selected {
        theme.text.add_modifier(Modifier::BOLD)
    } else {
        theme.text
    };
    if is_file {
        cells.left(subject, subject_room, style, glyphs.cut);
    } else {
        cells.left_middle(subject, subject_room, style, glyphs.cut);
    }
    cells.skip(1);
    cells.left(what, what_room, sign.1, glyphs.cut);
    if model_room > 0 {
        cells.skip(2);
        cells.left_middle(&fit::clean(&model), model_room - 2, theme.dim, glyphs.cut);
    }
}

/// Columns that a row leaves to what is wrong, however long the name is.
const WORDS_ROOM: usize = 10;

/// A name for so many columns: where a path does not fit, its last part tells most.
fn name_in(path: &str, columns: usize) -> &str {
    if fit::width(path) <= columns {
        return path;
    }
    words::split_name(path).1
}

/// How much there is, and when it was last proven.
fn summary(buf: &mut Buffer, area: Rect, canvas: Canvas<'_>, scene: &Scene<'_>) {
    let (theme, glyphs, shelf) = (&canvas.ui.theme, canvas.glyphs, canvas.view.store.shelf());
    let mut cells = Cells::new(buf, area.y, area.x, area.right());
    cells.skip(1);
    if let Some(failure) = shelf.trouble() {
        cells.put(glyphs.bad, theme.error);
        cells.skip(1);
        cells.put_cut(&failure.summary, theme.error, glyphs.cut);
        return;
    }
    let Some(models) = shelf.models() else {
        cells.put_cut("reading the cache", theme.dim, glyphs.cut);
        return;
    };
    let worst = scene
        .findings
        .iter()
        .map(|group| group.first.severity)
        .max();
    let sign = match worst {
        None => (glyphs.good, theme.good),
        Some(severity) => words::severity_sign(severity, glyphs, theme),
    };
    cells.put(sign.0, sign.1);
    cells.skip(1);
    let (proven, age) = proven_words(canvas);
    let dot = format!(" {} ", glyphs.dot);
    let many = count(models.len(), "model");
    let bytes = words::bytes(shelf.size_bytes());
    let texts = [
        [many.as_str(), &bytes, &format!("{proven}{age}")].join(&dot),
        [many.as_str(), &format!("{proven}{age}")].join(&dot),
    ];
    let fits = texts
        .into_iter()
        .find(|text| fit::width(text) <= cells.room());
    let text = fits.unwrap_or_else(|| [many.as_str(), &proven].join(&dot));
    cells.put_cut(&text, theme.dim, glyphs.cut);
}

/// How many models were found right, or at least hashed in this run, and when that was.
fn proven_words(canvas: Canvas<'_>) -> (String, String) {
    let shelf = canvas.view.store.shelf();
    let looked = shelf.looked_at(Scope::default());
    let age = |then: Option<u64>| {
        then.map(|then| format!(" {}", words::ago(then, canvas.view.now_ms)))
            .unwrap_or_default()
    };
    let of = |some: usize, word: &str| match looked.models {
        all if all == some => word.to_owned(),
        all => format!("{some} of {all} {word}"),
    };
    if looked.verified > 0 {
        return (of(looked.verified, "verified"), age(looked.verified_ms));
    }
    if looked.wrong > 0 {
        let words = match looked.models {
            1 => "wrong bytes".to_owned(),
            all => format!("{} of {all} wrong", looked.wrong),
        };
        return (words, age(looked.wrong_ms));
    }
    match shelf.hashed() {
        // What was hashed and is wrong was not found right.
        0 => ("not verified".to_owned(), String::new()),
        some => (of(some, "hashed"), age(shelf.last_verified_ms())),
    }
}

/// Verifying as it goes on.
fn verifying(buf: &mut Buffer, area: Rect, canvas: Canvas<'_>) {
    let (theme, glyphs, now_ms) = (&canvas.ui.theme, canvas.glyphs, canvas.view.now_ms);
    let Some(job) = canvas.view.store.shelf().verifying() else {
        return;
    };
    let mut cells = Cells::new(buf, area.y, area.x, area.right());
    cells.skip(1);
    cells.put(glyphs.spin(now_ms), theme.accent);
    cells.skip(1);
    let eta = job
        .eta_ms(now_ms)
        .map(|ms| format!(" {} {}", glyphs.dot, words::whole_seconds(ms)))
        .unwrap_or_default();
    let percent = words::percent(job.bytes_done, job.bytes_total);
    let tail = format!(" {percent}%{eta}");
    let width = cells
        .room()
        .saturating_sub(fit::width("verifying ") + fit::width(&tail))
        .min(20);
    cells.put("verifying ", theme.text);
    let (full, rest) = glyphs.bar(job.bytes_done, job.bytes_total, width);
    cells.put(&full, theme.bar);
    cells.put(&rest, theme.bar_rest);
    cells.put(&tail, theme.text);
}
