//! What a node's end of the mesh is to be: pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use ferrite_schema::names::MESH_PORT;

use super::told::{Mesh, NODE_PREFIX, Peer};
use crate::underlay::{Underlay, in_network};
use crate::wireguard::{self, Key};

/// What WireGuard adds to a packet that goes over IPv6, in bytes: 40 of IPv6, 8 of UDP, 32 of its own.
const WRAPPING: u32 = 80;
/// Where no link says anything.
const ETHERNET_MTU: u32 = 1500;
/// What every IPv6 network must carry.
const MTU_MIN: u32 = 1280;

/// What is to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Peers of the device, each at the first of its addresses.
    pub(crate) peers: Vec<wireguard::Peer>,
    /// All addresses at which a peer may be tried, in their order.
    pub(crate) ways: BTreeMap<Key, Vec<SocketAddr>>,
    /// Networks behind it.
    pub(crate) routes: BTreeSet<(IpAddr, u8)>,
    /// Addresses of machines, whose ports for machines are not for units.
    pub(crate) machines: BTreeSet<IpAddr>,
    /// Longest packet in the mesh, in bytes.
    pub(crate) mtu: u32,
    /// What a person should know.
    pub(crate) doubts: Vec<String>,
}

/// What is to be on a node in these networks.
pub(crate) fn plan(mesh: &Mesh, underlay: &Underlay, ipv6: bool) -> Wanted {
    let mut wanted = Wanted::default();
    let own = underlay.addresses.iter().map(|(address, _)| *address);
    wanted.machines = own.collect();
    let mut mtu = underlay.mtu.unwrap_or(ETHERNET_MTU);
    let mut numbers: BTreeMap<u16, &str> = [(mesh.number, "this node")].into();
    let mut keys: BTreeMap<Key, &str> = BTreeMap::new();
    for peer in &mesh.peers {
        wanted.machines.extend(&peer.addresses);
        let (Some(number), Some(key)) = (peer.number, peer.key) else { continue };
        mtu = mtu.min(peer.mtu.unwrap_or(ETHERNET_MTU));
        let same = numbers.get(&number).map(|other| ("network", *other));
        if let Some((what, other)) = same.or_else(|| keys.get(&key).map(|other| ("key", *other))) {
            let doubt =
                format!("{} has the same {what} as {other}: its units are not reached", peer.name);
            wanted.doubts.push(doubt);
            continue;
        }
        if let Some(own) = overlapping(mesh, number, underlay) {
            wanted.doubts.push(format!(
                "{} has the network {}/{}, and this node is in the same one as {own}: its units are not reached",
                peer.name,
                mesh.ipv4_of(number),
                NODE_PREFIX.0
            ));
            continue;
        }
        numbers.insert(number, &peer.name);
        keys.insert(key, &peer.name);
        let mut networks = vec![(IpAddr::V4(mesh.ipv4_of(number)), NODE_PREFIX.0)];
        if ipv6 {
            networks.push((IpAddr::V6(mesh.ipv6_of(number)), NODE_PREFIX.1));
        }
        wanted.routes.extend(networks.iter().copied());
        let ways = ways(mesh, peer, underlay);
        let endpoint = ways.first().copied();
        wanted.peers.push(wireguard::Peer { key, endpoint, allowed: networks });
        wanted.ways.insert(key, ways);
    }
    if let Some(own) = overlapping(mesh, mesh.number, underlay) {
        wanted
            .doubts
            .push(format!("this node's network of the cluster is one that it is in as {own}"));
    }
    wanted.mtu = mtu.max(MTU_MIN + WRAPPING) - WRAPPING;
    wanted
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn peer(number: u16, key: u8, addresses: &[&str]) -> Peer {
        Peer {
            name: format!("node-{number}"),
            number: Some(number),
            key: Some([key; 32]),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            mtu: None,
        }
    }

    fn mesh(peers: Vec<Peer>) -> Mesh {
        Mesh {
            ipv4: ("10.112.0.0".parse().unwrap(), 12),
            ipv6: "fd12:3456:789a::".parse().unwrap(),
            number: 1,
            peers,
        }
    }

    fn underlay(addresses: &[(&str, u8)]) -> Underlay {
        let addresses =
            addresses.iter().map(|(address, prefix)| (address.parse().unwrap(), *prefix));
        Underlay { addresses: addresses.collect(), mtu: Some(1500) }
    }

    fn endpoint_of(peer_addresses: &[&str], own: &[(&str, u8)]) -> Option<String> {
        let wanted = plan(&mesh(vec![peer(2, 2, peer_addresses)]), &underlay(own), true);
        wanted.peers[0].endpoint.map(|endpoint| endpoint.to_string())
    }

    #[test]
    fn a_peer_is_tried_in_a_network_of_both_first_and_never_through_the_mesh() {
        let own = [("192.168.7.1", 24), ("2001:db8::1", 64)];
        let at = |addresses: &[&str]| endpoint_of(addresses, &own);
        assert_eq!(at(&["10.0.0.2", "192.168.7.2"]).unwrap(), "192.168.7.2:51820");
        assert_eq!(at(&["10.0.0.2", "2001:db8::2"]).unwrap(), "[2001:db8::2]:51820");
        assert_eq!(at(&["10.0.0.2", "2001:db9::2"]).unwrap(), "10.0.0.2:51820");
        assert_eq!(at(&["10.113.0.2"]), None, "that is a unit's");
        assert_eq!(at(&["192.168.7.1"]), None, "that is this node");
        assert_eq!(at(&["fd12:3456:789a:5::2"]), None);
        assert_eq!(endpoint_of(&["10.0.0.2"], &[("2001:db8::1", 64)]), None, "no way");
        assert_eq!(endpoint_of(&["10.0.0.2"], &[("10.0.0.1", 0)]).unwrap(), "10.0.0.2:51820");
        let all = ["2001:db9::2", "10.113.0.2", "10.0.0.2", "192.168.7.1", "192.168.7.2"];
        let wanted = plan(&mesh(vec![peer(2, 2, &all)]), &underlay(&own), true);
        let ways: Vec<String> =
            wanted.ways[&[2; 32]].iter().map(|way| way.ip().to_string()).collect();
        assert_eq!(ways, ["192.168.7.2", "2001:db9::2", "10.0.0.2"]);
    }

    #[test]
    fn a_peer_has_its_networks_and_no_others() {
        let wanted =
            plan(&mesh(vec![peer(258, 2, &["10.0.0.2"])]), &underlay(&[("10.0.0.1", 8)]), true);
        let networks = [
            (IpAddr::V4("10.113.2.0".parse().unwrap()), 24),
            (IpAddr::V6("fd12:3456:789a:102::".parse().unwrap()), 64),
        ];
        assert_eq!(wanted.peers[0].allowed, networks);
        assert_eq!(wanted.routes, networks.into());
        assert_eq!(wanted.mtu, 1420);
        let machines: Vec<String> = wanted.machines.iter().map(ToString::to_string).collect();
        assert_eq!(machines, ["10.0.0.1", "10.0.0.2"]);
        let narrow = Peer { mtu: Some(1400), ..peer(3, 3, &[]) };
        let wanted = plan(&mesh(vec![narrow]), &underlay(&[]), false);
        assert_eq!((wanted.mtu, wanted.peers[0].allowed.len()), (1320, 1));
    }

    #[test]
    fn no_network_of_the_cluster_takes_the_place_of_one_that_the_node_is_in() {
        let peers = || vec![peer(2, 2, &["10.112.2.9"]), peer(40, 3, &["10.0.0.3"])];
        for own in [("10.112.2.5", 24), ("10.112.0.5", 20), ("10.112.2.200", 28)] {
            let wanted = plan(&mesh(peers()), &underlay(&[own]), false);
            let networks: Vec<String> =
                wanted.routes.iter().map(|(network, _)| network.to_string()).collect();
            assert_eq!(networks, ["10.112.40.0"], "{own:?}");
            assert!(wanted.doubts[0].contains(own.0), "{:?}", wanted.doubts);
            assert!(wanted.machines.contains(&"10.112.2.9".parse().unwrap()));
        }
        let own = plan(&mesh(Vec::new()), &underlay(&[("10.112.1.7", 24)]), false);
        assert_eq!(own.doubts.len(), 1);
    }

    #[test]
    fn a_copy_is_doubted_and_takes_nothing_from_the_first() {
        let peers = vec![peer(2, 2, &["10.0.0.2"]), peer(2, 3, &["10.0.0.3"]), peer(4, 2, &[])];
        let wanted = plan(&mesh(peers), &underlay(&[("10.0.0.1", 8)]), true);
        assert_eq!(wanted.peers.len(), 1);
        assert_eq!(wanted.doubts.len(), 2, "{:?}", wanted.doubts);
        assert!(wanted.doubts[0].contains("same network as node-2"), "{:?}", wanted.doubts);
        assert_eq!(plan(&mesh(vec![peer(1, 9, &[])]), &underlay(&[]), true).peers.len(), 0);
    }

    proptest! {
        /// Whatever the records say, no two peers share a network or a key, and none leads through the mesh.
        #[test]
        fn no_records_make_networks_overlap(
            records in proptest::collection::vec((0..6_u16, 0..6_u8, any::<[u8; 4]>(), 0..3000_u32), 0..8),
        ) {
            let peers = records.iter().map(|(number, key, address, mtu)| Peer {
                name: "x".to_owned(),
                number: (*number > 0).then_some(*number),
                key: (*key > 0).then_some([*key; 32]),
                addresses: vec![IpAddr::from(*address), "10.112.1.9".parse().unwrap()],
                mtu: Some(*mtu),
            });
            let mesh = mesh(peers.collect());
            let wanted = plan(&mesh, &underlay(&[("10.0.0.1", 8)]), true);
            let mut networks = BTreeSet::new();
            let mut keys = BTreeSet::new();
            for peer in &wanted.peers {
                prop_assert!(keys.insert(peer.key));
                for network in &peer.allowed {
                    prop_assert!(networks.insert(*network));
                    prop_assert!(network.0 != IpAddr::V4(mesh.ipv4_of(mesh.number)));
                }
                let ways = &wanted.ways[&peer.key];
                prop_assert_eq!(peer.endpoint, ways.first().copied());
                prop_assert!(ways.iter().all(|way| !mesh.has(way.ip())));
            }
            prop_assert_eq!(networks, wanted.routes);
            prop_assert!((1280..=1420).contains(&wanted.mtu));
        }
    }
}
