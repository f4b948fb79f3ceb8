//! Owns the orders of `ls`: `name`, `size`, `accessed`, `modified`, each with a direction.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use crate::domain::ModelRow;

/// An order of models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sort {
    key: Key,
    is_descending: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Name,
    Size,
    Accessed,
    Modified,
}

/// Why an order cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the orders are name, size, accessed and modified, each with `:asc` or `:desc`")]
pub struct SortError;

impl Sort {
    /// Compares two models; equal ones go by name and revision, so that output is stable.
    pub fn compare(self, a: &ModelRow, b: &ModelRow) -> Ordering {
        let by_key = match self.key {
            Key::Name => a.repo.to_string().cmp(&b.repo.to_string()),
            Key::Size => a.size_bytes.cmp(&b.size_bytes),
            Key::Accessed => a.accessed_ms.cmp(&b.accessed_ms),
            Key::Modified => a.modified_ms.cmp(&b.modified_ms),
        };
        let by_key = if self.is_descending {
            by_key.reverse()
        } else {
            by_key
        };
        by_key
            .then_with(|| a.repo.cmp(&b.repo))
            .then_with(|| a.revision.cmp(&b.revision))
    }
}

impl Default for Sort {
    fn default() -> Self {
        Self {
            key: Key::Name,
            is_descending: false,
        }
    }
}

impl fmt::Display for Sort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = match self.key {
            Key::Name => "name",
            Key::Size => "size",
            Key::Accessed => "accessed",
            Key::Modified => "modified",
        };
        let order = if self.is_descending { "desc" } else { "asc" };
        write!(f, "{key}:{order}")
    }
}

impl FromStr for Sort {
    type Err = SortError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (key, order) = match text.split_once(':') {
            Some((key, order)) => (key, Some(order)),
            None => (text, None),
        };
        let key = match key {
            "name" => Key::Name,
            "size" => Key::Size,
            "accessed" => Key::Accessed,
            "modified" => Key::Modified,
            _ => return Err(SortError),
        };
        let is_descending = match order {
            // The largest and the newest are what one looks for; names read from A on.
            None => key != Key::Name,
            Some("desc") => true,
            Some("asc") => false,
            Some(_) => return Err(SortError),
        };
        Ok(Self { key, is_descending })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::script::model_row;

    #[test]
    fn orders_are_stable_and_as_asked() {
        let mut rows = [
            model_row("b/x", 5),
            model_row("a/x", 5),
            model_row("c/x", 9),
        ];
        let mut names = |order: &str| {
            let sort: Sort = order.parse().unwrap();
            rows.sort_by(|a, b| sort.compare(a, b));
            rows.each_ref().map(|row| row.repo.to_string()).concat()
        };
        assert_eq!(names("name"), "a/xb/xc/x");
        assert_eq!(names("size"), "c/xa/xb/x");
        assert_eq!(names("size:asc"), "a/xb/xc/x");
        assert_eq!(names("name:desc"), "c/xb/xa/x");
        assert_eq!(names("accessed"), "a/xb/xc/x");
    }

    #[test]
    fn orders_read_back_what_they_print() {
        for text in ["name:asc", "size:desc", "accessed:asc", "modified:desc"] {
            assert_eq!(text.parse::<Sort>().unwrap().to_string(), text);
        }
        for text in ["", "age", "size:up", "name:"] {
            assert!(text.parse::<Sort>().is_err(), "{text}");
        }
    }
}
