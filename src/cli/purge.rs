//! Owns `purge`: the plan is shown, somebody says yes, it is carried out, and what came of it.
//!
//! **Law**: every path is shown before anything is taken away, and without a yes nothing is. A whole
//! model goes only for its name.

use super::args::{PurgeArgs, call_of};
use super::ask::{Answer, ask, ask_for};
use super::discards::plan_text;
use super::document::{self, Removals};
use super::exit::{Ending, Work, judge};
use super::finding::fresh_words;
use super::follow::{Console, Session, follow};
use super::look::look;
use super::output::{Format, Output};
use super::remedy::Subject;
use crate::domain::{
    Command, Discard, DiscardKind, DiscardRequest, Failure, FailureCode, PlanStep, PurgePlan,
    PurgeResult, RepoId, TrashRequest, sanitize, shell_word,
};
use crate::store::{Store, count, size};

/// Runs `purge`; the exit code.
pub async fn purge(session: Session<'_>, args: PurgeArgs, output: Output) -> u8 {
    let mut console = Console::new(output);
    console.talk = console.talk.without_log();
    run(session, &args, console).await
}

async fn run(mut session: Session<'_>, args: &PurgeArgs, mut console: Console<'_>) -> u8 {
    let mut store = Store::default();
    let mut planned = PurgePlan::default();
    let asked = args.request().and_then(|request| {
        let age_ms = args.older_than_ms()?;
        Ok((request, args.repos()?, age_ms))
    });
    let ending = match asked {
        Err(failure) => Ending::refused(*failure),
        Ok((request, repos, age_ms)) => {
            let wish = Wish {
                args,
                request: &request,
                repos: &repos,
                age_ms: age_ms.unwrap_or(0),
            };
            match plan(&mut session, &mut console, &mut store, wish).await {
                Err(ending) => ending,
                Ok(found) => {
                    planned = found;
                    carry_out(&mut session, args, &planned, &mut store, &mut console).await
                }
            }
        }
    };
    let result = store.shelf().purged();
    let emptied = store.shelf().trashed();
    let call = call_of(&args.flags(), &args.repos, &args.places);
    let subject = Subject {
        repo: None,
        command: "purge",
        call: Some(&call),
    };
    if console.output.format == Format::Human
        && let Some(result) = result
    {
        let freed = emptied.map_or(0, |emptied| emptied.freed_bytes);
        let text = result_text(result, freed, &planned, &args.places);
        console.printer.text(&text);
    }
    let removals = Removals {
        planned: &planned,
        result,
        emptied,
        is_dry_run: args.dry_run,
    };
    let closing = session.closing(&store, &ending, subject);
    console.finish(&closing, |closing, is_line| {
        document::purge(removals, closing, is_line)
    })
}

/// What was asked for.
#[derive(Clone, Copy)]
struct Wish<'a> {
    args: &'a PurgeArgs,
    request: &'a DiscardRequest,
    repos: &'a [RepoId],
    age_ms: u64,
}

/// Finds out what would go.
async fn plan(
    session: &mut Session<'_>,
    console: &mut Console<'_>,
    store: &mut Store,
    wish: Wish<'_>,
) -> Result<PurgePlan, Ending> {
    let mut planned = PurgePlan::default();
    if wish.args.incomplete {
        let looked = look(session, console, store, Command::Diagnose(None)).await;
        if looked.exit_code != 0 {
            return Err(looked);
        }
        let shelf = store.shelf();
        if let Some(repo) = wish.repos.iter().find(|repo| !shelf.knows(repo)) {
            let here = shelf.repos();
            return Err(Ending::refused(Failure::not_in_cache(repo, &here)));
        }
        let now_ms = store.last_ms().unwrap_or(session.started_ms);
        planned.plan = shelf.purge_plan(wish.repos);
        planned.plan.steps.retain(|step| {
            matches!(step, PlanStep::RemovePartial { modified_ms, .. }
                if now_ms.saturating_sub(*modified_ms) >= wish.age_ms)
        });
    }
    if !wish.request.is_empty() {
        let wanted = Command::PlanPurge(wish.request.clone());
        let looked = look(session, console, store, wanted).await;
        if looked.exit_code != 0 {
            return Err(looked);
        }
        let found = store.shelf().planned().cloned().unwrap_or_default();
        for step in found.plan.steps {
            if !planned.plan.steps.contains(&step) {
                planned.plan.steps.push(step);
            }
        }
        planned.kept = found.kept;
        planned.trash = found.trash;
    }
    Ok(planned)
}

/// Shows the plan, gets a yes, and has it carried out.
async fn carry_out(
    session: &mut Session<'_>,
    args: &PurgeArgs,
    planned: &PurgePlan,
    store: &mut Store,
    console: &mut Console<'_>,
) -> Ending {
    let done = if args.dry_run { "planned" } else { "purged" };
    let plan = &planned.plan;
    if plan.steps.is_empty() && planned.trash.is_empty() {
        let is_partials_only = args.incomplete && !args.unreferenced && !args.corrupt;
        let fresh = if args.incomplete {
            let repos = args.repos().unwrap_or_default();
            store.shelf().fresh_partials(&repos)
        } else {
            (0, 0)
        };
        let what = if is_partials_only {
            "no unfinished blob that nobody is writing"
        } else {
            "nothing is to be taken away"
        };
        // All of it is off by default, which nobody shall take for a policy that found nothing.
        let what = if args.policy {
            &*format!("{what}: `larder config show` says what the policy allows, 0 days is off")
        } else {
            what
        };
        console.talk.remark(&match fresh_words(fresh) {
            Some(words) => format!("{what}; {words}"),
            None => what.to_owned(),
        });
        if console.output.format == Format::Human {
            let now_ms = store.last_ms().unwrap_or(session.started_ms);
            let is_full = console.output.verbose > 0;
            let text = plan_text(planned, now_ms, is_full);
            console.printer.text(&text);
        }
        return Ending::done(done);
    }
    if console.output.format == Format::Human {
        let now_ms = store.last_ms().unwrap_or(session.started_ms);
        let is_full = console.output.verbose > 0;
        let text = plan_text(planned, now_ms, is_full);
        console.printer.text(&text);
        if let Some(failure) = console.printer.unshown() {
            // What could not be shown must not be done.
            return Ending::refused(failure);
        }
    }
    if args.dry_run {
        return Ending::done(done);
    }
    if !args.yes {
        match confirm(session, console, planned).await {
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
    let ending = judge(console.work, followed.outcome.as_ref(), followed.caught);
    if ending.exit_code != 0 {
        return ending;
    }
    if !planned.trash.is_empty() {
        let rows = planned.trash.clone();
        (session.commands)(Command::Trash(TrashRequest::Empty { rows }));
        let followed = follow(session, store, console).await;
        let emptied = judge(console.work, followed.outcome.as_ref(), followed.caught);
        if emptied.exit_code != 0 {
            return emptied;
        }
    }
    match store.shelf().purged() {
        // Whoever named a model must hear that it is still there.
        Some(result) if result.removed.is_empty() && plan.discards().next().is_some() => {
            let why = result.kept.first().map(|kept| kept.why.clone());
            Ending::refused(
                Failure::new(FailureCode::Refused, "nothing was taken away")
                    .because(why.unwrap_or_default()),
            )
        }
        _ => ending,
    }
}

/// Asks: for a whole model, for its name.
async fn confirm(
    session: &mut Session<'_>,
    console: &mut Console<'_>,
    planned: &PurgePlan,
) -> Answer {
    let whole: Vec<String> = planned
        .plan
        .discards()
        .filter(|discard| discard.kind == DiscardKind::Repo)
        .map(|discard| discard.repo.to_string())
        .collect();
    match &whole[..] {
        [] => {
            let parts = planned.plan.discards().count();
            let files = planned.plan.removals().count() + planned.trash.len();
            let what = match (files, parts) {
                (files, 0) => format!("remove {}?", count(files, "file")),
                (0, _) => "take that away?".to_owned(),
                (_, _) => "take all that away?".to_owned(),
            };
            ask(session, console, &what).await
        }
        [one] => {
            let question = format!("a whole model goes: type its name, {one}, for yes: ");
            ask_for(session, console, &question, one).await
        }
        more => {
            let models = count(more.len(), "model");
            let question = format!("whole models go: type `{models}` for yes: ");
            ask_for(session, console, &question, &models).await
        }
    }
}

fn result_text(
    result: &PurgeResult,
    emptied_bytes: u64,
    planned: &PurgePlan,
    places: &[String],
) -> String {
    let removed = removed_words(result, planned);
    let freed = size(result.freed_bytes + emptied_bytes);
    let mut text = match &result.trash[..] {
        [] => format!("removed {removed}, freed {freed}\n"),
        ids => format!(
            "removed {removed}, moved {} into the trash ({}), {freed} freed yet\n",
            size(result.moved_bytes),
            ids.join(", "),
        ),
    };
    if !result.trash.is_empty() {
        text.extend([way_back(&result.trash, planned, places).as_str(), "\n"]);
    }
    for kept in &result.kept {
        let line = sanitize(&format!("kept {}: {}", kept.path, kept.why));
        text.extend([line.as_str(), "\n"]);
    }
    text
}

/// How many files are gone, and how many of them are none of the model's.
fn removed_words(result: &PurgeResult, planned: &PurgePlan) -> String {
    let is_lock = |path: &&String| planned.plan.discards().any(|it| it.locks.contains(path));
    let is_own = |path: &&String| path.contains("/.larder/");
    let locks = result.removed.iter().filter(is_lock).count();
    let own = result.removed.iter().filter(is_own).count();
    let mut others = Vec::new();
    if own > 0 {
        others.push(format!("{own} that larder kept about the model"));
    }
    if locks > 0 {
        others.push(count(locks, "lock file"));
    }
    let removed = count(result.removed.len(), "file");
    match &others[..] {
        [] => removed,
        others => format!("{removed}, among them {}", others.join(" and ")),
    }
}

/// How what was moved away comes back, and what frees it. Blobs with wrong bytes do not come back: no
/// reader shall find them under the name of a content.
fn way_back(ids: &[String], planned: &PurgePlan, places: &[String]) -> String {
    let empty = call_of("larder trash empty", [], places);
    let restores: Vec<String> = ids
        .iter()
        .map(|id| {
            format!(
                "`{}`",
                call_of(&format!("larder trash restore {id}"), [], places)
            )
        })
        .collect();
    let restore = restores.join(" and ");
    let (wrong, other): (Vec<&Discard>, Vec<&Discard>) = planned
        .plan
        .discards()
        .partition(|discard| discard.kind == DiscardKind::Corrupt && !discard.what.is_empty());
    match (&wrong[..], &other[..]) {
        ([], _) if ids.len() == 1 => format!("{restore} puts it back, `{empty}` frees it"),
        ([], _) => format!("{restore} put it back, each its part, `{empty}` frees it"),
        ([one], []) => {
            let pull = call_of(
                &format!("larder pull {}", shell_word(&one.repo.to_string())),
                [],
                places,
            );
            format!(
                "`{pull}` fetches the right bytes; {restore} does not put wrong ones back, \
                 `{empty}` frees them, with all else that lies in the trash"
            )
        }
        (_, others) => {
            let restore = call_of("larder trash restore ID", [], places);
            let but = if others.is_empty() {
                "does not put wrong bytes back"
            } else {
                "puts one back, but no blob with wrong bytes"
            };
            format!(
                "`{restore}` {but}: pull those models, which fetches the right ones; `{empty}` \
                 frees all that lies in the trash"
            )
        }
    }
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

    async fn discarded(output: Output, args: PurgeArgs, answers: Answers) -> Played {
        let script = Script::discarded();
        play(&script, output, None, async |session, mut console| {
            console.talk = console.talk.without_log();
            console.answers = answers;
            run(session, &args, console).await
        })
        .await
    }

    fn model() -> PurgeArgs {
        PurgeArgs {
            repos: vec!["mlx-community/gemma-2-2b-it-4bit".to_owned()],
            ..PurgeArgs::default()
        }
    }

    #[tokio::test]
    async fn a_whole_model_goes_only_for_its_name() {
        let name = "mlx-community/gemma-2-2b-it-4bit\n";
        let played = discarded(stage::human(), model(), Answers::Given(name)).await;
        insta::assert_snapshot!(played.shown());
        assert!(has_purged(&played));
        for (answers, exit) in [
            (Answers::Given("y\n"), 0),
            (Answers::Given("yes\n"), 0),
            (Answers::Given("gemma-2-2b-it-4bit\n"), 0),
            (Answers::Given("\n"), 0),
            (Answers::Nobody, 2),
        ] {
            let played = discarded(stage::human(), model(), answers).await;
            assert_eq!(played.exit_code, exit, "{answers:?}: {}", played.stderr);
            assert!(!has_purged(&played), "{answers:?}");
            assert!(played.stdout.contains("blobs/03"), "the plan was shown");
        }
    }

    #[tokio::test]
    async fn the_document_tells_moved_from_freed() {
        let args = PurgeArgs {
            yes: true,
            ..model()
        };
        let played = discarded(stage::json(), args, Answers::Nobody).await;
        let document = played.document(PURGE_SCHEMA);
        assert_eq!(document["planned_bytes"], 0);
        assert_eq!(document["freed_bytes"], 0);
        assert_eq!(document["moved_bytes"], 1_350_000_000_u64);
        assert_eq!(document["trash_ids"][0], "6a1f3b20");
        assert_eq!(document["discards"][0]["kind"], "repo");
        assert_eq!(document["kept"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn every_part_of_a_purge_has_its_way_back() {
        let ids = ["6a1f3b20".to_owned(), "6a1f3b21".to_owned()];
        let text = way_back(&ids, &PurgePlan::default(), &[]);
        for id in ids {
            assert!(
                text.contains(&format!("`larder trash restore {id}`")),
                "{text}"
            );
        }
    }

    #[test]
    fn of_wrong_bytes_no_way_back_is_promised_and_every_call_parses() {
        use crate::domain::{DiscardReason, Plan, RepoKind};
        use clap::Parser as _;
        let discard = |kind, what: &[&str]| {
            PlanStep::Discard(Discard {
                repo: RepoId::new(RepoKind::Model, "org/m").unwrap(),
                kind,
                what: what.iter().map(|&it| it.to_owned()).collect(),
                reason: DiscardReason::Corrupt,
                paths: Vec::new(),
                locks: Vec::new(),
                bytes: 1,
                accessed_ms: None,
                trash: Some("/t".to_owned()),
            })
        };
        let wrong = || discard(DiscardKind::Corrupt, &["ab"]);
        let aside = || discard(DiscardKind::Corrupt, &[]);
        let whole = || discard(DiscardKind::Repo, &[]);
        for (steps, is_promised) in [
            (vec![wrong()], false),
            (vec![wrong(), wrong()], false),
            (vec![whole(), wrong()], false),
            (vec![aside()], true),
            (vec![whole()], true),
        ] {
            let planned = PurgePlan {
                plan: Plan { steps },
                ..PurgePlan::default()
            };
            let places = ["--cache-dir /c".to_owned()];
            let text = way_back(&["6a1f3b20".to_owned()], &planned, &places);
            assert_eq!(text.contains("puts it back"), is_promised, "{text}");
            assert_eq!(text.contains("wrong"), !is_promised, "{text}");
            assert!(
                text.contains("`larder trash empty --cache-dir /c`"),
                "{text}"
            );
            for call in text.split('`').skip(1).step_by(2) {
                let parsed = super::super::args::Args::try_parse_from(call.split(' '));
                assert!(parsed.is_ok(), "{call}: {text}");
            }
        }
    }
}
