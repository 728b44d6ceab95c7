//! Units as people write them: whatever the text, there is a unit or a problem with a place.

/// Reads `data` as a unit and as a cloud-config.
pub(crate) fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Err(problem) = ferrite_schema::unit::parse(&text) {
        assert!(problem.line > 0 && problem.column > 0, "{problem}");
    }
    drop(ferrite_schema::node_config::parse(&text));
}
