//! Owns event scripts: the stories that reducer, document and picture tests share.
//!
//! A script is a list of facts with times; its fold is the picture of that story.

use super::{Store, reduce};
use crate::domain::{
    Basis, Commit, Etag, Event, Failure, FailureCode, FileId, FileRow, FileState, Guide, GuideFile,
    Healing, HealingKind, HistoryRow, JobId, LockWait, ModelRow, ModelState, Origin, Outcome,
    PlannedFile, PullPlan, PullResult, RefMove, RepoId, RepoKind, RepoPath, RetryIn, Revision,
    Stamped,
};

/// 2026-11-24T02:00:00Z.
pub(crate) const START_MS: u64 = 1_795_485_600_000;
pub(crate) const SNAPSHOT: &str = "/cache/models--mlx-community--gemma-2-2b-it-4bit/snapshots/a1b2c3d4a1b2c3d4a1b2c3d4a1b2c3d4a1b2c3d4";

/// A list of facts.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) events: Vec<Stamped>,
    pub(super) now_ms: u64,
}

pub(crate) fn repo() -> RepoId {
    RepoId::new(RepoKind::Model, "mlx-community/gemma-2-2b-it-4bit").unwrap()
}

pub(crate) fn commit() -> Commit {
    Commit::new(&"a1b2c3d4".repeat(5)).unwrap()
}

pub(crate) fn planned_file(id: u32, path: &str, size_bytes: u64) -> PlannedFile {
    PlannedFile {
        file: FileId(id),
        path: RepoPath::new(path).unwrap(),
        size_bytes,
        etag: Etag::new(&format!("{id:064x}")).unwrap(),
        same_as: None,
        have_bytes: 0,
        is_reuse: false,
    }
}

/// Six files: two small, one to resume, one large, one here already, one with a twin's content.
pub(crate) fn plan() -> PullPlan {
    let mut files = vec![
        planned_file(0, "config.json", 4_100),
        planned_file(1, "tokenizer_config.json", 48_000),
        planned_file(2, "tokenizer.json", 17_000_000),
        planned_file(3, "model.safetensors", 1_330_000_000),
        planned_file(4, "special_tokens_map.json", 636),
        planned_file(5, "added_tokens.json", 636),
    ];
    files[1].is_reuse = true;
    files[1].have_bytes = 48_000;
    files[2].have_bytes = 5_000_000;
    files[5].same_as = Some(FileId(4));
    files[5].etag = files[4].etag;
    PullPlan {
        repo: repo(),
        revision: Revision::main(),
        commit: commit(),
        files,
        left_out: 2,
        total_bytes: 1_347_052_736,
        fetch_bytes: 1_342_004_736,
        disk_bytes: 1_342_004_736,
        free_bytes: Some(212_000_000_000),
        snapshot: SNAPSHOT.to_owned(),
        is_offline: false,
    }
}

pub(crate) fn reset() -> Failure {
    Failure::new(FailureCode::Reset, "connection reset")
        .because("os error 104")
        .at_path("model.safetensors")
        .at_url("https://huggingface.co/mlx-community/gemma-2-2b-it-4bit/resolve/main/model.safetensors")
}

impl Script {
    /// An empty story.
    pub(crate) fn new() -> Self {
        Self {
            events: Vec::new(),
            now_ms: START_MS,
        }
    }

    /// A pull that was accepted.
    pub(crate) fn started() -> Self {
        Self::new().then(
            0,
            Event::PullStarted {
                repo: repo(),
                revision: Revision::main(),
                endpoint: "huggingface.co".to_owned(),
                cache_dir: "/cache".to_owned(),
                is_dry_run: false,
                is_offline: false,
            },
        )
    }

    /// A pull that was planned.
    pub(crate) fn planned() -> Self {
        Self::started()
            .then(
                210,
                Event::Resolved {
                    repo: repo(),
                    commit: commit(),
                    files: 8,
                },
            )
            .then(5, Event::Planned(plan()))
    }

    /// The guide to the model that the stories are about comes.
    pub(crate) fn guided(self) -> Self {
        let guide = Guide {
            repo: repo(),
            revision: Revision::main(),
            commit: commit(),
            endpoint: "https://huggingface.co".to_owned(),
            files: plan()
                .files
                .iter()
                .take(2)
                .map(|file| GuideFile {
                    path: file.path.clone(),
                    size_bytes: file.size_bytes,
                    etag: file.etag,
                    url: format!(
                        "https://huggingface.co/{}/resolve/{}/{}",
                        repo(),
                        commit(),
                        file.path
                    ),
                })
                .collect(),
            here_files: 3,
            fetch_bytes: 53_000,
            needs_token: false,
            is_offline: false,
        };
        self.then(
            5,
            Event::Guided {
                repo: repo(),
                guide: Some(Box::new(guide)),
                failure: None,
            },
        )
    }

    /// Adds a fact `after_ms` later.
    pub(crate) fn then(mut self, after_ms: u64, event: Event) -> Self {
        self.now_ms += after_ms;
        self.events.push(Stamped {
            at_ms: self.now_ms,
            job: JobId(0),
            event,
        });
        self
    }

    pub(crate) fn connecting(self, file: u32, attempt: u32) -> Self {
        let file = FileId(file);
        self.then(
            10,
            Event::Connecting {
                file,
                attempt,
                source: "huggingface.co".to_owned(),
            },
        )
    }

    pub(crate) fn downloading(self, file: u32, attempt: u32, from_bytes: u64) -> Self {
        let file = FileId(file);
        self.then(
            40,
            Event::Downloading {
                file,
                attempt,
                from_bytes,
            },
        )
    }

    pub(crate) fn progress(self, after_ms: u64, file: u32, attempt: u32, bytes: u64) -> Self {
        let file = FileId(file);
        self.then(
            after_ms,
            Event::Progress {
                file,
                attempt,
                bytes,
            },
        )
    }

    pub(crate) fn fetched(self, file: u32, attempt: u32, fetched_bytes: u64) -> Self {
        let file = FileId(file);
        self.then(20, Event::Verifying { file, attempt }).then(
            5,
            Event::Finished {
                file,
                attempt,
                fetched_bytes,
            },
        )
    }

    pub(crate) fn failed(
        self,
        file: u32,
        attempt: u32,
        failure: Failure,
        retry: Option<RetryIn>,
    ) -> Self {
        let file = FileId(file);
        self.then(
            5,
            Event::Failed {
                file,
                attempt,
                failure,
                retry,
            },
        )
    }

    pub(crate) fn reusing(self, file: u32, attempt: u32) -> Self {
        let file = FileId(file);
        self.then(1, Event::Reusing { file, attempt })
    }

    pub(crate) fn waiting(self, after_ms: u64, file: u32, attempt: u32) -> Self {
        let lock = LockWait {
            lock: "/cache/.locks/models--mlx-community--gemma-2-2b-it-4bit/00.lock".to_owned(),
            pid: Some(4121),
            program: Some("python3".to_owned()),
            other_bytes: Some(2_000),
        };
        let file = FileId(file);
        self.then(
            after_ms,
            Event::Waiting {
                file,
                attempt,
                lock,
            },
        )
    }

    pub(crate) fn stalled(self, after_ms: u64, file: u32, attempt: u32, silent_ms: u64) -> Self {
        let file = FileId(file);
        self.then(
            after_ms,
            Event::Stalled {
                file,
                attempt,
                silent_ms,
            },
        )
    }

    /// The small files of a pull: one healed and waited for, one reused.
    fn small_files() -> Self {
        Self::planned()
            .then(
                1,
                Event::Healed(Healing {
                    kind: HealingKind::WrongHash,
                    path: Some(RepoPath::new("config.json").unwrap()),
                    location: "/cache/blobs/00".to_owned(),
                    set_aside: Some("/cache/blobs/00.corrupt".to_owned()),
                }),
            )
            .waiting(1, 0, 1)
            .waiting(1_000, 0, 1)
            .connecting(0, 1)
            .downloading(0, 1, 0)
            .fetched(0, 1, 4_100)
            .reusing(1, 1)
            .then(
                3,
                Event::Reused {
                    file: FileId(1),
                    attempt: 1,
                    origin: Origin::Cache,
                    is_verified: true,
                },
            )
    }

    /// The story of a whole pull: a wait, a resume, a stall, a reset, a healing, a rewind.
    pub(crate) fn eventful() -> Self {
        let retry = RetryIn {
            wait_ms: 2_100,
            failure: 1,
            of: 5,
        };
        Self::small_files()
            .reusing(2, 1)
            .connecting(2, 1)
            .downloading(2, 1, 5_000_000)
            .connecting(3, 1)
            .downloading(3, 1, 0)
            .progress(500, 2, 1, 11_000_000)
            .progress(500, 3, 1, 140_000_000)
            .fetched(2, 1, 12_000_000)
            .progress(1_000, 3, 1, 402_000_000)
            .stalled(5_000, 3, 1, 5_000)
            .stalled(1_000, 3, 1, 6_000)
            .progress(900, 3, 1, 410_000_000)
            .failed(3, 1, reset(), Some(retry))
            .connecting(4, 1)
            .downloading(4, 1, 0)
            .fetched(4, 1, 636)
            .connecting(3, 2)
            .downloading(3, 2, 410_000_000)
            .progress(1_000, 3, 2, 700_000_000)
            .then(
                1,
                Event::Rewound {
                    file: FileId(3),
                    attempt: 2,
                    from_bytes: 700_000_000,
                    to_bytes: 0,
                    why: "the server ignored the range".to_owned(),
                },
            )
            .downloading(3, 2, 0)
            .progress(2_000, 3, 2, 900_000_000)
            .then(
                3,
                Event::PartialRestored {
                    file: FileId(3),
                    attempt: 2,
                    bytes: 900_000_000,
                },
            )
            .progress(1_000, 3, 2, 1_200_000_000)
            .fetched(3, 2, 1_620_000_000)
    }

    /// The eventful story, ending well.
    pub(crate) fn complete() -> Self {
        Self::eventful().then(
            30,
            Event::Ended(Outcome::Complete(PullResult {
                snapshot: SNAPSHOT.to_owned(),
                commit: commit(),
                reference: RefMove::Kept {
                    at: Some(Commit::new(&"0b".repeat(20)).unwrap()),
                    why: "the snapshot it names holds `extra.bin`, which the new one does not"
                        .to_owned(),
                },
                fetched_bytes: 2_042_004_736,
                is_verified: true,
            })),
        )
    }

    /// Two files fail for good.
    pub(crate) fn broken() -> Self {
        let gone = Failure::new(FailureCode::FileNotFound, "the repo has no such file")
            .at_path("config.json");
        Self::planned()
            .connecting(0, 1)
            .failed(0, 1, gone.clone(), None)
            .connecting(3, 1)
            .downloading(3, 1, 0)
            .progress(900, 3, 1, 402_000_000)
            .failed(3, 1, reset(), None)
            .then(
                1,
                Event::Ended(Outcome::Failed {
                    failures: vec![gone, reset()],
                }),
            )
    }

    /// The user stops it.
    pub(crate) fn cancelled() -> Self {
        let mut script = Self::planned()
            .connecting(3, 1)
            .downloading(3, 1, 0)
            .progress(900, 3, 1, 402_000_000);
        for file in [3, 0, 1, 2, 4] {
            script = script.then(
                1,
                Event::Cancelled {
                    file: FileId(file),
                    attempt: 1,
                    is_paused: false,
                },
            );
        }
        script.then(1, Event::Ended(Outcome::Cancelled))
    }

    /// A look at the cache.
    pub(crate) fn listed(models: Vec<ModelRow>) -> Self {
        Self::new()
            .then(20, Event::ModelsListed { models })
            .then(1, Event::Ended(Outcome::Listed))
    }

    pub(crate) fn remembered(rows: Vec<HistoryRow>) -> Self {
        Self::new()
            .then(20, Event::HistoryListed { rows })
            .then(1, Event::Ended(Outcome::Listed))
    }

    /// Folds the story.
    pub(crate) fn fold(&self) -> Store {
        let mut store = Store::default();
        for stamped in &self.events {
            reduce(&mut store, stamped);
        }
        store
    }

    /// The time of the last fact.
    pub(crate) const fn now_ms(&self) -> u64 {
        self.now_ms
    }
}

/// A healthy model of the cache.
pub(crate) fn model_row(name: &str, size_bytes: u64) -> ModelRow {
    ModelRow {
        repo: RepoId::new(RepoKind::Model, name).unwrap(),
        revision: commit().to_string(),
        commit: Some(commit()),
        refs: vec!["main".to_owned()],
        snapshot: format!("/cache/models--{}/snapshots/x", name.replace('/', "--")),
        size_bytes,
        files_present: 6,
        files_expected: Some(6),
        state: ModelState::Complete,
        basis: Basis::Listing,
        is_unreferenced: false,
        cache: crate::domain::CacheKind::Hub,
        verified_ms: None,
        wrong_ms: None,
        problems: Vec::new(),
        modified_ms: Some(START_MS - 86_400_000 * 40),
        accessed_ms: Some(START_MS - 86_400_000 * 3),
    }
}

/// A file of it.
pub(crate) fn file_row(path: &str, size_bytes: u64) -> FileRow {
    FileRow {
        path: path.to_owned(),
        size_bytes: Some(size_bytes),
        expected_bytes: Some(size_bytes),
        etag: Some("ab".repeat(32)),
        state: FileState::Unverified,
        verified_ms: None,
        links: vec![format!("../../blobs/{}", "ab".repeat(32))],
    }
}
