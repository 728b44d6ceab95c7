//! `ferrite help` and `ferrite completions`.

use clap::CommandFactory;

use crate::cli::Cli;
use crate::exit;
use crate::failure::Failure;
use crate::output;
use crate::session::Session;

const EXIT_CODES: &str = "exit-codes";

pub(super) fn help(topic: &[String], session: &mut Session<'_>) -> Result<(), Failure> {
    if topic.len() == 1 && topic.first().is_some_and(|word| word == EXIT_CODES) {
        return Ok(output::write_line(session.out, &exit::help())?);
    }
    let mut root = Cli::command();
    root.build();
    let mut command = &mut root;
    for word in topic {
        command = command
            .find_subcommand_mut(word)
            .ok_or_else(|| Failure::NoTopic { topic: topic.join(" ") })?;
    }
    let text = command.render_long_help().to_string();
    Ok(output::write_line(session.out, &text)?)
}

pub(super) fn completions(
    shell: clap_complete::Shell,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "ferrite", &mut script);
    Ok(output::write_line(session.out, &String::from_utf8_lossy(&script))?)
}
