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
        transport: MeshTransport::WireGuard,
        number: 1,
        peers,
    }
}

fn tunnel(wanted: &Wanted) -> &tunnel::Wanted {
    match &wanted.carrier {
        Carrier::Tunnel(tunnel) => tunnel,
        Carrier::Flat(flat) => panic!("{flat:?}"),
    }
}

/// Plain routes, as the peer and the neighbour that it is reached by; each address is on a link of its own number.
fn routes(wanted: &Wanted) -> Vec<(String, u32, String)> {
    match &wanted.carrier {
        Carrier::Tunnel(tunnel) => panic!("{tunnel:?}"),
        Carrier::Flat(flat) => {
            let routes = flat.routes.iter().map(|((network, _), hop)| {
                (network.to_string(), hop.link, hop.neighbour.to_string())
            });
            routes.collect()
        }
    }
}

fn flat(peers: Vec<Peer>) -> Mesh {
    Mesh { transport: MeshTransport::Routes, ..mesh(peers) }
}

fn underlay(addresses: &[(&str, u8)]) -> Underlay {
    let addresses: Vec<(IpAddr, u8)> =
        addresses.iter().map(|(address, prefix)| (address.parse().unwrap(), *prefix)).collect();
    let links = addresses.iter().zip(1..).map(|((address, _), link)| (*address, link)).collect();
    Underlay { addresses, links, mtu: Some(1500) }
}

fn endpoint_of(peer_addresses: &[&str], own: &[(&str, u8)]) -> Option<String> {
    let wanted = plan(&mesh(vec![peer(2, 2, peer_addresses)]), &underlay(own), true);
    tunnel(&wanted).peers[0].endpoint.map(|endpoint| endpoint.to_string())
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
        tunnel(&wanted).ways[&[2; 32]].iter().map(|way| way.ip().to_string()).collect();
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
    assert_eq!(tunnel(&wanted).peers[0].allowed, networks);
    assert_eq!(tunnel(&wanted).routes, networks.into());
    assert_eq!(wanted.mtu, 1420);
    let machines: Vec<String> = wanted.machines.iter().map(ToString::to_string).collect();
    assert_eq!(machines, ["10.0.0.1", "10.0.0.2"]);
    let narrow = Peer { mtu: Some(1400), ..peer(3, 3, &[]) };
    let wanted = plan(&mesh(vec![narrow]), &underlay(&[]), false);
    assert_eq!((wanted.mtu, tunnel(&wanted).peers[0].allowed.len()), (1320, 1));
}

#[test]
fn no_network_of_the_cluster_takes_the_place_of_one_that_the_node_is_in() {
    let peers = || vec![peer(2, 2, &["10.112.2.9"]), peer(40, 3, &["10.0.0.3"])];
    for own in [("10.112.2.5", 24), ("10.112.0.5", 20), ("10.112.2.200", 28)] {
        let wanted = plan(&mesh(peers()), &underlay(&[own]), false);
        let networks: Vec<String> =
            tunnel(&wanted).routes.iter().map(|(network, _)| network.to_string()).collect();
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
    assert_eq!(tunnel(&wanted).peers.len(), 1);
    assert_eq!(wanted.doubts.len(), 2, "{:?}", wanted.doubts);
    assert!(wanted.doubts[0].contains("same network as node-2"), "{:?}", wanted.doubts);
    let own = plan(&mesh(vec![peer(1, 9, &[])]), &underlay(&[]), true);
    assert_eq!(tunnel(&own).peers.len(), 0);
}

#[test]
fn plain_routes_lead_to_the_neighbour_that_a_peer_is() {
    let own = [("192.168.7.1", 24), ("10.0.0.1", 8), ("2001:db8::1", 64)];
    let to = |addresses: &[&str], ipv6: bool| {
        let wanted = plan(&flat(vec![peer(258, 2, addresses)]), &underlay(&own), ipv6);
        (routes(&wanted), wanted.doubts, wanted.mtu)
    };
    let route = |network: &str, link, by: &str| (network.to_owned(), link, by.to_owned());
    let (v4, v6) = ("10.113.2.0", "fd12:3456:789a:102::");
    let (found, doubts, mtu) = to(&["192.168.7.2", "2001:db8::2", "2001:db9::2"], true);
    assert_eq!(found, [route(v4, 1, "192.168.7.2"), route(v6, 3, "2001:db8::2")]);
    assert_eq!((doubts, mtu), (vec![], 1500), "nothing is wrapped");
    // Of several, both ends take the same.
    let (found, ..) = to(&["192.168.7.2", "10.0.0.2"], false);
    assert_eq!(found, [route(v4, 2, "10.0.0.2")]);
    // By a neighbour that is known by IPv6 alone, IPv4 goes too.
    let (found, doubts, _) = to(&["2001:db8::2"], true);
    assert_eq!(found, [route(v4, 3, "2001:db8::2"), route(v6, 3, "2001:db8::2")]);
    assert_eq!(doubts, Vec::<String>::new());
    let (found, doubts, _) = to(&["192.168.7.2"], true);
    assert_eq!(found, [route(v4, 1, "192.168.7.2")]);
    assert!(doubts[0].contains("reached by IPv4 alone") && doubts[0].contains("node-258"));
    for nowhere in [&["172.16.0.2", "2001:db9::2"][..], &["192.168.7.1"], &["10.113.2.9"], &[]] {
        let (found, doubts, _) = to(nowhere, true);
        assert_eq!(found, [], "{nowhere:?}");
        assert!(
            doubts[0].ends_with("in none: node-258: their units are not reached"),
            "{doubts:?}"
        );
    }
}

#[test]
fn those_that_plain_routes_do_not_lead_to_are_named_once_and_not_by_the_thousand() {
    let peers = (2..1000).map(|number| peer(number, 2, &["172.16.0.2"])).collect();
    let wanted = plan(&flat(peers), &underlay(&[("10.0.0.1", 8)]), true);
    let [doubt] = wanted.doubts.as_slice() else { panic!("{:?}", wanted.doubts) };
    assert!(
        doubt.contains("node-2, node-3, node-4") && doubt.contains(" and 990 others"),
        "{doubt}"
    );
    assert!(doubt.len() < 400, "{doubt}");
    assert!(
        wanted.machines.contains(&"172.16.0.2".parse().unwrap()),
        "units stay out all the same"
    );
    // Keys are of no interest here, numbers are.
    let keyless = Peer { key: None, mtu: Some(1400), ..peer(2, 2, &["10.0.0.2"]) };
    let again = peer(2, 3, &["10.0.0.3"]);
    let wanted = plan(&flat(vec![keyless, again]), &underlay(&[("10.0.0.1", 8)]), false);
    assert_eq!(routes(&wanted).len(), 1);
    assert!(wanted.doubts[0].contains("same network as node-2"), "{:?}", wanted.doubts);
    assert_eq!(wanted.mtu, 1400);
    let within = plan(&flat(Vec::new()), &underlay(&[("10.113.0.1", 24)]), false);
    assert!(within.doubts[0].contains("as 10.113.0.1"), "{:?}", within.doubts);
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
        for peer in &tunnel(&wanted).peers {
            prop_assert!(keys.insert(peer.key));
            for network in &peer.allowed {
                prop_assert!(networks.insert(*network));
                prop_assert!(network.0 != IpAddr::V4(mesh.ipv4_of(mesh.number)));
            }
            let ways = &tunnel(&wanted).ways[&peer.key];
            prop_assert_eq!(peer.endpoint, ways.first().copied());
            prop_assert!(ways.iter().all(|way| !mesh.has(way.ip())));
        }
        prop_assert_eq!(&networks, &tunnel(&wanted).routes);
        prop_assert!((1280..=1420).contains(&wanted.mtu));
    }

    /// Whatever addresses two machines have, each goes to the other by the link by which it comes, and never by itself.
    #[test]
    fn both_ends_of_a_plain_route_are_the_same_pair(
        one in proptest::collection::btree_set((0..4_u8, 1..5_u8, any::<bool>()), 0..5),
        other in proptest::collection::btree_set((0..4_u8, 1..5_u8, any::<bool>()), 0..5),
        base in proptest::sample::select(vec!["10.112.0.0/12", "172.16.0.0/16", "10.0.0.0/8"]),
    ) {
        let place = |(net, host, v6): &(u8, u8, bool)| match v6 {
            false => (IpAddr::from([192, 168, *net, *host]), 24),
            true => (IpAddr::from([0x2001, 0xdb8, 0, u16::from(*net), 0, 0, 0, u16::from(*host)]), 64),
        };
        let looks = |places: &BTreeSet<(u8, u8, bool)>| {
            let addresses: Vec<(IpAddr, u8)> = places.iter().map(place).collect();
            let links = addresses.iter().zip(1..).map(|((address, _), link)| (*address, link));
            Underlay { links: links.collect(), addresses, mtu: None }
        };
        let (one, other) = (looks(&one), looks(&other));
        let ipv4 = base.parse::<ferrite_schema::cluster_network::ClusterIpv4>().unwrap().parts();
        let sees = |own: u16, from: &Underlay, peer: u16, to: &Underlay| {
            let addresses = to.addresses.iter().map(|(address, _)| *address).collect();
            let peer = Peer { addresses, ..self::peer(peer, 0, &[]) };
            let mesh = Mesh { ipv4, number: own, ..flat(vec![peer]) };
            let wanted = plan(&mesh, from, true);
            let Carrier::Flat(flat) = wanted.carrier else { panic!("no plain routes") };
            for (network, length) in flat.routes.keys() {
                let of_peer = [IpAddr::V4(mesh.ipv4_of(mesh.peers[0].number.unwrap())), mesh.ipv6_of(mesh.peers[0].number.unwrap()).into()];
                assert!(of_peer.contains(network) && [24, 64].contains(length));
            }
            let pair = |hop: &flat::Hop| {
                let link = from.links.iter().find(|(_, link)| **link == hop.link).unwrap().0;
                (*link, hop.neighbour)
            };
            let routes = flat.routes.iter().map(|((network, _), hop)| (network.is_ipv4(), pair(hop)));
            routes.collect::<BTreeMap<bool, (IpAddr, IpAddr)>>()
        };
        let there = sees(1, &one, 2, &other);
        let back = sees(2, &other, 1, &one);
        prop_assert_eq!(there.len(), back.len());
        for (family, (own, neighbour)) in there {
            prop_assert_eq!(back.get(&family), Some(&(neighbour, own)));
        }
    }
}
