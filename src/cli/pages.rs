//! Owns `completions` and `man`: both made from the grammar, so that they cannot disagree with it.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::args::Args;
use super::exit::Ending;
use super::follow::Console;
use super::output::Output;
use super::remedy::Subject;
use crate::domain::{Failure, FailureCode};

/// Prints completions for a shell; the exit code.
pub fn completions(shell: Shell, output: Output) -> u8 {
    let mut console = Console::new(output);
    console.printer.text(&completions_text(shell));
    console.close(0)
}

/// Prints the manual page of larder or of one command; the exit code.
pub fn man(command: Option<&str>, output: Output) -> u8 {
    let mut console = Console::new(output);
    match man_text(command) {
        Ok(text) => {
            console.printer.text(&text);
            console.close(0)
        }
        Err(failure) => {
            let ending = Ending::refused(*failure);
            let subject = Subject {
                repo: None,
                command: "man",
                call: None,
            };
            console.talk.failures(&ending, subject, None);
            console.close(ending.exit_code)
        }
    }
}

fn completions_text(shell: Shell) -> String {
    let mut bytes = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "larder", &mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn man_text(name: Option<&str>) -> Result<String, Box<Failure>> {
    let mut command = Args::command();
    command.build();
    let page = match name {
        None => command,
        Some(name) => command
            .find_subcommand(name)
            .cloned()
            .map(|found| found.display_name(format!("larder-{name}")))
            .ok_or_else(|| {
                Failure::new(FailureCode::Usage, format!("there is no command `{name}`"))
            })?,
    };
    let mut bytes = Vec::new();
    clap_mangen::Man::new(page)
        .render(&mut bytes)
        .map_err(|error| {
            Failure::new(FailureCode::Internal, "the manual page cannot be made")
                .because(error.to_string())
        })?;
    // Examples and tables are laid out by hand: filled and justified they cannot be copied.
    Ok(String::from_utf8_lossy(&bytes)
        .replacen(".SH EXTRA\n", ".SH EXTRA\n.nf\n", 1)
        .replacen(".SH VERSION\n", ".fi\n.SH VERSION\n", 1))
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn every_shell_completes_every_command() {
        for shell in Shell::value_variants() {
            let text = completions_text(*shell);
            for word in [
                "pull",
                "ls",
                "status",
                "verify",
                "doctor",
                "severity",
                "orphan-blob",
                "locks",
                "purge",
                "report",
                "demo",
                "trust-size",
                "incomplete",
                "exit-when-done",
                "read-only",
            ] {
                assert!(text.contains(word), "{shell}: {word}");
            }
        }
    }

    #[test]
    fn pages_hold_what_help_holds() {
        let root = man_text(None).unwrap();
        assert!(
            root.contains("larder") && root.contains("HF_HOME"),
            "{root}"
        );
        let pull = man_text(Some("pull")).unwrap();
        assert!(
            pull.contains("larder\\-pull") && pull.contains("trust\\-size"),
            "{pull}"
        );
        let purge = man_text(Some("purge")).unwrap();
        assert!(purge.contains("dry\\-run"), "{purge}");
        for page in [&root, &pull, &purge] {
            let (_, extra) = page.split_once(".SH EXTRA\n").unwrap();
            assert!(extra.starts_with(".nf\n"), "{extra}");
        }
        assert_eq!(man_text(Some("bake")).unwrap_err().code, FailureCode::Usage);
    }
}
