//! Pulls into a folder in Python's layout (`--local-dir`): the real binary against the embedded Hub.
//!
//! What is visible in the folder is read back byte for byte after every run, whatever its end was.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime};

use jsonschema::Validator;
use larder::cli::PULL_SCHEMA;
use larder::domain::{Etag, RepoId, RepoKind};
use larder::serve::{Catalogue, Content, Effect, Fault, Matcher, Origin, SourceFile};
use serde_json::Value;

use crate::cli::validator;
use crate::support::catalogue::{self, BIG, BIG_WEIGHTS_BYTES, GEMMA};
use crate::support::program::{Home, Ran};
use crate::support::watched::Watched;
use crate::support::{body_bytes, files_below};

mod interop;
#[cfg(target_os = "linux")]
mod seam;

const WEIGHTS: &str = "model.safetensors";
/// Where Python keeps what it knows of the files.
const HIDDEN: &str = ".cache/huggingface";

static PULL: LazyLock<Validator> = LazyLock::new(|| validator(PULL_SCHEMA));

/// What a repo holds: by path, its name by hash and its bytes.
type Files = BTreeMap<String, (Etag, Vec<u8>)>;

fn files_of(catalogue: &Catalogue, name: &str, revision: &str) -> Files {
    let id = RepoId::new(RepoKind::Model, name).unwrap();
    let files = catalogue.get(&id).unwrap().files(revision);
    files
        .into_iter()
        .map(|(path, etag, content)| (path, (etag, content.bytes().to_vec())))
        .collect()
}

/// What is visible in a folder: everything but the hidden folder.
fn visible(dir: &Path) -> BTreeMap<String, Vec<u8>> {
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

/// Everything about every file of a folder that a run must not change.
fn traces(dir: &Path) -> BTreeMap<PathBuf, (u64, SystemTime, Vec<u8>)> {
    files_below(dir)
        .into_iter()
        .map(|path| {
            let found = path.symlink_metadata().unwrap();
            let bytes = fs::read(&path).unwrap_or_default();
            (path, (found.ino(), found.modified().unwrap(), bytes))
        })
        .collect()
}

/// Changes a file in place as a failing disk does: its times stay.
#[track_caller]
fn damage(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
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
fn note_at(path: &Path, at: SystemTime) {
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
fn age(path: &Path, by: Duration) {
    let then = SystemTime::now() - by;
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(then).unwrap();
    note_at(path, then);
}

/// Changes a file as a person does, some seconds after it was fetched.
#[track_caller]
fn edit(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() + Duration::from_secs(5))
        .unwrap();
}

/// A home, a Hub, and the folder.
struct Place {
    home: Home,
    repo: &'static str,
    files: Files,
}

impl Place {
    async fn new(catalogue: Catalogue, repo: &'static str, faults: Vec<Fault>) -> Self {
        Self {
            files: files_of(&catalogue, repo, "main"),
            home: Home::new(catalogue, faults).await,
            repo,
        }
    }

    async fn gemma() -> Self {
        Self::new(catalogue::gemma(), GEMMA, Vec::new()).await
    }

    fn dir(&self) -> PathBuf {
        self.home.path().join("dir")
    }

    fn hidden(&self) -> PathBuf {
        self.dir().join(HIDDEN)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    fn note(&self, name: &str) -> PathBuf {
        self.hidden().join(format!("download/{name}.metadata"))
    }

    /// A pull of every file into the folder, with these words as well.
    #[track_caller]
    fn run(&self, words: &[&str]) -> Ran {
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
    fn pull(&self, words: &[&str]) -> Value {
        let ran = self.run(words);
        ran.assert_code(0).document(&PULL)
    }

    /// Whether every file is there, right and noted, and nothing else.
    #[track_caller]
    fn assert_whole(&self, revision: &str, files: &Files) {
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

    fn commit(&self, revision: &str) -> String {
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
    fn assert_visible_is_right(&self) {
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
    fn put_own(&self, name: &str, write: impl FnOnce(&Path)) {
        let path = self.file(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        write(&path);
        let copy = self.home.path().join("own").join(name);
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(path, copy).unwrap();
    }

    /// What is kept of files that were replaced.
    fn aside(&self) -> Vec<Vec<u8>> {
        let folder = self.hidden().join("larder/aside");
        let names = fs::read_dir(folder).into_iter().flatten().flatten();
        names.map(|entry| fs::read(entry.path()).unwrap()).collect()
    }
}

/// The files of a document in that state, by what `origin` says of them.
fn origins(document: &Value) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for file in document["files"].as_array().unwrap() {
        let kind = file["origin"]["kind"].as_str().unwrap_or("fetched");
        *counts.entry(kind.to_owned()).or_default() += 1;
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_into_a_folder_brings_it_there_once_and_leaves_the_cache_as_it_is() {
    let place = Place::gemma().await;
    let document = place.pull(&[]);
    place.assert_whole("main", &place.files);
    let dir = place.dir().display().to_string();
    assert_eq!(document["local_dir"], *dir);
    assert_eq!(document["snapshot"], *dir);
    assert_eq!(document["reference"]["kind"], "none");
    assert_eq!(body_bytes(&place.home.hub), catalogue::gemma_bytes());
    assert!(!place.home.cache().exists(), "nothing is stored twice");

    let before = traces(&place.dir());
    let again = place.pull(&[]);
    assert_eq!(body_bytes(&place.home.hub), 0);
    assert_eq!(again["fetched_bytes"], 0);
    assert_eq!(origins(&again)["local-dir"], place.files.len());
    assert!(traces(&place.dir()) == before, "nothing is written again");
    // What is found there by other commands is a local dir.
    let home = place.home.with("LARDER_FOLDERS", &dir);
    let listed = home.run(&["--json", "ls"]);
    let listed: Value = serde_json::from_str(&listed.assert_code(0).stdout).unwrap();
    assert_eq!(listed["models"][0]["cache"], "local-dir", "{listed:#}");
    assert_eq!(listed["models"][0]["state"], "complete", "{listed:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_cache_has_is_taken_from_there_and_never_shared_with_it() {
    let place = Place::gemma().await;
    place.home.run(&["pull", GEMMA, "--all"]).assert_code(0);
    body_bytes(&place.home.hub);
    let cache = traces(&place.home.cache());
    let plan = place.pull(&["--dry-run"]);
    assert_eq!(plan["fetch_bytes"], 0);
    assert_eq!(plan["disk_bytes"], catalogue::gemma_bytes());
    assert!(!place.dir().exists(), "a plan writes nothing");

    let document = place.pull(&[]);
    place.assert_whole("main", &place.files);
    assert_eq!(body_bytes(&place.home.hub), 0);
    assert_eq!(origins(&document)["hub-cache"], place.files.len());
    // A person may write into the folder: that must not reach the cache.
    for name in place.files.keys() {
        assert_eq!(fs::metadata(place.file(name)).unwrap().nlink(), 1, "{name}");
    }
    assert!(traces(&place.home.cache()) == cache);

    // A copy that is damaged is not taken (Python takes it).
    fs::remove_dir_all(place.dir()).unwrap();
    let blob = place.home.blobs().join(catalogue::gemma_weights_etag());
    damage(&blob, |bytes| bytes[1_000_000] ^= 1);
    place.pull(&[]);
    place.assert_whole("main", &place.files);
    assert_eq!(body_bytes(&place.home.hub), catalogue::GEMMA_WEIGHTS_BYTES);
}

#[tokio::test(flavor = "multi_thread")]
async fn offline_the_cache_is_enough() {
    let place = Place::gemma().await;
    place.home.run(&["pull", GEMMA, "--all"]).assert_code(0);
    place.home.hub.clear_requests();
    place.pull(&["--offline"]);
    place.assert_whole("main", &place.files);
    assert!(place.home.hub.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_damaged_files_are_fetched_again_and_their_bytes_are_kept() {
    let place = Place::gemma().await;
    place.pull(&[]);
    body_bytes(&place.home.hub);
    let weights = place.file(WEIGHTS);
    damage(&weights, |bytes| bytes[1_500_000] ^= 1);
    damage(&place.file("tokenizer.json"), |bytes| bytes.truncate(777));
    let wrong = fs::read(&weights).unwrap();
    let document = place.pull(&[]);
    place.assert_whole("main", &place.files);
    let tokenizer = place.files["tokenizer.json"].1.len() as u64;
    let fetched = body_bytes(&place.home.hub);
    assert_eq!(fetched, catalogue::GEMMA_WEIGHTS_BYTES + tokenizer);
    assert!(place.aside().contains(&wrong));
    let healed: Vec<&str> = document["healed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|healing| healing["path"].as_str().unwrap())
        .collect();
    assert_eq!(healed.len(), 2, "{healed:?}");

    // A file that is gone comes back alone.
    fs::remove_file(place.file("config.json")).unwrap();
    place.pull(&[]);
    place.assert_whole("main", &place.files);
    let config = place.files["config.json"].1.len() as u64;
    assert_eq!(body_bytes(&place.home.hub), config);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_wrong_byte_of_a_large_file_costs_one_range_and_a_cut_file_its_tail() {
    let place = Place::new(catalogue::big(), BIG, Vec::new()).await;
    // As larder counts: what is on its way when a connection has enough was sent for nothing.
    let fetched = |document: &Value| document["fetched_bytes"].as_u64().unwrap();
    assert_eq!(fetched(&place.pull(&[])), catalogue::big_bytes());
    let weights = place.file(WEIGHTS);
    damage(&weights, |bytes| bytes[20_000_000] ^= 1);
    assert_eq!(fetched(&place.pull(&[])), 8 << 20);
    place.assert_whole("main", &place.files);

    damage(&weights, |bytes| bytes.truncate(44_000_000));
    let tail = BIG_WEIGHTS_BYTES - 44_000_000;
    assert_eq!(fetched(&place.pull(&[])), tail);
    place.assert_whole("main", &place.files);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_somebody_changed_or_put_there_is_left_alone_until_that_is_asked() {
    let place = Place::gemma().await;
    let theirs = b"{\"mine\": true}";
    // One that was there before anything was fetched, and one that is changed afterwards.
    place.put_own("tokenizer_config.json", |path| {
        fs::write(path, theirs).unwrap();
    });
    for name in ["tokenizer_config.json", "config.json"] {
        let ran = place.run(&[]);
        let document = ran.assert_code(2).document(&PULL);
        assert_eq!(document["failure_code"], "refused");
        let failures = document["failures"].as_array().unwrap();
        assert_eq!(failures.len(), 1, "{failures:#?}");
        assert_eq!(failures[0]["path"], name);
        let help = failures[0]["help"].as_str().unwrap();
        assert!(
            help.contains("--force") && help.contains("--local-dir"),
            "{help}"
        );
        assert!(ran.stderr.contains(name), "{}", ran.stderr);
        assert_eq!(fs::read(place.file(name)).unwrap(), theirs);
        // Everything else is there.
        assert_eq!(visible(&place.dir()).len(), place.files.len());

        place.pull(&[name, "--force"]);
        assert_eq!(fs::read(place.file(name)).unwrap(), place.files[name].1);
        assert!(place.aside().contains(&theirs.to_vec()), "{name}");
        place.pull(&[]);
        place.assert_whole("main", &place.files);
        place.put_own("config.json", |path| edit(path, theirs));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_moved_there_with_an_old_time_is_left_alone_until_that_is_asked() {
    let place = Place::gemma().await;
    let theirs = b"{\"mine\": true}";
    place.pull(&[]);
    for name in ["config.json", WEIGHTS] {
        age(&place.file(name), Duration::from_hours(1));
        place.put_own(name, |path| {
            let mine = place.home.path().join("mine");
            fs::write(&mine, theirs).unwrap();
            age(&mine, Duration::from_hours(24));
            fs::rename(mine, path).unwrap();
        });
        let document = place.run(&[]).assert_code(2).document(&PULL);
        assert_eq!(document["failure_code"], "refused", "{name}");
        assert_eq!(document["failures"][0]["path"], name);
        assert_eq!(fs::read(place.file(name)).unwrap(), theirs);
        let document = place.pull(&[name, "--force"]);
        assert!(place.aside().contains(&theirs.to_vec()), "{name}");
        assert_eq!(document["healed"][0]["path"], name, "{document:#}");
    }
    place.assert_whole("main", &place.files);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_was_copied_with_its_times_gets_another_revision() {
    let place = Place::gemma().await;
    let older = files_of(&catalogue::gemma(), GEMMA, "older");
    for (name, (_, bytes)) in &older {
        // The reader takes the older ones for the test's own.
        let copy = place.home.path().join("own").join(name);
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::write(copy, bytes).unwrap();
    }
    place.pull(&["--revision", "older"]);
    for name in older.keys() {
        age(&place.file(name), Duration::from_hours(1));
    }
    place.pull(&[]);
    place.assert_whole("main", &place.files);
    assert!(place.aside().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_puts_there_while_a_pull_runs_is_left_alone() {
    let slow = || {
        let weights = Matcher::path(WEIGHTS).origin(Origin::Cdn);
        let bytes_per_s = 1_000_000;
        vec![Fault::new(weights, Effect::Slow { bytes_per_s })]
    };
    let place = Place::new(catalogue::gemma(), GEMMA, slow()).await;
    let start = || {
        let words = ["pull", GEMMA, "--all", "--local-dir", "dir", "--events"];
        let mut run = Watched::start(place.home.larder(&words).stderr(Stdio::null()));
        run.wait_for("downloading", WEIGHTS);
        run
    };
    let mut run = start();
    place.put_own(WEIGHTS, |path| fs::write(path, "mine").unwrap());
    assert_eq!(run.end(), Some(2), "{:?}", run.said.last());
    let failed = run.last("failed", WEIGHTS).unwrap();
    assert_eq!(failed["failure"]["code"], "refused", "{failed:#}");
    assert_eq!(fs::read(place.file(WEIGHTS)).unwrap(), b"mine");
    assert!(place.aside().is_empty() && !place.note(WEIGHTS).exists());
    assert_eq!(body_bytes(&place.home.hub), catalogue::gemma_bytes());
    // What was fetched is there as soon as there is room for it.
    place.home.hub.set_faults(Vec::new());
    fs::remove_file(place.file(WEIGHTS)).unwrap();
    place.pull(&[]);
    place.assert_whole("main", &place.files);
    assert_eq!(body_bytes(&place.home.hub), 0);

    // A link to a folder elsewhere does not get a file of its own.
    place.home.hub.set_faults(slow());
    let outside = place.home.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::remove_file(place.file(WEIGHTS)).unwrap();
    let mut run = start();
    symlink(outside.join("x"), place.file(WEIGHTS)).unwrap();
    assert_eq!(run.end(), Some(2), "{:?}", run.said.last());
    assert!(place.file(WEIGHTS).is_symlink() && files_below(&outside).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_file_is_kept_whatever_its_note_says() {
    let place = Place::gemma().await;
    place.pull(&[]);
    body_bytes(&place.home.hub);
    let inode = |name: &str| fs::metadata(place.file(name)).unwrap().ino();
    let before: Vec<u64> = place.files.keys().map(|name| inode(name)).collect();
    fs::remove_file(place.note("config.json")).unwrap();
    fs::write(place.note("tokenizer.json"), "nonsense").unwrap();
    fs::write(place.note(WEIGHTS), "").unwrap();
    // Copied without its times.
    edit(&place.file("README.md"), &place.files["README.md"].1);
    place.pull(&[]);
    place.assert_whole("main", &place.files);
    assert_eq!(body_bytes(&place.home.hub), 0);
    let after: Vec<u64> = place.files.keys().map(|name| inode(name)).collect();
    assert_eq!(before, after);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_revision_replaces_what_was_fetched_and_no_more() {
    let place = Place::gemma().await;
    let older = files_of(&catalogue::gemma(), GEMMA, "older");
    for (name, (_, bytes)) in &older {
        // The reader takes the older ones for the test's own.
        let copy = place.home.path().join("own").join(name);
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::write(copy, bytes).unwrap();
    }
    place.pull(&["--revision", "older"]);
    place.assert_whole("older", &older);
    body_bytes(&place.home.hub);
    let document = place.pull(&[]);
    place.assert_whole("main", &place.files);
    let changed: usize = place
        .files
        .iter()
        .filter(|(name, file)| older[*name] != **file)
        .map(|(_, (_, bytes))| bytes.len())
        .sum();
    assert_eq!(body_bytes(&place.home.hub), changed as u64);
    assert_eq!(document["healed"].as_array().unwrap().len(), 0);
    // It was what its note says, and can be had again.
    assert!(place.aside().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_one_content_are_files_of_their_own() {
    let catalogue = catalogue::same_content();
    let place = Place::new(catalogue, "someone/same", Vec::new()).await;
    place.pull(&[]);
    place.assert_whole("main", &place.files);
    assert_eq!(body_bytes(&place.home.hub), 2);
    for name in place.files.keys() {
        assert_eq!(fs::metadata(place.file(name)).unwrap().nlink(), 1, "{name}");
    }
    // Each of them is looked at, not only the first.
    fs::remove_file(place.file("b.json")).unwrap();
    damage(&place.file("c/d/e.json"), |bytes| bytes[0] = b'[');
    place.pull(&[]);
    place.assert_whole("main", &place.files);
    assert_eq!(body_bytes(&place.home.hub), 0);
    assert_eq!(place.aside(), [b"[}"]);
    place.put_own("b.json", |path| edit(path, b"mine"));
    let document = place.run(&[]).assert_code(2).document(&PULL);
    assert_eq!(document["failures"][0]["path"], "b.json");
    assert_eq!(fs::read(place.file("b.json")).unwrap(), b"mine");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_file_of_python_is_gone_on_with() {
    let place = Place::gemma().await;
    let weights = &place.files[WEIGHTS].1;
    let staging = place.hidden().join("download");
    let etag = catalogue::gemma_weights_etag();
    for name in [
        format!("xGOKKLRSlIhH692hSVvI1-gpoa8=.{etag}.0badcafe.incomplete"),
        format!("xGOKKLRSlIhH692hSVvI1-gpoa8=.{etag}.incomplete"),
    ] {
        drop(fs::remove_dir_all(place.dir()));
        fs::create_dir_all(&staging).unwrap();
        fs::write(staging.join(&name), &weights[..1_500_000]).unwrap();
        let plan = place.pull(&["--dry-run"]);
        let expected = catalogue::gemma_bytes() - 1_500_000;
        assert_eq!(plan["fetch_bytes"], expected, "{name}");
        place.pull(&[]);
        place.assert_whole("main", &place.files);
        assert_eq!(body_bytes(&place.home.hub), expected, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_holds_pythons_lock_on_a_file_is_waited_for() {
    let place = Place::gemma().await;
    let lock = place.hidden().join("download/config.json.lock");
    fs::create_dir_all(lock.parent().unwrap()).unwrap();
    let held = File::create(&lock).unwrap();
    held.lock().unwrap();
    let words = ["pull", GEMMA, "--all", "--local-dir", "dir", "--events"];
    let mut run = Watched::start(place.home.larder(&words).stderr(Stdio::null()));
    let waiting = run.wait_for("waiting", "config.json");
    assert_eq!(waiting["lock"]["lock"], lock.display().to_string());
    // Everything else comes meanwhile.
    run.wait_for("finished", WEIGHTS);
    assert!(!run.has_ended() && !place.file("config.json").exists());
    drop(held);
    assert_eq!(run.end(), Some(0), "{:?}", run.said.last());
    place.assert_whole("main", &place.files);
    assert_eq!(body_bytes(&place.home.hub), catalogue::gemma_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_at_once_fetch_everything_once() {
    let weights = Matcher::path(WEIGHTS).origin(Origin::Cdn);
    let bytes_per_s = 4_000_000;
    let faults = vec![Fault::new(weights, Effect::Slow { bytes_per_s })];
    let place = Place::new(catalogue::gemma(), GEMMA, faults).await;
    let words = ["pull", GEMMA, "--all", "--local-dir", "dir", "--events"];
    let start = || Watched::start(place.home.larder(&words).stderr(Stdio::null()));
    let (mut one, mut other) = (start(), start());
    assert_eq!((one.end(), other.end()), (Some(0), Some(0)));
    place.assert_whole("main", &place.files);
    assert_eq!(body_bytes(&place.home.hub), catalogue::gemma_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_leads_out_of_the_folder() {
    let mut catalogue = catalogue::gemma();
    let id = RepoId::new(RepoKind::Model, "someone/reserved").unwrap();
    let repo = catalogue.repo(&id);
    let commit = repo.commit(vec![
        SourceFile::git("config.json", "{}"),
        SourceFile::git(".cache/huggingface/download/config.json.metadata", "lies"),
        SourceFile::lfs(WEIGHTS, Content::Memory("x".into())),
    ]);
    repo.branch("main", commit);
    let home = Home::new(catalogue, Vec::new()).await;
    let dir = home.path().join("dir");
    let outside = home.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let pull = |repo: &str, folder: &str| {
        home.run(&["--json", "pull", repo, "--all", "--local-dir", folder])
    };
    for repo in ["someone/unsafe", "someone/reserved"] {
        let document = pull(repo, "dir").assert_code(7).document(&PULL);
        assert_eq!(document["failure_code"], "unsafe-path", "{repo}");
        assert!(!dir.exists());
    }
    // A link in the place of a folder, of a file, of the hidden folder.
    for (link, code) in [
        ("sub dir", "unsafe-path"),
        (".cache", "unsafe-path"),
        (".cache/huggingface/download", "unsafe-path"),
        ("config.json", "refused"),
    ] {
        let place = dir.join(link);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        symlink(&outside, &place).unwrap();
        let document = pull(GEMMA, "dir").document(&PULL);
        assert_eq!(document["failure_code"], code, "{link}");
        assert!(place.is_symlink() && files_below(&outside).is_empty());
        fs::remove_dir_all(&dir).unwrap();
    }
    // A folder in the place of a file.
    fs::create_dir_all(dir.join("config.json/x")).unwrap();
    let ran = pull(GEMMA, "dir");
    assert_ne!(ran.document(&PULL)["exit_code"], 0);
    assert!(dir.join("config.json/x").is_dir());
    fs::remove_dir_all(&dir).unwrap();

    // The folder itself may be reached by a link: that is the caller's wish.
    symlink("outside", &dir).unwrap();
    let document = pull(GEMMA, "dir").assert_code(0).document(&PULL);
    assert_eq!(document["local_dir"], outside.display().to_string());
    assert!(outside.join("config.json").is_file());
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_cannot_be_meant_are_refused() {
    let place = Place::gemma().await;
    fs::write(place.home.path().join("file"), "x").unwrap();
    place.home.run(&["pull", GEMMA]).assert_code(0);
    let cache = place.home.cache();
    let inside = cache.join("models--x--y");
    let other = place.home.path().join("other/models--x--y/blobs");
    fs::create_dir_all(&other).unwrap();
    for (words, says) in [
        (&["--local-dir", "dir", "--trust-size"][..], "--trust-size"),
        (&["--local-dir", "file"], "not a folder"),
        (
            &["--local-dir", cache.to_str().unwrap()],
            "in the Hub cache",
        ),
        (
            &["--local-dir", inside.to_str().unwrap()],
            "in the Hub cache",
        ),
        (&["--local-dir", other.to_str().unwrap()], "in a Hub cache"),
        (&["--local-dir", "dir", "--read-only"], "into the folder"),
    ] {
        let ran = place.home.run(&[&["pull", GEMMA], words].concat());
        ran.assert_code(2);
        assert!(ran.stderr.contains(says), "{}", ran.stderr);
        assert!(!place.dir().exists() && !inside.exists());
    }
    let ran = place
        .home
        .run(&["pull", GEMMA, "--local-dir", "dir", "--dry-run"]);
    let into = format!("into {}", place.dir().display());
    assert!(ran.assert_code(0).stdout.contains(&into), "{}", ran.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_it_goes_on_and_shows_nothing_unproven() {
    const KILLS: u64 = 10;
    let slow = || {
        let weights = Matcher::path(WEIGHTS).origin(Origin::Cdn);
        let bytes_per_s = 40_000_000;
        vec![Fault::new(weights, Effect::Slow { bytes_per_s })]
    };
    let place = Place::new(catalogue::big(), BIG, slow()).await;
    let mut random = fastrand::Rng::with_seed(20_261_127);
    let mut sent = 0;
    for kill in 0..KILLS {
        let mut command = place.home.larder(&[
            "pull",
            BIG,
            "--all",
            "--local-dir",
            "dir",
            "--events",
            "--connections",
            "2",
        ]);
        let mut run = Watched::start(command.stderr(Stdio::null()));
        let until = Instant::now() + Duration::from_secs(20);
        if kill % 3 == 2 {
            // Around the moment at which the weights get their name.
            while run.last("verifying", WEIGHTS).is_none() && !run.has_ended() {
                run.hear();
                assert!(Instant::now() < until);
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(Duration::from_millis(random.u64(0..40)));
        } else {
            std::thread::sleep(Duration::from_millis(random.u64(20..700)));
        }
        run.kill();
        place.assert_visible_is_right();
        for (name, (etag, _)) in &place.files {
            // A note stands for a file that is there; what is visible was compared above.
            if let Ok(note) = fs::read_to_string(place.note(name)) {
                assert!(place.file(name).is_file(), "{name}");
                assert!(note.contains(&etag.to_string()), "{name}: {note}");
            }
        }
        sent += body_bytes(&place.home.hub);
        if kill % 3 == 2 {
            // From the beginning, where it came that far.
            drop(fs::remove_file(place.file(WEIGHTS)));
            drop(fs::remove_file(place.note(WEIGHTS)));
        }
    }
    place.home.hub.set_faults(Vec::new());
    place.pull(&[]);
    place.assert_whole("main", &place.files);
    sent += body_bytes(&place.home.hub);
    // Every removal above costs the file anew; what a kill costs is what was on its way.
    let most = (1 + KILLS / 3) * BIG_WEIGHTS_BYTES + KILLS * (24 << 20);
    assert!(sent <= most, "{sent} of {most}");
    let again = place.pull(&[]);
    assert_eq!(again["fetched_bytes"], 0);
}
