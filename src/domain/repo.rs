//! Owns the names of repos, revisions and commits, and reading them from what a user typed.
//!
//! Never touches the network: whether a repo exists is the Hub's to say.
//! Source of the rules: `huggingface_hub` `utils/_validators.py` `validate_repo_id`.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::file::{NameError, RepoPath};
use super::hex;

/// What kind of repo it is; decides folder and URL prefixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RepoKind {
    /// A model repo, the default; no prefix in `resolve` URLs.
    Model,
    /// A dataset repo.
    Dataset,
    /// A space.
    Space,
}

impl RepoKind {
    /// All kinds, models first.
    pub const ALL: [Self; 3] = [Self::Model, Self::Dataset, Self::Space];

    /// The plural used in API paths and, with `--`, in cache folder names.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::Dataset => "datasets",
            Self::Space => "spaces",
        }
    }
}

/// A repo's kind and name (`owner/name`, or a legacy name without owner).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepoId {
    kind: RepoKind,
    name: String,
}

impl RepoId {
    /// Checks `name` by the Hub's rule.
    ///
    /// # Errors
    /// Says which part of the rule the name breaks.
    pub fn new(kind: RepoKind, name: &str) -> Result<Self, NameError> {
        let reject = |why: &str| Err(NameError::new("repo id", name, why));
        if name.is_empty() {
            return reject("it is empty");
        }
        let parts: Vec<&str> = name.split('/').collect();
        if parts.len() > 2 {
            return reject("it has more than one `/`");
        }
        for part in parts {
            if part.is_empty() || part.len() > 96 {
                return reject("each part needs 1 to 96 characters");
            }
            if !part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
            {
                return reject("only letters, digits, `_`, `.` and `-` are allowed");
            }
            if part.starts_with(['-', '.']) || part.ends_with(['-', '.']) {
                return reject("no part may start or end with `-` or `.`");
            }
        }
        if name.contains("--") || name.contains("..") {
            return reject("`--` and `..` are not allowed");
        }
        if name.to_ascii_lowercase().ends_with(".git") {
            return reject("it must not end in `.git`");
        }
        Ok(Self {
            kind,
            name: name.to_owned(),
        })
    }

    /// The kind of repo.
    pub const fn kind(&self) -> RepoKind {
        self.kind
    }

    /// `owner/name`, without a kind.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The repo's folder in a Hub cache, e.g. `models--org--name`.
    pub fn folder(&self) -> String {
        format!("{}--{}", self.kind.plural(), self.name.replace('/', "--"))
    }

    /// Reads a cache folder name back; `None` if it is not one.
    pub fn from_folder(folder: &str) -> Option<Self> {
        // A folder's name holds no `/`; one that did would be read as a repo of another folder.
        let (plural, rest) = folder.split_once("--").filter(|_| !folder.contains('/'))?;
        let kind = RepoKind::ALL.into_iter().find(|k| k.plural() == plural)?;
        Self::new(kind, &rest.replacen("--", "/", 1)).ok()
    }

    /// The prefix of `resolve` URLs: the name for models, `datasets/name` and so on for the others.
    pub fn url_path(&self) -> String {
        match self.kind {
            RepoKind::Model => self.name.clone(),
            RepoKind::Dataset | RepoKind::Space => {
                format!("{}/{}", self.kind.plural(), self.name)
            }
        }
    }
}

/// As a user types it: `org/name`, `datasets/org/name`.
impl fmt::Display for RepoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url_path())
    }
}

impl Serialize for RepoId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What the user typed to name a state of the repo: branch, tag, `refs/pr/1` or hash.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Revision(String);

impl Revision {
    /// Checks that the name can be a path below `refs/` and nothing else.
    ///
    /// # Errors
    /// Says why the name cannot be a revision.
    pub fn new(name: &str) -> Result<Self, NameError> {
        RepoPath::new(name)
            .map_err(|error| NameError::new("revision", name, error.reason()))
            .map(|_| Self(name.to_owned()))
    }

    /// The default branch of every Hub repo.
    pub fn main() -> Self {
        Self("main".to_owned())
    }

    /// The name as typed.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The commit, if the name is a full hash: then no ref is written for it.
    pub fn as_commit(&self) -> Option<Commit> {
        Commit::new(&self.0).ok()
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A commit hash: 20 bytes, always written as 40 lower-case hex characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Commit([u8; 20]);

impl Commit {
    /// Reads 40 hex characters of either case.
    ///
    /// # Errors
    /// When `text` is anything else.
    pub fn new(text: &str) -> Result<Self, NameError> {
        hex::decode(text)
            .map(Self)
            .ok_or_else(|| NameError::new("commit", text, "it is not 40 hex characters"))
    }

    /// The commit of these 20 bytes.
    pub const fn from_bytes(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }

    /// The first seven characters, for people.
    pub fn short(&self) -> String {
        self.to_string().chars().take(7).collect()
    }
}

impl fmt::Display for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(f, &self.0)
    }
}

impl fmt::Debug for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Commit {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Hosts under which people see the Hub's pages, its best-known mirror among them.
const WEB_HOSTS: [&str; 4] = [
    "huggingface.co",
    "www.huggingface.co",
    "hf.co",
    "hf-mirror.com",
];

/// What a pasted name or link points at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepoReference {
    /// The repo.
    pub repo: RepoId,
    /// The revision in the link or after `@`, if one was given.
    pub revision: Option<Revision>,
    /// The file a link points at, if it points at one.
    pub file: Option<RepoPath>,
}

impl RepoReference {
    /// Reads `org/name`, `org/name@revision`, `datasets/org/name`, `hf://org/name` or a link to
    /// the web page of a repo or file, as people paste them.
    ///
    /// # Errors
    /// Says what in the text cannot be a repo.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let text = text.trim();
        let without_query = text.split(['?', '#']).next().unwrap_or(text);
        let (path, is_link) = match without_query.split_once("://") {
            Some(("hf", rest)) => (rest, false),
            Some(("http" | "https", rest)) => {
                let (host, path) = rest
                    .split_once('/')
                    .ok_or_else(|| NameError::new("link", text, "it names no repo"))?;
                if !WEB_HOSTS.contains(&host) {
                    let why = "its host is not the Hub's; use `org/name`, and `--endpoint` for another Hub";
                    return Err(NameError::new("link", text, why));
                }
                (path, true)
            }
            Some(_) => return Err(NameError::new("link", text, "its scheme is not known")),
            // A link copied without its scheme.
            None => WEB_HOSTS
                .iter()
                .find_map(|host| without_query.strip_prefix(host)?.strip_prefix('/'))
                .map_or((without_query, false), |path| (path, true)),
        };
        let path = path.trim_end_matches('/');
        // What `git clone` takes.
        let path = if is_link {
            path.strip_suffix(".git").unwrap_or(path)
        } else {
            path
        };
        let (kind, path) = RepoKind::ALL
            .into_iter()
            .find_map(|kind| Some((kind, path.strip_prefix(kind.plural())?.strip_prefix('/')?)))
            .unwrap_or((RepoKind::Model, path));
        if is_link {
            Self::from_web_path(kind, path, text)
        } else {
            let (name, revision) = match path.split_once('@') {
                Some((name, revision)) => (name, Some(Revision::new(revision)?)),
                None => (path, None),
            };
            Ok(Self {
                repo: RepoId::new(kind, name)?,
                revision,
                file: None,
            })
        }
    }

    fn from_web_path(kind: RepoKind, path: &str, link: &str) -> Result<Self, NameError> {
        let segments: Vec<&str> = path.split('/').collect();
        let verb = segments
            .iter()
            .position(|s| matches!(*s, "tree" | "blob" | "resolve" | "raw" | "commit"))
            .filter(|at| (1..=2).contains(at));
        let Some(verb) = verb else {
            return Ok(Self {
                repo: RepoId::new(kind, path)?,
                revision: None,
                file: None,
            });
        };
        let repo = RepoId::new(kind, &segments[..verb].join("/"))?;
        let rest = &segments[verb + 1..];
        let Some((revision, file)) = rest.split_first() else {
            return Err(NameError::new("link", link, "it names no revision"));
        };
        // A slash inside a revision is escaped in the Hub's own links (`refs%2Fpr%2F1`).
        let revision = revision.replace("%2F", "/").replace("%2f", "/");
        if segments[verb] == "tree" && !file.is_empty() {
            let why = "it names a folder; use `--include 'FOLDER/*'` with the repo's name";
            return Err(NameError::new("link to a repo or file", link, why));
        }
        let is_file = matches!(segments[verb], "blob" | "resolve" | "raw") && !file.is_empty();
        Ok(Self {
            repo,
            revision: Some(Revision::new(&revision)?),
            file: if is_file {
                Some(RepoPath::new(&file.join("/"))?)
            } else {
                None
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_names_are_reversible() {
        for (kind, name, folder) in [
            (RepoKind::Model, "gpt2", "models--gpt2"),
            (RepoKind::Model, "org/a-b_c.d", "models--org--a-b_c.d"),
            (RepoKind::Dataset, "o/d", "datasets--o--d"),
        ] {
            let repo = RepoId::new(kind, name).unwrap();
            assert_eq!(repo.folder(), folder);
            assert_eq!(RepoId::from_folder(folder), Some(repo));
        }
        assert_eq!(RepoId::from_folder("version.txt"), None);
    }

    #[test]
    fn names_the_hub_refuses_are_refused() {
        let long = format!("o/{}", "x".repeat(97));
        for name in [
            "", "/", "a/", "/a", "a/b/c", "a--b/c", "a..b", "-a/b", "a/b.", "a/b.git", "a b/c",
            "a/\u{1b}", "a/é", &long,
        ] {
            assert!(RepoId::new(RepoKind::Model, name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn pasted_links_are_understood() {
        let parse = |text| RepoReference::parse(text).unwrap();
        let plain = parse("mlx-community/gemma");
        assert_eq!(plain.repo.name(), "mlx-community/gemma");
        assert_eq!(plain.revision, None);
        assert_eq!(parse("https://huggingface.co/mlx-community/gemma/"), plain);
        assert_eq!(parse("hf://mlx-community/gemma"), plain);
        assert_eq!(
            parse("org/m@refs/pr/1").revision,
            Some(Revision::new("refs/pr/1").unwrap())
        );
        let file = parse("https://huggingface.co/org/m/blob/main/sub/a.json?download=true");
        assert_eq!(file.revision, Some(Revision::main()));
        assert_eq!(file.file, Some(RepoPath::new("sub/a.json").unwrap()));
        let pr = parse("https://huggingface.co/datasets/o/d/tree/refs%2Fpr%2F1");
        assert_eq!(pr.repo.kind(), RepoKind::Dataset);
        assert_eq!(pr.revision, Some(Revision::new("refs/pr/1").unwrap()));
        for same in [
            "huggingface.co/mlx-community/gemma",
            "https://hf.co/mlx-community/gemma.git",
        ] {
            assert_eq!(parse(same), plain, "{same}");
        }
        for not in [
            "https://example.com/a/b",
            "https://huggingface.co/org/m/tree/main/sub",
            "https://huggingface.co.evil.example/a/b",
        ] {
            assert!(RepoReference::parse(not).is_err(), "{not}");
        }
        assert!(RepoReference::parse("ftp://x/y").is_err());
        assert!(RepoReference::parse("https://huggingface.co").is_err());
    }

    #[test]
    fn revisions_cannot_leave_the_refs_folder() {
        for name in ["", "..", "a/../b", "/abs", "a//b", "a\\b", "a\nb", "C:x"] {
            assert!(Revision::new(name).is_err(), "{name:?}");
        }
        assert!(Revision::new("feature/x").is_ok());
        let upper = Commit::new(&"AB".repeat(20)).unwrap();
        assert_eq!(upper.to_string(), "ab".repeat(20));
    }
}
