//! The node's own addresses, by which others reach it; not those of its units' network.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::{InterfaceFlags, if_nametoindex};
use nix::sys::socket::SockaddrStorage;

use crate::{BRIDGE, LINK_PREFIX};

/// What every IPv6 network carries, in bytes (RFC 8200 section 5).
const MTU_MIN: u32 = 1280;

/// The networks that the node is in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Underlay {
    /// Its addresses, each with the length of its network's prefix; IPv4 first.
    pub addresses: Vec<(IpAddr, u8)>,
    /// The link that each of them is on, by the kernel's number.
    pub links: BTreeMap<IpAddr, u32>,
    /// Longest packet that goes through all of them, in bytes; absent where there is none.
    pub mtu: Option<u32>,
}

impl Underlay {
    /// Looks at what is there now.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn look() -> std::io::Result<Self> {
        let mut underlay = Self::default();
        for one in getifaddrs()? {
            if !is_own(&one) {
                continue;
            }
            let Some(found) = address(&one) else { continue };
            if !is_global(found.0) {
                continue;
            }
            underlay.addresses.push(found);
            // It may be gone since.
            if let Ok(index) = if_nametoindex(one.interface_name.as_str()) {
                underlay.links.insert(found.0, index);
            }
            let mtu = fs::read_to_string(format!("/sys/class/net/{}/mtu", one.interface_name));
            if let Some(mtu) = mtu.ok().and_then(|mtu| mtu.trim().parse::<u32>().ok()) {
                let mtu = mtu.max(MTU_MIN);
                underlay.mtu = Some(underlay.mtu.map_or(mtu, |other| other.min(mtu)));
            }
        }
        underlay.addresses.sort_unstable();
        underlay.addresses.dedup();
        Ok(underlay)
    }
}

/// A link of the node's own over which multicast goes, and by which address it speaks there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number of it.
    pub index: u32,
    /// Absent where it has none.
    pub ipv4: Option<Ipv4Addr>,
    /// One that is known beyond the link, where there is one: others remember it.
    pub ipv6: Option<Ipv6Addr>,
}

/// The node's own links that are up, in order of their numbers. Those of its units are none.
///
/// # Errors
/// The kernel does not say.
pub fn links() -> std::io::Result<Vec<Link>> {
    let mut links: BTreeMap<u32, Link> = BTreeMap::new();
    for one in getifaddrs()? {
        if !is_own(&one) || !one.flags.contains(InterfaceFlags::IFF_MULTICAST) {
            continue;
        }
        // It may be gone since.
        let Ok(index) = if_nametoindex(one.interface_name.as_str()) else { continue };
        let link = links.entry(index).or_insert(Link { index, ipv4: None, ipv6: None });
        match address(&one).map(|(address, _)| address) {
            Some(IpAddr::V4(v4)) => link.ipv4 = link.ipv4.or(Some(v4)),
            Some(IpAddr::V6(v6)) => {
                let farther = |before: Ipv6Addr| before.is_unicast_link_local();
                if link.ipv6.is_none_or(farther) {
                    link.ipv6 = Some(v6);
                }
            }
            None => {}
        }
    }
    Ok(links.into_values().collect())
}

/// It is up, and neither loopback nor one of those that the agent makes.
fn is_own(one: &InterfaceAddress) -> bool {
    let made = one.interface_name == BRIDGE || one.interface_name.starts_with(LINK_PREFIX);
    let there = one.flags.contains(InterfaceFlags::IFF_UP)
        && !one.flags.contains(InterfaceFlags::IFF_LOOPBACK);
    there && !made
}

fn address(one: &InterfaceAddress) -> Option<(IpAddr, u8)> {
    let ip = |storage: &SockaddrStorage| {
        let v4 = storage.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
        v4.or_else(|| storage.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip())))
    };
    let own = ip(one.address.as_ref()?)?;
    let ones = match one.netmask.as_ref().and_then(ip) {
        Some(IpAddr::V4(mask)) => mask.to_bits().count_ones(),
        Some(IpAddr::V6(mask)) => mask.to_bits().count_ones(),
        None if own.is_ipv4() => 32,
        None => 128,
    };
    Some((own, u8::try_from(ones).unwrap_or(128)))
}

/// Others can have it for an address of this node. Those of a link mean nothing beyond it.
const fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_link_local() && !v4.is_unspecified(),
        IpAddr::V6(v6) => !v6.is_unicast_link_local() && !v6.is_unspecified(),
    }
}

/// The address is in the network that `network` is in, too, whose prefix has this length.
#[must_use]
pub fn in_network(address: IpAddr, network: IpAddr, prefix: u8) -> bool {
    let prefix = u32::from(prefix);
    match (address, network) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            (one.to_bits() ^ other.to_bits()).checked_shr(32 - prefix.min(32)).unwrap_or(0) == 0
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => {
            (one.to_bits() ^ other.to_bits()).checked_shr(128 - prefix.min(128)).unwrap_or(0) == 0
        }
        _ => false,
    }
}
