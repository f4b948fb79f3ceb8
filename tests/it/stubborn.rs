//! What a pull must not do for ever, what it must still hear, and what it must leave alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use larder::domain::{
    Command, Event, FailureCode, FileSelection, HealingKind, Outcome, PullRequest, RefMove, Stamped,
};
use larder::engine::Engine;
use larder::serve::{Catalogue, Content, Effect, Fault, Matcher, Origin as From, SourceFile};

use crate::fetch::{Place, request};
use crate::support::catalogue::{self, GEMMA, GEMMA_WEIGHTS_BYTES};

fn cdn_weights() -> Matcher {
    Matcher::path("model.safetensors").origin(From::Cdn)
}

fn snapshot(outcome: &Outcome) -> PathBuf {
    match outcome {
        Outcome::Complete(result) => PathBuf::from(&result.snapshot),
        other => panic!("expected a complete model, got {other:?}"),
    }
}

fn code(outcome: &Outcome) -> FailureCode {
    match outcome {
        Outcome::Failed { failures } => failures[0].code,
        other => panic!("expected a failure, got {other:?}"),
    }
}

fn blobs(place: &Place) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(place.repo_folder().join("blobs"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Bodies of the weights that were asked for at the storage.
fn bodies(place: &Place) -> usize {
    place
        .hub
        .requests()
        .iter()
        .filter(|asked| asked.origin == From::Cdn && asked.path.contains("model.safetensors"))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_blob_whose_start_is_wrong_is_healed() {
    let place = Place::new(catalogue::gemma(), Vec::new()).await;
    place.pull(request(GEMMA)).await;
    let blob = place
        .repo_folder()
        .join("blobs")
        .join(catalogue::gemma_weights_etag());
    // Enough is missing to count as progress each time it is fetched.
    let mut start = catalogue::gemma_weights()[..500_000].to_vec();
    start[1_000] ^= 1;
    fs::write(&blob, &start).unwrap();
    place.hub.clear_requests();
    let pulled = tokio::time::timeout(Duration::from_secs(20), place.pull(request(GEMMA)))
        .await
        .expect("it ends");
    snapshot(&pulled.outcome);
    assert_eq!(bodies(&place), 2, "one to find out, one afresh");
    assert!(
        !blobs(&place).iter().any(|name| name.ends_with(".corrupt")),
        "the wrong bytes are gone once the right ones are proven"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_cuts_and_lies_is_given_up() {
    let lie = Fault::new(cdn_weights(), Effect::FlipByte { at: 7 }).and(Effect::CutAfter {
        bytes: GEMMA_WEIGHTS_BYTES - 100_000,
    });
    let place = Place::new(catalogue::gemma(), vec![lie]).await;
    let pulled = tokio::time::timeout(Duration::from_secs(20), place.pull(request(GEMMA)))
        .await
        .expect("it ends");
    assert_eq!(code(&pulled.outcome), FailureCode::ChecksumMismatch);
    assert!(bodies(&place) <= 8, "{} bodies", bodies(&place));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_always_starts_anew_and_cuts_is_given_up() {
    let cut = Fault::new(cdn_weights(), Effect::IgnoreRange).and(Effect::CutAfter {
        bytes: GEMMA_WEIGHTS_BYTES - 100_000,
    });
    let place = Place::new(catalogue::gemma(), vec![cut]).await;
    let pulled = tokio::time::timeout(Duration::from_secs(20), place.pull(request(GEMMA)))
        .await
        .expect("it ends");
    assert_eq!(code(&pulled.outcome), FailureCode::Reset);
    assert!(bodies(&place) <= 6, "{} bodies", bodies(&place));
}

#[tokio::test(flavor = "multi_thread")]
async fn resuming_while_it_still_stops_goes_on() {
    let slow = Fault::new(
        cdn_weights(),
        Effect::Slow {
            bytes_per_s: 600_000,
        },
    );
    let place = Place::new(catalogue::gemma(), vec![slow]).await;
    let (engine, handle, mut events) = Engine::new(place.config.clone()).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(engine.run());
    assert!(handle.send(Command::Pull(request(GEMMA))));
    let mut flips: u64 = 0;
    let outcome = loop {
        match events.recv().await.unwrap().event {
            Event::Ended(outcome) => break outcome,
            Event::Progress { .. } if flips < 60 => {
                flips += 1;
                assert!(handle.send(Command::Pause(FileSelection::All)));
                // Long enough to begin to stop, too short to have stopped.
                tokio::time::sleep(Duration::from_micros(flips * 20)).await;
                assert!(handle.send(Command::Resume(FileSelection::All)));
                if flips == 60 {
                    place.hub.set_faults(Vec::new());
                }
            }
            _ => {}
        }
    };
    snapshot(&outcome);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_is_told_once() {
    let slow = Fault::new(
        cdn_weights(),
        Effect::Slow {
            bytes_per_s: 2_000_000,
        },
    );
    let place = Place::new(catalogue::gemma(), vec![slow]).await;
    let (engine, handle, mut events) = Engine::new(place.config.clone()).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(engine.run());
    assert!(handle.send(Command::Pull(request(GEMMA))));
    let mut is_paused = false;
    let mut told = Vec::new();
    loop {
        match tokio::time::timeout(Duration::from_millis(300), events.recv()).await {
            Err(_) => assert!(handle.send(Command::Resume(FileSelection::All))),
            Ok(event) => match event.unwrap().event {
                Event::Ended(outcome) => {
                    snapshot(&outcome);
                    break;
                }
                Event::Progress { .. } if !is_paused => {
                    is_paused = true;
                    assert!(handle.send(Command::Pause(FileSelection::All)));
                }
                Event::Cancelled { file, .. } => told.push(file),
                _ => {}
            },
        }
    }
    let files: std::collections::HashSet<_> = told.iter().collect();
    assert!(!told.is_empty() && files.len() == told.len(), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_while_hashing_is_a_pause() {
    const BYTES: u64 = 64 << 20;
    let mut catalogue = Catalogue::new();
    let weights = SourceFile::lfs(
        "model.safetensors",
        Content::Generated {
            seed: 3,
            len: BYTES,
        },
    );
    let repo = catalogue.repo(&request("someone/large").repo);
    let commit = repo.commit(vec![weights]);
    repo.branch("main", commit);
    let place = Place::new(catalogue, Vec::new()).await;
    snapshot(&place.pull(request("someone/large")).await.outcome);
    // What the ledger knows is not hashed.
    fs::remove_dir_all(&place.config.state_dir).unwrap();
    let mut is_paused = false;
    let pulled = place
        .pull_commanding(request("someone/large"), |stamped| match stamped.event {
            Event::Reusing { .. } if !is_paused => {
                is_paused = true;
                Some(Command::Pause(FileSelection::All))
            }
            Event::Cancelled {
                is_paused: true, ..
            } => Some(Command::Resume(FileSelection::All)),
            _ => None,
        })
        .await;
    snapshot(&pulled.outcome);
    let stopped = |stamped: &Stamped| matches!(stamped.event, Event::Cancelled { .. });
    assert!(pulled.events.iter().any(stopped), "it was hashing no more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_cancel_does_not_close_what_can_be_retried() {
    for fault in [
        Fault::new(Matcher::api(), Effect::InvalidCredentials401),
        Fault::new(cdn_weights(), Effect::FlipByte { at: 7 }),
    ] {
        let place = Place::new(catalogue::gemma(), vec![fault]).await;
        let (engine, handle, mut events) = Engine::new(place.config.clone()).unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(engine.run());
        assert!(handle.send(Command::Pull(request(GEMMA))));
        let mut next = async || loop {
            let wait = tokio::time::timeout(Duration::from_secs(10), events.recv()).await;
            if let Event::Ended(outcome) = wait.expect("an event").unwrap().event {
                return outcome;
            }
        };
        assert!(matches!(next().await, Outcome::Failed { .. }));
        place.hub.set_faults(Vec::new());
        for late in [
            Command::Cancel(FileSelection::All),
            Command::Pause(FileSelection::All),
            Command::Resume(FileSelection::All),
            Command::Retry(FileSelection::All),
        ] {
            assert!(handle.send(late));
        }
        snapshot(&next().await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn force_replaces_bad_bytes_and_says_so_and_makes_no_second_copy_of_good_ones() {
    let place = Place::new(catalogue::gemma(), Vec::new()).await;
    place.pull(request(GEMMA)).await;
    let before = blobs(&place);
    let forced = PullRequest {
        force: true,
        ..request(GEMMA)
    };
    snapshot(&place.pull(forced.clone()).await.outcome);
    assert_eq!(blobs(&place), before);

    let blob = place
        .repo_folder()
        .join("blobs")
        .join(catalogue::gemma_weights_etag());
    let mut bytes = fs::read(&blob).unwrap();
    bytes[9] ^= 1;
    fs::write(&blob, bytes).unwrap();
    let pulled = place.pull(forced).await;
    snapshot(&pulled.outcome);
    assert!(pulled.events.iter().any(|stamped| matches!(
        &stamped.event,
        Event::Healed(healing) if healing.kind == HealingKind::WrongHash
    )));
    assert_eq!(blobs(&place), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_symlinks_a_second_pull_writes_nothing() {
    let place = Place::with(
        catalogue::gemma(),
        Vec::new(),
        &[("HF_HUB_DISABLE_SYMLINKS", "1")],
    )
    .await;
    place.pull(request(GEMMA)).await;
    assert_eq!(blobs(&place), Vec::<String>::new());
    let pulled = place.pull(request(GEMMA)).await;
    snapshot(&pulled.outcome);
    assert_eq!(blobs(&place), Vec::<String>::new(), "no second copy");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ref_does_not_move_to_a_snapshot_that_only_names_its_files() {
    let place = Place::new(catalogue::gemma(), Vec::new()).await;
    place.pull(request(GEMMA)).await;
    let before = fs::read_to_string(place.repo_folder().join("refs/main")).unwrap();
    catalogue::push_gemma_update(&place.hub);
    let one_file = PullRequest {
        files: vec!["tokenizer_config.json".to_owned()],
        ..request(GEMMA)
    };
    // Another program began the new snapshot: links are there, contents are not.
    let new = snapshot(&place.pull(one_file.clone()).await.outcome);
    for name in listing(&snapshot_of(&place, &before)) {
        let link = new.join(&name);
        if link.symlink_metadata().is_err() {
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(format!("../../blobs/{}", "ab".repeat(32)), link).unwrap();
        }
    }
    let pulled = place.pull_unchecked(one_file).await;
    let Outcome::Complete(result) = &pulled.outcome else {
        panic!("{:?}", pulled.outcome)
    };
    assert!(
        matches!(result.reference, RefMove::Kept { .. }),
        "{:?}",
        result.reference
    );
    assert_eq!(
        fs::read_to_string(place.repo_folder().join("refs/main")).unwrap(),
        before
    );
}

fn snapshot_of(place: &Place, commit: &str) -> PathBuf {
    place.repo_folder().join("snapshots").join(commit)
}

fn listing(folder: &Path) -> Vec<String> {
    crate::support::files_below(folder)
        .iter()
        .map(|path| {
            path.strip_prefix(folder)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned()
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_partial_is_announced_before_it_is_proven() {
    let place = Place::new(catalogue::gemma(), Vec::new()).await;
    let folder = place.repo_folder().join("blobs");
    fs::create_dir_all(&folder).unwrap();
    let partial = folder.join(format!("{}.incomplete", catalogue::gemma_weights_etag()));
    fs::write(partial, catalogue::gemma_weights()).unwrap();
    let pulled = place.pull(request(GEMMA)).await;
    snapshot(&pulled.outcome);
    assert_eq!(bodies(&place), 0);
    assert_starts(&pulled.events);
}

/// The law: an attempt starts with `Connecting`, `Reusing` or `Waiting`.
fn assert_starts(events: &[Stamped]) {
    let mut begun = std::collections::HashSet::new();
    for stamped in events {
        match &stamped.event {
            Event::Connecting { file, attempt, .. }
            | Event::Reusing { file, attempt }
            | Event::Waiting { file, attempt, .. } => {
                begun.insert((*file, *attempt));
            }
            Event::Downloading { file, attempt, .. }
            | Event::Verifying { file, attempt }
            | Event::Finished { file, attempt, .. } => {
                assert!(begun.contains(&(*file, *attempt)), "{:?}", stamped.event);
            }
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_server_that_names_a_time_is_obeyed() {
    let place = Place::new(
        catalogue::gemma(),
        vec![
            Fault::new(
                Matcher::path("config.json"),
                Effect::Unavailable { seconds: 2 },
            )
            .times(1),
        ],
    )
    .await;
    let pulled = place.pull(request(GEMMA)).await;
    snapshot(&pulled.outcome);
    let wait = pulled
        .events
        .iter()
        .find_map(|stamped| match &stamped.event {
            Event::Failed {
                retry: Some(retry), ..
            } => Some(retry.wait_ms),
            _ => None,
        });
    assert!(wait.is_some_and(|wait| wait >= 2_000), "{wait:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_is_too_long_is_told_before_the_first_byte() {
    let mut catalogue = Catalogue::new();
    let repo = catalogue.repo(&request("someone/deep").repo);
    let deep = vec!["x".repeat(200); 22].join("/");
    let commit = repo.commit(vec![SourceFile::git(&deep, "{}")]);
    repo.branch("main", commit);
    let place = Place::new(catalogue, Vec::new()).await;
    let all = PullRequest {
        all: true,
        ..request("someone/deep")
    };
    let pulled = place.pull(all).await;
    assert_eq!(code(&pulled.outcome), FailureCode::UnsafePath);
    assert!(!place.config.cache_dir.exists(), "nothing was written");
}
