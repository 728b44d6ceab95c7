//! What fuzzing looks at, over every file of its corpus: a crash that was found once never comes back.

use std::fs;
use std::path::Path;

#[path = "../../../fuzz/checks/frames.rs"]
mod frames;

#[test]
fn frames_of_the_corpus() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/frames");
    let mut count = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        frames::check(&fs::read(&path).unwrap());
        count += 1;
    }
    assert!(count > 3, "{} holds {count} files", folder.display());
}
