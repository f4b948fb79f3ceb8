//! Owns what an examination of a model's files says: whether a loader would take them, and what
//! stands in its way.
//!
//! Never looks at files: what was seen comes in.

use serde::Serialize;

use super::finding::{Rule, Severity};
use super::text::sanitize;

/// How much something that an examination saw matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoadLevel {
    /// Worth knowing: the model loads.
    Note,
    /// The model loads with mlx-lm, but another loader or a reader may be surprised.
    Warning,
    /// Something the loader needs is not there: the model is partial.
    Missing,
    /// Something is there and wrong: the loader fails, or reads wrong bytes.
    Broken,
}

impl LoadLevel {
    /// The severity of a finding about it.
    pub const fn severity(self) -> Severity {
        match self {
            Self::Note => Severity::Note,
            // What is missing can be fetched: no reader gets wrong bytes.
            Self::Warning | Self::Missing => Severity::Warning,
            Self::Broken => Severity::Error,
        }
    }
}

/// One thing that an examination saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LoadTrouble {
    /// How much it matters.
    pub level: LoadLevel,
    /// The rule of a finding about it.
    pub rule: Rule,
    /// The file it is about, as a path in the model; sanitised. `None` if it is about no one file.
    pub file: Option<String>,
    /// What is wrong, in one line that names the file; sanitised.
    pub sentence: String,
    /// How that probably came about, where that can be told; else the rule's own words hold.
    pub cause: Option<String>,
}

impl LoadTrouble {
    /// A trouble with the rule that its level suggests.
    pub fn new(level: LoadLevel, sentence: impl AsRef<str>) -> Self {
        Self {
            level,
            rule: match level {
                LoadLevel::Missing => Rule::MissingFiles,
                LoadLevel::Note | LoadLevel::Warning | LoadLevel::Broken => Rule::WouldNotLoad,
            },
            file: None,
            sentence: sanitize(sentence.as_ref()),
            cause: None,
        }
    }

    /// Says by which rule it was found.
    #[must_use]
    pub const fn by_rule(mut self, rule: Rule) -> Self {
        self.rule = rule;
        self
    }

    /// Says which file it is about.
    #[must_use]
    pub fn of_file(mut self, file: &str) -> Self {
        self.file = Some(sanitize(file));
        self
    }

    /// Says how it probably came about.
    #[must_use]
    pub fn because(mut self, cause: &str) -> Self {
        self.cause = Some(sanitize(cause));
        self
    }
}

/// What an examination of a model's files saw. Nothing means: it would load.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Examination {
    /// In the order they were seen.
    pub troubles: Vec<LoadTrouble>,
}

impl Examination {
    /// What has that level.
    pub fn at(&self, level: LoadLevel) -> impl Iterator<Item = &LoadTrouble> {
        self.troubles
            .iter()
            .filter(move |trouble| trouble.level == level)
    }

    /// The sentences of that level.
    pub fn sentences(&self, level: LoadLevel) -> Vec<String> {
        self.at(level)
            .map(|trouble| trouble.sentence.clone())
            .collect()
    }

    /// Whether nothing is missing and nothing broken.
    pub fn would_load(&self) -> bool {
        self.troubles
            .iter()
            .all(|trouble| trouble.level <= LoadLevel::Warning)
    }
}

/// What a look at a model before its download came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Validation {
    /// Whether nothing is missing and nothing broken.
    pub would_load: bool,
    /// Bytes that were fetched to know it.
    pub asked_bytes: u64,
    /// In the order they were seen.
    pub troubles: Vec<LoadTrouble>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_let_a_model_load_and_nothing_more_does() {
        let seen = |level| Examination {
            troubles: vec![LoadTrouble::new(level, "`a\u{1b}` is odd").of_file("a\u{1b}")],
        };
        for (level, loads, severity) in [
            (LoadLevel::Note, true, Severity::Note),
            (LoadLevel::Warning, true, Severity::Warning),
            (LoadLevel::Missing, false, Severity::Warning),
            (LoadLevel::Broken, false, Severity::Error),
        ] {
            assert_eq!(seen(level).would_load(), loads, "{level:?}");
            assert_eq!(level.severity(), severity);
            assert_eq!(seen(level).sentences(level), ["`a\\x1b` is odd"]);
        }
        assert!(Examination::default().would_load());
        let broken = seen(LoadLevel::Broken);
        assert_eq!(broken.at(LoadLevel::Missing).count(), 0);
        assert_eq!(broken.troubles[0].file.as_deref(), Some("a\\x1b"));
    }
}
