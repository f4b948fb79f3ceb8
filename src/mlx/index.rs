//! Owns what an index promises: which file each tensor is in.
//!
//! Never opens those files. Law: a file's name is kept once, however many tensors are in it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// The index of a model's weights.
#[derive(Debug, Deserialize)]
pub(super) struct Index {
    weight_map: Places,
}

/// Tensors in the order of their names, and where each is promised.
#[derive(Debug)]
struct Places {
    files: Vec<String>,
    tensors: Vec<(Box<str>, u32)>,
}

impl Index {
    /// The files that it names, each once.
    pub(super) fn files(&self) -> &[String] {
        &self.weight_map.files
    }

    /// The tensors in the order of their names, with their files.
    pub(super) fn tensors(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        let files = self.files();
        let all = self.weight_map.tensors.iter();
        all.map(|(name, file)| (&**name, files[*file as usize].as_str()))
    }

    /// The place of a tensor among them, and its file.
    pub(super) fn find(&self, tensor: &str) -> Option<(usize, &str)> {
        let all = &self.weight_map.tensors;
        let at = all
            .binary_search_by(|(name, _)| (**name).cmp(tensor))
            .ok()?;
        Some((at, self.files()[all[at].1 as usize].as_str()))
    }
}

impl<'de> Deserialize<'de> for Places {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_map(Reading)
    }
}

struct Reading;

impl<'de> Visitor<'de> for Reading {
    type Value = Places;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Places, A::Error> {
        let mut numbers: HashMap<String, u32> = HashMap::new();
        let mut tensors: BTreeMap<Box<str>, u32> = BTreeMap::new();
        let mut files = Vec::new();
        while let Some((tensor, file)) = map.next_entry::<Box<str>, String>()? {
            let number = match numbers.get(&file) {
                Some(number) => *number,
                None => {
                    let number = u32::try_from(files.len()).unwrap_or(u32::MAX);
                    files.push(file.clone());
                    numbers.insert(file, number);
                    number
                }
            };
            // As in Python, the last one counts.
            tensors.insert(tensor, number);
        }
        Ok(Places {
            files,
            tensors: tensors.into_iter().collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mlx::json;

    #[test]
    fn tensors_are_found_in_the_file_that_was_named_last() {
        let text = br#"{"metadata":{},"weight_map":{"b":"2","a":"1","c":"2","b":"3"}}"#;
        let index: Index = json::parse(text).unwrap();
        assert_eq!(index.files(), ["2", "1", "3"]);
        let all: Vec<_> = index.tensors().collect();
        assert_eq!(all, [("a", "1"), ("b", "3"), ("c", "2")]);
        assert_eq!(index.find("b"), Some((1, "3")));
        assert_eq!(index.find("d"), None);
        for (text, says) in [
            (&b"{}"[..], "weight_map"),
            (br#"{"weight_map":[]}"#, "a map"),
            (br#"{"weight_map":{"a":7}}"#, "a string"),
        ] {
            let why = json::parse::<Index>(text).unwrap_err().why;
            assert!(why.contains(says), "{why}");
        }
    }
}
