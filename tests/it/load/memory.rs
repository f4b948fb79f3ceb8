//! Owns the proof that looking at a model of many shards takes the memory of one of them.
//!
//! Never judges what is seen.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::peak::peak_of;
use crate::support::{Scratch, report};

use super::build::{shard, tensor, weights};

/// Tensors of a shard, and the length of their names.
const TENSORS: usize = 300;
const NAME_BYTES: usize = 300;

/// A model in the cache at `root`, and how many bytes its headers have.
fn model(root: &Path, shards: usize) -> u64 {
    let folder = root.join("models--org--sharded");
    let commit = "c".repeat(40);
    let snapshot = folder.join("snapshots").join(&commit);
    fs::create_dir_all(&snapshot).unwrap();
    fs::create_dir_all(folder.join("refs")).unwrap();
    fs::write(folder.join("refs/main"), &commit).unwrap();
    let put = |name: &str, bytes: &[u8]| fs::write(snapshot.join(name), bytes).unwrap();
    put("config.json", br#"{"model_type":"mixtral"}"#);
    put(
        "tokenizer.json",
        br#"{"added_tokens":[],"model":{"type":"BPE","vocab":{"a":0},"merges":[]}}"#,
    );
    let mut headers = 0;
    for number in 1..=shards {
        let tensors: Vec<_> = (0..TENSORS)
            .map(|at| {
                let name = format!("{number}.{at}.{}", "x".repeat(NAME_BYTES));
                tensor(&name, "U8", &[1])
            })
            .collect();
        let bytes = weights(&tensors);
        headers += bytes.len() as u64;
        put(&shard(number, shards), &bytes);
    }
    headers
}

fn peak(shards: usize) -> (u64, u64) {
    let scratch = Scratch::new();
    let root = scratch.path().join("hub");
    let headers = model(&root, shards);
    let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
    command
        .args(["verify", "--deep", "--json", "--offline", "--cache-dir"])
        .arg(&root)
        .env("HOME", scratch.path());
    let (_, peak) = peak_of(&command);
    (peak, headers)
}

#[test]
fn two_hundred_shards_take_the_memory_of_one_and_a_number_for_each_tensor() {
    let (few, _) = peak(2);
    let (many, headers) = peak(200);
    report(&format!(
        "2 shards: {} kB; 200 shards with {} kB of headers: {} kB",
        few / 1_000,
        headers / 1_000,
        many / 1_000
    ));
    assert!(headers > 20_000_000, "{headers}");
    // The names alone would be eighteen megabytes.
    assert!(many < few + 12_000_000, "{few} {many}");
}
