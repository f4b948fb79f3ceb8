//! Owns which parts of which files must be fetched to judge a model before it is downloaded: the
//! small files whole, of each weight file the header alone.
//!
//! Never fetches.

use std::collections::BTreeMap;

use super::index::Index;
use super::selection::is_model_weights;
use super::shards::{self, INDEX};
use super::source::Listed;
use super::weights;
use super::words::{TIKTOKEN, TIKTOKEN_MODEL, TOKENIZER};
use crate::domain::RemoteFile;

/// Larger files are not fetched for a look.
const LIMIT_BYTES: u64 = 4_000_000;
/// Endings of files that are looked at whole, at top level.
const ENDINGS: [&str; 4] = [JSON, "tokenizer.model", TIKTOKEN_MODEL, TIKTOKEN];
const JSON: &str = ".json";

/// A part of a file that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// All of it.
    Whole(String),
    /// The first eight bytes, and then as many as they say: [`header_length`].
    Header(String),
}

/// What must be fetched of the files of a listing. Weights that the index alone names become known
/// when that was fetched: ask again with it in `files`.
pub fn asks(listing: &[RemoteFile], files: &BTreeMap<String, Listed>) -> Vec<Ask> {
    let is_at_top = |name: &&str| !name.contains('/');
    let names = listing.iter().map(|file| file.path.as_str());
    let sizes: BTreeMap<&str, u64> = listing
        .iter()
        .map(|file| (file.path.as_str(), file.size_bytes))
        .collect();
    let index = files
        .get(INDEX)
        .and_then(|file| super::json::parse::<Index>(file.start.as_deref()?).ok());
    let top = names.clone().filter(is_at_top).map(str::to_owned).collect();
    let headers = shards::wanted(&top, index.as_ref())
        .into_iter()
        .filter(|name| sizes.contains_key(name.as_str()))
        .map(Ask::Header);
    let has_tokenizer = sizes.contains_key(TOKENIZER);
    let is_small = |name: &&str| sizes.get(name).is_some_and(|size| *size <= LIMIT_BYTES);
    let whole = names
        .filter(is_at_top)
        .filter(|name| ENDINGS.iter().any(|ending| name.ends_with(ending)) || *name == "merges.txt")
        // Beside a `tokenizer.json` the older files are not read.
        .filter(|name| !has_tokenizer || name.ends_with(JSON) && *name != "vocab.json")
        .filter(is_small)
        .filter(|name| !is_model_weights(name))
        .map(|name| Ask::Whole(name.to_owned()));
    let mut asks: Vec<Ask> = whole.chain(headers).collect();
    asks.retain(|ask| {
        let (Ask::Whole(name) | Ask::Header(name)) = ask;
        files.get(name).is_none_or(|file| file.start.is_none())
    });
    asks
}

/// How many bytes from its start hold the header of a weight file, by its first eight; `None` if
/// they are no weights, and asking for more would tell no more.
pub fn header_length(start: &[u8], size_bytes: u64) -> Option<u64> {
    let start = start.get(..8)?.try_into().ok()?;
    let header = weights::header_bytes(start, size_bytes).ok()?;
    Some(weights::LENGTH_BYTES + header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Etag, RepoPath};

    #[test]
    fn small_files_are_asked_for_whole_and_weights_by_their_headers() {
        let file = |name: &str, size_bytes| RemoteFile {
            path: RepoPath::new(name).unwrap(),
            size_bytes,
            etag: Etag::new(&"0".repeat(40)).unwrap(),
            git_oid: "0".repeat(40),
            xet_hash: None,
        };
        let listing = [
            file("README.md", 5),
            file("config.json", 5),
            file("deep/other.json", 5),
            file("tokenizer.json", 17_000_000),
            file("vocab.json", 5),
            file("model-a.safetensors", 100),
            file("other.safetensors", 100),
            file(INDEX, 60),
        ];
        let mut files = BTreeMap::new();
        let whole = |name: &str| Ask::Whole(name.to_owned());
        let header = |name: &str| Ask::Header(name.to_owned());
        let first = asks(&listing, &files);
        assert_eq!(
            first,
            [
                whole("config.json"),
                whole(INDEX),
                header("model-a.safetensors")
            ]
        );
        for name in ["config.json", "model-a.safetensors"] {
            let start = Some(Vec::new());
            files.insert(
                name.to_owned(),
                Listed {
                    size_bytes: 5,
                    start,
                },
            );
        }
        let map = br#"{"weight_map":{"x":"other.safetensors","y":"../up.safetensors"}}"#;
        files.insert(
            INDEX.to_owned(),
            Listed {
                size_bytes: 60,
                start: Some(map.to_vec()),
            },
        );
        assert_eq!(asks(&listing, &files), [header("other.safetensors")]);
        assert_eq!(header_length(&16_u64.to_le_bytes(), 100), Some(24));
        assert_eq!(header_length(&90_u64.to_le_bytes(), 90), None);
        assert_eq!(header_length(b"<!DOCTYP", 100), None);
        assert_eq!(header_length(b"abc", 100), None);
    }
}
