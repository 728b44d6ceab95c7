//! Clusters of machines in QEMU on this computer: `ferrite cluster …`.
//!
//! A cluster is a folder, `$XDG_DATA_HOME/ferrite/clusters/NAME`:
//!
//! | path | content |
//! |---|---|
//! | `cluster.json` | [`record::Record`]; written last, so that a folder without it is rubbish of a start that was cut off |
//! | `pki/` | authority, server and client certificates with their keys (0600) |
//! | `founded/` | of several nodes: what `ferrite config new --cluster` makes |
//! | `net/` | of several nodes: the switch's sockets and its capture |
//! | `NAME-1/` | the node's machine (see `ferrite_vm`), its disk, the image it was made from, its cloud-config |

mod add;
mod commands;
mod create;
mod folder;
mod gathering;
mod network;
pub mod problem;
pub mod progress;
pub mod publish;
pub mod record;
mod start;
mod token;
mod topology;
mod up;
mod view;
mod waiting;

use crate::cli::ClusterCommand;
use crate::failure::Failure;
use crate::session::Session;

/// Carries out a cluster command.
///
/// # Errors
/// Why it was not done.
pub fn run(command: ClusterCommand, session: &mut Session<'_>) -> Result<(), Failure> {
    match command {
        ClusterCommand::Up(arguments) => up::up(&arguments, session),
        ClusterCommand::Down { name, delete, timeout } => {
            commands::down(&name, delete, timeout, session)
        }
        ClusterCommand::Status { name } => view::status(&name, session),
        ClusterCommand::List => view::list(session),
        ClusterCommand::Console { name, follow, lines } => {
            view::console(&name, follow, lines, session)
        }
        ClusterCommand::Switch { name } => {
            let (cluster, record) = commands::load(&name)?;
            Ok(network::run(&cluster, &record)?)
        }
        ClusterCommand::Heal { name } => commands::cut(&name, true, session),
        ClusterCommand::Add { name, config, disk_size, timeout } => {
            add::add(&name, &config, (disk_size, timeout), session)
        }
        ClusterCommand::Token(command) => token::run(&command, session),
        ClusterCommand::Publish { port, name } => publish::publish(port, &name, session),
        ClusterCommand::Kill { name } => commands::kill(&name, session),
        ClusterCommand::Cut { name, restore } => commands::cut(&name, restore, session),
        ClusterCommand::Pause { name } => commands::pause(&name, session),
        ClusterCommand::Resume { name } => commands::resume(&name, session),
    }
}
