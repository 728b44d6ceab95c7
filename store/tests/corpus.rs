//! What fuzzing looks at, over every file of its corpus and many inputs near them: what was found once never comes back.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and says at what"
)]

#[path = "../../fuzz/checks/bundles.rs"]
mod bundles;
#[path = "../../fuzz/checks/documents.rs"]
mod documents;
#[path = "../../fuzz/checks/layer.rs"]
mod layer;
#[path = "../../fuzz/mutated.rs"]
mod mutated;
#[path = "../../fuzz/checks/stack.rs"]
mod stack;
#[path = "../../fuzz/checks/unit.rs"]
mod unit;

/// Inputs that are made of a corpus.
const INPUTS: u64 = 30_000;

/// Each of these is written to a folder, which takes longer. `FERRITE_LONG` makes it look at more.
fn layers_inputs() -> u64 {
    if std::env::var_os("FERRITE_LONG").is_some() { 10_000 } else { 500 }
}

#[test]
fn units() {
    mutated::look("unit", INPUTS, unit::check);
}

#[test]
fn images_documents() {
    mutated::look("documents", INPUTS, documents::check);
}

#[test]
fn bundles_of_signatures() {
    mutated::look("bundles", INPUTS, bundles::check);
}

#[test]
fn layers_over_layers() {
    mutated::look("stack", layers_inputs(), stack::check);
}

#[test]
fn layers() {
    mutated::look("layer", layers_inputs(), layer::check);
}
