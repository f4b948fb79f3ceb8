//! Owns `purge`: the plan is shown, somebody says yes, it is carried out, and what came of it.
//!
//! **Law**: every path is shown before anything is taken away, and without a yes nothing is.

use super::args::{PurgeArgs, call_of, parse_repo};
use super::ask::{Answer, ask};
use super::document::{self, Removals};
use super::exit::{Ending, Work, judge};
use super::follow::{Console, Session, follow};
use super::look::look;
use super::output::{Format, Output};
use super::remedy::Subject;
use super::table::Table;
use crate::domain::{Command, Failure, FailureCode, Plan, PlanStep, PurgeResult, RepoId, sanitize};
use crate::store::{Store, count, duration, size};

/// Runs `purge`; the exit code.
pub async fn purge(session: Session<'_>, args: PurgeArgs, output: Output) -> u8 {
    let mut console = Console::new(output);
    console.talk = console.talk.without_log();
    run(session, &args, console).await
}

async fn run(mut session: Session<'_>, args: &PurgeArgs, mut console: Console<'_>) -> u8 {
    let mut store = Store::default();
    let mut plan = Plan::default();
    let ending = match repos(args) {
        Err(failure) => Ending::refused(*failure),
        Ok(repos) => {
            let looked = look(
                &mut session,
                &mut console,
                &mut store,
                Command::Diagnose(None),
            )
            .await;
            let absent = repos.iter().find(|repo| !store.shelf().knows(repo));
            if looked.exit_code == 0
                && let Some(repo) = absent
            {
                let here = store.shelf().repos();
                Ending::refused(Failure::not_in_cache(repo, &here))
            } else if looked.exit_code == 0 {
                plan = store.shelf().purge_plan(&repos);
                carry_out(&mut session, args, &plan, &mut store, &mut console).await
            } else {
                looked
            }
        }
    };
    let result = store.shelf().purged();
    let call = call_of("larder purge --incomplete", &args.repos, &args.places);
    let subject = Subject {
        repo: None,
        command: "purge",
        call: Some(&call),
    };
    if console.output.format == Format::Human
        && let Some(result) = result
    {
        let text = result_text(result);
        console.printer.text(&text);
    }
    let removals = Removals {
        plan: &plan,
        result,
        is_dry_run: args.dry_run,
    };
    let closing = session.closing(&store, &ending, subject);
    console.finish(&closing, |closing, is_line| {
        document::purge(removals, closing, is_line)
    })
}

fn repos(args: &PurgeArgs) -> Result<Vec<RepoId>, Box<Failure>> {
    let parsed = args.repos.iter().map(|text| {
        let reference = parse_repo(text)?;
        if reference.revision.is_some() || reference.file.is_some() {
            // Unfinished blobs belong to a repo; which revisions want them cannot be told.
            return Err(Box::new(
                Failure::new(
                    FailureCode::Usage,
                    format!("`{text}` names more than a repo"),
                )
                .because("unfinished blobs belong to the repo as a whole"),
            ));
        }
        Ok(reference.repo)
    });
    parsed.collect()
}

/// Shows the plan, gets a yes, and has it carried out.
async fn carry_out(
    session: &mut Session<'_>,
    args: &PurgeArgs,
    plan: &Plan,
    store: &mut Store,
    console: &mut Console<'_>,
) -> Ending {
    let done = if args.dry_run { "planned" } else { "purged" };
    if plan.steps.is_empty() {
        console
            .talk
            .remark("no unfinished blob that nobody is writing");
        return Ending::done(done);
    }
    if console.output.format == Format::Human {
        let now_ms = store.last_ms().unwrap_or(session.started_ms);
        console.printer.text(&plan_text(plan, now_ms));
        if let Some(failure) = console.printer.failure() {
            // What could not be shown must not be done.
            return Ending::refused(failure);
        }
    }
    if args.dry_run {
        return Ending::done(done);
    }
    if !args.yes {
        let question = format!("remove {}?", count(plan.steps.len(), "file"));
        match ask(session, console, &question).await {
            Answer::Yes => {}
            Answer::No => {
                console.talk.remark("nothing was removed");
                return Ending::done("planned");
            }
            Answer::Caught(signal) => return judge(Work::Looking, None, Some(signal)),
            Answer::Nobody => {
                return Ending::refused(
                    Failure::new(
                        FailureCode::Refused,
                        "nothing is removed without a yes, and nothing was",
                    )
                    .because("there is no terminal to ask on, and `--yes` was not given"),
                );
            }
        }
    }
    console.work = Work::Removing;
    (session.commands)(Command::Purge(plan.clone()));
    let followed = follow(session, store, console).await;
    judge(console.work, followed.outcome.as_ref(), followed.caught)
}

/// Every path, and the sum. Paths are never cut.
fn plan_text(plan: &Plan, now_ms: u64) -> String {
    let mut table = Table::new().numbers("SIZE").numbers("AGE").column("FILE");
    for step in &plan.steps {
        if let PlanStep::RemovePartial {
            path,
            bytes,
            modified_ms,
            map,
            ..
        } = step
        {
            table.row(&[
                size(*bytes),
                duration(now_ms.saturating_sub(*modified_ms)),
                path.clone(),
            ]);
            if let Some(map) = map {
                table.row(&[String::new(), String::new(), map.clone()]);
            }
        }
    }
    format!(
        "{}\n{}, {}\n",
        table.render(None),
        count(plan.steps.len(), "unfinished blob"),
        size(plan.freed_bytes())
    )
}

fn result_text(result: &PurgeResult) -> String {
    let mut text = format!(
        "removed {}, freed {}\n",
        count(result.removed.len(), "file"),
        size(result.freed_bytes)
    );
    for kept in &result.kept {
        let line = sanitize(&format!("kept {}: {}", kept.path, kept.why));
        text.extend([line.as_str(), "\n"]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::ask::Answers;
    use super::super::exit::Signal;
    use super::super::schema::PURGE_SCHEMA;
    use super::super::stage::{self, Played, play};
    use super::*;
    use crate::store::script::Script;

    fn args(is_yes: bool) -> PurgeArgs {
        PurgeArgs {
            incomplete: true,
            yes: is_yes,
            ..PurgeArgs::default()
        }
    }

    /// The engine says what a survey finds, and after a purge what came of it.
    async fn purged(output: Output, args: PurgeArgs, answers: Answers) -> Played {
        let script = Script::survey().purged();
        play(&script, output, None, async |session, mut console| {
            console.talk = console.talk.without_log();
            console.answers = answers;
            run(session, &args, console).await
        })
        .await
    }

    fn has_purged(played: &Played) -> bool {
        played
            .commands
            .iter()
            .any(|command| matches!(command, Command::Purge(_)))
    }

    #[tokio::test]
    async fn every_path_is_shown_before_somebody_says_yes() {
        let played = purged(stage::human(), args(false), Answers::Given("y\n")).await;
        insta::assert_snapshot!(played.shown());
        let [Command::Diagnose(None), Command::Purge(plan)] = played.commands.as_slice() else {
            panic!("{:?}", played.commands);
        };
        assert_eq!(plan.steps.len(), 2);
    }

    #[tokio::test]
    async fn without_a_yes_nothing_happens() {
        for (answers, exit) in [
            (Answers::Given("\n"), 0),
            (Answers::Given("n\n"), 0),
            (Answers::Given("yep\n"), 0),
            (Answers::Given(""), 0),
            (Answers::Nobody, 2),
        ] {
            let played = purged(stage::human(), args(false), answers).await;
            assert_eq!(played.exit_code, exit, "{answers:?}: {}", played.stderr);
            assert!(!has_purged(&played), "{answers:?}");
            assert!(played.stdout.contains("402 MB"), "the plan was shown");
        }
        let played = purged(stage::human(), args(false), Answers::Nobody).await;
        insta::assert_snapshot!(played.stderr);
    }

    #[tokio::test]
    async fn a_dry_run_asks_nobody() {
        let mut dry = args(true);
        dry.dry_run = true;
        let played = purged(stage::json(), dry, Answers::Silence).await;
        let document = played.document(PURGE_SCHEMA);
        assert_eq!((played.exit_code, has_purged(&played)), (0, false));
        assert_eq!(document["outcome"], "planned");
        assert_eq!(document["planned_bytes"], 402_000_012);
        assert_eq!(document["removed"].as_array().unwrap().len(), 0);
        assert_eq!(
            document["planned"][0]["modified_at"],
            "2026-11-23T23:00:00Z"
        );
    }

    #[tokio::test]
    async fn the_document_says_what_is_gone_and_what_stayed() {
        let played = purged(stage::json(), args(true), Answers::Nobody).await;
        let document = played.document(PURGE_SCHEMA);
        assert_eq!((played.exit_code, has_purged(&played)), (0, true));
        assert_eq!(document["outcome"], "purged");
        assert_eq!(document["freed_bytes"], 402_000_000);
        assert!(
            document["kept"][0]["why"]
                .as_str()
                .unwrap()
                .contains("4121")
        );
        let refused = purged(stage::json(), args(false), Answers::Nobody).await;
        assert_eq!(refused.document(PURGE_SCHEMA)["failure_code"], "refused");
    }

    #[tokio::test]
    async fn only_the_repos_that_were_named() {
        for (repo, files, exit) in [
            ("org/other", 1, 0),
            ("no/body", 0, 3),
            ("org/other@main", 0, 2),
            ("a b", 0, 2),
        ] {
            let mut args = args(true);
            args.dry_run = true;
            args.repos = vec![repo.to_owned()];
            let played = purged(stage::json(), args, Answers::Nobody).await;
            assert_eq!(played.exit_code, exit, "{repo}: {}", played.stderr);
            let document = played.document(PURGE_SCHEMA);
            assert_eq!(document["planned"].as_array().unwrap().len(), files);
            if exit == 3 {
                assert_eq!(document["failure_code"], "incomplete");
                let cause = document["failures"][0]["causes"][0].as_str().unwrap();
                assert!(cause.contains("org/other"), "{cause}");
            }
        }
    }

    #[tokio::test]
    async fn a_signal_instead_of_an_answer_removes_nothing() {
        let script = Script::survey();
        let played = play(
            &script,
            stage::human(),
            None,
            async |mut session, mut console| {
                // It comes when the survey is over and the question stands there.
                let (caught, signals) = tokio::sync::watch::channel(None);
                session.signals = signals;
                console.answers = Answers::Silence;
                let args = args(false);
                let run = run(session, &args, console);
                tokio::pin!(run);
                tokio::select! {
                    code = &mut run => panic!("it did not wait: {code}"),
                    () = tokio::time::sleep(std::time::Duration::from_millis(20)) => {}
                }
                caught.send(Some(Signal::Interrupt)).unwrap();
                run.await
            },
        )
        .await;
        assert_eq!(played.exit_code, 130);
        assert!(!has_purged(&played));
        assert!(played.stderr.contains("[y/N] \n"), "{}", played.stderr);
        assert!(played.stderr.contains("nothing was changed"));
    }

    #[tokio::test]
    async fn a_plan_that_cannot_be_shown_is_not_carried_out() {
        struct Full;
        impl std::io::Write for Full {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let played = play(
            &Script::survey().purged(),
            stage::human(),
            None,
            async |session, mut console| {
                console.printer = super::super::print::Printer::new(Full);
                run(session, &args(true), console).await
            },
        )
        .await;
        assert_eq!((played.exit_code, has_purged(&played)), (7, false));
    }
}
