//! The engine against the embedded Hub: what it fetches, what it survives, what it refuses.
//!
//! After every run a reader hashes everything that is visible, whatever the outcome was.

use std::collections::HashMap;
use std::time::Duration;

use larder::config::{Config, Environment, Flags};
use larder::domain::{
    Command, Event, FailureCode, FileId, Outcome, PullRequest, RefMove, RepoId, RepoKind,
    RepoReference, Revision, Stamped,
};
use larder::engine::Engine;
use larder::serve::{Catalogue, Effect, Fault, Matcher, Origin as From, Serving};

use crate::support::{Scratch, assert_all_visible_bytes_proven, catalogue};

const GEMMA: &str = "mlx-community/gemma-2-2b-it-4bit";

/// A cache, a Hub, and a client with short patience.
pub(crate) struct Place {
    /// Goes away with the place.
    _scratch: Scratch,
    pub(crate) hub: Serving,
    pub(crate) config: Config,
}

/// What a pull did.
pub(crate) struct Pulled {
    pub(crate) outcome: Outcome,
    pub(crate) events: Vec<Stamped>,
}

impl Pulled {
    #[track_caller]
    fn code(&self) -> FailureCode {
        match &self.outcome {
            Outcome::Failed { failures } => failures[0].code,
            other => panic!("expected a failure, got {other:?}"),
        }
    }

    #[track_caller]
    fn assert_complete(&self) -> &larder::domain::PullResult {
        match &self.outcome {
            Outcome::Complete(result) => result,
            other => panic!("expected a complete model, got {other:?}"),
        }
    }

    fn any(&self, is_it: impl Fn(&Event) -> bool) -> bool {
        self.events.iter().any(|stamped| is_it(&stamped.event))
    }
}

pub(crate) fn request(repo: &str) -> PullRequest {
    let named = RepoReference::parse(repo).unwrap();
    PullRequest::new(named.repo, named.revision.unwrap_or_else(Revision::main))
}

impl Place {
    pub(crate) async fn new(catalogue: Catalogue, faults: Vec<Fault>) -> Self {
        Self::with(catalogue, faults, &[]).await
    }

    pub(crate) async fn with(
        catalogue: Catalogue,
        faults: Vec<Fault>,
        environment: &[(&str, &str)],
    ) -> Self {
        let scratch = Scratch::new();
        let hub = Serving::start(catalogue, faults).await.unwrap();
        let home = scratch.path().display().to_string();
        let endpoint = hub.endpoint();
        let own = [("HOME", home.as_str()), ("HF_ENDPOINT", endpoint.as_str())];
        let environment =
            Environment::from_pairs(own.into_iter().chain(environment.iter().copied()));
        let mut config = Config::load(&Flags::default(), &environment).unwrap();
        config.retry.base = Duration::from_millis(10);
        config.retry.cap = Duration::from_millis(50);
        config.stall_timeout = Duration::from_millis(700);
        Self {
            _scratch: scratch,
            hub,
            config,
        }
    }

    pub(crate) fn repo_folder(&self) -> std::path::PathBuf {
        self.config
            .cache_dir
            .join("models--mlx-community--gemma-2-2b-it-4bit")
    }

    /// Pulls, and hashes everything that is visible afterwards.
    pub(crate) async fn pull(&self, request: PullRequest) -> Pulled {
        let pulled = self.pull_unchecked(request).await;
        assert_all_visible_bytes_proven(&self.config.cache_dir);
        pulled
    }

    /// Pulls into a cache that may hold damage which larder did not make.
    pub(crate) async fn pull_unchecked(&self, request: PullRequest) -> Pulled {
        self.pull_commanding(request, |_| None).await
    }

    /// Pulls; `react` may answer an event with a command.
    pub(crate) async fn pull_commanding(
        &self,
        request: PullRequest,
        mut react: impl FnMut(&Stamped) -> Option<Command>,
    ) -> Pulled {
        let (engine, handle, mut events_out) = Engine::new(self.config.clone()).unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(engine.run());
        assert!(handle.send(Command::Pull(request)));
        let mut events = Vec::new();
        let outcome = loop {
            let stamped = tokio::time::timeout(Duration::from_mins(1), events_out.recv())
                .await
                .expect("an event within a minute")
                .expect("the engine is alive");
            events.push(stamped.clone());
            let command = react(&stamped);
            let is_command = command.is_some();
            if let Some(command) = command {
                assert!(handle.send(command));
            }
            if let Event::Ended(outcome) = stamped.event
                && !is_command
            {
                break outcome;
            }
        };
        drop(handle);
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        assert_event_law(&events);
        Pulled { outcome, events }
    }

    /// Requests for file bodies since the last clearing.
    fn body_requests(&self) -> usize {
        self.hub
            .requests()
            .iter()
            .filter(|request| request.path.contains("/resolve/"))
            .count()
    }
}

/// The law of `domain/event.rs`.
fn assert_event_law(events: &[Stamped]) {
    let mut open: HashMap<FileId, (u32, u64)> = HashMap::new();
    let mut last: HashMap<FileId, u32> = HashMap::new();
    let mut planned: HashMap<FileId, bool> = HashMap::new();
    let mut at_ms = 0;
    for stamped in events {
        assert!(stamped.at_ms >= at_ms, "time fell");
        at_ms = stamped.at_ms;
        let begin = |open: &mut HashMap<FileId, (u32, u64)>, file: FileId, attempt: u32| {
            assert!(planned.contains_key(&file), "{file:?} was not planned");
            let entry = open.entry(file).or_insert((attempt, 0));
            assert_eq!(
                entry.0, attempt,
                "attempt {attempt} began before the last ended"
            );
        };
        match &stamped.event {
            Event::Planned(plan) => {
                for file in &plan.files {
                    planned.insert(file.file, file.same_as.is_some());
                }
            }
            Event::Waiting { file, attempt, .. }
            | Event::Reusing { file, attempt }
            | Event::Connecting { file, attempt, .. }
            | Event::Verifying { file, attempt }
            | Event::Stalled { file, attempt, .. }
            | Event::PartialRestored { file, attempt, .. } => begin(&mut open, *file, *attempt),
            Event::Downloading {
                file,
                attempt,
                from_bytes,
            } => {
                begin(&mut open, *file, *attempt);
                open.insert(*file, (*attempt, *from_bytes));
            }
            Event::Progress {
                file,
                attempt,
                bytes,
            } => {
                begin(&mut open, *file, *attempt);
                let before = open[file].1;
                assert!(*bytes >= before, "progress fell from {before} to {bytes}");
                open.insert(*file, (*attempt, *bytes));
            }
            Event::Rewound {
                file,
                attempt,
                to_bytes,
                ..
            } => {
                begin(&mut open, *file, *attempt);
                open.insert(*file, (*attempt, *to_bytes));
            }
            Event::Finished { file, attempt, .. }
            | Event::Reused { file, attempt, .. }
            | Event::Failed { file, attempt, .. }
            | Event::Cancelled { file, attempt, .. } => {
                let before = last.insert(*file, *attempt).unwrap_or(0);
                assert!(*attempt > before, "attempt {attempt} ended twice");
                if let Some((opened, _)) = open.remove(file) {
                    assert_eq!(opened, *attempt);
                }
            }
            _ => {}
        }
    }
    assert!(open.is_empty(), "attempts without an end: {open:?}");
}

fn weights() -> Matcher {
    Matcher::path("model.safetensors")
}

fn config_json() -> Matcher {
    Matcher::path("config.json")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_arrives_whole_and_a_second_pull_fetches_nothing() {
    let place = Place::new(catalogue::gemma(), Vec::new()).await;
    let pulled = place.pull(request(GEMMA)).await;
    let result = pulled.assert_complete();
    assert_eq!(result.reference, RefMove::Moved { from: None });
    assert!(result.is_verified);
    let reference = std::fs::read(place.repo_folder().join("refs/main")).unwrap();
    assert_eq!(
        reference,
        result.commit.to_string().as_bytes(),
        "40 bytes, no newline"
    );
    assert!(place.config.cache_dir.join("CACHEDIR.TAG").is_file());
    let partials = std::fs::read_dir(place.repo_folder().join("blobs"))
        .unwrap()
        .filter(|entry| {
            let name = entry.as_ref().unwrap().file_name();
            name.to_string_lossy().contains("incomplete")
        })
        .count();
    assert_eq!(partials, 0);

    place.hub.clear_requests();
    let again = place.pull(request(GEMMA)).await;
    assert_eq!(again.assert_complete().fetched_bytes, 0);
    assert_eq!(
        place.hub.requests().len(),
        1,
        "one for the commit; its listing is remembered"
    );
}

/// Faults that patience mends: the model is complete in the end.
#[tokio::test(flavor = "multi_thread")]
async fn faults_that_pass_end_in_a_verified_model() {
    let half = catalogue::GEMMA_WEIGHTS_BYTES / 2;
    let cases: Vec<(&str, Vec<Fault>)> = vec![
        (
            "cut",
            vec![
                Fault::new(
                    weights().origin(From::Cdn),
                    Effect::CutAfter { bytes: half },
                )
                .times(2),
            ],
        ),
        (
            "reset",
            vec![
                Fault::new(
                    weights().origin(From::Cdn),
                    Effect::ResetAfter { bytes: half },
                )
                .times(2),
            ],
        ),
        (
            "stall",
            vec![
                Fault::new(
                    weights().origin(From::Cdn),
                    Effect::Stall {
                        after_bytes: half,
                        millis: 5_000,
                    },
                )
                .times(1),
            ],
        ),
        (
            "slow",
            vec![
                Fault::new(
                    weights().origin(From::Cdn),
                    Effect::Slow {
                        bytes_per_s: 4_000_000,
                    },
                )
                .times(1),
            ],
        ),
        (
            "ignored range",
            vec![
                Fault::new(
                    weights().origin(From::Cdn),
                    Effect::CutAfter { bytes: half },
                )
                .times(1),
                Fault::new(weights().origin(From::Cdn), Effect::IgnoreRange),
            ],
        ),
        (
            "wrong content range",
            vec![
                Fault::new(
                    weights().origin(From::Cdn),
                    Effect::CutAfter { bytes: half },
                )
                .times(1),
                Fault::new(weights().origin(From::Cdn), Effect::WrongContentRange).times(1),
            ],
        ),
        (
            "416",
            vec![
                Fault::new(
                    weights().origin(From::Cdn),
                    Effect::CutAfter { bytes: half },
                )
                .times(1),
                Fault::new(weights().origin(From::Cdn), Effect::Status416).times(1),
            ],
        ),
        (
            "503",
            vec![Fault::new(config_json(), Effect::Status { code: 503 }).times(3)],
        ),
        (
            "500 while listing",
            vec![Fault::new(Matcher::api(), Effect::Status { code: 500 }).times(2)],
        ),
        (
            "wrong length",
            vec![
                Fault::new(
                    weights().origin(From::Cdn),
                    Effect::WrongLength { delta: 5 },
                )
                .times(1),
            ],
        ),
        (
            "longer body",
            vec![
                Fault::new(
                    weights().origin(From::Cdn),
                    Effect::LongerBody { extra: 10 },
                )
                .times(1),
            ],
        ),
        (
            "flipped byte",
            vec![Fault::new(weights().origin(From::Cdn), Effect::FlipByte { at: half }).times(1)],
        ),
        ("gzip", vec![Fault::new(config_json(), Effect::Gzip)]),
        (
            "other etag once",
            vec![Fault::new(config_json(), Effect::OtherEtag("ab".repeat(20))).times(1)],
        ),
        (
            "expired link",
            vec![Fault::new(weights().origin(From::Cdn), Effect::ExpiredLink).times(2)],
        ),
        (
            "expired in the middle",
            vec![
                Fault::new(
                    weights().origin(From::Cdn),
                    Effect::CutAfter { bytes: half },
                )
                .times(1),
                Fault::new(weights().origin(From::Cdn), Effect::ExpiredLink).times(1),
            ],
        ),
        (
            "lfs pointer text",
            vec![Fault::new(weights().origin(From::Cdn), Effect::LfsPointerText).times(1)],
        ),
    ];
    for (name, faults) in cases {
        let place = Place::new(catalogue::gemma(), faults).await;
        let pulled = place.pull(request(GEMMA)).await;
        assert!(
            matches!(pulled.outcome, Outcome::Complete(_)),
            "{name}: {:?}",
            pulled.outcome
        );
    }
}

/// Faults that stay: the right failure, and nothing visible.
#[tokio::test(flavor = "multi_thread")]
async fn faults_that_stay_end_in_their_own_failure() {
    let cases: Vec<(&str, Vec<Fault>, FailureCode)> = vec![
        (
            "5xx",
            vec![Fault::new(config_json(), Effect::Status { code: 502 })],
            FailureCode::Server,
        ),
        (
            "flipped byte",
            vec![Fault::new(
                weights().origin(From::Cdn),
                Effect::FlipByte { at: 7 },
            )],
            FailureCode::ChecksumMismatch,
        ),
        (
            "stalls",
            vec![Fault::new(
                weights().origin(From::Cdn),
                Effect::Stall {
                    after_bytes: 10,
                    millis: 60_000,
                },
            )],
            FailureCode::Stalled,
        ),
        (
            "wrong length",
            vec![Fault::new(
                weights().origin(From::Cdn),
                Effect::WrongLength { delta: 1 },
            )],
            FailureCode::SizeMismatch,
        ),
        (
            "longer body",
            vec![Fault::new(
                weights().origin(From::Cdn),
                Effect::LongerBody { extra: 1 },
            )],
            FailureCode::SizeMismatch,
        ),
        (
            "other etag",
            vec![Fault::new(
                config_json(),
                Effect::OtherEtag("ab".repeat(20)),
            )],
            FailureCode::ChangedUpstream,
        ),
        (
            "resets without a byte",
            vec![Fault::new(
                weights().origin(From::Cdn),
                Effect::ResetAfter { bytes: 0 },
            )],
            FailureCode::Reset,
        ),
        (
            "captive portal on listing",
            vec![Fault::new(Matcher::api(), Effect::Html200)],
            FailureCode::CaptivePortal,
        ),
        (
            "captive portal on a file",
            vec![Fault::new(config_json(), Effect::Html200)],
            FailureCode::CaptivePortal,
        ),
        (
            "garbage listing",
            vec![Fault::new(Matcher::api(), Effect::PlainJsonGarbage)],
            FailureCode::Server,
        ),
        (
            "redirect loop",
            vec![Fault::new(config_json(), Effect::RedirectLoop)],
            FailureCode::Server,
        ),
        (
            "no commit header",
            vec![Fault::new(config_json(), Effect::DropRepoCommitHeader)],
            FailureCode::CaptivePortal,
        ),
        (
            "invalid token",
            vec![Fault::new(Matcher::api(), Effect::InvalidCredentials401)],
            FailureCode::TokenInvalid,
        ),
    ];
    for (name, faults, code) in cases {
        let place = Place::new(catalogue::gemma(), faults).await;
        let pulled = place.pull(request(GEMMA)).await;
        assert_eq!(pulled.code(), code, "{name}");
        assert!(
            !place.repo_folder().join("refs/main").exists(),
            "{name}: a ref was written"
        );
        let snapshots = std::fs::read_dir(place.repo_folder().join("snapshots"))
            .into_iter()
            .flatten()
            .count();
        assert_eq!(snapshots, 0, "{name}: a snapshot is visible");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_has_its_own_failure() {
    let place = Place::new(catalogue::gemma(), Vec::new()).await;
    let cases: Vec<(&str, PullRequest, FailureCode)> = vec![
        ("repo", request("nobody/nothing"), FailureCode::RepoNotFound),
        (
            "revision",
            request(&format!("{GEMMA}@nowhere")),
            FailureCode::RevisionNotFound,
        ),
        (
            "file",
            PullRequest {
                files: vec!["nope.json".into()],
                ..request(GEMMA)
            },
            FailureCode::FileNotFound,
        ),
        (
            "weights",
            request("someone/gguf-only"),
            FailureCode::NoWeights,
        ),
        (
            "private",
            request("someone/private"),
            FailureCode::RepoNotFound,
        ),
        (
            "disabled",
            request("someone/disabled"),
            FailureCode::RepoDisabled,
        ),
        (
            "unsafe path",
            request("someone/unsafe"),
            FailureCode::UnsafePath,
        ),
    ];
    for (name, request, code) in cases {
        let pulled = place.pull(request).await;
        assert_eq!(pulled.code(), code, "{name}");
    }
    assert!(
        !place.config.cache_dir.exists(),
        "a refused pull writes nothing"
    );
    // The listing of a gated repo is open; only its files are not.
    let gated = place.pull(request("someone/gated")).await;
    assert_eq!(gated.code(), FailureCode::Gated);
}

#[tokio::test(flavor = "multi_thread")]
async fn rate_limits_are_obeyed_to_the_second() {
    for header in [
        Effect::rate_limit(1),
        Effect::retry_after_seconds(2),
        Effect::retry_after_date(2),
    ] {
        let fault = Fault::new(config_json(), header.clone()).times(1);
        let place = Place::new(catalogue::gemma(), vec![fault]).await;
        let began = tokio::time::Instant::now();
        let pulled = place.pull(request(GEMMA)).await;
        pulled.assert_complete();
        assert!(
            began.elapsed() >= Duration::from_secs(1),
            "{header:?}: came back too early"
        );
        assert!(
            pulled.any(
                |event| matches!(event, Event::Failed { failure, retry: Some(_), .. }
                if failure.code == FailureCode::RateLimited)
            ),
            "{header:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_falls_silent_is_asked_for_again() {
    let silent = Effect::Stall {
        after_bytes: 0,
        millis: 8_000,
    };
    let place = Place::new(
        catalogue::gemma(),
        vec![Fault::new(Matcher::api(), silent).times(1)],
    )
    .await;
    let pulled = place.pull(request(GEMMA)).await;
    pulled.assert_complete();
    assert!(pulled.any(
        |event| matches!(event, Event::ListingRetried { failure, .. }
        if failure.code == FailureCode::Timeout)
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_files_come_in_pages() {
    let place = Place::new(catalogue::many(1_203), Vec::new()).await;
    let pulled = place
        .pull(PullRequest {
            all: true,
            ..request("someone/many")
        })
        .await;
    pulled.assert_complete();
    let pages = place
        .hub
        .requests()
        .iter()
        .filter(|request| request.path.contains("/tree/"))
        .count();
    assert_eq!(pages, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_content_under_many_names_is_fetched_once() {
    let place = Place::new(catalogue::same_content(), Vec::new()).await;
    let pulled = place
        .pull(PullRequest {
            all: true,
            ..request("someone/same")
        })
        .await;
    pulled.assert_complete();
    assert_eq!(place.body_requests(), 1, "and nothing for the empty file");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_reaches_the_hub_and_nobody_else() {
    let token = "hf_test_token_never_shown";
    let place = Place::with(catalogue::gemma(), Vec::new(), &[("HF_TOKEN", token)]).await;
    place.pull(request(GEMMA)).await.assert_complete();
    let requests = place.hub.requests();
    assert!(requests.iter().any(|request| request.origin == From::Cdn));
    for request in requests {
        let expected = (request.origin == From::Hub).then(|| format!("Bearer {token}"));
        assert_eq!(request.authorization, expected, "{}", request.path);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gated_repo_opens_with_the_right_token() {
    let place = Place::with(
        catalogue::gemma(),
        Vec::new(),
        &[("HF_TOKEN", catalogue::GATED_TOKEN)],
    )
    .await;
    place.pull(request("someone/gated")).await.assert_complete();
}

#[tokio::test(flavor = "multi_thread")]
async fn pause_resume_cancel_and_retry_are_heard() {
    let slow = Fault::new(
        weights().origin(From::Cdn),
        Effect::Slow {
            bytes_per_s: 1_500_000,
        },
    );
    let place = Place::new(catalogue::gemma(), vec![slow]).await;
    let mut is_paused = false;
    let mut is_cancelled = false;
    let mut ended = 0;
    let pulled = place
        .pull_commanding(request(GEMMA), |stamped| match &stamped.event {
            Event::Progress { file, bytes, .. } if *bytes > 100_000 && !is_paused => {
                is_paused = true;
                Some(Command::Pause(larder::domain::FileSelection::Files(
                    stamped.job,
                    vec![*file],
                )))
            }
            Event::Cancelled {
                file,
                is_paused: true,
                ..
            } => Some(Command::Resume(larder::domain::FileSelection::Files(
                stamped.job,
                vec![*file],
            ))),
            Event::Progress { bytes, .. } if *bytes > 600_000 && !is_cancelled => {
                is_cancelled = true;
                Some(Command::Cancel(larder::domain::FileSelection::All))
            }
            Event::Ended(Outcome::Cancelled) => {
                ended += 1;
                Some(Command::Retry(larder::domain::FileSelection::All))
            }
            _ => None,
        })
        .await;
    pulled.assert_complete();
    assert_eq!(ended, 1, "the cancelled pull was retried");
    let resumed = pulled.events.iter().any(|stamped| {
        matches!(stamped.event, Event::Downloading { from_bytes, .. } if from_bytes > 100_000)
    });
    assert!(resumed, "resumed where it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dataset_and_a_typed_letter_case_find_their_folder() {
    let place = Place::new(catalogue::gemma(), Vec::new()).await;
    let dataset = RepoId::new(RepoKind::Dataset, "someone/data").unwrap();
    place
        .pull(PullRequest::new(dataset, Revision::main()))
        .await
        .assert_complete();
    assert!(
        place
            .config
            .cache_dir
            .join("datasets--someone--data/refs/main")
            .is_file()
    );
    place
        .pull(request("MLX-Community/Gemma-2-2b-it-4bit"))
        .await
        .assert_complete();
    assert!(
        place.repo_folder().is_dir(),
        "the Hub's spelling names the folder"
    );
}
