//! Owns the state of the terminal: raw mode, the second screen, and that both are taken back
//! whatever happens.
//!
//! **Law**: what `enter` changed, `leave` takes back, once, also from a panic. Bytes go through a
//! handle of our own: a write that hangs must not hold the lock of stdout.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ThreadId;

use crossterm::cursor::{Hide, Show};
use crossterm::event::{DisableBracketedPaste, EnableBracketedPaste};
use crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use crossterm::{Command as _, QueueableCommand as _};

use super::osc;

/// Whether the second screen is on.
static IS_ON: AtomicBool = AtomicBool::new(false);

/// Another handle on the terminal behind stdout.
pub(super) fn handle() -> io::Result<File> {
    Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?))
}

/// Takes the terminal over.
pub(super) fn enter(terminal: &mut File, has_title: bool) -> io::Result<()> {
    enable_raw_mode()?;
    IS_ON.store(true, Ordering::SeqCst);
    let mut bytes = Vec::new();
    bytes.queue(EnterAlternateScreen)?;
    bytes.queue(EnableBracketedPaste)?;
    bytes.queue(Hide)?;
    if has_title {
        bytes.extend_from_slice(osc::SAVE_TITLE.as_bytes());
    }
    let written = terminal.write_all(&bytes);
    if written.is_err() {
        leave(terminal, has_title);
    }
    written
}

/// Gives the terminal back. Does nothing where that was done already.
pub(super) fn leave(terminal: &mut File, has_title: bool) {
    if !IS_ON.swap(false, Ordering::SeqCst) {
        return;
    }
    // A terminal that is gone takes nothing back, and there is nobody to tell.
    drop(terminal.write_all(leaving(has_title).as_bytes()));
    drop(disable_raw_mode());
}

/// Gives back what needs no bytes, where the terminal does not read any.
pub(super) fn abandon() {
    if IS_ON.swap(false, Ordering::SeqCst) {
        drop(disable_raw_mode());
    }
}

fn leaving(has_title: bool) -> String {
    let mut text = String::new();
    if has_title {
        text.push_str(&osc::progress(None));
        text.push_str(osc::RESTORE_TITLE);
    }
    // Writing to a String cannot fail.
    let _ = Show.write_ansi(&mut text);
    let _ = DisableBracketedPaste.write_ansi(&mut text);
    let _ = LeaveAlternateScreen.write_ansi(&mut text);
    text
}

/// Makes a panic of the drawing thread give the terminal back before it is reported. Panics of
/// other threads are the engine's to tell: they must not print over the picture.
pub(super) fn guard_panics(own: &[ThreadId]) {
    let own = own.to_vec();
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !IS_ON.load(Ordering::SeqCst) {
            before(info);
        } else if own.contains(&std::thread::current().id()) {
            if let Ok(mut terminal) = handle() {
                leave(&mut terminal, false);
            }
            before(info);
        } else {
            tracing::error!(%info, "a task panicked");
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaving_takes_back_what_entering_did() {
        let text = leaving(true);
        for part in ["\x1b[?1049l", "\x1b[?25h", "\x1b[?2004l", "\x1b[23;2t"] {
            assert!(text.contains(part), "{text:?}");
        }
        assert!(!leaving(false).contains("9;4"));
    }
}
