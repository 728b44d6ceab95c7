//! Who is attached to what: the one owner of bridge, packet filter and addresses. It works on a thread of its
//! own, since the kernel's locks may make it wait.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use ferrite_schema::shim::{BindMount, Network};
use ferrite_schema::unit::{NetworkMode, Port};

use super::addresses::{self, Addresses};
use super::bridge;
use super::dns::Names;
use super::files::{self, WriteFiles};
use super::interface::Way;
use super::mesh::{self, Device, Flat, Mesh, Network as ClusterNetwork};
use super::netlink::{Batch, Family, NetlinkProblem, Socket};
use super::nftables::{self, Ground, Member};
use super::ports;
use super::tracking::{self, Published};
use super::{BRIDGE, LINK_PREFIX};

#[cfg(test)]
mod flat_tests;
mod joining;
#[cfg(test)]
mod names_tests;
#[cfg(test)]
mod tracking_tests;
mod unit_files;

/// A unit could not be given the network that it asks for.
#[derive(Debug, thiserror::Error)]
pub enum AttachProblem {
    /// A port is somebody else's.
    #[error("publish port {port}: {why}")]
    Port {
        /// The port and its protocol: `8080/tcp`.
        port: String,
        /// Whose it is.
        why: String,
    },
    /// All addresses are taken.
    #[error("find an address for the unit: the network of [network] ipv4 is full")]
    Full,
    /// There is no bridge or no packet filter.
    #[error("make the units' network: {why}")]
    Unavailable {
        /// Why.
        why: String,
    },
    /// The packet filter did not take the unit.
    #[error("let the unit through the packet filter: {why}")]
    Filter {
        /// Why.
        why: String,
    },
    /// `hosts` and `resolv.conf` could not be written.
    #[error(transparent)]
    Files(#[from] WriteFiles),
    /// The agent goes down.
    #[error("attach the unit: the agent goes down")]
    GoingDown,
}

/// What a container gets of the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachmentFiles {
    /// For the shim's request.
    pub network: Network,
    /// `hosts` and `resolv.conf`, to be mounted before the unit's own volumes.
    pub mounts: Vec<BindMount>,
}

/// What the units' network is made of, as it was configured.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) addresses: Addresses,
    pub(super) domain: String,
    /// Units' files.
    pub(super) folder: PathBuf,
    /// Run folders of shims.
    pub(super) runs: PathBuf,
    /// The node's own.
    pub(super) resolv_conf: PathBuf,
    /// Addresses of the cluster's machines, as they were known last.
    pub(super) machines: BTreeSet<IpAddr>,
    /// Its network, where plain routes led to others in it.
    pub(super) flat: Option<Flat>,
}

/// A unit that wants a network.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    pub(super) unit: String,
    pub(super) hostname: String,
    pub(super) mode: NetworkMode,
    pub(super) ports: Vec<Port>,
    pub(super) metadata: bool,
}

/// Everything that is attached.
#[derive(Debug)]
pub(super) struct Attachments {
    plan: Plan,
    ground: Ground,
    members: BTreeMap<String, Member>,
    names: Arc<Mutex<Names>>,
    /// Bridge and packet filter are there.
    laid: bool,
    /// The node's end of the cluster's network, and what it was last told of that.
    device: Option<Device>,
    mesh: Option<Mesh>,
    /// Where the key of that end is kept, once it was asked for.
    mesh_key: Option<PathBuf>,
    /// Plain routes to other machines' networks, where it is they that lead there.
    routes: Option<BTreeMap<ClusterNetwork, Way>>,
    /// Addresses of the cluster's machines.
    machines: BTreeSet<IpAddr>,
    /// Longest packet of units, where it is not the kernel's choice.
    mtu: Option<u32>,
}

impl Attachments {
    pub(super) fn new(plan: Plan, names: Arc<Mutex<Names>>) -> Self {
        let (ipv4, ipv6) = plan.addresses.gateway();
        let ground = Ground {
            bridge: BRIDGE.to_owned(),
            ipv4: (ipv4, plan.addresses.prefix()),
            ipv6: ipv6.map(|address| (address, addresses::IPV6_PREFIX)),
            flat: plan.flat,
        };
        let machines = plan.machines.clone();
        Self {
            plan,
            ground,
            members: BTreeMap::new(),
            names,
            laid: false,
            device: None,
            mesh: None,
            mesh_key: None,
            routes: None,
            machines,
            mtu: None,
        }
    }

    /// Takes over what an earlier agent left, if it left anything. A node whose units need no bridge has none.
    pub(super) fn take_over(&mut self) -> Result<(), AttachProblem> {
        let living = files::living(&self.plan.folder, &self.plan.runs);
        if let Some(record) = living.first() {
            // What lives decides: it stays reached, whatever the agent knows by now.
            self.settle(&record.attachment);
        }
        for record in living {
            let (address, ..) = record.attachment.ipv4;
            if self.plan.addresses.adopt(&record.unit, address) {
                let ipv6 = record.attachment.ipv6.map(|(address, ..)| address);
                let number = address.to_bits()
                    & u32::MAX.checked_shr(self.ground.ipv4.1.into()).unwrap_or(0);
                let member = Member {
                    link: record.attachment.link,
                    mac: addresses::mac(number),
                    ipv4: address,
                    ipv6,
                    ports: record.ports,
                    metadata: record.metadata,
                };
                self.name(&record.unit, Some(&member));
                self.members.insert(record.unit, member);
            }
        }
        let bridge = PathBuf::from("/sys/class/net").join(BRIDGE);
        if bridge.exists() { self.lay() } else { Ok(()) }
    }

    /// Makes bridge and packet filter, as new: what others left there goes.
    fn lay(&mut self) -> Result<(), AttachProblem> {
        let (gateway, _) = self.plan.addresses.gateway();
        let mac = addresses::mac(gateway.to_bits() & 0xff_ffff);
        if let Some(flat) = self.ground.flat {
            // Before anything is forwarded: else units' packets for the cluster would go to this node's router.
            let closed = mesh::close((flat.ipv4, flat.ipv6), self.ground.ipv6.is_some());
            closed.map_err(|error| unavailable(&error))?;
        }
        bridge::set_up(&self.ground, mac).map_err(|error| unavailable(&error))?;
        let living: Vec<&str> = self.members.values().map(|member| member.link.as_str()).collect();
        let swept = bridge::sweep(&self.ground, &living);
        let members: Vec<Member> = self.members.values().cloned().collect();
        for batch in nftables::install(&self.ground, &members, &self.machines) {
            filter(batch).map_err(|error| unavailable(&error))?;
        }
        // Nothing is forwarded before the filter is there.
        bridge::forward(&self.ground).map_err(|error| unavailable(&error))?;
        self.laid = true;
        // Nobody saw to it while there was no agent.
        self.follow();
        tracing::info!(units = members.len(), swept = swept.join(","), "units-network-laid");
        Ok(())
    }

    /// Whether there is a bridge to answer on.
    pub(super) const fn is_laid(&self) -> bool {
        self.laid
    }

    pub(super) fn attach(&mut self, wish: &Wish) -> Result<AttachmentFiles, AttachProblem> {
        if wish.mode != NetworkMode::Bridge {
            self.detach(&wish.unit);
            return self.without_bridge(wish);
        }
        let others = self.members.iter().filter(|(unit, _)| **unit != wish.unit);
        let others = others.map(|(unit, member)| (unit.as_str(), member.ports.as_slice()));
        if let Some(conflict) = ports::conflict(&wish.ports, &self.gateways(), others) {
            return Err(AttachProblem::Port { port: conflict.port, why: conflict.why });
        }
        if !self.laid {
            self.lay()?;
        }
        let full = |_full| AttachProblem::Full;
        let number = self.plan.addresses.take(&wish.unit).map_err(full)?;
        let member = self.member(number, wish);
        let old = self.members.get(&wish.unit);
        let attached = filter(nftables::replace(old, Some(&member)))
            .map_err(|error| AttachProblem::Filter { why: ferrite_schema::chain(&error) })
            .and_then(|()| self.write_files(wish, &member));
        match attached {
            Ok(files) => {
                self.name(&wish.unit, Some(&member));
                let publishes = !member.ports.is_empty();
                let before = self.members.insert(wish.unit.clone(), member);
                if publishes || before.is_some_and(|before| !before.ports.is_empty()) {
                    self.follow();
                }
                Ok(files)
            }
            Err(problem) => {
                self.members.insert(wish.unit.clone(), member);
                self.detach(&wish.unit);
                Err(problem)
            }
        }
    }

    fn member(&self, number: u32, wish: &Wish) -> Member {
        Member {
            link: format!("{LINK_PREFIX}{number:04x}"),
            mac: addresses::mac(number),
            ipv4: self.plan.addresses.ipv4(number),
            ipv6: self.plan.addresses.ipv6(number),
            ports: wish.ports.clone(),
            metadata: wish.metadata,
        }
    }

    pub(super) fn detach(&mut self, unit: &str) {
        if let Some(member) = self.members.remove(unit) {
            self.name(unit, None);
            if let Err(error) = filter(nftables::replace(Some(&member), None)) {
                tracing::error!(
                    unit,
                    error = ferrite_schema::chain(&error),
                    "packet-filter-not-cleared"
                );
            }
            if PathBuf::from("/sys/class/net").join(&member.link).exists() {
                bridge::unplug(&member.link);
            }
            if !member.ports.is_empty() {
                self.follow();
            }
        }
        self.plan.addresses.release(unit);
        files::remove(&self.plan.folder.join(unit));
    }

    /// Lets connections follow what is published now. No unit is kept from anything by those that do not.
    fn follow(&self) {
        let published = Published::new(&self.ground, self.members.values());
        match tracking::follow(&published) {
            Ok(0) => {}
            Ok(forgotten) => tracing::info!(forgotten, "connections-forgotten"),
            Err(error) => {
                tracing::error!(error = ferrite_schema::chain(&error), "connections-not-followed");
            }
        }
    }

    fn name(&self, unit: &str, member: Option<&Member>) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.remove(unit);
        if let Some(member) = member {
            names.insert(unit, member.ipv4, member.ipv6);
        }
    }

    /// The bridge's addresses.
    pub(super) fn gateways(&self) -> Vec<IpAddr> {
        let ipv6 = self.ground.ipv6.map(|(address, _): (Ipv6Addr, u8)| IpAddr::V6(address));
        [Some(IpAddr::V4(self.ground.ipv4.0)), ipv6].into_iter().flatten().collect()
    }
}

fn filter(batch: Batch) -> Result<(), NetlinkProblem> {
    Socket::open(Family::Netfilter)?.carry_out(batch)
}

fn unavailable(error: &(dyn std::error::Error + 'static)) -> AttachProblem {
    AttachProblem::Unavailable { why: ferrite_schema::chain(error) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace;

    pub(super) fn attachments(folder: &std::path::Path) -> Attachments {
        let addresses = Addresses::new([10, 120, 0, 0].into(), 16, None);
        let names = Names::new("ferrite.local".to_owned(), ([10, 120, 0, 0].into(), 16), None);
        let plan = Plan {
            addresses,
            domain: "ferrite.local".to_owned(),
            folder: folder.join("net"),
            runs: folder.join("units"),
            resolv_conf: folder.join("resolv.conf"),
            machines: BTreeSet::new(),
            flat: None,
        };
        Attachments::new(plan, Arc::new(Mutex::new(names)))
    }

    fn mesh(number: u16) -> Mesh {
        let ipv6 = "fd12:3456:789a::".parse().unwrap();
        let transport = ferrite_schema::cluster_network::MeshTransport::WireGuard;
        Mesh { ipv4: ([10, 112, 0, 0].into(), 12), ipv6, transport, number, peers: Vec::new() }
    }

    pub(super) fn wish(unit: &str) -> Wish {
        Wish {
            unit: unit.to_owned(),
            hostname: unit.to_owned(),
            mode: NetworkMode::Bridge,
            ports: Vec::new(),
            metadata: false,
        }
    }

    fn address(files: &AttachmentFiles) -> String {
        let Network::Bridge(attachment) = &files.network else { panic!("no bridge") };
        attachment.ipv4.0.to_string()
    }

    #[test]
    fn a_unit_keeps_its_network_and_the_next_one_has_the_clusters() {
        let name = "a_unit_keeps_its_network_and_the_next_one_has_the_clusters";
        namespace::inside(&format!("{}::{name}", module_path!()), || {
            namespace::show_interfaces();
            let folder = tempfile::tempdir().unwrap();
            let mut first = attachments(folder.path());
            let old = address(&first.attach(&wish("early")).unwrap());
            assert!(old.starts_with("10.120."), "{old}");
            let doubts = first.join(mesh(3)).unwrap();
            assert!(doubts[0].contains("early"), "{doubts:?}");
            assert!(address(&first.attach(&wish("also")).unwrap()).starts_with("10.120."));
            first.detach("early");
            assert_eq!(first.may_join(), None);
            first.detach("also");
            let told = first.may_join().unwrap();
            assert_eq!(first.join(told).unwrap(), Vec::<String>::new());
            let late = address(&first.attach(&wish("late")).unwrap());
            assert!(late.starts_with("10.112.3."), "{late}");
            let shown = namespace::ip("-4 -brief address show ferrite0");
            assert!(shown.contains("10.112.3.1/24") && !shown.contains("10.120."), "{shown}");

            // An agent that comes after it and knows nothing of the cluster yet leaves it as it is.
            let run = folder.path().join("units/late");
            std::fs::create_dir_all(&run).unwrap();
            std::fs::write(run.join(ferrite_schema::shim::REQUEST), "").unwrap();
            let mut second = attachments(folder.path());
            second.take_over().unwrap();
            assert_eq!(address(&second.attach(&wish("late")).unwrap()), late);
            assert_eq!(second.join(mesh(3)).unwrap(), Vec::<String>::new());
            let elsewhere = second.join(mesh(4)).unwrap();
            assert!(elsewhere[0].contains("late"), "{elsewhere:?}");
        });
    }
}
