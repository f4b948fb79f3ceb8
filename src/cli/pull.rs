//! Owns `pull`: what is asked, and what is printed when it ends.
//!
//! On success stdout gets the snapshot's path and nothing else; with `--dry-run` the plan.

use super::args::{PullArgs, parse_repo};
use super::document;
use super::exit::{Ending, judge};
use super::follow::{Console, Followed, Session, follow};
use super::output::{Format, Output};
use super::remedy::Subject;
use super::table::Table;
use crate::domain::{Command, LoadLevel, Outcome, PullPlan, Validation, sanitize};
use crate::store::{FileView, Intent, Store, count, size};

/// Runs `pull`; the exit code.
pub async fn pull(session: Session<'_>, args: PullArgs, output: Output) -> u8 {
    let mut console = Console::new(output);
    if args.dry_run && output.format == Format::Human {
        console.talk = console.talk.without_files();
    }
    run(session, &args, console).await
}

async fn run(mut session: Session<'_>, args: &PullArgs, mut console: Console<'_>) -> u8 {
    let mut store = Store::default();
    let ending = match args.request() {
        Err(failure) => Ending::refused(*failure),
        Ok(request) => {
            (session.commands)(Command::Pull(request));
            let Followed { caught, .. } = follow(&mut session, &mut store, &mut console).await;
            judge(console.work, store.outcome(), caught)
        }
    };
    console.talk.settle();
    let repo = store
        .target()
        .map(|target| target.repo.clone())
        .or_else(|| Some(parse_repo(&args.repo).ok()?.repo))
        .map(|repo| repo.to_string());
    let call = args.call();
    let subject = Subject {
        repo: repo.as_deref(),
        command: "pull",
        call: Some(&call),
    };
    if console.output.format == Format::Human {
        human(&store, args, &mut console);
    }
    let closing = session.closing(&store, &ending, subject);
    console.finish(&closing, |closing, is_line| {
        document::pull(&store, args.local_dir.is_some(), closing, is_line)
    })
}

fn human(store: &Store, args: &PullArgs, console: &mut Console<'_>) {
    if let Some(plan) = store.plan().filter(|_| args.dry_run) {
        let mut table = plan_table(store, plan, console.output.stdout.columns);
        if args.local_dir.is_some() {
            table = format!("{table}into {}\n", sanitize(&plan.snapshot));
        }
        console.printer.text(&table);
    }
    if let Some(validation) = store.validation() {
        for line in validation_lines(validation) {
            console.printer.line(&line);
        }
    }
    if let Some(Outcome::Complete(result)) = store.outcome() {
        console.printer.line(&result.snapshot);
    }
}

/// Whether it would load, what is odd, and what of it could not be told. Why it would not load is
/// told with the failure.
fn validation_lines(validation: &Validation) -> Vec<String> {
    let verdict = if validation.would_load {
        "it would load"
    } else {
        "it would not load"
    };
    let fetched = size(validation.asked_bytes);
    let head = format!("{verdict}, by {fetched} of its files");
    let troubles = validation.troubles.iter().map(|trouble| {
        let level = match trouble.level {
            LoadLevel::Note => "note",
            LoadLevel::Warning => "warning",
            LoadLevel::Missing => "missing",
            LoadLevel::Broken => "broken",
        };
        format!("{level}: {}", trouble.sentence)
    });
    std::iter::once(head).chain(troubles).collect()
}

/// What a dry run shows.
fn plan_table(store: &Store, plan: &PullPlan, columns: Option<u16>) -> String {
    let mut table = Table::new()
        .names("FILE", 16)
        .numbers("SIZE")
        .flexible("ACTION", 12);
    for view in store.files() {
        table.row(&[
            view.path.as_str().to_owned(),
            size(view.size_bytes),
            action(store, plan, &view),
        ]);
    }
    let reused = plan.total_bytes.saturating_sub(plan.fetch_bytes);
    let free = plan.free_bytes.map_or_else(|| "unknown".to_owned(), size);
    format!(
        "{}\n{}, {}: {} to fetch, {} here already\ndisk: {} needed, {free} free\n",
        table.render(columns),
        count(plan.files.len(), "file"),
        size(plan.total_bytes),
        size(plan.fetch_bytes),
        size(reused),
        size(plan.disk_bytes),
    )
}

fn action(store: &Store, plan: &PullPlan, view: &FileView<'_>) -> String {
    match view.intent {
        Intent::Fetch => "fetch".to_owned(),
        Intent::Reuse => "reuse".to_owned(),
        Intent::Resume => {
            let here = plan
                .files
                .iter()
                .find(|planned| planned.file == view.file)
                .map_or(0, |planned| planned.have_bytes);
            format!("resume at {}", size(here))
        }
        Intent::Same => view
            .same_as
            .and_then(|owner| store.file(owner))
            .map_or_else(
                || "same content as another".to_owned(),
                |owner| format!("same as {}", owner.path),
            ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::exit::Signal;
    use super::super::print::Printer;
    use super::super::schema::{EVENT_SCHEMA, PULL_SCHEMA};
    use super::super::stage::{self, Played, play};
    use super::*;
    use crate::domain::{Event, FailureCode, FileSelection};
    use crate::store::script::{SNAPSHOT, Script, plan, repo};

    async fn pulled(script: &Script, output: Output, args: PullArgs) -> Played {
        play(script, output, None, async |session, console| {
            run(session, &args, console).await
        })
        .await
    }

    fn args() -> PullArgs {
        PullArgs::of("mlx-community/gemma-2-2b-it-4bit")
    }

    #[tokio::test]
    async fn lines_tell_a_whole_pull() {
        let played = pulled(&Script::complete(), stage::human(), args()).await;
        assert_eq!(played.stdout, format!("{SNAPSHOT}\n"));
        insta::assert_snapshot!(played.shown());
    }

    #[tokio::test]
    async fn quiet_says_nothing_but_failures() {
        let quiet = Output {
            is_quiet: true,
            ..stage::human()
        };
        let played = pulled(&Script::complete(), quiet, args()).await;
        assert_eq!((played.stderr.as_str(), played.exit_code), ("", 0));
        let played = pulled(&Script::broken(), quiet, args()).await;
        insta::assert_snapshot!(played.shown());
    }

    #[tokio::test]
    async fn a_dry_run_shows_the_plan() {
        let script = Script::planned().then(1, Event::Ended(Outcome::Planned));
        let mut args = args();
        args.dry_run = true;
        let played = play(
            &script,
            stage::columns(80),
            None,
            async |session, mut console| {
                console.talk = console.talk.without_files();
                run(session, &args, console).await
            },
        )
        .await;
        insta::assert_snapshot!(played.shown());
        assert!(played.stdout.lines().all(|line| line.chars().count() <= 80));
    }

    #[tokio::test]
    async fn a_signal_cancels_and_the_document_still_comes() {
        let script = Script::cancelled();
        for (signal, exit_code) in [
            (Signal::Interrupt, 130),
            (Signal::Hangup, 129),
            (Signal::Terminate, 143),
        ] {
            let args = args();
            let played = play(
                &script,
                stage::json(),
                Some((6, signal)),
                async |session, console| run(session, &args, console).await,
            )
            .await;
            assert_eq!(played.exit_code, exit_code);
            let document = played.document(PULL_SCHEMA);
            assert_eq!(document["exit_code"], exit_code);
            assert_eq!(document["failure_code"], "cancelled");
            assert_eq!(document["outcome"], "cancelled");
            assert!(matches!(
                played.commands.as_slice(),
                [Command::Pull(_), Command::Cancel(FileSelection::All)]
            ));
        }
    }

    #[tokio::test]
    async fn an_engine_that_is_gone_is_a_bug_and_says_so() {
        let played = pulled(&Script::eventful(), stage::json(), args()).await;
        let document = played.document(PULL_SCHEMA);
        assert_eq!(document["failure_code"], "internal");
        assert_eq!(played.exit_code, 70);
    }

    #[tokio::test]
    async fn documents_of_every_outcome_keep_their_schema() {
        let offline = crate::domain::Failure::new(FailureCode::Offline, "no network");
        let unlisted = Script::new()
            .then(0, Script::planned().events[0].event.clone())
            .then(
                1,
                Event::Ended(Outcome::Failed {
                    failures: vec![offline],
                }),
            );
        for (script, outcome, exit_code) in [
            (Script::complete(), "complete", 0),
            (Script::broken(), "failed", 1),
            (Script::cancelled(), "cancelled", 130),
            (unlisted, "failed", 5),
            (
                Script::planned().then(1, Event::Ended(Outcome::Planned)),
                "planned",
                0,
            ),
        ] {
            let played = pulled(&script, stage::json(), args()).await;
            let document = played.document(PULL_SCHEMA);
            assert_eq!(document["outcome"], outcome);
            assert_eq!(document["exit_code"], exit_code);
            assert_eq!(played.exit_code, exit_code);
            assert_eq!(
                document["snapshot"].as_str(),
                (outcome == "complete").then_some(SNAPSHOT)
            );
        }
    }

    #[tokio::test]
    async fn the_document_has_exact_numbers() {
        let played = pulled(&Script::complete(), stage::json(), args()).await;
        insta::assert_snapshot!(played.stdout);
    }

    #[tokio::test]
    async fn events_come_line_by_line_and_the_document_last() {
        let script = Script::complete();
        let played = pulled(&script, stage::events(), args()).await;
        let lines: Vec<serde_json::Value> = played
            .stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let (document, events) = lines.split_last().unwrap();
        assert_eq!(events.len(), script.events.len());
        for event in events {
            stage::check(event, EVENT_SCHEMA);
        }
        stage::check(document, PULL_SCHEMA);
        assert_eq!(events[0]["at"], "2026-11-24T02:00:00Z");
    }

    #[tokio::test]
    async fn a_wrong_call_does_not_reach_the_engine() {
        let mut args = args();
        args.repo.push_str("@v1");
        args.revision = Some("v2".to_owned());
        let played = pulled(&Script::new(), stage::json(), args).await;
        assert!(played.commands.is_empty());
        let document = played.document(PULL_SCHEMA);
        assert_eq!(
            (played.exit_code, &document["repo"]),
            (2, &serde_json::Value::Null)
        );
        assert!(
            played.stderr.starts_with("error: usage: "),
            "{}",
            played.stderr
        );
    }

    #[tokio::test]
    async fn a_reader_that_goes_away_is_no_failure() {
        struct Closed;
        impl std::io::Write for Closed {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let args = args();
        let played = play(
            &Script::complete(),
            stage::events(),
            None,
            async |session, mut console| {
                console.printer = Printer::new(Closed);
                run(session, &args, console).await
            },
        )
        .await;
        assert_eq!(played.exit_code, 0);
        assert!(!played.stderr.contains("error: "), "{}", played.stderr);
    }

    #[tokio::test]
    async fn hostile_names_stay_text_on_both_streams() {
        let mut hostile = plan();
        hostile.snapshot = "/cache/x".to_owned();
        let failure = crate::domain::Failure {
            summary: "\u{1b}[31mred".to_owned(),
            causes: vec!["\u{9b}2J".to_owned()],
            path: Some("a\u{202e}b".to_owned()),
            ..crate::domain::Failure::new(FailureCode::Server, "x")
        };
        let script = Script::planned().then(0, Event::Planned(hostile)).then(
            1,
            Event::Ended(Outcome::Failed {
                failures: vec![failure],
            }),
        );
        let played = pulled(&script, stage::human(), args()).await;
        for c in ['\u{1b}', '\u{9b}', '\u{202e}'] {
            assert!(!played.stderr.contains(c), "{:?}", played.stderr);
        }
        assert_eq!(played.exit_code, 5);
    }

    #[tokio::test]
    async fn a_thousand_failures_are_a_count() {
        let failures: Vec<_> = (0..1_000)
            .map(|at| crate::domain::Failure::new(FailureCode::Reset, format!("file {at}")))
            .collect();
        let script = Script::planned().then(1, Event::Ended(Outcome::Failed { failures }));
        let played = pulled(&script, stage::human(), args()).await;
        assert!(
            played
                .stderr
                .contains("and 995 more; `--json` lists them all")
        );
        assert_eq!(played.stderr.matches("error: reset").count(), 5);
        assert_eq!(repo().to_string(), args().repo);
    }
}
