//! `docs/what-happens-when.md` promises what tests show: each of its lines names one that is there.

use std::fs;

use ferrite_tests::programs::checkout;

/// The tests that the document names, as file and function; nothing where a line names none.
fn named(text: &str) -> Option<Vec<(String, String)>> {
    let rows = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| what |"));
    let last = |row: &str| {
        let cell = row.trim_end_matches(['|', ' ']).rsplit("| ").next()?;
        let (file, function) = cell.strip_prefix('`')?.strip_suffix('`')?.split_once("::")?;
        Some((file.to_owned(), function.to_owned()))
    };
    rows.map(last).collect()
}

#[test]
fn every_promise_has_its_test() {
    let text = fs::read_to_string(checkout().join("docs/what-happens-when.md")).unwrap();
    let all = named(&text).unwrap();
    assert!(all.len() > 30, "{all:?}");
    let missing: Vec<_> = all
        .iter()
        .filter(|(file, function)| {
            let path = checkout().join(format!("tests/scenarios/{file}.rs"));
            let source = fs::read_to_string(path).unwrap_or_default();
            !source.contains(&format!("fn {function}("))
        })
        .collect();
    assert!(missing.is_empty(), "no such tests: {missing:?}");
}
