//! Owns connecting the dashboard: what it is told, what it may ask, the line it may type.
//!
//! Never holds logic of its own.

use larder::cli::{self, Args, Signal, Verb};
use larder::config::{self, Config};
use larder::demo::Stage;
use larder::domain::{
    Failure, FailureCode, PullRequest, RepoReference, Revision, Severity, TerminalFacts,
    ThemeChoice,
};
use larder::engine::Engine;
use larder::tui::{
    self, Abilities, Chapter, Depth, Facts, FixWish, Look, Moment, Offered, PurgeWish, ThemeName,
    Wish,
};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Run;

/// Shows the dashboard, on a model where one was named.
pub(super) async fn show(
    run: Run,
    args: &Args,
    terminal: &TerminalFacts,
    open: Option<RepoReference>,
) -> Result<u8, Failure> {
    let mut facts = facts(&run, args, terminal);
    facts.open = open;
    connect(run, facts, terminal).await
}

/// Shows the dashboard on the demo's pull.
pub(super) async fn show_demo(
    run: Run,
    args: &Args,
    terminal: &TerminalFacts,
    exit_when_done: bool,
) -> Result<u8, Failure> {
    let mut facts = facts(&run, args, terminal);
    facts.pull = Some(PullRequest::new(Stage::repo(), Revision::main()));
    facts.exit_when_done = exit_when_done;
    facts.story = Stage::story()
        .into_iter()
        .map(|(file, failure, text)| Chapter {
            file: file.to_owned(),
            moment: failure.map_or(Moment::Done, Moment::Failed),
            text: text.to_owned(),
        })
        .collect();
    connect(run, facts, terminal).await
}

async fn connect(run: Run, facts: Facts, terminal: &TerminalFacts) -> Result<u8, Failure> {
    let config_file = run.config.config_file.clone();
    let (engine, handle, mut events) = Engine::new(run.config)?;
    let mut tasks = JoinSet::new();
    tasks.spawn(engine.run());
    let signals = codes(&mut tasks, run.signals);
    let session = tui::Session {
        commands: &|command| handle.send(command),
        events: &mut events,
        signals,
        remember: &|key, value| config::remember(&config_file, key, value),
        started_ms: run.started_ms,
        abilities: abilities(terminal),
    };
    tui::run(session, facts).await
}

/// The exit code of the first signal.
fn codes(
    tasks: &mut JoinSet<()>,
    mut signals: watch::Receiver<Option<Signal>>,
) -> watch::Receiver<Option<u8>> {
    let (sender, receiver) = watch::channel(None);
    tasks.spawn(async move {
        loop {
            let code = signals.borrow_and_update().map(Signal::exit_code);
            if sender.send(code).is_err() || signals.changed().await.is_err() {
                return;
            }
        }
    });
    receiver
}

fn facts(run: &Run, args: &Args, terminal: &TerminalFacts) -> Facts {
    let config = &run.config;
    let place = |path: &std::path::Path| path.display().to_string();
    Facts {
        version: env!("CARGO_PKG_VERSION"),
        cache_dir: place(&config.cache_dir),
        cache_origin: config.origin("cache_dir").unwrap_or("default").to_owned(),
        endpoint: config.endpoint.as_str().trim_end_matches('/').to_owned(),
        log_file: run.log_file.as_deref().map(place),
        home: config.home.as_deref().map(place),
        utc_offset_s: utc_offset_s(run.started_ms),
        places: args.globals.places(),
        is_read_only: config.is_read_only,
        is_ascii: config.is_ascii || !terminal.is_utf8 || terminal.is_console(),
        depth: depth(args),
        is_light: terminal.is_light,
        theme: theme(config.theme),
        log_level: config.log_level,
        offered: offered(),
        open: None,
        pull: None,
        resumes: args.resume,
        story: Vec::new(),
        exit_when_done: false,
        interpret,
        verbs: verbs(),
    }
}

/// Seconds that the system's time zone is ahead of UTC at a moment.
fn utc_offset_s(at_ms: u64) -> i32 {
    let at = jiff::Timestamp::from_millisecond(i64::try_from(at_ms).unwrap_or(0));
    at.map_or(0, |at| jiff::tz::TimeZone::system().to_offset(at).seconds())
}

/// How many colours there are, by the rules of `NO_COLOR` and its kin.
fn depth(args: &Args) -> Depth {
    use supports_color::Stream;

    match args.globals.color {
        cli::ColorChoice::Never => return Depth::None,
        cli::ColorChoice::Always | cli::ColorChoice::Auto => {}
    }
    match supports_color::on(Stream::Stdout) {
        None if args.globals.color == cli::ColorChoice::Always => Depth::Sixteen,
        None => Depth::None,
        Some(level) if level.has_16m => Depth::True,
        Some(level) if level.has_256 => Depth::Many,
        Some(_) => Depth::Sixteen,
    }
}

const fn theme(choice: ThemeChoice) -> Option<ThemeName> {
    match choice {
        ThemeChoice::Auto => None,
        ThemeChoice::Dark => Some(ThemeName::Dark),
        ThemeChoice::Light => Some(ThemeName::Light),
        ThemeChoice::HighContrast => Some(ThemeName::HighContrast),
        ThemeChoice::SixteenColour => Some(ThemeName::Sixteen),
        ThemeChoice::Mono => Some(ThemeName::Mono),
    }
}

/// What the terminal can do beyond cells, as far as its name tells.
fn abilities(terminal: &TerminalFacts) -> Abilities {
    let term = terminal.term.as_deref().unwrap_or_default();
    let program = terminal.program.as_deref().unwrap_or_default();
    let is_one_of = |names: &[&str]| {
        names
            .iter()
            .any(|name| program.eq_ignore_ascii_case(name) || term.contains(name))
    };
    // An unknown private mode is ignored, but not by every old terminal.
    let has_sync = is_one_of(&[
        "iTerm.app",
        "WezTerm",
        "ghostty",
        "kitty",
        "alacritty",
        "foot",
        "contour",
        "vscode",
        "rio",
        "tmux",
    ]);
    // Inside tmux both would reach tmux only.
    let is_direct = !terminal.is_tmux && !term.starts_with("screen");
    Abilities {
        has_sync,
        has_title: is_direct && !matches!(term, "" | "linux" | "dumb"),
        // Older terminals take OSC 9 for a notification.
        has_progress: is_direct && is_one_of(&["ghostty", "WezTerm", "konsole"]),
    }
}

fn offered() -> Vec<Offered> {
    let table: toml::Table = include_str!("../../assets/models.toml")
        .parse()
        .unwrap_or_default();
    let models = table.get("model").and_then(toml::Value::as_array);
    models
        .into_iter()
        .flatten()
        .filter_map(|model| {
            let text = |key: &str| model.get(key).and_then(toml::Value::as_str);
            let size = model.get("size_bytes").and_then(toml::Value::as_integer)?;
            Some(Offered {
                repo: RepoReference::parse(text("repo")?).ok()?.repo,
                title: text("title")?.to_owned(),
                size_bytes: u64::try_from(size).ok()?,
                note: text("note")?.to_owned(),
            })
        })
        .collect()
}

/// The commands that the dashboard carries out, with the flags that mean something there.
const HERE: [(&str, &[&str]); 10] = [
    (
        "pull",
        &[
            "--revision",
            "--include",
            "--exclude",
            "--all",
            "--local-dir",
            "--force",
            "--dry-run",
            "--trust-size",
            "--wait",
        ],
    ),
    ("ls", &["--filter", "-f"]),
    ("status", &[]),
    ("verify", &["--deep"]),
    ("doctor", &["--severity", "--rule", "--fix"]),
    ("locks", &[]),
    (
        "purge",
        &[
            "--incomplete",
            "--unreferenced",
            "--older-than",
            "--corrupt",
            "--policy",
            "--now",
            "--dry-run",
        ],
    ),
    ("import", &["--repo", "--revision", "--commit", "--dry-run"]),
    ("guide", &["--revision"]),
    ("trash", &["--older-than", "--dry-run"]),
];

fn verbs() -> Vec<tui::Verb> {
    let here = |name: &str| HERE.iter().find(|(known, _)| *known == name);
    let verbs = cli::verbs().into_iter();
    verbs
        .filter_map(|verb| {
            let (_, flags) = here(&verb.name)?;
            let (flags, shell_flags) = verb
                .flags
                .into_iter()
                .partition(|flag| flags.contains(&flag.as_str()));
            Some(tui::Verb {
                name: verb.name,
                about: verb.about,
                flags,
                shell_flags,
            })
        })
        .collect()
}

/// Reads a line typed after `:` with the grammar of the command line.
fn interpret(line: &str) -> Result<Wish, String> {
    let told = |failure: Box<Failure>| failure.to_string();
    let args = cli::read_line(line)?;
    let repo_of = |text: &str| {
        let reference = RepoReference::parse(text);
        reference
            .map(|it| it.repo)
            .map_err(|error| error.to_string())
    };
    Ok(match &args.verb {
        Some(Verb::Pull(pull)) => Wish::Pull(Box::new(pull.request().map_err(told)?)),
        Some(Verb::Verify(verify)) => Wish::Verify(verify.targets().map_err(told)?),
        Some(Verb::Purge(purge)) => {
            let unfinished = if purge.incomplete {
                Some(purge.repos().map_err(told)?)
            } else {
                None
            };
            Wish::Purge(Box::new(PurgeWish {
                request: purge.request().map_err(told)?,
                unfinished,
                age_ms: purge.older_than_ms().map_err(told)?.unwrap_or(0),
            }))
        }
        Some(Verb::Guide(guide)) => Wish::Guide(guide.request().map_err(told)?),
        Some(Verb::Import(import)) => Wish::Import(Box::new(import.request().map_err(told)?)),
        Some(Verb::Trash(trash)) => match &trash.what {
            Some(cli::TrashVerb::Restore { id }) => Wish::Undo((id != "last").then(|| id.clone())),
            Some(cli::TrashVerb::Empty { .. }) => Wish::Empty(trash.older_than_ms().map_err(told)?),
            Some(cli::TrashVerb::Ls) | None => Wish::Trash,
        },
        Some(Verb::Ls(ls)) => match &ls.repo {
            Some(repo) => Wish::Look(Look::Files(repo_of(repo)?)),
            None => {
                let filters: Vec<String> = ls.filter.iter().map(ToString::to_string).collect();
                Wish::Look(Look::Models(filters.join(" ")))
            }
        },
        Some(Verb::Doctor(doctor)) if doctor.fix => Wish::Fix(FixWish {
            targets: doctor.targets().map_err(told)?,
            rules: doctor.rule.clone(),
            severity: doctor.severity,
        }),
        Some(Verb::Doctor(doctor)) => {
            if doctor.severity != Severity::Note
                || !doctor.rule.is_empty()
                || doctor.repos.len() > 1
            {
                return Err(
                    "without `--fix` name one repo at most; `/` filters the rest".to_owned(),
                );
            }
            let repo = doctor.repos.first().map(|repo| repo_of(repo));
            Wish::Look(Look::Health(repo.transpose()?))
        }
        Some(Verb::Status(status)) => {
            let repo = status.repo.as_deref().map(repo_of);
            Wish::Look(Look::Health(repo.transpose()?))
        }
        Some(Verb::Locks(locks)) => {
            let repo = locks.repo.as_deref().map(repo_of);
            Wish::Look(Look::Locks(repo.transpose()?))
        }
        Some(_) => Wish::ShellOnly,
        None => {
            let reference = args.reference().map_err(told)?;
            let reference = reference.ok_or("nothing was typed")?;
            let revision = reference.revision.unwrap_or_else(Revision::main);
            let mut request = PullRequest::new(reference.repo, revision);
            request
                .files
                .extend(reference.file.map(|file| file.as_str().to_owned()));
            // A name alone is looked at first.
            request.dry_run = true;
            Wish::Pull(Box::new(request))
        }
    })
}

/// What a failure to make the demo's stage is.
pub(super) fn trouble(what: &str, error: &std::io::Error) -> Failure {
    Failure::new(FailureCode::Internal, what).because(error.to_string())
}

/// The config of a run against the demo's Hub, in a throw-away cache.
pub(super) fn demo_config(
    config: &mut Config,
    stage: &Stage,
    cache: &std::path::Path,
) -> Result<(), Failure> {
    let address = stage.endpoint();
    config.endpoint = address
        .parse()
        .map_err(|_| Failure::new(FailureCode::Internal, format!("`{address}` is no address")))?;
    config.cache_dir = cache.join("hub");
    // Nor does it show what else is on this machine.
    config.elsewhere = config::Elsewhere::default();
    // What a demo fetched is nobody's history.
    config.state_dir = cache.join("state");
    // The demo's Hub needs no token, and shall be asked also where larder is set to be offline.
    config.token = None;
    config.is_offline = false;
    config.is_read_only = false;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_offered_is_carried_out_and_what_is_not_says_so() {
        for (name, flags) in HERE {
            let verb = verbs().into_iter().find(|verb| verb.name == name);
            let mut known = verb.expect("it is a command").flags;
            known.sort();
            let mut flags = flags.to_vec();
            flags.sort_unstable();
            assert_eq!(known, flags, "{name}");
        }
        for line in [
            "pull org/m --all",
            "ls",
            "ls org/m",
            "ls -f size>1GB",
            "status",
            "verify org/m",
            "doctor",
            "doctor --fix --rule truncated",
            "locks org/m",
            "purge --corrupt",
            "purge --incomplete --unreferenced --older-than 30d",
            "import ~/Downloads",
            "guide org/m",
            "trash",
            "trash empty --older-than 2d",
            "trash restore last",
        ] {
            assert_ne!(interpret(line), Ok(Wish::ShellOnly), "{line}");
        }
        for line in ["history", "config path", "man", "ready org/m"] {
            assert_eq!(interpret(line), Ok(Wish::ShellOnly), "{line}");
        }
        assert!(interpret("doctor --rule truncated").is_err());
    }

    #[test]
    fn a_purge_of_two_kinds_asks_about_both_and_about_their_age() {
        let Ok(Wish::Purge(wish)) = interpret("purge --incomplete --unreferenced --older-than 30d")
        else {
            panic!("no purge");
        };
        assert_eq!(wish.unfinished, Some(Vec::new()));
        assert_eq!(wish.age_ms, 30 * 86_400_000);
        assert!(wish.request.is_unreferenced);
    }
}
