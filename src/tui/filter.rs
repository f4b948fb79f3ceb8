//! Owns what `/` narrows a pane to: words, all of which a row must have; for models also the
//! grammar of `ls --filter`.

use super::rows::ModelItem;
use crate::store;

/// A filter as typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    text: String,
    /// In lower case.
    words: Vec<String>,
    /// Conditions on models. One that is still being typed is none yet.
    conditions: Vec<store::Filter>,
    /// Why one of them is none.
    error: Option<String>,
}

impl Filter {
    /// Reads what was typed.
    pub fn new(text: &str) -> Self {
        let mut words = Vec::new();
        let mut conditions = Vec::new();
        let mut error = None;
        for word in text.split_whitespace() {
            if is_condition(word) {
                match word.parse() {
                    Ok(condition) => conditions.push(condition),
                    Err(why) => error = Some(format!("{word}: {why}")),
                }
            } else {
                words.push(word.to_lowercase());
            }
        }
        Self {
            text: text.to_owned(),
            words,
            conditions,
            error,
        }
    }

    /// Why a condition is none, if one is not.
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// As it was typed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it takes everything.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty() && self.conditions.is_empty()
    }

    /// Whether a text has every word, whatever the case.
    pub fn takes(&self, text: &str) -> bool {
        if self.words.is_empty() {
            return true;
        }
        let text = text.to_lowercase();
        self.words.iter().all(|word| text.contains(word.as_str()))
    }

    /// Whether a model has every word in its name or revision, and meets every condition.
    pub fn takes_model(&self, item: &ModelItem<'_>, now_ms: u64) -> bool {
        let repo = item.repo().map(ToString::to_string).unwrap_or_default();
        let meets =
            |condition: &store::Filter| item.row.is_some_and(|row| condition.matches(row, now_ms));
        self.takes(&format!("{repo} {}", item.revision())) && self.conditions.iter().all(meets)
    }
}

/// A word that begins with a key and an operator is no word to look for.
fn is_condition(word: &str) -> bool {
    store::Filter::KEYS.iter().any(|key| {
        let rest = word
            .get(..key.len())
            .filter(|head| head.eq_ignore_ascii_case(key))
            .map(|_| &word[key.len()..]);
        rest.is_some_and(|rest| rest.starts_with(['<', '>', '=', '!']))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_conditions_are_told_apart() {
        let filter = Filter::new("Gemma size>1GB");
        assert_eq!(filter.words, ["gemma"]);
        assert_eq!(filter.conditions.len(), 1);
        assert!(filter.takes("org/GEMMA-2") && !filter.takes("qwen"));
        for typing in ["size>", "size>b", "refs="] {
            let filter = Filter::new(typing);
            assert!(filter.is_empty(), "{typing}");
        }
        assert_eq!(Filter::new("size").words, ["size"]);
    }
}
