//! Owns what is said to the terminal beside the picture: title, progress, clipboard.
//!
//! Foreign text is made harmless before it gets here: a title is sent as it is.

use crossterm::Command as _;
use crossterm::clipboard::CopyToClipboard;

use crate::domain::sanitize_line;

/// What the window's title bar and the taskbar show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Badge {
    /// The title; empty leaves it alone.
    pub title: String,
    /// Percent done, and whether something failed; `None` shows no progress.
    pub progress: Option<(u64, bool)>,
}

/// Sets the title (OSC 2).
pub(super) fn title(text: &str) -> String {
    format!("\x1b]2;{}\x07", sanitize_line(text, 100))
}

/// Keeps the title that was there, for [`restore_title`].
pub(super) const SAVE_TITLE: &str = "\x1b[22;2t";

/// Brings it back.
pub(super) const RESTORE_TITLE: &str = "\x1b[23;2t";

/// Shows progress in the taskbar or tab (OSC 9;4): normal, or as failed.
pub(super) fn progress(progress: Option<(u64, bool)>) -> String {
    match progress {
        None => "\x1b]9;4;0;0\x07".to_owned(),
        Some((percent, has_failed)) => {
            let state = if has_failed { 2 } else { 1 };
            format!("\x1b]9;4;{state};{}\x07", percent.min(100))
        }
    }
}

/// Puts a text on the clipboard of whoever looks at the terminal, also over SSH (OSC 52).
pub(super) fn copy(text: &str) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = CopyToClipboard::to_clipboard_from(text).write_ansi(&mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_the_title() {
        let sent = title("a\x07\x1b]0;owned\x07");
        assert_eq!(sent.matches('\x07').count(), 1);
        assert!(sent.ends_with('\x07'));
        assert_eq!(sent.matches('\x1b').count(), 1);
    }

    #[test]
    fn the_clipboard_gets_base64() {
        assert_eq!(copy("hi"), "\x1b]52;c;aGk=\x1b\\");
        assert_eq!(progress(Some((250, false))), "\x1b]9;4;1;100\x07");
        assert_eq!(progress(None), "\x1b]9;4;0;0\x07");
    }
}
