//! Owns the lines of the log pane and of plain output: a bounded ring with running numbers.
//!
//! Never writes to a file; never says when a line is shown.

use std::collections::VecDeque;

use crate::domain::{FileId, sanitize};

pub use crate::domain::Level;

/// Lines kept; older ones are dropped, their numbers are not used again.
const KEPT: usize = 2_000;

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// How much it matters.
    pub level: Level,
    /// The file it is about; `None` for the whole run.
    pub file: Option<FileId>,
    /// One line without control characters.
    pub text: String,
}

/// The lines, newest last.
#[derive(Clone, Debug, Default)]
pub struct Log {
    lines: VecDeque<LogLine>,
    /// How many lines were ever written: the number of the next one.
    written: u64,
}

impl Log {
    /// Adds a line; its text is made harmless here, whatever it was made from.
    pub(super) fn write(&mut self, at_ms: u64, level: Level, file: Option<FileId>, text: &str) {
        if self.lines.len() == KEPT {
            self.lines.pop_front();
        }
        self.lines.push_back(LogLine {
            at_ms,
            level,
            file,
            text: sanitize(text),
        });
        self.written += 1;
    }

    /// How many lines were ever written: what to ask [`Log::since`] for next time.
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// The lines from number `from` on that are still kept.
    pub fn since(&self, from: u64) -> impl Iterator<Item = &LogLine> {
        let dropped = self.written - self.lines.len() as u64;
        let skip = usize::try_from(from.saturating_sub(dropped)).unwrap_or(usize::MAX);
        self.lines.iter().skip(skip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_face_reads_each_line_once() {
        let mut log = Log::default();
        let mut seen = Vec::new();
        let mut from = 0;
        for round in 0..5 {
            for line in 0..round {
                log.write(round, Level::Info, None, &format!("{round}.{line}"));
            }
            seen.extend(log.since(from).map(|line| line.text.clone()));
            from = log.written();
        }
        assert_eq!(seen.len(), 10);
        assert_eq!(seen.last().map(String::as_str), Some("4.3"));
        assert_eq!(log.since(from).count(), 0);
    }

    #[test]
    fn the_ring_is_bounded_and_numbers_go_on() {
        let mut log = Log::default();
        for line in 0..KEPT as u64 + 10 {
            log.write(line, Level::Debug, None, &line.to_string());
        }
        assert_eq!(log.since(0).count(), KEPT);
        assert_eq!(log.since(0).next().unwrap().text, "10");
        assert_eq!(log.since(KEPT as u64 + 9).next().unwrap().at_ms, 2_009);
    }

    #[test]
    fn lines_cannot_command_a_terminal() {
        let mut log = Log::default();
        log.write(0, Level::Info, None, "a\u{1b}[2Jb\nc");
        assert_eq!(log.since(0).next().unwrap().text, "a\\x1b[2Jb c");
    }
}
