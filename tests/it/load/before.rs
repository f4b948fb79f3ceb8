//! Owns the proof that a model is judged before its download as it would be after it, by two ranges
//! of each weight file.
//!
//! Never asks mlx-lm: that the verdict on a folder is its verdict is shown beside this.

use larder::cli::{EVENT_SCHEMA, PULL_SCHEMA};
use larder::domain::{
    Command, Event, FailureCode, LoadLevel, Outcome, PullRequest, RepoId, RepoKind, Validation,
};
use larder::engine::Engine;
use larder::serve::{Catalogue, Content, Effect, Fault, Matcher, SourceFile};
use tokio::task::JoinSet;

use super::build::{Folder, qwen};
use super::{cases, examine};
use crate::cli::validator;
use crate::fetch::{Place, request};
use crate::support::Scratch;
use crate::support::program::Home;

/// Where the verdict before differs, and why.
const DIFFERENT: [(&str, &str); 3] = [
    (
        "vocab-json-html-beside-tokenizer",
        "the older files are not fetched beside a tokenizer.json",
    ),
    (
        "tiktoken-html-beside-tokenizer",
        "the older files are not fetched beside a tokenizer.json",
    ),
    (
        "sentencepiece-html-beside-tokenizer",
        "the older files are not fetched beside a tokenizer.json",
    ),
];

fn served(catalogue: &mut Catalogue, name: &str, folder: &Folder) {
    let repo = catalogue.repo(&RepoId::new(RepoKind::Model, name).unwrap());
    let files = folder.files.iter().map(|(name, bytes)| {
        if name.ends_with(".safetensors") {
            SourceFile::lfs(name, Content::Memory(bytes.clone().into()))
        } else {
            SourceFile::git(name, bytes.clone())
        }
    });
    let commit = repo.commit(files.collect());
    repo.branch("main", commit);
}

/// How a look before the download ends, and what it saw.
async fn look(place: &Place, name: &str) -> (Outcome, Option<Validation>) {
    let (engine, handle, mut events) = Engine::new(place.config.clone()).unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(engine.run());
    assert!(handle.send(Command::Pull(PullRequest {
        dry_run: true,
        validate: true,
        ..request(name)
    })));
    let mut validation = None;
    let outcome = loop {
        match events.recv().await.unwrap().event {
            Event::Validated(seen) => validation = Some(seen),
            Event::Ended(outcome) => break outcome,
            _ => {}
        }
    };
    drop(handle);
    tasks.join_next().await.unwrap().unwrap();
    (outcome, validation)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_case_is_judged_before_its_download_as_after_it() {
    let scratch = Scratch::new();
    let mut catalogue = Catalogue::new();
    for case in cases::all() {
        let folder = case.folder();
        folder.write(&scratch.path().join(case.name));
        served(&mut catalogue, &format!("case/{}", case.name), &folder);
    }
    let place = Place::new(catalogue, Vec::new()).await;
    let mut judged = 0;
    for case in cases::all() {
        let after = examine(&scratch.path().join(case.name));
        let (outcome, before) = look(&place, &format!("case/{}", case.name)).await;
        let Some(before) = before else {
            // Without weights there is nothing to pull.
            let Outcome::Failed { failures } = &outcome else {
                panic!("{}: {outcome:?}", case.name);
            };
            assert_eq!(failures[0].code, FailureCode::NoWeights, "{}", case.name);
            assert!(!after.would_load());
            continue;
        };
        judged += 1;
        if DIFFERENT.iter().any(|(name, _)| *name == case.name) {
            assert!(before.would_load && !after.would_load(), "{}", case.name);
            continue;
        }
        assert_eq!(before.would_load, after.would_load(), "{}", case.name);
        assert_eq!(before.troubles, after.troubles, "{}", case.name);
        match outcome {
            Outcome::Planned => assert!(before.would_load, "{}", case.name),
            Outcome::Failed { failures } => {
                assert_eq!(failures[0].code, FailureCode::Findings);
                assert!(!failures[0].causes.is_empty());
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(judged > 150, "{judged}");
    assert!(!place.config.cache_dir.exists(), "nothing was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_weight_file_costs_two_ranges_and_a_large_tokenizer_nothing() {
    let mut folder = qwen();
    folder.bytes("tokenizer.json", |bytes| bytes.resize(5_000_000, b' '));
    let mut catalogue = Catalogue::new();
    served(&mut catalogue, "case/sharded", &folder);
    let place = Place::new(catalogue, Vec::new()).await;
    let (outcome, validation) = look(&place, "case/sharded").await;
    assert_eq!(outcome, Outcome::Planned);
    let validation = validation.unwrap();
    assert!(validation.would_load);
    assert_eq!(validation.troubles.len(), 1, "{:?}", validation.troubles);
    assert_eq!(validation.troubles[0].level, LoadLevel::Note);
    assert_eq!(
        validation.troubles[0].file.as_deref(),
        Some("tokenizer.json")
    );
    for number in 1..=3 {
        let name = super::build::shard(number, 3);
        let bytes = &folder.files[&name];
        let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap());
        let mut ranges: Vec<String> = place
            .hub
            .requests()
            .into_iter()
            .filter(|request| request.path.contains(&name) && request.status == 206)
            .filter_map(|request| request.range)
            .collect();
        ranges.sort();
        assert_eq!(
            ranges,
            ["bytes=0-7".to_owned(), format!("bytes=8-{}", header - 1)]
        );
    }
    let asked = place.hub.requests();
    assert!(
        asked
            .iter()
            .all(|request| !request.path.ends_with("/tokenizer.json"))
    );
    assert!(
        validation.asked_bytes < 20_000,
        "{}",
        validation.asked_bytes
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_ranges_and_one_that_stumbles_are_no_obstacle() {
    for effect in [Effect::IgnoreRange, Effect::Status { code: 503 }] {
        let mut catalogue = Catalogue::new();
        served(&mut catalogue, "case/sharded", &qwen());
        let fault = Fault::new(Matcher::path("model-00002-of-00003.safetensors"), effect).times(2);
        let place = Place::new(catalogue, vec![fault]).await;
        let (outcome, validation) = look(&place, "case/sharded").await;
        assert_eq!(outcome, Outcome::Planned);
        assert!(validation.unwrap().would_load);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_says_whether_it_would_load_and_ends_with_3_if_not() {
    let mut catalogue = Catalogue::new();
    served(&mut catalogue, "case/good", &qwen());
    let mut stray = qwen();
    stray.put_weights(
        "model-old.safetensors",
        &[super::build::tensor("visual.weight", "F16", &[4])],
    );
    served(&mut catalogue, "case/stray", &stray);
    let home = Home::new(catalogue, Vec::new()).await;
    let schema = validator(PULL_SCHEMA);
    let ran = home.run(&["pull", "case/good", "--dry-run", "--validate"]);
    ran.assert_code(0);
    assert!(ran.stdout.contains("it would load, by "), "{}", ran.stdout);
    let ran = home.run(&["pull", "case/stray", "--dry-run", "--validate"]);
    ran.assert_code(3);
    assert!(ran.stdout.contains("to fetch"), "{}", ran.stdout);
    assert!(ran.stdout.contains("it would not load"), "{}", ran.stdout);
    assert!(
        ran.stdout.contains("`model-old.safetensors`"),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stderr.contains("`case/stray` would not load"),
        "{}",
        ran.stderr
    );
    let document = home
        .run(&["pull", "case/stray", "--dry-run", "--validate", "--json"])
        .document(&schema);
    assert_eq!(document["failure_code"], "findings");
    assert_eq!(document["validation"]["would_load"], false);
    let trouble = &document["validation"]["troubles"][0];
    assert_eq!(trouble["rule"], "stray-weights");
    assert_eq!(trouble["level"], "broken");
    let document = home.run(&["pull", "case/good", "--dry-run", "--json"]);
    assert!(document.document(&schema)["validation"].is_null());
    let lines = home.run(&["pull", "case/good", "--dry-run", "--validate", "--events"]);
    let event = lines
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .find(|line| line["event"] == "validated")
        .unwrap();
    assert!(validator(EVENT_SCHEMA).is_valid(&event), "{event}");
    home.run(&["pull", "case/good", "--validate"])
        .assert_code(2);
}
