//! Owns the drawing thread: the newest picture is drawn, older ones are forgotten.
//!
//! **Law**: whoever hands a picture over never waits for the terminal; where two pictures are the
//! same, no byte is sent.

use std::fs::File;
use std::io::{self, Write as _};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossterm::QueueableCommand as _;
use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::terminal::{BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate};
use ratatui::backend::{Backend as _, CrosstermBackend};
use ratatui::buffer::Buffer;
use ratatui::layout::Position;

use super::osc::{self, Badge};
use super::terminal;

/// How long the end may wait for a terminal that does not read.
const PATIENCE: Duration = Duration::from_millis(800);

/// How long a stop may take to come.
const STOP_WITHIN: Duration = Duration::from_secs(1);

/// A picture with what belongs to it.
#[derive(Clone, Debug)]
pub(super) struct Picture {
    pub(super) buffer: Buffer,
    pub(super) cursor: Option<Position>,
    pub(super) badge: Badge,
}

/// What the terminal can do beyond cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    /// It shows a whole update at once (DEC mode 2026).
    pub has_sync: bool,
    /// Its title may be set.
    pub has_title: bool,
    /// It knows OSC 9;4.
    pub has_progress: bool,
}

#[derive(Default)]
struct Desk {
    picture: Option<Picture>,
    /// Bytes to send as they are, e.g. for the clipboard.
    words: String,
    /// Everything is to be drawn again.
    is_stale: bool,
    wants_suspend: bool,
    /// The process was continued after a stop.
    is_continued: bool,
    wants_end: bool,
    has_ended: bool,
    /// Why the terminal takes nothing any more.
    error: Option<String>,
}

struct Shared {
    desk: Mutex<Desk>,
    changed: Condvar,
}

impl Shared {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The hand that gives pictures to the thread.
pub(super) struct Painter {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Painter {
    /// Takes the terminal over and starts the thread.
    pub(super) fn start(abilities: Abilities) -> io::Result<Self> {
        let mut terminal = terminal::handle()?;
        terminal::enter(&mut terminal, abilities.has_title)?;
        let shared = Arc::new(Shared {
            desk: Mutex::new(Desk {
                is_stale: true,
                ..Desk::default()
            }),
            changed: Condvar::new(),
        });
        let canvas = Canvas {
            terminal,
            abilities,
            shown: None,
            badge: Badge::default(),
        };
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("painter".to_owned())
            .spawn(move || work(&theirs, canvas))
            .inspect_err(|_| terminal::abandon())?;
        terminal::guard_panics(&[std::thread::current().id(), thread.thread().id()]);
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Hands a picture over; one that was not drawn yet is forgotten.
    pub(super) fn show(&self, picture: Picture) {
        self.shared.desk().picture = Some(picture);
        self.shared.changed.notify_one();
    }

    /// Sends bytes as they are.
    pub(super) fn say(&self, words: &str) {
        self.shared.desk().words.push_str(words);
        self.shared.changed.notify_one();
    }

    /// Draws everything again with the next picture.
    pub(super) fn redraw(&self) {
        self.shared.desk().is_stale = true;
        self.shared.changed.notify_one();
    }

    /// Gives the terminal back and stops the process, as job control does.
    pub(super) fn suspend(&self) {
        self.shared.desk().wants_suspend = true;
        self.shared.changed.notify_one();
    }

    /// The process was continued: what stands on the terminal is not known any more.
    pub(super) fn continued(&self) {
        let mut desk = self.shared.desk();
        desk.is_continued = true;
        desk.is_stale = true;
        drop(desk);
        self.shared.changed.notify_all();
    }

    /// Why the terminal takes nothing any more, if it does not.
    pub(super) fn error(&self) -> Option<String> {
        self.shared.desk().error.clone()
    }

    /// Gives the terminal back; whether it took that.
    pub(super) fn end(mut self) -> bool {
        self.shared.desk().wants_end = true;
        self.shared.changed.notify_one();
        let (desk, timeout) = self
            .shared
            .changed
            .wait_timeout_while(self.shared.desk(), PATIENCE, |desk| !desk.has_ended)
            .unwrap_or_else(PoisonError::into_inner);
        let has_ended = desk.has_ended;
        drop(desk);
        if timeout.timed_out() && !has_ended {
            // The thread hangs in a write; it ends with the process.
            terminal::abandon();
            return false;
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the drawing thread panicked");
        }
        true
    }
}

fn work(shared: &Shared, mut canvas: Canvas) {
    loop {
        let mut desk = shared.desk();
        while desk.picture.is_none()
            && desk.words.is_empty()
            && !desk.wants_end
            && !desk.wants_suspend
        {
            desk = shared
                .changed
                .wait(desk)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if desk.wants_end {
            drop(desk);
            terminal::leave(&mut canvas.terminal, canvas.abilities.has_title);
            shared.desk().has_ended = true;
            shared.changed.notify_all();
            return;
        }
        let wants_suspend = std::mem::take(&mut desk.wants_suspend);
        let picture = desk.picture.take();
        let words = std::mem::take(&mut desk.words);
        let is_stale = std::mem::take(&mut desk.is_stale);
        drop(desk);
        let drawn = if wants_suspend {
            canvas.suspend(shared)
        } else {
            canvas.draw(picture, &words, is_stale)
        };
        if let Err(error) = drawn {
            shared.desk().error = Some(error.to_string());
        }
    }
}

/// The terminal and what stands on it.
struct Canvas {
    terminal: File,
    abilities: Abilities,
    shown: Option<Picture>,
    badge: Badge,
}

impl Canvas {
    fn draw(&mut self, picture: Option<Picture>, words: &str, is_stale: bool) -> io::Result<()> {
        let mut bytes = words.as_bytes().to_vec();
        if is_stale && let Some(shown) = &mut self.shown {
            // Nothing is known of what stands there.
            shown.buffer.area.width = 0;
        }
        if let Some(picture) = picture {
            let cells = encode(self.shown.as_ref(), &picture)?;
            if !cells.is_empty() {
                if self.abilities.has_sync {
                    bytes.queue(BeginSynchronizedUpdate)?;
                }
                bytes.extend_from_slice(&cells);
                if self.abilities.has_sync {
                    bytes.queue(EndSynchronizedUpdate)?;
                }
            }
            self.say_badge(&mut bytes, &picture.badge);
            self.shown = Some(picture);
        }
        if bytes.is_empty() {
            return Ok(());
        }
        self.terminal.write_all(&bytes)
    }

    fn say_badge(&mut self, bytes: &mut Vec<u8>, badge: &Badge) {
        if self.abilities.has_title && badge.title != self.badge.title {
            bytes.extend_from_slice(osc::title(&badge.title).as_bytes());
        }
        if self.abilities.has_progress && badge.progress != self.badge.progress {
            bytes.extend_from_slice(osc::progress(badge.progress).as_bytes());
        }
        self.badge = badge.clone();
    }

    /// Back to the shell until somebody continues the process.
    fn suspend(&mut self, shared: &Shared) -> io::Result<()> {
        shared.desk().is_continued = false;
        terminal::leave(&mut self.terminal, self.abilities.has_title);
        // The whole group, so that a script around us stops, too.
        rustix::process::kill_current_process_group(rustix::process::Signal::TSTP)?;
        // The stop may come a moment later, in another thread; and where nobody does job control
        // it does not come at all.
        drop(
            shared
                .changed
                .wait_timeout_while(shared.desk(), STOP_WITHIN, |desk| !desk.is_continued)
                .unwrap_or_else(PoisonError::into_inner),
        );
        terminal::enter(&mut self.terminal, self.abilities.has_title)?;
        let again = self.shown.take();
        self.badge = Badge::default();
        self.draw(again, "", true)
    }
}

/// The bytes that make one picture of another; none where they are the same.
fn encode(before: Option<&Picture>, after: &Picture) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let empty;
    let is_new = before.is_none_or(|before| before.buffer.area != after.buffer.area);
    let old = match before {
        Some(before) if !is_new => &before.buffer,
        _ => {
            bytes.queue(Clear(ClearType::All))?;
            empty = Buffer::empty(after.buffer.area);
            &empty
        }
    };
    let mut changes = old.diff_iter(&after.buffer).peekable();
    if changes.peek().is_some() {
        CrosstermBackend::new(&mut bytes).draw(changes)?;
    }
    let had_cursor = before.and_then(|before| before.cursor);
    let has_changed = is_new || had_cursor != after.cursor || !bytes.is_empty();
    match after.cursor {
        // Drawing moved the cursor; a field wants it back.
        Some(at) if has_changed => {
            bytes.queue(MoveTo(at.x, at.y))?;
            if had_cursor.is_none() || is_new {
                bytes.queue(Show)?;
            }
        }
        None if had_cursor.is_some() => {
            bytes.queue(Hide)?;
        }
        _ => {}
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use ratatui::layout::Rect;
    use ratatui::style::Style;

    use super::*;

    fn picture(text: &str, cursor: Option<Position>) -> Picture {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 20, 2));
        buffer.set_string(0, 0, text, Style::new());
        Picture {
            buffer,
            cursor,
            badge: Badge::default(),
        }
    }

    #[test]
    fn the_same_picture_costs_no_byte() {
        let one = picture("larder", None);
        assert!(encode(Some(&one), &one.clone()).unwrap().is_empty());
        let field = picture("larder", Some(Position::new(3, 0)));
        assert!(encode(Some(&field), &field.clone()).unwrap().is_empty());
    }

    #[test]
    fn only_what_changed_is_sent() {
        let sent = encode(
            Some(&picture("larder 1 %", None)),
            &picture("larder 2 %", None),
        );
        let sent = String::from_utf8(sent.unwrap()).unwrap();
        assert!(sent.contains('2') && !sent.contains("larder"), "{sent:?}");
        let sent = encode(None, &picture("larder", None)).unwrap();
        let sent = String::from_utf8(sent).unwrap();
        assert!(sent.contains("\x1b[2J") && sent.contains("larder"));
    }

    #[test]
    fn a_field_gets_its_cursor_back_and_gives_it_up() {
        let (plain, field) = (picture("x", None), picture("y", Some(Position::new(1, 0))));
        let sent = String::from_utf8(encode(Some(&plain), &field).unwrap()).unwrap();
        assert!(sent.ends_with("\x1b[1;2H\x1b[?25h"), "{sent:?}");
        let sent = String::from_utf8(encode(Some(&field), &plain).unwrap()).unwrap();
        assert!(sent.ends_with("\x1b[?25l"), "{sent:?}");
    }
}
