//! A folder that is pulled into: the real binary, the embedded Hub, and what the folder must look like.
//!
//! What is visible in the folder is read back byte for byte after every run, whatever its end was.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use jsonschema::Validator;
use larder::cli::PULL_SCHEMA;
use larder::domain::{Etag, RepoId, RepoKind};
use larder::serve::{Catalogue, Effect, Fault, Matcher, Origin};
use serde_json::Value;

use crate::cli::validator;
use crate::support::catalogue::{self, GEMMA};
use crate::support::files_below;
use crate::support::program::{Home, Ran};

pub(super) const WEIGHTS: &str = "model.safetensors";
/// Where Python keeps what it knows of the files.
pub(super) const HIDDEN: &str = ".cache/huggingface";

pub(super) static PULL: LazyLock<Validator> = LazyLock::new(|| validator(PULL_SCHEMA));

/// What a repo holds: by path, its name by hash and its bytes.
pub(super) type Files = BTreeMap<String, (Etag, Vec<u8>)>;

pub(super) fn files_of(catalogue: &Catalogue, name: &str, revision: &str) -> Files {
    let id = RepoId::new(RepoKind::Model, name).unwrap();
    let files = catalogue.get(&id).unwrap().files(revision);
    files
        .into_iter()
        .map(|(path, etag, content)| (path, (etag, content.bytes().to_vec())))
        .collect()
}

/// What is visible in a folder: everything but the hidden folder.
pub(super) fn visible(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let all = if dir.is_dir() {
        files_below(dir)
    } else {
        Vec::new()
    };
    all.into_iter()
        .map(|path| {
            let name = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
            (name, path)
        })
        .filter(|(name, _)| !name.starts_with(".cache/"))
        .map(|(name, path)| (name, fs::read(path).unwrap()))
        .collect()
}

/// Changes a file in place as a failing disk does: its times stay.
#[track_caller]
pub(super) fn damage(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(modified).unwrap();
    // A disk that fails does not tell the inode either, which no program can do: the note is as new.
    note_at(path, SystemTime::now());
}

/// Gives the note on a file another time, if there is one.
#[track_caller]
pub(super) fn note_at(path: &Path, at: SystemTime) {
    let Some((dir, name)) = path.ancestors().skip(1).find_map(|dir| {
        let is_it = dir.join(HIDDEN).is_dir();
        is_it.then(|| (dir, path.strip_prefix(dir).unwrap().to_str().unwrap()))
    }) else {
        return;
    };
    let note = dir.join(format!("{HIDDEN}/download/{name}.metadata"));
    let Ok(text) = fs::read_to_string(&note) else {
        return;
    };
    let lines: Vec<&str> = text.lines().collect();
    let at = at.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let text = format!("{}\n{}\n{:.6}\n", lines[0], lines[1], at.as_secs_f64());
    fs::write(note, text).unwrap();
}

/// Makes a file and its note look so old; the time of its inode's last change stays now.
#[track_caller]
pub(super) fn age(path: &Path, by: Duration) {
    let then = SystemTime::now() - by;
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(then).unwrap();
    note_at(path, then);
}

/// Changes a file as a person does, some seconds after it was fetched.
#[track_caller]
pub(super) fn edit(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() + Duration::from_secs(5))
        .unwrap();
}

/// A home, a Hub, and the folder.
pub(super) struct Place {
    pub(super) home: Home,
    pub(super) repo: &'static str,
    pub(super) files: Files,
}

impl Place {
    pub(super) async fn new(catalogue: Catalogue, repo: &'static str, faults: Vec<Fault>) -> Self {
        Self {
            files: files_of(&catalogue, repo, "main"),
            home: Home::new(catalogue, faults).await,
            repo,
        }
    }

    pub(super) async fn gemma() -> Self {
        Self::new(catalogue::gemma(), GEMMA, Vec::new()).await
    }

    pub(super) fn dir(&self) -> PathBuf {
        self.home.path().join("dir")
    }

    pub(super) fn hidden(&self) -> PathBuf {
        self.dir().join(HIDDEN)
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    pub(super) fn note(&self, name: &str) -> PathBuf {
        self.hidden().join(format!("download/{name}.metadata"))
    }

    /// A pull of every file into the folder, with these words as well.
    #[track_caller]
    pub(super) fn run(&self, words: &[&str]) -> Ran {
        let all = if words.iter().any(|word| self.files.contains_key(*word)) {
            &[][..]
        } else {
            &["--all"]
        };
        let start = ["--json", "pull", self.repo, "--local-dir", "dir"];
        let ran = self.home.run(&[&start, all, words].concat());
        self.assert_visible_is_right();
        ran
    }

    /// One that ends well; its document.
    #[track_caller]
    pub(super) fn pull(&self, words: &[&str]) -> Value {
        let ran = self.run(words);
        ran.assert_code(0).document(&PULL)
    }

    /// Whether every file is there, right and noted, and nothing else.
    #[track_caller]
    pub(super) fn assert_whole(&self, revision: &str, files: &Files) {
        let found = visible(&self.dir());
        let names: Vec<_> = found.keys().collect();
        assert_eq!(names, files.keys().collect::<Vec<_>>());
        let commit = self.commit(revision);
        for (name, (etag, bytes)) in files {
            assert!(found[name] == *bytes, "{name}");
            let note = fs::read_to_string(self.note(name)).unwrap();
            let lines: Vec<&str> = note.split('\n').collect();
            assert_eq!(lines[..2], [commit.clone(), etag.to_string()], "{name}");
            // Python's own rule.
            let modified = fs::metadata(self.file(name)).unwrap().modified().unwrap();
            let modified = modified.duration_since(SystemTime::UNIX_EPOCH).unwrap();
            let at: f64 = lines[2].parse().unwrap();
            assert!(modified.as_secs_f64() - 1.0 <= at, "{name}");
            assert_eq!((lines.len(), lines[3]), (4, ""), "{name}");
        }
        assert_eq!(fs::read(self.hidden().join(".gitignore")).unwrap(), b"*");
        let left: Vec<_> = files_below(&self.hidden())
            .into_iter()
            .filter(|path| {
                path.extension()
                    .is_some_and(|end| end == "incomplete" || end == "tmp")
                    || (path.starts_with(self.hidden().join("larder"))
                        && path.extension().is_some_and(|end| end == "lock"))
            })
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }

    pub(super) fn commit(&self, revision: &str) -> String {
        let id = RepoId::new(RepoKind::Model, self.repo).unwrap();
        let mut commit = String::new();
        self.home.hub.edit(|catalogue| {
            commit = catalogue
                .get(&id)
                .unwrap()
                .commit_of(revision)
                .unwrap()
                .to_string();
        });
        commit
    }

    /// Whether what is visible is what the Hub has, but for files that the test itself put there.
    #[track_caller]
    pub(super) fn assert_visible_is_right(&self) {
        let mine = visible(&self.home.path().join("own"));
        for (name, bytes) in visible(&self.dir()) {
            let is_right = self
                .files
                .get(&name)
                .is_some_and(|(_, right)| *right == bytes);
            let is_mine = mine.get(&name) == Some(&bytes);
            assert!(is_right || is_mine, "`{name}` is not proven");
        }
    }

    /// Puts bytes into the folder that are not the Hub's, and remembers that it was the test.
    #[track_caller]
    pub(super) fn put_own(&self, name: &str, write: impl FnOnce(&Path)) {
        let path = self.file(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        write(&path);
        let copy = self.home.path().join("own").join(name);
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(path, copy).unwrap();
    }

    /// The files of an older commit, which the reader takes for the test's own.
    pub(super) fn older_too(&self) -> Files {
        let older = files_of(&catalogue::gemma(), self.repo, "older");
        for (name, (_, bytes)) in &older {
            let copy = self.home.path().join("own").join(name);
            fs::create_dir_all(copy.parent().unwrap()).unwrap();
            fs::write(copy, bytes).unwrap();
        }
        older
    }

    /// What is kept of files that were replaced.
    pub(super) fn aside(&self) -> Vec<Vec<u8>> {
        let folder = self.hidden().join("larder/aside");
        let names = fs::read_dir(folder).into_iter().flatten().flatten();
        names.map(|entry| fs::read(entry.path()).unwrap()).collect()
    }
}

/// The files of a document in that state, by what `origin` says of them.
pub(super) fn origins(document: &Value) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for file in document["files"].as_array().unwrap() {
        let kind = file["origin"]["kind"].as_str().unwrap_or("fetched");
        *counts.entry(kind.to_owned()).or_default() += 1;
    }
    counts
}

/// The command in an advice that holds that word.
#[track_caller]
pub(super) fn advised(help: &str, word: &str) -> String {
    let mut quoted = help.split('`').skip(1).step_by(2);
    let found = quoted.find(|line| line.starts_with("larder ") && line.contains(word));
    found
        .unwrap_or_else(|| panic!("no `{word}` in {help}"))
        .to_owned()
}

/// A Hub whose weights come slowly.
pub(super) fn slow_weights(bytes_per_s: u64) -> Vec<Fault> {
    let weights = Matcher::path(WEIGHTS).origin(Origin::Cdn);
    vec![Fault::new(weights, Effect::Slow { bytes_per_s })]
}
