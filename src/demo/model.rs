//! Owns the demo's model: generated, small, and of the form that MLX loaders expect.

use std::collections::BTreeMap;

use bytes::{BufMut as _, Bytes, BytesMut};
use serde_json::{Value, json};

use crate::domain::{RepoId, RepoKind};
use crate::serve::{Content, SourceFile};

/// The file that takes longest.
pub(super) const WEIGHTS: &str = "model.safetensors";
/// The demo's repo.
const NAME: &str = "mlx-community/larder-demo-4bit";
/// Tokens in the vocabulary: enough for a file that takes a few seconds.
const VOCABULARY: u32 = 6_000;
/// Layers, as the config says and the weights have.
const LAYERS: u32 = 24;

/// The demo's repo.
pub(super) fn repo() -> RepoId {
    match RepoId::new(RepoKind::Model, NAME) {
        Ok(repo) => repo,
        // A constant that breaks the rule is caught by the test below, not by a user.
        Err(_) => unreachable!("the demo's name follows the rule"),
    }
}

/// The demo's files.
pub(super) fn files() -> Vec<SourceFile> {
    vec![
        SourceFile::git("config.json", pretty(&config())),
        SourceFile::git("chat_template.jinja", CHAT_TEMPLATE),
        SourceFile::git(
            "generation_config.json",
            pretty(&json!({ "eos_token_id": 1, "do_sample": true, "temperature": 0.7 })),
        ),
        SourceFile::git("tokenizer_config.json", pretty(&tokenizer_config())),
        SourceFile::lfs("tokenizer.json", Content::Memory(pretty(&tokenizer()))),
        SourceFile::lfs(WEIGHTS, Content::Memory(weights())),
    ]
}

const CHAT_TEMPLATE: &str = "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}\n{% endfor %}<|assistant|>";

fn pretty(value: &Value) -> Bytes {
    format!("{value:#}\n").into()
}

fn config() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 256,
        "intermediate_size": 1024,
        "num_attention_heads": 4,
        "num_hidden_layers": LAYERS,
        "num_key_value_heads": 4,
        "rms_norm_eps": 1e-6,
        "vocab_size": VOCABULARY,
        "tie_word_embeddings": true,
        "quantization": { "group_size": 64, "bits": 4 },
    })
}

fn tokenizer_config() -> Value {
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "model_max_length": 4096,
        "clean_up_tokenization_spaces": false,
    })
}

fn tokenizer() -> Value {
    let vocabulary: BTreeMap<String, u32> = (0..VOCABULARY)
        .map(|id| {
            let token = match id {
                0 => "<s>".to_owned(),
                1 => "</s>".to_owned(),
                2 => "<unk>".to_owned(),
                id => format!("tok{id:05}"),
            };
            (token, id)
        })
        .collect();
    json!({
        "version": "1.0",
        "added_tokens": [
            { "id": 0, "content": "<s>", "special": true },
            { "id": 1, "content": "</s>", "special": true },
            { "id": 2, "content": "<unk>", "special": true },
        ],
        "pre_tokenizer": { "type": "Whitespace" },
        "model": { "type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>" },
    })
}

/// A safetensors file: the length of a JSON header, the header, the tensors.
fn weights() -> Bytes {
    let hidden = 256_u64;
    let mut shapes: Vec<(String, &str, Vec<u64>, u64)> = Vec::new();
    let mut quantised = |name: String, rows: u64, columns: u64| {
        shapes.push((format!("{name}.weight"), "U32", vec![rows, columns / 8], 4));
        shapes.push((
            format!("{name}.scales"),
            "BF16",
            vec![rows, columns / 64],
            2,
        ));
        shapes.push((
            format!("{name}.biases"),
            "BF16",
            vec![rows, columns / 64],
            2,
        ));
    };
    quantised(
        "model.embed_tokens".to_owned(),
        u64::from(VOCABULARY),
        hidden,
    );
    for layer in 0..LAYERS {
        for part in ["q_proj", "k_proj", "v_proj", "o_proj"] {
            quantised(
                format!("model.layers.{layer}.self_attn.{part}"),
                hidden,
                hidden,
            );
        }
        for part in ["gate_proj", "up_proj"] {
            quantised(
                format!("model.layers.{layer}.mlp.{part}"),
                4 * hidden,
                hidden,
            );
        }
        quantised(
            format!("model.layers.{layer}.mlp.down_proj"),
            hidden,
            4 * hidden,
        );
    }
    let norms = (0..LAYERS).flat_map(|layer| {
        ["input_layernorm", "post_attention_layernorm"]
            .map(|norm| format!("model.layers.{layer}.{norm}.weight"))
    });
    for name in norms.chain(["model.norm.weight".to_owned()]) {
        shapes.push((name, "BF16", vec![hidden], 2));
    }
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".to_owned(), json!({ "format": "mlx" }));
    let mut end = 0;
    for (name, dtype, shape, width) in shapes {
        let begin = end;
        end += shape.iter().product::<u64>() * width;
        header.insert(
            name,
            json!({ "dtype": dtype, "shape": shape, "data_offsets": [begin, end] }),
        );
    }
    let mut head = Value::Object(header).to_string();
    // The format pads the header with spaces to a multiple of eight.
    while !head.len().is_multiple_of(8) {
        head.push(' ');
    }
    let data = Content::Generated { seed: 26, len: end }.bytes();
    let mut file = BytesMut::with_capacity(8 + head.len() + data.len());
    file.put_u64_le(head.len() as u64);
    file.put_slice(head.as_bytes());
    file.put_slice(&data);
    file.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_would_load_in_form() {
        assert_eq!(repo().name(), NAME);
        let file = weights();
        let head_len = u64::from_le_bytes(file[..8].try_into().unwrap());
        let head_len = usize::try_from(head_len).unwrap();
        let header: Value = serde_json::from_slice(&file[8..8 + head_len]).unwrap();
        let end = header
            .as_object()
            .unwrap()
            .values()
            .filter_map(|tensor| tensor["data_offsets"][1].as_u64())
            .max()
            .unwrap();
        assert_eq!(file.len() as u64, 8 + head_len as u64 + end);
        assert!(
            (8_000_000..16_000_000).contains(&file.len()),
            "{}",
            file.len()
        );
    }
}
