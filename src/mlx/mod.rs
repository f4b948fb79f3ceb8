//! Owns whether a model would load: files in, findings out (`reference/hub.md` section 6).
//!
//! Never writes, never hashes, never knows a cache layout.

mod architectures;
mod asks;
mod config;
mod examine;
mod family;
#[cfg(test)]
mod fuzz_tests;
mod index;
mod json;
mod known;
mod names;
mod selection;
mod sentencepiece;
mod shards;
mod source;
mod text;
mod tiktoken;
mod tokenizer;
mod weights;
mod words;

pub use asks::{Ask, asks, header_length};
pub use examine::{examine, examine_listed};
pub use selection::{default_selection, is_read_by_loaders};
pub use source::{IsProven, List, Listed, Open, Reading};
