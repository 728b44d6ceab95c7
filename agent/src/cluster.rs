//! The node's part in its cluster. A node without `[cluster]` has none of it.
//!
//! | module | what it does |
//! |---|---|
//! | `founding`, `beginning`, `growth`, `recovery` | who begins the cluster, whether etcd may be started, how many run it, what follows when most are lost: pure |
//! | `ruin`, `recovering` | whether etcd's data is of no use; going on alone |
//! | `member`, `etcd`, `terms`, `lead`, `space` | the life of a member: etcd, the cluster's own record, leading beside it, and what is done when its space is used up |
//! | `hearing`, `proof`, `tells` | what others say of themselves, one of them being this machine once more, and who may say it of etcd; what a leader says |
//! | `beacon`, `hints`, `places` | how nodes that look for their cluster hear of one another, and where etcd's peers are |
//! | `dial`, `race`, `candidates`, `frames` | connections to other nodes, and in which order they are tried |
//! | `meeting`, `relay` | what is answered to other nodes |
//! | `outlook` | what a member tells every node |
//! | `network` | this node's part in the cluster's network, and what it answers for |
//! | `following`, `link`, `errand` | this node's way to the cluster, what it hears on it and does for it |
//! | `instances` | units for the cluster, and what is said of them |
//! | `images`, `fetching` | images that this machine gives others, and those that others have |
//! | `kept`, `remembered`, `knowledge` | what is kept on STATE and what of it others go by, and what is known of machines that want in |
//! | `fence` | until when this machine may run what must not run twice: pure |

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ferrite_cluster::catalogue::Catalogue;
use ferrite_cluster::names::UnitName;
use ferrite_cluster::protocol::{Member, PeersSnapshot, Standing};
use ferrite_cluster::records::{ADDRESSES_MAX, Capacity, LEVEL, Machine, Rest};
use ferrite_cluster::store::Etcd;
use ferrite_net::underlay::Underlay;
use ferrite_pki::Issuer;
use ferrite_schema::cluster::{ClusterId, ClusterName, MachineId};
use ferrite_schema::join::ClusterRecord;
use ferrite_schema::node_config::{ClusterConfig, NodeConfig};
use tokio::sync::watch;

use dial::Identity;
use etcd::Whose;
use fence::Keeper;
use hints::Hints;
use kept::Folder;

use crate::join::knowledge::Knowledge;
use crate::join::service::{OpenDoor, node_issuer};
use crate::join::work::Membership;
use crate::node::Node;

mod beacon;
mod beginning;
mod candidates;
mod dial;
mod errand;
mod etcd;
mod fence;
mod fetching;
mod following;
mod founding;
mod frames;
mod growth;
mod hearing;
mod hints;
mod images;
mod instances;
mod kept;
mod knowledge;
mod lead;
mod link;
mod meaning;
mod meeting;
mod member;
mod network;
mod outlook;
mod places;
mod proof;
mod race;
mod recovering;
mod recovery;
mod relay;
mod remembered;
mod ruin;
mod seeking;
mod space;
mod tells;
mod terms;
mod wanted;
mod work;

pub(crate) use fence::UNIT_CGROUP;
pub(crate) use meaning::{may_change, pinned};
pub(crate) use recovering::{NotOrdered, Remains, order, remains};
pub(crate) use remembered::{kept_addresses, kept_cluster, kept_flat};
pub(crate) use wanted::wanted;
pub(crate) use work::work;

#[cfg(test)]
#[path = "cluster/link_tests.rs"]
mod link_tests;

/// Name of the file in memory by which an agent goes on with what one before it knew.
const FENCE: &str = "fence.json";

/// What a member reads of the cluster's own record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Terms {
    epoch: u64,
    ttl: Duration,
    /// Within which etcd elects a leader.
    election: Duration,
}

/// What the rest of the agent knows of the cluster, and its own parts of one another.
#[derive(Debug)]
pub struct Cluster {
    config: ClusterConfig,
    machine: MachineId,
    about: About,
    folder: Folder,
    /// How this node is known to others, once it has a certificate.
    identity: watch::Sender<Option<Identity>>,
    store: watch::Sender<Option<Etcd>>,
    terms: watch::Sender<Option<Terms>>,
    /// Who runs etcd, as it was heard last.
    members: watch::Sender<Vec<Member>>,
    /// A quorum has said that this node is none of them.
    removed: watch::Sender<bool>,
    /// Somebody has ordered that this member goes on alone.
    recovery_ordered: watch::Sender<()>,
    /// Why etcd cannot go on here and this member must be replaced, where that is certain.
    unusable: watch::Sender<Option<String>>,
    /// This machine is a copy of one that is alive: why, until the next boot.
    copied: watch::Sender<Option<String>>,
    /// How this node stands. Nobody is told before it is known.
    standing: watch::Sender<Option<Standing>>,
    /// A relay has welcomed this node, and is there.
    linked: watch::Sender<bool>,
    /// Where others may be, as they call on this node's links.
    hints: watch::Sender<Hints>,
    /// Serial numbers of certificates that open nothing any more, as they were heard last.
    revoked: watch::Sender<Arc<BTreeSet<String>>>,
    /// What this node tells others, while it is a member whose etcd answers.
    told: watch::Sender<Option<Told>>,
    /// What this node is told of the cluster's network, and what it knows of services.
    peers: watch::Sender<Option<PeersSnapshot>>,
    services: watch::Sender<Option<Heard>>,
    /// Public key of its end of the network, in base64; absent until it has one.
    mesh_key: OnceLock<String>,
    /// What this machine has for others; absent until it is known.
    shared: OnceLock<images::Shared>,
    /// The networks that it was in when that was last looked at.
    underlay: Mutex<Underlay>,
    /// Until when this node may run what must not run twice.
    fence: Keeper,
}

/// What a member tells every node.
#[derive(Debug, Clone, PartialEq)]
struct Told {
    catalogue: Arc<Catalogue>,
    peers: Option<Arc<PeersSnapshot>>,
    /// Serial numbers of certificates that open nothing any more.
    revoked: Arc<BTreeSet<String>>,
}

/// What a node is to its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// It is in none, or has nothing of it.
    Alone,
    /// What it has is another cluster's.
    Estranged,
    /// It is not known yet.
    Unknown,
    /// It runs no etcd.
    Guest,
    /// It runs etcd, or has begun to: its data may be the cluster's.
    Member,
}

/// The catalogue as a node has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    /// The catalogue.
    pub catalogue: Arc<Catalogue>,
    /// When it was true for certain last, in seconds since the epoch; absent while that is now.
    pub as_of_s: Option<u64>,
}

/// What the node is, for the others.
#[derive(Debug, Clone)]
pub struct About {
    /// Its name for people.
    pub hostname: String,
    /// Labels of its configuration.
    pub metadata: BTreeMap<String, String>,
    /// Names of environment files of its configuration.
    pub env_files: Vec<String>,
    /// ID of this boot.
    pub boot: String,
    /// Digest of what it is made of.
    pub hardware: String,
    /// Where it keeps what it knows of the cluster.
    pub folder: PathBuf,
}

impl About {
    /// What a configuration says of a node.
    #[must_use]
    pub fn of(
        config: &NodeConfig,
        hostname: String,
        (boot, hardware): (String, String),
        folder: PathBuf,
    ) -> Self {
        Self {
            hostname,
            metadata: config.metadata.clone(),
            env_files: config.env_files.keys().cloned().collect(),
            boot,
            hardware,
            folder,
        }
    }
}

impl Cluster {
    /// The cluster of a configuration, of which nothing is known yet.
    #[must_use]
    pub fn new(config: ClusterConfig, machine: MachineId, about: About) -> Self {
        let folder = Folder::at(&about.folder);
        let revoked = Arc::new(remembered::kept_revoked(&folder));
        let file = PathBuf::from(ferrite_schema::names::RUN_DIR).join(FENCE);
        let fence = Keeper::begin(&file, remembered::singles(&folder));
        Self {
            config,
            machine,
            folder,
            about,
            identity: watch::Sender::new(None),
            store: watch::Sender::new(None),
            terms: watch::Sender::new(None),
            members: watch::Sender::new(Vec::new()),
            removed: watch::Sender::new(false),
            recovery_ordered: watch::Sender::new(()),
            unusable: watch::Sender::new(None),
            copied: watch::Sender::new(None),
            standing: watch::Sender::new(None),
            linked: watch::Sender::new(false),
            hints: watch::Sender::new(Hints::default()),
            revoked: watch::Sender::new(revoked),
            told: watch::Sender::new(None),
            peers: watch::Sender::new(None),
            services: watch::Sender::new(None),
            mesh_key: OnceLock::new(),
            shared: OnceLock::new(),
            underlay: Mutex::default(),
            fence,
        }
    }

    /// The cluster's ID.
    #[must_use]
    pub const fn id(&self) -> &ClusterId {
        &self.config.id
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &ClusterName {
        &self.config.name
    }

    /// This machine.
    #[must_use]
    pub const fn machine(&self) -> &MachineId {
        &self.machine
    }

    /// The cluster's store, while this node is a member whose etcd answers.
    #[must_use]
    pub fn store(&self) -> Option<Etcd> {
        self.store.borrow().clone()
    }

    /// Where etcd listens on this node, while it runs one.
    pub(crate) fn etcd_socket(&self) -> PathBuf {
        etcd::socket()
    }

    /// What must not run twice, and may not run here yet: units of these names are not begun before the cluster is heard.
    pub(crate) fn withheld(&self) -> BTreeSet<UnitName> {
        if self.fence.is_open() { BTreeSet::new() } else { self.fence.guarded() }
    }

    /// What this node is to it.
    pub(crate) fn part(&self) -> Part {
        match &*self.standing.borrow() {
            None => Part::Unknown,
            Some(standing) if standing.member => Part::Member,
            Some(_) => Part::Guest,
        }
    }

    /// The cluster's epoch, while this node is a member.
    #[must_use]
    pub fn epoch(&self) -> Option<u64> {
        self.terms.borrow().map(|terms| terms.epoch)
    }

    /// Who runs etcd, as it was heard last; empty where nothing was.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        self.members.borrow().clone()
    }

    /// The catalogue, as far as it is known here, and as it changes.
    pub(crate) fn watch_services(&self) -> watch::Receiver<Option<Heard>> {
        self.services.subscribe()
    }

    /// Machines' names for people, as far as they are known here.
    pub(crate) fn machine_names(&self) -> BTreeMap<MachineId, String> {
        let peers = self.peers.borrow();
        let peers = peers.iter().flat_map(|told| &told.peers);
        peers.map(|(id, peer)| (id.clone(), peer.name.clone())).collect()
    }

    /// What lets machines in knows the cluster by this.
    pub(crate) fn knowledge(self: &Arc<Self>) -> Arc<dyn Knowledge> {
        Arc::new(knowledge::Stored::new(self.store.subscribe(), Arc::clone(self)))
    }

    /// There is a certificate, or a fresh one.
    pub(crate) fn certified(&self, membership: &Membership, node: &Node) {
        let cluster = (self.id().clone(), self.name().clone());
        match Identity::new(membership, cluster, (self.machine.clone(), self.about.boot.clone())) {
            Ok(identity) => drop(self.identity.send_replace(Some(identity))),
            Err(error) => node.warn(ferrite_schema::chain(&error)),
        }
    }

    /// Takes in who runs etcd, and remembers it over boots: by them the cluster is found again, and that there is one.
    fn know(&self, members: Vec<Member>) {
        if members.is_empty() || *self.members.borrow() == members {
            return;
        }
        tracing::info!(members = members.len(), "members-known");
        if let Err(error) = self.folder.keep_members(&members) {
            tracing::error!(error = ferrite_schema::chain(&error), "members-not-kept");
        }
        self.standing.send_modify(|standing| {
            if let Some(standing) = standing {
                standing.knows = true;
            }
        });
        self.members.send_replace(members);
    }

    /// Takes in which certificates open nothing any more, and remembers it over boots: a node that hears nothing of its cluster
    /// lets nobody in whom that has shut out.
    fn know_revoked(&self, serials: BTreeSet<String>) {
        if **self.revoked.borrow() == serials {
            return;
        }
        tracing::info!(certificates = serials.len(), "revocations-known");
        if let Err(error) = self.folder.keep_revoked(&serials) {
            tracing::error!(error = ferrite_schema::chain(&error), "revocations-not-kept");
        }
        self.revoked.send_replace(Arc::new(serials));
    }

    /// Which certificates open nothing any more, as it changes.
    pub(crate) fn watch_revoked(&self) -> watch::Receiver<Arc<BTreeSet<String>>> {
        self.revoked.subscribe()
    }

    /// Whoever shows this certificate is not let in.
    fn is_revoked(&self, serial: Option<&String>) -> bool {
        serial.is_some_and(|serial| self.revoked.borrow().contains(serial))
    }

    /// What certifies the cluster's users, on a node that may be a member.
    ///
    /// # Errors
    /// It may not be one, or what it has for that is of no use.
    pub(crate) fn issuer(&self) -> Result<Issuer, OpenDoor> {
        node_issuer(&self.config)
    }

    /// There is a cluster, and who runs etcd in it is not known: that is remembered, too.
    fn exists(&self) {
        if matches!(self.folder.members(), Ok(None))
            && let Err(error) = self.folder.keep_members(&[])
        {
            tracing::error!(error = ferrite_schema::chain(&error), "members-not-kept");
        }
        self.standing.send_modify(|standing| {
            if let Some(standing) = standing {
                standing.knows = true;
            }
        });
    }

    /// What came of an attempt to reach an address: who was there, or nobody who is believed.
    fn tried(&self, address: &str, reached: Option<(SocketAddr, &MachineId)>) {
        let now = Instant::now();
        self.hints.send_if_modified(|hints| {
            match (reached, address.parse()) {
                (Some((_, machine)), _) if *machine == self.machine => {}
                (Some((address, machine)), _) => hints.proven(address, machine, now),
                (None, Ok(address)) => hints.failed(address, now),
                (None, Err(_)) => {}
            }
            // Whoever waits for somebody to call has heard nobody.
            false
        });
    }

    fn whose(&self) -> Whose {
        Whose { id: self.id().clone(), name: self.name().clone(), machine: self.machine.clone() }
    }

    /// The networks that the node is in; what they were last, where the kernel does not say: not read is not gone.
    fn underlay(&self) -> Underlay {
        let mut known = self.underlay.lock().unwrap_or_else(PoisonError::into_inner);
        match Underlay::look() {
            Ok(now) => *known = now,
            Err(error) => tracing::warn!(%error, "addresses-not-read"),
        }
        known.clone()
    }

    /// What the node says of itself in the cluster.
    fn record(&self) -> Machine {
        let underlay = self.underlay();
        let addresses = underlay.addresses.iter().map(|(address, _)| *address);
        Machine {
            name: self.about.hostname.clone(),
            addresses: addresses.take(ADDRESSES_MAX).collect(),
            metadata: self.about.metadata.clone(),
            overrides: BTreeMap::new(),
            capacity: capacity(),
            level: LEVEL,
            cordoned: false,
            mesh_key: self.mesh_key.get().cloned(),
            mtu: underlay.mtu,
            hardware: Some(self.about.hardware.clone()),
            eligible: self.config.member.is_some(),
            etcd_unusable: self.unusable.borrow().clone(),
            rights: Vec::new(),
            env_files: self.about.env_files.clone(),
            rest: Rest::new(),
        }
    }
}

impl knowledge::Tells for Arc<Cluster> {
    fn told(&self) -> ClusterRecord {
        let members = self.members.borrow().iter().flat_map(reached).collect();
        let epoch = self.epoch().unwrap_or(1);
        ClusterRecord { id: self.id().clone(), name: self.name().clone(), epoch, members }
    }
}

/// Where a member is reached, as `HOST:PORT`.
fn reached(member: &Member) -> Vec<String> {
    member.addresses.iter().map(|address| at(*address)).collect()
}

/// The agent at this address.
fn at(address: IpAddr) -> String {
    SocketAddr::from((address, ferrite_schema::names::API_PORT)).to_string()
}

fn capacity() -> Capacity {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let memory = rustix::system::sysinfo();
    Capacity {
        cpus_milli: u64::try_from(processors).unwrap_or(1).saturating_mul(1000),
        memory_bytes: memory.totalram.saturating_mul(memory.mem_unit.into()),
        rest: Rest::new(),
    }
}

pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
