//! Owns how a command speaks: format, loudness, what the two streams can show.
//!
//! Never reads the environment itself; `supports-color` does so for colours, by their rules.

use std::io::IsTerminal as _;

use super::args::{ColorChoice, Globals};

/// What goes to stdout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Paths and tables.
    #[default]
    Human,
    /// One document at the end.
    Json,
    /// One object per event, then the document.
    Events,
}

/// What one stream leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terminal {
    /// Columns; `None` where it is no terminal, and nothing is cut.
    pub columns: Option<u16>,
    /// Lines; `None` where it is no terminal.
    pub rows: Option<u16>,
    /// Whether colour may be used.
    pub has_color: bool,
}

/// How a command speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// What goes to stdout.
    pub format: Format,
    /// Nothing but failures on stderr.
    pub is_quiet: bool,
    /// How often `-v` was given.
    pub verbose: u8,
    /// Bars on stderr in the place of lines.
    pub has_bars: bool,
    /// Only ASCII is drawn.
    pub is_ascii: bool,
    /// Whether a dashboard can be drawn and steered.
    pub has_screen: bool,
    /// Whether somebody can be asked: stdin and stderr are terminals, and no program reads along.
    pub can_ask: bool,
    /// Standard output.
    pub stdout: Terminal,
    /// Standard error.
    pub stderr: Terminal,
}

/// Columns of a terminal that does not say.
pub(super) const DEFAULT_COLUMNS: u16 = 80;
/// Lines of a terminal that does not say.
pub(super) const DEFAULT_ROWS: u16 = 24;

impl Output {
    /// Looks at the streams; `is_dumb` says that `TERM` is `dumb`.
    pub fn detect(globals: &Globals, is_dumb: bool) -> Self {
        let terminal = |is_terminal: bool, stream: supports_color::Stream, size| {
            let (columns, rows) = match size {
                Some((terminal_size::Width(w), terminal_size::Height(h))) if w > 0 => (w, h),
                _ => (DEFAULT_COLUMNS, DEFAULT_ROWS),
            };
            Terminal {
                columns: is_terminal.then_some(columns),
                rows: is_terminal.then_some(rows),
                has_color: match globals.color {
                    ColorChoice::Always => true,
                    ColorChoice::Never => false,
                    ColorChoice::Auto => supports_color::on(stream).is_some(),
                },
            }
        };
        let (stdout, stderr) = (std::io::stdout(), std::io::stderr());
        let has_keyboard = std::io::stdin().is_terminal();
        let format = match (globals.json, globals.events) {
            (_, true) => Format::Events,
            (true, false) => Format::Json,
            (false, false) => Format::Human,
        };
        let stderr_terminal = terminal(
            stderr.is_terminal(),
            supports_color::Stream::Stderr,
            terminal_size::terminal_size_of(&stderr),
        );
        Self {
            format,
            is_quiet: globals.quiet,
            verbose: globals.verbose,
            has_bars: stderr_terminal.columns.is_some()
                && !globals.plain
                && !globals.quiet
                && !is_dumb,
            is_ascii: globals.ascii,
            has_screen: stdout.is_terminal()
                && has_keyboard
                && format == Format::Human
                && !globals.plain
                && !is_dumb,
            can_ask: stderr.is_terminal() && has_keyboard && format == Format::Human,
            stdout: terminal(
                stdout.is_terminal(),
                supports_color::Stream::Stdout,
                terminal_size::terminal_size_of(&stdout),
            ),
            stderr: stderr_terminal,
        }
    }
}

impl Output {
    /// A text as it may be drawn: where only ASCII is, the signs of larder's own are replaced by
    /// others of the same width. Names stay as they are.
    pub(super) fn drawn(&self, text: &str) -> String {
        if !self.is_ascii {
            return text.to_owned();
        }
        text.chars()
            .map(|c| match c {
                '…' => '~',
                '·' => '-',
                '→' => '>',
                '█' => '#',
                '░' => '.',
                c => c,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_decide_format_and_colour() {
        let mut globals = Globals {
            json: true,
            ..Globals::default()
        };
        assert_eq!(Output::detect(&globals, false).format, Format::Json);
        globals.events = true;
        globals.color = ColorChoice::Always;
        let output = Output::detect(&globals, false);
        assert_eq!(output.format, Format::Events);
        assert!(output.stdout.has_color && output.stderr.has_color);
        globals.color = ColorChoice::Never;
        assert!(!Output::detect(&globals, false).stdout.has_color);
        for (plain, quiet, is_dumb) in [
            (true, false, false),
            (false, true, false),
            (false, false, true),
        ] {
            globals.plain = plain;
            globals.quiet = quiet;
            let output = Output::detect(&globals, is_dumb);
            assert!(!output.has_bars && !output.has_screen);
        }
    }
}
