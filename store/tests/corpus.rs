//! What fuzzing looks at, over every file of its corpus: a crash that was found once never comes back.

#![expect(
    clippy::expect_used,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test fails where it cannot go on, and says at which file"
)]

use std::fs;
use std::path::Path;

#[path = "../../fuzz/checks/documents.rs"]
mod documents;
#[path = "../../fuzz/checks/layer.rs"]
mod layer;
#[path = "../../fuzz/checks/unit.rs"]
mod unit;

fn replay(name: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
    let mut count = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        eprintln!("{}", path.display());
        check(&fs::read(&path).unwrap());
        count += 1;
    }
    assert!(count > 3, "{} holds {count} files", folder.display());
}

#[test]
fn units() {
    replay("unit", unit::check);
}

#[test]
fn images_documents() {
    replay("documents", documents::check);
}

#[test]
fn layers() {
    replay("layer", layer::check);
}
