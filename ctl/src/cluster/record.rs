//! What is remembered about a cluster: `cluster.json`.

use std::path::{Path, PathBuf};

use ferrite_vm::switch::control::PublishedStatus;
use ferrite_vm::switch::topology::Network;
use serde::{Deserialize, Serialize};

use super::folder;
use super::problem::ClusterError;
use super::topology;
use crate::cli::{BootMethod, PublishedPort, UpArguments};

/// Processors of a node where nothing else was said.
const CPUS: u8 = 2;
/// Memory of a node where nothing else was said: etcd and a few containers fit.
const MEMORY_MIB: u32 = 1024;
/// Processors and memory of a node that has others beside it.
const OF_SEVERAL: (u8, u32) = (1, 512);
const FILE: &str = "cluster.json";

/// A cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Name.
    pub name: String,
    /// Its nodes' names.
    pub nodes: Vec<String>,
    /// Folder of the image that its disks were made from.
    pub image: PathBuf,
    /// How its machines boot.
    pub boot: BootMethod,
    /// Virtual processors of a node.
    pub cpus: u8,
    /// Memory of a node.
    pub memory_mib: u32,
    /// The network between its machines; absent where it is one machine, which then belongs to no cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// Ports of its machines that are published on this computer, besides those of their APIs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub published: Vec<Published>,
}

/// A port that is published whenever the network is up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// Port of this computer.
    pub host: u16,
    /// Port of the machines.
    pub port: u16,
    /// The node; without one, whichever takes a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

impl Published {
    pub(super) fn new(PublishedPort { host, port }: PublishedPort, node: Option<String>) -> Self {
        Self { host, port, node }
    }

    /// What the switch has is this.
    pub(super) fn is(&self, status: &PublishedStatus) -> bool {
        status.at.port() == self.host && status.port == self.port && status.machine == self.node
    }
}

impl Record {
    /// A new cluster, of as many nodes as were asked for, or as the one had in whose place it comes.
    pub(super) fn new(arguments: &UpArguments, image: PathBuf, has: Option<usize>) -> Self {
        let count = arguments.nodes.map_or(has.unwrap_or(1), usize::from);
        let name = &arguments.name;
        let nodes: Vec<String> = (1..=count).map(|number| format!("{name}-{number}")).collect();
        let several = count > 1;
        let (cpus, memory_mib) = if several { OF_SEVERAL } else { (CPUS, MEMORY_MIB) };
        Self {
            name: name.clone(),
            network: several
                .then(|| topology::of(&nodes, (&arguments.offer, arguments.ipv6_only), seed())),
            published: arguments.publish.iter().map(|port| Published::new(*port, None)).collect(),
            nodes,
            image,
            boot: arguments.boot.unwrap_or(BootMethod::Direct),
            cpus: arguments.cpus.unwrap_or(cpus),
            memory_mib: arguments.memory.unwrap_or(memory_mib),
        }
    }

    /// The same cluster with what was asked for this time.
    pub(super) fn adapted(self, arguments: &UpArguments) -> Self {
        let further = arguments.publish.iter().map(|port| Published::new(*port, None));
        let further: Vec<_> = further.filter(|one| !self.published.contains(one)).collect();
        Self {
            published: self.published.iter().cloned().chain(further).collect(),
            boot: arguments.boot.unwrap_or(self.boot),
            cpus: arguments.cpus.unwrap_or(self.cpus),
            memory_mib: arguments.memory.unwrap_or(self.memory_mib),
            ..self
        }
    }

    /// Reads the record in a cluster's folder; `None` where there is none.
    pub(super) fn load(cluster: &Path) -> Result<Option<Self>, ClusterError> {
        let path = cluster.join(FILE);
        let Some(text) = folder::read_if_there(&path)? else { return Ok(None) };
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(|source| ClusterError::Damaged { path, source })
    }

    /// Writes the record into a cluster's folder.
    pub(super) fn save(&self, cluster: &Path) -> Result<(), ClusterError> {
        let path = cluster.join(FILE);
        let text = serde_json::to_vec_pretty(self)
            .map_err(|source| ClusterError::Damaged { path: path.clone(), source })?;
        folder::write_private(&path, &text)
    }
}

/// Where faults that are asked for are drawn from: another place for each cluster, and the same for its whole life.
fn seed() -> u64 {
    ferrite_pki::draw(8).ok().and_then(|digits| u64::from_str_radix(&digits, 16).ok()).unwrap_or(1)
}
