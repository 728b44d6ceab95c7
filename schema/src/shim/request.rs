//! What is asked of the process that makes a container: one document in the unit's run folder.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::unit::{Resources, Ulimit};

/// A container to run: everything is decided, nothing is looked up any more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Unit; also the container's ID.
    pub unit: String,
    /// Folders of the layers, bottom first.
    pub layers: Vec<String>,
    /// Folder for what the container writes; emptied before each start.
    pub scratch: String,
    /// The container cannot write its root.
    pub read_only_root: bool,
    /// Program and arguments.
    pub args: Vec<String>,
    /// Environment.
    pub env: BTreeMap<String, String>,
    /// Working directory.
    pub cwd: String,
    /// `user`, `user:group`, names or numbers, as in an image's configuration; empty for root.
    pub user: String,
    /// Hostname.
    pub hostname: String,
    /// Standard input and output are a terminal.
    pub tty: bool,
    /// Standard input stays open.
    pub stdin: bool,
    /// The first process is one of the node's, which collects what ends and passes signals on to the program.
    #[serde(default)]
    pub init: bool,
    /// Everything is allowed.
    pub privileged: bool,
    /// Its own range of user and group IDs; absent where it shares the node's user namespace.
    pub ids: Option<IdRange>,
    /// Further IDs, beyond those of its range, that its image has files of or that it runs as.
    #[serde(default)]
    pub far_ids: Vec<IdStretch>,
    /// Its capabilities, without `CAP_`, defaults already applied.
    pub capabilities: Vec<String>,
    /// Devices of the node that it may use.
    pub devices: Vec<String>,
    /// Project of its root on STATE; absent in what an older version asked for.
    #[serde(default)]
    pub project: Option<u32>,
    /// What is mounted into it, in this order.
    pub mounts: Vec<BindMount>,
    /// Secrets that it has as files.
    #[serde(default)]
    pub secrets: Vec<SecretMount>,
    /// Bounds.
    pub resources: Resources,
    /// Kernel parameters of its namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// Limits of each process.
    pub ulimits: BTreeMap<String, Ulimit>,
    /// Its network.
    pub network: Network,
    /// It shares the node's network as a part of the node, and may bind the node's own ports. Its cgroup is none below the units'.
    #[serde(default)]
    pub node_ports: bool,
    /// The container's cgroup, below the cgroup root, with a leading `/`.
    pub cgroup: String,
    /// Folder of the cgroup where shims live.
    pub shim_cgroup: String,
    /// Folder for the log.
    pub log_dir: String,
    /// Signal that asks it to stop, for whoever watches over it.
    pub stop_signal: i32,
    /// It is a command before or after the unit's program, and no run of that.
    #[serde(default)]
    pub beside: bool,
}

/// User and group IDs of the node that stand for 0 and up in a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    /// What 0 is on the node.
    pub first: u32,
    /// How many.
    pub count: u32,
}

/// User and group IDs of a container in a row that are not of its range, and what stands for them on the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdStretch {
    /// The first one, in the container.
    pub inside: u32,
    /// What it is on the node.
    pub first: u32,
    /// How many.
    pub count: u32,
}

/// A file or folder of the node, or memory, mounted into a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindMount {
    /// What.
    pub source: MountSource,
    /// Where in the container.
    pub target: String,
    /// The container cannot write to it.
    pub read_only: bool,
}

/// A secret that a container has as a file, which its user alone can read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretMount {
    /// Name of the file in [`super::SECRETS`] that holds it.
    pub file: String,
    /// Where in the container.
    pub target: String,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountSource {
    /// A path whose owners are the container's own IDs, 0 for its root: a named volume, a file made for it.
    Owned(String),
    /// A path of the node, with the node's owners.
    Host(String),
    /// Memory of at most this many bytes.
    Tmpfs(u64),
}

/// A container's network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// The node's own.
    Host,
    /// Its own, with nothing but loopback.
    None,
    /// Its own, connected to the node's bridge.
    Bridge(Attachment),
    /// That of another unit's container, which runs.
    Unit(SharedNetwork),
}

/// The network of another unit's container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedNetwork {
    /// Whose.
    pub unit: String,
    /// Number of the run that it began with.
    pub run: u64,
    /// Run folder of the other unit.
    pub folder: String,
    /// The other container's cgroup, below the cgroup root.
    pub cgroup: String,
    /// How that one is connected; absent where it is connected to nothing.
    pub attachment: Option<Attachment>,
}

/// How a container is connected to the bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Name of the bridge on the node.
    pub bridge: String,
    /// Name of the node's end of the cable; at most 15 bytes.
    pub link: String,
    /// IPv4 address, prefix length, gateway.
    pub ipv4: (std::net::Ipv4Addr, u8, std::net::Ipv4Addr),
    /// IPv6 address, prefix length, gateway; absent where the kernel has no IPv6.
    pub ipv6: Option<(std::net::Ipv6Addr, u8, std::net::Ipv6Addr)>,
    /// Longest packet, in bytes: what goes to other machines is wrapped. The kernel's choice where absent.
    #[serde(default)]
    pub mtu: Option<u32>,
}
