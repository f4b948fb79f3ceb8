//! Owns the proof that larder judges models as the real `mlx_lm.load` does, case by case.
//!
//! The verdicts of mlx-lm are recorded in `load/verdicts.json`; with `LARDER_TEST_MLX_PYTHON` (a
//! Python that has mlx-lm) they are asked for again. Where larder differs, the table says why.

mod before;
mod build;
mod cases;
mod memory;
mod ranks;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use larder::domain::{Examination, LoadLevel};
use larder::mlx;
use serde::{Deserialize, Serialize};

use crate::support::Scratch;

/// What mlx-lm said, and which versions said it.
#[derive(Debug, Deserialize, Serialize, PartialEq, Eq)]
struct Recorded {
    verdicts: BTreeMap<String, Verdict>,
    versions: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize, Serialize, PartialEq, Eq)]
struct Verdict {
    loads: bool,
    says: Option<String>,
}

/// mlx-lm takes it, larder does not.
const STRICTER: &[(&str, &[&str])] = &[
    (
        "the file holds something else than its name says; mlx-lm does not open it to load, or looks \
         past it, but others read it, and its bytes are not those of the repo",
        &[
            "chat-template-json-html",
            "generation-config-empty",
            "generation-config-html",
            "generation-config-not-json",
            "index-html",
            "index-not-json",
            "preprocessor-config-html",
            "sentencepiece-html-beside-tokenizer",
            "tiktoken-html-beside-tokenizer",
            "vocab-json-html-beside-tokenizer",
        ],
    ),
    (
        "mlx-lm reads no index; Swift loaders and pipelines over several machines do, and fail",
        &[
            "index-leads-out",
            "index-map-of-numbers",
            "index-without-map",
        ],
    ),
    (
        "mx.load looks at no gaps, overlaps or bytes after the last tensor; the safetensors library \
         of all others refuses them, and no writer makes them",
        &["header-gap", "header-overlap", "weights-longer"],
    ),
    (
        "an empty file loads as a vocabulary of nothing",
        &["sentencepiece-empty", "tiktoken-empty"],
    ),
    (
        "Python's base64 looks past what is none; other readers of such files do not, and no writer \
         makes it",
        &["tiktoken-base64-with-more-in-it"],
    ),
];

/// mlx-lm does not take it, larder does.
const MILDER: &[(&str, &[&str])] = &[
    (
        "another loader or the next mlx-lm may know it: a note says that this one does not",
        &["model-type-unknown"],
    ),
    (
        "it loads where its code is trusted: a warning says so",
        &["model-of-its-own-code", "tiktoken-for-code-of-its-own"],
    ),
    (
        "Swift loaders and those for speech and pictures take other names: a warning says so",
        &["weights-under-another-name"],
    ),
    (
        "what other tools pack is unpacked by mlx-lm, and its names are not compared",
        &["quant-method-bitnet"],
    ),
];

fn recorded_at() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/load/verdicts.json")
}

fn recorded() -> Recorded {
    serde_json::from_slice(&fs::read(recorded_at()).unwrap()).unwrap()
}

fn examine(dir: &Path) -> Examination {
    let reading = mlx::Reading {
        open: &|path| File::open(path),
        list: &larder::host::names,
        is_deep: true,
    };
    mlx::examine(dir, reading, &|_| false)
}

/// All cases as folders, by name.
fn zoo(root: &Path) {
    let mut names = BTreeSet::new();
    for case in cases::all() {
        assert!(
            names.insert(case.name),
            "two cases are called {}",
            case.name
        );
        case.folder().write(&root.join(case.name));
    }
}

/// The cases in which larder differs, with what both say.
fn differences(root: &Path, verdicts: &BTreeMap<String, Verdict>) -> BTreeMap<String, String> {
    let listed = |table: &[(&str, &[&str])], name: &str| {
        table.iter().any(|(_, names)| names.contains(&name))
    };
    let mut wrong = BTreeMap::new();
    for case in cases::all() {
        let real = &verdicts[case.name];
        let ours = examine(&root.join(case.name));
        let is_listed = match (ours.would_load(), real.loads) {
            (false, true) => listed(STRICTER, case.name),
            (true, false) => listed(MILDER, case.name),
            _ => !listed(STRICTER, case.name) && !listed(MILDER, case.name),
        };
        if !is_listed {
            let said = format!("mlx-lm {real:?}, larder {:?}", ours.troubles);
            wrong.insert(case.name.to_owned(), said);
        }
    }
    wrong
}

#[test]
fn larder_and_mlx_lm_judge_every_case_alike_or_for_a_listed_reason() {
    let scratch = Scratch::new();
    zoo(scratch.path());
    let recorded = recorded();
    let cases: BTreeSet<String> = cases::all()
        .iter()
        .map(|case| case.name.to_owned())
        .collect();
    let known: BTreeSet<String> = recorded.verdicts.keys().cloned().collect();
    assert_eq!(cases, known, "record again: LARDER_TEST_MLX_PYTHON");
    let wrong = differences(scratch.path(), &recorded.verdicts);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_loads_without_a_word_is_without_findings() {
    let scratch = Scratch::new();
    zoo(scratch.path());
    for name in [
        "llama",
        "qwen-sharded",
        "qwen2",
        "gemma",
        "vision",
        "no-index",
    ] {
        let seen = examine(&scratch.path().join(name));
        assert!(seen.troubles.is_empty(), "{name}: {:?}", seen.troubles);
    }
    for (name, level, says) in [
        ("no-chat-template", LoadLevel::Note, "no chat template"),
        (
            "model-type-unknown",
            LoadLevel::Note,
            "no model of the type",
        ),
        (
            "tokenizer-model-only",
            LoadLevel::Warning,
            "Swift loaders do not",
        ),
        (
            "vision-without-preprocessor",
            LoadLevel::Warning,
            "pictures",
        ),
        (
            "stray-same-tensors",
            LoadLevel::Warning,
            "`model-old.safetensors` is not in the index",
        ),
        ("stray-other-tensors", LoadLevel::Broken, "no place for"),
        (
            "special-token-unresolvable",
            LoadLevel::Warning,
            "`<nowhere>` as `eos_token`",
        ),
        ("tensor-twice", LoadLevel::Warning, "left to chance"),
        (
            "tiktoken-line-missing",
            LoadLevel::Warning,
            "no token for 1 of the ranks below the highest",
        ),
        (
            "tiktoken-byte-missing",
            LoadLevel::Warning,
            "no token for 1 of the 256 bytes",
        ),
        (
            "tiktoken-for-code-of-its-own",
            LoadLevel::Warning,
            "`qwen.tiktoken` is read by code of the model's own",
        ),
        (
            "tiktoken-rank-twice",
            LoadLevel::Broken,
            "`tiktoken.model` gives rank 257 to two tokens",
        ),
        (
            "tiktoken-damaged-by-the-name-of-sentencepiece",
            LoadLevel::Broken,
            "`tokenizer.model` has no token and its rank as entry 260",
        ),
        (
            "shard-missing-no-index",
            LoadLevel::Missing,
            "`model-00002-of-00003.safetensors`",
        ),
    ] {
        let seen = examine(&scratch.path().join(name));
        let sentences = seen.sentences(level);
        assert!(
            sentences.iter().any(|sentence| sentence.contains(says)),
            "{name}: {:?}",
            seen.troubles
        );
    }
}

#[test]
#[ignore = "needs LARDER_TEST_MLX_PYTHON, a Python that has mlx-lm"]
fn the_recorded_verdicts_are_those_of_the_real_thing() {
    let python = std::env::var("LARDER_TEST_MLX_PYTHON").expect("LARDER_TEST_MLX_PYTHON");
    let scratch = Scratch::new();
    zoo(scratch.path());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/load/ask.py");
    let output = Command::new(python)
        .arg(script)
        .arg(scratch.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let fresh: Recorded = serde_json::from_slice(&output.stdout).unwrap();
    // What is new is kept, so that a look at the difference is a look at the working copy.
    fs::write(recorded_at(), &output.stdout).unwrap();
    let loads = |recorded: &Recorded| -> BTreeMap<String, bool> {
        let verdicts = recorded.verdicts.iter();
        verdicts
            .map(|(name, verdict)| (name.clone(), verdict.loads))
            .collect()
    };
    let wrong = differences(scratch.path(), &fresh.verdicts);
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(!loads(&fresh).is_empty());
}
