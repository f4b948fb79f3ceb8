//! Owns the grammar of the command line: commands, flags and their help.
//!
//! Never acts and never reads the environment: flags that were not given are `None`, and
//! `config` merges them with variables and the file.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

use super::help::{
    DOCTOR_EXAMPLES, EXIT_CODES, GUIDE_EXAMPLES, HISTORY_EXAMPLES, IMPORT_EXAMPLES, LOCKS_EXAMPLES,
    LS_EXAMPLES, PULL_EXAMPLES, PURGE_EXAMPLES, READY_EXAMPLES, REPORT_EXAMPLES, ROOT_EXAMPLES,
    STATUS_EXAMPLES, STREAMS, TRASH_EXAMPLES, VERIFY_EXAMPLES, WAIT_EXAMPLES,
};
use super::sort::Sort;
use crate::domain::{
    Failure, FailureCode, PullRequest, RepoReference, Revision, VerifyTarget, WaitLimit, shell_word,
};
use crate::store::Filter;

mod by_hand;
mod looks;
mod removals;

pub use by_hand::{GuideArgs, ImportArgs};
pub use looks::{DoctorArgs, LocksArgs};
pub use removals::{PurgeArgs, TrashArgs, TrashVerb};

/// The command line.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "larder",
    version,
    about = "Fetch Hugging Face and MLX models into the cache that apps already read, every byte proven.",
    after_help = ROOT_EXAMPLES,
    after_long_help = format!("{ROOT_EXAMPLES}\n\n{STREAMS}\n\n{EXIT_CODES}"),
    override_usage = "larder [OPTIONS] [REPO]\n       larder [OPTIONS] <COMMAND>",
)]
pub struct Args {
    /// Open the dashboard on this model: ORG/NAME, or a link pasted from the browser.
    #[arg(value_name = "REPO")]
    pub repo: Option<String>,
    /// In the dashboard: go on with downloads that were not fetched to the end, without asking.
    #[arg(long)]
    pub resume: bool,
    /// What holds for every command.
    #[command(flatten)]
    pub globals: Globals,
    /// The command; without one the dashboard is meant.
    #[command(subcommand)]
    pub verb: Option<Verb>,
}

/// Flags of every command.
#[derive(Clone, Debug, Default, ClapArgs)]
#[command(next_help_heading = "Global options")]
pub struct Globals {
    /// Cache folder, instead of `HF_HUB_CACHE` or `HF_HOME/hub`.
    #[arg(long, global = true, value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
    /// Hub to ask, instead of `HF_ENDPOINT`.
    #[arg(long, global = true, value_name = "URL")]
    pub endpoint: Option<String>,
    /// Ask no network at all.
    #[arg(long, global = true)]
    pub offline: bool,
    /// Print one JSON document at the end.
    #[arg(long, global = true)]
    pub json: bool,
    /// Print one JSON object per event as it happens, then the document.
    #[arg(long, global = true)]
    pub events: bool,
    /// Lines instead of bars, nothing drawn: for screen readers and logs.
    #[arg(long, global = true)]
    pub plain: bool,
    /// Draw with ASCII characters only.
    #[arg(long, global = true)]
    pub ascii: bool,
    /// Change nothing: what would write or remove is refused.
    #[arg(long, global = true)]
    pub read_only: bool,
    /// When to use colour.
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t = ColorChoice::Auto)]
    pub color: ColorChoice,
    /// Say more; twice for developers.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Say nothing but failures.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// Where a terminal can show it and `NO_COLOR` does not forbid it.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The commands.
#[derive(Clone, Debug, Subcommand)]
pub enum Verb {
    /// Fetch a model into the Hub cache: complete and verified, or a clear failure.
    #[command(after_help = PULL_EXAMPLES, after_long_help = format!("{PULL_EXAMPLES}\n\n{EXIT_CODES}"))]
    Pull(PullArgs),
    /// List the models in the cache, or the files of one.
    #[command(after_help = LS_EXAMPLES, after_long_help = format!("{LS_EXAMPLES}\n\n{EXIT_CODES}"))]
    Ls(LsArgs),
    /// Show everything on one screen: cache, disk, network, models, findings, locks, downloads.
    #[command(after_help = STATUS_EXAMPLES, after_long_help = format!("{STATUS_EXAMPLES}\n\n{EXIT_CODES}"))]
    Status(StatusArgs),
    /// Say whether a model can be loaded now: exit 0 and its path, without network or hashing.
    #[command(after_help = READY_EXAMPLES, after_long_help = format!("{READY_EXAMPLES}\n\n{EXIT_CODES}"))]
    Ready(ReadyArgs),
    /// Wait until nobody downloads a model any more, then say whether it can be loaded.
    #[command(after_help = WAIT_EXAMPLES, after_long_help = format!("{WAIT_EXAMPLES}\n\n{EXIT_CODES}"))]
    Wait(WaitArgs),
    /// Hash what is in the cache and say whether it is what the Hub promised.
    #[command(after_help = VERIFY_EXAMPLES, after_long_help = format!("{VERIFY_EXAMPLES}\n\n{EXIT_CODES}"))]
    Verify(VerifyArgs),
    /// Say what is wrong, wasteful or surprising in the cache, why, and what would heal it.
    #[command(after_help = DOCTOR_EXAMPLES, after_long_help = format!("{DOCTOR_EXAMPLES}\n\n{EXIT_CODES}"))]
    Doctor(DoctorArgs),
    /// Show every lock: who holds it, since when, and how that is known.
    #[command(after_help = LOCKS_EXAMPLES, after_long_help = format!("{LOCKS_EXAMPLES}\n\n{EXIT_CODES}"))]
    Locks(LocksArgs),
    /// Take away what nobody needs: shown first, then asked.
    #[command(after_help = PURGE_EXAMPLES, after_long_help = format!("{PURGE_EXAMPLES}\n\n{EXIT_CODES}"))]
    Purge(PurgeArgs),
    /// Take model files that are on this machine already into the cache, proven.
    #[command(after_help = IMPORT_EXAMPLES, after_long_help = format!("{IMPORT_EXAMPLES}\n\n{EXIT_CODES}"))]
    Import(ImportArgs),
    /// Say how to fetch by hand what is missing of a model: addresses, hashes, steps, a script.
    #[command(after_help = GUIDE_EXAMPLES, after_long_help = format!("{GUIDE_EXAMPLES}\n\n{EXIT_CODES}"))]
    Guide(GuideArgs),
    /// Show what purges moved into the trash; put it back, or free it.
    #[command(after_help = TRASH_EXAMPLES, after_long_help = format!("{TRASH_EXAMPLES}\n\n{EXIT_CODES}"))]
    Trash(TrashArgs),
    /// Show past pulls, verifications and purges: when, how much, how fast, how they ended.
    #[command(after_help = HISTORY_EXAMPLES, after_long_help = format!("{HISTORY_EXAMPLES}\n\n{EXIT_CODES}"))]
    History(HistoryArgs),
    /// Put together what a bug report needs, with secrets struck out.
    #[command(after_help = REPORT_EXAMPLES, after_long_help = format!("{REPORT_EXAMPLES}\n\n{EXIT_CODES}"))]
    Report(ReportArgs),
    /// Watch a whole pull offline: an embedded Hub, a small model, scripted faults.
    ///
    /// Everything happens on this machine and in a throw-away cache; no network is used.
    Demo {
        /// Leave when the pull has ended, instead of waiting for a key.
        #[arg(long)]
        exit_when_done: bool,
    },
    /// Show the settings in force and where each came from.
    Config {
        /// What to show.
        #[command(subcommand)]
        what: ConfigVerb,
    },
    /// Print completions for a shell.
    #[command(after_help = "Example:\n  larder completions zsh > ~/.zfunc/_larder")]
    Completions {
        /// The shell.
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Print the manual page.
    #[command(after_help = "Example:\n  larder man pull | man -l -")]
    Man {
        /// A command's page instead of the main one.
        command: Option<String>,
    },
}

/// What `config` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum ConfigVerb {
    /// Print the config file's path.
    Path,
    /// Print every setting, its value and where that came from.
    Show,
}

/// Arguments of `pull`.
#[derive(Clone, Debug, Default, ClapArgs)]
pub struct PullArgs {
    /// ORG/NAME, ORG/NAME@REVISION, or a link to the repo or one of its files.
    #[arg(value_name = "REPO")]
    pub repo: String,
    /// Files to fetch; without any, what MLX reads.
    #[arg(value_name = "FILE", conflicts_with_all = ["include", "exclude", "all"])]
    pub files: Vec<String>,
    /// Branch, tag, `refs/pr/N` or commit; `main` if not given.
    #[arg(long, value_name = "REVISION")]
    pub revision: Option<String>,
    /// Fetch files that match, in the place of what MLX reads; repeatable.
    #[arg(long, value_name = "GLOB", conflicts_with = "all")]
    pub include: Vec<String>,
    /// Leave out files that match; repeatable.
    #[arg(long, value_name = "GLOB")]
    pub exclude: Vec<String>,
    /// Fetch every file of the repo.
    #[arg(long)]
    pub all: bool,
    /// Put the files into this folder, in the place of the cache, as `hf download --local-dir` does.
    ///
    /// What the cache has is taken from there, sharing its space where the file system can; the rest
    /// is fetched straight into the folder, once. A file that you changed is left alone.
    #[arg(long, value_name = "DIR", conflicts_with = "trust_size")]
    pub local_dir: Option<PathBuf>,
    /// Fetch again what is here; the old bytes stay until the new ones are proven.
    #[arg(long)]
    pub force: bool,
    /// Show files, sizes and disk space; write nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// With --dry-run: would the model load, by its small files and the headers of its weights.
    #[arg(long, requires = "dry_run")]
    pub validate: bool,
    /// Most connections at once; fewer where more bring nothing.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub connections: Option<u16>,
    /// Most bytes a second of everything together, e.g. 20M.
    #[arg(long, value_name = "RATE")]
    pub limit_rate: Option<String>,
    /// Believe the size of what is here instead of hashing it: faster, proves less.
    #[arg(long)]
    pub trust_size: bool,
    /// Wait no longer than this for programs that download the same, e.g. 10m; 0s waits for nobody.
    #[arg(long, value_name = "DURATION")]
    pub wait: Option<String>,
    /// The call in the advice, where that is not `larder pull`: the demo is a pull, too.
    #[arg(skip)]
    pub typed_as: Option<String>,
    /// The global flags that say where: without them the same call would go elsewhere.
    #[arg(skip)]
    pub places: Vec<String>,
}

/// Arguments of `ls`.
#[derive(Clone, Debug, Default, ClapArgs)]
pub struct LsArgs {
    /// Show the files of this repo.
    #[arg(value_name = "REPO")]
    pub repo: Option<String>,
    /// Only what matches, e.g. `size>1GB`, `verified>7d`, `state!=complete`; repeatable.
    #[arg(short, long, value_name = "EXPR")]
    pub filter: Vec<Filter>,
    /// Order: name, size, accessed or modified, with `:asc` or `:desc`.
    #[arg(long, value_name = "KEY[:ORDER]", default_value_t)]
    pub sort: Sort,
    /// At most so many, after sorting.
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
}

/// Arguments of `history`.
#[derive(Clone, Debug, Default, ClapArgs)]
pub struct HistoryArgs {
    /// Only of this repo.
    #[arg(value_name = "REPO")]
    pub repo: Option<String>,
    /// At most so many, the newest.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=5000))]
    pub limit: u32,
}

/// Arguments of `ready`.
#[derive(Clone, Debug, Default, ClapArgs)]
pub struct ReadyArgs {
    /// ORG/NAME, ORG/NAME@REVISION, or a link.
    #[arg(value_name = "REPO")]
    pub repo: String,
    /// Branch, tag, `refs/pr/N` or commit; `main` if not given.
    #[arg(long, value_name = "REVISION")]
    pub revision: Option<String>,
    /// Only if every file was hashed and has not changed since.
    #[arg(long)]
    pub verified: bool,
}

/// Arguments of `wait`.
#[derive(Clone, Debug, Default, ClapArgs)]
pub struct WaitArgs {
    /// The model.
    #[command(flatten)]
    pub ready: ReadyArgs,
    /// Wait no longer than this, e.g. 5m; without, as long as there is progress.
    #[arg(long, value_name = "DURATION")]
    pub timeout: Option<String>,
}

/// Arguments of `status`.
#[derive(Clone, Debug, Default, ClapArgs)]
pub struct StatusArgs {
    /// Look at this repo only, and ask each of its locks.
    #[arg(value_name = "REPO")]
    pub repo: Option<String>,
    /// Exit with 3 if a reader would get wrong or missing bytes.
    #[arg(long)]
    pub check: bool,
    /// With `--check`: also if something is wasted or surprising.
    #[arg(long, requires = "check")]
    pub strict: bool,
    /// The global flags that say where: without them the same call would go elsewhere.
    #[arg(skip)]
    pub places: Vec<String>,
}

/// Arguments of `verify`.
#[derive(Clone, Debug, Default, ClapArgs)]
pub struct VerifyArgs {
    /// ORG/NAME, ORG/NAME@REVISION, or a link; without any, everything in the cache.
    #[arg(value_name = "REPO")]
    pub repos: Vec<String>,
    /// Also read files that were hashed before and have not changed since.
    #[arg(long)]
    pub deep: bool,
    /// Ask the Hub first what models should hold of which no listing is here.
    #[arg(long)]
    pub online: bool,
    /// The global flags that say where: without them the same call would go elsewhere.
    #[arg(skip)]
    pub places: Vec<String>,
}

/// Arguments of `report`.
#[derive(Clone, Debug, Default, ClapArgs)]
pub struct ReportArgs {
    /// Write it to this file, which must not exist.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Do not ask; without `--output` the name is larder-report-DATE-TIME.txt, here.
    #[arg(short, long)]
    pub yes: bool,
    /// The global flags that say where: without them the same call would go elsewhere.
    #[arg(skip)]
    pub places: Vec<String>,
}

impl Args {
    /// The model that the dashboard shall open on.
    ///
    /// # Errors
    /// `usage` when the text names no repo.
    pub fn reference(&self) -> Result<Option<RepoReference>, Box<Failure>> {
        self.repo.as_deref().map(parse_repo).transpose()
    }

    /// Tells the command which global flags say where, so that its advice repeats them.
    pub(super) fn place(&mut self) {
        let places = self.globals.places();
        match &mut self.verb {
            Some(Verb::Pull(args)) => args.places = places,
            Some(Verb::Status(args)) => args.places = places,
            Some(Verb::Verify(args)) => args.places = places,
            Some(Verb::Doctor(args)) => args.places = places,
            Some(Verb::Locks(args)) => args.places = places,
            Some(Verb::Purge(args)) => args.places = places,
            Some(Verb::Import(args)) => args.places = places,
            Some(Verb::Guide(args)) => args.places = places,
            Some(Verb::Trash(args)) => args.places = places,
            Some(Verb::Report(args)) => args.places = places,
            Some(
                Verb::Ls(_)
                | Verb::Ready(_)
                | Verb::Wait(_)
                | Verb::History(_)
                | Verb::Demo { .. }
                | Verb::Config { .. }
                | Verb::Completions { .. }
                | Verb::Man { .. },
            )
            | None => {}
        }
    }
}

impl Verb {
    /// Its name on the command line.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Pull(_) => "pull",
            Self::Ls(_) => "ls",
            Self::Status(_) => "status",
            Self::Ready(_) => "ready",
            Self::Wait(_) => "wait",
            Self::Verify(_) => "verify",
            Self::Doctor(_) => "doctor",
            Self::Locks(_) => "locks",
            Self::Purge(_) => "purge",
            Self::Import(_) => "import",
            Self::Guide(_) => "guide",
            Self::Trash(_) => "trash",
            Self::History(_) => "history",
            Self::Report(_) => "report",
            Self::Demo { .. } => "demo",
            Self::Config { .. } => "config",
            Self::Completions { .. } => "completions",
            Self::Man { .. } => "man",
        }
    }

    /// Why it is refused where nothing may be changed; `None` where it changes nothing.
    pub fn refused_read_only(&self) -> Option<Failure> {
        let changes = match self {
            Self::Pull(args) => (!args.dry_run).then_some(match args.local_dir {
                Some(_) => "a pull writes into the folder",
                None => "a pull writes into the cache",
            }),
            Self::Purge(args) => (!args.dry_run).then_some("a purge removes files"),
            Self::Doctor(args) => args.fix.then_some("a repair changes the cache"),
            Self::Import(args) => (!args.dry_run).then_some("an import writes into the cache"),
            Self::Trash(args) => args.changes().then_some("it moves or frees files"),
            Self::Report(args) => {
                (args.output.is_some() || args.yes).then_some("the report would be written")
            }
            // The demo has a cache of its own, which nobody misses.
            Self::Ls(_)
            | Self::Ready(_)
            | Self::Wait(_)
            | Self::History(_)
            | Self::Guide(_)
            | Self::Status(_)
            | Self::Verify(_)
            | Self::Locks(_)
            | Self::Demo { .. }
            | Self::Config { .. }
            | Self::Completions { .. }
            | Self::Man { .. } => None,
        }?;
        Some(
            Failure::new(
                FailureCode::ReadOnly,
                format!(
                    "`larder {}` is refused: nothing may be changed",
                    self.name()
                ),
            )
            .because(changes),
        )
    }
}

impl VerifyArgs {
    /// What the engine is asked.
    ///
    /// # Errors
    /// `usage` when a text names no repo.
    pub fn targets(&self) -> Result<Vec<VerifyTarget>, Box<Failure>> {
        targets_of(&self.repos)
    }
}

/// Reads REPO arguments, each with its revision.
fn targets_of(repos: &[String]) -> Result<Vec<VerifyTarget>, Box<Failure>> {
    let read = |text: &String| {
        let reference = parse_repo(text)?;
        let revision = reference.revision;
        Ok(VerifyTarget {
            repo: reference.repo,
            revision: revision.map(|revision| revision.as_str().to_owned()),
        })
    };
    repos.iter().map(read).collect()
}

/// A call again, as a user would type it.
pub(super) fn call_of<'a>(
    start: &str,
    words: impl IntoIterator<Item = &'a String>,
    places: &[String],
) -> String {
    let mut call = vec![start.to_owned()];
    call.extend(words.into_iter().map(|word| shell_word(word)));
    call.extend(places.iter().cloned());
    call.join(" ")
}

/// A folder's path from the root on.
fn from_the_root(dir: &std::path::Path) -> String {
    let absolute = std::path::absolute(dir);
    let dir = absolute.as_deref().unwrap_or(dir);
    dir.to_string_lossy().into_owned()
}

impl Globals {
    /// The flags that say which cache and which Hub. The folder is told from the root on: advice and
    /// scripts are run elsewhere than where the call was typed.
    pub fn places(&self) -> Vec<String> {
        let placed = |dir: &PathBuf| {
            // A leading `~` is the home, as the configuration reads it.
            if dir.starts_with("~") {
                dir.to_string_lossy().into_owned()
            } else {
                from_the_root(dir)
            }
        };
        let cache_dir = self.cache_dir.as_ref().map(placed);
        [
            ("--cache-dir", cache_dir.as_deref()),
            ("--endpoint", self.endpoint.as_deref()),
        ]
        .into_iter()
        .filter_map(|(flag, value)| Some(format!("{flag} {}", shell_word(value?))))
        .collect()
    }
}

impl PullArgs {
    /// The default pull of `repo`.
    pub fn of(repo: impl Into<String>) -> Self {
        Self {
            repo: repo.into(),
            ..Self::default()
        }
    }

    /// The call again, as a user would type it: for advice.
    pub(super) fn call(&self) -> String {
        if let Some(call) = &self.typed_as {
            return call.clone();
        }
        let mut words = vec!["larder pull".to_owned(), shell_word(&self.repo)];
        words.extend(self.files.iter().map(|file| shell_word(file)));
        for (flag, values) in [
            ("--revision", self.revision.as_slice()),
            ("--include", &self.include),
            ("--exclude", &self.exclude),
        ] {
            words.extend(
                values
                    .iter()
                    .map(|value| format!("{flag} {}", shell_word(value))),
            );
        }
        for (flag, is_set) in [("--all", self.all), ("--force", self.force)] {
            words.extend(is_set.then(|| flag.to_owned()));
        }
        if let Some(dir) = &self.local_dir {
            words.push(format!("--local-dir {}", shell_word(&from_the_root(dir))));
        }
        words.extend(self.places.iter().cloned());
        words.join(" ")
    }

    /// What the engine is asked.
    ///
    /// # Errors
    /// `usage` when the text names no repo, or names a revision or file twice.
    pub fn request(&self) -> Result<PullRequest, Box<Failure>> {
        let reference = parse_repo(&self.repo)?;
        let revision = revision_of(&self.repo, reference.revision, self.revision.as_deref())?;
        let mut files = self.files.clone();
        if let Some(file) = reference.file {
            if self.all || !self.include.is_empty() || !self.exclude.is_empty() {
                return Err(Box::new(
                    Failure::new(
                        FailureCode::Usage,
                        format!("the link names `{file}` and cannot be used with patterns"),
                    )
                    .because("a pull is either of named files or by pattern"),
                ));
            }
            files.insert(0, file.as_str().to_owned());
        }
        Ok(PullRequest {
            files,
            include: self.include.clone(),
            exclude: self.exclude.clone(),
            all: self.all,
            force: self.force,
            dry_run: self.dry_run,
            validate: self.validate,
            trust_size: self.trust_size,
            wait: self.wait.as_deref().map(wait_limit).transpose()?,
            local_dir: self.local_dir.clone(),
            ..PullRequest::new(reference.repo, revision)
        })
    }
}

/// Reads how long to wait; a bare number counts seconds, as everywhere in a shell.
pub(super) fn wait_limit(text: &str) -> Result<WaitLimit, Box<Failure>> {
    let seconds = || text.parse().ok().map(jiff::SignedDuration::from_secs);
    let limit = seconds().or_else(|| text.parse::<jiff::SignedDuration>().ok());
    let limit_ms = limit
        .and_then(|limit| u64::try_from(limit.as_millis()).ok())
        .ok_or_else(|| {
            Failure::new(
                FailureCode::Usage,
                format!("`{text}` is no duration, such as 90s, 5m or 2h"),
            )
        })?;
    Ok(WaitLimit {
        limit_ms: Some(limit_ms),
    })
}

/// Reads a REPO argument.
pub(super) fn parse_repo(text: &str) -> Result<RepoReference, Box<Failure>> {
    RepoReference::parse(text).map_err(|error| {
        Box::new(Failure::new(FailureCode::Usage, error.to_string()).at_path(text))
    })
}

/// The revision that a repo argument and `--revision` mean together; `main` if neither says one.
///
/// # Errors
/// `usage` when the flag is none, or says something else than the argument.
pub(super) fn revision_of(
    repo: &str,
    named: Option<Revision>,
    flag: Option<&str>,
) -> Result<Revision, Box<Failure>> {
    let flag = flag
        .map(Revision::new)
        .transpose()
        .map_err(|error| Failure::new(FailureCode::Usage, error.to_string()))?;
    match (named, flag) {
        (Some(named), Some(flag)) if named != flag => Err(Box::new(
            Failure::new(
                FailureCode::Usage,
                format!("`{repo}` and `--revision {flag}` do not agree"),
            )
            .because(format!("the repo argument says `{named}`")),
        )),
        (Some(revision), _) | (None, Some(revision)) => Ok(revision),
        (None, None) => Ok(Revision::main()),
    }
}

#[cfg(test)]
mod tests;
