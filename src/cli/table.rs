//! Owns columns: aligned by what a terminal shows, cut only where there is one.

use unicode_width::UnicodeWidthStr as _;

use crate::domain::sanitize;

/// Blanks between columns.
const GAP: usize = 2;

/// Rows with a header. Cells are made harmless when they come in.
pub(super) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

struct Column {
    title: &'static str,
    is_right: bool,
    /// The width below which it is not cut; `None` where it is never cut.
    least: Option<usize>,
}

impl Table {
    /// No columns yet.
    pub(super) const fn new() -> Self {
        Self {
            columns: Vec::new(),
            rows: Vec::new(),
        }
    }

    /// Adds a column that is never cut.
    pub(super) fn column(mut self, title: &'static str) -> Self {
        self.columns.push(Column {
            title,
            is_right: false,
            least: None,
        });
        self
    }

    /// Adds a column of numbers.
    pub(super) fn numbers(mut self, title: &'static str) -> Self {
        self = self.column(title);
        if let Some(column) = self.columns.last_mut() {
            column.is_right = true;
        }
        self
    }

    /// Adds a column that gives way on a narrow terminal, the first such column first.
    pub(super) fn flexible(mut self, title: &'static str, least: usize) -> Self {
        self = self.column(title);
        if let Some(column) = self.columns.last_mut() {
            column.least = Some(least);
        }
        self
    }

    /// Adds a row of as many cells as there are columns.
    pub(super) fn row(&mut self, cells: &[String]) {
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows
            .push(cells.iter().map(|cell| sanitize(cell)).collect());
    }

    /// The lines, header first; none is wider than `limit` as far as flexible columns allow.
    pub(super) fn render(&self, limit: Option<u16>) -> String {
        let widths = self.widths(limit.map(usize::from));
        let titles: Vec<String> = self
            .columns
            .iter()
            .map(|column| column.title.to_owned())
            .collect();
        let mut text = String::new();
        for cells in std::iter::once(&titles).chain(&self.rows) {
            let mut line = String::new();
            for ((cell, column), &width) in cells.iter().zip(&self.columns).zip(&widths) {
                if !line.is_empty() {
                    line.push_str(&" ".repeat(GAP));
                }
                let cell = cut(cell, width);
                let blanks = " ".repeat(width.saturating_sub(cell.width()));
                if column.is_right {
                    line.push_str(&blanks);
                    line.push_str(&cell);
                } else {
                    line.push_str(&cell);
                    line.push_str(&blanks);
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    fn widths(&self, limit: Option<usize>) -> Vec<usize> {
        let mut widths: Vec<usize> = self
            .columns
            .iter()
            .enumerate()
            .map(|(at, column)| {
                self.rows
                    .iter()
                    .filter_map(|cells| cells.get(at))
                    .map(|cell| cell.width())
                    .chain([column.title.width()])
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        if let Some(limit) = limit {
            let gaps = GAP * widths.len().saturating_sub(1);
            let mut excess = (widths.iter().sum::<usize>() + gaps).saturating_sub(limit);
            for (width, column) in widths.iter_mut().zip(&self.columns) {
                if let Some(least) = column.least {
                    let give = excess.min(width.saturating_sub(least));
                    *width -= give;
                    excess -= give;
                }
            }
        }
        widths
    }
}

/// `text` in at most `width` columns, with `…` where something is missing.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut short = String::new();
    for c in text.chars() {
        short.push(c);
        // Measured as a whole: some characters change the width of the one before.
        if short.width() + 1 > width {
            short.pop();
            break;
        }
    }
    if width > 0 {
        short.push('…');
    }
    short
}

/// [`cut`], filled up with blanks to exactly `width` columns.
pub(super) fn fit(text: &str, width: usize) -> String {
    let mut text = cut(text, width);
    let blanks = width.saturating_sub(text.width());
    text.push_str(&" ".repeat(blanks));
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn wide_characters_count_as_two_columns() {
        assert_eq!(cut("模型模型", 5), "模型…");
        assert_eq!(cut("模型模型", 8), "模型模型");
        assert_eq!(fit("🦙", 4), "🦙  ");
        assert_eq!(cut("abc", 0), "");
    }

    proptest! {
        #[test]
        fn nothing_is_wider_than_asked(text in "\\PC{0,60}", width in 0..40usize) {
            prop_assert!(cut(&text, width).width() <= width);
            prop_assert_eq!(fit("abc", width).width(), width);
        }

        #[test]
        fn flexible_tables_keep_the_limit(names in prop::collection::vec("\\PC{0,120}", 0..6), limit in 30..100u16) {
            let mut table = Table::new().flexible("NAME", 8).numbers("SIZE").flexible("STATE", 5);
            for name in names {
                table.row(&[name.clone(), "1.35 GB".to_owned(), name]);
            }
            for line in table.render(Some(limit)).lines() {
                prop_assert!(line.width() <= usize::from(limit), "{:?}", line);
            }
        }
    }
}
