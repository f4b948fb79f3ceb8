//! Owns the other end of the wire: the Hub's read protocol as one axum router over a catalogue,
//! and an optional layer of faults as data.
//!
//! Never holds policy: what is served, to whom, and what goes wrong is the caller's to say.
//! The demo and the tests stand on it today; LAN sharing serves the cache with it later.

mod answer;
mod catalogue;
mod fault;
mod router;
mod serving;
mod socket;
mod tamper;

pub use catalogue::{Access, Catalogue, Content, Repo, SourceFile};
pub use fault::{Effect, Fault, Matcher};
pub use serving::{Origin, RequestRecord, Serving};
