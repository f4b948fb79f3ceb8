//! Owns what the names of tensors in many files tell together: which one lies in two files, and
//! whether matrices are packed.
//!
//! Never keeps the names: of each a number is remembered.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, RandomState};

use safetensors::Dtype;

use super::examine::Look;
use super::family::counted;
use super::weights::Tensor;
use crate::domain::{LoadLevel, LoadTrouble, Rule, sanitize, sanitize_line};

/// Tensors that lie in two files: which one is taken is left to the order of the folder.
#[derive(Default)]
pub(super) struct Twice {
    files: Vec<String>,
    /// The file that a tensor was last seen in.
    seen: HashMap<u64, u32>,
    hasher: RandomState,
    /// Two files, with how many tensors lie in both, and one of them.
    pairs: BTreeMap<(u32, u32), (usize, String)>,
}

impl Twice {
    /// The number of a file that comes next.
    pub(super) fn file(&mut self, name: &str) -> u32 {
        self.files.push(name.to_owned());
        u32::try_from(self.files.len() - 1).unwrap_or(u32::MAX)
    }

    pub(super) fn see(&mut self, tensor: &str, file: u32) {
        let before = self.seen.insert(self.hasher.hash_one(tensor), file);
        let Some(first) = before.filter(|first| *first != file) else {
            return;
        };
        let (count, name) = self
            .pairs
            .entry((first, file))
            .or_insert_with(|| (0, tensor.to_owned()));
        *count += 1;
        if tensor < name.as_str() {
            tensor.clone_into(name);
        }
    }

    pub(super) fn tell(&self, look: &mut Look<'_>) {
        let file = |number: &u32| self.files[*number as usize].as_str();
        for ((first, other), (count, name)) in &self.pairs {
            let sentence = format!(
                "`{}` and `{}` both hold {}, as `{}`; which one is loaded is left to chance",
                sanitize(file(first)),
                sanitize(file(other)),
                counted(*count),
                sanitize_line(name, 100)
            );
            look.tell(
                LoadTrouble::new(LoadLevel::Warning, sentence)
                    .by_rule(Rule::StrayWeights)
                    .of_file(file(other)),
            );
        }
    }
}

/// Matrices that mlx-lm packed: three tensors of one name.
#[derive(Default)]
pub(super) struct Packing {
    parts: HashMap<u64, u8>,
    hasher: RandomState,
    /// The first of them, by its name.
    pub(super) first: Option<String>,
}

impl Packing {
    pub(super) fn see(&mut self, tensor: &Tensor) {
        let Some((name, end)) = tensor.name.rsplit_once('.') else {
            return;
        };
        let part = match end {
            "weight" if tensor.dtype == Dtype::U32 => 1,
            "scales" => 2,
            "biases" => 4,
            _ => return,
        };
        let parts = self.parts.entry(self.hasher.hash_one(name)).or_default();
        *parts |= part;
        let is_first = self.first.as_deref().is_none_or(|first| name < first);
        if *parts == 7 && is_first {
            self.first = Some(name.to_owned());
        }
    }
}
