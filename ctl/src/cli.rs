//! The command line: what can be asked for, with the words that `--help` shows.

mod access;
mod cluster;
mod etcd;
mod image;
mod images;
mod network;
mod node;
mod unit;

use clap::{Args, Parser, Subcommand};

pub use self::access::AccessCommand;
pub(crate) use self::cluster::DEFAULT_NAME;
pub use self::cluster::{
    BootMethod, ClusterCommand, Offer, PublishedPort, TokenCommand, UpArguments,
};
pub use self::etcd::EtcdCommand;
pub use self::image::{
    BuildArguments, ImageCommand, KernelCommand, KernelSelection, KeysCommand, MirrorSelection,
    TrustArguments,
};
pub use self::images::{ArchiveFormat, ImagesCommand, ImportArguments};
pub use self::network::NetworkArguments;
pub use self::node::{
    BootArguments, ConfigCommand, ContextCommand, EventsArguments, MachineCommand, NewArguments,
    ServiceCommand, SlotCommand, SortBy, StateCommand, TopArguments, VolumesCommand,
};
pub use self::unit::{
    ExecArguments, ImportUnitArguments, LogsArguments, Selection, UnitCommand, Until, WaitArguments,
};
use crate::output::Format;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "ferrite",
    version,
    about = "Build, run and talk to Ferrite machines",
    disable_help_subcommand = true,
    propagate_version = true,
    max_term_width = 100,
    after_help = "Examples:
  ferrite image build              # make a disk image
  ferrite cluster up               # boot it in QEMU
  ferrite unit start hello.toml    # run a container on it
  ferrite unit logs -f hello       # and watch what it writes

`ferrite help exit-codes` lists the exit codes."
)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub globals: Globals,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options that every command takes.
#[derive(Debug, Clone, Args)]
pub struct Globals {
    /// Node to talk to, as `ferrite context list` names it; the current one where absent
    #[arg(long, global = true, env = "FERRITE_CONTEXT", value_name = "NAME")]
    pub context: Option<String>,
    /// Machine of the cluster, by its name or the start of its ID; what is asked is asked of it alone
    #[arg(long, global = true, value_name = "MACHINE")]
    pub machine: Option<String>,
    /// Form of the result
    #[arg(short, long, global = true, value_enum, default_value_t, value_name = "FORM")]
    pub output: Format,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build, inspect and verify disk images
    #[command(subcommand)]
    Image(ImageCommand),
    /// Make keys that sign slots
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Machines in QEMU on this computer
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Write and check a node's configuration (cloud-config)
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Have the node fetch a container image from its registry
    #[command(after_help = "Examples:
  ferrite pull nginx                          # docker.io/library/nginx:latest
  ferrite pull registry.example:5000/team/app:1.2
  ferrite pull app@sha256:0123…               # exactly this one")]
    Pull {
        /// Name of the image, as other container tools write it
        #[arg(value_name = "REF")]
        reference: String,
    },
    /// Bring a container image from a file or folder onto the node
    #[command(after_help = "Examples:
  skopeo copy docker://docker.io/library/nginx oci-archive:nginx.tar
  ferrite import nginx.tar --name nginx
  docker save nginx | gzip > nginx.tar.gz && ferrite import nginx.tar.gz
  ferrite import layout/ --name nginx         # an OCI layout in a folder")]
    Import(ImportArguments),
    /// List the node's container images; remove and export them
    #[command(after_help = "Examples:
  ferrite images
  ferrite images remove nginx
  ferrite images prune
  ferrite images export nginx -f nginx.tar --format docker")]
    Images {
        /// What to do with them; they are listed where it is absent
        #[command(subcommand)]
        command: Option<ImagesCommand>,
    },
    /// List the node's named volumes; remove them
    #[command(after_help = "Examples:
  ferrite volumes
  ferrite volumes remove data               # with everything in it; no unit may name it")]
    Volumes {
        /// What to do with them; they are listed where it is absent
        #[command(subcommand)]
        command: Option<VolumesCommand>,
    },
    /// Run containers
    #[command(subcommand)]
    Unit(UnitCommand),
    /// Watch what units use: processors, memory, disks, processes
    #[command(after_help = "Examples:
  ferrite top
  ferrite top --once --sort memory
  ferrite top --once -o json")]
    Top(TopArguments),
    /// Show what happened: units that started, ended, ran out of memory, images that came
    #[command(after_help = "Examples:
  ferrite events --since 1h
  ferrite events -f --unit web
  ferrite events -o json                   # one JSON document per line")]
    Events(EventsArguments),
    /// List the cluster's machines; look at one, reboot it, switch it off
    #[command(
        subcommand,
        after_help = "Examples:
  ferrite machine list
  ferrite machine status --machine dev-2   # in a cluster, through any of its machines
  ferrite machine cordon dev-2
  ferrite machine metadata dev-2 zone=b rack-"
    )]
    Machine(MachineCommand),
    /// Say who may use the cluster: list, give and revoke certificates of users
    #[command(subcommand)]
    Access(AccessCommand),
    /// List the cluster's services: which instances answer, and where
    #[command(subcommand)]
    Service(ServiceCommand),
    /// Look at the cluster's etcd itself, copy it, lead etcdctl to it
    #[command(
        subcommand,
        after_help = "Examples:
  ferrite etcd status
  ferrite etcd snapshot before-the-change.db
  ferrite etcd proxy                       # and beside it: etcdctl --endpoints=http://127.0.0.1:PORT …"
    )]
    Etcd(EtcdCommand),
    /// Look at the two OS slots and choose between them
    #[command(subcommand)]
    Slot(SlotCommand),
    /// Show where the time of the last boot went
    #[command(after_help = "Examples:
  ferrite boot
  ferrite boot --svg boot.svg
  ferrite boot -o json")]
    Boot(BootArguments),
    /// Choose the node that is talked to
    #[command(subcommand)]
    Context(ContextCommand),
    /// Write a shell's completions to standard output
    #[command(after_help = "Examples:
  ferrite completions bash > ~/.local/share/bash-completion/completions/ferrite
  ferrite completions zsh  > ~/.zfunc/_ferrite
  ferrite completions fish > ~/.config/fish/completions/ferrite.fish")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Help on a command, or on `exit-codes`
    Help {
        /// Command, or `exit-codes`
        topic: Vec<String>,
    },
}

impl Command {
    /// Writes more than text to a terminal: it draws there, makes a container's words harmless by itself, or joins a
    /// container's terminal to it.
    #[must_use]
    pub const fn steers_terminal(&self) -> bool {
        match self {
            Self::Top(_) => true,
            Self::Unit(UnitCommand::Exec(arguments)) => arguments.tty,
            Self::Unit(UnitCommand::Logs(_) | UnitCommand::Attach { .. }) => true,
            _ => false,
        }
    }
}
