//! Owns reading the command line and the answers to one that cannot be read.
//!
//! Never ends the process: it prints and hands the exit code to `main`.

use std::ffi::OsString;
use std::io;

use clap::Parser as _;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::args::Args;
use super::print::Printer;
use crate::domain::{RepoReference, sanitize, sanitize_line};

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
    Args::try_parse_from(argv).map_err(|error| {
        if let Some(text) = mistaken_command(&error) {
            return Answer {
                text,
                exit_code: 2,
                is_data: false,
            };
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
        Answer {
            text,
            exit_code: u8::try_from(error.exit_code()).unwrap_or(2),
            is_data: !error.use_stderr(),
        }
    })
}

/// What a first word that is no command was probably meant to be.
fn mistaken_command(error: &clap::Error) -> Option<String> {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return None;
    }
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else {
        return None;
    };
    let shown = sanitize_line(word, 200);
    if word.contains('/') && RepoReference::parse(word).is_ok() {
        return Some(format!(
            "error: `{shown}` is a repo, not a command\n  to fetch it: larder pull {shown}\n"
        ));
    }
    let hint = match error.get(ContextKind::SuggestedSubcommand) {
        Some(ContextValue::Strings(names)) if !names.is_empty() => {
            let names: Vec<String> = names
                .iter()
                .map(|name| format!("`larder {name}`"))
                .collect();
            format!("did you mean {}?", names.join(" or "))
        }
        Some(ContextValue::String(name)) => format!("did you mean `larder {name}`?"),
        _ => "`larder --help` lists the commands".to_owned(),
    };
    Some(format!("error: `{shown}` is not a command\n  {hint}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(words: &[&str]) -> Answer {
        let argv = std::iter::once(&"larder").chain(words).map(OsString::from);
        read(argv, false).unwrap_err()
    }

    #[test]
    fn a_repo_in_the_place_of_a_command_is_explained() {
        for repo in [
            "org/name",
            "https://huggingface.co/org/name/tree/main",
            "org/name@v1",
        ] {
            let answer = answer(&[repo]);
            assert!(
                answer.text.contains(&format!("larder pull {repo}\n")),
                "{}",
                answer.text
            );
            assert_eq!((answer.exit_code, answer.is_data), (2, false));
        }
    }

    #[test]
    fn a_mistyped_command_gets_the_nearest() {
        for (word, hint) in [
            ("pul", "`larder pull`"),
            ("lst", "`larder ls`"),
            ("confg", "`larder config`"),
            ("zzzzzz", "`larder --help`"),
            ("\u{1b}[2J", "\\x1b[2J"),
        ] {
            let answer = answer(&[word]);
            assert!(answer.text.contains(hint), "{word}: {}", answer.text);
            assert_eq!((answer.exit_code, answer.is_data), (2, false));
            assert!(!answer.text.contains('\u{1b}'));
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
        let bare = answer(&[]);
        assert_eq!((bare.exit_code, bare.is_data), (2, false));
        assert!(bare.text.contains("Usage:"), "{}", bare.text);
        assert_eq!(answer(&["--version"]).exit_code, 0);
        let wrong = answer(&["pull", "o/m", "--nope"]);
        assert_eq!((wrong.exit_code, wrong.is_data), (2, false));
    }
}
