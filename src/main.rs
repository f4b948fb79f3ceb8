//! Owns start-up: parse, build the engine, connect it to a face, turn the end into an exit code.
//!
//! Never holds logic of its own. The second Ctrl-C ends the process here, at once.

#[path = "main/dashboard.rs"]
mod dashboard;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use larder::cli::{
    self, Args, ConfigVerb, Desk, Format, Globals, Output, PullArgs, ReportArgs, Session, Signal,
    Verb,
};
use larder::config::{Config, Environment, Flags};
use larder::demo::{Pace, Stage};
use larder::domain::{Failure, FailureCode, TerminalFacts};
use larder::engine::Engine;
use larder::host;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Threads for the network; hashing and writing have threads of their own.
const WORKERS: usize = 2;
/// How long threads of the runtime may take to end.
const SHUTDOWN: Duration = Duration::from_secs(2);
/// Old log files that are kept.
const LOG_FILES: usize = 7;
/// Lines that may wait for the log file. More are lost, which is better than waiting for a disk.
const LOG_LINES: usize = 4096;

fn main() -> ExitCode {
    host::share_memory_pools();
    // Reports of panics; without it they are shorter, and nothing else is lost.
    let hook = color_eyre::install();
    let args = match cli::parse(std::env::args_os()) {
        Ok(args) => args,
        Err(code) => return ExitCode::from(code),
    };
    let environment = Environment::of_process();
    let output = Output::detect(&args.globals, environment.terminal().is_dumb());
    if let Err(error) = hook {
        cli::say(
            &output,
            &format!("reports of panics will be short: {error}"),
        );
    }
    ExitCode::from(run(&args, &environment, output))
}

fn run(args: &Args, environment: &Environment, mut output: Output) -> u8 {
    let started_ms = now_ms();
    if let Some(failure) = cli::no_resume(args) {
        return cli::refuse(args, failure, output, started_ms, None);
    }
    match &args.verb {
        Some(Verb::Completions { shell }) => return cli::completions(*shell, output),
        Some(Verb::Man { command }) => return cli::man(command.as_deref(), output),
        Some(_) => {}
        None => {
            if let Some(failure) = cli::no_dashboard(args, &output) {
                return cli::refuse(args, failure, output, started_ms, None);
            }
        }
    }
    if let Some(Verb::Config {
        what: ConfigVerb::Path,
    }) = &args.verb
    {
        // Asked for most when the file has a mistake in it.
        return match Config::file_path(&flags(args), environment) {
            Ok(path) => cli::config_path(&path, output, started_ms),
            Err(failure) => cli::refuse(args, failure, output, started_ms, None),
        };
    }
    let config = match Config::load(&flags(args), environment) {
        Ok(config) => config,
        Err(failure) => return cli::refuse(args, failure, output, started_ms, None),
    };
    output.is_ascii = config.is_ascii;
    let refuse =
        |failure, log_file: Option<&Path>| cli::refuse(args, failure, output, started_ms, log_file);
    if let Some(Verb::Config { .. }) = &args.verb {
        return cli::config_show(&config.config_file, &config.settings, output, started_ms);
    }
    if config.is_read_only
        && let Some(failure) = args.verb.as_ref().and_then(Verb::refused_read_only)
    {
        return refuse(failure, None);
    }
    let log = Log::open(&config, &args.globals);
    if let Err(why) = &log {
        cli::say(&output, &format!("no log is kept: {why}"));
    }
    let log_file = log.as_ref().ok().map(|log| log.path.clone());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let failure =
                Failure::new(FailureCode::Internal, "no tasks can be run on this machine")
                    .because(error.to_string());
            return refuse(failure, log_file.as_deref());
        }
    };
    let face = face(
        args,
        environment,
        config,
        output,
        started_ms,
        log_file.clone(),
    );
    let ended = runtime.block_on(face);
    // A look-up of a name that hangs in the system must not hold up the end.
    runtime.shutdown_timeout(SHUTDOWN);
    match ended {
        Ok(code) => code,
        Err(failure) => refuse(failure, log_file.as_deref()),
    }
}

/// Runs the face of a command against an engine of its own.
async fn face(
    args: &Args,
    environment: &Environment,
    config: Config,
    output: Output,
    started_ms: u64,
    log_file: Option<PathBuf>,
) -> Result<u8, Failure> {
    let mut tasks = JoinSet::new();
    let signals = listen(&mut tasks)?;
    let run = Run {
        config,
        started_ms,
        log_file,
        signals,
    };
    let settings = run.config.settings.clone();
    let Some(verb) = &args.verb else {
        let repo = args.reference().map_err(|failure| *failure)?;
        return dashboard::show(run, args, &environment.terminal(), repo).await;
    };
    match verb {
        Verb::Pull(args) => {
            run.with_engine(async |session| cli::pull(session, args.clone(), output).await)
                .await
        }
        Verb::Ls(args) => {
            run.with_engine(async |session| cli::ls(session, args.clone(), output).await)
                .await
        }
        Verb::History(args) => {
            run.with_engine(async |session| cli::history(session, args.clone(), output).await)
                .await
        }
        Verb::Ready(args) => {
            run.with_engine(async |session| cli::ready(session, args.clone(), output).await)
                .await
        }
        Verb::Wait(args) => {
            run.with_engine(async |session| cli::wait(session, args.clone(), output).await)
                .await
        }
        Verb::Status(args) => {
            run.with_engine(async |session| {
                cli::status(session, args.clone(), &settings, output).await
            })
            .await
        }
        Verb::Verify(args) => {
            run.with_engine(async |session| cli::verify(session, args.clone(), output).await)
                .await
        }
        Verb::Doctor(args) => {
            run.with_engine(async |session| {
                cli::doctor(session, args.clone(), &settings, output).await
            })
            .await
        }
        Verb::Locks(args) => {
            run.with_engine(async |session| cli::locks(session, args.clone(), output).await)
                .await
        }
        Verb::Purge(args) => {
            run.with_engine(async |session| cli::purge(session, args.clone(), output).await)
                .await
        }
        Verb::Import(args) => {
            run.with_engine(async |session| cli::import(session, args.clone(), output).await)
                .await
        }
        Verb::Guide(args) => {
            run.with_engine(async |session| cli::guide(session, args.clone(), output).await)
                .await
        }
        Verb::Trash(args) => {
            run.with_engine(async |session| cli::trash(session, args.clone(), output).await)
                .await
        }
        Verb::Report(args) => report(run, args, environment, output).await,
        Verb::Demo { exit_when_done } => {
            let screen = output
                .has_screen
                .then(|| (environment.terminal(), *exit_when_done));
            demo(run, args, screen, output).await
        }
        Verb::Config { .. } | Verb::Completions { .. } | Verb::Man { .. } => Ok(0),
    }
}

/// Lays out what a report needs beside the engine.
async fn report(
    run: Run,
    args: &ReportArgs,
    environment: &Environment,
    output: Output,
) -> Result<u8, Failure> {
    let config = run.config.clone();
    let terminal = environment.terminal();
    let mut names = vec![host::host_name()];
    names.extend(environment.user());
    // Whoever has no USER still has a home, and that is mostly called by the same name.
    let folder = config.home.as_deref().and_then(Path::file_name);
    names.extend(folder.map(|name| name.to_string_lossy().into_owned()));
    let secrets: Vec<String> = config
        .token
        .iter()
        .map(|it| it.expose().to_owned())
        .collect();
    run.with_engine(async |session| {
        let desk = Desk {
            settings: &config.settings,
            terminal: &terminal,
            system: &host::system(),
            home: config.home.as_deref(),
            names: &names,
            secrets: &secrets,
            read_tail: &host::read_tail,
            write_new: &host::write_new,
            is_read_only: config.is_read_only,
        };
        cli::report(session, args.clone(), desk, output).await
    })
    .await
}

/// What a face needs besides its arguments.
struct Run {
    config: Config,
    started_ms: u64,
    log_file: Option<PathBuf>,
    signals: watch::Receiver<Option<Signal>>,
}

impl Run {
    /// Connects a face to an engine on a task of its own, so that neither stops the other.
    async fn with_engine(self, face: impl AsyncFnOnce(Session<'_>) -> u8) -> Result<u8, Failure> {
        let (engine, handle, mut events) = Engine::new(self.config)?;
        let mut tasks = JoinSet::new();
        tasks.spawn(engine.run());
        let session = Session {
            commands: &|command| {
                if !handle.send(command) {
                    tracing::error!("the engine takes no more commands");
                }
            },
            events: &mut events,
            signals: self.signals,
            log_file: self.log_file,
            started_ms: self.started_ms,
        };
        Ok(face(session).await)
    }
}

/// Runs a pull against the demo's own Hub, into a throw-away cache: as the dashboard where there is
/// a screen, else as plain lines.
async fn demo(
    mut run: Run,
    args: &Args,
    screen: Option<(TerminalFacts, bool)>,
    output: Output,
) -> Result<u8, Failure> {
    let pace = if screen.is_some() {
        Pace::ToWatch
    } else {
        Pace::Quick
    };
    let stage = Stage::start(pace)
        .await
        .map_err(|error| dashboard::trouble("the demo's Hub cannot be started", &error))?;
    let cache = tempfile::Builder::new()
        .prefix("larder-demo-")
        .tempdir()
        .map_err(|error| dashboard::trouble("the demo's cache cannot be made", &error))?;
    dashboard::demo_config(&mut run.config, &stage, cache.path())?;
    let is_talking = !output.is_quiet && output.format == Format::Human;
    let code = match screen {
        Some((terminal, exit_when_done)) => {
            dashboard::show_demo(run, args, &terminal, exit_when_done).await?
        }
        None => {
            if is_talking {
                for line in Stage::script() {
                    cli::say(&output, line);
                }
            }
            let mut args = PullArgs::of(Stage::repo().to_string());
            args.typed_as = Some("larder demo".to_owned());
            run.with_engine(async |session| cli::pull(session, args, output).await)
                .await?
        }
    };
    if code == 0 && is_talking {
        let cache = cache.path().display();
        for line in [
            String::new(),
            "This was a throw-away cache; look at it, then remove it:".to_owned(),
            format!("  larder ls --cache-dir {cache}/hub"),
            format!("  rm -r {cache}"),
            Stage::epilogue().to_owned(),
        ] {
            cli::say(&output, &line);
        }
    }
    if code == 0 {
        // The path on stdout shall lead somewhere; the system's temporary folder forgets it in time.
        let kept = cache.keep();
        tracing::info!(cache = %kept.display(), "the demo's cache stays");
    }
    Ok(code)
}

fn flags(args: &Args) -> Flags {
    Flags {
        cache_dir: args.globals.cache_dir.clone(),
        endpoint: args.globals.endpoint.clone(),
        is_offline: args.globals.offline,
        is_ascii: args.globals.ascii,
        is_read_only: args.globals.read_only,
        connections: match &args.verb {
            Some(Verb::Pull(pull)) => pull.connections.map(usize::from),
            _ => None,
        },
        limit_rate: match &args.verb {
            Some(Verb::Pull(pull)) => pull.limit_rate.clone(),
            _ => None,
        },
        config_file: None,
    }
}

/// Hears the signals that end a command: the first one is passed on, the second one leaves.
///
/// Under `nohup` SIGHUP is ignored and stays so: a handler of ours would end what it protects.
fn listen(tasks: &mut JoinSet<()>) -> Result<watch::Receiver<Option<Signal>>, Failure> {
    let (sender, receiver) = watch::channel(None);
    let mut kinds = vec![
        (SignalKind::interrupt(), Signal::Interrupt),
        (SignalKind::quit(), Signal::Quit),
        (SignalKind::terminate(), Signal::Terminate),
    ];
    if !host::sighup_is_ignored() {
        kinds.push((SignalKind::hangup(), Signal::Hangup));
    }
    for (kind, meaning) in kinds {
        let mut caught = signal(kind).map_err(|error| {
            Failure::new(FailureCode::Internal, "signals cannot be heard")
                .because(error.to_string())
        })?;
        let sender = sender.clone();
        tasks.spawn(async move {
            while caught.recv().await.is_some() {
                let is_first = sender.send_if_modified(|heard| {
                    let is_first = heard.is_none();
                    if is_first {
                        *heard = Some(meaning);
                    }
                    is_first
                });
                if !is_first {
                    leave(meaning);
                }
            }
        });
    }
    Ok(receiver)
}

/// Ends the process now: whoever asks twice does not want to wait for anything.
#[expect(
    clippy::exit,
    reason = "the state on disk is good at every instant, and the user asked twice"
)]
fn leave(signal: Signal) -> ! {
    larder::cache::remove_markers();
    std::process::exit(i32::from(signal.exit_code()))
}

/// The log file of this run; written as long as this lives.
struct Log {
    path: PathBuf,
    _writer: tracing_appender::non_blocking::WorkerGuard,
}

impl Log {
    /// Opens today's log in the state folder; old ones are removed after some days.
    fn open(config: &Config, globals: &Globals) -> Result<Self, String> {
        let folder = config.state_dir.join("log");
        std::fs::create_dir_all(&folder)
            .map_err(|error| format!("`{}`: {error}", folder.display()))?;
        let appender = tracing_appender::rolling::Builder::new()
            .rotation(tracing_appender::rolling::Rotation::DAILY)
            .filename_prefix("larder")
            .filename_suffix("log")
            .max_log_files(LOG_FILES)
            .build(&folder)
            .map_err(|error| error.to_string())?;
        // The room for lines is taken at once: as many as by default would be 4 MB.
        let (writer, guard) = tracing_appender::non_blocking::NonBlockingBuilder::default()
            .buffered_lines_limit(LOG_LINES)
            .finish(appender);
        let default = match globals.verbose {
            0 => "larder=info",
            1 => "larder=debug",
            _ => "larder=trace",
        };
        // Only larder's own lines by default: HTTP crates may log addresses with their queries.
        let filter = config.log_filter.as_deref().unwrap_or(default);
        let filter = tracing_subscriber::EnvFilter::try_new(filter)
            .map_err(|error| format!("`{filter}` is no log filter: {error}"))?;
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(writer)
            .with_ansi(false)
            .try_init()
            .map_err(|error| error.to_string())?;
        let today = jiff::Timestamp::from_millisecond(i64::try_from(now_ms()).unwrap_or(0))
            .map(|now| now.strftime("%Y-%m-%d").to_string())
            .map_err(|error| error.to_string())?;
        Ok(Self {
            path: folder.join(format!("larder.{today}.log")),
            _writer: guard,
        })
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the moment the process started enters here, as data"
)]
fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
}
