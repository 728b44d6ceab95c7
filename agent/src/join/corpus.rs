//! What fuzzing looks at, over every file of its corpus and many inputs near them.

#[path = "../../../fuzz/checks/join.rs"]
mod join;
#[path = "../../../fuzz/mutated.rs"]
mod mutated;

/// Inputs that are made of a corpus.
const INPUTS: u64 = 5_000;

#[test]
fn requests_to_join() {
    mutated::look("join", INPUTS, join::check);
}
