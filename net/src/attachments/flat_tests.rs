//! Three nodes on one link whose units reach one another by plain routes: whole nodes, each in a network namespace of its own.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use ferrite_schema::cluster_network::MeshTransport;

use super::tests::{attachments, wish};
use super::*;
use crate::mesh::Peer;
use crate::namespace::{self, Room, ip, reaches};

const NODES: [u16; 3] = [1, 2, 3];

/// A node on the link, and its one unit.
struct Node {
    number: u16,
    room: Room,
    unit: Room,
    attachments: Attachments,
    folder: tempfile::TempDir,
}

fn ipv6(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

fn lan(number: u16) -> [String; 2] {
    [format!("192.168.7.{number}"), format!("fd00:7::{number}")]
}

fn mesh(number: u16, others: &[u16]) -> Mesh {
    let peers = others.iter().filter(|other| **other != number).map(|other| Peer {
        name: format!("node-{other}"),
        number: Some(*other),
        key: None,
        addresses: lan(*other).iter().map(|address| address.parse().unwrap()).collect(),
        mtu: Some(1500),
    });
    let peers = peers.collect();
    let ipv4 = ([10, 64, 0, 0].into(), 12);
    Mesh { ipv4, ipv6: ipv6("fd12:3456:789a::"), transport: MeshTransport::Routes, number, peers }
}

impl Node {
    fn begin(number: u16) -> Self {
        let (room, unit) = (Room::new(), Room::new());
        room.cable(&format!("port{number}"), "eth0");
        ip(&format!("link set port{number} master lan"));
        let [v4, v6] = lan(number);
        room.ip(&format!("address add {v4}/24 dev eth0"));
        room.ip(&format!("address add {v6}/64 dev eth0 nodad"));
        let folder = tempfile::tempdir().unwrap();
        let attachments = attachments_with_ipv6(folder.path(), number);
        Self { number, room, unit, attachments, folder }
    }

    fn join(&mut self, others: &[u16]) -> Vec<String> {
        let (told, attachments) = (mesh(self.number, others), &mut self.attachments);
        self.room.within(|| attachments.join(told)).unwrap()
    }

    /// Begins its unit; answers with its addresses.
    fn run(&mut self) -> [String; 2] {
        let attachments = &mut self.attachments;
        let files = self.room.within(|| attachments.attach(&wish("web"))).unwrap();
        let Network::Bridge(attached) = files.network else { panic!("no bridge") };
        let (ipv4, prefix, gateway) = attached.ipv4;
        let (ipv6, prefix6, gateway6) = attached.ipv6.unwrap();
        let mac = addresses::mac(ipv4.to_bits() & 0xff).map(|byte| format!("{byte:02x}")).join(":");
        let (link, pid) = (&attached.link, self.unit.pid());
        self.room
            .ip(&format!("link add {link} type veth peer name eth0 address {mac} netns {pid}"));
        self.room.ip(&format!("link set {link} master ferrite0 up"));
        self.unit.ip("link set eth0 up");
        self.unit.ip(&format!("address add {ipv4}/{prefix} dev eth0"));
        self.unit.ip(&format!("address add {ipv6}/{prefix6} dev eth0 nodad"));
        self.unit.ip(&format!("route add default via {gateway}"));
        self.unit.ip(&format!("route add default via {gateway6}"));
        [ipv4.to_string(), ipv6.to_string()]
    }

    fn routes(&self) -> String {
        self.room.within(|| ip("route show") + &ip("-6 route show"))
    }
}

fn attachments_with_ipv6(folder: &std::path::Path, number: u16) -> Attachments {
    let mut attachments = attachments(folder);
    attachments.number(Addresses::new(
        [10, 120, 0, 0].into(),
        16,
        Some(ipv6(&format!("fd99:{number}::"))),
    ));
    attachments
}

/// A socket of a room: it works there whoever uses it.
fn socket(room: &Room, at: &str) -> UdpSocket {
    let at: IpAddr = at.parse().unwrap();
    room.within(|| {
        let socket = UdpSocket::bind(SocketAddr::from((at, 0))).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        socket
    })
}

fn hears(socket: &UdpSocket) -> (String, String) {
    let mut bytes = [0; 100];
    let (length, from) = socket.recv_from(&mut bytes).unwrap();
    (String::from_utf8(bytes[..length].to_vec()).unwrap(), from.ip().to_string())
}

/// The link that all are on, and nodes on it that have joined, each with a unit.
fn cluster() -> (Vec<Node>, Vec<[String; 2]>) {
    ip("link add lan type bridge");
    ip("link set lan up");
    let mut nodes = NODES.map(Node::begin);
    for node in &mut nodes {
        assert_eq!(node.join(&NODES), Vec::<String>::new());
    }
    let addresses = nodes.iter_mut().map(Node::run).collect();
    (nodes.into(), addresses)
}

#[test]
fn units_of_nodes_on_one_link_reach_one_another_as_they_are() {
    let name = "units_of_nodes_on_one_link_reach_one_another_as_they_are";
    namespace::inside(&format!("{}::{name}", module_path!()), || {
        let (mut nodes, units) = cluster();
        assert!(
            units[1][0].starts_with("10.64.2.") && units[1][1].starts_with("fd12:3456:789a:2:")
        );
        for from in &nodes {
            for (to, addresses) in units.iter().enumerate() {
                let other = to + 1 != usize::from(from.number);
                for address in addresses.iter().filter(|_| other) {
                    assert!(
                        reaches(&from.unit, address),
                        "{} to {address}\n{}",
                        from.number,
                        from.routes()
                    );
                    assert!(
                        reaches(&from.room, address),
                        "the node itself, {} to {address}",
                        from.number
                    );
                }
            }
        }
        // Nobody is translated, and packets are as long as the link lets them be.
        for (family, any) in ["0.0.0.0", "::"].iter().enumerate() {
            let server = socket(&nodes[0].unit, any);
            let at: IpAddr = units[0][family].parse().unwrap();
            let client = socket(&nodes[1].unit, any);
            client.send_to(b"hello", (at, server.local_addr().unwrap().port())).unwrap();
            assert_eq!(hears(&server), ("hello".to_owned(), units[1][family].clone()));
        }
        assert_eq!(nodes[0].attachments.mtu, Some(1500));

        // Of a node, others' units reach nothing but that it is there; of machines, nothing that they have for one another.
        for address in ["10.64.2.1", "fd12:3456:789a:2::1"] {
            assert!(!reaches(&nodes[0].unit, &format!("{address}/7443")), "{address}");
            assert!(!reaches(&nodes[0].unit, &format!("{address}/53")), "{address}");
        }
        for address in lan(2) {
            assert!(!reaches(&nodes[0].unit, &format!("{address}/7443")), "{address}");
            assert!(!reaches(&nodes[0].unit, &format!("{address}/2380")), "{address}");
            assert!(reaches(&nodes[0].unit, &format!("{address}/8080")), "what is published is");
        }

        // A neighbour of theirs does not get in.
        let stranger = Room::new();
        stranger.cable("port9", "eth0");
        ip("link set port9 master lan");
        stranger.ip("address add 192.168.7.9/24 dev eth0");
        stranger.ip("route add 10.64.0.0/12 via 192.168.7.1");
        assert!(reaches(&stranger, "192.168.7.1"), "the aid works");
        assert!(!reaches(&stranger, &units[0][0]), "nor is the node a router for it");
        assert!(!reaches(&stranger, "10.64.1.1"));

        // A machine that has moved, and one that is gone, as another agent hears it that comes after this one.
        nodes[1].room.ip("address delete 192.168.7.2/24 dev eth0");
        nodes[1].room.ip("address add 192.168.7.22/24 dev eth0");
        let folder = nodes[0].folder.path().to_owned();
        nodes[0].attachments = attachments_with_ipv6(&folder, 1);
        let mut told = mesh(1, &[2]);
        told.peers[0].addresses[0] = [192, 168, 7, 22].into();
        let first = &mut nodes[0];
        std::fs::create_dir_all(folder.join("units/web")).unwrap();
        std::fs::write(folder.join("units/web").join(ferrite_schema::shim::REQUEST), "").unwrap();
        let after = &mut first.attachments;
        first.room.within(|| after.take_over()).unwrap();
        assert_eq!(first.room.within(|| after.join(told)).unwrap(), Vec::<String>::new());
        let routes = first.routes();
        assert!(routes.contains("10.64.2.0/24 via 192.168.7.22 dev eth0 proto 70"), "{routes}");
        assert!(!routes.contains("10.64.3.0/24") && !routes.contains("789a:3::"), "{routes}");
        assert!(!reaches(&first.unit, &units[2][0]));
        nodes[1].join(&NODES);
        assert!(reaches(&nodes[0].unit, &units[1][0]), "{}", nodes[1].routes());
    });
}

#[test]
fn who_says_to_be_a_unit_and_comes_by_another_link_is_not_heard() {
    let name = "who_says_to_be_a_unit_and_comes_by_another_link_is_not_heard";
    namespace::inside(&format!("{}::{name}", module_path!()), || {
        let (nodes, units) = cluster();
        let (first, forger) = (&nodes[0], Room::new());
        first.room.ip(&format!("link add eth1 type veth peer name eth0 netns {}", forger.pid()));
        first.room.ip("address add 192.168.8.1/24 dev eth1");
        first.room.ip("address add fd00:8::1/64 dev eth1 nodad");
        first.room.ip("link set eth1 up");
        forger.ip("link set eth0 up");
        forger.ip("address add 192.168.8.9/24 dev eth0");
        forger.ip("address add fd00:8::9/64 dev eth0 nodad");
        let mac = first.room.within(|| std::fs::read_to_string("/sys/class/net/eth1/address"));
        let mac = mac.unwrap();
        for (family, gateway) in ["192.168.8.1", "fd00:8::1"].iter().enumerate() {
            // So that nothing that is sent waits for an answer.
            forger.ip(&format!("neighbour replace {gateway} dev eth0 lladdr {}", mac.trim()));
            forger.ip(&format!("route add {} via {gateway}", units[0][family]));
            let any = ["0.0.0.0", "::"][family];
            let (server, honest) = (socket(&first.unit, any), socket(&nodes[1].unit, any));
            let at: IpAddr = units[0][family].parse().unwrap();
            let at = SocketAddr::from((at, server.local_addr().unwrap().port()));
            // That of a unit of another node, and one of nobody's.
            let nobodys = ["10.64.77.5", "fd12:3456:789a:77::5"][family];
            for forged in [units[1][family].as_str(), nobodys] {
                let how = ["/32 dev eth0", "/128 dev eth0 nodad"][family];
                forger.ip(&format!("address add {forged}{how}"));
                socket(&forger, forged).send_to(b"forged", at).unwrap();
            }
            honest.send_to(b"honest", at).unwrap();
            assert_eq!(hears(&server).0, "honest");
            let lets = ["nft", "flush", "chain", "inet", "ferrite", "strangers"];
            assert!(first.room.command(&lets).status().unwrap().success());
            socket(&forger, &units[1][family]).send_to(b"forged", at).unwrap();
            assert_eq!(
                hears(&server).0,
                "forged",
                "the aid works: without that rule it comes through"
            );
            let all: Vec<Member> = first.attachments.members.values().cloned().collect();
            let again = nftables::install(&first.attachments.ground, &all, &BTreeSet::new());
            first.room.within(|| again.into_iter().for_each(|batch| filter(batch).unwrap()));
        }
    });
}
