//! Owns a transfer's ear: what the user wishes for it, heard at once.

use tokio::sync::watch;

/// What a transfer should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// Go on.
    Run,
    /// Stop and keep the partial until resumed.
    Pause,
    /// Stop and keep the partial.
    Cancel,
}

/// The wish, and how often the user asked not to wait for the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Control {
    /// The wish.
    pub(super) wish: Wish,
    /// Counts `retry` while a backoff runs.
    pub(super) hurries: u32,
}

/// The supervisor's end.
#[derive(Debug)]
pub(super) struct Rein(watch::Sender<Control>);

impl Rein {
    /// A rein and the ear that listens to it.
    pub(super) fn new() -> (Self, watch::Receiver<Control>) {
        let (sender, receiver) = watch::channel(Control {
            wish: Wish::Run,
            hurries: 0,
        });
        (Self(sender), receiver)
    }

    /// Says what to do from now on. A cancelled transfer stays cancelled.
    pub(super) fn wish(&self, wish: Wish) {
        self.0.send_if_modified(|control| {
            let is_new = control.wish != wish && control.wish != Wish::Cancel;
            if is_new {
                control.wish = wish;
            }
            is_new
        });
    }

    /// Ends a backoff at once.
    pub(super) fn hurry(&self) {
        self.0.send_modify(|control| control.hurries += 1);
    }
}
