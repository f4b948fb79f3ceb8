//! larder fetches Hugging Face and MLX models into the caches that apps already read, and proves
//! every byte before anything becomes visible.
//!
//! The library exists for the binary and the tests; it is not a promised API.

pub mod domain;
