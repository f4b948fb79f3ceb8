//! Owns what `config.json` says of a model, and whether mlx-lm could make anything of it.
//!
//! Never looks at other files. Broken is only what `mlx_lm.load` fails on (0.32.2, `utils.py`).

use serde_json::{Map, Value};

use super::json::kind;
use crate::domain::sanitize_line;

/// What mlx-lm packs numbers into.
pub(super) const BITS: [u64; 7] = [1, 2, 3, 4, 5, 6, 8];
/// How many numbers share a scale.
pub(super) const GROUP_SIZES: [u64; 3] = [32, 64, 128];
const MODES: [&str; 4] = ["affine", "mxfp4", "mxfp8", "nvfp4"];
const METHODS: [&str; 8] = [
    "awq",
    "bitnet",
    "compressed-tensors",
    "fp8",
    "gptq",
    "modelopt",
    "mxfp4",
    "mxfp8",
];

/// Types that mlx-lm builds out of a `text_config`, and not without.
const NESTED: [&str; 6] = [
    "gemma3", "gemma3n", "llama4", "llava", "mistral3", "pixtral",
];

/// A config that is an object.
pub(super) struct Config {
    all: Map<String, Value>,
}

/// What is wrong with a config: phrases that follow its name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Flaws {
    /// mlx-lm fails.
    pub(super) broken: Vec<String>,
    /// mlx-lm of that version looks past it; others may not.
    pub(super) odd: Vec<String>,
}

impl Config {
    /// # Errors
    /// What is there in the place of an object, in words.
    pub(super) fn new(value: Value) -> Result<Self, String> {
        match value {
            Value::Object(all) => Ok(Self { all }),
            other => Err(format!("holds {}, not an object", kind(&other))),
        }
    }

    /// The architecture; `None` if it names none.
    pub(super) fn model_type(&self) -> Option<&str> {
        self.all.get("model_type")?.as_str()
    }

    /// A value, unless it is null.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.all.get(key).filter(|value| !value.is_null())
    }

    /// How mlx-lm packed the weights.
    pub(super) fn quantization(&self) -> Option<&Map<String, Value>> {
        self.get("quantization")?.as_object()
    }

    /// Whether weights may be packed as another tool packs them.
    pub(super) fn has_foreign_packing(&self) -> bool {
        self.get("quantization").is_none() && self.packing().is_some()
    }

    /// Whether the architecture comes with code of its own, which mlx-lm runs only if told to.
    pub(super) fn has_own_code(&self) -> bool {
        self.get("model_file").is_some()
    }

    /// Whether the model also sees or hears.
    pub(super) fn is_multimodal(&self) -> bool {
        ["vision_config", "audio_config", "vision_tower"]
            .iter()
            .any(|key| self.get(key).is_some())
    }

    /// `quantization_config`, which may stand in `text_config`.
    fn packing(&self) -> Option<&Value> {
        let own = self.all.get("quantization_config");
        own.or_else(|| self.get("text_config")?.get("quantization_config"))
            .filter(|value| is_true(value))
    }

    /// What is wrong with it, whatever the other files hold.
    /// Whether it says of what type the model is, in whatever form.
    pub(super) fn has_model_type(&self) -> bool {
        self.all.contains_key("model_type")
    }

    pub(super) fn flaws(&self) -> Flaws {
        let mut flaws = Flaws::default();
        match self.all.get("model_type") {
            // Told by a rule of its own.
            None => {}
            Some(Value::String(name)) if !name.is_empty() => {}
            Some(other) => flaws
                .broken
                .push(format!("has {} as `model_type`", kind(other))),
        }
        let text = self.all.get("text_config");
        if let Some(text) = text.filter(|text| !text.is_object()) {
            let what = format!("has {} as `text_config`", kind(text));
            match text {
                // Python asks whether a word is in it.
                Value::Array(_) | Value::String(_) => flaws.odd.push(what),
                _ if self.all.contains_key("quantization_config") => flaws.odd.push(what),
                _ => flaws.broken.push(what),
            }
        }
        let is_nested = self.model_type().is_some_and(|name| NESTED.contains(&name));
        if is_nested && text.is_none() {
            flaws.broken.push("has no `text_config`".to_owned());
        }
        match self.get("quantization") {
            None => {
                if let Some(packing) = self.packing() {
                    foreign_packing(packing, &mut flaws);
                }
            }
            Some(Value::Object(quantization)) => own_packing(quantization, &mut flaws),
            Some(other) => flaws
                .broken
                .push(format!("has {} as `quantization`", kind(other))),
        }
        flaws
    }
}

/// What Python takes for true.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// mlx-lm's own `quantization`. Both numbers must be there; what they are is read off the weights.
fn own_packing(quantization: &Map<String, Value>, flaws: &mut Flaws) {
    for (key, sane) in [("group_size", &GROUP_SIZES[..]), ("bits", &BITS[..])] {
        match quantization.get(key) {
            None => flaws
                .broken
                .push(format!("has a `quantization` without `{key}`")),
            Some(value) if value.as_u64().is_some_and(|n| sane.contains(&n)) => {}
            // Modes other than `affine` have groups of their own.
            Some(value) if key == "group_size" && value.as_u64() == Some(16) => {}
            Some(value) => flaws.odd.push(format!(
                "has {} as `{key}` of its `quantization`",
                said(value)
            )),
        }
    }
    let mode = quantization.get("mode").filter(|mode| !mode.is_null());
    if let Some(mode) = mode.filter(|mode| !mode.as_str().is_some_and(|m| MODES.contains(&m))) {
        let said = said(mode);
        flaws
            .odd
            .push(format!("has {said} as `mode` of its `quantization`"));
    }
}

/// How another tool packed the weights; mlx-lm unpacks some.
fn foreign_packing(packing: &Value, flaws: &mut Flaws) {
    let Some(packing) = packing.as_object() else {
        let what = kind(packing);
        flaws
            .broken
            .push(format!("has {what} as `quantization_config`"));
        return;
    };
    let text = |key: &str| packing.get(key).and_then(Value::as_str);
    match packing.get("quant_method") {
        None => flaws
            .broken
            .push("has a `quantization_config` without `quant_method`".to_owned()),
        Some(Value::String(method)) if METHODS.contains(&method.as_str()) => {
            let is_known_format = text("format").is_some_and(|format| {
                matches!(
                    format,
                    "nvfp4-pack-quantized" | "mxfp4-pack-quantized" | "pack-quantized"
                )
            });
            let settings = packing
                .get("quantization")
                .and_then(Value::as_object)
                .unwrap_or(packing);
            let algorithm = settings.get("quant_algo").and_then(Value::as_str);
            let bits = packing.get("bits").map_or(Some(4), Value::as_u64);
            let what = match method.as_str() {
                "compressed-tensors" if !is_known_format => "in a format",
                "modelopt" if algorithm != Some("NVFP4") => "by an algorithm",
                "awq" | "gptq" if bits != Some(4) => "to a number of bits",
                _ => return,
            };
            flaws.broken.push(format!(
                "says that `{method}` packed the weights {what} that mlx-lm does not unpack"
            ));
        }
        Some(other) => flaws.odd.push(format!(
            "says that the weights were packed by {}, which mlx-lm does not know",
            said(other)
        )),
    }
}

/// A value as a person reads it in a sentence.
pub(super) fn said(value: &Value) -> String {
    match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => format!("`{}`", sanitize_line(text, 40)),
        other => kind(other).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn flaws(value: Value) -> (String, String) {
        let flaws = Config::new(value)
            .unwrap_or_else(|why| panic!("{why}"))
            .flaws();
        (flaws.broken.join("; "), flaws.odd.join("; "))
    }

    #[test]
    fn what_mlx_lm_fails_on_is_broken_and_what_it_looks_past_is_odd() {
        for (config, broken, odd) in [
            (json!({"model_type": "llama"}), "", ""),
            (json!({}), "", ""),
            (json!({"model_type": 7}), "has a number as `model_type`", ""),
            (
                json!({"model_type": "a", "text_config": null}),
                "has null as `text_config`",
                "",
            ),
            (
                json!({"model_type": "a", "quantization": "4bit"}),
                "has text as `quantization`",
                "",
            ),
            (
                json!({"model_type": "a", "quantization": {"bits": 4}}),
                "has a `quantization` without `group_size`",
                "",
            ),
            (
                json!({"model_type": "a", "quantization": {"bits": 7, "group_size": 64}}),
                "",
                "has 7 as `bits` of its `quantization`",
            ),
            (
                json!({"model_type": "a", "quantization": {"bits": 4, "group_size": 16, "mode": "nvfp4"}}),
                "",
                "",
            ),
            (
                json!({"model_type": "a", "quantization": {"bits": 4, "group_size": 64, "mode": "x\u{1b}"}}),
                "",
                "has `x\\x1b` as `mode` of its `quantization`",
            ),
            (
                json!({"model_type": "a", "quantization_config": {}}),
                "",
                "",
            ),
            (
                json!({"model_type": "a", "quantization_config": {"bits": 4}}),
                "has a `quantization_config` without `quant_method`",
                "",
            ),
            (
                json!({"model_type": "a", "quantization_config": "awq"}),
                "has text as `quantization_config`",
                "",
            ),
            (
                json!({"model_type": "a", "text_config": {"quantization_config": {"quant_method": "awq", "bits": 8}}}),
                "says that `awq` packed the weights to a number of bits that mlx-lm does not unpack",
                "",
            ),
            (
                json!({"model_type": "a", "quantization_config": {"quant_method": "gptq"}}),
                "",
                "",
            ),
            (
                json!({"model_type": "a", "quantization_config": {"quant_method": "new"}}),
                "",
                "says that the weights were packed by `new`, which mlx-lm does not know",
            ),
        ] {
            let seen = flaws(config.clone());
            assert_eq!(
                (seen.0.as_str(), seen.1.as_str()),
                (broken, odd),
                "{config}"
            );
        }
        assert_eq!(
            Config::new(json!([])).err().unwrap(),
            "holds a list, not an object"
        );
    }
}
