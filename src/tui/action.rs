//! Owns the meanings of keys: every action of the dashboard, by name.
//!
//! Never says which key it is: that is the keymap's. Never does anything: that is `update`'s.

use super::pane::Pane;

/// What a key means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "assets/keymap.toml says what each one does")]
pub enum Action {
    Help,
    Details,
    Add,
    Retry,
    RetryAll,
    Verify,
    VerifyAll,
    Purge,
    Fix,
    Undo,
    Pause,
    Cancel,
    Mark,
    Copy,
    Guide,
    Filter,
    Command,
    LogLevel,
    Zoom,
    Theme,
    NextMatch,
    PreviousMatch,
    NextPane,
    PreviousPane,
    Focus(Pane),
    Down,
    Up,
    PageDown,
    PageUp,
    Top,
    Bottom,
    Back,
    Redraw,
    Suspend,
    Quit,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 39] = [
        Self::Help,
        Self::Details,
        Self::Add,
        Self::Retry,
        Self::RetryAll,
        Self::Verify,
        Self::VerifyAll,
        Self::Purge,
        Self::Fix,
        Self::Undo,
        Self::Pause,
        Self::Cancel,
        Self::Mark,
        Self::Copy,
        Self::Guide,
        Self::Filter,
        Self::Command,
        Self::LogLevel,
        Self::Zoom,
        Self::Theme,
        Self::NextMatch,
        Self::PreviousMatch,
        Self::NextPane,
        Self::PreviousPane,
        Self::Focus(Pane::Models),
        Self::Focus(Pane::Files),
        Self::Focus(Pane::Health),
        Self::Focus(Pane::Locks),
        Self::Focus(Pane::Log),
        Self::Down,
        Self::Up,
        Self::PageDown,
        Self::PageUp,
        Self::Top,
        Self::Bottom,
        Self::Back,
        Self::Redraw,
        Self::Suspend,
        Self::Quit,
    ];

    /// The name in the keymap file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Help => "help",
            Self::Details => "details",
            Self::Add => "add",
            Self::Retry => "retry",
            Self::RetryAll => "retry-all",
            Self::Verify => "verify",
            Self::VerifyAll => "verify-all",
            Self::Purge => "purge",
            Self::Fix => "fix",
            Self::Undo => "undo",
            Self::Pause => "pause",
            Self::Cancel => "cancel",
            Self::Mark => "mark",
            Self::Copy => "copy",
            Self::Guide => "guide",
            Self::Filter => "filter",
            Self::Command => "command",
            Self::LogLevel => "log-level",
            Self::Zoom => "zoom",
            Self::Theme => "theme",
            Self::NextMatch => "next-match",
            Self::PreviousMatch => "previous-match",
            Self::NextPane => "next-pane",
            Self::PreviousPane => "previous-pane",
            Self::Focus(Pane::Models) => "pane-models",
            Self::Focus(Pane::Files) => "pane-files",
            Self::Focus(Pane::Health) => "pane-health",
            Self::Focus(Pane::Locks) => "pane-locks",
            Self::Focus(Pane::Log) => "pane-log",
            Self::Down => "down",
            Self::Up => "up",
            Self::PageDown => "page-down",
            Self::PageUp => "page-up",
            Self::Top => "top",
            Self::Bottom => "bottom",
            Self::Back => "back",
            Self::Redraw => "redraw",
            Self::Suspend => "suspend",
            Self::Quit => "quit",
        }
    }

    /// The action of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name)
    }

    /// Whether it changes anything on disk or asks the network for files: what a read-only
    /// dashboard does not do.
    pub const fn is_writing(self) -> bool {
        matches!(
            self,
            Self::Add | Self::Retry | Self::RetryAll | Self::Purge | Self::Fix | Self::Undo
        )
    }
}
