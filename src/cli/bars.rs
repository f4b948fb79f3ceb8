//! Owns the bars of a terminal: one row per active file, the whole run below.
//!
//! Never decides what is true: rows are views of the store. **Law**: no row is wider than the
//! terminal, so nothing wraps and nothing is left behind.

use std::collections::BTreeMap;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output::Output;
use super::table::{cut, fit};
use crate::domain::{FileId, sanitize};
use crate::store::{
    FileStatus, FileView, Phase, Store, Verifying, duration, other_pull_line, size,
};

/// Columns of a bar where there is room for one.
const BAR: usize = 16;
/// Narrower terminals show numbers only.
const BAR_FROM: usize = 60;
/// More rows than this are a count.
const MOST_ROWS: usize = 10;

/// The bars.
pub(super) struct Bars {
    multi: MultiProgress,
    overall: ProgressBar,
    rows: BTreeMap<FileId, ProgressBar>,
    /// What is on the screen.
    shown: Option<Picture>,
    has_color: bool,
    /// How signs are drawn.
    output: Output,
}

/// What the bars show, fitted to the terminal.
#[derive(PartialEq, Eq)]
struct Picture {
    layout: Layout,
    rows: Vec<Row>,
    overall: String,
}

#[derive(PartialEq, Eq)]
struct Row {
    file: FileId,
    size_bytes: u64,
    bytes: u64,
    name: String,
    message: String,
}

impl Picture {
    fn of(store: &Store, now_ms: u64, layout: Layout, lines: u16, output: Output) -> Self {
        let most = usize::from(lines).saturating_sub(3).clamp(1, MOST_ROWS);
        let rows: Vec<Row> = store
            .files()
            .filter(|view| view.same_as.is_none() && view.status.is_active())
            .take(most)
            .map(|view| Row {
                file: view.file,
                size_bytes: view.size_bytes,
                bytes: view.bytes,
                name: output.drawn(&fit(&sanitize(view.path.as_str()), layout.name)),
                message: output.drawn(&cut(&row_message(store, &view, now_ms), layout.message)),
            })
            .collect();
        let hidden = store.counts().files_active.saturating_sub(rows.len());
        Self {
            layout,
            rows,
            overall: output.drawn(&cut(
                &overall_line(store, now_ms, hidden, layout.has_bar),
                layout.columns,
            )),
        }
    }
}

/// What fits into a row.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Layout {
    /// Columns that may be used: one less than there are, since some terminals wrap at the last.
    columns: usize,
    name: usize,
    has_bar: bool,
    message: usize,
}

impl Layout {
    fn new(columns: u16) -> Self {
        let columns = usize::from(columns).saturating_sub(1);
        let has_bar = columns + 1 >= BAR_FROM;
        let name = (columns / 3).clamp(8, 40).min(columns);
        let bar = if has_bar { BAR + 1 } else { 0 };
        Self {
            columns,
            name,
            has_bar,
            message: columns.saturating_sub(name + 1 + bar),
        }
    }
}

impl Bars {
    /// Bars on `target`.
    pub(super) fn new(target: ProgressDrawTarget, has_color: bool, output: Output) -> Self {
        let multi = MultiProgress::with_draw_target(target);
        let overall = multi.add(ProgressBar::no_length().with_style(style("{msg}", output)));
        Self {
            multi,
            overall,
            rows: BTreeMap::new(),
            shown: None,
            has_color,
            output,
        }
    }

    /// Prints a line above the bars.
    pub(super) fn println(&self, line: &str) {
        // A terminal that went away cannot be told so.
        let _ = self.multi.println(line);
    }

    /// Shows the store as it is at `now_ms`; draws only what changed.
    pub(super) fn refresh(&mut self, store: &Store, now_ms: u64, columns: u16, lines: u16) {
        let layout = Layout::new(columns);
        let picture = Picture::of(store, now_ms, layout, lines, self.output);
        if self.shown.as_ref() == Some(&picture) {
            return;
        }
        self.rows.retain(|file, row| {
            let stays = picture.rows.iter().any(|new| new.file == *file);
            if !stays {
                row.finish_and_clear();
                self.multi.remove(row);
            }
            stays
        });
        for new in &picture.rows {
            let style = row_style(layout, self.has_color, self.output);
            if let Some(row) = self.rows.get(&new.file) {
                row.set_style(style);
                row.set_position(new.bytes);
                row.set_prefix(new.name.clone());
                row.set_message(new.message.clone());
            } else {
                // Complete before it is shown, so that no half of it ever flashes up.
                let row = ProgressBar::hidden()
                    .with_style(style)
                    .with_prefix(new.name.clone())
                    .with_message(new.message.clone())
                    .with_position(new.bytes);
                row.set_length(new.size_bytes.max(1));
                let row = self.multi.insert_before(&self.overall, row);
                row.tick();
                self.rows.insert(new.file, row);
            }
        }
        self.overall.set_message(picture.overall.clone());
        self.overall.force_draw();
        self.shown = Some(picture);
    }

    /// Takes the bars away.
    pub(super) fn clear(&mut self) {
        let _ = self.multi.clear();
        // What is dropped from here on must not draw itself once more.
        self.multi.set_draw_target(ProgressDrawTarget::hidden());
        self.rows.clear();
        self.overall.finish_and_clear();
    }
}

fn style(template: &str, output: Output) -> ProgressStyle {
    // The templates are constants; were one wrong, the plain style would show.
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars(&output.drawn("█░"))
}

fn row_style(layout: Layout, has_color: bool, output: Output) -> ProgressStyle {
    let template = match (layout.has_bar, has_color) {
        (true, true) => "{prefix} {bar:16.cyan} {msg}",
        (true, false) => "{prefix} {bar:16} {msg}",
        (false, _) => "{prefix} {msg}",
    };
    style(template, output)
}

/// The words beside a file's bar.
fn row_message(store: &Store, view: &FileView<'_>, now_ms: u64) -> String {
    let of = || format!("{:>3}% of {}", view.percent(), size(view.size_bytes));
    match view.status {
        FileStatus::Downloading => {
            let speed = store.file_speed(view.file, now_ms);
            format!("{}  {}/s", of(), size(speed))
        }
        FileStatus::Stalled { silent_ms } => format!("{}  stalled {}", of(), duration(*silent_ms)),
        FileStatus::Waiting { lock } => {
            let whom = lock.program.as_deref().unwrap_or("another program");
            format!("waiting for {}", sanitize(whom))
        }
        FileStatus::Connecting { source } => format!("connecting to {}", sanitize(source)),
        FileStatus::Retrying {
            at_ms, failure, of, ..
        } => format!(
            "retrying in {} ({failure} of {of})",
            duration(at_ms.saturating_sub(now_ms))
        ),
        FileStatus::Verifying => format!("verifying {}", size(view.size_bytes)),
        FileStatus::Queued
        | FileStatus::Done
        | FileStatus::Reused { .. }
        | FileStatus::Failed { .. }
        | FileStatus::Cancelled
        | FileStatus::Paused => view.status.name().to_owned(),
    }
}

/// The line about the whole run.
fn overall_line(store: &Store, now_ms: u64, hidden: usize, has_bar: bool) -> String {
    if let Some(verifying) = store.shelf().verifying() {
        return verifying_line(verifying, now_ms, has_bar);
    }
    match store.phase() {
        Some(Phase::Fetching) => {}
        Some(Phase::Listing) => {
            if let Some(other) = store.waits_for() {
                return sanitize(&other_pull_line(other));
            }
            return store.target().map_or_else(String::new, |target| {
                sanitize(&if target.is_offline {
                    format!("offline, looking for {} in the cache", target.repo)
                } else {
                    format!("asking {} for {}", target.endpoint, target.repo)
                })
            });
        }
        Some(Phase::Ended) | None => return String::new(),
    }
    let counts = store.counts();
    let mut parts = vec![
        format!("{} of {} files", counts.files_done, counts.files_total),
        format!(
            "{} of {}",
            size(counts.bytes_done),
            size(counts.bytes_total)
        ),
    ];
    let speed = store.speed(now_ms);
    if speed > 0 {
        parts.push(format!("{}/s", size(speed)));
    }
    if let Some(eta_ms) = store.eta_ms(now_ms) {
        parts.push(format!("{} left", duration(eta_ms)));
    }
    for (number, words) in [
        (hidden, "more active"),
        (counts.files_queued, "queued"),
        (counts.files_failed, "failed"),
    ] {
        if number > 0 {
            parts.push(format!("{number} {words}"));
        }
    }
    parts.join(" · ")
}

/// The line about hashing what is here.
fn verifying_line(verifying: &Verifying, now_ms: u64, has_bar: bool) -> String {
    let percent = verifying.percent();
    let done = usize::try_from(percent).map_or(BAR, |percent| BAR * percent.min(100) / 100);
    let bar = if has_bar {
        format!("{}{} ", "█".repeat(done), "░".repeat(BAR - done))
    } else {
        String::new()
    };
    let mut parts = vec![format!(
        "{bar}{percent:>3}% of {}",
        size(verifying.bytes_total)
    )];
    let speed = verifying.speed(now_ms);
    if speed > 0 {
        parts.push(format!("{}/s", size(speed)));
    }
    if let Some(eta_ms) = verifying.eta_ms(now_ms) {
        parts.push(format!("{} left", duration(eta_ms)));
    }
    parts.push(sanitize(&verifying.path));
    parts.join(" · ")
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use indicatif::TermLike;
    use unicode_width::UnicodeWidthStr as _;

    use super::*;
    use crate::domain::{Event, RepoPath};
    use crate::store::script::{Script, plan};

    /// A terminal in memory.
    #[derive(Clone)]
    struct Screen(Arc<Mutex<vt100::Parser>>);

    impl Screen {
        fn new(rows: u16, columns: u16) -> Self {
            Self(Arc::new(Mutex::new(vt100::Parser::new(
                rows.try_into().unwrap(),
                columns.try_into().unwrap(),
                0,
            ))))
        }

        /// The lines in use. Row by row: indicatif lets full lines run into the next.
        fn text(&self) -> String {
            let parser = self.0.lock().unwrap();
            let screen = parser.screen();
            let rows: Vec<String> = screen.rows(0, screen.size().1.get()).collect();
            let used = rows.iter().rposition(|row| !row.trim().is_empty());
            let mut text = String::new();
            for row in &rows[..used.map_or(0, |last| last + 1)] {
                text.extend(["|", row.trim_end(), "\n"]);
            }
            text
        }

        fn put(&self, text: &str) {
            self.0.lock().unwrap().process(text.as_bytes());
        }

        /// Moves the cursor; a count of 0 would mean 1 to a terminal.
        fn step(&self, n: usize, direction: char) {
            if n > 0 {
                self.put(&format!("\x1b[{n}{direction}"));
            }
        }
    }

    impl std::fmt::Debug for Screen {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Screen")
        }
    }

    impl TermLike for Screen {
        fn width(&self) -> u16 {
            self.0.lock().unwrap().screen().size().1.get()
        }
        fn height(&self) -> u16 {
            self.0.lock().unwrap().screen().size().0.get()
        }
        fn move_cursor_up(&self, n: usize) -> io::Result<()> {
            self.step(n, 'A');
            Ok(())
        }
        fn move_cursor_down(&self, n: usize) -> io::Result<()> {
            self.step(n, 'B');
            Ok(())
        }
        fn move_cursor_right(&self, n: usize) -> io::Result<()> {
            self.step(n, 'C');
            Ok(())
        }
        fn move_cursor_left(&self, n: usize) -> io::Result<()> {
            self.step(n, 'D');
            Ok(())
        }
        fn write_line(&self, s: &str) -> io::Result<()> {
            self.put(&format!("{s}\r\n"));
            Ok(())
        }
        fn write_str(&self, s: &str) -> io::Result<()> {
            self.put(s);
            Ok(())
        }
        fn clear_line(&self) -> io::Result<()> {
            self.put("\r\x1b[2K");
            Ok(())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn shown(script: &Script, columns: u16) -> String {
        let screen = Screen::new(24, columns);
        let target = ProgressDrawTarget::term_like(Box::new(screen.clone()));
        let mut bars = Bars::new(target, false, Output::default());
        bars.println("a line above");
        bars.refresh(&script.fold(), script.now_ms(), columns, 24);
        let text = screen.text();
        bars.clear();
        assert_eq!(
            screen.text().trim_end(),
            "|a line above",
            "nothing is left behind"
        );
        text
    }

    fn busy() -> Script {
        let mut script = Script::planned()
            .connecting(0, 1)
            .downloading(2, 1, 5_000_000)
            .connecting(3, 1)
            .downloading(3, 1, 0);
        for tick in 1..=30 {
            script = script.progress(100, 3, 1, tick * 20_000_000);
        }
        script
            .then(
                5_000,
                Event::Stalled {
                    file: FileId(2),
                    attempt: 1,
                    silent_ms: 5_000,
                },
            )
            .progress(100, 3, 1, 700_000_000)
    }

    #[test]
    fn a_terminal_of_80_columns() {
        insta::assert_snapshot!(shown(&busy(), 80));
    }

    #[test]
    fn a_narrow_terminal() {
        insta::assert_snapshot!(shown(&busy(), 40));
    }

    #[test]
    fn hashing_is_one_line() {
        let mut script = Script::verified();
        script.events.truncate(25);
        let store = script.fold();
        let verifying = store.shelf().verifying().unwrap();
        let now_ms = store.last_ms().unwrap();
        assert_eq!(
            verifying_line(verifying, now_ms, true),
            "███████░░░░░░░░░  48% of 2.70 GB · 270 MB/s · 5.2 s left · model.safetensors"
        );
        assert!(verifying_line(verifying, now_ms, false).starts_with(" 48% of"));
        let text = shown(&script, 40);
        assert_eq!(text.lines().count(), 2, "{text}");
    }

    #[test]
    fn many_files_are_a_count() {
        let mut plan = plan();
        let file = plan.files[0].clone();
        plan.files = (0..1_000)
            .map(|id| {
                let mut file = file.clone();
                file.file = FileId(id);
                file.path = RepoPath::new(&format!("部分/模型-{id:05}-🦙-{}.bin", "x".repeat(150)))
                    .unwrap();
                file
            })
            .collect();
        let mut script = Script::planned().then(0, Event::Planned(plan));
        for file in 0..40 {
            script = script.connecting(file, 1);
        }
        for columns in [20, 40, 80, 200] {
            let text = shown(&script, columns);
            assert_eq!(
                text.lines().count(),
                12,
                "a line, ten rows, the whole:\n{text}"
            );
            for line in text.lines() {
                assert!(line.width() <= usize::from(columns) + 1, "{line}");
            }
        }
        let text = shown(&script, 120);
        assert!(text.contains("30 more active · 960 queued"), "{text}");
    }

    #[test]
    fn rows_come_and_go_without_a_trace() {
        let screen = Screen::new(24, 80);
        let target = ProgressDrawTarget::term_like(Box::new(screen.clone()));
        let mut bars = Bars::new(target, false, Output::default());
        let mut store = Store::default();
        let script = Script::complete();
        for stamped in &script.events {
            crate::store::reduce(&mut store, stamped);
            bars.refresh(&store, stamped.at_ms, 80, 24);
            let active = store
                .files()
                .filter(|view| view.same_as.is_none() && view.status.is_active())
                .count();
            let shown = screen.text().lines().filter(|line| line.len() > 1).count();
            let overall = usize::from(!matches!(store.phase(), None | Some(Phase::Ended)));
            assert_eq!(
                shown,
                active + overall,
                "{:?}\n{}",
                stamped.event,
                screen.text()
            );
        }
    }
}
