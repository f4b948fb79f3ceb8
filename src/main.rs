//! Owns start-up: parse, build the rooms, pick a face, exit.

fn main() {}
