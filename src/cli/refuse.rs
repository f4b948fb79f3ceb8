//! Owns the end of a command that could not even begin, in the shape its output would have had.
//!
//! Never decides why: `main` and the commands say so.

use std::path::Path;

use super::args::{Args, Verb};
use super::document::{self, Bundle, Closing, Diagnosis, Look, Removals};
use super::exit::Ending;
use super::follow::Console;
use super::output::{Format, Output};
use super::remedy::Subject;
use crate::domain::{Failure, FailureCode, PurgePlan, TerminalFacts};
use crate::store::{Shelf, Store};

/// Why no dashboard can be shown; `None` if it can.
pub fn no_dashboard(args: &Args, output: &Output) -> Option<Failure> {
    if output.has_screen {
        return None;
    }
    let why = if args.globals.plain {
        "`--plain` draws nothing"
    } else if output.format != Format::Human {
        "`--json` and `--events` are for programs"
    } else if output.stdout.columns.is_some() {
        "it needs a keyboard, and a terminal that can do more than lines"
    } else {
        "standard output is no terminal"
    };
    Some(Failure::new(FailureCode::Usage, "the dashboard cannot be shown here").because(why))
}

/// Why the flags of the dashboard cannot stand beside a command; `None` if they do not.
pub fn no_resume(args: &Args) -> Option<Failure> {
    (args.resume && args.verb.is_some()).then(|| {
        Failure::new(
            FailureCode::Usage,
            "`--resume` is for the dashboard, not for a command",
        )
        .because("a pull goes on by itself with what is here")
    })
}

/// Ends a command that could not even begin.
pub fn refuse(
    args: &Args,
    failure: Failure,
    output: Output,
    started_ms: u64,
    log_file: Option<&Path>,
) -> u8 {
    refuse_on(args, failure, started_ms, log_file, Console::new(output))
}

fn refuse_on(
    args: &Args,
    failure: Failure,
    started_ms: u64,
    log_file: Option<&Path>,
    mut console: Console<'_>,
) -> u8 {
    let ending = Ending::refused(failure);
    let repo = match &args.verb {
        Some(Verb::Pull(args)) => Some(args.repo.as_str()),
        Some(Verb::Ls(args)) => args.repo.as_deref(),
        Some(Verb::Status(args)) => args.repo.as_deref(),
        Some(Verb::Locks(args)) => args.repo.as_deref(),
        Some(Verb::History(args)) => args.repo.as_deref(),
        Some(Verb::Import(args)) => args.repo.as_deref(),
        Some(Verb::Guide(args)) => Some(args.repo.as_str()),
        Some(Verb::Ready(args)) => Some(args.repo.as_str()),
        Some(Verb::Wait(args)) => Some(args.ready.repo.as_str()),
        Some(_) => None,
        None => args.repo.as_deref(),
    };
    let subject = Subject {
        repo,
        command: args.verb.as_ref().map_or("", Verb::name),
        call: None,
    };
    let closing = Closing {
        ending: &ending,
        subject,
        at_ms: started_ms,
        log_file,
    };
    if console.output.format != Format::Human {
        let is_line = console.output.format == Format::Events;
        if let Some(document) = empty(args.verb.as_ref(), &closing, is_line) {
            console.printer.line(&document);
        }
    }
    console.talk.failures(&ending, subject, log_file);
    console.close(ending.exit_code)
}

/// The document of a command that did nothing; `None` where it has none.
fn empty(verb: Option<&Verb>, closing: &Closing<'_>, is_line: bool) -> Option<String> {
    let shelf = Shelf::default();
    let look = Look {
        shelf: &shelf,
        repo: None,
        settings: &[],
    };
    Some(match verb? {
        // The demo is a pull.
        Verb::Pull(_) | Verb::Demo { .. } => {
            document::pull(&Store::default(), false, closing, is_line)
        }
        Verb::Import(args) => document::import(&Store::default(), args.dry_run, closing, is_line),
        Verb::Guide(_) => document::guide(None, &[], closing, is_line),
        Verb::Ls(_) => document::ls(&[], closing, is_line),
        Verb::History(_) => document::history(&[], closing, is_line),
        Verb::Ready(_) => document::ready("ready", None, None, closing, is_line),
        Verb::Wait(_) => document::ready("wait", None, None, closing, is_line),
        Verb::Status(_) => document::status(look, closing, is_line),
        Verb::Verify(_) => document::verify(&Store::default(), closing, is_line),
        Verb::Doctor(_) => document::doctor(&Diagnosis::default(), closing, is_line),
        Verb::Locks(_) => document::locks(&shelf, None, closing, is_line),
        Verb::Purge(args) => {
            let removals = Removals {
                planned: &PurgePlan::default(),
                result: None,
                emptied: None,
                is_dry_run: args.dry_run,
            };
            document::purge(removals, closing, is_line)
        }
        Verb::Trash(_) => document::trash(&[], None, closing, is_line),
        Verb::Report(_) => {
            let bundle = Bundle {
                version: env!("CARGO_PKG_VERSION"),
                system: "",
                terminal: &TerminalFacts::default(),
                size: (None, None),
                has_color: false,
                log: &[],
                written_to: None,
            };
            document::report(look, bundle, closing, is_line)
        }
        Verb::Config { .. } => document::config(None, None, closing, is_line),
        Verb::Completions { .. } | Verb::Man { .. } => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::args::{
        ConfigVerb, DoctorArgs, GuideArgs, HistoryArgs, ImportArgs, LocksArgs, LsArgs, PullArgs,
        PurgeArgs, ReportArgs, StatusArgs, VerifyArgs,
    };
    use super::super::schema::{
        CONFIG_SCHEMA, DOCTOR_SCHEMA, GUIDE_SCHEMA, HISTORY_SCHEMA, IMPORT_SCHEMA, LOCKS_SCHEMA,
        LS_SCHEMA, PULL_SCHEMA, PURGE_SCHEMA, REPORT_SCHEMA, STATUS_SCHEMA, VERIFY_SCHEMA,
    };
    use super::super::stage;
    use super::*;
    use crate::store::script::START_MS;

    fn call(verb: Option<Verb>) -> Args {
        Args {
            resume: false,
            globals: super::super::args::Globals::default(),
            repo: None,
            verb,
        }
    }

    #[test]
    fn a_command_that_cannot_begin_keeps_its_shape() {
        let demo = Verb::Demo {
            exit_when_done: false,
        };
        let config = Verb::Config {
            what: ConfigVerb::Show,
        };
        for (verb, schema) in [
            (Some(Verb::Pull(PullArgs::of("a/b"))), Some(PULL_SCHEMA)),
            (Some(demo), Some(PULL_SCHEMA)),
            (Some(Verb::Ls(LsArgs::default())), Some(LS_SCHEMA)),
            (
                Some(Verb::Import(ImportArgs::default())),
                Some(IMPORT_SCHEMA),
            ),
            (Some(Verb::Guide(GuideArgs::default())), Some(GUIDE_SCHEMA)),
            (
                Some(Verb::History(HistoryArgs::default())),
                Some(HISTORY_SCHEMA),
            ),
            (
                Some(Verb::Status(StatusArgs::default())),
                Some(STATUS_SCHEMA),
            ),
            (
                Some(Verb::Verify(VerifyArgs::default())),
                Some(VERIFY_SCHEMA),
            ),
            (
                Some(Verb::Doctor(DoctorArgs::default())),
                Some(DOCTOR_SCHEMA),
            ),
            (Some(Verb::Locks(LocksArgs::default())), Some(LOCKS_SCHEMA)),
            (Some(Verb::Purge(PurgeArgs::default())), Some(PURGE_SCHEMA)),
            (
                Some(Verb::Report(ReportArgs::default())),
                Some(REPORT_SCHEMA),
            ),
            (Some(config), Some(CONFIG_SCHEMA)),
            (Some(Verb::Man { command: None }), None),
            (None, None),
        ] {
            let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
            let console = stage::console(stage::json(), &mut stdout, &mut stderr);
            let failure =
                Failure::new(FailureCode::Usage, "the config is wrong").at_path("/config.toml");
            let code = refuse_on(&call(verb), failure, START_MS, None, console);
            assert_eq!(code, 2);
            assert!(String::from_utf8(stderr).unwrap().contains("/config.toml"));
            match schema {
                Some(schema) => stage::check(&serde_json::from_slice(&stdout).unwrap(), schema),
                None => assert!(stdout.is_empty()),
            }
        }
    }

    #[test]
    fn a_dashboard_needs_a_terminal_and_says_what_does_not() {
        let mut args = call(None);
        args.repo = Some("org/model".to_owned());
        let failure = no_dashboard(&args, &stage::human()).unwrap();
        let mut stderr = Vec::new();
        let console = stage::console(stage::human(), std::io::sink(), &mut stderr);
        assert_eq!(refuse_on(&args, failure, START_MS, None, console), 2);
        insta::assert_snapshot!(String::from_utf8(stderr).unwrap());
        let mut screen = stage::columns(80);
        screen.has_screen = true;
        assert_eq!(no_dashboard(&args, &screen), None);
    }
}
