//! The node's own addresses, by which others reach it; not those of its units' network.

use std::fs;
use std::net::IpAddr;

use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::SockaddrStorage;

use crate::{BRIDGE, LINK_PREFIX};

/// What every IPv6 network carries, in bytes (RFC 8200 section 5).
const MTU_MIN: u32 = 1280;

/// The networks that the node is in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Underlay {
    /// Its addresses, each with the length of its network's prefix; IPv4 first.
    pub addresses: Vec<(IpAddr, u8)>,
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
            let there = one.flags.contains(InterfaceFlags::IFF_UP)
                && !one.flags.contains(InterfaceFlags::IFF_LOOPBACK);
            let ours = one.interface_name == BRIDGE || one.interface_name.starts_with(LINK_PREFIX);
            if ours || !there {
                continue;
            }
            let Some(found) = address(&one) else { continue };
            if !is_global(found.0) {
                continue;
            }
            underlay.addresses.push(found);
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
