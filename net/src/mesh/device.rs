//! The kernel's end of the mesh.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::endpoints::{Endpoints, in_session};
use super::plan::Wanted;
use super::told::{CLUSTER_PREFIX6, Mesh, NAME};
use crate::interface::{self, Way};
use crate::netlink::{Batch, Family, NetlinkProblem, Socket};
use crate::wireguard::{self, Key, Seen, WireGuard};
use ferrite_schema::names::MESH_PORT;

/// Routes in one message: it must fit into a socket's buffer.
const ROUTES_AT_ONCE: usize = 500;
/// `ESRCH`: there is no such route.
const NO_ROUTE: i32 = 3;

/// The device, as this agent has made it.
#[derive(Debug)]
pub(crate) struct Device {
    index: u32,
    public: Key,
    /// What it was made to be.
    applied: Wanted,
    /// The node's own addresses in the mesh, by which it speaks itself.
    own: Option<Own>,
    /// Where its peers are tried, and since when moments are counted for that.
    endpoints: Endpoints,
    begun: Instant,
}

/// A node's addresses in the mesh.
pub(crate) type Own = (Ipv4Addr, Option<Ipv6Addr>);

impl Device {
    /// Makes the device, or takes over the one that an earlier agent made: what goes through it goes on.
    pub(crate) fn make(private: &Key) -> Result<Self, NetlinkProblem> {
        let socket = Socket::open(Family::Route)?;
        let mut batch = Batch::default();
        wireguard::make_device(&mut batch, NAME);
        socket.carry_out(batch)?;
        let index = socket.index_of(NAME)?;
        let kernel = WireGuard::open()?;
        kernel.set_device(NAME, private, MESH_PORT)?;
        let public = kernel.device(NAME)?.public_key.ok_or_else(NetlinkProblem::nonsense)?;
        let (applied, endpoints) = (Wanted::default(), Endpoints::default());
        Ok(Self { index, public, applied, own: None, endpoints, begun: Instant::now() })
    }

    /// Its public key.
    pub(crate) const fn public(&self) -> Key {
        self.public
    }

    /// Makes it what is wanted. What the kernel has learnt of peers that stay as they are stays, too.
    pub(crate) fn apply(&mut self, own: Own, wanted: &Wanted) -> Result<(), NetlinkProblem> {
        let kernel = WireGuard::open()?;
        let there: BTreeMap<Key, Seen> = kernel.device(NAME)?.peers.into_iter().collect();
        let (first, now_s) = (self.own.is_none(), now_s());
        let differs = |peer: &&wireguard::Peer| {
            !there.contains_key(&peer.key) || !self.applied.peers.contains(peer)
        };
        let changed = wanted.peers.iter().filter(differs).map(|peer| {
            // An earlier agent's device may have learnt where the peer is, and speaks to it.
            let heard_s = there.get(&peer.key).map_or(0, |seen| seen.handshake_s);
            let speaks = first && in_session(heard_s, now_s);
            let endpoint = peer.endpoint.filter(|_| !speaks);
            wireguard::Peer { endpoint, ..peer.clone() }
        });
        let changed: Vec<wireguard::Peer> = changed.collect();
        let stay: BTreeSet<Key> = wanted.peers.iter().map(|peer| peer.key).collect();
        let gone: Vec<Key> = there.into_keys().filter(|key| !stay.contains(key)).collect();
        kernel.set_peers(NAME, &changed, &gone)?;
        self.endpoints.begin(changed.iter().map(|peer| &peer.key));
        self.route(own, wanted)?;
        self.applied = wanted.clone();
        self.own = Some(own);
        Ok(())
    }

    /// Looks how its peers answer, and tries those that do not at the next of their addresses; answers with how many those are.
    pub(crate) fn look(&mut self) -> Result<usize, NetlinkProblem> {
        let kernel = WireGuard::open()?;
        let seen = kernel.device(NAME)?.peers;
        let now = (self.begun.elapsed(), now_s());
        let elsewhere = self.endpoints.step(now, &seen, &self.applied.ways);
        let moved = elsewhere.iter().filter_map(|(key, way)| {
            let peer = self.applied.peers.iter().find(|peer| peer.key == *key)?;
            Some(wireguard::Peer { endpoint: Some(*way), ..peer.clone() })
        });
        kernel.set_peers(NAME, &moved.collect::<Vec<_>>(), &[])?;
        Ok(elsewhere.len())
    }

    fn route(&self, own: Own, wanted: &Wanted) -> Result<(), NetlinkProblem> {
        let socket = Socket::open(Family::Route)?;
        let way = |network: IpAddr| match network {
            IpAddr::V4(_) => Some(Way::Out(self.index, IpAddr::V4(own.0))),
            IpAddr::V6(_) => own.1.map(|source| Way::Out(self.index, IpAddr::V6(source))),
        };
        let mut batch = Batch::default();
        interface::set_mtu(&mut batch, self.index, wanted.mtu);
        socket.carry_out(batch)?;
        let as_before = self.own == Some(own);
        let fresh = wanted
            .routes
            .iter()
            .filter(|network| !(as_before && self.applied.routes.contains(network)));
        for networks in fresh.collect::<Vec<_>>().chunks(ROUTES_AT_ONCE) {
            let mut batch = Batch::default();
            for network in networks {
                if let Some(way) = way(network.0) {
                    interface::add_route(&mut batch, **network, way);
                }
            }
            socket.carry_out(batch)?;
        }
        for network in self.applied.routes.difference(&wanted.routes) {
            let Some(way) = way(network.0) else { continue };
            let mut batch = Batch::default();
            interface::remove_route(&mut batch, *network, way);
            match socket.carry_out(batch) {
                Err(error) if error.errno() != Some(NO_ROUTE) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// What is nobody's in the cluster's network leads nowhere, with or without a device: else it would go to whoever is this node's
/// router, in the clear.
pub(crate) fn close(mesh: &Mesh, ipv6: bool) -> Result<(), NetlinkProblem> {
    let mut batch = Batch::default();
    interface::add_route(&mut batch, (mesh.ipv4.0.into(), mesh.ipv4.1), Way::Nowhere);
    if ipv6 {
        interface::add_route(&mut batch, (mesh.ipv6.into(), CLUSTER_PREFIX6), Way::Nowhere);
    }
    Socket::open(Family::Route)?.carry_out(batch)
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::{self, ip};

    #[test]
    fn a_network_that_the_node_is_in_stays_reachable() {
        let name = "a_network_that_the_node_is_in_stays_reachable";
        namespace::inside(&format!("{}::{name}", module_path!()), || {
            ip("link add lan0 type bridge");
            ip("link set lan0 up");
            ip("address add 10.112.0.1/12 dev lan0");
            let ipv6 = "fd12:3456:789a::".parse().unwrap();
            let ipv4 = ([10, 112, 0, 0].into(), 12);
            let mesh = Mesh { ipv4, ipv6, number: 1, peers: Vec::new() };
            for _ in 0..2 {
                close(&mesh, true).unwrap();
                let way = ip("route get 10.115.0.9");
                assert!(!way.contains("unreachable") && way.contains("dev lan0"), "{way}");
            }
            ip("address flush dev lan0");
            let left = ip("route show");
            assert!(left.contains("unreachable 10.112.0.0/12"), "{left}");
        });
    }
}
