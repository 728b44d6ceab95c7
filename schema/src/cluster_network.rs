//! The network that a cluster's units have: what it may be made of, how many machines fit into it, and what carries it from
//! machine to machine.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::cluster::{ClusterId, NotOne};

/// Length of the prefix that each machine has, by family.
pub const MACHINE_PREFIX4: u8 = 24;
/// Likewise: what devices that number themselves take (RFC 4291, section 2.5.1).
pub const MACHINE_PREFIX6: u8 = 64;
/// Length of the cluster's own: with it, a number of 16 bits names a machine's network.
pub const CLUSTER_PREFIX6: u8 = 48;
/// The shortest prefix: it has as many numbers as there can be.
const PREFIX4_MIN: u8 = MACHINE_PREFIX4 - 16;
/// The longest: three machines are the fewest of which one may be lost.
const PREFIX4_MAX: u8 = 22;
/// Digits of a cluster's ID that its private `/48` has behind `fd`.
const DRAWN_DIGITS: usize = 10;
/// The first number that is given: that of the cluster's own address is nobody's.
pub const NUMBER_FIRST: u16 = 1;

/// What nodes have before they have a network of their cluster's, where nothing else is configured. It is in none of the ranges
/// that clouds, Docker, podman and Kubernetes hand out by default.
pub const LONE_NETWORK4: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 120, 0, 0), 16);
/// What private networks have (RFC 1918), and what providers share (RFC 6598).
const PRIVATE4: [(Ipv4Addr, u8); 4] = [
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
];
/// Private addresses (RFC 4193), and those of the world.
const UNICAST6: [(Ipv6Addr, u8); 2] = [
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7),
    (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3),
];
/// Where clouds tell machines about themselves at addresses that are within those ranges: Alibaba; Amazon, Google, Scaleway.
const METADATA4: Ipv4Addr = Ipv4Addr::new(100, 100, 100, 200);
const METADATA6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0),
    Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0),
];

const WHAT: &str = "network for a cluster";

/// The IPv4 network that machines have their `/24` of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterIpv4 {
    network: Ipv4Addr,
    prefix: u8,
}

/// The IPv6 network, a `/48`, that machines have their `/64` of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterIpv6(Ipv6Addr);

/// What carries packets of units from machine to machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum MeshTransport {
    /// WireGuard, whatever is between the machines.
    #[default]
    WireGuard,
    /// Plain routes, over a link that all machines are on.
    Routes,
}

impl ClusterIpv4 {
    /// What a cluster has where nobody said anything: room for 3,839 machines.
    pub const USUAL: Self = Self { network: Ipv4Addr::new(10, 112, 0, 0), prefix: 12 };

    /// Address and length of the prefix.
    #[must_use]
    pub const fn parts(self) -> (Ipv4Addr, u8) {
        (self.network, self.prefix)
    }

    /// The `/24` of a number.
    #[must_use]
    pub fn of(self, number: u16) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network.to_bits() | (u32::from(number) << 8))
    }

    /// Whether an address is in it.
    #[must_use]
    pub fn has(self, address: Ipv4Addr) -> bool {
        is_in4(address, self.parts())
    }

    /// Numbers that machines may have, in their order. Those whose network nodes have while they have none of the cluster's are
    /// nobody's.
    pub fn numbers(self) -> impl Iterator<Item = u16> {
        let last = u16::MAX >> (self.prefix - PREFIX4_MIN);
        (NUMBER_FIRST..=last).filter(move |number| !is_in4(self.of(*number), LONE_NETWORK4))
    }

    /// How many machines fit.
    #[must_use]
    pub fn room(self) -> usize {
        self.numbers().count()
    }
}

impl ClusterIpv6 {
    /// A private one (RFC 4193) by the cluster's ID, which was drawn.
    #[must_use]
    pub fn drawn(id: &ClusterId) -> Self {
        let digits =
            id.as_str().get(..DRAWN_DIGITS).and_then(|digits| u64::from_str_radix(digits, 16).ok());
        let drawn = u128::from(digits.unwrap_or(0));
        Self(Ipv6Addr::from_bits((0xfd << 120) | (drawn << (128 - CLUSTER_PREFIX6))))
    }

    /// Its address.
    #[must_use]
    pub const fn address(self) -> Ipv6Addr {
        self.0
    }

    /// Whether an address is in it.
    #[must_use]
    pub fn has(self, address: Ipv6Addr) -> bool {
        is_in6(address, (self.0, CLUSTER_PREFIX6))
    }
}

impl MeshTransport {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::WireGuard => "wireguard",
            Self::Routes => "routes",
        }
    }
}

/// The address is in this network.
fn is_in4(address: Ipv4Addr, (network, prefix): (Ipv4Addr, u8)) -> bool {
    let differs = address.to_bits() ^ network.to_bits();
    differs.checked_shr(u32::from(32_u8.saturating_sub(prefix))).unwrap_or(0) == 0
}

fn is_in6(address: Ipv6Addr, (network, prefix): (Ipv6Addr, u8)) -> bool {
    let differs = address.to_bits() ^ network.to_bits();
    differs.checked_shr(u32::from(128_u8.saturating_sub(prefix))).unwrap_or(0) == 0
}

impl FromStr for ClusterIpv4 {
    type Err = NotOne;

    fn from_str(text: &str) -> Result<Self, NotOne> {
        let wrong = |rule| NotOne::new(text, WHAT, rule);
        let parts = text.split_once('/');
        let parts = parts.and_then(|(address, prefix)| {
            Some((address.parse::<Ipv4Addr>().ok()?, prefix.parse::<u8>().ok()?))
        });
        let rule = "write an address and a length, such as 10.112.0.0/12";
        let (network, prefix) = parts.ok_or_else(|| wrong(rule))?;
        if prefix > PREFIX4_MAX {
            return Err(wrong(
                "it has no room: each machine gets a /24 of it, so take a /22 (3 machines) or a wider one, such as 10.112.0.0/12",
            ));
        }
        if prefix < PREFIX4_MIN {
            return Err(wrong(
                "it is wider than a /8, and there are no more machines than /24 in that",
            ));
        }
        if network.to_bits() & (u32::MAX >> prefix) != 0 {
            return Err(wrong("its address goes on behind the prefix: write zeros there"));
        }
        let is_within = |range: &(Ipv4Addr, u8)| range.1 <= prefix && is_in4(network, *range);
        if !PRIVATE4.iter().any(is_within) {
            return Err(wrong(
                "it is not within 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 or 100.64.0.0/10, and other addresses are somebody's, or mean something on one link or machine only",
            ));
        }
        if is_in4(METADATA4, (network, prefix)) {
            return Err(wrong(
                "a cloud answers at 100.100.100.200, which is in it: take another part of 100.64.0.0/10",
            ));
        }
        if is_within(&LONE_NETWORK4) {
            return Err(wrong(
                "nodes have 10.120.0.0/16 while they have no network of the cluster's: take another one",
            ));
        }
        Ok(Self { network, prefix })
    }
}

impl FromStr for ClusterIpv6 {
    type Err = NotOne;

    fn from_str(text: &str) -> Result<Self, NotOne> {
        let wrong = |rule| NotOne::new(text, WHAT, rule);
        let address = text.strip_suffix("/48").and_then(|address| address.parse::<Ipv6Addr>().ok());
        let rule = "each machine gets a /64 of it, so it is a network of length 48, such as fd12:3456:789a::/48";
        let address = address.ok_or_else(|| wrong(rule))?;
        if address.to_bits() << CLUSTER_PREFIX6 != 0 {
            return Err(wrong("its address goes on behind the prefix: write zeros there"));
        }
        if !UNICAST6.iter().any(|range| is_in6(address, *range)) {
            return Err(wrong(
                "it is neither private (fc00::/7) nor of the world's (2000::/3), such as fd12:3456:789a::/48",
            ));
        }
        if METADATA6.contains(&address) {
            return Err(wrong("a cloud tells machines about themselves in it: take another one"));
        }
        Ok(Self(address))
    }
}

impl FromStr for MeshTransport {
    type Err = NotOne;

    fn from_str(text: &str) -> Result<Self, NotOne> {
        let rule = "it is \"wireguard\", or \"routes\" where all machines are on one link";
        [Self::WireGuard, Self::Routes]
            .into_iter()
            .find(|transport| transport.word() == text)
            .ok_or_else(|| NotOne::new(text, "transport", rule))
    }
}

impl fmt::Display for ClusterIpv4 {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.network, self.prefix)
    }
}

impl fmt::Display for ClusterIpv6 {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{CLUSTER_PREFIX6}", self.0)
    }
}

impl fmt::Display for MeshTransport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.word())
    }
}

/// What serde reads and writes them as: the same text as everybody.
macro_rules! as_text {
    ($($name:ident),+) => {$(
        impl TryFrom<String> for $name {
            type Error = NotOne;

            fn try_from(text: String) -> Result<Self, NotOne> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    )+};
}

as_text!(ClusterIpv4, ClusterIpv6, MeshTransport);

#[cfg(test)]
#[path = "cluster_network_tests.rs"]
mod tests;
