//! One module per noun: ask the node, show the answer.

mod access;
mod boot;
mod config;
mod context;
mod cp;
mod ending;
mod etcd;
mod events;
mod exec;
mod fleet;
mod image;
mod image_build;
mod image_kernel;
mod images;
mod import;
mod keys;
mod machine;
mod service;
mod slot;
mod top;
mod topics;
mod unit;
mod unit_document;
mod unit_logs;
mod unit_select;
mod verdicts;
mod volumes;

use crate::cli::{Command, ImageCommand};
use crate::failure::Failure;
use crate::session::Session;

/// Carries out `command`.
///
/// # Errors
/// Why it was not done.
pub fn run(command: Command, session: &mut Session<'_>) -> Result<(), Failure> {
    match command {
        Command::Image(ImageCommand::Build(arguments)) => image_build::run(&arguments, session),
        Command::Image(ImageCommand::Kernel(command)) => image_kernel::run(&command, session),
        Command::Image(ImageCommand::Inspect { file, trust }) => {
            image::inspect(&file, &trust, session)
        }
        Command::Image(ImageCommand::Verify { file, trust }) => {
            image::verify(&file, &trust, session)
        }
        Command::Keys(command) => keys::run(&command, session),
        Command::Cluster(command) => crate::cluster::run(command, session),
        Command::Config(command) => config::run(&command, session),
        Command::Import(arguments) => import::run(&arguments, session),
        Command::Pull { reference } => images::pull(&reference, session),
        Command::Images { command } => images::run(command, session),
        Command::Volumes { command } => volumes::run(command, session),
        Command::Unit(command) => unit::run(command, session),
        Command::Top(arguments) => top::run(&arguments, session),
        Command::Events(arguments) => events::run(&arguments, session),
        Command::Service(command) => service::run(command, session),
        Command::Access(command) => access::run(&command, session),
        Command::Machine(command) => machine::run(&command, session),
        Command::Etcd(command) => etcd::run(&command, session),
        Command::Slot(command) => slot::run(&command, session),
        Command::Boot(arguments) => boot::run(&arguments, session),
        Command::Context(command) => context::run(&command, session),
        Command::Completions { shell } => topics::completions(shell, session),
        Command::Help { topic } => topics::help(&topic, session),
    }
}
