//! Owns what `/` narrows a pane to: words, all of which a row must have; for models also the
//! grammar of `ls --filter`.

use super::rows::ModelItem;

/// A filter as typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    text: String,
    /// In lower case.
    words: Vec<String>,
}

impl Filter {
    /// Reads what was typed.
    pub fn new(text: &str) -> Self {
        let words = text.split_whitespace().map(str::to_lowercase).collect();
        Self {
            text: text.to_owned(),
            words,
        }
    }

    /// As it was typed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it takes everything.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Whether a text has every word, whatever the case.
    pub fn takes(&self, text: &str) -> bool {
        if self.words.is_empty() {
            return true;
        }
        let text = text.to_lowercase();
        self.words.iter().all(|word| text.contains(word.as_str()))
    }

    /// Whether a model has every word in its name, revision or state.
    pub fn takes_model(&self, item: &ModelItem<'_>, _now_ms: u64) -> bool {
        let repo = item.repo().map(ToString::to_string).unwrap_or_default();
        self.takes(&format!("{repo} {}", item.revision()))
    }
}
