//! The command line: what can be asked for, with the words that `--help` shows.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::cluster::ClusterCommand;
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
    /// Bring a container image (OCI archive) onto the node
    #[command(after_help = "Examples:
  skopeo copy docker://docker.io/library/nginx oci-archive:nginx.tar
  ferrite import nginx.tar --name nginx")]
    Import(ImportArguments),
    /// List the node's container images
    Images,
    /// Run containers
    #[command(subcommand)]
    Unit(UnitCommand),
    /// Look at the machine, reboot it, switch it off
    #[command(subcommand)]
    Machine(MachineCommand),
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

/// Placeholder until the image commands are wired in.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {}

/// Placeholder until the key commands are wired in.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {}

/// `ferrite config …`
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Write a new cloud-config with every setting explained
    #[command(after_help = "Examples:
  ferrite config new --hostname web-1 web-1.toml
  ferrite config new > cloud-config.toml")]
    New {
        /// Name of the node
        #[arg(long, value_name = "NAME")]
        hostname: Option<String>,
        /// Replace the file if it exists
        #[arg(long, requires = "file")]
        force: bool,
        /// File to write; standard output where absent
        file: Option<PathBuf>,
    },
    /// Check cloud-configs without sending them anywhere
    #[command(after_help = "Examples:
  ferrite config validate cloud-config.toml
  ferrite config validate configs/*.toml -o json")]
    Validate {
        /// Files; `-` is standard input
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

/// `ferrite import …`
#[derive(Debug, Args)]
pub struct ImportArguments {
    /// OCI archive: a tar of an OCI image layout, not compressed
    pub file: PathBuf,
    /// Name that units use for it
    #[arg(long)]
    pub name: String,
}

/// `ferrite unit …`
#[derive(Debug, Subcommand)]
pub enum UnitCommand {
    /// Start a unit: a file is submitted first, a name must be known to the node
    #[command(after_help = "Examples:
  ferrite unit start hello.toml            # submit, start, wait until it runs or has ended
  ferrite unit start hello                 # start it again
  ferrite unit start job.toml --until ended --timeout 5m")]
    Start {
        /// Unit file (TOML), or name of a submitted unit
        #[arg(value_name = "FILE-OR-NAME")]
        unit: String,
        /// How the start is waited for
        #[command(flatten)]
        wait: WaitArguments,
    },
    /// Stop a unit: its stop signal, its grace period, then SIGKILL
    Stop {
        /// Name
        name: String,
        /// Return at once instead of when it has stopped
        #[arg(long)]
        no_wait: bool,
        /// Longest wait
        #[arg(long, default_value = "2m", value_parser = humantime::parse_duration)]
        timeout: Duration,
    },
    /// Show what a unit is doing and why
    Status {
        /// Name
        name: String,
    },
    /// Show what a unit wrote: its standard output on ours, its standard error on ours
    #[command(after_help = "Examples:
  ferrite unit logs hello
  ferrite unit logs --follow --timestamps hello
  ferrite unit logs -o json hello          # one JSON document per line")]
    Logs {
        /// Name
        name: String,
        /// Go on as more is written
        #[arg(short, long)]
        follow: bool,
        /// Put the time before every line
        #[arg(short, long)]
        timestamps: bool,
    },
    /// List all units
    List,
    /// Show a unit as it was submitted
    Cat {
        /// Name
        name: String,
    },
    /// Check unit files without sending them anywhere
    Verify {
        /// Files; `-` is standard input
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Stop a unit and forget it
    Destroy {
        /// Name
        name: String,
    },
}

/// How long a start is waited for.
#[derive(Debug, Clone, Args)]
pub struct WaitArguments {
    /// What to wait for
    #[arg(long = "until", value_enum, default_value_t, value_name = "STATE")]
    pub until: Until,
    /// Return at once (the same as `--until accepted`)
    #[arg(long, conflicts_with = "until")]
    pub no_wait: bool,
    /// Longest wait
    #[arg(long, default_value = "2m", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
}

/// What `unit start` waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Until {
    /// The node has taken the request
    Accepted,
    /// Its container runs, or has ended already
    #[default]
    Running,
    /// Its container has ended
    Ended,
}

/// `ferrite machine …`
#[derive(Debug, Subcommand)]
pub enum MachineCommand {
    /// Show what the machine is and how it is
    Status,
    /// Stop everything in order and restart the machine
    Reboot,
    /// Stop everything in order and switch the machine off
    Poweroff,
}

/// `ferrite slot …`
#[derive(Debug, Subcommand)]
pub enum SlotCommand {
    /// Show both slots, which one runs, and PID 1's services
    Status,
    /// Declare the running slot good: it needs no further tries
    MarkGood,
    /// Make the other slot the next to boot, on trial
    Stage,
    /// Give up the running slot: the other one is next
    Rollback,
}

/// `ferrite boot …`
#[derive(Debug, Args)]
pub struct BootArguments {
    /// Draw the timeline into this file instead
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
}

/// `ferrite context …`
#[derive(Debug, Subcommand)]
pub enum ContextCommand {
    /// List the nodes that are known here
    List,
    /// Talk to this node from now on
    Use {
        /// Name
        name: String,
    },
}
