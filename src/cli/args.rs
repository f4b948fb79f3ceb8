//! Owns the grammar of the command line: commands, flags and their help.
//!
//! Never acts and never reads the environment: flags that were not given are `None`, and
//! `config` merges them with variables and the file.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

use super::filter::Filter;
use super::sort::Sort;
use crate::domain::{Failure, FailureCode, PullRequest, RepoReference, Revision};

const EXIT_CODES: &str = "\
Exit codes:
  0    done; everything asked for is complete and verified
  1    several failures of different kinds
  2    the call was wrong or refused; or nothing in the repo is for MLX
  3    something in the cache is incomplete or broken
  4    another program is at work on the same model
  5    the network, a server or a proxy failed
  6    the Hub says no: token, access, repo, revision or file
  7    the disk: full, not writable, or a name it cannot hold
  8    fetched bytes do not match what the Hub promised
  70   a bug in larder
  129  hung up; 130 interrupted; 143 terminated: what is here is resumed next time";

const ROOT_EXAMPLES: &str = "\
Examples:
  larder pull mlx-community/gemma-2-2b-it-4bit
  larder pull https://huggingface.co/mlx-community/Qwen3-4B-4bit/tree/main
  larder ls --filter 'size>1GB' --sort size
  larder demo";

const STREAMS: &str = "\
Standard output is data, standard error is talk. These variables are obeyed:
HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_TOKEN, HF_TOKEN_PATH, HF_HUB_OFFLINE,
the proxy variables and NO_COLOR.";

const PULL_EXAMPLES: &str = "\
Examples:
  larder pull mlx-community/gemma-2-2b-it-4bit     what MLX reads
  larder pull ORG/NAME@v1.0                        at a tag
  larder pull ORG/NAME config.json tokenizer.json  two files
  larder pull ORG/NAME --include '*.gguf'          by pattern; * crosses /
  larder pull ORG/NAME --dry-run                   what it would do
  cd \"$(larder pull ORG/NAME)\"                     stdout gets the path only";

const LS_EXAMPLES: &str = "\
Examples:
  larder ls
  larder ls mlx-community/gemma-2-2b-it-4bit
  larder ls --filter 'size>1GB' --filter 'accessed>30d' --sort size
  larder ls --filter refs=main --json

Filters are KEY OP VALUE, and all must hold:
  size                with = != > < >= <=, e.g. 500M, 1.5GB
  accessed, modified  likewise, e.g. 30s 5m 2h 7d 2w 6mo 1y;
                      accessed>30d is longer ago than 30 days
  type                with = only: model, dataset, space
  refs                with = only: the name of a ref";

/// The command line.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "larder",
    version,
    about = "Fetch Hugging Face and MLX models into the cache that apps already read, every byte proven.",
    after_help = ROOT_EXAMPLES,
    after_long_help = format!("{ROOT_EXAMPLES}\n\n{STREAMS}\n\n{EXIT_CODES}"),
    arg_required_else_help = true,
)]
pub struct Args {
    /// What holds for every command.
    #[command(flatten)]
    pub globals: Globals,
    /// The command.
    #[command(subcommand)]
    pub verb: Verb,
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
    /// Watch a whole pull offline: an embedded Hub, a small model, scripted faults.
    ///
    /// Everything happens on this machine and in a throw-away cache; no network is used.
    Demo,
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
    /// Fetch again what is here; the old bytes stay until the new ones are proven.
    #[arg(long)]
    pub force: bool,
    /// Show files, sizes and disk space; write nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Connections at once.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub connections: Option<u16>,
    /// Believe the size of what is here instead of hashing it: faster, proves less.
    #[arg(long)]
    pub trust_size: bool,
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
    /// Only what matches, e.g. `size>1GB`, `accessed>30d`, `refs=main`; repeatable.
    #[arg(short, long, value_name = "EXPR")]
    pub filter: Vec<Filter>,
    /// Order: name, size, accessed or modified, with `:asc` or `:desc`.
    #[arg(long, value_name = "KEY[:ORDER]", default_value_t)]
    pub sort: Sort,
}

impl Globals {
    /// The flags that say which cache and which Hub, as typed.
    pub fn places(&self) -> Vec<String> {
        let cache_dir = self.cache_dir.as_ref().map(|dir| dir.to_string_lossy());
        [
            ("--cache-dir", cache_dir.as_deref()),
            ("--endpoint", self.endpoint.as_deref()),
        ]
        .into_iter()
        .filter_map(|(flag, value)| Some(format!("{flag} {}", quoted(value?))))
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
        let mut words = vec!["larder pull".to_owned(), quoted(&self.repo)];
        words.extend(self.files.iter().map(|file| quoted(file)));
        for (flag, values) in [
            ("--revision", self.revision.as_slice()),
            ("--include", &self.include),
            ("--exclude", &self.exclude),
        ] {
            words.extend(
                values
                    .iter()
                    .map(|value| format!("{flag} {}", quoted(value))),
            );
        }
        for (flag, is_set) in [("--all", self.all), ("--force", self.force)] {
            words.extend(is_set.then(|| flag.to_owned()));
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
        let flag = self
            .revision
            .as_deref()
            .map(Revision::new)
            .transpose()
            .map_err(|error| Failure::new(FailureCode::Usage, error.to_string()))?;
        let revision = match (reference.revision, flag) {
            (Some(named), Some(flag)) if named != flag => {
                return Err(Box::new(
                    Failure::new(
                        FailureCode::Usage,
                        format!("`{}` and `--revision {flag}` do not agree", self.repo),
                    )
                    .because(format!("the repo argument says `{named}`")),
                ));
            }
            (Some(revision), _) | (None, Some(revision)) => revision,
            (None, None) => Revision::main(),
        };
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
            trust_size: self.trust_size,
            ..PullRequest::new(reference.repo, revision)
        })
    }
}

/// A word as a POSIX shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./@:+=,%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// Reads a REPO argument.
pub(super) fn parse_repo(text: &str) -> Result<RepoReference, Box<Failure>> {
    RepoReference::parse(text).map_err(|error| {
        Box::new(Failure::new(FailureCode::Usage, error.to_string()).at_path(text))
    })
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::*;
    use crate::domain::RepoKind;

    fn pull(line: &[&str]) -> PullArgs {
        let line = ["larder", "pull"].iter().chain(line);
        match Args::try_parse_from(line).unwrap().verb {
            Verb::Pull(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_grammar_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_help_names_every_exit_code() {
        let help = Args::command().render_long_help().to_string();
        for code in FailureCode::ALL {
            let exit = format!("  {}", code.exit_code());
            assert!(
                help.lines().any(|line| line.starts_with(&exit)) || help.contains(&exit[1..]),
                "{code} gives {exit}"
            );
        }
    }

    #[test]
    fn help_reads_well_at_80_columns() {
        let mut text = String::new();
        for name in ["", "pull", "ls"] {
            let mut command = Args::command().term_width(80);
            command.build();
            let help = match command.find_subcommand_mut(name) {
                Some(command) => command.render_help(),
                None => command.render_help(),
            };
            text.push_str(&help.to_string());
            text.push_str("\n=====\n");
        }
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_repo_is_whatever_people_paste() {
        let request = pull(&["org/m@v1"]).request().unwrap();
        assert_eq!(request.revision, Revision::new("v1").unwrap());
        let request = pull(&["https://huggingface.co/org/m/blob/dev/sub/a.json"])
            .request()
            .unwrap();
        assert_eq!(request.files, ["sub/a.json"]);
        assert_eq!(request.revision, Revision::new("dev").unwrap());
        let request = pull(&["datasets/o/d", "x", "y"]).request().unwrap();
        assert_eq!(request.repo.kind(), RepoKind::Dataset);
        assert_eq!(request.files, ["x", "y"]);
        assert_eq!(request.revision, Revision::main());
    }

    #[test]
    fn contradictions_are_usage() {
        for line in [
            &["org/m@v1", "--revision", "v2"][..],
            &["https://huggingface.co/org/m/blob/main/a.json", "--all"],
            &["org/m", "--revision", "../x"],
            &["a b"],
            &["https://huggingface.co"],
        ] {
            let failure = pull(line).request().unwrap_err();
            assert_eq!(failure.code, FailureCode::Usage, "{line:?}");
        }
        assert!(pull(&["org/m@v1", "--revision", "v1"]).request().is_ok());
        for line in [
            &["org/m", "a", "--include", "b"][..],
            &["org/m", "--all", "--include", "b"],
            &["org/m", "--connections", "0"],
            &["org/m", "-v", "-q"],
            &["org/m", "--color", "pink"],
            &[],
        ] {
            let line = ["larder", "pull"].iter().chain(line);
            assert!(Args::try_parse_from(line.clone()).is_err(), "{line:?}");
        }
    }

    #[test]
    fn the_call_again_is_the_call() {
        let line = [
            "org/m@v1",
            "--include",
            "*.json",
            "--exclude",
            "it's",
            "--force",
            "--revision",
            "v1",
        ];
        let args = pull(&line);
        assert_eq!(
            args.call(),
            r"larder pull org/m@v1 --revision v1 --include '*.json' --exclude 'it'\''s' --force"
        );
        assert_eq!(pull(&["o/m", "a b", "c"]).call(), "larder pull o/m 'a b' c");
    }

    #[test]
    fn patterns_and_globals_go_where_people_put_them() {
        let args = Args::try_parse_from([
            "larder",
            "--json",
            "pull",
            "o/m",
            "--include",
            "*.json",
            "--include=a*",
            "--exclude",
            "b",
            "-vv",
        ])
        .unwrap();
        assert!(args.globals.json);
        assert_eq!(args.globals.verbose, 2);
        let Verb::Pull(pull) = args.verb else {
            panic!("not a pull");
        };
        assert_eq!(pull.include, ["*.json", "a*"]);
        assert_eq!(pull.exclude, ["b"]);
    }
}
