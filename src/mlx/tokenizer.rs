//! Owns counting what a `tokenizer.json` holds, in one pass: structure, vocabulary, merges.
//!
//! Never keeps the tokens: of each, two bits are remembered, so that merges can be looked up. What
//! fails here fails in the `tokenizers` library too.

use std::fmt;
use std::io::{self, Read};

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::json::{self, Imposter, Unfit};
use super::known::{Known, one_space, pair_hashes};
use super::source::Opened;
use super::text::Utf8;

/// Longer files are read piece by piece, which takes longer and no memory.
const AT_ONCE_BYTES: u64 = 64_000_000;
/// Merges that come before the vocabulary are kept, as hashes, up to so many.
const MOST_PENDING: usize = 1_000_000;
/// The start of a file that gives away what it holds.
const START_BYTES: u64 = 512;

/// What was counted.
pub(super) struct Counted {
    /// The kind of model: `BPE`, `Unigram`, `WordPiece`, `WordLevel`; `None` if the file names none.
    pub(super) kind: Option<String>,
    /// Entries of the vocabulary.
    pub(super) vocabulary: usize,
    /// Merges.
    pub(super) merges: usize,
    /// Whether there is a list of tokens added to the vocabulary.
    pub(super) has_added_tokens: bool,
    known: Known,
    /// Tokens that merges name and that were not known when they were read.
    pending: Vec<u64>,
    has_vocabulary: bool,
    has_merges: bool,
    has_model: bool,
    /// Merged tokens lose this prefix, so that their names are not the sum of their parts.
    has_prefix: bool,
    /// Whether tokens of merges are looked up.
    looks_up: bool,
}

impl Counted {
    /// Nothing yet; it will know whether these tokens are in the vocabulary or added to it.
    pub(super) fn asked_for(wanted: &[&str]) -> Self {
        Self {
            kind: None,
            vocabulary: 0,
            merges: 0,
            has_added_tokens: false,
            known: Known::of(wanted),
            pending: Vec::new(),
            has_vocabulary: false,
            has_merges: false,
            has_model: false,
            has_prefix: false,
            looks_up: true,
        }
    }

    /// Whether a token that was asked for is there.
    pub(super) fn has_token(&self, token: &str) -> bool {
        self.known.has_wanted(token)
    }

    fn finish(mut self) -> Result<Self, Unfit> {
        if !self.has_model {
            return Err(Unfit::new("has no `model`"));
        }
        let kind = self.kind.as_deref().unwrap_or("BPE");
        if !matches!(kind, "BPE" | "Unigram" | "WordPiece" | "WordLevel") {
            let shown = crate::domain::sanitize_line(kind, 40);
            return Err(Unfit::new(format!(
                "has a model of the unknown type `{shown}`"
            )));
        }
        if !self.has_vocabulary {
            return Err(Unfit::new("has a model without a vocabulary"));
        }
        if kind == "BPE" && self.kind.is_some() && !self.has_merges {
            return Err(Unfit::new("has a vocabulary without merges"));
        }
        self.settle();
        if self.has_prefix {
            self.pending.clear();
        }
        match self.pending.len() {
            0 => Ok(self),
            1 => Err(Unfit::new("has a merge of a token that it does not know")),
            _ => Err(Unfit::new("has merges of tokens that it does not know")),
        }
    }

    /// Reads `merges.txt`, whose tokens must be in the vocabulary that was counted before.
    ///
    /// # Errors
    /// When a line is no merge of two tokens, or of a token that is not known.
    pub(super) fn merges_text(&mut self, text: &[u8]) -> Result<(), Unfit> {
        for line in text.split(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() || line.starts_with(b"#version") {
                continue;
            }
            if !self.merged_text(line) {
                return Err(Unfit::new(format!(
                    "has something else than two tokens as merge {}",
                    self.merges
                )));
            }
        }
        if self.pending.is_empty() {
            Ok(())
        } else {
            Err(Unfit::new(
                "has merges of tokens that `vocab.json` does not know",
            ))
        }
    }

    /// Looks up what could not be looked up before.
    fn settle(&mut self) {
        let known = &self.known;
        self.pending.retain(|hash| !known.has(*hash));
    }

    /// A merge as text; whether it is one of two tokens.
    fn merged_text(&mut self, text: &[u8]) -> bool {
        let Some(at) = one_space(text) else {
            return false;
        };
        self.merged(&text[..at], &text[at + 1..]);
        true
    }

    /// Looks up the two tokens of a merge, and what they make.
    fn merged(&mut self, one: &[u8], other: &[u8]) {
        self.merges += 1;
        if self.has_prefix || !self.looks_up {
            return;
        }
        for token in pair_hashes(one, other) {
            if !self.known.has(token) && self.pending.len() < MOST_PENDING {
                self.pending.push(token);
            }
        }
    }
}

/// Counts, and looks for the tokens that are asked for; for those of merges only if it `is_deep`.
///
/// # Errors
/// The outer one when the file cannot be read, the inner one when it is not what it should be.
pub(super) fn count(
    file: Opened<'_>,
    wanted: &[&str],
    is_deep: bool,
) -> io::Result<Result<Counted, Unfit>> {
    let mut counted = Counted::asked_for(wanted);
    counted.looks_up = is_deep;
    let read = if file.size_bytes <= AT_ONCE_BYTES {
        at_once(file, |json| Whole(&mut counted).deserialize(json))?
    } else {
        in_pieces(file, &mut counted)?
    };
    Ok(read.and_then(|()| counted.finish()))
}

/// Counts the tokens of a `vocab.json`.
///
/// # Errors
/// The outer one when the file cannot be read, the inner one when it is not what it should be.
pub(super) fn count_vocabulary(
    file: Opened<'_>,
    wanted: &[&str],
) -> io::Result<Result<Counted, Unfit>> {
    let mut counted = Counted::asked_for(wanted);
    let read = at_once(file, |json| Vocabulary(&mut counted).deserialize(json))?;
    Ok(read.map(|()| counted))
}

/// Text that is known as UTF-8 as a whole is parsed faster than one that is checked word by word.
fn at_once(
    file: Opened<'_>,
    parse: impl for<'de> FnOnce(&mut Slice<'de>) -> serde_json::Result<()>,
) -> io::Result<Result<(), Unfit>> {
    let bytes = file.whole(AT_ONCE_BYTES)?;
    let Ok(text) = simdutf8::basic::from_utf8(&bytes) else {
        return Ok(Err(match Imposter::of(&bytes) {
            Some(imposter) => imposter.unfit("JSON"),
            None => Unfit::new("is no UTF-8 text"),
        }));
    };
    let mut json = serde_json::Deserializer::from_str(text);
    let read = parse(&mut json).and_then(|()| json.end());
    Ok(read.map_err(|error| json::unfit(&bytes, &error)))
}

type Slice<'de> = serde_json::Deserializer<serde_json::de::StrRead<'de>>;

/// Counts as of a file that is too long to be read at once.
#[cfg(test)]
pub(super) fn count_in_pieces(file: Opened<'_>) -> io::Result<Result<Counted, Unfit>> {
    let mut counted = Counted::asked_for(&[]);
    let read = in_pieces(file, &mut counted)?;
    Ok(read.and_then(|()| counted.finish()))
}

fn in_pieces(file: Opened<'_>, counted: &mut Counted) -> io::Result<Result<(), Unfit>> {
    let limit = file.size_bytes;
    let mut file = file.take(limit);
    // As it is: a page is one whatever bytes come after its first.
    let mut start = Vec::new();
    file.by_ref().take(START_BYTES).read_to_end(&mut start)?;
    let checked = Utf8::of(start.as_slice().chain(file));
    let reader = io::BufReader::with_capacity(1 << 20, checked);
    let mut json = serde_json::Deserializer::from_reader(reader);
    let read = Whole(counted)
        .deserialize(&mut json)
        .and_then(|()| json.end());
    match read {
        Ok(()) => Ok(Ok(())),
        Err(error) if error.is_io() => no_text(error.into(), &start),
        Err(error) => Ok(Err(json::unfit(&start, &error))),
    }
}

/// What a failure to read means: bytes that are no text, or a disk that does not answer.
fn no_text(error: io::Error, start: &[u8]) -> io::Result<Result<(), Unfit>> {
    if error.kind() != io::ErrorKind::InvalidData {
        return Err(error);
    }
    Ok(Err(match Imposter::of(start) {
        Some(imposter) => imposter.unfit("JSON"),
        None => Unfit::new("is no UTF-8 text"),
    }))
}

/// Implements a seed that is a visitor, too.
macro_rules! seed {
    ($name:ident) => {
        impl<'de> DeserializeSeed<'de> for $name<'_> {
            type Value = ();

            fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
                json.deserialize_any(self)
            }
        }
    };
}

/// The file.
struct Whole<'a>(&'a mut Counted);
/// Its `model`.
struct Model<'a>(&'a mut Counted);
/// The vocabulary of that: tokens with numbers, or a list of tokens with scores.
struct Vocabulary<'a>(&'a mut Counted);
/// A token in it.
struct Token<'a>(&'a mut Counted);
/// A token with its score.
struct Scored<'a>(&'a mut Counted);
/// The list of merges.
struct Merges<'a>(&'a mut Counted);
/// One of them: two tokens, or a text with a space between them.
struct Merge<'a>(&'a mut Counted);
/// The tokens added to the vocabulary.
struct Added<'a>(&'a mut Counted);

seed!(Whole);
seed!(Model);
seed!(Vocabulary);
seed!(Token);
seed!(Scored);
seed!(Merges);
seed!(Merge);
seed!(Added);

impl<'de> Visitor<'de> for Whole<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with a tokenizer's parts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "model" => map.next_value_seed(Model(self.0))?,
                "added_tokens" => map.next_value_seed(Added(self.0))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for Model<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with a vocabulary as `model`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.0.has_model = true;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "type" => self.0.kind = map.next_value()?,
                "vocab" => {
                    map.next_value_seed(Vocabulary(self.0))?;
                    self.0.settle();
                }
                "merges" => map.next_value_seed(Merges(self.0))?,
                "continuing_subword_prefix" => {
                    let prefix: Option<String> = map.next_value()?;
                    self.0.has_prefix = prefix.is_some_and(|prefix| !prefix.is_empty());
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for Vocabulary<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a vocabulary")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.0.has_vocabulary = true;
        while map.next_key_seed(Token(self.0))?.is_some() {
            map.next_value::<u32>()?;
            self.0.vocabulary += 1;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        self.0.has_vocabulary = true;
        while list.next_element_seed(Scored(self.0))?.is_some() {
            self.0.vocabulary += 1;
        }
        Ok(())
    }
}

impl Visitor<'_> for Token<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a token")
    }

    fn visit_str<E: serde::de::Error>(self, token: &str) -> Result<(), E> {
        self.0.known.add(token.as_bytes());
        Ok(())
    }
}

impl<'de> Visitor<'de> for Scored<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a token with its score")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut pair: A) -> Result<(), A::Error> {
        let token = pair.next_element_seed(Token(self.0))?;
        let score = pair.next_element::<f64>()?;
        let rest = pair.next_element::<IgnoredAny>()?;
        if token.is_none() || score.is_none() || rest.is_some() {
            return Err(A::Error::custom("a token without its score"));
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for Merges<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of merges")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        self.0.has_merges = true;
        while list.next_element_seed(Merge(self.0))?.is_some() {}
        Ok(())
    }
}

impl<'de> Visitor<'de> for Merge<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a merge of two tokens")
    }

    fn visit_str<E: serde::de::Error>(self, merge: &str) -> Result<(), E> {
        if self.0.merged_text(merge.as_bytes()) {
            return Ok(());
        }
        Err(E::custom(format!(
            "merge {} is not of two tokens",
            self.0.merges
        )))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut pair: A) -> Result<(), A::Error> {
        let one = pair.next_element::<Text<'de>>()?;
        let other = pair.next_element::<Text<'de>>()?;
        let rest = pair.next_element::<IgnoredAny>()?;
        let (Some(one), Some(other), None) = (one, other, rest) else {
            return Err(A::Error::custom(format!(
                "merge {} is not of two tokens",
                self.0.merges
            )));
        };
        self.0.merged(one.0.as_bytes(), other.0.as_bytes());
        Ok(())
    }
}

impl<'de> Visitor<'de> for Added<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of added tokens")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        self.0.has_added_tokens = true;
        while let Some(token) = list.next_element::<AddedToken<'de>>()? {
            self.0.known.add(token.content.0.as_bytes());
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct AddedToken<'a> {
    #[serde(rename = "id")]
    _id: u32,
    #[serde(borrow)]
    content: Text<'a>,
}

/// Text that is copied only where it is written with escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] std::borrow::Cow<'a, str>);

#[cfg(test)]
#[path = "tokenizer_tests.rs"]
mod tests;
