//! Owns the weight files of a model as a whole: which ones loaders open, and what the index says
//! against what is in them.
//!
//! Never reads tensors.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use safetensors::Dtype;
use serde::Deserialize;

use super::config::Config;
use super::examine::Look;
use super::family::{self, Fit, counted};
use super::selection::is_model_weights;
use super::weights::{self, Fault, Tensor};
use crate::domain::{LoadLevel, LoadTrouble, RepoPath, Rule, sanitize, sanitize_line};

pub(super) const INDEX: &str = "model.safetensors.index.json";
const CONFIG: &str = "config.json";
const WEIGHTS: &str = ".safetensors";
/// Weights that change a model and are none.
const ADAPTERS: [&str; 2] = ["adapters.safetensors", "adapter_model.safetensors"];
/// Missing shards named one by one; a name may claim that there are many thousands.
const MOST_MISSING: u64 = 100;

/// What the index promises: which file each tensor is in.
#[derive(Deserialize)]
pub(super) struct Index {
    pub(super) weight_map: BTreeMap<String, String>,
}

/// The weight files that are to be opened, by what is at top level and what the index says.
pub(super) fn wanted(names: &BTreeSet<String>, index: Option<&Index>) -> BTreeSet<String> {
    let mut wanted: BTreeSet<String> = names
        .iter()
        .filter(|name| is_model_weights(name))
        .cloned()
        .collect();
    if let Some(index) = index {
        wanted.extend(index.weight_map.values().cloned());
    }
    if wanted.is_empty() {
        let others = names.iter().filter(|name| name.ends_with(WEIGHTS));
        wanted.extend(
            others
                .filter(|name| !ADAPTERS.contains(&name.as_str()))
                .cloned(),
        );
    }
    wanted
}

/// What was read of the weights.
#[derive(Default)]
struct Weights {
    files: BTreeMap<String, Vec<Tensor>>,
    /// Files that are not there.
    absent: BTreeSet<String>,
    /// Something could not be read, or is not there: what is missing is not told twice.
    is_partial: bool,
}

/// Looks at all weight files.
pub(super) fn look(look: &mut Look<'_>, index: Option<&Index>, config: Option<&Config>) {
    let wanted = wanted(&look.names, index);
    if wanted.is_empty() {
        let none = "there are no weights in safetensors form";
        look.tell(LoadTrouble::new(LoadLevel::Missing, none));
        return;
    }
    if !wanted.iter().any(|name| is_model_weights(name)) {
        let others = "there are no weights by the name of `model*.safetensors`, so mlx-lm finds \
                      none; other loaders may";
        look.tell(LoadTrouble::new(LoadLevel::Warning, others));
    }
    let mut read = Weights::default();
    for name in wanted {
        open(look, name, &mut read);
    }
    let nowhere = match index {
        Some(index) => promised(look, index, &mut read),
        None => {
            numbered(look, &mut read);
            Vec::new()
        }
    };
    let is_stray = |name: &str| {
        index.is_some_and(|index| {
            !index.weight_map.is_empty() && !index.weight_map.values().any(|shard| shard == name)
        })
    };
    let strays: BTreeSet<String> = read
        .files
        .keys()
        .filter(|name| is_stray(name))
        .cloned()
        .collect();
    let fit = config.map_or(Fit::Unknown, |config| {
        by_family(look, config, &read, &strays)
    });
    // What the architecture does not need may be promised in vain.
    let level = match fit {
        Fit::Fits => LoadLevel::Warning,
        _ => LoadLevel::Broken,
    };
    for (shard, sentence) in nowhere {
        look.tell(LoadTrouble::new(level, sentence).of_file(&shard));
    }
    match fit {
        Fit::Differs(sentences) => {
            for sentence in sentences {
                let sentence = format!("the weights {sentence}");
                look.tell(LoadTrouble::new(LoadLevel::Broken, sentence));
            }
            told_strays(look, &strays, LoadLevel::Warning);
        }
        Fit::ConfigFlaws(flaws) => {
            for why in flaws {
                look.broken(CONFIG, &why);
            }
        }
        Fit::Fits if !strays.is_empty() => {
            // Strays come last, so that theirs are the shapes that are looked at.
            let all = read
                .tensors(&strays, false)
                .chain(read.tensors(&strays, true));
            let level = match config.map(|config| family::fit(config, all)) {
                Some(Fit::Differs(_)) => LoadLevel::Broken,
                _ => LoadLevel::Warning,
            };
            told_strays(look, &strays, level);
        }
        Fit::Fits | Fit::Unknown => told_strays(look, &strays, LoadLevel::Warning),
    }
    twice(look, &read, &strays);
}

impl Weights {
    /// The tensors of the files that are strays, or of those that are not.
    fn tensors(&self, strays: &BTreeSet<String>, of_strays: bool) -> impl Iterator<Item = &Tensor> {
        self.files
            .iter()
            .filter(move |(name, _)| strays.contains(*name) == of_strays)
            .flat_map(|(_, tensors)| tensors)
    }
}

fn open(look: &mut Look<'_>, name: String, read: &mut Weights) {
    // The index is foreign text: it may not lead out of the folder.
    if RepoPath::new(&name).is_err() {
        let shown = sanitize_line(&name, 200);
        look.broken(INDEX, &format!("names `{shown}`, which is no file's name"));
        read.is_partial = true;
        return;
    }
    let opened = match look.source.open(&name) {
        Ok(Some(opened)) => opened,
        Ok(None) => {
            look.unseen(&name);
            read.is_partial = true;
            return;
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            read.absent.insert(name);
            return;
        }
        Err(error) => {
            look.unreadable(&name, &error);
            read.is_partial = true;
            return;
        }
    };
    match weights::tensors(opened) {
        Ok(tensors) => {
            read.files.insert(name, tensors);
        }
        Err(fault) => {
            match fault {
                Fault::Malformed(unfit) => look.unfit(&name, &unfit),
                Fault::Unreadable(error) => look.unreadable(&name, &error),
            }
            read.is_partial = true;
        }
    }
}

/// What the index promises and its files do not hold. What no file holds comes back, for the
/// architecture to say whether it matters: the file, and a sentence.
fn promised(look: &mut Look<'_>, index: &Index, read: &mut Weights) -> Vec<(String, String)> {
    let everywhere: HashSet<&str> = read
        .files
        .values()
        .flatten()
        .map(|tensor| tensor.name.as_str())
        .collect();
    let mut needed: BTreeSet<&str> = BTreeSet::new();
    let mut elsewhere: BTreeMap<&str, usize> = BTreeMap::new();
    let mut nowhere: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    let own: HashMap<&str, HashSet<&str>> = read
        .files
        .iter()
        .map(|(name, tensors)| {
            let names = tensors.iter().map(|tensor| tensor.name.as_str());
            (name.as_str(), names.collect())
        })
        .collect();
    for (tensor, shard) in &index.weight_map {
        let is_elsewhere = everywhere.contains(tensor.as_str());
        match own.get(shard.as_str()) {
            Some(names) if names.contains(tensor.as_str()) => {}
            Some(_) if is_elsewhere => *elsewhere.entry(shard).or_default() += 1,
            Some(_) => nowhere.entry(shard).or_insert((0, tensor)).0 += 1,
            None if read.absent.contains(shard) && !is_elsewhere => {
                needed.insert(shard);
            }
            None => {}
        }
    }
    let mut troubles = Vec::new();
    for (shard, count) in elsewhere {
        let (shown, count) = (sanitize(shard), counted(count));
        let sentence = format!("`{INDEX}` places {count} in `{shown}` that lie in another file");
        troubles.push(LoadTrouble::new(LoadLevel::Warning, sentence).of_file(INDEX));
    }
    let nowhere = nowhere
        .into_iter()
        .map(|(shard, (count, first))| {
            let (shown, first) = (sanitize(shard), sanitize_line(first, 100));
            let count = counted(count);
            let sentence =
                format!("`{shown}` lacks {count} that the index places in it, as `{first}`");
            (shard.to_owned(), sentence)
        })
        .collect();
    let needed: BTreeSet<String> = needed.into_iter().map(str::to_owned).collect();
    for shard in read.absent.difference(&needed) {
        let shown = sanitize(shard);
        let sentence =
            format!("`{INDEX}` names `{shown}`, which is missing; its tensors lie in other files");
        troubles.push(LoadTrouble::new(LoadLevel::Warning, sentence).of_file(INDEX));
    }
    for trouble in troubles {
        look.tell(trouble);
    }
    for shard in &needed {
        look.missing(shard);
        read.is_partial = true;
    }
    nowhere
}

/// Without an index the names tell how many files there should be.
fn numbered(look: &mut Look<'_>, read: &mut Weights) {
    let mut sets: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
    for name in read.files.keys() {
        if let Some((total, number)) = number_of(name) {
            sets.entry(total).or_default().insert(number);
        }
    }
    let complete = |(total, numbers): (&&str, &BTreeSet<u64>)| {
        total.parse() == Ok(u64::try_from(numbers.len()).unwrap_or(u64::MAX))
    };
    if sets.is_empty() || sets.iter().any(complete) {
        return;
    }
    let mut missing = Vec::new();
    for (total, numbers) in &sets {
        let last = total.parse::<u64>().unwrap_or_default();
        let lacking = (1..=last).filter(|number| !numbers.contains(number));
        missing.extend(
            lacking
                .take(usize::try_from(MOST_MISSING).unwrap_or_default())
                .map(|number| {
                    let width = total.len();
                    format!("model-{number:0width$}-of-{total}{WEIGHTS}")
                }),
        );
    }
    for name in missing {
        look.missing(&name);
        read.is_partial = true;
    }
}

/// `model-00001-of-00003.safetensors`: of how many, and which.
fn number_of(name: &str) -> Option<(&str, u64)> {
    let (number, total) = name
        .strip_prefix("model-")?
        .strip_suffix(WEIGHTS)?
        .split_once("-of-")?;
    let is_number = |text: &str| {
        (1..=9).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    (is_number(number) && is_number(total)).then_some((total, number.parse().ok()?))
}

/// What the architecture makes of the weights, where that is known.
fn by_family(look: &Look<'_>, config: &Config, read: &Weights, strays: &BTreeSet<String>) -> Fit {
    // Which tensors an architecture needs changes with mlx-lm: only who asks closely is told.
    if read.is_partial || !look.source.is_deep() {
        return Fit::Unknown;
    }
    let is_silent = config.quantization().is_none()
        && !config.has_foreign_packing()
        && !look.source.has("hf_quant_config.json");
    let packed = is_silent
        .then(|| packed(read.tensors(strays, false)))
        .flatten();
    if let Some(packed) = packed {
        let shown = sanitize_line(packed, 100);
        return Fit::ConfigFlaws(vec![format!(
            "says nothing of `quantization`, and the weights are packed: `{shown}`"
        )]);
    }
    family::fit(config, read.tensors(strays, false))
}

/// A tensor that mlx-lm packed.
fn packed<'a>(tensors: impl Iterator<Item = &'a Tensor>) -> Option<&'a str> {
    let mut weights = HashSet::new();
    let (mut scales, mut biases) = (HashSet::new(), HashSet::new());
    for tensor in tensors {
        let Some((name, end)) = tensor.name.rsplit_once('.') else {
            continue;
        };
        match end {
            "weight" if tensor.dtype == Dtype::U32 => weights.insert(name),
            "scales" => scales.insert(name),
            "biases" => biases.insert(name),
            _ => false,
        };
    }
    weights
        .into_iter()
        .filter(|name| scales.contains(name) && biases.contains(name))
        .min()
}

fn told_strays(look: &mut Look<'_>, strays: &BTreeSet<String>, level: LoadLevel) {
    for stray in strays {
        let shown = sanitize(stray);
        let what = match level {
            LoadLevel::Broken => "and the model has no place for what is in it",
            _ => "so what is in it may take the place of other weights",
        };
        let sentence =
            format!("`{shown}` is not in the index, but mlx-lm loads it by its name, {what}");
        look.tell(
            LoadTrouble::new(level, sentence)
                .by_rule(Rule::StrayWeights)
                .of_file(stray),
        );
    }
}

/// Tensors that lie in two files: which one is taken is left to the order of the folder.
fn twice(look: &mut Look<'_>, read: &Weights, strays: &BTreeSet<String>) {
    let mut seen: HashMap<&str, &str> = HashMap::new();
    let mut pairs: BTreeMap<(&str, &str), (usize, &str)> = BTreeMap::new();
    for (file, tensors) in read
        .files
        .iter()
        .filter(|(file, _)| !strays.contains(*file))
    {
        for tensor in tensors {
            if let Some(first) = seen.insert(&tensor.name, file) {
                pairs.entry((first, file)).or_insert((0, &tensor.name)).0 += 1;
            }
        }
    }
    let told: Vec<LoadTrouble> = pairs
        .into_iter()
        .map(|((first, other), (count, name))| {
            let count = counted(count);
            let sentence = format!(
                "`{}` and `{}` both hold {count}, as `{}`; which one is loaded is left to chance",
                sanitize(first),
                sanitize(other),
                sanitize_line(name, 100)
            );
            LoadTrouble::new(LoadLevel::Warning, sentence)
                .by_rule(Rule::StrayWeights)
                .of_file(other)
        })
        .collect();
    for trouble in told {
        look.tell(trouble);
    }
}
