//! The cluster as its members see it: machines, units, services.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::unit::Exit;
use crate::unit::Unit;

/// A cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ClusterStatus {
    /// ID.
    pub id: String,
    /// Name.
    pub name: String,
    /// Rises when the cluster was restored from a backup; absent where its record cannot be understood.
    pub epoch: Option<u64>,
    /// ID of the machine that decides; absent where nobody does.
    pub leader: Option<String>,
    /// Machines that run etcd.
    pub members: Vec<ClusterMember>,
    /// How many machines there should be that do.
    pub member_target: Option<u8>,
    /// Machines that are known.
    pub machines: u32,
    /// Machines that are there.
    pub alive: u32,
    /// Revision of the store that this is of.
    pub revision: i64,
    /// Records that cannot be understood, each with the reason. They are left as they are.
    pub problems: Vec<String>,
}

/// A machine that runs etcd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ClusterMember {
    /// ID of the machine; absent where somebody else gave the member its address.
    pub machine: Option<String>,
    /// Its address for the other members.
    pub url: String,
    /// It learns still, and has no vote.
    pub learner: bool,
}

/// Whether a machine is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum MachineState {
    /// It is.
    Alive,
    /// It says nothing any more.
    Lost,
}

/// A machine of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ClusterMachine {
    /// ID.
    pub id: String,
    /// Name for people; empty where its record cannot be understood.
    pub name: String,
    /// Addresses at which other nodes reach it.
    pub addresses: Vec<String>,
    /// Whether it is there.
    pub state: MachineState,
    /// Nothing new is placed on it.
    pub cordoned: bool,
    /// It decides where units run.
    pub leader: bool,
    /// It may run etcd.
    pub eligible: bool,
    /// Units that the cluster wants on it.
    pub units: u32,
    /// What its version understands.
    pub level: u32,
    /// What units look for: what its configuration says, and what was said at run time.
    pub metadata: BTreeMap<String, String>,
    /// What was said at run time; `null` takes a key of the configuration away.
    pub overrides: BTreeMap<String, Option<String>>,
    /// Processor time for units, in thousandths of a processor.
    pub cpus_milli: u64,
    /// Memory for units.
    pub memory_bytes: u64,
    /// Its record cannot be understood, or there is none: why. It is left as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What is to become of a machine of the cluster; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct MachineChange {
    /// Whether nothing new is to be placed on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cordoned: Option<bool>,
    /// Metadata by key: a value wins over the configuration's, `null` takes the key away.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, Option<String>>,
    /// Keys of which the configuration is to count again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forget: Vec<String>,
}

/// What lets machines in that the cluster does not know yet. The cluster has the token's digest, never the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JoinToken {
    /// SHA-256 of the token, as 64 hexadecimal digits.
    pub digest: String,
    /// Machines that it still lets in; any number where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses_left: Option<u32>,
    /// Its last second, since the epoch; it has no end where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_s: Option<u64>,
    /// It lets nobody in: why, or why it cannot be understood.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A token that is to let machines in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewJoinToken {
    /// How many machines.
    #[cfg_attr(feature = "openapi", schema(minimum = 1))]
    pub uses: u32,
    /// How long, by the clock of the member that is asked.
    #[cfg_attr(feature = "openapi", schema(minimum = 1))]
    pub lasts_s: u64,
}

/// What should become of a unit of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum UnitTarget {
    /// It is known, and nowhere.
    Inactive,
    /// It has its machine and its image, and does not run.
    Loaded,
    /// It runs.
    Launched,
}

impl UnitTarget {
    /// Its name in a sentence.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Loaded => "loaded",
            Self::Launched => "launched",
        }
    }
}

/// A unit of the cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ClusterUnit {
    /// Name.
    pub name: String,
    /// What should become of it; absent where its record cannot be understood.
    pub target: Option<UnitTarget>,
    /// How many of it; absent where it runs as itself.
    pub replicas: Option<u32>,
    /// Hash of its version.
    pub spec: Option<String>,
    /// Digest of the image that its reference meant when it was submitted or first started, where that is known.
    pub image_digest: Option<String>,
    /// Its document, as it was submitted; absent where it cannot be understood.
    pub definition: Option<Unit>,
    /// Revision that last changed it.
    pub revision: i64,
    /// Its instances, by name.
    pub instances: Vec<ClusterInstance>,
    /// What a person should know about it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Its record, or its version's, cannot be understood: why. What runs of it is left as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// An instance of a unit of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ClusterInstance {
    /// Name, as its machine has it.
    pub name: String,
    /// ID of the machine that is to run it, or still does; absent where it has none.
    pub machine: Option<String>,
    /// That machine's name for people.
    pub machine_name: Option<String>,
    /// What it is doing, in the words of `UnitState`; `unplaced` without a machine, `placed` where its machine has not
    /// said anything of it yet, `lost` where its machine is.
    pub state: String,
    /// It runs and is well, or has done its work.
    pub ready: bool,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// Ports that it serves at those: `80/tcp`.
    pub ports: Vec<String>,
    /// How its container ended last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// It runs as an older version says.
    #[serde(default)]
    pub outdated: bool,
    /// In one line, why it is where it is, or why it is nowhere.
    pub why: String,
}

/// What is to become of a unit of the cluster; what is absent stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct UnitChange {
    /// What should become of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<UnitTarget>,
    /// How many of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
}

/// What a node answers units that ask for services by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServiceAnswers {
    /// Name of the node that answers.
    pub node: String,
    /// When this was so for certain last, in seconds since the epoch: the node hears nothing of its cluster since. Absent where
    /// it is so now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of_s: Option<u64>,
    /// Instances that are ready, by service. A service without any is known, and nobody answers for it.
    pub services: BTreeMap<String, Vec<ServiceInstance>>,
}

/// An instance that serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServiceInstance {
    /// Name of the service.
    pub service: String,
    /// The instance.
    pub instance: String,
    /// ID of its machine.
    pub machine: String,
    /// That machine's name for people.
    pub machine_name: String,
    /// Its addresses in the cluster's network.
    pub addresses: Vec<String>,
    /// Ports that it serves at those: `80/tcp`.
    pub ports: Vec<String>,
    /// It is among the service's answers.
    pub ready: bool,
}
