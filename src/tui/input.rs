//! Owns hearing the terminal: a thread that waits for keys, pasted text and new sizes.
//!
//! Never says what a key means. The thread ends with the process or with the terminal.

use std::io;

use crossterm::event::{Event, read};
use tokio::sync::mpsc;

use super::keymap::Key;

/// Keys that may wait.
const WAITING: usize = 256;

/// What the terminal said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// A key.
    Key(Key),
    /// Pasted text.
    Paste(String),
    /// It has another size.
    Resize,
}

/// Starts to listen.
pub(super) fn listen() -> io::Result<mpsc::Receiver<Heard>> {
    let (sender, receiver) = mpsc::channel(WAITING);
    std::thread::Builder::new()
        .name("input".to_owned())
        .spawn(move || {
            loop {
                let heard = match read() {
                    Ok(Event::Key(event)) => Key::from_event(&event).map(Heard::Key),
                    Ok(Event::Paste(text)) => Some(Heard::Paste(text)),
                    Ok(Event::Resize(..)) => Some(Heard::Resize),
                    Ok(Event::FocusGained | Event::FocusLost | Event::Mouse(_)) => None,
                    Err(error) => {
                        tracing::info!(%error, "the terminal says nothing any more");
                        return;
                    }
                };
                if let Some(heard) = heard
                    && sender.blocking_send(heard).is_err()
                {
                    return;
                }
            }
        })?;
    Ok(receiver)
}
