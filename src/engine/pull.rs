//! Owns a pull from command to ending: prepare, run the transfers, publish; and again for
//! `retry`, since a failed pull stays open until it is closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::board::{Board, Settled};
use super::emit::{Emitter, millis};
use super::gather::Gather;
use super::history;
use super::job::{Halt, Job, blocking};
use super::local;
use super::marker::Keeper;
use super::offers::Offers;
use super::plan::DISK_MARGIN_BYTES;
use super::prepare::{Prepared, prepare};
use super::programs::Observer;
use super::publish::Publication;
use super::queue::wait_for_others;
use super::trash::{self, Expiry};
use super::validate::{refusal, validate};
use crate::cache::{self, Layout};
use crate::domain::{
    Command, Event, Failure, FailureCode, FileSelection, HistoryRow, Outcome, PullPlan,
    PullRequest, PullResult, UnfinishedPull,
};
use crate::ledger::Sample;

/// Fewer bytes than this say nothing about the way to a host.
const SAMPLE_BYTES: u64 = 32 << 20;

/// Runs a pull until it is over, or has ended and nobody can ask for it again. `has_ended` is set
/// while it only waits for a retry.
pub(super) async fn run(
    shared: &Arc<Shared>,
    emitter: &Emitter,
    request: &PullRequest,
    mut commands: mpsc::Receiver<Command>,
    has_ended: &AtomicBool,
) {
    let commands = &mut commands;
    let started = emitter.now();
    emitter
        .fact(Event::PullStarted {
            repo: request.repo.clone(),
            revision: request.revision.clone(),
            endpoint: shared
                .config
                .endpoint
                .as_str()
                .trim_end_matches('/')
                .to_owned(),
            cache_dir: shared.config.cache_dir.display().to_string(),
            is_dry_run: request.dry_run,
            is_offline: shared.config.is_offline,
        })
        .await;
    if !request.dry_run {
        trash::settle(shared, emitter, Some(&request.repo), Expiry::Free).await;
    }
    // One for all waiting of this pull.
    let deadline = request
        .wait
        .and_then(|wait| Some(Instant::now() + Duration::from_millis(wait.limit_ms?)));
    loop {
        let halt = match prepare_hearing(shared, emitter, request, deadline, commands).await {
            // What the other has fetched is not to be fetched again.
            Ok(Begun::Waited) => continue,
            Ok(Begun::Prepared(prepared)) => {
                tell_trouble(shared, emitter).await;
                emitter.fact(Event::Planned(prepared.plan.clone())).await;
                match admit(request, &prepared.plan) {
                    Ok(true) => {
                        let order = Order { request, deadline };
                        return fetch(shared, emitter, order, *prepared, commands, has_ended).await;
                    }
                    Ok(false) => {
                        let outcome = planned(emitter, &prepared).await;
                        emitter.fact(Event::Ended(outcome)).await;
                        return;
                    }
                    Err(failure) => Halt::Failed(failure),
                }
            }
            Err(halt) => halt,
        };
        let outcome = outcome_of(halt);
        remember(shared, emitter, request, started, &outcome, None).await;
        has_ended.store(true, Ordering::Release);
        emitter.fact(Event::Ended(outcome)).await;
        // Only a retry of everything makes sense before there was a plan.
        if next_retry(commands, has_ended).await.is_none() {
            return;
        }
        emitter.fact(Event::Reopened { files: Vec::new() }).await;
    }
}

/// The end of a dry run, and whether what it planned would load.
async fn planned(emitter: &Emitter, prepared: &Prepared) -> Outcome {
    let Some(validation) = &prepared.validation else {
        return Outcome::Planned;
    };
    emitter.fact(Event::Validated(validation.clone())).await;
    match refusal(&prepared.plan, validation) {
        Some(failure) => Outcome::Failed {
            failures: vec![failure],
        },
        None => Outcome::Planned,
    }
}

/// Waits, after the end, for the wish to try again; `None` when nobody can wish any more. A cancel
/// may have been sent a moment too late; it must not close what can still be retried.
async fn next_retry(
    commands: &mut mpsc::Receiver<Command>,
    has_ended: &AtomicBool,
) -> Option<FileSelection> {
    loop {
        if let Command::Retry(files) = commands.recv().await? {
            has_ended.store(false, Ordering::Release);
            return Some(files);
        }
    }
}

pub(super) fn outcome_of(halt: Halt) -> Outcome {
    match halt {
        Halt::Interrupted => Outcome::Cancelled,
        Halt::Failed(failure)
        | Halt::Mismatch(failure)
        | Halt::Suspect(failure)
        | Halt::Doubt(failure)
        | Halt::Again(failure) => Outcome::Failed {
            failures: vec![failure],
        },
    }
}

/// What was asked for, and how long others are waited for.
#[derive(Clone, Copy)]
pub(super) struct Order<'a> {
    pub(super) request: &'a PullRequest,
    pub(super) deadline: Option<Instant>,
}

/// What the beginning of a pull came to.
enum Begun {
    /// Its files can be fetched.
    Prepared(Box<Prepared>),
    /// Another program has just ended its download of the same: nothing that was seen before counts.
    Waited,
}

/// Prepares, and waits for whoever downloads the same.
async fn begin(
    shared: &Shared,
    emitter: &Emitter,
    request: &PullRequest,
    deadline: Option<Instant>,
    stop: &CancellationToken,
) -> Result<Begun, Halt> {
    let mut prepared = prepare(shared, emitter, request, stop).await?;
    if request.dry_run && request.validate {
        prepared.validation = Some(validate(shared, emitter, &prepared, stop).await?);
    }
    let (layout, repo) = (&prepared.layout, &prepared.plan.repo);
    // In a local dir the locks of its files are all there is to wait for.
    let fetches = (prepared.plan.fetch_bytes > 0 || request.force) && !layout.is_local();
    if fetches && !request.dry_run && !shared.config.is_offline {
        let waited = wait_for_others(shared, emitter, layout, repo, deadline, stop).await?;
        if waited {
            return Ok(Begun::Waited);
        }
    }
    Ok(Begun::Prepared(Box::new(prepared)))
}

/// Begins while hearing a cancel.
async fn prepare_hearing(
    shared: &Shared,
    emitter: &Emitter,
    request: &PullRequest,
    deadline: Option<Instant>,
    commands: &mut mpsc::Receiver<Command>,
) -> Result<Begun, Halt> {
    let stop = CancellationToken::new();
    let preparing = begin(shared, emitter, request, deadline, &stop);
    tokio::pin!(preparing);
    let mut is_open = true;
    loop {
        tokio::select! {
            biased;
            prepared = &mut preparing => return prepared,
            command = commands.recv(), if is_open => match command {
                Some(Command::Cancel(_)) => stop.cancel(),
                Some(Command::Pause(_)) => {
                    emitter
                        .fact(Event::Noted {
                            note: "the pull is being prepared; the command was not taken".to_owned(),
                        })
                        .await;
                }
                // There are no transfers yet that could be resumed or retried, and the rest is not
                // for a pull.
                Some(
                    Command::Resume(_)
                    | Command::Retry(_)
                    | Command::Pull(_)
                    | Command::History { .. }
                    | Command::List(_)
                    | Command::Ready(_)
                    | Command::Survey(_)
                    | Command::Diagnose(_)
            | Command::LearnListings(_)
                    | Command::Locks(_)
                    | Command::Watch(_)
                    | Command::Verify { .. }
                    | Command::Fix(_)
                    | Command::Purge(_)
                    | Command::Import(_)
                    | Command::Guide(_)
                    | Command::PlanPurge(_)
                    | Command::Trash(_),
                ) => {}
                None => {
                    is_open = false;
                    stop.cancel();
                }
            }
        }
    }
}

/// Whether the plan may be carried out: `false` for a dry run.
///
/// # Errors
/// `disk-full` before anything is written; `offline` when bytes are missing and nobody may be asked.
fn admit(request: &PullRequest, plan: &PullPlan) -> Result<bool, Failure> {
    if let Some(free) = plan.free_bytes
        && plan.disk_bytes > 0
        && free < plan.disk_bytes.saturating_add(DISK_MARGIN_BYTES)
    {
        let needed = plan.disk_bytes.saturating_add(DISK_MARGIN_BYTES);
        let mut failure = Failure::new(
            FailureCode::DiskFull,
            format!("`{}` does not fit on the disk", plan.repo),
        )
        .because("nothing was written")
        .at_path(plan.snapshot.clone());
        failure.needed_bytes = Some(needed);
        failure.free_bytes = Some(free);
        return Err(failure);
    }
    if plan.is_offline && plan.fetch_bytes > 0 {
        let missing: Vec<String> = plan
            .files
            .iter()
            .filter(|file| !file.is_reuse && file.same_as.is_none())
            .take(5)
            .map(|file| format!("`{}`", file.path))
            .collect();
        return Err(Failure::new(
            FailureCode::Offline,
            format!("`{}` is not complete and larder is offline", plan.repo),
        )
        .because(format!("not on this machine: {}", missing.join(", "))));
    }
    Ok(!request.dry_run)
}

/// Runs the transfers and publishes, again for each retry.
async fn fetch(
    shared: &Shared,
    emitter: &Emitter,
    Order { request, deadline }: Order<'_>,
    prepared: Prepared,
    commands: &mut mpsc::Receiver<Command>,
    has_ended: &AtomicBool,
) {
    let Prepared {
        layout,
        listing,
        is_listed_afresh,
        selected,
        plan,
        validation: _,
    } = prepared;
    let mut started = emitter.now();
    let job = job_of(
        shared,
        emitter,
        (&layout, &plan),
        None,
        Order { request, deadline },
    )
    .await;
    sweep(&job).await;
    keep_open(&job, request).await;
    if layout.is_local() {
        local::free_kept(&job).await;
    }
    let mut board = Board::new(&plan.files, &selected);
    let publication = Arc::new(Publication {
        layout,
        repo: plan.repo.clone(),
        revision: plan.revision.clone(),
        commit: plan.commit,
        listing,
        selected,
        use_symlinks: shared.config.use_symlinks,
        required: Vec::new(),
        is_pinned: false,
    });
    loop {
        let keeper = Keeper::start(&job, &plan).await;
        let outcome = match board.run(&job, commands).await {
            Settled::Proven { is_verified } => {
                let published = if job.layout.is_local() {
                    local::publish(&job, &publication, &plan, is_verified).await
                } else {
                    publish(&job, &publication, &plan, is_verified).await
                };
                match published {
                    Ok(result) => Outcome::Complete(result),
                    Err(failure) => Outcome::Failed {
                        failures: vec![failure],
                    },
                }
            }
            Settled::Failed(failures) => Outcome::Failed { failures },
            Settled::Cancelled => Outcome::Cancelled,
        };
        keeper.end().await;
        if job.layout.is_local() {
            local::tell_kept(&job).await;
        }
        let is_over = matches!(outcome, Outcome::Complete(_));
        if is_listed_afresh {
            // Also of a pull that failed: the guide to fetching by hand rests on it.
            keep_listing(shared, emitter, &publication).await;
        }
        // Before the end is told: whoever hears it may leave at once.
        remember(shared, emitter, request, started, &outcome, Some(&job)).await;
        tell_trouble(shared, emitter).await;
        has_ended.store(true, Ordering::Release);
        emitter.fact(Event::Ended(outcome)).await;
        shared.stirred.add(&plan.repo);
        if is_over {
            return;
        }
        let Some(files) = next_retry(commands, has_ended).await else {
            return;
        };
        started = emitter.now();
        let files = board.reopen(&files);
        emitter.fact(Event::Reopened { files }).await;
    }
}

/// What the tasks of a pull, or of an import, share.
pub(super) async fn job_of(
    shared: &Shared,
    emitter: &Emitter,
    (layout, plan): (&Layout, &PullPlan),
    offers: Option<Offers>,
    Order { request, deadline }: Order<'_>,
) -> Arc<Job> {
    let (diary, begun, neighbours) = {
        let (memory, config, layout, repo) = (
            Arc::clone(&shared.memory),
            Arc::clone(&shared.config),
            layout.clone(),
            plan.repo.clone(),
        );
        // Without it everything is hashed, as without a ledger.
        blocking(move || {
            let begun = cache::all_resumable(&layout, &repo).into_keys().collect();
            let neighbours = local::neighbours(&config, &layout, &repo);
            (memory.diary(&layout.blobs(&repo)), begun, neighbours)
        })
        .await
        .unwrap_or_default()
    };
    Arc::new(Job {
        config: Arc::clone(&shared.config),
        source: shared.source(),
        layout: layout.clone(),
        repo: plan.repo.clone(),
        commit: plan.commit,
        emitter: emitter.clone(),
        budget: Arc::clone(&shared.budget),
        flow: shared.flow.of_pull(),
        memory: Arc::clone(&shared.memory),
        diary,
        turn: shared.budget.turn(),
        gather: Gather::default(),
        begun,
        neighbours,
        is_prepared: AtomicBool::new(false),
        at_work: Arc::clone(&shared.at_work),
        is_forced: request.force,
        trust_size: request.trust_size,
        deadline,
        offers,
        files_done: AtomicU64::new(0),
        fetched_bytes: AtomicU64::new(0),
        remembered_bytes: AtomicU64::new(0),
    })
}

/// Remembers that the pull began, so that the next larder can offer to go on with it.
async fn keep_open(job: &Arc<Job>, request: &PullRequest) {
    let (memory, root) = (Arc::clone(&job.memory), job.layout.root().to_owned());
    let now = job.emitter.now().duration_since(UNIX_EPOCH);
    let mut pull = UnfinishedPull::of(request, millis(now.unwrap_or_default()));
    // In the Hub's spelling, by which it is found when it is complete.
    pull.repo = job.repo.clone();
    // Wherever larder is started, it goes on in the same folder.
    pull.local_dir = pull.local_dir.map(|_| root.clone());
    let kept = blocking(move || {
        if pull.local_dir.is_some() {
            // What there was of another revision is what this one begins with.
            memory.forget_unfinished_of(&root, &pull.repo);
        }
        memory.keep_unfinished(&root, &pull);
    });
    if let Err(failure) = kept.await {
        tracing::warn!(%failure, "that the pull began was not remembered");
    }
}

/// Keeps what the pull learned, and that it was.
async fn remember(
    shared: &Shared,
    emitter: &Emitter,
    request: &PullRequest,
    started: SystemTime,
    outcome: &Outcome,
    job: Option<&Arc<Job>>,
) {
    if request.dry_run {
        return;
    }
    let now = emitter.now();
    let bytes = job.map_or(0, |job| {
        let all = job.fetched_bytes.load(Ordering::Relaxed);
        // A retry has a row of its own.
        all - job.remembered_bytes.swap(all, Ordering::Relaxed)
    });
    let row = HistoryRow {
        revision: request.revision.to_string(),
        retries: job.map_or(0, |job| job.diary.take_retries()),
        ..history::row(
            "pull",
            std::slice::from_ref(&request.repo),
            bytes,
            (started, now),
            outcome,
        )
    };
    let sample = (bytes >= SAMPLE_BYTES).then(|| Sample {
        at_ms: row.at_ms,
        host: shared.source().name().to_owned(),
        bytes,
        took_ms: row.took_ms,
        connections: u32::try_from(shared.flow.pace.allowed()).unwrap_or(u32::MAX),
    });
    let memory = Arc::clone(&shared.memory);
    let job = job.map(Arc::clone);
    let complete = matches!(outcome, Outcome::Complete(_)).then(|| request.revision.clone());
    let kept = blocking(move || {
        if let (Some(job), Some(revision)) = (&job, &complete) {
            memory.forget_unfinished(job.layout.root(), &job.repo, revision);
        }
        if let Some(job) = &job {
            memory.keep(&job.diary, now);
        }
        if let Some(sample) = &sample {
            memory.keep_sample(sample);
        }
        memory.keep_transfer(&row);
    });
    if let Err(failure) = kept.await {
        tracing::warn!(%failure, "the pull was not remembered");
    }
}

/// Remembers the listing, so that the next pull need not ask for it.
pub(super) async fn keep_listing(
    shared: &Shared,
    emitter: &Emitter,
    publication: &Arc<Publication>,
) {
    let (memory, publication) = (Arc::clone(&shared.memory), Arc::clone(publication));
    let endpoint = shared.config.endpoint.to_string();
    let now = emitter.now();
    let kept = blocking(move || {
        let (repo, commit) = (&publication.repo, &publication.commit);
        memory.keep_listing(&endpoint, repo, commit, &publication.listing, now);
    });
    if let Err(failure) = kept.await {
        tracing::warn!(%failure, "the listing was not remembered");
    }
}

/// Tells what is wrong with the ledger, once.
pub(super) async fn tell_trouble(shared: &Shared, emitter: &Emitter) {
    if let Some(note) = shared.memory.trouble() {
        emitter.fact(Event::Noted { note }).await;
    }
}

/// Removes staging folders and the marker that a larder which died left behind.
pub(super) async fn sweep(job: &Job) {
    let (layout, repo) = (job.layout.clone(), job.repo.clone());
    let now = job.emitter.now();
    let swept = blocking(move || {
        let marker =
            cache::remove_stale_marker(&layout, &repo, || Observer::once(layout.root()), now);
        (marker, cache::sweep_staging(&layout, &repo))
    });
    let (marker, swept) = match swept.await {
        Ok(swept) => swept,
        Err(failure) => return tracing::warn!(%failure, "leftovers were not removed"),
    };
    match marker {
        Ok(true) => {
            let note = "the download marker of a process that is gone was removed".to_owned();
            job.emitter.fact(Event::Noted { note }).await;
        }
        Ok(false) => {}
        Err(error) => tracing::warn!(%error, "a marker that was left behind was not removed"),
    }
    match swept {
        Ok(healings) => {
            for healing in healings {
                job.emitter.fact(Event::Healed(healing)).await;
            }
        }
        // Leftovers are waste, not damage: a cache that cannot be written may still be complete.
        Err(error) => tracing::warn!(%error, "leftovers were not removed"),
    }
}

async fn publish(
    job: &Job,
    publication: &Arc<Publication>,
    plan: &PullPlan,
    is_verified: bool,
) -> Result<PullResult, Failure> {
    let work = Arc::clone(publication);
    let published = blocking(move || work.publish()).await??;
    for healing in published.healings {
        job.emitter.fact(Event::Healed(healing)).await;
    }
    for note in published.notes {
        job.emitter.fact(Event::Noted { note }).await;
    }
    Ok(PullResult {
        snapshot: plan.snapshot.clone(),
        commit: plan.commit,
        reference: published.reference,
        fetched_bytes: job.fetched_bytes.load(Ordering::Relaxed),
        is_verified,
    })
}
