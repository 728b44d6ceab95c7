//! `ferrite etcd …`: what is asked of etcd itself.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;

/// `ferrite etcd …`
#[derive(Debug, Subcommand)]
pub enum EtcdCommand {
    /// Show how each member's etcd is, as it says itself: who leads, how far it is, how big, what is wrong
    Status,
    /// List the members, as most of them agree, with their addresses for one another; or say how many there should be
    #[command(after_help = "Examples:
  ferrite etcd members
  ferrite etcd members --target 5     # two more, one after the other, where there are machines that may
  ferrite etcd members --target 1     # one alone: nothing is left when it is lost")]
    Members {
        /// How many machines should run etcd: 1, 3, 5 or 7
        #[arg(long, value_name = "NUMBER", value_parser = ["1", "3", "5", "7"])]
        target: Option<String>,
    },
    /// Copy all that etcd has into a file, and check the copy
    #[command(after_help = "Examples:
  ferrite etcd snapshot before-the-change.db
  ferrite etcd snapshot last.db --machine dev-2     # of this machine's etcd, whether it is up to date or not")]
    Snapshot {
        /// File to write; only its owner can read it
        file: PathBuf,
        /// Replace the file if it exists
        #[arg(long)]
        force: bool,
        /// Take it from an etcd that is cut off from the others, too: it may lack what was written last
        #[arg(long)]
        without_quorum: bool,
    },
    /// Most members are lost for good: go on with what is left on one machine, and give the others up
    #[command(
        after_help = "Asks every address of the context, says which machine's data would be used and what may be lost, and does
nothing before you agree. While a quorum is there, or could be, it is refused.

Examples:
  ferrite etcd recover
  ferrite etcd recover --yes     # for scripts: does not ask"
    )]
    Recover {
        /// Yes, all other members are to be given up
        #[arg(long)]
        yes: bool,
        /// Longest wait until it is done; the machine goes on by itself
        #[arg(long, value_name = "DURATION", default_value = "3m", value_parser = humantime::parse_duration)]
        timeout: Duration,
    },
    /// Lend etcdctl, and whoever else is on this computer, a port that leads to etcd, until Ctrl-C
    #[command(after_help = "Examples:
  ferrite etcd proxy
  ferrite etcd proxy --port 2379 --machine dev-2")]
    Proxy {
        /// Port of 127.0.0.1; any free one where absent
        #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
        port: u16,
        /// Lead to an etcd that is cut off from the others, too
        #[arg(long)]
        without_quorum: bool,
    },
}
