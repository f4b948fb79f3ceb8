//! Proves what a report holds, what it never holds, and when it is written.

use std::cell::RefCell;

use super::super::ask::Answers;
use super::super::schema::REPORT_SCHEMA;
use super::super::stage::{self, Played, play};
use super::*;
use crate::domain::Event;
use crate::store::script::Script;

const TOKEN: &str = "hf_PlantedToken0123456789";

/// A script in which everything that must not leave is planted.
fn planted() -> Script {
    let mut script = Script::survey();
    for stamped in &mut script.events {
        match &mut stamped.event {
            Event::FindingsSeen { findings } => {
                let path = "/home/alice/.cache/huggingface/hub/blobs/02";
                findings[0].evidence[0].path = path.to_owned();
                findings[0].cause = format!("kitchen-mac.local sent {TOKEN}");
            }
            Event::LocksSeen { locks } => {
                locks[0].program = Some("/home/alice/bin/fetch".to_owned());
            }
            _ => {}
        }
    }
    script
}

struct Done {
    played: Played,
    files: Vec<(PathBuf, String)>,
}

async fn reported(script: &Script, output: Output, args: ReportArgs, answers: Answers) -> Done {
    let files = RefCell::new(Vec::new());
    let log = [
        "INFO asking https://alice:pw@hub/x?sig=q9z for org/m",
        "DEBUG Authorization: Bearer q9z",
        "INFO cache /home/alice/.cache on Kitchen-Mac",
        "WARN \u{1b}[2J",
    ];
    let terminal = TerminalFacts {
        term: Some("xterm-256color".to_owned()),
        is_utf8: true,
        ..TerminalFacts::default()
    };
    let played = play(script, output, None, async |session, mut console| {
        console.talk = console.talk.without_log();
        console.answers = answers;
        let settings = stage::settings();
        let desk = Desk {
            settings: &settings,
            terminal: &terminal,
            system: "Linux 6.1.0 x86_64",
            home: Some(Path::new("/home/alice")),
            names: &["alice".to_owned(), "kitchen-mac.local".to_owned()],
            secrets: &[TOKEN.to_owned()],
            read_tail: &|path, lines| {
                assert_eq!((path, lines), (Path::new("/state/larder.log"), 200));
                Ok(log.map(str::to_owned).to_vec())
            },
            write_new: &|path, text| {
                if path == Path::new("taken.txt") {
                    return Err(ErrorKind::AlreadyExists.into());
                }
                files.borrow_mut().push((path.to_owned(), text.to_owned()));
                Ok(())
            },
            is_read_only: false,
        };
        run(session, &args, &desk, console).await
    })
    .await;
    Done {
        played,
        files: files.into_inner(),
    }
}

fn to(file: &str) -> ReportArgs {
    ReportArgs {
        output: Some(PathBuf::from(file)),
        ..ReportArgs::default()
    }
}

#[tokio::test]
async fn it_is_shown_and_nothing_planted_survives() {
    let none = ReportArgs::default;
    let done = reported(&planted(), stage::human(), none(), Answers::Nobody).await;
    insta::assert_snapshot!(done.played.shown());
    assert!(done.files.is_empty(), "without a terminal it is only shown");
    let written = reported(&planted(), stage::human(), to("x.txt"), Answers::Nobody).await;
    let json = reported(&planted(), stage::json(), none(), Answers::Nobody).await;
    let document = json.played.document(REPORT_SCHEMA);
    assert_eq!(document["log"].as_array().unwrap().len(), 4);
    assert_eq!(document["cache"]["path"], "~/.cache/huggingface/hub");
    assert_eq!(written.files[0].1, written.played.stdout);
    let lines = reported(&planted(), stage::events(), none(), Answers::Nobody).await;
    assert_eq!(lines.played.stdout.lines().count(), 1, "the document alone");
    for text in [
        &lines.played.stdout,
        &done.played.stdout,
        &written.files[0].1,
        &json.played.stdout,
    ] {
        for planted in ["hf_", TOKEN, "pw@", "q9z", "\u{1b}"] {
            assert!(!text.contains(planted), "{planted}: {text}");
        }
        let text = text.to_ascii_lowercase();
        assert!(
            !text.contains("alice") && !text.contains("kitchen"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn it_is_written_when_somebody_says_so() {
    let name = "larder-report-20261124-020000.txt";
    let yes = ReportArgs {
        yes: true,
        ..ReportArgs::default()
    };
    let none = ReportArgs::default();
    for (args, answers, file) in [
        (none.clone(), Answers::Given("y\n"), Some(name)),
        (none.clone(), Answers::Given("\n"), None),
        (none, Answers::Nobody, None),
        (yes, Answers::Nobody, Some(name)),
        (to("mine.txt"), Answers::Nobody, Some("mine.txt")),
        (to("mine.txt"), Answers::Given("y"), Some("mine.txt")),
        (to("mine.txt"), Answers::Given("n"), None),
    ] {
        let done = reported(&planted(), stage::human(), args, answers).await;
        assert_eq!(done.played.exit_code, 0, "{}", done.played.stderr);
        let written = done.files.first().map(|(path, _)| path.as_path());
        assert_eq!(written, file.map(Path::new), "{answers:?}");
        let told = done.played.stderr.contains("written to");
        assert_eq!(told, file.is_some());
        if answers == Answers::Given("y\n") {
            let question = format!("write it to {name} in the current folder? [y/N] ");
            assert!(done.played.stderr.contains(&question));
        }
    }
}

#[tokio::test]
async fn no_file_is_overwritten() {
    let done = reported(&planted(), stage::json(), to("taken.txt"), Answers::Nobody).await;
    let document = done.played.document(REPORT_SCHEMA);
    assert_eq!(done.played.exit_code, 2);
    assert_eq!(document["failure_code"], "refused");
    assert!(document["written_to"].is_null());
}

#[tokio::test]
async fn a_cache_that_cannot_be_read_is_reported_too() {
    let none = ReportArgs::default();
    let done = reported(&Script::unreadable(), stage::human(), none, Answers::Nobody).await;
    assert_eq!(done.played.exit_code, 0, "{}", done.played.stderr);
    assert!(
        done.played.stdout.contains("failed: permission: "),
        "{}",
        done.played.stdout
    );
}
