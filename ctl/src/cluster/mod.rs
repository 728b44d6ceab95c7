//! Clusters of machines in QEMU on this computer: `ferrite cluster …`.
//!
//! One node for now. A cluster is a folder, `$XDG_DATA_HOME/ferrite/clusters/NAME`:
//!
//! | path | content |
//! |---|---|
//! | `cluster.json` | [`record::Record`]; written last, so that a folder without it is rubbish of a start that was cut off |
//! | `pki/` | authority, server and client certificates with their keys (0600) |
//! | `NAME-1/` | the node's machine (see `ferrite_vm`), its disk, the image it was made from, its cloud-config |

mod commands;
mod create;
mod folder;
pub mod problem;
pub mod progress;
pub mod record;
mod start;
mod up;
mod view;

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
        ClusterCommand::Kill { name } => commands::kill(&name, session),
        ClusterCommand::Cut { name, restore } => commands::cut(&name, restore, session),
        ClusterCommand::Pause { name } => commands::pause(&name, session),
        ClusterCommand::Resume { name } => commands::resume(&name, session),
    }
}
