//! Owns the names and the order of the panes.

/// A pane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Pane {
    /// What there is.
    #[default]
    Models,
    /// The files of the selected model.
    Files,
    /// What is wrong.
    Health,
    /// Who holds what.
    Locks,
    /// What happened.
    Log,
}

impl Pane {
    /// Every pane, in the order of their numbers.
    pub const ALL: [Self; 5] = [
        Self::Models,
        Self::Files,
        Self::Health,
        Self::Locks,
        Self::Log,
    ];

    /// Its title.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Models => "Models",
            Self::Files => "Files",
            Self::Health => "Health",
            Self::Locks => "Locks",
            Self::Log => "Log",
        }
    }

    /// Its place in [`Self::ALL`].
    pub const fn index(self) -> usize {
        match self {
            Self::Models => 0,
            Self::Files => 1,
            Self::Health => 2,
            Self::Locks => 3,
            Self::Log => 4,
        }
    }

    /// The pane of that name in the keymap file.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|pane| pane.title().eq_ignore_ascii_case(name))
    }

    /// The next one, around.
    #[must_use]
    pub const fn next(self) -> Self {
        Self::ALL[(self.index() + 1) % Self::ALL.len()]
    }

    /// The one before, around.
    #[must_use]
    pub const fn previous(self) -> Self {
        Self::ALL[(self.index() + Self::ALL.len() - 1) % Self::ALL.len()]
    }
}
