//! The kernel's end of the mesh.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::plan::Wanted;
use super::told::{CLUSTER_PREFIX6, Mesh, NAME};
use crate::interface::{self, Way};
use crate::netlink::{Batch, Family, NetlinkProblem, Socket};
use crate::wireguard::{self, Key, WireGuard};
use ferrite_schema::names::MESH_PORT;

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
        Ok(Self { index, public, applied: Wanted::default(), own: None })
    }

    /// Its public key.
    pub(crate) const fn public(&self) -> Key {
        self.public
    }

    /// Makes it what is wanted. What the kernel has learnt of peers that stay as they are stays, too.
    pub(crate) fn apply(
        &mut self,
        mesh: &Mesh,
        own: Own,
        wanted: &Wanted,
    ) -> Result<(), NetlinkProblem> {
        let kernel = WireGuard::open()?;
        let there: BTreeSet<Key> =
            kernel.device(NAME)?.peers.into_iter().map(|(key, _)| key).collect();
        let changed: Vec<wireguard::Peer> = wanted
            .peers
            .iter()
            .filter(|peer| !there.contains(&peer.key) || !self.applied.peers.contains(peer))
            .cloned()
            .collect();
        let stay: BTreeSet<Key> = wanted.peers.iter().map(|peer| peer.key).collect();
        let gone: Vec<Key> = there.difference(&stay).copied().collect();
        kernel.set_peers(NAME, &changed, &gone)?;
        self.route(mesh, own, wanted)?;
        self.applied = wanted.clone();
        self.own = Some(own);
        Ok(())
    }

    fn route(&self, mesh: &Mesh, own: Own, wanted: &Wanted) -> Result<(), NetlinkProblem> {
        let socket = Socket::open(Family::Route)?;
        let way = |network: IpAddr| match network {
            IpAddr::V4(_) => Some(Way::Out(self.index, IpAddr::V4(own.0))),
            IpAddr::V6(_) => own.1.map(|source| Way::Out(self.index, IpAddr::V6(source))),
        };
        let mut batch = Batch::default();
        interface::set_mtu(&mut batch, self.index, wanted.mtu);
        // What is nobody's leads nowhere: else it would go to whoever is this node's router, in the clear.
        interface::add_route(&mut batch, (mesh.ipv4.0.into(), mesh.ipv4.1), Way::Nowhere);
        if own.1.is_some() {
            interface::add_route(&mut batch, (mesh.ipv6.into(), CLUSTER_PREFIX6), Way::Nowhere);
        }
        let as_before = self.own == Some(own);
        for network in &wanted.routes {
            if let Some(way) = way(network.0)
                && !(as_before && self.applied.routes.contains(network))
            {
                interface::add_route(&mut batch, *network, way);
            }
        }
        socket.carry_out(batch)?;
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
