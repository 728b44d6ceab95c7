//! etcd itself, below the cluster's records.

use serde::{Deserialize, Serialize};

/// An etcd, as it sees itself: what it says of the others may be old.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EtcdStatus {
    /// ID of its machine.
    pub machine: String,
    /// That machine's name for people.
    pub machine_name: String,
    /// Its number, as hexadecimal digits.
    pub member: String,
    /// The leader's number; absent where it knows none, and so can agree with nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    /// It learns still, and has no vote.
    pub learner: bool,
    /// Its version.
    pub version: String,
    /// Revision of its data.
    pub revision: i64,
    /// Rises with every election.
    pub raft_term: u64,
    /// The last entry that it has heard of.
    pub raft_index: u64,
    /// The last entry that is in its data.
    pub raft_applied: u64,
    /// Size of its database's file.
    pub db_bytes: u64,
    /// How much of that file is used; the rest is free until it is defragmented.
    pub db_used_bytes: u64,
    /// Alarms, and what else it says is wrong.
    #[serde(default)]
    pub problems: Vec<String>,
}

/// A member of etcd, as most of the members agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EtcdMember {
    /// Its number, as hexadecimal digits.
    pub member: String,
    /// ID of the machine; absent where somebody else gave the member its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// That machine's name for people, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine_name: Option<String>,
    /// Its addresses for the other members.
    pub urls: Vec<String>,
    /// It has spoken to the others since it was added.
    pub started: bool,
    /// It learns still, and has no vote.
    pub learner: bool,
}

/// What is left of etcd on a machine, as it says itself: asked of each machine when most members are lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EtcdRemains {
    /// ID of the machine.
    pub machine: String,
    /// Its name for people.
    pub machine_name: String,
    /// Its etcd; absent where that does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<EtcdStatus>,
    /// Why that is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The members, as its data has them.
    pub members: Vec<EtcdMember>,
    /// The cluster's epoch in its data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// A recovery is under way on this machine.
    pub recovering: bool,
    /// The machine answers for the cluster.
    pub serves: bool,
}

/// An order to go on alone with what a machine's etcd has. All other members are given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EtcdRecovery {
    /// ID of that machine, which is the one that is asked.
    pub machine: String,
    /// Revision of its data. Where it is another one, nothing is done.
    pub revision: i64,
}

/// It is ordered: the machine does it by itself, whatever it is cut off by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EtcdRecoveryOrdered {
    /// The cluster's epoch when it is done.
    pub epoch: u64,
}

/// How many machines should run etcd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EtcdMembersChange {
    /// So many: 1, 3, 5 or 7.
    pub target: u8,
}

/// How many machines should run etcd, and which do so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EtcdMembersPlan {
    /// So many should.
    pub target: u8,
    /// So many machines are there that may, those that do among them.
    pub eligible: u32,
    /// Those that do now, by number.
    pub members: Vec<EtcdMember>,
}
