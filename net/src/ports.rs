//! Who may publish which port of the node.

use std::net::IpAddr;

use ferrite_schema::names;
use ferrite_schema::unit::{Port, Protocol};

/// Ports that belong to the node: its API, and etcd's clients and peers.
const OF_NODE: [(u16, &str); 3] =
    [(names::API_PORT, "the node's API"), (2379, "the node's etcd"), (2380, "the node's etcd")];

/// A port that cannot be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Conflict {
    /// `8080/tcp`.
    pub(super) port: String,
    /// Whose it is.
    pub(super) why: String,
}

/// The first of `wanted` that is somebody's already.
pub(super) fn conflict<'a>(
    wanted: &[Port],
    others: impl Iterator<Item = (&'a str, &'a [Port])> + Clone,
) -> Option<Conflict> {
    wanted.iter().enumerate().find_map(|(index, port)| {
        let of_node = OF_NODE.iter().find(|(number, _)| *number == port.host);
        let why = if port.host == 0 || port.container == Some(0) {
            Some("there is no port 0".to_owned())
        } else if let (Some((_, owner)), Protocol::Tcp) = (of_node, port.protocol) {
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
        let found = conflict(&wanted, std::iter::once(("db", &taken[..])));
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
        check(&["7443/udp"], "80", None);
        check(&["0"], "80", Some(("0/tcp", "there is no port 0")));
    }
}
