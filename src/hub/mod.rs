//! Owns the wire: HTTP in the Hub's protocol. The Hub, a mirror or a LAN peer are one client with
//! another endpoint.
//!
//! Never the disk, never a policy: what to fetch, when to try again and where bytes go is asked
//! and done by others. **Law**: the token reaches the endpoint's own origin only, and no address
//! leaves this room with its query.

mod address;
mod api;
mod body;
mod client;
mod encoding;
mod error;
mod gate;
mod header;
mod listing;
mod refusal;
mod resolve;
mod retry;
mod silence;
#[cfg(test)]
mod stage;
#[cfg(test)]
mod tests;
mod transport;

pub use api::Resolved;
pub use body::Body;
pub use client::Client;
pub use error::{Error, TransportKind};
pub use gate::Bucket;
pub use listing::{Listing, Refused};
pub use resolve::Link;
pub use retry::backoff;
