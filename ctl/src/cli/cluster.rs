//! `ferrite cluster …`

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

/// The cluster that is meant where none is named.
pub(crate) const DEFAULT_NAME: &str = "dev";

/// `ferrite cluster …`
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Start a cluster; a new one is made from the image
    #[command(after_help = "Examples:
  ferrite cluster up                              # the cluster `dev`, one node
  ferrite cluster up --nodes 3                    # three nodes that form a cluster
  ferrite cluster up --nodes 3 --publish 8080     # localhost:8080 leads to a node that listens there
  ferrite cluster up dev-2                        # of dev, this node alone
  ferrite cluster up --boot uefi --memory 2048
  ferrite cluster up --renew                      # with a new disk if the image was built anew
  ferrite cluster up test --image out/cloud --config node.toml")]
    Up(UpArguments),
    /// Switch a cluster off in order: units get their stop signal and their grace
    #[command(after_help = "Examples:
  ferrite cluster down
  ferrite cluster down dev-2         # one node
  ferrite cluster down --delete      # and delete its disk, certificates and context")]
    Down {
        /// Name of a cluster or of a node
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
    /// Is the switch between a cluster's machines
    #[command(hide = true)]
    Switch {
        /// Name
        name: String,
    },
    /// Show what a node's serial console said
    #[command(after_help = "Examples:
  ferrite cluster console            # the last 40 lines
  ferrite cluster console -f         # and everything that follows, until Ctrl-C
  ferrite cluster console -n 0 -f")]
    Console {
        /// Name of a cluster or of a node
        #[arg(default_value = DEFAULT_NAME)]
        name: String,
        /// Go on as more is written
        #[arg(short, long)]
        follow: bool,
        /// Lines to show of what was written already
        #[arg(short = 'n', long, default_value_t = 40)]
        lines: usize,
    },
    /// Cut the power of a cluster or of one node: nothing is stopped, flushed or asked
    #[command(after_help = "Examples:
  ferrite cluster kill dev-2         # one node of the cluster dev
  ferrite cluster up                 # starts what does not run")]
    Kill {
        /// Name of a cluster or of a node
        #[arg(default_value = DEFAULT_NAME)]
        name: String,
    },
    /// Pull the network cables of a cluster or of one node
    Cut {
        /// Name of a cluster or of a node
        #[arg(default_value = DEFAULT_NAME)]
        name: String,
        /// Plug them in again
        #[arg(long)]
        restore: bool,
    },
    /// Plug the network cables of a cluster or of one node in again
    Heal {
        /// Name of a cluster or of a node
        #[arg(default_value = DEFAULT_NAME)]
        name: String,
    },
    /// Add a node to a cluster of several
    #[command(after_help = "Examples:
  ferrite cluster add                            # one more node for dev: it joins the cluster
  ferrite cluster add test
  (umask 077; ferrite cluster token new > worker.toml) && ferrite cluster add --config worker.toml")]
    Add {
        /// Name
        #[arg(default_value = DEFAULT_NAME)]
        name: String,
        /// Its cloud-config, also with [cluster] and [api]; may be given again, for one more node each. Without it, the first
        /// node's
        #[arg(long, value_name = "FILE")]
        config: Vec<PathBuf>,
        /// Size of its disk, in GiB
        #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=65536), value_name = "GIB")]
        disk_size: u32,
        /// Longest wait until the node is ready
        #[arg(long, default_value = "5m", value_parser = humantime::parse_duration)]
        timeout: Duration,
    },
    /// Make a port of a cluster's machines reachable on this computer, at its loopback
    #[command(after_help = "Examples:
  ferrite cluster publish 8080               # localhost:8080 leads to any node of dev that listens there
  ferrite cluster publish 9000:80 dev-2      # localhost:9000 leads to port 80 of dev-2")]
    Publish {
        /// Port, or port of this computer and port of the machines
        #[arg(value_name = "[HOST-PORT:]PORT")]
        port: PublishedPort,
        /// Name of a cluster or of a node
        #[arg(default_value = DEFAULT_NAME)]
        name: String,
    },
    /// Freeze the machines of a cluster or of one node
    Pause {
        /// Name of a cluster or of a node
        #[arg(default_value = DEFAULT_NAME)]
        name: String,
    },
    /// Let frozen machines go on
    Resume {
        /// Name of a cluster or of a node
        #[arg(default_value = DEFAULT_NAME)]
        name: String,
    },
    /// Make, list and revoke what lets new machines into the context's cluster, wherever its machines are
    #[command(subcommand)]
    Token(TokenCommand),
}

/// `ferrite cluster token …`
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token, and write a cloud-config with it for machines that are to join and not to run etcd
    #[command(after_help = "Examples:
  (umask 077; ferrite cluster token new > worker.toml)     # for one machine, within a day; a file for its owner alone
  ferrite cluster token new --uses 20 --expires 2h
  ferrite cluster token new -o json                        # the token alone, for programs

It is shown this once: the cluster keeps a digest of it.")]
    New {
        /// Machines that it lets in
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
        uses: u32,
        /// How long it does: 366 days at most
        #[arg(long, default_value = "24h", value_parser = humantime::parse_duration, value_name = "TIME")]
        expires: Duration,
    },
    /// List tokens: how many machines each lets in, and until when
    List,
    /// Have a token let nobody in any more; machines that it has let in stay
    Revoke {
        /// The start of its ID, as `list` shows it
        #[arg(value_name = "TOKEN")]
        id: String,
    },
}

/// `ferrite cluster up …`
#[derive(Debug, Clone, Args)]
pub struct UpArguments {
    /// Name of a cluster, or of a node that is to be started alone
    #[arg(default_value = DEFAULT_NAME)]
    pub name: String,
    /// Folder of the image, as `ferrite image build` writes it; the one that the cluster was made from, or out/cloud
    #[arg(long, value_name = "DIR")]
    pub image: Option<PathBuf>,
    /// Cloud-config of the node; its API's certificates are added
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How the machine boots; as it did before, or direct
    #[arg(long, value_enum, value_name = "METHOD")]
    pub boot: Option<BootMethod>,
    /// Virtual processors of a node; as many as before, or 2, or 1 of several nodes
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=16), value_name = "N")]
    pub cpus: Option<u8>,
    /// Memory of a node, in MiB; as much as before, or 1024, or 512 of several nodes
    #[arg(long, value_parser = clap::value_parser!(u32).range(256..), value_name = "MIB")]
    pub memory: Option<u32>,
    /// Size of a new node's disk, in GiB; STATE grows to fill it
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=65536), value_name = "GIB")]
    pub disk_size: u32,
    /// Nodes of a new cluster, up to 7; as many as it has, or 1
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=7), value_name = "N")]
    pub nodes: Option<u8>,
    /// How many nodes of a new cluster may run etcd and hold the issuers' keys; all up to 5 where absent
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=5), value_name = "M", requires = "nodes")]
    pub members: Option<u8>,
    /// What the hardware clocks of machines that are off say at this start, in UTC: 2031-01-01T00:00:00; this computer's time where
    /// absent
    #[arg(long, value_name = "TIME", value_parser = parse_clock)]
    pub clock: Option<String>,
    /// Make a port of a new cluster's nodes reachable on this computer; may be given again
    #[arg(long, value_name = "[HOST-PORT:]PORT")]
    pub publish: Vec<PublishedPort>,
    /// Let the nodes of a new cluster reach a port of this computer's loopback as NAME.ferrite.test; may be given again
    #[arg(long, value_name = "NAME=PORT", value_parser = parse_offer)]
    pub offer: Vec<Offer>,
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

/// A port of this computer that leads to one of machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishedPort {
    /// Of this computer.
    pub host: u16,
    /// Of the machines.
    pub port: u16,
}

/// A service of this computer that machines find under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The name.
    pub name: String,
    /// Its port here, and there.
    pub port: u16,
}

/// A moment as QEMU takes it.
fn parse_clock(text: &str) -> Result<String, String> {
    let is_zoned = |zoned: &str| humantime::parse_rfc3339(zoned).is_ok();
    match is_zoned(&format!("{text}Z")) {
        true => Ok(text.to_owned()),
        false => Err("write a moment of UTC, as in 2031-01-01T00:00:00".to_owned()),
    }
}

fn parse_offer(text: &str) -> Result<Offer, String> {
    let (name, port) = text.split_once('=').unwrap_or((text, ""));
    match port.parse() {
        Ok(0) | Err(_) => Err("write NAME=PORT, as in registry=5000".to_owned()),
        Ok(port) => Ok(Offer { name: name.to_owned(), port }),
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
