//! The network between the units of a cluster's nodes: a WireGuard device whose peers are the other nodes, or plain routes to them.
//!
//! *Responsible for*: what device, routes and packet filter are to be, given what the cluster says ([`plan`], pure), and making
//! device and routes so ([`device`], [`routes`]). *Never does*: decide which node has which network.

mod device;
mod endpoints;
mod flat;
mod key;
mod plan;
mod routes;
mod told;
mod tunnel;

pub(super) use device::{Device, remove as remove_device};
pub(super) use key::private;
pub(super) use plan::{Carrier, plan};
pub(super) use routes::{Own, close, set as set_routes, ways};
pub use told::{Flat, Mesh, Peer};
pub(crate) use told::{NAME, NODE_PREFIX, Network};
