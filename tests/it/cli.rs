//! The real binary without a terminal: streams, documents, exit codes, and what it never shows.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::LazyLock;

use jsonschema::Validator;
use larder::cli::{CONFIG_SCHEMA, EVENT_SCHEMA, HISTORY_SCHEMA, LS_SCHEMA, PULL_SCHEMA};
use larder::domain::{FailureCode, RepoId, RepoKind};
use larder::serve::{Catalogue, Effect, Fault, Matcher, Origin, SourceFile};
use serde_json::Value;

use crate::support::catalogue::GEMMA;
use crate::support::program::{Home, Ran, Running, finish};
use crate::support::{assert_all_visible_bytes_proven, catalogue};

/// In the environment of many runs, and in nothing that they leave.
const TOKEN: &str = "hf_token_never_shown_0123456789";

static PULL: LazyLock<Validator> = LazyLock::new(|| validator(PULL_SCHEMA));
static LS: LazyLock<Validator> = LazyLock::new(|| validator(LS_SCHEMA));
static CONFIG: LazyLock<Validator> = LazyLock::new(|| validator(CONFIG_SCHEMA));
pub(crate) static HISTORY: LazyLock<Validator> = LazyLock::new(|| validator(HISTORY_SCHEMA));
static EVENT: LazyLock<Validator> = LazyLock::new(|| validator(EVENT_SCHEMA));

pub(crate) fn validator(schema: &str) -> Validator {
    jsonschema::validator_for(&serde_json::from_str(schema).unwrap()).unwrap()
}

#[track_caller]
fn assert_valid(schema: &Validator, document: &Value) {
    let errors: Vec<String> = schema
        .iter_errors(document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}\n{document:#}");
}

impl Ran {
    #[track_caller]
    pub(crate) fn assert_code(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// All of stdout as one document of that schema, which repeats the exit code.
    #[track_caller]
    pub(crate) fn document(&self, schema: &Validator) -> Value {
        let document: Value = serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("stdout is not one document: {error}\n{self:#?}"));
        self.assert_document(schema, &document);
        document
    }

    /// Stdout line by line: events, and the document last.
    #[track_caller]
    pub(crate) fn lines(&self, schema: &Validator) -> (Vec<Value>, Value) {
        assert!(self.stdout.ends_with('\n'), "{self:#?}");
        let mut events: Vec<Value> = self
            .stdout
            .lines()
            .map(|line| serde_json::from_str(line).expect("each line is one object"))
            .collect();
        let document = events.pop().expect("a document at the end");
        for event in &events {
            assert_valid(&EVENT, event);
        }
        self.assert_document(schema, &document);
        (events, document)
    }

    #[track_caller]
    fn assert_document(&self, schema: &Validator, document: &Value) {
        assert_valid(schema, document);
        assert_eq!(document["schema"], 1);
        assert_eq!(
            document["exit_code"].as_i64(),
            self.code.map(i64::from),
            "{self:#?}"
        );
        assert_eq!(document["failure_code"].is_null(), self.code == Some(0));
    }

    /// Each failure on stderr is what, why and what to do; the log's path comes last.
    #[track_caller]
    fn assert_told(&self, code: &str) {
        let mut lines = self
            .stderr
            .lines()
            .skip_while(|line| !line.starts_with("error: "))
            .peekable();
        let mut told = Vec::new();
        while let Some(what) = lines.next_if(|line| line.starts_with("error: ")) {
            let (named, words) = what["error: ".len()..].split_once(": ").expect("a code");
            assert!(!words.is_empty(), "{what}");
            told.push(named.to_owned());
            for label in ["  why:  ", "  next: "] {
                let line = lines.next().unwrap_or_default();
                let words = line.strip_prefix(label);
                assert!(
                    words.is_some_and(|words| !words.trim().is_empty()),
                    "{label:?} is missing below {what:?}: {self:#?}"
                );
            }
        }
        let is_told = if code == "mixed" {
            told.iter().collect::<BTreeSet<_>>().len() > 1
        } else {
            !told.is_empty() && told.iter().all(|named| named == code)
        };
        assert!(is_told, "`{code}` is not told: {self:#?}");
        // How many files fail before the job ends is a race; five of them are told.
        if told.len() == 5 {
            lines.next_if(|line| line.starts_with("and ") && line.contains(" more; "));
        }
        let log = lines.next().and_then(|line| line.strip_prefix("  log:  "));
        assert!(
            log.is_some_and(|path| Path::new(path).is_file()),
            "{self:#?}"
        );
        assert_eq!(lines.next(), None, "the log's path is the last line");
    }

    /// No byte that a terminal would obey is on either stream.
    #[track_caller]
    pub(crate) fn assert_harmless(&self) {
        for c in ['\u{1b}', '\u{7}', '\u{9b}', '\u{9d}', '\u{202e}'] {
            assert!(!self.stderr.contains(c), "{c:?} on stderr: {self:#?}");
            assert!(!self.stdout.contains(c), "{c:?} on stdout: {self:#?}");
        }
    }

    #[track_caller]
    fn assert_silent_about(&self, secret: &str) {
        assert!(!self.stdout.contains(secret), "on stdout: {self:#?}");
        assert!(!self.stderr.contains(secret), "on stderr: {self:#?}");
    }
}

impl Home {
    /// Nothing below the home holds `secret`, neither in a file nor in a name.
    #[track_caller]
    fn assert_silent_about(&self, secret: &str) {
        for (path, bytes) in self.every_file() {
            let is_told = bytes
                .windows(secret.len())
                .any(|window| window == secret.as_bytes());
            assert!(!is_told, "`{secret}` is in {}", path.display());
            assert!(!path.to_string_lossy().contains(secret));
        }
    }

    fn log(&self) -> String {
        self.every_file()
            .into_iter()
            .filter(|(path, _)| path.extension().is_some_and(|end| end == "log"))
            .map(|(_, bytes)| String::from_utf8(bytes).unwrap())
            .collect()
    }

    /// The one snapshot of the main model.
    fn snapshot(&self) -> PathBuf {
        let repo = self.blobs().parent().unwrap().to_owned();
        let commit = fs::read_to_string(repo.join("refs/main")).unwrap();
        repo.join("snapshots").join(commit)
    }
}

async fn home() -> Home {
    Home::new(catalogue::gemma(), Vec::new()).await
}

/// A home that holds the main model.
async fn stocked_home() -> Home {
    let home = home().await;
    home.run(&["pull", GEMMA]).assert_code(0);
    home.hub.clear_requests();
    home
}

#[tokio::test(flavor = "multi_thread")]
async fn stdout_is_the_snapshot_and_everything_else_is_talk() {
    let home = home().await;
    let ran = home.run(&["pull", GEMMA]);
    ran.assert_code(0);
    assert_eq!(ran.stdout, format!("{}\n", home.snapshot().display()));
    assert!(home.snapshot().join("model.safetensors").is_file());
    assert!(ran.stderr.contains("complete"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("error:"), "{}", ran.stderr);
    ran.assert_harmless();
    assert_all_visible_bytes_proven(&home.cache());

    let again = home.run(&["pull", GEMMA, "--quiet"]);
    again.assert_code(0);
    assert_eq!((again.stdout, again.stderr.as_str()), (ran.stdout, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn json_is_one_document_and_events_are_lines_before_it() {
    let home = home().await;
    let ran = home.run(&["--json", "pull", GEMMA]);
    ran.assert_code(0);
    let document = ran.document(&PULL);
    assert_eq!(document["outcome"], "complete");
    assert_eq!(document["snapshot"], home.snapshot().to_str().unwrap());
    assert_eq!(document["is_verified"], true);
    let log = document["log_file"].as_str().unwrap();
    assert!(Path::new(log).is_file());

    let ran = home.run(&["pull", GEMMA, "--events", "--force", "--json"]);
    ran.assert_code(0);
    let (events, document) = ran.lines(&PULL);
    let named = |name: &str| events.iter().filter(|event| event["event"] == name).count();
    assert_eq!(named("ended"), 1);
    assert_eq!(
        named("finished"),
        document["files"].as_array().unwrap().len(),
        "{}",
        ran.stdout
    );
    assert_eq!(events.last().unwrap()["event"], "ended");

    let ran = home.run(&["--events", "ls"]);
    ran.assert_code(0);
    ran.lines(&LS);
}

#[tokio::test(flavor = "multi_thread")]
async fn ls_lists_models_and_files_and_filters_them() {
    let home = home().await;
    let empty = home.run(&["ls"]);
    empty.assert_code(0);
    assert_eq!(empty.stdout, "", "an empty cache is nothing to list");
    assert!(empty.stderr.contains("no models"), "{}", empty.stderr);

    for repo in [
        &["pull", GEMMA][..],
        &["pull", "someone/gguf-only", "--all"],
        &["pull", "datasets/someone/data"],
    ] {
        home.run(repo).assert_code(0);
    }
    let all = home.run(&["ls"]);
    all.assert_code(0).assert_harmless();
    let mut lines = all.stdout.lines();
    assert!(lines.next().unwrap().starts_with("REPO"));
    let repos: Vec<&str> = lines.map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(repos.len(), 3, "{}", all.stdout);
    for repo in [GEMMA, "someone/gguf-only"] {
        assert!(repos.contains(&repo), "{}", all.stdout);
    }

    let one = home.run(&["ls", GEMMA]);
    one.assert_code(0).assert_harmless();
    assert!(one.stdout.contains("complete"), "{}", one.stdout);
    assert!(one.stdout.contains("model.safetensors"), "{}", one.stdout);
    assert!(one.stdout.contains(home.snapshot().to_str().unwrap()));

    let document = home.run(&["ls", "--json"]).document(&LS);
    assert_eq!(document["models"].as_array().unwrap().len(), 3);
    let document = home.run(&["ls", GEMMA, "--json"]).document(&LS);
    let files = document["models"][0]["files"].as_array().unwrap();
    assert!(files.iter().any(|file| file["path"] == "config.json"));

    let listed = |filters: &[&str]| {
        let mut words = vec!["ls", "--json"];
        words.extend(filters.iter().flat_map(|filter| ["--filter", filter]));
        let document = home.run(&words).document(&LS);
        document["models"].as_array().unwrap().len()
    };
    assert_eq!(listed(&["size>1MB"]), 1);
    assert_eq!(listed(&["size<1MB"]), 2);
    assert_eq!(listed(&["type=dataset"]), 1);
    assert_eq!(listed(&["refs=main"]), 3);
    assert_eq!(listed(&["refs=main", "size>1MB", "type=model"]), 1);
    assert_eq!(listed(&["refs=nowhere"]), 0);
    assert_eq!(listed(&["modified>30d"]), 0);
    assert_eq!(listed(&["accessed<30d"]), 3);
    let none = home.run(&["ls", "--filter", "refs=nowhere"]);
    none.assert_code(0);
    assert_eq!(none.stdout, "");

    let wrong = home.run(&["ls", "--filter", "colour=red"]);
    wrong.assert_code(2);
    assert_eq!(wrong.stdout, "");
    assert!(wrong.stderr.contains("colour"), "{}", wrong.stderr);
    let missing = home.run(&["ls", "nobody/nothing", "--json"]);
    assert_ne!(missing.code, Some(0), "{missing:#?}");
    let document = missing.document(&LS);
    missing.assert_told(document["failure_code"].as_str().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn config_says_what_holds_and_why() {
    let home = home().await.with("HF_TOKEN", TOKEN);
    let path = home.run(&["config", "path"]);
    path.assert_code(0);
    let file = home.path().join(".config/larder/config.toml");
    assert_eq!(path.stdout, format!("{}\n", file.display()));
    assert_eq!(path.stderr, "");

    let show = home.run(&["config", "show", "--connections-is-no-flag"]);
    show.assert_code(2);
    let show = home.run(&["config", "show"]);
    show.assert_code(0).assert_silent_about(TOKEN);
    for (setting, value, from) in [
        ("endpoint", home.hub.endpoint().as_str(), "HF_ENDPOINT"),
        ("token", "***", "HF_TOKEN"),
        ("retry_base_ms", "10", "config.toml:1"),
        ("connections", "16", "default"),
    ] {
        let line = show
            .stdout
            .lines()
            .find(|line| line.split_whitespace().next() == Some(setting))
            .unwrap_or_else(|| panic!("no `{setting}` in\n{}", show.stdout));
        assert!(line.contains(value) && line.contains(from), "{line}");
    }
    for words in [["config", "show"], ["config", "path"]] {
        let ran = home.run(&[words[0], words[1], "--json"]);
        ran.assert_silent_about(TOKEN);
        assert_eq!(ran.document(&CONFIG)["config_file"], file.to_str().unwrap());
    }

    fs::write(&file, "conections = 3\n").unwrap();
    let wrong = home.run(&["pull", GEMMA, "--json"]);
    wrong.assert_code(2);
    assert_eq!(wrong.document(&PULL)["failure_code"], "usage");
    assert!(wrong.stderr.contains("`connections`"), "{}", wrong.stderr);
    let path = home.run(&["config", "path"]);
    path.assert_code(0);
    assert_eq!(path.stdout, format!("{}\n", file.display()));
    assert!(home.hub.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn completions_man_and_help_are_data() {
    let home = home().await;
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = home.run(&["completions", shell]);
        ran.assert_code(0);
        assert!(ran.stdout.contains("trust-size"), "{shell}");
        assert_eq!(ran.stderr, "");
    }
    for words in [&["man"][..], &["man", "pull"]] {
        let ran = home.run(words);
        ran.assert_code(0);
        assert!(ran.stdout.contains(".TH larder"), "{}", ran.stdout);
    }
    for words in [&["--help"][..], &["pull", "--help"], &["--version"]] {
        let ran = home.run(words);
        ran.assert_code(0).assert_harmless();
        assert!(ran.stdout.contains("larder"), "{ran:#?}");
        assert_eq!(ran.stderr, "");
    }
    assert!(!home.cache().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_call_is_2_and_says_what_would_be_right() {
    let home = home().await;
    for (words, hint) in [
        (&[][..], "`larder status`"),
        (&["--json"], "`larder pull ORG/NAME`"),
        (&["pull"], "<REPO>"),
        (&["pull", GEMMA, "--nope"], "--nope"),
        (&["pull", GEMMA, "--connections", "0"], "1..=64"),
        (&["pul", GEMMA], "`larder pull`"),
        (&["gemma"], "not a command"),
        (&["org/name"], "`larder pull org/name`"),
        (&["org/name", "pull"], "`larder pull org/name`"),
        (&["purge"], "--incomplete"),
        (&["purge", "--incomplete", "a b"], "a b"),
        (&["status", "--strict"], "--check"),
        (&["completions", "cmd"], "cmd"),
        (&["man", "bake"], "bake"),
        (&["pull", "no spaces/in names"], "no spaces"),
        (&["pull", "org/name@v1", "--revision", "v2"], "v1"),
        (&["pull", GEMMA, "--endpoint", "ftp://x"], "--endpoint"),
    ] {
        let ran = home.run(words);
        ran.assert_code(2).assert_harmless();
        assert_eq!(ran.stdout, "", "{words:?}");
        assert!(ran.stderr.contains(hint), "{words:?}: {}", ran.stderr);
    }
    assert!(home.hub.requests().is_empty());
    assert!(!home.cache().exists());
}

/// A way to fail: the Hub, the words, the exit code, the failure code.
struct Case {
    catalogue: Catalogue,
    faults: Vec<Fault>,
    words: Vec<String>,
    exit: i32,
    code: &'static str,
    /// Whether the Hub is asked, and so shown the token.
    asks: bool,
}

impl Case {
    fn new(words: &[&str], exit: i32, code: &'static str) -> Self {
        Self {
            catalogue: catalogue::gemma(),
            faults: Vec::new(),
            words: words.iter().map(|&word| word.to_owned()).collect(),
            exit,
            code,
            asks: true,
        }
    }

    fn fault(mut self, when: Matcher, what: Effect) -> Self {
        self.faults.push(Fault::new(when, what));
        self
    }

    const fn unasked(mut self) -> Self {
        self.asks = false;
        self
    }
}

/// An address where nobody listens.
fn closed_port() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// In every format: the exit code, the words, the document; and the token nowhere.
async fn assert_fails(case: Case) {
    let home = Home::new(case.catalogue, case.faults)
        .await
        .with("HF_TOKEN", TOKEN);
    for format in ["", "--json", "--events", "--quiet"] {
        let mut words = case.words.clone();
        words.push(if format.is_empty() { "-vv" } else { format }.to_owned());
        let ran = home.run(&words);
        ran.assert_code(case.exit).assert_harmless();
        ran.assert_told(case.code);
        ran.assert_silent_about(TOKEN);
        match format {
            "--json" => assert_eq!(ran.document(&PULL)["failure_code"], case.code),
            "--events" => assert_eq!(ran.lines(&PULL).1["failure_code"], case.code),
            "--quiet" => {
                assert!(ran.stderr.starts_with("error: "), "{ran:#?}");
                assert_eq!(ran.stdout, "");
            }
            _ => assert_eq!(ran.stdout, ""),
        }
    }
    assert!(!home.blobs().parent().unwrap().join("refs/main").exists());
    home.assert_silent_about(TOKEN);
    home.assert_silent_about("demo-signature");
    let bearer = format!("Bearer {TOKEN}");
    let seen = home
        .hub
        .requests()
        .iter()
        .any(|request| request.authorization.as_ref() == Some(&bearer));
    assert_eq!(seen, case.asks, "{}", case.code);
    for request in home.hub.requests() {
        assert!(request.origin == Origin::Hub || request.authorization.is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_calls_and_refusals_are_told_without_the_token() {
    let endpoint = closed_port();
    for case in [
        Case::new(&["pull", "org/name@v1", "--revision", "v2"], 2, "usage").unasked(),
        Case::new(&["pull", "someone/gguf-only"], 2, "no-weights"),
        Case::new(&["pull", "nobody/nothing"], 6, "repo-not-found"),
        Case::new(&["pull", "someone/private"], 6, "repo-not-found"),
        Case::new(&["pull", "someone/disabled"], 6, "repo-disabled"),
        Case::new(&["pull", "someone/gated"], 6, "gated"),
        Case::new(
            &["pull", GEMMA, "--revision", "nowhere"],
            6,
            "revision-not-found",
        ),
        Case::new(&["pull", GEMMA, "nope.json"], 6, "file-not-found"),
        Case::new(&["pull", GEMMA], 6, "token-invalid")
            .fault(Matcher::api(), Effect::InvalidCredentials401),
        Case::new(&["pull", GEMMA, "--offline"], 5, "offline").unasked(),
        Case::new(&["pull", GEMMA, "--endpoint", &endpoint], 5, "connect").unasked(),
    ] {
        assert_fails(case).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn networks_disks_and_wrong_bytes_are_told_without_the_token() {
    let weights = || Matcher::path("model.safetensors").origin(Origin::Cdn);
    let mut huge = Case::new(&["pull", "someone/huge"], 7, "disk-full");
    huge.catalogue = catalogue::huge();
    for case in [
        Case::new(&["pull", GEMMA], 5, "server")
            .fault(Matcher::path("config.json"), Effect::Status { code: 502 }),
        Case::new(&["pull", GEMMA], 5, "captive-portal").fault(Matcher::api(), Effect::Html200),
        Case::new(&["pull", GEMMA], 5, "reset").fault(weights(), Effect::ResetAfter { bytes: 0 }),
        huge,
        // Below a file there is no folder; `.config` is where every home has one.
        Case::new(
            &[
                "pull",
                GEMMA,
                "--cache-dir",
                ".config/larder/config.toml/hub",
            ],
            7,
            "not-writable",
        )
        .unasked(),
        Case::new(&["pull", "someone/unsafe"], 7, "unsafe-path"),
        Case::new(&["pull", GEMMA], 8, "checksum-mismatch")
            .fault(weights(), Effect::FlipByte { at: 7 }),
        Case::new(&["pull", GEMMA], 8, "size-mismatch")
            .fault(weights(), Effect::LongerBody { extra: 1 }),
        Case::new(&["pull", GEMMA], 1, "mixed")
            .fault(weights(), Effect::FlipByte { at: 7 })
            .fault(Matcher::path("config.json"), Effect::Status { code: 502 }),
    ] {
        assert_fails(case).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_success_shows_the_token_to_the_hub_alone() {
    for log in ["larder=trace", "trace"] {
        let home = home().await.with("HF_TOKEN", TOKEN).with("LARDER_LOG", log);
        for words in [
            &["pull", GEMMA, "-vv"][..],
            &["pull", GEMMA, "-vv", "--events", "--force"],
            &["pull", GEMMA, "-vv", "--json"],
            &["pull", GEMMA, "--dry-run", "-vv"],
            &["ls", "-vv"],
        ] {
            let ran = home.run(words);
            ran.assert_code(0).assert_silent_about(TOKEN);
        }
        home.assert_silent_about(TOKEN);
        assert!(!home.log().is_empty(), "there is a log to look at");
        assert!(!home.log().contains('\u{1b}'));
        let mut origins = [0, 0];
        for request in home.hub.requests() {
            let is_hub = request.origin == Origin::Hub;
            origins[usize::from(is_hub)] += 1;
            let expected = is_hub.then(|| format!("Bearer {TOKEN}"));
            assert_eq!(request.authorization, expected, "{}", request.path);
        }
        assert!(origins[0] > 0 && origins[1] > 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_link_and_a_password_are_secrets_too() {
    let home = home().await;
    home.run(&["pull", GEMMA, "-vv"]).assert_code(0);
    home.assert_silent_about("demo-signature");
    let ran = home.run(&[
        "pull",
        GEMMA,
        "--endpoint",
        "http://me:pass-word-1@127.0.0.1:9",
    ]);
    ran.assert_code(2).assert_silent_about("pass-word-1");
    home.assert_silent_about("pass-word-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_shows_the_plan_and_writes_nothing() {
    let home = home().await;
    let ran = home.run(&["pull", GEMMA, "--dry-run"]);
    ran.assert_code(0);
    assert!(ran.stdout.contains("model.safetensors"), "{}", ran.stdout);
    assert!(ran.stdout.contains("to fetch"), "{}", ran.stdout);
    let document = home
        .run(&["pull", GEMMA, "--dry-run", "--json"])
        .document(&PULL);
    assert_eq!(document["outcome"], "planned");
    assert!(document["fetch_bytes"].as_u64().unwrap() > catalogue::GEMMA_WEIGHTS_BYTES);
    assert_eq!(document["fetched_bytes"], 0);
    assert!(!home.path().join(".cache").exists());
    assert!(
        home.hub
            .requests()
            .iter()
            .all(|request| request.path.starts_with("/api/"))
    );
}

/// Path, change time, length and inode of everything below a folder.
fn tree(folder: &Path) -> Vec<(PathBuf, [i64; 3], u64)> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(path) = open.pop() {
        let about = fs::symlink_metadata(&path).unwrap();
        if about.is_dir() {
            open.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
        let times = [about.mtime(), about.mtime_nsec(), about.len().cast_signed()];
        found.push((path, times, about.ino()));
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_complete_model_is_pulled_again_without_a_write() {
    let home = stocked_home().await;
    let before = tree(&home.cache());
    for words in [
        &["pull", GEMMA][..],
        &["pull", GEMMA, "--offline"],
        &["pull", GEMMA, "--dry-run"],
        &["ls"],
        &["ls", GEMMA],
    ] {
        home.run(words).assert_code(0);
        let after = tree(&home.cache());
        let changed: Vec<_> = after.iter().filter(|one| !before.contains(one)).collect();
        assert!(changed.is_empty(), "{words:?} wrote {changed:#?}");
        assert_eq!(before.len(), after.len(), "{words:?} removed something");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn offline_asks_nobody() {
    let home = stocked_home().await;
    for words in [
        &["pull", GEMMA, "--offline"][..],
        &["--offline", "pull", GEMMA, "--json"],
        &["ls"],
        &["ls", GEMMA],
        &["config", "show"],
    ] {
        home.run(words).assert_code(0);
    }
    let home = home.with("HF_HUB_OFFLINE", "1");
    home.run(&["pull", GEMMA]).assert_code(0);
    let ran = home.run(&["pull", "someone/gemma-fork"]);
    ran.assert_code(5);
    ran.assert_told("offline");
    assert!(home.hub.requests().is_empty(), "{:?}", home.hub.requests());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_away_is_no_failure() {
    let home = stocked_home().await;
    for words in [
        &["ls"][..],
        &["ls", GEMMA],
        &["ls", "--json"],
        &["pull", GEMMA],
        &["pull", GEMMA, "--events", "--force"],
        &["pull", GEMMA, "--dry-run"],
        &["config", "show"],
        &["completions", "zsh"],
        &["man"],
        &["--help"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = home.larder(words);
        let errors = home.path().join("errors");
        command
            .stdout(writer)
            .stderr(fs::File::create(&errors).unwrap());
        let status = Running(command.spawn().unwrap()).wait();
        let said = fs::read_to_string(&errors).unwrap();
        assert_eq!(status.code(), Some(0), "{words:?}: {said}");
        assert!(
            !said.contains("error") && !said.contains("panic"),
            "{words:?}: {said}"
        );
    }
    // Neither is one that does not want the talk.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = home.larder(&["pull", GEMMA, "--force", "-vv"]);
    command.stdout(Stdio::null()).stderr(writer);
    let status = Running(command.spawn().unwrap()).wait();
    assert_eq!(status.code(), Some(0));
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_stdout_that_is_full_is_a_failure() {
    let home = stocked_home().await;
    let errors = home.path().join("errors");
    let mut command = home.larder(&["pull", GEMMA]);
    command
        .stdout(
            fs::OpenOptions::new()
                .write(true)
                .open("/dev/full")
                .unwrap(),
        )
        .stderr(fs::File::create(&errors).unwrap());
    let status = Running(command.spawn().unwrap()).wait();
    let said = fs::read_to_string(&errors).unwrap();
    assert_eq!(status.code(), Some(7), "{said}");
    assert!(said.contains("error: not-writable: "), "{said}");
}

/// What a terminal would obey: clears, titles, one-byte forms, and a change of direction.
const HOSTILE: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{9d}x\u{202e}";

#[tokio::test(flavor = "multi_thread")]
async fn escape_sequences_of_a_server_arrive_as_text() {
    use axum::http::{HeaderValue, StatusCode};

    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let router = axum::Router::new().fallback(|| async {
        // A header may hold no ESC, but it may hold the one-byte forms.
        let words = HeaderValue::from_bytes("no \u{9b}2J\u{202e}".as_bytes()).unwrap();
        (
            StatusCode::FORBIDDEN,
            [("x-error-message", words)],
            serde_json::json!({ "error": HOSTILE }).to_string(),
        )
    });
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, router).await });

    let home = home().await.with("HF_ENDPOINT", &endpoint);
    for format in ["-vv", "--json", "--events", "--color=never"] {
        let ran = home.run(&["pull", GEMMA, format]);
        assert_ne!(ran.code, Some(0));
        ran.assert_harmless();
    }
    assert!(!home.log().contains(['\u{1b}', '\u{9b}', '\u{202e}']));
}

#[tokio::test(flavor = "multi_thread")]
async fn escape_sequences_in_names_arrive_as_text() {
    let mut catalogue = Catalogue::new();
    let repo = catalogue.repo(&RepoId::new(RepoKind::Model, "someone/hostile").unwrap());
    let main = repo.commit(vec![
        SourceFile::git("config.json", "{}"),
        SourceFile::git(&format!("{HOSTILE}.json"), "{}"),
        SourceFile::git("left\u{202e}right.json", "{}"),
    ]);
    repo.branch("main", main);
    let home = Home::new(catalogue, Vec::new()).await;
    for words in [
        &["pull", "someone/hostile", "--all", "-vv"][..],
        &["pull", "someone/hostile", "--all", "--json"],
        &["pull", "someone/hostile", "--all", "--events"],
        &["pull", "someone/hostile", "--all", "--dry-run"],
        &["pull", "someone/hostile", HOSTILE],
        &["pull", "someone/hostile", "--revision", HOSTILE],
        &["pull", "someone/hostile", "--include", HOSTILE],
        &["pull", HOSTILE],
        &["ls", HOSTILE],
        &["ls", "--filter", HOSTILE],
        &["man", HOSTILE],
        &[HOSTILE],
        &["pull", "a/b", &format!("--{HOSTILE}")],
    ] {
        home.run(words).assert_harmless();
    }
    // What another program left.
    let folder = home
        .cache()
        .join(format!("models--evil--{HOSTILE}/snapshots/{HOSTILE}"));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(format!("{HOSTILE}.json")), "{}").unwrap();
    let plain = home.cache().join("models--evil--plain/snapshots/main");
    fs::create_dir_all(&plain).unwrap();
    fs::write(plain.join(format!("{HOSTILE}.json")), "{}").unwrap();
    for words in [&["ls"][..], &["ls", "evil/plain"], &["ls", "--json"]] {
        home.run(words).assert_code(0).assert_harmless();
    }
    assert!(!home.log().contains(['\u{1b}', '\u{9b}', '\u{202e}']));
}

#[test]
fn the_readme_names_every_exit_code() {
    let readme = include_str!("../../README.md");
    let table = readme.split("## Exit codes").nth(1).unwrap();
    let table = table.split("\n## ").next().unwrap();
    let named: BTreeSet<u8> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split('|').next())
        .flat_map(|cell| cell.split(','))
        .filter_map(|number| number.trim().parse().ok())
        .collect();
    let mut given: BTreeSet<u8> = FailureCode::ALL.map(FailureCode::exit_code).into();
    // Success, failures of several classes, and the signals that are not Ctrl-C.
    given.extend([0, 1, 129, 131, 143]);
    assert_eq!(named, given);
}

#[tokio::test(flavor = "multi_thread")]
async fn read_only_refuses_whatever_writes() {
    let home = home().await;
    for (words, variable) in [
        (&["--read-only", "pull", GEMMA, "--json"][..], ""),
        (&["pull", GEMMA, "--json"], "1"),
        (&["purge", "--incomplete", "--yes", "--json"], "1"),
        (&["report", "--output", "x.txt", "--json"], "1"),
        (&["report", "--yes", "--json", "--read-only"], "0"),
    ] {
        let mut command = home.larder(words);
        command.env("LARDER_READ_ONLY", variable);
        let ran = finish(&mut command);
        ran.assert_code(2);
        let document: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(document["failure_code"], "read-only", "{words:?}");
        assert!(ran.stderr.contains("`--read-only`"), "{}", ran.stderr);
    }
    assert!(!home.cache().exists());
    home.run(&["--read-only", "pull", GEMMA, "--dry-run"])
        .assert_code(0);
    home.run(&["--read-only", "ls"]).assert_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn ascii_is_all_that_is_drawn() {
    let home = home().await.with("LARDER_ASCII", "1");
    let ran = home.run(&["pull", GEMMA]);
    ran.assert_code(0);
    // A name stays as it is.
    let drawn = ran.stderr.replace("sub dir/ünï#1.json", "");
    assert!(ran.stdout.is_ascii() && drawn.is_ascii(), "{ran:#?}");
    let ran = home.run(&["config", "show"]);
    assert!(ran.stdout.contains("LARDER_ASCII"), "{}", ran.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_needs_nothing_but_the_binary() {
    let home = home()
        .await
        .with("HF_TOKEN", TOKEN)
        .with("HF_HUB_OFFLINE", "1");
    let ran = finish(&mut home.larder(&["demo", "--exit-when-done"]));
    ran.assert_code(0).assert_silent_about(TOKEN);
    let snapshot = Path::new(ran.stdout.trim_end());
    assert!(snapshot.join("model.safetensors").is_file(), "{ran:#?}");
    assert!(!home.cache().exists(), "the demo's cache is its own");
    assert!(home.hub.requests().is_empty());
    home.assert_silent_about(TOKEN);
}
