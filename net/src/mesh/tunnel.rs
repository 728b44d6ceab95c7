//! What a node's end is to be where WireGuard carries packets: pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use ferrite_schema::names::MESH_PORT;

use super::told::{Mesh, Network, Peer};
use crate::underlay::{Underlay, in_network};
use crate::wireguard::{self, Key};

/// What WireGuard adds to a packet that goes over IPv6, in bytes: 40 of IPv6, 8 of UDP, 32 of its own.
pub(super) const WRAPPING: u32 = 80;

/// What is to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Peers of the device, each at the first of its addresses.
    pub(crate) peers: Vec<wireguard::Peer>,
    /// All addresses at which a peer may be tried, in their order.
    pub(crate) ways: BTreeMap<Key, Vec<SocketAddr>>,
    /// Networks behind it.
    pub(crate) routes: BTreeSet<Network>,
    /// Longest packet, in bytes.
    pub(crate) mtu: u32,
}

/// One more peer with this key, which is no other's.
pub(super) fn add(
    wanted: &mut Wanted,
    (peer, key): (&Peer, Key),
    networks: Vec<Network>,
    (mesh, underlay): (&Mesh, &Underlay),
) {
    wanted.routes.extend(networks.iter().copied());
    let ways = ways(mesh, peer, underlay);
    let endpoint = ways.first().copied();
    wanted.peers.push(wireguard::Peer { key, endpoint, allowed: networks });
    wanted.ways.insert(key, ways);
}

/// Where a peer is tried: in networks that this node is in, too, and then where a family leads that both have. Never
/// through the mesh itself. A peer without any may still come.
fn ways(mesh: &Mesh, peer: &Peer, underlay: &Underlay) -> Vec<SocketAddr> {
    // Behind translations several machines may call themselves the same.
    let own = |address: &IpAddr| underlay.addresses.iter().any(|(own, _)| own == address);
    let reachable =
        || peer.addresses.iter().copied().filter(|address| !mesh.has(*address) && !own(address));
    let near = |address: &IpAddr| {
        underlay.addresses.iter().any(|(own, prefix)| in_network(*address, *own, *prefix))
    };
    let family = |address: &IpAddr| {
        underlay.addresses.iter().any(|(own, _)| own.is_ipv4() == address.is_ipv4())
    };
    let further = reachable().filter(|address| family(address) && !near(address));
    let all = reachable().filter(near).chain(further);
    all.map(|address| SocketAddr::from((address, MESH_PORT))).collect()
}
