//! Face two: plain commands. A command is sent, its events are folded into a `Store`, and what is
//! printed is a view of that store.
//!
//! Never touches files or the network. Stdout (`print`) is data, stderr (`progress`) is talk.
//!
//! ```text
//! parse -> pull | ls | history | status | verify | doctor | locks | purge | trash | import | guide | report | settings | pages
//!            |  follow: events -> store, signals -> cancel
//!            v
//!   progress (bars, lines, failures)   print (path, table, document)
//! ```

mod args;
mod ask;
mod bars;
mod discards;
mod doctor;
mod document;
mod exit;
mod finding;
mod fix;
mod follow;
mod guide;
mod help;
mod history;
mod import;
mod locks;
mod look;
mod ls;
mod output;
mod page;
mod pages;
mod parse;
mod print;
mod progress;
mod pull;
mod purge;
mod ready;
mod redact;
mod refuse;
mod remedy;
mod report;
mod schema;
mod settings;
mod sort;
#[cfg(test)]
mod stage;
mod status;
mod table;
mod trash;
mod verify;

pub use args::{
    Args, ColorChoice, ConfigVerb, DoctorArgs, Globals, GuideArgs, HistoryArgs, ImportArgs,
    LocksArgs, LsArgs, PullArgs, PurgeArgs, ReadyArgs, ReportArgs, StatusArgs, TrashArgs,
    TrashVerb, Verb, VerifyArgs, WaitArgs,
};
pub use doctor::doctor;
pub use exit::Signal;
pub use follow::Session;
pub use guide::guide;
pub use history::history;
pub use import::import;
pub use locks::locks;
pub use ls::ls;
pub use output::{Format, Output, Terminal};
pub use pages::{completions, man};
pub use parse::{VerbHelp, parse, read_line, verbs};
pub use progress::say;
pub use pull::pull;
pub use purge::purge;
pub use ready::{ready, wait};
pub use refuse::{no_dashboard, no_resume, refuse};
pub use report::{Desk, report};
pub use schema::{
    CONFIG_SCHEMA, DOCTOR_SCHEMA, EVENT_SCHEMA, GUIDE_SCHEMA, HISTORY_SCHEMA, IMPORT_SCHEMA,
    LOCKS_SCHEMA, LS_SCHEMA, PULL_SCHEMA, PURGE_SCHEMA, READY_SCHEMA, REPORT_SCHEMA, STATUS_SCHEMA,
    TRASH_SCHEMA, VERIFY_SCHEMA,
};
pub use settings::{config_path, config_show};
pub use sort::{Sort, SortError};
pub use status::status;
pub use trash::trash;
pub use verify::verify;
