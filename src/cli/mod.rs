//! Face two: plain commands. A command is sent, its events are folded into a `Store`, and what is
//! printed is a view of that store.
//!
//! Never touches files or the network. Stdout (`print`) is data, stderr (`progress`) is talk.
//!
//! ```text
//! parse -> pull | ls | settings | pages
//!            |  follow: events -> store, signals -> cancel
//!            v
//!   progress (bars, lines, failures)   print (path, table, document)
//! ```

mod args;
mod bars;
mod document;
mod exit;
mod filter;
mod follow;
mod ls;
mod output;
mod pages;
mod parse;
mod print;
mod progress;
mod pull;
mod remedy;
mod schema;
mod settings;
mod sort;
#[cfg(test)]
mod stage;
mod table;

pub use args::{Args, ColorChoice, ConfigVerb, Globals, LsArgs, PullArgs, Verb};
pub use exit::Signal;
pub use filter::{Filter, FilterError};
pub use follow::Session;
pub use ls::ls;
pub use output::{Format, Output, Terminal};
pub use pages::{completions, man};
pub use parse::parse;
pub use progress::say;
pub use pull::{pull, refuse};
pub use schema::{CONFIG_SCHEMA, EVENT_SCHEMA, LS_SCHEMA, PULL_SCHEMA};
pub use settings::{config_path, config_show};
pub use sort::{Sort, SortError};
