//! The `ferrite` command.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use ferrite_ctl::cli::Cli;
use ferrite_ctl::exit::Exit;
use ferrite_ctl::failure::{Failure, report};
use ferrite_ctl::session::Session;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let (mut out, mut err) = (io::stdout().lock(), io::stderr());
    let mut session = Session { globals: &cli.globals, out: &mut out, err: &mut err };
    match ferrite_ctl::commands::run(cli.command, &mut session) {
        Ok(()) => ExitCode::from(Exit::Done.code()),
        Err(Failure::Output(error)) if error.is_broken_pipe() => ExitCode::from(Exit::Done.code()),
        // The command's own words, or its silence, are all that is said.
        Err(Failure::Command { code }) => ExitCode::from(code),
        Err(failure) => {
            let written = err.write_all(report(&failure).as_bytes());
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
