//! What rules and the elements of their sets share.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::mesh::Flat;

/// Bytes of an interface's name in a set.
pub(super) const NAME_BYTES: usize = 16;
/// Numbers of the transports.
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;

/// What the units' network is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ground {
    /// The bridge.
    pub(crate) bridge: String,
    /// Its address, and how long the network's prefix is.
    pub(crate) ipv4: (Ipv4Addr, u8),
    /// Likewise, where the kernel has IPv6.
    pub(crate) ipv6: Option<(Ipv6Addr, u8)>,
    /// The cluster's networks, where units of other nodes are reached by plain routes.
    pub(crate) flat: Option<Flat>,
}
