//! The end-to-end tests: what they share. The tests themselves are in `tests/tests`.

pub mod frames;
pub mod scenarios;
