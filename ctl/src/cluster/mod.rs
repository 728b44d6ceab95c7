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
pub mod progress;
pub mod record;
mod start;
mod up;
mod view;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use ferrite_vm::console::ConsoleError;
use ferrite_vm::disk::CreateDisk;
use ferrite_vm::host::HostError;
use ferrite_vm::qmp::QmpError;
use ferrite_vm::running::MachineError;

use crate::context::ContextError;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::pki::MakeCertificate;
use crate::session::Session;

/// The cluster that is meant where none is named.
const DEFAULT_NAME: &str = "dev";

/// `ferrite cluster …`
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Start a cluster; a new one is made from the image
    #[command(after_help = "Examples:
  ferrite cluster up                              # the cluster `dev`, one node
  ferrite cluster up --boot uefi --memory 2048
  ferrite cluster up --renew                      # with a new disk if the image was built anew
  ferrite cluster up test --image out/cloud --config node.toml")]
    Up(UpArguments),
    /// Switch a cluster off in order: units get their stop signal and their grace
    #[command(after_help = "Examples:
  ferrite cluster down
  ferrite cluster down --delete      # and delete its disk, certificates and context")]
    Down {
        /// Name
        #[arg(default_value = DEFAULT_NAME)]
        name: String,
        /// Delete everything that the cluster consists of
        #[arg(long)]
        delete: bool,
        /// Longest wait; then the power is cut
        #[arg(long, default_value = "2m", value_parser = humantime::parse_duration)]
        timeout: Duration,
    },
    /// Show a cluster's machines
    Status {
        /// Name
        #[arg(default_value = DEFAULT_NAME)]
        name: String,
    },
    /// List the clusters of this computer
    List,
    /// Show what a node's serial console said
    #[command(after_help = "Examples:
  ferrite cluster console            # the last 40 lines
  ferrite cluster console -f         # and everything that follows, until Ctrl-C
  ferrite cluster console -n 0 -f")]
    Console {
        /// Name
        #[arg(default_value = DEFAULT_NAME)]
        name: String,
        /// Go on as more is written
        #[arg(short, long)]
        follow: bool,
        /// Lines to show of what was written already
        #[arg(short = 'n', long, default_value_t = 40)]
        lines: usize,
    },
    /// Cut a cluster's power: nothing is stopped, flushed or asked
    Kill {
        /// Name
        #[arg(default_value = DEFAULT_NAME)]
        name: String,
    },
    /// Pull a cluster's network cables; `--restore` plugs them in again
    Cut {
        /// Name
        #[arg(default_value = DEFAULT_NAME)]
        name: String,
        /// Plug them in again
        #[arg(long)]
        restore: bool,
    },
    /// Freeze a cluster's machines
    Pause {
        /// Name
        #[arg(default_value = DEFAULT_NAME)]
        name: String,
    },
    /// Let frozen machines go on
    Resume {
        /// Name
        #[arg(default_value = DEFAULT_NAME)]
        name: String,
    },
}

/// `ferrite cluster up …`
#[derive(Debug, Clone, Args)]
pub struct UpArguments {
    /// Name
    #[arg(default_value = DEFAULT_NAME)]
    pub name: String,
    /// Folder of the image, as `ferrite image build` writes it
    #[arg(long, default_value = "out/cloud", value_name = "DIR")]
    pub image: PathBuf,
    /// Cloud-config of the node; its API's certificates are added
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How the machine boots; as it did before, or direct
    #[arg(long, value_enum, value_name = "METHOD")]
    pub boot: Option<BootMethod>,
    /// Virtual processors of a node; as many as before, or 2
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=16), value_name = "N")]
    pub cpus: Option<u8>,
    /// Memory of a node, in MiB; as much as before, or 1024
    #[arg(long, value_parser = clap::value_parser!(u32).range(256..), value_name = "MIB")]
    pub memory: Option<u32>,
    /// Size of a new node's disk, in GiB; STATE grows to fill it
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=65536), value_name = "GIB")]
    pub disk_size: u32,
    /// Nodes; more than one is not possible yet
    #[arg(long, default_value_t = 1, value_parser = parse_nodes, value_name = "N")]
    pub nodes: u8,
    /// Make the cluster anew, with an empty disk, if the image has changed since it was made
    #[arg(long)]
    pub renew: bool,
    /// Make the cluster anew, with an empty disk
    #[arg(long, conflicts_with = "renew")]
    pub fresh: bool,
    /// Longest wait until the node is ready
    #[arg(long, default_value = "5m", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
}

/// Machines that know nothing of one another would be no cluster: until nodes form one, there is one.
fn parse_nodes(text: &str) -> Result<u8, String> {
    match text.parse() {
        Ok(1) => Ok(1),
        Ok(0) | Err(_) => Err("a number from 1".to_owned()),
        Ok(_) => {
            Err("this version runs clusters of one node; more nodes come with a later one"
                .to_owned())
        }
    }
}

/// How a machine boots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BootMethod {
    /// QEMU loads kernel and initramfs: fastest
    Direct,
    /// SeaBIOS and the boot loader on the disk
    Bios,
    /// UEFI firmware and the kernel image on the disk
    Uefi,
}

impl std::fmt::Display for BootMethod {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Direct => "direct",
            Self::Bios => "bios",
            Self::Uefi => "uefi",
        })
    }
}

/// Why a cluster command did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ClusterError {
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Machine(#[from] MachineError),
    #[error(transparent)]
    Qmp(#[from] QmpError),
    #[error(transparent)]
    Disk(#[from] CreateDisk),
    #[error(transparent)]
    Console(#[from] ConsoleError),
    #[error(transparent)]
    Certificate(#[from] MakeCertificate),
    #[error(transparent)]
    Context(#[from] ContextError),
    #[error("use cluster {name:?}: there is no such cluster")]
    Unknown { name: String },
    #[error("name a cluster {name:?}: use letters, digits and `-`, at most 32, a letter first")]
    BadName { name: String },
    #[error("use cluster {name:?}: its machine does not run")]
    NotRunning { name: String },
    #[error("use cluster {name:?}: another `ferrite cluster` works on it")]
    Busy { name: String },
    #[error("use image {}: it has no file `{file}`", folder.display())]
    NoImage { folder: PathBuf, file: &'static str },
    #[error("make a disk of {asked_gib} GiB: the image alone has {image_mib} MiB")]
    DiskTooSmall { asked_gib: u32, image_mib: u64 },
    #[error("read cloud-config {}: {problem}", path.display())]
    Config { path: PathBuf, problem: ferrite_schema::document::Problem },
    #[error("use cloud-config {}: its [api] section would lock this command out", path.display())]
    ConfigApi { path: PathBuf },
    #[error("read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("read {}: it is damaged", path.display())]
    Damaged { path: PathBuf, source: serde_json::Error },
    #[error("write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("watch for Ctrl-C")]
    Signals { source: io::Error },
    #[error("start {name}: the machine gave up; its console's last lines:\n{tail}")]
    GaveUp { name: String, tail: String },
    #[error("start {name}: not ready in {}; its console's last lines:\n{tail}", humantime::format_duration(*within))]
    NotReady { name: String, within: Duration, tail: String },
    #[error("start {name}: the machine ended; its console's last lines:\n{tail}")]
    Ended { name: String, tail: String },
    #[error("start {name}: interrupted; its machine was stopped again")]
    Interrupted { name: String },
}

impl ClusterError {
    /// The exit code that the command ends with.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Host(_) => Exit::Environment,
            Self::Machine(MachineError::Host(_) | MachineError::Spawn { .. }) => Exit::Environment,
            Self::Unknown { .. } | Self::BadName { .. } => Exit::Usage,
            Self::NoImage { .. }
            | Self::DiskTooSmall { .. }
            | Self::Config { .. }
            | Self::ConfigApi { .. }
            | Self::Damaged { .. } => Exit::Invalid,
            Self::NotRunning { .. } => Exit::Unreachable,
            Self::Machine(_)
            | Self::Qmp(_)
            | Self::Disk(_)
            | Self::Console(_)
            | Self::Certificate(_)
            | Self::Context(_)
            | Self::Busy { .. }
            | Self::Read { .. }
            | Self::Write { .. }
            | Self::Signals { .. }
            | Self::GaveUp { .. }
            | Self::NotReady { .. }
            | Self::Ended { .. }
            | Self::Interrupted { .. } => Exit::Failed,
        }
    }

    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { .. } => {
                Some("`ferrite cluster list` shows all, `ferrite cluster up` makes one".to_owned())
            }
            Self::NotRunning { name } => Some(format!("`ferrite cluster up {name}` starts it")),
            Self::NoImage { .. } => {
                Some("`ferrite image build` makes one; `--image DIR` names another".to_owned())
            }
            Self::Damaged { .. } => {
                Some("`ferrite cluster up --fresh` makes the cluster anew".to_owned())
            }
            Self::ConfigApi { .. } => Some("remove the section".to_owned()),
            Self::NotReady { .. } => {
                Some("it runs on: `ferrite machine status` and `ferrite unit list` may say why, `ferrite cluster console` shows what it said, `ferrite cluster down` ends it; a busy computer needs longer: `--timeout 15m`".to_owned())
            }
            Self::GaveUp { .. } | Self::Ended { .. } => {
                Some("`ferrite cluster console -n 1000` shows all of it".to_owned())
            }
            _ => None,
        }
    }
}

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
