//! Owns the memory of this run: events go in, what a face shows comes out.
//!
//! Never asks a clock, never does I/O, knows no async: the same events always give the same
//! picture. Time enters as `at_ms` of an event or as `now_ms` of a question.

mod entry;
mod filter;
mod findings;
mod fixing;
mod log;
mod offers;
mod overview;
mod rate;
mod reduce;
mod scene;
mod select;
mod shelf;
mod state;
mod words;

#[cfg(test)]
mod law;
#[cfg(test)]
pub(crate) mod script;
#[cfg(test)]
pub(crate) mod survey_script;

pub use entry::{AttemptEnd, AttemptRecord, FileStatus};
pub use filter::{Filter, FilterError, span_ms};
pub use findings::{
    FOLDER, FindingGroup, Healing, Looked, Scope, counts_of, grouped, harms_of, healing_of, is_at,
};
pub use fixing::{FixPlan, FixPull};
pub use log::{Level, Log, LogLine};
pub use overview::{FindingCounts, LockCounts, ModelCounts, PartialCounts};
pub use reduce::reduce;
pub use select::{Counts, FileView, Intent, Verdict};
pub use shelf::{Shelf, Verified, Verifying};
pub use state::{Guided, Listing, Phase, Pull, Store, Target};
pub use words::{count, duration, other_pull_line, short, size, trashed};
