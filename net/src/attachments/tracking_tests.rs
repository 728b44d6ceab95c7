//! Who speaks to a port before it is published, while it is, and afterwards: a neighbour, the node itself, and units.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use ferrite_schema::unit::Protocol;

use super::tests::{attachments, wish};
use super::*;
use crate::namespace::{self, Room, ip};

/// Long enough for a computer that does much else.
const SOON: Duration = Duration::from_secs(20);

/// A node with a neighbour.
struct Node {
    near: Room,
    attachments: Attachments,
    folder: tempfile::TempDir,
}

fn numbered(folder: &std::path::Path) -> Attachments {
    let mut attachments = attachments(folder);
    let ipv6 = Some("fd00:1:2::".parse().unwrap());
    attachments.number(Addresses::new([10, 120, 0, 0].into(), 16, ipv6));
    attachments
}

fn port(host: u16, container: u16, protocol: Protocol) -> Port {
    Port { host, container: Some(container), protocol, address: None }
}

impl Node {
    fn new() -> Self {
        namespace::show_interfaces();
        ip("link set lo up");
        let near = Room::new();
        near.cable("lan0", "eth0");
        ip("address add 10.1.0.1/24 dev lan0");
        ip("address add fd00:9::1/64 dev lan0 nodad");
        near.ip("address add 10.1.0.2/24 dev eth0");
        near.ip("address add fd00:9::2/64 dev eth0 nodad");
        let folder = tempfile::tempdir().unwrap();
        let mut attachments = numbered(folder.path());
        // The packet filter is there from now on, and with it the kernel remembers connections.
        attachments.attach(&wish("quiet")).unwrap();
        Self { near, attachments, folder }
    }

    /// Attaches a unit that publishes ports.
    fn publish(&mut self, unit: &str, ports: Vec<Port>) -> Room {
        let files = self.attachments.attach(&Wish { ports, ..wish(unit) }).unwrap();
        let Network::Bridge(attached) = files.network else { panic!("no bridge") };
        let (ipv4, prefix, gateway) = attached.ipv4;
        let (ipv6, prefix6, gateway6) = attached.ipv6.unwrap();
        let mac = addresses::mac(ipv4.to_bits() & 0xffff).map(|byte| format!("{byte:02x}"));
        let (link, room) = (&attached.link, Room::new());
        room.cable(link, "eth0");
        ip(&format!("link set {link} master ferrite0"));
        room.ip(&format!("link set eth0 address {}", mac.join(":")));
        room.ip(&format!("address add {ipv4}/{prefix} dev eth0"));
        room.ip(&format!("address add {ipv6}/{prefix6} dev eth0 nodad"));
        room.ip(&format!("route add default via {gateway}"));
        room.ip(&format!("route add default via {gateway6}"));
        room
    }

    /// Those that speak to port 514, each from a port of its own that it keeps: a neighbour by IPv4 and by IPv6, and the
    /// node.
    fn speakers(&self) -> [UdpSocket; 3] {
        let neighbour = |from, to| self.near.within(|| speaker(from, to));
        [
            neighbour("10.1.0.2:4000", "10.1.0.1:514"),
            neighbour("[fd00:9::2]:4000", "[fd00:9::1]:514"),
            speaker("127.0.0.1:4000", "127.0.0.1:514"),
        ]
    }
}

fn speaker(from: &str, to: &str) -> UdpSocket {
    let socket = UdpSocket::bind(from).unwrap();
    socket.connect(to).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket
}

/// Nobody hears what is said: so it is known that the kernel has dealt with it.
fn is_refused(speaker: &UdpSocket, what: &str) {
    speaker.send(b"anybody?").unwrap();
    let error = speaker.recv(&mut [0; 10]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{speaker:?}: {what}");
}

fn hearer(room: &Room, port: u16) -> UdpSocket {
    room.within(|| {
        let socket = UdpSocket::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        socket
    })
}

fn is_heard(speaker: &UdpSocket, hearer: &UdpSocket, what: &str) {
    speaker.send(what.as_bytes()).unwrap();
    let mut heard = [0; 100];
    let (length, from) = hearer.recv_from(&mut heard).unwrap_or_else(|error| {
        panic!("{speaker:?} is not heard: {what}: {error}");
    });
    assert_eq!(&heard[..length], what.as_bytes());
    hearer.send_to(b"yes", from).unwrap();
    assert_eq!(speaker.recv(&mut heard).unwrap(), 3);
}

fn inside(name: &str, test: impl FnOnce(Node)) {
    namespace::inside(&format!("{}::{name}", module_path!()), || test(Node::new()));
}

#[test]
fn who_speaks_all_the_time_is_heard_by_whom_the_port_is_published_for() {
    inside("who_speaks_all_the_time_is_heard_by_whom_the_port_is_published_for", |mut node| {
        let speakers = node.speakers();
        for speaker in &speakers {
            is_refused(speaker, "there is no unit yet");
        }
        let first = node.publish("first", vec![port(514, 5140, Protocol::Udp)]);
        let hearer_of_first = hearer(&first, 5140);
        for speaker in &speakers {
            is_heard(speaker, &hearer_of_first, "first");
        }
        // A port that others publish changes nothing.
        let other = node.publish("other", vec![port(515, 5140, Protocol::Udp)]);
        for speaker in &speakers {
            is_heard(speaker, &hearer_of_first, "still the first");
        }
        node.attachments.detach("first");
        for speaker in &speakers {
            is_refused(speaker, "the unit is gone");
        }
        node.attachments.detach("other");
        drop((first, other));
        let second = node.publish("second", vec![port(514, 99, Protocol::Udp)]);
        let hearer_of_second = hearer(&second, 99);
        for speaker in &speakers {
            is_heard(speaker, &hearer_of_second, "second");
        }
        // The unit runs on without the port.
        node.attachments.attach(&wish("second")).unwrap();
        for speaker in &speakers {
            is_refused(speaker, "it is published no more");
        }
    });
}

#[test]
fn a_connection_ends_with_what_was_published() {
    inside("a_connection_ends_with_what_was_published", |mut node| {
        let web = node.publish("web", vec![port(8080, 80, Protocol::Tcp)]);
        let listener = web.within(|| TcpListener::bind("0.0.0.0:80").unwrap());
        let connect = |to: &str| {
            let stream = TcpStream::connect(to.parse::<SocketAddr>().unwrap()).unwrap();
            stream.set_read_timeout(Some(SOON)).unwrap();
            stream
        };
        let outside = node.near.within(|| connect("10.1.0.1:8080"));
        let (from_outside, _) = listener.accept().unwrap();
        let from_node = connect("127.0.0.1:8080");
        let (of_node, _) = listener.accept().unwrap();
        let mut clients = [(outside, from_outside), (from_node, of_node)];
        for (client, unit) in &mut clients {
            client.write_all(b"a").unwrap();
            unit.read_exact(&mut [0]).unwrap();
        }
        node.attachments
            .attach(&Wish { ports: vec![port(8080, 80, Protocol::Tcp)], ..wish("web") })
            .unwrap();
        for (client, unit) in &mut clients {
            client.write_all(b"b").unwrap();
            unit.read_exact(&mut [0]).unwrap();
        }
        node.attachments.attach(&wish("web")).unwrap();
        for (client, _) in &mut clients {
            client.write_all(b"c").unwrap();
            let error = client.read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{client:?}");
        }
    });
}

#[test]
fn a_unit_that_ended_without_an_agent_is_followed_by_the_next_agent() {
    inside("a_unit_that_ended_without_an_agent_is_followed_by_the_next_agent", |mut node| {
        let speakers = node.speakers();
        let log = node.publish("log", vec![port(514, 5140, Protocol::Udp)]);
        let hearer = hearer(&log, 5140);
        for speaker in &speakers {
            is_heard(speaker, &hearer, "log");
        }
        let run = node.folder.path().join("units/log");
        std::fs::create_dir_all(&run).unwrap();
        std::fs::write(run.join(ferrite_schema::shim::REQUEST), "").unwrap();
        numbered(node.folder.path()).take_over().unwrap();
        for speaker in &speakers {
            is_heard(speaker, &hearer, "the agent is another");
        }
        std::fs::write(run.join(ferrite_schema::shim::OUTCOME), "").unwrap();
        numbered(node.folder.path()).take_over().unwrap();
        for speaker in &speakers {
            is_refused(speaker, "the unit is gone");
        }
    });
}

#[test]
fn a_unit_is_heard_by_another_one_whose_port_it_asked_for_too_early() {
    inside("a_unit_is_heard_by_another_one_whose_port_it_asked_for_too_early", |mut node| {
        let early = node.publish("early", vec![]);
        let address: IpAddr = "10.1.0.1".parse().unwrap();
        let speaker = early.within(|| {
            let socket = UdpSocket::bind("0.0.0.0:4000").unwrap();
            socket.connect((address, 514)).unwrap();
            socket.set_read_timeout(Some(SOON)).unwrap();
            socket
        });
        // It hears nothing at all: the node drops what units ask of it.
        speaker.send(b"early").unwrap();
        let log = node.publish("log", vec![port(514, 5140, Protocol::Udp)]);
        is_heard(&speaker, &hearer(&log, 5140), "a unit");
        node.attachments.detach("log");
        let bound = Port { address: Some(address), ..port(514, 5141, Protocol::Udp) };
        let next = node.publish("next", vec![bound]);
        is_heard(&speaker, &hearer(&next, 5141), "a unit");
    });
}
