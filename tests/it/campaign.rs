//! The crash campaign: real processes, SIGKILL at seeded moments of pulls that differ, in caches that
//! are damaged now and then. After each kill the cache is read by a reader that believes nothing.
//!
//! `LARDER_TEST_KILLS` and `LARDER_TEST_SEED` make it longer and different; `--nocapture` shows the
//! figures. The moments depend on the machine, what is asked of the runs only on the seed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use larder::domain::Commit;
use larder::serve::{Effect, Fault, Matcher, Origin, Serving};
use serde_json::Value;

use crate::crash::by_ref;
use crate::support::model::{self, CHUNK_BYTES, Model};
use crate::support::program::Running;
use crate::support::watched::Watched;
use crate::support::{Scratch, body_bytes, files_below, report, wrong_bytes};

const KILLS: u64 = 60;
const SEED: u64 = 20_261_127;
/// Kills on one cache.
const KILLS_PER_CACHE: u64 = 8;
/// How long an aim is waited for.
const PATIENCE: Duration = Duration::from_mins(1);
/// The latest of the moments that are chosen by time.
const LATEST: Duration = Duration::from_millis(600);
/// What names in `blobs/` may end in.
const ENDINGS: [&str; 2] = ["incomplete", "corrupt"];
/// What may be on its way in buffers and sockets, for each connection: it was sent, but nobody has
/// got it. Bodies come slowly, so that this is little.
const ON_THE_WAY: u64 = 4 << 20;

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect(name))
}

/// When a run is killed.
#[derive(Clone, Copy, Debug)]
enum Aim {
    /// After so long.
    Time,
    /// When it says that event for the so-many-th time.
    Told(&'static str, usize),
    /// When so many bytes of the weights have come.
    Came(u64),
    /// When it has said of every content that it is there: what is left is publishing.
    AllThere,
    /// When the cache shows it.
    Seen(Sight),
}

/// What can be seen in the cache.
#[derive(Clone, Copy, Debug)]
enum Sight {
    /// A blob has got its name.
    Blob,
    /// Something is staged in `.larder`.
    Staging,
    /// A snapshot has changed.
    Pointers,
    /// A ref has moved.
    Reference,
    /// The marker is gone.
    NoMarker,
}

/// What is in a folder; it may change meanwhile.
fn names(folder: &Path) -> impl Iterator<Item = String> + use<> {
    let found = fs::read_dir(folder).into_iter().flatten().flatten();
    found.filter_map(|entry| entry.file_name().into_string().ok())
}

impl Sight {
    fn look(self, repo: &Path) -> BTreeSet<String> {
        let names = |folder: &str| names(&repo.join(folder));
        match self {
            Self::Blob => names("blobs").filter(|name| !name.contains('.')).collect(),
            Self::Staging => names(".larder").collect(),
            Self::Pointers => names("snapshots")
                .flat_map(|commit| {
                    let inside: Vec<String> = names(&format!("snapshots/{commit}"))
                        .map(|name| format!("{commit}/{name}"))
                        .collect();
                    inside.into_iter().chain([commit])
                })
                .collect(),
            Self::Reference => names("refs")
                .filter_map(|name| fs::read_to_string(repo.join("refs").join(name)).ok())
                .collect(),
            // It has to come before it can go.
            Self::NoMarker => BTreeSet::new(),
        }
    }
}

impl Aim {
    fn choose(random: &mut fastrand::Rng) -> Self {
        if random.bool() {
            return Self::Time;
        }
        match random.u8(0..18) {
            0 => Self::Told("planned", 1),
            1 => Self::Told("downloading", random.usize(1..6)),
            2..=4 => Self::Came(random.u64(3 * CHUNK_BYTES / 2..17_000_000)),
            5..=6 => Self::Told("verifying", random.usize(1..9)),
            7 => Self::Told("finished", random.usize(1..12)),
            8 => Self::Told("ended", 1),
            9..=10 => Self::AllThere,
            11..=12 => Self::Seen(Sight::Blob),
            13 => Self::Seen(Sight::Staging),
            14 => Self::Seen(Sight::Pointers),
            15..=16 => Self::Seen(Sight::Reference),
            _ => Self::Seen(Sight::NoMarker),
        }
    }

    /// Waits for the moment. Returns early if the run ends by itself.
    fn wait(self, run: &mut Watched, repo: &Path, random: &mut fastrand::Rng) {
        let began = Instant::now();
        let (mut deadline, pause) = match self {
            Self::Time => (
                began + LATEST.mul_f64(random.f64()),
                Duration::from_millis(1),
            ),
            // It comes, or the run ends by itself, however busy the machine is.
            _ => (began + PATIENCE, Duration::from_micros(200)),
        };
        let extra = match self {
            Self::Time => Duration::ZERO,
            Self::Seen(_) | Self::Told("verifying" | "finished", _) => {
                Duration::from_millis(4).mul_f64(random.f64())
            }
            _ => Duration::from_millis(20).mul_f64(random.f64()),
        };
        let marker = repo.join(".manual_download_lock");
        let mut had_marker = false;
        let mut is_aimed = !matches!(self, Self::Time);
        let before = match self {
            Self::Seen(sight) => sight.look(repo),
            _ => BTreeSet::new(),
        };
        while Instant::now() < deadline && !run.has_ended() {
            run.hear();
            let is_there = match self {
                Self::Time => false,
                Self::Told(event, count) => run.count(event) >= count,
                Self::Came(bytes) => run
                    .last("progress", "model.safetensors")
                    .is_some_and(|said| said["bytes"].as_u64() >= Some(bytes)),
                Self::AllThere => is_all_there(&run.said),
                Self::Seen(Sight::NoMarker) => {
                    let is_there = marker.exists();
                    had_marker |= is_there;
                    had_marker && !is_there
                }
                Self::Seen(sight) => sight.look(repo) != before,
            };
            if is_there && is_aimed {
                is_aimed = false;
                deadline = Instant::now() + extra;
            }
            std::thread::sleep(pause);
        }
    }
}

fn planned(said: &[Value]) -> Option<&Value> {
    said.iter().find(|said| said["event"] == "planned")
}

/// The contents of a plan: file ids and names.
fn contents(plan: &Value) -> Vec<(&Value, &str)> {
    let files = plan["files"].as_array().unwrap().iter();
    files
        .filter(|file| file["same_as"].is_null())
        .map(|file| (&file["file"], file["etag"].as_str().unwrap()))
        .collect()
}

fn has_said(said: &[Value], events: &[&str], file: &Value) -> bool {
    said.iter()
        .any(|said| said["file"] == *file && events.iter().any(|event| said["event"] == *event))
}

fn is_all_there(said: &[Value]) -> bool {
    planned(said).is_some_and(|plan| {
        contents(plan)
            .iter()
            .all(|(file, _)| has_said(said, &["finished", "reused"], file))
    })
}

/// In what a kill hit, judged by what was said and what is on disk.
fn phase(said: &[Value], revision: &str, repo: &Path) -> &'static str {
    let Some(plan) = planned(said) else {
        return "preparing";
    };
    if said.iter().any(|said| said["event"] == "ended") {
        return "after the end";
    }
    if !is_all_there(said) {
        let proving: Vec<&str> = contents(plan)
            .into_iter()
            .filter(|(file, _)| {
                has_said(said, &["verifying"], file) && !has_said(said, &["finished"], file)
            })
            .map(|(_, content)| content)
            .collect();
        let is_named = |content: &&str| repo.join("blobs").join(content).exists();
        return match (proving.is_empty(), proving.iter().any(is_named)) {
            (true, _) => "fetching",
            (false, true) => "naming blobs",
            (false, false) => "verifying",
        };
    }
    let snapshot = PathBuf::from(plan["snapshot"].as_str().unwrap());
    let files = plan["files"].as_array().unwrap();
    let is_linked = |file: &Value| snapshot.join(file["path"].as_str().unwrap()).exists();
    let reference = fs::read_to_string(repo.join("refs").join(revision));
    if !files.iter().all(is_linked) {
        "pointers"
    } else if reference.is_ok_and(|commit| plan["commit"] != commit.as_str()) {
        "ref"
    } else if repo.join(".manual_download_lock").exists() {
        "marker"
    } else {
        "ledger"
    }
}

/// What a run was asked for.
#[derive(Clone, Debug)]
struct Wish {
    revision: String,
    is_all: bool,
    is_forced: bool,
    connections: u64,
}

impl Wish {
    fn choose(random: &mut fastrand::Rng) -> Self {
        Self {
            revision: match random.usize(0..2 * model::COMMITS) {
                number if number < model::COMMITS => format!("c{number}"),
                _ => "main".to_owned(),
            },
            is_all: random.u8(0..3) > 0,
            is_forced: random.u8(0..10) == 0,
            connections: [1, 1, 2, 3][random.usize(0..4)],
        }
    }
}

/// A cache that is used until it has been killed often enough, then completed.
struct Cache<'a> {
    scratch: Scratch,
    hub: &'a Serving,
    model: &'a Model,
    readable: BTreeSet<PathBuf>,
    refs: BTreeMap<PathBuf, BTreeSet<PathBuf>>,
    /// Blobs that the test itself has cut, and their length since.
    cut: BTreeMap<PathBuf, u64>,
    /// Whether Python loaded `main`.
    was_loadable: bool,
    is_forced_ever: bool,
}

impl<'a> Cache<'a> {
    fn new(hub: &'a Serving, model: &'a Model) -> Self {
        let scratch = Scratch::new();
        let folder = scratch.path().join(".config/larder");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("config.toml"), "retry_base_ms = 10\n").unwrap();
        Self {
            scratch,
            hub,
            model,
            readable: BTreeSet::new(),
            refs: BTreeMap::new(),
            cut: BTreeMap::new(),
            was_loadable: false,
            is_forced_ever: false,
        }
    }

    fn folder(&self) -> PathBuf {
        self.scratch.path().join("hub")
    }

    fn repo(&self) -> PathBuf {
        self.folder().join(model::FOLDER)
    }

    fn start(&self, wish: &Wish) -> Watched {
        let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
        command
            .args([
                "pull",
                model::NAME,
                "--events",
                "--revision",
                &wish.revision,
            ])
            .args(["--connections", &wish.connections.to_string()])
            .args(wish.is_all.then_some("--all"))
            .args(wish.is_forced.then_some("--force"))
            .env_clear()
            .env("HOME", self.scratch.path())
            .env("HF_HUB_CACHE", self.folder())
            .env("HF_ENDPOINT", self.hub.endpoint())
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        Watched::start(&mut command)
    }

    /// What the reader finds, beside the blobs that the test itself cut and nobody mended.
    fn wrong(&self) -> Vec<String> {
        let is_ours = |path: &Path| {
            let blob = fs::canonicalize(path).ok();
            let cut = blob.as_ref().and_then(|blob| self.cut.get(blob));
            cut.is_some_and(|cut| fs::metadata(path).is_ok_and(|found| found.len() == *cut))
        };
        let wrong = wrong_bytes(&self.folder()).into_iter();
        wrong
            .filter(|(path, _)| !is_ours(path))
            .map(|(_, what)| what)
            .chain(self.model.misled(&self.repo()))
            .collect()
    }

    /// What can be read by name.
    fn look(&self) -> BTreeSet<PathBuf> {
        let snapshots = self.repo().join("snapshots");
        if !snapshots.is_dir() {
            return BTreeSet::new();
        }
        let found = files_below(&snapshots).into_iter();
        found.filter(|path| fs::metadata(path).is_ok()).collect()
    }

    /// Everything that must hold when a process has died; bytes that are wrong.
    #[track_caller]
    fn check(&mut self, what: &str) -> usize {
        let repo = self.repo();
        let wrong = self.wrong();
        assert!(wrong.is_empty(), "{what}: {wrong:#?}");
        for (reference, held) in &self.refs {
            let commit = fs::read_to_string(reference).unwrap();
            assert_eq!(commit.len(), 40, "{what}: {}", reference.display());
            let snapshot = repo.join("snapshots").join(commit);
            let lost: Vec<_> = held
                .iter()
                .filter(|path| fs::metadata(snapshot.join(path)).is_err())
                .collect();
            assert!(
                lost.is_empty(),
                "{what}: {} lost {lost:?}",
                reference.display()
            );
        }
        let now = self.look();
        let lost: Vec<_> = self.readable.difference(&now).collect();
        assert!(lost.is_empty(), "{what}: lost {lost:?}");
        self.readable = now;
        // Also that every ref leads to a folder.
        self.refs = by_ref(&repo);
        for reference in self.refs.keys() {
            let commit = fs::read_to_string(reference).unwrap();
            assert_eq!(commit.len(), 40, "{what}: {}", reference.display());
            assert!(repo.join("snapshots").join(&commit).is_dir(), "{what}");
        }
        if let Ok(marker) = File::open(repo.join(".manual_download_lock")) {
            assert!(marker.try_lock().is_ok(), "{what}: the marker is held");
        }
        wrong.len()
    }

    /// Between two runs somebody does what nobody should.
    fn damage(&mut self, random: &mut fastrand::Rng) {
        let names = Sight::Blob.look(&self.repo()).into_iter();
        let blobs: Vec<PathBuf> = names
            .map(|name| self.repo().join("blobs").join(name))
            .collect();
        let pointers: Vec<PathBuf> = self.readable.iter().cloned().collect();
        if random.bool() && !blobs.is_empty() {
            let blob = &blobs[random.usize(..blobs.len())];
            let length = fs::metadata(blob).unwrap().len();
            if length > 0 {
                let length = random.u64(..length);
                let file = File::options().write(true).open(blob).unwrap();
                file.set_len(length).unwrap();
                self.cut.insert(blob.clone(), length);
            }
        } else if !pointers.is_empty() {
            fs::remove_file(&pointers[random.usize(..pointers.len())]).unwrap();
            self.was_loadable = false;
        }
        self.readable = self.look();
        self.refs = by_ref(&self.repo());
    }

    /// Completes the oldest commit, the newest, and `main`.
    #[track_caller]
    fn complete(&mut self, what: &str) {
        let newest = model::COMMITS - 1;
        for revision in ["c0", &format!("c{newest}"), "main"] {
            let wish = Wish {
                revision: revision.to_owned(),
                is_all: true,
                is_forced: false,
                connections: 4,
            };
            let code = self.start(&wish).end();
            assert_eq!(code, Some(0), "{what}: {wish:?}");
        }
        self.check(what);
        let repo = self.repo();
        for commit in [self.model.commits[0], self.model.commits[newest]] {
            let unreadable = self.model.unreadable(&repo, &commit);
            assert!(unreadable.is_empty(), "{what}: {commit}: {unreadable:?}");
        }
        for (folder, known) in [
            ("..", &[".locks", "CACHEDIR.TAG", model::FOLDER][..]),
            (".", &["blobs", "refs", "snapshots", "trees", ".larder"]),
            (".larder", &["trees"]),
        ] {
            let left: Vec<String> = names(&repo.join(folder))
                .filter(|name| !known.contains(&name.as_str()))
                .collect();
            assert!(left.is_empty(), "{what}: leftovers in {folder}: {left:?}");
        }
        let half = |name: &String| Commit::new(name.trim_end_matches(".json")).is_err();
        for folder in ["snapshots", "trees"] {
            let left: Vec<String> = names(&repo.join(folder)).filter(half).collect();
            assert!(left.is_empty(), "{what}: leftovers in {folder}: {left:?}");
        }
        let known = |name: &String| name == "main" || name.len() == 2 && name.starts_with('c');
        assert!(names(&repo.join("refs")).all(|name| known(&name)), "{what}");
        let strange: Vec<PathBuf> = files_below(&repo.join("blobs"))
            .into_iter()
            .filter(|path| {
                let name = path.file_name().unwrap().to_str().unwrap();
                let (content, ending) = name.split_once('.').unwrap_or((name, ""));
                assert!(self.model.len_of(content).is_some(), "{what}: {name}");
                // A partial of what nobody has asked for since is for later. A forced pull that was
                // killed leaves one of what is there already, and what the test has cut is set aside.
                let is_of_blob = repo.join("blobs").join(content).exists();
                let is_left = ending.ends_with("incomplete") && is_of_blob && !self.is_forced_ever;
                is_left
                    || !(ending.is_empty() || ENDINGS.iter().any(|known| ending.ends_with(known)))
            })
            .collect();
        assert!(strange.is_empty(), "{what}: leftovers {strange:?}");
    }
}

/// The figures.
#[derive(Debug, Default)]
struct Figures {
    kills: u64,
    runs: u64,
    caches: u64,
    wrong_bytes: usize,
    refetched: Vec<u64>,
    /// Of kills while bytes came.
    refetched_fetching: Vec<u64>,
    phases: BTreeMap<&'static str, u64>,
}

fn median_of(figures: &mut [u64]) -> u64 {
    figures.sort_unstable();
    figures.get(figures.len() / 2).copied().unwrap_or(0)
}

impl Figures {
    fn print(&mut self, seed: u64, took: Duration) {
        let median = median_of(&mut self.refetched);
        let fetching = median_of(&mut self.refetched_fetching);
        let worst = self.refetched.last().unwrap();
        report(&format!(
            "crash campaign, seed {seed}: {} kills in {} runs on {} caches, {:.0} s; wrong files: {}; \
             bytes fetched again per kill: median {median}, while bytes came {fetching}, worst {worst}",
            self.kills,
            self.runs,
            self.caches,
            took.as_secs_f64(),
            self.wrong_bytes,
        ));
        report(&format!("killed while: {:?}", self.phases));
    }
}

/// Python's view of the cache, in one process that lives as long as the campaign.
struct Python {
    _running: Running,
    asked: ChildStdin,
    answers: Receiver<String>,
}

const PYTHON: &str = r"
import sys, json
from huggingface_hub import scan_cache_dir, snapshot_download
from huggingface_hub.errors import CacheNotFound
for line in sys.stdin:
    cache, repo = line.rstrip('\n').split('\t')
    try:
        warnings = [str(w) for w in scan_cache_dir(cache).warnings]
    except CacheNotFound:
        warnings = []
    try:
        snapshot_download(repo, cache_dir=cache, local_files_only=True)
        loads = True
    except Exception as e:
        loads = False
    print(json.dumps({'warnings': warnings, 'loads': loads}), flush=True)
";

impl Python {
    fn start(hub: &Serving, home: &Path) -> Self {
        let python = std::env::var_os("LARDER_TEST_PYTHON")
            .expect("LARDER_TEST_PYTHON names the interpreter that has huggingface_hub 2.4.0");
        let mut child = Command::new(python)
            .args(["-c", PYTHON])
            .env_clear()
            .env("HOME", home)
            .env("HF_ENDPOINT", hub.endpoint())
            .env("HF_HUB_DISABLE_TELEMETRY", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let asked = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            _running: Running(child),
            asked,
            answers,
        }
    }

    /// Its warnings, and whether it loads `main` offline.
    fn ask(&mut self, cache: &Path) -> (Vec<Value>, bool) {
        writeln!(self.asked, "{}\t{}", cache.display(), model::NAME).unwrap();
        let answer = self.answers.recv_timeout(Duration::from_mins(1)).unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let warnings = answer["warnings"].as_array().unwrap().clone();
        (warnings, answer["loads"].as_bool().unwrap())
    }
}

/// The Hub of one run: how fast it is, and what `main` is.
fn set_scene(hub: &Serving, model: &Model, aim: Aim, random: &mut fastrand::Rng) {
    let main = model.commits[random.usize(..model.commits.len())];
    hub.edit(|catalogue| {
        catalogue.repo(&model::id()).branch("main", main);
    });
    let slow = |path: &str, bytes_per_s| {
        let requests = Matcher::path(path).origin(Origin::Cdn);
        let fault = Fault::new(requests, Effect::Slow { bytes_per_s });
        // Answers that do not come at once are asked for in other portions.
        match bytes_per_s % 2 {
            0 => fault,
            _ => fault.and(Effect::Delay { millis: 10 }),
        }
    };
    let odd = random.u64(0..2);
    let pace = match aim {
        Aim::Time => random.usize(0..3),
        // What is waited for should come soon.
        _ => 2,
    };
    let bytes_per_s = [6_000_000, 16_000_000, 40_000_000][pace] + odd;
    hub.set_faults(vec![
        slow("model.safetensors", bytes_per_s),
        slow("tokenizer.model", bytes_per_s),
        slow("vocab.txt", bytes_per_s / 4),
    ]);
}

async fn campaign(kills: u64, with_python: bool) {
    let seed = from_environment("LARDER_TEST_SEED", SEED);
    let began = Instant::now();
    let mut random = fastrand::Rng::with_seed(seed);
    let (model, catalogue) = Model::with_history();
    let hub = Serving::start(catalogue, Vec::new()).await.unwrap();
    let home = Scratch::new();
    let mut python = with_python.then(|| Python::start(&hub, home.path()));
    let mut figures = Figures::default();
    while figures.kills < kills {
        let mut cache = Cache::new(&hub, &model);
        figures.caches += 1;
        let until = kills.min(figures.kills + KILLS_PER_CACHE);
        // A cache that is complete is killed less and less often.
        let mut runs = 0;
        while figures.kills < until && runs < 3 * KILLS_PER_CACHE {
            runs += 1;
            if random.u8(0..6) == 0 {
                cache.damage(&mut random);
            }
            let wish = Wish::choose(&mut random);
            let aim = Aim::choose(&mut random);
            set_scene(&hub, &model, aim, &mut random);
            let other = (random.u8(0..15) == 0).then(|| Wish::choose(&mut random));
            let what = format!(
                "seed {seed}, cache {}, run {runs}: {wish:?} {aim:?} beside {other:?}",
                figures.caches
            );
            body_bytes(&hub);
            let before = model.missing(&cache.repo());
            let mut run = cache.start(&wish);
            let mut beside = other.as_ref().map(|wish| cache.start(wish));
            aim.wait(&mut run, &cache.repo(), &mut random);
            let is_killed = run.kill();
            let hit = is_killed.then(|| phase(&run.said, &wish.revision, &cache.repo()));
            if let Some(beside) = &mut beside {
                assert_eq!(beside.end(), Some(0), "{what}: {:?}", beside.said.last());
            }
            let served = body_bytes(&hub);
            figures.runs += 1;
            figures.wrong_bytes += cache.check(&what);
            let is_forced = wish.is_forced || other.as_ref().is_some_and(|other| other.is_forced);
            cache.is_forced_ever |= is_forced;
            // A forced pull fetches what is there: how much of it is no waste cannot be told.
            if !is_forced {
                let after = model.missing(&cache.repo());
                let again = (served + after).saturating_sub(before);
                // A chunk that only began is lost, one for each connection, and what was in memory.
                let lanes = if is_killed { wish.connections } else { 0 };
                let bound = lanes * (CHUNK_BYTES + ON_THE_WAY) + model.small_bytes();
                assert!(
                    again <= bound,
                    "{what}: {again} bytes are lost, more than {bound}: {served} were served, \
                     {before} were missing and {after} are now; killed while {hit:?}"
                );
                if is_killed {
                    figures.refetched.push(again);
                    if hit == Some("fetching") {
                        figures.refetched_fetching.push(again);
                    }
                }
            }
            if let Some(hit) = hit {
                figures.kills += 1;
                if figures.kills.is_multiple_of(100) {
                    report(&format!("{} kills", figures.kills));
                }
                *figures.phases.entry(hit).or_default() += 1;
            }
            if let Some(python) = &mut python {
                let (warnings, loads) = python.ask(&cache.folder());
                assert!(warnings.is_empty(), "{what}: {hit:?}: {warnings:?}");
                assert!(
                    loads || !cache.was_loadable,
                    "{what}: {hit:?}: it cannot be loaded any more"
                );
                cache.was_loadable = loads;
            }
        }
        hub.set_faults(Vec::new());
        cache.complete(&format!("seed {seed}, cache {}", figures.caches));
        if let Some(python) = &mut python {
            let answer = python.ask(&cache.folder());
            assert_eq!(answer, (Vec::new(), true));
        }
    }
    figures.print(seed, began.elapsed());
    let late = ["pointers", "ref", "marker", "ledger"];
    let count = |phase: &&str| figures.phases.get(*phase).copied().unwrap_or(0);
    assert!(count(&"fetching") > 0, "{figures:?}");
    assert!(late.iter().map(count).sum::<u64>() > 0, "{figures:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whenever_larder_is_killed_the_cache_is_right_and_little_is_fetched_again() {
    campaign(from_environment("LARDER_TEST_KILLS", KILLS), false).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs huggingface_hub; CI runs it"]
async fn whenever_larder_is_killed_python_reads_the_cache_without_a_warning() {
    campaign(from_environment("LARDER_TEST_KILLS", KILLS), true).await;
}
