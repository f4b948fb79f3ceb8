//! Owns the files that turn text into tokens: which are there, and whether what they name fits.
//!
//! Never keeps a vocabulary.

use std::collections::BTreeMap;
use std::io::Read as _;

use serde_json::{Map, Value};

use super::examine::Look;
use super::json::{Imposter, Unfit};
use super::sentencepiece;
use super::source::Opened;
use super::tiktoken;
use super::tokenizer::{self, Counted};
use crate::domain::{LoadLevel, LoadTrouble, Rule, sanitize_line};

pub(super) const TOKENIZER: &str = "tokenizer.json";
pub(super) const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const MODEL: &str = "tokenizer.model";
const VOCABULARY: &str = "vocab.json";
const MERGES: &str = "merges.txt";
const SPECIAL: &str = "special_tokens_map.json";
const ADDED: &str = "added_tokens.json";
pub(super) const TIKTOKEN: &str = ".tiktoken";
pub(super) const TIKTOKEN_MODEL: &str = "tiktoken.model";
const TEMPLATES: [&str; 2] = ["chat_template.jinja", "chat_template.json"];
/// No vocabulary is near that.
const TOKENIZER_LIMIT_BYTES: u64 = 256_000_000;
/// Longer lists of merges are not looked through.
const MERGES_LIMIT_BYTES: u64 = 64_000_000;
/// Special tokens that are told one by one.
const MOST_TOLD: usize = 5;

/// The files that are looked at here and nowhere else.
pub(super) const FILES: [&str; 4] = [TOKENIZER, TOKENIZER_CONFIG, SPECIAL, ADDED];

/// The special tokens that transformers knows by name.
const NAMED: [&str; 7] = [
    "bos_token",
    "cls_token",
    "eos_token",
    "mask_token",
    "pad_token",
    "sep_token",
    "unk_token",
];

/// What the small files say.
#[derive(Default)]
struct Small {
    /// Tokens that must be resolvable: the token, and who names it as what.
    wanted: BTreeMap<String, (&'static str, String)>,
    /// Tokens that the small files add themselves.
    added: Vec<String>,
    has_decoder: bool,
    has_template: bool,
    /// Whether there is a config for a tokenizer, which could hold a template.
    has_config: bool,
}

/// Looks at everything that has to do with text.
pub(super) fn look(look: &mut Look<'_>) {
    let small = small(look);
    let has = |name: &str| look.names.contains(name);
    let (has_model, has_vocabulary) = (has(MODEL), has(VOCABULARY));
    let has_merges = has(MERGES);
    let has_tiktoken_model = has(TIKTOKEN_MODEL);
    let ranks: Vec<String> = look
        .names
        .iter()
        .filter(|name| *name == TIKTOKEN_MODEL || name.ends_with(TIKTOKEN))
        .cloned()
        .collect();
    if has(TOKENIZER) {
        if let Some(counted) = whole(look, &small) {
            resolve(look, &small, &|token| counted.has_token(token));
        }
        if has_model {
            imposter(look, MODEL, "a sentencepiece model");
        }
        for name in ranks {
            imposter(look, &name, "a vocabulary");
        }
    } else if has_model || (has_vocabulary && has_merges) || !ranks.is_empty() {
        let is_read = has_model || has_vocabulary && has_merges || has_tiktoken_model;
        let sentence = match ranks.first().filter(|_| !is_read) {
            None => format!(
                "`{TOKENIZER}` is missing: mlx-lm makes do with the older files, Swift loaders do \
                 not"
            ),
            Some(name) => format!(
                "`{TOKENIZER}` is missing, and `{}` is read by code of the model's own, which \
                 mlx-lm runs only if it is told to trust it",
                sanitize_line(name, 60)
            ),
        };
        look.tell(LoadTrouble::new(LoadLevel::Warning, sentence).of_file(TOKENIZER));
        if has_model {
            older_model(look);
        } else if has_vocabulary && has_merges {
            pairs(look, &small);
        }
        for name in ranks {
            tiktoken(look, &name);
        }
    } else if has_vocabulary || has_merges {
        look.missing(if has_merges { VOCABULARY } else { MERGES });
    } else {
        let none = LoadTrouble::new(LoadLevel::Missing, "there is no tokenizer");
        look.tell(none.of_file(TOKENIZER));
    }
    let is_jinja = |name: &str| {
        std::path::Path::new(name)
            .extension()
            .is_some_and(|end| end == "jinja")
    };
    let has_template = small.has_template
        || TEMPLATES.iter().any(|name| look.names.contains(*name))
        || look.names.iter().any(|name| is_jinja(name));
    if !has_template && small.has_config {
        let sentence = "there is no chat template: the model completes text, it does not chat";
        look.tell(LoadTrouble::new(LoadLevel::Note, sentence).by_rule(Rule::NoChatTemplate));
    }
}

fn small(look: &mut Look<'_>) -> Small {
    let mut small = Small::default();
    if let Some(config) = object(look, TOKENIZER_CONFIG) {
        small.has_config = config.contains_key("tokenizer_class");
        small.has_template = config.get("chat_template").is_some_and(|template| {
            !template.is_null() && template.as_str() != Some("") && *template != Value::Bool(false)
        });
        if let Some(decoder) = config
            .get("added_tokens_decoder")
            .and_then(Value::as_object)
        {
            small.has_decoder = true;
            small.added.extend(decoder.values().filter_map(content));
        }
        named(look, &mut small, TOKENIZER_CONFIG, &config);
    }
    if let Some(map) = object(look, SPECIAL) {
        named(look, &mut small, SPECIAL, &map);
    }
    if let Some(added) = object(look, ADDED) {
        small
            .added
            .extend(added.into_iter().map(|(token, _)| token));
    }
    small
}

fn object(look: &mut Look<'_>, name: &'static str) -> Option<Map<String, Value>> {
    if !look.names.contains(name) {
        return None;
    }
    match look.json(name)? {
        Value::Object(map) => Some(map),
        other => {
            let what = super::json::kind(&other);
            look.broken(name, &format!("holds {what}, not an object"));
            None
        }
    }
}

/// A token as it is, or as an object with its content.
fn content(value: &Value) -> Option<String> {
    let text = value.as_str().or_else(|| value.get("content")?.as_str())?;
    Some(text.to_owned())
}

fn named(look: &mut Look<'_>, small: &mut Small, file: &'static str, map: &Map<String, Value>) {
    for role in NAMED {
        let Some(value) = map.get(role).filter(|value| !value.is_null()) else {
            continue;
        };
        if let Some(token) = content(value) {
            if !token.is_empty() {
                small.wanted.entry(token).or_insert((file, role.to_owned()));
            }
        } else {
            let what = super::json::kind(value);
            look.broken(file, &format!("has {what} as `{role}`"));
        }
    }
}

/// Reads a file unless it is known; what is wrong with it is told.
fn read<T>(
    look: &mut Look<'_>,
    name: &str,
    work: impl FnOnce(Opened<'_>) -> std::io::Result<Result<T, Unfit>>,
) -> Option<T> {
    let done = match look.source.open(name) {
        Ok(Some(opened)) => work(opened),
        Ok(None) => {
            look.unseen(name);
            return None;
        }
        Err(error) => Err(error),
    };
    match done {
        Ok(Ok(value)) => Some(value),
        Ok(Err(unfit)) => {
            look.unfit(name, &unfit);
            None
        }
        Err(error) => {
            look.unreadable(name, &error);
            None
        }
    }
}

/// `tokenizer.json`, if it must be looked at.
fn whole(look: &mut Look<'_>, small: &Small) -> Option<Counted> {
    if look.source.is_proven(TOKENIZER) {
        return None;
    }
    if let Ok(Some(file)) = look.source.open(TOKENIZER)
        && file.size_bytes > TOKENIZER_LIMIT_BYTES
    {
        let sentence = format!("`{TOKENIZER}` is too large to be looked at");
        look.tell(LoadTrouble::new(LoadLevel::Warning, sentence).of_file(TOKENIZER));
        return None;
    }
    let wanted: Vec<&str> = small.wanted.keys().map(String::as_str).collect();
    let is_deep = look.source.is_deep();
    let counted = read(look, TOKENIZER, |file| {
        tokenizer::count(file, &wanted, is_deep)
    })?;
    if counted.vocabulary == 0 {
        let sentence = format!("`{TOKENIZER}` has an empty vocabulary");
        look.tell(LoadTrouble::new(LoadLevel::Warning, sentence).of_file(TOKENIZER));
    }
    if !counted.has_added_tokens && !small.has_decoder {
        // transformers asks for the list unless the config has one of its own.
        look.broken(TOKENIZER, "has no `added_tokens`");
    }
    Some(counted)
}

fn resolve(look: &mut Look<'_>, small: &Small, has_token: &dyn Fn(&str) -> bool) {
    let strange = small
        .wanted
        .iter()
        .filter(|(token, _)| !has_token(token) && !small.added.contains(token));
    for (token, (file, role)) in strange.take(MOST_TOLD) {
        let shown = sanitize_line(token, 60);
        let sentence = format!(
            "`{file}` names `{shown}` as `{role}`, which no vocabulary knows: it becomes a token \
             that the model has never seen"
        );
        look.tell(LoadTrouble::new(LoadLevel::Warning, sentence).of_file(file));
    }
}

/// `vocab.json` and `merges.txt`, judged as a `tokenizer.json` made of both would be.
fn pairs(look: &mut Look<'_>, small: &Small) {
    if look.source.is_proven(VOCABULARY) && look.source.is_proven(MERGES) {
        return;
    }
    let wanted: Vec<&str> = small.wanted.keys().map(String::as_str).collect();
    let vocabulary = |file: Opened<'_>| tokenizer::count_vocabulary(file, &wanted);
    let Some(mut counted) = read(look, VOCABULARY, vocabulary) else {
        return;
    };
    let merged = read(look, MERGES, |file| {
        let bytes = file.whole(MERGES_LIMIT_BYTES)?;
        Ok(match Imposter::of(&bytes) {
            Some(imposter) => Err(imposter.unfit("merges")),
            None => counted.merges_text(&bytes),
        })
    });
    if merged.is_some() {
        resolve(look, small, &|token| counted.has_token(token));
    }
}

/// `tokenizer.model`: what sentencepiece writes, or else what tiktoken reads, as transformers tries
/// them.
fn older_model(look: &mut Look<'_>) {
    let ranks = read(look, MODEL, |file| {
        let bytes = file.whole(sentencepiece::LIMIT_BYTES)?;
        let Err(unfit) = sentencepiece::pieces(&bytes) else {
            return Ok(Ok(None));
        };
        Ok(match tiktoken::count(Opened::of(&bytes))? {
            Ok(counted) => Ok(Some(counted)),
            Err(fault) if fault.is_alike => Err(fault.unfit),
            Err(_) => Err(unfit),
        })
    });
    if let Some(Some(counted)) = ranks {
        holes(look, MODEL, &counted);
    }
}

/// A vocabulary as tiktoken reads it.
fn tiktoken(look: &mut Look<'_>, name: &str) {
    if look.source.is_proven(name) {
        return;
    }
    let counted = read(look, name, |file| {
        let counted = tiktoken::count(file)?;
        Ok(counted.map_err(|fault| fault.unfit))
    });
    if let Some(counted) = counted {
        holes(look, name, &counted);
    }
}

/// What a vocabulary lacks and loads without.
fn holes(look: &mut Look<'_>, name: &str, counted: &tiktoken::Counted) {
    let shown = sanitize_line(name, 60);
    let mut tell = |what: String| {
        let sentence = format!("`{shown}` {what}: lines of it are missing");
        look.tell(LoadTrouble::new(LoadLevel::Warning, sentence).of_file(name));
    };
    if counted.missing_ranks > 0 {
        let (missing, tokens) = (counted.missing_ranks, counted.tokens);
        tell(format!(
            "has {tokens} tokens and no token for {missing} of the ranks below the highest"
        ));
    }
    if counted.missing_bytes > 0 {
        let missing = counted.missing_bytes;
        tell(format!("has no token for {missing} of the 256 bytes"));
    }
}

/// A look at the start of a file that is not read beside a better one, for what was saved in its
/// place.
fn imposter(look: &mut Look<'_>, name: &str, instead_of: &str) {
    if look.source.is_unseen(name) || look.source.is_proven(name) {
        return;
    }
    read(look, name, |file| {
        let mut start = Vec::new();
        file.take(64).read_to_end(&mut start)?;
        Ok(match Imposter::of(&start) {
            Some(imposter) => Err(imposter.unfit(instead_of)),
            None => Ok(()),
        })
    });
}
