//! Owns the check "ready for MLX" of one model, offline (hub.md 6.3, without its full hash).
//!
//! Never follows what a loader would not: only the model's own files count. Broken is what
//! `mlx_lm.load` fails on, and what holds something else than its name says.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::architectures::{self, VERSION};
use super::config::Config;
use super::index::Index;
use super::json::{self, Unfit};
use super::shards::{self, INDEX};
use super::source::{IsProven, Listed, Reading, Source};
use super::words;
use crate::domain::{Examination, LoadLevel, LoadTrouble, Rule, sanitize, sanitize_line};

const CONFIG: &str = "config.json";
const GENERATION: &str = "generation_config.json";
const JSON: &str = ".json";
const PROCESSORS: [&str; 2] = ["preprocessor_config.json", "processor_config.json"];
/// No JSON file but a tokenizer is near that.
const LIMIT_BYTES: u64 = 64_000_000;
/// A config takes many times its length in memory.
const CONFIG_LIMIT_BYTES: u64 = 8_000_000;

/// What keeps the model in `dir` from being loaded, and what is odd about it. Files of which only
/// the form is looked at, such as a vocabulary of many megabytes, are not read if they are proven:
/// then no web page has taken their place.
pub fn examine(dir: &Path, reading: Reading<'_>, is_proven: IsProven<'_>) -> Examination {
    Look::at(Source::Folder {
        dir,
        reading,
        is_proven,
    })
}

/// The same before anything is downloaded: by the files that a Hub lists, and what was fetched of
/// them ([`super::asks`] says what is needed).
pub fn examine_listed(files: &BTreeMap<String, Listed>) -> Examination {
    Look::at(Source::Listing(files))
}

/// A look at a model.
pub(super) struct Look<'a> {
    pub(super) source: Source<'a>,
    /// At top level.
    pub(super) names: BTreeSet<String>,
    seen: Examination,
}

impl<'a> Look<'a> {
    fn at(source: Source<'a>) -> Examination {
        let mut look = Self {
            names: source.names().into_iter().collect(),
            source,
            seen: Examination::default(),
        };
        let config = look.config();
        let index = look.index();
        shards::look(&mut look, index.as_ref(), config.as_ref());
        words::look(&mut look);
        if let Some(config) = &config {
            look.senses(config);
        }
        look.other_json();
        look.seen
    }

    fn config(&mut self) -> Option<Config> {
        if !self.names.contains(CONFIG) {
            self.missing(CONFIG);
            return None;
        }
        let config = match Config::new(self.json(CONFIG)?) {
            Ok(config) => config,
            Err(why) => {
                self.broken(CONFIG, &why);
                return None;
            }
        };
        let flaws = config.flaws();
        if !config.has_model_type() {
            let unfit = Unfit::new("names no `model_type`").by_rule(Rule::NoModelType);
            self.unfit(CONFIG, &unfit);
        }
        for why in &flaws.broken {
            self.broken(CONFIG, why);
        }
        for why in &flaws.odd {
            let sentence = format!("`{CONFIG}` {why}");
            self.tell(LoadTrouble::new(LoadLevel::Warning, sentence).of_file(CONFIG));
        }
        if config.has_own_code() {
            let sentence = format!(
                "`{CONFIG}` asks for code of its own (`model_file`), which mlx-lm runs only if it is \
                 told to trust it"
            );
            self.tell(LoadTrouble::new(LoadLevel::Warning, sentence).of_file(CONFIG));
        } else if let Some(name) = config.model_type()
            && !architectures::is_known(name)
        {
            let name = sanitize_line(name, 60);
            let sentence = format!(
                "mlx-lm {VERSION} has no model of the type `{name}`; a newer one or another loader \
                 may"
            );
            self.tell(LoadTrouble::new(LoadLevel::Note, sentence).of_file(CONFIG));
        }
        let is_sound = flaws.broken.is_empty() && config.has_model_type();
        is_sound.then_some(config)
    }

    /// mlx-lm reads no index; Swift loaders and pipelines over several machines do.
    fn index(&mut self) -> Option<Index> {
        self.names
            .contains(INDEX)
            .then(|| self.json::<Index>(INDEX))
            .flatten()
    }

    /// What a model that sees or hears needs besides.
    fn senses(&mut self, config: &Config) {
        let has_processor = PROCESSORS.iter().any(|name| self.names.contains(*name));
        if config.is_multimodal() && !has_processor {
            let name = PROCESSORS[0];
            let sentence = format!(
                "`{name}` is missing: the model answers text, and loaders that show it pictures fail"
            );
            self.tell(LoadTrouble::new(LoadLevel::Warning, sentence).of_file(name));
        }
    }

    /// A web page or pointer saved under the name of a JSON file is found by parsing it.
    fn other_json(&mut self) {
        let is_seen = |name: &str| [CONFIG, INDEX].contains(&name) || words::FILES.contains(&name);
        let others: Vec<String> = self
            .names
            .iter()
            .filter(|name| name.ends_with(JSON) && !is_seen(name))
            .cloned()
            .collect();
        for name in others {
            let is_told = self
                .seen
                .at(LoadLevel::Broken)
                .any(|trouble| trouble.file.as_deref() == Some(&name));
            // What is that large is no setting, and nobody's damage.
            let is_large = matches!(
                self.source.open(&name),
                Ok(Some(opened)) if opened.size_bytes > LIMIT_BYTES
            );
            let is_left_out = is_told || is_large || self.source.is_unseen(&name);
            if is_left_out || self.source.is_proven(&name) {
                continue;
            }
            if name != GENERATION {
                self.json::<IgnoredAny>(&name);
            } else if let Some(value) = self.json::<Value>(&name)
                && !value.is_object()
            {
                let what = json::kind(&value);
                self.broken(&name, &format!("holds {what}, not an object"));
            }
        }
    }

    /// A small JSON file; what is wrong with it is told.
    pub(super) fn json<T: for<'de> Deserialize<'de>>(&mut self, name: &str) -> Option<T> {
        let read = match self.source.open(name) {
            Ok(Some(opened)) => opened.whole(match name {
                CONFIG | GENERATION | words::TOKENIZER_CONFIG => CONFIG_LIMIT_BYTES,
                _ => LIMIT_BYTES,
            }),
            Ok(None) => {
                self.unseen(name);
                return None;
            }
            Err(error) => Err(error),
        };
        match read.map(|bytes| json::parse(&bytes)) {
            Ok(Ok(value)) => Some(value),
            Ok(Err(unfit)) => {
                self.unfit(name, &unfit);
                None
            }
            Err(error) => {
                self.unreadable(name, &error);
                None
            }
        }
    }

    pub(super) fn unreadable(&mut self, name: &str, error: &io::Error) {
        if error.kind() == io::ErrorKind::NotFound {
            self.missing(name);
        } else {
            let sentence = format!("`{}` cannot be read: {error}", sanitize(name));
            self.tell(
                LoadTrouble::new(LoadLevel::Broken, sentence)
                    .by_rule(Rule::Unreadable)
                    .of_file(name),
            );
        }
    }

    /// A file that was not fetched, so nothing can be said of it.
    pub(super) fn unseen(&mut self, name: &str) {
        let sentence = format!("`{}` was not looked at", sanitize(name));
        self.tell(LoadTrouble::new(LoadLevel::Note, sentence).of_file(name));
    }

    pub(super) fn unfit(&mut self, name: &str, unfit: &Unfit) {
        let sentence = format!("`{}` {}", sanitize(name), unfit.why);
        self.tell(
            LoadTrouble::new(LoadLevel::Broken, sentence)
                .by_rule(unfit.rule)
                .of_file(name),
        );
    }

    pub(super) fn tell(&mut self, trouble: LoadTrouble) {
        self.seen.troubles.push(trouble);
    }

    pub(super) fn missing(&mut self, name: &str) {
        let sentence = format!("`{}` is missing", sanitize(name));
        self.tell(LoadTrouble::new(LoadLevel::Missing, sentence).of_file(name));
    }

    /// `why` follows the file's name.
    pub(super) fn broken(&mut self, name: &str, why: &str) {
        self.unfit(name, &Unfit::new(why));
    }
}

#[cfg(test)]
#[path = "examine_tests.rs"]
mod tests;
