//! The node's part in its cluster. A node without `[cluster]` has none of it.

use ferrite_cluster::store::Etcd;
use ferrite_schema::cluster::{ClusterId, ClusterName, MachineId};
use tokio::sync::watch;

/// What the rest of the agent knows of the cluster.
#[derive(Debug)]
pub struct Cluster {
    id: ClusterId,
    name: ClusterName,
    machine: MachineId,
    store: watch::Sender<Option<Etcd>>,
}

impl Cluster {
    /// The cluster of a configuration, of which nothing is known yet.
    #[must_use]
    pub fn new(id: ClusterId, name: ClusterName, machine: MachineId) -> Self {
        Self { id, name, machine, store: watch::Sender::new(None) }
    }

    /// The cluster's ID.
    #[must_use]
    pub const fn id(&self) -> &ClusterId {
        &self.id
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &ClusterName {
        &self.name
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
}
