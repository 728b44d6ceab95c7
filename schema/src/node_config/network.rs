//! `[network]`: the network of the node's units.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::cluster_network::LONE_NETWORK4;

/// Longest prefix of the units' IPv4 network: it has room for some units.
const PREFIX_MAX: u8 = 28;
/// Shortest: 65,534 numbers fit in the names of interfaces many times over.
const PREFIX_MIN: u8 = 8;

/// Settings of the units' network. It exists on this node alone: what leaves the node has the node's address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkConfig {
    /// IPv4 network of the units: `10.120.0.0/16`.
    pub ipv4: String,
    /// IPv6 network of the units, a `/64`; one of the machine's own (`fd…`) where it is absent.
    pub ipv6: Option<String>,
    /// Domain of the units' names.
    pub domain: String,
    /// Name servers for what is not a unit; those of the node where there are none.
    pub name_servers: Vec<std::net::IpAddr>,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        let (network, prefix) = LONE_NETWORK4;
        Self {
            ipv4: format!("{network}/{prefix}"),
            ipv6: None,
            domain: "ferrite.local".to_owned(),
            name_servers: Vec::new(),
        }
    }
}

impl NetworkConfig {
    /// The IPv4 network, where it is one.
    #[must_use]
    pub fn ipv4_network(&self) -> Option<(Ipv4Addr, u8)> {
        let (address, prefix) = self.ipv4.split_once('/')?;
        let prefix =
            prefix.parse().ok().filter(|prefix| (PREFIX_MIN..=PREFIX_MAX).contains(prefix))?;
        let address: Ipv4Addr = address.parse().ok()?;
        let host = address.to_bits() & (u32::MAX >> prefix);
        (host == 0 && address.is_private()).then_some((address, prefix))
    }

    /// The IPv6 network, where one is given and is one.
    #[must_use]
    pub fn ipv6_network(&self) -> Option<Ipv6Addr> {
        let address: Ipv6Addr = self.ipv6.as_deref()?.strip_suffix("/64")?.parse().ok()?;
        let host = address.to_bits() & u128::from(u64::MAX);
        (host == 0 && !address.is_multicast() && !address.is_unspecified()).then_some(address)
    }

    /// What is wrong with it.
    pub(super) fn problem(&self) -> Option<String> {
        if self.ipv4_network().is_none() {
            return Some(format!(
                "network.ipv4: {:?} is not a private network from /{PREFIX_MIN} to /{PREFIX_MAX} such as \"10.120.0.0/16\"",
                self.ipv4
            ));
        }
        if self.ipv6.is_some() && self.ipv6_network().is_none() {
            return Some(format!(
                "network.ipv6: {:?} is not a network such as \"fd12:3456:789a::/64\"",
                self.ipv6.as_deref().unwrap_or_default()
            ));
        }
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let label = |label: &str| !label.is_empty() && label.len() <= 63 && label.bytes().all(fits);
        let fine = self.domain.len() <= 128 && self.domain.split('.').all(label);
        (!fine).then(|| {
            format!("network.domain: {:?} is not a domain such as \"ferrite.local\"", self.domain)
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::node_config::parse;

    fn check(line: &str, expected: &str) {
        let found = parse(&format!("#cloud-config\n[network]\n{line}\n"));
        match expected {
            "" => drop(found.unwrap()),
            expected => assert!(found.unwrap_err().to_string().contains(expected), "{line}"),
        }
    }

    #[test]
    fn networks_are_checked() {
        check("ipv4 = \"10.1.0.0/16\"", "");
        for bad in ["10.1.0.1/16", "10.0.0.0/30", "10.0.0.0", "8.8.8.0/24", "10.0.0.0/7", "x/16"] {
            check(&format!("ipv4 = \"{bad}\""), "network.ipv4");
        }
        check("ipv6 = \"fd00:1:2:3::/64\"", "");
        for bad in ["fd00::1/64", "fd00::/48", "::/64", "ff02::/64"] {
            check(&format!("ipv6 = \"{bad}\""), "network.ipv6");
        }
    }

    #[test]
    fn domains_are_checked() {
        check("domain = \"units.example.org\"", "");
        for bad in ["", ".", "a..b", "A.b", "a b"] {
            check(&format!("domain = \"{bad}\""), "network.domain");
        }
        check("name_servers = [\"10.0.2.3\", \"fd00::1\"]", "");
        check("name_servers = [\"ns1\"]", "line 3");
    }
}
