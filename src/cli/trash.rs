//! Owns `trash`: what purges moved away, putting it back, and freeing it.
//!
//! **Law**: what is freed was shown before, and without a yes nothing is.

use super::args::{TrashArgs, TrashVerb, call_of};
use super::ask::{Answer, ask};
use super::discards::rows_text;
use super::document;
use super::exit::{Ending, Work, judge};
use super::follow::{Console, Session, follow};
use super::look::look;
use super::output::{Format, Output};
use super::remedy::Subject;
use crate::domain::{Command, Failure, FailureCode, TrashRequest, TrashResult, TrashRow, sanitize};
use crate::store::{Store, count, size};

/// Runs `trash`; the exit code.
pub async fn trash(session: Session<'_>, args: TrashArgs, output: Output) -> u8 {
    let mut console = Console::new(output);
    console.talk = console.talk.without_log();
    run(session, &args, console).await
}

async fn run(mut session: Session<'_>, args: &TrashArgs, mut console: Console<'_>) -> u8 {
    let mut store = Store::default();
    let mut shown = Vec::new();
    let ending = match &args.what {
        None | Some(TrashVerb::Ls) => {
            let list = Command::Trash(TrashRequest::List);
            let ending = look(&mut session, &mut console, &mut store, list).await;
            shown = rows(&store, u64::MAX, 0);
            ending
        }
        Some(TrashVerb::Restore { id }) => {
            let id = (id != "last").then(|| id.clone());
            let wish = TrashRequest::Restore { id };
            let ending = send(&mut session, &mut console, &mut store, wish).await;
            let result = store.shelf().trashed();
            match result.and_then(|result| result.wrong.first()) {
                Some(path) if ending.exit_code == 0 => Ending::refused(
                    Failure::new(
                        FailureCode::Incomplete,
                        "not everything could be put back: bytes in the trash are not those of \
                         their names",
                    )
                    .because(
                        "they stay there: pull the model, which fetches the right ones, then free \
                         these",
                    )
                    .at_path(path.clone()),
                ),
                _ => ending,
            }
        }
        Some(TrashVerb::Empty { dry_run, yes, .. }) => match args.older_than_ms() {
            Err(failure) => Ending::refused(*failure),
            Ok(age_ms) => {
                let list = Command::Trash(TrashRequest::ListOwn);
                let ending = look(&mut session, &mut console, &mut store, list).await;
                let now_ms = store.last_ms().unwrap_or(session.started_ms);
                shown = rows(&store, now_ms, age_ms);
                if ending.exit_code == 0 {
                    let how = (*dry_run, *yes);
                    empty(&mut session, &mut console, &mut store, &shown, how).await
                } else {
                    ending
                }
            }
        },
    };
    let now_ms = store.last_ms().unwrap_or(session.started_ms);
    let result = store.shelf().trashed();
    if console.output.format == Format::Human {
        if ending.exit_code == 0 && matches!(args.what, None | Some(TrashVerb::Ls)) {
            if shown.is_empty() {
                console.talk.remark("the trash is empty");
            } else {
                let bytes = shown.iter().map(|row| row.bytes).sum();
                let text = rows_text(&shown, now_ms);
                console.printer.text(&text);
                console.talk.remark(&format!(
                    "{}, {}; `larder trash restore ID` puts one back",
                    count(shown.len(), "purge"),
                    size(bytes)
                ));
            }
        }
        if let Some(result) = result {
            let text = result_text(result, console.output.verbose > 0);
            console.printer.text(&text);
        }
    }
    let start = match &args.what {
        // Said again it would be refused again.
        Some(TrashVerb::Restore { .. }) if matches!(ending.exit_code, 2 | 3) => {
            "larder trash ls".to_owned()
        }
        _ => args.call(),
    };
    let call = call_of(&start, [], &args.places);
    let subject = Subject {
        repo: None,
        command: "trash",
        call: Some(&call),
    };
    let closing = session.closing(&store, &ending, subject);
    console.finish(&closing, |closing, is_line| {
        document::trash(&shown, result, closing, is_line)
    })
}

/// What has lain there for so long.
fn rows(store: &Store, now_ms: u64, age_ms: u64) -> Vec<TrashRow> {
    let rows = store.shelf().trash().unwrap_or_default().iter();
    rows.filter(|row| now_ms.saturating_sub(row.purged_ms) >= age_ms)
        .cloned()
        .collect()
}

async fn send(
    session: &mut Session<'_>,
    console: &mut Console<'_>,
    store: &mut Store,
    request: TrashRequest,
) -> Ending {
    console.work = match request {
        // It can be ended as long as it is being proven, and not later.
        TrashRequest::Restore { .. } => Work::Looking,
        _ => Work::Removing,
    };
    (session.commands)(Command::Trash(request));
    let followed = follow(session, store, console).await;
    // Bars of the proof must be gone before anything is printed.
    console.talk.settle();
    judge(console.work, followed.outcome.as_ref(), followed.caught)
}

/// Shows what would be freed, gets a yes, and has it freed.
async fn empty(
    session: &mut Session<'_>,
    console: &mut Console<'_>,
    store: &mut Store,
    shown: &[TrashRow],
    (is_dry_run, is_yes): (bool, bool),
) -> Ending {
    if shown.is_empty() {
        console.talk.remark("nothing in the trash is to be freed");
        return Ending::done("done");
    }
    let bytes = shown.iter().map(|row| row.bytes).sum();
    if console.output.format == Format::Human {
        let now_ms = store.last_ms().unwrap_or(session.started_ms);
        console.printer.text(&rows_text(shown, now_ms));
        if let Some(failure) = console.printer.unshown() {
            // What could not be shown must not be done.
            return Ending::refused(failure);
        }
    }
    if is_dry_run {
        return Ending::done("planned");
    }
    if !is_yes {
        let what = count(shown.len(), "purge");
        let question = format!("free {what}, {}, for good?", size(bytes));
        match ask(session, console, &question).await {
            Answer::Yes => {}
            Answer::No => {
                console.talk.remark("nothing was freed");
                return Ending::done("planned");
            }
            Answer::Caught(signal) => return judge(Work::Looking, None, Some(signal)),
            Answer::Nobody => {
                return Ending::refused(
                    Failure::new(
                        FailureCode::Refused,
                        "nothing is freed without a yes, and nothing was",
                    )
                    .because("there is no terminal to ask on, and `--yes` was not given"),
                );
            }
        }
    }
    let rows = shown.to_vec();
    send(session, console, store, TrashRequest::Empty { rows }).await
}

/// What was done, the sum first. Long lists are cut where nobody asked for all of it: nothing is lost by
/// what was put back.
fn result_text(result: &TrashResult, is_full: bool) -> String {
    const SHOWN: usize = 20;
    let is_stuck = !result.ids.is_empty() && !result.kept.is_empty() && result.freed_bytes == 0;
    let mut text = if result.restored.is_empty() && is_stuck {
        format!("nothing was put back ({})\n", result.ids.join(", "))
    } else if result.restored.is_empty() && result.restored_bytes == 0 {
        format!(
            "freed {} of {}\n",
            size(result.freed_bytes),
            count(result.ids.len(), "purge")
        )
    } else {
        format!(
            "put back {} ({})\n",
            size(result.restored_bytes),
            result.ids.join(", ")
        )
    };
    let shown = if is_full { usize::MAX } else { SHOWN };
    for path in result.restored.iter().take(shown) {
        text.extend([sanitize(path).as_str(), "\n"]);
    }
    if let Some(more @ 1..) = result.restored.len().checked_sub(shown) {
        text.extend(["and ", &more.to_string(), " more: -v shows all\n"]);
    }
    for kept in &result.kept {
        let line = sanitize(&format!("stays in the trash: {}: {}", kept.path, kept.why));
        text.extend([line.as_str(), "\n"]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::ask::Answers;
    use super::super::schema::TRASH_SCHEMA;
    use super::super::stage::{self, Played, play};
    use super::*;
    use crate::domain::{Event, Outcome};
    use crate::store::script::Script;

    fn empty_all(yes: bool) -> TrashVerb {
        TrashVerb::Empty {
            older_than: None,
            dry_run: false,
            yes,
        }
    }

    async fn trashed(output: Output, what: Option<TrashVerb>, answers: Answers) -> Played {
        let script = Script::trashed(TrashResult {
            ids: vec!["6a1f3b20".to_owned()],
            freed_bytes: 1_350_000_000,
            ..TrashResult::default()
        });
        let args = TrashArgs {
            what,
            ..TrashArgs::default()
        };
        play(&script, output, None, async |session, mut console| {
            console.talk = console.talk.without_log();
            console.answers = answers;
            run(session, &args, console).await
        })
        .await
    }

    fn has_freed(played: &Played) -> bool {
        played
            .commands
            .iter()
            .any(|command| matches!(command, Command::Trash(TrashRequest::Empty { .. })))
    }

    #[tokio::test]
    async fn what_it_holds_is_a_table() {
        let played = trashed(stage::human(), None, Answers::Nobody).await;
        insta::assert_snapshot!(played.shown());
    }

    #[tokio::test]
    async fn nothing_is_freed_without_a_yes() {
        for (answers, exit, freed) in [
            (Answers::Given("y\n"), 0, true),
            (Answers::Given("\n"), 0, false),
            (Answers::Nobody, 2, false),
        ] {
            let played = trashed(stage::human(), Some(empty_all(false)), answers).await;
            assert_eq!(played.exit_code, exit, "{answers:?}: {}", played.stderr);
            assert_eq!(has_freed(&played), freed, "{answers:?}");
            assert!(played.stdout.contains("6a1f3b2b"), "what goes was shown");
        }
    }

    #[tokio::test]
    async fn a_restore_says_how_far_its_proof_is() {
        let bytes = 1_350_000_000;
        let script = Script::new()
            .then(
                20,
                Event::VerifyStarted {
                    snapshots: 0,
                    files: 2,
                    bytes,
                },
            )
            .then(
                900,
                Event::VerifyProgress {
                    files: 1,
                    bytes: bytes / 2,
                    path: "blobs/03".to_owned(),
                },
            )
            .then(
                900,
                Event::Ended(Outcome::Trashed(TrashResult {
                    ids: vec!["6a1f3b20".to_owned()],
                    restored: vec!["/cache/models--org--m".to_owned()],
                    restored_bytes: bytes,
                    ..TrashResult::default()
                })),
            );
        let args = TrashArgs {
            what: Some(TrashVerb::Restore {
                id: "last".to_owned(),
            }),
            ..TrashArgs::default()
        };
        let played = play(
            &script,
            stage::human(),
            None,
            async |session, mut console| {
                console.talk = console.talk.without_log();
                run(session, &args, console).await
            },
        )
        .await;
        assert_eq!(played.exit_code, 0, "{}", played.stderr);
        assert!(
            played.stderr.contains("verifying: 50 % of 1.35 GB"),
            "{}",
            played.stderr
        );
        assert!(
            played.stdout.contains("put back 1.35 GB"),
            "{}",
            played.stdout
        );
    }

    #[tokio::test]
    async fn the_document_keeps_its_schema() {
        let played = trashed(stage::json(), Some(empty_all(true)), Answers::Nobody).await;
        let document = played.document(TRASH_SCHEMA);
        assert_eq!(
            (played.exit_code, document["outcome"].as_str()),
            (0, Some("done"))
        );
        assert_eq!(document["freed_bytes"], 1_350_000_000_u64);
        assert_eq!(document["entries"][1]["cut_off"], "a purge was cut off");
        let old = TrashVerb::Empty {
            older_than: Some("5d".to_owned()),
            dry_run: false,
            yes: true,
        };
        let played = trashed(stage::json(), Some(old), Answers::Nobody).await;
        assert_eq!(played.document(TRASH_SCHEMA)["entries_bytes"], 0);
        assert!(!has_freed(&played));
    }
}
