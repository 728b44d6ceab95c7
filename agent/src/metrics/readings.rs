//! What is read for the figures.

use std::collections::BTreeMap;

use ferrite_schema::api::{Machine, NodeStats, UnitStats, UnitStatus};
use ferrite_schema::control::Status;

/// All that was read at one moment. What could not be read is absent, and so are its figures.
#[derive(Debug, Default)]
pub(crate) struct Readings {
    /// Seconds since the epoch.
    pub(crate) now_s: f64,
    pub(crate) machine: Option<Machine>,
    pub(crate) kernel: Kernel,
    /// What the node uses; of STATE only where it can be used.
    pub(crate) stats: NodeStats,
    pub(crate) units: Vec<UnitStatus>,
    pub(crate) unit_stats: Vec<UnitStats>,
    /// Traffic of units that have a network of their own, by unit and interface.
    pub(crate) unit_traffic: BTreeMap<String, BTreeMap<String, Traffic>>,
    pub(crate) slots: Option<Status>,
    pub(crate) cluster: Option<ClusterReading>,
    /// Who was asked, and whether there was an answer in time.
    pub(crate) answered: Vec<(&'static str, bool)>,
}

/// Texts of the kernel's files; empty where one could not be read.
#[derive(Debug, Default)]
pub(crate) struct Kernel {
    pub(crate) stat: String,
    pub(crate) loadavg: String,
    pub(crate) pressure_cpu: String,
    pub(crate) pressure_memory: String,
    pub(crate) pressure_io: String,
    /// Links of the node but for those that lead to units.
    pub(crate) links: BTreeMap<String, Traffic>,
}

/// What went through an interface.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) received: Counted,
    pub(crate) sent: Counted,
}

/// In one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) bytes: u64,
    pub(crate) packets: u64,
    pub(crate) errors: u64,
    pub(crate) dropped: u64,
}

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
