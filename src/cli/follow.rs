//! Owns the loop of every command: events into the store, log lines out, signals into a cancel.
//!
//! Never judges how it went: that is `exit`.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};

use super::ask::Answers;
use super::document::{self, Closing};
use super::exit::{Ending, Signal, Work};
use super::output::{Format, Output};
use super::print::Printer;
use super::progress::Talk;
use super::remedy::Subject;
use crate::domain::{Command, Event, FileSelection, Outcome, Stamped};
use crate::store::{Store, reduce};

/// Events folded between two looks at anything else.
const BATCH: usize = 256;
/// How often bars are drawn.
const REDRAW: Duration = Duration::from_millis(100);

/// A command's connection to the engine and the rest of the process; `main` makes it.
pub struct Session<'a> {
    /// Sends a command to the engine.
    pub commands: &'a dyn Fn(Command),
    /// What the engine says.
    pub events: &'a mut mpsc::Receiver<Stamped>,
    /// The first signal that asks to end. The second is `main`'s: it leaves at once.
    pub signals: watch::Receiver<Option<Signal>>,
    /// The log file, named where something failed.
    pub log_file: Option<PathBuf>,
    /// When the command began, milliseconds since the Unix epoch: time enters as data.
    pub started_ms: u64,
}

impl Session<'_> {
    /// What the end of a command is told with.
    pub(super) fn closing<'a>(
        &'a self,
        store: &Store,
        ending: &'a Ending,
        subject: Subject<'a>,
    ) -> Closing<'a> {
        Closing {
            ending,
            subject,
            at_ms: store.last_ms().unwrap_or(self.started_ms),
            log_file: self.log_file.as_deref(),
        }
    }
}

/// The streams of a command.
pub(super) struct Console<'a> {
    pub(super) output: Output,
    pub(super) printer: Printer<'a>,
    pub(super) talk: Talk<'a>,
    pub(super) answers: Answers,
    /// What a signal stops.
    pub(super) work: Work,
}

/// How following ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Followed {
    /// The signal that was caught on the way.
    pub(super) caught: Option<Signal>,
    /// How the job ended; `None` when the engine went away without saying.
    pub(super) outcome: Option<Outcome>,
}

impl Console<'static> {
    /// The process's own streams.
    pub(super) fn new(output: Output) -> Self {
        Self {
            answers: if output.can_ask {
                Answers::Terminal
            } else {
                Answers::Nobody
            },
            work: Work::Fetching,
            output,
            printer: Printer::stdout(),
            talk: Talk::stderr(output),
        }
    }
}

impl Console<'_> {
    /// Says what a signal would stop.
    pub(super) const fn at(mut self, work: Work) -> Self {
        self.work = work;
        self
    }

    /// Ends a command: the document where one is wanted, what failed, and the exit code.
    pub(super) fn finish(
        mut self,
        closing: &Closing<'_>,
        document: impl FnOnce(&Closing<'_>, bool) -> String,
    ) -> u8 {
        if self.output.format != Format::Human {
            let is_line = self.output.format == Format::Events;
            let document = document(closing, is_line);
            self.printer.line(&document);
        }
        self.talk
            .failures(closing.ending, closing.subject, closing.log_file);
        self.close(closing.ending.exit_code)
    }

    /// Ends a command: a stdout that could not be written makes a good end bad.
    pub(super) fn close(mut self, exit_code: u8) -> u8 {
        match self.printer.failure() {
            Some(failure) if exit_code == 0 => {
                let ending = Ending::refused(failure);
                self.talk.failures(&ending, Subject::default(), None);
                ending.exit_code
            }
            _ => exit_code,
        }
    }
}

/// The engine's time, carried on between its events.
struct Clock {
    at_ms: u64,
    heard: Instant,
}

impl Clock {
    fn hear(&mut self, at_ms: u64) {
        self.at_ms = at_ms;
        self.heard = Instant::now();
    }

    fn now_ms(&self) -> u64 {
        let since = u64::try_from(self.heard.elapsed().as_millis()).unwrap_or(0);
        self.at_ms.saturating_add(since)
    }
}

/// Folds events until the command ended or the engine is gone.
pub(super) async fn follow(
    session: &mut Session<'_>,
    store: &mut Store,
    console: &mut Console<'_>,
) -> Followed {
    let mut caught = None;
    let mut hears_signals = true;
    let mut batch = Vec::with_capacity(BATCH);
    let mut clock = Clock {
        at_ms: session.started_ms,
        heard: Instant::now(),
    };
    let mut redraw = tokio::time::interval(REDRAW);
    redraw.set_missed_tick_behavior(MissedTickBehavior::Skip);
    // A signal may have come before anybody listened.
    session.signals.mark_changed();
    loop {
        tokio::select! {
            biased;
            changed = session.signals.changed(), if hears_signals => {
                hears_signals = changed.is_ok();
                let signal = *session.signals.borrow_and_update();
                if let (Some(signal), None) = (signal, caught) {
                    caught = Some(signal);
                    let kept = console.work.kept();
                    console.talk.remark(&format!("stopping: {kept}; once more leaves at once"));
                    (session.commands)(Command::Cancel(FileSelection::All));
                }
            }
            _ = redraw.tick(), if console.talk.is_drawing() => {
                console.talk.draw(store, clock.now_ms());
            }
            received = session.events.recv_many(&mut batch, BATCH) => {
                if received == 0 {
                    return Followed { caught, outcome: None };
                }
                let mut outcome = None;
                for stamped in batch.drain(..) {
                    reduce(store, &stamped);
                    clock.hear(stamped.at_ms);
                    if console.output.format == Format::Events {
                        console.printer.line(&document::event(&stamped));
                    }
                    // Line by line, so that what is said does not depend on how events bunch.
                    console.talk.update(store);
                    if let Event::Noted { note } = &stamped.event {
                        console.talk.note(note);
                    }
                    if let Event::Ended(how) = stamped.event {
                        outcome = Some(how);
                    }
                }
                if outcome.is_some() {
                    return Followed { caught, outcome };
                }
            }
        }
    }
}
