//! The network between the units of a cluster's nodes: a WireGuard device whose peers are the other nodes.
//!
//! *Responsible for*: what the device, the routes and the packet filter are to be, given what the cluster says
//! ([`plan`], pure), and making them so ([`device`]). *Never does*: decide which node has which network.

mod device;
mod endpoints;
mod key;
mod plan;
mod told;

pub(super) use device::{Device, close};
pub(super) use key::private;
pub(super) use plan::plan;
pub use told::{Mesh, Peer};
pub(crate) use told::{NAME, NODE_PREFIX};
