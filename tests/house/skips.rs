//! No test is passed over without being counted.
//!
//! Tests that need root have `::as_root::` in their path. `scripts/test` leaves them out, whoever runs it, and the scenario
//! `root` runs them in a machine and counts them. A test that looks at who it is and returns would be counted as passed.

use ferrite_tests::as_root::{CRATES, MARK};
use ferrite_tests::programs::checkout;

use crate::circles::members;
use crate::sources::{below, code, split_tests};

/// Words by which a program learns whether it is root.
const WHO_AM_I: [&str; 5] =
    ["is_root()", "geteuid().as_raw() ==", "getuid().as_raw() ==", "geteuid() ==", "getuid() =="];
/// Words by which a test is left out.
const LEFT_OUT: [&str; 2] = ["#[ignore", "should_panic"];

/// Files in which tests may ask, and why.
const MAY_ASK: [(&str, &str); 1] =
    [("tests/scenarios/image.rs", "root gives up its rights there; both ways the same is tested")];

#[test]
fn no_test_asks_who_runs_it_or_is_left_out() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    let folders = members().into_iter().chain(["fuzz/checks".to_owned()]);
    for path in folders.flat_map(|folder| below(&checkout().join(folder))) {
        let name = path.strip_prefix(checkout()).unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let all = code(&text);
        let (_, inline) = split_tests(&all);
        let is_test =
            ["tests.rs", "attacks.rs", "as_root.rs"].iter().any(|end| name.ends_with(end))
                || name.contains("/tests/")
                || name.starts_with("tests/scenarios/");
        let tests = if is_test { all } else { inline };
        seen += tests.matches("#[test]").count();
        let asks = WHO_AM_I.iter().filter(|_| !MAY_ASK.iter().any(|(file, _)| *file == name));
        for word in asks.chain(&LEFT_OUT).filter(|word| tests.contains(**word)) {
            wrong.push(format!("{name}: {word}"));
        }
    }
    assert!(wrong.is_empty(), "tests that may not run:\n{}", wrong.join("\n"));
    assert!(seen > 300, "{seen} tests were looked at");
}

#[test]
fn what_needs_root_is_left_out_on_the_host_and_run_in_a_machine() {
    let script = std::fs::read_to_string(checkout().join("scripts/test")).unwrap();
    assert!(script.contains(&format!("--skip {MARK}")), "scripts/test runs what needs root");
    let has = |folder: &String| {
        let files = below(&checkout().join(folder).join("src"));
        files
            .iter()
            .any(|path| code(&std::fs::read_to_string(path).unwrap()).contains("mod as_root"))
    };
    let mut found: Vec<String> =
        members().into_iter().filter(|name| name != "tests").filter(has).collect();
    found.sort();
    let known: Vec<&str> = CRATES.iter().map(|(_, folder)| *folder).collect();
    assert_eq!(found, known, "the scenario `root` runs the tests of others");
}
