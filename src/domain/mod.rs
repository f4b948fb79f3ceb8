//! Owns the nouns: plain data that every room may name.
//!
//! Never does I/O, never asks the clock, never knows tokio, reqwest or a terminal.
//! What is here serialises, compares and clones.

mod command;
mod discard;
mod event;
mod failure;
mod file;
mod finding;
mod guide;
mod hex;
mod history;
mod import;
mod load;
mod repo;
mod report;
mod survey;
mod terminal;
mod text;

pub use command::{Command, FileSelection, PullRequest, ReadyRequest, VerifyTarget, WaitLimit};
pub use discard::{
    Discard, DiscardKind, DiscardPath, DiscardReason, DiscardRequest, PurgePlan, TrashRequest,
    TrashResult, TrashRow,
};
pub use event::{
    Event, FileId, Healing, HealingKind, JobId, LockWait, Origin, OtherProgress, OtherPull,
    Outcome, PlannedFile, PullPlan, PullResult, RefMove, RetryIn, Stamped,
};
pub use failure::{Failure, FailureCode, Obstacle, Remedy, exit_code};
pub use file::{Etag, NameError, RemoteFile, RepoPath, Want};
pub use finding::{Change, Evidence, Finding, Plan, PlanStep, Rule, Severity, lost_name};
pub use guide::{Guide, GuideFile, GuideRequest};
pub use history::{HistoryRow, UnfinishedPull};
pub use import::{ImportRequest, ImportResult, MissingFile, Offer, OfferKind, Recognition};
pub use load::{Examination, LoadLevel, LoadTrouble, Validation};
pub use repo::{Commit, RepoId, RepoKind, RepoReference, Revision};
pub use report::{Basis, CacheKind, CacheRow, FileRow, FileState, ModelRow, ModelState, Setting};
pub use survey::{
    Bundle, Disk, FixResult, Kept, LockKind, LockRow, LockState, Network, PartialRow, PartialState,
    PurgeResult, Verdict, Verification,
};
pub use terminal::{Level, TerminalFacts, ThemeChoice};
pub use text::{sanitize, sanitize_line, shell_word};
