//! Owns the pane of cache health: a summary, verifying as it goes on, and what is wrong.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;

use super::super::pane::Pane;
use super::super::rows::Scene;
use super::super::update::View;
use super::super::{fit, words};
use super::{Canvas, Cells, row_style};
use crate::domain::{Rule, Severity};
use crate::store::count;

/// Rows above the findings.
pub(super) fn head(pane: Pane, view: View<'_>) -> usize {
    match pane {
        Pane::Health => 1 + usize::from(view.store.shelf().verifying().is_some()),
        Pane::Models | Pane::Files | Pane::Locks | Pane::Log => 0,
    }
}

/// Title: how many problems.
pub(super) fn title(canvas: Canvas<'_>, scene: &Scene<'_>) -> String {
    let filter = canvas.ui.filter(Pane::Health);
    let problems = scene
        .findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .count();
    if !filter.is_empty() {
        return format!(
            "Health\u{0}{} of {} /{}",
            scene.findings.len(),
            scene.findings_total,
            fit::clean(filter.text())
        );
    }
    match (scene.findings_total, problems) {
        (0, _) => "Health".to_owned(),
        (total, 0) => format!("Health\u{0}{}", count(total, "finding")),
        (total, problems) if total == problems => {
            format!("Health\u{0}{}", count(problems, "problem"))
        }
        (total, problems) => {
            format!("Health\u{0}{} of {total}", count(problems, "problem"))
        }
    }
}

/// The rows.
pub(super) fn draw(buf: &mut Buffer, area: Rect, canvas: Canvas<'_>, scene: &Scene<'_>) {
    let (ui, theme, glyphs) = (canvas.ui, &canvas.ui.theme, canvas.glyphs);
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
    for (at, y) in (ui.health.offset..scene.findings.len()).zip(y..area.bottom()) {
        let finding = scene.findings[at];
        let is_selected = at == ui.health.index;
        let style = row_style(canvas, Pane::Health, is_selected);
        buf.set_style(
            Rect {
                y,
                height: 1,
                ..area
            },
            style,
        );
        let mut cells = Cells::new(buf, y, area.x, area.right());
        let sign = words::severity_sign(finding.severity, glyphs, theme);
        cells.skip(1);
        cells.put(sign.0, sign.1);
        cells.skip(1);
        let repo = finding
            .repo
            .as_ref()
            .map(|repo| words::split_name(repo.name()).1.to_owned())
            .unwrap_or_default();
        let bytes = match finding.rule {
            Rule::AbandonedPartial => words::bytes(finding.reclaimable_bytes()),
            _ => String::new(),
        };
        let tail = if bytes.is_empty() {
            0
        } else {
            fit::width(&bytes) + 1
        };
        let room = cells.room().saturating_sub(tail);
        let text = format!("{}  {}", finding.summary, fit::clean(&repo));
        let style = if is_selected {
            theme.text.add_modifier(Modifier::BOLD)
        } else {
            theme.text
        };
        cells.left(&text, room, style, glyphs.cut);
        if tail > 0 {
            cells.skip(1);
            cells.right(&bytes, tail - 1, theme.dim, glyphs.cut);
        }
    }
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
    let worst = scene.findings.iter().map(|finding| finding.severity).max();
    let sign = match worst {
        None => (glyphs.good, theme.good),
        Some(severity) => words::severity_sign(severity, glyphs, theme),
    };
    cells.put(sign.0, sign.1);
    cells.skip(1);
    let verified = match shelf.last_verified_ms() {
        Some(then) => format!("verified {}", words::ago(then, canvas.view.now_ms)),
        None => "not verified in this run".to_owned(),
    };
    let dot = glyphs.dot;
    let text = format!(
        "{} {dot} {} {dot} {verified}",
        count(models.len(), "model"),
        words::bytes(shelf.size_bytes())
    );
    cells.put_cut(&text, theme.dim, glyphs.cut);
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
