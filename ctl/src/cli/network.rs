//! What the network of a new cluster is to be.

use clap::Args;
use ferrite_schema::cluster_network::{ClusterIpv4, ClusterIpv6, MeshTransport};
use ferrite_schema::node_config::ClusterNetworkConfig;

/// What the network of a new cluster is to be. It is chosen once.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct NetworkArguments {
    /// IPv4 network of a new cluster's units, of which each node gets a /24; 10.112.0.0/12 where absent
    #[arg(long, value_name = "NETWORK", requires = "nodes")]
    pub network_ipv4: Option<ClusterIpv4>,
    /// IPv6 network of a new cluster's units, a /48; a private one that is drawn where absent
    #[arg(long, value_name = "NETWORK", requires = "nodes")]
    pub network_ipv6: Option<ClusterIpv6>,
    /// What carries packets of units between nodes: `wireguard`, or `routes` where all nodes are on one link; wireguard where absent
    #[arg(long, value_name = "TRANSPORT", requires = "nodes")]
    pub transport: Option<MeshTransport>,
}

impl NetworkArguments {
    /// As a configuration has it.
    #[must_use]
    pub const fn wanted(&self) -> ClusterNetworkConfig {
        ClusterNetworkConfig {
            ipv4: self.network_ipv4,
            ipv6: self.network_ipv6,
            transport: self.transport,
        }
    }
}
