//! Running the programs that make file systems.

use std::path::Path;
use std::process::{Command, Stdio};

use super::problem::BuildDisk;
use crate::tools::Tools;

/// Where the programs come from. The image's own are [`Tools`]; tests also use the host's.
pub trait Toolbox {
    /// A command that runs the tool `name`.
    fn command(&self, name: &str) -> Command;
}

impl Toolbox for Tools {
    fn command(&self, name: &str) -> Command {
        Self::command(self, name)
    }
}

/// Makes every time stamp of e2fsprogs the same: older versions know only this variable.
const E2FSPROGS_TIME: &str = "E2FSPROGS_FAKE_TIME";

/// `tool` in an environment in which it has no clock and no time zone of its own.
pub(super) fn fixed(tools: &dyn Toolbox, tool: &str) -> Command {
    let mut command = tools.command(tool);
    command
        .env("TZ", "UTC")
        .env("LC_ALL", "C")
        .env("SOURCE_DATE_EPOCH", crate::epoch::EPOCH_S.to_string())
        .env(E2FSPROGS_TIME, crate::epoch::EPOCH_S.to_string())
        .stdin(Stdio::null());
    command
}

/// Runs a command to its end and returns its messages; they are in the error when it fails.
pub(super) fn run(tool: &'static str, mut command: Command) -> Result<String, BuildDisk> {
    let output = command.output().map_err(|source| BuildDisk::StartTool { tool, source })?;
    let message = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    if output.status.success() {
        return Ok(message);
    }
    Err(BuildDisk::Tool { tool, status: output.status, message })
}

/// The name is one plain word of a path: nothing that a tool could take for an option, a pattern or a
/// directory above.
pub(super) fn is_plain(name: &str) -> bool {
    let plain = |character: char| character.is_ascii_alphanumeric() || "._+-".contains(character);
    !name.is_empty()
        && !name.starts_with(['-', '.'])
        && name.chars().all(plain)
        && Path::new(name).file_name().is_some()
}
