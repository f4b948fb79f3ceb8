//! Owns reading the command line and the answers to one that cannot be read.
//!
//! Never ends the process: it prints and hands the exit code to `main`.

use std::ffi::OsString;
use std::io;

use clap::error::{ContextKind, ContextValue};
use clap::{Command, CommandFactory as _, Parser as _};

use super::args::Args;
use super::print::Printer;
use crate::domain::{sanitize, sanitize_line};

/// What to print in the place of a command, and the exit code.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    text: String,
    exit_code: u8,
    /// Help that was asked for is data; everything else is talk.
    is_data: bool,
}

/// Reads the command line, program name first. `Err` is the exit code: help or an explanation has
/// been printed.
///
/// # Errors
/// When there is nothing to run: 0 after help that was asked for, 2 otherwise.
pub fn parse(argv: impl IntoIterator<Item = OsString>) -> Result<Args, u8> {
    let has_color = supports_color::on(supports_color::Stream::Stderr).is_some();
    read(argv, has_color).map_err(|answer| {
        let mut printer = if answer.is_data {
            Printer::stdout()
        } else {
            Printer::new(io::stderr())
        };
        printer.text(&answer.text);
        answer.exit_code
    })
}

/// Reads a line as it is typed in the dashboard: the words of a command line without the program's
/// name.
///
/// # Errors
/// Says in one line what cannot be understood.
pub fn read_line(line: &str) -> Result<Args, String> {
    let words = split(line)?;
    let argv = std::iter::once("larder".to_owned()).chain(words);
    read(argv.map(OsString::from), false).map_err(|answer| {
        if answer.is_data {
            return "that is for a shell".to_owned();
        }
        let text = answer.text.trim_start_matches("error: ");
        let first = text.split("\n\n").next().unwrap_or(text);
        first.split_whitespace().collect::<Vec<_>>().join(" ")
    })
}

/// Splits a line as a shell does, as far as blanks and quotes go.
fn split(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed".to_owned());
    }
    words.extend(word);
    Ok(words)
}

/// A command, for completion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerbHelp {
    /// Its name.
    pub name: String,
    /// What it does, in a sentence.
    pub about: String,
    /// Its flags and those of every command, with their dashes; with subcommands, theirs too.
    pub flags: Vec<String>,
}

/// Every command with its flags.
pub fn verbs() -> Vec<VerbHelp> {
    let root = Args::command();
    root.get_subcommands()
        .map(|command| VerbHelp {
            name: command.get_name().to_owned(),
            about: command
                .get_about()
                .map(ToString::to_string)
                .unwrap_or_default(),
            flags: command
                .get_arguments()
                .chain(
                    command
                        .get_subcommands()
                        .flat_map(clap::Command::get_arguments),
                )
                .chain(
                    root.get_arguments()
                        .filter(|argument| argument.is_global_set()),
                )
                .flat_map(|argument| {
                    let long = argument.get_long().map(|flag| format!("--{flag}"));
                    let short = argument.get_short().map(|flag| format!("-{flag}"));
                    long.into_iter().chain(short)
                })
                .collect(),
        })
        .collect()
}

fn read(argv: impl IntoIterator<Item = OsString>, has_color: bool) -> Result<Args, Answer> {
    let argv: Vec<OsString> = argv.into_iter().collect();
    // An explanation repeats the words it is about, and they may have been pasted from anywhere.
    let is_harmless = argv.iter().all(|word| {
        let word = word.to_string_lossy();
        sanitize(&word) == word
    });
    let error = match Args::try_parse_from(&argv) {
        Ok(mut parsed) => {
            if let Some(text) = mistaken(&parsed) {
                return Err(Answer::wrong(text));
            }
            parsed.place();
            return Ok(parsed);
        }
        Err(error) => error,
    };
    if error.use_stderr()
        && let Some((word, verb)) = first_word(&argv)
    {
        let text = mistaken_command(&word).or_else(|| Some(misplaced(&word, verb.as_deref()?)));
        if let Some(text) = text {
            return Err(Answer::wrong(text));
        }
    }
    let rendered = error.render();
    let text = match (is_harmless, has_color) {
        (true, true) => rendered.ansi().to_string(),
        (true, false) => rendered.to_string(),
        (false, _) => rendered
            .to_string()
            .lines()
            .flat_map(|line| [sanitize(line), "\n".to_owned()])
            .collect(),
    };
    Err(Answer {
        text,
        exit_code: u8::try_from(error.exit_code()).unwrap_or(2),
        is_data: !error.use_stderr(),
    })
}

impl Answer {
    /// The answer to a call that was wrong.
    const fn wrong(text: String) -> Self {
        Self {
            text,
            exit_code: 2,
            is_data: false,
        }
    }
}

/// Why a repo in the place of a command cannot be what was meant; `None` if it can.
fn mistaken(args: &Args) -> Option<String> {
    let word = args.repo.as_deref()?;
    if let Some(text) = mistaken_command(word) {
        return Some(text);
    }
    let shown = sanitize_line(word, 200);
    if let Err(failure) = args.reference() {
        return Some(format!(
            "error: {failure} ({shown})\n  a repo is ORG/NAME or a link to it\n"
        ));
    }
    Some(misplaced(word, args.verb.as_ref()?.name()))
}

/// The answer to a repo before a command.
fn misplaced(word: &str, verb: &str) -> String {
    let shown = sanitize_line(word, 200);
    format!(
        "error: `{shown}` stands before the command `{verb}`\n  did you mean `larder {verb} {shown}`?\n"
    )
}

/// The word in a command's place and the command after it, whatever is wrong with the rest.
fn first_word(argv: &[OsString]) -> Option<(String, Option<String>)> {
    let matches = Args::command()
        .ignore_errors(true)
        .try_get_matches_from(argv)
        .ok()?;
    let word = matches.get_one::<String>("repo").cloned()?;
    Some((word, matches.subcommand_name().map(str::to_owned)))
}

/// What a first word that is neither a repo nor a command was probably meant to be.
fn mistaken_command(word: &str) -> Option<String> {
    if word.contains('/') {
        return None;
    }
    // The grammar of commands alone knows which of them a word resembles.
    let suggested = Command::new("larder")
        .subcommand_required(true)
        .subcommands(Args::command().get_subcommands().cloned())
        .try_get_matches_from(["larder", word])
        .err()
        .and_then(|error| error.get(ContextKind::SuggestedSubcommand).cloned());
    let hint = match suggested {
        Some(ContextValue::Strings(names)) if !names.is_empty() => {
            let names: Vec<String> = names
                .iter()
                .map(|name| format!("`larder {name}`"))
                .collect();
            format!("did you mean {}?", names.join(" or "))
        }
        Some(ContextValue::String(name)) => format!("did you mean `larder {name}`?"),
        _ => "`larder --help` lists the commands; a repo is ORG/NAME".to_owned(),
    };
    let shown = sanitize_line(word, 200);
    Some(format!("error: `{shown}` is not a command\n  {hint}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typed_line_is_a_command_line() {
        let args = read_line("pull org/m --include '*.json' \"a b\"").unwrap_err();
        assert!(args.contains("cannot be used with"), "{args}");
        let args = read_line("  pull org/m 'a b' ").unwrap();
        assert!(
            matches!(args.verb, Some(super::super::args::Verb::Pull(pull)) if pull.files == ["a b"])
        );
        assert!(read_line("org/m").unwrap().verb.is_none());
        for (line, why) in [
            ("pul x", "not a command"),
            ("pull 'x", "quote"),
            ("--help", "shell"),
            ("pull", "REPO"),
        ] {
            let error = read_line(line).unwrap_err();
            assert!(
                error.contains(why) && !error.contains('\n'),
                "{line}: {error}"
            );
        }
        let verbs = verbs();
        let pull = verbs.iter().find(|verb| verb.name == "pull").unwrap();
        assert!(pull.flags.contains(&"--all".to_owned()));
    }

    fn answer(words: &[&str]) -> Answer {
        let argv = std::iter::once(&"larder").chain(words).map(OsString::from);
        read(argv, false).unwrap_err()
    }

    fn parsed(words: &[&str]) -> Args {
        let argv = std::iter::once(&"larder").chain(words).map(OsString::from);
        read(argv, false).unwrap()
    }

    #[test]
    fn a_repo_in_the_place_of_a_command_is_for_the_dashboard() {
        for repo in [
            "org/name",
            "https://huggingface.co/org/name/tree/main",
            "org/name@v1",
        ] {
            let args = parsed(&[repo, "--offline"]);
            assert_eq!(args.repo.as_deref(), Some(repo));
            assert!(args.verb.is_none() && args.globals.offline);
            assert_eq!(args.reference().unwrap().unwrap().repo.name(), "org/name");
        }
        let bare = parsed(&[]);
        assert!(bare.verb.is_none() && bare.reference().unwrap().is_none());
        for (words, hint) in [
            (&["a//b"][..], "ORG/NAME"),
            (&["https://example.org"], "ORG/NAME"),
            (&["org/name", "pull"], "`larder pull org/name`"),
            (&["org/name", "--all"], "--all"),
        ] {
            let answer = answer(words);
            assert!(answer.text.contains(hint), "{words:?}: {}", answer.text);
            assert_eq!((answer.exit_code, answer.is_data), (2, false));
        }
    }

    #[test]
    fn a_command_knows_where_it_was_sent() {
        let args = parsed(&["status", "--cache-dir", "/my disk"]);
        let Some(super::super::args::Verb::Status(status)) = args.verb else {
            panic!("not a status");
        };
        assert_eq!(status.places, ["--cache-dir '/my disk'"]);
        // Wherever advice or a script is run, it is the same cache.
        let here = std::env::current_dir().unwrap();
        let below = format!("--cache-dir {}", here.join("seven/hub").display());
        for (typed, told) in [
            ("seven/hub", below.as_str()),
            ("~/hub", "--cache-dir '~/hub'"),
        ] {
            let args = parsed(&["guide", "org/m", "--script", "--cache-dir", typed]);
            let Some(super::super::args::Verb::Guide(guide)) = args.verb else {
                panic!("not a guide");
            };
            assert_eq!(guide.places, [told]);
        }
    }

    #[test]
    fn a_mistyped_command_gets_the_nearest() {
        for (word, hint) in [
            ("pul", "`larder pull`"),
            ("lst", "`larder ls`"),
            ("confg", "`larder config`"),
            ("zzzzzz", "`larder --help`"),
            ("stauts", "`larder status`"),
            ("\u{1b}[2J", "\\x1b[2J"),
        ] {
            for rest in [&[][..], &["org/name"], &["org/name", "--all"]] {
                let answer = answer(&[&[word], rest].concat());
                assert!(answer.text.contains(hint), "{word}: {}", answer.text);
                assert_eq!((answer.exit_code, answer.is_data), (2, false));
                assert!(!answer.text.contains('\u{1b}'));
            }
        }
    }

    #[test]
    fn words_that_a_terminal_would_obey_are_repeated_as_text() {
        for has_color in [false, true] {
            for word in ["--\u{1b}[2J", "--\u{9b}2J", "--a\u{202e}b"] {
                let argv = ["larder", "pull", "o/m", word].map(OsString::from);
                let answer = read(argv, has_color).unwrap_err();
                assert_eq!(answer.exit_code, 2);
                for c in ['\u{1b}', '\u{9b}', '\u{202e}'] {
                    assert!(!answer.text.contains(c), "{:?}", answer.text);
                }
                assert!(answer.text.contains("Usage:"), "{}", answer.text);
            }
        }
    }

    #[test]
    fn help_is_data_when_asked_for_and_an_error_when_nothing_was() {
        let asked = answer(&["--help"]);
        assert_eq!((asked.exit_code, asked.is_data), (0, true));
        assert!(asked.text.contains("Exit codes:"));
        let bare = answer(&["pull"]);
        assert_eq!((bare.exit_code, bare.is_data), (2, false));
        assert!(bare.text.contains("Usage:"), "{}", bare.text);
        assert_eq!(answer(&["--version"]).exit_code, 0);
        let wrong = answer(&["pull", "o/m", "--nope"]);
        assert_eq!((wrong.exit_code, wrong.is_data), (2, false));
    }
}
