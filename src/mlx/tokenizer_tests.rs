//! Owns the tests of counting a `tokenizer.json`.
//!
//! Never part of the program.

use std::io::Cursor;

use super::*;
use crate::mlx::source::Reader;

fn counted(text: &str) -> Result<Counted, String> {
    let opened = || Opened {
        size_bytes: text.len() as u64,
        reader: Reader::Start(Cursor::new(text.as_bytes())),
    };
    let at_once = count(opened(), &["<s>", "é", "a", "c"], true).unwrap();
    let pieces = count_in_pieces(opened()).unwrap();
    // Both ways of reading see the same.
    assert_eq!(at_once.is_ok(), pieces.is_ok(), "{text}");
    if let (Ok(one), Ok(other)) = (&at_once, &pieces) {
        assert_eq!(
            (one.vocabulary, one.merges),
            (other.vocabulary, other.merges)
        );
    }
    at_once.map_err(|unfit| unfit.why)
}

#[test]
fn vocabulary_and_merges_are_counted_in_any_order() {
    for text in [
        r#"{"added_tokens":[{"id":9,"content":"<s>"}],
            "model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2,"\u00e9":3},"merges":["a b"]}}"#,
        r#"{"model":{"merges":[["a","b"]],"vocab":{"a":0,"b":1,"ab":2,"\u00e9":3},"type":"BPE"},
            "added_tokens":[{"content":"<s>","id":9,"special":true}]}"#,
    ] {
        let counted = counted(text).unwrap();
        assert_eq!((counted.vocabulary, counted.merges), (4, 1));
        assert_eq!(counted.kind.as_deref(), Some("BPE"));
        assert!(counted.has_added_tokens);
        assert!(counted.has_token("<s>") && counted.has_token("é") && !counted.has_token("c"));
    }
    let unigram = r#"{"model":{"type":"Unigram","unk_id":0,"vocab":[["<unk>",0.0],["a",-1]]}}"#;
    let unigram = counted(unigram).unwrap();
    assert_eq!((unigram.vocabulary, unigram.merges), (2, 0));
    assert!(unigram.has_token("a") && !unigram.has_added_tokens);
    let words = r###"{"model":{"type":"WordPiece","vocab":{"a":0,"##b":1}}}"###;
    assert_eq!(counted(words).unwrap().vocabulary, 2);
}

#[test]
fn what_the_tokenizers_library_refuses_is_refused() {
    for (text, says) in [
        ("{}", "no `model`"),
        ("[]", "an object with a tokenizer's parts"),
        (r#"{"model":{"type":"Magic","vocab":{}}}"#, "unknown type"),
        (
            r#"{"model":{"type":"BPE","merges":[]}}"#,
            "without a vocabulary",
        ),
        (r#"{"model":{"type":"BPE","vocab":{}}}"#, "without merges"),
        (r#"{"model":{"vocab":{"a":-1}}}"#, "u32"),
        (r#"{"model":{"vocab":{"a":"x"}}}"#, "u32"),
        (r#"{"model":{"vocab":["a"]}}"#, "score"),
        (r#"{"model":{"vocab":[["a"]]}}"#, "score"),
        (
            r#"{"model":{"vocab":{},"merges":"a b"}}"#,
            "a list of merges",
        ),
        (
            r#"{"model":{"vocab":{},"merges":["ab"]}}"#,
            "not of two tokens",
        ),
        (
            r#"{"model":{"vocab":{},"merges":["a b c"]}}"#,
            "not of two tokens",
        ),
        (
            r#"{"model":{"vocab":{},"merges":[["a"]]}}"#,
            "not of two tokens",
        ),
        (
            r#"{"model":{"vocab":{},"merges":[5]}}"#,
            "a merge of two tokens",
        ),
        (
            r#"{"model":{"vocab":{"a":0,"b":1},"merges":["a b"]}}"#,
            "a merge of a token that it does not know",
        ),
        (r#"{"added_tokens":[{"content":"x"}],"model":{}}"#, "id"),
        (r#"{"added_tokens":[{"id":1}],"model":{}}"#, "content"),
        (r#"{"model":{"vocab":{}}} x"#, "malformed JSON"),
        (r#"{"model":{"vocab":{"a":0"#, "malformed JSON"),
        ("<html>", "web page"),
    ] {
        let why = counted(text).err().unwrap();
        assert!(why.contains(says), "{text}: {why}");
    }
}

#[test]
fn a_prefix_of_parts_is_not_held_against_merges() {
    let text = r###"{"model":{"type":"BPE","continuing_subword_prefix":"##",
        "vocab":{"a":0,"##b":1,"ab":2},"merges":["a ##b"]}}"###;
    assert_eq!(counted(text).unwrap().merges, 1);
}

/// A text that nobody counts, a token, and a merge, each with bytes that are no text.
#[test]
fn what_is_no_utf8_is_refused_wherever_it_is_and_however_long_the_file_is() {
    for text in [
        r#"{"version":"?","model":{"vocab":{"a":0}}}"#,
        r#"{"model":{"vocab":{"?":0}}}"#,
        r#"{"model":{"vocab":{"a":0,"aa":1},"merges":["a ?"]}}"#,
        r#"{"model":{"vocab":{"a":0}},"last":{"of":["it?"]}}"#,
    ] {
        for no_text in [&b"\xff"[..], b"\xc3", b"\xed\xa0\x80", b"\xf0\x9f\xa6"] {
            let at = text.find('?').unwrap();
            let bytes = [&text.as_bytes()[..at], no_text, &text.as_bytes()[at + 1..]].concat();
            for read in [
                count(Opened::of(&bytes), &[], false).unwrap(),
                count_in_pieces(Opened::of(&bytes)).unwrap(),
            ] {
                let why = read.err().unwrap().why;
                assert!(why.contains("UTF-8"), "{text}: {why}");
            }
        }
    }
    let page = b"<html>\xff".to_vec();
    let read = count_in_pieces(Opened::of(&page)).unwrap();
    assert!(read.err().unwrap().why.contains("web page"));
}
