//! Owns text of several lines: fields, broken lines, failures, inside panes and boxes.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::super::ui::Overlay;
use super::super::{fit, remedy};
use super::{Canvas, Cells};
use crate::domain::Failure;

/// Lines of styled text of at most so many columns.
pub(super) struct Text {
    /// Columns its lines may take.
    pub(super) columns: usize,
    lines: Vec<Vec<(String, Style)>>,
}

impl Text {
    /// No lines yet.
    pub(super) const fn new(columns: usize) -> Self {
        Self {
            columns,
            lines: Vec::new(),
        }
    }

    /// A line as it is.
    pub(super) fn line(&mut self, parts: &[(&str, Style)]) {
        self.lines.push(
            parts
                .iter()
                .map(|(text, style)| (fit::clean(text).into_owned(), *style))
                .collect(),
        );
    }

    /// An empty line.
    pub(super) fn blank(&mut self) {
        self.lines.push(Vec::new());
    }

    /// A text, broken where it must be, below an indent.
    pub(super) fn wrapped(&mut self, indent: usize, text: &str, style: Style) {
        let room = self.columns.saturating_sub(indent).max(8);
        for line in fit::wrap(&fit::clean(text), room) {
            self.lines
                .push(vec![(format!("{}{line}", " ".repeat(indent)), style)]);
        }
    }

    /// `label  value`, the value broken below itself.
    pub(super) fn field(&mut self, label: &str, value: &str, styles: (Style, Style)) {
        const LABEL: usize = 11;
        let room = self.columns.saturating_sub(LABEL).max(8);
        for (at, line) in fit::wrap(&fit::clean(value), room).into_iter().enumerate() {
            let head = if at == 0 { label } else { "" };
            self.lines.push(vec![
                (format!("{head:<LABEL$}"), styles.0),
                (line, styles.1),
            ]);
        }
    }

    /// How many lines there are.
    pub(super) const fn len(&self) -> usize {
        self.lines.len()
    }

    /// Draws it from its first line on.
    pub(super) fn draw_in(&self, buf: &mut Buffer, area: Rect) {
        self.draw(buf, area, 0);
    }

    /// Draws it from a line on.
    pub(super) fn draw(&self, buf: &mut Buffer, area: Rect, scroll: usize) {
        for (line, y) in self.lines.iter().skip(scroll).zip(area.y..area.bottom()) {
            let mut cells = Cells::new(buf, y, area.x, area.right());
            for (text, style) in line {
                cells.put(text, *style);
            }
        }
    }
}

/// What failed, why, and what to do next.
pub(super) fn failure_lines(text: &mut Text, canvas: Canvas<'_>, failure: &Failure, repo: &str) {
    // While a model is added there is no pull that could be retried.
    let is_plan = matches!(canvas.ui.overlay, Some(Overlay::Add(_)));
    let theme = &canvas.ui.theme;
    let what = match (&failure.path, failure.summary.as_str()) {
        (Some(path), summary) if !summary.contains(path.as_str()) => {
            format!("{summary} ({})", canvas.view.facts.short_path(path))
        }
        (_, summary) => summary.to_owned(),
    };
    text.field(
        "failed",
        &format!("{}: {what}", failure.code),
        (theme.error, theme.error),
    );
    text.field("why", &remedy::why(failure), (theme.dim, theme.text));
    text.field(
        "next",
        &remedy::next(failure, repo, &canvas.ui.keymap, is_plan),
        (theme.dim, theme.accent),
    );
}

/// The failures of a pull inside a pane.
pub(super) fn failures(
    buf: &mut Buffer,
    area: Rect,
    canvas: Canvas<'_>,
    failures: &[&Failure],
    repo: &str,
) {
    let theme = &canvas.ui.theme;
    let columns = usize::from(area.width).saturating_sub(2);
    let mut text = Text::new(columns);
    if failures.is_empty() {
        text.wrapped(0, "cancelled; what is here is resumed next time", theme.dim);
    }
    for failure in failures.iter().take(5) {
        failure_lines(&mut text, canvas, failure, repo);
        text.blank();
    }
    if failures.len() > 5 {
        let more = format!("and {} more", failures.len() - 5);
        text.wrapped(0, &more, theme.dim);
    }
    if let Some(log_file) = &canvas.view.facts.log_file {
        text.field(
            "log",
            &canvas.view.facts.short_path(log_file),
            (theme.dim, theme.dim),
        );
    }
    let inner = Rect {
        x: area.x + 1,
        width: area.width.saturating_sub(2),
        ..area
    };
    text.draw(buf, inner, 0);
}

/// A text inside a pane.
pub(super) fn paragraph(buf: &mut Buffer, area: Rect, words: &str, style: Style) {
    let mut text = Text::new(usize::from(area.width).saturating_sub(2));
    text.wrapped(0, words, style);
    let inner = Rect {
        x: area.x + 1,
        width: area.width.saturating_sub(2),
        ..area
    };
    text.draw(buf, inner, 0);
}
