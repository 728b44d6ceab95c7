//! `[cluster.network]`: what a cluster's network is to be. Who begins the cluster writes it into the cluster's record, which
//! counts from then on.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::network::NetworkConfig;
use crate::cluster_network::{CLUSTER_PREFIX6, ClusterIpv4, ClusterIpv6, MeshTransport};

/// What somebody wants of it; what is absent is as usual.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClusterNetworkConfig {
    /// The IPv4 network that machines have their `/24` of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<ClusterIpv4>,
    /// The `/48` that they have their `/64` of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<ClusterIpv6>,
    /// What carries packets from machine to machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<MeshTransport>,
}

/// A network that these machines cannot have. The words say what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum UnfitNetwork {
    #[error(
        "ipv4 = \"{network}\" has room for {room} machines, and {machines} are to begin the cluster: take a wider network"
    )]
    Room { network: ClusterIpv4, room: usize, machines: usize },
    #[error(
        "a machine is reached at {address} (`join`), which is in {network}, the network of units: take another network"
    )]
    Machine { address: IpAddr, network: String },
}

impl ClusterNetworkConfig {
    /// Nothing is wanted.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.ipv4.is_none() && self.ipv6.is_none() && self.transport.is_none()
    }

    /// Looks whether it can be the network of so many machines, some of which are reached at these hosts.
    ///
    /// # Errors
    /// It cannot.
    pub fn check<'host>(
        &self,
        machines: usize,
        join: impl IntoIterator<Item = &'host str>,
    ) -> Result<(), UnfitNetwork> {
        if let Some(network) = self.ipv4
            && network.room() < machines
        {
            return Err(UnfitNetwork::Room { network, room: network.room(), machines });
        }
        let addresses = join.into_iter().filter_map(|host| host.parse::<IpAddr>().ok());
        let mut within = addresses.filter_map(|address| {
            let network = match address {
                IpAddr::V4(v4) => self.ipv4.filter(|own| own.has(v4)).map(|own| own.to_string()),
                IpAddr::V6(v6) => self.ipv6.filter(|own| own.has(v6)).map(|own| own.to_string()),
            };
            Some((address, network?))
        });
        match within.next() {
            Some((address, network)) => Err(UnfitNetwork::Machine { address, network }),
            None => Ok(()),
        }
    }
}

/// What is wrong with it beside the network that the node's units have until the node has one of the cluster's.
pub(super) fn problem_beside(wanted: ClusterNetworkConfig, lone: &NetworkConfig) -> Option<String> {
    let NetworkConfig { ipv4, ipv6, .. } = lone;
    if let (Some(network), Some(own)) = (wanted.ipv4, lone.ipv4_network()) {
        // Of the usual one the cluster gives no machine anything.
        let usual = NetworkConfig::default().ipv4_network() == Some(own);
        let shorter = network.parts().1.min(own.1);
        let meet = (network.parts().0.to_bits() ^ own.0.to_bits()) >> (32 - shorter) == 0;
        if meet && !usual {
            return Some(format!(
                "network.ipv4 = \"{ipv4}\" and cluster.network.ipv4 = \"{network}\" overlap, and units of this node would have addresses of other machines: take another one for one of them"
            ));
        }
    }
    let own = lone.ipv6_network()?;
    let network = wanted.ipv6.filter(|network| network.has(own))?;
    Some(format!(
        "network.ipv6 = \"{}\" is in cluster.network.ipv6 = \"{}/{CLUSTER_PREFIX6}\", and units of this node would have addresses of other machines: take another one for one of them",
        ipv6.as_deref().unwrap_or_default(),
        network.address()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(ipv4: &str, ipv6: &str, (machines, join): (usize, &str), expected: Option<&str>) {
        let config = ClusterNetworkConfig {
            ipv4: Some(ipv4.parse().unwrap()),
            ipv6: Some(ipv6.parse().unwrap()),
            transport: None,
        };
        let said = config.check(machines, [join]).err().map(|error| error.to_string());
        match expected {
            None => assert_eq!(said, None),
            Some(words) => {
                assert!(said.as_ref().is_some_and(|said| said.contains(words)), "{said:?}")
            }
        }
    }

    #[test]
    fn a_network_has_room_for_those_that_begin_and_none_of_them_is_in_it() {
        check("10.64.0.0/22", "fd00:1:2::/48", (3, "192.168.1.1"), None);
        check(
            "10.64.0.0/22",
            "fd00:1:2::/48",
            (4, "192.168.1.1"),
            Some("room for 3 machines, and 4"),
        );
        check("10.64.0.0/12", "fd00:1:2::/48", (3, "10.65.1.1"), Some("take another network"));
        check("10.64.0.0/12", "fd00:1:2::/48", (3, "fd00:1:2:3::1"), Some("in fd00:1:2::/48"));
        check("10.64.0.0/12", "fd00:1:2::/48", (3, "fd00:1:3::1"), None);
        check("10.64.0.0/12", "fd00:1:2::/48", (3, "a.example"), None);
    }
}
