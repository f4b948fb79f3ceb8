//! larder fetches Hugging Face and MLX models into the caches that apps already read, and proves
//! every byte before anything becomes visible.
//!
//! The library exists for the binary and the tests; it is not a promised API.
//!
//! Commands go down, events come up, one pure store folds the events, and the faces read it:
//!
//! ```text
//!   keys, argv                       terminal, stdout, stderr
//!     |                                    ^
//!  tui::update, cli::args            tui::view, cli::print, cli::progress
//!     | Command                            | &Store
//!     v                                    |
//!  engine ---- tasks ---- Stamped Event -> store::reduce
//!              |   ^
//!          hub v   | cache, host, ledger
//! ```
//!
//! | room | owns | may name |
//! |---|---|---|
//! | [`domain`] | the nouns: plain data | nothing |
//! | [`config`] | settings from flags, environment, file | domain |
//! | [`hub`] | the wire: HTTP in the Hub's protocol | domain, config |
//! | [`host`] | the machine: everything that differs by platform | domain, config |
//! | [`ledger`] | long memory: what was proven, listings, past transfers | domain, config |
//! | [`mlx`] | would it load: files in, findings out | domain, config |
//! | [`cache`] | the disk: layout, locks, partials, blobs, snapshots | domain, config, host |
//! | [`engine`] | the tasks | all of the above |
//! | [`store`] | the memory of this run, a pure fold of events | domain |
//! | [`tui`] | the face of the dashboard | domain, store, engine |
//! | [`cli`] | the face of plain commands | domain, store, engine |
//! | [`serve`] | the other end of the wire, with faults as data | domain |
//! | [`demo`] | the stage: a small model and its story | domain, config, serve |
//!
//! `tests/it/house.rs` holds this table as a constant and fails on any other door.

pub mod cache;
pub mod cli;
pub mod config;
pub mod demo;
pub mod domain;
pub mod engine;
pub mod host;
pub mod hub;
pub mod ledger;
pub mod mlx;
pub mod serve;
pub mod store;
pub mod tui;
