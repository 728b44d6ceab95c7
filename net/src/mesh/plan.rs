//! What a node's end of the cluster's network is to be: pure. What all transports have in common is here, and what one of them
//! needs is its own (`tunnel`, `flat`), which know nothing of one another.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ferrite_schema::cluster_network::MeshTransport;

use super::told::{Mesh, NODE_PREFIX, Peer};
use super::{flat, tunnel};
use crate::underlay::{Underlay, in_network};
use crate::wireguard::Key;

/// Where no link says anything.
const ETHERNET_MTU: u32 = 1500;
/// What every IPv6 network must carry.
const MTU_MIN: u32 = 1280;

/// What is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Addresses of machines, whose ports for machines are not for units.
    pub(crate) machines: BTreeSet<IpAddr>,
    /// Longest packet between units, in bytes.
    pub(crate) mtu: u32,
    /// What carries packets from machine to machine.
    pub(crate) carrier: Carrier,
    /// What a person should know.
    pub(crate) doubts: Vec<String>,
}

/// What carries packets from machine to machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Carrier {
    /// WireGuard.
    Tunnel(tunnel::Wanted),
    /// Plain routes.
    Flat(flat::Wanted),
}

/// What is to be on a node in these networks.
pub(crate) fn plan(mesh: &Mesh, underlay: &Underlay, ipv6: bool) -> Wanted {
    let mut mtu = underlay.mtu.unwrap_or(ETHERNET_MTU);
    let mut machines: BTreeSet<IpAddr> =
        underlay.addresses.iter().map(|(address, _)| *address).collect();
    for peer in &mesh.peers {
        machines.extend(&peer.addresses);
        if peer.number.is_some() {
            mtu = mtu.min(peer.mtu.unwrap_or(ETHERNET_MTU));
        }
    }
    let (peers, mut doubts) = apart(mesh, underlay);
    let (carrier, mtu) = match mesh.transport {
        MeshTransport::WireGuard => {
            let mtu = mtu.max(MTU_MIN + tunnel::WRAPPING) - tunnel::WRAPPING;
            let mut wanted = tunnel::Wanted { mtu, ..tunnel::Wanted::default() };
            for (number, peer, key) in keyed(peers, &mut doubts) {
                let networks = mesh.of(number, ipv6).collect();
                tunnel::add(&mut wanted, (peer, key), networks, (mesh, underlay));
            }
            (Carrier::Tunnel(wanted), mtu)
        }
        MeshTransport::Routes => {
            let (wanted, further) = flat::plan(mesh, &peers, underlay, ipv6);
            doubts.extend(further);
            (Carrier::Flat(wanted), mtu.max(MTU_MIN))
        }
    };
    if let Some(own) = overlapping(mesh, mesh.number, underlay) {
        doubts.push(format!("this node's network of the cluster is one that it is in as {own}"));
    }
    Wanted { machines, mtu, carrier, doubts }
}

/// Peers that have a network, which is nobody else's, and what is to be said of the others.
fn apart<'mesh>(mesh: &'mesh Mesh, underlay: &Underlay) -> (Vec<(u16, &'mesh Peer)>, Vec<String>) {
    let mut numbers: BTreeMap<u16, &str> = [(mesh.number, "this node")].into();
    let (mut peers, mut doubts) = (Vec::new(), Vec::new());
    for peer in &mesh.peers {
        let Some(number) = peer.number else { continue };
        if let Some(other) = numbers.get(&number) {
            doubts.push(same(peer, "network", other));
        } else if let Some(own) = overlapping(mesh, number, underlay) {
            doubts.push(format!(
                "{} has the network {}/{}, and this node is in the same one as {own}: its units are not reached",
                peer.name,
                mesh.ipv4_of(number),
                NODE_PREFIX.0
            ));
        } else {
            numbers.insert(number, &peer.name);
            peers.push((number, peer));
        }
    }
    (peers, doubts)
}

/// Of those, the ones with a key, which is nobody else's.
fn keyed<'mesh>(
    peers: Vec<(u16, &'mesh Peer)>,
    doubts: &mut Vec<String>,
) -> Vec<(u16, &'mesh Peer, Key)> {
    let mut keys: BTreeMap<Key, &str> = BTreeMap::new();
    let mut keyed = Vec::new();
    for (number, peer) in peers {
        let Some(key) = peer.key else { continue };
        if let Some(other) = keys.get(&key) {
            doubts.push(same(peer, "key", other));
        } else {
            keys.insert(key, &peer.name);
            keyed.push((number, peer, key));
        }
    }
    keyed
}

fn same(peer: &Peer, what: &str, other: &str) -> String {
    format!("{} has the same {what} as {other}: its units are not reached", peer.name)
}

/// The address by which the node is in the network of this number already, or in one around it. A network that has room for the
/// whole cluster's (`10.0.0.0/8`), in which the node is elsewhere, is none: there the cluster's counts.
fn overlapping(mesh: &Mesh, number: u16, underlay: &Underlay) -> Option<IpAddr> {
    let network = IpAddr::V4(mesh.ipv4_of(number));
    let meets = |(own, length): &&(IpAddr, u8)| {
        mesh.has(*own) && in_network(*own, network, NODE_PREFIX.0.min(*length))
    };
    underlay.addresses.iter().find(meets).map(|(own, _)| *own)
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
