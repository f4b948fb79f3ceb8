//! Owns the weight files of a model as a whole: which ones loaders open, and what the index says
//! against what is in them.
//!
//! Never reads tensors.

use std::collections::{BTreeMap, BTreeSet};

use super::config::Config;
use super::examine::Look;
use super::family::{self, Fit, Needs, counted};
use super::index::Index;
use super::names::{Packing, Twice};
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

/// The weight files that are to be opened, by what is at top level and what the index says.
pub(super) fn wanted(names: &BTreeSet<String>, index: Option<&Index>) -> BTreeSet<String> {
    let mut wanted: BTreeSet<String> = names
        .iter()
        .filter(|name| is_model_weights(name))
        .cloned()
        .collect();
    if let Some(index) = index {
        wanted.extend(index.files().iter().cloned());
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

/// What is remembered of the weight files: one header is in memory at a time, and of its tensors
/// stays no more than what must be compared with others.
struct Weights<'a> {
    index: Option<&'a Index>,
    /// What was found of each tensor of the index.
    found: Vec<Found>,
    /// Files whose header was read.
    opened: BTreeSet<String>,
    /// Files that are not there.
    absent: BTreeSet<String>,
    /// Something could not be read, or is not there: what is missing is not told twice.
    is_partial: bool,
    twice: Twice,
    needs: Needs<'a>,
    packing: Option<Packing>,
}

/// Where a tensor of the index was found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Nowhere,
    Elsewhere,
    InItsFile,
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
    let is_stray = |name: &String| {
        index.is_some_and(|index| !index.files().is_empty() && !index.files().contains(name))
    };
    let (strays, own): (Vec<_>, Vec<_>) = wanted.into_iter().partition(is_stray);
    let mut read = Weights::new(look, index, config);
    for name in own {
        read.open(look, name, false);
    }
    let fit = read.fit();
    // Strays come last, so that theirs are the shapes that are looked at.
    let mut read_strays = Vec::new();
    for name in strays {
        if read.open(look, name.clone(), true) {
            read_strays.push(name);
        }
    }
    let nowhere = match index {
        Some(index) => promised(look, index, &mut read),
        None => {
            numbered(look, &mut read);
            Vec::new()
        }
    };
    let fit = if read.is_partial { Fit::Unknown } else { fit };
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
            told_strays(look, &read_strays, LoadLevel::Warning);
        }
        Fit::ConfigFlaws(flaws) => {
            for why in flaws {
                look.broken(CONFIG, &why);
            }
        }
        Fit::Fits if !read_strays.is_empty() => {
            let level = match read.fit() {
                Fit::Differs(_) => LoadLevel::Broken,
                _ => LoadLevel::Warning,
            };
            told_strays(look, &read_strays, level);
        }
        Fit::Fits | Fit::Unknown => told_strays(look, &read_strays, LoadLevel::Warning),
    }
    read.twice.tell(look);
}

impl<'a> Weights<'a> {
    fn new(look: &Look<'_>, index: Option<&'a Index>, config: Option<&'a Config>) -> Self {
        // Which tensors an architecture needs changes with mlx-lm: only who asks closely is told.
        let config = config.filter(|_| look.source.is_deep());
        let is_silent = |config: &Config| {
            config.quantization().is_none()
                && !config.has_foreign_packing()
                && !look.source.has("hf_quant_config.json")
        };
        Self {
            index,
            found: vec![Found::Nowhere; index.map_or(0, |index| index.tensors().len())],
            opened: BTreeSet::new(),
            absent: BTreeSet::new(),
            is_partial: false,
            twice: Twice::default(),
            needs: config.map_or(Needs::Unknown, family::needs),
            packing: config.is_some_and(is_silent).then(Packing::default),
        }
    }

    /// Reads a header; whether it could be.
    fn open(&mut self, look: &mut Look<'_>, name: String, is_stray: bool) -> bool {
        let Some(tensors) = tensors(look, &name, self) else {
            return false;
        };
        let number = self.twice.file(&name);
        for tensor in &tensors {
            self.place(&name, tensor);
            if let Needs::Known(fitting) = &mut self.needs {
                fitting.see(tensor);
            }
            if !is_stray {
                self.twice.see(&tensor.name, number);
                if let Some(packing) = &mut self.packing {
                    packing.see(tensor);
                }
            }
        }
        self.opened.insert(name);
        true
    }

    /// Notes that a tensor of the index is there.
    fn place(&mut self, file: &str, tensor: &Tensor) {
        let Some((at, promised)) = self.index.and_then(|index| index.find(&tensor.name)) else {
            return;
        };
        if promised == file {
            self.found[at] = Found::InItsFile;
        } else if self.found[at] == Found::Nowhere {
            self.found[at] = Found::Elsewhere;
        }
    }

    /// What the architecture makes of the weights seen so far, where that is known.
    fn fit(&self) -> Fit {
        if let Some(packed) = self.packing.as_ref().and_then(|all| all.first.as_deref()) {
            let shown = sanitize_line(packed, 100);
            return Fit::ConfigFlaws(vec![format!(
                "says nothing of `quantization`, and the weights are packed: `{shown}`"
            )]);
        }
        match &self.needs {
            Needs::Unknown => Fit::Unknown,
            Needs::ConfigFlaws(flaws) => Fit::ConfigFlaws(flaws.clone()),
            Needs::Known(fitting) => fitting.fit(),
        }
    }
}

/// The tensors of one file; why there are none is told.
fn tensors(look: &mut Look<'_>, name: &str, read: &mut Weights<'_>) -> Option<Vec<Tensor>> {
    // The index is foreign text: it may not lead out of the folder.
    if RepoPath::new(name).is_err() {
        let shown = sanitize_line(name, 200);
        look.broken(INDEX, &format!("names `{shown}`, which is no file's name"));
        read.is_partial = true;
        return None;
    }
    let opened = match look.source.open(name) {
        Ok(Some(opened)) => opened,
        Ok(None) => {
            look.unseen(name);
            read.is_partial = true;
            return None;
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            read.absent.insert(name.to_owned());
            return None;
        }
        Err(error) => {
            look.unreadable(name, &error);
            read.is_partial = true;
            return None;
        }
    };
    match weights::tensors(opened) {
        Ok(tensors) => return Some(tensors),
        Err(Fault::Malformed(unfit)) => look.unfit(name, &unfit),
        Err(Fault::Unreadable(error)) => look.unreadable(name, &error),
    }
    read.is_partial = true;
    None
}

/// What the index promises and its files do not hold. What no file holds comes back, for the
/// architecture to say whether it matters: the file, and a sentence.
fn promised(look: &mut Look<'_>, index: &Index, read: &mut Weights<'_>) -> Vec<(String, String)> {
    let mut needed: BTreeSet<&str> = BTreeSet::new();
    let mut elsewhere: BTreeMap<&str, usize> = BTreeMap::new();
    let mut nowhere: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    for ((tensor, shard), found) in index.tensors().zip(&read.found) {
        match (read.opened.contains(shard), found) {
            (_, Found::InItsFile) | (false, Found::Elsewhere) => {}
            (true, Found::Elsewhere) => *elsewhere.entry(shard).or_default() += 1,
            (true, Found::Nowhere) => nowhere.entry(shard).or_insert((0, tensor)).0 += 1,
            (false, Found::Nowhere) => {
                if read.absent.contains(shard) {
                    needed.insert(shard);
                }
            }
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
fn numbered(look: &mut Look<'_>, read: &mut Weights<'_>) {
    let mut sets: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
    for name in &read.opened {
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

fn told_strays(look: &mut Look<'_>, strays: &[String], level: LoadLevel) {
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
