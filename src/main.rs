//! Owns start-up: parse, build the engine, connect it to a face, turn the end into an exit code.
//!
//! Never holds logic of its own.

fn main() {}
