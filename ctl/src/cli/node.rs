//! What a node is asked, but for its units and images, and who is asked.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use ferrite_schema::cluster::{ClusterName, NotOne};
use ferrite_schema::node_config::JoinAddress;

use super::network::NetworkArguments;
use crate::moment::{self, Moment};

/// `ferrite config …`
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Write a new cloud-config with every setting explained, or all that a new cluster begins with
    #[command(after_help = "Examples:
  ferrite config new --hostname web-1 web-1.toml
  ferrite config new > cloud-config.toml
  ferrite config new --cluster prod --nodes 5 --join 10.0.0.1 --join 10.0.0.2 --join 10.0.0.3
                                   # folder prod/: keys, a cloud-config for each node, a context
  ferrite config new --cluster lab --nodes 3 --network-ipv4 172.16.0.0/16 --transport routes
                                   # units' addresses are of this network; all nodes are on one link")]
    New(NewArguments),
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

/// `ferrite config new`.
#[derive(Debug, Args)]
pub struct NewArguments {
    /// Name of the node
    #[arg(long, value_name = "NAME", conflicts_with = "cluster")]
    pub hostname: Option<String>,
    /// Replace the file if it exists
    #[arg(long, requires = "file", conflicts_with = "cluster")]
    pub force: bool,
    /// Make a cluster of this name: its keys, its token, a cloud-config for each node, and a context for it
    #[arg(long, value_name = "NAME", requires = "nodes")]
    pub cluster: Option<ClusterName>,
    /// How many nodes it begins with
    #[arg(long, value_name = "N", requires = "cluster")]
    pub nodes: Option<u8>,
    /// How many of them may become members, which run etcd and hold the issuers' keys; all up to five where absent
    #[arg(long, value_name = "M", requires = "cluster")]
    pub members: Option<u8>,
    /// Where a node that may become a member is reached, once for each; port 7443 where none is given
    #[arg(long = "join", value_name = "HOST[:PORT]", requires = "cluster", value_parser = join_address)]
    pub join: Vec<JoinAddress>,
    /// What its network is to be.
    #[command(flatten)]
    pub network: NetworkArguments,
    /// File to write, standard output where absent; of a cluster the folder, its name where absent
    pub file: Option<PathBuf>,
}

fn join_address(text: &str) -> Result<JoinAddress, NotOne> {
    JoinAddress::try_from(text.to_owned())
}

/// `ferrite volumes`.
#[derive(Debug, Subcommand)]
pub enum VolumesCommand {
    /// List them with their sizes and the units that name them
    List,
    /// Remove a volume that no unit names, and everything in it
    Remove {
        /// Its name
        name: String,
    },
}

/// `ferrite events …`
#[derive(Debug, Args)]
pub struct EventsArguments {
    /// Go on as more happens
    #[arg(short, long)]
    pub follow: bool,
    /// Events not older than this: `10m`, `2h`, or a time such as `2026-02-14T09:30:00Z`
    #[arg(long, value_name = "WHEN", value_parser = moment::parse)]
    pub since: Option<Moment>,
    /// Only those of this unit
    #[arg(long, value_name = "NAME")]
    pub unit: Option<String>,
}

/// `ferrite top …`
#[derive(Debug, Args)]
pub struct TopArguments {
    /// Show one picture and end
    #[arg(long)]
    pub once: bool,
    /// Time between pictures
    #[arg(long, default_value = "2s", value_parser = humantime::parse_duration)]
    pub interval: Duration,
    /// What is at the top
    #[arg(long, value_enum, default_value_t, value_name = "COLUMN")]
    pub sort: SortBy,
}

/// Order of `ferrite top`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum SortBy {
    /// Most processor time
    #[default]
    Cpu,
    /// Most memory
    Memory,
    /// Most read and written
    Io,
    /// Most processes
    Pids,
    /// The alphabet's first
    Name,
}

/// `ferrite machine …`
#[derive(Debug, Subcommand)]
pub enum MachineCommand {
    /// List the machines of the cluster
    List,
    /// Place nothing new on a machine; what runs there stays
    Cordon {
        /// Its name, or the start of its ID
        #[arg(value_name = "MACHINE")]
        of: String,
    },
    /// Place units on a machine again
    Uncordon {
        /// Its name, or the start of its ID
        #[arg(value_name = "MACHINE")]
        of: String,
    },
    /// Have the cluster forget a machine that will not come back, and revoke its certificates
    Forget {
        /// Its name, or the start of its ID
        #[arg(value_name = "MACHINE")]
        of: String,
        /// Also where units wait for it: they begin elsewhere, without what they kept there
        #[arg(long)]
        abandon: bool,
    },
    /// Make a machine anew: everything on its STATE is lost, and it comes as another machine
    #[command(after_help = "Examples:
  ferrite machine reset dev-4                     # says what would be lost
  ferrite machine reset dev-4 --yes
  ferrite machine reset --at 10.0.0.7 --yes       # one that the cluster does not have: STATE is another cluster's, or it was forgotten")]
    Reset {
        /// Its name, or the start of its ID
        #[arg(value_name = "MACHINE")]
        of: Option<String>,
        /// Where it is reached, where the cluster does not have it; port 7443 where none is given
        #[arg(long, value_name = "HOST[:PORT]", value_parser = join_address, conflicts_with = "of")]
        at: Option<JoinAddress>,
        /// Yes, everything on STATE is to be lost
        #[arg(long)]
        yes: bool,
    },
    /// Say something about a machine, for units that look for machines; it holds until it is said otherwise
    Metadata {
        /// Its name, or the start of its ID
        #[arg(value_name = "MACHINE")]
        of: String,
        /// `KEY=VALUE` sets it, `KEY-` takes it away; it is shown where there is none of either
        #[arg(value_name = "KEY=VALUE")]
        words: Vec<String>,
        /// Have the machine's own configuration count again
        #[arg(long, value_name = "KEY")]
        forget: Vec<String>,
    },
    /// Show what the machine is and how it is
    Status,
    /// Stop everything in order and restart the machine
    Reboot,
    /// Stop everything in order and switch the machine off
    Poweroff,
    /// Have a damaged STATE checked, or made anew
    #[command(subcommand)]
    State(StateCommand),
}

/// `ferrite service …`
#[derive(Debug, Subcommand)]
pub enum ServiceCommand {
    /// List instances of services, with their machines, addresses and ports
    List,
    /// Show what a node answers units that ask for a service: the instances that are ready
    Resolve {
        /// Name of the service, as units ask for it: `web`
        name: String,
    },
    /// The same, again each time it changes, until Ctrl-C
    Watch {
        /// Names of services; all where none is given
        names: Vec<String>,
    },
}

/// `ferrite machine state …`
#[derive(Debug, Subcommand)]
pub enum StateCommand {
    /// Restart, check the file system and repair what can be repaired, however hopeless it looks
    Check,
    /// Restart and make STATE anew, EMPTY: units, images, volumes and logs of this node are gone
    Recreate {
        /// Yes, everything on STATE is to be lost
        #[arg(long)]
        yes: bool,
    },
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
    /// Add a context from a file, as `ferrite access grant` writes it, and talk to that from now on
    Add {
        /// The file
        file: PathBuf,
        /// Name of the context; as the file has it where absent
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
    },
    /// Talk to this node from now on
    Use {
        /// Name
        name: String,
    },
}
