//! How the house is built: which crate may know which, that files inside a crate do not know one another in circles, how
//! programs are linked, that no test is passed over, and how STATE is written to. What may be is data, at the top of each file.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails by panicking")]

mod circles;
mod directions;
mod linked;
mod promises;
mod skips;
mod sources;
mod writes;
