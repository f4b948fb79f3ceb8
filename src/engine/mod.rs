//! Owns the tasks: the only room that knows the wire and the disk. Commands come in, events go
//! out; nothing here knows a terminal.
//!
//! ```text
//! Command -> supervisor -+-> pull: prepare -> board of transfers -> publish -> Event
//!                        |                      |  attempt: slot, lock, connection
//!                        |                      v  writer: bytes, hash, promote
//!                        +-> import: recognise -> the same board -> publish -> Event
//!                        +-> list, listings, survey, watch, verify, purge, guide -> Event
//! ```

mod abroad;
mod at_work;
mod attempt;
mod board;
mod buffers;
mod control;
mod discard;
mod emit;
mod failure;
mod fix;
mod forms;
mod gather;
mod guide;
mod history;
mod idle;
mod import;
mod job;
mod judging;
mod known;
mod lane;
mod list;
mod listings;
mod local;
mod lock_wait;
mod locks;
mod lookout;
mod marker;
mod memory;
mod offers;
mod pace;
mod plan;
mod prepare;
mod programs;
mod publish;
mod pull;
mod purge;
mod queue;
mod ranged;
mod ranges;
mod rate;
mod ready;
mod recognise;
mod reuse;
mod selection;
mod settle;
mod small;
mod sources;
mod stirred;
mod supervisor;
mod survey;
mod telling;
mod transfer;
mod trash;
mod validate;
mod verify;
mod watch;
mod which_repo;
mod writer;
mod wrong_blob;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::mpsc;

use self::at_work::AtWork;
use self::buffers::Buffers;
use self::emit::Clock;
use self::failure::from_hub;
use self::job::Budget;
use self::memory::Memory;
use self::pace::Pace;
use self::rate::Rate;
use self::sources::Source;
use self::stirred::Stirred;
use self::supervisor::Supervisor;
use crate::config::Config;
use crate::domain::{Command, Failure, Stamped};
use crate::host;
use crate::hub;

/// Commands that may wait.
const COMMANDS: usize = 64;
/// Events that may wait for a slow face; beyond, progress is dropped and facts hold their task.
const EVENTS: usize = 1024;

/// What every job shares.
struct Shared {
    config: Arc<Config>,
    client: hub::Client,
    /// One for all pulls.
    budget: Arc<Budget>,
    /// What earlier runs knew.
    memory: Arc<Memory>,
    /// What bodies share, of all pulls.
    flow: Flow,
    /// The blobs that are being written right now.
    at_work: Arc<AtWork>,
    /// The repos that a job has just let go of.
    stirred: Stirred,
    /// How many jobs hash because somebody asked.
    hashing: AtomicUsize,
}

/// What all bodies share.
#[derive(Clone)]
struct Flow {
    /// How many connections there may be.
    pace: Arc<Pace>,
    /// The memory they pass through.
    buffers: Arc<Buffers>,
    /// The limit on their bytes.
    rate: Arc<Rate>,
    /// Bytes that came; each pull counts its own.
    came: Arc<AtomicU64>,
}

impl Flow {
    /// The same, for a pull that begins.
    fn of_pull(&self) -> Self {
        Self {
            came: Arc::default(),
            ..self.clone()
        }
    }

    /// Counts bytes as they come.
    fn came(&self, bytes: u64) {
        self.pace.came(bytes);
        self.came.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Shared {
    fn new(config: Config) -> Result<Self, Failure> {
        let client = hub::Client::new(&config).map_err(from_hub)?;
        let budget = Budget::new(config.connections, host::open_files_limit());
        let flow = Flow {
            pace: Arc::new(Pace::new(budget.most_connections)),
            buffers: Arc::new(Buffers::new(budget.most_connections)),
            rate: Arc::new(Rate::new(config.limit_rate)),
            came: Arc::default(),
        };
        Ok(Self {
            client,
            budget: Arc::new(budget),
            flow,
            memory: Arc::new(Memory::new(&config.state_dir)),
            at_work: Arc::default(),
            stirred: Stirred::default(),
            hashing: AtomicUsize::new(0),
            config: Arc::new(config),
        })
    }

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
    shared: Arc<Shared>,
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
        let shared = Arc::new(Shared::new(config)?);
        let (commands_in, commands) = mpsc::channel(COMMANDS);
        let (events, events_out) = mpsc::channel(EVENTS);
        let engine = Self {
            shared,
            commands,
            events,
            clock: Arc::new(Clock::start()),
        };
        let handle = Handle {
            commands: commands_in,
        };
        Ok((engine, handle, events_out))
    }

    /// Works until every handle is dropped and the running jobs have let go of what they hold.
    pub async fn run(self) {
        Supervisor::new(self.shared, self.events, self.clock)
            .run(self.commands)
            .await;
    }
}
