//! Owns the pane of the log.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::super::fit;
use super::super::pane::Pane;
use super::super::rows::Scene;
use super::super::theme::Theme;
use super::{Canvas, Cells, row_style};
use crate::store::{Level, LogLine};

/// Title: from which level on, and the filter.
pub(super) fn title(canvas: Canvas<'_>, scene: &Scene<'_>) -> String {
    let filter = canvas.ui.filter(Pane::Log);
    let mut rest = if canvas.ui.level == Level::Info {
        String::new()
    } else {
        canvas.ui.level.name().to_owned()
    };
    if !filter.is_empty() {
        let filter = fit::clean(filter.text());
        rest = format!("{rest} {} lines /{filter}", scene.lines.len());
    }
    if !canvas.ui.log.is_at_end && canvas.ui.focus == Pane::Log {
        rest.push_str(" held; G follows");
    }
    if rest.is_empty() {
        "Log".to_owned()
    } else {
        format!("Log\u{0}{}", rest.trim_start())
    }
}

/// The lines; in a strip the newest ones.
pub(super) fn draw(
    buf: &mut Buffer,
    area: Rect,
    canvas: Canvas<'_>,
    scene: &Scene<'_>,
    is_strip: bool,
) {
    let (ui, theme, glyphs) = (canvas.ui, &canvas.ui.theme, canvas.glyphs);
    let rows = usize::from(area.height);
    let first = if is_strip || ui.log.is_at_end {
        scene.lines.len().saturating_sub(rows)
    } else {
        ui.log.offset
    };
    for (at, y) in (first..scene.lines.len()).zip(area.y..area.bottom()) {
        let line = scene.lines[at];
        let is_selected = at == ui.log.index && !is_strip && ui.focus == Pane::Log;
        if is_selected {
            buf.set_style(
                Rect {
                    y,
                    height: 1,
                    ..area
                },
                row_style(canvas, Pane::Log, true),
            );
        }
        let mut cells = Cells::new(buf, y, area.x, area.right());
        cells.skip(1);
        if area.width >= 50 {
            let time = clock(line.at_ms, canvas.view.facts.utc_offset_s);
            cells.put(&time, theme.dim);
            cells.skip(1);
        }
        let text = canvas.view.facts.short_text(&line.text);
        cells.put_cut(&text, style_of(line, theme), glyphs.cut);
    }
}

fn style_of(line: &LogLine, theme: &Theme) -> Style {
    match line.level {
        _ if line.text.starts_with("$ ") => theme.accent,
        Level::Debug => theme.dim,
        Level::Info => theme.text,
        Level::Warning => theme.warning,
        Level::Error => theme.error,
    }
}

/// The time of day there.
pub(super) fn clock(at_ms: u64, utc_offset_s: i32) -> String {
    let seconds = i64::try_from(at_ms / 1_000).unwrap_or(0) + i64::from(utc_offset_s);
    let of_day = seconds.rem_euclid(86_400);
    format!(
        "{:02}:{:02}:{:02}",
        of_day / 3_600,
        of_day / 60 % 60,
        of_day % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_day_is_the_users() {
        assert_eq!(clock(0, 0), "00:00:00");
        assert_eq!(clock(86_399_000, 0), "23:59:59");
        assert_eq!(clock(0, -3_600), "23:00:00");
        assert_eq!(clock(1_795_485_600_000, 5 * 3_600 + 1_800), "07:30:00");
    }
}
