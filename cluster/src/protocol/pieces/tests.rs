use std::collections::BTreeSet;
use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::names::MachineId;
use crate::protocol::frame::framed;
use crate::protocol::{Follower, Peer, decode};
use crate::records::{
    ADDRESSES_MAX, Networks, PORTS_MAX, REPLICAS_MAX, Rest, ServicePort, Transport,
};

fn id(number: usize) -> MachineId {
    format!("{number:032x}").parse().unwrap()
}

fn endpoint(addresses: usize, ports: usize) -> Endpoint {
    let address = |number| IpAddr::from([0xfd00, 0x1122, 0x3344, 0x5566, 0x7788, 1, 1, number]);
    let port = |number| ServicePort { port: 65_535 - number, protocol: Transport::Tcp };
    Endpoint {
        machine: id(addresses),
        addresses: (0..u16::try_from(addresses).unwrap()).map(address).collect(),
        ports: (0..u16::try_from(ports).unwrap()).map(port).collect(),
    }
}

fn service(name: &str, instances: u32, (addresses, ports): (usize, usize)) -> Service {
    let name = |number| format!("{name}@{number}").parse::<UnitName>().unwrap();
    (0..instances).map(|number| (name(number), endpoint(addresses, ports))).collect()
}

fn snapshot(catalogue: &Catalogue) -> Message {
    let catalogue = catalogue.clone();
    Message::Catalogue(CatalogueSnapshot { revision: 7, catalogue, more: false })
}

fn delta(delta: Delta) -> Message {
    let (base, revision, further) = (7, 8, BTreeMap::new());
    Message::CatalogueDelta(CatalogueDelta { base, revision, delta, further, more: false })
}

/// Tells a follower all of it; no piece but the last one changes what it answers from.
fn told(follower: &mut Follower, message: &Message, (frame, piece): (usize, usize)) -> usize {
    let pieces = encode_within(message, frame, piece).unwrap();
    let before = follower.services().cloned();
    for (number, bytes) in pieces.iter().enumerate() {
        assert!(bytes.len() <= frame, "piece {number} of {} has {}", pieces.len(), bytes.len());
        framed(bytes).unwrap();
        let last = number + 1 == pieces.len();
        let whole = match decode(bytes).unwrap() {
            Message::Catalogue(snapshot) => follower.catalogue(snapshot),
            Message::CatalogueDelta(delta) => follower.catalogue_delta(delta).unwrap(),
            other => panic!("{other:?}"),
        };
        assert_eq!(whole, last, "piece {number} of {}", pieces.len());
        assert!(last || follower.services() == before.as_ref());
    }
    pieces.len()
}

fn peers(count: usize, peer: &Peer) -> PeersSnapshot {
    PeersSnapshot {
        networks: Networks {
            ipv4: "10.112.0.0/12".to_owned(),
            ipv6: "fd00:1:2::/48".to_owned(),
            transport: None,
            level: None,
            rest: Rest::new(),
        },
        peers: (0..count).map(|number| (id(number), peer.clone())).collect(),
    }
}

fn told_peers(message: &PeersSnapshot, (frame, piece): (usize, usize)) -> usize {
    let pieces = encode_within(&Message::Peers(message.clone().into()), frame, piece).unwrap();
    let mut follower = Follower::default();
    let mut found = Vec::new();
    for bytes in &pieces {
        assert!(bytes.len() <= frame, "{}", bytes.len());
        let Message::Peers(piece) = decode(bytes).unwrap() else { panic!("other") };
        found.push(follower.peers(piece));
    }
    assert_eq!(found.pop(), Some(Some(message.clone())));
    assert!(found.iter().all(Option::is_none));
    pieces.len()
}

#[test]
fn the_biggest_service_and_the_most_peers_that_records_allow_are_told() {
    let frames = (FRAME_MAX_BYTES, PIECE_BYTES);
    let big = Catalogue {
        services: [
            ("web".to_owned(), service("web", REPLICAS_MAX, (2, 4))),
            ("fat".to_owned(), service("fat", 300, (ADDRESSES_MAX, PORTS_MAX))),
            ("none".to_owned(), Service::new()),
        ]
        .into(),
    };
    let mut follower = Follower::default();
    assert!(told(&mut follower, &snapshot(&big), frames) > 10);
    assert_eq!(follower.services(), Some(&big));
    assert!(!follower.catalogue.as_ref().unwrap().more);
    // One instance more of the big one, and one gone; what is gone first is not there at the end.
    let mut later = big.clone();
    later.services.get_mut("web").unwrap().pop_first();
    later.services.remove("fat");
    later.services.insert("fan".to_owned(), service("fan", 1, (1, 1)));
    assert!(told(&mut follower, &delta(big.difference(&later)), frames) > 3);
    assert_eq!(follower.services(), Some(&later));
    assert_eq!(follower.catalogue.as_ref().unwrap().revision, 8);
    let peer = Peer {
        name: "\"".repeat(64),
        number: Some(65_535),
        key: Some("a".repeat(64)),
        addresses: endpoint(ADDRESSES_MAX, 0).addresses,
        mtu: Some(u32::MAX),
    };
    assert!(told_peers(&peers(4_096, &peer), frames) > 10);
}

#[test]
fn any_number_of_revoked_certificates_is_told() {
    let serial = |number: usize| format!("{number:032x}");
    for (count, least) in [(0, 1), (1, 1), (100, 1), (100_000, 10)] {
        let all: BTreeSet<String> = (0..count).map(serial).collect();
        let message = Message::Revoked(all.clone().into());
        let pieces = encode_in_pieces(&message).unwrap();
        assert!(pieces.len() >= least, "{count}: {}", pieces.len());
        let mut follower = Follower::default();
        let mut found = Vec::new();
        for bytes in &pieces {
            framed(bytes).unwrap();
            let Message::Revoked(piece) = decode(bytes).unwrap() else { panic!("other") };
            found.push(follower.revoked(piece));
        }
        assert_eq!(found.pop(), Some(Some(all)));
        assert!(found.iter().all(Option::is_none));
    }
    // A piece without its beginning says nothing; what never ends counts for what came of it.
    let mut follower = Follower::default();
    let piece = |numbers: std::ops::Range<usize>, further| RevokedPiece {
        serials: numbers.map(serial).collect(),
        further,
        more: true,
    };
    assert_eq!(follower.revoked(piece(0..1, true)), None);
    assert_eq!(follower.revoked(piece(0..1, false)), None);
    let found = follower.revoked(piece(1..200_010, true));
    assert_eq!(found.map(|all| all.len()), Some(200_010));
}

#[test]
fn what_fits_is_said_as_ever_and_pieces_of_another_relay_are_forgotten() {
    let small = Catalogue { services: [("web".to_owned(), service("web", 3, (1, 1)))].into() };
    let whole = encode_in_pieces(&snapshot(&small)).unwrap();
    assert_eq!(whole, [encode(&snapshot(&small)).unwrap()]);
    assert!(!String::from_utf8(whole[0].clone()).unwrap().contains("more"));
    let mut follower = Follower::default();
    assert!(told(&mut follower, &snapshot(&small), (10_000, 10)) == 1);
    // A link that ends in the middle of a catalogue, and the next one.
    let pieces = encode_within(&snapshot(&small), 300, 100).unwrap();
    for bytes in &pieces[..2] {
        match decode(bytes).unwrap() {
            Message::Catalogue(snapshot) => assert!(!follower.catalogue(snapshot)),
            Message::CatalogueDelta(delta) => assert!(!follower.catalogue_delta(delta).unwrap()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(follower.services(), Some(&small));
    let other = Catalogue { services: [("db".to_owned(), service("db", 1, (1, 1)))].into() };
    told(&mut follower, &snapshot(&other), (10_000, 10));
    assert_eq!(follower.services(), Some(&other));
    // Further peers of nothing are none.
    let peers = peers(
        1,
        &Peer { name: "a".to_owned(), number: None, key: None, addresses: Vec::new(), mtu: None },
    );
    assert_eq!(follower.peers(PeersPiece { peers, further: true, more: false }), None);
}

prop_compose! {
    fn catalogues()(
        all in prop::collection::btree_map("[a-d]", (0..6_u32, 0..3_usize, 0..3_usize), 0..4),
    ) -> Catalogue {
        let services = all.into_iter().map(|(name, (count, addresses, ports))| {
            let service = service(&name, count, (addresses, ports));
            (name, service)
        });
        Catalogue { services: services.collect() }
    }
}

proptest! {
    /// Whatever the bound, any catalogue is told in frames below it, and whatever changes after it.
    #[test]
    fn any_catalogue_comes_out_whole(
        first in catalogues(), second in catalogues(), piece in 1..400_usize,
    ) {
        // The longest entry alone, and what is around it.
        let bounds = (piece + 700, piece);
        let mut follower = Follower::default();
        told(&mut follower, &snapshot(&first), bounds);
        prop_assert_eq!(follower.services(), Some(&first));
        told(&mut follower, &delta(first.difference(&second)), bounds);
        prop_assert_eq!(follower.services(), Some(&second));
    }

    #[test]
    fn any_list_of_peers_comes_out_whole(
        count in 0..20_usize, addresses in 0..4_usize, piece in 1..400_usize,
    ) {
        let addresses = endpoint(addresses, 0).addresses;
        let peer = Peer { name: "a".to_owned(), number: Some(1), key: None, addresses, mtu: None };
        told_peers(&peers(count, &peer), (piece + 700, piece));
    }
}
