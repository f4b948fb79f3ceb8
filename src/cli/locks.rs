//! Owns `locks`: every lock, who holds it, and how that is known.
//!
//! Never takes or removes a lock. The words about one are `page`'s.

use super::args::{LocksArgs, call_of, parse_repo};
use super::document;
use super::exit::Ending;
use super::finding::wrapped;
use super::follow::{Console, Session};
use super::look::look;
use super::output::{Format, Output};
use super::page::{lock_counts_words, lock_words};
use super::remedy::Subject;
use crate::domain::{Command, LockRow, LockState, RepoId, sanitize};
use crate::store::{Store, count};

/// Runs `locks`; the exit code.
pub async fn locks(session: Session<'_>, args: LocksArgs, output: Output) -> u8 {
    run(session, &args, Console::looking(output)).await
}

async fn run(mut session: Session<'_>, args: &LocksArgs, mut console: Console<'_>) -> u8 {
    let mut store = Store::default();
    let mut repo = None;
    let ending = match args.repo.as_deref().map(parse_repo).transpose() {
        Err(failure) => Ending::refused(*failure),
        Ok(reference) => {
            repo = reference.map(|reference| reference.repo);
            let command = Command::Locks(repo.clone());
            look(&mut session, &mut console, &mut store, command).await
        }
    };
    if console.output.format == Format::Human && ending.exit_code == 0 {
        let now_ms = store.last_ms().unwrap_or(session.started_ms);
        // Thousands of free ones are normal; of one repo, or asked twice, they are told.
        let is_whole = repo.is_some() || console.output.verbose > 0;
        let columns = console.output.stdout.columns;
        let text = text(&store, repo.as_ref(), now_ms, is_whole, columns);
        console.printer.text(&console.output.drawn(&text));
    }
    let call = call_of("larder locks", args.repo.as_ref(), &args.places);
    let subject = Subject {
        repo: args.repo.as_deref(),
        command: "locks",
        call: Some(&call),
    };
    let closing = session.closing(&store, &ending, subject);
    console.finish(&closing, |closing, is_line| {
        document::locks(store.shelf(), repo.as_ref(), closing, is_line)
    })
}

fn text(
    store: &Store,
    repo: Option<&RepoId>,
    now_ms: u64,
    is_whole: bool,
    columns: Option<u16>,
) -> String {
    let shelf = store.shelf();
    let mut rows: Vec<&LockRow> = shelf.locks_of(repo).collect();
    let programs = rows.iter().filter(|row| row.is_program()).count();
    rows.retain(|row| is_whole || row.is_program() || row.state != LockState::Free);
    rows.sort_by_key(|row| {
        // What keeps others out comes first.
        let order = match row.state {
            LockState::Held => 0,
            LockState::Stale => 1,
            LockState::Unknown => 2,
            LockState::Free => 3,
        };
        (row.is_program(), order)
    });
    let mut text = String::new();
    for row in rows {
        text.push_str(&told(row, now_ms, columns));
    }
    let counts = shelf.lock_counts(repo);
    let programs = match programs {
        0 => String::new(),
        programs => format!("; {} at work", count(programs, "program")),
    };
    let normal = if counts.free > 0 {
        "a free lock file is normal: tools leave it behind\n"
    } else {
        ""
    };
    let sum = match lock_counts_words(counts).as_str() {
        "none held" => "no locks".to_owned(),
        words => words.to_owned(),
    };
    text.extend([sum.as_str(), &programs, "\n", normal]);
    text
}

/// A lock: state, whose, where, and how that is known.
fn told(row: &LockRow, now_ms: u64, columns: Option<u16>) -> String {
    let mut lines = vec![format!(
        "{:<10} {}",
        row.state_name(),
        lock_words(row, now_ms)
    )];
    lines.push(format!("{:11}{}", "", row.path));
    if let Some(command_line) = &row.command_line {
        lines.push(format!("{:11}{command_line}", ""));
    }
    // That nobody holds it is said once, below.
    if row.state != LockState::Free || row.is_program() {
        let room = columns.map_or(usize::MAX, |columns| {
            usize::from(columns).saturating_sub(11)
        });
        let proof = wrapped(&sanitize(&row.proof), room);
        lines.extend(proof.iter().map(|line| format!("{:11}{line}", "")));
    }
    lines
        .iter()
        .flat_map(|line| [sanitize(line).trim_end().to_owned(), "\n".to_owned()])
        .collect()
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr as _;

    use super::super::schema::{EVENT_SCHEMA, LOCKS_SCHEMA};
    use super::super::stage::{self, Played, play};
    use super::*;
    use crate::domain::{Event, Failure, FailureCode, LockKind, Outcome};
    use crate::store::script::{Script, repo};
    use crate::store::survey_script::held_lock;

    async fn seen(script: &Script, output: Output, repo: Option<&str>) -> Played {
        let args = LocksArgs {
            repo: repo.map(str::to_owned),
            ..LocksArgs::default()
        };
        play(script, output, None, async |session, mut console| {
            console.talk = console.talk.without_log();
            run(session, &args, console).await
        })
        .await
    }

    /// One in each state, and a program.
    fn locks() -> Script {
        let lock = |kind: LockKind, state: LockState, name: &str, proof: &str| LockRow {
            kind,
            state,
            path: format!("/cache/.locks/models--org--m/{name}.lock"),
            file: Some(format!("{name}.json")),
            pid: None,
            program: None,
            command_line: None,
            since_ms: None,
            proof: proof.to_owned(),
            ..held_lock()
        };
        let program = LockRow {
            kind: LockKind::Downloader,
            path: "/cache/models--org--m/blobs/1.incomplete".to_owned(),
            program: Some("curl\u{1b}".to_owned()),
            proof: "it has `blobs/1.incomplete` open and may write it".to_owned(),
            ..held_lock()
        };
        let nobody = "nobody holds its `flock`; a lock file that stays behind is normal";
        let locks = vec![
            lock(LockKind::Hub, LockState::Free, "a", nobody),
            program,
            lock(
                LockKind::Swift,
                LockState::Unknown,
                "b",
                "this file system has no `flock`, so nobody can be asked",
            ),
            lock(
                LockKind::Legacy,
                LockState::Stale,
                "c",
                "it names process 4 of this machine, which is gone",
            ),
            held_lock(),
        ];
        Script::new()
            .then(1, Event::LocksSeen { locks })
            .then(1, Event::Ended(Outcome::Listed))
    }

    #[tokio::test]
    async fn who_keeps_others_out_comes_first_and_free_ones_are_counted() {
        let played = seen(&locks(), stage::columns(80), None).await;
        insta::assert_snapshot!(played.shown());
        for line in played.stdout.lines() {
            assert!(line.contains('/') || line.width() <= 80, "{line}");
        }
        assert!(matches!(played.commands.as_slice(), [Command::Locks(None)]));
        let whole = Output {
            verbose: 1,
            ..stage::human()
        };
        let played = seen(&locks(), whole, None).await;
        assert!(played.stdout.contains("free       "), "{}", played.stdout);
        let one = seen(&locks(), stage::human(), Some(repo().name())).await;
        assert!(one.stdout.contains("free       "), "{}", one.stdout);
        assert!(!one.stdout.contains('\u{1b}'));
    }

    #[tokio::test]
    async fn the_document_has_every_lock() {
        let played = seen(&locks(), stage::json(), None).await;
        let document = played.document(LOCKS_SCHEMA);
        assert_eq!(document["locks"].as_array().unwrap().len(), 5);
        assert_eq!(document["outcome"], "listed");
        for state in ["held", "stale", "unknown", "free"] {
            assert_eq!(document[state], 1, "{state}");
        }
        let played = seen(&locks(), stage::events(), None).await;
        for line in played.stdout.lines().take(2) {
            stage::check(&serde_json::from_str(line).unwrap(), EVENT_SCHEMA);
        }
    }

    #[tokio::test]
    async fn no_lock_is_a_line_and_no_repo_is_a_failure() {
        let none = Script::new()
            .then(1, Event::LocksSeen { locks: Vec::new() })
            .then(1, Event::Ended(Outcome::Listed));
        let played = seen(&none, stage::human(), None).await;
        assert_eq!(
            (played.stdout.as_str(), played.exit_code),
            ("no locks\n", 0)
        );
        let failure = Failure::new(FailureCode::Incomplete, "`no/body` is not in the cache");
        let absent = Script::new().then(
            1,
            Event::Ended(Outcome::Failed {
                failures: vec![failure],
            }),
        );
        let played = seen(&absent, stage::json(), Some("no/body")).await;
        assert_eq!(played.exit_code, 3);
        assert_eq!(played.document(LOCKS_SCHEMA)["failure_code"], "incomplete");
        let wrong = seen(&Script::new(), stage::json(), Some("a b")).await;
        assert_eq!(wrong.exit_code, 2);
        wrong.document(LOCKS_SCHEMA);
    }
}
