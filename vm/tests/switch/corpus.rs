//! What fuzzing looks at, over every file of its corpus and many inputs near them: what was found once never comes back.

#[path = "../../../fuzz/checks/frames.rs"]
mod frames;
#[path = "../../../fuzz/mutated.rs"]
mod mutated;

/// Inputs that are made of a corpus.
const INPUTS: u64 = 10_000;

#[test]
fn frames_to_the_gateway() {
    mutated::look("frames", INPUTS, frames::check);
}
