//! What fuzzing looks at, over every file of its corpus and many inputs near them: what was found once never comes back.

#[path = "../../../fuzz/checks/frames.rs"]
mod frames;
#[path = "../../../fuzz/mutated.rs"]
mod mutated;

/// Inputs that are made of a corpus: each is up to 32 frames and a gateway's answers. `FERRITE_LONG` makes it look at more.
fn inputs() -> u64 {
    if std::env::var_os("FERRITE_LONG").is_some() { 10_000 } else { 500 }
}

#[test]
fn frames_to_the_gateway() {
    mutated::look("frames", inputs(), frames::check);
}
