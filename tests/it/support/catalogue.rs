//! Models to serve. Small, but of the shape of the real ones.

use larder::domain::{Etag, RepoId, RepoKind};
use larder::serve::{Access, Catalogue, Content, Serving, SourceFile};
use serde_json::json;

/// Length of the weights of [`gemma`].
pub(crate) const GEMMA_WEIGHTS_BYTES: u64 = 2_000_000;
/// The token that opens `someone/gated`.
pub(crate) const GATED_TOKEN: &str = "hf_opens_the_gate";
/// The main model of [`gemma`].
pub(crate) const GEMMA: &str = "mlx-community/gemma-2-2b-it-4bit";

fn model(name: &str) -> RepoId {
    RepoId::new(RepoKind::Model, name).unwrap()
}

/// The weights of [`gemma`]: a safetensors file of exactly [`GEMMA_WEIGHTS_BYTES`].
pub(crate) fn gemma_weights() -> Vec<u8> {
    const HEAD: usize = 4_088;
    let data = usize::try_from(GEMMA_WEIGHTS_BYTES).unwrap() - 8 - HEAD;
    let rows = data / 8;
    let data = rows * 8;
    let mut head = json!({
        "__metadata__": { "format": "mlx" },
        "model.weight": { "dtype": "U32", "shape": [rows, 2], "data_offsets": [0, data] },
    })
    .to_string();
    let head_len = usize::try_from(GEMMA_WEIGHTS_BYTES).unwrap() - 8 - data;
    while head.len() < head_len {
        head.push(' ');
    }
    let mut file = (head.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(head.as_bytes());
    let data = Content::Generated {
        seed: 1,
        len: data as u64,
    };
    file.extend_from_slice(&data.bytes());
    assert_eq!(file.len() as u64, GEMMA_WEIGHTS_BYTES);
    file
}

/// The blob name of the weights of [`gemma`].
pub(crate) fn gemma_weights_etag() -> String {
    use sha2::{Digest as _, Sha256};
    hex::encode(Sha256::digest(gemma_weights()))
}

fn gemma_files(version: u32) -> Vec<SourceFile> {
    let config = json!({
        "model_type": "gemma3_text",
        "version": version,
        "quantization": { "group_size": 64, "bits": 4 },
    });
    let tokenizer = json!({
        "version": "1.0",
        "added_tokens": [],
        "model": { "type": "BPE", "vocab": { "<s>": 0, "a": 1 }, "merges": [] },
        "padding": "x".repeat(200_000),
    });
    vec![
        SourceFile::git(".gitattributes", "*.safetensors filter=lfs\n"),
        SourceFile::git("README.md", "# Gemma\n"),
        SourceFile::git("config.json", config.to_string()),
        SourceFile::git("special_tokens_map.json", "{\"bos_token\": \"<s>\"}"),
        SourceFile::git("sub dir/ünï#1.json", "{\"nested\": true}"),
        SourceFile::git(
            "tokenizer_config.json",
            "{\"tokenizer_class\": \"GemmaTokenizer\", \"chat_template\": \"{{ messages }}\"}",
        ),
        SourceFile::lfs("model.safetensors", Content::Memory(gemma_weights().into())),
        SourceFile::lfs(
            "tokenizer.json",
            Content::Memory(tokenizer.to_string().into()),
        ),
    ]
}

/// Bytes of everything in [`GEMMA`].
pub(crate) fn gemma_bytes() -> u64 {
    gemma_files(2).iter().map(|file| file.content.len()).sum()
}

/// A Hub with a small Gemma on two branches, its fork, and repos that cannot be read for every
/// reason there is.
pub(crate) fn gemma() -> Catalogue {
    let mut catalogue = Catalogue::new();
    let repo = catalogue.repo(&model(GEMMA));
    let older = repo.commit(gemma_files(1));
    let main = repo.commit(gemma_files(2));
    repo.branch("older", older).branch("main", main);

    let fork = catalogue.repo(&model("someone/gemma-fork"));
    let mut files = gemma_files(2);
    files.push(SourceFile::git(
        "generation_config.json",
        "{\"fork\": true}",
    ));
    let commit = fork.commit(files);
    fork.branch("main", commit);

    for (name, access) in [
        (
            "someone/gated",
            Access::Gated {
                token: GATED_TOKEN.into(),
            },
        ),
        (
            "someone/private",
            Access::Private {
                token: "hf_someone_elses".into(),
            },
        ),
        ("someone/disabled", Access::Disabled),
    ] {
        let repo = catalogue.repo(&model(name));
        let commit = repo.commit(gemma_files(3));
        repo.branch("main", commit).access(access);
    }

    let gguf = catalogue.repo(&model("someone/gguf-only"));
    let commit = gguf.commit(vec![
        SourceFile::git("config.json", "{}"),
        SourceFile::git("model.gguf", "GGUF"),
    ]);
    gguf.branch("main", commit);

    let hostile = catalogue.repo(&model("someone/unsafe"));
    let mut files = gemma_files(4);
    files.push(SourceFile::git("../../../outside.json", "{}"));
    let commit = hostile.commit(files);
    hostile.branch("main", commit);

    let data = catalogue.repo(&RepoId::new(RepoKind::Dataset, "someone/data").unwrap());
    let commit = data.commit(vec![SourceFile::git("data/train.csv", "a,b\n1,2\n")]);
    data.branch("main", commit);
    catalogue
}

/// Moves `main` of [`GEMMA`] to a new commit.
pub(crate) fn push_gemma_update(hub: &Serving) {
    hub.edit(|catalogue| {
        let repo = catalogue.repo(&model(GEMMA));
        let commit = repo.commit(gemma_files(5));
        repo.branch("main", commit);
    });
}

/// `someone/many`: more files than a page of the listing holds.
pub(crate) fn many(files: usize) -> Catalogue {
    let mut catalogue = Catalogue::new();
    let repo = catalogue.repo(&model("someone/many"));
    let files = (0..files)
        .map(|n| {
            SourceFile::git(
                &format!("part/{:02}/{n:05}.json", n % 10),
                format!("{{\"n\": {n}}}"),
            )
        })
        .collect();
    let commit = repo.commit(files);
    repo.branch("main", commit);
    catalogue
}

/// `someone/same`: one content under three names, and an empty file.
pub(crate) fn same_content() -> Catalogue {
    let mut catalogue = Catalogue::new();
    let repo = catalogue.repo(&model("someone/same"));
    let commit = repo.commit(vec![
        SourceFile::git("a.json", "{}"),
        SourceFile::git("b.json", "{}"),
        SourceFile::git("c/d/e.json", "{}"),
        SourceFile::git("empty.txt", ""),
    ]);
    repo.branch("main", commit);
    catalogue
}

/// `someone/huge`: a listing that no disk holds.
pub(crate) fn huge() -> Catalogue {
    let mut catalogue = Catalogue::new();
    let repo = catalogue.repo(&model("someone/huge"));
    let mut weights = SourceFile::lfs("model.safetensors", Content::Memory("x".into()));
    weights.claimed = Some((Etag::Sha256([9; 32]), 1 << 60));
    let commit = repo.commit(vec![weights, SourceFile::git("config.json", "{}")]);
    repo.branch("main", commit);
    catalogue
}

/// Length of the weights of [`big`]: several of the 10 MB steps in which Python writes.
pub(crate) const BIG_WEIGHTS_BYTES: u64 = 45_000_000;

/// Bytes of everything in [`BIG`].
pub(crate) fn big_bytes() -> u64 {
    BIG_WEIGHTS_BYTES + BIG_CONFIG.len() as u64
}

const BIG_CONFIG: &str = "{\"model_type\": \"llama\"}";

/// The main model of [`big`].
pub(crate) const BIG: &str = "someone/big";

/// `someone/big`: weights that take a while.
pub(crate) fn big() -> Catalogue {
    let mut catalogue = Catalogue::new();
    let repo = catalogue.repo(&model("someone/big"));
    let weights = Content::Generated {
        seed: 3,
        len: BIG_WEIGHTS_BYTES,
    };
    let commit = repo.commit(vec![
        SourceFile::lfs("model.safetensors", weights),
        SourceFile::git("config.json", BIG_CONFIG),
    ]);
    repo.branch("main", commit);
    catalogue
}
