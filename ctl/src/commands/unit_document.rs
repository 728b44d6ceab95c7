//! Units as documents: what a command line sends, and how one is shown.

use std::path::Path;

use ferrite_schema::unit::{self, Unit};

use crate::document;
use crate::failure::Failure;

/// The unit in the file that is meant; `None` where it is a name.
pub(super) fn submitted(what: &str) -> Result<Option<Unit>, Failure> {
    Ok(if is_file(what) { Some(document::load(Path::new(what), unit::parse)?) } else { None })
}

/// A file is anything that looks like one: a unit's name has no slash, and `.toml` says it outright.
pub(super) fn is_file(what: &str) -> bool {
    what == "-" || what.contains('/') || what.ends_with(".toml") || Path::new(what).is_file()
}

pub(super) fn as_toml(unit: &Unit) -> String {
    // Every value of a unit has a TOML form; what cannot be written would be our bug.
    toml::to_string(unit).unwrap_or_else(|error| format!("# {error}"))
}
