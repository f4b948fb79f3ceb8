//! Owns the signs that are drawn: a set for terminals with Unicode, a set in plain ASCII.
//!
//! Never an emoji and nothing that needs a special font: widths of those differ by terminal.

use ratatui::symbols::border;

/// The signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Glyphs {
    /// Done, right.
    pub good: &'static str,
    /// Failed, wrong.
    pub bad: &'static str,
    /// A warning, a finding.
    pub alert: &'static str,
    /// Worth knowing.
    pub note: &'static str,
    /// Waiting for its turn.
    pub queued: &'static str,
    /// Waiting for somebody.
    pub waiting: &'static str,
    /// Paused.
    pub paused: &'static str,
    /// A lock that is held.
    pub held: &'static str,
    /// A lock that is free.
    pub free: &'static str,
    /// A marked row.
    pub mark: &'static str,
    /// Something was cut off.
    pub cut: &'static str,
    /// Between parts of a line.
    pub dot: &'static str,
    /// Leads to.
    pub arrow: &'static str,
    /// The full part of a bar.
    pub bar: &'static str,
    /// The empty part of a bar.
    pub bar_rest: &'static str,
    /// Where the visible part of a long list is.
    pub thumb: &'static str,
    /// Steps of something that goes on.
    pub spinner: &'static [&'static str],
    /// Lines around panes.
    pub border: border::Set<'static>,
    /// Whether it is plain ASCII.
    pub is_ascii: bool,
}

static UNICODE: Glyphs = Glyphs {
    good: "✓",
    bad: "✗",
    alert: "!",
    note: "·",
    queued: "·",
    waiting: "…",
    paused: "=",
    held: "●",
    free: "○",
    mark: "▌",
    cut: "…",
    dot: "·",
    arrow: "→",
    bar: "█",
    bar_rest: "░",
    thumb: "┃",
    spinner: &["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"],
    border: border::PLAIN,
    is_ascii: false,
};

static ASCII: Glyphs = Glyphs {
    good: "v",
    bad: "x",
    alert: "!",
    note: "-",
    queued: ".",
    waiting: "~",
    paused: "=",
    held: "*",
    free: "o",
    mark: ">",
    cut: "~",
    dot: "-",
    arrow: "->",
    bar: "#",
    bar_rest: ".",
    thumb: "#",
    spinner: &["/", "-", "\\", "-"],
    border: border::Set {
        top_left: "+",
        top_right: "+",
        bottom_left: "+",
        bottom_right: "+",
        vertical_left: "|",
        vertical_right: "|",
        horizontal_top: "-",
        horizontal_bottom: "-",
    },
    is_ascii: true,
};

impl Glyphs {
    /// The set for a terminal.
    pub(super) fn of(is_ascii: bool) -> &'static Self {
        if is_ascii { &ASCII } else { &UNICODE }
    }

    /// The spinner's picture at a moment.
    pub(super) fn spin(&self, now_ms: u64) -> &'static str {
        let step = usize::try_from(now_ms / 100).unwrap_or(0);
        self.spinner[step % self.spinner.len()]
    }

    /// A bar of `columns`, its full part and the rest.
    pub(super) fn bar(&self, done: u64, total: u64, columns: usize) -> (String, String) {
        let full = if total == 0 {
            0
        } else {
            let cells = u128::from(done.min(total)) * columns as u128 / u128::from(total);
            usize::try_from(cells).unwrap_or(columns)
        };
        (
            self.bar.repeat(full),
            self.bar_rest.repeat(columns - full.min(columns)),
        )
    }
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr as _;

    use super::*;

    #[test]
    fn every_sign_is_one_column_wide() {
        for glyphs in [Glyphs::of(false), Glyphs::of(true)] {
            for sign in [
                glyphs.good,
                glyphs.bad,
                glyphs.alert,
                glyphs.note,
                glyphs.queued,
                glyphs.waiting,
                glyphs.paused,
                glyphs.held,
                glyphs.free,
                glyphs.mark,
                glyphs.cut,
                glyphs.bar,
                glyphs.bar_rest,
                glyphs.thumb,
            ]
            .iter()
            .chain(glyphs.spinner)
            {
                assert_eq!(sign.width(), 1, "{sign}");
                assert!(!glyphs.is_ascii || sign.is_ascii());
            }
        }
    }

    #[test]
    fn bars_are_full_only_at_the_end() {
        let glyphs = Glyphs::of(true);
        assert_eq!(glyphs.bar(99, 100, 10), ("#########".into(), ".".into()));
        assert_eq!(glyphs.bar(100, 100, 4), ("####".into(), String::new()));
        assert_eq!(glyphs.bar(0, 0, 3), (String::new(), "...".into()));
        assert_eq!(glyphs.bar(u64::MAX, 1, 3).0, "###");
    }
}
