//! What fuzzing looks at, over every file of its corpus and many inputs near them: what was found once never comes back.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and says at what"
)]

#[path = "../../fuzz/mutated.rs"]
mod mutated;
#[path = "../../fuzz/checks/questions.rs"]
mod questions;

/// Inputs that are made of a corpus.
const INPUTS: u64 = 30_000;

#[test]
fn questions_to_the_resolver() {
    mutated::look("questions", INPUTS, questions::check);
}
