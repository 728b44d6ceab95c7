//! Ports that are the node's own, and who may publish which other.

use std::net::IpAddr;

use ferrite_schema::names;
use ferrite_schema::unit::{Port, Protocol};

/// Where the node uses a port of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// On all its addresses.
    Everywhere,
    /// On the bridge's addresses only; on others it may be published.
    Bridge,
}

/// Ports that belong to the node.
const OF_NODE: [(u16, Protocol, Place, &str); 8] = [
    (names::API_PORT, Protocol::Tcp, Place::Everywhere, "the node's API"),
    (2379, Protocol::Tcp, Place::Everywhere, "the node's etcd"),
    (2380, Protocol::Tcp, Place::Everywhere, "the node's etcd"),
    (names::MESH_PORT, Protocol::Udp, Place::Everywhere, "the cluster's network"),
    (names::BEACON_PORT, Protocol::Udp, Place::Everywhere, "nodes that look for one another"),
    (68, Protocol::Udp, Place::Everywhere, "the node's DHCP client"),
    (53, Protocol::Udp, Place::Bridge, "the resolver of the units: name an address of the node"),
    (53, Protocol::Tcp, Place::Bridge, "the resolver of the units: name an address of the node"),
];

/// Ports that the node uses. What shares its network must not have them, at whatever address: a socket on all
/// addresses is in the way of one on a single address.
pub fn of_node() -> impl Iterator<Item = (u16, Protocol)> {
    OF_NODE.iter().map(|(number, protocol, ..)| (*number, *protocol))
}

/// A port that cannot be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Conflict {
    /// `8080/tcp`.
    pub(super) port: String,
    /// Whose it is.
    pub(super) why: String,
}

/// The first of `wanted` that is somebody's already, where the bridge has the addresses `bridge`.
pub(super) fn conflict<'a>(
    wanted: &[Port],
    bridge: &[IpAddr],
    others: impl Iterator<Item = (&'a str, &'a [Port])> + Clone,
) -> Option<Conflict> {
    wanted.iter().enumerate().find_map(|(index, port)| {
        let of_node = OF_NODE.iter().find(|(number, protocol, place, _)| {
            (*number, *protocol) == (port.host, port.protocol)
                && (*place == Place::Everywhere || bridge.iter().any(|own| covers(port, *own)))
        });
        let why = if port.host == 0 || port.container == Some(0) {
            Some("there is no port 0".to_owned())
        } else if let Some((.., owner)) = of_node {
            Some(format!("it is used by {owner}"))
        } else if wanted.iter().take(index).any(|other| meet(port, other)) {
            Some("the unit asks for it twice".to_owned())
        } else {
            let mut others = others.clone();
            let owner = others.find(|(_, ports)| ports.iter().any(|other| meet(port, other)));
            owner.map(|(unit, _)| format!("unit {unit} has it"))
        };
        why.map(|why| Conflict { port: text(port), why })
    })
}

/// A port as people write it.
fn text(port: &Port) -> String {
    let protocol = match port.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    match port.address {
        Some(IpAddr::V6(address)) => format!("[{address}]:{}/{protocol}", port.host),
        Some(IpAddr::V4(address)) => format!("{address}:{}/{protocol}", port.host),
        None => format!("{}/{protocol}", port.host),
    }
}

/// A packet to this address of the node could be for the port.
pub(super) fn covers(port: &Port, address: IpAddr) -> bool {
    port.address.is_none_or(|bound| {
        bound == address || (bound.is_unspecified() && bound.is_ipv4() == address.is_ipv4())
    })
}

/// A packet could be for both.
fn meet(one: &Port, other: &Port) -> bool {
    let same_place = match (one.address, other.address) {
        (None, _) | (_, None) => true,
        (Some(a), Some(b)) if a.is_unspecified() || b.is_unspecified() => {
            a.is_ipv4() == b.is_ipv4()
        }
        (Some(a), Some(b)) => a == b,
    };
    one.host == other.host && one.protocol == other.protocol && same_place
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(text: &str) -> Port {
        let (address, rest) = text
            .rsplit_once('@')
            .map_or((None, text), |(address, rest)| (Some(address.parse().unwrap()), rest));
        let (number, protocol) = rest.split_once('/').unwrap_or((rest, "tcp"));
        let protocol = if protocol == "udp" { Protocol::Udp } else { Protocol::Tcp };
        Port { host: number.parse().unwrap(), container: None, protocol, address }
    }

    fn check(wanted: &[&str], taken: &str, expected: Option<(&str, &str)>) {
        let wanted: Vec<Port> = wanted.iter().map(|text| port(text)).collect();
        let taken = [port(taken)];
        let bridge = [IpAddr::from([10, 120, 0, 1]), "fd00::1".parse().unwrap()];
        let found = conflict(&wanted, &bridge, std::iter::once(("db", &taken[..])));
        let expected =
            expected.map(|(port, why)| Conflict { port: port.to_owned(), why: why.to_owned() });
        assert_eq!(found, expected, "{wanted:?}");
    }

    #[test]
    fn a_port_has_one_owner() {
        let of_db = |port| Some((port, "unit db has it"));
        check(&["80", "81"], "82", None);
        check(&["81", "80"], "80", of_db("80/tcp"));
        check(&["80/udp"], "80", None);
        check(&["80/udp"], "80/udp", of_db("80/udp"));
        check(&["10.0.0.1@80"], "80", of_db("10.0.0.1:80/tcp"));
        check(&["80"], "10.0.0.1@80", of_db("80/tcp"));
        check(&["10.0.0.1@80"], "10.0.0.2@80", None);
        check(&["0.0.0.0@80"], "10.0.0.2@80", of_db("0.0.0.0:80/tcp"));
        check(&["::@80"], "10.0.0.2@80", None);
        check(&["::1@80"], "::@80", of_db("[::1]:80/tcp"));
        check(
            &["80", "10.0.0.1@80"],
            "81",
            Some(("10.0.0.1:80/tcp", "the unit asks for it twice")),
        );
    }

    #[test]
    fn the_nodes_own_ports_are_nobodys() {
        check(&["7443"], "80", Some(("7443/tcp", "it is used by the node's API")));
        check(
            &["127.0.0.1@2379"],
            "80",
            Some(("127.0.0.1:2379/tcp", "it is used by the node's etcd")),
        );
        let dhcp = "it is used by the node's DHCP client";
        check(&["68/udp"], "80", Some(("68/udp", dhcp)));
        check(&["192.0.2.1@68/udp"], "80", Some(("192.0.2.1:68/udp", dhcp)));
        check(&["68", "67/udp"], "80", None);
        let names = "it is used by the resolver of the units: name an address of the node";
        check(&["53/udp"], "80", Some(("53/udp", names)));
        check(&["53"], "80", Some(("53/tcp", names)));
        check(&["0.0.0.0@53/udp"], "80", Some(("0.0.0.0:53/udp", names)));
        check(&["::@53/udp"], "80", Some(("[::]:53/udp", names)));
        check(&["10.120.0.1@53/udp"], "80", Some(("10.120.0.1:53/udp", names)));
        check(&["fd00::1@53"], "80", Some(("[fd00::1]:53/tcp", names)));
        check(&["192.0.2.1@53/udp", "2001:db8::1@53"], "80", None);
        check(&["7443/udp"], "80", None);
        let looks = "it is used by nodes that look for one another";
        check(&["51821/udp"], "80", Some(("51821/udp", looks)));
        check(&["0"], "80", Some(("0/tcp", "there is no port 0")));
    }
}
