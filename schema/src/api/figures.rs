//! What a node and its containers use.

use serde::{Deserialize, Serialize};

use super::unit::UnitState;

/// What a node and its containers use, at one moment. Counters only grow while a container lives: what is used per
/// second is the difference of two samples.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Stats {
    /// When, microseconds since the epoch.
    pub time_us: u64,
    /// The node.
    pub node: NodeStats,
    /// Units that have a container, by name.
    pub units: Vec<UnitStats>,
}

/// What a node uses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeStats {
    /// Processors.
    pub cpus: u32,
    /// Time that they were busy, all together, microseconds since the kernel started.
    pub cpu_us: u64,
    /// Memory.
    pub memory_bytes: u64,
    /// Memory that programs could still have.
    pub memory_available_bytes: u64,
    /// Size of STATE.
    pub state_bytes: u64,
    /// Free space on STATE that units can have.
    pub state_available_bytes: u64,
    /// Files and folders that STATE can hold.
    #[serde(default)]
    pub state_inodes: u64,
    /// How many more.
    #[serde(default)]
    pub state_available_inodes: u64,
}

/// What a unit's container uses. What the kernel does not count is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UnitStats {
    /// Unit.
    pub unit: String,
    /// Its state.
    pub state: UnitState,
    /// Processor time since its container started, microseconds.
    pub cpu_us: u64,
    /// Memory, without cached files that could be dropped at once.
    pub memory_bytes: Option<u64>,
    /// Cached files that could be dropped at once.
    pub cache_bytes: Option<u64>,
    /// Most memory that it may have; absent where it is unbounded.
    pub memory_max_bytes: Option<u64>,
    /// Times that the kernel killed something in it for want of memory.
    pub oom_kills: Option<u64>,
    /// Bytes read from disks.
    pub read_bytes: Option<u64>,
    /// Bytes written to disks.
    pub written_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Most that it may have; absent where they are unbounded.
    pub pids_max: Option<u64>,
    /// Bytes that its root takes on STATE, beyond its image.
    #[serde(default)]
    pub disk_bytes: Option<u64>,
    /// The most; absent where it is unbounded.
    #[serde(default)]
    pub disk_max_bytes: Option<u64>,
    /// Files and folders of its root, beyond its image.
    #[serde(default)]
    pub inodes: Option<u64>,
    /// The most; absent where they are unbounded.
    #[serde(default)]
    pub inodes_max: Option<u64>,
}
