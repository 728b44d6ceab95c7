//! The node's part in its cluster's network, and which network the units of the node have.

use std::path::Path;
use std::sync::PoisonError;

use ferrite_schema::shim::Attachment;

use super::{AttachProblem, Attachments, filter, unavailable};
use crate::addresses::{self, Addresses};
use crate::mesh::{self, Carrier, Device, Mesh, Own};
use crate::underlay::Underlay;
use crate::{bridge, nftables, wireguard};

impl Attachments {
    /// Units have the network of this one, which an earlier agent attached.
    pub(super) fn settle(&mut self, living: &Attachment) {
        let (_, prefix, gateway) = living.ipv4;
        let ipv6 = living.ipv6.map(|(_, _, gateway)| gateway);
        let fresh = Addresses::new(gateway, prefix, ipv6);
        if fresh.gateway() != self.plan.addresses.gateway() || prefix != self.ground.ipv4.1 {
            tracing::info!(network = %fresh.network(), "units-network-is-what-lives");
            self.number(fresh);
        }
    }

    /// Units get their addresses from these from now on. Nobody has one yet.
    pub(super) fn number(&mut self, fresh: Addresses) {
        let (own, own6) = fresh.gateway();
        self.ground.ipv4 = (own, fresh.prefix());
        self.ground.ipv6 = own6.map(|own| (own, addresses::IPV6_PREFIX));
        let network = (fresh.network(), fresh.prefix());
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.renumber(network, own6);
        drop(names);
        self.plan.addresses = fresh;
    }

    /// The node will be in the cluster's network: its end is made. Answers with its public key.
    pub(crate) fn open_mesh(&mut self, key: &Path) -> Result<wireguard::Key, AttachProblem> {
        let private = mesh::private(key).map_err(|error| unavailable(&error))?;
        let device = Device::make(&private).map_err(|error| unavailable(&error))?;
        let public = device.public();
        self.device = Some(device);
        self.mesh_key = Some(key.to_owned());
        Ok(public)
    }

    /// Makes the cluster's network what the cluster says. Answers with what a person should know.
    pub(crate) fn join(&mut self, told: Mesh) -> Result<Vec<String>, AttachProblem> {
        let underlay = Underlay::look().map_err(|error| unavailable(&error))?;
        let wanted = mesh::plan(&told, &underlay, self.ground.ipv6.is_some());
        let mut doubts = wanted.doubts.clone();
        let stays = self.renumber(&told)?;
        if !stays.is_empty() {
            doubts.push(format!(
                "these units began before the node had a network of the cluster, and neither they nor what is started beside them is reached from other machines until all of them have been stopped at the same time, or the node was restarted: {}",
                stays.join(", ")
            ));
        }
        if self.ground.flat != told.flat() {
            self.ground.flat = told.flat();
            self.laid = false;
        }
        let networks = (told.ipv4, told.ipv6);
        mesh::close(networks, self.ground.ipv6.is_some()).map_err(|error| unavailable(&error))?;
        if !self.laid {
            self.lay()?;
        }
        for batch in nftables::replace_machines(&self.machines, &wanted.machines) {
            filter(batch)
                .map_err(|error| AttachProblem::Filter { why: ferrite_schema::chain(&error) })?;
        }
        self.machines.clone_from(&wanted.machines);
        self.mtu = Some(wanted.mtu);
        let carried = self.carry(&wanted.carrier);
        self.mesh = Some(told);
        carried.map(|()| doubts)
    }

    /// Makes what carries packets to other machines, and takes away what does no more.
    fn carry(&mut self, carrier: &Carrier) -> Result<(), AttachProblem> {
        let own: Own = (self.ground.ipv4.0, self.ground.ipv6.map(|(own, _)| own));
        match carrier {
            Carrier::Tunnel(tunnel) => {
                self.routes = None;
                if let (None, Some(key)) = (&self.device, self.mesh_key.clone()) {
                    self.open_mesh(&key)?;
                }
                let Some(device) = &mut self.device else { return Ok(()) };
                device.apply(own, tunnel).map_err(|error| unavailable(&error))
            }
            Carrier::Flat(flat) => {
                self.device = None;
                mesh::remove_device().map_err(|error| unavailable(&error))?;
                let routes = mesh::ways(flat, own);
                let set = mesh::set_routes(&routes).map_err(|error| unavailable(&error));
                self.routes = Some(routes);
                set
            }
        }
    }

    /// Tries machines that do not answer at the next of their addresses, and sets routes again that the kernel has dropped.
    pub(crate) fn look_at_peers(&mut self) -> Result<(), AttachProblem> {
        if let Some(routes) = &self.routes {
            return mesh::set_routes(routes).map_err(|error| unavailable(&error));
        }
        let Some(device) = self.device.as_mut().filter(|_| self.mesh.is_some()) else {
            return Ok(());
        };
        let moved = device.look().map_err(|error| unavailable(&error))?;
        if moved > 0 {
            tracing::info!(peers = moved, "mesh-peers-tried-elsewhere");
        }
        Ok(())
    }

    /// From now on units have addresses of the node's network in the cluster, unless some have others already: those.
    fn renumber(&mut self, mesh: &Mesh) -> Result<Vec<String>, AttachProblem> {
        let (ipv4, ipv6) = (mesh.ipv4_of(mesh.number), mesh.ipv6_of(mesh.number));
        let (prefix, _) = mesh::NODE_PREFIX;
        let fresh = Addresses::new(ipv4, prefix, self.ground.ipv6.map(|_| ipv6));
        if fresh.network() == self.plan.addresses.network() {
            return Ok(Vec::new());
        }
        if !self.members.is_empty() {
            return Ok(self.members.keys().cloned().collect());
        }
        tracing::info!(network = %ipv4, "units-network-is-the-clusters");
        if self.laid {
            bridge::forget_addresses(&self.ground).map_err(|error| unavailable(&error))?;
            self.laid = false;
        }
        self.number(fresh);
        Ok(Vec::new())
    }

    /// The cluster's network, where units that began before it are in its way no more.
    pub(crate) fn may_join(&self) -> Option<Mesh> {
        let told = self.mesh.as_ref().filter(|_| self.members.is_empty())?;
        let has = self.plan.addresses.network() == told.ipv4_of(told.number);
        (!has).then(|| told.clone())
    }
}
