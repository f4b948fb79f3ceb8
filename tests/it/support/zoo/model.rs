//! A small model whose config, tokenizer and weights are sound, and no byte of which any other model
//! of the zoo has.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use larder::domain::{RepoId, RepoKind};
use larder::serve::{Catalogue, Content, SourceFile};
use serde_json::json;
use sha1::{Digest as _, Sha1};
use sha2::Sha256;

use super::write;

/// The weights of every model.
pub(crate) const WEIGHTS: &str = "model.safetensors";
/// A file below a folder, with letters that have two forms.
pub(crate) const NESTED: &str = "sub dir/ünï#1.json";

/// A file as the Hub has it.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) path: String,
    pub(crate) bytes: Vec<u8>,
    /// What its blob is called.
    pub(crate) etag: String,
    /// What git calls it: of an LFS file, its pointer.
    oid: String,
    is_lfs: bool,
    xet: Option<String>,
}

impl Piece {
    fn new(path: &str, bytes: Vec<u8>, is_lfs: bool) -> Self {
        let oid = if is_lfs {
            git_id(lfs_pointer(&bytes).as_bytes())
        } else {
            git_id(&bytes)
        };
        Self {
            path: path.to_owned(),
            etag: if is_lfs { sha256(&bytes) } else { oid.clone() },
            bytes,
            oid,
            is_lfs,
            xet: None,
        }
    }

    fn source(&self) -> SourceFile {
        let content = Content::Memory(self.bytes.clone().into());
        let mut file = SourceFile::lfs(&self.path, content);
        file.is_lfs = self.is_lfs;
        file.xet_hash.clone_from(&self.xet);
        file
    }
}

/// What git stores in the place of an LFS file.
pub(crate) fn lfs_pointer(bytes: &[u8]) -> String {
    let (oid, size) = (sha256(bytes), bytes.len());
    format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n")
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn git_id(bytes: &[u8]) -> String {
    let mut git = Sha1::new();
    git.update(format!("blob {}\0", bytes.len()));
    git.update(bytes);
    hex::encode(git.finalize())
}

/// Weights of so many tensors; the seed makes them differ.
fn weights(seed: &str) -> Vec<u8> {
    let names = ["model.embed_tokens.weight", "model.norm.weight"];
    let shapes: [&[usize]; 2] = [&[8, 64], &[64]];
    let mut head = serde_json::Map::new();
    head.insert("__metadata__".to_owned(), json!({ "format": "mlx" }));
    let mut end = 0;
    for (name, shape) in names.iter().zip(shapes) {
        let from = end;
        end += shape.iter().product::<usize>() * 2;
        let entry = json!({ "dtype": "F16", "shape": shape, "data_offsets": [from, end] });
        head.insert((*name).to_owned(), entry);
    }
    let mut head = serde_json::to_vec(&head).unwrap();
    while !head.len().is_multiple_of(8) {
        head.push(b' ');
    }
    let mut file = (head.len() as u64).to_le_bytes().to_vec();
    file.extend(head);
    let mut block = Sha256::digest(seed);
    for at in 0..end {
        if at % 32 == 0 {
            block = Sha256::digest(block);
        }
        file.push(block[at % 32]);
    }
    file
}

/// Weights that are as large as those that are told of without a name.
pub(super) fn large_weights() -> Vec<u8> {
    let bytes = 21_000_000;
    let (rows, seed) = (8, 7);
    let entry = json!({
        "dtype": "F16", "shape": [rows, bytes / 2 / rows], "data_offsets": [0, bytes],
    });
    let mut head = serde_json::to_vec(&json!({ "model.embed_tokens.weight": entry })).unwrap();
    while !head.len().is_multiple_of(8) {
        head.push(b' ');
    }
    let mut file = (head.len() as u64).to_le_bytes().to_vec();
    file.extend(head);
    let from = file.len();
    file.resize(from + bytes, 0);
    fastrand::Rng::with_seed(seed).fill(&mut file[from..]);
    file
}

fn tokenizer(seed: &str) -> Vec<u8> {
    let mut vocab = serde_json::Map::new();
    for (id, token) in ["<s>", "</s>", "<unk>", "a", "b", "ab", "c", "d"]
        .iter()
        .enumerate()
    {
        vocab.insert((*token).to_owned(), json!(id));
    }
    let special = |id: usize, content: &str| {
        json!({
            "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true,
        })
    };
    let document = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [special(0, "<s>"), special(1, "</s>"), special(2, "<unk>")],
        "normalizer": { "type": "Prepend", "prepend": seed },
        "pre_tokenizer": null,
        "post_processor": null,
        "decoder": null,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "vocab": vocab, "merges": ["a b"],
        },
    });
    serde_json::to_vec_pretty(&document).unwrap()
}

fn pieces(seed: &str) -> Vec<Piece> {
    let small = |path: &str, text: String| Piece::new(path, text.into_bytes(), false);
    let config = json!({
        "model_type": "gemma3_text", "architectures": ["Gemma3ForCausalLM"], "hidden_size": 64,
        "intermediate_size": 128, "num_attention_heads": 4, "num_hidden_layers": 1,
        "num_key_value_heads": 4, "rms_norm_eps": 1e-5, "vocab_size": 8, "bos_token_id": 0,
        "eos_token_id": 1, "tie_word_embeddings": true, "_name_or_path": seed,
    });
    let tokenizer_config = json!({
        "tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>",
        "unk_token": "<unk>", "name": seed, "chat_template": "{{ messages }}",
    });
    vec![
        small("README.md", format!("# {seed}\n")),
        small("config.json", config.to_string()),
        small(NESTED, json!({ "of": seed }).to_string()),
        small("tokenizer_config.json", tokenizer_config.to_string()),
        Piece::new(WEIGHTS, weights(seed), true),
        Piece::new("tokenizer.json", tokenizer(seed), true),
    ]
}

/// A model of the zoo.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    root: PathBuf,
    name: String,
    commit: String,
    pieces: Vec<Piece>,
}

impl Model {
    pub(super) fn new(root: &Path, catalogue: &mut Catalogue, name: &str) -> Self {
        Self::of(root, catalogue, name, pieces(name))
    }

    pub(super) fn of(
        root: &Path,
        catalogue: &mut Catalogue,
        name: &str,
        pieces: Vec<Piece>,
    ) -> Self {
        let repo = catalogue.repo(&RepoId::new(RepoKind::Model, name).unwrap());
        let commit = repo.commit(pieces.iter().map(Piece::source).collect());
        repo.branch("main", commit);
        Self {
            root: root.to_owned(),
            name: name.to_owned(),
            commit: commit.to_string(),
            pieces,
        }
    }

    /// The same repo with some files made by the caller.
    pub(super) fn with(&self, catalogue: &mut Catalogue, changed: &[(&str, &[u8], bool)]) -> Self {
        let mut pieces = self.pieces.clone();
        for (path, bytes, is_lfs) in changed {
            pieces.retain(|piece| piece.path != *path);
            pieces.push(Piece::new(path, bytes.to_vec(), *is_lfs));
        }
        Self::of(&self.root, catalogue, &self.name, pieces)
    }

    /// The same repo whose weights have a Xet hash.
    pub(super) fn with_xet(&self, catalogue: &mut Catalogue) -> Self {
        let mut pieces = self.pieces.clone();
        for piece in &mut pieces {
            if piece.path == WEIGHTS {
                piece.xet = Some(sha256(format!("xet {}", piece.etag).as_bytes()));
            }
        }
        Self::of(&self.root, catalogue, &self.name, pieces)
    }

    pub(crate) fn commit(&self) -> &str {
        &self.commit
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn id(&self) -> RepoId {
        RepoId::new(RepoKind::Model, &self.name).unwrap()
    }

    pub(crate) fn paths(&self) -> Vec<String> {
        self.pieces.iter().map(|piece| piece.path.clone()).collect()
    }

    pub(crate) fn piece(&self, path: &str) -> &Piece {
        let found = self.pieces.iter().find(|piece| piece.path == path);
        found.unwrap_or_else(|| panic!("no {path} in {}", self.name))
    }

    /// The repo's name as a folder.
    pub(crate) fn folder_name(&self) -> String {
        format!("models--{}", self.name.replace('/', "--"))
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.root.join(self.folder_name())
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.folder().join("blobs")
    }

    pub(crate) fn blob(&self, path: &str) -> PathBuf {
        self.blobs().join(&self.piece(path).etag)
    }

    pub(crate) fn snapshot(&self) -> PathBuf {
        self.folder().join("snapshots").join(&self.commit)
    }

    pub(crate) fn pointer(&self, path: &str) -> PathBuf {
        self.snapshot().join(path)
    }

    /// Pointer and blob of a file: a finding may name either.
    pub(crate) fn places(&self, path: &str) -> [PathBuf; 2] {
        [self.pointer(path), self.blob(path)]
    }

    pub(crate) fn reference(&self, name: &str) -> PathBuf {
        self.folder().join("refs").join(name)
    }

    pub(crate) fn listing(&self) -> PathBuf {
        self.folder()
            .join("trees")
            .join(format!("{}.json", self.commit))
    }

    pub(crate) fn lock(&self, etag: &str) -> PathBuf {
        self.root
            .join(".locks")
            .join(self.folder_name())
            .join(format!("{etag}.lock"))
    }

    pub(crate) fn no_exist(&self, path: &str) -> PathBuf {
        self.folder()
            .join(".no_exist")
            .join(&self.commit)
            .join(path)
    }

    /// Blob, pointer, and the lock that every writer leaves.
    pub(crate) fn place(&self, path: &str) {
        let piece = self.piece(path);
        write(&self.lock(&piece.etag), "");
        write(&self.blob(path), &piece.bytes);
        self.point(path, Self::pointer_text(path, &piece.etag));
    }

    /// What stands in the pointer of a file.
    pub(crate) fn pointer_text(path: &str, etag: &str) -> String {
        let up = "../".repeat(2 + path.matches('/').count());
        format!("{up}blobs/{etag}")
    }

    /// Makes the pointer of a file lead to `target`, whatever stood there.
    pub(crate) fn point(&self, path: &str, target: impl AsRef<Path>) {
        let pointer = self.pointer(path);
        fs::create_dir_all(pointer.parent().unwrap()).unwrap();
        drop(fs::remove_file(&pointer));
        symlink(target, pointer).unwrap();
    }

    pub(crate) fn write_ref(&self, name: &str, text: impl AsRef<[u8]>) {
        write(&self.reference(name), text);
    }

    /// The listing, in Python's form.
    pub(super) fn listing_text(&self) -> String {
        let mut files = serde_json::Map::new();
        for piece in &self.pieces {
            let size = piece.bytes.len();
            let mut entry = json!({ "size": size, "blob_id": piece.oid });
            if piece.is_lfs {
                entry["lfs_sha256"] = json!(piece.etag);
                entry["lfs_size"] = json!(size);
            }
            if let Some(hash) = &piece.xet {
                entry["xet_hash"] = json!(hash);
            }
            files.insert(piece.path.clone(), entry);
        }
        json!({ "format_version": 1, "files": files }).to_string()
    }

    /// The listing, with the mode that Python's `mkstemp` gives.
    pub(crate) fn write_listing(&self) {
        write(&self.listing(), self.listing_text());
        let mode = fs::Permissions::from_mode(0o600);
        fs::set_permissions(self.listing(), mode).unwrap();
    }

    /// Replaces what a blob holds.
    pub(crate) fn spoil(&self, path: &str, content: impl AsRef<[u8]>) {
        fs::write(self.blob(path), content).unwrap();
    }

    /// The content of the shared store that a file of this model may be.
    pub(crate) fn xet(&self, path: &str) -> &str {
        self.piece(path).xet.as_deref().unwrap()
    }
}
