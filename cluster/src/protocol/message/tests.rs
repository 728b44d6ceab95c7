use std::net::IpAddr;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::catalogue::{Endpoint, Service};
use crate::records::{Capacity, Cause, Rest, Target};

fn id() -> MachineId {
    "0123456789abcdef0123456789abcdef".parse().unwrap()
}

fn machine() -> Machine {
    Machine {
        name: "dev-1".to_owned(),
        addresses: vec![IpAddr::from([10, 0, 0, 1])],
        metadata: BTreeMap::new(),
        overrides: BTreeMap::new(),
        capacity: Capacity { cpus_milli: 1, memory_bytes: 1, rest: Rest::new() },
        level: 1,
        cordoned: false,
        mesh_key: None,
        mtu: None,
        hardware: None,
        eligible: false,
        etcd_unusable: None,
        rights: Vec::new(),
        env_files: Vec::new(),
        rest: Rest::new(),
    }
}

fn peer() -> Peer {
    Peer {
        name: "dev-1".to_owned(),
        number: Some(3),
        key: Some("a2V5".to_owned()),
        addresses: vec![[10, 0, 0, 1].into()],
        mtu: Some(1500),
    }
}

/// One of each of those by which a link begins and goes on.
fn first_words() -> Vec<Message> {
    vec![
        Message::Hello(Hello {
            versions: vec![1, 2],
            cluster: "c".to_owned(),
            machine: id(),
            boot_id: "b".to_owned(),
            hardware: Some("h".to_owned()),
            level: 1,
        }),
        Message::Welcome(Welcome {
            version: 1,
            epoch: 1,
            relay: id(),
            ttl_s: 5,
            election_ms: Some(1000),
        }),
        Message::Refused { why: "another cluster's".to_owned(), copy: false, revoked: false },
        Message::Refused { why: "a copy".to_owned(), copy: true, revoked: false },
        Message::Refused { why: "forgotten".to_owned(), copy: false, revoked: true },
        Message::Revoked(RevokedPiece {
            serials: ["0a".to_owned()].into(),
            further: true,
            more: true,
        }),
        Message::Register { machine: Box::new(machine()), state: State::default() },
        Message::KeepAlive(KeepAlive { number: 1, machines: vec![id()], asks: true }),
        Message::KeptAlive { number: 1, gone: Vec::new(), held: true },
    ]
}

/// One message of each type.
fn every() -> Vec<Message> {
    let assigned = Assigned {
        spec: SpecHash::of(b"{}"),
        target: Target::Launched,
        cause: Cause::Wanted,
        fired_s: None,
        rest: Rest::new(),
    };
    let web: UnitName = "web@1".parse().unwrap();
    let endpoint =
        Endpoint { machine: id(), addresses: vec![[10, 112, 1, 2].into()], ports: Vec::new() };
    let service: Service = [(web.clone(), endpoint)].into();
    let services = [("web".to_owned(), service.clone())].into();
    let delta =
        Delta { changed: [("web".to_owned(), Some(service)), ("db".to_owned(), None)].into() };
    let mut all = first_words();
    all.extend([
        Message::State { number: 2, state: State::default() },
        Message::Stored { number: 2 },
        Message::Assignment(AssignmentSnapshot {
            revision: 7,
            instances: [(web.clone(), assigned.clone())].into(),
        }),
        Message::AssignmentDelta(AssignmentDelta {
            base: 7,
            revision: 8,
            put: [(web.clone(), assigned)].into(),
            removed: vec![web],
        }),
        Message::WantSpecs { hashes: vec![SpecHash::of(b"{}")] },
        Message::Spec(SpecText { hash: SpecHash::of(b"{}"), text: Some("{}".to_owned()) }),
        Message::Subscribe { services: Some(vec!["web".to_owned()]) },
        Message::Catalogue(CatalogueSnapshot {
            revision: 1,
            catalogue: Catalogue { services },
            more: true,
        }),
        Message::CatalogueDelta(CatalogueDelta {
            base: 1,
            revision: 2,
            delta,
            further: [("db".to_owned(), Service::new())].into(),
            more: true,
        }),
        Message::Peers(PeersPiece {
            further: true,
            more: true,
            peers: PeersSnapshot {
                networks: Networks {
                    ipv4: "10.112.0.0/12".to_owned(),
                    ipv6: "fd00:1:2::/48".to_owned(),
                    transport: Some("routes".to_owned()),
                    level: Some(2),
                    rest: Rest::new(),
                },
                peers: [(id(), peer())].into(),
            },
        }),
    ]);
    all
}

#[test]
fn every_message_is_understood_as_it_was_meant() {
    for message in every() {
        let bytes = encode(&message).unwrap();
        assert_eq!(decode(&bytes), Ok(message));
    }
}

#[test]
fn a_newer_version_s_fields_are_passed_over_and_its_messages_are_named() {
    for message in every() {
        let mut value: Value = serde_json::from_slice(&encode(&message).unwrap()).unwrap();
        value["from-2031"] = json!({"x": [1]});
        assert_eq!(decode(&serde_json::to_vec(&value).unwrap()), Ok(message));
    }
    for (text, why) in [
        (r#"{"type": "teleport"}"#, "unknown variant `teleport`"),
        (r#"{"versions": [1]}"#, "missing field `type`"),
        (r#"{"type": "hello"}"#, "missing field `versions`"),
        (r#"{"type": "keep-alive", "number": 1, "machines": ["x"]}"#, "\"x\" is no machine ID"),
        (r#"{"type": "stored", "number": -1}"#, "invalid value"),
        ("{} {}", "missing field"),
        ("[1", "expected variant identifier"),
    ] {
        let said = decode(text.as_bytes()).unwrap_err().to_string();
        assert!(said.contains(why), "{text}: {said}");
    }
    let wrong = Message::Spec(SpecText { hash: SpecHash::of(b"{}"), text: Some("{ }".to_owned()) });
    let said = decode(&encode(&wrong).unwrap()).unwrap_err().to_string();
    assert!(said.contains("it is not what its hash"), "{said}");
}

#[test]
fn the_highest_version_of_both_is_spoken() {
    assert_eq!(agreed_version(&[1]), Some(1));
    assert_eq!(agreed_version(&[7, 1, 2]), Some(2));
    assert_eq!(agreed_version(&[3, 7]), None);
    assert_eq!(agreed_version(&[]), None);
}

proptest! {
    #[test]
    fn no_bytes_end_it(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(decode(&bytes).is_err() || !bytes.is_empty());
    }

    #[test]
    fn a_flipped_byte_never_ends_it(
        which in 0..every().len(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>(),
    ) {
        let mut bytes = encode(&every()[which]).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if cut {
            bytes.truncate(at);
        }
        if let Ok(message) = decode(&bytes) {
            prop_assert_eq!(decode(&encode(&message).unwrap()), Ok(message));
        }
    }
}
