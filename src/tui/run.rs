//! Owns the loop: keys and events in, effects and pictures out.
//!
//! **Law**: at most ten pictures a second, none while nothing changes; the terminal is given back
//! before anything is printed.

use std::io::Write as _;
use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::facts::Facts;
use super::input::{self, Heard};
use super::osc::{self, Badge};
use super::painter::{Abilities, Painter, Picture};
use super::ui::Ui;
use super::update::{self, Effect, View};
use super::{mending, summary, view, words};
use crate::domain::{
    Command, Event, Failure, FailureCode, FileSelection, JobId, Outcome, Stamped, exit_code,
};
use crate::store::{Phase, Store, reduce};

/// Between two pictures.
const FRAME: Duration = Duration::from_millis(100);
/// How often an idle picture is looked at: ages grow.
const IDLE: Duration = Duration::from_secs(5);
/// How long the end waits for transfers to let go.
const FAREWELL: Duration = Duration::from_secs(3);
/// Events folded between two looks at anything else.
const BATCH: usize = 512;

/// The dashboard's connections; `main` makes them.
pub struct Session<'a> {
    /// Sends a command to the engine; `false` when it takes no more.
    pub commands: &'a dyn Fn(Command) -> bool,
    /// What the engine says.
    pub events: &'a mut mpsc::Receiver<Stamped>,
    /// The exit code of the first signal that asks to end.
    pub signals: watch::Receiver<Option<u8>>,
    /// Keeps a setting in the config file.
    pub remember: &'a dyn Fn(&str, &str) -> Result<(), Failure>,
    /// When larder started, milliseconds since the Unix epoch.
    pub started_ms: u64,
    /// What the terminal can do.
    pub abilities: Abilities,
}

/// The engine's time, carried on between its events.
struct Clock {
    at_ms: u64,
    heard: Instant,
}

impl Clock {
    fn hear(&mut self, at_ms: u64) {
        if at_ms > self.now_ms() {
            self.at_ms = at_ms;
            self.heard = Instant::now();
        }
    }

    fn now_ms(&self) -> u64 {
        let since = u64::try_from(self.heard.elapsed().as_millis()).unwrap_or(0);
        self.at_ms.saturating_add(since)
    }
}

/// Why the loop is about to end.
#[derive(Clone, Copy, Debug)]
struct Leaving {
    code: u8,
    until: Instant,
}

struct Dashboard<'a> {
    session: Session<'a>,
    facts: Facts,
    ui: Ui,
    store: Store,
    clock: Clock,
    painter: Painter,
    leaving: Option<Leaving>,
}

/// Shows the dashboard until the user leaves or a signal ends it; the exit code.
///
/// # Errors
/// When the terminal cannot be taken over.
pub async fn run(session: Session<'_>, facts: Facts) -> Result<u8, Failure> {
    let trouble = |what: &str, error: &std::io::Error| {
        Failure::new(FailureCode::Internal, what).because(error.to_string())
    };
    let painter = Painter::start(session.abilities)
        .map_err(|error| trouble("the terminal cannot be drawn on", &error))?;
    let keys = match input::listen() {
        Ok(keys) => keys,
        Err(error) => {
            painter.end();
            return Err(trouble("the terminal cannot be heard", &error));
        }
    };
    let ui = Ui::new(&facts);
    let clock = Clock {
        at_ms: session.started_ms,
        heard: Instant::now(),
    };
    let mut dashboard = Dashboard {
        session,
        facts,
        ui,
        store: Store::default(),
        clock,
        painter,
        leaving: None,
    };
    let code = dashboard.work(keys).await;
    let Dashboard {
        painter,
        store,
        facts,
        ..
    } = dashboard;
    if painter.end() {
        let mut out = std::io::stdout().lock();
        for line in summary::lines(&store, &facts) {
            // Whoever closed the terminal reads no summary.
            drop(writeln!(out, "{line}"));
        }
    }
    Ok(code)
}

impl Dashboard<'_> {
    async fn work(&mut self, mut keys: mpsc::Receiver<Heard>) -> u8 {
        let mut is_dirty = true;
        let mut frame_at = Instant::now();
        let mut batch = Vec::with_capacity(BATCH);
        let mut heard = Vec::new();
        let (mut hears_signals, mut hears_keys) = (true, true);
        self.session.signals.mark_changed();
        let mut continued = continued();
        self.open();
        loop {
            let wake_at = if is_dirty {
                frame_at
            } else {
                frame_at + self.rest()
            };
            tokio::select! {
                biased;
                changed = self.session.signals.changed(), if hears_signals => {
                    hears_signals = changed.is_ok();
                    let signal = *self.session.signals.borrow_and_update();
                    if let Some(code) = signal {
                        self.leave(code);
                    }
                }
                true = next_of(&mut continued) => {
                    self.painter.continued();
                    is_dirty = true;
                }
                count = keys.recv_many(&mut heard, 64), if hears_keys => {
                    hears_keys = count > 0;
                    for one in heard.drain(..) {
                        is_dirty = true;
                        if let Some(code) = self.hear(one) {
                            return code;
                        }
                    }
                }
                received = self.session.events.recv_many(&mut batch, BATCH) => {
                    if received == 0 {
                        return self.leaving.map_or(FailureCode::Internal.exit_code(), |l| l.code);
                    }
                    for stamped in batch.drain(..) {
                        reduce(&mut self.store, &stamped);
                        self.clock.hear(stamped.at_ms);
                        self.heed(&stamped);
                    }
                    is_dirty = true;
                }
                () = tokio::time::sleep_until(wake_at) => is_dirty = true,
            }
            let now = Instant::now();
            if let Some(leaving) = self.leaving
                && (now >= leaving.until || !self.is_busy())
            {
                return leaving.code;
            }
            if is_dirty && now >= frame_at {
                self.draw();
                is_dirty = false;
                frame_at = now + FRAME;
            }
            if self.painter.error().is_some() && self.leaving.is_none() {
                // The terminal is gone; what is here is kept, as when it hangs up.
                self.leave(129);
            }
        }
    }

    /// How long a picture stays right by itself.
    fn rest(&self) -> Duration {
        if self.is_busy() || self.leaving.is_some() {
            return Duration::ZERO;
        }
        if !self.facts.story.is_empty() {
            return FRAME * 5;
        }
        match &self.ui.message {
            Some(message) => {
                let left = message.until_ms.saturating_sub(self.clock.now_ms());
                Duration::from_millis(left).min(IDLE)
            }
            None => IDLE,
        }
    }

    fn is_busy(&self) -> bool {
        self.store.running().next().is_some() || self.store.shelf().verifying().is_some()
    }

    /// What is done before the first key.
    fn open(&mut self) {
        let facts = &self.facts;
        let line = match &facts.log_file {
            Some(log_file) => format!(
                "larder {}: cache {}, log file {log_file}",
                facts.version, facts.cache_dir
            ),
            None => format!("larder {}: cache {}", facts.version, facts.cache_dir),
        };
        self.note(&line);
        (self.session.commands)(Command::Watch(None));
        self.ui.watched = Some(None);
        if let Some(request) = self.facts.pull.take() {
            self.ui.focus_on(super::pane::Pane::Files);
            self.perform(super::pulling::pull(&self.facts.clone(), request));
        } else if let Some(reference) = self.facts.open.take() {
            let effects = super::dialog::open_reference(&mut self.ui, &reference, &self.facts);
            self.perform(effects);
        }
    }

    fn hear(&mut self, heard: Heard) -> Option<u8> {
        let view = View {
            store: &self.store,
            facts: &self.facts,
            now_ms: self.clock.now_ms(),
        };
        let effects = match heard {
            Heard::Key(key) => update::press(&mut self.ui, view, key),
            Heard::Paste(text) => update::paste(&mut self.ui, view, &text),
            Heard::Resize => Vec::new(),
        };
        self.perform(effects)
    }

    /// What an event means for the dashboard itself.
    fn heed(&mut self, stamped: &Stamped) {
        if let Event::UnfinishedSeen { pulls } = &stamped.event {
            let effects = update::unfinished(&mut self.ui, &self.store, &self.facts, pulls);
            self.perform(effects);
        }
        let effects = mending::heed(&mut self.ui, &self.store, stamped);
        self.perform(effects);
        let Event::Ended(outcome) = &stamped.event else {
            return;
        };
        if !self.facts.exit_when_done || self.leaving.is_some() {
            return;
        }
        if self
            .store
            .pulls()
            .next()
            .is_some_and(|pull| pull.job() == stamped.job)
        {
            let code = match outcome {
                Outcome::Failed { failures } => exit_code(failures),
                Outcome::Cancelled => FailureCode::Cancelled.exit_code(),
                Outcome::Complete(_)
                | Outcome::Planned
                | Outcome::Listed
                | Outcome::Verified { .. }
                | Outcome::Purged(_)
                | Outcome::Fixed(_)
                | Outcome::Imported(_)
                | Outcome::Trashed(_) => 0,
            };
            self.leave(code);
        }
    }

    /// Begins to leave: what runs is stopped and kept.
    fn leave(&mut self, code: u8) {
        if self.leaving.is_some() {
            return;
        }
        (self.session.commands)(Command::Cancel(FileSelection::All));
        self.ui.overlay = None;
        self.ui
            .say("leaving; what is here is kept", self.clock.now_ms());
        self.leaving = Some(Leaving {
            code,
            until: Instant::now() + FAREWELL,
        });
    }

    /// Carries effects out; an exit code where that is the end.
    fn perform(&mut self, effects: Vec<Effect>) -> Option<u8> {
        for effect in effects {
            match effect {
                Effect::Send(command) => self.send(command),
                Effect::Log(line) => self.note(&line),
                Effect::Copy(text) => self.painter.say(&osc::copy(&text)),
                Effect::Remember(key, value) => {
                    if let Err(failure) = (self.session.remember)(key, &value) {
                        self.note(&format!("not kept: {failure}"));
                    }
                }
                Effect::Redraw => self.painter.redraw(),
                Effect::Suspend => self.painter.suspend(),
                Effect::Quit => self.leave(0),
                Effect::Abort => return Some(FailureCode::Cancelled.exit_code()),
            }
        }
        None
    }

    /// Sends a command; what was not taken is said, or asked for again with the next picture.
    fn send(&mut self, command: Command) {
        let (is_watch, is_list) = (
            matches!(command, Command::Watch(_)),
            matches!(command, Command::List(_)),
        );
        if (self.session.commands)(command) {
            return;
        }
        if is_watch {
            self.ui.watched = None;
        } else if is_list {
            self.ui.listed = None;
        } else {
            let now_ms = self.clock.now_ms();
            self.ui
                .refuse("larder is busy; that was not taken, try again", now_ms);
        }
    }

    /// A line of the dashboard's own in the log.
    fn note(&mut self, line: &str) {
        let stamped = Stamped {
            at_ms: self.clock.now_ms(),
            job: JobId::FACE,
            event: Event::Noted {
                note: line.to_owned(),
            },
        };
        reduce(&mut self.store, &stamped);
    }

    fn draw(&mut self) {
        let now_ms = self.clock.now_ms();
        let effects = {
            let view = View {
                store: &self.store,
                facts: &self.facts,
                now_ms,
            };
            update::follow(&mut self.ui, view)
        };
        self.perform(effects);
        let (width, height) = crossterm::terminal::size().unwrap_or((80, 24));
        let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
        let view = View {
            store: &self.store,
            facts: &self.facts,
            now_ms,
        };
        let cursor = view::draw(&mut buffer, &mut self.ui, view);
        self.painter.show(Picture {
            buffer,
            cursor,
            badge: badge(&self.store),
        });
    }
}

/// Hears that the process goes on after a stop, where that can be heard.
fn continued() -> Option<Signal> {
    let kind = SignalKind::from_raw(rustix::process::Signal::CONT.as_raw());
    signal(kind)
        .inspect_err(|error| tracing::warn!(%error, "SIGCONT cannot be heard"))
        .ok()
}

/// The next one; never where none can be heard.
async fn next_of(signals: &mut Option<Signal>) -> bool {
    match signals {
        Some(signals) => signals.recv().await.is_some(),
        None => std::future::pending().await,
    }
}

/// What the title bar says: how far the downloads are, and what went wrong.
fn badge(store: &Store) -> Badge {
    let (mut done, mut total, mut running) = (0, 0, 0);
    let mut has_failed = false;
    for pull in store.latest_pulls() {
        if pull.phase() == Phase::Ended {
            has_failed |= pull.result().is_none() && !pull.failures().is_empty();
            continue;
        }
        running += 1;
        let counts = pull.counts();
        done += counts.bytes_done;
        total += counts.bytes_total;
    }
    if running == 0 {
        return Badge {
            title: "larder".to_owned(),
            progress: None,
        };
    }
    let percent = words::percent(done, total);
    Badge {
        title: format!("larder {percent}%"),
        progress: Some((percent, has_failed)),
    }
}
