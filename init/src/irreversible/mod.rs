//! What can never be taken back, decided in one place: pure functions over evidence, each with a test over all of it.
//!
//! Whoever is about to write a slot's state, a table, a file system or a time for good asks here first. "Could not work"
//! is never "is gone"; "not trusted here" is never "bad".

pub mod clock;
pub mod disk;
pub mod slots;
pub mod state;
