//! What a node's end is to be where plain routes lead from machine to machine, over a link that they share: pure.
//!
//! Both ends take the same pair of addresses for one another, so that packets come by the link by which answers go: whatever else
//! says to be a unit is refused.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::told::{Mesh, Network, Peer};
use crate::underlay::{Underlay, in_network};

/// Names of machines in one sentence. There may be thousands.
const NAMED_MAX: usize = 8;

/// What is to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// By which neighbour a network is reached.
    pub(crate) routes: BTreeMap<Network, Hop>,
}

/// A neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hop {
    /// The link, by the kernel's number.
    pub(crate) link: u32,
    /// Its address there.
    pub(crate) neighbour: IpAddr,
}

/// What is to be, and what a person should know. No two of these peers have one network.
pub(super) fn plan(
    mesh: &Mesh,
    peers: &[(u16, &Peer)],
    underlay: &Underlay,
    ipv6: bool,
) -> (Wanted, Vec<String>) {
    let mut wanted = Wanted::default();
    let (mut apart, mut without_ipv6) = (Vec::new(), Vec::new());
    for (number, peer) in peers {
        let by_ipv4 = hop(mesh, peer, underlay, IpAddr::is_ipv4);
        let by_ipv6 = hop(mesh, peer, underlay, IpAddr::is_ipv6);
        for network in mesh.of(*number, ipv6) {
            // A neighbour that is known by IPv6 alone takes packets of IPv4 too, but not the other way round.
            let hop = if network.0.is_ipv4() { by_ipv4.or(by_ipv6) } else { by_ipv6 };
            if let Some(hop) = hop {
                wanted.routes.insert(network, hop);
            }
        }
        match (by_ipv4, by_ipv6) {
            (None, None) => apart.push(peer.name.as_str()),
            (Some(_), None) if ipv6 => without_ipv6.push(peer.name.as_str()),
            (Some(_), _) | (_, Some(_)) => {}
        }
    }
    let apart = (!apart.is_empty()).then(|| {
        format!(
            "plain routes lead only to machines in a network that this node is in, too, and these are in none: {}: their units are not reached",
            names(&apart)
        )
    });
    let without_ipv6 = (!without_ipv6.is_empty()).then(|| {
        format!(
            "units of these machines are reached by IPv4 alone, since neither they nor this node have IPv6 addresses in one network: {}",
            names(&without_ipv6)
        )
    });
    let within = underlay.addresses.iter().find(|(own, _)| mesh.has(*own)).map(|(own, _)| {
        format!(
            "this node is in the cluster's network itself, as {own}: its neighbours there are taken for units"
        )
    });
    (wanted, [apart, without_ipv6, within].into_iter().flatten().collect())
}

/// The neighbour that a peer is: of all pairs of addresses of both that are in one network, the first.
fn hop(mesh: &Mesh, peer: &Peer, underlay: &Underlay, family: fn(&IpAddr) -> bool) -> Option<Hop> {
    // What both say to have is one of them's at most, and each would take the other for itself.
    let is_own = |address: &IpAddr| underlay.addresses.iter().any(|(own, _)| own == address);
    let theirs = peer.addresses.iter().filter(|address| family(address) && !is_own(address));
    let pairs = theirs.flat_map(|neighbour| {
        let near = underlay.addresses.iter().filter(|(own, prefix)| {
            let is_both = peer.addresses.contains(own);
            in_network(*neighbour, *own, *prefix)
                && is_one_machines(*neighbour, *prefix)
                && !is_both
                && !mesh.has(*own)
                && !mesh.has(*neighbour)
        });
        near.filter_map(|(own, _)| {
            let hop = Hop { link: *underlay.links.get(own)?, neighbour: *neighbour };
            Some((*own.min(neighbour), *own.max(neighbour), hop))
        })
    });
    pairs.min_by_key(|(lower, higher, _)| (*lower, *higher)).map(|(.., hop)| hop)
}

/// Whether an address can be that of one machine, in a network with this prefix.
fn is_one_machines(address: IpAddr, prefix: u8) -> bool {
    let is_special = address.is_unspecified() || address.is_loopback() || address.is_multicast();
    let is_edge = match address {
        IpAddr::V4(address) if prefix < 31 => {
            let hosts = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
            [0, hosts].contains(&(address.to_bits() & hosts))
        }
        IpAddr::V4(_) | IpAddr::V6(_) => false,
    };
    !is_special && !is_edge
}

fn names(all: &[&str]) -> String {
    let named = all.iter().take(NAMED_MAX).copied().collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(NAMED_MAX) {
        0 => named,
        more => format!("{named} and {more} others"),
    }
}
