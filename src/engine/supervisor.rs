//! Owns the jobs: which run, which command is for which, and that every one of them ends.
//!
//! **Law**: a job that panics has ended with a failure; when nobody can command any more,
//! everything is cancelled, and the supervisor returns once all have let go of what they hold.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};

use super::emit::{Clock, Emitter};
use super::{
    Shared, discard, fix, guide, history, import, list, listings, locks, pull, purge, ready,
    survey, trash, verify, watch,
};
use crate::domain::{
    Command, Event, Failure, FailureCode, FileSelection, JobId, Outcome, PullRequest, RepoId,
    Stamped, TrashRequest,
};

/// Commands that may wait for one job.
const JOB_COMMANDS: usize = 64;
/// Ended pulls that stay open for a retry.
const OPEN_ENDED: usize = 64;

/// The jobs of an engine.
pub(super) struct Supervisor {
    shared: Arc<Shared>,
    events: mpsc::Sender<Stamped>,
    clock: Arc<Clock>,
    next_job: u32,
    tasks: JoinSet<()>,
    job_of_task: HashMap<Id, JobId>,
    jobs: BTreeMap<JobId, Job>,
}

/// A job that hears commands. Dropping it tells the job that nobody will command it any more.
struct Job {
    commands: mpsc::Sender<Command>,
    kind: Kind,
}

enum Kind {
    Pull {
        request: PullRequest,
        /// Whether it has ended and only waits for a retry.
        has_ended: Arc<AtomicBool>,
    },
    /// There is one at most.
    Watch,
    /// It cannot be told anything but to stop.
    Other,
}

impl Supervisor {
    pub(super) fn new(
        shared: Arc<Shared>,
        events: mpsc::Sender<Stamped>,
        clock: Arc<Clock>,
    ) -> Self {
        Self {
            shared,
            events,
            clock,
            next_job: 0,
            tasks: JoinSet::new(),
            job_of_task: HashMap::new(),
            jobs: BTreeMap::new(),
        }
    }

    /// Works until nobody can command any more and every job has let go of what it holds.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.hear(command).await,
                    None => break,
                },
                Some(joined) = self.tasks.join_next_with_id() => self.joined(joined).await,
            }
        }
        self.jobs.clear();
        while let Some(joined) = self.tasks.join_next_with_id().await {
            self.joined(joined).await;
        }
    }

    async fn hear(&mut self, command: Command) {
        // Whoever asks may have forgotten to look: what changes a cache is refused here too.
        if self.shared.config.is_read_only && changes_a_cache(&command) {
            self.start(Kind::Other, |_, emitter, _| refuse(emitter));
            return;
        }
        match command {
            Command::Pull(request) => self.pull(request).await,
            Command::List(repo) => {
                self.start(Kind::Other, |shared, emitter, _| {
                    list::run(shared, emitter, repo)
                });
            }
            Command::Ready(request) => {
                self.start(Kind::Other, |shared, emitter, commands| {
                    ready::run(shared, emitter, request, commands)
                });
            }
            Command::History { repo, most } => {
                self.start(Kind::Other, |shared, emitter, _| {
                    history::run(shared, emitter, repo, most)
                });
            }
            Command::Cancel(files) => self.forward(&files, Command::Cancel),
            Command::Pause(files) => self.forward(&files, Command::Pause),
            Command::Resume(files) => self.forward(&files, Command::Resume),
            Command::Retry(files) => self.forward(&files, Command::Retry),
            Command::Survey(repo) => {
                self.start(Kind::Other, |shared, emitter, commands| {
                    survey::run(shared, emitter, repo, true, commands)
                });
            }
            Command::Diagnose(repo) => {
                self.start(Kind::Other, |shared, emitter, commands| {
                    survey::run(shared, emitter, repo, false, commands)
                });
            }
            Command::Locks(repo) => {
                self.start(Kind::Other, |shared, emitter, _| {
                    locks::run(shared, emitter, repo)
                });
            }
            Command::LearnListings(targets) => {
                self.start(Kind::Other, |shared, emitter, commands| {
                    listings::run(shared, emitter, targets, commands)
                });
            }
            Command::Watch(focus) => self.watch(focus),
            Command::Verify { targets, is_deep } => {
                self.start(Kind::Other, move |shared, emitter, commands| {
                    verify::run(shared, emitter, (targets, is_deep), commands)
                });
            }
            Command::Fix(plan) => {
                self.start(Kind::Other, |shared, emitter, _| {
                    fix::run(shared, emitter, plan)
                });
            }
            Command::Import(request) => {
                self.start(Kind::Other, |shared, emitter, commands| {
                    import::run(shared, emitter, request, commands)
                });
            }
            Command::Guide(request) => {
                self.start(Kind::Other, |shared, emitter, commands| {
                    guide::run(shared, emitter, request, commands)
                });
            }
            Command::Purge(plan) => {
                self.start(Kind::Other, |shared, emitter, _| {
                    purge::run(shared, emitter, plan)
                });
            }
            Command::PlanPurge(request) => {
                self.start(Kind::Other, |shared, emitter, _| {
                    discard::run(shared, emitter, request)
                });
            }
            Command::Trash(request) => {
                self.start(Kind::Other, |shared, emitter, commands| {
                    trash::run(shared, emitter, request, commands)
                });
            }
        }
    }

    /// Moves the focus of the watch, or starts it.
    fn watch(&mut self, focus: Option<RepoId>) {
        let running = self
            .jobs
            .values()
            .find(|job| matches!(job.kind, Kind::Watch));
        match running {
            Some(job) => {
                if let Err(error) = job.commands.try_send(Command::Watch(focus)) {
                    tracing::debug!(%error, "the watch did not hear its new focus");
                }
            }
            None => {
                self.start(Kind::Watch, |shared, emitter, commands| {
                    watch::run(shared, emitter, focus, commands)
                });
            }
        }
    }

    /// Starts a pull, unless it is at work already. One that has ended makes way.
    async fn pull(&mut self, request: PullRequest) {
        let same = self.jobs.iter().find_map(|(job, known)| match &known.kind {
            Kind::Pull {
                request: known,
                has_ended,
            } if is_same(known, &request) => Some((*job, has_ended.load(Ordering::Acquire))),
            Kind::Pull { .. } | Kind::Watch | Kind::Other => None,
        });
        match same {
            Some((job, false)) => {
                let note = format!(
                    "`{}` @ {} is being fetched already; it was not started again",
                    request.repo, request.revision
                );
                self.emitter(job).fact(Event::Noted { note }).await;
                return;
            }
            Some((job, true)) => drop(self.jobs.remove(&job)),
            None => {}
        }
        self.close_ended(request.dry_run);
        let has_ended = Arc::new(AtomicBool::new(false));
        let kind = Kind::Pull {
            request: request.clone(),
            has_ended: Arc::clone(&has_ended),
        };
        self.start(kind, |shared, emitter, commands| async move {
            pull::run(&shared, &emitter, &request, commands, &has_ended).await;
        });
    }

    /// Closes what nobody will try again: plans only looked at once there is a newer one, and the
    /// oldest of very many.
    fn close_ended(&mut self, is_dry_run: bool) {
        let ended: Vec<(JobId, bool)> = self
            .jobs
            .iter()
            .filter_map(|(job, known)| match &known.kind {
                Kind::Pull { request, has_ended } if has_ended.load(Ordering::Acquire) => {
                    Some((*job, request.dry_run))
                }
                Kind::Pull { .. } | Kind::Watch | Kind::Other => None,
            })
            .collect();
        let surplus = (ended.len() + 1).saturating_sub(OPEN_ENDED);
        for (at, (job, was_dry_run)) in ended.into_iter().enumerate() {
            if at < surplus || (is_dry_run && was_dry_run) {
                self.jobs.remove(&job);
            }
        }
    }

    fn start<Work>(
        &mut self,
        kind: Kind,
        work: impl FnOnce(Arc<Shared>, Emitter, mpsc::Receiver<Command>) -> Work,
    ) -> JobId
    where
        Work: Future<Output = ()> + Send + 'static,
    {
        let job = JobId(self.next_job);
        self.next_job += 1;
        let (commands, heard) = mpsc::channel(JOB_COMMANDS);
        let work = work(Arc::clone(&self.shared), self.emitter(job), heard);
        let task = self.tasks.spawn(work);
        self.job_of_task.insert(task.id(), job);
        self.jobs.insert(job, Job { commands, kind });
        job
    }

    fn forward(&self, files: &FileSelection, command: impl Fn(FileSelection) -> Command) {
        for (job, known) in &self.jobs {
            if !files.names(*job) {
                continue;
            }
            let command = command(files.clone());
            if let (Command::Retry(_), Kind::Pull { has_ended, .. }) = (&command, &known.kind) {
                // It is at work again from now on, also for a pull that comes next.
                has_ended.store(false, Ordering::Release);
            }
            // A job that has more to hear than it can take is stuck in the disk or in its face;
            // the others must not be.
            if let Err(error) = known.commands.try_send(command) {
                tracing::debug!(job = job.0, %error, "a command was not heard");
            }
        }
    }

    async fn joined(&mut self, joined: Result<(Id, ()), JoinError>) {
        let (task, panic) = match joined {
            Ok((task, ())) => (task, None),
            Err(error) => (error.id(), Some(error.to_string())),
        };
        let Some(job) = self.job_of_task.remove(&task) else {
            return;
        };
        self.jobs.remove(&job);
        if let Some(why) = panic {
            let failure = Failure::new(FailureCode::Internal, "a job panicked").because(why);
            let failures = vec![failure];
            self.emitter(job)
                .fact(Event::Ended(Outcome::Failed { failures }))
                .await;
        }
    }

    fn emitter(&self, job: JobId) -> Emitter {
        Emitter::new(self.events.clone(), job, Arc::clone(&self.clock))
    }
}

/// Whether a command takes away, moves or repairs something.
const fn changes_a_cache(command: &Command) -> bool {
    matches!(
        command,
        Command::Purge(_)
            | Command::Fix(_)
            | Command::Trash(TrashRequest::Restore { .. } | TrashRequest::Empty { .. })
    )
}

async fn refuse(emitter: Emitter) {
    let failure = Failure::new(FailureCode::Refused, "nothing was changed")
        .because("this larder is read-only (`--read-only`, or the setting)");
    let failures = vec![failure];
    emitter
        .fact(Event::Ended(Outcome::Failed { failures }))
        .await;
}

/// Whether two pulls would fetch the same snapshot. One that only plans fetches nothing.
fn is_same(one: &PullRequest, other: &PullRequest) -> bool {
    !one.dry_run
        && !other.dry_run
        && one.repo.kind() == other.repo.kind()
        // The Hub answers to any letter case.
        && one.repo.name().eq_ignore_ascii_case(other.repo.name())
        && one.revision == other.revision
        && one.local_dir == other.local_dir
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Environment, Flags};
    use crate::domain::{Plan, RepoId, RepoKind, Revision};

    #[test]
    fn only_pulls_that_fetch_the_same_are_the_same() {
        let request = |name: &str, revision: &str| {
            let repo = RepoId::new(RepoKind::Model, name).unwrap();
            PullRequest::new(repo, Revision::new(revision).unwrap())
        };
        let one = request("org/m", "main");
        assert!(is_same(&one, &request("Org/M", "main")));
        assert!(!is_same(&one, &request("org/m", "older")));
        assert!(!is_same(&one, &request("org/other", "main")));
        let elsewhere = PullRequest {
            local_dir: Some("dir".into()),
            ..one.clone()
        };
        assert!(!is_same(&one, &elsewhere) && is_same(&elsewhere, &elsewhere));
        let planned = PullRequest {
            dry_run: true,
            ..one.clone()
        };
        assert!(!is_same(&one, &planned) && !is_same(&planned, &planned));
    }

    #[tokio::test]
    async fn a_read_only_engine_takes_nothing_away_and_repairs_nothing() {
        let env = Environment::from_pairs([("HOME", "/nowhere")]);
        let flags = Flags {
            is_read_only: true,
            ..Flags::default()
        };
        let config = Config::load(&flags, &env).unwrap();
        let shared = Arc::new(Shared::new(config).unwrap());
        for command in [
            Command::Purge(Plan::default()),
            Command::Fix(Plan::default()),
            Command::Trash(TrashRequest::Restore { id: None }),
        ] {
            let (events, mut heard) = mpsc::channel(8);
            let clock = Arc::new(Clock::start());
            let supervisor = Supervisor::new(Arc::clone(&shared), events, clock);
            let (handle, commands) = mpsc::channel(1);
            let mut tasks = JoinSet::new();
            tasks.spawn(supervisor.run(commands));
            handle.send(command.clone()).await.unwrap();
            let first = heard.recv().await.unwrap().event;
            assert!(
                matches!(
                    &first,
                    Event::Ended(Outcome::Failed { failures })
                        if failures[0].code == FailureCode::Refused
                ),
                "{command:?}: {first:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_panic_is_a_failure_and_no_hang() {
        let env = Environment::from_pairs([("HOME", "/nowhere")]);
        let config = Config::load(&Flags::default(), &env).unwrap();
        let shared = Arc::new(Shared::new(config).unwrap());
        let (events, mut heard) = mpsc::channel(8);
        let mut supervisor = Supervisor::new(shared, events, Arc::new(Clock::start()));
        let job = supervisor.start(Kind::Other, |_, _, _| async { panic!("on purpose") });
        let (_handle, commands) = mpsc::channel(1);
        let mut tasks = JoinSet::new();
        tasks.spawn(supervisor.run(commands));
        let stamped = heard.recv().await.unwrap();
        assert_eq!(stamped.job, job);
        assert!(matches!(
            stamped.event,
            Event::Ended(Outcome::Failed { failures }) if failures[0].code == FailureCode::Internal
        ));
    }
}
