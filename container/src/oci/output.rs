//! What callers read of a command.

use std::io::{self, Write};

use super::problem::VerbProblem;

/// Writes to standard output.
pub(super) fn say(text: &str) -> Result<u8, VerbProblem> {
    writeln!(io::stdout(), "{text}").map_err(VerbProblem::Say)?;
    Ok(0)
}

/// Writes a warning to standard error, which callers show.
pub(super) fn warn(text: &str) {
    // Nobody who reads it is no reason to fail.
    drop(writeln!(io::stderr(), "level=warning msg={text:?}"));
}
