//! Figures of the cluster, as this node knows it.

use super::names;
use super::readings::Readings;
use super::text::Text;

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
