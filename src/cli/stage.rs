//! Owns a stage for whole commands: a script in the engine's place, streams in memory.

use std::cell::RefCell;
use std::path::PathBuf;

use tokio::sync::{mpsc, watch};

use super::exit::Signal;
use super::follow::{Console, Session};
use super::output::{Format, Output, Terminal};
use super::print::Printer;
use super::progress::Talk;
use crate::domain::{Command, Stamped};
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

/// Plays `script` to a command. A signal comes after the first `heard` facts; the rest of the
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
    let heard = signal.map_or(script.events.len(), |(heard, _)| heard);
    let (before, after) = script.events.split_at(heard);
    for stamped in before {
        sender.try_send(stamped.clone()).unwrap();
    }
    let commands = RefCell::new(Vec::new());
    let rest = RefCell::new(Some((sender, after.to_vec())));
    let send = |command: Command| {
        if signal.is_none() || matches!(command, Command::Cancel(_)) {
            // The engine says the rest and is gone.
            if let Some((sender, events)) = rest.borrow_mut().take() {
                for stamped in events {
                    sender.try_send(stamped).unwrap();
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
    let console = Console {
        output,
        printer: Printer::new(&mut stdout),
        talk: Talk::new(&mut stderr, output),
    };
    let exit_code = command(session, console).await.into();
    Played {
        exit_code,
        stdout: String::from_utf8(stdout).unwrap(),
        stderr: String::from_utf8(stderr).unwrap(),
        commands: commands.into_inner(),
    }
}
