//! What fuzzing looks at, over every file of its corpus and many inputs near them: what was found once never comes back.

#[path = "../../../fuzz/checks/messages.rs"]
mod messages;
#[path = "../../../fuzz/mutated.rs"]
mod mutated;
#[path = "../../../fuzz/checks/records.rs"]
mod records;

/// Inputs that are made of a corpus.
const INPUTS: u64 = 30_000;

#[test]
fn messages_of_nodes() {
    mutated::look("messages", INPUTS, messages::check);
}

#[test]
fn records_of_every_kind() {
    mutated::look("records", INPUTS, records::check);
}
