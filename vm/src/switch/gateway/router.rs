//! Router advertisements: machines make themselves an IPv6 address and a way out of them. Source: RFC 4861, section 4.2.

use std::net::Ipv6Addr;

use smoltcp::time::Duration;
use smoltcp::wire::{
    Icmpv6Repr, NdiscPrefixInfoFlags, NdiscPrefixInformation, NdiscRepr, NdiscRouterFlags,
};

use super::super::mac::Mac;
use super::super::wire::{address, icmpv6_frame, link_local};

const ALL_NODES: (Mac, Ipv6Addr) =
    (Mac([0x33, 0x33, 0, 0, 0, 1]), Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1));
/// How often it is said without being asked.
pub(crate) const EVERY: std::time::Duration = std::time::Duration::from_secs(60);
/// How long the gateway is a router for whoever hears nothing more of it.
const ROUTER: Duration = Duration::from_secs(1800);
/// How long addresses are good for whoever hears nothing more of it.
const PREFIX: Duration = Duration::from_secs(86_400);
const PREFIX_BITS: u8 = 64;
const MTU_BYTES: u32 = 1500;

/// What the gateway says to all: itself, and the prefix of its own address.
pub(crate) fn advertisement(gateway: Mac, ipv6: Ipv6Addr) -> Vec<u8> {
    let prefix = NdiscPrefixInformation {
        prefix_len: PREFIX_BITS,
        flags: NdiscPrefixInfoFlags::ON_LINK | NdiscPrefixInfoFlags::ADDRCONF,
        valid_lifetime: PREFIX,
        preferred_lifetime: PREFIX,
        prefix: prefix(ipv6),
    };
    let message = Icmpv6Repr::Ndisc(NdiscRepr::RouterAdvert {
        hop_limit: 64,
        flags: NdiscRouterFlags::empty(),
        router_lifetime: ROUTER,
        reachable_time: Duration::ZERO,
        retrans_time: Duration::ZERO,
        lladdr: Some(address(gateway).into()),
        mtu: Some(MTU_BYTES),
        prefix_info: Some(prefix),
    });
    icmpv6_frame((gateway, link_local(gateway)), ALL_NODES, &message)
}

fn prefix(address: Ipv6Addr) -> Ipv6Addr {
    let bits = u128::from(address) >> (128 - PREFIX_BITS) << (128 - PREFIX_BITS);
    bits.into()
}
