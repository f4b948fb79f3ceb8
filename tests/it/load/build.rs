//! Owns tiny models that the real `mlx_lm.load` takes: a few layers, a vocabulary of 300, the same
//! bytes each time.
//!
//! Never asks larder how a model should look: names and shapes are those of mlx-lm's own classes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

/// Words that the vocabulary knows beyond single bytes.
const MERGES: usize = 40;
/// Tokens, special ones included.
const VOCABULARY: usize = 300;

/// The files of a model, by name.
#[derive(Clone, Default)]
pub(super) struct Folder {
    pub(super) files: BTreeMap<String, Vec<u8>>,
}

/// One tensor of a weight file.
#[derive(Clone)]
pub(super) struct Tensor {
    pub(super) name: String,
    pub(super) dtype: &'static str,
    pub(super) shape: Vec<usize>,
}

pub(super) fn tensor(name: &str, dtype: &'static str, shape: &[usize]) -> Tensor {
    Tensor {
        name: name.to_owned(),
        dtype,
        shape: shape.to_vec(),
    }
}

impl Folder {
    pub(super) fn put(&mut self, name: &str, bytes: impl Into<Vec<u8>>) {
        self.files.insert(name.to_owned(), bytes.into());
    }

    pub(super) fn put_json(&mut self, name: &str, value: &Value) {
        self.put(name, value.to_string());
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.files.remove(name).unwrap();
    }

    pub(super) fn json(&mut self, name: &str, change: impl FnOnce(&mut Value)) {
        let bytes = self.files.get_mut(name).unwrap();
        let mut value: Value = serde_json::from_slice(bytes).unwrap();
        change(&mut value);
        *bytes = value.to_string().into_bytes();
    }

    pub(super) fn config(&mut self, change: impl FnOnce(&mut Value)) {
        self.json("config.json", change);
    }

    pub(super) fn bytes(&mut self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        change(self.files.get_mut(name).unwrap());
    }

    /// Changes a header; the data stay as they are.
    pub(super) fn header(&mut self, name: &str, change: impl FnOnce(&mut Value)) {
        self.bytes(name, |bytes| {
            let length = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap()));
            let end = 8 + length.unwrap();
            let mut header: Value = serde_json::from_slice(&bytes[8..end]).unwrap();
            change(&mut header);
            let header = header.to_string();
            let mut whole = (header.len() as u64).to_le_bytes().to_vec();
            whole.extend_from_slice(header.as_bytes());
            whole.extend_from_slice(&bytes[end..]);
            *bytes = whole;
        });
    }

    /// One weight file of these tensors.
    pub(super) fn put_weights(&mut self, name: &str, tensors: &[Tensor]) {
        self.put(name, weights(tensors));
    }

    /// The tensors in one file, or in several with an index.
    fn put_shards(&mut self, tensors: &[Tensor], shards: usize) {
        if shards == 1 {
            self.put_weights("model.safetensors", tensors);
            return;
        }
        let mut map = serde_json::Map::new();
        let per_shard = tensors.len().div_ceil(shards);
        for (at, part) in tensors.chunks(per_shard).enumerate() {
            let name = shard(at + 1, shards);
            for tensor in part {
                map.insert(tensor.name.clone(), json!(name));
            }
            self.put_weights(&name, part);
        }
        let index = json!({ "metadata": { "total_size": 1 }, "weight_map": map });
        self.put_json("model.safetensors.index.json", &index);
    }

    pub(super) fn write(&self, dir: &Path) {
        fs::create_dir_all(dir).unwrap();
        for (name, bytes) in &self.files {
            fs::write(dir.join(name), bytes).unwrap();
        }
    }
}

/// The name of a shard.
pub(super) fn shard(number: usize, of: usize) -> String {
    format!("model-{number:05}-of-{of:05}.safetensors")
}

fn width(dtype: &str) -> usize {
    match dtype {
        "F64" | "I64" | "C64" | "U64" => 8,
        "F32" | "U32" | "I32" => 4,
        "F16" | "BF16" | "I16" | "U16" => 2,
        "U8" | "I8" | "BOOL" | "F8_E4M3" | "F8_E5M2" | "F8_E8M0" => 1,
        other => panic!("{other}"),
    }
}

pub(super) fn weights(tensors: &[Tensor]) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".to_owned(), json!({ "format": "mlx" }));
    let mut end = 0;
    for tensor in tensors {
        let bytes = tensor.shape.iter().product::<usize>() * width(tensor.dtype);
        header.insert(
            tensor.name.clone(),
            json!({ "dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [end, end + bytes] }),
        );
        end += bytes;
    }
    let header = Value::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    // Small numbers in every format.
    file.extend((0..end).map(|at| u8::try_from(at % 7).unwrap()));
    file
}

/// A matrix as it is, or as mlx-lm packs it: 4 bits, 32 numbers to a scale.
fn matrix(name: &str, rows: usize, columns: usize, quantized: bool) -> Vec<Tensor> {
    if !quantized {
        return vec![tensor(&format!("{name}.weight"), "F16", &[rows, columns])];
    }
    vec![
        tensor(&format!("{name}.weight"), "U32", &[rows, columns / 8]),
        tensor(&format!("{name}.scales"), "F16", &[rows, columns / 32]),
        tensor(&format!("{name}.biases"), "F16", &[rows, columns / 32]),
    ]
}

/// What families differ in.
#[derive(Clone, Copy)]
struct Family {
    attention_bias: bool,
    head_norms: bool,
    feedforward_norms: bool,
    own_head: bool,
    quantized: bool,
}

const PLAIN: Family = Family {
    attention_bias: false,
    head_norms: false,
    feedforward_norms: false,
    own_head: false,
    quantized: false,
};

fn decoder(prefix: &str, family: Family) -> Vec<Tensor> {
    let matrix = |name: &str, rows, columns| matrix(name, rows, columns, family.quantized);
    let mut all = matrix(&format!("{prefix}model.embed_tokens"), VOCABULARY, 32);
    for layer in 0..3 {
        let at = format!("{prefix}model.layers.{layer}");
        let mut norms = vec!["input_layernorm", "post_attention_layernorm"];
        if family.feedforward_norms {
            norms.extend(["pre_feedforward_layernorm", "post_feedforward_layernorm"]);
        }
        for norm in norms {
            all.push(tensor(&format!("{at}.{norm}.weight"), "F16", &[32]));
        }
        for (part, rows) in [("q", 32), ("k", 16), ("v", 16), ("o", 32)] {
            let name = format!("{at}.self_attn.{part}_proj");
            all.extend(matrix(&name, rows, 32));
            if family.attention_bias && part != "o" {
                all.push(tensor(&format!("{name}.bias"), "F16", &[rows]));
            }
        }
        if family.head_norms {
            for part in ["q", "k"] {
                let name = format!("{at}.self_attn.{part}_norm.weight");
                all.push(tensor(&name, "F16", &[8]));
            }
        }
        all.extend(matrix(&format!("{at}.mlp.gate_proj"), 64, 32));
        all.extend(matrix(&format!("{at}.mlp.up_proj"), 64, 32));
        all.extend(matrix(&format!("{at}.mlp.down_proj"), 32, 64));
    }
    all.push(tensor(&format!("{prefix}model.norm.weight"), "F16", &[32]));
    if family.own_head {
        all.extend(matrix(&format!("{prefix}lm_head"), VOCABULARY, 32));
    }
    all
}

fn sizes(model_type: &str) -> Value {
    json!({
        "model_type": model_type,
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "intermediate_size": 64,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "rms_norm_eps": 1e-5,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 128,
        "rope_theta": 10_000.0,
        "eos_token_id": 299,
    })
}

/// The character that stands for a byte in the vocabularies of byte-level models.
fn byte_char(byte: u8) -> char {
    let is_shown = matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if is_shown {
        return char::from(byte);
    }
    let hidden_before = (0..byte)
        .filter(|other| !matches!(other, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff))
        .count();
    char::from_u32(256 + u32::try_from(hidden_before).unwrap()).unwrap()
}

/// A byte-level BPE vocabulary: every byte, some pairs of letters, and the special tokens.
pub(super) fn vocabulary(special: &[&str]) -> (serde_json::Map<String, Value>, Vec<[String; 2]>) {
    let mut vocabulary = serde_json::Map::new();
    let mut add = |token: String| {
        let id = vocabulary.len();
        vocabulary.insert(token, json!(id));
    };
    for byte in 0..=u8::MAX {
        add(byte_char(byte).to_string());
    }
    let letters = "abcdefgh";
    let mut merges = Vec::new();
    for one in letters.chars() {
        for other in letters.chars().filter(|other| *other != one) {
            if merges.len() < MERGES {
                add(format!("{one}{other}"));
                merges.push([one.to_string(), other.to_string()]);
            }
        }
    }
    let rest = VOCABULARY - 256 - MERGES - special.len();
    for filler in 0..rest {
        add(format!("<filler{filler}>"));
    }
    (vocabulary, merges)
}

fn added(special: &[&str]) -> Vec<Value> {
    let first = VOCABULARY - special.len();
    special
        .iter()
        .enumerate()
        .map(|(at, content)| {
            json!({
                "id": first + at, "content": content, "special": true,
                "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            })
        })
        .collect()
}

/// `tokenizer.json`, with merges as the older or the newer tokenizers library writes them.
fn tokenizer(special: &[&str], merges_as_pairs: bool) -> Value {
    let (vocabulary, merges) = vocabulary(special);
    let merges: Vec<Value> = merges
        .iter()
        .map(|[one, other]| {
            if merges_as_pairs {
                json!([one, other])
            } else {
                json!(format!("{one} {other}"))
            }
        })
        .collect();
    let byte_level = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true,
    });
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added(special),
        "normalizer": null,
        "pre_tokenizer": byte_level,
        "post_processor": null,
        "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "vocab": vocabulary, "merges": merges,
        },
    })
}

fn with_tokenizer(folder: &mut Folder, class: &str, special: &[&str], merges_as_pairs: bool) {
    folder.put_json("tokenizer.json", &tokenizer(special, merges_as_pairs));
    let config = json!({
        "tokenizer_class": class,
        "bos_token": special[0],
        "eos_token": special[special.len() - 1],
        "pad_token": special[special.len() - 1],
        "model_max_length": 128,
        "chat_template": "{% for message in messages %}{{ message.content }}{% endfor %}",
    });
    folder.put_json("tokenizer_config.json", &config);
}

/// Llama-like, quantized as mlx-lm does, in one file.
pub(super) fn llama() -> Folder {
    let family = Family {
        quantized: true,
        own_head: true,
        ..PLAIN
    };
    let mut folder = Folder::default();
    let mut config = sizes("llama");
    config["tie_word_embeddings"] = json!(false);
    config["quantization"] = json!({ "group_size": 32, "bits": 4, "mode": "affine" });
    folder.put_json("config.json", &config);
    folder.put_shards(&decoder("", family), 1);
    with_tokenizer(
        &mut folder,
        "PreTrainedTokenizerFast",
        &["<s>", "</s>"],
        false,
    );
    folder
}

/// Qwen-like: three shards and an index.
pub(super) fn qwen() -> Folder {
    let family = Family {
        head_norms: true,
        ..PLAIN
    };
    let mut folder = Folder::default();
    let mut config = sizes("qwen3");
    config["tie_word_embeddings"] = json!(true);
    folder.put_json("config.json", &config);
    folder.put_json("generation_config.json", &json!({ "eos_token_id": [299] }));
    folder.put_shards(&decoder("", family), 3);
    let special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
    with_tokenizer(&mut folder, "Qwen2Tokenizer", &special, true);
    let (vocabulary, merges) = vocabulary(&special);
    folder.put_json("vocab.json", &Value::Object(vocabulary));
    folder.put("merges.txt", merges_text(&merges));
    folder
}

/// `merges.txt` of these merges.
pub(super) fn merges_text(merges: &[[String; 2]]) -> String {
    let lines: Vec<String> = merges
        .iter()
        .map(|[one, other]| format!("{one} {other}\n"))
        .collect();
    format!("#version: 0.2\n{}", lines.concat())
}

/// Gemma-like: tied embeddings, four norms to a layer, the template in a file of its own.
pub(super) fn gemma() -> Folder {
    let family = Family {
        feedforward_norms: true,
        ..PLAIN
    };
    let mut folder = Folder::default();
    folder.put_json("config.json", &sizes("gemma2"));
    folder.put_shards(&decoder("", family), 1);
    with_tokenizer(
        &mut folder,
        "PreTrainedTokenizerFast",
        &["<bos>", "<eos>"],
        true,
    );
    folder.json("tokenizer_config.json", |config| {
        config["chat_template"].take();
    });
    folder.put("chat_template.jinja", "{{ messages[0].content }}");
    let map = json!({ "bos_token": "<bos>", "eos_token": { "content": "<eos>" } });
    folder.put_json("special_tokens_map.json", &map);
    folder
}

/// Qwen 2 with biases in its attention.
pub(super) fn qwen2() -> Folder {
    let family = Family {
        attention_bias: true,
        own_head: true,
        ..PLAIN
    };
    let mut folder = Folder::default();
    let mut config = sizes("qwen2");
    config["tie_word_embeddings"] = json!(false);
    config.as_object_mut().unwrap().remove("head_dim");
    folder.put_json("config.json", &config);
    folder.put_shards(&decoder("", family), 2);
    let special = ["<|endoftext|>", "<|im_end|>"];
    with_tokenizer(&mut folder, "PreTrainedTokenizerFast", &special, false);
    folder
}

/// A model that sees: mlx-lm takes its language part and leaves the tower alone.
pub(super) fn vision() -> Folder {
    let family = Family {
        head_norms: true,
        feedforward_norms: true,
        ..PLAIN
    };
    let mut folder = Folder::default();
    let mut text = sizes("gemma3_text");
    text["sliding_window"] = json!(16);
    text["sliding_window_pattern"] = json!(2);
    text["query_pre_attn_scalar"] = json!(8);
    let config = json!({
        "model_type": "gemma3",
        "vocab_size": VOCABULARY,
        "text_config": text,
        "vision_config": { "model_type": "siglip_vision_model", "hidden_size": 32 },
    });
    folder.put_json("config.json", &config);
    let mut tensors = decoder("language_model.", family);
    tensors.push(tensor("vision_tower.vision_model.head.weight", "F16", &[8]));
    tensors.push(tensor("multi_modal_projector.mm.weight", "F16", &[8, 8]));
    folder.put_shards(&tensors, 2);
    with_tokenizer(
        &mut folder,
        "PreTrainedTokenizerFast",
        &["<bos>", "<eos>"],
        false,
    );
    let preprocessor = json!({ "image_processor_type": "SiglipImageProcessor" });
    folder.put_json("preprocessor_config.json", &preprocessor);
    folder
}

/// Llama-like, with a sentencepiece model in the place of `tokenizer.json`.
pub(super) fn sentencepiece() -> Folder {
    let mut folder = llama();
    folder.remove("tokenizer.json");
    folder.put("tokenizer.model", sentencepiece_model());
    folder.json("tokenizer_config.json", |config| {
        config["tokenizer_class"] = json!("LlamaTokenizer");
    });
    folder
}

/// Llama-like, with a vocabulary of tiktoken in the place of `tokenizer.json`.
pub(super) fn tiktoken() -> Folder {
    let mut folder = llama();
    folder.remove("tokenizer.json");
    folder.put("tiktoken.model", ranks().join("\n") + "\n");
    folder
}

/// The lines of a vocabulary as tiktoken writes it: every byte, some pairs, and what they make.
pub(super) fn ranks() -> Vec<String> {
    let bytes = (0..=u8::MAX).map(|byte| vec![byte]);
    let more = [&b"ab"[..], b"cd", b"abcd"].map(<[u8]>::to_vec);
    let tokens = bytes.chain(more).enumerate();
    tokens
        .map(|(rank, token)| format!("{} {rank}", base64(&token)))
        .collect()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for part in bytes.chunks(3) {
        let at = |at: usize| u32::from(part.get(at).copied().unwrap_or(0));
        let word = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * place) & 63) as usize];
            out.push(if place <= part.len() {
                char::from(digit)
            } else {
                '='
            });
        }
    }
    out
}

/// A protobuf field with bytes in it.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![(number << 3) | 2, u8::try_from(bytes.len()).unwrap()];
    out.extend_from_slice(bytes);
    out
}

/// `ModelProto` of sentencepiece: pieces with score and kind, how it was trained, how text is
/// normalized.
fn sentencepiece_model() -> Vec<u8> {
    let piece = |text: &str, score: f32, kind: u8| {
        let mut piece = field(1, text.as_bytes());
        piece.push((2 << 3) | 5);
        piece.extend_from_slice(&score.to_le_bytes());
        piece.extend_from_slice(&[3 << 3, kind]);
        field(1, &piece)
    };
    let mut model = Vec::new();
    model.extend(piece("<unk>", 0.0, 2));
    model.extend(piece("<s>", 0.0, 3));
    model.extend(piece("</s>", 0.0, 3));
    for byte in 0..=u8::MAX {
        model.extend(piece(&format!("<0x{byte:02X}>"), 0.0, 6));
    }
    let letters: Vec<String> = "\u{2581}abcdefghijkl".chars().map(String::from).collect();
    let pairs = ["ab", "cd", "ef", "gh", "abcd"].map(str::to_owned);
    let mut score = 0.0;
    for text in pairs.iter().chain(&letters) {
        model.extend(piece(text, score, 1));
        score -= 1.0;
    }
    // Trained as BPE (2), with bytes for what is unknown.
    model.extend(field(2, &[3 << 3, 2, 0x98, 0x02, 1]));
    model.extend(field(3, &field(1, b"identity")));
    model
}
