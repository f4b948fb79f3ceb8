//! A model with a history, and what a cache should hold of it: every commit, path and content, told
//! by the test's own hashes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use larder::domain::{Commit, RepoId, RepoKind};
use larder::serve::{Catalogue, Content, SourceFile};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// The model's name.
pub(crate) const NAME: &str = "someone/killed";
/// Its folder in the cache.
pub(crate) const FOLDER: &str = "models--someone--killed";
/// Commits `c0` to `c5`; `main` may be any of them.
pub(crate) const COMMITS: usize = 6;
/// A chunk of a large file.
pub(crate) const CHUNK_BYTES: u64 = larder::cache::CHUNK_BYTES;

/// What a model holds.
#[derive(Debug, Default)]
pub(crate) struct Model {
    /// In the order in which they were made.
    pub(crate) commits: Vec<Commit>,
    /// Path and content of each commit.
    files: BTreeMap<(String, String), String>,
    /// Content and length.
    contents: BTreeMap<String, u64>,
}

pub(crate) fn id() -> RepoId {
    RepoId::new(RepoKind::Model, NAME).unwrap()
}

impl Model {
    /// Weights in chunks, a file in one piece, small ones that change from commit to commit.
    pub(crate) fn with_history() -> (Self, Catalogue) {
        let mut catalogue = Catalogue::new();
        let mut model = Self::default();
        for number in 0..COMMITS {
            let weights = if number < 4 {
                (1, 18_000_000)
            } else {
                (2, 17_000_000)
            };
            let lfs = |path, (seed, len)| SourceFile::lfs(path, Content::Generated { seed, len });
            let mut files = vec![
                lfs("model.safetensors", weights),
                lfs("tokenizer.model", (3, 1_500_000)),
                lfs("vocab.txt", (4 + number as u64 / 3, 300_000)),
                SourceFile::git("config.json", format!("{{\"version\": {number}}}")),
                SourceFile::git(
                    "sub dir/ünï/deep.json",
                    format!("{{\"v\": {}}}", number / 2),
                ),
            ];
            for small in 0..8 {
                let version = if small % 3 == 0 { number } else { 0 };
                let text = format!("{{\"small\": {small}, \"version\": {version}}}");
                files.push(SourceFile::git(&format!("part-{small}.json"), text));
            }
            let commit = model.add(&mut catalogue, files);
            let repo = catalogue.repo(&id());
            repo.branch(&format!("c{number}"), commit);
            repo.branch("main", commit);
        }
        (model, catalogue)
    }

    /// One commit: weights of `len` bytes, and small files.
    pub(crate) fn of_weights(len: u64) -> (Self, Catalogue) {
        let mut catalogue = Catalogue::new();
        let mut model = Self::default();
        let mut files = vec![
            SourceFile::lfs("model.safetensors", Content::Generated { seed: 9, len }),
            SourceFile::lfs(
                "tokenizer.json",
                Content::Generated {
                    seed: 10,
                    len: 400_000,
                },
            ),
            SourceFile::git("config.json", "{\"model_type\": \"llama\"}"),
        ];
        for small in 0..6 {
            let text = format!("{{\"small\": {small}}}");
            files.push(SourceFile::git(&format!("part-{small}.json"), text));
        }
        let commit = model.add(&mut catalogue, files);
        catalogue.repo(&id()).branch("main", commit);
        (model, catalogue)
    }

    /// The weights of [`Self::of_weights`].
    pub(crate) fn weights(len: u64) -> Vec<u8> {
        Content::Generated { seed: 9, len }.bytes().into()
    }

    fn add(&mut self, catalogue: &mut Catalogue, files: Vec<SourceFile>) -> Commit {
        let named: Vec<(String, String, u64)> = files
            .iter()
            .map(|file| {
                let bytes = file.content.bytes();
                let name = if file.is_lfs {
                    hex::encode(Sha256::digest(&bytes))
                } else {
                    let mut git = Sha1::new();
                    git.update(format!("blob {}\0", bytes.len()));
                    git.update(&bytes);
                    hex::encode(git.finalize())
                };
                (file.path.clone(), name, bytes.len() as u64)
            })
            .collect();
        let commit = catalogue.repo(&id()).commit(files);
        for (path, content, bytes) in named {
            self.files
                .insert((commit.to_string(), path), content.clone());
            self.contents.insert(content, bytes);
        }
        self.commits.push(commit);
        commit
    }

    /// Bytes of all contents, each once.
    pub(crate) fn bytes(&self) -> u64 {
        self.contents.values().sum()
    }

    /// Bytes of the contents that are fetched in one piece, into memory.
    pub(crate) fn small_bytes(&self) -> u64 {
        self.contents
            .values()
            .filter(|bytes| **bytes < 1 << 20)
            .sum()
    }

    /// A content's length.
    pub(crate) fn len_of(&self, content: &str) -> Option<u64> {
        self.contents.get(content).copied()
    }

    /// Bytes that nothing on disk saves from being fetched: own idea of what a run leaves to the next.
    pub(crate) fn missing(&self, repo: &Path) -> u64 {
        self.contents
            .iter()
            .map(|(content, bytes)| bytes - kept(&repo.join("blobs"), content, *bytes).min(*bytes))
            .sum()
    }

    /// What in the snapshots is not what its commit says.
    pub(crate) fn misled(&self, repo: &Path) -> Vec<String> {
        let snapshots = repo.join("snapshots");
        if !snapshots.is_dir() {
            return Vec::new();
        }
        super::files_below(&snapshots)
            .into_iter()
            .filter_map(|file| {
                let inside = file.strip_prefix(&snapshots).unwrap();
                let (commit, path) = inside.to_str().unwrap().split_once('/').unwrap();
                let meant = self.files.get(&(commit.to_owned(), path.to_owned()));
                let target = fs::read_link(&file).unwrap();
                let found = target.file_name().unwrap().to_str().unwrap();
                (meant.map(String::as_str) != Some(found))
                    .then(|| format!("{} leads to {found}, not {meant:?}", file.display()))
            })
            .collect()
    }

    /// Paths of a commit that cannot be read from its snapshot.
    pub(crate) fn unreadable(&self, repo: &Path, commit: &Commit) -> Vec<String> {
        let snapshot = repo.join("snapshots").join(commit.to_string());
        self.files
            .iter()
            .filter(|((of, path), content)| {
                let found = fs::metadata(snapshot.join(path));
                *of == commit.to_string()
                    && !found.is_ok_and(|found| Some(found.len()) == self.len_of(content))
            })
            .map(|((_, path), _)| path.clone())
            .collect()
    }
}

/// How many bytes of a content lie on disk for a run to go on with: the blob, or what the best
/// partial vouches for.
fn kept(blobs: &Path, content: &str, bytes: u64) -> u64 {
    let blob = fs::metadata(blobs.join(content)).map_or(0, |found| found.len());
    fs::read_dir(blobs)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            // `<content>.<8 hex>.incomplete`; a map has one dot more.
            let stem = name.strip_suffix(".incomplete")?;
            let number = stem.strip_prefix(content)?.strip_prefix('.')?;
            if number.contains('.') {
                return None;
            }
            let length = entry.metadata().ok()?.len();
            let map = fs::read_to_string(blobs.join(format!("{stem}.map.incomplete")));
            Some(match map {
                Ok(map) => vouched(&map, bytes),
                Err(_) => length,
            })
        })
        .chain([blob])
        .max()
        .unwrap_or(0)
}

/// Bytes that a chunk map speaks of.
fn vouched(map: &str, bytes: u64) -> u64 {
    let mut chunks = BTreeMap::new();
    for line in map.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [kind, number, rest @ ..] = &words[..] else {
            continue;
        };
        let Ok(number) = number.parse::<u64>() else {
            continue;
        };
        let whole = CHUNK_BYTES.min(bytes.saturating_sub(number * CHUNK_BYTES));
        match *kind {
            "chunk" if rest.len() == 3 => chunks.insert(number, whole),
            "part" if rest.len() == 4 => chunks.insert(number, rest[0].parse().unwrap()),
            "lost" => chunks.remove(&number),
            _ => None,
        };
    }
    chunks.values().sum()
}
