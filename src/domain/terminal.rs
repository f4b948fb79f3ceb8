//! Owns what a face may know of its terminal and how it shall look: facts and choices, plain data.
//!
//! Never reads the environment (`config` does) and never decides what follows: that is the face's.

use serde::Serialize;

/// What the environment says about the terminal. Texts are as found, not sanitised.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TerminalFacts {
    /// `TERM`.
    pub term: Option<String>,
    /// `TERM_PROGRAM`.
    pub program: Option<String>,
    /// `COLORTERM`.
    pub colorterm: Option<String>,
    /// Whether `NO_COLOR` is set to anything.
    pub is_no_color: bool,
    /// Whether tmux is in between.
    pub is_tmux: bool,
    /// Whether it is at the other end of an SSH connection.
    pub is_ssh: bool,
    /// Whether the locale says UTF-8: `LC_ALL`, else `LC_CTYPE`, else `LANG`.
    pub is_utf8: bool,
    /// Whether the background is light, where `COLORFGBG` tells.
    pub is_light: bool,
}

impl TerminalFacts {
    /// Whether it is the system's own console, whose font has few signs.
    pub fn is_console(&self) -> bool {
        self.term.as_deref() == Some("linux")
    }

    /// Whether the terminal can do nothing but lines.
    pub fn is_dumb(&self) -> bool {
        self.term.as_deref() == Some("dumb")
    }
}

/// Which colours the dashboard uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ThemeChoice {
    /// What the terminal can show decides.
    #[default]
    Auto,
    /// For a dark background.
    Dark,
    /// For a light background.
    Light,
    /// As much contrast as there is.
    HighContrast,
    /// The terminal's own sixteen colours.
    #[serde(rename = "16-colour")]
    SixteenColour,
    /// No colour.
    Mono,
}

impl ThemeChoice {
    /// Every choice, in the order they are offered.
    pub const ALL: [Self; 6] = [
        Self::Auto,
        Self::Dark,
        Self::Light,
        Self::HighContrast,
        Self::SixteenColour,
        Self::Mono,
    ];

    /// The word for it in the config file and on screens.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Dark => "dark",
            Self::Light => "light",
            Self::HighContrast => "high-contrast",
            Self::SixteenColour => "16-colour",
            Self::Mono => "mono",
        }
    }

    /// The choice of that name; `None` if there is none.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|choice| choice.name() == name)
    }
}

/// How much a line of the log matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// A step that a progress bar already shows: connecting, another ten percent.
    Debug,
    /// A result, or a fact about the whole run.
    #[default]
    Info,
    /// Something went wrong and larder copes: a stall, a retry, something healed.
    Warning,
    /// Something failed for good.
    Error,
}

impl Level {
    /// Every level, the least first.
    pub const ALL: [Self; 4] = [Self::Debug, Self::Info, Self::Warning, Self::Error];

    /// The word for it in the config file and on screens.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }

    /// The level of that name; `None` if there is none.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_is_found_by_its_name() {
        for choice in ThemeChoice::ALL {
            assert_eq!(ThemeChoice::named(choice.name()), Some(choice));
            let json = serde_json::to_string(&choice).unwrap();
            assert_eq!(json, format!("\"{}\"", choice.name()));
        }
        for level in Level::ALL {
            assert_eq!(Level::named(level.name()), Some(level));
        }
        assert_eq!(ThemeChoice::named("pink"), None);
        assert_eq!(Level::named("Info"), None);
    }
}
