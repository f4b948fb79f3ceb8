//! Owns `verify`: everything is hashed, and what is said about it.
//!
//! Never hashes: the engine does. Progress goes to stderr, the verdicts to stdout.

use super::args::{VerifyArgs, call_of};
use super::document;
use super::exit::{Ending, judge};
use super::finding::rows;
use super::follow::{Console, Session, follow};
use super::look::learn;
use super::output::{Format, Output};
use super::remedy::Subject;
use super::table::{Table, cut_middle};
use crate::domain::{Bundle, Command, Finding, Verdict, VerifyTarget, sanitize};
use crate::store::{Shelf, Store, count, grouped, short, size};

/// Runs `verify`; the exit code.
pub async fn verify(session: Session<'_>, args: VerifyArgs, output: Output) -> u8 {
    run(session, &args, Console::looking(output)).await
}

async fn run(mut session: Session<'_>, args: &VerifyArgs, mut console: Console<'_>) -> u8 {
    let mut store = Store::default();
    let ending = match args.targets() {
        Err(failure) => Ending::refused(*failure),
        Ok(targets) => prove(&mut session, &mut console, &mut store, args, targets).await,
    };
    console.talk.settle();
    let call = call_of("larder verify", &args.repos, &args.places);
    let subject = Subject {
        repo: match args.repos.as_slice() {
            [only] => Some(only.as_str()),
            _ => None,
        },
        command: "verify",
        call: Some(&call),
    };
    if console.output.format == Format::Human {
        let seen = store.shelf().verifications();
        if !seen.is_empty() {
            let text = verdicts(store.shelf(), console.output.stdout.columns, &args.places);
            console.printer.text(&console.output.drawn(&text));
            console.talk.remark(&summary(&store));
        } else if ending.exit_code == 0 {
            console.talk.remark("no models in the cache");
        }
    }
    let closing = session.closing(&store, &ending, subject);
    console.finish(&closing, |closing, is_line| {
        document::verify(&store, closing, is_line)
    })
}

/// Has everything hashed; what it should be is asked for first if that is wanted.
async fn prove(
    session: &mut Session<'_>,
    console: &mut Console<'_>,
    store: &mut Store,
    args: &VerifyArgs,
    targets: Vec<VerifyTarget>,
) -> Ending {
    if args.online {
        let learned = learn(session, console, store, &targets).await;
        if learned.exit_code != 0 {
            return learned;
        }
    }
    (session.commands)(Command::Verify {
        targets,
        is_deep: args.deep,
    });
    let followed = follow(session, store, console).await;
    judge(console.work, followed.outcome.as_ref(), followed.caught)
}

fn summary(store: &Store) -> String {
    let shelf = store.shelf();
    let (good, broken, bytes) = shelf
        .last_verifying()
        .map_or((0, 0, 0), |last| (last.good, last.broken, last.bytes_done));
    let unread: usize = shelf
        .verifications()
        .iter()
        .map(|seen| seen.files_unread)
        .sum();
    let unread = match unread {
        0 => String::new(),
        files => format!(
            "; {} unchanged since hashed, not read again (`--deep` reads all)",
            count(files, "file")
        ),
    };
    let others = shelf
        .verifications()
        .iter()
        .filter(|seen| seen.repo.is_none() || seen.what == Bundle::Orphans)
        .count();
    // Of these, nothing says what some of the files should be.
    let unproven = shelf
        .verifications()
        .iter()
        .filter(|seen| seen.is_good() && seen.verdict() != Verdict::Good)
        .count();
    let all = good + broken;
    let good = good.saturating_sub(unproven);
    let snapshots = count(all.saturating_sub(others), "snapshot");
    let verdict = match others {
        0 => format!("{good} of {snapshots} good"),
        1 => format!("{snapshots} and 1 group of other contents, {good} of {all} good"),
        more => format!("{snapshots} and {more} groups of other contents, {good} of {all} good"),
    };
    let unproven = match unproven {
        0 => String::new(),
        some => format!(", {some} with files of which nothing says what they should be"),
    };
    format!("{} hashed: {verdict}{unproven}{unread}", size(bytes))
}

/// One row per snapshot, what its verdict rests on and what is wrong below.
fn verdicts(shelf: &Shelf, columns: Option<u16>, places: &[String]) -> String {
    let seen = shelf.verifications();
    let caches = shelf.verified_places();
    // In one place there is nothing to tell apart.
    let has_caches = caches.windows(2).any(|pair| pair[0] != pair[1]);
    let mut table = Table::new().names("REPO", 20).names("REVISION", 8);
    if has_caches {
        table = table.names("CACHE", 9);
    }
    table = table.column("VERDICT").numbers("FILES").numbers("SIZE");
    for (model, cache) in seen.iter().zip(caches) {
        let hashed = match model.files_hashed {
            0 => String::new(),
            hashed => format!(", {hashed} hashed"),
        };
        let unknown = match model.files_unknown.saturating_sub(model.files_hashed) {
            0 => String::new(),
            unknown => format!(", {unknown} unknown"),
        };
        let mut cells = vec![model.name(), short(&model.revision)];
        cells.extend(has_caches.then_some(cache));
        cells.extend([
            model.verdict().words().to_owned(),
            format!(
                "{} of {}{hashed}{unknown}",
                model.files_good, model.files_total
            ),
            size(model.bytes),
        ]);
        table.row(&cells);
    }
    let mut text = table.render(columns);
    for model in seen.iter().filter(|model| !model.basis.is_empty()) {
        text.extend(["\n", &sanitize(&model.snapshot), "\n"]);
        text.extend(model.basis.iter().flat_map(|line| ["  ", line, "\n"]));
    }
    let findings: Vec<&Finding> = seen.iter().flat_map(|model| &model.findings).collect();
    let findings: Vec<String> = grouped(&findings)
        .iter()
        .flat_map(|group| {
            let mut rows = rows(group, places);
            if let (Some(columns), Some(first)) = (columns, rows.first_mut()) {
                *first = cut_middle(first, usize::from(columns));
            }
            rows
        })
        .collect();
    if !findings.is_empty() {
        text.push_str("\nfindings\n");
        text.extend(findings.iter().flat_map(|line| [line.trim_end(), "\n"]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::exit::{Signal, Work};
    use super::super::schema::{EVENT_SCHEMA, VERIFY_SCHEMA};
    use super::super::stage::{self, Played, play};
    use super::*;
    use crate::domain::{Event, Failure, FailureCode, FileSelection, Outcome};
    use crate::store::script::Script;

    async fn verified(script: &Script, output: Output, repos: &[&str]) -> Played {
        let args = VerifyArgs {
            repos: repos.iter().map(|&repo| repo.to_owned()).collect(),
            ..VerifyArgs::default()
        };
        play(script, output, None, async |session, mut console| {
            console.talk = console.talk.without_log();
            run(session, &args, console).await
        })
        .await
    }

    #[tokio::test]
    async fn lines_a_tenth_apart_and_a_table() {
        let played = verified(&Script::verified(), stage::columns(80), &[]).await;
        insta::assert_snapshot!(played.shown());
        assert_eq!(played.exit_code, 3);
        let quiet = Output {
            is_quiet: true,
            ..stage::human()
        };
        let played = verified(&Script::verified(), quiet, &[]).await;
        assert!(
            played.stderr.starts_with("error: findings: "),
            "{}",
            played.stderr
        );
    }

    #[tokio::test]
    async fn the_document_has_every_snapshot() {
        let played = verified(&Script::verified(), stage::json(), &["org/other@main"]).await;
        let document = played.document(VERIFY_SCHEMA);
        assert_eq!(played.exit_code, 3);
        assert_eq!(document["failure_code"], "findings");
        assert_eq!(
            (&document["good"], &document["broken"]),
            (&1.into(), &1.into())
        );
        assert_eq!(document["models"][1]["is_good"], false);
        assert_eq!(document["models"][1]["findings"][0]["rule"], "truncated");
        let [
            Command::Verify {
                targets,
                is_deep: false,
            },
        ] = played.commands.as_slice()
        else {
            panic!("{:?}", played.commands);
        };
        assert_eq!(targets[0].revision.as_deref(), Some("main"));

        let played = verified(&Script::verified(), stage::events(), &[]).await;
        let lines: Vec<&str> = played.stdout.lines().collect();
        let (document, events) = lines.split_last().unwrap();
        for event in events {
            stage::check(&serde_json::from_str(event).unwrap(), EVENT_SCHEMA);
        }
        stage::check(&serde_json::from_str(document).unwrap(), VERIFY_SCHEMA);
    }

    #[tokio::test]
    async fn good_is_said_only_of_what_was_proven_whole() {
        for (good, hashed, unknown, verdict, words) in [
            (5, 1, 1, "partly", "partly good"),
            (5, 0, 1, "partly", "partly good"),
            (0, 6, 6, "hashed", "hashed only"),
            (0, 0, 6, "unknown", "unknown"),
            (6, 0, 0, "good", "good"),
        ] {
            let mut script = Script::verified();
            script
                .events
                .retain_mut(|stamped| match &mut stamped.event {
                    Event::ModelVerified(seen) if seen.is_good() => {
                        seen.files_good = good;
                        seen.files_hashed = hashed;
                        seen.files_unknown = unknown;
                        true
                    }
                    // The other one is broken.
                    Event::ModelVerified(_) | Event::Ended(_) => false,
                    _ => true,
                });
            let ended = Event::Ended(Outcome::Verified { good: 1, broken: 0 });
            let script = script.then(1, ended);
            let played = verified(&script, stage::json(), &[]).await;
            let document = played.document(VERIFY_SCHEMA);
            assert_eq!(document["models"][0]["verdict"], verdict);
            let played = verified(&script, stage::columns(100), &[]).await;
            let row = played.stdout.lines().nth(1).unwrap();
            assert!(row.contains(&format!(" {words} ")), "{row}");
            let is_whole = played.stdout.contains("1 of 1 snapshot good")
                || played.stderr.contains("1 of 1 snapshot good");
            assert_eq!(is_whole, verdict == "good", "{}", played.shown());
        }
    }

    #[tokio::test]
    async fn all_good_is_0_and_other_ends_have_their_codes() {
        let good = Script::new().then(1, Event::Ended(Outcome::Verified { good: 0, broken: 0 }));
        let missing = Script::new().then(
            1,
            Event::Ended(Outcome::Failed {
                failures: vec![Failure::new(FailureCode::Incomplete, "`a/b` is not here")],
            }),
        );
        for (script, repos, exit) in [
            (good, &[][..], 0),
            (missing, &["a/b"], 3),
            (Script::new(), &["a b"], 2),
            (Script::new(), &[], 70),
        ] {
            let played = verified(&script, stage::json(), repos).await;
            assert_eq!(played.exit_code, exit, "{}", played.stderr);
            played.document(VERIFY_SCHEMA);
        }
    }

    #[tokio::test]
    async fn a_signal_ends_it_and_what_was_found_is_told() {
        let mut script = Script::verified();
        let heard = script.events.len() - 3;
        script.events.truncate(heard);
        let script = script.then(1, Event::Ended(Outcome::Cancelled));
        let played = play(
            &script,
            stage::json(),
            Some((heard, Signal::Interrupt)),
            async |session, console| {
                run(session, &VerifyArgs::default(), console.at(Work::Looking)).await
            },
        )
        .await;
        let document = played.document(VERIFY_SCHEMA);
        assert_eq!(played.exit_code, 130);
        assert_eq!(document["models"].as_array().unwrap().len(), 1);
        assert!(matches!(
            played.commands.as_slice(),
            [Command::Verify { .. }, Command::Cancel(FileSelection::All)]
        ));
    }
}
