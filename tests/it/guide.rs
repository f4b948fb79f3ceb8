//! `larder guide`: what is missing, told so that a person can fetch it; and its script, run.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use jsonschema::Validator;
use larder::cli::GUIDE_SCHEMA;
use larder::domain::{RepoId, RepoKind};
use larder::serve::{Catalogue, Content, Effect, Fault, Matcher, Origin, SourceFile};

use crate::cli::validator;
use crate::support::catalogue::{GATED_TOKEN, GEMMA, gemma, gemma_weights, gemma_weights_etag};
use crate::support::program::{Home, Ran, finish};
use crate::support::{assert_all_visible_bytes_proven, body_bytes, report};

static GUIDE: LazyLock<Validator> = LazyLock::new(|| validator(GUIDE_SCHEMA));

const NASTY: &str = "someone/nasty";

/// Names that would do something if a shell, curl or a terminal took them for more than names.
const NAMES: [&str; 10] = [
    "it's \"here\" $(touch PWNED) `touch PWNED`.json",
    "-rf.json",
    "--output=PWNED.json",
    " leading and trailing .json",
    "$HOME;touch PWNED;&|<>*?[a-z]{1,2}~!#%.json",
    "sub dir/-x/a'b'c.json",
    "'; touch PWNED; '.json",
    "turned \u{202e}gnp.json",
    "模型 🦙 %s %d \u{feff}.json",
    "@file.json",
];

fn nasty() -> Catalogue {
    let mut catalogue = Catalogue::new();
    let repo = catalogue.repo(&RepoId::new(RepoKind::Model, NASTY).unwrap());
    let mut files: Vec<SourceFile> = NAMES
        .iter()
        .map(|name| SourceFile::git(name, format!("{{\"name\": {name:?}}}")))
        .collect();
    files.push(SourceFile::git("empty.json", ""));
    files.push(SourceFile::lfs(
        "model.safetensors",
        Content::Memory(gemma_weights().into()),
    ));
    let commit = repo.commit(files);
    repo.branch("main", commit);
    catalogue
}

/// Runs a script in a folder of its own, with the real larder.
fn run_script(home: &Home, shell: &str, script: &str) -> Ran {
    let place = home.path().join("by hand");
    fs::create_dir_all(&place).unwrap();
    fs::write(place.join("fetch.sh"), script).unwrap();
    let mut command = Command::new(shell);
    command
        .arg("fetch.sh")
        .env_clear()
        .envs(home.environment().iter().cloned())
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("LARDER", env!("CARGO_BIN_EXE_larder"))
        .env("REST", "0")
        .current_dir(&place);
    finish(&mut command)
}

fn assert_clean(script: &str) {
    // Not every machine has it; a shell that parses without running is on all.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fetch.sh");
    fs::write(&path, script).unwrap();
    let parsed = finish(Command::new("sh").arg("-n").arg(&path));
    assert_eq!(parsed.code, Some(0), "{parsed:#?}\n{script}");
    let has_shellcheck = Command::new("shellcheck").arg("--version").output().is_ok();
    if !has_shellcheck {
        return report("there is no shellcheck here: the script was parsed by sh alone");
    }
    let checked = finish(Command::new("shellcheck").args(["-s", "sh"]).arg(&path));
    assert_eq!(checked.code, Some(0), "{checked:#?}\n{script}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_script_downloads_proves_and_imports_in_every_shell() {
    for shell in ["dash", "bash", "sh"] {
        if Command::new(shell).arg("-c").arg(":").output().is_err() {
            report(&format!("there is no {shell} here"));
            continue;
        }
        let home = Home::new(gemma(), Vec::new()).await;
        let made = home.run(&["guide", GEMMA, "--script"]);
        made.assert_code(0);
        assert_clean(&made.stdout);
        let ran = run_script(&home, shell, &made.stdout);
        ran.assert_code(0);
        home.run(&["--offline", "ready", GEMMA, "--verified"])
            .assert_code(0);
        assert_all_visible_bytes_proven(&home.cache());
        // Nothing is missing any more.
        let again = home.run(&["guide", GEMMA]);
        again.assert_code(0);
        assert!(
            again.stdout.contains("Nothing is to be fetched"),
            "{again:?}"
        );
        // What the script left is not fetched again.
        body_bytes(&home.hub);
        run_script(&home, shell, &made.stdout).assert_code(0);
        assert_eq!(body_bytes(&home.hub), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_name_breaks_out_of_the_script() {
    let home = Home::new(nasty(), Vec::new()).await;
    let made = home.run(&["guide", NASTY, "--script"]);
    made.assert_code(0);
    assert_clean(&made.stdout);
    for hidden in ['\u{202e}', '\u{feff}', '\u{1b}'] {
        assert!(!made.stdout.contains(hidden), "{hidden:?}");
    }
    let ran = run_script(&home, "dash", &made.stdout);
    ran.assert_code(0);
    let places = [home.path().to_owned(), home.path().join("by hand")];
    for place in &places {
        let names = fs::read_dir(place).unwrap();
        for name in names {
            let name = name.unwrap().file_name();
            assert!(!name.to_string_lossy().starts_with("PWNED"), "{name:?}");
        }
    }
    let commit = fs::read_to_string(home.cache().join("models--someone--nasty/refs/main")).unwrap();
    let snapshot = home
        .cache()
        .join("models--someone--nasty/snapshots")
        .join(commit);
    for name in NAMES {
        assert!(snapshot.join(name).is_file(), "{name:?}");
    }
    assert_all_visible_bytes_proven(&home.cache());
    // The steps are for a terminal: nothing in them is obeyed or turns the text around.
    fs::remove_dir_all(home.cache()).unwrap();
    let steps = home.run(&["guide", NASTY]);
    assert!(!steps.stdout.contains('\u{202e}'), "{}", steps.stdout);
    assert!(steps.stdout.contains("\\u{202e}"), "{}", steps.stdout);
    // Each curl line of the steps, as somebody pastes it, does what it says and nothing else.
    let place = home.path().join("pasted");
    fs::create_dir_all(&place).unwrap();
    let lines = steps.stdout.lines().map(str::trim);
    for line in lines.filter(|line| line.starts_with("curl ")) {
        let mut shell = Command::new("sh");
        finish(shell.args(["-c", line]).current_dir(&place)).assert_code(0);
    }
    for name in NAMES {
        assert!(place.join(name).is_file(), "{name:?}");
    }
    assert!(!place.join("PWNED").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_missing_is_in_it_pinned_and_with_its_proof() {
    let home = Home::new(gemma(), Vec::new()).await;
    home.run(&["pull", GEMMA, "config.json", "tokenizer.json"])
        .assert_code(0);
    let ran = home.run(&["--json", "guide", GEMMA]);
    ran.assert_code(0);
    let document = ran.document(&GUIDE);
    let commit = document["commit"].as_str().unwrap();
    let files = document["files"].as_array().unwrap();
    assert_eq!(files.len(), 4, "{document:#}");
    for file in files {
        let url = file["url"].as_str().unwrap();
        let pinned = format!("{}/{GEMMA}/resolve/{commit}/", home.hub.endpoint());
        assert!(url.starts_with(&pinned), "{url}");
        assert!(!["config.json", "tokenizer.json"].contains(&file["path"].as_str().unwrap()));
    }
    assert_eq!(document["here_files"], 2);
    let call = document["import_call"].as_str().unwrap();
    assert!(call.contains("--repo") && call.contains(commit), "{call}");
    let steps = home.run(&["guide", GEMMA]);
    for word in [
        "1. ",
        "4. ",
        "shasum -a 256",
        "larder import",
        "git hash-object",
    ] {
        assert!(steps.stdout.contains(word), "{word}: {}", steps.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gated_repo_says_that_a_token_is_needed_and_never_prints_one() {
    let home = Home::new(gemma(), Vec::new())
        .await
        .with("HF_TOKEN", GATED_TOKEN);
    let steps = home.run(&["guide", "someone/gated"]);
    steps.assert_code(0);
    assert!(
        steps.stdout.contains("accept its terms"),
        "{}",
        steps.stdout
    );
    let made = home.run(&["guide", "someone/gated", "--script"]);
    assert_clean(&made.stdout);
    let document = home.run(&["--json", "guide", "someone/gated"]);
    for text in [&steps.stdout, &made.stdout, &document.stdout] {
        assert!(!text.contains(GATED_TOKEN), "{text}");
        assert!(text.contains("HF_TOKEN"), "{text}");
    }
    // With the token it works; the host that the Hub redirects to does not see it.
    run_script(&home, "sh", &made.stdout).assert_code(0);
    let requests = home.hub.requests();
    let elsewhere = requests
        .iter()
        .filter(|request| request.origin == Origin::Cdn);
    assert!(elsewhere.clone().count() > 0);
    home.run(&["ready", "someone/gated"]).assert_code(0);
    // Without one it says at once what is needed.
    let without = Home::new(gemma(), Vec::new()).await;
    let ran = run_script(&without, "sh", &made.stdout);
    ran.assert_code(1);
    assert!(ran.stderr.contains("needs a token"), "{ran:?}");
    let page = format!("{}/settings/tokens", home.hub.endpoint());
    assert!(ran.stderr.contains(&page), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_script_goes_on_where_it_broke_off_and_throws_wrong_bytes_away() {
    let weights = || Matcher::path("model.safetensors").origin(Origin::Cdn);
    let faults = vec![
        Fault::new(weights(), Effect::ResetAfter { bytes: 700_000 }).times(2),
        Fault::new(
            Matcher::path("tokenizer.json").origin(Origin::Cdn),
            Effect::FlipByte { at: 9 },
        )
        .times(1),
        Fault::new(Matcher::path("config.json"), Effect::Status { code: 503 }).times(1),
    ];
    let home = Home::new(gemma(), Vec::new()).await;
    let made = home.run(&["guide", GEMMA, "--script"]);
    home.hub.set_faults(faults);
    body_bytes(&home.hub);
    let ran = run_script(&home, "sh", &made.stdout);
    ran.assert_code(0);
    assert!(ran.stderr.contains("thrown away"), "{ran:?}");
    let sent = body_bytes(&home.hub);
    assert!(
        sent < 2_900_000,
        "the weights came once, the tokenizer twice: {sent}"
    );
    assert_all_visible_bytes_proven(&home.cache());
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_bytes_do_not_come_the_pull_names_the_guide_and_the_guide_needs_no_hub() {
    let weights = || Matcher::path("model.safetensors").origin(Origin::Cdn);
    let faults = vec![Fault::new(weights(), Effect::Status { code: 502 })];
    let home = Home::new(gemma(), faults).await;
    let cache = home.path().join("elsewhere");
    let cache = cache.to_str().unwrap();
    let failed = home.run(&["pull", GEMMA, "--cache-dir", cache]);
    failed.assert_code(5);
    let way = format!("larder guide {GEMMA} --cache-dir {cache}");
    assert!(failed.stderr.contains(&way), "{failed:?}");
    // The Hub itself is gone by now; what the pull was told is enough.
    let ran = home.run(&["--offline", "--json", "guide", GEMMA, "--cache-dir", cache]);
    ran.assert_code(0);
    let document = ran.document(&GUIDE);
    assert_eq!(document["is_offline"], true);
    assert_eq!(document["files"][0]["path"], "model.safetensors");
    assert!(document["import_call"].as_str().unwrap().contains(cache));
    // Of what was never seen it says what is needed.
    let ran = home.run(&["--offline", "guide", "someone/gemma-fork"]);
    ran.assert_code(5);
    assert!(
        ran.stderr.contains("/someone/gemma-fork/tree/main"),
        "{ran:?}"
    );
    // A dead Hub is asked once, and what is known is used.
    let dead = Home::new(gemma(), Vec::new()).await;
    dead.run(&["pull", GEMMA, "config.json"]).assert_code(0);
    dead.hub.set_faults(vec![Fault::new(
        Matcher::any(),
        Effect::Status { code: 503 },
    )]);
    let ran = dead.run(&["guide", GEMMA]);
    ran.assert_code(0);
    assert!(ran.stdout.contains("The Hub was not asked"), "{ran:?}");
    assert!(Path::new(&dead.path()).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_known_to_be_wrong_are_missing_and_the_script_heals_them() {
    let home = Home::new(gemma(), Vec::new()).await;
    home.run(&["pull", GEMMA]).assert_code(0);
    let weights = home.blobs().join(gemma_weights_etag());
    let mut bytes = fs::read(&weights).unwrap();
    bytes[700_000] ^= 1;
    fs::write(&weights, bytes).unwrap();
    // What was written this very moment is not remembered.
    std::thread::sleep(std::time::Duration::from_millis(200));
    home.run(&["verify", GEMMA]).assert_code(3);
    let document = home.run(&["--json", "guide", GEMMA]).document(&GUIDE);
    let files = document["files"].as_array().unwrap();
    assert_eq!(files.len(), 1, "{document:#}");
    assert_eq!(files[0]["path"], "model.safetensors");
    assert_eq!(document["here_files"], 5);
    assert_eq!(document["fetch_bytes"], files[0]["size_bytes"]);
    let steps = home.run(&["guide", GEMMA]);
    assert!(steps.stdout.contains("1 file missing"), "{steps:?}");
    let made = home.run(&["guide", GEMMA, "--script"]);
    run_script(&home, "sh", &made.stdout).assert_code(0);
    home.run(&["--offline", "ready", GEMMA, "--verified"])
        .assert_code(0);
    assert_all_visible_bytes_proven(&home.cache());
}
