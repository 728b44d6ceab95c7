//! The kernel's end of the mesh.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::endpoints::{Endpoints, in_session};
use super::routes::{self, Own};
use super::told::NAME;
use super::tunnel::Wanted;
use crate::interface::{self, Way};
use crate::netlink::{Batch, Family, NetlinkProblem, Socket};
use crate::wireguard::{self, Key, Seen, WireGuard};
use ferrite_schema::names::MESH_PORT;

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

    /// What leads into it, and how long that may be.
    fn route(&self, own: Own, wanted: &Wanted) -> Result<(), NetlinkProblem> {
        let mut batch = Batch::default();
        interface::set_mtu(&mut batch, self.index, wanted.mtu);
        Socket::open(Family::Route)?.carry_out(batch)?;
        let ways = wanted.routes.iter().filter_map(|network| {
            Some((*network, Way::Out(self.index, routes::source(own, *network)?)))
        });
        routes::set(&ways.collect())
    }
}

/// Removes the device, whoever made it.
pub(crate) fn remove() -> Result<(), NetlinkProblem> {
    let socket = Socket::open(Family::Route)?;
    if socket.index_of(NAME).is_err() {
        return Ok(());
    }
    let mut batch = Batch::default();
    interface::remove(&mut batch, NAME);
    socket.carry_out(batch)
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
