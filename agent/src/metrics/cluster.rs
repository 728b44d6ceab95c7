//! Figures of the cluster, as this node knows it.

use super::Readings;
use super::names;
use super::text::Text;

/// What this node knows of its cluster.
#[derive(Debug, Default)]
pub(crate) struct ClusterReading {
    pub(crate) name: String,
    pub(crate) id: String,
    /// This machine's ID.
    pub(crate) machine: String,
    pub(crate) members: usize,
    pub(crate) is_member: bool,
    pub(crate) machines: usize,
    /// Services and instances that answer; absent where nothing was heard yet.
    pub(crate) services: Option<(usize, usize)>,
    /// How long ago that was certain; absent where nothing was heard yet.
    pub(crate) lag_s: Option<u64>,
    pub(crate) etcd: Option<EtcdReading>,
}

/// What this node's etcd says of itself.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct EtcdReading {
    pub(crate) has_leader: bool,
    pub(crate) leads: bool,
    pub(crate) learns: bool,
    pub(crate) db_bytes: u64,
    pub(crate) db_used_bytes: u64,
    pub(crate) raft_term: u64,
    pub(crate) raft_index: u64,
    pub(crate) raft_applied: u64,
    pub(crate) revision: u64,
    pub(crate) problems: usize,
}

pub(super) fn add(text: &mut Text, readings: &Readings) {
    let Some(cluster) = &readings.cluster else { return };
    text.add(&names::FERRITE_CLUSTER_INFO, &[&cluster.name, &cluster.id, &cluster.machine], 1_u64);
    text.add(&names::FERRITE_CLUSTER_MEMBERS, &[], cluster.members);
    text.add(&names::FERRITE_CLUSTER_MEMBER, &[], cluster.is_member);
    text.add(&names::FERRITE_CLUSTER_MACHINES, &[], cluster.machines);
    if let Some((services, instances)) = cluster.services {
        text.add(&names::FERRITE_CLUSTER_SERVICES, &[], services);
        text.add(&names::FERRITE_CLUSTER_READY_INSTANCES, &[], instances);
    }
    text.add(&names::FERRITE_CLUSTER_CURRENT, &[], cluster.lag_s == Some(0));
    text.maybe(&names::FERRITE_CLUSTER_LAG_SECONDS, &[], cluster.lag_s);
    let Some(etcd) = &cluster.etcd else { return };
    text.add(&names::ETCD_SERVER_HAS_LEADER, &[], etcd.has_leader);
    text.add(&names::ETCD_SERVER_IS_LEADER, &[], etcd.leads);
    text.add(&names::ETCD_SERVER_IS_LEARNER, &[], etcd.learns);
    text.add(&names::ETCD_MVCC_DB_TOTAL_SIZE_IN_BYTES, &[], etcd.db_bytes);
    text.add(&names::ETCD_MVCC_DB_TOTAL_SIZE_IN_USE_IN_BYTES, &[], etcd.db_used_bytes);
    text.add(&names::FERRITE_ETCD_RAFT_TERM, &[], etcd.raft_term);
    text.add(&names::FERRITE_ETCD_RAFT_INDEX, &[], etcd.raft_index);
    text.add(&names::FERRITE_ETCD_RAFT_APPLIED_INDEX, &[], etcd.raft_applied);
    text.add(&names::FERRITE_ETCD_REVISION, &[], etcd.revision);
    text.add(&names::FERRITE_ETCD_PROBLEMS, &[], etcd.problems);
}
