//! Owns making text fit: cut by columns, never through a character, never with a control character.

use std::borrow::Cow;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::domain::sanitize;

/// Columns that a text takes.
pub(super) fn width(text: &str) -> usize {
    text.width()
}

/// Foreign text made harmless; borrowed where it already is.
pub(super) fn clean(text: &str) -> Cow<'_, str> {
    // Most names are plain: look before copying.
    if text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(sanitize(text))
    }
}

/// The text in at most `columns`, with `mark` at its end where something was cut off.
pub(super) fn end<'a>(text: &'a str, columns: usize, mark: &str) -> Cow<'a, str> {
    if text.width() <= columns {
        return Cow::Borrowed(text);
    }
    let room = columns.saturating_sub(mark.width());
    let mut short = head(text, room).to_owned();
    if columns >= mark.width() {
        short.push_str(mark);
    }
    Cow::Owned(short)
}

/// The text in at most `columns`, cut in its middle: of names and paths both ends tell most.
pub(super) fn middle<'a>(text: &'a str, columns: usize, mark: &str) -> Cow<'a, str> {
    if text.width() <= columns {
        return Cow::Borrowed(text);
    }
    if columns < 8 {
        return end(text, columns, mark);
    }
    let room = columns - mark.width();
    let first = head(text, room.div_ceil(2));
    let last = tail(text, room - first.width());
    Cow::Owned(format!("{first}{mark}{last}"))
}

/// The first characters that take at most `columns`.
fn head(text: &str, columns: usize) -> &str {
    let mut taken = 0;
    for (at, c) in text.char_indices() {
        taken += c.width().unwrap_or(0);
        if taken > columns {
            return &text[..at];
        }
    }
    text
}

/// The last characters that take at most `columns`.
fn tail(text: &str, columns: usize) -> &str {
    let mut taken = 0;
    for (at, c) in text.char_indices().rev() {
        taken += c.width().unwrap_or(0);
        if taken > columns {
            return &text[at + c.len_utf8()..];
        }
    }
    text
}

/// Lines of at most `columns`, broken at blanks; a word that is longer is broken where it must be.
pub(super) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(1);
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        let mut word = word;
        loop {
            let gap = usize::from(!line.is_empty());
            if line.width() + gap + word.width() <= columns {
                if gap == 1 {
                    line.push(' ');
                }
                line.push_str(word);
                break;
            }
            if !line.is_empty() {
                lines.push(std::mem::take(&mut line));
                continue;
            }
            let part = head(word, columns);
            // A character wider than the whole line must not hang the loop.
            let part = if part.is_empty() {
                word.chars().next().map_or(word, |c| &word[..c.len_utf8()])
            } else {
                part
            };
            lines.push(part.to_owned());
            word = &word[part.len()..];
            if word.is_empty() {
                break;
            }
        }
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_characters_are_not_cut_in_two() {
        assert_eq!(end("模型模型", 5, "…"), "模型…");
        assert_eq!(end("模型", 4, "…"), "模型");
        assert_eq!(end("abc", 0, "…"), "");
        let both = middle("model-00001-of-00042.safetensors", 20, "…");
        assert_eq!(both, "model-0000…fetensors");
        assert!(width(&middle("模型/🦙🦙🦙🦙🦙🦙🦙.json", 11, "…")) <= 11);
    }

    #[test]
    fn lines_break_at_blanks_and_long_words_where_they_must() {
        assert_eq!(wrap("one two three", 8), ["one two", "three"]);
        assert_eq!(wrap("abcdefghij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(wrap("a abcdefghij", 4), ["a", "abcd", "efgh", "ij"]);
        assert_eq!(wrap("", 4), [""]);
        assert_eq!(wrap("模型", 1), ["模", "型"]);
    }

    #[test]
    fn plain_names_are_not_copied() {
        assert!(matches!(clean("config.json"), Cow::Borrowed(_)));
        assert_eq!(clean("a\u{1b}b"), "a\\x1bb");
    }
}
