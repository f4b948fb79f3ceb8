//! Owns the stories about a whole cache: a look at everything, verifying, a purge.
//!
//! Part of `script`, and like it only for tests.

use super::script::{SNAPSHOT, START_MS, Script, commit, model_row, repo};
use crate::domain::{
    Bundle, CacheKind, Discard, DiscardKind, DiscardPath, DiscardReason, DiscardRequest, Disk,
    Event, Failure, FailureCode, Finding, Kept, LockKind, LockRow, LockState, ModelRow, ModelState,
    Network, Outcome, PartialRow, PartialState, Plan, PlanStep, PurgePlan, PurgeResult, RepoId,
    RepoKind, Rule, TrashResult, TrashRow, Verification,
};

const FOLDER: &str = "/cache/models--mlx-community--gemma-2-2b-it-4bit";

fn other() -> RepoId {
    RepoId::new(RepoKind::Model, "org/other").unwrap()
}

/// A lock that another program holds.
pub(crate) fn held_lock() -> LockRow {
    LockRow {
        repo: repo(),
        cache: CacheKind::Hub,
        cache_path: "/cache".to_owned(),
        kind: LockKind::Marker,
        path: format!("{FOLDER}/.manual_download_lock"),
        etag: None,
        file: None,
        state: LockState::Held,
        pid: Some(4121),
        program: Some("python3".to_owned()),
        command_line: Some("python3 fetch.py".to_owned()),
        since_ms: Some(START_MS - 2 * 3_600_000),
        is_ours: false,
        proof: "its flock is held by process 4121".to_owned(),
    }
}

/// An unfinished blob, live or abandoned.
pub(crate) fn partial_row(repo: RepoId, path: &str, bytes: u64, state: PartialState) -> PartialRow {
    PartialRow {
        repo,
        path: path.to_owned(),
        etag: "03".repeat(32),
        file: Some("model.safetensors".to_owned()),
        bytes,
        expected_bytes: Some(1_330_000_000),
        modified_ms: START_MS - 3 * 3_600_000,
        is_superseded: false,
        state,
    }
}

/// The finding about an unfinished blob that nobody writes.
pub(crate) fn abandoned(repo: &RepoId, path: &str, bytes: u64) -> Finding {
    Finding::new(
        Rule::AbandonedPartial,
        "an unfinished blob that nobody is writing",
        "a download was interrupted",
    )
    .of_model(repo, None)
    .seen(
        path,
        Some(bytes),
        Some(1_330_000_000),
        "no process has it open",
    )
    .step(PlanStep::RemovePartial {
        repo: repo.clone(),
        path: path.to_owned(),
        bytes,
        modified_ms: START_MS - 3 * 3_600_000,
        is_superseded: false,
        map: None,
    })
}

/// A blob that is too short.
pub(crate) fn truncated() -> Finding {
    Finding::new(
        Rule::Truncated,
        "`tokenizer.json` is shorter than its file",
        "a copy was cut off",
    )
    .of_model(&repo(), Some(&commit().to_string()))
    .of_file("tokenizer.json")
    .seen(
        &format!("{FOLDER}/blobs/02"),
        Some(5_000_000),
        Some(17_000_000),
        "5000000 of 17000000 bytes",
    )
    .step(PlanStep::Pull {
        repo: repo(),
        revision: "main".to_owned(),
        files: Vec::new(),
        fetch_bytes: Some(12_000_000),
    })
}

fn models() -> Vec<ModelRow> {
    let mut broken = model_row(repo().name(), 1_335_000_000);
    SNAPSHOT.clone_into(&mut broken.snapshot);
    broken.state = ModelState::Broken;
    broken.problems = vec!["`tokenizer.json` is truncated".to_owned()];
    let mut partial = model_row("org/other", 7_000);
    partial.state = ModelState::Partial;
    partial.files_present = 2;
    vec![
        model_row("mlx-community/Qwen3-4B-4bit", 2_280_000_000),
        broken,
        partial,
    ]
}

impl Script {
    /// A look at a cache in which all sorts of things are the matter.
    pub(crate) fn survey() -> Self {
        let stale = format!("{FOLDER}/blobs/03.1a2b3c4d.incomplete");
        let left = "/cache/models--org--other/blobs/07.incomplete";
        let live = PartialState::Live {
            is_ours: false,
            pid: Some(4121),
            program: Some("python3".to_owned()),
        };
        let missing = Finding::new(
            Rule::MissingFiles,
            "4 of 6 files are missing",
            "a pull was not finished",
        )
        .of_model(&other(), Some("main"))
        .step(PlanStep::Pull {
            repo: other(),
            revision: "v1.0".to_owned(),
            files: Vec::new(),
            fetch_bytes: None,
        });
        Self::new()
            .then(20, Event::ModelsListed { models: models() })
            .then(
                1,
                Event::FindingsSeen {
                    findings: vec![
                        truncated(),
                        abandoned(&repo(), &stale, 402_000_000),
                        missing,
                        abandoned(&other(), left, 12),
                    ],
                },
            )
            .then(
                1,
                Event::LocksSeen {
                    locks: vec![held_lock()],
                },
            )
            .then(
                1,
                Event::PartialsSeen {
                    partials: vec![
                        partial_row(repo(), &stale, 402_000_000, PartialState::Abandoned),
                        partial_row(
                            repo(),
                            &format!("{FOLDER}/blobs/05.9f8e7d6c.incomplete"),
                            700_000_000,
                            live,
                        ),
                        partial_row(other(), left, 12, PartialState::Abandoned),
                    ],
                },
            )
            .then(
                1,
                Event::DiskSeen(Disk {
                    free_bytes: 212_000_000_000,
                    total_bytes: 994_662_584_320,
                }),
            )
            .then(60, Event::NetworkSeen(Network::Reachable { answer_ms: 38 }))
            .then(1, Event::Ended(Outcome::Listed))
    }

    /// A look at a cache that is not there yet.
    pub(crate) fn survey_of_nothing() -> Self {
        Self::new()
            .then(1, Event::ModelsListed { models: Vec::new() })
            .then(
                1,
                Event::FindingsSeen {
                    findings: Vec::new(),
                },
            )
            .then(1, Event::LocksSeen { locks: Vec::new() })
            .then(
                1,
                Event::PartialsSeen {
                    partials: Vec::new(),
                },
            )
            .then(1, Event::NetworkSeen(Network::Offline))
            .then(1, Event::Ended(Outcome::Listed))
    }

    /// Two snapshots are hashed: one is good, one is not.
    pub(crate) fn verified() -> Self {
        let seen = |repo: RepoId, snapshot: &str, findings: Vec<Finding>| Verification {
            what: Bundle::Snapshot,
            cache: CacheKind::Hub,
            repo: Some(repo),
            revision: commit().to_string(),
            snapshot: snapshot.to_owned(),
            files_good: 6 - findings.len(),
            files_total: 6,
            files_unread: 0,
            files_unknown: 0,
            files_hashed: 0,
            basis: Vec::new(),
            bytes: 1_350_000_000,
            findings,
        };
        let progress = |files, bytes| Event::VerifyProgress {
            files,
            bytes,
            path: "model.safetensors".to_owned(),
        };
        let mut script = Self::new().then(
            5,
            Event::VerifyStarted {
                snapshots: 2,
                files: 12,
                bytes: 2_700_000_000,
            },
        );
        for step in 1..=25 {
            script = script.then(200, progress(3, step * 54_000_000));
        }
        script
            .then(
                1,
                Event::ModelVerified(seen(
                    other(),
                    "/cache/models--org--other/snapshots/a",
                    Vec::new(),
                )),
            )
            .then(2_000, progress(11, 2_000_000_000))
            .then(
                1_000,
                Event::ModelVerified(seen(repo(), SNAPSHOT, vec![truncated()])),
            )
            .then(1, Event::Ended(Outcome::Verified { good: 1, broken: 1 }))
    }

    /// The purge of what [`Script::survey`] found: one file is gone, one has been taken up again.
    pub(crate) fn purged(self) -> Self {
        let left = "/cache/models--org--other/blobs/07.incomplete";
        self.then(
            30,
            Event::Ended(Outcome::Purged(PurgeResult {
                removed: vec![format!("{FOLDER}/blobs/03.1a2b3c4d.incomplete")],
                freed_bytes: 402_000_000,
                kept: vec![Kept {
                    path: left.to_owned(),
                    why: "process 4121 is writing it".to_owned(),
                }],
                ..PurgeResult::default()
            })),
        )
    }

    /// What a purge of a model would do, and after a yes what came of it.
    pub(crate) fn discarded() -> Self {
        Self::new()
            .then(20, Event::PurgePlanned(purge_plan()))
            .then(1, Event::Ended(Outcome::Planned))
            .then(
                30,
                Event::Ended(Outcome::Purged(PurgeResult {
                    removed: vec![format!("{FOLDER}/refs/main"), format!("{FOLDER}/blobs/03")],
                    moved_bytes: 1_350_000_000,
                    trash: vec!["6a1f3b20".to_owned()],
                    ..PurgeResult::default()
                })),
            )
    }

    /// A look into the trash, and then what became of something in it.
    pub(crate) fn trashed(result: TrashResult) -> Self {
        Self::new()
            .then(20, Event::TrashSeen { rows: trash_rows() })
            .then(1, Event::Ended(Outcome::Listed))
            .then(30, Event::Ended(Outcome::Trashed(result)))
    }

    /// A look at a cache that cannot be read.
    pub(crate) fn unreadable() -> Self {
        let failure = Failure::new(FailureCode::Permission, "the cache cannot be read")
            .because("permission denied")
            .at_path("/cache");
        Self::new()
            .then(
                1,
                Event::CacheUnreadable {
                    failure: failure.clone(),
                },
            )
            .then(1, Event::NetworkSeen(Network::Unreachable { failure }))
            .then(1, Event::Ended(Outcome::Listed))
    }
}

/// A whole model, an old entry of the trash, and something that somebody writes.
pub(crate) fn purge_plan() -> PurgePlan {
    let path = |path: &str, bytes| DiscardPath {
        path: format!("{FOLDER}/{path}"),
        bytes,
        modified_ms: START_MS - 86_400_000,
    };
    PurgePlan {
        request: DiscardRequest {
            targets: vec![(repo(), None)],
            ..DiscardRequest::default()
        },
        plan: Plan::of(PlanStep::Discard(Discard {
            repo: repo(),
            kind: DiscardKind::Repo,
            what: Vec::new(),
            reason: DiscardReason::Named,
            paths: vec![path("refs/main", 40), path("blobs/03", 1_350_000_000)],
            locks: vec![format!("/cache/.locks/{}/03.lock", repo().folder())],
            bytes: 1_350_000_040,
            accessed_ms: Some(START_MS - 3 * 86_400_000),
            trash: Some("/.larder-trash".to_owned()),
        })),
        kept: vec![Kept {
            path: "/cache/models--org--other".to_owned(),
            why: "process 4121 writes it".to_owned(),
        }],
        trash: Vec::new(),
    }
}

/// What the trash holds of two purges, one of which was cut off.
pub(crate) fn trash_rows() -> Vec<TrashRow> {
    let row = |id: &str, kind, what: Vec<String>, cut_off: Option<&str>| TrashRow {
        id: id.to_owned(),
        repo: repo(),
        kind,
        what,
        reason: "it was named".to_owned(),
        purged_ms: START_MS - 2 * 86_400_000,
        bytes: 1_350_000_000,
        path: format!("/.larder-trash/{id}"),
        cache: "/cache".to_owned(),
        cut_off: cut_off.map(ToOwned::to_owned),
    };
    vec![
        row("6a1f3b20", DiscardKind::Repo, Vec::new(), None),
        row(
            "6a1f3b2b",
            DiscardKind::Revisions,
            vec!["a".repeat(40)],
            Some("a purge was cut off"),
        ),
    ]
}
