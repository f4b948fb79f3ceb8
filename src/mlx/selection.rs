//! Owns which files of a repo MLX loaders read: the union of mlx-lm's and mlx-swift-lm's patterns
//! (hub.md 6.1, 6.2).
//!
//! Law: `*` crosses `/`, as in Python's fnmatch; matching is case-sensitive.

use crate::domain::{RemoteFile, RepoPath};

/// Endings that loaders take wherever the file lies.
const ENDINGS: [&str; 6] = [".json", ".py", ".tiktoken", ".txt", ".jsonl", ".jinja"];

/// Whether a loader reads a file of that path, other weights than `model*.safetensors` apart.
pub fn is_read_by_loaders(path: &str) -> bool {
    ENDINGS.iter().any(|ending| path.ends_with(ending))
        || matches!(path, "tokenizer.model" | "tiktoken.model")
        || is_model_weights(path)
}

/// mlx-lm's `model*.safetensors`.
pub(super) fn is_model_weights(path: &str) -> bool {
    path.starts_with("model") && path.ends_with(".safetensors")
}

/// The files of a listing that loaders read, in its order. Weights under other names count only
/// where there is no `model*.safetensors`: never a second copy in another format.
pub fn default_selection(files: &[RemoteFile]) -> Vec<RepoPath> {
    let has_model_weights = files.iter().any(|f| is_model_weights(f.path.as_str()));
    files
        .iter()
        .map(|file| &file.path)
        .filter(|path| {
            let name = path.as_str();
            is_read_by_loaders(name) || (!has_model_weights && name.ends_with(".safetensors"))
        })
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Etag;

    fn select(names: &[&str]) -> Vec<String> {
        let files: Vec<RemoteFile> = names
            .iter()
            .map(|name| RemoteFile {
                path: RepoPath::new(name).unwrap(),
                size_bytes: 0,
                etag: Etag::new(&"0".repeat(40)).unwrap(),
                git_oid: "0".repeat(40),
                xet_hash: None,
            })
            .collect();
        let selected = default_selection(&files);
        selected.iter().map(|p| p.as_str().to_owned()).collect()
    }

    #[test]
    fn loaders_files_are_taken_and_second_copies_are_not() {
        let selected = select(&[
            ".gitattributes",
            "README.md",
            "config.json",
            "sub/deep.json",
            "chat_template.jinja",
            "tokenizer.model",
            "sub/tokenizer.model",
            "model-00001-of-00002.safetensors",
            "consolidated.safetensors",
            "pytorch_model.bin",
        ]);
        assert_eq!(
            selected,
            [
                "config.json",
                "sub/deep.json",
                "chat_template.jinja",
                "tokenizer.model",
                "model-00001-of-00002.safetensors"
            ]
        );
        assert_eq!(
            select(&["weights.00.safetensors", "x.bin"]),
            ["weights.00.safetensors"]
        );
    }
}
