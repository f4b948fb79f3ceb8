//! Owns the check "ready for MLX" of one folder, offline (hub.md 6.3, without its full hash).
//!
//! Never follows what a loader would not: only the folder's own files count.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::selection::is_model_weights;
use super::weights::{self, Fault};
use crate::domain::{Examination, LoadLevel, LoadTrouble, Rule, sanitize};

const WEIGHTS: &str = ".safetensors";
const TIKTOKEN: &str = ".tiktoken";
const CONFIG: &str = "config.json";
const JSON: &str = ".json";
const INDEX: &str = "model.safetensors.index.json";

/// How a file is opened for reading; who looks only may know a way that leaves no trace.
pub type Open<'a> = &'a dyn Fn(&Path) -> io::Result<File>;

/// Whether a file is known to hold what the Hub has.
pub type IsProven<'a> = &'a dyn Fn(&Path) -> bool;

/// What keeps the model in `dir` from being loaded, and what is odd about it. Files of which only the form
/// is looked at, such as a vocabulary of many megabytes, are not read if they are proven: then no web
/// page has taken their place.
pub fn examine(dir: &Path, open: Open<'_>, is_proven: IsProven<'_>) -> Examination {
    let mut folder = Folder {
        dir,
        open,
        is_proven,
        names: names(dir),
        seen: Examination::default(),
    };
    folder.config();
    let index = folder.index();
    folder.weights(index.as_ref());
    folder.tokenizer();
    folder.other_json();
    folder.seen
}

#[derive(Deserialize)]
struct Config {
    model_type: Option<String>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

struct Folder<'a> {
    dir: &'a Path,
    open: Open<'a>,
    is_proven: IsProven<'a>,
    names: BTreeSet<String>,
    seen: Examination,
}

impl Folder<'_> {
    fn config(&mut self) {
        if !self.names.contains(CONFIG) {
            self.missing(CONFIG);
        } else if let Some(config) = self.json::<Config>(CONFIG)
            && config.model_type.is_none()
        {
            self.broken(CONFIG, "names no `model_type`");
        }
    }

    fn index(&mut self) -> Option<Index> {
        self.names
            .contains(INDEX)
            .then(|| self.json::<Index>(INDEX))
            .flatten()
    }

    /// The weights that loaders open, and that what the index promises is in them.
    fn weights(&mut self, index: Option<&Index>) {
        let top_level = |pattern: fn(&str) -> bool| -> BTreeSet<String> {
            self.names.iter().filter(|n| pattern(n)).cloned().collect()
        };
        let mut shards = top_level(is_model_weights);
        if let Some(index) = index {
            shards.extend(index.weight_map.values().cloned());
        }
        if shards.is_empty() {
            shards = top_level(|name| name.ends_with(WEIGHTS));
        }
        if shards.is_empty() {
            self.tell(LoadTrouble::new(
                LoadLevel::Missing,
                "there are no weights in safetensors form",
            ));
        }
        for shard in shards {
            let name = sanitize(&shard);
            // The index is foreign text: it may not lead out of the folder.
            if crate::domain::RepoPath::new(&shard).is_err() {
                self.broken(INDEX, &format!("names `{name}`, which is no file's name"));
                continue;
            }
            match weights::tensors((self.open)(&self.dir.join(&shard))) {
                Ok(tensors) => {
                    let promised = index.into_iter().flat_map(|index| &index.weight_map);
                    let absent = promised
                        .filter(|(tensor, place)| **place == shard && !tensors.contains(*tensor))
                        .count();
                    if absent > 0 {
                        self.broken(
                            &shard,
                            &format!("lacks {absent} of the tensors the index places in it"),
                        );
                    }
                }
                Err(Fault::Malformed(why)) => self.broken(&shard, &why),
                Err(Fault::Unreadable(error)) => self.unreadable(&shard, &error),
            }
        }
    }

    fn tokenizer(&mut self) {
        let has = |name: &str| self.names.contains(name);
        let is_there = has("tokenizer.json")
            || has("tokenizer.model")
            || (has("vocab.json") && has("merges.txt"))
            || self.names.iter().any(|name| name.ends_with(TIKTOKEN));
        if !is_there {
            self.tell(LoadTrouble::new(
                LoadLevel::Missing,
                "there is no tokenizer",
            ));
        }
    }

    /// A web page or pointer saved under the name of a JSON file is found by parsing it.
    fn other_json(&mut self) {
        let others: Vec<String> = self
            .names
            .iter()
            .filter(|name| name.ends_with(JSON) && ![CONFIG, INDEX].contains(&name.as_str()))
            .cloned()
            .collect();
        for name in others {
            if !(self.is_proven)(&self.dir.join(&name)) {
                self.json::<IgnoredAny>(&name);
            }
        }
    }

    fn json<T: for<'de> Deserialize<'de>>(&mut self, name: &str) -> Option<T> {
        let read = (self.open)(&self.dir.join(name)).and_then(|mut file| {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).map(|_| bytes)
        });
        let bytes = match read {
            Ok(bytes) => bytes,
            Err(error) => {
                self.unreadable(name, &error);
                return None;
            }
        };
        match serde_json::from_slice(&bytes) {
            Ok(value) => Some(value),
            Err(error) => {
                let start = bytes.trim_ascii_start();
                let why = if start.starts_with(b"version https://git-lfs") {
                    "holds an LFS pointer, not JSON".to_owned()
                } else if start.starts_with(b"<") {
                    "holds a web page, not JSON".to_owned()
                } else {
                    format!("is malformed JSON: {}", sanitize(&error.to_string()))
                };
                self.broken(name, &why);
                None
            }
        }
    }

    fn unreadable(&mut self, name: &str, error: &io::Error) {
        if error.kind() == io::ErrorKind::NotFound {
            self.missing(name);
        } else {
            let sentence = format!("`{name}` cannot be read: {error}");
            self.tell(
                LoadTrouble::new(LoadLevel::Broken, sentence)
                    .by_rule(Rule::Unreadable)
                    .of_file(name),
            );
        }
    }

    fn tell(&mut self, trouble: LoadTrouble) {
        self.seen.troubles.push(trouble);
    }

    fn missing(&mut self, name: &str) {
        let sentence = format!("`{name}` is missing");
        self.tell(LoadTrouble::new(LoadLevel::Missing, sentence).of_file(name));
    }

    /// `why` follows the file's name.
    fn broken(&mut self, name: &str, why: &str) {
        let sentence = format!("`{name}` {why}");
        self.tell(LoadTrouble::new(LoadLevel::Broken, sentence).of_file(name));
    }
}

fn names(dir: &Path) -> BTreeSet<String> {
    fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::mlx::weights::sample;

    fn examine(dir: &Path) -> (Vec<String>, Vec<String>) {
        let seen = super::examine(dir, &|path| File::open(path), &|_| false);
        (
            seen.sentences(LoadLevel::Missing),
            seen.sentences(LoadLevel::Broken),
        )
    }

    fn model() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
        put("config.json", br#"{"model_type":"gemma2"}"#);
        put("tokenizer.json", b"{}");
        put("model-00001-of-00002.safetensors", &sample(&["a"]));
        put("model-00002-of-00002.safetensors", &sample(&["b", "c"]));
        put(
            INDEX,
            br#"{"metadata":{},"weight_map":{
                "a":"model-00001-of-00002.safetensors",
                "b":"model-00002-of-00002.safetensors",
                "c":"model-00002-of-00002.safetensors"}}"#,
        );
        dir
    }

    #[test]
    fn a_whole_model_is_ready() {
        assert_eq!(examine(model().path()), (Vec::new(), Vec::new()));
    }

    #[test]
    fn each_missing_part_is_named() {
        for (file, says) in [
            ("config.json", "`config.json` is missing"),
            ("tokenizer.json", "there is no tokenizer"),
            (
                "model-00002-of-00002.safetensors",
                "`model-00002-of-00002.safetensors` is missing",
            ),
        ] {
            let dir = model();
            let path = dir.path().join(file);
            fs::remove_file(&path).unwrap();
            let (missing, broken) = examine(dir.path());
            assert_eq!(missing, [says]);
            assert!(broken.is_empty());
        }
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(examine(empty.path()).0.len(), 3);
        let dir = model();
        symlink("nowhere", dir.path().join("generation_config.json")).unwrap();
        assert_eq!(
            examine(dir.path()),
            (
                vec!["`generation_config.json` is missing".to_owned()],
                Vec::new()
            )
        );
    }

    #[test]
    fn each_broken_part_is_named() {
        for (file, bytes, says) in [
            ("config.json", &b"{}"[..], "names no `model_type`"),
            ("config.json", b"<html>", "holds a web page"),
            ("tokenizer.json", b"{\"a\":", "malformed JSON"),
            (
                "special_tokens_map.json",
                b"version https://git-lfs.github.com/spec/v1\n",
                "LFS pointer",
            ),
            (
                "model-00002-of-00002.safetensors",
                &sample(&["b"])[..],
                "lacks 1 of the tensors",
            ),
            (
                "model-00001-of-00002.safetensors",
                &sample(&["a"])[..20],
                "cut off",
            ),
            (
                INDEX,
                br#"{"weight_map":{"a":"../../../etc/passwd"}}"#,
                "no file's name",
            ),
        ] {
            let dir = model();
            fs::write(dir.path().join(file), bytes).unwrap();
            let (missing, broken) = examine(dir.path());
            assert!(missing.is_empty(), "{missing:?}");
            assert!(
                broken.len() == 1 && broken[0].contains(says),
                "{file}: {broken:?}"
            );
        }
    }
}
