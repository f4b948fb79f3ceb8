//! Owns making foreign text harmless before it reaches a terminal or a log.
//!
//! **Law**: what comes out holds no control character, so no escape sequence survives.

/// Text from a server or a file name, with everything that a terminal could obey made visible.
///
/// Control characters, DEL and the C1 range become `\xNN`; characters that reorder or hide text
/// (bidirectional controls, zero-width marks, line and paragraph separators) become `\u{N}`.
/// Tabs and line breaks become single spaces.
pub fn sanitize(text: &str) -> String {
    use std::fmt::Write as _;

    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' => out.push(' '),
            c if c.is_control() => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}'
            | '\u{feff}'
            | '\u{e0000}'..='\u{e007f}' => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

/// [`sanitize`] for a message that must stay one short line: at most `limit` characters.
pub fn sanitize_line(text: &str, limit: usize) -> String {
    let clean = sanitize(text.trim());
    if clean.chars().count() <= limit {
        return clean;
    }
    let mut short: String = clean.chars().take(limit.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// A word as a POSIX shell takes it: as it is, or in quotes.
pub fn shell_word(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./@:+=,%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_become_visible_text() {
        assert_eq!(sanitize("a\u{1b}[31mred\u{7}"), "a\\x1b[31mred\\x07");
        assert_eq!(sanitize("x\u{9b}2J"), "x\\x9b2J");
        assert_eq!(
            sanitize("abc\u{202e}gpj.exe"),
            "abc\\u{202e}gpj.exe",
            "direction overrides must not hide an ending"
        );
        assert_eq!(sanitize("模型 🦙.json"), "模型 🦙.json");
    }

    #[test]
    fn long_lines_are_cut_with_a_mark() {
        assert_eq!(sanitize_line("  abcdef\n", 4), "abc…");
        assert_eq!(sanitize_line("abcd", 4), "abcd");
    }
}
