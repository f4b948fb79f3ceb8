//! Owns the fixed list: models that load, and what can be done to them.
//!
//! Never says what should come of it: that is for the real `mlx_lm.load` to say.

use serde_json::{Value, json};

use super::build::{
    Folder, gemma, llama, merges_text, qwen, qwen2, sentencepiece, shard, tensor, vision,
    vocabulary, weights,
};

/// A model, and what is done to it.
pub(super) struct Case {
    pub(super) name: &'static str,
    model: fn() -> Folder,
    harm: fn(&mut Folder),
}

impl Case {
    pub(super) fn folder(&self) -> Folder {
        let mut folder = (self.model)();
        (self.harm)(&mut folder);
        folder
    }
}

pub(super) const fn case(name: &'static str, model: fn() -> Folder, harm: fn(&mut Folder)) -> Case {
    Case { name, model, harm }
}

const INDEX: &str = "model.safetensors.index.json";
const ONE: &str = "model.safetensors";
pub(super) const HTML: &str = "<!DOCTYPE html><html><body>Sign in</body></html>";
pub(super) const POINTER: &str = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n";

/// Everything that is asked about.
pub(super) fn all() -> Vec<Case> {
    [
        healthy(),
        configs(),
        tokenizers(),
        super::ranks::all(),
        structures(),
        shards(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn healthy() -> Vec<Case> {
    vec![
        case("llama", llama, |_| {}),
        case("qwen-sharded", qwen, |_| {}),
        case("qwen2", qwen2, |_| {}),
        case("gemma", gemma, |_| {}),
        case("vision", vision, |_| {}),
        case("tokenizer-model-only", sentencepiece, |_| {}),
        case("no-chat-template", llama, |folder| {
            folder.json("tokenizer_config.json", |config| {
                config["chat_template"].take();
            });
        }),
        case("vision-without-preprocessor", vision, |folder| {
            folder.remove("preprocessor_config.json");
        }),
        case("no-index", qwen, |folder| folder.remove(INDEX)),
        case("infinity-in-config", llama, |folder| {
            folder.bytes("config.json", |bytes| {
                bytes.pop();
                bytes.extend_from_slice(b",\"time_step_limit\":[0.0,Infinity,-Infinity,NaN]}");
            });
        }),
        case("tagged-infinity-in-config", llama, |folder| {
            folder.config(|config| config["limit"] = json!({ "__float__": "Infinity" }));
        }),
        case("no-tokenizer-config", llama, |folder| {
            folder.remove("tokenizer_config.json");
        }),
        case("other-files-beside", llama, |folder| {
            folder.put("README.md", "# A model");
            folder.put("consolidated.safetensors", "junk");
            folder.put("pytorch_model.bin", "junk");
        }),
        case("vocab-and-merges-only", qwen, |folder| {
            folder.remove("tokenizer.json");
        }),
        case("empty-merges", llama, |folder| {
            folder.json("tokenizer.json", |file| file["model"]["merges"] = json!([]));
        }),
    ]
}

fn configs() -> Vec<Case> {
    vec![
        case("config-missing", llama, |folder| {
            folder.remove("config.json");
        }),
        case("config-empty", llama, |folder| {
            folder.put("config.json", "");
        }),
        case("config-not-json", llama, |folder| {
            folder.put("config.json", "{\"model_type\":");
        }),
        case("config-html", llama, |folder| {
            folder.put("config.json", HTML);
        }),
        case("config-list", llama, |folder| {
            folder.put("config.json", "[1]");
        }),
        case("config-null", llama, |folder| {
            folder.put("config.json", "null");
        }),
        case("config-with-bom", llama, |folder| {
            folder.bytes("config.json", |bytes| {
                bytes.splice(0..0, *b"\xef\xbb\xbf");
            });
        }),
        case("config-not-utf8", llama, |folder| {
            folder.bytes("config.json", |bytes| {
                bytes.pop();
                bytes.extend_from_slice(b",\"name\":\"\xff\xfe\"}");
            });
        }),
        case("model-type-missing", llama, |folder| {
            folder.config(|config| {
                config.as_object_mut().unwrap().remove("model_type");
            });
        }),
        case("model-type-number", llama, |folder| {
            folder.config(|config| config["model_type"] = json!(7));
        }),
        case("model-type-null", llama, |folder| {
            folder.config(|config| config["model_type"] = Value::Null);
        }),
        case("model-type-unknown", llama, |folder| {
            folder.config(|config| config["model_type"] = json!("llama_of_tomorrow"));
        }),
        case("model-of-its-own-code", llama, |folder| {
            folder.config(|config| config["model_file"] = json!("model.py"));
            folder.put("model.py", "class Model: pass\n");
        }),
        case("hidden-size-missing", llama, |folder| {
            folder.config(|config| {
                config.as_object_mut().unwrap().remove("hidden_size");
            });
        }),
        case("hidden-size-wrong", llama, |folder| {
            folder.config(|config| config["hidden_size"] = json!(64));
        }),
        case("hidden-size-text", llama, |folder| {
            folder.config(|config| config["hidden_size"] = json!("32"));
        }),
        case("too-few-layers-in-config", gemma, |folder| {
            folder.config(|config| config["num_hidden_layers"] = json!(2));
        }),
        case("too-many-layers-in-config", gemma, |folder| {
            folder.config(|config| config["num_hidden_layers"] = json!(4));
        }),
        case("vocab-size-wrong", gemma, |folder| {
            folder.config(|config| config["vocab_size"] = json!(200));
        }),
        case("vocab-size-zero", gemma, |folder| {
            folder.config(|config| config["vocab_size"] = json!(0));
        }),
        case("quantization-text", llama, |folder| {
            folder.config(|config| config["quantization"] = json!("4bit"));
        }),
        case("quantization-null", llama, |folder| {
            folder.config(|config| config["quantization"] = Value::Null);
        }),
        case("quantization-empty", llama, |folder| {
            folder.config(|config| config["quantization"] = json!({}));
        }),
        case("quantization-without-bits", llama, |folder| {
            folder.config(|config| config["quantization"] = json!({ "group_size": 32 }));
        }),
        case("quantization-bits-text", llama, |folder| {
            folder.config(|config| config["quantization"]["bits"] = json!("four"));
        }),
        case("quantization-bits-7", llama, |folder| {
            folder.config(|config| config["quantization"]["bits"] = json!(7));
        }),
        case("quantization-bits-8", llama, |folder| {
            folder.config(|config| config["quantization"]["bits"] = json!(8));
        }),
        case("quantization-group-size-17", llama, |folder| {
            folder.config(|config| config["quantization"]["group_size"] = json!(17));
        }),
        case("quantization-mode-unknown", llama, |folder| {
            folder.config(|config| config["quantization"]["mode"] = json!("fancy"));
        }),
        case("quantization-mode-number", llama, |folder| {
            folder.config(|config| config["quantization"]["mode"] = json!(4));
        }),
        case("quantization-layer-false", llama, |folder| {
            folder.config(|config| config["quantization"]["lm_head"] = json!(false));
        }),
        case("quantization-layer-object", llama, |folder| {
            folder.config(|config| {
                config["quantization"]["lm_head"] = json!({ "group_size": 32, "bits": 4 });
            });
        }),
        case("quantization-layer-wrong-bits", llama, |folder| {
            folder.config(|config| {
                config["quantization"]["lm_head"] = json!({ "group_size": 32, "bits": 8 });
            });
        }),
        case("quantization-layer-bits-7", llama, |folder| {
            folder.config(|config| {
                config["quantization"]["lm_head"] = json!({ "group_size": 32, "bits": 7 });
            });
        }),
        case("quantization-layer-text", llama, |folder| {
            folder.config(|config| config["quantization"]["lm_head"] = json!("no"));
        }),
        case("quantization-layer-unknown-name", llama, |folder| {
            folder.config(|config| config["quantization"]["no.such.layer"] = json!(false));
        }),
        case("quant-method-missing", gemma, |folder| {
            folder.config(|config| config["quantization_config"] = json!({ "bits": 4 }));
        }),
        case("quant-method-unknown", gemma, |folder| {
            folder.config(|config| config["quantization_config"] = json!({ "quant_method": "qq" }));
        }),
        case("quant-method-bitnet", gemma, |folder| {
            folder.config(|config| {
                config["quantization_config"] = json!({ "quant_method": "bitnet" });
            });
        }),
        case("quant-method-mxfp4-unused", gemma, |folder| {
            folder.config(|config| {
                config["quantization_config"] = json!({ "quant_method": "mxfp4" });
            });
        }),
        case("quant-method-compressed-tensors-float", gemma, |folder| {
            folder.config(|config| {
                config["quantization_config"] =
                    json!({ "quant_method": "compressed-tensors", "format": "float-quantized" });
            });
        }),
        case("quant-method-modelopt-fp8", gemma, |folder| {
            folder.config(|config| {
                config["quantization_config"] =
                    json!({ "quant_method": "modelopt", "quant_algo": "FP8" });
            });
        }),
        case("quant-method-awq-8-bits", gemma, |folder| {
            folder.config(|config| {
                config["quantization_config"] = json!({ "quant_method": "awq", "bits": 8 });
            });
        }),
        case("quantization-config-text", gemma, |folder| {
            folder.config(|config| config["quantization_config"] = json!("awq"));
        }),
        case("quantization-config-beside-quantization", llama, |folder| {
            folder.config(|config| config["quantization_config"] = json!({ "bits": 4 }));
        }),
        case("text-config-null", llama, |folder| {
            folder.config(|config| config["text_config"] = Value::Null);
        }),
        case("text-config-missing-in-vision", vision, |folder| {
            folder.config(|config| {
                config.as_object_mut().unwrap().remove("text_config");
            });
        }),
        case("hf-quant-config-not-json", gemma, |folder| {
            folder.put("hf_quant_config.json", HTML);
        }),
        case("generation-config-not-json", qwen, |folder| {
            folder.put("generation_config.json", "{\"eos_token_id\":");
        }),
        case("generation-config-html", qwen, |folder| {
            folder.put("generation_config.json", HTML);
        }),
        case("generation-config-empty", qwen, |folder| {
            folder.put("generation_config.json", "");
        }),
        case("generation-config-list", qwen, |folder| {
            folder.put("generation_config.json", "[]");
        }),
    ]
}

fn tokenizers() -> Vec<Case> {
    vec![
        case("tokenizer-missing", llama, |folder| {
            folder.remove("tokenizer.json");
        }),
        case("tokenizer-and-config-missing", llama, |folder| {
            folder.remove("tokenizer.json");
            folder.remove("tokenizer_config.json");
        }),
        case("tokenizer-html", llama, |folder| {
            folder.put("tokenizer.json", HTML);
        }),
        case("tokenizer-lfs-pointer", llama, |folder| {
            folder.put("tokenizer.json", POINTER);
        }),
        case("tokenizer-empty", llama, |folder| {
            folder.put("tokenizer.json", "");
        }),
        case("tokenizer-cut-off", llama, |folder| {
            folder.bytes("tokenizer.json", |bytes| bytes.truncate(bytes.len() / 2));
        }),
        case("tokenizer-empty-object", llama, |folder| {
            folder.put("tokenizer.json", "{}");
        }),
        case("tokenizer-list", llama, |folder| {
            folder.put("tokenizer.json", "[]");
        }),
        case("tokenizer-without-model", llama, |folder| {
            folder.json("tokenizer.json", |file| {
                file.as_object_mut().unwrap().remove("model");
            });
        }),
        case("tokenizer-model-type-unknown", llama, |folder| {
            folder.json("tokenizer.json", |file| {
                file["model"]["type"] = json!("Magic");
            });
        }),
        case("tokenizer-model-type-missing", llama, |folder| {
            folder.json("tokenizer.json", |file| {
                file["model"].as_object_mut().unwrap().remove("type");
            });
        }),
        case("tokenizer-without-vocab", llama, |folder| {
            folder.json("tokenizer.json", |file| {
                file["model"].as_object_mut().unwrap().remove("vocab");
            });
        }),
        case("tokenizer-vocab-empty", llama, |folder| {
            folder.json("tokenizer.json", |file| {
                file["model"]["vocab"] = json!({});
                file["model"]["merges"] = json!([]);
            });
        }),
        case("tokenizer-vocab-list", llama, |folder| {
            folder.json("tokenizer.json", |file| {
                file["model"]["vocab"] = json!(["a", "b"]);
            });
        }),
        case("tokenizer-vocab-id-text", llama, |folder| {
            folder.json("tokenizer.json", |file| {
                file["model"]["vocab"]["a"] = json!("x");
            });
        }),
        case("tokenizer-vocab-id-negative", llama, |folder| {
            folder.json("tokenizer.json", |file| {
                file["model"]["vocab"]["a"] = json!(-1);
            });
        }),
        case("tokenizer-without-merges", llama, |folder| {
            folder.json("tokenizer.json", |file| {
                file["model"].as_object_mut().unwrap().remove("merges");
            });
        }),
        case("tokenizer-merges-text", llama, |folder| {
            folder.json("tokenizer.json", |file| {
                file["model"]["merges"] = json!("a b");
            });
        }),
        case("tokenizer-merge-without-space", llama, |folder| {
            folder.json("tokenizer.json", |file| {
                file["model"]["merges"][3] = json!("ab");
            });
        }),
        case("tokenizer-merge-of-three", llama, |folder| {
            folder.json("tokenizer.json", |file| {
                file["model"]["merges"][3] = json!("a b c");
            });
        }),
        case("tokenizer-merge-number", llama, |folder| {
            folder.json("tokenizer.json", |file| {
                file["model"]["merges"][3] = json!(5);
            });
        }),
        case("tokenizer-merge-pair-of-one", qwen, |folder| {
            folder.json("tokenizer.json", |file| {
                file["model"]["merges"][3] = json!(["a"]);
            });
        }),
        case("tokenizer-merge-unknown-token", llama, |folder| {
            folder.json("tokenizer.json", |file| {
                file["model"]["merges"][3] = json!("zz yy");
            });
        }),
        case("tokenizer-merge-unknown-result", llama, |folder| {
            folder.json("tokenizer.json", |file| {
                file["model"]["merges"][3] = json!("x y");
            });
        }),
        case("tokenizer-without-added-tokens", llama, |folder| {
            folder.json("tokenizer.json", |file| {
                file.as_object_mut().unwrap().remove("added_tokens");
            });
        }),
        case("tokenizer-added-token-without-id", llama, |folder| {
            folder.json("tokenizer.json", |file| {
                file["added_tokens"][0]
                    .as_object_mut()
                    .unwrap()
                    .remove("id");
            });
        }),
        case("tokenizer-added-token-without-content", llama, |folder| {
            folder.json("tokenizer.json", |file| {
                file["added_tokens"][0]
                    .as_object_mut()
                    .unwrap()
                    .remove("content");
            });
        }),
        case("special-token-unresolvable", llama, |folder| {
            folder.json("tokenizer_config.json", |config| {
                config["eos_token"] = json!("<nowhere>");
            });
        }),
        case("special-token-number", llama, |folder| {
            folder.json("tokenizer_config.json", |config| {
                config["eos_token"] = json!(5);
            });
        }),
        case("special-tokens-map-html", gemma, |folder| {
            folder.put("special_tokens_map.json", HTML);
        }),
        case("special-tokens-map-unresolvable", gemma, |folder| {
            folder.put("special_tokens_map.json", "{\"pad_token\":\"<nowhere>\"}");
        }),
        case("special-tokens-map-list", gemma, |folder| {
            folder.put("special_tokens_map.json", "[]");
        }),
        case("tokenizer-config-html", llama, |folder| {
            folder.put("tokenizer_config.json", HTML);
        }),
        case("tokenizer-config-empty", llama, |folder| {
            folder.put("tokenizer_config.json", "");
        }),
        case("tokenizer-config-list", llama, |folder| {
            folder.put("tokenizer_config.json", "[]");
        }),
        case("tokenizer-config-class-unknown", llama, |folder| {
            folder.json("tokenizer_config.json", |config| {
                config["tokenizer_class"] = json!("NoSuchTokenizer");
            });
        }),
        case("added-tokens-html", gemma, |folder| {
            folder.put("added_tokens.json", HTML);
        }),
        case("vocabulary-larger-than-config", llama, |folder| {
            folder.json("tokenizer.json", |file| {
                for id in 300..420 {
                    file["model"]["vocab"][format!("<more{id}>")] = json!(id);
                }
            });
        }),
        case("sentencepiece-empty", sentencepiece, |folder| {
            folder.put("tokenizer.model", "");
        }),
        case("sentencepiece-html", sentencepiece, |folder| {
            folder.put("tokenizer.model", HTML);
        }),
        case("sentencepiece-lfs-pointer", sentencepiece, |folder| {
            folder.put("tokenizer.model", POINTER);
        }),
        case("sentencepiece-cut-off", sentencepiece, |folder| {
            folder.bytes("tokenizer.model", |bytes| bytes.truncate(bytes.len() / 2));
        }),
        case("sentencepiece-html-beside-tokenizer", llama, |folder| {
            folder.put("tokenizer.model", HTML);
        }),
        case("vocab-json-cut-off-alone", qwen, |folder| {
            folder.remove("tokenizer.json");
            folder.bytes("vocab.json", |bytes| bytes.truncate(bytes.len() / 2));
        }),
        case("vocab-json-without-merges", qwen, |folder| {
            folder.remove("tokenizer.json");
            folder.remove("merges.txt");
        }),
        case("merges-txt-without-vocab", qwen, |folder| {
            folder.remove("tokenizer.json");
            folder.remove("vocab.json");
        }),
        case("merges-txt-damaged-alone", qwen, |folder| {
            folder.remove("tokenizer.json");
            let (_, mut merges) = vocabulary(&["<|endoftext|>"]);
            merges[2] = ["nowhere".to_owned(), "never".to_owned()];
            folder.put("merges.txt", merges_text(&merges));
        }),
        case("vocab-json-html-beside-tokenizer", qwen, |folder| {
            folder.put("vocab.json", HTML);
        }),
        case("chat-template-json", llama, |folder| {
            folder.put(
                "chat_template.json",
                "{\"chat_template\":\"{{ messages }}\"}",
            );
        }),
        case("chat-template-json-html", llama, |folder| {
            folder.put("chat_template.json", HTML);
        }),
        case("chat-template-jinja-empty", llama, |folder| {
            folder.put("chat_template.jinja", "");
        }),
        case("chat-template-jinja-syntax-error", llama, |folder| {
            folder.put("chat_template.jinja", "{% for message in %}");
        }),
        case("preprocessor-config-html", vision, |folder| {
            folder.put("preprocessor_config.json", HTML);
        }),
    ]
}

fn structures() -> Vec<Case> {
    vec![
        case("weights-missing", llama, |folder| folder.remove(ONE)),
        case("weights-empty", llama, |folder| folder.put(ONE, "")),
        case("weights-html", llama, |folder| folder.put(ONE, HTML)),
        case("weights-lfs-pointer", llama, |folder| {
            folder.put(ONE, POINTER);
        }),
        case("weights-cut-off", llama, |folder| {
            folder.bytes(ONE, |bytes| bytes.truncate(bytes.len() - 5));
        }),
        case("weights-cut-off-in-header", llama, |folder| {
            folder.bytes(ONE, |bytes| bytes.truncate(100));
        }),
        case("weights-longer", llama, |folder| {
            folder.bytes(ONE, |bytes| bytes.extend_from_slice(b"more"));
        }),
        case("weights-zeros", llama, |folder| {
            folder.bytes(ONE, |bytes| bytes.fill(0));
        }),
        case("header-garbage", llama, |folder| {
            folder.bytes(ONE, |bytes| bytes[20..60].fill(b'#'));
        }),
        case("header-length-lies", llama, |folder| {
            folder.bytes(ONE, |bytes| {
                bytes[..8].copy_from_slice(&(1_u64 << 40).to_le_bytes());
            });
        }),
        case("header-length-too-short", llama, |folder| {
            folder.bytes(ONE, |bytes| {
                bytes[..8].copy_from_slice(&50_u64.to_le_bytes());
            });
        }),
        case("header-gap", gemma, |folder| {
            folder.header(ONE, |header| {
                let norm = &mut header["model.norm.weight"]["data_offsets"];
                *norm = json!([norm[0].as_u64().unwrap() + 2, norm[1].as_u64().unwrap() + 2]);
            });
            folder.bytes(ONE, |bytes| bytes.extend_from_slice(b"xx"));
        }),
        case("header-overlap", gemma, |folder| {
            folder.header(ONE, |header| {
                let norm = &mut header["model.norm.weight"]["data_offsets"];
                *norm = json!([
                    norm[0].as_u64().unwrap() - 64,
                    norm[1].as_u64().unwrap() - 64
                ]);
            });
        }),
        case("header-wrong-shape", gemma, |folder| {
            folder.header(ONE, |header| {
                header["model.norm.weight"]["shape"] = json!([33]);
            });
        }),
        case("header-other-shape-same-bytes", gemma, |folder| {
            folder.header(ONE, |header| {
                header["model.norm.weight"]["shape"] = json!([16, 2]);
            });
        }),
        case("header-wrong-dtype", gemma, |folder| {
            folder.header(ONE, |header| {
                header["model.norm.weight"]["dtype"] = json!("F32");
            });
        }),
        case("header-unknown-dtype", gemma, |folder| {
            folder.header(ONE, |header| {
                header["model.norm.weight"]["dtype"] = json!("F12");
            });
        }),
        case("dtype-f64", gemma, |folder| last_norm(folder, "F64")),
        case("dtype-f8-e4m3", gemma, |folder| {
            last_norm(folder, "F8_E4M3");
        }),
        case("dtype-f8-e5m2", gemma, |folder| {
            last_norm(folder, "F8_E5M2");
        }),
        case("dtype-f8-e8m0", gemma, |folder| {
            last_norm(folder, "F8_E8M0");
        }),
        case("dtype-i64", gemma, |folder| last_norm(folder, "I64")),
        case("dtype-bool", gemma, |folder| last_norm(folder, "BOOL")),
        case("dtype-c64", gemma, |folder| last_norm(folder, "C64")),
        case("tensor-missing", gemma, |folder| {
            without(folder, "model.layers.1.mlp.up_proj.weight");
        }),
        case("scales-missing", llama, |folder| {
            without(folder, "model.layers.1.mlp.up_proj.scales");
        }),
        case("biases-missing", llama, |folder| {
            without(folder, "model.layers.1.mlp.up_proj.biases");
        }),
        case("scales-of-wrong-shape", llama, |folder| {
            folder.header(ONE, |header| {
                let entry = &mut header["model.layers.1.mlp.up_proj.scales"];
                entry["shape"] = json!([32, 2]);
            });
        }),
        case("tensor-too-many", gemma, |folder| {
            folder.put_weights(
                "model-extra.safetensors",
                &[tensor("extra.weight", "F16", &[4])],
            );
        }),
        case("rotary-frequencies-too-many", llama, |folder| {
            let name = "model.layers.0.self_attn.rotary_emb.inv_freq";
            folder.put_weights("model-extra.safetensors", &[tensor(name, "F32", &[4])]);
        }),
        case("head-beside-tied-embeddings", qwen2_tied, |_| {}),
        case("head-missing", qwen2, |folder| {
            folder.config(|config| config["tie_word_embeddings"] = json!(false));
            let last = shard(2, 2);
            folder.header(&last, |header| {
                let entry = header
                    .as_object_mut()
                    .unwrap()
                    .remove("lm_head.weight")
                    .unwrap();
                header["model.lm_head.weight"] = entry;
            });
        }),
        case("weights-under-another-name", llama, |folder| {
            let bytes = folder.files.remove(ONE).unwrap();
            folder.put("weights.00.safetensors", bytes);
        }),
        case("adapter-only", llama, |folder| {
            folder.remove(ONE);
            folder.put_weights("adapters.safetensors", &[tensor("a", "F16", &[4])]);
        }),
    ]
}

fn shards() -> Vec<Case> {
    vec![
        case("shard-missing", qwen, |folder| folder.remove(&shard(2, 3))),
        case("shard-missing-no-index", qwen, |folder| {
            folder.remove(&shard(2, 3));
            folder.remove(INDEX);
        }),
        case("shard-cut-off", qwen, |folder| {
            folder.bytes(&shard(3, 3), |bytes| bytes.truncate(bytes.len() - 1));
        }),
        case("shard-empty", qwen, |folder| folder.put(&shard(1, 3), "")),
        case("shard-lfs-pointer", qwen, |folder| {
            folder.put(&shard(2, 3), POINTER);
        }),
        case("index-names-absent-shard", qwen, |folder| {
            folder.json(INDEX, |index| {
                index["weight_map"]["model.norm.weight"] =
                    json!("model-00004-of-00004.safetensors");
            });
        }),
        case("index-promises-tensor", qwen, |folder| {
            folder.json(INDEX, |index| {
                index["weight_map"]["model.layers.9.weight"] = json!(shard(1, 3));
            });
        }),
        case("index-names-wrong-shard", qwen, |folder| {
            folder.json(INDEX, |index| {
                index["weight_map"]["model.norm.weight"] = json!(shard(1, 3));
            });
        }),
        case("index-not-json", qwen, |folder| {
            folder.put(INDEX, "{\"weight_map\":");
        }),
        case("index-html", qwen, |folder| folder.put(INDEX, HTML)),
        case("index-without-map", qwen, |folder| folder.put(INDEX, "{}")),
        case("index-map-of-numbers", qwen, |folder| {
            folder.json(INDEX, |index| {
                index["weight_map"]["model.norm.weight"] = json!(5);
            });
        }),
        case("index-map-empty", qwen, |folder| {
            folder.json(INDEX, |index| index["weight_map"] = json!({}));
        }),
        case("index-leads-out", qwen, |folder| {
            folder.json(INDEX, |index| {
                index["weight_map"]["model.norm.weight"] = json!("../../etc/passwd");
            });
        }),
        case("stray-same-tensors", qwen, |folder| {
            let bytes = folder.files[&shard(1, 3)].clone();
            folder.put("model-old.safetensors", bytes);
        }),
        case("stray-other-tensors", qwen, |folder| {
            let tensors = [tensor("visual.patch_embed.weight", "F16", &[4])];
            folder.put_weights("model-vision.safetensors", &tensors);
        }),
        case("stray-whole-model", qwen, |folder| {
            let other = super::build::llama().files.remove(ONE).unwrap();
            folder.put(ONE, other);
        }),
        case("stray-damaged", qwen, |folder| {
            folder.put("model-old.safetensors", HTML);
        }),
        case("stray-older-split", qwen, |folder| {
            let bytes = folder.files[&shard(1, 3)].clone();
            folder.put("model-00001-of-00002.safetensors", bytes);
        }),
        case("stray-other-shape", qwen, |folder| {
            let tensors = [tensor("model.norm.weight", "F16", &[64])];
            folder.put_weights("model-zzz.safetensors", &tensors);
        }),
        case("tensor-twice", qwen, |folder| {
            let again = weights(&[tensor("model.norm.weight", "F16", &[32])]);
            folder.put("model-00004-of-00004.safetensors", again);
            folder.json(INDEX, |index| {
                index["weight_map"]["model.norm.weight"] =
                    json!("model-00004-of-00004.safetensors");
            });
        }),
        case(
            "layer-shard-missing-of-unknown-family",
            unknown_family,
            |folder| {
                folder.remove(&shard(2, 3));
                folder.remove(INDEX);
            },
        ),
        case("vision-shard-missing", vision, |folder| {
            folder.remove(&shard(2, 2));
        }),
    ]
}

fn last_norm(folder: &mut Folder, dtype: &'static str) {
    folder.header(ONE, |header| {
        header.as_object_mut().unwrap().remove("model.norm.weight");
        let end = header
            .as_object()
            .unwrap()
            .values()
            .filter_map(|entry| entry["data_offsets"][1].as_u64())
            .max();
        // The norm was last, so nothing comes after it.
        assert!(end.unwrap() > 0);
    });
    folder.bytes(ONE, |bytes| bytes.truncate(bytes.len() - 64));
    folder.put_weights(
        "model-norm.safetensors",
        &[tensor("model.norm.weight", dtype, &[32])],
    );
}

/// Takes a tensor out of the only weight file, with its bytes.
fn without(folder: &mut Folder, name: &str) {
    let (mut from, mut to) = (0, 0);
    folder.header(ONE, |header| {
        let entry = header.as_object_mut().unwrap().remove(name).unwrap();
        from = entry["data_offsets"][0].as_u64().unwrap();
        to = entry["data_offsets"][1].as_u64().unwrap();
        for other in header.as_object_mut().unwrap().values_mut() {
            let Some(offsets) = other["data_offsets"].as_array().cloned() else {
                continue;
            };
            let moved = |at: &Value| {
                let at = at.as_u64().unwrap();
                if at >= to { at - (to - from) } else { at }
            };
            other["data_offsets"] = json!([moved(&offsets[0]), moved(&offsets[1])]);
        }
    });
    folder.bytes(ONE, |bytes| {
        let length = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
        let data = 8 + length;
        let at = |offset: u64| data + usize::try_from(offset).unwrap();
        bytes.drain(at(from)..at(to));
    });
}

fn qwen2_tied() -> Folder {
    let mut folder = qwen2();
    folder.config(|config| config["tie_word_embeddings"] = json!(true));
    folder
}

/// A family of which larder knows no list of tensors.
fn unknown_family() -> Folder {
    let mut folder = qwen();
    folder.config(|config| {
        config["model_type"] = json!("olmo2");
    });
    folder
}
