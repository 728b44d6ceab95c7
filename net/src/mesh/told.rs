//! The cluster's network, as a node is told.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(super) use ferrite_schema::cluster_network::CLUSTER_PREFIX6;
use ferrite_schema::cluster_network::{MACHINE_PREFIX4, MACHINE_PREFIX6, MeshTransport};

use crate::underlay::in_network;

/// The device.
pub(crate) const NAME: &str = "ferrite-mesh";
/// Length of a node's prefixes.
pub(crate) const NODE_PREFIX: (u8, u8) = (MACHINE_PREFIX4, MACHINE_PREFIX6);

/// A network: an address, and how long its prefix is.
pub(crate) type Network = (IpAddr, u8);

/// The cluster's network, as a node is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mesh {
    /// The network that nodes get their `/24` of.
    pub ipv4: (Ipv4Addr, u8),
    /// The `/48` that they get their `/64` of.
    pub ipv6: Ipv6Addr,
    /// What carries packets from node to node.
    pub transport: MeshTransport,
    /// This node's number.
    pub number: u16,
    /// The other machines.
    pub peers: Vec<Peer>,
}

/// Networks of a cluster to whose units plain routes lead: their packets come and go as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flat {
    /// Of all of them.
    pub ipv4: (Ipv4Addr, u8),
    /// Likewise, a `/48`.
    pub ipv6: Ipv6Addr,
}

/// Another machine of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its name, for people.
    pub name: String,
    /// Number of its network; absent where it has none yet.
    pub number: Option<u16>,
    /// Its public key; absent where it has none yet.
    pub key: Option<[u8; 32]>,
    /// Addresses at which it may be reached.
    pub addresses: Vec<IpAddr>,
    /// Longest packet of its networks, in bytes.
    pub mtu: Option<u32>,
}

impl Mesh {
    /// The `/24` of a number.
    #[must_use]
    pub fn ipv4_of(&self, number: u16) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.ipv4.0.to_bits() | (u32::from(number) << 8))
    }

    /// The `/64` of a number.
    #[must_use]
    pub fn ipv6_of(&self, number: u16) -> Ipv6Addr {
        Ipv6Addr::from_bits(self.ipv6.to_bits() | (u128::from(number) << 64))
    }

    /// This node's networks.
    #[must_use]
    pub fn own(&self) -> [(IpAddr, u8); 2] {
        let (ipv4, ipv6) = (self.ipv4_of(self.number), self.ipv6_of(self.number));
        [(ipv4.into(), NODE_PREFIX.0), (ipv6.into(), NODE_PREFIX.1)]
    }

    /// Its networks, where plain routes lead to units of others.
    #[must_use]
    pub fn flat(&self) -> Option<Flat> {
        let flat = Flat { ipv4: self.ipv4, ipv6: self.ipv6 };
        (self.transport == MeshTransport::Routes).then_some(flat)
    }

    /// Networks of a number's machine.
    pub(super) fn of(&self, number: u16, ipv6: bool) -> impl Iterator<Item = Network> + use<> {
        let v4 = (IpAddr::V4(self.ipv4_of(number)), NODE_PREFIX.0);
        let v6 = (IpAddr::V6(self.ipv6_of(number)), NODE_PREFIX.1);
        std::iter::once(v4).chain(ipv6.then_some(v6))
    }

    /// The address is of the cluster's network.
    pub(super) fn has(&self, address: IpAddr) -> bool {
        in_network(address, self.ipv4.0.into(), self.ipv4.1)
            || in_network(address, self.ipv6.into(), CLUSTER_PREFIX6)
    }
}
