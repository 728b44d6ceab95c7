//! The switch against other people's programs and against hostile peers.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod cables;
mod control;
mod corpus;
mod room;
mod services;
mod ways;
mod wire;
