//! `ferrite-container`: the process that makes one container (`create`), the one that runs a command in it (`exec`) or a health
//! check (`check`), and the one that copies its files (`files`). Not for people: `ferrite-agent` starts them.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;

/// Exit status for a wrong command line.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let work = match (arguments.next().as_deref(), arguments.next()) {
        (Some("create"), None) => ferrite_container::create::run,
        (Some("exec"), None) => ferrite_container::exec::run,
        (Some("check"), None) => ferrite_container::exec::check,
        (Some("files"), None) => ferrite_container::files::run,
        _ => {
            say("usage: ferrite-container create | exec | check | files");
            return ExitCode::from(USAGE);
        }
    };
    match alone(work) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("ferrite-container: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Does what stands between the node and a container, to which nothing that the agent left open is passed on.
fn alone(work: fn() -> anyhow::Result<()>) -> anyhow::Result<()> {
    ferrite_sys::inherited::close_others_on_exec()
        .context("keep the agent's files from containers")?;
    work()
}

/// To standard error; where that is gone, nobody is left to be told.
fn say(text: &str) {
    drop(writeln!(std::io::stderr(), "{text}"));
}
