//! What is known of who runs etcd.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ferrite_cluster::store::EtcdMember;
use ferrite_schema::cluster::MachineId;

/// A learner on a machine that is alive begins within this time: where it does not, another machine is asked.
pub(super) const BEGINS_WITHIN: Duration = Duration::from_secs(180);

/// What is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cluster) struct Seen {
    /// Members, as a quorum of etcd has them.
    pub(in crate::cluster) members: Vec<EtcdMember>,
    /// The one that leads etcd. Whoever decides is beside it.
    pub(in crate::cluster) leader: u64,
    /// Machines that are alive and may run etcd.
    pub(in crate::cluster) eligible: BTreeSet<MachineId>,
    /// Machines to which nothing new should come: the last to become members, the first to be none.
    pub(in crate::cluster) cordoned: BTreeSet<MachineId>,
    /// Machines that say themselves that their etcd cannot go on.
    pub(in crate::cluster) broken: BTreeSet<MachineId>,
    /// Since when machines of members are gone.
    pub(in crate::cluster) gone: BTreeMap<MachineId, Duration>,
    /// Since when a learner has not spoken, on a machine that is alive.
    pub(in crate::cluster) silent: Option<Duration>,
    /// Machines that did not begin when they were asked: the last to be asked again.
    pub(in crate::cluster) vain: BTreeSet<MachineId>,
    /// How many should run it.
    pub(in crate::cluster) target: u8,
}
