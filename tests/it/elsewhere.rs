//! Places beside the main cache: a home folder with all of them, made as each program makes its own,
//! and what the engine and the commands say of them.

use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use larder::config::{Config, Environment, Flags};
use larder::domain::{
    CacheKind, CacheRow, Change, Command, Event, FileRow, Finding, LockRow, ModelRow, ModelState,
    Outcome, PartialRow, PartialState, PlanStep, RepoId, RepoKind, Rule, Severity, Verification,
    VerifyTarget,
};
use larder::engine::Engine;
use sha2::{Digest as _, Sha256};

use crate::fetch::{Place, request};
use crate::support::program::Home;
use crate::support::{Scratch, catalogue, files_below, report};

const GEMMA: &str = "mlx-community/gemma-2-2b-it-4bit";
const PYTHONS_TOKENIZER: &str = "HgM_lKo9sdSCfRtVg7MMFS7EKqo=";

/// A home folder, and the files of a model that loads.
pub(crate) struct Machine {
    pub(crate) scratch: Scratch,
    /// By name: content and etag.
    pub(crate) files: BTreeMap<String, (Vec<u8>, String)>,
    commit: String,
    listing: String,
    environment: Vec<(String, String)>,
}

#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) caches: Vec<CacheRow>,
    pub(crate) models: Vec<ModelRow>,
    files: Vec<(ModelRow, Vec<FileRow>)>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) partials: Vec<PartialRow>,
    pub(crate) locks: Vec<LockRow>,
    pub(crate) verified: Vec<Verification>,
    /// How many files were to be hashed, and their bytes.
    pub(crate) to_hash: (usize, u64),
    pub(crate) outcome: Option<Outcome>,
}

impl Machine {
    /// A home without any cache.
    pub(crate) async fn new() -> Self {
        let place = Place::new(catalogue::gemma(), Vec::new()).await;
        place.pull(request(GEMMA)).await;
        let repo = place.repo_folder();
        let commit = fs::read_to_string(repo.join("refs/main")).unwrap();
        let snapshot = repo.join("snapshots").join(&commit);
        let mut files = BTreeMap::new();
        for path in files_below(&snapshot) {
            let etag = fs::read_link(&path).unwrap();
            let etag = etag.file_name().unwrap().to_str().unwrap().to_owned();
            let name = path.strip_prefix(&snapshot).unwrap().to_str().unwrap();
            files.insert(name.to_owned(), (fs::read(&path).unwrap(), etag));
        }
        let listing = ["trees", ".larder/trees"]
            .iter()
            .find_map(|trees| fs::read_to_string(repo.join(format!("{trees}/{commit}.json"))).ok());
        assert!(files.contains_key("model.safetensors") && files.len() > 3);
        Self {
            scratch: Scratch::new(),
            files,
            commit,
            listing: listing.unwrap(),
            environment: Vec::new(),
        }
    }

    pub(crate) fn home(&self) -> &Path {
        self.scratch.path()
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn config(&self, flags: &Flags) -> Config {
        let home = self.home().to_str().unwrap();
        let own = [("HOME", home), ("HF_HUB_OFFLINE", "1")];
        let more = self
            .environment
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let environment = Environment::from_pairs(own.into_iter().chain(more));
        Config::load(flags, &environment).unwrap()
    }

    pub(crate) async fn ask(&self, command: Command) -> Seen {
        ask(self.config(&Flags::default()), command).await
    }

    pub(crate) async fn survey(&self) -> Seen {
        let seen = self.ask(Command::Survey(None)).await;
        assert_eq!(seen.outcome, Some(Outcome::Listed));
        seen
    }

    pub(crate) fn write(&self, folder: &Path) {
        for (name, (content, _)) in &self.files {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    }

    /// As swift-transformers' `HubApi` does: a note beside every file, and nothing else.
    pub(crate) fn hub_api(&self, models: &str, repo: &str) -> PathBuf {
        let folder = self.home().join(models).join(repo);
        self.write(&folder);
        self.notes(&folder);
        folder
    }

    pub(crate) fn notes(&self, folder: &Path) {
        for (name, (_, etag)) in &self.files {
            self.note(folder, name, etag);
        }
    }

    pub(crate) fn note(&self, folder: &Path, name: &str, etag: &str) {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let text = format!("{}\n{etag}\n{}\n", self.commit, at.as_secs_f64() + 0.5);
        let notes = folder.join(".cache/huggingface/download");
        let note = notes.join(format!("{name}.metadata"));
        fs::create_dir_all(note.parent().unwrap()).unwrap();
        fs::write(note, text).unwrap();
    }

    /// As Python does with `local_dir`.
    pub(crate) fn local_dir(&self, folder: &Path) {
        self.write(folder);
        self.notes(folder);
        let base = folder.join(".cache/huggingface");
        fs::write(base.join(".gitignore"), "*").unwrap();
        fs::write(base.join("CACHEDIR.TAG"), "Signature: 8a477f").unwrap();
        fs::create_dir_all(base.join("trees")).unwrap();
        let tree = base.join(format!("trees/{}.json", self.commit));
        fs::write(tree, &self.listing).unwrap();
        for name in self.files.keys() {
            File::create(base.join(format!("download/{name}.lock"))).unwrap();
        }
    }

    /// A Hub cache as every client writes it.
    pub(crate) fn hub(&self, root: &Path, repo: &str) {
        let repo = RepoId::new(RepoKind::Model, repo).unwrap();
        let folder = root.join(repo.folder());
        let snapshot = folder.join("snapshots").join(&self.commit);
        for part in ["blobs", "refs"] {
            fs::create_dir_all(folder.join(part)).unwrap();
        }
        fs::create_dir_all(&snapshot).unwrap();
        fs::write(folder.join("refs/main"), &self.commit).unwrap();
        for (name, (content, etag)) in &self.files {
            fs::write(folder.join("blobs").join(etag), content).unwrap();
            let pointer = snapshot.join(name);
            fs::create_dir_all(pointer.parent().unwrap()).unwrap();
            let up = "../".repeat(name.matches('/').count());
            symlink(format!("../../{up}blobs/{etag}"), pointer).unwrap();
        }
    }

    /// Every place there is, with one model each.
    fn everything(&mut self) -> Vec<(CacheKind, PathBuf)> {
        let home = self.home().to_owned();
        let container = home.join("Library/Containers/com.example.chat/Data");
        let group = home.join("Library/Group Containers/group.example");
        self.hub(&home.join(".cache/huggingface/hub"), GEMMA);
        let app_hub = container.join("Library/Caches/huggingface/hub");
        self.hub(&app_hub, "org/in-app");
        for (models, repo) in [
            ("Documents/huggingface/models", "org/documents"),
            ("Library/Caches/models", "org/caches"),
            ("Downloads/huggingface/models", "org/downloads"),
            (
                "Library/Containers/com.example.chat/Data/Documents/huggingface/models",
                "org/contained",
            ),
            (
                "Library/Group Containers/group.example/Library/Caches/models",
                "org/grouped",
            ),
        ] {
            self.hub_api(models, repo);
        }
        let studio = home.join("Studio Home");
        fs::write(
            home.join(".lmstudio-home-pointer"),
            format!("{}\n", studio.display()),
        )
        .unwrap();
        self.write(&studio.join("models/lmstudio-community/gemma"));
        self.write(&home.join("Library/Caches/MLXCache/gemma"));
        self.write(&home.join(".swama/models/org/swama"));
        self.local_dir(&home.join("work/by-python"));
        self.write(&home.join("collection/org/plain"));
        self.hub(&home.join("old-hub"), "org/old");
        fs::create_dir_all(home.join("base")).unwrap();
        self.hub_api("base/models", "org/based");
        let folders = ["work/by-python", "collection", "old-hub", "base"];
        let folders: Vec<String> = folders
            .iter()
            .map(|folder| home.join(folder).display().to_string())
            .collect();
        self.set("LARDER_FOLDERS", &folders.join(":"));
        vec![
            (CacheKind::Hub, home.join(".cache/huggingface/hub")),
            (CacheKind::HubApi, home.join("Documents/huggingface/models")),
            (CacheKind::HubApi, home.join("Library/Caches/models")),
            (CacheKind::HubApi, home.join("Downloads/huggingface/models")),
            (CacheKind::LmStudio, studio.join("models")),
            (CacheKind::MlxCache, home.join("Library/Caches/MLXCache")),
            (CacheKind::Swama, home.join(".swama/models")),
            (
                CacheKind::HubApi,
                container.join("Documents/huggingface/models"),
            ),
            (CacheKind::Hub, app_hub),
            (CacheKind::HubApi, group.join("Library/Caches/models")),
            (CacheKind::LocalDir, home.join("work/by-python")),
            (CacheKind::Folder, home.join("collection")),
            (CacheKind::Hub, home.join("old-hub")),
            (CacheKind::HubApi, home.join("base/models")),
        ]
    }
}

pub(crate) async fn ask(config: Config, command: Command) -> Seen {
    let (engine, handle, mut events) = Engine::new(config).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(engine.run());
    assert!(handle.send(command));
    let mut seen = Seen::default();
    loop {
        let stamped = tokio::time::timeout(Duration::from_mins(1), events.recv())
            .await
            .expect("an event in time")
            .expect("the engine is alive");
        match stamped.event {
            Event::CachesSeen { caches } => seen.caches = caches,
            Event::ModelsListed { models } => seen.models = models,
            Event::FilesListed { model, files } => seen.files.push((*model, files)),
            Event::FindingsSeen { findings } => seen.findings = findings,
            Event::LocksSeen { locks } => seen.locks = locks,
            Event::PartialsSeen { partials } => seen.partials = partials,
            Event::VerifyStarted { files, bytes, .. } => seen.to_hash = (files, bytes),
            Event::ModelVerified(verification) => seen.verified.push(verification),
            Event::Ended(outcome) => {
                seen.outcome = Some(outcome);
                return seen;
            }
            _ => {}
        }
    }
}

impl Seen {
    pub(crate) fn of(&self, rule: Rule) -> Vec<&Finding> {
        let found = self.findings.iter();
        found.filter(|finding| finding.rule == rule).collect()
    }

    pub(crate) fn above_note(&self) -> Vec<&Finding> {
        let found = self.findings.iter();
        found
            .filter(|finding| finding.severity > Severity::Note)
            .collect()
    }

    pub(crate) fn model(&self, repo: &str) -> &ModelRow {
        let mut models = self.models.iter();
        models
            .find(|model| model.repo.name() == repo)
            .unwrap_or_else(|| panic!("no {repo} in {:?}", self.models))
    }
}

pub(crate) fn make_old(path: &Path) {
    let old = SystemTime::now() - Duration::from_hours(2);
    let file = File::options().write(true).open(path).unwrap();
    file.set_times(FileTimes::new().set_modified(old)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_place_is_found_by_its_rule() {
    let mut machine = Machine::new().await;
    let places = machine.everything();
    let seen = machine.survey().await;
    let found: Vec<(CacheKind, PathBuf)> = seen
        .caches
        .iter()
        .map(|cache| (cache.kind, PathBuf::from(&cache.path)))
        .collect();
    assert_eq!(found, places);
    let bytes: u64 = machine
        .files
        .values()
        .map(|(content, _)| content.len() as u64)
        .sum();
    for cache in &seen.caches {
        assert!(cache.is_present && cache.trouble.is_none(), "{cache:?}");
        assert_eq!((cache.models, cache.size_bytes), (1, bytes), "{cache:?}");
    }
    let origins: Vec<&str> = seen.caches.iter().map(|c| c.origin.as_str()).collect();
    assert_eq!(origins[0], "default");
    assert!(origins[4].ends_with(".lmstudio-home-pointer"));
    assert!(origins[7].contains("com.example.chat"), "{origins:?}");
    assert_eq!(origins[10], "LARDER_FOLDERS");

    assert_eq!(seen.models.len(), places.len());
    for model in &seen.models {
        assert_eq!(model.state, ModelState::Complete, "{model:?}");
        assert_eq!(model.files_present, machine.files.len());
        assert_eq!(model.size_bytes, bytes);
    }
    // What its notes say, else what its folder is called.
    assert_eq!(seen.model("org/documents").revision, machine.commit);
    assert!(seen.model("org/documents").commit.is_some());
    assert_eq!(seen.model("lmstudio-community/gemma").revision, "gemma");
    assert_eq!(seen.model("by-python").cache, CacheKind::LocalDir);
    assert_eq!(seen.model("org/in-app").refs, ["main"]);

    // They are all the same model, and two places can be emptied by the system.
    for finding in seen.above_note() {
        assert_eq!(finding.rule, Rule::DuplicateModel, "{finding:?}");
    }
    assert_eq!(seen.of(Rule::PurgeableFolder).len(), 4);
    let listed = machine.ask(Command::List(None)).await;
    assert_eq!(listed.models, seen.models);
    assert_eq!(listed.caches, seen.caches);
    let of_one = RepoId::new(RepoKind::Model, "org/documents").unwrap();
    let files = machine.ask(Command::List(Some(of_one.clone()))).await.files;
    assert_eq!(files.len(), 1);
    assert_eq!(files[0].1.len(), machine.files.len());
    let one = machine.ask(Command::Survey(Some(of_one))).await;
    assert_eq!(one.models.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicates_are_known_by_hash_and_tell_what_they_waste() {
    let machine = Machine::new().await;
    machine.hub(&machine.home().join(".cache/huggingface/hub"), GEMMA);
    let copy = machine.hub_api("Documents/huggingface/models", GEMMA);
    // Plain files of the same lengths have no known hash.
    machine.write(&machine.home().join(".swama/models").join(GEMMA));
    let seen = machine.survey().await;
    let found = seen.of(Rule::DuplicateModel);
    assert_eq!(found.len(), 1, "{found:?}");
    let weights = machine.files["model.safetensors"].0.len();
    let tokenizer = machine.files["tokenizer.json"].0.len();
    let wasted = (weights + tokenizer) as u64;
    assert_eq!(found[0].evidence.len(), 2);
    assert!(
        found[0].evidence.iter().all(|e| e.bytes == Some(wasted)),
        "{found:?}"
    );
    let places: Vec<&str> = found[0].evidence.iter().map(|e| e.path.as_str()).collect();
    assert!(places[0].contains("/hub/models--") && places[1] == copy.to_str().unwrap());
    match &found[0].plan.steps[0] {
        PlanStep::ByHand { advice } => assert!(advice.contains("cannot share"), "{advice}"),
        // Where the tests run on a file system with clones.
        step => assert!(
            matches!(step, PlanStep::Change(Change::Share { .. })),
            "{step:?}"
        ),
    }

    // Hard links are one file.
    for name in ["model.safetensors", "tokenizer.json"] {
        let etag = &machine.files[name].1;
        let repo = RepoId::new(RepoKind::Model, GEMMA).unwrap().folder();
        let hub = machine.home().join(".cache/huggingface/hub");
        fs::remove_file(copy.join(name)).unwrap();
        fs::hard_link(hub.join(repo).join("blobs").join(etag), copy.join(name)).unwrap();
    }
    assert!(machine.survey().await.of(Rule::DuplicateModel).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_programs_make_by_their_own_rules_has_no_findings_above_note() {
    for place in ["hub-api", "local-dir", "plain", "container"] {
        let mut machine = Machine::new().await;
        match place {
            "hub-api" => drop(machine.hub_api("Documents/huggingface/models", GEMMA)),
            "local-dir" => {
                let folder = machine.home().join("here");
                machine.local_dir(&folder);
                machine.set("LARDER_FOLDERS", folder.to_str().unwrap());
            }
            "plain" => machine.write(&machine.home().join(".lmstudio/models/org/m")),
            _ => {
                let data = machine.home().join("Library/Containers/com.x/Data");
                machine.hub(&data.join("Library/Caches/huggingface/hub"), GEMMA);
                // What macOS puts into every home.
                fs::write(data.join(".DS_Store"), "x").unwrap();
                symlink(machine.home().join("Documents"), data.join("Documents")).unwrap();
            }
        }
        let seen = machine.survey().await;
        assert_eq!(seen.models.len(), 1, "{place}");
        assert!(seen.above_note().is_empty(), "{place}: {:?}", seen.findings);
    }
}

/// Damage to one model that `HubApi` made, and what has to be said of it.
#[tokio::test(flavor = "multi_thread")]
async fn damage_in_a_folder_of_swift_transformers_is_explained() {
    type Damage = fn(&Machine, &Path);
    let cases: [(&str, Damage, Rule, Severity, ModelState, &str); 10] = [
        (
            "a visible file without a note",
            |_, folder| fs::write(folder.join("notes.txt"), "mine").unwrap(),
            Rule::MissingMetadata,
            Severity::Warning,
            ModelState::Complete,
            "offline",
        ),
        (
            "a note that is cut off",
            |_, folder| {
                let note = ".cache/huggingface/download/config.json.metadata";
                fs::write(folder.join(note), "abc\n").unwrap();
            },
            Rule::MissingMetadata,
            Severity::Warning,
            ModelState::Complete,
            "less than three lines",
        ),
        (
            "a link in the place of a file",
            |machine, folder| {
                let away = machine.home().join("away.safetensors");
                fs::rename(folder.join("model.safetensors"), &away).unwrap();
                symlink(&away, folder.join("model.safetensors")).unwrap();
            },
            Rule::EscapingPointer,
            Severity::Warning,
            ModelState::Complete,
            "regular files only",
        ),
        (
            "a link to nothing",
            |_, folder| {
                fs::remove_file(folder.join("config.json")).unwrap();
                symlink("/nowhere", folder.join("config.json")).unwrap();
            },
            Rule::DanglingPointer,
            Severity::Error,
            ModelState::Broken,
            "deleted",
        ),
        (
            "the text of an LFS pointer",
            |_, folder| {
                let text = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
                fs::write(folder.join("model.safetensors"), text).unwrap();
            },
            Rule::LfsPointer,
            Severity::Error,
            ModelState::Broken,
            "git without LFS",
        ),
        (
            "an error page",
            |_, folder| {
                let page = "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>";
                fs::write(folder.join("tokenizer.json"), page).unwrap();
            },
            Rule::ErrorPage,
            Severity::Error,
            ModelState::Broken,
            "answer of a proxy",
        ),
        (
            "an empty file",
            |_, folder| drop(File::create(folder.join("tokenizer.json")).unwrap()),
            Rule::EmptyBlob,
            Severity::Error,
            ModelState::Broken,
            "cancelled",
        ),
        (
            "a file that two loads lost",
            |_, folder| fs::remove_file(folder.join("tokenizer.json")).unwrap(),
            Rule::MissingFiles,
            Severity::Warning,
            ModelState::Partial,
            "two loads raced, swift-transformers 0.1.21–1.1.9",
        ),
        (
            "weights that end too soon",
            |_, folder| {
                let weights = File::options()
                    .write(true)
                    .open(folder.join("model.safetensors"))
                    .unwrap();
                weights.set_len(1_000_000).unwrap();
            },
            Rule::WouldNotLoad,
            Severity::Error,
            ModelState::Broken,
            "",
        ),
        (
            "weights in a cloud",
            |_, folder| {
                let weights = folder.join("model.safetensors");
                fs::remove_file(&weights).unwrap();
                File::create(weights).unwrap().set_len(2_000_000).unwrap();
            },
            Rule::Evicted,
            Severity::Note,
            ModelState::Partial,
            "iCloud",
        ),
    ];
    let mut machine = Machine::new().await;
    for (name, damage, rule, severity, state, cause) in cases {
        machine.scratch = Scratch::new();
        let folder = machine.hub_api("Documents/huggingface/models", GEMMA);
        damage(&machine, &folder);
        let seen = machine.survey().await;
        let found = seen.of(rule);
        assert_eq!(found.len(), 1, "{name}: {:?}", seen.findings);
        assert_eq!(found[0].severity, severity, "{name}");
        assert!(found[0].cause.contains(cause), "{name}: {}", found[0].cause);
        assert!(!found[0].evidence.is_empty(), "{name}");
        assert!(!found[0].plan.steps.is_empty(), "{name}");
        assert_eq!(found[0].repo.as_ref().unwrap().name(), GEMMA, "{name}");
        assert_eq!(seen.model(GEMMA).state, state, "{name}");
        let others = seen.findings.iter().filter(|other| other.rule != rule);
        let others: Vec<_> = others.filter(|o| o.severity > Severity::Note).collect();
        assert!(others.is_empty(), "{name}: {others:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_and_times_tell_of_a_local_dir() {
    let mut machine = Machine::new().await;
    let folder = machine.home().join("here");
    machine.local_dir(&folder);
    machine.set("LARDER_FOLDERS", folder.to_str().unwrap());
    let late = SystemTime::now() + Duration::from_mins(1);
    let config = File::options()
        .write(true)
        .open(folder.join("config.json"))
        .unwrap();
    config
        .set_times(FileTimes::new().set_modified(late))
        .unwrap();
    fs::remove_file(folder.join("tokenizer.json")).unwrap();
    let notes = folder.join(".cache/huggingface/download");
    fs::remove_file(notes.join("tokenizer.json.metadata")).unwrap();
    let mut weights = File::options()
        .append(true)
        .open(folder.join("model.safetensors"))
        .unwrap();
    std::io::Write::write_all(&mut weights, b"more").unwrap();
    drop(weights);
    machine.note(
        &folder,
        "model.safetensors",
        &machine.files["model.safetensors"].1,
    );
    let seen = machine.survey().await;
    let said: Vec<(Rule, Option<&str>)> = seen
        .above_note()
        .into_iter()
        .map(|finding| (finding.rule, finding.file.as_deref()))
        .collect();
    assert_eq!(
        said,
        [
            (Rule::WrongSize, Some("model.safetensors")),
            (Rule::MissingMetadata, Some("config.json")),
            (Rule::MissingFiles, Some("tokenizer.json")),
        ]
    );
    let missing = seen.of(Rule::MissingFiles)[0];
    let length = machine.files["tokenizer.json"].0.len() as u64;
    assert_eq!(missing.evidence[0].expected_bytes, Some(length));
    assert_eq!(seen.model("here").state, ModelState::Broken);
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_files_of_both_programs_are_live_or_abandoned() {
    let mut machine = Machine::new().await;
    let swift = machine.hub_api("Library/Caches/models", "org/swift");
    let python = machine.home().join("python");
    machine.local_dir(&python);
    machine.set("LARDER_FOLDERS", python.to_str().unwrap());
    let etag = machine.files["tokenizer.json"].1.clone();
    let notes = |folder: &Path| folder.join(".cache/huggingface/download");
    // The seed's error: the file is gone, and a start of it is there.
    let gone = swift.join("tokenizer.json");
    fs::remove_file(&gone).unwrap();
    let raced = notes(&swift).join(format!("tokenizer.json.{etag}.incomplete"));
    let newest = notes(&python).join(format!("{PYTHONS_TOKENIZER}.{etag}.0a1b2c3d.incomplete"));
    let older = notes(&python).join(format!("{PYTHONS_TOKENIZER}.{etag}.incomplete"));
    for (path, bytes) in [(&raced, 5), (&newest, 6), (&older, 7)] {
        fs::write(path, vec![0; bytes]).unwrap();
        make_old(path);
    }
    let seen = machine.survey().await;
    // What is gone is not to be removed: its note is.
    let missing = seen.of(Rule::MissingFiles);
    let missing = missing
        .iter()
        .find(|finding| finding.evidence[0].path == gone.to_string_lossy())
        .unwrap();
    let advice = format!("{:?}", missing.plan.steps);
    let note = notes(&swift).join("tokenizer.json.metadata");
    assert!(advice.contains(&*note.to_string_lossy()), "{advice}");
    assert!(
        !advice.contains(&format!("{}`", gone.display())),
        "{advice}"
    );
    let told: BTreeMap<u64, &PartialRow> =
        seen.partials.iter().map(|row| (row.bytes, row)).collect();
    assert_eq!(told.len(), 3, "{:?}", seen.partials);
    for (bytes, path) in [(5, &raced), (6, &newest), (7, &older)] {
        let row = told[&bytes];
        assert_eq!(row.path, path.to_str().unwrap());
        assert_eq!(row.file.as_deref(), Some("tokenizer.json"), "{row:?}");
        assert_eq!(
            (row.etag.as_str(), &row.state),
            (&*etag, &PartialState::Abandoned)
        );
    }
    let length = machine.files["tokenizer.json"].0.len() as u64;
    assert_eq!(told[&6].expected_bytes, Some(length), "by the listing");
    let abandoned = seen.of(Rule::AbandonedPartial);
    assert_eq!(abandoned.len(), 3);
    for finding in &abandoned {
        let is_raced = finding.evidence[0].path == raced.to_str().unwrap();
        assert_eq!(finding.cause.contains("two loads raced"), is_raced);
        // `purge` and repairs take away what lies in the main cache, and nothing else.
        assert_eq!(finding.plan.removals().count(), 0);
        assert_eq!(finding.reclaimable_bytes(), 0);
    }

    // This process holds Python's lock of that file; and swift-transformers writes just now.
    let lock = File::open(notes(&python).join("tokenizer.json.lock")).unwrap();
    lock.lock().unwrap();
    fs::write(&raced, vec![0; 9]).unwrap();
    let seen = machine.survey().await;
    let live = |row: &PartialRow| {
        let is_locked = row.path.starts_with(python.to_str().unwrap());
        matches!(row.state, PartialState::Live { is_ours, .. } if is_ours == is_locked)
    };
    assert!(seen.partials.iter().all(live), "{:?}", seen.partials);
    assert!(seen.of(Rule::AbandonedPartial).is_empty());
}

/// Names, kinds, sizes and times of everything below a folder.
fn trace(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(path) = open.pop() {
        let seen = fs::symlink_metadata(&path).unwrap();
        let is_file = seen.is_file() && cfg!(target_os = "linux");
        let accessed = is_file.then(|| (seen.atime(), seen.atime_nsec()));
        let content = is_file.then(|| Sha256::digest(fs::read(&path).unwrap()));
        found.push(format!(
            "{} {:?} {} {}.{} {accessed:?} {content:?}",
            path.display(),
            seen.file_type(),
            seen.len(),
            seen.mtime(),
            seen.mtime_nsec()
        ));
        if seen.is_dir() {
            let below = fs::read_dir(path).unwrap();
            open.extend(below.map(|entry| entry.unwrap().path()));
        }
    }
    found.sort();
    found
}

/// With an old time of access, one that is kept up by the system's rules would show.
fn age(root: &Path) {
    for file in files_below(root) {
        if let Ok(file) = File::options().write(true).open(file) {
            let old = UNIX_EPOCH + Duration::from_secs(1_000_000);
            let times = FileTimes::new().set_accessed(old);
            file.set_times(times).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_elsewhere_leaves_no_trace() {
    let mut machine = Machine::new().await;
    machine.everything();
    let state = Scratch::new();
    machine.set("XDG_STATE_HOME", state.path().to_str().unwrap());
    age(machine.home());
    let before = trace(machine.home());
    // Reading them for the trace was a use.
    age(machine.home());
    machine.survey().await;
    machine.ask(Command::List(None)).await;
    let all = Command::Verify {
        targets: Vec::new(),
        is_deep: true,
    };
    assert_eq!(machine.ask(all).await.verified.len(), 14);
    assert_eq!(trace(machine.home()), before);
}

/// What changed in this tick of the clock might change again unseen, and is not remembered.
pub(crate) async fn a_tick_later() {
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn verifying_compares_files_with_their_notes() {
    let mut machine = Machine::new().await;
    let swift = machine.hub_api("Documents/huggingface/models", "org/swift");
    let python = machine.home().join("python");
    machine.local_dir(&python);
    let plain = machine.home().join("plain");
    machine.write(&plain.join("org/m"));
    machine.set(
        "LARDER_FOLDERS",
        &format!("{}:{}", python.display(), plain.display()),
    );
    let state = Scratch::new();
    machine.set("XDG_STATE_HOME", state.path().to_str().unwrap());
    let all = |is_deep| Command::Verify {
        targets: Vec::new(),
        is_deep,
    };
    let count = machine.files.len();
    let numbers = |seen: &Verification| {
        (
            seen.files_good,
            seen.files_unread,
            seen.files_unknown,
            seen.files_total,
        )
    };
    a_tick_later().await;
    let first = machine.ask(all(false)).await;
    assert_eq!(
        first.outcome,
        Some(Outcome::Verified { good: 3, broken: 0 })
    );
    let said: Vec<_> = first.verified.iter().map(numbers).collect();
    assert_eq!(
        said,
        [
            (count, 0, 0, count),
            (count, 0, 0, count),
            (0, 0, count, count)
        ]
    );
    // What has not changed since is not read again.
    let again = machine.ask(all(false)).await;
    assert_eq!(numbers(&again.verified[0]), (count, count, 0, count));

    // And a look says so.
    let looked = machine.survey().await;
    assert!(looked.model("org/swift").verified_ms.is_some());
    assert!(looked.model("org/m").verified_ms.is_none());

    // The same length and another content: in a small file, and in a large one.
    let mut config = machine.files["config.json"].0.clone();
    let at = config.iter().position(|byte| *byte == b'6').unwrap();
    config[at] = b'7';
    fs::write(swift.join("config.json"), config).unwrap();
    let mut weights = machine.files["model.safetensors"].0.clone();
    *weights.last_mut().unwrap() ^= 1;
    fs::write(python.join("model.safetensors"), weights).unwrap();
    let etag = machine.files["model.safetensors"].1.clone();
    machine.note(&python, "model.safetensors", &etag);
    a_tick_later().await;
    let wrong = machine.ask(all(false)).await;
    assert_eq!(
        wrong.outcome,
        Some(Outcome::Verified { good: 1, broken: 2 })
    );
    for (at, file) in [(0, "config.json"), (1, "model.safetensors")] {
        let found = &wrong.verified[at].findings;
        let found: Vec<_> = found
            .iter()
            .filter(|finding| finding.rule == Rule::WrongHash)
            .collect();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].file.as_deref(), Some(file));
        assert!(found[0].summary.contains("what its note says"));
        assert!(matches!(found[0].plan.steps[0], PlanStep::ByHand { .. }));
        assert_eq!(wrong.verified[at].files_good, count - 1);
    }
    let looked = machine.survey().await;
    assert_eq!(looked.of(Rule::WrongHash).len(), 2, "it is remembered");
    assert_eq!(looked.model("org/swift").state, ModelState::Broken);
    let one = Command::Verify {
        targets: vec![VerifyTarget {
            repo: RepoId::new(RepoKind::Model, "org/swift").unwrap(),
            revision: Some(machine.commit[..8].to_owned()),
        }],
        is_deep: true,
    };
    let one = machine.ask(one).await;
    assert_eq!(one.verified.len(), 1);
    assert_eq!(one.verified[0].snapshot, swift.to_str().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flag_that_names_the_cache_means_that_one_alone() {
    let mut machine = Machine::new().await;
    machine.everything();
    let flags = Flags {
        cache_dir: Some(machine.home().join(".cache/huggingface/hub")),
        ..Flags::default()
    };
    let config = machine.config(&flags);
    let seen = ask(config.clone(), Command::Survey(None)).await;
    assert_eq!((seen.caches.len(), seen.models.len()), (1, 1));
    assert!(seen.findings.is_empty(), "{:?}", seen.findings);
    let listed = ask(config, Command::List(None)).await;
    assert_eq!(listed.models.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_that_split_shell_and_apps_are_told() {
    let mut machine = Machine::new().await;
    let home = machine.home().to_owned();
    let moved = home.join("disk/hf");
    machine.set("HF_HOME", moved.to_str().unwrap());
    let none = machine.survey().await;
    assert!(none.findings.is_empty(), "nothing is anywhere");

    machine.hub(&moved.join("hub"), "org/shell");
    let shell = machine.survey().await;
    let split = shell.of(Rule::SplitCaches);
    assert_eq!(split[0].severity, Severity::Note, "no app has used its own");

    machine.hub(&home.join(".cache/huggingface/hub"), "org/app");
    let both = machine.survey().await;
    let split = both.of(Rule::SplitCaches);
    assert_eq!(split[0].severity, Severity::Warning);
    assert_eq!(split[0].evidence.len(), 2);
    assert!(split[0].evidence[0].seen.contains("HF_HOME"));
    let repos: Vec<&str> = both.models.iter().map(|m| m.repo.name()).collect();
    assert_eq!(repos, ["org/shell", "org/app"]);

    // One that is a link to the other is the same.
    fs::remove_dir_all(home.join(".cache/huggingface")).unwrap();
    symlink(&moved, home.join(".cache/huggingface")).unwrap();
    let same = machine.survey().await;
    assert!(same.findings.is_empty(), "{:?}", same.findings);
    assert_eq!((same.caches.len(), same.models.len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_looked_at_does_not_end_the_look() {
    let mut machine = Machine::new().await;
    let home = machine.home().to_owned();
    machine.hub_api("Documents/huggingface/models", GEMMA);
    // A loop of links cannot be resolved, whoever asks.
    fs::create_dir_all(home.join("Library/Caches")).unwrap();
    symlink("models", home.join("Library/Caches/models")).unwrap();
    let absent = "/Volumes/larder-no-such-volume/models";
    let nothing = home.join("nothing");
    let file = home.join("file");
    fs::write(&file, "x").unwrap();
    machine.set(
        "LARDER_FOLDERS",
        &format!("{absent}:{}:{}", nothing.display(), file.display()),
    );
    let seen = machine.survey().await;
    assert_eq!(seen.models.len(), 1);
    let row = |path: &str| {
        let mut rows = seen.caches.iter();
        rows.find(|row| row.path == path)
            .unwrap_or_else(|| panic!("no {path} in {:?}", seen.caches))
    };
    let looped = row(home.join("Library/Caches/models").to_str().unwrap());
    assert!(looped.trouble.is_some() && looped.models == 0);
    assert!(row(absent).trouble.is_some() && !row(absent).is_present);
    let gone = row(nothing.to_str().unwrap());
    assert!(!gone.is_present && gone.trouble.is_none(), "{gone:?}");
    assert!(row(file.to_str().unwrap()).trouble.is_some());
    let volumes = seen.of(Rule::AbsentVolume);
    assert_eq!(volumes.len(), 1);
    assert_eq!(volumes[0].severity, Severity::Error);
    assert!(volumes[0].evidence[0].seen.contains("LARDER_FOLDERS"));
    assert_eq!(seen.of(Rule::Unreadable).len(), 2);
    assert!(!Path::new(absent).exists());

    // The main cache's own volume is told as before, and the rest is looked at all the same.
    machine.set("HF_HUB_CACHE", "/Volumes/larder-no-such-volume/hub");
    let seen = machine.ask(Command::Survey(None)).await;
    assert!(matches!(seen.outcome, Some(Outcome::Failed { .. })));
    assert_eq!(seen.of(Rule::AbsentVolume).len(), 2);
    assert_eq!(seen.models.len(), 1);
    assert!(seen.caches[0].trouble.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_link_leads_out_of_a_place() {
    let mut machine = Machine::new().await;
    let home = machine.home().to_owned();
    let away = home.join("away");
    machine.write(&away.join("org/m"));
    for models in [
        "Documents/huggingface/models",
        "Library/Caches/MLXCache",
        ".swama/models",
    ] {
        let models = home.join(models);
        fs::create_dir_all(&models).unwrap();
        symlink(away.join("org"), models.join("org")).unwrap();
    }
    let folder = machine.hub_api("Downloads/huggingface/models", GEMMA);
    symlink(&away, folder.join("sub")).unwrap();
    fs::remove_dir_all(folder.join(".cache")).unwrap();
    symlink(&away, folder.join(".cache")).unwrap();
    let container = home.join("Library/Containers/com.x/Data/Documents");
    fs::create_dir_all(&container).unwrap();
    symlink(home.join("away"), container.join("huggingface")).unwrap();
    fs::create_dir_all(away.join("models/org/secret")).unwrap();
    let seen = machine.survey().await;
    let repos: Vec<&str> = seen.models.iter().map(|m| m.repo.name()).collect();
    assert_eq!(repos, [GEMMA]);
    assert_eq!(seen.model(GEMMA).files_present, machine.files.len());

    // The place itself may be a link: users move big folders to other disks so.
    let moved = home.join("moved");
    fs::rename(home.join("Downloads/huggingface/models"), &moved).unwrap();
    symlink(&moved, home.join("Downloads/huggingface/models")).unwrap();
    let seen = machine.survey().await;
    assert_eq!(seen.models.len(), 1);
    machine.set("LARDER_FOLDERS", moved.to_str().unwrap());
    assert_eq!(machine.survey().await.models.len(), 1, "once only");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_tell_places_apart_where_there_are_more_than_one() {
    let mut machine = Machine::new().await;
    machine.everything();
    let home = Home::new(catalogue::gemma(), Vec::new()).await;
    let home = home
        .with("HOME", machine.home().to_str().unwrap())
        .with("HF_HUB_OFFLINE", "1")
        .with("LARDER_FOLDERS", &machine.environment[0].1);
    let listed = home.run(&["ls"]);
    assert_eq!(listed.code, Some(0), "{}", listed.stderr);
    assert!(listed.stdout.lines().next().unwrap().contains("CACHE"));
    assert!(
        listed.stdout.contains("hub of com.example.chat"),
        "{}",
        listed.stdout
    );
    let cache = machine.home().join(".cache/huggingface/hub");
    let one = home.run(&["ls", "--cache-dir", cache.to_str().unwrap()]);
    assert!(!one.stdout.contains("CACHE"), "{}", one.stdout);
    let status = home.run(&["status"]);
    assert!(status.stdout.contains("hub-api"), "{}", status.stdout);
    assert!(status.stdout.contains("elsewhere"), "{}", status.stdout);
    let json = home.run(&["status", "--json"]);
    let document: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    let kinds: Vec<&str> = document["caches"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cache| cache["kind"].as_str().unwrap())
        .collect();
    assert_eq!((kinds[0], kinds.len()), ("hub", 14));
    let ready = home.run(&["ready", "org/documents"]);
    assert_eq!(ready.code, Some(3), "it is not in the Hub cache");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_models_elsewhere_are_seen_soon() {
    let machine = Machine::new().await;
    let notes = ".cache/huggingface/download";
    let first = machine.hub_api("Documents/huggingface/models", "org0/m0");
    for at in 1..1_000 {
        let folder = machine
            .home()
            .join(format!("Documents/huggingface/models/org{}/m{at}", at % 10));
        fs::create_dir_all(folder.join(notes)).unwrap();
        for name in machine.files.keys() {
            // Names of one file: it is the looking that is measured, not the disk's room.
            let note = format!("{notes}/{name}.metadata");
            for path in [name, &note] {
                fs::create_dir_all(folder.join(path).parent().unwrap()).unwrap();
            }
            fs::hard_link(first.join(name), folder.join(name)).unwrap();
            fs::hard_link(first.join(&note), folder.join(&note)).unwrap();
        }
    }
    machine.survey().await;
    let began = std::time::Instant::now();
    let seen = machine.survey().await;
    let took = began.elapsed();
    report(&format!("1000 models elsewhere: {} ms", took.as_millis()));
    assert_eq!(seen.models.len(), 1_000);
    assert!(seen.findings.is_empty(), "hard links waste nothing");
    assert!(took < Duration::from_secs(20), "{took:?}");
}
