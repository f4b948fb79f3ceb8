//! Owns the tasks: the only room that knows the wire and the disk. Commands come in, events go
//! out; nothing here knows a terminal.
//!
//! ```text
//! Command -> Engine::run -> pull: prepare -> board of transfers -> publish -> Event
//!                                              |  attempt: slot, lock, connection
//!                                              v  writer: bytes, hash, promote
//! ```

mod attempt;
mod board;
mod control;
mod emit;
mod failure;
mod job;
mod lock_wait;
mod plan;
mod prepare;
mod publish;
mod pull;
mod reuse;
mod selection;
mod sources;
mod transfer;
mod writer;

use std::sync::Arc;

use tokio::sync::mpsc;

use self::emit::{Clock, Emitter};
use self::failure::{from_cache, from_hub};
use self::job::blocking;
use self::sources::Source;
use crate::cache::{self, Judge, Layout};
use crate::config::Config;
use crate::domain::{Command, Event, Failure, FailureCode, JobId, Outcome, RepoId, Stamped};
use crate::hub;
use crate::mlx;

/// Commands that may wait.
const COMMANDS: usize = 64;
/// Events that may wait for a slow face; beyond, progress is dropped and facts hold their task.
const EVENTS: usize = 1024;

/// What every job shares.
struct Shared {
    config: Arc<Config>,
    client: hub::Client,
}

impl Shared {
    /// Where bytes come from.
    fn source(&self) -> Source {
        let endpoint = &self.config.endpoint;
        let host = endpoint.host_str().unwrap_or_default();
        Source::Hub {
            client: self.client.clone(),
            host: match endpoint.port() {
                Some(port) => format!("{host}:{port}"),
                None => host.to_owned(),
            },
        }
    }
}

/// The engine. It works while [`Engine::run`] is polled.
pub struct Engine {
    shared: Shared,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<Stamped>,
    clock: Arc<Clock>,
}

/// The face's end: commands go down here. Dropping every handle cancels what runs.
#[derive(Clone, Debug)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
}

impl Handle {
    /// Sends a command; `false` when the engine is gone or has more commands than it can take.
    pub fn send(&self, command: Command) -> bool {
        self.commands.try_send(command).is_ok()
    }
}

impl Engine {
    /// Builds an engine, the handle that commands it, and the events it will send.
    ///
    /// # Errors
    /// When the HTTP client cannot be built from the settings.
    pub fn new(config: Config) -> Result<(Self, Handle, mpsc::Receiver<Stamped>), Failure> {
        let client = hub::Client::new(&config).map_err(from_hub)?;
        let (commands_in, commands) = mpsc::channel(COMMANDS);
        let (events, events_out) = mpsc::channel(EVENTS);
        let engine = Self {
            shared: Shared {
                config: Arc::new(config),
                client,
            },
            commands,
            events,
            clock: Arc::new(Clock::start()),
        };
        let handle = Handle {
            commands: commands_in,
        };
        Ok((engine, handle, events_out))
    }

    /// Works until every handle is dropped and the running job has let go of what it holds.
    pub async fn run(mut self) {
        let mut next_job = 0;
        let mut pending = None;
        loop {
            let command = match pending.take() {
                Some(command) => command,
                None => match self.commands.recv().await {
                    Some(command) => command,
                    None => return,
                },
            };
            let emitter = Emitter::new(
                self.events.clone(),
                JobId(next_job),
                Arc::clone(&self.clock),
            );
            match command {
                Command::Pull(request) => {
                    next_job += 1;
                    pending = pull::run(&self.shared, &emitter, &request, &mut self.commands).await;
                }
                Command::List(repo) => {
                    next_job += 1;
                    list(&self.shared, &emitter, repo).await;
                }
                // There is nothing to cancel, pause, resume or retry.
                Command::Cancel(_)
                | Command::Pause(_)
                | Command::Resume(_)
                | Command::Retry(_)
                | Command::Survey(_)
                | Command::Watch(_)
                | Command::Verify(_)
                | Command::Purge(_) => {}
            }
        }
    }
}

/// Scans the cache and reports what is there.
async fn list(shared: &Shared, emitter: &Emitter, repo: Option<RepoId>) {
    let cache_dir = shared.config.cache_dir.clone();
    let wanted = repo.clone();
    let scanned = blocking(move || {
        let layout = Layout::new(cache::resolve_root(&cache_dir)?);
        let judge = Judge {
            examine: &mlx::examine,
            select: &mlx::default_selection,
        };
        match wanted {
            None => cache::scan(&layout, judge).map(|models| vec![Event::ModelsListed { models }]),
            Some(repo) => cache::scan_repo(&layout, &repo, judge).map(|models| {
                models
                    .into_iter()
                    .map(|(model, files)| Event::FilesListed {
                        model: Box::new(model),
                        files,
                    })
                    .collect()
            }),
        }
    })
    .await
    .and_then(|scanned| scanned.map_err(from_cache));
    let outcome = match scanned {
        Ok(events) => match repo.filter(|_| events.is_empty()) {
            Some(repo) => Outcome::Failed {
                failures: vec![absent(&repo, shared)],
            },
            None => {
                for event in events {
                    emitter.fact(event).await;
                }
                Outcome::Listed
            }
        },
        Err(failure) => Outcome::Failed {
            failures: vec![failure],
        },
    };
    emitter.fact(Event::Ended(outcome)).await;
}

fn absent(repo: &RepoId, shared: &Shared) -> Failure {
    Failure::new(
        FailureCode::Incomplete,
        format!("`{repo}` is not in the cache"),
    )
    .at_path(shared.config.cache_dir.display().to_string())
}
