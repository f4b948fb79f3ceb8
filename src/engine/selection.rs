//! Owns which files of a listing a pull is for. Pure.
//!
//! The default is what MLX loaders read (`mlx::is_read_by_loaders`). Patterns given by the user have the semantics of Python's `fnmatch`: case-sensitive, and `*` crosses `/`.

use std::collections::BTreeSet;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::domain::{
    Failure, FailureCode, PullRequest, RemoteFile, RepoKind, RepoPath, sanitize_line,
};
use crate::mlx::is_read_by_loaders;

/// The index that names the shards of a model.
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// An entry of the listing whose name cannot be used on disk.
pub(super) struct RefusedEntry<'a> {
    /// Its name, sanitised.
    pub(super) path: &'a str,
    /// Why.
    pub(super) reason: &'a str,
}

/// Whether the default selection depends on what the index says: there are weights beside
/// `model*.safetensors` that only the index can vouch for.
pub(super) fn needs_index<'a>(
    request: &PullRequest,
    files: &'a [RemoteFile],
) -> Option<&'a RemoteFile> {
    if !is_default(request) || request.repo.kind() != RepoKind::Model {
        return None;
    }
    let model = files.iter().any(|file| is_model_weights(&file.path));
    let other = files
        .iter()
        .any(|file| is_weights(&file.path) && !is_model_weights(&file.path));
    if model && other {
        files.iter().find(|file| file.path.as_str() == INDEX)
    } else {
        None
    }
}

/// Reads the shard names out of an index; `None` if it is not one.
pub(super) fn shards_of_index(json: &[u8]) -> Option<BTreeSet<String>> {
    let index: serde_json::Value = serde_json::from_slice(json).ok()?;
    let map = index.get("weight_map")?.as_object()?;
    Some(
        map.values()
            .filter_map(|shard| shard.as_str().map(str::to_owned))
            .collect(),
    )
}

/// The indices into `files` that `request` is for, in the order of the listing.
///
/// # Errors
/// `file-not-found` when a named file or every pattern finds nothing, `no-weights` when the
/// default finds nothing MLX can read, `unsafe-path` when a wanted entry cannot be stored,
/// `usage` for a pattern that cannot be read.
pub(super) fn select(
    request: &PullRequest,
    files: &[RemoteFile],
    refused: &[RefusedEntry<'_>],
    shards: Option<&BTreeSet<String>>,
) -> Result<Vec<usize>, Failure> {
    let include = Wanted::new(request, files, shards)?;
    let exclude = patterns(&request.exclude)?;
    let keep = |path: &str| include.contains(path) && !exclude.is_match(path);

    if let Some(entry) = refused.iter().find(|entry| keep(entry.path)) {
        return Err(Failure::new(
            FailureCode::UnsafePath,
            format!(
                "`{}` lists `{}`, which cannot be stored safely",
                request.repo, entry.path
            ),
        )
        .because(entry.reason)
        .at_path(entry.path));
    }
    let selected: Vec<usize> = (0..files.len())
        .filter(|&at| keep(files[at].path.as_str()))
        .collect();

    missing_names(request, files)?;
    if selected.is_empty()
        && files
            .iter()
            .any(|file| include.contains(file.path.as_str()))
    {
        return Err(Failure::new(
            FailureCode::FileNotFound,
            format!("every wanted file of `{}` is excluded", request.repo),
        )
        .because(format!(
            "`--exclude {}`",
            request.exclude.join("` and `--exclude ")
        )));
    }
    if is_default(request)
        && request.repo.kind() == RepoKind::Model
        && !selected.iter().any(|&at| is_weights(&files[at].path))
    {
        return Err(no_weights(request, files));
    }
    if selected.is_empty() {
        return Err(Failure::new(
            FailureCode::FileNotFound,
            format!("no file of `{}` matches", request.repo),
        )
        .because(what_is_there(files)));
    }
    Ok(selected)
}

/// The selection before exclusions.
struct Wanted<'a> {
    all: bool,
    what_loaders_read: bool,
    names: BTreeSet<&'a str>,
    patterns: GlobSet,
    shards: Option<&'a BTreeSet<String>>,
    any_weights: bool,
}

impl<'a> Wanted<'a> {
    fn new(
        request: &'a PullRequest,
        files: &[RemoteFile],
        shards: Option<&'a BTreeSet<String>>,
    ) -> Result<Self, Failure> {
        let by_default = is_default(request);
        let is_model = request.repo.kind() == RepoKind::Model;
        let mut texts: Vec<String> = request.include.clone();
        let mut names = BTreeSet::new();
        for name in &request.files {
            if files.iter().any(|file| file.path.as_str() == name) {
                names.insert(name.as_str());
            } else if name.contains(['*', '?', '[']) || name.ends_with('/') {
                texts.push(name.clone());
            }
        }
        Ok(Self {
            all: request.all || (by_default && !is_model),
            what_loaders_read: by_default && is_model,
            names,
            patterns: patterns(&texts)?,
            shards,
            any_weights: by_default
                && is_model
                && !files.iter().any(|file| is_model_weights(&file.path)),
        })
    }

    fn contains(&self, path: &str) -> bool {
        self.all
            || (self.what_loaders_read && is_read_by_loaders(path))
            || self.names.contains(path)
            || self.patterns.is_match(path)
            || self.shards.is_some_and(|shards| shards.contains(path))
            || (self.any_weights && path.ends_with(".safetensors"))
    }
}

fn is_default(request: &PullRequest) -> bool {
    !request.all && request.files.is_empty() && request.include.is_empty()
}

fn is_weights(path: &RepoPath) -> bool {
    path.as_str().ends_with(".safetensors")
}

fn is_model_weights(path: &RepoPath) -> bool {
    is_weights(path) && path.as_str().starts_with("model")
}

fn missing_names(request: &PullRequest, files: &[RemoteFile]) -> Result<(), Failure> {
    let missing = request.files.iter().find(|name| {
        !name.contains(['*', '?', '['])
            && !name.ends_with('/')
            && !files.iter().any(|file| file.path.as_str() == name.as_str())
    });
    match missing {
        None => Ok(()),
        Some(name) => Err(Failure::new(
            FailureCode::FileNotFound,
            format!("`{}` has no file `{name}` at this revision", request.repo),
        )
        .because(what_is_there(files))
        .at_path(name)),
    }
}

fn no_weights(request: &PullRequest, files: &[RemoteFile]) -> Failure {
    Failure::new(
        FailureCode::NoWeights,
        format!(
            "`{}` has no weights that MLX can read (`*.safetensors`)",
            request.repo
        ),
    )
    .because(what_is_there(files))
}

/// A short sentence that names files, largest first.
fn what_is_there(files: &[RemoteFile]) -> String {
    const SHOWN: usize = 8;
    if files.is_empty() {
        return "the repo is empty".to_owned();
    }
    let mut by_size: Vec<&RemoteFile> = files.iter().collect();
    by_size.sort_by(|a, b| b.size_bytes.cmp(&a.size_bytes).then(a.path.cmp(&b.path)));
    let names: Vec<String> = by_size
        .iter()
        .take(SHOWN)
        .map(|file| format!("`{}`", sanitize_line(file.path.as_str(), 60)))
        .collect();
    let more = files.len().saturating_sub(SHOWN);
    if more > 0 {
        format!(
            "the largest of its {} files are {}",
            files.len(),
            names.join(", ")
        )
    } else {
        format!("it has {}", names.join(", "))
    }
}

/// Compiles `fnmatch` patterns the way `hf download` takes them: a trailing `/` means everything
/// below, a backslash is a slash.
fn patterns(texts: &[String]) -> Result<GlobSet, Failure> {
    let mut set = GlobSetBuilder::new();
    for text in texts {
        let glob = GlobBuilder::new(&as_glob(text))
            .literal_separator(false)
            .backslash_escape(false)
            .empty_alternates(true)
            .build()
            .map_err(|error| unreadable_pattern(text, &error))?;
        set.add(glob);
    }
    set.build()
        .map_err(|error| unreadable_pattern(&texts.join(" "), &error))
}

fn unreadable_pattern(text: &str, error: &globset::Error) -> Failure {
    Failure::new(
        FailureCode::Usage,
        format!("`{text}` is not a pattern that can be read"),
    )
    .because(error.kind().to_string())
}

/// Rewrites an `fnmatch` pattern so that a glob engine reads it alike: braces are literal, `**`
/// is `*`, and a bracket that is never closed is literal.
fn as_glob(text: &str) -> String {
    let mut text = text.replace('\\', "/");
    if text.ends_with('/') {
        text.push('*');
    }
    let chars: Vec<char> = text.chars().collect();
    let mut glob = String::with_capacity(text.len() + 8);
    let mut at = 0;
    while at < chars.len() {
        match chars[at] {
            '*' => {
                if !glob.ends_with('*') {
                    glob.push('*');
                }
            }
            '{' => glob.push_str("[{]"),
            '}' => glob.push_str("[}]"),
            '[' => {
                // `]` may stand first in a class, also after `!`.
                let first = at + 1 + usize::from(chars.get(at + 1) == Some(&'!'));
                match (first + 1..chars.len()).find(|&end| chars[end] == ']') {
                    Some(end) => {
                        glob.extend(&chars[at..=end]);
                        at = end;
                    }
                    None => glob.push_str("[[]"),
                }
            }
            other => glob.push(other),
        }
        at += 1;
    }
    glob
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Etag, RepoId, Revision};

    fn file(path: &str) -> RemoteFile {
        RemoteFile {
            path: RepoPath::new(path).unwrap(),
            size_bytes: 10,
            etag: Etag::new(&"ab".repeat(20)).unwrap(),
            git_oid: "ab".repeat(20),
            xet_hash: None,
        }
    }

    fn request() -> PullRequest {
        PullRequest::new(
            RepoId::new(RepoKind::Model, "o/m").unwrap(),
            Revision::main(),
        )
    }

    fn names(request: &PullRequest, paths: &[&str], shards: Option<&[&str]>) -> Vec<String> {
        let files: Vec<RemoteFile> = paths.iter().map(|path| file(path)).collect();
        let shards = shards.map(|names| names.iter().map(|&n| n.to_owned()).collect());
        select(request, &files, &[], shards.as_ref())
            .unwrap()
            .into_iter()
            .map(|at| files[at].path.to_string())
            .collect()
    }

    const USUAL: [&str; 9] = [
        ".gitattributes",
        "README.md",
        "config.json",
        "chat_template.jinja",
        "model.safetensors",
        "original/consolidated.safetensors",
        "pytorch_model.bin",
        "sub/extra.json",
        "tokenizer.model",
    ];

    #[test]
    fn default_is_what_mlx_loaders_read() {
        assert_eq!(
            names(&request(), &USUAL, None),
            [
                "config.json",
                "chat_template.jinja",
                "model.safetensors",
                "sub/extra.json",
                "tokenizer.model"
            ]
        );
    }

    #[test]
    fn other_weights_only_if_named_by_the_index_or_alone() {
        assert_eq!(
            names(&request(), &["config.json", "weights.00.safetensors"], None),
            ["config.json", "weights.00.safetensors"]
        );
        assert_eq!(
            names(
                &request(),
                &["a.safetensors", "b.safetensors", "model-1.safetensors"],
                Some(&["a.safetensors", "model-1.safetensors"])
            ),
            ["a.safetensors", "model-1.safetensors"]
        );
    }

    #[test]
    fn the_index_is_asked_only_when_it_decides() {
        let with = |paths: &[&str]| {
            let files: Vec<RemoteFile> = paths.iter().map(|path| file(path)).collect();
            needs_index(&request(), &files).is_some()
        };
        assert!(with(&[INDEX, "model-1.safetensors", "extra.safetensors"]));
        assert!(!with(&[INDEX, "model-1.safetensors"]));
        assert!(!with(&[INDEX, "weights.safetensors"]));
        let shards =
            shards_of_index(br#"{"weight_map":{"w":"a.safetensors","v":"a.safetensors"}}"#);
        assert_eq!(shards.unwrap().len(), 1);
        assert!(shards_of_index(b"<html>").is_none());
    }

    #[test]
    fn no_weights_says_what_is_there() {
        let files = [file("config.json"), file("model.gguf")];
        let failure = select(&request(), &files, &[], None).unwrap_err();
        assert_eq!(failure.code, FailureCode::NoWeights);
        assert!(failure.causes[0].contains("`model.gguf`"), "{failure}");
    }

    #[test]
    fn datasets_are_fetched_whole() {
        let mut request = request();
        request.repo = RepoId::new(RepoKind::Dataset, "o/d").unwrap();
        assert_eq!(names(&request, &["README.md", "a.parquet"], None).len(), 2);
    }

    #[test]
    fn files_patterns_and_exclusions_combine() {
        let mut request = request();
        request.files = vec!["README.md".into(), "sub/".into()];
        assert_eq!(
            names(&request, &USUAL, None),
            ["README.md", "sub/extra.json"]
        );
        request.files = vec!["nope.json".into()];
        let files = [file("config.json")];
        let failure = select(&request, &files, &[], None).unwrap_err();
        assert_eq!(failure.code, FailureCode::FileNotFound);

        request.files.clear();
        request.all = true;
        request.exclude = vec!["*.safetensors".into(), "*.bin".into()];
        assert_eq!(names(&request, &USUAL, None).len(), 6);
    }

    #[test]
    fn patterns_follow_fnmatch() {
        let is_match =
            |pattern: &str, path: &str| patterns(&[pattern.to_owned()]).unwrap().is_match(path);
        assert!(is_match("*.json", "a/b/c.json"), "`*` crosses `/`");
        assert!(is_match("**/x", "a/x") && !is_match("**/x", "x"));
        assert!(is_match("a{b}", "a{b}") && !is_match("a{b,c}", "ab"));
        assert!(is_match("[!a]x", "bx") && !is_match("[!a]x", "ax"));
        assert!(is_match("a[b", "a[b"), "an unclosed bracket is literal");
        assert!(is_match("sub\\*", "sub/x"));
        assert!(!is_match("*.JSON", "a.json"), "case-sensitive");
    }

    #[test]
    fn a_wanted_name_that_cannot_be_stored_ends_the_pull() {
        let files = [file("model.safetensors")];
        let bad = [RefusedEntry {
            path: "../evil.json",
            reason: "it holds a `.` or `..` segment",
        }];
        let failure = select(&request(), &files, &bad, None).unwrap_err();
        assert_eq!(failure.code, FailureCode::UnsafePath);
        let mut without = request();
        without.exclude = vec!["*evil*".into()];
        assert!(select(&without, &files, &bad, None).is_ok());
    }
}
