//! What a pull finds on disk: it reuses what is right, heals what is wrong, and loses nothing.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use larder::domain::{Event, FailureCode, HealingKind, Origin, Outcome, PullRequest, RefMove};
use larder::serve::{Effect, Fault, Matcher, Origin as From};

use crate::fetch::{Place, Pulled, request};
use crate::support::catalogue;

const GEMMA: &str = "mlx-community/gemma-2-2b-it-4bit";

/// The blob a pointer of the only snapshot leads to.
fn blob_of(place: &Place, file: &str) -> PathBuf {
    fs::canonicalize(pointer_of(place, file)).unwrap()
}

fn pointer_of(place: &Place, file: &str) -> PathBuf {
    let snapshots = place.repo_folder().join("snapshots");
    let commit = fs::read_dir(snapshots).unwrap().next().unwrap().unwrap();
    commit.path().join(file)
}

fn healed(pulled: &Pulled) -> Vec<HealingKind> {
    pulled
        .events
        .iter()
        .filter_map(|stamped| match &stamped.event {
            Event::Healed(healing) => Some(healing.kind),
            _ => None,
        })
        .collect()
}

/// A cache that holds the model, and a Hub that has forgotten that it served it.
async fn pulled_place() -> Place {
    let place = Place::new(catalogue::gemma(), Vec::new()).await;
    assert!(matches!(
        place.pull(request(GEMMA)).await.outcome,
        Outcome::Complete(_)
    ));
    place.hub.clear_requests();
    place
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_damage_is_found_said_and_mended() {
    type Damage = fn(&Place);
    let cases: [(&str, HealingKind, Damage); 10] = [
        ("flipped byte", HealingKind::WrongHash, |place| {
            let blob = blob_of(place, "model.safetensors");
            let mut bytes = fs::read(&blob).unwrap();
            bytes[1_000] ^= 1;
            fs::write(&blob, bytes).unwrap();
        }),
        ("truncated", HealingKind::Truncated, |place| {
            let blob = fs::OpenOptions::new()
                .write(true)
                .open(blob_of(place, "model.safetensors"))
                .unwrap();
            blob.set_len(catalogue::GEMMA_WEIGHTS_BYTES / 2).unwrap();
        }),
        ("too long", HealingKind::TooLong, |place| {
            let blob = blob_of(place, "config.json");
            let mut bytes = fs::read(&blob).unwrap();
            bytes.push(b' ');
            fs::write(&blob, bytes).unwrap();
        }),
        ("lfs pointer", HealingKind::LfsPointer, |place| {
            let text = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";
            fs::write(blob_of(place, "model.safetensors"), text).unwrap();
        }),
        ("error page", HealingKind::ErrorPage, |place| {
            let page = "<!DOCTYPE html><html>Please log in</html>";
            fs::write(blob_of(place, "model.safetensors"), page).unwrap();
        }),
        ("dangling", HealingKind::DanglingPointer, |place| {
            fs::remove_file(blob_of(place, "config.json")).unwrap();
        }),
        ("absolute pointer", HealingKind::ForeignPointer, |place| {
            let blob = blob_of(place, "config.json");
            let pointer = pointer_of(place, "config.json");
            fs::remove_file(&pointer).unwrap();
            symlink(blob, pointer).unwrap();
        }),
        ("wrong pointer", HealingKind::WrongPointer, |place| {
            let pointer = pointer_of(place, "config.json");
            let other = fs::read_link(pointer_of(place, "tokenizer_config.json")).unwrap();
            fs::remove_file(&pointer).unwrap();
            symlink(other, pointer).unwrap();
        }),
        ("regular file", HealingKind::RegularFile, |place| {
            let pointer = pointer_of(place, "config.json");
            fs::remove_file(&pointer).unwrap();
            fs::write(pointer, "{\"edited\": true}").unwrap();
        }),
        ("ref with a newline", HealingKind::MalformedRef, |place| {
            let path = place.repo_folder().join("refs/main");
            let text = fs::read_to_string(&path).unwrap();
            fs::write(path, text + "\n").unwrap();
        }),
    ];
    for (name, kind, damage) in cases {
        let place = pulled_place().await;
        damage(&place);
        let pulled = place.pull(request(GEMMA)).await;
        assert!(
            matches!(pulled.outcome, Outcome::Complete(_)),
            "{name}: {:?}",
            pulled.outcome
        );
        assert!(
            healed(&pulled).contains(&kind),
            "{name}: {:?}",
            healed(&pulled)
        );
        // None of it was tried in vain, and nobody is blamed.
        let mut events = pulled.events.iter();
        let is_rewound = events.any(|it| matches!(it.event, Event::Rewound { .. }));
        assert!(!is_rewound, "{name}");
        let again = place.pull(request(GEMMA)).await;
        assert!(healed(&again).is_empty(), "{name}: healed twice");
        let reference = fs::read(place.repo_folder().join("refs/main")).unwrap();
        assert_eq!(reference.len(), 40, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_prefix_of_a_truncated_blob_is_not_fetched_again() {
    let place = pulled_place().await;
    let half = catalogue::GEMMA_WEIGHTS_BYTES / 2;
    fs::OpenOptions::new()
        .write(true)
        .open(blob_of(&place, "model.safetensors"))
        .unwrap()
        .set_len(half)
        .unwrap();
    let pulled = place.pull(request(GEMMA)).await;
    assert!(pulled.events.iter().any(|stamped| matches!(
        stamped.event,
        Event::Downloading { from_bytes, .. } if from_bytes == half
    )));
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_bytes_are_set_aside_and_stay_until_the_good_ones_are_proven() {
    let place = pulled_place().await;
    let blob = blob_of(&place, "config.json");
    // No text: that would be kept, since somebody may have written it.
    fs::write(&blob, vec![0xff; fs::read(&blob).unwrap().len()]).unwrap();
    place.hub.set_faults(vec![Fault::new(
        Matcher::path("config.json"),
        Effect::Status { code: 503 },
    )]);
    let failed = place.pull_unchecked(request(GEMMA)).await;
    assert!(matches!(failed.outcome, Outcome::Failed { .. }));
    assert!(blob.exists(), "a failed pull takes nothing away");
    place.hub.set_faults(Vec::new());
    let pulled = place.pull(request(GEMMA)).await;
    let healed = pulled.events.iter().any(|stamped| {
        matches!(&stamped.event, Event::Healed(healing)
            if healing.kind == HealingKind::WrongHash && healing.set_aside.is_none())
    });
    assert!(healed, "it is said");
    let names = fs::read_dir(blob.parent().unwrap()).unwrap();
    let aside = names.filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().ends_with(".corrupt")
    });
    assert_eq!(
        aside.count(),
        0,
        "wrong bytes are gone once the right ones are proven"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_revision_and_another_repo_give_their_bytes() {
    let place = pulled_place().await;
    let older = place.pull(request(&format!("{GEMMA}@older"))).await;
    assert!(matches!(older.outcome, Outcome::Complete(_)));
    let from_cache = older.events.iter().filter(|stamped| {
        matches!(
            stamped.event,
            Event::Reused {
                origin: Origin::Cache,
                ..
            }
        )
    });
    assert!(from_cache.count() > 0);

    place.hub.clear_requests();
    let fork = place.pull(request("someone/gemma-fork")).await;
    assert!(matches!(fork.outcome, Outcome::Complete(_)));
    assert!(fork.events.iter().any(|stamped| matches!(
        stamped.event,
        Event::Reused {
            origin: Origin::OtherRepo { .. },
            ..
        }
    )));
    let weights = place
        .hub
        .requests()
        .into_iter()
        .any(|request| request.path.contains("model.safetensors"));
    assert!(!weights, "the fork's weights were already here");
    let snapshots = place.config.cache_dir.join("models--someone--gemma-fork");
    assert_no_link_leaves(&snapshots);
}

/// No symlink below `repo` leads out of it.
fn assert_no_link_leaves(repo: &Path) {
    let real = fs::canonicalize(repo).unwrap();
    let mut folders = vec![repo.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let kind = fs::symlink_metadata(&path).unwrap().file_type();
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_symlink() {
                let target = fs::canonicalize(&path).unwrap();
                assert!(target.starts_with(&real), "{} leaves", path.display());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partials_of_every_writer_are_adopted() {
    let whole = catalogue::gemma_weights();
    let half = whole.len() / 2;
    for name in [
        "{etag}.incomplete",
        "{etag}.0a1b2c3d.incomplete",
        "{etag}.part",
    ] {
        for is_good in [true, false] {
            let place = Place::new(catalogue::gemma(), Vec::new()).await;
            let blobs = place.repo_folder().join("blobs");
            fs::create_dir_all(&blobs).unwrap();
            let mut partial = whole[..half].to_vec();
            if !is_good {
                partial[10] ^= 1;
            }
            let name = name.replace("{etag}", &catalogue::gemma_weights_etag());
            fs::write(blobs.join(name), partial).unwrap();
            let pulled = place.pull(request(GEMMA)).await;
            assert!(
                matches!(pulled.outcome, Outcome::Complete(_)),
                "{:?}",
                pulled.outcome
            );
            let resumed = pulled.events.iter().any(|stamped| {
                matches!(
                    stamped.event,
                    Event::Downloading { from_bytes, .. } if from_bytes == half as u64
                )
            });
            assert!(resumed);
            let left = fs::read_dir(&blobs)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .filter(|name| name.contains('.'))
                .collect::<Vec<_>>();
            assert!(left.is_empty(), "{left:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ref_stays_while_the_new_snapshot_holds_less() {
    let place = Place::new(catalogue::gemma(), Vec::new()).await;
    let all = PullRequest {
        all: true,
        ..request(GEMMA)
    };
    place.pull(all).await;
    let before = fs::read_to_string(place.repo_folder().join("refs/main")).unwrap();
    catalogue::push_gemma_update(&place.hub);
    let pulled = place.pull(request(GEMMA)).await;
    let Outcome::Complete(result) = &pulled.outcome else {
        panic!("{:?}", pulled.outcome)
    };
    assert!(
        matches!(result.reference, RefMove::Kept { .. }),
        "{:?}",
        result.reference
    );
    assert!(Path::new(&result.snapshot).join("config.json").exists());
    assert_eq!(
        fs::read_to_string(place.repo_folder().join("refs/main")).unwrap(),
        before
    );
    let whole = place
        .pull(PullRequest {
            all: true,
            ..request(GEMMA)
        })
        .await;
    let Outcome::Complete(result) = whole.outcome else {
        panic!()
    };
    assert!(matches!(result.reference, RefMove::Moved { from: Some(_) }));
}

#[tokio::test(flavor = "multi_thread")]
async fn force_fetches_afresh_and_swaps_only_when_verified() {
    let place = pulled_place().await;
    let forced = PullRequest {
        force: true,
        ..request(GEMMA)
    };
    place.hub.set_faults(vec![Fault::new(
        Matcher::path("config.json"),
        Effect::FlipByte { at: 3 },
    )]);
    let failed = place.pull(forced.clone()).await;
    assert!(matches!(failed.outcome, Outcome::Failed { .. }));
    place.hub.set_faults(Vec::new());
    let pulled = place.pull(forced).await;
    let Outcome::Complete(result) = pulled.outcome else {
        panic!()
    };
    assert!(result.fetched_bytes >= catalogue::GEMMA_WEIGHTS_BYTES);
}

#[tokio::test(flavor = "multi_thread")]
async fn dry_run_and_a_disk_that_is_too_small_write_nothing() {
    let place = Place::new(catalogue::gemma(), Vec::new()).await;
    let planned = place
        .pull(PullRequest {
            dry_run: true,
            ..request(GEMMA)
        })
        .await;
    assert_eq!(planned.outcome, Outcome::Planned);
    assert!(!place.config.cache_dir.exists());

    let huge = Place::new(catalogue::huge(), Vec::new()).await;
    let pulled = huge.pull(request("someone/huge")).await;
    let Outcome::Failed { failures } = pulled.outcome else {
        panic!()
    };
    assert_eq!(failures[0].code, FailureCode::DiskFull);
    assert!(failures[0].needed_bytes.unwrap() > failures[0].free_bytes.unwrap());
    assert!(!huge.config.cache_dir.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn offline_serves_what_is_complete_and_asks_nobody() {
    let mut place = pulled_place().await;
    place.config.is_offline = true;
    let pulled = place.pull(request(GEMMA)).await;
    assert!(
        matches!(pulled.outcome, Outcome::Complete(_)),
        "{:?}",
        pulled.outcome
    );
    fs::remove_file(blob_of(&place, "config.json")).unwrap();
    let missing = place.pull_unchecked(request(GEMMA)).await;
    let Outcome::Failed { failures } = missing.outcome else {
        panic!()
    };
    assert_eq!(failures[0].code, FailureCode::Offline);
    assert!(place.hub.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_held_by_another_program_is_waited_for() {
    let place = Place::new(catalogue::gemma(), Vec::new()).await;
    let locks = place
        .config
        .cache_dir
        .join(".locks/models--mlx-community--gemma-2-2b-it-4bit");
    fs::create_dir_all(locks.join("blobs")).unwrap();
    let etag = catalogue::gemma_weights_etag();
    for path in [
        locks.join(format!("{etag}.lock")),
        locks.join(format!("blobs/{etag}.lock")),
    ] {
        let held = fs::File::create(&path).unwrap();
        held.lock().unwrap();
        let mut held = Some(held);
        let pulled = place
            .pull_commanding(
                PullRequest {
                    force: true,
                    ..request(GEMMA)
                },
                |stamped| {
                    if let Event::Waiting { lock, .. } = &stamped.event {
                        assert!(lock.lock.contains(".lock"));
                        held = None;
                    }
                    None
                },
            )
            .await;
        assert!(held.is_none(), "waited for {}", path.display());
        assert!(matches!(pulled.outcome, Outcome::Complete(_)));
        assert!(path.exists(), "lock files stay");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_symlinks_files_are_placed_whole() {
    let place = Place::with(
        catalogue::gemma(),
        Vec::new(),
        &[("HF_HUB_DISABLE_SYMLINKS", "1")],
    )
    .await;
    for _ in 0..2 {
        let pulled = place.pull(request(GEMMA)).await;
        assert!(
            matches!(pulled.outcome, Outcome::Complete(_)),
            "{:?}",
            pulled.outcome
        );
        let file = pointer_of(&place, "model.safetensors");
        assert!(fs::symlink_metadata(&file).unwrap().is_file());
        assert_eq!(fs::read(file).unwrap(), catalogue::gemma_weights());
    }
    assert_eq!(
        place
            .hub
            .requests()
            .iter()
            .filter(|request| request.path.contains("model.safetensors") && request.method == "GET")
            .count(),
        2,
        "one resolve and one body in all"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_pulls_at_once_fetch_everything_once() {
    let slow = Fault::new(
        Matcher::path("model.safetensors"),
        Effect::Slow {
            bytes_per_s: 4_000_000,
        },
    );
    let place = Place::new(catalogue::gemma(), vec![slow]).await;
    let (one, other) = tokio::join!(
        place.pull_unchecked(request(GEMMA)),
        place.pull_unchecked(request(GEMMA))
    );
    for pulled in [&one, &other] {
        assert!(
            matches!(pulled.outcome, Outcome::Complete(_)),
            "{:?}",
            pulled.outcome
        );
    }
    let requests = place.hub.requests();
    let weights: u64 = requests
        .iter()
        .filter(|request| request.origin == From::Cdn && request.path.contains("model.safetensors"))
        .map(|request| request.body_bytes_sent)
        .sum();
    assert_eq!(weights, catalogue::GEMMA_WEIGHTS_BYTES);
    let waited = [&one, &other].iter().any(|pulled| {
        let is_wait =
            |stamped: &larder::domain::Stamped| matches!(stamped.event, Event::Waiting { .. });
        pulled.events.iter().any(is_wait)
    });
    assert!(waited, "one of them waited for the other");
    crate::support::assert_all_visible_bytes_proven(&place.config.cache_dir);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_moves_in_the_middle_does_not_mix_two_commits() {
    let slow = Fault::new(
        Matcher::path("model.safetensors"),
        Effect::Slow {
            bytes_per_s: 4_000_000,
        },
    );
    let place = Place::new(catalogue::gemma(), vec![slow]).await;
    let mut planned = None;
    let pulled = place
        .pull_commanding(request(GEMMA), |stamped| {
            if let Event::Planned(plan) = &stamped.event {
                planned = Some(plan.commit);
                catalogue::push_gemma_update(&place.hub);
            }
            None
        })
        .await;
    let Outcome::Complete(result) = pulled.outcome else {
        panic!("{:?}", pulled.outcome)
    };
    assert_eq!(Some(result.commit), planned);
    crate::support::assert_all_visible_bytes_proven(&place.config.cache_dir);
    let again = place.pull(request(GEMMA)).await;
    let Outcome::Complete(result) = again.outcome else {
        panic!("{:?}", again.outcome)
    };
    assert_ne!(Some(result.commit), planned);
    assert!(matches!(result.reference, RefMove::Moved { from } if from == planned));
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_that_nothing_points_to_and_foreign_folders_are_left_alone() {
    let place = pulled_place().await;
    let orphan = place.repo_folder().join("blobs").join("0".repeat(64));
    fs::write(&orphan, "nobody's").unwrap();
    let foreign = place.config.cache_dir.join(".metadata/models--x");
    fs::create_dir_all(&foreign).unwrap();
    place.pull_unchecked(request(GEMMA)).await;
    assert!(orphan.exists() && foreign.is_dir());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_behind_a_link_and_under_an_absent_volume() {
    let mut place = Place::new(catalogue::gemma(), Vec::new()).await;
    let real = place.config.cache_dir.parent().unwrap().join("real");
    let link = real.with_file_name("link");
    fs::create_dir_all(&real).unwrap();
    symlink(&real, &link).unwrap();
    place.config.cache_dir = link;
    let pulled = place.pull(request(GEMMA)).await;
    let Outcome::Complete(result) = pulled.outcome else {
        panic!("{:?}", pulled.outcome)
    };
    assert!(
        Path::new(&result.snapshot).starts_with(&real),
        "{}",
        result.snapshot
    );

    place.config.cache_dir = PathBuf::from("/mnt/larder-test-volume-that-is-not-there/hub");
    let pulled = place.pull(request(GEMMA)).await;
    let Outcome::Failed { failures } = pulled.outcome else {
        panic!("{:?}", pulled.outcome)
    };
    assert_eq!(failures[0].code, FailureCode::NotWritable);
    assert!(!place.config.cache_dir.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ref_of_garbage_is_written_whatever_a_folder_called_main_holds() {
    // Python takes the text for a folder's name, so only the last leads anybody to the file.
    for (garbage, is_healed) in [
        (b"garbage\n".to_vec(), true),
        (Vec::new(), true),
        (vec![b'x'; 300], true),
        (b"../snapshots/main".to_vec(), true),
        (vec![0xff, 0], true),
        (b"main".to_vec(), false),
    ] {
        let place = Place::new(catalogue::gemma(), Vec::new()).await;
        let by_hand = place.repo_folder().join("snapshots/main");
        let main = place.repo_folder().join("refs/main");
        for folder in [by_hand.as_path(), main.parent().unwrap()] {
            fs::create_dir_all(folder).unwrap();
        }
        fs::write(by_hand.join("notes.txt"), "somebody's own").unwrap();
        fs::write(&main, &garbage).unwrap();
        let pulled = place.pull_unchecked(request(GEMMA)).await;
        let Outcome::Complete(result) = pulled.outcome else {
            panic!("{:?}", pulled.outcome)
        };
        let shown = String::from_utf8_lossy(&garbage).into_owned();
        if is_healed {
            assert_eq!(result.reference, RefMove::Moved { from: None }, "{shown}");
            let commit = result.commit.to_string();
            assert_eq!(fs::read_to_string(&main).unwrap(), commit, "{shown}");
        } else {
            assert!(
                matches!(&result.reference, RefMove::Kept { why, .. } if why.contains("notes.txt")),
                "{:?}",
                result.reference
            );
            assert_eq!(fs::read(&main).unwrap(), garbage);
        }
        let own = fs::read_to_string(by_hand.join("notes.txt")).unwrap();
        assert_eq!(own, "somebody's own");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_named_like_the_branch_is_not_hidden_by_less() {
    let place = Place::new(catalogue::gemma(), Vec::new()).await;
    let by_hand = place.repo_folder().join("snapshots/main");
    fs::create_dir_all(&by_hand).unwrap();
    for file in ["config.json", "README.md"] {
        fs::write(by_hand.join(file), "written by a script").unwrap();
    }
    let pulled = place.pull_unchecked(request(GEMMA)).await;
    let Outcome::Complete(result) = pulled.outcome else {
        panic!("{:?}", pulled.outcome)
    };
    assert!(
        matches!(&result.reference, RefMove::Kept { at: None, why } if why.contains("README.md")),
        "{:?}",
        result.reference
    );
    assert!(by_hand.join("README.md").exists());
    let whole = place
        .pull_unchecked(PullRequest {
            all: true,
            ..request(GEMMA)
        })
        .await;
    let Outcome::Complete(result) = whole.outcome else {
        panic!("{:?}", whole.outcome)
    };
    assert_eq!(result.reference, RefMove::Moved { from: None });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_pull_is_listed_with_what_is_here() {
    let place = Place::new(
        catalogue::gemma(),
        vec![Fault::new(
            Matcher::path("model.safetensors").origin(From::Cdn),
            Effect::FlipByte { at: 5 },
        )],
    )
    .await;
    place.pull(request(GEMMA)).await;
    let (engine, handle, mut events) = larder::engine::Engine::new(place.config.clone()).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(engine.run());
    assert!(handle.send(larder::domain::Command::List(None)));
    let models = loop {
        match events.recv().await.unwrap().event {
            Event::CachesSeen { .. } => {}
            Event::ModelsListed { models } => break models,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(models.len(), 1);
    assert_eq!(models[0].state, larder::domain::ModelState::Partial);
    assert!(models[0].problems[0].contains("larder pull"), "{models:?}");
}
