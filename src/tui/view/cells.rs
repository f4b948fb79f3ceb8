//! Owns writing into one row from left to right, never past its end.

use ratatui::buffer::Buffer;
use ratatui::style::Style;

use super::super::fit;

/// A row being written.
pub(super) struct Cells<'a> {
    buf: &'a mut Buffer,
    y: u16,
    x: u16,
    end: u16,
}

impl<'a> Cells<'a> {
    /// The cells from `x` to before `end` of row `y`.
    pub(super) fn new(buf: &'a mut Buffer, y: u16, x: u16, end: u16) -> Self {
        let end = end.min(buf.area.right());
        let is_inside = y < buf.area.bottom() && y >= buf.area.y;
        Self {
            buf,
            y,
            x,
            end: if is_inside { end } else { x.min(end) },
        }
    }

    /// Cells that are left.
    pub(super) fn room(&self) -> usize {
        usize::from(self.end.saturating_sub(self.x))
    }

    /// Where the next text goes.
    pub(super) const fn x(&self) -> u16 {
        self.x
    }

    /// Writes as much as fits. Control characters must be gone.
    pub(super) fn put(&mut self, text: &str, style: Style) {
        let room = self.room();
        if room == 0 || text.is_empty() {
            return;
        }
        let (x, _) = self.buf.set_stringn(self.x, self.y, text, room, style);
        self.x = x;
    }

    /// Writes the text, with a mark at its end where it does not fit.
    pub(super) fn put_cut(&mut self, text: &str, style: Style, mark: &str) {
        let room = self.room();
        let text = fit::end(text, room, mark);
        self.put(&text, style);
    }

    /// Writes into exactly `columns`, the rest blank.
    pub(super) fn left(&mut self, text: &str, columns: usize, style: Style, mark: &str) {
        let columns = columns.min(self.room());
        let shown = fit::end(text, columns, mark);
        let begin = self.x;
        self.put(&shown, style);
        self.x = begin.saturating_add(super::to_u16(columns)).min(self.end);
    }

    /// Writes into exactly `columns`, cut in the middle where it does not fit.
    pub(super) fn left_middle(&mut self, text: &str, columns: usize, style: Style, mark: &str) {
        let shown = fit::middle(text, columns.min(self.room()), mark);
        self.left(&shown, columns, style, mark);
    }

    /// Writes at the right end of exactly `columns`.
    pub(super) fn right(&mut self, text: &str, columns: usize, style: Style, mark: &str) {
        let columns = columns.min(self.room());
        let shown = fit::end(text, columns, mark);
        self.skip(columns - fit::width(&shown).min(columns));
        self.put(&shown, style);
    }

    /// Leaves cells blank.
    pub(super) fn skip(&mut self, columns: usize) {
        self.x = self.x.saturating_add(super::to_u16(columns)).min(self.end);
    }
}
