//! One model in two commits, and the states of a cache from which larder brings it.
//!
//! Caches lie in memory where there is room: hundreds of runs are made, each with many syncs.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use larder::domain::{RepoId, RepoKind};
use larder::serve::{Catalogue, Content, Effect, Fault, Matcher, Origin, Serving, SourceFile};
use tokio::runtime::Runtime;

use super::program::{Ran, finish};
use super::seam::Seam;

pub(crate) const MODEL: &str = "someone/model";
const OTHER: &str = "someone/other";
/// Of the weights: two chunks.
const WEIGHTS_BYTES: usize = (9 << 20) + 4_321;
/// Of the tokenizer: one chunk, and more than what comes in memory.
const TOKENIZER_BYTES: usize = (1 << 20) + 300_000;
/// A chunk of a partial's map.
pub(super) const CHUNK_BYTES: u64 = 8 << 20;
/// Part of the name of a partial that is there from the beginning.
pub(super) const LEFT: &str = "0badcafe";
/// Short patience: what is tried again is tried soon.
const SETTINGS: &str = "retry_base_ms = 1\nretry_cap_s = 1\nretry_attempts = 3\n";

static WEIGHTS: LazyLock<bytes::Bytes> = LazyLock::new(|| generated(1, WEIGHTS_BYTES));
static TOKENIZER: LazyLock<bytes::Bytes> = LazyLock::new(|| generated(2, TOKENIZER_BYTES));

fn generated(seed: u64, length: usize) -> bytes::Bytes {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut bytes = vec![0; length];
    random.fill(&mut bytes);
    bytes.into()
}

fn lfs(path: &str, bytes: &bytes::Bytes) -> SourceFile {
    SourceFile::lfs(path, Content::Memory(bytes.clone()))
}

fn model(name: &str) -> RepoId {
    RepoId::new(RepoKind::Model, name).unwrap()
}

/// The model: weights in two chunks, a file of one, small ones that come together, one of them deep
/// inside, two of one content, and an empty one.
fn catalogue() -> Catalogue {
    let mut catalogue = Catalogue::new();
    let repo = catalogue.repo(&model(MODEL));
    let older = repo.commit(vec![
        SourceFile::git("config.json", "{\"version\": 1}"),
        SourceFile::git("sub dir/deep/nested.json", "{\"nested\": true}"),
        lfs("model.safetensors", &generated(3, 2_000)),
    ]);
    let main = repo.commit(vec![
        SourceFile::git("config.json", "{\"version\": 2}"),
        SourceFile::git("README.md", "# Model\n"),
        SourceFile::git("merges.txt", "a b\n"),
        SourceFile::git("same.txt", "a b\n"),
        SourceFile::git("empty.txt", ""),
        SourceFile::git("sub dir/deep/nested.json", "{\"nested\": true}"),
        lfs("tokenizer.json", &TOKENIZER),
        lfs("model.safetensors", &WEIGHTS),
    ]);
    repo.branch("older", older).branch("main", main);
    let other = catalogue.repo(&model(OTHER));
    let commit = other.commit(vec![
        SourceFile::git("config.json", "{\"version\": 2}"),
        lfs("tokenizer.json", &TOKENIZER),
    ]);
    other.branch("main", commit);
    catalogue
}

/// What is in the cache when larder begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beginning {
    /// Nothing, not even its folder.
    Nothing,
    /// `main` names an older commit, which is whole.
    Older,
    /// `main` is whole but for: weights of which a partial is there, a blob with wrong bytes, a link
    /// that is missing, one that leads nowhere, a file in the place of a link; and another repo has
    /// a content that is missing here.
    Damaged,
}

impl Beginning {
    pub(crate) const ALL: [Self; 3] = [Self::Nothing, Self::Older, Self::Damaged];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "from nothing",
            Self::Older => "from an older commit",
            Self::Damaged => "from damage",
        }
    }
}

/// A Hub and the caches in every state to begin with, of one thread.
pub(crate) struct Kitchen {
    runtime: Runtime,
    hub: Serving,
    folder: tempfile::TempDir,
    made: usize,
}

/// A cache and a home, to be spoilt.
pub(crate) struct Table {
    path: PathBuf,
    endpoint: String,
}

/// In memory where there is room for it, else where other tests are.
fn parent() -> PathBuf {
    const ROOM_BYTES: u64 = 1 << 30;

    let memory = PathBuf::from("/dev/shm");
    match fs2::available_space(&memory) {
        Ok(free) if free > ROOM_BYTES => memory,
        _ => std::env::temp_dir(),
    }
}

impl Kitchen {
    pub(crate) fn new() -> Self {
        Self::below(&parent())
    }

    fn below(folder: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let hub = runtime
            .block_on(Serving::start(catalogue(), Vec::new()))
            .unwrap();
        let folder = tempfile::Builder::new()
            .prefix("larder-seam-")
            .tempdir_in(folder)
            .unwrap();
        let mut kitchen = Self {
            runtime,
            hub,
            folder,
            made: 0,
        };
        kitchen.lay_out();
        kitchen
    }

    /// Makes the states to begin with.
    fn lay_out(&mut self) {
        let older = self.empty();
        older
            .pull(&["--revision", "older", MODEL], None)
            .expect_complete();
        let repo = older.repo();
        fs::copy(repo.join("refs/older"), repo.join("refs/main")).unwrap();
        fs::rename(older.cache(), self.template(Beginning::Older)).unwrap();

        let damaged = self.empty();
        damaged.pull(&[MODEL], None).expect_complete();
        damaged
            .pull(&["--revision", "older", MODEL], None)
            .expect_complete();
        damaged.pull(&[OTHER], None).expect_complete();
        damaged.damage(&self.hub);
        fs::rename(damaged.cache(), self.template(Beginning::Damaged)).unwrap();
    }

    fn template(&self, beginning: Beginning) -> PathBuf {
        self.folder.path().join(format!("{beginning:?}"))
    }

    fn empty(&mut self) -> Table {
        self.made += 1;
        let path = self.folder.path().join(format!("table-{}", self.made));
        let settings = path.join("home/.config/larder");
        fs::create_dir_all(&settings).unwrap();
        fs::write(settings.join("config.toml"), SETTINGS).unwrap();
        Table {
            path: fs::canonicalize(path).unwrap(),
            endpoint: self.hub.endpoint(),
        }
    }

    /// A cache in that state.
    pub(crate) fn table(&mut self, beginning: Beginning) -> Table {
        let table = self.empty();
        if beginning != Beginning::Nothing {
            copy(&self.template(beginning), &table.cache());
        }
        table
    }

    /// Lets the weights come slowly.
    pub(crate) fn slow_down(&self, bytes_per_s: u64) {
        let requests = Matcher::path("model.safetensors").origin(Origin::Cdn);
        self.hub
            .set_faults(vec![Fault::new(requests, Effect::Slow { bytes_per_s })]);
    }

    /// Lets everything come as it can.
    pub(crate) fn speed_up(&self) {
        self.hub.set_faults(Vec::new());
    }

    /// Bytes of contents that were sent since the last time that this was asked.
    pub(crate) fn sent_bytes(&self) -> u64 {
        let requests = self.hub.requests();
        self.hub.clear_requests();
        let contents = requests
            .iter()
            .filter(|request| request.method == "GET" && !request.path.starts_with("/api/"));
        contents
            .filter(|request| matches!(request.status, 200 | 206))
            .map(|request| request.body_bytes_sent)
            .sum()
    }
}

impl Drop for Kitchen {
    fn drop(&mut self) {
        // The Hub's tasks are the runtime's.
        let _guard = self.runtime.enter();
    }
}

/// Copies a cache: a link is copied as one.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (kind, target) = (entry.file_type().unwrap(), to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &target);
        } else if kind.is_symlink() {
            symlink(fs::read_link(entry.path()).unwrap(), &target).unwrap();
        } else {
            fs::copy(entry.path(), &target).unwrap();
        }
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        // Hundreds of them would fill the memory; the last go with the kitchen.
        let _ = fs::remove_dir_all(&self.path);
    }
}

impl Ran {
    #[track_caller]
    pub(crate) fn expect_complete(&self) {
        assert_eq!(self.code, Some(0), "{self:#?}");
    }
}

impl Table {
    pub(crate) fn cache(&self) -> PathBuf {
        self.path.join("hub")
    }

    pub(crate) fn repo(&self) -> PathBuf {
        self.cache().join("models--someone--model")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.path.join("home/.local/state/larder")
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A seam before everything below `root`.
    pub(crate) fn seam(&self, root: &Path) -> Seam {
        Seam::at(root, &self.path.join("log"))
    }

    /// `larder pull` with these words; `None` as the code of one that was killed.
    #[track_caller]
    pub(crate) fn pull(&self, words: &[&str], seam: Option<&Seam>) -> Ran {
        self.larder("pull", &[&["--all"], words].concat(), seam)
    }

    /// A marker that says nothing may be about to be written: it is left alone for some seconds.
    fn let_time_pass(&self) {
        let marker = fs::File::options()
            .write(true)
            .open(self.repo().join(".manual_download_lock"));
        if let Ok(marker) = marker {
            let then = SystemTime::now() - Duration::from_secs(10);
            marker.set_modified(then).unwrap();
        }
    }

    /// Brings the model, as it is at `main`.
    #[track_caller]
    pub(crate) fn pull_model(&self, seam: Option<&Seam>) -> Ran {
        if seam.is_none() {
            self.let_time_pass();
        }
        self.pull(&[MODEL], seam)
    }

    #[track_caller]
    pub(crate) fn larder(&self, command: &str, words: &[&str], seam: Option<&Seam>) -> Ran {
        let mut larder = Command::new(env!("CARGO_BIN_EXE_larder"));
        larder.arg(command).args(words);
        self.at_home(&mut larder);
        if let Some(seam) = seam {
            seam.before(&mut larder);
        }
        finish(&mut larder)
    }

    /// Gives a command this home and this cache, and nothing of the caller's.
    pub(crate) fn at_home(&self, command: &mut Command) {
        command
            .env_clear()
            .env("HOME", self.path.join("home"))
            .env("HF_HUB_CACHE", self.cache())
            .env("HF_ENDPOINT", &self.endpoint)
            .current_dir(&self.path)
            .stdin(Stdio::null());
    }

    /// Spoils a whole cache: see [`Beginning::Damaged`].
    fn damage(&self, hub: &Serving) {
        let repo = self.repo();
        let blobs = repo.join("blobs");
        let commit = fs::read_to_string(repo.join("refs/main")).unwrap();
        let snapshot = repo.join("snapshots").join(commit);
        let blob = |name: &str| {
            let target = fs::read_link(snapshot.join(name)).unwrap();
            blobs.join(target.file_name().unwrap())
        };
        // Half of a chunk, with a map that says so, as a run leaves it that was asked to stop.
        let (weights, readme, tokenizer) = (
            blob("model.safetensors"),
            blob("README.md"),
            blob("tokenizer.json"),
        );
        fs::remove_file(&weights).unwrap();
        fs::write(
            format!("{}.{LEFT}.incomplete", weights.display()),
            &WEIGHTS[..4 << 20],
        )
        .unwrap();
        fs::remove_file(tokenizer).unwrap();
        fs::write(readme, "# Modem\n").unwrap();
        fs::remove_file(snapshot.join("merges.txt")).unwrap();
        fs::remove_file(snapshot.join("config.json")).unwrap();
        symlink("../../blobs/gone", snapshot.join("config.json")).unwrap();
        let nested = snapshot.join("sub dir/deep/nested.json");
        fs::remove_file(&nested).unwrap();
        fs::write(nested, "{\"mine\": true}").unwrap();
        hub.clear_requests();
    }
}

/// The contents of `main`: name of the blob and length.
pub(super) static CONTENTS: LazyLock<BTreeMap<String, u64>> = LazyLock::new(|| {
    let catalogue = catalogue();
    let files = catalogue.get(&model(MODEL)).unwrap().files("main");
    let contents = files.into_iter();
    contents
        .map(|(_, etag, content)| (etag.to_string(), content.len()))
        .collect()
});
