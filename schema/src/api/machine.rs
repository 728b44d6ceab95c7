//! The machine, and why it did not do what it was asked.

use serde::{Deserialize, Serialize};

/// A machine and what it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Machine {
    /// Machine ID.
    pub id: String,
    /// Hostname.
    pub hostname: String,
    /// OS version.
    pub version: String,
    /// Image variant.
    pub variant: String,
    /// Kernel release.
    pub kernel: String,
    /// Slot in use, `A` or `B`.
    pub slot: String,
    /// STATE could not be used, and the node is in its rescue state: why, and what to do. It runs no units, and what is
    /// written is not kept.
    #[serde(default)]
    pub rescue: Option<String>,
    /// The node is as it should be.
    pub ready: bool,
    /// Seconds since the kernel started.
    pub uptime_s: u64,
    /// Things a person should know: a rejected configuration, a recreated STATE.
    pub warnings: Vec<String>,
}

/// What is on a machine's STATE.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MachineContent {
    /// Machine ID: it has another one once STATE was made anew.
    pub id: String,
    /// Hostname.
    pub hostname: String,
    /// The cluster that STATE belongs to, as `NAME (ID)`; absent where it belongs to none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// It runs etcd for its cluster.
    pub member: bool,
    /// Units, this node's and its cluster's.
    pub units: Vec<String>,
    /// Named volumes.
    pub volumes: Vec<String>,
    /// Container images.
    pub images: u32,
    /// Why it would not be made anew, where that is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
}

/// Why a request was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApiError {
    /// One sentence for a person.
    pub error: String,
}
