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
    /// Whether its end tells as much as its beginning: it is cut in the middle.
    is_name: bool,
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
            is_name: false,
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

    /// Adds a column of names, which gives way on a narrow terminal: names that begin alike end apart.
    pub(super) fn names(mut self, title: &'static str, least: usize) -> Self {
        self = self.flexible(title, least);
        if let Some(column) = self.columns.last_mut() {
            column.is_name = true;
        }
        self
    }

    /// Adds a column that gives way on a narrow terminal, the widest such column first.
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
                let cell = if column.is_name {
                    cut_middle(cell, width)
                } else {
                    cut(cell, width)
                };
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
            while excess > 0 {
                let gives = |(width, column): &(&mut usize, &Column)| {
                    column.least.is_some_and(|least| **width > least)
                };
                let pairs = widths.iter_mut().zip(&self.columns);
                let Some((width, _)) = pairs.filter(gives).max_by_key(|(width, _)| **width) else {
                    break;
                };
                *width -= 1;
                excess -= 1;
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

/// `text` in at most `width` columns, with `…` in its middle where something is missing.
pub(super) fn cut_middle(text: &str, width: usize) -> String {
    if text.width() <= width || width < 3 {
        return cut(text, width);
    }
    let room = (width - 1) / 2;
    let mut end = String::new();
    for c in text.chars().rev() {
        end.insert(0, c);
        if end.width() > room {
            end.remove(0);
            break;
        }
    }
    // The sign that something is missing is the beginning's.
    cut(text, width - end.width()) + &end
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
    fn names_that_end_apart_are_told_apart_and_the_widest_gives_way_first() {
        let mut table = Table::new()
            .names("REPO", 10)
            .names("CACHE", 9)
            .column("STATE");
        let cache = "hub /Volumes/models/of/somebody/huggingface/hub";
        for bits in ["4bit", "8bit"] {
            let repo = format!("mlx-community/Qwen3-30B-A3B-Instruct-2507-{bits}");
            table.row(&[repo, cache.to_owned(), "complete".to_owned()]);
        }
        let text = table.render(Some(80));
        assert!(text.lines().all(|line| line.width() <= 80), "{text}");
        for words in ["-4bit ", "-8bit ", "/hub  complete"] {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert_eq!(cut_middle("abcdefgh", 5), "ab…gh");
        assert_eq!(cut_middle("a很长的名字", 6), "a很…字");
    }

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
