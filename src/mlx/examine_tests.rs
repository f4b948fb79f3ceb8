//! Owns the tests of judging a folder.
//!
//! Never part of the program.

use std::os::unix::fs::symlink;

use super::*;
use crate::mlx::weights::sample;
use std::fs::{self, File};

fn examine(dir: &Path) -> (Vec<String>, Vec<String>) {
    let reading = Reading {
        open: &|path| File::open(path),
        list: &|dir| {
            let entries = fs::read_dir(dir).into_iter().flatten().flatten();
            entries
                .filter_map(|entry| entry.file_name().into_string().ok())
                .collect()
        },
        is_deep: true,
    };
    let seen = super::examine(dir, reading, &|_| false);
    (
        seen.sentences(LoadLevel::Missing),
        seen.sentences(LoadLevel::Broken),
    )
}

const TOKENIZER: &[u8] =
    br#"{"added_tokens":[],"model":{"type":"BPE","vocab":{"a":0},"merges":[]}}"#;

fn model() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
    put("config.json", br#"{"model_type":"gemma3_text"}"#);
    put("tokenizer.json", TOKENIZER);
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
            "lacks 1 tensor",
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
