//! Owns the timing of a whole look at a large cache: a thousand models, twenty thousand files, by the
//! real binary (or the one that `LARDER_BENCH_LARDER` names) and, where `LARDER_BENCH_HF` names one, by
//! `hf cache ls` beside it.
//!
//! Never asserts a time. `cargo bench --bench cache` prints the figures; without `--bench` one run of
//! each over a small cache shows that it works.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench that cannot be set up has no result; its figures are for people"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "a bench measures real time and is told of its peer by a variable"
)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use sha1::{Digest as _, Sha1};
use sha2::Sha256;

/// Models, files of each, and runs of each command after the one that warms the disk's cache.
const FULL: (usize, usize, usize) = (1_000, 20, 9);
const SMALL: (usize, usize, usize) = (20, 20, 1);

fn main() {
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let (models, files, runs) = if is_bench { FULL } else { SMALL };
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().canonicalize().unwrap();
    let (cache, home) = (root.join("hub"), root.join("home"));
    fs::create_dir_all(&home).unwrap();
    for number in 0..models {
        model(&cache, number, files);
    }
    println!(
        "{models} models, {} files, {runs} runs each, warm",
        models * files
    );
    let named = std::env::var_os("LARDER_BENCH_LARDER");
    let larder = named.unwrap_or_else(|| env!("CARGO_BIN_EXE_larder").into());
    let larder = Path::new(&larder);
    let mut told = Vec::new();
    for verb in ["ls", "status", "doctor"] {
        let arguments = [verb, "--json", "--offline", "--cache-dir"];
        let times = measure(larder, &arguments, &cache, &home, runs);
        told.push((format!("larder {verb}"), times));
    }
    let peer = std::env::var_os("LARDER_BENCH_HF");
    if let Some(hf) = &peer {
        let arguments = ["cache", "ls", "--json", "--cache-dir"];
        let times = measure(Path::new(hf), &arguments, &cache, &home, runs.min(5));
        told.push(("hf cache ls".to_owned(), times));
    }
    let slowest = told[told.len() - 1].1.median;
    for (name, times) in &told {
        print!(
            "{name:<16} median {:>8.3} s  least {:>8.3} s  first {:>8.3} s",
            times.median.as_secs_f64(),
            times.least.as_secs_f64(),
            times.first.as_secs_f64()
        );
        if peer.is_some() {
            let ratio = slowest.as_secs_f64() / times.median.as_secs_f64();
            print!("  {ratio:.1} times as fast as `hf cache ls`");
        }
        println!();
    }
}

struct Times {
    first: Duration,
    median: Duration,
    least: Duration,
}

fn measure(program: &Path, arguments: &[&str], cache: &Path, home: &Path, runs: usize) -> Times {
    let run = || {
        let begin = Instant::now();
        let output = Command::new(program)
            .args(arguments)
            .arg(cache)
            .env_clear()
            .env("HOME", home)
            .env("HF_HUB_OFFLINE", "1")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        let took = begin.elapsed();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(matches!(output.status.code(), Some(0 | 3)), "{said}");
        took
    };
    let first = run();
    let mut times: Vec<Duration> = (0..runs).map(|_| run()).collect();
    times.sort();
    Times {
        first,
        median: times[times.len() / 2],
        least: times[0],
    }
}

/// One model as `huggingface_hub` writes it: config, tokenizer, a shard, and small files.
fn model(cache: &Path, number: usize, files: usize) {
    let repo = cache.join(format!("models--bench--m{number:04}"));
    let commit = format!("{number:040x}");
    let snapshot = repo.join("snapshots").join(&commit);
    for folder in [
        &snapshot,
        &repo.join("refs"),
        &repo.join("blobs"),
        &repo.join("trees"),
    ] {
        fs::create_dir_all(folder).unwrap();
    }
    fs::write(repo.join("refs/main"), &commit).unwrap();
    let mut listed = serde_json::Map::new();
    for (path, bytes, is_lfs) in contents(number, files) {
        let oid = hex::encode(Sha1::digest([b"blob \0", &bytes[..]].concat()));
        let size = bytes.len();
        let mut entry = json!({ "size": size, "blob_id": oid });
        let mut etag = oid;
        if is_lfs {
            etag = hex::encode(Sha256::digest(&bytes));
            entry["lfs_sha256"] = json!(etag);
            entry["lfs_size"] = json!(size);
        }
        fs::write(repo.join("blobs").join(&etag), &bytes).unwrap();
        symlink(format!("../../blobs/{etag}"), snapshot.join(&path)).unwrap();
        listed.insert(path, entry);
    }
    let listing = json!({ "format_version": 1, "files": listed });
    let place = repo.join("trees").join(format!("{commit}.json"));
    fs::write(place, listing.to_string()).unwrap();
}

fn contents(number: usize, files: usize) -> Vec<(String, Vec<u8>, bool)> {
    let config = json!({ "model_type": "llama", "of": number, "hidden_size": 64 });
    let tokenizer = json!({
        "version": "1.0", "added_tokens": [], "of": number,
        "model": { "type": "BPE", "vocab": vocabulary(), "merges": ["a b"] },
    });
    let header = json!({ "w": { "dtype": "F16", "shape": [64], "data_offsets": [0, 128] } });
    let header = header.to_string();
    let mut weights = (header.len() as u64).to_le_bytes().to_vec();
    weights.extend(header.as_bytes());
    weights.extend(number.to_le_bytes().repeat(16));
    let mut all = vec![
        (
            "config.json".to_owned(),
            config.to_string().into_bytes(),
            false,
        ),
        (
            "tokenizer.json".to_owned(),
            tokenizer.to_string().into_bytes(),
            true,
        ),
        ("model.safetensors".to_owned(), weights, true),
    ];
    for more in all.len()..files {
        let text = json!({ "of": number, "file": more }).to_string();
        all.push((format!("extra-{more}.json"), text.into_bytes(), false));
    }
    all
}

/// Two thousand words: reading them is a part of what a first look costs.
fn vocabulary() -> serde_json::Map<String, serde_json::Value> {
    let special = ["<s>", "a", "b", "ab"].map(str::to_owned);
    let words = special
        .into_iter()
        .chain((0..2_000).map(|n| format!("word{n}")));
    words.zip(0..).map(|(word, id)| (word, json!(id))).collect()
}
