//! The real binary on a terminal: what it shows, what it is sent, keys and signals.
//!
//! Every wait has a deadline.

use std::io::{Read as _, Write};
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use rustix::process::{Pid, Signal, kill_process};

use super::program::{DEADLINE, Home, wait_until};

/// What the terminal shows, and all that it was ever sent.
pub(crate) struct Shown {
    pub(crate) parser: vt100::Parser,
    pub(crate) sent: Vec<u8>,
    /// Rows with bars whose text reached the last column, at any moment.
    pub(crate) wrapped: Vec<String>,
    /// Whether the window was closed: nothing is read any more.
    pub(crate) is_closed: bool,
    /// Whether nobody reads what is sent, although the window is there.
    pub(crate) is_deaf: bool,
}

/// A terminal with larder in it.
pub(crate) struct Terminal {
    pub(crate) master: Option<Box<dyn MasterPty + Send>>,
    pub(crate) keys: Box<dyn Write + Send>,
    pub(crate) child: Box<dyn Child + Send + Sync>,
    pub(crate) shown: Arc<Mutex<Shown>>,
}

fn size(rows: u16, columns: u16) -> PtySize {
    PtySize {
        rows,
        cols: columns,
        ..PtySize::default()
    }
}

fn extent(cells: u16) -> NonZeroU16 {
    NonZeroU16::new(cells).unwrap()
}

impl Terminal {
    /// Starts `larder` with these words on 80×24.
    pub(crate) fn start(home: &Home, words: &[&str]) -> Self {
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_larder"));
        command.args(words);
        Self::spawn(home, command)
    }

    /// Starts a shell that ends in `exec "$@"` with larder and these words.
    pub(crate) fn script(home: &Home, script: &str, words: &[&str]) -> Self {
        let mut command = CommandBuilder::new("/bin/sh");
        command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_larder")]);
        command.args(words);
        Self::spawn(home, command)
    }

    /// Starts another program with these words.
    pub(crate) fn program(home: &Home, program: &std::path::Path, words: &[&str]) -> Self {
        let mut command = CommandBuilder::new(program);
        command.args(words);
        Self::spawn(home, command)
    }

    pub(crate) fn spawn(home: &Home, mut command: CommandBuilder) -> Self {
        command.env_clear();
        command.env("TERM", "xterm-256color");
        for (name, value) in home.environment() {
            command.env(name, value);
        }
        command.cwd(home.path());
        let pty = native_pty_system().openpty(size(24, 80)).unwrap();
        let child = pty.slave.spawn_command(command).unwrap();
        let mut reader = pty.master.try_clone_reader().unwrap();
        let keys = pty.master.take_writer().unwrap();
        let shown = Arc::new(Mutex::new(Shown {
            parser: vt100::Parser::new(extent(24), extent(80), 200),
            sent: Vec::new(),
            wrapped: Vec::new(),
            is_closed: false,
            is_deaf: false,
        }));
        let screen = Arc::clone(&shown);
        // Ends when the last of the other side's handles is closed.
        std::thread::spawn(move || {
            let mut bytes = [0; 4_096];
            while let Ok(read @ 1..) = reader.read(&mut bytes) {
                while screen.lock().unwrap().is_deaf {
                    std::thread::sleep(Duration::from_millis(20));
                }
                let mut shown = screen.lock().unwrap();
                if shown.is_closed {
                    return;
                }
                shown.take(&bytes[..read]);
            }
        });
        Self {
            master: Some(pty.master),
            keys,
            child,
            shown,
        }
    }

    pub(crate) fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap()
    }

    /// The lines on the screen.
    pub(crate) fn screen(&self) -> String {
        self.shown().text()
    }

    #[track_caller]
    pub(crate) fn wait_for(&self, what: &str, mut is_shown: impl FnMut(&str) -> bool) {
        let until = Instant::now() + DEADLINE;
        loop {
            let screen = self.screen();
            if is_shown(&screen) {
                return;
            }
            assert!(Instant::now() < until, "no {what} on\n{screen}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn resize(&self, rows: u16, columns: u16) {
        // The lock keeps what is drawn for one size from being shown in the other.
        let mut shown = self.shown();
        shown
            .parser
            .screen_mut()
            .set_size(extent(rows), extent(columns));
        let master = self.master.as_ref().unwrap();
        master.resize(size(rows, columns)).unwrap();
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    pub(crate) fn kill(&self, signal: Signal) {
        let pid = i32::try_from(self.child.process_id().unwrap()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// The exit code, once everything that was sent is on the screen.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> u32 {
        let mut status = None;
        wait_until("the end of the run", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        let status = status.unwrap();
        assert_eq!(status.signal(), None, "{}", self.screen());
        status.exit_code()
    }

    /// Whether the terminal is in the mode in which a shell left it.
    pub(crate) fn echoes(&self) -> bool {
        let termios = self.master.as_ref().and_then(|master| master.get_termios());
        termios.is_none_or(|termios| termios.local_flags.bits() & libc::ECHO != 0)
    }

    /// Reads nothing more of what is sent; the window stays.
    pub(crate) fn stop_reading(&self) {
        self.shown().is_deaf = true;
    }

    /// Closes the window, as soon as something more is drawn on it.
    pub(crate) fn close(&mut self) {
        self.shown().is_closed = true;
        self.master = None;
        self.keys = Box::new(std::io::sink());
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A run that has ended cannot be killed, and that is well.
        self.shown().is_deaf = false;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Shown {
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        self.sent.extend_from_slice(bytes);
        self.parser.process(bytes);
        let screen = self.parser.screen();
        let columns = screen.size().1.get();
        for (at, row) in (0..).zip(screen.rows(0, columns)) {
            // Rows are filled with blanks and run into the next one; text must not.
            let last = screen.cell(at, columns - 1);
            let is_full = last.is_some_and(|cell| !cell.contents().trim().is_empty());
            if is_full && is_drawn(&row) && !self.wrapped.contains(&row) {
                self.wrapped.push(row);
            }
        }
    }

    pub(crate) fn text(&self) -> String {
        let screen = self.parser.screen();
        let rows: Vec<String> = screen.rows(0, screen.size().1.get()).collect();
        rows.join("\n")
    }
}

/// Whether a row is one of the bars' rows.
pub(crate) fn is_drawn(row: &str) -> bool {
    row.contains(['█', '░']) || is_whole(row)
}

/// Whether a row is the one about the whole run: `2 of 6 files · …`.
pub(crate) fn is_whole(row: &str) -> bool {
    row.contains(" of ") && row.contains(" files · ")
}
