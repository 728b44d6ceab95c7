//! What fuzzing looks at, over every file of its corpus and many inputs near them: what was found once never comes back.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and says at what"
)]

use std::fs;
use std::path::Path;

#[path = "../../fuzz/mutated.rs"]
mod mutated;
#[path = "../../fuzz/checks/questions.rs"]
mod questions;

/// Inputs that are made of a corpus.
const INPUTS: u64 = 300_000;

fn look(name: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
    let files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.collect();
    files.sort();
    let corpus: Vec<Vec<u8>> = files.iter().map(|path| fs::read(path).unwrap()).collect();
    assert!(corpus.len() > 3, "{} holds {} files", folder.display(), corpus.len());
    let falls = |input: &[u8]| std::panic::catch_unwind(|| check(input)).is_err();
    for (path, input) in files.iter().zip(&corpus) {
        assert!(!falls(input), "{}", path.display());
    }
    for input in mutated::mutated(&corpus, INPUTS) {
        assert!(!falls(&input), "{input:?}: {}", String::from_utf8_lossy(&input));
    }
}

#[test]
fn questions_to_the_resolver() {
    look("questions", questions::check);
}
