//! A network as data: who is in it, what they find there, and what is wrong with it from the start.
//!
//! Everything else follows: the machine number `i` of network `X` has the Ethernet address `52:54:00:0X:00:1i`, gets
//! the IPv4 address `192.168.X.1i` by DHCP, and makes itself an IPv6 address in `fd66:6572:7269:X::/64`. The gateway
//! is `192.168.X.1` and `fd66:6572:7269:X::1`. In a network without IPv4 nobody is given an IPv4 address.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::faults::Faults;
use super::mac::Mac;
use super::port::{Port, cable_socket};
use crate::machine::Card;

/// What the gateway is called where machines are named.
pub const GATEWAY: &str = "gateway";
/// Names of machines are known with and without it.
pub const DOMAIN: &str = "ferrite.test";
/// UDP port at which beacons are recorded.
pub const RECORDER_PORT: u16 = 9999;
/// Ports of the gateway that are its own.
const OWN_PORTS: [u16; 5] = [53, 67, 80, 123, RECORDER_PORT];
/// Machines at most: one byte of an address, of which the last ones are kept for what comes.
const MACHINES_MAX: usize = 200;
/// Last byte of the first machine's addresses.
const FIRST: u8 = 10;
const ULA: [u16; 3] = [0xfd66, 0x6572, 0x7269];

/// A network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Its number, the third byte of its addresses. Networks of one host do not meet: they may have the same.
    pub number: u8,
    /// Where the faults' draws come from.
    pub seed: u64,
    /// Machines have IPv6 alone.
    #[serde(default)]
    pub ipv6_only: bool,
    /// Machines, in the order of their ports and addresses.
    pub machines: Vec<Station>,
    /// Services of the host that machines reach at the gateway.
    pub services: Vec<Service>,
    /// What is wrong from the start; later ones win.
    pub faults: Vec<Fault>,
}

/// A machine on the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Station {
    /// Its name, a DNS label in small letters.
    pub name: String,
    /// Its TCP ports that are reachable on the host's loopback from the start, each at a port that the kernel chooses.
    pub published: Vec<u16>,
}

/// A TCP service of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// A name that leads to the gateway, a DNS label in small letters.
    pub name: String,
    /// Its port at the gateway.
    pub port: u16,
    /// Where it listens on the host.
    pub host: SocketAddr,
}

/// What is wrong with some links.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// From this machine (or the gateway); without it, from everybody.
    pub from: Option<String>,
    /// To this machine (or the gateway); without it, to everybody.
    pub to: Option<String>,
    /// What happens there.
    pub faults: Faults,
}

/// Why a network cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum TopologyError {
    #[error(
        "name a machine or service {name:?}: a name is 1 to 63 of a-z, 0-9 and -, and begins and ends with no -"
    )]
    Name { name: String },
    #[error("name something {name:?}: that name is taken; choose another")]
    Taken { name: String },
    #[error("make a network of {count} machines: 1 to {MACHINES_MAX} are possible")]
    Count { count: usize },
    #[error(
        "offer service {name:?} at the gateway's port {port}: that port is taken; choose another"
    )]
    ServicePort { name: String, port: u16 },
    #[error("publish port 0 of {name:?}: there is none")]
    PublishZero { name: String },
    #[error("find {name:?}: there is no such machine; there are {known}")]
    Unknown { name: String, known: String },
}

impl Network {
    /// A network of machines with these names, on which nothing is wrong.
    #[must_use]
    pub fn of(names: &[&str], seed: u64) -> Self {
        let station = |name: &&str| Station { name: (*name).to_owned(), published: Vec::new() };
        let machines = names.iter().map(station).collect();
        Self {
            number: 1,
            seed,
            ipv6_only: false,
            machines,
            services: Vec::new(),
            faults: Vec::new(),
        }
    }

    /// Checks that it can be.
    ///
    /// # Errors
    /// It cannot; the error says what to change.
    pub fn check(&self) -> Result<(), TopologyError> {
        let count = self.machines.len();
        if count == 0 || count > MACHINES_MAX {
            return Err(TopologyError::Count { count });
        }
        let mut names = BTreeSet::from([GATEWAY]);
        let services = self.services.iter().map(|service| &service.name);
        for name in self.machines.iter().map(|machine| &machine.name).chain(services) {
            if !is_label(name) {
                return Err(TopologyError::Name { name: name.clone() });
            }
            if !names.insert(name) {
                return Err(TopologyError::Taken { name: name.clone() });
            }
        }
        if let Some(machine) = self.machines.iter().find(|one| one.published.contains(&0)) {
            return Err(TopologyError::PublishZero { name: machine.name.clone() });
        }
        let mut ports = BTreeSet::from(OWN_PORTS);
        for Service { name, port, .. } in &self.services {
            if *port == 0 || !ports.insert(*port) {
                return Err(TopologyError::ServicePort { name: name.clone(), port: *port });
            }
        }
        for name in self.faults.iter().flat_map(|fault| [&fault.from, &fault.to]).flatten() {
            self.port(name)?;
        }
        Ok(())
    }

    /// The port of a machine, or the gateway's.
    ///
    /// # Errors
    /// There is no such machine.
    pub fn port(&self, name: &str) -> Result<Port, TopologyError> {
        let found = self.ports().find(|port| self.name(*port) == name);
        found.ok_or_else(|| {
            let known: Vec<&str> = self.machines.iter().map(|one| one.name.as_str()).collect();
            TopologyError::Unknown { name: name.to_owned(), known: known.join(", ") }
        })
    }

    /// All ports, the gateway's first.
    pub fn ports(&self) -> impl Iterator<Item = Port> + use<> {
        (0..=u16::try_from(self.machines.len()).unwrap_or(u16::MAX)).map(Port)
    }

    /// Who is at a port.
    #[must_use]
    pub fn name(&self, port: Port) -> &str {
        let index = usize::from(port.0).checked_sub(1);
        let machine = index.and_then(|index| self.machines.get(index));
        machine.map_or(GATEWAY, |machine| &machine.name)
    }

    /// The Ethernet address of whoever is at a port. Machines must be given theirs.
    #[must_use]
    pub fn mac(&self, port: Port) -> Mac {
        Mac([0x52, 0x54, 0, self.number, 0, last_byte(port)])
    }

    /// The IPv4 address of whoever is at a port, unless a machine was given another.
    #[must_use]
    pub fn ipv4(&self, port: Port) -> Ipv4Addr {
        Ipv4Addr::new(192, 168, self.number, last_byte(port))
    }

    /// The IPv6 address of whoever is at a port.
    #[must_use]
    pub fn ipv6(&self, port: Port) -> Ipv6Addr {
        let [a, b, c] = ULA;
        if port == Port::GATEWAY {
            return Ipv6Addr::new(a, b, c, self.number.into(), 0, 0, 0, 1);
        }
        let prefix = Ipv6Addr::new(a, b, c, self.number.into(), 0, 0, 0, 0).octets();
        let mut address = prefix;
        for (byte, own) in address.iter_mut().skip(8).zip(self.mac(port).interface_identifier()) {
            *byte = own;
        }
        address.into()
    }

    /// Where whoever is at a port is reached.
    #[must_use]
    pub fn address(&self, port: Port) -> IpAddr {
        if self.ipv6_only { self.ipv6(port).into() } else { self.ipv4(port).into() }
    }

    /// What the topology declares about a link.
    ///
    /// # Errors
    /// It names somebody who is not there.
    pub fn declared(&self, from: Port, to: Port) -> Result<Faults, TopologyError> {
        let mut declared = Faults::default();
        for fault in &self.faults {
            if self.links(fault.from.as_deref(), fault.to.as_deref())?.contains(&(from, to)) {
                declared = fault.faults;
            }
        }
        Ok(declared)
    }

    /// The network card that puts a machine at its port of the switch whose files are in `folder`.
    ///
    /// # Errors
    /// There is no such machine.
    pub fn card(&self, folder: &Path, machine: &str) -> Result<Card, TopologyError> {
        let mac = self.mac(self.port(machine)?);
        Ok(Card::Cable { socket: cable_socket(folder, machine), mac })
    }

    /// Every directed link among ports that `fault` names.
    ///
    /// # Errors
    /// It names somebody who is not there.
    pub fn links(
        &self,
        from: Option<&str>,
        to: Option<&str>,
    ) -> Result<Vec<(Port, Port)>, TopologyError> {
        let ends = |name: Option<&str>| match name {
            Some(name) => self.port(name).map(|port| vec![port]),
            None => Ok(self.ports().collect()),
        };
        let (from, to) = (ends(from)?, ends(to)?);
        let all = from.iter().flat_map(|from| to.iter().map(move |to| (*from, *to)));
        Ok(all.filter(|(from, to)| from != to).collect())
    }
}

fn last_byte(port: Port) -> u8 {
    match u8::try_from(port.0) {
        Ok(0) => 1,
        Ok(number) => number.saturating_add(FIRST - 1),
        Err(_) => u8::MAX,
    }
}

fn is_label(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&name.len())
        && name.bytes().all(fits)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, port: u16) -> Service {
        Service { name: name.to_owned(), port, host: ([127, 0, 0, 1], 5000).into() }
    }

    #[test]
    fn addresses_follow_from_the_place() {
        let network = Network { number: 7, ..Network::of(&["a", "b"], 0) };
        let b = network.port("b").unwrap();
        assert_eq!(network.mac(b).to_string(), "52:54:00:07:00:0b");
        assert_eq!(network.ipv4(b), Ipv4Addr::new(192, 168, 7, 11));
        assert_eq!(network.ipv6(b).to_string(), "fd66:6572:7269:7:5054:ff:fe07:b");
        assert_eq!(network.ipv4(Port::GATEWAY), Ipv4Addr::new(192, 168, 7, 1));
        assert_eq!(network.ipv6(Port::GATEWAY).to_string(), "fd66:6572:7269:7::1");
        assert_eq!(network.port(GATEWAY), Ok(Port::GATEWAY));
        assert_eq!(network.name(b), "b");
    }

    #[test]
    fn networks_that_cannot_be_are_refused_with_what_to_change() {
        let good =
            Network { services: vec![service("registry", 5000)], ..Network::of(&["a", "b"], 0) };
        good.check().unwrap();
        let refused = |network: Network| network.check().unwrap_err();
        for name in ["", "A", "a.b", "-a", "a-", "a b", &"a".repeat(64)] {
            let network = Network::of(&["a", name], 0);
            assert_eq!(refused(network), TopologyError::Name { name: name.to_owned() });
        }
        let taken = |name: &str| TopologyError::Taken { name: name.to_owned() };
        assert_eq!(refused(Network::of(&["a", "a"], 0)), taken("a"));
        assert_eq!(refused(Network::of(&["gateway"], 0)), taken("gateway"));
        let services = vec![service("b", 1)];
        assert_eq!(refused(Network { services, ..good.clone() }), taken("b"));
        assert_eq!(refused(Network::of(&[], 0)), TopologyError::Count { count: 0 });
        let mut machines = good.machines.clone();
        machines[1].published = vec![80, 0];
        let zero = TopologyError::PublishZero { name: "b".to_owned() };
        assert_eq!(refused(Network { machines, ..good.clone() }), zero);
        for port in [0, 53, RECORDER_PORT, 5000] {
            let services = vec![service("one", 5000), service("two", port)];
            let error = refused(Network { services, ..good.clone() });
            assert_eq!(error, TopologyError::ServicePort { name: "two".to_owned(), port });
        }
        let fault = Fault { from: None, to: Some("c".to_owned()), faults: Faults::default() };
        let error = refused(Network { faults: vec![fault], ..good });
        assert_eq!(error.to_string(), "find \"c\": there is no such machine; there are a, b");
    }

    #[test]
    fn faults_name_links_by_their_ends() {
        let network = Network::of(&["a", "b"], 0);
        let links = |from, to| {
            let links = network.links(from, to).unwrap();
            links.iter().map(|(from, to)| (from.0, to.0)).collect::<Vec<_>>()
        };
        assert_eq!(links(Some("a"), Some("b")), [(1, 2)]);
        assert_eq!(links(Some("a"), None), [(1, 0), (1, 2)]);
        assert_eq!(links(None, Some("a")), [(0, 1), (2, 1)]);
        assert_eq!(links(None, None).len(), 6);
        assert_eq!(links(Some("a"), Some("a")), []);
    }

    #[test]
    fn it_is_kept_as_text() {
        let mut network = Network::of(&["a", "b"], 5);
        let faults = Faults { delay_ms: 5, ..Faults::default() };
        network.faults.push(Fault { from: None, to: Some("a".to_owned()), faults });
        network.services.push(service("registry", 5000));
        let text = serde_json::to_string(&network).unwrap();
        assert_eq!(serde_json::from_str::<Network>(&text).unwrap(), network);
        assert!(serde_json::from_str::<Network>(&text.replacen("seed", "sede", 1)).is_err());
    }
}
