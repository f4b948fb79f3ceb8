//! Owns stderr: lines of the log, bars, failures. Stdout is `print`'s.
//!
//! Never holds facts: what is said is read from the store. A stderr that cannot be written is
//! nobody's business, and is ignored.

use std::io::{self, Write};
use std::path::Path;

use indicatif::ProgressDrawTarget;

use super::bars::Bars;
use super::exit::Ending;
use super::output::{DEFAULT_COLUMNS, DEFAULT_ROWS, Output};
use super::remedy::{self, Subject};
use crate::domain::{Outcome, sanitize};
use crate::store::{Intent, Level, LogLine, Store, size};

/// Failures told in full; the rest is a count, and `--json` has them all.
const TOLD: usize = 5;
/// Redraws a second.
const REDRAWS: u8 = 10;

/// Talks to the user.
pub(super) struct Talk<'a> {
    sink: Box<dyn Write + 'a>,
    output: Output,
    /// Made when there is something to draw; gone for good after [`Talk::settle`].
    bars: Option<Bars>,
    has_bars: bool,
    /// Log lines said so far.
    said: u64,
    /// Whether the plan's files are still to be listed.
    lists_files: bool,
    /// Whether the log is said at all.
    says_log: bool,
    /// Tenths of verifying said so far.
    tenths: u64,
}

impl<'a> Talk<'a> {
    /// On standard error.
    pub(super) fn stderr(output: Output) -> Talk<'static> {
        Talk {
            has_bars: output.has_bars,
            ..Talk::new(io::stderr(), output)
        }
    }

    /// On any writer, without bars.
    pub(super) fn new(sink: impl Write + 'a, output: Output) -> Self {
        Self {
            sink: Box::new(sink),
            output,
            bars: None,
            has_bars: false,
            said: 0,
            lists_files: !output.has_bars,
            says_log: true,
            tenths: 0,
        }
    }

    /// Leaves out the list of files, for a command whose stdout has it.
    pub(super) const fn without_files(mut self) -> Self {
        self.lists_files = false;
        self
    }

    /// Leaves out the log, for a command whose stdout has it all, unless more was asked for.
    pub(super) const fn without_log(mut self) -> Self {
        self.says_log = self.output.verbose > 0;
        self
    }

    /// Says the log from now on.
    pub(super) fn say_log(&mut self) {
        self.says_log = true;
    }

    /// Leaves it out again, unless more was asked for.
    pub(super) fn hide_log(&mut self) {
        self.says_log = self.output.verbose > 0;
    }

    /// Says what no document and no table has, where the log is left out.
    pub(super) fn note(&mut self, note: &str) {
        if !self.says_log {
            self.remark(note);
        }
    }

    /// Says what the log has that was not said yet.
    pub(super) fn update(&mut self, store: &Store) {
        let log = store.log();
        for line in log.since(self.said) {
            record(line.level, &line.text);
        }
        // How a command failed is told at its end, with what to do next.
        let told_later: Vec<String> = match &store.listing().outcome {
            Some(Outcome::Failed { failures }) => {
                failures.iter().map(ToString::to_string).collect()
            }
            _ => Vec::new(),
        };
        let lines: Vec<String> = log
            .since(self.said)
            .filter(|line| self.is_wanted(line) && !told_later.contains(&line.text))
            .map(|line| self.painted(line))
            .collect();
        self.said = log.written();
        for line in lines {
            self.line(&line);
        }
        self.tell_tenths(store);
        if self.lists_files && store.plan().is_some() {
            self.lists_files = false;
            if !self.output.is_quiet {
                self.list_files(store);
            }
        }
    }

    /// Says every tenth of verifying, where no bar shows it.
    fn tell_tenths(&mut self, store: &Store) {
        let Some(verifying) = store.shelf().verifying() else {
            return;
        };
        let tenths = verifying.percent() / 10;
        if self.has_bars || self.output.is_quiet || tenths <= self.tenths {
            return;
        }
        self.tenths = tenths;
        let line = format!(
            "verifying: {} % of {}, {} of {} files",
            tenths * 10,
            size(verifying.bytes_total),
            verifying.files_done,
            verifying.files_total,
        );
        self.line(&line);
    }

    /// Draws the bars of a pull or of verifying, where bars are wanted.
    pub(super) fn draw(&mut self, store: &Store, now_ms: u64) {
        let is_idle = store.phase().is_none() && store.shelf().verifying().is_none();
        if !self.has_bars || is_idle {
            return;
        }
        let terminal = self.output.stderr;
        let bars = self.bars.get_or_insert_with(|| {
            Bars::new(
                ProgressDrawTarget::stderr_with_hz(REDRAWS),
                terminal.has_color,
                self.output,
            )
        });
        let (columns, rows) = terminal_size::terminal_size_of(io::stderr()).map_or(
            (
                terminal.columns.unwrap_or(DEFAULT_COLUMNS),
                terminal.rows.unwrap_or(DEFAULT_ROWS),
            ),
            |(width, height)| (width.0, height.0),
        );
        bars.refresh(store, now_ms, columns, rows);
    }

    /// Whether [`Talk::draw`] may show anything.
    pub(super) const fn is_drawing(&self) -> bool {
        self.has_bars
    }

    /// Takes the bars away; what follows are lines.
    pub(super) fn settle(&mut self) {
        self.has_bars = false;
        if let Some(mut bars) = self.bars.take() {
            bars.clear();
        }
    }

    /// Says a line, unless quiet was asked for.
    pub(super) fn remark(&mut self, text: &str) {
        if !self.output.is_quiet {
            self.line(text);
        }
    }

    /// Tells every failure in three lines, and where the log is.
    pub(super) fn failures(
        &mut self,
        ending: &Ending,
        subject: Subject<'_>,
        log_file: Option<&Path>,
    ) {
        if ending.failures.is_empty() {
            return;
        }
        for failure in &ending.failures {
            let told = remedy::tell(failure, subject);
            record(
                Level::Error,
                &sanitize(&format!("{}: {}", told.what, told.why)),
            );
        }
        for failure in ending.failures.iter().take(TOLD) {
            let told = remedy::tell(failure, subject);
            let what = self.paint(Level::Error, &format!("error: {}", sanitize(&told.what)));
            self.line(&what);
            self.line(&format!("  why:  {}", sanitize(&told.why)));
            self.line(&format!("  next: {}", sanitize(&told.next)));
        }
        let more = ending.failures.len().saturating_sub(TOLD);
        if more > 0 {
            self.line(&format!("and {more} more; `--json` lists them all"));
        }
        if let Some(path) = log_file {
            self.line(&format!(
                "  log:  {}",
                sanitize(&path.display().to_string())
            ));
        }
    }

    fn is_wanted(&self, line: &LogLine) -> bool {
        if self.output.is_quiet || !self.says_log {
            return false;
        }
        // Bars show the small steps; lines have to say them.
        let least = if self.has_bars && self.output.verbose == 0 {
            Level::Info
        } else {
            Level::Debug
        };
        line.level >= least
    }

    fn painted(&self, line: &LogLine) -> String {
        self.paint(line.level, &line.text)
    }

    /// Colour beside the words that say the same.
    fn paint(&self, level: Level, text: &str) -> String {
        if !self.output.stderr.has_color {
            return text.to_owned();
        }
        match level {
            Level::Debug | Level::Info => text.to_owned(),
            Level::Warning => format!("\u{1b}[33m{text}\u{1b}[0m"),
            Level::Error => format!("\u{1b}[31m{text}\u{1b}[0m"),
        }
    }

    fn list_files(&mut self, store: &Store) {
        let lines: Vec<String> = store
            .files()
            .enumerate()
            .map(|(at, view)| {
                let what = match view.intent {
                    Intent::Fetch => "to fetch",
                    Intent::Resume => "to resume",
                    Intent::Reuse => "here already",
                    Intent::Same => "same content as another",
                };
                format!(
                    "{}. {}, {}, {what}",
                    at + 1,
                    sanitize(view.path.as_str()),
                    size(view.size_bytes)
                )
            })
            .collect();
        for line in lines {
            self.line(&line);
        }
    }

    /// Puts a question, whose answer ends the line. Who is asked must see it, also when quiet.
    pub(super) fn ask(&mut self, text: &str) {
        self.settle();
        let text = self.output.drawn(text);
        let _ = self
            .sink
            .write_all(text.as_bytes())
            .and_then(|()| self.sink.flush());
    }

    fn line(&mut self, text: &str) {
        let text = &self.output.drawn(text);
        match &self.bars {
            Some(bars) => bars.println(text),
            None => {
                let _ = self
                    .sink
                    .write_all(format!("{text}\n").as_bytes())
                    .and_then(|()| self.sink.flush());
            }
        }
    }
}

/// Writes a line to the log file too, whatever the terminal is shown.
fn record(level: Level, text: &str) {
    match level {
        Level::Debug => tracing::debug!("{text}"),
        Level::Info => tracing::info!("{text}"),
        Level::Warning => tracing::warn!("{text}"),
        Level::Error => tracing::error!("{text}"),
    }
}

/// Says a line on stderr, unless quiet was asked for: the narration of `demo`.
pub fn say(output: &Output, text: &str) {
    Talk::new(io::stderr(), *output).remark(&sanitize(text));
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::domain::{Failure, FailureCode};

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_log_file_holds_every_failure_also_when_quiet() {
        let kept = Kept::default();
        let writer = kept.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .finish();
        let ending = Ending {
            outcome: "failed",
            exit_code: 6,
            failures: (0..=TOLD)
                .map(|at| Failure::new(FailureCode::Server, format!("file {at}")).because("502"))
                .collect(),
        };
        let mut output = super::super::stage::human();
        output.is_quiet = true;
        tracing::subscriber::with_default(subscriber, || {
            Talk::new(io::sink(), output).failures(&ending, Subject::default(), None);
        });
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        for at in 0..=TOLD {
            let line = format!("server: file {at}: 502");
            assert!(text.contains("ERROR") && text.contains(&line), "{text}");
        }
    }
}
