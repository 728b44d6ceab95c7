//! The document that is written.

use ferrite_schema::unit::{self, Unit};

/// Lines that say what is so without them.
const UNSAID: [&str; 7] = [
    "network = \"bridge\"",
    "stop_grace_s = 10",
    "protocol = \"tcp\"",
    "read_only = false",
    "start_period_s = 0",
    "add = []",
    "drop = []",
];

/// The unit as TOML, with words for people at its top.
///
/// # Errors
/// It would not be read as the same unit again: why. That is a mistake of ours, and the file need not be wrong.
pub(crate) fn text(unit: &Unit, description: Option<&str>) -> Result<String, String> {
    let whole = toml::to_string(unit).map_err(|error| error.to_string())?;
    let lean: String = whole
        .lines()
        .filter(|line| !UNSAID.contains(line))
        .map(|line| format!("{line}\n"))
        .collect();
    // A line of a text of several lines may look like one of these.
    let body = if unit::parse(&lean).as_ref() == Ok(unit) { lean } else { whole };
    match unit::parse(&body) {
        Ok(read) if read == *unit => {}
        Ok(_) => return Err("it would not be read as it was written".to_owned()),
        Err(problem) => return Err(problem.to_string()),
    }
    let comment = |text: &str| {
        let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        format!("# {}\n", plain.trim())
    };
    let words = description.filter(|text| !text.is_empty()).map(comment).unwrap_or_default();
    Ok(format!("{words}{body}"))
}
