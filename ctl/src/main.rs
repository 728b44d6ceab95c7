//! The `ferrite` command.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use ferrite_ctl::cli::Cli;
use ferrite_ctl::exit::Exit;
use ferrite_ctl::failure::{Failure, report};
use ferrite_ctl::screen::{Screen, visible};
use ferrite_ctl::session::Session;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let steers = cli.command.steers_terminal();
    let mut out = guarded(io::stdout().lock(), steers);
    let mut err = guarded(io::stderr(), steers);
    let mut session = Session { globals: &cli.globals, out: &mut *out, err: &mut *err };
    match ferrite_ctl::commands::run(cli.command, &mut session) {
        Ok(()) => ExitCode::from(Exit::Done.code()),
        Err(Failure::Output(error)) if error.is_broken_pipe() => ExitCode::from(Exit::Done.code()),
        // The command's own words, or its silence, are all that is said.
        Err(Failure::Command { code }) => ExitCode::from(code),
        Err(failure) => {
            let report = report(&failure);
            // What failed may be in the words of a node.
            let shown = if io::stderr().is_terminal() { visible(&report) } else { report.into() };
            let written = io::stderr().write_all(shown.as_bytes());
            // Nobody is left to hear that standard error is gone.
            drop(written);
            let code = match failure {
                Failure::NotRun { code, .. } => code,
                _ => failure.exit().code(),
            };
            ExitCode::from(code)
        }
    }
}

/// A terminal is shown text alone, unless the command draws on it or hands it to a container's terminal.
fn guarded<'a>(stream: impl Write + IsTerminal + 'a, steers: bool) -> Box<dyn Write + 'a> {
    if stream.is_terminal() && !steers { Box::new(Screen::new(stream)) } else { Box::new(stream) }
}
