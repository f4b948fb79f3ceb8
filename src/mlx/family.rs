//! Owns which tensors the commonest architectures need, with their shapes: as strict as
//! `mlx_lm.load` is (0.32.2, `models/*.py`).
//!
//! Never judges an architecture that is not written here: those tell by their index alone.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};

use safetensors::Dtype;
use serde_json::Value;

use super::config::{BITS, Config, GROUP_SIZES, said};
use super::weights::Tensor;
use crate::domain::sanitize_line;

/// Layers that a config may ask for; more is nonsense, and would cost memory.
const MOST_LAYERS: u64 = 2_000;
/// Sizes beyond this are no sizes.
const LARGEST: u64 = 1 << 31;

/// What the architectures written here differ in.
#[derive(Clone, Copy)]
struct Traits {
    /// Whether the numbers of heads and their width must be said.
    needs: &'static [&'static str],
    attention_bias: Bias,
    head_norms: bool,
    feedforward_norms: bool,
    /// Whether the output may have a matrix of its own, and whether it does where nothing is said.
    own_head: OwnHead,
    /// Names that are left out of the weights before they are compared.
    drops_frequencies: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Bias {
    No,
    /// Queries, keys and values.
    Inputs,
    /// As the config says, for all four.
    AsSaid,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum OwnHead {
    Never,
    /// If `tie_word_embeddings` says no; where it says nothing they are tied.
    IfUntied,
}

const COMMON: [&str; 6] = [
    "hidden_size",
    "num_hidden_layers",
    "intermediate_size",
    "num_attention_heads",
    "rms_norm_eps",
    "vocab_size",
];

fn traits(model_type: &str) -> Option<Traits> {
    let llama = Traits {
        needs: &[],
        attention_bias: Bias::AsSaid,
        head_norms: false,
        feedforward_norms: false,
        own_head: OwnHead::IfUntied,
        drops_frequencies: true,
    };
    let gemma = Traits {
        needs: &["head_dim", "num_key_value_heads"],
        attention_bias: Bias::No,
        own_head: OwnHead::Never,
        drops_frequencies: false,
        ..llama
    };
    Some(match model_type {
        "llama" | "mistral" => llama,
        "qwen2" => Traits {
            needs: &["num_key_value_heads"],
            attention_bias: Bias::Inputs,
            ..llama
        },
        "qwen3" => Traits {
            needs: &[
                "head_dim",
                "max_position_embeddings",
                "num_key_value_heads",
                "tie_word_embeddings",
            ],
            attention_bias: Bias::No,
            head_norms: true,
            drops_frequencies: false,
            ..llama
        },
        "gemma" => gemma,
        "gemma2" => Traits {
            feedforward_norms: true,
            ..gemma
        },
        _ => return None,
    })
}

/// A part of the model, and the shape it must have.
enum Part {
    /// A matrix that may be packed: rows, columns.
    Matrix(u64, u64),
    Vector(u64),
}

/// What an architecture makes of the tensors.
pub(super) enum Fit {
    /// It is not written here, or the weights are packed in a way that is not.
    Unknown,
    /// It needs these, and no others.
    Fits,
    /// Sentences about tensors that it needs and does not find, has no place for, or would have
    /// otherwise.
    Differs(Vec<String>),
    /// It needs what the config does not say, or says strangely.
    ConfigFlaws(Vec<String>),
}

/// What is known of what the architecture needs, before any tensor was seen.
pub(super) enum Needs<'a> {
    /// It is not written here, or the weights are packed in a way that is not.
    Unknown,
    /// It needs what the config does not say, or says strangely.
    ConfigFlaws(Vec<String>),
    Known(Fitting<'a>),
}

/// Compares the tensors with what the architecture needs, as they come. Of what it needs the shapes
/// are kept, of everything else a number.
pub(super) struct Fitting<'a> {
    config: &'a Config,
    model_type: &'a str,
    traits: Traits,
    parts: BTreeMap<String, (Part, Laid)>,
    /// Hashes of the names that there is no place for.
    extra: HashSet<u64>,
    first_extra: Option<String>,
    hasher: RandomState,
}

/// A tensor of which only the form is kept.
struct Form {
    dtype: Dtype,
    shape: Box<[usize]>,
}

/// A part as it lies in the weights; a vector has no more than its weight.
#[derive(Default)]
struct Laid {
    weight: Option<Form>,
    scales: Option<Form>,
    biases: Option<Form>,
}

/// What the architecture needs, by the config.
pub(super) fn needs(config: &Config) -> Needs<'_> {
    let Some(model_type) = config.model_type() else {
        return Needs::Unknown;
    };
    let known = traits(model_type).filter(|_| !config.has_own_code());
    let Some(traits) = known.filter(|_| !config.has_foreign_packing()) else {
        return Needs::Unknown;
    };
    let parts = match parts(config, traits) {
        Ok(Some(parts)) => parts.into_iter(),
        Ok(None) => return Needs::Unknown,
        Err(flaws) => return Needs::ConfigFlaws(flaws),
    };
    Needs::Known(Fitting {
        config,
        model_type,
        traits,
        parts: parts
            .map(|(name, part)| (name, (part, Laid::default())))
            .collect(),
        extra: HashSet::new(),
        first_extra: None,
        hasher: RandomState::new(),
    })
}

impl Fitting<'_> {
    /// Takes a tensor; if there was one of that name, it takes its place.
    pub(super) fn see(&mut self, tensor: &Tensor) {
        let name = tensor.name.as_str();
        if self.is_dropped(name) {
            return;
        }
        if let Some(place) = place(&mut self.parts, name) {
            *place = Some(Form {
                dtype: tensor.dtype,
                shape: tensor.shape.as_slice().into(),
            });
            return;
        }
        let first = self.first_extra.as_deref();
        if first.is_none_or(|first| name < first) {
            self.first_extra = Some(name.to_owned());
        }
        self.extra.insert(self.hasher.hash_one(name));
    }

    /// Names that are left out of the weights before they are compared.
    fn is_dropped(&self, name: &str) -> bool {
        (self.traits.drops_frequencies && name.contains("self_attn.rotary_emb.inv_freq"))
            || (self.traits.own_head != OwnHead::Never
                && name == "lm_head.weight"
                && !self.parts.contains_key("lm_head"))
    }

    /// What it makes of the tensors seen so far.
    pub(super) fn fit(&self) -> Fit {
        let (mut lacks, mut differs) = (Vec::new(), Vec::new());
        for (name, (part, laid)) in &self.parts {
            match (part, &laid.weight) {
                (Part::Vector(_), None) => lacks.push(name.clone()),
                (Part::Vector(length), Some(form)) => {
                    if !form.is_shape(&[*length]) {
                        differs.push(form.differs(name, &[*length]));
                    }
                }
                (Part::Matrix(rows, columns), _) => {
                    let shape = (*rows, *columns);
                    laid.check(self.config, name, shape, &mut lacks, &mut differs);
                }
            }
        }
        let extra = self
            .first_extra
            .as_deref()
            .map(|first| (self.extra.len(), first));
        let sentences = sentences(self.model_type, &lacks, extra, differs);
        if sentences.is_empty() {
            Fit::Fits
        } else {
            Fit::Differs(sentences)
        }
    }
}

/// Where a tensor of that name belongs.
fn place<'a>(
    parts: &'a mut BTreeMap<String, (Part, Laid)>,
    name: &str,
) -> Option<&'a mut Option<Form>> {
    if let Some((Part::Vector(_), _)) = parts.get(name) {
        return parts.get_mut(name).map(|(_, laid)| &mut laid.weight);
    }
    let (base, end) = name.rsplit_once('.')?;
    let (Part::Matrix(..), laid) = parts.get_mut(base)? else {
        return None;
    };
    match end {
        "weight" => Some(&mut laid.weight),
        "scales" => Some(&mut laid.scales),
        "biases" => Some(&mut laid.biases),
        _ => None,
    }
}

fn sentences(
    model_type: &str,
    lacks: &[String],
    extra: Option<(usize, &str)>,
    differs: Vec<String>,
) -> Vec<String> {
    let mut out = Vec::new();
    if let Some(first) = lacks.first() {
        let count = counted(lacks.len());
        out.push(format!(
            "lack {count} that `{model_type}` needs, `{first}` first"
        ));
    }
    if let Some((count, first)) = extra {
        let (count, first) = (counted(count), sanitize_line(first, 100));
        out.push(format!(
            "hold {count} that `{model_type}` has no place for, `{first}` first"
        ));
    }
    out.extend(differs.into_iter().take(1));
    out
}

pub(super) fn counted(tensors: usize) -> String {
    match tensors {
        1 => "1 tensor".to_owned(),
        tensors => format!("{tensors} tensors"),
    }
}

/// The parts by name; `None` if the config asks for more than makes sense.
fn parts(config: &Config, traits: Traits) -> Result<Option<BTreeMap<String, Part>>, Vec<String>> {
    let missing: Vec<String> = COMMON
        .iter()
        .chain(traits.needs)
        .filter(|key| config.get(key).is_none())
        .map(|key| format!("has no `{key}`"))
        .collect();
    if !missing.is_empty() {
        return Err(missing);
    }
    let number = |key: &str| {
        let value = config.get(key)?.as_u64()?;
        (value <= LARGEST).then_some(value)
    };
    let mut strange = Vec::new();
    let mut need = |key: &str| match number(key) {
        Some(value) if value > 0 => value,
        _ => {
            strange.push(format!("has no sensible `{key}`"));
            0
        }
    };
    let hidden = need("hidden_size");
    let (layers, inner) = (need("num_hidden_layers"), need("intermediate_size"));
    let (heads, vocabulary) = (need("num_attention_heads"), need("vocab_size"));
    if !strange.is_empty() {
        return Err(strange);
    }
    let key_heads = number("num_key_value_heads").unwrap_or(heads);
    let is_wide = config.model_type() != Some("qwen2");
    let width = number("head_dim").filter(|width| is_wide && *width > 0);
    let width = width.unwrap_or(hidden / heads);
    if layers > MOST_LAYERS {
        return Ok(None);
    }
    let says = |key: &str| config.get(key).and_then(Value::as_bool);
    let mut parts = BTreeMap::new();
    parts.insert(
        "model.embed_tokens".to_owned(),
        Part::Matrix(vocabulary, hidden),
    );
    parts.insert("model.norm.weight".to_owned(), Part::Vector(hidden));
    if traits.own_head == OwnHead::IfUntied && says("tie_word_embeddings") == Some(false) {
        parts.insert("lm_head".to_owned(), Part::Matrix(vocabulary, hidden));
    }
    let (queries, keys) = (heads.saturating_mul(width), key_heads.saturating_mul(width));
    let is_all_biased =
        traits.attention_bias == Bias::AsSaid && says("attention_bias") == Some(true);
    let is_mlp_biased = traits.attention_bias == Bias::AsSaid && says("mlp_bias") == Some(true);
    for layer in 0..layers {
        let mut add = |name: &str, part| {
            parts.insert(format!("model.layers.{layer}.{name}"), part);
        };
        add("input_layernorm.weight", Part::Vector(hidden));
        add("post_attention_layernorm.weight", Part::Vector(hidden));
        if traits.feedforward_norms {
            add("pre_feedforward_layernorm.weight", Part::Vector(hidden));
            add("post_feedforward_layernorm.weight", Part::Vector(hidden));
        }
        for (name, rows, columns) in [
            ("q_proj", queries, hidden),
            ("k_proj", keys, hidden),
            ("v_proj", keys, hidden),
            ("o_proj", hidden, queries),
        ] {
            add(&format!("self_attn.{name}"), Part::Matrix(rows, columns));
            let is_input = traits.attention_bias == Bias::Inputs && name != "o_proj";
            if is_input || is_all_biased {
                add(&format!("self_attn.{name}.bias"), Part::Vector(rows));
            }
        }
        if traits.head_norms {
            add("self_attn.q_norm.weight", Part::Vector(width));
            add("self_attn.k_norm.weight", Part::Vector(width));
        }
        for (name, rows, columns) in [
            ("gate_proj", inner, hidden),
            ("up_proj", inner, hidden),
            ("down_proj", hidden, inner),
        ] {
            add(&format!("mlp.{name}"), Part::Matrix(rows, columns));
            if is_mlp_biased {
                add(&format!("mlp.{name}.bias"), Part::Vector(rows));
            }
        }
    }
    Ok(Some(parts))
}

impl Laid {
    /// Compares a matrix with what it should be.
    fn check(
        &self,
        config: &Config,
        name: &str,
        (rows, columns): (u64, u64),
        lacks: &mut Vec<String>,
        differs: &mut Vec<String>,
    ) {
        let Some(weight) = &self.weight else {
            lacks.push(format!("{name}.weight"));
            return;
        };
        let quantization = config.quantization();
        let entry = quantization.and_then(|all| all.get(name));
        let is_entry = |entry: &Value| entry.is_boolean() || entry.is_object();
        if let Some(entry) = entry.filter(|entry| !is_entry(entry)) {
            differs.push(format!(
                "hold `{name}`, of which the config's `quantization` says {}",
                said(entry)
            ));
            return;
        }
        let is_packed = quantization.is_some()
            && match entry {
                Some(Value::Bool(packed)) => *packed,
                Some(_) => true,
                None => self.scales.is_some(),
            };
        if !is_packed {
            if self.scales.is_some() || self.biases.is_some() {
                let end = if self.scales.is_some() {
                    "scales"
                } else {
                    "biases"
                };
                differs.push(format!(
                    "hold `{name}.{end}`, but `{name}` is not packed by what the config says"
                ));
            } else if !weight.is_shape(&[rows, columns]) {
                differs.push(weight.differs(&format!("{name}.weight"), &[rows, columns]));
            }
            return;
        }
        let Some(scales) = &self.scales else {
            lacks.push(format!("{name}.scales"));
            return;
        };
        let last = |form: &Form| form.shape.last().map_or(0, |n| *n as u64);
        let said = |key: &str| {
            entry
                .and_then(|entry| entry.get(key))
                .and_then(Value::as_u64)
        };
        let group = said("group_size").or_else(|| columns.checked_div(last(scales)));
        let bits = said("bits").or_else(|| last(weight).saturating_mul(32).checked_div(columns));
        let (group, bits) = (group.unwrap_or_default(), bits.unwrap_or_default());
        let is_affine = scales.dtype != Dtype::U8;
        let is_sane = if is_affine {
            GROUP_SIZES.contains(&group) && BITS.contains(&bits)
        } else {
            matches!((bits, group), (4, 16 | 32) | (8, 32))
        };
        if !is_sane {
            differs.push(format!(
                "hold `{name}` packed to {bits} bits in groups of {group}, which mlx does not do"
            ));
            return;
        }
        let (packed, groups) = ([rows, columns * bits / 32], [rows, columns / group]);
        for (end, form, shape) in [("weight", weight, &packed), ("scales", scales, &groups)] {
            if !form.is_shape(shape) {
                differs.push(form.differs(&format!("{name}.{end}"), shape));
            }
        }
        match &self.biases {
            None if is_affine => lacks.push(format!("{name}.biases")),
            Some(biases) if is_affine && !biases.is_shape(&groups) => {
                differs.push(biases.differs(&format!("{name}.biases"), &groups));
            }
            Some(_) | None => {}
        }
    }
}

impl Form {
    fn is_shape(&self, shape: &[u64]) -> bool {
        self.shape.len() == shape.len()
            && self
                .shape
                .iter()
                .zip(shape)
                .all(|(is, should)| *is as u64 == *should)
    }

    fn differs(&self, name: &str, shape: &[u64]) -> String {
        format!(
            "hold `{name}` in the shape {:?}, where the config asks for {shape:?}",
            self.shape
        )
    }
}
