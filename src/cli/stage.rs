//! Owns a stage for whole commands: a script in the engine's place, streams in memory.

use std::cell::RefCell;
use std::io::Write;
use std::path::PathBuf;

use tokio::sync::{mpsc, watch};

use super::ask::Answers;
use super::exit::{Signal, Work};
use super::follow::{Console, Session};
use super::output::{Format, Output, Terminal};
use super::print::Printer;
use super::progress::Talk;
use crate::domain::{Command, Event, Setting, Stamped};
use crate::store::script::{START_MS, Script};

/// What a command did.
pub(super) struct Played {
    pub(super) exit_code: u8,
    pub(super) stdout: String,
    pub(super) stderr: String,
    pub(super) commands: Vec<Command>,
}

impl Played {
    /// All of it, for a snapshot.
    pub(super) fn shown(&self) -> String {
        format!(
            "--- stdout\n{}--- stderr\n{}--- exit {}\n",
            self.stdout, self.stderr, self.exit_code
        )
    }

    /// Stdout as one document, checked against its schema.
    pub(super) fn document(&self, schema: &str) -> serde_json::Value {
        let document = serde_json::from_str(&self.stdout).unwrap();
        check(&document, schema);
        document
    }
}

/// Checks JSON against a schema.
pub(super) fn check(document: &serde_json::Value, schema: &str) {
    let schema = serde_json::from_str(schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}\n{document:#}");
}

pub(super) fn human() -> Output {
    Output::default()
}

pub(super) fn json() -> Output {
    Output {
        format: Format::Json,
        ..human()
    }
}

pub(super) fn events() -> Output {
    Output {
        format: Format::Events,
        ..human()
    }
}

/// Stdout on a terminal of so many columns.
pub(super) fn columns(columns: u16) -> Output {
    Output {
        stdout: Terminal {
            columns: Some(columns),
            rows: Some(24),
            has_color: false,
        },
        ..human()
    }
}

/// Streams in memory, and nobody to ask.
pub(super) fn console<'a>(
    output: Output,
    stdout: impl Write + 'a,
    stderr: impl Write + 'a,
) -> Console<'a> {
    Console {
        output,
        printer: Printer::new(stdout),
        talk: Talk::new(stderr, output),
        answers: Answers::Nobody,
        work: Work::Fetching,
    }
}

/// Settings as `config` hands them over.
pub(super) fn settings() -> Vec<Setting> {
    [
        ("endpoint", "https://huggingface.co/", "default"),
        ("token", "***", "HF_TOKEN"),
        ("cache_dir", "/home/alice/.cache/huggingface/hub", "HF_HOME"),
        ("offline", "true", "HF_HUB_OFFLINE"),
    ]
    .into_iter()
    .map(|(name, value, origin)| Setting {
        name,
        value: value.to_owned(),
        origin: origin.to_owned(),
    })
    .collect()
}

/// Plays `script` to a command: each command is answered up to the next end of a job. A signal comes after the first `heard` facts; the rest of the
/// script is what the engine says once it is told to cancel.
pub(super) async fn play<F, R>(
    script: &Script,
    output: Output,
    signal: Option<(usize, Signal)>,
    command: F,
) -> Played
where
    F: AsyncFnOnce(Session<'_>, Console<'_>) -> R,
    R: Into<u8>,
{
    let (sender, mut receiver) = mpsc::channel::<Stamped>(4_096);
    let (caught, signals) = watch::channel(None);
    let heard = signal.map_or(0, |(heard, _)| heard);
    let (before, after) = script.events.split_at(heard);
    for stamped in before {
        sender.try_send(stamped.clone()).unwrap();
    }
    let commands = RefCell::new(Vec::new());
    let rest = RefCell::new(Some((sender, after.to_vec())));
    let send = |command: Command| {
        if signal.is_none() || matches!(command, Command::Cancel(_)) {
            // The engine says what this command leads to; after the last of it, it is gone.
            let taken = rest.borrow_mut().take();
            if let Some((sender, mut events)) = taken {
                let is_end = |stamped: &Stamped| matches!(stamped.event, Event::Ended(_));
                let end = events.iter().position(is_end);
                let left = events.split_off(end.map_or(events.len(), |end| end + 1));
                for stamped in events {
                    sender.try_send(stamped).unwrap();
                }
                if !left.is_empty() {
                    rest.replace(Some((sender, left)));
                }
            }
        }
        commands.borrow_mut().push(command);
    };
    if let Some((_, signal)) = signal {
        caught.send(Some(signal)).unwrap();
    }
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let session = Session {
        commands: &send,
        events: &mut receiver,
        signals,
        log_file: Some(PathBuf::from("/state/larder.log")),
        started_ms: START_MS,
    };
    let console = console(output, &mut stdout, &mut stderr);
    let exit_code = command(session, console).await.into();
    Played {
        exit_code,
        stdout: String::from_utf8(stdout).unwrap(),
        stderr: String::from_utf8(stderr).unwrap(),
        commands: commands.into_inner(),
    }
}
