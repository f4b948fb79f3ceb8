//! Owns whether a model would load: files in, findings out (`reference/hub.md` section 6).
//!
//! Never writes, never hashes, never knows a cache layout.

mod examine;
mod selection;
mod weights;

pub use examine::{IsProven, Open, examine};
pub use selection::{default_selection, is_read_by_loaders};
