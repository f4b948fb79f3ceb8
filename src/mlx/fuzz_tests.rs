//! Owns the tests of the parsers against arbitrary and damaged files: none panics, and what they
//! say is fit for a terminal.
//!
//! `PROPTEST_CASES` above the number here makes it run longer.

use std::collections::BTreeMap;
use std::io::Cursor;

use proptest::prelude::*;

use super::index::Index;
use super::json;
use super::sentencepiece;
use super::shards::INDEX;
use super::source::{Listed, Opened, Reader};
use super::tiktoken;
use super::tokenizer;
use super::weights;
use super::{asks, examine_listed, header_length};

/// Each parser sees at least so many files.
const CASES: u32 = 10_000;

fn config() -> ProptestConfig {
    let asked = ProptestConfig::default();
    ProptestConfig {
        cases: asked.cases.max(CASES),
        failure_persistence: None,
        ..asked
    }
}

const TOKENIZER: &str = r#"{"version":"1.0","added_tokens":[{"id":4,"content":"<s>","special":true}],
"normalizer":null,"model":{"type":"BPE","continuing_subword_prefix":null,
"vocab":{"a":0,"b":1,"ab":2,"\u00e9":3},"merges":["a b",["a","b"]]}}"#;
const UNIGRAM: &str = r#"{"added_tokens":[],"model":{"type":"Unigram","unk_id":0,"vocab":[["<unk>",0.0],["\u2581a",-1.5]]}}"#;
const CONFIG: &str = r#"{"model_type":"llama","hidden_size":8,"num_hidden_layers":1,"intermediate_size":8,
"num_attention_heads":2,"rms_norm_eps":1e-5,"vocab_size":4,"quantization":{"group_size":32,"bits":4,"mode":"affine",
"lm_head":{"bits":8}},"quantization_config":{"quant_method":"awq","bits":4},"text_config":{"a":[Infinity,-1e99]},"eos_token_id":1}"#;
const INDEX_TEXT: &str = r#"{"metadata":{"total_size":8},"weight_map":{"model.norm.weight":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors","c":"sub/x.safetensors"}}"#;
const TOKENIZER_CONFIG: &str = r#"{"tokenizer_class":"LlamaTokenizer","bos_token":"<s>","eos_token":{"content":"</s>"},"added_tokens_decoder":{"0":{"content":"</s>"}},"chat_template":null}"#;

/// One way to damage a file.
#[derive(Clone, Debug)]
enum Harm {
    Set(usize, u8),
    Insert(usize, Vec<u8>),
    Remove(usize, usize),
    Repeat(usize, usize),
    Cut(usize),
}

fn harm() -> impl Strategy<Value = Harm> {
    // Bytes that mean something to JSON are likelier to lead somewhere.
    let byte = prop_oneof![
        any::<u8>(),
        prop::sample::select(b"\"\\{}[]:,0-9eE.u \n".to_vec())
    ];
    let at = any::<usize>();
    prop_oneof![
        (at, byte.clone()).prop_map(|(at, byte)| Harm::Set(at, byte)),
        (at, prop::collection::vec(byte, 1..6)).prop_map(|(at, bytes)| Harm::Insert(at, bytes)),
        (at, 1..20_usize).prop_map(|(at, count)| Harm::Remove(at, count)),
        (at, 1..40_usize).prop_map(|(at, count)| Harm::Repeat(at, count)),
        at.prop_map(Harm::Cut),
    ]
}

fn damaged(mut bytes: Vec<u8>, harms: &[Harm]) -> Vec<u8> {
    for harm in harms {
        let length = bytes.len();
        if length == 0 {
            break;
        }
        match harm {
            Harm::Set(at, byte) => bytes[at % length] = *byte,
            Harm::Insert(at, new) => {
                let at = at % length;
                bytes.splice(at..at, new.iter().copied());
            }
            Harm::Remove(at, count) => {
                let at = at % length;
                bytes.drain(at..(at + count).min(length));
            }
            Harm::Repeat(at, count) => {
                let at = at % length;
                let part = bytes[at..(at + count).min(length)].to_vec();
                bytes.splice(at..at, part);
            }
            Harm::Cut(at) => bytes.truncate(at % length),
        }
    }
    bytes
}

/// Anything, or one of these with some damage.
fn file(valid: &[&[u8]]) -> impl Strategy<Value = Vec<u8>> + use<> {
    let valid: Vec<Vec<u8>> = valid.iter().map(|bytes| bytes.to_vec()).collect();
    prop_oneof![
        1 => prop::collection::vec(any::<u8>(), 0..300),
        4 => (
            prop::sample::select(valid),
            prop::collection::vec(harm(), 0..5)
        )
            .prop_map(|(bytes, harms)| damaged(bytes, &harms)),
    ]
}

/// A header before data; its length is right, or a lie.
fn weight_file() -> impl Strategy<Value = Vec<u8>> {
    let sample = weights::sample(&["model.norm.weight", "b", "c"]);
    let header = sample[8..sample.len() - 24].to_vec();
    let lies = prop_oneof![
        4 => Just(None),
        1 => any::<u64>().prop_map(Some),
        1 => (0..400_u64).prop_map(Some),
    ];
    let parts = (prop::collection::vec(harm(), 0..4), lies, 0..40_usize);
    let built = parts.prop_map(move |(harms, lie, data)| {
        let header = damaged(header.clone(), &harms);
        let length = lie.unwrap_or(header.len() as u64);
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend(header);
        bytes.extend(vec![1; data]);
        bytes
    });
    prop_oneof![4 => built, 1 => file(&[&sample])]
}

fn opened(bytes: &[u8], size_bytes: u64) -> Opened<'_> {
    Opened {
        size_bytes,
        reader: Reader::Start(Cursor::new(bytes)),
    }
}

fn listed(start: Option<Vec<u8>>, more: u64) -> Listed {
    Listed {
        size_bytes: start.as_ref().map_or(0, |bytes| bytes.len() as u64) + more,
        start,
    }
}

fn is_harmless(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_weight_file_is_judged(bytes in weight_file(), more in prop_oneof![Just(0), any::<u64>()]) {
        let size = (bytes.len() as u64).saturating_add(more);
        let _ = header_length(&bytes, size);
        if let Ok(tensors) = weights::tensors(opened(&bytes, size)) {
            // What is taken fits the file.
            prop_assert!(tensors.iter().all(|tensor| tensor.name.len() < bytes.len()));
        }
    }

    #[test]
    fn any_index_is_judged(bytes in file(&[INDEX_TEXT.as_bytes()])) {
        if let Err(unfit) = json::parse::<Index>(&bytes) {
            prop_assert!(is_harmless(&unfit.why), "{}", unfit.why);
        }
    }

    #[test]
    fn any_config_is_judged(bytes in file(&[CONFIG.as_bytes()])) {
        match json::parse::<serde_json::Value>(&bytes) {
            Ok(value) => {
                if let Ok(config) = super::config::Config::new(value) {
                    let flaws = config.flaws();
                    prop_assert!(flaws.broken.iter().chain(&flaws.odd).all(|why| is_harmless(why)));
                    if let super::family::Needs::Known(fitting) = super::family::needs(&config) {
                        let _ = fitting.fit();
                    }
                }
            }
            Err(unfit) => prop_assert!(is_harmless(&unfit.why)),
        }
    }

    #[test]
    fn any_tokenizer_is_counted_alike_in_one_piece_and_in_many(
        bytes in file(&[TOKENIZER.as_bytes(), UNIGRAM.as_bytes()])
    ) {
        let size = bytes.len() as u64;
        let at_once = tokenizer::count(opened(&bytes, size), &["a", "<s>"], true).unwrap();
        let in_pieces = tokenizer::count_in_pieces(opened(&bytes, size)).unwrap();
        let is_text = std::str::from_utf8(&bytes).is_ok();
        prop_assert!(is_text || at_once.is_err());
        prop_assert_eq!(at_once.is_ok(), in_pieces.is_ok());
        match (at_once, in_pieces) {
            (Ok(one), Ok(other)) => {
                prop_assert_eq!((one.vocabulary, one.merges), (other.vocabulary, other.merges));
                prop_assert!(one.vocabulary + one.merges <= bytes.len());
            }
            (Err(one), Err(other)) => {
                prop_assert!(is_harmless(&one.why), "{}", one.why);
                prop_assert!(is_harmless(&other.why), "{}", other.why);
            }
            _ => {}
        }
        let _ = tokenizer::count_vocabulary(opened(&bytes, size), &[]).unwrap();
    }

    #[test]
    fn any_sentencepiece_model_and_any_merges_are_read(
        bytes in file(&[&[0x0a, 3, 0x0a, 1, b'a', 0x12, 2, 0x18, 1], b"#version: 0.2\na b\n"])
    ) {
        if let Ok(pieces) = sentencepiece::pieces(&bytes) {
            prop_assert!(pieces > 0 && pieces <= bytes.len());
        }
        let mut counted = tokenizer::Counted::asked_for(&[]);
        let _ = counted.merges_text(&bytes);
    }

    #[test]
    fn any_tiktoken_vocabulary_is_counted(
        bytes in file(&[b"YQ== 0\nYg== 1\r\nYWI= 2\n", tiktoken::sample().as_bytes()])
    ) {
        match tiktoken::count(Opened::of(&bytes)).unwrap() {
            Ok(counted) => prop_assert!(counted.tokens * 6 <= bytes.len() as u64 + 1),
            Err(fault) => prop_assert!(is_harmless(&fault.unfit.why), "{}", fault.unfit.why),
        }
    }

    #[test]
    fn any_model_is_judged(
        config in file(&[CONFIG.as_bytes()]),
        index in file(&[INDEX_TEXT.as_bytes()]),
        tokenizer in prop::option::of(file(&[TOKENIZER.as_bytes()])),
        tokenizer_config in file(&[TOKENIZER_CONFIG.as_bytes()]),
        one in weight_file(),
        other in prop::option::of(weight_file()),
        more in prop_oneof![Just(0), 0..1_u64 << 40],
    ) {
        let files: BTreeMap<String, Listed> = [
            ("config.json", listed(Some(config), 0)),
            (INDEX, listed(Some(index), 0)),
            ("tokenizer.json", listed(tokenizer, 9)),
            ("tokenizer_config.json", listed(Some(tokenizer_config.clone()), 0)),
            ("special_tokens_map.json", listed(Some(tokenizer_config), 0)),
            ("model-00001-of-00002.safetensors", listed(Some(one.clone()), 0)),
            ("model-00002-of-00002.safetensors", listed(other, more)),
            ("model-stray.safetensors", listed(Some(one), 0)),
        ]
        .into_iter()
        .map(|(name, file)| (name.to_owned(), file))
        .collect();
        let _ = asks(&[], &files);
        for trouble in examine_listed(&files).troubles {
            prop_assert!(is_harmless(&trouble.sentence), "{}", trouble.sentence);
            prop_assert!(trouble.sentence.len() < 2_000, "{}", trouble.sentence);
        }
    }
}
