//! Proves the lines of `--events` against their schema.

use std::collections::BTreeSet;

use super::super::schema::EVENT_SCHEMA;
use super::super::stage;
use super::*;
use crate::domain::{
    CacheKind, CacheRow, Etag, FailureCode, FileId, Finding, Guide, GuideFile, HealingKind,
    ImportResult, JobId, LockKind, LockRow, LockState, MissingFile, Offer, OfferKind,
    OtherProgress, OtherPull, Outcome, PlanStep, PullResult, Recognition, RepoId, RepoPath,
    RetryIn, Revision, Rule,
};
use crate::store::script::{Script, commit, file_row, model_row, reset};

/// Every event there is, each in every shape it can have.
fn every_event() -> Vec<Event> {
    let (file, attempt) = (FileId(0), 1);
    let retry = RetryIn {
        wait_ms: 2_000,
        failure: 1,
        of: 5,
    };
    let mut full = reset();
    full.needed_bytes = Some(1);
    full.free_bytes = Some(2);
    full.retry_after_ms = Some(3);
    let mut events: Vec<Event> = Script::complete()
        .events
        .into_iter()
        .map(|stamped| stamped.event)
        .collect();
    events.extend([
        Event::ListingRetried {
            failure: full.clone(),
            retry,
        },
        Event::Noted {
            note: "x".to_owned(),
        },
        Event::Validated(validation()),
        Event::WaitingForPull(OtherPull {
            pid: Some(4121),
            program: None,
            progress: Some(OtherProgress {
                files_done: 3,
                files_total: 5,
                bytes_done: 10,
                bytes_total: 20,
            }),
            proof: "its `flock` is taken".to_owned(),
        }),
        Event::Failed {
            file,
            attempt,
            failure: full.clone(),
            retry: None,
        },
        Event::Cancelled {
            file,
            attempt,
            is_paused: true,
        },
        Event::ConnectionLost {
            file,
            attempt,
            bytes: 30_000_000,
            failure: full.clone(),
        },
        Event::HistoryListed {
            rows: vec![crate::domain::HistoryRow {
                at_ms: 1,
                kind: "pull".to_owned(),
                repo: "a/b".to_owned(),
                revision: "main".to_owned(),
                bytes: 1,
                took_ms: 2,
                retries: 3,
                outcome: "failed".to_owned(),
                reason: Some("x".to_owned()),
            }],
        },
        Event::ModelsListed {
            models: vec![model_row("a/b", 1)],
        },
        Event::FilesListed {
            model: Box::new(model_row("a/b", 1)),
            files: vec![file_row("x", 1)],
        },
        Event::PurgePlanned(crate::store::survey_script::purge_plan()),
        Event::TrashSeen {
            rows: crate::store::survey_script::trash_rows(),
        },
        Event::Ended(Outcome::Trashed(crate::domain::TrashResult {
            ids: vec!["6a1f3b20".to_owned()],
            restored: vec!["/cache/models--org--m".to_owned()],
            ..crate::domain::TrashResult::default()
        })),
        Event::Reopened { files: vec![file] },
        Event::Ended(Outcome::Planned),
        Event::Ended(Outcome::Listed),
        Event::Ended(Outcome::Cancelled),
        Event::Ended(Outcome::Failed {
            failures: FailureCode::ALL
                .map(|code| Failure::new(code, "x"))
                .to_vec(),
        }),
    ]);
    events.extend(every_shape());
    events.extend(every_look());
    events
}

/// A look before a download, with everything it can say.
pub(super) fn validation() -> crate::domain::Validation {
    use crate::domain::{LoadLevel, LoadTrouble, Validation};
    let levels = [
        LoadLevel::Note,
        LoadLevel::Warning,
        LoadLevel::Missing,
        LoadLevel::Broken,
    ];
    Validation {
        would_load: false,
        asked_bytes: 12_345,
        troubles: levels
            .map(|level| LoadTrouble::new(level, "`a` is odd").of_file("a"))
            .into_iter()
            .chain(Rule::ALL.map(|rule| {
                LoadTrouble::new(LoadLevel::Note, "x")
                    .by_rule(rule)
                    .because("y")
            }))
            .collect(),
    }
}

/// The events about the whole cache.
fn every_look() -> Vec<Event> {
    let mut events: Vec<Event> = [
        Script::survey(),
        Script::survey_of_nothing(),
        Script::unreadable(),
        Script::verified(),
        Script::new().purged(),
    ]
    .into_iter()
    .flat_map(|script| script.events)
    .map(|stamped| stamped.event)
    .collect();
    let bare = RepoId::new(RepoKind::Dataset, "org/bare").unwrap();
    let findings = Rule::ALL.map(|rule| {
        Finding::new(rule, "x", "y")
            .seen("/x", None, None, "nothing")
            .step(PlanStep::ByHand {
                advice: "look at it".to_owned(),
            })
    });
    events.push(Event::FindingsSeen {
        findings: findings.to_vec(),
    });
    let kinds = [
        CacheKind::Hub,
        CacheKind::LocalDir,
        CacheKind::HubApi,
        CacheKind::LmStudio,
        CacheKind::MlxCache,
        CacheKind::Swama,
        CacheKind::Folder,
    ];
    let caches = kinds.map(|kind| CacheRow {
        kind,
        path: "/x".to_owned(),
        origin: "default".to_owned(),
        is_present: kind != CacheKind::Folder,
        trouble: (kind == CacheKind::Folder).then(|| "it is not there".to_owned()),
        models: 1,
        size_bytes: 2,
    });
    events.push(Event::CachesSeen {
        caches: caches.to_vec(),
    });
    let mut locks = Vec::new();
    for kind in [
        LockKind::Marker,
        LockKind::Hub,
        LockKind::Swift,
        LockKind::Legacy,
        LockKind::LocalDir,
        LockKind::Downloader,
        LockKind::Loader,
    ] {
        for state in [
            LockState::Held,
            LockState::Free,
            LockState::Unknown,
            LockState::Stale,
        ] {
            locks.push(LockRow {
                repo: bare.clone(),
                cache: CacheKind::LocalDir,
                cache_path: "/x".to_owned(),
                kind,
                path: "/x.lock".to_owned(),
                etag: Some("ab".repeat(32)),
                file: None,
                state,
                pid: None,
                program: None,
                command_line: None,
                since_ms: None,
                is_ours: true,
                proof: "its flock was free".to_owned(),
            });
        }
    }
    events.push(Event::LocksSeen { locks });
    events
}

/// The events whose parts have shapes of their own.
fn every_shape() -> Vec<Event> {
    let (file, attempt) = (FileId(0), 1);
    let mut events = Vec::new();
    for origin in [
        Origin::Cache,
        Origin::Snapshot,
        Origin::LocalDir,
        Origin::HubCache,
        Origin::Empty,
        Origin::OtherRepo {
            folder: "/x".to_owned(),
        },
    ] {
        events.push(Event::Reused {
            file,
            attempt,
            origin,
            is_verified: false,
        });
    }
    for reference in [
        RefMove::None,
        RefMove::Unchanged,
        RefMove::Moved { from: None },
        RefMove::Moved {
            from: Some(commit()),
        },
        RefMove::Kept {
            at: None,
            why: "x".to_owned(),
        },
    ] {
        events.push(Event::Ended(Outcome::Complete(PullResult {
            snapshot: "/x".to_owned(),
            commit: commit(),
            reference,
            fetched_bytes: 1,
            is_verified: true,
        })));
    }
    for kind in [
        HealingKind::WrongHash,
        HealingKind::Truncated,
        HealingKind::TooLong,
        HealingKind::LfsPointer,
        HealingKind::ErrorPage,
        HealingKind::Folder,
        HealingKind::DanglingPointer,
        HealingKind::ForeignPointer,
        HealingKind::WrongPointer,
        HealingKind::RegularFile,
        HealingKind::MalformedRef,
        HealingKind::StaleNoExist,
        HealingKind::Leftover,
    ] {
        events.push(Event::Healed(Healing {
            kind,
            path: None,
            location: "/x".to_owned(),
            set_aside: None,
        }));
    }
    events.extend(by_hand());
    events
}

/// A file of every kind that can be offered.
fn every_offer() -> Vec<Offer> {
    let path = || RepoPath::new("model.safetensors").unwrap();
    [
        OfferKind::Wanted {
            files: vec![path()],
            is_hashed: true,
        },
        OfferKind::Here {
            files: vec![path()],
        },
        OfferKind::Truncated {
            file: path(),
            expected_bytes: 2,
        },
        OfferKind::TooLong {
            file: path(),
            expected_bytes: 2,
        },
        OfferKind::WrongHash { file: path() },
        OfferKind::ErrorPage { file: path() },
        OfferKind::LfsPointer { file: path() },
        OfferKind::Changed { file: path() },
        OfferKind::Foreign,
        OfferKind::Outside,
        OfferKind::Unreadable {
            why: "x".to_owned(),
        },
    ]
    .into_iter()
    .map(|kind| Offer {
        path: "/usb/file".to_owned(),
        size_bytes: Some(1),
        kind,
    })
    .collect()
}

/// Of importing and guiding.
fn by_hand() -> Vec<Event> {
    let path = || RepoPath::new("model.safetensors").unwrap();
    let offers = every_offer();
    let missing = || {
        vec![MissingFile {
            path: path(),
            size_bytes: 3,
        }]
    };
    let repo = || RepoId::new(RepoKind::Model, "org/m").unwrap();
    let guide = Guide {
        repo: repo(),
        revision: Revision::main(),
        commit: commit(),
        endpoint: "https://hub".to_owned(),
        files: vec![GuideFile {
            path: path(),
            size_bytes: 3,
            etag: Etag::GitSha1([7; 20]),
            url: "https://hub/org/m/resolve/c/model.safetensors".to_owned(),
        }],
        here_files: 1,
        fetch_bytes: 3,
        needs_token: false,
        is_offline: false,
    };
    vec![
        Event::Recognised(Recognition {
            repo: repo(),
            revision: Revision::main(),
            commit: commit(),
            is_offline: true,
            offers: offers.clone(),
            more_foreign: 1,
            missing: missing(),
        }),
        Event::Copied {
            file: FileId(0),
            attempt: 1,
            bytes: 9,
        },
        Event::Guided {
            repo: repo(),
            guide: Some(Box::new(guide)),
            failure: None,
        },
        Event::Guided {
            repo: repo(),
            guide: None,
            failure: Some(reset()),
        },
        Event::Reused {
            file: FileId(0),
            attempt: 1,
            origin: Origin::Import {
                path: "/usb/file".to_owned(),
            },
            is_verified: true,
        },
        Event::Ended(Outcome::Imported(ImportResult {
            snapshot: "/x".to_owned(),
            commit: commit(),
            reference: RefMove::None,
            imported_files: 1,
            imported_bytes: 2,
            here_files: 0,
            refused: offers,
            missing: missing(),
        })),
    ]
}

#[test]
fn every_event_keeps_its_schema_and_the_schema_names_no_other() {
    let mut names = BTreeSet::new();
    for event in every_event() {
        let line = super::event(&Stamped {
            at_ms: 1_795_485_600_123,
            job: JobId(3),
            event,
        });
        assert!(!line.contains('\n'));
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["at"], "2026-11-24T02:00:00.123Z");
        names.insert(line["event"].as_str().unwrap().to_owned());
        stage::check(&line, EVENT_SCHEMA);
    }
    let schema: serde_json::Value = serde_json::from_str(EVENT_SCHEMA).unwrap();
    let known: BTreeSet<String> = schema["oneOf"]
        .as_array()
        .unwrap()
        .iter()
        .map(|shape| {
            shape["properties"]["event"]["const"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(names, known);
}

#[test]
#[should_panic(expected = "kept-nothing")]
fn the_schema_can_fail() {
    let line = serde_json::json!({
        "schema": 1, "at": null, "job": 0, "event": "kept-nothing"
    });
    stage::check(&line, EVENT_SCHEMA);
}

#[test]
fn times_are_rfc_3339_or_nothing() {
    assert_eq!(rfc3339(0).as_deref(), Some("1970-01-01T00:00:00Z"));
    assert_eq!(rfc3339(u64::MAX), None);
}
