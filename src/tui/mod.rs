//! Face one: the dashboard. Keys become actions, actions change the picture's state or become
//! commands; the picture is a view of the store.
//!
//! Never touches files or the network, and draws from a thread of its own: a terminal that does
//! not read never slows a transfer.
//!
//! ```text
//! input -> keymap -> update -> Effect -> run -> engine
//!                      ^                  |  events
//!                      | Ui               v
//!                    rows <-------------- Store
//!                      v
//!                    view -> Buffer -> painter (a thread) -> terminal
//! ```

mod action;
mod copy;
mod dialog;
mod facts;
mod filter;
mod fit;
mod glyph;
mod holding;
mod input;
mod keymap;
mod mending;
mod osc;
mod painter;
mod pane;
mod pulling;
mod purging;
mod remedy;
mod rows;
mod run;
mod story;
mod summary;
mod terminal;
mod theme;
mod typed;
mod ui;
mod update;
mod view;
mod wish;
mod words;

#[cfg(test)]
mod desk;
#[cfg(test)]
mod dialog_tests;
#[cfg(test)]
mod discard_tests;
#[cfg(test)]
mod health_screens;
#[cfg(test)]
mod health_tests;
#[cfg(test)]
mod mending_tests;
#[cfg(test)]
mod pictures;
#[cfg(test)]
mod row_screens;
#[cfg(test)]
mod screens;
#[cfg(test)]
pub(crate) mod stage;
#[cfg(test)]
mod svg;
#[cfg(test)]
mod typing_tests;
#[cfg(test)]
mod update_tests;

pub use action::Action;
pub use facts::{
    Chapter, Facts, FixWish, Interpreter, Look, Moment, Offered, PurgeWish, Verb, Wish,
};
pub use keymap::{Binding, Key, Keymap};
pub use painter::Abilities;
pub use pane::Pane;
pub use run::{Session, run};
pub use theme::{Depth, ThemeName};
pub use ui::Ui;
pub use update::{Effect, View, follow, press};
pub use view::draw;
