//! The node's links, see [`links`], and the network of its units, see [`containers`]. Knows no unit's life.

pub mod cable;
pub mod containers;
pub mod links;
pub mod mesh;
pub mod multicast;
pub mod news;
pub mod ports;
pub mod questions;
pub mod services;
pub mod underlay;

mod addresses;
mod attachments;
mod bridge;
mod dhcp;
mod dns;
mod ethernet;
mod files;
mod interface;
#[cfg(test)]
mod namespace;
mod netlink;
mod nftables;
mod resolv_conf;
mod tracking;
mod wireguard;

/// The units' bridge.
const BRIDGE: &str = "ferrite0";
/// What the names of the node's ends of units' cables begin with.
const LINK_PREFIX: &str = "ferrite-";

pub use dns::naming;
pub use netlink::NetlinkProblem;
