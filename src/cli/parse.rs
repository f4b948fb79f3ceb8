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
