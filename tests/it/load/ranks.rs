//! Owns the part of the fixed list that is about vocabularies as tiktoken writes them.
//!
//! Never says what should come of it: that is for the real `mlx_lm.load` to say.

use serde_json::json;

use super::build::{Folder, llama, ranks, tiktoken};
use super::cases::{Case, HTML, POINTER, case};

const FILE: &str = "tiktoken.model";

/// The lines with a change to them.
fn lines(folder: &mut Folder, change: impl FnOnce(&mut Vec<String>)) {
    let mut lines = ranks();
    change(&mut lines);
    folder.put(FILE, lines.join("\n") + "\n");
}

/// The last line replaced.
fn ends_with(folder: &mut Folder, line: &str) {
    lines(folder, |lines| line.clone_into(lines.last_mut().unwrap()));
}

pub(super) fn all() -> Vec<Case> {
    vec![
        case("tiktoken", tiktoken, |_| {}),
        case(
            "tiktoken-by-the-name-of-sentencepiece",
            tiktoken,
            |folder| {
                folder.remove(FILE);
                folder.put("tokenizer.model", ranks().join("\n"));
            },
        ),
        case("tiktoken-for-code-of-its-own", tiktoken, |folder| {
            folder.remove(FILE);
            folder.put("qwen.tiktoken", ranks().join("\n"));
        }),
        case("tiktoken-lines-of-windows", tiktoken, |folder| {
            folder.put(FILE, ranks().join("\r\n"));
        }),
        case("tiktoken-empty-lines", tiktoken, |folder| {
            folder.put(FILE, ranks().join("\n\n"));
        }),
        case("tiktoken-cut-in-a-token", tiktoken, |folder| {
            folder.bytes(FILE, |bytes| bytes.truncate(bytes.len() - 6));
        }),
        case("tiktoken-cut-between-lines", tiktoken, |folder| {
            lines(folder, |lines| lines.truncate(200));
        }),
        case("tiktoken-empty", tiktoken, |folder| folder.put(FILE, "")),
        case("tiktoken-html", tiktoken, |folder| folder.put(FILE, HTML)),
        case("tiktoken-lfs-pointer", tiktoken, |folder| {
            folder.put(FILE, POINTER);
        }),
        case("tiktoken-zeros", tiktoken, |folder| {
            folder.put(FILE, vec![0; 4_000]);
        }),
        case("tiktoken-zeros-at-the-end", tiktoken, |folder| {
            folder.bytes(FILE, |bytes| {
                let from = bytes.len() - 40;
                bytes[from..].fill(0);
            });
        }),
        case("tiktoken-rank-missing", tiktoken, |folder| {
            ends_with(folder, "YWJjZA==");
        }),
        case("tiktoken-rank-text", tiktoken, |folder| {
            ends_with(folder, "YWJjZA== last");
        }),
        case("tiktoken-rank-negative", tiktoken, |folder| {
            ends_with(folder, "YWJjZA== -3");
        }),
        case("tiktoken-rank-too-large", tiktoken, |folder| {
            ends_with(folder, "YWJjZA== 4294967296");
        }),
        case("tiktoken-three-words", tiktoken, |folder| {
            ends_with(folder, "YWJjZA== 258 more");
        }),
        case("tiktoken-rank-twice", tiktoken, |folder| {
            ends_with(folder, "YWJjZA== 257");
        }),
        case("tiktoken-line-missing", tiktoken, |folder| {
            lines(folder, |lines| drop(lines.remove(256)));
        }),
        case("tiktoken-byte-missing", tiktoken, |folder| {
            lines(folder, |lines| drop(lines.remove(200)));
        }),
        case("tiktoken-no-padding", tiktoken, |folder| {
            ends_with(folder, "YWJjZA 258");
        }),
        case("tiktoken-no-base64", tiktoken, |folder| {
            ends_with(folder, "YW!jZA== 258");
        }),
        case("tiktoken-base64-with-more-in-it", tiktoken, |folder| {
            ends_with(folder, "YWJj!ZA!==!! 258");
        }),
        case("tiktoken-html-beside-tokenizer", llama, |folder| {
            folder.put(FILE, HTML);
        }),
        case("tiktoken-damaged-for-a-class", tiktoken, |folder| {
            folder.json("tokenizer_config.json", |config| {
                config["tokenizer_class"] = json!("LlamaTokenizer");
            });
            ends_with(folder, "YWJjZA== last");
        }),
        case(
            "tiktoken-damaged-by-the-name-of-sentencepiece",
            tiktoken,
            |folder| {
                folder.remove(FILE);
                folder.put("tokenizer.model", ranks().join("\n") + "\nYWJj");
            },
        ),
    ]
}
